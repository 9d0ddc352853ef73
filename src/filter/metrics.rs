//! Counters of decisions, and a gauge for the policy in force (contract, section 7).
//!
//! Envoy takes labels out of a metric's name: `stats_config.stats_tags` of the configurations in `envoy/`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::host::{self, MetricKind};
use crate::policy::refusal::Reason;

const PREFIX: &str = "openclaw_trusted_proxy";

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Admitted,
    Anonymous,
    Delegated(Reason),
    Refused(Reason),
    WouldRefuse(Reason),
}

/// The ids under which the host knows the counters. A counter that could not be defined is not counted: that must not
/// cost a request.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    decisions: BTreeMap<Outcome, u32>,
}

impl Metrics {
    /// Defines every counter, so that each shows as 0 before it counts.
    pub(super) fn define() -> Self {
        let reasons = Reason::ALL.iter().copied();
        let outcomes = [Outcome::Admitted, Outcome::Anonymous]
            .into_iter()
            .chain(reasons.clone().map(Outcome::Refused))
            .chain(reasons.clone().map(Outcome::WouldRefuse))
            .chain(reasons.filter(|reason| reason.is_delegable()).map(Outcome::Delegated));
        let define = |outcome| Some((outcome, host::define_metric(MetricKind::Counter, &name(outcome)).ok()?));
        Self { decisions: outcomes.filter_map(define).collect() }
    }

    /// Counts one decision.
    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(id) = self.decisions.get(&outcome) {
            let _ = host::increment_metric(*id);
        }
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

/// Shows which policy is in force.
pub(super) fn show_policy(fingerprint: u64) {
    if let Ok(id) = host::define_metric(MetricKind::Gauge, &format!("{PREFIX}.policy_fingerprint")) {
        let _ = host::record_metric(id, fingerprint);
    }
}
