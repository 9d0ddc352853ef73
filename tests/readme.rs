//! What README.md promises in tables and examples is what the code has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use openclaw_trusted_proxy::config::compile;
use openclaw_trusted_proxy::policy::refusal::Reason;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// The first cells of the table under a heading, as text.
fn first_cells(heading: &str) -> Vec<String> {
    let readme = readme();
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let section = rest.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|row| row.split(" | ").next())
        .map(str::to_owned)
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_reason_has_its_cause_and_fix() {
    let cells = first_cells("Reasons").concat();
    let mut listed: Vec<_> = quoted(&cells).into_iter().map(|code| code.trim_end_matches("_<name>")).collect();
    let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    listed.sort_unstable();
    codes.sort_unstable();
    assert_eq!(listed, codes);
}

#[test]
fn every_key_of_the_filter_is_in_the_table() {
    let cells = first_cells("Configuration").concat();
    let listed = quoted(&cells);
    // The error for an unknown key lists the known ones.
    let error = compile(br#"{"gateway": {}, "filter": {"x": 1, "scopes": {"y": 1}}}"#).unwrap_err().to_string();
    let mut seen = 0;
    for (path, prefix) in [("filter.x: ", ""), ("filter.scopes.y: ", "scopes.")] {
        let line = error.lines().find(|line| line.starts_with(path)).unwrap();
        let (_, known) = line.split_once("known keys are ").unwrap();
        for key in known.split(", ").filter(|key| *key != "scopes") {
            let key = format!("{prefix}{key}");
            assert!(listed.contains(&key.as_str()) || key == "filter", "`{key}` is not in README.md");
            seen += 1;
        }
    }
    assert_eq!(seen, listed.len() - 1, "README.md has a key that the filter has not");
}

#[test]
fn every_policy_shown_compiles() {
    let readme = readme();
    let blocks: Vec<_> = readme.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        compile(block.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\nin {block}"));
    }
    let example = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/envoy/policy.json")).unwrap();
    compile(&example).unwrap();
}

#[test]
fn unsafe_code_stays_in_one_file() {
    fn rust_files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    rust_files(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref(), &mut files);
    let with_unsafe: Vec<_> = files
        .iter()
        .filter(|file| {
            let code = std::fs::read_to_string(file).unwrap();
            code.lines()
                .any(|line| line.contains("unsafe {") || line.contains("unsafe extern") || line.contains("unsafe fn"))
        })
        .collect();
    assert!(files.len() > 10);
    assert_eq!(with_unsafe.len(), 1, "{with_unsafe:?}");
    assert!(with_unsafe[0].ends_with("filter/host.rs"));
}
