//! `replay`: what a policy decides on the requests in an access log, and what another policy decides differently.

mod lines;
mod report;
mod tally;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use policy::Policy;
use policy::config::compile;
use serde_json::Value;

use crate::input::{self, Configuration, Hidden, Input};
use crate::output::{Failure, Outcome, Output};
use crate::record::{self, Inputs};

const HELP: &str = "\
The log has one JSON object per line, with what the policy reads under \"recorded\".
`render envoy FILE --record` prints an Envoy configuration that writes such a log, and
docs/replay.md describes the format. Nothing is guessed: a line that lacks something that the
policy reads is counted as not judged. Lines of other logs, such as Envoy's own, are skipped and
counted. What `kubectl logs`, a container runtime (CRI), Docker or the journal put around a
line is taken off.

Examples:
  openclaw-trusted-proxy replay openclaw.json access.log
  openclaw-trusted-proxy replay openclaw.json access.log --against stricter.json
  kubectl logs deploy/envoy | openclaw-trusted-proxy replay openclaw.json - --json

Exit codes: 0 every request was judged, 1 some lines of the access log could not be judged,
2 no answer, also if the log has no line of an access log.";

/// The first bytes of gzip, zstd and xz files.
const COMPRESSED: [&[u8]; 3] = [b"\x1F\x8B", b"\x28\xB5", b"\xFD\x37"];

/// Judge the requests in an Envoy access log: count results and reasons, and show what another policy changes
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// The access log, one JSON object per line; - is standard input
    log: PathBuf,
    /// Another configuration: show what it decides differently
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The filter's settings for --against, if that is an openclaw.json
    #[arg(long, value_name = "FILE", requires = "against")]
    against_filter: Option<PathBuf>,
    /// How many examples to show for each result
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
}

/// A policy, and what it reads.
pub struct Judge {
    pub policy: Policy,
    pub inputs: Inputs,
    hidden: Hidden,
}

impl Judge {
    fn read(input: &Input) -> Result<Self, Failure> {
        Self::of(&input.read()?)
    }

    /// The policy of a configuration. Its secrets count as right if they were recorded as present.
    pub fn of(configuration: &Configuration) -> Result<Self, Failure> {
        let mut policy = configuration.policy()?.policy;
        let json: Value = serde_json::from_str(&configuration.plugin_json()).unwrap_or_default();
        if policy.secret_headers().next().is_some() {
            let json = record::without_secrets(json.clone());
            // It differs only in digests, so it is as valid.
            policy = compile(json.to_string().as_bytes()).map_or(policy, |compiled| compiled.policy);
        }
        let inputs = Inputs::of(&json, &policy);
        Ok(Self { policy, inputs, hidden: configuration.hidden.clone() })
    }
}

/// Opens a log, which must not be compressed. Also returns its length in bytes, or 0 if that is not known.
pub fn open(path: &Path) -> Result<(impl Read + Send + use<>, u64), Failure> {
    let unreadable = |error| input::unreadable(path, &error);
    let (mut log, length): (Box<dyn Read + Send>, u64) = if input::is_stdin(path) {
        (Box::new(io::stdin()), 0)
    } else {
        let file = input::open_log(path)?;
        let length = file.metadata().map_or(0, |data| data.len());
        (Box::new(file), length)
    };
    // A rotated log is often compressed: without this check, each line of noise would count as not judged.
    let mut head = Vec::new();
    log.by_ref().take(2).read_to_end(&mut head).map_err(unreadable)?;
    if COMPRESSED.contains(&head.as_slice()) {
        return Err(Failure::new(
            input::name_of(path),
            "is compressed",
            "decompress it first, and read it from standard input: zcat LOG | openclaw-trusted-proxy …, with - as the log",
        ));
    }
    Ok((io::Cursor::new(head).chain(log), length))
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let log_is_stdin = input::is_stdin(&args.log);
    if args.input.is_stdin() && log_is_stdin {
        return Err(Failure::new("-", "is given for both the policy and the log", "read one of them from a file"));
    }
    let judge = Judge::read(&args.input)?;
    let against = match &args.against {
        Some(file) => {
            let filter = args.against_filter.clone();
            let filter_option = Some("--against-filter");
            Some(Judge::read(&Input { file: file.clone(), filter, filter_option, ..args.input.clone() })?)
        }
        None => None,
    };
    let (log, length) = open(&args.log)?;
    let unreadable = |error| input::unreadable(&args.log, &error);
    let tally = lines::tally(log, length, &judge, against.as_ref(), args.examples).map_err(unreadable)?;
    if !tally.has_requests() {
        return Err(Failure::new(
            input::name_of(&args.log),
            format!("has no line of an access log ({} of something else)", tally.skipped.count),
            "give the log of an Envoy that `render envoy FILE --record` configured (docs/replay.md)",
        ));
    }
    let judges: Vec<_> = std::iter::once(&judge).chain(&against).collect();
    let tally = tally
        .map_names(|name| judges.iter().fold(name.to_owned(), |name, judge| judge.hidden.text(&name).into_owned()));
    report::write(&tally, against.as_ref().map(|judge| &judge.policy), out)?;
    Ok(if tally.is_complete() { Outcome::Fine } else { Outcome::Found })
}
