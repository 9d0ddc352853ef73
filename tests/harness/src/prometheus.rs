//! A real Prometheus as a child process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::envoy::{Scratch, root};
use crate::kube::part;
use crate::wire;

const GET_IT: &str = "run `make observability`, which installs it";

/// A program of Prometheus: from the path, or else the one that `make observability` installs.
///
/// # Panics
/// If it is missing, with one line that says what to do.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([root().join(".tools/prometheus/usr/bin")]);
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: {GET_IT}"))
}

/// Runs `promtool` in a folder and returns its output, or the problems as an error.
///
/// # Panics
/// If it is missing.
pub fn promtool(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let scratch = Scratch::new("promtool");
    let output = Command::new(program("promtool"))
        .args(arguments)
        .current_dir(folder)
        // It keeps its series there.
        .env("TMPDIR", scratch.path())
        .output()
        .expect("promtool runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// A running Prometheus, ended when dropped.
pub struct Prometheus {
    _daemon: Daemon,
    address: SocketAddr,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts one on a free port of 127.0.0.1 and returns when it answers. The files that the configuration names are
    /// in the folder.
    ///
    /// # Panics
    /// If it does not start; the message has its output. If it is not installed; the message says what to do.
    pub fn start(scratch: Scratch, configuration: &str) -> Self {
        Self::run(&program("prometheus"), scratch, configuration)
    }

    /// Like [`Prometheus::start`], but the one that `make cluster-parts` builds, which finds the pods of a cluster.
    ///
    /// # Panics
    /// Like [`Prometheus::start`].
    pub fn in_cluster(scratch: Scratch, configuration: &str) -> Self {
        Self::run(&part("prometheus/prometheus"), scratch, configuration)
    }

    fn run(program: &Path, scratch: Scratch, configuration: &str) -> Self {
        let file = scratch.path().join("prometheus.yaml");
        fs::write(&file, configuration).expect("the configuration can be written");
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(scratch.path());
        let mut daemon = Daemon::start(&mut command, GET_IT);
        let address = daemon.line(|line| {
            let (_, told) = line.split_once("msg=\"Listening on\"")?;
            told.split_once("address=")?.1.trim().parse().ok()
        });
        daemon.line(|line| line.contains("Server is ready to receive web requests").then_some(()));
        Self { _daemon: daemon, address, _scratch: scratch }
    }

    /// Queries its HTTP API: `data` of the answer, or the error as text.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let response = wire::get::<&str, &str>(self.address, &path, &[]).map_err(|error| error.to_string())?;
        let mut json = response.json();
        if json["status"] == "success" { Ok(json["data"].take()) } else { Err(format!("{path}: {}", response.text())) }
    }
}

/// Encodes a value for a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
