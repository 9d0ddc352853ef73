//! Programs of this repository: the command-line tool, and those in `tools/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::envoy::{build_folder, root};

/// The command-line tool, built once per process from the current sources, where cargo builds the tests.
///
/// # Panics
/// If it cannot be built; cargo has then printed why.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build("openclaw-trusted-proxy-cli", "openclaw-trusted-proxy"))
}

/// A program in `tools/`, built from the current sources, where cargo builds the tests.
///
/// # Panics
/// If it cannot be built; cargo has then printed why.
pub fn built(name: &str) -> PathBuf {
    build(&format!("openclaw-trusted-proxy-{name}"), name)
}

/// A program of a package, built from the current sources, where cargo builds the tests.
///
/// # Panics
/// If it cannot be built; cargo has then printed why.
pub fn build(package: &str, program: &str) -> PathBuf {
    let target = build_folder();
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--package", package, "--bin", program, "--target-dir"])
        .arg(&target)
        .current_dir(root())
        .status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{program} was not built: {status:?}");
    target.join("debug").join(program)
}
