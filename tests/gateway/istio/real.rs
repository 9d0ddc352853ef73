//! A real OpenClaw Gateway behind the sidecar, with the openclaw.json block from the comments of the WasmPlugin.

use harness::envoy::Envoy;
use harness::gateway::{Gateway, Options};
use harness::manifests::{self, of_kind};
use harness::parts;
use harness::wire;
use serde_json::json;

use super::istiod::{Discovery, application, inbound, patch, resource};
use super::mesh::Mesh;
use super::{NICK, SIDECAR};

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
