//! The dashboard and the rules in `envoy/observability/`, checked as files, before any Prometheus or Grafana loads
//! them. `make observability` runs them with real ones.

use std::collections::BTreeSet;

use harness::document::Section;
use harness::envoy::root;
use harness::manifests;
use policy::sockets::Ended;
use serde_json::{Value, json};

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join("envoy/observability").join(name)).unwrap()
}

#[test]
fn every_panel_of_the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("dashboard.json is JSON");
    let variables: BTreeSet<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(variables.contains("datasource"), "the reader must be able to choose the data source");
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).expect("a title");
        assert!(titles.insert(title), "two panels `{title}`");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: another panel has the same id");
        assert_eq!(panel["datasource"], source, "{title}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(matches!(unit, Some("none" | "reqps" | "percentunit")), "{title}: {unit:?} is not a permitted unit");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} extends beyond the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} overlaps another panel");
        }
        let mut refs = BTreeSet::new();
        let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty()).expect("a query");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(target["datasource"], source, "{title}");
            assert!(refs.insert(target["refId"].as_str().unwrap()), "{title}: two queries with the same name");
            assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{title}: a query without a legend");
            assert!(expression.contains("job=~\"$job\""), "{title}: {expression} does not select a fleet");
            for used in expression.split('$').skip(1) {
                let name = used.split(|one: char| !(one.is_ascii_alphanumeric() || one == '_')).next().unwrap();
                assert!(name == "__rate_interval" || variables.contains(name), "{title}: no variable ${name}");
            }
        }
    }
    assert!(panels.len() >= 10);
}

#[test]
fn every_name_in_the_rules_the_dashboard_and_the_page_exists() {
    let (rules, tests, dashboard) = (read("rules.yaml"), read("rules.test.yaml"), read("dashboard.json"));
    let after = |text: &str, key: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(|rest| rest.trim().to_owned()).collect()
    };
    let alerts = after(&rules, "- alert: ");
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "an alert twice");
    assert!(alerts.len() >= 10);
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|one: char| !(one.is_ascii_alphanumeric() || "_:".contains(one))).map(str::to_owned).collect()
    };
    let with = |words: &BTreeSet<String>, prefix: &str| -> BTreeSet<String> {
        words.iter().filter(|word| word.starts_with(prefix)).cloned().collect()
    };
    let alerts: BTreeSet<String> = alerts.into_iter().collect();
    let page = Section::of("observability.md", "Alerts").text;
    let listed: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect();
    assert_eq!(listed, alerts, "docs/observability.md lists the alerts of rules.yaml");
    assert_eq!(with(&words(&tests), "OpenClawTrusted"), alerts, "rules.test.yaml tests the alerts of rules.yaml");
    for page in ["docs/operations.md", "docs/migration.md", "envoy/observability/dashboard.json"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let named = with(&words(&text), "OpenClawTrustedProxy");
        // The pattern of the annotation is a prefix of all of them.
        let unknown: Vec<_> =
            named.iter().filter(|name| *name != "OpenClawTrustedProxy" && !alerts.contains(*name)).collect();
        assert!(unknown.is_empty(), "{page}: {unknown:?}");
    }

    let recorded: BTreeSet<String> = after(&rules, "- record: ").into_iter().collect();
    let used = with(&words(&dashboard), "openclaw_trusted_proxy:");
    assert!(used.is_subset(&recorded), "{used:?} of {recorded:?}");

    // The filter's own metrics.
    let own = |text: &str| -> BTreeSet<String> {
        with(&words(text), "openclaw_trusted_proxy_").into_iter().filter(|name| !name.contains(':')).collect()
    };
    let source = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let metrics = [source("src/metrics.rs"), source("src/gauge.rs")].concat();
    let page = std::fs::read_to_string(root().join("docs/observability.md")).unwrap();
    for text in [&rules, &tests, &dashboard, &page] {
        for name in own(text) {
            let short = name.strip_prefix("openclaw_trusted_proxy_").unwrap();
            let is_there =
                [format!("{{PREFIX}}.{short}"), format!("\"{short}\""), format!("\"openclaw_trusted_proxy.{short}\"")]
                    .iter()
                    .any(|text| metrics.contains(text));
            assert!(is_there, "the filter has no metric {name}");
        }
    }

    let codes: BTreeSet<&str> = Ended::all().map(|ended| ended.code()).collect();
    for text in [&rules, &tests] {
        let named: Vec<String> = words(text)
            .into_iter()
            .filter(|word| word.starts_with("trusted_proxy_") || word.starts_with("proxy_"))
            .collect();
        assert!(!named.is_empty());
        assert!(named.iter().all(|name| codes.contains(name.as_str())), "{named:?}");
    }
}

#[test]
fn the_access_log_has_the_same_fields_in_every_place() {
    fn find<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
        match value {
            Value::Object(fields) => {
                fields.iter().flat_map(|(name, one)| if name == key { vec![one] } else { find(one, key) }).collect()
            }
            Value::Array(items) => items.iter().flat_map(|one| find(one, key)).collect(),
            _ => vec![],
        }
    }
    let envoy = manifests::read("envoy/envoy.yaml");
    let fields = find(&envoy[0], "json_format")[0];
    for (name, key) in [("istiod-values.yaml", "labels"), ("envoy-gateway.yaml", "json")] {
        let documents = manifests::read(&format!("envoy/observability/{name}"));
        assert_eq!(find(&documents[0], key), [fields], "{name}");
    }
}
