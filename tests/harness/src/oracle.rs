//! Questions to the functions of the installed OpenClaw Gateway, without starting it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::envoy::Scratch;
use crate::gateway::{installed, script};
use crate::wire::Headers;

/// A request for [`ask`]. `path` is a plugin's path unless `route` is merged into it; `config` is an openclaw.json.
pub fn question(is_websocket: bool, peer: &str, method: &str, path: &str, headers: &Headers, config: &Value) -> Value {
    let headers: Vec<_> = headers.iter().map(|(name, value)| [name.clone(), BASE64.encode(value)]).collect();
    json!({
        "surface": if is_websocket { "ws" } else { "http" },
        "remoteAddr": peer, "method": method, "path": path, "headers": headers, "config": config, "route": "plugin",
    })
}

/// The answers of the installed Gateway's own functions to requests; see `tests/gateway/oracle.mjs`.
///
/// # Panics
/// If they cannot be run.
pub fn ask(questions: impl Iterator<Item = Value>) -> Vec<Value> {
    ask_package(&installed().0, false, questions)
}

/// The same of another package. `is_older`: it may lack functions of the installed one.
///
/// # Panics
/// If they cannot be run.
pub fn ask_package(package: &Path, is_older: bool, questions: impl Iterator<Item = Value>) -> Vec<Value> {
    let scratch = Scratch::new("oracle");
    let mut command = script("oracle.mjs");
    command.args(is_older.then_some("--older")).env("OPENCLAW_PKG", package).envs(temporary(&scratch));
    let questions: Vec<String> = questions.map(|question| question.to_string()).collect();
    let answers = converse(command, &questions);
    assert_eq!(answers.len(), questions.len(), "the Gateway's functions ended early: see above");
    answers
}

/// What a package's own schema says about an openclaw.json, as `tests/gateway/schema.mjs` writes it, and what its
/// validation says about each of these files: a list of paths with messages, empty if it is valid.
///
/// # Panics
/// If it cannot be run.
pub fn validate_all(package: &Path, files: &[Value]) -> (Value, Vec<Vec<(String, String)>>) {
    let scratch = Scratch::new("schema");
    let mut command = script("schema.mjs");
    command.arg(package).arg(installed().0).envs(temporary(&scratch));
    let files: Vec<String> = files.iter().map(Value::to_string).collect();
    let mut answers = converse(command, &files).into_iter();
    let schema = answers.next().expect("a schema");
    let issues: Vec<_> = answers.map(|issues| serde_json::from_value(issues).expect("a list of issues")).collect();
    assert_eq!(issues.len(), files.len(), "the Gateway's validation ended early: see above");
    (schema, issues)
}

fn temporary(scratch: &Scratch) -> [(&'static str, &Path); 2] {
    ["OPENCLAW_STATE_DIR", "TMPDIR"].map(|name| (name, scratch.path()))
}

/// Runs a script that reads one line for each question, and answers in lines of JSON.
fn converse(mut command: Command, questions: &[String]) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the Gateway's Node runs");
    let (mut input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let answers: Vec<Value> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for question in questions {
                // If the other side is gone, there are too few answers.
                drop(writeln!(input, "{question}"));
            }
            drop(input);
        });
        let lines = BufReader::new(output).lines().map(|line| line.expect("a line"));
        lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
    });
    assert!(child.wait().is_ok_and(|status| status.success()), "the Gateway's functions could not be run: see above");
    answers
}

/// Whether the Gateway considers the text of an openclaw.json valid; if not, its messages.
///
/// # Panics
/// If it cannot be run.
pub fn validate(text: &str) -> Result<(), String> {
    let output = config("validate", text);
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// The release of the Gateway's package, and the JSON Schema that it prints for an openclaw.json.
///
/// # Panics
/// If it cannot be run, or prints no JSON.
pub fn schema() -> (String, Value) {
    let package = fs::read(installed().0.join("package.json")).expect("the package has a package.json");
    let package: Value = serde_json::from_slice(&package).expect("package.json is JSON");
    let output = config("schema", "{}");
    let schema = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no schema: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (package["version"].as_str().expect("a version").to_owned(), schema)
}

/// Runs `openclaw config` on the text of an openclaw.json.
fn config(command: &str, text: &str) -> Output {
    let folder = Scratch::new("config");
    let file = folder.path().join("theirs.json");
    fs::write(&file, text).expect("the folder can be written to");
    let (package, node) = installed();
    let mut openclaw = Command::new(node);
    openclaw.arg(package.join("openclaw.mjs")).args(["config", command]).env("OPENCLAW_CONFIG_PATH", &file);
    for name in ["OPENCLAW_STATE_DIR", "OPENCLAW_HOME", "HOME", "TMPDIR"] {
        openclaw.env(name, folder.path());
    }
    let output = openclaw.env("OPENCLAW_OFFLINE", "1").env("OPENCLAW_NO_AUTO_UPDATE", "1").output();
    output.expect("the Gateway's Node runs")
}
