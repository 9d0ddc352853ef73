//! One request as the host shows it: borrowed bytes over one serialized header map.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::policy::names::{Names, Seen};
use crate::policy::path::is_plain;
use crate::policy::peer::{Address, Peer};
use crate::text::{same, trim};

/// The header map is not what the host should hand over: a length that does not fit, or a byte missing or left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedHeaders;

/// A header map in the form that proxy-wasm serializes it in: a count, the lengths of all names and values, then the
/// names and values, each ended by a NUL. Numbers are 32 bits, little-endian.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    lengths: &'a [u8],
    bytes: &'a [u8],
}

/// The headers, in the order in which they came, every copy of its own.
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
    /// Whether all headers were read, and nothing is left: otherwise the map is malformed.
    const fn is_done(&self) -> bool {
        self.lengths.is_empty() && self.bytes.is_empty()
    }
}

/// Cuts `length` bytes and the NUL behind them off the front.
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
    /// [`MalformedHeaders`] unless lengths, NULs and the end are all where they belong.
    pub fn parse(map: &'a [u8]) -> Result<Self, MalformedHeaders> {
        let headers = Self::frame(map).ok_or(MalformedHeaders)?;
        let mut all = headers.iter();
        all.by_ref().for_each(drop);
        if all.is_done() { Ok(headers) } else { Err(MalformedHeaders) }
    }

    fn frame(map: &'a [u8]) -> Option<Self> {
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

    /// The values of all copies of one header, in order. The name's case does not matter.
    pub fn copies<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// One header's value as Node hands it to the Gateway: copies joined with a comma and a space, cookies with a
    /// semicolon, and of the headers in [`FIRST_COPY_ONLY`] the first (contract, section 3). `host` is `:authority`.
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

/// Headers of which Node keeps the first copy and drops the others. `set-cookie` is an array there, of which the
/// Gateway reads the first.
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

/// A header of which a rule wants the first copy and the number of copies.
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

    /// The value, where there is exactly one copy.
    #[must_use]
    pub const fn only(&self) -> Option<&'a [u8]> {
        if self.copies == 1 { self.first } else { None }
    }

    /// Whether the header is there at all.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.first.is_some()
    }

    /// Whether there is more than one copy.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.copies > 1
    }

    /// The value of the header `name`, of which this is the field, as Node hands it to the Gateway: see
    /// [`Headers::joined`].
    #[must_use]
    pub fn joined(&self, headers: &Headers<'a>, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        if self.is_repeated() { headers.joined(name) } else { self.first.map(Cow::Borrowed) }
    }
}

/// What the rules read of every request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// `:method`.
    pub method: Field<'a>,
    /// `:path`, with its query.
    pub path: Field<'a>,
    /// `:authority`, which Envoy fills from `Host`.
    pub authority: Field<'a>,
    /// `upgrade`; Envoy leaves one only where it is a real upgrade.
    pub upgrade: Field<'a>,
    /// `connection`.
    pub connection: Field<'a>,
    /// `origin`.
    pub origin: Field<'a>,
    /// `x-forwarded-for`.
    pub forwarded_for: Field<'a>,
    /// `x-real-ip`.
    pub real_ip: Field<'a>,
    /// `sec-websocket-key`.
    pub websocket_key: Field<'a>,
    /// `sec-websocket-version`.
    pub websocket_version: Field<'a>,
    /// `sec-websocket-protocol`.
    pub websocket_protocol: Field<'a>,
}

impl<'a> Fields<'a> {
    /// The names of all of these.
    pub(crate) const NAMES: [&'static str; 11] = [
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

    /// By length first: most names are none of these, and one comparison settles that.
    fn slot(&mut self, name: &[u8]) -> Option<&mut Field<'a>> {
        let (field, expected): (_, &[u8]) = match (name.len(), name.first()?) {
            (5, _) => (&mut self.path, b":path"),
            (6, _) => (&mut self.origin, b"origin"),
            (7, b':') => (&mut self.method, b":method"),
            (7, _) => (&mut self.upgrade, b"upgrade"),
            (9, _) => (&mut self.real_ip, b"x-real-ip"),
            (10, b':') => (&mut self.authority, b":authority"),
            (10, _) => (&mut self.connection, b"connection"),
            (15, _) => (&mut self.forwarded_for, b"x-forwarded-for"),
            (17, _) => (&mut self.websocket_key, b"sec-websocket-key"),
            (21, _) => (&mut self.websocket_version, b"sec-websocket-version"),
            (22, _) => (&mut self.websocket_protocol, b"sec-websocket-protocol"),
            _ => return None,
        };
        // Envoy shows names in lower case.
        (same(name, expected) || name.eq_ignore_ascii_case(expected)).then_some(field)
    }
}

/// One request, ready to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who opened the connection.
    pub peer: Peer,
    /// The address at which the connection was accepted; read only where the policy asks for it.
    pub destination: Option<Address>,
    /// The identity that Envoy verified; read only where the policy asks for it.
    pub assertion: Option<&'a [u8]>,
    /// The first URI SAN of the certificate that the peer showed over mutual TLS; read only where the policy asks for it.
    pub certificate: Option<&'a [u8]>,
    /// All headers, pseudo headers included.
    pub headers: Headers<'a>,
    /// The headers that the rules read by name.
    pub fields: Fields<'a>,
    /// The headers that this policy knows.
    pub(crate) seen: Seen<'a>,
    /// The path without its query, where it can mean only what it says: any other may be a plugin's.
    pub(crate) plain_path: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request of which only the peer is known. It has no headers, so no rule finds a user in it.
    #[must_use]
    pub fn from(peer: Peer) -> Self {
        Self {
            peer,
            destination: None,
            assertion: None,
            certificate: None,
            headers: Headers { lengths: &[], bytes: &[] },
            fields: Fields::default(),
            seen: Seen::default(),
            plain_path: None,
        }
    }

    /// A request with its headers: see [`Self::fill`].
    pub(crate) fn read(names: &Names, peer: Peer, map: &'a [u8]) -> Result<Self, MalformedHeaders> {
        let mut request = Self::from(peer);
        request.fill(names, map)?;
        Ok(request)
    }

    /// Reads a serialized header map, in one pass: all that a policy that knows these names wants of it. In place, since a
    /// request is large and is not to be copied about.
    ///
    /// # Errors
    /// [`MalformedHeaders`] unless lengths, NULs and the end are all where they belong; what was read by then is of no use.
    pub(crate) fn fill(&mut self, names: &Names, map: &'a [u8]) -> Result<(), MalformedHeaders> {
        let headers = Headers::frame(map).ok_or(MalformedHeaders)?;
        let Self { fields, seen, .. } = self;
        let mut all = headers.iter();
        for (name, value) in all.by_ref() {
            if !names.may_know(name) {
                continue;
            }
            match fields.slot(name) {
                Some(field) => field.note(value),
                // Those fields are nobody's to manage: as managed names they are errors of the configuration.
                None => names.note(seen, name, value),
            }
        }
        if !all.is_done() {
            return Err(MalformedHeaders);
        }
        self.headers = headers;
        self.plain_path = Some(self.path()).filter(|path| is_plain(path));
        Ok(())
    }

    /// Whether this is an upgrade: any request with an `upgrade` header (contract, section 3).
    #[must_use]
    pub const fn is_upgrade(&self) -> bool {
        self.fields.upgrade.is_present()
    }

    /// Whether this is a WebSocket handshake, over whatever version of HTTP.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.fields.upgrade.only().is_some_and(|value| trim(value).eq_ignore_ascii_case(b"websocket"))
    }

    /// The path without its query; empty where there is none (`CONNECT`).
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        let path = self.fields.path.only().unwrap_or_default();
        path.split(|&byte| byte == b'?').next().unwrap_or_default()
    }

    /// The method; empty where the host shows none.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.fields.method.only().unwrap_or_default()
    }
}

/// Serializes headers as proxy-wasm does: for replies, and for everything that plays a host.
#[must_use]
pub fn serialize<N: AsRef<[u8]>, V: AsRef<[u8]>>(headers: &[(N, V)]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    // Ten bytes a header, besides its name and value, and four before all.
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
    fn every_map_that_is_cut_short_or_too_long_is_malformed() {
        let map = serialize(&[(":path", "/"), ("origin", "https://a")]);
        let read = |map: &[u8]| Request::read(&Names::default(), Peer::Unknown, map).map(drop);
        for end in 0..map.len() {
            assert_eq!(Headers::parse(&map[..end]).err(), Some(MalformedHeaders), "cut at {end}");
            assert_eq!(read(&map[..end]), Err(MalformedHeaders), "cut at {end}");
        }
        assert!(read(&map).is_ok() && read(&[&map[..], &[0]].concat()).is_err());
        assert!(Headers::parse(&[&map[..], &[0]].concat()).is_err());
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

    #[test]
    fn every_field_is_found_by_its_name_in_any_case() {
        for (at, name) in Fields::NAMES.iter().enumerate() {
            for name in [(*name).to_owned(), name.to_uppercase()] {
                let map = serialize(&[(name.as_str(), "1"), ("x", "2"), (name.as_str(), "3")]);
                let fields = Request::read(&Names::default(), Peer::Unknown, &map).unwrap().fields;
                let all = [
                    fields.method,
                    fields.path,
                    fields.authority,
                    fields.upgrade,
                    fields.connection,
                    fields.origin,
                    fields.forwarded_for,
                    fields.real_ip,
                    fields.websocket_key,
                    fields.websocket_version,
                    fields.websocket_protocol,
                ];
                for (other, field) in all.into_iter().enumerate() {
                    let expected = (other == at).then_some(&b"1"[..]);
                    assert_eq!((field.first(), field.is_repeated()), (expected, expected.is_some()), "{name} {other}");
                }
            }
        }
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
}
