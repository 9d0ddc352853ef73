//! The release module in a real Envoy: the decision vectors, and the configuration in `envoy/` with the behaviour
//! that its comments describe.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use harness::echo::{self, Echo};
use harness::envoy::{self, Envoy, Example, FILTER, Ports, Scratch, Source, eventually};
use harness::tungstenite::client;
use harness::vectors::{self, Outcome, Vector};
use harness::wire::{self, Connection, Response, values};
use serde_json::{Value, json};

/// The filter state in which a listener keeps the address that its connection came from (from the PROXY line, if
/// there is one). It is written before any header is read.
const PEER_KEY: &str = "openclaw.peer";
/// The filter state with the address of the other end of the connection, independent of PROXY lines and headers.
const DIRECT_PEER_KEY: &str = "openclaw.direct_peer";

// ---------------------------------------------------------------------------------------------------------------------
// The decision vectors
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn the_decision_vectors_hold_where_the_peer_is_that_of_the_connection() {
    run_vectors("connection", |config| (config.clone(), json!({"use_remote_address": true, "skip_xff_append": true})));
}

#[test]
fn the_decision_vectors_hold_where_the_peer_is_in_filter_state() {
    run_vectors("filter state", |config| (with_peer_in(PEER_KEY, config), json!({"use_remote_address": false})));
}

fn run_vectors(name: &str, place: impl Fn(&Value) -> (Value, Value)) {
    let vectors = vectors::load();
    let mut configs: Vec<&Value> = Vec::new();
    for vector in &vectors {
        if !configs.contains(&&vector.config) {
            configs.push(&vector.config);
        }
    }
    let echo = Echo::start().unwrap();
    let listeners = configs.iter().enumerate().map(|(index, config)| {
        let (config, hcm) = place(config);
        listener(&format!("config-{index}"), &config, &hcm)
    });
    let envoy = Envoy::start(&bootstrap(listeners.collect(), echo.address()));
    let addresses = envoy.addresses();
    let address = |vector: &Vector| {
        let index = configs.iter().position(|config| **config == vector.config).unwrap();
        addresses.iter().find(|(name, _)| *name == format!("config-{index}")).unwrap().1
    };

    let threads = 4;
    let results: Vec<(bool, Option<String>)> = std::thread::scope(|scope| {
        let running: Vec<_> = vectors
            .chunks(vectors.len().div_ceil(threads))
            .map(|part| scope.spawn(|| part.iter().map(|vector| play(vector, address(vector))).collect::<Vec<_>>()))
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let admitted = results.iter().filter(|(admitted, _)| *admitted).count();
    let wrong: Vec<&String> = results.iter().filter_map(|(_, problem)| problem.as_ref()).collect();
    // Bypasses the output capture of passing tests, to show the number of cases.
    let wrong_count = wrong.len();
    let mut out = std::io::stdout();
    writeln!(out, "{} vectors, peer from the {name}: {admitted} admitted, {wrong_count} wrong", vectors.len()).unwrap();
    assert!(wrong.is_empty(), "{} of {} vectors:\n{}", wrong.len(), vectors.len(), shorten(&wrong));
    assert!(vectors.len() >= 1200, "only {} vectors", vectors.len());
    assert_eq!(echo.requests(), admitted, "what is refused must not reach the upstream");
    assert_no_trap(&envoy);
}

fn play(vector: &Vector, address: SocketAddr) -> (bool, Option<String>) {
    let outcome = vector.play(address).unwrap_or_else(|error| Outcome::Other(format!("no response: {error}")));
    let problem = vector.judge(&outcome).err().map(|problem| format!("{}: {problem}", vector.id));
    (matches!(outcome, Outcome::Admitted { .. }), problem)
}

fn shorten(problems: &[&String]) -> String {
    problems.iter().take(20).map(|problem| format!("  {problem}\n")).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Facts about Envoy on which the filter's safety depends
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn a_peer_that_envoy_read_from_a_header_is_refused_unless_the_true_one_is_in_filter_state() {
    let echo = Echo::start().unwrap();
    let config = config(json!({"trustedProxies": ["203.0.113.7", "10.1.2.3"]}));
    let envoy = Envoy::start(&bootstrap(
        vec![
            listener("connection", &config, &json!({"use_remote_address": false})),
            listener("hops", &config, &json!({"use_remote_address": true, "xff_num_trusted_hops": 1})),
            listener("direct", &with_peer_in(DIRECT_PEER_KEY, &config), &json!({"use_remote_address": false})),
            listener("state", &with_peer_in(PEER_KEY, &config), &json!({"use_remote_address": false})),
        ],
        echo.address(),
    ));
    let cases = [
        // The true peer, and the claimed one. 203.0.113.7 is trusted.
        ("connection", "203.0.113.7", None, Ok(())),
        ("connection", "203.0.113.9", None, Err("trusted_proxy_untrusted_source")),
        ("connection", "203.0.113.9", Some("203.0.113.7"), Err("trusted_proxy_peer_unverified")),
        ("connection", "203.0.113.7", Some("198.51.100.9"), Err("trusted_proxy_peer_unverified")),
        ("hops", "203.0.113.9", Some("203.0.113.7, 203.0.113.7"), Err("trusted_proxy_peer_unverified")),
        ("direct", "203.0.113.7", Some("203.0.113.7"), Err("trusted_proxy_untrusted_source")),
        ("state", "203.0.113.7", Some("198.51.100.9"), Ok(())),
        ("state", "203.0.113.9", Some("203.0.113.7"), Err("trusted_proxy_untrusted_source")),
    ];
    for (listener, peer, forwarded, expected) in cases {
        let mut headers =
            vec![("host", "claw.example.com"), ("x-forwarded-user", "nick@example.com"), ("x-real-ip", "198.51.100.7")];
        headers.extend(forwarded.map(|address| ("x-forwarded-for", address)));
        let response = from_peer(envoy.address(listener), peer, 40000, "/", &headers);
        let seen = if response.status == 200 {
            Ok(())
        } else {
            Err(reason(&response).unwrap_or_else(|| format!("{response:?}")))
        };
        assert_eq!(seen, expected.map_err(str::to_owned), "{listener}: {peer} with {forwarded:?}");
    }
    envoy.line(Source::Log, |line| line.contains("log direct ") && line.contains("peer=127.0.0.1:"));
    // A PROXY line is trusted, but not one without a port.
    let headers =
        [("host", "claw.example.com"), ("x-forwarded-user", "nick@example.com"), ("x-real-ip", "198.51.100.7")];
    for name in ["connection", "state"] {
        let response = from_peer(envoy.address(name), "203.0.113.7", 0, "/", &headers);
        assert_eq!(reason(&response).as_deref(), Some("trusted_proxy_peer_unverified"), "{name}: {response:?}");
    }
    assert_no_trap(&envoy);
}

#[test]
fn envoy_does_not_validate_or_start_with_a_bad_policy_inline() {
    let echo = Echo::start().unwrap();
    let good = bootstrap(vec![listener("one", &config(json!({})), &json!({}))], echo.address());
    envoy::validate(&good).unwrap_or_else(|said| panic!("a good policy must validate: {said}"));

    let mut bad = config(json!({"trustedProxies": ["10.0.0.1/8"]}));
    bad["gateway"]["auth"]["mode"] = json!("token");
    let bad = bootstrap(vec![listener("one", &bad, &json!({}))], echo.address());
    let said = envoy::validate(&bad).expect_err("a bad policy must not validate");
    for path in ["gateway.auth.mode", "gateway.trustedProxies[0]"] {
        assert!(said.contains(path), "all errors at once, with `{path}`: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

// ---------------------------------------------------------------------------------------------------------------------
// The configuration in envoy/
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn the_example_admits_refuses_logs_and_counts() {
    let (echo, envoy, _) = example(&shipped_policy());
    let http = envoy.address("http");

    let admitted = get(http, "/v1/models?key=secret", &[NICK, CLIENT]);
    assert_eq!(admitted.status, 200, "{admitted:?}");
    let upstream = echo::received(&admitted.json());
    assert_eq!(values(&upstream, "x-openclaw-user"), ["nick@example.com"]);
    assert!(values(&upstream, "x-forwarded-user").is_empty(), "{admitted:?}");
    assert_eq!(values(&upstream, "x-openclaw-scopes").len(), 1, "{admitted:?}");
    assert_eq!(admitted.json()["path"], "/v1/models?key=secret");
    assert!(admitted.header("server").is_none(), "Envoy does not reveal its name: {admitted:?}");
    assert!(admitted.header("strict-transport-security").is_none(), "no HSTS without TLS: {admitted:?}");

    let refused = get(http, "/v1/models?key=secret", &[("x-forwarded-user", "mallory@example.com"), CLIENT]);
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(reason(&refused).as_deref(), Some("trusted_proxy_user_not_allowed"));
    assert_eq!(refused.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(refused.header("www-authenticate").as_deref(), Some("TrustedProxy realm=\"openclaw\""));
    assert!(!refused.text().contains("mallory"), "nothing from the request is reflected: {refused:?}");
    assert_eq!(get(http, "/", &[CLIENT]).status, 401);
    assert_eq!(get(http, "/health", &[]).status, 200, "health checks need no identity");
    assert_eq!(echo.requests(), 2, "what is refused must not reach the upstream");

    let line = envoy.line(Source::Access, |line| line.contains("mallory"));
    let line: Value = serde_json::from_str(&line).expect("one JSON object a line");
    assert_eq!(line["reason"], "trusted_proxy_user_not_allowed", "{line}");
    assert_eq!(line["user"], "mallory@example.com", "{line}");
    assert_eq!((&line["status"], &line["path"]), (&json!(401), &json!("/v1/models")), "the query is left out: {line}");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    let line = envoy.line(Source::Access, |line| line.contains("\"status\":200") && line.contains("/v1/models"));
    let line: Value = serde_json::from_str(&line).expect("one JSON object a line");
    assert_eq!((&line["reason"], &line["user"]), (&Value::Null, &Value::Null), "{line}");
    assert_eq!((&line["admitted_user"], &line["forwarded_for"]), (&json!("nick@example.com"), &json!("203.0.113.7")));

    let line = envoy.line(Source::Log, |line| line.contains("trusted_proxy_user_not_allowed"));
    assert!(line.contains("mallory@example.com") && line.contains("127.0.0.1"), "{line}");
    assert!(!line.contains("secret"), "the query is left out: {line}");

    // Admitted requests are reported to Envoy once a second.
    let counters = || envoy.process().ask("/stats/prometheus").unwrap().text();
    eventually("the admitted request to be counted", || counters().contains("_decisions{result=\"admitted\"} 1\n"));
    let counters = counters();
    for wanted in [
        "openclaw_trusted_proxy_decisions{result=\"admitted\"} 1",
        "openclaw_trusted_proxy_decisions{result=\"anonymous\"} 1",
        "openclaw_trusted_proxy_decisions{result=\"refused\",reason=\"trusted_proxy_user_not_allowed\"} 1",
        "openclaw_trusted_proxy_decisions{result=\"refused\",reason=\"trusted_proxy_user_missing\"} 1",
    ] {
        let ours = counters.lines().filter(|line| line.starts_with("openclaw")).collect::<Vec<_>>().join("\n");
        assert!(counters.lines().any(|line| line == wanted), "`{wanted}` among:\n{ours}");
    }
    assert_no_trap(&envoy);
}

/// What drives a terminal (U+009B is an escape sequence's start) or turns text around, in each header that the access
/// log shows. Envoy's own JSON leaves these as they are.
#[test]
fn the_access_log_shows_no_character_that_drives_a_terminal_or_turns_text_around() {
    const HOSTILE: [&str; 6] = ["\u{9b}31m", "\u{85}", "\u{202e}", "\u{2066}", "\u{200f}", "\u{2028}"];
    // Everybody may come in, so that any name is shown.
    let mut policy: Value = serde_json::from_str(&shipped_policy()).unwrap();
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([]);
    let (_echo, envoy, _) = example(&policy.to_string());
    let mut sent = 0;
    for hostile in HOSTILE {
        let value = format!("a{hostile}b");
        let named = ["x-forwarded-user", "x-forwarded-for", "upgrade", "x-request-id", "x-openclaw-user", "host"];
        for name in named.into_iter().chain([":path", ":method"]) {
            let (mut method, mut path) = ("GET", "/page");
            let mut headers = vec![("host", "a"), NICK, CLIENT, ("connection", "close")];
            match name {
                ":path" => path = &value,
                ":method" => method = &value,
                "upgrade" => {
                    headers.retain(|(other, _)| *other != "connection");
                    headers.extend([("connection", "Upgrade"), ("upgrade", value.as_str())]);
                }
                name => {
                    headers.retain(|(other, _)| *other != name);
                    headers.push((name, &value));
                }
            }
            let mut connection = Connection::open(envoy.address("http")).unwrap();
            connection.send(&wire::request(method, path, &headers)).unwrap();
            // Some of these Envoy refuses before any filter. It logs them too.
            drop(connection.response("GET"));
            sent += 1;
        }
    }
    eventually("a line for each request", || envoy.lines(Source::Access).len() >= sent);
    let lines = envoy.lines(Source::Access);
    let drives = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    for line in &lines {
        assert!(!line.contains(drives), "{}", line.escape_unicode());
        let line: Value = serde_json::from_str(line).expect("one JSON object a line");
        let plain = |key: &str| line[key].as_str().is_none_or(|text| !text.contains(drives));
        assert!(line.as_object().unwrap().keys().all(|key| plain(key)), "{line}");
    }
    for (field, count) in [("forwarded_for", 6), ("admitted_user", 6), ("upgrade", 1)] {
        let hidden = lines.iter().filter(|line| line.contains(&format!("\"{field}\":\"(not shown)\""))).count();
        assert!(hidden >= count, "{field}: {hidden}, {lines:#?}");
    }
    // An ordinary name with letters beyond ASCII is shown.
    let name = ("x-forwarded-user", "j\u{f6}rg \u{142}ukasz");
    assert_eq!(get(envoy.address("http"), "/named", &[name, CLIENT]).status, 200);
    envoy.line(Source::Access, |line| line.contains("\"admitted_user\":\"j\u{f6}rg \u{142}ukasz\""));
}

#[test]
fn the_tls_listener_differs_only_in_hsts_and_websockets_over_http_2() {
    let (_echo, envoy, example) = example(&shipped_policy());
    let certificate = std::fs::read(example.certificate()).unwrap();
    for (headers, status) in [(vec![NICK, CLIENT], 200), (vec![CLIENT], 401)] {
        let stream = wire::open_tls(envoy.address("https"), "localhost", &certificate, "http/1.1").unwrap();
        let mut connection = Connection::new(stream);
        connection.send(&wire::request("GET", "/", &with_host(&headers))).unwrap();
        let response = connection.response("GET").unwrap();
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("strict-transport-security").as_deref(), Some("max-age=300"), "{response:?}");
    }

    let mut stream = wire::open_tls(envoy.address("https"), "localhost", &certificate, "h2").unwrap();
    stream.flush().unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(b"h2".as_slice()), "HTTP/2 is offered");

    let dump = envoy.process().ask("/config_dump?resource=static_listeners").unwrap().json();
    let manager = |name: &str| {
        let all = dump["configs"].as_array().expect("listeners").iter();
        let mut one = all.map(|one| &one["listener"]).find(|one| one["name"] == name).expect("a listener").clone();
        let mut manager = one["filter_chains"][0]["filters"][0]["typed_config"].take();
        manager.as_object_mut().unwrap().remove("stat_prefix").expect("a stat prefix");
        let route = manager["route_config"].as_object_mut().unwrap();
        route.remove("name");
        let hsts = route.remove("response_headers_to_add");
        // False is not shown.
        let connect = manager["http2_protocol_options"].as_object_mut().unwrap().remove("allow_connect");
        (hsts, connect, manager)
    };
    let ((plain_headers, plain_connect, plain), (tls_headers, tls_connect, tls)) = (manager("http"), manager("https"));
    assert_eq!(plain, tls);
    assert_eq!((plain_connect, tls_connect), (Some(json!(true)), None));
    assert!(plain_headers.is_none() && tls_headers.is_some());
    assert_eq!(plain["http_filters"][0]["name"], FILTER, "the filter is there, and first");
}

/// Tokens for a login that Envoy verifies. They do not expire; the key is not a secret.
mod tokens {
    pub const KEYS: &str = r#"{"keys": [{"kty": "oct", "kid": "t", "alg": "HS256", "k": "YSBrZXkgdGhhdCBvbmx5IHRoaXMgdGVzdCBrbm93cywgMzIr"}]}"#;
    pub const NICK: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ.WlIKQVg3KuI0zUv2gvFX70AJ2XyTWlIpo7czo8_dbYo";
    pub const EVE: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJlbWFpbCI6ImV2ZUBleGFtcGxlLmNvbSJ9.9vl4OrQT7zNGWIQ9dP5F79pPOzrlB1Q8kzDzGAaTTJ0";
    pub const NUMBER: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJlbWFpbCI6N30.locjXJ9lYzxOcivE9vS33Sfp1QvP5zGVujzePgavxx0";
    pub const LIST: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJlbWFpbCI6WyJuaWNrQGV4YW1wbGUuY29tIl19.9nTsrPIRD_GOHRz6HSJD7-Sw60AEco-skSCdCyAcrYU";
    pub const NOBODY: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJzdWIiOiIxIn0.huPBspDvtF22EvgwbTgdp-pbWRirtc6N1HatZuk9OD4";
    pub const FORGED: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ.ZYByjNw_BYoQg9wxfEhY-3hmXE3YnloCNWAzjCA5cVU";
}

#[test]
fn at_the_edge_only_the_user_that_envoy_verified_comes_in() {
    let echo = Echo::start().unwrap();
    let with = |edge: bool, use_as: &str| {
        let mut config = config(json!({"controlUi": {"allowedOrigins": ["https://claw.example.com"]}}));
        let path = ["envoy.filters.http.jwt_authn", "payload", "email"];
        config["filter"] = json!({"edge": edge, "assertion": {"metadata": path, "as": use_as}});
        config["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(["nick@example.com"]);
        config
    };
    let login = json!({"name": "login", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"id": {
            "issuer": "https://id.example",
            "local_jwks": {"inline_string": tokens::KEYS},
            "payload_in_metadata": "payload",
        }},
        // A request without a token is passed on; the filter then refuses it.
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
            {"provider_name": "id"}, {"allow_missing": {}},
        ]}}}],
    }});
    let listeners = [("edge", with(true, "identity")), ("match", with(false, "match"))].map(|(name, config)| {
        let mut listener = listener(name, &config, &json!({"use_remote_address": true}));
        let manager = &mut listener["filter_chains"][0]["filters"][1]["typed_config"];
        manager["http_filters"].as_array_mut().unwrap().insert(0, login.clone());
        listener
    });
    let envoy = Envoy::start(&bootstrap(listeners.to_vec(), echo.address()));
    let (edge, matching) = (envoy.address("edge"), envoy.address("match"));
    const MISSING: &str = "trusted_proxy_assertion_missing";
    const MISMATCH: &str = "trusted_proxy_assertion_mismatch";
    const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";
    const NICK: Option<&str> = Some("nick@example.com");
    // The listener, the peer, the token, the user header, and the reason of a refusal.
    let cases = [
        (edge, "198.51.100.7", Some(tokens::NICK), None, None),
        (edge, "198.51.100.7", Some(tokens::NICK), Some("eve@example.com"), None),
        (edge, "198.51.100.7", Some(tokens::EVE), NICK, Some(NOT_ALLOWED)),
        (edge, "198.51.100.7", Some(tokens::NUMBER), NICK, Some(MISSING)),
        (edge, "198.51.100.7", Some(tokens::LIST), NICK, Some(MISSING)),
        (edge, "198.51.100.7", Some(tokens::NOBODY), NICK, Some(MISSING)),
        (edge, "198.51.100.7", None, NICK, Some(MISSING)),
        (edge, "203.0.113.7", Some(tokens::NICK), None, Some("proxy_attribution_required")),
        (matching, "203.0.113.7", Some(tokens::NICK), NICK, None),
        (matching, "203.0.113.7", Some(tokens::EVE), NICK, Some(MISMATCH)),
        (matching, "203.0.113.7", Some(tokens::NICK), Some("eve@example.com"), Some(MISMATCH)),
        (matching, "203.0.113.7", None, NICK, Some(MISSING)),
        (matching, "198.51.100.7", Some(tokens::NICK), NICK, Some("trusted_proxy_untrusted_source")),
    ];
    for (address, peer, token, user, expected) in cases {
        let token = token.map(|token| format!("Bearer {token}"));
        let mut headers = with_host(&[("x-forwarded-for", "198.51.100.7")]);
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        headers.extend(user.map(|user| ("x-forwarded-user", user)));
        let response = from_peer(address, peer, 40000, "/", &headers);
        let what = format!("{peer} {token:?} {user:?}: {}", response.text());
        assert_eq!(reason(&response).as_deref(), expected, "{what}");
        if expected.is_none() {
            let upstream = echo::received(&echo::answer(&response));
            assert_eq!(values(&upstream, "x-forwarded-user"), ["nick@example.com"], "{what}");
        }
    }
    let forged = format!("Bearer {}", tokens::FORGED);
    let response = from_peer(edge, "198.51.100.7", 40000, "/", &with_host(&[("authorization", &forged)]));
    assert_eq!(response.status, 401, "Envoy's own refusal: {}", response.text());
    assert_eq!(echo.requests(), 3);
    assert_no_trap(&envoy);
}

#[test]
fn a_refused_navigation_gets_a_page_and_everything_else_gets_json() {
    let echo = Echo::start().unwrap();
    let listener = listener("http", &config(json!({})), &json!({"use_remote_address": true}));
    let envoy = Envoy::start(&bootstrap(vec![listener], echo.address()));
    let refused = |method: &str, accept: &str| {
        let mut connection = Connection::open(envoy.address("http")).unwrap();
        connection.send(&wire::proxy_line("203.0.113.7")).unwrap();
        let headers = [("host", "a"), ("x-forwarded-for", "198.51.100.7"), ("accept", accept), ("connection", "close")];
        connection.send(&wire::request(method, "/secret?token=s3cr3t", &headers)).unwrap();
        let response = connection.response(method).unwrap();
        // Nothing may follow the response: a body after the answer to HEAD would be taken for the next answer.
        (response, connection.rest().unwrap())
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, media) in [(browser, "text/html; charset=utf-8"), ("*/*", "application/json; charset=utf-8")] {
        let (get, _) = refused("GET", accept);
        let (head, rest) = refused("HEAD", accept);
        assert_eq!((get.status, head.status), (401, 401));
        assert_eq!(values(&get.headers, "content-type"), [media]);
        let comparable = |response: &Response| {
            response.headers.iter().filter(|(name, _)| name != "date").cloned().collect::<Vec<_>>()
        };
        assert_eq!(comparable(&head), comparable(&get), "HEAD says what GET would");
        assert_eq!((head.body, rest), (Vec::new(), Vec::new()));
        let page = get.text();
        assert!(
            page.contains("trusted_proxy_user_missing") && !page.contains("s3cr3t") && !page.contains("/secret"),
            "{page}"
        );
        let policy = values(&get.headers, "content-security-policy").concat();
        assert_eq!(policy.contains("default-src 'none'") && page.starts_with("<!doctype html>"), accept == browser);
    }
    assert_eq!(echo.requests(), 0);
}

#[test]
fn a_client_cannot_name_its_own_address() {
    // The policy trusts 192.0.2.50 only, and the client comes from 127.0.0.1.
    let (echo, envoy, example) = example(&shipped_policy().replace("\"127.0.0.1\"", "\"192.0.2.50\""));
    for forged in ["192.0.2.50", "192.0.2.50, 192.0.2.50", "203.0.113.7, 192.0.2.50"] {
        let response =
            get(envoy.address("http"), "/", &[NICK, ("x-forwarded-for", forged), ("x-envoy-external-address", forged)]);
        assert_eq!(reason(&response).as_deref(), Some("trusted_proxy_untrusted_source"), "{forged}: {response:?}");
    }
    assert_eq!(echo.requests(), 0);

    edit(&envoy, &example, &shipped_policy());
    let response = get(envoy.address("http"), "/", &[NICK, ("x-forwarded-for", "198.51.100.1, 203.0.113.7")]);
    let upstream = echo::received(&response.json());
    let chain = values(&upstream, "x-forwarded-for");
    assert_eq!(chain, ["198.51.100.1, 203.0.113.7"], "what the proxy wrote is passed on as it came");

    let response = get(envoy.address("http"), "/health", &[]);
    assert_eq!(response.status, 200, "{response:?}");
    let upstream = echo::received(&response.json());
    assert!(values(&upstream, "x-envoy-internal").is_empty(), "Envoy treats no network as internal: {response:?}");
}

#[test]
fn the_filter_and_the_gateway_see_one_path() {
    let (_echo, envoy, _) = example(&shipped_policy());
    let cases = [
        ("/sessions/main/history?a=/../b", "/sessions/main/history?a=/../b"),
        ("/x/../tools/invoke", "/tools/invoke"),
        ("/x/%2e%2e/tools/invoke", "/tools/invoke"),
        ("/x\\..\\tools/invoke", "/tools/invoke"),
        ("//tools/invoke", "/tools/invoke"),
        ("/./tools//invoke", "/tools/invoke"),
        ("/%74ools/invoke", "/tools/invoke"),
        ("/../..", "/"),
        ("/v1/models/openclaw%2Fmain", "/v1/models/openclaw%2Fmain"),
        ("/x/..%2ftools/invoke", "/x/..%2ftools/invoke"),
        ("/x/..%5ctools/invoke", "/x/..%5ctools/invoke"),
    ];
    for (sent, expected) in cases {
        let response = get(envoy.address("http"), sent, &[NICK, CLIENT]);
        assert_eq!(response.json()["path"], expected, "{sent}: {response:?}");
        let scopes = values(&echo::received(&response.json()), "x-openclaw-scopes").concat();
        let own = ["/tools/invoke", "/sessions/main/history?a=/../b"].contains(&expected);
        assert_eq!(scopes.contains("operator.admin"), own, "{sent}: {scopes}");
    }
    for refused in ["/tools/invoke#x", "/..%00"] {
        let response = get(envoy.address("http"), refused, &[NICK, CLIENT]);
        assert_eq!(response.status, 400, "{refused}: {response:?}");
    }
}

#[test]
fn too_many_headers_and_names_with_underscores_do_not_pass() {
    let (echo, envoy, _) = example(&shipped_policy());
    let http = envoy.address("http");
    let large = "x".repeat(15 * 1024);
    assert_eq!(get(http, "/", &[NICK, CLIENT, ("x-large", &large)]).status, 431);
    let many: Vec<(String, &str)> = (0..101).map(|index| (format!("x-{index}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(get(http, "/", &[&[NICK, CLIENT], many.as_slice()].concat()).status, 431);
    assert_eq!(get(http, "/", &[NICK, CLIENT, ("x_forwarded_user", "root@example.com")]).status, 400);
    assert_eq!(echo.requests(), 0);

    // The largest request that passes still fits the Gateway's 16 KiB, with everything that was added on the way.
    let large = "x".repeat(15 * 1024 - 250);
    let response = get(http, "/", &[NICK, CLIENT, ("x-large", &large)]);
    assert_eq!(response.status, 200, "{response:?}");
    let upstream = echo::received(&response.json());
    let size: usize = upstream.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    assert!(size < 16 * 1024, "{size} bytes");
}

#[test]
fn an_edited_policy_reaches_open_connections_and_a_bad_edit_changes_nothing() {
    let (_echo, envoy, example) = example(&shipped_policy());
    let http = envoy.address("http");
    let mut connection = Connection::open(http).unwrap();
    let mut ask = |user: &str| {
        let headers = with_host(&[("x-forwarded-user", user), CLIENT]);
        connection.send(&wire::request("GET", "/", &headers)).unwrap();
        connection.response("GET").unwrap().status
    };
    let request = harness::http::Request::builder().uri(format!("ws://{http}/")).header("host", "claw.example.com");
    let request = request
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header(NICK.0, NICK.1)
        .header(CLIENT.0, CLIENT.1);
    let (mut socket, _) = client(request.body(()).unwrap(), wire::open(http).unwrap()).expect("an open WebSocket");
    assert!(socket.read().unwrap().is_text());
    assert_eq!((ask("nick@example.com"), ask("mary@example.com")), (200, 401));

    let mary = shipped_policy().replace("nick@", "mary@");
    edit(&envoy, &example, &mary);
    assert_eq!(
        (ask("nick@example.com"), ask("mary@example.com")),
        (401, 200),
        "the next request on an open connection"
    );

    let (taken, rejected) = envoy.process().policies();
    example.put_policy(&mary.replace("trusted-proxy\"", "token\"")).unwrap();
    eventually("the bad policy to be rejected", || envoy.process().policies().1 > rejected);
    assert_eq!(envoy.process().policies().0, taken);
    envoy.line(Source::Log, |line| line.contains("gateway.auth.mode"));
    assert_eq!((ask("nick@example.com"), ask("mary@example.com")), (401, 200), "the policy before stays in force");

    edit(&envoy, &example, &shipped_policy());
    assert_eq!((ask("nick@example.com"), ask("mary@example.com")), (200, 401), "and a good one is taken again");
    socket.send("still here".into()).unwrap();
    assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), "still here", "the WebSocket outlived it all");
    assert_no_trap(&envoy);
}

#[test]
fn a_plugin_that_envoy_replaced_is_missed_and_let_go() {
    const NO_SUCH_CONTEXT: &str = "[vm<-host] env.proxy_set_effective_context return: 2";
    let (_echo, envoy, example) = example(&shipped_policy());
    // At this level, Envoy logs each call into a VM and out of it.
    assert_eq!(envoy.process().tell("/logging?wasm=trace").unwrap().status, 200);
    let missed = || envoy.lines(Source::Log).iter().filter(|line| line.contains(NO_SUCH_CONTEXT)).count();
    for round in 1..=3 {
        edit(&envoy, &example, &shipped_policy().replace("nick@", &format!("nick{round}@")));
        // On the main thread and on each worker, where a request's count or the new plugin's timer looks for it.
        eventually("the previous plugin to be missed", || missed() >= round);
    }
    assert_eq!(get(envoy.address("http"), "/", &[("x-forwarded-user", "nick3@example.com"), CLIENT]).status, 200);
    assert_no_trap(&envoy);
}

#[test]
fn no_admitted_request_is_lost_from_the_counters_while_policies_follow_each_other() {
    const EACH: usize = 25;
    let (_echo, envoy, example) = example(&shipped_policy());
    let mut sent = 0;
    for round in 0..4 {
        for _ in 0..EACH {
            assert_eq!(get(envoy.address("http"), "/", &[NICK, CLIENT]).status, 200);
            sent += 1;
        }
        // Immediately: the counts since the last tick are still in the plugin that is replaced.
        edit(
            &envoy,
            &example,
            &shipped_policy().replace("nick@example.com\"", &format!("nick@example.com\", \"{round}\"")),
        );
    }
    let counted = || {
        let text = envoy.process().ask("/stats/prometheus").unwrap().text();
        let value =
            text.lines().find_map(|line| line.strip_prefix("openclaw_trusted_proxy_decisions{result=\"admitted\"} "));
        value.and_then(|value| value.parse::<usize>().ok())
    };
    eventually("every admitted request to be counted", || counted() == Some(sent));
    assert_no_trap(&envoy);
}

#[test]
fn the_command_in_filter_yaml_makes_what_make_run_makes() {
    let scratch = Scratch::new("by-hand");
    let shipped = envoy::root().join("envoy");
    let text = std::fs::read_to_string(shipped.join("filter.yaml")).unwrap();
    let command = text.lines().find_map(|line| line.strip_prefix("#   mkdir")).expect("the command in the comment");
    std::fs::create_dir(scratch.path().join("envoy")).unwrap();
    for file in ["filter.yaml", "policy.json"] {
        std::fs::copy(shipped.join(file), scratch.path().join("envoy").join(file)).unwrap();
    }
    let status =
        Command::new("sh").arg("-c").arg(format!("mkdir{command}")).current_dir(scratch.path()).status().unwrap();
    assert!(status.success());
    let made = std::fs::read_to_string(scratch.path().join(".run/policy/filter.yaml")).unwrap();
    assert_eq!(made, envoy::with_policy(&text, &shipped_policy()));
}

// ---------------------------------------------------------------------------------------------------------------------
// Shared helpers
// ---------------------------------------------------------------------------------------------------------------------

const NICK: (&str, &str) = ("x-forwarded-user", "nick@example.com");
const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");

fn shipped_policy() -> String {
    std::fs::read_to_string(envoy::root().join("envoy/policy.json")).unwrap()
}

/// The configuration in `envoy/`, on free ports, in front of an echo server.
fn example(policy: &str) -> (Echo, Envoy, Example) {
    let echo = Echo::start().unwrap();
    let scratch = Scratch::new("example");
    let example = Example::write(scratch.path(), Ports::default(), &echo.address().to_string(), policy)
        .unwrap_or_else(|problem| panic!("{problem}"));
    let envoy = Envoy::run(scratch, &example.bootstrap());
    (echo, envoy, example)
}

fn edit(envoy: &Envoy, example: &Example, policy: &str) {
    let (taken, _) = envoy.process().policies();
    example.put_policy(policy).unwrap();
    eventually("the policy to be taken", || envoy.process().policies().0 > taken);
}

/// A policy that trusts 203.0.113.7, with settings of the Gateway merged into it.
fn config(gateway: Value) -> Value {
    let mut config = json!({"gateway": {
        "trustedProxies": ["203.0.113.7"],
        "allowRealIpFallback": true,
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
    }});
    for (key, value) in gateway.as_object().unwrap() {
        config["gateway"][key] = value.clone();
    }
    config
}

fn with_peer_in(key: &str, config: &Value) -> Value {
    let mut config = config.clone();
    if !config["filter"].is_object() {
        config["filter"] = json!({});
    }
    config["filter"]["peerAddress"] = json!({"filterState": key});
    config
}

/// A listener that trusts PROXY lines, with the policy inline and settings merged into its connection manager.
fn listener(name: &str, config: &Value, hcm: &Value) -> Value {
    let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "delayed_close_timeout": "0.1s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "upstream", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
        }]},
        "http_filters": [
            {"name": "peer", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
                "on_request_headers": [keep(DIRECT_PEER_KEY, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%")],
            }},
            {"name": FILTER, "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": name,
                    "failure_policy": "FAIL_RELOAD",
                    "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config.to_string()},
                    "vm_config": {"vm_id": FILTER, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": module}}},
                },
            }},
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
        ],
    });
    for (key, value) in hcm.as_object().unwrap() {
        manager[key] = value.clone();
    }
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [{"name": "proxy_protocol", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        }}],
        "filter_chains": [{"filters": [
            {"name": "peer", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
                "on_new_connection": [keep(PEER_KEY, "%DOWNSTREAM_REMOTE_ADDRESS%")],
            }},
            {"name": "http", "typed_config": manager},
        ]}],
    })
}

fn keep(key: &str, format: &str) -> Value {
    json!({"object_key": key, "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": format}}})
}

fn bootstrap(listeners: Vec<Value>, upstream: SocketAddr) -> String {
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    json!({
        "admin": {"address": socket(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {
            "listeners": listeners,
            "clusters": [{
                "name": "upstream",
                "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(upstream)}}]}]},
            }],
        },
    })
    .to_string()
}

fn with_host<'a>(headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("host", "claw.example.com")], headers].concat()
}

fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    wire::get(address, path, headers).unwrap()
}

fn from_peer(address: SocketAddr, peer: &str, port: u16, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut connection = Connection::open(address).unwrap();
    connection.send(&wire::proxy_line_from(peer, port)).unwrap();
    connection.send(&wire::request("GET", path, headers)).unwrap();
    connection.response("GET").unwrap()
}

fn reason(response: &Response) -> Option<String> {
    response.json()["error"]["reason"].as_str().map(str::to_owned)
}

/// Asserts that no VM failed: Envoy reloaded none, and logged no trap.
fn assert_no_trap(envoy: &Envoy) {
    let stats = envoy.process().ask("/stats?usedonly").unwrap().text();
    let reloads: Vec<_> = stats.lines().filter(|line| line.contains("vm_reload") && !line.ends_with(": 0")).collect();
    assert!(reloads.is_empty(), "{reloads:?}");
    let traps = envoy
        .lines(Source::Log)
        .into_iter()
        .filter(|line| ["Uncaught", "panicked", "unreachable"].iter().any(|word| line.contains(word)));
    assert_eq!(traps.collect::<Vec<_>>(), Vec::<String>::new());
}
