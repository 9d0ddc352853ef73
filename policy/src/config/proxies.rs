//! Entries of `trustedProxies`: canonical addresses and CIDR blocks. Every other form is named in its error.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::cidrs::Entry;
use crate::peer::Address;
use crate::text::trim_configured;

/// What is wrong with an entry, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadEntry {
    pub(super) problem: String,
    pub(super) remedy: String,
}

/// Whether an entry covers a large network: wider than /16 (IPv4) or /48 (IPv6). Loopback is one host.
pub(super) fn is_broad(entry: &Entry) -> bool {
    match entry {
        _ if is_loopback(entry) => false,
        Entry::Exact(_) => false,
        Entry::Block(IpNet::V4(net)) => net.prefix_len() < 16,
        Entry::Block(IpNet::V6(net)) => net.prefix_len() < 48,
    }
}

/// Whether an entry covers every address of its family.
pub(super) fn is_everything(entry: &Entry) -> bool {
    matches!(entry, Entry::Block(net) if net.prefix_len() == 0)
}

/// Whether an entry covers loopback addresses alone.
pub(super) fn is_loopback(entry: &Entry) -> bool {
    match entry {
        Entry::Exact(ip) => ip.is_loopback(),
        Entry::Block(IpNet::V4(net)) => net.prefix_len() >= 8 && net.network().is_loopback(),
        Entry::Block(IpNet::V6(net)) => net.prefix_len() == 128 && net.network().is_loopback(),
    }
}

/// Reads one entry as the Gateway reads it.
///
/// # Errors
/// [`BadEntry`], for every form that the Gateway would ignore or misread.
pub(super) fn parse(entry: &str) -> Result<Entry, BadEntry> {
    let bad = |problem: &str, remedy: String| Err(BadEntry { problem: format!("{entry:?} {problem}"), remedy });
    let text = trim_configured(entry);
    let (address, prefix) = match text.split_once('/') {
        None => (text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text), None),
        Some((address, prefix)) => (address, Some(prefix)),
    };
    let one = || "write one IP address or CIDR block, such as \"10.0.0.1\" or \"10.0.0.0/24\"".to_owned();
    if text.is_empty() {
        return bad("is blank", format!("remove it, or {}", one()));
    }
    if address.contains('%') {
        return bad(
            "has a zone",
            "write the address without the zone, or a CIDR block such as \"fe80::/10\"".to_owned(),
        );
    }
    let Some(ip) = Address::parse(address.as_bytes()).map(|address| address.ip()) else {
        return bad(name_of(address, prefix), one());
    };
    let Some(prefix) = prefix else { return Ok(Entry::Exact(ip)) };
    // Only digits, and no leading zero: some software reads "/08" as octal.
    let canonical = !prefix.is_empty()
        && prefix.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix == "0" || !prefix.starts_with('0'));
    let longest = if address.contains(':') { 128 } else { 32 };
    let Some(length) = prefix.parse::<u8>().ok().filter(|length| canonical && *length <= longest) else {
        return bad("has a bad prefix length", format!("write a number from 0 to {longest} after the slash"));
    };
    let length = match (ip, address.contains(':')) {
        (IpAddr::V4(_), true) => match length.checked_sub(96) {
            Some(length) => length,
            None => {
                return bad(
                    "is an IPv4-mapped block with a prefix below 96",
                    format!("write it as IPv4, such as \"{ip}/{}\"", length.min(32)),
                );
            }
        },
        _ => length,
    };
    let Ok(net) = IpNet::new(ip, length) else {
        return bad("has a bad prefix length", one());
    };
    if net.addr() != net.network() {
        return bad("has host bits set", format!("write \"{}\", or \"{ip}\" for that one address", net.trunc()));
    }
    Ok(Entry::Block(net))
}

/// Reads one entry of a list of proxies. `None` if it is not valid.
#[must_use]
pub fn read_proxy(entry: &str) -> Option<Entry> {
    parse(entry).ok()
}

/// What a text that is not a canonical address looks like.
fn name_of(address: &str, prefix: Option<&str>) -> &'static str {
    let labels: Vec<&str> = address.split('.').collect();
    let is_decimal = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = |text: &&str| {
        text.strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let host_of_port = address.rsplit_once(':').filter(|(_, port)| is_decimal(port)).map(|(host, _)| host);
    let bracketed = |host: &str| host.starts_with('[') && host.ends_with(']');
    if address.starts_with('$') || ["{{", "${", "<"].iter().any(|start| address.contains(start)) {
        "is a placeholder that was not replaced"
    } else if address.ends_with(':') && prefix.is_some_and(|rest| rest.starts_with('/')) {
        "is a URL"
    } else if address.contains('#') {
        "has a comment"
    } else if address.starts_with('[') && prefix.is_some() {
        "has brackets around part of a CIDR block"
    } else if host_of_port.is_some_and(|host| bracketed(host) || host.parse::<std::net::Ipv4Addr>().is_ok()) {
        "is an address with a port"
    } else if address.contains('-')
        && address.split('-').all(|end| Address::parse(end.trim().as_bytes()).is_some() || is_decimal(&end.trim()))
    {
        "is a range"
    } else if address.contains([',', ' ']) && address.split([',', ' ']).any(|part| read_proxy(part).is_some()) {
        "is more than one address"
    } else if labels.iter().any(is_hex) {
        "has a hexadecimal part"
    } else if labels.iter().all(is_decimal) {
        if labels.iter().any(|label| label.len() > 1 && label.starts_with('0')) {
            "has a part with a leading zero, which some software reads as octal"
        } else if labels.len() < 4 {
            "is a short form of an IPv4 address"
        } else {
            "is not an IPv4 address"
        }
    } else if address.contains(':') {
        "is not an IPv6 address"
    } else if address.contains('*') {
        "is a pattern"
    } else if address.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        "is a name"
    } else {
        "is not an IP address"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_the_gateway_matches_are_read_alike() {
        for (entry, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            (" 10.0.0.1 ", "10.0.0.1"),
            ("[10.0.0.1]", "10.0.0.1"),
            ("[fd00::1]", "fd00::1"),
            ("::ffff:172.17.0.1", "172.17.0.1"),
            ("::10.0.0.1", "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1/32", "10.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ] {
            let read = parse(entry).map(|entry| match entry {
                Entry::Exact(ip) => ip.to_string(),
                Entry::Block(net) => net.to_string(),
            });
            assert_eq!(read.as_deref(), Ok(expected), "{entry}");
        }
    }

    #[test]
    fn every_other_form_is_named() {
        for (entry, problem) in [
            ("", "is blank"),
            (" ", "is blank"),
            ("10.0.0.5/8", "has host bits set"),
            ("2001:db8::1/32", "has host bits set"),
            ("::ffff:10.0.0.1/104", "has host bits set"),
            ("::ffff:10.0.0.0/95", "prefix below 96"),
            ("010.0.0.1", "leading zero"),
            ("0x0a.0.0.1", "hexadecimal"),
            ("10/8", "short form"),
            ("10.1", "short form"),
            ("10.0.0.1.2", "is not an IPv4 address"),
            ("10.0.0.256", "is not an IPv4 address"),
            ("fe80::1%eth0", "has a zone"),
            ("fe80::%eth0/10", "has a zone"),
            ("10.0.0.1-10.0.0.9", "is a range"),
            ("10.0.0.1-9", "is a range"),
            ("10.0.0.1:8080", "with a port"),
            ("[fd00::1]:8080", "with a port"),
            ("[10.0.0.1:8080", "is not an IPv6 address"),
            ("10.0.0.1, 10.0.0.2", "more than one"),
            ("10.0.0.1,10.0.0.2", "more than one"),
            ("10.0.0.1 10.0.0.2", "more than one"),
            ("[10.0.0.0]/8", "brackets"),
            ("10.0.0.*", "is a pattern"),
            ("proxy.internal", "is a name"),
            ("a proxy", "is a name"),
            ("{{ .Values.proxyCidr }}", "is a placeholder"),
            ("$PROXY", "is a placeholder"),
            ("<proxy>/32", "is a placeholder"),
            ("10.0.0.1 # traefik", "has a comment"),
            ("http://10.0.0.1", "is a URL"),
            ("https://proxy.internal/", "is a URL"),
            ("localhost", "is a name"),
            ("10.0.0.0/33", "bad prefix length"),
            ("10.0.0.0/", "bad prefix length"),
            ("10.0.0.0/08", "bad prefix length"),
            ("10.0.0.0/+8", "bad prefix length"),
            ("10.0.0.0/255.0.0.0", "bad prefix length"),
            ("fd00::/129", "bad prefix length"),
            ("fd00:::1", "is not an IPv6 address"),
        ] {
            match parse(entry) {
                Err(bad) => assert!(bad.problem.contains(problem), "{entry:?}: {}", bad.problem),
                Ok(read) => unreachable!("{entry:?} was read as {read:?}"),
            }
        }
    }
}
