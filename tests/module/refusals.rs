//! The responses to refused clients, for plain HTTP and for WebSockets.

use harness::vectors::{Outcome, told};
use harness::wasm::{Action, Exchange, Host, LocalResponse, Request};
use model::breaks::{self, BREAKS};
use serde_json::{Value, json};

use crate::{config, filter, identity, nameless, of_model, once, signed};

fn headers(response: &LocalResponse) -> Vec<String> {
    let mut shown: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {}", name.to_ascii_lowercase(), value.escape_ascii()))
        .collect();
    shown.sort();
    shown
}

/// Asserts that the stream ended here, with this status and code.
fn assert_plain(what: &str, exchange: &Exchange, status: u16, code: &str) {
    let wanted = Outcome::Refused { status, reason: Some(told(code).to_owned()) };
    assert_eq!(exchange.outcome(), wanted, "{what}");
}

/// Asserts that the WebSocket was opened and closed with this text.
fn assert_closed(what: &str, exchange: &Exchange, text: &str) {
    assert_eq!(exchange.outcome(), Outcome::Closed { code: 1008, reason: text.to_owned() }, "{what}");
}

/// Asserts that the plain request and the handshake are refused with this code.
fn assert_refused(what: &str, host: &mut Host, plain: &Request, upgrade: &Request, code: &str) {
    host.in_case(what);
    assert_plain(what, &host.send(plain), if code == "proxy_attribution_required" { 403 } else { 401 }, code);
    let origin = code == "trusted_proxy_origin_not_allowed";
    let text = if origin { "origin not allowed" } else { "proxy authentication required" };
    assert_closed(what, &host.send(upgrade), &format!("{text}: {}", told(code)));
}

#[test]
fn each_rule_refuses_with_its_own_code_in_the_order_of_the_rules() {
    let mut host = Host::configured(&breaks::configuration(json!({})));
    let mut refuse = |what: &str, request: &model::Request, code: &str| {
        let upgrade = of_model(request);
        let plain = upgrade.clone().without("upgrade").without("connection");
        assert_refused(what, &mut host, &plain, &upgrade, code);
    };
    for (at, broken) in BREAKS.iter().enumerate() {
        let mut request = breaks::admitted();
        broken.apply(&mut request);
        refuse("one rule is broken", &request, broken.code);
        BREAKS[at..].iter().rev().for_each(|broken| broken.apply(&mut request));
        refuse("the rules after it are broken too", &request, broken.code);
    }
    let admitted = of_model(&breaks::admitted());
    assert_eq!(host.send(&admitted).action, Action::Continue);
}

#[test]
fn each_spelling_of_a_broken_rule_is_refused() {
    let basic = || config(json!({}));
    let loopback = || config(json!({"gateway": {"trustedProxies": ["127.0.0.1", "::1"]}}));
    let origins = || config(json!({"gateway": {"controlUi": {"allowedOrigins": ["https://claw.example.com"]}}}));
    let key = || filter(json!({"peerAddress": {"filterState": "lab.peer"}}));
    let same_host = || filter(json!({"rejectSameHost": true}));
    let get = || signed(Request::get("/"));
    let state = |value: &str| get().property(&["filter_state", "lab.peer"], value);
    let at = |address: &str| get().property(&["destination", "address"], address);
    let (unknown, unverified) = ("trusted_proxy_peer_unknown", "trusted_proxy_peer_unverified");
    let (untrusted, local) = ("trusted_proxy_untrusted_source", "trusted_proxy_local_interface_source");
    let (attribution, not_allowed) = ("proxy_attribution_required", "trusted_proxy_origin_not_allowed");
    let cases: Vec<(&str, Value, Request, &str)> = vec![
        ("no address", basic(), get().without_property(&["source", "address"]), unknown),
        ("an empty address", basic(), get().peer(""), unknown),
        ("a waypoint's name", basic(), get().peer("envoy://internal_client_address/"), unknown),
        ("no port", basic(), get().peer("10.0.0.1"), unknown),
        ("a port that is not a number", basic(), get().peer("10.0.0.1:http"), unknown),
        ("a port too large", basic(), get().peer("10.0.0.1:65536"), unknown),
        ("a bare IPv6 address", basic(), get().peer("fd00::1"), unknown),
        ("bytes that are not text", basic(), get().property(&["source", "address"], b"10.0.0.1\xff:1"), unknown),
        ("an IPv6 address from a header", basic(), get().peer("[fd00::1]:0"), unverified),
        ("no filter state", key(), get(), unknown),
        ("unreadable filter state", key(), state("nobody"), unknown),
        ("filter state from a header", key(), state("10.0.0.1:0"), unverified),
        ("a stranger in filter state", key(), state("192.0.2.1"), untrusted),
        ("a stranger without a user", basic(), nameless(Request::get("/")).peer("192.0.2.1:40000"), untrusted),
        ("a mapped stranger", basic(), get().peer("[::ffff:192.0.2.1]:40000"), untrusted),
        ("an IPv6 stranger", basic(), get().peer("[a00::1]:40000"), untrusted),
        ("IPv6 loopback", loopback(), get().peer("[::1]:40000"), "trusted_proxy_loopback_source"),
        ("mapped loopback", loopback(), get().peer("[::ffff:127.0.0.1]:40000"), "trusted_proxy_loopback_source"),
        ("loopback that is not a proxy", basic(), get().peer("127.0.0.1:40000"), untrusted),
        ("from the same host, mapped", same_host(), at("[::ffff:10.0.0.1]:80"), local),
        ("a host without its own address", same_host(), get(), local),
        ("a loopback client", basic(), get().set("x-forwarded-for", "127.0.0.1"), attribution),
        ("only proxies", basic(), get().set("x-forwarded-for", "10.9.9.9,10.8.8.8"), attribution),
        ("no user", basic(), nameless(Request::get("/")), "trusted_proxy_user_missing"),
        (
            "a blank user",
            basic(),
            nameless(Request::get("/")).header("x-forwarded-user", b" \xa0\t"),
            "trusted_proxy_user_missing",
        ),
        (
            "a user under an alias",
            basic(),
            nameless(Request::get("/")).header("x_forwarded_user", "nick"),
            "trusted_proxy_user_missing",
        ),
        ("two users", basic(), get().header("x-forwarded-user", "eve"), "trusted_proxy_user_repeated"),
        (
            "somebody else",
            identity(json!({"allowUsers": ["nick@example.com"]})),
            get().set("x-forwarded-user", "Nick@example.com"),
            "trusted_proxy_user_not_allowed",
        ),
        ("a page without an origin", origins(), get().header("origin", "null"), not_allowed),
    ];
    for (what, config, request, code) in cases {
        let upgrade = Request::upgrade("/").headers.into_iter().filter(|(name, _)| !name.starts_with(':'));
        let upgrade = upgrade.fold(request.clone(), |request, (name, value)| request.header(&name, value));
        assert_refused(what, &mut Host::configured(&config), &request, &upgrade, code);
    }
}

#[test]
fn what_is_not_quite_refused_is_admitted() {
    // The neighbours of refusals, so that the table above cannot pass by refusing everything.
    let cases: Vec<(&str, Value, Request)> = vec![
        (
            "filter state without a port",
            filter(json!({"peerAddress": {"filterState": "lab.peer"}})),
            signed(Request::get("/")).property(&["filter_state", "lab.peer"], "10.0.0.1").peer("1.2.3.4:0"),
        ),
        (
            "filter state with a port",
            filter(json!({"peerAddress": {"filterState": "lab.peer"}})),
            signed(Request::get("/")).property(&["filter_state", "lab.peer"], "10.0.0.1:40000"),
        ),
        ("a mapped peer", config(json!({})), signed(Request::get("/")).peer("[::ffff:10.0.0.1]:40000")),
        (
            "loopback, allowed",
            config(
                json!({"gateway": {"trustedProxies": ["127.0.0.1"], "auth": {"trustedProxy": {"allowLoopback": true}}}}),
            ),
            signed(Request::get("/")).peer("127.0.0.1:40000"),
        ),
        (
            "the filter's own list",
            filter(json!({"trustedProxies": ["192.0.2.1"]})),
            signed(Request::get("/")).peer("192.0.2.1:1"),
        ),
        (
            "another host",
            filter(json!({"rejectSameHost": true})),
            signed(Request::get("/")).property(&["destination", "address"], "10.0.0.2:80"),
        ),
        (
            "no attribution wanted",
            filter(json!({"attribution": "off"})),
            signed(Request::get("/")).without("x-forwarded-for"),
        ),
    ];
    for (what, config, request) in cases {
        assert_eq!(once(&config, &request).action, Action::Continue, "{what}");
    }
}

#[test]
fn a_refused_request_gets_a_small_json_document_that_nobody_stores() {
    let unauthorized = once(&config(json!({})), &nameless(Request::get("/")));
    let response = unauthorized.refusal();
    assert_eq!(response.status, 401);
    assert_eq!(
        headers(response),
        [
            "cache-control: no-store",
            "content-type: application/json; charset=utf-8",
            "www-authenticate: TrustedProxy realm=\\\"openclaw\\\"",
        ]
    );
    let body = r#"{"error":{"message":"Unauthorized","type":"unauthorized","reason":"trusted_proxy_user_missing"}}"#;
    assert_eq!(response.body, body.as_bytes());

    let forbidden = once(&config(json!({})), &signed(Request::get("/")).without("x-forwarded-for"));
    let response = forbidden.refusal();
    assert_eq!(response.status, 403);
    assert_eq!(headers(response), ["cache-control: no-store", "content-type: application/json; charset=utf-8"]);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["error"]["type"], "proxy_attribution_required");
    assert_eq!(body["error"]["reason"], "proxy_attribution_required");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("trustedProxies") || message.to_lowercase().contains("x-forwarded-for"), "{message}");
}

#[test]
fn a_refused_head_request_gets_the_same_since_envoy_itself_leaves_the_body_out() {
    for request in [nameless(Request::new("HEAD", "/")), signed(Request::new("HEAD", "/")).without("x-forwarded-for")] {
        let get = request.clone().set(":method", "GET");
        let (head, get) = (once(&config(json!({})), &request), once(&config(json!({})), &get));
        assert_eq!(head.refusal().status, get.refusal().status);
        assert_eq!(headers(head.refusal()), headers(get.refusal()));
        // With an empty body, Envoy would remove the headers that describe it.
        assert_eq!(head.refusal().body, get.refusal().body);
    }
}

#[test]
fn a_refused_websocket_is_opened_and_closed_with_the_reason() {
    let exchange = once(&config(json!({})), &nameless(Request::upgrade("/")));
    let response = exchange.refusal();
    assert_eq!(response.status, 101);
    assert_eq!(response.values("sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    assert_eq!(response.values("upgrade"), ["websocket"]);
    assert_eq!(response.values("connection").concat().to_ascii_lowercase(), "upgrade");
    assert_eq!(response.values("sec-websocket-protocol"), Vec::<String>::new());
    let text = b"proxy authentication required: trusted_proxy_user_missing";
    let frame = [&[0x88, u8::try_from(text.len() + 2).unwrap(), 0x03, 0xF0], text.as_slice()].concat();
    assert_eq!(response.body, frame);
}

#[test]
fn the_accept_is_computed_from_the_key() {
    for (key, accept) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ] {
        let exchange = once(&config(json!({})), &nameless(Request::upgrade("/")).set("sec-websocket-key", key));
        assert_eq!(exchange.refusal().values("sec-websocket-accept"), [accept], "{key:?}");
    }
}

#[test]
fn the_first_offered_subprotocol_is_echoed() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["chat"], &["chat"]),
        (&["chat, superchat"], &["chat"]),
        (&["  chat ,superchat"], &["chat"]),
        (&["one", "two"], &["one"]),
        (&[""], &[]),
    ];
    for (offered, echoed) in cases {
        let request = offered
            .iter()
            .fold(nameless(Request::upgrade("/")), |request, value| request.header("sec-websocket-protocol", value));
        let exchange = once(&config(json!({})), &request);
        assert_closed(&format!("{offered:?}"), &exchange, "proxy authentication required: trusted_proxy_user_missing");
        assert_eq!(exchange.refusal().values("sec-websocket-protocol"), echoed, "{offered:?}");
    }
}

#[test]
fn a_close_text_never_exceeds_what_a_close_frame_can_hold() {
    for length in [1, 60, 63, 64, 65, 200, 1000] {
        let name = format!("x{}", "y".repeat(length));
        let config = identity(json!({"requiredHeaders": [name]}));
        let Outcome::Closed { code: 1008, reason } = once(&config, &signed(Request::upgrade("/"))).outcome() else {
            panic!("{length}: no close frame");
        };
        assert_eq!(reason, "proxy authentication required: trusted_proxy_missing_header", "{length}");
    }
}

#[test]
fn a_handshake_that_cannot_be_completed_is_refused_by_http() {
    let ws = || nameless(Request::upgrade("/"));
    let key = |key: &str| ws().set("sec-websocket-key", key);
    let cases = [
        ("no key", ws().without("sec-websocket-key")),
        ("an empty key", key("")),
        ("a key of 15 bytes", key("dGhlIHNhbXBsZSBub25j")),
        ("a key of 17 bytes", key("dGhlIHNhbXBsZSBub25jZSE=")),
        ("a key without padding", key("dGhlIHNhbXBsZSBub25jZQ")),
        ("no base64", key("!!!!IHNhbXBsZSBub25jZQ==")),
        ("no text", ws().set("sec-websocket-key", b"\xff\xfe\xfd")),
        ("two keys", ws().header("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw==")),
        ("version 12", ws().set("sec-websocket-version", "12")),
        ("version 8", ws().set("sec-websocket-version", "8")),
        ("no version", ws().without("sec-websocket-version")),
        ("a POST", ws().set(":method", "POST")),
        ("HTTP/2 without a key", ws().without("sec-websocket-key").property(&["request", "protocol"], "HTTP/2")),
        ("HTTP/2 with a key", ws().property(&["request", "protocol"], "HTTP/2")),
        ("HTTP/3", ws().property(&["request", "protocol"], "HTTP/3")),
    ];
    for (what, request) in cases {
        let exchange = once(&config(json!({})), &request);
        assert_plain(what, &exchange, 401, "trusted_proxy_user_missing");
        assert_eq!(exchange.refusal().values("www-authenticate").len(), 1, "{what}");
    }
}

#[test]
fn a_websocket_can_be_refused_by_http_on_request() {
    let mut host = Host::configured(&filter(json!({"webSocketRefusal": "http"})));
    assert_plain("a user", &host.send(&nameless(Request::upgrade("/"))), 401, "trusted_proxy_user_missing");
    let lost = signed(Request::upgrade("/")).without("x-forwarded-for");
    assert_plain("attribution", &host.send(&lost), 403, "proxy_attribution_required");
    assert_eq!(host.send(&signed(Request::upgrade("/"))).action, Action::Continue);
}

#[test]
fn delegation_passes_on_what_the_gateway_refuses_itself_and_nothing_else() {
    let delegate = config(json!({
        "gateway": {
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
            "auth": {"trustedProxy": {"requiredHeaders": ["x-proof"], "allowUsers": ["nick@example.com"]}},
        },
        "filter": {"webSocketRefusal": "delegate"},
    }));
    let mut host = Host::configured(&delegate);
    let whole = || signed(Request::upgrade("/")).header("x-proof", "1");
    for (what, request) in [
        ("rule 6", whole().without("x-proof")),
        ("rule 7", whole().without("x-forwarded-user")),
        ("rule 9", whole().set("x-forwarded-user", "eve")),
        (
            "rule 9 and a good origin",
            whole().set("x-forwarded-user", "eve").header("origin", "https://claw.example.com"),
        ),
    ] {
        let request = request
            .header("x-forwarded-email", "eve")
            .header("x_forwarded_user", "eve")
            .header("x-openclaw-scopes", "operator.read, root");
        let exchange = host.send(&request);
        assert_eq!(exchange.action, Action::Continue, "{what}: {:?}", exchange.outcome());
        for name in ["x-forwarded-user", "x_forwarded_user", "x-forwarded-email"] {
            assert_eq!(exchange.values(name), Vec::<String>::new(), "{what}: {name}");
        }
        assert_eq!(exchange.values("x-openclaw-scopes"), ["operator.read"], "{what}");
        assert_eq!(exchange.values("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="], "{what}");
        let plain = request.without("upgrade").without("connection");
        assert!(matches!(host.send(&plain).outcome(), Outcome::Refused { status: 401, .. }), "{what}, plain");
    }
    for (what, request, code) in [
        ("rule 1", whole().peer("10.0.0.1:0"), "trusted_proxy_peer_unverified"),
        ("rule 2", whole().peer("192.0.2.1:1").without("x-forwarded-user"), "trusted_proxy_untrusted_source"),
        ("rule 5", whole().without("x-forwarded-for").without("x-proof"), "proxy_attribution_required"),
        ("rule 7b", whole().header("x-forwarded-user", "eve"), "trusted_proxy_user_repeated"),
        ("rule 10", whole().header("origin", "https://evil.example"), "trusted_proxy_origin_not_allowed"),
        (
            "rules 7 and 10",
            whole().without("x-forwarded-user").header("origin", "https://evil.example"),
            "trusted_proxy_origin_not_allowed",
        ),
    ] {
        let Outcome::Closed { code: 1008, reason } = host.send(&request).outcome() else {
            panic!("{what}: {:?}", host.send(&request).outcome());
        };
        assert!(reason.ends_with(code), "{what}: {reason}");
    }
}

#[test]
fn hidden_reasons_are_hidden_from_clients_only() {
    let mut host = Host::configured(&filter(json!({"hideReasons": true})));
    let exchange = host.send(&nameless(Request::get("/")));
    assert_eq!(exchange.refusal().body, br#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
    assert_eq!(exchange.property("openclaw_trusted_proxy.reason"), Some(&b"trusted_proxy_user_missing"[..]));
    let exchange = host.send(&nameless(Request::upgrade("/")));
    assert_closed("hidden", &exchange, "proxy authentication required");
    let exchange = host.send(&signed(Request::upgrade("/")).header("origin", "https://evil.example"));
    assert_closed("hidden", &exchange, "origin not allowed");
    let exchange = host.send(&signed(Request::get("/")).without("x-forwarded-for"));
    assert_eq!(exchange.refusal().reason(), None);
    assert!(host.logs().iter().any(|log| log.text.contains("trusted_proxy_user_missing")));
}

#[test]
fn no_refusal_reflects_the_request_or_says_words_that_clients_act_upon() {
    const MARK: &str = "zqxmark";
    let marked = |request: Request| {
        let request = ["x-forwarded-user", "cookie", "referer", "user-agent", "origin", "accept", "x-real-ip"]
            .iter()
            .fold(request, |request, name| request.header(name, format!("http://{MARK}.example")));
        request.set(":authority", format!("{MARK}.example")).set(":path", format!("/{MARK}?{MARK}"))
    };
    let strict = identity(json!({"allowUsers": ["nobody"], "requiredHeaders": ["x-proof"]}));
    let mut host = Host::configured(&strict);
    for request in [Request::get("/"), Request::upgrade("/")] {
        for request in [
            marked(request.clone()),
            marked(nameless(request.clone())),
            marked(nameless(request)).header("x-proof", "1"),
        ] {
            let exchange = host.send(&request);
            let response = exchange.refusal();
            let shown = format!("{:?} {}", headers(response), response.body.escape_ascii());
            assert!(!shown.contains(MARK), "{shown}");
            let text = response.close_frame().map(|(_, reason)| reason.to_lowercase()).unwrap_or_default();
            assert!(!text.contains("unauthorized") && !text.contains("device token mismatch"), "{text}");
        }
    }
}
