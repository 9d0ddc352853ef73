//! How Istio's agent and Envoy Gateway extract the module from an image before they pass it to Envoy, following their
//! fetchers (istio/istio `pkg/wasm/imagefetcher.go`, envoyproxy/gateway `internal/wasm/imagefetcher.go`): an ordinary
//! image first, otherwise an artifact of two layers.

use std::io::Read as _;
use std::path::Path;

use image::images::{MODULE_FILE, MODULE_LAYER};
use oci_spec::image::{ImageManifest, MediaType};

/// The module that they would load. `blob` returns the bytes for a digest.
pub fn module(manifest: &[u8], blob: impl Fn(&str) -> Vec<u8>) -> Result<Vec<u8>, String> {
    let manifest = ImageManifest::from_reader(manifest).map_err(|error| format!("no manifest: {error}"))?;
    let layers = manifest.layers();
    let last = layers.last().ok_or("the number of layers must be greater than zero")?;
    if *last.media_type() == MediaType::ImageLayerGzip {
        return unpack(&blob(last.digest().as_ref()));
    }
    if layers.len() != 2 {
        return Err(format!("the number of layers must be 2, not {}", layers.len()));
    }
    let wanted = MediaType::Other(MODULE_LAYER.to_owned());
    let layer = layers.iter().find(|layer| *layer.media_type() == wanted).ok_or("no layer with the module")?;
    Ok(blob(layer.digest().as_ref()))
}

fn unpack(layer: &[u8]) -> Result<Vec<u8>, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer));
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = entry.path().map_err(|error| error.to_string())?.into_owned();
        if path.file_name() == Path::new(MODULE_FILE).file_name() {
            let mut module = Vec::new();
            entry.read_to_end(&mut module).map_err(|error| error.to_string())?;
            return Ok(module);
        }
    }
    Err(format!("{MODULE_FILE} is not in the layer"))
}
