//! The policy alone, natively: the cost of a decision without Envoy and its VM. `make bench ONLY=policy`.
#![allow(missing_docs, reason = "the macros make public items")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::arithmetic_side_effects)]

#[path = "../common/sizes.rs"]
mod sizes;

use std::convert::Infallible;
use std::hint::black_box;

use divan::Bencher;
use model::breaks;
use policy::config::compile;
use policy::headers::serialize;
use policy::peer::socket_address;
use policy::{Edit, Peer, Policy};
use sizes::{HEADERS, SIZES, Size};

type Headers = Vec<(String, String)>;

fn main() {
    divan::main();
}

fn policy(size: Size) -> Policy {
    compile(size.policy().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy
}

/// The usual request, as Envoy passes it.
fn usual() -> Headers {
    let pseudo =
        [(":authority", "claw.example.com"), (":path", "/tools/invoke"), (":method", "GET"), (":scheme", "http")];
    pseudo.iter().chain(&HEADERS).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with(name: &str, value: &str) -> Headers {
    let mut headers = without(name);
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

fn without(name: &str) -> Headers {
    usual().into_iter().filter(|(other, _)| other != name).collect()
}

/// Reads, decides and stamps; returns the number of changes, or the number of bytes of the code.
fn judge(policy: &Policy, peer: &str, map: &[u8]) -> usize {
    let peer = socket_address(peer.as_bytes()).map_or(Peer::Unknown, Peer::Known);
    let request = policy.read(peer, map).expect("the map is well formed");
    match policy.decide(&request) {
        Ok(admission) => {
            let mut edits = 0_usize;
            let done: Result<(), Infallible> = admission.stamp(policy, &request, |edit: Edit<'_>| {
                black_box(edit);
                edits = edits.saturating_add(1);
                Ok(())
            });
            done.map_or(0, |()| edits)
        }
        Err(refusal) => refusal.reason.code().len(),
    }
}

/// The usual request and its variants.
#[divan::bench(args = [
    "admitted", "admitted, nothing to write", "websocket", "anonymous", "trusted_proxy_untrusted_source",
    "trusted_proxy_user_missing", "trusted_proxy_user_not_allowed", "trusted_proxy_origin_not_allowed",
])]
fn decision(bencher: Bencher<'_, '_>, case: &str) {
    let policy = policy(Size::default());
    let (peer, headers) = match case {
        "admitted, nothing to write" => ("127.0.0.1:40000", with("x-openclaw-scopes", "operator.write")),
        "websocket" => {
            let mut headers = with("upgrade", "websocket");
            headers.push(("connection".to_owned(), "Upgrade".to_owned()));
            ("127.0.0.1:40000", headers)
        }
        "anonymous" => ("127.0.0.1:40000", with(":path", "/health")),
        "admitted" => ("127.0.0.1:40000", usual()),
        code => {
            let broken = breaks::of(code);
            let mut headers = usual();
            broken.changes.iter().for_each(|change| change.headers(&mut headers));
            (broken.peer().unwrap_or("127.0.0.1:40000"), headers)
        }
    };
    let map = serialize(&headers);
    bencher.bench(|| judge(black_box(&policy), black_box(peer), black_box(&map)));
}

/// The usual request with policies of all sizes.
#[divan::bench(args = 0..SIZES.len())]
fn size(bencher: Bencher<'_, '_>, index: usize) {
    let (name, size) = SIZES.get(index).expect("an index of the table");
    eprintln!("size {index}: {name}");
    let policy = policy(*size);
    let map = serialize(&usual());
    bencher.bench(|| judge(black_box(&policy), black_box("127.0.0.1:40000"), black_box(&map)));
}

/// The usual request with this many additional headers.
#[divan::bench(args = [0, 10, 30, 80])]
fn more_headers(bencher: Bencher<'_, '_>, more: usize) {
    let policy = policy(Size::default());
    let mut headers = usual();
    headers.extend((0..more).map(|index| (format!("x-other-{index:02}"), "v".repeat(20))));
    let map = serialize(&headers);
    bencher.bench(|| judge(black_box(&policy), black_box("127.0.0.1:40000"), black_box(&map)));
}

/// Compiling a policy.
#[divan::bench(args = [0, 1_000, 100_000], max_time = 5)]
fn compile_proxies(bencher: Bencher<'_, '_>, proxies: u32) {
    let text = Size { proxies, prefixes: 4, ..Size::default() }.policy();
    bencher.bench(|| compile(black_box(text.as_bytes())).is_ok());
}
