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

/// An access log with a retry, a line without a record, one that lacks a field, and one of Envoy's own answers.
fn log() -> String {
    let lines = lines();
    let with_id = |line: &str, id: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["request_id"] = json!(id);
        line.to_string()
    };
    let lacking = with_id(&lines[0], "lacking").replace(r#"\"origin\":null,"#, "");
    assert!(!lacking.contains("origin"), "{lacking}");
    [
        "starting".to_owned(),
        with_id(&lines[0], "one"),
        json!({"level": "info", "message": "noise"}).to_string(),
        with_id(&lines[1], "twice"),
        with_id(&lines[2], "twice"),
        json!({"status": 200, "request_id": "unrecorded"}).to_string(),
        lacking,
        json!({"status": 400, "recorded": null, "details": "http1.codec_error", "request_id": null}).to_string(),
        "{\"broken".to_owned(),
    ]
    .map(|line| line + "\n")
    .concat()
}

fn explain(log: &str, more: &[&str]) -> Run {
    tool_reading(&[&["explain", "openclaw.json", "--log", "-", "--json"], more].concat(), log.as_bytes())
}

#[test]
fn a_request_is_found_in_a_log_however_it_is_wrapped() {
    let log = log();
    let plain = explain(&log, &["--request-id", "one"]);
    let answer: Value = serde_json::from_str(&plain.stdout).unwrap();
    assert_eq!((plain.code, &answer["verdict"], &answer["user"]), (0, &json!("admitted"), &json!("nick@example.com")));
    assert_eq!(explain(&log, &["--line", "2"]).stdout, plain.stdout);
    let docker = |text: &str| json!({"log": text, "stream": "stdout", "time": TIME}).to_string();
    let wrappings: [(&str, &dyn Fn(&str) -> String); 5] = [
        ("prefix and timestamps", &|line| format!("[pod/envoy-5d4f/envoy] {TIME} {line}\n")),
        ("CRI", &|line| format!("{TIME} stdout F {line}\n")),
        ("CRI in parts", &|line| {
            let (start, rest) = line.split_at(line.len().min(40));
            format!("{TIME} stdout P {start}\n{TIME} stderr F noise\n{TIME} stdout F {rest}\n")
        }),
        ("Docker", &|line| docker(&format!("{line}\n")) + "\n"),
        ("Docker in parts", &|line| {
            let (start, rest) = line.split_at(line.len().min(40));
            format!("{}\n{}\n", docker(start), docker(&format!("{rest}\n")))
        }),
    ];
    for (name, wrap) in wrappings {
        let wrapped: String = log.lines().map(wrap).collect();
        let run = explain(&wrapped, &["--request-id", "one"]);
        assert_eq!(run.stdout, plain.stdout, "{name}: {}", run.stderr);
    }
    // A part of a line is not a line.
    let parts: String =
        log.lines().map(|line| format!("{TIME} stdout P {}\n{TIME} stdout F {}\n", &line[..5], &line[5..])).collect();
    assert_eq!(explain(&parts, &["--line", "4"]).stdout, plain.stdout);
    let run = explain(&parts, &["--line", "3"]);
    assert!(run.code == 2 && run.stderr.contains("line 3 is a part of a line"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_explained_from_a_log_says_why() {
    let log = log();
    for (more, expected) in [
        (&["--request-id", "none"][..], "has no request with the ID none: 9 lines were read, 5 of them with an ID"),
        (&["--request-id", "twice"], "has 2 lines with the ID twice: 4, 5\n   = choose one with --line N"),
        (&["--request-id", "unrecorded"], "standard input:6: has no \"recorded\"\n   = record what the policy reads"),
        (&["--request-id", "lacking"], "standard input:7: lacks headers.origin, which the policy reads"),
        (&["--line", "1"], "standard input:1: is not a line of an access log"),
        (&["--line", "9"], "standard input:9: is not a line of an access log"),
        (&["--line", "3"], "standard input:3: has no \"recorded\""),
        (&["--line", "0"], "has no line 0: 9 lines were read"),
        (&["--line", "10"], "has no line 10: 9 lines were read"),
        (&["--line", "x"], "invalid value 'x' for '--line"),
        (&[], "<--request-id <ID>|--line <N>>"),
        (&["--line", "1", "--request-id", "one"], "cannot be used with"),
        (&["--line", "1", "--peer", "10.0.0.1"], "cannot be used with"),
        (&["--line", "1", "-H", "a: b"], "cannot be used with"),
    ] {
        let run = explain(&log, more);
        assert!(run.code == 2 && run.stderr.contains(expected), "{more:?}: {}", run.stderr);
    }
    for (log, expected) in [
        ("", "has no line with a request_id: 0 lines were read"),
        ("{\"status\": 200}\n", "has no line with a request_id: 1 line was read"),
        ("\u{1f}", "has no line with a request_id"),
    ] {
        let run = explain(log, &["--request-id", "one"]);
        assert!(run.code == 2 && run.stderr.contains(expected), "{log:?}: {}", run.stderr);
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let gz = folder.join("explained.gz");
    fs::write(&gz, b"\x1F\x8B\x08\0").unwrap();
    for (log, expected) in
        [(gz.to_str().unwrap(), "is compressed\n   = decompress it first"), ("none.log", "cannot be read")]
    {
        let run = crate::tool(&["explain", "openclaw.json", "--log", log, "--line", "1"]);
        assert!(run.code == 2 && run.stderr.contains(expected), "{}", run.stderr);
    }
    let run = crate::tool(&["explain", "-", "--log", "-", "--line", "1"]);
    assert!(run.code == 2 && run.stderr.contains("both the policy and the log"), "{}", run.stderr);
}

#[test]
fn a_log_shows_what_envoy_answered_and_what_another_policy_decided() {
    let run = explain(&log(), &["--line", "8"]);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &answer["verdict"]), (1, &json!("refused_by_envoy")));
    assert_eq!((&answer["envoy"]["status"], &answer["envoy"]["details"]), (&json!(400), &json!("http1.codec_error")));
    let other = lines()[0].replace("\"reason\":null", "\"reason\":\"trusted_proxy_user_not_allowed\"");
    let run = explain(&other, &["--line", "1"]);
    assert!(
        run.stdout.contains("The log says trusted_proxy_user_not_allowed: another policy was in force then"),
        "{}",
        run.stdout
    );
    // A secret that was recorded as present counts as right, and is not shown.
    let text = tool_reading(&["explain", "openclaw.json", "--log", "-", "--line", "1"], lines()[0].as_bytes());
    assert!(text.code == 0 && text.stdout.contains("x-edge-proof: ***"), "{}", text.stdout);
}
