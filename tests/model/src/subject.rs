//! Runs the filter's own policy on a case of the model, and compares the two.

use std::convert::Infallible;

use policy::answer::reply::Reply;
use policy::answer::report::Line;
use policy::config::{Compiled, compile};
use policy::headers::{Headers, serialize};
use policy::peer::socket_address;
use policy::sockets::{Handshake, Standing};
use policy::{Edit, IdentitySource, Mode, Peer, PeerAddress, Policy, Step};
use serde_json::Value;

use crate::headers::latin1;
use crate::sockets::{self, Fate};
use crate::{Kind, Outcome, Request, Verdict};

/// Compiles a configuration that should be valid.
///
/// # Panics
/// If it is not; the message lists every error.
pub fn compiled(config: &Value) -> Compiled {
    compile(config.to_string().as_bytes())
        .unwrap_or_else(|errors| panic!("not a valid configuration:\n{errors}\n{config}"))
}

/// A request as the filter passes it to the policy.
fn judged<'a>(policy: &Policy, request: &'a Request, map: &'a [u8]) -> policy::Request<'a> {
    let text = request.peer.as_deref().unwrap_or_default();
    let peer = match policy.peer_address() {
        PeerAddress::Connection => Peer::from_connection(text),
        PeerAddress::FilterState(_) => Peer::from_filter_state(text),
    };
    let mut judged = policy.read(peer, map).unwrap_or_else(|_| panic!("the serialized headers are not a header map"));
    if policy.needs_destination() {
        judged.destination = request.destination.as_deref().and_then(socket_address);
    }
    judged.identity = policy.identity_sources().iter().find_map(|source| {
        let value = match source {
            IdentitySource::Certificate => request.mtls.then(|| request.uri_san.as_deref().unwrap_or_default())?,
            IdentitySource::FilterState(key) => {
                request.filter_states.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)?
            }
        };
        Some(source.of(value))
    });
    if policy.assertion_path().is_some() {
        judged.assertion = request.assertion.as_deref();
        let is_true =
            |path: &[u8]| request.true_claims.iter().any(|name| path.ends_with(format!("\0{name}").as_bytes()));
        judged.claims_are_true = policy.required_claims().all(is_true);
    }
    judged
}

/// The policy's decision on a request.
pub fn decide(policy: &Policy, request: &Request) -> Outcome {
    let map = serialize(&request.headers);
    let judged = judged(policy, request, &map);
    match policy.decide(&judged) {
        Err(refusal) => Outcome::Refused(refusal.to_string()),
        Ok(admission) => Outcome::Passed {
            kind: match admission.kind() {
                policy::Kind::Identified(user) => Kind::Identified(latin1(user)),
                policy::Kind::Anonymous => Kind::Anonymous,
                policy::Kind::Delegated(refusal) => Kind::Delegated(refusal.to_string()),
            },
            headers: upstream(policy, &admission, &judged, &request.headers),
        },
    }
}

/// Every rule with its verdict on a request, and the code of the refusal if there is one.
pub fn trace(policy: &Policy, request: &Request) -> (Vec<Step>, Option<String>) {
    let map = serialize(&request.headers);
    let (decision, steps) = policy.trace(&judged(policy, request, &map));
    (steps, decision.err().map(|refusal| refusal.to_string()))
}

/// The output for a refusal: the operator's log line, the plain response, and the WebSocket close if one is possible.
pub struct Shown {
    /// The log line.
    pub line: String,
    /// The plain reply.
    pub http: Reply,
    /// The handshake that is accepted and closed.
    pub websocket: Option<Reply>,
}

/// The output for a request that is refused.
pub fn shown(policy: &Policy, request: &Request) -> Option<Shown> {
    let map = serialize(&request.headers);
    let judged = judged(policy, request, &map);
    let refusal = policy.decide(&judged).err()?;
    let peer = request.peer.as_deref().unwrap_or_default();
    Some(Shown {
        line: Line { refusal: &refusal, request: &judged, peer }.to_string(),
        http: Reply::http(&refusal, Some(&judged), policy.hides_reasons()),
        websocket: Reply::websocket(&refusal, &judged, policy.hides_reasons()),
    })
}

/// The headers with every edit applied as Envoy does: names are compared without case.
fn upstream(
    policy: &Policy,
    admission: &policy::Admission<'_>,
    judged: &policy::Request<'_>,
    headers: &[(Vec<u8>, Vec<u8>)],
) -> Vec<(String, String)> {
    let mut seen: Vec<_> = headers.iter().map(|(name, value)| (latin1(name), latin1(value))).collect();
    let made = admission.stamp(policy, judged, |edit| {
        let (Edit::Set { name, .. } | Edit::Remove { name }) = edit;
        let name = latin1(name);
        seen.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        if let Edit::Set { value, .. } = edit {
            seen.push((name, latin1(value)));
        }
        Ok::<(), Infallible>(())
    });
    let Ok(()) = made;
    seen
}

/// The headers in a form in which two lists can be compared: those that the filter may write are at the end, ordered
/// by name. All others keep their order.
fn comparable(config: &Value, headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut written = vec![upstream_user_header(config), "x-openclaw-scopes", "connection", "cookie"];
    let secrets = config["filter"]["requiredValues"].as_object();
    written.extend(secrets.into_iter().flat_map(|all| all.keys()).map(String::as_str));
    let is_written = |name: &str| written.iter().any(|one| one.eq_ignore_ascii_case(name));
    let (mut tail, mut list): (Vec<_>, Vec<_>) = headers.iter().cloned().partition(|(name, _)| is_written(name));
    tail.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    tail.sort_by(|a, b| a.0.cmp(&b.0));
    list.extend(tail);
    list
}

/// The header that the user is stamped into.
pub fn upstream_user_header(config: &Value) -> &str {
    let user = &config["gateway"]["auth"]["trustedProxy"]["userHeader"];
    config["filter"]["upstreamUserHeader"].as_str().or(user.as_str()).unwrap_or_default()
}

/// An outcome in a form that can be compared with `==`.
pub fn normalized(config: &Value, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Refused(code) => Outcome::Refused(code.clone()),
        Outcome::Passed { kind, headers } => {
            Outcome::Passed { kind: kind.clone(), headers: comparable(config, headers) }
        }
    }
}

/// Whether the filter's outcome equals the model's, or is stricter where that is permitted.
pub fn agree(config: &Value, model: &Verdict, filter: &Outcome) -> bool {
    let wanted = normalized(config, &model.outcome);
    let seen = normalized(config, filter);
    wanted == seen || matches!((&model.or_refused, filter), (Some(code), Outcome::Refused(seen)) if code == seen)
}

/// The user and the scopes that an outcome grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `None` if the request passes without an identity.
    pub user: Option<String>,
    /// `None` means no such header.
    pub scopes: Option<Vec<String>>,
}

/// The grant of an outcome, read from its headers as the Gateway would; `None` for a refusal.
///
/// # Panics
/// If a header appears that must not, or appears more than once.
pub fn grant(config: &Value, outcome: &Outcome) -> Option<Grant> {
    let Outcome::Passed { kind, headers } = outcome else { return None };
    let one = |wanted: &str| -> Option<String> {
        let mut copies = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let first = copies.next().map(|(_, value)| value.clone());
        assert!(copies.next().is_none(), "{wanted} appears twice: {headers:?}");
        first
    };
    let grant = Grant {
        user: one(upstream_user_header(config)),
        scopes: one("x-openclaw-scopes")
            .map(|list| list.split(',').map(str::trim).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()),
    };
    match kind {
        Kind::Identified(named) => assert_eq!(grant.user.as_ref(), Some(named), "a different user is stamped"),
        Kind::Anonymous | Kind::Delegated(_) => assert_eq!(grant.user, None, "a user without an identity"),
    }
    Some(grant)
}

/// The number of edits that an admitted request needs; `None` if it is refused.
pub fn edits(policy: &Policy, request: &Request) -> Option<usize> {
    let mut edits = 0;
    edits_of(policy, request, |_| edits += 1).then_some(edits)
}

/// Calls `look` with every edit of an admitted request; returns false if it is refused.
pub fn edits_of(policy: &Policy, request: &Request, mut look: impl FnMut(&Edit<'_>)) -> bool {
    let map = serialize(&request.headers);
    let judged = judged(policy, request, &map);
    let Ok(admission) = policy.decide(&judged) else { return false };
    let made = admission.stamp(policy, &judged, |edit| {
        look(&edit);
        Ok::<(), Infallible>(())
    });
    let Ok(()) = made;
    true
}

/// A socket that a policy let through.
pub struct Open<'r> {
    request: &'r Request,
    standing: Standing,
    handshake: Handshake,
}

impl<'r> Open<'r> {
    /// Opens a socket; `None` if the policy refuses it, or if it keeps no more handshakes of that size.
    pub fn by(policy: &Policy, request: &'r Request) -> Option<Self> {
        let map = serialize(&request.headers);
        let judged = judged(policy, request, &map);
        let decision = policy.decide(&judged);
        if decision.is_err() && policy.mode() == Mode::Enforce {
            return None;
        }
        let handshake = Handshake::keep(policy, &Headers::parse(&map).ok()?)?;
        Some(Self { request, standing: policy.standing(&judged, &decision), handshake })
    }

    /// What becomes of it under a policy, which sees only what was kept of the handshake.
    pub fn under(&self, policy: &Policy) -> Fate {
        let judged = judged(policy, self.request, self.handshake.map());
        match policy.recheck(&self.standing, &self.handshake, &judged) {
            Ok(()) => Fate::Stays,
            Err(ended) => Fate::Closed(ended.to_string()),
        }
    }
}

/// The code of a socket whose handshake lacks what a policy reads.
pub const UNCLEAR: &str = "trusted_proxy_socket_unclear";

/// What becomes of a socket under a second configuration, which the model must confirm; `None` if it is not opened
/// under the first one.
///
/// # Errors
/// The disagreement.
pub fn fate(old: &Value, new: &Value, request: &Request) -> Result<Option<Fate>, String> {
    let Some(open) = Open::by(&compiled(old).policy, request) else { return Ok(None) };
    let Some((wanted, or_closed)) = sockets::fate(old, new, request) else { return Ok(None) };
    let seen = open.under(&compiled(new).policy);
    let agrees = match &seen {
        Fate::Closed(code) if code == UNCLEAR => sockets::may_be_unclear(new, request),
        Fate::Closed(code) if or_closed.as_ref() == Some(code) => true,
        seen => *seen == wanted,
    };
    if agrees { Ok(Some(seen)) } else { Err(format!("model:  {wanted:?} or {or_closed:?}\nfilter: {seen:?}")) }
}
