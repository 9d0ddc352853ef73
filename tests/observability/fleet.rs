//! Two Envoys with the filter, one that never got a valid policy, one that is unreachable, and the requests to them.

use std::net::SocketAddr;
use std::time::Duration;

use harness::echo::Echo;
use harness::envoy::{Envoy, Example, Ports, Scratch, eventually, free_port, substitute};
use harness::gateway::with_proxy_protocol;
use harness::tungstenite::WebSocket;
use harness::tungstenite::protocol::Role;
use harness::wire::{self, Connection};

use crate::read;

pub const NICK: (&str, &str) = ("x-forwarded-user", "nick@example.com");
const CLIENT: (&str, &str) = ("x-forwarded-for", "203.0.113.7");

/// A kind of request: the PROXY line before it, and its headers; `None` means without a PROXY line.
type Kind = (Option<(&'static str, u16)>, &'static str, &'static [(&'static str, &'static str)], u16);

pub const GOOD: &[Kind] = &[
    (None, "/", &[NICK, CLIENT], 200),
    (None, "/v1/models", &[NICK, CLIENT], 200),
    (None, "/tools/invoke", &[NICK, CLIENT], 200),
    (None, "/health", &[], 200),
];
pub const BAD: &[Kind] = &[
    (None, "/", &[CLIENT], 401),
    (None, "/", &[("x-forwarded-user", "mallory@example.com"), CLIENT], 401),
    (None, "/", &[NICK, CLIENT, ("origin", "https://evil.example")], 401),
    (None, "/", &[NICK, NICK, CLIENT], 401),
];
/// A client that bypassed the proxy.
pub const STRANGER: Kind = (Some(("198.51.100.66", 40000)), "/", &[NICK, CLIENT], 401);
/// A PROXY line without a port, which the filter does not trust.
pub const PORTLESS: Kind = (Some(("127.0.0.1", 0)), "/", &[NICK, CLIENT], 401);

/// One Envoy of the fleet.
pub struct Member {
    pub envoy: Envoy,
    example: Example,
    /// The address that Prometheus scrapes.
    pub target: SocketAddr,
}

impl Member {
    /// The example, scraped at its administration interface or at the listener of stats-listener.yaml.
    pub fn start(echo: &Echo, policy: &str, through_listener: bool) -> Self {
        let scratch = Scratch::new("fleet");
        let admin = if through_listener { free_port() } else { 0 };
        let ports = Ports { admin, ..Ports::default() };
        let example = Example::write(scratch.path(), ports, &echo.address().to_string(), policy).unwrap();
        let bootstrap = example.bootstrap();
        let text = std::fs::read_to_string(&bootstrap).unwrap();
        std::fs::write(&bootstrap, with_proxy_protocol(&text)).unwrap();
        let port = |from: &str, to: u16| (format!("port_value: {from}"), format!("port_value: {to}"));
        let more = substitute(&read("stats-listener.yaml"), &[port("9902", 0), port("9901", admin)]).unwrap();
        let arguments: &[&str] = if through_listener { &["--config-yaml", &more] } else { &[] };
        let envoy = Envoy::run_with(scratch, &bootstrap, arguments);
        let target = if through_listener { envoy.address("stats") } else { envoy.process().admin() };
        Self { envoy, example, target }
    }

    /// Sends one request, and checks its status.
    pub fn ask(&self, (line, path, headers, status): &Kind) {
        let mut connection = Connection::open(self.envoy.address("http")).unwrap();
        if let Some((peer, port)) = line {
            connection.send(&wire::proxy_line_from(peer, *port)).unwrap();
        }
        let headers = [&[("host", "claw.example.com")], *headers].concat();
        connection.send(&wire::request("GET", path, &headers)).unwrap();
        let response = connection.response("GET").unwrap();
        assert_eq!(response.status, *status, "{path} {headers:?}: {response:?}");
    }

    /// Replaces the policy and returns when Envoy has read it: whether Envoy accepted it.
    pub fn put(&self, policy: &str) -> bool {
        let before = self.envoy.process().policies();
        self.example.put_policy(policy).unwrap();
        eventually("Envoy to look at the policy", || self.envoy.process().policies() != before);
        self.envoy.process().policies().0 > before.0
    }

    /// An open WebSocket.
    pub fn websocket(&self) -> WebSocket<std::net::TcpStream> {
        let mut connection = Connection::open(self.envoy.address("http")).unwrap();
        let headers = [
            ("host", "claw.example.com"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            NICK,
            CLIENT,
        ];
        connection.send(&wire::request("GET", "/", &headers)).unwrap();
        assert_eq!(connection.response("GET").unwrap().status, 101);
        let (stream, rest) = connection.into_parts();
        WebSocket::from_partially_read(stream, rest, Role::Client, None)
    }
}

/// Several rounds of requests, with pauses, so that Prometheus sees the increase.
pub fn traffic(rounds: usize, mut round: impl FnMut(usize)) {
    for count in 0..rounds {
        round(count);
        std::thread::sleep(Duration::from_millis(50));
    }
}
