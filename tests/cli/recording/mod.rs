//! Runs what `render` prints on a real Envoy, and has `replay` judge the log that this Envoy writes.

mod around;
mod render;
mod replay;
pub mod site;
