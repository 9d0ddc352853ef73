//! What the manifests say, and no single cluster shows: they select nothing but the workload that they are about, and
//! what stands in two places is the same.

use harness::manifests::{self, of_kind};
use serde_json::{Value, json};

use super::{GATEWAY_API, INGRESS, SIDECAR};

#[test]
fn the_manifests_agree_with_each_other_and_select_nothing_else() {
    let [ingress, gateway_api, sidecar] = [INGRESS, GATEWAY_API, SIDECAR].map(manifests::read);
    let plugin = |documents: &[Value]| of_kind(documents, "WasmPlugin")["spec"].clone();
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "openclaw"}]);
    for (file, documents, expected) in [
        (INGRESS, &ingress, json!({"istio": "openclaw-ingress"})),
        (GATEWAY_API, &gateway_api, target),
        (SIDECAR, &sidecar, json!({"app": "openclaw-gateway"})),
    ] {
        let spec = plugin(documents);
        assert_eq!((&spec["failStrategy"], &spec["phase"]), (&json!("FAIL_RELOAD"), &json!("AUTHZ")), "{file}");
        for document in documents {
            let spec = &document["spec"];
            let places = ["/targetRefs", "/selector/matchLabels", "/workloadSelector/labels", "/selector"];
            let selected = places.iter().find_map(|place| spec.pointer(place));
            let by_name = ["VirtualService", "DestinationRule", "HTTPRoute", "ReferenceGrant"];
            let is_gateway = file == GATEWAY_API && document["kind"] == "Gateway";
            assert!(
                selected
                    .map_or(is_gateway || by_name.iter().any(|kind| document["kind"] == *kind), |one| *one == expected),
                "{file}: {document}"
            );
        }
    }
    // For Istio, traffic into a pod is SERVER, and traffic through a gateway is CLIENT.
    assert_eq!(plugin(&sidecar)["match"][0]["mode"], "SERVER");
    assert_eq!((&plugin(&ingress)["match"], &plugin(&gateway_api)["match"]), (&Value::Null, &Value::Null));
    // The two ingress gateways differ in how the filter is attached alone.
    let without = |mut spec: Value| {
        for key in ["selector", "targetRefs"] {
            spec.as_object_mut().unwrap().remove(key);
        }
        spec
    };
    assert_eq!(without(plugin(&ingress)), without(plugin(&gateway_api)));
    let routed = &of_kind(&ingress, "VirtualService")["spec"]["http"][0];
    let rules = [&ingress, &gateway_api].map(|documents| of_kind(documents, "DestinationRule")["spec"].clone());
    assert_eq!(routed["timeout"], Value::Null, "the API server refuses 0s, and Istio has no timeout by default");
    assert!(rules.iter().all(|rule| rule["host"] == routed["route"][0]["destination"]["host"]), "{rules:?}");
    // The sidecar's two lists of those who may come in.
    let trusted = plugin(&sidecar)["pluginConfig"]["filter"]["trustedPeers"].clone();
    let principals = &of_kind(&sidecar, "AuthorizationPolicy")["spec"]["rules"][0]["from"][0]["source"]["principals"];
    assert_eq!(trusted, json!([format!("spiffe://{}", principals[0].as_str().unwrap())]));
    assert_eq!(principals.as_array().unwrap().len(), 1);
}
