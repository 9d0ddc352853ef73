//! Independent checks of the manifests in `envoy/`: a real kubectl runs what the pages show, and the packages behind
//! the schemas in `tests/data/crds` still contain the same. `make test-manifests` installs what this needs.

mod kubectl;
mod packages;
