//! What Envoy knows of a stream besides its headers. It can be read as long as the stream is open.
#![forbid(unsafe_code)]

use policy::peer::{Address, socket_address};
use policy::{IdentitySource, Peer, PeerAddress, Policy, Request};

use crate::host::{self, HostError};

/// What one policy needs to know of a stream besides its headers.
#[derive(Debug)]
pub(crate) struct Facts<'p> {
    /// The peer's address as Envoy shows it.
    pub(crate) peer: Vec<u8>,
    destination: Option<Address>,
    /// `None` if the policy needs none.
    assertion: Option<Option<Vec<u8>>>,
    identity: Option<(&'p IdentitySource, Vec<u8>)>,
}

impl<'p> Facts<'p> {
    /// Reads the facts of the stream that the host's calls act for.
    #[inline]
    pub(crate) fn read(policy: &'p Policy) -> Self {
        let destination = || host::property(b"destination\0address").ok().as_deref().and_then(socket_address);
        Self {
            peer: read_peer(policy.peer_address()).unwrap_or_default(),
            destination: if policy.needs_destination() { destination() } else { None },
            assertion: policy.assertion_path().map(|path| host::property(path).ok()),
            identity: policy.identity_sources().iter().find_map(|source| Some((source, read_identity(source)?))),
        }
    }

    /// A request with the peer, and nothing else.
    #[inline]
    pub(crate) fn request<'a>(&self, policy: &Policy) -> Request<'a> {
        Request::from(match policy.peer_address() {
            PeerAddress::Connection => Peer::from_connection(&self.peer),
            PeerAddress::FilterState(_) => Peer::from_filter_state(&self.peer),
        })
    }

    /// Adds everything else to a request whose headers were read.
    #[inline]
    pub(crate) fn add_to<'a>(&'a self, policy: &Policy, request: &mut Request<'a>) {
        request.destination = self.destination;
        if let Some(value) = &self.assertion {
            (request.assertion, request.claims_are_true) =
                policy.verified(value.as_deref(), || host::property(b"metadata").ok());
        }
        request.identity = self.identity.as_ref().map(|(source, value)| source.of(value));
    }
}

/// The peer's identity, if this source has one. A certificate without a URI SAN has an empty one.
fn read_identity(source: &IdentitySource) -> Option<Vec<u8>> {
    const TRUE: &[u8] = &[1];
    match source {
        IdentitySource::Certificate => {
            let is_mutual = host::property(b"connection\0mtls").is_ok_and(|mutual| mutual == TRUE);
            is_mutual.then(|| host::property(b"connection\0uri_san_peer_certificate").unwrap_or_default())
        }
        IdentitySource::FilterState(key) => filter_state(key).ok(),
    }
}

fn read_peer(address: &PeerAddress) -> Result<Vec<u8>, HostError> {
    match address {
        PeerAddress::Connection => host::property(b"source\0address"),
        PeerAddress::FilterState(key) => filter_state(key),
    }
}

fn filter_state(key: &str) -> Result<Vec<u8>, HostError> {
    host::property(&[b"filter_state\0", key.as_bytes()].concat())
}
