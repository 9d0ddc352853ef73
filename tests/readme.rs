//! What README.md promises in examples is what the code has; its tables are made from it (`schema.rs`, `book.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use openclaw_trusted_proxy::config::compile;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
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
