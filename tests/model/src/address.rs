//! Addresses (contract, section 2, and rule 5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{trim, trim_configured};

/// An address as text gives it; IPv4-mapped IPv6 counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) ip: IpAddr,
    zone: bool,
}

impl Literal {
    pub(crate) fn is_loopback(self) -> bool {
        self.ip.is_loopback()
    }
}

/// A canonical address, with or without a zone.
fn literal(text: &str) -> Option<Literal> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    if let Some(zone) = zone
        && (zone.is_empty() || !zone.chars().all(|c| c.is_ascii_alphanumeric()))
    {
        return None;
    }
    if let Ok(v4) = address.parse::<Ipv4Addr>() {
        // Only IPv6 has zones.
        return zone.is_none().then_some(Literal { ip: v4.into(), zone: false });
    }
    let v6: Ipv6Addr = address.parse().ok()?;
    let compatible = address.strip_prefix("::").and_then(|rest| rest.parse::<Ipv4Addr>().ok());
    Some(match v6.to_ipv4_mapped().or(compatible) {
        // It is IPv4 now, so it has no zone.
        Some(v4) => Literal { ip: v4.into(), zone: false },
        None => Literal { ip: v6.into(), zone: zone.is_some() },
    })
}

/// `ip:port` or `[v6]:port`.
fn with_port(text: &str) -> Option<(Literal, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inside| inside.contains(':'))?,
        None if address.contains(':') => return None,
        None => address,
    };
    if port.is_empty() || !port.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some((literal(address)?, port.parse().ok()?))
}

/// The attribute of a connection.
pub(crate) fn connection(text: &str) -> Result<Literal, &'static str> {
    match with_port(text) {
        Some((_, 0)) => Err("trusted_proxy_peer_unverified"),
        Some((address, _)) => Ok(address),
        None => Err("trusted_proxy_peer_unknown"),
    }
}

/// The address at which a connection arrived; its port does not matter.
pub(crate) fn destination(text: &str) -> Option<Literal> {
    with_port(text).map(|(address, _)| address)
}

/// A filter state: an address without a port, or the same form as the attribute.
pub(crate) fn filter_state(text: &str) -> Result<Literal, &'static str> {
    literal(text).map_or_else(|| connection(text), Ok)
}

/// One entry of X-Forwarded-For, trimmed.
pub(crate) fn forwarded(entry: &str) -> Option<Literal> {
    if let Some(rest) = entry.strip_prefix('[') {
        return literal(&trim(rest.split_once(']')?.0));
    }
    match entry.split(':').collect::<Vec<_>>().as_slice() {
        [before, _] if before.parse::<Ipv4Addr>().is_ok() => literal(before),
        _ => literal(entry),
    }
}

/// Whether the address is in a list of addresses and CIDRs.
pub(crate) fn listed(list: &[impl AsRef<str>], address: Literal) -> bool {
    list.iter().any(|entry| is_in(entry.as_ref(), address))
}

fn is_in(entry: &str, address: Literal) -> bool {
    let entry = trim_configured(entry).trim_matches(['[', ']']);
    let Some((network, prefix)) = entry.split_once('/') else {
        return !address.zone && literal(entry).is_some_and(|exact| exact.ip == address.ip);
    };
    let (Ok(network), Ok(prefix)) = (network.parse::<IpAddr>(), prefix.parse::<u32>()) else { return false };
    let (network, prefix) = match network {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), prefix - 96),
            None => (network, prefix),
        },
        IpAddr::V4(_) => (network, prefix),
    };
    match (network, address.ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            (0..prefix).all(|bit| bit_of(network.to_bits().into(), bit, 32) == bit_of(ip.to_bits().into(), bit, 32))
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            (0..prefix).all(|bit| bit_of(network.to_bits(), bit, 128) == bit_of(ip.to_bits(), bit, 128))
        }
        _ => false,
    }
}

/// One bit of an address, counted from the left.
fn bit_of(address: u128, bit: u32, width: u32) -> bool {
    address >> (width - 1 - bit) & 1 == 1
}

/// Whether a host that is an IP literal is in one of the private ranges of the origin rule.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    let ranges =
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"];
    // An IPv4-mapped address counts as IPv4 here too.
    listed(&ranges, Literal { ip: ip.to_canonical(), zone: false })
}
