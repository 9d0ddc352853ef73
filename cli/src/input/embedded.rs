//! A text inside of another text, such as JSON in a block of YAML: where its characters are in the outer one.

use crate::json5::{Node, Span};

/// Parts of an inner text, in order: where they start in it, and where in the outer text.
pub struct Places {
    /// The whole inner text in the outer one.
    whole: Span,
    parts: Vec<(usize, usize)>,
}

impl Places {
    /// Finds the characters of a string in its source. Where that is not possible, each is the whole string.
    pub fn of(source: &str, node: &Node) -> Self {
        let whole = node.span;
        let written = source.get(whole.start..whole.end).unwrap_or_default();
        let text = node.text().unwrap_or_default();
        let parts = block(source, whole, text).or_else(|| quoted(written, text)).unwrap_or_default();
        let parts = parts.into_iter().map(|(inner, outer)| (inner, outer.saturating_add(whole.start))).collect();
        Self { whole, parts }
    }

    /// Where a part of the inner text is in the outer one.
    pub fn find(&self, inner: Span) -> Span {
        let place = |at: usize| {
            let part = self.parts.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
            let (start, outer) = self.parts.get(part)?;
            Some(outer.saturating_add(at.saturating_sub(*start)))
        };
        match (place(inner.start), place(inner.end)) {
            (Some(start), Some(end)) => {
                let start = start.min(self.whole.end);
                Span { start, end: end.clamp(start, self.whole.end.max(start)), ..self.whole }
            }
            _ => self.whole,
        }
    }
}

/// A literal block: the lines are those of the source, without their indentation. The places are relative to its start.
fn block(source: &str, whole: Span, text: &str) -> Option<Vec<(usize, usize)>> {
    let before = source.get(..whole.start)?;
    let indentation = before.len().checked_sub(before.rfind('\n')?.checked_add(1)?)?;
    if !before.ends_with(' ') || indentation == 0 && !text.contains('\n') {
        return None;
    }
    let rest = source.get(whole.start..)?;
    let (mut inner, mut outer) = (0_usize, 0_usize);
    let mut parts = Vec::new();
    let mut written = rest.split_inclusive('\n');
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let original = written.next()?;
        let spaces = original.bytes().take(indentation).take_while(|byte| *byte == b' ').count();
        let blank = if at == 0 { 0 } else { spaces };
        let content = line.trim_end_matches('\n');
        let shown = original.get(blank..).unwrap_or_default().trim_end_matches('\n').trim_end_matches('\r');
        if shown != content && !(content.is_empty() && original.trim().is_empty()) {
            return None;
        }
        parts.push((inner, outer.saturating_add(blank)));
        inner = inner.saturating_add(line.len());
        outer = outer.saturating_add(original.len());
    }
    Some(parts)
}

/// A text in quotes, or a plain one, on one line.
fn quoted(written: &str, text: &str) -> Option<Vec<(usize, usize)>> {
    let quote = written.chars().next().filter(|c| ['"', '\''].contains(c));
    let start = usize::from(quote.is_some());
    let mut parts = vec![(0, start)];
    let mut rest = written.get(start..)?;
    let mut inner = 0_usize;
    for c in text.chars() {
        let place = written.len().saturating_sub(rest.len());
        let escaped = match (quote, rest.chars().next()?) {
            (Some('"'), '\\') => {
                let meant = match rest.chars().nth(1)? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    c @ ('"' | '\\' | '/') => c,
                    _ => return None,
                };
                (meant == c).then_some(2)?
            }
            (Some('\''), '\'') if rest.starts_with("''") && c == '\'' => 2,
            (_, is) if is == c => c.len_utf8(),
            _ => return None,
        };
        if escaped != c.len_utf8() {
            parts.push((inner, place));
            parts.push((inner.saturating_add(c.len_utf8()), place.saturating_add(escaped)));
        }
        inner = inner.saturating_add(c.len_utf8());
        rest = rest.get(escaped..)?;
    }
    Some(parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::json5::Value;
    use crate::yaml;

    /// The part of the source at each character of the text.
    fn sources(source: &str) -> Vec<(char, String)> {
        let document = yaml::parse(source, 0).unwrap().remove(0);
        let node = document.at(&["a"]);
        let places = Places::of(source, node);
        let Value::String(text) = &node.value else { panic!("{source}") };
        let part = |(at, c): (usize, char)| {
            let span = places.find(Span { file: 0, start: at, end: at.saturating_add(c.len_utf8()) });
            let part = source.get(span.start..span.end);
            (c, part.unwrap_or_else(|| panic!("{c:?} is at {span:?} in {source:?}")).to_owned())
        };
        text.char_indices().map(part).collect()
    }

    #[test]
    fn each_character_is_found_in_its_source() {
        for source in [
            "a: |\n  {\"x\":\n\n     1}\nb: 2\n",
            "a: |2\n    {\"é\":\n  1}",
            "  \na: |-\n  x\n  y",
            "a: |\r\n  x\r\n  y\r\n",
            "b:\n- c\na: {x: 1}\n".replace("{x: 1}", "xé").as_str(),
            "a: '{\"it''s\": 1}'",
            "a: \"{\\\"x\\\": \\\"\\\\\\\\\\\", é\\n}\"",
        ] {
            for (c, part) in sources(source) {
                let escaped = match c {
                    // With the indentation of the next line.
                    '\n' => part.trim_matches([' ', '\r', '\n']).is_empty() || part == "\\n",
                    '"' | '\\' => part == c.to_string() || part == format!("\\{c}"),
                    '\'' => part == "''",
                    _ => part == c.to_string(),
                };
                assert!(escaped, "{c:?} is {part:?} in {source:?}");
            }
        }
        // A folded text is found as a whole.
        let folded = "a: >\n  x\n  y\n";
        assert!(sources(folded).iter().all(|(_, part)| part == "x\n  y\n"), "{:?}", sources(folded));
    }
}
