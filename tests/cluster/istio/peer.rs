//! A peer that comes through a tunnel (HBONE), with a certificate of the mesh's authority or without.

use std::net::{IpAddr, SocketAddr};

use harness::hbone::{self, Opening};
use harness::pki::{Identity, Validity};
use harness::wire::{self, Connection};

use super::world::{Guard, Outcome, PORT, TUNNEL, World, alike, exchange, steady};

/// The ingress gateway, as `trustedPeers` names it.
pub const INGRESS: &str = "spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress";
/// Another workload.
pub const OTHER: &str = "spiffe://cluster.local/ns/elsewhere/sa/default";

/// A peer, and what it says when it opens a tunnel.
#[derive(Clone)]
pub struct Peer<'w, 'c> {
    world: &'w World<'c>,
    identity: Option<Identity>,
    door: IpAddr,
    pub server_name: String,
    pub authority: String,
    pub opening: Vec<(&'w str, &'w str)>,
}

impl<'c> World<'c> {
    /// A peer with a certificate that the mesh's authority signs for this identity.
    pub fn peer(&self, spiffe_id: &str) -> Peer<'_, 'c> {
        let name = spiffe_id.replace(|one: char| !one.is_ascii_alphanumeric(), "-");
        self.peer_with(Some(self.mesh.authority.issue(&name, &[spiffe_id], Validity::Now)))
    }

    /// A peer with a certificate, or without. It goes to the guard, for the OpenClaw Gateway.
    pub fn peer_with(&self, identity: Option<Identity>) -> Peer<'_, 'c> {
        let target = match self.guard {
            // A sidecar takes what is for its own pod.
            Guard::Sidecar => SocketAddr::new(self.openclaw.address(), PORT),
            Guard::Waypoint => self.service("openclaw-gateway"),
        };
        Peer {
            world: self,
            identity,
            door: self.openclaw.address(),
            server_name: "openclaw.example.com".to_owned(),
            authority: target.to_string(),
            opening: Vec::new(),
        }
    }
}

impl<'w> Peer<'w, '_> {
    /// The same peer, with these headers in its CONNECT request.
    pub fn saying(&self, headers: &[(&'w str, &'w str)]) -> Self {
        Self { opening: headers.to_vec(), ..self.clone() }
    }

    /// The same peer, going elsewhere.
    pub fn to(&self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self.clone() }
    }

    /// The same peer, with another name in the TLS handshake.
    pub fn naming(&self, server_name: &str) -> Self {
        Self { server_name: server_name.to_owned(), ..self.clone() }
    }

    /// A request in a tunnel of its own. Like the ingress gateway, it says where the browser is, unless the headers do.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        let mut all = vec![("host", "claw.example.com")];
        if !headers.iter().any(|(name, _)| *name == "x-forwarded-for") {
            all.push(("x-forwarded-for", "198.51.100.7"));
        }
        all.extend(headers);
        steady(|| self.ask_once(path, &all))
    }

    /// A request with exactly these headers. Nothing is asked again, also if Envoy answers 503.
    pub fn ask_once(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        let to = SocketAddr::new(self.door, TUNNEL);
        let opening = Opening { server_name: &self.server_name, authority: &self.authority, headers: &self.opening };
        let opened = self.world.mesh.cluster.network.on("elsewhere", || wire::open(to));
        match opened.and_then(|tcp| hbone::open(tcp, self.identity.as_ref(), &opening)) {
            Ok(tunnel) if tunnel.status == 200 => exchange(Connection::new(tunnel), path, headers),
            Ok(tunnel) => Outcome::Status(tunnel.status),
            Err(_) => Outcome::Nothing,
        }
    }

    /// A request and a WebSocket, which must have the same result.
    pub fn ask_both(&self, headers: &[(&str, &str)]) -> Outcome {
        alike(headers, |path, headers| self.ask(path, headers))
    }
}
