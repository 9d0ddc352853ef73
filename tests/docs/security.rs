//! SECURITY.md refers to files, tests, codes and targets. All of them must exist.

use harness::document::{makefile, page, quoted};
use harness::envoy::root;
use harness::source::tests;
use policy::sockets::Ended;
use std::collections::BTreeSet;

#[test]
fn every_pointer_of_the_security_document_leads_somewhere() {
    let document = page("SECURITY.md");
    let tests = tests(&["src", "policy", "cli", "tests", "tools"]);
    let codes: BTreeSet<_> = Ended::all().map(|ended| ended.code()).collect();
    let targets = makefile();
    // Files in dist/ do not exist before they are built.
    let is_file = |name: &str| !name.starts_with("dist/") && (name.contains('/') || name.ends_with(".toml"));
    let (mut pointers, mut named_codes) = (0, BTreeSet::new());
    for name in quoted(&document) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
        if let Some(target) = name.strip_prefix("make ") {
            assert!(targets.contains(&format!("\n{target}:")), "`{name}` does not exist");
        } else if name.starts_with("trusted_proxy_") || name.starts_with("proxy_attribution") {
            let code = name.trim_end_matches("_<name>");
            named_codes.insert(*codes.get(code).unwrap_or_else(|| panic!("code `{code}` does not exist")));
        } else if name.bytes().all(plain) && is_file(&name) && !name.starts_with('/') {
            assert!(root().join(&name).exists(), "file `{name}` does not exist");
        } else if name.matches('_').count() > 2
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
        {
            // Names of Envoy's settings are in its configuration here.
            let of_envoy = page("envoy/envoy.yaml").contains(&name);
            assert!(of_envoy || tests.contains(&name), "test `{name}` does not exist");
        } else {
            continue;
        }
        pointers += 1;
    }
    assert!(pointers > 60, "only {pointers} pointers were found");
    // Codes for requests that Envoy did not provide, or for an Envoy without a policy, do not belong to a rule.
    let of_no_rule = BTreeSet::from(["trusted_proxy_no_request", "trusted_proxy_config_missing"]);
    let missing: Vec<_> = codes.difference(&named_codes).filter(|code| !of_no_rule.contains(*code)).collect();
    assert!(missing.is_empty(), "SECURITY.md does not mention {missing:?}");
}

#[test]
fn every_link_of_the_security_document_is_to_a_file() {
    let document = page("SECURITY.md");
    let links: Vec<_> = document.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(root().join(link).exists(), "file {link} does not exist");
    }
}
