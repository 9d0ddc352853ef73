//! What `render` prints, run on a real Envoy; and what `replay` says of the log that this Envoy writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[cfg(feature = "gateway")]
mod gateway;
mod render;
mod replay;
mod site;
