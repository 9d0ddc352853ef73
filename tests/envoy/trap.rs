//! How Envoy reacts to a filter that traps, shown with a build of the filter that traps on demand. This is the
//! subject of `failure_policy`, and of a section in docs/operations.md.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use harness::echo::Echo;
use harness::envoy::{self, Envoy, Example, FILTER, Ports, Scratch, Source, eventually};
use harness::http::Request;
use harness::tungstenite::{Message, WebSocket, client};
use harness::wire::{self, Connection, Response, values};
use serde_json::{Value, json};

/// A request with this header makes the VM trap, in the build for this test.
const TRAP: &str = "x-trap-for-tests";
const USER: (&str, &str) = ("x-forwarded-user", "nick@example.com");
const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");
/// A request with it waits at the upstream until the test releases it.
const HOLD: &str = "x-hold";
/// Enough connections that both workers have some: they are distributed at random.
const MANY: usize = 16;

/// A back-off that does not end while a test runs.
fn reload_much_later() -> Value {
    json!({"failure_policy": "FAIL_RELOAD", "reload_config": {"backoff": {"base_interval": "3600s"}}})
}

#[test]
fn during_the_back_off_only_the_worker_that_trapped_admits_nobody() {
    let place = Place::new(&reload_much_later());
    let mut all = place.connections();
    assert!(all.iter_mut().all(|one| one.asks(&[CLIENT, USER]).status == 200));
    let before = place.echo.requests();
    assert_failed(&all[0].asks(&[CLIENT, USER, (TRAP, "1")]));
    assert_eq!(place.echo.requests(), before, "the request that trapped must not reach the upstream");

    let (mut down, mut up): (Vec<_>, Vec<_>) =
        all.into_iter().map(|mut one| (one.asks(&[CLIENT, USER]), one)).partition(|(answer, _)| answer.status == 503);
    assert_eq!(place.echo.requests(), before + up.len(), "503 means that nothing was passed on");
    for (answer, _) in &down {
        assert_failed(answer);
    }
    for (group, name) in [(&down, "the worker that trapped"), (&up, "the other worker")] {
        for listener in ["one", "two"] {
            // One VM of a worker serves all listeners with the same vm_id and code.
            assert!(group.iter().any(|(_, one)| one.listener == listener), "{name} has connections of {listener}");
        }
    }
    for (_, one) in &mut down {
        for headers in [vec![CLIENT], vec![CLIENT, USER], vec![CLIENT, USER, (TRAP, "1")]] {
            assert_failed(&one.asks(&headers));
        }
    }
    for (_, one) in &mut up {
        assert_eq!(one.asks(&[CLIENT]).status, 401);
    }
    assert_eq!(place.echo.requests(), before + up.len());
    // The VM that is down was not entered again: the request for a second trap did not reach it.
    assert_eq!(place.traps(), 1);
    for plugin in ["one", "two"] {
        assert!(place.stat(plugin, "vm_reload_backoff") > 0, "{plugin}");
        assert_eq!(place.stat(plugin, "vm_reload_success"), 0, "{plugin}");
    }

    // Then the other worker traps too.
    assert_failed(&up[0].1.asks(&[CLIENT, USER, (TRAP, "1")]));
    for (_, one) in down.iter_mut().chain(&mut up) {
        assert_failed(&one.asks(&[CLIENT, USER]));
    }
    assert_eq!(place.traps(), 2);
    eventually("the access log to say why", || {
        let lines = place.envoy.lines(Source::Access);
        lines.iter().filter(|line| *line == "503 wasm_fail_stream").count() > MANY
    });
}

#[test]
fn the_example_works_again_by_itself_after_each_trap_and_the_operator_sees_it() {
    let echo = Echo::start().unwrap();
    let scratch = Scratch::new("trap");
    let policy = std::fs::read_to_string(envoy::root().join("envoy/policy.json")).unwrap();
    let upstream = echo.address().to_string();
    let example = Example::write(scratch.path(), Ports::default(), &upstream, &policy).unwrap();
    // The example as released, except for the module.
    let file = scratch.path().join("policy/filter.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let shipped = envoy::module().unwrap().to_string_lossy().into_owned();
    assert_eq!(text.matches(&shipped).count(), 1);
    std::fs::write(&file, text.replace(&shipped, &trapping_module().to_string_lossy())).unwrap();
    let envoy = Envoy::run(scratch, &example.bootstrap());
    let http = envoy.address("http");
    let stat = |name: &str| envoy.process().stat(&format!("wasm.{FILTER}.{name}"));
    let mut all: Vec<Client> = (0..MANY).map(|_| Client::new("http", http)).collect();
    assert!(all.iter_mut().all(|one| one.asks(&[CLIENT, USER]).status == 200));

    // The first trap, and one as soon as the filter is back: now it waits for the back-off, or may wait.
    for round in 1..=2 {
        let before = echo.requests();
        assert_failed(&all[0].asks(&[CLIENT, USER, (TRAP, "1")]));
        assert_eq!(echo.requests(), before);
        eventually("the filter to work again", || {
            for one in &mut all {
                let refused = one.asks(&[CLIENT]).status;
                assert!([401, 503].contains(&refused), "a request without a user must not pass: {refused}");
            }
            all.iter_mut().all(|one| one.asks(&[CLIENT, USER]).status == 200)
        });
        assert_eq!(stat("vm_reload_success"), round);
        assert_eq!(all[0].asks(&[CLIENT, ("x-forwarded-user", "mallory@example.com")]).status, 401);
    }
    assert_eq!((stat("vm_reload_failure"), stat("vm_reload")), (0, 0));

    // What operators are advised to look for.
    let prometheus = envoy.process().ask("/stats/prometheus").unwrap().text();
    for (name, least) in [("vm_reload_success", 2), ("vm_reload_backoff", 0), ("vm_reload_failure", 0)] {
        let name = format!("envoy_wasm_{FILTER}_{name}{{}} ");
        let value = prometheus.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("no {name}"));
        assert!(value.parse::<u64>().unwrap() >= least, "{name}{value}");
    }
    let files = [
        "docs/operations.md",
        "docs/observability.md",
        "envoy/observability/rules.yaml",
        "envoy/observability/dashboard.json",
    ];
    for file in files {
        let text = std::fs::read_to_string(envoy::root().join(file)).unwrap();
        let named: Vec<_> = text
            .split(|one: char| !(one.is_ascii_alphanumeric() || one == '_'))
            .filter(|word| ["envoy_wasm_", "envoy_extension_"].iter().any(|begin| word.starts_with(begin)))
            .collect();
        assert!(named.len() >= 2, "{file} names what it looks at: {named:?}");
        for name in named {
            let begin = format!("{name}{{}} ");
            assert!(prometheus.lines().any(|line| line.starts_with(&begin)), "{file} names {name}");
        }
    }
    let log = envoy.lines(Source::Log);
    let failed = |line: &&String| line.contains("Function: proxy_on_request_headers failed: Uncaught RuntimeError");
    assert_eq!(log.iter().filter(failed).count(), 2, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("panicked at src/")), "{log:#?}");

    // A new policy is still accepted.
    let (taken, _) = envoy.process().policies();
    let text = std::fs::read_to_string(&file).unwrap().replace("nick@example.com", "mary@example.com");
    std::fs::write(envoy.folder().join("new"), text).unwrap();
    std::fs::rename(envoy.folder().join("new"), &file).unwrap();
    eventually("the policy to be accepted", || envoy.process().policies().0 > taken);
    eventually("the workers to use it", || all.iter_mut().all(|one| one.asks(&[CLIENT, USER]).status == 401));
}

#[test]
fn a_trap_ends_websockets_and_waiting_requests_of_its_worker_only() {
    let place = Place::new(&reload_much_later());
    let gate = place.gate.clone();
    let held = gate.lock().unwrap();
    let mut sockets: Vec<_> = (0..MANY).map(|at| open_websocket(place.address(["one", "two"][at % 2]))).collect();
    assert!(sockets.iter_mut().all(answers));
    let mut waiting: Vec<_> = place.connections();
    let before = place.echo.requests();
    for one in &mut waiting {
        one.sends(&[CLIENT, USER, (HOLD, "1")]);
    }
    let mut trapping = Client::new("one", place.address("one"));
    eventually("the requests to wait at the upstream", || place.echo.requests() == before + waiting.len());
    assert_failed(&trapping.asks(&[CLIENT, USER, (TRAP, "1")]));

    let alive = sockets.iter_mut().filter_map(|socket| answers(socket).then_some(())).count();
    assert!((1..sockets.len()).contains(&alive), "{alive} of {} WebSockets are still open", sockets.len());
    drop(held);
    let answers: Vec<_> = waiting.iter_mut().map(|one| one.receives().status).collect();
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
}

#[test]
fn fail_closed_never_recovers_and_no_statistic_shows_it() {
    let place = Place::new(&json!({"failure_policy": "FAIL_CLOSED"}));
    let mut all = place.connections();
    assert_failed(&all[0].asks(&[CLIENT, USER, (TRAP, "1")]));
    let down: Vec<_> = all.iter_mut().map(|one| one.asks(&[CLIENT, USER]).status == 503).collect();
    assert!(down.contains(&true) && down.contains(&false), "{down:?}");
    for _ in 0..20 {
        let now: Vec<_> = all.iter_mut().map(|one| one.asks(&[CLIENT, USER]).status == 503).collect();
        assert_eq!(now, down);
    }
    for name in ["vm_reload", "vm_reload_backoff", "vm_reload_success", "vm_reload_failure"] {
        assert_eq!(place.stat("one", name), 0, "{name}");
    }
    assert_eq!(place.traps(), 1, "only the log does");
}

#[test]
fn fail_open_admits_everybody_with_any_claimed_identity() {
    // The two differ only in the answer to the request that trapped.
    for (dangerous, first) in [(json!({"failure_policy": "FAIL_OPEN"}), 503), (json!({"fail_open": true}), 200)] {
        let place = Place::new(&dangerous);
        let mut all = place.connections();
        let forged = [("x-forwarded-user", "mallory@example.com"), ("x-openclaw-scopes", "operator.admin")];
        assert!(all.iter_mut().all(|one| one.asks(&forged).status == 401));
        assert_eq!(place.echo.requests(), 0);
        let answer = all[0].asks(&[forged[0], forged[1], (TRAP, "1")]);
        assert_eq!(answer.status, first, "{dangerous}: {answer:?}");
        let passed: Vec<_> =
            all.iter_mut().map(|one| one.asks(&forged)).filter(|answer| answer.status == 200).collect();
        assert!(!passed.is_empty());
        for answer in passed {
            let upstream = harness::echo::received(&answer.json());
            assert_eq!(values(&upstream, "x-forwarded-user"), ["mallory@example.com"], "{dangerous}");
            assert_eq!(values(&upstream, "x-openclaw-scopes"), ["operator.admin"], "{dangerous}");
        }
    }
    let example = std::fs::read_to_string(envoy::root().join("envoy/filter.yaml")).unwrap();
    let settings: Vec<_> = example.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let about: Vec<_> =
        settings.iter().filter(|line| line.contains("failure_policy") || line.contains("fail_open")).collect();
    assert_eq!(about, [&"failure_policy: FAIL_RELOAD"]);
}

#[test]
fn the_module_that_ships_cannot_be_made_to_trap_this_way() {
    let has_it = |file: PathBuf| {
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        bytes.windows(TRAP.len()).any(|part| part == TRAP.as_bytes())
    };
    assert!(has_it(trapping_module()));
    assert!(!has_it(envoy::module().unwrap_or_else(|problem| panic!("{problem}"))));
}

// ---------------------------------------------------------------------------------------------------------------------
// Shared helpers
// ---------------------------------------------------------------------------------------------------------------------

/// The build for this test, made by `make trap`.
fn trapping_module() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    // A test runs from <build folder>/debug/deps.
    let build = program.ancestors().nth(3).unwrap();
    let file = build.join("trap/wasm32-wasip1/debug/packed.wasm");
    assert!(file.is_file(), "{} is missing: run `make trap`", file.display());
    file
}

/// The filter on two listeners, with one VM for each worker, in front of an echo server.
struct Place {
    envoy: Envoy,
    echo: Echo,
    /// While a test holds it, requests with [`HOLD`] wait.
    gate: Arc<Mutex<()>>,
}

impl Place {
    fn new(failure: &Value) -> Self {
        let gate = Arc::new(Mutex::new(()));
        let echo = Echo::start_at((Ipv4Addr::LOCALHOST, 0).into(), {
            let gate = Arc::clone(&gate);
            move |headers| {
                if !values(headers, HOLD).is_empty() {
                    // A test that failed meanwhile has released it, too.
                    let passed: Result<MutexGuard<'_, ()>, _> = gate.lock();
                    drop(passed);
                }
            }
        })
        .unwrap();
        let envoy = Envoy::start(&bootstrap(failure, echo.address()));
        Self { envoy, echo, gate }
    }

    fn address(&self, listener: &str) -> SocketAddr {
        self.envoy.address(listener)
    }

    /// Connections to both listeners; the first is one to `one`.
    fn connections(&self) -> Vec<Client> {
        let (one, two) = (self.address("one"), self.address("two"));
        let pairs = (0..MANY).flat_map(|_| [Client::new("one", one), Client::new("two", two)]);
        pairs.collect()
    }

    fn stat(&self, plugin: &str, name: &str) -> u64 {
        self.envoy.process().stat(&format!("wasm.{plugin}.{name}"))
    }

    /// How many times a VM has failed, according to the log; a line may still be on its way, so this waits for one.
    fn traps(&self) -> usize {
        let failed = |line: &str| line.contains("Uncaught RuntimeError");
        self.envoy.line(Source::Log, failed);
        self.envoy.lines(Source::Log).iter().filter(|line| failed(line)).count()
    }
}

/// A connection that is kept open, and therefore stays with one worker.
struct Client {
    listener: &'static str,
    connection: Connection,
}

impl Client {
    fn new(listener: &'static str, address: SocketAddr) -> Self {
        Self { listener, connection: Connection::open(address).unwrap() }
    }

    fn asks(&mut self, headers: &[(&str, &str)]) -> Response {
        self.sends(headers);
        self.receives()
    }

    fn sends(&mut self, headers: &[(&str, &str)]) {
        let headers = [&[("host", "claw.example.com")], headers].concat();
        self.connection.send(&wire::request("GET", "/", &headers)).unwrap();
    }

    fn receives(&mut self) -> Response {
        self.connection.response("GET").unwrap()
    }
}

/// Asserts Envoy's answer to a request whose filter failed: it does not reveal what runs here.
fn assert_failed(answer: &Response) {
    assert_eq!((answer.status, answer.body.len()), (503, 0), "{answer:?}");
}

fn open_websocket(address: SocketAddr) -> WebSocket<std::net::TcpStream> {
    let request = Request::builder()
        .uri("ws://claw.example.com/")
        .header("host", "claw.example.com")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header(USER.0, USER.1)
        .header(CLIENT.0, CLIENT.1);
    let (mut socket, _) = client(request.body(()).unwrap(), wire::open(address).unwrap()).unwrap();
    assert!(socket.read().unwrap().is_text());
    socket
}

fn answers(socket: &mut WebSocket<std::net::TcpStream>) -> bool {
    let message = Message::text("still here?");
    socket.send(message.clone()).and_then(|()| socket.read()).is_ok_and(|back| back == message)
}

fn bootstrap(failure: &Value, upstream: SocketAddr) -> String {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let listener = |name: &str| {
        let policy = json!({"gateway": {
            "trustedProxies": ["127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": USER.0, "allowUsers": [USER.1], "allowLoopback": true,
            }},
        }});
        let mut plugin = json!({
            "name": name,
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy.to_string()},
            "vm_config": {
                "vm_id": FILTER,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": trapping_module()}},
            },
        });
        for (key, value) in failure.as_object().unwrap() {
            plugin[key] = value.clone();
        }
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "use_remote_address": true,
            "delayed_close_timeout": "0.1s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "access_log": [{"name": "stdout", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"}},
            }}],
            "route_config": {"virtual_hosts": [{
                "name": "upstream",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
            }]},
            "http_filters": [
                {"name": FILTER, "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin,
                }},
                {"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                }},
            ],
        });
        json!({
            "name": name,
            "address": socket(0),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        })
    };
    json!({
        "admin": {"address": socket(0)},
        "static_resources": {
            "listeners": [listener("one"), listener("two")],
            "clusters": [{
                "name": "upstream",
                "load_assignment": {
                    "cluster_name": "upstream",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(upstream.port())}}]}],
                },
            }],
        },
    })
    .to_string()
}
