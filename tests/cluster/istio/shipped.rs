//! What the manifests say, and no single cluster shows: they select nothing but the workload that they are about, and
//! what stands in two places is the same.

use harness::manifests::{self, of_kind};
use serde_json::{Value, json};

use super::{GATEWAY_API, INGRESS, SIDECAR, WAYPOINT};

#[test]
fn the_manifests_agree_with_each_other_and_select_nothing_else() {
    let [ingress, gateway_api, sidecar, waypoint] = [INGRESS, GATEWAY_API, SIDECAR, WAYPOINT].map(manifests::read);
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
    // The lists of those who may come in: the filter's, and that of AuthorizationPolicy in front of the same service.
    for (documents, policy) in [(&sidecar, "openclaw-gateway"), (&waypoint, "openclaw-waypoint")] {
        let filter = &plugin(documents)["pluginConfig"]["filter"];
        let principals = principals(documents, policy);
        assert_eq!(filter["trustedPeers"], json!([format!("spiffe://{}", principals[0].as_str().unwrap())]));
        assert_eq!(principals.as_array().unwrap().len(), 1);
        assert_eq!(filter["peerTrust"], "certificate");
        assert!(filter["peerIdentity"].as_array().unwrap().contains(&json!({"filterState": PEER})), "{policy}");
    }
    a_waypoint_serves_one_service_and_the_pod_admits_it_alone(&waypoint);
    // What Envoy writes right before the router is the same everywhere, for the policy's header.
    let last = |documents: &[Value]| {
        let closed = documents.iter().find(|one| one["metadata"]["name"] == "openclaw-closed").unwrap();
        assert_eq!(plugin(documents)["pluginConfig"]["filter"]["stampedFilterState"], true);
        assert_eq!(closed["spec"]["priority"], 1000);
        closed["spec"]["configPatches"].as_array().unwrap().last().unwrap()["patch"].clone()
    };
    assert_eq!(last(&ingress)["value"]["name"], "openclaw.last");
    assert!([&gateway_api, &sidecar, &waypoint].iter().all(|documents| last(documents) == last(&ingress)));
    // Who signs in at the edge is the same at both hops.
    let header = |documents: &[Value]| {
        plugin(documents)["pluginConfig"]["gateway"]["auth"]["trustedProxy"]["userHeader"].clone()
    };
    assert!([&sidecar, &waypoint].iter().all(|documents| header(documents) == header(&ingress)));
}

/// Where Istio writes the verified peer of a tunnel.
const PEER: &str = "io.istio.peer_principal";

fn principals<'d>(documents: &'d [Value], policy: &str) -> &'d Value {
    let mut all = documents.iter().filter(|one| one["kind"] == "AuthorizationPolicy");
    let policy = all.find(|one| one["metadata"]["name"] == policy).unwrap_or_else(|| panic!("no {policy}"));
    &policy["spec"]["rules"][0]["from"][0]["source"]["principals"]
}

fn a_waypoint_serves_one_service_and_the_pod_admits_it_alone(documents: &[Value]) {
    let service = json!([{"group": "", "kind": "Service", "name": "openclaw-gateway"}]);
    let pod = json!({"matchLabels": {"app": "openclaw-gateway"}});
    let gateway = of_kind(documents, "Gateway");
    let (namespace, name) =
        ["namespace", "name"].map(|key| gateway["metadata"][key].as_str().unwrap().to_owned()).into();
    let waypoint = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name}]);
    assert_eq!(gateway["metadata"]["labels"]["istio.io/waypoint-for"], "service");
    assert_eq!(*principals(documents, "openclaw-gateway"), json!([format!("cluster.local/ns/{namespace}/sa/{name}")]));
    for document in documents.iter().filter(|document| document["kind"] != "Gateway") {
        let spec = &document["spec"];
        let expected = match document["metadata"]["name"].as_str() {
            Some("openclaw-gateway") => (&pod, &Value::Null),
            // An EnvoyFilter cannot be for one Service.
            Some("openclaw-closed") => (&Value::Null, &waypoint),
            _ => (&Value::Null, &service),
        };
        assert_eq!((&spec["selector"], &spec["targetRefs"]), expected, "{document}");
    }
    // The labels that an operator sets are in the manifest's comments, and name this Gateway.
    let text = std::fs::read_to_string(harness::envoy::root().join(WAYPOINT)).unwrap();
    for label in [format!("istio.io/use-waypoint: {name}"), "istio.io/ingress-use-waypoint: \"true\"".to_owned()] {
        assert!(text.contains(&format!("#   {label} ")), "{label}");
    }
    let spec = &of_kind(documents, "WasmPlugin")["spec"];
    assert_eq!((&spec["failStrategy"], &spec["phase"]), (&json!("FAIL_RELOAD"), &json!("AUTHZ")));
}
