//! Connections from unexpected peers.

use super::Family;
use crate::attack::suite::*;

const UNTRUSTED: &str = "trusted_proxy_untrusted_source";
const UNVERIFIED: &str = "trusted_proxy_peer_unverified";
const UNKNOWN: &str = "trusted_proxy_peer_unknown";
const LOOPBACK: &str = "trusted_proxy_loopback_source";

/// A header of the PROXY protocol, version 2.
fn version2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, addresses].concat()
}

fn v4(source: [u8; 4], port: u16) -> Vec<u8> {
    [&source[..], &[192, 0, 2, 1], &port.to_be_bytes(), &80_u16.to_be_bytes()].concat()
}

fn v6(source: &str, port: u16) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().expect("an address");
    let own: std::net::Ipv6Addr = "2001:db8::ffff".parse().expect("an address");
    [&source.octets()[..], &own.octets(), &port.to_be_bytes(), &80_u16.to_be_bytes()].concat()
}

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let request = || Request::direct().all(&[("x-forwarded-for", CLIENT), ("x-forwarded-user", NICK)]);
    let with = |proxy: &[u8]| Request { proxy: proxy.to_vec(), ..request() };
    let named = || request().header("x-real-ip", CLIENT);

    for (mode, name, expect) in [
        ("Unix socket", "a process on a Unix socket", refused(UNKNOWN)),
        (
            "Unix socket, header address",
            "a process on a Unix socket that names the proxy in X-Forwarded-For",
            refused(UNVERIFIED),
        ),
        ("internal listener", "a connection from another listener of the same Envoy", refused(UNKNOWN)),
        ("direct", "a process on the same host", refused(UNTRUSTED)),
        (
            "direct, loopback listed",
            "a process on the same host, whose address is listed but loopback is not allowed",
            refused(LOOPBACK),
        ),
        ("direct, loopback allowed", "a process on the same host, by the operator's will", nick(WRITE)),
    ] {
        let forging =
            Request::direct().all(&[("x-forwarded-for", PROXY), ("x-forwarded-user", NICK), ("x-real-ip", CLIENT)]);
        let request = if mode.ends_with("header address") { forging } else { named() };
        attacks.push(both(mode, name, request.clone(), expect.clone()));
        let socket = match &expect {
            Expect::Refused(_, reason) => closed(reason),
            _ => nick_socket(),
        };
        attacks.push(attack(mode, format!("{name}, as a WebSocket"), h1(request.upgrade(), socket)));
    }

    // PROXY protocol, version 1.
    for (name, line, expect) in [
        ("a stranger", "PROXY TCP4 198.51.100.66 192.0.2.1 40000 80\r\n", refused(UNTRUSTED)),
        ("the proxy's address with port 0", "PROXY TCP4 203.0.113.7 192.0.2.1 0 80\r\n", refused(UNVERIFIED)),
        (
            "the proxy's address as a mapped one, which is the same",
            "PROXY TCP6 ::ffff:203.0.113.7 2001:db8::ffff 40000 80\r\n",
            nick(WRITE),
        ),
        (
            "the proxy's address in hexadecimal, which is the same",
            "PROXY TCP6 ::ffff:cb00:7107 2001:db8::ffff 40000 80\r\n",
            nick(WRITE),
        ),
        (
            "a stranger's mapped address",
            "PROXY TCP6 ::ffff:198.51.100.66 2001:db8::ffff 40000 80\r\n",
            refused(UNTRUSTED),
        ),
        (
            "the proxy's address inside another IPv6 address",
            "PROXY TCP6 64:ff9b::cb00:7107 2001:db8::ffff 40000 80\r\n",
            refused(UNTRUSTED),
        ),
        (
            "a 6to4 address of the proxy's",
            "PROXY TCP6 2002:cb00:7107::1 2001:db8::ffff 40000 80\r\n",
            refused(UNTRUSTED),
        ),
        ("an address with zeros in front", "PROXY TCP4 203.000.113.007 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
        ("an address in octal", "PROXY TCP4 0313.0.0161.07 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
        ("an address with a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::ffff 40000 80\r\n", refused(UNTRUSTED)),
        (
            "the proxy's mapped address with a zone",
            "PROXY TCP6 ::ffff:203.0.113.7%eth0 2001:db8::ffff 40000 80\r\n",
            Expect::Stopped(0),
        ),
        ("an address and a word", "PROXY TCP4 203.0.113.7x 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
        ("a name", "PROXY TCP4 localhost 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
        ("two addresses", "PROXY TCP4 203.0.113.7 203.0.113.7 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
        ("a port beyond 65535", "PROXY TCP4 203.0.113.7 192.0.2.1 105536 80\r\n", Expect::Stopped(0)),
        (
            "a line that is too long",
            &format!("PROXY TCP4 203.0.113.7 192.0.2.1 40000 80{}\r\n", " ".repeat(120)),
            Expect::Stopped(0),
        ),
        ("UNKNOWN, so that the connection's own address counts", "PROXY UNKNOWN\r\n", refused(UNTRUSTED)),
        ("UNKNOWN with addresses", "PROXY UNKNOWN 203.0.113.7 192.0.2.1 40000 80\r\n", refused(UNTRUSTED)),
        ("loopback", "PROXY TCP4 127.0.0.1 192.0.2.1 40000 80\r\n", refused(UNTRUSTED)),
        ("the address of nobody", "PROXY TCP4 0.0.0.0 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
        ("the broadcast address", "PROXY TCP4 255.255.255.255 192.0.2.1 40000 80\r\n", Expect::Stopped(0)),
    ] {
        attacks.push(attack("raw", format!("a PROXY line with {name}"), h1(with(line.as_bytes()), expect)));
    }
    let twice = [harness::wire::proxy_line(STRANGER), harness::wire::proxy_line(PROXY)].concat();
    attacks.push(attack("raw", "a second PROXY line with the proxy's address", h1(with(&twice), Expect::Stopped(400))));
    attacks.push(attack("raw", "no PROXY line where one is asked for", h1(request(), Expect::Stopped(0))));
    attacks.push(attack(
        "raw",
        "PROXY in lower case",
        h1(with(b"proxy TCP4 203.0.113.7 192.0.2.1 40000 80\r\n"), Expect::Stopped(0)),
    ));
    let late = h1_bytes(
        [with(&harness::wire::proxy_line(STRANGER)).http1(), with(&harness::wire::proxy_line(PROXY)).http1()].concat(),
        vec![refused(UNTRUSTED), Expect::Stopped(400), Expect::End],
    );
    attacks.push(attack("raw", "a PROXY line behind the first request", late));
    attacks.push(attack("PROXY line optional", "no PROXY line where one may come", h1(named(), refused(LOOPBACK))));
    attacks.push(attack(
        "PROXY line optional",
        "a PROXY line of one's own where one may come",
        h1(Request { proxy: harness::wire::proxy_line("203.0.113.7"), ..named() }, refused(UNTRUSTED)),
    ));

    // Version 2.
    for (name, header, expect) in [
        ("a stranger", version2(1, 0x11, &v4([198, 51, 100, 66], 40000)), refused(UNTRUSTED)),
        ("the proxy's address", version2(1, 0x11, &v4([203, 0, 113, 7], 40000)), nick(WRITE)),
        ("the proxy's address with port 0", version2(1, 0x11, &v4([203, 0, 113, 7], 0)), refused(UNVERIFIED)),
        ("the proxy's address, but as LOCAL", version2(0, 0x11, &v4([203, 0, 113, 7], 40000)), refused(UNTRUSTED)),
        ("LOCAL and nothing else", version2(0, 0, &[]), refused(UNTRUSTED)),
        (
            "the proxy's address for UDP, which Envoy takes for TCP",
            version2(1, 0x12, &v4([203, 0, 113, 7], 40000)),
            nick(WRITE),
        ),
        ("no family", version2(1, 0, &[]), Expect::Stopped(0)),
        ("a mapped address, which is the proxy's", version2(1, 0x21, &v6("::ffff:203.0.113.7", 40000)), nick(WRITE)),
        ("a stranger's mapped address", version2(1, 0x21, &v6("::ffff:198.51.100.66", 40000)), refused(UNTRUSTED)),
        ("an IPv4 address in the old compatible form", version2(1, 0x21, &v6("::203.0.113.7", 40000)), nick(WRITE)),
        ("a mapped loopback address", version2(1, 0x21, &v6("::ffff:127.0.0.1", 40000)), refused(UNTRUSTED)),
        ("an address that is cut short", version2(1, 0x11, &[203, 0, 113, 7]), Expect::Stopped(0)),
        ("a Unix socket", version2(1, 0x31, &[b'/'; 216]), Expect::Stopped(0)),
        ("an unknown command", version2(2, 0x11, &v4([203, 0, 113, 7], 40000)), Expect::Stopped(0)),
    ] {
        attacks.push(attack("raw", format!("a binary PROXY header with {name}"), h1(with(&header), expect)));
    }

    // Lists with IPv6 entries and with mapped entries.
    for (mode, name, peer, expect) in [
        ("IPv6 proxies", "the listed IPv6 address", "2001:db8::7", nick(WRITE)),
        (
            "IPv6 proxies",
            "the listed IPv6 address, written out",
            "2001:0db8:0000:0000:0000:0000:0000:0007",
            nick(WRITE),
        ),
        ("IPv6 proxies", "the next IPv6 address", "2001:db8::8", refused(UNTRUSTED)),
        ("IPv6 proxies", "a link-local address of the listed range", "fe80::1", nick(WRITE)),
        ("IPv6 proxies", "a link-local address of the listed range, with a zone", "fe80::1%1", nick(WRITE)),
        ("IPv6 proxies", "the listed IPv6 address, with a zone", "2001:db8::7%1", refused(UNTRUSTED)),
        ("IPv6 proxies", "an address just outside of the listed range", "fec0::1", refused(UNTRUSTED)),
        ("IPv6 proxies", "an IPv6 address that holds a listed IPv4 address", "2002:a00:1::", refused(UNTRUSTED)),
        ("IPv6 proxies", "a listed IPv4 address as a mapped one, which is the same", "::ffff:10.9.9.9", nick(WRITE)),
        ("mapped entry", "an IPv4 address in a range that is listed as mapped", "10.1.2.200", nick(WRITE)),
        ("mapped entry", "an IPv4 address outside of it", "10.1.3.1", refused(UNTRUSTED)),
        ("mapped entry", "a native IPv6 address with the same digits", "::ffff:0:a01:201", refused(UNTRUSTED)),
    ] {
        attacks.push(attack(mode, format!("{name}: {peer}"), h1(with(&harness::wire::proxy_line(peer)), expect)));
    }
    // A connection of QUIC may go on from another address. Its peer stays the address where it began.
    let honest = |expect: Expect| (request(), expect);
    for (name, from, then, first, second) in [
        (
            "a stranger that moves to the proxy's address",
            LOCAL_STRANGER,
            LOCAL_PROXY,
            refused(UNTRUSTED),
            refused(UNTRUSTED),
        ),
        ("the proxy that moves to a stranger's address", LOCAL_PROXY, LOCAL_STRANGER, nick(WRITE), nick(WRITE)),
    ] {
        let steps = h3_steps(&[honest(first), honest(second.clone()), honest(second)]).steps;
        let how = How::MovingHttp3 { from, then };
        attacks.push(attack("raw", format!("{name} (HTTP/3)"), Shot { mode: "raw", how, steps, head: false }));
    }
    Family {
        name: "Peers",
        about: "Connections that have no address, the same address in another form, or an address that a PROXY header claims. \
            A listener that takes PROXY headers believes them: that is its purpose, and who may reach it is the network's matter.",
        attacks,
    }
}
