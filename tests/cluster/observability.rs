//! A real Prometheus in the cluster, with the jobs of `envoy/observability/kubernetes.yaml`, the rules, and the queries
//! of the dashboard.

use std::collections::BTreeSet;
use std::fs;

use harness::cluster::{Cluster, KUBERNETES};
use harness::envoy::{Scratch, eventually, root, substitute};
use harness::manifests;
use harness::prometheus::Prometheus;
use serde_json::{Value, json};

fn read(name: &str) -> String {
    fs::read_to_string(root().join("envoy/observability").join(name)).unwrap()
}

/// One job, whose Envoys have admitted some requests, and refused some for this reason.
pub struct Job<'j> {
    pub name: &'j str,
    pub reason: &'j str,
    /// What is not exported there, by the beginnings of the metrics' names: the page says so.
    pub lacks: &'j [&'j str],
}

/// Checks what a real Prometheus shows of these jobs, while there is traffic. The calling thread is then on the API
/// server's host.
pub fn shows(cluster: &Cluster, jobs: &[Job<'_>], traffic: &dyn Fn()) {
    cluster.network.enter(KUBERNETES.0);
    let scratch = Scratch::new("prometheus");
    fs::write(scratch.path().join("rules.yaml"), read("rules.yaml")).unwrap();
    let every = |what: &str| (format!("{what}_interval: 15s"), format!("{what}_interval: 1s"));
    // In a pod, Prometheus finds the API server by itself.
    let kubeconfig = json!([{"role": "pod", "kubeconfig_file": cluster.api.kubeconfig()}]).to_string();
    let values = [every("scrape"), every("evaluation"), ("[{ role: pod }]".to_owned(), kubeconfig)];
    let prometheus = Prometheus::in_cluster(scratch, &substitute(&read("kubernetes.yaml"), &values).unwrap());
    for job in jobs {
        shows_job(&prometheus, job, traffic);
    }
}

fn shows_job(prometheus: &Prometheus, Job { name: job, reason, lacks }: &Job<'_>, traffic: &dyn Fn()) {
    let query = |query: &str| prometheus.ask("query", &[("query", query)]).unwrap()["result"].take();
    let has = |expression: &str| !query(expression).as_array().unwrap().is_empty();
    let wait = |what: &str, expression: &str| {
        eventually(&format!("{job}: {what}"), || {
            traffic();
            has(expression)
        });
    };

    let refused = format!("result=\"refused\",reason=\"{reason}\"");
    for labels in ["result=\"admitted\"", &refused] {
        let expression = format!("openclaw_trusted_proxy_decisions{{job=\"{job}\",{labels}}} > 0");
        wait("decisions", &expression);
    }
    // A name that still has values in it would be seen by no rule.
    let names = prometheus.ask("label/__name__/values", &[("match[]", &format!("{{job=\"{job}\"}}"))]).unwrap();
    let names: BTreeSet<&str> = names.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let left: Vec<_> = names.iter().filter(|name| name.contains("openclaw") && name.contains("_result_")).collect();
    assert_eq!(left, Vec::<&&str>::new());

    let groups = prometheus.ask("rules", &[]).unwrap();
    let rules = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    for rule in rules {
        let name = rule["name"].as_str().unwrap();
        if rule["type"] == "recording" {
            wait(name, &format!("{name}{{job=\"{job}\"}}"));
        } else {
            let metrics = metrics(rule["query"].as_str().unwrap());
            let exported = metrics.iter().filter(|metric| names.contains(*metric));
            assert!(metrics.is_empty() || exported.count() > 0, "{name}: {job} has none of {metrics:?}");
        }
    }
    let firing = ".*(Down|Absent|Trapped|PolicyRejected|CannotDecide)";
    assert_eq!(query(&format!("ALERTS{{job=\"{job}\",alertname=~\"{firing}\"}}")), json!([]), "{job}");

    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let filled = expression.replace("$job", job).replace("$instance", ".*").replace("$__rate_interval", "5s");
            // Some panels show only what is not 0, which is right here.
            let filled = filled.trim_end_matches(" > 0");
            let is_lacking =
                metrics(expression).iter().any(|metric| lacks.iter().any(|start| metric.starts_with(start)));
            if is_lacking {
                assert!(!has(filled), "{job} does have {filled}");
            } else {
                wait(&format!("{}: {filled}", panel["title"]), filled);
            }
        }
    }
}

/// Checks lines of an access log: one of them is an object with exactly the fields of `envoy/envoy.yaml`, about a
/// request that was refused for this reason.
pub fn logs(lines: impl Fn() -> Vec<String>, reason: &str) {
    let envoy = manifests::read("envoy/envoy.yaml");
    let manager = &envoy[0]["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let format = &manager["access_log"][0]["typed_config"]["log_format"]["json_format"];
    let fields: BTreeSet<&String> = format.as_object().unwrap().keys().collect();
    eventually(&format!("a line of the access log with {reason}"), || {
        let lines = lines();
        let entries = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
        let mut entries = entries.filter(|entry| entry["reason"] == reason);
        entries.next().is_some_and(|entry| {
            assert_eq!(entry.as_object().unwrap().keys().collect::<BTreeSet<_>>(), fields);
            assert_eq!(entry["status"], 401, "{entry}");
            true
        })
    });
}

/// The metrics of an expression that Envoys export.
fn metrics(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let is_metric = |word: &&str| {
        (word.starts_with("openclaw_trusted_proxy_") || word.starts_with("envoy_")) && !word.contains(':')
    };
    words.filter(is_metric).collect()
}
