//! The admission policy for other plugins, in a real API server.

use harness::envoy::eventually;
use harness::kube::ApiServer;
use harness::manifests::{self, of_kind};
use serde_json::{Value, json};

use super::manifests::{EXTENSION, INGRESS, accepts, server, shipped};

const POLICY: &str = "envoy/istio/plugin-order.yaml";
const LATER: &str = "set phase to AUTHN, or to AUTHZ with a priority above -1000";
const LAST: &str = "set phase to AUTHZ and priority to -1000";
const KINDS: [&str; 2] = ["WasmPlugin", "TrafficExtension"];

/// A plugin in a namespace, with a module where its kind has it.
fn plugin(kind: &str, (namespace, name): (&str, &str), spec: &Value) -> Value {
    let mut spec = spec.clone();
    if kind == "WasmPlugin" {
        spec["url"] = json!("oci://registry.example.com/other");
    } else if spec.get("lua").is_none() {
        spec["wasm"] = json!({"url": "oci://registry.example.com/other"});
    }
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn apply(server: &ApiServer, one: &Value, more: &[&str]) -> Result<String, String> {
    server.kubectl_with(&[&["apply", "-f", "-"], more].concat(), &one.to_string())
}

#[track_caller]
fn refuses(server: &ApiServer, one: &Value, words: &str, more: &[&str]) {
    let said = apply(server, one, more).expect_err(&one.to_string());
    assert!(said.contains("openclaw-plugin-order") && said.contains(words), "{one}: {said}");
}

#[test]
fn the_admission_policy_refuses_plugins_that_would_run_after_the_filter() {
    const DRY: &[&str] = &["--dry-run=server"];
    let server = server();
    let early = json!({"phase": "AUTHZ", "priority": 10});
    // What was there before stays.
    apply(&server, &plugin("WasmPlugin", ("openclaw", "before"), &json!({"phase": "STATS"})), &[]).unwrap();
    server.apply_all(&manifests::read(POLICY));
    let late = plugin("WasmPlugin", ("openclaw", "other"), &json!({"phase": "STATS"}));
    eventually("the admission policy", || apply(&server, &late, DRY).is_err());

    for kind in KINDS {
        for namespace in ["openclaw", "openclaw-ingress"] {
            for spec in [
                json!({}),
                json!({"priority": 10}),
                json!({"phase": "AUTHZ"}),
                json!({"phase": "AUTHZ", "priority": null}),
                json!({"phase": "AUTHZ", "priority": -1000}),
                json!({"phase": "AUTHZ", "priority": -1001}),
                json!({"phase": "STATS", "priority": 10}),
            ] {
                refuses(&server, &plugin(kind, (namespace, "other"), &spec), LATER, DRY);
            }
            for spec in [
                early.clone(),
                json!({"phase": "AUTHZ", "priority": -999}),
                json!({"phase": "AUTHN"}),
                json!({"phase": "AUTHN", "priority": -2000}),
            ] {
                let one = plugin(kind, (namespace, "other"), &spec);
                apply(&server, &one, DRY).unwrap_or_else(|said| panic!("{one}: {said}"));
            }
        }
        // Elsewhere, plugins are as they were.
        apply(&server, &plugin(kind, ("default", "other"), &json!({"phase": "STATS"})), DRY).unwrap();
        // The filter is the last, or others would run after it.
        let filter = ("openclaw", "openclaw-trusted-proxy");
        for spec in [json!({"phase": "AUTHZ", "priority": 0}), json!({"phase": "AUTHN", "priority": -1000}), json!({})]
        {
            refuses(&server, &plugin(kind, filter, &spec), LAST, DRY);
        }

        // An update that moves a plugin behind the filter.
        let other = ("openclaw-ingress", "other");
        apply(&server, &plugin(kind, other, &early), &[]).unwrap();
        refuses(&server, &plugin(kind, other, &json!({"phase": "STATS"})), LATER, &[]);
        let patch = ["patch", kind, "other", "--namespace=openclaw-ingress", "--type=json", "--patch"];
        let patched = |patch_of: Value| server.kubectl(&[&patch[..], &[&json!([patch_of]).to_string()]].concat());
        for of in [
            json!({"op": "remove", "path": "/spec/priority"}),
            json!({"op": "replace", "path": "/spec/phase", "value": "STATS"}),
        ] {
            assert!(patched(of.clone()).unwrap_err().contains(LATER), "{of}");
        }
        patched(json!({"op": "replace", "path": "/spec/priority", "value": 20})).unwrap();
    }
    let lua = json!({"phase": "STATS", "lua": {"inlineCode": "function envoy_on_request(handle) end"}});
    refuses(&server, &plugin("TrafficExtension", ("openclaw", "other"), &lua), LATER, DRY);
    // What was there before can be deleted, and changed only to what is right.
    let before = |spec: Value| plugin("WasmPlugin", ("openclaw", "before"), &spec);
    refuses(&server, &before(json!({"phase": "STATS", "priority": 1})), LATER, &[]);
    apply(&server, &before(early), &[]).unwrap();
    server.must(&["delete", "wasmplugin", "before", "--namespace=openclaw"]);

    // What the project ships passes, in both forms.
    let mut seen = 0;
    for file in shipped("envoy/istio").into_iter().filter(|file| file != POLICY) {
        accepts(&server, &manifests::read(&file), &file);
        seen += 1;
    }
    assert!(seen > 5, "{seen} files");
    let spec = |file: &str, kind: &str| of_kind(&manifests::read(file), kind)["spec"]["priority"].clone();
    assert_eq!(
        [spec(INGRESS, KINDS[0]), spec(EXTENSION, KINDS[1])],
        [json!(-1000), json!(-1000)],
        "as the policy says"
    );
}
