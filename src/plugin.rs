//! A plugin: the policy, counters and log limits that its requests share.
#![forbid(unsafe_code)]

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use policy::Policy;
use policy::config::{Severity, compile};

use crate::{host, log as envoy_log, metrics};

/// The state that the requests of one plugin share.
#[derive(Debug, Default)]
pub(crate) struct Plugin {
    policy: RefCell<Option<Rc<Policy>>>,
    /// Defined by the first valid configuration.
    metrics: OnceCell<metrics::Metrics>,
    pub(crate) log: envoy_log::Limits,
}

impl Plugin {
    /// The policy in force. `None` before the first valid configuration.
    pub(crate) fn policy(&self) -> Option<Rc<Policy>> {
        self.policy.try_borrow().ok()?.clone()
    }

    /// Counts one decision.
    pub(crate) fn count(&self, outcome: metrics::Outcome) {
        if let Some(metrics) = self.metrics.get() {
            metrics.count(outcome);
        }
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
                let Ok(mut policy) = self.policy.try_borrow_mut() else { return false };
                let mode = compiled.policy.mode();
                *policy = Some(Rc::new(compiled.policy));
                self.metrics.get_or_init(metrics::Metrics::define);
                metrics::show_policy(compiled.fingerprint, mode);
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

    /// Reports the counts since the last tick, and stops the timer.
    pub(crate) fn tick(&self) {
        self.log.tick();
        if let Some(metrics) = self.metrics.get() {
            metrics.tick();
        }
        // The timer starts again with the next count.
        let _ = host::set_tick_period(0);
    }
}
