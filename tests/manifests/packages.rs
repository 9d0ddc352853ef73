//! The packages that the schemas in `tests/data/crds` are from.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::envoy::{Scratch, root};
use harness::gateway::lay;
use harness::manifests;
use serde_json::{Value, json};

/// Where the packages are.
fn packages() -> PathBuf {
    let packages = root().join(".tools/crds");
    assert!(
        packages.join(".installed").is_file(),
        "the packages are missing: run `make test-manifests`, which gets them"
    );
    packages
}

/// A tool of `tools/crds` that wants Node.
fn node(tool: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tools/crds").join(tool)).arg(packages());
    command
}

/// What a command writes to standard output.
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
        assert!(is_same, "{kept} is not what the tools in tools/crds write: run them, their heads say how");
    }
}

#[test]
fn the_packages_own_validators_take_the_manifests_and_no_wrong_ones() {
    let right = manifests::read("envoy/envoy-gateway/gateway.yaml");
    // The kind, what is laid over it (null takes a field out), and a part of what the validator says.
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
    let told: Vec<Vec<String>> =
        serde_json::from_str(&output(&mut node("validate.mjs"), &Value::from(documents).to_string())).unwrap();
    let (of_right, of_wrong) = told.split_at(right.len());
    assert_eq!(of_right, vec![Vec::<String>::new(); right.len()]);
    for ((kind, over, said), problems) in wrong.iter().zip(of_wrong) {
        assert!(problems.concat().contains(said), "{kind}: {over}: {problems:?}");
    }
}
