//! Every key that the filter reads: its name, its shape, its default and its meaning. There is one table for each
//! object.
//!
//! The reader rejects keys that are not in a closed table. The JSON Schema and `docs/configuration.md` are made from
//! the same rows. The schema is not derived from Rust types, because there are none: the reader goes through values, so
//! that it can report all errors at once with their paths. `tests/native/schema.rs` checks that the shapes and the
//! reader accept the same values.
//!
//! The module contains only the names.

use super::shapes::Shape::{Leaf, Object, WordOr};
use super::shapes::{self as s, Key, Keys};
use crate::policy::{Mode, UseAssertion, WebSocketRefusal};

macro_rules! keys {
    ($($(#[$doc:meta])* $table:ident, $names:ident: $($name:literal $holds:expr, $default:literal, $meaning:literal;)*)*) => {
        $(
            #[allow(dead_code, reason = "the names of an open object are not checked")]
            pub(super) const $names: &[&str] = &[$($name),*];
            $(#[$doc])*
            pub const $table: &[Key] =
                &[$(Key { name: $name, default: $default, meaning: $meaning, holds: $holds }),*];
        )*
    };
}

/// `filter.mode`.
pub(super) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("report", Mode::Report)];
/// `filter.attribution`: whether a client address is required.
pub(super) const ATTRIBUTIONS: [(&str, bool); 2] = [("required", true), ("off", false)];
/// `filter.crossSite`: whether requests of other web sites without an Origin are refused.
pub(super) const CROSS_SITES: [(&str, bool); 2] = [("allow", false), ("refuse", true)];
/// `filter.openSockets`: whether open sockets are decided again after a change of policy.
pub(super) const OPEN_SOCKETS: [(&str, bool); 2] = [("recheck", true), ("keep", false)];
/// `filter.socketsUntil`.
pub(super) const SOCKETS_UNTIL: [(&str, ()); 1] = [("assertion", ())];
/// `filter.peerTrust`: whether a certificate is enough.
pub(super) const PEER_TRUSTS: [(&str, bool); 2] = [("address", false), ("certificate", true)];
/// `filter.webSocketRefusal`.
pub(super) const WEBSOCKET_REFUSALS: [(&str, WebSocketRefusal); 3] =
    [("close", WebSocketRefusal::Close), ("http", WebSocketRefusal::Http), ("delegate", WebSocketRefusal::Delegate)];
/// `filter.assertion.as`.
pub(super) const USES: [(&str, UseAssertion); 2] =
    [("match", UseAssertion::Match), ("identity", UseAssertion::Identity)];
/// `filter.scopes.groupsSeparator`.
pub(super) const SEPARATORS: [(&str, u8); 4] = [(",", b','), (";", b';'), ("|", b'|'), (" ", b' ')];
/// `filter.peerAddress`, if it is not an object.
pub(super) const CONNECTION: &str = "connection";

/// `groups` needs the header that lists them, and the ceiling of everybody else.
const SCOPES_OBJECT: Keys = Keys { needs: &[("groups", &["groupsHeader", "users"])], ..Keys::closed(SCOPES, &[]) };

/// What ends with the verified identity needs one.
const FILTER_OBJECT: Keys = Keys { needs: &[("socketsUntil", &["assertion"])], ..Keys::closed(FILTER, &[]) };

keys! {
    /// The whole configuration.
    ROOT, ROOT_NAMES:
    "gateway" Object(Keys::open(GATEWAY, &["auth"])), "", "the `gateway` block of openclaw.json, pasted as it is";
    "filter" Object(FILTER_OBJECT), "`{}`", "the settings of this filter";

    /// The keys of `gateway` that are read. `gateway_keys` has all others.
    GATEWAY, GATEWAY_NAMES:
    "bind" Leaf(s::anything), "", "where the Gateway listens; some audit findings are more severe unless it is `loopback`";
    "trustedProxies" Leaf(s::proxies), "`[]`", "the addresses that may connect to the Gateway, that is, Envoy's; also those that may connect to Envoy, unless `filter.trustedProxies` is set";
    "allowRealIpFallback" Leaf(s::boolean), "`false`", "X-Real-IP names the client when X-Forwarded-For does not";
    "auth" Object(Keys::open(AUTH, &["mode", "trustedProxy"])), "", "how the Gateway authenticates";
    "remote" Object(Keys::open(REMOTE, &[])), "", "how others reach this Gateway";
    "controlUi" Object(Keys::open(CONTROL_UI, &[])), "", "the Control UI";
    "http" Object(Keys::open(HTTP, &[])), "", "the HTTP API";

    /// The keys of `gateway.auth` that are read.
    AUTH, AUTH_NAMES:
    "mode" Leaf(s::auth_mode), "", "must be `\"trusted-proxy\"`";
    "token" Leaf(s::no_token), "none", "must be absent or blank: a shared token next to `trusted-proxy` is ambiguous";
    "password" Leaf(s::anything), "none", "not needed here: leave it out, because proxies and their tools can show it";
    "allowTailscale" Leaf(s::boolean), "`false`", "if true, the Gateway demands `Sec-Fetch-Site: same-origin` of reads of the Control UI without an Origin, and `\"*\"` in `allowedOrigins` does not count for these; so does the filter";
    "identityScopes" Leaf(s::anything), "", "used by the Gateway only, from 2026.8.1 on";
    "trustedProxy" Object(Keys::closed(TRUSTED_PROXY, &["userHeader"])), "", "what the proxy sends, and which users are allowed";

    /// `gateway.auth.trustedProxy`.
    TRUSTED_PROXY, TRUSTED_PROXY_NAMES:
    "userHeader" Leaf(s::identity_header), "", "the header in which the proxy names the user";
    "requiredHeaders" Leaf(s::header_names), "`[]`", "headers that must be present and not blank";
    "allowUsers" Leaf(s::strings), "`[]`", "the users who are allowed, exactly as the proxy spells them; an empty list allows every user that the proxy names";
    "allowLoopback" Leaf(s::boolean), "`false`", "a proxy on the same host may connect from 127.0.0.0/8 or ::1; a key from 2026.4.27 on";
    "deviceAutoApprove" Leaf(s::anything), "", "used by the Gateway only, from 2026.8.1 on";
    "cloudflareAccessOidc" Leaf(s::anything), "", "used by the Gateway only, from 2026.9.6 on; if it is set, `cf-access-jwt-assertion` is passed on to the Gateway";

    /// The keys of `gateway.remote` that are read.
    REMOTE, REMOTE_NAMES:
    "token" Leaf(s::no_token), "none", "must be absent or blank";

    /// The keys of `gateway.controlUi` that are read.
    CONTROL_UI, CONTROL_UI_NAMES:
    "enabled" Leaf(s::boolean), "`true`", "whether the Gateway serves the Control UI; if not, its paths may be a plugin's";
    "allowedOrigins" Leaf(s::strings), "`[]`", "the origins of web pages that may use the Gateway, as browsers send them; `\"*\"` allows all";
    "dangerouslyAllowHostHeaderOriginFallback" Leaf(s::boolean), "`false`", "an origin that equals the Host header is allowed too";
    "basePath" Leaf(s::string), "`\"\"`", "where the Control UI is mounted";

    /// The keys of `gateway.http` that are read.
    HTTP, HTTP_NAMES:
    "endpoints" Object(Keys::open(ENDPOINTS, &[])), "", "endpoints that can be switched on";

    /// The keys of `gateway.http.endpoints` that are read.
    ENDPOINTS, ENDPOINTS_NAMES:
    "chatCompletions" Object(Keys::open(ENDPOINT, &[])), "", "`/v1/chat/completions`";
    "responses" Object(Keys::open(ENDPOINT, &[])), "", "`/v1/responses`";

    /// An endpoint of `gateway.http.endpoints`.
    ENDPOINT, ENDPOINT_NAMES:
    "enabled" Leaf(s::boolean), "`false`", "whether the endpoint is switched on";

    /// `filter`.
    FILTER, FILTER_NAMES:
    "mode" Leaf(|| s::choice(&MODES)), "`\"enforce\"`", "`\"report\"`: decide, count and log, but refuse nothing and change no header; only for a Gateway that still authenticates users itself";
    "trustedProxies" Leaf(s::proxies), "the Gateway's", "the addresses that may connect to this Envoy, if they are not those that may connect to the Gateway";
    "allowLoopback" Leaf(s::boolean), "the Gateway's", "a proxy on Envoy's own host may connect from 127.0.0.0/8 or ::1";
    "trustedPeers" Leaf(s::trusted_peers), "`[]`", "the peer's identity (`peerIdentity`) must be one of these; of a client certificate, that is the first URI SAN (SPIFFE id). The listener must verify certificates, which the filter cannot check";
    "peerTrust" Leaf(|| s::choice(&PEER_TRUSTS)), "`\"address\"`", "`\"certificate\"`: `trustedPeers` is enough, and the peer's address is not looked up in `trustedProxies`; with an identity out of filter state, the peer may lack an address";
    "peerIdentity" Leaf(s::peer_identity), "`[\"certificate\"]`", "where the peer's identity for `trustedPeers` is read: `\"certificate\"`, or `{\"filterState\": \"KEY\"}` for a mesh's tunnel (Istio's ambient mode: `io.istio.peer_principal`). The first that is present counts";
    "peerAddress" WordOr(CONNECTION, Keys::closed(PEER_ADDRESS, &["filterState"])), "`\"connection\"`", "the peer is Envoy's `source.address`, or `{\"filterState\": \"KEY\"}`";
    "assertion" Object(Keys::closed(ASSERTION, &["metadata", "as"])), "none", "`{\"metadata\": [\"envoy.filters.http.jwt_authn\", \"payload\", \"email\"], \"as\": \"match\"}`: the user header must equal the identity that Envoy verified; `\"as\": \"identity\"`: that identity is the user";
    "edge" Leaf(s::boolean), "`false`", "no proxy in front: Envoy itself signs users in (`jwt_authn`, `oauth2`); needs `assertion`; no trusted peer is required";
    "rejectSameHost" Leaf(s::boolean), "`false`", "refuse a peer whose address equals the address it connected to";
    "gatewayVersion" Leaf(s::release), "`\"2026.9.6\"`", "the Gateway's release, from 2026.4.2 on, such as `2026.5.4`: the rules follow what that release does";
    "attribution" Leaf(|| s::choice(&ATTRIBUTIONS)), "`\"required\"` from 2026.8.1 on", "`\"off\"`: no client address is required; Gateways before 2026.8.1 require none, and `gatewayVersion` says so";
    "anonymousPaths" Leaf(s::anonymous_paths), "`[\"/health\", \"/healthz\", \"/ready\", \"/readyz\", \"/startup\", \"/startupz\"]`", "paths that pass without an identity: `/x` exactly, or `/x/*` for everything below; `ws:/x` for upgrades";
    "webSocketRefusal" Leaf(|| s::choice(&WEBSOCKET_REFUSALS)), "`\"close\"`", "`\"close\"`: 101, then close 1008 with the reason (over HTTP/2 a plain 401, which browsers show as 1006: keep `allow_connect` off where they connect); `\"http\"`: 401; `\"delegate\"`: a WebSocket without a valid user goes to the Gateway, scrubbed";
    "requiredValues" Leaf(s::required_values), "none", "`{\"x-edge-secret\": {\"sha256\": [\"HEX\"]}}`: the header must hold a secret that only the proxy knows, given by its SHA-256 in hexadecimal; list the next secret too, to rotate. The Gateway does not get the value: the header is removed, or holds `verified` if `requiredHeaders` names it";
    "userPrefix" Leaf(s::user_prefix), "none", "what the proxy writes before the user in the user header, such as `accounts.google.com:`; the rest is the user, in every rule and for the Gateway";
    "upstreamUserHeader" Leaf(s::identity_header), "the user header", "the header that names the user to the Gateway";
    "stripHeaders" Leaf(s::stripped_headers), "`[]`", "further identity headers to scrub";
    "keepHeaders" Leaf(s::header_names), "`[]`", "identity headers not to scrub";
    "scopes" Object(SCOPES_OBJECT), "", "what requests may do at the Gateway";
    "crossSite" Leaf(|| s::choice(&CROSS_SITES)), "`\"allow\"`", "`\"refuse\"`: a request that another web site makes without an Origin (an image, a script, a frame) is refused, unless a person navigates to the page";
    "removeCookies" Leaf(s::cookies), "`[]`", "cookies of the login that the Gateway must not get: names, or the start of names and `*` (`[\"IdToken\", \"_oauth2_proxy*\"]`), in exact case. All other cookies keep their bytes and order";
    "removeBearer" Leaf(s::boolean), "`false`", "a user's `Authorization: Bearer` does not reach the Gateway; requests without a user keep theirs";
    "stampedFilterState" Leaf(s::boolean), "`false`", "each request that goes on leaves the stamped user and scopes in filter state, at the cost of four host calls: native Envoy can write both once more right before the router, so that no filter in between changes them";
    "openSockets" Leaf(|| s::choice(&OPEN_SOCKETS)), "`\"recheck\"`", "after a change of policy, open WebSockets are decided again, and those that would be refused now, or would have another user or fewer scopes, are closed; `\"keep\"`: they stay open";
    "socketMaxAge" Leaf(s::socket_age), "none", "how long a WebSocket may be open, such as `\"12h\"`: a number without a leading zero and one unit, `s`, `m`, `h` or `d`; at most `\"365d\"`. Then it is closed, and the client connects again";
    "socketsUntil" Leaf(|| s::choice(&SOCKETS_UNTIL)), "none", "`\"assertion\"`: a WebSocket is closed when the verified identity expires: at the claim `exp` beside it, plus 60 seconds; needs `assertion`";
    "hideReasons" Leaf(s::boolean), "`false`", "do not tell clients the reason";

    /// An entry of `filter.requiredValues`.
    REQUIRED_VALUE, REQUIRED_VALUE_NAMES:
    "sha256" Leaf(s::digests), "", "the digests of the values that the header may have";

    /// `filter.assertion`.
    ASSERTION, ASSERTION_NAMES:
    "metadata" Leaf(s::metadata_path), "", "the path of the identity in Envoy's dynamic metadata: the filter that verified it, then the keys";
    "requireTrue" Leaf(s::metadata_paths), "`[]`", "paths of claims that must be the boolean `true`, such as `[[\"envoy.filters.http.jwt_authn\", \"payload\", \"email_verified\"]]`";
    "as" Leaf(|| s::choice(&USES)), "", "`\"match\"`: the user header must equal it; `\"identity\"`: it is the user";

    /// `filter.peerAddress`, if it is an object.
    PEER_ADDRESS, PEER_ADDRESS_NAMES:
    "filterState" Leaf(s::filter_state_key), "", "the key of the filter state in which Envoy stores the peer's address before this filter runs";

    /// `filter.scopes`.
    SCOPES, SCOPES_NAMES:
    "default" Leaf(s::default_scopes), "the Gateway's", "narrower scopes for requests without `x-openclaw-scopes` on the Gateway's own paths";
    "pluginDefault" Leaf(s::plugin_scopes), "the Gateway's", "the same on plugins' paths";
    "ownPaths" Leaf(s::paths), "`[]`", "further paths that are the Gateway's own";
    "ownSockets" Leaf(s::paths), "`[]`", "further paths on which the Gateway's own WebSocket is, such as `/node` for devices";
    "users" Leaf(s::user_ceilings), "none", "the most scopes that a user may have: `{\"nick@example.com\": [\"operator.admin\"], \"*\": [\"operator.read\"]}`; `\"*\"` is everybody else, and is required. Names match in any case, as the Gateway's profiles do";
    "groupsHeader" Leaf(s::identity_header), "none", "the header in which the proxy lists a user's groups; the proxy must overwrite it on every request";
    "groupsSeparator" Leaf(|| s::choice(&SEPARATORS)), "`\",\"`", "what separates the groups: `\",\"`, `\";\"`, `\"|\"` or `\" \"`";
    "groups" Leaf(s::group_ceilings), "none", "the same as `scopes.users` for groups; the user's ceiling is the union of their own entry and those of all their groups. Names match exactly";
    "withoutUser" Leaf(s::scopes), "that of `users[\"*\"]`", "the most scopes of a WebSocket that passes without a user (`anonymousPaths`, `webSocketRefusal: \"delegate\"`): a device's token gets no more";
}
