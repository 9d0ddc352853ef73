//! `explain` compared with a real Envoy that runs the module, set up as in `envoy/`. The decisions are the same, and so
//! are the headers that Envoy adds and drops before the filter runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};

use harness::echo::{self, Echo};
use harness::envoy::{Envoy, Example, Ports, Scratch, eventually};
use harness::tungstenite::Message;
use harness::tungstenite::protocol::{Role, WebSocket};
use harness::wire::{self, Connection};
use serde_json::{Value, json};

use crate::{Run, tool_reading};

/// The result of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Status, and the code or the close text.
    Refused(u64, String),
    /// Envoy's own answer.
    Answered(u64),
    /// Path and headers upstream, by name, all values of each.
    Passed(BTreeMap<String, Vec<String>>),
}

/// Whether a header is compared. Some differ between runs, or are added when the request leaves Envoy, and others are
/// not shown.
fn is_compared(name: &str) -> bool {
    !["host", ":authority", "x-request-id", "x-forwarded-proto", "content-length", "transfer-encoding"].contains(&name)
        && !["cookie", "authorization", ":method", ":scheme"].contains(&name)
}

fn by_name(headers: impl Iterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.filter(|(name, _)| is_compared(name)) {
        // Queries are not shown.
        let value =
            if [":path", "referer"].contains(&&*name) { value.split('?').next().unwrap().to_owned() } else { value };
        all.entry(name).or_default().push(value);
    }
    all
}

/// What `explain` says of a request, and the whole answer.
pub fn explained(policy: &str, peer: &str, head: &[u8]) -> (Outcome, Value) {
    said(&tool_reading(&["explain", policy, "--peer", peer, "--json", "--request", "-"], head))
}

/// The answer of an `explain --json`.
pub fn said(run: &Run) -> (Outcome, Value) {
    let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let status = answer["client"]["status"].as_u64();
    let outcome = match answer["verdict"].as_str().unwrap() {
        "refused_by_envoy" => Outcome::Answered(status.unwrap()),
        "refused" => {
            let code = answer["client"]["closeReason"].as_str().or(answer["reason"].as_str()).unwrap();
            Outcome::Refused(status.unwrap(), code.to_owned())
        }
        _ => Outcome::Passed(by_name(
            answer["upstream"]["headers"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))),
        )),
    };
    assert_eq!(run.code, i32::from(!matches!(outcome, Outcome::Passed(_))), "{answer}");
    (outcome, answer)
}

/// What a real Envoy does with a request from this peer.
pub fn sent(address: SocketAddr, peer: &str, head: &[u8]) -> Outcome {
    sent_from(wire::open(address).unwrap(), peer, head)
}

/// The same on an open connection.
pub fn sent_from(stream: TcpStream, peer: &str, head: &[u8]) -> Outcome {
    let mut connection = Connection::new(stream);
    connection.send(&wire::proxy_line(peer)).unwrap();
    connection.send(head).unwrap();
    let method = String::from_utf8_lossy(head).split_whitespace().next().unwrap_or_default().to_owned();
    let response = connection.response(&method).unwrap_or_else(|error| panic!("{error}: {}", wire::latin1(head)));
    let received = |answer: &Value| {
        let path = (":path".to_owned(), answer["path"].as_str().unwrap().to_owned());
        let headers = echo::received(answer).into_iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), wire::latin1(&value)));
        Outcome::Passed(by_name(std::iter::once(path).chain(headers)))
    };
    if response.status == 101 {
        let (stream, rest) = connection.into_parts();
        return match WebSocket::from_partially_read(stream, rest, Role::Client, None).read().unwrap() {
            Message::Close(Some(frame)) => Outcome::Refused(101, frame.reason.to_string()),
            Message::Text(text) => received(&serde_json::from_str(&text).unwrap()),
            other => panic!("{other:?}"),
        };
    }
    let answer = echo::answer(&response);
    if answer["headers"].is_array() {
        return received(&answer);
    }
    match response.json()["error"]["reason"].as_str() {
        Some(reason) => Outcome::Refused(response.status.into(), reason.to_owned()),
        // The body of an answer to HEAD is not there.
        None if response.status == 401 && method == "HEAD" => Outcome::Refused(401, String::new()),
        None => Outcome::Answered(response.status.into()),
    }
}

/// A real Envoy as `envoy/envoy.yaml` has it, where each connection starts with a PROXY line that names its peer.
pub struct Shipped {
    pub envoy: Envoy,
    pub address: SocketAddr,
    /// The file with the policy.
    pub policy: String,
    _echo: Echo,
}

impl Shipped {
    pub fn start(name: &str, policy: &Value) -> Self {
        Self::changed(name, policy, |bootstrap| bootstrap)
    }

    /// The same with changes to the bootstrap.
    pub fn changed(name: &str, policy: &Value, change: impl Fn(String) -> String) -> Self {
        let policy = policy.to_string();
        let scratch = Scratch::new(name);
        let echo = Echo::start().unwrap();
        let example = Example::write(scratch.path(), Ports::default(), &echo.address().to_string(), &policy).unwrap();
        let file = scratch.path().join("policy.json");
        fs::write(&file, &policy).unwrap();
        let bootstrap = fs::read_to_string(example.bootstrap()).unwrap();
        let proxy_protocol = "listener_filters: [{ name: proxy_protocol, typed_config: { \"@type\": \
            type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol } }]";
        let name = "    - name: http\n";
        assert!(bootstrap.contains(name));
        let bootstrap = bootstrap.replacen(name, &format!("{name}      {proxy_protocol}\n"), 1);
        fs::write(example.bootstrap(), change(bootstrap)).unwrap();
        let envoy = Envoy::run(scratch, &example.bootstrap());
        let address = envoy.address("http");
        eventually("the policy is in force", || {
            let probe = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
            matches!(sent(address, "10.0.0.1", probe), Outcome::Passed(_))
        });
        Self { envoy, address, policy: file.to_str().unwrap().to_owned(), _echo: echo }
    }
}

/// A policy with an own list of scopes for a user.
pub fn policy() -> Value {
    json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1", "2001:db8::1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user", "requiredHeaders": ["x-forwarded-proto"],
                "allowUsers": ["nick@example.com", "eve@example.com"],
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": {"scopes": {"users": {"*": ["operator.read"], "nick@example.com": ["operator.admin"]}}},
    })
}

#[test]
fn explain_says_what_a_real_envoy_does() {
    let shipped = Shipped::start("cli-envoy", &policy());
    let nick = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-User: nick@example.com\r\n";
    let eve = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-User: eve@example.com\r\n";
    let socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let lines = |parts: &[&str]| parts.concat();
    let cases = [
        ("10.0.0.1", "/", lines(&[nick])),
        ("10.0.0.1", "/control-ui-config.json", lines(&[nick])),
        ("10.0.0.1", "/control-ui-config.json", lines(&[eve])),
        ("10.0.0.1", "/healthz", lines(&[nick])),
        ("10.0.0.1", "/", lines(&[nick, "x-openclaw-scopes: operator.write,  operator.read ,x\r\n"])),
        ("10.0.0.1", "/", lines(&[nick, "X-Auth-Request-User: eve\r\nRemote-User: eve\r\nX-Other:  padded \r\n"])),
        ("10.0.0.1", "/", lines(&[nick, "X-Forwarded-User: eve@example.com\r\n"])),
        ("10.0.0.1", "/", lines(&[nick, "Origin: https://claw.example.com\r\n"])),
        ("10.0.0.1", "/", lines(&[nick, "Origin: https://evil.example.com\r\n"])),
        ("10.0.0.1", "/", lines(&[nick, "X-Forwarded-For: 198.51.100.9\r\n"])),
        ("10.0.0.1", "/", lines(&["X-Forwarded-User: nick@example.com\r\n"])),
        ("10.0.0.1", "/", lines(&["X-Forwarded-For: 203.0.113.7\r\n"])),
        ("10.0.0.1", "/", lines(&["X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-User: Nick@example.com\r\n"])),
        ("10.0.0.9", "/", lines(&[nick])),
        ("2001:db8::1", "/", lines(&[nick])),
        ("127.0.0.1", "/", lines(&[nick])),
        ("10.0.0.1", "/", lines(&[nick, socket])),
        ("10.0.0.1", "/", lines(&[eve, socket])),
        (
            "10.0.0.1",
            "/",
            lines(&[nick, socket, "X-OpenClaw-Scopes: operator.read\r\nOrigin: https://claw.example.com\r\n"]),
        ),
        ("10.0.0.1", "/", lines(&[nick, socket, "Origin: https://evil.example.com\r\n"])),
        ("10.0.0.1", "/", lines(&["X-Forwarded-For: 203.0.113.7\r\n", socket])),
        ("10.0.0.1", "/", lines(&[nick, "Upgrade: websocket\r\n"])),
        ("10.0.0.1", "/a%2Fb", lines(&[nick])),
    ];
    let (mut passed, mut refused) = (0, 0);
    for (peer, path, headers) in cases {
        let head = format!("GET {path} HTTP/1.1\r\nHost: claw.example.com\r\n{headers}\r\n");
        let real = sent(shipped.address, peer, head.as_bytes());
        let (said, _) = explained(&shipped.policy, peer, head.as_bytes());
        assert_eq!(said, real, "explain and Envoy, {peer}: {head}");
        match real {
            Outcome::Passed(_) => passed += 1,
            Outcome::Refused(..) | Outcome::Answered(_) => refused += 1,
        }
    }
    assert!(passed > 8 && refused > 6, "{passed} passed, {refused} were refused");
}
