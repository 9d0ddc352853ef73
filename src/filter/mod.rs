//! The only room that knows proxy-wasm: plugins, their requests, and what all requests of a plugin share.

#[cfg(target_family = "wasm")]
mod contexts;
#[cfg(target_family = "wasm")]
mod host;
#[cfg(target_family = "wasm")]
mod log;
#[cfg(target_family = "wasm")]
mod metrics;
mod page;
pub mod reply;
pub mod report;
#[cfg(target_family = "wasm")]
mod root;
#[cfg(target_family = "wasm")]
mod stream;
#[cfg(all(target_family = "wasm", feature = "trap-for-tests"))]
mod trap;

#[cfg(target_family = "wasm")]
use root::Plugin;
#[cfg(target_family = "wasm")]
pub(crate) use root::start;
