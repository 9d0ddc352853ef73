//! What operators configure and see, with the configuration in `envoy/` in a real Envoy: ceilings, report mode, logs.

use std::net::SocketAddr;
use std::thread;

use harness::document::Section;
use harness::echo::{self, Echo};
use harness::envoy::{self, Envoy, Example, FILTER, Ports, Scratch, Source, eventually};
use harness::wire::{self, Connection, Headers, Response, latin1, values};
use serde_json::{Value, json};

const NICK: (&str, &str) = ("x-forwarded-user", "nick@example.com");
const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");

#[test]
fn a_ceiling_by_user_and_group_reads_one_groups_header_and_no_lookalike() {
    let mut policy = shipped_policy();
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([]);
    policy["filter"]["scopes"] = json!({
        "users": {"nick@example.com": ["operator.read"], "root@example.com": ["operator.admin"], "*": ["operator.approvals"]},
        "groupsHeader": "x-forwarded-groups",
        "groups": {"writers": ["operator.write"]},
    });
    let (echo, envoy) = example(&policy);
    let http = envoy.address("http");
    let (read, write) = ("operator.read", "operator.read, operator.write");
    let groups = |value: &'static [u8]| vec![("X-Forwarded-Groups", value)];
    // The user, other headers, and the scopes on an own path; `None` is a refusal for a repeated groups header.
    let cases: Vec<(&str, Vec<(&str, &[u8])>, Option<&str>)> = vec![
        ("nick@example.com", vec![], Some(read)),
        ("NICK@example.com", vec![], Some(read)),
        ("nick@example.com", groups(b"writers"), Some(write)),
        ("nick@example.com", groups(b"  others ,\twriters  "), Some(write)),
        ("nick@example.com", groups(b"writers\xA0"), Some(write)),
        ("nick@example.com", groups(b"\xA0writers,"), Some(write)),
        ("nick@example.com", groups(b"Writers"), Some(read)),
        ("nick@example.com", groups(b"writers2"), Some(read)),
        ("nick@example.com", groups(b"wri\xC3\xBCters"), Some(read)),
        ("nick@example.com", vec![("x-forwarded-groups", b"writers"), ("x-forwarded-groups", b"writers")], None),
        ("nick@example.com", vec![("x-forwarded-groups", b""), ("X-FORWARDED-GROUPS", b"writers")], None),
        ("nick@example.com", vec![("x-forwarded.groups", b"writers")], Some(read)),
        ("nick@example.com", vec![("x-forwarded-groups", b"others"), ("x.forwarded.groups", b"writers")], Some(read)),
        (
            "nick@example.com",
            vec![("x-forwarded-groups", b"writers"), ("x-openclaw-scopes", b"operator.read")],
            Some(read),
        ),
        ("nick@example.com", vec![("x-openclaw-scopes", b"operator.admin, operator.approvals")], Some(read)),
        ("nick@example.com", vec![("x-openclaw-scopes", b"operator.approvals")], Some("")),
        ("mary@example.com", vec![], Some("operator.approvals")),
        // A user with listed groups does not get the default ceiling.
        ("mary@example.com", groups(b"writers"), Some(write)),
        ("root@example.com", vec![("x-openclaw-scopes", b"operator.read")], Some(read)),
    ];
    let mut admitted = 0;
    for (user, headers, expected) in cases {
        let name =
            format!("{user} with {:?}", headers.iter().map(|(name, value)| (name, latin1(value))).collect::<Vec<_>>());
        let mut all: Headers = [("host", "claw.example.com"), CLIENT, ("x-forwarded-user", user)]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .into();
        all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())));
        let response = ask(http, "/tools/invoke", &all);
        let Some(expected) = expected else {
            assert_eq!(reason(&response).as_deref(), Some("trusted_proxy_groups_repeated"), "{name}: {response:?}");
            continue;
        };
        assert_eq!(response.status, 200, "{name}: {response:?}");
        admitted += 1;
        let upstream = echo::received(&response.json());
        let scopes = values(&upstream, "x-openclaw-scopes");
        let mut scopes: Vec<&str> = scopes.iter().flat_map(|one| one.split(',')).map(str::trim).collect();
        scopes.sort_unstable();
        assert_eq!(scopes.join(", "), expected, "{name}");
        assert_eq!(values(&upstream, "x-openclaw-scopes").len(), 1, "{name}");
        let left: Vec<_> = upstream.iter().filter(|(name, _)| name.contains("groups")).collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    assert_eq!(echo.requests(), admitted, "what is refused must not reach the upstream");
    assert_no_trap(&envoy);
}

#[test]
fn report_mode_leaves_every_byte_as_envoy_alone_would_and_counts_and_tells() {
    let mut policy = shipped_policy();
    policy["filter"] = json!({
        "mode": "report",
        "scopes": {"users": {"*": ["operator.read"]}, "groupsHeader": "x-forwarded-groups"},
        "upstreamUserHeader": "x-user",
    });
    let (echo, reporting) = example(&policy);
    let (bare_echo, bare) = example_with(&policy, without_filter);
    let user_missing = Some("trusted_proxy_user_missing");
    let cases: [(&str, &[(&str, &str)], Option<&str>); 12] = [
        ("/", &[NICK, CLIENT], None),
        (
            "/tools/invoke?key=secret",
            &[NICK, CLIENT, ("x-openclaw-scopes", "operator.admin, nonsense,,operator.admin")],
            None,
        ),
        ("/", &[NICK, CLIENT, ("x-forwarded.user", "root"), ("remote-user", "root"), ("x-user", "root")], None),
        (
            "/",
            &[
                NICK,
                CLIENT,
                ("x-forwarded-groups", "a"),
                ("cookie", "a=1"),
                ("x-empty", ""),
                ("x-copy", "1"),
                ("x-copy", "2"),
            ],
            None,
        ),
        ("/health", &[("x-forwarded-user", "root@example.com"), ("x-openclaw-scopes", "operator.admin")], None),
        ("/", &[CLIENT], user_missing),
        ("/", &[CLIENT, ("authorization", "Bearer the-token"), ("x-forwarded-user", "  ")], user_missing),
        ("/", &[NICK, NICK, CLIENT], Some("trusted_proxy_user_repeated")),
        (
            "/",
            &[NICK, CLIENT, ("x-forwarded-groups", "a"), ("x-forwarded-groups", "b")],
            Some("trusted_proxy_groups_repeated"),
        ),
        (
            "/x/y?key=secret",
            &[("x-forwarded-user", "mallory@example.com"), CLIENT],
            Some("trusted_proxy_user_not_allowed"),
        ),
        ("/", &[NICK, CLIENT, ("origin", "https://evil.example")], Some("trusted_proxy_origin_not_allowed")),
        ("/", &[NICK, CLIENT, ("connection", "x-openclaw-scopes"), ("x-openclaw-scopes", "operator.read")], None),
    ];
    for (path, headers, would_refuse) in cases {
        for websocket in [false, true] {
            let name = format!("{path} {headers:?}, WebSocket: {websocket}");
            // An upgrade needs its own Connection header there.
            if websocket && (headers.iter().any(|(name, _)| *name == "connection") || path == "/health") {
                continue;
            }
            let count = |envoy: &Envoy| {
                would_refuse.map(|reason| {
                    let name = format!("wasmcustom.{FILTER}.decisions.result=would_refuse.reason={reason}");
                    envoy.process().stat(&name)
                })
            };
            let before = count(&reporting);
            let seen = upstream(reporting.address("http"), path, headers, websocket);
            assert_eq!(seen, upstream(bare.address("http"), path, headers, websocket), "{name}");
            if let (Some(before), Some(now)) = (before, count(&reporting)) {
                assert_eq!(now, before + 1, "{name}");
            }
        }
    }
    assert_eq!(echo.requests(), bare_echo.requests());
    let prometheus = reporting.process().ask("/stats/prometheus").unwrap().text();
    let refused = prometheus.lines().filter(|line| line.contains("result=\"refused\"") && !line.ends_with(" 0"));
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<&str>::new());
    let line = reporting.line(Source::Log, |line| line.contains("trusted_proxy_user_not_allowed"));
    assert!(line.contains("would be refused reason=trusted_proxy_user_not_allowed peer=127.0.0.1:"), "{line}");
    assert!(line.ends_with("method=GET path=/x/y user=\"mallory@example.com\""), "{line}");
    reporting.line(Source::Log, |line| line.contains("critical filter.report_mode"));
    let line = reporting.line(Source::Access, |line| line.contains("trusted_proxy_user_not_allowed"));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["status"], &line["details"]), (&json!(200), &json!("via_upstream")), "{line}");
    assert_no_trap(&reporting);
}

#[test]
fn trusted_peers_refuse_everybody_on_a_listener_without_mutual_tls() {
    for trust in ["address", "certificate"] {
        let mut policy = shipped_policy();
        policy["filter"] = json!({"trustedPeers": ["spiffe://example.org/proxy"], "peerTrust": trust});
        let echo = Echo::start().unwrap();
        let scratch = Scratch::new("operators");
        let example =
            Example::write(scratch.path(), Ports::default(), &echo.address().to_string(), &policy.to_string()).unwrap();
        let envoy = Envoy::run(scratch, &example.bootstrap());
        let headers = [("host", "localhost"), NICK, CLIENT];
        let plain = ask(envoy.address("http"), "/", &headers);
        assert_eq!(reason(&plain).as_deref(), Some("trusted_proxy_peer_certificate"), "{trust}: {plain:?}");
        let certificate = std::fs::read(example.certificate()).unwrap();
        let stream = wire::open_tls(envoy.address("https"), "localhost", &certificate, "http/1.1").unwrap();
        let mut connection = Connection::new(stream);
        connection.send(&wire::request("GET", "/", &headers)).unwrap();
        let tls = connection.response("GET").unwrap();
        assert_eq!(reason(&tls).as_deref(), Some("trusted_proxy_peer_certificate"), "{trust}: {tls:?}");
        envoy.line(Source::Log, |line| line.contains("warn filter.trusted_peers"));
        assert_eq!(echo.requests(), 0);
    }
}

#[test]
fn a_flood_of_refusals_leaves_few_lines_and_the_right_count() {
    const FLOOD: usize = 1000;
    let (echo, envoy) = example(&shipped_policy());
    let http = envoy.address("http");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(http).unwrap();
                let headers: [(&str, &[u8]); 3] = [
                    ("host", b"claw.example.com"),
                    (CLIENT.0, CLIENT.1.as_bytes()),
                    (NICK.0, b"ev\xEFl\" reason=none"),
                ];
                for _ in 0..FLOOD / 4 {
                    connection.send(&wire::request("GET", "/a?key=s3cr3t", &headers)).unwrap();
                    assert_eq!(connection.response("GET").unwrap().status, 401);
                }
            });
        }
    });
    let count = || {
        let lines: Vec<String> = envoy
            .lines(Source::Log)
            .into_iter()
            .filter(|line| line.contains("trusted_proxy_user_not_allowed"))
            .collect();
        let more = |line: &String| -> Option<usize> {
            line.split_once("reason=trusted_proxy_user_not_allowed ")?.1.split_once(" more like this")?.0.parse().ok()
        };
        let left_out: usize = lines.iter().filter_map(more).sum();
        let told = lines.iter().filter(|line| more(line).is_none()).count();
        (told, left_out, lines)
    };
    eventually("the lines that were left out to be counted", || {
        let (told, left_out, _) = count();
        told + left_out == FLOOD
    });
    let (told, _, lines) = count();
    // Five per second on each of two workers, independent of the duration.
    assert!(lines.len() < FLOOD / 2, "{} lines", lines.len());
    assert!(told >= 5);
    for line in lines.iter().filter(|line| !line.contains("more like this")) {
        assert!(line.ends_with(r#"method=GET path=/a user="ev\xefl\"\x20reason=none""#), "{line}");
    }
    let stat = format!("wasmcustom.{FILTER}.decisions.result=refused.reason=trusted_proxy_user_not_allowed");
    assert_eq!((envoy.process().stat(&stat), echo.requests()), (FLOOD as u64, 0));
    assert_no_trap(&envoy);
}

#[test]
fn the_access_log_tells_who_answered_and_the_page_lists_its_fields() {
    let (_echo, envoy) = example(&shipped_policy());
    let http = envoy.address("http");
    let large = "x".repeat(16 * 1024);
    // The path, headers and status; and the reason, user and details in the log.
    let user = json!("mallory@example.com");
    let none = Value::Null;
    let cases: [(&str, Vec<(&str, &str)>, u16, Value, Value, Value); 5] = [
        ("/admitted", vec![NICK, CLIENT], 200, none.clone(), none.clone(), json!("via_upstream")),
        ("/health", vec![], 200, none.clone(), none.clone(), json!("via_upstream")),
        ("/refused", vec![CLIENT], 401, json!("trusted_proxy_user_missing"), none.clone(), json!("")),
        (
            "/user",
            vec![("x-forwarded-user", "mallory@example.com"), CLIENT],
            401,
            json!("trusted_proxy_user_not_allowed"),
            user,
            json!(""),
        ),
        (
            "/large",
            vec![NICK, CLIENT, ("x-large", &large)],
            431,
            none.clone(),
            none.clone(),
            json!("http1.headers_too_large"),
        ),
    ];
    let mut fields = Vec::new();
    for (path, headers, status, reason, user, details) in cases {
        assert_eq!(ask(http, path, &[&[("host", "claw.example.com")], headers.as_slice()].concat()).status, status);
        let line = envoy.line(Source::Access, |line| {
            line.contains(&format!("\"status\":{status}")) && (status == 431 || line.contains(path))
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["reason"], &line["user"]), (&reason, &user), "{path}: {line}");
        assert_eq!(line["details"], details, "{path}: {line}");
        fields = line.as_object().unwrap().keys().cloned().collect();
    }
    let section = Section::of("observability.md", "The access log");
    let cells =
        section.text.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split('|').next());
    let mut listed: Vec<String> = cells
        .flat_map(|cell| format!("`{cell}").split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    listed.sort_unstable();
    fields.sort_unstable();
    assert_eq!(listed, fields, "docs/observability.md lists the fields of the access log");
}

#[test]
fn report_mode_shows_in_gauges_dump_and_log_before_any_request() {
    let enforcing = shipped_policy();
    let mut reporting = enforcing.clone();
    reporting["filter"]["mode"] = json!("report");
    let page = Section::of("observability.md", "Metrics").text;
    const DUMP: &str = "/config_dump?resource=ecds_filters";
    assert!(page.contains(DUMP), "{page}");
    let told = [&enforcing, &enforcing, &reporting].map(|policy| {
        let (_echo, envoy) = example(policy);
        // The audit's lines are logged with the policy.
        envoy.line(Source::Log, |line| line.contains("critical gateway.trusted_proxy_auth"));
        let in_log = envoy.lines(Source::Log).iter().any(|line| line.contains("critical filter.report_mode"));
        let ask = |path: &str| envoy.process().ask(path).unwrap().text();
        let dump: Value = serde_json::from_str(&ask(DUMP)).unwrap();
        let policy = dump
            .pointer("/configs/0/ecds_filter/typed_config/config/configuration/value")
            .unwrap_or_else(|| panic!("{dump:#}"));
        let policy: Value = serde_json::from_str(policy.as_str().unwrap()).unwrap();
        (gauge(&envoy, "fingerprint"), gauge(&envoy, "enforced"), policy["filter"]["mode"].clone(), in_log)
    });
    let [one, other, report] = told;
    assert_eq!(one, other);
    assert_eq!((&*one.1, &one.2, one.3), ("1", &Value::Null, false));
    assert_eq!((&*report.1, &report.2, report.3), ("0", &json!("report"), true));
    assert_ne!(one.0, report.0);
}

#[test]
fn an_edit_of_a_secret_alone_leaves_the_fingerprint_as_it_was() {
    let policy = |password: &str, users: &[&str]| {
        let mut policy = shipped_policy();
        policy["gateway"]["auth"]["password"] = json!(password);
        policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(users);
        policy
    };
    let echo = Echo::start().unwrap();
    let scratch = Scratch::new("operators");
    let (upstream, first) = (echo.address().to_string(), policy("secret-1", &["nick@example.com"]));
    let example = Example::write(scratch.path(), Ports::default(), &upstream, &first.to_string()).unwrap();
    let envoy = Envoy::run(scratch, &example.bootstrap());
    let fingerprint = || gauge(&envoy, "fingerprint");
    let put = |policy: &Value| {
        let (taken, rejected) = envoy.process().policies();
        example.put_policy(&policy.to_string()).unwrap();
        eventually("Envoy to take the policy", || envoy.process().policies().0 > taken);
        assert_eq!(envoy.process().policies().1, rejected, "{policy}");
    };
    let before = fingerprint();
    put(&policy("secret-2", &["nick@example.com"]));
    assert_eq!(fingerprint(), before);
    // An edit that decides shows. Back from there, with another secret, the fingerprint is the first one again.
    put(&policy("secret-2", &["mary@example.com"]));
    eventually("another fingerprint", || fingerprint() != before);
    put(&policy("secret-3", &["nick@example.com"]));
    eventually("the first fingerprint", || fingerprint() == before);
}

/// A gauge of the filter about its policy.
fn gauge(envoy: &Envoy, name: &str) -> String {
    let metrics = envoy.process().ask("/stats/prometheus").unwrap().text();
    let start = format!("openclaw_trusted_proxy_policy_{name}{{}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("no {start}: {metrics}")).to_owned()
}

fn shipped_policy() -> Value {
    let file = envoy::root().join("envoy/policy.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The configuration in `envoy/`, on free ports, in front of an echo server.
fn example(policy: &Value) -> (Echo, Envoy) {
    example_with(policy, str::to_owned)
}

fn example_with(policy: &Value, change: impl FnOnce(&str) -> String) -> (Echo, Envoy) {
    let echo = Echo::start().unwrap();
    let scratch = Scratch::new("operators");
    let upstream = echo.address().to_string();
    let example = Example::write(scratch.path(), Ports::default(), &upstream, &policy.to_string()).unwrap();
    let bootstrap = example.bootstrap();
    let text = std::fs::read_to_string(&bootstrap).unwrap();
    std::fs::write(&bootstrap, change(&text)).unwrap();
    (echo, Envoy::run(scratch, &bootstrap))
}

/// The bootstrap with connection managers whose only filter is the router.
fn without_filter(bootstrap: &str) -> String {
    let (before, rest) = bootstrap.split_once(&format!("                  - name: {FILTER}\n")).expect("the filter");
    let router = rest.find("                  - name: envoy.filters.http.router\n").expect("the router");
    format!("{before}{}", &rest[router..])
}

/// The headers that the upstream received, without the number that Envoy gives each request.
fn upstream(address: SocketAddr, path: &str, headers: &[(&str, &str)], websocket: bool) -> (String, Headers) {
    let mut all = vec![("host", "claw.example.com")];
    if websocket {
        all.extend([
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
    }
    all.extend(headers);
    let mut connection = Connection::open(address).unwrap();
    connection.send(&wire::request("GET", path, &all)).unwrap();
    let response = connection.response("GET").unwrap();
    let answer = if websocket {
        assert_eq!(response.status, 101, "{path} {headers:?}: {response:?}");
        let (stream, rest) = connection.into_parts();
        let role = harness::tungstenite::protocol::Role::Client;
        let mut socket = harness::tungstenite::WebSocket::from_partially_read(stream, rest, role, None);
        serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
    } else {
        assert_eq!(response.status, 200, "{path} {headers:?}: {response:?}");
        response.json()
    };
    let mut received = echo::received(&answer);
    let before = received.len();
    received.retain(|(name, _)| name != "x-request-id");
    assert_eq!(received.len() + 1, before);
    (answer["path"].as_str().unwrap().to_owned(), received)
}

fn ask<N: AsRef<[u8]>, V: AsRef<[u8]>>(address: SocketAddr, path: &str, headers: &[(N, V)]) -> Response {
    let mut connection = Connection::open(address).unwrap();
    connection.send(&wire::request("GET", path, headers)).unwrap();
    connection.response("GET").unwrap()
}

fn reason(response: &Response) -> Option<String> {
    response.json()["error"]["reason"].as_str().map(str::to_owned)
}

/// Asserts that no VM failed: Envoy reloaded none, and logged no trap.
fn assert_no_trap(envoy: &Envoy) {
    let stats = envoy.process().ask("/stats?usedonly").unwrap().text();
    let reloads: Vec<_> = stats.lines().filter(|line| line.contains("vm_reload") && !line.ends_with(": 0")).collect();
    assert!(reloads.is_empty(), "{reloads:?}");
}
