//! WebSockets over HTTP/2 (RFC 8441), through Envoy to the Gateway.

use std::net::SocketAddr;

use harness::http::{Method, Request, Version};
use harness::wire::{self, latin1};
use harness::{h2, tokio};
use serde_json::Value;

use crate::agreement::stack;

#[test]
fn over_http_2_an_admitted_websocket_reaches_the_gateways_challenge_and_a_refused_one_gets_401() {
    let stack = stack();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
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
        ("http2-4", without("x-edge"), Some("trusted_proxy_missing_header_x-edge")),
        (
            "http2-5",
            [without("origin"), vec![("origin", "https://evil.example")]].concat(),
            Some("trusted_proxy_origin_not_allowed"),
        ),
    ];
    for (mark, mut headers, refused) in cases {
        headers.push(("x-case", mark));
        let (status, bytes) = runtime.block_on(connect(stack.http(), &headers));
        let arrivals = stack.relay().arrivals_with("x-case", mark);
        let Some(reason) = refused else {
            assert_eq!(status, 200, "{mark}: {}", latin1(&bytes));
            assert!(latin1(&bytes).contains(r#""event":"connect.challenge""#), "{mark}: {}", latin1(&bytes));
            assert_eq!(arrivals.len(), 1, "{mark}");
            assert_eq!(arrivals[0].values("sec-websocket-key").len(), 1, "the Gateway wants a key: {:?}", arrivals[0]);
            continue;
        };
        assert_eq!(status, 401, "{mark}: {}", latin1(&bytes));
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["error"]["reason"], reason, "{mark}");
        assert!(arrivals.is_empty(), "{mark}: {arrivals:?}");
    }
}

/// Opens a WebSocket, and returns the status and what came: all of a refusal, else up to the end of the first message.
async fn connect(address: SocketAddr, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let talk = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        client = client.ready().await.unwrap();
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://claw.example.com/")
            .version(Version::HTTP_2)
            .header("sec-websocket-version", "13")
            .extension(h2::ext::Protocol::from_static("websocket"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (response, upload) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let response = response.await.unwrap();
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            bytes.extend_from_slice(&part);
            if status == 200 && bytes.ends_with(b"}") {
                break;
            }
        }
        drop(upload);
        connection.abort();
        (status, bytes)
    };
    tokio::time::timeout(wire::PATIENCE, talk).await.expect("an answer over HTTP/2")
}
