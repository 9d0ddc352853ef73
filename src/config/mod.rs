//! The operator's words become an immutable [`Policy`](crate::policy::Policy), or every error at once.
#![forbid(unsafe_code)]

mod audit;
mod compile;
mod headers;
mod json;
mod peers;
mod proxies;
mod reader;
mod scopes;

pub use audit::{Finding, Severity};
pub use compile::{Compiled, compile};
pub use reader::{ConfigError, ConfigErrors};
