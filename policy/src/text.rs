//! Text as Node passes it to the Gateway: header values are bytes, read as Latin-1.

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
pub(crate) fn trim_configured(text: &str) -> &str {
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

/// Bytes in quotes, for people. Escaped and cut like [`Escaped`], but spaces are kept.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let words = bytes.split(|&byte| byte == b' ').map(|bytes| Escaped { bytes, limit: SHOWN }.to_string());
    format!("\"{}\"", words.collect::<Vec<_>>().join(" "))
}

/// Bytes for a log line or a filter state. Printable ASCII is kept, everything else is escaped. The input is cut after
/// `limit` bytes.
///
/// Spaces are escaped too, so that `key=value` stays one word.
pub(crate) struct Escaped<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) limit: usize,
}

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        for &byte in self.bytes.iter().take(self.limit) {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                0x21..=0x7E => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
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
    }
}
