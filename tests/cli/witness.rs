//! `check` knows whether anybody can come in.

use harness::envoy::root;
use model::choices::{self, Choices};
use model::{generate, subject};
use serde_json::{Value, json};

use crate::quiet::good;
use crate::{tool, tool_reading};

const NOBODY: &str = "check.nobody_can_come_in";
const NO_BROWSER: &str = "check.no_browser_can_come_in";
const SOME: &str = "check.some_cannot_come_in";

const USERS: &str = "/gateway/auth/trustedProxy/allowUsers";
const ORIGINS: &str = "/gateway/controlUi/allowedOrigins";
const THEIRS: &str = "/gateway/trustedProxies";

/// A good configuration with changes: JSON pointers, and the values to put there.
fn config(changes: &[(&str, Value)]) -> Value {
    let mut config = good();
    for (pointer, value) in changes {
        let (above, key) = pointer.rsplit_once('/').unwrap();
        let above = if above == "/filter" && config.get("filter").is_none() {
            config["filter"] = json!({});
            "/filter"
        } else {
            above
        };
        config.pointer_mut(above).unwrap()[key] = value.clone();
    }
    config
}

fn check(config: &Value, more: &[&str]) -> (i32, Value) {
    let arguments = [&["check", "-", "--json", "--ignore-environment"], more].concat();
    let run = tool_reading(&arguments, config.to_string().as_bytes());
    (run.code, serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{config}: {error}")))
}

/// The findings about who can come in: severity, id and path.
fn found(answer: &Value) -> Vec<(&str, &str, &str)> {
    let all = ["errors", "findings"].iter().filter_map(|key| answer[key].as_array()).flatten();
    all.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        (text("severity"), text("id"), text("path"))
    })
    .filter(|(_, id, _)| [NOBODY, NO_BROWSER, SOME].contains(id))
    .collect()
}

#[test]
fn where_nobody_can_come_in_the_key_to_change_is_named() {
    let loopback = "gateway.auth.trustedProxy.allowLoopback";
    let (theirs, users, origins) =
        ("gateway.trustedProxies", "gateway.auth.trustedProxy.allowUsers", "gateway.controlUi.allowedOrigins");
    let mut cases = vec![
        (vec![(THEIRS, json!(["127.0.0.1"]))], NOBODY, loopback),
        (vec![(THEIRS, json!(["127.0.0.0/8", "::1"]))], NOBODY, loopback),
        (vec![("/filter/trustedProxies", json!(["127.0.0.1"]))], NOBODY, loopback),
        (vec![(THEIRS, json!(["::1"])), ("/filter/trustedProxies", json!(["10.0.0.9"]))], NOBODY, loopback),
        (vec![(THEIRS, json!(["0.0.0.0/0", "::/0"]))], NOBODY, theirs),
        (vec![(THEIRS, json!(["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]))], NOBODY, theirs),
        (
            vec![
                (THEIRS, json!(["0.0.0.0/1", "::/1"])),
                ("/filter/trustedProxies", json!(["128.0.0.0/1", "8000::/1"])),
            ],
            NOBODY,
            "filter.trustedProxies",
        ),
        (vec![(THEIRS, json!(["0.0.0.0"]))], NOBODY, theirs),
        (vec![(THEIRS, json!(["224.0.0.0/4", "::"])), ("/filter/trustedProxies", json!(["10.0.0.9"]))], NOBODY, theirs),
    ];
    for entry in [
        "*",
        "@example.com",
        "*@example.com",
        "a@x,b@x",
        "a,b",
        "a;b",
        "a@x b@x",
        "$NAME",
        "${NAME}x",
        "<your-email>",
        "{{ .Values.user }}",
        "CHANGEME",
        "change-me",
        "changeme@example.com",
        "YOUR_EMAIL",
        "your-email@example.com",
        "%USER%",
        "__USER__",
        "^nick$",
        "nick*",
        "nick?",
        "/.*@example/",
        "a@x|b@x",
        "[\"a\", \"b\"]",
        "everyone",
        "CUSTOMER_EMAIL",
        "REPLACE_WITH_EMAIL",
        "xxx",
        "a\nb",
        "\"nick@example.com\"",
        "mailto:nick@example.com",
        "",
    ] {
        // In an openclaw.json, a variable would be an error of its own.
        cases.push((vec![(USERS, json!([entry])), ("/filter/openSockets", json!("recheck"))], NOBODY, users));
    }
    for entry in [
        "https://*.example.com",
        "chrome-extension://*",
        "https://a.com,https://b.com",
        "<origin>",
        "$ORIGIN",
        "wss://a.com",
    ] {
        cases.push((vec![(ORIGINS, json!([entry]))], NO_BROWSER, origins));
    }
    for (changes, id, path) in cases {
        let config = config(&changes);
        let (code, answer) = check(&config, &[]);
        assert_eq!((code, found(&answer)), (1, vec![("error", id, path)]), "{config}: {answer}");
    }
}

#[test]
fn where_some_cannot_come_in_they_are_named() {
    for (changes, expected) in [
        (vec![(USERS, json!(["nick", "CHANGEME"]))], ("warn", SOME, "gateway.auth.trustedProxy.allowUsers[1]")),
        (vec![(THEIRS, json!(["0.0.0.0/1", "128.0.0.0/1"]))], ("warn", SOME, "gateway.trustedProxies")),
        (
            vec![("/gateway/bind", json!("loopback")), (ORIGINS, json!([]))],
            ("warn", NO_BROWSER, "gateway.controlUi.allowedOrigins"),
        ),
    ] {
        let config = config(&changes);
        let (code, answer) = check(&config, &["--strict"]);
        assert_eq!((code, found(&answer)), (1, vec![expected]), "{config}: {answer}");
    }
}

#[test]
fn good_configurations_are_quiet() {
    let names = ["cn=nick,ou=people,dc=example", "Doe, Jane", "auth0|123", "nick", "o'neil@example.com", "todd"];
    for changes in [
        vec![],
        vec![("/gateway/controlUi", json!({"enabled": false}))],
        vec![(USERS, json!(names))],
        vec![(THEIRS, json!(["10.0.0.0/24", "fd00::/64"]))],
        vec![(ORIGINS, json!(["https://claw.example.com", "app://localhost"]))],
    ] {
        let config = config(&changes);
        let (code, answer) = check(&config, &["--strict", "--envoy", "10.0.0.1"]);
        assert_eq!((code, found(&answer)), (0, vec![]), "{config}: {answer}");
        let reminders = answer["findings"].as_array().unwrap().iter();
        assert_eq!(reminders.filter(|one| one["id"] == "gateway.trusted_proxy_auth").count(), 1);
    }
}

#[test]
fn a_witness_passes_and_shows_no_secret() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // of "test"
    let policy = config(&[
        ("/filter/requiredValues", json!({"x-secret": {"sha256": [digest]}})),
        (USERS, json!(["nick@example.com", "o'neil@example.com"])),
    ]);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("witness.json");
    std::fs::write(&path, policy.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let (_, answer) = check(&policy, &["--witness"]);
    let witnesses = answer["witnesses"].as_array().unwrap();
    assert_eq!(witnesses.len(), 2);
    for witness in witnesses {
        for way in ["http", "browser", "websocket"] {
            let curl = witness[way]["curl"].as_str().unwrap();
            assert!(curl.contains("x-secret: SECRET") && !curl.contains(digest), "{curl}");
            let curl = curl.replace("SECRET", "test");
            let run =
                tool(&["explain", path, "--peer", witness[way]["peer"].as_str().unwrap(), "--curl", &curl, "--json"]);
            let explained: Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!((run.code, &explained["user"]), (0, &witness["user"]), "{curl}: {explained}");
        }
    }
    let text = tool(&["check", path, "--witness", "--ignore-environment"]);
    assert!(text.stdout.contains("\ncurl --http1.1 http://ENVOY/ "), "{}", text.stdout);
}

#[test]
fn a_manifest_has_witnesses_too_and_a_folder_has_none() {
    let path = root().join("envoy/istio/ingress.yaml");
    let run = tool(&["check", path.to_str().unwrap(), "--witness"]);
    assert_eq!((run.code, run.stdout.matches("\ncurl ").count()), (0, 3), "{}", run.stdout);
    let run = tool(&["check", path.parent().unwrap().to_str().unwrap(), "--witness"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("give one file with one policy"), "{}", run.stderr);
}

/// Patterns and placeholders are left out: to the policy, they are users like others.
#[test]
fn no_configuration_is_said_to_admit_nobody_if_it_admits_somebody() {
    let (mut nobody, mut fine) = (0, 0);
    for seed in 0..300_u64 {
        let bytes = choices::bytes(17_000 + seed, 400);
        let mut config = generate::case(&mut Choices::new(&bytes)).config;
        config.as_object_mut().unwrap().entry("filter").or_insert_with(|| json!({}));
        let (_, answer) = check(&config, &["--witness"]);
        let witnesses = answer["witnesses"].as_array().unwrap();
        let passes = |one: &Value| ["http", "browser", "websocket"].iter().any(|way| !one[way].is_null());
        let somebody = witnesses.iter().any(passes);
        let Some((_, _, path)) = found(&answer).into_iter().find(|(_, id, _)| *id == NOBODY) else {
            assert!(somebody, "{config}: {answer}");
            fine += 1;
            continue;
        };
        if path.ends_with("allowUsers") {
            continue;
        }
        if somebody {
            // The filter admits them, but the Gateway trusts no Envoy.
            let is_theirs = answer.to_string().contains("from which Envoy can connect to the Gateway");
            assert!(path.ends_with("allowLoopback") || is_theirs, "{config}: {answer}");
            continue;
        }
        nobody += 1;
        let policy = subject::compiled(&config).policy;
        for other in 0..200_u64 {
            let bytes = choices::bytes(other, 400);
            let request = generate::request(&mut Choices::new(&bytes), &config);
            let outcome = subject::decide(&policy, &request);
            let passes = matches!(&outcome, model::Outcome::Passed { kind: model::Kind::Identified(_), .. });
            assert!(!passes, "{config} {request:?}: {answer}");
        }
    }
    assert!(nobody > 0 && fine > 100, "{nobody} {fine}");
}
