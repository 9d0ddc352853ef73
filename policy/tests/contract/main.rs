//! The contract, as tables of cases: what each configuration becomes, and what each rule does to a request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate openclaw_trusted_proxy_policy as policy;

mod config;
mod configurations;
mod releases;
mod rules;
mod sockets;
