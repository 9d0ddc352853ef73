//! `explain --browser`: the page, a script of it, and the socket.

use std::fs;
use std::path::Path;

use harness::gateway::lay;
use harness::tool::program;
use harness::wire::{self, First};
use serde_json::{Value, json};

use crate::envoy::Shipped;
use crate::{Run, command, run, tool};

const URL: &str = "https://claw.example.com/";
const ORIGIN: &str = "trusted_proxy_origin_not_allowed";

/// A good policy, with changes on top.
fn policy(changes: &Value) -> Value {
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick@example.com"],
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": {},
    });
    lay(&mut config, changes);
    config
}

fn file(name: &str, config: &Value) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{name}.json"));
    fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn explain(policy: &str, more: &[&str]) -> Run {
    tool(&[&["explain", policy], more].concat())
}

#[test]
fn it_is_named_which_of_the_three_fails_and_the_key_to_change() {
    let trusted = |changes: Value| json!({"gateway": {"auth": {"trustedProxy": changes}}});
    let all = |reason: &'static str| [reason; 3];
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // of "test"
    let login = json!({"filter": {
        "edge": true, "trustedProxies": [], "assertion": {"metadata": ["jwt", "email"], "as": "identity"},
    }});
    let cases: Vec<(Value, &[&str], [&str; 3], &str)> = vec![
        (json!({}), &["--browser", URL], all(""), ""),
        (json!({}), &["--browser", "HTTPS://Claw.Example.com:443"], all(""), ""),
        (json!({}), &["--browser", "http://claw.example.com/"], ["", "", ORIGIN], "gateway.controlUi.allowedOrigins"),
        (
            json!({}),
            &["--browser", "https://claw.example.com:8443/"],
            ["", "", ORIGIN],
            "gateway.controlUi.allowedOrigins",
        ),
        (
            json!({"gateway": {"controlUi": {"allowedOrigins": []}}}),
            &["--browser", URL],
            ["", "", ORIGIN],
            "gateway.controlUi.allowedOrigins",
        ),
        (
            json!({"gateway": {"controlUi": {"enabled": false}}}),
            &["--browser", "https://other.example.com"],
            ["", ORIGIN, ORIGIN],
            "gateway.controlUi.allowedOrigins",
        ),
        (json!({}), &["--browser", URL, "--user", "eve"], all("trusted_proxy_user_not_allowed"), "allowUsers"),
        (
            json!({}),
            &["--browser", URL, "--peer", "10.9.9.9"],
            all("trusted_proxy_untrusted_source"),
            "gateway.trustedProxies",
        ),
        (
            json!({"gateway": {"trustedProxies": ["127.0.0.1"]}}),
            &["--browser", URL],
            all("trusted_proxy_loopback_source"),
            "allowLoopback: true",
        ),
        (
            json!({"gateway": {"trustedProxies": ["0.0.0.0/0", "::/0"]}}),
            &["--browser", URL],
            all("proxy_attribution_required"),
            "gateway.trustedProxies",
        ),
        // All of IPv4 but the proxies themselves: a client with an IPv6 address comes in.
        (json!({"gateway": {"trustedProxies": ["0.0.0.0/0"]}}), &["--browser", URL], all(""), ""),
        (json!({"filter": {"trustedProxies": ["10.0.0.0/24"]}}), &["--browser", URL], all(""), ""),
        (trusted(json!({"allowUsers": ["j\u{f6}rg"]})), &["--browser", URL], all(""), ""),
        (trusted(json!({"allowUsers": []})), &["--browser", URL], all(""), ""),
        (json!({"filter": {"userPrefix": "accounts.google.com:"}}), &["--browser", URL], all(""), ""),
        (json!({"filter": {"requiredValues": {"x-secret": {"sha256": [digest]}}}}), &["--browser", URL], all(""), ""),
        (
            json!({"filter": {"trustedPeers": ["spiffe://a/b"], "peerTrust": "certificate"}}),
            &["--browser", URL],
            all(""),
            "",
        ),
        (json!({"filter": {"peerAddress": {"filterState": "peer"}}}), &["--browser", URL], all(""), ""),
        (login, &["--browser", URL], all(""), ""),
        (json!({"gateway": {"controlUi": {"basePath": "/openclaw"}}}), &["--browser", URL], all(""), ""),
    ];
    for (index, (changes, arguments, reasons, key)) in cases.into_iter().enumerate() {
        let path = file(&index.to_string(), &policy(&changes));
        let ran = explain(&path, &[arguments, &["--json"]].concat());
        let answer: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{changes}: {error} {}", ran.stderr));
        let steps = answer["steps"].as_array().unwrap();
        let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
        assert_eq!(names, ["page", "asset", "socket"]);
        let said: Vec<_> = steps.iter().map(|step| step["reason"].as_str().unwrap_or_default()).collect();
        assert_eq!(said, reasons, "{changes} {arguments:?}: {answer:#}");
        let passes = reasons == all("");
        let verdict = if passes { "admitted" } else { "refused" };
        assert_eq!((ran.code, &answer["verdict"]), (i32::from(!passes), &json!(verdict)), "{answer:#}");
        let fixes = answer["fix"].to_string();
        assert!(fixes.contains(key) && (fixes == "[]") == passes, "{changes} {arguments:?}: {fixes}");
        assert!(!fixes.contains("another site"), "the page itself asks: {fixes}");
        let text = explain(&path, arguments);
        assert_eq!(text.code, ran.code);
        assert!(text.stdout.contains(answer["conclusion"].as_str().unwrap()), "{}", text.stdout);
    }
}

#[test]
fn what_envoy_answers_and_what_is_only_reported_count_as_refused() {
    let path = file(
        "underscore",
        &policy(&json!({"gateway": {"auth": {"trustedProxy": {"userHeader": "OIDC_CLAIM_email"}}}})),
    );
    let ran = explain(&path, &["--browser", URL]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("Envoy answers 400 before the filter: the name oidc_claim_email has an underscore"),
        "{}",
        ran.stdout
    );
    let path = file("report", &policy(&json!({"filter": {"mode": "report"}})));
    let ran = explain(&path, &["--browser", URL, "--user", "eve"]);
    assert!(ran.code == 1 && ran.stdout.contains("would refuse: trusted_proxy_user_not_allowed"), "{}", ran.stdout);
}

#[test]
fn bad_addresses_are_errors_and_nothing_secret_is_shown() {
    let path = file("usage", &policy(&json!({})));
    for (more, expected) in [
        (&["--browser", "claw.example.com"][..], "does not begin with https:// or http://"),
        (&["--browser", ""], "does not begin with https:// or http://"),
        (&["--browser", "ws://claw.example.com"], "does not begin with https:// or http://"),
        (&["--browser", "https:///x"], "is not a host"),
        (&["--browser", "https://a b/"], "is not a host"),
        (&["--browser", "https://nick:s3cr3t@claw.example.com/"], "has a user"),
        (&["--browser", "https://claw.example.com/\u{e9}?s3cr3t"], "is not a path"),
        (&["--browser", URL, "--peer", "proxy.internal"], "--peer: \"proxy.internal\" is not an IP address"),
        (&["--browser", URL, "-H", "a: b"], "cannot be used with"),
        (&["--browser", URL, "--curl", "curl x"], "cannot be used with"),
        (&["--user", "nick", "--peer", "10.0.0.1"], "--browser"),
    ] {
        let ran = explain(&path, more);
        assert!(ran.code == 2 && ran.stderr.contains(expected), "{more:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
    }
    // Values of variables are not shown, whoever they name.
    let config = json!({"gateway": {
        "trustedProxies": ["${PROXY}"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["${WHO}"]}},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"], "basePath": "/${WHERE}"},
    }});
    let mut answered = config.clone();
    answered["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!("${HEADER}");
    let cases = [(config, 0), (answered, 1)].map(|(config, code)| (file(&format!("variables-{code}"), &config), code));
    for ((path, code), more) in cases.iter().flat_map(|case| [(case, &[][..]), (case, &["--json"])]) {
        let mut tool = command(program());
        tool.args([&["explain", path, "--browser", URL][..], more].concat());
        tool.env("PROXY", "10.77.77.7").env("WHO", "s3cr3t-user").env("WHERE", "s3cr3t-path");
        tool.env("HEADER", "x-s3cr3t_user");
        let ran = run(tool, b"");
        assert_eq!(ran.code, *code, "{}{}", ran.stdout, ran.stderr);
        assert!(!ran.stdout.contains("s3cr3t") && !ran.stdout.contains("77.77"), "{}", ran.stdout);
    }
}

/// A real Envoy lets the same of the three through.
#[test]
fn a_real_envoy_answers_the_three_requests_as_it_is_said() {
    let shipped = Shipped::start("cli-browser", &policy(&json!({"filter": {"crossSite": "refuse"}})));
    for (origin, user) in [
        ("https://claw.example.com", "nick@example.com"),
        ("https://other.example.com", "nick@example.com"),
        ("https://claw.example.com", "eve"),
    ] {
        let ran = explain(&shipped.policy, &["--browser", origin, "--user", user, "--json"]);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        let host = origin.strip_prefix("https://").unwrap();
        let base = format!("Host: {host}\r\nX-Forwarded-For: 203.0.113.7\r\nX-User: {user}\r\nX-Edge: 1\r\n");
        let socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let more = [
            "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n".to_owned(),
            format!(
                "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: script\r\nOrigin: {origin}\r\n"
            ),
            format!("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: websocket\r\nOrigin: {origin}\r\n{socket}"),
        ];
        for (step, more) in answer["steps"].as_array().unwrap().iter().zip(more) {
            let mut connection = wire::Connection::open(shipped.address).unwrap();
            let path = step["path"].as_str().unwrap();
            let head = format!("GET {path} HTTP/1.1\r\n{base}{more}\r\n");
            connection.send(&[wire::proxy_line("10.0.0.1"), head.into_bytes()].concat()).unwrap();
            let response = connection.response("GET").unwrap();
            let passes = match response.status {
                101 => matches!(wire::first_message(connection), First::Text(_)),
                status => status == 200,
            };
            assert_eq!(step["passes"], passes, "{origin} {user}: {step}");
        }
    }
}
