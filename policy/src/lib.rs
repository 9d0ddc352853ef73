//! The rules that guard an OpenClaw Gateway in trusted-proxy mode, as pure functions: no host, no I/O, no clock.
//!
//! The filter in `src/` runs them inside Envoy. The command-line tool, the component, the fuzz targets and the
//! tests run the same code natively.
//!
//! ```text
//! plugin configuration ──> config::compile ──> Policy
//!
//! peer, header map ──> Policy::read ──> Request ──> Policy::decide ──┬─> Admission::stamp ──> edits of the headers
//!                                                                    └─> Refusal ──> answer::reply
//! ```
//!
//! Two laws come before all rules. The policy never admits what the Gateway would refuse, and it refuses whatever is
//! unclear. The rules are those of the contract, in its order: [`Rule`] lists them.
//!
//! ```
//! use openclaw_trusted_proxy_policy::config::compile;
//! use openclaw_trusted_proxy_policy::headers::serialize;
//! use openclaw_trusted_proxy_policy::{Edit, Peer, Reason};
//!
//! let configuration = br#"{"gateway": {
//!     "trustedProxies": ["10.0.0.1"],
//!     "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["nick"]}}
//! }}"#;
//! let policy = compile(configuration)?.policy;
//!
//! // A host provides the peer, and the headers as proxy-wasm serializes them.
//! let peer = Peer::from_connection(b"10.0.0.1:47110");
//! let map = serialize(&[
//!     (":path", "/"),
//!     ("x-forwarded-for", "203.0.113.7"),
//!     ("x-user", "nick"),
//!     ("remote-user", "eve"),
//! ]);
//! let request = policy.read(peer, &map)?;
//!
//! // A request that passes gets a permit, which carries what is stamped.
//! let admission = policy.decide(&request).map_err(|refusal| refusal.to_string())?;
//! let mut edits = Vec::new();
//! admission.stamp(&policy, &request, |edit| {
//!     edits.push(match edit {
//!         Edit::Set { name, value } => format!("{}: {}", name.escape_ascii(), value.escape_ascii()),
//!         Edit::Remove { name } => format!("no {}", name.escape_ascii()),
//!     });
//!     Ok::<_, std::convert::Infallible>(())
//! })?;
//! assert_eq!(edits, ["no remote-user", "x-openclaw-scopes: operator.write"]);
//!
//! // Any other request is refused with a reason.
//! let stranger = policy.read(Peer::from_connection(b"192.0.2.1:47110"), &map)?;
//! assert_eq!(policy.decide(&stranger).unwrap_err().reason, Reason::UntrustedSource);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod admission;
pub mod answer;
pub mod byte_map;
pub mod ceilings;
pub mod cidrs;
pub mod config;
mod cookies;
mod decide;
mod explain;
mod grant;
mod granted;
pub mod headers;
mod idna;
mod metadata;
pub mod names;
pub mod origin;
mod outcome;
pub mod path;
pub mod peer;
mod policy;
mod reason;
pub mod request;
mod rule;
mod rules;
pub mod scopes;
mod secrets;
pub mod sockets;
mod stamp;
pub mod stamped;
pub mod text;

pub use admission::{Admission, Kind};
pub use explain::Step;
pub use granted::ScopeStep;
pub use outcome::Verdict;
pub use peer::Peer;
pub use policy::{
    Assertion, IdentitySource, Mode, PeerAddress, Policy, TrustedPeers, UseAssertion, Users, WebSocketRefusal,
};
pub use reason::{Reason, Refusal};
pub use request::{Identity, Request};
pub use rule::Rule;
pub use stamp::Edit;
