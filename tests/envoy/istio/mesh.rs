//! The workloads of the mesh, and the results of requests.

use std::net::{IpAddr, SocketAddr};

use harness::echo;
use harness::envoy::Scratch;
use harness::jwt::{self, Key};
use harness::parts;
use harness::pki::{Authority, Identity, Validity};
use harness::wire::{self, Connection, values};
use serde_json::{Value, json};

use super::istiod::tls;

/// The mesh: its authority, its identities, and the address from which all workloads except the Gateway's pod
/// connect. It must not be loopback, because then it could be a process of the pod.
pub struct Mesh {
    pub authority: Authority,
    pub pod: Identity,
    pub ingress: Identity,
    pub other: Identity,
    pub address: IpAddr,
    pub key: Key,
    pub scratch: Scratch,
}

impl Mesh {
    pub fn new() -> Self {
        let scratch = Scratch::new("istio");
        let authority = Authority::new(scratch.path(), "istiod");
        let issue = |name: &str, uri: &str| authority.issue(name, &[uri], Validity::Now);
        Self {
            pod: issue("pod", "spiffe://cluster.local/ns/openclaw/sa/openclaw-gateway"),
            ingress: issue("ingress", "spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress"),
            other: issue("other", "spiffe://cluster.local/ns/default/sa/default"),
            authority,
            address: wire::own_address().unwrap_or_else(|problem| panic!("{problem}")),
            key: Key::rs256("login"),
            scratch,
        }
    }

    pub fn folder(&self, name: &str) -> std::path::PathBuf {
        let folder = self.scratch.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A workload's way to the pod: a listener that forwards requests, with unchanged headers and with this
    /// certificate.
    pub fn way(&self, name: &str, certificate: &Identity, to: SocketAddr) -> (Value, Value) {
        let manager = parts::manager(
            name,
            Vec::new(),
            &json!({"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}]}]}}),
        );
        (parts::listener(name, vec![manager], json!({})), self.to_pod(name, certificate, to))
    }

    pub fn to_pod(&self, name: &str, certificate: &Identity, to: SocketAddr) -> Value {
        let mut cluster = parts::cluster(name, to);
        let pods = "spiffe://cluster.local/ns/openclaw/";
        cluster["transport_socket"] = tls("Upstream", Some(certificate), &self.authority, pods);
        cluster["upstream_bind_config"] =
            json!({"source_address": {"address": self.address.to_string(), "port_value": 0}});
        cluster
    }

    pub fn token(&self, user: &str) -> String {
        let claims = json!({"iss": "https://id.example.com", "aud": "openclaw", "sub": "1", "email": user});
        self.key.sign(&jwt::for_an_hour(claims))
    }
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream received it, as this user; `None` for a path that does not need one.
    Admitted(Option<String>),
    /// The filter refused it.
    Refused(String),
    /// Another part of Envoy answered.
    Status(u16),
    /// The connection ended without an answer.
    Nothing,
}

pub fn admitted(user: &str) -> Outcome {
    Outcome::Admitted(Some(user.to_owned()))
}

pub fn refused(reason: &str) -> Outcome {
    Outcome::Refused(reason.to_owned())
}

/// Sends a request from an address of this host.
pub fn ask(from: IpAddr, to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Outcome {
    let mut connection = Connection::new(wire::open_from(from, to).unwrap());
    let all = [&[("host", "claw.example.com")], headers].concat();
    connection.send(&wire::request("GET", path, &all)).unwrap();
    let Ok(response) = connection.response("GET") else { return Outcome::Nothing };
    let user_of = |json: &Value| {
        let users = values(&echo::received(json), "x-openclaw-user");
        assert!(users.len() < 2, "{json}");
        Outcome::Admitted(users.into_iter().next())
    };
    match response.status {
        200 => user_of(&response.json()),
        101 => match wire::first_message(connection) {
            wire::First::Text(text) => user_of(&serde_json::from_str(&text).unwrap()),
            wire::First::Close(code, reason) => {
                assert_eq!(code, 1008, "{reason}");
                refused(reason.rsplit(": ").next().unwrap())
            }
        },
        status => match response.json()["error"]["reason"].as_str() {
            Some(reason) => refused(reason),
            None => Outcome::Status(status),
        },
    }
}

pub const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Sends a plain request and a WebSocket, which must have the same result.
pub fn ask_both(from: IpAddr, to: SocketAddr, headers: &[(&str, &str)]) -> Outcome {
    let outcome = ask(from, to, "/v1/models", headers);
    assert_eq!(ask(from, to, "/", &[headers, &UPGRADE].concat()), outcome, "the WebSocket with {headers:?}");
    outcome
}
