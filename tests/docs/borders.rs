//! The borders of the code: which crate may depend on what, where `unsafe` is, and that no two files import each
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::envoy::root;
use harness::source::rust_files;

/// The crates that are released, by the folder of their sources.
const SHIPPED: [&str; 4] = ["policy/src", "src", "cli/src", "component/src"];

/// A file's code without its unit tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\n#[allow").next().unwrap().split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn unsafe_code_stays_in_one_file() {
    let unsafe_code = |file: &PathBuf| {
        let code = fs::read_to_string(file).unwrap();
        code.lines().any(|line| ["unsafe {", "unsafe extern", "unsafe fn"].iter().any(|word| line.contains(word)))
    };
    let files: Vec<_> = SHIPPED.iter().flat_map(|folder| rust_files(folder)).collect();
    assert!(files.len() > 60, "only {} files were found", files.len());
    let with_unsafe: Vec<_> = files.iter().filter(|file| unsafe_code(file)).collect();
    assert_eq!(with_unsafe, [&root().join("src/host.rs")]);
}

#[test]
fn only_one_file_of_the_filter_may_contain_unsafe_code() {
    let forbids = |file: &Path| fs::read_to_string(file).unwrap().contains("#![forbid(unsafe_code)]");
    let without: Vec<_> = rust_files("src").into_iter().filter(|file| !forbids(file)).collect();
    assert_eq!(
        without.into_iter().collect::<BTreeSet<_>>(),
        ["src/host.rs", "src/lib.rs"].map(|file| root().join(file)).into()
    );
    for crate_root in ["policy/src/lib.rs", "cli/src/main.rs"] {
        assert!(forbids(&root().join(crate_root)), "{crate_root}");
    }
}

/// The names of all packages that are needed to build and test a package.
fn packages(package: &str, edges: &str) -> BTreeSet<String> {
    let tree = Command::new("cargo")
        .args(["tree", "--locked", "--offline", "--package", package, "--edges", edges, "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_policy_knows_no_host_and_its_tests_need_no_webassembly_runtime() {
    let needed = packages("openclaw-trusted-proxy-policy", "all");
    assert!(needed.contains("serde_json") && needed.len() < 40, "{needed:?}");
    for foreign in ["proxy-wasm", "wasmtime", "openclaw-trusted-proxy", "openclaw-trusted-proxy-harness"] {
        assert!(!needed.contains(foreign), "the policy needs {foreign}");
    }
    let text = fs::read_to_string(root().join("policy/Cargo.toml")).unwrap();
    assert!(!text.contains("[features]"), "the policy must not have features");
    // Only the filter uses proxy-wasm.
    for package in ["openclaw-trusted-proxy-cli", "openclaw-trusted-proxy-component"] {
        assert!(!packages(package, "normal").contains("proxy-wasm"), "{package}");
    }
}

/// The path of a file's module below its crate: `["config", "keys"]`.
fn module(folder: &Path, file: &Path) -> Vec<String> {
    let path = file.strip_prefix(folder).unwrap().with_extension("");
    let mut names: Vec<_> = path.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
        names.pop();
    }
    names
}

/// The paths that a file imports with `crate::` or `super::`, from the root of its crate; for `{…}`, each branch.
fn named(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let mut rest = &code[at..];
            let mut base = if start == "crate::" { Vec::new() } else { module.to_vec() };
            rest = rest.strip_prefix("crate::").unwrap_or(rest);
            while let Some(above) = rest.strip_prefix("super::") {
                base.pop();
                rest = above;
            }
            let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
            loop {
                let name = word(rest);
                rest = &rest[name.len()..];
                base.extend((!name.is_empty()).then_some(name));
                match rest.strip_prefix("::") {
                    Some(below) => rest = below,
                    None => break,
                }
            }
            match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((branches, _)) => paths
                    .extend(branches.split(',').map(|branch| [base.clone(), vec![word(branch.trim_start())]].concat())),
                None => paths.push(base),
            }
        }
    }
    paths
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = 0;
    for folder in SHIPPED {
        let folder = root().join(folder);
        let files = rust_files(folder.to_str().unwrap());
        let modules: BTreeMap<Vec<String>, &PathBuf> = files.iter().map(|file| (module(&folder, file), file)).collect();
        let mut imports: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = BTreeMap::new();
        for (module, file) in &modules {
            for path in named(&code(file), module) {
                let longest = (0..=path.len()).rev().find_map(|length| modules.get(&path[..length]));
                // The root and a folder's `mod.rs` only re-export names.
                let target = longest.filter(|target| !target.ends_with("lib.rs") && !target.ends_with("main.rs"));
                imports.entry(*file).or_default().extend(target.filter(|target| *target != file));
            }
        }
        // Files that import none of the remaining ones are removed, again and again; those that stay are in a cycle,
        // or import one.
        let mut left: BTreeSet<&PathBuf> = files.iter().collect();
        loop {
            let on_the_ground: Vec<_> = left
                .iter()
                .filter(|file| imports.get(**file).is_none_or(|targets| targets.is_disjoint(&left)))
                .copied()
                .collect();
            if on_the_ground.is_empty() {
                break;
            }
            left.retain(|file| !on_the_ground.contains(file));
        }
        assert!(left.is_empty(), "these files are in an import cycle, or import one that is: {left:#?}");
        found += imports.values().map(BTreeSet::len).sum::<usize>();
    }
    assert!(found > 150, "only {found} imports were found");
}
