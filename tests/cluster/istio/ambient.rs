//! Ambient mode: a waypoint, and a sidecar that is reached through a tunnel. There is no ztunnel here: what it would
//! enforce at the pod of a waypoint, no test shows.

use std::net::{IpAddr, SocketAddr};

use harness::cluster::istio::{address_of, endpoints};
use harness::envoy::eventually;
use harness::manifests::{self, of_kind};
use harness::pki::{Authority, Validity};
use serde_json::{Value, json};

use super::peer::{INGRESS, OTHER, Peer};
use super::through::seen_by_the_application;
use super::world::{
    Guard, Outcome, PORT, Running, World, admitted, extension, openclaw_pod, refused, service, settles,
};
use super::{EVE, NICK, WAYPOINT, placed};

const CERTIFICATE: &str = "trusted_proxy_peer_certificate";
const USER: (&str, &str) = ("x-openclaw-user", NICK);
/// What Istio and the filter write where a client should not reach.
const PRINCIPAL: &str = "io.istio.peer_principal";
const STAMPED: &str = "wasm.openclaw_trusted_proxy.stamped_user";

pub fn the_ingress_gateways_users_come_in_and_no_other_peer(world: &World<'_>) {
    let ingress = world.peer(INGRESS);
    let eve = ("x-openclaw-user", EVE);
    for (headers, expected) in [
        (vec![USER], admitted(NICK)),
        (vec![eve], refused("trusted_proxy_user_not_allowed")),
        (vec![eve, (PRINCIPAL, INGRESS), (STAMPED, NICK)], refused("trusted_proxy_user_not_allowed")),
        (vec![], refused("trusted_proxy_user_missing")),
        (vec![USER, ("origin", "https://evil.example.net")], refused("trusted_proxy_origin_not_allowed")),
        (vec![USER, ("x-forwarded-for", "127.0.0.1")], refused("proxy_attribution_required")),
    ] {
        assert_eq!(ingress.ask_both(&headers), expected, "{headers:?}");
    }
    assert_eq!(ingress.ask("/healthz", &[]), Outcome::Admitted(None));

    let echo = world.echo.as_ref().unwrap();
    let before = echo.requests();
    let authority = &world.mesh.authority;
    let folder = world.mesh.cluster.folder("foreign");
    let foreign = Authority::new(&folder, "foreign");
    let peer =
        |name: &str, identities: &[&str], validity| world.peer_with(Some(authority.issue(name, identities, validity)));
    let longer = format!("{INGRESS}-2");
    let cases = [
        ("another", world.peer(OTHER), refused(CERTIFICATE)),
        ("a longer name", world.peer(&longer), refused(CERTIFICATE)),
        ("the waypoint", world.peer("spiffe://cluster.local/ns/openclaw/sa/waypoint"), refused(CERTIFICATE)),
        // Envoy joins several names with a comma.
        ("two, ours first", peer("first", &[INGRESS, OTHER], Validity::Now), refused(CERTIFICATE)),
        ("two, ours last", peer("last", &[OTHER, INGRESS], Validity::Now), refused(CERTIFICATE)),
        // Envoy asks for a name of the mesh in the certificate.
        ("another trust domain", world.peer(&INGRESS.replace("cluster.local", "example.com")), Outcome::Nothing),
        ("without a name", peer("nameless", &[], Validity::Now), Outcome::Nothing),
        ("expired", peer("past", &[INGRESS], Validity::Past), Outcome::Nothing),
        ("no certificate", world.peer_with(None), Outcome::Nothing),
        ("another authority", world.peer_with(Some(foreign.issue("f", &[INGRESS], Validity::Now))), Outcome::Nothing),
        ("signed by itself", world.peer_with(Some(foreign.self_signed("s", &[INGRESS]))), Outcome::Nothing),
    ];
    for (who, peer, expected) in &cases {
        assert_eq!(peer.ask_both(&[USER]), *expected, "{who}");
    }
    assert_eq!(echo.requests(), before, "what is refused does not arrive");
}

/// Headers with which a peer might pass for another, or for another address.
fn forgeries() -> Vec<Vec<(&'static str, &'static str)>> {
    let certificate = "By=spiffe://x/y;URI=spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress";
    vec![
        vec![(PRINCIPAL, INGRESS), ("io.istio.local_principal", INGRESS), (STAMPED, NICK)],
        vec![("x-forwarded-client-cert", certificate)],
        vec![("baggage", "k8s.namespace.name=openclaw-ingress,service.account=openclaw-ingress")],
        vec![("x-istio-attributes", INGRESS), ("x-istio-source", "waypoint"), ("x-forwarded-network", "local")],
        vec![("x-envoy-peer-metadata", INGRESS), ("x-envoy-peer-metadata-id", INGRESS)],
        vec![("x-envoy-peer-principal", INGRESS), ("x-envoy-internal", "true")],
        vec![("x-envoy-external-address", "127.0.0.1"), ("x-envoy-original-dst-host", "10.44.1.2:18789")],
        vec![("forwarded", "for=127.0.0.1;by=10.44.1.1"), ("filter-state", INGRESS)],
        // An address of the ingress gateway, and the names of the mesh.
        vec![("x-forwarded-for", "198.51.100.7, 10.44.1.1")],
    ]
}

pub fn nothing_that_a_peer_writes_makes_it_another(world: &World<'_>) {
    let echo = world.echo.as_ref().unwrap();
    let (ingress, other) = (world.peer(INGRESS), world.peer(OTHER));
    let before = echo.requests();
    let strangers = refused(CERTIFICATE);
    for forged in forgeries() {
        assert_eq!(other.saying(&forged).ask("/v1/models", &[USER]), strangers, "to open the tunnel: {forged:?}");
        let inside = [&[USER][..], &forged].concat();
        assert_eq!(other.ask("/v1/models", &inside), strangers, "in the tunnel: {forged:?}");
        assert_eq!(other.saying(&forged).ask_both(&inside), strangers, "in both: {forged:?}");
    }
    let in_a_query = format!("/?{PRINCIPAL}={INGRESS}&{STAMPED}={NICK}");
    for path in [in_a_query.as_str(), "/io.istio.peer_principal", "/wasm.openclaw_trusted_proxy.stamped_user"] {
        assert_eq!(other.ask(path, &[USER]), strangers, "{path}");
    }
    for name in [PRINCIPAL, STAMPED, "waypoint.openclaw.svc.cluster.local", "openclaw-ingress"] {
        assert_eq!(other.naming(name).ask("/v1/models", &[USER]), strangers, "{name}");
        does_not_arrive(&other.to(&format!("{name}:{PORT}")));
    }
    assert_eq!(echo.requests(), before, "what is refused does not arrive");
    // Nor does it keep the ingress gateway out.
    for forged in forgeries().into_iter().filter(|forged| forged[0].0 != "x-forwarded-for") {
        let inside = [&[USER][..], &forged].concat();
        assert_eq!(ingress.saying(&forged).ask("/v1/models", &inside), admitted(NICK), "{forged:?}");
    }
}

/// A tunnel to elsewhere ends, or a lock without a reason refuses.
fn does_not_arrive(peer: &Peer<'_, '_>) {
    let outcome = peer.ask_once("/v1/models", &[("host", "claw.example.com"), USER]);
    assert!(matches!(outcome, Outcome::Nothing | Outcome::Status(403 | 503)), "{}: {outcome:?}", peer.authority);
}

/// Where a tunnel leads, other than to the guarded port.
pub fn a_tunnel_leads_around_the_filter_nowhere(world: &World<'_>) {
    let echo = world.echo.as_ref().unwrap();
    let before = echo.requests();
    let service = world.service("openclaw-gateway").ip();
    let addresses = [address_of("openclaw"), world.openclaw.address(), service, [127, 0, 0, 1].into()];
    for identity in [INGRESS, OTHER] {
        let peer = world.peer(identity);
        for address in addresses {
            for port in [PORT, 9999, 15001, 15006] {
                let to = SocketAddr::new(address, port).to_string();
                if to != peer.authority {
                    does_not_arrive(&peer.to(&to));
                }
            }
        }
    }
    assert_eq!(echo.requests(), before, "it does not arrive");
}

/// The filter without AuthorizationPolicy, and the other way round.
pub fn each_lock_holds_without_the_other(world: &World<'_>) {
    let (ingress, other) = (world.peer(INGRESS), world.peer(OTHER));
    let policy = match world.guard {
        Guard::Sidecar => "openclaw-gateway",
        Guard::Waypoint => "openclaw-waypoint",
    };
    world.delete("authorizationpolicy", "openclaw", policy);
    eventually("AuthorizationPolicy to go", || {
        !world.openclaw.admin("/config_dump").contains(&format!("ns[openclaw]-policy[{policy}]"))
    });
    assert_eq!((ingress.ask_both(&[USER]), other.ask_both(&[USER])), (admitted(NICK), refused(CERTIFICATE)));
    world.restore();
    world.delete_plugin("openclaw");
    settles("the WasmPlugin to go", &Outcome::Status(403), || other.ask("/v1/models", &[USER]));
    assert_eq!(other.ask_both(&[USER]), Outcome::Status(403));
    // AuthorizationPolicy knows nothing of users.
    world.delete("envoyfilter", "openclaw", "openclaw-closed");
    settles("the EnvoyFilter to go", &admitted(EVE), || ingress.ask("/v1/models", &[("x-openclaw-user", EVE)]));
    assert_eq!(ingress.ask_both(&[("x-openclaw-user", EVE)]), admitted(EVE));
    world.restore();
}

/// Over mutual TLS, the identity is in the certificate, and in a tunnel it is in filter state.
pub fn a_sidecar_needs_both_sources(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let signed_in = [("authorization", nick.as_str())];
    let both_ways = || (world.ask_both(&signed_in), world.peer(INGRESS).ask_both(&[USER]));
    assert_eq!(both_ways(), (admitted(NICK), admitted(NICK)));
    assert_eq!(world.other_asks_both(&[USER]), refused(CERTIFICATE), "by mutual TLS");
    let sources = |sources| json!({"filter": {"peerIdentity": sources}});
    let unknown = refused("trusted_proxy_peer_unknown");
    world.edit("openclaw", &sources(json!(["certificate"])));
    settles("the tunnel to be refused", &unknown, || world.peer(INGRESS).ask("/v1/models", &[USER]));
    assert_eq!(both_ways(), (admitted(NICK), unknown));
    world.edit("openclaw", &sources(json!([{"filterState": PRINCIPAL}])));
    settles("mutual TLS to be refused", &refused(CERTIFICATE), || world.ask("/v1/models", &signed_in));
    assert_eq!(both_ways(), (refused(CERTIFICATE), admitted(NICK)));
    world.restore();
}

/// Other Services of the same waypoint, one of which has the same pods.
pub fn the_plugin_is_on_its_service_alone(world: &World<'_>) {
    let api = &world.mesh.cluster.api;
    let neighbour = Running::start(world.mesh.cluster, "neighbour", [0, 0, 0, 0]);
    let mut pod = openclaw_pod("neighbour-0", &json!({}));
    pod["metadata"]["labels"]["app"] = json!("neighbour");
    world.mesh.cluster.pod(&pod, address_of("neighbour"));
    for (name, application, pod, host) in [
        ("neighbour", "neighbour", "neighbour-0", "neighbour"),
        ("second", "openclaw-gateway", "openclaw-0", "openclaw"),
    ] {
        api.apply_all(&[service(name, application)]);
        api.must(&["label", "service", name, "--namespace", "openclaw", "istio.io/use-waypoint=waypoint"]);
        endpoints(world.mesh.cluster, "openclaw", name, &[("http", PORT)], pod, host);
        let other = world.peer(OTHER).to(&world.service(name).to_string());
        // No filter refuses them. Without one, no request has a user.
        settles(name, &Outcome::Admitted(None), || other.ask("/v1/models", &[USER]));
        assert_eq!(other.ask_both(&[USER]), Outcome::Admitted(None), "{name}");
    }
    assert!(neighbour.requests() > 0);
    // Our own Service is as it was.
    assert_eq!(world.other_asks_both(&[USER]), refused(CERTIFICATE));
    for name in ["neighbour", "second"] {
        world.delete("service", "openclaw", name);
    }
}

/// For Istio, a waypoint has no port. With one in `match`, as in a sidecar, the filter does not run.
pub fn a_port_in_match_switches_the_filter_off(world: &World<'_>) {
    let ingress = world.peer(INGRESS);
    let matches = |traffic: &Value| {
        world.patch("wasmplugin", "openclaw", "openclaw-trusted-proxy", &json!({"spec": {"match": traffic}}));
    };
    let ask = || ingress.ask("/v1/models", &[USER]);
    for traffic in [json!([{"mode": "SERVER", "ports": [{"number": PORT}]}]), json!([{"mode": "CLIENT"}])] {
        matches(&traffic);
        settles("the filter to be off", &Outcome::Admitted(None), ask);
        matches(&json!([{"mode": "SERVER"}]));
        settles("the filter to run", &admitted(NICK), ask);
    }
    matches(&Value::Null);
    assert_eq!(ingress.ask_both(&[USER]), admitted(NICK));
}

/// An ingress gateway goes to the pod, unless the Service has the label.
pub fn the_ingress_gateway_needs_a_label_to_use_the_waypoint(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let signed_in = [("authorization", nick.as_str())];
    // So it shows who decides.
    world.edit("openclaw", &json!({"gateway": {"auth": {"trustedProxy": {"allowUsers": ["mary@example.com"]}}}}));
    let stranger = refused("trusted_proxy_user_not_allowed");
    settles("the edit", &stranger, || world.peer(INGRESS).ask("/v1/models", &[USER]));
    assert_eq!(world.ask_both(&signed_in), stranger);
    let label = |label: &str| {
        let object = ["label", "service", "openclaw-gateway", "--namespace", "openclaw", "--overwrite", label];
        world.mesh.cluster.api.must(&object);
    };
    label("istio.io/ingress-use-waypoint-");
    settles("the ingress gateway to go around", &admitted(NICK), || world.ask("/v1/models", &signed_in));
    assert_eq!(world.ask_both(&signed_in), admitted(NICK), "only the pod's ztunnel would refuse it");
    label("istio.io/ingress-use-waypoint=true");
    settles("the ingress gateway to come back", &stranger, || world.ask("/v1/models", &signed_in));
    assert_eq!(world.ask_both(&signed_in), stranger);
    world.restore();
}

/// Why the manifest says `istio.io/waypoint-for: service`. What the waypoint serves at a pod's own address goes on to
/// the pod's ztunnel, so this looks at Envoy's configuration.
pub fn a_waypoint_for_workloads_leads_around_the_filter(world: &World<'_>) {
    let api = &world.mesh.cluster.api;
    let pod = format!("\"{}\"", address_of("openclaw"));
    let inside = || {
        let dump: Value =
            serde_json::from_str(&world.openclaw.admin("/config_dump?resource=dynamic_listeners")).unwrap();
        let listeners = dump["configs"].as_array().unwrap().iter().map(|one| &one["active_state"]["listener"]);
        listeners.into_iter().find(|listener| listener["name"] == "main_internal").unwrap().clone()
    };
    let serves_the_pod = || inside()["filter_chain_matcher"].to_string().contains(&pod);
    assert!(!serves_the_pod());
    let waypoint_for = |what: &str, pods: &str| {
        let label = ["label", "--namespace", "openclaw", "--overwrite"];
        let all = format!("istio.io/waypoint-for={what}");
        api.must(&[&label[..], &["gateways.gateway.networking.k8s.io", "waypoint", &all]].concat());
        api.must(&[&label[..], &["pod", "openclaw-0", pods]].concat());
    };
    waypoint_for("all", "istio.io/use-waypoint=waypoint");
    eventually("the waypoint to serve the pod's address", serves_the_pod);
    let listener = inside();
    let is_filtered = |name: &str| {
        let chain = listener["filter_chains"].as_array().unwrap().iter().find(|chain| chain["name"] == name).unwrap();
        chain.to_string().contains("openclaw-trusted-proxy")
    };
    let service = "inbound-vip|18789|http|openclaw-gateway.openclaw.svc.cluster.local";
    assert_eq!([service, "direct-http"].map(is_filtered), [true, false]);
    waypoint_for("service", "istio.io/use-waypoint-");
    eventually("the waypoint to stop", || !serves_the_pod());
}

/// Why the Gateway's list names the network of the pods.
pub fn the_gateway_sees_the_waypoints_address(world: &World<'_>) {
    let seen = seen_by_the_application(world, IpAddr::from([0, 0, 0, 0]));
    assert_eq!(seen, world.openclaw.address());
    let documents = manifests::read(WAYPOINT);
    let block = &of_kind(&documents, "WasmPlugin")["spec"]["pluginConfig"]["gateway"];
    assert_eq!(block["trustedProxies"], json!(["10.44.0.0/16"]), "the network of the pods here");
}

/// The waypoint's plugin as a TrafficExtension.
pub fn the_other_form_of_the_plugin_does_the_same(world: &World<'_>) {
    let (ingress, other) = (world.peer(INGRESS), world.peer(OTHER));
    world.mesh.cluster.api.apply(&world.mesh.manifest(&extension(WAYPOINT), &world.mesh.digests[0]));
    world.delete_plugin("openclaw");
    let names = || world.openclaw.admin("/config_dump?resource=ecds_filters");
    eventually("the TrafficExtension alone", || {
        let names = names();
        names.contains("openclaw-trusted-proxy\"") && !names.contains("~istio-translated-wasmplugin")
    });
    settles("a user to come in", &admitted(NICK), || ingress.ask("/v1/models", &[USER]));
    assert_eq!((ingress.ask_both(&[USER]), other.ask_both(&[USER])), (admitted(NICK), refused(CERTIFICATE)));
    world.delete("trafficextension", "openclaw", "openclaw-trusted-proxy");
    world.restore();
}

pub fn what_holds_behind_each_guard(world: &World<'_>) {
    the_ingress_gateways_users_come_in_and_no_other_peer(world);
    nothing_that_a_peer_writes_makes_it_another(world);
    a_tunnel_leads_around_the_filter_nowhere(world);
    placed::the_guard_is_as_the_table_says(world);
    each_lock_holds_without_the_other(world);
}
