//! The root context: configures, and makes a context for each request.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::stream::Stream;
use super::{host, log as envoy_log, metrics};
use crate::config::{Severity, compile};
use crate::policy::Policy;

/// The policy in force. A request keeps the one under which it came.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) policy: Policy,
}

/// What outlives policies.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Defined at the first configuration that is good.
    pub(super) metrics: OnceCell<metrics::Metrics>,
    pub(super) log: envoy_log::Limits,
}

impl State {
    /// Counts one decision.
    pub(super) fn count(&self, outcome: metrics::Outcome) {
        if let Some(metrics) = self.metrics.get() {
            metrics.count(outcome);
        }
    }
}

struct Root {
    state: Rc<State>,
    in_force: Option<Rc<InForce>>,
}

/// Called once per VM.
pub(crate) fn start() {
    envoy_log::install();
    proxy_wasm::set_root_context(|_| Box::new(Root { state: Rc::default(), in_force: None }));
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
                self.state.metrics.get_or_init(metrics::Metrics::define);
                metrics::show_policy(compiled.fingerprint);
                self.in_force = Some(Rc::new(InForce { policy: compiled.policy }));
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
        self.state.log.tick();
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { state: Rc::clone(&self.state), in_force: self.in_force.clone() }))
    }
}
