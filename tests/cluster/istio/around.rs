//! Around the ingress gateway, and with each lock taken away.

use std::net::SocketAddr;

use harness::envoy::eventually;
use serde_json::json;

use super::world::{
    Edge, Outcome, PORT, Running, UPGRADE, World, admitted, ingress_pod, openclaw_pod, refused, settles,
};
use super::{EVE, NICK};

const CERTIFICATE: &str = "trusted_proxy_peer_certificate";
const USER: (&str, &str) = ("x-openclaw-user", NICK);

/// What another workload claims: addresses of others, and the ingress gateway's certificate.
fn claims(world: &World<'_>) -> Vec<Vec<(&'static str, String)>> {
    let ingress = world.ingress.address().to_string();
    let forwarded = |value: String| ("x-forwarded-for", value);
    let certificate = "URI=spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress".to_owned();
    vec![
        vec![],
        vec![forwarded("198.51.100.9".to_owned())],
        vec![forwarded(ingress.clone())],
        vec![forwarded(format!("198.51.100.9, {ingress}"))],
        vec![forwarded("127.0.0.6".to_owned())],
        vec![forwarded(world.openclaw.address().to_string()), ("x-forwarded-client-cert", certificate)],
    ]
}

fn with_user<'a>(claim: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    [USER].into_iter().chain(claim.iter().map(|(name, value)| (*name, value.as_str()))).collect()
}

pub fn another_workload_is_refused_whatever_it_claims(world: &World<'_>) {
    let echo = world.echo.as_ref().unwrap();
    let before = echo.requests();
    for claim in claims(world) {
        // The filter runs before AuthorizationPolicy, and tells the reason.
        assert_eq!(world.other_asks_both(&with_user(&claim)), refused(CERTIFICATE), "{claim:?}");
    }
    // Without the mesh's TLS: to the port itself, to another port, and to Envoy's own.
    for port in [PORT, 9999, 15006] {
        for claim in claims(world) {
            assert_eq!(world.outside_asks(port, "/", &with_user(&claim)), Outcome::Nothing, "{port}, {claim:?}");
        }
    }
    assert_eq!(world.outside_asks(PORT, "/healthz", &[USER]), Outcome::Nothing);
    assert_eq!(echo.requests(), before);
}

/// One after the other is taken away, and comes back at the end.
pub fn each_lock_holds_without_the_others(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let signed_in = [("authorization", nick.as_str())];
    let refused_whatever = |what: &str| {
        for claim in claims(world) {
            let seen = world.other_asks_both(&with_user(&claim));
            assert_eq!(seen, refused(CERTIFICATE), "without {what}: {claim:?}");
        }
        assert_eq!(world.ask_both(&signed_in), admitted(NICK), "without {what}");
    };
    // Another port of the pod has AuthorizationPolicy alone. Without it, the connection ends at a port that is closed.
    world.delete("authorizationpolicy", "openclaw", "openclaw-gateway");
    eventually("AuthorizationPolicy to go", || {
        !world.openclaw.admin("/config_dump").contains("ns[openclaw]-policy[openclaw-gateway]")
    });
    refused_whatever("AuthorizationPolicy");
    // In permissive mode, plain connections reach the filter, which finds no certificate.
    world.delete("peerauthentication", "openclaw", "openclaw-gateway");
    settles("permissive mode", &refused(CERTIFICATE), || world.outside_asks(PORT, "/", &[USER]));
    for claim in claims(world) {
        assert_eq!(world.outside_asks(PORT, "/", &with_user(&claim)), refused(CERTIFICATE), "{claim:?}");
    }
    // A probe that Istio does not rewrite arrives like this.
    assert_eq!(world.outside_asks(PORT, "/healthz", &[USER]), Outcome::Admitted(None));
    refused_whatever("AuthorizationPolicy and PeerAuthentication");
    // Without the EnvoyFilter, no address is known, so nobody is admitted, not even the ingress gateway.
    world.delete("envoyfilter", "openclaw", "openclaw-peer");
    let unknown = refused("trusted_proxy_peer_unknown");
    settles("the EnvoyFilter to go", &unknown, || world.other_asks("/v1/models", &[USER]));
    assert_eq!(world.ask("/v1/models", &signed_in), unknown);
    for claim in claims(world) {
        assert_eq!(world.other_asks_both(&with_user(&claim)), unknown, "{claim:?}");
    }
    // With the address of the connection, which Envoy takes from a header if there is one, neither.
    world.edit("openclaw", &json!({"filter": {"peerAddress": "connection"}}));
    let unverified = refused("trusted_proxy_peer_unverified");
    let honest = ("x-forwarded-for", "198.51.100.9");
    settles("the edit", &unverified, || world.other_asks("/v1/models", &[USER, honest]));
    assert_eq!(world.ask("/v1/models", &signed_in), unverified);
    for claim in claims(world).iter().skip(1) {
        assert_eq!(world.other_asks_both(&with_user(claim)), unverified, "{claim:?}");
    }
    world.restore();
    // Without the filter, nobody has a user. Without the EnvoyFilter too, AuthorizationPolicy alone checks the peer.
    world.delete_plugin("openclaw");
    settles("the WasmPlugin to go", &Outcome::Status(403), || world.other_asks("/v1/models", &[USER]));
    assert_eq!(world.other_asks_both(&[USER]), Outcome::Status(403));
    // The ingress gateway's own connections last a moment longer.
    let socket = [&signed_in[..], &UPGRADE].concat();
    for (path, headers) in [("/v1/models", &signed_in[..]), ("/", &socket)] {
        settles("no user", &Outcome::Admitted(None), || world.ask(path, headers));
    }
    world.delete("envoyfilter", "openclaw", "openclaw-closed");
    settles("the EnvoyFilter to go", &admitted(NICK), || world.ask("/v1/models", &signed_in));
    assert_eq!(world.other_asks_both(&[USER]), Outcome::Status(403));
    world.restore();
    // With HTTP/2 between the ingress gateway and the sidecar, pages load, and no WebSocket does.
    if world.edge == Edge::Istio {
        let upgrade = |policy: &str| {
            let settings = json!({"trafficPolicy": {"connectionPool": {"http": {"h2UpgradePolicy": policy}}}});
            world.patch("destinationrule", "openclaw-ingress", "openclaw", &json!({"spec": settings}));
        };
        let socket = || world.ask("/", &[&signed_in[..], &UPGRADE].concat());
        upgrade("UPGRADE");
        settles("HTTP/2 to break WebSockets", &Outcome::Status(503), socket);
        assert_eq!(world.ask("/v1/models", &signed_in), admitted(NICK));
        upgrade("DO_NOT_UPGRADE");
        settles("WebSockets to work again", &admitted(NICK), socket);
        without_the_edges_plugin_nobody_is_somebody(world);
    }
}

/// With the WasmPlugin deleted, a signed-in user names anybody. Without the EnvoyFilter `openclaw-closed`, the sidecar
/// would believe it.
pub fn without_the_edges_plugin_nobody_is_somebody(world: &World<'_>) {
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let eves = [("authorization", eve.as_str()), USER];
    world.delete_plugin("openclaw-ingress");
    let missing = refused("trusted_proxy_user_missing");
    settles("the WasmPlugin to go", &missing, || world.ask("/v1/models", &eves));
    assert_eq!(world.ask_both(&eves), missing);
    assert_eq!(world.ask_both(&[("authorization", &nick)]), missing);
    // AuthorizationPolicy asks for a token.
    assert_eq!(world.ask("/v1/models", &[USER]), Outcome::Status(403));
    world.delete("envoyfilter", "openclaw-ingress", "openclaw-closed");
    settles("the sidecar to believe it", &admitted(NICK), || world.ask("/v1/models", &eves));
    assert_eq!(world.ask_both(&eves), admitted(NICK));
    world.restore();
}

/// A listener that the plugin does not cover, because somebody restricts it to another port.
pub fn a_listener_without_the_filter_has_no_user(world: &World<'_>) {
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let elsewhere = |namespace: &str| {
        let spec = json!({"spec": {"match": [{"ports": [{"number": 8443}]}]}});
        world.patch(world.edge.kind(), namespace, "openclaw-trusted-proxy", &spec);
    };
    let no_user = |expected: &Outcome| {
        for signed_in in [&nick, &eve] {
            let headers = [("authorization", signed_in.as_str()), USER];
            let socket = [&headers[..], &UPGRADE].concat();
            for (path, headers) in [("/v1/models", &headers[..]), ("/", &socket)] {
                settles("a listener without the filter", expected, || world.ask(path, headers));
            }
        }
    };
    elsewhere("openclaw-ingress");
    no_user(&refused("trusted_proxy_user_missing"));
    world.restore();
    elsewhere("openclaw");
    settles("the sidecar's listener", &Outcome::Admitted(None), || {
        world.ask("/v1/models", &[("authorization", &nick)])
    });
    assert_eq!(world.other_asks_both(&[USER]), Outcome::Status(403));
    world.restore();
}

/// The ingress gateway without what verifies tokens, and without what asks for one.
pub fn the_edge_needs_verified_tokens(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let missing = refused("trusted_proxy_assertion_missing");
    world.delete("authorizationpolicy", "openclaw-ingress", "openclaw");
    eventually("AuthorizationPolicy to go", || {
        !world.ingress.admin("/config_dump").contains("ns[openclaw-ingress]-policy[openclaw]")
    });
    assert_eq!(world.ask_both(&[USER]), missing);
    assert_eq!(world.ask_both(&[("authorization", &nick)]), admitted(NICK));
    world.delete("requestauthentication", "openclaw-ingress", "openclaw");
    settles("nothing to be verified", &missing, || world.ask("/v1/models", &[("authorization", &nick)]));
    assert_eq!(world.ask_both(&[("authorization", &nick), USER]), missing);
    world.restore();
}

/// The sidecar's filter by addresses instead of certificates.
pub fn by_address_the_true_address_counts(world: &World<'_>) {
    world.delete("authorizationpolicy", "openclaw", "openclaw-gateway");
    let by_address = |address: &str| {
        let filter = json!({"trustedPeers": [], "peerTrust": "address", "trustedProxies": [address]});
        world.edit("openclaw", &json!({"filter": filter}));
    };
    let honest = ("x-forwarded-for", "198.51.100.9");
    by_address(&world.other.address().to_string());
    settles("its own address to be listed", &admitted(NICK), || world.other_asks("/v1/models", &[USER, honest]));
    assert_eq!(world.other_asks_both(&[USER, honest]), admitted(NICK));
    assert_eq!(world.other_asks_both(&[USER, ("x-forwarded-for", "203.0.113.9, 198.51.100.9")]), admitted(NICK));
    by_address(&world.ingress.address().to_string());
    let untrusted = refused("trusted_proxy_untrusted_source");
    settles("another address to be listed", &untrusted, || world.other_asks("/v1/models", &[USER, honest]));
    for claim in claims(world) {
        assert_eq!(world.other_asks_both(&with_user(&claim)), untrusted, "{claim:?}");
    }
    world.restore();
}

/// An Envoy in front treats a 101 with a length as an error, so the client would not learn the reason. This is why the
/// sidecar answers with a plain 401; the alternative is to remove the length.
pub fn an_envoy_in_front_breaks_a_101_with_a_close_frame(world: &World<'_>) {
    let socket = || world.other_asks("/", &[&[USER][..], &UPGRADE].concat());
    assert_eq!(socket(), refused(CERTIFICATE));
    world.edit("openclaw", &json!({"filter": {"webSocketRefusal": "close"}}));
    settles("the edit", &Outcome::Status(502), socket);
    assert_eq!(world.other_asks("/", &[USER]), refused(CERTIFICATE));
    let no_length = json!({
        "name": "no-length",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"response_mutations": [{"remove": "content-length"}]},
        },
    });
    let at = json!({
        "context": "SIDECAR_INBOUND",
        "listener": {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}},
    });
    world.mesh.cluster.api.apply_all(&[json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "no-length", "namespace": "openclaw"},
        "spec": {
            "workloadSelector": {"labels": {"app": "openclaw-gateway"}},
            "configPatches": [{
                "applyTo": "HTTP_FILTER", "match": at, "patch": {"operation": "INSERT_FIRST", "value": no_length},
            }],
        },
    })]);
    settles("the length to go", &refused(CERTIFICATE), socket);
    world.delete("envoyfilter", "openclaw", "no-length");
    world.restore();
}

/// `numTrustedProxies` makes Envoy believe X-Forwarded-For; the EnvoyFilter makes the filter independent of that.
pub fn proxies_in_front_of_the_ingress_gateway_change_nothing(world: &World<'_>) {
    let annotations =
        json!({"proxy.istio.io/config": json!({"gatewayTopology": {"numTrustedProxies": 2}}).to_string()});
    let second = match world.edge {
        Edge::Istio => ingress_pod("openclaw-ingress-1", &annotations),
        Edge::GatewayApi => {
            let api = &world.mesh.cluster.api;
            let made = api.object("deployment", "openclaw-ingress", "openclaw-ingress");
            let mut pod =
                harness::cluster::kubelet::pod_of(&made["spec"]["template"], "openclaw-ingress", "openclaw-ingress-1");
            harness::gateway::lay(&mut pod["metadata"]["annotations"], &annotations);
            for variable in pod["spec"]["containers"][0]["env"].as_array_mut().unwrap() {
                if variable["name"] == "PROXY_CONFIG" {
                    let mut config: serde_json::Value =
                        serde_json::from_str(variable["value"].as_str().unwrap()).unwrap();
                    config["gatewayTopology"] = json!({"numTrustedProxies": 2});
                    variable["value"] = json!(config.to_string());
                }
            }
            pod
        }
    };
    let second = world.mesh.run("balancer", &second);
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let ask = |headers: &[(&str, &str)]| world.ask_at(second.address(), "/v1/models", headers);
    let signed_in = ("authorization", nick.as_str());
    settles("the second ingress gateway", &admitted(NICK), || ask(&[signed_in]));
    for forwarded in ["10.0.0.1, 127.0.0.6", "198.51.100.9", "127.0.0.1", "10.44.1.2, 203.0.113.4, 203.0.113.5"] {
        let forwarded = ("x-forwarded-for", forwarded);
        assert_eq!(ask(&[signed_in, forwarded]), admitted(NICK), "{forwarded:?}");
        let eves = ask(&[("authorization", &eve), USER, forwarded]);
        assert_eq!(eves, refused("trusted_proxy_user_not_allowed"), "{forwarded:?}");
        assert_eq!(ask(&[USER, forwarded]), refused("trusted_proxy_assertion_missing"), "{forwarded:?}");
    }
    assert!(second.admin("/config_dump?resource=dynamic_listeners").contains("\"xff_num_trusted_hops\": 2"));
}

/// A pod with the annotation that docs/istio.md warns of, and one without. What Istio rewrites of its probes.
pub fn an_excluded_port_leads_around_the_filter(world: &World<'_>) {
    let annotations = json!({"traffic.sidecar.istio.io/excludeInboundPorts": PORT.to_string()});
    let pod = world.mesh.run("elsewhere", &openclaw_pod("openclaw-1", &annotations));
    let to = SocketAddr::new(pod.address(), PORT);
    let listen = |at| Running::start(world.mesh.cluster, "elsewhere", at);
    let probe = &pod.pod.container("gateway")["readinessProbe"]["httpGet"];
    assert_eq!((&probe["path"], &probe["port"]), (&json!("/app-health/gateway/readyz"), &json!(15020)));
    let rewritten = || pod.get(15020, "/app-health/gateway/readyz").map(|response| response.status).unwrap_or_default();

    let on_loopback = listen([127, 0, 0, 1]);
    for headers in [vec![USER], [&[USER][..], &UPGRADE].concat()] {
        let seen = world.plain("browser", to, "claw.example.com", "/", &headers);
        assert_eq!(seen, Outcome::Nothing, "on loopback, nobody reaches it");
    }
    assert_eq!(rewritten(), 500, "the agent probes at the pod's address");
    let own = world.plain("elsewhere", ([127, 0, 0, 1], PORT).into(), "localhost", "/healthz", &[]);
    assert_eq!(own, Outcome::Admitted(None), "a probe that is run in the pod");
    drop(on_loopback);

    let on_lan = listen([0, 0, 0, 0]);
    for headers in [vec![USER], [&[USER][..], &UPGRADE].concat()] {
        let seen = world.plain("browser", to, "claw.example.com", "/", &headers);
        assert_eq!(seen, admitted(NICK), "on the pod's address, it believes everybody: {headers:?}");
    }
    assert_eq!(rewritten(), 200);
    drop(on_lan);
}
