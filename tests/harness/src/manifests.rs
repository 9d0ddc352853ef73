//! Reads Kubernetes manifests.

use std::fs;

use serde_json::Value;

use crate::envoy::root;

/// The documents of a YAML file, by its path from the root of the repository.
///
/// # Panics
/// If it cannot be read.
pub fn read(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    parse(&text).unwrap_or_else(|error| panic!("{path} is not YAML: {error}"))
}

/// The documents of a YAML text.
pub fn parse(text: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| error.to_string())
}

/// The document of a kind.
///
/// # Panics
/// If there is not exactly one.
pub fn of_kind<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    let found: Vec<&Value> = documents.iter().filter(|document| document["kind"] == kind).collect();
    match found.as_slice() {
        [one] => one,
        _ => panic!("{} documents of the kind {kind}, instead of one", found.len()),
    }
}
