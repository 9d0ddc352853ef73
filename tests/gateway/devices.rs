//! Phones and nodes, which use their own tokens instead of a user.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use harness::gateway::{Denied, Device, Session, Stack, control_ui};
use harness::wire::{self, Connection, Headers, Response};
use serde_json::{Value, json};

use crate::agreement::{HOOK_TOKEN, stack};

pub const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "8.8.8.8";
const USER: &[(&str, &str)] = &[
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-user", "nick@example.com"),
    ("x-edge", "x"),
    ("origin", "https://claw.example.com"),
];
/// Without a user, and without the header that the proxy adds for one.
const NOBODY: &[(&str, &str)] = &[("x-forwarded-for", "203.0.113.7")];

/// The result of an attempt to open a session.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Admitted, on these grounds.
    In(String),
    /// Refused by the filter.
    Filter,
    /// Refused by the Gateway, with this code.
    Gateway(String),
}

#[test]
fn phones_and_nodes_use_their_own_tokens_if_websockets_are_delegated() {
    let stack = stack();
    let delegate = json!({"webSocketRefusal": "delegate"});
    // How devices get their tokens: a user requests a setup code, and the device uses the token in it.
    stack.put_filter(&delegate);
    let mut user = Session::open(connect(&stack, PROXY), "/", &headers(USER), &control_ui()).expect("a user gets in");
    let node = Device::new(("node-host", "node"), "node", vec![]);
    let node_token = pair(&stack, &mut user, &node, "node");
    let phone = Device::new(("openclaw-ios", "ui"), "operator", vec!["operator.read", "operator.write"]);
    let phone_token = pair(&stack, &mut user, &phone, "limited");

    let anonymous = json!({"anonymousPaths": ["/health", "/healthz", "ws:/"]});
    let token = || Seen::In("device-token".to_owned());
    let unidentified = || Seen::Gateway("AUTH_IDENTITY_HEADER_REQUIRED".to_owned());
    // Settings, and what is seen by a device with its token, one without, one from a peer that is not a proxy, and a
    // signed-in user.
    let table = [
        (json!({}), Seen::Filter, Seen::Filter, Seen::Filter, Seen::In("trusted-proxy".to_owned())),
        (
            json!({"webSocketRefusal": "http"}),
            Seen::Filter,
            Seen::Filter,
            Seen::Filter,
            Seen::In("trusted-proxy".to_owned()),
        ),
        (delegate, token(), unidentified(), Seen::Filter, Seen::In("trusted-proxy".to_owned())),
        // This setting gives up two checks: who the peer is, and who the user is.
        (anonymous, token(), unidentified(), token(), Seen::Gateway("CONTROL_UI_DEVICE_IDENTITY_REQUIRED".to_owned())),
    ];
    for (filter, with_token, without, from_stranger, as_user) in table {
        stack.put_filter(&filter);
        for (device, token) in [(&node, &node_token), (&phone, &phone_token)] {
            let kind = device.role;
            let open = |peer, credential| seen(device.open(connect(&stack, peer), &headers(NOBODY), credential));
            assert_eq!(
                open(PROXY, Some(("deviceToken", token.as_str()))),
                with_token,
                "{kind} with its token, {filter}"
            );
            assert_eq!(open(PROXY, None), without, "{kind} without its token, {filter}");
            assert_eq!(
                open(STRANGER, Some(("deviceToken", token.as_str()))),
                from_stranger,
                "{kind} from a stranger, {filter}"
            );
        }
        let session = Session::open(connect(&stack, PROXY), "/", &headers(USER), &control_ui());
        assert_eq!(seen(session), as_user, "a user, {filter}");
    }
    stack.put_filter(&json!({}));
}

#[test]
fn a_device_that_was_approved_for_more_than_its_owner_may_gets_no_more_through_the_filter() {
    const OWNER: &str = "ops";
    const ADMIN: &str = "a,b";
    const ASKED: [&str; 3] = ["operator.admin", "operator.read", "operator.write"];
    let stack = stack();
    let users = json!({OWNER: ["operator.read"], ADMIN: ["operator.admin"], "*": ["operator.read"]});
    let with = |mut filter: Value| {
        filter["scopes"] = json!({"users": users});
        filter
    };
    let as_user = |user: &str, scopes: Option<&str>| {
        let mut all = [NOBODY, &[("x-edge", "x"), ("x-forwarded-user", user)]].concat();
        all.extend(scopes.map(|scopes| ("x-openclaw-scopes", scopes)));
        headers(&all)
    };

    // The owner may read, and the device asks for everything. Somebody who may approves that.
    stack.put_filter(&with(json!({})));
    let device = Device::new(("cli", "cli"), "operator", ASKED.to_vec());
    let Err(Denied::Closed(1008, _, Some(error))) = device.open(connect(&stack, PROXY), &as_user(OWNER, None), None)
    else {
        panic!("a device that nobody approved gets in")
    };
    let id = &error["details"]["requestId"];
    let mut admin = Session::open(
        connect(&stack, PROXY),
        "/",
        &[as_user(ADMIN, None), headers(&[("origin", "https://claw.example.com")])].concat(),
        &control_ui(),
    )
    .expect("an admin gets in");
    let pending = admin.call("device.pair.list", &json!({})).unwrap()["pending"].clone();
    let request = pending.as_array().unwrap().iter().find(|one| one["requestId"] == *id).unwrap();
    assert_eq!(request["scopes"], json!(ASKED), "the Gateway does not cap what a device asks for");
    admin.call("device.pair.approve", &json!({"requestId": id})).unwrap();
    let session = device.open(connect(&stack, PROXY), &as_user(OWNER, None), None).expect("the owner gets in");
    let token = session.hello["auth"]["deviceToken"].as_str().expect("a device token").to_owned();

    let (none, read) = ("", "operator.read");
    let all = "operator.admin,operator.read,operator.write";
    let stranger = Some(as_user("mallory@example.com", None));
    let admin_header = Some(headers(&[NOBODY, &[("x-openclaw-scopes", "operator.admin")]].concat()));
    let delegate = json!({"webSocketRefusal": "delegate"});
    let socket = json!({"anonymousPaths": ["ws:/node"]});
    let most = |base: &Value, scopes: &[&str]| {
        let mut filter = with(base.clone());
        filter["scopes"]["withoutUser"] = json!(scopes);
        filter
    };
    // The filter, the path, the headers if there are any but the client's address, and the session's scopes.
    let table = [
        // By the user's own name, below the user's ceiling. It is a literal cap.
        (with(json!({})), "/", Some(as_user(OWNER, None)), read),
        (with(json!({})), "/", Some(as_user(OWNER, Some("operator.read,operator.write"))), read),
        (with(json!({})), "/", Some(as_user(OWNER, Some("operator.admin"))), none),
        // Without a user, or as one who is not allowed: `users["*"]`, or `scopes.withoutUser`.
        (with(delegate.clone()), "/", None, read),
        (with(delegate.clone()), "/", stranger.clone(), read),
        (with(delegate.clone()), "/", admin_header.clone(), none),
        (most(&delegate, &[]), "/", None, none),
        (most(&delegate, &["operator.write"]), "/", None, "operator.read,operator.write"),
        (most(&delegate, &["operator.write"]), "/", stranger, "operator.read,operator.write"),
        (with(socket.clone()), "/node", None, read),
        (with(socket.clone()), "/node", admin_header, none),
        (most(&socket, &[]), "/node", None, none),
        // Without ceilings, a token has what was approved.
        (delegate, "/", None, all),
        (socket, "/node", None, all),
    ];
    for (filter, path, sent, expected) in table {
        stack.put_filter(&filter);
        let sent = sent.unwrap_or_else(|| headers(NOBODY));
        let credential = Some(("deviceToken", token.as_str()));
        let context = format!("{path}, {sent:?}, {filter}");
        let mut session = device
            .open_at(connect(&stack, PROXY), path, &sent, credential)
            .unwrap_or_else(|denied| panic!("{context}: {denied:?}"));
        let mut scopes = session.scopes();
        scopes.sort_unstable();
        assert_eq!(scopes.join(","), expected, "{context}");
        // A call that needs to administer says the same.
        let listed = session.call("device.pair.list", &json!({}));
        assert_eq!(listed.is_ok(), expected == all, "{context}: {listed:?}");
    }
    stack.put_filter(&json!({}));
}

#[test]
fn what_carries_its_own_credential_over_http_passes_where_its_path_is_anonymous() {
    let stack = stack();
    stack.put_filter(&json!({}));
    let mut user = Session::open(connect(&stack, PROXY), "/", &headers(USER), &control_ui()).expect("a user gets in");
    let params = json!({"publicUrl": "https://claw.example.com", "includeQr": false, "joinUrl": true, "bootstrapProfile": "node"});
    let link = user.call("device.pair.setupCode", &params).unwrap();
    let join = link["joinUrl"].as_str().unwrap().strip_prefix("https://claw.example.com").unwrap().to_owned();
    let hook = format!("Bearer {HOOK_TOKEN}");

    // The path, its entry, the credential, the Gateway's answer, and its answer to a wrong credential.
    let wake = r#"{"text":"hello","mode":"next-heartbeat"}"#;
    let table = [
        // The code in a join link can be used only once, so the wrong one is tried first.
        ("GET", join.as_str(), "/j/*", "", "", 200, Some(("/j/AAAAAAAAAAAAAAAAAAAAAA", 404))),
        ("GET", "/api/nodes/watch/challenge", "/api/nodes/watch/*", "", "", 200, None),
        ("POST", "/hooks/wake", "/hooks/*", hook.as_str(), wake, 200, Some(("", 401))),
        (
            "GET",
            "/__openclaw__/cap/none/__openclaw__/canvas/documents/x/index.html",
            "/__openclaw__/cap/*",
            "",
            "",
            401,
            None,
        ),
        // The Gateway strips `/__openclaw__/cap/<anything>` and serves the rest, so this entry opens every path.
        ("POST", "/__openclaw__/cap/none/hooks/wake", "/__openclaw__/cap/*", hook.as_str(), wake, 200, None),
    ];
    for (method, path, entry, credential, body, status, wrong) in table {
        stack.put_filter(&json!({}));
        let refused = ask(&stack, PROXY, method, path, credential, body);
        let reason = refused.json()["error"]["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (refused.status, reason.as_str()),
            (401, "trusted_proxy_missing_header"),
            "{path} unchanged: {refused:?}"
        );

        stack.put_filter(&json!({"anonymousPaths": [entry]}));
        if let Some((other, status)) = wrong {
            let path = if other.is_empty() { path } else { other };
            let answer = ask(&stack, PROXY, method, path, "Bearer wrong", body);
            assert_eq!(answer.status, status, "{path} with a wrong credential: {answer:?}");
            assert!(
                answer.json()["error"].get("reason").is_none(),
                "the Gateway's answer, not the filter's: {answer:?}"
            );
        }
        // From anywhere: none of rules 1 to 10 applies on such a path.
        let answer = ask(&stack, STRANGER, method, path, credential, body);
        assert_eq!(answer.status, status, "{path} with {entry}: {answer:?}");
        assert!(answer.json()["error"].get("reason").is_none(), "the Gateway's answer, not the filter's: {answer:?}");
    }
    stack.put_filter(&json!({}));
}

/// Pairs a device: the user creates a setup code, the device connects with its token, and the user approves it if the
/// Gateway requires that.
pub fn pair(stack: &Stack, user: &mut Session, device: &Device, profile: &str) -> String {
    let params = json!({"publicUrl": "https://claw.example.com", "includeQr": false, "bootstrapProfile": profile});
    let code = user.call("device.pair.setupCode", &params).unwrap();
    let payload = BASE64.decode(code["setupCode"].as_str().unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let credential = ("bootstrapToken", payload["bootstrapToken"].as_str().unwrap());
    let open = || device.open(connect(stack, PROXY), &headers(NOBODY), Some(credential));
    let session = match open() {
        Err(Denied::Closed(1008, _, Some(error))) if error["code"] == "NOT_PAIRED" => {
            user.call("device.pair.approve", &json!({"requestId": error["details"]["requestId"]})).unwrap();
            open().unwrap_or_else(|denied| panic!("an approved {} is still denied: {denied:?}", device.role))
        }
        session => session.unwrap_or_else(|denied| panic!("{denied:?}")),
    };
    assert_eq!(session.hello["auth"]["role"], device.role);
    session.hello["auth"]["deviceToken"].as_str().expect("a device token").to_owned()
}

fn seen(session: Result<Session, Denied>) -> Seen {
    match session {
        Ok(session) => Seen::In(session.hello["auth"]["method"].as_str().unwrap().to_owned()),
        Err(Denied::Status(401)) => Seen::Filter,
        Err(Denied::Closed(1008, text, None)) if text.starts_with("proxy authentication required: trusted_proxy_") => {
            Seen::Filter
        }
        Err(Denied::Closed(1008, _, Some(error))) => {
            Seen::Gateway(error["details"]["code"].as_str().unwrap_or_default().to_owned())
        }
        Err(other) => panic!("{other:?}"),
    }
}

pub fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

pub fn connect(stack: &Stack, peer: &str) -> std::net::TcpStream {
    let mut stream = wire::open(stack.http()).unwrap();
    std::io::Write::write_all(&mut stream, &wire::proxy_line(peer)).unwrap();
    stream
}

fn ask(stack: &Stack, peer: &str, method: &str, path: &str, credential: &str, body: &str) -> Response {
    let length = body.len().to_string();
    let mut all = vec![("host", "claw.example.com"), ("content-type", "application/json"), ("content-length", &length)];
    if !credential.is_empty() {
        all.push(("authorization", credential));
    }
    all.extend(NOBODY);
    let mut connection = Connection::new(connect(stack, peer));
    connection.send(&[wire::request(method, path, &all), body.as_bytes().to_vec()].concat()).unwrap();
    connection.response(method).unwrap()
}
