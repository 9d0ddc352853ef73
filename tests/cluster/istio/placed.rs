//! The rows of the table in docs/istio.md about the two hops of a [`World`].

use harness::cluster::istio::Workload;
use harness::envoy::eventually;
use serde_json::Value;

use super::peer::{INGRESS, OTHER};
use super::through::order;
use super::world::{Edge, Guard, Outcome, UPGRADE, World, admitted, settles};
use super::{EVE, NICK};
use crate::placements::{self, Arrival, Asker, Column, at_an_edge, both, other_plugin};

/// A proxy with the filter, and everybody who asks there. The first is one whom the policy admits.
pub struct Placed<'a> {
    pub row: &'a str,
    pub namespace: &'a str,
    pub workload: &'a Workload<'a>,
    /// How plugins are attached there.
    pub attached: Value,
    pub askers: Vec<Asker<'a>>,
}

impl Placed<'_> {
    /// Goes through all columns.
    pub fn holds(&self, world: &World<'_>) {
        let api = &world.mesh.cluster.api;
        self.settles(Column::With);
        for column in [Column::Before, Column::After] {
            api.apply_all(&[other_plugin(self.namespace, &self.attached, column)]);
            eventually("another plugin to run", || self.place_of_the_other() == Some(column));
            self.settles(column);
            world.delete("trafficextension", self.namespace, "other");
            eventually("the other plugin to go", || self.place_of_the_other().is_none());
            self.settles(Column::With);
        }
        world.delete_plugin(self.namespace);
        self.settles(Column::Without);
        world.restore();
        self.settles(Column::With);
    }

    fn settles(&self, column: Column) {
        placements::settles(self.row, column, &self.askers);
    }

    /// Whether the other plugin runs before the filter or after it.
    fn place_of_the_other(&self) -> Option<Column> {
        let filters = order(self.workload);
        let place = |name: &str| filters.iter().position(|filter| filter == name);
        place("other").map(|other| if Some(other) < place("ours") { Column::Before } else { Column::After })
    }
}

/// What arrives of a request and of a WebSocket with these headers.
fn arrival(headers: &[(&str, &str)], ask: impl Fn(&str, &[(&str, &str)]) -> Outcome) -> Arrival {
    let one = |outcome| match outcome {
        Outcome::Admitted(user) => Ok(user),
        refused => Err(format!("{refused:?}")),
    };
    both(one(ask("/v1/models", headers)), one(ask("/", &[headers, &UPGRADE].concat())))
}

/// The ingress gateway and the sidecar behind it.
pub fn both_hops_are_as_the_table_says(world: &World<'_>) {
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let ask = |headers: &[(&str, &str)]| arrival(headers, |path, headers| world.ask(path, headers));
    let row = match world.edge {
        Edge::Istio => "ingress gateway, `ingress.yaml`",
        Edge::GatewayApi => "ingress gateway, `gateway-api.yaml`",
    };
    let askers = at_an_edge(&nick, &eve, ask);
    let (workload, attached) = (&world.ingress, world.edge.attached());
    Placed { row, namespace: "openclaw-ingress", workload, attached, askers }.holds(world);
    let other = || arrival(&[("x-openclaw-user", NICK)], |path, headers| world.other_asks(path, headers));
    let askers: Vec<Asker<'_>> = vec![
        ("a user", true, Box::new(|| ask(&[("authorization", &nick)]))),
        ("another workload that names a user", false, Box::new(other)),
    ];
    let (workload, attached) = (&world.openclaw, world.guard.attached());
    Placed { row: "sidecar, by mutual TLS", namespace: "openclaw", workload, attached, askers }.holds(world);
}

/// Why Envoy writes user and scopes once more.
pub fn without_openclaw_last_a_later_plugin_names_the_user(world: &World<'_>) {
    let nick = world.bearer(NICK);
    let ask = || world.ask("/v1/models", &[("authorization", &nick)]);
    world.delete("envoyfilter", "openclaw", "openclaw-closed");
    let plugin = other_plugin("openclaw", &world.guard.attached(), Column::After);
    world.mesh.cluster.api.apply_all(&[plugin]);
    settles("the other plugin's user", &admitted("other@example.com with other scopes"), ask);
    world.mesh.cluster.api.apply(&world.mesh.manifest(&world.manifests()[0], &world.mesh.digests[0]));
    settles("the true user", &admitted(NICK), ask);
    world.delete("trafficextension", "openclaw", "other");
    world.restore();
}

/// What guards the pod, for peers that come through a tunnel.
pub fn the_guard_is_as_the_table_says(world: &World<'_>) {
    let row = match world.guard {
        Guard::Sidecar => "sidecar, by HBONE",
        Guard::Waypoint => "waypoint, `waypoint.yaml`",
    };
    let asks = |peer: &'static str, user: &'static str| -> Box<dyn Fn() -> Arrival + '_> {
        let peer = world.peer(peer);
        Box::new(move || arrival(&[("x-openclaw-user", user)], |path, headers| peer.ask(path, headers)))
    };
    let askers: Vec<Asker<'_>> = vec![
        ("the ingress gateway for a user", true, asks(INGRESS, NICK)),
        ("the ingress gateway for a stranger", false, asks(INGRESS, EVE)),
        ("another workload that names a user", false, asks(OTHER, NICK)),
    ];
    let (workload, attached) = (&world.openclaw, world.guard.attached());
    Placed { row, namespace: "openclaw", workload, attached, askers }.holds(world);
}
