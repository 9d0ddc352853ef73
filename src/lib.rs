//! A proxy-wasm filter for Envoy and Istio that guards an OpenClaw Gateway in trusted-proxy mode.
//!
//! This crate is the shell: it reads what the host provides, asks the policy, and stamps headers or replies. The rules
//! are in the crate `openclaw-trusted-proxy-policy`, which does not depend on proxy-wasm. The path of a request:
//!
//! ```text
//! Envoy ──> host ──> contexts ──> stream ──> policy ──> stream ──> host ──> Envoy
//!           exports  which plugin  reads      decides     stamps,   calls
//!                                  once                   or replies
//! ```
//!
//! Only `host` has `unsafe` code. The crate is empty for every target except `wasm32-wasip1`.
#![cfg(all(target_os = "wasi", target_env = "p1"))]

mod contexts;
mod facts;
mod gauge;
mod host;
mod log;
mod metrics;
mod plugin;
mod sockets;
mod stream;
mod timer;
#[cfg(feature = "trap-for-tests")]
mod trap;
mod versions;

#[allow(missing_docs, reason = "the macro makes a public function")]
mod entry {
    proxy_wasm::main! {{
        crate::contexts::start();
    }}
}
