//! What becomes of open WebSockets when a listener is changed, removed or restarted.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use harness::echo::Echo;
use harness::envoy::{self, Envoy, Example, Ports, Process, Scratch, Source, eventually};
use harness::tungstenite::WebSocket;
use harness::wire::{self, Connection};
use serde_json::{Value, json};

use crate::websocket;

const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");
const NICK: &str = "nick@example.com";
const MARY: &str = "mary@example.com";
const ANN: &str = "ann@example.com";

/// An Envoy that reads its listener, with the policy in it, from a file (LDS).
struct Place {
    envoy: Envoy,
    port: u16,
    _echo: Echo,
}

impl Place {
    fn new(users: &[&str]) -> Self {
        let echo = Echo::start().unwrap();
        let scratch = Scratch::new("listeners");
        let port = envoy::free_port();
        put(scratch.path(), &[listener(port, users)]);
        let bootstrap = scratch.path().join("envoy.json");
        let upstream = echo.address();
        let text = json!({
            "node": {"id": "test", "cluster": "test"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {"lds_config": {"resource_api_version": "V3", "path_config_source": {
                "path": scratch.path().join("listeners.json"),
                "watched_directory": {"path": scratch.path()},
            }}},
            "static_resources": {"clusters": [{"name": "gateway", "type": "STATIC", "load_assignment": {
                "cluster_name": "gateway",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                    "address": upstream.ip().to_string(), "port_value": upstream.port(),
                }}}}]}],
            }}]},
        });
        std::fs::write(&bootstrap, text.to_string()).unwrap();
        let envoy = Envoy::run_with(scratch, &bootstrap, &["--drain-time-s", "4"]);
        let place = Self { envoy, port, _echo: echo };
        eventually("the listener is there", || place.stat("listener_manager.total_listeners_active") == 1);
        place
    }

    fn stat(&self, name: &str) -> u64 {
        self.envoy.process().stat(name)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn closed_by_the_filter(&self) -> usize {
        self.envoy.lines(Source::Log).iter().filter(|line| line.contains(": closed a socket reason=")).count()
    }

    fn open(&self, user: &str) -> WebSocket<TcpStream> {
        open_at(self.address(), user)
    }
}

fn open_at(address: SocketAddr, user: &str) -> WebSocket<TcpStream> {
    let stream = wire::open(address).unwrap();
    let mut socket = websocket::open(stream, &[CLIENT, ("x-forwarded-user", user)]);
    socket.read().expect("the upstream says what it received");
    socket
}

/// Replaces the file of listeners.
fn put(folder: &Path, listeners: &[Value]) {
    let new = folder.join("new.json");
    std::fs::write(&new, json!({"resources": listeners}).to_string()).unwrap();
    std::fs::rename(&new, folder.join("listeners.json")).unwrap();
}

fn listener(port: u16, users: &[&str]) -> Value {
    let policy = json!({
        "gateway": {
            "trustedProxies": ["127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user", "allowUsers": users, "allowLoopback": true,
            }},
        },
    });
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "http",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "use_remote_address": true,
            "skip_xff_append": true,
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}},
            ]}]},
            "http_filters": [
                {"name": "openclaw_trusted_proxy", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {
                        "name": "openclaw_trusted_proxy",
                        "vm_config": {
                            "vm_id": "openclaw_trusted_proxy",
                            "runtime": "envoy.wasm.runtime.v8",
                            "code": {"local": {"filename": envoy::module().unwrap()}},
                        },
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue",
                            "value": policy.to_string(),
                        },
                    },
                }},
                {"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                }},
            ],
        }}]}],
    })
}

#[test]
fn a_changed_listener_closes_who_lost_the_right_at_once_and_everybody_when_it_is_drained() {
    let place = Place::new(&[NICK, MARY]);
    let (mut nick, mut mary) = (place.open(NICK), place.open(MARY));
    // A connection of a proxy to the old listener, which stays open for more requests.
    let mut kept = Connection::open(place.address()).unwrap();
    let mut ask = |user: &str| {
        kept.send(&wire::request("GET", "/", &[("host", "claw.example.com"), CLIENT, ("x-forwarded-user", user)]))
            .unwrap();
        kept.response("GET").unwrap().status
    };
    assert_eq!(ask(NICK), 200);

    put(place.envoy.folder(), &[listener(place.port, &[NICK, ANN])]);
    eventually("the removed user's socket is closed", || !websocket::is_open(&mut mary));
    assert!(websocket::is_open(&mut nick));
    let mut ann = place.open(ANN);
    // The old listener still decides what arrives on its connections, but not about the sockets of the new one.
    assert_eq!([ask(NICK), ask(MARY), ask(ANN)], [200, 200, 401]);
    eventually("the old listener is drained", || !websocket::is_open(&mut nick));
    assert!(websocket::is_open(&mut ann));
    assert_eq!(place.closed_by_the_filter(), 1, "Envoy itself closes the others");
}

#[test]
fn a_removed_listener_takes_its_sockets_with_it_when_it_is_drained() {
    let place = Place::new(&[NICK]);
    let mut nick = place.open(NICK);
    put(place.envoy.folder(), &[]);
    eventually("the listener is gone", || place.stat("listener_manager.total_listeners_active") == 0);
    eventually("the listener is drained", || !websocket::is_open(&mut nick));
    assert_eq!(place.closed_by_the_filter(), 0);
}

#[test]
fn after_a_hot_restart_the_sockets_of_the_first_envoy_still_follow_the_policy() {
    let echo = Echo::start().unwrap();
    let scratch = Scratch::new("hot-restart");
    let port = envoy::free_port();
    let ports = Ports { http: port, ..Ports::default() };
    let users = |users: &[&str]| {
        let mut policy = websocket::policy_with(json!({}));
        policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(users);
        policy.to_string()
    };
    let upstream = echo.address().to_string();
    let example = Example::write(scratch.path(), ports, &upstream, &users(&[NICK, MARY])).unwrap();
    let program = envoy::program().unwrap();
    let base = scratch.path().join("base-id");
    let path = base.to_string_lossy().into_owned();
    let start = |folder: &Path, arguments: &[&str]| {
        std::fs::create_dir_all(folder).unwrap();
        Process::start_with(&program, &example.bootstrap(), folder, arguments, |_, _| {}).unwrap()
    };
    let mut first = start(scratch.path(), &["--use-dynamic-base-id", "--base-id-path", &path]);
    let base = std::fs::read_to_string(&base).unwrap();
    let base = base.trim();
    let _shared = SharedMemory(format!("/dev/shm/envoy_shared_memory_{base}0"));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let (mut nick, mut mary) = (open_at(at, NICK), open_at(at, MARY));
    let times = ["--drain-time-s", "2", "--parent-shutdown-time-s", "8"];
    let arguments = [&["--restart-epoch", "1", "--base-id", base][..], &times].concat();
    let _second = start(&scratch.path().join("second"), &arguments);
    example.put_policy(&users(&[NICK])).unwrap();
    eventually("the removed user's socket is closed", || !websocket::is_open(&mut mary));
    assert!(websocket::is_open(&mut nick) && first.alive());
    eventually("the first Envoy has ended", || !first.alive());
    assert!(!websocket::is_open(&mut nick), "its sockets end with it");
}

/// What Envoys with one base id share. They leave it behind.
struct SharedMemory(String);

impl Drop for SharedMemory {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
