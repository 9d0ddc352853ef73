//! A policy: a configuration, compiled, immutable and valid by construction.

use crate::byte_map::ByteMap;
use crate::ceilings::Ceilings;
use crate::cidrs::Cidrs;
use crate::headers::MalformedHeaders;
use crate::names::Names;
use crate::origin::Origins;
use crate::path::{OwnPaths, PathSet};
use crate::peer::Peer;
use crate::request::Request;
use crate::scopes::{Scopes, ScopesHeader};

/// Whether refusals take effect (`filter.mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// They do.
    #[default]
    Enforce,
    /// They are counted and logged, and nothing is touched: for a Gateway that still authenticates by itself.
    Report,
}

/// Where the peer's address is read (`filter.peerAddress`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PeerAddress {
    /// The attribute `source.address`.
    #[default]
    Connection,
    /// A filter state of this key, which Envoy wrote before the filter ran.
    FilterState(String),
}

/// What a refused WebSocket gets (`filter.webSocketRefusal`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WebSocketRefusal {
    /// 101, then a close frame with 1008 and the reason.
    #[default]
    Close,
    /// A plain 401.
    Http,
    /// What rules 6, 7 and 9 would refuse goes to the Gateway without identity; the rest is closed.
    Delegate,
}

/// Dynamic metadata in which Envoy holds an identity that it verified (`filter.assertion`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The path of the property, its segments separated by NULs.
    pub(crate) path: Box<[u8]>,
    pub(crate) use_as: UseAssertion,
}

/// How the verified identity is used (`filter.assertion.as`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseAssertion {
    /// The user header must equal it, byte for byte.
    Match,
    /// It is the user; the user header is ignored.
    Identity,
}

/// What a peer's certificate is asked for (`filter.trustedPeers`, `filter.peerTrust`).
#[derive(Debug, Clone, Default)]
pub struct TrustedPeers {
    /// URI SANs, of which the first of the certificate must be one. Empty: no certificate is asked for.
    pub(crate) identities: ByteMap,
    /// The certificate alone is enough: the peer's address need not be in the list of proxies.
    pub(crate) suffice: bool,
}

/// The users who may come in: `allowUsers`.
#[derive(Debug, Clone, Default)]
pub enum Users {
    /// The list was empty: everybody whom the proxy names.
    #[default]
    Any,
    /// Exactly these. Entries that no header can carry are left out; the list may so be empty, and match nobody.
    Only(ByteMap),
}

/// A configuration, compiled: immutable, and valid by construction. [`crate::config::compile`] makes one.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) mode: Mode,
    pub(crate) anonymous: PathSet,
    pub(crate) anonymous_upgrades: PathSet,
    pub(crate) peer_address: PeerAddress,
    pub(crate) proxies: Cidrs,
    /// The Gateway's own list, where the filter has another: rule 5 walks past both.
    pub(crate) gateway_proxies: Cidrs,
    pub(crate) allow_loopback: bool,
    pub(crate) reject_same_host: bool,
    pub(crate) trusted_peers: TrustedPeers,
    /// Envoy itself authenticated the user: there is no proxy to be trusted, the peer is the client.
    pub(crate) edge: bool,
    pub(crate) assertion: Option<Assertion>,
    pub(crate) attribution_required: bool,
    pub(crate) real_ip_fallback: bool,
    /// Refusals show them as configured.
    pub(crate) required_headers: Vec<String>,
    pub(crate) user_header: Box<[u8]>,
    pub(crate) upstream_user_header: Box<[u8]>,
    pub(crate) users: Users,
    pub(crate) origins: Origins,
    pub(crate) own_paths: OwnPaths,
    pub(crate) default_scopes: Scopes,
    pub(crate) plugin_scopes: Scopes,
    /// The header's values for both, which most requests get.
    pub(crate) default_headers: [ScopesHeader; 2],
    pub(crate) ceilings: Option<Ceilings>,
    pub(crate) names: Names,
    pub(crate) websocket_refusal: WebSocketRefusal,
    pub(crate) hide_reasons: bool,
}

impl Policy {
    /// Reads a request: its serialized header map, as far as this policy needs to know it.
    ///
    /// # Errors
    /// [`MalformedHeaders`], where the map is not what a host should hand over.
    pub fn read<'a>(&self, peer: Peer, map: &'a [u8]) -> Result<Request<'a>, MalformedHeaders> {
        Request::read(&self.names, peer, map)
    }

    /// The same for a request of which no header was read yet.
    ///
    /// # Errors
    /// [`MalformedHeaders`], and then the request is of no use.
    pub fn read_into<'a>(&self, request: &mut Request<'a>, map: &'a [u8]) -> Result<(), MalformedHeaders> {
        request.fill(&self.names, map)
    }

    /// Whether the user is whom Envoy verified, whatever the user header says.
    pub(crate) fn takes_verified_user(&self) -> bool {
        self.assertion.as_ref().is_some_and(|assertion| assertion.use_as == UseAssertion::Identity)
    }

    /// Whether refusals take effect.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the rules need to know the certificate that the peer showed.
    #[must_use]
    pub fn needs_certificate(&self) -> bool {
        !self.edge && !self.trusted_peers.identities.is_empty()
    }

    /// The path of the property with the verified identity, where the rules need to know it.
    #[must_use]
    pub fn assertion_path(&self) -> Option<&[u8]> {
        self.assertion.as_ref().map(|assertion| &*assertion.path)
    }

    /// Where the peer's address is read.
    #[must_use]
    pub const fn peer_address(&self) -> &PeerAddress {
        &self.peer_address
    }

    /// Whether the rules need to know the address at which the connection was accepted.
    #[must_use]
    pub const fn needs_destination(&self) -> bool {
        self.reject_same_host
    }

    /// Whether a refused WebSocket is answered with a close frame.
    #[must_use]
    pub fn closes_websockets(&self) -> bool {
        self.websocket_refusal != WebSocketRefusal::Http
    }

    /// Whether clients are told no reason.
    #[must_use]
    pub const fn hides_reasons(&self) -> bool {
        self.hide_reasons
    }

    /// The header that the user is read from, in lower case.
    #[must_use]
    pub fn user_header(&self) -> &[u8] {
        &self.user_header
    }

    /// The headers that must be there, as configured.
    #[must_use]
    pub fn required_headers(&self) -> &[String] {
        &self.required_headers
    }
}
