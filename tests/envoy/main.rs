//! The release module in a real Envoy.

mod assertion;
mod attack;
mod decisions;
mod envoy_gateway;
mod expiry;
mod istio;
mod listeners;
mod login;
mod operators;
mod soak;
mod sockets;
mod spiffe;
mod trap;
mod tunnel;
mod websocket;
