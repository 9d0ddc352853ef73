//! Why a request has its scopes: the groups that were read, the user, and each scope with its cause.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::tool;

fn policy(name: &str, filter: Value) -> String {
    let config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-goog-user"}},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": filter,
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scopes-{name}.json"));
    fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn explain(policy: &str, more: &[&str]) -> Value {
    let base = ["explain", policy, "--peer", "10.0.0.1", "-H", "x-forwarded-for: 203.0.113.7", "--json"];
    let run = tool(&[&base[..], more].concat());
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{more:?}: {error} {}", run.stderr))
}

/// Each scope as `+ name: cause` or `- name: cause`, without `operator.`.
fn steps(answer: &Value) -> Vec<String> {
    let line = |step: &Value| {
        let sign = if step["granted"] == true { "+" } else { "-" };
        format!("{sign} {}: {}", step["scope"].as_str().unwrap(), step["because"].as_str().unwrap())
            .replace("operator.", "")
    };
    answer["eachScope"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn each_scope_has_its_cause() {
    let limited = policy(
        "limited",
        json!({
            "userPrefix": "accounts.google.com:",
            "scopes": {
                "users": {"*": ["operator.read"], "nick": ["operator.write"], "none": []},
                "groupsHeader": "x-groups", "groupsSeparator": "|",
                "groups": {"ops": ["operator.pairing"], "guests": ["operator.read"]},
                "default": ["operator.admin", "operator.questions"],
            },
        }),
    );
    let open = policy("open", json!({"scopes": {"default": ["operator.read", "operator.write"]}}));
    let (own, prefix) = (["--path", "/control-ui-config.json"], "x-goog-user: accounts.google.com:");
    let nick = format!("{prefix}nick");
    for (user, more, groups, expected) in [
        (
            "eve",
            &own[..],
            json!([]),
            &[
                "+ read: admin includes it: the default on the Gateway's own paths; the ceiling of \"*\" has it",
                "- admin: above the ceiling of \"*\" (the default on the Gateway's own paths)",
                "- questions: above the ceiling of \"*\" (the default on the Gateway's own paths)",
            ][..],
        ),
        (
            "nick",
            &["--path", "/control-ui-config.json", "-H", "x-groups: ops | staff"],
            json!(["ops", "staff"]),
            &[
                "+ write: admin includes it: the default on the Gateway's own paths; the ceiling of user \"nick\" has it",
                "+ pairing: admin includes it: the default on the Gateway's own paths; the ceiling of group \"ops\" has it",
                "- admin: above the ceiling of user \"nick\" and the ceiling of group \"ops\" (the default on the Gateway's own paths)",
                "- questions: above the ceiling of user \"nick\" and the ceiling of group \"ops\" (the default on the Gateway's own paths)",
            ],
        ),
        (
            "eve",
            &[
                "-H",
                "x-groups: guests",
                "-H",
                "x-openclaw-scopes: operator.sessions.read, nonsense, operator.sessions.read",
            ],
            json!(["guests"]),
            &[
                "+ sessions.read: the request names it; the ceiling of group \"guests\" has read, which includes it",
                "- \"nonsense\": this Gateway knows no such scope (the request names it)",
            ],
        ),
        (
            "none",
            &["--path", "/plugin"],
            json!([]),
            &["- write: above the ceiling of user \"none\" (the default on every other path)"],
        ),
        (
            "nick",
            &["--ws", "-H", "x-groups: guests"],
            json!(["guests"]),
            &[
                "+ read: a WebSocket of the Gateway may use what the ceiling includes; the ceiling of user \"nick\" has write, which includes it",
                "+ write: a WebSocket of the Gateway may use what the ceiling includes; the ceiling of user \"nick\" has it",
                "+ talk: a WebSocket of the Gateway may use what the ceiling includes; the ceiling of user \"nick\" has write, which includes it",
                "+ sessions.read: a WebSocket of the Gateway may use what the ceiling includes; the ceiling of user \"nick\" has write, which includes it",
                "+ sessions.write: a WebSocket of the Gateway may use what the ceiling includes; the ceiling of user \"nick\" has write, which includes it",
            ],
        ),
        (
            "nick",
            &["--ws", "--path", "/plugin"],
            json!([]),
            &["+ write: the default on a plugin's WebSocket; the ceiling of user \"nick\" has it"],
        ),
    ] {
        let header = format!("{prefix}{user}");
        let answer = explain(&limited, &[&["-H", &header][..], more].concat());
        assert_eq!((&answer["user"], &answer["groups"]), (&json!(user), &groups), "{answer:#}");
        assert_eq!(steps(&answer), expected, "{user} {more:?}");
        // What the rule on the user saw is the header, and the user without the prefix.
        let saw = &answer["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "7").unwrap()["saw"];
        let expected = format!("x-goog-user: \"accounts.google.com:{user}\", without userPrefix \"{user}\"");
        assert_eq!(saw, &expected);
    }
    let answer = explain(&open, &["-H", "x-goog-user: nick", "--path", "/control-ui-config.json"]);
    let cause = "the default on the Gateway's own paths";
    assert_eq!(steps(&answer), [format!("+ read: {cause}"), format!("+ write: {cause}")]);
    assert_eq!(answer["groups"], Value::Null);
    // As text, scopes with one cause are on one line.
    let base = [
        "explain",
        &limited,
        "--peer",
        "10.0.0.1",
        "-H",
        "x-forwarded-for: 203.0.113.7",
        "--path",
        "/control-ui-config.json",
    ];
    let text = tool(&[&base[..], &["-H", &nick, "-H", "x-groups: ops|guests"]].concat()).stdout;
    assert!(text.contains("\ngroups: \"ops\", \"guests\"\n  + operator.write: "), "{text}");
    assert!(text.contains("\n  - operator.admin, operator.questions: above the ceiling of user \"nick\""), "{text}");
}

#[test]
fn an_older_gateway_grants_a_plugin_no_more_than_its_default() {
    let path = policy("older", json!({"gatewayVersion": "2026.4.2"}));
    let more =
        ["-H", "x-goog-user: nick", "--path", "/plugin", "-H", "x-openclaw-scopes: operator.admin, operator.read"];
    let answer = explain(&path, &more);
    let expected = [
        "+ read: the request names it",
        "- admin: this Gateway grants a plugin write and what it includes (the request names it)",
    ];
    assert_eq!(steps(&answer), expected, "{answer:#}");
}
