//! Filters that decide nothing, to hold the real one against: see `examples/` and docs/performance.md.
#![forbid(unsafe_code)]
