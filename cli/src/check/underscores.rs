//! Headers with an underscore, which Envoy lets through only if it is told to.

use super::finding::{Finding, Level};
use crate::input::Configuration;
use crate::json5::{Node, Value};
use crate::underscores::MOST;

/// The id of this check.
pub const ID: &str = "check.header_with_underscores";

/// Adds a finding for each header that a policy reads: what Envoy does with it is not known here.
pub fn add(configuration: &Configuration, findings: &mut Vec<Finding>) {
    let at = |path: &[&str]| configuration.at(path);
    let text = |path: &[&str]| at(path).and_then(Node::text).map(|text| (path.join("."), text.to_owned()));
    let trusted = |key| ["gateway", "auth", "trustedProxy", key];
    let mut read: Vec<_> = text(&trusted("userHeader")).into_iter().collect();
    if let Some(Value::List(items)) = at(&trusted("requiredHeaders")).map(|node| &node.value) {
        let path = trusted("requiredHeaders").join(".");
        read.extend(
            items.iter().enumerate().filter_map(|(at, item)| Some((format!("{path}[{at}]"), item.text()?.to_owned()))),
        );
    }
    read.extend(text(&["filter", "scopes", "groupsHeader"]));
    for (path, header) in read.into_iter().filter(|(_, header)| header.contains('_')).take(MOST) {
        findings.push(Finding::new(
            configuration,
            ID,
            Level::Info,
            &path,
            format!("{} has an underscore: Envoy must be told to let such headers through", header.trim()),
            "set headers_with_underscores_action: ALLOW, as `render` writes it: the filter still removes other spellings",
        ));
    }
}
