//! Rule 2: the peer is in the list of proxies (`trustedProxies`), unless its certificate is enough
//! (`filter.peerTrust`).

use super::peer;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;

/// What every rule about the proxy shows if there is none.
pub(super) const NO_PROXY: &str = "Envoy itself is the edge: there is no proxy";

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    if policy.edge || policy.trusted_peers.suffice {
        return Outcome::Skipped;
    }
    Outcome::holds_or(is_listed(policy, request), Reason::UntrustedSource)
}

fn is_listed(policy: &Policy, request: &Request<'_>) -> bool {
    peer::address(request).is_some_and(|peer| policy.proxies.contains(&peer))
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.edge {
        return NO_PROXY.to_owned();
    }
    if policy.trusted_peers.suffice {
        return "the certificate is enough (peerTrust)".to_owned();
    }
    let is = if is_listed(policy, request) { "is" } else { "is not" };
    peer::address(request).map_or_else(String::new, |peer| format!("{} {is} in the list of proxies", peer.ip()))
}
