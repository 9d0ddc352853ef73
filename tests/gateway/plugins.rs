//! The scopes of a plugin of the Gateway (tests/gateway/plugin), on its plain route and on its WebSocket; and what a
//! ceiling does not reach.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use harness::gateway::Stack;
use harness::tool::program;
use harness::wire::{self, Connection, Response, values};
use serde_json::{Value, json};

use crate::agreement::stack;
use crate::devices::{PROXY, connect};

const READER: &str = "nick@example.com";
const ADMIN: &str = "a,b";
const NOTHING: &str = "ops";

/// How the plugin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Route,
    Socket,
}

fn ceilings() -> Value {
    json!({"scopes": {"users": {READER: ["operator.read"], ADMIN: ["operator.admin"], "*": []}}})
}

#[test]
fn a_plugin_is_granted_no_more_through_the_filter_than_without_it() {
    let stack = stack();
    let default = |scopes: &[&str]| json!({"scopes": {"pluginDefault": scopes}});
    let both = json!({"scopes": {"pluginDefault": ["operator.read"], "users": {"*": ["operator.admin"]}}});
    // The filter, the user, the scopes header, and what the plugin is granted: on its route, and on its WebSocket.
    let cases: [(Value, &str, Option<&str>, &str, &str); 21] = [
        // Nothing is narrowed: the same as at the Gateway.
        (json!({}), READER, None, "write", "write"),
        (json!({}), READER, Some("operator.read"), "read", "read"),
        (json!({}), READER, Some("operator.read, operator.approvals"), "read approvals", "read approvals"),
        (json!({}), READER, Some("operator.admin"), "admin", "admin"),
        (json!({}), READER, Some(""), "", ""),
        (json!({}), READER, Some("bogus"), "", ""),
        // Ceilings cut the plugins' default, and what the header asks for. On a WebSocket nothing is added.
        (ceilings(), READER, None, "read", "read"),
        (ceilings(), READER, Some("operator.read, operator.write"), "read", "read"),
        (ceilings(), READER, Some("operator.admin"), "read", ""),
        (ceilings(), READER, Some("operator.approvals"), "", ""),
        (ceilings(), READER, Some(""), "", ""),
        (ceilings(), ADMIN, None, "write", "write"),
        (ceilings(), ADMIN, Some("operator.admin"), "admin", "admin"),
        (ceilings(), ADMIN, Some("operator.approvals"), "approvals", "approvals"),
        (ceilings(), NOTHING, None, "", ""),
        (ceilings(), NOTHING, Some("operator.admin, operator.write"), "", ""),
        // A narrower default is for requests that name no scopes.
        (default(&["operator.read"]), READER, None, "read", "read"),
        (default(&["operator.read"]), READER, Some("operator.write"), "write", "write"),
        (default(&[]), READER, None, "", ""),
        (both.clone(), READER, None, "read", "read"),
        (both, READER, Some("operator.admin"), "admin", "admin"),
    ];
    let mut current = Value::Null;
    for (filter, user, scopes, route, socket) in cases {
        if filter != current {
            stack.put_filter(&filter);
            current = filter.clone();
        }
        for (by, expected) in [(By::Route, route), (By::Socket, socket)] {
            let context = format!("{by:?}, {user}, {scopes:?}, {filter}");
            let without = granted(straight(&stack), by, user, scopes);
            let with = granted(through(&stack), by, user, scopes);
            assert_eq!(with.1, expected, "{context}: {with:?}");
            assert_eq!(with.0, without.0, "{context}: another user");
            let is_less = with.1.split(' ').filter(|one| !one.is_empty()).all(|one| satisfies(&without.1, one));
            assert!(is_less, "{context}: {with:?}, and without the filter {without:?}");
            if filter == json!({}) && scopes != Some("bogus") {
                assert_eq!(with, without, "{context}");
            }
        }
    }
    stack.put_filter(&json!({}));
}

#[test]
fn calling_a_plugins_path_the_gateways_own_grants_it_more_and_check_says_so() {
    let stack = stack();
    let own = "admin read write approvals questions pairing talk.secrets";
    let all = "admin read write approvals questions pairing talk.secrets talk sessions.read sessions.write";
    for (filter, finding, route, socket) in [
        (json!({"scopes": {"ownPaths": ["/report/*"]}}), "filter.own_paths", own, "write"),
        (
            json!({"scopes": {"ownSockets": ["/report/*"], "users": {"*": ["operator.admin"]}}}),
            "filter.own_sockets",
            "write",
            all,
        ),
    ] {
        stack.put_filter(&filter);
        for (by, expected) in [(By::Route, route), (By::Socket, socket)] {
            let with = granted(through(&stack), by, READER, None);
            assert_eq!(with.1, expected, "{by:?}, {filter}");
            assert_eq!(granted(straight(&stack), by, READER, None).1, "write", "{by:?}");
        }
        let (laxer, narrower) = (check(&stack.policy()), check(&with_filter(&stack.policy(), &json!({}))));
        assert!(laxer.contains(&format!("warn {finding}")) && !narrower.contains(finding), "{filter}: {laxer}");
    }
    stack.put_filter(&json!({}));
}

/// Envoy cannot write a header without a value, and a header that is missing means every scope.
#[test]
fn a_scopes_header_that_lists_nothing_can_be_a_comma() {
    let stack = stack();
    for by in [By::Route, By::Socket] {
        let plugin = |scopes| granted(straight(&stack), by, READER, scopes).1;
        assert_eq!((plugin(Some(",")), plugin(Some(""))), (String::new(), String::new()), "{by:?}");
        assert_ne!(plugin(None), "", "{by:?}");
    }
    let own = |scopes| {
        ask(straight(&stack), By::Route, "GET", "/control-ui-config.json", &headers(Some(READER), scopes)).0.status
    };
    assert_eq!((own(Some(",")), own(Some("")), own(None)), (403, 403, 200));
}

#[test]
fn without_a_user_a_plugins_socket_stays_closed() {
    let stack = stack();
    for filter in [
        json!({"webSocketRefusal": "delegate"}),
        json!({"anonymousPaths": ["ws:/report/*"]}),
        json!({"webSocketRefusal": "delegate", "scopes": {"withoutUser": ["operator.admin"]}}),
    ] {
        stack.put_filter(&filter);
        for scopes in [None, Some("operator.admin")] {
            let response = ask(through(&stack), By::Socket, "GET", "/report/x", &headers(None, scopes)).0;
            assert_eq!(response.status, 401, "{filter}, {scopes:?}: {response:?}");
            assert!(response.json()["error"].get("reason").is_none(), "the Gateway's answer: {response:?}");
        }
    }
    stack.put_filter(&json!({}));
}

#[test]
fn a_ceiling_reaches_neither_the_plugin_cookie_nor_canvas_documents_with_a_bearer() {
    let stack = stack();
    stack.put_filter(&ceilings());

    // A user who may read gets a cookie for the plugin's tab. It outlives a change of the user in the same browser.
    let page = ask(through(&stack), By::Route, "GET", "/control-ui-config.json", &headers(Some(READER), None)).0;
    let cookies = values(&page.headers, "set-cookie");
    let cookie = cookies
        .iter()
        .find(|cookie| cookie.starts_with("__openclaw_plugin_tab_auth_") && cookie.contains("Path=/report;"));
    let cookie = cookie.and_then(|cookie| cookie.split(';').next()).unwrap_or_else(|| panic!("{page:?}"));
    let before = stack.relay().count();
    for (method, expected) in [("GET", ("nick", "read")), ("POST", ("ops", ""))] {
        let mut all = headers(Some(NOTHING), None);
        all.push(("cookie", cookie));
        let report = ask(through(&stack), By::Route, method, "/report/x", &all).0;
        assert_eq!(of_report(&report.json()), (expected.0.to_owned(), expected.1.to_owned()), "{method}: {report:?}");
    }
    for arrival in stack.relay().arrivals().split_off(before) {
        assert_eq!(arrival.values("x-forwarded-user"), [NOTHING]);
        assert_eq!(arrival.values("x-openclaw-scopes"), [""]);
    }

    // Any bearer opens a document to a user without scopes.
    let folder = stack.gateway().folder().join("state/canvas/documents/ceiling");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("index.html"), "a document").unwrap();
    let path = "/__openclaw__/canvas/documents/ceiling/index.html";
    for (bearer, expected) in [(None, 401), (Some("Bearer x"), 200)] {
        let mut all = headers(Some(NOTHING), None);
        all.extend(bearer.map(|bearer| ("authorization", bearer)));
        let response = ask(through(&stack), By::Route, "GET", path, &all).0;
        assert_eq!(response.status, expected, "{bearer:?}: {response:?}");
        assert_eq!(response.text().contains("a document"), expected == 200, "{response:?}");
        assert!(response.header("www-authenticate").is_none(), "the Gateway's answer: {response:?}");
    }
    stack.put_filter(&json!({}));
}

fn through(stack: &Stack) -> TcpStream {
    connect(stack, PROXY)
}

fn straight(stack: &Stack) -> TcpStream {
    wire::open(stack.gateway().address()).unwrap()
}

fn headers<'a>(user: Option<&'a str>, scopes: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![("x-forwarded-for", "203.0.113.7"), ("x-edge", "x")];
    all.extend(user.map(|user| ("x-forwarded-user", user)));
    all.extend(scopes.map(|scopes| ("x-openclaw-scopes", scopes)));
    all
}

/// The response, and what follows the handshake of a WebSocket.
fn ask(stream: TcpStream, by: By, method: &str, path: &str, headers: &[(&str, &str)]) -> (Response, Vec<u8>) {
    let mut all = vec![("host", "claw.example.com")];
    if method == "POST" {
        all.push(("content-length", "0"));
    }
    if by == By::Socket {
        all.extend([
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
    }
    all.extend(headers);
    let mut connection = Connection::new(stream);
    connection.send(&wire::request(method, path, &all)).unwrap();
    let response = connection.response(method).unwrap();
    let rest = if response.status == 101 { connection.rest().unwrap() } else { Vec::new() };
    (response, rest)
}

/// The user and the scopes that the plugin reports.
fn granted(stream: TcpStream, by: By, user: &str, scopes: Option<&str>) -> (String, String) {
    let (response, rest) = ask(stream, by, "GET", "/report/x", &headers(Some(user), scopes));
    let report = match (by, response.status) {
        (By::Route, 200) => response.json(),
        (By::Socket, 101) => {
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            serde_json::from_slice(&rest[4..4 + length]).unwrap()
        }
        _ => panic!("{by:?}, {user}, {scopes:?}: {response:?}"),
    };
    of_report(&report)
}

/// The user, and the scopes without their prefix.
fn of_report(report: &Value) -> (String, String) {
    let scopes: Vec<_> = report["scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    (report["user"].as_str().unwrap().to_owned(), scopes.join(" ").replace("operator.", ""))
}

/// Whether these scopes satisfy one.
fn satisfies(scopes: &str, one: &str) -> bool {
    scopes.split(' ').any(|other| other == one || other == "admin" || (other == "write" && one == "read"))
}

fn with_filter(policy: &Value, filter: &Value) -> Value {
    json!({"gateway": policy["gateway"], "filter": filter})
}

/// What the tool says about a policy.
fn check(policy: &Value) -> String {
    let mut tool =
        Command::new(program()).args(["check", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(policy.to_string().as_bytes()).unwrap();
    String::from_utf8(tool.wait_with_output().unwrap().stdout).unwrap()
}
