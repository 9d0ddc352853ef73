//! Requests through the ingress gateway and the sidecar, and requests that bypass them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};

use harness::echo::Echo;
use harness::envoy::{Envoy, eventually};
use harness::gateway::lay;
use harness::jwt;
use harness::manifests::{self, of_kind};
use harness::parts;
use harness::wire::{self, Connection};
use serde_json::{Value, json};

use super::istiod::{
    Discovery, application, builtin, closed, deny_all, inbound, jwt_authn, patch, plugin_name, rbac, resource,
};
use super::mesh::{Mesh, Outcome, UPGRADE, admitted, ask, ask_both, refused};
use super::{INGRESS, NICK, SIDECAR};

/// Sidecar listeners of the shipped manifests, and of manifests with parts removed or changed.
fn start_sidecar(mesh: &Mesh, echo: &Echo) -> Envoy {
    let documents = manifests::read(SIDECAR);
    let (plugin, authorization) = (of_kind(&documents, "WasmPlugin"), of_kind(&documents, "AuthorizationPolicy"));
    let mode = of_kind(&documents, "PeerAuthentication")["spec"]["mtls"]["mode"].as_str().unwrap();
    let folders: Vec<_> = (0..8).map(|at| mesh.folder(&format!("sidecar-{at}"))).collect();
    let place = |at: usize, plugin: &Value| {
        let discovery = Discovery(&folders[at]);
        discovery.put(&resource(plugin));
        discovery.filter(plugin)
    };
    let with = |filter: Value| {
        let mut plugin = plugin.clone();
        lay(&mut plugin["spec"]["pluginConfig"]["filter"], &filter);
        plugin
    };
    // By address instead of by certificate: the ingress gateway at the address from which everything here connects,
    // or at another.
    let by_address = |proxy: &str| json!({"trustedPeers": [], "peerTrust": "address", "trustedProxies": [proxy]});
    let own = mesh.address.to_string();
    let mut connection = by_address("10.7.7.7");
    connection["peerAddress"] = json!("connection");
    let (peer, rbac) = (patch(&documents), rbac(authorization));
    let chain = |first: &[&Value], filter: Value, last: &[&Value]| -> Vec<Value> {
        let mut all: Vec<Value> = first.iter().map(|one| (*one).clone()).collect();
        all.push(filter);
        all.extend(last.iter().map(|one| (*one).clone()));
        all.extend(builtin());
        all
    };
    let closing = with(json!({"webSocketRefusal": "close"}));
    let no_length = parts::typed(
        "no length",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        json!({"mutations": {"response_mutations": [{"remove": "content-length"}]}}),
    );
    let listeners = vec![
        inbound("shipped", chain(&[&peer], place(0, plugin), &[&rbac]), mesh, mode),
        inbound("permissive", chain(&[&peer], place(1, plugin), &[]), mesh, "PERMISSIVE"),
        inbound("own address listed", chain(&[&peer], place(2, &with(by_address(&own))), &[]), mesh, mode),
        inbound("another address listed", chain(&[&peer], place(3, &with(by_address("10.7.7.7"))), &[]), mesh, mode),
        inbound("no EnvoyFilter", chain(&[], place(4, plugin), &[]), mesh, mode),
        inbound("no EnvoyFilter, peer of the connection", chain(&[], place(5, &with(connection)), &[]), mesh, mode),
        inbound("closes WebSockets", chain(&[&peer], place(6, &closing), &[]), mesh, mode),
        inbound("closes WebSockets, no length", chain(&[&peer, &no_length], place(7, &closing), &[]), mesh, mode),
        inbound("no WasmPlugin", chain(&[&peer], rbac.clone(), &[]), mesh, mode),
    ];
    Envoy::start(&parts::bootstrap(listeners, vec![application(echo.address())]).to_string())
}

#[test]
fn a_signed_in_user_gets_through_ingress_and_sidecar_and_nobody_else_does() {
    let mesh = Mesh::new();
    let echo = Echo::start().unwrap();
    let sidecar = start_sidecar(&mesh, &echo);
    let documents = manifests::read(INGRESS);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("ingress");
    let discovery = Discovery(&folder);
    discovery.put(&resource(plugin));
    let filters = [
        patch(&documents),
        jwt_authn(of_kind(&documents, "RequestAuthentication"), &jwt::jwks([&mesh.key])),
        discovery.filter(plugin),
        rbac(of_kind(&documents, "AuthorizationPolicy")),
    ];
    let gateway = |name: &str, hops: u32, has_plugin: bool, is_closed: bool| {
        let mut settings = json!({
            "use_remote_address": true, "xff_num_trusted_hops": hops, "forward_client_cert_details": "SANITIZE_SET",
            "normalize_path": true, "path_with_escaped_slashes_action": "KEEP_UNCHANGED", "server_name": "istio-envoy",
        });
        if is_closed {
            lay(&mut settings, &closed(&documents));
        }
        let filters = filters.iter().enumerate().filter(|(at, _)| has_plugin || *at != 2).map(|(_, one)| one.clone());
        parts::listener(name, vec![parts::manager(name, filters.chain(builtin()).collect(), &settings)], json!({}))
    };
    let clusters = vec![mesh.to_pod(parts::UPSTREAM, &mesh.ingress, sidecar.address("shipped"))];
    // numTrustedProxies makes Envoy trust X-Forwarded-For; the EnvoyFilter makes the filter independent of that.
    let listeners = vec![
        gateway("ingress", 0, true, true),
        gateway("two hops", 2, true, true),
        gateway("no WasmPlugin", 0, false, true),
        gateway("no WasmPlugin, not closed", 0, false, false),
    ];
    let ingress = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());

    let bearer = |user: &str| format!("Bearer {}", mesh.token(user));
    let cookie = |user: &str| format!("IdToken={}", mesh.token(user));
    let (nick, mallory, in_cookie) = (bearer(NICK), bearer("mallory@example.com"), cookie(NICK));
    let forged = format!("Bearer {}", jwt::with_claims(&mesh.token("mallory@example.com"), &json!({"email": NICK})));
    let forwarded = ("x-forwarded-for", "10.0.0.1, 127.0.0.6");
    let named = ("x-openclaw-user", NICK);
    let certificate = ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress");
    let cases: Vec<(Vec<(&str, &str)>, Outcome)> = vec![
        (vec![("authorization", &nick)], admitted(NICK)),
        (vec![("cookie", &in_cookie)], admitted(NICK)),
        (vec![("authorization", &nick), forwarded, certificate], admitted(NICK)),
        (vec![("authorization", &nick), ("x-openclaw-user", "admin@example.com")], admitted(NICK)),
        (vec![("authorization", &nick), ("x_openclaw_user", "admin@example.com")], admitted(NICK)),
        (vec![("authorization", &mallory)], refused("trusted_proxy_user_not_allowed")),
        (vec![("authorization", &mallory), named], refused("trusted_proxy_user_not_allowed")),
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
    for name in ["ingress", "two hops"] {
        let to = ingress.address(name);
        for (headers, expected) in &cases {
            assert_eq!(ask_both(mesh.address, to, headers), *expected, "{name}: {headers:?}");
        }
        assert_eq!(
            ask(mesh.address, to, "/healthz", &[named]),
            Outcome::Admitted(None),
            "{name}: health needs no identity"
        );
        // This gateway does not serve other hosts: refused by AuthorizationPolicy, after the filter.
        let elsewhere = [("host", "other.example.com"), ("authorization", nick.as_str())];
        let mut connection = Connection::new(wire::open_from(mesh.address, to).unwrap());
        connection.send(&wire::request("GET", "/", &elsewhere)).unwrap();
        assert_eq!(connection.response("GET").unwrap().status, 403, "{name}");
    }
    // With the WasmPlugin deleted, a signed-in user names anybody. Without the EnvoyFilter `openclaw-closed`, the
    // sidecar would believe it.
    for headers in [vec![("authorization", nick.as_str())], vec![("authorization", mallory.as_str()), named]] {
        let seen = ask_both(mesh.address, ingress.address("no WasmPlugin"), &headers);
        assert_eq!(seen, refused("trusted_proxy_user_missing"), "{headers:?}");
    }
    let open =
        ask_both(mesh.address, ingress.address("no WasmPlugin, not closed"), &[("authorization", &mallory), named]);
    assert_eq!(open, admitted(NICK));
    // A loopback client at the ingress gateway has no client address.
    let local = wire::get(ingress.address("ingress"), "/", &[("authorization", &nick)]).unwrap();
    assert_eq!(local.json()["error"]["reason"], "proxy_attribution_required", "{local:?}");
}

#[test]
fn the_sidecar_trusts_only_the_ingress_gateway_and_no_forged_address() {
    let mesh = Mesh::new();
    let echo = Echo::start().unwrap();
    let sidecar = start_sidecar(&mesh, &echo);
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (name, address) in sidecar.addresses() {
        for (who, certificate) in [("ingress", &mesh.ingress), ("other", &mesh.other)] {
            let (listener, cluster) = mesh.way(&format!("{who} to {name}"), certificate, address);
            listeners.push(listener);
            clusters.push(cluster);
        }
    }
    let workloads = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());

    const CERTIFICATE: &str = "trusted_proxy_peer_certificate";
    let user = ("x-openclaw-user", NICK);
    let honest = ("x-forwarded-for", "198.51.100.9");
    // The addresses that an attacker claims: the ingress gateway's, the pod's own, Istio's.
    let forged = [
        ("x-forwarded-for", "10.7.7.7"),
        ("x-forwarded-for", "198.51.100.9, 10.7.7.7"),
        ("x-forwarded-for", "127.0.0.6"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    let ask_from = |who: &str, door: &str, headers: &[(&str, &str)]| {
        ask_both(mesh.address, workloads.address(&format!("{who} to {door}")), headers)
    };
    for door in ["shipped", "permissive"] {
        assert_eq!(ask_from("ingress", door, &[user, honest]), admitted(NICK), "{door}");
        for headers in [
            vec![user, honest],
            vec![user],
            vec![user, forged[0]],
            vec![user, forged[1]],
            vec![user, forged[2]],
            vec![user, forged[3]],
        ] {
            assert_eq!(ask_from("other", door, &headers), refused(CERTIFICATE), "{door}: {headers:?}");
        }
    }
    assert_eq!(ask_from("ingress", "shipped", &[honest]), refused("trusted_proxy_user_missing"));

    // By address, with the EnvoyFilter: the true address counts, independent of the header.
    assert_eq!(ask_from("other", "own address listed", &[user, honest]), admitted(NICK));
    assert_eq!(
        ask_from("other", "own address listed", &[user, ("x-forwarded-for", "203.0.113.9, 198.51.100.9")]),
        admitted(NICK)
    );
    for forged in forged {
        let seen = ask_from("other", "another address listed", &[user, forged]);
        assert_eq!(seen, refused("trusted_proxy_untrusted_source"), "{forged:?}");
    }
    // Without it, no address is trusted, so nobody is admitted, not even the honest proxy.
    for headers in [[user, honest], [user, forged[0]]] {
        for who in ["ingress", "other"] {
            let seen = ask_from(who, "no EnvoyFilter", &headers);
            assert_eq!(seen, refused("trusted_proxy_peer_unknown"), "{who}: {headers:?}");
            let seen = ask_from(who, "no EnvoyFilter, peer of the connection", &headers);
            assert_eq!(seen, refused("trusted_proxy_peer_unverified"), "{who}: {headers:?}");
        }
    }
    // AuthorizationPolicy alone, with the WasmPlugin deleted: it checks the peer, but not users.
    assert_eq!(ask_from("other", "no WasmPlugin", &[user, honest]), Outcome::Status(403));
    assert_eq!(ask_from("ingress", "no WasmPlugin", &[user, honest]), admitted(NICK));

    // An Envoy in front treats a 101 with a length as an error, so the client would not learn the reason. This is why
    // the sidecar answers with a plain 401; the alternative is to remove the length.
    for (door, expected) in
        [("closes WebSockets", Outcome::Status(502)), ("closes WebSockets, no length", refused(CERTIFICATE))]
    {
        let to = workloads.address(&format!("other to {door}"));
        assert_eq!(ask(mesh.address, to, "/", &[user, honest]), refused(CERTIFICATE), "{door}");
        assert_eq!(ask(mesh.address, to, "/", &[&[user, honest][..], &UPGRADE].concat()), expected, "{door}");
    }

    // Bypassing the mesh, without TLS. STRICT ends the connection; PERMISSIVE leaves the decision to the filter.
    for (door, expected) in [("shipped", Outcome::Nothing), ("permissive", refused(CERTIFICATE))] {
        assert_eq!(ask_both(mesh.address, sidecar.address(door), &[user, honest]), expected, "{door}");
    }
    // A probe that Istio does not rewrite arrives like this: it needs PERMISSIVE, and a path that does not need an
    // identity.
    for (door, expected) in [("shipped", Outcome::Nothing), ("permissive", Outcome::Admitted(None))] {
        assert_eq!(ask(mesh.address, sidecar.address(door), "/healthz", &[user]), expected, "{door}");
    }
}

#[test]
fn the_gateway_sees_istios_own_loopback_address_and_its_list_must_name_it() {
    let mesh = Mesh::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let seen = std::thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || {
            let (mut stream, peer) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            peer.ip()
        }
    });
    let documents = manifests::read(SIDECAR);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("source");
    let discovery = Discovery(&folder);
    discovery.put(&resource(plugin));
    let listeners = vec![inbound("shipped", vec![patch(&documents), discovery.filter(plugin)], &mesh, "STRICT")];
    let sidecar =
        Envoy::start(&parts::bootstrap(listeners, vec![application(listener.local_addr().unwrap())]).to_string());
    let (listener, cluster) = mesh.way("way", &mesh.ingress, sidecar.address("shipped"));
    let way = Envoy::start(&parts::bootstrap(vec![listener], vec![cluster]).to_string());
    let headers = [("x-openclaw-user", NICK), ("x-forwarded-for", "198.51.100.9")];
    assert_eq!(wire::get(way.address("way"), "/", &headers).unwrap().status, 200);
    let source = seen.join().unwrap();
    assert_eq!(source, IpAddr::from([127, 0, 0, 6]));
    let listed = &plugin["spec"]["pluginConfig"]["gateway"]["trustedProxies"];
    assert!(listed.as_array().unwrap().contains(&json!(source.to_string())), "{listed}");
    assert_eq!(plugin["spec"]["pluginConfig"]["gateway"]["auth"]["trustedProxy"]["allowLoopback"], true);
}

#[test]
fn until_the_module_is_fetched_nobody_passes_and_a_bad_update_changes_nothing() {
    let mesh = Mesh::new();
    let echo = Echo::start().unwrap();
    let documents = manifests::read(SIDECAR);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("fetching");
    let discovery = Discovery(&folder);
    discovery.put(&deny_all(plugin));
    let listeners = vec![inbound("shipped", vec![patch(&documents), discovery.filter(plugin)], &mesh, "STRICT")];
    let sidecar = Envoy::start(&parts::bootstrap(listeners, vec![application(echo.address())]).to_string());
    let (listener, cluster) = mesh.way("way", &mesh.ingress, sidecar.address("shipped"));
    let way = Envoy::start(&parts::bootstrap(vec![listener], vec![cluster]).to_string());
    let headers = [("x-openclaw-user", NICK), ("x-forwarded-for", "198.51.100.9")];
    let get = |path: &str| wire::get(way.address("way"), path, &headers).unwrap().status;
    assert_eq!((get("/"), get("/healthz")), (403, 403));
    assert_eq!(echo.requests(), 0);

    let stat = |name: &str| {
        sidecar.process().stat(&format!("extension_config_discovery.http_filter.{}.{name}", plugin_name(plugin)))
    };
    let (taken, rejected) = (stat("update_success"), stat("update_rejected"));
    discovery.put(&resource(plugin));
    eventually("the plugin to be accepted", || stat("update_success") > taken);
    assert_eq!(get("/"), 200);

    let mut bad = plugin.clone();
    bad["spec"]["pluginConfig"]["gateway"]["auth"]["mode"] = json!("token");
    discovery.put(&resource(&bad));
    eventually("the bad policy to be rejected", || stat("update_rejected") > rejected);
    assert_eq!(get("/"), 200);
    let mut other = plugin.clone();
    other["spec"]["pluginConfig"]["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!(["mary@example.com"]);
    let taken = stat("update_success");
    discovery.put(&resource(&other));
    eventually("the new policy to be accepted", || stat("update_success") > taken);
    assert_eq!(get("/"), 401);
}
