//! A plugin: the policy, counters, log limits and open sockets that its requests share.
#![forbid(unsafe_code)]

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;

use policy::answer::report;
use policy::config::{Severity, compile};
use policy::sockets::{Handshake, Life, Standing};
use policy::{Policy, Reason, stamped};

use crate::host::{self, Id};
use crate::log::{self as envoy_log, Event};
use crate::metrics;
use crate::sockets::{Closing, Judge, Socket, Sockets};
use crate::timer::Timer;
use crate::versions::{Version, Versions};

/// How often the timer fires while there are counts to report, lines that were left out, or open sockets.
pub(crate) const TICK_MILLISECONDS: u32 = 1_000;

/// How often the timer fires while open sockets wait for their decision.
const RECHECK_MILLISECONDS: u32 = 10;

/// The state that the requests of one plugin share.
#[derive(Debug, Default)]
pub(crate) struct Plugin {
    version: RefCell<Option<Version>>,
    /// Known from the first configuration on.
    versions: OnceCell<Rc<Versions>>,
    /// Defined by the first valid configuration.
    metrics: OnceCell<metrics::Metrics>,
    log: envoy_log::Limits,
    sockets: Sockets,
    pub(crate) timer: Timer,
}

impl Plugin {
    /// The version of the policy. `None` before the first valid configuration.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version.try_borrow().ok()?.clone()
    }

    /// The policy for a request that has arrived.
    pub(crate) fn policy_for_request(&self) -> Option<Rc<Policy>> {
        let version = self.version.try_borrow().ok()?;
        let version = version.as_ref()?;
        if let Some(versions) = self.versions.get() {
            versions.note_request(version);
        }
        version.policy.clone()
    }

    /// Whether these two are versions of one policy.
    pub(crate) fn is_version_of(&self, other: &Self) -> bool {
        self.versions.get().zip(other.versions.get()).is_some_and(|(a, b)| Rc::ptr_eq(a, b))
    }

    /// Counts one decision.
    pub(crate) fn count(&self, outcome: metrics::Outcome) {
        if let Some(metrics) = self.metrics.get()
            && metrics.count(outcome)
            && !self.timer.at_least_every(TICK_MILLISECONDS)
        {
            metrics.report_admitted();
        }
    }

    /// Logs one refusal.
    pub(crate) fn log(&self, reason: Reason, line: impl fmt::Display) {
        if self.log.warn(Event::Refusal(reason), line) {
            self.timer.at_least_every(TICK_MILLISECONDS);
        }
    }

    /// Whether there is room for a socket with this handshake, which is the request that the host's calls act for.
    pub(crate) fn has_room(&self, handshake: &Handshake, request: Id) -> bool {
        self.sockets.has_room(handshake, request)
    }

    /// Watches a socket that was let through.
    pub(crate) fn watch(&self, id: Id, handshake: Option<Handshake>, standing: Standing, life: Life) {
        let Some(versions) = self.versions.get() else { return };
        let (_, number) = versions.in_force();
        // The version in force decides it as soon as it can, if that is not this plugin's.
        let is_decided = self.version().is_some_and(|version| versions.is_in_force(&version));
        let decided_by = if is_decided { number } else { number.wrapping_sub(1) };
        self.sockets.add(Socket { id, handshake, standing, life, decided_by, is_reported: false });
        self.timer.at_least_every(TICK_MILLISECONDS);
    }

    /// Reads a configuration of `size` bytes from the host. Returns false, and keeps the policy in force, if it is
    /// invalid.
    pub(crate) fn configure(&self, size: usize) -> bool {
        let Ok(json) = host::plugin_configuration(size) else {
            log::error!("configuration: the host did not provide it");
            return false;
        };
        match compile(&json) {
            Ok(compiled) => {
                for finding in &compiled.findings {
                    let level = if finding.severity == Severity::Info { log::Level::Info } else { log::Level::Warn };
                    log::log!(level, "{finding}");
                }
                if compiled.policy.leaves_stamped() {
                    // An error means that it is declared already, or that this host has no such function.
                    for property in [stamped::USER, stamped::SCOPES] {
                        let _ = host::declare_fixed(property);
                    }
                }
                let Ok(mut version) = self.version.try_borrow_mut() else { return false };
                let mode = compiled.policy.mode();
                let new = Version::new(&json, compiled.policy);
                self.metrics.get_or_init(metrics::Metrics::of_plugin).show_policy(compiled.fingerprint, mode);
                self.versions.get_or_init(Versions::of_plugin).configured(&new);
                *version = Some(new);
                true
            }
            Err(errors) => {
                for error in errors.as_slice() {
                    log::error!("{error}");
                }
                log::error!("configuration refused: {} error(s)", errors.count());
                false
            }
        }
    }

    /// Reports what was counted since the last tick, and decides open sockets. `siblings` are the versions of the same
    /// policy that plugins of this VM have, including this one's. Returns the period that the timer needs; 0 if it can
    /// stop.
    pub(crate) fn tick(&self, id: Id, siblings: &[Version]) -> u32 {
        let Some(metrics) = self.metrics.get() else { return 0 };
        metrics.report_admitted();
        let now = host::seconds();
        let some_wait = !self.sockets.is_empty() && self.decide_sockets(metrics, siblings, now);
        host::act_for(id);
        metrics.show_open_sockets(now);
        let has_lines = self.log.tick();
        match (some_wait, has_lines || !self.sockets.is_empty()) {
            (true, _) => RECHECK_MILLISECONDS,
            (false, true) => TICK_MILLISECONDS,
            (false, false) => 0,
        }
    }

    /// Decides some of the open sockets again. Returns whether others wait.
    fn decide_sockets(&self, metrics: &metrics::Metrics, siblings: &[Version], now: u64) -> bool {
        let Some(versions) = self.versions.get() else { return false };
        versions.follow(siblings);
        let (Some(version), number) = versions.in_force() else { return false };
        let judge = Judge { policy: version.policy.as_deref(), number };
        self.sockets.look(&judge, now, |closing| self.report(metrics, closing))
    }

    fn report(&self, metrics: &metrics::Metrics, closing: &Closing<'_>) {
        let Closing { socket, ended, mode, peer, age } = closing;
        metrics.count_closing(ended, *mode);
        let line =
            report::Socket { ended, mode: *mode, standing: &socket.standing, path: socket.path(), peer, age: *age };
        if self.log.warn(Event::Closing(*ended), line) {
            self.timer.at_least_every(TICK_MILLISECONDS);
        }
    }
}
