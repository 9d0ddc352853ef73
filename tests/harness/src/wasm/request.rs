//! Requests as Envoy passes them to a filter: properties and one serialized header map.

use std::collections::BTreeMap;

use crate::vectors::Vector;

/// Headers whose copies Envoy passes on as one value, joined with a comma.
const MERGED: [&str; 6] = ["x-forwarded-for", "x-forwarded-host", "origin", "authorization", "referer", "user-agent"];

/// The property that holds the peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFrom {
    /// `source.address`.
    Connection,
    /// `filter_state` under the key [`PeerFrom::KEY`].
    FilterState,
}

impl PeerFrom {
    /// The key of the filter state that holds the peer address, without a port.
    pub const KEY: &'static str = "lab.peer";
}

/// A request as the filter will see it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names in lower case with their values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Whether no body follows.
    pub end_of_stream: bool,
    pub(super) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) raw_map: Option<Vec<u8>>,
}

impl Request {
    /// A request over HTTP/1.1 from 10.0.0.1, with only the pseudo headers.
    pub fn new(method: &str, path: &str) -> Self {
        let pseudo = [(":authority", "claw.example.com"), (":path", path), (":method", method), (":scheme", "http")];
        Self {
            headers: pseudo.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            end_of_stream: true,
            properties: BTreeMap::new(),
            raw_map: None,
        }
        .property(&["request", "protocol"], "HTTP/1.1")
        .peer("10.0.0.1:40000")
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A WebSocket handshake over HTTP/1.1, with the sample key of RFC 6455.
    pub fn upgrade(path: &str) -> Self {
        Self { end_of_stream: false, ..Self::get(path) }
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// A decision vector as Envoy would pass it.
    pub fn of_vector(vector: &Vector, peer_from: PeerFrom) -> Self {
        let mut request = Self { end_of_stream: !vector.websocket, ..Self::new(&vector.method, &vector.path) };
        request.headers.retain(|(name, _)| name != ":authority");
        for (name, value) in vector.on_the_wire() {
            let name = name.to_ascii_lowercase();
            // Envoy's codec trims whitespace around values, and uses HTTP/2's name for `host`.
            let value = value.trim_ascii();
            request = if name == "host" { request.set(":authority", value) } else { request.header(&name, value) };
        }
        let socket = match vector.remote_addr.as_str() {
            v6 if v6.contains(':') => format!("[{v6}]:40000"),
            v4 => format!("{v4}:40000"),
        };
        match peer_from {
            PeerFrom::Connection => request.peer(&socket),
            // If filter state is used, source.address is what a client claimed: it has port 0 and must never be
            // trusted.
            PeerFrom::FilterState => {
                request.peer("10.0.0.1:0").property(&["filter_state", PeerFrom::KEY], vector.remote_addr.as_bytes())
            }
        }
    }

    /// Sets `source.address`.
    #[must_use]
    pub fn peer(self, address: &str) -> Self {
        self.property(&["source", "address"], address)
    }

    /// Sets a property.
    #[must_use]
    pub fn property(mut self, path: &[&str], value: impl AsRef<[u8]>) -> Self {
        self.properties.insert(path.join("\0").into_bytes(), value.as_ref().to_vec());
        self
    }

    /// Removes a property.
    #[must_use]
    pub fn without_property(mut self, path: &[&str]) -> Self {
        self.properties.remove(path.join("\0").as_bytes());
        self
    }

    /// Adds a header, or one more copy of it.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let known =
            if MERGED.contains(&name) { self.headers.iter_mut().find(|(known, _)| known == name) } else { None };
        if let Some((_, merged)) = known {
            if !merged.is_empty() && !value.is_empty() {
                merged.push(b',');
            }
            merged.extend_from_slice(value);
        } else {
            self.headers.push((name.to_owned(), value.to_vec()));
        }
        self
    }

    /// Sets the only copy of a header.
    #[must_use]
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).header(name, value)
    }

    /// Removes all copies of a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Passes these bytes as the serialized header map, whether valid or not.
    #[must_use]
    pub fn raw_map(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw_map = Some(bytes.into());
        self
    }
}

/// A header map in the ABI's format: the count, all pairs of lengths, then names and values, each followed by a NUL.
pub fn serialize_map(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut map = u32::try_from(headers.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in headers {
        map.extend(length(name.as_bytes()));
        map.extend(length(value));
    }
    for (name, value) in headers {
        map.extend_from_slice(name.as_bytes());
        map.push(0);
        map.extend_from_slice(value);
        map.push(0);
    }
    map
}

/// The reverse; `None` if the bytes are not exactly one map.
pub fn parse_map(map: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    fn number(bytes: &mut &[u8]) -> Option<usize> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        *bytes = rest;
        usize::try_from(u32::from_le_bytes(*head)).ok()
    }
    fn text(bytes: &mut &[u8], length: usize) -> Option<Vec<u8>> {
        let (head, rest) = bytes.split_at_checked(length)?;
        *bytes = rest.strip_prefix(b"\0")?;
        Some(head.to_vec())
    }
    let mut rest = map;
    let lengths: Option<Vec<_>> =
        (0..number(&mut rest)?).map(|_| Some((number(&mut rest)?, number(&mut rest)?))).collect();
    let pairs: Option<Vec<_>> = lengths?
        .into_iter()
        .map(|(name, value)| Some((String::from_utf8(text(&mut rest, name)?).ok()?, text(&mut rest, value)?)))
        .collect();
    pairs.filter(|_| rest.is_empty())
}
