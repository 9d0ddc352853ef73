//! A proxy-wasm filter for Envoy and Istio that guards an OpenClaw Gateway in trusted-proxy mode.
//!
//! A request walks through once, left to right:
//!
//! ```text
//! Envoy ── filter ───────────── policy ───────────── filter ── Envoy
//!          reads what the host   decides: pure,       stamps, or
//!          shows, once           no host, no I/O      replies
//! ```
//!
//! - [`config`]: the operator's words become an immutable policy, or every error at once.
//! - [`policy`]: the rules; runs anywhere.
//! - [`request`]: one request as borrowed bytes.
//! - [`filter`]: the only part that knows proxy-wasm.

pub mod config;
pub mod filter;
pub mod policy;
pub mod request;
mod text;

#[cfg(all(target_os = "wasi", target_env = "p1"))]
#[allow(missing_docs, reason = "the macro makes a public function")]
mod entry {
    proxy_wasm::main! {{
        crate::filter::start();
    }}
}
