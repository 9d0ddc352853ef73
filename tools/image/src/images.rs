//! The contents of the images.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};
use wasmparser::{Parser, Payload};

use crate::layout::{Layout, MANIFEST, annotated, sha256};

/// The module unchanged, in an image of the form "oci".
pub const MODULE_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
/// The runtime that the module is for, in an image of the form "oci".
pub const RUNTIME_LAYER: &str = "application/vnd.module.wasm.config.v1+json";
/// The bill of materials.
pub const BILL: &str = "application/vnd.cyclonedx+json";
/// The file in the layer of an image of the form "compat".
pub const MODULE_FILE: &str = "plugin.wasm";
const RUNTIME_FILE: &str = "runtime-config.json";
/// The suffix of a tag of the form "oci".
pub const ARTIFACT_SUFFIX: &str = "-wasm";

/// The parts of a release.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The module to release.
    pub module: &'a [u8],
    /// Its bill of materials, in CycloneDX JSON: it also gives the module's name, version, licence and description.
    pub bill: &'a [u8],
    /// The commit that it was built from, if that is certain.
    pub revision: Option<&'a str>,
}

impl Release<'_> {
    /// Makes the images, each listed under a tag: the version alone for the form "compat", and the version with
    /// [`ARTIFACT_SUFFIX`] for the form "oci".
    ///
    /// # Errors
    /// If the bill does not belong to the module, or if the module is not a filter for Envoy.
    pub fn layout(&self) -> Result<Layout, String> {
        let bill: Value =
            serde_json::from_slice(self.bill).map_err(|error| format!("the bill of materials is not JSON: {error}"))?;
        let text = |part: &str, what: &str| {
            let value = bill.pointer(&format!("/metadata/component/{part}")).and_then(Value::as_str);
            value.map(str::to_owned).ok_or_else(|| format!("the bill of materials does not contain {what}"))
        };
        if text("hashes/0/content", "the module's hash")? != sha256(self.module) {
            return Err("the bill of materials is not that of this module: run `make sbom`".to_owned());
        }
        let version = text("version", "the version")?;
        let mut annotations = Map::new();
        for (name, value) in [
            ("title", text("name", "the name")?),
            ("description", description()?),
            ("licenses", text("licenses/0/expression", "the licence")?),
            ("version", version.clone()),
        ] {
            annotations.insert(format!("org.opencontainers.image.{name}"), value.into());
        }
        if let Some(revision) = self.revision {
            annotations.insert("org.opencontainers.image.revision".to_owned(), revision.into());
        }

        let runtime =
            json!({"type": "envoy_proxy", "abiVersions": [abi_version(self.module)?], "config": {"rootIds": [""]}});
        let mut layout = Layout::default();
        let compat = self.compat(&mut layout, &annotations)?;
        let artifact = self.artifact(&mut layout, &annotations, &runtime);
        layout.list(&compat, &version);
        layout.list(&artifact, &format!("{version}{ARTIFACT_SUFFIX}"));
        for image in [&compat, &artifact] {
            self.refer(&mut layout, &annotations, image);
        }
        Ok(layout)
    }

    /// An ordinary image whose only layer contains the module as a file: every registry and tool accepts it.
    fn compat(&self, layout: &mut Layout, annotations: &Map<String, Value>) -> Result<Value, String> {
        let archive = archive(self.module).map_err(|error| format!("cannot make the layer: {error}"))?;
        let uncompressed = sha256(&archive);
        let compressed = compress(&archive).map_err(|error| format!("cannot compress the layer: {error}"))?;
        let layer = layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", compressed);
        // Docker requires an operating system, so it is `linux`; nothing in the image depends on a processor.
        let config = json!({
            "architecture": "wasm",
            "os": "linux",
            "config": {"Labels": annotations},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{uncompressed}")]},
            "history": [{"created_by": "make image", "comment": MODULE_FILE}],
        });
        let config = layout.document("application/vnd.oci.image.config.v1+json", &config);
        let mut annotations = annotations.clone();
        annotations.insert("module.wasm.image/variant".to_owned(), "compat".into());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": annotations,
        });
        Ok(layout.document(MANIFEST, &manifest))
    }

    /// The module unchanged, and its runtime. Istio requires exactly these two layers.
    fn artifact(&self, layout: &mut Layout, annotations: &Map<String, Value>, runtime: &Value) -> Value {
        let runtime = titled(layout.document(RUNTIME_LAYER, runtime), RUNTIME_FILE);
        let module = titled(layout.blob(MODULE_LAYER, self.module.to_vec()), MODULE_FILE);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": RUNTIME_LAYER,
            "config": empty(layout),
            "layers": [runtime, module],
            "annotations": annotations,
        });
        layout.document(MANIFEST, &manifest)
    }

    /// The bill of materials as an artifact that refers to its image. Registries with the referrers API list it
    /// there; for all others it has the tag that cosign looks for.
    fn refer(&self, layout: &mut Layout, annotations: &Map<String, Value>, image: &Value) {
        let name = annotations.get("org.opencontainers.image.title").and_then(Value::as_str).unwrap_or_default();
        let layer = titled(layout.blob(BILL, self.bill.to_vec()), &format!("{name}.cdx.json"));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BILL,
            "config": empty(layout),
            "layers": [layer],
            "subject": image,
            "annotations": annotations,
        });
        let bill = layout.document(MANIFEST, &manifest);
        layout.list(&bill, &bill_tag(image.get("digest").and_then(Value::as_str).unwrap_or_default()));
    }
}

/// A layer with the name of its file.
fn titled(layer: Value, file: &str) -> Value {
    annotated(layer, json!({"org.opencontainers.image.title": file}))
}

/// The tag of the bill of the image with this digest.
#[must_use]
pub fn bill_tag(digest: &str) -> String {
    format!("{}.sbom", digest.replace(':', "-"))
}

/// The description in the filter's own manifest.
fn description() -> Result<String, String> {
    let manifest = include_str!("../../../Cargo.toml");
    let value = manifest.lines().find_map(|line| line.strip_prefix("description = \"")?.strip_suffix('"'));
    value.map(str::to_owned).ok_or_else(|| "Cargo.toml has no description on a line of its own".to_owned())
}

/// The descriptor of the empty blob.
fn empty(layout: &mut Layout) -> Value {
    layout.blob("application/vnd.oci.empty.v1+json", b"{}".to_vec())
}

/// The ABI version of proxy-wasm that the module declares.
fn abi_version(module: &[u8]) -> Result<String, String> {
    const PREFIX: &str = "proxy_abi_version_";
    let problem = |error| format!("the module is not a WebAssembly module: {error}");
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(exports) = payload.map_err(problem)? {
            for export in exports {
                if let Some(version) = export.map_err(problem)?.name.strip_prefix(PREFIX) {
                    return Ok(format!("v{}", version.replace('_', ".")));
                }
            }
        }
    }
    Err(format!("the module does not export {PREFIX}…, so it is not a filter for Envoy"))
}

/// A tar archive with the module at its root: owned by root, readable by everyone, with a modification time of 0.
fn archive(module: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(module.len()).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, MODULE_FILE, module)?;
    archive.into_inner()
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
