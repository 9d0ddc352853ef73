//! Plugins: each is configured, and serves its requests.
#![forbid(unsafe_code)]

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use proxy_wasm::traits::{Context, RootContext};

use super::{contexts, host, log as envoy_log, metrics};
use crate::config::{Severity, compile};
use crate::policy::Policy;

/// How long counts wait that are told once in a while: admitted requests, and refusals left out of the log.
pub(super) const TICK_MILLISECONDS: u32 = 1_000;

/// What the requests of one plugin share.
#[derive(Debug, Default)]
pub(super) struct Plugin {
    policy: RefCell<Option<Rc<Policy>>>,
    /// Defined at the first configuration that is good.
    metrics: OnceCell<metrics::Metrics>,
    pub(super) log: envoy_log::Limits,
}

impl Plugin {
    /// The policy in force; none before the first good configuration.
    pub(super) fn policy(&self) -> Option<Rc<Policy>> {
        self.policy.try_borrow().ok()?.clone()
    }

    /// Counts one decision.
    pub(super) fn count(&self, outcome: metrics::Outcome) {
        if let Some(metrics) = self.metrics.get() {
            metrics.count(outcome);
        }
    }
}

/// The SDK's root context.
struct Root(Rc<Plugin>);

/// Called once per VM.
pub(crate) fn start() {
    envoy_log::install();
    proxy_wasm::set_root_context(|id| {
        let plugin = Rc::<Plugin>::default();
        contexts::add_plugin(id, Rc::clone(&plugin));
        Box::new(Root(plugin))
    });
}

impl Context for Root {}

impl RootContext for Root {
    /// False keeps the policy that is in force, if there is one.
    fn on_configure(&mut self, size: usize) -> bool {
        let Ok(json) = host::plugin_configuration(size) else {
            log::error!("configuration: the host does not hand it over");
            return false;
        };
        match compile(&json) {
            Ok(compiled) => {
                for finding in &compiled.findings {
                    let level = if finding.severity == Severity::Info { log::Level::Info } else { log::Level::Warn };
                    log::log!(level, "{finding}");
                }
                let Ok(mut policy) = self.0.policy.try_borrow_mut() else { return false };
                let mode = compiled.policy.mode();
                *policy = Some(Rc::new(compiled.policy));
                self.0.metrics.get_or_init(metrics::Metrics::define);
                metrics::show_policy(compiled.fingerprint, mode);
                true
            }
            Err(errors) => {
                for error in errors.as_slice() {
                    log::error!("{error}");
                }
                log::error!("configuration refused: {} error(s)", errors.as_slice().len());
                false
            }
        }
    }

    fn on_tick(&mut self) {
        self.0.log.tick();
        if let Some(metrics) = self.0.metrics.get() {
            metrics.tick();
        }
        // Until there is something to tell again.
        let _ = host::set_tick_period(0);
    }
}
