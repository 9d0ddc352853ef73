//! `check` on several files, on folders, and on files that hold policies.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::finding::{Finding, Level};
use super::format::{self, Format};
use super::shown::{add_findings, counts, outcome, write_finding};
use super::{gateway, placement, underscores};
use crate::input::{Configuration, Deployment, Host, Input, Kind, name_of};
use crate::output::{Failure, Outcome, Output, Problem, Style, visible};

/// A policy that was checked.
struct Checked {
    place: String,
    file: usize,
    kind: Kind,
    findings: Vec<Finding>,
}

/// Checks every policy in the files with `findings`, and what is around it.
pub fn run(
    files: &[PathBuf],
    options: &Input,
    (strict, format): (bool, Format),
    findings: &dyn Fn(&Configuration) -> Vec<Finding>,
    out: &mut Output,
) -> Result<Outcome, Failure> {
    let deployment = Deployment::read(files)?;
    let mut failures = deployment.failures.clone();
    let mut checked = Vec::new();
    let mut takes_filter = false;
    for (file, found, kind) in &deployment.plain {
        let mut input = Input { file: found.path.clone(), ..options.clone() };
        let is_plugin = *kind == Kind::Plugin;
        if is_plugin {
            input.filter = None;
        }
        takes_filter |= !is_plugin;
        match input.read() {
            Ok(configuration) => {
                let place = name_of(&found.path);
                let findings = placed_at(&place, findings(&configuration));
                checked.push(Checked { place, file: *file, kind: configuration.kind, findings });
            }
            Err(Failure::Input(problems)) => failures.extend(problems),
            Err(failure) => return Err(failure),
        }
    }
    for placed in &deployment.policies {
        let mut input = options.clone();
        if placed.kind == Kind::Plugin {
            input.filter = None;
        }
        takes_filter |= placed.kind == Kind::OpenClaw;
        match input.placed(placed, &deployment) {
            Ok(configuration) => {
                let mut findings = placed_at(&placed.place, findings(&configuration));
                if !matches!(placed.host, Host::None) {
                    // What Envoy does with underscores is known here.
                    findings.retain(|finding| finding.id != Some(underscores::ID));
                }
                let (place, file) = (placed.place.clone(), placed.holder.file);
                checked.push(Checked { place, file, kind: placed.kind, findings });
            }
            Err(Failure::Input(problems)) => failures.extend(problems),
            Err(failure) => return Err(failure),
        }
    }
    if options.filter.is_some() && !takes_filter {
        return Err(Failure::new(
            "--filter",
            "cannot be used with a deployment, whose policies are whole",
            "remove it, or name an openclaw.json",
        ));
    }
    let mut around = Vec::new();
    placement::add(&deployment, &mut around);
    if checked.is_empty() && around.is_empty() {
        if failures.is_empty() {
            failures.push(nothing(files, &deployment));
        }
        return Err(Failure::Input(failures));
    }
    remind_once(&mut checked);
    let result = write(&deployment, &checked, around, (strict, format), &failures, out)?;
    if failures.is_empty() { Ok(result) } else { Err(Failure::Partly(failures)) }
}

/// Findings of one of several policies.
fn placed_at(place: &str, mut findings: Vec<Finding>) -> Vec<Finding> {
    for finding in &mut findings {
        let path = std::mem::take(&mut finding.problem.place);
        finding.problem.place = if path.is_empty() { place.to_owned() } else { format!("{place}: {path}") };
    }
    findings
}

/// That no file has a policy.
fn nothing(files: &[PathBuf], deployment: &Deployment) -> Problem {
    let names: Vec<_> = files.iter().map(|file| name_of(file)).collect();
    let mut problem = "has no policy of this filter".to_owned();
    let kinds = deployment.kinds();
    if !kinds.is_empty() {
        problem.push_str(", only: ");
        problem.push_str(&kinds.join(", "));
    } else if deployment.files.len() != 1 {
        problem.push_str(&format!(" in {}", many(deployment.files.len(), "file", "files")));
    }
    Problem {
        place: names.join(", "),
        problem,
        remedy: "give the files or the folder of a deployment".to_owned(),
        excerpt: None,
    }
}

/// The reminder is the same for all policies.
fn remind_once(checked: &mut [Checked]) {
    let mut reminders = 0_usize;
    for one in checked {
        one.findings.retain(|finding| {
            let is_reminder = finding.id == Some(gateway::REMINDER);
            reminders = reminders.saturating_add(usize::from(is_reminder));
            !is_reminder || reminders == 1
        });
    }
}

fn many(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn write(
    deployment: &Deployment,
    checked: &[Checked],
    around: Vec<Finding>,
    (strict, format): (bool, Format),
    failures: &[Problem],
    out: &mut Output,
) -> Result<Outcome, Failure> {
    let file_of = |finding: &Finding| {
        let name = finding.problem.excerpt.as_ref().map(|excerpt| &excerpt.file);
        deployment.files.iter().position(|file| Some(&file.name) == name).unwrap_or_default()
    };
    let all = || checked.iter().flat_map(|one| &one.findings).chain(&around);
    let result = outcome(all(), strict);
    let name_of = |file: usize| deployment.files.get(file).map_or("", |file| file.name.as_str());
    let of_policies = checked.iter().flat_map(|one| one.findings.iter().map(|found| (name_of(one.file), found)));
    let placed: Vec<_> = of_policies.chain(around.iter().map(|found| (name_of(file_of(found)), found))).collect();
    if format::write(format, &placed, result, failures, out)? {
        return Ok(result);
    }
    let with: Vec<usize> = (0..deployment.files.len())
        .filter(|file| {
            checked.iter().any(|one| one.file == *file) || around.iter().any(|finding| file_of(finding) == *file)
        })
        .collect();
    let without = (0..deployment.files.len()).filter(|file| !checked.iter().any(|one| one.file == *file)).count();
    if out.is_json() {
        let mut sorted: Vec<&Finding> = all().collect();
        sorted.sort_by_key(|finding| finding.rank());
        let policies: Vec<Value> = checked
            .iter()
            .map(|one| {
                let count = |is: fn(Level) -> bool| one.findings.iter().filter(|finding| is(finding.level)).count();
                json!({
                    "place": one.place,
                    "kind": one.kind.word(),
                    "file": deployment.files.get(one.file).map(|file| &file.name),
                    "errors": count(|level| level == Level::Error),
                    "findings": count(|level| level != Level::Error),
                })
            })
            .collect();
        let mut json = json!({
            "verdict": if !failures.is_empty() { "no answer" } else if result == Outcome::Fine { "fine" } else { "errors" },
            "kind": "deployment",
            "files": deployment.files.iter().map(|file| &file.name).collect::<Vec<_>>(),
            "environment": [],
            "policies": policies,
            "withoutPolicy": without,
            "unreadable": failures.iter().map(Problem::to_json).collect::<Vec<_>>(),
        });
        add_findings(&mut json, &sorted);
        out.json(&json)?;
        return Ok(result);
    }
    let mut seen = BTreeSet::new();
    for (at, file) in with.iter().enumerate() {
        let policies: Vec<&Checked> = checked.iter().filter(|one| one.file == *file).collect();
        let mut found: Vec<&Finding> = policies.iter().flat_map(|one| &one.findings).collect();
        found.extend(around.iter().filter(|finding| file_of(finding) == *file));
        found.sort_by_key(|finding| finding.rank());
        let what = match policies.as_slice() {
            [] => "no policy".to_owned(),
            [one] if deployment.plain_kind(*file).is_some() => one.kind.title().to_owned(),
            all => many(all.len(), "policy", "policies"),
        };
        let name = name_of(*file);
        writeln!(out, "{}{}: {what}\n", if at == 0 { "" } else { "\n" }, out.paint(Style::Strong, visible(name)))?;
        for finding in &found {
            write_finding(finding, &mut seen, out)?;
        }
        let style = if outcome(found.iter().copied(), strict) == Outcome::Fine { Style::Good } else { Style::Bad };
        writeln!(
            out,
            "{}{}",
            if found.is_empty() { "" } else { "\n" },
            out.paint(style, counts(found.iter().copied()))
        )?;
    }
    if deployment.files.len() > 1 {
        let style = if result == Outcome::Fine && failures.is_empty() { Style::Good } else { Style::Bad };
        let mut what = format!(
            "{} in {}",
            many(checked.len(), "policy", "policies"),
            many(deployment.files.len(), "file", "files")
        );
        if without > 0 {
            let has = if without == 1 { "has" } else { "have" };
            what.push_str(&format!(", {} {has} no policy", many(without, "file", "files")));
        }
        if !failures.is_empty() {
            what.push_str(&format!(", {} without an answer", failures.len()));
        }
        writeln!(out, "\n{what}\n{}", out.paint(style, format!("in all: {}", counts(all()))))?;
    }
    Ok(result)
}
