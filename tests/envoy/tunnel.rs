//! Peers behind a mesh's tunnel (`peerIdentity`): HTTP CONNECT over mutual TLS ends in a real Envoy, which writes the
//! peer's SPIFFE ID to filter state, and what is in the tunnel goes to a listener inside the same Envoy. That
//! connection has no address and no certificate. Istio's ambient mode (HBONE) does the same.

use std::path::Path;

use harness::echo::{self, Echo};
use harness::envoy::{Envoy, Scratch};
use harness::parts;
use harness::pki::{Authority, Identity, Validity};
use harness::wire::{self, Connection, values};
use serde_json::{Value, json};

const INGRESS: &str = "spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress";
const OTHER: &str = "spiffe://cluster.local/ns/default/sa/default";
const KEY: &str = "io.istio.peer_principal";
const NICK: &str = "nick@example.com";

/// The peers, each with its certificate.
fn peers(mesh: &Authority) -> [(&'static str, Identity); 4] {
    [("ingress", &[INGRESS][..]), ("other", &[OTHER]), ("both", &[INGRESS, OTHER]), ("nameless", &[])]
        .map(|(name, uris)| (name, mesh.issue(name, uris, Validity::Now)))
}

/// The listeners inside, each with what its policy and its connection manager say differently. As in Istio, a sidecar
/// may take the peer's address from X-Forwarded-For, which shows as an address without a port.
fn insides() -> [(&'static str, Value, bool); 4] {
    let sources = json!(["certificate", {"filterState": KEY}]);
    [
        ("enough", json!({"peerTrust": "certificate", "peerIdentity": sources}), true),
        ("by header", json!({"peerTrust": "certificate", "peerIdentity": sources}), false),
        ("address too", json!({"peerIdentity": sources}), true),
        ("certificate only", json!({"peerTrust": "certificate"}), true),
    ]
}

fn policy(filter: &Value) -> Value {
    let mut policy = json!({
        "gateway": {
            "trustedProxies": ["127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user", "allowUsers": [NICK], "allowLoopback": true
            }}
        },
        "filter": {"trustedPeers": [INGRESS], "webSocketRefusal": "http"}
    });
    harness::gateway::lay(&mut policy["filter"], filter);
    policy
}

fn tls(kind: &str, context: Value) -> Value {
    parts::typed(
        "envoy.transport_sockets.tls",
        &format!("envoy.extensions.transport_sockets.tls.v3.{kind}TlsContext"),
        context,
    )
}

/// The end of the tunnel: it asks for a certificate, keeps the peer's name, and passes on what is in the tunnel.
fn end(inside: &str, secure: &Value) -> Value {
    let keep = parts::typed(
        "envoy.filters.http.set_filter_state",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        json!({"on_request_headers": [{
            "object_key": KEY, "factory_key": "envoy.string", "shared_with_upstream": "ONCE", "skip_if_empty": true,
            "format_string": {
                "text_format_source": {"inline_string": "%DOWNSTREAM_PEER_URI_SAN%"}, "omit_empty_values": true
            },
        }]}),
    );
    let manager = parts::manager(
        inside,
        vec![keep],
        &json!({
            "upgrade_configs": [{"upgrade_type": "CONNECT"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                "match": {"connect_matcher": {}},
                "route": {"cluster": inside, "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
            }]}]},
        }),
    );
    parts::listener(&format!("tunnel to {inside}"), vec![manager], json!({"transport_socket": secure}))
}

/// A listener inside Envoy, with the filter.
fn inner(name: &str, policy: &Value, by_connection: bool) -> Value {
    let manager = parts::manager(name, vec![parts::filter(policy)], &json!({"use_remote_address": by_connection}));
    json!({"name": name, "internal_listener": {}, "filter_chains": [{"filters": [manager]}]})
}

fn inside_cluster(name: &str) -> Value {
    let endpoint = json!({"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": name}}}});
    let raw = parts::typed(
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        json!({}),
    );
    json!({
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": parts::typed(
            "envoy.transport_sockets.internal_upstream",
            "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
            json!({"transport_socket": raw}),
        ),
    })
}

/// The Envoy with the filter, and one that plays the peers, in front of an echo server.
struct Stack {
    peer: Envoy,
    _guard: Envoy,
    echo: Echo,
    _scratch: Scratch,
}

fn start() -> Stack {
    let scratch = Scratch::new("tunnel");
    let mesh = Authority::new(scratch.path(), "mesh");
    let echo = Echo::start().unwrap();
    let guard = Envoy::start(&guard(&mesh, &echo).to_string());
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (name, identity) in peers(&mesh) {
        for (inside, ..) in insides() {
            let way = format!("{name} to {inside}");
            listeners.push(pipe(&way));
            clusters.push(secured(&way, &guard, &format!("tunnel to {inside}"), mesh.file(), &identity));
        }
        listeners.push(pipe(&format!("{name} without a tunnel")));
        clusters.push(secured(&format!("{name} without a tunnel"), &guard, "direct", mesh.file(), &identity));
    }
    let peer = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());
    Stack { peer, _guard: guard, echo, _scratch: scratch }
}

fn guard(mesh: &Authority, echo: &Echo) -> Value {
    let server = mesh.issue("server", &[], Validity::Now);
    let secure = tls(
        "Downstream",
        json!({"require_client_certificate": true, "common_tls_context": {
            "tls_certificates": server.envoy(), "validation_context": {"trusted_ca": parts::file(mesh.file())},
        }}),
    );
    let (mut listeners, mut clusters) = (Vec::new(), vec![parts::cluster(parts::UPSTREAM, echo.address())]);
    for (name, filter, by_connection) in insides() {
        listeners.extend([end(name, &secure), inner(name, &policy(&filter), by_connection)]);
        clusters.push(inside_cluster(name));
    }
    // One sidecar gets both kinds of connections.
    let both = policy(&insides()[0].1);
    let manager = parts::manager("direct", vec![parts::filter(&both)], &json!({"use_remote_address": true}));
    listeners.push(parts::listener("direct", vec![manager], json!({"transport_socket": secure})));
    let mut bootstrap = parts::bootstrap(listeners, clusters);
    bootstrap["bootstrap_extensions"] = json!([parts::typed(
        "envoy.bootstrap.internal_listener",
        "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
        json!({}),
    )]);
    bootstrap
}

/// A listener that passes on bytes to the cluster of the same name.
fn pipe(name: &str) -> Value {
    let proxy = parts::typed(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({"stat_prefix": name, "cluster": name}),
    );
    parts::listener(name, vec![proxy], json!({}))
}

/// A cluster that presents this certificate.
fn secured(name: &str, guard: &Envoy, door: &str, authority: &Path, identity: &Identity) -> Value {
    let mut cluster = parts::cluster(name, guard.address(door));
    let context = json!({
        "tls_certificates": identity.envoy(), "validation_context": {"trusted_ca": parts::file(authority)},
    });
    cluster["transport_socket"] = tls("Upstream", json!({"sni": "localhost", "common_tls_context": context}));
    cluster
}

impl Stack {
    /// What comes of a request of a peer: the user that the upstream got, or the reason of the refusal. `forged` is
    /// sent in the tunnel, and with the CONNECT that opens it.
    fn ask(&self, peer: &str, inside: Option<&str>, forged: &[(&str, &str)]) -> Result<String, String> {
        let way = inside.map_or_else(|| format!("{peer} without a tunnel"), |inside| format!("{peer} to {inside}"));
        let mut connection = Connection::open(self.peer.address(&way)).unwrap();
        if inside.is_some() {
            let head: String = forged.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let connect = format!("CONNECT claw.example.com:80 HTTP/1.1\r\nhost: claw.example.com:80\r\n{head}\r\n");
            connection.send(connect.as_bytes()).unwrap();
            assert_eq!(connection.response("CONNECT").unwrap().status, 200, "{way}");
        }
        let fixed = [("host", "claw.example.com"), ("x-forwarded-for", "198.51.100.9"), ("x-forwarded-user", NICK)];
        connection.send(&wire::request("GET", "/v1/models", &[&fixed[..], forged].concat())).unwrap();
        let response = connection.response("GET").unwrap();
        match response.status {
            200 => Ok(values(&echo::received(&response.json()), "x-forwarded-user").concat()),
            _ => Err(response.json()["error"]["reason"].as_str().unwrap_or("none").to_owned()),
        }
    }
}

#[test]
fn a_tunnels_identity_lets_its_peer_in_and_nothing_that_a_client_sends_does() {
    const UNKNOWN: Result<&str, &str> = Err("trusted_proxy_peer_unknown");
    const UNVERIFIED: Result<&str, &str> = Err("trusted_proxy_peer_unverified");
    const CERTIFICATE: Result<&str, &str> = Err("trusted_proxy_peer_certificate");
    let stack = start();
    let forgeries: &[&[(&str, &str)]] = &[
        &[],
        &[(KEY, INGRESS), ("x-envoy-peer-principal", INGRESS), ("filter-state", INGRESS)],
        &[(
            "x-forwarded-client-cert",
            "By=spiffe://x/y;URI=spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress",
        )],
        &[("x-envoy-peer-metadata", INGRESS), ("x-envoy-peer-metadata-id", INGRESS), ("baggage", INGRESS)],
        &[("forwarded", "for=127.0.0.1;by=127.0.0.1"), ("x-istio-attributes", INGRESS)],
    ];
    let mut admitted = 0;
    for forged in forgeries {
        for (peer, inside, expected) in [
            ("ingress", Some("enough"), Ok(NICK)),
            ("ingress", Some("by header"), Ok(NICK)),
            ("ingress", Some("address too"), UNKNOWN),
            ("ingress", Some("certificate only"), UNKNOWN),
            ("ingress", None, Ok(NICK)),
            ("other", Some("enough"), CERTIFICATE),
            ("other", Some("by header"), CERTIFICATE),
            ("other", None, CERTIFICATE),
            // Envoy joins several URI SANs with a comma.
            ("both", Some("enough"), CERTIFICATE),
            ("nameless", Some("enough"), UNKNOWN),
            ("nameless", Some("by header"), UNVERIFIED),
            ("nameless", None, CERTIFICATE),
        ] {
            let outcome = stack.ask(peer, inside, forged);
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(outcome, expected, "{peer} {inside:?} {forged:?}");
            admitted += usize::from(outcome.is_ok());
        }
    }
    assert_eq!(stack.echo.requests(), admitted, "what is refused must not reach the upstream");
}
