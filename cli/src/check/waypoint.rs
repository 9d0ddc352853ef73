//! `check` on a filter in a waypoint of Istio's ambient mode.

use super::finding::Level;
use super::report::{Report, spot};
use crate::input::{Document, Placed};
use crate::json5::Node;

/// Where Istio writes the peer's verified identity.
const PEER: &str = "io.istio.peer_principal";

/// Adds the findings about a WasmPlugin or a TrafficExtension with a policy.
pub fn add(document: &Document, placed: &Placed, report: &mut Report<'_>) {
    let (plugin, spec, place) = (&document.node, document.node.at(&["spec"]), placed.place.as_str());
    let mesh = report.mesh.clone();
    if mesh.selects_waypoint(plugin) {
        report.add(
            "check.filter_off",
            Level::Critical,
            spot(place, spec, "selector"),
            "selects a waypoint, which no selector reaches: the filter does not run",
            "attach it with targetRefs to the Service, or to the waypoint's Gateway",
        );
    }
    if !mesh.is_on_waypoint(plugin) {
        return;
    }
    // To Istio, the listeners of a waypoint are inbound ones without a port.
    let traffic = spec.at(&["match"]).items();
    let is_missed = |one: &Node| !one.at(&["ports"]).items().is_empty() || one.at(&["mode"]).text() == Some("CLIENT");
    if !traffic.is_empty() && traffic.iter().all(is_missed) {
        report.add(
            "check.filter_off",
            Level::Critical,
            spot(place, spec, "match"),
            "matches no request of a waypoint, which is SERVER and has no port for Istio: the filter does not run",
            "remove it",
        );
    }
    let filter = placed.node.at(&["filter"]);
    let key = if filter.at(&["peerTrust"]).text() != Some("certificate") {
        "peerTrust"
    } else if !reads_peer(filter.at(&["peerIdentity"])) {
        "peerIdentity"
    } else {
        return;
    };
    report.add(
        "check.nobody_can_come_in",
        Level::Error,
        placed.spot("filter", key),
        "the filter is in a waypoint, where a peer has no address and no certificate: everybody is refused (trusted_proxy_peer_unknown)",
        format!(
            "beside trustedPeers, set peerTrust to \"certificate\" and peerIdentity to [{{\"filterState\": \"{PEER}\"}}]"
        ),
    );
}

/// Whether the peer's identity is read where Istio writes it.
fn reads_peer(sources: &Node) -> bool {
    sources.items().iter().any(|source| source.at(&["filterState"]).text() == Some(PEER))
}
