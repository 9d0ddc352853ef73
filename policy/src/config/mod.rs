//! Compiles a configuration into an immutable [`Policy`](crate::policy::Policy), or reports all of its errors at once.

mod assertion;
mod audit;
mod compile;
mod fingerprint;
pub mod gateway_keys;
mod header_names;
mod headers;
mod identities;
mod json;
pub mod keys;
mod login;
mod peers;
mod proxies;
mod reader;
mod releases;
pub mod schema;
mod scopes;
mod shapes;
mod sockets;

pub use audit::{Finding, Severity};
pub use compile::{Compiled, compile};
pub use proxies::read_proxy;
pub use reader::{ConfigError, ConfigErrors, MOST_ERRORS, nearest};
pub use releases::Release;
pub use shapes::Key;
