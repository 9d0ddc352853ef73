//! A real Gateway with the settings that `agreement.rs` does not have: its Control UI below a path, Tailscale's users,
//! one API of two, and a plugin that answers with what it is granted.

use std::collections::BTreeMap;

use harness::envoy::{eventually, root};
use harness::gateway::Stack;
use harness::wire::{self, Connection, Headers};
use serde_json::{Value, json};

use crate::agreement::{Question, rebase_case, send, unfiltered};
use crate::generate::{Random, case};

const SEED: &str = "MOUNTED_SEED";
const CASES: usize = 300;

/// Paths, and whether the plugin serves them.
const PATHS: [(&str, bool); 8] = [
    ("/plugin", true),
    // The Control UI's, if it is at the root.
    ("/control-ui-config.json", true),
    // The Gateway's, if that API is on.
    ("/v1/chat/completions", true),
    ("/openclaw/control-ui-config.json", false),
    ("/openclaw/__openclaw/control-ui-config.json", false),
    ("/openclaw/avatar/main", false),
    ("/v1/models", false),
    ("/api/users/x/avatar", false),
];

fn stack() -> Stack {
    let stack = Stack::start(
        &json!({
            "gateway": {
                "trustedProxies": ["127.0.0.1", "::1", "10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "fd00::/8"],
                "auth": {"allowTailscale": true, "token": "", "password": "a-long-password-of-this-test-alone"},
                "remote": {"token": ""},
                "controlUi": {
                    "basePath": "openclaw/", "allowedOrigins": ["https://claw.example.com", "*"],
                    "dangerouslyAllowHostHeaderOriginFallback": true,
                },
                "http": {"endpoints": {"responses": {"enabled": true}}},
            },
            "plugins": {
                "load": {"paths": [root().join("tests/gateway/scopes_plugin")]}, "entries": {"echo-scopes": {"enabled": true}},
            },
        }),
        &json!({}),
    );
    let ask = || {
        let headers = [("host", "a"), ("x-forwarded-user", "nick@example.com"), ("x-forwarded-for", "203.0.113.7")];
        let mut connection = Connection::open(stack.gateway().address()).unwrap();
        connection.send(&wire::request("GET", "/plugin", &headers)).unwrap();
        connection.response("GET").unwrap().status
    };
    eventually("the plugin to answer", || ask() == 200);
    stack
}

/// The status of an answer, and what the plugin was granted.
fn ask(
    address: std::net::SocketAddr,
    peer: Option<&str>,
    question: &Question,
    headers: &Headers,
) -> Result<(u16, Value), String> {
    if !question.websocket {
        let answer = send(address, peer, question, headers)?;
        let granted = if answer.status == 200 { answer.json() } else { Value::Null };
        return Ok((answer.status, granted));
    }
    let handshake = ["connection", "upgrade", "sec-websocket-version", "sec-websocket-key"];
    let mut all = headers.clone();
    all.retain(|(name, _)| !handshake.contains(&name.to_ascii_lowercase().as_str()));
    let values = ["Upgrade", "websocket", "13", "dGhlIHNhbXBsZSBub25jZQ=="];
    all.extend(handshake.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.into())));
    let mut bytes = peer.map(wire::proxy_line).unwrap_or_default();
    bytes.extend(wire::request("GET", &question.path, &all));
    let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
    connection.send(&bytes).map_err(|error| error.to_string())?;
    let head = connection.head().map_err(|error| error.to_string())?.unwrap_or_default();
    let head = String::from_utf8_lossy(&head).into_owned();
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| format!("no answer: {head:?}"))?;
    let granted = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-granted").then(|| serde_json::from_str(value).unwrap())
    });
    Ok((status, granted.unwrap_or_default()))
}

fn compare(stack: &Stack, question: &Question, is_plugins: bool) -> Result<&'static str, String> {
    const MARK: &str = "x-case";
    let through = ask(stack.http(), Some(&question.peer), question, &question.headers)?;
    let arrivals = stack.relay().arrivals_with(MARK, &question.name);
    let Some(arrival) = arrivals.first() else {
        // A refused upgrade is opened, and closed with the reason.
        let is_refused = matches!(through.0, 400 | 401 | 403) || (question.websocket && through.0 == 101);
        return if is_refused { Ok("refused") } else { Err(format!("nothing arrived, but the answer is {through:?}")) };
    };
    let alone = ask(stack.gateway().address(), None, question, &unfiltered(question, arrival))?;
    if alone.0 != through.0 {
        return Err(format!("LAXER: without the filter the Gateway answers {alone:?}, with it {through:?}"));
    }
    if !is_plugins {
        return Ok("admitted");
    }
    let scopes = |granted: &Value| granted.as_array().cloned().ok_or_else(|| format!("the plugin says {granted}"));
    let (with, without) = (scopes(&through.1)?, scopes(&alone.1)?);
    match with.iter().find(|scope| !without.contains(scope)) {
        Some(gained) => Err(format!("MORE SCOPES: {gained}, {through:?}, without the filter {alone:?}")),
        None => Ok("admitted"),
    }
}

#[test]
fn with_other_settings_the_filter_is_no_laxer_and_a_plugin_is_granted_no_more() {
    let seed = Random::seed(SEED);
    let mut random = Random::new(seed);
    let stack = stack();
    let mut counts: BTreeMap<(&str, bool, &str), usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for index in 0..CASES {
        let mut question = rebase_case(&case(&mut random), index);
        let (path, is_plugins) = PATHS[if question.websocket { index % 3 } else { index % PATHS.len() }];
        path.clone_into(&mut question.path);
        "GET".clone_into(&mut question.method);
        match compare(&stack, &question, is_plugins) {
            Ok(what) => *counts.entry((path, question.websocket, what)).or_default() += 1,
            Err(problem) => problems.push(format!("{}: {problem}\n    {question:?}", question.name)),
        }
    }
    let summary: String = counts
        .iter()
        .map(|((path, websocket, what), count)| {
            format!("  {count:5}  {what}: {path}{}\n", if *websocket { ", upgraded" } else { "" })
        })
        .collect();
    crate::say(&format!("{CASES} requests to a Gateway below a path, {SEED}={seed}\n{summary}"));
    let shown: String = problems.iter().take(10).map(|problem| format!("  {problem}\n")).collect();
    assert!(problems.is_empty(), "{} of {CASES} requests, {SEED}={seed}:\n{shown}", problems.len());
    for (path, _) in PATHS.iter().filter(|(_, is_plugins)| *is_plugins) {
        for websocket in [false, true] {
            let admitted = counts.contains_key(&(*path, websocket, "admitted"));
            assert!(admitted, "{path} is never admitted, upgraded {websocket}, {SEED}={seed}");
        }
    }
    let admitted = |(path, _, what): &(&str, bool, &str)| PATHS.contains(&(*path, false)) && *what == "admitted";
    let own: usize = counts.iter().filter(|(key, _)| admitted(key)).map(|(_, count)| count).sum();
    assert!(own >= 10, "only {own} requests to the Gateway's own paths are admitted, {SEED}={seed}");
}
