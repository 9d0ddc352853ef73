//! Finds policies in Envoy's configuration and in Kubernetes manifests.
//!
//! A Wasm filter is ours if its configuration has a `gateway` block with `auth` or `trustedProxies`, or a `filter`
//! block with a key of ours, or if its module, its image or its name says so. So a policy with a typing error is still
//! found, and other plugins are left alone.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;

use super::embedded::Places;
use super::files::Found;
use super::{Format, Kind, SourceFile, files, parse_documents, read_text};
use crate::json5::{self, Member, Node, Span, Value};
use crate::output::{Failure, Problem, visible};

/// The most bytes that all files have together.
const MAX_BYTES: usize = 64 << 20;
/// How deeply lists of manifests and ConfigMaps are nested.
const MAX_NESTING: usize = 4;

const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// What was read.
#[derive(Debug, Default)]
pub struct Deployment {
    /// The files, by the numbers in spans.
    pub files: Vec<SourceFile>,
    pub documents: Vec<Document>,
    pub policies: Vec<Placed>,
    /// Files that are an openclaw.json or a plugin configuration, by their numbers.
    pub plain: Vec<(usize, Found, Kind)>,
    /// Wasm filters of ours whose policy is still empty: where they are.
    pub unfilled: Vec<(String, Span)>,
    /// Files that could not be read.
    pub failures: Vec<Problem>,
}

/// A document of a file, or of a text in one.
#[derive(Debug)]
pub struct Document {
    /// The number of its file.
    pub file: usize,
    /// The file, and the object in it that has this document as a text.
    pub place: String,
    pub node: Node,
}

/// A policy, and where it is.
#[derive(Debug)]
pub struct Placed {
    /// The file, and the object in it.
    pub place: String,
    pub kind: Kind,
    /// The configuration, with its places in the file.
    pub node: Node,
    /// The configuration as a value, to compare it with others.
    pub value: serde_json::Value,
    /// Where what holds it is: the manifest, or the settings of the Wasm filter.
    pub holder: Span,
    /// The text that the filter gets, if it is one.
    pub text: Option<String>,
    pub host: Host,
    /// The setting that lets everything pass if the filter cannot run.
    pub fails_open: Option<Span>,
}

/// What applies a policy.
#[derive(Debug)]
pub enum Host {
    /// A WasmPlugin, a TrafficExtension or an EnvoyFilter, by the index of its document.
    Istio(usize),
    /// An EnvoyExtensionPolicy, by the index of its document.
    EnvoyGateway(usize),
    /// A connection manager, or an extension that connection managers name.
    Envoy(Names),
    /// Nothing that is known here.
    None,
}

/// What tells the plugins of one Envoy apart for the filter. Of two with the same names, the later one replaces the
/// earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The name of the HTTP filter, or of the extension.
    pub filter: String,
    pub name: String,
    pub root_id: String,
    pub vm_id: String,
}

/// A Wasm filter.
pub struct Plugin<'d> {
    /// The name of the HTTP filter.
    pub name: &'d str,
    /// The listener that it is in.
    pub listener: Option<&'d str>,
    /// Its settings, which have `config`.
    pub settings: &'d Node,
}

impl Deployment {
    /// Reads files and folders.
    ///
    /// # Errors
    /// If there are too many files.
    pub fn read(paths: &[std::path::PathBuf]) -> Result<Self, Failure> {
        let mut deployment = Self::default();
        let mut total = 0_usize;
        for found in files::collect(paths)? {
            match read_text(&found.path) {
                Ok(text) => {
                    total = total.saturating_add(text.len());
                    if total > MAX_BYTES {
                        let problem = format!("and the files before it have more than {} MiB in all", MAX_BYTES >> 20);
                        return Err(Failure::new(super::name_of(&found.path), problem, "check fewer files at once"));
                    }
                    deployment.add(found, text)?;
                }
                Err(Failure::Input(problems)) => deployment.failures.extend(problems),
                Err(failure) => return Err(failure),
            }
        }
        deployment.add_discovered()?;
        Ok(deployment)
    }

    /// The files from which Envoy reads filters and listeners, if they are not here yet: beside its own, or where it
    /// looks for them.
    fn add_discovered(&mut self) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for document in &self.documents {
            let folder = self.files.get(document.file).and_then(|file| Path::new(&file.name).parent());
            let mut paths = Vec::new();
            let known = |name: &str| {
                self.policies.iter().any(|placed| matches!(&placed.host, Host::Envoy(names) if names.filter == name))
            };
            find_sources(&document.node, &known, &mut paths);
            wanted.extend(paths.into_iter().filter_map(|path| Some((folder?.to_owned(), Path::new(path).to_owned()))));
        }
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        for (folder, path) in wanted {
            let name = path.file_name().map(Path::new).unwrap_or(&path);
            let above = path.parent().and_then(Path::file_name).map(Path::new).unwrap_or(Path::new(""));
            let places = [folder.join(above).join(name), folder.join(name), path.clone()];
            let Some(path) = places.into_iter().find(|path| path.is_file()) else { continue };
            if self.files.iter().any(|file| real(Path::new(&file.name)) == real(&path)) {
                continue;
            }
            match read_text(&path) {
                Ok(text) => self.add(Found { path, is_named: false }, text)?,
                Err(Failure::Input(problems)) => self.failures.extend(problems),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn add(&mut self, found: Found, text: String) -> Result<(), Failure> {
        let number = self.files.len();
        let file = SourceFile::new(&found.path, text);
        let is_about_us = found.is_named || mentions_us(&file.text);
        let is_relevant = is_about_us || ["envoy", "apiVersion", "gateway"].iter().any(|word| file.text.contains(word));
        let documents = if is_relevant { parse_documents(&file, number) } else { Ok(Vec::new()) };
        self.files.push(file);
        match documents {
            Ok(documents) => self.add_documents(number, found, documents),
            Err(Failure::Input(problems)) if is_about_us => self.failures.extend(problems),
            // What cannot be read and does not mention the filter is like a file without a policy.
            Err(Failure::Input(_)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// What a file is, if it is a configuration itself.
    pub fn plain_kind(&self, file: usize) -> Option<Kind> {
        self.plain.iter().find(|(other, ..)| *other == file).map(|(_, _, kind)| *kind)
    }

    /// What the documents are.
    pub fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<_> = self.documents.iter().map(what).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// The documents of one file.
    pub fn of(file: SourceFile, documents: Vec<Node>) -> Self {
        let found = Found { path: Path::new(&file.name).to_owned(), is_named: true };
        let mut deployment = Self { files: vec![file], ..Self::default() };
        deployment.add_documents(0, found, documents);
        deployment
    }

    fn add_documents(&mut self, file: usize, found: Found, documents: Vec<Node>) {
        let is_only = documents.len() == 1;
        let known = self.policies.len();
        for node in documents {
            let place = self.files.get(file).map(|file| file.name.clone()).unwrap_or_default();
            if is_only && !is_deployment(&node) && !(found.is_named && self.is_something_else(file, &node)) {
                let is_named = found.is_named || found.path.file_stem().is_some_and(|name| name == "openclaw");
                if is_named || is_gateway(node.at(&["gateway"])) {
                    self.plain.push((file, found, kind_of(&node)));
                }
                return;
            }
            self.add_document(Document { file, place, node }, 0);
        }
        if found.is_named && self.policies.len() == known && self.unfilled.is_empty() {
            let kinds: Vec<_> = self.documents.iter().filter(|document| document.file == file).map(what).collect();
            // What stands around a policy may be in another file.
            if !kinds.iter().any(|kind| AROUND.contains(&kind.as_str())) {
                let mut kinds = kinds;
                kinds.dedup();
                let problem = match kinds.as_slice() {
                    [] => "is empty".to_owned(),
                    kinds => format!("has no policy of this filter, only: {}", visible(&kinds.join(", "))),
                };
                self.failures.push(Problem {
                    place: super::name_of(&found.path),
                    problem,
                    remedy: "give an openclaw.json, a plugin configuration, or what has one in it: a WasmPlugin, a \
                             TrafficExtension, an EnvoyExtensionPolicy, or Envoy's own configuration"
                        .to_owned(),
                    excerpt: None,
                });
            }
        }
    }

    /// Whether a YAML file has no key of a configuration. The Gateway's own file is JSON5, so this is not one.
    fn is_something_else(&self, file: usize, node: &Node) -> bool {
        self.files.get(file).is_some_and(|file| file.format == Format::Yaml) && !is_configuration(node)
    }

    fn add_document(&mut self, document: Document, depth: usize) {
        let kind = document.node.at(&["kind"]).text().unwrap_or_default();
        if depth < MAX_NESTING && kind.ends_with("List") && !document.node.at(&["items"]).items().is_empty() {
            for item in document.node.at(&["items"]).items() {
                let (place, node) = (document.place.clone(), item.clone());
                self.add_document(Document { file: document.file, place, node }, depth.saturating_add(1));
            }
            return;
        }
        if kind == "ConfigMap" && depth < MAX_NESTING {
            self.add_texts(&document, depth);
        }
        if !is_deployment(&document.node) && is_gateway(document.node.at(&["gateway"])) {
            let Document { place, node, .. } = document;
            let (span, kind) = (node.span, kind_of(&node));
            self.policies.push(placed(place, kind, node, span, None, Host::None));
            return;
        }
        let at = self.documents.len();
        let source = self.files.get(document.file).map_or("", |file| &file.text);
        let found = find(&document, at, source, &mut self.unfilled);
        for placed in found {
            // An alias in YAML is the same policy once more.
            if !self.policies.iter().any(|other| other.holder == placed.holder) {
                self.policies.push(placed);
            }
        }
        self.documents.push(document);
    }

    /// The texts in a ConfigMap.
    fn add_texts(&mut self, map: &Document, depth: usize) {
        let Some(file) = self.files.get(map.file).cloned() else { return };
        for Member { key, node, .. } in map.node.at(&["data"]).members() {
            let Some(text) = node.text() else { continue };
            if !mentions_us(text) && !text.contains(MANAGER) && !text.contains("gateway") {
                continue;
            }
            let places = Places::of(&file.text, node);
            let place = format!("{}: ConfigMap {} {key}", map.place, full_name(&map.node));
            let inner = SourceFile::new(Path::new(key), text.to_owned());
            match parse_documents(&inner, map.file) {
                Ok(documents) => {
                    for mut inner in documents {
                        inner.move_spans(&|span| places.find(span));
                        let document = Document { file: map.file, place: place.clone(), node: inner };
                        if is_deployment(&document.node) {
                            self.add_document(document, depth.saturating_add(1));
                        } else if is_gateway(document.node.at(&["gateway"])) {
                            let kind = kind_of(&document.node);
                            let text = (kind == Kind::Plugin).then(|| text.to_owned());
                            self.policies.push(placed(place.clone(), kind, document.node, node.span, text, Host::None));
                        }
                    }
                }
                Err(Failure::Input(problems)) if mentions_us(text) => {
                    self.failures.extend(problems.into_iter().map(|problem| Problem {
                        place: place.clone(),
                        excerpt: file.excerpt(node.span),
                        ..problem
                    }));
                }
                Err(_) => {}
            }
        }
    }
}

/// Kinds of manifests that stand around a policy.
const AROUND: [&str; 10] = [
    "EnvoyFilter",
    "ClientTrafficPolicy",
    "VirtualService",
    "DestinationRule",
    "HTTPRoute",
    "Gateway",
    "WasmPlugin",
    "TrafficExtension",
    "EnvoyExtensionPolicy",
    "Envoy's configuration",
];

fn what(document: &Document) -> String {
    match document.node.at(&["kind"]).text() {
        Some(kind) => kind.to_owned(),
        None if is_deployment(&document.node) => "Envoy's configuration".to_owned(),
        None => {
            let keys: Vec<_> =
                document.node.members().iter().take(3).map(|member| format!("{:?}", member.key)).collect();
            if keys.is_empty() { "another document".to_owned() } else { format!("keys such as {}", keys.join(", ")) }
        }
    }
}

/// The Gateway has no key `filter`.
fn kind_of(document: &Node) -> Kind {
    if document.member("filter").is_some() { Kind::Plugin } else { Kind::OpenClaw }
}

fn mentions_us(text: &str) -> bool {
    ["trustedProx", "trusted-proxy", "trusted_proxy", "openclaw"].iter().any(|word| text.contains(word))
}

/// Whether a document is a manifest, or Envoy's configuration, and not a configuration of its own.
pub fn is_deployment(document: &Node) -> bool {
    if document.member("gateway").is_some() || document.member("filter").is_some() {
        return false;
    }
    let has = |key: &str| document.member(key).is_some();
    !matches!(document.value, Value::Object(_))
        && !document.items().is_empty()
        && document.items().iter().all(|item| item.member("name").is_some() || item.member("@type").is_some())
        || has("apiVersion") && has("kind")
        || [
            "static_resources",
            "dynamic_resources",
            "resources",
            "filter_chains",
            "http_filters",
            "typed_config",
            "virtual_hosts",
        ]
        .iter()
        .any(|key| has(key))
        || has("@type")
}

/// Whether an object has a key of a configuration, or one that was meant to be one.
pub fn is_configuration(node: &Node) -> bool {
    let is_ours = |key: &str| {
        let key = key.to_ascii_lowercase();
        ["gateway", "filter", "trustedproxies", "$include"].iter().any(|ours| key.contains(ours))
    };
    node.members().iter().any(|member| is_ours(&member.key))
}

fn placed(place: String, kind: Kind, node: Node, holder: Span, text: Option<String>, host: Host) -> Placed {
    let value = serde_json::from_str(&node.to_json()).unwrap_or_default();
    Placed { place, kind, node, value, holder, text, host, fails_open: None }
}

/// The policies in a document.
fn find(document: &Document, at: usize, source: &str, unfilled: &mut Vec<(String, Span)>) -> Vec<Placed> {
    let Document { place, node, .. } = document;
    let kind = node.at(&["kind"]).text().unwrap_or_default();
    let spec = node.at(&["spec"]);
    let place = if kind.is_empty() { place.clone() } else { format!("{place}: {kind} {}", full_name(node)) };
    let mut whole = |plugin: &Node, config: &Node, host: Host| {
        let names = [plugin.at(&["url"]), plugin.at(&["pluginName"]), node.at(&["metadata", "name"])];
        let is_named = names.iter().any(|name| names_us(name));
        if is_named && !config.is_set() {
            unfilled.push((place.clone(), first(plugin)));
        }
        let (is_ours, node) = (is_policy(config) || config.is_set() && is_named, config);
        let fails_open = setting(plugin, "failStrategy", |value| value.text() == Some("FAIL_OPEN"));
        is_ours
            .then(|| Placed { fails_open, ..placed(place.clone(), Kind::Plugin, node.clone(), node.span, None, host) })
    };
    match kind {
        "WasmPlugin" => whole(spec, spec.at(&["pluginConfig"]), Host::Istio(at)).into_iter().collect(),
        "TrafficExtension" => {
            let wasm = spec.at(&["wasm"]);
            whole(wasm, wasm.at(&["pluginConfig"]), Host::Istio(at)).into_iter().collect()
        }
        "EnvoyExtensionPolicy" => {
            let all = spec.at(&["wasm"]).items().iter();
            all.filter_map(|wasm| {
                let config = wasm.at(&["config"]);
                let names = [wasm.at(&["name"]), wasm.at(&["code", "image", "url"]), wasm.at(&["code", "http", "url"])];
                let is_named = names.iter().any(|name| names_us(name));
                if is_named && !config.is_set() {
                    unfilled.push((place.clone(), first(wasm)));
                }
                let is_ours = is_policy(config) || config.is_set() && is_named;
                let name = wasm.at(&["name"]).text().map(|name| format!(" wasm {name}")).unwrap_or_default();
                is_ours.then(|| {
                    let place =
                        if spec.at(&["wasm"]).items().len() > 1 { format!("{place}{name}") } else { place.clone() };
                    let host = Host::EnvoyGateway(at);
                    let fails_open = setting(wasm, "failOpen", Node::is_true);
                    Placed { fails_open, ..placed(place, Kind::Plugin, config.clone(), config.span, None, host) }
                })
            })
            .collect()
        }
        _ => {
            let mut plugins = Vec::new();
            find_plugins(node, None, &mut plugins);
            for plugin in plugins.iter().filter(|plugin| plugin.is_named() && plugin.is_empty()) {
                let configuration = plugin.configuration();
                let span = if configuration.is_set() { configuration.span } else { first(plugin.settings) };
                unfilled.push((format!("{place}: filter {}", plugin.name), span));
            }
            let filled = plugins.iter().filter(|plugin| !plugin.is_empty());
            let mut found: Vec<_> = filled.filter_map(|plugin| plugin.policy(source, &place)).collect();
            if kind == "EnvoyFilter" {
                found.iter_mut().for_each(|placed| placed.host = Host::Istio(at));
            }
            found
        }
    }
}

impl<'d> Plugin<'d> {
    fn names(&self) -> Names {
        let text = |path: &[&str]| self.settings.at(path).text().unwrap_or_default().to_owned();
        Names {
            filter: self.name.to_owned(),
            name: text(&["config", "name"]),
            root_id: text(&["config", "root_id"]),
            vm_id: text(&["config", "vm_config", "vm_id"]),
        }
    }

    /// What it is configured with.
    fn configuration(&self) -> &'d Node {
        let configuration = self.settings.at(&["config", "configuration"]);
        configuration.member("value").unwrap_or(configuration)
    }

    /// Whether it has no configuration, or an empty text, as in a file to which the policy is still to be appended.
    fn is_empty(&self) -> bool {
        let configuration = self.configuration();
        !configuration.is_set() || configuration.text().is_some_and(|text| text.trim().is_empty())
    }

    /// Whether its name or its module says that it is ours.
    fn is_named(&self) -> bool {
        let vm = self.settings.at(&["config", "vm_config"]);
        let code = vm.at(&["code", "local", "filename"]);
        let names = [self.settings.at(&["config", "name"]), code, vm.at(&["code", "remote", "http_uri", "uri"])];
        is_our_name(self.name) || names.iter().any(|name| names_us(name))
    }

    /// Its policy, if it is ours.
    fn policy(&self, source: &str, place: &str) -> Option<Placed> {
        let configuration = self.configuration();
        let (node, text) = match configuration.text() {
            Some(text) => {
                let places = Places::of(source, configuration);
                match json5::parse(text, configuration.span.file) {
                    Ok(mut node) => {
                        node.move_spans(&|span| places.find(span));
                        (node, Some(text.to_owned()))
                    }
                    // The filter refuses it. The text stays, so that the error can be shown.
                    Err(_) if self.is_named() || mentions_us(text) => (configuration.clone(), Some(text.to_owned())),
                    Err(_) => return None,
                }
            }
            None => (configuration.clone(), None),
        };
        let is_text = node.text().is_some();
        if !(is_policy(&node) || is_text || configuration.is_set() && self.is_named()) {
            return None;
        }
        let listener = self.listener.map(|name| format!(": listener {name}")).unwrap_or_default();
        let place = format!("{place}{listener}: filter {}", self.name);
        let plugin = self.settings.at(&["config"]);
        let fails_open = setting(plugin, "failure_policy", |value| value.text() == Some("FAIL_OPEN"))
            .or_else(|| setting(plugin, "fail_open", Node::is_true));
        let host = Host::Envoy(self.names());
        Some(Placed { fails_open, ..placed(place, Kind::Plugin, node, self.settings.span, text, host) })
    }
}

/// The place of a key whose value is such a one.
fn setting(object: &Node, key: &str, is: impl Fn(&Node) -> bool) -> Option<Span> {
    let member = object.members().iter().find(|member| member.key == key && is(&member.node))?;
    Some(Span { end: member.node.span.end.max(member.key_span.end), ..member.key_span })
}

fn names_us(name: &Node) -> bool {
    name.text().is_some_and(is_our_name)
}

fn is_our_name(name: &str) -> bool {
    name.contains("openclaw-trusted-proxy") || name.contains("openclaw_trusted_proxy")
}

/// The place of the first key of an object.
fn first(object: &Node) -> Span {
    object
        .members()
        .first()
        .map_or(object.span, |member| Span { end: member.node.span.end.max(member.key_span.end), ..member.key_span })
}

/// Whether a value is a `gateway` block.
fn is_gateway(block: &Node) -> bool {
    ["auth", "trustedProxies", "$include"].iter().any(|key| block.member(key).is_some())
}

/// Whether a value is a policy of this filter, right or wrong.
fn is_policy(value: &Node) -> bool {
    const OURS: [&str; 5] = ["trustedProxies", "trustedPeers", "edge", "assertion", "peerAddress"];
    let filter = value.at(&["filter"]);
    is_gateway(value.at(&["gateway"])) || OURS.iter().any(|key| filter.member(key).is_some())
}

/// The settings of a Wasm filter, also if they are written as a `TypedStruct`.
pub fn wasm_settings(typed_config: &Node) -> Option<&Node> {
    let is_wasm = |key: &str| typed_config.at(&[key]).text().is_some_and(|kind| kind.ends_with(WASM));
    if is_wasm("@type") {
        return Some(typed_config);
    }
    is_wasm("type_url").then(|| typed_config.at(&["value"]))
}

/// The Wasm filters in a document: those of connection managers, and extensions with a name.
pub fn find_plugins<'d>(value: &'d Node, listener: Option<&'d str>, found: &mut Vec<Plugin<'d>>) {
    if let Some(settings) = wasm_settings(value.at(&["typed_config"])) {
        found.push(Plugin { name: value.at(&["name"]).text().unwrap_or_default(), listener, settings });
        return;
    }
    let own = value.member("filter_chains").map(|_| value.at(&["name"]).text().unwrap_or("without a name"));
    let listener = own.or(listener);
    value.members().iter().for_each(|member| find_plugins(&member.node, listener, found));
    value.items().iter().for_each(|item| find_plugins(item, listener, found));
}

/// The paths of files from which Envoy reads listeners, and filters whose names are not known.
fn find_sources<'d>(value: &'d Node, is_known: &impl Fn(&str) -> bool, found: &mut Vec<&'d str>) {
    const MOST: usize = 100;
    let path = |source: &'d Node| source.at(&["path_config_source", "path"]).text();
    let discovery = value.at(&["config_discovery", "config_source"]);
    if !is_known(value.at(&["name"]).text().unwrap_or_default()) {
        found.extend(path(discovery));
    }
    found.extend(path(value.at(&["lds_config"])));
    found.extend(path(value.at(&["rds", "config_source"])));
    if found.len() < MOST {
        value.members().iter().for_each(|member| find_sources(&member.node, is_known, found));
        value.items().iter().for_each(|item| find_sources(item, is_known, found));
    }
}

/// Whether this is a connection manager, and not what an EnvoyFilter merges into one.
pub fn is_manager(value: &Node) -> bool {
    let kind = value.at(&["@type"]).text();
    kind.is_some_and(|kind| kind.ends_with(MANAGER)) && value.member("http_filters").is_some()
}

/// The namespace and the name of a manifest.
pub fn full_name(document: &Node) -> String {
    let part = |key: &str| document.at(&["metadata", key]).text();
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (_, name) => name.unwrap_or_default().to_owned(),
    }
}

impl SourceFile {
    /// A file with this text.
    pub fn new(path: &Path, text: String) -> Self {
        let format = super::format_of(path, &text);
        Self { name: super::name_of(path), text: text.into(), format, secrets: Rc::new(OnceCell::new()) }
    }
}
