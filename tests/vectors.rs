//! The decision vectors, judged at every rung that needs no Envoy.
//!
//! Rungs: the policy natively, and the release module in a proxy-wasm host, with both sources of the peer's address.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use harness::vectors::{self, Outcome, Vector};
use harness::wasm::{Host, PeerFrom, Request};
use openclaw_trusted_proxy::config::compile;
use openclaw_trusted_proxy::policy::peer::{Address, Peer};
use openclaw_trusted_proxy::policy::{Admission, Edit, Policy};
use openclaw_trusted_proxy::request as policy;
use serde_json::json;

/// Judges every vector, and shows each kind of failure once before it fails.
fn judge_all(rung: &str, mut decide: impl FnMut(&Vector) -> Outcome) {
    let cases = vectors::load();
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in &cases {
        if let Err(difference) = case.judge(&decide(case)) {
            let kind = difference.split(['[', '(', '"', '{']).next().unwrap_or_default().to_owned();
            wrong.entry(kind).or_default().push(format!("{}: {difference}", case.id));
        }
    }
    for examples in wrong.values() {
        println!("{:5}  {}", examples.len(), examples[0]);
    }
    let count: usize = wrong.values().map(Vec::len).sum();
    println!("{rung}: {} cases, {count} wrong", cases.len());
    assert_eq!(
        count,
        0,
        "{rung}: {count} of {} cases are wrong; an example of each kind is printed above",
        cases.len()
    );
}

// ---- natively, against the policy ----

/// What the upstream sees of an admitted request: the headers, with every edit of the permit made.
fn stamped(policy: &Policy, admission: &Admission<'_>, request: &policy::Request<'_>) -> Outcome {
    let mut upstream: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|(name, value)| (text(name), value.to_vec())).collect();
    let made = admission.stamp(policy, request, |edit| {
        let (Edit::Set { name, .. } | Edit::Remove { name }) = edit;
        upstream.retain(|(other, _)| other.as_bytes() != name);
        if let Edit::Set { value, .. } = edit {
            upstream.push((text(name), value.to_vec()));
        }
        Ok::<(), Infallible>(())
    });
    let Ok(()) = made;
    Outcome::Admitted { upstream }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_policy_decides_every_vector() {
    judge_all("policy", |case| {
        let compiled = compile(case.config.to_string().as_bytes()).unwrap();
        let map = policy::serialize(&Request::of_vector(case, PeerFrom::Connection).headers);
        let peer = Address::parse(case.remote_addr.as_bytes()).map_or(Peer::Unknown, Peer::Known);
        let request = compiled.policy.read(peer, &map).unwrap();
        match compiled.policy.decide(&request) {
            Ok(admission) => stamped(&compiled.policy, &admission, &request),
            Err(refusal) if case.websocket => Outcome::Closed { code: 1008, reason: refusal.to_string() },
            Err(refusal) => Outcome::Refused { status: refusal.reason.status(), reason: Some(refusal.to_string()) },
        }
    });
}

// ---- the release module in a proxy-wasm host ----

/// One VM for each distinct configuration.
fn in_the_module(rung: &str, peer_from: PeerFrom) {
    let mut hosts: HashMap<String, Host> = HashMap::new();
    judge_all(rung, |case| {
        let mut config = case.config.clone();
        if peer_from == PeerFrom::FilterState {
            config["filter"]["peerAddress"] = json!({ "filterState": PeerFrom::KEY });
        }
        let host = hosts.entry(config.to_string()).or_insert_with(|| Host::configured(&config));
        host.in_case(&case.id);
        host.send(&Request::of_vector(case, peer_from)).outcome()
    });
}

#[test]
fn the_release_module_decides_every_vector_by_the_connections_address() {
    in_the_module("release module, connection", PeerFrom::Connection);
}

#[test]
fn the_release_module_decides_every_vector_by_an_address_in_filter_state() {
    in_the_module("release module, filter state", PeerFrom::FilterState);
}
