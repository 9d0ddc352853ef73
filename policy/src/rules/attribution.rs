//! Rule 5: a client address can be attributed (contract, section 3; the Gateway's ingress attribution).

use super::peer;
use crate::cidrs::Cidrs;
use crate::outcome::Outcome;
use crate::peer::{Address, parse_quad};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::Request;
use crate::text::{quoted, trim};

pub(crate) fn ask<'a>(policy: &Policy, request: &Request<'_>) -> Outcome<'a> {
    if !policy.attribution_required {
        return Outcome::Skipped;
    }
    Outcome::holds_or(client(policy, request).is_some(), Reason::AttributionRequired)
}

/// The client behind the proxies, or the peer itself if Envoy is the edge.
fn client(policy: &Policy, request: &Request<'_>) -> Option<Address> {
    let proxies = [&policy.proxies, &policy.gateway_proxies];
    if policy.edge {
        // The Gateway skips its own proxies, so it would not accept one of them as the client.
        let is_client = |peer: &Address| !peer.is_loopback() && !proxies.iter().any(|set| set.contains(peer));
        return peer::address(request).filter(is_client);
    }
    attribute(request, &proxies, policy.real_ip_fallback)
}

pub(crate) fn saw(policy: &Policy, request: &Request<'_>) -> String {
    if !policy.attribution_required {
        return "attribution is off (filter.attribution, or filter.gatewayVersion)".to_owned();
    }
    let found =
        client(policy, request).map_or_else(|| "no client".to_owned(), |client| format!("client {}", client.ip()));
    if policy.edge {
        return format!("{found}: the peer itself");
    }
    let chain = request.fields.forwarded_for.joined(&request.headers, b"x-forwarded-for");
    let from =
        chain.map_or_else(|| "no X-Forwarded-For".to_owned(), |chain| format!("X-Forwarded-For {}", quoted(&chain)));
    format!("{found}: {from}")
}

/// The client behind the proxies: the last entry of X-Forwarded-For that is neither loopback nor in `proxies`. If there
/// is none, it is the address in X-Real-IP, if the Gateway may use that one. It is never a loopback address.
fn attribute(request: &Request<'_>, proxies: &[&Cidrs], real_ip_fallback: bool) -> Option<Address> {
    let is_proxy = |address: &Address| address.is_loopback() || proxies.iter().any(|set| set.contains(address));
    let chain = request.fields.forwarded_for.joined(&request.headers, b"x-forwarded-for");
    let forwarded = chain
        .and_then(|chain| chain.rsplit(|&byte| byte == b',').filter_map(literal).find(|address| !is_proxy(address)));
    forwarded.or_else(|| {
        // Only a single copy can be a literal: joined copies contain a comma.
        let literal = if real_ip_fallback {
            literal(&request.fields.real_ip.joined(&request.headers, b"x-real-ip")?)
        } else {
            None
        };
        literal.filter(|address| !address.is_loopback())
    })
}

/// One address with an optional port, as the Gateway reads one.
fn literal(text: &[u8]) -> Option<Address> {
    let text = trim(text);
    if let Some(quad) = parse_quad(text) {
        return Some(Address::from(quad)); // The usual form. The code below would give the same result.
    }
    if let [b'[', rest @ ..] = text
        && let Some(end) = rest.iter().position(|&byte| byte == b']')
    {
        return Address::parse(trim(rest.get(..end)?));
    }
    let mut parts = text.splitn(3, |&byte| byte == b':');
    if let (Some(host), Some(_), None) = (parts.next(), parts.next(), parts.next()) {
        // The Gateway cuts off whatever follows the only colon after a dotted quad, even if it is not a port.
        return parse_quad(host).map(Address::from);
    }
    Address::parse(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cidrs::Entry;
    use crate::headers::serialize;
    use crate::names::Names;
    use crate::peer::Peer;

    fn client(headers: &[(&str, &str)], real_ip_fallback: bool) -> Option<String> {
        let map = serialize(headers);
        let request = Request::read(&Names::default(), Peer::Unknown, &map).unwrap();
        let proxies = Cidrs::new([Entry::Block("10.0.0.0/8".parse().unwrap())]);
        let gateways = Cidrs::new([Entry::Exact("203.0.113.1".parse().unwrap())]);
        attribute(&request, &[&proxies, &gateways], real_ip_fallback).map(|address| address.ip().to_string())
    }

    #[test]
    fn the_chain_is_walked_from_the_right_past_loopback_and_proxies() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["198.51.100.7"], Some("198.51.100.7")),
            (&["6.6.6.6, 198.51.100.7, 10.0.0.1"], Some("198.51.100.7")),
            (&["6.6.6.6, 198.51.100.7, 203.0.113.1,127.0.0.1, ::1"], Some("198.51.100.7")),
            (&["198.51.100.7", "10.1.2.3"], Some("198.51.100.7")),
            (&["198.51.100.7", "8.8.8.8"], Some("8.8.8.8")),
            (&["10.0.0.1, 10.0.0.2"], None),
            (&["127.0.0.1, ::1, ::ffff:127.9.9.9, ::127.0.0.1"], None),
            (&[" , 198.51.100.8 \t"], Some("198.51.100.8")),
            (&["198.51.100.7:4711"], Some("198.51.100.7")),
            (&["198.51.100.7:http"], Some("198.51.100.7")),
            (&["198.51.100.7:1:2"], None),
            (&["198.51.100.007:1"], None),
            (&["[2001:db8::9]:443"], Some("2001:db8::9")),
            (&["[198.51.100.7]junk"], Some("198.51.100.7")),
            (&["[ 198.51.100.7 ]"], Some("198.51.100.7")),
            (&["[[::5]]"], None),
            (&["[198.51.100.7"], None),
            (&["\"198.51.100.7\""], None),
            (&["198.51.100.9, unknown, _hidden, 010.1.1.1"], Some("198.51.100.9")),
            (&["fe80::1%eth0"], Some("fe80::1")),
            (&["0.0.0.0"], Some("0.0.0.0")),
            (&[""], None),
            (&[], None),
        ];
        for (copies, expected) in cases {
            let headers: Vec<_> = copies.iter().map(|value| ("x-forwarded-for", *value)).collect();
            assert_eq!(client(&headers, false).as_deref(), *expected, "{copies:?}");
        }
    }

    #[test]
    fn the_real_ip_counts_only_where_the_gateway_may_use_it() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["198.51.100.9"], Some("198.51.100.9")),
            (&["10.0.0.1"], Some("10.0.0.1")),
            (&["127.0.0.1"], None),
            (&["198.51.100.9", "198.51.100.9"], None),
            (&["nonsense"], None),
        ];
        for (copies, expected) in cases {
            let mut headers: Vec<_> = copies.iter().map(|value| ("x-real-ip", *value)).collect();
            assert_eq!(client(&headers, false), None, "{copies:?} without the fallback");
            assert_eq!(client(&headers, true).as_deref(), *expected, "{copies:?}");
            headers.push(("x-forwarded-for", "8.8.8.8"));
            assert_eq!(client(&headers, true).as_deref(), Some("8.8.8.8"), "{copies:?} beside a chain");
        }
    }
}
