//! Rule 4: the peer's identity is trusted (`filter.trustedPeers`). It is that of its certificate, which Envoy shows for
//! mutual TLS only, or that of a mesh's tunnel, out of filter state (`filter.peerIdentity`).

use super::trusted_proxy::NO_PROXY;
use crate::outcome::Outcome;
use crate::peer::is_spiffe_id;
use crate::policy::{IdentitySource, Policy};
use crate::reason::Reason;
use crate::request::{Identity, Request};
use crate::text::quoted;

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    let identities = &policy.trusted_peers.identities;
    if policy.edge || identities.is_empty() {
        return Outcome::Skipped;
    }
    let is_trusted = match request.identity {
        Some(Identity::Certificate(identity)) => identities.contains(identity),
        Some(Identity::FilterState(identity)) => is_spiffe_id(identity) && identities.contains(identity),
        None => false,
    };
    Outcome::holds_or(is_trusted, Reason::PeerCertificate)
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.edge {
        return NO_PROXY.to_owned();
    }
    if policy.trusted_peers.identities.is_empty() {
        return "no trustedPeers".to_owned();
    }
    match request.identity {
        Some(Identity::Certificate(b"")) => "the peer's certificate has no URI SAN".to_owned(),
        Some(Identity::Certificate(identity)) => format!("first URI SAN {}", quoted(identity)),
        Some(Identity::FilterState(identity)) if is_spiffe_id(identity) => {
            format!("filter state {}", quoted(identity))
        }
        Some(Identity::FilterState(identity)) => {
            format!("filter state {}, which is not one SPIFFE ID", quoted(identity))
        }
        None if policy.trusted_peers.sources == [IdentitySource::Certificate] => {
            "the peer presented no certificate over mutual TLS".to_owned()
        }
        None => "the peer has no identity: nothing that peerIdentity lists is present".to_owned(),
    }
}
