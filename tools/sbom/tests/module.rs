//! The files in dist belong together, and the bill is correct for the module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

const MODULE: &str = "dist/openclaw-trusted-proxy.wasm";
const BILL: &str = "dist/openclaw-trusted-proxy.cdx.json";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(root().join(file)).unwrap_or_else(|error| panic!("cannot read {file}: {error}; run `make sbom`"))
}

fn bill() -> Value {
    serde_json::from_slice(&read(BILL)).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name and version of every listed component.
fn listed(bill: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = bill["components"].as_array().unwrap();
    let set: BTreeSet<_> = all.iter().map(|one| (text(&one["name"]), text(&one["version"]))).collect();
    assert_eq!(set.len(), all.len(), "a component is listed twice");
    set
}

#[test]
fn the_digest_beside_the_module_and_in_the_bill_is_the_modules() {
    let module = digest(&read(MODULE));
    let beside = String::from_utf8(read(&format!("{MODULE}.sha256"))).unwrap();
    assert_eq!(beside, format!("{module}  openclaw-trusted-proxy.wasm\n"));
    assert_eq!(bill()["metadata"]["component"]["hashes"][0]["content"], *module, "run `make sbom`");
}

#[test]
fn the_bill_lists_what_is_linked_and_nothing_else() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "openclaw-trusted-proxy", "--target", "wasm32-wasip1"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let mut expected = BTreeSet::new();
    for line in String::from_utf8(tree.stdout).unwrap().lines() {
        // Code that runs in the compiler is not in the module.
        if line.contains("(proc-macro)") || line.starts_with("openclaw-trusted-proxy ") {
            continue;
        }
        let (name, version) = line.split_once(" v").unwrap();
        let version = version.split(' ').next().unwrap();
        expected.insert((name.to_owned(), version.to_owned()));
    }
    assert!(expected.len() > 5, "cargo tree lists too few packages: {expected:?}");
    let rustc =
        String::from_utf8(Command::new("rustc").arg("-vV").current_dir(root()).output().unwrap().stdout).unwrap();
    let release = rustc.lines().find_map(|line| line.strip_prefix("release: ")).unwrap();
    expected.insert(("rust-std".to_owned(), release.to_owned()));
    assert_eq!(listed(&bill()), expected, "run `make sbom`");
}

#[test]
fn every_checksum_in_the_bill_is_one_of_the_lock_file() {
    let lock = String::from_utf8(read("Cargo.lock")).unwrap();
    let bill = bill();
    let mut without = Vec::new();
    for component in bill["components"].as_array().unwrap() {
        let (name, version) = (component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
        let Some(checksum) = component["hashes"][0]["content"].as_str() else {
            without.push(name);
            continue;
        };
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let block = lock.split("[[package]]\n").find(|block| block.starts_with(&entry)).unwrap();
        assert!(block.contains(&format!("checksum = \"{checksum}\"")), "{name}");
    }
    assert_eq!(without, ["openclaw-trusted-proxy-policy", "rust-std"], "only these are on no registry");
}

/// Panics contain the path of their source file, which shows the crates inside the module.
#[test]
fn every_crate_that_left_a_trace_in_the_module_is_in_the_bill() {
    let module = read(MODULE);
    let text = String::from_utf8_lossy(&module);
    let listed: BTreeSet<_> = listed(&bill()).into_iter().map(|(name, version)| format!("{name}-{version}")).collect();
    let sources = text.split("/cargo/registry/src/").skip(1);
    let traces: BTreeSet<_> = sources.filter_map(|rest| rest.split('/').nth(1)).collect();
    for trace in &traces {
        assert!(listed.contains(*trace), "{trace} is in the module but not in the bill");
    }
}

#[test]
fn no_path_of_this_machine_is_in_the_module() {
    let module = read(MODULE);
    let text = String::from_utf8_lossy(&module);
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()).output().unwrap();
    let mut paths = vec![root().display().to_string(), String::from_utf8(sysroot.stdout).unwrap().trim().to_owned()];
    paths.extend(["HOME", "CARGO_HOME", "CARGO_TARGET_DIR"].iter().filter_map(|name| std::env::var(name).ok()));
    for path in paths.iter().filter(|path| path.len() > 1) {
        assert!(!text.contains(&format!("{}/", path.trim_end_matches('/'))), "{path} is in the module");
    }
}
