//! The rules. They know nothing of proxy-wasm: they run natively, in fuzzers and in tools, as in Envoy.
#![forbid(unsafe_code)]

pub mod ceilings;
pub mod cidrs;
mod client;
#[cfg(not(target_family = "wasm"))]
pub mod help;
mod idna;
pub mod names;
pub mod origin;
pub mod path;
pub mod peer;
pub mod refusal;
pub mod scopes;
mod stamp;
pub mod texts;
#[cfg(feature = "cli")]
pub mod trace;

use ceilings::Ceilings;
use cidrs::Cidrs;
use names::{Names, Seen};
use origin::Origins;
use path::{OwnPaths, PathSet};
use peer::{Address, Peer};
use refusal::{Reason, Refusal};
use scopes::{Scope, Scopes, ScopesHeader};
pub use stamp::Edit;
use texts::Texts;

use crate::request::{MalformedHeaders, Request};
use crate::text::trim;

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
    pub(crate) identities: Texts,
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
    Only(Texts),
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

/// A permit. It carries all that is stamped, so nothing can be stamped without one.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    kind: Kind<'a>,
    /// The value of `x-openclaw-scopes`; `None`: the header stays absent.
    scopes: Option<Scopes>,
}

/// On what grounds a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// As this user, trimmed.
    Identified(&'a [u8]),
    /// By `anonymousPaths`, without identity.
    Anonymous,
    /// By `webSocketRefusal: "delegate"`, without identity: the Gateway refuses it itself, or takes a device token.
    Delegated(Refusal<'a>),
}

impl<'a> Admission<'a> {
    /// On what grounds the request passes.
    #[must_use]
    pub const fn kind(&self) -> Kind<'a> {
        self.kind
    }

    /// The scopes that are stamped; `None`: none.
    #[must_use]
    pub const fn scopes(&self) -> Option<Scopes> {
        self.scopes
    }
}

impl Policy {
    /// Reads a request: its serialized header map, as far as this policy wants to know it.
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

    /// Judges one request that this policy has read: the table of the contract's section 3, in its order.
    ///
    /// # Errors
    /// The first rule that the request breaks.
    pub fn decide<'a>(&'a self, request: &Request<'a>) -> Result<Admission<'a>, Refusal<'a>> {
        if self.is_anonymous(request) {
            return Ok(self.without_identity(request, Kind::Anonymous)); // 0
        }
        let peer = known(request.peer)?; // 1
        if !self.edge {
            self.check_proxy(request, &peer)?; // 2, 3, 3b
            self.check_certificate(request)?; // 4
        }
        if self.attribution_required {
            self.attribute(request, peer).ok_or(Reason::AttributionRequired)?; // 5
        }
        match self.identify(request) {
            Ok(user) => {
                self.check_origin(request).map_err(|reason| Refusal { user: Some(user), ..reason.into() })?; // 10
                Ok(Admission { kind: Kind::Identified(user), scopes: self.scopes(request, Some(user)) })
            }
            Err(refusal) if self.delegates(request, &refusal) => {
                // Only 6, 7 and 9 are the Gateway's to judge.
                self.check_stands_once(request)?; // 7b
                self.check_assertion(request, self.named_user(request))?; // 8
                self.check_origin(request)?; // 10
                Ok(self.without_identity(request, Kind::Delegated(refusal)))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn is_anonymous(&self, request: &Request<'_>) -> bool {
        let paths = if request.is_upgrade() { &self.anonymous_upgrades } else { &self.anonymous };
        request.plain_path.is_some_and(|path| paths.contains(path))
    }

    fn check_proxy(&self, request: &Request<'_>, peer: &Address) -> Result<(), Reason> {
        if !self.trusted_peers.suffice && !self.proxies.contains(peer) {
            return Err(Reason::UntrustedSource);
        }
        if peer.is_loopback() {
            return if self.allow_loopback { Ok(()) } else { Err(Reason::LoopbackSource) };
        }
        // Without a destination nothing shows that the peer is another host.
        let elsewhere = |destination: Address| destination.ip() != peer.ip();
        if self.reject_same_host && !request.destination.is_some_and(elsewhere) {
            return Err(Reason::LocalInterfaceSource);
        }
        Ok(())
    }

    /// Rule 4. The certificate is there only where Envoy speaks of mutual TLS.
    fn check_certificate(&self, request: &Request<'_>) -> Result<(), Reason> {
        let identities = &self.trusted_peers.identities;
        if identities.is_empty() || request.certificate.is_some_and(|identity| identities.contains(identity)) {
            Ok(())
        } else {
            Err(Reason::PeerCertificate)
        }
    }

    /// The client behind the proxies, or the peer itself where Envoy is the edge.
    fn attribute(&self, request: &Request<'_>, peer: Address) -> Option<Address> {
        let proxies = [&self.proxies, &self.gateway_proxies];
        if self.edge {
            // The Gateway walks past its own proxies: one of them would be no client to it.
            return Some(peer).filter(|peer| !peer.is_loopback() && !proxies.iter().any(|set| set.contains(peer)));
        }
        client::attribute(request, &proxies, self.real_ip_fallback)
    }

    /// Rules 6 to 9: the user, trimmed.
    fn identify<'a>(&'a self, request: &Request<'a>) -> Result<&'a [u8], Refusal<'a>> {
        for (at, name) in self.required_headers.iter().enumerate() {
            // One copy that is not blank settles it; all else is for the slow look.
            let only = self.names.required(&request.seen, at).and_then(|field| field.only());
            if only.is_none_or(|value| trim(value).is_empty()) && !is_present(request, name.as_bytes()) {
                return Err(Refusal { header: Some(name), ..Reason::MissingHeader.into() }); // 6
            }
        }
        let user = if self.takes_verified_user() {
            check_groups_stand_once(&request.seen)?; // 7b
            verified(request)? // 8
        } else {
            let user = self.named_user(request).ok_or(Reason::UserMissing)?; // 7
            self.check_stands_once(request)?; // 7b
            self.check_assertion(request, Some(user))?; // 8
            user
        };
        match &self.users {
            Users::Only(users) if !users.contains(user) => {
                Err(Refusal { user: Some(user), ..Reason::UserNotAllowed.into() }) // 9
            }
            _ => Ok(user),
        }
    }

    /// The user header's value, trimmed; `None` where the header is missing, or blank as the Gateway would read it.
    fn named_user<'a>(&self, request: &Request<'a>) -> Option<&'a [u8]> {
        let field = self.names.user(&request.seen);
        if let Some(value) = field.only() {
            return Some(trim(value)).filter(|value| !value.is_empty());
        }
        let value = field.joined(&request.headers, &self.user_header)?;
        if trim(&value).is_empty() { None } else { field.first().map(trim) }
    }

    /// Rule 7b.
    fn check_stands_once(&self, request: &Request<'_>) -> Result<(), Reason> {
        let seen = &request.seen;
        if !self.takes_verified_user() && self.names.user(seen).is_repeated() {
            Err(Reason::UserRepeated)
        } else {
            check_groups_stand_once(seen)
        }
    }

    /// Whether the user is whom Envoy verified, whatever the user header says.
    fn takes_verified_user(&self) -> bool {
        self.assertion.as_ref().is_some_and(|assertion| assertion.use_as == UseAssertion::Identity)
    }

    /// Rule 8: Envoy verified an identity, and a user who is named must match it where the header counts.
    fn check_assertion<'a>(&self, request: &Request<'a>, named: Option<&'a [u8]>) -> Result<(), Refusal<'a>> {
        if self.assertion.is_none() {
            return Ok(());
        }
        let verified = verified(request)?;
        match named {
            Some(user) if !self.takes_verified_user() && verified != user => {
                Err(Refusal { user: Some(user), ..Reason::AssertionMismatch.into() })
            }
            _ => Ok(()),
        }
    }

    fn check_origin(&self, request: &Request<'_>) -> Result<(), Reason> {
        let field = &request.fields.origin;
        if field.is_repeated() {
            return Err(Reason::OriginNotAllowed);
        }
        let origin = trim(field.first().unwrap_or_default());
        if origin.is_empty() || self.origins.allow(origin, request.fields.authority.first(), request.is_upgrade()) {
            Ok(())
        } else {
            Err(Reason::OriginNotAllowed)
        }
    }

    fn delegates(&self, request: &Request<'_>, refusal: &Refusal<'_>) -> bool {
        self.websocket_refusal == WebSocketRefusal::Delegate && request.is_websocket() && refusal.reason.is_delegable()
    }

    /// Section 4: the scopes of a request that passes.
    fn scopes(&self, request: &Request<'_>, user: Option<&[u8]>) -> Option<Scopes> {
        let seen = &request.seen;
        let named = seen.scopes.joined(&request.headers, names::SCOPES_HEADER.as_bytes());
        let named = named.map(|value| Scopes::parse(&value));
        let ceiling = match (&self.ceilings, user) {
            (Some(ceilings), Some(user)) => Some(ceilings.of(user, seen.groups.only().unwrap_or_default())),
            _ => None,
        };
        if request.is_upgrade() {
            return match (named, ceiling) {
                (named, None) => named,
                (Some(named), Some(ceiling)) => Some(ceilings::cap(named.iter(), &ceiling)),
                (None, Some(ceiling)) => Some(ceilings::cap(Scope::ALL.into_iter(), &ceiling)),
            };
        }
        let held = named.unwrap_or_else(|| {
            if request.plain_path.is_some_and(|path| self.own_paths.contains(path)) {
                self.default_scopes
            } else {
                self.plugin_scopes
            }
        });
        Some(ceiling.map_or(held, |ceiling| ceilings::intersect(&held, &ceiling)))
    }

    /// A permit without a user. On an upgrade, scopes that came stay: they can only narrow.
    fn without_identity<'a>(&self, request: &Request<'_>, kind: Kind<'a>) -> Admission<'a> {
        let scopes = if request.is_upgrade() { self.scopes(request, None) } else { None };
        Admission { kind, scopes }
    }

    /// Whether refusals take effect.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the rules want to know the certificate that the peer showed.
    #[must_use]
    pub fn needs_certificate(&self) -> bool {
        !self.edge && !self.trusted_peers.identities.is_empty()
    }

    /// The path of the property with the verified identity, where the rules want to know it.
    #[must_use]
    pub fn assertion_path(&self) -> Option<&[u8]> {
        self.assertion.as_ref().map(|assertion| &*assertion.path)
    }

    /// Where the peer's address is read.
    #[must_use]
    pub const fn peer_address(&self) -> &PeerAddress {
        &self.peer_address
    }

    /// Whether the rules want to know the address at which the connection was accepted.
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
}

/// Rule 7b.
const fn check_groups_stand_once(seen: &Seen<'_>) -> Result<(), Reason> {
    if seen.groups.is_repeated() { Err(Reason::GroupsRepeated) } else { Ok(()) }
}

/// Rule 1.
const fn known(peer: Peer) -> Result<Address, Reason> {
    match peer {
        Peer::Known(address) => Ok(address),
        Peer::Unverified => Err(Reason::PeerUnverified),
        Peer::Unknown => Err(Reason::PeerUnknown),
    }
}

/// Whether a header is there and not blank, as the Gateway reads it.
fn is_present(request: &Request<'_>, name: &[u8]) -> bool {
    request.headers.joined(name).is_some_and(|value| !trim(&value).is_empty())
}

/// The identity that Envoy verified. What is no text that a header can carry is none: a claim that is a number, a list
/// or an object arrives as its bytes. Texts are UTF-8 in Envoy's metadata, and few fractions look like that.
fn verified<'a>(request: &Request<'a>) -> Result<&'a [u8], Reason> {
    let is_text = |identity: &&[u8]| {
        identity.iter().all(|byte| !byte.is_ascii_control()) && std::str::from_utf8(identity).is_ok()
    };
    let identity = request.assertion.filter(is_text).map(trim).unwrap_or_default();
    if identity.is_empty() { Err(Reason::AssertionMissing) } else { Ok(identity) }
}
