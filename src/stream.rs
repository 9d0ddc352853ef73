//! One request: reads it, decides, and stamps headers or replies.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher as _, RandomState};

use policy::answer::reply::{Reply, websocket_key};
use policy::answer::report;
use policy::headers::serialize;
use policy::peer::socket_address;
use policy::{Admission, Edit, IdentitySource, Kind, Mode, Peer, PeerAddress, Policy, Reason, Refusal, Request};

use crate::host::{self, HostError};
use crate::metrics::Outcome;
use crate::plugin::Plugin;

/// Decides the request whose headers have arrived. Returns whether it continues. A request without a plugin is refused.
pub(crate) fn on_request_headers(plugin: Option<&Plugin>) -> bool {
    #[cfg(feature = "trap-for-tests")]
    crate::trap::if_asked();
    let stream = Stream { plugin };
    let done = match plugin.and_then(Plugin::policy) {
        Some(policy) => stream.handle(&policy),
        None => stream.refuse_blindly(Reason::ConfigMissing, true),
    };
    // If the refusal itself fails, the request does not continue: it waits until Envoy ends it.
    done.unwrap_or(false)
}

/// One request.
struct Stream<'p> {
    plugin: Option<&'p Plugin>,
}

impl Stream<'_> {
    fn count(&self, outcome: Outcome) {
        if let Some(plugin) = self.plugin {
            plugin.count(outcome);
        }
    }

    fn log(&self, reason: Reason, line: impl std::fmt::Display) {
        if let Some(plugin) = self.plugin {
            plugin.log.refusal(reason, line);
        }
    }

    /// Decides the request. Returns whether it continues. An error means that a necessary call to the host failed.
    fn handle(&self, policy: &Policy) -> Result<bool, HostError> {
        let peer_text = read_peer(policy.peer_address()).unwrap_or_default();
        let peer = match policy.peer_address() {
            PeerAddress::Connection => Peer::from_connection(&peer_text),
            PeerAddress::FilterState(_) => Peer::from_filter_state(&peer_text),
        };
        let map = host::request_headers().unwrap_or_default();
        let mut request = Request::from(peer);
        if policy.read_into(&mut request, &map).is_err() {
            return match policy.mode() {
                Mode::Enforce => self.refuse_blindly(Reason::NoRequest, policy.hides_reasons()),
                Mode::Report => Ok(self.report(Reason::NoRequest.into(), None)),
            };
        }
        if policy.needs_destination() {
            request.destination = host::property(b"destination\0address").ok().as_deref().and_then(socket_address);
        }
        let assertion = policy.assertion_path().map(|path| host::property(path).ok());
        if let Some(value) = &assertion {
            (request.assertion, request.claims_are_true) =
                policy.verified(value.as_deref(), || host::property(b"metadata").ok());
        }
        let identity = policy.identity_sources().iter().find_map(|source| Some((source, read_identity(source)?)));
        request.identity = identity.as_ref().map(|(source, value)| source.of(value));
        let line = |refusal| report::Line { refusal, request: &request, peer: &peer_text };
        match (policy.decide(&request), policy.mode()) {
            (Ok(admission), mode) => {
                if mode == Mode::Enforce && stamp(policy, &admission, &request).is_err() {
                    // Some headers may be changed already, so the request must not continue.
                    return self.refuse(policy, line(&Reason::NoRequest.into()));
                }
                self.count(match admission.kind() {
                    Kind::Identified(_) => Outcome::Admitted,
                    Kind::Anonymous => Outcome::Anonymous,
                    Kind::Delegated(refusal) => Outcome::Delegated(refusal.reason),
                });
                Ok(true)
            }
            (Err(refusal), Mode::Enforce) => self.refuse(policy, line(&refusal)),
            (Err(refusal), Mode::Report) => Ok(self.report(refusal, Some(line(&refusal)))),
        }
    }

    /// Reports to the operator that this request would be refused, and lets it pass unchanged.
    fn report(&self, refusal: Refusal<'_>, line: Option<report::Line<'_>>) -> bool {
        match line {
            Some(line) => self.log(refusal.reason, format_args!("would be {line}")),
            None => self.log(refusal.reason, format_args!("would be refused reason={refusal}")),
        }
        self.tell(&refusal, Outcome::WouldRefuse(refusal.reason));
        true
    }

    fn refuse(&self, policy: &Policy, line: report::Line<'_>) -> Result<bool, HostError> {
        let report::Line { refusal, request, .. } = line;
        let hide = policy.hides_reasons();
        let closed = if policy.closes_websockets() { Reply::websocket(refusal, request, hide) } else { None };
        let reply = closed.filter(|_| is_http1()).unwrap_or_else(|| Reply::http(refusal, Some(request), hide));
        self.log(refusal.reason, line);
        self.finish(refusal, &reply)
    }

    /// Refuses a request that cannot be read.
    fn refuse_blindly(&self, reason: Reason, hide_reason: bool) -> Result<bool, HostError> {
        let refusal = Refusal::from(reason);
        self.log(reason, format_args!("refused reason={refusal}"));
        self.finish(&refusal, &Reply::http(&refusal, None, hide_reason))
    }

    /// Reports the refusal to the operator, then replies to the client.
    fn finish(&self, refusal: &Refusal<'_>, reply: &Reply) -> Result<bool, HostError> {
        self.tell(refusal, Outcome::Refused(refusal.reason));
        host::send_local_response(reply.status, &serialize(&reply.headers), &reply.body)?;
        Ok(false)
    }

    /// Counts the outcome, and sets the values for access logs.
    fn tell(&self, refusal: &Refusal<'_>, outcome: Outcome) {
        self.count(outcome);
        // For access logs, as %FILTER_STATE(wasm.openclaw_trusted_proxy.reason:PLAIN)%. A failure is not an error.
        let _ = host::set_property(b"openclaw_trusted_proxy.reason", refusal.code().as_bytes());
        if let Some(user) = report::user(refusal) {
            let _ = host::set_property(b"openclaw_trusted_proxy.user", user.as_bytes());
        }
    }
}

/// The peer's identity, if this source has one. A certificate without a URI SAN has an empty one.
fn read_identity(source: &IdentitySource) -> Option<Vec<u8>> {
    const TRUE: &[u8] = &[1];
    match source {
        IdentitySource::Certificate => {
            let is_mutual = host::property(b"connection\0mtls").is_ok_and(|mutual| mutual == TRUE);
            is_mutual.then(|| host::property(b"connection\0uri_san_peer_certificate").unwrap_or_default())
        }
        IdentitySource::FilterState(key) => filter_state(key).ok(),
    }
}

fn read_peer(address: &PeerAddress) -> Result<Vec<u8>, HostError> {
    match address {
        PeerAddress::Connection => host::property(b"source\0address"),
        PeerAddress::FilterState(key) => filter_state(key),
    }
}

fn filter_state(key: &str) -> Result<Vec<u8>, HostError> {
    host::property(&[b"filter_state\0", key.as_bytes()].concat())
}

/// Whether the request is HTTP/1.1. Only then can a WebSocket's frames follow a local response: over HTTP/2 and HTTP/3,
/// it ends the stream.
fn is_http1() -> bool {
    host::property(b"request\0protocol").is_ok_and(|protocol| protocol == b"HTTP/1.1")
}

/// Changes the request's headers as the permit says.
fn stamp(policy: &Policy, admission: &Admission<'_>, request: &Request<'_>) -> Result<(), HostError> {
    admission.stamp(policy, request, |edit| match edit {
        Edit::Set { name, value } => host::set_request_header(name, value),
        Edit::Remove { name } => host::remove_request_header(name),
    })?;
    if request.is_websocket() && !request.fields.websocket_key.is_present() {
        // HTTP/2 and HTTP/3 have no key, but the Gateway requires one. Over HTTP/1.1, a missing key is the client's
        // error.
        let protocol = host::property(b"request\0protocol")?;
        if matches!(&*protocol, b"HTTP/2" | b"HTTP/3") {
            host::set_request_header(b"sec-websocket-key", websocket_key(nonce()).as_bytes())?;
        }
    }
    Ok(())
}

/// Sixteen bytes that differ from request to request. The key need not be secret: it only protects caches.
fn nonce() -> [u8; 16] {
    let half = |salt: u8| u128::from(RandomState::new().hash_one(salt));
    ((half(0) << 64) | half(1)).to_le_bytes()
}
