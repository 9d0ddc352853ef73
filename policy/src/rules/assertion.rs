//! Rule 8: Envoy verified an identity, which the user header must equal, or which is the user (`filter.assertion`).

use super::user;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::{quoted, trim};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'a>, named: Option<&'a [u8]>) -> Outcome<'a> {
    if policy.assertion.is_none() {
        return Outcome::Skipped;
    }
    let Some(verified) = verified(request) else { return Outcome::Broken(Reason::AssertionMissing.into()) };
    if policy.takes_verified_user() {
        return Outcome::Names(verified);
    }
    // Rule 7 is not asked behind a required header whose absence is left to the Gateway.
    match named.or_else(|| user::named(policy, request)) {
        Some(user) if verified != user => {
            Outcome::Broken(Refusal { user: Some(user), ..Reason::AssertionMismatch.into() })
        }
        _ => Outcome::Holds,
    }
}

/// The identity that Envoy verified. Bytes that no header can carry as text are not an identity: a claim that is a
/// number, a list or an object arrives as its bytes. Text is UTF-8 in Envoy's metadata, and few fractions look like
/// that.
pub(super) fn verified<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let is_text = |identity: &&[u8]| {
        identity.iter().all(|byte| !byte.is_ascii_control()) && std::str::from_utf8(identity).is_ok()
    };
    request.assertion.filter(is_text).map(trim).filter(|identity| !identity.is_empty())
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.assertion.is_none() {
        return "no assertion configured".to_owned();
    }
    verified(request).map_or_else(
        || "Envoy verified no identity".to_owned(),
        |identity| format!("Envoy verified {}", quoted(identity)),
    )
}
