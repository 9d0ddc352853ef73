//! `check`: the errors in a configuration, and the findings of an audit.

mod attach;
mod code;
mod deployment;
mod envoy;
mod finding;
mod format;
mod gateway;
mod ids;
mod mesh;
mod odd;
mod order;
mod placement;
mod proxy;
mod report;
mod routes;
mod schema;
mod several;
mod shown;
mod stamped;
mod starts;
mod underscores;
mod waypoint;
mod witness;

use std::io::Write as _;
use std::path::PathBuf;

use policy::peer::Address;
use serde_json::{Value, json};

use crate::input::{Configuration, Input};
use crate::named;
use crate::output::{Failure, Outcome, Output, Problem, Style, visible};
use crate::proxies::Proxy;
use finding::Finding;
use format::Format;
use shown::{add_findings, outcome, write_findings};
use witness::Witnesses;

const HELP: &str = "\
FILE is an openclaw.json, or the plugin configuration that Envoy passes to the filter:
{\"gateway\": {...}, \"filter\": {...}}. In an openclaw.json, the block `gateway` is checked,
with its includes and variables resolved as the Gateway resolves them.

FILE can also be YAML, Envoy's bootstrap, Kubernetes manifests, or a folder with such files
(.json, .json5, .yaml, .yml), and there can be several. Then every policy in them is checked,
and what is around each: whether the Gateway stays closed without the filter, and what Envoy
does before and after it.

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
  openclaw-trusted-proxy check policy.json --proxy oauth2-proxy
  openclaw-trusted-proxy check - < openclaw.json
  openclaw-trusted-proxy check deploy
  openclaw-trusted-proxy check openclaw.json deploy

Exit codes: 0 no errors, 1 errors (with --strict, also warnings), 2 no answer.";

/// Check a configuration: report every error with its location and remedy, then audit findings
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Configurations, and folders with them; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The filter's settings for an openclaw.json: a file with the object that a plugin configuration has under
    /// `filter`
    #[arg(long, value_name = "FILE")]
    filter: Option<PathBuf>,
    /// A file with NAME=value lines from the Gateway's environment; may be repeated, and the first file that sets a
    /// name wins
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Do not read this command's own environment, because the Gateway runs in a different one
    #[arg(long)]
    ignore_environment: bool,
    /// The address from which Envoy connects to the Gateway
    #[arg(long, value_name = "IP")]
    envoy: Option<String>,
    /// The identity proxy that connects to Envoy: check that the policy fits what it sends
    #[arg(long, value_name = "NAME", value_parser = named::proxy())]
    proxy: Option<&'static Proxy>,
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

impl Args {
    /// How each file is read.
    fn input(&self) -> Input {
        Input {
            file: self.files.first().cloned().unwrap_or_default(),
            filter: self.filter.clone(),
            env_file: self.env_file.clone(),
            ignore_environment: self.ignore_environment,
            filter_option: None,
        }
    }
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
    if args.witness && [Format::Sarif, Format::Github].contains(&args.format) {
        return Err(Failure::new("--witness", "cannot be printed in this format", "use --format text or json"));
    }
    let envoy = match &args.envoy {
        None => None,
        Some(text) => Some(Address::parse(text.as_bytes()).ok_or_else(|| {
            Failure::new("--envoy", format!("{text:?} is not an IP address"), "give an IP address, such as 10.0.0.2")
        })?),
    };
    let input = args.input();
    let configuration = match args.files.as_slice() {
        // A request for the one policy of a file, wherever it is in it.
        [file] if !file.is_dir() && args.witness => Some(input.read()?),
        [file] if !file.is_dir() => input.read_plain()?,
        _ => None,
    };
    let Some(configuration) = configuration else {
        if args.witness {
            let remedy = "give one file with one policy";
            return Err(Failure::new("--witness", "cannot be used with a folder or several files", remedy));
        }
        return several::run(
            &args.files,
            &input,
            (args.strict, args.format),
            &|found| findings(found, Witnesses::search(found).as_ref(), envoy, args.proxy),
            out,
        );
    };
    let witnesses = Witnesses::search(&configuration);
    let findings = findings(&configuration, witnesses.as_ref(), envoy, args.proxy);
    let outcome = outcome(&findings, args.strict);
    let witnesses = witnesses.filter(|_| args.witness);
    let first = configuration.files().first().map_or("", |file| file.name.as_str());
    let placed: Vec<_> = findings.iter().map(|finding| (first, finding)).collect();
    if format::write(args.format, &placed, outcome, &[], out)? {
        return Ok(outcome);
    }
    if out.is_json() {
        let mut json = to_json(&configuration, &findings, outcome);
        add_proxy(&mut json, args.proxy);
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

/// All findings, the most severe first; within one severity, in the order in which they were found.
fn findings(
    configuration: &Configuration,
    witnesses: Option<&Witnesses<'_>>,
    envoy: Option<Address>,
    proxy: Option<&'static Proxy>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unresolved = configuration.unresolved_problems();
    match configuration.compile() {
        Ok(compiled) => gateway::add_audit(configuration, &compiled.findings, &mut findings),
        Err(problems) => {
            // An error in a value with an unset variable is only a consequence: the variable itself is reported below.
            let is_news = |problem: &Problem| !unresolved.iter().any(|other| other.place == problem.place);
            let error = |problem| Finding::error(gateway::id_of(&problem), problem);
            findings.extend(problems.into_iter().filter(is_news).map(error));
        }
    }
    findings.extend(unresolved.into_iter().map(|problem| Finding::error("check.unset_variable", problem)));
    gateway::add_release(configuration, &mut findings);
    gateway::add_gateways_own(configuration, &mut findings);
    deployment::add(configuration, envoy, &mut findings);
    starts::add(configuration, &mut findings);
    if let Some(witnesses) = witnesses {
        witnesses.add(&mut findings);
    }
    underscores::add(configuration, &mut findings);
    match proxy {
        Some(proxy) => proxy::add(configuration, proxy, &mut findings),
        None => proxy::add_likely(configuration, &mut findings),
    }
    findings.sort_by_key(Finding::rank);
    findings
}

fn to_json(configuration: &Configuration, findings: &[Finding], outcome: Outcome) -> Value {
    let mut json = json!({
        "verdict": if outcome == Outcome::Fine { "fine" } else { "errors" },
        "kind": configuration.kind.word(),
        "files": configuration.files().iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
        "environment": configuration.environment.sources().collect::<Vec<_>>(),
    });
    add_findings(&mut json, &findings.iter().collect::<Vec<_>>());
    json
}

/// The proxy that was named, and where what is known of it is from.
fn add_proxy(json: &mut Value, proxy: Option<&Proxy>) {
    if let Some(Proxy { name, title, note, encoding, sources, .. }) = proxy {
        let encoding = encoding.name();
        json["proxy"] = json!({"name": name, "title": title, "note": note, "encoding": encoding, "sources": sources});
    }
}

fn write_text(
    configuration: &Configuration,
    findings: &[Finding],
    outcome: Outcome,
    out: &mut Output,
) -> Result<(), Failure> {
    let what = configuration.kind.title();
    let mut files = configuration.files().iter().map(|file| visible(&file.name));
    let first = files.next().unwrap_or_default();
    let with: Vec<_> = files.chain(configuration.environment.files().map(visible)).collect();
    let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(", ")) };
    writeln!(out, "{}: {what}{with}\n", out.paint(Style::Strong, first))?;
    write_findings(findings, outcome, out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use allocation_counter::measure;

    use super::*;
    use crate::proxies::Proxy;

    /// An openclaw.json with this in its gateway block, and these users.
    fn text(gateway: &str, users: &str) -> String {
        format!(
            "{{gateway: {{bind: 'lan', trustedProxies: ['10.0.0.2'], {gateway} auth: {{mode: 'trusted-proxy', \
             trustedProxy: {{userHeader: 'x-user', allowUsers: [{users}]}}}}}}}}"
        )
    }

    /// Time is not measured. What is read, sought, said and cut is allocated, and a second look at everything for each
    /// mistake would show here.
    #[test]
    fn work_grows_no_faster_than_the_number_of_mistakes() {
        let all = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(", ");
        type Make<'a> = &'a dyn Fn(usize) -> String;
        let kinds: [(&str, Make<'_>); 7] = [
            ("objects", &|count| text("", &all(count, &|at| format!("{{name: 'user{at}'}}")))),
            ("unknown keys", &|count| text(&(all(count, &|at| format!("key{at}: 1")) + ","), "")),
            ("misspelled keys", &|count| text(&(all(count, &|at| format!("controlUI{at}: 1")) + ","), "")),
            ("secrets", &|count| text(&(all(count, &|at| format!("token{at}: 'x'")) + ","), "")),
            ("placeholders", &|count| text("", &all(count, &|at| format!("'$NAME{at}'")))),
            ("variables", &|count| text("", &all(count, &|at| format!("'${{NAME{at}}}'")))),
            ("beyond ASCII", &|count| text("", &all(count, &|at| format!("'jörg{at}'")))),
        ];
        let path = std::env::temp_dir().join(format!("openclaw-work-{}.json", std::process::id()));
        let proxy = Proxy::named("oauth2-proxy");
        for (kind, make) in kinds {
            let cost = |count: usize| {
                std::fs::write(&path, make(count)).unwrap();
                let input = Input { file: path.clone(), ignore_environment: true, ..Input::default() };
                let mut found = 0;
                let info = measure(|| {
                    let configuration = input.read().unwrap_or_else(|_| panic!("{kind}"));
                    let findings = findings(&configuration, Witnesses::search(&configuration).as_ref(), None, proxy);
                    found = to_json(&configuration, &findings, Outcome::Found).to_string().len();
                });
                (info.count_total, info.bytes_total, found)
            };
            let ((count, bytes, _), (more, more_bytes, _)) = (cost(400), cost(2400));
            assert!(count > 400 && more <= count * 8, "{kind}: {count} and {more} allocations");
            assert!(more_bytes <= bytes * 8, "{kind}: {bytes} and {more_bytes} bytes");
        }
        std::fs::remove_file(path).unwrap();
    }
}
