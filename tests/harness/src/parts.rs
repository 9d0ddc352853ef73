//! Parts of Envoy configurations that several tests share.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::envoy::{self, FILTER};
use crate::gateway::lay;

/// The name of the one upstream that [`manager`] routes to.
pub const UPSTREAM: &str = "upstream";

/// An HTTP filter, or anything else with a name and a type; `type_name` is what follows `type.googleapis.com/`.
pub fn typed(name: &str, type_name: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = format!("type.googleapis.com/{type_name}").into();
    json!({"name": name, "typed_config": config})
}

/// The module with this policy, as an HTTP filter.
///
/// # Panics
/// If the module is missing; the message says what to do.
pub fn filter(policy: &Value) -> Value {
    typed(FILTER, "envoy.extensions.filters.http.wasm.v3.Wasm", json!({"config": plugin(FILTER, policy)}))
}

/// The `config` of [`filter`].
///
/// # Panics
/// Like [`filter`].
pub fn plugin(name: &str, policy: &Value) -> Value {
    let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
    json!({
        "name": name,
        "failure_policy": "FAIL_RELOAD",
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy.to_string()},
        "vm_config": {"vm_id": FILTER, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": module}}},
    })
}

/// A connection manager that accepts WebSockets, over HTTP/2 too, and routes everything through these HTTP filters to
/// [`UPSTREAM`]; `settings` are merged into it.
pub fn manager(name: &str, filters: Vec<Value>, settings: &Value) -> Value {
    let mut filters = filters;
    filters.push(typed("router", "envoy.extensions.filters.http.router.v3.Router", json!({})));
    let mut manager = json!({
        "stat_prefix": name,
        "delayed_close_timeout": "0.1s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": UPSTREAM}}],
        }]},
        "http_filters": filters,
    });
    lay(&mut manager, settings);
    typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        manager,
    )
}

/// A listener on a free port of 127.0.0.1; `chain` is its only filter chain, without the network filters.
pub fn listener(name: &str, filters: Vec<Value>, chain: Value) -> Value {
    let mut chain = chain;
    chain["filters"] = filters.into();
    json!({"name": name, "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))), "filter_chains": [chain]})
}

/// The listener filter that reads a PROXY line, if there is one.
pub fn proxy_lines() -> Value {
    typed(
        "proxy_protocol",
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        json!({"allow_requests_without_proxy_protocol": true}),
    )
}

/// A cluster with one address.
pub fn cluster(name: &str, address: SocketAddr) -> Value {
    let endpoint = json!({"endpoint": {"address": socket(address)}});
    json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}})
}

/// The options that make a cluster use HTTP/2.
pub fn http2_upstream() -> Value {
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": true}},
    }})
}

/// A complete configuration.
pub fn bootstrap(listeners: Vec<Value>, clusters: Vec<Value>) -> Value {
    json!({
        // ECDS requires a name for this Envoy.
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": socket(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

/// An address, as Envoy writes it.
pub fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A file as an Envoy data source.
pub fn file(path: &Path) -> Value {
    json!({"filename": path})
}
