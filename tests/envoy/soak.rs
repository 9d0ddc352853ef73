//! One VM for a long time: many requests of every kind while its policy is replaced again and again. `make soak` does
//! the same with a real Envoy for minutes; here the size of the module's memory is known exactly.

use std::time::Duration;

use harness::vectors::Outcome;
use harness::wasm::{Host, Request};
use serde_json::{Value, json};

/// Requests in all, after the warm-up.
const REQUESTS: usize = 20_000;
/// The number of requests per policy.
const PER_POLICY: usize = 100;

/// Policies of very different sizes; the users show which one decided.
fn policy(turn: usize) -> Value {
    let user = format!("user{}@example.com", turn % 2);
    let few = turn.is_multiple_of(2);
    let users: Vec<String> = (0..if few { 1 } else { 500 }).map(|other| format!("other{other}@example.com")).collect();
    let proxies: Vec<String> =
        (0..if few { 1 } else { 500 }).map(|n| format!("172.{}.{}.0/24", 16 + n / 256, n % 256)).collect();
    json!({
        "gateway": {
            "trustedProxies": ([proxies, vec!["10.0.0.0/8".to_owned()]].concat()),
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user",
                "requiredHeaders": ["x-edge"],
                "allowUsers": ([users, vec![user, "both@example.com".to_owned()]].concat()),
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": {"upstreamUserHeader": format!("x-user-{turn}"), "anonymousPaths": ["/health", "/static/*"]},
    })
}

/// The kinds of requests, and whether they pass under the policy of this turn.
fn requests(turn: usize) -> Vec<(Request, bool)> {
    let edge = |request: Request| request.header("x-forwarded-for", "203.0.113.9").header("x-edge", "1");
    let user = |request: Request, name: &str| edge(request).header("x-forwarded-user", name);
    let even = turn.is_multiple_of(2);
    let mut all = vec![
        (user(Request::get("/tools/invoke"), "both@example.com"), true),
        (user(Request::get("/plugin/x?y=1"), "both@example.com").header("x-openclaw-scopes", "operator.read,x"), true),
        (user(Request::get("/"), "user0@example.com"), even),
        (user(Request::get("/"), "user1@example.com"), !even),
        (user(Request::upgrade("/"), "both@example.com"), true),
        (user(Request::upgrade("/"), "nobody@example.com").header("sec-websocket-protocol", "a, b"), false),
        (user(Request::get("/"), "both@example.com").header("origin", "https://evil.example"), false),
        (
            user(Request::get("/"), "both@example.com")
                .header("x_forwarded_user", "root")
                .header("x-webauth-user", "root"),
            true,
        ),
        (user(Request::new("POST", "/"), "nobody@example.com").header("cookie", "c".repeat(5000)), false),
        (edge(Request::get("/")).header("accept", "text/html"), false),
        (Request::get("/health").header("x-forwarded-user", "root"), true),
        (Request::get("/static/app.js").header("tailscale-user-login", "root"), true),
        (user(Request::get("/"), "both@example.com").peer("192.0.2.1:40000"), false),
        (user(Request::get("/"), "both@example.com").peer("10.0.0.1:0"), false),
        (user(Request::get("/"), "x").set("x-forwarded-user", b"\xff\xfe@\x80"), false),
        (user(Request::get("/"), "both@example.com").header("x-forwarded-user", "both@example.com"), false),
        (edge(Request::get("/")).raw_map(b"\x05\0\0\0no map".to_vec()), false),
        (edge(Request::get("/")).raw_map(Vec::new()), false),
    ];
    let crowd = (0..90).fold(user(Request::get("/"), "both@example.com"), |request, n| {
        request.header(&format!("x-auth-request-{n}"), "v")
    });
    all.push((crowd, true));
    all
}

fn passed(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Admitted { .. } => true,
        Outcome::Refused { .. } | Outcome::Closed { code: 1008, .. } => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_memory_of_a_vm_does_not_grow_with_requests_and_policies() {
    let mut host = Host::configured(&policy(0));
    let mut root = 1;
    let (mut sent, mut turn) = (0, 0);
    // Both kinds of policies, each loaded, replaced and loaded again: from then on the memory must suffice.
    let warm_up = 10;
    let mut warm = 0;
    while turn < warm_up + REQUESTS / PER_POLICY {
        turn += 1;
        // Like Envoy: the new policy gets its own root context next to the old one, whose streams end later.
        let running = host.open_under(root, &requests(turn - 1)[0].0);
        let refused = host.add_root();
        assert!(!host.configure_root(refused, b"{\"filter\": {\"surprise\": 1}}"));
        host.remove_root(refused);
        let next = host.add_root();
        assert!(host.configure_root(next, policy(turn).to_string().as_bytes()));
        host.request_headers(running);
        let old = host.finish(running);
        assert_eq!(old.values(&format!("x-user-{}", turn - 1)), ["both@example.com"]);
        host.remove_root(root);
        root = next;

        for (request, expected) in requests(turn).iter().cycle().take(PER_POLICY) {
            let outcome = host.send_under(root, request).outcome();
            assert_eq!(passed(&outcome), *expected, "policy {turn}, {request:?}: {outcome:?}");
            host.take_calls();
            sent += 1;
        }
        host.advance(Duration::from_millis(300));
        host.take_logs();
        if turn == warm_up {
            (warm, sent) = (host.memory_bytes(), 0);
        }
    }
    assert!(sent >= REQUESTS, "{sent}");
    assert!(warm > 0 && host.memory_bytes() == warm, "{warm} bytes, then {}", host.memory_bytes());
}
