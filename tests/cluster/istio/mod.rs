//! Istio: the manifests in `envoy/istio`, applied with the commands of docs/istio.md, and a real istiod. Injected pods
//! with real agents fetch the module from a registry, and a real Envoy and a real OpenClaw Gateway run in them.

mod ambient;
mod around;
mod changes;
mod peer;
mod placed;
mod shipped;
mod through;
mod world;

use harness::cluster::istio::{self, Mesh};
use harness::manifests;
use serde_json::{Value, json};
use world::{Edge, Guard, World};

use crate::observability::{Job, logs, shows};

const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const WAYPOINT: &str = "envoy/istio/waypoint.yaml";
const GATEWAY_API: &str = "envoy/istio/gateway-api.yaml";
const NICK: &str = "nick@example.com";
const EVE: &str = "eve@example.com";

#[test]
fn the_manifests_hold_in_a_real_istio() {
    let cluster = istio::cluster();
    let mesh = Mesh::start(&cluster);
    let mut world = World::start(&mesh, Edge::Istio);
    through::the_filters_run_in_istios_order(&world);
    world.with_echo(|world| {
        through::a_signed_in_user_gets_through_both_and_nobody_else_does(world);
        around::another_workload_is_refused_whatever_it_claims(world);
        is_observed(world);
        placed::both_hops_are_as_the_table_says(world);
        placed::without_openclaw_last_a_later_plugin_names_the_user(world);
        around::a_listener_without_the_filter_has_no_user(world);
        around::the_edge_needs_verified_tokens(world);
        around::each_lock_holds_without_the_others(world);
        around::by_address_the_true_address_counts(world);
        around::an_envoy_in_front_breaks_a_101_with_a_close_frame(world);
        changes::an_edit_counts_and_a_bad_one_does_not(world);
        changes::a_digest_that_cannot_be_fetched_refuses_everybody(world);
        changes::a_rollout_under_load_loses_no_request(world);
        changes::changing_the_form_of_the_plugin_loses_no_request(world);
    });
    world.with_gateway(|world, gateway| {
        through::the_real_gateway_takes_its_users_from_both_filters(world, gateway);
        through::the_gateways_list_must_name_the_guard(world, gateway);
    });
    through::the_gateway_sees_loopback_with_and_without_the_sidecar_resource(&world);
}

/// istiod itself validates manifests, beyond what their kinds say: this kind has no limit for a port.
fn istiod_validates(world: &World<'_>) {
    let api = &world.mesh.cluster.api;
    let documents = manifests::read(INGRESS);
    let mut gateway = manifests::of_kind(&documents, "Gateway").clone();
    let judge = |gateway: &Value| api.kubectl_with(&["apply", "--dry-run=server", "-f", "-"], &gateway.to_string());
    judge(&gateway).unwrap_or_else(|said| panic!("{said}"));
    gateway["spec"]["servers"][0]["port"]["number"] = json!(70_000);
    let said = judge(&gateway).expect_err("istiod accepts a port that does not exist");
    assert!(said.contains("validation.istio.io") && said.contains("70000"), "{said}");
}

/// The statistics and the access log of both proxies, after some requests.
fn is_observed(world: &World<'_>) {
    let cluster = world.mesh.cluster;
    let jobs = [
        Job { name: "openclaw-envoy-ingress", reason: "trusted_proxy_user_not_allowed", lacks: &["envoy_http_"] },
        Job { name: "openclaw-envoy-sidecar", reason: "trusted_proxy_peer_certificate", lacks: &["envoy_http_"] },
    ];
    let [nick, eve] = [NICK, EVE].map(|user| world.bearer(user));
    shows(cluster, &jobs, &|| {
        world.ask("/v1/models", &[("authorization", &nick)]);
        world.ask("/v1/models", &[("authorization", &eve)]);
        world.other_asks("/v1/models", &[]);
    });
    cluster.api.apply_all(&manifests::read("envoy/observability/istio.yaml"));
    logs(
        || {
            world.ask("/v1/models", &[("authorization", &eve)]);
            world.ingress.log()
        },
        "trusted_proxy_user_not_allowed",
    );
    logs(
        || {
            world.other_asks("/v1/models", &[]);
            world.openclaw.log()
        },
        "trusted_proxy_peer_certificate",
    );
}

#[test]
fn the_gateway_api_and_what_a_pod_can_get_wrong() {
    let cluster = istio::cluster();
    let mesh = Mesh::start(&cluster);
    let mut world = World::start(&mesh, Edge::GatewayApi);
    istiod_validates(&world);
    through::the_filters_run_in_istios_order(&world);
    world.with_gateway(|world, gateway| {
        through::the_real_gateway_takes_its_users_from_both_filters(world, gateway);
    });
    world.with_echo(|world| {
        through::a_signed_in_user_gets_through_both_and_nobody_else_does(world);
        // Nothing asks for more statistics in the pods that istiod deploys.
        let lacks = &["envoy_http_", "envoy_extension_config_discovery_"];
        let job = Job { name: "openclaw-envoy-ingress", reason: "trusted_proxy_user_not_allowed", lacks };
        let [nick, eve] = [NICK, EVE].map(|user| world.bearer(user));
        shows(world.mesh.cluster, &[job], &|| {
            world.ask("/v1/models", &[("authorization", &nick)]);
            world.ask("/v1/models", &[("authorization", &eve)]);
        });
        placed::both_hops_are_as_the_table_says(world);
        around::without_the_edges_plugin_nobody_is_somebody(world);
        around::proxies_in_front_of_the_ingress_gateway_change_nothing(world);
        around::an_excluded_port_leads_around_the_filter(world);
        changes::a_drain_ends_no_socket(world);
    });
}

#[test]
fn a_waypoint_guards_the_gateway_in_ambient_mode() {
    let cluster = istio::cluster();
    let mesh = Mesh::ambient(&cluster);
    let mut world = World::behind(&mesh, Edge::Istio, Guard::Waypoint);
    through::the_filters_run_in_istios_order(&world);
    world.with_echo(|world| {
        ambient::what_holds_behind_each_guard(world);
        through::a_signed_in_user_gets_through_both_and_nobody_else_does(world);
        ambient::the_plugin_is_on_its_service_alone(world);
        ambient::a_port_in_match_switches_the_filter_off(world);
        ambient::the_ingress_gateway_needs_a_label_to_use_the_waypoint(world);
        ambient::a_waypoint_for_workloads_leads_around_the_filter(world);
        ambient::the_other_form_of_the_plugin_does_the_same(world);
    });
    world.with_gateway(|world, gateway| {
        through::the_real_gateway_takes_its_users_from_both_filters(world, gateway);
        through::the_gateways_list_must_name_the_guard(world, gateway);
    });
    ambient::the_gateway_sees_the_waypoints_address(&world);
}

#[test]
fn a_sidecar_takes_tunnels_and_mutual_tls_in_ambient_mode() {
    let cluster = istio::cluster();
    let mesh = Mesh::ambient(&cluster);
    let mut world = World::start(&mesh, Edge::Istio);
    world.with_echo(|world| {
        ambient::what_holds_behind_each_guard(world);
        ambient::a_sidecar_needs_both_sources(world);
    });
}
