//! A filter written with the SDK in the usual way. Its plugin configuration selects what it does with a request:
//!
//! - `noop`: nothing;
//! - `calls`: the host calls of an admitted request (the peer's address, all headers, one header written), with the
//!   SDK's own functions, and without a decision.
#![allow(missing_docs, reason = "the macro makes a public function")]
#![allow(clippy::disallowed_methods, reason = "this measures the SDK's functions")]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin { calls: false }));
}}

struct Plugin {
    calls: bool,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        self.calls = self.get_plugin_configuration().as_deref() == Some(b"calls");
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { calls: self.calls }))
    }
}

struct Stream {
    calls: bool,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.calls {
            let peer = self.get_property(vec!["source", "address"]);
            let headers = self.get_http_request_headers_bytes();
            // Uses the results, so that the calls cannot be optimized away.
            if peer.is_none() || headers.is_empty() {
                return Action::Pause;
            }
            self.set_http_request_header("x-openclaw-scopes", Some("operator.write"));
        }
        Action::Continue
    }
}
