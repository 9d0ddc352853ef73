//! What `filter.gatewayVersion` changes: the rules that differ between releases of the Gateway (contract, section 10).

use std::convert::Infallible;

use policy::config::{Severity, compile};
use policy::headers::serialize;
use policy::{Edit, Peer};
use serde_json::{Value, json};

use crate::configurations::{PROXIES, with_release};

/// A configuration for one release, with these parts of the gateway block and of the filter's settings merged in.
fn config(release: &str, gateway: &Value, filter: &Value) -> Value {
    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1", "127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
        },
        "filter": {"gatewayVersion": release},
    });
    merge(&mut config, &json!({"gateway": gateway, "filter": filter}));
    config
}

/// The scopes that a request gets, or the reason why it is refused.
fn judge(config: &Value, peer: &str, headers: &[(&str, &str)]) -> String {
    let policy = compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{config}: {errors}")).policy;
    let mut all = vec![
        (":method", "GET"),
        (":path", "/tools/invoke"),
        (":authority", "claw.example.com"),
        ("x-forwarded-user", "nick@example.com"),
    ];
    if !headers.iter().any(|(name, _)| *name == "x-forwarded-for") {
        all.push(("x-forwarded-for", "198.51.100.7"));
    }
    for (name, value) in headers {
        all.retain(|(other, _)| other != name);
        if !value.is_empty() {
            all.push((name, value));
        }
    }
    let map = serialize(&all);
    let request = policy.read(Peer::from_connection(format!("{peer}:40000").as_bytes()), &map).unwrap();
    let admission = match policy.decide(&request) {
        Ok(admission) => admission,
        Err(refusal) => return refusal.to_string(),
    };
    let came = headers.iter().find(|(name, _)| *name == "x-openclaw-scopes").map(|(_, value)| *value);
    let mut scopes = came.unwrap_or("no header").to_owned();
    let Ok(()) = admission.stamp(&policy, &request, |edit| {
        match edit {
            Edit::Set { name: b"x-openclaw-scopes", value } => scopes = value.escape_ascii().to_string(),
            Edit::Remove { name: b"x-openclaw-scopes" } => scopes = "no header".to_owned(),
            _ => {}
        }
        Ok::<(), Infallible>(())
    });
    scopes.replace("operator.", "")
}

const SEVEN: &str = "admin,read,write,approvals,questions,pairing,talk.secrets";
const SIX: &str = "admin,read,write,approvals,pairing,talk.secrets";
const FIVE: &str = "admin,read,write,approvals,pairing";
const ORIGIN: &str = "trusted_proxy_origin_not_allowed";

#[test]
fn a_client_must_be_attributable_where_the_release_wants_it_or_the_operator_does() {
    let of = |release: &str, filter: &Value| {
        let decision = judge(&config(release, &json!({}), filter), "10.0.0.1", &[("x-forwarded-for", "")]);
        decision.starts_with("admin")
    };
    for (release, admits) in [
        ("2026.4.2", true),
        ("2026.7.1", true),
        ("2026.7.35", true),
        // Between 2026.7.35 and 2026.8.1: the stricter of the two.
        ("2026.8.1-beta.1", false),
        ("2026.8.1", false),
        ("2026.9.6", false),
        ("2026.10.1", false),
    ] {
        assert_eq!(of(release, &json!({})), admits, "{release}");
        assert!(!of(release, &json!({"attribution": "required"})), "{release}");
        assert!(of(release, &json!({"attribution": "off"})), "{release}");
    }
}

#[test]
fn a_mapped_block_is_its_first_address_for_gateways_that_read_it_so() {
    let list = json!({"trustedProxies": ["::ffff:10.0.0.0/104"]});
    for (release, whole) in [("2026.5.4", false), ("2026.8.1", false), ("2026.9.3", false), ("2026.9.4", true)] {
        for (peer, admitted) in [("10.0.0.0", true), ("10.1.2.3", whole), ("11.0.0.1", false)] {
            let decision = judge(&config(release, &list, &json!({})), peer, &[]);
            assert_eq!(decision != "trusted_proxy_untrusted_source", admitted, "{release} {peer}: {decision}");
        }
        // One address in either reading, and a list that the Gateway does not read.
        let one = json!({"trustedProxies": ["::ffff:10.1.2.3/128"]});
        assert!(judge(&config(release, &one, &json!({})), "10.1.2.3", &[]).starts_with("admin"), "{release}");
        let ours = json!({"trustedProxies": ["::ffff:10.0.0.0/104"]});
        assert!(judge(&config(release, &json!({}), &ours), "10.1.2.3", &[]).starts_with("admin"), "{release}");
    }
}

#[test]
fn private_origins_and_opaque_ones_pass_where_the_release_lets_them() {
    let extension = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
    let listed = json!({"controlUi": {"allowedOrigins": [extension, "app://a", "https://claw.example.com"]}});
    let upgrade = ("upgrade", "websocket");
    for (release, private, opaque) in [
        ("2026.4.2", false, false),
        ("2026.5.12", false, false),
        ("2026.5.16-beta.1", false, false),
        ("2026.5.18", true, false),
        ("2026.6.33", true, false),
        ("2026.6.35", true, true),
        ("2026.7.1", true, false),
        ("2026.7.2-beta.7", true, false),
        ("2026.7.33", true, true),
        ("2026.8.1", true, true),
    ] {
        let passes =
            |headers: &[(&str, &str)]| judge(&config(release, &listed, &json!({})), "10.0.0.1", headers) != ORIGIN;
        for (host, origin) in [
            ("192.168.1.5:18789", "http://192.168.1.5:18789"),
            ("box.tail1.ts.net", "https://box.tail1.ts.net"),
            ("claw.local", "https://claw.local"),
        ] {
            let same = [(":authority", host), ("origin", origin)];
            assert_eq!(passes(&same), private, "{release} {origin}");
            assert_eq!(passes(&[&same[..], &[upgrade]].concat()), private, "{release} {origin}, upgrade");
        }
        for origin in [extension, "app://a", "APP://a/"] {
            assert_eq!(passes(&[("origin", origin)]), opaque, "{release} {origin}");
        }
        assert_eq!(passes(&[("origin", "app://a"), upgrade]), opaque, "{release}");
        assert!(passes(&[("origin", extension), upgrade]), "{release}: the Gateway decides");
        assert!(passes(&[("origin", "https://claw.example.com")]), "{release}");
        // Neither a wildcard nor the Host looks at the list.
        let any = json!({"controlUi": {"allowedOrigins": ["*"]}});
        assert_ne!(
            judge(&config(release, &any, &json!({})), "10.0.0.1", &[("origin", "app://a")]),
            ORIGIN,
            "{release}"
        );
        let host = json!({"controlUi": {"dangerouslyAllowHostHeaderOriginFallback": true}});
        let same = [("origin", "app://claw.example.com")];
        assert_ne!(judge(&config(release, &host, &json!({})), "10.0.0.1", &same), ORIGIN, "{release}");
    }
}

#[test]
fn reads_of_the_control_ui_need_an_origin_where_the_release_asks_for_one() {
    let gateway = json!({"auth": {"allowTailscale": true}});
    for (release, strict) in [("2026.5.4", false), ("2026.9.1", false), ("2026.9.2", true), ("2026.9.6", true)] {
        let decision =
            judge(&config(release, &gateway, &json!({})), "10.0.0.1", &[(":path", "/control-ui-config.json")]);
        assert_eq!(decision == ORIGIN, strict, "{release}: {decision}");
    }
}

#[test]
fn a_proxy_on_the_gateways_host_is_refused_where_no_setting_allows_it() {
    for (release, is_key) in [("2026.4.2", false), ("2026.4.26", false), ("2026.4.27", true), ("2026.9.6", true)] {
        let refused = |filter: &Value| {
            judge(&config(release, &json!({}), filter), "127.0.0.1", &[]) == "trusted_proxy_loopback_source"
        };
        assert!(refused(&json!({})), "{release}");
        assert!(!refused(&json!({"allowLoopback": true})), "{release}: for this hop");
        let gateway = json!({"auth": {"trustedProxy": {"allowLoopback": true}}});
        let compiled = compile(config(release, &gateway, &json!({})).to_string().as_bytes());
        assert_eq!(compiled.is_ok(), is_key, "{release}");
    }
}

#[test]
fn no_scope_is_stamped_that_the_release_does_not_know() {
    let every = "operator.talk,operator.sessions.write,operator.talk.secrets,operator.questions,operator.read";
    for (release, default, named, ceiling) in [
        ("2026.4.2", FIVE, "read", "admin,read,write,approvals,pairing"),
        ("2026.4.5", FIVE, "read", "admin,read,write,approvals,pairing"),
        ("2026.4.12", SIX, "talk.secrets,read", "admin,read,write,approvals,pairing,talk.secrets"),
        ("2026.7.35", SIX, "talk.secrets,read", "admin,read,write,approvals,pairing,talk.secrets"),
        (
            "2026.8.1",
            SEVEN,
            "talk,talk.secrets,questions,read",
            "admin,read,write,approvals,questions,pairing,talk.secrets,talk",
        ),
        (
            "2026.9.5",
            SEVEN,
            "talk,talk.secrets,questions,read",
            "admin,read,write,approvals,questions,pairing,talk.secrets,talk",
        ),
        (
            "2026.9.6",
            SEVEN,
            "talk,sessions.write,talk.secrets,questions,read",
            "admin,read,write,approvals,questions,pairing,talk.secrets,talk,sessions.read,sessions.write",
        ),
    ] {
        let plain = config(release, &json!({}), &json!({}));
        assert_eq!(judge(&plain, "10.0.0.1", &[]), default, "{release}");
        assert_eq!(judge(&plain, "10.0.0.1", &[("x-openclaw-scopes", every)]), named, "{release}");
        let limited = config(release, &json!({}), &json!({"scopes": {"users": {"*": ["operator.admin"]}}}));
        let upgrade = [("upgrade", "websocket"), (":path", "/")];
        assert_eq!(judge(&limited, "10.0.0.1", &upgrade), ceiling, "{release}");
        let delegated = config(
            release,
            &json!({}),
            &json!({"webSocketRefusal": "delegate", "scopes": {"withoutUser": ["operator.admin"]}}),
        );
        let nobody = [("upgrade", "websocket"), (":path", "/"), ("x-forwarded-user", "")];
        assert_eq!(judge(&delegated, "10.0.0.1", &nobody), ceiling, "{release}");
        // An entry that is not known allows nothing.
        let talk = config(release, &json!({}), &json!({"scopes": {"users": {"*": ["operator.sessions.read"]}}}));
        let expected = if release == "2026.9.6" { "sessions.read" } else { "" };
        assert_eq!(judge(&talk, "10.0.0.1", &[]), expected, "{release}");
    }
}

#[test]
fn a_plugin_gets_its_default_where_the_release_does_not_read_the_header() {
    let plugin = |release: &str, filter: &Value, scopes: &str| {
        judge(&config(release, &json!({}), filter), "10.0.0.1", &[(":path", "/plugin"), ("x-openclaw-scopes", scopes)])
    };
    for (release, scopes, expected) in [
        ("2026.4.2", "operator.admin", ""),
        ("2026.4.2", "operator.write,operator.admin", "write"),
        ("2026.4.2", "operator.read,operator.pairing", "read"),
        ("2026.4.11", "operator.admin,operator.read", "read"),
        ("2026.4.12", "operator.admin", "admin"),
        ("2026.9.6", "operator.admin", "admin"),
    ] {
        assert_eq!(plugin(release, &json!({}), scopes), expected, "{release} {scopes}");
    }
    let ceiling = json!({"scopes": {"users": {"*": ["operator.read"]}}});
    assert_eq!(plugin("2026.4.2", &ceiling, "operator.write"), "read");
    let own = config("2026.4.2", &json!({}), &json!({}));
    assert_eq!(judge(&own, "10.0.0.1", &[("x-openclaw-scopes", "operator.admin")]), "admin", "an own path");
}

#[test]
fn a_path_is_the_gateways_own_where_the_release_serves_it() {
    let endpoints = json!({"http": {"endpoints": {"responses": {"enabled": true}}}});
    let mut gateway = endpoints.clone();
    gateway["controlUi"] = json!({"basePath": "/ui"});
    let paths = [
        (&gateway, "/tools/invoke", "2026.4.2"),
        (&gateway, "/v1/responses", "2026.4.2"),
        (&gateway, "/v1/models/x", "2026.4.2"),
        (&gateway, "/sessions/main/kill", "2026.4.2"),
        (&endpoints, "/__openclaw/control-ui-config.json", "2026.4.2"),
        (&gateway, "/ui/__openclaw/control-ui-config.json", "2026.4.2"),
        (&endpoints, "/control-ui-config.json", "2026.6.11"),
        (&gateway, "/ui/control-ui-config.json", "2026.6.11"),
        (&endpoints, "/__openclaw__/control-ui-config.json", "2026.6.11"),
    ];
    let releases = ["2026.4.2", "2026.4.12", "2026.5.28", "2026.6.1", "2026.6.11", "2026.7.1", "2026.9.6"];
    let at = |release: &str| releases.iter().position(|other| *other == release).unwrap();
    for (gateway, path, since) in paths {
        for release in releases {
            let scopes = judge(&config(release, gateway, &json!({})), "10.0.0.1", &[(":path", path)]);
            assert_eq!(scopes.starts_with("admin"), at(release) >= at(since), "{release} {path}: {scopes}");
        }
    }
    let ceiling = json!({"scopes": {"users": {"*": ["operator.admin"]}}});
    for (path, release, own) in [
        ("/", "2026.4.2", true),
        ("/ui", "2026.4.2", true),
        ("/desktop/observe", "2026.7.35", false),
        ("/desktop/observe", "2026.8.1-beta.1", false),
        ("/desktop/observe", "2026.8.1", true),
        ("/__openclaw__/worker", "2026.7.35", false),
        ("/__openclaw__/worker", "2026.9.6", true),
    ] {
        let upgrade = [("upgrade", "websocket"), (":path", path)];
        let scopes = judge(&config(release, &gateway, &ceiling), "10.0.0.1", &upgrade);
        assert_eq!(scopes.starts_with("admin"), own, "{release} {path}: {scopes}");
    }
}

#[test]
fn what_a_release_does_not_keep_is_a_finding() {
    use Severity::{Critical, Info, Warn};
    let older = ("filter.gateway_version", Info);
    let doubtful = ("filter.gateway_version", Warn);
    let filter = |settings: Value| ("filter", settings);
    let read = json!({"users": {"*": ["operator.read"]}});
    for (release, (path, value), expected) in [
        ("2026.9.6", filter(json!({})), vec![]),
        ("2026.9.5", filter(json!({})), vec![older]),
        ("2026.9.7", filter(json!({})), vec![doubtful]),
        ("2026.8.1-beta.1", filter(json!({})), vec![doubtful]),
        ("2026.9.5", filter(json!({"attribution": "off"})), vec![older, ("filter.attribution_off", Warn)]),
        ("2026.7.35", filter(json!({"attribution": "off"})), vec![older]),
        ("2026.9.3", (PROXIES, json!(["::ffff:10.0.0.0/120"])), vec![older, ("filter.mapped_proxies", Warn)]),
        ("2026.9.5", (PROXIES, json!(["::ffff:10.0.0.0/120"])), vec![older]),
        (
            "2026.4.26",
            filter(json!({"allowLoopback": true})),
            vec![older, ("gateway.trusted_proxy_allow_loopback", Warn), ("filter.loopback_refused", Warn)],
        ),
        (
            "2026.4.27",
            filter(json!({"allowLoopback": true})),
            vec![older, ("gateway.trusted_proxy_allow_loopback", Warn)],
        ),
        ("2026.7.35", ("gateway.auth.identityScopes", json!({"a": []})), vec![older, ("filter.gateway_key", Warn)]),
        ("2026.8.1", ("gateway.auth.identityScopes", json!({"a": []})), vec![older]),
        ("2026.8.1", filter(json!({"scopes": read})), vec![older]),
        ("2026.7.35", filter(json!({"scopes": read})), vec![older, ("filter.socket_scopes", Critical)]),
        ("2026.5.4", filter(json!({"scopes": {"withoutUser": []}})), vec![older, ("filter.socket_scopes", Critical)]),
        ("2026.5.4", filter(json!({"scopes": {"pluginDefault": []}})), vec![older]),
        ("2026.4.2", filter(json!({"scopes": {"pluginDefault": []}})), vec![older, ("filter.plugin_scopes", Critical)]),
        (
            "2026.4.2",
            filter(json!({"scopes": read})),
            vec![older, ("filter.socket_scopes", Critical), ("filter.plugin_scopes", Critical)],
        ),
        (
            "2026.8.2",
            filter(json!({"webSocketRefusal": "delegate"})),
            vec![older, ("filter.websocket_delegate", Warn), ("filter.delegate_unexplained", Info)],
        ),
        ("2026.9.1", filter(json!({"webSocketRefusal": "delegate"})), vec![older, ("filter.websocket_delegate", Warn)]),
        (
            "2026.7.35",
            filter(json!({"scopes": {"default": ["operator.questions", "operator.read"]}})),
            vec![older, ("filter.never_matches", Warn)],
        ),
        (
            "2026.7.1",
            ("gateway.controlUi.allowedOrigins", json!(["https://a", "app://a"])),
            vec![older, ("filter.never_matches", Warn)],
        ),
    ] {
        let mut config = with_release(release, path, value);
        config["filter"]["crossSite"] = json!("refuse");
        let found = compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).findings;
        let found: Vec<_> = found.iter().map(|finding| (finding.id, finding.severity)).collect();
        let expected = [&[("gateway.trusted_proxy_auth", Critical)][..], &expected].concat();
        assert_eq!(found, expected, "{config}");
    }
}
