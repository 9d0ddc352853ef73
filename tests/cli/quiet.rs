//! A good configuration passes `check --strict`: what no edit answers is a reminder.

use std::fs;

use harness::envoy::root;
use serde_json::{Value, json};

use crate::tool_reading;

/// The ids that are shown as reminders, and those that make `--strict` fail.
fn strict(config: &str) -> (i32, Vec<String>, Vec<String>) {
    let run = tool_reading(&["check", "-", "--json", "--strict", "--ignore-environment"], config.as_bytes());
    let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{config}: {error}"));
    let all = ["errors", "findings"].iter().filter_map(|key| answer[key].as_array()).flatten();
    let (reminders, others): (Vec<_>, Vec<_>) = all.partition(|finding| finding["reminder"] == json!(true));
    let ids = |list: Vec<&Value>| -> Vec<String> {
        list.iter().map(|finding| finding["id"].as_str().unwrap_or("an error").to_owned()).collect()
    };
    let count = |finding: &&Value| finding["severity"] != "info";
    (run.code, ids(reminders), ids(others.into_iter().filter(count).collect()))
}

#[test]
fn what_the_project_ships_is_quiet() {
    let mut files = vec![root().join("envoy/policy.json")];
    for folder in fs::read_dir(root().join("envoy/proxies")).unwrap().map(|entry| entry.unwrap().path()) {
        files.extend(
            ["openclaw.json", "policy.json"].map(|name| folder.join(name)).into_iter().filter(|path| path.exists()),
        );
    }
    assert!(files.len() > 12, "{files:?}");
    for file in files {
        let (code, reminders, others) = strict(&fs::read_to_string(&file).unwrap());
        assert_eq!((code, &others[..]), (0, &[][..]), "{}", file.display());
        assert!(reminders.contains(&"gateway.trusted_proxy_auth".to_owned()), "{}", file.display());
    }
}

/// A good configuration.
pub fn good() -> Value {
    json!({"gateway": {
        "bind": "lan",
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {
            "userHeader": "x-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick@example.com"],
        }},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
    }})
}

/// The good one with changes to its two blocks.
fn config(gateway: &Value, filter: Option<Value>) -> String {
    let mut config = good();
    harness::merge::merge(&mut config["gateway"], gateway.clone());
    if let Some(filter) = filter {
        config["filter"] = filter;
    }
    config.to_string()
}

#[test]
fn a_good_configuration_passes_strict_and_a_doubtful_one_does_not() {
    const AUTH: &str = "gateway.trusted_proxy_auth";
    let no = json!({});
    let local = json!({"bind": "loopback", "trustedProxies": ["127.0.0.1"],
        "auth": {"trustedProxy": {"allowLoopback": true}}});
    let cases: Vec<(String, &[&str], &[&str])> = vec![
        (config(&no, None), &[AUTH], &[]),
        (config(&json!({"controlUi": {"enabled": false, "allowedOrigins": null}}), None), &[AUTH], &[]),
        (config(&json!({"bind": null}), None), &[AUTH], &[]),
        (config(&local, None), &[AUTH, "gateway.trusted_proxy_allow_loopback"], &[]),
        (config(&no, Some(json!({"anonymousPaths": ["/hooks/*"]}))), &[AUTH, "filter.anonymous_paths"], &[]),
        (
            config(
                &no,
                Some(
                    json!({"scopes": {"groupsHeader": "x-groups", "groups": {"staff": ["operator.write"]}, "users": {"*": []}}}),
                ),
            ),
            &[AUTH, "filter.groups_header"],
            &[],
        ),
        (
            config(
                &no,
                Some(
                    json!({"edge": true, "crossSite": "refuse", "assertion": {"metadata": ["a", "b"], "as": "identity"}}),
                ),
            ),
            &[AUTH, "filter.edge"],
            &[],
        ),
        // Not needed: no listed proxy is a loopback address.
        (
            config(&json!({"auth": {"trustedProxy": {"allowLoopback": true}}}), None),
            &[AUTH],
            &["gateway.trusted_proxy_allow_loopback"],
        ),
        (config(&json!({"bind": "loopback"}), None), &[AUTH], &["check.bind_loopback"]),
        (
            config(&json!({"auth": {"trustedProxy": {"allowUsers": []}}}), None),
            &[AUTH],
            &["gateway.trusted_proxy_no_allowlist"],
        ),
        (
            config(&json!({"controlUi": {"allowedOrigins": null}}), None),
            &[AUTH],
            &["gateway.control_ui.allowed_origins_required"],
        ),
        (
            config(&json!({"controlUi": {"allowedOrigins": ["*"]}}), None),
            &[AUTH],
            &["gateway.control_ui.allowed_origins_wildcard"],
        ),
        (config(&no, Some(json!({"mode": "report"}))), &[AUTH], &["filter.report_mode"]),
    ];
    for (config, reminders, others) in cases {
        let (code, mut seen, failing) = strict(&config);
        seen.sort_unstable();
        let mut reminders = reminders.to_vec();
        reminders.sort_unstable();
        assert_eq!(seen, reminders, "{config}");
        assert_eq!(failing, others, "{config}");
        assert_eq!(code, i32::from(!others.is_empty()), "{config}");
    }
}
