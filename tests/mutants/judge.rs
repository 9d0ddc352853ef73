//! Tests `tests/mutants/judge` on made-up results: each of its complaints appears, and a good run passes.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Results as cargo-mutants writes them, and the accepted mutants.
#[derive(Default)]
struct Run {
    caught: Vec<String>,
    previously_caught: Vec<String>,
    timeout: Vec<String>,
    missed: Vec<String>,
    unviable: Vec<String>,
    accepted: String,
}

impl Run {
    /// This many caught mutants, at different lines of a file that exists.
    fn with_caught(count: usize) -> Self {
        let caught = (1..=count).map(|line| mutant("policy/src/text.rs", line)).collect();
        Self { caught, accepted: "# a comment\n\n".to_owned(), ..Self::default() }
    }

    fn missed(mut self, mutants: &[String]) -> Self {
        self.missed.extend_from_slice(mutants);
        self
    }

    fn accepted(mut self, lines: &[&str]) -> Self {
        lines.iter().for_each(|line| self.accepted.push_str(&format!("{line}\n")));
        self
    }

    /// Whether the run passes, and the complete output.
    fn judged(&self, name: &str) -> (bool, String) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("judge").join(name.replace(' ', "-"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, lines) in [
            ("caught", &self.caught),
            ("previously_caught", &self.previously_caught),
            ("timeout", &self.timeout),
            ("missed", &self.missed),
            ("unviable", &self.unviable),
        ] {
            fs::write(folder.join(file).with_extension("txt"), lines.join("")).unwrap();
        }
        let accepted = folder.join("accepted");
        fs::write(&accepted, &self.accepted).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let output = Command::new("tests/mutants/judge")
            .current_dir(root)
            .arg("fake")
            .args([&folder, &accepted])
            .output()
            .unwrap_or_else(|error| panic!("tests/mutants/judge cannot be run: {error}; it needs bash"));
        fs::remove_dir_all(&folder).unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

fn mutant(file: &str, line: usize) -> String {
    format!("{file}:{line}:5: replace same -> bool with true\n")
}

const SURVIVOR: &str = "policy/src/text.rs: replace same -> bool with true";

#[test]
fn a_run_passes_with_what_is_accepted_for_a_reason_and_with_nothing_else() {
    let line = |number| mutant("policy/src/text.rs", number);
    let accepted = format!("{SURVIVOR} # equivalent: a reason");
    let gone = "src/nowhere.rs: replace x -> bool with true # equivalent: a reason";
    let elsewhere = "policy/src/request.rs: replace x -> bool with true # equivalent: a reason";
    let again = Run { previously_caught: (1..=20).map(line).collect(), unviable: vec![line(7)], ..Run::default() };
    let alike = Run { unviable: vec![line(300)], ..Run::with_caught(20) };
    let hung = Run { timeout: vec![line(1)], ..Run::with_caught(0) };
    // The name of the case, the run, whether it passes, and a part of the output.
    let cases = [
        (
            "all caught",
            Run::with_caught(20),
            true,
            "fake: 20 of 20 viable mutants caught (100.0 %), 0 survive, 0 do not",
        ),
        ("a hang is noticed", hung, true, "1 of 1 viable mutants caught"),
        (
            "caught in an earlier pass",
            again,
            true,
            "19 of 19 viable mutants caught (100.0 %), 0 survive, 1 do not build",
        ),
        (
            "one like those caught does not build",
            alike,
            true,
            "20 of 20 viable mutants caught (100.0 %), 0 survive, 1 do",
        ),
        ("nothing ran", Run::with_caught(0), false, "fake: nothing was tested"),
        ("unexpected", Run::with_caught(99).missed(&[line(200)]), false, "no test notices these"),
        ("accepted", Run::with_caught(99).missed(&[line(200)]).accepted(&[&accepted]), true, "99 of 100"),
        (
            "accepted once but there twice",
            Run::with_caught(99).missed(&[line(200), line(201)]).accepted(&[&accepted]),
            false,
            SURVIVOR,
        ),
        (
            "accepted twice",
            Run::with_caught(99).missed(&[line(200), line(201)]).accepted(&[&accepted, &accepted]),
            true,
            "(98.0 %), 2 survive",
        ),
        ("no reason", Run::with_caught(99).missed(&[line(200)]).accepted(&[SURVIVOR]), false, "have no reason"),
        (
            "an empty reason",
            Run::with_caught(99).missed(&[line(200)]).accepted(&[&format!("{SURVIVOR} # ")]),
            false,
            "have no reason",
        ),
        ("caught now", Run::with_caught(99).accepted(&[&accepted]), false, "these no longer survive"),
        ("of a file that was not tested", Run::with_caught(99).accepted(&[elsewhere]), true, "99 of 99"),
        ("of a file that is gone", Run::with_caught(99).accepted(&[gone]), false, "src/nowhere.rs"),
        (
            "just enough",
            Run::with_caught(95).missed(&[200, 201, 202, 203, 204].map(line)).accepted(&[accepted.as_str(); 5]),
            true,
            "95 of 100 viable mutants caught (95.0 %)",
        ),
        (
            "too few",
            Run::with_caught(94).missed(&[200, 201, 202, 203, 204, 205].map(line)).accepted(&[accepted.as_str(); 6]),
            false,
            "fake: below 95 %",
        ),
    ];
    for (name, run, passes, expected) in cases {
        let (passed, said) = run.judged(name);
        assert!(passed == passes && said.contains(expected), "{name}: passed: {passed}, said:\n{said}");
        assert!(!passed || said.lines().count() == 1, "{name}: a complaint and a pass:\n{said}");
    }
}
