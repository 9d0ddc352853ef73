//! Rule 6: every required header is present and not blank (`requiredHeaders`).

use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::trim;

pub(crate) fn ask<'a>(policy: &'a Policy, request: &Request<'_>) -> Outcome<'a> {
    if policy.required_headers.is_empty() {
        return Outcome::Skipped;
    }
    for (at, name) in policy.required_headers.iter().enumerate() {
        // A single copy that is not blank is enough. Everything else takes the slow path.
        let only = policy.names.required(&request.seen, at).and_then(|field| field.only());
        if only.is_none_or(|value| trim(value).is_empty()) && !is_present(request, name.as_bytes()) {
            return Outcome::Broken(Refusal { header: Some(name), ..Reason::MissingHeader.into() });
        }
    }
    Outcome::Holds
}

/// Whether a header is present and not blank, as the Gateway reads it.
fn is_present(request: &Request<'_>, name: &[u8]) -> bool {
    request.headers.joined(name).is_some_and(|value| !trim(&value).is_empty())
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if policy.required_headers.is_empty() {
        return "no requiredHeaders".to_owned();
    }
    let state = |name: &String| {
        let value = request.headers.joined(name.as_bytes());
        let is = value.map_or("missing", |value| if trim(&value).is_empty() { "blank" } else { "present" });
        format!("{name} is {is}")
    };
    // The values may be secrets.
    policy.required_headers.iter().map(state).collect::<Vec<_>>().join(", ")
}
