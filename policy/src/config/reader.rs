//! Reads a configuration value by value, and collects errors instead of stopping at the first one.

use std::fmt;

use super::json::Node;
use crate::text::visible;

/// How many errors are reported. If there are more, the last one says how many: a list of 100,000 bad entries should
/// not fill a disk with log lines.
pub const MOST_ERRORS: usize = 100;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is: a JSON path such as `gateway.trustedProxies[2]`.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key or a value must not break a log line or speak to a terminal.
        f.write_str(&visible(&format!("{}: {}; {}", self.path, self.problem, self.remedy)))
    }
}

/// What is wrong with a configuration, in the order found: everything, or the first [`MOST_ERRORS`] and a count of the
/// others. Displays one line for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    count: usize,
}

impl ConfigErrors {
    /// The errors, and behind the first [`MOST_ERRORS`] one that counts the others.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.errors
    }

    /// How many errors there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A position in the configuration: its path, and the value at it, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'n> {
    pub(super) path: String,
    pub(super) node: Option<&'n Node>,
}

impl<'n> Cursor<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self { path: String::new(), node: Some(node) }
    }

    /// A member of an object. It has no value if this is absent or is not an object.
    ///
    /// A key with characters that are not shown as they are is quoted, so that the path stays one line.
    pub(super) fn member(&self, key: &str) -> Self {
        let node = match self.node {
            Some(Node::Object(members)) => members.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        };
        if !key.escape_debug().eq(key.chars()) {
            return self.entry(key, node);
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), node }
    }

    /// The position of a list's item, for an error. It has no value.
    pub(super) fn item(&self, at: usize) -> Cursor<'static> {
        Cursor { path: format!("{}[{at}]", self.path), node: None }
    }

    /// A member of an object whose keys the operator chooses. The key is quoted, because it may contain dots.
    pub(super) fn entry(&self, key: &str, node: Option<&'n Node>) -> Self {
        Self { path: format!("{}[{key:?}]", self.path), node }
    }

    /// The path, or the name of the whole configuration.
    fn shown(&self) -> &str {
        if self.path.is_empty() { "configuration" } else { &self.path }
    }
}

/// Collects errors while values are read. A value that is wrong reads as absent.
#[derive(Debug, Default)]
pub(super) struct Reader {
    errors: Vec<ConfigError>,
    left_out: usize,
}

impl Reader {
    pub(super) fn error(&mut self, cursor: &Cursor<'_>, problem: impl Into<String>, remedy: impl Into<String>) {
        if self.is_full() {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let (path, problem, remedy) = (cursor.shown().to_owned(), problem.into(), remedy.into());
        self.errors.push(ConfigError { path, problem, remedy });
    }

    /// Whether further errors are only counted.
    const fn is_full(&self) -> bool {
        self.errors.len() >= MOST_ERRORS
    }

    /// Whether there was no error.
    pub(super) const fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    /// All errors, or the first of them and how many more there are.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        let count = self.errors.len().saturating_add(self.left_out);
        if self.left_out > 0 {
            let (path, problem) = ("configuration".to_owned(), format!("has {} more errors", self.left_out));
            self.errors.push(ConfigError { path, problem, remedy: "correct these first".to_owned() });
        }
        ConfigErrors { errors: self.errors, count }
    }

    fn wrong_type(&mut self, cursor: &Cursor<'_>, node: &Node, wanted: &str) {
        self.error(cursor, format!("is {}", node.kind()), format!("write {wanted}, or leave the key out"));
    }

    /// Checks that a value is an object, if it is present.
    pub(super) fn object(&mut self, cursor: &Cursor<'_>) {
        match cursor.node {
            None | Some(Node::Object(_)) => {}
            Some(node) => self.wrong_type(cursor, node, "an object"),
        }
    }

    /// Checks that an object has no other keys than these.
    pub(super) fn known_keys(&mut self, cursor: &Cursor<'_>, known: &[&str]) {
        self.known_keys_or(cursor, known, "remove it");
    }

    /// The same, with what to do about a key that resembles none of them.
    pub(super) fn known_keys_or(&mut self, cursor: &Cursor<'_>, known: &[&str], remedy: &str) {
        self.object(cursor);
        let Some(Node::Object(members)) = cursor.node else { return };
        for (key, _) in members {
            if !known.contains(&key.as_str()) && self.is_full() {
                self.left_out = self.left_out.saturating_add(1);
            } else if !known.contains(&key.as_str()) {
                let remedy = nearest(key, known).map_or_else(
                    || format!("{remedy}; the known keys are `{}`", known.join("`, `")),
                    |name| format!("did you mean `{name}`?"),
                );
                self.error(&cursor.member(key), "unknown key", remedy);
            }
        }
    }

    pub(super) fn bool(&mut self, cursor: &Cursor<'_>) -> Option<bool> {
        match cursor.node? {
            Node::Bool(value) => Some(*value),
            node => {
                self.wrong_type(cursor, node, "true or false, without quotes");
                None
            }
        }
    }

    pub(super) fn string<'n>(&mut self, cursor: &Cursor<'n>) -> Option<&'n str> {
        match cursor.node? {
            Node::String(text) => Some(text),
            node => {
                self.wrong_type(cursor, node, "a string");
                None
            }
        }
    }

    /// The choice that belongs to a word.
    pub(super) fn choice<T: Copy>(&mut self, cursor: &Cursor<'_>, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(cursor)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.error(cursor, format!("is {text:?}"), format!("write {}", words.join(" or ")));
        }
        chosen
    }

    /// The items of a list of strings, each with its index. Wrong items are left out. `None` if there is no list.
    pub(super) fn strings<'n>(&mut self, cursor: &Cursor<'n>) -> Option<Vec<(usize, &'n str)>> {
        let items = match cursor.node? {
            Node::List(items) => items,
            node => {
                self.wrong_type(cursor, node, "a list");
                return None;
            }
        };
        let mut strings = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match item {
                Node::String(text) => strings.push((at, text.as_str())),
                other => self.error(&cursor.item(at), format!("is {}", other.kind()), "write a string"),
            }
        }
        Some(strings)
    }

    /// The members of an object. `None` if there is no object.
    pub(super) fn members<'n>(&mut self, cursor: &Cursor<'n>) -> Option<&'n [(String, Node)]> {
        match cursor.node? {
            Node::Object(members) => Some(members),
            node => {
                self.wrong_type(cursor, node, "an object");
                None
            }
        }
    }
}

/// The known key that was probably meant: the nearest one, if it is near enough. Case is ignored.
///
/// The distance is the number of letters that are added, removed, replaced or swapped with the next one. It may be at
/// most two, or a third of the longer key's length. It must also be less than half of the known key's length, so that a
/// key of two letters is not suggested for every short word. The first of several equally near keys wins.
#[must_use]
pub fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    // Half as long again is too far from every one of them, and a long text would take long.
    let longest = known.iter().map(|name| name.len()).max()?;
    if key.chars().nth(longest.saturating_mul(3).div_ceil(2)).is_some() {
        return None;
    }
    let key = key.to_ascii_lowercase();
    let distance = |name: &str| strsim::osa_distance(&key, &name.to_ascii_lowercase());
    let (distance, name) = known.iter().map(|name| (distance(name), *name)).min_by_key(|(distance, _)| *distance)?;
    let most = key.len().max(name.len()) / 3;
    (distance <= most.max(2) && distance.saturating_mul(2) < name.len()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_nearly_known_is_taken_for_a_typo() {
        let known = ["userHeader", "requiredHeaders", "allowUsers", "as", "mode"];
        for (key, expected) in [
            ("userheader", Some("userHeader")),
            ("userHeaders", Some("userHeader")),
            ("allowedUsers", Some("allowUsers")),
            ("requierdHeaders", Some("requiredHeaders")),
            ("AS", Some("as")),
            ("at", None),
            ("mod", Some("mode")),
            ("mo", None),
            ("USERS", None),
            // Two edits, then a third of the letters, then one more.
            ("userHedaerz", Some("userHeader")),
            ("requirHeadrxys", Some("requiredHeaders")),
            ("requirHeadrxyzs", None),
            ("timeout", None),
            ("", None),
            // Far longer than every key.
            ("userHeaderuserHeaderuserHeaderuserHeader", None),
        ] {
            assert_eq!(nearest(key, &known), expected, "{key}");
        }
        assert_eq!(nearest("mode", &[]), None);
        assert_eq!(nearest("modx", &["mods", "mode"]), Some("mods"), "the first of two that are equally near");
        assert_eq!(nearest("MODE", &["mods", "mode"]), Some("mode"), "one that differs in case only is nearer");
    }

    #[test]
    fn an_unknown_key_is_reported_with_the_one_that_was_meant_or_with_all() {
        let key = |name: &str| (name.to_owned(), Node::Null);
        let node = Node::Object(vec![key("mode"), key("Edge"), key("timeout")]);
        let mut reader = Reader::default();
        reader.known_keys(&Cursor::root(&node), &["mode", "edge"]);
        let lines: Vec<_> = reader.errors.iter().map(ToString::to_string).collect();
        let expected = [
            "Edge: unknown key; did you mean `edge`?",
            "timeout: unknown key; remove it; the known keys are `mode`, `edge`",
        ];
        assert_eq!(lines, expected);
    }
}
