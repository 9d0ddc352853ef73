//! Two policies in one virtual machine, under one name, and edits of one of them while requests go to both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::echo::Echo;
use harness::envoy::{self, Envoy, FILTER, Scratch, eventually};
use harness::wire::{self, Connection};
use serde_json::{Value, json};

const NICK: &str = "nick@example.com";
const EVE: &str = "eve@example.com";

/// A filter whose policy is in a file of its own, which Envoy reads by ECDS.
fn resource(name: &str, users: &Value) -> String {
    let policy = json!({"gateway": {
        "trustedProxies": ["127.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {
            "userHeader": "x-forwarded-user", "allowLoopback": true, "allowUsers": users,
        }},
    }});
    let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
    let wasm = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        // The same for both, so that only the policy tells them apart.
        "config": {
            "name": FILTER,
            "root_id": FILTER,
            "failure_policy": "FAIL_RELOAD",
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy.to_string()},
            "vm_config": {"vm_id": FILTER, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": module}}},
        },
    });
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": name, "typed_config": wasm,
    }]})
    .to_string()
}

/// Replaces the policy of a filter. Envoy notices a rename.
fn put(folder: &Path, name: &str, users: &Value) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, resource(name, users)).expect("a file");
    fs::rename(new, folder.join(format!("{name}.json"))).expect("a rename");
}

fn listener(folder: &Path, name: &str) -> Value {
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "use_remote_address": true,
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
            }]},
            "http_filters": [
                {"name": name, "config_discovery": {
                    "config_source": {"path_config_source": {
                        "path": folder.join(format!("{name}.json")), "watched_directory": {"path": folder},
                    }},
                    "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
                }},
                {"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                }},
            ],
        }}]}],
    })
}

/// The status for a user, over a connection of its own.
fn status(address: SocketAddr, user: &str) -> u16 {
    let headers = [("host", "claw.example.com"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-user", user)];
    wire::get(address, "/", &headers).expect("an answer").status
}

#[test]
fn no_request_is_decided_by_the_policy_of_another_listener_also_while_one_is_edited() {
    let echo = Echo::start().expect("a free port");
    let scratch = Scratch::new("policies");
    let folder = scratch.path().join("policies");
    fs::create_dir_all(&folder).expect("a folder");
    put(&folder, "one", &json!([NICK]));
    put(&folder, "other", &json!([EVE]));
    let upstream = echo.address();
    let bootstrap = json!({
        "node": {"id": "policies", "cluster": "policies"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [listener(&folder, "one"), listener(&folder, "other")],
            "clusters": [{"name": "upstream", "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {
                    "address": upstream.ip().to_string(), "port_value": upstream.port(),
                }}}},
            ]}]}}],
        },
    });
    let file = scratch.path().join("envoy.json");
    fs::write(&file, bootstrap.to_string()).expect("a bootstrap");
    let envoy = Envoy::run(scratch, &file);
    let (one, other) = (envoy.address("one"), envoy.address("other"));

    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        // Connections that stay open over every edit: the other policy is not edited before the last step.
        let watchers: Vec<_> = [(NICK, 401), (EVE, 200)]
            .map(|(user, expected)| {
                let ended = &ended;
                scope.spawn(move || {
                    let mut connection = Connection::open(other).expect("a connection");
                    let headers = [("host", "a"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-user", user)];
                    let mut count = 0;
                    while !ended.load(Ordering::SeqCst) {
                        connection.send(&wire::request("GET", "/", &headers)).expect("an open connection");
                        assert_eq!(connection.response("GET").expect("an answer").status, expected, "{user}");
                        count += 1;
                    }
                    count
                })
            })
            .into();
        let rejected = || envoy.process().stat("extension_config_discovery.http_filter.one.update_rejected");
        // By the users of one policy: whether Nick and Eve pass there. The last is no list of users.
        for (users, nick, eve) in [
            (json!([NICK]), 200, 401),
            (json!([EVE]), 401, 200),
            (json!([]), 200, 200),
            (json!(["nobody@example.com"]), 401, 401),
            (json!([NICK, EVE]), 200, 200),
            (json!([NICK]), 200, 401),
            (json!(7), 200, 401),
        ] {
            let before = rejected();
            put(&folder, "one", &users);
            if users.is_array() {
                // On every worker.
                let applied = || (status(one, NICK), status(one, EVE)) == (nick, eve);
                eventually("the edit to apply", || (0..20).all(|_| applied()));
            } else {
                eventually("the edit to be rejected", || rejected() > before);
            }
            for _ in 0..40 {
                assert_eq!((status(one, NICK), status(one, EVE)), (nick, eve), "{users}");
                assert_eq!((status(other, NICK), status(other, EVE)), (401, 200), "{users}");
            }
        }
        ended.store(true, Ordering::SeqCst);
        for watcher in watchers {
            assert!(watcher.join().expect("no wrong answer") > 100, "too few requests went to the other policy");
        }
    });
    put(&folder, "other", &json!([NICK]));
    eventually("the other edit to apply", || (status(other, NICK), status(other, EVE)) == (200, 401));
    assert_eq!((status(one, NICK), status(one, EVE)), (200, 401));
}
