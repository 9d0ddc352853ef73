//! The npm packages of `tools/crds`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::envoy::{Scratch, root};
use harness::gateway::lay;
use harness::manifests;
use serde_json::{Value, json};

/// Runs a tool of `tools/crds` with Node: what it wrote to standard output.
fn node(tool: &str, more: &[&Path], input: &str) -> String {
    let packages = root().join(".tools/crds");
    assert!(
        packages.join(".installed").is_file(),
        "the packages are missing: run `make test-manifests`, which gets them"
    );
    let mut command = Command::new("node");
    command.arg(root().join("tools/crds").join(tool)).arg(packages).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("node is missing: install Node (on Debian: apt-get install nodejs)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success(), "{tool}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn the_schemas_are_those_of_the_packages() {
    let folder = Scratch::new("crds");
    node("extract.mjs", &[folder.path()], "");
    for name in ["envoy-gateway.json", "kubernetes.json"] {
        let kept = format!("tests/data/crds/{name}");
        let [made, kept_text] =
            [folder.path().join(name), root().join(&kept)].map(|file| fs::read_to_string(file).unwrap());
        assert!(made == kept_text, "{kept} is not what tools/crds/extract.mjs writes: run it, its head says how");
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
        serde_json::from_str(&node("validate.mjs", &[], &Value::from(documents).to_string())).unwrap();
    let (of_right, of_wrong) = told.split_at(right.len());
    assert_eq!(of_right, vec![Vec::<String>::new(); right.len()]);
    for ((kind, over, said), problems) in wrong.iter().zip(of_wrong) {
        assert!(problems.concat().contains(said), "{kind}: {over}: {problems:?}");
    }
}
