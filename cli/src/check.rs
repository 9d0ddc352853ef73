//! `check`: the errors in a configuration, and the findings of an audit.

mod code;
mod deployment;
mod finding;
mod format;
mod gateway;
mod ids;
mod odd;
mod placement;
mod schema;
mod starts;
mod witness;

use std::collections::BTreeSet;
use std::io::Write as _;

use policy::peer::Address;
use serde_json::{Value, json};

use crate::input::{self, Configuration, Input, Kind};
use crate::output::{Failure, Outcome, Output, Problem, Style, visible};
use finding::{Finding, Level};
use format::Format;
use witness::Witnesses;

const HELP: &str = "\
FILE is an openclaw.json, or the plugin configuration that Envoy passes to the filter:
{\"gateway\": {...}, \"filter\": {...}}. In an openclaw.json, the block `gateway` is checked,
with its includes and variables resolved as the Gateway resolves them.

FILE can also be Envoy's bootstrap, Kubernetes manifests, or a folder with such files (.yaml).
Then every policy in them is checked, and whether the Gateway stays closed without the filter.

An error makes the filter reject the configuration, or makes the Gateway refuse to start
or refuse what Envoy sends. Everything else is an audit finding. Where `openclaw
security audit` has the same finding, the ids are the same. A reminder says what a
setting means that cannot be answered by an edit, as gateway.trusted_proxy_auth, which is
always there: --strict ignores reminders. Secrets are never shown.

Examples:
  openclaw-trusted-proxy check openclaw.json
  openclaw-trusted-proxy check openclaw.json --env-file gateway.env \\
    --envoy 10.0.0.2 --strict
  openclaw-trusted-proxy check openclaw.json --filter filter.json
  openclaw-trusted-proxy check policy.json --json
  openclaw-trusted-proxy check policy.json --witness
  openclaw-trusted-proxy check - < openclaw.json
  openclaw-trusted-proxy check deploy

Exit codes: 0 no errors, 1 errors (with --strict, also warnings), 2 no answer.";

/// Check a configuration: report every error with its location and remedy, then audit findings
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// The address from which Envoy connects to the Gateway
    #[arg(long, value_name = "IP")]
    envoy: Option<String>,
    /// Also exit with 1 on warnings and critical findings
    #[arg(long)]
    strict: bool,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", conflicts_with = "json")]
    format: Format,
    /// Show requests that pass, for each user of allowUsers, as curl commands
    #[arg(long)]
    witness: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    if args.format == Format::Json {
        out.set_json();
    }
    run_in_format(args, out).inspect_err(|failure| {
        // If this cannot be written either, the failure still is.
        let _ = format::write_failure(args.format, failure, out);
    })
}

fn run_in_format(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let witness =
        args.witness.then_some("--witness").filter(|_| [Format::Sarif, Format::Github].contains(&args.format));
    if let Some(option) = witness {
        return Err(Failure::new(option, "cannot be printed in this format", "use --format text or json"));
    }
    let envoy = match &args.envoy {
        None => None,
        Some(text) => Some(Address::parse(text.as_bytes()).ok_or_else(|| {
            Failure::new("--envoy", format!("{text:?} is not an IP address"), "give an IP address, such as 10.0.0.2")
        })?),
    };
    if placement::is_deployment(&args.input.file) {
        return run_on_deployment(args, envoy, out);
    }
    let configuration = args.input.read()?;
    let findings = findings(&configuration, envoy);
    let outcome = outcome(&findings, args.strict);
    let witnesses = if args.witness { Witnesses::search(&configuration) } else { None };
    let first = configuration.files().first().map_or("", |file| file.name.as_str());
    if format::write(args.format, &[(first, &findings)], outcome, out)? {
        return Ok(outcome);
    }
    if out.is_json() {
        let mut json = to_json(&configuration, &findings, outcome);
        if let (true, Some(object)) = (args.witness, json.as_object_mut()) {
            let witnesses = witnesses.map_or_else(|| json!([]), |witnesses| witnesses.to_json());
            object.insert("witnesses".to_owned(), witnesses);
        }
        out.json(&json)?;
    } else {
        write_text(&configuration, &findings, outcome, out)?;
        let lines = witnesses.iter().flat_map(Witnesses::lines);
        for (at, line) in lines.enumerate() {
            writeln!(out, "{}{}", if at == 0 { "\n" } else { "" }, visible(&line))?;
        }
    }
    Ok(outcome)
}

fn outcome(findings: &[Finding], strict: bool) -> Outcome {
    let is_bad = |finding: &Finding| match finding.level {
        Level::Error => true,
        Level::Critical | Level::Warn => strict && !finding.is_reminder,
        Level::Info => false,
    };
    if findings.iter().any(is_bad) { Outcome::Found } else { Outcome::Fine }
}

/// Checks every policy in a bootstrap or in manifests, and what is around it.
fn run_on_deployment(args: &Args, envoy: Option<Address>, out: &mut Output) -> Result<Outcome, Failure> {
    let name = input::name_of(&args.input.file);
    if args.input.filter.is_some() {
        return Err(Failure::new(
            "--filter",
            "cannot be used with a deployment, whose policies are whole",
            "remove it",
        ));
    }
    if args.witness {
        let remedy = "give the file of one policy";
        return Err(Failure::new(
            "--witness",
            "cannot be used with a deployment, which can have many policies",
            remedy,
        ));
    }
    let deployment = placement::Deployment::read(&args.input.file)?;
    let policies = deployment.policies();
    let mut all = Vec::new();
    for placed in &policies {
        let configuration = placed.configuration()?;
        let found = findings(&configuration, envoy);
        all.extend(found.into_iter().map(|mut finding| {
            let path = std::mem::take(&mut finding.problem.place);
            finding.problem.place =
                if path.is_empty() { placed.place.clone() } else { format!("{}: {path}", placed.place) };
            // Where the text stands in the file is not known.
            finding.problem.excerpt = None;
            finding
        }));
    }
    // Once for all of them.
    let mut reminders = 0_usize;
    all.retain(|finding: &Finding| {
        reminders = reminders.saturating_add(usize::from(finding.id == Some(gateway::REMINDER)));
        finding.id != Some(gateway::REMINDER) || reminders == 1
    });
    deployment.add(&policies, &mut all);
    if all.is_empty() {
        return Err(Failure::new(name, "has no policy of this filter", "give the files or the folder of a deployment"));
    }
    all.sort_by_key(Finding::rank);
    let outcome = outcome(&all, args.strict);
    if format::write(args.format, &[(name.as_str(), &all)], outcome, out)? {
        return Ok(outcome);
    }
    if out.is_json() {
        let mut json = json!({
            "verdict": if outcome == Outcome::Fine { "fine" } else { "errors" },
            "kind": "deployment",
            "files": deployment.files,
            "environment": [],
        });
        add_findings(&mut json, &all);
        out.json(&json)?;
    } else {
        let count = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let (files, found) = (deployment.files.len(), policies.len());
        let what = format!("{} in {}", count(found, "policy", "policies"), count(files, "file", "files"));
        writeln!(out, "{}: {what}\n", out.paint(Style::Strong, name))?;
        write_findings(&all, outcome, out)?;
    }
    Ok(outcome)
}

/// All findings, the most severe first; within one severity, in the order in which they were found.
fn findings(configuration: &Configuration, envoy: Option<Address>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unresolved = configuration.unresolved_problems();
    match configuration.compile() {
        Ok(compiled) => gateway::add_audit(configuration, &compiled.findings, &mut findings),
        Err(problems) => {
            // An error in a value with an unset variable is only a consequence: the variable itself is reported below.
            let is_news = |problem: &Problem| !unresolved.iter().any(|other| other.place == problem.place);
            let error = |problem| Finding::error(Some(gateway::id_of(&problem)), problem);
            findings.extend(problems.into_iter().filter(is_news).map(error));
        }
    }
    findings.extend(unresolved.into_iter().map(|problem| Finding::error(Some("check.unset_variable"), problem)));
    gateway::add_release(configuration, &mut findings);
    gateway::add_gateways_own(configuration, &mut findings);
    deployment::add(configuration, envoy, &mut findings);
    starts::add(configuration, &mut findings);
    witness::add(configuration, &mut findings);
    findings.sort_by_key(Finding::rank);
    findings
}

fn to_json(configuration: &Configuration, findings: &[Finding], outcome: Outcome) -> Value {
    let mut json = json!({
        "verdict": if outcome == Outcome::Fine { "fine" } else { "errors" },
        "kind": match configuration.kind {
            Kind::OpenClaw => "openclaw",
            Kind::Plugin => "plugin",
        },
        "files": configuration.files().iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
        "environment": configuration.environment.sources().collect::<Vec<_>>(),
    });
    add_findings(&mut json, findings);
    json
}

fn add_findings(json: &mut Value, findings: &[Finding]) {
    let of_level = |wanted: fn(Level) -> bool| -> Vec<Value> {
        findings.iter().filter(|finding| wanted(finding.level)).map(Finding::to_json).collect()
    };
    json["errors"] = of_level(|level| level == Level::Error).into();
    json["findings"] = of_level(|level| level != Level::Error).into();
}

fn write_text(
    configuration: &Configuration,
    findings: &[Finding],
    outcome: Outcome,
    out: &mut Output,
) -> Result<(), Failure> {
    let what = match configuration.kind {
        Kind::OpenClaw => "the Gateway's configuration",
        Kind::Plugin => "the filter's configuration",
    };
    let mut files = configuration.files().iter().map(|file| visible(&file.name));
    let first = files.next().unwrap_or_default();
    let with: Vec<_> = files.chain(configuration.environment.files().map(visible)).collect();
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    writeln!(out, "{}: {what}{with}\n", out.paint(Style::Strong, first))?;
    write_findings(findings, outcome, out)
}

fn write_findings(findings: &[Finding], outcome: Outcome, out: &mut Output) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for finding in findings {
        let label = match finding.id {
            Some(id) => format!("{} {id}", finding.word()),
            None => finding.word().to_owned(),
        };
        let style = if finding.is_reminder { Style::Strong } else { finding.level.style() };
        out.problem(style, &label, &finding.problem)?;
        // Once for an id.
        if let Some(row) = finding.id.and_then(ids::of).filter(|row| seen.insert(row.id)) {
            writeln!(out, "   {}", out.paint(Style::Faint, format!("= see {}", row.address())))?;
        }
    }
    let count = |word| findings.iter().filter(|finding| finding.word() == word).count();
    let total = [
        (count("error"), "error", "errors"),
        (count("critical"), "critical", "critical"),
        (count("warn"), "warning", "warnings"),
        (count("info"), "note", "notes"),
        (count("reminder"), "reminder", "reminders"),
    ];
    let total = total.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).join(", ");
    let style = if outcome == Outcome::Fine { Style::Good } else { Style::Bad };
    writeln!(out, "\n{}", out.paint(style, total))?;
    Ok(())
}
