//! The only room that knows proxy-wasm: plugins, their requests, and what all requests of a plugin share.

#[cfg(target_os = "wasi")]
mod contexts;
#[cfg(target_os = "wasi")]
mod host;
#[cfg(target_os = "wasi")]
mod log;
#[cfg(target_os = "wasi")]
mod metrics;
mod page;
pub mod reply;
pub mod report;
#[cfg(target_os = "wasi")]
mod root;
#[cfg(target_os = "wasi")]
mod stream;
#[cfg(all(target_os = "wasi", feature = "trap-for-tests"))]
mod trap;

#[cfg(target_os = "wasi")]
use root::Plugin;
#[cfg(target_os = "wasi")]
pub(crate) use root::start;
