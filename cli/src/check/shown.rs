//! How findings are shown, and what they mean for the exit code.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde_json::Value;

use super::finding::{Finding, Level};
use super::ids;
use crate::output::{Failure, Outcome, Output, Style};

/// Whether findings count as errors.
pub fn outcome<'f>(findings: impl IntoIterator<Item = &'f Finding>, strict: bool) -> Outcome {
    let is_bad = |finding: &Finding| match finding.level {
        Level::Error => true,
        Level::Critical | Level::Warn => strict && !finding.is_reminder,
        Level::Info => false,
    };
    if findings.into_iter().any(is_bad) { Outcome::Found } else { Outcome::Fine }
}

/// Adds the findings to a JSON object.
pub fn add_findings(json: &mut Value, findings: &[&Finding]) {
    let of_level = |wanted: fn(Level) -> bool| -> Vec<Value> {
        findings.iter().filter(|finding| wanted(finding.level)).map(|finding| finding.to_json()).collect()
    };
    json["errors"] = of_level(|level| level == Level::Error).into();
    json["findings"] = of_level(|level| level != Level::Error).into();
}

/// Writes all findings, and how many there are.
pub fn write_findings(findings: &[Finding], outcome: Outcome, out: &mut Output) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for finding in findings {
        write_finding(finding, &mut seen, out)?;
    }
    let style = if outcome == Outcome::Fine { Style::Good } else { Style::Bad };
    writeln!(out, "\n{}", out.paint(style, counts(findings)))?;
    Ok(())
}

/// Writes a finding. Where the documentation has its id is written once: `seen` has the ids before it.
pub fn write_finding(finding: &Finding, seen: &mut BTreeSet<&'static str>, out: &mut Output) -> Result<(), Failure> {
    let label = format!("{} {}", finding.word(), finding.id);
    let style = if finding.is_reminder { Style::Strong } else { finding.level.style() };
    out.problem(style, &label, &finding.problem)?;
    if let Some(row) = ids::of(finding.id).filter(|row| seen.insert(row.id)) {
        writeln!(out, "   {}", out.paint(Style::Faint, format!("= see {}", row.address())))?;
    }
    Ok(())
}

/// How many findings there are of each level.
pub fn counts<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> String {
    let words: Vec<_> = findings.into_iter().map(Finding::word).collect();
    let count = |word| words.iter().filter(|other| **other == word).count();
    let total = [
        (count("error"), "error", "errors"),
        (count("critical"), "critical", "critical"),
        (count("warn"), "warning", "warnings"),
        (count("info"), "note", "notes"),
        (count("reminder"), "reminder", "reminders"),
    ];
    total.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).join(", ")
}
