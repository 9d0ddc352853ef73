//! Runs the commands that the pages begin with, with a new and an old kubectl, against a real API server.

use std::fs;
use std::os::unix::fs::symlink;

use harness::document;
use harness::envoy::{Scratch, root};
use harness::kube::{ApiServer, kubectls};
use harness::manifests;
use serde_json::Value;

/// The pages with kubectl commands, and the manifests that they apply.
const PAGES: [(&str, &[&str]); 2] = [
    ("envoy-gateway.md", &["envoy/envoy-gateway/gateway.yaml"]),
    ("istio.md", &["envoy/istio/sidecar.yaml", "envoy/istio/ingress.yaml"]),
];

/// A folder as the pages assume it: the repository's files, and the operator's own.
fn place() -> Scratch {
    let folder = Scratch::new("kubectl");
    symlink(root().join("envoy"), folder.path().join("envoy")).unwrap();
    harness::envoy::certificate(folder.path(), &["claw.example.com"]).unwrap();
    for (ours, theirs) in [("cert.pem", "claw.pem"), ("key.pem", "claw.key")] {
        fs::rename(folder.path().join(ours), folder.path().join(theirs)).unwrap();
    }
    fs::write(folder.path().join("client-secret"), "a secret of the provider's").unwrap();
    folder
}

/// The commands with which a page begins, in order.
fn commands(page: &str) -> String {
    let all = document::commands(document::beginning(&document::page(&format!("docs/{page}"))));
    all.into_iter().map(|command| command.line + "\n").filter(|line| is_run(line)).collect()
}

fn is_run(line: &str) -> bool {
    ["kubectl ", "openclaw-trusted-proxy "].iter().any(|start| line.starts_with(start))
}

#[test]
fn what_the_pages_say_applies_the_manifests_and_makes_what_they_refer_to() {
    for kubectl in kubectls() {
        for (page, files) in PAGES {
            let (server, folder) = (ApiServer::local(), place());
            let run = |commands: &str| {
                let said = server.run(&kubectl, folder.path(), commands);
                said.unwrap_or_else(|said| panic!("{kubectl:?}, {page}: {said}"))
            };
            run(&commands(page));
            let documents: Vec<Value> = files.iter().flat_map(|file| manifests::read(file)).collect();
            for document in &documents {
                let (kind, metadata) = (document["kind"].as_str().unwrap(), &document["metadata"]);
                let (name, namespace) = (metadata["name"].as_str().unwrap(), metadata["namespace"].as_str().unwrap());
                let kept = server.object(&qualified(document), namespace, name);
                assert!(holds(&kept["spec"], &document["spec"]), "{page}: {kind} {name}: {kept}");
            }
            for (namespace, name, keys) in secrets(&documents) {
                let secret = server.object("secret", &namespace, &name);
                assert!(!secret.is_null(), "{page}: nothing creates the secret {name} in {namespace}");
                for key in keys {
                    assert!(secret["data"][key].is_string(), "{page}: {name} has no {key}");
                }
            }
            // Again, as after an edit: applying again works.
            let again = commands(page).lines().filter(|line| line.contains(" apply ")).collect::<Vec<_>>().join("\n");
            let said = run(&again);
            // kubectl calls an object changed where the server filled in defaults.
            let kept = [" unchanged", " configured"].map(|word| said.matches(word).count());
            assert_eq!(kept.iter().sum::<usize>(), documents.len(), "{said}");
        }
    }
}

/// The kind with its group, since `Gateway` is in two.
fn qualified(document: &Value) -> String {
    let group = document["apiVersion"].as_str().unwrap().split_once('/').map_or("", |(group, _)| group);
    format!("{}.{group}", document["kind"].as_str().unwrap()).trim_end_matches('.').to_owned()
}

/// Whether a value has everything that another one says; the server may have added defaults.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| holds(whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

/// The namespace, name and keys of the secrets that manifests refer to.
fn secrets(documents: &[Value]) -> Vec<(String, String, &'static [&'static str])> {
    const TLS: &[&str] = &["tls.crt", "tls.key"];
    let mut all = Vec::new();
    for document in documents {
        let spec = &document["spec"];
        let mut add = |name: &Value, keys| {
            if let Some(name) = name.as_str() {
                // Istio looks for it in the namespace of the ingress gateway's pods, which is a separate one here.
                all.push((document["metadata"]["namespace"].as_str().unwrap().to_owned(), name.to_owned(), keys));
            }
        };
        for listener in spec["listeners"].as_array().into_iter().flatten() {
            for reference in listener["tls"]["certificateRefs"].as_array().into_iter().flatten() {
                add(&reference["name"], TLS);
            }
        }
        for server in spec["servers"].as_array().into_iter().flatten() {
            add(&server["tls"]["credentialName"], TLS);
        }
        add(&spec["oidc"]["clientSecret"]["name"], &["client-secret"]);
    }
    assert!(!all.is_empty(), "the manifests refer to secrets");
    all
}

#[test]
fn a_wrong_manifest_makes_kubectl_fail() {
    // The page, a text in a manifest, its replacement, and a part of kubectl's error.
    let wrong = [
        ("envoy-gateway.md", "failOpen: false", "failClosed: true", "failClosed"),
        ("envoy-gateway.md", "type: Image", "type: Picture", "Picture"),
        ("envoy-gateway.md", "  gatewayClassName: eg\n", "", "gatewayClassName"),
        ("envoy-gateway.md", "kind: ClientTrafficPolicy", "kind: ClientPolicy", "ClientPolicy"),
        ("envoy-gateway.md", "namespace: openclaw\n", "namespace: elsewhere\n", "\"elsewhere\" not found"),
        // A rule in CEL of the CRD, as an API server enforces it.
        ("istio.md", "    - route:\n", "    - timeout: 0s\n      route:\n", "0s"),
        ("istio.md", "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_SOMETIMES", "FAIL_SOMETIMES"),
        ("istio.md", "pluginConfig:", "plugin_config:", "plugin_config"),
        ("istio.md", "mtls: { mode: STRICT }", "mtls: { mode: STRICT", "converting YAML to JSON"),
    ];
    for kubectl in kubectls() {
        let server = ApiServer::local();
        for namespace in ["openclaw", "openclaw-ingress"] {
            server.must(&["create", "namespace", namespace]);
        }
        for (page, right, instead, words) in wrong {
            let folder = place();
            fs::remove_file(folder.path().join("envoy")).unwrap();
            let (_, files) = PAGES.iter().find(|(one, _)| *one == page).unwrap();
            let mut replaced = false;
            for file in *files {
                let text = fs::read_to_string(root().join(file)).unwrap();
                let to = folder.path().join(file);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                replaced |= text.contains(right);
                fs::write(to, text.replace(right, instead)).unwrap();
            }
            assert!(replaced, "{page} no longer has {right}");
            let applied: String = commands(page).lines().filter(|line| line.contains(" apply ")).collect();
            let said = server.run(&kubectl, folder.path(), &applied);
            let said = said.expect_err(&format!("{kubectl:?} accepted {instead}"));
            assert!(said.contains(words), "{kubectl:?}: {instead}: {said}");
        }
    }
}
