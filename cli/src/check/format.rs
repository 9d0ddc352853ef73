//! Findings for other programs: SARIF 2.1.0, which code scanners and editors read, and the commands by which GitHub
//! Actions annotates lines.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::finding::{Finding, Level};
use super::ids;
use crate::output::{Failure, Outcome, Output, Problem, visible};

/// How findings are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object, as with --json
    Json,
    /// SARIF 2.1.0, for code scanning and editors
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

/// Prints why there is no answer, for those formats that are read from standard output.
pub fn write_failure(format: Format, failure: &Failure, out: &mut Output) -> io::Result<()> {
    let Failure::Input(problems) = failure else { return Ok(()) };
    write(format, &[], Outcome::Found, problems, out).map(|_| ())
}

/// Prints findings in a format for other programs, each with the file that it is about. `false` if it is none of them.
///
/// `failures` is why there is no answer about some files.
pub fn write(
    format: Format,
    found: &[(&str, &Finding)],
    outcome: Outcome,
    failures: &[Problem],
    out: &mut Output,
) -> io::Result<bool> {
    match format {
        Format::Text | Format::Json => return Ok(false),
        Format::Sarif => {
            let results: Vec<_> = found.iter().map(|(file, finding)| result(file, finding)).collect();
            let code = if failures.is_empty() { u8::from(outcome != Outcome::Fine) } else { 2 };
            out.json(&sarif(&results, code, failures))?;
        }
        Format::Github => write_github(found, failures, out)?,
    }
    Ok(true)
}

fn write_github(found: &[(&str, &Finding)], failures: &[Problem], out: &mut Output) -> io::Result<()> {
    for problem in failures {
        writeln!(out, "{}", annotation("error", &[], problem))?;
    }
    for (file, finding) in found {
        let mut problem = finding.problem.clone();
        let mut properties = match &problem.excerpt {
            Some(excerpt) => vec![
                ("file", excerpt.file.clone()),
                ("line", excerpt.line.to_string()),
                ("col", excerpt.column.to_string()),
            ],
            None => vec![("file", (*file).to_owned())],
        };
        properties.push(("title", finding.id.to_owned()));
        if let Some(row) = ids::of(finding.id) {
            let _ = write!(problem.remedy, "{}{}", if problem.remedy.is_empty() { "" } else { "\n" }, row.address());
        }
        writeln!(out, "{}", annotation(level(finding, "notice"), &properties, &problem))?;
    }
    Ok(())
}

/// What is wrong, and how to fix it.
fn text(problem: &Problem) -> String {
    let Problem { place, problem, remedy, .. } = problem;
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    let remedy = if remedy.is_empty() { String::new() } else { format!("\n{remedy}") };
    let lines: Vec<_> =
        format!("{place}{problem}{remedy}").split('\n').map(|line| visible(line).into_owned()).collect();
    lines.join("\n")
}

fn sarif(results: &[Value], code: u8, failures: &[Problem]) -> Value {
    let notification = |problem: &Problem| json!({"level": "error", "message": {"text": text(problem)}});
    let notifications: Vec<_> = failures.iter().map(notification).collect();
    let invocation = json!({
        "executionSuccessful": failures.is_empty(),
        "exitCode": code,
        "toolExecutionNotifications": notifications,
    });
    let rule = |row: &ids::Id| {
        json!({
            "id": row.id,
            "shortDescription": {"text": row.found},
            "help": {"text": format!("{} ({})", row.answer, row.address())},
            "properties": {"severity": row.severity},
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_BIN_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": ids::ALL.iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "results": results,
        }],
    })
}

fn result(file: &str, finding: &Finding) -> Value {
    let excerpt = finding.problem.excerpt.as_ref();
    let mut place = json!({"artifactLocation": {"uri": uri(excerpt.map_or(file, |excerpt| &excerpt.file))}});
    if let (Some(excerpt), Some(place)) = (excerpt, place.as_object_mut()) {
        place.insert("region".to_owned(), json!({"startLine": excerpt.line, "startColumn": excerpt.column}));
    }
    let mut location = json!({"physicalLocation": place});
    if let (false, Some(location)) = (finding.problem.place.is_empty(), location.as_object_mut()) {
        location.insert("logicalLocations".to_owned(), json!([{"fullyQualifiedName": finding.problem.place}]));
    }
    json!({
        "ruleId": finding.id,
        "ruleIndex": ids::ALL.iter().position(|row| row.id == finding.id),
        "level": level(finding, "note"),
        "message": {"text": text(&finding.problem)},
        "locations": [location],
        "properties": {"severity": finding.level.word(), "reminder": finding.is_reminder},
    })
}

/// How severe a finding is; `note` is the format's word for what asks for nothing.
fn level(finding: &Finding, note: &'static str) -> &'static str {
    match finding.level {
        _ if finding.is_reminder => note,
        Level::Error | Level::Critical => "error",
        Level::Warn => "warning",
        Level::Info => note,
    }
}

/// A file name as a reference in SARIF: relative ones stay relative.
fn uri(name: &str) -> String {
    let mut uri = String::from(if name.starts_with('/') { "file://" } else { "" });
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// A workflow command. Its data has no line breaks; its properties have no separators either.
fn annotation(level: &str, properties: &[(&str, String)], problem: &Problem) -> String {
    let properties: Vec<_> = properties.iter().map(|(name, value)| format!("{name}={}", property(value))).collect();
    let space = if properties.is_empty() { "" } else { " " };
    format!("::{level}{space}{}::{}", properties.join(","), data(&text(problem)))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(&visible(text)).replace(':', "%3A").replace(',', "%2C")
}
