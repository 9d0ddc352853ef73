//! The rows of the table in docs/istio.md about the two hops of a [`World`].

use harness::cluster::istio::Workload;
use harness::envoy::eventually;
use serde_json::Value;

use super::peer::{INGRESS, OTHER};
use super::through::order;
use super::world::{Edge, Guard, Outcome, UPGRADE, World, admitted, settles};
use super::{EVE, NICK};
use crate::placements::{Arrival, Asker, Column, both, holds, is_reached, other_plugin};

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
        holds(self.row, Column::With, &self.askers);
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

    /// Waits until the first asker gets what the table says, and then asks all.
    fn settles(&self, column: Column) {
        let (who, _, ask) = &self.askers[0];
        eventually(&format!("{}, {column:?}: {who}", self.row), || is_reached(self.row, column, &ask()));
        holds(self.row, column, &self.askers);
    }

    /// Whether the other plugin runs before the filter or after it.
    fn place_of_the_other(&self) -> Option<Column> {
        let filters = order(self.workload);
        let place = |name: &str| filters.iter().position(|filter| filter == name);
        place("other").map(|other| if Some(other) < place("ours") { Column::Before } else { Column::After })
    }
}

/// What arrived, for the table.
pub fn arrival(outcome: Outcome) -> Arrival {
    match outcome {
        Outcome::Admitted(user) => Ok(user),
        refused => Err(format!("{refused:?}")),
    }
}

/// The ingress gateway and the sidecar behind it.
pub fn both_hops_are_as_the_table_says(world: &World<'_>) {
    let (nick, eve) = (world.bearer(NICK), world.bearer(EVE));
    let (named, another) = (("x-openclaw-user", NICK), ("x-openclaw-user", "other@example.com"));
    let asks = |headers: Vec<(&'static str, String)>| -> Box<dyn Fn() -> Arrival + '_> {
        Box::new(move || {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let socket = [&headers[..], &UPGRADE].concat();
            both(arrival(world.ask("/v1/models", &headers)), arrival(world.ask("/", &socket)))
        })
    };
    let with = |bearer: &str, (name, value): (&'static str, &str)| {
        vec![("authorization", bearer.to_owned()), (name, value.to_owned())]
    };
    let signed_in = || asks(vec![("authorization", nick.clone())]);
    let row = match world.edge {
        Edge::Istio => "ingress gateway, `ingress.yaml`",
        Edge::GatewayApi => "ingress gateway, `gateway-api.yaml`",
    };
    let askers: Vec<Asker<'_>> = vec![
        ("a user", true, signed_in()),
        ("a user who names another", true, asks(with(&nick, another))),
        ("a stranger who names a user", false, asks(with(&eve, named))),
        ("nobody who names a user", false, asks(vec![(named.0, named.1.to_owned())])),
    ];
    let (workload, attached) = (&world.ingress, world.edge.attached());
    Placed { row, namespace: "openclaw-ingress", workload, attached, askers }.holds(world);
    let askers: Vec<Asker<'_>> = vec![
        ("a user", true, signed_in()),
        (
            "another workload that names a user",
            false,
            Box::new(|| {
                let socket = [&[named][..], &UPGRADE].concat();
                both(arrival(world.other_asks("/v1/models", &[named])), arrival(world.other_asks("/", &socket)))
            }),
        ),
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
    settles("the other plugin's user", &admitted("other@example.com"), ask);
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
        Box::new(move || {
            let named = [("x-openclaw-user", user)];
            let socket = peer.ask("/", &[&named[..], &UPGRADE].concat());
            both(arrival(peer.ask("/v1/models", &named)), arrival(socket))
        })
    };
    let askers: Vec<Asker<'_>> = vec![
        ("the ingress gateway for a user", true, asks(INGRESS, NICK)),
        ("the ingress gateway for a stranger", false, asks(INGRESS, EVE)),
        ("another workload that names a user", false, asks(OTHER, NICK)),
    ];
    let (workload, attached) = (&world.openclaw, world.guard.attached());
    Placed { row, namespace: "openclaw", workload, attached, askers }.holds(world);
}
