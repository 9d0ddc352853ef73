//! The rules. They know nothing of proxy-wasm: they run natively, in fuzzers and in tools, as in Envoy.
#![forbid(unsafe_code)]

pub mod cidrs;
mod client;
mod idna;
pub mod names;
pub mod origin;
pub mod path;
pub mod peer;
pub mod refusal;
pub mod scopes;
mod stamp;

use std::collections::HashSet;

use foldhash::fast::FixedState;

use cidrs::Cidrs;
use names::Names;
use origin::Origins;
use path::{OwnPaths, PathSet, is_plain};
use peer::{Address, Peer};
use refusal::{Reason, Refusal};
use scopes::Scopes;
pub use stamp::Edit;

use crate::request::Request;
use crate::text::trim;

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

/// The users who may come in: `allowUsers`.
#[derive(Debug, Clone, Default)]
pub enum Users {
    /// The list was empty: everybody whom the proxy names.
    #[default]
    Any,
    /// Exactly these. Entries that no header can carry are left out; the list may so be empty, and match nobody.
    Only(HashSet<Box<[u8]>, FixedState>),
}

/// A configuration, compiled: immutable, and valid by construction. [`crate::config::compile`] makes one.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) anonymous: PathSet,
    pub(crate) anonymous_upgrades: PathSet,
    pub(crate) peer_address: PeerAddress,
    pub(crate) proxies: Cidrs,
    /// The Gateway's own list, where the filter has another: rule 5 walks past both.
    pub(crate) gateway_proxies: Cidrs,
    pub(crate) allow_loopback: bool,
    pub(crate) reject_same_host: bool,
    pub(crate) attribution_required: bool,
    pub(crate) real_ip_fallback: bool,
    /// As configured: refusals show them so.
    pub(crate) required_headers: Vec<String>,
    pub(crate) user_header: Box<[u8]>,
    pub(crate) upstream_user_header: Box<[u8]>,
    pub(crate) users: Users,
    pub(crate) origins: Origins,
    pub(crate) own_paths: OwnPaths,
    pub(crate) default_scopes: Scopes,
    pub(crate) plugin_scopes: Scopes,
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
    /// Judges one request: the table of the contract's section 3, in its order.
    ///
    /// # Errors
    /// The first rule that the request breaks.
    pub fn decide<'a>(&'a self, request: &Request<'a>) -> Result<Admission<'a>, Refusal<'a>> {
        if self.is_anonymous(request) {
            return Ok(self.without_identity(request, Kind::Anonymous)); // 0
        }
        self.check_peer(request)?; // 1, 2, 3, 3b
        if self.attribution_required {
            let proxies = [&self.proxies, &self.gateway_proxies];
            client::attribute(request, &proxies, self.real_ip_fallback).ok_or(Reason::AttributionRequired)?; // 5
        }
        match self.identify(request) {
            Ok(user) => {
                self.check_origin(request).map_err(|reason| Refusal { user: Some(user), ..reason.into() })?; // 10
                Ok(Admission { kind: Kind::Identified(user), scopes: self.scopes(request) })
            }
            Err(refusal) if self.delegates(request, &refusal) => {
                // Only 6, 7 and 9 are the Gateway's to judge.
                self.check_user_stands_once(request)?; // 7b
                self.check_origin(request)?; // 10
                Ok(self.without_identity(request, Kind::Delegated(refusal)))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn is_anonymous(&self, request: &Request<'_>) -> bool {
        let paths = if request.is_upgrade() { &self.anonymous_upgrades } else { &self.anonymous };
        let path = request.path();
        is_plain(path) && paths.contains(path)
    }

    fn check_peer(&self, request: &Request<'_>) -> Result<(), Reason> {
        let peer = match request.peer {
            Peer::Known(address) => address,
            Peer::Unverified => return Err(Reason::PeerUnverified),
            Peer::Unknown => return Err(Reason::PeerUnknown),
        };
        if !self.proxies.contains(&peer) {
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

    /// Rules 6, 7, 7b and 9: the user, trimmed.
    fn identify<'a>(&'a self, request: &Request<'a>) -> Result<&'a [u8], Refusal<'a>> {
        let present = |name: &[u8]| request.headers.joined(name).is_some_and(|value| !trim(&value).is_empty());
        if let Some(missing) = self.required_headers.iter().find(|name| !present(name.as_bytes())) {
            return Err(Refusal { header: Some(missing), ..Reason::MissingHeader.into() });
        }
        if !present(&self.user_header) {
            return Err(Reason::UserMissing.into());
        }
        self.check_user_stands_once(request)?;
        let user = trim(request.headers.copies(&self.user_header).next().unwrap_or_default());
        if let Users::Only(users) = &self.users
            && !users.contains(user)
        {
            return Err(Refusal { user: Some(user), ..Reason::UserNotAllowed.into() });
        }
        Ok(user)
    }

    fn check_user_stands_once(&self, request: &Request<'_>) -> Result<(), Reason> {
        if request.headers.copies(&self.user_header).nth(1).is_some() { Err(Reason::UserRepeated) } else { Ok(()) }
    }

    fn check_origin(&self, request: &Request<'_>) -> Result<(), Reason> {
        let Some(origin) = request.headers.joined(b"origin") else { return Ok(()) };
        let origin = trim(&origin);
        if origin.is_empty() || self.origins.allow(origin, request.fields.authority.first(), request.is_upgrade()) {
            Ok(())
        } else {
            Err(Reason::OriginNotAllowed)
        }
    }

    fn delegates(&self, request: &Request<'_>, refusal: &Refusal<'_>) -> bool {
        self.websocket_refusal == WebSocketRefusal::Delegate && request.is_websocket() && refusal.reason.is_delegable()
    }

    /// Section 4: the scopes of an admitted request.
    fn scopes(&self, request: &Request<'_>) -> Option<Scopes> {
        let named = request.headers.joined(names::SCOPES_HEADER.as_bytes()).map(|value| Scopes::parse(&value));
        if named.is_some() || request.is_upgrade() {
            return named;
        }
        Some(if self.own_paths.contains(request.path()) { self.default_scopes } else { self.plugin_scopes })
    }

    /// A permit without a user. On an upgrade, scopes that came stay: they can only narrow.
    fn without_identity<'a>(&self, request: &Request<'_>, kind: Kind<'a>) -> Admission<'a> {
        let scopes = if request.is_upgrade() { self.scopes(request) } else { None };
        Admission { kind, scopes }
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
