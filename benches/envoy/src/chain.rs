//! Listeners for Envoy: each answers directly, to keep an upstream's noise out of the figures, unless one is
//! requested.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

const SCOPES: &str = "operator.admin,operator.read,operator.write,operator.approvals,operator.pairing";

/// A bootstrap with these listeners, each with a name and a chain of filters.
pub fn bootstrap(listeners: Vec<(String, Vec<Value>)>) -> Value {
    let answer = json!({ "direct_response": { "status": 200, "body": { "inline_string": "ok" } } });
    with_route(listeners, &answer)
}

/// The same in front of an upstream.
pub fn bootstrap_before(upstream: SocketAddr, listeners: Vec<(String, Vec<Value>)>) -> Value {
    let mut bootstrap = with_route(listeners, &json!({ "route": { "cluster": "upstream" } }));
    let address = json!({ "address": upstream.ip().to_string(), "port_value": upstream.port() });
    bootstrap["static_resources"]["clusters"] = json!([{
        "name": "upstream",
        "load_assignment": { "cluster_name": "upstream", "endpoints": [{
            "lb_endpoints": [{ "endpoint": { "address": { "socket_address": address } } }],
        }] },
    }]);
    bootstrap
}

fn with_route(listeners: Vec<(String, Vec<Value>)>, action: &Value) -> Value {
    let listeners: Vec<_> = listeners.into_iter().map(|(name, filters)| listener(&name, filters, action)).collect();
    let admin = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
    let node = json!({ "id": "bench", "cluster": "bench" });
    json!({ "node": node, "admin": { "address": admin }, "static_resources": { "listeners": listeners } })
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["@type"] = format!("type.googleapis.com/envoy.extensions.filters.{kind}").into();
    value
}

fn listener(name: &str, mut filters: Vec<Value>, action: &Value) -> Value {
    filters.push(json!({ "name": "router", "typed_config": typed("http.router.v3.Router", json!({})) }));
    let mut answer = json!({ "match": { "prefix": "/" } });
    for (key, value) in action.as_object().into_iter().flatten() {
        answer[key] = value.clone();
    }
    let manager = json!({
        "stat_prefix": name,
        "use_remote_address": true,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [answer] }] },
        "http_filters": filters,
    });
    json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{
            "name": "hcm",
            "typed_config": typed("network.http_connection_manager.v3.HttpConnectionManager", manager),
        }] }],
    })
}

/// These filters repeated `passes` times, each time behind a mutation that removes the scopes again. Each pass
/// therefore has the same work, and the signal is larger relative to the noise. Without filters, only the mutations.
pub fn repeated(filters: &[Value], passes: usize) -> Vec<Value> {
    let reset = mutation(json!({ "remove": "x-openclaw-scopes" }));
    let mut chain = Vec::new();
    for pass in 0..passes {
        for filter in [&reset].into_iter().chain(filters) {
            let mut filter = filter.clone();
            filter["name"] = format!("{}-{pass}", filter["name"].as_str().unwrap_or_default()).into();
            chain.push(filter);
        }
    }
    chain
}

fn mutation(what: Value) -> Value {
    let config = json!({ "mutations": { "request_mutations": [what] } });
    json!({ "name": "mutation", "typed_config": typed("http.header_mutation.v3.HeaderMutation", config) })
}

/// A module with a plugin configuration.
pub fn wasm(name: &str, module: &Path, configuration: &str) -> Value {
    let config = json!({
        "name": name,
        "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration },
        "vm_config": {
            "vm_id": name,
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": module } },
        },
    });
    json!({ "name": name, "typed_config": typed("http.wasm.v3.Wasm", json!({ "config": config })) })
}

/// A filter whose configuration is loaded from a file, and again whenever the file is replaced.
pub fn discovered(name: &str, file: &Path, folder: &Path) -> Value {
    json!({
        "name": name,
        "config_discovery": {
            "config_source": { "path_config_source": { "path": file, "watched_directory": { "path": folder } } },
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        },
    })
}

/// The file for [`discovered`].
pub fn discovery(name: &str, filter: &Value) -> Value {
    json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": filter["typed_config"],
    }] })
}

/// Envoy's own RBAC and header mutation: address, required headers, users, and default scopes. No origins, no
/// aliases, no scope rules, no reasons.
pub fn native() -> Vec<Value> {
    let present = |name: &str| json!({ "header": { "name": name, "present_match": true } });
    let user = |name: &str| json!({ "header": { "name": "x-forwarded-user", "string_match": { "exact": name } } });
    let principal = json!({ "and_ids": { "ids": [
        { "direct_remote_ip": { "address_prefix": "127.0.0.0", "prefix_len": 8 } },
        present("x-forwarded-proto"),
        present("x-forwarded-host"),
        { "or_ids": { "ids": [user("nick@example.com"), user("ada@example.com")] } },
    ] } });
    let policy = json!({ "permissions": [{ "any": true }], "principals": [principal] });
    let rules = json!({ "rules": { "action": "ALLOW", "policies": { "users": policy } } });
    let scopes = json!({
        "append": { "header": { "key": "x-openclaw-scopes", "value": SCOPES }, "append_action": "ADD_IF_ABSENT" },
    });
    vec![json!({ "name": "rbac", "typed_config": typed("http.rbac.v3.RBAC", rules) }), mutation(scopes)]
}

/// The same part of the job as a Lua script.
pub fn lua() -> Vec<Value> {
    let script = format!(
        r#"
        local users = {{ ["nick@example.com"] = true, ["ada@example.com"] = true }}
        local function refuse(handle) handle:respond({{ [":status"] = "401" }}, "unauthorized") end
        function envoy_on_request(handle)
          local headers = handle:headers()
          local peer = handle:streamInfo():downstreamDirectRemoteAddress()
          if peer:sub(1, 4) ~= "127." then return refuse(handle) end
          if not (headers:get("x-forwarded-proto") and headers:get("x-forwarded-host")) then return refuse(handle) end
          local user = headers:get("x-forwarded-user")
          if not (user and users[user]) then return refuse(handle) end
          headers:replace("x-forwarded-user", user)
          if not headers:get("x-openclaw-scopes") then headers:add("x-openclaw-scopes", "{SCOPES}") end
        end
        "#
    );
    let config = json!({ "default_source_code": { "inline_string": script } });
    vec![json!({ "name": "lua", "typed_config": typed("http.lua.v3.Lua", config) })]
}
