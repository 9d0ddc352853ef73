//! The filter before a real Gateway, through a real Envoy, and against the Gateway's own functions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod agreement;
mod ceilings;
mod devices;
mod generate;
mod http2;
mod migration;
mod verdicts;

/// Past the capture of tests that pass: what was compared is worth some lines.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "{text}").unwrap();
}
