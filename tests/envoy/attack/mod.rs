//! Attacks against a real Envoy with the release module: the bytes that are sent, the client's response, and what the
//! upstream sees. The same attacks also run against the same Envoy without the filter, to show that they are real.
//!
//! `tests/envoy/attack/RESULTS.md` is generated from this. To regenerate it: `ATTACKS_MD=write make attack`.

mod drive;
mod families;
mod frames;
pub(crate) mod http3;
mod place;
mod policies;
mod report;
mod suite;
mod upstream;
