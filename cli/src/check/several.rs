//! `check` on several files, on folders, and on files that hold policies.

use std::collections::{BTreeMap, BTreeSet};
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
                    findings.retain(|finding| finding.id != underscores::ID);
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
    let result = write(&deployment, checked, around, (strict, format), &failures, out)?;
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
            let is_reminder = finding.id == gateway::REMINDER;
            reminders = reminders.saturating_add(usize::from(is_reminder));
            !is_reminder || reminders == 1
        });
    }
}

fn many(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A file in which something was found.
struct Group {
    file: usize,
    /// The kinds of its policies.
    kinds: Vec<Kind>,
    findings: Vec<Finding>,
}

/// The files in which something was found, in their order.
fn groups(deployment: &Deployment, checked: Vec<Checked>, around: Vec<Finding>) -> Vec<Group> {
    let mut groups: Vec<Group> =
        (0..deployment.files.len()).map(|file| Group { file, kinds: Vec::new(), findings: Vec::new() }).collect();
    let numbers: BTreeMap<&str, usize> =
        deployment.files.iter().enumerate().map(|(number, file)| (file.name.as_str(), number)).collect();
    for one in checked {
        if let Some(group) = groups.get_mut(one.file) {
            group.kinds.push(one.kind);
            group.findings.extend(one.findings);
        }
    }
    for finding in around {
        let name = finding.problem.excerpt.as_ref().map_or("", |excerpt| &excerpt.file);
        if let Some(group) = groups.get_mut(numbers.get(name).copied().unwrap_or_default()) {
            group.findings.push(finding);
        }
    }
    groups.iter_mut().for_each(|group| group.findings.sort_by_key(Finding::rank));
    groups.retain(|group| !group.kinds.is_empty() || !group.findings.is_empty());
    groups
}

fn write(
    deployment: &Deployment,
    checked: Vec<Checked>,
    around: Vec<Finding>,
    (strict, format): (bool, Format),
    failures: &[Problem],
    out: &mut Output,
) -> Result<Outcome, Failure> {
    let policies: Vec<Value> = checked.iter().map(|one| to_json(one, deployment)).collect();
    let with: BTreeSet<usize> = checked.iter().map(|one| one.file).collect();
    let without = deployment.files.len().saturating_sub(with.len());
    let groups = groups(deployment, checked, around);
    let name_of = |group: &Group| deployment.files.get(group.file).map_or("", |file| file.name.as_str());
    let all = || groups.iter().flat_map(|group| &group.findings);
    let result = outcome(all(), strict);
    let mut placed = Vec::new();
    for group in &groups {
        placed.extend(group.findings.iter().map(|finding| (name_of(group), finding)));
    }
    if format::write(format, &placed, result, failures, out)? {
        return Ok(result);
    }
    if out.is_json() {
        let mut sorted: Vec<&Finding> = all().collect();
        sorted.sort_by_key(|finding| finding.rank());
        let verdict = match result {
            _ if !failures.is_empty() => "no answer",
            Outcome::Fine => "fine",
            Outcome::Found => "errors",
        };
        let mut json = json!({
            "verdict": verdict,
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
    for (at, group) in groups.iter().enumerate() {
        let what = match group.kinds.as_slice() {
            [] => "no policy".to_owned(),
            [kind] if deployment.plain_kind(group.file).is_some() => kind.title().to_owned(),
            all => many(all.len(), "policy", "policies"),
        };
        let space = if at == 0 { "" } else { "\n" };
        writeln!(out, "{space}{}: {what}\n", out.paint(Style::Strong, visible(name_of(group))))?;
        for finding in &group.findings {
            write_finding(finding, &mut seen, out)?;
        }
        let style = if outcome(&group.findings, strict) == Outcome::Fine { Style::Good } else { Style::Bad };
        let space = if group.findings.is_empty() { "" } else { "\n" };
        writeln!(out, "{space}{}", out.paint(style, counts(&group.findings)))?;
    }
    if deployment.files.len() > 1 {
        let style = if result == Outcome::Fine && failures.is_empty() { Style::Good } else { Style::Bad };
        let files = many(deployment.files.len(), "file", "files");
        let mut what = format!("{} in {files}", many(policies.len(), "policy", "policies"));
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

fn to_json(checked: &Checked, deployment: &Deployment) -> Value {
    let errors = checked.findings.iter().filter(|finding| finding.level == Level::Error).count();
    json!({
        "place": checked.place,
        "kind": checked.kind.word(),
        "file": deployment.files.get(checked.file).map(|file| &file.name),
        "errors": errors,
        "findings": checked.findings.len().saturating_sub(errors),
    })
}
