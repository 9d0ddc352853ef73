//! How a refusal is answered: the reply to the client, the page for browsers, and the log line for the operator.

mod page;
pub mod reply;
pub mod report;
