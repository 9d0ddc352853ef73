//! The peer's address, which rule 1 requires to come from the socket (contract, section 2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address as the Gateway reads it. An IPv4-mapped IPv6 address is IPv4, and so is the text `::a.b.c.d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    zone: bool,
}

impl Address {
    /// Reads a bare address in canonical form, with or without a zone.
    ///
    /// The Gateway reads the same address. It also reads some odd forms that this does not, such as `::0x10.0.0.1`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if let Some(v4) = parse_quad(text) {
            return Some(Self::from(v4));
        }
        let text = std::str::from_utf8(text).ok()?;
        let (text, zone) = match text.split_once('%') {
            None => (text, false),
            Some((text, zone)) if !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                (text, true)
            }
            Some(_) => return None,
        };
        if let Some(Ok(v4)) = text.strip_prefix("::").map(str::parse::<Ipv4Addr>) {
            return Some(Self::from(v4));
        }
        let v6 = text.parse::<Ipv6Addr>().ok()?;
        Some(v6.to_ipv4_mapped().map_or(Self { ip: IpAddr::V6(v6), zone }, Self::from))
    }

    /// Reads `ip:port` or `[v6]:port`.
    fn parse_with_port(text: &[u8]) -> Option<(Self, u16)> {
        if let Some((quad, [b':', port @ ..])) = cut_quad(text) {
            return Some((Self::from(quad), parse_port(port)?));
        }
        let colon = text.iter().rposition(|&byte| byte == b':')?;
        let (address, port) = text.split_at_checked(colon)?;
        let address = match address {
            [b'[', inner @ .., b']'] if inner.contains(&b':') => inner,
            plain if !plain.contains(&b':') => plain,
            _ => return None,
        };
        let port = parse_port(port.get(1..)?)?;
        Some((Self::parse(address)?, port))
    }

    /// The address. Mapped forms are IPv4 already.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Whether the address has a zone. Such an address matches CIDR blocks, but never an exact entry.
    #[must_use]
    pub const fn has_zone(&self) -> bool {
        self.zone
    }

    /// Whether this is in 127.0.0.0/8, or is `::1`.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.ip.is_loopback()
    }
}

/// Reads a dotted quad in canonical form: four decimal numbers up to 255 without leading zeros. Most addresses look
/// like this, and the standard library's parser takes four times as long.
pub(super) fn parse_quad(text: &[u8]) -> Option<Ipv4Addr> {
    cut_quad(text).filter(|(_, rest)| rest.is_empty()).map(|(quad, _)| quad)
}

/// Reads a port: only digits, with any number of leading zeros.
fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    let mut port = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // The port was below 65,536, so this cannot wrap around.
        port = port.wrapping_mul(10).wrapping_add(u32::from(digit & 0x0F));
        if port > u32::from(u16::MAX) {
            return None;
        }
    }
    u16::try_from(port).ok()
}

/// Cuts a dotted quad off the front; no digit may follow it.
fn cut_quad(text: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let (mut bits, mut rest) = cut_octet(text)?;
    for _ in 0..3 {
        let [b'.', behind @ ..] = rest else { return None };
        let (octet, behind) = cut_octet(behind)?;
        (bits, rest) = (bits << 8 | octet, behind);
    }
    (!rest.first().is_some_and(u8::is_ascii_digit)).then(|| (Ipv4Addr::from_bits(bits), rest))
}

/// Cuts a number up to 255 without leading zeros off the front.
#[inline(always)]
fn cut_octet(text: &[u8]) -> Option<(u32, &[u8])> {
    let digit = |byte: u8| Some(u32::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit < 10);
    let (&first, mut rest) = text.split_first()?;
    let mut octet = digit(first)?;
    // At most two more digits, and none after a zero, so this cannot wrap around.
    for _ in 0..2 {
        let [next, behind @ ..] = rest else { break };
        let Some(next) = digit(*next).filter(|_| octet != 0) else { break };
        (octet, rest) = (octet.wrapping_mul(10).wrapping_add(next), behind);
    }
    (octet <= 255).then_some((octet, rest))
}

impl From<Ipv4Addr> for Address {
    fn from(v4: Ipv4Addr) -> Self {
        Self { ip: IpAddr::V4(v4), zone: false }
    }
}

/// The other end of the connection, as Envoy shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The address comes from the socket.
    Known(Address),
    /// Envoy took the address from a header. It shows port 0 then.
    Unverified,
    /// No address: a Unix socket, an internal listener, or nothing at all.
    Unknown,
}

impl Peer {
    /// Reads the attribute `source.address`.
    #[must_use]
    pub fn from_connection(attribute: &[u8]) -> Self {
        match Address::parse_with_port(attribute) {
            Some((_, 0)) => Self::Unverified,
            Some((address, _)) => Self::Known(address),
            None => Self::Unknown,
        }
    }

    /// Reads a filter state that holds an address, with or without a port.
    #[must_use]
    pub fn from_filter_state(state: &[u8]) -> Self {
        Address::parse(state).map_or_else(|| Self::from_connection(state), Self::Known)
    }
}

/// The address of an attribute such as `destination.address`.
#[must_use]
pub fn socket_address(attribute: &[u8]) -> Option<Address> {
    Address::parse_with_port(attribute).map(|(address, _)| address)
}

/// Whether a text is exactly one SPIFFE ID of a workload (SPIFFE ID standard, section 2).
pub(crate) fn is_spiffe_id(text: &[u8]) -> bool {
    const LONGEST: usize = 2048;
    let Some(rest) = text.strip_prefix(b"spiffe://") else { return false };
    let mut parts = rest.split(|&byte| byte == b'/');
    let is_mark = |byte: u8| matches!(byte, b'.' | b'-' | b'_');
    let domain = parts.next().unwrap_or_default();
    let mut segments = parts.peekable();
    text.len() <= LONGEST
        && !domain.is_empty()
        && domain.iter().all(|&byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || is_mark(byte))
        && segments.peek().is_some()
        && segments.all(|segment| {
            !matches!(segment, b"" | b"." | b"..")
                && segment.iter().all(|&byte| byte.is_ascii_alphanumeric() || is_mark(byte))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, and how Node's side prints it; checked against the Gateway's own reader.
    const ADDRESSES: &[(&str, Option<&str>)] = &[
        ("10.0.0.1", Some("10.0.0.1")),
        ("010.0.0.1", None),
        ("10.1", None),
        ("0x0a.0.0.1", None),
        ("10.0.0.256", None),
        ("::1", Some("::1")),
        ("::", Some("::")),
        ("::10.0.0.1", Some("10.0.0.1")),
        ("::ffff:10.0.0.1", Some("10.0.0.1")),
        ("::FFFF:7f00:1", Some("127.0.0.1")),
        ("0:0:0:0:0:ffff:10.0.0.1", Some("10.0.0.1")),
        ("0::10.0.0.1", Some("::a00:1")),
        ("64:ff9b::10.0.0.1", Some("64:ff9b::a00:1")),
        ("00001::1", None),
        ("1::2::3", None),
        ("1.2.3.4%x", None),
        ("::ffff:10.0.0.1%x", Some("10.0.0.1")),
        ("fe80::1%eth0", Some("fe80::1%")),
        ("fe80::1%", None),
        ("fe80::1%eth-0", None),
        ("[::1]", None),
        ("", None),
        (" 10.0.0.1", None),
    ];

    #[test]
    fn addresses_read_as_the_gateway_reads_them() {
        for (text, expected) in ADDRESSES {
            let read =
                Address::parse(text.as_bytes()).map(|a| format!("{}{}", a.ip(), if a.has_zone() { "%" } else { "" }));
            assert_eq!(read.as_deref(), *expected, "{text}");
        }
        assert_eq!(Address::parse(b"10.0.0.1\xFF"), None);
    }

    #[test]
    fn a_dotted_quad_reads_as_the_standard_library_reads_it() {
        let parts =
            ["", "0", "00", "01", "9", "10", "99", "100", "199", "200", "255", "256", "299", "300", "1000", "a", "-1"];
        for a in parts {
            for b in parts {
                for text in [
                    format!("{a}.{b}.0.1"),
                    format!("1.2.{a}.{b}"),
                    format!("{a}.{b}.1"),
                    format!("{a}.1.1.1.{b}"),
                    format!("{a}.1..{b}"),
                    format!("{a}.1.1,{b}"),
                ] {
                    assert_eq!(parse_quad(text.as_bytes()), text.parse().ok(), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_peer_is_known_only_with_a_port_of_its_own() {
        let known = |text: &[u8]| Address::parse(text).map_or(Peer::Unknown, Peer::Known);
        let cases: &[(&[u8], Peer, Peer)] = &[
            (b"10.0.0.1:4711", known(b"10.0.0.1"), known(b"10.0.0.1")),
            (b"[fd00::1]:1", known(b"fd00::1"), known(b"fd00::1")),
            (b"[::ffff:10.0.0.1]:1", known(b"10.0.0.1"), known(b"10.0.0.1")),
            (b"[fe80::1%eth0]:9", known(b"fe80::1%eth0"), known(b"fe80::1%eth0")),
            (b"10.0.0.1:0", Peer::Unverified, Peer::Unverified),
            (b"[fd00::1]:0", Peer::Unverified, Peer::Unverified),
            (b"10.0.0.1:000", Peer::Unverified, Peer::Unverified),
            (b"10.0.0.1", Peer::Unknown, known(b"10.0.0.1")),
            (b"fd00::1", Peer::Unknown, known(b"fd00::1")),
            (b"[10.0.0.1]:1", Peer::Unknown, Peer::Unknown),
            (b"[fd00::1]", Peer::Unknown, Peer::Unknown),
            (b"10.0.0.1:", Peer::Unknown, Peer::Unknown),
            (b"10.0.0.1:+1", Peer::Unknown, Peer::Unknown),
            (b"10.0.0.1:65535", known(b"10.0.0.1"), known(b"10.0.0.1")),
            (b"10.0.0.1:65536", Peer::Unknown, Peer::Unknown),
            (b"10.0.0.1:4294967297", Peer::Unknown, Peer::Unknown),
            (b"fd00::1:80", Peer::Unknown, known(b"fd00::1:80")),
            (b"10.0.0.1%eth0:80", Peer::Unknown, Peer::Unknown),
            (b"/tmp/envoy.sock", Peer::Unknown, Peer::Unknown),
            (b"@abstract:1", Peer::Unknown, Peer::Unknown),
            (b"envoy://internal_client_address/", Peer::Unknown, Peer::Unknown),
            (b"", Peer::Unknown, Peer::Unknown),
            (b"\xFF\xFE", Peer::Unknown, Peer::Unknown),
        ];
        for (text, connection, filter_state) in cases {
            let shown = text.escape_ascii();
            assert_eq!(Peer::from_connection(text), *connection, "source.address {shown}");
            assert_eq!(Peer::from_filter_state(text), *filter_state, "filter state {shown}");
        }
    }

    #[test]
    fn a_spiffe_id_is_exactly_one() {
        for (text, expected) in [
            ("spiffe://cluster.local/ns/a/sa/b", true),
            ("spiffe://a_b-c.d/X", true),
            ("spiffe://cluster.local/ns/a/sa/b,spiffe://cluster.local/ns/a/sa/c", false),
            ("spiffe://cluster.local/ns/a/sa/b spiffe://x/y", false),
            ("spiffe://cluster.local/ns/a/sa/b\n", false),
            ("spiffe://cluster.local", false),
            ("spiffe://cluster.local/", false),
            ("spiffe://cluster.local/ns//b", false),
            ("spiffe://cluster.local/ns/../b", false),
            ("spiffe://Cluster.local/ns", false),
            ("spiffe://u@cluster.local/ns", false),
            ("spiffe://cluster.local:1/ns", false),
            ("spiffe:///ns", false),
            ("SPIFFE://cluster.local/ns", false),
            ("cluster.local/ns/a/sa/b", false),
            ("https://cluster.local/ns", false),
            ("", false),
        ] {
            assert_eq!(is_spiffe_id(text.as_bytes()), expected, "{text}");
        }
        assert!(!is_spiffe_id(format!("spiffe://a/{}", "b".repeat(2048)).as_bytes()));
    }
}
