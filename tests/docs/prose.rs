//! Lines of prose, in pages and in comments, are at most 120 columns.

use std::fs;
use std::path::{Path, PathBuf};

use harness::envoy::root;

const COLUMNS: usize = 120;

/// Generated, downloaded and third-party files.
const NOT_OURS: [&str; 9] =
    ["target", "dist", "node_modules", ".git", ".run", ".tools", "artifacts", "corpus", "coverage"];

/// All files of the repository whose names end in one of these.
pub fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn add(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !NOT_OURS.contains(&name.as_str()) {
                add(&path, endings, found);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    add(&root(), endings, &mut found);
    found
}

/// The lines of a page that are prose: not code, and not tables, whose rows cannot be broken.
fn prose(page: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut is_prose = |line: &str| {
        let start = line.trim_start();
        in_code ^= start.starts_with("```");
        !in_code && !start.starts_with("```") && !start.starts_with('|')
    };
    page.lines().enumerate().filter(|(_, line)| is_prose(line)).collect()
}

/// The comment lines of a source, by their prefix. Commands in comments are indented.
fn comments<'a>(source: &'a str, sign: &str) -> Vec<(usize, &'a str)> {
    let is_prose = |line: &str| line.trim_start().strip_prefix(sign).is_some_and(|text| !text.starts_with("  "));
    source.lines().enumerate().filter(|(_, line)| is_prose(line)).collect()
}

/// Whether a line is too long and could be broken. Code between backticks counts as one word.
fn is_too_long(line: &str) -> bool {
    let words = line.split('`').step_by(2).flat_map(str::split_whitespace);
    line.chars().count() > COLUMNS && words.filter(|word| word.len() < COLUMNS / 2).count() > 3
}

#[test]
fn lines_of_prose_are_at_most_120_columns() {
    let mut long = Vec::new();
    let mut seen = 0;
    let mut check = |file: &Path, lines: Vec<(usize, &str)>| {
        seen += lines.len();
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        let too_long = lines.into_iter().filter(|(_, line)| is_too_long(line));
        long.extend(too_long.map(|(at, line)| format!("{place}:{}: {} columns", at + 1, line.chars().count())));
    };
    // Generated evidence is for reference, not for reading.
    for file in files(&[".md"]).into_iter().filter(|file| !file.ends_with("attack/RESULTS.md")) {
        check(&file, prose(&fs::read_to_string(&file).unwrap()));
    }
    for (sign, endings) in [
        ("//", &[".rs", ".mjs", ".js"][..]),
        ("#", &[".toml", ".yaml", ".py", ".mk", "Makefile", ".sh", ".conf", ".cfg", "Caddyfile", "run", "reproduce"]),
    ] {
        for file in files(endings) {
            check(&file, comments(&fs::read_to_string(&file).unwrap(), sign));
        }
    }
    assert!(seen > 5_000, "only {seen} lines were found");
    assert!(long.is_empty(), "{} lines are too long:\n{}", long.len(), long.join("\n"));
}
