//! Tests docs/compatibility.md, which lists the Envoy versions of `make test-hosts`, and envoy/proxies/README.md,
//! which lists the proxies.

use policy::config::{Release, compile};
use serde_json::Value;

fn read(file: &str) -> String {
    let path = harness::envoy::root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn variable(name: &str) -> String {
    let makefile = read("Makefile");
    let mut values = makefile.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" := "));
    values.next().unwrap_or_else(|| panic!("the Makefile has no {name}")).to_owned()
}

#[test]
fn the_table_of_envoys_matches_make_test_hosts() {
    let page = read("docs/compatibility.md");
    let (_, table) = page.split_once("| Envoy |").expect("a table of Envoys");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect();
    let listed: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(listed.join(" "), variable("ENVOY_HOSTS"));
    assert_eq!(listed.last().copied(), Some(variable("ENVOY_VERSION").as_str()));
    assert!(rows.iter().all(|row| row[1..] == ["pass"; 4]), "only versions that pass are supported: {rows:?}");

    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    assert!(listed.is_sorted_by_key(|version| number(version)), "the oldest version comes first: {listed:?}");
}

#[test]
fn the_table_of_gateways_matches_make_test_gateways() {
    let page = read("docs/compatibility.md");
    let (_, table) = page.split_once("| Gateway |").expect("a table of Gateways");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    let listed: Vec<&str> = rows.map(|row| row.split(" | ").next().unwrap()).collect();
    assert_eq!(listed.join(" "), variable("GATEWAY_RELEASES"));
    let newest = Release::NEWEST.to_string();
    assert_eq!(listed.last().copied(), Some(newest.as_str()));
    assert_eq!(variable("GATEWAY_VERSION"), newest);
    let package: Value = serde_json::from_str(&read("tests/gateway/package.json")).unwrap();
    assert_eq!(package["dependencies"]["openclaw"], newest);
    let digests = read("tests/gateway/packages.integrity");
    for release in listed.iter().filter(|release| **release != newest) {
        assert!(digests.contains(&format!("openclaw@{release} sha512-")), "no digest of {release}");
    }
}

#[test]
fn every_proxy_has_its_row_and_a_policy_that_says_what_its_gateway_does() {
    let page = read("envoy/proxies/README.md");
    let folder = harness::envoy::root().join("envoy/proxies");
    let mut proxies = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        let parsed = |file: &str| -> (String, Value) {
            let text = read(&format!("envoy/proxies/{name}/{file}"));
            let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
            (text, value)
        };
        let ((text, ours), (_, gateways)) = (parsed("policy.json"), parsed("openclaw.json"));
        compile(text.as_bytes()).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        // The Gateway reads a header that only the filter writes; the policy has the proxy's.
        let mut pasted = ours["gateway"].clone();
        if let Some(upstream) = ours["filter"].get("upstreamUserHeader") {
            pasted["auth"]["trustedProxy"]["userHeader"] = upstream.clone();
        }
        for part in ["trustedProxies", "auth", "controlUi"] {
            assert_eq!(pasted[part], gateways["gateway"][part], "{name}: {part} differs");
        }
        assert_eq!(pasted["auth"]["trustedProxy"]["userHeader"], "x-openclaw-user", "{name}");
        assert_eq!(ours["filter"]["crossSite"], "refuse", "{name}");
        let row = page.lines().find(|line| line.starts_with(&format!("| [{name}]({name}) |")));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        let header = ours["gateway"]["auth"]["trustedProxy"]["userHeader"].as_str().unwrap();
        let is_edge = ours["filter"]["edge"] == true;
        assert!(is_edge || row.contains(&format!("`{header}`")), "the row of {name} does not name {header}");
        proxies += 1;
    }
    assert!(proxies >= 8, "only {proxies} proxies");
}
