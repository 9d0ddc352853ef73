//! The findings of the Gateway's own audit: those that the filter's code computes, and the others, computed here.

use policy::config::{Finding as Audit, Release};

use super::deployment::lists_local;
use super::finding::{Finding, Level};
use crate::input::{Configuration, Kind};
use crate::json5::{Node, Value};
use crate::output::Problem;

/// The finding that is always reported.
pub const REMINDER: &str = "gateway.trusted_proxy_auth";

const ALLOW_LOOPBACK: &str = "gateway.trusted_proxy_allow_loopback";

/// Findings that say what a chosen setting means. While it is used, nothing removes them.
const REMINDERS: [&str; 7] = [
    REMINDER,
    "filter.anonymous_paths",
    "filter.edge",
    "filter.groups_header",
    "filter.peer_trust_certificate",
    "filter.trusted_peers",
    "filter.websocket_delegate",
];

/// The paths of audit findings whose text does not start with one.
const PLACES: [(&str, &str); 20] = [
    (REMINDER, "gateway.auth.mode"),
    ("gateway.trusted_proxy_no_allowlist", "gateway.auth.trustedProxy.allowUsers"),
    (ALLOW_LOOPBACK, "gateway.auth.trustedProxy.allowLoopback"),
    ("gateway.control_ui.allowed_origins_wildcard", "gateway.controlUi.allowedOrigins"),
    ("gateway.control_ui.allowed_origins_required", "gateway.controlUi.allowedOrigins"),
    ("gateway.control_ui.host_header_origin_fallback", "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback"),
    ("gateway.real_ip_fallback_enabled", "gateway.allowRealIpFallback"),
    ("filter.gateway_version", "filter.gatewayVersion"),
    ("filter.report_mode", "filter.mode"),
    ("filter.trusted_peers", "filter.trustedPeers"),
    ("filter.peer_trust_certificate", "filter.peerTrust"),
    ("filter.default_ceiling", "filter.scopes.users[\"*\"]"),
    ("filter.removed_proxies", "gateway.trustedProxies"),
    ("filter.password_in_configuration", "gateway.auth.password"),
    ("filter.attribution_off", "filter.attribution"),
    ("filter.edge", "filter.edge"),
    ("filter.websocket_delegate", "filter.webSocketRefusal"),
    ("filter.anonymous_paths", "filter.anonymousPaths"),
    ("filter.trusted_proxies", "filter.trustedProxies"),
    ("filter.required_headers", "gateway.auth.trustedProxy.requiredHeaders"),
];

/// The id of an error of the filter: the one that the Gateway's audit has for it, if it has one.
pub fn id_of(problem: &Problem) -> &'static str {
    match (problem.place.as_str(), problem.problem.as_str()) {
        (_, text) if text.contains("mixed_trusted_proxy_token") => "mixed_trusted_proxy_token",
        ("gateway.trustedProxies", "names no proxy") => "gateway.trusted_proxy_no_proxies",
        ("gateway.auth.trustedProxy.userHeader", "is missing" | "is blank") => "gateway.trusted_proxy_no_user_header",
        _ => "filter.config_invalid",
    }
}

/// The filter's audit findings, each with its path.
pub fn add_audit(configuration: &Configuration, audit: &[Audit], findings: &mut Vec<Finding>) {
    for Audit { id, severity, text } in audit {
        // A password is out of place only in a plugin configuration: this is the Gateway's own file.
        if configuration.kind == Kind::OpenClaw && *id == "filter.password_in_configuration" {
            continue;
        }
        // `check` compares the Gateway's own file with the whole schema of its release.
        if configuration.kind == Kind::OpenClaw && ["filter.unknown_key", "filter.unknown_value"].contains(id) {
            continue;
        }
        // This too is about the filter's settings, which are not in the Gateway's own file.
        if *id == "filter.cross_site" && configuration.kind == Kind::OpenClaw && configuration.at(&["filter"]).is_none()
        {
            continue;
        }
        let first = text.split(' ').next().unwrap_or_default();
        let own = ["gateway.", "filter."].iter().any(|start| first.starts_with(start)).then_some(first);
        let listed = PLACES.iter().find(|(other, _)| other == id).map(|(_, path)| *path);
        let path = own.or(listed).unwrap_or_default();
        let text = own.map_or(text.as_str(), |path| text.get(path.len()..).unwrap_or(text)).trim_start();
        let mut finding = Finding::new(configuration, id, (*severity).into(), path, text, "");
        finding.is_reminder = REMINDERS.contains(id) || *id == ALLOW_LOOPBACK && lists_loopback(configuration);
        let remedy = match *id {
            REMINDER => "a reminder, which no setting removes: this file needs no change for it",
            ALLOW_LOOPBACK if !finding.is_reminder => "no listed proxy is a loopback address: remove this",
            _ => "",
        };
        remedy.clone_into(&mut finding.problem.remedy);
        findings.push(finding);
    }
}

/// Whether a listed proxy, ours or the Gateway's, is a loopback address, so that `allowLoopback` is needed.
fn lists_loopback(configuration: &Configuration) -> bool {
    [["gateway", "trustedProxies"], ["filter", "trustedProxies"]].iter().any(|list| lists_local(configuration, list))
}

/// The release that last wrote an openclaw.json, if the filter's rules are those of another one.
pub fn add_release(configuration: &Configuration, findings: &mut Vec<Finding>) {
    const PLACE: &str = "meta.lastTouchedVersion";
    let touched = configuration.document.member("meta").and_then(|meta| meta.member("lastTouchedVersion"));
    let Some(text) = touched.and_then(Node::text).filter(|_| configuration.kind == Kind::OpenClaw) else { return };
    let set = configuration.at(&["filter", "gatewayVersion"]).and_then(Node::text);
    let assumed = set.map_or(Some(Release::NEWEST), Release::parse);
    // What is not a release is left alone here, or is an error elsewhere.
    let (Some(release), Some(assumed)) = (Release::parse(text), assumed) else { return };
    // The file can be older than the Gateway, so a release that was named is doubted only by a newer one.
    if release == assumed || (set.is_some() && release < assumed) {
        return;
    }
    let level = if release.decides_like(assumed) { Level::Info } else { Level::Warn };
    let what = if set.is_some() { "filter.gatewayVersion is" } else { "the filter assumes" };
    findings.push(Finding::new(
        configuration,
        "check.gateway_version",
        level,
        PLACE,
        format!("the Gateway {text} wrote this file, and {what} {}", set.unwrap_or(&assumed.to_string())),
        format!("if you run that release, set filter.gatewayVersion to {text:?}"),
    ));
}

/// Findings of the Gateway's audit about keys that the filter does not read.
pub fn add_gateways_own(configuration: &Configuration, findings: &mut Vec<Finding>) {
    let at = |path: &[&str]| configuration.at(path);
    let approve = ["gateway", "auth", "trustedProxy", "deviceAutoApprove"];
    let approves = at(&[&approve[..], &["enabled"]].concat()).is_some_and(Node::is_true);
    if approves {
        findings.push(Finding::new(
            configuration,
            "gateway.trusted_proxy_device_auto_approve",
            Level::Warn,
            "gateway.auth.trustedProxy.deviceAutoApprove",
            "new devices are approved on the proxy's word alone",
            "make sure that the proxy is the only way in, and that allowUsers lists who may sign in",
        ));
        let is_admin = |node: &Node| node.text().is_some_and(|text| text.trim() == "operator.admin");
        let scopes = at(&[&approve[..], &["scopes"]].concat());
        if matches!(scopes.map(|node| &node.value), Some(Value::List(items)) if items.iter().any(is_admin)) {
            findings.push(Finding::new(
                configuration,
                "gateway.trusted_proxy_device_auto_approve_admin",
                Level::Critical,
                "gateway.auth.trustedProxy.deviceAutoApprove.scopes",
                "any user that the proxy names can approve a device with operator.admin",
                "remove operator.admin, and approve such devices by hand",
            ));
        }
    }
    match at(&["gateway", "tailscale", "mode"]).and_then(Node::text) {
        Some("funnel") => findings.push(Finding::new(
            configuration,
            "gateway.tailscale_funnel",
            Level::Critical,
            "gateway.tailscale.mode",
            "Tailscale Funnel exposes the Gateway to the internet, bypassing Envoy and the filter",
            "set it to \"off\": the authenticating proxy must be the only way in",
        )),
        Some("serve") => findings.push(Finding::new(
            configuration,
            "gateway.tailscale_serve",
            Level::Info,
            "gateway.tailscale.mode",
            "Tailscale Serve exposes the Gateway to the tailnet, bypassing Envoy and the filter",
            "set it to \"off\", unless the tailnet is meant to have direct access",
        )),
        _ => {}
    }
}
