//! A real Istio: istiod from its own chart, and its agents with Envoys in the pods that its injection makes.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::kubelet::{Pod, pod_of};
use super::{Cluster, helm};
use crate::daemon::Daemon;
use crate::envoy::{self, Envoy, eventually, root};
use crate::jwt::{self, Key};
use crate::kube::part;
use crate::parts;
use crate::pki::Authority;
use crate::registry::Registry;
use crate::tool;
use crate::wire::{self, Response};

const BUILT: &str = "run `make cluster-parts`, which builds it";
/// The template of Envoy's bootstrap, among the files of the images.
const BOOTSTRAP: &str = "envoy_bootstrap.json";
/// Istio's own namespace.
const SYSTEM: &str = "istio-system";
/// The registry and the provider of the manifests, and the API server and istiod, as everybody calls them.
const NAMES: [(&str, &str); 4] = [
    ("kubernetes.default.svc", "10.44.0.1"),
    ("istiod.istio-system.svc", "10.44.0.2"),
    ("registry.example.com", "10.44.0.3"),
    ("id.example.com", "10.44.0.4"),
];

/// The pods' hosts, and the hosts outside of the cluster.
pub const HOSTS: [(&str, &[&str]); 11] = [
    ("istiod", &["10.44.0.2/16"]),
    ("registry", &["10.44.0.3/16"]),
    ("provider", &["10.44.0.4/16"]),
    ("ingress", &["10.44.1.1/16"]),
    ("openclaw", &["10.44.1.2/16"]),
    ("other", &["10.44.1.3/16"]),
    ("elsewhere", &["10.44.1.4/16"]),
    ("waypoint", &["10.44.1.5/16"]),
    ("neighbour", &["10.44.1.6/16"]),
    ("browser", &["198.51.100.7/24"]),
    ("balancer", &["10.44.2.1/16"]),
];

/// The address of one of the [`HOSTS`].
///
/// # Panics
/// If there is no such host.
pub fn address_of(host: &str) -> IpAddr {
    let (_, addresses) = HOSTS.iter().find(|(name, _)| *name == host).unwrap_or_else(|| panic!("no host {host}"));
    addresses[0].split('/').next().and_then(|address| address.parse().ok()).expect("an address")
}

/// A cluster with the [`HOSTS`], for [`Mesh::start`].
///
/// # Panics
/// Like [`Cluster::start`].
pub fn cluster() -> Cluster {
    Cluster::start(&HOSTS, &NAMES)
}

/// The profile of Istio's charts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Default,
    Ambient,
}

/// istiod, a registry with the module, and an OpenID provider's keys.
pub struct Mesh<'c> {
    /// The cluster.
    pub cluster: &'c Cluster,
    /// What signs the workloads' certificates, as istiod has it.
    pub authority: Authority,
    /// The provider's key.
    pub key: Key,
    /// The digests of two modules, which differ in bytes that change nothing.
    pub digests: [String; 2],
    /// The certificate of claw.example.com.
    pub certificate: Vec<u8>,
    istiod: Daemon,
    _registry: Registry,
    _provider: Envoy,
}

impl<'c> Mesh<'c> {
    /// Installs Istio with its chart, and waits until istiod injects and validates. Starts the registry and the
    /// provider. All of it ends with the calling thread.
    ///
    /// # Panics
    /// If a part is missing; the message says what to do. If it does not start.
    pub fn start(cluster: &'c Cluster) -> Self {
        Self::install(cluster, Profile::Default)
    }

    /// Like [`Mesh::start`], for ambient mode. There is no ztunnel, which is not a Go program, and no CNI plugin.
    ///
    /// # Panics
    /// Like [`Mesh::start`].
    pub fn ambient(cluster: &'c Cluster) -> Self {
        Self::install(cluster, Profile::Ambient)
    }

    fn install(cluster: &'c Cluster, profile: Profile) -> Self {
        let key = Key::rs256("login");
        cluster.network.enter("provider");
        let _provider = start_provider(cluster, &jwt::jwks([&key]));
        cluster.network.enter("registry");
        let (_registry, digests) = start_registry(cluster);

        // What the images have as the authorities of the internet.
        let certificates = [cluster.folder("provider").join("cert.pem"), _registry.certificate()];
        let authorities = certificates.map(|file| fs::read_to_string(file).expect("the certificate was just made"));
        fs::write(cluster.folder("image").join("authorities.pem"), authorities.concat())
            .expect("the folder can be written to");

        write_bootstrap(cluster);

        cluster.network.enter("kubernetes");
        cluster.namespace(SYSTEM, &json!({}));
        let authority = Authority::new(&cluster.folder("authority"), "mesh");
        cluster.api.apply_all(&[of_ones_own(&authority)]);
        cluster.api.apply(&chart(cluster, profile));
        let template = cluster.api.object("deployment", SYSTEM, "istiod")["spec"]["template"].clone();
        let pod = pod_of(&template, SYSTEM, "istiod-0");
        cluster.pod(&pod, address_of("istiod"));
        let pod = Pod::new(cluster, SYSTEM, "istiod-0", &image(cluster));
        let ports = [("https-dns", 15012), ("https-webhook", 15017), ("grpc-xds", 15010), ("http-monitoring", 15014)];
        endpoints(cluster, SYSTEM, "istiod", &ports, "istiod-0", "istiod");
        cluster.network.enter("istiod");
        let istiod = Daemon::start(&mut pod.command("discovery", "/usr/local/bin/pilot-discovery"), BUILT);
        cluster.network.enter("kubernetes");

        let tls = cluster.folder("tls");
        envoy::certificate(&tls, &["claw.example.com"]).unwrap_or_else(|problem| panic!("{problem}"));
        let certificate = fs::read(tls.join("cert.pem")).expect("the certificate was just made");
        let this = Self { cluster, authority, key, digests, certificate, istiod, _registry, _provider };
        // istiod writes its authority into the webhooks, and then makes them strict.
        eventually("istiod to validate", || {
            let configured = cluster.api.must(&["get", "validatingwebhookconfiguration", "-o", "json"]);
            let configured: Value = serde_json::from_str(&configured).unwrap_or_default();
            let items = configured["items"].as_array().into_iter().flatten();
            let webhooks: Vec<&Value> = items.flat_map(|item| item["webhooks"].as_array()).flatten().collect();
            !webhooks.is_empty() && webhooks.iter().all(|one| one["failurePolicy"] == "Fail")
        });
        eventually("istiod to inject", || {
            let configured = cluster.api.object("mutatingwebhookconfiguration", SYSTEM, "istio-sidecar-injector");
            configured["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        });
        if profile == Profile::Ambient {
            cluster.api.apply_all(&without_istios_own_filters());
        }
        this
    }

    /// A file of the repository with a digest of the module.
    ///
    /// # Panics
    /// If it cannot be read, or names no digest.
    pub fn manifest(&self, path: &str, digest: &str) -> String {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let placeholder = format!("sha256:{}", "0".repeat(64));
        assert!(text.contains(&placeholder), "{path} has no placeholder for the digest");
        text.replace(&placeholder, digest)
    }

    /// Creates a namespace, and waits until istiod has put its authority there.
    pub fn namespace(&self, name: &str, labels: &Value) {
        self.cluster.namespace(name, labels);
        self.trusts(name);
    }

    /// Waits until istiod has put its authority into a namespace.
    pub fn trusts(&self, namespace: &str) {
        eventually("istiod's authority in the namespace", || {
            !self.cluster.api.object("configmap", namespace, "istio-ca-root-cert").is_null()
        });
    }

    /// Creates a pod on a host, as injection changes it, and runs istio-init and istio-proxy, with the arguments,
    /// environments and users that it gives them.
    ///
    /// # Panics
    /// If the pod is not injected, or is not ready in time.
    pub fn run(&self, host: &'static str, pod: &Value) -> Workload<'c> {
        let workload = self.begin(host, pod);
        eventually("the pod to be ready", || workload.is_ready());
        workload
    }

    /// Like [`Mesh::run`], without waiting until it is ready.
    ///
    /// # Panics
    /// If the pod is not injected.
    pub fn begin(&self, host: &'static str, pod: &Value) -> Workload<'c> {
        let cluster = self.cluster;
        let text = |key: &str| pod["metadata"][key].as_str().expect("a name and a namespace");
        cluster.pod(pod, address_of(host));
        let pod = Pod::new(cluster, text("namespace"), text("name"), &image(cluster));
        cluster.network.enter(host);
        for setting in pod.object["spec"]["securityContext"]["sysctls"].as_array().into_iter().flatten() {
            let (name, value) = (setting["name"].as_str().unwrap(), setting["value"].as_str().unwrap());
            let file = format!("/proc/sys/{}", name.replace('.', "/"));
            fs::write(&file, value).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        let starters = pod.object["spec"]["initContainers"].as_array().into_iter().flatten();
        if starters.into_iter().any(|one| one["name"] == "istio-init") {
            let Output { status, stdout, stderr } = agent(&pod, "istio-init").output().expect("a shell");
            let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            assert!(status.success(), "istio-init: {said}");
        }
        let agent = Daemon::start(&mut agent(&pod, "istio-proxy"), BUILT);
        cluster.network.enter("kubernetes");
        Workload { host, pod, agent }
    }

    /// What istiod said.
    pub fn said(&self) -> Vec<String> {
        self.istiod.lines()
    }
}

fn agent(pod: &Pod<'_>, container: &str) -> Command {
    pod.command(container, "/usr/local/bin/pilot-agent")
}

/// A pod with an agent and an Envoy.
pub struct Workload<'c> {
    host: &'static str,
    /// The pod.
    pub pod: Pod<'c>,
    agent: Daemon,
}

impl Workload<'_> {
    /// Its address.
    pub fn address(&self) -> IpAddr {
        address_of(self.host)
    }

    /// Its host.
    pub fn host(&self) -> &'static str {
        self.host
    }

    /// What its agent and its Envoy said: the log of `istio-proxy`, with the access log.
    pub fn log(&self) -> Vec<String> {
        self.agent.lines()
    }

    /// What the kubelet would ask: the readiness probe of istio-proxy.
    pub fn is_ready(&self) -> bool {
        let probe = &self.pod.container("istio-proxy")["readinessProbe"]["httpGet"];
        let (port, path) = (probe["port"].as_u64().expect("a port"), probe["path"].as_str().expect("a path"));
        let port = u16::try_from(port).expect("a port");
        wire::get::<&str, &str>(SocketAddr::new(self.address(), port), path, &[]).is_ok_and(|seen| seen.status == 200)
    }

    /// Envoy's administration, which only its own pod reaches.
    ///
    /// # Panics
    /// If Envoy does not answer.
    pub fn admin(&self, path: &str) -> String {
        self.pod.cluster().on_loopback(self.host, 15000, path)
    }

    /// Asks a port of the pod from the API server's host.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn get(&self, port: u16, path: &str) -> std::io::Result<Response> {
        wire::get::<&str, &str>(SocketAddr::new(self.address(), port), path, &[])
    }
}

/// The endpoints of a service, one pod, as Kubernetes' own controller would write them.
pub fn endpoints(
    cluster: &Cluster,
    namespace: &str,
    service: &str,
    ports: &[(&str, u16)],
    pod: &str,
    host: &'static str,
) {
    let ports: Vec<Value> =
        ports.iter().map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"})).collect();
    cluster.api.apply_all(&[json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
        "metadata": {"name": service, "namespace": namespace, "labels": {
            "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "test",
        }},
        "endpoints": [{
            "addresses": [address_of(host)], "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace},
        }],
    })]);
}

/// The Secret from which istiod takes an authority, instead of making one. So a test can sign certificates too.
fn of_ones_own(authority: &Authority) -> Value {
    let certificate = fs::read_to_string(authority.file()).expect("the certificate was just made");
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": SYSTEM},
        "stringData": {
            "ca-cert.pem": certificate, "ca-key.pem": authority.key(),
            "root-cert.pem": certificate, "cert-chain.pem": certificate,
        },
    })
}

/// Removes the HTTP filters at the ends of tunnels that only Istio's own Envoy has. They serve metrics.
fn without_istios_own_filters() -> [Value; 2] {
    let names = ["waypoint_downstream_peer_metadata", "waypoint_upstream_peer_metadata"];
    let patches = names.map(|name| {
        let manager = "envoy.filters.network.http_connection_manager";
        let place = json!({"filterChain": {"filter": {"name": manager, "subFilter": {"name": name}}}});
        json!({
            "applyTo": "HTTP_FILTER", "match": {"context": "SIDECAR_INBOUND", "listener": place},
            "patch": {"operation": "REMOVE"},
        })
    });
    let filter = |name: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
            "metadata": {"name": name, "namespace": SYSTEM}, "spec": {"configPatches": patches},
        })
    };
    let (sidecars, mut waypoints) = (filter("sidecars"), filter("waypoints"));
    let class = json!({"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"});
    waypoints["spec"]["targetRefs"] = json!([class]);
    [sidecars, waypoints]
}

/// The agent's template of Envoy's bootstrap, without an extension that only Istio's own Envoy has.
fn write_bootstrap(cluster: &Cluster) {
    let text = fs::read_to_string(part("istio/envoy_bootstrap.json")).expect("make copied it");
    let condition = "{{- if .metadata_discovery }}";
    assert!(text.contains(condition), "the bootstrap has no {condition}");
    let without = text.replace(condition, "{{- if false }}");
    fs::write(cluster.folder("image").join(BOOTSTRAP), without).expect("the folder can be written to");
}

/// Istio's charts, as `helm template` writes them.
fn chart(cluster: &Cluster, profile: Profile) -> String {
    let mut values = json!({
        // An ordinary Envoy has none of Istio's own extensions: these settings keep istiod from configuring them.
        "env": {
            "PILOT_ENABLE_ALPN_FILTER": "false",
            "PILOT_ENABLE_METADATA_EXCHANGE": "false",
            "PILOT_ENABLE_TELEMETRY_LABEL": "false",
            "PILOT_ENDPOINT_TELEMETRY_LABEL": "false",
            // Nothing asks for a cloud's metadata.
            "CLOUD_PLATFORM": "none",
        },
        "telemetry": {"enabled": false},
        "meshConfig": {
            "enableTracing": false,
            "accessLogFile": "/dev/stdout",
            "pathNormalization": {"normalization": "MERGE_SLASHES"},
            "defaultConfig": {
                "concurrency": 1,
                "proxyMetadata": {"CLOUD_PLATFORM": "none"},
            },
        },
    });
    if profile == Profile::Ambient {
        values["profile"] = json!("ambient");
        // For a newer proxy, istiod writes filter states in a form that only Istio's own Envoy knows.
        values["meshConfig"]["defaultConfig"]["proxyMetadata"]["ISTIO_META_ISTIO_VERSION"] = json!("1.29.1");
    }
    let folder = cluster.folder("helm");
    let file = folder.join("values.json");
    fs::write(&file, values.to_string()).expect("the folder can be written to");
    let shared = root().join("envoy/observability/istiod-values.yaml");
    // The custom resources of the chart `base` are there already. Its webhook is the one that validates objects without
    // a revision, such as the manifests of this project.
    let webhook = ["--show-only", "templates/defaultrevision-validatingwebhookconfiguration.yaml"];
    let base = template(&folder, "istio/base", &webhook.map(OsStr::new));
    let files = [OsStr::new("--values"), shared.as_os_str(), OsStr::new("--values"), file.as_os_str()];
    base + "\n---\n" + &template(&folder, "istio/istio-control/istio-discovery", &files)
}

/// What one of Istio's charts writes.
fn template(folder: &Path, chart: &str, arguments: &[&OsStr]) -> String {
    let version = ["--kube-version", "1.36.3"].map(OsStr::new);
    helm("istio", &part(chart), SYSTEM, folder, &[&version, arguments].concat())
}

/// Istio's programs, and the Envoy of the tests where Istio has its own.
fn image(cluster: &Cluster) -> Vec<(PathBuf, &'static str)> {
    vec![
        (part("istio/pilot-discovery"), "/usr/local/bin/pilot-discovery"),
        (part("istio/pilot-agent"), "/usr/local/bin/pilot-agent"),
        (envoy::binary().unwrap_or_else(|problem| panic!("{problem}")), "/usr/local/bin/envoy"),
        (cluster.folder("image").join(BOOTSTRAP), "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"),
        (cluster.folder("image").join("authorities.pem"), "/etc/ssl/certs/ca-certificates.crt"),
    ]
}

/// An OpenID provider, as far as istiod needs one: the keys at `/keys`, over TLS.
fn start_provider(cluster: &Cluster, keys: &Value) -> Envoy {
    let folder = cluster.folder("provider");
    envoy::certificate(&folder, &["id.example.com"]).unwrap_or_else(|problem| panic!("{problem}"));
    let answer = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
        "match": {"path": "/keys"}, "direct_response": {"status": 200, "body": {"inline_string": keys.to_string()}},
    }]}]});
    let manager = parts::manager("provider", Vec::new(), &json!({"route_config": answer}));
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| parts::file(&folder.join(name)));
    let tls = parts::typed(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": {"tls_certificates": [{"certificate_chain": certificate, "private_key": key}]}}),
    );
    let mut listener = parts::listener("provider", vec![manager], json!({"transport_socket": tls}));
    listener["address"] = parts::socket(SocketAddr::new(address_of("provider"), 443));
    Envoy::start(&parts::bootstrap(vec![listener], Vec::new()).to_string())
}

/// A registry, and the digests of the two modules in it.
fn start_registry(cluster: &Cluster) -> (Registry, [String; 2]) {
    let registry = Registry::start(SocketAddr::new(address_of("registry"), 443), "registry.example.com");
    // The same module with an empty custom section: other bytes, and another digest.
    let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
    let other = cluster.folder("registry").join("other.wasm");
    let bytes = [fs::read(&module).expect("the module"), b"\x00\x06\x05other".to_vec()].concat();
    fs::write(&other, bytes).expect("the folder can be written to");
    let bill = other.with_extension("cdx.json");
    let written = Command::new(tool::built("sbom")).args([&other, &bill]).current_dir(root()).output();
    assert!(written.is_ok_and(|output| output.status.success()), "no bill of materials of {}", other.display());
    let digests = [registry.digest().to_owned(), registry.push(&other, &bill)];
    assert_ne!(digests[0], digests[1]);
    (registry, digests)
}
