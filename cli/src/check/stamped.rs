//! `check` on `stampedFilterState`, and on what writes user and scopes once more right before the router.

use super::attach::{Mesh, ROOT, namespace, patches};
use super::finding::Level;
use super::report::{Report, Spot, spot};
use super::routes::{gateways, rules};
use crate::input::{Deployment, Document, Host, Placed, full_name};
use crate::json5::{Node, Value};

const ID: &str = "check.stamped_state";
const ROUTER: &str = "envoy.filters.http.router";
const SCOPES: &str = "x-openclaw-scopes";
/// How a format reads what the filter left.
const USER_STATE: &str = "FILTER_STATE(wasm.openclaw_trusted_proxy.stamped_user:";
const SCOPES_STATE: &str = "FILTER_STATE(wasm.openclaw_trusted_proxy.stamped_scopes:";

/// What writes user and scopes out of what the filter left.
#[derive(Clone)]
pub struct Writer<'d> {
    /// What has the name of the user header, and under which key.
    user: (&'d Node, &'static str),
    scopes: Option<&'d str>,
    removed: Vec<&'d str>,
}

/// What an HTTP filter writes, if it is `header_mutation` and reads what our filter left.
pub fn writer(filter: &Node) -> Option<Writer<'_>> {
    let mutations = filter.at(&["typed_config", "mutations", "request_mutations"]).items();
    let find = |state: &str| {
        let mut headers = mutations.iter().map(|one| one.at(&["append", "header"]));
        headers.find(|header| reads(header, state))
    };
    Some(Writer {
        user: (find(USER_STATE)?, "key"),
        scopes: find(SCOPES_STATE).and_then(|header| header.at(&["key"]).text()),
        removed: mutations.iter().filter_map(|one| one.at(&["remove"]).text()).collect(),
    })
}

/// The same for a rule of an HTTPRoute.
fn writer_of_rule(rule: &Node) -> Option<Writer<'_>> {
    rule.at(&["filters"]).items().iter().find_map(|filter| {
        let modifier = filter.at(&["requestHeaderModifier"]);
        let find = |state: &str| modifier.at(&["set"]).items().iter().find(|header| reads(header, state));
        Some(Writer {
            user: (find(USER_STATE)?, "name"),
            scopes: find(SCOPES_STATE).and_then(|header| header.at(&["name"]).text()),
            removed: modifier.at(&["remove"]).texts().collect(),
        })
    })
}

/// The headers that a RequestHeaderModifier writes out of what the filter left.
pub fn written_by(modifier: &Node) -> Vec<&str> {
    let headers = modifier.at(&["set"]).items().iter();
    let headers = headers.filter(|header| reads(header, USER_STATE) || reads(header, SCOPES_STATE));
    headers.filter_map(|header| header.at(&["name"]).text()).collect()
}

/// Whether the value of a header is read from a filter state.
fn reads(header: &Node, state: &str) -> bool {
    header.at(&["value"]).text().is_some_and(|value| value.contains(state))
}

impl Writer<'_> {
    fn user(&self) -> &str {
        self.user.0.at(&[self.user.1]).text().unwrap_or_default()
    }

    fn removes(&self, header: &str) -> bool {
        self.removed.iter().any(|name| name.eq_ignore_ascii_case(header))
    }

    /// Whether nothing before it can set user or scopes.
    pub fn closes(&self, user: &str) -> bool {
        self.user().eq_ignore_ascii_case(user)
            && self.removes(user)
            && self.scopes.is_some_and(|name| name.eq_ignore_ascii_case(SCOPES))
            && self.removes(SCOPES)
    }
}

/// A patch of an EnvoyFilter with such a filter.
#[derive(Clone)]
pub struct Last<'d> {
    pub writer: Writer<'d>,
    document: &'d Document,
}

impl<'d> Last<'d> {
    /// The patch for the proxy of a plugin.
    pub fn of(mesh: &Mesh<'d>, plugin: &Node) -> Option<Self> {
        let mut found = mesh.envoy_filters.iter().flat_map(|document| {
            patches(&document.node).iter().filter_map(move |patch| {
                let writer = writer(patch.at(&["patch", "value"]))?;
                let is_last = patch.at(&["applyTo"]).text() == Some("HTTP_FILTER")
                    && patch.at(&["patch", "operation"]).text() == Some("INSERT_BEFORE")
                    && neighbour(patch) == Some(ROUTER)
                    && mesh.is_context_of(patch.at(&["match", "context"]), plugin)
                    && mesh.is_filter_of(&document.node, plugin);
                is_last.then_some(Self { writer, document })
            })
        });
        found.next()
    }

    /// Whether it comes after what another patch inserts. Istio applies EnvoyFilters by their priority, then those of
    /// the root namespace, then the others by their age, which does not show here. What is inserted last is the nearest
    /// to the router.
    pub fn comes_after(&self, filter: &Node, patch: &Node) -> bool {
        let operation = patch.at(&["patch", "operation"]).text();
        match neighbour(patch) {
            None | Some("openclaw.last") => operation == Some("INSERT_BEFORE"),
            Some(ROUTER) => {
                let (own, theirs) = (priority(&self.document.node), priority(filter));
                let is_root = |node| namespace(node) == Some(ROOT);
                operation == Some("INSERT_BEFORE")
                    && (theirs < own || theirs == own && is_root(filter) && !is_root(&self.document.node))
            }
            Some(_) => true,
        }
    }
}

/// The HTTP filter beside which a patch inserts.
pub fn neighbour(patch: &Node) -> Option<&str> {
    patch.at(&["match", "listener", "filterChain", "filter", "subFilter", "name"]).text()
}

fn priority(filter: &Node) -> f64 {
    if let Value::Number(priority) = filter.at(&["spec", "priority"]).value { priority } else { 0.0 }
}

/// Whether no request has a user where the filter of a policy is missing: the user is written once more after it.
pub fn closes(deployment: &Deployment, mesh: &Mesh<'_>, placed: &Placed) -> bool {
    let user = placed.user();
    match placed.host {
        Host::Istio(at) => deployment.documents.get(at).is_some_and(|document| {
            let last = Last::of(mesh, &document.node);
            last.is_some_and(|last| last.writer.closes(&user))
        }),
        Host::EnvoyGateway(at) => {
            let rules = rules_of(deployment, at);
            !rules.is_empty()
                && rules.iter().all(|(_, rule)| writer_of_rule(rule).is_some_and(|writer| writer.closes(&user)))
        }
        Host::Envoy(_) | Host::None => false,
    }
}

/// The rules to the Gateway that a policy of Envoy Gateway concerns.
fn rules_of(deployment: &Deployment, policy: usize) -> Vec<(String, &Node)> {
    let document = deployment.documents.get(policy);
    document.map(|document| rules(deployment, &gateways(deployment, &document.node))).unwrap_or_default()
}

impl Placed {
    pub fn leaves_what_it_stamped(&self) -> bool {
        self.node.at(&["filter", "stampedFilterState"]).is_true()
    }
}

/// Adds the findings about a policy in a manifest.
pub fn add(placed: &Placed, report: &mut Report<'_>) {
    let deployment = report.deployment;
    match placed.host {
        Host::Istio(at) => {
            let Some(document) = deployment.documents.get(at) else { return };
            let last = Last::of(&report.mesh, &document.node);
            let found = last.map(|last| {
                let document = last.document;
                (format!("{}: EnvoyFilter {}", document.place, full_name(&document.node)), last.writer)
            });
            add_writer(placed, found.as_ref().map(|(place, writer)| (place.as_str(), writer)), report);
        }
        Host::EnvoyGateway(at) => add_rules(placed, &rules_of(deployment, at), report),
        // Connection managers are looked at one by one.
        Host::Envoy(_) | Host::None => {}
    }
}

/// What the routes of Envoy Gateway write, after all filters.
fn add_rules(placed: &Placed, rules: &[(String, &Node)], report: &mut Report<'_>) {
    let writers: Vec<_> = rules.iter().map(|(place, rule)| (place.as_str(), *rule, writer_of_rule(rule))).collect();
    let first = writers.iter().find_map(|(place, _, writer)| Some((*place, writer.as_ref()?)));
    if first.is_none() || !placed.leaves_what_it_stamped() {
        add_writer(placed, first, report);
        return;
    }
    for (place, rule, writer) in &writers {
        match writer {
            Some(writer) => add_writer(placed, Some((place, writer)), report),
            None => report.add(
                ID,
                Level::Warn,
                spot(place, rule, "backendRefs"),
                "does not write user and scopes once more, as other routes do: what a filter changes before it stays",
                "add the RequestHeaderModifier of envoy/envoy-gateway/gateway.yaml: `render envoy-gateway` writes it",
            ),
        }
    }
}

/// Adds the findings about a policy and what writes user and scopes after it, with its place.
pub fn add_writer(placed: &Placed, found: Option<(&str, &Writer<'_>)>, report: &mut Report<'_>) {
    let at = placed.spot("filter", "stampedFilterState");
    match found {
        None if placed.leaves_what_it_stamped() => report.add(
            ID,
            Level::Warn,
            at,
            "leaves user and scopes in filter state, and nothing reads them: this costs four host calls and closes nothing",
            "let Envoy write them once more, as the manifests in envoy/istio and envoy/envoy-gateway do (`render` writes it), or remove this",
        ),
        Some((place, _)) if !placed.leaves_what_it_stamped() => report.add(
            ID,
            Level::Error,
            at,
            format!("{place} writes the user out of what the filter leaves in filter state, and this policy leaves nothing there: the Gateway hears of no user, and refuses everybody"),
            "set filter.stampedFilterState to true",
        ),
        Some((place, writer)) => add_headers(placed, place, writer, report),
        None => {}
    }
}

/// Whether the same headers are written.
fn add_headers(placed: &Placed, place: &str, writer: &Writer<'_>, report: &mut Report<'_>) {
    let (user, theirs) = (placed.user(), writer.user());
    if writer.closes(&user) {
        return;
    }
    let (header, key) = writer.user;
    let key: Spot<'_> = spot(place, header, key);
    let (problem, remedy) = if theirs.eq_ignore_ascii_case(&user) {
        (
            format!("does not both remove and write {user} and {SCOPES}: what a filter in between adds stays"),
            "write it as the manifests in envoy/ have it: `render` does so".to_owned(),
        )
    } else {
        (
            format!(
                "writes the user into {theirs}, and the filter into {user}: a filter in between can still change {user}"
            ),
            format!("write {user} here, and remove it before: `render` does so"),
        )
    };
    report.add(ID, Level::Warn, key, problem, remedy);
}
