//! The operator's words become an immutable [`Policy`](crate::policy::Policy), or every error at once.
#![forbid(unsafe_code)]

mod audit;
mod compile;
mod headers;
mod json;
pub mod keys;
mod peers;
mod proxies;
mod reader;
#[cfg(not(target_family = "wasm"))]
pub mod schema;
mod scopes;

pub use audit::{Finding, Severity};
pub use compile::{Compiled, compile};
pub use reader::{ConfigError, ConfigErrors};
