//! What the rules read from one request.

use crate::headers::{Field, Headers, MalformedHeaders};
use crate::names::{Names, Seen};
use crate::path::is_plain;
use crate::peer::{Address, Peer};
use crate::text::{same, trim};

/// The headers that the rules read from every request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// `:method`.
    pub method: Field<'a>,
    /// `:path`, with its query.
    pub path: Field<'a>,
    /// `:authority`, which Envoy fills from `Host`.
    pub authority: Field<'a>,
    /// `upgrade`; Envoy keeps it only on a real upgrade.
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
    /// The field of a header. The length is compared first, because that is enough to rule out most names.
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
        // Envoy provides names in lower case.
        (same(name, expected) || name.eq_ignore_ascii_case(expected)).then_some(field)
    }
}

/// The identity of the peer, and where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The first URI SAN of the peer's certificate, over mutual TLS. Empty if the certificate has none.
    Certificate(&'a [u8]),
    /// A filter state that Envoy wrote: the connection is a tunnel through a mesh.
    FilterState(&'a [u8]),
}

/// One request, ready for a decision.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who opened the connection.
    pub peer: Peer,
    /// The address at which the connection was accepted; read only if the policy needs it.
    pub destination: Option<Address>,
    /// The identity that Envoy verified, a string by its type; read only if the policy needs it.
    pub assertion: Option<&'a [u8]>,
    /// Whether the claims that the policy requires are true; read only if the policy requires some.
    pub claims_are_true: bool,
    /// The peer's identity; read only if the policy needs it.
    pub identity: Option<Identity<'a>>,
    /// All headers, including pseudo-headers.
    pub headers: Headers<'a>,
    /// The headers that the rules read by name.
    pub fields: Fields<'a>,
    /// The headers that this policy knows.
    pub(crate) seen: Seen<'a>,
    /// The path without its query, if every parser reads it alike. Any other path may be a plugin's.
    pub(crate) plain_path: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request of which only the peer is known. It has no headers, and so no user.
    #[must_use]
    pub fn from(peer: Peer) -> Self {
        Self {
            peer,
            destination: None,
            assertion: None,
            claims_are_true: false,
            identity: None,
            headers: Headers::default(),
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

    /// Reads from a serialized header map, in one pass, what a policy with these names needs. This works in place,
    /// which avoids copying a large struct.
    ///
    /// # Errors
    /// [`MalformedHeaders`], if a length, a NUL or the end is not where it belongs. The request must not be used then.
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
                // Fields are never managed headers: the reader of the configuration rejects those names.
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

    /// Whether this is a WebSocket handshake, over any version of HTTP.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.fields.upgrade.only().is_some_and(|value| trim(value).eq_ignore_ascii_case(b"websocket"))
    }

    /// The path without its query; empty if there is none (`CONNECT`).
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        let path = self.fields.path.only().unwrap_or_default();
        path.split(|&byte| byte == b'?').next().unwrap_or_default()
    }

    /// The method; empty if the host provides none.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.fields.method.only().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::headers::{FIELD_NAMES, serialize};

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
    fn every_field_is_found_by_its_name_in_any_case() {
        for (at, name) in FIELD_NAMES.iter().enumerate() {
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
}
