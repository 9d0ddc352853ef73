//! What containers and their tools put around a line of a log: `kubectl logs` with `--prefix` and `--timestamps`, files
//! of a container runtime (CRI), Docker's json-file, and the journal.
//!
//! Only these forms are taken off. Elsewhere in a line, a `{` may be a client's own text in a message of Envoy.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

/// A line without what was around it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unwrapped<'a> {
    pub text: Cow<'a, [u8]>,
    /// The stream that the line is from, if it was cut into parts there.
    pub stream: Cow<'a, str>,
    /// Whether the next line of the stream continues this one.
    pub continues: bool,
}

/// A line of Docker's json-file.
#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Takes off what is around a line.
pub fn unwrap(line: &[u8]) -> Unwrapped<'_> {
    let line = line.trim_ascii();
    if line.starts_with(b"{") {
        return docker(line).unwrap_or_else(|| whole(line));
    }
    let rest = without_pod(line);
    let (rest, stamped) = match word(rest) {
        (first, rest) if is_time(first) => (rest, true),
        _ => (rest, false),
    };
    if stamped {
        let (stream, after) = word(rest);
        let (tag, text) = word(after);
        let stream = match stream {
            b"stdout" => Some("stdout"),
            b"stderr" => Some("stderr"),
            _ => None,
        };
        // More tags may follow the first one, after a colon.
        let tag = tag.split(|byte| *byte == b':').next().unwrap_or_default();
        if let (Some(stream), b"F" | b"P") = (stream, tag) {
            return Unwrapped { text: text.into(), stream: stream.into(), continues: tag == b"P" };
        }
    }
    whole(without_journal(rest))
}

const fn whole(text: &[u8]) -> Unwrapped<'_> {
    Unwrapped { text: Cow::Borrowed(text), stream: Cow::Borrowed(""), continues: false }
}

fn docker(line: &[u8]) -> Option<Unwrapped<'_>> {
    // Docker writes its keys in this order. An access log has a `log` of its own only by chance.
    if !line.starts_with(b"{\"log\":\"") {
        return None;
    }
    let Docker { log, stream } = serde_json::from_slice(line).ok()?;
    let continues = !log.ends_with('\n');
    let text = match log {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Some(Unwrapped { text, stream, continues })
}

/// The first word of a text, and what follows the space after it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(1)..).unwrap_or_default()),
        None => (text, b""),
    }
}

/// Whether this is a time as in RFC 3339, `2026-11-26T12:00:00.123456789Z`.
fn is_time(word: &[u8]) -> bool {
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, like): (&u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == like };
    let rest = word.get(shape.len()..).unwrap_or_default();
    let is_zone = |byte: &u8| byte.is_ascii_digit() || b".:+-Zz".contains(byte);
    !rest.is_empty() && word.iter().zip(shape).all(fits) && rest.iter().all(is_zone)
}

/// Without `[pod/NAME/CONTAINER] `, as `kubectl logs --prefix` writes it.
fn without_pod(line: &[u8]) -> &[u8] {
    let (first, rest) = word(line);
    if first.starts_with(b"[pod/") && first.ends_with(b"]") { rest } else { line }
}

/// Without `Nov 26 12:00:00 HOST PROGRAM[PID]: `, as the journal and syslog write it, or the same with one time.
fn without_journal(line: &[u8]) -> &[u8] {
    let is_clock = |word: &[u8]| word.len() == 8 && word.iter().all(|byte| byte.is_ascii_digit() || *byte == b':');
    let (month, rest) = word(line);
    let (day, rest) = word(rest.trim_ascii_start());
    let (clock, rest) = word(rest);
    let (_, rest) = word(rest);
    let (program, rest) = word(rest);
    let is_day = !day.is_empty() && day.iter().all(u8::is_ascii_digit);
    if MONTHS.contains(&month) && is_day && is_clock(clock) && program.ends_with(b":") { rest } else { line }
}

/// Puts lines together that were cut into parts.
#[derive(Debug, Default)]
pub struct Parts {
    open: BTreeMap<String, Vec<u8>>,
}

impl Parts {
    /// The whole line, if this is its end.
    pub fn join<'a>(&mut self, line: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Unwrapped { text, stream, continues } = unwrap(line);
        if continues {
            self.open.entry(stream.into_owned()).or_default().extend_from_slice(&text);
            return None;
        }
        match self.open.remove(&*stream) {
            Some(mut start) => {
                start.extend_from_slice(&text);
                Some(Cow::Owned(start))
            }
            None => Some(text),
        }
    }

    /// Whether a line has no end yet.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Parts;

    /// The lines in a log, without what is around them.
    fn lines(log: &str) -> Vec<String> {
        let mut parts = Parts::default();
        let joined = log.split_inclusive('\n').filter_map(|line| parts.join(line.as_bytes()));
        joined.map(|line| String::from_utf8_lossy(&line).trim().to_owned()).collect()
    }

    #[test]
    fn known_wrappings_are_taken_off_and_others_stay() {
        for (wrapped, inner) in [
            ("{\"a\":1}", "{\"a\":1}"),
            ("2026-11-26T12:00:00.1Z {\"a\":1}", "{\"a\":1}"),
            ("2026-11-26T12:00:00.1Z stdout F {\"a\":1}", "{\"a\":1}"),
            ("2026-11-26T12:00:00.1+01:00 stderr F:x {\"a\":1}", "{\"a\":1}"),
            ("[pod/envoy-1/envoy] {\"a\":1}", "{\"a\":1}"),
            ("[pod/envoy-1/envoy] 2026-11-26T12:00:00Z {\"a\":1}", "{\"a\":1}"),
            ("Nov  6 12:00:00 host envoy[7]: {\"a\":1}", "{\"a\":1}"),
            (r#"{"log":"{\"a\":1}\n","stream":"stdout","time":"2026-11-26T12:00:00Z"}"#, "{\"a\":1}"),
            ("[2026-11-26 12:00:00.000][7][info] path {\"a\":1}", "[2026-11-26 12:00:00.000][7][info] path {\"a\":1}"),
            ("x 2026-11-26T12:00:00Z {\"a\":1}", "x 2026-11-26T12:00:00Z {\"a\":1}"),
            ("Nov 6 said: {\"a\":1}", "Nov 6 said: {\"a\":1}"),
        ] {
            assert_eq!(lines(wrapped), [inner], "{wrapped}");
        }
    }

    #[test]
    fn parts_of_a_line_are_joined_by_stream() {
        let time = "2026-11-26T12:00:00Z";
        let cri = format!("{time} stdout P {{\"a\"\n{time} stderr F noise\n{time} stdout P :\n{time} stdout F 1}}\n");
        assert_eq!(lines(&cri), ["noise", "{\"a\":1}"]);
        let docker = concat!(
            r#"{"log":"{\"a\"","stream":"stdout","time":"t"}"#,
            "\n",
            r#"{"log":":1}\n","stream":"stdout","time":"t"}"#,
        );
        assert_eq!(lines(docker), ["{\"a\":1}"]);
    }
}
