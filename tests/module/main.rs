//! What the release module guarantees to its host: the released file, in a proxy-wasm host that tests can make
//! misbehave.

mod cost;
mod faults;
mod lifecycle;
mod operators;
mod refusals;
mod sockets;
mod stamping;
mod vectors;

use harness::merge::merge;
use harness::wasm::{Exchange, Host, Request, metadata};
use serde_json::{Value, json};

const PROPERTY: &str = "proxy_get_property";
const MAP: &str = "proxy_get_header_map_pairs";
const REPLACE: &str = "proxy_replace_header_map_value";
const REMOVE: &str = "proxy_remove_header_map_value";
const REPLY: &str = "proxy_send_local_response";
const COUNT: &str = "proxy_increment_metric";

/// The scopes of an own path without a scopes header.
const EVERYTHING: &str = "operator.admin,operator.read,operator.write,operator.approvals,operator.questions,\
                          operator.pairing,operator.talk.secrets";

/// A small valid configuration with `patch` merged into it; a null removes a key.
fn config(patch: Value) -> Value {
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.0/8"],
            "auth": { "mode": "trusted-proxy", "trustedProxy": { "userHeader": "x-forwarded-user" } },
        },
        "filter": {},
    });
    merge(&mut config, patch);
    config
}

/// Like [`config`], with keys of `gateway.auth.trustedProxy`.
fn identity(patch: Value) -> Value {
    config(json!({ "gateway": { "auth": { "trustedProxy": patch } } }))
}

/// Like [`config`], with keys of `filter`.
fn filter(patch: Value) -> Value {
    config(json!({ "filter": patch }))
}

/// A request that the small configuration would admit if it had a user.
fn nameless(request: Request) -> Request {
    request.header("x-forwarded-for", "203.0.113.9")
}

/// A request that the small configuration admits.
fn signed(request: Request) -> Request {
    nameless(request).header("x-forwarded-user", "nick@example.com")
}

/// A request of the model, as Envoy passes it. Its assertion is that of [`model::breaks::configuration`].
fn of_model(request: &model::Request) -> Request {
    let mut made = Request::get("/");
    made.headers.clear();
    let properties: [(&[&str], &Option<Vec<u8>>); 4] = [
        (&["source", "address"], &request.peer),
        (&["destination", "address"], &request.destination),
        (&["connection", "uri_san_peer_certificate"], &request.uri_san),
        (&["metadata", "filter_metadata", "jwt", "email"], &request.assertion),
    ];
    for (path, value) in properties {
        made = match value {
            Some(value) => made.property(path, value),
            None => made.without_property(path),
        };
    }
    let claims = request.true_claims.iter().map(|name| (name.clone(), Value::Bool(true))).collect();
    made = made.property(&["metadata"], metadata(&json!({"jwt": Value::Object(claims)})));
    made = made.property(&["connection", "mtls"], [u8::from(request.mtls)]);
    request.headers.iter().fold(made, |made, (name, value)| made.header(&String::from_utf8_lossy(name), value))
}

/// Runs one request in its own VM.
fn once(config: &Value, request: &Request) -> Exchange {
    Host::configured(config).send(request)
}
