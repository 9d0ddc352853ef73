//! A request as the peer sends it.

use super::answered::Answered;
use crate::output::Failure;

/// A header's name and value.
pub type Header = (String, Vec<u8>);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    /// The path with its query.
    pub path: String,
    pub scheme: String,
    /// In order, with each copy as its own entry. The host is one of them.
    pub headers: Vec<Header>,
    pub http2: bool,
    /// How it is on the wire, if it is given like that. Then nothing is missing, such as the host.
    pub wire: Option<Wire>,
}

/// What only the head of a request itself shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wire {
    /// The number of bytes, if they are as they were given.
    pub size: Option<usize>,
    /// Another version than HTTP/1.1.
    pub low_version: Option<String>,
    /// Whether the target is a URL.
    pub is_url: bool,
    /// What Envoy's parser answers to it.
    pub flaw: Option<Answered>,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            scheme: "https".to_owned(),
            headers: Vec::new(),
            http2: false,
            wire: None,
        }
    }
}

/// What is wrong with the description of a request, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub problem: String,
    pub remedy: String,
}

impl Malformed {
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    /// Adds the place of the problem.
    pub fn at(self, place: &str) -> Failure {
        Failure::new(place, self.problem, self.remedy)
    }
}

/// A valid key for a handshake: the one from the example in RFC 6455.
const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

impl Sent {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// How many bytes the head has.
    pub fn size(&self) -> usize {
        let line = [self.method.len(), self.path.len(), "  HTTP/1.1\r\n\r\n".len()];
        let headers = self.headers.iter().flat_map(|(name, value)| [name.len(), value.len(), ": \r\n".len()]);
        let given = self.wire.as_ref().and_then(|wire| wire.size);
        given.unwrap_or_else(|| line.into_iter().chain(headers).sum())
    }

    /// Sets the scheme, the path and the host from a URL.
    pub fn set_url(&mut self, url: &str) -> Result<(), Malformed> {
        let url = url.split('#').next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() {
            return Err(Malformed::new("the URL has no host", "write https://host/path"));
        }
        self.scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => "http".to_owned(),
            "https" | "wss" => "https".to_owned(),
            other => {
                return Err(Malformed::new(format!("{other:?} is not an HTTP scheme"), "use http:// or https://"));
            }
        };
        self.path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if self.header("host").is_none() {
            self.headers.insert(0, ("Host".to_owned(), host.as_bytes().to_vec()));
        }
        Ok(())
    }

    /// Rejects what no request on the wire can contain.
    pub fn check(&self) -> Result<(), Malformed> {
        check_line("method", &self.method)?;
        check_line("path", &self.path)?;
        self.headers.iter().try_for_each(|(name, value)| check_header(name, value))
    }

    /// Adds the headers of a WebSocket handshake where they are missing.
    pub fn make_websocket(&mut self) {
        let key = if self.http2 { None } else { Some(("Sec-WebSocket-Key", KEY)) };
        let handshake: [(&str, &[u8]); 3] =
            [("Connection", b"Upgrade"), ("Upgrade", b"websocket"), ("Sec-WebSocket-Version", b"13")];
        for (name, value) in handshake.into_iter().chain(key) {
            if self.header(name).is_none() {
                self.headers.push((name.to_owned(), value.to_vec()));
            }
        }
    }
}

fn check_line(what: &str, text: &str) -> Result<(), Malformed> {
    if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
        return Err(Malformed::new(
            format!("the {what} is not valid"),
            "it must not be empty, or contain spaces or control characters",
        ));
    }
    Ok(())
}

/// Rejects what is no method.
pub fn check_method(method: &str) -> Result<(), Malformed> {
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Malformed::new(format!("{method:?} is not a method"), "write a method such as GET or POST"));
    }
    Ok(())
}

/// Rejects what is no path. It does not show a query, because that may be a secret.
pub fn check_path(method: &str, path: &str) -> Result<(), Malformed> {
    check_line("path", path)?;
    if path.starts_with('/') || path == "*" || method == "CONNECT" {
        return Ok(());
    }
    let shown = path.split(['?', '#']).next().unwrap_or_default();
    let remedy = match path.split_once("://").and_then(|(_, rest)| rest.split_once('/')) {
        Some((_, path)) => format!("give the path of the URL, /{}", path.split(['?', '#']).next().unwrap_or_default()),
        None => format!("write /{}", shown.trim_start_matches('/')),
    };
    Err(Malformed::new(format!("{shown:?} does not begin with a slash"), remedy))
}

/// Reads `Name: value`, and `Name;` for an empty value, as curl does.
pub fn parse_header(text: &str) -> Result<Header, Malformed> {
    let header = match text.split_once(':') {
        Some(("", _)) => (text.to_owned(), Vec::new()),
        Some((name, value)) => (name.to_owned(), value.trim_ascii().as_bytes().to_vec()),
        None => match text.strip_suffix(';') {
            Some(name) => (name.to_owned(), Vec::new()),
            None => {
                return Err(Malformed::new(
                    "a header has no colon",
                    "write 'name: value', or 'name;' for an empty value",
                ));
            }
        },
    };
    check_header(&header.0, &header.1)?;
    Ok(header)
}

/// Whether a byte may be in a header name.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Does not show values, because they may be secrets.
fn check_header(name: &str, value: &[u8]) -> Result<(), Malformed> {
    if name.starts_with(':') {
        return Err(Malformed::new(format!("{name:?} is not a header"), "use --method, --path and -H 'host: …'"));
    }
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Malformed::new(format!("{name:?} is not a header name"), "use letters, digits and hyphens"));
    }
    if value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
        return Err(Malformed::new(
            format!("the value of {name:?} has a control character"),
            "remove it: no proxy sends such a value",
        ));
    }
    Ok(())
}
