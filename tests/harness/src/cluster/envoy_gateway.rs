//! Envoy Gateway on a [`Cluster`]: its chart, its controller, and the Envoy that it asks for. Around it are a registry
//! with the module, and an OpenID provider.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::kubelet::{Pod, pod_of};
use super::{Cluster, KUBERNETES, helm};
use crate::daemon::Daemon;
use crate::envoy::{self, eventually};
use crate::kube::part;
use crate::openid::{self, Provider};
use crate::registry::Registry;
use crate::{tool, wire};

/// The namespace of Envoy Gateway and its Envoys.
pub const NAMESPACE: &str = "envoy-gateway-system";
/// The address of the Envoy that Envoy Gateway asks for.
pub const ENVOY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The address of the pod behind Envoy.
pub const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

const CONTROLLER: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 2);
const REGISTRY: (&str, Ipv4Addr) = ("registry.example.com", Ipv4Addr::new(10, 44, 0, 3));
/// The version of the chart, which only names images here.
const IMAGE: &str = "docker.io/envoyproxy/gateway:v1.9.0";
/// Where images have the certificates that the system trusts.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A cluster with Envoy Gateway. Its hosts are `controller`, `envoy`, `gateway`, `registry`, `provider` and `browser`.
pub struct EnvoyGateway {
    // Dropped in this order: from the front to the back.
    envoy: Option<Daemon>,
    _controller: Daemon,
    /// The provider that the manifest in `envoy/envoy-gateway` names.
    pub provider: Provider,
    /// The registry that the manifest names.
    pub registry: Registry,
    /// The cluster.
    pub cluster: Cluster,
}

impl EnvoyGateway {
    /// Starts everything except an Envoy: Envoy Gateway asks for one when there is a Gateway. The calling thread, which
    /// the servers end with, is moved to other hosts.
    ///
    /// # Panics
    /// If the caller is not root, or a part is missing; the message says what to do.
    pub fn start() -> Self {
        // Cargo may have to download something, which no host of the cluster can.
        tool::built("image");
        let text = |address: Ipv4Addr| address.to_string();
        let names = [
            ("kubernetes.default.svc", text(KUBERNETES.1)),
            ("envoy-gateway.envoy-gateway-system.svc.cluster.local", text(CONTROLLER)),
            // As Envoy's bootstrap has it.
            ("envoy-gateway.envoy-gateway-system.svc.cluster.local.", text(CONTROLLER)),
            (REGISTRY.0, text(REGISTRY.1)),
            (openid::NAME, openid::ADDRESS.to_owned()),
        ];
        let (controller, registry) = (format!("{CONTROLLER}/16"), format!("{}/16", REGISTRY.1));
        let (envoy, backend, provider) =
            (format!("{ENVOY}/24"), format!("{BACKEND}/24"), format!("{}/24", openid::ADDRESS));
        let hosts: [(&str, &[&str]); 6] = [
            ("controller", &[&controller]),
            ("registry", &[&registry]),
            ("envoy", &[&envoy]),
            ("gateway", &[&backend]),
            ("provider", &[&provider]),
            ("browser", &["198.51.100.7/24"]),
        ];
        let cluster = Cluster::start(&hosts, &names.each_ref().map(|(name, address)| (*name, address.as_str())));
        cluster.network.enter("registry");
        let registry = Registry::start(SocketAddr::new(REGISTRY.1.into(), 443), REGISTRY.0);
        // The paths of the provider in the manifest.
        let routes = json!({"authorization": "/authorize", "token": "/token", "jwks": "/keys"});
        let provider = Provider::start(&cluster.network, "client_secret_basic", 3600, &routes);
        cluster.namespace(NAMESPACE, &json!({}));
        cluster.api.apply(&chart(&cluster.folder("chart")));
        cluster.network.enter("controller");
        // The job creates the certificates of the controller and of its Envoys.
        let job = cluster.api.object("job", NAMESPACE, "eg-gateway-helm-certgen");
        let image =
            [(part("envoy-gateway/envoy-gateway"), "/usr/local/bin/envoy-gateway"), (registry.certificate(), BUNDLE)];
        let pod = run(&cluster, "certgen", &job["spec"]["template"], CONTROLLER, &image);
        let made = pod.command("envoy-gateway-certgen", "/usr/local/bin/envoy-gateway").arg("certgen").output();
        let made = made.expect("the job runs");
        assert!(made.status.success(), "certgen: {}", String::from_utf8_lossy(&made.stdout));
        let deployment = cluster.api.object("deployment", NAMESPACE, "envoy-gateway");
        let pod = run(&cluster, "envoy-gateway-0", &deployment["spec"]["template"], CONTROLLER, &image);
        let mut controller = Daemon::start(
            &mut pod.command("envoy-gateway", "/usr/local/bin/envoy-gateway"),
            "run `make cluster-parts`, which builds it",
        );
        controller.listens(SocketAddr::new(CONTROLLER.into(), 18000));
        // Everybody who installs Envoy Gateway creates this class: it is in its guide.
        cluster.api.apply_all(&[json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "eg"},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        })]);
        Self { envoy: None, _controller: controller, provider, registry, cluster }
    }

    /// Creates a Service without pods, and an EndpointSlice that sends it to this address.
    pub fn backend(&self, namespace: &str, name: &str, port: u16, to: SocketAddr) {
        self.cluster.api.apply_all(&[json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": [{"name": "http", "port": port, "targetPort": to.port()}]},
        })]);
        self.endpoint(&self.cluster.api.object("service", namespace, name), to);
    }

    /// Creates what a Service with this one pod gets from Kubernetes: an EndpointSlice with its labels.
    fn endpoint(&self, service: &Value, to: SocketAddr) {
        let metadata = &service["metadata"];
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "ports": [{"name": service["spec"]["ports"][0]["name"], "port": to.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": [to.ip()], "conditions": {"ready": true}}],
        });
        slice["metadata"]["labels"] = metadata["labels"].clone();
        slice["metadata"]["labels"]["kubernetes.io/service-name"] = metadata["name"].clone();
        self.cluster.api.apply_all(&[slice]);
    }

    /// Starts the Envoy that Envoy Gateway asks for, or a new one instead of the one that runs, and returns when it is
    /// ready as Kubernetes sees it. Then the Gateway has an address. Port 443 of Envoy's host leads to its listener, as
    /// the Service does.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_envoy(&mut self) {
        self.envoy = None;
        let of = |kind: &str| {
            let selected = ["--selector", "app.kubernetes.io/component=proxy", "--output", "json"];
            let found = [&["get", kind, "--namespace", NAMESPACE][..], &selected].concat();
            let found: Value = serde_json::from_str(&self.cluster.api.must(&found)).expect("JSON");
            found["items"][0].clone()
        };
        eventually("Envoy Gateway to ask for an Envoy", || !of("deployment").is_null() && !of("service").is_null());
        let (deployment, service) = (of("deployment"), of("service"));
        let name = |object: &Value| object["metadata"]["name"].as_str().expect("a name").to_owned();
        let binary = envoy::binary().unwrap_or_else(|problem| panic!("{problem}"));
        let image = [(binary, "/usr/local/bin/envoy"), (self.provider.certificate(), BUNDLE)];
        self.cluster.network.enter("envoy");
        let pod = run(&self.cluster, "envoy-0", &deployment["spec"]["template"], ENVOY, &image);
        let envoy = Daemon::start(&mut pod.command("envoy", "/usr/local/bin/envoy"), "run `make setup`");
        let [port] = service["spec"]["ports"].as_array().expect("ports").as_slice() else { panic!("{service}") };
        let number = |value: &Value| u16::try_from(value.as_u64().expect("a port")).expect("a port");
        let (from, to) = (number(&port["port"]), number(&port["targetPort"]));
        self.endpoint(&service, SocketAddr::new(ENVOY.into(), to));
        let (from, to) = (from.to_string(), to.to_string());
        let rule = ["PREROUTING", "--protocol", "tcp", "--dport", &from, "--jump", "REDIRECT", "--to-ports", &to];
        let mut tables = Command::new("iptables");
        let done = tables.args(["--table", "nat", "--append"]).args(rule).status();
        assert!(done.is_ok_and(|status| status.success()), "{tables:?} failed: apt-get install iptables");
        let count = json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1});
        self.cluster.api.put_status("deployment", NAMESPACE, &name(&deployment), &count);
        let balancer = json!({"loadBalancer": {"ingress": [{"ip": ENVOY}]}});
        self.cluster.api.put_status("service", NAMESPACE, &name(&service), &balancer);
        self.envoy = Some(envoy);
        let ready = SocketAddr::new(ENVOY.into(), 19003);
        eventually("Envoy", || {
            wire::get::<&str, &str>(ready, "/ready", &[]).is_ok_and(|response| response.status == 200)
        });
    }

    /// Envoy's output so far: its log, and the access log.
    pub fn envoy_lines(&self) -> Vec<String> {
        self.envoy.as_ref().map(Daemon::lines).unwrap_or_default()
    }

    /// What Prometheus would get from Envoy.
    ///
    /// # Panics
    /// If Envoy does not answer.
    pub fn metrics(&self) -> String {
        let address = SocketAddr::new(ENVOY.into(), 19001);
        wire::get::<&str, &str>(address, "/stats/prometheus", &[]).expect("Envoy answers").text()
    }
}

/// Creates a pod from a template, with these files in its image.
fn run<'c>(
    cluster: &'c Cluster,
    name: &str,
    template: &Value,
    address: Ipv4Addr,
    image: &[(PathBuf, &str)],
) -> Pod<'c> {
    cluster.pod(&pod_of(template, NAMESPACE, name), IpAddr::V4(address));
    Pod::new(cluster, NAMESPACE, name, image)
}

/// What Envoy Gateway's chart creates with its defaults, except that policies may have Lua, as other plugins of the
/// tests do.
fn chart(folder: &Path) -> String {
    let source = part("envoy-gateway/gateway-helm");
    let copied = Command::new("cp").args(["-r", "--"]).arg(source.join(".")).arg(folder).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy the chart to {}", folder.display());
    // A release fills in its own image.
    let values = fs::read_to_string(folder.join("values.tmpl.yaml")).expect("the chart has values");
    let values = values.replace("${GatewayImage}", IMAGE).replace("${GatewayImagePullPolicy}", "IfNotPresent");
    fs::write(folder.join("values.yaml"), values).expect("the folder can be written to");
    let lua = ["--set", "config.envoyGateway.extensionApis.enableLua=true"].map(OsStr::new);
    helm("eg", folder, NAMESPACE, folder, &lua)
}
