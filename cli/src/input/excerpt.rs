//! A line of a source file that is safe to show: no secrets, no control characters, and no wider than a screen.

use std::ops::Range;

use policy::text::is_hostile;

use super::scan;
use crate::json5::Span;
use crate::output::Excerpt;

/// The most characters of a line that are shown.
const WIDTH: usize = 110;
/// The characters before the mark in a longer line.
const BEFORE: usize = 50;

/// The bytes before and after the start of the mark that are looked at, in a file of one long line.
const LOOKED_AT: usize = 4096;

/// The line in which a part of a text starts. `secrets` are those of the text, and `hidden` finds further parts of a
/// line that are not shown.
pub fn of(
    file: &str,
    text: &str,
    span: Span,
    secrets: &[Range<usize>],
    hidden: impl FnOnce(&str) -> Vec<Range<usize>>,
) -> Excerpt {
    let before = text.get(..span.start).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let line = text.get(start..).unwrap_or_default();
    let line = line.get(..line.find('\n').unwrap_or(line.len())).unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    let at = span.start.saturating_sub(start).min(line.len());
    let marked = span.end.saturating_sub(span.start).min(line.len().saturating_sub(at));
    let first = line.floor_char_boundary(at.saturating_sub(LOOKED_AT));
    let line = line.get(first..line.ceil_char_boundary(at.saturating_add(LOOKED_AT))).unwrap_or_default();
    let in_line = at.saturating_sub(first);
    // The secrets in this part of the line, by their positions in it.
    let begin = start.saturating_add(first);
    let from = secrets.partition_point(|secret| secret.end <= begin);
    let near = secrets.get(from..).unwrap_or_default().iter();
    let near = near.take_while(|secret| secret.start < begin.saturating_add(line.len()));
    let mut secrets: Vec<_> =
        near.map(|secret| secret.start.saturating_sub(begin)..secret.end.saturating_sub(begin)).collect();
    secrets.extend(hidden(line));
    let hidden = mask(line.len(), &secrets);

    let (mut shown, mut mark) = (Vec::new(), None);
    let mut length = 0_usize;
    for (at, c) in line.char_indices() {
        if at >= in_line && mark.is_none() {
            mark = Some(shown.len());
        }
        let visible: Vec<char> = match hidden.get(at) {
            // Every secret gets the same number of asterisks, so that its length is not shown either.
            Some(Hidden::Starts) => vec!['*'; 3],
            Some(Hidden::Inside) => Vec::new(),
            _ if c == '\t' => vec![' '],
            _ if is_hostile(c) => c.escape_unicode().collect(),
            _ => vec![c],
        };
        if mark.is_some() && at < in_line.saturating_add(marked) {
            length = length.saturating_add(visible.len());
        }
        shown.extend(visible);
    }
    let mark = mark.unwrap_or(shown.len());
    let is_cut = first > 0 || shown.len() > WIDTH;
    let from = if is_cut { mark.saturating_sub(BEFORE) } else { 0 };
    let to = shown.len().min(from.saturating_add(WIDTH));
    let cut: String = shown.get(from..to).unwrap_or_default().iter().collect();
    let ellipsis = if from > 0 || first > 0 { "…" } else { "" };
    let text = format!("{ellipsis}{cut}{}", if to < shown.len() { "…" } else { "" });
    let offset = mark.saturating_sub(from).saturating_add(ellipsis.chars().count());
    Excerpt {
        file: file.to_owned(),
        line: before.matches('\n').count().saturating_add(1),
        column: before.get(start..).unwrap_or_default().chars().count().saturating_add(1),
        text,
        mark: (offset, length.clamp(1, to.saturating_sub(mark).max(1))),
    }
}

/// What is shown of a byte.
#[derive(Clone, Copy)]
enum Hidden {
    Not,
    /// The first byte of a secret.
    Starts,
    Inside,
}

/// What is shown of each byte of a line. Where secrets overlap, the first of them counts.
fn mask(length: usize, secrets: &[Range<usize>]) -> Vec<Hidden> {
    let mut mask = vec![Hidden::Not; length];
    for secret in secrets {
        for (offset, byte) in mask.iter_mut().skip(secret.start).take(secret.len()).enumerate() {
            if matches!(byte, Hidden::Not) {
                *byte = if offset == 0 { Hidden::Starts } else { Hidden::Inside };
            }
        }
    }
    mask
}

/// Whether the value of a key is a secret, judged by the key's name.
pub fn is_secret(key: &str) -> bool {
    // Where the digest of a secret belongs, people write the secret.
    const WHOLE: [&str; 9] =
        ["authorization", "proxy-authorization", "cookie", "set-cookie", "bearer", "jwt", "pass", "pwd", "sha256"];
    const ENDS: [&str; 2] = ["-jwt", "-assertion"];
    const PARTS: [&str; 13] = [
        "token",
        "password",
        "passwd",
        "passphrase",
        "secret",
        "credential",
        "api-key",
        "apikey",
        "private-key",
        "privatekey",
        "auth-key",
        "signing-key",
        "signingkey",
    ];
    // The filter has settings with some of these words in their names, so those must be the whole name.
    let key = key.to_ascii_lowercase().replace('_', "-");
    WHOLE.contains(&key.as_str())
        || ENDS.iter().any(|end| key.ends_with(end))
        || PARTS.iter().any(|part| key.contains(part))
}

/// The parts of a text that are values of secret keys, variables in the block `env`, or tokens, in order. They are also
/// found in comments, and in invalid JSON5.
pub fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = scan::values(text, |key| is_secret(key) || key == "env");
    found.extend(tokens(text));
    let mut start = 0_usize;
    for line in text.split('\n') {
        let place = |secret: Range<usize>| secret.start.saturating_add(start)..secret.end.saturating_add(start);
        found.extend(secrets_of_line(line).into_iter().map(place));
        start = start.saturating_add(line.len()).saturating_add(1);
    }
    merged(found)
}

/// The same parts, in order and without overlaps.
fn merged(mut parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    parts.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in parts {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// JSON web tokens, wherever they stand.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices("eyJ") {
        if found.last().is_some_and(|last| at < last.end) {
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(rest.len());
        if rest.get(..end).unwrap_or_default().contains('.') {
            found.push(at..at.saturating_add(end));
        }
    }
    found
}

/// The same for YAML. There a plain value goes on to the end of the line, and a block or a long value below it. The
/// data of a Kubernetes Secret are secrets, whatever their keys are.
pub fn secrets_of_yaml(text: &str) -> Vec<Range<usize>> {
    let has_secret = text.lines().any(|line| line.trim().trim_start_matches("- ") == "kind: Secret");
    let is_secret = |key: &str| is_secret(key) || key == "env" || has_secret && ["data", "stringData"].contains(&key);
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut start = 0_usize;
    // The indentation of the secret key that the lines below belong to.
    let mut below: Option<usize> = None;
    for line in text.split('\n') {
        let content = line.trim_start_matches([' ', '-']);
        let indentation = line.len().saturating_sub(content.len());
        let is_blank = content.trim().is_empty();
        if below.is_some_and(|secret| indentation <= secret && !is_blank) {
            below = None;
        }
        let mut parts = secrets_of_line(line);
        let quoted = line.find('"').filter(|_| line.contains('\\') && has_secret_text(line));
        let key = content.split_once(':').map(|(key, _)| key.trim().trim_matches(['"', '\'']));
        if below.is_some() {
            parts = std::iter::once(indentation..line.len()).collect();
        } else if key.is_some_and(is_secret) {
            below = Some(indentation);
            let colon = line.find(':').unwrap_or(line.len());
            let value = line.get(colon.saturating_add(1)..).unwrap_or_default();
            let at = line.len().saturating_sub(value.trim_start().len());
            if !value.trim().is_empty() {
                parts = std::iter::once(at..line.len()).collect();
            }
        } else if let Some(at) = quoted {
            parts = std::iter::once(at..line.len()).collect();
            // A text in quotes that goes on.
            if !line.trim_end().ends_with('"') || line.trim_end().ends_with("\\\"") {
                below = Some(indentation.saturating_sub(1));
            }
        }
        let place = |part: Range<usize>| part.start.saturating_add(start)..part.end.saturating_add(start);
        found.extend(parts.into_iter().filter(|part| !part.is_empty()).map(place));
        start = start.saturating_add(line.len()).saturating_add(1);
    }
    // JSON is YAML too.
    found.extend(secrets(text));
    merged(found)
}

/// Whether JSON that is a text in quotes has a secret: a key, or a token.
fn has_secret_text(line: &str) -> bool {
    let text = scan::unescaped(line);
    !secrets_of_line(&text).is_empty() || !scan::values(&text, is_secret).is_empty() || !tokens(&text).is_empty()
}

fn secrets_of_line(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(colon) = line.get(from..).and_then(|rest| rest.find(':')).map(|at| at.saturating_add(from)) {
        from = colon.saturating_add(1);
        let key = line.get(..colon).unwrap_or_default().trim_end().trim_end_matches(['"', '\'', '\\']);
        let key = key
            .rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '\\')))
            .next()
            .unwrap_or_default();
        if !is_secret(&scan::unescaped(key)) {
            continue;
        }
        let value = line.get(from..).unwrap_or_default();
        let start = from.saturating_add(value.len().saturating_sub(value.trim_start().len()));
        let value = line.get(start..).unwrap_or_default();
        let end = match value.chars().next() {
            // For an object or a list, hide the rest of the line.
            // A backslash is in front of a quote, in JSON that is a text itself.
            Some('{' | '[' | '\\') => line.len(),
            Some(quote @ ('"' | '\'')) => {
                let inner = start.saturating_add(1);
                let end = end_of_text(line.get(inner..).unwrap_or_default(), quote).saturating_add(inner);
                let behind = line.get(end..).unwrap_or_default();
                let end = if scan::is_after_text(behind, quote) { end } else { line.len() };
                found.push(inner..end);
                from = end;
                continue;
            }
            _ => start.saturating_add(value.find([',', '}']).unwrap_or(value.len())),
        };
        found.push(start..end);
        from = end;
    }
    found
}

/// Where a quoted string ends.
fn end_of_text(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The excerpt for the first occurrence of `marked`.
    fn excerpt(text: &str, marked: &str) -> Excerpt {
        let start = text.find(marked).unwrap();
        of("a.json", text, Span { file: 0, start, end: start + marked.len() }, &secrets(text), |_| Vec::new())
    }

    /// The marked part of the line.
    fn marked(excerpt: &Excerpt) -> String {
        let (start, length) = excerpt.mark;
        excerpt.text.chars().skip(start).take(length).collect()
    }

    #[test]
    fn the_mark_is_under_what_is_meant() {
        for (text, what, shown) in [
            ("{\n  a: 1,\n}", "a: 1", "a: 1"),
            ("{\n\ta: 'é', b: 2}", "b: 2", "b: 2"),
            ("{token: 'hunter2', b: 2}", "b: 2", "b: 2"),
            ("{token: 'hunter2', b: 2}", "token: 'hunter2'", "token: '***'"),
            ("{a: '\u{1b}[31m', b: 2}", "b: 2", "b: 2"),
            ("{a: [\n1, 2]}", "[\n1, 2]", "["),
            ("{a: 1", "", "{"),
        ] {
            assert_eq!(marked(&excerpt(text, what)), shown, "{text:?}");
        }
        let long = format!("{{a: '{}', b: 2, c: '{}'}}", "x".repeat(500), "y".repeat(500));
        let cut = excerpt(&long, "b: 2");
        assert_eq!((marked(&cut).as_str(), cut.column), ("b: 2", 509));
        assert!(cut.text.chars().count() <= WIDTH + 2 && cut.text.starts_with('…') && cut.text.ends_with('…'));
        let secret = format!("{{token: '{}', b: 2, c: '{}'}}", "s3cr3t".repeat(2000), "y".repeat(9000));
        let cut = excerpt(&secret, "b: 2");
        assert_eq!(
            (marked(&cut).as_str(), cut.text.contains("s3cr3t"), cut.text.starts_with('…')),
            ("b: 2", false, true)
        );
        let end = of("a.json", "{a: 1\n", Span { file: 0, start: 5, end: 5 }, &[], |_| Vec::new());
        assert_eq!((end.line, end.column, end.mark), (1, 6, (5, 1)));
    }

    #[test]
    fn a_line_shows_no_secret_however_it_is_written() {
        for line in [
            "token: 'hunter2', b: 2",
            "\"token\" : \"hunter2\", b: 2",
            "'auth-token': hunter2, b: 2",
            "// password: hunter2",
            "apiKey:`hunter2`, b: 2",
            "token: 'hunter2",
            "token: 'x\\'hunter2', b: 2",
            "a: 1, secret: { id: 'hunter2' }, b: 2",
            "tokens: ['a', 'hunter2'], b: 2",
            "clientSecret:'hunter2',privateKey:'hunter2'",
            "OPENCLAW_GATEWAY_TOKEN: 'hunter2'",
        ] {
            let shown = of("a.json", line, Span { file: 0, start: 0, end: 1 }, &secrets(line), |_| Vec::new()).text;
            assert!(!shown.contains("hunter2") && shown.contains("***"), "{line} is shown as {shown}");
        }
        let plain = "userHeader: 'x-user', allowUsers: ['nick'], keys: 2";
        assert_eq!(of("a.json", plain, Span { file: 0, start: 0, end: 1 }, &[], |_| Vec::new()).text, plain);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_place_in_no_text_makes_it_panic(text in "(\\PC|\n|\t|token: ?['\"]){0,40}", start in 0_usize..60, length in 0_usize..60) {
            let shown = of("a.json", &text, Span { file: 0, start, end: start + length }, &secrets(&text), |_| Vec::new());
            prop_assert!(shown.text.chars().count() <= WIDTH + 2);
            prop_assert!(!shown.text.chars().any(char::is_control));
        }
    }
}
