//! The packages from which the schemas in `tests/data/crds` were extracted.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::envoy::{Scratch, root};
use harness::gateway::lay;
use harness::manifests;
use serde_json::{Map, Value, json};

/// The folder of the packages.
fn packages() -> PathBuf {
    let packages = root().join(".tools/crds");
    assert!(
        packages.join(".installed").is_file(),
        "the packages are missing: run `make test-manifests`, which installs them"
    );
    packages
}

/// A tool of `tools/crds` that needs Node.
fn node(tool: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tools/crds").join(tool)).arg(packages());
    command
}

/// The standard output of a command.
fn output(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_owned();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program:?} is missing ({error}): install it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_schemas_are_those_of_the_packages() {
    let folder = Scratch::new("crds");
    output(node("extract.mjs").arg(folder.path()), "");
    let istio = output(Command::new(packages().join("venv/bin/python")).arg(root().join("tools/crds/extract.py")), "");
    fs::write(folder.path().join("istio.json"), istio).unwrap();
    for name in ["envoy-gateway.json", "istio.json", "kubernetes.json"] {
        let kept = format!("tests/data/crds/{name}");
        let read = |file: PathBuf| fs::read_to_string(file).unwrap();
        let is_same = read(folder.path().join(name)) == read(root().join(&kept));
        assert!(
            is_same,
            "{kept} differs from the output of the tools in tools/crds: run them, as their header comments describe"
        );
    }
}

#[test]
fn the_packages_own_validators_take_the_manifests_and_no_wrong_ones() {
    let right = manifests::read("envoy/envoy-gateway/gateway.yaml");
    // The kind, the change (null removes a field), and a part of the validator's message.
    let wrong = [
        ("Gateway", json!({"spec": {"gatewayClassName": null}}), "gatewayClassName"),
        ("Gateway", json!({"spec": {"listeners": []}}), "/spec/listeners"),
        ("HTTPRoute", json!({"spec": {"hostnames": ["Claw.example.com"]}}), "/spec/hostnames/0"),
        ("ClientTrafficPolicy", json!({"spec": {"path": {"escapedSlashesAction": "Keep"}}}), "escapedSlashesAction"),
        ("SecurityPolicy", json!({"spec": {"oidc": {"provider": null}}}), "provider"),
        ("EnvoyExtensionPolicy", json!({"spec": {"wasm": [{"failOpen": false}]}}), "code"),
    ];
    let mut documents = right.clone();
    for (kind, over, _) in &wrong {
        let mut document = right.iter().find(|one| one["kind"] == *kind).expect("one of this kind").clone();
        lay(&mut document, over);
        documents.push(document);
    }
    let told = ask(documents);
    let (of_right, of_wrong) = told.split_at(right.len());
    assert!(of_right.iter().all(Vec::is_empty), "{of_right:?}");
    for ((kind, over, said), problems) in wrong.iter().zip(of_wrong) {
        assert!(problems.iter().any(|one| one.to_string().contains(said)), "{kind}: {over}: {problems:?}");
    }
}

/// The messages of the packages' validators for each document.
fn ask(documents: Vec<Value>) -> Vec<Vec<Value>> {
    serde_json::from_str(&output(&mut node("validate.mjs"), &Value::from(documents).to_string())).unwrap()
}

/// Values for every field: of each type, and beyond every usual limit.
fn probes() -> Vec<Value> {
    let texts =
        ["", "a", "A b!"].map(str::to_owned).into_iter().chain([70, 300, 5_000].map(|length| "x".repeat(length)));
    let lists = [0, 1, 20, 100, 2_000].map(|length| vec!["a"; length]);
    let objects = [0, 1, 100].map(|size| (0..size).map(|at| (format!("k{at}"), json!("v"))).collect::<Map<_, _>>());
    let mut all: Vec<Value> =
        texts.map(Value::from).chain(lists.map(Value::from)).chain(objects.map(Value::from)).collect();
    all.extend([
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!(70_000),
        json!(3_000_000_000_u64),
        json!(true),
        json!([{}]),
    ]);
    all
}

/// A step to a place in a document: into a field, a list, or a map.
#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Item,
    Key,
}

/// Every place in a schema, each definition once.
fn places(root: &Value, schema: &Value, path: &[Step], seen: &mut BTreeSet<String>, all: &mut Vec<Vec<Step>>) {
    if let Some(name) = schema["$ref"].as_str() {
        if seen.insert(name.to_owned()) {
            places(root, root.pointer(name.trim_start_matches('#')).unwrap(), path, seen, all);
        }
        return;
    }
    let below = |step: Step| [path, &[step]].concat();
    let mut go = |path: Vec<Step>, schema: &Value| {
        all.push(path.clone());
        places(root, schema, &path, seen, all);
    };
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let is_fixed = path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str());
        if !is_fixed {
            go(below(Step::Field(name.clone())), schema);
        }
    }
    if schema["items"].is_object() {
        go(below(Step::Item), &schema["items"]);
    }
    if schema["additionalProperties"].is_object() {
        go(below(Step::Key), &schema["additionalProperties"]);
    }
}

/// A document of a kind with only this value at a place; and that place.
fn with(name: &str, place: &[Step], value: &Value) -> (Value, String) {
    let mut pointer = String::new();
    for step in place {
        match step {
            Step::Field(name) => write!(pointer, "/{name}").unwrap(),
            Step::Item => pointer.push_str("/0"),
            Step::Key => pointer.push_str("/k"),
        }
    }
    let mut document = place.iter().rev().fold(value.clone(), |inner, step| match step {
        Step::Field(name) => json!({name: inner}),
        Step::Item => json!([inner]),
        Step::Key => json!({"k": inner}),
    });
    let (version, kind) = name.rsplit_once('/').unwrap();
    lay(&mut document, &json!({"apiVersion": version, "kind": kind, "metadata": {"name": "n"}}));
    (document, pointer)
}

/// The problems at a place and below it, as path and keyword.
fn said<'e>(errors: impl Iterator<Item = (&'e str, &'e str)>, pointer: &str) -> BTreeSet<(&'e str, &'e str)> {
    // The packages allow fields that do not exist.
    let errors = errors.filter(|(path, keyword)| path.starts_with(pointer) && *keyword != "additionalProperties");
    let mut all: BTreeSet<_> = errors.collect();
    // Ajv reports for each alternative why it fails.
    for (path, _) in all.clone().iter().filter(|(_, keyword)| *keyword == "oneOf") {
        all.remove(&(*path, "type"));
    }
    all
}

#[test]
fn every_limit_of_every_field_is_that_of_the_packages_own_validators() {
    let probes = probes();
    let mut asked = 0;
    for file in ["envoy-gateway.json", "kubernetes.json"] {
        let text = fs::read_to_string(root().join("tests/data/crds").join(file)).unwrap();
        let schemas: Map<String, Value> = serde_json::from_str(&text).unwrap();
        for (name, schema) in &schemas {
            let validator = jsonschema::validator_for(schema).unwrap();
            let mut all = Vec::new();
            places(schema, schema, &[], &mut BTreeSet::new(), &mut all);
            let documents = all.iter().flat_map(|place| probes.iter().map(|probe| with(name, place, probe)));
            let (documents, pointers): (Vec<Value>, Vec<String>) = documents.unzip();
            let theirs = ask(documents.clone());
            for ((document, pointer), theirs) in documents.iter().zip(&pointers).zip(&theirs) {
                let theirs = theirs.iter().map(|one| (one["path"].as_str().unwrap(), one["keyword"].as_str().unwrap()));
                let ours: Vec<_> = validator
                    .iter_errors(document)
                    .map(|error| (error.instance_path().to_string(), error.schema_path().to_string()))
                    .collect();
                let ours = ours.iter().map(|(path, schema)| (path.as_str(), schema.rsplit('/').next().unwrap()));
                if theirs.clone().any(|(path, keyword)| path.starts_with(pointer.as_str()) && keyword == "format") {
                    // This is not checked here.
                    continue;
                }
                let [ours, theirs] = [said(ours, pointer), said(theirs, pointer)];
                assert_eq!(ours, theirs, "{name}{pointer}: {document:.500}");
                asked += 1;
            }
        }
    }
    assert!(asked > 10_000, "{asked} documents only");
}
