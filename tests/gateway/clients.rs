//! Real WebSocket clients through a real Envoy with the filter: what each of them sees when it is admitted and when
//! it is refused, over ws and wss, with an echo server and with a real Gateway.

use std::io::{Read, Write};
use std::path::PathBuf;

use harness::clients::{Client, Front, Kind, Over, SESSION};
use harness::echo::{self, Echo};
use harness::envoy::{Source, eventually};
use harness::gateway::{Gateway, Relay};
use harness::http::Request;
use harness::tungstenite::{self, Message, WebSocket};
use harness::wire::{self, values};
use serde_json::{Value, json};

const NICK: Option<&str> = Some("nick@example.com");
const MALLORY: Option<&str> = Some("mallory@example.com");
const NOBODY: Option<&str> = None;

const USER_MISSING: &str = "proxy authentication required: trusted_proxy_user_missing";
const USER_NOT_ALLOWED: &str = "proxy authentication required: trusted_proxy_user_not_allowed";
const ORIGIN_NOT_ALLOWED: &str = "origin not allowed: trusted_proxy_origin_not_allowed";

#[test]
fn every_client_is_admitted_or_sees_close_code_and_reason() {
    let echo = Echo::start().unwrap();
    let relay = Relay::start(echo.address()).unwrap();
    let mut front = Front::start(relay.address(), &json!({}), Over::Http1);
    let mut clients = AnyClient::all(&front);

    // The user, the subprotocols that the client offers, and the reason of the refusal.
    let same_origin: [(Option<&str>, &[&str], Option<&str>); 5] = [
        (NICK, &[], None),
        (NICK, &["openclaw.v4", "other"], None),
        (NOBODY, &[], Some(USER_MISSING)),
        (NOBODY, &["openclaw.v4", "other"], Some(USER_MISSING)),
        (MALLORY, &[], Some(USER_NOT_ALLOWED)),
    ];
    let other_origin = [(NICK, &[][..], Some(ORIGIN_NOT_ALLOWED)), (NOBODY, &[][..], Some(USER_MISSING))];
    let mut admitted = 0;
    for (cases, origins) in [(&same_origin[..], None), (&other_origin[..], Some("https://claw.example.com"))] {
        if let Some(origin) = origins {
            let mut policy = front.policy().clone();
            policy["gateway"]["controlUi"]["allowedOrigins"] = json!([origin]);
            front.put_policy(policy);
        }
        for client in &mut clients {
            for scheme in ["ws", "wss"] {
                for (user, offered, refusal) in cases {
                    let mut question = question(&front, scheme, *user);
                    question["protocols"] = json!(offered);
                    question["say"] = "hello".into();
                    let answer = client.ask(&question);
                    let context = format!("{}, {scheme}, {user:?}, {offered:?}: {answer}", client.name());
                    match refusal {
                        // In Firefox, whether `open` comes before `close` is a matter of timing.
                        Some(reason) => {
                            assert_eq!(
                                (&answer["code"], &answer["reason"]),
                                (&json!(1008), &json!(reason)),
                                "{context}"
                            );
                            assert_eq!(answer["messages"], json!([]), "{context}");
                        }
                        None => {
                            assert_eq!(answer["opened"], true, "{context}");
                            assert_eq!(answer["protocol"], offered.first().copied().unwrap_or_default(), "{context}");
                            admitted += 1;
                            let messages = &answer["messages"];
                            let upstream: Value = serde_json::from_str(messages[0].as_str().unwrap()).unwrap();
                            assert_eq!(
                                values(&echo::received(&upstream), "x-forwarded-user"),
                                ["nick@example.com"],
                                "{context}"
                            );
                            assert_eq!((&messages[1], &answer["code"]), (&json!("hello"), &json!(1000)), "{context}");
                        }
                    }
                }
            }
        }
    }
    assert_eq!(upgrades(&relay), admitted, "what is refused must not reach the upstream");
    assert_eq!(admitted, 6 * 2 * 2, "six clients, two schemes, two cases");
}

/// A page that was loaded over HTTP/2 opens its WebSockets on the same connection if Envoy offers that. If the
/// handshake fails there, the page learns nothing else.
#[test]
fn over_http_2_browsers_are_admitted_and_see_no_reason_of_a_refusal() {
    let echo = Echo::start().unwrap();
    let relay = Relay::start(echo.address()).unwrap();
    let front = Front::start(relay.address(), &json!({}), Over::Http2);
    for kind in [Kind::Chromium, Kind::Firefox] {
        let mut client = Client::start(kind, &front.certificate());
        let before = upgrades(&relay);
        let answer = client.ask(&question(&front, "wss", NOBODY));
        assert_eq!(
            (&answer["opened"], &answer["code"], &answer["reason"]),
            (&json!(false), &json!(1006), &json!("")),
            "{kind:?}: {answer}"
        );
        assert_eq!(upgrades(&relay), before, "{kind:?}");

        let answer = client.ask(&question(&front, "wss", NICK));
        let upstream: Value = serde_json::from_str(answer["messages"][0].as_str().unwrap()).unwrap();
        let upstream = echo::received(&upstream);
        assert_eq!(values(&upstream, "x-forwarded-user"), ["nick@example.com"], "{kind:?}: {answer}");
        // Over HTTP/2 no browser sends a key, but the upstream got one.
        assert_eq!(values(&upstream, "sec-websocket-key").len(), 1, "{kind:?}: {answer}");
    }
    // The operator still sees the reason.
    let refused = |line: &&String| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        (&line["status"], &line["upgrade"], &line["protocol"], &line["reason"])
            == (&json!(401), &json!("websocket"), &json!("HTTP/2"), &json!("trusted_proxy_user_missing"))
    };
    eventually("two refusals in the access log", || {
        front.envoy().lines(Source::Access).iter().filter(refused).count() == 2
    });
}

#[test]
fn before_a_real_gateway_every_client_gets_its_challenge_or_the_refusal() {
    let gateway = Gateway::start(&json!({"controlUi": {"allowedOrigins": ["*"]}}), &Default::default());
    let relay = Relay::start(gateway.address()).unwrap();
    let front = Front::start(relay.address(), &json!({}), Over::Http1);
    let mut admitted = 0;
    for client in &mut AnyClient::all(&front) {
        for scheme in ["ws", "wss"] {
            let answer = client.ask(&question(&front, scheme, NICK));
            admitted += 1;
            let challenge: Value =
                serde_json::from_str(answer["messages"][0].as_str().unwrap_or_default()).unwrap_or_default();
            assert_eq!(challenge["event"], "connect.challenge", "{}, {scheme}: {answer}", client.name());
            for (user, reason) in [(NOBODY, USER_MISSING), (MALLORY, USER_NOT_ALLOWED)] {
                let answer = client.ask(&question(&front, scheme, user));
                let seen = (&answer["code"], &answer["reason"], &answer["messages"]);
                assert_eq!(seen, (&json!(1008), &json!(reason), &json!([])), "{}, {scheme}, {user:?}", client.name());
            }
        }
    }
    assert_eq!(upgrades(&relay), admitted, "what is refused must not reach the Gateway");
}

/// The question for every client: to open a WebSocket, and to close it after the first answer. Browsers open it from
/// a page.
fn question(front: &Front, scheme: &str, user: Option<&str>) -> Value {
    let origin = front.origin(if scheme == "wss" { "https" } else { "http" });
    let (_, address) = origin.split_once("://").unwrap();
    let mut question = json!({
        "op": "websocket",
        "page": format!("{origin}/health"),
        "url": format!("{scheme}://{address}/"),
        "headers": {"origin": origin},
        "protocols": [],
    });
    if let Some(user) = user {
        question["cookie"] = json!({"name": SESSION, "value": user});
        question["headers"]["cookie"] = format!("{SESSION}={user}").into();
    }
    question
}

/// How many WebSockets reached the upstream.
fn upgrades(relay: &Relay) -> usize {
    relay.arrivals().iter().filter(|arrival| !arrival.values("upgrade").is_empty()).count()
}

/// A client in another process, or the one in this process.
enum AnyClient {
    Other(Client),
    /// tungstenite, with the certificate that it trusts.
    Rust(PathBuf),
}

impl AnyClient {
    fn all(front: &Front) -> Vec<Self> {
        let others = Kind::ALL.map(|kind| Self::Other(Client::start(kind, &front.certificate())));
        others.into_iter().chain([Self::Rust(front.certificate())]).collect()
    }

    fn name(&self) -> String {
        match self {
            Self::Other(client) => format!("{:?}", client.kind()),
            Self::Rust(_) => "Rust".to_owned(),
        }
    }

    fn ask(&mut self, question: &Value) -> Value {
        match self {
            Self::Other(client) => client.ask(question),
            Self::Rust(certificate) => {
                let url = question["url"].as_str().unwrap();
                let (scheme, rest) = url.split_once("://").unwrap();
                let address = rest.trim_end_matches('/').parse().unwrap();
                if scheme == "ws" {
                    rust_client(wire::open(address).unwrap(), question)
                } else {
                    let certificate = std::fs::read(certificate).unwrap();
                    rust_client(wire::open_tls(address, "127.0.0.1", &certificate, "http/1.1").unwrap(), question)
                }
            }
        }
    }
}

/// Does the same as tests/gateway/clients/client.mjs.
fn rust_client<S: Read + Write>(stream: S, question: &Value) -> Value {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut request = Request::builder().uri(question["url"].as_str().unwrap());
    for (name, value) in question["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    let offered = texts(&question["protocols"]);
    if !offered.is_empty() {
        request = request.header("sec-websocket-protocol", offered.join(", "));
    }
    let request = request
        .header("host", question["url"].as_str().unwrap().split('/').nth(2).unwrap())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", tungstenite::handshake::client::generate_key());
    let (mut socket, response): (WebSocket<S>, _) = match tungstenite::client(request.body(()).unwrap(), stream) {
        Ok(opened) => opened,
        Err(error) => return json!({"opened": false, "error": error.to_string()}),
    };
    let protocol = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
    let mut messages = Vec::new();
    let (code, reason) = loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                messages.push(text.to_string());
                match question["say"].as_str() {
                    Some(say) if messages.len() == 1 => socket.send(say.into()).unwrap(),
                    _ => socket
                        .close(Some(tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() }))
                        .unwrap(),
                }
            }
            Ok(Message::Close(Some(frame))) => break (u16::from(frame.code), frame.reason.to_string()),
            Ok(_) => {}
            Err(error) => break (1006, error.to_string()),
        }
    };
    while socket.read().is_ok() {}
    json!({"opened": true, "protocol": protocol.unwrap_or_default(), "messages": messages, "code": code, "reason": reason})
}
