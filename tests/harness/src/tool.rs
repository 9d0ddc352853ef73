//! The command-line tool, as a program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::envoy::root;

/// The program, built once per process from the current sources, where cargo builds the tests.
///
/// # Panics
/// If it cannot be built; cargo has then printed why.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a test is a file");
        // The tests are in `<target>/debug/deps`.
        let target = test.ancestors().nth(3).expect("a test is below a target folder");
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--package", "openclaw-trusted-proxy-cli", "--target-dir"])
            .arg(target)
            .current_dir(root())
            .status();
        assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "the tool was not built: {status:?}");
        target.join("debug/openclaw-trusted-proxy")
    })
}
