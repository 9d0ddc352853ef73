//! Validates the openclaw.json of every folder in `envoy/proxies/` with the Gateway's own validation.

use std::fs;

use harness::envoy::root;
use harness::gateway::installed;
use harness::oracle::validate_all;
use serde_json::json;

#[test]
fn the_gateway_calls_the_file_of_every_proxy_valid() {
    let folders = fs::read_dir(root().join("envoy/proxies")).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    assert!(folders.len() >= 10, "{folders:?}");
    let read = |name: &std::path::PathBuf| fs::read_to_string(name.join("openclaw.json")).unwrap();
    let mut files: Vec<_> = folders.iter().map(|folder| serde_json::from_str(&read(folder)).unwrap()).collect();
    files.push(json!({"gateway": {"auth": {"mode": "trusted"}}}));
    let (_, mut issues) = validate_all(&installed().0, &files);
    assert!(!issues.pop().unwrap().is_empty(), "the validation can also fail");
    for (folder, issues) in folders.iter().zip(issues) {
        assert!(issues.is_empty(), "{}: {issues:?}", folder.display());
    }
}
