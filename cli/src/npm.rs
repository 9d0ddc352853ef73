//! The Gateway's own parsers, for tests that compare ours with them.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::Stdio;

use harness::gateway;
use serde_json::json;

/// Reads these texts with one of the Gateway's packages: each result, or `None` where the package reports an error.
pub fn read(package: &str, texts: &[String]) -> Vec<Option<String>> {
    let mut reader = gateway::script("read.mjs");
    let reader = reader.arg(gateway::installed().0).arg(package).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().unwrap();
    let mut input = reader.stdin.take().unwrap();
    let lines: String = texts.iter().map(|text| json!(text).to_string() + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = reader.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "read.mjs ends with {}", output.status);
    let lines = String::from_utf8(output.stdout).unwrap();
    let read: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len(), texts.len());
    read
}
