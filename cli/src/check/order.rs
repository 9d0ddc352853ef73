//! `check` on what runs after the filter in a proxy of Istio.
//!
//! Istio sorts plugins by phase and priority. An EnvoyFilter then inserts filters at any place.

use super::attach::{Mesh, is_plugin, patches, plugin_of, targets};
use super::envoy::{is_harmless, kind_of};
use super::finding::Level;
use super::report::{Report, spot};
use crate::input::{Document, Placed, full_name};
use crate::json5::{Node, Value};

const ID: &str = "check.plugin_order";
/// Filters that Istio puts before all plugins of the phase AUTHZ.
const AHEAD: [&str; 4] =
    ["envoy.filters.http.jwt_authn", "envoy.filters.http.ext_authz", "istio.metadata_exchange", "istio_authn"];

/// Adds the findings about what runs after a WasmPlugin or a TrafficExtension with a policy.
pub fn add(document: &Document, placed: &Placed, report: &mut Report<'_>) {
    let (plugin, spec) = (&document.node, document.node.at(&["spec"]));
    let place = placed.place.as_str();
    if spec.at(&["phase"]).text() == Some("AUTHN") {
        report.add(
            ID,
            Level::Warn,
            spot(place, spec, "phase"),
            "is AUTHN: the filter runs before RequestAuthentication and before other plugins, which can change the headers that it set",
            "set it to AUTHZ",
        );
    }
    let deployment = report.deployment;
    let mesh = Mesh::of(deployment);
    // While a WasmPlugin is replaced by a TrafficExtension, both are there.
    let is_other_form = |other: &Node| is_plugin(other) && full_name(other) == full_name(plugin);
    for other in &deployment.documents {
        if report.is_full(ID) {
            report.leave_out(ID, Level::Warn);
            break;
        }
        let node = &other.node;
        if std::ptr::eq(other, document) || is_other_form(node) {
            continue;
        }
        if is_plugin(node) && is_for_http(node) && mesh.is_together(plugin, node) {
            let (own, theirs) = (order(plugin), order(node));
            // Of two with the same order, the older one runs first, and nothing here says which one that is.
            if theirs >= own {
                let other = format!("{} {}", node.at(&["kind"]).text().unwrap_or_default(), full_name(node));
                let how = if theirs == own { "can run" } else { "runs" };
                report.add(
                    ID,
                    Level::Warn,
                    spot(place, spec, if own.0 == theirs.0 { "priority" } else { "phase" }),
                    format!("{other} {how} after the filter, and can change the headers that it checked and set"),
                    "give the other plugin an earlier phase, or in the same phase a higher priority",
                );
            }
        } else if node.at(&["kind"]).text() == Some("EnvoyFilter")
            && is_attached(node)
            && mesh.is_together(plugin, node)
        {
            for patch in patches(node) {
                let context = patch.at(&["match", "context"]);
                if inserts_after(patch, plugin) && mesh.is_context_of(context, plugin) {
                    add_inserted(other, patch, report);
                }
            }
        }
    }
}

/// An EnvoyFilter that inserts a filter after ours.
fn add_inserted(document: &Document, patch: &Node, report: &mut Report<'_>) {
    let place = format!("{}: EnvoyFilter {}", document.place, full_name(&document.node));
    let name = patch.at(&["patch", "value", "name"]).text().unwrap_or("without a name");
    report.add(
        ID,
        Level::Warn,
        spot(&place, patch.at(&["patch"]), "operation"),
        format!("the filter {name:?} can run after the filter, and change the headers that it checked and set"),
        "insert it with INSERT_FIRST, or make it a plugin of an earlier phase",
    );
}

/// Whether a patch inserts an HTTP filter at a place that can be after ours.
fn inserts_after(patch: &Node, plugin: &Node) -> bool {
    let value = patch.at(&["patch", "value"]);
    let is_ours = value.at(&["name"]).text().is_some_and(|name| name.starts_with("openclaw."));
    if patch.at(&["applyTo"]).text() != Some("HTTP_FILTER") || is_ours || kind_of(value).is_some_and(is_harmless) {
        return false;
    }
    let beside = patch.at(&["match", "listener", "filterChain", "filter", "subFilter", "name"]).text();
    let is_ahead = |name: &str| AHEAD.contains(&name) || name == "openclaw.peer";
    match patch.at(&["patch", "operation"]).text() {
        // At the end.
        Some("ADD") => true,
        Some("INSERT_AFTER") => !beside.is_some_and(is_ahead),
        // Without a name, at the start.
        Some("INSERT_BEFORE") => beside.is_some_and(|name| !is_ahead(name) && !is_name_of(name, plugin)),
        Some("REPLACE") => beside.is_some_and(|name| !is_ahead(name)),
        _ => false,
    }
}

/// Whether this is the HTTP filter that Istio makes of a plugin: `extensions.istio.io/wasmplugin/NAMESPACE.NAME`, and
/// since 1.30 `extensions.istio.io/trafficextension/NAMESPACE.NAME`, with more after it for a WasmPlugin.
fn is_name_of(filter: &str, plugin: &Node) -> bool {
    let name = full_name(plugin).replace('/', ".");
    let rest = filter.rsplit('/').next().and_then(|last| last.strip_prefix(&name));
    filter.starts_with("extensions.istio.io/") && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('~'))
}

/// Whether an EnvoyFilter can be attached at all: a Service is not a target of it.
fn is_attached(filter: &Node) -> bool {
    let targets = targets(filter);
    targets.is_empty() || targets.iter().any(|(kind, _)| *kind == "Gateway" || *kind == "GatewayClass")
}

/// Whether a plugin is an HTTP filter. One of the type NETWORK sees no headers.
fn is_for_http(plugin: &Node) -> bool {
    plugin_of(plugin).at(&["type"]).text() != Some("NETWORK")
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
