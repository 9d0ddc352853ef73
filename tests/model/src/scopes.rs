//! Scopes (contract, section 4).

use serde_json::Value;

use crate::headers::Headers;
use crate::release::Release;
use crate::{Rules, path, texts, trim, trim_configured};

/// Every known scope, in the contract's order; the first seven are the default set of the Gateway's own paths.
pub const KNOWN: [&str; 10] = [
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.questions",
    "operator.pairing",
    "operator.talk.secrets",
    "operator.talk",
    "operator.sessions.read",
    "operator.sessions.write",
];

/// Each scope with the other scopes that it satisfies; `operator.admin` satisfies all.
const SATISFIES: [(&str, &[&str]); 3] = [
    ("operator.write", &["operator.read", "operator.talk", "operator.sessions.read", "operator.sessions.write"]),
    ("operator.read", &["operator.sessions.read"]),
    ("operator.sessions.write", &["operator.sessions.read"]),
];

/// The scopes among some tokens that the Gateway's release knows, each once.
fn known<'t>(rules: &Rules<'_>, tokens: impl IntoIterator<Item = &'t str>) -> Vec<&'static str> {
    let release = Release::of(rules);
    let mut scopes = Vec::new();
    for token in tokens {
        if let Some(scope) = KNOWN.into_iter().find(|scope| *scope == token && release.knows_scope(scope))
            && !scopes.contains(&scope)
        {
            scopes.push(scope);
        }
    }
    scopes
}

/// The scopes in the request's own header; `None` if there is no such header.
pub(crate) fn declared(rules: &Rules<'_>, headers: &Headers) -> Option<Vec<&'static str>> {
    let list = headers.joined("x-openclaw-scopes")?;
    let tokens: Vec<String> = list.split(',').map(trim).collect();
    Some(known(rules, tokens.iter().map(String::as_str)))
}

/// The scopes that the Gateway assumes for a request without the header, or fewer if the configuration says so.
fn assumed(rules: &Rules<'_>, headers: &Headers) -> Vec<&'static str> {
    let scopes = &rules.filter["scopes"];
    let own = path::is_own(rules, &headers.path());
    let narrower = if own { scopes.get("default") } else { scopes.get("pluginDefault") };
    match narrower {
        Some(list) => known(rules, texts(list)),
        None if own => known(rules, KNOWN[..7].to_vec()),
        None => vec!["operator.write"],
    }
}

/// The scopes that are stamped for a user; `None` means no header.
pub(crate) fn granted(rules: &Rules<'_>, headers: &Headers, user: &str) -> Option<Vec<&'static str>> {
    let ceiling = ceiling(rules, headers, user);
    let declared = declared(rules, headers);
    if !headers.is_upgrade() {
        let mut wanted = declared.unwrap_or_else(|| assumed(rules, headers));
        if !Release::of(rules).plugins_read_header() && !path::is_own(rules, &headers.path()) {
            wanted = satisfied(wanted, &["operator.write"]);
        }
        return Some(within(wanted, ceiling));
    }
    if let Some(declared) = declared {
        return Some(match ceiling {
            Some(ceiling) => satisfied(declared, &ceiling),
            None => declared,
        });
    }
    if path::is_own_socket(rules, &headers.path()) {
        return ceiling.map(|ceiling| satisfied(known(rules, KNOWN), &ceiling));
    }
    // A plugin's socket: the Gateway would grant `operator.write`.
    let plugin = match rules.filter["scopes"].get("pluginDefault") {
        Some(list) => known(rules, texts(list)),
        None => vec!["operator.write"],
    };
    let narrowed = !plugin.iter().any(|scope| satisfies(scope, "operator.write"));
    (ceiling.is_some() || narrowed).then(|| within(plugin, ceiling))
}

/// The scopes that are stamped on what passes without a user.
pub(crate) fn without_user(rules: &Rules<'_>, headers: &Headers) -> Option<Vec<&'static str>> {
    if !headers.is_upgrade() {
        return None;
    }
    let scopes = &rules.filter["scopes"];
    let most = if scopes.get("withoutUser").is_some() { &scopes["withoutUser"] } else { &scopes["users"]["*"] };
    match (declared(rules, headers), most.is_array()) {
        (declared, false) => declared,
        (declared, true) => Some(satisfied(declared.unwrap_or(known(rules, KNOWN)), &known(rules, texts(most)))),
    }
}

/// The scopes named by either side that both sides satisfy; all of `wanted` if there is no ceiling.
fn within(wanted: Vec<&'static str>, ceiling: Option<Vec<&'static str>>) -> Vec<&'static str> {
    let Some(ceiling) = ceiling else { return wanted };
    let mut named = wanted.clone();
    named.extend(ceiling.iter().filter(|scope| !wanted.contains(scope)));
    satisfied(satisfied(named, &wanted), &ceiling)
}

/// The scopes in the list that a set satisfies.
fn satisfied(scopes: Vec<&'static str>, by: &[&str]) -> Vec<&'static str> {
    scopes.into_iter().filter(|scope| by.iter().any(|one| satisfies(one, scope))).collect()
}

pub(crate) fn satisfies(scope: &str, wanted: &str) -> bool {
    scope == wanted
        || scope == "operator.admin"
        || SATISFIES.iter().any(|(one, others)| *one == scope && others.contains(&wanted))
}

/// The most that a user may have; `None` if the configuration sets no ceilings.
fn ceiling(rules: &Rules<'_>, headers: &Headers, user: &str) -> Option<Vec<&'static str>> {
    let scopes = &rules.filter["scopes"];
    if scopes.get("users").is_none() && scopes.get("groups").is_none() {
        return None;
    }
    let groups = rules.groups_header().and_then(|name| headers.joined(name)).unwrap_or_default();
    let separator = scopes["groupsSeparator"].as_str().unwrap_or(",");
    let mut entries: Vec<&Value> = Vec::new();
    entries.extend(entry(&scopes["users"], |key| trim_configured(key).to_lowercase() == user.to_lowercase()));
    for group in groups.split(separator).map(trim).filter(|group| !group.is_empty()) {
        entries.extend(entry(&scopes["groups"], |key| key == group));
    }
    if entries.is_empty() {
        entries.push(&scopes["users"]["*"]);
    }
    Some(known(rules, entries.into_iter().flat_map(texts)))
}

/// The entry of a name.
fn entry(entries: &Value, is_it: impl Fn(&str) -> bool) -> Option<&Value> {
    entries.as_object()?.iter().find(|(key, _)| *key != "*" && is_it(key)).map(|(_, scopes)| scopes)
}
