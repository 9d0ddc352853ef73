//! What the program prints: each command of the transcripts, here and in the documentation, is run again.
//!
//! `CLI_TRANSCRIPTS=write` updates them; read the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use harness::envoy::root;

use crate::shell;

/// Runs every command in a transcript. A command is a line that starts with `$ `, followed by its output and, unless it
/// is 0, its exit code. Other lines stay. In Markdown, only blocks that are marked `console` count.
fn again(text: &str, markdown: bool) -> (String, usize) {
    let (mut new, mut commands) = (String::new(), 0);
    let (mut inside, mut skips_output) = (!markdown, false);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if markdown && line.starts_with("```") {
            inside = line == "```console";
            skips_output = false;
        } else if inside && line.starts_with("$ ") {
            let mut command = line.strip_prefix("$ ").unwrap().to_owned();
            new += &format!("{line}\n");
            while command.ends_with('\\') {
                let more = lines.next().expect("a line goes on");
                new += &format!("{more}\n");
                command += &format!("\n{more}");
            }
            commands += 1;
            let run = shell(&command);
            new += &format!("{}{}", run.stdout, run.stderr);
            if run.code != 0 {
                new += &format!("(exit code {})\n", run.code);
            }
            if !markdown {
                new += "\n";
            }
            skips_output = true;
            continue;
        } else if inside && !markdown && line.starts_with("# ") {
            skips_output = false;
        }
        if !skips_output {
            new += &format!("{line}\n");
        }
    }
    (new, commands)
}

fn check(path: &Path, markdown: bool) -> usize {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (new, commands) = again(&text, markdown);
    if std::env::var_os("CLI_TRANSCRIPTS").is_some_and(|what| what == "write") {
        fs::write(path, &new).unwrap();
    } else {
        for (old, new) in text.lines().zip(new.lines()) {
            assert_eq!(old, new, "{}: if that is meant, CLI_TRANSCRIPTS=write updates it", path.display());
        }
        assert_eq!(text.len(), new.len(), "{}: one is longer", path.display());
    }
    for secret in ["s3cr3t", "S3CR3T"] {
        let printed = new.lines().filter(|line| !line.starts_with("$ ")).find(|line| line.contains(secret));
        assert_eq!(printed, None, "{}: a secret was printed", path.display());
    }
    commands
}

#[test]
fn every_transcript_is_what_the_program_prints() {
    let folder = root().join("tests/cli/transcripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let commands: usize = paths.iter().map(|path| check(path, false)).sum();
    assert!(commands > 20, "only {commands} commands in {}", folder.display());
}

#[test]
fn every_example_of_the_documentation_is_what_the_program_prints() {
    let commands = check(&root().join("docs/cli.md"), true);
    assert!(commands >= 5, "only {commands} commands in docs/cli.md");
}
