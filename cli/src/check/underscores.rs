//! Headers with an underscore, which Envoy lets through only if it is told to.

use super::finding::{Finding, Level};
use crate::input::Configuration;
use crate::underscores::of;

/// The id of this check.
pub const ID: &str = "check.header_with_underscores";

/// Adds a finding for each header that a policy reads: what Envoy does with it is not known here.
pub fn add(configuration: &Configuration, findings: &mut Vec<Finding>) {
    for (path, header) in of(&configuration.plugin) {
        findings.push(Finding::new(
            configuration,
            ID,
            Level::Info,
            &path,
            format!("{header} has an underscore: Envoy must be told to let such headers through"),
            "set headers_with_underscores_action: ALLOW, as `render` writes it: the filter still removes other spellings",
        ));
    }
}
