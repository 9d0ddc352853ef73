//! An Envoy with one worker on one core, whose CPU time is measured in nanoseconds.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::wire;
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;

/// The core that only Envoy uses; the load comes from [`LOAD_CORE`].
pub const ENVOY_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// A running Envoy. Dropping this ends it; if this program dies first, the system ends it.
pub struct Envoy {
    child: Child,
    admin: SocketAddr,
    listeners: Vec<(String, SocketAddr)>,
}

impl Envoy {
    /// Starts it with one worker, and waits until it is ready.
    pub fn start(bootstrap: &Value, folder: &Path) -> Result<Self, String> {
        Self::start_with(bootstrap, folder, 1)
    }

    /// Starts it with this many workers, all on its one core: only their CPU time is measured.
    pub fn start_with(bootstrap: &Value, folder: &Path, workers: usize) -> Result<Self, String> {
        let program = harness::envoy::program()?;
        let (file, admin_file, log_file) =
            (folder.join("envoy.json"), folder.join("admin-address"), folder.join("envoy.log"));
        let problem = |what: &Path| {
            let what = what.display().to_string();
            move |error: std::io::Error| format!("{what}: {error}")
        };
        drop(fs::remove_file(&admin_file));
        fs::write(&file, bootstrap.to_string()).map_err(problem(&file))?;
        let log = File::create(&log_file).map_err(problem(&log_file))?;
        let mut command = Command::new(&program);
        command
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", &workers.to_string(), "-l", "warning", "--disable-hot-restart"])
            .arg("--admin-address-path")
            .arg(&admin_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(problem(&log_file))?)
            .stderr(log);
        // SAFETY: between fork and exec only async-signal-safe functions may run; these are two system calls.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(pin(ENVOY_CORE)?)
            });
        }
        let child = command.spawn().map_err(problem(&program))?;
        let mut this = Self { child, admin: SocketAddr::from(([127, 0, 0, 1], 0)), listeners: Vec::new() };
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = this.child.try_wait() {
                let said = fs::read_to_string(&log_file).unwrap_or_default();
                return Err(format!("Envoy ended with {status}:\n{}", tail(&said)));
            }
            if let Some(admin) = fs::read_to_string(&admin_file).ok().and_then(|text| text.trim().parse().ok()) {
                this.admin = admin;
                if this.ask("/ready").is_ok_and(|text| text.starts_with("LIVE")) {
                    break;
                }
            }
            if begun.elapsed() > Duration::from_secs(180) {
                let said = fs::read_to_string(&log_file).unwrap_or_default();
                return Err(format!("Envoy was not ready after three minutes:\n{}", tail(&said)));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let listeners: Value = serde_json::from_str(&this.ask("/listeners?format=json")?).unwrap_or_default();
        for one in listeners["listener_statuses"].as_array().into_iter().flatten() {
            let port = one["local_address"]["socket_address"]["port_value"].as_u64().unwrap_or_default();
            let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap_or_default()));
            this.listeners.push((one["name"].as_str().unwrap_or_default().to_owned(), address));
        }
        Ok(this)
    }

    /// Queries the administration interface.
    pub fn ask(&self, path: &str) -> Result<String, String> {
        let response = wire::get::<&str, &str>(self.admin, path, &[]).map_err(|error| format!("{path}: {error}"))?;
        Ok(response.text())
    }

    /// A counter; 0 if it does not exist.
    pub fn stat(&self, name: &str) -> u64 {
        let text = self.ask(&format!("/stats?filter=^{name}$")).unwrap_or_default();
        text.trim().rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> Result<SocketAddr, String> {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        found.map(|(_, address)| *address).ok_or_else(|| format!("Envoy has no listener `{listener}`"))
    }

    /// The CPU time of all its threads so far, in microseconds.
    pub fn cpu(&self) -> Result<f64, String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).map_err(|error| error.to_string())?;
        let mut nanoseconds = 0_u64;
        for task in tasks.flatten() {
            // A thread may end in the meantime.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanoseconds += text.split(' ').next().and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
        }
        if nanoseconds == 0 {
            return Err(
                "the kernel does not report the CPU time of Envoy's threads (/proc/PID/task/*/schedstat)".to_owned()
            );
        }
        Ok(nanoseconds as f64 / 1e3)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Binds the calling thread to a core.
pub fn pin(core: usize) -> rustix::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(20))
        .map(|line| line.chars().take(600).collect::<String>() + "\n")
        .collect()
}
