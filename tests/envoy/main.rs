//! The release module in a real Envoy.

mod assertion;
mod attack;
mod decisions;
mod expiry;
mod listeners;
mod login;
mod operators;
mod soak;
mod sockets;
mod spiffe;
mod stamped;
mod trap;
mod tunnel;
mod websocket;
