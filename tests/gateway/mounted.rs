//! A real Gateway with the settings that `agreement.rs` does not have: its Control UI below a path, Tailscale's users,
//! one API of two, and a plugin that answers with what it is granted.

use std::collections::BTreeMap;

use harness::envoy::{eventually, root};
use harness::gateway::Stack;
use harness::wire::{self, Connection, Headers};
use serde_json::{Value, json};

use crate::agreement::{MARK, Question, rebase_case, send, unfiltered};
use crate::generate::{Random, case};

const SEED: &str = "MOUNTED_SEED";
const CASES: usize = 200;

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
    eventually("the plugin to answer", || get(&stack, "/plugin") == 200);
    stack
}

/// The status of the Gateway's own answer to a user of the proxy.
fn get(stack: &Stack, path: &str) -> u16 {
    let headers = [("host", "a"), ("x-forwarded-user", "nick@example.com"), ("x-forwarded-for", "203.0.113.7")];
    let answer = Connection::open(stack.gateway().address()).and_then(|mut connection| {
        connection.send(&wire::request("GET", path, &[&headers[..], &[("sec-fetch-site", "same-origin")]].concat()))?;
        connection.response("GET")
    });
    // It may be restarting.
    answer.map_or(0, |answer| answer.status)
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

/// How requests ended: their path, whether they are upgrades, and what became of them.
type Counts = BTreeMap<(&'static str, bool, &'static str), usize>;

/// Compares generated requests to these paths. Upgrades go to the plugin's, which come first.
fn compare_all(stack: &Stack, random: &mut Random, paths: &[(&'static str, bool)], name: &str) -> Counts {
    let plugins = paths.iter().take_while(|(_, is_plugins)| *is_plugins).count();
    let (mut counts, mut problems) = (Counts::new(), Vec::new());
    for index in 0..CASES {
        let mut question = rebase_case(&case(random), index);
        question.mark(format!("{name} {index}"));
        let (path, is_plugins) = paths[index % if question.websocket { plugins } else { paths.len() }];
        path.clone_into(&mut question.path);
        "GET".clone_into(&mut question.method);
        match compare(stack, &question, is_plugins) {
            Ok(what) => *counts.entry((path, question.websocket, what)).or_default() += 1,
            Err(problem) => problems.push(format!("{problem}\n    {question:?}")),
        }
    }
    let line = |(key, count): (&(&str, bool, &str), &usize)| {
        format!("  {count:5}  {}: {}{}\n", key.2, key.0, if key.1 { ", upgraded" } else { "" })
    };
    crate::say(&format!("{CASES} requests to {name}\n{}", counts.iter().map(line).collect::<String>()));
    let shown: String = problems.iter().take(10).map(|problem| format!("  {problem}\n")).collect();
    assert!(problems.is_empty(), "{} of {CASES} requests to {name}:\n{shown}", problems.len());
    for (path, _) in paths.iter().take(plugins) {
        for websocket in [false, true] {
            let admitted = counts.contains_key(&(*path, websocket, "admitted"));
            assert!(admitted, "{path} is never admitted, upgraded: {websocket}");
        }
    }
    counts
}

#[test]
fn with_other_settings_the_filter_is_no_laxer_and_a_plugin_is_granted_no_more() {
    let seed = Random::seed(SEED);
    println!("{SEED}={seed}");
    let mut random = Random::new(seed);
    let mut stack = stack();
    let counts = compare_all(&stack, &mut random, &PATHS, "a Control UI below a path");
    let is_own = |(path, _, what): &(&str, bool, &str)| PATHS.contains(&(*path, false)) && *what == "admitted";
    let own: usize = counts.iter().filter(|(key, _)| is_own(key)).map(|(_, count)| count).sum();
    assert!(own >= 10, "only {own} requests to the Gateway's own paths are admitted");

    // Without a Control UI, nothing at the root is its own either.
    let off = json!({"controlUi": {"basePath": null, "enabled": false}, "auth": {"allowTailscale": null}});
    stack.gateway_mut().put_config(&off);
    eventually("the Control UI to be gone", || get(&stack, "/openclaw/control-ui-config.json") == 404);
    eventually("the plugin to answer", || get(&stack, "/plugin") == 200);
    let mut policy = stack.policy();
    policy["gateway"] = stack.gateway().config()["gateway"].clone();
    stack.put_policy(&policy);
    let plugins: Vec<_> = PATHS.into_iter().filter(|(_, is_plugins)| *is_plugins).collect();
    compare_all(&stack, &mut random, &plugins, "a Gateway without a Control UI");
}
