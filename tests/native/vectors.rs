//! The decision vectors, decided natively by the policy.

use std::convert::Infallible;

use harness::vectors::{Outcome, judge_all};
use harness::wasm::{self, PeerFrom};
use policy::config::compile;
use policy::headers::serialize;
use policy::peer::Address;
use policy::{Admission, Edit, Peer, Policy, Request};

/// The headers that the upstream receives from an admitted request: with every edit of the permit applied.
fn stamped(policy: &Policy, admission: &Admission<'_>, request: &Request<'_>) -> Outcome {
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
        let map = serialize(&wasm::Request::of_vector(case, PeerFrom::Connection).headers);
        let peer = Address::parse(case.remote_addr.as_bytes()).map_or(Peer::Unknown, Peer::Known);
        let request = compiled.policy.read(peer, &map).unwrap();
        match compiled.policy.decide(&request) {
            Ok(admission) => stamped(&compiled.policy, &admission, &request),
            Err(refusal) if case.websocket => Outcome::Closed { code: 1008, reason: refusal.to_string() },
            Err(refusal) => Outcome::Refused { status: refusal.reason.status(), reason: Some(refusal.to_string()) },
        }
    });
}
