//! Text as Node passes it to the Gateway: header values are bytes, read as Latin-1. And text as it is shown to people.

use std::borrow::Cow;
use std::fmt;

/// Whether `byte`, as a Latin-1 character, is white space to JavaScript's `trim` and is allowed in a header value.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0xA0)
}

/// Whether two byte strings are equal. WebAssembly's `memcmp` is a loop over bytes, so this compares words of eight or
/// four bytes. If the length is not a multiple, the last word overlaps the one before.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let long = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
    let short = |a: &[u8; 4], b: &[u8; 4]| u32::from_ne_bytes(*a) == u32::from_ne_bytes(*b);
    if let (Some(a_end), Some(b_end)) = (a.last_chunk(), b.last_chunk()) {
        let (a_words, b_words) = (a.as_chunks().0, b.as_chunks().0);
        return long(a_end, b_end) && a_words.iter().zip(b_words).all(|(a, b)| long(a, b));
    }
    match (a.first_chunk(), b.first_chunk(), a.last_chunk(), b.last_chunk()) {
        (Some(a_start), Some(b_start), Some(a_end), Some(b_end)) => short(a_start, b_start) && short(a_end, b_end),
        _ => a.iter().zip(b).all(|(a, b)| a == b),
    }
}

/// A header value without spaces, tabs and bytes 0xA0 at both ends (contract, section 3).
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(*last)
    {
        value = rest;
    }
    value
}

/// A header value without spaces, tabs and bytes 0xA0 at its start.
pub(crate) fn trim_start(value: &[u8]) -> &[u8] {
    let blanks = value.iter().take_while(|&&byte| is_blank(byte)).count();
    value.get(blanks..).unwrap_or_default()
}

/// Configured text without the characters at both ends that JavaScript's `trim` removes.
#[must_use]
pub fn trim_configured(text: &str) -> &str {
    // Unicode white space without U+0085, plus the byte order mark (ECMA-262, `WhiteSpace` and `LineTerminator`).
    text.trim_matches(|c: char| c == '\u{FEFF}' || (c.is_whitespace() && c != '\u{85}'))
}

/// Configured text as the Latin-1 bytes that a header can carry, or `None` if a character is above U+00FF.
pub(crate) fn latin1(text: &str) -> Option<Box<[u8]>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// One character in lower case, as Node's `toLowerCase` has it for Latin-1.
pub(crate) const fn lower_latin1(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xC0..=0xD6 | 0xD8..=0xDE => byte | 0x20,
        _ => byte,
    }
}

/// How many bytes of a path, a user or a peer are shown to people.
pub(crate) const SHOWN: usize = 256;

/// Whether a character can control a terminal, change the order of the text around it, or stand there unseen. No text
/// of a client or a file is shown with such a character in it.
#[must_use]
pub const fn is_hostile(c: char) -> bool {
    match c {
        // Control characters: C0, DEL, C1.
        '\0'..='\x1F' | '\x7F'..='\u{9F}'
        // Characters without a width: soft hyphen, joiners, fillers, invisible operators, byte order mark.
        | '\u{AD}' | '\u{34F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2065}' | '\u{206A}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
        // What changes the direction of writing.
        | '\u{61C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators, annotations, and what is not a character.
        | '\u{2028}'..='\u{2029}' | '\u{FDD0}'..='\u{FDEF}' | '\u{FFF9}'..='\u{FFFB}' => true,
        _ => matches!(c as u32 & 0xFFFF, 0xFFFE | 0xFFFF),
    }
}

/// A text on one line for people: hostile characters are shown by their names, such as `\u{202e}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Bytes in quotes, for people. Escaped and cut like [`Escaped`], but spaces are kept.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let words = bytes.split(|&byte| byte == b' ').map(|bytes| Escaped { bytes, limit: SHOWN }.to_string());
    format!("\"{}\"", words.collect::<Vec<_>>().join(" "))
}

/// Bytes for a log line or a filter state. Printable ASCII is kept, everything else is escaped: hostile characters in
/// UTF-8 by their names, other bytes one by one. The input is cut after `limit` bytes.
///
/// Spaces are escaped too, so that `key=value` stays one word.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    /// What is shown.
    pub bytes: &'a [u8],
    /// How many bytes of it.
    pub limit: usize,
}

/// The hostile character in UTF-8 that starts with `first`, unless it is an ASCII one, and the bytes behind it.
#[cold]
fn hostile(first: u8, behind: &[u8]) -> Option<(char, &[u8])> {
    let more = match first {
        0xC2..=0xDF => 1,
        0xE0..=0xEF => 2,
        0xF0..=0xF4 => 3,
        _ => return None,
    };
    let mut bytes = [first, 0, 0, 0];
    let (rest, behind) = behind.split_at_checked(more)?;
    bytes.iter_mut().skip(1).zip(rest).for_each(|(byte, next)| *byte = *next);
    let text = std::str::from_utf8(bytes.split_at_checked(more.saturating_add(1))?.0).ok()?;
    text.chars().next().filter(|c| is_hostile(*c)).map(|c| (c, behind))
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut rest = self.bytes.get(..self.limit).unwrap_or(self.bytes);
        while let [byte, behind @ ..] = rest {
            rest = behind;
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                0x21..=0x7E => f.write_char(char::from(*byte))?,
                _ => match hostile(*byte, behind) {
                    Some((c, behind)) => {
                        rest = behind;
                        write!(f, "{}", c.escape_unicode())?;
                    }
                    None => write!(f, "\\x{byte:02x}")?,
                },
            }
        }
        if self.bytes.len() > self.limit {
            f.write_str("...")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_byte_for_byte() {
        let text = b"operator.approvals,operator.talk";
        for end in 0..text.len() {
            let (whole, start) = (text.get(..=end).unwrap_or_default(), text.get(..end).unwrap_or_default());
            assert!(same(whole, whole) && !same(whole, start) && !same(start, whole));
            let mut other = whole.to_vec();
            other.iter_mut().skip(end).for_each(|byte| *byte ^= 1);
            assert!(!same(whole, &other), "the byte {end} counts");
        }
    }

    #[test]
    fn a_header_value_is_trimmed_of_space_tab_and_a0_only() {
        assert_eq!(trim(b" \t\xA0nick\xA0 "), b"nick");
        assert_eq!(trim(b"\x0Bnick\x85"), b"\x0Bnick\x85");
        assert_eq!(trim(b"\xA0 \t"), b"");
    }

    #[test]
    fn configured_text_is_trimmed_as_javascript_does() {
        assert_eq!(trim_configured("\u{FEFF}\u{3000} a\n"), "a");
        assert_eq!(trim_configured("\u{85}a"), "\u{85}a");
    }

    #[test]
    fn what_no_header_can_carry_has_no_latin1_form() {
        assert_eq!(latin1("jörg").as_deref(), Some(&b"j\xF6rg"[..]));
        assert_eq!(latin1("ł"), None);
    }

    #[test]
    fn a_log_line_cannot_be_broken_or_forged() {
        let shown = |bytes, limit| Escaped { bytes, limit }.to_string();
        assert_eq!(shown(b"a\"b\\c\n\xFF d", 99), "a\\\"b\\\\c\\x0a\\xff\\x20d");
        assert_eq!(shown(b"abcdef", 3), "abc...");
        assert_eq!(shown(b"abc", 3), "abc");
        assert_eq!(shown("a\u{202e}ł\u{9b}".as_bytes(), 99), "a\\u{202e}\\xc5\\x82\\u{9b}");
        assert_eq!(shown("\u{202e}".as_bytes(), 2), "\\xe2\\x80...");
    }

    #[test]
    fn no_hostile_character_is_shown_as_it_is() {
        let hostile = [
            0..=0x1F,
            0x7F..=0x9F,
            0xAD..=0xAD,
            0x61C..=0x61C,
            0x200B..=0x200F,
            0x2028..=0x202E,
            0x2060..=0x206F,
            0xFEFF..=0xFEFF,
            0xFFFE..=0xFFFF,
            0xE0001..=0xE007F,
            0x10_FFFE..=0x10_FFFF,
        ];
        for c in hostile.into_iter().flatten().filter_map(char::from_u32) {
            let (text, name) = (format!("a{c}b"), format!("a\\u{{{:x}}}b", u32::from(c)));
            assert_eq!(visible(&text), name);
            let escaped = Escaped { bytes: text.as_bytes(), limit: 99 }.to_string();
            assert_eq!(escaped, if c.is_ascii() { format!("a\\x{:02x}b", u32::from(c)) } else { name });
        }
        for text in ["plain \u{e9}\u{142}", "\u{5d0}\u{645}", "\u{a0}\u{2003}\u{202f}", "\u{1f600}", "\u{fffd}"] {
            assert_eq!(visible(text), text);
        }
    }
}
