//! The rules, one file each, in the order of [`Rule`](crate::rule::Rule).
//!
//! Each file has `ask`, which decides, and `saw`, which says to people what the rule sees of a request, or why it asks
//! nothing. `saw` decides nothing: it is printable ASCII for tools.

pub(crate) mod allowed_user;
pub(crate) mod anonymous;
pub(crate) mod assertion;
pub(crate) mod attribution;
pub(crate) mod certificate;
pub(crate) mod loopback;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod repeated;
pub(crate) mod required_headers;
pub(crate) mod same_host;
pub(crate) mod trusted_proxy;
pub(crate) mod user;
