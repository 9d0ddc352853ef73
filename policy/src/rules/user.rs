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
    named(policy, request).map_or_else(|| Outcome::Broken(Reason::UserMissing.into()), Outcome::Names)
}

/// The user header's value, trimmed. `None` if the header is missing, or if the Gateway would read it as blank.
pub(super) fn named<'a>(policy: &Policy, request: &Request<'a>) -> Option<&'a [u8]> {
    let field = policy.names.user(&request.seen);
    if let Some(value) = field.only() {
        return Some(trim(value)).filter(|value| !value.is_empty());
    }
    let value = field.joined(&request.headers, &policy.user_header)?;
    if trim(&value).is_empty() { None } else { field.first().map(trim) }
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.takes_verified_user() {
        return "the verified identity is the user; the header is ignored".to_owned();
    }
    let header = Escaped { bytes: &policy.user_header, limit: SHOWN };
    match (named(policy, request), policy.names.user(&request.seen).is_present()) {
        (Some(user), _) => format!("{header}: {}", quoted(user)),
        (None, true) => format!("{header} is blank"),
        (None, false) => format!("{header} is missing"),
    }
}
