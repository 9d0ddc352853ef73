//! A policy: a compiled configuration, immutable and valid by construction.

use crate::byte_map::ByteMap;
use crate::ceilings::Ceilings;
use crate::cidrs::Cidrs;
use crate::cookies::CookieNames;
use crate::headers::MalformedHeaders;
use crate::metadata::{self, Value};
use crate::names::Names;
use crate::origin::Origins;
use crate::path::{OwnPaths, PathSet};
use crate::peer::Peer;
use crate::request::{Identity, Request};
use crate::rules::cross_site::ControlUiReads;
use crate::rules::public_files::PublicFiles;
use crate::scopes::{Scopes, ScopesHeader};
use crate::secrets::Secret;
use crate::sockets::SocketRules;

/// Whether refusals take effect (`filter.mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Refusals take effect.
    #[default]
    Enforce,
    /// They are only counted and logged, and no header is changed: for a Gateway that still authenticates users itself.
    Report,
}

/// Where the peer's address is read from (`filter.peerAddress`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PeerAddress {
    /// The attribute `source.address`.
    #[default]
    Connection,
    /// The filter state with this key, which Envoy set before the filter ran.
    FilterState(String),
}

/// How a refused WebSocket is answered (`filter.webSocketRefusal`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WebSocketRefusal {
    /// 101, then a close frame with 1008 and the reason.
    #[default]
    Close,
    /// A plain 401.
    Http,
    /// Requests that rules 6, 7 or 9 would refuse go to the Gateway without an identity. All others are closed.
    Delegate,
}

/// The dynamic metadata in which Envoy stores an identity that it verified (`filter.assertion`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The path of the property. Its segments are separated by NULs.
    pub(crate) path: Box<[u8]>,
    pub(crate) use_as: UseAssertion,
    /// The paths of claims that must be the boolean `true`: the filter that verified them, then the keys. Their
    /// segments are separated by NULs.
    pub(crate) require_true: Vec<Box<[u8]>>,
}

impl Assertion {
    /// What comes before the path in metadata, in the path of the property.
    pub(crate) const PREFIX: &[u8] = b"metadata\0filter_metadata\0";

    /// The path in metadata.
    pub(crate) fn in_metadata(&self) -> &[u8] {
        self.path.strip_prefix(Self::PREFIX).unwrap_or_default()
    }
}

/// How the verified identity is used (`filter.assertion.as`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseAssertion {
    /// The user header must equal it, byte for byte.
    Match,
    /// It is the user; the user header is ignored.
    Identity,
}

/// Where the peer's identity is read from (`filter.peerIdentity`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// The first URI SAN of the peer's certificate, over mutual TLS.
    Certificate,
    /// The filter state with this key, which Envoy set before any filter ran.
    FilterState(String),
}

impl IdentitySource {
    /// A value that was read there.
    #[must_use]
    pub const fn of<'v>(&self, value: &'v [u8]) -> Identity<'v> {
        match self {
            Self::Certificate => Identity::Certificate(value),
            Self::FilterState(_) => Identity::FilterState(value),
        }
    }
}

/// Who the peer must be (`filter.trustedPeers`, `filter.peerTrust`, `filter.peerIdentity`).
#[derive(Debug, Clone, Default)]
pub struct TrustedPeers {
    /// The peer's identity must be one of these. If there are none, no identity is required.
    pub(crate) identities: ByteMap,
    /// The identity alone is enough: the peer's address need not be in the list of proxies.
    pub(crate) suffice: bool,
    /// Where the identity is read from. The first of these that is present counts.
    pub(crate) sources: Vec<IdentitySource>,
}

/// The users who are allowed (`allowUsers`).
#[derive(Debug, Clone, Default)]
pub enum Users {
    /// The list was empty: every user whom the proxy names is allowed.
    #[default]
    Any,
    /// Exactly these. Entries that no header can carry are left out, so this may be empty and match nobody.
    Only(ByteMap),
}

/// A compiled configuration: immutable, and valid by construction. [`crate::config::compile`] makes one.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) mode: Mode,
    pub(crate) anonymous: PathSet,
    pub(crate) anonymous_upgrades: PathSet,
    pub(crate) peer_address: PeerAddress,
    pub(crate) proxies: Cidrs,
    /// The Gateway's own list, if the filter has a different one: rule 5 skips the proxies of both.
    pub(crate) gateway_proxies: Cidrs,
    pub(crate) allow_loopback: bool,
    pub(crate) reject_same_host: bool,
    pub(crate) trusted_peers: TrustedPeers,
    /// Envoy itself authenticates users: there is no proxy to trust, and the peer is the client.
    pub(crate) edge: bool,
    pub(crate) assertion: Option<Assertion>,
    pub(crate) attribution_required: bool,
    pub(crate) real_ip_fallback: bool,
    /// Spelled as configured, because refusals show them.
    pub(crate) required_headers: Vec<String>,
    /// The headers that must hold a secret (`requiredValues`).
    pub(crate) secrets: Vec<Secret>,
    pub(crate) user_header: Box<[u8]>,
    /// What the user header's value starts with, before the user (`userPrefix`). Empty if there is nothing.
    pub(crate) user_prefix: Box<[u8]>,
    pub(crate) upstream_user_header: Box<[u8]>,
    pub(crate) users: Users,
    pub(crate) origins: Origins,
    /// The reads of the Control UI, if the Gateway demands more of their origin (`auth.allowTailscale`).
    pub(crate) tailscale_reads: Option<ControlUiReads>,
    /// The files of the Control UI that the Gateway serves to every origin.
    pub(crate) public_files: Option<PublicFiles>,
    /// Whether requests of other web sites without an Origin are refused (`crossSite`).
    pub(crate) refuse_cross_site: bool,
    pub(crate) own_paths: OwnPaths,
    /// The paths of the Gateway's own sockets, where the scopes header is a cap. On any other upgrade it is a grant.
    pub(crate) own_sockets: PathSet,
    /// The scopes that the Gateway knows.
    pub(crate) known_scopes: Scopes,
    pub(crate) default_scopes: Scopes,
    pub(crate) plugin_scopes: Scopes,
    /// Whether a plugin's route is granted what the header names. If not, it is granted the plugins' default.
    pub(crate) plugins_read_header: bool,
    /// The header values of these two, which most requests get.
    pub(crate) default_headers: [ScopesHeader; 2],
    pub(crate) ceilings: Option<Ceilings>,
    /// The most scopes of an upgrade that passes without a user. `None` if there is no such limit.
    pub(crate) without_user: Option<Scopes>,
    pub(crate) names: Names,
    /// Cookies that do not reach the Gateway (`removeCookies`).
    pub(crate) remove_cookies: CookieNames,
    /// Whether a user's bearer token does not reach the Gateway (`removeBearer`).
    pub(crate) remove_bearer: bool,
    /// Whether a request that goes on leaves what was stamped in filter state (`stampedFilterState`).
    pub(crate) stamped_filter_state: bool,
    /// Whether there is anything to take away of the three: secrets, cookies, bearer tokens.
    pub(crate) is_discreet: bool,
    pub(crate) websocket_refusal: WebSocketRefusal,
    pub(crate) hide_reasons: bool,
    pub(crate) sockets: SocketRules,
}

impl Policy {
    /// Reads what this policy needs to know of a request from its serialized header map.
    ///
    /// # Errors
    /// [`MalformedHeaders`], if the map is not in the format of proxy-wasm.
    pub fn read<'a>(&self, peer: Peer, map: &'a [u8]) -> Result<Request<'a>, MalformedHeaders> {
        Request::read(&self.names, peer, map)
    }

    /// The same for a request whose headers were not read yet.
    ///
    /// # Errors
    /// [`MalformedHeaders`]; the request must not be used then.
    pub fn read_into<'a>(&self, request: &mut Request<'a>, map: &'a [u8]) -> Result<(), MalformedHeaders> {
        request.fill(&self.names, map)
    }

    /// Whether the identity that Envoy verified is the user, whatever the user header says.
    pub(crate) fn takes_verified_user(&self) -> bool {
        self.assertion.as_ref().is_some_and(|assertion| assertion.use_as == UseAssertion::Identity)
    }

    /// Whether the claims that must be true are, if there are such.
    pub(crate) fn has_true_claims(&self, request: &Request<'_>) -> bool {
        request.claims_are_true || self.required_claims().next().is_none()
    }

    /// Whether refusals take effect.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Where the peer's identity is read from: the first of these that is present is [`Request::identity`]. There are
    /// none if no rule needs it.
    #[must_use]
    pub fn identity_sources(&self) -> &[IdentitySource] {
        if self.edge || self.trusted_peers.identities.is_empty() { &[] } else { &self.trusted_peers.sources }
    }

    /// Whether the rules need the peer's certificate.
    #[must_use]
    pub fn needs_certificate(&self) -> bool {
        self.identity_sources().contains(&IdentitySource::Certificate)
    }

    /// The path of the property that holds the verified identity, if the rules need it.
    #[must_use]
    pub fn assertion_path(&self) -> Option<&[u8]> {
        self.assertion.as_ref().map(|assertion| &*assertion.path)
    }

    /// The paths in metadata of the claims that must be `true`; their segments are separated by NULs.
    pub fn required_claims(&self) -> impl Iterator<Item = &[u8]> {
        self.assertion.iter().flat_map(|assertion| assertion.require_true.iter().map(|path| &**path))
    }

    /// What Envoy verified, by its type: the identity, and whether all claims of [`Self::required_claims`] are true.
    /// `value` is the property at [`Self::assertion_path`], and `metadata` reads the property `metadata`. That is
    /// called only if there are such claims, or if the value could also be a number.
    pub fn verified<'v>(
        &self,
        value: Option<&'v [u8]>,
        metadata: impl FnOnce() -> Option<Vec<u8>>,
    ) -> (Option<&'v [u8]>, bool) {
        let Some(assertion) = &self.assertion else { return (None, false) };
        // The host provides numbers as eight bytes. The bytes of lists and objects have NULs, which rule 8 refuses.
        let may_be_number = value.is_some_and(|value| value.len() == size_of::<f64>());
        if !may_be_number && assertion.require_true.is_empty() {
            return (value, true);
        }
        let metadata = metadata().unwrap_or_default();
        let is_text = |value: &&[u8]| metadata::get(&metadata, assertion.in_metadata()) == Some(Value::Text(value));
        let is_true = |path: &[u8]| metadata::get(&metadata, path) == Some(Value::Bool(true));
        (value.filter(|value| !may_be_number || is_text(value)), self.required_claims().all(is_true))
    }

    /// The headers that must hold a secret, spelled as configured.
    pub fn secret_headers(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.header.as_str())
    }

    /// Where the peer's address is read from.
    #[must_use]
    pub const fn peer_address(&self) -> &PeerAddress {
        &self.peer_address
    }

    /// Whether the rules need the address at which the connection was accepted.
    #[must_use]
    pub const fn needs_destination(&self) -> bool {
        self.reject_same_host
    }

    /// Whether a refused WebSocket is answered with a close frame.
    #[must_use]
    pub fn closes_websockets(&self) -> bool {
        self.websocket_refusal != WebSocketRefusal::Http
    }

    /// Whether the reason is hidden from clients.
    #[must_use]
    pub const fn hides_reasons(&self) -> bool {
        self.hide_reasons
    }

    /// How long open sockets may stay.
    #[must_use]
    pub const fn sockets(&self) -> SocketRules {
        self.sockets
    }

    /// The header that the user is read from, in lower case.
    #[must_use]
    pub fn user_header(&self) -> &[u8] {
        &self.user_header
    }

    /// The headers that must be present, spelled as configured.
    #[must_use]
    pub fn required_headers(&self) -> &[String] {
        &self.required_headers
    }
}
