//! Through the ingress gateway and the sidecar.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};

use harness::cluster::istio::Workload;
use harness::envoy::eventually;
use harness::gateway::Gateway;
use harness::jwt;
use harness::manifests;
use harness::wire;
use serde_json::{Value, json};

use super::world::{Edge, Guard, Outcome, PORT, UPGRADE, World, admitted, refused, settles};
use super::{EVE, NICK};
use crate::placements::{Column, other_plugin};

/// docs/istio.md lists what runs before and after the filter.
pub fn the_filters_run_in_istios_order(world: &World<'_>) {
    let with = |before: &[&str], later: &[&str], inserted: &[&str]| -> Vec<String> {
        let own = ["rbac", "grpc_stats", "fault", "cors"].map(|name| format!("envoy.filters.http.{name}"));
        let names = before.iter().chain(&["ours"]).chain(later).map(|name| (*name).to_owned());
        let last = inserted.iter().chain(&["openclaw.last", "envoy.filters.http.router"]);
        names.chain(own).chain(last.map(|name| (*name).to_owned())).collect()
    };
    let expected = |before: &[&str], later: &[&str]| with(before, later, &[]);
    let at_the_edge = ["openclaw.peer", "envoy.filters.http.jwt_authn"];
    assert_eq!(order(&world.ingress), expected(&at_the_edge, &[]));
    // A waypoint needs no address.
    let at_the_guard = if world.guard == Guard::Sidecar { &["openclaw.peer"][..] } else { &[] };
    assert_eq!(order(&world.openclaw), expected(at_the_guard, &[]));
    // A plugin of the same phase that has no priority.
    let attached = world.edge.attached();
    world.mesh.cluster.api.apply_all(&[other_plugin("openclaw-ingress", &attached, Column::After)]);
    eventually("another plugin to run after the filter", || {
        order(&world.ingress) == expected(&at_the_edge, &["other"])
    });
    world.delete("trafficextension", "openclaw-ingress", "other");
    eventually("the other plugin to go", || order(&world.ingress) == expected(&at_the_edge, &[]));
    // What an EnvoyFilter inserts before the router comes before `openclaw.last`, whose EnvoyFilter has a higher
    // priority, although this one is newer.
    let documents = manifests::read(world.edge.manifest());
    let mut inserted = documents.into_iter().find(|one| one["metadata"]["name"] == "openclaw-closed").unwrap();
    inserted["metadata"]["name"] = json!("inserted");
    inserted["spec"].as_object_mut().unwrap().remove("priority");
    inserted["spec"]["configPatches"] = json!([{
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {
            "name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": "envoy.filters.http.router"},
        }}}},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": "inserted", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": "function envoy_on_request(handle) end"},
        }}},
    }]);
    world.mesh.cluster.api.apply_all(&[inserted]);
    let mut last = Vec::new();
    eventually("the inserted filter", || {
        last = order(&world.ingress);
        last.contains(&"inserted".to_owned())
    });
    assert_eq!(last, with(&at_the_edge, &[], &["inserted"]));
    world.delete("envoyfilter", "openclaw-ingress", "inserted");
    eventually("the inserted filter to go", || order(&world.ingress) == expected(&at_the_edge, &[]));
}

/// The HTTP filters of a workload, where ours is one of them.
pub fn order(workload: &Workload<'_>) -> Vec<String> {
    let dump: Value = serde_json::from_str(&workload.admin("/config_dump?resource=dynamic_listeners")).unwrap();
    filters(&dump).unwrap_or_else(|| panic!("{}: no listener has the filter", workload.host()))
}

/// The names of the HTTP filters in the first chain that has ours.
fn filters(dump: &Value) -> Option<Vec<String>> {
    match dump {
        Value::Object(object) => match object.get("http_filters").and_then(Value::as_array) {
            Some(filters) => {
                let names = filters.iter().filter_map(|filter| filter["name"].as_str());
                let name = |name: &str| match name {
                    name if name.contains("openclaw-trusted-proxy") => "ours".to_owned(),
                    name if name.ends_with(".other") => "other".to_owned(),
                    name => name.to_owned(),
                };
                let names: Vec<String> = names.map(name).collect();
                names.contains(&"ours".to_owned()).then_some(names)
            }
            None => object.values().find_map(filters),
        },
        Value::Array(array) => array.iter().find_map(filters),
        _ => None,
    }
}

pub fn a_signed_in_user_gets_through_both_and_nobody_else_does(world: &World<'_>) {
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let in_cookie = format!("IdToken={}", world.token(NICK));
    let forged = format!("Bearer {}", jwt::with_claims(&world.token(EVE), &json!({"email": NICK})));
    let forwarded = ("x-forwarded-for", "10.0.0.1, 127.0.0.6");
    let named = ("x-openclaw-user", NICK);
    let certificate = ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress");
    let cases: Vec<(Vec<(&str, &str)>, Outcome)> = vec![
        (vec![("authorization", &nick)], admitted(NICK)),
        (vec![("cookie", &in_cookie)], admitted(NICK)),
        (vec![("authorization", &nick), forwarded, certificate], admitted(NICK)),
        (vec![("authorization", &nick), ("x-openclaw-user", "admin@example.com")], admitted(NICK)),
        (vec![("authorization", &nick), ("x_openclaw_user", "admin@example.com")], admitted(NICK)),
        (vec![("authorization", &eve)], refused("trusted_proxy_user_not_allowed")),
        (vec![("authorization", &eve), named], refused("trusted_proxy_user_not_allowed")),
        (vec![], refused("trusted_proxy_assertion_missing")),
        (vec![named], refused("trusted_proxy_assertion_missing")),
        (vec![named, forwarded, certificate], refused("trusted_proxy_assertion_missing")),
        // jwt_authn refuses an invalid token.
        (vec![("authorization", &forged)], Outcome::Status(401)),
        (vec![("authorization", &nick), ("origin", "https://claw.example.com")], admitted(NICK)),
        (
            vec![("authorization", &nick), ("origin", "https://evil.example.net")],
            refused("trusted_proxy_origin_not_allowed"),
        ),
    ];
    for (headers, expected) in &cases {
        assert_eq!(world.ask_both(headers), *expected, "{headers:?}");
    }
    assert_eq!(world.ask("/healthz", &[named]), Outcome::Admitted(None), "health needs no identity");
    // Neither the token nor the cookie arrives, and HSTS is in the answer.
    let mut connection = world.open(world.ingress.address()).unwrap();
    let both = [("host", "claw.example.com"), ("authorization", nick.as_str()), ("cookie", in_cookie.as_str())];
    connection.send(&wire::request("GET", "/", &both)).unwrap();
    let response = connection.response("GET").unwrap();
    assert_eq!(response.header("strict-transport-security").as_deref(), Some("max-age=300"), "{response:?}");
    assert!(!response.text().contains(&world.token(NICK)[..20]), "{response:?}");
    // This gateway serves no other host: refused after the filter.
    let mut connection = world.open(world.ingress.address()).unwrap();
    connection
        .send(&wire::request("GET", "/", &[("host", "other.example.com"), ("authorization", nick.as_str())]))
        .unwrap();
    let elsewhere = connection.response("GET").unwrap();
    assert!([403, 404].contains(&elsewhere.status), "{elsewhere:?}");
    // A client at loopback has no client address.
    let local = SocketAddr::from(([127, 0, 0, 1], 443));
    let stream = world.mesh.cluster.network.on("ingress", || wire::open(local)).unwrap();
    let stream = wire::tls_over(stream, "claw.example.com", &world.mesh.certificate, &["http/1.1"]).unwrap();
    let mut connection = wire::Connection::new(stream);
    let headers = [("host", "claw.example.com"), ("authorization", nick.as_str())];
    connection.send(&wire::request("GET", "/", &headers)).unwrap();
    let response = connection.response("GET").unwrap();
    assert_eq!(response.json()["error"]["reason"], "proxy_attribution_required", "{response:?}");
}

pub fn the_real_gateway_takes_its_users_from_both_filters(world: &World<'_>, gateway: &Gateway) {
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let admin = [("x-openclaw-user", NICK), ("x-openclaw-scopes", "operator.admin")];
    let get = |headers: &[(&str, &str)]| world.ask("/control-ui-config.json", headers);
    let of_eve = [&[("authorization", eve.as_str())][..], &admin].concat();
    settles("the Gateway to admit Nick", &Outcome::Status(200), || get(&[("authorization", &nick)]));
    assert_eq!(get(&of_eve), refused("trusted_proxy_user_not_allowed"));
    assert_eq!(get(&[]), refused("trusted_proxy_assertion_missing"));
    // The Gateway's own WebSocket begins with a challenge.
    let mut connection = world.open(world.ingress.address()).unwrap();
    let headers = [
        &[("host", "claw.example.com"), ("authorization", nick.as_str()), ("origin", "https://claw.example.com")],
        &UPGRADE[..],
    ]
    .concat();
    connection.send(&wire::request("GET", "/", &headers)).unwrap();
    assert_eq!(connection.response("GET").unwrap().status, 101, "{}", gateway.log());
    match wire::first_message(connection) {
        wire::First::Text(text) => assert!(text.contains("connect.challenge"), "{text}"),
        closed => panic!("{closed:?}"),
    }
    if world.edge == Edge::GatewayApi {
        return;
    }
    // Each WasmPlugin deleted, and both. Eve is signed in and names Nick.
    let missing = refused("trusted_proxy_user_missing");
    let stranger = refused("trusted_proxy_user_not_allowed");
    world.delete_plugin("openclaw");
    // From the other workload: no filter, and AuthorizationPolicy refuses.
    settles("the guard's filter to go", &Outcome::Status(403), || world.other_asks("/", &admin));
    // The Gateway itself refuses what has no user. The ingress gateway's own connections last a moment longer.
    settles("no user", &Outcome::Status(401), || get(&[("authorization", &nick)]));
    assert_eq!((get(&[("authorization", &nick)]), get(&of_eve)), (Outcome::Status(401), stranger));
    world.delete_plugin("openclaw-ingress");
    settles("the ingress gateway's filter to go", &Outcome::Status(401), || get(&of_eve));
    assert_eq!(get(&[("authorization", &nick)]), Outcome::Status(401));
    let [guard, ingress] = world.manifests();
    world.mesh.cluster.api.apply(&world.mesh.manifest(&guard, &world.mesh.digests[0]));
    settles("the guard's filter to come back", &missing, || get(&of_eve));
    assert_eq!(get(&[("authorization", &nick)]), missing);
    world.mesh.cluster.api.apply(&world.mesh.manifest(&ingress, &world.mesh.digests[0]));
    settles("the ingress gateway's filter to come back", &Outcome::Status(200), || get(&[("authorization", &nick)]));
}

pub fn the_gateways_list_must_name_the_guard(world: &World<'_>, gateway: &mut Gateway) {
    let nick = world.bearer(NICK);
    let ask = || world.ask("/control-ui-config.json", &[("authorization", &nick)]);
    assert_eq!(ask(), Outcome::Status(200));
    gateway.put_config(&json!({"trustedProxies": ["127.0.0.6"]}));
    // The Gateway refuses this, and not a filter, which would give a reason.
    settles("the Gateway to refuse", &Outcome::Status(403), ask);
}

/// Why the list names two addresses.
pub fn the_gateway_sees_loopback_with_and_without_the_sidecar_resource(world: &World<'_>) {
    assert_eq!(seen_by_the_application(world, [127, 0, 0, 1].into()), IpAddr::from([127, 0, 0, 1]));
    world.delete("sidecar.networking.istio.io", "openclaw", "openclaw-gateway");
    let seen = seen_by_the_application(world, world.openclaw.address());
    assert_eq!(seen, IpAddr::from([127, 0, 0, 6]));
    let documents = harness::manifests::read(super::SIDECAR);
    let block = &harness::manifests::of_kind(&documents, "WasmPlugin")["spec"]["pluginConfig"]["gateway"];
    assert_eq!(block["trustedProxies"], json!(["127.0.0.1", "127.0.0.6"]));
    assert_eq!(block["auth"]["trustedProxy"]["allowLoopback"], true);
}

/// The address from which the guard connects to an application at an address.
pub fn seen_by_the_application(world: &World<'_>, at: IpAddr) -> IpAddr {
    let nick = world.bearer(NICK);
    let listener = world.mesh.cluster.network.on("openclaw", || TcpListener::bind((at, PORT)).unwrap());
    let accepting = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        assert!(stream.read(&mut bytes).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
        peer.ip()
    });
    settles("the application to answer", &Outcome::Status(204), || world.ask("/", &[("authorization", &nick)]));
    accepting.join().unwrap()
}
