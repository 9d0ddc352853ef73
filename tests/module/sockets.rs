//! Open sockets follow the policy: what the release module closes, when, and what it costs.

use std::time::Duration;

use harness::wasm::{Action, Host, Level, Request, Status, metadata};
use serde_json::{Value, json};

use crate::{config, filter, identity, signed};

const ALL: &[&str] = &["nick@example.com", "mary@example.com"];
const NICK: &[&str] = &["nick@example.com"];
const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";

fn users(users: &[&str]) -> Value {
    identity(json!({"allowUsers": users}))
}

fn handshake(user: &str) -> Request {
    signed(Request::upgrade("/?token=s3cr3t")).set("x-forwarded-user", user)
}

/// Opens a socket under a plugin.
fn open(host: &mut Host, root: u32, request: &Request) -> u32 {
    let id = host.open_under(root, request);
    assert_eq!(host.request_headers(id), Action::Continue, "the socket opens");
    id
}

fn configure(host: &mut Host, root: u32, policy: &Value) {
    assert!(host.configure_root(root, policy.to_string().as_bytes()), "{policy}");
}

/// Adds a plugin with this policy, as Envoy does for an edit.
fn edit(host: &mut Host, policy: &Value) -> u32 {
    let root = host.add_root();
    configure(host, root, policy);
    root
}

/// How many sockets were closed, or would have been, for a reason.
fn count(host: &Host, result: &str, reason: &str) -> u64 {
    host.metric(&format!("openclaw_trusted_proxy.sockets.result={result}.reason={reason}")).expect("the counter exists")
}

fn gauge(host: &Host) -> u64 {
    host.metric("openclaw_trusted_proxy.open_sockets").expect("the gauge exists")
}

#[test]
fn an_edit_closes_who_lost_the_right_and_nobody_else() {
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    let (nick, mary) = (open(&mut host, old, &handshake(ALL[0])), open(&mut host, old, &handshake(ALL[1])));
    host.tick_root(old);
    assert_eq!((gauge(&host), host.tick_period_of(old)), (2, Duration::from_secs(1)));

    edit(&mut host, &users(NICK));
    host.tick_root(old);
    assert_eq!((host.is_closed(nick), host.is_closed(mary)), (false, true));
    assert_eq!((count(&host, "closed", NOT_ALLOWED), gauge(&host)), (1, 1));
    let line = host.logs().iter().rfind(|log| log.level == Level::Warn).unwrap();
    assert_eq!(
        line.text,
        "openclaw-trusted-proxy: closed a socket reason=trusted_proxy_user_not_allowed peer=10.0.0.1:40000 path=/ age=0s \
         user=\"mary@example.com\""
    );

    // The next edit concerns nobody, and the one after that is rejected.
    edit(&mut host, &identity(json!({"allowUsers": ["nick@example.com", "somebody@else.org"]})));
    host.tick_root(old);
    let rejected = host.add_root();
    assert!(!host.configure_root(rejected, b"{}"));
    host.tick_root(old);
    assert!(!host.is_closed(nick));
    assert_eq!(host.metrics().iter().filter(|(name, _)| name.contains(".sockets.")).count(), 1);
    // A socket that ends by itself is noticed.
    host.finish(nick);
    host.tick_root(old);
    assert_eq!((gauge(&host), host.tick_period_of(old).as_secs()), (0, 60));
}

#[test]
fn a_plugin_that_is_configured_again_decides_its_own_sockets() {
    let mut host = Host::configured(&users(ALL));
    let mary = open(&mut host, 1, &handshake(ALL[1]));
    configure(&mut host, 1, &users(NICK));
    host.tick();
    assert!(host.is_closed(mary));
}

#[test]
fn policies_with_different_names_leave_each_others_sockets_alone() {
    let mut host = Host::new();
    let (one, other) = (host.add_root(), host.add_root());
    host.name_root(one, "one");
    host.name_root(other, "other");
    configure(&mut host, one, &users(ALL));
    let mary = open(&mut host, one, &handshake(ALL[1]));
    configure(&mut host, other, &users(NICK));
    host.tick_root(one);
    assert!(!host.is_closed(mary));
    let next = host.add_root();
    host.name_root(next, "one");
    configure(&mut host, next, &users(NICK));
    host.tick_root(one);
    assert!(host.is_closed(mary));
}

#[test]
fn report_mode_closes_nothing_and_counts_each_socket_once_for_each_edit() {
    let report = |users: &[&str]| {
        let mut policy = identity(json!({"allowUsers": users}));
        policy["filter"] = json!({"mode": "report"});
        policy
    };
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    let mary = open(&mut host, old, &handshake(ALL[1]));
    edit(&mut host, &report(NICK));
    (0..3).for_each(|_| host.tick_root(old));
    assert_eq!((host.is_closed(mary), count(&host, "would_close", NOT_ALLOWED)), (false, 1));
    assert!(
        host.logs().iter().any(|log| log.text.contains("would close a socket reason=trusted_proxy_user_not_allowed"))
    );
    let reporting = edit(&mut host, &report(&["root@example.com"]));
    host.tick_root(old);
    assert_eq!(count(&host, "would_close", NOT_ALLOWED), 2);

    // What passed in report mode alone does not stay when it is enforced.
    let eve = open(&mut host, reporting, &handshake("eve@example.com"));
    edit(&mut host, &users(&["mary@example.com"]));
    host.tick_root(old);
    host.tick_root(reporting);
    assert_eq!((host.is_closed(mary), host.is_closed(eve)), (false, true));
    assert_eq!((count(&host, "closed", NOT_ALLOWED), gauge(&host)), (1, 1));
}

#[test]
fn kept_sockets_survive_an_edit_until_the_setting_ends() {
    let keep = |mut policy: Value| {
        policy["filter"]["openSockets"] = json!("keep");
        policy
    };
    let mut host = Host::new();
    let old = edit(&mut host, &keep(users(ALL)));
    let mary = open(&mut host, old, &handshake(ALL[1]));
    edit(&mut host, &keep(users(NICK)));
    host.tick_root(old);
    assert!(!host.is_closed(mary));
    edit(&mut host, &users(NICK));
    host.tick_root(old);
    assert!(host.is_closed(mary));
}

#[test]
fn a_socket_ends_at_its_age_whatever_the_clock_does() {
    let aged = |age: &str| filter(json!({"socketMaxAge": age}));
    let mut host = Host::configured(&aged("1h"));
    let nick = open(&mut host, 1, &handshake(ALL[0]));
    host.advance(Duration::from_secs(3599));
    host.tick();
    assert!(!host.is_closed(nick));
    host.advance(Duration::from_secs(1));
    host.tick();
    assert_eq!((host.is_closed(nick), count(&host, "closed", "trusted_proxy_socket_max_age")), (true, 1));

    // Those that were opened together are closed in parts.
    let mut host = Host::configured(&aged("1h"));
    let sockets: Vec<u32> = (0..150).map(|_| open(&mut host, 1, &handshake(ALL[0]))).collect();
    host.advance(Duration::from_secs(3600));
    for closed in [100, 150] {
        host.tick();
        assert_eq!(sockets.iter().filter(|id| host.is_closed(**id)).count(), closed);
    }

    // A shorter age counts for sockets that are open already.
    let mut host = Host::configured(&aged("12h"));
    let nick = open(&mut host, 1, &handshake(ALL[0]));
    host.advance(Duration::from_secs(600));
    configure(&mut host, 1, &aged("10m"));
    host.tick();
    assert!(host.is_closed(nick));

    // A clock that is set back starts the age again, so that no socket becomes immortal.
    let mut host = Host::configured(&aged("1h"));
    let nick = open(&mut host, 1, &handshake(ALL[0]));
    host.set_back(Duration::from_secs(86_400));
    host.tick();
    host.advance(Duration::from_secs(3600));
    host.tick();
    assert!(host.is_closed(nick));
}

#[test]
fn a_socket_ends_with_the_assertion_of_its_user() {
    const NOW: u64 = 1_790_000_000;
    const EXPIRED: &str = "trusted_proxy_assertion_expired";
    const PATH: &[&str] = &["metadata", "filter_metadata", "envoy.filters.http.jwt_authn", "payload", "email"];
    let policy = |until: bool| {
        let mut policy = filter(json!({
            "assertion": {"metadata": ["envoy.filters.http.jwt_authn", "payload", "email"], "as": "match"},
        }));
        if until {
            policy["filter"]["socketsUntil"] = json!("assertion");
        }
        policy
    };
    let request = |path: &str, exp: Value| {
        let payload = json!({"email": "nick@example.com", "exp": exp});
        signed(if path == "/" { Request::upgrade("/") } else { Request::get(path) })
            .property(PATH, "nick@example.com")
            .property(&["metadata"], metadata(&json!({"envoy.filters.http.jwt_authn": {"payload": payload}})))
    };
    let mut host = Host::configured(&policy(true));
    let nick = open(&mut host, 1, &request("/", json!(NOW + 10)));
    for (seconds, closed) in [(69, false), (1, true)] {
        host.advance(Duration::from_secs(seconds));
        host.tick();
        assert_eq!(host.is_closed(nick), closed, "{seconds}");
    }
    assert_eq!(count(&host, "closed", EXPIRED), 1);

    // At the handshake, the clock has an edge too, and an end that cannot be read is none.
    let mut host = Host::configured(&policy(true));
    for (exp, passes) in [
        (json!(NOW - 59), true),
        (json!(NOW - 60), false),
        (json!(0), false),
        (json!(-1), false),
        (json!("2030-01-01"), false),
        (json!((NOW + 1000).to_string()), false),
        (json!(1e300), false),
        (Value::Null, false),
        (json!(true), false),
    ] {
        let exchange = host.send(&request("/", exp.clone()));
        let reason = exchange.property("openclaw_trusted_proxy.reason").map(<[u8]>::to_vec);
        assert_eq!(reason, (!passes).then(|| EXPIRED.into()), "{exp}");
        assert_eq!(host.send(&request("/plain", exp)).action, Action::Continue, "a plain request has no such end");
    }

    // Where the key is not set, no end is needed. When it is set, the open sockets have one too.
    let mut host = Host::new();
    let old = edit(&mut host, &policy(false));
    let (without, ended) =
        (open(&mut host, old, &request("/", Value::Null)), open(&mut host, old, &request("/", json!(NOW - 100))));
    let good = open(&mut host, old, &request("/", json!(NOW + 100)));
    host.tick_root(old);
    edit(&mut host, &policy(true));
    host.tick_root(old);
    assert_eq!([without, ended, good].map(|id| host.is_closed(id)), [true, true, false]);

    // Those that wait for their decision meanwhile are not taken for ended.
    let mut host = Host::new();
    let old = edit(&mut host, &policy(false));
    let sockets: Vec<u32> = (0..150).map(|_| open(&mut host, old, &request("/", json!(NOW + 100)))).collect();
    edit(&mut host, &policy(true));
    (0..2).for_each(|_| host.tick_root(old));
    assert!(!sockets.iter().any(|id| host.is_closed(*id)));
}

#[test]
fn many_sockets_are_decided_in_parts_while_requests_go_on() {
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    let sockets: Vec<u32> = (0..250).map(|n| open(&mut host, old, &handshake(ALL[n % 2]))).collect();
    host.tick_root(old);
    edit(&mut host, &users(NICK));
    let closed = |host: &mut Host| sockets.iter().filter(|id| host.is_closed(**id)).count();
    for (closings, milliseconds) in [(50, 10), (100, 10), (125, 1000)] {
        host.take_calls();
        host.tick_root(old);
        assert_eq!((closed(&mut host), host.tick_period_of(old).as_millis()), (closings, milliseconds));
        let calls = host.take_calls();
        let decided = calls.iter().filter(|call| call.name == "proxy_get_property").count();
        assert!(decided <= 2 * 100, "{decided}");
        // A request in between does not slow this down.
        host.send_under(old, &signed(Request::get("/")));
        assert_eq!(host.tick_period_of(old).as_millis(), milliseconds);
    }
    assert_eq!(count(&host, "closed", NOT_ALLOWED), 125);
    let lines = host.logs().iter().filter(|log| log.text.contains("closed a socket")).count();
    assert!(lines <= 6, "{lines} lines");
    host.advance(Duration::from_secs(1));
    host.tick_root(old);
    let text: String = host.logs().iter().map(|log| format!("{log}\n")).collect();
    assert!(text.contains("closed a socket reason=trusted_proxy_user_not_allowed 120 more like this"), "{text}");
}

#[test]
fn a_stream_that_has_just_ended_is_not_closed_again() {
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    let mary = open(&mut host, old, &handshake(ALL[1]));
    edit(&mut host, &users(NICK));
    // Envoy keeps it for a moment. The host panics if it is closed then.
    host.set_property(mary, &["request", "duration"], [0; 8]);
    host.tick_root(old);
    assert_eq!((count(&host, "closed", NOT_ALLOWED), gauge(&host)), (0, 0));
}

#[test]
fn a_host_that_does_not_close_is_asked_again() {
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    let mary = open(&mut host, old, &handshake(ALL[1]));
    edit(&mut host, &users(NICK));
    for status in Status::ERRORS {
        host.answer("proxy_close_stream", status);
        host.tick_root(old);
        assert!(!host.is_closed(mary));
        host.answer_honestly();
    }
    host.tick_root(old);
    assert!(host.is_closed(mary));
}

#[test]
fn facts_that_the_host_no_longer_provides_close_a_socket() {
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    let nick = open(&mut host, old, &handshake(ALL[0]));
    edit(&mut host, &identity(json!({"allowUsers": ["nick@example.com", "x"]})));
    host.answer("proxy_get_property", Status::NotFound);
    host.tick_root(old);
    assert!(host.is_closed(nick));
}

/// A handshake over a connection with this number.
fn over(connection: u64, user: &str) -> Request {
    handshake(user).property(&["connection", "id"], connection.to_le_bytes())
}

#[test]
fn going_back_to_an_earlier_text_counts_from_its_next_request_on_a_new_connection() {
    let mut host = Host::new();
    let first = edit(&mut host, &users(NICK));
    let nick = open(&mut host, first, &over(1, ALL[0]));
    let second = edit(&mut host, &users(ALL));
    let mary = open(&mut host, second, &over(5, ALL[1]));
    let ticks = |host: &mut Host| [first, second].into_iter().for_each(|root| host.tick_root(root));
    ticks(&mut host);
    assert_eq!([nick, mary].map(|id| host.is_closed(id)), [false, false]);

    // Requests over connections that were open before say nothing: a listener that is drained gets such.
    host.send_under(first, &over(2, ALL[0]));
    host.send_under(first, &over(5, ALL[0]));
    ticks(&mut host);
    assert!(!host.is_closed(mary));
    // Envoy uses the first plugin again, and configures nothing.
    host.send_under(first, &over(6, ALL[0]));
    ticks(&mut host);
    assert_eq!([nick, mary].map(|id| host.is_closed(id)), [false, true]);
    // And forth again.
    let nick = open(&mut host, first, &over(7, ALL[0]));
    let mary = open(&mut host, second, &over(8, ALL[1]));
    ticks(&mut host);
    assert_eq!([nick, mary].map(|id| host.is_closed(id)), [false, false]);
}

#[test]
fn if_the_version_in_force_has_ended_the_earlier_one_is_in_force_again() {
    let mut host = Host::new();
    let first = edit(&mut host, &users(ALL));
    let mary = open(&mut host, first, &over(1, ALL[1]));
    let second = edit(&mut host, &filter(json!({"mode": "report"})));
    let eve = open(&mut host, first, &over(2, ALL[1]));
    host.remove_root(second);
    (0..3).for_each(|_| host.tick_root(first));
    assert_eq!([mary, eve].map(|id| host.is_closed(id)), [false, false]);
    assert_eq!(host.metrics().iter().filter(|(name, _)| name.contains(".sockets.")).count(), 0);
}

#[test]
fn two_plugins_with_one_policy_cost_no_more_than_one() {
    let mut host = Host::new();
    let plugins = [edit(&mut host, &users(ALL)), edit(&mut host, &users(ALL))];
    let mary = plugins.map(|root| open(&mut host, root, &over(3, ALL[1])));
    for (turn, root) in plugins.into_iter().cycle().take(6).enumerate() {
        let connection = 10 + turn as u64;
        let exchange = host.send_under(root, &over(connection, ALL[0]));
        assert_eq!(exchange.count("proxy_get_property"), 1, "neither has to show that it is in force");
    }
    edit(&mut host, &users(NICK));
    plugins.into_iter().for_each(|root| host.tick_root(root));
    assert_eq!(mary.map(|id| host.is_closed(id)), [true, true]);
}

#[test]
fn a_socket_that_is_opened_under_an_earlier_version_is_decided_by_the_one_in_force() {
    let mut host = Host::new();
    let first = edit(&mut host, &users(ALL));
    open(&mut host, first, &over(1, ALL[0]));
    edit(&mut host, &users(NICK));
    let mary = open(&mut host, first, &over(1, ALL[1]));
    host.tick_root(first);
    assert!(host.is_closed(mary));
}

#[test]
fn a_new_module_reaches_the_sockets_of_the_old_one() {
    let mut old = Host::configured(&users(ALL));
    let (nick, mary) = (open(&mut old, 1, &over(1, ALL[0])), open(&mut old, 1, &over(2, ALL[1])));
    old.tick();
    let mut new = Host::new();
    new.share_with(&old);
    new.name_root(1, "another policy");
    configure(&mut new, 1, &users(&[]));
    old.tick();
    assert_eq!([nick, mary].map(|id| old.is_closed(id)), [false, false], "another policy");
    let root = edit(&mut new, &users(NICK));
    old.tick();
    assert_eq!([nick, mary].map(|id| old.is_closed(id)), [false, true]);
    // Both modules show what they have together.
    open(&mut new, root, &over(3, ALL[0]));
    new.tick_root(root);
    old.tick();
    assert_eq!((gauge(&old) as i64) + (gauge(&new) as i64), 2);

    // A policy that only the new module can read closes the sockets of the old one.
    let key = [&b"openclaw_trusted_proxy\0"[..], b"text\0\0"].concat();
    let version = [&b"openclaw_trusted_proxy\0"[..], b"version\0\0"].concat();
    old.share(&key, &[&7_u64.to_le_bytes()[..], br#"{"gateway": {}, "filter": {"newKey": 1}}"#].concat());
    old.share(&version, &[7_u64.to_le_bytes(), [0; 8]].concat());
    old.tick();
    assert!(old.is_closed(nick));
    assert_eq!(count(&old, "closed", "trusted_proxy_socket_unclear"), 1);
}

#[test]
fn a_policy_that_is_too_long_to_share_closes_the_sockets_of_the_old_module() {
    let mut old = Host::configured(&users(ALL));
    let nick = open(&mut old, 1, &handshake(ALL[0]));
    let mut new = Host::new();
    new.share_with(&old);
    let many: Vec<String> = (0..50_000).map(|n| format!("user-{n}@example.com")).collect();
    let mut policy = users(ALL);
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"]
        .as_array_mut()
        .unwrap()
        .extend(many.into_iter().map(Value::from));
    assert!(policy.to_string().len() > 1024 * 1024);
    configure(&mut new, 1, &policy);
    old.tick();
    assert!(old.is_closed(nick));
    assert_eq!(count(&old, "closed", "trusted_proxy_socket_unclear"), 1);
    // The new module itself has no such limit.
    let nick = open(&mut new, 1, &handshake(ALL[0]));
    policy["filter"]["stripHeaders"] = json!(["x-nobody"]);
    configure(&mut new, 1, &policy);
    new.tick();
    assert!(!new.is_closed(nick));
}

#[test]
fn the_gauge_forgets_the_sockets_of_a_vm_that_has_ended() {
    let mut old = Host::configured(&users(ALL));
    open(&mut old, 1, &handshake(ALL[0]));
    old.tick();
    let mut new = Host::new();
    new.share_with(&old);
    configure(&mut new, 1, &users(ALL));
    // The counters of a host are its own here. In Envoy they are those of the process.
    let change = |new: &Host| new.metric("openclaw_trusted_proxy.open_sockets").unwrap().cast_signed();
    for (seconds, expected) in [(9, 0), (3, -1), (60, -1)] {
        new.advance(Duration::from_secs(seconds));
        new.tick();
        assert_eq!(change(&new), expected, "after {seconds} s more");
    }
}

#[test]
fn ten_thousand_sockets_fit_into_forty_mebibytes() {
    let mut policy = users(ALL);
    policy["gateway"]["controlUi"] = json!({"allowedOrigins": ["https://claw.example.com"]});
    let mut host = Host::configured(&policy);
    let browser = handshake(ALL[0])
        .header("origin", "https://claw.example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36")
        .header("accept-language", "en-GB,en;q=0.9")
        .header("cookie", "_oauth2_proxy=".to_owned() + &"R2F0ZXdheQ".repeat(300))
        .header("authorization", "Bearer ".to_owned() + &"e30".repeat(500))
        .header("x-forwarded-email", "nick@example.com")
        .header("x-forwarded-groups", "admins,operators,everybody")
        .header("x-request-id", "6a7c8b9d-1111-4222-8333-444455556666");
    let before = host.memory_bytes();
    for n in 0..10_000 {
        open(&mut host, 1, &browser);
        if n % 100 == 0 {
            host.take_calls();
        }
    }
    let taken = host.memory_bytes() - before;
    assert!(taken <= 20 * 1024 * 1024, "{taken} bytes");
    host.take_calls();
    host.tick();
    assert_eq!(gauge(&host), 10_000);
    let calls = host.take_calls();
    assert!(calls.len() < 10_000 + 20, "{} calls to look at all of them", calls.len());
}

#[test]
fn without_room_new_sockets_are_refused_and_open_ones_are_not_forgotten() {
    const LIMIT: &str = "trusted_proxy_socket_limit";
    let mut host = Host::new();
    let old = edit(&mut host, &users(ALL));
    // The largest headers that are kept: values that the policy reads.
    let large = handshake(ALL[1]).set("x-forwarded-for", "203.0.113.9, ".repeat(1200));
    let mut sockets = vec![];
    let refused = loop {
        let id = host.open_under(old, &large);
        if host.request_headers(id) == Action::Pause {
            break host.finish(id);
        }
        sockets.push(id);
        host.take_calls();
    };
    assert_eq!(refused.property("openclaw_trusted_proxy.reason"), Some(LIMIT.as_bytes()));
    assert!((2_500..2_800).contains(&sockets.len()), "{}", sockets.len());
    assert!(host.memory_bytes() <= 48 * 1024 * 1024, "{}", host.memory_bytes());
    assert_eq!(host.send_under(old, &signed(Request::get("/"))).action, Action::Continue, "plain requests go on");
    // One that ended makes room without a tick, when enough others have asked.
    host.finish(sockets.remove(0));
    for attempt in 1.. {
        let id = host.open_under(old, &large);
        if host.request_headers(id) == Action::Continue {
            sockets.push(id);
            break;
        }
        host.finish(id);
        assert!(attempt < 50);
    }

    edit(&mut host, &users(NICK));
    for _ in 0..sockets.len().div_ceil(100) {
        host.tick_root(old);
        host.take_calls();
    }
    assert!(sockets.iter().all(|id| host.is_closed(*id)), "all of them were remembered");
    assert_eq!((count(&host, "closed", NOT_ALLOWED), gauge(&host)), (sockets.len() as u64, 0));

    // In report mode it passes, and nothing is kept of it: the first policy that is enforced closes it.
    let mut host = Host::new();
    let mut report = users(ALL);
    report["filter"] = json!({"mode": "report"});
    let old = edit(&mut host, &report);
    let too_large = handshake(ALL[0]).set("x-forwarded-for", "203.0.113.9, ".repeat(1300));
    let unkept = open(&mut host, old, &too_large);
    edit(&mut host, &users(ALL));
    host.tick_root(old);
    assert!(host.is_closed(unkept));
    assert_eq!(count(&host, "closed", "trusted_proxy_socket_unclear"), 1);

    // A handshake that takes more than its share is refused by itself.
    let mut host = Host::configured(&users(ALL));
    assert_eq!(host.send(&too_large).property("openclaw_trusted_proxy.reason"), Some(LIMIT.as_bytes()));
    let long_values = (0..90).fold(handshake(ALL[0]), |request, n| request.header(&format!("x-{n}"), "v".repeat(600)));
    assert_eq!(host.send(&long_values).action, Action::Continue, "what no rule reads is left out");
}

#[test]
fn sockets_that_open_and_end_take_no_memory() {
    let mut host = Host::configured(&config(json!({})));
    let mut spend = |rounds: usize| {
        for round in 0..rounds {
            host.send(&handshake(ALL[0]));
            if round % 50 == 0 {
                host.tick();
                host.take_calls();
            }
        }
        host.memory_bytes()
    };
    let warm = spend(500);
    assert_eq!(spend(10_000), warm);
}
