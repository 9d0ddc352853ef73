//! The module as OCI images, in the two forms of the Wasm image specification that Istio and Envoy Gateway accept,
//! each with its bill of materials as a referrer.
//!
//! Nothing depends on the machine or the time: the same module, bill and revision give the same bytes, and therefore
//! the same digests.

pub mod images;
pub mod layout;

pub use images::Release;
