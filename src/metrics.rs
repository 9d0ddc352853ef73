//! Counters of decisions and of closed sockets, and gauges for the policy in force (contract, section 7).
//!
//! Envoy extracts labels from a metric's name: see `stats_config.stats_tags` in the configurations in `envoy/`.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use policy::sockets::Ended;
use policy::{Mode, Reason};

use crate::gauge;
use crate::host::{self, MetricKind};

const PREFIX: &str = "openclaw_trusted_proxy";

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Admitted,
    Anonymous,
    Delegated(Reason),
    Refused(Reason),
    WouldRefuse(Reason),
}

/// The counts of one plugin.
#[derive(Debug)]
pub(crate) struct Metrics {
    ids: Rc<Ids>,
    /// Admitted requests that are not reported to the host yet. A report costs a thirtieth of such a request, so there
    /// is one for each tick. Outcomes that operators are paged for are reported immediately.
    admitted_since: Cell<i64>,
}

/// The host's ids of all metrics. One that could not be defined is skipped, so that no request fails because of it.
///
/// The plugins of a VM share them. Envoy keeps an id for each definition, also of the same name, as long as the VM
/// lives: with one for each policy, its memory would grow with every edit.
#[derive(Debug, Default)]
struct Ids {
    admitted: Option<u32>,
    anonymous: Option<u32>,
    delegated: ByReason,
    refused: ByReason,
    would_refuse: ByReason,
    /// The sockets that were closed, by [`Ended::index`].
    closed: Vec<Option<u32>>,
    /// The sockets that would be closed if the policy were enforced.
    would_close: Vec<Option<u32>>,
    open_sockets: Option<u32>,
    policy_fingerprint: Option<u32>,
    policy_enforced: Option<u32>,
}

thread_local! {
    static IDS: OnceCell<Rc<Ids>> = const { OnceCell::new() };
}

/// One id for each reason.
type ByReason = [Option<u32>; Reason::ALL.len()];

impl Ids {
    /// Defines every metric, so that each one shows as 0 from the start.
    fn define() -> Self {
        let mut ids = Self::default();
        let outcomes =
            [Outcome::Admitted, Outcome::Anonymous].into_iter().chain(Reason::ALL.iter().flat_map(|&reason| {
                let delegated = reason.is_delegable().then_some(Outcome::Delegated(reason));
                [Outcome::Refused(reason), Outcome::WouldRefuse(reason)].into_iter().chain(delegated)
            }));
        for outcome in outcomes {
            if let Some(id) = ids.of(outcome) {
                *id = host::define_metric(MetricKind::Counter, &name(outcome)).ok();
            }
        }
        let endings = |result| {
            let name = |ended: Ended<'_>| format!("{PREFIX}.sockets.result={result}.reason={}", ended.code());
            Ended::all().map(|ended| host::define_metric(MetricKind::Counter, &name(ended)).ok()).collect()
        };
        (ids.closed, ids.would_close) = (endings("closed"), endings("would_close"));
        let gauge = |name| host::define_metric(MetricKind::Gauge, &format!("{PREFIX}.{name}")).ok();
        gauge::make_room();
        ids.open_sockets = gauge("open_sockets");
        (ids.policy_fingerprint, ids.policy_enforced) = (gauge("policy_fingerprint"), gauge("policy_enforced"));
        ids
    }

    fn of(&mut self, outcome: Outcome) -> Option<&mut Option<u32>> {
        match outcome {
            Outcome::Admitted => Some(&mut self.admitted),
            Outcome::Anonymous => Some(&mut self.anonymous),
            Outcome::Delegated(reason) => self.delegated.get_mut(reason as usize),
            Outcome::Refused(reason) => self.refused.get_mut(reason as usize),
            Outcome::WouldRefuse(reason) => self.would_refuse.get_mut(reason as usize),
        }
    }
}

impl Metrics {
    /// The metrics of a plugin of this VM.
    pub(crate) fn of_plugin() -> Self {
        let ids = IDS.with(|ids| Rc::clone(ids.get_or_init(|| Rc::new(Ids::define()))));
        Self { ids, admitted_since: Cell::new(0) }
    }

    /// Counts a socket that is closed, or would be.
    pub(crate) fn count_closing(&self, ended: &Ended<'_>, mode: Mode) {
        let counters = if mode == Mode::Enforce { &self.ids.closed } else { &self.ids.would_close };
        if let Some(id) = counters.get(ended.index()).copied().flatten() {
            let _ = host::increment_metric(id, 1);
        }
    }

    /// Counts one decision. Returns whether the timer has to report it.
    pub(crate) fn count(&self, outcome: Outcome) -> bool {
        let id = match outcome {
            Outcome::Admitted => {
                let since = self.admitted_since.replace(self.admitted_since.get().saturating_add(1));
                return since == 0;
            }
            Outcome::Anonymous => self.ids.anonymous,
            Outcome::Delegated(reason) => self.ids.delegated.get(reason as usize).copied().flatten(),
            Outcome::Refused(reason) => self.ids.refused.get(reason as usize).copied().flatten(),
            Outcome::WouldRefuse(reason) => self.ids.would_refuse.get(reason as usize).copied().flatten(),
        };
        if let Some(id) = id {
            let _ = host::increment_metric(id, 1);
        }
        false
    }

    /// Reports the admitted requests that are not reported yet.
    pub(crate) fn report_admitted(&self) {
        let since = self.admitted_since.take();
        if let Some(id) = self.ids.admitted.filter(|_| since > 0) {
            let _ = host::increment_metric(id, since);
        }
    }

    /// Sets the gauges that show which policy is in force, and whether it is enforced.
    pub(crate) fn show_policy(&self, fingerprint: u64, mode: Mode) {
        let values = [fingerprint, u64::from(mode == Mode::Enforce)];
        for (id, value) in [self.ids.policy_fingerprint, self.ids.policy_enforced].into_iter().zip(values) {
            if let Some(id) = id {
                let _ = host::record_metric(id, value);
            }
        }
    }

    /// Shows the number of open sockets.
    pub(crate) fn show_open_sockets(&self, now: u64) {
        if let Some(id) = self.ids.open_sockets {
            gauge::update(id, now);
        }
    }
}

/// A plugin that ends reports the rest of its requests.
impl Drop for Metrics {
    fn drop(&mut self) {
        self.report_admitted();
    }
}

fn name(outcome: Outcome) -> String {
    let (result, reason) = match outcome {
        Outcome::Admitted => ("admitted", None),
        Outcome::Anonymous => ("anonymous", None),
        Outcome::Delegated(reason) => ("delegated", Some(reason)),
        Outcome::Refused(reason) => ("refused", Some(reason)),
        Outcome::WouldRefuse(reason) => ("would_refuse", Some(reason)),
    };
    let reason = reason.map(|reason| format!(".reason={}", reason.code())).unwrap_or_default();
    format!("{PREFIX}.decisions.result={result}{reason}")
}
