//! `check`: what is wrong with a configuration, and what deserves a thought.

use std::io::Write as _;
use std::path::PathBuf;

use crate::input;
use crate::output::{Failure, Outcome, Output, Style};

/// Check a configuration: errors with their place and remedy, then audit findings
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An openclaw.json, or a plugin configuration; - is standard input
    file: PathBuf,
    #[command(flatten)]
    options: input::Options,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let configuration = input::read(&args.file, &args.options)?;
    match configuration.compile() {
        Err(problems) => {
            for problem in &problems {
                out.problem(Style::Bad, "error", problem)?;
            }
            Ok(Outcome::Found)
        }
        Ok(compiled) => {
            for finding in &compiled.findings {
                writeln!(out, "{finding}")?;
            }
            Ok(Outcome::Fine)
        }
    }
}
