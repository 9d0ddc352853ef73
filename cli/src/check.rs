//! `check`: what is wrong with a configuration, and what deserves a thought.

mod deployment;
mod finding;
mod gateway;

use std::io::Write as _;
use std::path::PathBuf;

use policy::peer::Address;
use serde_json::{Value, json};

use crate::input::{self, Configuration, Kind};
use crate::output::{Failure, Outcome, Output, Problem, Style};
use finding::{Finding, Level};

const HELP: &str = "\
FILE is an openclaw.json, of which the block `gateway` is checked, its includes and
variables resolved as the Gateway does it, or the plugin configuration that Envoy hands
to the filter: {\"gateway\": {...}, \"filter\": {...}}.

Errors are what makes the filter refuse the configuration, or the Gateway refuse to
start or to serve Envoy. The rest are audit findings, under the ids of `openclaw
security audit` where it has them. gateway.trusted_proxy_auth is always there, as a
reminder, and --strict lets it be. No secret is ever shown.

Examples:
  openclaw-trusted-proxy check openclaw.json
  openclaw-trusted-proxy check openclaw.json --env-file gateway.env \\
    --envoy 10.0.0.2 --strict
  openclaw-trusted-proxy check openclaw.json --filter filter.json
  openclaw-trusted-proxy check policy.json --json
  openclaw-trusted-proxy check - < openclaw.json

Exit codes: 0 no error, 1 errors (with --strict: or warnings), 2 no answer.";

/// Check a configuration: every error with its place and remedy, then the audit findings
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// An openclaw.json, or a plugin configuration; - is standard input
    file: PathBuf,
    #[command(flatten)]
    options: input::Options,
    /// The address from which Envoy connects to the Gateway
    #[arg(long, value_name = "IP")]
    envoy: Option<String>,
    /// Exit with 1 on warnings and critical findings as well
    #[arg(long)]
    strict: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let envoy = match &args.envoy {
        None => None,
        Some(text) => Some(Address::parse(text.as_bytes()).ok_or_else(|| {
            Failure::new(
                "--envoy",
                format!("{text:?} is not an IP address"),
                "write the address alone, such as 10.0.0.2",
            )
        })?),
    };
    let configuration = input::read(&args.file, &args.options)?;
    let findings = findings(&configuration, envoy);
    let is_bad = |finding: &Finding| match finding.level {
        Level::Error => true,
        Level::Critical | Level::Warn => args.strict && finding.id != Some(gateway::REMINDER),
        Level::Info => false,
    };
    let outcome = if findings.iter().any(is_bad) { Outcome::Found } else { Outcome::Fine };
    if out.is_json() {
        out.json(&to_json(&configuration, &findings, outcome))?;
    } else {
        write_text(&configuration, &findings, outcome, out)?;
    }
    Ok(outcome)
}

/// Everything there is to say, the worst first, else in the order in which it was found.
fn findings(configuration: &Configuration, envoy: Option<Address>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unresolved = configuration.unresolved_problems();
    match configuration.compile() {
        Ok(compiled) => gateway::add_audit(configuration, &compiled.findings, &mut findings),
        Err(problems) => {
            // What a variable without a value is not, is not worth saying.
            let is_news = |problem: &Problem| !unresolved.iter().any(|other| other.place == problem.place);
            let error = |problem| Finding::error(gateway::id_of(&problem), problem);
            findings.extend(problems.into_iter().filter(is_news).map(error));
        }
    }
    findings.extend(unresolved.into_iter().map(|problem| Finding::error(Some("check.unset_variable"), problem)));
    gateway::add_gateways_own(configuration, &mut findings);
    deployment::add(configuration, envoy, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

fn to_json(configuration: &Configuration, findings: &[Finding], outcome: Outcome) -> Value {
    let of_level = |wanted: fn(Level) -> bool| -> Vec<Value> {
        findings.iter().filter(|finding| wanted(finding.level)).map(Finding::to_json).collect()
    };
    json!({
        "verdict": if outcome == Outcome::Fine { "fine" } else { "errors" },
        "kind": match configuration.kind {
            Kind::OpenClaw => "openclaw",
            Kind::Plugin => "plugin",
        },
        "files": configuration.files().iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
        "environment": configuration.environment.sources().collect::<Vec<_>>(),
        "errors": of_level(|level| level == Level::Error),
        "findings": of_level(|level| level != Level::Error),
    })
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
    let mut files = configuration.files().iter().map(|file| file.name.as_str());
    let first = files.next().unwrap_or_default();
    let with: Vec<_> = files.chain(configuration.environment.files()).collect();
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    writeln!(out, "{}: {what}{with}\n", out.paint(Style::Strong, first))?;
    for finding in findings {
        let label = match finding.id {
            Some(id) => format!("{} {id}", finding.level.word()),
            None => finding.level.word().to_owned(),
        };
        out.problem(finding.level.style(), &label, &finding.problem)?;
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let total = [
        (count(Level::Error), "error", "errors"),
        (count(Level::Critical), "critical", "critical"),
        (count(Level::Warn), "warning", "warnings"),
        (count(Level::Info), "note", "notes"),
    ];
    let total = total.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).join(", ");
    let style = if outcome == Outcome::Fine { Style::Good } else { Style::Bad };
    writeln!(out, "\n{}", out.paint(style, total))?;
    Ok(())
}
