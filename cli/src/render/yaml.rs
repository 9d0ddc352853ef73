//! JSON as readable YAML: objects in block style, everything else on one line.

use serde_json::{Map, Value};

use crate::output::plain_yaml;

/// A text as a quoted YAML string. JSON strings are valid YAML strings, except for some characters that are escaped.
pub fn quoted(text: &str) -> String {
    one_line(&Value::from(text))
}

fn one_line(value: &Value) -> String {
    plain_yaml(&value.to_string()).into_owned()
}

/// A text without quotes if it reads as a text without them.
pub fn word(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    // YAML 1.1 reads these as booleans, in any case.
    let word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word));
    if plain && !word { name.to_owned() } else { quoted(name) }
}

/// The members of an object, one per line. Nested objects are indented below their key.
pub fn block(members: &Map<String, Value>, indent: usize) -> String {
    members.iter().map(|(name, value)| member(name, value, indent)).collect()
}

/// One member of an object.
pub fn member(name: &str, value: &Value, indent: usize) -> String {
    let start = format!("{}{}", " ".repeat(indent), word(name));
    match value {
        Value::Object(inner) if !inner.is_empty() => format!("{start}:\n{}", block(inner, indent.saturating_add(2))),
        value => format!("{start}: {}\n", one_line(value)),
    }
}

/// A text with each line indented.
pub fn indented(text: &str, indent: usize) -> String {
    let space = " ".repeat(indent);
    text.lines().map(|line| format!("{space}{line}\n")).collect()
}
