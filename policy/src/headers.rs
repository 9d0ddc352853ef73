//! Headers, borrowed from the serialized map that proxy-wasm provides.

use std::borrow::Cow;
use std::fmt;

/// The serialized header map is malformed: a length does not fit, or bytes are missing or left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedHeaders;

impl fmt::Display for MalformedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the header map is malformed")
    }
}

impl std::error::Error for MalformedHeaders {}

/// A header map as proxy-wasm serializes it: the number of headers, the lengths of all names and values, then the names
/// and values, each followed by a NUL. Numbers have 32 bits and are little-endian.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    lengths: &'a [u8],
    bytes: &'a [u8],
}

/// The headers, in the order received. Repeated headers are separate items.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    lengths: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, lengths) = self.lengths.split_first_chunk()?;
        let (value, lengths) = lengths.split_first_chunk()?;
        let (name, rest) = cut(self.bytes, u32::from_le_bytes(*name))?;
        let (value, rest) = cut(rest, u32::from_le_bytes(*value))?;
        (self.lengths, self.bytes) = (lengths, rest);
        Some((name, value))
    }
}

impl Iter<'_> {
    /// Whether all headers were read and nothing is left. If not, the map is malformed.
    pub(crate) const fn is_done(&self) -> bool {
        self.lengths.is_empty() && self.bytes.is_empty()
    }
}

/// Cuts `length` bytes and the NUL after them off the front.
fn cut(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    match rest {
        [0, rest @ ..] => Some((text, rest)),
        _ => None,
    }
}

impl<'a> Headers<'a> {
    /// Reads a serialized header map.
    ///
    /// # Errors
    /// [`MalformedHeaders`], if a length, a NUL or the end is not where it belongs.
    pub fn parse(map: &'a [u8]) -> Result<Self, MalformedHeaders> {
        let headers = Self::frame(map).ok_or(MalformedHeaders)?;
        let mut all = headers.iter();
        all.by_ref().for_each(drop);
        if all.is_done() { Ok(headers) } else { Err(MalformedHeaders) }
    }

    pub(crate) fn frame(map: &'a [u8]) -> Option<Self> {
        let (count, rest) = map.split_first_chunk()?;
        let lengths = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
        let (lengths, bytes) = rest.split_at_checked(lengths)?;
        Some(Self { lengths, bytes })
    }

    /// All headers, in order.
    #[must_use]
    pub const fn iter(&self) -> Iter<'a> {
        Iter { lengths: self.lengths, bytes: self.bytes }
    }

    /// The values of all copies of one header, in order. The case of `name` does not matter.
    pub fn copies<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// One header's value as Node passes it to the Gateway (contract, section 3). Copies are joined with a comma and a
    /// space, cookies with a semicolon and a space. Of the headers in [`FIRST_COPY_ONLY`], it is the first copy. `host`
    /// is read from `:authority`.
    #[must_use]
    pub fn joined(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        let name: &[u8] = if name.eq_ignore_ascii_case(b"host") { b":authority" } else { name };
        let mut copies = self.copies(name);
        let first = copies.next()?;
        let Some(second) = copies.next() else { return Some(Cow::Borrowed(first)) };
        if FIRST_COPY_ONLY.iter().any(|only| only.eq_ignore_ascii_case(name)) {
            return Some(Cow::Borrowed(first));
        }
        let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
        let mut all = first.to_vec();
        for copy in std::iter::once(second).chain(copies) {
            all.extend_from_slice(separator);
            all.extend_from_slice(copy);
        }
        Some(Cow::Owned(all))
    }
}

/// Headers of which Node keeps the first copy and drops the others. Node keeps `set-cookie` as an array, of which the
/// Gateway reads the first item.
pub const FIRST_COPY_ONLY: [&[u8]; 20] = [
    b":authority",
    b"age",
    b"authorization",
    b"content-length",
    b"content-type",
    b"etag",
    b"expires",
    b"from",
    b"if-modified-since",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"max-forwards",
    b"proxy-authorization",
    b"referer",
    b"retry-after",
    b"server",
    b"set-cookie",
    b"user-agent",
    b"host",
];

/// The headers that the rules read from every request: see [`Fields`](crate::request::Fields).
pub(crate) const FIELD_NAMES: [&str; 11] = [
    ":method",
    ":path",
    ":authority",
    "upgrade",
    "connection",
    "origin",
    "x-forwarded-for",
    "x-real-ip",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
];

/// What a rule needs to know about one header: the first copy and the number of copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Field<'a> {
    first: Option<&'a [u8]>,
    copies: usize,
}

impl<'a> Field<'a> {
    pub(crate) const fn note(&mut self, value: &'a [u8]) {
        if self.first.is_none() {
            self.first = Some(value);
        }
        self.copies = self.copies.saturating_add(1);
    }

    /// The first copy.
    #[must_use]
    pub const fn first(&self) -> Option<&'a [u8]> {
        self.first
    }

    /// The value, if there is exactly one copy.
    #[must_use]
    pub const fn only(&self) -> Option<&'a [u8]> {
        if self.copies == 1 { self.first } else { None }
    }

    /// Whether the header is present.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.first.is_some()
    }

    /// Whether there is more than one copy.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.copies > 1
    }

    /// The header's value as Node passes it to the Gateway: see [`Headers::joined`]. `name` is the header of this
    /// field.
    #[must_use]
    pub fn joined(&self, headers: &Headers<'a>, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        if self.is_repeated() { headers.joined(name) } else { self.first.map(Cow::Borrowed) }
    }
}

/// Serializes headers as proxy-wasm does, for replies and for hosts in tests.
#[must_use]
pub fn serialize<N: AsRef<[u8]>, V: AsRef<[u8]>>(headers: &[(N, V)]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    // Four bytes for the count, and ten for each header in addition to its name and value.
    let texts = headers.iter().map(|(name, value)| name.as_ref().len().saturating_add(value.as_ref().len()));
    let mut map =
        Vec::with_capacity(texts.sum::<usize>().saturating_add(headers.len().saturating_mul(10)).saturating_add(4));
    map.extend_from_slice(&number(headers.len()));
    for (name, value) in headers {
        map.extend_from_slice(&number(name.as_ref().len()));
        map.extend_from_slice(&number(value.as_ref().len()));
    }
    for (name, value) in headers {
        for part in [name.as_ref(), value.as_ref()] {
            map.extend_from_slice(part);
            map.push(0);
        }
    }
    map
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_map_reads_back_as_it_was_written() {
        let pairs: [(&[u8], &[u8]); 3] = [(b":path", b"/a?b"), (b"x", b""), (b"x", b"\xFF\0y")];
        let map = serialize(&pairs);
        let read: Vec<_> = Headers::parse(&map).unwrap().iter().collect();
        assert_eq!(read, pairs);
    }

    #[test]
    fn copies_are_joined_as_node_joins_them() {
        let cases: [(&str, &[&str], &str); 6] = [
            ("x-user", &["a"], "a"),
            ("x-user", &["a", "", "b"], "a, , b"),
            ("from", &["a", "b"], "a"),
            ("set-cookie", &["", "b"], ""),
            ("cookie", &["a=1", "b=2"], "a=1; b=2"),
            ("User-Agent", &["a", "b"], "a"),
        ];
        for (name, copies, expected) in cases {
            let map = serialize(&copies.iter().map(|value| (name, value)).collect::<Vec<_>>());
            let joined = Headers::parse(&map).unwrap().joined(name.as_bytes()).unwrap();
            assert_eq!(joined, expected.as_bytes(), "{name}: {copies:?}");
        }
        let map = serialize(&[(":authority", "claw.example.com")]);
        assert_eq!(Headers::parse(&map).unwrap().joined(b"Host").unwrap(), &b"claw.example.com"[..]);
        assert_eq!(Headers::parse(&map).unwrap().joined(b"x"), None);
    }

    #[test]
    fn lengths_that_do_not_fit_are_malformed() {
        let map = serialize(&[("a", "b")]);
        for at in 0..12 {
            for byte in [2, 0x7F, 0xFF] {
                let mut bad = map.clone();
                bad[at] = byte;
                assert!(Headers::parse(&bad).is_err(), "byte {at} = {byte}");
            }
        }
        assert!(Headers::parse(&[0xFF; 4]).is_err());
    }
}
