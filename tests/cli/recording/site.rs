//! Runs the tool, and one Envoy with the listeners of many renderings.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::echo::Echo;
use harness::envoy::{self, Envoy, Scratch, eventually};
use harness::manifests;
use harness::tool::program;
use harness::wire::{self, Connection, Response};
use serde_json::{Value, json};

/// A typical openclaw.json: with comments, with more than the filter reads, and with secrets.
pub const OPENCLAW: &str = r#"{
  // The proxy signs people in.
  gateway: {
    mode: "local", port: 18789, bind: "lan",
    trustedProxies: ["10.0.0.2"],
    auth: {
      mode: "trusted-proxy",
      password: "s3cr3t",
      trustedProxy: {
        userHeader: "x-forwarded-user", requiredHeaders: ["x-edge-secret"], allowUsers: ["nick@example.com"],
        deviceAutoApprove: { enabled: true },
      },
    },
    controlUi: { allowedOrigins: ["https://claw.example.com"], basePath: "/openclaw" },
    http: { endpoints: { chatCompletions: { enabled: true, "maxBodyBytes": 5 } } },
  },
  agents: { secret: "s3cr3t" },
}
"#;

/// The result of a run of the tool.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its output. It must have ended with this code.
    pub fn with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    pub fn json(self, code: i32) -> Value {
        serde_json::from_str(&self.with(code)).unwrap()
    }
}

/// Runs the tool in a folder.
pub fn tool(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program());
    let output = command.args(arguments).current_dir(folder).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The documents of a YAML text.
pub fn yaml(text: &str) -> Vec<Value> {
    manifests::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The connection manager of a listener.
pub fn manager(listener: &mut Value) -> &mut Value {
    let filters = listener["filter_chains"][0]["filters"].as_array_mut().unwrap();
    &mut filters.last_mut().unwrap()["typed_config"]
}

/// Arguments of `render` for a proxy whose address a test writes into a PROXY line, and which names the client itself.
pub const BEHIND_A_PROXY: [&str; 6] = ["--proxy", "10.0.0.1", "--peer", "proxy-protocol", "--xff", "keep"];

/// Renders a file of this folder into `deploy`, and runs that on free ports.
pub fn deploy(folder: Scratch, file: &str, upstream: SocketAddr, arguments: &[&str]) -> Envoy {
    let (upstream, module) = (upstream.to_string(), module());
    let fixed = ["render", "envoy", file, "--upstream", &upstream, "--module", &module, "--out", "deploy"];
    let written = tool(folder.path(), &[&fixed[..], arguments].concat()).with(0);
    assert_eq!(written, "deploy/envoy.yaml\ndeploy/policy/filter.yaml\n");
    let mut bootstrap = yaml(&fs::read_to_string(folder.path().join("deploy/envoy.yaml")).unwrap()).remove(0);
    for place in ["/admin", "/static_resources/listeners/0"] {
        bootstrap.pointer_mut(place).unwrap()["address"]["socket_address"]["port_value"] = json!(0);
    }
    let file = folder.path().join("free-ports.json");
    fs::write(&file, bootstrap.to_string()).unwrap();
    Envoy::run(folder, &file)
}

/// Sends a request to an Envoy that was rendered for [`BEHIND_A_PROXY`], as a proxy at this address for a client.
pub fn ask_behind_a_proxy(envoy: &Envoy, peer: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut connection = Connection::open(envoy.address("http")).unwrap();
    let client = [("host", "claw.example.com"), ("x-forwarded-for", "198.51.100.7")];
    let request = wire::request("GET", path, &[&client, headers].concat());
    connection.send(&[wire::proxy_line(peer), request].concat()).unwrap();
    connection.response("GET").unwrap()
}

fn module() -> String {
    let module = envoy::module().unwrap_or_else(|error| panic!("{error}"));
    module.into_os_string().into_string().unwrap()
}

/// Renderings by name, each with its own policy and log, in one Envoy in front of an echo.
pub struct Site {
    pub echo: Echo,
    folder: Scratch,
    bootstrap: Option<Value>,
    listeners: Vec<Value>,
}

/// A [`Site`] that runs.
pub struct Running {
    pub echo: Echo,
    pub envoy: Envoy,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Site {
    pub fn new() -> Self {
        Self { echo: Echo::start().unwrap(), folder: Scratch::new("recording"), bootstrap: None, listeners: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Renders a configuration with the recorder, and adds its listener; `change` may change what was rendered.
    pub fn add(&mut self, name: &str, config: &Value, arguments: &[&str], change: impl FnOnce(&mut Value)) {
        let folder = self.folder.path();
        let file = format!("{name}.json");
        // `render` would refuse cross-site requests, and `replay` reads the same file.
        let mut config = config.clone();
        if config["filter"]["crossSite"].is_null() {
            config["filter"]["crossSite"] = json!("allow");
        }
        fs::write(folder.join(&file), config.to_string()).unwrap();
        let (upstream, module) = (self.echo.address().to_string(), module());
        let fixed = ["render", "envoy", &file, "--record", "--out", name, "--upstream", &upstream, "--module", &module];
        let command = [&fixed[..], arguments].concat();
        tool(folder, &command).with(0);
        let text = fs::read_to_string(folder.join(name).join("envoy.yaml")).unwrap();
        let mut bootstrap = yaml(&text).remove(0);
        let mut listener = bootstrap["static_resources"]["listeners"][0].take();
        listener["name"] = json!(name);
        listener["address"]["socket_address"]["port_value"] = json!(0);
        // Each listener logs to its own file, because lines do not say which listener wrote them.
        let manager = manager(&mut listener);
        let log = &mut manager["access_log"][0]["typed_config"];
        log["@type"] = json!("type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog");
        log["path"] = json!(folder.join(format!("{name}.jsonl")));
        change(&mut listener);
        self.listeners.push(listener);
        self.bootstrap.get_or_insert(bootstrap);
    }

    pub fn start(self) -> Running {
        let mut bootstrap = self.bootstrap.unwrap();
        bootstrap["admin"]["address"]["socket_address"]["port_value"] = json!(0);
        bootstrap["static_resources"]["listeners"] = self.listeners.into();
        let file = self.folder.path().join("envoy.json");
        fs::write(&file, bootstrap.to_string()).unwrap();
        let envoy = Envoy::run(self.folder, &file);
        let addresses = envoy.addresses().into_iter().collect();
        Running { echo: self.echo, envoy, addresses }
    }
}

impl Running {
    pub fn address(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    pub fn folder(&self) -> &Path {
        self.envoy.folder()
    }

    /// The lines of a listener's log, once there are as many.
    pub fn log(&self, name: &str, lines: usize) -> Vec<Value> {
        let file = self.folder().join(format!("{name}.jsonl"));
        let read = || fs::read_to_string(&file).unwrap_or_default();
        eventually(&format!("{lines} lines in {name}.jsonl"), || read().lines().count() >= lines);
        let all: Vec<_> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(all.len(), lines, "{name}");
        all
    }

    /// What `explain` says of a request in a listener's log.
    pub fn explain(&self, name: &str, which: &[&str]) -> Value {
        let (config, log) = (format!("{name}.json"), format!("{name}.jsonl"));
        let ran = tool(self.folder(), &[&["explain", &config, "--log", &log, "--json"], which].concat());
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{which:?}: {error} {}", ran.stderr))
    }

    /// The report of `replay` on a listener's log.
    pub fn replay(&self, name: &str, arguments: &[&str], code: i32) -> Value {
        let (config, log) = (format!("{name}.json"), format!("{name}.jsonl"));
        tool(self.folder(), &[&["replay", &config, &log, "--json"], arguments].concat()).json(code)
    }
}
