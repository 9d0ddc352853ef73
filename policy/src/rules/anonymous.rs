//! Rule 0: some paths pass without an identity (`filter.anonymousPaths`).

use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::request::Request;
use crate::text::quoted;

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    if lists(policy, request) { Outcome::Admits } else { Outcome::Skipped }
}

fn lists(policy: &Policy, request: &Request<'_>) -> bool {
    let paths = if request.is_upgrade() { &policy.anonymous_upgrades } else { &policy.anonymous };
    request.plain_path.is_some_and(|path| paths.contains(path))
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    let path = quoted(request.path());
    let list = if request.is_upgrade() { "the ws: entries of anonymousPaths" } else { "anonymousPaths" };
    match request.plain_path {
        None => format!("{path} is not a plain path, so no list contains it"),
        Some(_) if lists(policy, request) => format!("{path} is in {list}"),
        Some(_) => format!("{path} is not in {list}"),
    }
}
