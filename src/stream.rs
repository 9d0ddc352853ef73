//! One request: reads it, decides, and stamps headers or replies.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;

use policy::answer::reply::{Reply, websocket_key};
use policy::answer::report;
use policy::headers::serialize;
use policy::sockets::{Handshake, Life};
use policy::{Admission, Edit, Kind, Mode, Policy, Reason, Refusal, Request};

use crate::facts::Facts;
use crate::host::{self, HostError, Id};
use crate::metrics::Outcome;
use crate::plugin::Plugin;

/// Decides the request whose headers have arrived. Returns whether it continues. A request without a plugin is refused.
pub(crate) fn on_request_headers(id: Id, plugin: Option<Rc<Plugin>>) -> bool {
    #[cfg(feature = "trap-for-tests")]
    crate::trap::if_asked();
    let plugin = plugin.as_deref();
    let stream = Stream { id, plugin };
    let done = match plugin.and_then(Plugin::policy_for_request) {
        Some(policy) => stream.handle(&policy),
        None => stream.refuse_blindly(Reason::ConfigMissing, true),
    };
    // If the refusal itself fails, the request does not continue: it waits until Envoy ends it.
    done.unwrap_or(false)
}

/// One request.
struct Stream<'p> {
    id: Id,
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
            plugin.log(reason, line);
        }
    }

    /// Decides the request. Returns whether it continues. An error means that a necessary call to the host failed.
    fn handle(&self, policy: &Policy) -> Result<bool, HostError> {
        let facts = Facts::read(policy);
        let map = host::request_headers().unwrap_or_default();
        let mut request = facts.request(policy);
        if policy.read_into(&mut request, &map).is_err() {
            return match policy.mode() {
                Mode::Enforce => self.refuse_blindly(Reason::NoRequest, policy.hides_reasons()),
                Mode::Report => Ok(self.report(Reason::NoRequest.into(), None)),
            };
        }
        facts.add_to(policy, &mut request);
        let decision = policy.decide(&request);
        if request.is_upgrade() {
            self.act_on_upgrade(policy, &request, &facts.peer, decision)
        } else {
            self.act_on(policy, &request, &facts.peer, &decision)
        }
    }

    /// Does what was decided. Returns whether the request continues.
    #[inline]
    fn act_on(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        peer: &[u8],
        decision: &Result<Admission<'_>, Refusal<'_>>,
    ) -> Result<bool, HostError> {
        let line = |refusal| report::Line { refusal, request, peer };
        match (decision, policy.mode()) {
            (Ok(admission), mode) => {
                if mode == Mode::Enforce && stamp(policy, admission, request).is_err() {
                    // Some headers may be changed already, so the request must not continue.
                    return self.refuse(policy, line(&Reason::NoRequest.into()));
                }
                if mode == Mode::Report {
                    leave_unchanged(policy, request);
                }
                self.count(match admission.kind() {
                    Kind::Identified(_) => Outcome::Admitted,
                    Kind::Anonymous => Outcome::Anonymous,
                    Kind::Delegated(refusal) => Outcome::Delegated(refusal.reason),
                });
                Ok(true)
            }
            (Err(refusal), Mode::Enforce) => self.refuse(policy, line(refusal)),
            (Err(refusal), Mode::Report) => {
                leave_unchanged(policy, request);
                Ok(self.report(*refusal, Some(line(refusal))))
            }
        }
    }

    /// The same for an upgrade, whose socket is watched from then on.
    #[cold]
    fn act_on_upgrade<'a>(
        &self,
        policy: &Policy,
        request: &Request<'a>,
        peer: &[u8],
        mut decision: Result<Admission<'a>, Refusal<'a>>,
    ) -> Result<bool, HostError> {
        let may_pass = decision.is_ok() || policy.mode() == Mode::Report;
        let Some(plugin) = self.plugin.filter(|_| may_pass) else {
            return self.act_on(policy, request, peer, &decision);
        };
        let mut life = Life { opened: host::seconds(), expires: None };
        if let Ok(admission) = &decision
            && policy.needs_expiry(admission)
        {
            life.expires = host::property(b"metadata").ok().and_then(|metadata| policy.expiry(&metadata));
            if let Err(refusal) = policy.check_expiry(admission, life.expires, life.opened) {
                decision = Err(refusal);
            }
        }
        let handshake =
            Handshake::keep(policy, &request.headers).filter(|handshake| plugin.has_room(handshake, self.id));
        if let (None, Ok(admission)) = (&handshake, &decision) {
            decision = Err(Refusal { user: admission.user(), ..Reason::SocketLimit.into() });
        }
        let goes_on = self.act_on(policy, request, peer, &decision)?;
        if goes_on {
            plugin.watch(self.id, handshake, policy.standing(request, &decision), life);
        }
        Ok(goes_on)
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

/// Whether the request is HTTP/1.1. Only then can a WebSocket's frames follow a local response: over HTTP/2 and HTTP/3,
/// it ends the stream.
fn is_http1() -> bool {
    host::property(b"request\0protocol").is_ok_and(|protocol| protocol == b"HTTP/1.1")
}

/// Changes the request's headers as the permit says, and leaves in filter state what the policy wants there.
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
    if policy.leaves_stamped() {
        policy.leave_stamped(request, Some(admission), leave)?;
    }
    Ok(())
}

/// Leaves in filter state what the request has already, because it goes on unchanged. A failure does not stop a request
/// in report mode.
fn leave_unchanged(policy: &Policy, request: &Request<'_>) {
    if policy.leaves_stamped() {
        let _ = policy.leave_stamped(request, None, leave);
    }
}

/// Leaves a property for native Envoy. Another filter may have left one before this one: the request goes on only if it
/// has the same value, as from a second plugin with this filter.
fn leave(property: &str, value: &[u8]) -> Result<(), HostError> {
    match host::property(&[b"filter_state\0wasm.", property.as_bytes()].concat()) {
        Ok(left) if left == value => Ok(()),
        Ok(_) => Err(HostError::UNEXPECTED),
        Err(_) => host::set_property(property.as_bytes(), value),
    }
}

/// Sixteen bytes that differ from request to request. The key need not be secret: it only protects caches.
fn nonce() -> [u8; 16] {
    let half = |salt: u8| u128::from(RandomState::new().hash_one(salt));
    ((half(0) << 64) | half(1)).to_le_bytes()
}
