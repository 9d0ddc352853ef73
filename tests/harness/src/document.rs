//! Access to the documentation pages, for tests that run what they show.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::envoy::root;

/// A page, by its path from the root of the repository.
///
/// # Panics
/// If it cannot be read.
pub fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// The Makefile, with the files it includes.
///
/// # Panics
/// If a file cannot be read.
pub fn makefile() -> String {
    ["Makefile", "make/tools.mk", "make/release.mk", "make/cluster.mk"].map(page).concat()
}

/// The paths of all pages: the README, the pages next to it, and `docs/`.
///
/// # Panics
/// If `docs/` cannot be read.
pub fn pages() -> Vec<String> {
    let beside =
        ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "envoy/proxies/README.md", "tests/README.md"]
            .map(str::to_owned);
    let docs = fs::read_dir(root().join("docs")).expect("docs/ can be read").filter_map(|entry| {
        let name = entry.expect("an entry of docs/").file_name().into_string().expect("a name of UTF-8");
        Path::new(&name).extension().is_some_and(|extension| extension == "md").then(|| format!("docs/{name}"))
    });
    let mut all: Vec<_> = beside.into_iter().chain(docs).collect();
    all.sort();
    all
}

/// The text without its fenced blocks.
pub fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The texts between backticks in the prose.
pub fn quoted(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The fenced blocks of a language, without the indentation of a list around them.
pub fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}");
    let mut all = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() == fence {
            let indent = line.len() - line.trim_start().len();
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            all.push(block.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect());
        }
    }
    all
}

/// A command of a page and its output; the output is empty in a block that shows none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// On one line, without a trailing comment.
    pub line: String,
    pub output: String,
}

/// A page up to its first section.
pub fn beginning(text: &str) -> &str {
    text.split("\n## ").next().unwrap_or(text)
}

/// The commands of a page: all lines of `sh` blocks, then the lines with a `$` in `console` blocks.
pub fn commands(text: &str) -> Vec<Command> {
    let (mut all, mut goes_on) = (Vec::<Command>::new(), false);
    let shells = blocks(text, "sh").concat();
    let shells = shells.lines().map(|line| (true, line));
    let consoles = blocks(text, "console").concat();
    let consoles = consoles.lines().map(|line| match line.strip_prefix("$ ") {
        Some(command) => (true, command),
        None => (false, line),
    });
    for (starts, line) in shells.chain(consoles) {
        let is_command = starts || goes_on;
        if !is_command {
            if let Some(last) = all.last_mut() {
                last.output += line;
                last.output.push('\n');
            }
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line.split(" # ").next().unwrap_or(line), false),
        };
        let part = part.trim();
        match all.last_mut() {
            Some(last) if goes_on => last.line = format!("{} {part}", last.line),
            _ if part.is_empty() || part.starts_with('#') => {}
            _ => all.push(Command { line: part.to_owned(), output: String::new() }),
        }
        goes_on = more;
    }
    all
}

/// A section of a page, by its heading.
pub struct Section {
    /// The text as written.
    pub text: String,
}

impl Section {
    /// The section of a page in `docs/` under a heading of the second level.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(page: &str, heading: &str) -> Self {
        let document = self::page(&format!("docs/{page}"));
        let (_, rest) = document.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
        Self { text: rest.split("\n## ").next().unwrap_or_default().to_owned() }
    }

    /// A fenced block of this language, counted from 0.
    ///
    /// # Panics
    /// If there is none.
    pub fn block(&self, kind: &str, index: usize) -> String {
        blocks(&self.text, kind).into_iter().nth(index).unwrap_or_else(|| panic!("no {kind} block {index}"))
    }

    /// A block of JSON.
    ///
    /// # Panics
    /// If there is none, or if it is not JSON.
    pub fn json(&self, index: usize) -> Value {
        serde_json::from_str(&self.block("json", index)).expect("a block of JSON")
    }
}

/// Compares a file of the repository with its expected content, which may depend on its current content. With
/// `DOCS=write`, writes the file instead.
///
/// # Panics
/// If the content differs; `test` is the name that the message gives for the test that updates the file.
pub fn published(test: &str, path: &str, wanted: impl Fn(&str) -> String) {
    let file = root().join(path);
    let is = fs::read_to_string(&file).unwrap_or_default();
    let wanted = wanted(&is);
    if std::env::var("DOCS").is_ok_and(|what| what == "write") {
        fs::write(&file, &wanted).unwrap_or_else(|error| panic!("{path}: {error}"));
    } else {
        assert!(
            is == wanted,
            "{path} is out of date: `DOCS=write cargo test -p openclaw-trusted-proxy-tests --test {test}` updates it"
        );
    }
}

/// A list item, wrapped at 118 columns. Code is not broken.
pub fn item_of_a_list(text: &str) -> String {
    let mut lines = vec!["-".to_owned()];
    let mut in_code = false;
    for word in text.split(' ') {
        let last = lines.last_mut().unwrap();
        if in_code || last.len() + 1 + word.len() <= 118 {
            *last += &format!(" {word}");
        } else {
            lines.push(format!("  {word}"));
        }
        in_code ^= word.matches('`').count() % 2 == 1;
    }
    lines.join("\n") + "\n"
}
