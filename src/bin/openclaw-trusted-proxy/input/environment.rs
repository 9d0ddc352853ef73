//! The variables that the Gateway sees, as far as they can be known from here, and `${NAME}` in its configuration.

use std::path::{Path, PathBuf};

use super::{name_of, read_text};
use crate::json5::{Node, Value};
use crate::output::Failure;

const OWN: &str = "the environment";
const BLOCK: &str = "the env block";

/// Variables, each with where it was set. Values are never shown.
#[derive(Debug, Default)]
pub struct Environment {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: String,
    variables: Vec<(String, String)>,
}

impl Environment {
    /// This process' own variables, and over them nothing: files only add what is missing.
    pub(super) fn read(files: &[PathBuf], ignore_own: bool) -> Result<Self, Failure> {
        let own =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut sources = Vec::new();
        if !ignore_own {
            sources.push(Source { name: OWN.to_owned(), variables: own.collect() });
        }
        for file in files {
            sources.push(Source { name: name_of(file), variables: parse(&read_text(file)?) });
        }
        Ok(Self { sources })
    }

    /// What the Gateway reads besides: the `.env` beside its configuration, and the `env` block in it.
    pub(super) fn add_of_openclaw(&mut self, path: &Path, document: &Node) -> Result<(), Failure> {
        let beside = path.with_file_name(".env");
        if path.as_os_str() != "-"
            && beside.is_file()
            && !self.sources.iter().any(|source| source.name == name_of(&beside))
        {
            self.sources.push(Source { name: name_of(&beside), variables: parse(&read_text(&beside)?) });
        }
        let vars = document.member("env").and_then(|env| env.member("vars"));
        let text = |member: &crate::json5::Member| Some((member.key.clone(), member.node.text()?.to_owned()));
        // Literal values only: the Gateway substitutes nothing here.
        let variables = vars.into_iter().flat_map(Node::members).filter_map(text);
        let variables = variables.filter(|(_, value)| !has_reference(value)).collect();
        self.sources.push(Source { name: BLOCK.to_owned(), variables });
        Ok(())
    }

    /// A variable that is set and not empty, and where.
    pub fn get(&self, name: &str) -> Option<(&str, &str)> {
        self.sources.iter().find_map(|source| {
            let (_, value) = source.variables.iter().find(|(other, value)| other == name && !value.is_empty())?;
            Some((value.as_str(), source.name.as_str()))
        })
    }

    /// The files among what was looked at.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.sources().filter(|name| ![OWN, BLOCK].contains(name))
    }

    /// What was looked at.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.name.as_str())
    }

    /// Puts values in for `${NAME}` in every text; `$${NAME}` becomes `${NAME}`. Notes what nothing sets, and leaves it.
    pub(super) fn substitute(&self, node: &mut Node, unresolved: &mut Vec<(String, String)>) {
        self.substitute_below(node, "", unresolved);
    }

    fn substitute_below(&self, node: &mut Node, path: &str, unresolved: &mut Vec<(String, String)>) {
        match &mut node.value {
            Value::String(text) if text.contains("${") => {
                *text = self.substituted(text, |name| unresolved.push((path.to_owned(), name.to_owned())));
            }
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.substitute_below(item, &format!("{path}[{at}]"), unresolved);
                }
            }
            Value::Object(members) => {
                let dot = if path.is_empty() { "" } else { "." };
                for member in members {
                    self.substitute_below(&mut member.node, &format!("{path}{dot}{}", member.key), unresolved);
                }
            }
            _ => {}
        }
    }

    fn substituted(&self, text: &str, mut missing: impl FnMut(&str)) -> String {
        let mut whole = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            whole.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at..).unwrap_or_default();
            if let Some((name, behind)) = rest.strip_prefix('$').and_then(reference) {
                // Escaped: one dollar less.
                whole.push_str(&format!("${{{name}}}"));
                rest = behind;
            } else if let Some((name, behind)) = reference(rest) {
                match self.get(name) {
                    Some((value, _)) => whole.push_str(value),
                    None => {
                        missing(name);
                        whole.push_str(&format!("${{{name}}}"));
                    }
                }
                rest = behind;
            } else {
                whole.push('$');
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        whole.push_str(rest);
        whole
    }
}

/// Whether a text has a `${NAME}` in it.
pub fn has_reference(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| text.get(at..).and_then(reference).is_some())
}

/// `${NAME}` at the front of a text: the name, and what is behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text.strip_prefix("${")?.split_once('}')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    is_name.then_some((name, behind))
}

/// Reads lines of the form `NAME=value` as dotenv does: `export` before them, quotes around the value, comments behind it.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = line.trim();
        let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed);
        let Some((name, value)) = assignment.split_once('=').filter(|_| !trimmed.starts_with('#')) else {
            rest = behind;
            continue;
        };
        let value = value.trim();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
        // A value in quotes may go on over lines.
        let quoted = quote.and_then(|quote| {
            let from = rest.find('=').and_then(|at| rest.get(at..)?.find(quote)?.checked_add(at)?.checked_add(1))?;
            let inner = rest.get(from..)?;
            let end = inner.find(quote)?;
            Some((inner.get(..end)?, inner.get(end..)?))
        });
        match quoted {
            Some((inner, after)) => {
                variables.push((name.trim().to_owned(), inner.to_owned()));
                rest = after.split_once('\n').map_or("", |(_, behind)| behind);
            }
            None => {
                let value = value.split('#').next().unwrap_or_default().trim();
                variables.push((name.trim().to_owned(), value.to_owned()));
                rest = behind;
            }
        }
    }
    // Where a name stands twice the last counts, as with dotenv.
    variables.reverse();
    variables
}
