//! Access to the sources, for tests that inspect them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::envoy::root;

/// All Rust files below a folder of the repository.
///
/// # Panics
/// If it cannot be read.
pub fn rust_files(folder: &str) -> Vec<PathBuf> {
    fn add(folder: &Path, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    add(&root().join(folder), &mut found);
    found
}

/// The names of the tests below these folders, with or without their features.
///
/// # Panics
/// If a file cannot be read.
pub fn tests(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in folders.iter().flat_map(|folder| rust_files(folder)) {
        let code = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for rest in code.split("#[test]").skip(1) {
            let name = rest.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}
