//! The filter before a real Gateway, through a real Envoy, and against the Gateway's own functions.

mod agreement;
mod audit;
mod browser;
mod ceilings;
mod clients;
mod devices;
mod generate;
mod http2;
mod istio;
mod migration;
mod placements;
mod rendered;
mod verdicts;

/// Past the capture of tests that pass: what was compared is worth some lines.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "{text}").unwrap();
}
