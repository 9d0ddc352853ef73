//! docs/compatibility.md names the Envoys that `make test-hosts` runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

fn read(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn variable(name: &str) -> String {
    let makefile = read("Makefile");
    let mut values = makefile.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" := "));
    values.next().unwrap_or_else(|| panic!("the Makefile has no {name}")).to_owned()
}

#[test]
fn the_table_of_envoys_is_what_make_test_hosts_runs_and_ends_with_the_one_that_all_tests_use() {
    let page = read("docs/compatibility.md");
    let (_, table) = page.split_once("| Envoy |").expect("a table of Envoys");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect();
    let listed: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(listed.join(" "), variable("ENVOY_HOSTS"));
    assert_eq!(listed.last().copied(), Some(variable("ENVOY_VERSION").as_str()));
    assert!(rows.iter().all(|row| row[1..] == ["pass"; 4]), "what does not pass is not supported: {rows:?}");

    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    assert!(listed.is_sorted_by_key(|version| number(version)), "oldest first: {listed:?}");
}
