//! The ceilings of a user (`scopes.users`, `scopes.groups`), with a Gateway that by itself would grant everything.

use std::io::Write as _;

use harness::gateway::{Session, Stack, control_ui};
use harness::wire::{self, Connection, Headers};
use serde_json::{Value, json};

use crate::agreement::stack;

const PROXY: &str = "10.0.0.1";
/// The Gateway grants all scopes to each of these, and read and write to the last one.
const READER: &str = "nick@example.com";
const ADMIN: &str = "a,b";
const UNLISTED: &str = "admin@company.org";
const ALL: &str = "operator.admin, operator.write, operator.read, operator.approvals";

#[test]
fn a_read_only_user_can_list_and_cannot_write_whatever_scopes_header_comes_along() {
    let stack = stack();
    stack.put_filter(&json!({"scopes": {
        "users": {READER: ["operator.read"], ADMIN: ["operator.admin"], "*": ["operator.read"]},
        "groupsHeader": "x-forwarded-groups",
        "groups": {"writers": ["operator.write"], "auditors": ["operator.approvals"]},
    }}));
    let (nothing, list, write, all) = ([false; 3], [true, false, false], [true, true, false], [true; 3]);
    // The user, the groups and the scopes header; and whether the user may list, write and administer.
    let cases = [
        (READER, None, None, list),
        (READER, None, Some(ALL), list),
        (READER, None, Some("operator.admin"), list),
        (READER, None, Some("operator.write"), list),
        (READER, None, Some("operator.read"), list),
        (READER, None, Some(""), nothing),
        (READER, None, Some("operator.approvals"), nothing),
        (UNLISTED, None, None, list),
        (UNLISTED, None, Some(ALL), list),
        (READER, Some("writers"), None, write),
        (READER, Some(" auditors , writers "), None, write),
        (READER, Some("writers"), Some(ALL), write),
        (READER, Some("writers"), Some("operator.read"), list),
        (READER, Some("auditors"), None, list),
        (READER, Some("Writers"), None, list),
        (READER, Some("nobody"), Some(ALL), list),
        (UNLISTED, Some("writers"), None, write),
        (ADMIN, None, None, all),
        (ADMIN, None, Some(ALL), all),
        (ADMIN, None, Some("operator.read"), list),
        (ADMIN, None, Some(""), nothing),
    ];
    // On a WebSocket, such a header is a literal limit from which the ceiling only removes scopes: none of these
    // remain.
    let caps_away = |scopes: Option<&str>| matches!(scopes, Some("operator.admin" | "operator.write"));
    for (user, groups, scopes, may) in cases {
        let name = format!("{user} in {groups:?} with {scopes:?}");
        let mut headers = vec![
            ("x-forwarded-for", "203.0.113.7"),
            ("x-edge", "x"),
            ("origin", "https://claw.example.com"),
            ("x-forwarded-user", user),
        ];
        headers.extend(groups.map(|groups| ("x-forwarded-groups", groups)));
        headers.extend(scopes.map(|scopes| ("x-openclaw-scopes", scopes)));
        assert_eq!(over_http(&stack, &headers), may, "{name}, over HTTP");
        let may = if caps_away(scopes) { nothing } else { may };
        assert_eq!(over_websocket(&stack, &headers), may, "{name}, over a WebSocket");
    }

    // The same Gateway grants the reader everything if the filter sets no ceiling.
    stack.put_filter(&json!({}));
    let headers = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-edge", "x"),
        ("origin", "https://claw.example.com"),
        ("x-forwarded-user", READER),
    ];
    assert_eq!((over_http(&stack, &headers), over_websocket(&stack, &headers)), (all, all));
}

/// Whether the Gateway lets the user list, write and administer over HTTP.
fn over_http(stack: &Stack, headers: &[(&str, &str)]) -> [bool; 3] {
    let probes = [
        ("GET", "/control-ui-config.json", ""),
        ("POST", "/tools/invoke", r#"{"tool":"agents_list","args":{}}"#),
        ("POST", "/sessions/no-such-session/kill", "{}"),
    ];
    probes.map(|(method, path, body)| {
        let length = body.len().to_string();
        let mut all = vec![("host", "claw.example.com")];
        if !body.is_empty() {
            all.extend([("content-type", "application/json"), ("content-length", length.as_str())]);
        }
        all.extend(headers);
        let mut connection = Connection::new(connect(stack));
        connection.send(&[wire::request(method, path, &all), body.as_bytes().to_vec()].concat()).unwrap();
        let response = connection.response(method).unwrap();
        let filter = response.json()["error"]["reason"].clone();
        assert_eq!(filter, Value::Null, "let in, whatever they may do: {response:?}");
        match response.status {
            200 | 404 => true,
            403 => false,
            _ => panic!("{method} {path}: {response:?}"),
        }
    })
}

/// Like [`over_http`], over a WebSocket that requests every scope.
fn over_websocket(stack: &Stack, headers: &[(&str, &str)]) -> [bool; 3] {
    let headers: Headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let mut session = Session::open(connect(stack), "/", &headers, &control_ui()).expect("a user gets in");
    let probes = [
        ("sessions.list", json!({})),
        ("sessions.create", json!({})),
        ("sessions.delete", json!({"key": "agent:main:no-such-session"})),
    ];
    probes.map(|(method, params)| match session.call(method, &params) {
        Ok(_) => true,
        Err(error) => {
            let text = error.to_string();
            let missing = text.contains("missing scope");
            assert!(missing || method == "sessions.delete", "{method}: {error}");
            !missing
        }
    })
}

fn connect(stack: &Stack) -> std::net::TcpStream {
    let mut stream = wire::open(stack.http()).unwrap();
    stream.write_all(&wire::proxy_line(PROXY)).unwrap();
    stream
}
