//! The rules, tested natively: properties, the schema compared with the reader, the decision vectors, and the heap
//! allocations of a decision.

mod allocations;
#[path = "../../policy/tests/contract/configurations.rs"]
mod configurations;
mod properties;
mod rules;
mod schema;
mod vectors;
