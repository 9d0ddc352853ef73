//! The ids of findings, and the formats for other programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use harness::document::published;
use harness::envoy::{Scratch, root};
use serde_json::{Value, json};

use crate::{Run, tool_reading};

fn check(config: &str, more: &[&str]) -> Run {
    tool_reading(&[&["check", "-", "--ignore-environment"], more].concat(), config.as_bytes())
}

fn sarif(config: &str, more: &[&str]) -> (Run, Value) {
    let run = check(config, &[&["--format", "sarif"], more].concat());
    let value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{config}: {error}"));
    (run, value)
}

const WRONG: &str = r#"{
  "gateway": {
    "bind": "lan",
    "trustedProxies": ["10.0.0.1", "10.0.0.0/33"],
    "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["50%, a:b\u202e", "*"]}}
  }
}"#;
const DOUBTFUL: &str = r#"{
  "gateway": {
    "bind": "lan",
    "trustedProxies": ["10.0.0.1"],
    "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["nick", "*"]}},
    "controlUi": {"allowedOrigins": ["https://claw.example.com"]}
  }
}"#;

#[test]
fn every_id_has_a_heading_and_nothing_else_has() {
    let (_, value) = sarif("{}", &[]);
    let rules = value["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let mut page = String::from(
        "# Findings\n\n\
         Everything that `openclaw-trusted-proxy check` reports has an id. Ids that start with `gateway.` are those of the\n\
         Gateway's own audit, with its severities. Those with `filter.` are the filter's, which it also logs when it is\n\
         configured. Those with `check.` are the tool's alone. [cli.md](cli.md#check) has the command.\n\n\
         A *reminder* says what a setting means that no edit answers; `--strict` ignores it.\n\n\
         This page is made from the code.\n",
    );
    let mut ids = BTreeSet::new();
    for rule in rules {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let id = text(&rule["id"]);
        let help = text(&rule["help"]["text"]);
        let address = format!(" (docs/findings.md#{})", id.replace('.', ""));
        let answer = help.strip_suffix(&address).unwrap_or_else(|| panic!("{help}"));
        write!(page, "\n## `{id}`\n\n").unwrap();
        for item in [
            format!("**Severity:** {}.", text(&rule["properties"]["severity"])),
            format!("**Found:** {}", text(&rule["shortDescription"]["text"])),
            format!("**Answer:** {answer}"),
        ] {
            page += &harness::document::item_of_a_list(&item);
        }
        assert!(ids.insert(id.clone()), "{id} appears twice");
    }
    published("cli", "docs/findings.md", |_| page.clone());
    assert_eq!(ids, ids_in_the_code());
}

/// The ids in the code that makes findings.
fn ids_in_the_code() -> BTreeSet<String> {
    let mut files = vec![root().join("policy/src/config/audit.rs")];
    let folder = fs::read_dir(root().join("cli/src/check")).unwrap().map(|entry| entry.unwrap().path());
    files.extend(folder.filter(|path| !path.ends_with("ids.rs") && path.extension().is_some_and(|rs| rs == "rs")));
    files.push(root().join("cli/src/check.rs"));
    let mut ids = BTreeSet::new();
    for file in files {
        for text in fs::read_to_string(&file).unwrap().split('"') {
            let is_word = text.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
            let is_one = ["gateway.", "filter.", "check.", "mixed_"].iter().any(|start| text.starts_with(start));
            // A path in the configuration has no underscore.
            if is_word && is_one && (text.contains('_') || text.starts_with("check.") || text == "filter.edge") {
                ids.insert(text.to_owned());
            }
        }
    }
    ids
}

#[test]
fn sarif_says_where_what_and_how_severe() {
    let (run, value) = sarif(WRONG, &[]);
    assert_eq!(run.code, 1);
    let one = &value["runs"][0];
    assert_eq!(value["version"], "2.1.0");
    assert_eq!(
        one["invocations"],
        json!([{"executionSuccessful": true, "exitCode": 1, "toolExecutionNotifications": []}])
    );
    let (rules, results) = (one["tool"]["driver"]["rules"].as_array().unwrap(), one["results"].as_array().unwrap());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(result["locations"].as_array().unwrap().len(), 1);
    }
    let block = results.iter().find(|result| result["message"]["text"].as_str().unwrap().contains("/33")).unwrap();
    assert_eq!((&block["ruleId"], &block["level"]), (&json!("filter.config_invalid"), &json!("error")));
    assert_eq!(
        block["locations"][0],
        json!({
            "logicalLocations": [{"fullyQualifiedName": "gateway.trustedProxies[1]"}],
            "physicalLocation": {
                "artifactLocation": {"uri": "standard%20input"},
                "region": {"startLine": 4, "startColumn": 36},
            },
        })
    );

    let (run, value) = sarif(DOUBTFUL, &["--strict"]);
    assert_eq!(run.code, 1);
    let level = |id: &str| {
        let results = value["runs"][0]["results"].as_array().unwrap();
        results.iter().find(|result| result["ruleId"] == id).map(|result| result["level"].clone())
    };
    assert_eq!(level("filter.odd_user"), Some(json!("warning")));
    assert_eq!(level("gateway.trusted_proxy_auth"), Some(json!("note")));
    assert_eq!(level("check.envoy_unknown"), Some(json!("note")));

    let (run, value) = sarif("{", &[]);
    assert_eq!(run.code, 2);
    let invocation = &value["runs"][0]["invocations"][0];
    assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&json!(false), &json!(2)));
    assert_eq!(invocation["toolExecutionNotifications"].as_array().unwrap().len(), 1);
}

#[test]
fn annotations_are_one_line_each_and_separators_are_escaped() {
    let run = check(WRONG, &["--format", "github"]);
    assert_eq!(run.code, 1);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(
        lines.iter().all(|line| ["::error ", "::warning ", "::notice "].iter().any(|start| line.starts_with(start)))
    );
    let block = lines.iter().find(|line| line.contains("/33")).unwrap();
    let start = "::error file=standard input,line=4,col=36,title=filter.config_invalid::gateway.trustedProxies[1]: ";
    assert!(block.starts_with(start) && block.ends_with("%0Adocs/findings.md#filterconfig_invalid"), "{block}");
    assert!(!run.stdout.contains('\u{202e}'), "{}", run.stdout);

    let run = check(DOUBTFUL, &["--format", "github"]);
    let of = |id: &str| run.stdout.lines().find(|line| line.contains(&format!("title={id}::"))).map(str::to_owned);
    assert!(of("filter.odd_user").is_some_and(|line| line.starts_with("::warning ")), "{}", run.stdout);
    assert!(of("gateway.trusted_proxy_auth").is_some_and(|line| line.starts_with("::notice ")), "{}", run.stdout);

    let run = check("{", &["--format", "github"]);
    assert_eq!((run.code, run.stdout.lines().count()), (2, 1), "{}", run.stdout);
    assert!(run.stdout.starts_with("::error::"), "{}", run.stdout);

    // A name of a file cannot end the properties.
    let folder = Scratch::new("findings");
    let path = folder.path().join("a,b:c%.json");
    fs::write(&path, WRONG).unwrap();
    let run = crate::tool(&["check", path.to_str().unwrap(), "--format", "github"]);
    assert!(run.stdout.contains("/a%2Cb%3Ac%25.json,line=4,"), "{}", run.stdout);
}

#[test]
fn every_message_has_the_address_of_its_id() {
    let run = check(WRONG, &["--json"]);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    for finding in ["errors", "findings"].iter().filter_map(|key| answer[key].as_array()).flatten() {
        let id = finding["id"].as_str().unwrap();
        assert_eq!(finding["docs"], format!("docs/findings.md#{}", id.replace('.', "")));
    }
    let text = check(WRONG, &[]).stdout;
    assert_eq!(text.matches("docs/findings.md#filterconfig_invalid").count(), 1, "{text}");
}

#[test]
fn one_format_at_a_time() {
    for (arguments, part) in [
        (&["--json", "--format", "sarif"][..], "cannot be used with"),
        (&["--format", "xml"][..], "possible values: text, json, sarif, github"),
        (&["--format", "sarif", "--witness"][..], "use --format text or json"),
    ] {
        let run = check(DOUBTFUL, arguments);
        assert_eq!(run.code, 2, "{arguments:?}");
        assert!(run.stderr.contains(part), "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(check(DOUBTFUL, &["--format", "json"]).stdout, check(DOUBTFUL, &["--json"]).stdout);
    assert_eq!(check(DOUBTFUL, &["--format", "text"]).stdout, check(DOUBTFUL, &[]).stdout);
}
