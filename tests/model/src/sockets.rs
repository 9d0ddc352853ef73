//! How long open sockets may stay (contract, section 11).

use serde_json::Value;

/// What a configuration says of open sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are decided again after a change of policy.
    pub recheck: bool,
    /// The most seconds that one may be open; 0 if there is no limit.
    pub max_age: u64,
    /// Whether they end with the verified identity.
    pub until_assertion: bool,
}

/// Reads the settings of a valid configuration.
pub fn settings(config: &Value) -> Settings {
    let filter = &config["filter"];
    let age = filter["socketMaxAge"].as_str().unwrap_or("0s");
    let seconds_of = |unit| match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        _ => 24 * 60 * 60,
    };
    let number: u64 = age.trim_end_matches(char::is_alphabetic).parse().expect("a valid configuration has a number");
    let max_age = number * age.chars().last().map_or(0, seconds_of);
    Settings { recheck: filter["openSockets"] != "keep", max_age, until_assertion: filter["socketsUntil"].is_string() }
}
