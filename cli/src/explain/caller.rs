//! Callers that no proxy signs in, and what lets them pass: probes, webhooks, devices, `openclaw connect`, programs.

use policy::{Policy, Reason, Request};

use crate::input::{Configuration, Kind};

/// User agents of what probes a service, or a part of them, in lower case.
const PROBES: [&str; 18] = [
    "kube-probe/",
    "googlehc/",
    "elb-healthchecker/",
    "envoy/hc",
    "amazon-route53-health-check",
    "consul health check",
    "load balancer agent",
    "edge health probe",
    "haproxy/",
    "blackbox",
    "prometheus/",
    "uptimerobot",
    "uptime-kuma/",
    "better uptime bot",
    "gatus/",
    "statuscake",
    "pingdom",
    "docker-healthcheck",
];
/// The Gateway's own probes.
const PROBE_PATHS: [&str; 6] = ["/health", "/healthz", "/ready", "/readyz", "/startup", "/startupz"];
/// Signed assertions of who the caller is, as proxies send them beside the user, or without one.
const ASSERTIONS: [&str; 5] = [
    "cf-access-jwt-assertion",
    "x-goog-iap-jwt-assertion",
    "x-pomerium-jwt-assertion",
    "x-amzn-oidc-data",
    "cf-access-client-id",
];

/// What lets the caller pass, if the request looks like one that has no user. Empty for a person, and for refusals
/// that have another cause. `place` gives a key with its place in the file.
pub fn fixes(
    configuration: &Configuration,
    policy: &Policy,
    request: &Request<'_>,
    reason: Reason,
    place: &dyn Fn(&str) -> String,
) -> Vec<String> {
    use Reason::{AssertionMissing, AttributionRequired, UntrustedSource, UserMissing};
    if !matches!(reason, UntrustedSource | AttributionRequired | UserMissing | AssertionMissing) {
        return Vec::new();
    }
    let caller = Caller { configuration, policy, request, anonymous: place("filter.anonymousPaths") };
    let fixes = caller.of_the_path();
    if fixes.is_empty() && matches!(reason, UserMissing | AssertionMissing) {
        return caller.of_a_program(reason, place);
    }
    fixes
}

struct Caller<'a> {
    configuration: &'a Configuration,
    policy: &'a Policy,
    request: &'a Request<'a>,
    anonymous: String,
}

impl Caller<'_> {
    fn path(&self) -> String {
        String::from_utf8_lossy(self.request.path().split(|byte| *byte == b'?').next().unwrap_or_default()).into_owned()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.request.headers.iter().filter(|(other, _)| *other == name.as_bytes());
        headers.next().map(|(_, value)| value)
    }

    fn has_bearer(&self) -> bool {
        let scheme = self.header("authorization").and_then(|value| value.get(..7));
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    }

    fn lists(&self, who: &str, entries: &str, lock: &str) -> Vec<String> {
        vec![format!(
            "If this is {who}, nobody signs it in: add {entries} to {}, beside what is to stay there. Then it passes \
             without an identity, from every address that reaches Envoy{lock}.",
            self.anonymous
        )]
    }

    /// What is known by its path, or by its user agent.
    fn of_the_path(&self) -> Vec<String> {
        const CONNECT: &str = "\"/j/*\" and \"ws:/__openclaw__/worker\"";
        const OWN_LOCK: &str = ", and the Gateway checks its short-lived credential";
        let path = self.path();
        if self.request.is_upgrade() {
            return match path.as_str() {
                "/__openclaw__/worker" => self.lists("`openclaw connect`", CONNECT, OWN_LOCK),
                "/node" => self.lists("a device", "\"ws:/node\"", ", and the Gateway checks its token"),
                _ => Vec::new(),
            };
        }
        let agent = self.header("user-agent").unwrap_or_default().to_ascii_lowercase();
        let agent = String::from_utf8_lossy(&agent);
        let is_probe = PROBES.iter().any(|part| agent.contains(part));
        if is_probe && path == "/" {
            return vec![
                "If this is a probe, point it at /healthz, which needs no identity: / is the Control UI's page."
                    .to_owned(),
            ];
        }
        let hooks = self.configuration.hooks_path();
        let is_hook = path == hooks || path.strip_prefix(&hooks).is_some_and(|rest| rest.starts_with('/'));
        if is_hook
            && (self.has_bearer() || self.header("x-openclaw-token").is_some() || self.request.method() == b"POST")
        {
            return self.of_a_webhook(&hooks);
        }
        if (is_probe || PROBE_PATHS.contains(&path.as_str())) && policy::path::is_plain(path.as_bytes()) {
            return self.lists("a probe", &format!("\"{path}\""), "");
        }
        if path.starts_with("/j/") {
            return self.lists("`openclaw connect`", CONNECT, OWN_LOCK);
        }
        if path.starts_with("/__openclaw__/worker-bootstrap/") {
            return self.lists("a cloud worker", "\"/__openclaw__/worker-bootstrap/*\"", OWN_LOCK);
        }
        Vec::new()
    }

    fn of_a_webhook(&self, hooks: &str) -> Vec<String> {
        let mut fixes = self.lists("a webhook", &format!("\"{hooks}/*\""), ", and hooks.token is its only lock");
        if !self.has_bearer() && self.header("x-openclaw-token").is_none() {
            fixes.push("It has no token: have the sender send Authorization: Bearer, with hooks.token.".to_owned());
        }
        let is_on = self.configuration.document.at(&["hooks", "enabled"]).is_true();
        if self.configuration.kind == Kind::OpenClaw && !is_on {
            fixes.push("hooks.enabled is not true in this file: the Gateway takes no webhooks.".to_owned());
        }
        fixes
    }

    /// A program that has something of its own to show, and no user.
    fn of_a_program(&self, reason: Reason, place: &dyn Fn(&str) -> String) -> Vec<String> {
        if another_identity(self.request, self.policy).is_some() {
            return Vec::new();
        }
        let user_header = String::from_utf8_lossy(self.policy.user_header()).into_owned();
        let assertion = ASSERTIONS.into_iter().find(|name| self.header(name).is_some());
        let is_person = self.header("origin").is_some() || self.header("cookie").is_some();
        if reason == Reason::UserMissing && self.request.assertion.is_some() {
            return vec![format!(
                "Envoy verified an identity, but the request has no {user_header}. If the token alone is to count, set as \
                 to \"identity\" in {}. Otherwise have your proxy send {user_header} too.",
                place("filter.assertion"),
            )];
        }
        let Some(assertion) = assertion else {
            if self.has_bearer() && !is_person && !self.request.is_upgrade() && reason == Reason::UserMissing {
                return vec![format!(
                    "If this is a program with a token of its own, that token is not read here: have your proxy check it, and \
                     send {user_header} with a name for the program; or have Envoy verify it (jwt_authn), and name that in {}.",
                    place("filter.assertion"),
                )];
            }
            return Vec::new();
        };
        if assertion.starts_with("cf-access-") {
            let mut fixes = vec![format!(
                "The request has {assertion}, but no user: a service token of Cloudflare Access has no e-mail, only a \
                 common_name. If this is a program, have your proxy send {user_header} with a name for it, and list that name \
                 if there are allowUsers."
            )];
            if self.request.is_upgrade() {
                fixes.push(delegate(place));
            } else {
                fixes.push(
                    "If it is `openclaw connect`, a webhook or a probe, that path needs no user: docs/gateway.md, \"Devices \
                     and webhooks\", has the entries of anonymousPaths."
                        .to_owned(),
                );
            }
            return fixes;
        }
        vec![format!(
            "The request has {assertion}, but not {user_header}: a token that your proxy signs is not the user here. Have Envoy \
             verify it (jwt_authn), and name that in {}; or have your proxy send {user_header} too.",
            place("filter.assertion"),
        )]
    }
}

/// Leaves devices to the Gateway.
pub fn delegate(place: &dyn Fn(&str) -> String) -> String {
    format!(
        "If this is a device with its own token, set webSocketRefusal to \"delegate\" in {}: then the Gateway checks the token.",
        place("filter")
    )
}

/// A header in the request that proxies commonly use for the user, other than the configured one.
pub fn another_identity<'a>(request: &Request<'a>, policy: &Policy) -> Option<&'a str> {
    const USUAL: [&str; 8] = [
        "x-forwarded-user",
        "x-forwarded-email",
        "x-auth-request-user",
        "x-auth-request-email",
        "x-pomerium-claim-email",
        "tailscale-user-login",
        "cf-access-authenticated-user-email",
        "remote-user",
    ];
    let names = request.headers.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok());
    names.filter(|name| name.as_bytes() != policy.user_header()).find(|name| USUAL.contains(name))
}
