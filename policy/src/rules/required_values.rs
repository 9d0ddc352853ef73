//! Rule 6b: headers hold the secrets that only the proxy knows (`filter.requiredValues`).

use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::secrets::Secret;

pub(crate) fn ask<'a>(policy: &'a Policy, request: &Request<'_>) -> Outcome<'a> {
    if policy.secrets.is_empty() {
        return Outcome::Skipped;
    }
    match policy.secrets.iter().find(|secret| find(secret, request).is_none()) {
        Some(secret) => Outcome::Broken(Refusal { header: Some(&secret.header), ..Reason::HeaderValue.into() }),
        None => Outcome::Holds,
    }
}

/// The index of the digest that the header's value has. Two copies of a header are not one value.
fn find(secret: &Secret, request: &Request<'_>) -> Option<usize> {
    let mut copies = request.headers.copies(&secret.name);
    match (copies.next(), copies.next()) {
        (Some(value), None) if !value.is_empty() => secret.find(value),
        _ => None,
    }
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.secrets.is_empty() {
        return "no requiredValues".to_owned();
    }
    let state = |secret: &Secret| {
        let is = match (find(secret, request), request.headers.copies(&secret.name).count()) {
            (Some(at), _) => return format!("{} has the digest sha256[{at}]", secret.header),
            (None, 0) => "is missing",
            (None, 1) => "has another value",
            (None, _) => "appears twice",
        };
        format!("{} {is}", secret.header)
    };
    policy.secrets.iter().map(state).collect::<Vec<_>>().join(", ")
}
