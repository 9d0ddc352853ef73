//! Scopes (contract, section 4).

use serde_json::Value;

use crate::headers::Headers;
use crate::{Rules, path, texts, trim};

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
    if headers.is_upgrade() {
        return match (declared, ceiling) {
            (Some(declared), Some(ceiling)) => Some(satisfied(declared, &ceiling)),
            (Some(declared), None) => Some(declared),
            (None, Some(ceiling)) => Some(satisfied(KNOWN.to_vec(), &ceiling)),
            (None, None) => None,
        };
    }
    let wanted = declared.unwrap_or_else(|| assumed(rules, headers));
    let Some(ceiling) = ceiling else { return Some(wanted) };
    let named: Vec<_> = wanted.iter().chain(&ceiling).copied().collect();
    Some(satisfied(satisfied(known(named), &wanted), &ceiling))
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
    let mut entries: Vec<&Value> = entry(&scopes["users"], user).into_iter().collect();
    for group in groups.split(',').map(trim).filter(|group| !group.is_empty()) {
        entries.extend(entry(&scopes["groups"], &group));
    }
    if entries.is_empty() {
        entries.push(&scopes["users"]["*"]);
    }
    Some(known(entries.into_iter().flat_map(texts)))
}

/// The entry for a name; a key with `@` is compared without ASCII case.
fn entry<'v>(entries: &'v Value, name: &str) -> Option<&'v Value> {
    entries
        .as_object()?
        .iter()
        .find(|(key, _)| *key != "*" && (*key == name || (key.contains('@') && key.eq_ignore_ascii_case(name))))
        .map(|(_, scopes)| scopes)
}
