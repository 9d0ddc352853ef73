//! A real Prometheus, a fleet of real Envoys, and the results of the rules and the dashboard.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::document::Section;
use harness::echo::Echo;
use harness::envoy::{Scratch, eventually, free_port, root, substitute};
use harness::prometheus::Prometheus;
use policy::Reason;
use policy::config::compile;
use serde_json::{Value, json};

use crate::fleet::{BAD, GOOD, Member, PORTLESS, STRANGER, traffic};
use crate::picture::{Panel, Phase, Series, draw};
use crate::read;

/// Metrics that are 0 if nothing went wrong; all others must show something.
const ZERO_IS_RIGHT: &[&str] = &["vm_reload_"];

#[test]
fn every_rule_and_panel_returns_data_and_the_right_alerts_fire() {
    let write = std::env::var("PICTURE").is_ok_and(|value| value == "write");
    let rounds = if write { 500 } else { 60 };

    let echo = Echo::start().unwrap();
    let policy = std::fs::read_to_string(root().join("envoy/policy.json")).unwrap();
    let broken = policy.replace("\"trusted-proxy\"", "\"token\"");
    let mut other: Value = serde_json::from_str(&policy).unwrap();
    other["filter"]["mode"] = json!("report");
    // The fingerprint covers every byte of the text, and filter.yaml passes on whole lines.
    let other = format!("{other}\n");
    let a = Member::start(&echo, &policy, false);
    let b = Member::start(&echo, &policy, true);
    let bare = Member::start(&echo, &broken, false);
    let gone = format!("127.0.0.1:{}", free_port());

    let begun = now();
    let prometheus =
        start_prometheus(&[a.target.to_string(), b.target.to_string(), bare.target.to_string(), gone.clone()]);
    let a_name = a.target.to_string();
    let b_name = b.target.to_string();
    let bare_name = bare.target.to_string();
    let alert = |name: &str, instance: &str| (format!("OpenClawTrustedProxy{name}"), instance.to_owned());
    let await_alerts = |when: &str, expected: &[(String, String)]| {
        let expected: BTreeSet<_> = expected.iter().cloned().collect();
        let mut seen = BTreeSet::new();
        let mut stable = 0;
        // Rules are evaluated every second: a result that holds twice is not a coincidence.
        eventually(&format!("the alerts when {when}: {expected:#?}"), || {
            let now = alerts(&prometheus);
            stable = if now == expected { stable + 1 } else { 0 };
            if now != seen {
                println!("{when}: {now:?}");
                seen = now;
            }
            std::thread::sleep(Duration::from_millis(500));
            stable > 3
        });
    };
    let mut phases = Vec::new();
    let mut mark = |what: &'static str| phases.push(Phase { at: now() - begun, what });

    let mut socket = a.websocket();
    mark("only good requests");
    traffic(rounds, |round| {
        a.ask(&GOOD[round % GOOD.len()]);
        b.ask(&GOOD[round % GOOD.len()]);
    });
    let missing = [alert("Down", &gone), alert("Absent", &bare_name)];
    await_alerts("all is well", &missing);
    let fingerprint = |policy: &str| compile(policy.as_bytes()).unwrap().fingerprint.to_string();
    assert_eq!(fingerprints(&prometheus), BTreeSet::from([(fingerprint(&policy), "2".to_owned())]));

    mark("strangers, and people without rights");
    traffic(rounds, |round| {
        a.ask(&GOOD[round % GOOD.len()]);
        a.ask(&STRANGER);
        for _ in 0..4 {
            b.ask(&BAD[round % BAD.len()]);
        }
    });
    b.ask(&PORTLESS);
    let strangers = [alert("Bypassed", &a_name), alert("RefusesMost", &b_name), alert("PeerUnreadable", &b_name)];
    await_alerts("strangers come", &[&missing[..], &strangers].concat());

    mark("a user who is connected is removed");
    let mut narrow: Value = serde_json::from_str(&policy).unwrap();
    narrow["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(["mary@example.com"]);
    let _lost = b.websocket();
    assert!(b.put(&format!("{narrow}\n")), "another list of users is a good policy");
    let closed = r#"openclaw_trusted_proxy_sockets{result="closed",reason="trusted_proxy_user_not_allowed"} > 0"#;
    eventually("the socket of a removed user is closed", || {
        let found = prometheus.ask("query", &[("query", closed)]).unwrap();
        found["result"].as_array().unwrap().iter().any(|one| one["metric"]["instance"] == b_name.as_str())
    });

    mark("one Envoy in report mode");
    assert!(b.put(&other), "report mode is a good policy");
    traffic(rounds, |round| {
        a.ask(&GOOD[round % GOOD.len()]);
        let (line, path, headers, _) = BAD[round % BAD.len()];
        b.ask(&(line, path, headers, 200));
    });
    let report = [alert("ReportsOnly", &b_name), alert("PoliciesDiffer", "")];
    await_alerts("one Envoy reports only", &[&missing[..], &strangers, &report].concat());
    let expected = [fingerprint(&policy), fingerprint(&other)].map(|one| (one, "1".to_owned()));
    assert_eq!(fingerprints(&prometheus), BTreeSet::from(expected));

    mark("one rejects a policy");
    assert!(!a.put(&broken), "a broken policy is rejected");
    traffic(rounds, |round| a.ask(&GOOD[round % GOOD.len()]));
    let rejected = [alert("PolicyRejected", &a_name)];
    await_alerts("a policy was rejected", &[&missing[..], &strangers, &report, &rejected].concat());
    socket.send("still open".into()).unwrap();

    check_labels_listed(&prometheus);
    let ended = now();
    check_rules(&prometheus);
    let panels = check_dashboard(&prometheus, begun, ended);
    if write {
        let names =
            [(a_name, "envoy-a"), (b_name, "envoy-b"), (bare_name, "envoy-c, no good policy"), (gone, "envoy-d, gone")];
        let names: Vec<_> = names.iter().map(|(from, to)| (from.as_str(), *to)).collect();
        let svg = draw(&panels, &names, begun, ended, &phases);
        std::fs::write(root().join("docs/observability.svg"), svg).unwrap();
    }
}

/// The Prometheus of prometheus.yaml, for these targets, with a scrape every second.
fn start_prometheus(targets: &[String]) -> Prometheus {
    let scratch = Scratch::new("prometheus");
    std::fs::write(scratch.path().join("rules.yaml"), read("rules.yaml")).unwrap();
    let every = |what: &str| (format!("{what}_interval: 15s"), format!("{what}_interval: 1s"));
    let targets = (r#"["127.0.0.1:9901"]"#.to_owned(), json!(targets).to_string());
    let values = [every("scrape"), every("evaluation"), targets];
    Prometheus::start(scratch, &substitute(&read("prometheus.yaml"), &values).unwrap())
}

/// Alerts that fire, or will when the time in `for` has passed: name and instance.
fn alerts(prometheus: &Prometheus) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = prometheus.ask("alerts", &[]).unwrap();
    let alerts = alerts["alerts"].as_array().unwrap().iter();
    alerts.map(|one| (text(&one["labels"]["alertname"]), text(&one["labels"]["instance"]))).collect()
}

/// Each fingerprint, and the number of Envoys that have it.
fn fingerprints(prometheus: &Prometheus) -> BTreeSet<(String, String)> {
    let query = r#"count_values("fingerprint", openclaw_trusted_proxy_policy_fingerprint)"#;
    let found = prometheus.ask("query", &[("query", query)]).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = found["result"].as_array().unwrap().iter();
    found.map(|one| (text(&one["metric"]["fingerprint"]), text(&one["value"][1]))).collect()
}

/// The labels are exactly those that docs/observability.md and the table of reasons list.
fn check_labels_listed(prometheus: &Prometheus) {
    let values = |label: &str| -> BTreeSet<String> {
        let selector = [("match[]", "openclaw_trusted_proxy_decisions")];
        let found = prometheus.ask(&format!("label/{label}/values"), &selector).unwrap();
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let page = Section::of("observability.md", "Metrics").text;
    let (_, table) = page.split_once("| `result` |").expect("the table of results");
    let listed = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned);
    assert_eq!(values("result"), listed.collect());
    assert_eq!(values("reason"), Reason::ALL.iter().map(|reason| reason.code().to_owned()).collect());
}

/// Every rule is healthy, and its recorded series exist.
fn check_rules(prometheus: &Prometheus) {
    let groups = prometheus.ask("rules", &[]).unwrap();
    let mut recorded = 0;
    for rule in groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["name"].as_str().unwrap();
        assert_eq!(rule["health"], "ok", "{rule}");
        let result = prometheus.ask("query", &[("query", rule["query"].as_str().unwrap())]).unwrap();
        assert_eq!(result["resultType"], "vector", "{name}: {result}");
        if rule["duration"] == 0 {
            assert_ne!(rule["state"], "pending", "{name} is pending");
        }
        if rule["type"] == "recording" {
            recorded += 1;
            let stored = prometheus.ask("query", &[("query", name)]).unwrap();
            let stored = stored["result"].as_array().unwrap();
            assert!(!stored.is_empty(), "{name} is empty");
            let positive = stored.iter().any(|one| number(&one["value"][1]) > 0.0);
            assert!(positive, "{name} is 0: {stored:?}");
        }
    }
    assert!(recorded > 0);
}

/// Every query of the dashboard returns series with the labels that its legend uses.
fn check_dashboard(prometheus: &Prometheus, begun: f64, ended: f64) -> Vec<Panel> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let (start, end) = (format!("{begun:.3}"), format!("{ended:.3}"));
    let step = if ended - begun > 100.0 { "1" } else { "0.5" };
    let range = |expression: &str| {
        let expression = fill_in(expression);
        let parameters =
            [("query", expression.as_str()), ("start", start.as_str()), ("end", end.as_str()), ("step", step)];
        let data = prometheus.ask("query_range", &parameters).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(data["resultType"], "matrix", "{expression}");
        data["result"].as_array().unwrap().clone()
    };
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["definition"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inner.and_then(|rest| rest.rsplit_once(", ")).expect("label_values(selector, label)");
        let found = prometheus.ask(&format!("label/{label}/values"), &[("match[]", &fill_in(selector))]).unwrap();
        assert!(!found.as_array().unwrap().is_empty(), "{query} returns nothing");
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let found = range(annotation["expr"].as_str().unwrap());
        assert!(!found.is_empty(), "{annotation} shows nothing");
        check_labels(annotation["titleFormat"].as_str().unwrap(), &found);
    }
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let mut series = Vec::new();
        for target in panel["targets"].as_array().unwrap() {
            let (expression, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            let found = range(expression);
            assert!(!found.is_empty(), "{title}: no data for {expression}");
            check_labels(legend, &found);
            let before = series.len();
            for one in &found {
                let points: Vec<(f64, f64)> = one["values"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|point| (point[0].as_f64().unwrap(), number(&point[1])))
                    .collect();
                assert!(points.iter().all(|(_, value)| value.is_finite() && *value >= 0.0), "{title}: {one}");
                series.push(Series { name: fill_legend(legend, &one["metric"]), points });
            }
            let shows = series[before..].iter().flat_map(|one| &one.points).any(|(_, value)| *value > 0.0);
            assert!(
                shows != ZERO_IS_RIGHT.iter().any(|part| expression.contains(part)),
                "{title}: {expression} shows {}",
                if shows { "events that must not have happened" } else { "only zeros" }
            );
        }
        panels.push(Panel::new(panel, series));
    }
    panels
}

/// The values that Grafana would insert for its variables, with everything selected.
fn fill_in(expression: &str) -> String {
    let filled = expression.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "5s");
    assert!(!filled.contains('$'), "an unknown variable in {expression}");
    filled
}

fn labels(format: &str) -> impl Iterator<Item = &str> {
    format.split("{{").skip(1).map(|part| part.split("}}").next().unwrap())
}

fn check_labels(format: &str, series: &[Value]) {
    for (label, one) in labels(format).flat_map(|label| series.iter().map(move |one| (label, one))) {
        assert!(one["metric"][label].is_string(), "no label `{label}` in {}", one["metric"]);
    }
}

fn fill_legend(format: &str, metric: &Value) -> String {
    labels(format).fold(format.to_owned(), |text, label| {
        text.replace(&format!("{{{{{label}}}}}"), metric[label].as_str().unwrap_or_default())
    })
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
