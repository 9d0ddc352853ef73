//! Access logs as containers and their tools show them.

use std::fs;

use serde_json::{Value, json};

use crate::{Run, files, tool_reading};

const TIME: &str = "2026-11-26T12:00:00.123456789Z";

fn replay(log: &str) -> Run {
    tool_reading(&["replay", "openclaw.json", "-", "--json"], log.as_bytes())
}

/// The access log among the files, line by line.
fn lines() -> Vec<String> {
    let log = fs::read_to_string(files().join("access.log")).unwrap();
    // Only those that the policy can judge.
    log.lines().filter(|line| replay(line).code == 0).map(str::to_owned).collect()
}

/// The decisions, without the numbers of their lines.
fn decisions(run: &Run) -> Vec<Value> {
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let all = report["decisions"].as_array().unwrap();
    all.iter().map(|one| json!([one["result"], one["reason"], one["count"]])).collect()
}

#[test]
fn a_wrapped_log_is_judged_like_the_log_itself() {
    let lines = lines();
    assert!(lines.len() > 3, "{lines:?}");
    let plain = decisions(&replay(&lines.join("\n")));
    let docker = |text: &str| json!({"log": text, "stream": "stdout", "time": TIME}).to_string();
    let wrappings: [(&str, &dyn Fn(&str) -> String); 7] = [
        ("timestamps", &|line| format!("{TIME} {line}")),
        ("prefix", &|line| format!("[pod/envoy-5d4f/envoy] {line}")),
        ("prefix and timestamps", &|line| format!("[pod/envoy-5d4f/envoy] {TIME} {line}")),
        ("CRI", &|line| format!("{TIME} stdout F {line}")),
        ("CRI in parts", &|line| {
            let (start, rest) = line.split_at(40);
            format!("{TIME} stdout P {start}\n{TIME} stderr F noise\n{TIME} stdout F {rest}")
        }),
        ("Docker", &|line| docker(&format!("{line}\n"))),
        ("Docker in parts", &|line| {
            let (start, rest) = line.split_at(40);
            format!("{}\n{}", docker(start), docker(&format!("{rest}\n")))
        }),
    ];
    for (name, wrap) in wrappings {
        let log: Vec<_> = lines.iter().map(|line| wrap(line)).collect();
        assert_eq!(decisions(&replay(&log.join("\n"))), plain, "{name}");
    }
}

#[test]
fn parts_are_joined_across_the_blocks_in_which_a_log_is_read() {
    let line = lines().remove(0);
    let (start, rest) = line.split_at(line.len() / 2);
    let one = format!("{TIME} stdout P {start}\n{TIME} stderr F noise\n{TIME} stdout F {rest}\n");
    let count = 5_000_000 / one.len();
    let run = replay(&one.repeat(count));
    let sum: u64 = decisions(&run).iter().map(|one| one[2].as_u64().unwrap()).sum();
    assert_eq!(sum, count as u64);
}

#[test]
fn other_lines_are_skipped_and_counted() {
    let line = lines().remove(0);
    let forged = format!("[2026-11-26 12:00:00.000][7][info] GET /{line}");
    let own = json!({"level": "info", "message": "cm init"});
    let run = replay(&format!("{line}\nstarting\n{own}\n{forged}\n{TIME} stderr F x\n"));
    assert_eq!(decisions(&run)[0][2], 1);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&report["lines"], &report["skipped"]["count"]), (&json!(5), &json!(4)));
    assert_eq!(report["skipped"]["examples"][0]["line"], 2);
    let text = tool_reading(&["replay", "openclaw.json", "-"], format!("{line}\nstarting\n").as_bytes());
    assert!(text.stdout.contains("1  skipped: not of an access log (first at line 2)"), "{}", text.stdout);
}

#[test]
fn what_may_have_been_a_request_is_never_skipped() {
    let line = lines().remove(0);
    for (what, log) in [
        ("a line that is cut", format!("{line}\n{}\n", &line[..40])),
        ("a line without its end", format!("{line}\n{TIME} stdout P {}\n", &line[..40])),
        ("a line without a record", format!("{line}\n{{\"status\": 200}}\n")),
        (
            "a request with a level and a message",
            format!("{line}\n{{\"status\": 200, \"level\": \"info\", \"message\": \"GET /\"}}\n"),
        ),
    ] {
        assert_eq!(replay(&log).code, 1, "{what}");
    }
}

#[test]
fn a_log_without_a_line_of_an_access_log_is_an_error() {
    for log in ["", "\n", "starting\n", "{\"level\":\"info\",\"msg\":\"x\"}\n"] {
        let run = replay(log);
        assert_eq!(run.code, 2, "{log:?}: {}", run.stdout);
        assert!(run.stderr.contains("no line of an access log"), "{log:?}: {}", run.stderr);
    }
}
