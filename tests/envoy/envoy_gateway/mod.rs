//! Envoy Gateway: the manifests in `envoy/envoy-gateway` are valid for its schemas. The Envoy configuration that it
//! generates from such manifests is rebuilt from these files and run, including a complete login.
//!
//! The parts are Envoy Gateway's: filters in its order, disabled globally and enabled route by route, and the
//! module's configuration as a JSON string. Only addresses, ports, files and the provider's answers are ours.

mod generated;

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use generated::{FILE, JWT, NICK, Provider, start};
use harness::echo::{self, Echo};
use harness::gateway::lay;
use harness::jwt::Key;
use harness::manifests::{self, Schemas, of_kind};
use harness::wire::{self, Connection, Response, values};
use policy::config::compile;
use serde_json::{Value, json};

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
    let envoy = start(&provider, token_endpoint, echo.address());
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
    let envoy = start(&provider, echo.address(), echo.address());
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
