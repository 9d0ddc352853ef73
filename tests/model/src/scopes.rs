//! Scopes (contract, section 4).

use serde_json::Value;

use crate::headers::Headers;
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

/// The known scopes among some tokens, each once.
fn known<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Vec<&'static str> {
    let mut scopes = Vec::new();
    for token in tokens {
        if let Some(scope) = KNOWN.into_iter().find(|scope| *scope == token)
            && !scopes.contains(&scope)
        {
            scopes.push(scope);
        }
    }
    scopes
}

/// The scopes in the request's own header; `None` if there is no such header.
pub(crate) fn declared(headers: &Headers) -> Option<Vec<&'static str>> {
    let list = headers.joined("x-openclaw-scopes")?;
    let tokens: Vec<String> = list.split(',').map(trim).collect();
    Some(known(tokens.iter().map(String::as_str)))
}

/// The scopes that the Gateway assumes for a request without the header, or fewer if the configuration says so.
fn assumed(rules: &Rules<'_>, headers: &Headers) -> Vec<&'static str> {
    let scopes = &rules.filter["scopes"];
    let own = path::is_own(rules, &headers.path());
    let narrower = if own { scopes.get("default") } else { scopes.get("pluginDefault") };
    match narrower {
        Some(list) => known(texts(list)),
        None if own => KNOWN[..7].to_vec(),
        None => vec!["operator.write"],
    }
}

/// The scopes that are stamped for a user; `None` means no header.
pub(crate) fn granted(rules: &Rules<'_>, headers: &Headers, user: &str) -> Option<Vec<&'static str>> {
    let ceiling = ceiling(rules, headers, user);
    let declared = declared(headers);
    if !headers.is_upgrade() {
        return Some(within(declared.unwrap_or_else(|| assumed(rules, headers)), ceiling));
    }
    if let Some(declared) = declared {
        return Some(match ceiling {
            Some(ceiling) => satisfied(declared, &ceiling),
            None => declared,
        });
    }
    if path::is_own_socket(rules, &headers.path()) {
        return ceiling.map(|ceiling| satisfied(KNOWN.to_vec(), &ceiling));
    }
    // A plugin's socket: the Gateway would grant `operator.write`.
    let plugin = match rules.filter["scopes"].get("pluginDefault") {
        Some(list) => known(texts(list)),
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
    match (declared(headers), most.is_array()) {
        (declared, false) => declared,
        (declared, true) => Some(satisfied(declared.unwrap_or(KNOWN.to_vec()), &known(texts(most)))),
    }
}

/// The scopes named by either side that both sides satisfy; all of `wanted` if there is no ceiling.
fn within(wanted: Vec<&'static str>, ceiling: Option<Vec<&'static str>>) -> Vec<&'static str> {
    let Some(ceiling) = ceiling else { return wanted };
    let named: Vec<_> = wanted.iter().chain(&ceiling).copied().collect();
    satisfied(satisfied(known(named), &wanted), &ceiling)
}

/// The scopes in the list that a set satisfies.
fn satisfied(scopes: Vec<&'static str>, by: &[&str]) -> Vec<&'static str> {
    scopes.into_iter().filter(|scope| by.iter().any(|one| satisfies(one, scope))).collect()
}

fn satisfies(scope: &str, wanted: &str) -> bool {
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
    Some(known(entries.into_iter().flat_map(texts)))
}

/// The entry of a name.
fn entry(entries: &Value, is_it: impl Fn(&str) -> bool) -> Option<&Value> {
    entries.as_object()?.iter().find(|(key, _)| *key != "*" && is_it(key)).map(|(_, scopes)| scopes)
}
