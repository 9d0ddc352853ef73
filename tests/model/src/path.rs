//! Paths (contract, section 4).

use crate::release::Release;
use crate::{Rules, is_true, texts, trim_configured};

/// Whether the path can match an own or an anonymous path.
pub(crate) fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.chars().all(|c| ('\x21'..='\x7E').contains(&c) && !['%', '\\', '#'].contains(&c))
        && !path.contains("//")
        && !path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Whether a plain path equals the entry, or is below it if the entry ends in `/*`.
pub(crate) fn matches(entry: &str, path: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(folder) if folder.ends_with('/') => path.starts_with(folder) && path.len() > folder.len(),
        _ => entry == path,
    }
}

/// Whether the path is the Gateway's own.
pub(crate) fn is_own(rules: &Rules<'_>, path: &str) -> bool {
    is_plain(path)
        && (texts(&rules.filter["scopes"]["ownPaths"]).iter().any(|entry| matches(entry, path))
            || path == "/tools/invoke"
            || is_session(path)
            || is_control_ui(rules, path)
            || is_model_api(rules, path))
}

/// Whether the path is that of one of the Gateway's own sockets.
pub(crate) fn is_own_socket(rules: &Rules<'_>, path: &str) -> bool {
    let sockets = ["/desktop/observe", "/node-desktop/attach", "/node-portal/attach", "/__openclaw__/worker"];
    let base = base(rules);
    is_plain(path)
        && (path == "/"
            || (Release::of(rules).has_sockets() && sockets.contains(&path))
            || texts(&rules.filter["scopes"]["ownSockets"]).iter().any(|entry| matches(entry, path))
            || (!base.is_empty() && (path == base || path == format!("{base}/"))))
}

/// `/sessions/*/kill` and `/sessions/*/history`.
fn is_session(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "sessions", one, "kill" | "history"] => !one.is_empty(),
        _ => false,
    }
}

/// Where the Control UI is mounted, with a slash before it; empty at the root.
pub(crate) fn base(rules: &Rules<'_>) -> String {
    let base = rules.gateway["controlUi"]["basePath"].as_str().map(trim_configured).unwrap_or_default();
    let base = base.trim_end_matches('/');
    if base.is_empty() || base.starts_with('/') { base.to_owned() } else { format!("/{base}") }
}

/// The Control UI's configuration, which is its own only where it is switched on.
fn is_control_ui(rules: &Rules<'_>, path: &str) -> bool {
    let places = Release::of(rules).configuration();
    rules.gateway["controlUi"]["enabled"] != false && is_config(places, &base(rules), path)
}

/// The Control UI's configuration below its base path, in the places of a release. One of them has no base path.
pub(crate) fn is_config(places: &[&str], base: &str, path: &str) -> bool {
    let below = |place: &&&str| base.is_empty() || !place.contains("/__openclaw__/");
    places.iter().filter(below).any(|place| path == format!("{base}{place}"))
}

fn is_model_api(rules: &Rules<'_>, path: &str) -> bool {
    let endpoints = &rules.gateway["http"]["endpoints"];
    let chat = is_true(&endpoints["chatCompletions"]["enabled"]);
    let responses = is_true(&endpoints["responses"]["enabled"]);
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "v1", "chat", "completions"] => chat,
        ["", "v1", "responses"] => responses,
        ["", "v1", "models" | "embeddings"] => chat || responses,
        ["", "v1", "models", one] => !one.is_empty() && (chat || responses),
        _ => false,
    }
}
