//! Validates the openclaw.json of every folder in `envoy/proxies/` with the Gateway's own check.

use std::fs;

use harness::envoy::root;
use harness::oracle::validate;

#[test]
fn the_gateway_calls_the_file_of_every_proxy_valid() {
    let folders = fs::read_dir(root().join("envoy/proxies")).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    assert!(folders.len() >= 9, "{folders:?}");
    for folder in folders {
        let text = fs::read_to_string(folder.join("openclaw.json")).unwrap();
        validate(&text).unwrap_or_else(|said| panic!("{}: {said}", folder.display()));
    }
    assert!(validate(r#"{"gateway": {"auth": {"mode": "trusted"}}}"#).is_err(), "the check can also fail");
}
