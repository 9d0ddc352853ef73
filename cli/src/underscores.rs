//! The headers that a policy reads and that have an underscore. Envoy lets them through only if it is told to.

use serde_json::Value;

/// The most of them that are named: each needs the same setting.
pub const MOST: usize = 10;

/// The headers of a policy that have an underscore.
pub fn of(config: &Value) -> Vec<String> {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
    let required = config.pointer("/gateway/auth/trustedProxy/requiredHeaders");
    let required = required.and_then(Value::as_array).into_iter().flatten();
    let user = text("/gateway/auth/trustedProxy/userHeader");
    let groups = text("/filter/scopes/groupsHeader");
    let all = user.into_iter().chain(required.filter_map(Value::as_str)).chain(groups);
    all.filter(|header| header.contains('_')).map(|header| header.trim().to_owned()).take(MOST).collect()
}
