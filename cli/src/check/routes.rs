//! The routes that lead to the Gateway, as far as manifests show.

use std::collections::BTreeSet;

use super::attach::targets;
use crate::input::{Deployment, Document, full_name};
use crate::json5::{Node, Value};

/// Whether a route leads to the Gateway, as far as its name and port show.
pub fn leads_to_us(host: &Node, port: &Node) -> bool {
    host.text().is_some_and(|host| host.contains("openclaw")) || port.value == Value::Number(18789.0)
}

/// The Gateways that a policy concerns. A policy on a route concerns those that the route names.
pub fn gateways(deployment: &Deployment, policy: &Node) -> BTreeSet<String> {
    let of = |(kind, name): (&str, &str)| {
        if kind == "Gateway" {
            return vec![name.to_owned()];
        }
        let is_route = |document: &&Document| {
            let node = &document.node;
            node.at(&["kind"]).text() == Some(kind) && node.at(&["metadata", "name"]).text() == Some(name)
        };
        let route = deployment.documents.iter().find(is_route);
        let parents = route.map(|route| route.node.at(&["spec", "parentRefs"]).items()).unwrap_or_default();
        parents.iter().map(|parent| parent.at(&["name"]).text().unwrap_or_default().to_owned()).collect()
    };
    targets(policy).into_iter().flat_map(of).collect()
}

/// The rules of HTTPRoutes that lead from these Gateways to ours, each with its place.
pub fn rules<'d>(deployment: &'d Deployment, gateways: &BTreeSet<String>) -> Vec<(String, &'d Node)> {
    let is_ours = |document: &&Document| {
        let mut parents = document.node.at(&["spec", "parentRefs"]).items().iter();
        document.node.at(&["kind"]).text() == Some("HTTPRoute")
            && parents.any(|parent| parent.at(&["name"]).text().is_some_and(|name| gateways.contains(name)))
    };
    let leads = |rule: &&Node| {
        let mut to = rule.at(&["backendRefs"]).items().iter();
        to.any(|to| leads_to_us(to.at(&["name"]), to.at(&["port"])))
    };
    let mut found = Vec::new();
    for document in deployment.documents.iter().filter(is_ours) {
        let place = format!("{}: HTTPRoute {}", document.place, full_name(&document.node));
        let rules = document.node.at(&["spec", "rules"]).items().iter().filter(leads);
        found.extend(rules.map(|rule| (place.clone(), rule)));
    }
    found
}
