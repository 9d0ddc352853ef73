//! Rule 7b: the user header and the groups header are not repeated, and the groups can be read.

use crate::ceilings::looks_like_json;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;
use crate::text::{Escaped, SHOWN};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    match broken(policy, request) {
        None => Outcome::Holds,
        Some(reason) => Outcome::Broken(reason.into()),
    }
}

fn broken(policy: &Policy, request: &Request<'_>) -> Option<Reason> {
    let seen = &request.seen;
    if !policy.takes_verified_user() && policy.names.user(seen).is_repeated() {
        Some(Reason::UserRepeated)
    } else if seen.groups.is_repeated() {
        Some(Reason::GroupsRepeated)
    } else if seen.groups.only().is_some_and(looks_like_json) {
        Some(Reason::GroupsUnreadable)
    } else {
        None
    }
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    match broken(policy, request) {
        None => "not repeated".to_owned(),
        Some(Reason::GroupsUnreadable) => "the groups header is JSON, not a list with separators".to_owned(),
        Some(Reason::UserRepeated) => {
            format!("more than one {}", Escaped { bytes: &policy.user_header, limit: SHOWN })
        }
        Some(_) => "more than one groups header".to_owned(),
    }
}
