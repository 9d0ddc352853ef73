//! Kubernetes manifests, read, and held against the schemas of their kinds in `tests/data/crds`.

use std::fs;

use serde_json::{Map, Value};

use crate::envoy::root;

/// The documents of a YAML file, by its path from the root of the repository.
///
/// # Panics
/// If it cannot be read.
pub fn read(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    parse(&text).unwrap_or_else(|error| panic!("{path} is no YAML: {error}"))
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

/// Schemas by API version and kind.
pub struct Schemas(Map<String, Value>);

impl Schemas {
    /// All that are kept in `tests/data/crds`.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn load() -> Self {
        let mut all = Map::new();
        for file in ["istio.json", "envoy-gateway.json"] {
            let file = root().join("tests/data/crds").join(file);
            let text =
                fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
            let schemas: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
            all.extend(schemas);
        }
        Self(all)
    }

    /// What is wrong with a document: each as a path and what the schema says.
    pub fn problems(&self, document: &Value) -> Vec<String> {
        let text = |key: &str| document[key].as_str().unwrap_or_default();
        let name = format!("{}/{}", text("apiVersion"), text("kind"));
        let Some(schema) = self.0.get(&name) else { return vec![format!("no schema for {name}")] };
        let validator =
            jsonschema::validator_for(schema).unwrap_or_else(|error| panic!("the schema of {name}: {error}"));
        validator.iter_errors(document).map(|error| format!("{name}{}: {error}", error.instance_path())).collect()
    }
}
