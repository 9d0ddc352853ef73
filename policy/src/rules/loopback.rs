//! Rule 3: a loopback peer needs `allowLoopback`.

use super::peer;
use super::trusted_proxy::NO_PROXY;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    if policy.edge || !is_loopback(request) {
        return Outcome::Skipped;
    }
    Outcome::holds_or(policy.allow_loopback, Reason::LoopbackSource)
}

pub(super) fn is_loopback(request: &Request<'_>) -> bool {
    peer::address(request).is_some_and(|peer| peer.is_loopback())
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.edge {
        NO_PROXY.to_owned()
    } else if is_loopback(request) {
        format!("loopback peer, and allowLoopback is {}", policy.allow_loopback)
    } else {
        "the peer is not a loopback address".to_owned()
    }
}
