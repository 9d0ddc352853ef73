//! Istio: the manifests in `envoy/istio` hold against Istio's schemas, and the Envoy configuration that istiod
//! makes of such manifests is rebuilt out of these very files and run: an ingress gateway and the sidecar behind
//! it, with mutual TLS between.

mod istiod;
mod mesh;
mod schemas;
mod traffic;

const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const NICK: &str = "nick@example.com";
