//! A request as the peer sends it, and how Envoy changes it before the filter runs.

use policy::Peer;
use policy::names::SCOPES_HEADER;

use crate::input::Configuration;
use crate::json5::{Node, Value};
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
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            scheme: "https".to_owned(),
            headers: Vec::new(),
            http2: false,
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

/// Headers whose copies Envoy joins into one value.
const MERGED: [&str; 6] = ["x-forwarded-for", "x-forwarded-host", "origin", "authorization", "referer", "user-agent"];

/// A valid key for a handshake: the one from the example in RFC 6455.
const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

impl Sent {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
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
        for (what, text) in [("method", &self.method), ("path", &self.path)] {
            if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
                return Err(Malformed::new(
                    format!("the {what} is not valid"),
                    "it must not be empty, or contain spaces or control characters",
                ));
            }
        }
        for (name, value) in &self.headers {
            check_header(name, value)?;
        }
        Ok(())
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

    /// The header map that Envoy shows the filter. Changes by Envoy are added to `notes`; there are none without a
    /// front.
    pub fn as_the_filter_sees_it(&self, peer: Peer, front: Option<&Front>, notes: &mut Vec<String>) -> Vec<Header> {
        let mut map: Vec<Header> = vec![
            (":method".to_owned(), self.method.clone().into_bytes()),
            (":path".to_owned(), self.path.clone().into_bytes()),
            (":scheme".to_owned(), self.scheme.clone().into_bytes()),
        ];
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            let name = if name == "host" { ":authority".to_owned() } else { name };
            let value = value.trim_ascii();
            let merged = MERGED.contains(&name.as_str()).then(|| map.iter_mut().find(|(other, _)| *other == name));
            match merged.flatten() {
                Some((_, all)) => {
                    if !all.is_empty() && !value.is_empty() {
                        all.push(b',');
                    }
                    all.extend_from_slice(value);
                }
                None => map.push((name, value.to_vec())),
            }
        }
        if let Some(front) = front {
            change_as_envoy_does(&mut map, peer, &self.scheme, front, notes);
        }
        map
    }
}

/// What is in front of Envoy, and what Envoy therefore does before the filter runs, in the configurations in `envoy/`.
#[derive(Debug)]
pub struct Front {
    /// Clients connect to Envoy itself: it adds the peer to X-Forwarded-For.
    is_edge: bool,
    /// The headers that Envoy removes.
    removed: Vec<String>,
}

impl Front {
    /// As `render` writes it for this configuration.
    pub fn of(configuration: &Configuration) -> Self {
        let text =
            |path: &[&str]| configuration.at(path).and_then(Node::text).map(|name| name.trim().to_ascii_lowercase());
        let is_edge = configuration.at(&["filter", "edge"]).is_some_and(|node| node.value == Value::Bool(true));
        let theirs = text(&["gateway", "auth", "trustedProxy", "userHeader"]);
        let own = text(&["filter", "upstreamUserHeader"]);
        let removed = if is_edge {
            let groups = text(&["filter", "scopes", "groupsHeader"]).unwrap_or_else(|| "x-forwarded-groups".to_owned());
            own.or(theirs).into_iter().chain([SCOPES_HEADER.to_owned(), groups]).collect()
        } else {
            own.into_iter().filter(|own| theirs.as_ref() != Some(own)).collect()
        };
        Self { is_edge, removed }
    }
}

/// Changes a request as Envoy does with the configurations in `envoy/`.
fn change_as_envoy_does(map: &mut Vec<Header>, peer: Peer, scheme: &str, front: &Front, notes: &mut Vec<String>) {
    for name in &front.removed {
        if map.iter().any(|(other, _)| other == name) {
            map.retain(|(other, _)| other != name);
            notes.push(format!("Envoy removes {name} before the filter runs (--as-seen turns this off)"));
        }
    }
    let has_token = |map: &[Header]| {
        let copies = map.iter().filter(|(name, _)| name == "connection");
        copies
            .flat_map(|(_, value)| value.split(|&byte| byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    if map.iter().any(|(name, _)| name == "upgrade") && !has_token(map) {
        map.retain(|(name, _)| name != "upgrade");
        notes.push("Envoy drops Upgrade, because Connection does not name it".to_owned());
    }
    if let (true, Peer::Known(address)) = (front.is_edge, peer) {
        let ip = address.ip().to_string();
        match map.iter_mut().find(|(name, _)| name == "x-forwarded-for") {
            Some((_, chain)) => {
                if !chain.is_empty() {
                    chain.push(b',');
                }
                chain.extend_from_slice(ip.as_bytes());
            }
            None => map.push(("x-forwarded-for".to_owned(), ip.clone().into_bytes())),
        }
        notes.push(format!(
            "Envoy adds the peer, {ip}, to X-Forwarded-For (use_remote_address; --as-seen turns this off)"
        ));
        if address.is_loopback() {
            notes.push(
                "for a loopback peer, Envoy may write its own address instead, if it has one; that counts as a client"
                    .to_owned(),
            );
        }
    }
    for (name, value) in [("x-forwarded-proto", scheme), ("x-request-id", "00000000-0000-4000-8000-000000000000")] {
        if !map.iter().any(|(other, _)| other == name) {
            map.push((name.to_owned(), value.as_bytes().to_vec()));
        }
    }
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

/// Does not show values, because they may be secrets.
fn check_header(name: &str, value: &[u8]) -> Result<(), Malformed> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
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
