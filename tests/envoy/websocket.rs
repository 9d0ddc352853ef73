//! WebSockets through a real Envoy with the configuration in `envoy/`: a real client library, the bytes on the wire,
//! and HTTP/2.

use std::io::{Read, Write};
use std::net::SocketAddr;

use harness::echo::{self, Echo};
use harness::envoy::{self, Envoy, Example, Ports, Scratch, Source, eventually};
use harness::extended_connect;
use harness::http::Request;
use harness::tungstenite::handshake::derive_accept_key;
use harness::tungstenite::{Error, Message, WebSocket, client};
use harness::wire::{self, Connection, Response, values};
use serde_json::{Value, json};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const NICK: (&str, &str) = ("x-forwarded-user", "nick@example.com");
const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");
const ORIGIN: (&str, &str) = ("origin", "https://localhost:10443");
const FOREIGN: (&str, &str) = ("origin", "https://evil.example");

/// The close reason that a client gets, by its headers.
fn refusals() -> Vec<(Vec<(&'static str, &'static str)>, &'static str)> {
    vec![
        (vec![CLIENT], "proxy authentication required: trusted_proxy_user_missing"),
        (
            vec![CLIENT, ORIGIN, ("x-forwarded-user", "mallory@example.com")],
            "proxy authentication required: trusted_proxy_user_not_allowed",
        ),
        (vec![CLIENT, NICK, NICK], "proxy authentication required: trusted_proxy_user_repeated"),
        (vec![CLIENT, NICK, FOREIGN], "origin not allowed: trusted_proxy_origin_not_allowed"),
    ]
}

#[test]
fn a_client_library_sees_the_close_code_and_the_reason_over_ws_and_wss() {
    let place = Place::new(json!({}));
    for (headers, expected) in refusals() {
        for secure in [false, true] {
            let address = place.envoy.address(if secure { "https" } else { "http" });
            let seen = if secure {
                close_of(place.open_tls(address, &headers))
            } else {
                close_of(open(wire::open(address).unwrap(), &headers))
            };
            assert_eq!(seen, (1008, expected.to_owned()), "{headers:?}, wss: {secure}");
        }
    }
    assert_eq!(place.echo.requests(), 0, "what is refused must not reach the upstream");
}

#[test]
fn an_admitted_websocket_carries_messages_and_the_user_over_ws_and_wss() {
    let place = Place::new(json!({}));
    let headers = [CLIENT, NICK, ORIGIN, ("x-openclaw-scopes", "operator.read, nonsense"), ("x-webauth-user", "root")];
    let plain = open(wire::open(place.envoy.address("http")).unwrap(), &headers);
    converse(plain);
    let secure = place.open_tls(place.envoy.address("https"), &headers);
    converse(secure);
    assert_eq!(place.echo.requests(), 2);

    fn converse<S: Read + Write>(mut socket: WebSocket<S>) {
        let upstream = first_message(&mut socket);
        assert_eq!(values(&upstream, "x-forwarded-user"), ["nick@example.com"]);
        assert_eq!(values(&upstream, "x-openclaw-scopes"), ["operator.read"]);
        assert_eq!(values(&upstream, "sec-websocket-key").len(), 1);
        assert!(values(&upstream, "x-webauth-user").is_empty());
        for message in [Message::text("hello"), Message::binary(vec![0; 100_000])] {
            socket.send(message.clone()).unwrap();
            assert_eq!(socket.read().unwrap(), message);
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    }
}

#[test]
fn no_frame_of_an_open_websocket_enters_the_vm() {
    let place = Place::new(json!({}));
    // At this level, Envoy logs each call into a VM.
    assert_eq!(place.envoy.process().tell("/logging?wasm=trace").unwrap().status, 200);
    let calls = || {
        let lines = place.envoy.lines(Source::Log);
        lines
            .iter()
            .filter_map(|line| line.split_once("[host->vm] "))
            .map(|(_, call)| call.to_owned())
            .collect::<Vec<_>>()
    };
    let judged = |count: usize| {
        eventually("the call for the request's headers", || {
            calls().iter().filter(|call| call.starts_with("proxy_on_request_headers(")).count() == count
        });
    };
    let mut socket = place.open(&[CLIENT, NICK, ORIGIN]);
    first_message(&mut socket);
    judged(1);
    let before = calls();
    for at in 0..300 {
        let message = Message::binary(vec![7; if at % 100 == 0 { 200_000 } else { at }]);
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    // Another request is decided after all that, so the log lines before it have been written.
    drop(place.raw(&[("host", "claw.example.com"), ("connection", "close")]));
    judged(2);
    let after = calls();
    assert!(after.starts_with(&before), "{before:?} {after:?}");
    let since: Vec<_> = after[before.len()..].iter().filter_map(|call| call.split('(').next()).collect();
    let of_a_request = ["proxy_on_context_create", "proxy_on_request_headers", "proxy_on_memory_allocate"];
    assert!(since.iter().all(|call| of_a_request.contains(call)), "{since:?}");
    assert_eq!(since.iter().filter(|call| **call == "proxy_on_context_create").count(), 1, "{since:?}");
    assert!(since.len() <= 6, "only the other request's calls, none for 300 messages each way: {since:?}");
}

#[test]
fn a_refusal_on_the_wire_is_a_handshake_one_close_frame_and_the_end() {
    let place = Place::new(json!({}));
    for (headers, reason) in refusals() {
        for offered in [None, Some("openclaw.v4, other"), Some("one")] {
            let mut all = headers.clone();
            all.extend(offered.map(|offered| ("sec-websocket-protocol", offered)));
            let (response, rest) = place.raw(&with_handshake(&all));
            assert!(response.head.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"), "{response:?}");
            assert_eq!(response.header("upgrade").as_deref(), Some("websocket"), "{response:?}");
            assert_eq!(
                response.header("connection").map(|value| value.to_ascii_lowercase()).as_deref(),
                Some("upgrade")
            );
            assert_eq!(values(&response.headers, "sec-websocket-accept"), [derive_accept_key(KEY.as_bytes())]);
            let first: Vec<String> =
                offered.iter().filter_map(|list| list.split(", ").next()).map(str::to_owned).collect();
            assert_eq!(values(&response.headers, "sec-websocket-protocol"), first, "{response:?}");
            assert!(response.header("sec-websocket-extensions").is_none(), "{response:?}");

            let mut frame = vec![0x88, u8::try_from(reason.len() + 2).unwrap(), 0x03, 0xf0];
            frame.extend_from_slice(reason.as_bytes());
            assert_eq!(rest, frame, "one unmasked close frame, then the end: {:?}", wire::latin1(&rest));
        }
    }
    assert_eq!(place.echo.requests(), 0);
}

#[test]
fn without_a_handshake_that_could_succeed_the_refusal_is_plain() {
    let place = Place::new(json!({}));
    let handshakes: [(&str, &[(&str, &str)]); 6] = [
        ("no key", &[("sec-websocket-version", "13")]),
        ("a short key", &[("sec-websocket-version", "13"), ("sec-websocket-key", "c2hvcnQ=")]),
        (
            "a key that is not base64",
            &[("sec-websocket-version", "13"), ("sec-websocket-key", "!!!!IHNhbXBsZSBub25jZQ==")],
        ),
        ("two keys", &[("sec-websocket-version", "13"), ("sec-websocket-key", KEY), ("sec-websocket-key", KEY)]),
        ("another version", &[("sec-websocket-version", "8"), ("sec-websocket-key", KEY)]),
        ("no version", &[("sec-websocket-key", KEY)]),
    ];
    for (what, handshake) in handshakes {
        let headers =
            [&[("host", "claw.example.com"), ("connection", "Upgrade"), ("upgrade", "websocket"), CLIENT], handshake]
                .concat();
        let mut connection = Connection::open(place.envoy.address("http")).unwrap();
        connection.send(&wire::request("GET", "/", &headers)).unwrap();
        let response = connection.response("GET").unwrap();
        assert_eq!(
            (response.status, reason(&response).as_str()),
            (401, "trusted_proxy_user_missing"),
            "{what}: {response:?}"
        );
        assert!(response.header("sec-websocket-accept").is_none(), "{what}: {response:?}");
    }
    assert_eq!(place.echo.requests(), 0);
}

#[test]
fn refusals_can_be_plain_http() {
    let place = Place::new(json!({"webSocketRefusal": "http"}));
    for (headers, expected) in refusals() {
        let mut connection = Connection::open(place.envoy.address("http")).unwrap();
        connection.send(&wire::request("GET", "/", &with_handshake(&headers))).unwrap();
        let response = connection.response("GET").unwrap();
        assert_eq!(response.status, 401, "{response:?}");
        assert!(expected.ends_with(&format!(": {}", reason(&response))), "{expected}: {response:?}");
    }
    assert_eq!(place.echo.requests(), 0);
    assert_eq!(values(&first_message(&mut place.open(&[CLIENT, NICK])), "x-forwarded-user"), ["nick@example.com"]);
}

#[test]
fn reasons_can_be_hidden() {
    let place = Place::new(json!({"hideReasons": true}));
    for (headers, expected) in refusals() {
        let text = expected.split(": ").next().unwrap().to_owned();
        assert_eq!(close_of(place.open(&headers)), (1008, text));
    }
    let response = wire::get(place.envoy.address("http"), "/", &[CLIENT]).unwrap();
    assert_eq!((response.status, response.json()["error"].get("reason")), (401, None), "{response:?}");
}

#[test]
fn delegated_websockets_reach_the_gateway_without_any_identity() {
    let place = Place::new(json!({"webSocketRefusal": "delegate"}));
    const MALLORY: (&str, &str) = ("x-forwarded-user", "mallory@example.com");
    let narrowed = ("x-openclaw-scopes", "operator.read,nonsense");
    let cases = [
        (vec![CLIENT, ("x-webauth-user", "root"), narrowed], vec!["operator.read"]),
        (vec![CLIENT, MALLORY, ORIGIN, narrowed], vec!["operator.read"]),
        (vec![CLIENT, MALLORY], vec![]),
    ];
    let count = cases.len();
    for (headers, scopes) in cases {
        let mut socket = place.open(&headers);
        let upstream = first_message(&mut socket);
        for gone in ["x-forwarded-user", "x-webauth-user"] {
            assert!(values(&upstream, gone).is_empty(), "{headers:?}: {upstream:?}");
        }
        assert_eq!(values(&upstream, "x-openclaw-scopes"), scopes, "{headers:?}");
        socket.send("a device token".into()).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("a device token"));
    }
    assert_eq!(place.echo.requests(), count);

    // The other rules still close WebSockets, and plain requests are still refused by all rules.
    assert_eq!(close_of(place.open(&[CLIENT, NICK, NICK])).0, 1008);
    assert_eq!(
        close_of(place.open(&[CLIENT, MALLORY, FOREIGN])).1,
        "origin not allowed: trusted_proxy_origin_not_allowed"
    );
    assert_eq!(wire::get(place.envoy.address("http"), "/", &[CLIENT]).unwrap().status, 401);
    assert_eq!(place.echo.requests(), count);
}

#[test]
fn over_http_2_refusals_are_401_and_admitted_websockets_get_a_key() {
    let place = Place::new(json!({}));
    let http = place.envoy.address("http");

    let (status, body) = extended_connect::open(http, &[CLIENT], b"", b"");
    assert_eq!(status, 401);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["reason"], "trusted_proxy_user_missing");
    assert_eq!(place.echo.requests(), 0);

    // A masked text frame of two letters; the mask is zero.
    let (status, body) = extended_connect::open(http, &[CLIENT, NICK], b"\x81\x82\0\0\0\0hi", b"hi");
    assert_eq!(status, 200);
    assert!(body.ends_with(b"\x81\x02hi"), "{:?}", wire::latin1(&body));
    let start = body.iter().position(|byte| *byte == b'{').unwrap();
    let answer: Value = serde_json::from_slice(&body[start..body.len() - 4]).unwrap();
    let upstream = echo::received(&answer);
    assert_eq!(values(&upstream, "x-forwarded-user"), ["nick@example.com"]);
    assert_eq!(values(&upstream, "sec-websocket-version"), ["13"]);
    let keys = values(&upstream, "sec-websocket-key");
    assert!(keys.len() == 1 && keys[0].len() == 24 && keys[0].ends_with("=="), "16 bytes in base64: {keys:?}");
    assert_eq!(place.echo.requests(), 1);
}

/// The configuration in `envoy/`, with settings for the filter, in front of an echo server.
pub(crate) struct Place {
    pub(crate) envoy: Envoy,
    pub(crate) echo: Echo,
    pub(crate) example: Example,
    certificate: Vec<u8>,
}

/// The policy in `envoy/`, with settings for the filter.
pub(crate) fn policy_with(filter: Value) -> Value {
    let policy = std::fs::read_to_string(envoy::root().join("envoy/policy.json")).unwrap();
    let mut policy: Value = serde_json::from_str(&policy).unwrap();
    policy["filter"] = filter;
    policy
}

impl Place {
    fn new(filter: Value) -> Self {
        Self::with(&policy_with(filter), str::to_owned)
    }

    /// With this policy, and a changed bootstrap.
    pub(crate) fn with(policy: &Value, change: impl FnOnce(&str) -> String) -> Self {
        let echo = Echo::start().unwrap();
        let scratch = Scratch::new("websocket");
        let example =
            Example::write(scratch.path(), Ports::default(), &echo.address().to_string(), &policy.to_string())
                .unwrap_or_else(|problem| panic!("{problem}"));
        let certificate = std::fs::read(example.certificate()).unwrap();
        let bootstrap = example.bootstrap();
        std::fs::write(&bootstrap, change(&std::fs::read_to_string(&bootstrap).unwrap())).unwrap();
        let envoy = Envoy::run(scratch, &bootstrap);
        Self { envoy, echo, example, certificate }
    }

    pub(crate) fn open(&self, headers: &[(&str, &str)]) -> WebSocket<std::net::TcpStream> {
        open(wire::open(self.envoy.address("http")).unwrap(), headers)
    }

    fn open_tls(&self, address: SocketAddr, headers: &[(&str, &str)]) -> WebSocket<impl Read + Write + use<>> {
        open(wire::open_tls(address, "localhost", &self.certificate, "http/1.1").unwrap(), headers)
    }

    /// Sends a request, and reads the response and all bytes until the connection is closed.
    fn raw(&self, headers: &[(&str, &str)]) -> (Response, Vec<u8>) {
        let mut connection = Connection::open(self.envoy.address("http")).unwrap();
        connection.send(&wire::request("GET", "/", headers)).unwrap();
        let response = connection.response("GET").unwrap();
        let rest = connection.rest().unwrap();
        (response, rest)
    }
}

fn with_handshake<'a>(headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let handshake = [
        ("host", "claw.example.com"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    [&handshake, headers].concat()
}

/// Opens a WebSocket with a client library, which checks the handshake.
pub(crate) fn open<S: Read + Write>(stream: S, headers: &[(&str, &str)]) -> WebSocket<S> {
    open_at(stream, "/", headers)
}

pub(crate) fn open_at<S: Read + Write>(stream: S, path: &str, headers: &[(&str, &str)]) -> WebSocket<S> {
    let mut request = Request::builder().uri(format!("ws://claw.example.com{path}"));
    for (name, value) in with_handshake(headers) {
        request = request.header(name, value);
    }
    match client(request.body(()).unwrap(), stream) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("the handshake failed: {error}"),
    }
}

/// Whether a message comes back.
pub(crate) fn is_open<S: Read + Write>(socket: &mut WebSocket<S>) -> bool {
    socket.send(Message::text("still there?")).is_ok()
        && matches!(socket.read(), Ok(Message::Text(text)) if text == "still there?")
}

/// The close code and reason; fails if anything else arrives.
fn close_of<S: Read + Write>(mut socket: WebSocket<S>) -> (u16, String) {
    let frame = match socket.read() {
        Ok(Message::Close(Some(frame))) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("expected a close frame, not {other:?}"),
    };
    match socket.read() {
        Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)) => frame,
        other => panic!("expected nothing after the close frame, not {other:?}"),
    }
}

fn first_message<S: Read + Write>(socket: &mut WebSocket<S>) -> wire::Headers {
    let text = socket.read().unwrap().into_text().unwrap();
    echo::received(&serde_json::from_str(&text).unwrap())
}

fn reason(response: &Response) -> String {
    response.json()["error"]["reason"].as_str().unwrap_or_default().to_owned()
}
