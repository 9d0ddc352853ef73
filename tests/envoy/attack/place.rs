//! The suite's one Envoy: a listener for every mode that a family uses, with and without the filter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use harness::envoy::{self, Envoy, FILTER, Scratch};
use serde_json::{Value, json};

use crate::attack::suite::{LOCAL_PROXY, PROXY};

/// A listener and the policy of its filter.
#[derive(Clone, Debug)]
pub struct Mode {
    pub name: &'static str,
    pub policy: Value,
    /// Merged into the connection manager.
    pub manager: Value,
    pub entrance: Entrance,
    /// The parts of the policy that the invariants need.
    pub user_header: &'static str,
    pub spared: Vec<&'static str>,
    pub anonymous: Vec<&'static str>,
    pub anonymous_upgrades: Vec<&'static str>,
    pub own: Vec<&'static str>,
    pub delegates: bool,
    /// Users who may arrive, besides Nick.
    pub users: Vec<&'static str>,
    /// The plugin's name in Envoy, if it is not that of the listener.
    pub plugin: Option<&'static str>,
}

/// How connections arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// TCP, with a PROXY line first.
    Proxied,
    /// TCP, with a PROXY line or without.
    MaybeProxied,
    /// Plain TCP.
    Direct,
    /// A Unix socket.
    Pipe,
    /// An internal listener, behind a TCP proxy in the same Envoy.
    Internal,
    /// An internal listener, behind a listener that ends CONNECT in the same Envoy, as in a mesh.
    Tunnel,
    /// QUIC. The peer is the address of the datagrams.
    Quic,
}

/// Modes that have a listener for QUIC as well, with the same policy, and its name. There the proxy is an address of
/// this host.
const OVER_QUIC: [(&str, &str); 17] = [
    ("remote address", "remote address, HTTP/3"),
    ("header address", "header address, HTTP/3"),
    ("connection's filter state", "connection's filter state, HTTP/3"),
    ("no such filter state", "no such filter state, HTTP/3"),
    ("ceilings", "ceilings, HTTP/3"),
    ("prefix", "prefix, HTTP/3"),
    ("Tailscale", "Tailscale, HTTP/3"),
    ("other sites", "other sites, HTTP/3"),
    ("hidden reasons", "hidden reasons, HTTP/3"),
    ("raw", "raw, HTTP/3"),
    ("paths normalized", "paths normalized, HTTP/3"),
    ("paths as they come", "paths as they come, HTTP/3"),
    ("required headers", "required headers, HTTP/3"),
    ("renamed user header", "renamed user header, HTTP/3"),
    ("nothing appended, no fallback", "nothing appended, no fallback, HTTP/3"),
    ("any origin", "any origin, HTTP/3"),
    ("delegate", "delegate, HTTP/3"),
];

/// The mode that is the same over QUIC.
pub fn over_quic(mode: &str) -> Option<&'static str> {
    OVER_QUIC.iter().find(|(over_tcp, _)| *over_tcp == mode).map(|(_, name)| *name)
}

const CLUSTER: &str = "upstream";

/// The filter state with the address that the connection came from, including by a PROXY line.
const CONNECTION_PEER: &str = "openclaw.peer";
/// The filter state with the address of the other end of the connection.
const DIRECT_PEER: &str = "openclaw.direct_peer";

fn mode(name: &'static str, gateway: &Value, filter: &Value, manager: Value) -> Mode {
    let mut policy = json!({
        "gateway": {
            "trustedProxies": [PROXY],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user",
                "allowUsers": ["nick@example.com", "admin@example.com"],
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com", "https://ui.example.com:8443"]},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        },
        "filter": {},
    });
    lay_over(&mut policy["gateway"], gateway);
    lay_over(&mut policy["filter"], filter);
    Mode {
        name,
        policy,
        manager,
        entrance: Entrance::Proxied,
        user_header: "x-forwarded-user",
        spared: Vec::new(),
        anonymous: vec!["/health", "/healthz"],
        anonymous_upgrades: Vec::new(),
        own: vec![
            "/tools/invoke",
            "/sessions/*/kill",
            "/sessions/*/history",
            "/control-ui-config.json",
            "/__openclaw__/control-ui-config.json",
            "/__openclaw/control-ui-config.json",
            "/v1/chat/completions",
            "/v1/models",
            "/v1/models/*",
            "/v1/embeddings",
        ],
        delegates: false,
        users: Vec::new(),
        plugin: None,
    }
}

/// Nick has little, the admins have all, and who is neither may read. Everybody may come in.
fn ceilings(name: &'static str, separator: &str, refusal: &str) -> Mode {
    let filter = json!({"webSocketRefusal": refusal, "scopes": {
        "users": {"nick@example.com": ["operator.write"], "*": ["operator.read"]},
        "groupsHeader": "x-idp-groups",
        "groupsSeparator": separator,
        "groups": {"admins": ["operator.admin"]},
    }});
    Mode {
        users: vec!["Nick@Example.COM", "NICK@EXAMPLE.COM", "eve@example.com"],
        delegates: refusal == "delegate",
        ..mode(
            name,
            &json!({"auth": {"trustedProxy": {"allowUsers": []}}}),
            &filter,
            json!({"use_remote_address": true}),
        )
    }
}

fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Every mode, by the name that the attacks use.
pub fn modes() -> Vec<Mode> {
    let real_ip = json!({"allowRealIpFallback": true});
    let paths = json!({
        "anonymousPaths": ["/health", "/healthz", "/public/*", "ws:/hooks"],
        "scopes": {"ownPaths": ["/api/v1/admin/rpc"]},
    });
    let connection = json!({"use_remote_address": true});
    let believing = json!({"use_remote_address": false});
    let in_state = |key: &str| json!({"peerAddress": {"filterState": key}});
    let detect = |name: &str, config: Value| {
        json!({"use_remote_address": false, "original_ip_detection_extensions": [{
            "name": format!("envoy.http.original_ip_detection.{name}"), "typed_config": config,
        }]})
    };
    let with_paths = |mut mode: Mode| {
        mode.anonymous.push("/public/*");
        mode.anonymous_upgrades.push("/hooks");
        mode.own.push("/api/v1/admin/rpc");
        mode
    };
    let loopback = json!({"trustedProxies": ["127.0.0.1"], "allowRealIpFallback": true});
    let loopback_allowed = json!({
        "trustedProxies": ["127.0.0.1"], "allowRealIpFallback": true,
        "auth": {"trustedProxy": {"allowLoopback": true}},
    });
    let none = json!({});
    let mut modes = vec![
        // Nothing is sanitized before the filter: paths are not normalized, and every header name passes, up to 60
        // KiB.
        mode("raw", &none, &none, connection.clone()),
        // The settings of envoy/envoy.yaml.
        mode("example", &none, &none, example()),
        with_paths(mode("paths as they come", &none, &paths, connection.clone())),
        with_paths(mode("paths normalized", &none, &paths, example())),
        // The address modes.
        mode("remote address", &real_ip, &none, connection.clone()),
        mode("header address", &real_ip, &none, believing.clone()),
        mode("connection's filter state", &real_ip, &in_state(CONNECTION_PEER), believing.clone()),
        mode("wire's filter state", &real_ip, &in_state(DIRECT_PEER), believing.clone()),
        mode("no such filter state", &real_ip, &in_state("openclaw.never_written"), connection.clone()),
        mode("trusted hops", &real_ip, &none, json!({"use_remote_address": true, "xff_num_trusted_hops": 1})),
        mode(
            "trusted hops, header address",
            &real_ip,
            &none,
            json!({"use_remote_address": false, "xff_num_trusted_hops": 1}),
        ),
        mode(
            "XFF extension",
            &real_ip,
            &none,
            detect(
                "xff",
                json!({
                    "@type": "type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
                    "xff_num_trusted_hops": 1,
                }),
            ),
        ),
        mode(
            "header extension",
            &real_ip,
            &none,
            detect(
                "custom_header",
                json!({
                    "@type": "type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
                    "header_name": "x-real-client",
                    "allow_extension_to_set_address_as_trusted": true,
                }),
            ),
        ),
        mode("nothing appended", &real_ip, &none, json!({"use_remote_address": true, "skip_xff_append": true})),
        mode(
            "nothing appended, no fallback",
            &none,
            &none,
            json!({"use_remote_address": true, "skip_xff_append": true}),
        ),
        // Peers.
        Mode { entrance: Entrance::Direct, ..mode("direct", &none, &none, connection.clone()) },
        Mode { entrance: Entrance::Direct, ..mode("direct, loopback listed", &loopback, &none, connection.clone()) },
        Mode {
            entrance: Entrance::Direct,
            ..mode("direct, loopback allowed", &loopback_allowed, &none, connection.clone())
        },
        Mode { entrance: Entrance::MaybeProxied, ..mode("PROXY line optional", &loopback, &none, connection.clone()) },
        Mode { entrance: Entrance::Pipe, ..mode("Unix socket", &real_ip, &none, connection.clone()) },
        Mode { entrance: Entrance::Pipe, ..mode("Unix socket, header address", &real_ip, &none, believing) },
        Mode {
            entrance: Entrance::Internal,
            ..mode("internal listener", &loopback_allowed, &none, connection.clone())
        },
        mode(
            "IPv6 proxies",
            &json!({"trustedProxies": ["2001:db8::7", "fe80::/10", "10.0.0.0/8"]}),
            &none,
            connection.clone(),
        ),
        mode("mapped entry", &json!({"trustedProxies": ["::ffff:10.1.2.0/120"]}), &none, connection.clone()),
        // Headers.
        Mode {
            spared: vec!["x-edge-secret", "x-auth-request-email"],
            ..mode(
                "required headers",
                &json!({"auth": {"trustedProxy": {"requiredHeaders": ["x-edge-secret", "x-auth-request-email"]}}}),
                &none,
                connection.clone(),
            )
        },
        mode(
            "scopes required",
            &json!({"auth": {"trustedProxy": {"requiredHeaders": ["x-openclaw-scopes"]}}}),
            &none,
            connection.clone(),
        ),
        Mode {
            user_header: "x-openclaw-user",
            ..mode("renamed user header", &none, &json!({"upstreamUserHeader": "x-openclaw-user"}), connection.clone())
        },
        mode(
            "trailers",
            &none,
            &none,
            json!({
                "use_remote_address": true, "http_protocol_options": {"enable_trailers": true},
            }),
        ),
        mode(
            "HTTP/1.0",
            &none,
            &none,
            json!({
                "use_remote_address": true,
                "http_protocol_options": {"accept_http_10": true, "default_host_for_http_10": "claw.example.com"},
            }),
        ),
        // WebSockets.
        Mode {
            delegates: true,
            ..mode("delegate", &none, &json!({"webSocketRefusal": "delegate"}), connection.clone())
        },
        mode(
            "CONNECT",
            &none,
            &none,
            json!({
                "use_remote_address": true,
                "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"connect_matcher": {}}, "route": {"cluster": CLUSTER}},
                    {"match": {"prefix": "/"}, "route": {"cluster": CLUSTER}},
                ]}]},
            }),
        ),
        // Origins.
        mode("any origin", &json!({"controlUi": {"allowedOrigins": ["*"]}}), &none, connection.clone()),
        // The newer settings.
        ceilings("ceilings", ",", "close"),
        ceilings("ceilings, groups with a bar", "|", "close"),
        ceilings("ceilings, groups with a space", " ", "close"),
        ceilings("ceilings, delegated", ";", "delegate"),
        mode("prefix", &none, &json!({"userPrefix": "accounts.google.com:"}), connection.clone()),
        mode(
            "Tailscale",
            &json!({"auth": {"allowTailscale": true}, "controlUi": {"allowedOrigins": ["*", "https://claw.example.com"]}}),
            &none,
            connection.clone(),
        ),
        mode("other sites", &none, &json!({"crossSite": "refuse"}), connection.clone()),
        mode("hidden reasons", &none, &json!({"hideReasons": true}), connection.clone()),
        mode(
            "assertion",
            &none,
            &json!({"edge": true, "assertion": {"metadata": ["openclaw.verified", "payload", "email"], "as": "identity"}}),
            connection.clone(),
        ),
        Mode { entrance: Entrance::Tunnel, ..mode("tunnel", &real_ip, &none, connection.clone()) },
        Mode {
            entrance: Entrance::Tunnel,
            ..mode("tunnel, filter state", &real_ip, &in_state("openclaw.never_written"), connection.clone())
        },
        // Two policies under one name, in one VM.
        Mode { plugin: Some("shared"), ..mode("shared VM, Nick", &none, &none, connection.clone()) },
        Mode {
            plugin: Some("shared"),
            ..mode(
                "shared VM, nobody",
                &json!({"auth": {"trustedProxy": {"allowUsers": ["eve@example.com"]}}, "controlUi": {"allowedOrigins": ["https://eve.example"]}}),
                &json!({"anonymousPaths": ["/open"]}),
                connection.clone(),
            )
        },
        mode(
            "host fallback",
            &json!({"controlUi": {"dangerouslyAllowHostHeaderOriginFallback": true}}),
            &none,
            connection,
        ),
    ];
    let twins: Vec<Mode> = modes.iter().filter_map(|mode| Some(mode.over_quic(over_quic(mode.name)?))).collect();
    modes.extend(twins);
    modes
}

impl Mode {
    fn over_quic(&self, name: &'static str) -> Self {
        let mut mode = Self { name, entrance: Entrance::Quic, ..self.clone() };
        mode.policy["gateway"]["trustedProxies"] = json!([PROXY, LOCAL_PROXY.to_string()]);
        mode.policy["gateway"]["auth"]["trustedProxy"]["allowLoopback"] = json!(true);
        lay_over(
            &mut mode.manager,
            &json!({
                "codec_type": "HTTP3", "http3_protocol_options": {"allow_extended_connect": true},
            }),
        );
        mode
    }
}

/// The request settings of envoy/envoy.yaml; a test compares the two.
fn example() -> Value {
    json!({
        "use_remote_address": true,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "::", "prefix_len": 128}]},
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST", "max_headers_count": 100},
        "max_request_headers_kb": 15,
        "server_header_transformation": "PASS_THROUGH",
    })
}

#[test]
fn the_mode_of_the_example_is_what_the_example_says() {
    let shipped = std::fs::read_to_string(envoy::root().join("envoy/envoy.yaml")).expect("envoy/envoy.yaml");
    for line in [
        "use_remote_address: true",
        "cidr_ranges: [{ address_prefix: \"::\", prefix_len: 128 }]",
        "normalize_path: true",
        "merge_slashes: true",
        "path_with_escaped_slashes_action: KEEP_UNCHANGED",
        "headers_with_underscores_action: REJECT_REQUEST",
        "max_headers_count: 100",
        "max_request_headers_kb: 15",
    ] {
        assert!(shipped.contains(&format!("{line}\n")), "envoy/envoy.yaml no longer contains `{line}`");
    }
}

/// The address of a listener.
#[derive(Clone, Debug)]
pub enum Address {
    Socket(SocketAddr),
    Pipe(PathBuf),
    /// UDP, and the server's certificate.
    Quic(SocketAddr, PathBuf),
}

/// The Envoy.
pub struct Place {
    pub envoy: Envoy,
    addresses: BTreeMap<String, Address>,
}

impl Place {
    /// Starts Envoy with a listener for each mode, and one without the filter.
    pub fn start(modes: &[Mode], upstream: SocketAddr) -> Self {
        let scratch = Scratch::new("attack");
        envoy::certificate(scratch.path(), &["claw.example.com"]).unwrap_or_else(|problem| panic!("{problem}"));
        let certificate = scratch.path().join("cert.pem");
        let socket = json!({"socket_address": {"address": upstream.ip().to_string(), "port_value": upstream.port()}});
        let mut clusters = vec![json!({
            "name": CLUSTER,
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                // Trailers that arrive here are forwarded.
                "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}},
            }},
            "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket}}]}]},
        })];
        let mut listeners = Vec::new();
        let (mut addresses, mut over_udp) = (BTreeMap::new(), BTreeSet::new());
        for mode in modes {
            for filtered in [true, false] {
                let name = listener_name(mode, filtered);
                let pipe = scratch.path().join(format!("{}.sock", listeners.len()));
                let address = match mode.entrance {
                    Entrance::Pipe => json!({"pipe": {"path": pipe}}),
                    Entrance::Quic => {
                        json!({"socket_address": {"address": "127.0.0.1", "port_value": 0, "protocol": "UDP"}})
                    }
                    _ => json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}}),
                };
                if mode.entrance == Entrance::Pipe {
                    addresses.insert(name.clone(), Address::Pipe(pipe));
                }
                if matches!(mode.entrance, Entrance::Internal | Entrance::Tunnel) {
                    let inner = format!("inner {name}");
                    let mut listener = listener(&inner, mode, filtered, &Value::Null);
                    listener.as_object_mut().expect("an object").remove("address");
                    listener["internal_listener"] = json!({});
                    listeners.push(listener);
                    clusters.push(json!({
                        "name": inner,
                        "load_assignment": {"cluster_name": inner, "endpoints": [{"lb_endpoints": [{"endpoint": {
                            "address": {"envoy_internal_address": {"server_listener_name": inner}},
                        }}]}]},
                    }));
                    let filter = if mode.entrance == Entrance::Tunnel {
                        tunnel_end(&inner)
                    } else {
                        json!({
                            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "tcp", "cluster": inner,
                        })
                    };
                    listeners.push(json!({"name": name, "address": address, "filter_chains": [{"filters": [{
                        "name": "outer", "typed_config": filter,
                    }]}]}));
                } else {
                    let mut listener = listener(&name, mode, filtered, &address);
                    if mode.entrance == Entrance::Quic {
                        speak_quic(&mut listener, scratch.path());
                        over_udp.insert(name);
                    }
                    listeners.push(listener);
                }
            }
        }
        let bootstrap = json!({
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "bootstrap_extensions": [{"name": "envoy.bootstrap.internal_listener", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            }}],
            "static_resources": {"listeners": listeners, "clusters": clusters},
        });
        let file = scratch.path().join("envoy.json");
        std::fs::write(&file, bootstrap.to_string()).expect("the bootstrap can be written");
        let envoy = Envoy::run(scratch, &file);
        let status = envoy.process().ask("/listeners?format=json").expect("Envoy answers").json();
        for one in status["listener_statuses"].as_array().expect("a list of listeners") {
            let socket = &one["local_address"]["socket_address"];
            let ip = socket["address"].as_str().and_then(|ip| ip.parse().ok());
            let port = socket["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
            if let (Some(name), Some(ip), Some(port)) = (one["name"].as_str(), ip, port) {
                let address = SocketAddr::new(ip, port);
                let address = if over_udp.contains(name) {
                    Address::Quic(address, certificate.clone())
                } else {
                    Address::Socket(address)
                };
                addresses.insert(name.to_owned(), address);
            }
        }
        Self { envoy, addresses }
    }

    /// The address of a mode's listener.
    pub fn address(&self, mode: &Mode, filtered: bool) -> &Address {
        let name = listener_name(mode, filtered);
        self.addresses.get(&name).unwrap_or_else(|| panic!("no listener `{name}` among {:?}", self.addresses))
    }
}

fn listener_name(mode: &Mode, filtered: bool) -> String {
    format!("{}{}", mode.name, if filtered { "" } else { ", no filter" })
}

fn listener(name: &str, mode: &Mode, filtered: bool, address: &Value) -> Value {
    let router = json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }});
    let mut filters = vec![json!({"name": "peer", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [keep(DIRECT_PEER, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%")],
    }})];
    if filtered {
        let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
        filters.push(json!({"name": FILTER, "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": mode.plugin.unwrap_or(name),
                "failure_policy": "FAIL_RELOAD",
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": mode.policy.to_string()},
                "vm_config": {"vm_id": FILTER, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": module}}},
            },
        }}));
    }
    filters.push(router);
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "delayed_close_timeout": "0.1s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": CLUSTER}}],
        }]},
        "http_filters": filters,
    });
    lay_over(&mut manager, &mode.manager);
    for route in manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut().expect("routes") {
        route["route"]["cluster"] = json!(CLUSTER);
    }
    let mut listener = json!({
        "name": name,
        "address": address,
        "filter_chains": [{"filters": [
            {"name": "peer", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
                "on_new_connection": [keep(CONNECTION_PEER, "%DOWNSTREAM_REMOTE_ADDRESS%")],
            }},
            {"name": "http", "typed_config": manager},
        ]}],
    });
    if matches!(mode.entrance, Entrance::Proxied | Entrance::MaybeProxied) {
        listener["listener_filters"] = json!([{"name": "proxy_protocol", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            "allow_requests_without_proxy_protocol": mode.entrance == Entrance::MaybeProxied,
        }}]);
    }
    listener
}

/// A connection manager that ends CONNECT, and sends what comes through to a cluster.
fn tunnel_end(cluster: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "tunnel",
        "use_remote_address": true,
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
            "match": {"connect_matcher": {}},
            "route": {"cluster": cluster, "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
        }]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    })
}

/// Makes a listener for TCP one for QUIC.
fn speak_quic(listener: &mut Value, folder: &Path) {
    listener["udp_listener_config"] = json!({"quic_options": {}});
    listener["filter_chains"][0]["transport_socket"] = json!({"name": "quic", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
        "downstream_tls_context": {"common_tls_context": {"tls_certificates": [{
            "certificate_chain": {"filename": folder.join("cert.pem")},
            "private_key": {"filename": folder.join("key.pem")},
        }]}},
    }});
}

fn keep(key: &str, format: &str) -> Value {
    json!({"object_key": key, "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": format}}})
}
