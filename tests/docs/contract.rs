//! docs/contract.md: each rule has an anchor, a source, and tests that exist; and the code cites what is there.

use std::collections::BTreeSet;
use std::fs;

use harness::document::{blocks, page};
use harness::envoy::root;
use policy::config::compile;

use crate::prose::files;

/// The rules by number, each with its text up to the next one.
fn rules(page: &str) -> Vec<(&str, &str)> {
    page.split("<a id=\"").skip(1).filter_map(|part| part.split_once("\"></a>")).collect()
}

#[test]
fn every_rule_has_a_source_and_tests_that_exist() {
    let page = page("docs/contract.md");
    let rules = rules(&page);
    let numbers: BTreeSet<_> = rules.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), rules.len(), "a number appears twice");
    assert!(rules.len() > 80, "{} rules", rules.len());
    let mut named = 0;
    for (number, text) in rules {
        let said = number.replace('-', ".");
        assert!(number.starts_with("law-") || text.starts_with(&format!("**{said}**")), "the number of {number}");
        let (_, evidence) = text.split_once("<sub>Source: ").unwrap_or_else(|| panic!("{number} has no source"));
        let (_, held) = evidence.split_once("Held by:").unwrap_or_else(|| panic!("{number} has no test"));
        let held = held.split("</sub>").next().unwrap();
        let mut tests = 0;
        for part in held.split("](../").skip(1) {
            let (file, name) = part.split_once(")`::").unwrap_or_else(|| panic!("{number}: {part}"));
            let name = name.split('`').next().unwrap();
            let source = fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{number}: {file}"));
            assert!(source.contains(&format!("fn {name}(")), "{number}: {file} has no {name}");
            tests += 1;
        }
        assert!(tests > 0, "{number} names no test");
        named += tests;
    }
    assert!(named > 100, "{named} tests");
}

#[test]
fn the_configuration_that_it_shows_compiles() {
    let blocks = blocks(&page("docs/contract.md"), "json");
    let whole: Vec<_> = blocks.iter().filter(|block| block.contains("gateway")).collect();
    assert!(!whole.is_empty());
    for block in whole {
        compile(block.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\nin {block}"));
    }
}

#[test]
fn every_section_that_the_code_cites_is_in_the_contract() {
    let page = page("docs/contract.md");
    let numbers: BTreeSet<_> = rules(&page).into_iter().map(|(number, _)| number.replace('-', ".")).collect();
    let mut cited = 0;
    for file in files(&[".rs", ".md", ".yaml"]) {
        let text = fs::read_to_string(&file).unwrap();
        let part = |rest: &str| -> String {
            rest.chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect::<String>()
                .trim_end_matches('.')
                .into()
        };
        for rest in text.split("contract, section ").chain(text.split("contract, sections ").skip(1)).skip(1) {
            let number = part(rest);
            if number.is_empty() {
                continue;
            }
            let is_there = page.contains(&format!("\n## {number}. ")) || numbers.contains(&number);
            assert!(is_there, "{} cites section {number}", file.display());
            cited += 1;
        }
    }
    assert!(cited > 20, "{cited} citations");
}
