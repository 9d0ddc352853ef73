//! Findings about settings that are allowed, but that an operator should know about (contract, section 7).
//!
//! Ids that start with `gateway.` are the Gateway's own, with its severities. Ids that start with `filter.` are ours.

use std::fmt;

use ipnet::IpNet;

use super::json::Node;
use super::proxies::is_broad;
use crate::cidrs::Entry;
use crate::origin::Origins;
use crate::policy::{IdentitySource, Mode, TrustedPeers, WebSocketRefusal};
use crate::scopes::Scopes;
use crate::text::visible;

/// How bad a finding is; the Gateway's own scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Should be fixed, or be deliberate.
    Warn,
    /// May let an attacker in.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Critical => "critical",
        })
    }
}

/// One audit finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The id of the check: the Gateway's own if it has one, otherwise `filter.…`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is, what it is, and what to do about it.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.id, visible(&self.text))
    }
}

/// How many findings of one kind are listed. The rest are counted.
const SHOWN: usize = 10;

/// Collects findings while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Audit {
    findings: Vec<Finding>,
    /// Whether the Gateway's `bind` is set to anything other than loopback.
    exposed: bool,
    useless: usize,
    broad: usize,
    unlisted: usize,
    odd: usize,
    unknown: usize,
    /// The list of proxies that has only loopback addresses.
    loopback_alone: Option<String>,
    /// Entries of lists of proxies that cover every address of a family, and the family.
    everything: Vec<(String, &'static str)>,
}

impl Audit {
    fn add(&mut self, id: &'static str, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding { id, severity, text: text.into() });
    }

    /// The severity of findings that matter more if the Gateway is exposed.
    const fn by_exposure(&self) -> Severity {
        if self.exposed { Severity::Critical } else { Severity::Warn }
    }

    /// Must be called first: other findings are more severe if the Gateway is exposed.
    pub(super) fn note_exposure(&mut self, bind: Option<&str>) {
        self.exposed = bind.is_some_and(|bind| bind != "loopback");
        self.add(
            "gateway.trusted_proxy_auth",
            Severity::Critical,
            "authentication is left to the proxy: close every other network path to the Gateway",
        );
    }

    pub(super) fn note_mode(&mut self, mode: Mode) {
        if mode == Mode::Report {
            self.add(
                "filter.report_mode",
                Severity::Critical,
                "no request is refused and no header is changed: only for a Gateway that still authenticates users itself",
            );
        }
    }

    pub(super) fn note_trusted_peers(&mut self, peers: &TrustedPeers) {
        if !peers.identities.is_empty() {
            self.add(
                "filter.trusted_peers",
                Severity::Warn,
                if peers.sources.contains(&IdentitySource::Certificate) { "the listener must verify certificates (require_client_certificate, trusted_ca): the filter cannot check that it does" } else { "identities out of filter state are as good as what writes them: the filter cannot check that it is the mesh" },
            );
        }
        if peers.suffice {
            self.add(
                "filter.peer_trust_certificate",
                Severity::Warn,
                "a trusted certificate is enough: the peer's address is not looked up in trustedProxies",
            );
        }
    }

    pub(super) fn note_peer_identity(&mut self, path: &str, key: &str) {
        /// What a mesh writes before any filter runs. Istio: the verified peer of a tunnel (HBONE).
        const WRITTEN_FIRST: [&str; 1] = ["io.istio.peer_principal"];
        if !WRITTEN_FIRST.contains(&key) {
            self.add(
                "filter.peer_identity",
                Severity::Warn,
                format!(
                    "{path} {key:?} is believed: make sure that Envoy writes it before any filter, and never from what a client sends; Istio's is {}",
                    WRITTEN_FIRST.join(", ")
                ),
            );
        }
    }

    pub(super) fn note_ceilings<'c>(&mut self, default: &Scopes, mut others: impl Iterator<Item = &'c Scopes>) {
        if others.any(|ceiling| default.iter().any(|scope| !ceiling.satisfies(scope))) {
            self.add(
                "filter.default_ceiling",
                Severity::Warn,
                "scopes.users[\"*\"] allows scopes that some entry does not: whoever is not recognized as that user or group has more",
            );
        }
    }

    pub(super) fn note_own_paths(&mut self, key: &str, entries: usize) {
        let (id, text) = if key == "ownSockets" {
            (
                "filter.own_sockets",
                "are treated as the Gateway's own: a plugin's WebSocket there is granted a user's whole ceiling",
            )
        } else {
            (
                "filter.own_paths",
                "are treated as the Gateway's own: a plugin there runs with the Gateway's whole default scopes",
            )
        };
        if entries > 0 {
            self.add(id, Severity::Warn, format!("filter.scopes.{key} {text}"));
        }
    }

    pub(super) fn note_groups_header(&mut self, header: &str, separator: u8) {
        /// Headers whose lists are known to have another separator than a comma.
        const SEPARATED: [(&str, u8); 2] = [("x-authentik-groups", b'|'), ("x-token-user-roles", b' ')];
        self.add(
            "filter.groups_header",
            Severity::Warn,
            format!("filter.scopes.groupsHeader: the proxy must overwrite {header} on every request, also for users without groups, or clients choose their own"),
        );
        let usual = SEPARATED.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(header)).map(|(_, usual)| usual);
        if let Some(usual) = usual.filter(|usual| *usual != separator) {
            self.add(
                "filter.groups_separator",
                Severity::Warn,
                format!(
                    "filter.scopes.groupsSeparator is \"{}\", but {header} has \"{}\" between groups",
                    char::from(separator),
                    char::from(usual)
                ),
            );
        }
    }

    /// Looks for entries of `allowUsers` that are compared literally, but were hardly meant so.
    pub(super) fn note_odd_user(&mut self, path: &str, user: &str, bytes: &[u8]) {
        let is_placeholder = user.starts_with('$')
            || user.contains("${")
            || user.contains("{{")
            || (user.starts_with('<') && user.ends_with('>'));
        let is_list = user.contains([',', ';', ' ']) && user.matches('@').count() > 1;
        let why = if user == "*" || user.starts_with("*@") || user.starts_with('@') {
            "is compared literally, so it allows nobody: to allow all users, leave the list empty".to_owned()
        } else if is_placeholder {
            "looks like a placeholder that was not replaced".to_owned()
        } else if is_list {
            "looks like several users: write one entry for each".to_owned()
        } else if !user.is_ascii() && std::str::from_utf8(bytes).is_err() {
            let read: String = user.bytes().map(char::from).collect();
            format!(
                "has characters beyond ASCII: a proxy that sends UTF-8 names {read:?} instead, as the Gateway reads it"
            )
        } else {
            return;
        };
        self.odd = self.odd.saturating_add(1);
        if self.odd <= SHOWN {
            self.add("filter.odd_user", Severity::Warn, format!("{path} {user:?} {why}"));
        }
    }

    pub(super) fn note_unlisted_user(&mut self, path: &str) {
        self.unlisted = self.unlisted.saturating_add(1);
        if self.unlisted <= SHOWN {
            self.add(
                "filter.unlisted_user",
                Severity::Warn,
                format!("{path} is the ceiling of a user who is not in allowUsers"),
            );
        }
    }

    /// `proxies` is the length of the longer list.
    pub(super) fn note_chain(&mut self, proxies: usize, may_be_empty: bool) {
        if proxies > usize::from(!may_be_empty) {
            self.add(
                "filter.removed_proxies",
                Severity::Info,
                "a proxy that is removed from trustedProxies counts as a client in X-Forwarded-For from then on",
            );
        }
    }

    pub(super) fn note_password(&mut self, set: bool) {
        if set {
            self.add(
                "filter.password_in_configuration",
                Severity::Warn,
                "gateway.auth.password was pasted into the filter's configuration, which proxies and their tools can show: remove it here",
            );
        }
    }

    /// Must be called before `note_loopback`.
    pub(super) fn note_loopback_alone(&mut self, path: &str) {
        self.loopback_alone = Some(path.to_owned());
    }

    /// Must be called before `note_attribution`.
    pub(super) fn note_everything(&mut self, path: String, entry: &Entry) {
        let family = if matches!(entry, Entry::Block(IpNet::V4(_))) { "IPv4" } else { "IPv6" };
        self.everything.push((path, family));
    }

    /// With `others`, peers that are not in a list of proxies may connect too.
    pub(super) fn note_loopback(&mut self, allowed: bool, others: bool) {
        if let Some(path) = self.loopback_alone.take().filter(|_| !allowed && !others) {
            self.add(
                "filter.loopback_proxies",
                Severity::Warn,
                format!("{path} has only loopback addresses, and allowLoopback is not true: everybody is refused (trusted_proxy_loopback_source)"),
            );
        }
        if allowed {
            self.add(
                "gateway.trusted_proxy_allow_loopback",
                Severity::Warn,
                "allowLoopback trusts every process on this host as it trusts the proxy: run nothing else on this host",
            );
        }
    }

    pub(super) fn note_no_allowlist(&mut self) {
        self.add(
            "gateway.trusted_proxy_no_allowlist",
            Severity::Warn,
            "allowUsers is empty: everybody whom the proxy authenticates is admitted",
        );
    }

    /// A key below `gateway` that the schema of this release does not have, with the one that was probably meant.
    pub(super) fn note_unknown_key<'k>(&mut self, release: &str, path: &str, meant: impl FnOnce() -> Option<&'k str>) {
        self.unknown = self.unknown.saturating_add(1);
        if self.unknown <= SHOWN {
            let remedy = meant().map_or_else(
                || "remove it, unless your Gateway is newer".to_owned(),
                |meant| format!("did you mean \"{meant}\"?"),
            );
            self.add(
                "filter.unknown_key",
                Severity::Warn,
                format!("{path} is not a key of the Gateway {release}, and changes nothing here: {remedy}"),
            );
        }
    }

    /// A value that the schema of this release refuses.
    pub(super) fn note_unknown_word(&mut self, release: &str, path: &str, value: &Node, words: &[&str]) {
        let seen = match value {
            Node::String(text) => format!("{text:?}"),
            other => other.kind().to_owned(),
        };
        let words = words.join("\", \"");
        self.add(
            "filter.unknown_value",
            Severity::Warn,
            format!("{path} is {seen}, and the Gateway {release} does not start with it: write one of \"{words}\""),
        );
    }

    pub(super) fn note_origins(&mut self, origins: &Origins, has_control_ui: bool) {
        if origins.allows_any() {
            self.add(
                "gateway.control_ui.allowed_origins_wildcard",
                self.by_exposure(),
                "allowedOrigins contains \"*\": any web page can use a signed-in user's browser; list the origins instead",
            );
        }
        if self.exposed && has_control_ui && origins.is_empty() && !origins.host_fallback() {
            self.add(
                "gateway.control_ui.allowed_origins_required",
                Severity::Critical,
                "allowedOrigins does not name an origin: browsers cannot use the Control UI; list its origin",
            );
        }
        if origins.host_fallback() {
            self.add(
                "gateway.control_ui.host_header_origin_fallback",
                self.by_exposure(),
                "an origin that equals the Host header is allowed, which DNS rebinding can exploit: list the origins instead",
            );
        }
    }

    pub(super) fn note_real_ip_fallback(&mut self, enabled: bool) {
        if enabled {
            // In this mode, the Gateway also counts proxies that are not loopback as exposure.
            self.add(
                "gateway.real_ip_fallback_enabled",
                Severity::Critical,
                "X-Real-IP is trusted when X-Forwarded-For does not name a client: make sure that the proxy overwrites it",
            );
        }
    }

    pub(super) fn note_attribution(&mut self, required: bool, real_ip_fallback: bool) {
        for (path, family) in std::mem::take(&mut self.everything) {
            if required && !real_ip_fallback {
                self.add(
                    "filter.no_client",
                    Severity::Warn,
                    format!("{path} covers every {family} address: a client with one counts as a proxy, and is refused (proxy_attribution_required); list the proxies alone"),
                );
            }
        }
    }

    /// `off` although the Gateway requires it.
    pub(super) fn note_attribution_off(&mut self, gateway: &str) {
        self.add(
            "filter.attribution_off",
            Severity::Warn,
            format!(
                "requests without an attributable client are admitted, and the Gateway {gateway} refuses them with 403: for a Gateway older than 2026.8.1, set filter.gatewayVersion instead"
            ),
        );
    }

    pub(super) fn note_gateway_older(&mut self, name: &str) {
        self.add(
            "filter.gateway_version",
            Severity::Info,
            format!(
                "the rules are those of the Gateway {name}: change filter.gatewayVersion when you update the Gateway"
            ),
        );
    }

    pub(super) fn note_gateway_between(&mut self, name: &str, before: impl fmt::Display, after: impl fmt::Display) {
        self.add(
            "filter.gateway_version",
            Severity::Warn,
            format!("the Gateway {name} was not tried: each rule is the stricter one of {before} and {after}"),
        );
    }

    pub(super) fn note_gateway_newer(&mut self, name: &str, newest: impl fmt::Display) {
        self.add(
            "filter.gateway_version",
            Severity::Warn,
            format!("the Gateway {name} is newer than this filter: the rules are those of {newest}"),
        );
    }

    /// A key of `gateway` that the Gateway does not know. The filter does not read it.
    pub(super) fn note_later_key(&mut self, path: &str, gateway: &str) {
        self.add(
            "filter.gateway_key",
            Severity::Warn,
            format!("{path} is not a key of the Gateway {gateway}, which does not start with it: correct filter.gatewayVersion, or remove it"),
        );
    }

    pub(super) fn note_mapped_block(&mut self, path: &str, gateway: &str) {
        self.add(
            "filter.mapped_proxies",
            Severity::Warn,
            format!("{path} is its first address alone for the Gateway {gateway}: write an IPv4 block instead, such as \"10.0.0.0/8\""),
        );
    }

    /// `filter.allowLoopback`, although the Gateway admits no loopback peer.
    pub(super) fn note_loopback_in_vain(&mut self, gateway: &str) {
        self.add(
            "filter.loopback_refused",
            Severity::Warn,
            format!("filter.allowLoopback is for a proxy on Envoy's host: Envoy itself must run on another host than the Gateway {gateway}, which refuses every loopback peer"),
        );
    }

    /// Ceilings, although the Gateway does not cap every socket.
    pub(super) fn note_sockets_without_cap(&mut self, gateway: &str, which: &str) {
        self.add(
            "filter.socket_scopes",
            Severity::Critical,
            format!("filter.scopes does not limit WebSockets at the Gateway {gateway}, which caps {which}: update it to 2026.8.1 or newer"),
        );
    }

    /// Narrower scopes of plugins, although the Gateway does not read them there.
    pub(super) fn note_plugins_without_cap(&mut self, gateway: &str) {
        self.add(
            "filter.plugin_scopes",
            Severity::Critical,
            format!("filter.scopes does not limit plugins' routes at the Gateway {gateway}, which grants them operator.write whatever the header names: update it to 2026.4.12 or newer"),
        );
    }

    /// Delegated refusals, although the Control UI does not explain them.
    pub(super) fn note_unexplained_refusals(&mut self, gateway: &str) {
        self.add(
            "filter.delegate_unexplained",
            Severity::Info,
            format!("filter.webSocketRefusal is \"delegate\", but the Control UI of the Gateway {gateway} does not explain a refusal: 2026.9.1 and newer do"),
        );
    }

    pub(super) fn note_edge(&mut self, edge: bool) {
        if edge {
            self.add(
                "filter.edge",
                Severity::Warn,
                "no trusted proxy is required: the login before this filter must run on every route, or nobody is admitted",
            );
        }
    }

    /// `user_header` is where the proxy names the user.
    pub(super) fn note_cross_site(&mut self, refused: bool, edge: bool, user_header: &str) {
        /// Headers of proxies whose login comes with every request of a browser, whichever site makes it: a cookie, a
        /// client certificate, a tailnet.
        const AMBIENT: [&str; 10] = [
            "x-forwarded-user",
            "x-forwarded-email",
            "x-forwarded-preferred-username",
            "x-auth-request-",
            "cf-access-",
            "tailscale-",
            "x-pomerium-",
            "x-authentik-",
            "x-forwarded-tls-client-cert",
            "ssl-client-",
        ];
        let starts = |start: &&str| user_header.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
        if !refused && (edge || AMBIENT.iter().any(starts)) {
            self.add(
                "filter.cross_site",
                Severity::Warn,
                "filter.crossSite is \"allow\": any web site can make a signed-in browser send GET requests (images, scripts, frames), and they come with the user's login; set it to \"refuse\"",
            );
        }
    }

    pub(super) fn note_websocket_refusal(&mut self, refusal: WebSocketRefusal) {
        if refusal == WebSocketRefusal::Delegate {
            self.add(
                "filter.websocket_delegate",
                Severity::Warn,
                "WebSockets without a valid user reach the Gateway, which must refuse them itself",
            );
        }
    }

    pub(super) fn note_open_sockets(&mut self, recheck: bool) {
        if !recheck {
            self.add(
                "filter.open_sockets",
                Severity::Warn,
                "filter.openSockets is \"keep\": a user who is removed, or who gets fewer scopes, keeps the WebSockets that are open; set it to \"recheck\"",
            );
        }
    }

    pub(super) fn note_anonymous_paths<'p>(&mut self, added: impl Iterator<Item = &'p str>) {
        let paths: Vec<_> = added.map(|path| format!("{path:?}")).collect();
        if !paths.is_empty() {
            self.add(
                "filter.anonymous_paths",
                Severity::Warn,
                format!("these paths pass without an identity: {}", paths.join(", ")),
            );
        }
    }

    pub(super) fn note_own_proxies(&mut self, more_than_the_gateways: bool) {
        if more_than_the_gateways {
            self.add(
                "filter.trusted_proxies",
                Severity::Info,
                "filter.trustedProxies names peers that gateway.trustedProxies does not: this is right if Envoy is between those peers and the Gateway",
            );
        }
    }

    pub(super) fn note_proxy(&mut self, entry: &Entry, path: impl FnOnce() -> String) {
        if is_broad(entry) {
            self.broad = self.broad.saturating_add(1);
            if self.broad <= SHOWN {
                let path = path();
                self.add(
                    "filter.broad_proxies",
                    Severity::Warn,
                    format!("{path} trusts a large network: list the proxies themselves"),
                );
            }
        }
    }

    /// `user_header` is required anyway.
    pub(super) fn note_required_headers<'h>(
        &mut self,
        required: impl Iterator<Item = &'h str>,
        user_header: Option<&str>,
    ) {
        /// Headers that Envoy writes into every request, and those that every client sends.
        const ALWAYS_THERE: [&str; 8] = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-request-id",
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "connection",
        ];
        let proves_nothing =
            |name: &str| ALWAYS_THERE.into_iter().chain(user_header).any(|other| name.eq_ignore_ascii_case(other));
        let mut required = required.peekable();
        let text = if required.peek().is_none() {
            "requiredHeaders is empty: a process on a trusted address needs only the user header"
        } else if required.all(proves_nothing) {
            "requiredHeaders names only headers that are in every request, and these prove nothing: name one that your proxy alone sets"
        } else {
            return;
        };
        self.add("filter.required_headers", Severity::Info, text);
    }

    pub(super) fn note_useless(&mut self, path: String, why: String) {
        self.useless = self.useless.saturating_add(1);
        if self.useless <= SHOWN {
            self.add("filter.never_matches", Severity::Warn, format!("{path} {why}: it has no effect"));
        }
    }

    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        for (count, id, what) in [
            (self.odd, "filter.odd_user", "more users were hardly meant literally"),
            (self.unlisted, "filter.unlisted_user", "more ceilings are those of users who are not in allowUsers"),
            (self.useless, "filter.never_matches", "more entries have no effect"),
            (self.broad, "filter.broad_proxies", "more entries trust a large network"),
            (self.unknown, "filter.unknown_key", "more keys are not known to the Gateway"),
        ] {
            if let Some(rest) = count.checked_sub(SHOWN).filter(|rest| *rest > 0) {
                self.add(id, Severity::Warn, format!("{rest} {what}"));
            }
        }
        self.findings
    }
}
