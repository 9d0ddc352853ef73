//! Real control planes: a Kubernetes API server that takes the manifests in `envoy/`, istiod with its agents, and
//! Envoy Gateway. Only the kubelet and Kubernetes' own controllers do not run: the tests create what they would.
//! `make test-cluster` builds and installs what this needs.

mod driver;
mod envoy_gateway;
mod istio;
mod manifests;
mod observability;
mod pages;
mod placements;
mod plugin_order;
