//! The only room that knows proxy-wasm: plugins, their requests, and what all requests of a plugin share.

#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod contexts;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod host;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod log;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod metrics;
mod page;
pub mod reply;
pub mod report;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod root;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod stream;
#[cfg(all(target_os = "wasi", target_env = "p1", feature = "trap-for-tests"))]
mod trap;

#[cfg(all(target_os = "wasi", target_env = "p1"))]
use root::Plugin;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
pub(crate) use root::start;
