//! The cost of a decision, counted rather than timed: host calls and instructions of the module for a fixed set of
//! requests, the module's exports, and its size. A change that moves a number also updates `tests/data/cost.txt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use harness::wasm::{Call, Exchange, Host, Request, exports, module_path};
use model::breaks;
use serde_json::{Value, json};

use crate::{config, identity};

/// The headers that a browser or a client behind a proxy sends in addition to those that the rules read.
fn usual(request: Request) -> Request {
    let proxied = [
        ("x-forwarded-for", "203.0.113.7,10.0.0.1"),
        ("x-forwarded-user", "nick@example.com"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "claw.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
        ),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("cookie", "_oauth2_proxy=R2F0ZXdheUdhdGV3YXlHYXRld2F5R2F0ZXdheUdhdGV3YXlHYXRld2F5R2F0ZXdheQ"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("x-request-id", "6a7c8b9d-1111-4222-8333-444455556666"),
    ];
    proxied.into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn policy() -> Value {
    let mut policy = identity(json!({
        "allowUsers": ["nick@example.com", "amelia@example.com"],
        "requiredHeaders": ["x-forwarded-proto", "x-forwarded-host"],
    }));
    policy["gateway"]["controlUi"] = json!({"allowedOrigins": ["https://claw.example.com"]});
    policy
}

/// The requests, and the number of headers in a crowded one.
fn requests() -> Vec<(&'static str, Request)> {
    let get = || usual(Request::get("/tools/invoke"));
    let with_origin = || get().header("origin", "https://claw.example.com");
    let broken = |mut request: Request, code| {
        let how = breaks::of(code);
        how.changes.iter().for_each(|change| change.headers(&mut request.headers));
        how.peer().map_or(request.clone(), |peer| request.peer(peer))
    };
    let crowded =
        (0..80).fold(get(), |request, n| request.header(&format!("x-foreign-{n}"), "a value of usual length"));
    vec![
        ("admitted", get()),
        ("admitted, stamped already", get().header("x-openclaw-scopes", "operator.read")),
        ("admitted, with an origin", with_origin()),
        ("admitted, with an alias to scrub", get().header("x_forwarded_user", "eve")),
        ("admitted, 80 headers more", crowded),
        ("admitted WebSocket", usual(Request::upgrade("/"))),
        ("anonymous", usual(Request::get("/health"))),
        ("refused: peer unknown", broken(get(), "trusted_proxy_peer_unknown")),
        ("refused: peer unverified", broken(get(), "trusted_proxy_peer_unverified")),
        ("refused: untrusted source", broken(get(), "trusted_proxy_untrusted_source")),
        ("refused: no attribution", broken(get(), "proxy_attribution_required")),
        ("refused: missing header", broken(get(), "trusted_proxy_missing_header_X-Forwarded-Host")),
        ("refused: no user", broken(get(), "trusted_proxy_user_missing")),
        ("refused: repeated user", broken(get(), "trusted_proxy_user_repeated")),
        ("refused: user not allowed", broken(get(), "trusted_proxy_user_not_allowed")),
        ("refused: origin", broken(with_origin(), "trusted_proxy_origin_not_allowed")),
        ("refused: a page for a browser", get().set("accept", "text/html").without("x-forwarded-user")),
        ("refused: malformed headers", get().raw_map(*b"\xFF\xFF\xFF\xFF")),
        ("refused WebSocket", usual(Request::upgrade("/")).without("x-forwarded-user")),
    ]
}

/// One line of the snapshot: host calls by name, then instructions.
fn line(name: &str, made: &[Call], fuel: u64) -> String {
    let mut calls = BTreeMap::<&str, u32>::new();
    for call in made {
        *calls.entry(call.name.trim_start_matches("proxy_")).or_default() += 1;
    }
    let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!("{name}: {fuel} instructions; {}", calls.join(", "))
}

#[test]
fn what_a_decision_costs_is_what_the_snapshot_says() {
    let file = harness::envoy::root().join("tests/data/cost.txt");
    let mut host = Host::configured(&policy());
    let mut text = String::from(
        "# Written by `COST=write cargo test -p openclaw-trusted-proxy-tests --test module cost`. A change that moves a number is to be justified in its commit.\n",
    );
    for (name, request) in requests() {
        // The first request of a kind may define metrics that later ones reuse.
        host.send(&request);
        host.advance(std::time::Duration::from_secs(2));
        let exchange = host.send(&request);
        writeln!(text, "{}", line(name, &exchange.calls, exchange.fuel)).unwrap();
    }
    let mut leaving = policy();
    leaving["filter"]["stampedFilterState"] = json!(true);
    let mut other = Host::configured(&leaving);
    other.send(&usual(Request::get("/tools/invoke")));
    let exchange = other.send(&usual(Request::get("/tools/invoke")));
    writeln!(text, "{}", line("admitted, with stampedFilterState", &exchange.calls, exchange.fuel)).unwrap();
    // During a flood most refusals are not logged.
    let flood = usual(Request::get("/tools/invoke")).peer("192.0.2.1:1");
    let last = (0..10).map(|_| host.send(&flood)).last().unwrap();
    writeln!(text, "{}", line("refused: untrusted source, in a flood", &last.calls, last.fuel)).unwrap();
    text.push_str(&recheck());
    writeln!(text, "exports: {}", exports().join(" ")).unwrap();
    if std::env::var_os("COST").is_some_and(|what| what == "write") {
        std::fs::write(&file, &text).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap();
    for (known, now) in known.lines().zip(text.lines()) {
        assert_eq!(now, known, "tests/data/cost.txt says otherwise; COST=write updates it");
    }
    assert_eq!(known.lines().count(), text.lines().count());
}

/// Lines for the timer of a plugin with a hundred open sockets: when all of them are decided again, and when none is.
fn recheck() -> String {
    let mut host = Host::configured(&policy());
    for _ in 0..100 {
        let id = host.open(&usual(Request::upgrade("/")));
        host.request_headers(id);
    }
    host.tick();
    let mut edited = policy();
    edited["filter"]["stripHeaders"] = json!(["x-nobody"]);
    assert!(host.configure(edited.to_string().as_bytes()));
    let mut text = String::new();
    for name in ["a hundred open sockets, decided again", "a hundred open sockets, nothing to decide"] {
        host.take_calls();
        host.tick();
        let calls = host.take_calls();
        writeln!(text, "{}", line(name, &calls, host.fuel())).unwrap();
    }
    text
}

#[test]
fn a_refusal_reads_no_more_than_a_permit_and_skips_bodies() {
    let mut host = Host::configured(&policy());
    let reads =
        |exchange: &Exchange| exchange.count("proxy_get_header_map_pairs") + exchange.count("proxy_get_buffer_bytes");
    for (name, request) in requests() {
        let exchange = host.send(&request);
        assert_eq!(reads(&exchange), 1, "{name}");
        assert!(exchange.count("proxy_increment_metric") <= 1, "{name}: counters cost one call");
    }
    // Envoy only enters the VM for callbacks that are exported. There are none for bodies, WebSocket frames,
    // responses and trailers.
    for callback in ["body", "trailers", "response", "data", "done", "log"] {
        assert!(!exports().iter().any(|name| name.starts_with("proxy_on_") && name.contains(callback)), "{callback}");
    }
}

#[test]
fn the_module_is_no_larger_than_it_was() {
    const LIMIT: usize = 480 * 1024;
    let size = std::fs::read(module_path()).unwrap().len();
    assert!(size <= LIMIT, "{size} bytes; the limit is {LIMIT}");
    assert!(Host::configured(&config(json!({}))).memory_bytes() <= 2 * 1024 * 1024);
}
