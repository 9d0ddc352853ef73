//! The command-line tool, as a program: what it prints, how it ends, and that it decides as the filter does.

mod answered;
mod around;
mod browser;
mod decisions;
mod envoy;
mod findings;
mod folder;
mod hostile;
mod install;
mod logs;
mod mesh;
mod named_proxies;
mod placements;
mod quiet;
mod recording;
mod requests;
mod scopes;
mod shown;
mod sockets;
mod stamped;
mod traffic_extension;
mod transcripts;
mod usage;
mod witness;
mod yaml;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::envoy::root;
use harness::tool::program;

/// The folder with the files that the tests use.
fn files() -> PathBuf {
    root().join("tests/cli/files")
}

/// The result of a run of the program.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A command in the folder of files. From our environment it gets only `PATH`.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(files()).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
fn run(mut command: Command, stdin: &[u8]) -> Run {
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // It may end without reading all of it.
    let writer = std::thread::spawn(move || drop(input.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the program with these arguments.
fn tool<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    tool_reading(arguments, b"")
}

/// Runs the program with these arguments and this standard input.
fn tool_reading<S: AsRef<OsStr>>(arguments: &[S], stdin: &[u8]) -> Run {
    let mut command = command(program());
    command.args(arguments);
    run(command, stdin)
}

/// Runs a shell command that finds the program by its name.
fn shell(line: &str) -> Run {
    let folder = program().parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = command("sh");
    command.args(["-c", line]).env("PATH", format!("{}:{path}", folder.display()));
    run(command, b"")
}
