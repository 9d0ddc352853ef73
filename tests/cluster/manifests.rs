//! Every manifest of the project before a real API server, with the custom resources of Istio and Envoy Gateway, and
//! before `istioctl`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::document::{blocks, page};
use harness::envoy::{Scratch, certificate, root};
use harness::gateway::lay;
use harness::kube::{ApiServer, part};
use harness::manifests::{self, of_kind};
use harness::tool;
use serde_json::{Value, json};

pub const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const WAYPOINT: &str = "envoy/istio/waypoint.yaml";
const GATEWAY: &str = "envoy/envoy-gateway/gateway.yaml";
pub const EXTENSION: &str = "envoy/istio/trafficextension/ingress.yaml";

/// The manifests below a folder of `envoy/`, by path.
pub fn shipped(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(shipped(&path));
        } else if path.ends_with(".yaml") && fs::read_to_string(entry.path()).unwrap().contains("\nkind: ") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A server with the namespaces of the manifests.
pub fn server() -> ApiServer {
    let server = ApiServer::local();
    for namespace in ["openclaw", "openclaw-ingress"] {
        server.must(&["create", "namespace", namespace]);
    }
    server
}

/// What the server says of documents that kubectl applies on either side, without keeping them.
fn judge(server: &ApiServer, documents: &[Value]) -> [Result<String, String>; 2] {
    let text = json!({"apiVersion": "v1", "kind": "List", "items": documents}).to_string();
    [&["--server-side"][..], &[]].map(|side| {
        let arguments = [&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], side].concat();
        server.kubectl_with(&arguments, &text)
    })
}

#[track_caller]
pub fn accepts(server: &ApiServer, documents: &[Value], what: &str) {
    for said in judge(server, documents) {
        let said = said.unwrap_or_else(|said| panic!("{what}: {said}"));
        assert_eq!(said.lines().count(), documents.len(), "{what}: {said}");
    }
}

/// A document with a change: objects are merged, null removes a field.
fn changed(documents: &[Value], kind: &str, path: &str, over: &Value) -> Value {
    let mut document = documents.iter().find(|one| one["kind"] == kind).expect("one of this kind").clone();
    let place = document.pointer_mut(path).unwrap_or_else(|| panic!("{kind} has no {path}"));
    // What is not an object is written as it is.
    lay(place, over);
    document
}

#[test]
fn the_api_server_accepts_every_manifest_of_the_project() {
    let server = server();
    let files = shipped("envoy");
    for file in [INGRESS, SIDECAR, WAYPOINT, GATEWAY, EXTENSION] {
        assert!(files.iter().any(|one| one == file), "{file} is not in {files:?}");
    }
    for file in &files {
        accepts(&server, &manifests::read(file), file);
    }

    // The alternatives of the pages and of the files' comments.
    let gateway = manifests::read(GATEWAY);
    for (kind, path, over) in [
        ("ClientTrafficPolicy", "/spec", json!({"proxyProtocol": {}})),
        ("ClientTrafficPolicy", "/spec/tls", json!({"clientValidation": {"caCertificateRefs": [{"name": "mesh"}]}})),
        (
            "EnvoyExtensionPolicy",
            "/spec/wasm/0/code",
            json!({"type": "HTTP", "image": null, "http": {"url": "https://files.example.com/filter.wasm", "sha256": "0".repeat(64)}}),
        ),
    ] {
        accepts(&server, &[changed(&gateway, kind, path, &over)], kind);
    }
    let ingress = manifests::read(INGRESS);
    for timeout in ["1h", "1.5s", "1h30m", "250ms"] {
        accepts(&server, &[changed(&ingress, "VirtualService", "/spec/http/0", &json!({"timeout": timeout}))], timeout);
    }

    // Parts of manifests that a page shows, each within the manifest that it is a part of.
    let mut seen = 0;
    for name in harness::document::pages() {
        for block in blocks(&page(&name), "yaml") {
            let first = block.lines().next().unwrap_or_default();
            let Some((_, kind)) = first.split_once(", ").filter(|_| first.starts_with("# ")) else {
                assert!(!block.contains("\nkind:") && !block.contains("apiVersion:"), "{name}: whose is this? {block}");
                continue;
            };
            let whole = if first.contains("Istio") { &ingress } else { &gateway };
            let part = manifests::parse(&block.replace('…', &"0".repeat(64))).unwrap().remove(0);
            let mut document = of_kind(whole, kind).clone();
            merge(&mut document, &part);
            accepts(&server, &[document], &name);
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "docs/image.md shows two");

    for (arguments, what) in [
        (&["istio", "--placement", "ingress"][..], "an ingress gateway"),
        (&["istio", "--placement", "gateway-api"], "a gateway of the Gateway API"),
        (&["istio", "--placement", "sidecar"], "a sidecar"),
        (&["istio", "--placement", "waypoint"], "a waypoint"),
        (
            &["istio", "--placement", "ingress", "--api", "trafficextension"],
            "an ingress gateway, as a TrafficExtension",
        ),
        (&["istio", "--placement", "sidecar", "--api", "trafficextension"], "a sidecar in the other form"),
        (&["envoy-gateway"], "Envoy Gateway"),
    ] {
        accepts(&server, &rendered(arguments), &format!("rendered for {what}"));
    }
}

/// Like [`lay`], but into the items of lists.
fn merge(whole: &mut Value, part: &Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                merge(whole.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.iter_mut().zip(part).for_each(|(one, part)| merge(one, part))
        }
        (whole, part) => *whole = part.clone(),
    }
}

/// What the tool renders out of an openclaw.json, with an operator's own settings.
fn rendered(arguments: &[&str]) -> Vec<Value> {
    let folder = Scratch::new("rendered");
    let block = of_kind(&manifests::read(SIDECAR), "WasmPlugin")["spec"]["pluginConfig"]["gateway"].clone();
    fs::write(folder.path().join("openclaw.json"), json!({"gateway": block}).to_string()).unwrap();
    let image = format!("registry.example.org/filter@sha256:{}", "ab".repeat(32));
    let output = Command::new(tool::program())
        .arg("render")
        .arg(arguments[0])
        .arg("openclaw.json")
        .args(&arguments[1..])
        .args(["--image", &image])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&image), "{text}");
    manifests::parse(&text).unwrap()
}

#[test]
fn the_api_server_refuses_what_is_wrong_in_a_manifest() {
    let server = server();
    // The file, the kind, the path of a field, what is merged there, and a part of the server's message.
    let wrong = [
        (INGRESS, "WasmPlugin", "/spec/failStrategy", json!("FAIL_SOMETIMES"), "FAIL_SOMETIMES"),
        (INGRESS, "WasmPlugin", "/spec/phase", json!("AUTHENTICATION"), "AUTHENTICATION"),
        (INGRESS, "WasmPlugin", "/spec/priority", json!("last"), "priority"),
        (INGRESS, "WasmPlugin", "/spec/pluginConfig", json!("{}"), "pluginConfig"),
        (INGRESS, "WasmPlugin", "/spec", json!({"failPolicy": "FAIL_CLOSE"}), "failPolicy"),
        (INGRESS, "WasmPlugin", "/spec", json!({"url": null}), "url"),
        (SIDECAR, "WasmPlugin", "/spec/match/0/mode", json!("INBOUND"), "INBOUND"),
        (SIDECAR, "WasmPlugin", "/spec/selector", json!({"labels": {}}), "labels"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/applyTo", json!("HTTP_FILTERS"), "HTTP_FILTERS"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/patch/operation", json!("INSERT"), "INSERT"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/match/context", json!("INBOUND"), "INBOUND"),
        (SIDECAR, "PeerAuthentication", "/spec/mtls/mode", json!("ON"), "ON"),
        (SIDECAR, "AuthorizationPolicy", "/spec", json!({"action": "PERMIT"}), "PERMIT"),
        (SIDECAR, "Sidecar", "/spec/ingress/0", json!({"defaultEndpoints": "127.0.0.1:1"}), "defaultEndpoints"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0", json!({"audience": "openclaw"}), "audience"),
        (INGRESS, "Gateway", "/spec/servers/0/tls/mode", json!("TERMINATE"), "TERMINATE"),
        (
            INGRESS,
            "DestinationRule",
            "/spec/trafficPolicy/connectionPool/http/h2UpgradePolicy",
            json!("NEVER"),
            "NEVER",
        ),
        (EXTENSION, "TrafficExtension", "/spec/phase", json!("AUTHENTICATION"), "AUTHENTICATION"),
        (EXTENSION, "TrafficExtension", "/spec/wasm/failStrategy", json!("FAIL_SOMETIMES"), "FAIL_SOMETIMES"),
        (EXTENSION, "TrafficExtension", "/spec", json!({"url": "oci://registry.example.com/x"}), "url"),
        (EXTENSION, "TrafficExtension", "/spec", json!({"lua": {"inlineCode": "x"}}), "wasm or lua"),
        // Rules in CEL, which schemas cannot have: `duration(self) >= duration('1ms')`, and so on.
        (INGRESS, "VirtualService", "/spec/http/0", json!({"timeout": "0s"}), "0s"),
        (INGRESS, "VirtualService", "/spec/http/0", json!({"timeout": "none"}), "timeout"),
        (INGRESS, "VirtualService", "/spec/http/0", json!({"retries": {"perTryTimeout": "0.0s"}}), "0.0s"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0/jwksUri", json!("id.example.com/keys"), "jwksUri"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0", json!({"jwks": "{}"}), "jwksUri"),
        (INGRESS, "WasmPlugin", "/spec", json!({"targetRefs": [{"kind": "Gateway", "name": "n"}]}), "selector"),
        (INGRESS, "WasmPlugin", "/spec/url", json!("ftp://registry.example.com/x"), "url must have schema"),
        (SIDECAR, "PeerAuthentication", "/spec/selector/matchLabels", json!({"app": "openclaw-*"}), "wildcard"),
        (
            SIDECAR,
            "AuthorizationPolicy",
            "/spec/rules/0/from/0/source",
            json!({"serviceAccounts": ["a"]}),
            "principals",
        ),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0", json!({"failOpen": "no"}), "failOpen"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0", json!({"failureStrategy": "FAIL_RELOAD"}), "failureStrategy"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0/code", json!({"type": "HTTP"}), "code"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0/code", json!({"type": "ConfigMap"}), "ConfigMap"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/targetRefs/0", json!({"kind": "Service"}), "kind"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/targetRefs/0", json!({"group": "apps"}), "group"),
        (
            GATEWAY,
            "EnvoyExtensionPolicy",
            "/spec",
            json!({"targetRef": {"group": "g", "kind": "Gateway", "name": "n"}}),
            "targetRef",
        ),
        (GATEWAY, "SecurityPolicy", "/spec/oidc", json!({"clientSecret": "hunter2"}), "clientSecret"),
        (GATEWAY, "SecurityPolicy", "/spec/oidc/denyRedirect/headers/0", json!({"type": "Equal"}), "Equal"),
        (GATEWAY, "SecurityPolicy", "/spec/jwt/providers/0", json!({"audience": "openclaw"}), "audience"),
        (
            GATEWAY,
            "SecurityPolicy",
            "/spec/jwt/providers/0",
            json!({"localJWKS": {"type": "Inline", "inline": "{}"}}),
            "providers[0]",
        ),
        (GATEWAY, "SecurityPolicy", "/spec/oidc", json!({"clientIDRef": {"name": "openclaw-oidc"}}), "clientID"),
        (GATEWAY, "SecurityPolicy", "/spec/oidc", json!({"cookieDomain": "Example.com"}), "cookieDomain"),
        (GATEWAY, "SecurityPolicy", "/metadata", json!({"name": "open claw"}), "open claw"),
        (GATEWAY, "ClientTrafficPolicy", "/spec/path", json!({"escapedSlashesAction": "Keep"}), "Keep"),
        (GATEWAY, "ClientTrafficPolicy", "/spec/headers", json!({"withUnderscoresAction": "REJECT"}), "REJECT"),
        (GATEWAY, "ClientTrafficPolicy", "/spec/tls", json!({"minVersion": 1.2}), "minVersion"),
        (GATEWAY, "Gateway", "/spec/listeners/0", json!({"port": 0}), "port"),
        (GATEWAY, "HTTPRoute", "/spec/rules/0/timeouts", json!({"request": "none"}), "timeouts.request"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec", json!({"targetRefs": null}), "targetRef"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0", json!({"code": null}), "code"),
        (GATEWAY, "EnvoyExtensionPolicy", "/spec/wasm/0/code/image", json!({"url": null}), "url"),
        (GATEWAY, "SecurityPolicy", "/spec/oidc", json!({"clientSecret": null}), "clientSecret"),
        (GATEWAY, "SecurityPolicy", "/spec/oidc/provider", json!({"issuer": null}), "issuer"),
        (GATEWAY, "SecurityPolicy", "/spec/jwt/providers/0", json!({"name": null}), "name"),
        (GATEWAY, "ClientTrafficPolicy", "/spec/targetRefs/0", json!({"kind": null}), "kind"),
        (GATEWAY, "Gateway", "/spec", json!({"gatewayClassName": null}), "gatewayClassName"),
        (GATEWAY, "Gateway", "/spec/listeners/0", json!({"protocol": null}), "protocol"),
        (GATEWAY, "HTTPRoute", "/spec/rules/0/backendRefs/0", json!({"name": null}), "name"),
    ];
    // In one command for each side, because a kubectl takes longer to start than to ask. Its errors name the file or
    // the object.
    let folder = Scratch::new("mistakes");
    let name = |index: usize| format!("case-{index:02}");
    for (index, (file, kind, path, over, _)) in wrong.iter().enumerate() {
        let mut document = changed(&manifests::read(file), kind, path, over);
        if *path != "/metadata" {
            document["metadata"]["name"] = json!(name(index));
        }
        fs::write(folder.path().join(name(index) + ".json"), document.to_string()).unwrap();
    }
    for side in [&["--server-side"][..], &[]] {
        let all = ["apply", "--dry-run=server", "--validate=strict", "-f", folder.path().to_str().unwrap()];
        let said = server.kubectl(&[&all[..], side].concat()).expect_err("everything here is wrong");
        let mut errors: Vec<String> = Vec::new();
        for line in said.lines() {
            let begins = ["The ", "Error from server", "error:"].iter().any(|start| line.starts_with(start));
            match errors.last_mut().filter(|_| !begins) {
                Some(error) => *error += line,
                None => errors.push(line.to_owned()),
            }
        }
        let mut problems = Vec::new();
        for (index, (_, kind, path, over, words)) in wrong.iter().enumerate() {
            let own: Vec<_> = errors.iter().filter(|error| error.contains(&name(index))).collect();
            let is_told = match own.as_slice() {
                [error] => error.contains(words),
                _ => *path == "/metadata" && errors.iter().any(|error| error.contains(words)),
            };
            if !is_told {
                problems.push(format!("{kind}, {path}, {over}: {own:#?}"));
            }
        }
        assert!(problems.is_empty(), "{side:?}: {}\n{said}", problems.join("\n"));
    }
    let unknown = json!({"apiVersion": "extensions.istio.io/v2", "kind": "WasmPlugin", "metadata": {"name": "n"}});
    for said in judge(&server, &[unknown]) {
        assert!(said.unwrap_err().contains("no matches for kind"), "another version");
    }
}

/// What `istioctl` prints for files in a folder, and whether it is content.
fn istioctl(server: &ApiServer, arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new(part("istio/istioctl"))
        .args(arguments)
        .env("KUBECONFIG", server.kubeconfig())
        .env("HOME", folder)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

#[test]
fn istioctl_validates_and_analyzes_the_manifests() {
    let server = server();
    server.must(&["label", "namespace", "openclaw", "openclaw-ingress", "istio-injection=enabled"]);
    // What the manifests refer to.
    let keys = Scratch::new("istioctl-keys");
    certificate(keys.path(), &["claw.example.com"]).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| keys.path().join(name).to_str().unwrap().to_owned());
    let secret = ["--cert", &cert, "--key", &key, "--namespace=openclaw-ingress"];
    server.must(&[&["create", "secret", "tls", "claw-example-com"][..], &secret].concat());
    server.must(&["label", "namespace", "default", "istio-injection=disabled"]);
    for (namespace, label, value, port) in
        [("openclaw", "app", "openclaw-gateway", 18789), ("openclaw-ingress", "istio", "openclaw-ingress", 443)]
    {
        server.apply_all(&[
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": value, "namespace": namespace, "labels": {label: value}},
                "spec": {"containers": [{"name": "istio-proxy", "image": "registry.example.com/proxy"}]},
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": value, "namespace": namespace},
                "spec": {"selector": {label: value}, "ports": [{"name": "http", "port": port}]},
            }),
        ]);
    }
    let folder = Scratch::new("istioctl");
    let files: Vec<String> = shipped("envoy/istio");
    for file in &files {
        let path = root().join(file);
        let (fine, said) = istioctl(&server, &["validate", "-f", path.to_str().unwrap()], folder.path());
        assert!(fine, "{file}: {said}");
        // It warns of each EnvoyFilter, whatever is in it, and of nothing else.
        let usual =
            ["is valid", "has warnings", "EnvoyFilter exposes internal implementation details", "validation succeed"];
        let other: Vec<_> = said.lines().filter(|line| !usual.iter().any(|words| line.contains(words))).collect();
        assert!(other.iter().all(|line| line.trim().is_empty()), "{file}: {other:?}");
        let documents = manifests::read(file);
        server.apply_all(&documents);
    }
    let (fine, said) = istioctl(&server, &["analyze", "--all-namespaces", "--output", "json"], folder.path());
    assert!(fine, "{said}");
    let found: Vec<Value> = serde_json::from_str(&said).unwrap_or_default();
    let codes: BTreeSet<&str> = found.iter().filter_map(|one| one["code"].as_str()).collect();
    // The warning about EnvoyFilters.
    assert_eq!(codes, BTreeSet::from(["IST0133"]), "{said}");

    // It does tell mistakes.
    let wrong = changed(&manifests::read(INGRESS), "VirtualService", "/spec", &json!({"gateways": ["elsewhere"]}));
    server.apply_all(&[wrong]);
    let (_, said) = istioctl(&server, &["analyze", "--all-namespaces"], folder.path());
    assert!(said.contains("IST0101"), "{said}");
    let broken = changed(&manifests::read(INGRESS), "VirtualService", "/spec/http/0", &json!({"timeout": "0s"}));
    fs::write(folder.path().join("wrong.json"), broken.to_string()).unwrap();
    let (fine, said) = istioctl(&server, &["validate", "-f", "wrong.json"], folder.path());
    assert!(!fine, "{said}");
}
