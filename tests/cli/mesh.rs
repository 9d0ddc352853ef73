//! `check` on what is beside the filter in a proxy of Istio: other plugins, EnvoyFilters, and waypoints.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::around::{around, folder, with_image};
use crate::recording::site::tool;

const INGRESS: &str = "envoy/istio/ingress.yaml";
const GATEWAY_API: &str = "envoy/istio/gateway-api.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const ORDER: &str = "warn check.plugin_order";

/// A shipped file with an image, so that nothing is left to be filled in, and without what writes user and scopes once
/// more.
fn filled(file: &str) -> String {
    let text = with_image(file);
    let (start, rest) = text.split_once("    # Nobody after the filter:").unwrap();
    let (_, end) = rest.split_once("---\n").unwrap();
    let end: Vec<_> = end.lines().filter(|line| !line.contains("stampedFilterState: true")).collect();
    format!("{start}---\n{}\n", end.join("\n"))
}

/// The severities and ids of what is found in a file with these manifests after it.
fn beside(text: &str, more: &[Value]) -> Vec<String> {
    let more: String = more.iter().map(|one| format!("---\n{one}\n")).collect();
    let found = around(&folder(&[("one.yaml", format!("{text}{more}"))]));
    let found = found.into_iter().map(|(level, id, ..)| format!("{level} {id}"));
    // The sidecar alone, without what closes it.
    found.filter(|one| !one.ends_with("user_of_another_filter") && !one.ends_with("open_without_filter")).collect()
}

fn plugin(kind: &str, namespace: &str, spec: Value) -> Value {
    json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": kind, "metadata": {"name": "other", "namespace": namespace}, "spec": spec})
}

#[test]
fn a_plugin_that_runs_after_the_filter_is_found_in_both_kinds() {
    let of = |labels: Value| json!({"matchLabels": labels});
    let here = || of(json!({"istio": "openclaw-ingress"}));
    let lua = |spec: Value| {
        let mut spec = spec;
        spec["lua"] = json!({"inlineCode": "function envoy_on_request(handle) end"});
        plugin("TrafficExtension", "openclaw-ingress", spec)
    };
    let wasm = |spec: Value| plugin("WasmPlugin", "openclaw-ingress", spec);
    let root_ns = |spec: Value| plugin("TrafficExtension", "istio-system", spec);
    let cases = [
        (lua(json!({"selector": here(), "phase": "AUTHZ", "priority": 10})), false),
        (lua(json!({"selector": here(), "phase": "AUTHN"})), false),
        (lua(json!({"selector": here(), "phase": "AUTHZ"})), true),
        (lua(json!({"selector": here(), "phase": "AUTHZ", "priority": -1000})), true),
        (lua(json!({"selector": here(), "phase": "AUTHZ", "priority": -1001})), true),
        (lua(json!({"selector": here(), "phase": "STATS", "priority": 10})), true),
        (lua(json!({"selector": here(), "phase": "UNSPECIFIED", "priority": 10})), true),
        (lua(json!({"selector": here()})), true),
        (lua(json!({})), true),
        (wasm(json!({"selector": here(), "phase": "STATS"})), true),
        (wasm(json!({"selector": here()})), true),
        (wasm(json!({"selector": here(), "phase": "AUTHZ", "priority": 0})), false),
        (wasm(json!({"selector": of(json!({"istio": "other"}))})), false),
        // It sees no headers.
        (wasm(json!({"selector": here(), "type": "NETWORK"})), false),
        (plugin("WasmPlugin", "elsewhere", json!({})), false),
        (root_ns(json!({"lua": {"inlineCode": "x"}})), true),
        (root_ns(json!({"selector": here(), "wasm": {"url": "x"}})), true),
        (root_ns(json!({"selector": of(json!({"istio": "other"})), "wasm": {"url": "x"}})), false),
        (root_ns(json!({"phase": "AUTHN", "wasm": {"url": "x"}})), false),
        // A class means waypoints.
        (
            root_ns(json!({"targetRefs": [{"kind": "GatewayClass", "name": "istio-waypoint"}], "wasm": {"url": "x"}})),
            false,
        ),
    ];
    for file in [INGRESS, "envoy/istio/trafficextension/ingress.yaml"] {
        let text = filled(file);
        for (other, is_found) in &cases {
            let expected: &[&str] = if *is_found { &[ORDER] } else { &[] };
            assert_eq!(beside(&text, std::slice::from_ref(other)), expected, "{file}: {other}");
        }
    }
    // While one form replaces the other, both are there.
    let both = [filled(INGRESS), filled("envoy/istio/trafficextension/ingress.yaml")].join("---\n");
    assert_eq!(beside(&both, &[]), Vec::<String>::new());
    // Inbound and outbound, and other ports.
    let sidecar = filled(SIDECAR);
    let beside_it = |spec: Value| beside(&sidecar, &[plugin("TrafficExtension", "openclaw", spec)]);
    assert_eq!(beside_it(json!({"match": [{"mode": "CLIENT"}], "lua": {}})), Vec::<String>::new());
    assert_eq!(
        beside_it(json!({"match": [{"mode": "SERVER", "ports": [{"number": 9090}]}], "lua": {}})),
        Vec::<String>::new()
    );
    assert_eq!(beside_it(json!({"match": [{"mode": "CLIENT"}, {"ports": [{"number": 18789}]}], "lua": {}})), [ORDER]);
}

#[test]
fn what_targets_the_same_gateway_is_beside_the_filter() {
    let text = filled(GATEWAY_API);
    let found = |namespace: &str, spec: Value| {
        let mut spec = spec;
        spec["lua"] = json!({"inlineCode": "x"});
        beside(&text, &[plugin("TrafficExtension", namespace, spec)])
    };
    let refs = |kind: &str, name: &str| json!({"targetRefs": [{"group": "x", "kind": kind, "name": name}]});
    let label = |key: &str, value: &str| json!({"selector": {"matchLabels": {key: value}}});
    for (namespace, spec, is_found) in [
        ("openclaw-ingress", refs("Gateway", "openclaw"), true),
        ("openclaw-ingress", refs("Gateway", "other"), false),
        ("openclaw-ingress", refs("Service", "openclaw"), false),
        ("openclaw-ingress", refs("GatewayClass", "istio-waypoint"), false),
        // A target is in the policy's own namespace.
        ("istio-system", refs("Gateway", "openclaw"), false),
        ("openclaw-ingress", json!({}), true),
        ("istio-system", json!({}), true),
        // The labels that Istio gives the pods.
        ("openclaw-ingress", label("gateway.networking.k8s.io/gateway-name", "openclaw"), true),
        ("openclaw-ingress", label("gateway.networking.k8s.io/gateway-name", "other"), false),
        ("openclaw-ingress", label("gateway.networking.k8s.io/gateway-class-name", "istio"), true),
        ("openclaw-ingress", label("app", "other"), false),
    ] {
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        assert_eq!(found(namespace, spec.clone()), expected, "{namespace} {spec}");
    }
    // Where the Gateway is not in the files, its labels are not known.
    let (_, without) = text.split_once("\n---\n").unwrap();
    let other = plugin("WasmPlugin", "openclaw-ingress", label("app", "other"));
    assert_eq!(beside(without, &[other]), [ORDER]);
    let infrastructure = text.replacen(
        "  gatewayClassName: istio\n",
        "  gatewayClassName: istio\n  infrastructure: { labels: { app: other } }\n",
        1,
    );
    let other = plugin("WasmPlugin", "openclaw-ingress", label("app", "other"));
    assert_eq!(beside(&infrastructure, &[other]), [ORDER]);
}

/// An EnvoyFilter with one patch.
fn envoy_filter(namespace: &str, spec: Value, patch: Value) -> Value {
    let mut spec = spec;
    spec["configPatches"] = json!([patch]);
    json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "other", "namespace": namespace}, "spec": spec})
}

/// A patch that inserts a filter beside another one.
fn inserts(operation: &str, beside: &str, kind: &str) -> Value {
    let filter = if beside.is_empty() { json!({}) } else { json!({"subFilter": {"name": beside}}) };
    json!({
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": filter}}},
        "patch": {"operation": operation, "value": {
            "name": "theirs", "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.filters.http.{kind}")},
        }},
    })
}

#[test]
fn an_envoy_filter_that_inserts_after_the_filter_is_found() {
    const ROUTER: &str = "envoy.filters.http.router";
    const LUA: &str = "lua.v3.Lua";
    let text = filled(INGRESS);
    let here = || json!({"workloadSelector": {"labels": {"istio": "openclaw-ingress"}}});
    let ours =
        |kind: &str, end: &str| format!("extensions.istio.io/{kind}/openclaw-ingress.openclaw-trusted-proxy{end}");
    let (wasm, extension) = (ours("wasmplugin", ""), ours("trafficextension", "~istio-translated-wasmplugin"));
    for (operation, beside_it, kind, is_found) in [
        ("INSERT_BEFORE", ROUTER, LUA, true),
        ("INSERT_BEFORE", ROUTER, "ext_proc.v3.ExternalProcessor", true),
        ("INSERT_BEFORE", ROUTER, "header_mutation.v3.HeaderMutation", true),
        // It changes no header.
        ("INSERT_BEFORE", ROUTER, "local_ratelimit.v3.LocalRateLimit", false),
        ("INSERT_BEFORE", "envoy.filters.http.cors", LUA, true),
        ("INSERT_BEFORE", "istio.stats", LUA, true),
        ("INSERT_BEFORE", "envoy.filters.http.jwt_authn", LUA, false),
        ("INSERT_BEFORE", "", LUA, false),
        ("INSERT_BEFORE", &wasm, LUA, false),
        ("INSERT_BEFORE", &extension, LUA, false),
        ("INSERT_AFTER", &wasm, LUA, true),
        ("INSERT_AFTER", &extension, LUA, true),
        ("INSERT_AFTER", "envoy.filters.http.rbac", LUA, true),
        ("INSERT_AFTER", "envoy.filters.http.jwt_authn", LUA, false),
        ("INSERT_AFTER", "envoy.filters.http.ext_authz", LUA, false),
        ("INSERT_AFTER", "openclaw.peer", LUA, false),
        ("INSERT_AFTER", "", LUA, true),
        ("ADD", "", LUA, true),
        ("INSERT_FIRST", "", LUA, false),
        ("REPLACE", "envoy.filters.http.fault", LUA, true),
        ("MERGE", ROUTER, LUA, false),
    ] {
        let other = envoy_filter("openclaw-ingress", here(), inserts(operation, beside_it, kind));
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        assert_eq!(beside(&text, std::slice::from_ref(&other)), expected, "{other}");
    }
    let insert = || inserts("INSERT_BEFORE", ROUTER, LUA);
    let changed = |pointer: &str, value: Value| {
        let mut patch = insert();
        *patch.pointer_mut(pointer).unwrap() = value;
        patch
    };
    let target = |kind: &str, name: &str| json!({"targetRefs": [{"kind": kind, "name": name}]});
    for (other, is_found) in [
        (envoy_filter("openclaw-ingress", json!({}), insert()), true),
        (envoy_filter("istio-system", json!({}), insert()), true),
        (envoy_filter("elsewhere", json!({}), insert()), false),
        (
            envoy_filter("openclaw-ingress", json!({"workloadSelector": {"labels": {"istio": "other"}}}), insert()),
            false,
        ),
        (envoy_filter("openclaw-ingress", here(), changed("/match/context", json!("ANY"))), true),
        (envoy_filter("openclaw-ingress", here(), changed("/match/context", json!("SIDECAR_OUTBOUND"))), false),
        (envoy_filter("openclaw-ingress", here(), changed("/applyTo", json!("NETWORK_FILTER"))), false),
        (envoy_filter("openclaw-ingress", here(), changed("/patch/value/name", json!("openclaw.last"))), false),
        (envoy_filter("openclaw-ingress", target("Gateway", "other"), insert()), true),
    ] {
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        assert_eq!(beside(&text, std::slice::from_ref(&other)), expected, "{other}");
    }
    let (text, sidecar) = (filled(GATEWAY_API), filled(SIDECAR));
    for (other, is_found) in [
        (target("Gateway", "openclaw"), true),
        (target("Gateway", "other"), false),
        (target("Service", "openclaw"), false),
    ] {
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        assert_eq!(beside(&text, &[envoy_filter("openclaw-ingress", other.clone(), insert())]), expected, "{other}");
    }
    // In a pod, requests come in by its inbound listeners.
    for (context, is_found) in
        [("SIDECAR_INBOUND", true), ("ANY", true), ("GATEWAY", false), ("SIDECAR_OUTBOUND", false)]
    {
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        let other = envoy_filter("openclaw", json!({}), changed("/match/context", json!(context)));
        assert_eq!(beside(&sidecar, &[other]), expected, "{context}");
    }
    // It is found at the operation.
    let all = format!("{}---\n{}\n", filled(INGRESS), envoy_filter("openclaw-ingress", here(), insert()));
    let lines = all.lines().count();
    let found = around(&folder(&[("one.yaml", all)]));
    assert!(matches!(found.as_slice(), [(.., line)] if *line == u64::try_from(lines).unwrap()), "{found:?}");
}

/// The manifests of the waypoint, with the plugin attached like this, and its peer's identity read like this.
fn at_waypoint(attached: &str, identity: &str) -> String {
    let text = filled("envoy/istio/waypoint.yaml");
    let (start, plugin) = text.split_once("kind: WasmPlugin\n").unwrap();
    let changes = [
        ("  targetRefs: [{ group: \"\", kind: Service, name: openclaw-gateway }]\n", format!("  {attached}\n")),
        ("      peerIdentity: [{ filterState: io.istio.peer_principal }]\n", String::new()),
        ("      peerTrust: certificate\n", identity.to_owned()),
    ];
    let plugin = changes.iter().fold(plugin.to_owned(), |plugin, (from, to)| {
        assert!(plugin.contains(from), "has no {from}");
        plugin.replacen(from, to, 1)
    });
    format!("{start}kind: WasmPlugin\n{plugin}")
}

#[test]
fn a_waypoint_needs_target_refs_and_the_identity_of_its_peer() {
    const NOBODY: &str = "error check.nobody_can_come_in";
    const OFF: &str = "critical check.filter_off";
    let trust = "      peerTrust: certificate\n";
    let identity = "      peerTrust: certificate\n      peerIdentity: [{ filterState: io.istio.peer_principal }]\n";
    let both =
        "      peerTrust: certificate\n      peerIdentity: [certificate, { filterState: io.istio.peer_principal }]\n";
    let other = "      peerTrust: certificate\n      peerIdentity: [{ filterState: io.istio.other }]\n";
    let service = "targetRefs: [{ kind: Service, name: openclaw-gateway }]";
    let found = |attached: &str, identity: &str| {
        let report = tool(
            folder(&[("one.yaml", at_waypoint(attached, identity))]).path(),
            &["check", ".", "--json", "--ignore-environment"],
        );
        let report: Value = serde_json::from_str(&report.stdout).unwrap();
        let all = ["errors", "findings"].iter().flat_map(|key| report[key].as_array().unwrap());
        let all = all.filter(|one| one["id"].as_str().unwrap().starts_with("check."));
        let all = all.map(|one| format!("{} {}", one["severity"].as_str().unwrap(), one["id"].as_str().unwrap()));
        // Without a trusted certificate, nobody comes in by the policy itself either.
        all.filter(|one| one == NOBODY || one == OFF).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    for attached in [service, "targetRefs: [{ kind: Gateway, name: waypoint }]"] {
        assert_eq!(found(attached, identity), Vec::<String>::new(), "{attached}");
        assert_eq!(found(attached, both), Vec::<String>::new(), "{attached}");
        assert_eq!(found(attached, ""), [NOBODY], "{attached}");
        assert_eq!(found(attached, trust), [NOBODY], "{attached}");
        assert_eq!(found(attached, other), [NOBODY], "{attached}");
    }
    // A waypoint has no port for Istio, and its requests come in.
    for (traffic, is_off) in [
        ("[{ mode: SERVER, ports: [{ number: 18789 }] }]", true),
        ("[{ mode: CLIENT }, { ports: [{ number: 18789 }] }]", true),
        ("[{ mode: SERVER }]", false),
        ("[{ mode: SERVER }, { mode: CLIENT }]", false),
        ("[]", false),
    ] {
        let expected: &[&str] = if is_off { &[OFF] } else { &[] };
        assert_eq!(found(&format!("{service}\n  match: {traffic}"), identity), expected, "{traffic}");
    }
    // Another Gateway is not known to be a waypoint.
    assert_eq!(found("targetRefs: [{ kind: Gateway, name: other }]", trust), Vec::<String>::new());
    for labels in [
        "gateway.networking.k8s.io/gateway-name: waypoint",
        "gateway.networking.k8s.io/gateway-class-name: istio-waypoint",
        "gateway.istio.io/managed: istio.io-mesh-controller",
    ] {
        assert_eq!(found(&format!("selector: {{ matchLabels: {{ {labels} }} }}"), identity), [OFF], "{labels}");
    }
    for labels in ["app: openclaw-gateway", "gateway.networking.k8s.io/gateway-name: other"] {
        let attached = format!("selector: {{ matchLabels: {{ {labels} }} }}");
        assert_eq!(found(&attached, identity), Vec::<String>::new(), "{labels}");
    }
    // What is beside it: other plugins of the Service, of its waypoint, and of all waypoints.
    let refs =
        |kind: &str, name: &str| json!({"targetRefs": [{"kind": kind, "name": name}], "lua": {"inlineCode": "x"}});
    let labelled = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "openclaw-gateway", "namespace": "openclaw",
            "labels": {"istio.io/use-waypoint": name}}})
    };
    let text = at_waypoint(service, identity);
    for (namespace, spec, service, is_found) in [
        ("openclaw", refs("Service", "openclaw-gateway"), None, true),
        ("openclaw", refs("Service", "other"), None, false),
        ("openclaw", refs("Gateway", "waypoint"), None, true),
        ("openclaw", refs("Gateway", "waypoint"), Some("waypoint"), true),
        ("openclaw", refs("Gateway", "waypoint"), Some("other"), false),
        ("elsewhere", refs("Gateway", "waypoint"), None, false),
        ("istio-system", refs("GatewayClass", "istio-waypoint"), None, true),
        ("openclaw", refs("GatewayClass", "istio-waypoint"), None, false),
        // No selector reaches a waypoint.
        ("openclaw", json!({"lua": {"inlineCode": "x"}}), None, false),
        ("istio-system", json!({"lua": {"inlineCode": "x"}}), None, false),
    ] {
        let other = plugin("TrafficExtension", namespace, spec);
        let all: Vec<_> = [other.clone()].into_iter().chain(service.map(labelled)).collect();
        let found: Vec<_> = beside(&text, &all).into_iter().filter(|one| one == ORDER).collect();
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        assert_eq!(found, expected, "{other} {service:?}");
    }
    for (context, spec, is_found) in [
        ("SIDECAR_INBOUND", json!({"targetRefs": [{"kind": "Gateway", "name": "waypoint"}]}), true),
        ("ANY", json!({"targetRefs": [{"kind": "Gateway", "name": "waypoint"}]}), true),
        ("GATEWAY", json!({"targetRefs": [{"kind": "Gateway", "name": "waypoint"}]}), false),
        ("WAYPOINT", json!({"targetRefs": [{"kind": "Gateway", "name": "waypoint"}]}), false),
        ("SIDECAR_INBOUND", json!({}), false),
        ("SIDECAR_INBOUND", json!({"targetRefs": [{"kind": "Service", "name": "openclaw-gateway"}]}), false),
    ] {
        let mut patch = inserts("INSERT_BEFORE", "envoy.filters.http.router", "lua.v3.Lua");
        patch["match"]["context"] = json!(context);
        let other = envoy_filter("openclaw", spec, patch);
        let found: Vec<_> =
            beside(&text, std::slice::from_ref(&other)).into_iter().filter(|one| one == ORDER).collect();
        let expected: &[&str] = if is_found { &[ORDER] } else { &[] };
        assert_eq!(found, expected, "{other}");
    }
}
