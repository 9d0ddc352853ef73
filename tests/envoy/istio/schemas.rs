//! The manifests themselves.

use harness::manifests::{self, Schemas, of_kind};
use policy::config::compile;
use serde_json::{Value, json};

use super::istiod::{closed, patch};
use super::{INGRESS, SIDECAR};

#[test]
fn the_manifests_hold_against_istios_schemas_and_a_wrong_field_does_not() {
    let schemas = Schemas::load();
    for file in [INGRESS, SIDECAR] {
        for document in manifests::read(file) {
            assert_eq!(schemas.problems(&document), Vec::<String>::new(), "{file}");
        }
    }
    // The file, the kind, the path of a field, the value written there, and a part of the schema's message.
    let wrong = [
        (INGRESS, "WasmPlugin", "/spec/failStrategy", json!("FAIL_SOMETIMES"), "FAIL_SOMETIMES"),
        (INGRESS, "WasmPlugin", "/spec/phase", json!("AUTHENTICATION"), "AUTHENTICATION"),
        (INGRESS, "WasmPlugin", "/spec/priority", json!("last"), "last"),
        (INGRESS, "WasmPlugin", "/spec/pluginConfig", json!("{}"), "pluginConfig"),
        (INGRESS, "WasmPlugin", "/spec/failPolicy", json!("FAIL_CLOSE"), "failPolicy"),
        (INGRESS, "WasmPlugin", "/spec/url", json!(null), "url"),
        (SIDECAR, "WasmPlugin", "/spec/match/0/mode", json!("INBOUND"), "INBOUND"),
        (SIDECAR, "WasmPlugin", "/spec/selector/labels", json!({}), "labels"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/applyTo", json!("HTTP_FILTERS"), "HTTP_FILTERS"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/patch/operation", json!("INSERT"), "INSERT"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/match/context", json!("INBOUND"), "INBOUND"),
        (SIDECAR, "PeerAuthentication", "/spec/mtls/mode", json!("ON"), "ON"),
        (SIDECAR, "AuthorizationPolicy", "/spec/action", json!("PERMIT"), "PERMIT"),
        (SIDECAR, "Sidecar", "/spec/ingress/0/defaultEndpoints", json!("127.0.0.1:1"), "defaultEndpoints"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0/audience", json!("openclaw"), "audience"),
        (INGRESS, "Gateway", "/spec/servers/0/tls/mode", json!("TERMINATE"), "TERMINATE"),
        (
            INGRESS,
            "DestinationRule",
            "/spec/trafficPolicy/connectionPool/http/h2UpgradePolicy",
            json!("NEVER"),
            "NEVER",
        ),
        // Rules in CEL, which the schemas lack: `duration(self) >= duration('1ms')`, and so on.
        (INGRESS, "VirtualService", "/spec/http/0/timeout", json!("0s"), "0s"),
        (INGRESS, "VirtualService", "/spec/http/0/timeout", json!("none"), "none"),
        (INGRESS, "VirtualService", "/spec/http/0/retries", json!({"perTryTimeout": "0.0s"}), "0.0s"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0/jwksUri", json!("id.example.com/keys"), "id.example.com"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0/jwks", json!("{}"), "jwksUri"),
        (INGRESS, "WasmPlugin", "/spec/targetRefs", json!([{"kind": "Gateway", "name": "n"}]), "selector"),
        (INGRESS, "WasmPlugin", "/spec/url", json!("ftp://registry.example.com/x"), "ftp://"),
        (SIDECAR, "PeerAuthentication", "/spec/selector/matchLabels", json!({"app": "openclaw-*"}), "openclaw-*"),
        (SIDECAR, "AuthorizationPolicy", "/spec/rules/0/from/0/source/serviceAccounts", json!(["a"]), "principals"),
    ];
    for (file, kind, path, value, said) in wrong {
        let documents = manifests::read(file);
        let mut document = documents.iter().find(|one| one["kind"] == kind).expect("one of this kind").clone();
        put(&mut document, path, value);
        let problems = schemas.problems(&document).concat();
        assert!(problems.contains(said), "{file}, {kind}: {path}: {problems:?}");
    }
    assert_eq!(schemas.problems(&json!({"apiVersion": "v2", "kind": "WasmPlugin"})), ["no schema for v2/WasmPlugin"]);
    let documents = manifests::read(INGRESS);
    let mut document = of_kind(&documents, "VirtualService").clone();
    for timeout in ["1h", "1.5s", "1h30m", "250ms"] {
        put(&mut document, "/spec/http/0/timeout", json!(timeout));
        assert_eq!(schemas.problems(&document), Vec::<String>::new(), "{timeout}");
    }
}

fn put(document: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').expect("a path");
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")).as_object_mut().unwrap();
    match value {
        Value::Null => drop(parent.remove(key).expect("the field is there")),
        value => drop(parent.insert(key.to_owned(), value)),
    }
}

#[test]
fn the_manifests_agree_with_each_other_and_their_policies_compile() {
    let (ingress, sidecar) = (manifests::read(INGRESS), manifests::read(SIDECAR));
    for (file, documents) in [(INGRESS, &ingress), (SIDECAR, &sidecar)] {
        let plugin = &of_kind(documents, "WasmPlugin")["spec"];
        let compiled = compile(plugin["pluginConfig"].to_string().as_bytes());
        compiled.unwrap_or_else(|errors| panic!("{file}: {errors}"));
        assert_eq!((&plugin["failStrategy"], &plugin["phase"]), (&json!("FAIL_RELOAD"), &json!("AUTHZ")), "{file}");
        let (_, digest) = plugin["url"].as_str().unwrap().split_once("@sha256:").expect("an image by its digest");
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{file}: {digest}");
        let key = &plugin["pluginConfig"]["filter"]["peerAddress"]["filterState"];
        assert_eq!(&patch(documents)["typed_config"]["on_request_headers"][0]["object_key"], key, "{file}");
        // Nothing is selected except the workload that the file is about.
        let label = match file {
            INGRESS => json!({"istio": "openclaw-ingress"}),
            _ => json!({"app": "openclaw-gateway"}),
        };
        for document in documents {
            let spec = &document["spec"];
            let selected = [&spec["selector"]["matchLabels"], &spec["workloadSelector"]["labels"], &spec["selector"]];
            let named = selected.into_iter().find(|one| !one.is_null());
            assert!(named.is_none_or(|labels| *labels == label), "{file}: {document}");
            let is_by_host = document["kind"] == "VirtualService" || document["kind"] == "DestinationRule";
            assert!(named.is_some() || is_by_host, "{file}: {document}");
        }
    }
    // The route, and the rule that keeps it on HTTP/1.1.
    let routed = &of_kind(&ingress, "VirtualService")["spec"]["http"][0];
    let rule = &of_kind(&ingress, "DestinationRule")["spec"];
    assert_eq!(routed["timeout"], Value::Null, "the API server refuses 0s, and Istio has no timeout by default");
    assert_eq!(routed["route"][0]["destination"]["host"], rule["host"]);
    assert_eq!(rule["trafficPolicy"]["connectionPool"]["http"]["h2UpgradePolicy"], "DO_NOT_UPGRADE");
    // What only the filter at the ingress gateway writes, the sidecar takes for the user.
    let policy = |documents: &[Value]| of_kind(documents, "WasmPlugin")["spec"]["pluginConfig"].clone();
    let header = policy(&sidecar)["gateway"]["auth"]["trustedProxy"]["userHeader"].clone();
    assert_eq!(policy(&ingress)["gateway"]["auth"]["trustedProxy"]["userHeader"], header);
    let extension = &closed(&ingress)["early_header_mutation_extensions"][0]["typed_config"];
    assert!(extension["mutations"].as_array().unwrap().contains(&json!({"remove": header})), "{extension}");
    // For Istio, traffic into a pod is SERVER, and traffic through a gateway is CLIENT.
    assert_eq!(of_kind(&sidecar, "WasmPlugin")["spec"]["match"][0]["mode"], "SERVER");
    assert_eq!(of_kind(&ingress, "WasmPlugin")["spec"]["match"], Value::Null);
    let trusted = &of_kind(&sidecar, "WasmPlugin")["spec"]["pluginConfig"]["filter"]["trustedPeers"];
    let principals = &of_kind(&sidecar, "AuthorizationPolicy")["spec"]["rules"][0]["from"][0]["source"]["principals"];
    assert_eq!(*trusted, json!([format!("spiffe://{}", principals[0].as_str().unwrap())]));
    assert_eq!(principals.as_array().unwrap().len(), 1);
}
