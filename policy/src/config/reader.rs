//! Reads a configuration value by value, and collects what is wrong instead of stopping at it.

use std::fmt;

use super::json::Node;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: a JSON path such as `gateway.trustedProxies[2]`.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.problem, self.remedy)
    }
}

/// Everything that is wrong with a configuration, in the order in which it was found. Prints one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A place in the configuration: the value there, if any, and its path.
#[derive(Debug, Clone)]
pub(super) struct Place<'n> {
    pub(super) path: String,
    pub(super) node: Option<&'n Node>,
}

impl<'n> Place<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self { path: String::new(), node: Some(node) }
    }

    /// The member of an object; absent too where this is absent or no object.
    pub(super) fn member(&self, key: &str) -> Self {
        let node = match self.node {
            Some(Node::Object(members)) => members.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        };
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), node }
    }

    /// The place of a list's item, for an error.
    pub(super) fn item(&self, at: usize) -> Place<'static> {
        Place { path: format!("{}[{at}]", self.path), node: None }
    }

    /// The member of an object whose keys are the operator's own words, written so that dots in it stay apart.
    pub(super) fn entry(&self, key: &str, node: Option<&'n Node>) -> Self {
        Self { path: format!("{}[{key:?}]", self.path), node }
    }

    /// The path, or what the whole is called.
    fn shown(&self) -> &str {
        if self.path.is_empty() { "configuration" } else { &self.path }
    }
}

/// Collects errors while values are read; a value that is wrong reads as absent.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) errors: Vec<ConfigError>,
}

impl Reader {
    pub(super) fn error(&mut self, place: &Place<'_>, problem: impl Into<String>, remedy: impl Into<String>) {
        let (path, problem, remedy) = (place.shown().to_owned(), problem.into(), remedy.into());
        self.errors.push(ConfigError { path, problem, remedy });
    }

    fn wrong_type(&mut self, place: &Place<'_>, node: &Node, wanted: &str) {
        self.error(place, format!("is {}", node.kind()), format!("write {wanted}, or leave the key out"));
    }

    /// Checks that a place is an object, if it is there at all.
    pub(super) fn object(&mut self, place: &Place<'_>) {
        match place.node {
            None | Some(Node::Object(_)) => {}
            Some(node) => self.wrong_type(place, node, "an object"),
        }
    }

    /// Checks that an object has no other keys than these.
    pub(super) fn known_keys(&mut self, place: &Place<'_>, known: &[&str]) {
        self.object(place);
        let Some(Node::Object(members)) = place.node else { return };
        for (key, _) in members {
            if !known.contains(&key.as_str()) {
                let remedy = nearest(key, known).map_or_else(
                    || format!("remove it; known keys are {}", known.join(", ")),
                    |name| format!("did you mean `{name}`?"),
                );
                self.error(&place.member(key), "unknown key", remedy);
            }
        }
    }

    pub(super) fn bool(&mut self, place: &Place<'_>) -> Option<bool> {
        match place.node? {
            Node::Bool(value) => Some(*value),
            node => {
                self.wrong_type(place, node, "true or false, without quotes");
                None
            }
        }
    }

    pub(super) fn string<'n>(&mut self, place: &Place<'n>) -> Option<&'n str> {
        match place.node? {
            Node::String(text) => Some(text),
            node => {
                self.wrong_type(place, node, "a string");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, place: &Place<'_>, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(place)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.error(place, format!("is {text:?}"), format!("write {}", words.join(" or ")));
        }
        chosen
    }

    /// The items of a list of strings, each with its index; wrong items are left out. `None` where there is no list.
    pub(super) fn strings<'n>(&mut self, place: &Place<'n>) -> Option<Vec<(usize, &'n str)>> {
        let items = match place.node? {
            Node::List(items) => items,
            node => {
                self.wrong_type(place, node, "a list");
                return None;
            }
        };
        let mut strings = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match item {
                Node::String(text) => strings.push((at, text.as_str())),
                other => self.error(&place.item(at), format!("is {}", other.kind()), "write a string"),
            }
        }
        Some(strings)
    }

    /// The members of an object; `None` where there is no object.
    pub(super) fn members<'n>(&mut self, place: &Place<'n>) -> Option<&'n [(String, Node)]> {
        match place.node? {
            Node::Object(members) => Some(members),
            node => {
                self.wrong_type(place, node, "an object");
                None
            }
        }
    }
}

/// The known key that was meant, if one is near: the same but for case, or a third of its letters away at most.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_ascii_lowercase();
    let distance = |name: &str| strsim::osa_distance(&key, &name.to_ascii_lowercase());
    let nearest = known.iter().map(|name| (distance(name), *name)).min_by_key(|(distance, _)| *distance)?;
    Some(nearest).filter(|(distance, name)| distance.saturating_mul(3) <= name.len()).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_nearly_known_is_taken_for_a_slip() {
        let known = ["userHeader", "requiredHeaders", "allowUsers", "as", "mode"];
        for (key, expected) in [
            ("userheader", Some("userHeader")),
            ("userHeaders", Some("userHeader")),
            ("allowedUsers", Some("allowUsers")),
            ("requierdHeaders", Some("requiredHeaders")),
            ("AS", Some("as")),
            ("at", None),
            ("mod", Some("mode")),
            ("timeout", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known), expected, "{key}");
        }
        assert_eq!(nearest("mode", &[]), None);
    }
}
