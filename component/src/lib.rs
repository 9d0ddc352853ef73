//! The rules as a WebAssembly component, with the interface `wit/gate.wit`. It does not use proxy-wasm, and imports
//! nothing.

mod judge;

/// The bindings that `wit-bindgen` generates.
#[allow(unsafe_code, missing_docs, reason = "generated")]
#[allow(clippy::all, clippy::restriction, clippy::arithmetic_side_effects, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "trusted-proxy", path: "wit" });
    use super::Component;
    export!(Component with_types_in self);
}

use bindings::exports::openclaw::trusted_proxy::gate;

use policy::config::{Compiled, Severity, compile};

struct Component;

impl gate::Guest for Component {
    type Policy = Policy;

    fn compile(configuration: Vec<u8>) -> Result<gate::Policy, Vec<gate::Problem>> {
        match compile(&configuration) {
            Ok(compiled) => Ok(gate::Policy::new(Policy(compiled))),
            Err(errors) => {
                let problem = |error: &policy::config::ConfigError| gate::Problem {
                    path: error.path.clone(),
                    problem: error.problem.clone(),
                    remedy: error.remedy.clone(),
                };
                Err(errors.as_slice().iter().map(problem).collect())
            }
        }
    }
}

struct Policy(Compiled);

impl gate::GuestPolicy for Policy {
    fn findings(&self) -> Vec<gate::Finding> {
        let finding = |finding: &policy::config::Finding| gate::Finding {
            id: finding.id.to_owned(),
            severity: match finding.severity {
                Severity::Info => gate::Severity::Info,
                Severity::Warn => gate::Severity::Warn,
                Severity::Critical => gate::Severity::Critical,
            },
            text: finding.text.clone(),
        };
        self.0.findings.iter().map(finding).collect()
    }

    fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    fn decide(&self, request: gate::Request) -> Result<gate::Verdict, String> {
        judge::judge(&self.0.policy, &request)
    }
}
