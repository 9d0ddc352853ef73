//! A cluster of network namespaces: a real API server on one of them, and pods on the others. Each pod has its own
//! address, names and files, and runs the programs of its containers.

#[cfg(feature = "clients")]
pub mod envoy_gateway;
pub mod istio;
pub mod kubelet;

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{io, thread};

use serde_json::{Value, json};

use crate::envoy::Scratch;
use crate::kube::{ApiServer, part};
use crate::netns::Network;
use crate::wire;

/// The host of the API server, and its address.
pub const KUBERNETES: (&str, Ipv4Addr) = ("kubernetes", Ipv4Addr::new(10, 44, 0, 1));

/// A program in a file system of its own: all folders of this machine, with some replaced.
const IN_ROOT: &str = r#"
root=$1 && shift
mount -t tmpfs none "$root"
for path in /*; do
    if test -L "$path"; then cp -P "$path" "$root$path"
    elif test -d "$path"; then mkdir "$root$path" && mount --rbind "$path" "$root$path"
    fi
done
while test "$1" != --; do
    if test -d "$1"; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}"; test -e "$root$2" || : >"$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
exec chroot "$root" sh -c 'cd "$0" && shift && exec "$@"' "$PWD" "$@"
"#;

/// A Kubernetes API server, and hosts that reach it and each other.
pub struct Cluster {
    /// The hosts. Programs of a pod are started on its host.
    pub network: Network,
    /// The API server.
    pub api: ApiServer,
    names: PathBuf,
    scratch: Scratch,
}

impl Cluster {
    /// Starts an API server, and hosts with these addresses. In every pod these names mean these addresses. The
    /// calling thread, which the servers end with, is then on the API server's host.
    ///
    /// # Panics
    /// If the caller is not root, or a part is missing; the message says what to do.
    pub fn start(hosts: &[(&str, &[&str])], names: &[(&str, &str)]) -> Self {
        let (host, address) = KUBERNETES;
        let own = format!("{address}/16");
        let network = Network::new(&[&[(host, &[own.as_str()][..])], hosts].concat());
        network.enter(host);
        let api = ApiServer::start(address.into());
        let scratch = Scratch::new("cluster");
        let file = scratch.path().join("hosts");
        let lines: Vec<String> = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        fs::write(&file, format!("127.0.0.1 localhost\n{}", lines.concat())).expect("the folder can be written to");
        Self { network, api, names: file, scratch }
    }

    /// Makes the API server reachable at a listener of another network namespace, and writes a kubeconfig for it.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// # Panics
    /// If the listener has no address.
    pub fn publish(&self, listener: TcpListener, kubeconfig: &Path) -> Result<(), String> {
        let [inside, outside] =
            [SocketAddr::new(KUBERNETES.1.into(), 6443), listener.local_addr().expect("it listens")];
        let problem = |error| format!("cannot write {}: {error}", kubeconfig.display());
        let text = fs::read_to_string(self.api.kubeconfig()).map_err(problem)?;
        fs::create_dir_all(kubeconfig.parent().unwrap_or(kubeconfig)).map_err(problem)?;
        fs::write(kubeconfig, text.replace(&inside.to_string(), &outside.to_string())).map_err(problem)?;
        // The thread inherits the caller's namespace, and ends with the program.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(inside) else { continue };
                for (mut from, mut to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))]
                    .into_iter()
                    .filter_map(|(from, to)| Some((from.ok()?, to.ok()?)))
                {
                    thread::spawn(move || {
                        drop(io::copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Write));
                    });
                }
            }
        });
        Ok(())
    }

    /// A folder of this run.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(&folder).expect("the folder can be made");
        folder
    }

    /// A program in a file system where folders and files of this machine (first) stand at other places (second). To
    /// put something below a folder that this machine has, replace that folder. The program ends with the thread that
    /// starts it.
    ///
    /// # Panics
    /// If the folder cannot be made.
    pub fn program(&self, name: &str, program: &Path, mounts: &[(&Path, &str)]) -> Command {
        let root = self.folder(&format!("{name}-root"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", IN_ROOT, "sh"]).arg(root);
        for (from, to) in mounts {
            command.arg(from).arg(to);
        }
        // Last, because a mount may replace /etc.
        command.arg(&self.names).arg("/etc/hosts");
        command.arg("--").arg(program);
        command
    }

    /// What a server on a host's loopback answers to a GET, such as Envoy's administration.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn on_loopback(&self, host: &str, port: u16, path: &str) -> String {
        let asked = self.network.on(host, || wire::get::<&str, &str>(([127, 0, 0, 1], port).into(), path, &[]));
        asked.unwrap_or_else(|error| panic!("{path} at {host}:{port}: {error}")).text()
    }

    /// Creates a namespace with labels, unless it exists.
    pub fn namespace(&self, name: &str, labels: &Value) {
        self.api.apply_all(&[json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        })]);
    }

    /// Creates a pod that runs at an address. No kubelet starts it: the test runs its programs.
    pub fn pod(&self, object: &Value, address: IpAddr) {
        self.api.apply_all(std::slice::from_ref(object));
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or("default");
        self.api.put_status(
            "pod",
            text("namespace"),
            text("name"),
            &json!({
                "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            }),
        );
    }

    /// A token of a service account for an audience, as a kubelet would mount it.
    ///
    /// # Panics
    /// If the account does not exist.
    pub fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        let token = ["create", "token", account, "--namespace", namespace, "--audience", audience];
        self.api.must(&token).trim().to_owned()
    }
}

/// What a release of a chart creates, as `helm template` writes it. helm keeps its files in the folder.
fn helm(release: &str, chart: &Path, namespace: &str, folder: &Path, arguments: &[&OsStr]) -> String {
    let own = ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"];
    let output = Command::new(part("helm/helm"))
        .args(["template", release])
        .arg(chart)
        .args(["--namespace", namespace])
        .args(arguments)
        .envs(own.map(|name| (name, folder)))
        .output()
        .expect("helm runs");
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("helm writes text")
}
