//! Edits, digests, rollouts and drains.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::cluster::istio::Workload;
use harness::envoy::eventually;
use harness::tungstenite::protocol::Role;
use harness::tungstenite::{Message, WebSocket};
use harness::wire;
use serde_json::{Value, json};

use super::world::{Outcome, UPGRADE, World, admitted, extension, refused, run_the_section, settles};
use super::{INGRESS, NICK, SIDECAR};

pub fn an_edit_counts_and_a_bad_one_does_not(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let ask = || world.ask_both(&[("authorization", &nick)]);
    let users = |users: &[&str]| json!({"gateway": {"auth": {"trustedProxy": {"allowUsers": users}}}});
    world.edit("openclaw-ingress", &users(&["mary@example.com"]));
    settles("the edit", &refused("trusted_proxy_user_not_allowed"), || {
        world.ask("/v1/models", &[("authorization", &nick)])
    });
    assert_eq!(ask(), refused("trusted_proxy_user_not_allowed"));
    world.edit("openclaw-ingress", &users(&[NICK]));
    settles("the edit back", &admitted(NICK), || world.ask("/v1/models", &[("authorization", &nick)]));
    // kubectl takes it, and only the proxy's log says that it is bad.
    world.edit("openclaw-ingress", &json!({"gateway": {"auth": {"mode": "token"}}}));
    let told =
        |workload: &Workload<'_>| workload.log().iter().filter(|line| line.contains("gateway.auth.mode")).count();
    eventually("the log to report the error", || told(&world.ingress) > 0);
    assert_eq!(ask(), admitted(NICK));
    world.edit("openclaw-ingress", &json!({"gateway": {"auth": {"mode": "trusted-proxy"}}}));
    world.restore();
}

/// The other digest counts at once, although it cannot be fetched.
pub fn a_digest_that_cannot_be_fetched_refuses_everybody(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let ask = |path: &str| world.ask(path, &[("authorization", &nick)]);
    let echo = world.echo.as_ref().unwrap();
    for namespace in ["openclaw-ingress", "openclaw"] {
        put_digest(world, namespace, &format!("sha256:{}", "1".repeat(64)));
        settles("nobody to be admitted", &Outcome::Status(403), || ask("/v1/models"));
        let before = echo.requests();
        assert_eq!((ask("/v1/models"), ask("/healthz")), (Outcome::Status(403), Outcome::Status(403)));
        assert_eq!(echo.requests(), before);
        put_digest(world, namespace, &world.mesh.digests[0]);
        settles("the module to run again", &admitted(NICK), || ask("/v1/models"));
    }
}

fn put_digest(world: &World<'_>, namespace: &str, digest: &str) {
    let url = format!("oci://registry.example.com/openclaw-trusted-proxy@{digest}");
    world.edit_module(namespace, &json!({"url": url}));
}

/// The file from which Envoy loads the module.
fn module(workload: &Workload<'_>) -> String {
    let dump: Value = serde_json::from_str(&workload.admin("/config_dump?resource=ecds_filters")).unwrap_or_default();
    let file = &dump["configs"][0]["ecds_filter"]["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"];
    file.as_str().unwrap_or_default().to_owned()
}

/// Does something while a user sends one request after the other, and every one of them is answered.
fn under_load(world: &World<'_>, what: &str, work: impl FnOnce()) {
    let nick = world.bearer(NICK);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut statuses, mut connection) = (Vec::new(), world.open(world.ingress.address()).unwrap());
            let headers = [("host", "claw.example.com"), ("authorization", nick.as_str())];
            while !done.load(Ordering::SeqCst) {
                connection.send(&wire::request("GET", "/v1/models", &headers)).unwrap();
                let response = connection.response("GET").unwrap();
                statuses.push(response.status);
                // Envoy may close a connection of a listener that changed, after an answer.
                if response.header("connection").is_some_and(|value| value == "close") {
                    connection = world.open(world.ingress.address()).unwrap();
                }
            }
            statuses
        });
        work();
        settles(what, &admitted(NICK), || world.ask("/", &[("authorization", &nick)]));
        done.store(true, Ordering::SeqCst);
        let statuses = load.join().unwrap();
        assert!(statuses.len() > 20 && statuses.iter().all(|status| *status == 200), "{what}: {statuses:?}");
        println!("{} requests during {what}", statuses.len());
    });
}

pub fn a_rollout_under_load_loses_no_request(world: &World<'_>) {
    under_load(world, "the rollout", || {
        for (namespace, workload) in [("openclaw-ingress", &world.ingress), ("openclaw", &world.openclaw)] {
            let before = module(workload);
            assert!(before.contains("/var/lib/istio/data/"), "{before:?}");
            put_digest(world, namespace, &world.mesh.digests[1]);
            eventually("the other module", || {
                let now = module(workload);
                now != before && !now.is_empty()
            });
        }
    });
    world.restore();
}

/// From WasmPlugins to TrafficExtensions, with the commands of the page.
pub fn changing_the_form_of_the_plugin_loses_no_request(world: &World<'_>) {
    let names = || {
        let of = |workload: &Workload<'_>| workload.admin("/config_dump?resource=ecds_filters");
        [&world.ingress, &world.openclaw].map(|workload| {
            let dump = of(workload);
            (dump.contains("~istio-translated-wasmplugin"), dump.contains("openclaw-trusted-proxy\""))
        })
    };
    assert_eq!(names(), [(true, false); 2]);
    under_load(world, "the change", || {
        let title = "WasmPlugin or TrafficExtension";
        run_the_section(world.mesh, title, &[SIDECAR, INGRESS].map(extension));
        eventually("the TrafficExtensions alone", || names() == [(false, true); 2]);
    });
    world.restore();
    for namespace in ["openclaw", "openclaw-ingress"] {
        world.delete("trafficextension", namespace, "openclaw-trusted-proxy");
    }
    eventually("the WasmPlugins alone", || names() == [(true, false); 2]);
    world.restore();
}

/// As a kubelet ends the ingress gateway's pod: first `/drain`, which is what the agent's `preStop` asks for.
pub fn a_drain_ends_no_socket(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let headers = [("host", "claw.example.com"), ("authorization", nick.as_str())];
    let mut connection = world.open(world.ingress.address()).unwrap();
    connection.send(&wire::request("GET", "/", &[&headers[..], &UPGRADE].concat())).unwrap();
    assert_eq!(connection.response("GET").unwrap().status, 101);
    let (stream, rest) = connection.into_parts();
    let mut socket = WebSocket::from_partially_read(stream, rest, Role::Client, None);
    assert!(socket.read().unwrap().is_text());
    let get = || {
        let mut connection = world.open(world.ingress.address()).unwrap();
        connection.send(&wire::request("GET", "/", &headers)).unwrap();
        connection.response("GET").unwrap()
    };
    assert_eq!(get().header("connection"), None);
    let drained = world.mesh.cluster.network.on("ingress", || {
        let mut agent = wire::Connection::open(([127, 0, 0, 1], 15020).into()).unwrap();
        agent.send(&wire::request("POST", "/drain", &[("host", "localhost"), ("content-length", "0")])).unwrap();
        agent.response("POST").unwrap().status
    });
    assert_eq!(drained, 200);
    // Clients are told to go elsewhere, and what they ask is still answered.
    eventually("the drain", || {
        let response = get();
        assert_eq!(response.status, 200);
        response.header("connection").as_deref() == Some("close")
    });
    socket.send(Message::text("still open")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still open"));
}
