//! The rules natively: properties, the schema beside the reader, the decision vectors, and what a decision allocates.

mod allocations;
#[path = "../../policy/tests/contract/configurations.rs"]
mod configurations;
mod properties;
mod schema;
mod vectors;
