//! Decides one request in the types of the WIT.
#![forbid(unsafe_code)]

use std::convert::Infallible;

use policy::answer::reply::Reply;
use policy::answer::report::Line;
use policy::headers::serialize;
use policy::peer::socket_address;
use policy::{Admission, Edit, IdentitySource, Kind, Mode, Peer, Policy, Refusal, Request};

use crate::bindings::exports::openclaw::trusted_proxy::gate;

/// Decides a request.
///
/// # Errors
/// What is wrong with the request, if it is not a valid HTTP request.
pub fn judge(policy: &Policy, given: &gate::Request) -> Result<gate::Verdict, String> {
    let peer = match Peer::from_filter_state(given.peer.as_bytes()) {
        Peer::Unknown if !given.peer.is_empty() => return Err(format!("peer: {:?} is not an IP address", given.peer)),
        peer => peer,
    };
    let map = serialize(&headers(given)?);
    let mut request = policy.read(peer, &map).map_err(|_| "headers: too large".to_owned())?;
    request.destination = match given.destination.as_deref().map(|text| (text, socket_address(text.as_bytes()))) {
        Some((text, None)) => return Err(format!("destination: {text:?} is not an IP address with a port")),
        Some((_, address)) => address,
        None => None,
    };
    request.identity =
        policy.identity_sources().iter().find_map(|source| Some(source.of(identity(given, source)?.as_bytes())));
    request.assertion = given.assertion.as_deref().map(str::as_bytes);
    request.claims_are_true =
        policy.required_claims().all(|path| given.true_claims.iter().any(|claim| claim.join("\0").as_bytes() == path));
    Ok(match (policy.decide(&request), policy.mode()) {
        (Ok(admission), mode) => gate::Verdict::Pass(gate::Permit {
            grounds: grounds(admission.kind()),
            edits: if mode == Mode::Enforce { edits(policy, &admission, &request) } else { Vec::new() },
        }),
        (Err(refusal), mode) => {
            let told = tell(policy, &refusal, &request, &given.peer);
            if mode == Mode::Enforce { gate::Verdict::Refuse(told) } else { gate::Verdict::WouldRefuse(told) }
        }
    })
}

/// The peer's identity, if the host gives one for this source.
fn identity<'g>(given: &'g gate::Request, source: &IdentitySource) -> Option<&'g str> {
    match source {
        IdentitySource::Certificate => given.certificate.as_deref(),
        IdentitySource::FilterState(key) => {
            given.filter_states.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
        }
    }
}

/// The headers as Envoy would provide them: names in lower case, values trimmed, pseudo-headers first.
fn headers(given: &gate::Request) -> Result<Vec<(String, &[u8])>, String> {
    let is_visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80);
    if !is_name(&given.method) {
        return Err(format!("method: {:?} is not a method", given.method));
    }
    if !is_visible(&given.target) {
        return Err(format!("target: {:?} is not a request target", given.target));
    }
    let mut all = vec![(":method".to_owned(), given.method.as_bytes()), (":path".to_owned(), given.target.as_bytes())];
    if let Some(authority) = &given.authority {
        if !is_visible(authority) {
            return Err(format!("authority: {authority:?} is not an authority"));
        }
        all.push((":authority".to_owned(), authority.as_bytes()));
    }
    for header in &given.headers {
        let name = header.name.to_ascii_lowercase();
        if !is_name(&name) {
            return Err(format!("headers: {name:?} is not a header name"));
        }
        if name == "host" {
            return Err("headers: `host` belongs in `authority`".to_owned());
        }
        if header.value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(format!("headers: the value of {name} contains a NUL or a line break"));
        }
        all.push((name, header.value.trim_ascii()));
    }
    check_upgrade(&all)?;
    Ok(all)
}

/// Checks that the request is either a WebSocket handshake or has no `upgrade` header. Envoy lets no other upgrade
/// through. The two must be told apart, because a WebSocket without scopes gets those of its user, and a plain request
/// does not.
fn check_upgrade(headers: &[(String, &[u8])]) -> Result<(), String> {
    let values = |wanted: &'static str| headers.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| *value);
    let mut upgrades = values("upgrade");
    let Some(upgrade) = upgrades.next() else { return Ok(()) };
    let nominates =
        |value: &[u8]| value.split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    if upgrades.next().is_some() || !upgrade.eq_ignore_ascii_case(b"websocket") || !values("connection").any(nominates)
    {
        return Err("headers: `upgrade` may appear once, as `websocket`, with `connection: upgrade`".to_owned());
    }
    Ok(())
}

/// Whether a text is a token (RFC 9110), as header names and methods are.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn grounds(kind: Kind<'_>) -> gate::Grounds {
    match kind {
        Kind::Identified(user) => gate::Grounds::Identified(user.to_vec()),
        Kind::Anonymous => gate::Grounds::Anonymous,
        Kind::Delegated(refusal) => gate::Grounds::Delegated(refusal.to_string()),
    }
}

fn edits(policy: &Policy, admission: &Admission<'_>, request: &Request<'_>) -> Vec<gate::Edit> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut edits = Vec::new();
    let done = admission.stamp(policy, request, |edit| {
        edits.push(match edit {
            Edit::Set { name, value } => gate::Edit::Set(gate::Header { name: text(name), value: value.to_vec() }),
            Edit::Remove { name } => gate::Edit::Remove(text(name)),
        });
        Ok::<(), Infallible>(())
    });
    let Ok(()) = done;
    edits
}

fn tell(policy: &Policy, refusal: &Refusal<'_>, request: &Request<'_>, peer: &str) -> gate::Refusal {
    let hide = policy.hides_reasons();
    let close = if policy.closes_websockets() { Reply::websocket(refusal, request, hide) } else { None };
    gate::Refusal {
        code: refusal.to_string(),
        user: refusal.user.map(<[u8]>::to_vec),
        line: Line { refusal, request, peer: peer.as_bytes() }.to_string(),
        response: response(Reply::http(refusal, Some(request), hide)),
        close: close.map(response),
    }
}

fn response(reply: Reply) -> gate::Response {
    let headers = reply.headers.into_iter();
    let headers = headers.map(|(name, value)| gate::Header { name: name.to_owned(), value: value.into_owned() });
    gate::Response { status: reply.status, headers: headers.collect(), body: reply.body }
}
