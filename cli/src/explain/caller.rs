//! Callers that no proxy signs in, and what lets them pass: probes, webhooks, devices, `openclaw connect`.

use policy::{Reason, Request};

/// User agents of what probes a service.
const PROBES: [&[u8]; 4] = [b"kube-probe/", b"GoogleHC/", b"ELB-HealthChecker/", b"Envoy/HC"];
/// The Gateway's own probes.
const PROBE_PATHS: [&[u8]; 6] = [b"/health", b"/healthz", b"/ready", b"/readyz", b"/startup", b"/startupz"];

/// What lets the caller pass, if the request looks like one that has no user. Empty for a person, and for refusals
/// that have another cause.
pub fn fixes(request: &Request<'_>, reason: Reason, anonymous: &str) -> Vec<String> {
    if !matches!(reason, Reason::UntrustedSource | Reason::AttributionRequired | Reason::UserMissing) {
        return Vec::new();
    }
    let path = request.path().split(|byte| *byte == b'?').next().unwrap_or_default();
    let first = |name: &str| {
        let mut headers = request.headers.iter().filter(|(other, _)| *other == name.as_bytes());
        headers.next().map(|(_, value)| value)
    };
    let has_bearer = first("authorization")
        .is_some_and(|value| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer ")));
    let agent = first("user-agent").unwrap_or_default();
    let lists = |who: &str, entries: &str, key: &str| {
        vec![format!(
            "If this is {who}, nobody signs it in: add {entries} to {anonymous}, beside what is to stay there. Then it passes \
             without an identity, from every address that reaches Envoy{key}."
        )]
    };
    if request.is_upgrade() {
        return match path {
            b"/__openclaw__/worker" => lists("`openclaw connect`", "\"/j/*\" and \"ws:/__openclaw__/worker\"", ""),
            b"/node" => lists("a device", "\"ws:/node\"", ", and the Gateway checks its token"),
            _ => Vec::new(),
        };
    }
    let is_probe = PROBES.iter().any(|start| agent.starts_with(start)) || PROBE_PATHS.contains(&path);
    if is_probe && path != b"/" && policy::path::is_plain(path) {
        return lists("a probe", &format!("\"{}\"", path.escape_ascii()), "");
    }
    if path.starts_with(b"/j/") {
        return lists("`openclaw connect`", "\"/j/*\" and \"ws:/__openclaw__/worker\"", "");
    }
    if path.starts_with(b"/hooks/") && has_bearer {
        return lists("a webhook", "\"/hooks/*\"", ", and hooks.token is its only lock");
    }
    Vec::new()
}
