//! Rule 8: Envoy verified an identity (`filter.assertion`). The user header must equal it, or it is the user itself.

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
    if !policy.has_true_claims(request) {
        return Outcome::Broken(Refusal { user: Some(verified), ..Reason::AssertionClaim.into() });
    }
    if policy.takes_verified_user() {
        return Outcome::Names(verified);
    }
    // Rule 7 is not asked if a required header is missing and the refusal is left to the Gateway.
    match named.or_else(|| user::named(policy, request)) {
        Some(user) if verified != user => {
            Outcome::Broken(Refusal { user: Some(user), ..Reason::AssertionMismatch.into() })
        }
        _ => Outcome::Holds,
    }
}

/// The identity that Envoy verified, as it is: a string by its type ([`Policy::verified`]). The Gateway would trim an
/// identity that starts or ends with what it takes for a blank, and so read another one: that is not an identity.
pub(super) fn verified<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let is_text = |identity: &&[u8]| {
        identity.iter().all(|byte| !byte.is_ascii_control()) && std::str::from_utf8(identity).is_ok()
    };
    request.assertion.filter(is_text).filter(|identity| !identity.is_empty() && trim(identity).len() == identity.len())
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.assertion.is_none() {
        return "no assertion configured".to_owned();
    }
    let claims = if policy.has_true_claims(request) { "" } else { ", but not every claim of requireTrue is true" };
    verified(request).map_or_else(
        || "Envoy verified no identity".to_owned(),
        |identity| format!("Envoy verified {}{claims}", quoted(identity)),
    )
}
