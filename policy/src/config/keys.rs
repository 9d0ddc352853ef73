//! Every key that the filter reads: its name, what it may hold, its default and its meaning, in one table each.
//!
//! The reader refuses every key that is not in a closed table. The JSON Schema and the table in README.md are made
//! of the same rows. The schema is not derived from Rust types because no such types exist: the reader goes through
//! values, so that it can tell all errors at once with their places. What a row says a key may hold is held against
//! the reader in both directions by `tests/native/schema.rs`.
//!
//! In the module only the names remain: it has no use for the rest.

use super::shapes::Shape::{Leaf, Object, WordOr};
use super::shapes::{self as s, Key, Keys};
use crate::policy::{Mode, UseAssertion, WebSocketRefusal};

macro_rules! keys {
    ($($(#[$doc:meta])* $table:ident, $names:ident: $($name:literal $holds:expr, $default:literal, $meaning:literal;)*)*) => {
        $(
            #[allow(dead_code, reason = "of an open object every key is known")]
            pub(super) const $names: &[&str] = &[$($name),*];
            $(#[$doc])*
            pub const $table: &[Key] =
                &[$(Key { name: $name, default: $default, meaning: $meaning, holds: $holds }),*];
        )*
    };
}

/// `filter.mode`.
pub(super) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("report", Mode::Report)];
/// `filter.attribution`: whether a client's address is asked for.
pub(super) const ATTRIBUTIONS: [(&str, bool); 2] = [("required", true), ("off", false)];
/// `filter.peerTrust`: whether a certificate is enough.
pub(super) const PEER_TRUSTS: [(&str, bool); 2] = [("address", false), ("certificate", true)];
/// `filter.webSocketRefusal`.
pub(super) const WEBSOCKET_REFUSALS: [(&str, WebSocketRefusal); 3] =
    [("close", WebSocketRefusal::Close), ("http", WebSocketRefusal::Http), ("delegate", WebSocketRefusal::Delegate)];
/// `filter.assertion.as`.
pub(super) const USES: [(&str, UseAssertion); 2] =
    [("match", UseAssertion::Match), ("identity", UseAssertion::Identity)];
/// `filter.peerAddress`, where it is not an object.
pub(super) const CONNECTION: &str = "connection";

/// Groups need the header that lists them, and a ceiling for everybody else.
const SCOPES_OBJECT: Keys = Keys { needs: &[("groups", &["groupsHeader", "users"])], ..Keys::closed(SCOPES, &[]) };

keys! {
    /// The whole.
    ROOT, ROOT_NAMES:
    "gateway" Object(Keys::open(GATEWAY, &["auth"])), "", "the gateway block of openclaw.json, as it is";
    "filter" Object(Keys::closed(FILTER, &[])), "`{}`", "what only this filter has";

    /// `gateway`, as far as it is read. The Gateway has more keys, which are ignored.
    GATEWAY, GATEWAY_NAMES:
    "bind" Leaf(s::anything), "", "where the Gateway listens; audit findings weigh more unless it is `loopback`";
    "trustedProxies" Leaf(s::proxies), "`[]`", "who may connect to the Gateway, which is Envoy; also who may connect to Envoy, unless `filter.trustedProxies` says that";
    "allowRealIpFallback" Leaf(s::boolean), "`false`", "X-Real-IP names the client where X-Forwarded-For names none";
    "auth" Object(Keys::open(AUTH, &["mode", "trustedProxy"])), "", "how the Gateway authenticates";
    "remote" Object(Keys::open(REMOTE, &[])), "", "how others reach this Gateway";
    "controlUi" Object(Keys::open(CONTROL_UI, &[])), "", "the Control UI";
    "http" Object(Keys::open(HTTP, &[])), "", "the HTTP API";

    /// `gateway.auth`, as far as it is read.
    AUTH, AUTH_NAMES:
    "mode" Leaf(s::auth_mode), "", "must be `\"trusted-proxy\"`";
    "token" Leaf(s::no_token), "none", "must be absent or blank: a shared token beside `trusted-proxy` is ambiguous";
    "password" Leaf(s::anything), "none", "not needed here: leave it out, proxies and their tools can show it";
    "trustedProxy" Object(Keys::closed(TRUSTED_PROXY, &["userHeader"])), "", "what the proxy says, and who may come in";

    /// `gateway.auth.trustedProxy`.
    TRUSTED_PROXY, TRUSTED_PROXY_NAMES:
    "userHeader" Leaf(s::identity_header), "", "the header in which the proxy names the user";
    "requiredHeaders" Leaf(s::header_names), "`[]`", "headers that must be there and not blank";
    "allowUsers" Leaf(s::strings), "`[]`", "the users who may come in, exactly as the proxy spells them; empty: all whom it names";
    "allowLoopback" Leaf(s::boolean), "`false`", "a proxy on the same host may connect from 127.0.0.0/8 or ::1";
    "deviceAutoApprove" Leaf(s::anything), "", "the Gateway's own business";
    "cloudflareAccessOidc" Leaf(s::anything), "", "the Gateway's own business; where it is set, `cf-access-jwt-assertion` goes on to the Gateway";

    /// `gateway.remote`, as far as it is read.
    REMOTE, REMOTE_NAMES:
    "token" Leaf(s::no_token), "none", "must be absent or blank";

    /// `gateway.controlUi`, as far as it is read.
    CONTROL_UI, CONTROL_UI_NAMES:
    "allowedOrigins" Leaf(s::strings), "`[]`", "the origins of web pages that may speak to the Gateway, as browsers send them; `\"*\"`: all";
    "dangerouslyAllowHostHeaderOriginFallback" Leaf(s::boolean), "`false`", "an origin that equals the Host header passes too";
    "basePath" Leaf(s::string), "`\"\"`", "where the Control UI is mounted";

    /// `gateway.http`, as far as it is read.
    HTTP, HTTP_NAMES:
    "endpoints" Object(Keys::open(ENDPOINTS, &[])), "", "endpoints that can be switched on";

    /// `gateway.http.endpoints`, as far as it is read.
    ENDPOINTS, ENDPOINTS_NAMES:
    "chatCompletions" Object(Keys::open(ENDPOINT, &[])), "", "`/v1/chat/completions`";
    "responses" Object(Keys::open(ENDPOINT, &[])), "", "`/v1/responses`";

    /// An endpoint.
    ENDPOINT, ENDPOINT_NAMES:
    "enabled" Leaf(s::boolean), "`false`", "whether it is there";

    /// `filter`.
    FILTER, FILTER_NAMES:
    "mode" Leaf(|| s::choice(&MODES)), "`\"enforce\"`", "`\"report\"`: decide, count and log, but refuse nothing and touch no header; only for a Gateway that still authenticates by itself";
    "trustedProxies" Leaf(s::proxies), "the Gateway's", "who may connect to this Envoy, where that is not who may connect to the Gateway";
    "allowLoopback" Leaf(s::boolean), "the Gateway's", "the same for proxies on Envoy's own host";
    "trustedPeers" Leaf(s::trusted_peers), "`[]`", "the first URI SAN (SPIFFE id) of the peer's client certificate must be one of these; the listener must verify certificates, which the filter cannot see";
    "peerTrust" Leaf(|| s::choice(&PEER_TRUSTS)), "`\"address\"`", "`\"certificate\"`: `trustedPeers` is enough, the peer's address is not looked up in `trustedProxies`";
    "peerAddress" WordOr(CONNECTION, Keys::closed(PEER_ADDRESS, &["filterState"])), "`\"connection\"`", "the peer is Envoy's `source.address`, or `{\"filterState\": \"KEY\"}`";
    "assertion" Object(Keys::closed(ASSERTION, &["metadata", "as"])), "none", "`{\"metadata\": [\"envoy.filters.http.jwt_authn\", \"payload\", \"email\"], \"as\": \"match\"}`: the user header must equal the identity that Envoy verified; `\"as\": \"identity\"`: that identity is the user";
    "edge" Leaf(s::boolean), "`false`", "no proxy in front: Envoy itself signs users in (`jwt_authn`, `oauth2`); needs `assertion`, and asks for no trusted peer";
    "rejectSameHost" Leaf(s::boolean), "`false`", "refuse a peer that has the very address it connects to";
    "attribution" Leaf(|| s::choice(&ATTRIBUTIONS)), "`\"required\"`", "`\"off\"`: no client address is asked for; only for Gateways older than 2026.8";
    "anonymousPaths" Leaf(s::anonymous_paths), "`[\"/health\", \"/healthz\"]`", "pass without identity: exact, or `/x/*`; `ws:/x` for upgrades";
    "webSocketRefusal" Leaf(|| s::choice(&WEBSOCKET_REFUSALS)), "`\"close\"`", "`\"close\"`: 101, then close 1008 with the reason (over HTTP/2 a plain 401, which browsers show as 1006: keep `allow_connect` off where they connect); `\"http\"`: 401; `\"delegate\"`: a WebSocket without a valid user goes to the Gateway, scrubbed";
    "upstreamUserHeader" Leaf(s::identity_header), "the user header", "the header that the user is stamped into";
    "stripHeaders" Leaf(s::stripped_headers), "`[]`", "added to the identity headers that are scrubbed";
    "keepHeaders" Leaf(s::header_names), "`[]`", "spared from the identity headers that are scrubbed";
    "scopes" Object(SCOPES_OBJECT), "", "what requests may do at the Gateway";
    "hideReasons" Leaf(s::boolean), "`false`", "clients are not told the reason";

    /// `filter.assertion`.
    ASSERTION, ASSERTION_NAMES:
    "metadata" Leaf(s::metadata_path), "", "where in Envoy's dynamic metadata the identity is: the filter that verified it, then keys";
    "as" Leaf(|| s::choice(&USES)), "", "`\"match\"`: the user header must equal it; `\"identity\"`: it is the user";

    /// `filter.peerAddress`, where it is an object.
    PEER_ADDRESS, PEER_ADDRESS_NAMES:
    "filterState" Leaf(s::filter_state_key), "", "the key under which Envoy stores the peer, before this filter runs";

    /// `filter.scopes`.
    SCOPES, SCOPES_NAMES:
    "default" Leaf(s::default_scopes), "the Gateway's", "narrower scopes for requests without `x-openclaw-scopes` on the Gateway's own paths";
    "pluginDefault" Leaf(s::plugin_scopes), "the Gateway's", "the same on plugins' paths";
    "ownPaths" Leaf(s::paths), "`[]`", "further paths that are the Gateway's own";
    "users" Leaf(s::user_ceilings), "none", "the scopes that a user may have at most: `{\"nick@example.com\": [\"operator.admin\"], \"*\": [\"operator.read\"]}`; `\"*\"` is everybody else, and must be there. Names with an `@` match in any ASCII case";
    "groupsHeader" Leaf(s::identity_header), "none", "the header in which the proxy lists a user's groups, separated by commas";
    "groups" Leaf(s::group_ceilings), "none", "the same as `scopes.users` for groups; a user has what their own entry and all their groups allow";
}
