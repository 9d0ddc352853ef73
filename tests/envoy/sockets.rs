//! Open WebSockets follow the policy, in a real Envoy: an edit closes those that lost their right, and no others.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use harness::envoy::{self, FILTER, Source, eventually};
use harness::extended_connect;
use harness::http2;
use harness::merge::merge;
use harness::quic::Stream;
use harness::tungstenite::WebSocket;
use harness::wire;
use serde_json::{Value, json};

use crate::attack::http3;
use crate::websocket::{Place, is_open, open, open_at, policy_with};

const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");
const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";
/// A masked text frame, whose mask is zero, and the same as the echo sends it.
const FRAME: &[u8] = b"\x81\x82\0\0\0\0hi";
const ECHO: &[u8] = b"\x81\x02hi";
/// The folder of the certificate of the listener for HTTP/3.
const QUIC_CERTIFICATE: &str = "tls-quic";
/// How long a socket may take to answer. One that was closed says so at once.
const ANSWER: Duration = Duration::from_secs(20);

/// An open socket of any version of HTTP.
enum Socket {
    Http1(Box<WebSocket<TcpStream>>),
    Http2(http2::Stream),
    Http3(http3::Client, Stream),
}

type Headers<'h> = &'h [(&'h str, &'h str)];

impl Socket {
    fn open(place: &Place, headers: Headers<'_>) -> Self {
        Self::open_from(place, Ipv4Addr::LOCALHOST, headers)
    }

    fn open_from(place: &Place, from: Ipv4Addr, headers: Headers<'_>) -> Self {
        let stream = wire::open_from(from.into(), place.envoy.address("http")).unwrap();
        let mut socket = open(stream, &[&[CLIENT], headers].concat());
        socket.read().expect("the upstream says what it received");
        socket.get_ref().set_read_timeout(Some(ANSWER)).unwrap();
        Self::Http1(Box::new(socket))
    }

    fn over_http2(place: &Place, headers: Headers<'_>) -> Self {
        let mut socket = extended_connect::socket(place.envoy.address("http"), &[&[CLIENT], headers].concat()).unwrap();
        assert_eq!(socket.status, 200);
        socket.read_until(b"}", wire::PATIENCE).expect("the upstream says what it received");
        Self::Http2(socket)
    }

    fn over_http3(place: &Place, headers: Headers<'_>) -> Self {
        let certificate = place.envoy.folder().join(QUIC_CERTIFICATE).join("cert.pem");
        let client =
            http3::Client::open(place.envoy.address("http3"), Ipv4Addr::LOCALHOST.into(), &certificate, ANSWER);
        let client = client.unwrap();
        let connect = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "claw.example.com"),
            (":path", "/"),
            (":protocol", "websocket"),
            ("sec-websocket-version", "13"),
            CLIENT,
        ];
        let fields =
            connect.iter().chain(headers).map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()));
        let (answer, stream) = client.ask(&http3::headers(&fields.collect()), false).unwrap();
        assert_eq!(answer.status, Some(200));
        Self::Http3(client, stream)
    }

    /// Whether a message comes back.
    fn is_open(&mut self) -> bool {
        match self {
            Self::Http1(socket) => is_open(socket),
            Self::Http2(socket) => socket.write_all(FRAME).is_ok() && socket.read_until(ECHO, ANSWER).is_ok(),
            Self::Http3(client, stream) => client.exchange(stream, &http3::data(FRAME), ECHO).is_ok(),
        }
    }
}

fn user(name: &str) -> [(&str, &str); 1] {
    [("x-forwarded-user", name)]
}

/// An Envoy whose workers get their connections in turn, with a listener for HTTP/3.
fn place(policy: &Value) -> Place {
    Place::with(policy, |bootstrap| {
        let folder = bootstrap
            .lines()
            .find_map(|line| line.trim().strip_prefix("path: \"")?.strip_suffix("/policy/filter.yaml\""));
        let listener = over_quic(Path::new(folder.expect("the folder of the policy")));
        let balanced = bootstrap.replacen(
            "    - name: http\n",
            "    - name: http\n      connection_balance_config: { exact_balance: {} }\n",
            1,
        );
        balanced.replacen("\n  clusters:\n", &format!("\n    - {listener}\n\n  clusters:\n"), 1)
    })
}

/// A listener with the same filter, from the same file.
fn over_quic(folder: &Path) -> Value {
    let certificate = folder.join(QUIC_CERTIFICATE);
    std::fs::create_dir(&certificate).unwrap();
    envoy::certificate(&certificate, &["claw.example.com"]).unwrap();
    let file = |name: &str| json!({"filename": certificate.join(name)});
    json!({
        "name": "http3",
        "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": 0}},
        "udp_listener_config": {"quic_options": {}},
        "filter_chains": [{
            "transport_socket": {"name": "quic", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
                "downstream_tls_context": {"common_tls_context": {"tls_certificates": [
                    {"certificate_chain": file("cert.pem"), "private_key": file("key.pem")},
                ]}},
            }},
            "filters": [{"name": "manager", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "http3",
                "codec_type": "HTTP3",
                "use_remote_address": true,
                "skip_xff_append": true,
                "http3_protocol_options": {"allow_extended_connect": true},
                "upgrade_configs": [{"upgrade_type": "websocket"}],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}},
                ]}]},
                "http_filters": [
                    {"name": FILTER, "config_discovery": {
                        "config_source": {"resource_api_version": "V3", "path_config_source": {
                            "path": folder.join("policy/filter.yaml"),
                            "watched_directory": {"path": folder.join("policy")},
                        }},
                        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
                    }},
                    {"name": "router", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    }},
                ],
            }}],
        }],
    })
}

/// Puts a policy in force, on every worker and listener.
fn put(place: &Place, policy: &Value) {
    let (before, _) = place.envoy.process().policies();
    place.example.put_policy(&policy.to_string()).unwrap();
    // Each listener counts.
    eventually("the policy is in force", || place.envoy.process().policies().0 > before);
}

fn count(place: &Place, result: &str, reason: &str) -> u64 {
    place.envoy.process().stat(&format!("wasmcustom.openclaw_trusted_proxy.sockets.result={result}.reason={reason}"))
}

fn gauge(place: &Place) -> u64 {
    place.envoy.process().stat("wasmcustom.openclaw_trusted_proxy.open_sockets")
}

/// The policy with everything that the cases change.
fn base() -> Value {
    let mut policy = policy_with(json!({
        "allowLoopback": true,
        "trustedProxies": ["127.0.0.1", "127.0.0.2"],
        "anonymousPaths": ["ws:/hooks"],
        "scopes": {
            "users": {"nick@example.com": ["operator.admin"], "*": ["operator.read"]},
            "groupsHeader": "x-forwarded-groups",
            "groups": {"writers": ["operator.write"]},
        },
    }));
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(["nick@example.com", "mary@example.com"]);
    policy["gateway"]["controlUi"]["allowedOrigins"] = json!(["https://one.example.com", "https://other.example.com"]);
    policy
}

/// An edit, the sockets that it closes, and why.
struct Case {
    what: &'static str,
    edit: Value,
    closes: &'static [&'static str],
    reason: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |what, edit, closes, reason| Case { what, edit, closes, reason };
    let identity = |patch: Value| json!({"gateway": {"auth": {"trustedProxy": patch}}});
    let filter = |patch: Value| json!({"filter": patch});
    let scopes = |patch: Value| json!({"filter": {"scopes": patch}});
    const REDUCED: &str = "trusted_proxy_socket_scopes_reduced";
    const ALL: &[&str] = &["nick", "mary", "writer", "other origin", "other proxy", "over HTTP/2", "over HTTP/3"];
    vec![
        case("an edit that concerns nobody", filter(json!({"stripHeaders": ["x-nobody"]})), &[], ""),
        case(
            "a user is added",
            identity(json!({"allowUsers": ["nick@example.com", "mary@example.com", "ann"]})),
            &[],
            "",
        ),
        case(
            "a user is removed",
            identity(json!({"allowUsers": ["nick@example.com"]})),
            &["mary", "writer", "other proxy", "over HTTP/2", "over HTTP/3"],
            NOT_ALLOWED,
        ),
        case(
            "a group is removed",
            scopes(json!({"groups": {"writers": null, "others": ["operator.write"]}})),
            &["writer"],
            REDUCED,
        ),
        case(
            "a ceiling is lowered",
            scopes(json!({"users": {"nick@example.com": ["operator.write"]}})),
            &["nick", "other origin"],
            REDUCED,
        ),
        case("a ceiling is raised", scopes(json!({"users": {"*": ["operator.admin"]}})), &[], ""),
        case(
            "an origin is removed",
            json!({"gateway": {"controlUi": {"allowedOrigins": ["https://one.example.com"]}}}),
            &["other origin"],
            "trusted_proxy_origin_not_allowed",
        ),
        case(
            "a proxy is removed",
            filter(json!({"trustedProxies": ["127.0.0.1"]})),
            &["other proxy"],
            "trusted_proxy_untrusted_source",
        ),
        case("a header is required that all have", identity(json!({"requiredHeaders": ["x-forwarded-for"]})), &[], ""),
        case(
            "a header is required that one has",
            identity(json!({"requiredHeaders": ["x-edge"]})),
            &["mary", "writer", "other origin", "other proxy", "over HTTP/2", "over HTTP/3"],
            "trusted_proxy_missing_header",
        ),
        case(
            "the user is read from another header",
            identity(json!({"userHeader": "x-auth-user"})),
            &["mary", "writer", "other origin", "other proxy", "over HTTP/2", "over HTTP/3"],
            "trusted_proxy_user_missing",
        ),
        case("the Gateway is an earlier release", filter(json!({"gatewayVersion": "2026.8.1"})), &[], ""),
        case(
            "an anonymous path is removed",
            filter(json!({"anonymousPaths": []})),
            &["anonymous"],
            "trusted_proxy_user_missing",
        ),
        case("refusals are delegated", filter(json!({"webSocketRefusal": "delegate"})), &[], ""),
        case(
            "everybody needs a certificate",
            filter(json!({"trustedPeers": ["spiffe://a/b"]})),
            ALL,
            "trusted_proxy_peer_certificate",
        ),
    ]
}

/// A socket of each kind, by its name.
fn sockets(place: &Place) -> Vec<(&'static str, Socket)> {
    let nick = ("x-forwarded-user", "nick@example.com");
    let mary = ("x-forwarded-user", "mary@example.com");
    let nick_too = ("x-auth-user", "nick@example.com");
    let open = |headers: Headers<'_>| Socket::open(place, headers);
    vec![
        ("nick", open(&[nick, nick_too, ("x-edge", "1"), ("origin", "https://one.example.com")])),
        ("mary", open(&[mary])),
        ("writer", open(&[mary, ("x-forwarded-groups", "readers, writers")])),
        ("other origin", open(&[nick, ("origin", "https://other.example.com")])),
        ("other proxy", Socket::open_from(place, Ipv4Addr::new(127, 0, 0, 2), &[mary])),
        ("over HTTP/2", Socket::over_http2(place, &[mary])),
        ("over HTTP/3", Socket::over_http3(place, &[mary])),
        ("anonymous", Socket::anonymous(place)),
    ]
}

impl Socket {
    fn anonymous(place: &Place) -> Self {
        let stream = wire::open(place.envoy.address("http")).unwrap();
        let mut socket = open_at(stream, "/hooks", &[CLIENT]);
        socket.read().expect("the upstream says what it received");
        socket.get_ref().set_read_timeout(Some(ANSWER)).unwrap();
        Self::Http1(Box::new(socket))
    }
}

#[test]
fn each_edit_closes_the_sockets_that_it_concerns_and_no_others() {
    let place = place(&base());
    for (turn, case) in cases().into_iter().enumerate() {
        // Users who are removed with every edit show when the workers have decided.
        let watch = format!("watch{turn}@example.com");
        let with_watch = |policy: &Value| {
            let mut policy = policy.clone();
            policy["gateway"]["auth"]["trustedProxy"]["allowUsers"].as_array_mut().unwrap().push(json!(watch));
            policy
        };
        put(&place, &with_watch(&base()));
        let mut sockets = sockets(&place);
        let mut watched: Vec<_> = (0..4).map(|_| Socket::open(&place, &user(&watch))).collect();
        watched.push(Socket::over_http3(&place, &user(&watch)));
        for (name, socket) in &mut sockets {
            assert!(socket.is_open(), "{}: {name} before the edit", case.what);
        }
        let before = count(&place, "closed", case.reason);
        let mut edited = base();
        merge(&mut edited, case.edit.clone());
        put(&place, &edited);
        for socket in &mut watched {
            eventually("the workers have decided", || !socket.is_open());
        }
        let closed: Vec<_> =
            sockets.iter_mut().filter_map(|(name, socket)| (!socket.is_open()).then_some(*name)).collect();
        assert_eq!(closed, case.closes, "{}", case.what);
        if !closed.is_empty() {
            let more = count(&place, "closed", case.reason) - before;
            assert!(more >= closed.len() as u64, "{}: {more} counted as {}", case.what, case.reason);
        }
    }
    assert!(
        !place.envoy.lines(Source::Log).iter().any(|line| line.contains("critical\t") || line.contains("panicked"))
    );
}

/// The policy that lets these users in, and nobody else.
fn only(users: &[&str]) -> Value {
    let mut policy = base();
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(users);
    policy
}

const NICK: &str = "nick@example.com";
const MARY: &str = "mary@example.com";
const ANN: &str = "ann@example.com";

#[test]
fn report_mode_and_a_rejected_policy_close_nothing() {
    let place = place(&only(&[NICK, MARY]));
    let mut mary: Vec<_> = (0..4).map(|_| Socket::open(&place, &user(MARY))).collect();
    let rejected = json!({"gateway": {"auth": {"mode": "none"}}});
    place.example.put_policy(&rejected.to_string()).unwrap();
    eventually("the policy is rejected", || place.envoy.process().policies().1 > 0);
    let mut report = only(&[NICK]);
    report["filter"]["mode"] = json!("report");
    put(&place, &report);
    eventually("the workers have decided", || count(&place, "would_close", NOT_ALLOWED) == 4);
    // Who comes in only because nothing is refused.
    let mut ann = Socket::open(&place, &user(ANN));
    assert!(ann.is_open() && mary.iter_mut().all(Socket::is_open));
    put(&place, &only(&[NICK, MARY]));
    eventually("what was only reported ends", || !ann.is_open());
    assert!(mary.iter_mut().all(Socket::is_open));
    put(&place, &only(&[NICK]));
    eventually("the removed user's sockets are closed", || !mary.iter_mut().any(Socket::is_open));
}

#[test]
fn going_back_to_an_earlier_policy_reaches_every_socket() {
    let (both, nick) = (only(&[NICK, MARY]), only(&[NICK, ANN]));
    let place = place(&both);
    let mut kept: Vec<_> = (0..4).map(|_| Socket::open(&place, &user(NICK))).collect();
    for _ in 0..3 {
        let mut mary: Vec<_> = (0..4).map(|_| Socket::open(&place, &user(MARY))).collect();
        put(&place, &nick);
        // Envoy uses the plugin of the earlier text again, because it has open sockets. The next requests show it.
        let mut ann: Vec<_> = (0..4).map(|_| Socket::open(&place, &user(ANN))).collect();
        eventually("the removed user's sockets are closed", || !mary.iter_mut().any(Socket::is_open));
        assert!(ann.iter_mut().all(Socket::is_open));
        put(&place, &both);
        let mut mary: Vec<_> = (0..4).map(|_| Socket::open(&place, &user(MARY))).collect();
        eventually("the removed user's sockets are closed", || !ann.iter_mut().any(Socket::is_open));
        assert!(mary.iter_mut().all(Socket::is_open));
    }
    assert!(kept.iter_mut().all(Socket::is_open));
    eventually("the gauge has what is open", || gauge(&place) == 4);
}

#[test]
fn a_hundred_edits_in_ten_seconds_leave_a_thousand_sockets_right() {
    const SOCKETS: usize = 1000;
    let place = place(&only(&[NICK, MARY, ANN]));
    let users = [NICK, MARY, ANN];
    let mut sockets: Vec<_> = (0..SOCKETS).map(|n| (users[n % 3], Socket::open(&place, &user(users[n % 3])))).collect();
    eventually("the gauge has what is open", || gauge(&place) == SOCKETS as u64);
    let memory = || -> u64 {
        let answer = place.envoy.process().ask("/memory").unwrap().json();
        answer["allocated"].as_str().unwrap().parse().unwrap()
    };
    let before = memory();
    // Each edit has another text, so that none is the same as an earlier one. Mary is removed in the last one.
    for edit in 0..100 {
        let mut policy = if edit == 99 { only(&[NICK, ANN]) } else { only(&[NICK, MARY, ANN]) };
        policy["filter"]["stripHeaders"] = json!([format!("x-edit-{edit}")]);
        place.example.put_policy(&policy.to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let mary = SOCKETS.div_ceil(3) - usize::from(SOCKETS % 3 == 1);
    eventually("the removed user's sockets are closed", || count(&place, "closed", NOT_ALLOWED) == mary as u64);
    for (user, socket) in &mut sockets {
        assert_eq!(socket.is_open(), *user != MARY, "{user}");
    }
    eventually("the gauge has what is open", || gauge(&place) == (SOCKETS - mary) as u64);
    // Envoy frees what an edit took a little later.
    eventually("a hundred edits took no memory", || memory().saturating_sub(before) < 4 * 1024 * 1024);
}

#[test]
fn sockets_that_end_by_themselves_while_they_are_closed_do_no_harm() {
    let place = place(&only(&[NICK, MARY]));
    let mut kept = Socket::open(&place, &user(NICK));
    for turn in 0..10 {
        let sockets: Vec<_> = (0..100).map(|_| Socket::open(&place, &user(MARY))).collect();
        let mut edited = only(&[NICK]);
        edited["filter"]["stripHeaders"] = json!([format!("x-edit-{turn}")]);
        place.example.put_policy(&edited.to_string()).unwrap();
        // They end one by one while the timers of both workers fire.
        for socket in sockets {
            drop(socket);
            std::thread::sleep(Duration::from_millis(15));
        }
        put(&place, &only(&[NICK, MARY]));
    }
    assert!(kept.is_open(), "Envoy is still running");
    eventually("the gauge has what is open", || gauge(&place) == 1);
}

#[test]
fn sockets_of_an_earlier_module_follow_the_policy() {
    let place = place(&only(&[NICK, MARY]));
    let mut sockets: Vec<_> =
        [NICK, MARY].iter().cycle().take(8).map(|name| (*name, Socket::open(&place, &user(name)))).collect();
    eventually("the gauge has what is open", || gauge(&place) == 8);
    // Another module with the same code: a custom section without a name makes no difference.
    let module = std::fs::read(envoy::module().unwrap()).unwrap();
    let other = place.envoy.folder().join("other.wasm");
    std::fs::write(&other, [&module[..], b"\0\x02\x01x"].concat()).unwrap();
    let example = place.example.with_module(&other);
    let put = |policy: &Value| {
        let (before, _) = place.envoy.process().policies();
        example.put_policy(&policy.to_string()).unwrap();
        eventually("the policy is in force", || place.envoy.process().policies().0 > before);
    };
    // The module alone changes nothing.
    put(&only(&[NICK, MARY]));
    let mut new = Socket::open(&place, &user(NICK));
    assert!(sockets.iter_mut().all(|(_, socket)| socket.is_open()));
    // An edit under the new module reaches the sockets of the old one.
    put(&only(&[NICK]));
    for (name, socket) in &mut sockets {
        if *name == MARY {
            eventually("the removed user's socket is closed", || !socket.is_open());
        } else {
            assert!(socket.is_open());
        }
    }
    assert!(new.is_open());
    eventually("the gauge has what is open", || gauge(&place) == 5);
    // The old module ends with its last socket, and what it had is not in the gauge any more.
    drop(sockets);
    eventually("the gauge has what is open", || gauge(&place) == 1);
}
