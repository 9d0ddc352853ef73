//! Attacks against a real Envoy with the shipped module: what is sent, byte by byte, what the client gets, and what the
//! upstream sees. The same attacks then run against the same Envoy without the filter, to show that they are real.
//!
//! `docs/attacks.md` is made from this. To make it anew: `ATTACKS_MD=write make attack`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod drive;
mod families;
mod frames;
mod place;
mod report;
mod suite;
mod upstream;
