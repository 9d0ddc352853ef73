//! SPIFFE peers: `trustedPeers` is compared with the certificate that one real Envoy presents to another over mutual
//! TLS. The certificates are generated here. The first Envoy plays the peer (for example, an ingress gateway) and has
//! all certificates; the second one has the filter.

use std::path::Path;

use harness::document::{blocks, page};
use harness::echo::Echo;
use harness::envoy::{Envoy, Scratch, Source};
use harness::gateway::lay;
use harness::manifests;
use harness::parts;
use harness::pki::{Authority, Identity, Validity};
use harness::wire::{self, Connection};
use policy::config::compile;
use serde_json::{Value, json};

const INGRESS: &str = "spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress";
const OTHER: &str = "spiffe://cluster.local/ns/default/sa/default";
const PARTNER: &str = "spiffe://partner.example/ns/openclaw-ingress/sa/openclaw-ingress";

/// Everything that a peer can present: the authorities, and certificates by name. One entry is the absence of a
/// certificate.
struct World {
    mesh: Authority,
    partner: Authority,
    shown: Vec<(&'static str, Option<Identity>)>,
}

fn world(folder: &Path) -> World {
    let (mesh, partner) = (Authority::new(folder, "mesh"), Authority::new(folder, "partner"));
    let now = |name: &'static str, uris: &[&str]| (name, Some(mesh.issue(name, uris, Validity::Now)));
    let shown = vec![
        now("the ingress gateway", &[INGRESS]),
        now("another workload", &[OTHER]),
        now("a longer name", &["spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress-2"]),
        now("another case", &["spiffe://cluster.local/ns/openclaw-ingress/sa/Openclaw-Ingress"]),
        now("the right one first", &[INGRESS, OTHER]),
        now("the right one second", &[OTHER, INGRESS]),
        now("no URI", &[]),
        ("no certificate", None),
        ("expired", Some(mesh.issue("expired", &[INGRESS], Validity::Past))),
        ("not good yet", Some(mesh.issue("early", &[INGRESS], Validity::Future))),
        ("another authority, the right name", Some(partner.issue("posing", &[INGRESS], Validity::Now))),
        ("another trust domain", Some(partner.issue("partner-ingress", &[PARTNER], Validity::Now))),
        ("signed by itself", Some(mesh.self_signed("self", &[INGRESS]))),
    ];
    World { mesh, partner, shown }
}

/// The policy of docs/spiffe.md, on this machine.
fn policy(filter: &Value) -> Value {
    let mut policy: Value = serde_json::from_str(&blocks(&page("docs/spiffe.md"), "json").concat()).unwrap();
    assert_eq!(policy["filter"], json!({"trustedPeers": [INGRESS], "peerTrust": "certificate", "crossSite": "refuse"}));
    policy["gateway"]["trustedProxies"] = json!(["127.0.0.2"]);
    policy["gateway"]["auth"]["trustedProxy"]["allowLoopback"] = json!(true);
    // The peer is an Envoy, which does not pass on the 101 of a close frame.
    policy["filter"]["webSocketRefusal"] = json!("http");
    lay(&mut policy["filter"], filter);
    policy
}

/// The listeners of the Envoy with the filter: how each verifies, and with which policy.
fn doors(world: &World) -> Vec<(&'static str, Value, Value)> {
    let (mesh, partner) = (parts::file(world.mesh.file()), parts::file(world.partner.file()));
    let bundle = world.mesh.file().with_file_name("bundle.pem");
    let both = [&world.mesh, &world.partner].map(|one| std::fs::read_to_string(one.file()).unwrap()).concat();
    std::fs::write(&bundle, both).unwrap();
    let verified =
        json!({"require_client_certificate": true, "common_tls_context": {"validation_context": {"trusted_ca": mesh}}});
    let certificate = policy(&json!({}));
    let mut page =
        manifests::parse(&blocks(&page("docs/spiffe.md"), "yaml").concat()).unwrap().remove(0)["typed_config"].take();
    let domains =
        page.pointer_mut("/common_tls_context/validation_context/custom_validator_config/typed_config/trust_domains");
    domains.expect("trust domains")[0]["trust_bundle"] = mesh.clone();
    let domains = json!({"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig", "trust_domains": [
        {"name": "cluster.local", "trust_bundle": mesh}, {"name": "partner.example", "trust_bundle": partner},
    ]});
    vec![
        ("certificate", verified.clone(), certificate.clone()),
        ("certificate and address", verified, policy(&json!({"peerTrust": "address"}))),
        ("optional", json!({"common_tls_context": {"validation_context": {"trusted_ca": mesh}}}), certificate.clone()),
        (
            "two authorities in one file",
            json!({"require_client_certificate": true, "common_tls_context": {"validation_context": {"trusted_ca": parts::file(&bundle)}}}),
            certificate.clone(),
        ),
        (
            "an authority for each trust domain",
            json!({"require_client_certificate": true, "common_tls_context": {"validation_context": {
                "custom_validator_config": {"name": "envoy.tls.cert_validator.spiffe", "typed_config": domains},
            }}}),
            certificate.clone(),
        ),
        ("as the page shows", page, certificate.clone()),
        // Three that do not verify. Envoy does not request a certificate if no authority is configured.
        ("requires, without saying by whom", json!({"require_client_certificate": true}), certificate.clone()),
        (
            "accepts what it cannot verify",
            json!({"require_client_certificate": true, "common_tls_context": {"validation_context": {
                "trusted_ca": mesh, "trust_chain_verification": "ACCEPT_UNTRUSTED",
            }}}),
            certificate.clone(),
        ),
        ("does not ask", json!({}), certificate),
    ]
}

const PROTOCOLS: [&str; 2] = ["HTTP/1.1", "HTTP/2"];
/// The addresses that the peer connects from: the listed one, and another.
const SOURCES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

/// Two Envoys, one behind the other, in front of an echo server.
struct Stack {
    peer: Envoy,
    guard: Envoy,
    echo: Echo,
    _scratch: Scratch,
}

fn route(door: &str, shown: &str, source: &str, protocol: &str) -> String {
    format!("{door} | {shown} | {source} | {protocol}")
}

fn start() -> Stack {
    let scratch = Scratch::new("spiffe");
    let world = world(scratch.path());
    let doors = doors(&world);
    let echo = Echo::start().unwrap();
    let server = world.mesh.issue("server", &[], Validity::Now);

    let listeners = doors.iter().map(|(name, tls, policy)| {
        let manager = parts::manager(
            name,
            vec![parts::filter(policy)],
            &json!({"use_remote_address": true, "skip_xff_append": true}),
        );
        let mut context = tls.clone();
        let ours =
            json!({"common_tls_context": {"tls_certificates": server.envoy(), "alpn_protocols": ["h2", "http/1.1"]}});
        lay(&mut context, &ours);
        let socket = parts::typed(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            context,
        );
        let mut listener = parts::listener(name, vec![manager], json!({"transport_socket": socket}));
        listener["stat_prefix"] = json!(name.replace(' ', "_"));
        listener
    });
    let clusters = vec![parts::cluster(parts::UPSTREAM, echo.address())];
    let guard = Envoy::start(&parts::bootstrap(listeners.collect(), clusters).to_string());

    let mut clusters = Vec::new();
    for (door, ..) in &doors {
        for (shown, identity) in &world.shown {
            for source in SOURCES {
                for protocol in PROTOCOLS {
                    let name = route(door, shown, source, protocol);
                    let mut cluster = parts::cluster(&name, guard.address(door));
                    let mut tls = json!({"validation_context": {"trusted_ca": parts::file(world.mesh.file())}});
                    if let Some(identity) = identity {
                        tls["tls_certificates"] = identity.envoy();
                    }
                    if protocol == "HTTP/2" {
                        cluster["typed_extension_protocol_options"] = parts::http2_upstream();
                        tls["alpn_protocols"] = json!(["h2"]);
                    }
                    cluster["transport_socket"] = parts::typed(
                        "envoy.transport_sockets.tls",
                        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                        json!({"sni": "localhost", "common_tls_context": tls}),
                    );
                    cluster["upstream_bind_config"] = json!({"source_address": {"address": source, "port_value": 0}});
                    clusters.push(cluster);
                }
            }
        }
    }
    // The peer accepts browsers' connections, names their users, and connects to the listener that a test header
    // selects.
    let manager = parts::manager(
        "peer",
        Vec::new(),
        &json!({"use_remote_address": true, "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster_header": "x-route"}}],
        }]}}),
    );
    let mut listener = parts::listener("peer", vec![manager], json!({}));
    listener["listener_filters"] = json!([parts::proxy_lines()]);
    let peer = Envoy::start(&parts::bootstrap(vec![listener], clusters).to_string());
    Stack { peer, guard, echo, _scratch: scratch }
}

/// Admitted; or refused by the filter with this reason; or ended in the handshake, which the filter does not see.
type Outcome = Result<(), &'static str>;
const HANDSHAKE: Outcome = Err("handshake");
const CERTIFICATE: Outcome = Err("trusted_proxy_peer_certificate");
const SOURCE: Outcome = Err("trusted_proxy_untrusted_source");

impl Stack {
    fn open(&self, route: &str, upgrade: bool) -> Connection {
        let mut connection = Connection::open(self.peer.address("peer")).unwrap();
        connection.send(&wire::proxy_line("198.51.100.9")).unwrap();
        let mut headers =
            vec![("host", "claw.example.com"), ("x-openclaw-user", "nick@example.com"), ("x-route", route)];
        if upgrade {
            headers.extend([
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ]);
        }
        connection.send(&wire::request("GET", "/", &headers)).unwrap();
        connection
    }

    fn plainly(&self, route: &str) -> Result<(), String> {
        outcome(&self.open(route, false).response("GET").unwrap())
    }

    fn by_websocket(&self, route: &str) -> Result<(), String> {
        let mut connection = self.open(route, true);
        let response = connection.response("GET").unwrap();
        if response.status != 101 {
            return outcome(&response);
        }
        match wire::first_message(connection) {
            wire::First::Text(_) => Ok(()),
            close @ wire::First::Close(..) => panic!("{close:?}"),
        }
    }
}

fn outcome(response: &wire::Response) -> Result<(), String> {
    match response.status {
        200 => Ok(()),
        // The first Envoy's own answer if the second ended the connection.
        503 => Err("handshake".to_owned()),
        _ => Err(response.json()["error"]["reason"].as_str().unwrap_or("none").to_owned()),
    }
}

/// The table of docs/spiffe.md: the listener, what is presented, and the result.
fn table(page: &str) -> Vec<(&'static str, &'static str, Outcome)> {
    let doors = |listener: &str| -> &[&'static str] {
        match listener {
            "as above, or `trusted_ca` with one authority" => &["as the page shows", "certificate"],
            "`trusted_ca`, without `require_client_certificate`" => &["optional"],
            "`trusted_ca` with two authorities in one file" => &["two authorities in one file"],
            "`trust_chain_verification: ACCEPT_UNTRUSTED`" => &["accepts what it cannot verify"],
            "`require_client_certificate` without a `validation_context`" => &["requires, without saying by whom"],
            other => panic!("a listener of the page that no test tries: {other}"),
        }
    };
    let shown = |column: &str| match column {
        "right identity" => "the ingress gateway",
        "another identity" => "another workload",
        "the right one second" => "the right one second",
        "none" => "no certificate",
        "expired" => "expired",
        "another authority, the right name" => "another authority, the right name",
        "signed by itself" => "signed by itself",
        other => panic!("a column of the page that no test tries: {other}"),
    };
    let outcome = |cell: &str| match cell.split(':').next().unwrap() {
        "in" | "**in**" => Ok(()),
        "refused" => CERTIFICATE,
        "TLS fails" => HANDSHAKE,
        other => panic!("{other}"),
    };
    let mut rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let head = rows.find(|row| row.starts_with("the listener |")).expect("the table's head");
    let columns: Vec<_> = head.split(" | ").skip(1).map(shown).collect();
    let mut all = Vec::new();
    for row in rows.filter(|row| !row.starts_with("---")) {
        let (listener, cells) = row.split_once(" | ").expect("cells");
        let cells: Vec<_> = cells.split(" | ").map(outcome).collect();
        assert_eq!(cells.len(), columns.len(), "{row}");
        for door in doors(listener) {
            all.extend(columns.iter().zip(&cells).map(|(shown, outcome)| (*door, *shown, *outcome)));
        }
    }
    all
}

#[test]
fn a_peer_is_who_its_verified_certificate_says_over_http_1_http_2_and_on_websockets() {
    let stack = start();
    let [listed, unlisted] = SOURCES;
    let cases: &[(&str, &str, &str, Outcome)] = &[
        // Only the certificate: addresses may change.
        ("certificate", "the ingress gateway", listed, Ok(())),
        ("certificate", "the ingress gateway", unlisted, Ok(())),
        ("certificate", "another workload", listed, CERTIFICATE),
        ("certificate", "a longer name", listed, CERTIFICATE),
        ("certificate", "another case", listed, CERTIFICATE),
        ("certificate", "the right one first", listed, Ok(())),
        ("certificate", "the right one second", listed, CERTIFICATE),
        ("certificate", "no URI", listed, CERTIFICATE),
        ("certificate", "no certificate", listed, HANDSHAKE),
        ("certificate", "expired", listed, HANDSHAKE),
        ("certificate", "not good yet", listed, HANDSHAKE),
        ("certificate", "another authority, the right name", listed, HANDSHAKE),
        ("certificate", "another trust domain", listed, HANDSHAKE),
        ("certificate", "signed by itself", listed, HANDSHAKE),
        // Certificate and address: both must match.
        ("certificate and address", "the ingress gateway", listed, Ok(())),
        ("certificate and address", "the ingress gateway", unlisted, SOURCE),
        ("certificate and address", "another workload", listed, CERTIFICATE),
        ("certificate and address", "another workload", unlisted, SOURCE),
        ("certificate and address", "no certificate", listed, HANDSHAKE),
        // A listener that verifies presented certificates but also accepts clients without one: the filter refuses
        // these.
        ("optional", "the ingress gateway", listed, Ok(())),
        ("optional", "no certificate", listed, CERTIFICATE),
        ("optional", "another workload", listed, CERTIFICATE),
        ("optional", "signed by itself", listed, HANDSHAKE),
        // Two authorities in one file: each can sign any name, and the filter sees only the name.
        ("two authorities in one file", "the ingress gateway", listed, Ok(())),
        ("two authorities in one file", "another trust domain", listed, CERTIFICATE),
        ("two authorities in one file", "another authority, the right name", listed, Ok(())),
        // Envoy's SPIFFE validator checks which authority may sign for which trust domain.
        ("an authority for each trust domain", "the ingress gateway", listed, Ok(())),
        ("an authority for each trust domain", "another trust domain", listed, CERTIFICATE),
        ("an authority for each trust domain", "another authority, the right name", listed, HANDSHAKE),
        ("an authority for each trust domain", "no certificate", listed, HANDSHAKE),
        ("an authority for each trust domain", "expired", listed, HANDSHAKE),
        ("an authority for each trust domain", "signed by itself", listed, HANDSHAKE),
        ("as the page shows", "the ingress gateway", listed, Ok(())),
        ("as the page shows", "the ingress gateway", unlisted, Ok(())),
        ("as the page shows", "another workload", listed, CERTIFICATE),
        ("as the page shows", "the right one second", listed, CERTIFICATE),
        ("as the page shows", "no certificate", listed, HANDSHAKE),
        ("as the page shows", "expired", listed, HANDSHAKE),
        ("as the page shows", "another authority, the right name", listed, HANDSHAKE),
        ("as the page shows", "another trust domain", listed, HANDSHAKE),
        ("as the page shows", "signed by itself", listed, HANDSHAKE),
        // Listeners that do not verify. With the second one the filter cannot detect it: anyone who puts the right
        // name into a certificate is admitted.
        ("requires, without saying by whom", "the ingress gateway", listed, CERTIFICATE),
        ("requires, without saying by whom", "signed by itself", listed, CERTIFICATE),
        ("requires, without saying by whom", "no certificate", listed, CERTIFICATE),
        ("accepts what it cannot verify", "signed by itself", listed, Ok(())),
        ("accepts what it cannot verify", "another authority, the right name", unlisted, Ok(())),
        ("accepts what it cannot verify", "expired", listed, Ok(())),
        ("accepts what it cannot verify", "another workload", listed, CERTIFICATE),
        ("accepts what it cannot verify", "no certificate", listed, HANDSHAKE),
        ("does not ask", "the ingress gateway", listed, CERTIFICATE),
        ("does not ask", "no certificate", listed, CERTIFICATE),
    ];
    let of_the_page = table(&page("docs/spiffe.md"));
    assert!(of_the_page.len() >= 6 * 7, "{of_the_page:?}");
    let of_the_page = of_the_page.into_iter().map(|(door, shown, expected)| (door, shown, listed, expected));
    let mut wrong = Vec::new();
    let mut admitted = 0;
    for (door, shown, source, expected) in cases.iter().copied().chain(of_the_page) {
        for protocol in PROTOCOLS {
            let name = route(door, shown, source, protocol);
            for (what, seen) in [("plain", stack.plainly(&name)), ("WebSocket", stack.by_websocket(&name))] {
                if seen != expected.map_err(str::to_owned) {
                    wrong.push(format!("{name}, {what}: {seen:?} instead of {expected:?}"));
                }
            }
            admitted += 2 * usize::from(expected.is_ok());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stack.echo.requests(), admitted, "what is refused must not reach the upstream");

    // The handshakes failed for the reasons in the names, and not because a server was missing.
    let stats = stack.guard.process().ask("/stats?filter=ssl.fail_verify").unwrap().text();
    for wanted in ["listener.certificate.ssl.fail_verify_no_cert", "listener.certificate.ssl.fail_verify_error"] {
        let count = stats.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(": "));
        assert!(count.is_some_and(|count| count != "0"), "{wanted} in\n{stats}");
    }
    stack
        .guard
        .line(Source::Log, |line| line.contains("trusted_proxy_peer_certificate") && line.contains("peer=127.0.0.2:"));
}

#[test]
fn the_audit_says_that_only_the_listener_verifies() {
    let findings = |filter: Value| -> Vec<&'static str> {
        let compiled = compile(policy(&filter).to_string().as_bytes()).unwrap();
        compiled.findings.iter().map(|finding| finding.id).collect()
    };
    let alone = findings(json!({}));
    for id in ["filter.trusted_peers", "filter.peer_trust_certificate"] {
        assert!(alone.contains(&id), "{id} among {alone:?}");
    }
    let both = json!({"peerTrust": "address"});
    assert!(findings(both.clone()).contains(&"filter.trusted_peers"));
    assert!(!findings(json!({"peerTrust": "address", "trustedPeers": []})).contains(&"filter.trusted_peers"));

    // The filter logs this through Envoy for every configuration.
    let echo = Echo::start().unwrap();
    let manager = parts::manager("plain", vec![parts::filter(&policy(&both))], &json!({}));
    let listeners = vec![parts::listener("plain", vec![manager], json!({}))];
    let clusters = vec![parts::cluster(parts::UPSTREAM, echo.address())];
    let envoy = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());
    let line = envoy.line(Source::Log, |line| line.contains("filter.trusted_peers"));
    assert!(line.contains("the filter cannot check"), "{line}");
    // Without TLS there is no certificate.
    let response = wire::get(envoy.address("plain"), "/", &[("x-openclaw-user", "nick@example.com")]).unwrap();
    assert_ne!(response.status, 200, "{response:?}");
}
