//! Pods with their own addresses, and iptables in front of the sidecar, as in Istio: network namespaces on one
//! network.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use harness::echo::Echo;
use harness::envoy::Envoy;
use harness::gateway::lay;
use harness::manifests::{self, of_kind};
use harness::netns::Network;
use harness::parts;
use harness::wire;
use serde_json::{Value, json};

use super::istiod::{Discovery, application, inbound, patch, resource};
use super::mesh::{Mesh, Outcome, UPGRADE, admitted, ask, ask_both, refused};
use super::{NICK, SIDECAR};

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 44, 0, 3));
const INGRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 44, 0, 2));
const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 44, 0, 9));

/// One application binds to loopback, and the Sidecar of `sidecar.yaml` makes it reachable for Envoy only. The other
/// binds to the pod's address, and Istio connects to it without a Sidecar. The filter of the second one checks
/// addresses.
const ON_LOOPBACK: u16 = 18789;
const ON_LAN: u16 = 18790;

#[test]
fn capture_leads_all_traffic_through_the_filter_and_a_port_exclusion_leads_around_it() {
    let network =
        Network::new(&[("pod", &["10.44.0.3/24"]), ("ingress", &["10.44.0.2/24"]), ("attacker", &["10.44.0.9/24"])]);
    let mut mesh = Mesh::new();
    // Each Envoy lives as long as this thread, which ends in the pod's namespace.
    let mut workload = |host: &str, address: IpAddr| {
        network.enter(host);
        mesh.address = address;
        let certificate = if address == INGRESS { mesh.ingress.clone() } else { mesh.other.clone() };
        let ways =
            [ON_LOOPBACK, ON_LAN].map(|port| mesh.way(&port.to_string(), &certificate, SocketAddr::new(POD, port)));
        let (listeners, clusters) = ways.into_iter().unzip();
        let envoy = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());
        let addresses = [ON_LOOPBACK, ON_LAN].map(|port| envoy.address(&port.to_string()));
        (envoy, addresses)
    };
    let (_ingress, from_ingress) = workload("ingress", INGRESS);
    let (_attacker, from_attacker) = workload("attacker", ATTACKER);
    network.enter("pod");
    let on_loopback = Echo::start_at(([127, 0, 0, 1], ON_LOOPBACK).into(), |_| {}).unwrap();
    let on_lan = Echo::start_at(([0, 0, 0, 0], ON_LAN).into(), |_| {}).unwrap();
    let _sidecar = sidecar(&mesh);
    iptables("-N ISTIO_INBOUND");
    iptables("-A PREROUTING -p tcp -j ISTIO_INBOUND");
    iptables("-A ISTIO_INBOUND -p tcp -j REDIRECT --to-ports 15006");

    let user = ("x-openclaw-user", NICK);
    let honest = ("x-forwarded-for", "198.51.100.9");
    for to in from_ingress {
        let seen = network.on("ingress", || ask_both(IpAddr::from([127, 0, 0, 1]), to, &[user, honest]));
        assert_eq!(seen, admitted(NICK), "{to}");
    }
    assert_eq!((on_loopback.requests(), on_lan.requests()), (2, 2));
    // Another workload, with any claim about its address.
    let reasons = ["trusted_proxy_peer_certificate", "trusted_proxy_untrusted_source"];
    for (to, reason) in from_attacker.into_iter().zip(reasons) {
        for forwarded in ["198.51.100.9", "10.44.0.2", "198.51.100.9, 10.44.0.2", "127.0.0.6", "10.44.0.3"] {
            let headers = [user, ("x-forwarded-for", forwarded)];
            let seen = network.on("attacker", || ask_both(IpAddr::from([127, 0, 0, 1]), to, &headers));
            assert_eq!(seen, refused(reason), "{to}: {forwarded}");
        }
    }
    // Without the mesh's TLS: to the ports themselves, to another port, and to Envoy's own.
    for port in [ON_LOOPBACK, ON_LAN, 9999, 15006] {
        let seen = network.on("attacker", || ask(ATTACKER, SocketAddr::new(POD, port), "/", &[user, honest]));
        assert_eq!(seen, Outcome::Nothing, "{port}");
    }
    assert_eq!((on_loopback.requests(), on_lan.requests()), (2, 2));

    // A probe that Istio rewrote comes from its agent in the pod, bypassing the sidecar, to the pod's address. An
    // application on loopback cannot be reached there; an `exec` probe can reach it.
    let agent = IpAddr::from([127, 0, 0, 6]);
    assert!(
        wire::open_from(agent, SocketAddr::new(POD, ON_LOOPBACK)).is_err(),
        "on loopback: the agent cannot reach it"
    );
    assert_eq!(
        ask(agent, SocketAddr::new(POD, ON_LAN), "/healthz", &[]),
        Outcome::Admitted(None),
        "on the pod's address"
    );
    let own = IpAddr::from([127, 0, 0, 1]);
    let asked = ask(own, SocketAddr::new(own, ON_LOOPBACK), "/healthz", &[]);
    assert_eq!(asked, Outcome::Admitted(None), "a probe that is run in the pod");

    // traffic.sidecar.istio.io/excludeInboundPorts
    for port in [ON_LOOPBACK, ON_LAN] {
        iptables(&format!("-I ISTIO_INBOUND -p tcp --dport {port} -j RETURN"));
    }
    let reached = network.on("attacker", || wire::open_from(ATTACKER, SocketAddr::new(POD, ON_LOOPBACK)).is_ok());
    assert!(!reached, "an application on loopback cannot be reached");
    for headers in [vec![user], [&[user][..], &UPGRADE].concat()] {
        let seen = network.on("attacker", || ask(ATTACKER, SocketAddr::new(POD, ON_LAN), "/", &headers));
        assert_eq!(seen, admitted(NICK), "one on the pod's address believes everybody: {headers:?}");
    }
}

/// The sidecar's listener for all captured traffic, with a filter chain for each port of the pod.
fn sidecar(mesh: &Mesh) -> Envoy {
    let documents = manifests::read(SIDECAR);
    let shipped = of_kind(&documents, "WasmPlugin").clone();
    let mut by_address = shipped.clone();
    let filter = json!({"trustedPeers": [], "peerTrust": "address", "trustedProxies": [INGRESS.to_string()]});
    lay(&mut by_address["spec"]["pluginConfig"]["filter"], &filter);
    let original = json!({
        "name": "original", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
        "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}},
    });
    let mut chains: Vec<Value> = Vec::new();
    let mut listener = Value::Null;
    for (port, plugin, cluster) in [(ON_LOOPBACK, shipped, parts::UPSTREAM), (ON_LAN, by_address, "original")] {
        let folder = mesh.folder(&format!("captured-{port}"));
        let discovery = Discovery(&folder);
        discovery.put(&resource(&plugin));
        let filters = vec![patch(&documents), discovery.filter(&plugin)];
        listener = inbound("virtualInbound", filters, mesh, "STRICT");
        let mut chain = listener["filter_chains"][0].take();
        chain["filter_chain_match"]["destination_port"] = json!(port);
        let routes = "/filters/0/typed_config/route_config/virtual_hosts/0/routes/0/route/cluster";
        *chain.pointer_mut(routes).unwrap() = json!(cluster);
        chains.push(chain);
    }
    listener["filter_chains"] = chains.into();
    listener["address"] = parts::socket(([0, 0, 0, 0], 15006).into());
    let clusters = vec![application(([127, 0, 0, 1], ON_LOOPBACK).into()), original];
    Envoy::start(&parts::bootstrap(vec![listener], clusters).to_string())
}

fn iptables(rule: &str) {
    let output = Command::new("iptables").args(["-t", "nat"]).args(rule.split(' ')).output().unwrap_or_else(|_| {
        panic!("`iptables` is missing, which redirects traffic to the sidecar: apt-get install iptables")
    });
    assert!(output.status.success(), "iptables {rule}: {}", String::from_utf8_lossy(&output.stderr));
}
