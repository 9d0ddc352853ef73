//! Istio: the manifests in `envoy/istio` hold against Istio's schemas, and the Envoy configuration that istiod makes of such
//! manifests is rebuilt out of these very files and run: an ingress gateway and the sidecar behind it, with mutual TLS between.
//!
//! The parts are istiod's: filters in the order of its phases, a WasmPlugin as an ECDS resource whose configuration is a JSON
//! string, listeners as it writes them for gateways and for what comes into a pod. Only addresses, ports and files are ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use harness::echo::{self, Echo};
use harness::envoy::{self, Envoy, Scratch, eventually};
use harness::gateway::lay;
use harness::jwt::{self, Key};
use harness::manifests::{self, Schemas, of_kind};
use harness::parts;
use harness::pki::{Authority, Identity, Validity};
use harness::wire::{self, Connection, values};
use openclaw_trusted_proxy::config::compile;
use serde_json::{Value, json};

const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const NICK: &str = "nick@example.com";

// ---------------------------------------------------------------------------------------------------------------------
// The manifests
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn the_manifests_hold_against_istios_schemas_and_a_wrong_field_does_not() {
    let schemas = Schemas::load();
    for file in [INGRESS, SIDECAR] {
        for document in manifests::read(file) {
            assert_eq!(schemas.problems(&document), Vec::<String>::new(), "{file}");
        }
    }
    // The file, the kind, the path of a field, what is written there, and a part of what the schema says.
    let wrong = [
        (INGRESS, "WasmPlugin", "/spec/failStrategy", json!("FAIL_SOMETIMES"), "FAIL_SOMETIMES"),
        (INGRESS, "WasmPlugin", "/spec/phase", json!("AUTHENTICATION"), "AUTHENTICATION"),
        (INGRESS, "WasmPlugin", "/spec/priority", json!("last"), "last"),
        (INGRESS, "WasmPlugin", "/spec/pluginConfig", json!("{}"), "pluginConfig"),
        (INGRESS, "WasmPlugin", "/spec/failPolicy", json!("FAIL_CLOSE"), "failPolicy"),
        (INGRESS, "WasmPlugin", "/spec/url", json!(null), "url"),
        (SIDECAR, "WasmPlugin", "/spec/match/0/mode", json!("INBOUND"), "INBOUND"),
        (SIDECAR, "WasmPlugin", "/spec/selector/labels", json!({}), "labels"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/applyTo", json!("HTTP_FILTERS"), "HTTP_FILTERS"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/patch/operation", json!("INSERT"), "INSERT"),
        (SIDECAR, "EnvoyFilter", "/spec/configPatches/0/match/context", json!("INBOUND"), "INBOUND"),
        (SIDECAR, "PeerAuthentication", "/spec/mtls/mode", json!("ON"), "ON"),
        (SIDECAR, "AuthorizationPolicy", "/spec/action", json!("PERMIT"), "PERMIT"),
        (SIDECAR, "Sidecar", "/spec/ingress/0/defaultEndpoints", json!("127.0.0.1:1"), "defaultEndpoints"),
        (INGRESS, "RequestAuthentication", "/spec/jwtRules/0/audience", json!("openclaw"), "audience"),
        (INGRESS, "Gateway", "/spec/servers/0/tls/mode", json!("TERMINATE"), "TERMINATE"),
    ];
    for (file, kind, path, value, said) in wrong {
        let documents = manifests::read(file);
        let mut document = of_kind(&documents, kind).clone();
        put(&mut document, path, value);
        let problems = schemas.problems(&document).concat();
        assert!(problems.contains(said), "{file}, {kind}: {path}: {problems:?}");
    }
    assert_eq!(schemas.problems(&json!({"apiVersion": "v2", "kind": "WasmPlugin"})), ["no schema for v2/WasmPlugin"]);
}

fn put(document: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').expect("a path");
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")).as_object_mut().unwrap();
    match value {
        Value::Null => drop(parent.remove(key).expect("the field is there")),
        value => drop(parent.insert(key.to_owned(), value)),
    }
}

#[test]
fn the_manifests_agree_with_each_other_and_their_policies_compile() {
    let (ingress, sidecar) = (manifests::read(INGRESS), manifests::read(SIDECAR));
    for (file, documents) in [(INGRESS, &ingress), (SIDECAR, &sidecar)] {
        let plugin = &of_kind(documents, "WasmPlugin")["spec"];
        let compiled = compile(plugin["pluginConfig"].to_string().as_bytes());
        compiled.unwrap_or_else(|errors| panic!("{file}: {errors}"));
        assert_eq!((&plugin["failStrategy"], &plugin["phase"]), (&json!("FAIL_RELOAD"), &json!("AUTHZ")), "{file}");
        let (_, digest) = plugin["url"].as_str().unwrap().split_once("@sha256:").expect("an image by its digest");
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{file}: {digest}");
        let key = &plugin["pluginConfig"]["filter"]["peerAddress"]["filterState"];
        assert_eq!(&patch(documents)["typed_config"]["on_request_headers"][0]["object_key"], key, "{file}");
        // Nothing is selected but the workload that the file is about.
        let label = match file {
            INGRESS => json!({"istio": "openclaw-ingress"}),
            _ => json!({"app": "openclaw-gateway"}),
        };
        for document in documents {
            let spec = &document["spec"];
            let selected = [&spec["selector"]["matchLabels"], &spec["workloadSelector"]["labels"], &spec["selector"]];
            let named = selected.into_iter().find(|one| !one.is_null());
            assert!(named.is_none_or(|labels| *labels == label), "{file}: {document}");
            assert!(named.is_some() || document["kind"] == "VirtualService", "{file}: {document}");
        }
    }
    // To Istio, what comes into a pod is SERVER, and what goes through a gateway is CLIENT.
    assert_eq!(of_kind(&sidecar, "WasmPlugin")["spec"]["match"][0]["mode"], "SERVER");
    assert_eq!(of_kind(&ingress, "WasmPlugin")["spec"]["match"], Value::Null);
    let trusted = &of_kind(&sidecar, "WasmPlugin")["spec"]["pluginConfig"]["filter"]["trustedPeers"];
    let principals = &of_kind(&sidecar, "AuthorizationPolicy")["spec"]["rules"][0]["from"][0]["source"]["principals"];
    assert_eq!(*trusted, json!([format!("spiffe://{}", principals[0].as_str().unwrap())]));
    assert_eq!(principals.as_array().unwrap().len(), 1);
}

/// The HTTP filter that the EnvoyFilter inserts first.
fn patch(documents: &[Value]) -> Value {
    let patches = &of_kind(documents, "EnvoyFilter")["spec"]["configPatches"];
    assert_eq!(patches.as_array().unwrap().len(), 1);
    assert_eq!(
        (&patches[0]["applyTo"], &patches[0]["patch"]["operation"]),
        (&json!("HTTP_FILTER"), &json!("INSERT_FIRST"))
    );
    patches[0]["patch"]["value"].clone()
}

// ---------------------------------------------------------------------------------------------------------------------
// What istiod makes of them
// ---------------------------------------------------------------------------------------------------------------------

/// The types that istiod allows for a WasmPlugin: the filter, and what its agent puts in the place of one that it cannot fetch.
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// A WasmPlugin's ECDS resource, as the agent hands it to Envoy once it has fetched the module.
fn resource(plugin: &Value) -> Value {
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

/// What the agent hands over as long as it cannot fetch the module: nobody passes.
fn deny_all(plugin: &Value) -> Value {
    let mut wrapped =
        parts::typed(&plugin_name(plugin), "envoy.extensions.filters.http.rbac.v3.RBAC", json!({"rules": {}}));
    wrapped["@type"] = json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    wrapped
}

fn plugin_name(plugin: &Value) -> String {
    let part = |name: &str| plugin["metadata"][name].as_str().unwrap();
    format!("{}.{}", part("namespace"), part("name"))
}

/// A place for ECDS resources, in the place of istiod's ADS.
struct Discovery<'f>(&'f Path);

impl Discovery<'_> {
    fn put(&self, resource: &Value) {
        let new = self.0.join("new");
        std::fs::write(&new, json!({"resources": [resource]}).to_string()).unwrap();
        std::fs::create_dir_all(self.0.join("ecds")).unwrap();
        std::fs::rename(&new, self.0.join("ecds/plugin.json")).unwrap();
    }

    fn filter(&self, plugin: &Value) -> Value {
        json!({"name": plugin_name(plugin), "config_discovery": {
            "config_source": {"resource_api_version": "V3", "path_config_source": {
                "path": self.0.join("ecds/plugin.json"), "watched_directory": {"path": self.0.join("ecds")},
            }},
            "type_urls": [WASM, RBAC],
        }})
    }
}

fn jwt_authn(authentication: &Value, keys: &Value) -> Value {
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

/// An AuthorizationPolicy's filter. Ports are left out: those of a test are free ones.
fn rbac(authorization: &Value) -> Value {
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

/// What istiod puts between the policies and the router.
fn builtin() -> [Value; 2] {
    [
        parts::typed("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault", json!({})),
        parts::typed("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors", json!({})),
    ]
}

fn tls(side: &str, certificate: Option<&Identity>, authority: &Authority, peers: &str) -> Value {
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

/// What comes into the pod, as the sidecar's listener has it. `modes` are those of PeerAuthentication.
fn inbound(name: &str, filters: Vec<Value>, mesh: &Mesh, mode: &str) -> Value {
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

/// Where the sidecar sends what it lets in. Istio's source address there is its own mark.
fn application(address: SocketAddr) -> Value {
    let mut cluster = parts::cluster(parts::UPSTREAM, address);
    cluster["upstream_bind_config"] = json!({"source_address": {"address": "127.0.0.6", "port_value": 0}});
    cluster
}

/// The mesh: its authority, who is who, and the address that everybody but the Gateway's pod connects from. It must not be
/// loopback: then it could be a process of the pod.
struct Mesh {
    authority: Authority,
    pod: Identity,
    ingress: Identity,
    other: Identity,
    address: IpAddr,
    key: Key,
    scratch: Scratch,
}

impl Mesh {
    fn new() -> Self {
        let scratch = Scratch::new("istio");
        let authority = Authority::new(scratch.path(), "istiod");
        let issue = |name: &str, uri: &str| authority.issue(name, &[uri], Validity::Now);
        Self {
            pod: issue("pod", "spiffe://cluster.local/ns/openclaw/sa/openclaw-gateway"),
            ingress: issue("ingress", "spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress"),
            other: issue("other", "spiffe://cluster.local/ns/default/sa/default"),
            authority,
            address: wire::own_address().unwrap_or_else(|problem| panic!("{problem}")),
            key: Key::rs256("login"),
            scratch,
        }
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        let folder = self.scratch.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A workload's way to the pod: a listener that passes on what it gets, headers as they are, with this certificate.
    fn way(&self, name: &str, certificate: &Identity, to: SocketAddr) -> (Value, Value) {
        let manager = parts::manager(
            name,
            Vec::new(),
            &json!({"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}]}]}}),
        );
        (parts::listener(name, vec![manager], json!({})), self.to_pod(name, certificate, to))
    }

    fn to_pod(&self, name: &str, certificate: &Identity, to: SocketAddr) -> Value {
        let mut cluster = parts::cluster(name, to);
        let pods = "spiffe://cluster.local/ns/openclaw/";
        cluster["transport_socket"] = tls("Upstream", Some(certificate), &self.authority, pods);
        cluster["upstream_bind_config"] =
            json!({"source_address": {"address": self.address.to_string(), "port_value": 0}});
        cluster
    }

    fn token(&self, user: &str) -> String {
        let claims = json!({"iss": "https://id.example.com", "aud": "openclaw", "sub": "1", "email": user});
        self.key.sign(&jwt::for_an_hour(claims))
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The upstream got it, as this user; none for what needs none.
    Admitted(Option<String>),
    /// The filter refused it.
    Refused(String),
    /// Something else in Envoy did.
    Status(u16),
    /// The connection ended without an answer.
    Nothing,
}

fn admitted(user: &str) -> Outcome {
    Outcome::Admitted(Some(user.to_owned()))
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused(reason.to_owned())
}

/// Asks, from the address that is not loopback.
fn ask(mesh: &Mesh, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Outcome {
    let mut connection = Connection::new(wire::open_from(mesh.address, to).unwrap());
    let all = [&[("host", "claw.example.com")], headers].concat();
    connection.send(&wire::request("GET", path, &all)).unwrap();
    let Ok(response) = connection.response("GET") else { return Outcome::Nothing };
    let user_of = |json: &Value| {
        let users = values(&echo::received(json), "x-forwarded-user");
        assert!(users.len() < 2, "{json}");
        Outcome::Admitted(users.into_iter().next())
    };
    match response.status {
        200 => user_of(&response.json()),
        101 => match wire::first_message(connection) {
            wire::First::Text(text) => user_of(&serde_json::from_str(&text).unwrap()),
            wire::First::Close(code, reason) => {
                assert_eq!(code, 1008, "{reason}");
                refused(reason.rsplit(": ").next().unwrap())
            }
        },
        status => match response.json()["error"]["reason"].as_str() {
            Some(reason) => refused(reason),
            None => Outcome::Status(status),
        },
    }
}

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Asks plainly and as a WebSocket, which must come to the same.
fn ask_both(mesh: &Mesh, to: SocketAddr, headers: &[(&str, &str)]) -> Outcome {
    let outcome = ask(mesh, to, "/v1/models", headers);
    assert_eq!(ask(mesh, to, "/", &[headers, &UPGRADE].concat()), outcome, "the WebSocket with {headers:?}");
    outcome
}

// ---------------------------------------------------------------------------------------------------------------------
// The whole way
// ---------------------------------------------------------------------------------------------------------------------

/// Sidecar listeners of the shipped manifests, and of manifests with something left out or changed.
fn start_sidecar(mesh: &Mesh, echo: &Echo) -> Envoy {
    let documents = manifests::read(SIDECAR);
    let (plugin, authorization) = (of_kind(&documents, "WasmPlugin"), of_kind(&documents, "AuthorizationPolicy"));
    let mode = of_kind(&documents, "PeerAuthentication")["spec"]["mtls"]["mode"].as_str().unwrap();
    let folders: Vec<_> = (0..8).map(|at| mesh.folder(&format!("sidecar-{at}"))).collect();
    let place = |at: usize, plugin: &Value| {
        let discovery = Discovery(&folders[at]);
        discovery.put(&resource(plugin));
        discovery.filter(plugin)
    };
    let with = |filter: Value| {
        let mut plugin = plugin.clone();
        lay(&mut plugin["spec"]["pluginConfig"]["filter"], &filter);
        plugin
    };
    // By address instead of by certificate: the ingress gateway at the address from which all come here, or at another.
    let by_address = |proxy: &str| json!({"trustedPeers": [], "peerTrust": "address", "trustedProxies": [proxy]});
    let own = mesh.address.to_string();
    let mut connection = by_address("10.7.7.7");
    connection["peerAddress"] = json!("connection");
    let (peer, rbac) = (patch(&documents), rbac(authorization));
    let chain = |first: &[&Value], filter: Value, last: &[&Value]| -> Vec<Value> {
        let mut all: Vec<Value> = first.iter().map(|one| (*one).clone()).collect();
        all.push(filter);
        all.extend(last.iter().map(|one| (*one).clone()));
        all.extend(builtin());
        all
    };
    let closing = with(json!({"webSocketRefusal": "close"}));
    let no_length = parts::typed(
        "no length",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        json!({"mutations": {"response_mutations": [{"remove": "content-length"}]}}),
    );
    let listeners = vec![
        inbound("shipped", chain(&[&peer], place(0, plugin), &[&rbac]), mesh, mode),
        inbound("permissive", chain(&[&peer], place(1, plugin), &[]), mesh, "PERMISSIVE"),
        inbound("own address listed", chain(&[&peer], place(2, &with(by_address(&own))), &[]), mesh, mode),
        inbound("another address listed", chain(&[&peer], place(3, &with(by_address("10.7.7.7"))), &[]), mesh, mode),
        inbound("no EnvoyFilter", chain(&[], place(4, plugin), &[]), mesh, mode),
        inbound("no EnvoyFilter, peer of the connection", chain(&[], place(5, &with(connection)), &[]), mesh, mode),
        inbound("closes WebSockets", chain(&[&peer], place(6, &closing), &[]), mesh, mode),
        inbound("closes WebSockets, no length", chain(&[&peer, &no_length], place(7, &closing), &[]), mesh, mode),
        inbound("no WasmPlugin", chain(&[&peer], rbac.clone(), &[]), mesh, mode),
    ];
    Envoy::start(&parts::bootstrap(listeners, vec![application(echo.address())]).to_string())
}

#[test]
fn a_signed_in_user_gets_through_ingress_and_sidecar_and_nobody_else_does() {
    let mesh = Mesh::new();
    let echo = Echo::start().unwrap();
    let sidecar = start_sidecar(&mesh, &echo);
    let documents = manifests::read(INGRESS);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("ingress");
    let discovery = Discovery(&folder);
    discovery.put(&resource(plugin));
    let filters = [
        patch(&documents),
        jwt_authn(of_kind(&documents, "RequestAuthentication"), &jwt::jwks([&mesh.key])),
        discovery.filter(plugin),
        rbac(of_kind(&documents, "AuthorizationPolicy")),
    ];
    let gateway = |name: &str, hops: u32| {
        let settings = json!({
            "use_remote_address": true, "xff_num_trusted_hops": hops, "forward_client_cert_details": "SANITIZE_SET",
            "normalize_path": true, "path_with_escaped_slashes_action": "KEEP_UNCHANGED", "server_name": "istio-envoy",
        });
        let filters = filters.iter().cloned().chain(builtin()).collect();
        parts::listener(name, vec![parts::manager(name, filters, &settings)], json!({}))
    };
    let clusters = vec![mesh.to_pod(parts::UPSTREAM, &mesh.ingress, sidecar.address("shipped"))];
    // numTrustedProxies makes Envoy believe X-Forwarded-For; the EnvoyFilter makes the filter not care.
    let ingress =
        Envoy::start(&parts::bootstrap(vec![gateway("ingress", 0), gateway("two hops", 2)], clusters).to_string());

    let bearer = |user: &str| format!("Bearer {}", mesh.token(user));
    let cookie = |user: &str| format!("IdToken={}", mesh.token(user));
    let (nick, mallory, in_cookie) = (bearer(NICK), bearer("mallory@example.com"), cookie(NICK));
    let forged = format!("Bearer {}", jwt::with_claims(&mesh.token("mallory@example.com"), &json!({"email": NICK})));
    let forwarded = ("x-forwarded-for", "10.0.0.1, 127.0.0.6");
    let named = ("x-forwarded-user", NICK);
    let certificate = ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress");
    let cases: Vec<(Vec<(&str, &str)>, Outcome)> = vec![
        (vec![("authorization", &nick)], admitted(NICK)),
        (vec![("cookie", &in_cookie)], admitted(NICK)),
        (vec![("authorization", &nick), forwarded, certificate], admitted(NICK)),
        (vec![("authorization", &nick), ("x-forwarded-user", "admin@example.com")], admitted(NICK)),
        (vec![("authorization", &nick), ("x_forwarded_user", "admin@example.com")], admitted(NICK)),
        (vec![("authorization", &mallory)], refused("trusted_proxy_user_not_allowed")),
        (vec![("authorization", &mallory), named], refused("trusted_proxy_user_not_allowed")),
        (vec![], refused("trusted_proxy_assertion_missing")),
        (vec![named], refused("trusted_proxy_assertion_missing")),
        (vec![named, forwarded, certificate], refused("trusted_proxy_assertion_missing")),
        // A bad token ends at jwt_authn.
        (vec![("authorization", &forged)], Outcome::Status(401)),
        (vec![("authorization", &nick), ("origin", "https://claw.example.com")], admitted(NICK)),
        (
            vec![("authorization", &nick), ("origin", "https://evil.example.net")],
            refused("trusted_proxy_origin_not_allowed"),
        ),
    ];
    for name in ["ingress", "two hops"] {
        let to = ingress.address(name);
        for (headers, expected) in &cases {
            assert_eq!(ask_both(&mesh, to, headers), *expected, "{name}: {headers:?}");
        }
        assert_eq!(ask(&mesh, to, "/healthz", &[named]), Outcome::Admitted(None), "{name}: health needs no identity");
        // Another host is not this gateway's: refused by AuthorizationPolicy, after the filter.
        let elsewhere = [("host", "other.example.com"), ("authorization", nick.as_str())];
        let mut connection = Connection::new(wire::open_from(mesh.address, to).unwrap());
        connection.send(&wire::request("GET", "/", &elsewhere)).unwrap();
        assert_eq!(connection.response("GET").unwrap().status, 403, "{name}");
    }
    // Who is loopback at the ingress gateway is nobody's client.
    let local = wire::get(ingress.address("ingress"), "/", &[("authorization", &nick)]).unwrap();
    assert_eq!(local.json()["error"]["reason"], "proxy_attribution_required", "{local:?}");
}

#[test]
fn in_the_sidecar_a_forged_address_does_not_help_and_only_the_ingress_gateway_is_believed() {
    let mesh = Mesh::new();
    let echo = Echo::start().unwrap();
    let sidecar = start_sidecar(&mesh, &echo);
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (name, address) in sidecar.addresses() {
        for (who, certificate) in [("ingress", &mesh.ingress), ("other", &mesh.other)] {
            let (listener, cluster) = mesh.way(&format!("{who} to {name}"), certificate, address);
            listeners.push(listener);
            clusters.push(cluster);
        }
    }
    let workloads = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());

    const CERTIFICATE: &str = "trusted_proxy_peer_certificate";
    let user = ("x-forwarded-user", NICK);
    let honest = ("x-forwarded-for", "198.51.100.9");
    // What an attacker writes there: the ingress gateway's address, the pod's own, Istio's.
    let forged = [
        ("x-forwarded-for", "10.7.7.7"),
        ("x-forwarded-for", "198.51.100.9, 10.7.7.7"),
        ("x-forwarded-for", "127.0.0.6"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    let ask_from = |who: &str, door: &str, headers: &[(&str, &str)]| {
        ask_both(&mesh, workloads.address(&format!("{who} to {door}")), headers)
    };
    for door in ["shipped", "permissive"] {
        assert_eq!(ask_from("ingress", door, &[user, honest]), admitted(NICK), "{door}");
        for headers in [
            vec![user, honest],
            vec![user],
            vec![user, forged[0]],
            vec![user, forged[1]],
            vec![user, forged[2]],
            vec![user, forged[3]],
        ] {
            assert_eq!(ask_from("other", door, &headers), refused(CERTIFICATE), "{door}: {headers:?}");
        }
    }
    assert_eq!(ask_from("ingress", "shipped", &[honest]), refused("trusted_proxy_user_missing"));

    // By address, with the EnvoyFilter: the true one counts, whatever the header says.
    assert_eq!(ask_from("other", "own address listed", &[user, honest]), admitted(NICK));
    assert_eq!(
        ask_from("other", "own address listed", &[user, ("x-forwarded-for", "203.0.113.9, 198.51.100.9")]),
        admitted(NICK)
    );
    for forged in forged {
        let seen = ask_from("other", "another address listed", &[user, forged]);
        assert_eq!(seen, refused("trusted_proxy_untrusted_source"), "{forged:?}");
    }
    // Without it: nothing is believed, and so nobody comes in, the honest proxy neither.
    for headers in [[user, honest], [user, forged[0]]] {
        for who in ["ingress", "other"] {
            let seen = ask_from(who, "no EnvoyFilter", &headers);
            assert_eq!(seen, refused("trusted_proxy_peer_unknown"), "{who}: {headers:?}");
            let seen = ask_from(who, "no EnvoyFilter, peer of the connection", &headers);
            assert_eq!(seen, refused("trusted_proxy_peer_unverified"), "{who}: {headers:?}");
        }
    }
    // AuthorizationPolicy alone, where the WasmPlugin was deleted: it knows the peer, and knows nothing of users.
    assert_eq!(ask_from("other", "no WasmPlugin", &[user, honest]), Outcome::Status(403));
    assert_eq!(ask_from("ingress", "no WasmPlugin", &[user, honest]), admitted(NICK));

    // An Envoy in front takes a 101 with a length for an error, so the client would not learn the reason. This is why the
    // sidecar answers with a plain 401; the other way is to take the length off.
    for (door, expected) in
        [("closes WebSockets", Outcome::Status(502)), ("closes WebSockets, no length", refused(CERTIFICATE))]
    {
        let to = workloads.address(&format!("other to {door}"));
        assert_eq!(ask(&mesh, to, "/", &[user, honest]), refused(CERTIFICATE), "{door}");
        assert_eq!(ask(&mesh, to, "/", &[&[user, honest][..], &UPGRADE].concat()), expected, "{door}");
    }

    // Past the mesh, without TLS. STRICT ends the connection; PERMISSIVE leaves it to the filter.
    for (door, expected) in [("shipped", Outcome::Nothing), ("permissive", refused(CERTIFICATE))] {
        assert_eq!(ask_both(&mesh, sidecar.address(door), &[user, honest]), expected, "{door}");
    }
    // A probe that Istio does not rewrite comes like that: it wants PERMISSIVE, and a path that needs no identity.
    for (door, expected) in [("shipped", Outcome::Nothing), ("permissive", Outcome::Admitted(None))] {
        assert_eq!(ask(&mesh, sidecar.address(door), "/healthz", &[user]), expected, "{door}");
    }
}

#[test]
fn the_gateway_sees_istios_own_loopback_address_and_its_list_must_name_it() {
    let mesh = Mesh::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let seen = std::thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || {
            let (mut stream, peer) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            peer.ip()
        }
    });
    let documents = manifests::read(SIDECAR);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("source");
    let discovery = Discovery(&folder);
    discovery.put(&resource(plugin));
    let listeners = vec![inbound("shipped", vec![patch(&documents), discovery.filter(plugin)], &mesh, "STRICT")];
    let sidecar =
        Envoy::start(&parts::bootstrap(listeners, vec![application(listener.local_addr().unwrap())]).to_string());
    let (listener, cluster) = mesh.way("way", &mesh.ingress, sidecar.address("shipped"));
    let way = Envoy::start(&parts::bootstrap(vec![listener], vec![cluster]).to_string());
    let headers = [("x-forwarded-user", NICK), ("x-forwarded-for", "198.51.100.9")];
    assert_eq!(wire::get(way.address("way"), "/", &headers).unwrap().status, 200);
    let source = seen.join().unwrap();
    assert_eq!(source, IpAddr::from([127, 0, 0, 6]));
    let listed = &plugin["spec"]["pluginConfig"]["gateway"]["trustedProxies"];
    assert!(listed.as_array().unwrap().contains(&json!(source.to_string())), "{listed}");
    assert_eq!(plugin["spec"]["pluginConfig"]["gateway"]["auth"]["trustedProxy"]["allowLoopback"], true);
}

/// A real one, with the block of openclaw.json that is in the WasmPlugin.
#[cfg(feature = "gateway")]
#[test]
fn the_real_gateway_takes_the_sidecar_for_its_proxy_if_its_list_names_istios_address() {
    use harness::gateway::{Gateway, Options};

    let mesh = Mesh::new();
    let documents = manifests::read(SIDECAR);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("real");
    let discovery = Discovery(&folder);
    discovery.put(&resource(plugin));
    let headers = [("x-forwarded-user", NICK), ("x-forwarded-for", "198.51.100.9")];
    let shipped = plugin["spec"]["pluginConfig"]["gateway"].clone();
    for (listed, expected) in [(shipped["trustedProxies"].clone(), 200), (json!(["127.0.0.1"]), 403)] {
        let mut block = shipped.clone();
        block["trustedProxies"] = listed.clone();
        let gateway = Gateway::start(&block, &Options::default());
        let listeners = vec![inbound("shipped", vec![patch(&documents), discovery.filter(plugin)], &mesh, "STRICT")];
        let sidecar = Envoy::start(&parts::bootstrap(listeners, vec![application(gateway.address())]).to_string());
        let (listener, cluster) = mesh.way("way", &mesh.ingress, sidecar.address("shipped"));
        let way = Envoy::start(&parts::bootstrap(vec![listener], vec![cluster]).to_string());
        let response = wire::get(way.address("way"), "/control-ui-config.json", &headers).unwrap();
        assert_eq!(response.status, expected, "{listed}: {response:?}");
        // What is refused here, the Gateway refuses: the filter gives a reason.
        assert!(response.json()["error"]["reason"].is_null(), "{response:?}");
        let stranger = wire::get(way.address("way"), "/control-ui-config.json", &headers[1..]).unwrap();
        assert_eq!(stranger.json()["error"]["reason"], "trusted_proxy_user_missing", "{stranger:?}");
    }
}

#[test]
fn until_the_module_is_fetched_nobody_passes_and_a_bad_update_changes_nothing() {
    let mesh = Mesh::new();
    let echo = Echo::start().unwrap();
    let documents = manifests::read(SIDECAR);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("fetching");
    let discovery = Discovery(&folder);
    discovery.put(&deny_all(plugin));
    let listeners = vec![inbound("shipped", vec![patch(&documents), discovery.filter(plugin)], &mesh, "STRICT")];
    let sidecar = Envoy::start(&parts::bootstrap(listeners, vec![application(echo.address())]).to_string());
    let (listener, cluster) = mesh.way("way", &mesh.ingress, sidecar.address("shipped"));
    let way = Envoy::start(&parts::bootstrap(vec![listener], vec![cluster]).to_string());
    let headers = [("x-forwarded-user", NICK), ("x-forwarded-for", "198.51.100.9")];
    let get = |path: &str| wire::get(way.address("way"), path, &headers).unwrap().status;
    assert_eq!((get("/"), get("/healthz")), (403, 403));
    assert_eq!(echo.requests(), 0);

    let stat = |name: &str| {
        sidecar.process().stat(&format!("extension_config_discovery.http_filter.{}.{name}", plugin_name(plugin)))
    };
    let (taken, rejected) = (stat("update_success"), stat("update_rejected"));
    discovery.put(&resource(plugin));
    eventually("the plugin to be taken", || stat("update_success") > taken);
    assert_eq!(get("/"), 200);

    let mut bad = plugin.clone();
    bad["spec"]["pluginConfig"]["gateway"]["auth"]["mode"] = json!("token");
    discovery.put(&resource(&bad));
    eventually("the bad policy to be rejected", || stat("update_rejected") > rejected);
    assert_eq!(get("/"), 200);
    let mut other = plugin.clone();
    other["spec"]["pluginConfig"]["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(["mary@example.com"]);
    let taken = stat("update_success");
    discovery.put(&resource(&other));
    eventually("the new policy to be taken", || stat("update_success") > taken);
    assert_eq!(get("/"), 401);
}
