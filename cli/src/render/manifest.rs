//! The manifests in `envoy/istio/` and `envoy/envoy-gateway/`, with the operator's policy.

use serde_json::{Value, json};

use super::closed::{Closed, Front, close};
use super::policy::Plugin;
use super::template::Template;
use super::yaml::{block, word};
use super::{NotRendered, Proxies, Rendered, Rendering, Source};
use crate::output::Failure;

const INGRESS: &str = include_str!("../../../envoy/istio/ingress.yaml");
const GATEWAY_API: &str = include_str!("../../../envoy/istio/gateway-api.yaml");
const SIDECAR: &str = include_str!("../../../envoy/istio/sidecar.yaml");
const WAYPOINT: &str = include_str!("../../../envoy/istio/waypoint.yaml");
const ENVOY_GATEWAY: &str = include_str!("../../../envoy/envoy-gateway/gateway.yaml");
/// The filter state that the EnvoyFilter of the manifests writes.
const PEER: &str = "openclaw.peer";
/// The filter state in which Istio writes the verified peer of a tunnel.
const PEER_IN_TUNNEL: &str = "io.istio.peer_principal";
/// Placeholders in the manifests.
const HOST: &str = "claw.example.com";
const IMAGE: &str = "registry.example.com/openclaw-trusted-proxy@sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Debug, clap::Args)]
pub struct Istio {
    #[command(flatten)]
    pub(super) source: Source,
    #[command(flatten)]
    common: Common,
    /// Where the filter runs
    #[arg(long, value_enum, default_value_t, value_name = "WHERE")]
    placement: Placement,
    /// The API of Istio for the filter; TrafficExtension needs Istio 1.30
    #[arg(long, value_enum, default_value_t, value_name = "API")]
    api: Api,
    /// Strict-Transport-Security at the ingress gateway, in seconds: start with 300; use 31536000 (a year) once all
    /// works
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    hsts: u32,
}

#[derive(Debug, clap::Args)]
pub struct EnvoyGateway {
    #[command(flatten)]
    pub(super) source: Source,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    proxies: Proxies,
    /// The filter's OCI image, by digest and without oci://
    #[arg(long, value_name = "IMAGE@sha256:DIGEST")]
    image: Option<String>,
    /// The host name that browsers use
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Placement {
    /// An ingress gateway that signs people in
    #[default]
    Ingress,
    /// The same, created by the Gateway API
    GatewayApi,
    /// The sidecar of the Gateway's pod
    Sidecar,
    /// A waypoint in front of the Gateway's pod, in ambient mode
    Waypoint,
}

impl Placement {
    /// The path of the shipped file, and what it contains.
    const fn shipped(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingress => ("envoy/istio/ingress.yaml", INGRESS),
            Self::GatewayApi => ("envoy/istio/gateway-api.yaml", GATEWAY_API),
            Self::Sidecar => ("envoy/istio/sidecar.yaml", SIDECAR),
            Self::Waypoint => ("envoy/istio/waypoint.yaml", WAYPOINT),
        }
    }

    /// Whether browsers come to it.
    const fn is_ingress(self) -> bool {
        matches!(self, Self::Ingress | Self::GatewayApi)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Api {
    /// Every release has it
    #[default]
    #[value(name = "wasmplugin")]
    WasmPlugin,
    /// What Istio makes of a WasmPlugin since 1.30
    #[value(name = "trafficextension")]
    TrafficExtension,
}

/// Renders `envoy/istio/`.
pub fn istio(args: &Istio, mut plugin: Plugin) -> Result<Rendering, NotRendered> {
    let (path, text) = args.placement.shipped();
    let mut file = Template::new(path, text);
    let is_ingress = args.placement.is_ingress();
    let mut todo = Vec::new();
    if args.placement == Placement::Waypoint {
        need_identities(args, &mut plugin)?;
    }
    let front = args.common.front(&plugin, !is_ingress);
    let closed = close(&mut plugin, front, args.common.proxies.user_header.as_deref(), &mut todo)?;
    if text.contains(CLOSED_START) {
        put_closed(&mut file, args.placement, front, &closed)?;
        plugin.set("stampedFilterState", json!(true));
    }
    todo.append(&mut plugin.todo);
    if !is_ingress && plugin.has_filter && !plugin.filter.contains_key("webSocketRefusal") {
        // The ingress gateway's Envoy would turn a 101 with a close frame into a 502.
        plugin.set("webSocketRefusal", json!("http"));
    }
    let peer = (args.placement != Placement::Waypoint).then(|| json!({"filterState": PEER}));
    put_policy(&mut file, 4, &mut plugin, &args.common, peer)?;
    args.common.put_names(&mut file, is_ingress, &mut todo)?;
    if is_ingress {
        file.replace("max-age=300", &format!("max-age={}", args.hsts))?;
        todo.push(
            "replace id.example.com with your provider's address, and jwksUri with the address of its keys".to_owned(),
        );
    }
    todo.push(
        if args.placement == Placement::Waypoint {
            "make sure that the Gateway's trustedProxies has the waypoint's pods, that its bind is \"lan\", and that its \
             Service has the two labels"
        } else {
            "make sure that the Gateway's trustedProxies has its sidecar, 127.0.0.1 or 127.0.0.6: `render gateway --envoy \
             127.0.0.6` prints that block"
        }
        .to_owned(),
    );
    todo.push("check namespaces, labels and service accounts".to_owned());
    let text = match args.api {
        Api::WasmPlugin => file.into_text(),
        Api::TrafficExtension => file.into_traffic_extension()?,
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    Ok(Rendering { files: vec![Rendered { name, text }], todo, comment: "#" })
}

/// Reads the peers of a waypoint where Istio writes them. They have no address there.
fn need_identities(args: &Istio, plugin: &mut Plugin) -> Result<(), Failure> {
    if !args.common.proxies.addresses().is_empty() {
        let remedy = "name the peers by their identities, in filter.trustedPeers";
        return Err(Failure::new("--proxy", "is an address, and in a waypoint no peer has one", remedy));
    }
    if !plugin.has_filter && args.common.proxies.proxy.is_empty() {
        // What the manifest says stays.
        return Ok(());
    }
    if !plugin.filter.contains_key("trustedPeers") {
        let remedy = "name there who connects to the waypoint, such as \"spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress\"";
        return Err(Failure::new(
            "filter.trustedPeers",
            "is missing: a waypoint knows its peers by identity alone",
            remedy,
        ));
    }
    plugin.set("peerTrust", json!("certificate"));
    plugin.set("peerIdentity", json!([{"filterState": PEER_IN_TUNNEL}]));
    Ok(())
}

/// Renders `envoy/envoy-gateway/`.
pub fn envoy_gateway(args: &EnvoyGateway, mut plugin: Plugin) -> Result<Rendering, NotRendered> {
    let mut file = Template::new("envoy/envoy-gateway/gateway.yaml", ENVOY_GATEWAY);
    let mut todo = Vec::new();
    let front = args.common.front(&plugin, false);
    let closed = close(&mut plugin, front, args.common.proxies.user_header.as_deref(), &mut todo)?;
    file.replace("[x-openclaw-user, x-openclaw-scopes, x-forwarded-groups]", &closed.names())?;
    let user = word(&closed.user);
    file.replace_all("remove: [x-openclaw-user, x-openclaw-scopes]", &format!("remove: [{user}, x-openclaw-scopes]"))?;
    file.replace_all("{ name: x-openclaw-user, value:", &format!("{{ name: {user}, value:"))?;
    plugin.set("stampedFilterState", json!(true));
    todo.append(&mut plugin.todo);
    if plugin.header_with_underscores().is_some() {
        // The filter removes other spellings of every header that names a user.
        file.replace("withUnderscoresAction: RejectRequest", "withUnderscoresAction: Allow")?;
    }
    if front == Front::Proxy {
        file.replace("No client has a reason to send it, nor scopes or groups. Then only", "Then only")?;
        todo.push(
            "know that Envoy adds your proxy's address to X-Forwarded-For, so that all users are one client to the Gateway \
             (docs/envoy-gateway.md)"
                .to_owned(),
        );
    }
    put_policy(&mut file, 8, &mut plugin, &args.common, Some(json!("connection")))?;
    args.common.put_names(&mut file, true, &mut todo)?;
    todo.push("replace id.example.com with your provider's address, and its endpoints with your provider's".to_owned());
    todo.push(
        "make sure that the Gateway's trustedProxies has Envoy's pods, and that nothing else can reach its port"
            .to_owned(),
    );
    Ok(Rendering { files: vec![Rendered { name: "gateway.yaml", text: file.into_text() }], todo, comment: "#" })
}

/// Where the EnvoyFilter that keeps the Gateway closed without the filter starts, and what comes after it.
const CLOSED_START: &str = "# Closed without the filter: ";
const CLOSED_END: &str = "apiVersion: extensions.istio.io/v1alpha1";

/// Lets Envoy remove headers before any filter runs, and write user and scopes once more after all of them. A sidecar
/// behind another filter keeps what that one stamped.
fn put_closed(file: &mut Template, placement: Placement, front: Front, closed: &Closed) -> Result<(), Failure> {
    let is_moved = !placement.is_ingress() && front != Front::Filter;
    let (path, text) = if is_moved { Placement::Ingress } else { placement }.shipped();
    let mut patch = Template::new(path, &Template::new(path, text).cut(CLOSED_START, CLOSED_END)?);
    let user = word(&closed.user);
    patch.replace("- remove: x-openclaw-user\n", &format!("- remove: {user}\n"))?;
    patch.replace("key: x-openclaw-user\n", &format!("key: {user}\n"))?;
    if front != Front::Filter {
        patch.replace(
            "[{ remove: x-openclaw-user }, { remove: x-openclaw-scopes }, { remove: x-forwarded-groups }]",
            &closed.mutations(),
        )?;
    }
    if front == Front::Proxy {
        patch.replace_lines(CLOSED_START, "apiVersion: networking", CLOSED_BEHIND_A_PROXY)?;
        if placement.is_ingress() {
            patch.replace(
                "            early_header_mutation_extensions:",
                "            # The proxy writes X-Forwarded-For itself: it is passed on as it came.\n            skip_xff_append: true\n            early_header_mutation_extensions:",
            )?;
        }
    }
    if is_moved {
        patch.replace("namespace: openclaw-ingress", "namespace: openclaw")?;
        patch.replace("istio: openclaw-ingress", "app: openclaw-gateway")?;
        patch.replace_all("context: GATEWAY", "context: SIDECAR_INBOUND")?;
    }
    file.replace_lines(CLOSED_START, CLOSED_END, &patch.into_text())
}

const CLOSED_BEHIND_A_PROXY: &str = "\
# Closed without the filter: Envoy removes the header in which the OpenClaw Gateway reads the user, before any filter
# runs. Then only the filter writes it. If somebody deletes the WasmPlugin, no request has a user, and the OpenClaw
# Gateway refuses it.
";

/// Inserts the policy. If the operator has no settings for the filter, those of the manifest stay.
fn put_policy(
    file: &mut Template,
    indent: usize,
    plugin: &mut Plugin,
    common: &Common,
    peer: Option<Value>,
) -> Result<(), NotRendered> {
    let space = " ".repeat(indent);
    let inner = indent.saturating_add(2);
    let gateway = format!("{space}gateway:\n{}", block(&plugin.gateway, inner));
    file.replace_lines("# The `gateway` block of openclaw.json", &format!("{space}filter:\n"), &gateway)?;
    if plugin.has_filter || !common.proxies.proxy.is_empty() {
        plugin.add_proxies(&common.proxies.addresses(), &mut Vec::new());
        match peer {
            Some(peer) => plugin.set("peerAddress", peer),
            None => drop(plugin.filter.remove("peerAddress")),
        }
        plugin.refuse_cross_site();
        plugin.policy()?;
        let filter = format!("{space}filter:\n{}", block(&plugin.filter, inner));
        file.replace_rest(&format!("{space}filter:\n"), &filter)?;
    }
    Ok(())
}

impl Istio {
    pub(super) const fn proxies(&self) -> &Proxies {
        &self.common.proxies
    }
}

impl EnvoyGateway {
    pub(super) const fn proxies(&self) -> &Proxies {
        &self.common.proxies
    }
}

impl Common {
    /// Who sends requests. Without settings of the operator's, it is as the manifest says.
    fn front(&self, plugin: &Plugin, is_sidecar: bool) -> Front {
        let is_own = plugin.has_filter || !self.proxies.proxy.is_empty();
        if is_sidecar && (!is_own || plugin.filter.contains_key("trustedPeers")) {
            Front::Filter
        } else if !is_own || plugin.has("edge", true) {
            Front::Clients
        } else {
            Front::Proxy
        }
    }

    fn put_names(&self, file: &mut Template, has_host: bool, todo: &mut Vec<String>) -> Result<(), Failure> {
        match &self.image {
            Some(image) => file.replace(IMAGE, checked_image(image)?)?,
            None => {
                todo.push("push the filter's image to your registry, and add --image IMAGE@sha256:DIGEST".to_owned())
            }
        }
        match &self.host {
            Some(host) if !is_host(host) => Err(Failure::new(
                "--host",
                format!("{host:?} is not a host name"),
                "use, for example, claw.example.org",
            )),
            Some(host) if has_host => file
                .replace_all(HOST, host)
                .and_then(|()| file.replace_all(&HOST.replace('.', "-"), &host.replace('.', "-"))),
            None if has_host => {
                todo.push(format!("replace {HOST} with the host name that browsers use: --host NAME"));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.split('.').all(label)
}

/// A tag can be moved to another module; a digest cannot.
fn checked_image(image: &str) -> Result<&str, Failure> {
    let image = image.strip_prefix("oci://").unwrap_or(image);
    let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
    let is_digest = digest
        .is_some_and(|text| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    if is_digest && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte)) {
        Ok(image)
    } else {
        Err(Failure::new(
            "--image",
            format!("{image:?} does not name an image by its digest"),
            "use IMAGE@sha256: and 64 hexadecimal digits: a tag can be moved to another module",
        ))
    }
}
