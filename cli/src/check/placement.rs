//! `check` on what is around a policy: Envoy's bootstrap, or Kubernetes manifests.
//!
//! If the filter is deleted, switched off for a route, or missing in a listener, the Gateway must hear of no user. So
//! Envoy itself removes the header in which the Gateway reads the user, before any filter runs. This looks for that in
//! connection managers, EnvoyFilters and ClientTrafficPolicies.
#![allow(clippy::indexing_slicing, reason = "a JSON value at a key that is missing is null")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::finding::{Finding, Level};
use crate::input::{Configuration, name_of, read_text, unreadable};
use crate::output::{Failure, Problem};

const OPEN: &str = "check.open_without_filter";

/// Whether a path is checked as a deployment: a folder, or a YAML file.
pub fn is_deployment(path: &Path) -> bool {
    path.is_dir() || is_yaml(path)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// The YAML files of a deployment.
pub struct Deployment {
    /// Their names.
    pub files: Vec<String>,
    documents: Vec<Document>,
}

struct Document {
    file: String,
    value: Value,
}

/// A policy, and where it is.
pub struct Placed {
    /// The file, and the object in it.
    pub place: String,
    config: Value,
    host: Host,
}

/// What applies a policy.
enum Host {
    /// A WasmPlugin or a TrafficExtension, by the index of its document.
    Istio(usize),
    /// An EnvoyExtensionPolicy, by the index of its document.
    EnvoyGateway(usize),
    /// A connection manager, or an extension that connection managers name.
    Envoy(Names),
}

/// What tells the plugins of one Envoy apart for the filter. Of two with the same names, the later one replaces the
/// earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    name: String,
    root_id: String,
    vm_id: String,
}

/// A connection manager in a listener.
struct Manager<'d> {
    place: String,
    value: &'d Value,
    clusters: BTreeSet<&'d str>,
}

impl Deployment {
    /// Reads a YAML file, or all YAML files in a folder and in the folders in it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut paths = Vec::new();
        if path.is_dir() {
            collect(path, &mut paths)?;
            paths.sort();
        } else {
            paths.push(path.to_owned());
        }
        let (mut files, mut documents) = (Vec::new(), Vec::new());
        for path in paths {
            let file = name_of(&path);
            let all: Vec<Value> = serde_saphyr::from_multiple(&read_text(&path)?).map_err(|error| {
                Failure::new(
                    file.clone(),
                    format!("is not YAML: {}", error.to_string().lines().next().unwrap_or_default()),
                    "give Envoy's bootstrap or rendered manifests, without templates",
                )
            })?;
            documents.extend(all.into_iter().map(|value| Document { file: file.clone(), value }));
            files.push(file);
        }
        Ok(Self { files, documents })
    }

    /// The policies in it.
    pub fn policies(&self) -> Vec<Placed> {
        let mut all = Vec::new();
        for (at, Document { file, value }) in self.documents.iter().enumerate() {
            let text = |key: &str| value[key].as_str().unwrap_or_default();
            let place = format!("{file}: {} {}", text("kind"), full_name(value));
            match text("kind") {
                "WasmPlugin" if is_policy(&value["spec"]["pluginConfig"]) => {
                    let config = value["spec"]["pluginConfig"].clone();
                    all.push(Placed { place, config, host: Host::Istio(at) });
                }
                "TrafficExtension" if is_policy(&value["spec"]["wasm"]["pluginConfig"]) => {
                    let config = value["spec"]["wasm"]["pluginConfig"].clone();
                    all.push(Placed { place, config, host: Host::Istio(at) });
                }
                "EnvoyExtensionPolicy" => {
                    for wasm in list(&value["spec"]["wasm"]).filter(|wasm| is_policy(&wasm["config"])) {
                        let (place, config) = (place.clone(), wasm["config"].clone());
                        all.push(Placed { place, config, host: Host::EnvoyGateway(at) });
                    }
                }
                _ => {
                    let mut found = Vec::new();
                    find_plugins(value, &mut found);
                    let place = |name: &str| format!("{file}: filter {name}");
                    all.extend(found.into_iter().map(|(name, names, config)| Placed {
                        place: place(&name),
                        config,
                        host: Host::Envoy(names),
                    }));
                }
            }
        }
        all
    }

    /// Adds the findings about what is around the policies.
    pub fn add(&self, policies: &[Placed], findings: &mut Vec<Finding>) {
        for placed in policies {
            let header = placed.user();
            // Behind another filter, the user is what that one stamped.
            if placed.takes_the_users_of_a_filter() {
                let stamped = policies.iter().any(|other| other.place != placed.place && other.user() == header);
                if !stamped {
                    findings.push(finding(
                        "check.user_of_another_filter",
                        Level::Info,
                        &placed.place,
                        format!("takes the user from {header} as its peers send it"),
                        "make sure that each of filter.trustedPeers runs this filter, or set filter.upstreamUserHeader",
                    ));
                }
                continue;
            }
            match &placed.host {
                Host::Istio(at) if !self.istio_removes(*at, &header) => findings.push(open(
                    &placed.place,
                    &header,
                    "add the EnvoyFilter openclaw-closed of envoy/istio/ingress.yaml for this workload: `render istio` writes it",
                )),
                Host::EnvoyGateway(at) if !self.envoy_gateway_removes(*at, &header) => findings.push(open(
                    &placed.place,
                    &header,
                    "list it in headers.earlyRequestHeaders.remove of the Gateway's ClientTrafficPolicy: `render envoy-gateway` does so",
                )),
                _ => {}
            }
            if placed.theirs() == header && !placed.is_edge() {
                findings.push(finding(
                    OPEN,
                    Level::Warn,
                    &placed.place,
                    format!("stamps the user into {header}, which the proxy sends too: without the filter, the Gateway believes the proxy's own header"),
                    "set filter.upstreamUserHeader to \"x-openclaw-user\", userHeader in the Gateway's openclaw.json to the same, and let Envoy remove it early",
                ));
            }
        }
        self.add_managers(policies, findings);
    }

    /// Connection managers, with the filter and beside it.
    fn add_managers(&self, policies: &[Placed], findings: &mut Vec<Finding>) {
        for Document { file, value } in &self.documents {
            let mut managers = Vec::new();
            find_managers(value, file, "", &mut managers);
            add_shared_names(&managers, policies, findings);
            for manager in &managers {
                for name in manager.unknown_filters(policies) {
                    findings.push(finding(
                        "check.policy_not_found",
                        Level::Info,
                        &manager.place,
                        format!("has the filter {name:?}, whose policy is in none of these files"),
                        "check the folder that has both, so that they can be compared",
                    ));
                }
                for placed in policies.iter().filter(|placed| !placed.takes_the_users_of_a_filter()) {
                    let header = placed.user();
                    let guarded: Vec<_> = managers.iter().filter(|other| other.has(placed)).collect();
                    let leads_there = guarded.iter().any(|other| !other.clusters.is_disjoint(&manager.clusters));
                    if guarded.is_empty() || removes(manager.value, &header) || !(manager.has(placed) || leads_there) {
                        continue;
                    }
                    let problem = if manager.has(placed) {
                        open_problem(&header)
                    } else {
                        format!(
                            "leads to the Gateway without the filter, and {header} is not removed before its filters run: the Gateway believes whoever sends it"
                        )
                    };
                    findings.push(finding(
                        OPEN,
                        Level::Warn,
                        &manager.place,
                        problem,
                        "add early_header_mutation_extensions as in envoy/envoy.yaml: `render envoy` writes it",
                    ));
                }
            }
        }
    }

    /// Whether an EnvoyFilter for the workload of a plugin removes a header early.
    fn istio_removes(&self, plugin: usize, header: &str) -> bool {
        const ROOT: &str = "istio-system";
        let Some(plugin) = self.documents.get(plugin).map(|document| &document.value) else { return false };
        let namespace = &plugin["metadata"]["namespace"];
        let selected = plugin["spec"]["selector"]["matchLabels"].as_object();
        let targets = targets(plugin);
        let applies = |filter: &Value| {
            let of = &filter["metadata"]["namespace"];
            let labels = filter["spec"]["workloadSelector"]["labels"].as_object();
            let named = self::targets(filter);
            (of == namespace || of == ROOT)
                && (named.is_empty() || targets.iter().any(|target| named.contains(target)))
                && labels.is_none_or(|labels| {
                    labels.iter().all(|(key, value)| selected.is_some_and(|own| own.get(key) == Some(value)))
                })
        };
        // In a pod, requests come in by its inbound listeners.
        let is_inbound = list(&plugin["spec"]["match"]).any(|one| one["mode"] == "SERVER");
        let fits = |context: &Value| match context.as_str() {
            None | Some("ANY") => true,
            Some("SIDECAR_OUTBOUND") => false,
            Some(context) => !is_inbound || context == "SIDECAR_INBOUND",
        };
        let filters = self.documents.iter().map(|document| &document.value);
        let mut patches = filters
            .filter(|value| value["kind"] == "EnvoyFilter" && applies(value))
            .flat_map(|value| list(&value["spec"]["configPatches"]));
        patches.any(|patch| {
            patch["applyTo"] == "NETWORK_FILTER"
                && patch["patch"]["operation"] == "MERGE"
                && fits(&patch["match"]["context"])
                && removes(&patch["patch"]["value"]["typed_config"], header)
        })
    }

    /// Whether a ClientTrafficPolicy for the Gateways of a policy removes a header early.
    fn envoy_gateway_removes(&self, policy: usize, header: &str) -> bool {
        let Some(policy) = self.documents.get(policy).map(|document| &document.value) else { return false };
        let all = || self.documents.iter().map(|document| &document.value);
        // A policy on a route concerns the Gateways that the route names.
        let gateways: BTreeSet<String> = targets(policy)
            .into_iter()
            .flat_map(|(kind, name)| {
                if kind == "Gateway" {
                    return vec![name];
                }
                let route = all().find(|value| value["kind"] == *kind && value["metadata"]["name"] == *name);
                route
                    .map(|route| list(&route["spec"]["parentRefs"]).map(|parent| text(&parent["name"])).collect())
                    .unwrap_or_default()
            })
            .collect();
        let removing: BTreeSet<String> = all()
            .filter(|value| {
                let removed = list(&value["spec"]["headers"]["earlyRequestHeaders"]["remove"]);
                value["kind"] == "ClientTrafficPolicy"
                    && value["metadata"]["namespace"] == policy["metadata"]["namespace"]
                    && removed.filter_map(Value::as_str).any(|name| name.eq_ignore_ascii_case(header))
            })
            .flat_map(targets)
            .filter(|(kind, _)| kind == "Gateway")
            .map(|(_, name)| name)
            .collect();
        !gateways.is_empty() && gateways.is_subset(&removing)
    }
}

impl Placed {
    /// The policy as a configuration of its own.
    pub fn configuration(&self) -> Result<Configuration, Failure> {
        Configuration::of_plugin(&self.place, self.config.to_string())
    }

    fn theirs(&self) -> String {
        text(&self.config["gateway"]["auth"]["trustedProxy"]["userHeader"]).trim().to_ascii_lowercase()
    }

    /// The header that the filter stamps.
    fn user(&self) -> String {
        let upstream = self.config["filter"]["upstreamUserHeader"].as_str();
        upstream.map_or_else(|| self.theirs(), |name| name.trim().to_ascii_lowercase())
    }

    fn is_edge(&self) -> bool {
        self.config["filter"]["edge"] == true
    }

    fn takes_the_users_of_a_filter(&self) -> bool {
        let peers = self.config["filter"]["trustedPeers"].as_array();
        peers.is_some_and(|peers| !peers.is_empty()) && !self.is_edge() && self.theirs() == self.user()
    }
}

impl Manager<'_> {
    fn filters(&self) -> impl Iterator<Item = &Value> {
        list(&self.value["http_filters"])
    }

    /// Whether it runs this policy: its own, or an extension's of that name.
    fn has(&self, placed: &Placed) -> bool {
        matches!(placed.host, Host::Envoy(_))
            && self.filters().any(|filter| match plugin_of(&filter["typed_config"]) {
                Some((_, config)) => config == placed.config,
                None => discovers(filter, placed),
            })
    }

    /// The policies that it runs, each with its names. Where several files have an extension of the same name, it is
    /// not known which one Envoy reads.
    fn policies(&self, all: &[Placed]) -> Vec<(Names, Value)> {
        let mut found = Vec::new();
        for filter in self.filters() {
            let mut named = all.iter().filter(|placed| discovers(filter, placed));
            if let Some(plugin) = plugin_of(&filter["typed_config"]) {
                found.push(plugin);
            } else if let (Some(Placed { config, host: Host::Envoy(names), .. }), None) = (named.next(), named.next()) {
                found.push((names.clone(), config.clone()));
            }
        }
        found
    }

    /// Filters of ours that come from a file which is not here.
    fn unknown_filters(&self, policies: &[Placed]) -> Vec<String> {
        let ours = self.filters().filter(|filter| filter["config_discovery"].is_object());
        let names = ours.map(|filter| text(&filter["name"])).filter(|name| name.contains("openclaw"));
        let is_known =
            |name: &String| policies.iter().any(|placed| placed.place.ends_with(&format!(": filter {name}")));
        names.filter(|name| !is_known(name)).collect()
    }
}

/// Whether a filter of a connection manager is read from elsewhere, under the name of this extension.
fn discovers(filter: &Value, placed: &Placed) -> bool {
    filter["config_discovery"].is_object() && placed.place.ends_with(&format!(": filter {}", text(&filter["name"])))
}

/// Policies of one Envoy that differ and have the same names. For the filter, the later one is an edit of the earlier
/// one.
fn add_shared_names(managers: &[Manager<'_>], policies: &[Placed], findings: &mut Vec<Finding>) {
    let mut seen: Vec<(Names, Value, &str)> = Vec::new();
    for manager in managers {
        for (names, config) in manager.policies(policies) {
            let mut same = seen.iter().filter(|(other, ..)| *other == names);
            if let Some((_, first, place)) = same.next()
                && *first != config
                && same.all(|(_, other, _)| *other != config)
            {
                findings.push(finding(
                    "check.shared_name",
                    Level::Warn,
                    &manager.place,
                    format!(
                        "has another policy than {place}, with the same config.name {:?} and root_id {:?}: for the filter, one is an edit of the other, and the open WebSockets of both listeners are decided again by the later one",
                        names.name, names.root_id
                    ),
                    "give each policy a config.name of its own",
                ));
            }
            seen.push((names, config, &manager.place));
        }
    }
}

fn finding(
    id: &'static str,
    level: Level,
    place: &str,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let problem = Problem { place: place.to_owned(), problem: problem.into(), remedy: remedy.into(), excerpt: None };
    Finding { id: Some(id), level, problem, is_reminder: false }
}

fn open_problem(header: &str) -> String {
    format!("{header} is not removed before the filters run: without the filter, the Gateway believes whoever sends it")
}

fn open(place: &str, header: &str, remedy: &str) -> Finding {
    finding(OPEN, Level::Warn, place, open_problem(header), remedy)
}

/// The YAML files below a folder. Links are not followed.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, paths)?;
        } else if is_yaml(&path) && path.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What a policy targets, by kind and name.
fn targets(value: &Value) -> Vec<(String, String)> {
    let (one, many) = (&value["spec"]["targetRef"], &value["spec"]["targetRefs"]);
    let all = list(many).chain(Some(one).filter(|one| one.is_object()));
    all.map(|target| (text(&target["kind"]), text(&target["name"]))).collect()
}

fn full_name(document: &Value) -> String {
    let part = |key: &str| document["metadata"][key].as_str();
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (_, name) => name.unwrap_or_default().to_owned(),
    }
}

/// Whether a value is a policy of this filter, right or wrong.
fn is_policy(value: &Value) -> bool {
    value.get("gateway").is_some() || value.get("filter").is_some()
}

/// The policy in the configuration of a Wasm filter.
fn plugin_of(typed_config: &Value) -> Option<(Names, Value)> {
    let kind = typed_config["@type"].as_str()?;
    if !kind.ends_with("envoy.extensions.filters.http.wasm.v3.Wasm") {
        return None;
    }
    let plugin = &typed_config["config"];
    let value = &plugin["configuration"]["value"];
    let config = match value.as_str() {
        Some(text) => serde_json::from_str(text).ok()?,
        None => value.clone(),
    };
    let names = Names {
        name: text(&plugin["name"]),
        root_id: text(&plugin["root_id"]),
        vm_id: text(&plugin["vm_config"]["vm_id"]),
    };
    is_policy(&config).then_some((names, config))
}

/// The Wasm filters with a policy: those of connection managers, and extensions with a name.
fn find_plugins(value: &Value, found: &mut Vec<(String, Names, Value)>) {
    if let Some((names, config)) = plugin_of(&value["typed_config"]) {
        found.push((text(&value["name"]), names, config));
        return;
    }
    match value {
        Value::Object(members) => members.values().for_each(|inner| find_plugins(inner, found)),
        Value::Array(items) => items.iter().for_each(|inner| find_plugins(inner, found)),
        _ => {}
    }
}

/// The connection managers of a bootstrap, each with the listener that it is in.
fn find_managers<'d>(value: &'d Value, file: &str, listener: &str, found: &mut Vec<Manager<'d>>) {
    const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    match value {
        Value::Object(members) => {
            // What an EnvoyFilter merges into one is not a whole one.
            let is_manager = value["@type"].as_str().is_some_and(|kind| kind.ends_with(MANAGER));
            if is_manager && value["http_filters"].is_array() {
                let mut clusters = BTreeSet::new();
                find_clusters(&value["route_config"], &mut clusters);
                find_clusters(&value["rds"], &mut clusters);
                found.push(Manager { place: format!("{file}: listener {listener}"), value, clusters });
                return;
            }
            let is_listener = value["filter_chains"].is_array();
            let listener = if is_listener { value["name"].as_str().unwrap_or("without a name") } else { listener };
            members.values().for_each(|inner| find_managers(inner, file, listener, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| find_managers(inner, file, listener, found)),
        _ => {}
    }
}

/// The clusters that routes lead to, and the names of routes that come from elsewhere.
fn find_clusters<'d>(value: &'d Value, clusters: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(members) => {
            clusters.extend(["cluster", "route_config_name"].iter().filter_map(|key| members.get(*key)?.as_str()));
            members.values().for_each(|inner| find_clusters(inner, clusters));
        }
        Value::Array(items) => items.iter().for_each(|inner| find_clusters(inner, clusters)),
        _ => {}
    }
}

/// Whether the settings of a connection manager remove a header before any filter runs.
fn removes(manager: &Value, header: &str) -> bool {
    list(&manager["early_header_mutation_extensions"])
        .flat_map(|extension| list(&extension["typed_config"]["mutations"]))
        .filter_map(|mutation| mutation["remove"].as_str())
        .any(|name| name.eq_ignore_ascii_case(header))
}
