//! The heap allocations of a decision: none for most requests. Counted natively, around the policy alone.

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use policy::config::compile;
use policy::headers::serialize;
use policy::{Peer, Policy};

type Headers = Vec<(String, String)>;

/// A policy with everything that a rule may use.
const POLICY: &[u8] = br#"{
  "gateway": {
    "trustedProxies": ["10.0.0.1", "192.168.0.0/16", "fd00::/8"],
    "auth": {"mode": "trusted-proxy", "trustedProxy": {
      "userHeader": "x-forwarded-user",
      "requiredHeaders": ["x-forwarded-proto", "x-edge"],
      "allowUsers": ["nick@example.com", "amelia@example.com"]
    }},
    "controlUi": {"allowedOrigins": ["https://claw.example.com"]}
  },
  "filter": {"scopes": {
    "users": {"nick@example.com": ["operator.admin"], "*": ["operator.read"]},
    "groupsHeader": "x-forwarded-groups",
    "groups": {"staff": ["operator.write"]}
  }}
}"#;

fn usual(path: &str) -> Headers {
    let mut headers = vec![];
    for (name, value) in [
        (":method", "GET"),
        (":path", path),
        (":authority", "claw.example.com"),
        ("x-forwarded-for", "203.0.113.7, 10.0.0.1"),
        ("x-forwarded-user", "nick@example.com"),
        ("x-forwarded-groups", "staff, others"),
        ("x-forwarded-proto", "https"),
        ("x-edge", "1"),
        ("accept", "application/json"),
        ("cookie", "session=a; other=b"),
    ] {
        headers.push((name.to_owned(), value.to_owned()));
    }
    headers
}

fn with(mut headers: Headers, name: &str, value: &str) -> Headers {
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

fn without(headers: Headers, name: &str) -> Headers {
    headers.into_iter().filter(|(other, _)| other != name).collect()
}

/// Reads, decides and stamps; returns the number of edits and the heap use.
fn judge(policy: &Policy, peer: &[u8], headers: &Headers) -> (Option<u32>, AllocationInfo) {
    let map = serialize(headers);
    let mut edits = None;
    let info = measure(|| {
        let request = policy.read(Peer::from_connection(black_box(peer)), black_box(&map)).unwrap();
        if let Ok(admission) = policy.decide(&request) {
            let mut count = 0;
            admission
                .stamp(policy, &request, |edit| {
                    black_box(edit);
                    count += 1;
                    Ok::<(), ()>(())
                })
                .unwrap();
            edits = Some(count);
        }
    });
    (edits, info)
}

#[test]
fn a_decision_allocates_only_for_values_that_must_be_joined() {
    const PEER: &[u8] = b"10.0.0.1:40000";
    let policy = compile(POLICY).unwrap().policy;
    let get = || usual("/tools/invoke");
    let upgrade = || with(with(usual("/"), "upgrade", "websocket"), "connection", "upgrade");
    let crowded = (0..90).fold(get(), |headers, n| with(headers, &format!("x-foreign-{n}"), &"v".repeat(600)));
    // The peer, the request, the number of headers that change if it passes, and the number of heap blocks.
    let cases: &[(&str, &[u8], Headers, Option<u32>, u64)] = &[
        // Groups are removed as well: to remove each name only once, a table of the removed names is kept.
        ("admitted", PEER, get(), Some(2), 1),
        ("admitted, no groups", PEER, without(get(), "x-forwarded-groups"), Some(1), 0),
        ("admitted, on a plugin's path", PEER, without(usual("/a/%2e"), "x-forwarded-groups"), Some(1), 0),
        ("admitted, 90 headers and 54 KB more", PEER, crowded, Some(2), 1),
        ("admitted, with an origin", PEER, with(get(), "origin", "https://claw.example.com"), Some(2), 1),
        ("admitted, with scopes", PEER, with(get(), "x-openclaw-scopes", "operator.read, bogus"), Some(2), 1),
        ("admitted WebSocket", PEER, without(upgrade(), "x-forwarded-groups"), Some(1), 0),
        ("admitted, two copies of the chain", PEER, with(get(), "x-forwarded-for", "10.0.0.1"), Some(2), 3),
        ("anonymous", PEER, without(without(usual("/health"), "x-forwarded-user"), "x-forwarded-groups"), Some(0), 0),
        ("refused: peer", b"192.0.2.1:1", get(), None, 0),
        ("refused: peer unverified", b"10.0.0.1:0", get(), None, 0),
        ("refused: no address", b"@/run/socket", get(), None, 0),
        ("refused: attribution", PEER, without(get(), "x-forwarded-for"), None, 0),
        ("refused: missing header", PEER, without(get(), "x-edge"), None, 0),
        ("refused: user missing", PEER, without(get(), "x-forwarded-user"), None, 0),
        ("refused: user repeated", PEER, with(get(), "x-forwarded-user", "eve"), None, 2),
        (
            "refused: user not allowed",
            PEER,
            with(without(get(), "x-forwarded-user"), "x-forwarded-user", "eve"),
            None,
            0,
        ),
        ("refused: garbage", PEER, with(get(), "origin", &"\u{FFFD}".repeat(500)), None, 0),
    ];
    for (name, peer, headers, edits, blocks) in cases {
        let (edited, info) = judge(&policy, peer, headers);
        assert_eq!((edited, info.count_total), (*edits, *blocks), "{name}");
        assert_eq!(info.bytes_current, 0, "{name}: all of it is freed");
        assert!(info.bytes_max < 4096, "{name}: {} bytes at once", info.bytes_max);
    }
}
