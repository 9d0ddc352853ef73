//! A real OpenClaw Gateway behind the configuration that Envoy Gateway generates from its manifests.

#[allow(dead_code, reason = "the Envoy tests use the rest")]
#[path = "../envoy/envoy_gateway/generated.rs"]
mod generated;

use std::net::SocketAddr;

use generated::{FILE, NICK, Provider, start};
use harness::gateway::{Gateway, Options};
use harness::jwt::Key;
use harness::manifests::{self, of_kind};
use harness::wire::{self, Connection, Response};
use serde_json::json;

#[test]
fn without_the_extension_policy_the_real_gateway_lets_nobody_in() {
    let documents = manifests::read(FILE);
    let mut block = of_kind(&documents, "EnvoyExtensionPolicy")["spec"]["wasm"][0]["config"]["gateway"].clone();
    // Envoy runs on the Gateway's own host here.
    block["trustedProxies"] = json!(["127.0.0.1"]);
    block["auth"]["trustedProxy"]["allowLoopback"] = json!(true);
    let gateway = Gateway::start(&block, &Options::default());
    let provider = Provider { key: Key::rs256("login") };
    let envoy = start(&provider, gateway.address(), gateway.address());

    let page = |listener: &str, headers: &[(&str, &str)]| ask(envoy.address(listener), headers);
    let nick = format!("Bearer {}", provider.token(NICK));
    let eve = format!("Bearer {}", provider.token("eve@example.com"));
    let named = [("x-openclaw-user", NICK), ("x-openclaw-scopes", "operator.admin")];
    let by_eve = [&[("authorization", eve.as_str())][..], &named].concat();
    assert_eq!(page("https", &[("authorization", &nick)]).status, 200, "{}", gateway.log());
    assert_eq!(page("https", &by_eve).json()["error"]["reason"], "trusted_proxy_user_not_allowed");

    // A route that the policy does not cover, as after its deletion.
    let uncovered = [&by_eve[..], &[("x-added-route", "1")]].concat();
    let refused = page("on one route", &uncovered);
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(refused.json()["error"]["reason"].is_null(), "the Gateway refused it: {refused:?}");
    // Without `earlyRequestHeaders` it would believe it.
    assert_eq!(page("no early removal", &uncovered).status, 200);
}

/// A page's request, from an address that is not loopback.
fn ask(to: SocketAddr, headers: &[(&str, &str)]) -> Response {
    let from = wire::own_address().unwrap_or_else(|problem| panic!("{problem}"));
    let mut connection = Connection::new(wire::open_from(from, to).unwrap());
    let all = [&[("host", "claw.example.com"), ("connection", "close")], headers].concat();
    connection.send(&wire::request("GET", "/control-ui-config.json", &all)).unwrap();
    connection.response("GET").unwrap()
}
