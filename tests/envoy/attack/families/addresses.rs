//! Forged client and peer addresses.

use super::Family;
use crate::attack::place::over_quic;
use crate::attack::suite::*;

const UNTRUSTED: &str = "trusted_proxy_untrusted_source";
const UNVERIFIED: &str = "trusted_proxy_peer_unverified";
const UNKNOWN: &str = "trusted_proxy_peer_unknown";
const ATTRIBUTION: &str = "proxy_attribution_required";

/// For each address mode: the result for a stranger without forged headers, for one who sends the proxy's address,
/// for the proxy, and for the proxy when its client sent the header. `None`: Nick is admitted.
const MODES: [(&str, Option<&str>, Option<&str>, Option<&str>, Option<&str>); 10] = [
    // mode, stranger, stranger who forges, proxy, proxy whose client forges
    ("remote address", Some(UNTRUSTED), Some(UNTRUSTED), None, None),
    ("header address", Some(UNTRUSTED), Some(UNVERIFIED), None, Some(UNVERIFIED)),
    ("connection's filter state", Some(UNTRUSTED), Some(UNTRUSTED), None, None),
    ("wire's filter state", Some(UNTRUSTED), Some(UNTRUSTED), Some(UNTRUSTED), Some(UNTRUSTED)),
    ("no such filter state", Some(UNKNOWN), Some(UNKNOWN), Some(UNKNOWN), Some(UNKNOWN)),
    ("trusted hops", Some(UNTRUSTED), Some(UNVERIFIED), None, Some(UNVERIFIED)),
    ("trusted hops, header address", Some(UNTRUSTED), Some(UNVERIFIED), None, Some(UNVERIFIED)),
    ("XFF extension", Some(UNTRUSTED), Some(UNVERIFIED), None, Some(UNVERIFIED)),
    ("header extension", Some(UNTRUSTED), Some(UNVERIFIED), None, Some(UNVERIFIED)),
    ("nothing appended", Some(UNTRUSTED), Some(UNTRUSTED), None, None),
];

pub fn family() -> Family {
    let mut attacks = Vec::new();
    for (mode, stranger, forging_stranger, proxy, forging_proxy) in MODES {
        // Every header from which some mode reads an address, with the address of the trusted proxy.
        let forged = |request: Request| {
            request.header("x-forwarded-for", format!("{PROXY}, {PROXY}")).header("x-real-client", PROXY)
        };
        let base = |peer: &str| Request::from_peer(peer).all(&[("x-forwarded-user", NICK), ("x-real-ip", CLIENT)]);
        let ends = |reason: Option<&str>| reason.map_or_else(|| nick(WRITE), refused);
        let from_stranger = (forged(base(STRANGER)), ends(forging_stranger));
        let honest_stranger = (base(STRANGER), ends(stranger));
        let from_proxy = (forged(base(PROXY)), ends(forging_proxy));
        let honest_proxy = (base(PROXY), ends(proxy));
        let mut add = |what: &str, all: Vec<Shot>| attacks.push(shots(mode, format!("{mode}: {what}"), all));
        let (request, expect) = from_stranger.clone();
        add("a stranger names the proxy's address in X-Forwarded-For", versions(mode, &request, &expect));
        let over_http3 = |turns: &[(Request, Expect)]| over_quic(mode).map(|_| h3_steps(turns));
        let stranger_turns = vec![honest_stranger.clone(), from_stranger.clone(), honest_stranger];
        add(
            "a stranger forges in the second of three requests on a connection",
            [h1_steps(stranger_turns.clone()), h2_steps(stranger_turns.clone())]
                .into_iter()
                .chain(over_http3(&stranger_turns))
                .collect(),
        );
        // Envoy closes a connection after a refusal if more of it is waiting to be read.
        let mut at_once = h1_pipelined(stranger_turns);
        at_once.steps[0].expect[2] = Expect::End;
        add("the same, all three requests sent at once", vec![at_once]);
        let turns = vec![from_proxy.clone(), honest_proxy.clone(), from_proxy];
        add(
            "a client behind the proxy forges, does not, and forges again on a connection",
            [h1_steps(turns.clone()), h2_steps(turns.clone())].into_iter().chain(over_http3(&turns)).collect(),
        );
    }
    // A stranger, and every header from which some software takes an address.
    for (name, value) in [
        ("X-Real-IP", "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7;by=203.0.113.7"),
        ("True-Client-IP", "203.0.113.7"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("X-Client-IP", "203.0.113.7"),
        ("X-Cluster-Client-IP", "203.0.113.7"),
        ("X-Original-Forwarded-For", "203.0.113.7"),
        ("X-Envoy-External-Address", "203.0.113.7"),
        ("X-ProxyUser-Ip", "203.0.113.7"),
    ] {
        let request = Request::from_peer(STRANGER).header("x-forwarded-user", NICK).header(name, value);
        attacks.push(both(
            "raw",
            format!("a stranger names the proxy's address in {name}"),
            request,
            refused(UNTRUSTED),
        ));
    }
    // Chains that do not name a client, behind the trusted proxy. Nobody can vouch for the addresses in them.
    let many = format!("{PROXY}, ").repeat(2500) + PROXY;
    let mapped = format!("::ffff:{PROXY}");
    for (what, chain) in [
        ("the proxy itself", PROXY),
        ("the proxy in its IPv6 form", &mapped),
        ("127.0.0.1", "127.0.0.1"),
        ("a mapped loopback address", "::ffff:127.0.0.1"),
        ("::1 in brackets, with a port", "[::1]:4711"),
        ("a word", "unknown"),
        ("an octal address", "0306.063.0144.011"),
        ("an address as one number", "3325256713"),
        ("a CIDR", "198.51.100.0/24"),
        ("nothing", ""),
        ("commas", ",,,,"),
        ("2,501 times the proxy", &many),
    ] {
        let request = Request::from_peer(PROXY).header("x-forwarded-user", NICK).header("x-forwarded-for", chain);
        let name = format!("a chain that names {what} and no client");
        attacks.push(both("nothing appended, no fallback", name, request, refused(ATTRIBUTION)));
    }
    let split = Request::from_peer(STRANGER).all(&[
        ("x-forwarded-user", NICK),
        ("x-forwarded-for", "198.51.100.9"),
        ("X-FORWARDED-FOR", PROXY),
    ]);
    attacks.push(both(
        "raw",
        "a stranger sends X-Forwarded-For twice, the proxy's address last",
        split,
        refused(UNTRUSTED),
    ));
    Family {
        name: "Forged addresses",
        about: "The filter must know who opened the connection. An attacker who can set it in a header can act as the proxy. Every way \
            in which Envoy may find an address is tried, one request at a time and over connections that stay open.",
        attacks,
    }
}
