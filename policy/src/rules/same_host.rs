//! Rule 3b: the peer is on another host (`filter.rejectSameHost`).

use super::loopback::is_loopback;
use super::peer;
use super::trusted_proxy::NO_PROXY;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    if policy.edge || !policy.reject_same_host || is_loopback(request) || peer::is_tunnel(policy, request) {
        return Outcome::Skipped;
    }
    // Without a destination, nothing shows that the peer is on another host.
    let is_elsewhere = match (peer::address(request), request.destination) {
        (Some(peer), Some(destination)) => destination.ip() != peer.ip(),
        _ => false,
    };
    Outcome::holds_or(is_elsewhere, Reason::LocalInterfaceSource)
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.edge {
        return NO_PROXY.to_owned();
    }
    if !policy.reject_same_host {
        return "rejectSameHost is off".to_owned();
    }
    if is_loopback(request) {
        return "the peer is a loopback address: rule 3 applies".to_owned();
    }
    if peer::is_tunnel(policy, request) {
        return "the peer has no address".to_owned();
    }
    request.destination.map_or_else(
        || "the address that the peer connected to is not known".to_owned(),
        |destination| format!("the peer connected to {}", destination.ip()),
    )
}
