//! Origins of browsers, for rule 10 (contract, section 3; the Gateway's origin check).
//!
//! Origins are read as WHATWG URLs, as the Gateway reads them, but a little more strictly: the Gateway reads every
//! origin that is read here, with the same result.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::byte_map::ByteMap;
use crate::idna;
use crate::text::trim;

/// An origin in the form that the Gateway compares: in lower case, without a default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    /// Where `host[:port]` starts in `text`.
    authority: usize,
    host: Host,
    /// False if an international name is not certainly valid: see [`idna`].
    surely_valid: bool,
    /// Its scheme has no origin in the URL standard, such as `app:` and `chrome-extension:`.
    opaque: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// A name, and where it ends in the text.
    Name {
        end: usize,
    },
}

impl Origin {
    /// Reads an origin, which must be trimmed already.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text =
            std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| matches!(byte, 0x21..=0x7E)))?;
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
        {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest)?;
        let kind = Scheme::of(&scheme);
        let port = parse_port(port)?.filter(|port| Some(*port) != kind.default_port());
        if kind == Scheme::File && (rest != host || host.eq_ignore_ascii_case("localhost")) {
            return None;
        }
        let mut text = scheme;
        text.push_str("://");
        let authority = text.len();
        let host = push_host(&mut text, host, kind != Scheme::Other)?;
        if let Some(port) = port {
            text.push_str(&format!(":{port}"));
        }
        let surely_valid = match host {
            Host::Name { end } if kind != Scheme::Other => {
                text.get(authority..end)?.split('.').all(idna::is_plain_or_safe)
            }
            _ => true,
        };
        let opaque = matches!(kind, Scheme::Other | Scheme::File);
        Some(Self { text, authority, host, surely_valid, opaque })
    }

    /// Whether its scheme has no origin in the URL standard. Older Gateways find no such origin in their list.
    #[must_use]
    pub const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The whole origin.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `host[:port]`, as in a `Host` header.
    fn authority(&self) -> &str {
        self.text.get(self.authority..).unwrap_or_default()
    }

    /// Whether the Gateway accepts this origin if it equals the host: a private address or a local name, never
    /// loopback.
    fn is_private(&self) -> bool {
        match self.host {
            Host::Address(IpAddr::V6(ip)) => ip.to_ipv4_mapped().map_or_else(|| is_private_v6(ip), is_private_v4),
            Host::Address(IpAddr::V4(ip)) => is_private_v4(ip),
            Host::Name { end } => {
                let name = self.text.get(self.authority..end).unwrap_or_default();
                name.ends_with(".local") || name.ends_with(".ts.net")
            }
        }
    }

    /// Whether this looks like the origin of a Chrome extension: 32 letters from a to p.
    fn is_chrome_extension(&self) -> bool {
        self.text
            .strip_prefix("chrome-extension://")
            .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'a'..=b'p')))
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
    ip.is_private() || ip.is_link_local() || SHARED.contains(&ip)
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    const UNIQUE_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xFC00, 0, 0, 0, 0, 0, 0, 0), 7);
    const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 0), 10);
    UNIQUE_LOCAL.contains(&ip) || LINK_LOCAL.contains(&ip)
}

/// The kinds of schemes in the URL standard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Ftp,
    File,
    /// Its hosts are opaque: no names, no addresses but IPv6 in brackets.
    Other,
}

impl Scheme {
    fn of(scheme: &str) -> Self {
        match scheme {
            "http" | "ws" => Self::Http,
            "https" | "wss" => Self::Https,
            "ftp" => Self::Ftp,
            "file" => Self::File,
            _ => Self::Other,
        }
    }

    const fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Ftp => Some(21),
            Self::File | Self::Other => None,
        }
    }
}

/// Splits `host[:port]`; a host in brackets keeps its colons.
fn split_port(authority: &str) -> Option<(&str, &str)> {
    let end = if authority.starts_with('[') { authority.find(']')?.checked_add(1)? } else { 0 };
    let (_, after) = authority.split_at_checked(end)?;
    match after.find(':') {
        Some(colon) => {
            let (host, port) = authority.split_at_checked(end.checked_add(colon)?)?;
            Some((host, port.get(1..)?))
        }
        None => Some((authority, "")),
    }
}

/// A port: only digits, with any number of leading zeros. Empty text is no port, and not an error.
fn parse_port(port: &str) -> Option<Option<u16>> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match port.trim_start_matches('0') {
        "" if port.is_empty() => Some(None),
        "" => Some(Some(0)),
        digits => digits.parse().ok().map(Some),
    }
}

/// Appends a host as the URL standard serializes it, in lower case like the Gateway.
fn push_host(text: &mut String, host: &str, special: bool) -> Option<Host> {
    if let Some(v6) = host.strip_prefix('[') {
        let ip: Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
        match ip.to_ipv4_mapped() {
            // The standard writes the last two groups in hexadecimal, unlike Rust.
            Some(_) => {
                let [.., high, low] = ip.segments();
                text.push_str(&format!("[::ffff:{high:x}:{low:x}]"));
            }
            None => text.push_str(&format!("[{ip}]")),
        }
        return Some(Host::Address(IpAddr::V6(ip)));
    }
    // The standard forbids `#/:<>?@[\]^|` in every host, and `%` in names; elsewhere, `%` would stay encoded. It allows
    // a comma, but here that means that Envoy joined a repeated Origin.
    if host.is_empty() || host.bytes().any(|byte| b"#/:<>?@[\\]^|%,".contains(&byte)) {
        return None;
    }
    text.push_str(&host.to_ascii_lowercase());
    let end = text.len();
    if !special {
        let quad = host.parse().map(|ip| Host::Address(IpAddr::V4(ip)));
        return Some(quad.unwrap_or(Host::Name { end }));
    }
    if ends_in_number(host) {
        // The standard also reads forms such as `0x7f.1` as addresses. Here, only a dotted quad is one.
        return host.parse().ok().map(|ip| Host::Address(IpAddr::V4(ip)));
    }
    Some(Host::Name { end })
}

/// The URL standard's test for hosts that must be IPv4 addresses.
fn ends_in_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The origins that a policy allows.
#[derive(Debug, Default, Clone)]
pub struct Origins {
    /// Only entries that an origin can equal: each one reads as an origin, and is in the form that is compared.
    listed: ByteMap,
    any: bool,
    host_fallback: bool,
    /// Whether an origin that equals the host passes if it is private.
    private: bool,
    /// Whether the list can name opaque origins.
    opaque: bool,
}

impl Origins {
    /// No origins yet. `host_fallback` is `dangerouslyAllowHostHeaderOriginFallback`. `private` is whether an origin
    /// that equals the host passes if it is private, and `opaque` whether the list can name opaque origins: the newest
    /// Gateways do both.
    #[must_use]
    pub fn new(host_fallback: bool, private: bool, opaque: bool) -> Self {
        Self { host_fallback, private, opaque, ..Self::default() }
    }

    /// Adds an entry of `allowedOrigins`, which must be trimmed and in lower case already.
    ///
    /// Returns false if no origin can equal it. The entry is left out then.
    pub fn insert(&mut self, entry: &str) -> bool {
        if entry == "*" {
            self.any = true;
            return true;
        }
        let can_match = Origin::parse(entry.as_bytes())
            .is_some_and(|origin| origin.as_str() == entry && (self.opaque || !origin.is_opaque()));
        if can_match {
            self.listed.insert(entry.as_bytes().into(), ());
        }
        can_match
    }

    /// Whether an `Origin` header, trimmed and not blank, passes.
    #[must_use]
    pub fn allow(&self, origin: &[u8], host: Option<&[u8]>, upgrade: bool) -> bool {
        self.judge(origin, host, self.any, upgrade)
    }

    /// The same for a plain request, but `"*"` does not count.
    #[must_use]
    pub fn allow_named(&self, origin: &[u8], host: Option<&[u8]>) -> bool {
        self.judge(origin, host, false, false)
    }

    fn judge(&self, origin: &[u8], host: Option<&[u8]>, any: bool, upgrade: bool) -> bool {
        // Browsers send the form that is compared. There is no need to parse it, because every entry is an origin.
        if self.listed.contains(origin) {
            return true;
        }
        let Some(origin) = Origin::parse(origin) else { return false };
        if self.listed.contains(origin.as_str().as_bytes()) {
            return true;
        }
        if !origin.surely_valid {
            return false;
        }
        let same_host = || host.is_some_and(|host| trim(host).eq_ignore_ascii_case(origin.authority().as_bytes()));
        any || ((self.host_fallback || (self.private && origin.is_private())) && same_host())
            || (upgrade && origin.is_chrome_extension())
    }

    /// Whether every valid origin passes.
    #[must_use]
    pub const fn allows_any(&self) -> bool {
        self.any
    }

    /// Whether an origin that equals the `Host` header passes.
    #[must_use]
    pub const fn host_fallback(&self) -> bool {
        self.host_fallback
    }

    /// Whether the list names no origin at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any && self.listed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_as_the_url_standard_reads_it() {
        let cases = [
            ("https://claw.example.com", Some("https://claw.example.com")),
            ("HTTPS://CLAW.example.com/", Some("https://claw.example.com")),
            ("https://claw.example.com:443", Some("https://claw.example.com")),
            ("https://claw.example.com:0443", Some("https://claw.example.com")),
            ("https://claw.example.com:", Some("https://claw.example.com")),
            ("https://claw.example.com:8443", Some("https://claw.example.com:8443")),
            ("http://claw.example.com:443", Some("http://claw.example.com:443")),
            ("https://claw.example.com:0", Some("https://claw.example.com:0")),
            ("https://claw.example.com:65535", Some("https://claw.example.com:65535")),
            ("https://claw.example.com:65536", None),
            ("https://claw.example.com:99999999999999999999", None),
            ("https://claw.example.com:8a", None),
            ("https://claw.example.com//", None),
            ("https://claw.example.com/path", None),
            ("https://claw.example.com?q", None),
            ("https://claw.example.com#f", None),
            ("https://claw.example.com\\", None),
            ("https://user@claw.example.com", None),
            ("https://@claw.example.com", None),
            ("https://", None),
            ("https:///", None),
            ("https://:443", None),
            ("null", None),
            ("", None),
            ("//a", None),
            ("1a://b", None),
            ("https://a<b", None),
            ("https://a%62", None),
            ("https://a b", None),
            ("https://a,https://b", None),
            ("https://a^b", None),
            ("https://a|b", None),
            ("https://a_b~!$&'()*+;=", Some("https://a_b~!$&'()*+;=")),
            ("https://j\u{f6}rg", None),
            ("https://1.2.3.4", Some("https://1.2.3.4")),
            ("https://1.2.3.4.", None),
            ("https://1.2.3.256", None),
            ("https://01.2.3.4", None),
            ("https://foo.1", None),
            ("https://foo.0x1", None),
            ("http://foo.1", None),
            ("http://a:80", Some("http://a")),
            ("ws://a:80", Some("ws://a")),
            ("wss://a:443", Some("wss://a")),
            ("http://a:443", Some("http://a:443")),
            ("app://foo.1", Some("app://foo.1")),
            ("app://a:80", Some("app://a:80")),
            ("https://1", None),
            ("https://a.1b", Some("https://a.1b")),
            ("http://[FD00::1]:18789", Some("http://[fd00::1]:18789")),
            ("http://[fd00:0:0:0:0:0:0:1]", Some("http://[fd00::1]")),
            ("http://[::ffff:10.0.0.1]", Some("http://[::ffff:a00:1]")),
            ("http://[::10.0.0.1]", Some("http://[::a00:1]")),
            ("http://[::g]", None),
            ("http://[::1", None),
            ("http://[::1]x", None),
            ("http://[fe80::1%25eth0]", None),
            ("https://a,", None),
            ("https://a,b.example", None),
            ("file://", None),
            ("file://host", Some("file://host")),
            ("file://localhost", None),
            ("file://c:", None),
            ("chrome-extension://AbC", Some("chrome-extension://abc")),
            ("app://a.1", Some("app://a.1")),
            ("wss://a:443", Some("wss://a")),
            ("ftp://a:21", Some("ftp://a")),
            ("app://a:443", Some("app://a:443")),
            ("https://xn--bcher-kva.example", Some("https://xn--bcher-kva.example")),
            ("https://xn--a.example", Some("https://xn--a.example")),
        ];
        for (text, expected) in cases {
            let origin = Origin::parse(text.as_bytes());
            assert_eq!(origin.as_ref().map(Origin::as_str), expected, "{text}");
            if let Some(origin) = origin {
                assert_eq!(Origin::parse(origin.as_str().as_bytes()).as_ref(), Some(&origin), "{text} is stable");
            }
        }
        assert_eq!(Origin::parse(b"https://a\xFF"), None);
        assert_eq!(Origin::parse(b"https://cl\taw"), None);
    }

    fn origins(entries: &[&str], host_fallback: bool) -> Origins {
        let mut origins = Origins::new(host_fallback, true, true);
        for entry in entries {
            origins.insert(entry);
        }
        origins
    }

    #[test]
    fn an_origin_passes_by_the_list_or_by_its_host() {
        const EXTENSION: &str = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
        let list: &[&str] = &["https://claw.example.com"];
        // entries, fallback, origin, Host, upgrade, passes
        let cases: &[(&[&str], bool, &str, &str, bool, bool)] = &[
            (list, false, "https://claw.example.com", "x", false, true),
            (list, false, "https://CLAW.example.com:443/", "x", false, true),
            (list, false, "http://claw.example.com", "claw.example.com", false, false),
            (list, false, "https://claw.example.com:8443", "x", false, false),
            (list, false, "https://claw.example.com.evil.example", "x", false, false),
            (list, false, "https://evil-claw.example.com", "x", false, false),
            (list, false, "null", "x", false, false),
            (&["*"], false, "https://evil.example", "x", false, true),
            (&["*"], false, "null", "x", false, false),
            (&["*"], false, "https://xn--bcher-kva.example", "x", false, true),
            (&["*"], false, "https://xn--mgbh0fb.example", "x", false, false),
            (&["*"], false, "app://xn--mgbh0fb.example", "x", false, true),
            (&["https://xn--mgbh0fb.example"], false, "https://XN--mgbh0fb.example", "x", false, true),
            (&[], true, "https://xn--mgbh0fb.example", "xn--mgbh0fb.example", false, false),
            (&["*"], false, "https://a<b", "x", false, false),
            (&["*"], false, "http://a.ts.net,", "x", false, false),
            (&[], false, "http://a.ts.net,.ts.net", "a.ts.net,.ts.net", false, false),
            (&[], false, "https://claw.example.com", "claw.example.com", false, false),
            (&[], true, "https://claw.example.com", " CLAW.example.com ", false, true),
            (&[], true, "https://claw.example.com", "claw.example.com:443", false, false),
            (&[], true, "http://localhost:5173", "localhost:5173", false, true),
            (&[], false, "http://localhost:5173", "localhost:5173", false, false),
            (&[], false, "http://127.0.0.1", "127.0.0.1", false, false),
            (&[], false, "http://[::1]", "[::1]", false, false),
            (&[], false, "http://10.0.0.9", "10.0.0.9", false, true),
            (&[], false, "http://10.0.0.9", "10.0.0.8", false, false),
            (&[], false, "http://[::ffff:10.0.0.9]", "[::ffff:a00:9]", false, true),
            (&[], false, "http://[::ffff:127.0.0.1]", "[::ffff:7f00:1]", false, false),
            (&[], false, "http://172.31.0.1:1", "172.31.0.1:1", false, true),
            (&[], false, "http://172.32.0.1", "172.32.0.1", false, false),
            (&[], false, "http://192.168.7.20:18789", "192.168.7.20:18789", false, true),
            (&[], false, "http://169.254.1.1", "169.254.1.1", false, true),
            (&[], false, "http://100.127.0.1", "100.127.0.1", false, true),
            (&[], false, "http://100.128.0.1", "100.128.0.1", false, false),
            (&[], false, "http://203.0.113.9", "203.0.113.9", false, false),
            (&[], false, "http://[fd00::1]:18789", "[fd00::1]:18789", false, true),
            (&[], false, "http://[fe80::1]", "[fe80::1]", false, true),
            (&[], false, "http://[fec0::1]", "[fec0::1]", false, false),
            (&[], false, "https://box.tail1.ts.net", "box.tail1.ts.net", false, true),
            (&[], false, "http://box.local:81", "box.local:81", false, true),
            (&[], false, "http://boxlocal", "boxlocal", false, false),
            (&[], false, "http://local", "local", false, false),
            (&[], false, EXTENSION, "x", true, true),
            (&[], false, EXTENSION, "x", false, false),
            (&[EXTENSION], false, EXTENSION, "x", false, true),
            (&[], false, "chrome-extension://abcdefghijklmnopabcdefghijklmnoq", "x", true, false),
            (&[], false, "chrome-extension://abcdefghijklmnop", "x", true, false),
            (&[], false, "moz-extension://abcdefghijklmnopabcdefghijklmnop", "x", true, false),
        ];
        for (entries, fallback, origin, host, upgrade, expected) in cases {
            let passes = origins(entries, *fallback).allow(origin.as_bytes(), Some(host.as_bytes()), *upgrade);
            assert_eq!(passes, *expected, "{origin} to {host}, {entries:?}, fallback {fallback}, upgrade {upgrade}");
        }
        assert!(!origins(&[], true).allow(b"http://10.0.0.9", None, false), "no Host, nothing to equal");
    }

    #[test]
    fn an_entry_that_no_origin_can_equal_is_left_out() {
        for entry in
            ["https://a/", "https://a/path", "https://a:443", "https://a<b", "https://a,b", "a.example", "null", ""]
        {
            assert!(!Origins::default().insert(entry), "{entry}");
            assert!(!origins(&[entry], false).allow(entry.as_bytes(), None, false), "{entry}");
        }
    }
}
