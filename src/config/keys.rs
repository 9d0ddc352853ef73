//! Every key that the filter reads: its name, what it may hold, its default and its meaning, in one table each.
//!
//! The reader refuses every key that is not in a closed table. The JSON Schema and the table in README.md are made of the same rows. The
//! schema is not derived from Rust types because no such types exist: the reader goes through values, so that it can tell all errors at
//! once with their places. What a row says a key may hold is held against the reader in both directions by `tests/schema.rs`.
//!
//! In the module only the names remain: it has no use for the rest.
#![forbid(unsafe_code)]

use crate::policy::{Mode, UseAssertion, WebSocketRefusal};

/// One key of an object of the configuration.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default, in Markdown: JSON between backticks, or words; empty where there is none.
    pub default: &'static str,
    /// Its meaning, in Markdown.
    pub meaning: &'static str,
    /// What it may hold.
    pub(super) holds: fn() -> serde_json::Value,
}

macro_rules! keys {
    ($($(#[$doc:meta])* $table:ident, $names:ident: $($name:literal $holds:expr, $default:literal, $meaning:literal;)*)*) => {
        $(
            #[allow(dead_code, reason = "of an open object every key is known")]
            pub(super) const $names: &[&str] = &[$($name),*];
            $(#[$doc])*
            #[cfg(not(target_family = "wasm"))]
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
/// `gateway.auth.mode`.
pub(super) const AUTH_MODE: &str = "trusted-proxy";
/// `filter.peerAddress`, where it is no object.
pub(super) const CONNECTION: &str = "connection";

#[cfg(not(target_family = "wasm"))]
use super::schema as s;

keys! {
    /// The whole.
    ROOT, ROOT_NAMES:
    "gateway" s::gateway, "", "the gateway block of openclaw.json, as it is";
    "filter" s::filter, "`{}`", "what only this filter has";

    /// `gateway`, as far as it is read. The Gateway has more keys, which are ignored.
    GATEWAY, GATEWAY_NAMES:
    "bind" s::anything, "", "where the Gateway listens; audit findings weigh more unless it is `loopback`";
    "trustedProxies" s::proxies, "`[]`", "who may connect to the Gateway, which is Envoy; also who may connect to Envoy, unless `filter.trustedProxies` says that";
    "allowRealIpFallback" s::boolean, "`false`", "X-Real-IP names the client where X-Forwarded-For names none";
    "auth" s::auth, "", "how the Gateway authenticates";
    "remote" s::remote, "", "how others reach this Gateway";
    "controlUi" s::control_ui, "", "the Control UI";
    "http" s::http, "", "the HTTP API";

    /// `gateway.auth`, as far as it is read.
    AUTH, AUTH_NAMES:
    "mode" s::auth_mode, "", "must be `\"trusted-proxy\"`";
    "token" s::no_token, "none", "must be absent or blank: a shared token beside `trusted-proxy` is ambiguous";
    "password" s::anything, "none", "not needed here: leave it out, proxies and their tools can show it";
    "trustedProxy" s::trusted_proxy, "", "what the proxy says, and who may come in";

    /// `gateway.auth.trustedProxy`.
    TRUSTED_PROXY, TRUSTED_PROXY_NAMES:
    "userHeader" s::identity_header, "", "the header in which the proxy names the user";
    "requiredHeaders" s::header_names, "`[]`", "headers that must be there and not blank";
    "allowUsers" s::strings, "`[]`", "the users who may come in, exactly as the proxy spells them; empty: all whom it names";
    "allowLoopback" s::boolean, "`false`", "a proxy on the same host may connect from 127.0.0.0/8 or ::1";
    "deviceAutoApprove" s::anything, "", "the Gateway's own business";
    "cloudflareAccessOidc" s::anything, "", "the Gateway's own business; where it is set, `cf-access-jwt-assertion` goes on to the Gateway";

    /// `gateway.remote`, as far as it is read.
    REMOTE, REMOTE_NAMES:
    "token" s::no_token, "none", "must be absent or blank";

    /// `gateway.controlUi`, as far as it is read.
    CONTROL_UI, CONTROL_UI_NAMES:
    "allowedOrigins" s::strings, "`[]`", "the origins of web pages that may speak to the Gateway, as browsers send them; `\"*\"`: all";
    "dangerouslyAllowHostHeaderOriginFallback" s::boolean, "`false`", "an origin that equals the Host header passes too";
    "basePath" s::string, "`\"\"`", "where the Control UI is mounted";

    /// `gateway.http`, as far as it is read.
    HTTP, HTTP_NAMES:
    "endpoints" s::endpoints, "", "endpoints that can be switched on";

    /// `gateway.http.endpoints`, as far as it is read.
    ENDPOINTS, ENDPOINTS_NAMES:
    "chatCompletions" s::endpoint, "", "`/v1/chat/completions`";
    "responses" s::endpoint, "", "`/v1/responses`";

    /// An endpoint.
    ENDPOINT, ENDPOINT_NAMES:
    "enabled" s::boolean, "`false`", "whether it is there";

    /// `filter`.
    FILTER, FILTER_NAMES:
    "mode" || s::choice(&MODES), "`\"enforce\"`", "`\"report\"`: decide, count and log, but refuse nothing and touch no header; only for a Gateway that still authenticates by itself";
    "trustedProxies" s::proxies, "the Gateway's", "who may connect to this Envoy, where that is not who may connect to the Gateway";
    "allowLoopback" s::boolean, "the Gateway's", "the same for proxies on Envoy's own host";
    "trustedPeers" s::trusted_peers, "`[]`", "the first URI SAN (SPIFFE id) of the peer's client certificate must be one of these; the listener must verify certificates, which the filter cannot see";
    "peerTrust" || s::choice(&PEER_TRUSTS), "`\"address\"`", "`\"certificate\"`: `trustedPeers` is enough, the peer's address is not looked up in `trustedProxies`";
    "peerAddress" s::peer_address, "`\"connection\"`", "the peer is Envoy's `source.address`, or `{\"filterState\": \"KEY\"}`";
    "assertion" s::assertion, "none", "`{\"metadata\": [\"envoy.filters.http.jwt_authn\", \"payload\", \"email\"], \"as\": \"match\"}`: the user header must equal the identity that Envoy verified; `\"as\": \"identity\"`: that identity is the user";
    "edge" s::boolean, "`false`", "no proxy in front: Envoy itself signs users in (`jwt_authn`, `oauth2`); needs `assertion`, and asks for no trusted peer";
    "rejectSameHost" s::boolean, "`false`", "refuse a peer that has the very address it connects to";
    "attribution" || s::choice(&ATTRIBUTIONS), "`\"required\"`", "`\"off\"`: no client address is asked for; only for Gateways older than 2026.8";
    "anonymousPaths" s::anonymous_paths, "`[\"/health\", \"/healthz\"]`", "pass without identity: exact, or `/x/*`; `ws:/x` for upgrades";
    "webSocketRefusal" || s::choice(&WEBSOCKET_REFUSALS), "`\"close\"`", "`\"close\"`: 101, then close 1008 with the reason (over HTTP/2 a plain 401, which browsers show as 1006: keep `allow_connect` off where they connect); `\"http\"`: 401; `\"delegate\"`: a WebSocket without a valid user goes to the Gateway, scrubbed";
    "upstreamUserHeader" s::identity_header, "the user header", "the header that the user is stamped into";
    "stripHeaders" s::stripped_headers, "`[]`", "added to the identity headers that are scrubbed";
    "keepHeaders" s::header_names, "`[]`", "spared from the identity headers that are scrubbed";
    "scopes" s::scopes, "", "what requests may do at the Gateway";
    "hideReasons" s::boolean, "`false`", "clients are not told the reason";

    /// `filter.assertion`.
    ASSERTION, ASSERTION_NAMES:
    "metadata" s::metadata_path, "", "where in Envoy's dynamic metadata the identity is: the filter that verified it, then keys";
    "as" || s::choice(&USES), "", "`\"match\"`: the user header must equal it; `\"identity\"`: it is the user";

    /// `filter.peerAddress`, where it is an object.
    PEER_ADDRESS, PEER_ADDRESS_NAMES:
    "filterState" s::filter_state_key, "", "the key under which Envoy stores the peer, before this filter runs";

    /// `filter.scopes`.
    SCOPES, SCOPES_NAMES:
    "default" s::default_scopes, "the Gateway's", "narrower scopes for requests without `x-openclaw-scopes` on the Gateway's own paths";
    "pluginDefault" s::plugin_scopes, "the Gateway's", "the same on plugins' paths";
    "ownPaths" s::paths, "`[]`", "further paths that are the Gateway's own";
    "users" s::user_ceilings, "none", "the scopes that a user may have at most: `{\"nick@example.com\": [\"operator.admin\"], \"*\": [\"operator.read\"]}`; `\"*\"` is everybody else, and must be there. Names with an `@` match in any ASCII case";
    "groupsHeader" s::identity_header, "none", "the header in which the proxy lists a user's groups, separated by commas";
    "groups" s::group_ceilings, "none", "the same as `scopes.users` for groups; a user has what their own entry and all their groups allow";
}
