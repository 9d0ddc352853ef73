//! `check` on what runs after the filter in a proxy of Istio.
//!
//! Istio sorts plugins by phase and priority. An EnvoyFilter then inserts filters at any place.

use super::attach::{patches, plugin_of, targets};
use super::envoy::{is_harmless, kind_of};
use super::finding::Level;
use super::report::{Report, spot};
use super::stamped::{Last, neighbour};
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
    let mesh = report.mesh.clone();
    // Where user and scopes are written once more, what runs before that cannot change them.
    let last = Last::of(&mesh, plugin).filter(|last| last.writer.closes(&placed.user()));
    let (level, what) = what_can_change(last.is_some());
    // While a WasmPlugin is replaced by a TrafficExtension, both are there.
    let is_other_form = |other: &Node| full_name(other) == full_name(plugin);
    for other in &mesh.plugins {
        if report.is_full(ID) {
            report.leave_out(ID, level);
            return;
        }
        let node = &other.node;
        let (own, theirs) = (order(plugin), order(node));
        // Of two with the same order, the older one runs first, and nothing here says which one that is.
        if theirs >= own && is_for_http(node) && mesh.is_together(plugin, node) && !is_other_form(node) {
            let other = format!("{} {}", node.at(&["kind"]).text().unwrap_or_default(), full_name(node));
            let how = if theirs == own { "can run" } else { "runs" };
            report.add(
                ID,
                level,
                spot(place, spec, if own.0 == theirs.0 { "priority" } else { "phase" }),
                format!("{other} {how} after the filter, and can change {what}"),
                "give the other plugin an earlier phase, or in the same phase a higher priority",
            );
        }
    }
    for other in &mesh.envoy_filters {
        let inserts =
            |patch: &&Node| inserts_after(patch, plugin) && mesh.is_context_of(patch.at(&["match", "context"]), plugin);
        let mut inserted = patches(&other.node).iter().filter(inserts).peekable();
        if inserted.peek().is_some() && is_attached(&other.node) && mesh.is_together(plugin, &other.node) {
            inserted.for_each(|patch| add_inserted(other, patch, last.as_ref(), report));
        }
    }
}

/// How severe it is that something runs after the filter, and what that can change.
pub const fn what_can_change(is_written_once_more: bool) -> (Level, &'static str) {
    if is_written_once_more {
        (Level::Info, "other headers that it checked; user and scopes are written once more after that")
    } else {
        (Level::Warn, "the headers that it checked and set")
    }
}

/// An EnvoyFilter that inserts a filter after ours, and possibly after what writes user and scopes once more.
fn add_inserted(document: &Document, patch: &Node, last: Option<&Last<'_>>, report: &mut Report<'_>) {
    let place = format!("{}: EnvoyFilter {}", document.place, full_name(&document.node));
    let name = patch.at(&["patch", "value", "name"]).text().unwrap_or("without a name");
    let (level, what, remedy) = match last {
        Some(last) if last.comes_after(&document.node, patch) => (
            Level::Info,
            "the filter, and change other headers that it checked; user and scopes are written once more after that",
            "insert it with INSERT_FIRST, or make it a plugin of an earlier phase",
        ),
        Some(_) => (
            Level::Warn,
            "the filter and after openclaw.last, and change user and scopes",
            "give this EnvoyFilter a lower spec.priority than openclaw-closed, or insert it with INSERT_FIRST",
        ),
        None => (
            Level::Warn,
            "the filter, and change the headers that it checked and set",
            "insert it with INSERT_FIRST, or make it a plugin of an earlier phase",
        ),
    };
    report.add(
        ID,
        level,
        spot(&place, patch.at(&["patch"]), "operation"),
        format!("the filter {name:?} can run after {what}"),
        remedy,
    );
}

/// Whether a patch inserts an HTTP filter at a place that can be after ours.
fn inserts_after(patch: &Node, plugin: &Node) -> bool {
    let value = patch.at(&["patch", "value"]);
    let is_ours = value.at(&["name"]).text().is_some_and(|name| name.starts_with("openclaw."));
    if patch.at(&["applyTo"]).text() != Some("HTTP_FILTER") || is_ours || kind_of(value).is_some_and(is_harmless) {
        return false;
    }
    let beside = neighbour(patch);
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
