//! The filter in front of a real Gateway, through a real Envoy, and compared with the Gateway's own functions.

mod agreement;
mod audit;
mod browser;
mod ceilings;
mod clients;
mod devices;
mod generate;
mod http2;
mod migration;
mod mounted;
mod open_sockets;
mod placements;
mod plugins;
mod public_files;
mod releases;
mod rendered;
mod schema;
mod starts;
mod verdicts;

/// Bypasses the output capture of passing tests, to show what was compared.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "{text}").unwrap();
}
