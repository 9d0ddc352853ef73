//! The table of the Gateway's keys, compared with the schema that the real package prints.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use harness::envoy::Scratch;
use harness::gateway::{Gateway, Options, lay};
use harness::oracle;
use harness::tool::program;
use policy::config::gateway_keys::{self, GatewayKey, RELEASE};
use policy::config::nearest;
use serde_json::{Value, json};

use crate::generate::{Random, case};

/// The paths of keys, each with its words if it is a choice.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// The words of a schema that allows nothing but words.
fn words(schema: &Value) -> BTreeSet<String> {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|one| schema[*one].as_array());
    let consts = alternatives.map(|all| all.iter().map(|one| &one["const"]).collect::<Vec<_>>());
    let listed = schema["enum"].as_array().map(|all| all.iter().collect());
    let texts: Option<BTreeSet<String>> =
        listed.or(consts).unwrap_or_default().into_iter().map(|word| word.as_str().map(str::to_owned)).collect();
    texts.unwrap_or_default()
}

/// Adds the keys of an object's schema, whatever alternatives it has.
fn theirs(schema: &Value, above: &str, keys: &mut Keys) {
    let object = schema.as_object().unwrap_or_else(|| panic!("{above} has no schema: {schema}"));
    assert!(!object.contains_key("$ref") && !object.contains_key("patternProperties"), "{above}: {schema}");
    let named = object.get("properties").and_then(Value::as_object).into_iter().flatten();
    let free = object.get("additionalProperties").filter(|free| free.is_object());
    let all = named.map(|(name, schema)| (name.as_str(), schema)).chain(free.map(|schema| ("*", schema)));
    for (name, schema) in all {
        let path = format!("{above}{name}");
        theirs(schema, &format!("{path}."), keys);
        let known = keys.entry(path).or_default();
        known.extend(words(schema));
    }
    for alternative in ["anyOf", "oneOf", "allOf"].iter().filter_map(|one| object.get(*one)?.as_array()).flatten() {
        theirs(alternative, above, keys);
    }
    if let Some(items) = object.get("items") {
        let mut within = Keys::new();
        theirs(items, above, &mut within);
        assert!(within.is_empty(), "{above} is a list of objects, which the table cannot say: {within:?}");
    }
}

fn ours(table: &[GatewayKey], above: &str, keys: &mut Keys) {
    for key in table {
        let path = format!("{above}{}", key.name);
        ours(key.below, &format!("{path}."), keys);
        keys.insert(path, key.words.iter().map(|word| (*word).to_owned()).collect());
    }
}

/// What is in one and not in the other, or has other words there.
fn beyond<'k>(one: &'k Keys, other: &Keys) -> Vec<(&'k String, &'k BTreeSet<String>)> {
    one.iter().filter(|(path, words)| other.get(*path) != Some(words)).collect()
}

#[test]
fn the_table_of_keys_is_the_schema_of_the_package() {
    let (release, schema) = oracle::schema();
    let (mut their_keys, mut our_keys) = (Keys::new(), Keys::new());
    theirs(&schema["properties"]["gateway"], "", &mut their_keys);
    ours(gateway_keys::KEYS, "", &mut our_keys);
    assert!(their_keys.len() > 100, "is this the schema? {their_keys:?}");
    let (new, gone) = (beyond(&their_keys, &our_keys), beyond(&our_keys, &their_keys));
    assert!(
        new.is_empty() && gone.is_empty(),
        "policy/src/config/gateway_keys.rs differs from the Gateway {release}\n  it lacks {new:#?}\n  the Gateway lacks {gone:#?}"
    );
    assert_eq!(release, RELEASE, "the table's release");
    for name in schema["properties"].as_object().unwrap().keys().filter(|name| *name != "gateway") {
        assert_eq!(nearest(name, &["gateway", "filter"]), None, "`check` would take {name} for a slip");
    }
    crate::say(&format!("{} keys below gateway, as in the Gateway {release}", our_keys.len()));
}

#[test]
fn a_difference_in_either_direction_is_noticed() {
    let keys = |schema: Value| {
        let mut keys = Keys::new();
        theirs(&schema, "", &mut keys);
        keys
    };
    let word = |words: &[&str]| json!({"anyOf": words.iter().map(|word| json!({"const": word})).collect::<Vec<_>>()});
    let old = keys(json!({"properties": {"bind": word(&["lan"]), "auth": {"properties": {"mode": {}}}}}));
    let new = keys(json!({"properties": {"bind": word(&["lan", "unix"]), "auth": {
        "anyOf": [{"type": "string"}, {"properties": {"mode": {}, "denyUsers": {}}}],
        "additionalProperties": {"properties": {"x": {"enum": ["a"]}}},
    }}}));
    let names = |keys: Vec<(&String, _)>| keys.into_iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(beyond(&new, &old)), ["auth.*", "auth.*.x", "auth.denyUsers", "bind"]);
    assert_eq!(names(beyond(&old, &new)), ["bind"]);
}

#[test]
fn the_gateway_refuses_what_is_a_finding_here() {
    let good = || {
        json!({"gateway": {
            "mode": "local", "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
        }})
    };
    assert_eq!(oracle::validate(&good().to_string()), Ok(()));
    let mut misspelled = good();
    misspelled["gateway"]["controlui"] = json!({});
    misspelled["gateway"]["http"] = json!({"endpoints": {"chatCompletions": {"enable": true}}});
    let mut misplaced = good();
    misplaced["gateway"]["bind"] = json!("lann");
    misplaced["gateway"]["reload"] = json!({"mode": "hot"});
    for (config, id, theirs) in [
        (misspelled, "filter.unknown_key", ["Unrecognized key: \"controlui\"", "Unrecognized key: \"enable\""]),
        (misplaced, "filter.unknown_value", ["got: \"lann\"", "gateway.reload.mode"]),
    ] {
        let said = oracle::validate(&config.to_string()).unwrap_err();
        assert!(theirs.iter().all(|text| said.contains(text)), "{said}");
        let findings = policy::config::compile(config.to_string().as_bytes()).unwrap().findings;
        assert_eq!(findings.iter().filter(|finding| finding.id == id).count(), 2, "{findings:#?}");
    }
}

#[test]
fn the_gateway_does_not_start_with_what_check_says_it_does_not() {
    for (block, complaint) in [
        (json!({"gateway": {"tailscale": {"mode": "funnel"}}}), "tailscale funnel requires gateway auth mode=password"),
        (json!({"gateway": {"tailscale": {"mode": "serve"}, "bind": "auto"}}), "must resolve to loopback"),
        (json!({"gateway": {"bind": "custom"}}), "gateway.bind=custom requires gateway.customBindHost"),
        (json!({"gateway": {"mode": "remote"}}), "set gateway.mode=local"),
        (json!({"hooks": {"enabled": true}}), "hooks.enabled requires hooks.token"),
        (json!({"hooks": {"enabled": true, "token": "x", "path": "/"}}), "hooks.path may not be '/'"),
    ] {
        let mut file = json!({"gateway": Gateway::minimal()});
        lay(&mut file["gateway"], &json!({"controlUi": {"allowedOrigins": ["https://claw.example.com"]}}));
        lay(&mut file, &block);
        let failed = std::panic::catch_unwind(|| Gateway::start(&file, &Options::default()));
        let said = failed.err().expect("the Gateway does not start").downcast::<String>().unwrap();
        assert!(said.contains(complaint), "{block}: {said}");
        let folder = Scratch::new("check");
        let place = folder.path().join("openclaw.json");
        std::fs::write(&place, file.to_string()).unwrap();
        let run =
            Command::new(program()).args(["check", "--json", "--ignore-environment"]).arg(&place).output().unwrap();
        let answer: Value = serde_json::from_slice(&run.stdout).unwrap();
        let ids: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| &error["id"]).collect();
        assert_eq!((run.status.code(), ids), (Some(1), vec![&json!("check.does_not_start")]), "{block}: {answer}");
    }
}

/// A test may not ask only for what its author thought of: every key that is read is drawn.
#[test]
fn every_key_that_is_read_is_drawn_in_generated_cases() {
    let mut random = Random::new(Random::seed("KEYS_SEED"));
    let mut drawn = BTreeSet::new();
    for _ in 0..2_000 {
        model::paths(&case(&mut random).gateway, "", &mut drawn);
    }
    let missing: Vec<_> = gateway_keys::read().into_iter().filter(|key| !drawn.contains(key)).collect();
    assert!(missing.is_empty(), "tests/gateway/generate.rs draws no {missing:?}");
}
