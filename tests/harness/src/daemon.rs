//! Third-party servers as child processes.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::envoy::eventually;

/// A running server. Dropping this ends it together with its own child processes; if this process dies first, the
/// system ends it. Its output is kept, and shown if the test fails.
///
/// The system's signal is bound to the thread that started the server: when that thread ends, so does the server.
pub struct Daemon {
    name: String,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts a server that stays in the foreground.
    ///
    /// # Panics
    /// If it is not installed; the message says how to get it.
    pub fn start(command: &mut Command, how_to_get_it: &str) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        end_with_this_thread(command);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} is missing ({error}): {how_to_get_it}"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        let keep = |output| {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        };
        let readers = outputs.into_iter().flatten().map(keep).collect();
        Self { name, child, said, readers }
    }

    /// Its output so far, by line.
    pub fn lines(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line in which `find` finds something, and returns that.
    ///
    /// # Panics
    /// If no such line comes.
    pub fn line<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let mut found = None;
        eventually(&format!("a line of {}", self.name), || {
            found = self.lines().iter().find_map(|line| find(line));
            found.is_some() || self.has_ended()
        });
        found.unwrap_or_else(|| panic!("{} ended without writing the expected line", self.name))
    }

    /// Waits until it accepts connections.
    ///
    /// # Panics
    /// If it does not accept any.
    pub fn listens(&mut self, address: SocketAddr) {
        eventually(&format!("{} at {address}", self.name), || {
            assert!(!self.has_ended(), "{} ended", self.name);
            TcpStream::connect(address).is_ok()
        });
    }

    /// Asks it to end, as Ctrl-C or a service manager would.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(20));
        }
        self.signal(Signal::KILL);
        drop(self.child.wait());
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        if thread::panicking() {
            let lines = self.lines();
            eprintln!("--- the end of the output of {}:", self.name);
            for line in lines.iter().skip(lines.len().saturating_sub(40)) {
                eprintln!("{}", line.chars().take(300).collect::<String>());
            }
            eprintln!("---");
        }
    }
}

/// Makes a child process die with the thread that starts it, and lead its own process group. Ctrl-C in a terminal
/// then reaches only this program, which ends the child itself.
pub(crate) fn end_with_this_thread(command: &mut Command) {
    command.process_group(0);
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    // SAFETY: between fork and exec only async-signal-safe functions may run; this is one system call.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}
