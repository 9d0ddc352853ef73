//! Finds the values of keys in a text that looks like JSON5, and need not be valid. One pass, without recursion.

use std::borrow::Cow;
use std::ops::Range;

/// The values of the keys that `wanted` picks: without their quotes, and objects and lists with all that is in them.
pub fn values(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let mut scanner = Scanner { text, at: 0 };
    let mut found = Vec::new();
    while let Some(token) = scanner.next() {
        let (Token::Text(key) | Token::Word(key)) = token else { continue };
        scanner.skip_blank();
        if !scanner.rest().starts_with(':') || !wanted(&unescaped(text.get(key).unwrap_or_default())) {
            continue;
        }
        scanner.at = scanner.at.saturating_add(1);
        scanner.skip_blank();
        let start = scanner.at;
        match scanner.next() {
            Some(Token::Text(value)) => {
                let behind = text.get(value.end..).unwrap_or_default();
                let quote = text.get(start..).and_then(|value| value.chars().next()).unwrap_or_default();
                if is_after_text(behind, quote) {
                    found.push(value);
                } else {
                    let line = behind.find('\n').unwrap_or(behind.len());
                    scanner.at = value.end.saturating_add(line);
                    found.push(value.start..scanner.at);
                }
            }
            Some(Token::Word(value)) => found.push(value),
            Some(Token::Open) => {
                let mut depth = 1_usize;
                while depth > 0 {
                    match scanner.next() {
                        Some(Token::Open) => depth = depth.saturating_add(1),
                        Some(Token::Close) => depth = depth.saturating_sub(1),
                        Some(_) => {}
                        None => break,
                    }
                }
                found.push(start..scanner.at);
            }
            _ => {}
        }
    }
    found
}

/// Whether a text's closing quote and what may follow it are here. Otherwise a quote is missing somewhere, and what
/// looks like the end of a text may be its start.
pub fn is_after_text(behind: &str, quote: char) -> bool {
    let Some(after) = behind.strip_prefix(quote) else { return behind.starts_with('\n') || behind.is_empty() };
    let after = after.trim_start_matches([' ', '\t', '\r']);
    after.is_empty() || after.starts_with([',', '}', ']', '\n', '/', '*'])
}

/// A key without its escapes.
pub fn unescaped(key: &str) -> Cow<'_, str> {
    if !key.contains('\\') {
        return Cow::Borrowed(key);
    }
    let mut plain = String::new();
    let mut rest = key;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = |start: &str, digits: usize| {
            let hex = escape.strip_prefix(start)?.get(..digits)?;
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            Some((c, start.len().saturating_add(digits)))
        };
        let (c, length) = code("u", 4)
            .or_else(|| code("x", 2))
            .or_else(|| escape.chars().next().map(|c| (c, c.len_utf8())))
            .unwrap_or(('\\', 0));
        plain.push(c);
        rest = escape.get(length..).unwrap_or_default();
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

enum Token {
    /// A text, without its quotes.
    Text(Range<usize>),
    /// What has no quotes: a name, a number, a word.
    Word(Range<usize>),
    Open,
    Close,
    Other,
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end.saturating_add(2))
            } else {
                rest.len().saturating_sub(rest.trim_start().len())
            };
            if comment == 0 {
                return;
            }
            self.at = self.at.saturating_add(comment);
        }
    }

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let start = self.at;
        let first = self.rest().chars().next()?;
        let (token, end) = match first {
            '"' | '\'' | '`' => {
                let inner = start.saturating_add(1);
                let (end, closed) = self.end_of_text(inner, first);
                (Token::Text(inner..end), end.saturating_add(usize::from(closed)))
            }
            '{' | '[' => (Token::Open, start.saturating_add(1)),
            '}' | ']' => (Token::Close, start.saturating_add(1)),
            ',' | ':' => (Token::Other, start.saturating_add(1)),
            _ => {
                let is_end = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"' | '\'');
                let length = self.rest().find(is_end).unwrap_or(self.rest().len()).max(first.len_utf8());
                let end = start.saturating_add(length);
                (Token::Word(start..end), end)
            }
        };
        self.at = end;
        Some(token)
    }

    /// Where a text ends, and whether a quote ends it. A line ends it too, unless a backslash is before the line break.
    fn end_of_text(&self, start: usize, quote: char) -> (usize, bool) {
        let mut escaped = false;
        for (at, c) in self.text.get(start..).unwrap_or_default().char_indices() {
            match c {
                '\r' if escaped => {}
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' if quote != '`' => return (start.saturating_add(at), false),
                _ if c == quote => return (start.saturating_add(at), true),
                _ => {}
            }
        }
        (self.text.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        values(text, |key| key == "token").into_iter().filter_map(|range| text.get(range)).collect()
    }

    #[test]
    fn values_are_found_however_they_are_written() {
        for (text, expected) in [
            ("{token: 'a', b: 'c'}", &["a"][..]),
            ("{\"\\u0074oken\" : \"a\\\nb\", c: 1}", &["a\\\nb"]),
            ("{token: // x: 1\n [1, {a: ']'}, 2], b: 2}", &["[1, {a: ']'}, 2]"]),
            ("{token: {a: 'x', oops", &["{a: 'x', oops"]),
            ("{token: 'a, b: 1\n c: 2, token: 5}", &["a, b: 1", "5"]),
            ("{token: 'a, b: 'c', d: 1\n}", &["a, b: 'c', d: 1"]),
            ("{a: 'token: 1', token: abc, token}", &["abc"]),
            ("token:", &[]),
            ("{token: `a\nb`}", &["a\nb"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
        let deep = format!("{{token: {}", "[".repeat(100_000));
        assert_eq!(found(&deep).len(), 1);
    }
}
