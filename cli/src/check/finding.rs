//! A finding of `check`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use policy::config::{MOST_ERRORS, Severity};
use serde_json::{Value, json};

use super::ids;
use crate::input::Configuration;
use crate::output::{Problem, Style};

/// How severe a finding is: the audit's severities, and errors above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warn,
    Critical,
    Error,
}

impl Level {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Critical => "critical",
            Self::Error => "error",
        }
    }

    pub const fn style(self) -> Style {
        match self {
            Self::Info => Style::Strong,
            Self::Warn => Style::Doubtful,
            Self::Critical | Self::Error => Style::Bad,
        }
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warn => Self::Warn,
            Severity::Critical => Self::Critical,
        }
    }
}

/// A finding.
#[derive(Debug)]
pub struct Finding {
    /// The id of the check: the Gateway's own id if it has one, `filter.…` for the filter's own findings, `check.…` for
    /// those of this tool alone.
    pub id: &'static str,
    pub level: Level,
    pub problem: Problem,
    /// Whether it says what a chosen setting means, so that no edit answers it. It is shown last, `--strict` ignores
    /// it, and the level is still the audit's.
    pub is_reminder: bool,
}

impl Finding {
    /// An error: something that cannot work.
    pub const fn error(id: &'static str, problem: Problem) -> Self {
        Self { id, level: Level::Error, problem, is_reminder: false }
    }

    /// A finding about a path in the configuration. If the path does not exist, the excerpt shows what encloses it.
    pub fn new(
        configuration: &Configuration,
        id: &'static str,
        level: Level,
        path: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { id, level, problem: configuration.problem(path, problem, remedy), is_reminder: false }
    }

    /// How it is shown: a reminder last, the others by their severity.
    pub const fn rank(&self) -> (bool, Reverse<Level>) {
        (self.is_reminder, Reverse(self.level))
    }

    /// The word before its id.
    pub const fn word(&self) -> &'static str {
        if self.is_reminder { "reminder" } else { self.level.word() }
    }

    pub fn to_json(&self) -> Value {
        let mut value = json!({"id": self.id, "severity": self.level.word(), "reminder": self.is_reminder});
        if let (Some(row), Some(object)) = (ids::of(self.id), value.as_object_mut()) {
            object.insert("docs".to_owned(), row.address().into());
        }
        if let (Value::Object(all), Value::Object(problem)) = (&mut value, self.problem.to_json()) {
            all.extend(problem);
        }
        value
    }
}

/// Adds findings about a configuration: of each id at most [`MOST_ERRORS`], and how many more there are.
pub struct Counted<'a> {
    pub configuration: &'a Configuration,
    pub findings: &'a mut Vec<Finding>,
    counts: BTreeMap<(&'static str, Level), usize>,
}

impl<'a> Counted<'a> {
    pub const fn new(configuration: &'a Configuration, findings: &'a mut Vec<Finding>) -> Self {
        Self { configuration, findings, counts: BTreeMap::new() }
    }

    pub fn add(
        &mut self,
        id: &'static str,
        level: Level,
        path: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let count = self.counts.entry((id, level)).or_default();
        *count = count.saturating_add(1);
        if *count <= MOST_ERRORS {
            self.findings.push(Finding::new(self.configuration, id, level, path, problem, remedy));
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        for ((id, level), count) in std::mem::take(&mut self.counts) {
            if let Some(more) = count.checked_sub(MOST_ERRORS).filter(|more| *more > 0) {
                let problem = format!("{more} more like these");
                self.findings.push(Finding::new(self.configuration, id, level, "", problem, "correct these first"));
            }
        }
    }
}
