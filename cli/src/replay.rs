//! `replay`: what a policy would have decided about the requests of an access log, and what another one would.

mod lines;
mod report;
mod tally;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use policy::Policy;
use serde_json::Value;

use crate::input;
use crate::output::{Failure, Outcome, Output};
use crate::record::Inputs;

const HELP: &str = "\
The log has one JSON object a line, with what the policy reads under \"recorded\": `render envoy --record FILE` writes an Envoy
configuration that logs so, and docs/replay.md explains the format. Nothing is guessed: a line that lacks what the policy reads is
counted as not judged.

Examples:
  openclaw-trusted-proxy replay openclaw.json access.log
  openclaw-trusted-proxy replay openclaw.json access.log --against stricter.json
  kubectl logs deploy/envoy | openclaw-trusted-proxy replay openclaw.json - --json

Exit codes: 0 every request was judged, 1 some lines could not be, 2 no answer.";

/// How files of gzip, zstd and xz begin.
const COMPRESSED: [&[u8]; 3] = [b"\x1F\x8B", b"\x28\xB5", b"\xFD\x37"];

/// Judge the requests of an Envoy access log: counts by result and reason, with examples, and what another policy
/// would change
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// An openclaw.json, or a plugin configuration
    file: PathBuf,
    #[command(flatten)]
    options: input::Options,
    /// The access log, one JSON object a line; - is standard input
    log: PathBuf,
    /// Another configuration: what would it decide differently?
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The filter's own settings for --against, beside an openclaw.json
    #[arg(long, value_name = "FILE", requires = "against")]
    against_filter: Option<PathBuf>,
    /// How many examples to show of each
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
}

/// A policy, and what it reads.
pub struct Judge {
    policy: Policy,
    inputs: Inputs,
}

impl Judge {
    fn read(file: &Path, options: &input::Options) -> Result<Self, Failure> {
        let configuration = input::read(file, options)?;
        let policy = configuration.policy()?.policy;
        let json: Value = serde_json::from_str(&configuration.plugin_json()).unwrap_or_default();
        let inputs = Inputs::of(&json, &policy);
        Ok(Self { policy, inputs })
    }
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    if args.file.as_os_str() == "-" && args.log.as_os_str() == "-" {
        return Err(Failure::new("-", "stands for the policy and for the log", "give one of them as a file"));
    }
    let judge = Judge::read(&args.file, &args.options)?;
    let against = match &args.against {
        Some(file) => {
            let options = input::Options { filter: args.against_filter.clone(), ..args.options.clone() };
            Some(Judge::read(file, &options)?)
        }
        None => None,
    };
    let unreadable = |error: &io::Error| {
        let place = input::name_of(&args.log);
        Failure::new(place, format!("cannot be read: {error}"), "check the path, and that you may read the file")
    };
    let (mut log, length): (Box<dyn Read + Send>, u64) = if args.log.as_os_str() == "-" {
        (Box::new(io::stdin()), 0)
    } else {
        let file = File::open(&args.log).map_err(|error| unreadable(&error))?;
        let length = file.metadata().map_or(0, |data| data.len());
        (Box::new(file), length)
    };
    // Logs that were rotated: else each line of noise would be one that could not be judged.
    let mut head = Vec::new();
    log.by_ref().take(2).read_to_end(&mut head).map_err(|error| unreadable(&error))?;
    if COMPRESSED.contains(&head.as_slice()) {
        let place = input::name_of(&args.log);
        return Err(Failure::new(
            place,
            "is compressed",
            "unpack it on the way: zcat LOG | openclaw-trusted-proxy replay POLICY -",
        ));
    }
    let log = io::Cursor::new(head).chain(log);
    let tally =
        lines::tally(log, length, &judge, against.as_ref(), args.examples).map_err(|error| unreadable(&error))?;
    report::write(&tally, against.is_some(), out)?;
    Ok(if tally.is_complete() { Outcome::Fine } else { Outcome::Found })
}
