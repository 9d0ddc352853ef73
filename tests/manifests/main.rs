//! The manifests in `envoy/` beyond this repository's own word: a real kubectl does what the pages show, and the
//! packages that the schemas in `tests/data/crds` are from still say the same. `make test-manifests` gets what this
//! needs.

mod kubectl;
mod packages;
