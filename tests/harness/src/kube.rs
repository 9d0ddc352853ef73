//! A real Kubernetes API server with its etcd, and kubectl. There are no controllers and no kubelet: what they would
//! create, a test creates.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, iter};

use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::envoy::{Scratch, eventually, free_port, root};
use crate::tool;

/// The token of the administrator in the kubeconfig. The server listens for this run only.
const TOKEN: &str = "administrator";

/// A file that `make cluster-parts` builds, by its path in `.tools/cluster`.
///
/// # Panics
/// If it is missing, with one line that says what to do.
pub fn part(path: &str) -> PathBuf {
    let file = root().join(".tools/cluster").join(path);
    assert!(file.exists(), "{path} is missing: run `make cluster-parts`, which builds it");
    file
}

/// The kubectls that `make cluster-parts` installs: the newest first, then Debian's, which is old.
///
/// # Panics
/// If one is missing, with one line that says what to do.
pub fn kubectls() -> [PathBuf; 2] {
    ["kubectl-cli/bin/kubectl", "kubectl/usr/bin/kubectl"].map(|path| {
        let file = root().join(".tools").join(path);
        assert!(file.is_file(), ".tools/{path} is missing: run `make cluster-parts`, which installs it");
        file
    })
}

/// A server and its etcd, until it is dropped.
pub struct ApiServer {
    _server: Daemon,
    _etcd: Daemon,
    kubectl: PathBuf,
    scratch: Scratch,
}

impl ApiServer {
    /// Starts a server at an address of the calling thread's network namespace, with the custom resources of Istio,
    /// Gateway API and Envoy Gateway.
    ///
    /// # Panics
    /// If a part is missing; the message says what to do. If it does not start.
    pub fn start(address: IpAddr) -> Self {
        let scratch = Scratch::new("kubernetes");
        let folder = scratch.path();
        let [clients, peers] = [(), ()].map(|()| format!("http://127.0.0.1:{}", free_port()));
        // Nothing of this survives a crash, and nothing has to.
        let etcd = Daemon::start(
            Command::new(part("etcd/server"))
                .args(["--unsafe-no-fsync", "--log-level", "warn", "--data-dir"])
                .arg(folder.join("etcd"))
                .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
                .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
                .args(["--initial-cluster", &format!("default={peers}")]),
            "run `make cluster-parts`, which builds it",
        );
        let key = KeyPair::generate().expect("a key");
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            fs::write(&file, text).expect("the folder can be written to");
            file
        };
        let private = write("accounts.key", &key.serialize_pem());
        let public = write("accounts.pub", &key.public_key_pem());
        let tokens = write("tokens.csv", &format!("{TOKEN},admin,admin,system:masters\n"));
        let port = if address.is_loopback() { free_port() } else { 6443 };
        let flag = |name: &str, value: &dyn AsRef<OsStr>| {
            let mut flag = OsStr::new(&format!("--{name}=")).to_owned();
            flag.push(value);
            flag
        };
        let mut server = Daemon::start(
            Command::new(part("kubernetes/kube-apiserver"))
                .arg(flag("etcd-servers", &clients))
                .args([flag("bind-address", &address.to_string()), flag("secure-port", &port.to_string())])
                .args([flag("cert-dir", &folder.join("certificates")), flag("token-auth-file", &tokens)])
                .args([flag("service-account-key-file", &public), flag("service-account-signing-key-file", &private)])
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .arg("--api-audiences=istio-ca,https://kubernetes.default.svc")
                .args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"])
                // Pods of the tests name accounts before anybody creates their tokens.
                .arg("--disable-admission-plugins=ServiceAccount")
                // Nothing here forwards the addresses of services, so webhooks are called at the endpoints.
                .arg("--enable-aggregator-routing=true")
                // Without this the server has to be reachable at an address that is not loopback.
                .arg("--endpoint-reconciler-type=none")
                .args(["--advertise-address=192.0.2.1", "--v=0"]),
            "run `make cluster-parts`, which builds it",
        );
        server.listens(SocketAddr::new(address, port));
        let [kubectl, _] = kubectls();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", SocketAddr::new(address, port)), "insecure-skip-tls-verify": true,
            }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        write("kubeconfig", &config.to_string());
        let this = Self { _server: server, _etcd: etcd, kubectl, scratch };
        eventually("the Kubernetes API server", || this.kubectl(&["get", "--raw", "/readyz"]).is_ok());
        let crds = part("crds");
        let crds = crds.to_str().expect("a path in UTF-8");
        this.must(&["apply", "--server-side", "--recursive", "-f", crds]);
        this.must(&["wait", "--for=condition=Established", "--all", "--timeout=60s", "crd"]);
        this
    }

    /// A server on loopback.
    ///
    /// # Panics
    /// Like [`ApiServer::start`].
    pub fn local() -> Self {
        Self::start(Ipv4Addr::LOCALHOST.into())
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("kubeconfig")
    }

    /// Makes a command find this server through kubectl. Files that kubectl keeps go into this folder.
    fn attend<'s>(&self, command: &'s mut Command, folder: &Path) -> &'s mut Command {
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", folder).env("TMPDIR", folder)
    }

    /// Runs commands of a page in a folder, in a shell that has this kubectl and the command-line tool, and stops at
    /// the first that fails. Returns what they said.
    ///
    /// # Errors
    /// If one fails: what they said.
    ///
    /// # Panics
    /// If the tool cannot be built; cargo has then printed why.
    pub fn run(&self, kubectl: &Path, folder: &Path, commands: &str) -> Result<String, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let first = [tool::program(), kubectl].map(|program| program.parent().expect("a folder").to_owned());
        let path = env::join_paths(first.into_iter().chain(env::split_paths(&path))).expect("folders");
        let mut shell = Command::new("sh");
        shell.args(["-euc", commands]).current_dir(folder).env("PATH", path);
        let Output { status, stdout, stderr } = self.attend(&mut shell, folder).output().expect("a shell");
        let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        if status.success() { Ok(said) } else { Err(said) }
    }

    /// The output of a kubectl command, or what it says if it fails.
    ///
    /// # Errors
    /// If kubectl fails: what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(arguments, "")
    }

    /// Like [`ApiServer::kubectl`], with this standard input.
    ///
    /// # Errors
    /// If kubectl fails: what it said.
    ///
    /// # Panics
    /// If kubectl does not run.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.kubectl);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.attend(&mut command, self.scratch.path());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        // A kubectl that fails early does not read it.
        drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
        let Output { status, stdout, stderr } = child.wait_with_output().expect("kubectl ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if status.success() { Ok(text(&stdout)) } else { Err(text(&stdout) + &text(&stderr)) }
    }

    /// Like [`ApiServer::kubectl`], for commands that must succeed.
    ///
    /// # Panics
    /// If the command fails, with what it said.
    pub fn must(&self, arguments: &[&str]) -> String {
        self.kubectl(arguments).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}"))
    }

    /// Like [`ApiServer::must`], with this standard input.
    ///
    /// # Panics
    /// If the command fails, with what it said.
    pub fn must_with(&self, arguments: &[&str], input: &str) -> String {
        self.kubectl_with(arguments, input).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}\n{input}"))
    }

    /// Applies the documents of a YAML or JSON text.
    ///
    /// # Panics
    /// If the server refuses one, with its reason.
    pub fn apply(&self, text: &str) {
        let applied = self.kubectl_with(&["apply", "-f", "-"], text);
        drop(applied.unwrap_or_else(|said| panic!("kubectl apply: {said}\n{text}")));
    }

    /// Applies objects.
    ///
    /// # Panics
    /// If the server refuses one, with its reason.
    pub fn apply_all(&self, objects: &[Value]) {
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    }

    /// An object as the server has it; null if there is none. The namespace is ignored for objects without one.
    ///
    /// # Panics
    /// If the server does not know the kind.
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let found = self.must(&["get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output", "json"]);
        serde_json::from_str(&found).unwrap_or_default()
    }

    /// Merges into the status of an object, as a controller or a kubelet would.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn put_status(&self, kind: &str, namespace: &str, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let patched = ["--namespace", namespace, "--subresource=status", "--type=merge", "--patch", &patch];
        self.must(&iter::once("patch").chain([kind, name]).chain(patched).collect::<Vec<_>>());
    }
}
