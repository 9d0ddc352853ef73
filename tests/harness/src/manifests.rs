//! Reads Kubernetes manifests and validates them against the schemas of their kinds in `tests/data/crds`.

use std::fs;

use serde_json::{Map, Value};

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

/// Values by API version and kind.
type ByKind = Map<String, Value>;

/// Schemas by API version and kind.
pub struct Schemas {
    schemas: ByKind,
    /// Rules in addition to the schemas; a kind need not have any.
    rules: ByKind,
}

impl Schemas {
    /// All schemas in `tests/data/crds`.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn load() -> Self {
        let all = |files: &[&str]| files.iter().flat_map(|file| by_kind(file)).collect();
        Self {
            schemas: all(&["istio.json", "envoy-gateway.json", "kubernetes.json"]),
            rules: all(&["istio.rules.json", "envoy-gateway.rules.json"]),
        }
    }

    /// The API version and kind of each schema.
    pub fn kinds(&self) -> impl Iterator<Item = (String, String)> {
        let split = |name: &String| name.rsplit_once('/').map(|(version, kind)| (version.to_owned(), kind.to_owned()));
        self.schemas.keys().filter_map(split)
    }

    /// The problems of a document, each with its path and the schema's message.
    pub fn problems(&self, document: &Value) -> Vec<String> {
        let text = |key: &str| document[key].as_str().unwrap_or_default();
        let name = format!("{}/{}", text("apiVersion"), text("kind"));
        let Some(schema) = self.schemas.get(&name) else { return vec![format!("no schema for {name}")] };
        let held = [Some(schema), self.rules.get(&name)].into_iter().flatten().flat_map(|schema| {
            let validator =
                jsonschema::validator_for(schema).unwrap_or_else(|error| panic!("the schema of {name}: {error}"));
            let errors = validator.iter_errors(document);
            errors.map(|error| format!("{name}{}: {error}", error.instance_path())).collect::<Vec<_>>()
        });
        held.collect()
    }
}

fn by_kind(file: &str) -> ByKind {
    let file = root().join("tests/data/crds").join(file);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
