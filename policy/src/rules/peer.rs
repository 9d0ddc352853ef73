//! Rule 1: the peer's address is known and comes from the socket (contract, section 2).

use crate::outcome::Outcome;
use crate::peer::{Address, Peer};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::{Identity, Request};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    match request.peer {
        Peer::Known(_) => Outcome::Holds,
        _ if is_tunnel(policy, request) => Outcome::Holds,
        Peer::Unverified => Outcome::Broken(Reason::PeerUnverified.into()),
        Peer::Unknown => Outcome::Broken(Reason::PeerUnknown.into()),
    }
}

/// The peer's address. Later rules refuse if there is none, although rule 1 has refused such a request already.
pub(super) const fn address(request: &Request<'_>) -> Option<Address> {
    match request.peer {
        Peer::Known(address) => Some(address),
        Peer::Unverified | Peer::Unknown => None,
    }
}

/// Whether the peer has no address of its own, and need not have one: the connection is inside Envoy, the end of a
/// mesh's tunnel, and the tunnel's identity is enough (`peerTrust: "certificate"`). Rules on the peer's address have
/// nothing to judge then. Rule 4 judges the identity.
pub(super) const fn is_tunnel(policy: &Policy, request: &Request<'_>) -> bool {
    policy.trusted_peers.suffice
        && matches!(request.identity, Some(Identity::FilterState(_)))
        && address(request).is_none()
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    let tunnel = if is_tunnel(policy, request) { ": the end of a tunnel, whose identity is known" } else { "" };
    match request.peer {
        Peer::Known(address) => format!("{}, from the connection itself", address.ip()),
        Peer::Unverified => format!("Envoy took the address from a header{tunnel}"),
        Peer::Unknown => format!("no IP address{tunnel}"),
    }
}
