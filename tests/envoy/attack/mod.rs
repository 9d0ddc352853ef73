//! Attacks against a real Envoy with the shipped module: what is sent, byte by byte, what the client gets, and what the
//! upstream sees. The same attacks then run against the same Envoy without the filter, to show that they are real.
//!
//! `tests/envoy/attack/RESULTS.md` is made from this. To make it anew: `ATTACKS_MD=write make attack`.

mod drive;
mod families;
mod frames;
mod place;
mod report;
mod suite;
mod upstream;
