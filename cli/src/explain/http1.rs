//! The head of an HTTP/1.1 request, as it is on the wire, and what Envoy's parser answers to it.

use super::answered::Answered;
use super::sent::{Malformed, Sent, Wire};

/// The methods that Envoy's parser of HTTP/1.1 knows, and QUERY.
const METHODS: [&str; 35] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

const AS_IN_HTTP: &str = "send a request as HTTP/1.1 has it: Envoy closes the connection after this answer";

/// Reads a request line and headers up to an empty line, and ignores a body after it. Lines may end in LF alone.
pub fn parse(head: &[u8]) -> Result<Sent, Malformed> {
    let start = head.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(head.len());
    let head = head.get(start..).unwrap_or_default();
    let mut lines = head.split_inclusive(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let (method, target, version) = request_line(first).ok_or_else(|| {
        Malformed::new("does not start with a request line", "write METHOD PATH HTTP/1.1, and then the headers")
    })?;
    let mut sent = Sent { method, http2: version.starts_with("HTTP/2"), ..Sent::default() };
    let mut wire = Wire::default();
    if sent.http2 {
        // Developer tools show such requests in this form.
    } else if !version.is_empty() && !is_version(&version) {
        wire.flaw = Some(Answered::malformed(format!("{version:?} is not a version of HTTP"), "write HTTP/1.1"));
    } else if version != "HTTP/1.1" {
        wire.low_version = Some(if version.is_empty() { "HTTP/0.9".to_owned() } else { version });
    }
    if first.starts_with(b" ") || first.starts_with(b"\t") {
        wire.flaw = Some(Answered::malformed("the request starts with a space", AS_IN_HTTP));
    }
    let mut size = first.len();
    for line in lines {
        size = size.saturating_add(line.len());
        let line: Vec<u8> = line.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
        if line.is_empty() {
            break;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            match sent.headers.last_mut() {
                // Envoy joins the lines.
                Some((_, value)) => value.extend_from_slice(&line),
                None => wire.flaw = Some(Answered::malformed("the first header starts with a space", AS_IN_HTTP)),
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let Some((name, value)) = colon.and_then(|at| line.split_at_checked(at)) else {
            wire.flaw = Some(Answered::malformed("a header line has no colon", "write name: value"));
            continue;
        };
        sent.headers.push((text(name), value.get(1..).unwrap_or_default().to_vec()));
    }
    for (_, value) in &mut sent.headers {
        *value = value.trim_ascii().to_vec();
    }
    let block = head.get(..size).unwrap_or_default();
    if block.iter().any(|byte| matches!(byte, 0..=8 | 0xB | 0xC | 0xE..=0x1F | 0x7F)) {
        let because = "the request has a control character";
        wire.flaw =
            Some(Answered::new(400, "http1.invalid_characters", because, "remove it: no proxy sends such a character"));
    }
    wire.size = Some(size).filter(|_| !sent.http2);
    match self::target(&sent.method, &target) {
        Ok(Target { host: Some(host), scheme, path }) => {
            wire.is_url = true;
            sent.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
            sent.headers.insert(0, ("Host".to_owned(), host.into_bytes()));
            (sent.scheme, sent.path) = (scheme, path);
        }
        _ => sent.path = target,
    }
    sent.wire = Some(wire);
    Ok(sent)
}

/// The three parts of a request line, if this is meant as one.
fn request_line(line: &[u8]) -> Option<(String, String, String)> {
    let line = text(line);
    let line = line.trim_matches([' ', '\t', '\r', '\n']);
    let (method, rest) = line.split_once([' ', '\t'])?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let (target, version) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let version = version.trim_matches([' ', '\t']);
    // `name/1`, as a version is: this is a request, if not a good one.
    let after_slash = version.rsplit_once('/').map(|(_, number)| number);
    let is_meant = match after_slash {
        Some(number) => number.starts_with(|c: char| c.is_ascii_digit()),
        None => version.is_empty() && target.starts_with(['/', '*']),
    };
    let is_meant = is_meant && method.chars().all(|c| c.is_ascii_graphic());
    is_meant.then(|| (method.to_owned(), target.to_owned(), version.to_owned()))
}

fn is_version(text: &str) -> bool {
    matches!(*text.as_bytes(), [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// What a request asks for.
#[derive(Debug)]
pub struct Target {
    /// The host, if the target is a URL.
    host: Option<String>,
    scheme: String,
    path: String,
}

/// Reads the target of a request: a path, a URL, or the host and port of CONNECT.
pub fn target(method: &str, target: &str) -> Result<Target, Answered> {
    let invalid = |problem: &str| {
        Err(Answered::new(400, "http1.invalid_url", problem, "write a path that begins with /, such as /index.html"))
    };
    let no_url = |problem: &str| Err(Answered::malformed(problem, "write a path that begins with /, in ASCII"));
    let path = || Ok(Target { host: None, scheme: String::new(), path: target.to_owned() });
    if target.bytes().any(|byte| byte >= 0x80) {
        return no_url("the path is not ASCII");
    }
    if method == "CONNECT" {
        let (host, port) = target.rsplit_once(':').unwrap_or((target, ""));
        let is_valid = is_host(host) && port.parse::<u16>().is_ok();
        return if is_valid { path() } else { invalid("the target of CONNECT is not a host with a port") };
    }
    if target.starts_with('/') || (target.starts_with('*') && method == "OPTIONS") {
        return path();
    }
    if target.starts_with('*') {
        return invalid("the path is *, which is for OPTIONS");
    }
    let Some((scheme, rest)) = target.split_once("://").filter(|(scheme, _)| scheme.starts_with(is_letter)) else {
        return no_url("the path does not begin with a slash");
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority.split_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if !is_host(name) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return invalid("the host in the URL is not valid");
    }
    let scheme = scheme.to_ascii_lowercase();
    if !["http", "https"].contains(&scheme.as_str()) {
        let because = format!("{scheme:?} is not a scheme of HTTP");
        return Err(Answered::new(400, "http1.invalid_scheme", because, "use http:// or https://"));
    }
    let path = if path.is_empty() { "/" } else { path }.to_owned();
    Ok(Target { host: Some(host.to_owned()), scheme, path })
}

const fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
}

/// A host as Envoy accepts it in a URL.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)),
    }
}

/// Whether Envoy's parser knows the method.
pub fn is_method(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Bytes as text: as UTF-8 if they are that, or else one character each.
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect())
}
