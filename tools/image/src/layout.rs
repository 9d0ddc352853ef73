//! An OCI image layout: a folder of blobs, each named by its digest, and an index of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The annotation with the tag of an entry.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// A manifest of an image or an artifact.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A list of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A layout under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tag of an index entry, if it has one.
#[must_use]
pub fn tag_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

/// A descriptor with annotations.
pub(crate) fn annotated(mut descriptor: Value, annotations: Value) -> Value {
    if let Value::Object(members) = &mut descriptor {
        members.insert("annotations".to_owned(), annotations);
    }
    descriptor
}

impl Layout {
    /// Adds a blob; returns its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = sha256(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }

    /// Adds a document as a blob; returns its descriptor. Members are sorted by name, so that the encoding is unique.
    pub fn document(&mut self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().into_bytes())
    }

    /// Lists a manifest under a tag.
    pub fn list(&mut self, descriptor: &Value, tag: &str) {
        self.manifests.push(annotated(descriptor.clone(), json!({REF_NAME: tag})));
    }

    /// The listed manifests, in order: tag and digest.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.manifests.iter().filter_map(|entry| Some((tag_of(entry)?, entry.get("digest")?.as_str()?)))
    }

    /// Writes the layout into a new folder.
    ///
    /// # Errors
    /// If a file cannot be written; the error has its path and the system's message.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let put = |file: &str, bytes: &[u8]| {
            let file = folder.join(file);
            fs::write(&file, bytes).map_err(|error| format!("cannot write {}: {error}", file.display()))
        };
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| format!("cannot make {}: {error}", blobs.display()))?;
        for (digest, bytes) in &self.blobs {
            put(&format!("blobs/sha256/{digest}"), bytes)?;
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests});
        put("index.json", index.to_string().as_bytes())?;
        // Written last: without this file the folder is not a layout, so an interrupted write is not taken for a
        // complete layout.
        put("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())
    }
}
