//! The test support: a proxy-wasm host, a real Envoy, an echo upstream, and clients.

#[cfg(feature = "clients")]
pub mod clients;
#[cfg(all(feature = "clients", feature = "manifests"))]
pub mod cluster;
pub mod daemon;
pub mod document;
pub mod echo;
pub mod envoy;
#[cfg(feature = "clients")]
pub mod extended_connect;
pub mod gateway;
#[cfg(feature = "clients")]
pub mod hbone;
#[cfg(feature = "clients")]
pub mod http2;
#[cfg(feature = "clients")]
pub mod jwt;
pub mod kube;
#[cfg(feature = "manifests")]
pub mod manifests;
pub mod merge;
pub mod netns;
#[cfg(feature = "clients")]
pub mod openid;
pub mod oracle;
pub mod parts;
pub mod pki;
pub mod prometheus;
#[cfg(feature = "clients")]
pub mod quic;
pub mod registry;
pub mod source;
pub mod tool;
pub mod vectors;
#[cfg(feature = "wasm-host")]
pub mod wasm;
pub mod wire;

pub use tungstenite;
#[cfg(feature = "clients")]
pub use {bytes, h2, http, rustls, tokio};
