//! The files of `envoy/observability/` with a real Prometheus that asks real Envoys.
//!
//! `docs/observability.svg` is drawn from this. To draw it again, with a longer run: `PICTURE=write make
//! observability`.

mod fleet;
mod live;
mod picture;
mod rules;

use std::path::PathBuf;

/// The folder with the files for operators.
fn folder() -> PathBuf {
    harness::envoy::root().join("envoy/observability")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("envoy/observability/{name}: {error}"))
}
