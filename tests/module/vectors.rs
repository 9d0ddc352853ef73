//! The decision vectors, decided by the release module in a proxy-wasm host, with both sources of the peer's address.

use std::collections::HashMap;

use harness::vectors::judge_all;
use harness::wasm::{Host, PeerFrom, Request};
use serde_json::json;

/// One VM for each distinct configuration.
fn in_the_module(level: &str, peer_from: PeerFrom) {
    let mut hosts: HashMap<String, Host> = HashMap::new();
    judge_all(level, |case| {
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
