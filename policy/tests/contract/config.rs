//! Invalid configurations and their errors: where, what, and what to write instead. Valid ones and their findings.

use std::num::NonZeroU32;

use policy::config::schema::documented;
use policy::config::{MOST_ERRORS, Severity, compile, gateway_keys as keys_of_the_gateway, keys};
use policy::sockets::SocketRules;
use policy::text::is_hostile;
use serde_json::{Value, json};

use crate::configurations::{PROXIES, bad, doubtful, good, with, without};

fn errors(config: &Value) -> Vec<String> {
    match compile(config.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.as_slice().iter().map(ToString::to_string).collect(),
    }
}

/// The findings. `crossSite` is "refuse" unless the configuration has a value for it.
fn findings(config: &Value) -> Vec<(&'static str, Severity)> {
    let mut config = config.clone();
    if config["filter"]["crossSite"].is_null() {
        config["filter"]["crossSite"] = json!("refuse");
    }
    compile(config.to_string().as_bytes())
        .unwrap()
        .findings
        .iter()
        .map(|finding| (finding.id, finding.severity))
        .collect()
}

#[test]
fn each_error_says_where_what_and_what_to_write_instead() {
    let cases = bad();
    assert!(cases.len() >= 40);
    for (config, expected) in &cases {
        let errors = errors(config);
        let [one] = errors.as_slice() else { panic!("wanted one error with {expected:?}, got {errors:#?}") };
        assert!(one.contains(expected), "wanted {expected:?}\n   got {one:?}");
        assert!(!one.contains("s3cr3t"), "a secret in an error: {one}");
        assert!(one.matches("; ").count() >= 1 && !one.contains('\n'), "one line with a remedy: {one}");
    }
}

#[test]
fn text_that_is_no_json_is_shown_with_its_line() {
    for (text, expected) in [
        ("", "configuration: is empty; write one JSON object"),
        (" \n", "configuration: is empty"),
        ("{\"gateway\": // comment\n{}}", "is not JSON: expected value at line 1"),
        ("{\"gateway\": {},\n \"gateway\": {}}", "the key \"gateway\" appears twice in one object at line 2"),
        ("{\"gateway\": {\"models\": {\"a\": 1, \"a\": 2}}}", "the key \"a\" appears twice"),
        ("{} {}", "is not JSON: trailing characters"),
        ("\u{feff}{}", "is not JSON"),
    ] {
        let errors = compile(text.as_bytes()).unwrap_err().to_string();
        assert!(errors.contains(expected) && errors.lines().count() == 1, "{text:?}: {errors}");
    }
    assert!(compile(b"{\"gateway\": \"\xFF\"}").unwrap_err().to_string().contains("is not JSON"));
    assert!(compile("[".repeat(100_000).as_bytes()).unwrap_err().to_string().contains("is not JSON: recursion limit"));
}

#[test]
fn all_errors_are_told_at_once() {
    let config = json!({
        "gateway": {"trustedProxies": ["a", "10.0.0.1/8"], "auth": {"mode": "password", "token": "s3cr3t", "trustedProxy": {"user": 1}}},
        "filter": {"mode": "off", "scopes": {"default": ["x"]}},
        "other": 1
    });
    let errors = errors(&config);
    for path in [
        "other",
        "filter.mode",
        "gateway.auth.mode",
        "gateway.auth.token",
        "gateway.auth.trustedProxy.user",
        "gateway.auth.trustedProxy.userHeader",
        "gateway.trustedProxies[0]",
        "gateway.trustedProxies[1]",
        "filter.scopes.default[0]",
    ] {
        assert!(errors.iter().any(|error| error.starts_with(&format!("{path}: "))), "{path} in {errors:#?}");
    }
    assert_eq!(errors.len(), 9, "{errors:#?}");
    assert_eq!(compile(config.to_string().as_bytes()).unwrap_err().to_string(), errors.join("\n"));
}

#[test]
fn a_long_list_of_errors_is_cut_and_counted() {
    let config = |bad: usize| {
        json!({"gateway": {
            "trustedProxies": vec!["proxy.internal"; bad],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}},
        }})
    };
    let hundred = errors(&config(MOST_ERRORS));
    assert_eq!(hundred.len(), MOST_ERRORS);
    assert!(hundred.iter().all(|error| error.contains("is a name")), "{hundred:#?}");
    assert_eq!(compile(config(100_000).to_string().as_bytes()).unwrap_err().count(), 100_000);
    let more = errors(&config(100_000));
    assert_eq!(more.len(), MOST_ERRORS + 1);
    assert_eq!(more[..MOST_ERRORS], hundred);
    assert_eq!(more[MOST_ERRORS], "configuration: has 99900 more errors; correct these first");
}

#[test]
fn no_text_of_a_configuration_breaks_a_line_or_speaks_to_a_terminal() {
    for c in ['\n', '\u{1b}', '\u{85}', '\u{9b}', '\u{202e}', '\u{2028}', '\u{feff}'] {
        let text = format!("a{c}b");
        let bad = json!({
            "gateway": {
                "trustedProxies": [text],
                "auth": {"mode": text, "trustedProxy": {"userHeader": text, (text.clone()): 1}},
            },
            "filter": {(text.clone()): 1, "scopes": {"users": {(text.clone()): [text]}}},
        });
        let good = with("gateway.auth.trustedProxy.allowUsers", json!([text, format!("${text}"), format!("ł{text}")]));
        let good = compile(good.to_string().as_bytes()).unwrap();
        let findings = good.findings.iter().map(ToString::to_string);
        let lines: Vec<_> = errors(&bad).into_iter().chain(findings).collect();
        let named = lines.iter().filter(|line| {
            line.contains(&format!("{}", c.escape_default())) || line.contains(&c.escape_unicode().to_string())
        });
        assert!(named.count() > 5, "{c:?}: {lines:#?}");
        assert!(!lines.iter().any(|line| line.contains(is_hostile)), "{c:?}: {lines:#?}");
    }
}

#[test]
fn a_pasted_gateway_block_is_taken_as_it_is() {
    let mut config = good();
    config["gateway"]["port"] = json!(18789);
    config["gateway"]["tls"] = json!({"enabled": true});
    config["gateway"]["roles"] =
        json!({"default": "a", "definitions": {"a": {"sessions": {"others": "none"}, "agents": [1, 2.5, null]}}});
    config["gateway"]["nodes"] = json!({"pairing": {"sshVerify": {"cidrs": []}}});
    config["gateway"]["auth"]["token"] = json!("  ");
    config["gateway"]["auth"]["rateLimit"] = json!({"maxAttempts": 5});
    config["gateway"]["auth"]["trustedProxy"]["deviceAutoApprove"] = json!({"enabled": true});
    config["gateway"]["auth"]["trustedProxy"]["cloudflareAccessOidc"] = json!({"providerId": "x"});
    config["gateway"]["remote"] = json!({"url": "wss://x", "token": ""});
    assert_eq!(findings(&config), [("gateway.trusted_proxy_auth", Severity::Critical)]);
    for entry in ["[10.0.0.1]", "::ffff:10.0.0.0/104", "10.0.0.1/32", "2001:db8::/32"] {
        assert_eq!(errors(&with(PROXIES, json!([entry]))), Vec::<String>::new(), "{entry}");
    }
    // The filter's own list replaces a list of the Gateway that is empty.
    let mut own = without(PROXIES);
    let mut none = without(PROXIES);
    none["filter"] = json!({"peerTrust": "certificate", "trustedPeers": ["spiffe://a.b/c"]});
    assert_eq!(errors(&none), Vec::<String>::new(), "certificates alone ask for no list of addresses");
    own["filter"] = json!({"trustedProxies": ["10.0.0.1"], "allowLoopback": true, "peerAddress": {"filterState": "k"}});
    assert_eq!(errors(&own), Vec::<String>::new());
    own["filter"]["peerAddress"] = json!("connection");
    assert_eq!(errors(&own), Vec::<String>::new());
}

#[test]
fn what_is_allowed_but_dangerous_is_a_finding() {
    use Severity::{Critical, Info, Warn};
    const ALWAYS: (&str, Severity) = ("gateway.trusted_proxy_auth", Critical);
    assert_eq!(findings(&good()), [ALWAYS]);
    for (config, id, severity) in doubtful() {
        assert_eq!(findings(&config), [ALWAYS, (id, severity)], "{config}");
    }
    let removed = ("filter.removed_proxies", Info);
    let edge = json!({"edge": true, "assertion": {"metadata": ["ns", "email"], "as": "identity"}});
    assert_eq!(findings(&with("filter", edge)), [ALWAYS, ("filter.edge", Warn), removed]);
    for (header, separator, is_usual) in [
        ("X-Authentik-Groups", ",", false),
        ("x-authentik-groups", "|", true),
        ("x-token-user-roles", ",", false),
        ("x-token-user-roles", " ", true),
        ("x-groups", ";", true),
    ] {
        let scopes = json!({"groupsHeader": header, "groupsSeparator": separator, "groups": {}, "users": {"*": []}});
        let groups = ("filter.groups_header", Warn);
        let odd = (!is_usual).then_some(("filter.groups_separator", Warn));
        let expected: Vec<_> = [ALWAYS, groups].into_iter().chain(odd).collect();
        assert_eq!(findings(&with("filter", json!({"scopes": scopes}))), expected, "{header} {separator:?}");
    }
    let certificate = with("filter", json!({"peerTrust": "certificate", "trustedPeers": ["spiffe://a.b/c"]}));
    let both = [("filter.trusted_peers", Warn), ("filter.peer_trust_certificate", Warn), removed];
    assert_eq!(findings(&certificate), [&[ALWAYS][..], &both].concat());
    for odd in [
        "SPIFFE://a.b/c",
        "spiffe://A.b/c",
        "spiffe://a.b:1/c",
        "spiffe://a.b",
        "spiffe://a.b/",
        "spiffe://a.b/c/",
        "spiffe://a.b/../c",
        "spiffe:///c",
        "spiffe://a.b/c?d",
        "spiffe://a.b/%63",
    ] {
        let found = findings(&with("filter", json!({"trustedPeers": [odd]})));
        assert_eq!(found, [ALWAYS, ("filter.never_matches", Warn), ("filter.trusted_peers", Warn)], "{odd}");
    }
    let ceilings = json!({"scopes": {"users": {"*": ["operator.read"], "Nick@example.com": ["operator.admin"]}}});
    assert_eq!(findings(&with("filter", ceilings)), [ALWAYS], "no entry is narrower than the default");
    for harmless in [
        // As the Gateway reads the UTF-8 of such a name.
        with("gateway.auth.trustedProxy.allowUsers", json!(["j\u{c3}\u{b6}rg", "a,b", "o'neil <x", "cash$"])),
        with("filter", json!({"anonymousPaths": ["/healthz"]})),
        with("filter", json!({"keepHeaders": ["X-Forwarded-Email"]})),
        with(PROXIES, json!(["10.1.0.0/16"])),
        with(PROXIES, json!(["2001:db8:1::/48"])),
        with("gateway.auth.password", json!(null)),
        with("gateway.controlUi.basePath", json!("/claw/")),
    ] {
        assert_eq!(findings(&harmless), [ALWAYS], "{harmless}");
    }
}

#[test]
fn lists_of_proxies_with_which_nobody_passes_are_findings() {
    let with_filter = |gateway: Value, filter: Value| {
        let mut config = with(PROXIES, gateway);
        config["filter"] = filter;
        config
    };
    let real_ip = |mut config: Value| {
        config["gateway"]["allowRealIpFallback"] = json!(true);
        config
    };
    let edge = json!({"edge": true, "assertion": {"metadata": ["ns", "email"], "as": "identity"}});
    for (config, paths) in [
        (with(PROXIES, json!(["10.0.0.1", "0.0.0.0/0"])), vec![("gateway.trustedProxies[1]", "IPv4")]),
        (with(PROXIES, json!(["::ffff:0.0.0.0/96"])), vec![("gateway.trustedProxies[0]", "IPv4")]),
        (
            with_filter(json!(["0.0.0.0/0"]), json!({"trustedProxies": ["10.0.0.9", "::/0"]})),
            vec![("gateway.trustedProxies[0]", "IPv4"), ("filter.trustedProxies[1]", "IPv6")],
        ),
        (with_filter(json!(["0.0.0.0/0"]), edge), vec![("gateway.trustedProxies[0]", "IPv4")]),
        (with_filter(json!(["0.0.0.0/0"]), json!({"attribution": "off"})), vec![]),
        (real_ip(with(PROXIES, json!(["0.0.0.0/0"]))), vec![]),
        (with(PROXIES, json!(["0.0.0.0/1", "2000::/3"])), vec![]),
    ] {
        let wanted: Vec<_> =
            paths.iter().map(|(path, family)| format!("{path} covers every {family} address: ")).collect();
        let seen = texts(&config, "filter.no_client");
        let agree = seen.len() == wanted.len() && seen.iter().zip(&wanted).all(|(text, start)| text.starts_with(start));
        assert!(agree, "{config}\n{seen:#?}");
    }

    let allowed = |mut config: Value, allow: bool| {
        config["gateway"]["auth"]["trustedProxy"]["allowLoopback"] = json!(allow);
        config
    };
    let certificate = json!({"peerTrust": "certificate", "trustedPeers": ["spiffe://a.b/c"]});
    for (config, path) in [
        (with(PROXIES, json!(["127.0.0.0/8", "::1"])), Some(PROXIES)),
        (with(PROXIES, json!(["127.0.0.1/32", "::1/128", "::ffff:127.0.0.1"])), Some(PROXIES)),
        (with_filter(json!(["10.0.0.1"]), json!({"trustedProxies": ["127.0.0.1"]})), Some("filter.trustedProxies")),
        (allowed(with_filter(json!(["127.0.0.1"]), json!({"allowLoopback": false})), true), Some(PROXIES)),
        (allowed(with(PROXIES, json!(["127.0.0.1"])), true), None),
        (with_filter(json!(["127.0.0.1"]), json!({"allowLoopback": true})), None),
        (with_filter(json!(["127.0.0.1"]), json!({"trustedProxies": ["10.0.0.1"]})), None),
        (with_filter(json!(["127.0.0.1"]), certificate), None),
        (with(PROXIES, json!(["126.0.0.0/7"])), None),
        (with(PROXIES, json!(["127.0.0.1", "10.0.0.1"])), None),
    ] {
        let wanted = path.map(|path| format!("{path} has only loopback addresses, and allowLoopback is not true"));
        let seen = texts(&config, "filter.loopback_proxies");
        let agree =
            seen.len() == wanted.iter().len() && seen.iter().zip(&wanted).all(|(text, start)| text.starts_with(start));
        assert!(agree, "{config}\n{seen:#?}");
    }
}

/// The findings' texts with this id.
fn texts(config: &Value, id: &str) -> Vec<String> {
    let findings = compile(config.to_string().as_bytes()).unwrap().findings;
    findings.into_iter().filter(|finding| finding.id == id).map(|finding| finding.text).collect()
}

#[test]
fn a_key_that_the_gateway_does_not_know_is_named_with_the_one_that_was_meant() {
    for (path, value, meant) in [
        ("gateway.controlui", json!({"allowedOrigins": []}), Some("controlUi")),
        ("gateway.trustedproxies", json!([]), Some("trustedProxies")),
        ("gateway.auth.trustedproxy", json!({}), Some("trustedProxy")),
        ("gateway.auth.allowTailscail", json!(true), Some("allowTailscale")),
        ("gateway.controlUi.allowedOrgins", json!([]), Some("allowedOrigins")),
        ("gateway.http.endpoint", json!({}), Some("endpoints")),
        ("gateway.http.endpoints.chatcompletions", json!({}), Some("chatCompletions")),
        ("gateway.http.endpoints.chatCompletions.enable", json!(true), Some("enabled")),
        ("gateway.http.endpoints.responses.files.pdf.maxPage", json!(1), Some("maxPages")),
        ("gateway.remote.tokn", json!("s3cr3t"), Some("token")),
        ("gateway.tls.certpath", json!("x"), Some("certPath")),
        ("gateway.auth.trustedProxy.cloudflareAccessOidc.teamDomain", json!("x"), None),
        ("gateway.auth.trustedProxy.deviceAutoApprove.enable", json!(true), Some("enabled")),
        ("gateway.roles.definitions.staff.agent", json!("*"), Some("agents")),
        ("gateway.webchat", json!({"chatHistoryMaxChars": 1}), None),
        ("gateway.loopbackUser", json!("x"), None),
    ] {
        let mut config = good();
        set(&mut config, path, Some(value));
        let remedy = meant.map_or_else(
            || "remove it, unless your Gateway is newer".to_owned(),
            |meant| format!("did you mean \"{meant}\"?"),
        );
        let release = keys_of_the_gateway::RELEASE;
        let line = format!("{path} is not a key of the Gateway {release}, and changes nothing here: {remedy}");
        assert_eq!(texts(&config, "filter.unknown_key"), [line]);
        assert_eq!(findings(&config).len(), 2, "{path}");
    }
    // Names that the operator chooses are not keys.
    for path in ["gateway.auth.identityScopes.Nick", "gateway.roles.definitions.x.scopes", "gateway.remote.edgeAuth.x"]
    {
        let mut config = good();
        set(&mut config, path, Some(json!([])));
        assert_eq!(texts(&config, "filter.unknown_key"), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_word_that_the_gateway_does_not_allow_is_named_with_those_that_it_does() {
    for (path, value, seen, first) in [
        ("gateway.bind", json!("lann"), "\"lann\"", "auto"),
        ("gateway.bind", json!("0.0.0.0"), "\"0.0.0.0\"", "auto"),
        ("gateway.bind", json!(" lan"), "\" lan\"", "auto"),
        ("gateway.bind", json!("auto,lan"), "\"auto,lan\"", "auto"),
        ("gateway.bind", json!(5), "a number", "auto"),
        ("gateway.bind", json!(null), "null", "auto"),
        ("gateway.mode", json!("Local"), "\"Local\"", "local"),
        ("gateway.tailscale.mode", json!(true), "a boolean", "off"),
        ("gateway.reload.mode", json!("hot"), "\"hot\"", "off"),
        ("gateway.nodes.browser.mode", json!({}), "an object", "auto"),
    ] {
        let mut config = good();
        set(&mut config, path, Some(value));
        let [line] = &texts(&config, "filter.unknown_value")[..] else { panic!("{path}: {:?}", findings(&config)) };
        let release = keys_of_the_gateway::RELEASE;
        let start =
            format!("{path} is {seen}, and the Gateway {release} does not start with it: write one of \"{first}\", ");
        assert!(line.starts_with(&start), "{line}\n{start}");
    }
    for bind in ["auto", "lan", "loopback", "custom", "tailnet"] {
        assert_eq!(texts(&with("gateway.bind", json!(bind)), "filter.unknown_value"), Vec::<String>::new(), "{bind}");
    }
}

#[test]
fn an_ambient_login_wants_cross_site_requests_refused() {
    let warns = |mut config: Value, header: &str| {
        config["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!(header);
        let found = compile(config.to_string().as_bytes()).unwrap().findings;
        found.iter().any(|finding| finding.id == "filter.cross_site" && finding.severity == Severity::Warn)
    };
    let edge = json!({"edge": true, "assertion": {"metadata": ["ns", "email"], "as": "identity"}});
    for header in
        ["X-Forwarded-Email", "x-auth-request-user", "Cf-Access-Authenticated-User-Email", "tailscale-user-login"]
    {
        assert!(warns(good(), header) && warns(with("filter", json!({"crossSite": "allow"})), header), "{header}");
        assert!(!warns(with("filter", json!({"crossSite": "refuse"})), header), "{header}");
    }
    // A header that no known proxy sends says nothing of its login, but the edge does.
    assert!(!warns(good(), "x-user-of-ours"));
    assert!(warns(with("filter", edge), "x-user-of-ours"));
}

#[test]
fn how_long_open_sockets_may_stay_is_read_key_by_key() {
    let assertion = json!({"metadata": ["ns", "email"], "as": "match"});
    let read = |filter: Value| compile(with("filter", filter).to_string().as_bytes()).unwrap().policy.sockets();
    let rules =
        |recheck, max_age, until_assertion| SocketRules { recheck, max_age: NonZeroU32::new(max_age), until_assertion };
    for (filter, expected) in [
        (json!({}), rules(true, 0, false)),
        (json!({"openSockets": "recheck"}), rules(true, 0, false)),
        (json!({"openSockets": "keep"}), rules(false, 0, false)),
        (json!({"socketMaxAge": "12h"}), rules(true, 43_200, false)),
        (json!({"socketMaxAge": "90s", "openSockets": "keep"}), rules(false, 90, false)),
        (json!({"assertion": assertion}), rules(true, 0, false)),
        (json!({"assertion": assertion, "socketsUntil": "assertion"}), rules(true, 0, true)),
        (
            json!({"assertion": assertion, "socketsUntil": "assertion", "openSockets": "keep", "socketMaxAge": "365d"}),
            rules(false, 31_536_000, true),
        ),
    ] {
        assert_eq!(read(filter.clone()), expected, "{filter}");
    }
}

#[test]
fn a_finding_is_one_line_that_starts_with_its_severity_and_id() {
    let filter = json!({"trustedProxies": ["10.9.9.9"], "attribution": "off", "crossSite": "refuse"});
    let config = with("filter", filter);
    let lines: Vec<_> =
        compile(config.to_string().as_bytes()).unwrap().findings.iter().map(ToString::to_string).collect();
    let starts = [
        "critical gateway.trusted_proxy_auth: auth",
        "info filter.trusted_proxies: f",
        "warn filter.attribution_off: r",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn a_thousand_entries_of_one_kind_are_counted_not_listed() {
    let users = |count: usize| {
        let users: Vec<_> = (0..count).map(|n| format!(" {n}")).collect();
        with("gateway.auth.trustedProxy.allowUsers", json!(users))
    };
    let networks = |count: usize| {
        let networks: Vec<_> = (0..count).map(|n| format!("{}.0.0.0/8", n + 10)).collect();
        with(PROXIES, json!(networks))
    };
    let unknown = |count: usize| {
        let keys = (0..count).map(|n| (format!("key{n}"), json!(n)));
        with("gateway.tls", Value::Object(keys.collect()))
    };
    let (useless, broad) = ("filter.never_matches", "filter.broad_proxies");
    for (config, id, listed, rest) in [
        (users(9), useless, 9, None),
        (users(10), useless, 10, None),
        (users(11), useless, 10, Some("1 more entries have no effect")),
        (users(1000), useless, 10, Some("990 more entries have no effect")),
        (networks(10), broad, 10, None),
        (networks(11), broad, 10, Some("1 more entries trust a large network")),
        (networks(200), broad, 10, Some("189 more entries trust a large network")),
        (unknown(11), "filter.unknown_key", 10, Some("1 more keys are not known to the Gateway")),
    ] {
        let findings = compile(config.to_string().as_bytes()).unwrap().findings;
        let mut found = findings.iter().filter(|finding| finding.id == id);
        assert!(found.by_ref().take(listed).all(|finding| finding.text.starts_with("gateway.")), "{findings:#?}");
        assert_eq!(found.next().map(|finding| finding.text.as_str()), rest, "{findings:#?}");
        assert!(found.next().is_none(), "{findings:#?}");
    }
}

#[test]
fn the_fingerprint_tells_configurations_apart() {
    let fingerprint = |config: &Value| compile(config.to_string().as_bytes()).unwrap().fingerprint;
    let other = with(PROXIES, json!(["10.0.0.2"]));
    assert_eq!(fingerprint(&good()), fingerprint(&good()));
    assert_ne!(fingerprint(&good()), fingerprint(&other));
    assert!(fingerprint(&other) < 1 << 53);
}

/// Sets a member of nested objects, or removes it if there is no value.
fn set(config: &mut Value, path: &str, value: Option<Value>) {
    let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
    let object = above
        .split('.')
        .filter(|key| !key.is_empty())
        .fold(config, |config, key| config.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({})));
    match value {
        Some(value) => object[name] = value,
        None => drop(object.as_object_mut().unwrap().remove(name)),
    }
}

#[test]
fn the_fingerprint_is_of_what_decides_and_of_no_secret() {
    let of = |config: &Value| compile(config.to_string().as_bytes()).unwrap().fingerprint;
    let base = good();
    let same = compile(serde_json::to_string_pretty(&base).unwrap().as_bytes()).unwrap().fingerprint;
    assert_eq!(same, of(&base), "the layout of the text does not matter");
    let change = |path: &str, value: Value| {
        let mut config = base.clone();
        set(&mut config, path, Some(value));
        config
    };
    for (path, value) in [
        ("gateway.auth.password", json!("dragon")),
        ("gateway.auth.token", json!(" ")),
        ("gateway.remote.token", json!("")),
        ("gateway.remote.password", json!("dragon")),
        ("gateway.tls", json!({"keyPath": "dragon"})),
        ("gateway.auth.identityScopes", json!({"eve": ["operator.read"]})),
        ("gateway.auth.trustedProxy.deviceAutoApprove", json!({"enabled": true})),
    ] {
        assert_eq!(of(&change(path, value)), of(&base), "{path}");
    }
    let trusted = "gateway.auth.trustedProxy.";
    let changes = [
        ("gateway.bind".to_owned(), json!("loopback")),
        ("gateway.trustedProxies".to_owned(), json!(["10.0.0.2"])),
        ("gateway.allowRealIpFallback".to_owned(), json!(true)),
        (format!("{trusted}userHeader"), json!("x-user-name")),
        (format!("{trusted}requiredHeaders"), json!([])),
        (format!("{trusted}allowUsers"), json!(["nick@example.com", "eve"])),
        (format!("{trusted}allowUsers"), json!(["nick@example.comeve"])),
        (format!("{trusted}allowLoopback"), json!(true)),
        (format!("{trusted}cloudflareAccessOidc"), json!({})),
        ("gateway.auth.allowTailscale".to_owned(), json!(true)),
        ("gateway.controlUi.enabled".to_owned(), json!(false)),
        ("gateway.controlUi.allowedOrigins".to_owned(), json!([])),
        ("gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback".to_owned(), json!(true)),
        ("gateway.controlUi.basePath".to_owned(), json!("/x")),
        ("gateway.http.endpoints.responses.enabled".to_owned(), json!(true)),
        ("gateway.http.endpoints.chatCompletions.enabled".to_owned(), json!(true)),
        ("filter.hideReasons".to_owned(), json!(true)),
        ("filter.openSockets".to_owned(), json!("keep")),
        ("filter.socketMaxAge".to_owned(), json!("12h")),
        ("filter.scopes".to_owned(), json!({"users": {"*": []}})),
        ("filter.scopes".to_owned(), json!({"users": {"*": ["operator.read"]}})),
    ];
    let mut seen = vec![of(&base)];
    for (path, value) in changes {
        let fingerprint = of(&change(&path, value));
        assert!(!seen.contains(&fingerprint) && fingerprint < 1 << 53, "{path}");
        seen.push(fingerprint);
    }
}

#[test]
fn a_key_that_is_absent_means_its_documented_default() {
    let gateway = [
        ("", keys::ROOT),
        ("gateway.", keys::GATEWAY),
        ("gateway.auth.", keys::AUTH),
        ("gateway.auth.trustedProxy.", keys::TRUSTED_PROXY),
        ("gateway.controlUi.", keys::CONTROL_UI),
        ("gateway.http.endpoints.chatCompletions.", keys::ENDPOINT),
        ("gateway.http.endpoints.responses.", keys::ENDPOINT),
    ];
    let gateway = gateway.into_iter().flat_map(|(prefix, table)| table.iter().map(move |key| (prefix.to_owned(), key)));
    let filter = documented().map(|(prefix, key)| (format!("filter.{prefix}"), key));
    let mut compared = 0;
    for (prefix, key) in gateway.chain(filter) {
        let default = key.default.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        let Some(default) = default.map(|text| serde_json::from_str::<Value>(text).unwrap()) else { continue };
        let path = format!("{prefix}{}", key.name);
        let (mut absent, mut written) = (good(), good());
        // An empty list of proxies is an error, unless the certificate is enough.
        if key.name == "trustedProxies" {
            for config in [&mut absent, &mut written] {
                config["filter"] = json!({"peerTrust": "certificate", "trustedPeers": ["spiffe://a/b"]});
            }
        }
        set(&mut absent, &path, None);
        set(&mut written, &path, Some(default));
        let compiled = |config: &Value| {
            let compiled = compile(config.to_string().as_bytes());
            let compiled = compiled.unwrap_or_else(|errors| panic!("{path}: {errors}"));
            (format!("{:?}", compiled.policy), compiled.findings)
        };
        assert_eq!(compiled(&absent), compiled(&written), "{path}");
        compared += 1;
    }
    assert!(compared > 15, "{compared} defaults only: are they found at all?");
}

#[test]
fn a_filter_state_that_no_mesh_writes_first_is_doubted() {
    for (key, expected) in [("io.istio.peer_principal", false), ("my.peer", true), ("io.istio.local_principal", true)] {
        let filter = json!({"trustedPeers": ["spiffe://a.b/c"], "peerIdentity": [{"filterState": key}]});
        let findings = compile(with("filter", filter).to_string().as_bytes()).unwrap().findings;
        let doubt = findings.iter().find(|finding| finding.id == "filter.peer_identity");
        assert_eq!(doubt.is_some(), expected, "{key}: {findings:?}");
        assert!(doubt.is_none_or(|doubt| doubt.severity == Severity::Warn && doubt.text.contains(key)));
    }
}
