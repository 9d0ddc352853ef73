//! Configurations arrive, fail and are removed while streams run.

use harness::vectors::Outcome;
use harness::wasm::{Action, Host, Level, Request, Status};
use serde_json::json;

use crate::{config, identity, nameless, once, signed};

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Admitted { .. } => "admitted",
        Outcome::Refused { reason: Some(reason), .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bad_configuration_is_refused_with_a_log_line_for_each_error() {
    let cases: [(Vec<u8>, &[&str]); 9] = [
        (b"".to_vec(), &["JSON"]),
        (b"{".to_vec(), &["JSON"]),
        (b"\xff\xfe{}".to_vec(), &["JSON"]),
        (b"[]".to_vec(), &["object"]),
        (b"{}".to_vec(), &["gateway: "]),
        (config(json!({"filter": {"surprise": 1}})).to_string().into(), &["filter.surprise"]),
        (identity(json!({"userHeader": "cookie"})).to_string().into(), &["gateway.auth.trustedProxy.userHeader"]),
        (
            config(json!({"gateway": {"auth": {"token": "t0ps3cret"}}})).to_string().into(),
            &["mixed_trusted_proxy_token"],
        ),
        (
            config(json!({
                "gateway": {"trustedProxies": ["10.0.0.1/8"], "auth": {"trustedProxy": {"requiredHeaders": [" "]}}},
                "filter": {"surprise": 1},
                "extra": true,
            }))
            .to_string()
            .into(),
            &["gateway.trustedProxies[0]", "gateway.auth.trustedProxy.requiredHeaders[0]", "filter.surprise", "extra"],
        ),
    ];
    for (bytes, wanted) in cases {
        let mut host = Host::new();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!host.configure(&bytes), "{shown}");
        let errors: Vec<_> = host.logs().iter().filter(|log| log.level >= Level::Error).map(|log| &log.text).collect();
        for wanted in wanted {
            assert_eq!(
                errors.iter().filter(|line| line.contains(wanted)).count(),
                1,
                "{shown}: {wanted} in {errors:?}"
            );
        }
        assert!(errors.len() >= wanted.len() && errors.iter().all(|line| !line.contains('\n')), "{errors:?}");
        assert!(!host.logs().iter().any(|log| log.text.contains("t0ps3cret")), "{errors:?}");
    }
}

#[test]
fn nothing_passes_before_there_is_a_policy() {
    let mut host = Host::new();
    let check = |host: &mut Host, when: &str| {
        for request in [Request::get("/health"), signed(Request::get("/")), signed(Request::upgrade("/"))] {
            let outcome = host.send(&request).outcome();
            let refused = matches!(outcome, Outcome::Refused { .. } | Outcome::Closed { code: 1008, .. });
            assert!(refused, "{when}: {outcome:?}");
        }
    };
    check(&mut host, "never configured");
    assert!(!host.configure(b"{}"));
    check(&mut host, "badly configured");
}

#[test]
fn a_new_configuration_decides_the_next_request() {
    let mut host = Host::configured(&identity(json!({"allowUsers": ["nick@example.com"]})));
    let request = signed(Request::get("/"));
    assert_eq!(reason(&host.send(&request).outcome()), "admitted");
    assert!(host.configure(identity(json!({"allowUsers": ["someone@else.org"]})).to_string().as_bytes()));
    assert_eq!(reason(&host.send(&request).outcome()), "trusted_proxy_user_not_allowed");
    assert!(host.configure(identity(json!({"userHeader": "x-user"})).to_string().as_bytes()));
    assert_eq!(reason(&host.send(&request).outcome()), "trusted_proxy_user_missing");
    assert!(host.configure(config(json!({})).to_string().as_bytes()));
    assert_eq!(reason(&host.send(&request).outcome()), "admitted");
}

#[test]
fn after_a_bad_configuration_the_old_policy_goes_on_for_running_and_new_streams() {
    let mut host = Host::configured(&identity(json!({"allowUsers": ["nick@example.com"]})));
    let (good, bad) = (signed(Request::get("/")), signed(Request::get("/")).set("x-forwarded-user", "eve"));
    let (running_good, running_bad) = (host.open(&good), host.open(&bad));

    // Envoy configures a new root context, gets a refusal, and removes it; or it configures the old one again.
    let refused = host.add_root();
    assert!(!host.configure_root(refused, b"{\"gateway\": {}}"));
    assert!(!host.configure(b"not JSON"));
    let mut outcomes = vec![];
    for id in [running_good, running_bad] {
        host.request_headers(id);
        outcomes.push(host.finish(id).outcome());
    }
    host.remove_root(refused);
    outcomes.extend([host.send(&good).outcome(), host.send(&bad).outcome()]);
    let reasons: Vec<_> = outcomes.iter().map(reason).collect();
    assert_eq!(reasons, ["admitted", "trusted_proxy_user_not_allowed", "admitted", "trusted_proxy_user_not_allowed"]);
}

#[test]
fn two_plugins_in_one_vm_decide_each_by_its_own_policy() {
    let mut host = Host::configured(&config(json!({})));
    let other = host.add_root();
    let strict = identity(json!({"userHeader": "x-lab-user", "allowUsers": ["root"]}));
    assert!(host.configure_root(other, strict.to_string().as_bytes()));

    let request = signed(Request::get("/")).header("x-lab-user", "root");
    let (first, second) = (host.open(&request), host.open_under(other, &request));
    // They get their headers in reverse order, and each ends while the other still runs.
    host.request_headers(second);
    host.request_headers(first);
    let (first, second) = (host.finish(first), host.finish(second));
    assert_eq!(
        (first.values("x-forwarded-user"), first.values("x-lab-user")),
        (vec!["nick@example.com".to_owned()], vec!["root".to_owned()])
    );
    assert_eq!((second.values("x-forwarded-user"), second.values("x-lab-user")), (vec![], vec!["root".to_owned()]));

    host.remove_root(other);
    assert_eq!(reason(&host.send(&request).outcome()), "admitted");
}

#[test]
fn a_request_of_no_plugin_is_refused_without_a_trap() {
    let mut host = Host::configured(&config(json!({})));
    let gone = host.add_root();
    assert!(host.configure_root(gone, config(json!({})).to_string().as_bytes()));
    let orphan = host.open_under(gone, &signed(Request::get("/")));
    host.remove_root(gone);
    host.tick();
    let never_there = host.open_under(4711, &signed(Request::get("/")));
    for id in [orphan, never_there] {
        assert_eq!(host.request_headers(id), Action::Pause);
        let exchange = host.finish(id);
        // Without a policy, the client must not get the reason.
        assert!(matches!(exchange.outcome(), Outcome::Refused { reason: None, .. }), "{:?}", exchange.outcome());
        assert!(exchange.values("x-openclaw-scopes").is_empty());
    }
    assert_eq!(reason(&host.send(&signed(Request::get("/"))).outcome()), "admitted");
}

#[test]
fn streams_that_overlap_or_end_early_do_not_disturb_each_other() {
    let mut host = Host::configured(&config(json!({})));
    let users: Vec<_> = (0..20).map(|n| format!("user{n}@example.com")).collect();
    let streams: Vec<_> = users
        .iter()
        .map(|user| (user, host.open(&nameless(Request::get("/")).header("x-forwarded-user", user))))
        .collect();
    for (_, id) in streams.iter().skip(1).step_by(3) {
        host.abandon(*id);
    }
    let alive: Vec<_> =
        streams.iter().enumerate().filter(|(index, _)| index % 3 != 1).map(|(_, stream)| stream).collect();
    for (_, id) in alive.iter().rev() {
        assert_eq!(host.request_headers(*id), Action::Continue);
    }
    for (user, id) in alive {
        assert_eq!(host.finish(*id).values("x-forwarded-user"), [user.as_str()]);
    }
}

#[test]
fn memory_does_not_grow_with_requests_nor_with_configurations() {
    let good = config(json!({})).to_string();
    let mut host = Host::configured(&config(json!({})));
    let requests = [
        signed(Request::get("/?x=1")).header("x_forwarded_user", "eve"),
        Request::get("/").header("cookie", "c".repeat(5000)),
        signed(Request::upgrade("/")),
        Request::upgrade("/"),
    ];
    let mut spend = |rounds: usize| {
        for round in 0..rounds {
            for request in &requests {
                host.send(request);
            }
            if round % 10 == 0 {
                host.tick();
                assert!(host.configure(good.as_bytes()));
                assert!(!host.configure(b"{\"filter\": {}}"));
            }
        }
        host.memory_bytes()
    };
    let warm = spend(50);
    assert_eq!(spend(1000), warm);
}

#[test]
fn metrics_are_defined_once_for_all_policies_of_a_vm() {
    let mut host = Host::new();
    for expected in [true, false, false] {
        host.take_calls();
        let root = host.add_root();
        assert!(host.configure_root(root, config(json!({})).to_string().as_bytes()));
        // Envoy keeps what each definition takes as long as the VM lives.
        let defined = host.take_calls().iter().any(|call| call.name == "proxy_define_metric");
        assert_eq!(defined, expected);
    }
}

/// A policy that takes some memory: it has `users` users, and their names begin with `of`.
fn large(of: usize, users: usize) -> Vec<u8> {
    let mut users: Vec<_> = (0..users).map(|user| format!("{of}-{user}@example.com")).collect();
    users.push("nick@example.com".to_owned());
    identity(json!({"allowUsers": users})).to_string().into_bytes()
}

#[test]
fn a_plugin_that_ended_silently_is_freed_by_the_next_call() {
    let request = signed(Request::get("/"));
    for at_tick in [false, true] {
        let mut host = Host::new();
        host.in_case(format!("at a tick: {at_tick}"));
        let mut current = host.add_root();
        assert!(host.configure_root(current, &large(0, 20_000)));
        let mut replace = |rounds: std::ops::Range<usize>| {
            for round in rounds {
                // Like Envoy: the new one exists before the old one is removed.
                let next = host.add_root();
                assert!(host.configure_root(next, &large(round, 20_000)));
                assert_eq!(host.tick_period().as_secs(), 1, "another is there: look again soon");
                assert_eq!(
                    reason(&host.send_under(current, &request).outcome()),
                    "admitted",
                    "the old one still decides"
                );
                host.remove_root(current);
                current = next;
                if at_tick {
                    host.tick_root(current);
                }
                assert_eq!(reason(&host.send_under(current, &request).outcome()), "admitted");
            }
            host.memory_bytes()
        };
        let warm = replace(1..5);
        // Each plugin that was not freed would take more than a mebibyte. The allocator's own gaps grow by five pages
        // in two hundred rounds.
        let grown = replace(5..40).saturating_sub(warm);
        assert!(grown < 1024 * 1024, "at a tick: {at_tick}: {grown} bytes more");
    }
}

#[test]
fn while_plugins_share_a_vm_they_look_for_ended_ones_once_a_minute() {
    let mut host = Host::configured(&config(json!({})));
    let other = host.add_root();
    assert!(host.configure_root(other, config(json!({})).to_string().as_bytes()));
    host.tick_root(other);
    assert_eq!(host.tick_period().as_secs(), 60);
    // It selected the others' contexts for this, and then its own again.
    let last = host.calls().iter().rfind(|call| call.name == "proxy_set_tick_period_milliseconds");
    assert_eq!(last.map(|call| call.context), Some(other));
    host.remove_root(other);
    host.tick();
    assert_eq!(host.tick_period().as_secs(), 0, "nobody is left to look for");
}

#[test]
fn a_host_that_lies_about_contexts_gets_no_request_past_the_policy() {
    let (good, bad) = (signed(Request::get("/")), signed(Request::get("/")).set("x-forwarded-user", "eve"));
    let policy = identity(json!({"allowUsers": ["nick@example.com"]}));
    for status in [Status::Ok].into_iter().chain(Status::ERRORS) {
        let mut host = Host::configured(&policy);
        host.in_case(format!("{status:?}"));
        host.answer("proxy_set_effective_context", status);
        let other = host.add_root();
        assert!(host.configure_root(other, policy.to_string().as_bytes()));
        host.tick_root(other);
        let outcome = host.send(&good).outcome();
        // Only a host that reports that the plugin is gone loses it.
        match status {
            Status::BadArgument => assert!(matches!(outcome, Outcome::Refused { reason: None, .. }), "{outcome:?}"),
            _ => assert_eq!(reason(&outcome), "admitted", "{status:?}"),
        }
        assert!(matches!(host.send(&bad).outcome(), Outcome::Refused { .. }), "{status:?}");
        assert_eq!(reason(&host.send_under(other, &good).outcome()), "admitted", "{status:?}");
    }
}

#[test]
fn requests_that_never_show_their_headers_take_no_memory() {
    let mut host = Host::configured(&config(json!({})));
    let request = signed(Request::get("/"));
    let mut abandon = |count: usize| {
        for _ in 0..count {
            let id = host.open(&request);
            host.abandon(id);
        }
        assert_eq!(reason(&host.send(&request).outcome()), "admitted");
        host.memory_bytes()
    };
    let warm = abandon(2_000);
    assert_eq!(abandon(50_000), warm);
}

#[test]
fn the_work_of_a_request_is_bounded_by_the_length_of_its_headers() {
    let mut host = Host::configured(&config(json!({})));
    let mut fuel = |copies: usize, name: &str, value: &str| {
        let copies = (0..copies).map(|n| name.replace('#', &n.to_string()));
        host.send(&copies.fold(signed(Request::get("/")), |request, name| request.header(&name, value))).fuel
    };
    let cases = [
        ("x-other", "v"),
        ("x-other-#", "v"),
        ("x-openclaw-scopes", "operator.read,bogus"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x_forwarded_user", "u"),
        ("x-auth-request-#", "u"),
        ("cookie", ";=;=;="),
    ];
    // Twice as many headers may cost slightly more than twice as much, but not four times as much.
    for (name, value) in cases {
        let (half, full) = (fuel(500, name, value), fuel(1000, name, value));
        assert!(full < half * 3, "{name}: {half} for 500 headers, {full} for 1000");
    }
}

#[test]
fn looking_up_a_proxy_does_not_slow_down_with_the_list() {
    let fuel = |proxies: usize| {
        let list: Vec<_> = (0..proxies)
            .map(|n| format!("172.{}.{}.0/24", 16 + n / 256, n % 256))
            .chain(["10.0.0.0/8".to_owned()])
            .collect();
        once(&config(json!({"gateway": {"trustedProxies": list}})), &signed(Request::get("/"))).fuel
    };
    let (few, many) = (fuel(4), fuel(4000));
    assert!(many < few * 2, "{few} for 4 entries, {many} for 4000");
}
