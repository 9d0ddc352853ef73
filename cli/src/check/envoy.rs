//! `check` on a connection manager with the filter: what Envoy does before and after it.

use std::collections::BTreeSet;

use super::finding::Level;
use super::report::{Report, removes, spot};
use super::stamped::{add_writer, writer};
use crate::input::{Deployment, Document, Host, Names, Placed, is_manager, wasm_settings};
use crate::json5::{Node, Value};

/// Filters after ours that change no header which it has checked or set.
const HARMLESS: [&str; 27] = [
    "router.v3.Router",
    "rbac.v3.RBAC",
    "cors.v3.Cors",
    "fault.v3.HTTPFault",
    "buffer.v3.Buffer",
    "health_check.v3.HealthCheck",
    "bandwidth_limit.v3.BandwidthLimit",
    "admission_control.v3.AdmissionControl",
    "adaptive_concurrency.v3.AdaptiveConcurrency",
    "compressor.v3.Compressor",
    "decompressor.v3.Decompressor",
    "grpc_stats.v3.FilterConfig",
    "grpc_web.v3.GrpcWeb",
    "set_metadata.v3.Config",
    "set_filter_state.v3.Config",
    "stateful_session.v3.StatefulSession",
    "tap.v3.Tap",
    "on_demand.v3.OnDemand",
    "local_ratelimit.v3.LocalRateLimit",
    "ratelimit.v3.RateLimit",
    "csrf.v3.CsrfPolicy",
    "cache.v3.CacheConfig",
    "file_system_buffer.v3.FileSystemBufferFilterConfig",
    "alpn.v2alpha1.FilterConfig",
    "istio_stats.v3.PluginConfig",
    "stats.PluginConfig",
    "peer_metadata.Config",
];

/// Keys of a route that change the path or the host after the filters have run.
const REWRITES: [&str; 8] = [
    "prefix_rewrite",
    "regex_rewrite",
    "path_rewrite",
    "path_rewrite_policy",
    "host_rewrite_literal",
    "host_rewrite_header",
    "host_rewrite_path_regex",
    "auto_host_rewrite",
];

/// A connection manager in a listener.
pub struct Manager<'d> {
    pub place: String,
    pub value: &'d Node,
    pub clusters: BTreeSet<&'d str>,
    /// The policies that it may run.
    pub policies: Vec<&'d Placed>,
    listener: Option<&'d Node>,
    /// Its routes, and where they are.
    routes: (String, &'d Node),
}

/// The connection managers of a document, each with the listener that it is in.
pub fn managers<'d>(document: &'d Document, deployment: &'d Deployment) -> Vec<Manager<'d>> {
    let mut found = Vec::new();
    find(&document.node, None, &mut found);
    let with = |(value, listener): (&'d Node, Option<&'d Node>)| {
        let mut clusters = BTreeSet::new();
        find_clusters(value.at(&["route_config"]), &mut clusters);
        find_clusters(value.at(&["rds"]), &mut clusters);
        let name = listener.map_or("", |listener| listener.at(&["name"]).text().unwrap_or("without a name"));
        let place = format!("{}: listener {name}", document.place);
        let filters = value.at(&["http_filters"]).items();
        let runs = |placed: &&Placed| filters.iter().any(|filter| runs(filter, placed));
        let policies = deployment.policies.iter().filter(runs).collect();
        let routes = routes(value, &place, deployment);
        find_clusters(routes.1, &mut clusters);
        Manager { place, value, clusters, policies, listener, routes }
    };
    found.into_iter().map(with).collect()
}

/// The routes of a connection manager: its own, or those in another document (RDS).
fn routes<'d>(manager: &'d Node, place: &str, deployment: &'d Deployment) -> (String, &'d Node) {
    let own = manager.at(&["route_config"]);
    let Some(name) = manager.at(&["rds", "route_config_name"]).text() else { return (place.to_owned(), own) };
    let all = |document: &'d Document| {
        let inner = document.node.at(&["resources"]).items().iter();
        inner.chain(Some(&document.node)).map(move |node| (document, node))
    };
    let is_meant = |node: &Node| node.member("virtual_hosts").is_some() && node.at(&["name"]).text() == Some(name);
    let mut found = deployment.documents.iter().flat_map(all).filter(|(_, node)| is_meant(node));
    found.next().map_or_else(
        || (place.to_owned(), own),
        |(document, node)| (format!("{}: route configuration {name}", document.place), node),
    )
}

fn find<'d>(value: &'d Node, listener: Option<&'d Node>, found: &mut Vec<(&'d Node, Option<&'d Node>)>) {
    if is_manager(value) {
        found.push((value, listener));
        return;
    }
    let listener = value.member("filter_chains").map(|_| value).or(listener);
    value.members().iter().for_each(|member| find(&member.node, listener, found));
    value.items().iter().for_each(|item| find(item, listener, found));
}

/// The clusters that routes lead to, and the names of routes that come from elsewhere.
fn find_clusters<'d>(value: &'d Node, clusters: &mut BTreeSet<&'d str>) {
    clusters.extend(["cluster", "route_config_name"].iter().filter_map(|key| value.member(key)?.text()));
    let weighted = value.at(&["weighted_clusters", "clusters"]).items().iter();
    clusters.extend(weighted.filter_map(|cluster| cluster.member("name")?.text()));
    value.members().iter().for_each(|member| find_clusters(&member.node, clusters));
    value.items().iter().for_each(|item| find_clusters(item, clusters));
}

/// Whether a filter of a connection manager runs a policy: its own, or that of an extension with its name.
fn runs(filter: &Node, placed: &Placed) -> bool {
    match wasm_settings(filter.at(&["typed_config"])) {
        Some(settings) => settings.span == placed.holder,
        None => {
            let name = filter.at(&["name"]).text();
            let discovered = filter.member("config_discovery").is_some();
            discovered && placed.names().is_some_and(|names| Some(names.filter.as_str()) == name)
        }
    }
}

impl Placed {
    pub const fn names(&self) -> Option<&Names> {
        match &self.host {
            Host::Envoy(names) => Some(names),
            _ => None,
        }
    }
}

impl<'d> Manager<'d> {
    fn filters(&self) -> &'d [Node] {
        self.value.at(&["http_filters"]).items()
    }

    /// The policies that it runs. Where several files have an extension of the same name, it is not known which one
    /// Envoy reads.
    pub fn known_policies(&self) -> Vec<&'d Placed> {
        let mut found = Vec::new();
        for filter in self.filters() {
            let mut all = self.policies.iter().filter(|placed| runs(filter, placed));
            if let (Some(placed), None) = (all.next(), all.next()) {
                found.push(*placed);
            }
        }
        found
    }

    /// Filters of ours that come from a file which is not here.
    pub fn unknown_filters(&self) -> Vec<(&'d str, &'d Node)> {
        let discovered = self.filters().iter().filter(|filter| filter.member("config_discovery").is_some());
        let named = discovered.filter_map(|filter| Some((filter.member("name")?.text()?, filter)));
        let is_unknown = |filter: &Node| !self.policies.iter().any(|placed| runs(filter, placed));
        named.filter(|(name, filter)| name.contains("openclaw") && is_unknown(filter)).collect()
    }

    /// The place of our filter among the others.
    fn ours(&self) -> Option<(usize, &'d Node)> {
        let unknown = self.unknown_filters();
        let is_ours = |filter: &Node| {
            self.policies.iter().any(|placed| runs(filter, placed))
                || unknown.iter().any(|(_, other)| other.span == filter.span)
        };
        self.filters().iter().enumerate().find(|(_, filter)| is_ours(filter))
    }
}

/// Adds the findings about one connection manager.
pub fn add(manager: &Manager<'_>, document: &Document, report: &mut Report<'_>) {
    let Some((at, ours)) = manager.ours() else { return };
    let placed = manager.policies.first().copied();
    add_peer(manager, placed, report);
    add_upgrades(manager, report);
    add_paths(manager, report);
    add_order(manager, at, placed, report);
    if let Some(placed) = placed {
        let after = manager.filters().iter().skip(at).find_map(writer);
        add_writer(placed, after.as_ref().map(|writer| (manager.place.as_str(), writer)), report);
    }
    add_routes(manager, ours, document, report);
    add_upstream_filters(manager, document, report);
}

/// Where Envoy takes the peer's address from.
fn add_peer(manager: &Manager<'_>, placed: Option<&Placed>, report: &mut Report<'_>) {
    let (value, place) = (manager.value, manager.place.as_str());
    let Some(placed) = placed else { return };
    let state = placed.node.at(&["filter", "peerAddress", "filterState"]).text();
    let uses_remote = value.at(&["use_remote_address"]).is_true();
    if let Some(state) = state {
        let is_own = ["envoy.", "io.istio."].iter().any(|start| state.starts_with(start));
        if !is_own && manager.listener.is_some_and(|listener| !sets(listener, state)) {
            report.add(
                "check.peer_from_header",
                Level::Warn,
                placed.spot("filter.peerAddress", "filterState"),
                format!("names the filter state {state:?}, which nothing in {place} sets: the filter refuses every request (trusted_proxy_peer_unknown)"),
                "add the filter set_filter_state: `render envoy --peer filter-state` writes it",
            );
        }
    } else {
        let hops = value.at(&["xff_num_trusted_hops"]);
        let remedy = "set use_remote_address to true without xff_num_trusted_hops and original_ip_detection_extensions, or keep the peer in a filter state (filter.peerAddress)";
        let problem = "Envoy takes its peer's address from a header, and the filter refuses such requests (trusted_proxy_peer_unverified)";
        if matches!(hops.value, Value::Number(hops) if hops > 0.0) {
            report.add(
                "check.peer_from_header",
                Level::Warn,
                spot(place, value, "xff_num_trusted_hops"),
                problem,
                remedy,
            );
        } else if !value.at(&["original_ip_detection_extensions"]).items().is_empty() {
            let spot = spot(place, value, "original_ip_detection_extensions");
            report.add("check.peer_from_header", Level::Warn, spot, problem, remedy);
        } else if !uses_remote {
            let spot = spot(place, value, "use_remote_address");
            report.add(
                "check.peer_from_header",
                Level::Warn,
                spot,
                format!("use_remote_address is not true: {problem}"),
                remedy,
            );
        }
    }
    let keeps = value.at(&["skip_xff_append"]).is_true();
    if placed.is_edge() && (keeps || !uses_remote) {
        let key = if keeps { "skip_xff_append" } else { "use_remote_address" };
        report.add(
            "check.forwarded_for",
            Level::Warn,
            spot(place, value, key),
            "the filter is the edge, but Envoy does not add its peer to X-Forwarded-For: the Gateway takes the client from what the client itself sends",
            "set use_remote_address to true and skip_xff_append to false (docs/gateway.md, placement A)",
        );
    }
}

/// Whether something in a listener sets a filter state.
fn sets(value: &Node, state: &str) -> bool {
    value.at(&["object_key"]).text() == Some(state)
        || value.members().iter().any(|member| sets(&member.node, state))
        || value.items().iter().any(|item| sets(item, state))
}

/// Filters that WebSockets have for themselves.
fn add_upgrades(manager: &Manager<'_>, report: &mut Report<'_>) {
    let runs = |filter: &Node| manager.policies.iter().any(|placed| runs(filter, placed));
    for upgrade in manager.value.at(&["upgrade_configs"]).items() {
        let own = upgrade.at(&["filters"]).items();
        if !own.is_empty() && !own.iter().any(runs) {
            report.add(
                "check.filter_off",
                Level::Critical,
                spot(&manager.place, upgrade, "filters"),
                "gives these upgrades filters of their own, without this one: they pass unchecked",
                "remove `filters`, so that upgrades pass the same filters as all requests",
            );
        }
    }
}

/// What Envoy does with paths before the filter runs.
fn add_paths(manager: &Manager<'_>, report: &mut Report<'_>) {
    const ID: &str = "check.paths";
    let (value, place) = (manager.value, manager.place.as_str());
    for key in ["normalize_path", "merge_slashes"] {
        if !value.at(&[key]).is_true() {
            report.add(
                ID,
                Level::Warn,
                spot(place, value, key),
                format!("{key} is not true: the filter and the Gateway can see two paths in one request, and scopes are narrowed for paths that are not plain"),
                format!("set {key} to true"),
            );
        }
    }
    let action = value.at(&["path_with_escaped_slashes_action"]).text().unwrap_or_default();
    if action.starts_with("UNESCAPE") || action == "REJECT_REQUEST" {
        report.add(
            ID,
            Level::Warn,
            spot(place, value, "path_with_escaped_slashes_action"),
            format!("is {action}: to the Gateway, %2F is a character in a name, such as /v1/models/openclaw%2Fmain, which does not arrive then"),
            "set it to KEEP_UNCHANGED",
        );
    }
    if value.at(&["http_protocol_options", "allow_chunked_length"]).is_true() {
        report.add(
            ID,
            Level::Warn,
            spot(place, value.at(&["http_protocol_options"]), "allow_chunked_length"),
            "is true: a request with two lengths can be read as two requests by the proxy in front of Envoy",
            "remove it",
        );
    }
}

/// The filters before and after ours.
fn add_order(manager: &Manager<'_>, ours: usize, placed: Option<&Placed>, report: &mut Report<'_>) {
    let place = manager.place.as_str();
    let asks_jwt = placed.is_some_and(|placed| {
        let path = placed.node.at(&["filter", "assertion", "metadata"]).items();
        path.first().and_then(Node::text) == Some("envoy.filters.http.jwt_authn")
    });
    let is_jwt = |filter: &Node| kind_of(filter).is_some_and(|kind| kind.ends_with("jwt_authn.v3.JwtAuthentication"));
    for (at, filter) in manager.filters().iter().enumerate() {
        let name = filter.at(&["name"]).text().unwrap_or_default();
        // The policy is known, so another copy of the filter is judged by itself.
        if at <= ours || manager.policies.iter().any(|placed| runs(filter, placed)) {
            continue;
        }
        let Some(kind) = kind_of(filter) else {
            report.add(
                "check.changed_after",
                Level::Info,
                spot(place, filter, "name"),
                format!("{name:?} runs after the filter, and what it is does not show here: it could change the headers that the filter set"),
                "put it before the filter, if it changes headers",
            );
            continue;
        };
        if is_harmless(kind) || writer(filter).is_some() {
            continue;
        }
        let problem = if is_jwt(filter) && asks_jwt {
            format!("{name:?} runs after the filter, which needs what it verifies: the filter refuses everybody")
        } else {
            format!("{name:?} runs after the filter, and can change the headers that it checked and set")
        };
        let remedy = "put the filter last, right before the router";
        report.add("check.changed_after", Level::Warn, spot(place, filter, "name"), problem, remedy);
    }
}

/// Whether a filter of this type changes no header that ours has checked or set.
pub fn is_harmless(kind: &str) -> bool {
    HARMLESS.iter().any(|harmless| kind.ends_with(harmless))
}

/// The type of a filter.
pub fn kind_of(filter: &Node) -> Option<&str> {
    let typed = filter.at(&["typed_config"]);
    if let [kind] = filter.at(&["config_discovery", "type_urls"]).items() {
        return kind.text();
    }
    let kind = typed.at(&["@type"]).text()?;
    if kind.ends_with("TypedStruct") { typed.at(&["type_url"]).text() } else { Some(kind) }
}

/// Filters of the clusters, which run after all filters of the listener.
fn add_upstream_filters(manager: &Manager<'_>, document: &Document, report: &mut Report<'_>) {
    let clusters = document.node.at(&["static_resources", "clusters"]).items().iter();
    for cluster in clusters {
        let name = cluster.at(&["name"]).text().unwrap_or_default();
        if !manager.clusters.contains(name) {
            continue;
        }
        for options in cluster.at(&["typed_extension_protocol_options"]).members() {
            for filter in options.node.at(&["http_filters"]).items() {
                let kind = kind_of(filter).unwrap_or_default();
                if is_harmless(kind) || kind.ends_with("upstream_codec.v3.UpstreamCodec") {
                    continue;
                }
                let filter_name = filter.at(&["name"]).text().unwrap_or_default();
                let place = format!("{}: cluster {name}", document.place);
                report.add(
                    "check.changed_after",
                    Level::Warn,
                    spot(&place, filter, "name"),
                    format!(
                        "{filter_name:?} runs after the filter, and can change the headers that it checked and set"
                    ),
                    "put it into the listener, before the filter",
                );
            }
        }
    }
}

/// What routes do with requests that the filter has checked.
fn add_routes<'d>(manager: &Manager<'d>, ours: &Node, document: &Document, report: &mut Report<'_>) {
    let placed = manager.policies.first().copied();
    let (place, config) = (&manager.routes.0, manager.routes.1);
    let name = ours.at(&["name"]).text().unwrap_or_default();
    let user = placed.map(Placed::user);
    let closed = user.as_ref().is_some_and(|user| removes(manager.value, user));
    let has_websocket = |holder: &Node| {
        let all = holder.at(&["upgrade_configs"]).items().iter();
        let mut websockets = all.filter(|upgrade| {
            upgrade.at(&["upgrade_type"]).text().is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"))
        });
        websockets.next().map(|upgrade| upgrade.at(&["enabled"]).value != Value::Bool(false))
    };
    let mut levels = vec![(place.clone(), config)];
    let mut routes = Vec::new();
    for host in config.at(&["virtual_hosts"]).items() {
        let place = format!("{place}: virtual host {}", host.at(&["name"]).text().unwrap_or("without a name"));
        levels.push((place.clone(), host));
        for (at, route) in host.at(&["routes"]).items().iter().enumerate() {
            let number = at.saturating_add(1).to_string();
            let place = format!("{place}: route {}", route.at(&["name"]).text().unwrap_or(&number));
            levels.push((place.clone(), route));
            for cluster in route.at(&["route", "weighted_clusters", "clusters"]).items() {
                levels.push((place.clone(), cluster));
            }
            routes.push((place, host, route));
        }
    }
    for (place, level) in &levels {
        add_switched_off(place, level, name, closed, report);
        let written = level.at(&["request_headers_to_add"]).items().iter();
        let written = written.map(|added| added.at(&["header", "key"]));
        let removed = level.at(&["request_headers_to_remove"]).items().iter();
        let with_place = |name: &'d Node| Some((name.text()?, name.span));
        let (written, removed) = (written.filter_map(with_place).collect(), removed.filter_map(with_place).collect());
        report.headers(place, written, removed, user.as_deref().unwrap_or_default());
    }
    let mut has_routes = false;
    let gateways = gateways(&routes, document);
    for (place, host, route) in &routes {
        let action = route.at(&["route"]);
        let mut clusters = BTreeSet::new();
        find_clusters(action, &mut clusters);
        if !action.is_set() || clusters.is_disjoint(&gateways) && !clusters.is_empty() {
            continue;
        }
        has_routes = true;
        for key in REWRITES.iter().filter(|key| action.member(key).is_some_and(|node| node.value != Value::Bool(false)))
        {
            report.add(
                "check.route_rewrites",
                Level::Warn,
                spot(place, action, key),
                format!("{key} changes what the filter checked: the Gateway sees another {}", if key.contains("host") { "host" } else { "path" }),
                "let the identity proxy rewrite, or change gateway.controlUi.basePath: no route behind the filter may rewrite path or host",
            );
        }
        let timeout = action.at(&["timeout"]);
        let is_unlimited = |text: &str| text.trim_end_matches('s').parse::<f64>().is_ok_and(|time| time <= 0.0);
        // A route for one path, such as a health check, may have a limit.
        let is_for_all = route.at(&["match"]).member("path").is_none();
        if is_for_all && !timeout.text().is_some_and(is_unlimited) {
            let what = if timeout.is_set() { "limits" } else { "is not set, and Envoy's default of 15 s limits" };
            report.add(
                "check.route_timeout",
                Level::Warn,
                spot(place, action, "timeout"),
                format!("timeout {what} each answer: an agent may take longer, and streams of events are cut"),
                "set timeout to 0s",
            );
        }
        if ours.at(&["disabled"]).is_true() {
            let own = |level: &Node| level.at(&["typed_per_filter_config"]).member(name).is_some();
            if !own(route) && !own(host) && !own(config) {
                report.add(
                    "check.filter_off",
                    if closed { Level::Warn } else { Level::Critical },
                    spot(place, route, "route"),
                    format!("the filter {name:?} is disabled, and this route does not switch it on"),
                    "remove `disabled: true` from the filter",
                );
            }
        }
    }
    let upgrades = has_websocket(manager.value);
    let is_missing =
        |(_, _, route): &(String, &Node, &Node)| has_websocket(route.at(&["route"])).or(upgrades) != Some(true);
    if has_routes && routes.iter().filter(|(_, _, route)| route.at(&["route"]).is_set()).all(is_missing) {
        report.add(
            "check.no_websocket",
            Level::Warn,
            spot(&manager.place, manager.value, "upgrade_configs"),
            "WebSockets are not enabled: the Control UI cannot connect",
            "add `upgrade_configs: [{ upgrade_type: websocket }]`",
        );
    }
}

/// The clusters that are the Gateway: of those to which everything goes that no other route takes, the ones whose name
/// or port says so, or else all of them. Where no route takes everything, each may lead to it.
fn gateways<'d>(routes: &[(String, &'d Node, &'d Node)], document: &'d Document) -> BTreeSet<&'d str> {
    let (mut rest, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (_, _, route) in routes {
        if route.at(&["match", "prefix"]).text() == Some("/") {
            find_clusters(route.at(&["route"]), &mut rest);
        }
        find_clusters(route.at(&["route"]), &mut all);
    }
    let clusters = document.node.at(&["static_resources", "clusters"]).items();
    let has_port = |name: &str| {
        let own = clusters.iter().find(|cluster| cluster.at(&["name"]).text() == Some(name));
        own.is_some_and(|cluster| has_port(cluster, 18789.0))
    };
    let named = |name: &&&str| name.contains("claw") || name.contains("gateway") || has_port(name);
    let named: BTreeSet<&str> = rest.iter().filter(named).copied().collect();
    [named, rest].into_iter().find(|some| !some.is_empty()).unwrap_or(all)
}

fn has_port(value: &Node, port: f64) -> bool {
    value.at(&["port_value"]).value == Value::Number(port)
        || value.members().iter().any(|member| has_port(&member.node, port))
        || value.items().iter().any(|item| has_port(item, port))
}

/// A level of routes that switches the filter off, or gives it another configuration.
fn add_switched_off(place: &str, level: &Node, name: &str, closed: bool, report: &mut Report<'_>) {
    let configs = level.at(&["typed_per_filter_config"]);
    let Some(own) = configs.member(name) else { return };
    let is_wrapper = own.at(&["@type"]).text().is_some_and(|kind| kind.ends_with("route.v3.FilterConfig"));
    let problem = if is_wrapper && own.at(&["disabled"]).is_true() {
        if closed {
            "switches the filter off: no request here has a user, and the Gateway refuses all of them"
        } else {
            "switches the filter off: the Gateway believes whoever sends the user header"
        }
    } else if is_wrapper && own.at(&["config"]).members().is_empty() {
        // This switches on what is disabled, as Envoy Gateway does.
        return;
    } else {
        "gives the filter another configuration, which it does not read"
    };
    let level = if closed { Level::Warn } else { Level::Critical };
    report.add("check.filter_off", level, spot(place, configs, name), problem, "remove it");
}
