//! The component that ships, in wasmtime: the decision vectors, errors instead of traps, and no world but its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "../examples/host.rs"]
mod host;

use std::collections::HashMap;
use std::process::Command;
use std::sync::LazyLock;

use harness::document;
use harness::envoy::root;
use harness::vectors::{self, Outcome, Vector};
use harness::wasm::{self, PeerFrom};
use host::bindings::TrustedProxy;
use host::bindings::exports::openclaw::trusted_proxy::gate::{
    Edit, Grounds, Header, Refusal, Request, Response, Severity, Verdict,
};
use policy::config;
use serde_json::{Value, json};
use wasmtime::component::{Component, Linker, ResourceAny};
use wasmtime::{Engine, ResourceLimiter, Store};

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::default);
static COMPONENT: LazyLock<Component> = LazyLock::new(|| Component::new(&ENGINE, bytes()).unwrap());

fn bytes() -> Vec<u8> {
    let file = root().join("dist/openclaw-trusted-proxy.component.wasm");
    std::fs::read(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}; run `make component`", file.display()))
}

/// Notes how large the component's memory got.
#[derive(Default)]
struct Memory(usize);

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.0 = self.0.max(desired);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

/// An instance of the component. A trap fails the test.
struct Host {
    store: Store<Memory>,
    instance: TrustedProxy,
}

impl Host {
    fn new() -> Self {
        let mut store = Store::new(&ENGINE, Memory::default());
        store.limiter(|memory| memory);
        let instance = TrustedProxy::instantiate(&mut store, &COMPONENT, &Linker::new(&ENGINE)).unwrap();
        Self { store, instance }
    }

    /// Compiles a configuration; the errors as lines of path, problem and remedy.
    fn compile(&mut self, configuration: &[u8]) -> Result<ResourceAny, Vec<(String, String, String)>> {
        let gate = self.instance.openclaw_trusted_proxy_gate();
        let compiled = gate.call_compile(&mut self.store, configuration).expect("no trap");
        compiled.map_err(|problems| problems.into_iter().map(|one| (one.path, one.problem, one.remedy)).collect())
    }

    fn good(&mut self, configuration: &Value) -> ResourceAny {
        self.compile(configuration.to_string().as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn decide(&mut self, policy: ResourceAny, request: &Request) -> Result<Verdict, String> {
        let gate = self.instance.openclaw_trusted_proxy_gate();
        gate.policy().call_decide(&mut self.store, policy, request).expect("no trap")
    }
}

fn config() -> Value {
    json!({"gateway": {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": {
        "userHeader": "x-forwarded-user", "allowUsers": ["nick@example.com"],
    }}}})
}

fn request(headers: &[(&str, &str)]) -> Request {
    Request {
        peer: "10.0.0.1:40000".to_owned(),
        destination: None,
        certificate: None,
        assertion: None,
        true_claims: Vec::new(),
        filter_states: Vec::new(),
        method: "GET".to_owned(),
        target: "/".to_owned(),
        authority: Some("claw.example.com".to_owned()),
        headers: headers.iter().map(|(name, value)| header(name, value.as_bytes())).collect(),
    }
}

fn header(name: &str, value: &[u8]) -> Header {
    Header { name: name.to_owned(), value: value.to_vec() }
}

const NICK: (&str, &str) = ("x-forwarded-user", "nick@example.com");
const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

// ---- the decisions ----

fn of_vector(case: &Vector) -> Request {
    let mut all = wasm::Request::of_vector(case, PeerFrom::Connection).headers;
    let mut pseudo = HashMap::new();
    all.retain(|(name, value)| {
        let is_pseudo = name.starts_with(':');
        if is_pseudo {
            pseudo.insert(name.clone(), String::from_utf8(value.clone()).unwrap());
        }
        !is_pseudo
    });
    Request {
        peer: case.remote_addr.clone(),
        destination: None,
        certificate: None,
        assertion: None,
        true_claims: Vec::new(),
        filter_states: Vec::new(),
        method: pseudo[":method"].clone(),
        target: pseudo[":path"].clone(),
        authority: pseudo.get(":authority").cloned(),
        headers: all.iter().map(|(name, value)| header(name, value)).collect(),
    }
}

/// What the Gateway gets: the headers with every edit made.
fn edited(headers: &[Header], edits: &[Edit]) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = headers.iter().map(|one| (one.name.to_ascii_lowercase(), one.value.clone())).collect();
    for edit in edits {
        match edit {
            Edit::Set(Header { name, value }) => {
                all.retain(|(other, _)| other != name);
                all.push((name.clone(), value.clone()));
            }
            Edit::Remove(name) => all.retain(|(other, _)| other != name),
        }
    }
    all
}

fn closed(response: &Response) -> Outcome {
    assert_eq!(response.status, 101);
    let [0x88, length, high, low, reason @ ..] = &response.body[..] else {
        panic!("a close frame: {:?}", response.body)
    };
    assert_eq!(usize::from(*length), reason.len() + 2);
    Outcome::Closed { code: u16::from_be_bytes([*high, *low]), reason: String::from_utf8(reason.to_vec()).unwrap() }
}

fn outcome(case: &Vector, given: &Request, verdict: Result<Verdict, String>) -> Outcome {
    match verdict {
        Ok(Verdict::Pass(permit)) => Outcome::Admitted { upstream: edited(&given.headers, &permit.edits) },
        Ok(Verdict::Refuse(Refusal { close: Some(close), .. })) if case.websocket => closed(&close),
        Ok(Verdict::Refuse(refusal)) => {
            let body: Value = serde_json::from_slice(&refusal.response.body).unwrap_or_default();
            let reason = body["error"]["reason"].as_str().map(str::to_owned);
            Outcome::Refused { status: refusal.response.status, reason }
        }
        other => Outcome::Other(format!("{other:?}")),
    }
}

#[test]
fn the_component_decides_every_vector() {
    let cases = vectors::load();
    let mut host = Host::new();
    let mut policies: HashMap<String, ResourceAny> = HashMap::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let policy = *policies.entry(case.config.to_string()).or_insert_with(|| host.good(&case.config));
        let given = of_vector(case);
        let verdict = host.decide(policy, &given);
        if let Err(difference) = case.judge(&outcome(case, &given, verdict)) {
            wrong.push(format!("{}: {difference}", case.id));
        }
    }
    assert!(cases.len() >= 1200, "only {} vectors", cases.len());
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn what_the_host_verified_itself_counts_where_the_policy_asks_for_it() {
    let mut host = Host::new();
    let mut with = |filter: Value| {
        let mut config = config();
        config["filter"] = filter;
        host.good(&config)
    };
    let certificate = with(json!({"trustedPeers": ["spiffe://example.com/proxy"]}));
    let tunnel = with(json!({
        "trustedPeers": ["spiffe://example.com/proxy"], "peerTrust": "certificate",
        "peerIdentity": ["certificate", {"filterState": "mesh.peer"}]
    }));
    let claim = with(json!({
        "assertion": {"metadata": ["a", "b"], "as": "match", "requireTrue": [["a", "verified"]]}
    }));
    let assertion = with(json!({"assertion": {"metadata": ["a", "b"], "as": "match"}}));
    let same_host = with(json!({"rejectSameHost": true}));
    let ask = |change: fn(&mut Request)| {
        let mut request = request(&[NICK, CLIENT]);
        change(&mut request);
        request
    };
    let cases: [(ResourceAny, Request, &str); 11] = [
        (
            tunnel,
            ask(|request| {
                request.filter_states = vec![("mesh.peer".to_owned(), "spiffe://example.com/proxy".to_owned())]
            }),
            "passes",
        ),
        (
            tunnel,
            ask(|request| {
                request.peer.clear();
                request.filter_states = vec![("mesh.peer".to_owned(), "spiffe://example.com/proxy".to_owned())];
            }),
            "passes",
        ),
        (tunnel, ask(|request| request.peer.clear()), "trusted_proxy_peer_unknown"),
        (
            claim,
            ask(|request| {
                request.assertion = Some("nick@example.com".to_owned());
                request.true_claims = vec![vec!["a".to_owned(), "verified".to_owned()]];
            }),
            "passes",
        ),
        (
            claim,
            ask(|request| request.assertion = Some("nick@example.com".to_owned())),
            "trusted_proxy_assertion_claim",
        ),
        (certificate, ask(|request| request.certificate = Some("spiffe://example.com/proxy".to_owned())), "passes"),
        (
            certificate,
            ask(|request| request.certificate = Some("spiffe://example.com/x".to_owned())),
            "trusted_proxy_peer_certificate",
        ),
        (assertion, ask(|request| request.assertion = Some("nick@example.com".to_owned())), "passes"),
        (
            assertion,
            ask(|request| request.assertion = Some("eve@example.com".to_owned())),
            "trusted_proxy_assertion_mismatch",
        ),
        (same_host, ask(|request| request.destination = Some("10.0.0.2:80".to_owned())), "passes"),
        (
            same_host,
            ask(|request| request.destination = Some("10.0.0.1:80".to_owned())),
            "trusted_proxy_local_interface_source",
        ),
    ];
    for (policy, request, expected) in cases {
        let said = match host.decide(policy, &request).unwrap() {
            Verdict::Pass(permit) => {
                assert!(matches!(permit.grounds, Grounds::Identified(user) if user == b"nick@example.com"));
                "passes".to_owned()
            }
            Verdict::Refuse(refusal) => refusal.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(said, expected, "{request:?}");
    }
}

#[test]
fn a_refusal_says_what_to_answer_and_what_to_log() {
    let mut host = Host::new();
    let policy = host.good(&config());
    let mut asked = request(&[CLIENT, ("x-forwarded-user", "eve\u{1b}[2J")]);
    asked.target = "/x?token=secret".to_owned();
    let Ok(Verdict::Refuse(refusal)) = host.decide(policy, &asked) else { panic!("refused") };
    assert_eq!((refusal.code.as_str(), refusal.response.status), ("trusted_proxy_user_not_allowed", 401));
    assert_eq!(refusal.user.as_deref(), Some("eve\u{1b}[2J".as_bytes()));
    assert!(refusal.line.contains("10.0.0.1:40000") && refusal.line.contains("/x"), "{}", refusal.line);
    assert!(!refusal.line.contains("secret") && !refusal.line.contains('\u{1b}'), "{}", refusal.line);
    assert!(refusal.close.is_none(), "no WebSocket");

    let policy = {
        let mut config = config();
        config["filter"] = json!({"webSocketRefusal": "http"});
        host.good(&config)
    };
    let Ok(Verdict::Refuse(refusal)) = host.decide(policy, &request(&HANDSHAKE)) else { panic!("refused") };
    assert!(refusal.close.is_none() && refusal.response.status == 403, "the policy wants plain answers");
}

#[test]
fn in_report_mode_nothing_is_touched() {
    let mut host = Host::new();
    let mut config = config();
    config["filter"] = json!({"mode": "report"});
    let policy = host.good(&config);
    let Ok(Verdict::Pass(permit)) = host.decide(policy, &request(&[NICK, CLIENT])) else { panic!("passes") };
    assert!(permit.edits.is_empty());
    let refused = host.decide(policy, &request(&[CLIENT]));
    assert!(matches!(refused, Ok(Verdict::WouldRefuse(refusal)) if refusal.code == "trusted_proxy_user_missing"));
}

// ---- errors ----

#[test]
fn the_errors_of_a_configuration_are_those_of_the_filter_each_with_its_path() {
    let mut host = Host::new();
    let mut bad = config();
    bad["gateway"]["trustedProxies"] = json!(["10.0.0.1", "10.0.0.0/33", "proxy.example.com"]);
    bad["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!("x user");
    bad["gateway"]["auth"]["token"] = json!("secret");
    bad["filter"] = json!({"nonsense": 1});
    let texts: Vec<Vec<u8>> = vec![
        bad.to_string().into_bytes(),
        Vec::new(),
        b"{".to_vec(),
        b"\xFF\xFE".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        vec![b'['; 100_000],
        json!({"gateway": {"auth": {"mode": "token"}}}).to_string().into_bytes(),
    ];
    for text in &texts {
        let native = config::compile(text).unwrap_err();
        let native: Vec<_> = native
            .as_slice()
            .iter()
            .map(|error| (error.path.clone(), error.problem.clone(), error.remedy.clone()))
            .collect();
        assert_eq!(host.compile(text).unwrap_err(), native, "{}", text.escape_ascii());
        assert!(!native.is_empty());
    }
    let paths: Vec<String> = host.compile(&texts[0]).unwrap_err().into_iter().map(|(path, ..)| path).collect();
    for path in ["gateway.trustedProxies[1]", "gateway.trustedProxies[2]", "gateway.auth.token", "filter.nonsense"] {
        assert!(paths.iter().any(|other| other == path), "{path} among {paths:?}");
    }
}

#[test]
fn a_policy_tells_its_findings_and_its_fingerprint() {
    let mut host = Host::new();
    let text = config().to_string();
    let native = config::compile(text.as_bytes()).unwrap();
    let policy = host.good(&config());
    let Host { store, instance } = &mut host;
    let gate = instance.openclaw_trusted_proxy_gate();
    assert_eq!(gate.policy().call_fingerprint(&mut *store, policy).unwrap(), native.fingerprint);
    let findings = gate.policy().call_findings(&mut *store, policy).unwrap();
    let severity = |severity| match severity {
        Severity::Info => config::Severity::Info,
        Severity::Warn => config::Severity::Warn,
        Severity::Critical => config::Severity::Critical,
    };
    let seen: Vec<_> = findings.into_iter().map(|one| (one.id, severity(one.severity), one.text)).collect();
    let expected: Vec<_> = native.findings.into_iter().map(|one| (one.id.to_owned(), one.severity, one.text)).collect();
    assert_eq!(seen, expected);
    assert!(seen.iter().any(|(id, ..)| id == "gateway.trusted_proxy_auth"));
}

#[test]
fn what_no_request_can_be_is_an_error_that_says_where() {
    let mut host = Host::new();
    let policy = host.good(&config());
    let changed = |change: &dyn Fn(&mut Request)| {
        let mut request = request(&[NICK, CLIENT]);
        change(&mut request);
        request
    };
    let with = |name: &str, value: &[u8]| changed(&|request: &mut Request| request.headers.push(header(name, value)));
    let upgrade = "`upgrade` may appear once";
    let cases = [
        (changed(&|request| request.peer = "localhost".to_owned()), "peer: \"localhost\""),
        (changed(&|request| request.peer = "10.0.0.1/32".to_owned()), "peer: "),
        (changed(&|request| request.destination = Some("10.0.0.1".to_owned())), "destination: "),
        (changed(&|request| request.method = String::new()), "method: "),
        (changed(&|request| request.method = "GET /".to_owned()), "method: "),
        (changed(&|request| request.target = String::new()), "target: "),
        (changed(&|request| request.target = "/ HTTP/1.1\r\nx: y".to_owned()), "target: "),
        (changed(&|request| request.authority = Some(String::new())), "authority: "),
        (with("", b"x"), "\"\" is not a header name"),
        (with(":path", b"/"), "\":path\" is not a header name"),
        (with("x user", b"x"), "\"x user\" is not a header name"),
        (with("x-\u{fc}", b"x"), "is not a header name"),
        (with("x-a\r\n", b"x"), "is not a header name"),
        (with("Host", b"evil.example"), "`host` belongs in `authority`"),
        (with("x-a", b"b\r\nx-forwarded-user: eve"), "the value of x-a contains"),
        (with("x-a", b"\0"), "the value of x-a contains"),
        (with("upgrade", b"websocket"), upgrade),
        (with("upgrade", b"h2c"), upgrade),
        (request(&[&HANDSHAKE[..], &[("upgrade", "websocket")]].concat()), upgrade),
        (request(&[("upgrade", "websocket, h2c"), ("connection", "upgrade")]), upgrade),
    ];
    for (request, expected) in cases {
        let problem = host.decide(policy, &request).expect_err(expected);
        assert!(problem.contains(expected), "{problem:?}, expected {expected:?}");
    }
    // It still works after that.
    assert!(matches!(host.decide(policy, &request(&[NICK, CLIENT])), Ok(Verdict::Pass(_))));
}

#[test]
fn nothing_that_a_host_can_pass_makes_it_trap() {
    let mut host = Host::new();
    let policies: Vec<ResourceAny> = vectors::load()
        .iter()
        .map(|case| case.config.to_string())
        .collect::<std::collections::BTreeSet<_>>()
        .iter()
        .take(12)
        .map(|config| host.compile(config.as_bytes()).unwrap())
        .collect();
    let long = "a".repeat(70_000);
    let texts = ["", " ", "\0", "\u{fffd}", "%", "..", "[::", "::1%", "http://", ",", ";=", "\u{1f980}", "-1", &long];
    let names = [
        "x-forwarded-user",
        "x-forwarded-for",
        "origin",
        "x-openclaw-scopes",
        "connection",
        "x_forwarded_user",
        "\u{fc}",
    ];
    let (mut decided, mut errors) = (0, 0);
    for (at, name) in names.iter().enumerate() {
        for value in texts {
            for other in texts {
                let headers = [(*name, value), (*name, other), NICK, CLIENT];
                let mut request = request(&headers[at % 2..]);
                request.headers.extend(
                    HANDSHAKE[..4 * (other.len() % 2)].iter().map(|(name, value)| header(name, value.as_bytes())),
                );
                request.authority = Some(other.to_owned()).filter(|text| text.len() % 3 > 0);
                if value.len() % 5 == 0 {
                    request.target = format!("/{other}?{value}");
                    request.assertion = Some(other.to_owned());
                    request.certificate = Some(value.to_owned());
                }
                for policy in &policies {
                    match host.decide(*policy, &request) {
                        Ok(_) => decided += 1,
                        Err(problem) => {
                            assert!(!problem.is_empty());
                            errors += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(decided > 1000 && errors > 1000, "{decided} decided, {errors} errors");
}

// ---- what it is made of ----

#[test]
fn it_imports_nothing_and_exports_its_world() {
    let types = COMPONENT.component_type();
    let imports: Vec<_> = types.imports(&ENGINE).map(|(name, _)| name.to_owned()).collect();
    assert!(imports.is_empty(), "{imports:?}");
    let exports: Vec<_> = types.exports(&ENGINE).map(|(name, _)| name.to_owned()).collect();
    assert_eq!(exports, ["openclaw:trusted-proxy/gate@0.1.0"]);
    let text = String::from_utf8_lossy(&bytes()).into_owned();
    assert!(!text.contains("proxy_on_") && !text.contains("proxy_get_"), "the filter was dragged in");
}

#[test]
fn its_memory_does_not_grow_with_requests_or_with_policies_that_were_let_go() {
    let mut host = Host::new();
    let policy = host.good(&config());
    let work = |host: &mut Host, rounds: usize| {
        for round in 0..rounds {
            let user = format!("user-{round}@example.com");
            for headers in [vec![NICK, CLIENT], vec![("x-forwarded-user", user.as_str()), CLIENT]] {
                host.decide(policy, &request(&headers)).unwrap();
            }
            let other = host.good(&config());
            other.resource_drop(&mut host.store).unwrap();
        }
        host.store.data().0
    };
    let before = work(&mut host, 100);
    assert_eq!(work(&mut host, 2_000), before);
}

#[test]
fn the_command_of_the_page_prints_what_it_shows() {
    let shown = document::commands(&document::page("docs/component.md"));
    let [command] = shown.as_slice() else { panic!("{shown:?}") };
    bytes();
    let output = Command::new("sh").args(["-c", &command.line]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), command.output);
}

#[test]
fn the_example_host_says_what_becomes_of_a_request() {
    let policy = config().to_string();
    let cases: [(&str, &[(&str, &str)], &str); 3] = [
        ("10.0.0.1", &[NICK, CLIENT], "passes, with\n  x-openclaw-scopes: operator.write"),
        ("10.0.0.9", &[NICK, CLIENT], "refused with 401: trusted_proxy_untrusted_source"),
        ("10.0.0.1", &[("x y", "z")], "no request: headers: \"x y\" is not a header name"),
    ];
    for (peer, headers, expected) in cases {
        assert_eq!(host::run(&COMPONENT, policy.as_bytes(), peer, headers).unwrap(), expected);
    }
    let problem = host::run(&COMPONENT, b"{}", "10.0.0.1", &[]).unwrap_err().to_string();
    assert!(problem.contains("gateway"), "{problem}");
}
