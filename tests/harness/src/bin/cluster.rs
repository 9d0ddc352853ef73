//! The program behind `make cluster`: a Kubernetes API server and a control plane, as the tests use them, until Ctrl-C.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use harness::cluster::Cluster;
use harness::cluster::envoy_gateway::EnvoyGateway;
use harness::cluster::istio::{self, Mesh};
use harness::envoy::root;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The port of the API server on this machine's loopback.
const PORT: u16 = 6443;

fn main() -> ExitCode {
    let plane = std::env::var("CONTROL_PLANE").ok().filter(|name| !name.is_empty());
    let plane = plane.as_deref().unwrap_or("istio");
    match run(plane) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(plane: &str) -> Result<(), String> {
    // Before this thread moves to a host of the cluster, which has a loopback of its own.
    let listener = TcpListener::bind(("127.0.0.1", PORT))
        .map_err(|error| format!("cannot listen on 127.0.0.1:{PORT}: {error}; end the cluster that already runs"))?;
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    let file = root().join(".run/cluster/kubeconfig");
    eprintln!("starting Kubernetes and {plane}, half a minute");
    let mut wait = |cluster: &Cluster| {
        cluster.publish(listener.try_clone().map_err(|error| error.to_string())?, &file)?;
        tell(plane, &file);
        signals.forever().next();
        eprintln!("ending the cluster");
        Ok(())
    };
    match plane {
        "istio" => {
            let cluster = istio::cluster();
            let _mesh = Mesh::start(&cluster);
            wait(&cluster)
        }
        "envoy-gateway" => wait(&EnvoyGateway::start().cluster),
        other => Err(format!("CONTROL_PLANE is {other:?}; write istio or envoy-gateway")),
    }
}

fn tell(plane: &str, file: &Path) {
    println!("Kubernetes with {plane} runs. There is no kubelet: a pod that you create is not started.\n");
    println!("  export KUBECONFIG={}", file.display());
    println!("  .tools/kubectl-cli/bin/kubectl get all --all-namespaces\n");
    println!("Ctrl-C ends it.");
}
