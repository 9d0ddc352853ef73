//! A set of addresses and networks (rule 2).
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::peer::Address;

/// A set of exact addresses and CIDR blocks.
///
/// A look-up costs one probe for each prefix length in use, at most 33 (IPv4) or 129 (IPv6), however many entries
/// there are.
#[derive(Debug, Default, Clone)]
pub struct Cidrs {
    exact: HashSet<IpAddr, FixedState>,
    v4: Blocks<Ipv4Net>,
    v6: Blocks<Ipv6Net>,
}

#[derive(Debug, Default, Clone)]
struct Blocks<Net> {
    nets: HashSet<Net, FixedState>,
    prefixes: Vec<u8>,
}

impl<Net: Eq + std::hash::Hash> Blocks<Net> {
    fn insert(&mut self, net: Net, prefix: u8) {
        self.nets.insert(net);
        if !self.prefixes.contains(&prefix) {
            self.prefixes.push(prefix);
        }
    }

    fn contains(&self, block: impl Fn(u8) -> Option<Net>) -> bool {
        self.prefixes.iter().any(|&prefix| block(prefix).is_some_and(|net| self.nets.contains(&net)))
    }
}

impl Cidrs {
    /// Adds one address, which an address with a zone does not match.
    pub fn insert_exact(&mut self, ip: IpAddr) {
        self.exact.insert(ip);
    }

    /// Adds one block; bits behind the prefix do not count.
    pub fn insert_block(&mut self, net: IpNet) {
        match net.trunc() {
            IpNet::V4(net) => self.v4.insert(net, net.prefix_len()),
            IpNet::V6(net) => self.v6.insert(net, net.prefix_len()),
        }
    }

    /// Whether the address is in the set. An IPv6 address is never in an IPv4 block.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        if !address.has_zone() && self.exact.contains(&address.ip()) {
            return true;
        }
        match address.ip() {
            IpAddr::V4(ip) => self.v4.contains(|prefix| Ipv4Net::new(ip, prefix).ok().map(|net| net.trunc())),
            IpAddr::V6(ip) => self.v6.contains(|prefix| Ipv6Net::new(ip, prefix).ok().map(|net| net.trunc())),
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.v4.nets.is_empty() && self.v6.nets.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> Cidrs {
        let mut set = Cidrs::default();
        for entry in entries {
            match entry.parse::<IpNet>() {
                Ok(net) => set.insert_block(net),
                Err(_) => set.insert_exact(entry.parse().unwrap()),
            }
        }
        set
    }

    #[test]
    fn an_address_is_in_the_set_by_exact_entry_or_by_block() {
        let set = set(&["10.0.0.1", "172.16.0.0/12", "203.0.113.16/28", "2001:db8::/32", "fe80::1", "fe80::2/128"]);
        let cases = [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.0.0.2", false),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("203.0.113.15", false),
            ("203.0.113.16", true),
            ("203.0.113.31", true),
            ("203.0.113.32", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("fe80::1", true),
            ("fe80::1%eth0", false),
            ("fe80::2%eth0", true),
            ("::a00:1", false),
        ];
        for (address, expected) in cases {
            assert_eq!(set.contains(&Address::parse(address.as_bytes()).unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn everything_of_one_family_is_nothing_of_the_other() {
        let (v4, v6) = (set(&["0.0.0.0/0"]), set(&["::/0"]));
        let (four, six) = (Address::parse(b"8.8.8.8").unwrap(), Address::parse(b"2001::1").unwrap());
        assert!(v4.contains(&four) && !v4.contains(&six) && v6.contains(&six) && !v6.contains(&four));
        assert!(!Cidrs::default().contains(&four) && Cidrs::default().is_empty() && !v4.is_empty());
    }
}
