//! Runs docs/gateway.md with a real Gateway, a real Envoy and hosts with exactly the addresses that it uses: its
//! blocks unchanged, and the mistakes as it describes them.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use harness::document;
use harness::envoy::{Envoy, Example, Ports, Scratch, eventually};
use harness::gateway::{self, Denied, Gateway, Options, Session, control_ui, lay};
use harness::netns::Network;
use harness::wire::{self, Connection, Response};
use policy::config::compile;
use serde_json::{Value, json};

const PLACEMENT_A: &str = "A. Envoy is the edge";
const PLACEMENT_B: &str = "B. Envoy behind an identity proxy";
const PLACEMENT_C: &str = "C. A sidecar in the Gateway's pod";
const LOOPBACK: &str = "127.0.0.1";
const AUTH_UNAUTHORIZED: &str = "AUTH_UNAUTHORIZED";

const NICK: Option<&str> = Some("nick@example.com");
const EVE: Option<&str> = Some("eve@example.com");
const ORIGIN: &str = "https://claw.example.com";
const BROWSER: &str = "198.51.100.7";
const PROXY: &str = "10.0.0.1";
const ENVOY: &str = "10.0.0.2";

/// Tokens for the login of placement A. They are valid until 2100, except for the expired one; the key is not a
/// secret.
mod tokens {
    pub const KEYS: &str = r#"{"keys": [{"kty": "oct", "kid": "t", "alg": "HS256", "k": "dGhlIHRlc3RzIG9mIHBsYWNlbWVudHMga25vdyB0aGlz"}]}"#;
    pub const NICK: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoib3BlbmNsYXciLCJleHAiOjQxMDI0NDQ4MDAsImVtYWlsIjoibmlja0BleGFtcGxlLmNvbSJ9.Y5OnRIFqfG4v2iJyif7kHG1HMHkSJwuRg4MEHl2cNLo";
    pub const EVE: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoib3BlbmNsYXciLCJleHAiOjQxMDI0NDQ4MDAsImVtYWlsIjoiZXZlQGV4YW1wbGUuY29tIn0.LlQaEOSWAdnQOyvOnmtyZkEBykYe9IuNt1baE1Fq59Q";
    pub const OTHER_APP: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoid2lraSIsImV4cCI6NDEwMjQ0NDgwMCwiZW1haWwiOiJuaWNrQGV4YW1wbGUuY29tIn0.mPOGj_eru9_Y-muolJhnqsc-DJx0YkokLi-XPGcQjG0";
    pub const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoib3BlbmNsYXciLCJleHAiOjEwMDAwMDAwMDAsImVtYWlsIjoibmlja0BleGFtcGxlLmNvbSJ9.BxxllC_xfF2vgF8gmEVDyHhYItnNdEr4K9j_kraASdA";
    pub const FORGED: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6InQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoib3BlbmNsYXciLCJleHAiOjQxMDI0NDQ4MDAsImVtYWlsIjoibmlja0BleGFtcGxlLmNvbSJ9.FYHzZMdQcqv6IJtdFhCn1uoby3bA2bweL8rLAaSdxTA";
}

// ---------------------------------------------------------------------------------------------------------------------
// The placements
// ---------------------------------------------------------------------------------------------------------------------

/// The hosts, and a Gateway for placements A and B, which use the same block.
static SHARED: LazyLock<(Network, Gateway)> = LazyLock::new(|| {
    let file = Section::of(PLACEMENT_B).json(0);
    assert_eq!(Section::of(PLACEMENT_A).json(0), file);
    let network = network();
    let gateway = gateway(&network, &file);
    (network, gateway)
});

#[test]
fn at_the_edge_whoever_envoy_verified_comes_in_and_nobody_else() {
    let (network, gateway) = &*SHARED;
    let section = Section::of(PLACEMENT_A);
    network.enter("envoy");
    let change =
        |bootstrap, folder: &Path| before_the_filter(&section.settings(bootstrap), &token_check(&section, folder));
    let place = Place::start(network, gateway, &section.policy(), change);

    let bearer = |token: &str| format!("Bearer {token}");
    let nick = bearer(tokens::NICK);
    let cookie = format!("IdToken={}", tokens::NICK);
    for login in [("authorization", nick.as_str()), ("cookie", cookie.as_str())] {
        // A client's own claims have no effect.
        let mut claims = vec![login, ("origin", ORIGIN), ("x-forwarded-for", "192.0.2.99")];
        claims.extend(["x-openclaw-user", "x-forwarded-user"].map(|name| (name, "eve@example.com")));
        claims.push(("x-openclaw-scopes", "operator.read"));
        assert_eq!(place.ask("browser", &claims), admitted(ENVOY, BROWSER), "{login:?}");
    }
    const MISSING: &str = "trusted_proxy_assertion_missing";
    let strangers = [
        (Some(bearer(tokens::EVE)), "trusted_proxy_user_not_allowed"),
        (Some(bearer(tokens::OTHER_APP)), MISSING),
        (Some(bearer(tokens::EXPIRED)), MISSING),
        (Some(bearer(tokens::FORGED)), MISSING),
        (None, MISSING),
    ];
    for (login, reason) in &strangers {
        let mut claims = vec![("origin", ORIGIN), ("x-openclaw-user", "nick@example.com")];
        claims.extend(login.as_deref().map(|login| ("authorization", login)));
        assert_eq!(place.ask("browser", &claims), refused(401, reason), "{login:?}");
    }
    place.assert_no_way_around(&["browser", "stranger", "proxy"]);
    drop(place);
    // Eve is signed in, and the Gateway would believe what she writes.
    let eve = bearer(tokens::EVE);
    let claims =
        [("origin", ORIGIN), ("authorization", &eve), NAMED, ("x-openclaw-scopes", "operator.read,operator.write")];
    assert_closed(network, gateway, &section.policy(), change, ("browser", &claims));
}

#[test]
fn at_the_edge_a_login_by_oauth2_is_verified_and_taken_for_the_user() {
    let (network, gateway) = &*SHARED;
    let section = Section::of(PLACEMENT_A);
    network.enter("envoy");
    let provider = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = provider.local_addr().unwrap().port();
    // Answers one request for tokens.
    let provider = thread::spawn(move || {
        let mut connection = Connection::new(provider.accept().unwrap().0);
        let head = wire::latin1(&connection.head().unwrap().unwrap());
        let body =
            json!({"access_token": "opaque", "id_token": tokens::NICK, "token_type": "Bearer", "expires_in": 3600})
                .to_string();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        connection.send(answer.as_bytes()).unwrap();
        head
    });
    let place = Place::start(network, gateway, &section.policy(), |bootstrap, folder| {
        let mut login = section.block("yaml", 1);
        for name in ["token", "hmac"] {
            let file = folder.join(format!("{name}.json"));
            let secret = json!({"resources": [{
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": name,
                "generic_secret": {"secret": {"inline_string": "a secret of this test alone, 0123"}},
            }]});
            fs::write(&file, secret.to_string()).unwrap();
            let file = Value::from(file.to_str().unwrap()).to_string();
            login = once(login, &format!("/etc/envoy/{name}-secret.yaml"), &file);
        }
        let cluster = json!([{"name": "login", "connect_timeout": "5s", "type": "STATIC", "load_assignment": {
            "cluster_name": "login",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                "socket_address": {"address": LOOPBACK, "port_value": port},
            }}}]}],
        }}]);
        let cluster = cluster[0].to_string();
        let bootstrap = once(section.settings(bootstrap), "  clusters:\n", &format!("  clusters:\n    - {cluster}\n"));
        before_the_filter(&bootstrap, &format!("{login}{}", token_check(&section, folder)))
    });

    let visit = |path: &str, cookies: &str| {
        let response = get(network, "browser", place.front, path, &[("cookie", cookies)]);
        let set = wire::values(&response.headers, "set-cookie");
        let cookies: Vec<_> = set.iter().filter_map(|cookie| cookie.split(';').next()).map(str::to_owned).collect();
        (response.status, response.header("location").unwrap_or_default(), cookies.join("; "))
    };
    let (status, location, cookies) = visit("/", "");
    assert!(status == 302 && location.starts_with("https://id.example.com/authorize?"), "{status} {location}");
    let missing = "proxy authentication required: trusted_proxy_assertion_missing";
    let denied = place.session("browser", place.front, &[("origin", ORIGIN)], None).map(drop).unwrap_err();
    assert_eq!(denied, Denied::Closed(1008, missing.to_owned(), None));

    assert_eq!(visit("/healthz", "").0, 200);
    let state = location.split("&state=").nth(1).unwrap();
    let (status, location, cookies) = visit(&format!("/oauth2/callback?code=good&state={state}"), &cookies);
    assert_eq!((status, location.as_str()), (302, "http://claw.example.com/"));
    assert!(!cookies.contains(tokens::NICK), "the token is encrypted in the browser's cookies");
    assert!(provider.join().unwrap().starts_with("POST /token "));
    assert_eq!(place.ask("browser", &[("cookie", cookies.as_str()), ("origin", ORIGIN)]), admitted(ENVOY, BROWSER));
    place.assert_no_way_around(&["browser"]);
}

/// The filter of placement A that verifies tokens.
fn token_check(section: &Section, folder: &Path) -> String {
    let keys = folder.join("jwks.json");
    fs::write(&keys, tokens::KEYS).unwrap();
    let keys = Value::from(keys.to_str().unwrap()).to_string();
    once(section.block("yaml", 0), "/etc/envoy/jwks.json", &keys)
}

/// A bootstrap with more HTTP filters, before ours.
fn before_the_filter(bootstrap: &str, more: &str) -> String {
    let more: String = more.lines().map(|line| format!("                  {line}\n")).collect();
    let filters = "                http_filters: &filters\n";
    once(bootstrap, filters, &format!("{filters}{more}"))
}

#[test]
fn behind_an_identity_proxy_only_what_the_proxy_says_counts() {
    let (network, gateway) = &*SHARED;
    let section = Section::of(PLACEMENT_B);
    network.enter("envoy");
    let place = Place::start(network, gateway, &section.policy(), |bootstrap, _| {
        assert_eq!(manager_settings(&bootstrap), section.block("yaml", 0), "the page shows what envoy.yaml has");
        bootstrap
    });
    assert_eq!(place.ask("proxy", &from_proxy(NICK)), admitted(ENVOY, BROWSER));
    assert_eq!(place.ask("proxy", &from_proxy(EVE)), refused(401, "trusted_proxy_user_not_allowed"));
    assert_eq!(place.ask("proxy", &from_proxy(None)), refused(401, "trusted_proxy_user_missing"));
    for host in ["stranger", "browser", "gateway"] {
        assert_eq!(place.ask(host, &from_proxy(NICK)), refused(401, "trusted_proxy_untrusted_source"), "{host}");
    }
    place.assert_no_way_around(&["browser", "stranger", "proxy"]);
    drop(place);
    let claims = [&from_proxy(NICK)[..], &[NAMED]].concat();
    assert_closed(network, gateway, &section.policy(), |bootstrap, _| bootstrap, ("proxy", &claims));
}

/// The Gateway allows each client address 32 sockets that are open but have not sent `connect`.
#[test]
fn behind_a_proxy_unfinished_sockets_of_one_user_do_not_shut_out_another() {
    const EVES: &str = "198.51.100.8";
    let section = Section::of(PLACEMENT_B);
    assert!(section.text.contains("32 sockets"), "the page says so");
    let (mut file, mut policy) = (section.json(0), section.policy());
    for block in [&mut file, &mut policy] {
        block["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(["nick@example.com", "eve@example.com"]);
    }
    let network = network();
    let gateway = gateway(&network, &file);
    network.enter("envoy");
    // Opens a socket as the proxy does for a user at an address, and sends nothing more.
    let open = |place: &Place<'_>, user: &str, address: &str| {
        let headers = [("origin", ORIGIN), ("x-forwarded-for", address), ("x-forwarded-user", user)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let stream = network.on("proxy", || wire::open(place.front).unwrap());
        gateway::challenge(stream, "/", &headers).map(|(socket, _)| socket)
    };
    let unfinished = |place: &Place<'_>| -> Vec<_> { (0..40).map(|_| open(place, "eve@example.com", EVES)).collect() };
    let too_many = |sockets: &[Result<_, Denied>]| {
        sockets.iter().filter(|socket| matches!(socket, Err(Denied::Status(503)))).count()
    };

    let place = Place::start(&network, &gateway, &policy, |bootstrap, _| bootstrap);
    let sockets = unfinished(&place);
    assert_eq!(too_many(&sockets), 8, "32 are allowed");
    assert_eq!(place.ask("proxy", &from_proxy(NICK)), admitted(ENVOY, BROWSER), "Nick is another client");
    drop(sockets);
    drop(place);

    // With Envoy's default, the proxy is the client of both.
    let place = Place::start(&network, &gateway, &policy, |bootstrap, _| appending(&bootstrap));
    let sockets = unfinished(&place);
    assert_eq!(too_many(&sockets), 8, "32 are allowed");
    let nick = open(&place, "nick@example.com", BROWSER).map(drop);
    assert_eq!(nick, Err(Denied::Status(503)), "shut out");
}

/// A bootstrap whose listener `http` appends the peer to X-Forwarded-For, as Envoy does by default.
fn appending(bootstrap: &str) -> String {
    let skip = "                skip_xff_append: true\n";
    assert!(bootstrap.contains(skip));
    bootstrap.replacen(skip, "", 1)
}

#[test]
fn a_sidecar_is_a_loopback_source_for_the_gateway_and_takes_none_itself() {
    let section = Section::of(PLACEMENT_C);
    let network = network();
    let gateway = gateway(&network, &section.json(0));
    network.enter("gateway");
    let policy = section.policy();
    let place = Place::start(&network, &gateway, &policy, |bootstrap, _| bootstrap);
    assert_eq!(place.ask("proxy", &from_proxy(NICK)), admitted("127.0.0.1", BROWSER));
    assert_eq!(place.ask("proxy", &from_proxy(EVE)), refused(401, "trusted_proxy_user_not_allowed"));
    assert_eq!(place.ask("stranger", &from_proxy(NICK)), refused(401, "trusted_proxy_untrusted_source"));
    let own = SocketAddr::new(LOOPBACK.parse().unwrap(), place.front.port());
    assert_eq!(place.ask_at("gateway", own, &from_proxy(NICK)), refused(401, "trusted_proxy_untrusted_source"));
    for host in ["proxy", "stranger"] {
        network.on(host, || assert!(TcpStream::connect(place.back).is_err(), "{host}: it listens on loopback only"));
    }
    // What this placement gives up: any process in the pod can act as any user.
    let stamped = [&from_proxy(None)[..], &[NAMED]].concat();
    assert_eq!(place.ask_at("gateway", gateway.address(), &stamped), admitted(LOOPBACK, BROWSER));
    let claims = [&from_proxy(NICK)[..], &[NAMED]].concat();
    assert_closed(&network, &gateway, &policy, |bootstrap, _| bootstrap, ("proxy", &claims));

    let mut file = section.json(0);
    file["gateway"]["auth"]["trustedProxy"]["allowLoopback"] = json!(false);
    reload(&gateway, &file);
    let unauthorized = at_the_gateway(401, "unauthorized", AUTH_UNAUTHORIZED);
    assert_eq!(place.ask("proxy", &from_proxy(NICK)), unauthorized, "loopback without allowLoopback");

    // As behind Istio's own sidecar.
    file["gateway"]["auth"]["trustedProxy"]["allowLoopback"] = json!(true);
    file["gateway"]["trustedProxies"] = json!(["127.0.0.6"]);
    reload(&gateway, &file);
    let istio = Place::start(&network, &gateway, &policy, |bootstrap, _| {
        let cluster = "      connect_timeout: 5s\n";
        let source = "      upstream_bind_config: { source_address: { address: 127.0.0.6, port_value: 0 } }\n";
        once(bootstrap, cluster, &format!("{cluster}{source}"))
    });
    assert_eq!(istio.ask("proxy", &from_proxy(NICK)), admitted("127.0.0.6", BROWSER));
    assert_eq!(place.ask("proxy", &from_proxy(NICK)), unattributable(), "from 127.0.0.1");
}

// ---------------------------------------------------------------------------------------------------------------------
// The mistakes
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn mistakes_look_as_the_document_says() {
    let section = Section::of(PLACEMENT_B);
    let (file, policy) = (section.json(0), section.policy());
    let changed = |base: &Value, pointer: &str, value: Value| {
        let mut base = base.clone();
        *base.pointer_mut(pointer).unwrap() = value;
        base
    };
    let network = network();
    let gateway = gateway(&network, &changed(&file, "/gateway/controlUi", json!({})));
    assert!(gateway.log().contains("seeded gateway.controlUi.allowedOrigins"));
    network.enter("envoy");
    let strict = Place::start(&network, &gateway, &policy, |bootstrap, _| bootstrap);
    let place = Place::start(&network, &gateway, &policy, |bootstrap, _| {
        assert!(bootstrap.contains("max_request_headers_kb: 15\n"));
        bootstrap.replace("max_request_headers_kb: 15\n", "max_request_headers_kb: 60\n")
    });
    let good = from_proxy(NICK);
    let mistakes = Section::of("Mistakes, and how to know them");
    let expect = |seen: Seen, expected: Seen, name: &str| {
        assert_eq!(seen, expected, "{name}");
        mistakes.names(&seen);
    };

    let origin = "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)";
    expect(
        place.ask("proxy", &good),
        at_the_gateway(401, origin, "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        "no origin at the Gateway",
    );
    reload(&gateway, &file);
    assert_eq!(place.ask("proxy", &good), admitted(ENVOY, BROWSER));
    place.put_policy(&changed(&policy, "/gateway/controlUi", json!({})));
    expect(place.ask("proxy", &good), refused(401, "trusted_proxy_origin_not_allowed"), "no origin at the filter");

    place.put_policy(&changed(&policy, "/filter/trustedProxies", json!([ENVOY])));
    expect(place.ask("proxy", &good), refused(401, "trusted_proxy_untrusted_source"), "Envoy in the filter's list");
    place.put_policy(&changed(&policy, "/filter", json!({"upstreamUserHeader": "x-openclaw-user"})));
    expect(
        place.ask("proxy", &good),
        refused(401, "trusted_proxy_untrusted_source"),
        "the Gateway's list for both hops",
    );

    // One block pasted into both, without a change.
    place.put_policy(&changed(&policy, "/gateway/auth/trustedProxy", file["gateway"]["auth"]["trustedProxy"].clone()));
    let named = [&good[..], &[NAMED]].concat();
    expect(
        place.ask("proxy", &named),
        refused(401, "trusted_proxy_user_missing"),
        "the Gateway's header in the policy",
    );
    place.put_policy(&policy);
    let same = policy["gateway"]["auth"]["trustedProxy"].clone();
    reload(&gateway, &changed(&file, "/gateway/auth/trustedProxy", same));
    let unauthorized = at_the_gateway(401, "unauthorized", AUTH_UNAUTHORIZED);
    expect(place.ask("proxy", &good), unauthorized, "the proxy's header at the Gateway");
    reload(&gateway, &file);

    let no_client = [("origin", ORIGIN), ("x-forwarded-user", "nick@example.com")];
    expect(place.ask("proxy", &no_client), refused(403, "proxy_attribution_required"), "no client");
    let filter = json!({"trustedProxies": [PROXY], "attribution": "off", "upstreamUserHeader": "x-openclaw-user"});
    place.put_policy(&changed(&policy, "/filter", filter));
    expect(place.ask("proxy", &no_client), unattributable(), "no client, and the filter does not ask");
    place.put_policy(&policy);

    let cookie = "a".repeat(17_000);
    let mut long = good.clone();
    long.push(("cookie", &cookie));
    for (place, server) in [(&strict, "Envoy"), (&place, "the Gateway")] {
        let before = gateway_requests(place);
        let too_large = Seen::Refused { status: 431, body: Value::Null, socket: Denied::Status(431) };
        expect(place.ask("proxy", &long), too_large, server);
        assert_eq!(gateway_requests(place) > before, server == "the Gateway", "who answered");
    }

    // The rows of the table of placement B. Everything above ran with the first one.
    reload(&gateway, &changed(&file, "/gateway/trustedProxies", json!([PROXY])));
    expect(place.ask("proxy", &good), unattributable(), "the Gateway's list does not name Envoy");
    let both = json!([ENVOY, PROXY]);
    reload(&gateway, &changed(&file, "/gateway/trustedProxies", both.clone()));
    let appending = Place::start(&network, &gateway, &policy, |bootstrap, _| appending(&bootstrap));
    appending.put_policy(&changed(&policy, "/gateway/trustedProxies", both));
    assert_eq!(appending.ask("proxy", &good), admitted(ENVOY, BROWSER));
    let stamped = [&good[..], &[NAMED]].concat();
    assert_eq!(appending.ask_at("proxy", place.back, &stamped), admitted(PROXY, BROWSER), "around the filter");
    reload(&gateway, &file);
    appending.put_policy(&policy);
    assert_eq!(appending.ask("proxy", &good), admitted(ENVOY, PROXY));

    // A browser is a device that somebody must approve, unless the Gateway approves it automatically.
    let auto = json!({"userHeader": "x-openclaw-user", "allowUsers": ["nick@example.com"], "deviceAutoApprove": {"enabled": true}});
    reload(&gateway, &changed(&file, "/gateway/auth/trustedProxy", auto));
    let session = place.session("proxy", place.front, &good, Some("a browser")).map_err(|denied| format!("{denied:?}"));
    let mut scopes = session.unwrap().session.scopes();
    scopes.sort();
    assert_eq!(scopes, ["operator.approvals", "operator.questions", "operator.read", "operator.write"]);
}

#[test]
fn a_shared_token_beside_trusted_proxy_stops_both_the_filter_and_the_gateway() {
    let section = Section::of(PLACEMENT_B);
    let (mut file, mut policy) = (section.json(0), section.policy());
    for block in [&mut file, &mut policy] {
        block["gateway"]["auth"]["token"] = json!("0123456789abcdef0123456789abcdef");
    }
    let text = Section::of("Mistakes, and how to know them").text.clone();
    let errors = compile(policy.to_string().as_bytes()).unwrap_err().to_string();
    assert!(errors.contains("mixed_trusted_proxy_token") && text.contains("mixed_trusted_proxy_token"), "{errors}");
    let network = network();
    let failed = std::panic::catch_unwind(|| gateway(&network, &file)).err().expect("the Gateway does not start");
    let said = failed.downcast_ref::<String>().unwrap();
    let complaint = "gateway auth mode is trusted-proxy, but a shared token is also configured";
    assert!(said.contains(complaint) && text.contains(complaint), "{said}");
}

/// The number of requests that Envoy forwarded.
fn gateway_requests(place: &Place<'_>) -> u64 {
    place.envoy.process().stat("cluster.gateway.upstream_rq_total")
}

/// Gives a running Gateway another configuration, and returns when it has applied it.
fn reload(gateway: &Gateway, file: &Value) {
    const DONE: &str = "[reload] config hot reload applied";
    let before = gateway.log().matches(DONE).count();
    let mut config = gateway.config().clone();
    let port = config["gateway"]["port"].take();
    config["gateway"] = file["gateway"].clone();
    config["gateway"]["port"] = port;
    let (new, place) = (gateway.folder().join("new.json"), gateway.folder().join("openclaw.json"));
    fs::write(&new, config.to_string()).unwrap();
    fs::rename(&new, &place).unwrap();
    eventually("the Gateway to take its configuration", || gateway.log().matches(DONE).count() > before);
}

/// Replaces text that must occur exactly once.
fn once(text: impl AsRef<str>, from: &str, to: &str) -> String {
    assert_eq!(text.as_ref().matches(from).count(), 1, "{from}");
    text.as_ref().replace(from, to)
}

// ---------------------------------------------------------------------------------------------------------------------
// Devices
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn devices_and_webhooks_need_exactly_the_settings_of_the_table() {
    const HOOK: &str = "a token for webhooks alone";
    let section = Section::of(PLACEMENT_B);
    let table = Section::of("Devices and webhooks").text.clone();
    let (mut file, policy) = (section.json(0), section.policy());
    file["gateway"]["auth"]["identityScopes"] = json!({"nick@example.com": ["operator.admin"]});
    file["hooks"] = json!({"enabled": true, "token": HOOK});
    let network = network();
    let gateway = gateway(&network, &file);
    network.enter("envoy");
    let place = Place::start(&network, &gateway, &policy, |bootstrap, _| bootstrap);
    let put = |setting: &str| {
        assert!(
            setting.is_empty() || table.contains(&format!("`{setting}`")),
            "the document does not show `{setting}`"
        );
        let mut policy = policy.clone();
        let filter: Value = serde_json::from_str(&format!("{{{setting}}}")).unwrap();
        lay(&mut policy["filter"], &filter);
        place.put_policy(&policy);
    };
    let client = |id: &str, mode: &str, role: &str, scopes: &[&str]| json!({"client": {"id": id, "version": "test", "platform": "test", "mode": mode}, "role": role, "scopes": scopes});
    let devices = [
        ("a node", client("node-host", "node", "node", &[])),
        ("a phone", client("openclaw-ios", "ui", "operator", &["operator.read"])),
    ];
    // The grounds of the admission, or the error; and the token that it got.
    let connect = |(seed, client): &(&str, Value), path: &str, user: Option<&str>, token: Option<&str>| {
        let mut claims = vec![("x-forwarded-for".to_owned(), BROWSER.into())];
        claims.extend(user.map(|user| ("x-forwarded-user".to_owned(), user.into())));
        let stream = network.on("proxy", || wire::open(place.front).unwrap());
        let session = gateway::challenge(stream, path, &claims).and_then(|(socket, nonce)| {
            let mut connect = client.clone();
            connect["auth"] = json!({"deviceToken": token.unwrap_or_default()});
            Session::connect(socket, &signed(seed, &nonce, &connect))
        });
        match session {
            Ok(session) => {
                let text = |name: &str| session.hello["auth"][name].as_str().unwrap_or_default().to_owned();
                (text("method"), text("deviceToken"))
            }
            Err(Denied::Closed(1008, reason, _)) => (reason, String::new()),
            Err(other) => (format!("{other:?}"), String::new()),
        }
    };
    let is_pending = || {
        let admin = place.session("proxy", place.front, &from_proxy(NICK), None);
        let list = admin.unwrap().session.call("device.pair.list", &json!({})).unwrap();
        list["pending"].as_array().unwrap().iter().map(|one| one["requestId"].clone()).collect::<Vec<_>>()
    };

    let missing = "proxy authentication required: trusted_proxy_user_missing";
    let mismatch = "unauthorized: device token mismatch (rotate/reissue device token)";
    let delegate = r#""webSocketRefusal": "delegate""#;
    let own_path = r#""anonymousPaths": ["/health", "/healthz", "ws:/node"]"#;
    for device in &devices {
        put(delegate);
        assert_eq!(connect(device, "/", None, None).0, "unauthorized", "{device:?}");
        assert_eq!(is_pending(), Vec::<Value>::new(), "{device:?} asked for approval without a user");
        put("");
        let (told, _) = connect(device, "/", NICK, None);
        assert!(told.starts_with("pairing required: device is not approved yet (requestId: "), "{told}");
        let pending = is_pending();
        assert_eq!(pending.len(), 1);
        let mut admin = place.session("proxy", place.front, &from_proxy(NICK), None).unwrap();
        admin.session.call("device.pair.approve", &json!({"requestId": pending[0]})).unwrap();
        let (method, token) = connect(device, "/", NICK, None);
        assert_eq!((method.as_str(), token.is_empty()), ("trusted-proxy", false), "{device:?}");

        // The setting, the path, the token, and the grounds of the admission or the error.
        let (token, stranger) = (Some(token.as_str()), Some("a guess"));
        let cases = [
            ("", "/", token, missing),
            (delegate, "/", token, "device-token"),
            (delegate, "/", stranger, mismatch),
            (delegate, "/", None, "unauthorized"),
            (own_path, "/node", token, "device-token"),
            (own_path, "/node", stranger, mismatch),
            (own_path, "/node", None, "unauthorized"),
            (own_path, "/", token, missing),
        ];
        for (setting, path, token, expected) in cases {
            put(setting);
            assert_eq!(connect(device, path, None, token).0, expected, "{device:?}: {setting} {path} {token:?}");
        }
    }

    let hook = |token: &str, from: &str| {
        let mut connection = Connection::new(network.on(from, || wire::open(place.front).unwrap()));
        let (body, authorization) = (r#"{"text": "news"}"#, format!("Bearer {token}"));
        let length = body.len().to_string();
        let headers = [
            ("host", "claw.example.com"),
            ("connection", "close"),
            ("content-type", "application/json"),
            ("content-length", &length),
            ("authorization", &authorization),
            ("x-forwarded-for", BROWSER),
        ];
        connection.send(&wire::request("POST", "/hooks/wake", &headers)).unwrap();
        connection.send(body.as_bytes()).unwrap();
        connection.response("POST").unwrap().status
    };
    put("");
    assert_eq!(hook(HOOK, "proxy"), 401);
    put(r#""anonymousPaths": ["/health", "/healthz", "/hooks/*"]"#);
    for from in ["proxy", "stranger"] {
        assert_eq!((hook(HOOK, from), hook("a guess", from)), (200, 401), "{from}");
    }
}

/// The parameters of `connect` with a device's signature; the same seed is the same device.
fn signed(seed: &str, nonce: &str, connect: &Value) -> Value {
    let output = gateway::script("device.mjs").args([seed, nonce, &connect.to_string()]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

// ---------------------------------------------------------------------------------------------------------------------
// The document
// ---------------------------------------------------------------------------------------------------------------------

/// A section of the document, by its heading.
struct Section(document::Section);

impl std::ops::Deref for Section {
    type Target = document::Section;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Section {
    fn of(heading: &str) -> Self {
        Self(document::Section::of("gateway.md", heading))
    }

    /// A bootstrap with the connection manager settings of the section, in its last block of YAML.
    fn settings(&self, bootstrap: impl AsRef<str>) -> String {
        let wanted = document::blocks(&self.text, "yaml").pop().unwrap();
        assert!(wanted.starts_with("use_remote_address: true\n"), "{wanted}");
        let (before, rest) = bootstrap.as_ref().split_once(MANAGER_START).unwrap();
        let (_, after) = rest.split_once(MANAGER_END).unwrap();
        let wanted: String = wanted.lines().map(|line| format!("                {line}\n")).collect();
        format!("{before}{wanted}{MANAGER_END}{after}")
    }

    /// Checks that the section shows the result: the status, the reason or message, and the close reason.
    fn names(&self, seen: &Seen) {
        let Seen::Refused { status, body, socket } = seen else { panic!("{seen:?}") };
        let error = &body["error"];
        let mut shown = vec![status.to_string()];
        shown.extend(error["reason"].as_str().or(error["type"].as_str()).map(str::to_owned));
        if let Denied::Closed(code, reason, _) = socket {
            shown.extend([code.to_string(), reason.clone()]);
        }
        for part in shown {
            assert!(self.text.contains(&part), "the document does not show `{part}`");
        }
    }

    /// The policy in its second block, which must contain the first one, except for the header of the proxy.
    fn policy(&self) -> Value {
        let (file, policy) = (self.json(0), self.json(1));
        let mut pasted = policy["gateway"].clone();
        if let Some(upstream) = policy["filter"].get("upstreamUserHeader") {
            pasted["auth"]["trustedProxy"]["userHeader"] = upstream.clone();
        }
        for part in ["/trustedProxies", "/auth/mode", "/auth/trustedProxy", "/controlUi"] {
            let of_file = file["gateway"].pointer(part);
            assert_eq!(pasted.pointer(part), of_file, "{part} differs between the Gateway and the policy");
        }
        policy
    }
}

/// Where the connection manager's settings that the page shows start in envoy.yaml, and what comes after them.
const MANAGER_START: &str = "                use_remote_address: true\n";
const MANAGER_END: &str = "                # Envoy would take orders in x-envoy-* headers";

/// The settings of the listener `http` in a bootstrap, without comments, as the page shows them.
fn manager_settings(bootstrap: &str) -> String {
    let (_, rest) = bootstrap.split_once(MANAGER_START).unwrap();
    let (settings, _) = rest.split_once(MANAGER_END).unwrap();
    let lines = format!("{MANAGER_START}{settings}");
    let lines = lines.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| format!("{}\n", line[16..].replace(" &closed", ""))).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Without the filter
// ---------------------------------------------------------------------------------------------------------------------

/// What a client writes who knows which header the Gateway reads.
const NAMED: (&str, &str) = ("x-openclaw-user", "nick@example.com");

/// The filter in envoy.yaml.
const FILTER_START: &str = "                  - name: openclaw_trusted_proxy\n";
const FILTER_END: &str = "                  - name: envoy.filters.http.router\n";

/// Takes the filter out of a placement in each way that happens: deleted, switched off for a route, and missing in a
/// listener that was added. The Gateway must let nobody in with these headers, although it would believe them: without
/// Envoy's early removal it does.
fn assert_closed(
    network: &Network,
    gateway: &Gateway,
    policy: &Value,
    change: impl Fn(String, &Path) -> String,
    (host, claims): (&str, &[(&str, &str)]),
) {
    let ways: [(&str, fn(&str) -> String); 3] =
        [("http", deleted), ("http", switched_off), ("added", with_another_listener)];
    for (listener, way) in ways {
        let place = Place::start(network, gateway, policy, |bootstrap, folder| way(&change(bootstrap, folder)));
        let front = SocketAddr::new(place.front.ip(), place.envoy.address(listener).port());
        let seen = place.ask_at(host, front, claims);
        assert_eq!(seen, at_the_gateway(401, "unauthorized", AUTH_UNAUTHORIZED), "{listener}: {claims:?}");
    }
    let place = Place::start(network, gateway, policy, |bootstrap, folder| {
        let open = deleted(&change(bootstrap, folder));
        let early = "                early_header_mutation_extensions:";
        let (before, after) = open.split_once(early).unwrap();
        let (_, after) = after.split_once(MANAGER_END).unwrap();
        once(format!("{before}{MANAGER_END}{after}"), "early_header_mutation_extensions: *closed\n", "\n")
    });
    let Seen::Admitted { user, .. } = place.ask(host, claims) else { panic!("not even without the early removal") };
    assert_eq!(user, "nick@example.com");
}

fn deleted(bootstrap: &str) -> String {
    let (before, rest) = bootstrap.split_once(FILTER_START).unwrap();
    let (_, after) = rest.split_once(FILTER_END).unwrap();
    format!("{before}{FILTER_END}{after}")
}

fn switched_off(bootstrap: &str) -> String {
    let route = "                          route:\n";
    let disabled = r#"{ "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }"#;
    let off = format!("                          typed_per_filter_config: {{ openclaw_trusted_proxy: {disabled} }}\n");
    once(bootstrap, route, &format!("{off}{route}"))
}

/// A bootstrap with a copy of the listener `http` that lacks the filter.
fn with_another_listener(bootstrap: &str) -> String {
    let (before, rest) = bootstrap.split_once("    - name: http\n").unwrap();
    let (http, after) = rest.split_once("    # The same with TLS.").unwrap();
    let (after, clusters) = after.split_once("  clusters:\n").unwrap();
    let added = deleted(http);
    format!(
        "{before}    - name: http\n{http}    # The same with TLS.{after}    - name: added\n{added}  clusters:\n{clusters}"
    )
}

/// A Gateway with exactly this configuration, except for the port.
fn gateway(network: &Network, file: &Value) -> Gateway {
    let mut over = json!({"gateway": Gateway::minimal()});
    blank(&mut over);
    lay_as_it_is(&mut over, file);
    let gateway = network.on("gateway", || Gateway::start(&over, &Options::default()));
    let mut used = gateway.config()["gateway"].clone();
    used.as_object_mut().unwrap().remove("port");
    assert_eq!(used, file["gateway"], "the Gateway runs what the document says");
    gateway
}

/// Puts nulls in place of everything that is not an object: they remove the harness's defaults.
fn blank(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(blank),
        other => *other = Value::Null,
    }
}

/// Merges one value into the other; nulls of the base stay where nothing replaces them.
fn lay_as_it_is(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_as_it_is(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Hosts, and what they see
// ---------------------------------------------------------------------------------------------------------------------

/// The hosts of the document, and a stranger.
fn network() -> Network {
    Network::new(&[
        ("browser", &["198.51.100.7/24"]),
        ("stranger", &["203.0.113.66/24"]),
        ("proxy", &["10.0.0.1/24"]),
        ("envoy", &["10.0.0.2/24"]),
        ("gateway", &["10.0.0.3/24"]),
    ])
}

/// The result of a page's request for its configuration, and of its WebSocket.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Both were admitted: the user and the scopes, the address from which the Gateway saw the connection come, and
    /// the address that it takes for the client.
    Admitted { user: String, scopes: Vec<String>, peer: String, client: String },
    /// The answer to the request, and the result of the WebSocket.
    Refused { status: u16, body: Value, socket: Denied },
}

fn admitted(peer: &str, client: &str) -> Seen {
    let scopes = ["operator.read", "operator.write"].map(str::to_owned).to_vec();
    Seen::Admitted { user: "nick@example.com".to_owned(), scopes, peer: peer.to_owned(), client: client.to_owned() }
}

/// The filter's refusal.
fn refused(status: u16, reason: &str) -> Seen {
    let mut body = json!({"error": {"message": "Unauthorized", "type": "unauthorized", "reason": reason}});
    if status == 403 {
        let message = "No client address can be attributed. List only your proxies in gateway.trustedProxies, and let the \
                       first of them write X-Forwarded-For itself.";
        body = json!({"error": {"message": message, "type": reason, "reason": reason}});
    }
    let text = if reason.contains("origin") { "origin not allowed" } else { "proxy authentication required" };
    Seen::Refused { status, body, socket: Denied::Closed(1008, format!("{text}: {reason}"), None) }
}

/// The Gateway's refusal, with a code in its answer to a WebSocket.
fn at_the_gateway(status: u16, reason: &str, code: &str) -> Seen {
    let body = json!({"error": {"message": "Unauthorized", "type": "unauthorized"}});
    let socket = Denied::Closed(1008, reason.to_owned(), Some(json!(code)));
    Seen::Refused { status, body, socket }
}

/// The Gateway's refusal of a request that it takes for a stranger's, or for a proxy's without a client.
fn unattributable() -> Seen {
    let message = "Proxy client attribution is required. Configure gateway.trustedProxies narrowly and make the proxy \
                   overwrite or safely rebuild forwarded client headers.";
    let body = json!({"error": {"message": message, "type": "proxy_attribution_required"}});
    Seen::Refused { status: 403, body, socket: Denied::Status(403) }
}

/// The headers that an identity proxy adds for a browser at [`BROWSER`].
fn from_proxy(user: Option<&str>) -> Vec<(&str, &str)> {
    let mut headers = vec![("origin", ORIGIN), ("x-forwarded-for", BROWSER)];
    headers.extend(user.map(|user| ("x-forwarded-user", user)));
    headers
}

/// A session, and its entry in the Gateway's presence list.
struct Known {
    session: Session,
    instance: String,
}

/// Envoy and a Gateway. The thread that starts this is moved to Envoy's host, and must stay there.
struct Place<'a> {
    network: &'a Network,
    gateway: &'a Gateway,
    example: Example,
    envoy: Envoy,
    /// The listener's address for other hosts.
    front: SocketAddr,
    back: SocketAddr,
}

impl<'a> Place<'a> {
    fn start(
        network: &'a Network,
        gateway: &'a Gateway,
        policy: &Value,
        change: impl FnOnce(String, &Path) -> String,
    ) -> Self {
        let on_this_host = wire::get::<&str, &str>(gateway.address(), "/healthz", &[]).is_ok();
        let back = SocketAddr::new("10.0.0.3".parse().unwrap(), gateway.port());
        let upstream = if on_this_host { gateway.address() } else { back };
        let front: IpAddr = if on_this_host { back.ip() } else { ENVOY.parse().unwrap() };
        let scratch = Scratch::new("placement");
        let example =
            Example::write(scratch.path(), Ports::default(), &upstream.to_string(), &policy.to_string()).unwrap();
        let file = example.bootstrap();
        let bootstrap = fs::read_to_string(&file).unwrap();
        let http = "    - name: http\n";
        let (head, listener) = bootstrap.split_once(http).unwrap();
        let listener = listener.replacen("address: 127.0.0.1,", "address: 0.0.0.0,", 1);
        fs::write(&file, change(format!("{head}{http}{listener}"), scratch.path())).unwrap();
        let envoy = Envoy::run(scratch, &file);
        let front = SocketAddr::new(front, envoy.address("http").port());
        Self { network, gateway, example, envoy, front, back }
    }

    fn ask(&self, host: &str, headers: &[(&str, &str)]) -> Seen {
        self.ask_at(host, self.front, headers)
    }

    /// Sends both requests, from a host to an address. A client that is admitted but whose device needs approval asks
    /// again without one.
    fn ask_at(&self, host: &str, to: SocketAddr, headers: &[(&str, &str)]) -> Seen {
        let page = get(self.network, host, to, "/control-ui-config.json", headers);
        let session = match self.session(host, to, headers, Some("a browser")) {
            Err(Denied::Closed(1008, _, Some(error))) if error["code"] == "NOT_PAIRED" => {
                self.session(host, to, headers, None)
            }
            other => other,
        };
        let Known { mut session, instance } = match session {
            Ok(known) => known,
            Err(socket) => {
                let socket = match socket {
                    Denied::Closed(code, reason, Some(error)) => {
                        Denied::Closed(code, reason, Some(error["details"]["code"].clone()))
                    }
                    other => other,
                };
                return Seen::Refused { status: page.status, body: page.json(), socket };
            }
        };
        assert_eq!(page.status, 200, "the WebSocket came in, and the page did not: {page:?}");
        assert!(page.json()["serverVersion"].is_string(), "{page:?}");
        let id = session.hello["server"]["connId"].as_str().unwrap().to_owned();
        let user = session.call("users.self", &json!({})).unwrap_or_else(|error| panic!("{error}"));
        let presence = session.call("system-presence", &json!({})).unwrap_or_else(|error| panic!("{error}"));
        let connected = format!("webchat connected conn={id} remote=");
        eventually("the Gateway's line about the connection", || self.gateway.log().contains(&connected));
        let log = self.gateway.log();
        let peer = log.split(&connected).nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let here = presence.as_array().unwrap().iter().find(|one| one["instanceId"] == instance.as_str()).unwrap();
        Seen::Admitted {
            user: user["profile"]["emails"][0].as_str().unwrap_or_default().to_owned(),
            scopes: session.scopes(),
            peer: peer.to_owned(),
            client: here["ip"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// A session of the Control UI, with or without a device identity.
    fn session(
        &self,
        host: &str,
        to: SocketAddr,
        headers: &[(&str, &str)],
        device: Option<&str>,
    ) -> Result<Known, Denied> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let instance = format!("instance-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let stream = self.network.on(host, || wire::open(to).unwrap());
        let (socket, nonce) = gateway::challenge(stream, "/", &headers)?;
        let mut connect =
            json!({"role": "operator", "scopes": ["operator.read", "operator.write", "operator.approvals"]});
        lay(&mut connect, &control_ui());
        connect["client"]["instanceId"] = json!(instance);
        if let Some(seed) = device {
            connect = signed(seed, &nonce, &connect);
        }
        Ok(Known { session: Session::connect(socket, &connect)?, instance })
    }

    /// With everything that the filter would stamp, but directly to the Gateway.
    fn assert_no_way_around(&self, hosts: &[&str]) {
        for host in hosts {
            assert_eq!(self.ask_at(host, self.back, &from_proxy(NICK)), unattributable(), "{host}");
        }
    }

    fn put_policy(&self, policy: &Value) {
        let before = self.envoy.process().policies();
        self.example.put_policy(&policy.to_string()).unwrap();
        eventually("Envoy to look at the policy", || self.envoy.process().policies() != before);
        assert_eq!(self.envoy.process().policies().1, before.1, "the filter rejected {policy}");
    }
}

/// A page's request.
fn get(network: &Network, host: &str, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    let stream = network.on(host, || wire::open(to).unwrap());
    let mut connection = Connection::new(stream);
    let mut all = vec![("host", "claw.example.com"), ("connection", "close")];
    all.extend(headers);
    connection.send(&wire::request("GET", path, &all)).unwrap();
    connection.response("GET").unwrap()
}
