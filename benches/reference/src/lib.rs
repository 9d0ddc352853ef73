//! Filters that decide nothing, for comparison with the real one: see `examples/` and docs/performance.md.
#![forbid(unsafe_code)]
