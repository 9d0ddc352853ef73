//! `check` on what is around a policy: Envoy's bootstrap, or Kubernetes manifests.
//!
//! If the filter is deleted, switched off for a route, or missing in a listener, the Gateway must hear of no user. So
//! Envoy itself removes the header in which the Gateway reads the user, before any filter runs. This looks for that in
//! connection managers, EnvoyFilters and ClientTrafficPolicies.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::attach::Mesh;
use super::envoy::{self, Manager};
use super::finding::{Finding, Level};
use super::report::{Report, Spot, removes, spot};
use super::underscores::ID as UNDERSCORES;
use super::{mesh, stamped};
use crate::input::{Deployment, Host, Placed};
use crate::underscores::of as with_underscores;

const OPEN: &str = "check.open_without_filter";

/// Adds the findings about what is around the policies.
pub fn add(deployment: &Deployment, findings: &mut Vec<Finding>) {
    let policies = &deployment.policies;
    let mesh = Rc::new(Mesh::of(deployment));
    let mut report = Report { deployment, mesh: mesh.clone(), findings, more: BTreeMap::new() };
    for (place, span) in &deployment.unfilled {
        report.add(
            "check.placeholder",
            Level::Warn,
            Spot { place, span: *span },
            "the policy is still missing: the filter refuses every request without one",
            "write it where envoy/filter.yaml, or the manifest of the same kind in envoy/, has it",
        );
    }
    for placed in policies {
        if let Some(span) = placed.fails_open {
            report.add(
                "check.fail_open",
                Level::Critical,
                Spot { place: &placed.place, span },
                "if the filter cannot run, everything passes unchecked",
                "write FAIL_RELOAD (in Envoy Gateway, failOpen: false)",
            );
        }
        if let Host::EnvoyGateway(policy) = placed.host
            && !mesh::envoy_gateway_has(deployment, policy, |headers| {
                headers.at(&["withUnderscoresAction"]).text() == Some("Allow")
            })
        {
            let action = "has a ClientTrafficPolicy without headers.withUnderscoresAction: Allow";
            add_underscores(placed, placed.spot("gateway.auth.trustedProxy", "userHeader"), action, &mut report);
        }
        let header = placed.user();
        let at = Spot { place: &placed.place, span: placed.node.span };
        // A policy without a user header has errors of its own.
        if header.is_empty() {
            continue;
        }
        let closes = stamped::closes(deployment, &mesh, placed);
        // Behind another filter, the user is what that one stamped.
        if placed.takes_the_users_of_a_filter() {
            let stamped = policies.iter().any(|other| other.place != placed.place && other.user() == header);
            if !stamped {
                report.add(
                    "check.user_of_another_filter",
                    Level::Info,
                    placed.spot("filter", "trustedPeers"),
                    format!("takes the user from {header} as its peers send it"),
                    "make sure that each of filter.trustedPeers runs this filter, or set filter.upstreamUserHeader",
                );
            }
            if let Host::Istio(plugin) = placed.host
                && !closes
                && !mesh::istio_removes(deployment, &mesh, plugin, &header)
            {
                report.add(
                    OPEN,
                    Level::Warn,
                    at,
                    format!("without the filter, the Gateway believes the {header} that any of its peers sends"),
                    "add the EnvoyFilter openclaw-closed of envoy/istio/sidecar.yaml for this workload, and filter.stampedFilterState: `render istio` writes both",
                );
            }
            continue;
        }
        match &placed.host {
            Host::Istio(plugin) if !closes && !mesh::istio_removes(deployment, &mesh, *plugin, &header) => open(
                &mut report,
                at,
                &header,
                "add the EnvoyFilter openclaw-closed of envoy/istio/ingress.yaml for this workload: `render istio` writes it",
            ),
            Host::EnvoyGateway(policy) if !closes && !mesh::envoy_gateway_removes(deployment, *policy, &header) => {
                open(
                    &mut report,
                    at,
                    &header,
                    "list it in headers.earlyRequestHeaders.remove of the Gateway's ClientTrafficPolicy: `render envoy-gateway` does so",
                )
            }
            _ => {}
        }
        if !matches!(placed.host, Host::None) && placed.theirs() == header && !placed.is_edge() {
            report.add(
                OPEN,
                Level::Warn,
                placed.spot("gateway.auth.trustedProxy", "userHeader"),
                format!("stamps the user into {header}, which the proxy sends too: without the filter, the Gateway believes the proxy's own header"),
                "set filter.upstreamUserHeader to \"x-openclaw-user\", userHeader in the Gateway's openclaw.json to the same, and let Envoy remove it early",
            );
        }
    }
    for document in &deployment.documents {
        let managers = envoy::managers(document, deployment);
        add_shared_names(&managers, &mut report);
        add_managers(&managers, &mut report);
        for manager in &managers {
            envoy::add(manager, document, &mut report);
        }
    }
    mesh::add(&mut report);
    report.add_counts();
}

/// Connection managers, with the filter and beside it.
fn add_managers(managers: &[Manager<'_>], report: &mut Report<'_>) {
    for manager in managers {
        for (name, filter) in manager.unknown_filters() {
            report.add(
                "check.policy_not_found",
                Level::Info,
                spot(&manager.place, filter, "name"),
                format!("has the filter {name:?}, whose policy is in none of these files"),
                "check the folder that has both, so that they can be compared",
            );
        }
        let options = manager.value.at(&["common_http_protocol_options"]);
        let action = options.at(&["headers_with_underscores_action"]).text();
        if let Some(action) = action.filter(|action| *action != "ALLOW") {
            for placed in &manager.policies {
                let at = spot(&manager.place, options, "headers_with_underscores_action");
                add_underscores(placed, at, &format!("has headers_with_underscores_action: {action}"), report);
            }
        }
        let mut open = BTreeSet::new();
        let is_beside = manager.policies.is_empty();
        for guarded in managers.iter().filter(|other| !is_beside || !other.clusters.is_disjoint(&manager.clusters)) {
            let own = if is_beside { guarded } else { manager };
            let asked = own.policies.iter().filter(|placed| !placed.takes_the_users_of_a_filter());
            open.extend(
                asked
                    .map(|placed| placed.user())
                    .filter(|header| !header.is_empty() && !removes(manager.value, header)),
            );
        }
        for header in open {
            let problem = if is_beside {
                format!(
                    "leads to the Gateway without the filter, and {header} is not removed before its filters run: the Gateway believes whoever sends it"
                )
            } else {
                open_problem(&header)
            };
            report.add(
                OPEN,
                Level::Warn,
                spot(&manager.place, manager.value, "early_header_mutation_extensions"),
                problem,
                "add early_header_mutation_extensions as in envoy/envoy.yaml: `render envoy` writes it",
            );
        }
    }
}

/// Policies of one Envoy that differ and have the same names. For the filter, the later one is an edit of the earlier
/// one.
fn add_shared_names(managers: &[Manager<'_>], report: &mut Report<'_>) {
    let mut seen: Vec<(&Placed, &str)> = Vec::new();
    for manager in managers {
        for placed in manager.known_policies() {
            let Some(names) = placed.names() else { continue };
            let is_same = |other: &&(&Placed, &str)| {
                other.0.names().is_some_and(|other| {
                    (&other.name, &other.root_id, &other.vm_id) == (&names.name, &names.root_id, &names.vm_id)
                })
            };
            let mut same = seen.iter().filter(is_same);
            if let Some((first, place)) = same.next()
                && first.value != placed.value
                && same.all(|(other, _)| other.value != placed.value)
            {
                report.add(
                    "check.shared_name",
                    Level::Warn,
                    Spot { place: &manager.place, span: placed.holder },
                    format!(
                        "has another policy than {place}, with the same config.name {:?} and root_id {:?}: for the filter, one is an edit of the other, and the open WebSockets of both listeners are decided again by the later one",
                        names.name, names.root_id
                    ),
                    "give each policy a config.name of its own",
                );
            }
            seen.push((placed, &manager.place));
        }
    }
}

/// Headers of a policy that do not reach the filter.
fn add_underscores(placed: &Placed, at: Spot<'_>, what: &str, report: &mut Report<'_>) {
    for (_, header) in with_underscores(&placed.node) {
        let problem = format!("{what}: no request with {header} reaches the filter");
        let remedy = "allow such headers, as `render` does: the filter removes other spellings itself";
        report.add(UNDERSCORES, Level::Error, at, problem, remedy);
    }
}

fn open(report: &mut Report<'_>, spot: Spot<'_>, header: &str, remedy: &str) {
    report.add(OPEN, Level::Warn, spot, open_problem(header), remedy);
}

fn open_problem(header: &str) -> String {
    format!("{header} is not removed before the filters run: without the filter, the Gateway believes whoever sends it")
}
