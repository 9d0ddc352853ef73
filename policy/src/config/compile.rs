//! Compiles a plugin configuration to a policy (contract, section 1).

use super::assertion::read_assertion;
use super::audit::{Audit, Finding};
use super::fingerprint::fingerprint;
use super::gateway_keys;
use super::headers::{Headers, read_headers};
use super::identities::read_trusted_peers;
use super::json::Node;
use super::keys;
use super::login::read_cookies;
use super::peers::{read_peer_address, read_proxies};
use super::reader::{ConfigErrors, Cursor, Reader};
use super::releases::{Gateway, Paths, SocketCap, read_gateway};
use super::scopes::{Limits, read_default_scopes, read_limits};
use super::shapes;
use super::sockets::read_sockets;
use crate::byte_map::ByteMap;
use crate::origin::{Origin, Origins};
use crate::path::{BadPath, Endpoints, OwnPaths, PathSet, is_plain};
use crate::policy::{Assertion, Policy, UseAssertion, Users, WebSocketRefusal};
use crate::rules::cross_site::ControlUiReads;
use crate::rules::public_files::PublicFiles;
use crate::text::{latin1, trim_configured, trim_start};

/// The result of a valid configuration.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The rules.
    pub policy: Policy,
    /// What is allowed, but deserves a warning.
    pub findings: Vec<Finding>,
    /// A hash of what decides in the configuration, below 2^53. Secrets are left out. A gauge shows it for the policy
    /// in force.
    pub fingerprint: u64,
}

/// Compiles a plugin configuration: JSON, as Envoy provides it.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn compile(json: &[u8]) -> Result<Compiled, ConfigErrors> {
    let mut reader = Reader::default();
    let compiled = match serde_json::from_slice::<Node>(json) {
        Ok(node) => build(&mut reader, &node).map(|(policy, findings)| Compiled {
            policy,
            findings,
            fingerprint: fingerprint(&node),
        }),
        Err(error) => {
            let problem = if json.iter().all(u8::is_ascii_whitespace) {
                "is empty".to_owned()
            } else {
                format!("is not JSON: {error}")
            };
            let whole = Cursor { path: String::new(), node: None };
            reader.error(
                &whole,
                problem,
                "write one JSON object: {\"gateway\": {...}, \"filter\": {...}}, without comments",
            );
            None
        }
    };
    match compiled {
        Some(compiled) if reader.is_good() => Ok(compiled),
        _ => Err(reader.into_errors()),
    }
}

/// Reads everything, so that every error is found. `None` only if no policy can be made.
fn build(reader: &mut Reader, node: &Node) -> Option<(Policy, Vec<Finding>)> {
    let root = Cursor::root(node);
    if !matches!(node, Node::Object(_)) {
        reader.error(
            &root,
            format!("is {}", node.kind()),
            "write one JSON object: {\"gateway\": {...}, \"filter\": {...}}",
        );
        return None;
    }
    reader.known_keys(&root, keys::ROOT_NAMES);
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
    let release = read_gateway(reader, &mut audit, &filter.member("gatewayVersion"));
    release.check(reader, &mut audit, &auth, &trusted_proxy);
    gateway_keys::look_for_slips(&mut audit, &gateway);
    let mode = reader.choice(&filter.member("mode"), &keys::MODES).unwrap_or_default();
    audit.note_mode(mode);
    audit.note_password(auth.member("password").node.is_some_and(|node| *node != Node::Null));

    let headers = read_headers(reader, &mut audit, &trusted_proxy, &filter);
    let edge = reader.bool(&filter.member("edge")).unwrap_or(false);
    let assertion = read_assertion(reader, &filter.member("assertion"));
    if edge && filter.member("assertion").node.is_none() {
        reader.error(
            &filter.member("edge"),
            "is true without an assertion",
            "write filter.assertion, the path under which Envoy's own login (jwt_authn, oauth2) stores the identity that it verified",
        );
    }
    audit.note_edge(edge);
    let trusted_peers = read_trusted_peers(reader, &mut audit, &filter, edge);
    let may_be_empty = edge || trusted_peers.suffice;
    let (proxies, gateway_proxies) = read_proxies(reader, &mut audit, &release, &gateway, &filter, may_be_empty);
    let allow_loopback = {
        let gateway_says = reader.bool(&trusted_proxy.member("allowLoopback")) == Some(true);
        reader.bool(&filter.member("allowLoopback")).unwrap_or(gateway_says)
    };
    audit.note_loopback(allow_loopback, may_be_empty);
    if allow_loopback && !release.rules.loopback {
        audit.note_loopback_in_vain(&release.name);
    }
    let user_prefix = read_user_prefix(reader, &mut audit, &filter.member("userPrefix"), assertion.as_ref());
    let users = read_users(reader, &mut audit, &trusted_proxy.member("allowUsers"));
    // Where the Control UI is not, a plugin can be.
    let has_control_ui = reader.bool(&gateway.member("controlUi").member("enabled")).unwrap_or(true);
    let origins = read_origins(reader, &mut audit, &release, &gateway.member("controlUi"), has_control_ui);
    let base_path = read_base_path(reader, &mut audit, &gateway.member("controlUi").member("basePath"));
    let scopes = filter.member("scopes");
    let allow_tailscale = reader.bool(&auth.member("allowTailscale")) == Some(true);
    let is_strict = allow_tailscale && release.rules.strict_reads;
    let tailscale_reads = is_strict.then(|| control_ui_reads(base_path.as_deref()));
    let control_ui = base_path.as_deref().filter(|_| has_control_ui);
    let public_files = control_ui.filter(|_| release.rules.public_files).and_then(PublicFiles::below);
    let refuse_cross_site = reader.choice(&filter.member("crossSite"), &keys::CROSS_SITES).unwrap_or(false);
    let own_paths = read_own_paths(reader, &mut audit, release.rules.paths, &gateway, control_ui, &scopes);
    let own_sockets = read_own_sockets(reader, &mut audit, release.rules.paths, base_path.as_deref(), &scopes);
    let (default_scopes, plugin_scopes) = read_default_scopes(reader, &mut audit, &release, &scopes);
    let Limits { ceilings, without_user } = read_limits(reader, &mut audit, &release, &scopes, &users);
    note_scopes_in_vain(&mut audit, &release, &scopes);
    let (anonymous, anonymous_upgrades) = read_anonymous_paths(reader, &mut audit, &filter.member("anonymousPaths"));
    let real_ip_fallback = reader.bool(&gateway.member("allowRealIpFallback")) == Some(true);
    audit.note_real_ip_fallback(real_ip_fallback);
    let attribution_required =
        reader.choice(&filter.member("attribution"), &keys::ATTRIBUTIONS).unwrap_or(release.rules.attribution);
    audit.note_attribution(attribution_required, real_ip_fallback);
    if release.rules.attribution && !attribution_required {
        audit.note_attribution_off(&release.name);
    }
    let websocket_refusal =
        reader.choice(&filter.member("webSocketRefusal"), &keys::WEBSOCKET_REFUSALS).unwrap_or_default();
    audit.note_websocket_refusal(websocket_refusal);
    if websocket_refusal == WebSocketRefusal::Delegate && !release.rules.explains_refusals {
        audit.note_unexplained_refusals(&release.name);
    }
    let reject_same_host = reader.bool(&filter.member("rejectSameHost")).unwrap_or(false);
    let hide_reasons = reader.bool(&filter.member("hideReasons")).unwrap_or(false);
    let peer_address = read_peer_address(reader, &filter.member("peerAddress"));

    let sockets = read_sockets(reader, &mut audit, &filter);
    let remove_cookies = read_cookies(reader, &filter.member("removeCookies"));
    let remove_bearer = reader.bool(&filter.member("removeBearer")).unwrap_or(false);
    let stamped_filter_state = reader.bool(&filter.member("stampedFilterState")).unwrap_or(false);

    let Headers { user, upstream_user, required, secrets, names } = headers?;
    let is_discreet = remove_bearer || !remove_cookies.is_empty() || !secrets.is_empty();
    audit.note_cross_site(refuse_cross_site, edge, &user);
    let policy = Policy {
        mode,
        anonymous,
        anonymous_upgrades,
        peer_address,
        proxies,
        gateway_proxies,
        allow_loopback,
        reject_same_host,
        trusted_peers,
        edge,
        assertion,
        attribution_required,
        real_ip_fallback,
        required_headers: required,
        secrets,
        user_header: user.to_ascii_lowercase().into_bytes().into(),
        upstream_user_header: upstream_user.to_ascii_lowercase().into_bytes().into(),
        user_prefix,
        users,
        origins,
        tailscale_reads,
        public_files,
        refuse_cross_site,
        own_paths,
        own_sockets,
        known_scopes: release.scopes().collect(),
        default_scopes,
        plugin_scopes,
        plugins_read_header: release.rules.plugins_read_header,
        default_headers: [default_scopes.header(), plugin_scopes.header()],
        ceilings,
        without_user,
        names,
        is_discreet,
        remove_cookies,
        remove_bearer,
        stamped_filter_state,
        websocket_refusal,
        hide_reasons,
        sockets,
    };
    Some((policy, audit.into_findings()))
}

fn check_filter_keys(reader: &mut Reader, filter: &Cursor<'_>) {
    reader.known_keys(filter, keys::FILTER_NAMES);
    reader.known_keys(&filter.member("scopes"), keys::SCOPES_NAMES);
}

/// Checks the mode, and what must not be set next to it.
fn check_auth(reader: &mut Reader, gateway: &Cursor<'_>, auth: &Cursor<'_>, trusted_proxy: &Cursor<'_>) {
    const WANTED: &str = "write \"trusted-proxy\": this filter supports no other mode";
    reader.object(auth);
    let mode = auth.member("mode");
    match mode.node {
        Some(Node::String(text)) if text == shapes::AUTH_MODE => {}
        Some(Node::String(text)) => reader.error(&mode, format!("is {text:?}"), WANTED),
        Some(node) => reader.error(&mode, format!("is {}", node.kind()), WANTED),
        None => reader.error(&mode, "is missing", WANTED),
    }
    let is_other = matches!(mode.node, Some(Node::String(text)) if text != shapes::AUTH_MODE);
    for token in [auth.member("token"), gateway.member("remote").member("token")] {
        let is_set = match token.node {
            Some(node @ Node::String(_)) => node.text().is_some(),
            Some(Node::Null) | None => false,
            Some(_) => true,
        };
        if is_set {
            reader.error(
                &token,
                if is_other {
                    "is set, and in mode \"trusted-proxy\" the Gateway does not start with it (mixed_trusted_proxy_token)"
                } else {
                    "is set next to mode \"trusted-proxy\" (mixed_trusted_proxy_token)"
                },
                "remove the token here and in the Gateway (also OPENCLAW_GATEWAY_TOKEN), or keep token authentication and do not use this filter",
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
    // A key that a newer Gateway has here may keep somebody out whom this filter would admit.
    reader.known_keys_or(
        trusted_proxy,
        keys::TRUSTED_PROXY_NAMES,
        "remove it here even if a newer Gateway knows it, because this filter does not know whom it keeps out",
    );
}

/// Reads `userPrefix`, as the bytes of a header.
fn read_user_prefix(
    reader: &mut Reader,
    audit: &mut Audit,
    cursor: &Cursor<'_>,
    assertion: Option<&Assertion>,
) -> Box<[u8]> {
    let Some(prefix) = reader.string(cursor) else { return Box::default() };
    let is_printable = |byte: &u8| matches!(byte, 0x20..=0x7E | 0xA0..);
    let bytes = latin1(prefix).filter(|bytes| bytes.iter().all(is_printable) && trim_start(bytes) == &**bytes);
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
        reader.error(
            cursor,
            format!("{prefix:?} is not what a header's value can start with"),
            "write what your proxy puts before each user, such as \"accounts.google.com:\", or remove the key",
        );
        return Box::default();
    };
    if assertion.is_some_and(|assertion| assertion.use_as == UseAssertion::Identity) {
        audit.note_useless(cursor.path.clone(), "is for the user header, which the verified identity replaces".into());
    }
    bytes
}

/// Reads `allowUsers`. Only a list that is written as empty allows everybody: `[""]` matches nobody.
fn read_users(reader: &mut Reader, audit: &mut Audit, cursor: &Cursor<'_>) -> Users {
    let Some(entries) =
        reader.strings(cursor).filter(|_| !matches!(cursor.node, Some(Node::List(items)) if items.is_empty()))
    else {
        audit.note_no_allowlist();
        return Users::Any;
    };
    let mut users = ByteMap::with_capacity(entries.len());
    for (at, user) in entries {
        if user.is_empty() || trim_configured(user) != user {
            audit.note_useless(
                cursor.item(at).path,
                format!("{user:?} is blank or has spaces around it, and users are compared without them"),
            );
        } else if let Some(bytes) = latin1(user) {
            audit.note_odd_user(&cursor.item(at).path, user, &bytes);
            users.insert(bytes, ());
        } else {
            audit.note_useless(
                cursor.item(at).path,
                format!("{user:?} has characters above U+00FF, which no header can carry"),
            );
        }
    }
    Users::Only(users)
}

fn read_origins(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    control_ui: &Cursor<'_>,
    has_control_ui: bool,
) -> Origins {
    reader.object(control_ui);
    let fallback = reader.bool(&control_ui.member("dangerouslyAllowHostHeaderOriginFallback"));
    let mut origins = Origins::new(fallback == Some(true), release.rules.private_origins, release.rules.opaque_origins);
    let cursor = control_ui.member("allowedOrigins");
    for (at, entry) in reader.strings(&cursor).unwrap_or_default() {
        let origin = trim_configured(entry).to_lowercase();
        let is_read = origins.insert(&origin);
        if origin != "*" && origin.contains('*') {
            let why = format!("{entry:?} is compared literally, and no browser sends a pattern");
            audit.note_useless(cursor.item(at).path, why);
        } else if !is_read {
            let is_opaque = Origin::parse(origin.as_bytes()).is_some_and(|read| read.as_str() == origin);
            let why = if is_opaque {
                format!("{entry:?} has a scheme that the Gateway {} does not find in its list", release.name)
            } else {
                format!(
                    "{entry:?} is not an origin in the form that browsers send (scheme://host, and the port unless it is the default)"
                )
            };
            audit.note_useless(cursor.item(at).path, why);
        }
    }
    audit.note_origins(&origins, has_control_ui);
    origins
}

/// The Control UI's path with a slash before it and none after it: empty if it is the root. `None` if it is not a plain
/// path.
fn read_base_path(reader: &mut Reader, audit: &mut Audit, cursor: &Cursor<'_>) -> Option<String> {
    let base = trim_configured(reader.string(cursor).unwrap_or_default());
    if matches!(base, "" | "/") {
        return Some(String::new());
    }
    let slash = if base.starts_with('/') { "" } else { "/" };
    let base = format!("{slash}{}", base.strip_suffix('/').unwrap_or(base));
    if is_plain(base.as_bytes()) && !base.contains('*') {
        return Some(base);
    }
    audit.note_useless(
        cursor.path.clone(),
        "is not a plain path, so requests below it get a plugin's default scopes".to_owned(),
    );
    None
}

/// The paths of the Control UI's bootstrap configuration: its present one, and older ones
/// (`matchesControlUiBootstrapConfigPath` in the Gateway's `src/gateway/control-ui.ts`).
fn control_ui_config(base: &str, paths: Paths) -> impl Iterator<Item = String> {
    let more: &[&str] = match paths {
        Paths::OneConfiguration => &[],
        Paths::Configurations | Paths::Sockets if base.is_empty() => {
            &["/control-ui-config.json", "/__openclaw__/control-ui-config.json"]
        }
        Paths::Configurations | Paths::Sockets => &["/control-ui-config.json"],
    };
    ["/__openclaw/control-ui-config.json"].iter().chain(more).map(move |path| format!("{base}{path}"))
}

/// The routes whose handlers call `authorizeControlUiReadRequestOrReply` in the Gateway 2026.9.6
/// (`src/gateway/control-ui-resource-routes.ts` and `src/gateway/control-ui.ts`).
fn control_ui_reads(base: Option<&str>) -> ControlUiReads {
    const BELOW: [&str; 10] = [
        "/avatar/",
        "/api/users/",
        "/__openclaw__/catalog-icon/",
        "/__openclaw__/channel-avatar/",
        "/__openclaw__/link-favicon/",
        "/__openclaw__/plugin-icon/",
        "/__openclaw__/plugin-activity-icon/",
        "/__openclaw__/plugin-theme-art/",
        "/__openclaw__/plugins/control-ui/",
        "/__openclaw__/workspace-icon/",
    ];
    let base = base.unwrap_or_default();
    let mut paths = PathSet::default();
    let below = BELOW.iter().flat_map(|path| [format!("{base}{path}"), format!("{base}{path}*")]);
    let anywhere = ["/api/users/", "/api/users/*"].map(str::to_owned);
    for path in control_ui_config(base, Paths::Sockets).chain(below).chain(anywhere) {
        // Plain, as the base path is.
        let _ = paths.insert(&path);
    }
    ControlUiReads { paths, media: format!("{base}/__openclaw__/assistant-media").into_bytes().into() }
}

/// Ceilings and narrower defaults that the Gateway's release does not keep.
fn note_scopes_in_vain(audit: &mut Audit, release: &Gateway, scopes: &Cursor<'_>) {
    let has = |keys: &[&str]| keys.iter().any(|key| scopes.member(key).node.is_some());
    let which = match release.rules.socket_cap {
        SocketCap::Everything => None,
        SocketCap::ControlUi => Some("only those of the Control UI"),
        SocketCap::Nothing => Some("none of them"),
    };
    if let Some(which) = which.filter(|_| has(&["users", "groups", "withoutUser"])) {
        audit.note_sockets_without_cap(&release.name, which);
    }
    if !release.rules.plugins_read_header && has(&["users", "groups", "pluginDefault"]) {
        audit.note_plugins_without_cap(&release.name);
    }
}

fn read_own_paths(
    reader: &mut Reader,
    audit: &mut Audit,
    paths: Paths,
    gateway: &Cursor<'_>,
    control_ui: Option<&str>,
    scopes: &Cursor<'_>,
) -> OwnPaths {
    let mut own = vec!["/tools/invoke".to_owned()];
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
    if let Some(base) = control_ui {
        own.extend(control_ui_config(base, paths));
    }
    OwnPaths { set: read_path_set(reader, audit, own, scopes, "ownPaths"), endpoints }
}

/// The upgrades that the Gateway 2026.9.6 serves itself, after it has asked its plugins (`attachGatewayUpgradeHandler`
/// in its `src/gateway/server-http-upgrades.ts`). Any other upgrade is its own too, if no plugin wants it. Only the
/// operator knows that.
fn read_own_sockets(
    reader: &mut Reader,
    audit: &mut Audit,
    paths: Paths,
    base: Option<&str>,
    scopes: &Cursor<'_>,
) -> PathSet {
    const OWN: [&str; 4] = ["/desktop/observe", "/node-desktop/attach", "/node-portal/attach", "/__openclaw__/worker"];
    let mut own = vec!["/".to_owned()];
    if paths == Paths::Sockets {
        own.extend(OWN.map(str::to_owned));
    }
    if let Some(base) = base.filter(|base| !base.is_empty()) {
        own.extend([base.to_owned(), format!("{base}/")]);
    }
    read_path_set(reader, audit, own, scopes, "ownSockets")
}

/// These paths, which are plain, and those under a key of `filter.scopes`.
fn read_path_set(reader: &mut Reader, audit: &mut Audit, own: Vec<String>, scopes: &Cursor<'_>, key: &str) -> PathSet {
    let mut set = PathSet::default();
    for path in &own {
        let _ = set.insert(path);
    }
    let cursor = scopes.member(key);
    let entries = reader.strings(&cursor).unwrap_or_default();
    audit.note_own_paths(key, entries.len());
    for (at, entry) in entries {
        insert_path(reader, &mut set, &cursor.item(at), entry);
    }
    set
}

fn insert_path(reader: &mut Reader, set: &mut PathSet, cursor: &Cursor<'_>, entry: &str) {
    if let Err(bad) = set.insert(entry) {
        let remedy = match bad {
            BadPath::Everything => "name the paths, such as \"/x\" or \"/x/*\"",
            BadPath::NotPlain => shapes::PATH_REMEDY,
        };
        reader.error(cursor, bad.to_string(), remedy);
    }
}

fn read_anonymous_paths(reader: &mut Reader, audit: &mut Audit, cursor: &Cursor<'_>) -> (PathSet, PathSet) {
    /// The Gateway's own probes (`GATEWAY_PROBE_ROUTES` in its `src/gateway/gateway-http-route-contracts.ts`).
    const DEFAULT: [&str; 6] = ["/health", "/healthz", "/ready", "/readyz", "/startup", "/startupz"];
    let (mut plain, mut upgrades) = (PathSet::default(), PathSet::default());
    let Some(entries) = reader.strings(cursor) else {
        for path in DEFAULT {
            let _ = plain.insert(path);
        }
        return (plain, upgrades);
    };
    audit.note_anonymous_paths(entries.iter().map(|(_, entry)| *entry).filter(|entry| !DEFAULT.contains(entry)));
    for (at, entry) in entries {
        match entry.strip_prefix("ws:") {
            Some(path) => insert_path(reader, &mut upgrades, &cursor.item(at), path),
            None => insert_path(reader, &mut plain, &cursor.item(at), entry),
        }
    }
    (plain, upgrades)
}
