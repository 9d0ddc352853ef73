//! Open sockets: what `explain --opened-under` says of one, and `replay --against` of those in a log.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Run, tool, tool_reading};

/// A configuration that lets these users in, with these settings of the filter.
fn config(name: &str, users: &[&str], filter: &Value) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-open-sockets");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.json"));
    let config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user", "allowUsers": users}}
        },
        "filter": filter
    });
    fs::write(&path, config.to_string()).unwrap();
    path
}

fn explain(now: &Path, before: &Path, more: &[&str]) -> Run {
    let request = ["--peer", "10.0.0.1", "-H", "x-forwarded-for: 203.0.113.7", "-H", "x-forwarded-user: nick"];
    let paths = ["explain", now.to_str().unwrap(), "--opened-under", before.to_str().unwrap()];
    tool(&[&paths[..], &request, more].concat())
}

#[test]
fn an_open_socket_stays_or_is_closed_and_the_exit_code_says_which() {
    let before = config("before", &["nick"], &json!({}));
    let read = json!({"scopes": {"users": {"*": ["operator.read"]}}});
    let report = json!({"scopes": {"users": {"*": ["operator.read"]}}, "mode": "report"});
    for (now, code, fate, reason, scopes) in [
        (config("same", &["nick", "ann"], &json!({})), 0, "stays", None, json!(null)),
        (
            config("read", &["nick"], &read),
            1,
            "closed",
            Some("trusted_proxy_socket_scopes_reduced"),
            json!(["operator.read", "operator.sessions.read"]),
        ),
        (
            config("report", &["nick"], &report),
            1,
            "would_close",
            Some("trusted_proxy_socket_scopes_reduced"),
            json!(["operator.read", "operator.sessions.read"]),
        ),
        (config("gone", &["ann"], &json!({})), 1, "closed", Some("trusted_proxy_user_not_allowed"), json!(null)),
    ] {
        let run = explain(&now, &before, &["--ws", "--json"]);
        let answer: Value = serde_json::from_str(&run.stdout).unwrap();
        let socket = &answer["socket"];
        assert_eq!(
            (run.code, socket["fate"].as_str(), socket["reason"].as_str()),
            (code, Some(fate), reason),
            "{answer}"
        );
        assert_eq!(socket["before"], json!({"user": "nick", "scopes": null}));
        assert_eq!(socket["now"]["scopes"], scopes);
        let text = explain(&now, &before, &["--ws"]);
        let first =
            format!("  {}{}\n", fate.replace('_', " "), reason.map_or(String::new(), |code| format!(": {code}")));
        assert!(text.code == code && text.stdout.contains(&first), "{}", text.stdout);
    }
    // Without the option, there is no socket to speak of.
    let run = tool(&["explain", before.to_str().unwrap(), "--peer", "10.0.0.1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap()["socket"], Value::Null);
}

#[test]
fn a_socket_of_report_mode_may_be_anybodys() {
    let before = config("reported", &["ann"], &json!({"mode": "report"}));
    let run = explain(&config("now", &["nick"], &json!({})), &before, &["--ws", "--json"]);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["socket"]["reason"], "trusted_proxy_socket_user_changed");
    assert_eq!((&answer["socket"]["before"], &answer["socket"]["now"]["user"]), (&Value::Null, &json!("nick")));
}

#[test]
fn a_socket_that_cannot_be_open_is_an_error_that_says_why() {
    let (good, other) = (config("good", &["nick"], &json!({})), config("other", &["ann"], &json!({})));
    let bad = config("bad", &["nick"], &json!({"scopes": {"users": {"nick": ["operator.read"]}}}));
    for (before, more, expected) in [
        (&good, &[][..], "this request is not a handshake"),
        (
            &other,
            &["--ws"],
            "other.json refuses this request (trusted_proxy_user_not_allowed), so no such socket is open",
        ),
        (&bad, &["--ws"], "filter.scopes.users"),
        (&PathBuf::from("none.json"), &["--ws"], "none.json: cannot be read"),
        (&PathBuf::from("-"), &["--ws", "--request", "-"], "--opened-under: is standard input, like another file"),
    ] {
        let run = explain(&good, before, more);
        assert!(run.code == 2 && run.stderr.contains(expected), "{}: {}", before.display(), run.stderr);
    }
    let long = format!("x-forwarded-for: {}203.0.113.7", "junk,".repeat(4_000));
    let file = ["explain", good.to_str().unwrap(), "--opened-under", good.to_str().unwrap(), "--peer", "10.0.0.1"];
    let more = ["--as-seen", "--ws", "-H", "x-forwarded-user: nick", "--request", "-"];
    let run = tool_reading(&[&file[..], &more].concat(), format!("GET / HTTP/1.1\r\n{long}\r\n\r\n").as_bytes());
    assert!(run.code == 2 && run.stderr.contains("more headers than are kept of an open socket"), "{}", run.stderr);
}

/// A line of an access log.
fn line(user: &str, upgrade: bool, scopes: Option<&str>) -> String {
    let record = json!({
        "peer": "10.0.0.1:4711",
        "method": "GET",
        "path": "/",
        "headers": {
            ":authority": "claw.example.com",
            "origin": null,
            "upgrade": upgrade.then_some("websocket"),
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-user": user
        },
        "copies": {"x-forwarded-user": user, "x-openclaw-scopes": scopes, "x-real-ip": null}
    });
    format!("{}\n", json!({"recorded": record.to_string(), "reason": null, "status": 101}))
}

#[test]
fn a_log_shows_whose_open_sockets_an_edit_would_close() {
    let users = ["nick", "ann", "bob"];
    let before = config("log-before", &users, &json!({}));
    let log = [
        line("nick", true, None),
        line("ann", true, None),
        line("ann", true, Some("operator.read")),
        line("ann", false, None),
        line("bob", true, None),
        line("bob", true, None),
        // This one was never open.
        line("eve", true, None),
    ]
    .concat();
    let read = json!({"users": {"*": ["operator.read"], "nick": ["operator.admin"]}});
    let replay = |name: &str, filter: Value, json: bool| {
        let against = config(name, &["nick", "ann"], &filter);
        let (before, against) = (before.to_str().unwrap(), against.to_str().unwrap());
        let mut arguments = vec!["replay", before, "-", "--against", against, "--examples", "1"];
        arguments.extend(json.then_some("--json"));
        tool_reading(&arguments, log.as_bytes()).stdout
    };
    let answer: Value = serde_json::from_str(&replay("log-now", json!({"scopes": read}), true)).unwrap();
    let sockets = &answer["against"]["sockets"];
    assert_eq!((&sockets["opened"], &sockets["effect"]), (&json!(5), &json!("close")), "{sockets}");
    let closed: Vec<_> = sockets["closed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["reason"].as_str().unwrap(), one["count"].as_u64().unwrap(), one["users"].clone()))
        .collect();
    let expected = [
        ("trusted_proxy_socket_scopes_reduced", 1, json!([{"user": "ann", "count": 1}])),
        ("trusted_proxy_user_not_allowed", 2, json!([{"user": "bob", "count": 2}])),
    ];
    assert_eq!(closed, expected);
    let text = replay("log-now", json!({"scopes": read}), false);
    assert!(text.contains("open sockets: 3 of 5 would be closed\n") && text.contains("of bob (2)\n"), "{text}");
    let text = replay("log-report", json!({"mode": "report"}), false);
    assert!(text.contains("open sockets: 2 of 5 would be closed, if filter.mode were not \"report\"\n"), "{text}");
}

#[test]
fn an_error_names_the_option_that_it_is_about() {
    let policy = config("own-filter", &["nick"], &json!({}));
    let settings = policy.with_file_name("settings.json");
    fs::write(&settings, "{}").unwrap();
    let run = explain(&policy, &policy, &["--ws", "--opened-under-filter", settings.to_str().unwrap()]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--opened-under-filter: cannot be used with a plugin configuration"), "{}", run.stderr);
}
