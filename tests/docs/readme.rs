//! README.md is short, and its examples match the code.

use harness::document::{blocks, page};
use policy::config::compile;

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
fn it_is_read_in_five_minutes() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 120, "{lines} lines: reference belongs in docs/");
}
