//! What a refusal looks like: the reply to the client, its page for browsers, and what the operator reads of it.

mod page;
pub mod reply;
pub mod report;
