//! The manifests in `envoy/` beyond this repository's own word: a real kubectl does what the pages show, and the packages that the
//! schemas in `tests/data/crds` are from still say the same. `make test-manifests` gets what this needs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod kubectl;
mod packages;
