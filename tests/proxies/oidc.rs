//! Envoy's own `oauth2` and `jwt_authn` with a real OpenID provider and a sign-in in Chromium.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use harness::echo::{self, Echo};
use harness::envoy::{Envoy, Example, Ports, Scratch, eventually};
use harness::netns::Network;
use harness::openid::{ADDRESS, Browser, Provider, SECRET};
use harness::wire::{self, Headers, values};
use serde_json::{Value, json};

use crate::place::{self, HOST, Seen, file};

const UPSTREAM: &str = "10.0.0.3:18789";

struct Place {
    network: Network,
    echo: Echo,
    envoy: Envoy,
    browser: Browser,
    _provider: Provider,
}

fn indented(text: &str, by: usize) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

fn quoted(path: &Path) -> String {
    Value::from(path.to_str().unwrap()).to_string()
}

/// Replaces text that must occur exactly once.
fn put(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

impl Place {
    /// The folder's files, with this policy, and a provider whose ID tokens are good for some seconds.
    fn new(policy: &str, seconds: u32) -> Self {
        let network = Network::new(&[
            ("browser", &["198.51.100.7/24"]),
            ("envoy", &["10.0.0.2/24"]),
            ("gateway", &["10.0.0.3/24"]),
            ("provider", &["10.0.0.4/24"]),
        ]);
        let echo = network.on("gateway", || Echo::start_at(UPSTREAM.parse().unwrap(), |_| {}).unwrap());
        let provider = Provider::start(&network, "client_secret_post", seconds, &json!({}));

        network.enter("envoy");
        let scratch = Scratch::new("envoy-of-oidc");
        let ports = Ports { https: 443, ..Ports::default() };
        let example =
            Example::write(scratch.path(), ports, UPSTREAM, policy).unwrap_or_else(|problem| panic!("{problem}"));
        fs::write(example.bootstrap(), bootstrap(&example, scratch.path(), &provider.certificate())).unwrap();
        let certificate = example.certificate();
        let envoy = Envoy::run(scratch, &example.bootstrap());
        let browser = Browser::start(&network, &certificate, "10.0.0.2");
        Self { network, echo, envoy, browser, _provider: provider }
    }
}

/// envoy.yaml with the folder's two files, combined as their header comments say.
fn bootstrap(example: &Example, folder: &Path, trusted: &Path) -> String {
    let mut filters = file("envoy-oauth2/filters.yaml");
    for name in ["token", "hmac"] {
        let path = folder.join(format!("{name}-secret.json"));
        let secret = json!({"resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": name,
            "generic_secret": {"secret": {"inline_string": SECRET}},
        }]});
        fs::write(&path, secret.to_string()).unwrap();
        filters = put(&filters, &format!("/etc/envoy/{name}-secret.yaml"), &quoted(&path));
    }
    let cluster = put(&file("envoy-oauth2/cluster.yaml"), "/etc/ssl/certs/ca-certificates.crt", &quoted(trusted));
    // There is no name server here.
    let cluster =
        put(&cluster, "socket_address: { address: id.example.com,", &format!("socket_address: {{ address: {ADDRESS},"));
    let text = fs::read_to_string(example.bootstrap()).unwrap();
    let text = put(&text, "http_filters: &filters\n", &format!("http_filters: &filters\n{}", indented(&filters, 18)));
    // The edge's settings of the connection manager, in both listeners.
    let (start, end) = ("                use_remote_address: true\n", "                # Envoy would take orders");
    let (before, rest) = text.split_once(start).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let text = format!("{before}{}{end}{after}", indented(&file("envoy-oauth2/manager.yaml"), 16));
    let text = put(&text, "skip_xff_append: true\n", "skip_xff_append: false\n");
    let text = put(&text, "  clusters:\n", &format!("  clusters:\n{}", indented(&cluster, 4)));
    put(&text, "{ address: 127.0.0.1, port_value: 443 }", "{ address: 0.0.0.0, port_value: 443 }")
}

fn policy() -> String {
    file("envoy-oauth2/policy.json")
}

#[test]
fn a_socket_of_a_page_ends_with_the_token_of_its_login() {
    let mut policy: Value = serde_json::from_str(&policy()).unwrap();
    policy["filter"]["socketsUntil"] = json!("assertion");
    let mut place = Place::new(&policy.to_string(), 30);
    let browser = &mut place.browser;
    browser.visit("/");
    browser.sign_in("nick");
    browser.look(
        "x-openclaw-user",
        "window.kept = new WebSocket('wss://claw.example.com/'), kept.onclose = ({ code }) => window.ended = code",
    );
    eventually("the socket is open", || browser.evaluate("kept.readyState") == 1);
    // The provider's token is good for 30 seconds, and the filter gives it a minute more.
    let begun = Instant::now();
    while browser.evaluate("kept.readyState") == 1 {
        assert!(begun.elapsed() < Duration::from_secs(180), "the socket outlives the token");
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(browser.evaluate("window.ended"), 1006, "there is no close frame");
    let counter = "wasmcustom.openclaw_trusted_proxy.sockets.result=closed.reason=trusted_proxy_assertion_expired";
    assert_eq!(place.envoy.process().stat(counter), 1);
}

#[test]
fn envoys_own_login_with_an_openid_provider_and_a_browser() {
    let mut place = Place::new(&policy(), 3600);

    // A stranger's page leads to the provider, and the close of their WebSocket gives the reason.
    let page = place.browser.visit("/");
    assert_eq!(page["status"], 200, "{page}");
    assert!(page["body"].as_str().unwrap().contains("Sign-in"), "{page}");
    let certificate = fs::read(place.envoy.folder().join("tls/cert.pem")).unwrap();
    let to_envoy = |place: &Place| {
        place.network.on("browser", || {
            wire::open_tls("10.0.0.2:443".parse().unwrap(), "localhost", &certificate, "http/1.1").unwrap()
        })
    };
    let forged = [
        ("x-openclaw-user", "nick@example.com"),
        ("x-forwarded-for", "192.0.2.99"),
        ("cookie", "IdToken=x; BearerToken=x"),
    ];
    for headers in [&[][..], &forged] {
        let closed = "proxy authentication required: trusted_proxy_assertion_missing".to_owned();
        assert_eq!(place::open(to_envoy(&place), HOST, headers), Seen::Closed(1008, closed), "{headers:?}");
        assert_eq!(place::ask(to_envoy(&place), headers), Seen::Answered(302, None), "{headers:?}");
    }
    assert_eq!(place.echo.requests(), 0);

    // Nick signs in. The page, its scripts and its WebSockets are nick's, whatever headers they send.
    place.browser.sign_in("nick");
    let upstream = place.browser.echoed();
    let assert_nick = |upstream: &Headers, scopes: &[&str]| {
        assert_eq!(values(upstream, "x-openclaw-user"), ["nick@example.com"], "{upstream:?}");
        assert_eq!(values(upstream, "x-forwarded-for"), ["198.51.100.7"], "{upstream:?}");
        assert_eq!(values(upstream, "x-openclaw-scopes"), scopes, "{upstream:?}");
        let cookies = values(upstream, "cookie").concat();
        for left in ["IdToken", "BearerToken", "OauthHMAC", "eyJ"] {
            assert!(!cookies.contains(left), "the session ends at the filter: {cookies}");
        }
    };
    assert_nick(&upstream, &["operator.write"]);
    let mut arrived = vec![(false, upstream)];
    let answer = place.browser.fetch(&json!({"x-openclaw-user": "eve@example.com", "x-webauth-user": "root"}));
    assert_eq!(answer["status"], 200, "{answer}");
    let upstream = echo::received(&serde_json::from_str(answer["body"].as_str().unwrap()).unwrap());
    assert_nick(&upstream, &["operator.write"]);
    assert!(values(&upstream, "x-webauth-user").is_empty(), "{upstream:?}");
    arrived.push((false, upstream));
    let upstream = echo::received(&place.browser.websocket().unwrap());
    assert_nick(&upstream, &[]);
    arrived.push((true, upstream));
    place::gateway_takes("envoy-oauth2", &arrived, "nick@example.com");

    // The provider knows Eve, but she is not on the list.
    place.browser.forget();
    let before = place.echo.requests();
    place.browser.visit("/");
    place.browser.sign_in("eve");
    // The refusal page does not let scripts send requests, so this uses a page that passes without an identity.
    place.browser.look("trusted_proxy_user_not_allowed", "setTimeout(() => location.assign('/health'), 200)");
    let upstream = place.browser.echoed();
    assert!(values(&upstream, "x-openclaw-user").is_empty(), "{upstream:?}");
    let before = before + 1;
    let refused = "proxy authentication required: trusted_proxy_user_not_allowed".to_owned();
    assert_eq!(place.browser.websocket(), Err((1008, refused)));
    let answer = place.browser.fetch(&json!({"x-openclaw-user": "nick@example.com"}));
    assert_eq!(answer["status"], 401, "{answer}");
    assert_eq!(place.echo.requests(), before, "what is refused must not reach the upstream");
}
