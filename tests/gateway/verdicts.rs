//! Generated requests, decided by the policy and by the Gateway's own functions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use harness::oracle::{self, ask};
use harness::wire::{Headers, latin1, values};
use policy::config::compile;
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
    let gateway = ask(cases.iter().map(|case| question(case, &on_the_wire(case))));
    let verdicts: Vec<Verdict> = cases.iter().map(judge).collect();
    // For requests that the filter admits, the Gateway is asked again with what it sees behind the filter.
    let behind: Vec<(usize, Value)> = verdicts
        .iter()
        .enumerate()
        .filter_map(|(index, verdict)| match verdict {
            Verdict::Admitted { upstream, .. } => Some((index, question(&cases[index], upstream))),
            _ => None,
        })
        .collect();
    let answers = ask(behind.iter().map(|(_, question)| question.clone()));
    let mut behind: BTreeMap<usize, &Value> =
        behind.iter().zip(&answers).map(|((index, _), answer)| (*index, answer)).collect();

    let mut admitted = (0, 0);
    let mut problems = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (index, (case, (gateway, verdict))) in cases.iter().zip(gateway.iter().zip(&verdicts)).enumerate() {
        let accepts = gateway["ok"] == true;
        let mut problem =
            |what: String| problems.push(format!("case {index}: {what}\n    the Gateway: {gateway}\n    {case}"));
        let mut count = |what: &str| *counts.entry(what.to_owned()).or_default() += 1;
        if gateway["error"] == "Node refuses it" {
            // Such a request never reaches the Gateway's code, with or without the filter.
            count("refused by Node itself");
            continue;
        }
        if gateway["ok"].is_null() {
            problem("the Gateway's functions failed".to_owned());
            continue;
        }
        admitted.0 += usize::from(accepts);
        match verdict {
            Verdict::Misconfigured(error) => match error_on_purpose(error) {
                Some(class) => count(class),
                None => problem(format!("the configuration is an error: {error}")),
            },
            Verdict::Refused(reason)
                if accepts && gateway["file"] == true && reason.ends_with("origin_not_allowed") =>
            {
                if is_public(case) {
                    problem("STRICTER: a public file is refused for its origin".to_owned());
                } else {
                    count("stricter: a file of the Control UI outside of its folders, with a foreign origin");
                }
            }
            Verdict::Refused(reason) if accepts => match stricter_on_purpose(case, reason) {
                Some(class) => count(class),
                None => problem(format!("STRICTER: refused with {reason}")),
            },
            Verdict::Refused(_) => count("refused by both"),
            Verdict::Admitted { user, .. } => {
                admitted.1 += 1;
                let seen = behind.remove(&index).unwrap();
                if !accepts {
                    let is_origin = ["origin not allowed", "trusted_proxy_origin_not_allowed"]
                        .iter()
                        .any(|reason| gateway["reason"] == **reason);
                    if is_extension(case) && is_origin && seen["ok"] == false {
                        count("left to the Gateway: an extension's origin on an upgrade (section 9)");
                    } else {
                        problem("LAXER: admitted".to_owned());
                    }
                } else if seen["ok"] != true {
                    problem(format!("admitted, and then refused by the Gateway: {seen}"));
                } else if gateway["user"] != *user || seen["user"] != *user {
                    problem(format!("DIFFERENT USER: {user:?}, behind the filter {seen}"));
                } else {
                    let (alone, behind) = (strings(&gateway["scopes"]), strings(&seen["scopes"]));
                    let lost: Vec<&String> = alone.iter().filter(|scope| !behind.contains(scope)).collect();
                    if let Some(gained) = behind.iter().find(|scope| !alone.contains(scope)) {
                        problem(format!("MORE SCOPES: {gained}, behind the filter {seen}"));
                    } else if lost.is_empty() && is_foreign(case) {
                        count(FOREIGN);
                    } else if lost.is_empty() {
                        count("admitted by both, with the same scopes");
                    } else if lost.iter().all(|scope| !model::SCOPES.contains(&scope.as_str())) {
                        count("stricter: unknown scopes are dropped");
                    } else if !is_plain(&case.path) {
                        count("stricter: a path that is not plain gets the narrow default");
                    } else if route(case) == "control-ui-read" && !case.path.contains("control-ui-config.json") {
                        count("stricter: what the Control UI reads beside its configuration gets the narrow default");
                    } else {
                        problem(format!("FEWER SCOPES: without {lost:?}, behind the filter {seen}"));
                    }
                }
            }
        }
    }
    let summary: String = counts.iter().map(|(what, count)| format!("  {count:5}  {what}\n")).collect();
    crate::say(&format!(
        "{CASES} generated cases, {SEED}={seed}: the Gateway accepts {}, the filter admits {}\n{summary}",
        admitted.0, admitted.1
    ));
    let shown: String = problems.iter().take(10).map(|problem| format!("  {problem}\n")).collect();
    assert!(problems.is_empty(), "{} of {CASES} cases, {SEED}={seed}:\n{shown}", problems.len());
    assert!(counts.get(FOREIGN).is_some_and(|count| *count >= 10), "{counts:?}");
    assert!(
        admitted.0 * 3 >= CASES,
        "only {} of {CASES} cases are accepted: the generator makes too many bad cases",
        admitted.0
    );
}

/// Whether the filter refuses this request's origin on any other path.
fn is_foreign(case: &Case) -> bool {
    let elsewhere = Case { path: "/elsewhere".to_owned(), ..case.clone() };
    matches!(judge(&elsewhere), Verdict::Refused(reason) if reason == "trusted_proxy_origin_not_allowed")
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

fn question(case: &Case, headers: &Headers) -> Value {
    let config = json!({"gateway": case.gateway});
    let mut asked = oracle::question(case.websocket, &case.peer, &case.method, &case.path, headers, &config);
    asked["route"] = json!(route(case));
    asked["media"] = json!(case.path.contains("assistant-media"));
    asked
}

/// The Gateway's scope rule for a path. Written independently of the filter's own table. A path that the Gateway does
/// not serve itself may be a plugin's, and so may `//` and `/./`: plugins see paths unchanged.
fn route(case: &Case) -> &'static str {
    let path = case.path.split('?').next().unwrap_or_default();
    let base = base_path(case);
    if case.websocket {
        let own = ["/", "/desktop/observe", "/node-desktop/attach", "/node-portal/attach", "/__openclaw__/worker"];
        let is_own = own.contains(&path) || path.strip_prefix(&*base).is_some_and(|rest| matches!(rest, "" | "/"));
        return if is_own || !case.plugin { "socket" } else { "plugin" };
    }
    let setting = |block: &str, key: &str| &case.gateway[block][key];
    let enabled = |name: &str| setting("http", "endpoints")[name]["enabled"] == true;
    let has_control_ui = setting("controlUi", "enabled") != false;
    let below: Vec<&str> = path.strip_prefix(&*base).unwrap_or_default().split('/').skip(1).collect();
    let reads = match below.as_slice() {
        ["control-ui-config.json"] | ["__openclaw", "control-ui-config.json"] => has_control_ui,
        ["__openclaw__", "control-ui-config.json"] => has_control_ui && base.is_empty(),
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

/// Where the Gateway mounts its Control UI (`normalizeControlUiBasePath`).
fn base_path(case: &Case) -> String {
    let base = case.gateway["controlUi"]["basePath"].as_str().unwrap_or_default().trim();
    let base = if base.starts_with('/') { base.to_owned() } else { format!("/{base}") };
    base.strip_suffix('/').unwrap_or(&base).to_owned()
}

/// The filter's verdict on a case: its policy, run natively.
fn judge(case: &Case) -> Verdict {
    let config = json!({"gateway": case.gateway, "filter": {}}).to_string();
    let compiled = match compile(config.as_bytes()) {
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
    error
        .lines()
        .all(|line| line.contains("gateway.trustedProxies["))
        .then_some("stricter: a bad entry in the list of proxies is an error")
}

fn stricter_on_purpose(case: &Case, reason: &str) -> Option<&'static str> {
    match reason {
        "trusted_proxy_user_repeated" => {
            (values(&case.headers, case.gateway["auth"]["trustedProxy"]["userHeader"].as_str()?).len() > 1)
                .then_some("stricter: a repeated user header")
        }
        "trusted_proxy_origin_not_allowed" => {
            if case.gateway["auth"]["allowTailscale"] == true && !is_plain(&case.path) {
                return Some("stricter: with allowTailscale, any path that is not plain counts as the Control UI's");
            }
            if case.gateway["auth"]["allowTailscale"] == true && case.gateway["controlUi"]["enabled"] == false {
                return Some("stricter: with allowTailscale, a Control UI that is switched off counts as one");
            }
            if values(&case.headers, "origin").len() > 1 {
                return Some("stricter: a repeated origin");
            }
            let sent = case.first("origin")?;
            let origin = sent.replace('\t', "");
            let origin = origin.trim();
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
