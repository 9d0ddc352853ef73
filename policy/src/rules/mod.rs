//! The rules, one file each, in the order of [`Rule`](crate::rule::Rule).
//!
//! Each file has two functions. `ask` decides. `saw` describes what the rule sees of a request, or why it is skipped,
//! in printable ASCII for people and tools. It decides nothing. `cross_site` and `public_files` are not rules: `origin`
//! asks them.

pub(crate) mod allowed_user;
pub(crate) mod anonymous;
pub(crate) mod assertion;
pub(crate) mod attribution;
pub(crate) mod certificate;
pub(crate) mod cross_site;
pub(crate) mod loopback;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod public_files;
pub(crate) mod repeated;
pub(crate) mod required_headers;
pub(crate) mod required_values;
pub(crate) mod same_host;
pub(crate) mod trusted_proxy;
pub(crate) mod user;
