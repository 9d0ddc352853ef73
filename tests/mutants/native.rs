//! The filter and its tests that need no host as one program: one call of the compiler a mutant, instead of five.
#![allow(missing_docs, dead_code, unused_extern_crates, unexpected_cfgs)]

extern crate self as openclaw_trusted_proxy;

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/filter/mod.rs"]
pub mod filter;
#[path = "../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../src/request.rs"]
pub mod request;
#[path = "../../src/text.rs"]
mod text;

#[path = "../config.rs"]
mod configurations;
#[path = "../policy.rs"]
mod rules;
