//! WebSockets over HTTP/2 (RFC 8441), through Envoy to the Gateway.

use harness::extended_connect;
use harness::wire::latin1;
use serde_json::Value;

use crate::agreement::stack;

#[test]
fn over_http_2_a_websocket_reaches_the_gateway_or_gets_401() {
    let stack = stack();
    let good = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-user", "nick@example.com"),
        ("x-edge", "x"),
        ("origin", "https://claw.example.com"),
    ];
    let without = |name: &str| good.iter().copied().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let cases = [
        ("http2-1", good.to_vec(), None),
        ("http2-2", without("origin"), None),
        ("http2-3", without("x-forwarded-user"), Some("trusted_proxy_user_missing")),
        ("http2-4", without("x-edge"), Some("trusted_proxy_missing_header")),
        (
            "http2-5",
            [without("origin"), vec![("origin", "https://evil.example")]].concat(),
            Some("trusted_proxy_origin_not_allowed"),
        ),
    ];
    for (mark, mut headers, refused) in cases {
        headers.push(("x-case", mark));
        let (status, bytes) = extended_connect::open(stack.http(), &headers, b"", b"}");
        let arrivals = stack.relay().arrivals_with("x-case", mark);
        let Some(reason) = refused else {
            assert_eq!(status, 200, "{mark}: {}", latin1(&bytes));
            assert!(latin1(&bytes).contains(r#""event":"connect.challenge""#), "{mark}: {}", latin1(&bytes));
            assert_eq!(arrivals.len(), 1, "{mark}");
            assert_eq!(arrivals[0].values("sec-websocket-key").len(), 1, "the Gateway needs a key: {:?}", arrivals[0]);
            continue;
        };
        assert_eq!(status, 401, "{mark}: {}", latin1(&bytes));
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["error"]["reason"], reason, "{mark}");
        assert!(arrivals.is_empty(), "{mark}: {arrivals:?}");
    }
}
