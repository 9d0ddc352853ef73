//! What the pages in `docs/` show, for tests that do it.

use serde_json::Value;

use crate::envoy::root;

/// A section of a page, by its heading.
pub struct Section {
    /// As it is written.
    pub text: String,
}

impl Section {
    /// The section of a page in `docs/` under a heading of the second level.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(page: &str, heading: &str) -> Self {
        let document = std::fs::read_to_string(root().join("docs").join(page)).expect("the page can be read");
        let (_, rest) = document.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
        Self { text: rest.split("\n## ").next().unwrap_or_default().to_owned() }
    }

    /// A fenced block of this kind, counted from 0.
    ///
    /// # Panics
    /// If there is none.
    pub fn block(&self, kind: &str, index: usize) -> String {
        let fence = format!("```{kind}\n");
        let block = self.text.split(&fence).nth(index + 1).unwrap_or_else(|| panic!("no {kind} block {index}"));
        block.split("```").next().unwrap_or_default().to_owned()
    }

    /// A block of JSON.
    ///
    /// # Panics
    /// If there is none, or if it is no JSON.
    pub fn json(&self, index: usize) -> Value {
        serde_json::from_str(&self.block("json", index)).expect("a block of JSON")
    }
}

/// Compares a file of the repository with what it should be, which may depend on what it is, or writes it where `DOCS=write` is set.
///
/// # Panics
/// If it is something else; `test` says in the message which test writes it.
pub fn published(test: &str, path: &str, wanted: impl Fn(&str) -> String) {
    let file = root().join(path);
    let is = std::fs::read_to_string(&file).unwrap_or_default();
    let wanted = wanted(&is);
    if std::env::var("DOCS").is_ok_and(|what| what == "write") {
        std::fs::write(&file, &wanted).unwrap_or_else(|error| panic!("{path}: {error}"));
    } else {
        assert!(is == wanted, "{path} is out of date: `DOCS=write cargo test --test {test}` writes it anew");
    }
}
