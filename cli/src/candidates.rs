//! Who is tried where a request that passes is looked for: addresses of proxies and clients, and spellings of users.

use std::net::IpAddr;

use ipnet::IpNet;
use policy::cidrs::{Cidrs, Entry};
use policy::config::read_proxy;
use policy::peer::Address;

use crate::input::Configuration;

/// Who asks if the policy names nobody.
pub const ANY_USER: &str = "user@example.com";

/// Addresses of proxies, those that are not loopback first. A valid list has no others of a kind of their own. At the
/// edge, they are those of clients.
pub fn peers(configuration: &Configuration) -> Vec<IpAddr> {
    if configuration.plugin.at(&["filter", "edge"]).is_true() {
        return clients(configuration);
    }
    let own = configuration.at(&["filter", "trustedProxies"]).is_some();
    let list = if own { ["filter", "trustedProxies"] } else { ["gateway", "trustedProxies"] };
    let nets: Vec<_> = configuration.plugin.at(&list).texts().filter_map(net).collect();
    let mut all: Vec<_> = nets.iter().flat_map(ends).filter(can_connect).collect();
    all.push(IpAddr::from([10, 0, 0, 1]));
    all.sort_by_key(IpAddr::is_loopback);
    all.truncate(4);
    all.extend(nets.iter().map(IpNet::addr).find(IpAddr::is_loopback));
    all
}

/// Addresses of clients. If the lists leave any address, one of these is left: what is left starts behind a block, or
/// ends before one. Those that are left come first.
pub fn clients(configuration: &Configuration) -> Vec<IpAddr> {
    const USUAL: [&str; 8] =
        ["203.0.113.7", "192.168.1.7", "8.8.8.8", "126.255.255.255", "128.0.0.0", "0.0.0.0", "2001:db8::7", "::2"];
    let texts = |list: [&str; 2]| configuration.plugin.at(&list).texts();
    let entries: Vec<_> = texts(["gateway", "trustedProxies"]).chain(texts(["filter", "trustedProxies"])).collect();
    let nets: Vec<_> = entries.iter().filter_map(|entry| net(entry)).collect();
    let mut all: Vec<IpAddr> = USUAL.iter().filter_map(|text| text.parse().ok()).collect();
    for net in &nets {
        match (net.network(), net.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                all.extend(first.to_bits().checked_sub(1).map(|bits| IpAddr::V4(bits.into())));
                all.extend(last.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                all.extend(first.to_bits().checked_sub(1).map(|bits| IpAddr::V6(bits.into())));
                all.extend(last.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())));
            }
            _ => {}
        }
    }
    // If none is left, one is enough to see the refusal.
    let set = Cidrs::new(entries.iter().filter_map(|entry| read_proxy(entry)));
    all.sort_by_cached_key(|ip| (ip.is_loopback() || contains(&set, *ip), ip.is_ipv6()));
    all.truncate(4);
    all
}

/// The ways to send a name: as UTF-8, and as Latin-1 if it is beyond ASCII.
pub fn spellings(user: &str) -> Vec<Vec<u8>> {
    let latin1: Option<Vec<u8>> = user.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    let mut all = vec![user.as_bytes().to_vec()];
    all.extend(latin1.filter(|_| !user.is_ascii()));
    all
}

/// The first and the last address of a block from which a host can connect.
pub fn ends(net: &IpNet) -> [IpAddr; 2] {
    [net.hosts().next().unwrap_or(net.addr()), net.broadcast()]
}

/// Whether a connection can come from this address.
pub fn can_connect(ip: &IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

fn contains(set: &Cidrs, ip: IpAddr) -> bool {
    Address::parse(ip.to_string().as_bytes()).is_some_and(|address| set.contains(&address))
}

/// An entry of a list of proxies as a block. `None` if it is not valid.
pub fn net(entry: &str) -> Option<IpNet> {
    Some(match read_proxy(entry)? {
        Entry::Exact(ip) => ip.into(),
        Entry::Block(net) => net,
    })
}
