//! The rules on their own: their tests, and whether those tests would notice an error.

use harness::envoy::Scratch;
use harness::prometheus::{Prometheus, promtool};
use serde_json::{Value, json};

use crate::{folder, read};

#[test]
fn promtool_accepts_the_configuration_and_the_rules_and_their_tests_pass() {
    for arguments in
        [["check", "config", "prometheus.yaml"], ["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]]
    {
        promtool(&folder(), &arguments).unwrap_or_else(|said| panic!("promtool {arguments:?}:\n{said}"));
    }
}

#[test]
fn every_broken_alert_fails_a_rule_test() {
    let scratch = Scratch::new("rules");
    std::fs::write(scratch.path().join("rules.yaml"), read("rules.yaml")).unwrap();
    let prometheus = Prometheus::start(scratch, "rule_files: [rules.yaml]");
    let groups = prometheus.ask("rules", &[]).unwrap()["groups"].take();
    // As a rule file again: JSON is valid YAML.
    let rule = |rule: &Value| {
        let kind = if rule["type"] == "alerting" { "alert" } else { "record" };
        let mut made = json!({kind: rule["name"], "expr": rule["query"]});
        if kind == "alert" {
            made["for"] = json!(format!("{}s", rule["duration"]));
            made["labels"] = rule["labels"].clone();
            made["annotations"] = rule["annotations"].clone();
        }
        made
    };
    let groups: Vec<Value> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| json!({"name": group["name"], "rules": group["rules"].as_array().unwrap().iter().map(rule).collect::<Vec<_>>()}))
        .collect();
    let passes = |groups: &[Value]| {
        let scratch = Scratch::new("rules");
        std::fs::write(scratch.path().join("rules.yaml"), json!({"groups": groups}).to_string()).unwrap();
        std::fs::write(scratch.path().join("rules.test.yaml"), read("rules.test.yaml")).unwrap();
        promtool(scratch.path(), &["test", "rules", "rules.test.yaml"])
    };
    passes(&groups).unwrap_or_else(|said| panic!("the rules as they are:\n{said}"));

    let mut alerts = 0;
    for (group, rules) in groups.iter().enumerate() {
        for (index, rule) in rules["rules"].as_array().unwrap().iter().enumerate() {
            let Some(name) = rule["alert"].as_str() else { continue };
            alerts += 1;
            for (wrong, expression) in [("never fires", "vector(0) > 1"), ("always fires", "vector(1)")] {
                let mut changed = groups.clone();
                changed[group]["rules"][index]["expr"] = json!(expression);
                let said = passes(&changed).expect_err(&format!("{name} {wrong}, but no rule test fails"));
                assert!(said.contains(name), "{name} {wrong}: {said}");
            }
        }
    }
    assert!(alerts >= 10, "only {alerts} alerts");
}
