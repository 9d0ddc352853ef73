//! `explain`: what the filter would do with one request, rule by rule.

use std::path::PathBuf;

use crate::input;
use crate::output::{Failure, Outcome, Output};

/// Explain the decision about one request
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An openclaw.json, or a plugin configuration; - is standard input
    file: PathBuf,
    #[command(flatten)]
    options: input::Options,
}

/// Runs the subcommand.
pub fn run(args: &Args, _: &mut Output) -> Result<Outcome, Failure> {
    let configuration = input::read(&args.file, &args.options)?;
    configuration.policy().map(|_| Outcome::Fine)
}
