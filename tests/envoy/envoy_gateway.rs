//! Envoy Gateway: the manifests in `envoy/envoy-gateway` are valid for its schemas. The Envoy configuration that it
//! generates from such manifests is rebuilt from these files and run, including a complete login.
//!
//! The parts are Envoy Gateway's: filters in its order, disabled globally and enabled route by route, and the
//! module's configuration as a JSON string. Only addresses, ports, files and the provider's answers are ours.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};

use harness::echo::{self, Echo};
use harness::envoy::{self, Envoy, Scratch};
use harness::gateway::lay;
use harness::jwt::{self, Key};
use harness::manifests::{self, Schemas, of_kind};
use harness::parts;
use harness::wire::{self, Connection, Response, values};
use policy::config::compile;
use serde_json::{Value, json};

const FILE: &str = "envoy/envoy-gateway/gateway.yaml";
const NICK: &str = "nick@example.com";
const OAUTH2: &str = "envoy.filters.http.oauth2/securitypolicy/openclaw/openclaw";
const JWT: &str = "envoy.filters.http.jwt_authn";
const WASM: &str = "envoy.filters.http.wasm/envoyextensionpolicy/openclaw/openclaw/wasm/0";

// ---------------------------------------------------------------------------------------------------------------------
// The manifests
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn the_manifests_hold_against_the_schemas_and_a_wrong_field_does_not() {
    let schemas = Schemas::load();
    let documents = manifests::read(FILE);
    for document in &documents {
        assert_eq!(schemas.problems(document), Vec::<String>::new());
    }
    // The alternatives from the page and from the file's comments, merged into an object by its kind and path; null
    // removes a field.
    let instead = [
        ("ClientTrafficPolicy", "/spec", json!({"proxyProtocol": {}})),
        ("ClientTrafficPolicy", "/spec/tls", json!({"clientValidation": {"caCertificateRefs": [{"name": "mesh"}]}})),
        (
            "EnvoyExtensionPolicy",
            "/spec/wasm/0/code",
            json!({"type": "HTTP", "image": null, "http": {"url": "https://files.example.com/filter.wasm", "sha256": "0".repeat(64)}}),
        ),
    ];
    for (kind, path, over) in instead {
        let mut document = of_kind(&documents, kind).clone();
        lay(document.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")), &over);
        assert_eq!(schemas.problems(&document), Vec::<String>::new(), "{kind}: {over}");
    }
    // The kind, the path of an object, the change, and a part of the schema's message.
    let wrong = [
        ("EnvoyExtensionPolicy", "/spec/wasm/0", json!({"failOpen": "no"}), "failOpen"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0", json!({"failureStrategy": "FAIL_RELOAD"}), "failureStrategy"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/code", json!({"type": "HTTP"}), "code"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/code", json!({"type": "ConfigMap"}), "ConfigMap"),
        ("EnvoyExtensionPolicy", "/spec/targetRefs/0", json!({"kind": "Service"}), "Service"),
        ("EnvoyExtensionPolicy", "/spec/targetRefs/0", json!({"group": "apps"}), "was expected"),
        (
            "EnvoyExtensionPolicy",
            "/spec",
            json!({"targetRef": {"group": "g", "kind": "Gateway", "name": "n"}}),
            "targetRef",
        ),
        ("SecurityPolicy", "/spec/oidc", json!({"clientSecret": "hunter2"}), "hunter2"),
        ("SecurityPolicy", "/spec/oidc/denyRedirect/headers/0", json!({"type": "Equal"}), "Equal"),
        ("SecurityPolicy", "/spec/jwt/providers/0", json!({"audience": "openclaw"}), "audience"),
        (
            "SecurityPolicy",
            "/spec/jwt/providers/0",
            json!({"localJWKS": {"type": "Inline", "inline": "{}"}}),
            "providers/0",
        ),
        ("SecurityPolicy", "/spec/oidc", json!({"clientIDRef": {"name": "openclaw-oidc"}}), "oneOf"),
        ("SecurityPolicy", "/spec/oidc", json!({"cookieDomain": "Example.com"}), "Example.com"),
        ("SecurityPolicy", "/metadata", json!({"namespace": "open claw"}), "open claw"),
        ("ClientTrafficPolicy", "/spec/path", json!({"escapedSlashesAction": "Keep"}), "Keep"),
        ("ClientTrafficPolicy", "/spec/headers", json!({"withUnderscoresAction": "REJECT_REQUEST"}), "REJECT_REQUEST"),
        ("ClientTrafficPolicy", "/spec/tls", json!({"minVersion": 1.2}), "1.2"),
        ("Gateway", "/spec/listeners/0", json!({"port": 0}), "0"),
        ("HTTPRoute", "/spec/rules/0/timeouts", json!({"request": "none"}), "none"),
        ("EnvoyExtensionPolicy", "", json!({"metadata": null}), "metadata"),
        ("EnvoyExtensionPolicy", "/spec", json!({"targetRefs": null}), "oneOf"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0", json!({"code": null}), "code"),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/code/image", json!({"url": null}), "url"),
        ("SecurityPolicy", "/spec/oidc", json!({"clientSecret": null}), "clientSecret"),
        ("SecurityPolicy", "/spec/oidc/provider", json!({"issuer": null}), "issuer"),
        ("SecurityPolicy", "/spec/jwt/providers/0", json!({"name": null}), "name"),
        ("ClientTrafficPolicy", "/spec/targetRefs/0", json!({"kind": null}), "kind"),
        ("Gateway", "/spec", json!({"gatewayClassName": null}), "gatewayClassName"),
        ("Gateway", "/spec/listeners/0", json!({"protocol": null}), "protocol"),
        ("HTTPRoute", "/spec/rules/0/backendRefs/0", json!({"name": null}), "name"),
    ];
    for (kind, path, over, said) in wrong {
        let mut document = documents.iter().find(|one| one["kind"] == kind).expect("one of this kind").clone();
        lay(document.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")), &over);
        let problems = schemas.problems(&document).concat();
        assert!(problems.contains(said), "{kind}: {over}: {problems:?}");
    }
}

#[test]
fn the_manifests_agree_with_each_other_and_the_policy_compiles() {
    let documents = manifests::read(FILE);
    let wasm = &of_kind(&documents, "EnvoyExtensionPolicy")["spec"]["wasm"][0];
    compile(wasm["config"].to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(wasm["failOpen"], false);
    let (_, digest) =
        wasm["code"]["image"]["url"].as_str().unwrap().split_once("@sha256:").expect("an image by its digest");
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    // Envoy Gateway keeps the claims under the provider's name.
    let provider = &of_kind(&documents, "SecurityPolicy")["spec"]["jwt"]["providers"][0]["name"];
    assert_eq!(wasm["config"]["filter"]["assertion"]["metadata"], json!([JWT, provider, "email"]));
    // The filter covers every route of the Gateway.
    let target = &of_kind(&documents, "EnvoyExtensionPolicy")["spec"]["targetRefs"][0];
    assert_eq!(
        (&target["kind"], &target["name"]),
        (&json!("Gateway"), &of_kind(&documents, "Gateway")["metadata"]["name"])
    );
    assert_eq!(of_kind(&documents, "ClientTrafficPolicy")["spec"]["clientIPDetection"], Value::Null);
}

// ---------------------------------------------------------------------------------------------------------------------
// What Envoy Gateway generates from them
// ---------------------------------------------------------------------------------------------------------------------

/// An identity provider's token endpoint: any code gets a token for Nick.
struct Provider {
    key: Key,
}

impl Provider {
    fn token(&self, user: &str) -> String {
        let claims = json!({"iss": "https://id.example.com", "aud": "openclaw", "sub": "1", "email": user});
        self.key.sign(&jwt::for_an_hour(claims))
    }

    /// Answers one request on its own thread.
    fn answer_once(&self) -> (SocketAddr, std::thread::JoinHandle<String>) {
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

fn start(provider: &Provider, token_endpoint: SocketAddr, echo: &Echo) -> Envoy {
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
        vec![parts::cluster(parts::UPSTREAM, echo.address()), parts::cluster("id_example_com_443", token_endpoint)];
    let mut bootstrap = parts::bootstrap(listeners, clusters);
    let secret =
        |name: &str, value: &str| json!({"name": name, "generic_secret": {"secret": {"inline_string": value}}});
    bootstrap["static_resources"]["secrets"] =
        json!([secret("token", "a client secret"), secret("hmac", "for the cookies")]);
    let file = folder.path().join("envoy.yaml");
    fs::write(&file, bootstrap.to_string()).unwrap();
    Envoy::run(folder, &file)
}

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A request from an address that is not loopback, like a browser's.
fn request(from: IpAddr, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (Connection, Response) {
    let mut connection = Connection::new(wire::open_from(from, to).unwrap());
    connection.send(&wire::request("GET", path, &[&[("host", "claw.example.com")], headers].concat())).unwrap();
    let response = connection.response("GET").unwrap();
    (connection, response)
}

/// The user that the upstream got, or the filter's reason, or the status of another component's answer.
fn outcome((connection, response): (Connection, Response)) -> Result<Vec<String>, String> {
    let user_of = |json: &Value| Ok(values(&echo::received(json), "x-openclaw-user"));
    match response.status {
        200 => user_of(&response.json()),
        101 => match wire::first_message(connection) {
            wire::First::Text(text) => user_of(&serde_json::from_str(&text).unwrap()),
            wire::First::Close(1008, reason) => Err(reason.rsplit(": ").next().unwrap().to_owned()),
            other @ wire::First::Close(..) => panic!("{other:?}"),
        },
        status => Err(response.json()["error"]["reason"].as_str().map_or_else(|| status.to_string(), str::to_owned)),
    }
}

#[test]
fn a_login_goes_all_the_way_and_nothing_else_names_a_user() {
    let provider = Provider { key: Key::rs256("login") };
    let (token_endpoint, answering) = provider.answer_once();
    let echo = Echo::start().unwrap();
    let envoy = start(&provider, token_endpoint, &echo);
    let from = wire::own_address().unwrap_or_else(|problem| panic!("{problem}"));
    let https = envoy.address("https");
    let get = |path: &str, headers: &[(&str, &str)]| request(from, https, path, headers);

    // A browser is redirected to the provider, returns with a code, and gets cookies.
    let (_, sent) = get("/chat", &[]);
    assert_eq!(sent.status, 302, "{sent:?}");
    let location = sent.header("location").unwrap();
    assert!(location.starts_with("https://id.example.com/authorize?"), "{location}");
    let state = location.split(['?', '&']).find_map(|part| part.strip_prefix("state=")).expect("a state");
    let first = cookies(&sent);
    let (_, back) = get(&format!("/oauth2/callback?code=4711&state={state}"), &[("cookie", &first)]);
    assert_eq!(back.status, 302, "{back:?}");
    assert!(answering.join().unwrap().contains("code=4711"), "the code goes to the provider");
    let session = cookies(&back);
    assert!(
        session.contains("IdToken=") && !session.contains(&provider.token(NICK)),
        "the cookie is encrypted: {session}"
    );

    let signed_in = [("cookie", session.as_str())];
    let nick = Ok(vec![NICK.to_owned()]);
    assert_eq!(outcome(get("/", &signed_in)), nick);
    assert_eq!(outcome(get("/", &[&signed_in[..], &UPGRADE].concat())), nick, "the WebSocket");
    assert_eq!(outcome(get("/", &[signed_in[0], ("x-openclaw-user", "admin@example.com")])), nick);
    let evil = [signed_in[0], ("origin", "https://evil.example.net")];
    assert_eq!(outcome(get("/", &evil)), Err("trusted_proxy_origin_not_allowed".to_owned()));
    assert_eq!(outcome(get("/", &[&evil[..], &UPGRADE].concat())), Err("trusted_proxy_origin_not_allowed".to_owned()));

    // Without a valid login: browsers are redirected to it, WebSockets get 401.
    let (own, forged) =
        (format!("IdToken={}", provider.token(NICK)), Key::rs256("login").sign(&json!({"email": NICK})));
    for headers in [vec![("x-openclaw-user", NICK)], vec![("cookie", own.as_str())], vec![]] {
        assert_eq!(outcome(get("/", &headers)), Err("302".to_owned()), "{headers:?}");
        assert_eq!(outcome(get("/", &[&headers[..], &UPGRADE].concat())), Err("401".to_owned()), "{headers:?}");
    }
    // Programs send their own token.
    let bearer = |token: &str| format!("Bearer {token}");
    let mallory = bearer(&provider.token("mallory@example.com"));
    for (token, expected) in [
        (bearer(&provider.token(NICK)), nick.clone()),
        (mallory.clone(), Err("trusted_proxy_user_not_allowed".to_owned())),
        (bearer(&forged), Err("401".to_owned())),
        // Without a token: like a browser.
        (bearer(""), Err("302".to_owned())),
    ] {
        let headers = [("authorization", token.as_str()), ("x-openclaw-user", NICK)];
        assert_eq!(outcome(get("/v1/models", &headers)), expected, "{token}");
        let expected = if expected == Err("302".to_owned()) { Err("401".to_owned()) } else { expected };
        assert_eq!(outcome(get("/", &[&headers[..], &UPGRADE].concat())), expected, "{token}, WebSocket");
    }
    // The health check does not need a user, and does not get one.
    assert_eq!(outcome(get("/healthz", &[("x-openclaw-user", NICK)])), Ok(Vec::new()));
    assert_eq!(outcome(get("/healthz", &UPGRADE)), Err("trusted_proxy_assertion_missing".to_owned()));
}

fn cookies(response: &Response) -> String {
    let all: Vec<String> = values(&response.headers, "set-cookie")
        .iter()
        .map(|one| one.split(';').next().unwrap().to_owned())
        .filter(|one| !one.ends_with("=deleted"))
        .collect();
    all.join("; ")
}

#[test]
fn every_route_of_the_gateway_has_the_filter_and_needs_it() {
    let provider = Provider { key: Key::rs256("login") };
    let echo = Echo::start().unwrap();
    // Nobody contacts the provider here.
    let envoy = start(&provider, echo.address(), &echo);
    let from = wire::own_address().unwrap_or_else(|problem| panic!("{problem}"));
    let stranger = [("x-openclaw-user", NICK), ("x-added-route", "1")];
    let ask = |name: &str, headers: &[(&str, &str)]| outcome(request(from, envoy.address(name), "/", headers));
    for headers in [stranger.to_vec(), [&stranger[..], &UPGRADE].concat()] {
        assert_eq!(ask("https", &headers), Err("trusted_proxy_assertion_missing".to_owned()), "{headers:?}");
        // With the policy on one HTTPRoute, another HTTPRoute to the same backend bypasses the filter. This is why
        // the policy targets the Gateway. It still brings no user, because of `earlyRequestHeaders`.
        assert_eq!(ask("no early removal", &headers), Ok(vec![NICK.to_owned()]), "{headers:?}");
        assert_eq!(ask("on one route", &headers), Ok(Vec::new()), "{headers:?}");
    }
    let token = format!("Bearer {}", provider.token(NICK));
    let signed_in = [("authorization", token.as_str())];
    for name in ["https", "on one route"] {
        assert_eq!(ask(name, &signed_in), Ok(vec![NICK.to_owned()]), "{name}");
    }
    // clientIPDetection: the peer would come from a header, so nobody is admitted.
    for client in ["198.51.100.9", "127.0.0.1"] {
        let headers = [signed_in[0], ("x-forwarded-for", client)];
        assert_eq!(ask("clientIPDetection", &headers), Err("trusted_proxy_peer_unverified".to_owned()), "{client}");
        assert_eq!(ask("https", &headers), Ok(vec![NICK.to_owned()]), "{client}");
    }
    // The PROXY protocol is trusted.
    let mut connection = Connection::open(envoy.address("proxyProtocol")).unwrap();
    connection.send(&wire::proxy_line("198.51.100.9")).unwrap();
    connection.send(&wire::request("GET", "/", &[("host", "claw.example.com"), signed_in[0]])).unwrap();
    let response = connection.response("GET").unwrap();
    let received = echo::received(&response.json());
    assert_eq!(values(&received, "x-forwarded-for"), ["198.51.100.9"], "{response:?}");
    // Paths and headers as the ClientTrafficPolicy sets them.
    let (_, kept) = request(from, envoy.address("https"), "/v1//models/openclaw%2Fmain", &signed_in);
    assert_eq!(kept.json()["path"], "/v1/models/openclaw%2Fmain", "{kept:?}");
    let (_, refused) = request(from, envoy.address("https"), "/", &[signed_in[0], ("x_openclaw_user", NICK)]);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(kept.header("x-envoy-upstream-service-time"), None, "{kept:?}");
    // TLS, and HTTP/1.1 over it for browsers, which prefer HTTP/2: this way a refused WebSocket can carry its reason.
    let certificate = fs::read(envoy.folder().join("cert.pem")).unwrap();
    let evil = [("host", "claw.example.com"), signed_in[0], ("origin", "https://evil.example.net")];
    let honest = [evil[0], evil[1], ("origin", "https://claw.example.com")];
    let refused = wire::First::Close(1008, "origin not allowed: trusted_proxy_origin_not_allowed".to_owned());
    for (headers, expected) in [(honest, None), (evil, Some(refused))] {
        let stream = wire::open_from(from, envoy.address("TLS")).unwrap();
        let mut stream = wire::tls_over(stream, "claw.example.com", &certificate, &["h2", "http/1.1"]).unwrap();
        stream.flush().unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut connection = Connection::new(stream);
        connection.send(&wire::request("GET", "/", &[&headers[..], &UPGRADE].concat())).unwrap();
        assert_eq!(connection.response("GET").unwrap().status, 101);
        match (wire::first_message(connection), expected) {
            (seen, Some(expected)) => assert_eq!(seen, expected),
            (wire::First::Text(text), None) => assert!(text.contains(NICK), "{text}"),
            (seen, None) => panic!("{seen:?}"),
        }
    }
    // This Gateway does not serve other hosts.
    let mut connection = Connection::new(wire::open_from(from, envoy.address("https")).unwrap());
    connection.send(&wire::request("GET", "/", &[("host", "other.example.com"), signed_in[0]])).unwrap();
    assert_eq!(connection.response("GET").unwrap().status, 404);
}
