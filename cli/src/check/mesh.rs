//! `check` on manifests: what Istio and Envoy Gateway make of a policy, and what other manifests do to it.

use std::collections::BTreeSet;

use super::attach::{Mesh, ROOT, is_plugin, labels, namespace, patches, plugin_of, targets};
use super::finding::Level;
use super::report::{Report, Spot, removes, spot};
use super::routes::{gateways, leads_to_us, rules};
use super::{order, stamped, waypoint};
use crate::input::{Deployment, Document, Host, Placed, full_name};
use crate::json5::Node;

/// What stands in the examples where the digest of an image belongs.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Adds the findings about manifests.
pub fn add(report: &mut Report<'_>) {
    let deployment = report.deployment;
    for placed in &deployment.policies {
        stamped::add(placed, report);
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
    let namespace = namespace(&document.node);
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
    order::add(document, placed, report);
    waypoint::add(document, placed, report);
    add_routes(&document.node, user, report);
    add_http_routes(&gateways(report.deployment, &document.node), user, report);
}

/// An EnvoyExtensionPolicy with a policy.
fn add_extension(document: &Document, placed: &Placed, report: &mut Report<'_>) {
    let (place, user) = (placed.place.as_str(), &placed.user());
    let all = document.node.at(&["spec", "wasm"]).items();
    let ours = |wasm: &Node| report.deployment.policies.iter().any(|placed| placed.holder == wasm.at(&["config"]).span);
    let position = all.iter().position(ours);
    let Some(wasm) = position.and_then(|at| all.get(at)) else { return };
    add_image(place, wasm.at(&["code", "image"]), "url", report);
    let (level, what) = order::what_can_change(stamped::closes(report.deployment, &report.mesh, placed));
    for later in all.iter().skip(position.unwrap_or_default().saturating_add(1)) {
        let name = later.at(&["name"]).text().unwrap_or_default();
        if report.deployment.policies.iter().any(|placed| placed.holder == later.at(&["config"]).span) {
            continue;
        }
        report.add(
            "check.plugin_order",
            level,
            spot(place, later, "name"),
            format!("{name:?} runs after the filter, and can change {what}"),
            "put the filter last in the list",
        );
    }
    let deployment = report.deployment;
    let gateways = gateways(deployment, &document.node);
    for other in &deployment.documents {
        let spec = other.node.at(&["spec"]);
        let is_ours = targets(&other.node).iter().any(|(kind, name)| *kind == "Gateway" && gateways.contains(*name));
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
    for (place, rule) in rules(report.deployment, gateways) {
        let limit = rule.at(&["timeouts", "request"]);
        if limit.text().is_some_and(|limit| !limit.trim_end_matches(['s', 'm', 'h']).trim_matches('0').is_empty()) {
            let spot = self::spot(&place, rule.at(&["timeouts"]), "request");
            add_timeout(spot, "or set it to 0s", report);
        }
        for filter in rule.at(&["filters"]).items() {
            if filter.at(&["type"]).text() == Some("URLRewrite") {
                add_rewrite(self::spot(&place, filter, "type"), report);
            }
            let request = filter.at(&["requestHeaderModifier"]);
            // What comes out of the filter itself may be written.
            let own = stamped::written_by(request);
            let written = ["set", "add"].iter().flat_map(|key| request.at(&[key]).items());
            let written = written.filter_map(|one| Some((one.at(&["name"]).text()?, one.at(&["name"]).span)));
            let removed = request.at(&["remove"]).items().iter();
            let removed = removed.filter_map(|name| Some((name.text()?, name.span)));
            let is_other = |(name, _): &(&str, _)| !own.iter().any(|own| own.eq_ignore_ascii_case(name));
            report.headers(&place, written.filter(is_other).collect(), removed.filter(is_other).collect(), user);
        }
    }
}

/// The VirtualServices in the namespace of a plugin.
fn add_routes(plugin: &Node, user: &str, report: &mut Report<'_>) {
    let deployment = report.deployment;
    for other in &deployment.documents {
        let is_route = other.node.at(&["kind"]).text() == Some("VirtualService");
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

/// Whether an EnvoyFilter for the workload of a plugin removes a header early.
pub fn istio_removes(deployment: &Deployment, mesh: &Mesh<'_>, plugin: usize, header: &str) -> bool {
    let Some(plugin) = deployment.documents.get(plugin).map(|document| &document.node) else { return false };
    let is_removal = |patch: &Node| {
        patch.at(&["applyTo"]).text() == Some("NETWORK_FILTER")
            && patch.at(&["patch", "operation"]).text() == Some("MERGE")
            && mesh.is_context_of(patch.at(&["match", "context"]), plugin)
            && removes(patch.at(&["patch", "value", "typed_config"]), header)
    };
    let mut filters = mesh.envoy_filters.iter().map(|document| &document.node);
    filters.any(|filter| patches(filter).iter().any(is_removal) && mesh.is_filter_of(filter, plugin))
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
    let having: BTreeSet<String> =
        having.filter(|(kind, _)| *kind == "Gateway").map(|(_, name)| name.to_owned()).collect();
    !gateways.is_empty() && gateways.is_subset(&having)
}
