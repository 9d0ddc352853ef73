//! The output of `render`, with a real Gateway.

mod gateway;
#[allow(dead_code, reason = "the tool's tests use the rest")]
#[path = "../../cli/recording/site.rs"]
mod site;
