//! Methods, and headers that some servers obey.

use super::Family;
use crate::attack::frames;
use crate::attack::suite::*;

const USER_MISSING: &str = "trusted_proxy_user_missing";
const UNTRUSTED: &str = "trusted_proxy_untrusted_source";

pub fn family() -> Family {
    let mut attacks = Vec::new();
    // By method: nobody, Nick.
    for method in ["HEAD", "TRACE", "OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND", "M-SEARCH", "QUERY", "get", "X"] {
        let known = !["M-SEARCH", "QUERY", "get", "X"].contains(&method);
        let end = |expect: Expect| if known { expect } else { Expect::Stopped(400) };
        // Over HTTP/2, method names are not checked.
        let over_http2 = if method == "QUERY" { Expect::Stopped(400) } else { refused(USER_MISSING) };
        let over_http2 = Shot { head: method == "HEAD", ..h2(&Request::proxied().method(method), over_http2) };
        attacks.push(shots(
            "raw",
            format!("{method}, by nobody and by Nick"),
            vec![
                h1(Request::proxied().method(method), end(refused(USER_MISSING))),
                over_http2,
                h1(Request::honest().method(method), end(nick(WRITE))),
            ],
        ));
    }
    attacks.push(attack(
        "raw",
        "HEAD on a health check",
        h1(Request::proxied().method("HEAD").target("/health"), anonymous()),
    ));
    attacks.push(attack(
        "raw",
        "DELETE on a health check passes without identity",
        h1(Request::proxied().method("DELETE").target("/health"), anonymous()),
    ));

    // Headers that some servers obey: on an anonymous path, to reach another path; without a user; from a stranger.
    for (name, value) in [
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "DELETE"),
        ("X-Method-Override", "CONNECT"),
        ("X-Original-URL", "/tools/invoke"),
        ("X-Rewrite-URL", "/tools/invoke"),
        ("X-Forwarded-Path", "/tools/invoke"),
        ("X-Forwarded-Prefix", "/tools/invoke"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Client-Cert", "By=spiffe://a;URI=spiffe://b"),
        ("X-Envoy-Original-Path", "/health"),
        ("X-Envoy-Original-Host", "localhost"),
        ("X-Envoy-Internal", "true"),
        ("X-Envoy-External-Address", "203.0.113.7"),
        ("X-Envoy-Decorator-Operation", "health"),
        ("X-Envoy-Force-Trace", "1"),
        ("X-Envoy-Retry-On", "5xx,retriable-4xx"),
        ("X-Envoy-Upstream-Rq-Timeout-Ms", "1"),
        ("X-Envoy-Downstream-Service-Cluster", "gateway"),
        ("X-Request-Id", "../../tools/invoke"),
        ("Early-Data", "1"),
        ("Authorization", "Bearer admin"),
        ("Proxy-Authorization", "Basic bmljazp4"),
        ("Cookie", "user=nick@example.com; session=1"),
        ("Forwarded", "for=198.51.100.9;host=claw.example.com;proto=https;by=203.0.113.7"),
        ("Via", "1.1 claw.example.com"),
        ("Range", "bytes=0-1"),
        ("If-None-Match", "*"),
        ("Content-Type", "application/json"),
        ("Accept", "application/signed-exchange"),
    ] {
        let stranger = Request::from_peer(STRANGER).header("x-forwarded-user", NICK).header(name, value);
        let stays = anonymous().with(|passed| passed.target = Some(b"/health".to_vec()));
        attacks.push(shots(
            "raw",
            format!("`{name}: {value}`, by nobody, by a stranger who names Nick, and on a health check"),
            vec![
                h1(Request::proxied().header(name, value), refused(USER_MISSING)),
                h1(stranger, refused(UNTRUSTED)),
                h1(Request::proxied().target("/health").header(name, value), stays),
            ],
        ));
    }
    // Bodies that are slow, announced but not sent, or endless.
    let promised = Request::proxied().method("POST").lines("Content-Length: 1000000\r\n");
    attacks.push(attack(
        "raw",
        "a refused upload of which nothing has come yet",
        h1_bytes(promised.http1(), vec![refused(USER_MISSING)]),
    ));
    attacks.push(attack(
        "raw",
        "a refused upload that goes on afterwards",
        Shot {
            mode: "raw",
            how: How::Http1,
            head: false,
            steps: vec![
                Step { bytes: promised.http1(), expect: vec![refused(USER_MISSING)] },
                Step { bytes: vec![b'x'; 100_000], expect: vec![Expect::End] },
            ],
        },
    ));
    attacks.push(attack(
        "raw",
        "a refused upload in chunks that does not end",
        h1_bytes(
            Request::proxied().method("POST").lines("Transfer-Encoding: chunked\r\n").tail("5\r\nhello\r\n").http1(),
            vec![refused(USER_MISSING)],
        ),
    ));
    attacks.push(attack(
        "raw",
        "a refused upload that waits for 100 Continue",
        h1_bytes(
            Request::proxied().method("POST").header("expect", "100-continue").lines("Content-Length: 5\r\n").http1(),
            vec![refused(USER_MISSING)],
        ),
    ));
    attacks.push(attack(
        "raw",
        "an upload with another expectation",
        h1_bytes(
            Request::proxied()
                .method("POST")
                .header("expect", "x-forwarded-user")
                .lines("Content-Length: 5\r\n")
                .tail("hello")
                .http1(),
            vec![refused(USER_MISSING)],
        ),
    ));
    let open = Request::proxied().method("POST");
    attacks.push(attack(
        "raw",
        "a refused upload that goes on (HTTP/2)",
        h2_fields(&open.proxy, &open.fields(), &frames::data(1, &[b'x'; 16_000], false), refused(USER_MISSING)),
    ));
    // Errors that look like successes.
    let grpc =
        |request: Request| request.method("POST").header("content-type", "application/grpc").header("te", "trailers");
    attacks.push(attack(
        "raw",
        "gRPC by nobody: Envoy makes the refusal a gRPC error",
        h2(&grpc(Request::proxied()), Expect::Grpc(16)),
    ));
    attacks.push(attack(
        "raw",
        "gRPC by a stranger, on HTTP/1.1",
        h1(grpc(Request::from_peer(STRANGER)), Expect::Grpc(16)),
    ));
    let page = Request::proxied()
        .target("/<script>alert(1)</script>?<script>alert(2)</script>")
        .all(&[("accept", "text/html"), ("referer", "https://evil.example/<script>alert(3)</script>")])
        .header("x-forwarded-user", "<script>alert(4)</script>");
    attacks.push(attack(
        "raw",
        "markup in path, query, referrer and user of a refused navigation",
        h1(page, refused("trusted_proxy_user_not_allowed")),
    ));
    Family {
        name: "Methods and meta headers",
        about: "What a server, a framework or Envoy itself may obey. A request without a trusted identity stays refused with \
            any other header, and an anonymous path stays that path.",
        attacks,
    }
}
