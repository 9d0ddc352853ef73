//! Rule 7: the user header names a user (`userHeader`).

use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;
use crate::text::{Escaped, SHOWN, quoted, trim};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'a>) -> Outcome<'a> {
    if policy.takes_verified_user() {
        return Outcome::Skipped;
    }
    match value(policy, request) {
        None => Outcome::Broken(Reason::UserMissing.into()),
        Some(value) => {
            without_prefix(policy, value).map_or_else(|| only_a_prefix(policy, request, value), Outcome::Names)
        }
    }
}

/// The user that the header names. `None` if it names none.
pub(super) fn named<'a>(policy: &Policy, request: &Request<'a>) -> Option<&'a [u8]> {
    without_prefix(policy, value(policy, request)?)
}

/// The user header's value, trimmed. `None` if the header is missing, or if the Gateway would read it as blank.
fn value<'a>(policy: &Policy, request: &Request<'a>) -> Option<&'a [u8]> {
    let field = policy.names.user(&request.seen);
    if let Some(value) = field.only() {
        return Some(trim(value)).filter(|value| !value.is_empty());
    }
    let value = field.joined(&request.headers, &policy.user_header)?;
    if trim(&value).is_empty() { None } else { field.first().map(trim) }
}

/// The outcome of a value that is not a prefix and a user. If copies follow it in what the Gateway reads, rule 7b
/// refuses them.
#[cold]
fn only_a_prefix<'a>(policy: &Policy, request: &Request<'a>, value: &'a [u8]) -> Outcome<'a> {
    let joined = policy.names.user(&request.seen).joined(&request.headers, &policy.user_header).unwrap_or_default();
    if without_prefix(policy, trim(&joined)).is_some() {
        Outcome::Names(value)
    } else {
        Outcome::Broken(Reason::UserMalformed.into())
    }
}

/// The user after `userPrefix`. `None` if the value does not start with it, or if nothing follows.
fn without_prefix<'v>(policy: &Policy, value: &'v [u8]) -> Option<&'v [u8]> {
    if policy.user_prefix.is_empty() {
        return Some(value);
    }
    value.strip_prefix(&*policy.user_prefix).map(trim).filter(|user| !user.is_empty())
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.takes_verified_user() {
        return "the verified identity is the user; the header is ignored".to_owned();
    }
    let header = Escaped { bytes: &policy.user_header, limit: SHOWN };
    match (value(policy, request), policy.names.user(&request.seen).is_present()) {
        (Some(value), _) if named(policy, request).is_none() => {
            format!("{header}: {} is not userPrefix and a user", quoted(value))
        }
        (Some(value), _) => match named(policy, request).filter(|user| *user != value) {
            Some(user) => format!("{header}: {}, without userPrefix {}", quoted(value), quoted(user)),
            None => format!("{header}: {}", quoted(value)),
        },
        (None, true) => format!("{header} is blank"),
        (None, false) => format!("{header} is missing"),
    }
}
