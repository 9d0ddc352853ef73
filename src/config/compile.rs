//! Plugin configuration to policy (contract, section 1).
#![forbid(unsafe_code)]

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::audit::{Audit, Finding};
use super::json::Node;
use super::proxies::{self, Entry};
use super::reader::{ConfigErrors, Place, Reader};
use crate::policy::cidrs::Cidrs;
use crate::policy::names::{Names, SCOPES_HEADER, folded, is_built_in, is_reserved, is_token};
use crate::policy::origin::Origins;
use crate::policy::path::{BadPath, Endpoints, OwnPaths, PathSet, is_plain};
use crate::policy::scopes::{Scope, Scopes};
use crate::policy::{Assertion, PeerAddress, Policy, UseAssertion, Users, WebSocketRefusal};
use crate::text::{latin1, trim_configured};

/// What a good configuration becomes.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The rules.
    pub policy: Policy,
    /// What is allowed, but deserves a warning.
    pub findings: Vec<Finding>,
    /// A number below 2^53 that tells one configuration text from another, for the gauge of the policy in force.
    pub fingerprint: u64,
}

/// Keys of `filter` that the contract has and this version does not: what it does in their place.
const NOT_YET: [(&str, &str); 3] = [
    ("mode", "every request is enforced"),
    ("trustedPeers", "peers are trusted by address"),
    ("peerTrust", "peers are trusted by address"),
];

/// The same for `filter.scopes`.
const NOT_YET_SCOPES: [(&str, &str); 3] =
    [("users", "no user has a ceiling"), ("groupsHeader", "groups are not read"), ("groups", "no group has a ceiling")];

/// Compiles plugin configuration: JSON as Envoy hands it over.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn compile(json: &[u8]) -> Result<Compiled, ConfigErrors> {
    let mut reader = Reader::default();
    let compiled = match serde_json::from_slice::<Node>(json) {
        Ok(node) => build(&mut reader, &node).map(|(policy, findings)| Compiled {
            policy,
            findings,
            fingerprint: fingerprint(json),
        }),
        Err(error) => {
            let problem = if json.iter().all(u8::is_ascii_whitespace) {
                "is empty".to_owned()
            } else {
                format!("is not JSON: {error}")
            };
            let whole = Place { path: String::new(), node: None };
            reader.error(
                &whole,
                problem,
                "write one JSON object: {\"gateway\": {...}, \"filter\": {...}}, without comments",
            );
            None
        }
    };
    match compiled {
        Some(compiled) if reader.errors.is_empty() => Ok(compiled),
        _ => Err(ConfigErrors(reader.errors)),
    }
}

/// FNV-1a, cut to what a double can hold: gauges are doubles in Prometheus.
fn fingerprint(json: &[u8]) -> u64 {
    let hash = json
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    hash >> 11
}

/// Reads everything, so that every error is found; `None` only where no policy can be made.
fn build(reader: &mut Reader, node: &Node) -> Option<(Policy, Vec<Finding>)> {
    let root = Place::root(node);
    if !matches!(node, Node::Object(_)) {
        reader.error(
            &root,
            format!("is {}", node.kind()),
            "write one JSON object: {\"gateway\": {...}, \"filter\": {...}}",
        );
        return None;
    }
    reader.known_keys(&root, &["gateway", "filter"]);
    let (gateway, filter) = (root.member("gateway"), root.member("filter"));
    if gateway.node.is_none() {
        reader.error(&gateway, "is missing", "paste the gateway block of openclaw.json");
    }
    reader.object(&gateway);
    check_filter_keys(reader, &filter);
    if !matches!(gateway.node, Some(Node::Object(_))) {
        return None;
    }

    let mut audit = Audit::default();
    let auth = gateway.member("auth");
    let trusted_proxy = auth.member("trustedProxy");
    check_auth(reader, &gateway, &auth, &trusted_proxy);
    audit.note_exposure(gateway.member("bind").node.and_then(Node::text));
    audit.note_password(auth.member("password").node.is_some_and(|node| *node != Node::Null));

    let headers = read_headers(reader, &mut audit, &trusted_proxy, &filter);
    let edge = reader.bool(&filter.member("edge")).unwrap_or(false);
    let assertion = read_assertion(reader, &filter.member("assertion"));
    if edge && filter.member("assertion").node.is_none() {
        reader.error(
            &filter.member("edge"),
            "is true without an assertion",
            "write filter.assertion: where Envoy's own login (jwt_authn, oauth2) leaves the identity that it verified",
        );
    }
    audit.note_edge(edge);
    let (proxies, gateway_proxies) = read_proxies(reader, &mut audit, &gateway, &filter, edge);
    let allow_loopback = {
        let gateway_says = reader.bool(&trusted_proxy.member("allowLoopback")) == Some(true);
        reader.bool(&filter.member("allowLoopback")).unwrap_or(gateway_says)
    };
    audit.note_loopback(allow_loopback);
    let users = read_users(reader, &mut audit, &trusted_proxy.member("allowUsers"));
    let origins = read_origins(reader, &mut audit, &gateway.member("controlUi"));
    let own_paths = read_own_paths(reader, &mut audit, &gateway, &filter.member("scopes").member("ownPaths"));
    let (default_scopes, plugin_scopes) = read_default_scopes(reader, &filter.member("scopes"));
    let (anonymous, anonymous_upgrades) = read_anonymous_paths(reader, &mut audit, &filter.member("anonymousPaths"));
    let real_ip_fallback = reader.bool(&gateway.member("allowRealIpFallback")) == Some(true);
    audit.note_real_ip_fallback(real_ip_fallback);
    let attribution_required =
        reader.choice(&filter.member("attribution"), &[("required", true), ("off", false)]).unwrap_or(true);
    audit.note_attribution(attribution_required);
    let websocket_refusal = reader
        .choice(
            &filter.member("webSocketRefusal"),
            &[
                ("close", WebSocketRefusal::Close),
                ("http", WebSocketRefusal::Http),
                ("delegate", WebSocketRefusal::Delegate),
            ],
        )
        .unwrap_or_default();
    audit.note_websocket_refusal(websocket_refusal);
    let reject_same_host = reader.bool(&filter.member("rejectSameHost")).unwrap_or(false);
    let hide_reasons = reader.bool(&filter.member("hideReasons")).unwrap_or(false);
    let peer_address = read_peer_address(reader, &filter.member("peerAddress"));

    let Headers { user, upstream_user, required, names } = headers?;
    let policy = Policy {
        anonymous,
        anonymous_upgrades,
        peer_address,
        proxies,
        gateway_proxies,
        allow_loopback,
        reject_same_host,
        edge,
        assertion,
        attribution_required,
        real_ip_fallback,
        required_headers: required,
        user_header: user.to_ascii_lowercase().into_bytes().into(),
        upstream_user_header: upstream_user.to_ascii_lowercase().into_bytes().into(),
        users,
        origins,
        own_paths,
        default_scopes,
        plugin_scopes,
        names,
        websocket_refusal,
        hide_reasons,
    };
    Some((policy, audit.into_findings()))
}

fn check_filter_keys(reader: &mut Reader, filter: &Place<'_>) {
    const KEYS: [&str; 14] = [
        "edge",
        "assertion",
        "trustedProxies",
        "allowLoopback",
        "peerAddress",
        "attribution",
        "rejectSameHost",
        "anonymousPaths",
        "webSocketRefusal",
        "upstreamUserHeader",
        "stripHeaders",
        "keepHeaders",
        "scopes",
        "hideReasons",
    ];
    check_keys(reader, filter, &KEYS, &NOT_YET);
    check_keys(reader, &filter.member("scopes"), &["default", "pluginDefault", "ownPaths"], &NOT_YET_SCOPES);
}

fn check_keys(reader: &mut Reader, place: &Place<'_>, keys: &[&str], not_yet: &[(&str, &str)]) {
    for (key, instead) in not_yet {
        let place = place.member(key);
        if place.node.is_some() {
            reader.error(&place, "is not supported yet", format!("leave it out: in this version {instead}"));
        }
    }
    let known: Vec<&str> = keys.iter().chain(not_yet.iter().map(|(key, _)| key)).copied().collect();
    reader.known_keys(place, &known);
}

/// The mode, and what must not stand beside it.
fn check_auth(reader: &mut Reader, gateway: &Place<'_>, auth: &Place<'_>, trusted_proxy: &Place<'_>) {
    const WANTED: &str = "write \"trusted-proxy\": this filter serves no other mode";
    reader.object(auth);
    let mode = auth.member("mode");
    match mode.node {
        Some(Node::String(text)) if text == "trusted-proxy" => {}
        Some(Node::String(text)) => reader.error(&mode, format!("is {text:?}"), WANTED),
        Some(node) => reader.error(&mode, format!("is {}", node.kind()), WANTED),
        None => reader.error(&mode, "is missing", WANTED),
    }
    for token in [auth.member("token"), gateway.member("remote").member("token")] {
        let is_set = match token.node {
            Some(node @ Node::String(_)) => node.text().is_some(),
            Some(Node::Null) | None => false,
            Some(_) => true,
        };
        if is_set {
            reader.error(
                &token,
                "is set next to mode \"trusted-proxy\" (mixed_trusted_proxy_token)",
                "remove the token here and in the Gateway (also OPENCLAW_GATEWAY_TOKEN), or keep token auth and leave this filter out",
            );
        }
    }
    reader.object(&gateway.member("remote"));
    if trusted_proxy.node.is_none() {
        reader.error(
            trusted_proxy,
            "is missing",
            "write an object with userHeader, the header in which your proxy names the user",
        );
    }
    let keys =
        ["userHeader", "requiredHeaders", "allowUsers", "allowLoopback", "deviceAutoApprove", "cloudflareAccessOidc"];
    reader.known_keys(trusted_proxy, &keys);
}

struct Headers {
    user: String,
    upstream_user: String,
    required: Vec<String>,
    names: Names,
}

/// Everything that names a header, and how the names get on with each other.
fn read_headers(
    reader: &mut Reader,
    audit: &mut Audit,
    trusted_proxy: &Place<'_>,
    filter: &Place<'_>,
) -> Option<Headers> {
    let user_place = trusted_proxy.member("userHeader");
    if trusted_proxy.node.is_some() && user_place.node.is_none() {
        reader.error(
            &user_place,
            "is missing",
            "name the header in which your proxy names the user, such as \"x-forwarded-user\"",
        );
    }
    let upstream_place = filter.member("upstreamUserHeader");
    let user = read_user_header(reader, &user_place);
    let upstream = read_user_header(reader, &upstream_place);
    let required = read_names(reader, &trusted_proxy.member("requiredHeaders"));
    let stripped = read_names(reader, &filter.member("stripHeaders"));
    let kept = read_names(reader, &filter.member("keepHeaders"));

    for (place, name) in &stripped {
        if is_reserved(name) {
            reader.error(
                place,
                format!("{name:?} is, or folds like, a header that HTTP, Envoy or the Gateway needs"),
                "leave it out",
            );
        }
    }
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let identity = |name: &str| {
        user.as_deref().is_some_and(|user| same(user, name))
            || upstream.as_deref().is_some_and(|upstream| same(upstream, name))
            || same(name, SCOPES_HEADER)
    };
    for (place, name) in &kept {
        if identity(name) {
            reader.error(place, format!("{name:?} is stamped by the filter itself"), "leave it out");
        } else if !is_built_in(name) && !stripped.iter().any(|(_, other)| same(other, name)) {
            audit.note_useless(place.path.clone(), format!("{name:?} is no header that would be scrubbed"));
        }
    }
    for (place, name) in &stripped {
        let spared = required.iter().chain(&kept).any(|(_, other)| same(other, name));
        if spared || identity(name) {
            reader.error(
                place,
                format!("{name:?} is needed elsewhere in this configuration"),
                "leave it out here, or there",
            );
        }
    }
    check_foldings(
        reader,
        [(&user_place, user.as_deref()), (&upstream_place, upstream.as_deref())],
        &[&required, &stripped, &kept],
    );
    audit.note_required_headers(required.iter().map(|(_, name)| name.as_str()));

    let user = user?;
    let upstream_user = upstream.unwrap_or_else(|| user.clone());
    let required: Vec<String> = required.into_iter().map(|(_, name)| name).collect();
    let assertion =
        trusted_proxy.member("cloudflareAccessOidc").node.is_some_and(|node| matches!(node, Node::Object(_)));
    let spared = required
        .iter()
        .chain(kept.iter().map(|(_, name)| name))
        .map(String::as_str)
        // The Gateway verifies this one itself.
        .chain(assertion.then_some("cf-access-jwt-assertion"));
    let names = Names::new(&user, &upstream_user, spared, stripped.iter().map(|(_, name)| name.as_str()));
    Some(Headers { user, upstream_user, required, names })
}

/// A header that carries the user; `None` where there is none, or none that could.
fn read_user_header(reader: &mut Reader, place: &Place<'_>) -> Option<String> {
    const WANTED: &str = "name the header that only your proxy sets, such as \"x-forwarded-user\"";
    let name = trim_configured(reader.string(place)?);
    if name.is_empty() {
        reader.error(place, "is blank", WANTED);
        return None;
    }
    if !is_token(name) {
        reader.error(place, format!("{name:?} is no legal header name"), WANTED);
        return None;
    }
    if is_reserved(name) {
        reader.error(place, format!("{name:?} is, or folds like, a header with a meaning of its own"), WANTED);
        return None;
    }
    Some(name.to_owned())
}

/// A list of header names; illegal ones are errors and left out.
fn read_names<'n>(reader: &mut Reader, place: &Place<'n>) -> Vec<(Place<'n>, String)> {
    let mut names = Vec::new();
    for (place, entry) in reader.strings(place).unwrap_or_default() {
        let name = trim_configured(entry);
        if name.is_empty() {
            reader.error(&place, "is blank", "remove it, or name a header");
        } else if is_token(name) {
            names.push((place, name.to_owned()));
        } else {
            reader.error(&place, format!("{name:?} is no legal header name"), "write letters, digits and hyphens");
        }
    }
    names
}

/// Two names that fold to one are one to some software behind us: they must not mean different things.
fn check_foldings(reader: &mut Reader, users: [(&Place<'_>, Option<&str>); 2], lists: &[&Vec<(Place<'_>, String)>]) {
    let mut seen: HashMap<Vec<u8>, String, FixedState> = HashMap::default();
    seen.insert(folded(SCOPES_HEADER.as_bytes()), SCOPES_HEADER.to_owned());
    let users = users.into_iter().filter_map(|(place, name)| name.map(|name| (place, name)));
    let listed = lists.iter().flat_map(|list| list.iter().map(|(place, name)| (place, name.as_str())));
    for (place, name) in users.chain(listed) {
        let first = seen.entry(folded(name.as_bytes())).or_insert_with(|| name.to_owned());
        if !first.eq_ignore_ascii_case(name) {
            let problem = format!("{name:?} folds to the same name as {first:?}");
            reader.error(place, problem, "use one spelling: software behind the filter may take one for the other");
        }
    }
}

/// The proxies of rule 2, and the Gateway's own where they differ.
fn read_proxies(
    reader: &mut Reader,
    audit: &mut Audit,
    gateway: &Place<'_>,
    filter: &Place<'_>,
    edge: bool,
) -> (Cidrs, Cidrs) {
    let (theirs, ours) = (gateway.member("trustedProxies"), filter.member("trustedProxies"));
    let gateway_proxies = read_proxy_list(reader, &theirs);
    let filter_proxies = read_proxy_list(reader, &ours);
    let place = if ours.node.is_some() { &ours } else { &theirs };
    if !edge
        && matches!(place.node, None | Some(Node::List(_)))
        && !matches!(place.node, Some(Node::List(items)) if !items.is_empty())
    {
        reader.error(
            place,
            "names no proxy",
            "list the address of every proxy that connects to this Envoy, and no other",
        );
    }
    if let Some(proxies) = &filter_proxies {
        let missing =
            proxies.iter().any(|(_, entry)| !gateway_proxies.iter().flatten().any(|(_, other)| other == entry));
        audit.note_own_proxies(missing);
    }
    for (path, entry) in filter_proxies.as_ref().or(gateway_proxies.as_ref()).into_iter().flatten() {
        audit.note_proxy(path, entry);
    }
    let set = |list: Option<Vec<(String, Entry)>>| {
        let mut set = Cidrs::default();
        list.into_iter().flatten().for_each(|(_, entry)| entry.insert_into(&mut set));
        set
    };
    match filter_proxies {
        Some(proxies) => (set(Some(proxies)), set(gateway_proxies)),
        None => (set(gateway_proxies), Cidrs::default()),
    }
}

fn read_proxy_list(reader: &mut Reader, place: &Place<'_>) -> Option<Vec<(String, Entry)>> {
    let entries = reader.strings(place)?;
    let mut list = Vec::with_capacity(entries.len());
    for (place, entry) in entries {
        match proxies::parse(entry) {
            Ok(entry) => list.push((place.path, entry)),
            Err(bad) => reader.error(&place, bad.problem, bad.remedy),
        }
    }
    Some(list)
}

/// Whether the list is empty is judged on the list as written: `[""]` matches nobody.
fn read_users(reader: &mut Reader, audit: &mut Audit, place: &Place<'_>) -> Users {
    let Some(entries) =
        reader.strings(place).filter(|_| !matches!(place.node, Some(Node::List(items)) if items.is_empty()))
    else {
        audit.note_no_allowlist();
        return Users::Any;
    };
    let mut users = std::collections::HashSet::with_capacity_and_hasher(entries.len(), FixedState::default());
    for (place, user) in entries {
        if user.is_empty() || trim_configured(user) != user {
            audit.note_useless(place.path, format!("{user:?} is blank or padded, and users are compared trimmed"));
        } else if let Some(user) = latin1(user) {
            users.insert(user);
        } else {
            audit.note_useless(place.path, format!("{user:?} has characters above U+00FF, which no header carries"));
        }
    }
    Users::Only(users)
}

fn read_origins(reader: &mut Reader, audit: &mut Audit, control_ui: &Place<'_>) -> Origins {
    reader.object(control_ui);
    let fallback = reader.bool(&control_ui.member("dangerouslyAllowHostHeaderOriginFallback"));
    let mut origins = Origins::new(fallback == Some(true));
    for (place, entry) in reader.strings(&control_ui.member("allowedOrigins")).unwrap_or_default() {
        let origin = trim_configured(entry).to_lowercase();
        if !origins.insert(&origin) {
            audit.note_useless(
                place.path,
                format!(
                    "{entry:?} is no origin as browsers send one (scheme://host, and a port unless it is the default)"
                ),
            );
        }
    }
    audit.note_origins(&origins);
    origins
}

fn read_own_paths(reader: &mut Reader, audit: &mut Audit, gateway: &Place<'_>, extra: &Place<'_>) -> OwnPaths {
    const CONFIG: &str = "/control-ui-config.json";
    const CONFIG_OLD: &str = "/__openclaw__/control-ui-config.json";
    const CONFIG_NEW: &str = "/__openclaw/control-ui-config.json";
    let mut own: Vec<String> = ["/tools/invoke", CONFIG, CONFIG_OLD, CONFIG_NEW].map(str::to_owned).to_vec();

    let http = gateway.member("http");
    let endpoints = http.member("endpoints");
    reader.object(&http);
    reader.object(&endpoints);
    let mut enabled = |name: &str| {
        let endpoint = endpoints.member(name);
        reader.object(&endpoint);
        reader.bool(&endpoint.member("enabled")) == Some(true)
    };
    let endpoints = Endpoints { chat_completions: enabled("chatCompletions"), responses: enabled("responses") };
    if endpoints.chat_completions {
        own.push("/v1/chat/completions".to_owned());
    }
    if endpoints.responses {
        own.push("/v1/responses".to_owned());
    }
    if endpoints.chat_completions || endpoints.responses {
        own.extend(["/v1/models", "/v1/embeddings"].map(str::to_owned));
    }

    let base_place = gateway.member("controlUi").member("basePath");
    let base = trim_configured(reader.string(&base_place).unwrap_or_default());
    if !matches!(base, "" | "/") {
        let slash = if base.starts_with('/') { "" } else { "/" };
        let base = format!("{slash}{}", base.strip_suffix('/').unwrap_or(base));
        if is_plain(base.as_bytes()) && !base.contains('*') {
            own.extend([CONFIG, CONFIG_NEW].map(|path| format!("{base}{path}")));
        } else {
            audit.note_useless(
                base_place.path,
                "is no plain path: what is below it gets a plugin's default scopes".to_owned(),
            );
        }
    }

    let mut set = PathSet::default();
    for path in &own {
        // Plain by construction.
        let _ = set.insert(path);
    }
    for (place, entry) in reader.strings(extra).unwrap_or_default() {
        insert_path(reader, &mut set, &place, entry);
    }
    OwnPaths { set, endpoints }
}

fn insert_path(reader: &mut Reader, set: &mut PathSet, place: &Place<'_>, entry: &str) {
    match set.insert(entry) {
        Ok(()) => {}
        Err(BadPath::Everything) => reader.error(place, "would take every path", "name the paths, such as \"/x\" or \"/x/*\""),
        Err(BadPath::NotPlain) => reader.error(
            place,
            "is no plain path",
            "write \"/x\", or \"/x/*\" for everything below; no query, no \"%\", \"\\\", \"#\", \"//\", \".\" or \"..\" segment",
        ),
    }
}

fn read_anonymous_paths(reader: &mut Reader, audit: &mut Audit, place: &Place<'_>) -> (PathSet, PathSet) {
    const DEFAULT: [&str; 2] = ["/health", "/healthz"];
    let (mut plain, mut upgrades) = (PathSet::default(), PathSet::default());
    let Some(entries) = reader.strings(place) else {
        for path in DEFAULT {
            let _ = plain.insert(path);
        }
        return (plain, upgrades);
    };
    audit.note_anonymous_paths(entries.iter().map(|(_, entry)| *entry).filter(|entry| !DEFAULT.contains(entry)));
    for (place, entry) in entries {
        match entry.strip_prefix("ws:") {
            Some(path) => insert_path(reader, &mut upgrades, &place, path),
            None => insert_path(reader, &mut plain, &place, entry),
        }
    }
    (plain, upgrades)
}

/// Narrower default sets. What the Gateway's own default does not hold would be more than it grants.
fn read_default_scopes(reader: &mut Reader, scopes: &Place<'_>) -> (Scopes, Scopes) {
    let mut read = |key: &str, granted: &[Scope]| {
        let Some(entries) = reader.strings(&scopes.member(key)) else { return granted.iter().copied().collect() };
        let mut set = Scopes::NONE;
        for (place, entry) in entries {
            match Scope::parse(entry.as_bytes()) {
                None => {
                    let names = Scope::ALL.map(Scope::name).join(", ");
                    reader.error(&place, format!("{entry:?} is no scope"), format!("write one of {names}"));
                }
                Some(scope) if !granted.iter().any(|held| held.satisfies(scope)) => {
                    let names: Vec<_> = granted.iter().map(|scope| scope.name()).collect();
                    reader.error(
                        &place,
                        format!("{entry:?} is more than the Gateway assumes where the header is absent"),
                        format!("leave it out: the Gateway's default here is {}", names.join(", ")),
                    );
                }
                Some(scope) => set.push(scope),
            }
        }
        set
    };
    (read("default", Scope::DEFAULT), read("pluginDefault", Scope::PLUGIN_DEFAULT))
}

/// Where Envoy holds the identity that it verified.
fn read_assertion(reader: &mut Reader, place: &Place<'_>) -> Option<Assertion> {
    const WANTED: &str =
        "write the path of the metadata, such as [\"envoy.filters.http.jwt_authn\", \"payload\", \"email\"]";
    place.node?;
    reader.known_keys(place, &["metadata", "as"]);
    let (path_place, as_place) = (place.member("metadata"), place.member("as"));
    if as_place.node.is_none() {
        reader.error(
            &as_place,
            "is missing",
            "write \"match\" (the user header must equal it) or \"identity\" (it is the user)",
        );
    }
    let use_as = reader.choice(&as_place, &[("match", UseAssertion::Match), ("identity", UseAssertion::Identity)]);
    if path_place.node.is_none() {
        reader.error(&path_place, "is missing", WANTED);
    }
    let segments: Vec<&str> = reader.strings(&path_place)?.into_iter().map(|(_, segment)| segment).collect();
    // Property paths are separated by NULs. A namespace alone is no string.
    if segments.len() < 2 || segments.iter().any(|segment| segment.is_empty() || segment.contains('\0')) {
        reader.error(&path_place, "is no path to a string", WANTED);
        return None;
    }
    let path = ["metadata", "filter_metadata"].iter().chain(&segments).copied().collect::<Vec<_>>().join("\0");
    Some(Assertion { path: path.into_bytes().into(), use_as: use_as? })
}

fn read_peer_address(reader: &mut Reader, place: &Place<'_>) -> PeerAddress {
    const WANTED: &str =
        "write \"connection\", or {\"filterState\": \"KEY\"} with the key under which Envoy stores the peer";
    match place.node {
        None => PeerAddress::Connection,
        Some(Node::String(text)) if text == "connection" => PeerAddress::Connection,
        Some(Node::Object(_)) => {
            reader.known_keys(place, &["filterState"]);
            let key = place.member("filterState");
            match key.node {
                // Property paths are separated by NULs.
                Some(Node::String(key)) if !key.is_empty() && !key.contains('\0') => {
                    PeerAddress::FilterState(key.clone())
                }
                _ => {
                    reader.error(&key, "names no filter state", WANTED);
                    PeerAddress::Connection
                }
            }
        }
        Some(node) => {
            reader.error(
                place,
                format!("is {}", node.text().map_or_else(|| node.kind().to_owned(), |text| format!("{text:?}"))),
                WANTED,
            );
            PeerAddress::Connection
        }
    }
}
