//! `make cluster`: it leaves a cluster running, with a kubeconfig, and takes everything down at the end.

use std::fs;
use std::process::{Command, Stdio};

use harness::daemon::Daemon;
use harness::envoy::{eventually, root};
use harness::kube::kubectls;
use harness::tool;

/// The command lines of all processes that have this text in theirs.
fn processes(part: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    lines.filter(|line| line.contains(part)).collect()
}

#[test]
fn the_driver_leaves_a_cluster_running_and_takes_it_down() {
    let program = tool::build("openclaw-trusted-proxy-harness", "cluster");
    let refused = Command::new(&program).env("CONTROL_PLANE", "nomad").output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("CONTROL_PLANE is \"nomad\"; write istio or envoy-gateway"), "{said}");

    let mut driver = Daemon::start(Command::new(program).env("CONTROL_PLANE", "istio"), "cargo builds it");
    let kubeconfig = driver.line(|line| line.trim().strip_prefix("export KUBECONFIG=").map(str::to_owned));
    let [kubectl, _] = kubectls();
    let mut ask = Command::new(kubectl);
    ask.args(["get", "pods", "--all-namespaces", "--kubeconfig", &kubeconfig]).stdin(Stdio::null());
    let output = ask.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("istiod-0"), "{said} {}", String::from_utf8_lossy(&output.stderr));

    // Its files are in a folder of the build, which the command lines of its processes name.
    let server = processes("--etcd-servers=").into_iter().find(|line| line.contains("kube-apiserver"));
    let server = server.expect("the API server runs");
    let folder = server.split("--cert-dir=").nth(1).unwrap().split("/certificates").next().unwrap().to_owned();
    assert!(folder.starts_with(root().to_str().unwrap()) || folder.contains("/tmp/"), "{folder}");
    driver.terminate();
    eventually("everything to end", || processes(&folder).is_empty());
    eventually("the files to be removed", || !fs::exists(&folder).unwrap());
}
