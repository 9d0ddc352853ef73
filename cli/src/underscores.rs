//! The headers that a policy reads and that have an underscore. Envoy lets them through only if it is told to.

use crate::json5::Node;

/// The most of them that are named: each needs the same setting.
const MOST: usize = 10;

/// The headers of a policy that have an underscore, each with its path.
pub fn of(plugin: &Node) -> Vec<(String, &str)> {
    let one = |path: &[&str]| plugin.at(path).text().map(|name| (path.join("."), name));
    let required = ["gateway", "auth", "trustedProxy", "requiredHeaders"];
    let all = plugin.at(&required).items().iter().enumerate();
    let all = all.filter_map(|(at, item)| Some((format!("{}[{at}]", required.join(".")), item.text()?)));
    one(&["gateway", "auth", "trustedProxy", "userHeader"])
        .into_iter()
        .chain(all)
        .chain(one(&["filter", "scopes", "groupsHeader"]))
        .filter(|(_, name)| name.contains('_'))
        .map(|(path, name)| (path, name.trim()))
        .take(MOST)
        .collect()
}
