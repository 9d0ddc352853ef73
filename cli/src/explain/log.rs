//! A request as an access log has it (docs/replay.md).

use std::borrow::Cow;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde_json::Value;

use super::answer::{self, Answer};
use super::answered::Answered;
use super::sent::Sent;
use super::{Args, secret};
use crate::input::{self, Configuration};
use crate::output::{Failure, Outcome, Output, visible};
use crate::record::{Record, Unjudged, as_latin1};
use crate::replay::{self, Judge};
use crate::wrapping::Parts;

/// The longest line that is read, as in `replay`.
const LONGEST: u64 = 4 << 20;
/// How many line numbers a message lists.
const SHOWN: usize = 10;

const HOW_TO_RECORD: &str = "record what the policy reads: `render envoy POLICY --record` prints it (docs/replay.md)";

/// A line of the log, without what was around it.
struct Line {
    number: u64,
    text: Vec<u8>,
}

/// What was read of the log.
#[derive(Default)]
struct Found {
    lines: u64,
    /// The lines with a `request_id`.
    with_id: u64,
    /// The lines that are meant.
    meant: Vec<Line>,
    /// Whether the line that is meant is only a part of one.
    is_part: bool,
}

/// Explains the request that is meant.
pub fn run(args: &Args, configuration: &Configuration, log: &Path, out: &mut Output) -> Result<Outcome, Failure> {
    let found = read(args, log)?;
    let place = input::name_of(log);
    let line = one(args, found, &place)?;
    let at = format!("{place}:{}", line.number);
    let value: Value = serde_json::from_slice(&line.text).map_err(|error| {
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default().to_owned();
        Failure::new(&*at, format!("is not a line of an access log: {said}"), "give a line that is a JSON object")
    })?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let sent = Sent { http2: text("protocol") == Some("HTTP/2"), ..Sent::default() };
    let recorded = match value.get(crate::record::KEY) {
        None => return Err(Failure::new(at, "has no \"recorded\"", HOW_TO_RECORD)),
        Some(Value::Null) => return answered_by_envoy(&value, &sent, &at, out),
        Some(recorded) => recorded.as_str().unwrap_or_default(),
    };
    let judge = Judge::of(configuration)?;
    let recorded = as_latin1(recorded);
    let lacks = |why: Unjudged| {
        let problem = match why {
            Unjudged::Lacks(field) => {
                let field = configuration.hidden.text(&field).into_owned();
                format!("lacks {field}, which the policy reads")
            }
            Unjudged::UnclearCopies(name) => format!("does not show how many copies of {name} there were"),
            Unjudged::Unreadable => "has a record that cannot be read".to_owned(),
        };
        Failure::new(&*at, problem, HOW_TO_RECORD)
    };
    let record = Record::read(&recorded).map_err(lacks)?;
    let peer = String::from_utf8_lossy(&record.peer()).into_owned();
    let judged = record.judge(&judge.policy, &judge.inputs, |request| {
        let mut notes = vec![
            "The log has what the policy reads: other headers are not shown, and a required header only as present"
                .to_owned(),
        ];
        let secrets: Vec<_> = judge.policy.secret_headers().collect();
        if !secrets.is_empty() {
            notes.push(format!(
                "No value of {} is in the log: if it is present, it counts as right",
                secrets.join(", ")
            ));
        }
        let answer = |notes| Answer::new(configuration, &judge.policy, request, &peer, &sent, notes);
        let logged = text("reason");
        let code = answer(Vec::new()).refused_for();
        if code.as_deref() != logged {
            let logged = logged.map_or_else(|| "that it passed".to_owned(), secret::without_tokens);
            notes.push(format!("The log says {logged}: another policy was in force then"));
        }
        answer(notes).write(out)
    });
    judged.map_err(lacks)?
}

/// What Envoy answered before the filter ran.
fn answered_by_envoy(line: &Value, sent: &Sent, at: &str, out: &mut Output) -> Result<Outcome, Failure> {
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let status = line.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let details = text("details").unwrap_or_else(|| "not logged".to_owned());
    let sent = Sent {
        method: text("method").unwrap_or_else(|| "a request".to_owned()),
        path: text("path").unwrap_or_default(),
        ..sent.clone()
    };
    let remedy = "look up the details in docs/troubleshooting.md, \"426, 400 or 431 without a reason\"";
    let because = format!("{at} has nothing recorded");
    let answered =
        Answered { status, details: Cow::Owned(details), because, remedy: remedy.to_owned(), after_filter: false };
    answer::write_answered(&answered, &sent, &text("peer").unwrap_or_else(|| "an unknown peer".to_owned()), out)
}

/// Reads the log to its end, or to the line that is meant.
fn read(args: &Args, log: &Path) -> Result<Found, Failure> {
    let unreadable = |error| input::unreadable(log, &error);
    let (log, _) = replay::open(log)?;
    let mut log = BufReader::new(log);
    let (mut found, mut parts) = (Found::default(), Parts::default());
    let (mut line, mut open) = (Vec::new(), 0_usize);
    loop {
        line.clear();
        let read = log.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            return Ok(found);
        }
        found.lines = found.lines.saturating_add(1);
        if !line.ends_with(b"\n") && u64::try_from(read).is_ok_and(|read| read == LONGEST) {
            // The rest of a line that is too long, and so cannot be one that is meant.
            while !line.ends_with(b"\n") && !line.is_empty() {
                line.clear();
                log.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(unreadable)?;
            }
            continue;
        }
        let number = found.lines;
        let Some(text) = parts.join(&line) else {
            found.is_part |= args.line == Some(number);
            // Memory is bounded: a line that never ends is dropped.
            open = open.saturating_add(line.len());
            if u64::try_from(open).is_ok_and(|open| open > LONGEST) {
                (parts, open) = (Parts::default(), 0);
            }
            continue;
        };
        open = 0;
        if let Some(wanted) = args.line {
            if wanted == number {
                found.meant.push(Line { number, text: text.into_owned() });
                return Ok(found);
            }
            continue;
        }
        let Some(id) = request_id(&text) else { continue };
        found.with_id = found.with_id.saturating_add(1);
        if Some(&*id) == args.request_id.as_deref() {
            found.meant.push(Line { number, text: text.into_owned() });
        }
    }
}

/// The ID of the request in a line, under the names that are usual.
fn request_id(text: &[u8]) -> Option<String> {
    if !text.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let value: Value = serde_json::from_slice(text).ok()?;
    let names = ["request_id", "x_request_id", "x-request-id", "requestId"];
    names.iter().find_map(|name| value.get(name)?.as_str().map(str::to_owned))
}

/// The one line that is meant.
fn one(args: &Args, mut found: Found, place: &str) -> Result<Line, Failure> {
    let lines = if found.lines == 1 { "1 line was".to_owned() } else { format!("{} lines were", found.lines) };
    let Some(id) = &args.request_id else {
        let wanted = args.line.unwrap_or_default();
        return found.meant.pop().ok_or_else(|| match (found.is_part, found.lines < wanted || wanted == 0) {
            (true, _) => Failure::new(
                place,
                format!("line {wanted} is a part of a line, which goes on below"),
                "give the number of the line with its end",
            ),
            (false, true) => Failure::new(
                place,
                format!("has no line {wanted}: {lines} read"),
                "give the number of a line; the first one is 1",
            ),
            (false, false) => Failure::new(place, format!("line {wanted} is too long"), "give a line of at most 4 MiB"),
        });
    };
    let shown = visible(&secret::without_tokens(id)).into_owned();
    match found.meant.len() {
        0 if found.with_id == 0 => Err(Failure::new(
            place,
            format!("has no line with a request_id: {lines} read"),
            "log it as envoy/envoy.yaml does, request_id: \"%REQ(X-REQUEST-ID)%\", or give --line N",
        )),
        0 => Err(Failure::new(
            place,
            format!("has no request with the ID {shown}: {lines} read, {} of them with an ID", found.with_id),
            "give the x-request-id that the Gateway got, which is request_id in Envoy's access log",
        )),
        1 => found.meant.pop().ok_or_else(|| Failure::new(place, "has no such line", "give --line N")),
        count => {
            let mut numbers: Vec<_> = found.meant.iter().take(SHOWN).map(|line| line.number.to_string()).collect();
            if count > SHOWN {
                numbers.push("…".to_owned());
            }
            Err(Failure::new(
                place,
                format!("has {count} lines with the ID {shown}: {}", numbers.join(", ")),
                "choose one with --line N: a client may send an ID more than once, and retries keep it",
            ))
        }
    }
}
