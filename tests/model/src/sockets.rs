//! Open sockets (contract, section 11): which of them stay after an edit of the configuration. The socket's handshake
//! is decided again, with all of its headers.

use serde_json::Value;

use crate::headers::Headers;
use crate::scopes::{KNOWN, satisfies};
use crate::{Kind, Outcome, Request, Rules, Verdict, decide, is_own_socket, trim};

/// What becomes of an open socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stays,
    /// It is closed, with this code.
    Closed(String),
}

const USER_CHANGED: &str = "trusted_proxy_socket_user_changed";
const SCOPES_REDUCED: &str = "trusted_proxy_socket_scopes_reduced";

/// What a socket has at the Gateway: the user, and its most scopes, if there is such a limit.
struct Holding {
    user: Option<String>,
    scopes: Option<Vec<String>>,
}

/// What becomes of a socket that was opened by this request under the old configuration, once the new one is in
/// force; and the code with which the filter may also close it. `None` if the old configuration refuses the request,
/// or if the filter was permitted to.
pub fn fate(old: &Value, new: &Value, request: &Request) -> Option<(Fate, Option<String>)> {
    let before = decide(old, request);
    let reported = old["filter"]["mode"] == "report";
    if before.or_refused.is_some() || !reported && matches!(before.outcome, Outcome::Refused(_)) {
        return None;
    }
    let Verdict { outcome, or_refused } = decide(new, request);
    let Outcome::Passed { kind, headers } = outcome else {
        let Outcome::Refused(code) = outcome else { return None };
        return Some((Fate::Closed(code), None));
    };
    let had = if reported { as_it_came(old, request, &before.outcome) } else { stamped(old, request, &before.outcome) };
    let closed = |code: &str| Some((Fate::Closed(code.to_owned()), or_refused.clone()));
    let has = stamped(new, request, &Outcome::Passed { kind, headers })?;
    let Some(had) = had.filter(|had| had.user == has.user) else { return closed(USER_CHANGED) };
    let lost = |scope: &str| has.scopes.as_ref().is_some_and(|has| !has.iter().any(|one| satisfies(one, scope)));
    let loses = match &had.scopes {
        None => KNOWN.into_iter().any(lost),
        Some(scopes) => scopes.iter().any(|scope| lost(scope)),
    };
    if loses { closed(SCOPES_REDUCED) } else { Some((Fate::Stays, or_refused)) }
}

/// What the Gateway makes of the headers that the filter sends it.
fn stamped(config: &Value, request: &Request, outcome: &Outcome) -> Option<Holding> {
    let Outcome::Passed { kind, headers } = outcome else { return None };
    let user = match kind {
        Kind::Identified(user) => Some(user.clone()),
        Kind::Anonymous | Kind::Delegated(_) => None,
    };
    let named = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-openclaw-scopes"));
    let named: Option<Vec<String>> =
        named.map(|(_, list)| list.split(',').filter(|scope| !scope.is_empty()).map(str::to_owned).collect());
    // A plugin's socket is granted what the header names. Everywhere else the header is a limit.
    let is_grant = user.is_some() && !is_own_socket(config, request);
    Some(Holding { user, scopes: named.or_else(|| is_grant.then(|| vec!["operator.write".to_owned()])) })
}

/// The same in report mode, where the request goes on as it came. If the filter would not have changed it, that is
/// the same. Otherwise nothing limited the scopes, and the user is known if the Gateway received that user.
fn as_it_came(config: &Value, request: &Request, outcome: &Outcome) -> Option<Holding> {
    let rules = Rules { gateway: &config["gateway"], filter: &config["filter"] };
    let Outcome::Passed { headers, .. } = outcome else { return None };
    let came = Headers::of(&request.headers);
    let sorted = |headers: &[(String, String)]| {
        let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        all.sort();
        all
    };
    let holding = stamped(config, request, outcome)?;
    if sorted(&came.0) == sorted(headers) {
        return Some(holding);
    }
    let copies = came.copies(rules.upstream_user_header());
    let is_sent = holding.user.as_ref().is_some_and(|user| matches!(&copies[..], [one] if trim(one) == *user));
    is_sent.then_some(Holding { user: holding.user, scopes: None })
}

/// Whether a configuration may read a value that is not kept of an open socket, because it is long. A single NUL, which
/// no header on the wire can hold, stands for such a value.
pub fn may_be_unclear(new: &Value, request: &Request) -> bool {
    let rules = Rules { gateway: &new["gateway"], filter: &new["filter"] };
    let mut read = vec![rules.user_header()];
    read.extend(rules.groups_header());
    read.extend(
        rules.filter["requiredValues"].as_object().into_iter().flat_map(|all| all.keys()).map(|key| key.trim()),
    );
    read.push("x-openclaw-scopes");
    Headers::of(&request.headers).0.iter().any(|(name, value)| {
        value == "\0" || value.len() > 256 && read.iter().any(|one| one.eq_ignore_ascii_case(name))
    })
}

/// What a configuration says of open sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are decided again after a change of policy.
    pub recheck: bool,
    /// The most seconds that one may be open; 0 if there is no limit.
    pub max_age: u64,
    /// Whether they end with the verified identity.
    pub until_assertion: bool,
}

/// Reads the settings of a valid configuration.
pub fn settings(config: &Value) -> Settings {
    let filter = &config["filter"];
    let age = filter["socketMaxAge"].as_str().unwrap_or("0s");
    let seconds_of = |unit| match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        _ => 24 * 60 * 60,
    };
    let number: u64 = age.trim_end_matches(char::is_alphabetic).parse().expect("a valid configuration has a number");
    let max_age = number * age.chars().last().map_or(0, seconds_of);
    Settings { recheck: filter["openSockets"] != "keep", max_age, until_assertion: filter["socketsUntil"].is_string() }
}
