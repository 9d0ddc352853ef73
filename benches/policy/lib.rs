//! The benchmarks are in policy.rs.
#![forbid(unsafe_code)]
