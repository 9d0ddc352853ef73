//! What operators see (counters, filter state, log lines) and what they never see.

use std::time::Duration;

use harness::wasm::{Action, Host, Level, Request, Status};
use serde_json::{Value, json};

use crate::{config, filter, identity, nameless, once, signed};

#[test]
fn each_decision_is_counted_by_result_and_reason() {
    let (refused, delegated) = ("refused.reason=", "delegated.reason=");
    let basic = || config(json!({}));
    let required = || identity(json!({"requiredHeaders": ["x-proof"]}));
    let delegate = || filter(json!({"webSocketRefusal": "delegate"}));
    let get = || signed(Request::get("/"));
    let cases: Vec<(Value, Request, String)> = vec![
        (basic(), get(), "admitted".into()),
        (basic(), signed(Request::upgrade("/")), "admitted".into()),
        (basic(), Request::get("/health"), "anonymous".into()),
        (basic(), get().peer("[fd00::1]:0"), format!("{refused}trusted_proxy_peer_unverified")),
        (basic(), get().peer("?"), format!("{refused}trusted_proxy_peer_unknown")),
        (basic(), get().peer("192.0.2.1:1"), format!("{refused}trusted_proxy_untrusted_source")),
        (basic(), get().without("x-forwarded-for"), format!("{refused}proxy_attribution_required")),
        (basic(), nameless(Request::upgrade("/")), format!("{refused}trusted_proxy_user_missing")),
        (basic(), get().header("origin", "https://evil.example"), format!("{refused}trusted_proxy_origin_not_allowed")),
        // The metric does not contain the header's name: each spelling would create another metric.
        (required(), get(), format!("{refused}trusted_proxy_missing_header")),
        (delegate(), nameless(Request::upgrade("/")), format!("{delegated}trusted_proxy_user_missing")),
    ];
    for (config, request, name) in cases {
        let mut host = Host::configured(&config);
        for count in 1..=3 {
            host.send(&request);
            host.tick();
            let decisions: Vec<_> =
                host.metrics().into_iter().filter(|(name, _)| name.contains(".decisions.")).collect();
            assert_eq!(decisions, [(format!("openclaw_trusted_proxy.decisions.result={name}"), count)]);
        }
    }
}

const ADMITTED: &str = "openclaw_trusted_proxy.decisions.result=admitted";

#[test]
fn admitted_requests_are_counted_together_at_the_next_tick_and_none_is_lost() {
    let request = signed(Request::get("/"));
    let mut host = Host::configured(&config(json!({})));
    for (requests, so_far) in [(1, 1), (500, 501), (2, 503)] {
        let exchanges: Vec<_> = (0..requests).map(|_| host.send(&request)).collect();
        let asked_for = exchanges.iter().map(|exchange| exchange.count("proxy_set_tick_period_milliseconds"));
        assert_eq!(asked_for.sum::<usize>(), 1, "the first asks for a tick");
        assert_eq!(host.tick_period(), Duration::from_secs(1));
        host.tick();
        assert_eq!(host.metric(ADMITTED), Some(so_far));
        assert_eq!(host.tick_period(), Duration::ZERO, "until there is something to tell again");
    }
    let told = |host: &Host| host.calls().iter().filter(|call| call.name == crate::COUNT).count();
    let so_far = told(&host);
    host.tick();
    assert_eq!(told(&host), so_far, "nothing happened since");
    // A plugin that is removed reports its remaining counts.
    let other = host.add_root();
    assert!(host.configure_root(other, config(json!({})).to_string().as_bytes()));
    host.send_under(other, &request);
    host.remove_root(other);
    host.tick();
    assert_eq!(host.metric(ADMITTED), Some(504));
    // No ticks: each request is counted separately.
    host.answer("proxy_set_tick_period_milliseconds", Status::InternalFailure);
    for so_far in 505..510 {
        host.send(&request);
        assert_eq!(host.metric(ADMITTED), Some(so_far));
    }
    // Report mode counts only truly admitted requests as admitted.
    let mut host = Host::configured(&filter(json!({"mode": "report"})));
    host.send(&nameless(Request::get("/")));
    host.tick();
    assert_eq!(host.metric(ADMITTED), Some(0));
}

#[test]
fn the_policy_in_force_shows_as_a_fingerprint() {
    const GAUGE: &str = "openclaw_trusted_proxy.policy_fingerprint";
    let fingerprint = |config: &Value| Host::configured(config).metric(GAUGE).unwrap();
    let (one, other) = (config(json!({})), identity(json!({"allowUsers": ["nick@example.com"]})));
    assert_eq!(fingerprint(&one), fingerprint(&one));
    assert_ne!(fingerprint(&one), fingerprint(&other));
    assert_ne!(fingerprint(&one), 0);

    let mut host = Host::configured(&one);
    assert!(host.configure(other.to_string().as_bytes()));
    assert_eq!(host.metric(GAUGE), Some(fingerprint(&other)));
    assert!(!host.configure(b"{}"));
    assert_eq!(host.metric(GAUGE), Some(fingerprint(&other)), "a refused configuration is not in force");

    const ENFORCED: &str = "openclaw_trusted_proxy.policy_enforced";
    assert_eq!(host.metric(ENFORCED), Some(1));
    assert!(host.configure(filter(json!({"mode": "report"})).to_string().as_bytes()));
    assert_eq!(host.metric(ENFORCED), Some(0));
}

#[test]
fn access_logs_can_read_reason_and_user_of_a_refusal() {
    let reason = "openclaw_trusted_proxy.reason";
    let user = "openclaw_trusted_proxy.user";
    let strict = identity(json!({"allowUsers": ["nick@example.com"], "requiredHeaders": ["X-Proof"]}));
    let mut host = Host::configured(&strict);
    let whole = |request| signed(request).header("x-proof", "1");
    let cases: [(&str, Request, Option<&str>, Option<&str>); 6] = [
        ("admitted", whole(Request::get("/")), None, None),
        ("missing header", signed(Request::get("/")), Some("trusted_proxy_missing_header_X-Proof"), None),
        ("no user", whole(Request::get("/")).without("x-forwarded-user"), Some("trusted_proxy_user_missing"), None),
        (
            "not allowed",
            whole(Request::get("/")).set("x-forwarded-user", " eve"),
            Some("trusted_proxy_user_not_allowed"),
            Some("eve"),
        ),
        (
            "WebSocket",
            whole(Request::upgrade("/")).set("x-forwarded-user", "eve"),
            Some("trusted_proxy_user_not_allowed"),
            Some("eve"),
        ),
        (
            "origin",
            whole(Request::get("/")).header("origin", "null"),
            Some("trusted_proxy_origin_not_allowed"),
            Some("nick@example.com"),
        ),
    ];
    for (what, request, code, name) in cases {
        let exchange = host.send(&request);
        assert_eq!(exchange.property(reason), code.map(str::as_bytes), "{what}");
        assert_eq!(exchange.property(user), name.map(str::as_bytes), "{what}");
    }
}

const STAMPED: [&str; 2] = ["openclaw_trusted_proxy.stamped_user", "openclaw_trusted_proxy.stamped_scopes"];

#[test]
fn what_was_stamped_is_left_for_native_envoy_if_the_policy_says_so() {
    let ready = || signed(Request::get("/plugin")).header("x-openclaw-scopes", "operator.read");
    let left = |host: &mut Host, request: &Request| {
        let exchange = host.send(request);
        assert_eq!(exchange.action, Action::Continue, "{:?}", exchange.outcome());
        STAMPED.map(|name| exchange.property(name).map(|value| value.escape_ascii().to_string()))
    };
    let all = |user: &str, scopes: &str| [Some(user.to_owned()), Some(scopes.to_owned())];
    let mut host = Host::configured(&config(json!({})));
    assert_eq!(left(&mut host, &ready()), [None, None]);
    assert_eq!(host.calls().iter().filter(|call| call.name == "proxy_call_foreign_function").count(), 0);
    let mut host = Host::configured(&filter(json!({"stampedFilterState": true})));
    assert_eq!(left(&mut host, &ready()), all("nick@example.com", "operator.read"));
    assert_eq!(left(&mut host, &signed(Request::upgrade("/"))), all("nick@example.com", ""));
    assert_eq!(left(&mut host, &Request::get("/health")), all("", ""));
    let refused = host.send(&ready().without("x-forwarded-user"));
    assert_eq!(STAMPED.map(|name| refused.property(name)), [None, None]);
    // A second plugin with this filter leaves the same. Another value was left by somebody else.
    for (user, is_same) in [("nick@example.com", true), ("eve@example.com", false)] {
        let request = ready();
        let id = host.open(&request);
        host.leave(id, STAMPED[0], user);
        let outcome = host.request_headers(id);
        assert_eq!(outcome == Action::Continue, is_same, "{user}");
    }
    let mut report = Host::configured(&filter(json!({"stampedFilterState": true, "mode": "report"})));
    assert_eq!(left(&mut report, &ready().set("x-forwarded-user", " nick")), all(" nick", "operator.read"));
    let stranger = ready().set("x-openclaw-scopes", "operator.admin").peer("192.0.2.1:1");
    assert_eq!(left(&mut report, &stranger), all("nick@example.com", "operator.admin"), "refuses nothing");
}

#[test]
fn a_refusal_is_one_log_line_with_reason_peer_method_path_and_user() {
    let mut host = Host::configured(&identity(json!({"allowUsers": ["nick@example.com"]})));
    host.take_logs();
    let eve = signed(Request::new("PUT", "/secret/place?token=zqxquery#zqxfragment"))
        .set("x-forwarded-user", "eve@example.com")
        .peer("10.7.7.7:40000");
    assert_eq!(host.send(&eve).action, Action::Pause);
    let logs = host.take_logs();
    assert_eq!(logs.len(), 1, "{logs:?}");
    for wanted in ["trusted_proxy_user_not_allowed", "10.7.7.7", "PUT", "/secret/place", "eve@example.com"] {
        assert!(logs[0].text.contains(wanted), "{wanted} in {}", logs[0]);
    }
    assert!(!logs[0].text.contains("zqx"), "{}", logs[0]);
    assert!(logs[0].level >= Level::Info, "{}", logs[0]);

    for unremarkable in [signed(Request::get("/")), Request::get("/health"), signed(Request::upgrade("/"))] {
        host.send(&unremarkable);
        assert_eq!(host.take_logs(), [], "only refusals are logged");
    }
}

#[test]
fn a_log_line_cannot_be_forged_nor_flooded_by_what_a_request_contains() {
    let mut host = Host::configured(&identity(json!({"allowUsers": ["nick@example.com"]})));
    for evil in [
        &b"a\nb"[..],
        b"a\r\nb",
        b"a\x1b[31mb",
        b"a\0b",
        b"a\xff\xfeb",
        "a\u{202e}b".as_bytes(),
        b"a\" user=\"nick@example.com",
        b"a b=c",
    ] {
        for request in [
            signed(Request::get("/")).set("x-forwarded-user", evil),
            signed(Request::get("/")).set("x-forwarded-user", "eve").set(":path", [b"/", evil].concat()),
            signed(Request::get("/")).set("x-forwarded-user", "eve").set(":method", evil),
            signed(Request::get("/")).property(&["source", "address"], evil),
        ] {
            host.advance(Duration::from_secs(60));
            host.take_logs();
            assert_eq!(host.send(&request).action, Action::Pause);
            let logs = host.take_logs();
            assert_eq!(logs.len(), 1, "{logs:?}");
            let text = &logs[0].text;
            assert!(text.bytes().all(|byte| (0x20..0x7F).contains(&byte)), "{text:?}");
            assert!(!text.contains("\" user=\"nick@example.com"), "{text}");
        }
    }
    // A value of many kilobytes must not produce a log line of many kilobytes.
    let long = signed(Request::get(&format!("/{}", "p".repeat(50_000)))).set("x-forwarded-user", "u".repeat(50_000));
    host.advance(Duration::from_secs(60));
    host.take_logs();
    host.send(&long);
    let logs = host.take_logs();
    assert!(logs.len() == 1 && logs[0].text.len() < 4096, "{} bytes", logs[0].text.len());
}

#[test]
fn a_flood_of_refusals_becomes_a_few_lines_and_a_count() {
    const FLOOD: usize = 1000;
    let mut host = Host::configured(&config(json!({})));
    host.take_logs();
    let of = |logs: &[harness::wasm::Log], reason: &str| logs.iter().filter(|log| log.text.contains(reason)).count();

    for _ in 0..FLOOD {
        host.send(&nameless(Request::get("/")));
    }
    let first = host.take_logs();
    let lines = of(&first, "trusted_proxy_user_missing");
    assert!(lines == 5 && first.len() == lines, "{} lines for {FLOOD} refusals", first.len());

    // Another reason still has its own lines.
    host.send(&signed(Request::get("/")).peer("192.0.2.1:1"));
    assert_eq!(of(&host.take_logs(), "trusted_proxy_untrusted_source"), 1);

    // In the next second, refusals are logged again, and a line says how many were left out.
    host.advance(Duration::from_secs(1));
    host.send(&nameless(Request::get("/")));
    let next = host.take_logs();
    let left_out = (FLOOD - lines).to_string();
    assert!(
        next.iter().any(|log| log.text.contains(&left_out) && log.text.contains("trusted_proxy_user_missing")),
        "{left_out} in {next:?}"
    );
    assert!(next.len() <= 2, "{next:?}");

    // They are reported once, and not again.
    host.advance(Duration::from_secs(1));
    host.tick();
    host.send(&nameless(Request::get("/")));
    let last = host.take_logs();
    assert!(last.len() == 1 && !last[0].text.contains(&left_out), "{last:?}");
}

#[test]
fn the_timer_reports_the_rest_of_a_flood_that_has_ended() {
    const FLOOD: usize = 777;
    let mut host = Host::configured(&config(json!({})));
    host.take_logs();
    for _ in 0..FLOOD {
        host.send(&nameless(Request::get("/")));
    }
    let lines = host.take_logs().len();
    let period = host.tick_period();
    assert!(period > Duration::ZERO && period <= Duration::from_secs(60), "{period:?}");
    host.advance(period.max(Duration::from_secs(1)));
    host.tick();
    let logs = host.take_logs();
    let left_out = (FLOOD - lines).to_string();
    assert!(
        logs.len() == 1 && logs[0].text.contains(&left_out) && logs[0].text.contains("trusted_proxy_user_missing"),
        "{left_out} in {logs:?}"
    );
    host.advance(period);
    host.tick();
    assert_eq!(host.take_logs(), [], "nothing happened since");
}

#[test]
fn secrets_of_the_configuration_and_of_requests_never_reach_the_log() {
    const SECRET: &str = "zqxsecret";
    let secrets = json!({"gateway": {
        "auth": {"password": SECRET, "trustedProxy": {"allowUsers": ["nobody"]}},
        "remote": {"url": "wss://x", "password": SECRET},
        "tls": {"keyPath": SECRET, "passphrase": SECRET},
        "http": {"securityHeaders": {"x": SECRET}},
    }});
    let good = config(secrets.clone());
    let bad: Vec<Vec<u8>> = vec![
        config(json!({"gateway": {"auth": {"token": SECRET}}})).to_string().into(),
        config(json!({"gateway": {"remote": {"token": SECRET}}})).to_string().into(),
        config(json!({"gateway": {"auth": {"token": {"source": "env", "id": SECRET}}}})).to_string().into(),
        config(json!({"gateway": {"auth": {"mode": "token", "password": SECRET}}})).to_string().into(),
        config(json!({"gateway": {"auth": {"password": SECRET, "trustedProxy": null}}})).to_string().into(),
        config(json!({"gateway": {"auth": SECRET}})).to_string().into(),
        config(json!({"gateway": SECRET})).to_string().into(),
        config(json!({"filter": {"surprise": SECRET}})).to_string().into(),
        config(json!({"surprise": {"password": SECRET}})).to_string().into(),
        format!("\"{SECRET}\"").into(),
        format!("{{\"gateway\": {{\"auth\": {{\"password\": \"{SECRET}\" {SECRET}").into(),
    ];
    let mut host = Host::configured(&good);
    for bad in bad {
        assert!(!host.configure(&bad), "{}", String::from_utf8_lossy(&bad));
    }
    for base in [Request::get("/"), Request::upgrade("/")] {
        let path = format!("/a?token={SECRET}");
        let request = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-forwarded-access-token",
            "cf-access-jwt-assertion",
            "x-openclaw-token",
            "referer",
        ]
        .iter()
        .fold(base.set(":path", path), |request, name| request.header(name, format!("Bearer {SECRET}")));
        for request in
            [request.clone(), nameless(request.clone()), signed(request.clone()), signed(request).peer("192.0.2.1:1")]
        {
            host.advance(Duration::from_secs(60));
            let exchange = host.send(&request);
            assert_eq!(exchange.action, Action::Pause);
            let shown = format!("{:?} {:?}", exchange.properties, exchange.refusal());
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
    host.advance(Duration::from_secs(60));
    host.tick();
    assert!(host.logs().len() > 10, "too few lines to prove anything: {:?}", host.logs());
    for log in host.logs() {
        assert!(!log.text.contains(SECRET), "{log}");
    }
    let named = host.metrics().iter().any(|(name, _)| name.contains(SECRET));
    assert!(!named);
}

#[test]
fn every_finding_about_a_good_configuration_is_a_log_line_at_each_configure() {
    let broad = config(json!({"gateway": {"trustedProxies": ["0.0.0.0/0"], "controlUi": {"allowedOrigins": ["*"]}}}));
    let bytes = broad.to_string();
    let compiled = policy::config::compile(bytes.as_bytes()).unwrap();
    let findings: Vec<_> = compiled.findings.iter().map(ToString::to_string).collect();
    assert!(findings.iter().any(|finding| finding.contains("gateway.trusted_proxy_auth")), "{findings:?}");
    for severity in ["critical", "warn", "info"] {
        assert!(findings.iter().any(|finding| finding.starts_with(severity)), "{severity}: {findings:?}");
    }
    let mut host = Host::new();
    for _ in 0..2 {
        assert!(host.configure(bytes.as_bytes()));
        let logs = host.take_logs();
        for finding in &findings {
            let level = if finding.starts_with("info") { Level::Info } else { Level::Warn };
            let lines = logs.iter().filter(|log| log.text.contains(finding) && log.level == level).count();
            assert_eq!(lines, 1, "{level:?} {finding} in {logs:?}");
        }
    }
}

#[test]
fn an_admitted_request_leaves_no_trace_but_its_count() {
    let exchange = once(&config(json!({})), &signed(Request::get("/")));
    assert_eq!(exchange.properties, []);
    assert_eq!(exchange.count("proxy_log"), 0);
    assert_eq!(exchange.count("proxy_get_current_time_nanoseconds"), 0);
}

#[test]
fn report_mode_counts_and_logs_what_it_would_refuse_and_touches_nothing() {
    let strict = identity(json!({"allowUsers": ["nick@example.com"]}));
    let report = |mut config: Value| {
        config["filter"]["mode"] = json!("report");
        config
    };
    let with_own_scopes = filter(json!({"scopes": {"users": {"*": []}}}));
    let cases: Vec<(Value, Request, &str)> = vec![
        (strict.clone(), signed(Request::get("/")), "admitted"),
        (with_own_scopes, signed(Request::upgrade("/")), "admitted"),
        (strict.clone(), Request::get("/health").header("x-forwarded-user", "eve"), "anonymous"),
        (strict.clone(), signed(Request::get("/")).peer("?"), "would_refuse.reason=trusted_proxy_peer_unknown"),
        (strict.clone(), nameless(Request::upgrade("/")), "would_refuse.reason=trusted_proxy_user_missing"),
        (
            strict.clone(),
            signed(Request::get("/")).set("x-forwarded-user", "eve").header("x_forwarded_user", "nick@example.com"),
            "would_refuse.reason=trusted_proxy_user_not_allowed",
        ),
        (strict.clone(), signed(Request::get("/")).raw_map(*b"\xFF"), "would_refuse.reason=trusted_proxy_no_request"),
    ];
    for (config, request, name) in cases {
        let mut host = Host::configured(&report(config));
        host.take_logs();
        let exchange = host.send(&request);
        assert_eq!(exchange.action, Action::Continue, "{name}");
        for call in ["proxy_replace_header_map_value", "proxy_remove_header_map_value", "proxy_send_local_response"] {
            assert_eq!(exchange.count(call), 0, "{name}: {call}");
        }
        host.tick();
        assert_eq!(host.metric(&format!("openclaw_trusted_proxy.decisions.result={name}")), Some(1), "{name}");
        let logs = host.take_logs();
        match name.strip_prefix("would_refuse.reason=") {
            Some(code) => {
                assert!(
                    logs.len() == 1 && logs[0].text.contains(&format!("would be refused reason={code}")),
                    "{logs:?}"
                );
                assert_eq!(exchange.property("openclaw_trusted_proxy.reason"), Some(code.as_bytes()));
            }
            None => assert_eq!(logs, [], "{name}"),
        }
    }
}

#[test]
fn report_mode_without_any_good_policy_refuses() {
    let mut host = Host::new();
    assert!(!host.configure(br#"{"gateway": {}, "filter": {"mode": "report"}}"#));
    assert_eq!(host.send(&signed(Request::get("/"))).action, Action::Pause);
}

#[test]
fn a_certificate_counts_only_over_mutual_tls() {
    const IDENTITY: &str = "spiffe://mesh/ns/edge/sa/proxy";
    const MTLS: &[&str] = &["connection", "mtls"];
    const SAN: &[&str] = &["connection", "uri_san_peer_certificate"];
    let asking = filter(json!({"trustedPeers": [IDENTITY]}));
    let get = || signed(Request::get("/"));
    let refused = Some("trusted_proxy_peer_certificate");
    for (what, request, expected) in [
        ("the listed identity", get().property(MTLS, [1]).property(SAN, IDENTITY), None),
        ("another", get().property(MTLS, [1]).property(SAN, "spiffe://mesh/ns/edge/sa/other"), refused),
        ("no URI SAN", get().property(MTLS, [1]), refused),
        ("TLS without a client certificate", get().property(MTLS, [0]).property(SAN, IDENTITY), refused),
        ("no TLS", get().property(SAN, IDENTITY), refused),
        ("an odd answer", get().property(MTLS, [1, 0]).property(SAN, IDENTITY), refused),
        ("an empty answer", get().property(MTLS, []).property(SAN, IDENTITY), refused),
    ] {
        let exchange = once(&asking, &request);
        assert_eq!(exchange.property("openclaw_trusted_proxy.reason"), expected.map(str::as_bytes), "{what}");
        let wanted = if expected.is_some() { Action::Pause } else { Action::Continue };
        assert_eq!(exchange.action, wanted, "{what}");
    }
    let mut host = Host::configured(&config(json!({})));
    // The first request of a policy also asks for the number of its connection.
    let reads = [2, 1, 1].map(|_| host.send(&get().property(MTLS, [1]).property(SAN, IDENTITY)));
    let reads = reads.map(|exchange| exchange.count("proxy_get_property"));
    assert_eq!(reads, [2, 1, 1], "nobody asks for what no rule reads");
}
