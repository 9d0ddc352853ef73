//! The cluster of these tests, and its clients.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use harness::cluster::envoy_gateway::{BACKEND, ENVOY, EnvoyGateway};
use harness::document;
use harness::echo::{self, Echo};
use harness::envoy::{self, Scratch, eventually, root};
use harness::kube::{ApiServer, kubectls};
use harness::openid;
use harness::tool;
use harness::wire::{self, Connection, First, Response};
use serde_json::{Value, json};

use crate::placements::users;

pub const FILE: &str = "envoy/envoy-gateway/gateway.yaml";
pub const HOST: &str = "claw.example.com";
pub const NAMESPACE: &str = "openclaw";
pub const NICK: &str = "nick@example.com";
/// The address of the browser.
pub const BROWSER: &str = "198.51.100.7";

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The users that the upstream got, or the filter's reason, or the status of another component's answer.
pub type Outcome = Result<Vec<String>, String>;
/// A connection to Envoy.
pub type Tls = harness::rustls::StreamOwned<harness::rustls::ClientConnection, TcpStream>;

/// Envoy Gateway with the manifest, as an operator has applied it.
pub struct Place {
    // Before the network that it is on.
    echo: Echo,
    pub gateway: EnvoyGateway,
    folder: Scratch,
    certificate: Vec<u8>,
}

impl Place {
    pub fn new() -> Self {
        // Before the thread is on a host that cannot reach what cargo may have to download.
        tool::program();
        let mut gateway = EnvoyGateway::start();
        let at = SocketAddr::new(BACKEND.into(), 18789);
        let echo = gateway.cluster.network.on("gateway", || Echo::start_at(at, |_| {}).unwrap());
        let folder = folder(&gateway);
        let certificate = fs::read(folder.path().join("claw.pem")).unwrap();
        run_the_page(&gateway.cluster.api, folder.path());
        gateway.backend(NAMESPACE, "openclaw-gateway", 18789, at);
        gateway.start_envoy();
        Self { echo, gateway, folder, certificate }
    }

    pub fn api(&self) -> &ApiServer {
        &self.gateway.cluster.api
    }

    /// The certificate of the Gateway, as a file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("claw.pem")
    }

    /// Sends everything to another pod from now on; none means the echo server.
    pub fn put_backend(&self, address: Option<SocketAddr>) {
        let to = address.unwrap_or_else(|| self.echo.address());
        self.gateway.backend(NAMESPACE, "openclaw-gateway", 18789, to);
    }

    /// Applies the manifest, as after an edit.
    pub fn apply_the_manifest(&self) {
        let file = self.folder.path().join(FILE);
        self.api().must(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// Edits an object: a JSON merge patch.
    pub fn patch(&self, kind: &str, patch: &Value) {
        let patch = patch.to_string();
        self.api().must(&["patch", kind, "openclaw", "--namespace", NAMESPACE, "--type=merge", "--patch", &patch]);
    }

    /// Edits the one module of the EnvoyExtensionPolicy.
    pub fn patch_module(&self, change: impl FnOnce(&mut Value)) {
        let mut wasm = self.api().object("envoyextensionpolicy", NAMESPACE, "openclaw")["spec"]["wasm"].clone();
        change(&mut wasm[0]);
        self.patch("envoyextensionpolicy", &json!({"spec": {"wasm": wasm}}));
    }

    /// The conditions of an object and of its parts, as `Type=Status`, once they are about its newest generation.
    pub fn conditions(&self, kind: &str, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        eventually(&format!("the status of {kind} {name}"), || {
            let object = self.api().object(kind, NAMESPACE, name);
            all.clear();
            gather(&object["status"], &mut all);
            !all.is_empty() && all.iter().all(|one| one["observedGeneration"] == object["metadata"]["generation"])
        });
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        all.iter().map(|one| format!("{}={}", text(one, "type"), text(one, "status"))).collect()
    }

    /// The message of the EnvoyExtensionPolicy's one condition.
    pub fn module_status(&self) -> Value {
        let object = self.api().object("envoyextensionpolicy", NAMESPACE, "openclaw");
        object["status"]["ancestors"][0]["conditions"][0].clone()
    }

    /// A connection from the browser's host, over which nothing was sent.
    pub fn connect(&self) -> io::Result<TcpStream> {
        self.gateway.cluster.network.on("browser", || wire::open(SocketAddr::new(ENVOY.into(), 443)))
    }

    /// TLS over a connection, with these protocols.
    pub fn secure(&self, stream: TcpStream, protocols: &[&str]) -> io::Result<Tls> {
        wire::tls_over(stream, HOST, &self.certificate, protocols)
    }

    /// A connection from the browser's host.
    pub fn open(&self) -> io::Result<Tls> {
        self.secure(self.connect()?, &["http/1.1"])
    }

    /// The response to a GET.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.request(path, headers).unwrap().1
    }

    fn request(&self, path: &str, headers: &[(&str, &str)]) -> io::Result<(Connection<Tls>, Response)> {
        let mut connection = Connection::new(self.open()?);
        connection.send(&wire::request("GET", path, &[&[("host", HOST)], headers].concat()))?;
        let response = connection.response("GET")?;
        Ok((connection, response))
    }

    /// What comes of a GET, or why there is no answer.
    pub fn try_page(&self, path: &str, headers: &[(&str, &str)]) -> io::Result<Outcome> {
        Ok(outcome(self.request(path, headers)?))
    }

    /// What comes of a GET.
    pub fn page(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        self.try_page(path, headers).unwrap()
    }

    /// What comes of a WebSocket.
    pub fn websocket(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        outcome(self.request(path, &[headers, &UPGRADE].concat()).unwrap())
    }

    /// The header by which a program signs in as a user.
    pub fn bearer(&self, user: &str) -> String {
        format!("Bearer {}", self.gateway.provider.token(user))
    }

    /// Waits until a page has this outcome. Envoy takes a new configuration after a moment.
    pub fn eventually(&self, what: &str, path: &str, headers: &[(&str, &str)], expected: &Outcome) {
        let mut last = None;
        let mut answer = || {
            last = Some(self.try_page(path, headers));
            last.as_ref().is_some_and(|last| last.as_ref().is_ok_and(|outcome| outcome == expected))
        };
        eventually(what, &mut answer);
    }

    /// A counter or gauge of Envoy, by its name and labels as Prometheus gets them.
    pub fn metric(&self, name: &str) -> u64 {
        let all = self.gateway.metrics();
        let value = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }
}

/// All conditions in a status.
fn gather(status: &Value, found: &mut Vec<Value>) {
    match status {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_array() {
                    Some(conditions) if name == "conditions" => found.extend(conditions.iter().cloned()),
                    _ => gather(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        _ => {}
    }
}

fn outcome((connection, response): (Connection<Tls>, Response)) -> Outcome {
    let users = |json: &Value| Ok(users(&echo::received(json)));
    match response.status {
        200 => users(&response.json()),
        101 => match wire::first_message(connection) {
            First::Text(text) => users(&serde_json::from_str(&text).unwrap()),
            First::Close(1008, reason) => Err(reason.rsplit(": ").next().unwrap().to_owned()),
            other @ First::Close(..) => panic!("{other:?}"),
        },
        status => Err(response.json()["error"]["reason"].as_str().map_or_else(|| status.to_string(), str::to_owned)),
    }
}

/// A folder as the page assumes it: the manifest with the operator's own image, and the operator's files.
fn folder(gateway: &EnvoyGateway) -> Scratch {
    let folder = Scratch::new("operator");
    let path = folder.path();
    let manifest = fs::read_to_string(root().join(FILE)).unwrap();
    let (before, rest) = manifest.split_once("url: registry.example.com/").expect("an image");
    let (name, after) = rest.split_once('\n').unwrap();
    let digest = name.strip_prefix("openclaw-trusted-proxy@sha256:").expect("an image by its digest");
    assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    fs::create_dir_all(path.join(FILE).parent().unwrap()).unwrap();
    fs::write(path.join(FILE), format!("{before}url: {}\n{after}", gateway.registry.image())).unwrap();
    envoy::certificate(path, &[HOST]).unwrap();
    for (ours, theirs) in [("cert.pem", "claw.pem"), ("key.pem", "claw.key")] {
        fs::rename(path.join(ours), path.join(theirs)).unwrap();
    }
    fs::write(path.join("client-secret"), openid::SECRET).unwrap();
    folder
}

/// Runs the commands at the beginning of the page, word for word.
fn run_the_page(api: &ApiServer, folder: &Path) {
    let page = document::page("docs/envoy-gateway.md");
    let commands: Vec<String> = document::commands(&page).into_iter().map(|command| command.line).collect();
    let place = |start: &str| commands.iter().position(|line| line.starts_with(start)).expect("a command of the page");
    assert!(place("openclaw-trusted-proxy check") < place("kubectl apply"), "{commands:#?}");
    let [kubectl, _] = kubectls();
    let done = api.run(&kubectl, folder, &commands.join("\n"));
    done.unwrap_or_else(|said| panic!("{commands:#?}: {said}"));
}
