//! Rule 10: the browser's origin is allowed (`controlUi.allowedOrigins`).

use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::{quoted, trim};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>, user: Option<&'a [u8]>) -> Outcome<'a> {
    let field = &request.fields.origin;
    let origin = trim(field.first().unwrap_or_default());
    if origin.is_empty() && !field.is_repeated() {
        return Outcome::Skipped;
    }
    let host = request.fields.authority.first();
    if !field.is_repeated() && policy.origins.allow(origin, host, request.is_upgrade()) {
        Outcome::Holds
    } else {
        Outcome::Broken(Refusal { user, ..Reason::OriginNotAllowed.into() })
    }
}

pub(crate) fn saw(request: &Request<'_>) -> String {
    let joined = request.fields.origin.joined(&request.headers, b"origin").unwrap_or_default();
    let origin = trim(&joined);
    if origin.is_empty() {
        return "no Origin header".to_owned();
    }
    let host = request.fields.authority.first().unwrap_or_default();
    format!("{} for host {}", quoted(origin), quoted(host))
}
