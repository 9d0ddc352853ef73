//! How the program is installed, as docs/cli.md shows it.

use std::process::{Command, Output};

use harness::document::{commands, page};
use harness::envoy::{Scratch, root};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn each_way_to_install_it_leaves_a_program_that_runs() {
    let scratch = Scratch::new("install");
    let mut tried = 0;
    for command in commands(&page("docs/cli.md")) {
        // In the user's home by default.
        let (line, program) = if command.line.starts_with("cargo install ") {
            let folder = scratch.path().to_str().unwrap();
            (
                format!("{} --root '{folder}' --no-track", command.line),
                scratch.path().join("bin/openclaw-trusted-proxy"),
            )
        } else if command.line == "make cli" {
            (command.line, root().join("dist/openclaw-trusted-proxy"))
        } else {
            continue;
        };
        let mut shell = Command::new("sh");
        run(shell.args(["-c", &line]).current_dir(root()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL"));
        let version = run(Command::new(&program).arg("--version")).stdout;
        assert_eq!(
            String::from_utf8(version).unwrap(),
            concat!("openclaw-trusted-proxy ", env!("CARGO_PKG_VERSION"), "\n")
        );
        tried += 1;
    }
    assert_eq!(tried, 2);
}
