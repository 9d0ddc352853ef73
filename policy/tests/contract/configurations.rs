//! Configurations for the tests of the reader and of its schema: valid ones, invalid ones with their errors, and valid
//! ones with findings.

use policy::config::Severity;
use serde_json::{Value, json};

/// A valid configuration, with no finding except the one that every configuration has.
pub fn good() -> Value {
    json!({
        "gateway": {
            "bind": "lan",
            "trustedProxies": ["10.0.0.1"],
            "auth": {
                "mode": "trusted-proxy",
                "trustedProxy": {
                    "userHeader": "x-forwarded-user",
                    "requiredHeaders": ["x-edge"],
                    "allowUsers": ["nick@example.com"]
                }
            },
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]}
        }
    })
}

/// The valid configuration with the value at one path changed. The path is like `gateway.trustedProxies`.
pub fn with(path: &str, value: Value) -> Value {
    let mut config = good();
    let mut place = &mut config;
    for key in path.split('.') {
        place = &mut place[key];
    }
    *place = value;
    config
}

/// A configuration with further members at the top.
fn merged(mut config: Value, more: Value) -> Value {
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// The same, for one release of the Gateway.
pub fn with_release(release: &str, path: &str, value: Value) -> Value {
    let mut config = with(path, value);
    config["filter"]["gatewayVersion"] = json!(release);
    config
}

/// The valid configuration without the key at one path.
pub fn without(path: &str) -> Value {
    let mut config = good();
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = &mut config;
    for key in parent.split('.').filter(|key| !key.is_empty()) {
        place = &mut place[key];
    }
    place.as_object_mut().unwrap().remove(key).expect("the key is present");
    config
}

pub const USER: &str = "gateway.auth.trustedProxy.userHeader";
pub const REQUIRED: &str = "gateway.auth.trustedProxy.requiredHeaders";
pub const USERS: &str = "gateway.auth.trustedProxy.allowUsers";
pub const PROXIES: &str = "gateway.trustedProxies";

/// The SHA-256 digests of "s3cret" and of nothing.
pub const SECRET: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
const EMPTY: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

/// Configurations with one error each, and a part of the line that reports it.
pub fn bad() -> Vec<(Value, &'static str)> {
    vec![
        // The whole configuration
        (json!([]), "configuration: is a list; write one JSON object"),
        (json!("x"), "configuration: is a string; write one JSON object"),
        (json!(null), "configuration: is null; write one JSON object"),
        (json!({}), "gateway: is missing; paste the gateway block of openclaw.json"),
        (with("gateway", json!("x")), "gateway: is a string; write an object"),
        (with("gatway", json!({})), "gatway: unknown key; did you mean `gateway`?"),
        (with("Filter", json!({})), "Filter: unknown key; did you mean `filter`?"),
        (with("filter", json!([])), "filter: is a list; write an object, or leave the key out"),
        // The mode
        (with("gateway.auth.mode", json!("token")), "gateway.auth.mode: is \"token\"; write \"trusted-proxy\""),
        (with("gateway.auth.mode", json!(true)), "gateway.auth.mode: is a boolean; write \"trusted-proxy\""),
        (without("gateway.auth.mode"), "gateway.auth.mode: is missing; write \"trusted-proxy\""),
        (
            with("gateway.auth.token", json!("s3cr3t")),
            "gateway.auth.token: is set next to mode \"trusted-proxy\" (mixed_trusted_proxy_token); remove",
        ),
        (with("gateway.auth.token", json!({"source": "env", "id": "T"})), "gateway.auth.token: is set next to mode"),
        (with("gateway.remote", json!({"token": "s3cr3t"})), "gateway.remote.token: is set next to mode"),
        (
            without("gateway.auth.trustedProxy"),
            "gateway.auth.trustedProxy: is missing; write an object with userHeader",
        ),
        (
            with("gateway.auth.trustedProxy.userHeaders", json!("x")),
            "gateway.auth.trustedProxy.userHeaders: unknown key; did you mean `userHeader`?",
        ),
        (
            with("gateway.auth.trustedProxy.loopback", json!("s3cr3t")),
            "trustedProxy.loopback: unknown key; remove it here even if a newer Gateway knows it, because this filter does not",
        ),
        (
            with("gateway.auth.trustedProxy.allowLoopback", json!("true")),
            "allowLoopback: is a string; write true or false, without quotes",
        ),
        // The user header
        (without(USER), "gateway.auth.trustedProxy.userHeader: is missing; name the header"),
        (with(USER, json!("")), "userHeader: is blank; name the header"),
        (with(USER, json!(" \t")), "userHeader: is blank; name the header"),
        (with(USER, json!("x user")), "userHeader: \"x user\" is not a legal header name; name the header"),
        (with(USER, json!(":path")), "userHeader: \":path\" is not a legal header name"),
        (with(USER, json!(7)), "userHeader: is a number; write a string"),
        (with(USER, json!("Authorization")), "userHeader: \"Authorization\" is, or folds like, a reserved header name"),
        (with(USER, json!("x_forwarded_for")), "userHeader: \"x_forwarded_for\" is, or folds like"),
        (with(USER, json!("X-Real-IP")), "is, or folds like"),
        (with(USER, json!("connection")), "is, or folds like"),
        (with(USER, json!("cookie")), "is, or folds like"),
        (with(USER, json!("x-envoy-peer")), "is, or folds like"),
        (with(USER, json!("sec-fetch-user")), "is, or folds like"),
        (with(USER, json!("content-user")), "is, or folds like"),
        (with(USER, json!("x-openclaw-scopes")), "is, or folds like"),
        (
            with("filter", json!({"upstreamUserHeader": "host"})),
            "filter.upstreamUserHeader: \"host\" is, or folds like",
        ),
        (
            with("filter", json!({"upstreamUserHeader": "x_forwarded_user"})),
            "filter.upstreamUserHeader: \"x_forwarded_user\" folds to the same name as \"x-forwarded-user\"; use one spelling",
        ),
        // Lists of headers
        (with(REQUIRED, json!("x-edge")), "requiredHeaders: is a string; write a list"),
        (with(REQUIRED, json!(["x-edge", " "])), "requiredHeaders[1]: is blank; remove it, or name a header"),
        (with(REQUIRED, json!(["x edge"])), "requiredHeaders[0]: \"x edge\" is not a legal header name"),
        (with(REQUIRED, json!([null])), "requiredHeaders[0]: is null; write a string"),
        (
            with(REQUIRED, json!(["X_Forwarded_User"])),
            "requiredHeaders[0]: \"X_Forwarded_User\" folds to the same name as \"x-forwarded-user\"",
        ),
        (
            with(REQUIRED, json!(["x-a.b", "x-a_b"])),
            "requiredHeaders[1]: \"x-a_b\" folds to the same name as \"x-a.b\"",
        ),
        (
            with("filter", json!({"stripHeaders": ["x-forwarded-for"]})),
            "filter.stripHeaders[0]: \"x-forwarded-for\" is, or folds like, a header that HTTP, Envoy or the Gateway needs",
        ),
        (
            with("filter", json!({"stripHeaders": ["X-Edge"]})),
            "filter.stripHeaders[0]: \"X-Edge\" is needed elsewhere in this configuration",
        ),
        (
            with("filter", json!({"stripHeaders": ["x-forwarded-user"]})),
            "filter.stripHeaders[0]: \"x-forwarded-user\" is needed elsewhere",
        ),
        (with("filter", json!({"stripHeaders": [""]})), "filter.stripHeaders[0]: is blank"),
        (
            with("filter", json!({"keepHeaders": ["X-Forwarded-User"]})),
            "filter.keepHeaders[0]: \"X-Forwarded-User\" is managed by the filter itself; leave it out",
        ),
        (
            with("filter", json!({"keepHeaders": ["x-openclaw-scopes"]})),
            "filter.keepHeaders[0]: \"x-openclaw-scopes\" is managed by the filter itself",
        ),
        (
            with("filter", json!({"upstreamUserHeader": "x-up", "keepHeaders": ["x-up"]})),
            "filter.keepHeaders[0]: \"x-up\" is managed by the filter itself",
        ),
        (with("filter", json!({"keepHeaders": ["(x)"]})), "filter.keepHeaders[0]: \"(x)\" is not a legal header name"),
        // Proxies
        (without(PROXIES), "gateway.trustedProxies: names no proxy; list the address of every proxy"),
        (with(PROXIES, json!([])), "gateway.trustedProxies: names no proxy"),
        (with("filter", json!({"trustedProxies": []})), "filter.trustedProxies: names no proxy"),
        (with(PROXIES, json!("10.0.0.1")), "gateway.trustedProxies: is a string; write a list"),
        (with(PROXIES, json!(["10.0.0.1", 7])), "gateway.trustedProxies[1]: is a number; write a string"),
        (
            with(PROXIES, json!(["10.0.0.5/8"])),
            "gateway.trustedProxies[0]: \"10.0.0.5/8\" has host bits set; write \"10.0.0.0/8\", or \"10.0.0.5\" for that one address",
        ),
        (with(PROXIES, json!(["010.0.0.1"])), "\"010.0.0.1\" has a part with a leading zero"),
        (with(PROXIES, json!(["0xa.0.0.1"])), "has a hexadecimal part"),
        (with(PROXIES, json!(["10/8"])), "is a short form of an IPv4 address"),
        (with(PROXIES, json!(["fe80::1%eth0"])), "has a zone"),
        (with(PROXIES, json!(["10.0.0.1-10.0.0.9"])), "is a range"),
        (with(PROXIES, json!(["envoy.internal"])), "is a name; write one IP address or CIDR block"),
        (with(PROXIES, json!(["10.0.0.1:8080"])), "is an address with a port"),
        (
            with(PROXIES, json!(["::ffff:10.0.0.0/95"])),
            "is an IPv4-mapped block with a prefix below 96; write it as IPv4",
        ),
        (with(PROXIES, json!(["10.0.0.0/33"])), "has a bad prefix length; write a number from 0 to 32"),
        (with("filter", json!({"trustedProxies": ["envoy"]})), "filter.trustedProxies[0]: \"envoy\" is a name"),
        // Users, origins, endpoints
        (with("gateway.auth.trustedProxy.allowUsers", json!({"nick": true})), "allowUsers: is an object; write a list"),
        (
            with("gateway.controlUi.allowedOrigins", json!("*")),
            "gateway.controlUi.allowedOrigins: is a string; write a list",
        ),
        (with("gateway.controlUi", json!([])), "gateway.controlUi: is a list; write an object"),
        (
            with("gateway.http", json!({"endpoints": {"responses": {"enabled": 1}}})),
            "gateway.http.endpoints.responses.enabled: is a number; write true or false",
        ),
        (with("gateway.allowRealIpFallback", json!("yes")), "gateway.allowRealIpFallback: is a string"),
        // The filter's own keys
        (
            with("filter", json!({"rejectSameHosts": true})),
            "filter.rejectSameHosts: unknown key; did you mean `rejectSameHost`?",
        ),
        (
            with("filter", json!({"peerAddress": "header"})),
            "filter.peerAddress: is \"header\"; write \"connection\", or {\"filterState\": \"KEY\"}",
        ),
        (
            with("filter", json!({"peerAddress": {"filterState": ""}})),
            "filter.peerAddress.filterState: does not name a filter state; write",
        ),
        (
            with("filter", json!({"peerAddress": {"filterState": "k", "header": "x"}})),
            "filter.peerAddress.header: unknown key; remove it; the known keys are `filterState`",
        ),
        (
            with("filter", json!({"attribution": "none"})),
            "filter.attribution: is \"none\"; write \"required\" or \"off\"",
        ),
        (
            with("filter", json!({"webSocketRefusal": "drop"})),
            "filter.webSocketRefusal: is \"drop\"; write \"close\" or \"http\" or \"delegate\"",
        ),
        (with("filter", json!({"anonymousPaths": ["/*"]})), "filter.anonymousPaths[0]: would match every path"),
        (with("filter", json!({"anonymousPaths": ["ws:/*"]})), "filter.anonymousPaths[0]: would match every path"),
        (with("filter", json!({"anonymousPaths": ["health"]})), "filter.anonymousPaths[0]: is not a plain path"),
        (with("filter", json!({"anonymousPaths": ["/a%2fb"]})), "filter.anonymousPaths[0]: is not a plain path"),
        (with("filter", json!({"anonymousPaths": ["/a*"]})), "filter.anonymousPaths[0]: is not a plain path"),
        (with("filter", json!({"scopes": {"ownPaths": ["/x?y"]}})), "filter.scopes.ownPaths[0]: is not a plain path"),
        (
            with("filter", json!({"scopes": {"default": ["operator.root"]}})),
            "filter.scopes.default[0]: \"operator.root\" is not a scope; write one of operator.admin,",
        ),
        (
            with("filter", json!({"scopes": {"pluginDefault": ["operator.admin"]}})),
            "filter.scopes.pluginDefault[0]: \"operator.admin\" is more than the Gateway assumes",
        ),
        (
            with("filter", json!({"scopes": {"pluginDefault": ["operator.approvals"]}})),
            "filter.scopes.pluginDefault[0]: \"operator.approvals\" is more",
        ),
        // The Gateway's release
        (with("filter", json!({"gatewayVersion": 2026.9})), "filter.gatewayVersion: is a number; write a string"),
        (
            with("filter", json!({"gatewayVersion": "latest"})),
            "filter.gatewayVersion: \"latest\" is not a release of the Gateway; write the release that `openclaw --version` shows, such as \"2026.9.6\"",
        ),
        (
            with("filter", json!({"gatewayVersion": "v2026.9.6"})),
            "filter.gatewayVersion: \"v2026.9.6\" is not a release",
        ),
        (
            with("filter", json!({"gatewayVersion": "2026.8.1-nightly"})),
            "filter.gatewayVersion: \"2026.8.1-nightly\" is not a release",
        ),
        (
            with("filter", json!({"gatewayVersion": "2026.3.31"})),
            "filter.gatewayVersion: \"2026.3.31\" is older than 2026.4.2, and this filter cannot tell what such a Gateway accepts; update the Gateway to 2026.4.2 or newer",
        ),
        (with("filter", json!({"gatewayVersion": "2026.4.2-beta.1"})), "is older than 2026.4.2"),
        (
            with_release("2026.4.26", "gateway.auth.trustedProxy.allowLoopback", json!(true)),
            "gateway.auth.trustedProxy.allowLoopback: is not a key of the Gateway 2026.4.26, which does not start with it; remove it, here and in openclaw.json, or correct filter.gatewayVersion",
        ),
        (
            with_release("2026.7.35", "gateway.auth.trustedProxy.deviceAutoApprove", json!({})),
            "gateway.auth.trustedProxy.deviceAutoApprove: is not a key of the Gateway 2026.7.35",
        ),
        (
            with_release("2026.9.5", "gateway.auth.trustedProxy.cloudflareAccessOidc", json!({})),
            "gateway.auth.trustedProxy.cloudflareAccessOidc: is not a key of the Gateway 2026.9.5",
        ),
        (
            with_release("2026.4.2", USER, json!(" X-Forwarded-User")),
            "gateway.auth.trustedProxy.userHeader: \" X-Forwarded-User\" has spaces around it, and the Gateway 2026.4.2 does not trim them; write it without them",
        ),
        (
            with_release("2026.4.11", REQUIRED, json!(["x-edge", "x-proof\t"])),
            "gateway.auth.trustedProxy.requiredHeaders[1]: \"x-proof\\t\" has spaces around it",
        ),
        (
            with_release("2026.9.4-beta.1", PROXIES, json!(["::ffff:10.0.0.0/112"])),
            "gateway.trustedProxies[0]: \"::ffff:10.0.0.0/112\" is an IPv4-mapped block, and it is not known how the Gateway 2026.9.4-beta.1 reads it; write it as IPv4, \"10.0.0.0/16\", here and in openclaw.json",
        ),
        (with("filter", json!({"hideReasons": "no"})), "filter.hideReasons: is a string; write true or false"),
        (with("filter", json!({"edge": true})), "filter.edge: is true without an assertion; write filter.assertion"),
        (
            with("filter", json!({"assertion": {"metadata": ["a", "b"]}})),
            "filter.assertion.as: is missing; write \"match\"",
        ),
        (
            with("filter", json!({"assertion": {"metadata": ["a", "b"], "as": "user"}})),
            "filter.assertion.as: is \"user\"; write \"match\" or \"identity\"",
        ),
        (
            with("filter", json!({"assertion": {"as": "match"}})),
            "filter.assertion.metadata: is missing; write the path",
        ),
        (
            with("filter", json!({"assertion": {"metadata": ["a"], "as": "match"}})),
            "filter.assertion.metadata: is not a path to a string",
        ),
        (
            with("filter", json!({"assertion": {"metadata": ["a", ""], "as": "match"}})),
            "filter.assertion.metadata: is not a path to a string",
        ),
        (
            with("filter", json!({"assertion": {"metadata": "a.b", "as": "match"}})),
            "filter.assertion.metadata: is a string; write a list",
        ),
        (
            with("filter", json!({"assertion": {"metadata": ["a", "b"], "as": "match", "requireTrue": ["a.c"]}})),
            "filter.assertion.requireTrue[0]: is a string; write a list of paths, such as [[",
        ),
        (
            with("filter", json!({"assertion": {"metadata": ["a", "b"], "as": "match", "requireTrue": "a.c"}})),
            "filter.assertion.requireTrue: is a string; write a list of paths",
        ),
        (
            with("filter", json!({"assertion": {"metadata": ["a", "b"], "as": "match", "requireTrue": [["c"]]}})),
            "filter.assertion.requireTrue[0]: is not a path to a boolean; write a list of paths",
        ),
        // Secrets
        (with("filter", json!({"requiredValues": ["x-s"]})), "filter.requiredValues: is a list; write an object"),
        (
            with("filter", json!({"requiredValues": {"x-s": SECRET}})),
            "filter.requiredValues[\"x-s\"]: is a string; write an object",
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {}}})),
            "filter.requiredValues[\"x-s\"].sha256: has no digest; write the secret's SHA-256 as 64 hexadecimal digits",
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {"sha256": []}}})),
            "filter.requiredValues[\"x-s\"].sha256: has no digest",
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {"sha265": [SECRET]}}})),
            "filter.requiredValues[\"x-s\"].sha265: unknown key; did you mean `sha256`?",
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {"sha256": ["hunter2"]}}})),
            "filter.requiredValues[\"x-s\"].sha256[0]: is not a SHA-256 digest in hexadecimal; write the secret's SHA-256",
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {"sha256": [EMPTY]}}})),
            "filter.requiredValues[\"x-s\"].sha256[0]: is the digest of an empty value, which proves nothing",
        ),
        (
            with("filter", json!({"requiredValues": {"a b": {"sha256": [SECRET]}}})),
            "filter.requiredValues[\"a b\"]: \"a b\" is not a legal header name; name the header in which your proxy",
        ),
        (
            with("filter", json!({"requiredValues": {"Authorization": {"sha256": [SECRET]}}})),
            "filter.requiredValues[\"Authorization\"]: \"Authorization\" is, or folds like, a reserved header name",
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {"sha256": [SECRET]}, "X-S": {"sha256": [SECRET]}}})),
            "filter.requiredValues[\"x-s\"]: appears twice: header names have no case; write all digests under one key",
        ),
        (
            with("filter", json!({"requiredValues": {"X-Forwarded-User": {"sha256": [SECRET]}}})),
            "\"X-Forwarded-User\" is managed by the filter itself; give the secret a header of its own",
        ),
        (
            with(
                "filter",
                json!({"requiredValues": {"x-id-token": {"sha256": [SECRET]}}, "keepHeaders": ["X-Id-Token"]}),
            ),
            "\"x-id-token\" is needed elsewhere in this configuration; remove it from filter.keepHeaders",
        ),
        (
            with("filter", json!({"requiredValues": {"x_edge": {"sha256": [SECRET]}}})),
            "filter.requiredValues[\"x_edge\"]: \"x_edge\" folds to the same name as \"x-edge\"",
        ),
        // What the login left behind
        (with("filter", json!({"removeCookies": ["a b"]})), "filter.removeCookies[0]: \"a b\" is not a cookie's name"),
        (with("filter", json!({"removeCookies": [""]})), "filter.removeCookies[0]: \"\" is not a cookie's name"),
        (with("filter", json!({"removeCookies": ["a*b"]})), "filter.removeCookies[0]: \"a*b\" is not a cookie's name"),
        (
            with("filter", json!({"removeCookies": ["*"]})),
            "filter.removeCookies[0]: is every cookie, those of the Gateway too; write the name of a cookie",
        ),
        (
            with("filter", json!({"removeCookies": ["__openclaw*"]})),
            "\"__openclaw*\" names cookies of the Gateway itself (__openclaw_plugin_tab_auth_...); leave the Gateway's own",
        ),
        (
            with("filter", json!({"removeCookies": ["openclaw_portal_18789"]})),
            "\"openclaw_portal_18789\" names cookies of the Gateway itself (openclaw_portal_...)",
        ),
        (
            with("filter", json!({"removeCookies": ["oc_portal_x*"]})),
            "\"oc_portal_x*\" names cookies of the Gateway itself (oc_portal_...)",
        ),
        (with("filter", json!({"removeBearer": "yes"})), "filter.removeBearer: is a string; write true or false"),
        (
            with("filter", json!({"stampedFilterState": 1})),
            "filter.stampedFilterState: is a number; write true or false",
        ),
        (
            merged(with(REQUIRED, json!(["Authorization"])), json!({"filter": {"removeBearer": true}})),
            "filter.removeBearer: takes away authorization, which is needed elsewhere in this configuration",
        ),
        (
            merged(with(REQUIRED, json!(["cookie"])), json!({"filter": {"removeCookies": ["a"]}})),
            "filter.removeCookies: takes away cookie, which is needed elsewhere in this configuration",
        ),
        // The peer's identity
        (
            with("filter", json!({"peerIdentity": "certificate"})),
            "filter.peerIdentity: is a string; write [\"certificate\"]",
        ),
        (with("filter", json!({"peerIdentity": []})), "filter.peerIdentity: is empty; write [\"certificate\"]"),
        (with("filter", json!({"peerIdentity": ["header"]})), "filter.peerIdentity[0]: is \"header\"; write"),
        (with("filter", json!({"peerIdentity": [7]})), "filter.peerIdentity[0]: is a number; write"),
        (
            with("filter", json!({"peerIdentity": [{"filterState": ""}]})),
            "filter.peerIdentity[0].filterState: does not name a filter state; write",
        ),
        (
            with("filter", json!({"peerIdentity": [{"filterstate": "a", "filterState": "io.istio.peer_principal"}]})),
            "filter.peerIdentity[0].filterstate: unknown key; did you mean `filterState`?",
        ),
        (
            with("filter", json!({"peerIdentity": ["certificate", "certificate"]})),
            "filter.peerIdentity[1]: appears twice; remove one of them",
        ),
        (
            with("filter", json!({"peerIdentity": [{"filterState": "wasm.peer"}]})),
            "filter.peerIdentity[0].filterState: \"wasm.peer\" is what plugins write, during requests; write",
        ),
        (with("filter", json!({"mode": "dry-run"})), "filter.mode: is \"dry-run\"; write \"enforce\" or \"report\""),
        // Certificates
        (
            with("filter", json!({"peerTrust": "certificate"})),
            "filter.peerTrust: is \"certificate\" without trustedPeers; list in filter.trustedPeers",
        ),
        (
            with("filter", json!({"peerTrust": "certificate", "trustedPeers": []})),
            "filter.peerTrust: is \"certificate\" without trustedPeers",
        ),
        (with("filter", json!({"trustedPeers": "spiffe://a/b"})), "filter.trustedPeers: is a string; write a list"),
        (with("filter", json!({"trustedPeers": [""]})), "filter.trustedPeers[0]: \"\" is blank; write one URI"),
        (with("filter", json!({"trustedPeers": ["spiffe://a/*"]})), "trustedPeers[0]: \"spiffe://a/*\" is a pattern"),
        (
            with("filter", json!({"trustedPeers": ["proxy.example.com"]})),
            "trustedPeers[0]: \"proxy.example.com\" is not a URI",
        ),
        (with("filter", json!({"trustedPeers": ["://a"]})), "trustedPeers[0]: \"://a\" is not a URI"),
        (with("filter", json!({"trustedPeers": ["a/b:c"]})), "trustedPeers[0]: \"a/b:c\" is not a URI"),
        (
            with("filter", json!({"trustedPeers": ["spiffe://a/b c"]})),
            "trustedPeers[0]: \"spiffe://a/b c\" has bytes that a URI",
        ),
        // Open sockets
        (
            with("filter", json!({"openSockets": "close"})),
            "filter.openSockets: is \"close\"; write \"recheck\" or \"keep\"",
        ),
        (with("filter", json!({"openSockets": true})), "filter.openSockets: is a boolean; write a string"),
        (
            with("filter", json!({"socketMaxAge": "12"})),
            "filter.socketMaxAge: \"12\" is not a duration; write a number without a leading zero and one unit (s, m, h or d)",
        ),
        (
            with("filter", json!({"socketMaxAge": "0h"})),
            "filter.socketMaxAge: \"0h\" is not a duration; write a number",
        ),
        (with("filter", json!({"socketMaxAge": "1h30m"})), "filter.socketMaxAge: \"1h30m\" is not a duration"),
        (with("filter", json!({"socketMaxAge": ""})), "filter.socketMaxAge: \"\" is not a duration"),
        (with("filter", json!({"socketMaxAge": 43200})), "filter.socketMaxAge: is a number; write a number without"),
        (with("filter", json!({"socketMaxAge": null})), "filter.socketMaxAge: is null; write a number without"),
        (
            with("filter", json!({"socketMaxAge": "366d"})),
            "filter.socketMaxAge: \"366d\" is longer than 365 days; write a number without a leading zero",
        ),
        (with("filter", json!({"socketMaxAge": "99999999999999999999s"})), "is longer than 365 days; write"),
        (
            with("filter", json!({"socketsUntil": "assertion"})),
            "filter.socketsUntil: is \"assertion\" without an assertion; write filter.assertion, the path",
        ),
        (with("filter", json!({"socketsUntil": "exp"})), "filter.socketsUntil: is \"exp\"; write \"assertion\""),
        (with("filter", json!({"socketsUntil": true})), "filter.socketsUntil: is a boolean; write a string"),
        // Ceilings
        (
            with("filter", json!({"scopes": {"users": {}}})),
            "filter.scopes.users[\"*\"]: is missing; write the most scopes that everybody else",
        ),
        (
            with("filter", json!({"scopes": {"groupsHeader": "x-g", "groups": {"ops": []}}})),
            "filter.scopes.users[\"*\"]: is missing",
        ),
        (
            with("filter", json!({"scopes": {"users": {"*": []}, "groups": {"ops": []}}})),
            "filter.scopes.groupsHeader: is missing; name the header in which your proxy lists",
        ),
        (
            with("filter", json!({"scopes": {"groupsHeader": "x-g", "users": {"*": []}, "groups": {"*": []}}})),
            "filter.scopes.groups[\"*\"]: is not a group; put the ceiling of everybody else under",
        ),
        (
            with("filter", json!({"scopes": {"groupsHeader": "x-g", "users": {"*": []}, "groups": {"a,b": []}}})),
            "filter.scopes.groups[\"a,b\"]: contains the separator \",\", so no group can match it; remove it, or set",
        ),
        (
            with("filter", json!({"userPrefix": ""})),
            "filter.userPrefix: \"\" is not what a header's value can start with; write what your proxy puts before",
        ),
        (with("filter", json!({"userPrefix": " x"})), "filter.userPrefix: \" x\" is not what a header's value can"),
        (with("filter", json!({"userPrefix": "\u{142}"})), "filter.userPrefix: \"\u{142}\" is not what a header's"),
        (
            with("filter", json!({"scopes": {"groupsSeparator": ", "}})),
            "filter.scopes.groupsSeparator: is \", \"; write \",\" or \";\" or \"|\" or \" \"",
        ),
        (
            with("filter", json!({"scopes": {"ownSockets": ["ws:/node"]}})),
            "filter.scopes.ownSockets[0]: is not a plain path",
        ),
        (
            with("filter", json!({"scopes": {"withoutUser": ["operator.reed"]}})),
            "filter.scopes.withoutUser[0]: \"operator.reed\" is not a scope",
        ),
        (
            with("filter", json!({"scopes": {"users": {"*": "operator.read"}}})),
            "users[\"*\"]: is a string; write a list",
        ),
        (with("filter", json!({"scopes": {"users": []}})), "filter.scopes.users: is a list; write an object"),
        (
            with("filter", json!({"scopes": {"users": {"*": [], "a.b": ["operator.reed"]}}})),
            "filter.scopes.users[\"a.b\"][0]: \"operator.reed\" is not a scope; write one of operator.admin",
        ),
        (
            with("filter", json!({"scopes": {"users": {"*": [], "Nick@example.com": [], "nick@Example.com": []}}})),
            "filter.scopes.users[\"nick@Example.com\"]: appears twice",
        ),
        (
            with("filter", json!({"scopes": {"groupsHeader": "X-Forwarded-User", "groups": {}, "users": {"*": []}}})),
            "filter.scopes.groupsHeader: \"X-Forwarded-User\" carries the user; name the header that carries the groups",
        ),
        (
            with("filter", json!({"scopes": {"groupsHeader": "x_forwarded_user", "groups": {}, "users": {"*": []}}})),
            "filter.scopes.groupsHeader: \"x_forwarded_user\" folds to the same name",
        ),
        (
            with("filter", json!({"scopes": {"groupsHeader": "cookie", "groups": {}, "users": {"*": []}}})),
            "filter.scopes.groupsHeader: \"cookie\" is, or folds like, a reserved header name",
        ),
        (
            with(
                "filter",
                json!({"keepHeaders": ["x-g"], "scopes": {"groupsHeader": "x-g", "groups": {}, "users": {"*": []}}}),
            ),
            "filter.keepHeaders[0]: \"x-g\" is managed by the filter itself; leave it out",
        ),
    ]
}

/// Valid configurations, each with one finding in addition to the one that every configuration has.
pub fn doubtful() -> Vec<(Value, &'static str, Severity)> {
    use Severity::{Critical, Info, Warn};
    vec![
        (without("gateway.auth.trustedProxy.allowUsers"), "gateway.trusted_proxy_no_allowlist", Warn),
        (with("gateway.auth.trustedProxy.allowLoopback", json!(true)), "gateway.trusted_proxy_allow_loopback", Warn),
        (with("filter", json!({"allowLoopback": true})), "gateway.trusted_proxy_allow_loopback", Warn),
        (
            with("gateway.controlUi.allowedOrigins", json!(["*"])),
            "gateway.control_ui.allowed_origins_wildcard",
            Critical,
        ),
        (without("gateway.controlUi.allowedOrigins"), "gateway.control_ui.allowed_origins_required", Critical),
        (
            with("gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback", json!(true)),
            "gateway.control_ui.host_header_origin_fallback",
            Critical,
        ),
        (with("gateway.allowRealIpFallback", json!(true)), "gateway.real_ip_fallback_enabled", Critical),
        (with("gateway.auth.password", json!("s3cr3t")), "filter.password_in_configuration", Warn),
        (with("filter", json!({"attribution": "off"})), "filter.attribution_off", Warn),
        (with("filter", json!({"webSocketRefusal": "delegate"})), "filter.websocket_delegate", Warn),
        (with("filter", json!({"crossSite": "allow"})), "filter.cross_site", Warn),
        (with("filter", json!({"anonymousPaths": ["/hook/*"]})), "filter.anonymous_paths", Warn),
        (with("filter", json!({"openSockets": "keep"})), "filter.open_sockets", Warn),
        (with("filter", json!({"openSockets": "keep", "socketMaxAge": "12h"})), "filter.open_sockets", Warn),
        (with("filter", json!({"trustedProxies": ["10.9.9.9"]})), "filter.trusted_proxies", Info),
        (with(PROXIES, json!(["10.0.0.1", "10.0.0.2"])), "filter.removed_proxies", Info),
        (with("filter", json!({"mode": "report"})), "filter.report_mode", Critical),
        (with("filter", json!({"trustedPeers": ["spiffe://a.b/c"]})), "filter.trusted_peers", Warn),
        (with("filter", json!({"trustedPeers": ["urn:x"]})), "filter.trusted_peers", Warn),
        (
            with("filter", json!({"peerIdentity": [{"filterState": "io.istio.peer_principal"}]})),
            "filter.never_matches",
            Warn,
        ),
        (
            with("filter", json!({"requiredValues": {"x-s": {"sha256": [SECRET, SECRET.to_uppercase()]}}})),
            "filter.never_matches",
            Warn,
        ),
        (
            with(
                "filter",
                json!({"scopes": {"users": {"*": ["operator.read"], "Nick@example.com": ["operator.talk"]}}}),
            ),
            "filter.default_ceiling",
            Warn,
        ),
        (with("filter", json!({"scopes": {"users": {"*": [], "eva@example.com": []}}})), "filter.unlisted_user", Warn),
        (with(USERS, json!(["*"])), "filter.odd_user", Warn),
        (with(USERS, json!(["*@example.com"])), "filter.odd_user", Warn),
        (with(USERS, json!(["@example.com"])), "filter.odd_user", Warn),
        (with(USERS, json!(["a@example.com,b@example.com"])), "filter.odd_user", Warn),
        (with(USERS, json!(["a@example.com b@example.com"])), "filter.odd_user", Warn),
        (with(USERS, json!(["$CUSTOMER_EMAIL"])), "filter.odd_user", Warn),
        (with(USERS, json!(["<your-email>"])), "filter.odd_user", Warn),
        (with(USERS, json!(["{{ .Values.user }}"])), "filter.odd_user", Warn),
        (with(USERS, json!(["j\u{f6}rg"])), "filter.odd_user", Warn),
        (with("filter", json!({"scopes": {"ownPaths": ["/rt/*"]}})), "filter.own_paths", Warn),
        (with("filter", json!({"scopes": {"ownSockets": ["/node"]}})), "filter.own_sockets", Warn),
        (
            with("filter", json!({"scopes": {"groupsHeader": "x-g", "groups": {}, "users": {"*": []}}})),
            "filter.groups_header",
            Warn,
        ),
        (with("filter", json!({"scopes": {"groupsSeparator": ";"}})), "filter.never_matches", Warn),
        (with("filter", json!({"scopes": {"groupsHeader": "x-g"}})), "filter.never_matches", Warn),
        (with("filter", json!({"scopes": {"users": {"*": [], "": []}}})), "filter.never_matches", Warn),
        (with("filter", json!({"scopes": {"users": {"*": [], "\u{142}ukasz": []}}})), "filter.never_matches", Warn),
        (with(PROXIES, json!(["10.0.0.0/8"])), "filter.broad_proxies", Warn),
        (with(PROXIES, json!(["2001:db8::/32"])), "filter.broad_proxies", Warn),
        (without(REQUIRED), "filter.required_headers", Info),
        (with(REQUIRED, json!(["X-Forwarded-Proto", "x-request-id"])), "filter.required_headers", Info),
        (with(REQUIRED, json!(["Host", "user-agent", "X-Forwarded-User"])), "filter.required_headers", Info),
        (with("gateway.auth.trustedProxy.allowUsers", json!(["nick@example.com", " x"])), "filter.never_matches", Warn),
        (with("gateway.auth.trustedProxy.allowUsers", json!(["\u{142}ukasz"])), "filter.never_matches", Warn),
        (with("gateway.auth.trustedProxy.allowUsers", json!([""])), "filter.never_matches", Warn),
        (with("gateway.controlUi.allowedOrigins", json!(["https://a", "https://b/"])), "filter.never_matches", Warn),
        (with("gateway.controlUi.allowedOrigins", json!(["https://a", "https://b:443"])), "filter.never_matches", Warn),
        (with("gateway.controlUi.allowedOrigins", json!(["https://a", "https://*.b"])), "filter.never_matches", Warn),
        (
            with("gateway.controlUi.allowedOrigins", json!(["https://a", "chrome-extension://*"])),
            "filter.never_matches",
            Warn,
        ),
        (with(PROXIES, json!(["127.0.0.1"])), "filter.loopback_proxies", Warn),
        (with("gateway.controlUi.basePath", json!("/a b")), "filter.never_matches", Warn),
        (with("gateway.controlui", json!({})), "filter.unknown_key", Warn),
        (with("gateway.bind", json!("lann")), "filter.unknown_value", Warn),
        (with("filter", json!({"keepHeaders": ["x-foreign"]})), "filter.never_matches", Warn),
    ]
}
