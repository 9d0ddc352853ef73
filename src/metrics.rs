//! Counters of decisions, and gauges for the policy in force (contract, section 7).
//!
//! Envoy takes labels out of a metric's name: `stats_config.stats_tags` of the configurations in `envoy/`.
#![forbid(unsafe_code)]

use std::cell::Cell;

use policy::{Mode, Reason};

use crate::host::{self, MetricKind, TICK_MILLISECONDS};

const PREFIX: &str = "openclaw_trusted_proxy";

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Admitted,
    Anonymous,
    Delegated(Reason),
    Refused(Reason),
    WouldRefuse(Reason),
}

/// The ids under which the host knows the counters. A counter that could not be defined is not counted: that must not
/// cost a request.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    admitted: Option<u32>,
    /// Admitted requests that the host was not told of yet. Telling it takes a thirtieth of all that such a request
    /// costs, so it is told once a tick; everything that an operator is paged for is counted at once.
    admitted_since: Cell<i64>,
    anonymous: Option<u32>,
    delegated: ByReason,
    refused: ByReason,
    would_refuse: ByReason,
}

/// One id for each reason.
type ByReason = [Option<u32>; Reason::ALL.len()];

impl Metrics {
    /// Defines every counter, so that each shows as 0 before it counts.
    pub(crate) fn define() -> Self {
        let mut metrics = Self::default();
        let outcomes =
            [Outcome::Admitted, Outcome::Anonymous].into_iter().chain(Reason::ALL.iter().flat_map(|&reason| {
                let delegated = reason.is_delegable().then_some(Outcome::Delegated(reason));
                [Outcome::Refused(reason), Outcome::WouldRefuse(reason)].into_iter().chain(delegated)
            }));
        for outcome in outcomes {
            if let Some(id) = metrics.id(outcome) {
                *id = host::define_metric(MetricKind::Counter, &name(outcome)).ok();
            }
        }
        metrics
    }

    fn id(&mut self, outcome: Outcome) -> Option<&mut Option<u32>> {
        match outcome {
            Outcome::Admitted => Some(&mut self.admitted),
            Outcome::Anonymous => Some(&mut self.anonymous),
            Outcome::Delegated(reason) => self.delegated.get_mut(reason as usize),
            Outcome::Refused(reason) => self.refused.get_mut(reason as usize),
            Outcome::WouldRefuse(reason) => self.would_refuse.get_mut(reason as usize),
        }
    }

    /// Counts one decision.
    pub(crate) fn count(&self, outcome: Outcome) {
        let id = match outcome {
            Outcome::Admitted => return self.count_admitted(),
            Outcome::Anonymous => self.anonymous,
            Outcome::Delegated(reason) => self.delegated.get(reason as usize).copied().flatten(),
            Outcome::Refused(reason) => self.refused.get(reason as usize).copied().flatten(),
            Outcome::WouldRefuse(reason) => self.would_refuse.get(reason as usize).copied().flatten(),
        };
        if let Some(id) = id {
            let _ = host::increment_metric(id, 1);
        }
    }

    fn count_admitted(&self) {
        let since = self.admitted_since.replace(self.admitted_since.get().saturating_add(1));
        if since == 0 && host::set_tick_period(TICK_MILLISECONDS).is_err() {
            self.tick();
        }
    }

    /// Tells the host what it was not told yet.
    pub(crate) fn tick(&self) {
        let since = self.admitted_since.take();
        if let Some(id) = self.admitted.filter(|_| since > 0) {
            let _ = host::increment_metric(id, since);
        }
    }
}

/// A plugin that ends has counted all of its requests.
impl Drop for Metrics {
    fn drop(&mut self) {
        self.tick();
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

/// Shows which policy is in force, and whether it is enforced.
pub(crate) fn show_policy(fingerprint: u64, mode: Mode) {
    for (name, value) in [("policy_fingerprint", fingerprint), ("policy_enforced", u64::from(mode == Mode::Enforce))] {
        if let Ok(id) = host::define_metric(MetricKind::Gauge, &format!("{PREFIX}.{name}")) {
            let _ = host::record_metric(id, value);
        }
    }
}
