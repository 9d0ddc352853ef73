//! Rule 10: the browser's origin is allowed (`controlUi.allowedOrigins`). A request without an Origin can still be from
//! another web site: see [`cross_site`].

use super::cross_site;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::{quoted, trim};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>, user: Option<&'a [u8]>) -> Outcome<'a> {
    let broken = |reason: Reason| Outcome::Broken(Refusal { user, ..reason.into() });
    let field = &request.fields.origin;
    let origin = trim(field.first().unwrap_or_default());
    let is_strict = is_strict(policy, request);
    let skip = || {
        let is_refused = policy.refuse_cross_site && cross_site::is_cross_site(request);
        if is_refused { broken(Reason::CrossSite) } else { Outcome::Skipped }
    };
    if origin.is_empty() && !field.is_repeated() {
        let is_missing = is_strict && !cross_site::is_same_origin(request);
        return if is_missing { broken(Reason::OriginNotAllowed) } else { skip() };
    }
    let host = request.fields.authority.first();
    let allowed = if is_strict {
        policy.origins.allow_named(origin, host)
    } else {
        policy.origins.allow(origin, host, request.is_upgrade())
    };
    if allowed && !field.is_repeated() {
        Outcome::Holds
    } else if !is_strict && is_public_file(policy, request) {
        skip()
    } else {
        broken(Reason::OriginNotAllowed)
    }
}

/// Whether the Gateway serves this file of its Control UI to every origin.
fn is_public_file(policy: &Policy, request: &Request<'_>) -> bool {
    policy.public_files.as_ref().is_some_and(|files| files.cover(request))
}

/// Whether the Gateway demands more of this request's origin (`auth.allowTailscale`).
fn is_strict(policy: &Policy, request: &Request<'_>) -> bool {
    // A bearer token lifts this, unless the Gateway does not get to see it.
    let is_lifted = || !policy.remove_bearer && cross_site::has_bearer(request);
    policy.tailscale_reads.as_ref().is_some_and(|reads| reads.cover(request) && !is_lifted())
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    let joined = request.fields.origin.joined(&request.headers, b"origin").unwrap_or_default();
    let origin = trim(&joined);
    let strict = if is_strict(policy, request) { " (allowTailscale: \"*\" does not count here)" } else { "" };
    if origin.is_empty() {
        let site = request.headers.joined(b"sec-fetch-site");
        return match site {
            Some(site) => format!("no Origin header; Sec-Fetch-Site is {}", quoted(&site)),
            None if strict.is_empty() => "no Origin header".to_owned(),
            None => "no Origin header, and no Sec-Fetch-Site, which allowTailscale requires here".to_owned(),
        };
    }
    let host = request.fields.authority.first().unwrap_or_default();
    let public =
        if is_public_file(policy, request) { " (a public file of the Control UI: any origin passes)" } else { "" };
    format!("{} for host {}{strict}{public}", quoted(origin), quoted(host))
}
