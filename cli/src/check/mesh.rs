//! `check` on manifests: what Istio and Envoy Gateway make of a policy, and what other manifests do to it.

use std::collections::BTreeSet;

use super::finding::Level;
use super::report::{Report, Spot, removes, spot};
use crate::input::{Deployment, Document, Host, Placed, full_name};
use crate::json5::{Node, Value};

/// Istio's root namespace. Manifests in it are for the whole mesh.
const ROOT: &str = "istio-system";
/// What stands in the examples where the digest of an image belongs.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Adds the findings about manifests.
pub fn add(report: &mut Report<'_>) {
    let deployment = report.deployment;
    for placed in &deployment.policies {
        match placed.host {
            Host::Istio(at) => {
                let document = deployment.documents.get(at);
                if let Some(document) = document.filter(|document| is_plugin(&document.node)) {
                    add_plugin(document, placed, report);
                }
            }
            Host::EnvoyGateway(at) => {
                if let Some(document) = deployment.documents.get(at) {
                    add_extension(document, placed, report);
                }
            }
            _ => {}
        }
    }
    if deployment.policies.iter().any(|placed| matches!(placed.host, Host::Istio(_))) {
        add_upgrades(report);
    }
}

/// A WasmPlugin or a TrafficExtension with a policy.
fn add_plugin(document: &Document, placed: &Placed, report: &mut Report<'_>) {
    let (place, user) = (placed.place.as_str(), &placed.user());
    let spec = document.node.at(&["spec"]);
    add_image(place, plugin_of(&document.node), "url", report);
    if spec.at(&["phase"]).text() == Some("AUTHN") {
        report.add(
            "check.plugin_order",
            Level::Warn,
            spot(place, spec, "phase"),
            "is AUTHN: the filter runs before RequestAuthentication and before other plugins, which can change the headers that it set",
            "set it to AUTHZ",
        );
    }
    let namespace = document.node.at(&["metadata", "namespace"]).text();
    let is_for_all = labels(&document.node).is_empty() && targets(&document.node).is_empty();
    if is_for_all && namespace == Some(ROOT) {
        report.add(
            "check.plugin_everywhere",
            Level::Warn,
            spot(place, spec, "selector"),
            format!("has no selector, and {ROOT} is Istio's root namespace: the filter refuses the requests of every workload in the mesh"),
            "add a selector or targetRefs, and move it into the namespace of the workload",
        );
    }
    let deployment = report.deployment;
    for other in &deployment.documents {
        if report.is_full("check.plugin_order") {
            report.leave_out("check.plugin_order", Level::Warn);
            break;
        }
        if !is_plugin(&other.node) || std::ptr::eq(other, document) || !is_together(&document.node, &other.node) {
            continue;
        }
        let (own, theirs) = (order(&document.node), order(&other.node));
        // Of two with the same order, the older one runs first, and nothing here says which one that is.
        if theirs >= own {
            let other = format!("{} {}", other.node.at(&["kind"]).text().unwrap_or_default(), full_name(&other.node));
            let how = if theirs == own { "can run" } else { "runs" };
            report.add(
                "check.plugin_order",
                Level::Warn,
                spot(place, spec, if own.0 == theirs.0 { "priority" } else { "phase" }),
                format!("{other} {how} after the filter, and can change the headers that it checked and set"),
                "give the other plugin an earlier phase, or in the same phase a higher priority",
            );
        }
    }
    add_routes(&document.node, user, report);
    add_http_routes(&gateways(deployment, &document.node), user, report);
}

/// An EnvoyExtensionPolicy with a policy.
fn add_extension(document: &Document, placed: &Placed, report: &mut Report<'_>) {
    let (place, user) = (placed.place.as_str(), &placed.user());
    let all = document.node.at(&["spec", "wasm"]).items();
    let ours = |wasm: &Node| report.deployment.policies.iter().any(|placed| placed.holder == wasm.at(&["config"]).span);
    let position = all.iter().position(ours);
    let Some(wasm) = position.and_then(|at| all.get(at)) else { return };
    add_image(place, wasm.at(&["code", "image"]), "url", report);
    for later in all.iter().skip(position.unwrap_or_default().saturating_add(1)) {
        let name = later.at(&["name"]).text().unwrap_or_default();
        if report.deployment.policies.iter().any(|placed| placed.holder == later.at(&["config"]).span) {
            continue;
        }
        report.add(
            "check.plugin_order",
            Level::Warn,
            spot(place, later, "name"),
            format!("{name:?} runs after the filter, and can change the headers that it checked and set"),
            "put the filter last in the list",
        );
    }
    let deployment = report.deployment;
    let gateways = gateways(deployment, &document.node);
    for other in &deployment.documents {
        let spec = other.node.at(&["spec"]);
        let is_ours = targets(&other.node).iter().any(|(kind, name)| kind == "Gateway" && gateways.contains(name));
        let detection = spec.at(&["clientIPDetection"]);
        if other.node.at(&["kind"]).text() == Some("ClientTrafficPolicy") && is_ours && detection.is_set() {
            let place = format!("{}: ClientTrafficPolicy {}", other.place, full_name(&other.node));
            report.add(
                "check.peer_from_header",
                Level::Warn,
                spot(&place, spec, "clientIPDetection"),
                "Envoy takes its peer's address from a header, and the filter refuses such requests (trusted_proxy_peer_unverified)",
                "remove it; behind a load balancer that hides its clients, use proxyProtocol",
            );
        }
    }
    add_http_routes(&gateways, user, report);
}

/// The HTTPRoutes of Gateways that have the filter.
fn add_http_routes(gateways: &BTreeSet<String>, user: &str, report: &mut Report<'_>) {
    let deployment = report.deployment;
    for other in &deployment.documents {
        let spec = other.node.at(&["spec"]);
        let leads = spec.at(&["parentRefs"]).items().iter();
        let mut leads = leads.filter_map(|parent| parent.at(&["name"]).text());
        if other.node.at(&["kind"]).text() == Some("HTTPRoute") && leads.any(|name| gateways.contains(name)) {
            let place = format!("{}: HTTPRoute {}", other.place, full_name(&other.node));
            let to_us = |rule: &&Node| {
                let mut to = rule.at(&["backendRefs"]).items().iter();
                to.any(|to| leads_to_us(to.at(&["name"]), to.at(&["port"])))
            };
            let rules = spec.at(&["rules"]).items().iter().filter(to_us);
            for rule in rules {
                let limit = rule.at(&["timeouts", "request"]);
                if limit
                    .text()
                    .is_some_and(|limit| !limit.trim_end_matches(['s', 'm', 'h']).trim_matches('0').is_empty())
                {
                    let spot = self::spot(&place, rule.at(&["timeouts"]), "request");
                    add_timeout(spot, "or set it to 0s", report);
                }
                for filter in rule.at(&["filters"]).items() {
                    if filter.at(&["type"]).text() == Some("URLRewrite") {
                        add_rewrite(self::spot(&place, filter, "type"), report);
                    }
                    let request = filter.at(&["requestHeaderModifier"]);
                    let written = ["set", "add"].iter().flat_map(|key| request.at(&[key]).items());
                    let written = written.filter_map(|one| Some((one.at(&["name"]).text()?, one.at(&["name"]).span)));
                    let removed = request.at(&["remove"]).items().iter();
                    let removed = removed.filter_map(|name| Some((name.text()?, name.span)));
                    report.headers(&place, written.collect(), removed.collect(), user);
                }
            }
        }
    }
}

/// The VirtualServices in the namespace of a plugin.
fn add_routes(plugin: &Node, user: &str, report: &mut Report<'_>) {
    let deployment = report.deployment;
    for other in &deployment.documents {
        let is_route = other.node.at(&["kind"]).text() == Some("VirtualService");
        let namespace = |node| -> Option<&str> { Node::at(node, &["metadata", "namespace"]).text() };
        if !is_route || namespace(&other.node) != namespace(plugin) {
            continue;
        }
        let place = format!("{}: VirtualService {}", other.place, full_name(&other.node));
        for route in other.node.at(&["spec", "http"]).items() {
            let mut to = route.at(&["route"]).items().iter().map(|one| one.at(&["destination"]));
            if !to.any(|to| leads_to_us(to.at(&["host"]), to.at(&["port", "number"]))) {
                continue;
            }
            if route.at(&["rewrite"]).is_set() {
                add_rewrite(spot(&place, route, "rewrite"), report);
            }
            if route.at(&["timeout"]).is_set() {
                add_timeout(spot(&place, route, "timeout"), "without a timeout, Istio has none", report);
            }
            for holder in route.at(&["route"]).items().iter().chain(Some(route)) {
                let request = holder.at(&["headers", "request"]);
                let written = ["set", "add"].iter().flat_map(|key| request.at(&[key]).members());
                let written = written.map(|member| (member.key.as_str(), member.key_span));
                let removed = request.at(&["remove"]).items().iter();
                let removed = removed.filter_map(|name| Some((name.text()?, name.span)));
                report.headers(&place, written.collect(), removed.collect(), user);
            }
        }
    }
}

fn add_rewrite(spot: Spot<'_>, report: &mut Report<'_>) {
    report.add(
        "check.route_rewrites",
        Level::Warn,
        spot,
        "changes what the filter checked: the Gateway sees another path or host",
        "remove it: no route behind the filter may rewrite path or host",
    );
}

fn add_timeout(spot: Spot<'_>, instead: &str, report: &mut Report<'_>) {
    report.add(
        "check.route_timeout",
        Level::Warn,
        spot,
        "limits each answer: an agent may take longer, and streams of events are cut",
        format!("remove it: {instead}"),
    );
}

/// DestinationRules that upgrade connections to the Gateway to HTTP/2.
fn add_upgrades(report: &mut Report<'_>) {
    let deployment = report.deployment;
    for other in &deployment.documents {
        let (spec, http) =
            (other.node.at(&["spec"]), other.node.at(&["spec", "trafficPolicy", "connectionPool", "http"]));
        let is_rule = other.node.at(&["kind"]).text() == Some("DestinationRule");
        let is_upgraded = http.at(&["h2UpgradePolicy"]).text() == Some("UPGRADE");
        if is_rule && is_upgraded && leads_to_us(spec.at(&["host"]), &other.node) {
            let place = format!("{}: DestinationRule {}", other.place, full_name(&other.node));
            report.add(
                "check.no_websocket",
                Level::Warn,
                spot(&place, http, "h2UpgradePolicy"),
                "is UPGRADE: every WebSocket between the ingress gateway and the sidecar fails with 503",
                "set it to DO_NOT_UPGRADE (docs/istio.md)",
            );
        }
    }
}

/// Whether a route leads to the Gateway, as far as its name and port show.
fn leads_to_us(host: &Node, port: &Node) -> bool {
    host.text().is_some_and(|host| host.contains("openclaw")) || port.value == Value::Number(18789.0)
}

/// A digest that is still to be filled in.
fn add_image(place: &str, holder: &Node, key: &str, report: &mut Report<'_>) {
    if holder.at(&[key]).text().is_some_and(|url| url.contains(NO_DIGEST)) {
        report.add(
            "check.placeholder",
            Level::Warn,
            spot(place, holder, key),
            "has the digest of the example, which is that of no image",
            "write your registry and the digest of the image that you pushed (docs/image.md)",
        );
    }
}

fn is_plugin(document: &Node) -> bool {
    ["WasmPlugin", "TrafficExtension"].contains(&document.at(&["kind"]).text().unwrap_or_default())
}

/// What has the module: a WasmPlugin itself, or `wasm` of a TrafficExtension.
fn plugin_of(document: &Node) -> &Node {
    let spec = document.at(&["spec"]);
    spec.member("wasm").unwrap_or(spec)
}

/// When a plugin runs: its phase, and then the negative of its priority. No priority is the smallest one.
fn order(document: &Node) -> (usize, f64) {
    let spec = document.at(&["spec"]);
    let phase = spec.at(&["phase"]).text().unwrap_or_default();
    let phase = ["AUTHN", "AUTHZ", "STATS"].iter().position(|other| *other == phase).unwrap_or(3);
    let priority = match spec.at(&["priority"]).value {
        Value::Number(priority) => -priority,
        _ => -f64::from(i32::MIN),
    };
    (phase, priority)
}

/// The labels that a manifest selects, by key and value.
fn labels(document: &Node) -> Vec<(&str, &str)> {
    let spec = document.at(&["spec"]);
    let all = [spec.at(&["selector", "matchLabels"]), spec.at(&["workloadSelector", "labels"])];
    let pairs = all.into_iter().flat_map(Node::members);
    pairs.filter_map(|member| Some((member.key.as_str(), member.node.text()?))).collect()
}

/// Whether two plugins are for one workload, as far as their manifests show.
fn is_together(one: &Node, other: &Node) -> bool {
    let namespace = |node| -> Option<&str> { Node::at(node, &["metadata", "namespace"]).text() };
    let (own, theirs) = (namespace(one), namespace(other));
    if own != theirs && theirs != Some(ROOT) && own != Some(ROOT) {
        return false;
    }
    // Some match inbound requests alone, others outbound ones.
    let modes = |node| -> Vec<&str> {
        let all = Node::at(node, &["spec", "match"]).items().iter();
        all.map(|one| one.at(&["mode"]).text().unwrap_or_default()).collect()
    };
    let (modes, other_modes) = (modes(one), modes(other));
    let only = |modes: &[&str], mode: &str| !modes.is_empty() && modes.iter().all(|other| *other == mode);
    if only(&modes, "SERVER") && only(&other_modes, "CLIENT") || only(&modes, "CLIENT") && only(&other_modes, "SERVER")
    {
        return false;
    }
    let (targets, others) = (targets(one), targets(other));
    if !targets.is_empty() && !others.is_empty() {
        return targets.iter().any(|target| others.contains(target));
    }
    let (labels, others) = (labels(one), labels(other));
    let is_part = |one: &[(&str, &str)], other: &[(&str, &str)]| one.iter().all(|label| other.contains(label));
    is_part(&labels, &others) || is_part(&others, &labels)
}

/// What a policy targets, by kind and name.
fn targets(document: &Node) -> Vec<(String, String)> {
    let spec = document.at(&["spec"]);
    let text = |node: &Node| node.text().unwrap_or_default().to_owned();
    let all = spec.at(&["targetRefs"]).items().iter().chain(spec.member("targetRef"));
    all.map(|target| (text(target.at(&["kind"])), text(target.at(&["name"])))).collect()
}

/// Whether an EnvoyFilter for the workload of a plugin removes a header early.
pub fn istio_removes(deployment: &Deployment, plugin: usize, header: &str) -> bool {
    let Some(plugin) = deployment.documents.get(plugin).map(|document| &document.node) else { return false };
    let namespace = plugin.at(&["metadata", "namespace"]).text();
    let (selected, targeted) = (labels(plugin), targets(plugin));
    let applies = |filter: &Node| {
        let of = filter.at(&["metadata", "namespace"]).text();
        let named = targets(filter);
        (of == namespace || of == Some(ROOT))
            && (named.is_empty() || targeted.iter().any(|target| named.contains(target)))
            && labels(filter).iter().all(|label| selected.contains(label))
    };
    // In a pod, requests come in by its inbound listeners.
    let is_inbound = plugin.at(&["spec", "match"]).items().iter().any(|one| one.at(&["mode"]).text() == Some("SERVER"));
    let fits = |context: &Node| match context.text() {
        None | Some("ANY") => true,
        Some("SIDECAR_OUTBOUND") => false,
        Some(context) => !is_inbound || context == "SIDECAR_INBOUND",
    };
    let filters = deployment.documents.iter().map(|document| &document.node);
    let mut patches = filters
        .filter(|node| node.at(&["kind"]).text() == Some("EnvoyFilter") && applies(node))
        .flat_map(|node| node.at(&["spec", "configPatches"]).items());
    patches.any(|patch| {
        patch.at(&["applyTo"]).text() == Some("NETWORK_FILTER")
            && patch.at(&["patch", "operation"]).text() == Some("MERGE")
            && fits(patch.at(&["match", "context"]))
            && removes(patch.at(&["patch", "value", "typed_config"]), header)
    })
}

/// The Gateways that a policy concerns. A policy on a route concerns those that the route names.
fn gateways(deployment: &Deployment, policy: &Node) -> BTreeSet<String> {
    let of = |(kind, name): (String, String)| {
        if kind == "Gateway" {
            return vec![name];
        }
        let is_route = |document: &&Document| {
            let node = &document.node;
            node.at(&["kind"]).text() == Some(&kind) && node.at(&["metadata", "name"]).text() == Some(&name)
        };
        let route = deployment.documents.iter().find(is_route);
        let parents = route.map(|route| route.node.at(&["spec", "parentRefs"]).items()).unwrap_or_default();
        parents.iter().map(|parent| parent.at(&["name"]).text().unwrap_or_default().to_owned()).collect()
    };
    targets(policy).into_iter().flat_map(of).collect()
}

/// Whether a ClientTrafficPolicy for the Gateways of a policy removes a header early.
pub fn envoy_gateway_removes(deployment: &Deployment, policy: usize, header: &str) -> bool {
    envoy_gateway_has(deployment, policy, |headers| {
        let mut removed = headers.at(&["earlyRequestHeaders", "remove"]).items().iter().filter_map(Node::text);
        removed.any(|name| name.eq_ignore_ascii_case(header))
    })
}

/// Whether each of the Gateways of a policy has a ClientTrafficPolicy whose `headers` are so.
pub fn envoy_gateway_has(deployment: &Deployment, policy: usize, are_so: impl Fn(&Node) -> bool) -> bool {
    let Some(policy) = deployment.documents.get(policy).map(|document| &document.node) else { return false };
    let gateways = gateways(deployment, policy);
    let has = |node: &&Node| {
        node.at(&["kind"]).text() == Some("ClientTrafficPolicy")
            && node.at(&["metadata", "namespace"]).text() == policy.at(&["metadata", "namespace"]).text()
            && are_so(node.at(&["spec", "headers"]))
    };
    let having = deployment.documents.iter().map(|document| &document.node).filter(has).flat_map(targets);
    let having: BTreeSet<String> = having.filter(|(kind, _)| kind == "Gateway").map(|(_, name)| name).collect();
    !gateways.is_empty() && gateways.is_subset(&having)
}
