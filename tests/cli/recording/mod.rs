//! What `render` prints, run on a real Envoy; and what `replay` says of the log that this Envoy writes.

mod render;
mod replay;
mod site;
