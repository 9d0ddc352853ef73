//! What `render` prints, with a real Gateway.

mod gateway;
#[allow(dead_code, reason = "the tests of the tool use the rest")]
#[path = "../../cli/recording/site.rs"]
mod site;
