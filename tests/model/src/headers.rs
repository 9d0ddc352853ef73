//! Headers as Node passes them to the Gateway: strings of Latin-1 characters (contract, section 3).

/// All headers, as strings.
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

/// Node keeps only the first copy of these. It makes `set-cookie` a list, of which the Gateway reads the first entry.
const FIRST_COPY_ALONE: [&str; 19] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "retry-after",
    "server",
    "user-agent",
    "set-cookie",
];

/// Bytes as Latin-1.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// A value without the blanks at both ends: spaces, tabs, and the byte 0xA0.
pub fn trim(value: &str) -> String {
    value.trim_matches([' ', '\t', '\u{A0}']).to_owned()
}

impl Headers {
    pub(crate) fn of(headers: &[(Vec<u8>, Vec<u8>)]) -> Self {
        Self(headers.iter().map(|(name, value)| (latin1(name), latin1(value))).collect())
    }

    /// The values of all copies. Envoy uses HTTP/2's name for `host`.
    pub(crate) fn copies(&self, name: &str) -> Vec<String> {
        let name = name.to_ascii_lowercase();
        let name = if name == "host" { ":authority" } else { &name };
        self.0.iter().filter(|(other, _)| other.to_ascii_lowercase() == name).map(|(_, value)| value.clone()).collect()
    }

    /// The value as the Gateway sees it.
    pub(crate) fn joined(&self, name: &str) -> Option<String> {
        let copies = self.copies(name);
        let name = name.to_ascii_lowercase();
        if FIRST_COPY_ALONE.contains(&name.as_str()) {
            copies.first().cloned()
        } else if copies.is_empty() {
            None
        } else {
            Some(copies.join(if name == "cookie" { "; " } else { ", " }))
        }
    }

    /// Present and not blank.
    pub(crate) fn is_present(&self, name: &str) -> bool {
        self.joined(name).is_some_and(|value| !trim(&value).is_empty())
    }

    /// An upgrade is a request with an `upgrade` header.
    pub(crate) fn is_upgrade(&self) -> bool {
        !self.copies("upgrade").is_empty()
    }

    /// The upgrade that browsers request.
    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self.copies("upgrade").as_slice(), [one] if trim(one).eq_ignore_ascii_case("websocket"))
    }

    /// The part of the path before `?`.
    pub(crate) fn path(&self) -> String {
        match self.copies(":path").as_slice() {
            [one] => one.split('?').next().unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }
}
