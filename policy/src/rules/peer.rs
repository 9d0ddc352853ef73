//! Rule 1: the peer's address is known and comes from the socket (contract, section 2).

use crate::outcome::Outcome;
use crate::peer::{Address, Peer};
use crate::reason::Reason;
use crate::request::Request;

pub(crate) fn ask<'a>(request: &Request<'_>) -> Outcome<'a> {
    match request.peer {
        Peer::Known(_) => Outcome::Holds,
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

pub(crate) fn saw(request: &Request<'_>) -> String {
    match request.peer {
        Peer::Known(address) => format!("{}, from the connection itself", address.ip()),
        Peer::Unverified => "Envoy took the address from a header".to_owned(),
        Peer::Unknown => "no IP address".to_owned(),
    }
}
