//! Which proxies a manifest of Istio is for, as far as manifests show.

use std::collections::BTreeMap;

use crate::input::{Deployment, Document};
use crate::json5::{Node, Value};

/// Istio's root namespace. Manifests in it are for the whole mesh.
pub const ROOT: &str = "istio-system";
/// The class of waypoints.
const WAYPOINT: &str = "istio-waypoint";

pub fn namespace(document: &Node) -> Option<&str> {
    document.at(&["metadata", "namespace"]).text()
}

/// Whether a manifest is a plugin of Istio.
pub fn is_plugin(document: &Node) -> bool {
    ["WasmPlugin", "TrafficExtension"].contains(&document.at(&["kind"]).text().unwrap_or_default())
}

/// What has the module: a WasmPlugin itself, or `wasm` of a TrafficExtension.
pub fn plugin_of(document: &Node) -> &Node {
    let spec = document.at(&["spec"]);
    spec.member("wasm").unwrap_or(spec)
}

/// The patches of an EnvoyFilter.
pub fn patches(filter: &Node) -> &[Node] {
    filter.at(&["spec", "configPatches"]).items()
}

/// The labels that a manifest selects, by key and value.
pub fn labels(document: &Node) -> Vec<(&str, &str)> {
    let spec = document.at(&["spec"]);
    [spec.at(&["selector", "matchLabels"]), spec.at(&["workloadSelector", "labels"])]
        .into_iter()
        .flat_map(pairs)
        .collect()
}

fn pairs(labels: &Node) -> impl Iterator<Item = (&str, &str)> {
    labels.members().iter().filter_map(|member| Some((member.key.as_str(), member.node.text()?)))
}

/// What a policy targets, by kind and name.
pub fn targets(document: &Node) -> Vec<(&str, &str)> {
    let spec = document.at(&["spec"]);
    let all = spec.at(&["targetRefs"]).items().iter().chain(spec.member("targetRef"));
    all.map(|target| (target.at(&["kind"]).text().unwrap_or_default(), target.at(&["name"]).text().unwrap_or_default()))
        .collect()
}

/// The manifests that count for where others are attached, and those that change what runs.
pub struct Mesh<'d> {
    /// Other plugins, with or without a policy.
    pub plugins: Vec<&'d Document>,
    pub envoy_filters: Vec<&'d Document>,
    /// Of the Gateway API, like the Services by namespace and name.
    gateways: BTreeMap<Named<'d>, &'d Node>,
    services: BTreeMap<Named<'d>, &'d Node>,
}

/// The namespace and the name of something.
type Named<'a> = (Option<&'a str>, &'a str);

/// What a policy targets: the policy's namespace, and the kind and the name of the target.
type Target<'a> = (Option<&'a str>, (&'a str, &'a str));

fn is_waypoint(gateway: &Node) -> bool {
    gateway.at(&["spec", "gatewayClassName"]).text() == Some(WAYPOINT)
}

/// Whether the pods that Istio makes for a Gateway of the Gateway API have labels.
fn has_labels(gateway: &Node, labels: &[(&str, &str)]) -> bool {
    let name = gateway.at(&["metadata", "name"]).text();
    let own: Vec<_> = pairs(gateway.at(&["spec", "infrastructure", "labels"]))
        .chain(pairs(gateway.at(&["metadata", "labels"])))
        .collect();
    labels.iter().all(|label| match label.0 {
        "gateway.networking.k8s.io/gateway-name" | "istio.io/gateway-name" => name == Some(label.1),
        "gateway.networking.k8s.io/gateway-class-name" => {
            gateway.at(&["spec", "gatewayClassName"]).text() == Some(label.1)
        }
        _ => own.contains(label),
    })
}

/// Whether both are for inbound requests, or both for outbound ones, and of the same ports.
fn is_for_same_traffic(one: &Node, other: &Node) -> bool {
    let all = |node| -> Vec<(Option<&str>, Vec<f64>)> {
        let all = Node::at(node, &["spec", "match"]).items().iter();
        all.map(|one| (one.at(&["mode"]).text(), ports(one))).collect()
    };
    let (matches, others) = (all(one), all(other));
    let meet = |one: &(Option<&str>, Vec<f64>), other: &(Option<&str>, Vec<f64>)| {
        let modes = matches!((one.0, other.0), (Some("SERVER"), Some("CLIENT")) | (Some("CLIENT"), Some("SERVER")));
        !modes && (one.1.is_empty() || other.1.is_empty() || one.1.iter().any(|port| other.1.contains(port)))
    };
    matches.is_empty() || others.is_empty() || matches.iter().any(|one| others.iter().any(|other| meet(one, other)))
}

fn ports(traffic: &Node) -> Vec<f64> {
    let all = traffic.at(&["ports"]).items().iter();
    all.filter_map(|port| if let Value::Number(port) = port.at(&["number"]).value { Some(port) } else { None })
        .collect()
}

impl<'d> Mesh<'d> {
    pub fn of(deployment: &'d Deployment) -> Self {
        let nodes = deployment.documents.iter().map(|document| &document.node);
        let of_kind = |kind: &'static str| {
            let named = |node: &'d Node| Some(((namespace(node), node.at(&["metadata", "name"]).text()?), node));
            nodes.clone().filter(move |node| node.at(&["kind"]).text() == Some(kind)).filter_map(named)
        };
        // Istio's own Gateways have no class.
        let has_class = |(_, gateway): &(Named<'d>, &'d Node)| gateway.at(&["spec", "gatewayClassName"]).is_set();
        let documents = deployment.documents.iter();
        Self {
            plugins: documents.clone().filter(|document| is_plugin(&document.node)).collect(),
            envoy_filters: documents
                .filter(|document| document.node.at(&["kind"]).text() == Some("EnvoyFilter"))
                .collect(),
            gateways: of_kind("Gateway").filter(has_class).collect(),
            services: of_kind("Service").collect(),
        }
    }

    fn gateway(&self, namespace: Option<&str>, name: &str) -> Option<&'d Node> {
        self.gateways.get(&(namespace, name)).copied()
    }

    /// Whether a policy is attached to a waypoint.
    pub fn is_on_waypoint(&self, policy: &Node) -> bool {
        targets(policy).into_iter().any(|(kind, name)| match kind {
            "Service" | "ServiceEntry" => true,
            "GatewayClass" => name == WAYPOINT,
            "Gateway" => self.gateway(namespace(policy), name).is_some_and(is_waypoint),
            _ => false,
        })
    }

    /// Whether a manifest selects the pods of a waypoint by their labels. No selector reaches a waypoint.
    pub fn selects_waypoint(&self, policy: &Node) -> bool {
        let labels = labels(policy);
        let is_class = |(key, value): &(&str, &str)| {
            matches!(
                (*key, *value),
                ("gateway.networking.k8s.io/gateway-class-name", WAYPOINT)
                    | ("gateway.istio.io/managed", "istio.io-mesh-controller")
            )
        };
        labels.iter().any(is_class)
            || self.gateways.values().any(|gateway| {
                is_waypoint(gateway)
                    && namespace(gateway) == namespace(policy)
                    && !labels.is_empty()
                    && has_labels(gateway, &labels)
            })
    }

    /// Whether two manifests are for one proxy.
    pub fn is_together(&self, one: &Node, other: &Node) -> bool {
        let (own, theirs) = (namespace(one), namespace(other));
        let (targets, others) = (targets(one), targets(other));
        if !targets.is_empty() && !others.is_empty() {
            return is_for_same_traffic(one, other)
                && targets
                    .iter()
                    .any(|target| others.iter().any(|another| self.share((own, *target), (theirs, *another))));
        }
        if own != theirs && theirs != Some(ROOT) && own != Some(ROOT) {
            return false;
        }
        let is_selected = match (targets.as_slice(), others.as_slice()) {
            ([], []) => {
                let (labels, others) = (labels(one), labels(other));
                let is_part =
                    |one: &[(&str, &str)], other: &[(&str, &str)]| one.iter().all(|label| other.contains(label));
                is_part(&labels, &others) || is_part(&others, &labels)
            }
            ([], others) => others.iter().any(|target| self.is_selected(one, (theirs, *target))),
            (targets, _) => targets.iter().any(|target| self.is_selected(other, (own, *target))),
        };
        is_selected && is_for_same_traffic(one, other)
    }

    /// Whether what two policies target is at one proxy.
    fn share(&self, one: Target<'_>, other: Target<'_>) -> bool {
        let ((own, (kind, name)), (theirs, (other_kind, other_name))) = (one, other);
        // Only in the root namespace does a class mean anything.
        let is_class = |(namespace, (kind, name)): Target<'_>| {
            kind == "GatewayClass" && name == WAYPOINT && namespace == Some(ROOT)
        };
        let can_be_waypoint = |(namespace, (kind, name)): Target<'_>| match kind {
            "Service" | "ServiceEntry" => true,
            "Gateway" => self.gateway(namespace, name).is_none_or(is_waypoint),
            _ => false,
        };
        if is_class(one) || is_class(other) {
            return is_class(one) && is_class(other)
                || is_class(one) && can_be_waypoint(other)
                || is_class(other) && can_be_waypoint(one);
        }
        match (kind, other_kind) {
            ("Service", "Gateway") => self.serves((own, name), (theirs, other_name)),
            ("Gateway", "Service") => self.serves((theirs, other_name), (own, name)),
            ("ServiceEntry", "Gateway") => can_be_waypoint(other) && own == theirs,
            ("Gateway", "ServiceEntry") => can_be_waypoint(one) && own == theirs,
            _ => own == theirs && kind == other_kind && name == other_name,
        }
    }

    /// Whether a Gateway is the waypoint of a Service, both by namespace and name. Where the Service does not say it,
    /// its namespace may, so that any waypoint there counts.
    fn serves(&self, service: (Option<&str>, &str), waypoint: (Option<&str>, &str)) -> bool {
        let label = |key: &str| -> Option<&str> {
            let service = self.services.get(&service)?;
            service.at(&["metadata", "labels"]).member(key)?.text()
        };
        match label("istio.io/use-waypoint") {
            Some(name) => name == waypoint.1 && label("istio.io/use-waypoint-namespace").or(service.0) == waypoint.0,
            None => {
                service.0 == waypoint.0
                    && match self.gateway(waypoint.0, waypoint.1) {
                        Some(gateway) => is_waypoint(gateway),
                        None => !self.has_waypoint(service.0),
                    }
            }
        }
    }

    fn has_waypoint(&self, within: Option<&str>) -> bool {
        let from = self.gateways.range((within, "")..);
        from.take_while(|((namespace, _), _)| *namespace == within).any(|(_, gateway)| is_waypoint(gateway))
    }

    /// Whether a selector is for what a policy targets. No selector reaches a waypoint.
    fn is_selected(&self, selector: &Node, (namespace, (kind, name)): Target<'_>) -> bool {
        let labels = labels(selector);
        kind == "Gateway"
            && match self.gateway(namespace, name) {
                Some(gateway) => !is_waypoint(gateway) && has_labels(gateway, &labels),
                // Which labels its pods have is not known.
                None => true,
            }
    }

    /// Whether an EnvoyFilter is for the proxy of a plugin, as far as both say so.
    pub fn is_filter_of(&self, filter: &Node, plugin: &Node) -> bool {
        let (of, own) = (namespace(filter), namespace(plugin));
        let (named, targeted) = (targets(filter), targets(plugin));
        if !named.is_empty() {
            // It is attached to Gateways, never to a Service.
            let mut named = named.into_iter().filter(|(kind, _)| *kind != "Service" && *kind != "ServiceEntry");
            return named.any(|name| targeted.iter().any(|target| self.share((of, name), (own, *target))));
        }
        let selected = labels(plugin);
        !self.is_on_waypoint(plugin)
            && (of == own || of == Some(ROOT))
            && labels(filter).iter().all(|label| selected.contains(label))
    }

    /// Whether a patch of an EnvoyFilter is for the listeners that a plugin is in.
    pub fn is_context_of(&self, context: &Node, plugin: &Node) -> bool {
        // In a pod, requests come in by its inbound listeners.
        let is_inbound =
            plugin.at(&["spec", "match"]).items().iter().any(|one| one.at(&["mode"]).text() == Some("SERVER"));
        match context.text() {
            None | Some("ANY") => true,
            // Istio patches the listeners of a waypoint as inbound ones, and nothing as WAYPOINT.
            Some("SIDECAR_OUTBOUND" | "WAYPOINT") => false,
            Some(context) if self.is_on_waypoint(plugin) => context == "SIDECAR_INBOUND",
            Some(context) => !is_inbound || context == "SIDECAR_INBOUND",
        }
    }
}
