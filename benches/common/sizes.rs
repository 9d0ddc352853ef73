//! Policies of all sizes. All of them admit the same request: see [`HEADERS`].

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The request that every policy admits, as a proxy on 127.0.0.1 would forward it; the path is `/tools/invoke`.
pub const HEADERS: [(&str, &str); 13] = [
    ("x-forwarded-user", "nick@example.com"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "claw.example.com"),
    ("x-forwarded-for", "203.0.113.7"),
    ("origin", "https://claw.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.9"),
    (
        "cookie",
        "_oauth2_proxy=Yj1hbmQtYy1vZi1hLXNlc3Npb24tdGhhdC1hLXByb3h5LWtlZXBzLWluLWEtY29va2llLXdoaWNoLWlzLWFib3V0LXRo\
         aXMtbG9uZy1pbi1wcmFjdGljZS1zby1oZXJlLWlzLXNvbWUtbW9yZS1vZi1pdC10by1tYWtlLWl0LWFzLWxvbmctYXMtdGhhdC0wMTIz\
         NDU2Nzg5LTAxMjM0NTY3ODktMDEyMzQ1Njc4OS0wMTIzNDU2Nzg5LTAxMjM0NTY3ODktMDEyMzQ1Njc4OQ|1790000000|c2lnbmF0dXJl",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("x-request-id", "6a7c8b9d-1111-4222-8333-444455556666"),
];

/// The number of list entries, in addition to those that the request needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Entries of `trustedProxies`: half IPv4, half IPv6, with this many prefix lengths each.
    pub proxies: u32,
    pub prefixes: u32,
    pub users: u32,
    pub origins: u32,
    pub ceilings: u32,
}

/// The sizes; each is compared with the first.
pub const SIZES: [(&str, Size); 10] = [
    ("the smallest", Size { proxies: 0, prefixes: 4, users: 0, origins: 0, ceilings: 0 }),
    ("1,000 CIDRs", Size { proxies: 1_000, prefixes: 4, users: 0, origins: 0, ceilings: 0 }),
    ("100,000 CIDRs", Size { proxies: 100_000, prefixes: 4, users: 0, origins: 0, ceilings: 0 }),
    ("100,000 CIDRs of 18 lengths", Size { proxies: 100_000, prefixes: 18, users: 0, origins: 0, ceilings: 0 }),
    ("1,000 users", Size { proxies: 0, prefixes: 4, users: 1_000, origins: 0, ceilings: 0 }),
    ("1,000,000 users", Size { proxies: 0, prefixes: 4, users: 1_000_000, origins: 0, ceilings: 0 }),
    ("10,000 origins", Size { proxies: 0, prefixes: 4, users: 0, origins: 10_000, ceilings: 0 }),
    ("1 ceiling", Size { proxies: 0, prefixes: 4, users: 0, origins: 0, ceilings: 1 }),
    ("10,000 ceilings", Size { proxies: 0, prefixes: 4, users: 0, origins: 0, ceilings: 10_000 }),
    ("100,000 CIDRs and users", Size { proxies: 100_000, prefixes: 4, users: 100_000, origins: 0, ceilings: 0 }),
];

impl Size {
    /// The plugin configuration.
    pub fn policy(self) -> String {
        let mut proxies = String::new();
        for index in 0..self.proxies {
            // Neighbouring blocks never overlap: each has its own 256 addresses, or its own last 96 bits.
            let (at, length) = (index / 2, index / 2 % self.prefixes);
            let _ = if index % 2 == 0 {
                let base = Ipv4Addr::from(0x0B00_0000 + at * 256);
                write!(proxies, "\"{base}/{}\",", 32 - length.min(8))
            } else {
                let base = Ipv6Addr::from(0x2001_0DB8 << 96 | u128::from(at) << 64);
                write!(proxies, "\"{base}/{}\",", 128 - length * 3)
            };
        }
        let list = |count: u32, entry: &dyn Fn(u32) -> String| (0..count).map(entry).collect::<String>();
        let users = list(self.users, &|index| format!("\"u{index:07}@example.com\","));
        let origins = list(self.origins, &|index| format!("\"https://h{index:07}.example.com\","));
        let ceilings = list(self.ceilings, &|index| format!("\"c{index:07}@example.com\":[\"operator.read\"],"));
        let scopes = if self.ceilings == 0 {
            String::new()
        } else {
            format!(r#","scopes":{{"users":{{{ceilings}"nick@example.com":["operator.write"],"*":[]}}}}"#)
        };
        format!(
            r#"{{"gateway":{{"trustedProxies":[{proxies}"127.0.0.0/8"],"auth":{{"mode":"trusted-proxy","trustedProxy":{{
            "userHeader":"x-forwarded-user","requiredHeaders":["x-forwarded-proto","x-forwarded-host"],
            "allowUsers":[{users}"nick@example.com"],"allowLoopback":true}}}},
            "controlUi":{{"allowedOrigins":[{origins}"https://claw.example.com"]}}}},"filter":{{"anonymousPaths":["/health"]{scopes}}}}}"#
        )
    }
}
