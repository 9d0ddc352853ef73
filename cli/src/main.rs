//! The command-line tool. It checks configurations and explains decisions, with the same code that decides in Envoy.
#![forbid(unsafe_code)]

mod candidates;
mod check;
mod explain;
mod input;
mod json5;
mod named;
#[cfg(all(test, feature = "gateway"))]
mod npm;
mod output;
mod proxies;
mod record;
mod render;
mod replay;
mod underscores;
mod wrapping;
mod yaml;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::{Colour, Failure, Output, visible};
use policy::text::is_hostile;

const HELP: &str = "\
Examples:
  openclaw-trusted-proxy check openclaw.json
  openclaw-trusted-proxy explain openclaw.json --peer 10.0.0.1 \\
    -H 'x-forwarded-for: 203.0.113.7' -H 'x-forwarded-user: nick@example.com'
  openclaw-trusted-proxy render envoy openclaw.json --proxy 10.0.0.1
  openclaw-trusted-proxy replay openclaw.json access.log --against stricter.json
  openclaw-trusted-proxy help explain

Exit codes:
  0    no error was found; the request passes; every line of a log was judged
  1    an error was found (with --strict, also a warning); the request is refused; some lines of a
       log could not be judged
  2    no answer: wrong arguments, an unreadable file, an invalid configuration
  141  the reader of the output closed it";

/// Checks, explains, renders and replays configurations of the trusted-proxy filter for Envoy.
#[derive(Parser)]
#[command(name = "openclaw-trusted-proxy", version, after_help = HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object instead of text
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// When to use colour; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, display_order = 901, value_enum, default_value_t, value_name = "WHEN")]
    color: Colour,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Explain(Box<explain::Args>),
    Render(Box<render::Args>),
    Replay(replay::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_arguments(&error),
    };
    let mut out = Output::new(cli.json, cli.color);
    let done = match &cli.command {
        Command::Check(args) => check::run(args, &mut out),
        Command::Explain(args) => explain::run(args, &mut out),
        Command::Render(args) => render::run(args, &mut out),
        Command::Replay(args) => replay::run(args, &mut out),
    };
    let done = done.and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    match done {
        Ok(outcome) => outcome.into(),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(failure) => {
            // If this cannot be written either, only the exit code is left.
            let _ = out.failure(&failure);
            ExitCode::from(2)
        }
    }
}

/// Help, or an error that quotes the arguments.
fn wrong_arguments(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if text.split('\n').any(|line| line.contains(is_hostile)) {
        let lines: Vec<_> = text.split('\n').map(visible).collect();
        // If this cannot be written, only the exit code is left.
        let _ = write!(io::stderr(), "{}", lines.join("\n"));
        return ExitCode::from(2);
    }
    error.exit()
}
