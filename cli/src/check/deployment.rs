//! Checks that neither the filter nor the Gateway can do alone: variables, and whether the two fit together.

use ipnet::IpNet;
use policy::peer::Address;

use super::finding::{Counted, Finding, Level};
use crate::input::{Configuration, Kind, has_reference};
use crate::json5::{Member, Node, Value};
use crate::yaml::is_old_boolean;
use policy::text::trim_configured as trim;

/// Adds the findings.
pub fn add(configuration: &Configuration, envoy: Option<Address>, findings: &mut Vec<Finding>) {
    let mut report = Report(Counted::new(configuration, findings));
    report.secrets();
    report.lists(envoy);
    report.networks();
    report.bind();
    report.tls();
    match configuration.kind {
        Kind::Plugin => report.plugin_is_plain_json(),
        Kind::OpenClaw => {
            report.start();
            report.webhooks();
            report.templates(&["filter"]);
        }
    }
}

struct Report<'a>(Counted<'a>);

impl<'a> Report<'a> {
    /// The texts in a list.
    fn texts(&self, path: &[&str]) -> Vec<&'a str> {
        self.0.configuration.plugin.at(path).texts().collect()
    }

    fn is_true(&self, path: &[&str]) -> bool {
        self.0.configuration.plugin.at(path).is_true()
    }

    fn at(&self, path: &[&str]) -> Option<&Node> {
        self.0.configuration.at(path)
    }

    /// The Gateway's shared secrets, wherever they are set. Their values are never shown.
    fn secrets(&mut self) {
        let source = |name: &str| self.0.configuration.environment.get(name).map(|(_, source)| source.to_owned());
        if let Some(source) = source("OPENCLAW_GATEWAY_TOKEN") {
            self.0.add(
                "mixed_trusted_proxy_token",
                Level::Error,
                "OPENCLAW_GATEWAY_TOKEN",
                format!("is set in {source}: the Gateway refuses to start in this mode when it is set"),
                "unset it for the Gateway; if the Gateway runs in a different environment, add --ignore-environment",
            );
        }
        let password = self.at(&["gateway", "auth", "password"]).filter(|node| node.value != Value::Null);
        let is_reference = password.is_some_and(|node| matches!(node.value, Value::Object(_)));
        let in_file = password.is_some() && self.0.configuration.kind == Kind::OpenClaw;
        let in_environment = source("OPENCLAW_GATEWAY_PASSWORD");
        if in_file || in_environment.is_some() {
            let (path, problem) = match in_environment {
                Some(source) if !in_file => ("OPENCLAW_GATEWAY_PASSWORD", format!("is set in {source}")),
                _ if is_reference => ("gateway.auth.password", "is a reference to a secret".to_owned()),
                _ => ("gateway.auth.password", "is set".to_owned()),
            };
            self.0.add(
                "check.local_password",
                Level::Info,
                path,
                format!("{problem}: callers that bypass the proxy can use it"),
                "keep the Gateway's port closed to everyone except Envoy and internal callers; without such callers, remove it",
            );
        }
    }

    /// Who is trusted on each hop.
    fn lists(&mut self, envoy: Option<Address>) {
        const THEIRS: &str = "gateway.trustedProxies";
        const OURS: &str = "filter.trustedProxies";
        let theirs = self.texts(&["gateway", "trustedProxies"]);
        let ours = self.at(&["filter", "trustedProxies"]).map(|_| self.texts(&["filter", "trustedProxies"]));
        let mut sorted = theirs.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let same = ours.clone().is_some_and(|mut ours| {
            ours.sort_unstable();
            ours.dedup();
            ours == sorted
        });
        if same && !theirs.is_empty() {
            self.0.add(
                "check.same_lists",
                Level::Warn,
                OURS,
                "is the same as gateway.trustedProxies",
                "put Envoy in the Gateway's list, and your proxy (Envoy's peer) in the filter's; if both have the same address, \
                 remove the filter's list",
            );
        } else if ours.is_none() && !self.is_true(&["filter", "edge"]) && !theirs.is_empty() {
            self.0.add(
                "check.one_list",
                Level::Info,
                THEIRS,
                "is used for both hops: the Gateway looks for Envoy in it, and the filter looks for Envoy's peer",
                "keep it if both have the same address; otherwise put Envoy here, and your proxy in filter.trustedProxies",
            );
        }
        let Some(envoy) = envoy else {
            self.0.add(
                "check.envoy_unknown",
                Level::Info,
                THEIRS,
                "may or may not include Envoy",
                "to check that, add --envoy with the address from which Envoy connects to the Gateway",
            );
            return;
        };
        let ip = envoy.ip();
        if !theirs.iter().any(|entry| holds(entry, &envoy)) {
            let (level, remedy) = match self.0.configuration.kind {
                Kind::OpenClaw => (Level::Error, format!("add \"{ip}\"")),
                Kind::Plugin => (Level::Warn, format!("make sure that the Gateway's own list has \"{ip}\"")),
            };
            let problem = format!("does not include Envoy ({ip}): the Gateway refuses everything that Envoy sends");
            self.0.add("check.envoy_not_trusted", level, THEIRS, problem, remedy);
        }
        let allows = self.at(&["gateway", "auth", "trustedProxy", "allowLoopback"]);
        if envoy.is_loopback() && allows.is_none_or(|node| node.value != Value::Bool(true)) {
            self.0.add(
                "check.envoy_on_loopback",
                Level::Error,
                "gateway.auth.trustedProxy.allowLoopback",
                format!("is not true, but Envoy connects from {ip}: the Gateway refuses everything that Envoy sends"),
                "set it to true, or let Envoy connect from another host",
            );
        }
    }

    /// Lists should name proxies, not networks.
    fn networks(&mut self) {
        for list in [["gateway", "trustedProxies"], ["filter", "trustedProxies"]] {
            let is_network = |entry: &&str| {
                let prefix = entry
                    .split_once('/')
                    .and_then(|(address, prefix)| Some((address, prefix.trim().parse::<u8>().ok()?)));
                prefix.is_some_and(|(address, prefix)| prefix < if address.contains(':') { 128 } else { 32 })
            };
            let networks: Vec<_> = self.texts(&list).into_iter().filter(is_network).collect();
            if let Some(first) = networks.first() {
                let more = networks.len().saturating_sub(1);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                self.0.add(
                    "check.networks",
                    Level::Info,
                    &list.join("."),
                    format!("trusts whole networks: {first}{more}"),
                    "list the individual proxies if their addresses do not change",
                );
            }
        }
    }

    /// Where the Gateway listens, and who can then reach it.
    fn bind(&mut self) {
        let bind = self.at(&["gateway", "bind"]);
        let list = ["gateway", "trustedProxies"];
        if self.0.configuration.kind != Kind::OpenClaw
            || self.texts(&list).is_empty()
            || lists_local(self.0.configuration, &list)
        {
            return;
        }
        // In a container the default is every address, and `--bind` of the command line wins over the file.
        let (level, problem) = match bind.map(Node::text) {
            None => (
                Level::Info,
                "is not set: unless the Gateway runs in a container or is started with --bind, it listens on loopback only",
            ),
            Some(Some("loopback")) => {
                (Level::Warn, "makes the Gateway listen on loopback only, unless it is started with another --bind")
            }
            Some(_) => return,
        };
        self.0.add(
            "check.bind_loopback",
            level,
            "gateway.bind",
            format!("{problem}; gateway.trustedProxies has no loopback address"),
            "if Envoy is on another host, set bind to \"lan\" and close the port to everyone else; if it is on this host, \
             list 127.0.0.1 and set allowLoopback",
        );
    }

    /// Settings that are valid one by one, but with which a Gateway does not start (`validateGatewayTailscaleBind` in
    /// its `src/config/validation-core.ts`, and `src/gateway/server-runtime-config.ts`).
    fn start(&mut self) {
        let text = |key: &[&str]| self.at(key).and_then(Node::text).map(str::trim).unwrap_or_default().to_owned();
        let (bind, tailscale) = (text(&["gateway", "bind"]), text(&["gateway", "tailscale", "mode"]));
        let host = text(&["gateway", "customBindHost"]).parse::<std::net::Ipv4Addr>().ok();
        let is_loopback = match &*bind {
            "" | "loopback" => true,
            "custom" => host.is_some_and(|host| host.is_loopback()),
            _ => false,
        };
        let mut stops = Vec::new();
        if text(&["gateway", "mode"]) == "remote" {
            stops.push(("gateway.mode", "is \"remote\": no Gateway runs on this host", "set it to \"local\""));
        }
        if tailscale == "funnel" {
            stops.push((
                "gateway.tailscale.mode",
                "is \"funnel\", and the Gateway does not start: tailscale funnel requires gateway auth mode=password",
                "set it to \"off\": the authenticating proxy must be the only way in",
            ));
        } else if tailscale == "serve" && !is_loopback {
            stops.push((
                "gateway.bind",
                "is not loopback, and the Gateway does not start: gateway.bind must resolve to loopback when \
                 gateway.tailscale.mode=serve",
                "set gateway.tailscale.mode to \"off\", or bind to \"loopback\"",
            ));
        }
        if bind == "custom" && host.is_none() {
            stops.push((
                "gateway.customBindHost",
                "is not an IPv4 address, and the Gateway does not start: gateway.bind=custom requires gateway.customBindHost",
                "write the address on which the Gateway is to listen, or set bind to \"lan\"",
            ));
        }
        // `resolveHooksConfig` in its `src/gateway/hooks.ts`.
        let hooks = self.0.configuration.document.at(&["hooks"]);
        if hooks.at(&["enabled"]).is_true() {
            let text = |key: &str| hooks.at(&[key]).text().map(trim);
            if text("token").is_none_or(str::is_empty) {
                stops.push((
                    "hooks.token",
                    "is not set, and the Gateway does not start: hooks.enabled requires hooks.token",
                    "write a token for the senders of webhooks, or set hooks.enabled to false",
                ));
            }
            if text("path") == Some("/") {
                stops.push((
                    "hooks.path",
                    "is the root, and the Gateway does not start: hooks.path may not be '/'",
                    "write a path such as \"/hooks\"",
                ));
            }
        }
        for (path, problem, remedy) in stops {
            self.0.add("check.does_not_start", Level::Error, path, problem, remedy);
        }
    }

    /// Senders of webhooks are nobody's browser: the filter refuses them, unless their path needs no user.
    fn webhooks(&mut self) {
        if !self.0.configuration.document.at(&["hooks", "enabled"]).is_true() {
            return;
        }
        let path = self.0.configuration.hooks_path();
        let passes = |entry: &&str| entry.strip_prefix(&path).is_some_and(|rest| rest.starts_with('/'));
        if !self.texts(&["filter", "anonymousPaths"]).iter().any(passes) {
            self.0.add(
                "check.webhooks",
                Level::Info,
                "hooks.enabled",
                format!("senders of webhooks ({path}/*) have no user, so the filter refuses them"),
                format!("if they come through Envoy, add \"{path}/*\" to filter.anonymousPaths"),
            );
        }
    }

    /// TLS ends at the proxy: origins without TLS, and a Gateway that serves TLS to Envoy.
    fn tls(&mut self) {
        let origins = self.texts(&["gateway", "controlUi", "allowedOrigins"]);
        for (at, origin) in origins.iter().enumerate() {
            let host = origin.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
            if host.is_some_and(|host| host != "localhost" && !host.starts_with("127.") && !host.starts_with('[')) {
                self.0.add(
                    "check.origin_without_tls",
                    Level::Warn,
                    &format!("gateway.controlUi.allowedOrigins[{at}]"),
                    format!(
                        "{origin:?} is served without TLS: anyone on the network path can read and change the page"
                    ),
                    "terminate TLS at the proxy, and list the https origin",
                );
            }
        }
        if self.is_true(&["gateway", "tls", "enabled"]) {
            self.0.add(
                "check.gateway_tls",
                Level::Info,
                "gateway.tls.enabled",
                "makes the Gateway serve TLS",
                "give Envoy's cluster a TLS transport socket that verifies the Gateway's certificate",
            );
        }
    }

    /// The filter reads plain JSON, and resolves no variables or includes.
    fn plugin_is_plain_json(&mut self) {
        let text = self.0.configuration.passed_on().map(serde_json::from_str::<serde::de::IgnoredAny>);
        if let Some(Err(error)) = text {
            self.0.add(
                "check.not_plain_json",
                Level::Warn,
                "",
                format!("is JSON5, but the filter reads plain JSON: {error}"),
                "if Envoy passes this file on unchanged, write plain JSON: no comments, no trailing commas, all keys in quotes",
            );
        }
        self.templates(&["gateway", "filter"]);
        let mut words = Vec::new();
        find_old_booleans(self.0.configuration, &self.0.configuration.plugin, "", &mut words);
        for (path, word) in words {
            self.0.add(
                "check.yaml_boolean",
                Level::Warn,
                &path,
                format!("is the word {word} without quotes: Envoy and kubectl take it for a boolean"),
                format!("write \"{word}\" in quotes, or true or false"),
            );
        }
    }

    /// Variables and includes in places where they are not resolved.
    fn templates(&mut self, blocks: &[&str]) {
        let mut found = Vec::new();
        for block in blocks {
            if let Some(node) = self.at(&[block]) {
                find_templates(node, block, &mut found);
            }
        }
        for (path, what) in found {
            self.0.add(
                "check.not_substituted",
                Level::Error,
                &path,
                format!("has {what}, which the filter does not resolve"),
                "write the value itself: only the Gateway resolves this, and only in its openclaw.json",
            );
        }
    }
}

/// Whether a list of proxies has a loopback address that is in use.
pub(super) fn lists_local(configuration: &Configuration, list: &[&str]) -> bool {
    let is_local = |entry: &str| {
        ["127.0.0.1", "::1"]
            .iter()
            .any(|local| Address::parse(local.as_bytes()).is_some_and(|local| holds(entry, &local)))
    };
    configuration.plugin.at(list).texts().any(is_local)
}

/// Whether a valid entry of a list of proxies covers an address.
fn holds(entry: &str, address: &Address) -> bool {
    let bare = entry.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(entry);
    Address::parse(bare.as_bytes()).is_some_and(|exact| exact.ip() == address.ip())
        || entry.parse::<IpNet>().is_ok_and(|net| net.contains(&address.ip()))
}

/// Plain words of YAML that its older readers take for booleans, with their paths.
fn find_old_booleans(configuration: &Configuration, node: &Node, path: &str, found: &mut Vec<(String, String)>) {
    match &node.value {
        Value::String(word) if is_old_boolean(word) && configuration.written(node) == word => {
            found.push((path.to_owned(), word.clone()));
        }
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                find_old_booleans(configuration, item, &format!("{path}[{at}]"), found);
            }
        }
        Value::Object(members) => {
            let dot = if path.is_empty() { "" } else { "." };
            for Member { key, node, .. } in members {
                find_old_booleans(configuration, node, &format!("{path}{dot}{key}"), found);
            }
        }
        _ => {}
    }
}

/// Includes and variables, with their paths.
fn find_templates(node: &Node, path: &str, found: &mut Vec<(String, String)>) {
    match &node.value {
        Value::String(text) if has_reference(text) => found.push((path.to_owned(), "a variable (${…})".to_owned())),
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                find_templates(item, &format!("{path}[{at}]"), found);
            }
        }
        Value::Object(members) => {
            let dot = if path.is_empty() { "" } else { "." };
            for Member { key, node, .. } in members {
                let path = format!("{path}{dot}{key}");
                if key == "$include" {
                    found.push((path, "an include".to_owned()));
                } else {
                    find_templates(node, &path, found);
                }
            }
        }
        _ => {}
    }
}
