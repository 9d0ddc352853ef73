//! Rule 9: the user is allowed (`allowUsers`).

use super::{assertion, user};
use crate::outcome::Outcome;
use crate::policy::{Policy, Users};
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::quoted;

pub(crate) fn ask<'a>(policy: &Policy, user: Option<&'a [u8]>) -> Outcome<'a> {
    match &policy.users {
        Users::Any => Outcome::Skipped,
        Users::Only(users) if user.is_some_and(|user| users.contains(user)) => Outcome::Holds,
        Users::Only(_) => Outcome::Broken(Refusal { user, ..Reason::UserNotAllowed.into() }),
    }
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    let Users::Only(users) = &policy.users else { return "allowUsers is empty: everybody is allowed".to_owned() };
    let user = if policy.takes_verified_user() { assertion::verified(request) } else { user::named(policy, request) };
    let user = user.unwrap_or_default();
    let is = if users.contains(user) { "is" } else { "is not" };
    format!("{} {is} in allowUsers", quoted(user))
}
