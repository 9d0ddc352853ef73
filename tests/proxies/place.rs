//! The hosts of placement B in docs/gateway.md, with an Envoy, an echo server in place of the Gateway, and the files
//! of `envoy/proxies/`.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use harness::echo::{self, Echo};
use harness::envoy::{self, Envoy, Example, Ports, Scratch, eventually};
use harness::gateway::lay;
use harness::netns::Network;
use harness::openid::{Browser, Provider};
use harness::oracle;
use harness::tungstenite::{self, Message, WebSocket, client};
use harness::wire::{self, Connection, Headers, Response};
use serde_json::{Value, json};

pub const BROWSER: &str = "198.51.100.7";
pub const HOST: &str = "claw.example.com";
pub const ORIGIN: (&str, &str) = ("origin", "https://claw.example.com");
const ENVOY: &str = "10.0.0.2:10000";
const PROXY: &str = "10.0.0.1:443";
const UPSTREAM: &str = "10.0.0.3:18789";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The result of a request or of a WebSocket.
#[derive(Debug, PartialEq)]
pub enum Seen {
    /// It arrived; the headers that the upstream saw.
    Arrived(Headers),
    /// It was answered on the way, with this status and, if the filter gave one, this reason.
    Answered(u16, Option<String>),
    /// The WebSocket was opened and closed at once.
    Closed(u16, String),
}

/// A file of `envoy/proxies/`.
pub fn file(name: &str) -> String {
    let path = envoy::root().join("envoy/proxies").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub struct Place {
    proxy: String,
    network: Network,
    echo: Echo,
    scratch: Scratch,
    example: Example,
    envoy: Envoy,
    /// The port of the listener without the filter.
    unfiltered: u16,
    provider: Option<Provider>,
}

/// The filter in envoy.yaml, and what comes after it.
const FILTER: (&str, &str) =
    ("                  - name: openclaw_trusted_proxy\n", "                  - name: envoy.filters.http.router\n");

/// A bootstrap with a copy of the listener `http` that lacks the filter, as if somebody had deleted it.
pub fn with_an_unfiltered_listener(bootstrap: &str) -> String {
    let (before, rest) = bootstrap.split_once("    - name: http\n").unwrap();
    let (http, after) = rest.split_once("    # The same with TLS.").unwrap();
    let (after, clusters) = after.split_once("  clusters:\n").unwrap();
    let (start, filter) = http.split_once(FILTER.0).unwrap();
    let (_, end) = filter.split_once(FILTER.1).unwrap();
    let copy = format!("{start}{}{end}", FILTER.1).replace("port_value: 10000", "port_value: 0");
    format!(
        "{before}    - name: http\n{http}    # The same with TLS.{after}    - name: unfiltered\n{copy}  clusters:\n{clusters}"
    )
}

impl Place {
    /// Starts Envoy and the echo server. The calling thread is moved to the proxy's host, and must stay there.
    pub fn new(proxy: &str) -> Self {
        Self::start(proxy, None)
    }

    /// The same with an OpenID provider, to which its client sends its secret in this way.
    pub fn with_provider(proxy: &str, client_auth: &str) -> Self {
        Self::start(proxy, Some(client_auth))
    }

    fn start(proxy: &str, client_auth: Option<&str>) -> Self {
        let network = Network::new(&[
            ("browser", &["198.51.100.7/24"]),
            ("stranger", &["203.0.113.66/24"]),
            ("proxy", &["10.0.0.1/24"]),
            ("envoy", &["10.0.0.2/24"]),
            ("gateway", &["10.0.0.3/24"]),
            ("provider", &["10.0.0.4/24"]),
        ]);
        let provider = client_auth.map(|how| Provider::start(&network, how, 3600, &json!({})));
        let echo = network.on("gateway", || Echo::start_at(UPSTREAM.parse().unwrap(), |_| {}).unwrap());
        network.enter("envoy");
        let scratch = Scratch::new("envoy-of-a-proxy");
        let ports = Ports { http: 10000, ..Ports::default() };
        let example = Example::write(scratch.path(), ports, UPSTREAM, &file(&format!("{proxy}/policy.json")))
            .unwrap_or_else(|problem| panic!("{problem}"));
        let bootstrap = fs::read_to_string(example.bootstrap()).unwrap();
        // The change that envoy/proxies/README.md describes.
        let loopback = "{ address: 127.0.0.1, port_value: 10000 }";
        assert!(bootstrap.contains(loopback));
        let bootstrap = bootstrap.replacen(loopback, "{ address: 0.0.0.0, port_value: 10000 }", 1);
        let bootstrap = with_an_unfiltered_listener(&bootstrap);
        fs::write(example.bootstrap(), bootstrap).unwrap();
        let envoy = Envoy::run(scratch, &example.bootstrap());
        let unfiltered = envoy.address("unfiltered").port();
        network.enter("proxy");
        let scratch = Scratch::new("proxy");
        Self { proxy: proxy.to_owned(), network, echo, scratch, example, envoy, unfiltered, provider }
    }

    /// The OpenID provider.
    pub fn provider(&self) -> &Provider {
        self.provider.as_ref().expect("this place has a provider")
    }

    /// Runs a function on a host.
    pub fn on<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        self.network.on(host, work)
    }

    /// A browser that finds the proxy.
    pub fn browser(&self) -> Browser {
        Browser::start(&self.network, &self.folder().join("cert.pem"), "10.0.0.1")
    }

    /// Gives the filter the proxy's policy with more settings.
    pub fn put_filter(&self, more: &Value) {
        let mut policy: Value = serde_json::from_str(&file(&format!("{}/policy.json", self.proxy))).unwrap();
        lay(&mut policy["filter"], more);
        let policies = || self.network.on("envoy", || self.envoy.process().policies());
        let before = policies();
        self.example.put_policy(&policy.to_string()).unwrap();
        eventually("Envoy to look at the policy", || policies() != before);
        assert_eq!(policies().1, before.1, "the filter rejected {policy}");
    }

    /// Checks that the Gateway lets nobody in if the filter is gone: with all that the proxy sends, and with the header
    /// that the Gateway reads, from the proxy's host.
    pub fn is_closed_without_the_filter(&self, from: &str, sent: &[(&str, &str)]) {
        let address = if from == "envoy" { "127.0.0.1" } else { "10.0.0.2" };
        let own = ("x-openclaw-user", "nick@example.com");
        let open = || {
            self.network.on(from, || wire::open(SocketAddr::new(address.parse().unwrap(), self.unfiltered)).unwrap())
        };
        let headers = [sent, &[own]].concat();
        let host = headers.iter().find(|(name, _)| *name == "host").map_or(HOST, |(_, value)| value);
        let [Seen::Arrived(page), Seen::Arrived(socket)] = [ask(open(), &headers), self::open(open(), host, &headers)]
        else {
            panic!("there is no filter")
        };
        let config: Value = serde_json::from_str(&file(&format!("{}/openclaw.json", self.proxy))).unwrap();
        // As they arrived; and with that header, which is all that is missing.
        let named = vec![(own.0.to_owned(), own.1.as_bytes().to_vec())];
        let questions = [vec![], named].into_iter().flat_map(|more| {
            [(false, &page), (true, &socket)].map(|(is_websocket, headers)| {
                let headers = [headers.as_slice(), more.as_slice()].concat();
                oracle::question(is_websocket, "10.0.0.2", "GET", "/", &headers, &config)
            })
        });
        let answers = oracle::ask(questions.collect::<Vec<_>>().into_iter());
        assert!(answers[..2].iter().all(|answer| answer["ok"] == false), "{page:?}");
        assert!(answers[2..].iter().all(|answer| answer["ok"] == true), "{answers:?}");
    }

    /// Checks that a Gateway with this proxy's openclaw.json admits these requests as this user, from Envoy only.
    pub fn gateway_takes(&self, arrived: &[(bool, Headers)], user: &str) {
        gateway_takes(&self.proxy, arrived, user);
    }

    /// The folder of the proxy.
    pub fn folder(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    /// Writes the proxy's certificate and key, and returns their folder: `cert.pem` and `key.pem`.
    pub fn certificate(&self) -> PathBuf {
        envoy::certificate(self.scratch.path(), &[HOST]).unwrap();
        self.folder()
    }

    pub fn proxy(&self) -> SocketAddr {
        PROXY.parse().unwrap()
    }

    pub fn requests(&self) -> usize {
        self.echo.requests()
    }

    /// A GET from a browser, through the proxy.
    pub fn get(&self, headers: &[(&str, &str)]) -> Seen {
        ask(self.through_the_proxy(), headers)
    }

    /// A WebSocket from a browser, through the proxy.
    pub fn websocket(&self, headers: &[(&str, &str)]) -> Seen {
        open(self.through_the_proxy(), HOST, headers)
    }

    /// Waits until the proxy gives a stranger the expected answer.
    pub fn is_ready(&self, status: u16) {
        eventually("the proxy", || {
            self.try_through_the_proxy().is_ok_and(|stream| ask(stream, &[]) == Seen::Answered(status, None))
        });
    }

    /// A connection from the browser's host to the proxy.
    pub fn through_the_proxy(&self) -> impl Read + Write + use<> {
        self.try_through_the_proxy().unwrap()
    }

    fn try_through_the_proxy(&self) -> io::Result<impl Read + Write + use<>> {
        let certificate = fs::read(self.folder().join("cert.pem")).unwrap();
        self.network.on("browser", || {
            let mut stream = wire::open_tls(self.proxy(), HOST, &certificate, "http/1.1")?;
            stream.flush()?;
            Ok(stream)
        })
    }

    /// A connection from a host directly to Envoy.
    pub fn to_envoy(&self, from: &str) -> TcpStream {
        let address = if from == "envoy" { "127.0.0.1:10000" } else { ENVOY };
        self.network.on(from, || wire::open(address.parse().unwrap()).unwrap())
    }
}

/// Checks that a Gateway with this folder's openclaw.json admits these requests and WebSockets as this user, from
/// Envoy only.
pub fn gateway_takes(folder: &str, arrived: &[(bool, Headers)], user: &str) {
    let config: Value = serde_json::from_str(&file(&format!("{folder}/openclaw.json"))).unwrap();
    let questions = |from: &'static str| {
        arrived.iter().map({
            let config = &config;
            move |(is_websocket, headers)| oracle::question(*is_websocket, from, "GET", "/", headers, config)
        })
    };
    let answers = oracle::ask(questions("10.0.0.2").chain(questions("10.0.0.1")));
    let (from_envoy, from_proxy) = answers.split_at(arrived.len());
    for ((is_websocket, headers), answer) in arrived.iter().zip(from_envoy) {
        assert_eq!((&answer["ok"], &answer["user"]), (&true.into(), &user.into()), "{folder}: {answer}, {headers:?}");
        let scopes = answer["scopes"].as_array().unwrap();
        assert!(*is_websocket || scopes.iter().eq(["operator.write"]), "{folder}: {answer}");
    }
    for answer in from_proxy {
        assert_eq!(answer["ok"], false, "{folder}: past Envoy: {answer}");
    }
}

/// A GET over a connection.
pub fn ask<S: Read + Write>(stream: S, headers: &[(&str, &str)]) -> Seen {
    let mut connection = Connection::new(stream);
    let host = if headers.iter().any(|(name, _)| *name == "host") { vec![] } else { vec![("host", HOST)] };
    connection.send(&wire::request("GET", "/", &[&host[..], headers, &[("connection", "close")]].concat())).unwrap();
    let response = connection.response("GET").unwrap();
    if response.status == 200 && response.json()["headers"].is_array() {
        Seen::Arrived(echo::received(&response.json()))
    } else {
        Seen::Answered(response.status, reason(&response))
    }
}

/// A WebSocket over a connection.
pub fn open<S: Read + Write>(stream: S, host: &str, headers: &[(&str, &str)]) -> Seen {
    let mut request = tungstenite::http::Request::builder().uri(format!("ws://{host}/"));
    let handshake = [
        ("host", host),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    for (name, value) in handshake.iter().chain(headers).filter(|(name, value)| *name != "host" || *value == host) {
        request = request.header(*name, *value);
    }
    let mut socket: WebSocket<S> = match client(request.body(()).unwrap(), stream) {
        Ok((socket, _)) => socket,
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            return Seen::Answered(response.status().as_u16(), None);
        }
        Err(error) => panic!("the handshake failed: {error}"),
    };
    match socket.read().unwrap() {
        Message::Text(text) => {
            let upstream = echo::received(&serde_json::from_str(&text).unwrap());
            socket.send("hello".into()).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text("hello"));
            Seen::Arrived(upstream)
        }
        Message::Close(Some(frame)) => Seen::Closed(frame.code.into(), frame.reason.to_string()),
        other => panic!("{other:?}"),
    }
}

fn reason(response: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    body["error"]["reason"].as_str().map(str::to_owned)
}
