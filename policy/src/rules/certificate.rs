//! Rule 4: the peer's certificate is trusted (`filter.trustedPeers`). Envoy shows a certificate for mutual TLS only.

use super::trusted_proxy::NO_PROXY;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;
use crate::text::quoted;

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    let identities = &policy.trusted_peers.identities;
    if policy.edge || identities.is_empty() {
        return Outcome::Skipped;
    }
    let is_trusted = request.certificate.is_some_and(|identity| identities.contains(identity));
    Outcome::holds_or(is_trusted, Reason::PeerCertificate)
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.edge {
        return NO_PROXY.to_owned();
    }
    if policy.trusted_peers.identities.is_empty() {
        return "no trustedPeers".to_owned();
    }
    request.certificate.map_or_else(
        || "the peer presented no certificate over mutual TLS".to_owned(),
        |identity| format!("first URI SAN {}", quoted(identity)),
    )
}
