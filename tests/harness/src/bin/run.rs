//! The program behind `make run`: Envoy with the filter in front of a Gateway, or in front of an echo upstream.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use harness::echo::Echo;
use harness::envoy::{self, Example, Ports, Process, Source};
use policy::config;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often the policy file is checked for changes.
const TICK: Duration = Duration::from_millis(250);
/// How long Envoy may take to load a policy.
const SETTLE: Duration = Duration::from_secs(10);

enum Event {
    Stop,
    Line(Source, String),
}

fn main() -> ExitCode {
    // The parent process (make) may be killed without warning; this program must then end too.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (sender, events) = channel();
    on_signal(sender.clone())?;

    let file = PathBuf::from(variable("POLICY").unwrap_or_else(|| "envoy/policy.json".to_owned()));
    let policy = std::fs::read_to_string(&file).map_err(|error| {
        format!("cannot read the policy {}: {error}; name another with POLICY=file", file.display())
    })?;
    let compiled = config::compile(policy.as_bytes()).map_err(|errors| {
        format!("the policy {} has errors; nothing was started:\n{}", file.display(), indented(&errors))
    })?;

    let program = envoy::program()?;
    let ports =
        Ports { http: port("HTTP_PORT", 10000)?, https: port("HTTPS_PORT", 10443)?, admin: port("ADMIN_PORT", 9901)? };
    let (upstream, echo) = match variable("UPSTREAM") {
        Some(upstream) => (upstream, None),
        None => {
            let echo = Echo::start().map_err(|error| format!("cannot start the echo upstream: {error}"))?;
            (echo.address().to_string(), Some(echo))
        }
    };
    let (host, upstream_port) = envoy::split_upstream(&upstream)?;

    let folder = Folder::new(ports.http)?;
    let example = Example::write(&folder.0, ports, &upstream, &policy)?;
    let lines = sender.clone();
    let process = Process::start(&program, &example.bootstrap(), &folder.0, move |source, line| {
        drop(lines.send(Event::Line(source, line.to_owned())));
    })
    .map_err(|said| said.lines().map(readable).collect::<Vec<_>>().join("\n"))?;

    let mut session = Session {
        file,
        example,
        process,
        events,
        in_force: policy.clone(),
        seen: Some(policy),
        findings: compiled.findings.iter().map(ToString::to_string).collect(),
        settling: true,
        said: HashSet::new(),
    };
    if !matches!(session.process.policies(), (1.., 0)) {
        session.show_pending();
        return Err("the filter rejected the policy, but this program accepts it: dist/ may be older than the sources; run `make wasm`".to_owned());
    }
    session.introduce(&match echo {
        Some(_) => format!("http://{upstream}, an echo server; set UPSTREAM=host:port to use your Gateway"),
        None if reachable(host, upstream_port) => format!("http://{upstream}"),
        None => format!("http://{upstream}, not reachable yet: until it is, admitted requests get a 503"),
    })?;
    session.serve()
}

/// The state of a run until Ctrl-C.
struct Session {
    file: PathBuf,
    example: Example,
    process: Process,
    events: Receiver<Event>,
    in_force: String,
    /// The policy file as last read; `None` if it could not be read.
    seen: Option<String>,
    /// The findings that were printed for the policy in force. The filter also logs them.
    findings: Vec<String>,
    /// While a policy is being loaded, every worker thread of the filter logs the same lines; each is shown once.
    settling: bool,
    said: HashSet<String>,
}

impl Session {
    fn introduce(&self, upstream: &str) -> Result<(), String> {
        say(&format!("policy    {} is in force", self.file.display()));
        for finding in &self.findings {
            say(&format!("          {finding}"));
        }
        let json = self
            .process
            .ask("/listeners?format=json")
            .map_err(|error| format!("Envoy does not answer: {error}"))?
            .json();
        let port = |name: &str| {
            let all = json["listener_statuses"].as_array().map(Vec::as_slice).unwrap_or_default();
            let one = all.iter().find(|one| one["name"] == name);
            one.and_then(|one| one["local_address"]["socket_address"]["port_value"].as_u64()).unwrap_or_default()
        };
        let (http, https) = (port("http"), port("https"));
        say(&format!("http      http://127.0.0.1:{http}"));
        say(&format!("https     https://localhost:{https}"));
        say(&format!("admin     http://{}", self.process.admin()));
        say(&format!("upstream  {upstream}"));

        let (client, identity) = identity(&self.in_force);
        let handshake = "-H 'connection: Upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' \
                         -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='";
        let certificate = self.example.certificate();
        let certificate = std::env::current_dir()
            .ok()
            .and_then(|here| certificate.strip_prefix(here).ok().map(Path::to_owned))
            .unwrap_or(certificate);
        say(&format!(
            "\n# admitted\ncurl -i {client} {identity} http://127.0.0.1:{http}/\n\
             # refused: no user header\ncurl -i {client} http://127.0.0.1:{http}/\n\
             # WebSocket, closed after two seconds\ncurl --http1.1 -i -N --output - --max-time 2 {client} {identity} {handshake} http://127.0.0.1:{http}/\n\
             # TLS\ncurl -i --cacert {} {client} {identity} https://localhost:{https}/\n",
            quoted(&certificate.to_string_lossy()),
        ));
        say(&format!(
            "Edit {} and save it; the new policy applies to the next request. Press Ctrl-C to stop.\n",
            self.file.display()
        ));
        Ok(())
    }

    fn serve(&mut self) -> Result<(), String> {
        let mut looked = Instant::now();
        loop {
            match self.events.recv_timeout(TICK) {
                Ok(Event::Stop) => {
                    say("\nStopping.");
                    return Ok(());
                }
                Ok(Event::Line(source, line)) => self.show(source, &line),
                Err(RecvTimeoutError::Timeout) => self.settling = false,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                if !self.process.alive() {
                    self.show_pending();
                    return Err("Envoy exited unexpectedly".to_owned());
                }
                self.look_at_policy();
            }
        }
    }

    /// Puts an edited policy in force if it is valid.
    fn look_at_policy(&mut self) {
        let now = std::fs::read_to_string(&self.file).ok();
        if now == self.seen {
            return;
        }
        self.seen.clone_from(&now);
        let file = self.file.display().to_string();
        // Some editors remove the file for a moment; the policy in force does not depend on it.
        let Some(policy) = now else { return };
        if policy == self.in_force {
            return say(&format!("policy    {file} is unchanged again; its policy is in force"));
        }
        let compiled = match config::compile(policy.as_bytes()) {
            Ok(compiled) => compiled,
            Err(errors) => {
                return say(&format!(
                    "policy    {file} has errors; the previous policy stays in force:\n{}",
                    indented(&errors)
                ));
            }
        };
        let (taken, rejected) = self.process.policies();
        self.findings = compiled.findings.iter().map(ToString::to_string).collect();
        self.settling = true;
        self.said.clear();
        if let Err(problem) = self.example.put_policy(&policy) {
            return say(&format!("policy    {problem}; the previous policy stays in force"));
        }
        let begun = Instant::now();
        let verdict = loop {
            match self.process.policies() {
                (now, _) if now > taken => break "is in force",
                (_, now) if now > rejected => break "was rejected by the filter; the previous policy stays in force",
                _ if begun.elapsed() > SETTLE => {
                    break "was given to Envoy, which did not load it within 10 s; the previous policy stays in force until it does";
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if verdict == "is in force" {
            self.in_force = policy;
        }
        say(&format!("policy    {file} {verdict}"));
        for finding in &self.findings {
            say(&format!("          {finding}"));
        }
    }

    fn show_pending(&mut self) {
        while let Ok(event) = self.events.recv_timeout(TICK) {
            if let Event::Line(source, line) = event {
                self.show(source, &line);
            }
        }
    }

    fn show(&mut self, source: Source, line: &str) {
        if source == Source::Access {
            return say(line);
        }
        let line = readable(line);
        let known = self.findings.iter().any(|finding| line.ends_with(finding.as_str()));
        if !(self.settling && (known || !self.said.insert(line.clone()))) {
            complain(&line);
        }
    }
}

/// Formats a line of Envoy's log: the filter's messages without Envoy's prefix, all others with it.
fn readable(line: &str) -> String {
    let mut parts = line.splitn(3, '\t');
    let (Some(level), Some(logger), Some(message)) = (parts.next(), parts.next(), parts.next()) else {
        return line.to_owned();
    };
    match message.strip_prefix("wasm log ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) if logger == "wasm" => format!("filter    {level}: {message}"),
        _ => format!("envoy     {level}: {logger}: {message}"),
    }
}

/// The headers that curl must send to be admitted under this policy: those that the proxy in front adds to every
/// request, and the identity.
fn identity(policy: &str) -> (String, String) {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let trusted = &policy["gateway"]["auth"]["trustedProxy"];
    let header = trusted["userHeader"].as_str().unwrap_or("x-forwarded-user").trim().to_ascii_lowercase();
    let user = trusted["allowUsers"][0].as_str().unwrap_or("nick@example.com");
    let mut client = "-H 'x-forwarded-for: 203.0.113.7'".to_owned();
    for required in trusted["requiredHeaders"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let required = required.trim().to_ascii_lowercase();
        if !["x-forwarded-for", "x-forwarded-proto", "x-request-id", "host", header.as_str()]
            .contains(&required.as_str())
        {
            client.push_str(&format!(" -H {}", quoted(&format!("{required}: 1"))));
        }
    }
    let prefix = policy["filter"]["userPrefix"].as_str().unwrap_or_default();
    (client, format!("-H {}", quoted(&format!("{header}: {prefix}{user}"))))
}

/// A folder for the files that Envoy reads, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(port: u16) -> Result<Self, String> {
        let name = if port == 0 { format!("process-{}", std::process::id()) } else { port.to_string() };
        let folder = envoy::root().join(".run").join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Any signal ends the session cleanly; a second Ctrl-C ends it at once, and the system then ends Envoy.
fn on_signal(sender: Sender<Event>) -> Result<(), String> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| format!("cannot listen for signals: {error}"))?;
    std::thread::spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 && signal == SIGINT {
                std::process::exit(130);
            }
            drop(sender.send(Event::Stop));
        }
    });
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The port to use, if it is free. Port 0 means any free port.
fn port(name: &str, default: u16) -> Result<u16, String> {
    let port = match variable(name) {
        Some(text) => text.parse().map_err(|_| format!("{name}={text} is not a port; write a number up to 65535"))?,
        None => default,
    };
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(|_| port)
        .map_err(|error| format!("port {port} cannot be used ({}); choose another with {name}=number", plain(&error)))
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "it is already in use".to_owned(),
        io::ErrorKind::PermissionDenied => "this user is not permitted to use it".to_owned(),
        _ => error.to_string(),
    }
}

fn reachable(host: &str, port: u16) -> bool {
    let addresses = (host, port).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|one| TcpStream::connect_timeout(&one, Duration::from_secs(2)).is_ok()))
}

/// Quotes a word for the shell.
fn quoted(text: &str) -> String {
    let safe = |one: char| one.is_ascii_alphanumeric() || "/._-".contains(one);
    if text.chars().all(safe) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn indented(text: &impl ToString) -> String {
    text.to_string().trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Prints to standard output. A closed output is not an error.
fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}
