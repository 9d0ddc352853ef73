//! A real OpenClaw Gateway behind the sidecar, with the openclaw.json block from the comments of the WasmPlugin.

use harness::envoy::Envoy;
use harness::gateway::{Gateway, Options, lay};
use harness::jwt;
use harness::manifests::{self, of_kind};
use harness::parts;
use harness::wire::{self, Connection};
use serde_json::{Value, json};

use super::istiod::{Discovery, application, closed, inbound, jwt_authn, patch, rbac, resource};
use super::mesh::Mesh;
use super::{INGRESS, NICK, SIDECAR};

#[test]
fn the_real_gateway_trusts_the_sidecar_if_its_list_names_istios_address() {
    let mesh = Mesh::new();
    let documents = manifests::read(SIDECAR);
    let plugin = of_kind(&documents, "WasmPlugin");
    let folder = mesh.folder("real");
    let discovery = Discovery(&folder);
    discovery.put(&resource(plugin));
    let headers = [("x-openclaw-user", NICK), ("x-forwarded-for", "198.51.100.9")];
    let shipped = plugin["spec"]["pluginConfig"]["gateway"].clone();
    for (listed, expected) in [(shipped["trustedProxies"].clone(), 200), (json!(["127.0.0.1"]), 403)] {
        let mut block = shipped.clone();
        block["trustedProxies"] = listed.clone();
        let gateway = Gateway::start(&block, &Options::default());
        let listeners = vec![inbound("shipped", vec![patch(&documents), discovery.filter(plugin)], &mesh, "STRICT")];
        let sidecar = Envoy::start(&parts::bootstrap(listeners, vec![application(gateway.address())]).to_string());
        let (listener, cluster) = mesh.way("way", &mesh.ingress, sidecar.address("shipped"));
        let way = Envoy::start(&parts::bootstrap(vec![listener], vec![cluster]).to_string());
        let response = wire::get(way.address("way"), "/control-ui-config.json", &headers).unwrap();
        assert_eq!(response.status, expected, "{listed}: {response:?}");
        // The Gateway refuses this, not the filter, which would give a reason.
        assert!(response.json()["error"]["reason"].is_null(), "{response:?}");
        let stranger = wire::get(way.address("way"), "/control-ui-config.json", &headers[1..]).unwrap();
        assert_eq!(stranger.json()["error"]["reason"], "trusted_proxy_user_missing", "{stranger:?}");
    }
}

/// Each WasmPlugin deleted, and both. Eve is signed in and names Nick.
#[test]
fn without_its_plugins_the_real_gateway_lets_in_only_whom_the_other_filter_admitted() {
    let mesh = Mesh::new();
    let (ingress, sidecar) = (manifests::read(INGRESS), manifests::read(SIDECAR));
    let discovered = |documents: &[Value], name: &str| {
        let (plugin, folder) = (of_kind(documents, "WasmPlugin"), mesh.folder(name));
        Discovery(&folder).put(&resource(plugin));
        Discovery(&folder).filter(plugin)
    };
    let block = of_kind(&sidecar, "WasmPlugin")["spec"]["pluginConfig"]["gateway"].clone();
    let gateway = Gateway::start(&block, &Options::default());
    let allowed = rbac(of_kind(&sidecar, "AuthorizationPolicy"));
    let listeners = vec![
        inbound("filter", vec![patch(&sidecar), discovered(&sidecar, "sidecar"), allowed.clone()], &mesh, "STRICT"),
        inbound("no filter", vec![patch(&sidecar), allowed], &mesh, "STRICT"),
    ];
    let pod = Envoy::start(&parts::bootstrap(listeners, vec![application(gateway.address())]).to_string());

    let before = [patch(&ingress), jwt_authn(of_kind(&ingress, "RequestAuthentication"), &jwt::jwks([&mesh.key]))];
    let after = rbac(of_kind(&ingress, "AuthorizationPolicy"));
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for behind in ["filter", "no filter"] {
        clusters.push(mesh.to_pod(behind, &mesh.ingress, pod.address(behind)));
        for own in ["filter", "no filter"] {
            let name = format!("{own}, then {behind}");
            let mut settings = json!({
                "use_remote_address": true, "normalize_path": true, "route_config": {"virtual_hosts": [{
                    "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": behind}}],
                }]},
            });
            lay(&mut settings, &closed(&ingress));
            let filter = (own == "filter").then(|| discovered(&ingress, &name.replace(' ', "-")));
            let filters = before.iter().cloned().chain(filter).chain([after.clone()]).collect();
            listeners.push(parts::listener(&name, vec![parts::manager(&name, filters, &settings)], json!({})));
        }
    }
    let edge = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());

    // The status, and the reason if a filter refused it.
    let ask = |listener: &str, user: &str, named: bool| {
        let token = format!("Bearer {}", mesh.token(user));
        let mut headers = vec![("host", "claw.example.com"), ("authorization", token.as_str())];
        if named {
            headers.extend([("x-openclaw-user", NICK), ("x-openclaw-scopes", "operator.admin")]);
        }
        let mut connection = Connection::new(wire::open_from(mesh.address, edge.address(listener)).unwrap());
        connection.send(&wire::request("GET", "/control-ui-config.json", &headers)).unwrap();
        let response = connection.response("GET").unwrap();
        let reason = response.json()["error"]["reason"].as_str().unwrap_or_default().to_owned();
        (response.status, reason)
    };
    let (missing, stranger) = ("trusted_proxy_user_missing", "trusted_proxy_user_not_allowed");
    for (listener, nicks, eves) in [
        ("filter, then filter", (200, ""), (401, stranger)),
        ("filter, then no filter", (200, ""), (401, stranger)),
        ("no filter, then filter", (401, missing), (401, missing)),
        // The Gateway itself refuses these.
        ("no filter, then no filter", (401, ""), (401, "")),
    ] {
        let told = |(status, reason): (u16, &str)| (status, reason.to_owned());
        assert_eq!(ask(listener, NICK, false), told(nicks), "{listener}, Nick: {}", gateway.log());
        assert_eq!(ask(listener, "eve@example.com", true), told(eves), "{listener}, Eve");
    }
}
