//! What istiod generates from the manifests: filters in the order of its phases, a WasmPlugin as an ECDS resource
//! with its configuration as a JSON string, and listeners as it writes them for gateways and for a pod's inbound
//! traffic. Only addresses, ports and files are ours.

use std::net::SocketAddr;
use std::path::Path;

use harness::envoy;
use harness::parts;
use harness::pki::{Authority, Identity};
use serde_json::{Value, json};

use super::mesh::Mesh;

/// The HTTP filter that an EnvoyFilter inserts first.
pub fn patch(documents: &[Value]) -> Value {
    patched(documents, "HTTP_FILTER", "INSERT_FIRST")
}

/// The settings that an EnvoyFilter merges into the connection manager.
pub fn closed(documents: &[Value]) -> Value {
    let mut settings = patched(documents, "NETWORK_FILTER", "MERGE")["typed_config"].take();
    drop(settings.as_object_mut().unwrap().remove("@type"));
    settings
}

fn patched(documents: &[Value], apply_to: &str, operation: &str) -> Value {
    let all = documents.iter().filter(|document| document["kind"] == "EnvoyFilter");
    let patches: Vec<&Value> = all
        .flat_map(|document| document["spec"]["configPatches"].as_array().unwrap())
        .filter(|patch| patch["applyTo"] == apply_to)
        .collect();
    let [patch] = patches.as_slice() else { panic!("{apply_to}: {patches:?}") };
    assert_eq!(patch["patch"]["operation"], operation);
    patch["patch"]["value"].clone()
}

/// The types that istiod allows for a WasmPlugin: the filter, and the one that its agent substitutes if it cannot
/// fetch the module.
pub const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
pub const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// A WasmPlugin's ECDS resource, as the agent passes it to Envoy once it has fetched the module.
pub fn resource(plugin: &Value) -> Value {
    let spec = &plugin["spec"];
    let policy = match spec["failStrategy"].as_str() {
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        Some("FAIL_OPEN") => "FAIL_OPEN",
        _ => "FAIL_CLOSED",
    };
    let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
    let mut wrapped = parts::typed(
        &plugin_name(plugin),
        "envoy.extensions.filters.http.wasm.v3.Wasm",
        json!({"config": {
            "name": plugin_name(plugin),
            "failure_policy": policy,
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": spec["pluginConfig"].to_string()},
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
                "environment_variables": {"key_values": {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "4711"}},
            },
        }}),
    );
    wrapped["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    wrapped
}

/// The resource that the agent uses while it cannot fetch the module: it denies all requests.
pub fn deny_all(plugin: &Value) -> Value {
    let mut wrapped =
        parts::typed(&plugin_name(plugin), "envoy.extensions.filters.http.rbac.v3.RBAC", json!({"rules": {}}));
    wrapped["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    wrapped
}

pub fn plugin_name(plugin: &Value) -> String {
    let part = |name: &str| plugin["metadata"][name].as_str().unwrap();
    format!("{}.{}", part("namespace"), part("name"))
}

/// A folder of ECDS resources, instead of istiod's ADS.
pub struct Discovery<'f>(pub &'f Path);

impl Discovery<'_> {
    pub fn put(&self, resource: &Value) {
        let new = self.0.join("new");
        std::fs::write(&new, json!({"resources": [resource]}).to_string()).unwrap();
        std::fs::create_dir_all(self.0.join("ecds")).unwrap();
        std::fs::rename(&new, self.0.join("ecds/plugin.json")).unwrap();
    }

    pub fn filter(&self, plugin: &Value) -> Value {
        json!({"name": plugin_name(plugin), "config_discovery": {
            "config_source": {"resource_api_version": "V3", "path_config_source": {
                "path": self.0.join("ecds/plugin.json"), "watched_directory": {"path": self.0.join("ecds")},
            }},
            "type_urls": [WASM, RBAC],
        }})
    }
}

pub fn jwt_authn(authentication: &Value, keys: &Value) -> Value {
    let rule = &authentication["spec"]["jwtRules"][0];
    let headers = rule["fromHeaders"].as_array().unwrap().iter();
    let headers: Vec<Value> = headers
        .map(|one| json!({"name": one["name"], "value_prefix": one["prefix"].as_str().unwrap_or_default()}))
        .collect();
    parts::typed(
        "envoy.filters.http.jwt_authn",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": {"origins-0": {
                "issuer": rule["issuer"],
                "audiences": rule["audiences"],
                "from_headers": headers,
                "from_cookies": rule["fromCookies"],
                "local_jwks": {"inline_string": keys.to_string()},
                "payload_in_metadata": "payload",
                "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "scope"]},
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
                {"provider_name": "origins-0"}, {"allow_missing": {}},
            ]}}}],
        }),
    )
}

/// An AuthorizationPolicy's filter. Ports are left out, because tests use free ones.
pub fn rbac(authorization: &Value) -> Value {
    let spec = &authorization["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let any_of = |key: &str, mut all: Vec<Value>| match all.len() {
        0 => json!({"any": true}),
        1 => all.remove(0),
        _ => json!({key: {key.trim_start_matches("or_"): all}}),
    };
    let header = |name: &str, value: &Value| json!({"header": {"name": name, "string_match": {"exact": value}}});
    let claim = |name: &str, value: Value| json!({"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": name}], "value": {"string_match": value}}});
    let mut policies = json!({});
    for (at, rule) in list(&spec["rules"]).iter().enumerate() {
        let source = &rule["from"][0]["source"];
        let mut principals: Vec<Value> = Vec::new();
        principals.extend(list(&source["principals"]).iter().map(|name| {
            json!({"authenticated": {"principal_name": {"exact": format!("spiffe://{}", name.as_str().unwrap())}}})
        }));
        principals.extend(list(&source["requestPrincipals"]).iter().map(|name| {
            let issuer = name.as_str().unwrap().strip_suffix("/*").expect("any subject of one issuer");
            json!({"and_ids": {"ids": [claim("iss", json!({"exact": issuer})), claim("sub", json!({"safe_regex": {"regex": ".+"}}))]}})
        }));
        let operation = &rule["to"][0]["operation"];
        let mut all = Vec::new();
        for (key, permission) in [
            ("hosts", &(|value: &Value| header(":authority", value)) as &dyn Fn(&Value) -> Value),
            ("methods", &|value: &Value| header(":method", value)),
            ("paths", &|value: &Value| json!({"url_path": {"path": {"exact": value}}})),
        ] {
            let some: Vec<Value> = list(&operation[key]).iter().map(permission).collect();
            if !some.is_empty() {
                all.push(any_of("or_rules", some));
            }
        }
        let permission = if all.is_empty() { json!({"any": true}) } else { json!({"and_rules": {"rules": all}}) };
        policies[format!("rule[{at}]")] =
            json!({"permissions": [permission], "principals": [any_of("or_ids", principals)]});
    }
    parts::typed(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        json!({"rules": {"action": spec["action"], "policies": policies}}),
    )
}

/// The filters that istiod puts between the policies and the router.
pub fn builtin() -> [Value; 2] {
    [
        parts::typed("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault", json!({})),
        parts::typed("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors", json!({})),
    ]
}

pub fn tls(side: &str, certificate: Option<&Identity>, authority: &Authority, peers: &str) -> Value {
    let mut context = json!({"common_tls_context": {
        "validation_context": {
            "trusted_ca": parts::file(authority.file()),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": peers}}],
        },
    }});
    if let Some(certificate) = certificate {
        context["common_tls_context"]["tls_certificates"] = certificate.envoy();
    }
    if side == "Downstream" {
        context["require_client_certificate"] = json!(true);
        context["common_tls_context"]["alpn_protocols"] = json!(["h2", "http/1.1"]);
    }
    let name = format!("envoy.extensions.transport_sockets.tls.v3.{side}TlsContext");
    parts::typed("envoy.transport_sockets.tls", &name, context)
}

/// The pod's inbound traffic, as in the sidecar's listener. `modes` are those of PeerAuthentication.
pub fn inbound(name: &str, filters: Vec<Value>, mesh: &Mesh, mode: &str) -> Value {
    let manager = parts::manager(
        name,
        filters,
        &json!({
            "use_remote_address": false,
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
            "normalize_path": true,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "server_name": "istio-envoy",
        }),
    );
    let socket = tls("Downstream", Some(&mesh.pod), &mesh.authority, "spiffe://cluster.local/");
    let mut listener = parts::listener(
        name,
        vec![manager.clone()],
        json!({"filter_chain_match": {"transport_protocol": "tls"}, "transport_socket": socket}),
    );
    if mode != "STRICT" {
        let plain = json!({"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [manager]});
        listener["filter_chains"].as_array_mut().unwrap().push(plain);
    }
    listener["listener_filters"] = json!([
        parts::typed("original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst", json!({})),
        parts::typed("tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({})),
    ]);
    listener["traffic_direction"] = json!("INBOUND");
    listener
}

/// The application behind the sidecar. Istio marks these connections with its own source address.
pub fn application(address: SocketAddr) -> Value {
    let mut cluster = parts::cluster(parts::UPSTREAM, address);
    cluster["upstream_bind_config"] = json!({"source_address": {"address": "127.0.0.6", "port_value": 0}});
    cluster
}
