//! Whether anybody can come in: a search for requests that the policy admits. The policy itself judges each of them.

use std::net::IpAddr;

use policy::config::{MOST_ERRORS, compile};
use policy::headers::serialize;
use policy::peer::socket_address;
use policy::{Kind, Peer, PeerAddress, Policy, Reason};
use serde_json::{Value as Json, json};

use super::finding::{Finding, Level};
use super::odd::{is_no_origin, odd_user};
use crate::candidates;
use crate::input::Configuration;
use crate::json5::Value;
use crate::record::{STAND_IN, without_secrets};

const USERS: &str = "gateway.auth.trustedProxy.allowUsers";
const ORIGINS: &str = "gateway.controlUi.allowedOrigins";
const THEIRS: &str = "gateway.trustedProxies";
const OURS: &str = "filter.trustedProxies";
const LOOPBACK: &str = "gateway.auth.trustedProxy.allowLoopback";

/// How many of a kind are tried. Those that are most likely to pass come first.
const MOST: usize = 32;
/// How many users are tried once one of them passes.
const MOST_USERS: usize = 1000;

/// What is asked for when any user, or any origin, is allowed.
const ANY_ORIGIN: &str = "https://openclaw.example.com";

/// How a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    Browser,
    WebSocket,
}

impl Way {
    const ALL: [Self; 3] = [Self::Http, Self::Browser, Self::WebSocket];

    const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Browser => "browser",
            Self::WebSocket => "websocket",
        }
    }
}

/// One request that is tried.
#[derive(Debug, Clone)]
struct Attempt {
    peer: IpAddr,
    assertion: Option<Vec<u8>>,
    /// The index of the source, and the identity of the peer.
    identity: Option<(usize, String)>,
    headers: Vec<(String, Vec<u8>)>,
}

/// What was found for one user.
#[derive(Debug)]
struct Found {
    user: String,
    at: Option<usize>,
    /// By [`Way::ALL`].
    ways: [Option<Attempt>; 3],
}

/// The search under one policy.
pub struct Witnesses<'a> {
    configuration: &'a Configuration,
    policy: Policy,
    json: Json,
    found: Vec<Found>,
    identities: Vec<Option<(usize, String)>>,
    /// The reason that refuses most of the best candidate, if nobody passes.
    reason: Option<Reason>,
}

impl<'a> Witnesses<'a> {
    /// Searches. `None` if the configuration has errors.
    pub fn search(configuration: &'a Configuration) -> Option<Self> {
        let json: Json = serde_json::from_str(&configuration.plugin_json()).ok()?;
        // A request that holds the secret cannot be made up here, so a stand-in takes the secret's place.
        let policy = compile(without_secrets(json.clone()).to_string().as_bytes()).ok()?.policy;
        if policy.required_headers().len() > MOST_REQUIRED {
            return None;
        }
        let mut search = Self { configuration, policy, json, found: Vec::new(), identities: Vec::new(), reason: None };
        search.run();
        Some(search)
    }

    fn list(&self, path: &[&str]) -> Vec<String> {
        self.configuration.plugin.at(path).texts().map(str::to_owned).collect()
    }

    fn is_true(&self, path: &[&str]) -> bool {
        self.configuration.plugin.at(path).is_true()
    }

    fn run(&mut self) {
        let listed = self.list(&["gateway", "auth", "trustedProxy", "allowUsers"]);
        let users: Vec<(String, Option<usize>)> = if listed.is_empty() {
            vec![(candidates::ANY_USER.to_owned(), None)]
        } else {
            listed.into_iter().enumerate().map(|(at, user)| (user, Some(at))).collect()
        };
        let (peers, clients) = (candidates::peers(self.configuration), candidates::clients(self.configuration));
        let (mut origins, any) = self.origins();
        origins.retain(|origin| !is_no_origin(origin));
        if any {
            origins.push(ANY_ORIGIN.to_owned());
        }
        origins.truncate(MOST);
        // What was found for one user is tried first for the next.
        let (mut peer, mut client) = (None, None);
        self.identities = self.identities();
        for (user, at) in users {
            // A long list is not tried to its end once somebody passes, or if the user is not what is wrong.
            let is_settled = if peer.is_some() { self.found.len() >= MOST_USERS } else { self.is_about_the_peer() };
            if is_settled {
                break;
            }
            let mut ways = [None, None, None];
            if at.is_none() || odd_user(&user).is_none() {
                for (way, slot) in Way::ALL.into_iter().zip(&mut ways) {
                    let peers: Vec<_> = peer.map_or_else(|| peers.clone(), |peer| vec![peer]);
                    let clients: Vec<_> = client.map_or_else(|| clients.clone(), |client| vec![client]);
                    *slot = self.first(&user, way, &origins, &peers, &clients, &mut (&mut peer, &mut client));
                }
            }
            self.found.push(Found { user, at, ways });
        }
    }

    /// The first request that passes.
    fn first(
        &mut self,
        user: &str,
        way: Way,
        origins: &[String],
        peers: &[IpAddr],
        clients: &[IpAddr],
        good: &mut (&mut Option<IpAddr>, &mut Option<IpAddr>),
    ) -> Option<Attempt> {
        const PATHS: [&str; 3] = ["/", "/v1/models", "/control-ui-config.json"];
        let none = [None];
        let origins: Vec<Option<&String>> =
            if way == Way::Http { none.to_vec() } else { origins.iter().map(Some).collect() };
        let identities = self.identities.clone();
        for &peer in peers {
            for &client in clients {
                for origin in &origins {
                    for path in PATHS {
                        for user_bytes in candidates::spellings(user) {
                            for identity in &identities {
                                let client = if self.is_true(&["filter", "edge"]) { peer } else { client };
                                let mut attempt = self.attempt(&user_bytes, way, *origin, peer, client, path);
                                attempt.identity.clone_from(identity);
                                match self.judge(&attempt) {
                                    None => {
                                        (*good.0, *good.1) = (Some(peer), Some(client));
                                        return Some(attempt);
                                    }
                                    Some(reason) => self.note(reason),
                                }
                            }
                        }
                    }
                }
            }
        }
        None
    }

    /// Whether a rule before those on users refuses everything.
    fn is_about_the_peer(&self) -> bool {
        use Reason::{AttributionRequired, LoopbackSource, PeerCertificate, UntrustedSource};
        matches!(&self.reason, Some(AttributionRequired | LoopbackSource | PeerCertificate | UntrustedSource))
    }

    /// Keeps the reason of the candidate that came furthest.
    fn note(&mut self, reason: Reason) {
        let rank = |reason: &Reason| match reason {
            Reason::UntrustedSource => 0,
            Reason::LoopbackSource => 1,
            Reason::AttributionRequired => 2,
            _ => 3,
        };
        if self.reason.as_ref().is_none_or(|known| rank(known) < rank(&reason)) {
            self.reason = Some(reason);
        }
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.json.pointer(&format!("/filter/{key}")).and_then(Json::as_str)
    }

    fn attempt(
        &self,
        bytes: &[u8],
        way: Way,
        origin: Option<&String>,
        peer: IpAddr,
        client: IpAddr,
        path: &str,
    ) -> Attempt {
        let host = origin.and_then(|origin| origin.split_once("://")).map_or("openclaw.example.com", |(_, host)| host);
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |name: &str, value: &[u8]| headers.push((name.to_ascii_lowercase(), value.to_vec()));
        add(":method", b"GET");
        add(":path", path.as_bytes());
        add(":authority", host.as_bytes());
        add("x-forwarded-for", client.to_string().as_bytes());
        if self.is_true(&["gateway", "allowRealIpFallback"]) {
            add("x-real-ip", client.to_string().as_bytes());
        }
        let prefix = self.setting("userPrefix").unwrap_or_default();
        let header = String::from_utf8_lossy(self.policy.user_header()).into_owned();
        add(&header, &[prefix.as_bytes(), bytes].concat());
        if let Some(origin) = origin {
            add("origin", origin.as_bytes());
            add("sec-fetch-site", b"same-origin");
        }
        if way == Way::WebSocket {
            add("upgrade", b"websocket");
            add("connection", b"Upgrade");
            add("sec-websocket-version", b"13");
            add("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==");
        }
        let more = self.policy.secret_headers().chain(self.policy.required_headers().iter().map(String::as_str));
        for name in more {
            let name = name.to_ascii_lowercase();
            if !headers.iter().any(|(other, _)| *other == name) {
                headers.push((name, STAND_IN.to_vec()));
            }
        }
        let assertion = self.policy.assertion_path().is_some().then(|| bytes.to_vec());
        Attempt { peer, assertion, identity: None, headers }
    }

    /// Why the policy refuses the request; `None` if it admits the user.
    fn judge(&self, attempt: &Attempt) -> Option<Reason> {
        let bare = attempt.peer.to_string();
        let peer = match self.policy.peer_address() {
            PeerAddress::FilterState(_) => Peer::from_filter_state(bare.as_bytes()),
            PeerAddress::Connection => {
                Peer::from_connection(std::net::SocketAddr::new(attempt.peer, 40000).to_string().as_bytes())
            }
        };
        let map = serialize(&attempt.headers);
        let Ok(mut request) = self.policy.read(peer, &map) else { return Some(Reason::UserMissing) };
        request.destination = socket_address(b"198.51.100.253:8080");
        request.assertion = attempt.assertion.as_deref();
        request.claims_are_true = true;
        request.identity = attempt
            .identity
            .as_ref()
            .and_then(|(source, identity)| Some(self.policy.identity_sources().get(*source)?.of(identity.as_bytes())));
        match self.policy.decide(&request) {
            Ok(admission) if matches!(admission.kind(), Kind::Identified(_)) => None,
            Ok(_) => Some(Reason::UserMissing),
            Err(refusal) => Some(refusal.reason),
        }
    }

    fn identities(&self) -> Vec<Option<(usize, String)>> {
        let sources = self.policy.identity_sources().len();
        let mut all = vec![None];
        for identity in self.list(&["filter", "trustedPeers"]).into_iter().take(MOST) {
            all.extend((0..sources).map(|source| Some((source, identity.clone()))));
        }
        if all.len() > 1 {
            all.remove(0);
        }
        all
    }

    /// The origins that are listed, and whether any other one may pass.
    fn origins(&self) -> (Vec<String>, bool) {
        let listed = self.list(&["gateway", "controlUi", "allowedOrigins"]);
        let any = listed.iter().any(|origin| origin == "*")
            || self.is_true(&["gateway", "controlUi", "dangerouslyAllowHostHeaderOriginFallback"]);
        (listed, any)
    }

    /// Whether nobody can come in, or only some.
    pub fn add(&self, findings: &mut Vec<Finding>) {
        let new = |id, level, path: &str, problem: String, remedy: &str| {
            Finding::new(self.configuration, id, level, path, problem, remedy)
        };
        let can = |at: usize| self.found.iter().any(|found| found.ways.get(at).is_some_and(Option::is_some));
        if self.gateway_trusts_nothing() {
            let problem = "nobody can come in: no entry is an address from which Envoy can connect to the Gateway";
            findings.push(new(
                "check.nobody_can_come_in",
                Level::Error,
                THEIRS,
                problem.to_owned(),
                "list the address from which Envoy connects to the Gateway",
            ));
            return;
        }
        let gateway_is_local = self.gateway_trusts_loopback_alone();
        if gateway_is_local || !(0..Way::ALL.len()).any(can) {
            let (path, problem, remedy) = self.nobody(gateway_is_local);
            // The error says the same.
            findings.retain(|finding| !matches!(finding.id, "filter.loopback_proxies" | "filter.no_client"));
            findings.push(new("check.nobody_can_come_in", Level::Error, path, problem, remedy));
            return;
        }
        let has_control_ui = self
            .configuration
            .at(&["gateway", "controlUi", "enabled"])
            .is_none_or(|node| node.value != Value::Bool(false));
        let is_known = findings.iter().any(|finding| finding.id == "gateway.control_ui.allowed_origins_required");
        if has_control_ui && !can(1) && !can(2) {
            let remedy = "list the origin of the page, such as \"https://openclaw.example.com\"";
            let problem = "nobody can come in with a browser:".to_owned();
            if !self.origins().0.is_empty() {
                let problem = format!("{problem} no entry is an origin that a browser sends");
                findings.push(new("check.no_browser_can_come_in", Level::Error, ORIGINS, problem, remedy));
            } else if !is_known {
                let problem = format!("{problem} behind a proxy no browser is local, and no origin is listed");
                findings.push(new("check.no_browser_can_come_in", Level::Warn, ORIGINS, problem, remedy));
            }
        }
        let v4 = |ip: &IpAddr| ip.is_ipv4();
        let outside = candidates::clients(self.configuration);
        let is_outside = |ip: &&IpAddr| !self.covers(ip);
        if !self.is_true(&["gateway", "allowRealIpFallback"])
            && !outside.iter().filter(is_outside).any(v4)
            && !findings.iter().any(|finding| finding.id == "filter.no_client")
        {
            let problem = "covers every IPv4 address: no client with one can come in".to_owned();
            findings.push(new("check.some_cannot_come_in", Level::Warn, THEIRS, problem, "list the proxies alone"));
        }
        let mut shown = 0_usize;
        for found in &self.found {
            if shown >= MOST_ERRORS {
                break;
            }
            let Some(at) = found.at.filter(|_| found.ways.iter().all(Option::is_none)) else { continue };
            let path = format!("{USERS}[{at}]");
            // A finding that says more about the entry.
            if findings.iter().any(|finding| finding.id == "filter.odd_user" && finding.problem.place == path) {
                continue;
            }
            shown = shown.saturating_add(1);
            let why = odd_user(&found.user).unwrap_or("no header can name this user");
            let remedy = "write the user's name as the proxy sends it";
            findings.push(new(
                "check.some_cannot_come_in",
                Level::Warn,
                &path,
                format!("cannot come in: {why}"),
                remedy,
            ));
        }
    }

    /// Whether both lists together have an address, or it is loopback.
    fn covers(&self, ip: &IpAddr) -> bool {
        let lists = [self.list(&["gateway", "trustedProxies"]), self.list(&["filter", "trustedProxies"])].concat();
        ip.is_loopback() || lists.iter().filter_map(|entry| candidates::net(entry)).any(|net| net.contains(ip))
    }

    /// Whether no connection can come from any address in the Gateway's list.
    fn gateway_trusts_nothing(&self) -> bool {
        let list = self.list(&["gateway", "trustedProxies"]);
        let nets: Vec<_> = list.iter().filter_map(|entry| candidates::net(entry)).collect();
        !nets.is_empty() && !nets.iter().flat_map(candidates::ends).any(|ip| candidates::can_connect(&ip))
    }

    /// Whether the Gateway can only trust an Envoy on its own host, and refuses it there.
    fn gateway_trusts_loopback_alone(&self) -> bool {
        let list = self.list(&["gateway", "trustedProxies"]);
        !list.is_empty()
            && !self.is_true(&["gateway", "auth", "trustedProxy", "allowLoopback"])
            && list.iter().all(|entry| {
                candidates::net(entry).is_some_and(|net| net.addr().is_loopback() && net.broadcast().is_loopback())
            })
    }

    /// The key to change if nobody can come in.
    fn nobody(&self, gateway_is_local: bool) -> (&'static str, String, &'static str) {
        let text = |text: &str| format!("nobody can come in: {text}");
        let own = self.configuration.at(&["filter", "trustedProxies"]).is_some();
        if gateway_is_local && (own || self.is_true(&["filter", "edge"])) {
            let why = "the Gateway's list has loopback addresses alone, and without this it takes nothing from them";
            let remedy = "set it to true if Envoy is on the Gateway's host; otherwise list Envoy's address there";
            return (LOOPBACK, text(why), remedy);
        }
        if gateway_is_local || self.reason == Some(Reason::LoopbackSource) {
            let remedy = "set it to true if the proxy is on this host; otherwise list the proxy's own address";
            return (LOOPBACK, text("every trusted proxy is a loopback address, and this is not true"), remedy);
        }
        let list = if own { OURS } else { THEIRS };
        match self.reason {
            None => {
                let first = self.found.iter().find_map(|found| Some((&found.user, odd_user(&found.user)?)));
                let first = first.map_or_else(String::new, |(user, why)| {
                    format!(". The first one, {:?}: {why}", self.configuration.hidden.text(user))
                });
                let why = format!("no entry is a user that a proxy sends (trusted_proxy_user_not_allowed){first}");
                (USERS, text(&why), "write one entry for each user; to allow all users, leave the list empty")
            }
            Some(Reason::AttributionRequired) => {
                // The Gateway's list, unless that one leaves somebody.
                let theirs: Vec<_> = self
                    .list(&["gateway", "trustedProxies"])
                    .iter()
                    .filter_map(|entry| candidates::net(entry))
                    .collect();
                let leaves = candidates::clients(self.configuration)
                    .iter()
                    .any(|ip| !ip.is_loopback() && !theirs.iter().any(|net| net.contains(ip)));
                let path = if leaves { list } else { THEIRS };
                (path, text("every address counts as a proxy, so no client is left"), "list the proxies alone")
            }
            Some(Reason::UserNotAllowed) => {
                (USERS, text("no entry is a user that a header can name"), "write the users as the proxy sends them")
            }
            Some(Reason::PeerCertificate) => {
                ("filter.trustedPeers", text("no entry is an identity that a peer can have"), "write its SPIFFE ID")
            }
            Some(Reason::UntrustedSource) => {
                (list, text("no entry is a peer that can connect"), "list the proxy's address")
            }
            Some(other) => {
                (USERS, text(&format!("the best request is refused with {}", other.code())), "see docs/reasons.md")
            }
        }
    }

    /// For each user, a request that passes each way: as text, or as JSON.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for found in &self.found {
            for (way, attempt) in Way::ALL.iter().zip(&found.ways) {
                let what = format!("{}, {}", self.configuration.hidden.text(&found.user), way.word());
                match attempt {
                    None => lines.push(format!("# {what}: no request passes")),
                    Some(attempt) => {
                        lines.push(format!("# {what}: from {}{}", attempt.peer, self.needs(attempt)));
                        lines.push(self.curl(attempt));
                    }
                }
            }
        }
        lines
    }

    pub fn to_json(&self) -> Json {
        let of = |found: &Found| {
            let ways = Way::ALL.iter().zip(&found.ways).map(|(way, attempt)| {
                let one = attempt.as_ref();
                let one = one.map(|one| json!({"peer": one.peer.to_string(), "curl": self.curl(one)}));
                (way.word().to_owned(), one.unwrap_or_default())
            });
            let user = json!(self.configuration.hidden.text(&found.user));
            Json::Object(std::iter::once(("user".to_owned(), user)).chain(ways).collect())
        };
        self.found.iter().map(of).collect()
    }

    /// What the connection has to bring.
    fn needs(&self, attempt: &Attempt) -> String {
        let assertion = if attempt.assertion.is_some() { ", with an assertion for this user" } else { "" };
        let identity = attempt.identity.as_ref();
        let identity = identity.map(|(_, identity)| format!(", as {}", self.configuration.hidden.text(identity)));
        format!("{assertion}{}", identity.unwrap_or_default())
    }

    fn curl(&self, attempt: &Attempt) -> String {
        let secrets: Vec<_> = self.policy.secret_headers().map(str::to_ascii_lowercase).collect();
        let mut line = String::from("curl");
        if attempt.headers.iter().any(|(name, _)| name == "upgrade") {
            line.push_str(" --http1.1");
        }
        let path = attempt.headers.iter().find(|(name, _)| name == ":path");
        line.push_str(&format!(
            " http://ENVOY{}",
            path.map_or("/".into(), |(_, value)| String::from_utf8_lossy(value))
        ));
        for (name, value) in &attempt.headers {
            let name = match name.as_str() {
                ":authority" => "host",
                name if name.starts_with(':') => continue,
                name => name,
            };
            let value = if secrets.iter().any(|secret| secret == name) {
                "SECRET".into()
            } else if value == STAND_IN {
                "1".into()
            } else {
                String::from_utf8_lossy(value)
            };
            let header = format!("{name}: {value}").replace('\'', r"'\''");
            line.push_str(&format!(" -H '{}'", self.configuration.hidden.text(&header)));
        }
        line
    }
}
/// Envoy lets no request with more headers through, unless it is told to (`max_headers_count`).
const MOST_REQUIRED: usize = 100;
