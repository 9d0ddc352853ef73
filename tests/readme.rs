//! What README.md promises in examples is what the code has; its tables are made from it (`schema.rs`, `book.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use harness::document::{blocks, page};
use harness::source::rust_files;
use openclaw_trusted_proxy::config::compile;

#[test]
fn every_policy_shown_compiles() {
    let shown = blocks(&page("README.md"), "json");
    assert!(!shown.is_empty());
    for block in shown {
        compile(block.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\nin {block}"));
    }
    compile(page("envoy/policy.json").as_bytes()).unwrap();
}

#[test]
fn unsafe_code_stays_in_one_file() {
    let files = rust_files("src");
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
