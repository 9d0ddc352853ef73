//! A real Gateway behind Istio's sidecar, and pods with their own addresses.

mod capture;
#[allow(dead_code, reason = "the Envoy tests use the rest")]
#[path = "../../envoy/istio/istiod.rs"]
mod istiod;
#[allow(dead_code, reason = "the Envoy tests use the rest")]
#[path = "../../envoy/istio/mesh.rs"]
mod mesh;
mod real;

const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const NICK: &str = "nick@example.com";
