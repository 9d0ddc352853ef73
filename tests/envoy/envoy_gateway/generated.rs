//! What Envoy Gateway generates from the manifests in `envoy/envoy-gateway`: filters in its order, disabled globally
//! and enabled route by route, and the module's configuration as a JSON string. Only addresses, ports, files and the
//! provider's answers are ours.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use harness::envoy::{self, Envoy, Scratch};
use harness::gateway::lay;
use harness::jwt::{self, Key};
use harness::manifests::{self, of_kind};
use harness::parts;
use harness::wire::{self, Connection};
use serde_json::{Value, json};

pub const FILE: &str = "envoy/envoy-gateway/gateway.yaml";
pub const NICK: &str = "nick@example.com";
const OAUTH2: &str = "envoy.filters.http.oauth2/securitypolicy/openclaw/openclaw";
pub const JWT: &str = "envoy.filters.http.jwt_authn";
const WASM: &str = "envoy.filters.http.wasm/envoyextensionpolicy/openclaw/openclaw/wasm/0";

/// An identity provider's token endpoint: any code gets a token for Nick.
pub struct Provider {
    pub key: Key,
}

impl Provider {
    pub fn token(&self, user: &str) -> String {
        let claims = json!({"iss": "https://id.example.com", "aud": "openclaw", "sub": "1", "email": user});
        self.key.sign(&jwt::for_an_hour(claims))
    }

    /// Answers one request on its own thread.
    pub fn answer_once(&self) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let body = json!({
            "access_token": "opaque", "id_token": self.token(NICK), "token_type": "Bearer", "expires_in": 3600,
        })
        .to_string();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut connection = Connection::new(stream);
            let head = connection.head().unwrap().unwrap();
            let text = wire::latin1(&head);
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            let form = wire::latin1(&connection.exactly(length).unwrap());
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            connection.send(answer.as_bytes()).unwrap();
            form
        });
        (address, thread)
    }
}

fn oauth2(security: &Value) -> Value {
    let oidc = &security["spec"]["oidc"];
    let path_of = |url: &Value| format!("/{}", url.as_str().unwrap().splitn(4, '/').nth(3).unwrap());
    let exact = |path: &str| json!({"path": {"exact": path}});
    let headers = oidc["denyRedirect"]["headers"].as_array().unwrap().iter();
    let deny: Vec<Value> =
        headers.map(|one| json!({"name": one["name"], "string_match": {"exact": one["value"]}})).collect();
    assert_eq!(oidc["passThroughAuthHeader"], true);
    let mut filter = parts::typed(
        OAUTH2,
        "envoy.extensions.filters.http.oauth2.v3.OAuth2",
        json!({"config": {
            "authorization_endpoint": oidc["provider"]["authorizationEndpoint"],
            "token_endpoint": {"cluster": "id_example_com_443", "uri": oidc["provider"]["tokenEndpoint"], "timeout": "10s"},
            "redirect_uri": oidc["redirectURL"],
            "redirect_path_matcher": exact(&path_of(&oidc["redirectURL"])),
            "signout_path": exact(oidc["logoutPath"].as_str().unwrap()),
            "auth_scopes": oidc["scopes"],
            "auth_type": "BASIC_AUTH",
            "credentials": {
                "client_id": oidc["clientID"],
                "token_secret": {"name": "token"},
                "hmac_secret": {"name": "hmac"},
                "cookie_names": {"id_token": oidc["cookieNames"]["idToken"]},
            },
            "deny_redirect_matcher": deny,
            "pass_through_matcher": [{"name": "Authorization", "string_match": {"prefix": "Bearer "}}],
            "preserve_authorization_header": true,
        }}),
    );
    filter["disabled"] = json!(true);
    filter
}

fn jwt_authn(security: &Value, keys: &Value) -> Value {
    let provider = &security["spec"]["jwt"]["providers"][0];
    let headers = provider["extractFrom"]["headers"].as_array().unwrap().iter();
    let headers: Vec<Value> =
        headers.map(|one| json!({"name": one["name"], "value_prefix": one["valuePrefix"]})).collect();
    parts::typed(
        JWT,
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": {"httproute/openclaw/openclaw/rule/0/login": {
                "issuer": provider["issuer"],
                "audiences": provider["audiences"],
                "local_jwks": {"inline_string": keys.to_string()},
                "forward": true,
                "from_headers": headers,
                "from_cookies": provider["extractFrom"]["cookies"],
                "payload_in_metadata": provider["name"],
                "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
            }},
            "requirement_map": {"login": {"provider_name": "httproute/openclaw/openclaw/rule/0/login"}},
        }),
    )
}

fn wasm(extension: &Value) -> Value {
    let wasm = &extension["spec"]["wasm"][0];
    let mut config = parts::plugin(wasm["name"].as_str().unwrap(), &wasm["config"]);
    // Envoy Gateway sets `fail_open` and does not set a failure policy.
    config.as_object_mut().unwrap().remove("failure_policy").unwrap();
    config["fail_open"] = wasm["failOpen"].clone();
    config["vm_config"]["vm_id"] = json!(WASM.trim_start_matches("envoy.filters.http.wasm/"));
    let mut filter = parts::typed(WASM, "envoy.extensions.filters.http.wasm.v3.Wasm", json!({"config": config}));
    filter["disabled"] = json!(true);
    filter
}

/// Routes of the two HTTPRoutes, and one that somebody added with its own header. `everywhere`: the filter is on all
/// of them, as it is if the EnvoyExtensionPolicy targets the Gateway; otherwise it is on those that the policy
/// targets.
fn routes(documents: &[Value], everywhere: bool) -> Value {
    let on = |name: &str| {
        let enabled = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
        let requirement = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", "requirement_name": "login",
        });
        (name.to_owned(), if name == JWT { requirement } else { enabled })
    };
    let route = |found: Value, filters: &[&str]| {
        let filters: serde_json::Map<String, Value> = filters.iter().map(|name| on(name)).collect();
        json!({
            "match": found,
            "route": {"cluster": parts::UPSTREAM, "timeout": "0s", "upgrade_configs": [{"upgrade_type": "websocket"}]},
            "typed_per_filter_config": filters,
        })
    };
    let health = documents.iter().find(|one| one["metadata"]["name"] == "openclaw-health").expect("a route for health");
    let matches = health["spec"]["rules"][0]["matches"].as_array().unwrap();
    let added = json!({"prefix": "/", "headers": [{"name": "x-added-route", "present_match": true}]});
    let mut all: Vec<Value> = matches.iter().map(|one| route(json!({"path": one["path"]["value"]}), &[WASM])).collect();
    all.push(route(added, if everywhere { &[WASM] } else { &[] }));
    all.push(route(json!({"prefix": "/"}), &[OAUTH2, JWT, WASM]));
    let hosts = &of_kind(documents, "Gateway")["spec"]["listeners"][0]["hostname"];
    json!({"virtual_hosts": [{"name": "openclaw", "domains": [hosts], "routes": all}]})
}

/// An Envoy with these manifests, in front of an upstream.
pub fn start(provider: &Provider, token_endpoint: SocketAddr, upstream: SocketAddr) -> Envoy {
    let folder = Scratch::new("envoy-gateway");
    let certificate = folder.path().to_owned();
    envoy::certificate(&certificate, &["claw.example.com"]).unwrap();
    let documents = manifests::read(FILE);
    let traffic = &of_kind(&documents, "ClientTrafficPolicy")["spec"];
    let security = of_kind(&documents, "SecurityPolicy");
    let action = |value: &Value, known: &[(&str, &str)]| {
        let found = known.iter().find(|(ours, _)| value == ours);
        found.unwrap_or_else(|| panic!("{value} among {known:?}")).1.to_owned()
    };
    let listener = |name: &str, everywhere: bool, settings: Value| {
        let filters = vec![
            oauth2(security),
            jwt_authn(security, &jwt::jwks([&provider.key])),
            wasm(of_kind(&documents, "EnvoyExtensionPolicy")),
        ];
        let removed = traffic["headers"]["earlyRequestHeaders"]["remove"].as_array().unwrap();
        let removed: Vec<Value> = removed.iter().map(|name| json!({"remove": name})).collect();
        let mut all = json!({
            "use_remote_address": true,
            "normalize_path": true,
            "merge_slashes": traffic["path"]["disableMergeSlashes"] == false,
            "path_with_escaped_slashes_action":
                action(&traffic["path"]["escapedSlashesAction"], &[("KeepUnchanged", "KEEP_UNCHANGED")]),
            "common_http_protocol_options": {"headers_with_underscores_action":
                action(&traffic["headers"]["withUnderscoresAction"], &[("RejectRequest", "REJECT_REQUEST")])},
            "server_header_transformation": "PASS_THROUGH",
            "early_header_mutation_extensions": [parts::typed(
                "envoy.http.early_header_mutation.header_mutation",
                "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                json!({"mutations": removed}),
            )],
            // The routes enable WebSockets.
            "upgrade_configs": [],
            "route_config": routes(&documents, everywhere),
        });
        lay(&mut all, &settings);
        let mut manager = parts::manager(name, filters, &all);
        let router = manager["typed_config"]["http_filters"].as_array_mut().and_then(|all| all.last_mut()).unwrap();
        router["typed_config"]["suppress_envoy_headers"] = json!(traffic["headers"]["enableEnvoyHeaders"] == false);
        parts::listener(name, vec![manager], json!({}))
    };
    let mut proxied = listener("proxyProtocol", true, json!({}));
    proxied["listener_filters"] = json!([parts::proxy_lines()]);
    let mut terminated = listener("TLS", true, json!({}));
    terminated["filter_chains"][0]["transport_socket"] = parts::typed(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": action(&traffic["tls"]["minVersion"], &[("1.2", "TLSv1_2")])},
            "alpn_protocols": traffic["tls"]["alpnProtocols"],
            "tls_certificates": [{
                "certificate_chain": {"filename": certificate.join("cert.pem")},
                "private_key": {"filename": certificate.join("key.pem")},
            }],
        }}),
    );
    let listeners = vec![
        terminated,
        listener("https", true, json!({})),
        listener("on one route", false, json!({})),
        listener("no early removal", false, json!({"early_header_mutation_extensions": []})),
        listener("clientIPDetection", true, json!({"xff_num_trusted_hops": 1})),
        proxied,
    ];
    let clusters =
        vec![parts::cluster(parts::UPSTREAM, upstream), parts::cluster("id_example_com_443", token_endpoint)];
    let mut bootstrap = parts::bootstrap(listeners, clusters);
    let secret =
        |name: &str, value: &str| json!({"name": name, "generic_secret": {"secret": {"inline_string": value}}});
    bootstrap["static_resources"]["secrets"] =
        json!([secret("token", "a client secret"), secret("hmac", "for the cookies")]);
    let file = folder.path().join("envoy.yaml");
    fs::write(&file, bootstrap.to_string()).unwrap();
    Envoy::run(folder, &file)
}
