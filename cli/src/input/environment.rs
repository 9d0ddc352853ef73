//! The variables that the Gateway sees, as far as they are known here, and `${NAME}` in its configuration.

use std::path::{Path, PathBuf};

use super::hidden::{Replaced, reference};
use super::{name_of, read_text};
use crate::json5::{Node, Value, is_blank};
use crate::output::Failure;

const OWN: &str = "the environment";
const BLOCK: &str = "the env block";

/// Variables, by the source that sets them. Values are never shown.
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
    /// Reads this process's own variables, then files. The first source that sets a variable wins.
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

    /// Adds what else the Gateway reads: the `.env` in its state folder, and the `env` block of its configuration.
    pub(super) fn add_of_openclaw(&mut self, path: &Path, document: &Node) -> Result<(), Failure> {
        // By default its state folder is the folder of its configuration.
        let state = self.get("OPENCLAW_STATE_DIR").map(|(folder, _)| Path::new(folder).join(".env"));
        let beside = Some(path.with_file_name(".env")).filter(|_| path.as_os_str() != "-");
        for file in state.into_iter().chain(beside) {
            if file.is_file() && !self.sources.iter().any(|source| source.name == name_of(&file)) {
                self.sources.push(Source { name: name_of(&file), variables: parse(&read_text(&file)?) });
            }
        }
        let vars = document.member("env").and_then(|env| env.member("vars"));
        let text = |member: &crate::json5::Member| Some((member.key.clone(), member.node.text()?.to_owned()));
        // Literal values only: the Gateway resolves no variables in this block.
        let variables = vars.into_iter().flat_map(Node::members).filter_map(text);
        let variables = variables.filter(|(_, value)| !has_reference(value)).collect();
        self.sources.push(Source { name: BLOCK.to_owned(), variables });
        Ok(())
    }

    /// The value of a variable that is set and not empty, and the name of its source.
    pub fn get(&self, name: &str) -> Option<(&str, &str)> {
        self.sources.iter().find_map(|source| {
            let (_, value) = source.variables.iter().find(|(other, value)| other == name && !value.is_empty())?;
            Some((value.as_str(), source.name.as_str()))
        })
    }

    /// The sources that are files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.sources().filter(|name| ![OWN, BLOCK].contains(name))
    }

    /// The names of all sources.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.name.as_str())
    }

    /// Replaces `${NAME}` in every string by the variable's value, and `$${NAME}` by `${NAME}`. Variables that are not
    /// set stay, and are added to `unresolved`. Returns what was replaced.
    pub(super) fn substitute(&self, node: &mut Node, unresolved: &mut Vec<(String, String)>) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        self.substitute_below(node, "", unresolved, &mut replaced);
        replaced
    }

    fn substitute_below(
        &self,
        node: &mut Node,
        path: &str,
        unresolved: &mut Vec<(String, String)>,
        replaced: &mut Vec<Replaced>,
    ) {
        match &mut node.value {
            Value::String(text) if text.contains("${") => {
                let (mut missing, mut variables) = (Vec::new(), Vec::new());
                let value = self.substituted(text, |name, value| match value {
                    Some(value) => variables.push((name.to_owned(), value.to_owned())),
                    None => missing.push((path.to_owned(), name.to_owned())),
                });
                unresolved.extend(missing);
                let written = std::mem::replace(text, value.clone());
                if !variables.is_empty() {
                    replaced.push(Replaced { path: path.to_owned(), written, value, variables });
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.substitute_below(item, &format!("{path}[{at}]"), unresolved, replaced);
                }
            }
            Value::Object(members) => {
                let dot = if path.is_empty() { "" } else { "." };
                for member in members {
                    let path = format!("{path}{dot}{}", member.key);
                    self.substitute_below(&mut member.node, &path, unresolved, replaced);
                }
            }
            _ => {}
        }
    }

    /// Calls `found` with the name of each variable, and with its value if it is set.
    fn substituted(&self, text: &str, mut found: impl FnMut(&str, Option<&str>)) -> String {
        let mut whole = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            whole.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at..).unwrap_or_default();
            if let Some((name, behind)) = rest.strip_prefix('$').and_then(reference) {
                // Escaped: drop one dollar sign.
                whole.push_str(&format!("${{{name}}}"));
                rest = behind;
            } else if let Some((name, behind)) = reference(rest) {
                let value = self.get(name).map(|(value, _)| value);
                found(name, value);
                match value {
                    Some(value) => whole.push_str(value),
                    None => whole.push_str(&format!("${{{name}}}")),
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

/// Whether a text contains a `${NAME}`.
pub fn has_reference(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| text.get(at..).and_then(reference).is_some())
}

/// Reads assignments as dotenv does, which the Gateway uses: `NAME=value` or `NAME: value`, optionally with `export` in
/// front, quotes around the value, and a comment after it. If a name appears twice, the last one wins.
fn parse(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut variables = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        match assignment(rest) {
            Some((name, value, behind)) => {
                variables.push((name.to_owned(), value));
                rest = behind;
            }
            None => rest = rest.split_once('\n').map_or("", |(_, behind)| behind),
        }
    }
    variables.reverse();
    variables
}

/// One assignment at the start of a text, and the text after its line. White space between the parts may include line
/// breaks.
fn assignment(text: &str) -> Option<(&str, String, &str)> {
    let start = text.trim_start_matches(is_blank);
    let start = start.strip_prefix("export").filter(|rest| rest.starts_with(is_blank)).unwrap_or(start);
    let start = start.trim_start_matches(is_blank);
    let end = start.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(start.len());
    let (name, rest) = start.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    let value = match rest.trim_start_matches(is_blank).strip_prefix('=') {
        Some(value) => value,
        None => rest.strip_prefix(':')?.strip_prefix(is_blank)?,
    };
    let quoted = value.trim_start_matches(is_blank);
    if let Some(quote) = quoted.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))
        && let Some((inner, behind)) = quoted.get(1..).and_then(|inner| cut_quoted(inner, quote))
    {
        let (after, next) = behind.split_once('\n').unwrap_or((behind, ""));
        let after = after.trim_matches(is_blank);
        if after.is_empty() || after.starts_with('#') {
            let text = if quote == '"' { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner.to_owned() };
            return Some((name, text, next));
        }
    }
    let (line, next) = value.split_once('\n').unwrap_or((value, ""));
    let plain = line.split('#').next().unwrap_or_default().trim_matches(is_blank);
    let quoted = ['"', '\'', '`'].iter().find_map(|quote| plain.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((name, quoted.unwrap_or(plain).to_owned(), next))
}

/// The text up to the first quote without a backslash before it, and the text after that quote.
fn cut_quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if c == quote && before != '\\' {
            return Some((text.get(..at)?, text.get(at..)?.strip_prefix(quote)?));
        }
        before = c;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// The text of a file, and the value of the variable `A` in it.
    const FILES: [(&str, Option<&str>); 38] = [
        ("A=b", Some("b")),
        ("A = b ", Some("b")),
        ("  export A=b", Some("b")),
        ("export  A=b", Some("b")),
        ("A: b", Some("b")),
        ("A:b", None),
        ("#A=b", None),
        ("B=c\r\nA=b\r\n", Some("b")),
        ("A=b # c", Some("b")),
        ("A=b#c", Some("b")),
        ("A='b # c' # d", Some("b # c")),
        ("A=\"b\\nc\"", Some("b\nc")),
        ("A='b\\nc'", Some("b\\nc")),
        ("A=`b\"'c`", Some("b\"'c")),
        ("A=\"b\nB=c\"", Some("b\nB=c")),
        ("A=\"b\\\"c\"", Some("b\\\"c")),
        ("A=\"b", Some("\"b")),
        ("A=", Some("")),
        ("A=''", Some("")),
        ("A", None),
        ("A=b\nA=c", Some("c")),
        ("AA=b", None),
        ("A=b=c", Some("b=c")),
        ("A.=b", None),
        ("\n\n\tA=b", Some("b")),
        ("exportA=b", None),
        ("\u{FEFF}A=b", Some("b")),
        ("\u{A0}A\u{A0}=\u{A0}b", Some("b")),
        ("\u{B}A=b", Some("b")),
        ("A\n=b", Some("b")),
        ("A\n\nB=b", None),
        ("export\nA=b", Some("b")),
        ("A=\n'b'", Some("b")),
        ("A=\n\n`b`", Some("b")),
        ("A:\nb", Some("b")),
        ("A=\nB=b", Some("")),
        ("A=\n b", Some("")),
        ("A= \u{FEFF}", Some("")),
    ];

    fn value_of_a(text: &str) -> Option<String> {
        parse(text).into_iter().find(|(name, _)| name == "A").map(|(_, value)| value)
    }

    #[test]
    fn files_are_read_as_dotenv_reads_them() {
        for (text, expected) in FILES {
            assert_eq!(value_of_a(text).as_deref(), expected, "{text:?}");
        }
    }

    #[cfg(feature = "gateway")]
    #[test]
    fn files_are_read_as_the_gateways_reader_reads_them() {
        let texts: Vec<_> = FILES.iter().map(|(text, _)| (*text).to_owned()).collect();
        for ((text, expected), theirs) in FILES.iter().zip(crate::npm::read("dotenv", &texts)) {
            assert_eq!(theirs.as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn references_are_put_in_as_the_gateway_does() {
        let variables = [("A", "b"), ("EMPTY", ""), ("_1", "${A}")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let environment = Environment { sources: vec![Source { name: OWN.to_owned(), variables }] };
        for (text, expected, unset) in [
            ("${A}", "b", &[][..]),
            ("x${A}y${A}", "xbyb", &[]),
            ("$${A}", "${A}", &[]),
            ("$$${A}", "$${A}", &[]),
            ("$A $ ${a} ${A-b} ${} ${A", "$A $ ${a} ${A-b} ${} ${A", &[]),
            ("${_1}", "${A}", &[]),
            ("${EMPTY}${NONE}", "${EMPTY}${NONE}", &["EMPTY", "NONE"]),
        ] {
            let mut missing = Vec::new();
            let found = environment.substituted(text, |name, value| {
                if value.is_none() {
                    missing.push(name.to_owned());
                }
            });
            assert_eq!(found, expected, "{text}");
            assert_eq!(missing, unset, "{text}");
        }
    }
}
