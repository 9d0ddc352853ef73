//! The answer through Envoy and the filter, compared with the same Gateway's answer to the request that the filter
//! let through.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use harness::envoy::root;
use harness::gateway::{Arrival, Denied, Session, Stack, control_ui, lay};
use harness::vectors::{self, Expect, Vector};
use harness::wire::{self, Connection, Headers, Response, values};
use serde_json::{Value, json};

use crate::generate::{Case, Random, case};

const SEED: &str = "AGREEMENT_SEED";
/// Half of them are vectors, and half are generated.
const QUESTIONS: usize = 480;
/// An older Gateway is slower.
const QUESTIONS_OLDER: usize = 240;

/// Marks a request, so that it can be found where it arrives.
pub const MARK: &str = "x-case";
const USER: &str = "x-forwarded-user";
const EDGE: &str = "x-edge";

/// The Gateway's secret for webhooks.
pub const HOOK_TOKEN: &str = "secret-of-the-hooks-in-this-test";

const EVERYTHING: &[&str] = model::SCOPES.split_at(6).0;
/// The allowed users, and the scopes that the Gateway grants each on a WebSocket.
const USERS: &[(&str, &[&str])] = &[
    ("nick@example.com", EVERYTHING),
    ("Nick@example.com", EVERYTHING),
    ("admin@company.org", &["operator.read", "operator.write"]),
    ("ops", &["operator.read"]),
    ("a,b", EVERYTHING),
    // As the Gateway reads the bytes of `jörg`.
    ("jÃ¶rg", EVERYTHING),
];

/// One Gateway for all tests here. The Gateway's list of proxies covers both hops: Envoy, which runs on this machine,
/// and the proxies in front of it. One test uses it at a time, because a test may change the filter's settings; it
/// must then restore them.
pub fn stack() -> MutexGuard<'static, Stack> {
    static STACK: OnceLock<Mutex<Stack>> = OnceLock::new();
    let stack = STACK.get_or_init(|| {
        let mut settings = settings();
        settings["plugins"] = json!({
            "load": {"paths": [root().join("tests/gateway/plugin")]}, "entries": {"report": {"enabled": true}},
        });
        Mutex::new(Stack::start(&settings, &json!({})))
    });
    stack.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The Gateway's settings.
fn settings() -> Value {
    let grants: serde_json::Map<String, Value> =
        USERS.iter().map(|(user, scopes)| ((*user).to_owned(), json!(scopes))).collect();
    json!({
        "gateway": {
            "trustedProxies": ["127.0.0.1", "::1", "10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "fd00::/8"],
            "allowRealIpFallback": true,
            "auth": {
                "identityScopes": grants,
                "trustedProxy": {
                    "requiredHeaders": [EDGE], "allowUsers": USERS.iter().map(|(user, _)| *user).collect::<Vec<_>>(),
                },
            },
            "controlUi": {"allowedOrigins": ["https://claw.example.com", "http://localhost:5173"]},
            "http": {"endpoints": {"responses": {"enabled": true}, "chatCompletions": {"enabled": true}}},
        },
        "hooks": {"enabled": true, "token": HOOK_TOKEN},
    })
}

/// A request to send through the whole stack.
#[derive(Debug)]
pub struct Question {
    pub name: String,
    pub websocket: bool,
    pub peer: String,
    pub method: String,
    pub path: String,
    pub headers: Headers,
}

impl Question {
    /// Gives it another name, by which it is found where it arrives.
    pub fn mark(&mut self, name: String) {
        self.headers.retain(|(other, _)| other != MARK);
        self.headers.push((MARK.to_owned(), name.clone().into_bytes()));
        self.name = name;
    }
}

/// Questions to a Gateway that has no model behind it, and the scope that each requires.
const PROBES: &[(&str, &str, &str, &str)] = &[
    ("GET", "/control-ui-config.json", "", "operator.read"),
    ("POST", "/tools/invoke", r#"{"tool":"agents_list","args":{}}"#, "operator.write"),
    ("GET", "/v1/models", "", "operator.read"),
];
/// The place of the first one in older Gateways.
const OLDER_CONFIGURATION: &str = "/__openclaw/control-ui-config.json";

/// A stack, and whether its Gateway is older than 2026.8.1.
struct Side<'s> {
    stack: &'s Stack,
    is_older: bool,
}

#[test]
fn what_the_filter_admits_the_gateway_accepts_as_the_same_user_with_the_same_scopes_and_the_rest_never_arrives() {
    agree(&Side { stack: &stack(), is_older: false });
}

/// The oldest release that the page of OpenClaw on trusted-proxy auth fits. It has no attribution, no identity scopes,
/// and protocol 3 on WebSockets.
#[test]
fn an_older_gateway_accepts_what_the_filter_admits_for_its_release() {
    let package = harness::envoy::root().join(".tools/gateway-2026.5.4/node_modules/openclaw");
    assert!(package.join("openclaw.mjs").is_file(), "the Gateway 2026.5.4 is missing: run `make test-gateway`");
    let mut gateway = settings();
    lay(&mut gateway, &json!({"gateway": {"auth": {"identityScopes": null}}}));
    // It does not start with a key that it does not know.
    gateway["models"] = Value::Null;
    let stack = Stack::start_package(package, &gateway, &json!({"gatewayVersion": "2026.5.4"}));
    agree(&Side { stack: &stack, is_older: true });
}

fn agree(side: &Side<'_>) {
    let seed = Random::seed(SEED);
    let mut random = Random::new(seed);
    let stack = side.stack;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut questions = questions(&mut random, if side.is_older { QUESTIONS_OLDER } else { QUESTIONS });
    for question in questions.iter_mut().filter(|question| side.is_older && question.path == PROBES[0].1) {
        question.path = OLDER_CONFIGURATION.to_owned();
    }
    let before = stack.relay().count();
    let mut arrived = 0;
    for question in &questions {
        match compare(side, question, &mut arrived) {
            Ok(what) => *counts.entry(what).or_default() += 1,
            Err(problem) => problems.push(format!(
                "{}: {problem}\n    {} {} from {}, {:?}",
                question.name,
                question.method,
                question.path,
                question.peer,
                question
                    .headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {}", value.escape_ascii()))
                    .collect::<Vec<_>>()
            )),
        }
    }
    let summary: String = counts.iter().map(|(what, count)| format!("  {count:5}  {what}\n")).collect();
    crate::say(&format!("{} requests to a real Gateway, {SEED}={seed}\n{summary}", questions.len()));
    let shown: String = problems.iter().take(10).map(|problem| format!("  {problem}\n")).collect();
    assert!(problems.is_empty(), "{} of {} requests, {SEED}={seed}:\n{shown}", problems.len(), questions.len());
    assert!(stack.relay().count() - before >= arrived, "the relay counts requests");
    for kind in ["http, admitted", "websocket, admitted", "http, refused", "websocket, refused"] {
        let count: usize = counts.iter().filter(|(what, _)| what.starts_with(kind)).map(|(_, count)| count).sum();
        assert!(count * 24 >= questions.len(), "only {count} requests are {kind}, {SEED}={seed}");
    }
}

fn questions(random: &mut Random, count: usize) -> Vec<Question> {
    // Fewer of the vectors can pass: take half of each kind.
    let (can_pass, others): (Vec<Vector>, Vec<Vector>) =
        vectors::load().into_iter().partition(|vector| matches!(vector.expect, Expect::Admit { user: Some(_), .. }));
    let mut questions = Vec::new();
    for mut kind in [can_pass, others] {
        for index in 0..count / 4 {
            let vector = kind.swap_remove(random.below(kind.len()));
            questions.push(rebase_vector(&vector, index));
        }
    }
    questions.extend((0..count / 2).map(|index| rebase_case(&case(random), index)));
    questions
}

fn rebase_vector(vector: &Vector, index: usize) -> Question {
    let proxy = &vector.config["gateway"]["auth"]["trustedProxy"];
    let required = proxy["requiredHeaders"].as_array().map(Vec::as_slice).unwrap_or_default();
    let misses = matches!(&vector.expect, Expect::Refuse { reason, .. } if reason.contains("_missing_header_"));
    rebase(
        format!("vector {}", vector.id),
        vector.websocket,
        &vector.remote_addr,
        proxy["userHeader"].as_str().unwrap(),
        required,
        (!misses).then_some(b"x".to_vec()),
        vector.headers.clone(),
        index,
    )
}

pub fn rebase_case(case: &Case, index: usize) -> Question {
    let proxy = &case.gateway["auth"]["trustedProxy"];
    let required = proxy["requiredHeaders"].as_array().unwrap();
    let value = match required.first().and_then(Value::as_str) {
        Some(name) => {
            case.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        }
        None => Some(b"x".to_vec()),
    };
    rebase(
        format!("generated {index}"),
        case.websocket,
        &case.peer,
        proxy["userHeader"].as_str().unwrap(),
        required,
        value,
        case.headers.clone(),
        index,
    )
}

/// Adapts a request made for another configuration to the one here: the headers that a configuration names get the
/// names in this one, and the path becomes one that shows what the Gateway decided.
#[allow(clippy::too_many_arguments, reason = "the parts of two kinds of cases")]
fn rebase(
    name: String,
    websocket: bool,
    peer: &str,
    user_header: &str,
    required: &[Value],
    edge: Option<Vec<u8>>,
    headers: Headers,
    index: usize,
) -> Question {
    let is_required =
        |name: &str| required.iter().filter_map(Value::as_str).any(|other| other.eq_ignore_ascii_case(name));
    let mut all: Headers = Vec::new();
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(user_header) {
            all.push((USER.to_owned(), value));
        } else if !is_required(&name) && ![USER, EDGE].contains(&name.to_ascii_lowercase().as_str()) {
            all.push((name, value));
        }
    }
    all.extend(edge.map(|value| (EDGE.to_owned(), value)));
    all.push((MARK.to_owned(), name.clone().into_bytes()));
    let (method, path, ..) = PROBES[index % PROBES.len()];
    Question {
        name,
        websocket,
        peer: peer.to_owned(),
        method: if websocket { "GET" } else { method }.to_owned(),
        path: if websocket { "/" } else { path }.to_owned(),
        headers: all,
    }
}

/// Sends the question through the whole stack, and to the Gateway itself; returns a line about the outcome, or how
/// they differ.
fn compare(side: &Side<'_>, question: &Question, arrived: &mut usize) -> Result<String, String> {
    if question.websocket {
        compare_websockets(side, question, arrived)
    } else {
        compare_responses(side.stack, question, arrived)
    }
}

fn arrival(stack: &Stack, question: &Question) -> Result<Option<Arrival>, String> {
    let mut arrivals = stack.relay().arrivals_with(MARK, &question.name);
    match arrivals.len() {
        0 | 1 => Ok(arrivals.pop()),
        many => Err(format!("it arrived {many} times")),
    }
}

fn compare_responses(stack: &Stack, question: &Question, arrived: &mut usize) -> Result<String, String> {
    let through = send(stack.http(), Some(&question.peer), question, &question.headers)?;
    let Some(arrival) = arrival(stack, question)? else {
        let reason = through.json()["error"]["reason"].as_str().unwrap_or_default().to_owned();
        return match (through.status, reason.as_str()) {
            (401, reason) if reason.starts_with("trusted_proxy_") => Ok(format!("http, refused: {reason}")),
            (403, "proxy_attribution_required") => Ok(format!("http, refused: {reason}")),
            (400, "") => Ok("refused by Envoy".to_owned()),
            _ => Err(format!("nothing arrived, but the answer is not a refusal: {through:?}")),
        };
    };
    *arrived += 1;
    let stamped = stamped(&arrival)?;
    let scope = PROBES.iter().find(|(_, path, ..)| *path == question.path).unwrap_or(&PROBES[0]).3;
    let expected = if satisfied(scope, &stamped.scopes) { 200 } else { 403 };
    let direct = send(stack.gateway().address(), None, question, &arrival.headers)?;
    if direct.status != expected {
        return Err(format!("the Gateway answers {}, not {expected}, to {stamped:?}: {direct:?}", direct.status));
    }
    if (through.status, answer(&through)) != (direct.status, answer(&direct)) {
        return Err(format!("through the filter {through:?}\ndirectly {direct:?}"));
    }
    // The Gateway alone, with the headers as they were before the filter: it must not refuse what the filter let
    // pass, nor grant less.
    let alone = send(stack.gateway().address(), None, question, &unfiltered(question, &arrival))?;
    if alone.status != direct.status {
        return Err(format!("LAXER: without the filter the Gateway answers {alone:?}\nwith it {direct:?}"));
    }
    Ok(format!("http, admitted, and the Gateway answers {}", direct.status))
}

fn compare_websockets(side: &Side<'_>, question: &Question, arrived: &mut usize) -> Result<String, String> {
    let stack = side.stack;
    // The Control UI must have an origin; a terminal does not need one.
    let mut client = control_ui();
    if side.is_older {
        lay(&mut client, &json!({"client": {"buildId": null}}));
    }
    if !question
        .headers
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("origin") && !value.trim_ascii().is_empty())
    {
        lay(&mut client, &json!({"client": {"id": "openclaw-tui", "mode": "ui"}}));
    }
    let open = |address, peer: Option<&str>, headers: &Headers| {
        let mut stream = wire::open(address).unwrap();
        if let Some(peer) = peer {
            std::io::Write::write_all(&mut stream, &wire::proxy_line(peer)).unwrap();
        }
        Session::open(stream, &question.path, headers, &client)
    };
    let through = open(stack.http(), Some(&question.peer), &question.headers);
    let Some(arrival) = arrival(stack, question)? else {
        return match through.err() {
            Some(Denied::Closed(1008, text, None))
                if text.starts_with("proxy authentication required: ") || text.starts_with("origin not allowed: ") =>
            {
                Ok(format!("websocket, refused: {}", text.rsplit(' ').next().unwrap_or_default()))
            }
            Some(Denied::Status(400)) => Ok("refused by Envoy".to_owned()),
            other => Err(format!("nothing arrived, but the answer is not a refusal: {other:?}")),
        };
    };
    *arrived += 1;
    let stamped = stamped(&arrival)?;
    let direct = open(stack.gateway().address(), None, &arrival.headers);
    let alone = open(stack.gateway().address(), None, &unfiltered(question, &arrival));
    let (mut through, mut direct, mut alone) = match (through, direct, alone) {
        (Ok(through), Ok(direct), Ok(alone)) => (through, direct, alone),
        (Err(through), Err(direct), Err(alone)) if through == direct && direct == alone && is_extension(&arrival) => {
            return Ok("websocket, left to the Gateway: an extension's origin (section 9)".to_owned());
        }
        (through, direct, alone) => {
            return Err(format!(
                "through the filter {:?}, with its headers {:?}, without it {:?}",
                through.err(),
                direct.err(),
                alone.err()
            ));
        }
    };
    if side.is_older {
        // Without a device, such a Gateway grants nothing (its issue 78508), so there is nothing to ask for.
        let scopes = [&through, &direct, &alone].map(Session::scopes);
        return if scopes.iter().all(Vec::is_empty) && USERS.iter().any(|(user, _)| *user == stamped.user) {
            Ok("websocket, admitted, without scopes".to_owned())
        } else {
            Err(format!("scopes {scopes:?} for {stamped:?}"))
        };
    }
    let granted = USERS.iter().find(|(user, _)| *user == stamped.user).ok_or("an unknown user")?.1;
    let expected: Vec<&str> = granted
        .iter()
        .copied()
        .filter(|scope| stamped.cap.as_ref().is_none_or(|cap| cap.iter().any(|one| one == scope)))
        .collect();
    let mut users = Vec::new();
    for session in [&mut through, &mut direct, &mut alone] {
        let scopes = session.scopes();
        if !same(&scopes, &expected) {
            return Err(format!("scopes {scopes:?}, not {expected:?}, for {stamped:?}"));
        }
        users.push(session.call("users.self", &json!({})));
    }
    if users[0] != users[1] || users[1] != users[2] {
        return Err(format!("users.self says {users:?} for {stamped:?}"));
    }
    let may_ask = satisfied("operator.read", &stamped_or(&expected));
    match &users[0] {
        Ok(user) if may_ask && names(user, &stamped.user) => Ok("websocket, admitted, with users.self".to_owned()),
        Err(error) if !may_ask && error["code"] == "FORBIDDEN" => {
            Ok("websocket, admitted, without operator.read".to_owned())
        }
        other => Err(format!("users.self says {other:?} for {stamped:?}")),
    }
}

fn stamped_or(scopes: &[&str]) -> Vec<String> {
    scopes.iter().map(|scope| (*scope).to_owned()).collect()
}

fn same(left: &[String], right: &[&str]) -> bool {
    let (mut left, mut right): (Vec<&str>, Vec<&str>) = (left.iter().map(String::as_str).collect(), right.to_vec());
    left.sort_unstable();
    right.sort_unstable();
    left == right
}

fn names(user: &Value, name: &str) -> bool {
    user.to_string().to_lowercase().contains(&name.to_lowercase())
}

/// The headers that the filter wrote.
#[derive(Debug)]
struct Stamped {
    user: String,
    /// The scopes header, if there is one.
    cap: Option<Vec<String>>,
    scopes: Vec<String>,
}

fn stamped(arrival: &Arrival) -> Result<Stamped, String> {
    let (users, caps) = (arrival.values(USER), arrival.values("x-openclaw-scopes"));
    let is_upgrade = !arrival.values("upgrade").is_empty();
    if users.len() != 1 || caps.len() > 1 || (caps.is_empty() && !is_upgrade) {
        return Err(format!("it arrived with the users {users:?} and the scopes {caps:?}"));
    }
    let list =
        |text: &String| text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
    let cap: Option<Vec<String>> = caps.first().map(list);
    Ok(Stamped { user: users[0].clone(), scopes: cap.clone().unwrap_or_default(), cap })
}

/// Whether a set of scopes satisfies one.
fn satisfied(scope: &str, by: &[String]) -> bool {
    let enough: &[&str] = match scope {
        "operator.read" => &["operator.read", "operator.write", "operator.admin"],
        "operator.write" => &["operator.write", "operator.admin"],
        other => panic!("no probe asks for {other}"),
    };
    by.iter().any(|one| enough.contains(&one.as_str()))
}

/// The request as Envoy would have forwarded it without the filter: the client's headers, and those that Envoy adds.
pub fn unfiltered(question: &Question, arrival: &Arrival) -> Headers {
    let from_envoy = |name: &str| {
        name.starts_with("x-forwarded-for")
            || name == "x-request-id"
            || name == "x-forwarded-proto"
            || name.starts_with("x-envoy-")
    };
    let sent = |name: &str| question.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let mut all: Headers = arrival
        .headers
        .iter()
        .filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            from_envoy(&name) || (!sent(&name) && name != "x-openclaw-scopes")
        })
        .cloned()
        .collect();
    let passes = |name: &str| !from_envoy(&name.to_ascii_lowercase());
    all.extend(question.headers.iter().filter(|(name, _)| passes(name)).cloned());
    all
}

fn is_extension(arrival: &Arrival) -> bool {
    arrival.values("origin").iter().any(|origin| origin.trim().starts_with("chrome-extension://"))
}

/// The part of two answers that must be equal: the body without values that are new in each.
fn answer(response: &Response) -> Value {
    let mut body = response.json();
    for key in ["id", "created", "data"] {
        if let Some(list) = body.get_mut(key) {
            strip_times(list);
        }
    }
    body
}

fn strip_times(value: &mut Value) {
    if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(strip_times);
    } else if let Some(map) = value.as_object_mut() {
        map.remove("created");
    }
}

pub fn send(
    address: std::net::SocketAddr,
    peer: Option<&str>,
    question: &Question,
    headers: &Headers,
) -> Result<Response, String> {
    let body = PROBES.iter().find(|(_, path, ..)| *path == question.path).map_or("", |probe| probe.2);
    let dropped = ["content-length", "content-type", "connection", "transfer-encoding"];
    let mut all: Headers =
        headers.iter().filter(|(name, _)| !dropped.contains(&name.to_ascii_lowercase().as_str())).cloned().collect();
    all.push(("connection".into(), b"close".to_vec()));
    if !body.is_empty() {
        all.push(("content-type".into(), b"application/json".to_vec()));
        all.push(("content-length".into(), body.len().to_string().into_bytes()));
    }
    let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
    let mut bytes = peer.map(wire::proxy_line).unwrap_or_default();
    bytes.extend(wire::request(&question.method, &question.path, &all));
    bytes.extend_from_slice(body.as_bytes());
    connection.send(&bytes).map_err(|error| error.to_string())?;
    connection
        .response(&question.method)
        .map_err(|error| format!("no response: {error}, {:?}", values(headers, "host")))
}
