//! Istio: the manifests in `envoy/istio` are valid for Istio's schemas. The Envoy configuration that istiod generates
//! from such manifests is rebuilt from these files and run: an ingress gateway and the sidecar behind it, with mutual
//! TLS between them.

mod istiod;
mod mesh;
mod schemas;
mod traffic;

const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const NICK: &str = "nick@example.com";
