//! A host that answers with errors, a host that lies, and bytes that are not a request. In every case, nothing traps
//! (the host here fails the test on a trap), and no request is forwarded in a form in which an honest host would not
//! have forwarded it.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness::vectors::Outcome;
use harness::wasm::{Action, Exchange, Host, Request, Status, serialize_map};
use serde_json::{Value, json};

use crate::{MAP, PROPERTY, REPLY, config, filter, nameless, once, signed};

/// Calls that pass data to the module. If one answers `Ok` but passes nothing, the module can detect it.
const READS: [&str; 4] = [PROPERTY, MAP, "proxy_get_buffer_bytes", "proxy_get_current_time_nanoseconds"];

/// Requests that together make every host call that the filter uses, each with its configuration.
fn requests() -> Vec<(&'static str, Value, Request)> {
    let basic = || config(json!({}));
    let delegate = || filter(json!({"webSocketRefusal": "delegate"}));
    let anonymous = || filter(json!({"anonymousPaths": ["/health", "ws:/hook"]}));
    let forged = |request: Request| {
        request
            .header("x-forwarded-email", "eve")
            .header("x_forwarded_user", "eve")
            .header("x-openclaw-scopes", "operator.read,root")
    };
    let h2 = |request: Request| request.without("sec-websocket-key").property(&["request", "protocol"], "HTTP/2");
    let padded = signed(Request::get("/")).set("x-forwarded-user", " nick ");
    let renamed = filter(json!({"upstreamUserHeader": "x-remote", "rejectSameHost": true}));
    let elsewhere = signed(Request::get("/")).property(&["destination", "address"], "10.0.0.2:80");
    let state = filter(json!({"peerAddress": {"filterState": "lab.peer"}}));
    vec![
        ("admitted", basic(), signed(Request::get("/"))),
        ("admitted with much to write", basic(), forged(padded)),
        ("admitted under another name", renamed, forged(elsewhere)),
        (
            "admitted by filter state",
            state,
            forged(signed(Request::get("/"))).property(&["filter_state", "lab.peer"], "10.0.0.1"),
        ),
        (
            "admitted with what was stamped",
            filter(json!({"stampedFilterState": true})),
            forged(signed(Request::get("/"))),
        ),
        (
            "admitted WebSocket",
            basic(),
            forged(signed(Request::upgrade("/"))).set("connection", "Upgrade, X-Forwarded-User"),
        ),
        ("admitted WebSocket over HTTP/2", basic(), forged(h2(signed(Request::upgrade("/"))))),
        ("anonymous", anonymous(), forged(signed(Request::get("/health")))),
        ("anonymous WebSocket", anonymous(), forged(signed(Request::upgrade("/hook")))),
        ("refused", basic(), forged(nameless(Request::get("/")))),
        ("refused with a user", basic(), forged(signed(Request::get("/"))).header("origin", "https://evil.example")),
        ("refused by attribution", basic(), forged(signed(Request::get("/"))).without("x-forwarded-for")),
        ("refused WebSocket", basic(), forged(nameless(Request::upgrade("/")))),
        ("refused WebSocket over HTTP/2", basic(), forged(h2(nameless(Request::upgrade("/"))))),
        ("delegated", delegate(), forged(nameless(Request::upgrade("/")))),
        ("delegated over HTTP/2", delegate(), forged(h2(nameless(Request::upgrade("/"))))),
    ]
}

/// An outcome with a valid handshake key replaced by a fixed one, because the filter generates a new key each time.
fn comparable(exchange: &Exchange) -> Outcome {
    let mut outcome = exchange.outcome();
    if let Outcome::Admitted { upstream } = &mut outcome {
        for (_, key) in upstream.iter_mut().filter(|(name, _)| name == "sec-websocket-key") {
            assert_eq!(BASE64.decode(&*key).unwrap().len(), 16, "{key:?}");
            *key = b"a valid key".to_vec();
        }
    }
    outcome
}

/// Whether an outcome equals an honest host's, or is a refusal. No response at all is only right if the host did not
/// let the filter send one.
fn safe(honest: &Exchange, seen: &Exchange, failing: &str) -> bool {
    // If a host hides the protocol, a handshake may be forwarded without a key; the Gateway then refuses it.
    let keyless = |headers: &[(String, Vec<u8>)]| -> Vec<_> {
        headers.iter().filter(|(name, _)| name != "sec-websocket-key").cloned().collect()
    };
    match seen.outcome() {
        Outcome::Admitted { upstream } => {
            honest.action == Action::Continue && keyless(&upstream) == keyless(&honest.headers)
        }
        Outcome::Refused { status: 401 | 403, .. } | Outcome::Closed { code: 1008, .. } => true,
        _ => seen.action == Action::Pause && failing == REPLY,
    }
}

#[test]
fn whatever_a_host_call_answers_nothing_traps_and_nothing_goes_on_half_scrubbed() {
    let mut cells = 0;
    let mut calls = BTreeSet::new();
    for (what, config, request) in requests() {
        let mut host = Host::configured(&config);
        host.in_case(format!("{what}, honest"));
        let honest = host.send(&request);
        let made: BTreeSet<_> = honest.calls.iter().map(|call| call.name).collect();
        for name in made {
            calls.insert(name);
            let times = honest.count(name);
            let statuses = Status::ERRORS.into_iter().chain(READS.contains(&name).then_some(Status::Ok));
            for status in statuses {
                // Once for all calls of that name, then for each call alone.
                for nth in 0..=if times > 1 { times } else { 0 } {
                    // A minute apart, so that the rate limit on log lines does not change the calls.
                    host.advance(Duration::from_secs(60));
                    let case = format!("{what}: {name} answers {status:?}, nth {nth}");
                    host.in_case(&case);
                    match nth {
                        0 => host.answer(name, status),
                        nth => host.answer_nth(name, nth, status),
                    }
                    let seen = host.send(&request);
                    assert!(safe(&honest, &seen, name), "{case}: {:?}\n{:?}", seen.outcome(), seen.calls);
                    host.answer_honestly();
                    host.advance(Duration::from_secs(60));
                    let after = host.send(&request);
                    assert_eq!(comparable(&after), comparable(&honest), "after {case}");
                    cells += 1;
                }
            }
        }
    }
    println!("{cells} faults in {} host calls: {calls:?}", calls.len());
    // If the filter stopped making these calls, the matrix would not test anything.
    for name in [PROPERTY, MAP, REPLY, crate::REPLACE, crate::REMOVE, crate::COUNT, "proxy_log", "proxy_set_property"] {
        assert!(calls.contains(name), "no request makes {name}");
    }
}

#[test]
fn after_any_host_error_at_start_the_module_works_or_refuses() {
    let good = config(json!({})).to_string();
    let (admitted, refused) = (signed(Request::get("/")), nameless(Request::get("/")));
    let mut honest = Host::configured(&config(json!({})));
    let calls: BTreeSet<_> = honest.calls().iter().map(|call| call.name).collect();
    assert!(calls.contains("proxy_get_buffer_bytes") && calls.contains("proxy_define_metric"), "{calls:?}");
    let (honest_admitted, honest_refused) = (honest.send(&admitted), honest.send(&refused));
    for name in calls {
        for status in Status::ERRORS.into_iter().chain(READS.contains(&name).then_some(Status::Ok)) {
            let mut host = Host::answering(&[(name, status)]);
            host.in_case(format!("{name} answers {status:?} at start"));
            let configured = host.configure(good.as_bytes());
            assert!(!configured || name != "proxy_get_buffer_bytes", "{name} {status:?}: configured without data");
            for still_failing in [true, false] {
                if !still_failing {
                    host.answer_honestly();
                }
                for (request, honest) in [(&admitted, &honest_admitted), (&refused, &honest_refused)] {
                    let seen = host.send(request);
                    assert!(safe(honest, &seen, name), "{name} {status:?}: {:?}", seen.outcome());
                    assert!(
                        configured || seen.action == Action::Pause,
                        "{name} {status:?}: let through without a policy"
                    );
                }
                host.tick();
            }
            assert!(host.configure(good.as_bytes()), "{name} {status:?}: does not recover");
            assert_eq!(comparable(&host.send(&admitted)), comparable(&honest_admitted), "{name} {status:?}");
        }
    }
}

#[test]
fn a_buffer_that_is_announced_and_null_is_none() {
    let good = config(json!({})).to_string();
    let request = signed(Request::get("/"));
    let mut host = Host::configured(&config(json!({})));
    let before = host.memory_bytes();
    for _ in 0..100 {
        host.hand_over_null();
        host.take_logs();
        assert!(!host.configure(good.as_bytes()), "configured without data");
        let logs = host.take_logs();
        assert!(logs.iter().any(|log| log.text.contains("configuration: is empty")), "no such log line: {logs:?}");
        assert!(matches!(host.send(&request).outcome(), Outcome::Refused { status: 401, .. }));
        host.answer_honestly();
        assert_eq!(host.send(&request).action, Action::Continue);
    }
    assert_eq!(host.memory_bytes(), before);
}

#[test]
fn a_flood_is_refused_whatever_clock_timer_and_log_answer() {
    for name in ["proxy_get_current_time_nanoseconds", "proxy_set_tick_period_milliseconds", "proxy_log"] {
        for status in Status::ERRORS {
            let mut host = Host::configured(&config(json!({})));
            host.in_case(format!("{name} answers {status:?} in a flood"));
            host.answer(name, status);
            for _ in 0..30 {
                let outcome = host.send(&nameless(Request::get("/"))).outcome();
                assert!(matches!(outcome, Outcome::Refused { status: 401, .. }), "{name} {status:?}: {outcome:?}");
            }
            host.tick();
            assert!(
                host.calls().iter().any(|call| call.name == name && call.status == status),
                "{name} was not called"
            );
        }
    }
}

/// Runs a request with these bytes as its header map; it must be refused.
fn assert_unreadable(host: &mut Host, what: &str, request: &Request, map: Vec<u8>) {
    host.in_case(what);
    let exchange = host.send(&request.clone().raw_map(map));
    let refused =
        matches!(exchange.outcome(), Outcome::Refused { status: 401 | 403, .. } | Outcome::Closed { code: 1008, .. });
    assert!(refused, "{what}: {:?}", exchange.outcome());
}

#[test]
fn a_header_map_that_is_cut_or_inconsistent_is_refused() {
    for request in [signed(Request::get("/")), signed(Request::upgrade("/")), signed(Request::get("/health"))] {
        let mut host = Host::configured(&config(json!({})));
        let map = serialize_map(&request.headers);
        assert_eq!(host.send(&request.clone().raw_map(map.clone())).action, Action::Continue, "the whole map is good");
        for length in 0..map.len() {
            assert_unreadable(&mut host, &format!("a prefix of {length}"), &request, map[..length].to_vec());
        }
        assert_unreadable(&mut host, "a trailing byte", &request, [map.as_slice(), b"\0"].concat());
        let count = request.headers.len();
        let with = |at: usize, number: u32| {
            let mut map = map.clone();
            map[at..at + 4].copy_from_slice(&number.to_le_bytes());
            map
        };
        let count = u32::try_from(count).unwrap();
        for wrong in [
            0,
            1,
            count - 1,
            count + 1,
            2 * count,
            0x1000_0000,
            0x1FFF_FFFF,
            0x2000_0000,
            0x7FFF_FFFF,
            0x8000_0000,
            u32::MAX,
        ] {
            assert_unreadable(&mut host, &format!("a count of {wrong}"), &request, with(0, wrong));
        }
        for length in 0..2 * count {
            let at = 4 + 4 * usize::try_from(length).unwrap();
            let right = u32::from_le_bytes(map[at..at + 4].try_into().unwrap());
            for wrong in
                [right.wrapping_sub(1), right + 1, right + 0x100, 0x7FFF_FFFF, 0x8000_0000, u32::MAX - 3, u32::MAX]
            {
                assert_unreadable(&mut host, &format!("length {length} is {wrong:#x}"), &request, with(at, wrong));
            }
        }
    }
}

#[test]
fn lengths_that_only_add_up_after_an_overflow_are_refused() {
    let mut host = Host::configured(&config(json!({})));
    // Each sum of lengths and NULs is correct modulo 2³².
    for lengths in [[u32::MAX, 0], [0, u32::MAX], [0x8000_0000, 0x7FFF_FFFE], [u32::MAX - 1, 0], [0xFFFF_FFF0, 0x0E]] {
        let mut map = 1u32.to_le_bytes().to_vec();
        lengths.iter().for_each(|length| map.extend(length.to_le_bytes()));
        for tail in [&b""[..], b"\0", b"\0\0", b"x\0y\0"] {
            let map = [map.as_slice(), tail].concat();
            assert_unreadable(&mut host, &format!("{lengths:?} and {tail:?}"), &signed(Request::get("/")), map);
        }
    }
}

#[test]
fn a_map_without_a_path_or_a_method_is_not_let_through() {
    let mut host = Host::configured(&config(json!({})));
    let mut empty = Request::get("/health");
    empty.headers.clear();
    for request in [signed(Request::get("/health")).without(":path"), empty] {
        let exchange = host.send(&request);
        let anonymous = exchange.action == Action::Continue && exchange.values("x-forwarded-user").is_empty();
        assert!(!anonymous, "a request without a path does not match an anonymous path");
        if exchange.action == Action::Continue {
            assert_eq!(exchange.values("x-openclaw-scopes"), ["operator.write"]);
        }
    }
}

#[test]
fn unreadable_properties_are_refused_and_never_trap() {
    let mut host = Host::configured(&config(json!({})));
    let long = b"1".repeat(100_000);
    #[rustfmt::skip]
    let values: [&[u8]; 16] = [
        b"", b":", b"[", b"]", b"[]", b"[]:", b"[:1", b":1", b"10.0.0.1:", b"10.0.0.1:-1", b"10.0.0.1:+1", b"010.0.0.1:1",
        b"10.0.0.1:1:1", b"10.0.0.1\0:1", b"\xff\xfe\xfd:1", &long,
    ];
    for value in values {
        let request = signed(Request::get("/")).property(&["source", "address"], value);
        let shown = value.escape_ascii().to_string();
        host.in_case(&shown[..shown.len().min(60)]);
        let exchange = host.send(&request);
        assert!(
            matches!(exchange.outcome(), Outcome::Refused { status: 401, .. }),
            "{shown}: {:?}",
            exchange.outcome()
        );
    }
    for protocol in [&b""[..], b"\xff", &long] {
        let request = nameless(Request::upgrade("/")).property(&["request", "protocol"], protocol);
        assert_ne!(host.send(&request).action, Action::Continue);
    }
}

/// A pseudo-random generator with the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.roll(from.len())]
    }
}

#[test]
fn thousands_of_odd_requests_neither_trap_nor_gain_an_identity() {
    #[rustfmt::skip]
    const NAMES: [&str; 22] = [
        "x-forwarded-user", "x-forwarded-user", "x_forwarded_user", "X-Forwarded-User", "x.forwarded.user", "x-openclaw-scopes", "x_openclaw_scopes",
        "x-forwarded-for", "x-real-ip", "origin", "host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version",
        "sec-websocket-protocol", "x-forwarded-email", "tailscale-user-login", "accept", ":path", ":authority", "",
    ];
    #[rustfmt::skip]
    const VALUES: [&[u8]; 26] = [
        b"", b" ", b"\xa0", b"nick@example.com", b"eve", b"\xff\xfe", b"a,b", b",", b"\"", b"\\", b"\0", b"\r\n", b"operator.admin", b"operator.write, operator.read",
        b"203.0.113.9", b"10.0.0.1", b"[::1]:80", b"[", b"https://claw.example.com", b"null", b"websocket", b"Upgrade, x-forwarded-user",
        b"dGhlIHNhbXBsZSBub25jZQ==", b"13", b"/tools/invoke", b"/health",
    ];
    let config = config(
        json!({"gateway": {"controlUi": {"allowedOrigins": ["https://claw.example.com"]}, "allowRealIpFallback": true,
        "auth": {"trustedProxy": {"allowUsers": ["nick@example.com"]}}}}),
    );
    let mut host = Host::configured(&config);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut seen = [0; 3];
    for round in 0..6000 {
        let mut request = match dice.roll(5) {
            0 | 1 => Request::upgrade("/"),
            2 => Request::get("/health"),
            _ => Request::get("/tools/invoke"),
        };
        if dice.roll(4) > 0 {
            request = signed(request);
        }
        for _ in 0..dice.roll(5) {
            let name = NAMES[dice.roll(NAMES.len())];
            let mut value = dice.pick(&VALUES).to_vec();
            if dice.roll(3) == 0 {
                value.extend_from_slice(dice.pick(&VALUES));
            }
            // Straight into the map: not everything here could come through Envoy.
            let at = dice.roll(request.headers.len() + 1);
            request.headers.insert(at, (name.to_owned(), value));
        }
        host.in_case(format!("round {round}: {request:?}"));
        let exchange = host.send(&request);
        match exchange.outcome() {
            Outcome::Admitted { upstream } => {
                let anonymous = exchange.values("x-forwarded-user").is_empty();
                seen[usize::from(anonymous)] += 1;
                if !anonymous {
                    assert_eq!(exchange.values("x-forwarded-user"), ["nick@example.com"], "{request:?}");
                }
                // For the host, names that differ in case are the same, so the remaining one may keep its original
                // spelling.
                let stays = ["x-forwarded-user", "x-openclaw-scopes"];
                let managed = [&stays[..], &["x-forwarded-email", "tailscale-user-login"]].concat();
                let names = upstream.iter().map(|(name, _)| name.to_ascii_lowercase());
                let left: Vec<_> = names
                    .filter(|name| !stays.contains(&name.as_str()))
                    .filter(|name| managed.contains(&name.replace(['_', '.'], "-").as_str()))
                    .collect();
                assert!(left.is_empty(), "{left:?} of {request:?}");
                assert!(exchange.values("x-openclaw-scopes").len() <= 1, "{request:?}");
            }
            Outcome::Refused { status: 401 | 403, .. } | Outcome::Closed { code: 1008, .. } => seen[2] += 1,
            other => panic!("{other:?} for {request:?}"),
        }
    }
    println!("admitted, anonymous, refused: {seen:?}");
    assert!(seen.iter().all(|count| *count > 20), "the cases are unbalanced: {seen:?}");
}

#[test]
fn bytes_that_are_no_text_in_any_header_do_no_harm() {
    let base = || {
        signed(Request::upgrade("/"))
            .header("origin", "https://claw.example.com")
            .header("sec-websocket-protocol", "chat")
    };
    let names: Vec<_> = base().headers.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        for refuse in [false, true] {
            let request = base().set(&name, b"\xff\xc3\x28\x80");
            let request = if refuse { request.without("x-forwarded-for") } else { request };
            let exchange = once(&config(json!({})), &request);
            assert!(!matches!(exchange.outcome(), Outcome::Other(_)), "{name}: {:?}", exchange.outcome());
        }
    }
}
