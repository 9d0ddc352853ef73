//! A mesh with the manifests of one kind of ingress gateway, and clients of all kinds.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::cluster::istio::{Mesh, Workload, address_of, endpoints};
use harness::cluster::kubelet::pod_of;
use harness::document;
use harness::echo::{self, Echo};
use harness::envoy::{Scratch, eventually};
use harness::gateway::{Gateway, Options, lay};
use harness::jwt;
use harness::kube::kubectls;
use harness::manifests::{self, of_kind};
use harness::wire::{self, Connection};
use serde_json::{Value, json};

use super::peer::OTHER;
use super::{GATEWAY_API, INGRESS, NICK, SIDECAR, WAYPOINT};
use crate::placements::users;

/// The port of the OpenClaw Gateway.
pub const PORT: u16 = 18789;
/// The port on which tunnels end.
pub const TUNNEL: u16 = 15008;
const SERVICE: &str = "openclaw-gateway.openclaw.svc.cluster.local:18789";

/// The kind of ingress gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Istio's own Gateway and VirtualService.
    Istio,
    /// The Gateway API.
    GatewayApi,
}

impl Edge {
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Istio => INGRESS,
            Self::GatewayApi => GATEWAY_API,
        }
    }

    /// A manifest in the form that is used with it: with the Gateway API, the filter is a TrafficExtension everywhere.
    pub fn form(self, manifest: &str) -> String {
        match self {
            Self::Istio => manifest.to_owned(),
            Self::GatewayApi => extension(manifest),
        }
    }

    /// The kind of the plugin.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Istio => "wasmplugin",
            Self::GatewayApi => "trafficextension",
        }
    }

    /// A plugin with these settings of the module.
    fn plugin(self, module: &Value) -> Value {
        match self {
            Self::Istio => json!({"spec": module}),
            Self::GatewayApi => json!({"spec": {"wasm": module}}),
        }
    }

    /// How its plugin is attached.
    pub fn attached(self) -> Value {
        match self {
            Self::Istio => json!({"selector": {"matchLabels": {"istio": "openclaw-ingress"}}}),
            Self::GatewayApi => {
                let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "openclaw"});
                json!({"targetRefs": [gateway]})
            }
        }
    }
}

/// A manifest with a TrafficExtension.
pub fn extension(manifest: &str) -> String {
    manifest.replace("envoy/istio/", "envoy/istio/trafficextension/")
}

/// What guards the OpenClaw Gateway behind the ingress gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The sidecar of its pod.
    Sidecar,
    /// A waypoint, in ambient mode. The pod has no proxy.
    Waypoint,
}

impl Guard {
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Sidecar => SIDECAR,
            Self::Waypoint => WAYPOINT,
        }
    }

    /// How a plugin is attached to it.
    pub fn attached(self) -> Value {
        match self {
            Self::Sidecar => json!({"selector": {"matchLabels": {"app": "openclaw-gateway"}}}),
            Self::Waypoint => {
                json!({"targetRefs": [{"group": "", "kind": "Service", "name": "openclaw-gateway"}]})
            }
        }
    }

    /// The label of the OpenClaw Gateway's namespace.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Sidecar => "istio-injection=enabled",
            Self::Waypoint => "istio.io/dataplane-mode=ambient",
        }
    }
}

/// Two hops to the OpenClaw Gateway, and another workload of the mesh.
pub struct World<'c> {
    pub mesh: &'c Mesh<'c>,
    pub edge: Edge,
    pub guard: Guard,
    pub ingress: Workload<'c>,
    /// The workload with the guard: the OpenClaw Gateway's pod, or the waypoint.
    pub openclaw: Workload<'c>,
    pub other: Workload<'c>,
    pub echo: Option<Running<'c>>,
}

/// An echo server on a host. It ends there too, also if a test fails.
pub struct Running<'c> {
    host: &'static str,
    cluster: &'c Cluster,
    echo: Option<Echo>,
}

impl<'c> Running<'c> {
    pub fn start(cluster: &'c Cluster, host: &'static str, address: [u8; 4]) -> Self {
        let echo = cluster.network.on(host, || Echo::start_at((address, PORT).into(), |_| {}).unwrap());
        Self { host, cluster, echo: Some(echo) }
    }

    pub fn requests(&self) -> usize {
        self.echo.as_ref().map_or(0, Echo::requests)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let echo = self.echo.take();
        self.cluster.network.on(self.host, || drop(echo));
    }
}

impl<'c> World<'c> {
    /// Runs the commands of docs/istio.md, and starts the pods.
    pub fn start(mesh: &'c Mesh<'c>, edge: Edge) -> Self {
        Self::behind(mesh, edge, Guard::Sidecar)
    }

    /// Like [`World::start`], with this guard.
    pub fn behind(mesh: &'c Mesh<'c>, edge: Edge, guard: Guard) -> Self {
        apply_as_the_page_says(mesh, edge, guard);
        let api = &mesh.cluster.api;
        mesh.cluster.namespace("elsewhere", &json!({"istio-injection": "enabled"}));
        for namespace in ["openclaw-ingress", "openclaw", "elsewhere"] {
            mesh.trusts(namespace);
        }
        let account = |namespace: &str, name: &str| {
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
            })
        };
        api.apply_all(&[account("openclaw", "openclaw-gateway"), account("elsewhere", "default")]);
        api.apply_all(&[service("openclaw-gateway", "openclaw-gateway")]);
        let ingress = match edge {
            Edge::Istio => {
                api.apply_all(&[account("openclaw-ingress", "openclaw-ingress")]);
                api.apply_all(&may_read_secrets());
                mesh.run("ingress", &ingress_pod("openclaw-ingress-0", &more_statistics()))
            }
            Edge::GatewayApi => {
                // istiod makes the Deployment, the service account and the Service.
                eventually("istiod to deploy the Gateway", || {
                    !api.object("deployment", "openclaw-ingress", "openclaw-ingress").is_null()
                });
                let made = api.object("deployment", "openclaw-ingress", "openclaw-ingress");
                let pod = pod_of(&made["spec"]["template"], "openclaw-ingress", "openclaw-ingress-0");
                mesh.run("ingress", &pod)
            }
        };
        let pod = openclaw_pod("openclaw-0", &more_statistics());
        let openclaw = match guard {
            Guard::Sidecar => mesh.run("openclaw", &pod),
            Guard::Waypoint => {
                mesh.cluster.pod(&pod, address_of("openclaw"));
                run_waypoint(mesh)
            }
        };
        endpoints(mesh.cluster, "openclaw", "openclaw-gateway", &[("http", PORT)], "openclaw-0", "openclaw");
        let other = mesh.run(
            "other",
            &json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "other", "namespace": "elsewhere", "labels": {"app": "other"}},
                "spec": {"serviceAccountName": "default", "containers": [{"name": "other", "image": "none"}]},
            }),
        );
        Self { mesh, edge, guard, ingress, openclaw, other, echo: None }
    }

    /// Runs an echo server instead of the OpenClaw Gateway, until the work is done.
    pub fn with_echo(&mut self, work: impl FnOnce(&Self)) {
        self.echo = Some(Running::start(self.mesh.cluster, "openclaw", self.bind()));
        let nick = self.bearer(NICK);
        settles("a user to get through", &admitted(NICK), || self.ask("/v1/models", &[("authorization", &nick)]));
        work(self);
        self.echo = None;
    }

    /// Where the OpenClaw Gateway listens.
    fn bind(&self) -> [u8; 4] {
        match self.guard {
            Guard::Sidecar => [127, 0, 0, 1],
            Guard::Waypoint => [0, 0, 0, 0],
        }
    }

    /// Runs a real OpenClaw Gateway with the `gateway` block of the guard's policy, until the work is done.
    pub fn with_gateway(&self, work: impl FnOnce(&Self, &mut Gateway)) {
        let documents = manifests::read(self.guard.manifest());
        let mut block = of_kind(&documents, "WasmPlugin")["spec"]["pluginConfig"]["gateway"].clone();
        block["bind"] = json!(if self.guard == Guard::Sidecar { "loopback" } else { "lan" });
        block["port"] = json!(PORT);
        self.mesh.cluster.network.enter("openclaw");
        let mut gateway = Gateway::start(&block, &Options::default());
        self.mesh.cluster.network.enter("kubernetes");
        work(self, &mut gateway);
    }

    /// The token of a signed-in user, as a header.
    pub fn bearer(&self, user: &str) -> String {
        format!("Bearer {}", self.token(user))
    }

    pub fn token(&self, user: &str) -> String {
        let claims = json!({"iss": "https://id.example.com", "aud": "openclaw", "sub": "1", "email": user});
        self.mesh.key.sign(&jwt::for_an_hour(claims))
    }

    /// A request of a browser through the ingress gateway.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        self.ask_at(self.ingress.address(), path, headers)
    }

    /// A request of a browser through an ingress gateway.
    pub fn ask_at(&self, ingress: IpAddr, path: &str, headers: &[(&str, &str)]) -> Outcome {
        let all = [&[("host", "claw.example.com")], headers].concat();
        steady(|| self.open(ingress).map_or(Outcome::Nothing, |connection| exchange(connection, path, &all)))
    }

    /// A plain request and a WebSocket, which must have the same result.
    pub fn ask_both(&self, headers: &[(&str, &str)]) -> Outcome {
        alike(headers, |path, headers| self.ask(path, headers))
    }

    /// A connection of a browser to an ingress gateway.
    pub fn open(&self, ingress: IpAddr) -> io::Result<Connection<impl Read + Write + use<>>> {
        let to = SocketAddr::new(ingress, 443);
        let stream = self.mesh.cluster.network.on("browser", || wire::open(to))?;
        Ok(Connection::new(wire::tls_over(stream, "claw.example.com", &self.mesh.certificate, &["http/1.1"])?))
    }

    /// A request of another workload of the mesh to the Service. Its own sidecar makes it mutual TLS; to a waypoint, it
    /// comes by a tunnel, as from a ztunnel.
    pub fn other_asks(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        match self.guard {
            Guard::Sidecar => self.plain("other", self.service("openclaw-gateway"), SERVICE, path, headers),
            Guard::Waypoint => self.peer(OTHER).ask(path, headers),
        }
    }

    /// The address and the port of a Service.
    pub fn service(&self, name: &str) -> SocketAddr {
        let service = self.mesh.cluster.api.object("service", "openclaw", name);
        SocketAddr::new(service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), PORT)
    }

    /// Like [`World::other_asks`], as a request and as a WebSocket.
    pub fn other_asks_both(&self, headers: &[(&str, &str)]) -> Outcome {
        alike(headers, |path, headers| self.other_asks(path, headers))
    }

    /// A plain request from a host to an address.
    pub fn plain(&self, from: &str, to: SocketAddr, host: &str, path: &str, headers: &[(&str, &str)]) -> Outcome {
        let all = [&[("host", host)], headers].concat();
        steady(|| {
            let opened = self.mesh.cluster.network.on(from, || wire::open(to));
            opened.map_or(Outcome::Nothing, |stream: TcpStream| exchange(Connection::new(stream), path, &all))
        })
    }

    /// A plain request from a host outside of the mesh to the pod itself.
    pub fn outside_asks(&self, port: u16, path: &str, headers: &[(&str, &str)]) -> Outcome {
        self.plain("browser", SocketAddr::new(self.openclaw.address(), port), "claw.example.com", path, headers)
    }

    /// Merges into an object.
    pub fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) {
        let patch = patch.to_string();
        self.mesh.cluster.api.must(&["patch", kind, name, "--namespace", namespace, "--type=merge", "--patch", &patch]);
    }

    /// Merges into the policy of the filter in a namespace.
    pub fn edit(&self, namespace: &str, policy: &Value) {
        self.edit_module(namespace, &json!({"pluginConfig": policy}));
    }

    /// Merges into the settings of the module in a namespace.
    pub fn edit_module(&self, namespace: &str, settings: &Value) {
        self.patch(self.edge.kind(), namespace, "openclaw-trusted-proxy", &self.edge.plugin(settings));
    }

    /// Deletes the plugin in a namespace.
    pub fn delete_plugin(&self, namespace: &str) {
        self.delete(self.edge.kind(), namespace, "openclaw-trusted-proxy");
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.mesh.cluster.api.must(&["delete", kind, name, "--namespace", namespace]);
    }

    /// The manifests of the guard and of the ingress gateway.
    pub fn manifests(&self) -> [String; 2] {
        [self.guard.manifest(), self.edge.manifest()].map(|path| self.edge.form(path))
    }

    /// Applies the manifests, over whatever has changed.
    pub fn apply(&self) {
        for path in self.manifests() {
            let text = self.mesh.manifest(&path, &self.mesh.digests[0]);
            // The first brings back what was deleted, the second what was edited.
            for verb in ["apply", "replace"] {
                self.mesh.cluster.api.must_with(&[verb, "--filename", "-"], &text);
            }
        }
    }

    /// Brings the manifests back, and waits until all that a test takes away is in force again.
    pub fn restore(&self) {
        self.apply();
        let (nick, eve) = (self.bearer(NICK), self.bearer(super::EVE));
        let named = ("x-openclaw-user", NICK);
        let certificate = refused("trusted_proxy_peer_certificate");
        settles("the guard's filter", &certificate, || self.other_asks("/v1/models", &[named]));
        // For a pod without a sidecar, STRICT is its ztunnel's work.
        if self.guard == Guard::Sidecar {
            settles("STRICT", &Outcome::Nothing, || self.outside_asks(PORT, "/healthz", &[]));
        }
        let eves = [("authorization", eve.as_str()), named];
        let stranger = refused("trusted_proxy_user_not_allowed");
        settles("the ingress gateway's filter", &stranger, || self.ask("/v1/models", &eves));
        settles("a user to get through", &admitted(NICK), || self.ask("/v1/models", &[("authorization", &nick)]));
    }
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream received it, as this user; `None` for a path that does not need one.
    Admitted(Option<String>),
    /// The filter refused it.
    Refused(String),
    /// Another part of Envoy answered, or the OpenClaw Gateway.
    Status(u16),
    /// The connection ended without an answer, or was not accepted.
    Nothing,
}

pub fn admitted(user: &str) -> Outcome {
    Outcome::Admitted(Some(user.to_owned()))
}

pub fn refused(reason: &str) -> Outcome {
    Outcome::Refused(reason.to_owned())
}

/// Waits for an outcome.
pub fn settles(what: &str, expected: &Outcome, mut ask: impl FnMut() -> Outcome) {
    let mut last = Outcome::Nothing;
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(what, || {
            last = ask();
            last == *expected
        });
    }));
    assert!(done.is_ok(), "{what}: {last:?} instead of {expected:?}");
}

pub const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The outcome of a request and of a WebSocket, which must be the same. Both are asked again for a moment if not: an
/// Envoy whose listener has just changed goes on to serve the connections that another Envoy keeps.
pub fn alike(headers: &[(&str, &str)], ask: impl Fn(&str, &[(&str, &str)]) -> Outcome) -> Outcome {
    let both = || (ask("/v1/models", headers), ask("/", &[headers, &UPGRADE].concat()));
    let again = (0..50).map(|_| thread::sleep(Duration::from_millis(100))).map(|()| both());
    let alike = std::iter::once(both()).chain(again).find(|(request, socket)| request == socket);
    alike.unwrap_or_else(|| panic!("a request and a WebSocket with {headers:?} differ: {:?}", both())).0
}

/// The outcome of a request, or of a later one while Envoy answers 503: an Envoy whose listener has just changed closes
/// the connections that another Envoy keeps for the next request.
pub fn steady(ask: impl Fn() -> Outcome) -> Outcome {
    let unavailable = Outcome::Status(503);
    let again = (0..20).map(|_| thread::sleep(Duration::from_millis(100))).map(|()| ask());
    std::iter::once(ask()).chain(again).find(|outcome| *outcome != unavailable).unwrap_or(unavailable)
}

/// What comes of a request on a connection.
pub fn exchange<S: Read + Write>(mut connection: Connection<S>, path: &str, headers: &[(&str, &str)]) -> Outcome {
    if connection.send(&wire::request("GET", path, headers)).is_err() {
        return Outcome::Nothing;
    }
    let Ok(response) = connection.response("GET") else { return Outcome::Nothing };
    let user_of = |json: &Value| {
        let users = users(&echo::received(json));
        assert!(users.len() < 2, "{json}");
        Outcome::Admitted(users.into_iter().next())
    };
    match response.status {
        200 if !echo::answer(&response)["headers"].is_null() => user_of(&response.json()),
        101 => match wire::first_message(connection) {
            wire::First::Text(text) => user_of(&serde_json::from_str(&text).unwrap()),
            wire::First::Close(code, reason) => {
                assert_eq!(code, 1008, "{reason}");
                refused(reason.rsplit(": ").next().unwrap())
            }
        },
        status => match response.json()["error"]["reason"].as_str() {
            Some(reason) => refused(reason),
            None => Outcome::Status(status),
        },
    }
}

/// Runs the commands at the beginning of the page, word for word.
fn apply_as_the_page_says(mesh: &Mesh<'_>, edge: Edge, guard: Guard) {
    let mut lines = lines_of(document::beginning(&document::page("docs/istio.md")));
    let check = lines.find("openclaw-trusted-proxy check").expect("the page checks first");
    assert!(check < lines.find("kubectl apply").expect("the page applies"), "{lines}");
    // The page says to use these instead.
    let [guarding, ingress] = [guard.manifest(), edge.manifest()].map(|path| edge.form(path));
    for (given, instead) in [(INGRESS, &*ingress), (SIDECAR, &guarding), (Guard::Sidecar.mode(), guard.mode())] {
        assert!(lines.contains(given), "{given}");
        lines = lines.replace(given, instead);
    }
    run(mesh, &[guarding, ingress], &lines);
}

/// Runs the commands of a section of the page, word for word, where these manifests are.
pub fn run_the_section(mesh: &Mesh<'_>, title: &str, manifests: &[String]) {
    let page = document::page("docs/istio.md");
    let (_, section) = page.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    run(mesh, manifests, &lines_of(section.split("\n## ").next().unwrap_or(section)));
}

/// Runs commands in a folder with these manifests of the repository, and the operator's own files.
fn run(mesh: &Mesh<'_>, manifests: &[String], lines: &str) {
    let folder = Scratch::new("page");
    for path in manifests {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), mesh.manifest(path, &mesh.digests[0])).unwrap();
    }
    let tls = mesh.cluster.folder("tls");
    for (ours, theirs) in [("cert.pem", "claw.pem"), ("key.pem", "claw.key")] {
        fs::copy(tls.join(ours), folder.path().join(theirs)).unwrap();
    }
    let [kubectl, _] = kubectls();
    let done = mesh.cluster.api.run(&kubectl, folder.path(), lines);
    done.unwrap_or_else(|said| panic!("{lines}\n{said}"));
}

/// The commands of a part of a page.
fn lines_of(part: &str) -> String {
    document::commands(part).into_iter().map(|command| command.line + "\n").collect()
}

/// A Service for the pods of an application.
pub fn service(name: &str, application: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "openclaw"},
        "spec": {
            "selector": {"app": application}, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}],
        },
    })
}

/// Labels the Service as the page says, and runs the waypoint that istiod deploys.
fn run_waypoint<'c>(mesh: &'c Mesh<'c>) -> Workload<'c> {
    let api = &mesh.cluster.api;
    run_the_section(mesh, "Ambient mode", &[]);
    eventually("istiod to deploy the waypoint", || !api.object("deployment", "openclaw", "waypoint").is_null());
    let made = api.object("deployment", "openclaw", "waypoint");
    let waypoint = mesh.run("waypoint", &pod_of(&made["spec"]["template"], "openclaw", "waypoint-0"));
    endpoints(mesh.cluster, "openclaw", "waypoint", &[("mesh", TUNNEL)], "waypoint-0", "waypoint");
    waypoint
}

/// A pod of the OpenClaw Gateway, with these annotations. Its probe is the one that Istio rewrites.
pub fn openclaw_pod(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "openclaw", "labels": {"app": "openclaw-gateway"}, "annotations": annotations,
        },
        "spec": {"serviceAccountName": "openclaw-gateway", "containers": [{
            "name": "gateway", "image": "openclaw", "ports": [{"containerPort": PORT}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}},
        }]},
    })
}

/// The annotation of docs/observability.md.
fn more_statistics() -> Value {
    let page = document::page("docs/observability.md");
    let (_, rest) = page.split_once("`proxy.istio.io/config: '").expect("the page has the annotation");
    let (value, _) = rest.split_once("'`").expect("the annotation ends");
    json!({"proxy.istio.io/config": value})
}

/// A pod of the ingress gateway, as Istio's chart `gateway` writes it.
pub fn ingress_pod(name: &str, annotations: &Value) -> Value {
    let mut all = json!({"inject.istio.io/templates": "gateway"});
    lay(&mut all, annotations);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "openclaw-ingress", "annotations": all,
            "labels": {"istio": "openclaw-ingress", "sidecar.istio.io/inject": "true"},
        },
        "spec": {"serviceAccountName": "openclaw-ingress", "containers": [{"name": "istio-proxy", "image": "auto"}]},
    })
}

/// What Istio's chart `gateway` gives to its service account.
fn may_read_secrets() -> [Value; 2] {
    let metadata = json!({"name": "openclaw-ingress", "namespace": "openclaw-ingress"});
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "openclaw-ingress"},
            "subjects": [{"kind": "ServiceAccount", "name": "openclaw-ingress"}],
        }),
    ]
}
