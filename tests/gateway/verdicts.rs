//! Generated requests, decided by the policy and by the Gateway's own functions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use harness::gateway::installed;
use harness::oracle::{self, ask_package};
use harness::wire::{Headers, latin1, values};
use policy::config::{Release, compile};
use policy::headers::serialize;
use policy::peer::Address;
use policy::{Edit, Kind, Peer};
use serde_json::{Value, json};

use crate::generate::{Case, Random, case};

const CASES: usize = 5_000;
const SEED: &str = "VERDICTS_SEED";

/// A public file of the Control UI.
const FOREIGN: &str = "admitted by both, whatever the origin says";

/// The filter's verdict on a case.
enum Verdict {
    /// The configuration has an error.
    Misconfigured(String),
    Refused(String),
    /// Admitted as this user, with these headers upstream.
    Admitted {
        user: String,
        upstream: Headers,
    },
}

#[test]
fn the_filter_is_never_laxer_than_the_gateway_and_stricter_only_on_purpose() {
    let seed = Random::seed(SEED);
    let mut random = Random::new(seed);
    let cases: Vec<Case> = (0..CASES).map(|_| case(&mut random)).collect();
    let compared = Gateway::installed().compare(&cases);
    crate::say(&format!("{SEED}={seed}: {compared}"));
    compared.must_agree();
    assert!(compared.counts.get(FOREIGN).is_some_and(|count| *count >= 10), "{:?}", compared.counts);
    assert!(
        compared.accepted * 3 >= CASES,
        "only {} of {CASES} cases are accepted: the generator makes too many bad cases",
        compared.accepted
    );
}

/// A release of the Gateway, and where its package is.
pub struct Gateway {
    pub release: String,
    package: PathBuf,
}

/// What the filter and a Gateway make of the same cases.
#[derive(Default)]
pub struct Compared {
    cases: usize,
    /// How many the Gateway accepts, and how many the filter admits.
    pub accepted: usize,
    admitted: usize,
    /// How often each outcome occurred. Those on purpose start with `stricter: `.
    pub counts: BTreeMap<&'static str, usize>,
    pub problems: Vec<String>,
    /// The Gateway's answers without the filter.
    pub answers: Vec<Value>,
}

impl std::fmt::Display for Compared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (cases, accepted, admitted) = (self.cases, self.accepted, self.admitted);
        writeln!(out, "{cases} cases, the Gateway accepts {accepted}, the filter admits {admitted}")?;
        self.counts.iter().try_for_each(|(what, count)| writeln!(out, "  {count:5}  {what}"))
    }
}

impl Compared {
    /// Fails with the first differences that are not on purpose.
    pub fn must_agree(&self) {
        let shown: String = self.problems.iter().take(10).map(|problem| format!("  {problem}\n")).collect();
        assert!(self.problems.is_empty(), "{} of {} cases:\n{shown}", self.problems.len(), self.cases);
    }
}

impl Gateway {
    /// The one that the tests run.
    pub fn installed() -> Self {
        Self { release: Release::NEWEST.to_string(), package: installed().0 }
    }

    /// Another release, whose package is in this folder.
    pub fn of(release: &str, package: PathBuf) -> Self {
        Self { release: release.to_owned(), package }
    }

    /// The month and the patch, which say whether the release is at least this one of 2026.
    pub fn is_since(&self, month: u32, patch: u32) -> bool {
        let numbers: Vec<u32> = self.release.split(['.', '-']).take(3).map(|number| number.parse().unwrap()).collect();
        numbers >= vec![2026, month, patch]
    }

    /// Whether it parses origins as it does since 2026.8.1, and on the maintenance lines before.
    pub fn has_strict_origins(&self) -> bool {
        self.is_since(6, 34) && !self.is_since(7, 1) || self.is_since(7, 33)
    }

    /// The plugin configuration of a case.
    fn config(&self, case: &Case) -> Value {
        let mut config = json!({"gateway": case.gateway, "filter": {"gatewayVersion": self.release}});
        // It does not start with a key that came later.
        for (key, is_known) in [
            ("allowLoopback", self.is_since(4, 27)),
            ("deviceAutoApprove", self.is_since(8, 1)),
            ("cloudflareAccessOidc", self.is_since(9, 6)),
        ] {
            if !is_known {
                config["gateway"]["auth"]["trustedProxy"].as_object_mut().unwrap().remove(key);
            }
        }
        config
    }

    fn ask(&self, questions: impl Iterator<Item = Value>) -> Vec<Value> {
        ask_package(&self.package, self.release != Release::NEWEST.to_string(), questions)
    }

    /// Runs the filter's policy and the Gateway's own functions on the same cases.
    pub fn compare(&self, cases: &[Case]) -> Compared {
        let verdicts: Vec<Verdict> = cases.iter().map(|case| judge(&self.config(case), case)).collect();
        // For requests that the filter admits, the Gateway is also asked with what it sees behind the filter.
        let behind: Vec<(usize, Value)> = verdicts
            .iter()
            .enumerate()
            .filter_map(|(index, verdict)| match verdict {
                Verdict::Admitted { upstream, .. } => Some((index, self.question(&cases[index], upstream))),
                _ => None,
            })
            .collect();
        let alone = cases.iter().map(|case| self.question(case, &on_the_wire(case)));
        let mut answers = self.ask(alone.chain(behind.iter().map(|(_, question)| question.clone())));
        let answers_behind = answers.split_off(cases.len());
        let behind: BTreeMap<usize, &Value> =
            behind.iter().zip(&answers_behind).map(|((index, _), answer)| (*index, answer)).collect();
        let mut compared = Compared { cases: cases.len(), ..Compared::default() };
        for (index, (case, (alone, verdict))) in cases.iter().zip(answers.iter().zip(&verdicts)).enumerate() {
            compared.accepted += usize::from(alone["ok"] == true);
            compared.admitted += usize::from(matches!(verdict, Verdict::Admitted { .. }));
            match self.outcome(case, alone, verdict, behind.get(&index).copied().unwrap_or(&Value::Null)) {
                Ok(class) => *compared.counts.entry(class).or_default() += 1,
                Err(what) => {
                    let shown = format!("case {index}: {what}\n    the Gateway {}: {alone}\n    {case}", self.release);
                    compared.problems.push(shown);
                }
            }
        }
        compared.answers = answers;
        compared
    }

    /// The class of what became of a case, or how the filter is wrong about it. `alone` is the Gateway's answer without
    /// the filter, `behind` the one behind it.
    fn outcome(&self, case: &Case, alone: &Value, verdict: &Verdict, behind: &Value) -> Result<&'static str, String> {
        let accepts = alone["ok"] == true;
        if alone["error"] == "Node refuses it" {
            // Such a request never reaches the Gateway's code, with or without the filter.
            return Ok("refused by Node itself");
        }
        if alone["ok"].is_null() {
            return Err("the Gateway's functions failed".to_owned());
        }
        let user = match verdict {
            Verdict::Misconfigured(error) => {
                return error_on_purpose(error).ok_or_else(|| format!("the configuration is an error: {error}"));
            }
            Verdict::Refused(reason) if accepts && alone["file"] == true && reason.ends_with("origin_not_allowed") => {
                return if is_public(case) {
                    Err("STRICTER: a public file is refused for its origin".to_owned())
                } else {
                    Ok("stricter: a file of the Control UI outside of its folders, with a foreign origin")
                };
            }
            Verdict::Refused(reason) if accepts => {
                return self
                    .stricter_on_purpose(case, reason)
                    .ok_or_else(|| format!("STRICTER: refused with {reason}"));
            }
            Verdict::Refused(_) => return Ok("refused by both"),
            Verdict::Admitted { user, .. } => user,
        };
        if !accepts {
            let is_origin = ["origin not allowed", "trusted_proxy_origin_not_allowed"]
                .iter()
                .any(|reason| alone["reason"] == **reason);
            return if is_extension(case) && is_origin && behind["ok"] == false {
                Ok("left to the Gateway: an extension's origin on an upgrade (section 9)")
            } else {
                Err("LAXER: admitted".to_owned())
            };
        }
        if behind["ok"] != true {
            return Err(format!("admitted, and then refused by the Gateway: {behind}"));
        }
        if alone["user"] != *user || behind["user"] != *user {
            return Err(format!("DIFFERENT USER: {user:?}, behind the filter {behind}"));
        }
        let (granted, left) = (strings(&alone["scopes"]), strings(&behind["scopes"]));
        let config = self.config(case);
        let lost: Vec<&String> = granted.iter().filter(|scope| !left.contains(scope)).collect();
        if let Some(gained) = left.iter().find(|scope| !granted.contains(scope)) {
            Err(format!("MORE SCOPES: {gained}, behind the filter {behind}"))
        } else if lost.is_empty() && self.is_foreign(case) {
            Ok(FOREIGN)
        } else if lost.is_empty() {
            Ok("admitted by both, with the same scopes")
        } else if lost.iter().all(|scope| !model::knows_scope(&config, scope)) {
            Ok("stricter: unknown scopes are dropped")
        } else if !is_plain(&case.path) {
            Ok("stricter: a path that is not plain gets the narrow default")
        } else if self.route(case) == "control-ui-read" && !case.path.contains("control-ui-config.json") {
            Ok("stricter: what the Control UI reads beside its configuration gets the narrow default")
        } else {
            Err(format!("FEWER SCOPES: without {lost:?}, behind the filter {behind}"))
        }
    }

    fn question(&self, case: &Case, headers: &Headers) -> Value {
        let config = json!({"gateway": self.config(case)["gateway"]});
        let mut asked = oracle::question(case.websocket, &case.peer, &case.method, &case.path, headers, &config);
        asked["route"] = json!(self.route(case));
        // For older ones, the filter asks for the origin of every file.
        asked["files"] = json!(self.is_since(9, 6));
        asked["media"] = json!(case.path.contains("assistant-media"));
        asked
    }

    /// Whether the filter refuses this request's origin on any other path.
    fn is_foreign(&self, case: &Case) -> bool {
        let elsewhere = Case { path: "/elsewhere".to_owned(), ..case.clone() };
        let verdict = judge(&self.config(&elsewhere), &elsewhere);
        matches!(verdict, Verdict::Refused(reason) if reason == "trusted_proxy_origin_not_allowed")
    }

    /// The Gateway's scope rule for a path. Written independently of the filter's own table. A path that the Gateway
    /// does not serve itself may be a plugin's, and so may `//` and `/./`: plugins see paths unchanged.
    fn route(&self, case: &Case) -> &'static str {
        let path = case.path.split('?').next().unwrap_or_default();
        let base = base_path(case);
        if case.websocket {
            let own = ["/desktop/observe", "/node-desktop/attach", "/node-portal/attach", "/__openclaw__/worker"];
            let is_own = path == "/"
                || self.is_since(8, 1) && own.contains(&path)
                || path.strip_prefix(&*base).is_some_and(|rest| matches!(rest, "" | "/"));
            return if is_own || !case.plugin { "socket" } else { "plugin" };
        }
        let setting = |block: &str, key: &str| &case.gateway[block][key];
        let enabled = |name: &str| setting("http", "endpoints")[name]["enabled"] == true;
        let has_control_ui = setting("controlUi", "enabled") != false;
        let has_places = has_control_ui && self.is_since(6, 11);
        let below: Vec<&str> = path.strip_prefix(&*base).unwrap_or_default().split('/').skip(1).collect();
        let reads = match below.as_slice() {
            ["__openclaw", "control-ui-config.json"] => has_control_ui,
            ["control-ui-config.json"] => has_places,
            ["__openclaw__", "control-ui-config.json"] => has_places && base.is_empty(),
            // These take no scopes by default; for the origin they are reads of the Control UI.
            ["__openclaw__", "plugin-icon" | "channel-avatar" | "plugin-theme-art", ..] | ["avatar", _] => {
                has_control_ui && setting("auth", "allowTailscale") == true
            }
            ["__openclaw__", "assistant-media"] | ["api", "users", ..] => setting("auth", "allowTailscale") == true,
            _ => path.starts_with("/api/users/") && setting("auth", "allowTailscale") == true,
        };
        match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            _ if reads => "control-ui-read",
            ["tools", "invoke"] | ["sessions", _, "kill" | "history"] => "api",
            // For the Gateway these are the same as the first.
            [".", "tools", "invoke"] => "api",
            ["v1", "chat", "completions"] if enabled("chatCompletions") => "api",
            ["v1", "responses"] if enabled("responses") => "api",
            ["v1", "models"] | ["v1", "models", _] | ["v1", "embeddings"]
                if enabled("chatCompletions") || enabled("responses") =>
            {
                "api"
            }
            _ => "plugin",
        }
    }

    fn stricter_on_purpose(&self, case: &Case, reason: &str) -> Option<&'static str> {
        match reason {
            "trusted_proxy_user_repeated" => {
                (values(&case.headers, case.gateway["auth"]["trustedProxy"]["userHeader"].as_str()?).len() > 1)
                    .then_some("stricter: a repeated user header")
            }
            "trusted_proxy_origin_not_allowed" => {
                if self.is_since(9, 2) && case.gateway["auth"]["allowTailscale"] == true && !is_plain(&case.path) {
                    return Some(
                        "stricter: with allowTailscale, any path that is not plain counts as the Control UI's",
                    );
                }
                if self.is_since(9, 2)
                    && case.gateway["auth"]["allowTailscale"] == true
                    && case.gateway["controlUi"]["enabled"] == false
                {
                    return Some("stricter: with allowTailscale, a Control UI that is switched off counts as one");
                }
                if values(&case.headers, "origin").len() > 1 {
                    return Some("stricter: a repeated origin");
                }
                let sent = case.first("origin")?;
                let origin = sent.replace('\t', "");
                let origin = origin.trim();
                // To these releases an origin of a scheme without origins is `null`, which a list can name.
                let listed = case.gateway["controlUi"]["allowedOrigins"].as_array().into_iter().flatten();
                let mut listed = listed.filter_map(Value::as_str);
                let is_null = !has_origins(origin) && listed.any(|one| one.trim().eq_ignore_ascii_case("null"));
                if !self.has_strict_origins() && (!is_bare(origin) || is_null) {
                    return Some("stricter: an origin that is not scheme://host[:port]");
                }
                let rest = origin.split_once("://").map_or(origin, |(_, rest)| rest);
                let place = rest.split(['/', '\\', '?', '#']).next()?;
                let (host, _) = split_port(place);
                let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
                if host.contains('%') || !host.is_ascii() {
                    Some("stricter: an origin with `%` or bytes beyond ASCII in its host")
                } else if ends_in_a_number(host) && host.parse::<Ipv4Addr>().is_err() {
                    Some("stricter: an origin whose host ends in a number without being a dotted quad")
                } else if literal.is_some_and(|ip| !vouches_for_itself(ip))
                    && case.first("host")?.eq_ignore_ascii_case(place)
                {
                    Some("stricter: an address as host and origin outside of the private ranges")
                // Not in that list: Node 24 accepts every such label, other versions do not. Listed origins pass.
                } else if host.to_ascii_lowercase().split('.').any(|label| label.starts_with("xn--")) {
                    Some("stricter: an origin with an international label (xn--) that is not surely a good one")
                // The contract does not need this: a URL parser treats empty user info as none.
                } else if place.starts_with('@') || place.starts_with(":@") {
                    Some("stricter: an origin with empty user info")
                // If Envoy joins the copies of a repeated origin, only a comma shows it.
                } else if host.contains(',') {
                    Some("stricter: an origin with a comma in its host")
                } else {
                    sent.trim().contains('\t').then_some("stricter: an origin with a tab inside")
                }
            }
            // The Gateway reads octal digits there, and nowhere else.
            "proxy_attribution_required" => ["x-forwarded-for", "x-real-ip"]
                .iter()
                .any(|name| values(&case.headers, name).concat().contains("::ffff:0177.0.0.1"))
                .then_some("stricter: an address with octal digits names no client"),
            _ => None,
        }
    }
}

/// Whether the path is one of the Control UI's files. Written independently of the filter's own table.
fn is_public(case: &Case) -> bool {
    let path = case.path.split('?').next().unwrap_or_default();
    let base = case.gateway["controlUi"]["basePath"].as_str().unwrap_or_default();
    let below = if base.contains("ui") { path.strip_prefix("/ui/") } else { path.strip_prefix('/') };
    let is_file = |below: &str| {
        ["assets/", "fonts/"].iter().any(|folder| below.starts_with(folder)) || below == "manifest.webmanifest"
    };
    below.is_some_and(is_file) && !path.ends_with(".html")
}

/// Where the Gateway mounts its Control UI (`normalizeControlUiBasePath`).
fn base_path(case: &Case) -> String {
    let base = case.gateway["controlUi"]["basePath"].as_str().unwrap_or_default().trim();
    let base = if base.starts_with('/') { base.to_owned() } else { format!("/{base}") };
    base.strip_suffix('/').unwrap_or(&base).to_owned()
}

/// The headers as they go over the wire, including those of the handshake.
fn on_the_wire(case: &Case) -> Headers {
    const HANDSHAKE: [(&str, &str); 4] = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let handshake = HANDSHAKE.iter().filter(|_| case.websocket);
    case.headers
        .iter()
        .cloned()
        .chain(handshake.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())))
        .collect()
}

/// The filter's verdict on a case: its policy, run natively.
fn judge(config: &Value, case: &Case) -> Verdict {
    let compiled = match compile(config.to_string().as_bytes()) {
        Ok(compiled) => compiled,
        Err(errors) => return Verdict::Misconfigured(errors.to_string()),
    };
    let mut headers: Headers =
        vec![(":method".into(), case.method.clone().into_bytes()), (":path".into(), case.path.clone().into_bytes())];
    headers.extend(on_the_wire(case).into_iter().map(|(name, value)| {
        let name = if name == "host" { ":authority".to_owned() } else { name };
        (name, trim(&value))
    }));
    let map = serialize(&headers);
    let peer = Address::parse(case.peer.as_bytes()).map_or(Peer::Unknown, Peer::Known);
    let request = compiled.policy.read(peer, &map).unwrap();
    let admission = match compiled.policy.decide(&request) {
        Ok(admission) => admission,
        Err(refusal) => return Verdict::Refused(refusal.to_string()),
    };
    let Kind::Identified(user) = admission.kind() else { panic!("no such case is anonymous or delegated: {case}") };
    let made = admission.stamp(&compiled.policy, &request, |edit| {
        let (Edit::Set { name, .. } | Edit::Remove { name }) = edit;
        headers.retain(|(other, _)| other.as_bytes() != name);
        if let Edit::Set { value, .. } = edit {
            headers.push((latin1(name), value.to_vec()));
        }
        Ok::<(), Infallible>(())
    });
    let Ok(()) = made;
    headers.retain(|(name, _)| name != ":method" && name != ":path");
    for (name, _) in &mut headers {
        if name == ":authority" {
            *name = "host".to_owned();
        }
    }
    Verdict::Admitted { user: latin1(user), upstream: headers }
}

/// Optional whitespace around a value is not part of it: Envoy and Node both remove it.
fn trim(value: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    value[start..end].to_vec()
}

// ---- section 8: stricter on purpose ----

fn error_on_purpose(error: &str) -> Option<&'static str> {
    let all = |part: &str| error.lines().all(|line| line.contains(part));
    if all("gateway.trustedProxies[") {
        Some("stricter: a bad entry in the list of proxies is an error")
    } else {
        all("has spaces around it, and the Gateway").then_some("no header has this name for either, which is an error")
    }
}

/// Whether an origin is a scheme, a host and perhaps a port: no user, no path, no query.
fn is_bare(origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let place = rest.strip_suffix('/').unwrap_or(rest);
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    scheme.chars().all(is_scheme) && !place.is_empty() && !place.contains(['/', '?', '#', '\\', '@'])
}

/// Whether the URL standard gives origins to the scheme of an origin.
fn has_origins(origin: &str) -> bool {
    let scheme = origin.split("://").next().unwrap_or_default();
    ["http", "https", "ws", "wss", "ftp"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// 10/8, 172.16/12, 192.168/16, 169.254/16, 100.64/10, fc00::/7 and fe80::/10.
fn vouches_for_itself(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || (ip.octets()[0] == 100 && ip.octets()[1] >> 6 == 1),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn split_port(place: &str) -> (&str, &str) {
    let place = place.rsplit('@').next().unwrap_or(place);
    match place.rfind(':') {
        Some(colon) if !place[colon..].contains(']') => place.split_at(colon),
        _ => (place, ""),
    }
}

fn ends_in_a_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    !last.is_empty()
        && (last.bytes().all(|byte| byte.is_ascii_digit())
            || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

fn is_extension(case: &Case) -> bool {
    let Some(origin) = case.first("origin") else { return false };
    let id = origin.trim().strip_prefix("chrome-extension://").map(|id| id.strip_suffix('/').unwrap_or(id));
    case.websocket
        && id
            .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| matches!(byte.to_ascii_lowercase(), b'a'..=b'p')))
}

fn is_plain(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    !path.contains("//") && !path.contains('%') && !path.split('/').any(|segment| segment == "." || segment == "..")
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
