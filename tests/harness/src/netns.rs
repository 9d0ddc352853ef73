//! Hosts on one network: network namespaces, so that tests can use exactly the addresses in a document.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Hosts that reach each other and nothing else. They vanish with the last process, thread or socket in them.
pub struct Network {
    hosts: Vec<(String, File)>,
}

impl Network {
    /// Creates hosts by name, each with 127.0.0.1 and with these addresses on its one interface.
    ///
    /// # Panics
    /// If that is not possible here, with one line that says what is needed.
    pub fn new(hosts: &[(&str, &[&str])]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run this test as root (sudo -E make test-gateway)"
        );
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let run = format!("claw{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let names: Vec<String> = (0..=hosts.len()).map(|index| format!("{run}-{index}")).collect();
        // The names are removed at once, at the end or on a panic. Open files, threads and processes keep the
        // namespaces.
        let _names = Names(&names);
        for name in &names {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        let Some((switch, named)) = names.split_last() else { unreachable!("there is one more name than hosts") };
        ip(&["-n", switch, "link", "add", "wire", "type", "bridge"]);
        ip(&["-n", switch, "link", "set", "wire", "up"]);
        let mut made = Vec::new();
        for (index, ((host, addresses), name)) in hosts.iter().zip(named).enumerate() {
            let port = format!("port{index}");
            ip(&["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", switch]);
            ip(&["-n", switch, "link", "set", &port, "master", "wire", "up"]);
            for address in *addresses {
                ip(&["-n", name, "address", "add", address, "dev", "eth0"]);
            }
            ip(&["-n", name, "link", "set", "eth0", "up"]);
            ip(&["-n", name, "route", "add", "default", "dev", "eth0"]);
            let file = File::open(format!("/run/netns/{name}")).expect("the namespace was just made");
            made.push(((*host).to_owned(), file));
        }
        // No process runs at the switch, so a name would not keep it. Its interfaces do: each is the other end of one
        // in a host.
        made.push((String::new(), File::open(format!("/run/netns/{switch}")).expect("the namespace was just made")));
        Self { hosts: made }
    }

    /// Moves the calling thread to a host permanently, together with everything it starts from now on.
    ///
    /// # Panics
    /// If the host does not exist.
    pub fn enter(&self, host: &str) {
        let (_, file) = self.hosts.iter().find(|(name, _)| name == host).unwrap_or_else(|| panic!("no host `{host}`"));
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may change namespaces");
    }

    /// Runs a function on a host. A connection that is opened there stays on that host, wherever it is used.
    ///
    /// # Panics
    /// If the host does not exist, or if the function panics.
    pub fn on<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let done = scope.spawn(|| {
                self.enter(host);
                work()
            });
            done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

struct Names<'a>(&'a [String]);

impl Drop for Names<'_> {
    fn drop(&mut self) {
        for name in self.0 {
            drop(Command::new("ip").args(["netns", "del", name]).output());
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .unwrap_or_else(|_| panic!("`ip` is missing, which creates network namespaces: apt-get install iproute2"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "network namespaces do not work here: `ip {}` says {} (a container needs the capabilities NET_ADMIN and SYS_ADMIN)",
        arguments.join(" "),
        said.trim()
    );
}
