//! A set of addresses and networks, for rule 2.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::peer::Address;

/// A set of exact addresses and CIDR blocks.
///
/// The entries are kept as sorted ranges that do not overlap, so a look-up is a binary search.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cidrs {
    v4: Ranges<u32>,
    /// IPv6 blocks.
    v6: Ranges<u128>,
    /// Exact IPv6 addresses, which an address with a zone does not match.
    exact_v6: Ranges<u128>,
}

/// One entry of a list of proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// One address. An IPv6 address with a zone does not match it.
    Exact(IpAddr),
    /// A block. Bits after the prefix are ignored.
    Block(IpNet),
}

impl Cidrs {
    /// The set of these entries.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let (mut v4, mut v6, mut exact_v6) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Exact(IpAddr::V4(ip)) => v4.push((ip.to_bits(), ip.to_bits())),
                Entry::Exact(IpAddr::V6(ip)) => exact_v6.push((ip.to_bits(), ip.to_bits())),
                Entry::Block(IpNet::V4(net)) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                Entry::Block(IpNet::V6(net)) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6), exact_v6: Ranges::new(exact_v6) }
    }

    /// Whether the address is in the set. An IPv6 address is never in an IPv4 block.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        match address.ip() {
            IpAddr::V4(ip) => self.v4.contains(ip.to_bits()),
            IpAddr::V6(ip) => {
                self.v6.contains(ip.to_bits()) || (!address.has_zone() && self.exact_v6.contains(ip.to_bits()))
            }
        }
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Sorted ranges, both ends inclusive, that do not overlap.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Ranges<Bits>(Box<[(Bits, Bits)]>);

impl<Bits: Ord + Copy> Ranges<Bits> {
    fn new(mut ranges: Vec<(Bits, Bits)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|(start, end), (_, last)| {
            let overlaps = *start <= *last;
            if overlaps {
                *last = (*last).max(*end);
            }
            overlaps
        });
        Self(ranges.into())
    }

    fn contains(&self, bits: Bits) -> bool {
        let behind = self.0.partition_point(|(start, _)| *start <= bits);
        behind.checked_sub(1).and_then(|last| self.0.get(last)).is_some_and(|(_, end)| bits <= *end)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> Cidrs {
        Cidrs::new(entries.iter().map(|entry| match entry.parse::<IpNet>() {
            Ok(net) => Entry::Block(net),
            Err(_) => Entry::Exact(entry.parse().unwrap()),
        }))
    }

    #[test]
    fn an_address_is_in_the_set_by_exact_entry_or_by_block() {
        let set = set(&[
            "10.0.0.1",
            "172.16.0.0/12",
            "172.20.0.0/16",
            "203.0.113.16/28",
            "203.0.113.32/32",
            "2001:db8::/32",
            "fe80::1",
            "fe80::2/128",
            "172.16.0.0/13",
            "10.0.0.1",
        ]);
        let cases = [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.0.0.0", false),
            ("10.0.0.2", false),
            ("172.15.255.255", false),
            ("172.16.0.0", true),
            ("172.20.1.1", true),
            ("172.21.0.0", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("203.0.113.15", false),
            ("203.0.113.16", true),
            ("203.0.113.31", true),
            ("203.0.113.32", true),
            ("203.0.113.33", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("fe80::1", true),
            ("fe80::1%eth0", false),
            ("fe80::2%eth0", true),
            ("fe80::3", false),
            ("::a00:1", false),
            ("::", false),
        ];
        for (address, expected) in cases {
            assert_eq!(set.contains(&Address::parse(address.as_bytes()).unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn everything_of_one_family_is_nothing_of_the_other() {
        let (v4, v6) = (set(&["0.0.0.0/0", "255.255.255.255"]), set(&["::/0"]));
        for text in ["8.8.8.8", "0.0.0.0", "255.255.255.255"] {
            let four = Address::parse(text.as_bytes()).unwrap();
            assert!(v4.contains(&four) && !v6.contains(&four), "{text}");
        }
        for text in ["2001::1", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            let six = Address::parse(text.as_bytes()).unwrap();
            assert!(!v4.contains(&six) && v6.contains(&six), "{text}");
        }
        assert!(Cidrs::default().is_empty() && !v4.is_empty() && !v6.is_empty() && !set(&["::1"]).is_empty());
        assert!(!Cidrs::default().contains(&Address::parse(b"8.8.8.8").unwrap()));
    }
}
