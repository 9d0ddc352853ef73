//! What neither the filter nor the Gateway can see alone: variables, and how the two fit together.

use ipnet::IpNet;
use policy::peer::Address;

use super::finding::{Finding, Level};
use crate::input::{Configuration, Kind, has_reference};
use crate::json5::{Member, Node, Value};

/// Adds what there is to say.
pub fn add(configuration: &Configuration, envoy: Option<Address>, findings: &mut Vec<Finding>) {
    let mut report = Report { configuration, findings };
    report.secrets();
    report.lists(envoy);
    report.networks();
    report.bind();
    report.tls();
    match configuration.kind {
        Kind::Plugin => report.plugin_is_plain_json(),
        Kind::OpenClaw => {
            report.templates(&["filter"]);
            report.misspelled_keys();
        }
    }
}

struct Report<'a> {
    configuration: &'a Configuration,
    findings: &'a mut Vec<Finding>,
}

impl Report<'_> {
    fn add(
        &mut self,
        id: &'static str,
        level: Level,
        path: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding::new(self.configuration, id, level, path, problem, remedy));
    }

    fn at(&self, path: &[&str]) -> Option<&Node> {
        self.configuration.at(path)
    }

    /// Shared secrets of the Gateway, wherever they are set. Their values are never shown.
    fn secrets(&mut self) {
        let source = |name: &str| self.configuration.environment.get(name).map(|(_, source)| source.to_owned());
        if let Some(source) = source("OPENCLAW_GATEWAY_TOKEN") {
            self.add(
                "mixed_trusted_proxy_token",
                Level::Error,
                "OPENCLAW_GATEWAY_TOKEN",
                format!("is set in {source}: with it the Gateway refuses to start in this mode"),
                "unset it for the Gateway; if the environment of this command is not the Gateway's, use --ignore-environment",
            );
        }
        let password = self.at(&["gateway", "auth", "password"]).filter(|node| node.value != Value::Null);
        let is_reference = password.is_some_and(|node| matches!(node.value, Value::Object(_)));
        let in_file = password.is_some() && self.configuration.kind == Kind::OpenClaw;
        let in_environment = source("OPENCLAW_GATEWAY_PASSWORD");
        if in_file || in_environment.is_some() {
            let (path, problem) = match in_environment {
                Some(source) if !in_file => ("OPENCLAW_GATEWAY_PASSWORD", format!("is set in {source}")),
                _ if is_reference => ("gateway.auth.password", "is a reference to a secret".to_owned()),
                _ => ("gateway.auth.password", "is set".to_owned()),
            };
            self.add(
                "check.local_password",
                Level::Info,
                path,
                format!("{problem}: callers that go round the proxy may use it"),
                "keep the Gateway's port closed to everybody but Envoy and internal callers; leave it out if there are none",
            );
        }
    }

    /// Who is trusted on which hop.
    fn lists(&mut self, envoy: Option<Address>) {
        const THEIRS: &str = "gateway.trustedProxies";
        const OURS: &str = "filter.trustedProxies";
        let theirs = texts(self.at(&["gateway", "trustedProxies"]));
        let ours = self.at(&["filter", "trustedProxies"]).map(|node| texts(Some(node)));
        let mut sorted = theirs.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let same = ours.clone().is_some_and(|mut ours| {
            ours.sort_unstable();
            ours.dedup();
            ours == sorted
        });
        if same && !theirs.is_empty() {
            self.add(
                "check.same_lists",
                Level::Warn,
                OURS,
                "is the same as gateway.trustedProxies",
                "name Envoy in the Gateway's list, and Envoy's peer, your proxy, in the filter's; if both have the same address, leave the filter's out",
            );
        } else if ours.is_none()
            && self.at(&["filter", "edge"]).is_none_or(|node| node.value != Value::Bool(true))
            && !theirs.is_empty()
        {
            self.add(
                "check.one_list",
                Level::Info,
                THEIRS,
                "serves both hops: the Gateway looks for Envoy in it, and the filter for Envoy's peer",
                "right where both have the same address; else name Envoy here, and your proxy in filter.trustedProxies",
            );
        }
        let Some(envoy) = envoy else {
            self.add(
                "check.envoy_unknown",
                Level::Info,
                THEIRS,
                "may or may not name Envoy",
                "give the address from which Envoy connects to the Gateway with --envoy, to have that checked",
            );
            return;
        };
        let ip = envoy.ip();
        if !theirs.iter().any(|entry| holds(entry, &envoy)) {
            let (level, remedy) = match self.configuration.kind {
                Kind::OpenClaw => (Level::Error, format!("add \"{ip}\"")),
                Kind::Plugin => (Level::Warn, format!("see to it that the Gateway's own list has \"{ip}\"")),
            };
            let problem = format!("does not name Envoy, {ip}: the Gateway refuses all that Envoy sends");
            self.add("check.envoy_not_trusted", level, THEIRS, problem, remedy);
        }
        let allows = self.at(&["gateway", "auth", "trustedProxy", "allowLoopback"]);
        if envoy.is_loopback() && allows.is_none_or(|node| node.value != Value::Bool(true)) {
            self.add(
                "check.envoy_on_loopback",
                Level::Error,
                "gateway.auth.trustedProxy.allowLoopback",
                format!("is not true, and Envoy connects from {ip}: the Gateway refuses all that Envoy sends"),
                "set it to true, or let Envoy connect from another host",
            );
        }
    }

    /// Proxies, not networks.
    fn networks(&mut self) {
        for list in [["gateway", "trustedProxies"], ["filter", "trustedProxies"]] {
            let is_network = |entry: &&String| {
                let prefix = entry
                    .split_once('/')
                    .and_then(|(address, prefix)| Some((address, prefix.trim().parse::<u8>().ok()?)));
                prefix.is_some_and(|(address, prefix)| prefix < if address.contains(':') { 128 } else { 32 })
            };
            let networks: Vec<_> = texts(self.at(&list)).iter().filter(is_network).cloned().collect();
            if let Some(first) = networks.first() {
                let more = networks.len().saturating_sub(1);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                self.add(
                    "check.networks",
                    Level::Info,
                    &list.join("."),
                    format!("trusts whole networks: {first}{more}"),
                    "list the proxies themselves where their addresses stay the same",
                );
            }
        }
    }

    /// Where the Gateway listens, and who can then reach it.
    fn bind(&mut self) {
        let bind = self.at(&["gateway", "bind"]);
        let is_loopback = bind.is_none_or(|node| node.text() == Some("loopback"));
        let list = texts(self.at(&["gateway", "trustedProxies"]));
        let is_local = |entry: &String| {
            ["127.0.0.1", "::1"]
                .iter()
                .any(|local| Address::parse(local.as_bytes()).is_some_and(|local| holds(entry, &local)))
        };
        if self.configuration.kind == Kind::OpenClaw && is_loopback && !list.is_empty() && !list.iter().any(is_local) {
            self.add(
                "check.bind_loopback",
                Level::Warn,
                "gateway.bind",
                "lets the Gateway listen on the loopback address alone, and gateway.trustedProxies names no loopback address",
                "for an Envoy on another host set bind to \"lan\" and close the port to everybody else; for one on this host list 127.0.0.1 and set allowLoopback",
            );
        }
    }

    /// TLS ends at the proxy: what is served over plain HTTP, and what Envoy must speak to the Gateway.
    fn tls(&mut self) {
        let origins = texts(self.at(&["gateway", "controlUi", "allowedOrigins"]));
        for (at, origin) in origins.iter().enumerate() {
            let host = origin.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
            if host.is_some_and(|host| host != "localhost" && !host.starts_with("127.") && !host.starts_with('[')) {
                self.add(
                    "check.origin_without_tls",
                    Level::Warn,
                    &format!("gateway.controlUi.allowedOrigins[{at}]"),
                    format!("{origin:?} is served without TLS: whoever is on the way can read and change the page"),
                    "let the proxy end TLS, and list the https origin",
                );
            }
        }
        if self.at(&["gateway", "tls", "enabled"]).is_some_and(|node| node.value == Value::Bool(true)) {
            self.add(
                "check.gateway_tls",
                Level::Info,
                "gateway.tls.enabled",
                "lets the Gateway speak TLS",
                "give Envoy's cluster a transport socket with TLS that verifies the Gateway's certificate",
            );
        }
    }

    /// The filter reads plain JSON, and substitutes nothing.
    fn plugin_is_plain_json(&mut self) {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(self.configuration.text()) {
            self.add(
                "check.not_plain_json",
                Level::Warn,
                "",
                format!("is JSON5, and the filter reads plain JSON: {error}"),
                "write plain JSON where Envoy hands the file over as it is: no comments, no trailing commas, all keys in quotes",
            );
        }
        self.templates(&["gateway", "filter"]);
    }

    /// Variables and includes where nobody resolves them.
    fn templates(&mut self, blocks: &[&str]) {
        let mut found = Vec::new();
        for block in blocks {
            if let Some(node) = self.at(&[block]) {
                find_templates(node, block, &mut found);
            }
        }
        for (path, what) in found {
            self.add(
                "check.not_substituted",
                Level::Error,
                &path,
                format!("has {what}, which the filter takes as it is"),
                "write the value itself: only the Gateway resolves this, in its own openclaw.json",
            );
        }
    }

    /// A block that is not read because of its spelling.
    fn misspelled_keys(&mut self) {
        let keys: Vec<String> = self.configuration.document.members().iter().map(|member| member.key.clone()).collect();
        for key in keys {
            if ["gateway", "filter"].iter().any(|known| key != *known && is_alike(&key, known)) {
                self.add(
                    "check.misspelled_key",
                    Level::Warn,
                    &key,
                    "is never used",
                    "write \"gateway\" or \"filter\" if that is what is meant",
                );
            }
        }
    }
}

/// The texts of a list, trimmed.
fn texts(list: Option<&Node>) -> Vec<String> {
    match list.map(|node| &node.value) {
        Some(Value::List(items)) => items.iter().filter_map(Node::text).map(|text| text.trim().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// Whether an entry of a list of proxies, a good one, holds an address.
fn holds(entry: &str, address: &Address) -> bool {
    let bare = entry.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(entry);
    Address::parse(bare.as_bytes()).is_some_and(|exact| exact.ip() == address.ip())
        || entry.parse::<IpNet>().is_ok_and(|net| net.contains(&address.ip()))
}

/// Includes and variables, with their paths.
fn find_templates(node: &Node, path: &str, found: &mut Vec<(String, String)>) {
    match &node.value {
        Value::String(text) if has_reference(text) => found.push((path.to_owned(), "a variable, ${…}".to_owned())),
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

/// Whether a key is another one but for its case or one letter.
fn is_alike(key: &str, known: &str) -> bool {
    let key = &*key.to_ascii_lowercase();
    if key == known {
        return true;
    }
    let (long, short) = if key.len() >= known.len() { (key, known) } else { (known, key) };
    let common = long.chars().zip(short.chars()).take_while(|(a, b)| a == b).count();
    let tail = |text: &str, skip: usize| text.chars().skip(common).skip(skip).collect::<String>();
    match long.len().checked_sub(short.len()) {
        Some(0) => tail(long, 1) == tail(short, 1) || (tail(long, 2) == tail(short, 2)),
        Some(1) => tail(long, 1) == tail(short, 0),
        _ => false,
    }
}
