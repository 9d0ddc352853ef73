//! Cases near the edges of the rules: a configuration and a request made for it, sometimes with something wrong. The
//! first answer of every choice is the plainest, so that a failing case shrinks to a plain one.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::choices::Choices;
use crate::{Request, SCOPES, latin1};

/// A configuration and a request.
#[derive(Clone)]
pub struct Case {
    pub config: Value,
    pub request: Request,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}\n{:?}", self.config, self.request)
    }
}

/// Makes a case from bytes.
pub fn case(choices: &mut Choices<'_>) -> Case {
    let config = config(choices);
    let request = request(choices, &config);
    Case { config, request }
}

/// Makes a case whose request is an upgrade, and a second configuration: the first one after an edit. That one may not
/// be valid.
pub fn edited(choices: &mut Choices<'_>) -> (Case, Value) {
    let Case { config, mut request } = case(choices);
    choices.set_calm(false);
    let edited = edit(choices, &config);
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"upgrade")) {
        request
            .headers
            .extend([("upgrade", "websocket"), ("connection", "upgrade")].map(|(n, v)| (n.into(), v.into())));
    }
    // The new user header often came too, with the same user or with another one.
    let header = |config: &Value| texts(&json!([config["gateway"]["auth"]["trustedProxy"]["userHeader"]])).concat();
    let (old, new) = (header(&config).into_bytes(), header(&edited).into_bytes());
    let is_there = |name: &[u8]| request.headers.iter().position(|(other, _)| other.eq_ignore_ascii_case(name));
    if let Some(at) = is_there(&old)
        && is_there(&new).is_none()
        && !choices.one_in(4)
    {
        let mut value = request.headers[at].1.clone();
        match choices.below(6) {
            4 => value = b"bob".to_vec(),
            5 => value.extend([b'x'; 256]),
            _ => {}
        }
        request.headers.push((new, value));
    }
    if choices.one_in(4) {
        let names = [&USER_HEADERS[..], &GROUPS, &KEPT, &["cookie", "x-long"]].concat();
        let name = *choices.pick(&names);
        let length = *choices.pick(&[255, 256, 257, 1000]);
        request.headers.push((name.into(), vec![b'x'; length]));
    }
    (Case { config, request }, edited)
}

/// A configuration after an edit: one to three keys are taken from another one, or an entry is taken out of a list.
fn edit(c: &mut Choices<'_>, config: &Value) -> Value {
    const PARENTS: [&str; 5] =
        ["/gateway", "/gateway/auth/trustedProxy", "/gateway/controlUi", "/filter", "/filter/scopes"];
    let other = self::config(c);
    let keys = |config: &Value, parent: &str| -> Vec<String> {
        let object = config.pointer(parent).and_then(Value::as_object);
        object.into_iter().flat_map(|object| object.keys().cloned()).collect()
    };
    let mut places = Vec::new();
    for parent in PARENTS {
        let mut all = keys(config, parent);
        all.extend(keys(&other, parent));
        all.sort();
        all.dedup();
        all.retain(|key| key != "auth");
        places.extend(all.into_iter().map(|key| (parent, key)));
    }
    let mut edited = config.clone();
    let mut lists = Vec::new();
    for (parent, key) in &places {
        let path = format!("{parent}/{key}");
        if edited.pointer(&path).and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            lists.push(path);
        }
    }
    if !lists.is_empty() && c.one_in(3) {
        let path = c.pick(&lists).clone();
        if let Some(list) = edited.pointer_mut(&path).and_then(Value::as_array_mut) {
            list.remove(c.below(list.len()));
        }
        return edited;
    }
    for _ in 0..=c.below(3) {
        let (parent, key) = c.pick(&places).clone();
        let value = other.pointer(parent).and_then(|object| object.get(&key)).cloned();
        if let Some(object) = edited.pointer_mut(parent).and_then(Value::as_object_mut) {
            match value {
                Some(value) => drop(object.insert(key, value)),
                None => drop(object.remove(&key)),
            }
        }
    }
    edited
}

// ---- configurations ----

const PROXIES: [&str; 21] = [
    "10.0.0.1",
    "10.0.0.0/24",
    "192.0.2.0/31",
    "192.0.2.128/25",
    "172.16.0.0/12",
    "100.64.0.0/10",
    " 198.18.5.6/32\t",
    "127.0.0.1",
    "127.0.0.0/8",
    "::1",
    "2001:db8::1",
    "2001:DB8:0:0::2",
    "2001:db8:1::/48",
    "fd00::/8",
    "fe80::/10",
    "2001:db8::80/121",
    "2001:db8:ffff::7/128",
    "::ffff:172.17.0.1",
    "::ffff:10.9.0.0/112",
    "\u{FEFF}[10.0.0.7]\u{A0}",
    "[2001:db8::8]",
];

const BROAD: [&str; 3] = ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"];

const USER_HEADERS: [&str; 10] = [
    "x-forwarded-user",
    "X-Forwarded-User",
    "x-user",
    "x-auth-request-email",
    "Tailscale-User-Login",
    "cf-access-authenticated-user-email",
    "remote-user",
    "x.user_name",
    "from",
    "x-pomerium-claim-email",
];

const REQUIRED: [&str; 14] = [
    "x-edge-secret",
    "x-forwarded-proto",
    "X-Pomerium-Jwt-Assertion",
    "cf-access-jwt-assertion",
    "x-forwarded-email",
    "host",
    "cookie",
    "user-agent",
    "Authorization",
    "x_edge",
    "age",
    "set-cookie",
    "x-forwarded-groups",
    "x-request-id",
];

const USERS: [&str; 12] = [
    "nick@example.com",
    "alice",
    "José",
    "Nick@Example.com",
    "*",
    "a,b",
    "a, b",
    "",
    " padded ",
    "łukasz",
    "\u{A0}",
    "0",
];

const ORIGINS: [&str; 26] = [
    "https://claw.example.com",
    "https://claw.example.com:8443",
    "http://claw.example.com",
    "*",
    "HTTPS://Claw.Example.COM",
    " https://padded.example.com ",
    "https://claw.example.com/",
    "https://claw.example.com:443",
    "https://claw.example.com/path",
    "http://10.0.0.5:18789",
    "http://[fd00::1]:18789",
    "http://[FD00:0::1]:18789",
    "http://[::1]",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "chrome-extension://ABCDEFGHIJKLMNOPABCDEFGHIJKLMNOP",
    "app://claw",
    "tauri://localhost",
    "https://xn--bcher-kva.example",
    "https://bücher.example",
    "null",
    "",
    "http://claw.local",
    "http://localhost:3000",
    "https://a.ts.net",
    "http://1.2.3.4",
    "ws://claw.example.com",
];

const OWN_PATHS: [&str; 16] = [
    "/tools/invoke",
    "/sessions/main/kill",
    "/sessions/main/history",
    "/control-ui-config.json",
    "/__openclaw__/control-ui-config.json",
    "/__openclaw/control-ui-config.json",
    "/openclaw/control-ui-config.json",
    "/openclaw/__openclaw/control-ui-config.json",
    "/openclaw/__openclaw__/control-ui-config.json",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/models",
    "/v1/models/one",
    "/v1/embeddings",
    "/api/v1/admin/rpc",
    "/api/v1/admin/rpc/more",
];

const PATHS: [&str; 32] = [
    "/assets/index.js",
    "/openclaw/assets/index.js",
    "/a/b/fonts/x.woff2",
    "/sw.js",
    "/openclaw/sw.js",
    "/assets/x/index.html",
    "/x/assets/index.js",
    "/themes/.css",
    "/avatar/main",
    "/openclaw/avatar/main",
    "/__openclaw__/assistant-media",
    "/__openclaw__/plugin-icon/x",
    "/api/users/x/avatar",
    "/desktop/observe",
    "/node-portal/attach",
    "/__openclaw__/worker",
    "/openclaw",
    "/openclaw/",
    "/a/b/",
    "/a/b/control-ui-config.json",
    "/",
    "/my-plugin/hook",
    "/health",
    "/healthz",
    "/ready/a",
    "/ready/a/b",
    "/ready/",
    "/ready",
    "/hooks/x",
    "/socket",
    "*",
    "",
];

const ANONYMOUS: [&str; 9] =
    ["/health", "/healthz", "/ready/*", "ws:/socket", "ws:/ready/*", "/", "/tools/invoke", "/hooks/x", "ws:/"];

/// The scopes that the Gateway's default for plugins satisfies.
const PLUGIN_DEFAULT: [&str; 5] =
    ["operator.write", "operator.read", "operator.talk", "operator.sessions.read", "operator.sessions.write"];

/// Releases on both sides of every difference, between two, and newer than all.
const RELEASES: [&str; 24] = [
    "2026.9.6",
    "2026.10.1",
    "2026.4.2",
    "2026.4.5",
    "2026.4.12",
    "2026.4.26",
    "2026.4.27",
    "2026.5.4",
    "2026.5.12",
    "2026.5.16-beta.1",
    "2026.5.18",
    "2026.5.20",
    "2026.6.5",
    "2026.6.33",
    "2026.6.35",
    "2026.7.1",
    "2026.7.1-2",
    "2026.7.35",
    "2026.8.1-beta.1",
    "2026.8.1",
    "2026.9.1",
    "2026.9.3",
    "2026.9.4-beta.1",
    "2026.9.5",
];

const STRIPPED: [&str; 5] = ["x-company-user", "X-Company.Roles", "x-id", "x-real-user", "x--id"];

const KEPT: [&str; 6] = [
    "x-forwarded-email",
    "X-Pomerium-Claim-Groups",
    "tailscale-user-name",
    "x-auth-request-user",
    "cf-access-jwt-assertion",
    "remote-name",
];

const GROUPS: [&str; 4] = ["x-forwarded-groups", "x-auth-request-groups", "x-groups", "Remote-Groups"];

const SPIFFE: [&str; 4] = [
    "spiffe://cluster.local/ns/istio-system/sa/ingress",
    "spiffe://cluster.local/ns/istio-system/sa/ingress2",
    "spiffe://other/ns/istio-system/sa/ingress",
    "https://claw.example.com",
];

/// Headers in which a proxy may send a secret; the generator of required headers has some of them too.
const SECRETS: [&str; 3] = ["x-edge-secret", "X-Proxy-Proof", "x-company-user"];

/// The SHA-256 digests of `s3cret`, `s3cret, x` and `next`.
const SECRET_DIGESTS: [&str; 3] = [
    "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0",
    "a031e40bbeb3d48ba770d106eaffc1c15a64e4f5661b0385a45075521c03a8c7",
    "c6c1c9a9c8543f1e4cd980064cf1625eeb61a90703b2464fff039f21682508b3",
];

/// Lower case, with `-` for everything that is neither a letter nor a digit. Names that fold alike must mean the
/// same.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// A valid configuration.
pub fn config(choices: &mut Choices<'_>) -> Value {
    let c = choices;
    let mut gateway = Map::new();
    let mut filter = Map::new();
    let mut trusted = Map::new();
    let mut ui = Map::new();

    let user_header = *c.pick(&USER_HEADERS);
    trusted.insert("userHeader".into(), user_header.into());
    // Different names must not fold to the same name.
    let mut taken = vec![user_header.to_owned()];
    let free = |names: Vec<&'static str>, taken: &mut Vec<String>, apart: bool| -> Vec<&'static str> {
        let mut kept = Vec::new();
        for name in names {
            let clash =
                taken.iter().any(|other| fold(other) == fold(name) && (apart || !other.eq_ignore_ascii_case(name)));
            if !clash {
                taken.push(name.to_owned());
                kept.push(name);
            }
        }
        kept
    };
    if c.one_in(6) {
        let other = c.pick(&USER_HEADERS);
        if let [name] = free(vec![other], &mut taken, true)[..] {
            filter.insert("upstreamUserHeader".into(), name.into());
        }
    }
    let mut scopes = Map::new();
    if c.one_in(4) {
        let name = c.pick(&GROUPS);
        if let [name] = free(vec![name], &mut taken, true)[..] {
            scopes.insert("groupsHeader".into(), name.into());
        }
    }
    if c.one_in(6) {
        let names = c.some(&KEPT, 3);
        filter.insert("keepHeaders".into(), json!(free(names, &mut taken, true)));
    }
    let before = taken.len();
    if c.one_in(6) {
        let names = c.some(&STRIPPED, 3);
        filter.insert("stripHeaders".into(), json!(free(names, &mut taken, true)));
    }
    let stripped = taken.split_off(before);
    if c.one_in(3) {
        let mut names = c.some(&REQUIRED, 3);
        if c.one_in(8) {
            names.push(user_header);
        }
        names.retain(|name| !stripped.iter().any(|other| fold(other) == fold(name)));
        trusted.insert("requiredHeaders".into(), json!(free(names, &mut taken, false)));
    }

    if c.one_in(6) {
        let mut secrets = Map::new();
        for name in c.some(&SECRETS, 2) {
            let spared = stripped
                .iter()
                .chain(filter.get("keepHeaders").map(texts).iter().flatten())
                .any(|other| fold(other) == fold(name));
            if !spared && let [name] = free(vec![name], &mut taken, false)[..] {
                secrets.insert(name.into(), json!({"sha256": [SECRET_DIGESTS[c.below(2)], SECRET_DIGESTS[2]]}));
            }
        }
        filter.insert("requiredValues".into(), secrets.into());
    }

    if c.one_in(2) {
        trusted.insert("allowUsers".into(), json!(c.some(&USERS, 4)));
    }
    if c.one_in(16) {
        trusted.insert(
            "cloudflareAccessOidc".into(),
            json!({"issuer": "https://a.cloudflareaccess.com", "providerId": "p", "githubAccountIdClaim": "c"}),
        );
    }
    let mut own_list = vec![if c.one_in(16) { *c.pick(&BROAD) } else { *c.pick(&PROXIES) }];
    own_list.extend(c.some(&PROXIES, 3));
    let loopback = own_list.iter().any(|entry| entry.starts_with("127.") || *entry == "::1");
    if c.one_in(3) || loopback && !c.one_in(4) {
        trusted.insert("allowLoopback".into(), (loopback || c.one_in(2)).into());
    }
    gateway.insert("trustedProxies".into(), json!(own_list));
    if c.one_in(4) {
        filter.insert("trustedProxies".into(), json!([c.pick(&PROXIES), c.pick(&PROXIES)]));
    }
    if c.one_in(8) {
        filter.insert("allowLoopback".into(), c.one_in(2).into());
    }
    if c.one_in(4) {
        gateway.insert("allowRealIpFallback".into(), (!c.one_in(4)).into());
    }
    if c.one_in(2) {
        ui.insert("allowedOrigins".into(), json!(c.some(&ORIGINS, 4)));
    }
    if c.one_in(4) {
        ui.insert("dangerouslyAllowHostHeaderOriginFallback".into(), (!c.one_in(4)).into());
    }
    if c.one_in(4) {
        ui.insert(
            "basePath".into(),
            (*c.pick(&["/openclaw", "openclaw", "/openclaw/", "/", "", "/a/b", "/v1", "/a*"])).into(),
        );
    }
    if c.one_in(2) {
        gateway.insert(
            "http".into(),
            json!({"endpoints": {"chatCompletions": {"enabled": c.one_in(2)}, "responses": {"enabled": c.one_in(2)}}}),
        );
    }

    if c.one_in(4) {
        filter.insert("peerAddress".into(), json!({"filterState": "peer"}));
    }
    if c.one_in(8) {
        filter.insert("attribution".into(), (*c.pick(&["off", "required"])).into());
    }
    if c.one_in(8) {
        filter.insert("rejectSameHost".into(), true.into());
    }
    if c.one_in(4) {
        filter.insert("anonymousPaths".into(), json!(c.some(&ANONYMOUS, 4)));
    }
    if c.one_in(2) {
        filter.insert("webSocketRefusal".into(), (*c.pick(&["delegate", "delegate", "http", "close"])).into());
    }
    if c.one_in(4) {
        let usage = *c.pick(&["match", "identity"]);
        filter.insert(
            "assertion".into(),
            json!({"metadata": ["envoy.filters.http.jwt_authn", "payload", "email"], "as": usage}),
        );
        if c.one_in(2) {
            let claims = c.some(&["email_verified", "staff"], 2);
            let paths: Vec<_> =
                claims.iter().map(|claim| json!(["envoy.filters.http.jwt_authn", "payload", claim])).collect();
            filter["assertion"]["requireTrue"] = paths.into();
        }
        if c.one_in(3) {
            filter.insert("edge".into(), true.into());
        }
    }
    if c.one_in(8) {
        filter.insert("userPrefix".into(), (*c.pick(&["accounts.google.com:", "é|", "u"])).into());
    }
    if c.one_in(6) {
        filter.insert("crossSite".into(), (*c.pick(&["allow", "refuse", "refuse"])).into());
    }
    // What is required must not be taken away.
    let requires = |name: &str| {
        trusted.get("requiredHeaders").map(texts).iter().flatten().any(|one| one.eq_ignore_ascii_case(name))
    };
    if c.one_in(6) && !requires("cookie") {
        filter.insert("removeCookies".into(), json!(c.some(&["IdToken", "_oauth2_proxy*", "idtoken", "a"], 2)));
    }
    if c.one_in(6) && !requires("authorization") {
        filter.insert("removeBearer".into(), (!c.one_in(6)).into());
    }
    if c.one_in(6) {
        filter.insert("stampedFilterState".into(), (!c.one_in(6)).into());
    }
    if c.one_in(16) {
        filter.insert("hideReasons".into(), true.into());
    }
    if c.one_in(6) {
        filter.insert("openSockets".into(), (*c.pick(&["recheck", "keep"])).into());
    }
    if c.one_in(6) {
        filter.insert("socketMaxAge".into(), (*c.pick(&["12h", "1s", "90m", "365d"])).into());
    }
    if filter.contains_key("assertion") && c.one_in(3) {
        filter.insert("socketsUntil".into(), "assertion".into());
    }
    if c.one_in(16) {
        filter.insert("mode".into(), (*c.pick(&["enforce", "report"])).into());
    }
    if c.one_in(6) {
        let mut peers = vec![SPIFFE[0]];
        peers.extend(c.some(&SPIFFE[1..], 2));
        filter.insert("trustedPeers".into(), json!(peers));
        if c.one_in(2) {
            filter.insert("peerTrust".into(), "certificate".into());
        }
        if c.one_in(2) {
            let sources = [json!("certificate"), json!({"filterState": "io.istio.peer_principal"})];
            let (first, both) = (c.below(2), c.one_in(2));
            let mut sources: Vec<_> = sources.into_iter().skip(if both { 0 } else { first }).collect();
            sources.truncate(if both { 2 } else { 1 });
            if first == 1 {
                sources.reverse();
            }
            filter.insert("peerIdentity".into(), json!(sources));
        }
    }

    if c.one_in(6) {
        scopes.insert("default".into(), json!(c.some(&SCOPES, 4)));
    }
    if c.one_in(6) {
        scopes.insert("pluginDefault".into(), json!(c.some(&PLUGIN_DEFAULT, 3)));
    }
    if c.one_in(6) {
        scopes
            .insert("ownPaths".into(), json!(c.some(&["/api/v1/admin/rpc", "/api/*", "/v1/responses", "/ready/a"], 2)));
    }
    if c.one_in(6) {
        scopes.insert("ownSockets".into(), json!(c.some(&["/node", "/ready/*", "/tools/invoke"], 2)));
    }
    if c.one_in(6) {
        scopes.insert("withoutUser".into(), json!(c.some(&SCOPES, 3)));
    }
    if c.one_in(3) {
        let mut users = Map::from_iter([("*".to_owned(), json!(c.some(&SCOPES, 4)))]);
        for _ in 0..c.below(3) {
            let name = *c.pick(&["nick@example.com", "alice", "Alice ", "José", "JOSÉ\u{A0}", "bob@example.com"]);
            let scopes = json!(c.some(&SCOPES, 4));
            if users.keys().all(|other| other.trim().to_lowercase() != name.trim().to_lowercase()) {
                users.insert(name.to_owned(), scopes);
            }
        }
        scopes.insert("users".into(), users.into());
        if scopes.contains_key("groupsHeader") {
            let separator = c.one_in(3).then(|| *c.pick(&[",", ";", "|", " "]));
            if let Some(separator) = separator {
                scopes.insert("groupsSeparator".into(), separator.into());
            }
            let mut groups = Map::new();
            for _ in 0..c.below(4) {
                groups.insert(
                    (*c.pick(&["ops", "dev", "Team@example.com", "a b"])).to_owned(),
                    json!(c.some(&SCOPES, 4)),
                );
            }
            groups.retain(|name, _| !name.contains(separator.unwrap_or(",")));
            scopes.insert("groups".into(), groups.into());
        }
    }
    if !scopes.contains_key("groups") {
        scopes.remove("groupsHeader");
    }

    if c.one_in(3) {
        let release = *c.pick(&RELEASES);
        filter.insert("gatewayVersion".into(), release.into());
        // Keys that the release does not have are errors.
        let numbers: Vec<u32> =
            release.split(['.', '-']).skip(1).take(2).map(|number| number.parse().unwrap_or_default()).collect();
        if numbers < vec![4, 27] {
            trusted.remove("allowLoopback");
        }
        if numbers < vec![9, 6] {
            trusted.remove("cloudflareAccessOidc");
        }
        if release == "2026.9.4-beta.1" {
            gateway.insert("trustedProxies".into(), json!(["10.0.0.1", "10.0.0.0/24"]));
        }
    }
    gateway.insert("auth".into(), json!({"mode": "trusted-proxy", "trustedProxy": trusted}));
    if c.one_in(6) {
        gateway["auth"]["allowTailscale"] = (!c.one_in(6)).into();
    }
    if c.one_in(8) {
        ui.insert("enabled".into(), c.one_in(3).into());
    }
    if c.one_in(16) {
        gateway.insert("bind".into(), (*c.pick(&["loopback", "lan", "auto", "custom", "tailnet"])).into());
    }
    // What may stand there beside the users of a proxy.
    if c.one_in(32) {
        gateway["auth"]["token"] = (*c.pick(&["", " "])).into();
        gateway["auth"]["password"] = "s3cret".into();
        gateway.insert("remote".into(), json!({"token": c.pick(&["", "\t"])}));
    }
    if !ui.is_empty() {
        gateway.insert("controlUi".into(), ui.into());
    }
    if !scopes.is_empty() {
        filter.insert("scopes".into(), scopes.into());
    }
    let mut config = json!({"gateway": gateway});
    if !filter.is_empty() {
        config["filter"] = filter.into();
    }
    config
}

// ---- requests ----

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A request that the configuration would admit, apart from what is made wrong.
pub fn request(choices: &mut Choices<'_>, config: &Value) -> Request {
    let c = choices;
    let (gateway, filter) = (&config["gateway"], &config["filter"]);
    let trusted = &gateway["auth"]["trustedProxy"];
    // Half of the requests have nothing wrong on purpose.
    let calm = c.one_in(2);
    c.set_calm(calm);
    let upgrade = c.one_in(3);

    let peer = peer_ip(c, config);
    let peer_text = peer_text(c, &peer, filter["peerAddress"].is_object());
    let destination = if c.one_in(4) { Some(socket(&peer)) } else { Some("192.0.2.200:18789".to_owned()) };
    let destination = if c.oddly_one_in(16) { None } else { destination };

    let host = (*c.pick(&[
        "claw.example.com",
        "claw.example.com:8443",
        "10.0.0.5:18789",
        "[fd00::1]:18789",
        "claw.local",
        "a.ts.net",
        "CLAW.example.com",
        "localhost:3000",
        "8.8.8.8",
        "",
    ]))
    .to_owned();
    let mut head: Vec<(String, Vec<u8>)> = vec![
        (":method".into(), (*c.pick(&["GET", "POST", "HEAD", "OPTIONS"])).into()),
        (":path".into(), path(c, filter)),
        (":scheme".into(), "http".into()),
        (":authority".into(), host.clone().into()),
    ];
    if c.oddly_one_in(32) {
        head.remove(1);
    }

    let mut list: Vec<(String, Vec<u8>)> = Vec::new();
    list.extend(forwarded_for(c, gateway, &peer));
    let mut user = user(c, trusted);
    let asserted = assertion(c, &user);
    if let Some(prefix) = filter["userPrefix"].as_str()
        && !c.oddly_one_in(4)
    {
        let blanks = user.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0xA0)).count();
        let prefix: Vec<u8> = prefix.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        user.splice(blanks..blanks, prefix);
    }
    let user_header = trusted["userHeader"].as_str().unwrap_or_default();
    match c.odd(24) {
        23 => {}
        22 => list.extend([(user_header.into(), user.clone()), (user_header.into(), user.clone())]),
        21 => list.extend([(user_header.into(), b" ".to_vec()), (user_header.into(), b"".to_vec())]),
        _ => list.push((user_header.into(), user.clone())),
    }
    for name in texts(&trusted["requiredHeaders"]) {
        if name.eq_ignore_ascii_case(user_header) || name.eq_ignore_ascii_case("host") {
            continue;
        }
        match c.odd(12) {
            11 => {}
            10 => list.push((name, b" \t\xA0".to_vec())),
            9 => list.extend([(name.clone(), b"".to_vec()), (name, b"x".to_vec())]),
            8 => list.extend([(name.clone(), b" ".to_vec()), (name, b"".to_vec())]),
            _ => list.push((name, b"s3cret".to_vec())),
        }
    }
    if c.one_in(2) {
        let copies = if c.one_in(8) { 2 } else { 1 };
        for _ in 0..copies {
            list.push(("x-openclaw-scopes".into(), scopes(c)));
        }
    }
    let browsers_come = gateway["controlUi"]["allowedOrigins"].as_array().is_some_and(|list| !list.is_empty());
    if c.one_in(2) && (browsers_come || !c.is_calm()) {
        let copies = if c.oddly_one_in(16) { 2 } else { 1 };
        for _ in 0..copies {
            list.push(("origin".into(), origin(c, gateway, &host)));
        }
    }
    if c.one_in(4) {
        let site = c.pick(&["same-origin", "same-origin", " Same-Origin", "none", "same-site", "cross-site", "x", ""]);
        list.push(("sec-fetch-site".into(), site.as_bytes().to_vec()));
        list.push(("sec-fetch-mode".into(), c.pick(&["navigate", "navigate", "cors"]).as_bytes().to_vec()));
        list.push(("sec-fetch-dest".into(), c.pick(&["document", "document", "image"]).as_bytes().to_vec()));
        if c.oddly_one_in(4) {
            let name = *c.pick(&["sec-fetch-site", "sec-fetch-mode"]);
            list.push((name.into(), b"same-origin".to_vec()));
        }
    }
    for (name, _) in filter["requiredValues"].as_object().into_iter().flatten() {
        list.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        match c.odd(16) {
            15 => {}
            14 => list.push((name.clone(), b"S3cret".to_vec())),
            13 => list.push((name.clone(), b"".to_vec())),
            12 => list.extend([(name.clone(), b"s3cret".to_vec()), (name.clone(), b"x".to_vec())]),
            11 => list.push((name.clone(), b"verified".to_vec())),
            10 => list.push((name.clone(), b"s3cret".to_vec())),
            _ => {
                let first = filter["requiredValues"][name]["sha256"][0] == SECRET_DIGESTS[0];
                let value = if c.one_in(4) {
                    "next"
                } else if first {
                    "s3cret"
                } else {
                    "s3cret, x"
                };
                list.push((name.clone(), value.into()));
            }
        }
    }
    if c.one_in(4) {
        let cookies = [
            "IdToken=x",
            "a=1; IdToken=x;b=2",
            "_oauth2_proxy_0=p; _oauth2_proxy=q; c=3",
            " idtoken = x ;; a",
            "a=IdToken; _oauth2_prox=1",
            "; ;",
            "",
        ];
        for _ in 0..=c.below(2) {
            list.push(("cookie".into(), c.pick(&cookies).as_bytes().to_vec()));
        }
    }
    if c.one_in(8) {
        let values = ["Bearer x", "bearer  x ", "Bearer ", "Basic eDp5", "bearerx", "Bearer", "BEARER\tx"];
        for _ in 0..if c.oddly_one_in(4) { 2 } else { 1 } {
            list.push(("authorization".into(), c.pick(&values).as_bytes().to_vec()));
        }
    }
    if let Some(name) = filter["scopes"]["groupsHeader"].as_str()
        && !c.one_in(4)
    {
        let groups = [
            "ops",
            "dev, ops",
            "Team@example.com",
            "TEAM@example.com",
            "a b,,x",
            "",
            "dev|ops",
            "dev ; ops",
            "dev  ops",
            "[\"ops\"]",
            " {ops}",
        ];
        list.push((name.into(), c.pick(&groups).as_bytes().to_vec()));
        if c.oddly_one_in(4) {
            list.push((name.into(), b"ops".to_vec()));
        }
    }
    if upgrade {
        let protocol = *c.pick(&["websocket", "websocket", "WebSocket", "h2c", "websocket ", ""]);
        list.push(("upgrade".into(), protocol.into()));
        let connection = *c.pick(&[
            "Upgrade",
            "upgrade, keep-alive",
            "Upgrade, X-Forwarded-User",
            "upgrade,x-openclaw-scopes, x_forwarded_user",
            "Upgrade,,Cookie ,x-user",
            "x-forwarded-email,x-edge-secret",
        ]);
        list.push(("connection".into(), connection.into()));
        if c.oddly_one_in(16) {
            list.push(("connection".into(), b"tailscale-user-login".to_vec()));
        }
        if !c.one_in(6) {
            list.push(("sec-websocket-key".into(), b"dGhlIHNhbXBsZSBub25jZQ==".to_vec()));
        }
        list.push(("sec-websocket-version".into(), b"13".to_vec()));
    }
    for _ in 0..c.below(5) {
        list.push(extra(c, config));
    }
    c.shuffle(&mut list);
    head.extend(list);
    let upper = c.one_in(8);
    let headers = head
        .into_iter()
        .map(|(name, value)| {
            let name = if upper { name.to_ascii_uppercase() } else { name.to_ascii_lowercase() };
            (name.into_bytes(), value)
        })
        .collect();

    let san = *c.pick(&SPIFFE);
    let san =
        if c.one_in(2) { texts(&filter["trustedPeers"]).into_iter().next().unwrap_or(san.into()) } else { san.into() };
    let tunnel = filter["peerIdentity"].to_string().contains("filterState") && !c.one_in(4);
    let (peer_text, filter_states) = if tunnel {
        let name = if c.oddly_one_in(6) { format!("{san},{san}") } else { san.clone() };
        let inside = *c.pick(&["envoy://internal_client_address/", "203.0.113.7:0"]);
        let peer = if c.one_in(2) { Some(inside.as_bytes().to_vec()) } else { peer_text };
        (peer, vec![("io.istio.peer_principal".to_owned(), name.into_bytes())])
    } else {
        (peer_text, Vec::new())
    };
    // A tunnel's end has no certificate.
    let tunnel_alone = tunnel && !c.oddly_one_in(6);
    let true_claims =
        ["email_verified", "staff"].into_iter().filter(|_| !c.oddly_one_in(4)).map(str::to_owned).collect();
    Request {
        peer: peer_text,
        true_claims,
        filter_states,
        destination: destination.map(String::into_bytes),
        assertion: asserted,
        mtls: !tunnel_alone && !c.oddly_one_in(12),
        uri_san: if c.oddly_one_in(12) { None } else { Some(san.into_bytes()) },
        headers,
    }
}

/// An address in one of the lists, at the edge of an entry, or just outside it.
fn peer_ip(c: &mut Choices<'_>, config: &Value) -> String {
    let (own, theirs) = (texts(&config["filter"]["trustedProxies"]), texts(&config["gateway"]["trustedProxies"]));
    if c.oddly_one_in(24) {
        let stranger = [
            "203.0.113.66",
            "127.0.0.1",
            "::1",
            "fe80::1%eth0",
            "2001:db8:dead::1",
            "0.0.0.0",
            "::",
            "127.255.255.255",
        ];
        return (*c.pick(&stranger)).to_owned();
    }
    if config["filter"]["edge"] == true && !c.oddly_one_in(4) {
        return (*c.pick(&["203.0.113.66", "2001:db8:dead::1"])).to_owned();
    }
    let list = if own.is_empty() || c.oddly_one_in(12) { theirs } else { own };
    let entry = c.pick(&list).clone();
    near(c, &entry)
}

/// An address near an entry of a list.
fn near(c: &mut Choices<'_>, entry: &str) -> String {
    let entry = crate::trim_configured(entry).trim_matches(['[', ']']);
    let (network, prefix) = entry.split_once('/').unwrap_or((entry, ""));
    let network: std::net::IpAddr = network.parse().unwrap_or([10, 0, 0, 1].into());
    let (width, bits) = match network {
        std::net::IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
        std::net::IpAddr::V6(v6) => (128, v6.to_bits()),
    };
    let host_bits = width - prefix.parse().unwrap_or(width);
    let last = match host_bits {
        128 => u128::MAX,
        _ => bits | ((1_u128 << host_bits) - 1),
    };
    let outside = if c.oddly_one_in(5) { 2 } else { 0 };
    let chosen = match c.below(10 + outside) {
        0..=3 => bits,
        4..=6 => last,
        7..=9 => bits | (u128::from(c.byte()) << 8 | u128::from(c.byte())) & (last - bits),
        10 => last.wrapping_add(1),
        _ => bits.wrapping_sub(1),
    };
    let ip: std::net::IpAddr = match width {
        32 => std::net::Ipv4Addr::from_bits(chosen as u32).into(),
        _ => std::net::Ipv6Addr::from_bits(chosen).into(),
    };
    match ip {
        std::net::IpAddr::V4(v4) if c.one_in(8) => format!("::ffff:{v4}"),
        std::net::IpAddr::V4(v4) if c.oddly_one_in(24) => format!("::{v4}"),
        std::net::IpAddr::V6(v6) if c.oddly_one_in(12) => format!("{v6}%eth0"),
        ip => ip.to_string(),
    }
}

fn socket(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:40000") } else { format!("{ip}:40000") }
}

fn peer_text(c: &mut Choices<'_>, ip: &str, bare: bool) -> Option<Vec<u8>> {
    const JUNK: [&str; 18] = [
        "",
        "/var/run/claw.sock",
        "envoy://internal_client_address/",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:99999",
        "10.0.0.1:65536",
        "10.0.0.1:+80",
        "010.0.0.1:80",
        "[fe80::1%eth0]:443",
        "::1:80",
        "[::1]",
        "[::1]80",
        "10.0.0.1:80 ",
        "10.0.0.1:00",
        "[::ffff:10.0.0.1]:0",
        "0x0a.0.0.1:80",
        "10.0.0.1%eth0:80",
    ];
    Some(match c.odd(24) {
        23 => return None,
        22 => c.pick(&JUNK).as_bytes().to_vec(),
        21 => socket(ip).replace(":40000", ":0").into_bytes(),
        _ if bare && !c.one_in(3) => ip.as_bytes().to_vec(),
        _ => socket(ip).into_bytes(),
    })
}

/// X-Forwarded-For, with the peer at its end as Envoy writes it, and sometimes X-Real-IP.
fn forwarded_for(c: &mut Choices<'_>, gateway: &Value, peer: &str) -> Vec<(String, Vec<u8>)> {
    const CLIENTS: [&[u8]; 8] = [
        b"203.0.113.9",
        b"2001:db8:beef::9",
        b"10.1.2.3",
        b"[2001:db8:beef::7]:443",
        b"203.0.113.9:1234",
        b"::ffff:203.0.113.5",
        b"[203.0.113.9]:1",
        b"\xA0203.0.113.9\t",
    ];
    const JUNK: [&[u8]; 24] = [
        b"unknown",
        b"",
        b"_hidden",
        b"010.1.1.1",
        b"1.2.3",
        b"127.0.0.1",
        b"::1",
        b"[::1",
        b"[::1]:80",
        b"::ffff:127.0.0.1",
        b"fe80::1%eth0",
        b"::203.0.113.5",
        b"203.0.113.9:80:90",
        b"203.0.113.9:",
        b"203.0.113.9:x",
        b"[203.0.113.9]junk",
        b"0x7f.1",
        b"203.0.113.9/32",
        b"3405803785",
        b"\xFF203.0.113.9",
        b"2001:db8:beef::7]",
        b"\"203.0.113.9\"",
        b"2001:DB8:BEEF:0:0:0:0:9",
        b"::ffff:cb00:7109",
    ];
    let proxies = texts(&gateway["trustedProxies"]);
    let mut chain: Vec<Vec<u8>> = Vec::new();
    if c.one_in(8) {
        chain.push(c.pick(&JUNK).to_vec());
    }
    if !c.oddly_one_in(12) {
        chain.push(c.pick(&CLIENTS).to_vec());
    }
    for _ in 0..c.below(3) {
        chain.push(if c.one_in(2) {
            c.pick(&JUNK).to_vec()
        } else {
            let entry = c.pick(&proxies).clone();
            near(c, &entry).into_bytes()
        });
    }
    if !c.one_in(4) {
        chain.push(peer.as_bytes().to_vec());
    }
    let separator: &[u8] = if c.one_in(2) { b", " } else { b"," };
    let mut list: Vec<(String, Vec<u8>)> = Vec::new();
    if chain.len() > 1 && c.one_in(8) {
        list.push(("x-forwarded-for".into(), chain.remove(0)));
    }
    if !chain.is_empty() {
        list.push(("x-forwarded-for".into(), chain.join(separator)));
    }
    if c.one_in(4) {
        let pool: &[&[u8]] = if c.one_in(2) { &JUNK } else { &CLIENTS };
        list.push(("x-real-ip".into(), c.pick(pool).to_vec()));
        if c.oddly_one_in(12) {
            list.push(("x-real-ip".into(), b"203.0.113.9".to_vec()));
        }
    }
    list
}

/// A user's name, in Latin-1 bytes if it has characters beyond ASCII.
fn user(c: &mut Choices<'_>, trusted: &Value) -> Vec<u8> {
    let mut listed = texts(&trusted["allowUsers"]);
    if c.is_calm() {
        listed.retain(|user| !user.is_empty() && user.trim() == user && user.chars().all(|c| c <= '\u{FF}'));
        if listed.is_empty() {
            return b"nick@example.com".to_vec();
        }
    }
    let mut user =
        if listed.is_empty() || c.oddly_one_in(12) { (*c.pick(&USERS)).to_owned() } else { c.pick(&listed).clone() };
    match c.odd(24) {
        18 => user = user.to_ascii_uppercase(),
        19 => user.push('x'),
        20 => user = format!("{user}, alice"),
        21 => user = "\u{A0}".to_owned(),
        22 => user.insert(0, '\u{AD}'),
        23 => user.truncate(user.char_indices().nth(1).map_or(0, |(at, _)| at)),
        _ => {}
    }
    if c.one_in(8) {
        user = format!("\t {user}\u{A0} ");
    }
    if c.oddly_one_in(12) {
        return user.into_bytes();
    }
    user.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

fn assertion(c: &mut Choices<'_>, user: &[u8]) -> Option<Vec<u8>> {
    Some(match c.odd(12) {
        11 => return None,
        10 => b" ".to_vec(),
        9 => b"somebody.else@example.com".to_vec(),
        8 => [user, b"\0"].concat(),
        6 => [user.trim_ascii(), b" "].concat(),
        5 => [user.trim_ascii(), "à".as_bytes()].concat(),
        7 => latin1(user).trim_matches(['\t', ' ', '\u{A0}']).to_ascii_lowercase().into_bytes(),
        _ => latin1(user)
            .trim_matches(['\t', ' ', '\u{A0}'])
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
            .collect(),
    })
}

fn scopes(c: &mut Choices<'_>) -> Vec<u8> {
    let tokens = c.some(&SCOPES, 5);
    let mut list = tokens.join(*c.pick(&[",", ", ", " ,\t", ",,"]));
    match c.odd(12) {
        7 => list = format!("{list}, operator.read"),
        8 => list = list.to_ascii_uppercase(),
        9 => list = format!("operator.root,{list},admin,*"),
        10 => list = format!(" ,{list}; operator.admin"),
        11 => list = format!("\u{A0}{list}\u{A0},operator.write\u{A0},oper\u{E9}"),
        _ => {}
    }
    list.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// An origin that is allowed, or one similar to it.
fn origin(c: &mut Choices<'_>, gateway: &Value, host: &str) -> Vec<u8> {
    const ODD: [&str; 30] = [
        "null",
        "https://claw.example.com.evil.com",
        "https://evilclaw.example.com",
        "https://claw.example.com@evil.com",
        "https://user:pw@claw.example.com",
        "https://claw.example.com:443",
        "https://claw.example.com:0443",
        "https://claw.example.com:",
        "https://claw.example.com:99999",
        "https://claw.example.com//",
        "https://claw.example.com/x",
        "https://claw.example.com?",
        "https://claw.example.com#",
        "https://claw.example.com\\",
        "https:\\\\claw.example.com",
        "https:claw.example.com",
        "https:///claw.example.com",
        "https://CLAW.example.com.",
        "https://claw%2eexample.com",
        "http://0x0a.0.0.5:18789",
        "http://167772165:18789",
        "http://10.5:18789",
        "http://[fd00:0:0::1]:18789",
        "http://[::ffff:10.0.0.5]:18789",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnoq",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnopa",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop/",
        "file://",
        "about:blank",
        "https://xn--bcher-kva.example",
    ];
    let listed: Vec<_> = texts(&gateway["controlUi"]["allowedOrigins"]).into_iter().filter(|one| one != "*").collect();
    if c.is_calm() && !listed.is_empty() {
        return c.pick(&listed).trim().to_lowercase().trim_end_matches(":443").bytes().filter(u8::is_ascii).collect();
    }
    let mut origin = match c.odd(8) {
        0..=3 if !listed.is_empty() => c.pick(&listed).clone(),
        4 | 5 => format!("{}://{host}", c.pick(&["https", "http"])),
        6 => (*c.pick(&ODD)).to_owned(),
        7 => (*c.pick(&ORIGINS)).to_owned(),
        _ => "https://claw.example.com".to_owned(),
    };
    match c.odd(24) {
        12 | 13 => origin.push('/'),
        14 => origin = origin.to_uppercase(),
        15 => origin = format!(" {origin}\t"),
        16 => origin = format!("{origin}.evil.com"),
        17 => origin = origin.replacen("https", "http", 1),
        18 => origin.push_str(":443"),
        19 => origin.push_str(":8443"),
        20 => {
            // One byte becomes another.
            let mut bytes = origin.into_bytes();
            if !bytes.is_empty() {
                let at = c.below(bytes.len());
                bytes[at] = c.byte();
            }
            return bytes.into_iter().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).collect();
        }
        21 => origin = format!("\u{A0}{origin}"),
        22 => origin = format!("{origin}, {origin}"),
        23 => origin = " ".to_owned(),
        _ => {}
    }
    origin.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// An own, an anonymous or another path, or one similar to it.
fn path(c: &mut Choices<'_>, filter: &Value) -> Vec<u8> {
    let configured: Vec<String> = texts(&filter["anonymousPaths"])
        .into_iter()
        .chain(texts(&filter["scopes"]["ownPaths"]))
        .chain(texts(&filter["scopes"]["ownSockets"]))
        .map(|entry| entry.trim_start_matches("ws:").replace('*', "a/b"))
        .collect();
    let path = match c.below(8) {
        0..=3 => (*c.pick(&OWN_PATHS)).to_owned(),
        4 if !configured.is_empty() => c.pick(&configured).clone(),
        _ => (*c.pick(&PATHS)).to_owned(),
    };
    let mut path = path.into_bytes();
    match c.odd(32) {
        16 | 17 => path.extend(b"?x=/../%41"),
        18 => path.push(b'/'),
        19 => path.insert(0, b'/'),
        20 => path.extend(b"/."),
        21 => path.extend(b"/../x"),
        22 => path.extend(b"%2e"),
        23 => path.extend(b"#x"),
        24 => path.extend(b";x=1"),
        25 => path.make_ascii_uppercase(),
        26 => path.extend(b"\xE9"),
        27 => path.extend(b"\\x"),
        28 => path.splice(0..0, *b"/x/..").for_each(drop),
        29 => path.push(b'?'),
        30 => {
            path.pop();
        }
        31 if !path.is_empty() => {
            let at = c.below(path.len());
            path[at] = c.byte();
        }
        _ => {}
    }
    path
}

/// A header that the rules scrub, spare or ignore.
fn extra(c: &mut Choices<'_>, config: &Value) -> (String, Vec<u8>) {
    const NAMES: [&str; 44] = [
        "accept",
        "x-custom",
        "cookie",
        "user-agent",
        "x-forwarded-user",
        "x_forwarded_user",
        "x-forwarded.user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-forwarded-userx",
        "xx-forwarded-user",
        "x-auth-request-user",
        "x-auth-request",
        "x_auth_request_x",
        "x-pomerium-jwt-assertion",
        "tailscale-user-name",
        "tailscale_",
        "cf-access-jwt-assertion",
        "cf.access.jwt.assertion",
        "x-goog-authenticated-user-email",
        "x-goog-iap-jwt-assertion",
        "x-ms-client-principal",
        "x-ms-client-principal-name",
        "x-amzn-oidc-data",
        "remote-user",
        "remote.name",
        "x-webauth-user",
        "x-authentik-uid",
        "x-token-user-email",
        "x-token-users",
        "X-Vouch-User",
        "x-consumer-username",
        "oidc_claim_email",
        "oidc-claims",
        "ssl-client-subject-dn",
        "x-auth-token",
        "x-userinfo",
        "x.user",
        "x-openclaw.scopes",
        "x_openclaw_scopes",
        "x-real-ip",
        "x-forwarded-host",
    ];
    let (trusted, filter) = (&config["gateway"]["auth"]["trustedProxy"], &config["filter"]);
    let mut configured = vec![trusted["userHeader"].as_str().unwrap_or_default().to_owned()];
    configured.extend(filter["upstreamUserHeader"].as_str().map(str::to_owned));
    configured.extend(filter["scopes"]["groupsHeader"].as_str().map(str::to_owned));
    for list in [&trusted["requiredHeaders"], &filter["keepHeaders"], &filter["stripHeaders"]] {
        configured.extend(texts(list));
    }
    // Envoy's header map has no `host`; it is called `:authority` there.
    configured.retain(|name| !name.eq_ignore_ascii_case("host"));
    let name = match c.below(4) {
        3 => {
            let name = c.pick(&configured).clone();
            // An alias, unless it equals the name itself.
            name.replace('-', c.pick::<&str>(&["_", ".", "-", "~"]))
        }
        _ => (*c.pick(&NAMES)).to_owned(),
    };
    let once = [trusted["userHeader"].as_str(), filter["scopes"]["groupsHeader"].as_str()];
    if c.is_calm() && once.iter().flatten().any(|one| one.eq_ignore_ascii_case(&name)) {
        return ("x-custom".to_owned(), b"x".to_vec());
    }
    let value: &[u8] = c.pick::<&[u8]>(&[b"x", b"", b"nick@example.com", b"\xFF\x80", b"a, b"]);
    (name, value.to_vec())
}
