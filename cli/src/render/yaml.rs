//! JSON as people write it in YAML: objects in blocks, everything else in one line.

use serde_json::{Map, Value};

/// A text as YAML takes it in any place: JSON strings are YAML strings.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn key(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    // YAML 1.1 reads these as booleans, in any case.
    let word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word));
    if plain && !word { name.to_owned() } else { quoted(name) }
}

/// The members of an object, one below the other; those that are objects themselves with their own members below.
pub fn block(members: &Map<String, Value>, indent: usize) -> String {
    members.iter().map(|(name, value)| member(name, value, indent)).collect()
}

/// One member of an object.
pub fn member(name: &str, value: &Value, indent: usize) -> String {
    let start = format!("{}{}", " ".repeat(indent), key(name));
    match value {
        Value::Object(inner) if !inner.is_empty() => format!("{start}:\n{}", block(inner, indent.saturating_add(2))),
        value => format!("{start}: {value}\n"),
    }
}

/// Text, each of its lines indented.
pub fn indented(text: &str, indent: usize) -> String {
    let space = " ".repeat(indent);
    text.lines().map(|line| format!("{space}{line}\n")).collect()
}
