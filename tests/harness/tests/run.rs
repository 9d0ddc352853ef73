//! The program behind `make run`, tested as people use it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::document::{self, page};
use harness::echo::{self, Echo};
use harness::envoy::{self, Scratch, eventually};
use harness::wire::{self, Connection, Response, values};
use rustix::process::{Pid, Signal, kill_process_group};

const VARIABLES: [&str; 6] = ["HTTP_PORT", "HTTPS_PORT", "ADMIN_PORT", "UPSTREAM", "POLICY", "ENVOY"];

#[test]
fn what_cannot_run_is_said_in_one_line_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port().to_string();
    let number = number.as_str();
    let cases: [(&str, &str, &[&str]); 11] = [
        ("HTTP_PORT", number, &[number, "HTTP_PORT=", "it is already in use"]),
        ("HTTPS_PORT", number, &[number, "HTTPS_PORT="]),
        ("ADMIN_PORT", number, &[number, "ADMIN_PORT="]),
        ("HTTP_PORT", "eighty", &["HTTP_PORT=eighty", "number"]),
        ("HTTP_PORT", "70000", &["HTTP_PORT=70000", "65535"]),
        ("ENVOY", "/nowhere/envoy", &["/nowhere/envoy", "make setup"]),
        ("UPSTREAM", "gateway", &["UPSTREAM=gateway", "host:port"]),
        ("UPSTREAM", "http://gateway:18789", &["host:port"]),
        ("UPSTREAM", "::1:18789", &["[::1]:18789"]),
        ("UPSTREAM", "gateway:0", &["host:port"]),
        ("POLICY", "nowhere/policy.json", &["nowhere/policy.json", "POLICY="]),
    ];
    for (name, value, wanted) in cases {
        let output = refused(&[(name, value)]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{name}={value}: {said}");
        for part in wanted {
            assert!(said.contains(part), "{name}={value} must mention `{part}`: {said}");
        }
    }
}

#[test]
fn a_bad_policy_is_told_with_all_its_errors_before_anything_starts() {
    let scratch = Scratch::new("run");
    let file = scratch.path().join("policy.json");
    let policy = shipped_policy().replace("trusted-proxy\"", "token\"").replace("127.0.0.1", "10.0.0.1/8");
    std::fs::write(&file, policy).unwrap();
    let said = String::from_utf8(refused(&[("POLICY", file.to_str().unwrap())]).stderr).unwrap();
    for part in ["policy.json", "gateway.auth.mode", "gateway.trustedProxies[0]"] {
        assert!(said.contains(part), "`{part}`: {said}");
    }
}

#[test]
fn the_quick_start_does_what_it_shows() {
    let readme = page("README.md");
    let commands = document::commands(&readme);
    let [run, curls @ ..] = commands.as_slice() else { panic!("no commands") };
    let arguments = run.line.strip_prefix("make ").unwrap();
    // Its prerequisites exist already. Without these options it would rebuild the module while other tests read it.
    let mut make = Command::new("make");
    make.args(arguments.split(' ')).args(["--old-file=setup", "--old-file=wasm"]);
    make.args(["HTTP_PORT=0", "HTTPS_PORT=0", "ADMIN_PORT=0"]).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let running = Running::of(as_set(make, &[]));
    let address = running.address("http ").to_string();
    let mut tried = 0;
    for command in curls.iter().filter(|command| command.line.starts_with("curl ")) {
        assert!(command.line.contains("http://127.0.0.1:10000/"), "{command:?}");
        let answer = Curl::parse(&command.line.replace("127.0.0.1:10000", &address)).send().text();
        // Dots mark omitted text.
        let mut rest = answer.trim_end();
        for part in command.output.trim_end().split("...") {
            let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("no {part} in {answer}"));
            rest = after;
        }
        assert_eq!(rest, "", "{answer}");
        tried += 1;
    }
    assert_eq!(tried, 2, "{commands:?}");
}

#[test]
fn the_lines_that_it_prints_do_what_it_says() {
    let running = Running::start(&[]);
    let lines: Vec<(String, Curl)> = running.curl_lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (comment, curl) in &lines {
        let response = curl.send();
        let answer = response.json();
        match comment.as_str() {
            "# admitted" | "# TLS" => {
                assert_eq!(response.status, 200, "{comment}: {response:?}");
                assert_eq!(values(&echo::received(&answer), "x-openclaw-user"), ["nick@example.com"]);
            }
            "# WebSocket, closed after two seconds" => assert_eq!(response.status, 101, "{response:?}"),
            "# refused: no user header" => {
                assert_eq!(
                    (response.status, &answer["error"]["reason"]),
                    (401, &"trusted_proxy_user_missing".into()),
                    "{response:?}"
                );
            }
            other => panic!("unknown line `{other}`"),
        }
    }
    eventually("the access log", || running.said("\"reason\":\"trusted_proxy_user_missing\""));
    eventually("the filter's line", || {
        running.said("filter    warning: ") && running.said("reason=trusted_proxy_user_missing")
    });
    assert!(running.said("critical gateway.trusted_proxy_auth"), "the findings are shown");
}

#[test]
fn ctrl_c_and_a_sudden_death_leave_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let mut running = Running::start(&[]);
        let ports: Vec<SocketAddr> =
            ["http ", "https ", "admin ", "upstream "].map(|name| running.address(name)).to_vec();
        let folder = envoy::root().join(format!(".run/process-{}", running.child.id()));
        assert!(folder.is_dir());
        assert!(ports.iter().all(|port| TcpStream::connect(port).is_ok()));

        let status = running.end(signal);
        if signal != Signal::KILL {
            assert!(status.success(), "{signal:?}: {status}");
            assert!(!folder.exists(), "{signal:?} leaves {}", folder.display());
        }
        for port in ports {
            eventually("the port to be free", || TcpListener::bind(port).is_ok());
        }
        drop(std::fs::remove_dir_all(&folder));
    }
}

#[test]
fn it_runs_in_front_of_an_upstream_given_by_name_or_address() {
    let echo = Echo::start().unwrap();
    let port = echo.address().port();
    for (count, upstream) in [format!("127.0.0.1:{port}"), format!("localhost:{port}")].iter().enumerate() {
        let running = Running::start(&[("UPSTREAM", upstream)]);
        assert_eq!(running.curl_lines()[0].1.send().status, 200, "{upstream}");
        assert_eq!(echo.requests(), count + 1, "{upstream}");
    }

    // An upstream that is not reachable yet is not an error; an IPv6 address is not one either.
    let running = Running::start(&[("UPSTREAM", "[::1]:1")]);
    assert!(running.said("http://[::1]:1, not reachable yet"));
    assert_eq!(running.curl_lines()[0].1.send().status, 503);
    let clusters = wire::get::<&str, &str>(running.address("admin "), "/clusters", &[]).unwrap().text();
    assert!(clusters.contains("gateway::[::1]:1::"), "{clusters}");
}

#[test]
fn the_admitted_line_names_the_user_as_the_policy_wants_it() {
    let scratch = Scratch::new("run-prefix");
    let file = scratch.path().join("policy.json");
    let policy = shipped_policy().replace("\"filter\": {", r#""filter": { "userPrefix": "accounts.google.com:","#);
    assert_ne!(policy, shipped_policy());
    std::fs::write(&file, policy).unwrap();
    let running = Running::start(&[("POLICY", file.to_str().unwrap())]);
    let response = running.curl_lines()[0].1.send();
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(values(&echo::received(&response.json()), "x-openclaw-user"), ["nick@example.com"]);
}

#[test]
fn an_edit_is_checked_and_then_in_force() {
    let scratch = Scratch::new("run");
    let file = scratch.path().join("policy.json");
    let put = |policy: &str| std::fs::write(&file, policy).unwrap();
    put(&shipped_policy());
    let running = Running::start(&[("POLICY", file.to_str().unwrap())]);
    let admitted = running.curl_lines()[0].1.clone();
    assert_eq!(admitted.send().status, 200);

    put(&shipped_policy().replace("trusted-proxy\"", "token\""));
    eventually("the errors", || {
        running.said("has errors; the previous policy stays in force") && running.said("gateway.auth.mode")
    });
    assert_eq!(admitted.send().status, 200);

    put(&shipped_policy());
    eventually("the original policy", || running.said("is unchanged again; its policy is in force"));

    put(&shipped_policy().replace("nick@", "mary@"));
    eventually("the edited policy", || running.lines_with("policy.json is in force") == 2);
    assert_eq!(admitted.send().status, 401);
    std::fs::remove_file(&file).unwrap();
    put(&shipped_policy());
    eventually("the restored policy", || running.lines_with("policy.json is in force") == 3);
    assert_eq!(admitted.send().status, 200);
}

fn shipped_policy() -> String {
    std::fs::read_to_string(envoy::root().join("envoy/policy.json")).unwrap()
}

fn program(variables: &[(&str, &str)]) -> Command {
    as_set(Command::new(env!("CARGO_BIN_EXE_run")), variables)
}

/// A command with these variables, free ports, and no other settings from the environment.
fn as_set(mut command: Command, variables: &[(&str, &str)]) -> Command {
    let envoy = envoy::program().unwrap_or_else(|problem| panic!("{problem}"));
    for name in VARIABLES {
        command.env_remove(name);
    }
    for port in ["HTTP_PORT", "HTTPS_PORT", "ADMIN_PORT"] {
        command.env(port, "0");
    }
    command.env("ENVOY", envoy).envs(variables.iter().copied());
    command.current_dir(envoy::root()).stdin(Stdio::null());
    command
}

/// Runs the program with settings that must stop it from starting.
fn refused(variables: &[(&str, &str)]) -> Output {
    let output = program(variables).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{variables:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{variables:?}: {output:?}");
    output
}

/// A run that is ready; it ends when dropped.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(variables: &[(&str, &str)]) -> Self {
        Self::of(program(variables))
    }

    fn of(mut command: Command) -> Self {
        // If make runs it, both are in one process group and end together.
        let mut child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
            });
        }
        let running = Self { child, lines };
        eventually("make run to be ready", || running.said("Press Ctrl-C to stop"));
        running
    }

    fn said(&self, text: &str) -> bool {
        self.lines_with(text) > 0
    }

    fn lines_with(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The address in the line that begins with this name.
    fn address(&self, name: &str) -> SocketAddr {
        let lines = self.lines.lock().unwrap();
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        let address = line.split("://").nth(1).unwrap().split([',', ' ']).next().unwrap();
        address.replace("localhost", "127.0.0.1").parse().unwrap()
    }

    /// The printed curl commands, each with the comment above it.
    fn curl_lines(&self) -> Vec<(String, Curl)> {
        let lines = self.lines.lock().unwrap();
        let pairs = lines.windows(2).filter(|pair| pair[1].starts_with("curl "));
        pairs.map(|pair| (pair[0].clone(), Curl::parse(&pair[1]))).collect()
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process_group(id, signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end(Signal::TERM);
        }
        if thread::panicking() {
            eprintln!("--- what make run wrote:\n{}\n---", self.lines.lock().unwrap().join("\n"));
        }
    }
}

/// The request that a printed curl command makes. Curl itself may not be installed.
#[derive(Clone, Debug)]
struct Curl {
    address: SocketAddr,
    certificate: Option<String>,
    headers: Vec<(String, String)>,
}

impl Curl {
    /// Splits the line as a shell does, as far as these lines need it: words, some of them in single quotes.
    fn parse(line: &str) -> Self {
        let mut words = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            if index % 2 == 1 { words.push(part) } else { words.extend(part.split_whitespace()) }
        }
        let after =
            |flag: &str| -> Vec<&str> { words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]).collect() };
        let headers = after("-H").into_iter().map(|header| header.split_once(": ").unwrap());
        let url = words.last().unwrap().split("://").nth(1).unwrap();
        Self {
            address: url.trim_end_matches('/').replace("localhost", "127.0.0.1").parse().unwrap(),
            certificate: after("--cacert").first().map(|file| (*file).to_owned()),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    fn send(&self) -> Response {
        let mut headers = vec![("host".to_owned(), self.address.to_string())];
        headers.extend(self.headers.iter().cloned());
        let request = wire::request("GET", "/", &headers);
        match &self.certificate {
            None => {
                let mut connection = Connection::open(self.address).unwrap();
                connection.send(&request).unwrap();
                connection.response("GET").unwrap()
            }
            Some(file) => {
                let certificate = std::fs::read(envoy::root().join(Path::new(file))).unwrap();
                let mut connection =
                    Connection::new(wire::open_tls(self.address, "localhost", &certificate, "http/1.1").unwrap());
                connection.send(&request).unwrap();
                connection.response("GET").unwrap()
            }
        }
    }
}
