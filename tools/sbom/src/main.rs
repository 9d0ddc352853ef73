//! Writes a CycloneDX bill of materials of the module: `sbom MODULE FILE`.
//!
//! It lists what is linked: only the normal dependencies of the filter, for the module's target. Nothing in the file
//! depends on the machine or the time, so the same sources give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PACKAGE: &str = "openclaw-trusted-proxy";
const TARGET: &str = "wasm32-wasip1";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [module, file] = &*arguments else {
        eprintln!("usage: sbom MODULE FILE");
        return ExitCode::from(2);
    };
    match write(Path::new(module), Path::new(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("sbom: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn write(module: &Path, file: &Path) -> Result<(), String> {
    let module = std::fs::read(module).map_err(|error| format!("cannot read {}: {error}", module.display()))?;
    let tree = tree()?;
    let lock = std::fs::read_to_string("Cargo.lock").map_err(|error| format!("cannot read Cargo.lock: {error}"))?;
    let bill = bill(&module, &tree, &checksums(&lock), &Rustc::ask()?)?;
    let text = serde_json::to_string_pretty(&bill).map_err(|error| error.to_string())?;
    std::fs::write(file, text + "\n").map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// One package of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    /// A package of this repository: no registry contains it, and the module's own hash covers it.
    is_own: bool,
    licence: String,
    repository: String,
    dependencies: BTreeSet<Id>,
}

/// Name and version.
type Id = (String, String);

/// The filter and what it links, as cargo resolves it for this package and target only: `cargo metadata` would
/// include features that other members of the workspace enable.
fn tree() -> Result<(Id, BTreeMap<Id, Package>), String> {
    let text = output(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["tree", "--locked", "--package", PACKAGE, "--target", TARGET, "--edges", "normal,no-proc-macro"])
            .args(["--no-dedupe", "--prefix", "depth", "--format", "\t{p}\t{l}\t{r}"]),
    )?;
    read_tree(&text)
}

/// Reads lines of depth, `name vVERSION …`, licence and repository.
fn read_tree(text: &str) -> Result<(Id, BTreeMap<Id, Package>), String> {
    let mut packages: BTreeMap<Id, Package> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in text.lines() {
        let wrong = || format!("cannot read this line of cargo tree: {line}");
        let [depth, package, licence, repository] = *line.split('\t').collect::<Vec<_>>() else { return Err(wrong()) };
        let depth: usize = depth.parse().map_err(|_| wrong())?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next().and_then(|word| word.strip_prefix('v'))) else {
            return Err(wrong());
        };
        let id = (name.to_owned(), version.to_owned());
        above.truncate(depth);
        if let Some(parent) = above.last().and_then(|parent| packages.get_mut(parent)) {
            parent.dependencies.insert(id.clone());
        }
        above.push(id.clone());
        packages.entry(id).or_insert_with(|| Package {
            // cargo prints the path of such a package; the bill does not contain it.
            is_own: words.next().is_some_and(|place| place.starts_with('(')),
            // Old manifests use a slash where SPDX uses a word.
            licence: licence.replace('/', " OR "),
            repository: repository.to_owned(),
            dependencies: BTreeSet::new(),
        });
    }
    Ok((above.into_iter().next().ok_or("cargo tree printed nothing")?, packages))
}

/// The checksums in Cargo.lock, by package.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |block: &str, key: &str| {
        let found = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        found.map(str::to_owned)
    };
    let blocks = lock.split("[[package]]").skip(1);
    let entry = |block| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    blocks.filter_map(entry).collect()
}

/// The compiler, whose standard library is linked too.
struct Rustc {
    release: String,
    commit: String,
}

impl Rustc {
    fn ask() -> Result<Self, String> {
        let text = output(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
        let value = |key| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        let (release, commit) = (value("release: "), value("commit-hash: "));
        let missing = || "rustc -vV does not print a release or commit".to_owned();
        Ok(Self { release: release.ok_or_else(missing)?, commit: commit.ok_or_else(missing)? })
    }
}

fn bill(
    module: &[u8],
    (root, packages): &(Id, BTreeMap<Id, Package>),
    checksums: &BTreeMap<Id, String>,
    rustc: &Rustc,
) -> Result<Value, String> {
    let std = format!("pkg:generic/rust-std@{}", rustc.release);
    let purl = |id: &Id| {
        let kind = if packages.get(id).is_some_and(|package| package.is_own) { "generic" } else { "cargo" };
        format!("pkg:{kind}/{}@{}", id.0, id.1)
    };
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (id, package) in packages {
        let below = package.dependencies.iter().map(purl).chain([std.clone()]);
        dependencies.push(json!({ "ref": purl(id), "dependsOn": below.collect::<Vec<_>>() }));
        if id == root {
            continue;
        }
        let hashes = match checksums.get(id) {
            Some(checksum) => json!([{ "alg": "SHA-256", "content": checksum }]),
            None if package.is_own => json!([]),
            None => return Err(format!("Cargo.lock has no checksum for {} {}", id.0, id.1)),
        };
        if package.licence.is_empty() {
            return Err(format!("{} {} does not name a licence", id.0, id.1));
        }
        let known = !package.repository.is_empty();
        components.push(json!({
            "type": "library",
            "bom-ref": purl(id),
            "name": id.0,
            "version": id.1,
            "scope": "required",
            "hashes": hashes,
            "licenses": [{ "expression": package.licence }],
            "purl": purl(id),
            "externalReferences": if known { json!([{ "type": "vcs", "url": package.repository }]) } else { json!([]) },
        }));
    }
    components.push(json!({
        "type": "library",
        "bom-ref": std,
        "name": "rust-std",
        "version": rustc.release,
        "description": format!("Rust's standard library for {TARGET}, with the C library that it brings"),
        "scope": "required",
        "licenses": [{ "expression": "Apache-2.0 OR MIT" }],
        "purl": std,
        "externalReferences": [{ "type": "vcs", "url": "https://github.com/rust-lang/rust" }],
        "properties": [{ "name": "openclaw-trusted-proxy:rustc:commit", "value": rustc.commit }],
    }));
    dependencies.push(json!({ "ref": std, "dependsOn": [] }));
    let own = packages.get(root).ok_or("the filter itself is not in the tree")?;
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{ "phase": "build" }],
            "tools": { "components": [{ "type": "application", "name": "rustc", "version": rustc.release }] },
            "component": {
                "type": "application",
                "bom-ref": purl(root),
                "name": root.0,
                "version": root.1,
                "mime-type": "application/wasm",
                "hashes": [{ "alg": "SHA-256", "content": sha256(module) }],
                "licenses": [{ "expression": own.licence }],
                "purl": purl(root),
            },
            "properties": [{ "name": "cdx:rustc:sbom:target:triple", "value": TARGET }],
        },
        "components": components,
        "dependencies": dependencies,
        "compositions": [{ "aggregate": "complete", "dependencies": [purl(root)] }],
    }))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn output(command: &mut Command) -> Result<String, String> {
    let output =
        command.output().map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    if output.status.success() {
        String::from_utf8(output.stdout).map_err(|error| error.to_string())
    } else {
        Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const TREE: &str = "0\tfilter v0.1.0 (/somewhere)\tApache-2.0\t\n1\ta v1.2.3\tMIT/Apache-2.0\thttps://a\n2\tb v2.0.0\tMIT\t\n1\tb v2.0.0\tMIT\t\n";

    fn made() -> Result<Value, String> {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nsource = \"x\"\nchecksum = \"aa\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"bb\"\n";
        let rustc = Rustc { release: "1.95.0".to_owned(), commit: "cc".to_owned() };
        bill(b"module", &read_tree(TREE)?, &checksums(lock), &rustc)
    }

    #[test]
    fn a_tree_becomes_components_with_checksums_and_edges() {
        let bill = made().unwrap();
        let components = bill["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "rust-std"]);
        assert_eq!(components[0]["hashes"][0]["content"], "aa");
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(components[1]["purl"], "pkg:cargo/b@2.0.0");
        let std = "pkg:generic/rust-std@1.95.0";
        assert_eq!(
            bill["dependencies"],
            json!([
                { "ref": "pkg:cargo/a@1.2.3", "dependsOn": ["pkg:cargo/b@2.0.0", std] },
                { "ref": "pkg:cargo/b@2.0.0", "dependsOn": [std] },
                { "ref": "pkg:generic/filter@0.1.0", "dependsOn": ["pkg:cargo/a@1.2.3", "pkg:cargo/b@2.0.0", std] },
                { "ref": std, "dependsOn": [] },
            ])
        );
    }

    #[test]
    fn a_package_of_this_repository_is_listed_without_a_checksum() {
        let tree = TREE.replace("b v2.0.0", "b v2.0.0 (/somewhere/b)");
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nchecksum = \"aa\"\n";
        let rustc = Rustc { release: "1.95.0".to_owned(), commit: "cc".to_owned() };
        let bill = bill(b"module", &read_tree(&tree).unwrap(), &checksums(lock), &rustc).unwrap();
        let own = &bill["components"][1];
        assert_eq!((&own["purl"], &own["hashes"]), (&json!("pkg:generic/b@2.0.0"), &json!([])));
        assert!(!bill.to_string().contains("/somewhere"));
    }

    #[test]
    fn nothing_of_the_machine_or_the_time_is_in_it() {
        let text = made().unwrap().to_string();
        assert!(!["/somewhere", "timestamp", "serialNumber"].iter().any(|trace| text.contains(trace)), "{text}");
    }

    #[test]
    fn a_package_without_checksum_or_licence_is_an_error() {
        let rustc = Rustc { release: "1".to_owned(), commit: "c".to_owned() };
        let problem = bill(b"", &read_tree(TREE).unwrap(), &BTreeMap::new(), &rustc).unwrap_err();
        assert_eq!(problem, "Cargo.lock has no checksum for a 1.2.3");
        let tree = read_tree(&TREE.replace("MIT/Apache-2.0", "")).unwrap();
        let known = BTreeMap::from([(("a".to_owned(), "1.2.3".to_owned()), "aa".to_owned())]);
        assert_eq!(bill(b"", &tree, &known, &rustc).unwrap_err(), "a 1.2.3 does not name a licence");
    }

    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
