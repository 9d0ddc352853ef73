//! Follows docs/migration.md with a real Gateway and the blocks of that page: from a token to the proxy's users, and
//! back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::document::{Section, commands};
use harness::envoy::{Scratch, Source, eventually};
use harness::gateway::{Denied, Gateway, Options, Session, Stack, installed};
use harness::tool::program;
use harness::wire::{self, Connection, Headers, Response};
use serde_json::{Value, json};

const PAGE: &str = "migration.md";
const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "198.51.100.66";
const USER: &str = "nick@example.com";
const OTHER: &str = "eve@example.com";

/// Who answers the request, or ends the WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    In,
    Filter,
    Gateway,
}
use Seen::{Filter, In};

/// A kind of client: the peer, whether it has a user, and whether it has the token.
struct Client {
    name: &'static str,
    peer: &'static str,
    user: Option<&'static str>,
    token: bool,
}

const CLIENTS: [Client; 7] = [
    Client { name: "a user with the token", peer: PROXY, user: Some(USER), token: true },
    Client { name: "the token alone", peer: PROXY, user: None, token: true },
    Client { name: "a user without the token", peer: PROXY, user: Some(USER), token: false },
    Client { name: "nobody", peer: PROXY, user: None, token: false },
    Client { name: "past the proxy, with user and token", peer: STRANGER, user: Some(USER), token: true },
    Client { name: "past the proxy, with a user", peer: STRANGER, user: Some(USER), token: false },
    Client { name: "a user who is not listed, with the token", peer: PROXY, user: Some(OTHER), token: true },
];

/// The result for each of them at each stage.
const TODAY: [Seen; 7] = [In, In, Seen::Gateway, Seen::Gateway, In, Seen::Gateway, In];
const TWO_LOCKS: [Seen; 7] = [In, Filter, Seen::Gateway, Filter, Filter, Filter, Filter];
/// With the other policy, which lists the other user.
const TWO_LOCKS_OTHERWISE: [Seen; 7] = [In, Filter, Seen::Gateway, Filter, Filter, Filter, In];
const DONE: [Seen; 7] = [In, Filter, In, Filter, Filter, Filter, Filter];
/// Report mode in front of a Gateway that trusts user names: nobody writes the header that it reads.
const NEVER: [Seen; 7] = [Seen::Gateway; 7];

#[test]
fn from_a_token_to_the_proxys_users_and_back_without_a_lost_request_or_an_open_window() {
    let today = Section::of(PAGE, "Today").json(0);
    let token = today["gateway"]["auth"]["token"].as_str().unwrap().to_owned();
    let report = Section::of(PAGE, "1. Watch").json(0);
    let after = Section::of(PAGE, "4. The Gateway").json(0);
    let enforce = enforced(&report);
    let mut pasted = report.clone();
    // The Gateway reads the header that only the filter writes.
    pasted["gateway"]["auth"]["trustedProxy"]["userHeader"] = report["filter"]["upstreamUserHeader"].clone();
    for part in ["/gateway/trustedProxies", "/gateway/auth/mode", "/gateway/auth/trustedProxy", "/gateway/controlUi"] {
        assert_eq!(pasted.pointer(part), after.pointer(part), "{part} differs between the policy and the Gateway");
    }

    let mut stack = Stack::start_with(
        &over_minimal(&today),
        |_| report.clone(),
        |bootstrap, relay, gateway| hold_requests(&record(bootstrap), relay, gateway),
    );
    let http = stack.http();
    let see = |stack: &Stack| CLIENTS.map(|client| client.seen(stack, &token));

    // What worked before keeps working: it is checked again and again, through both restarts.
    let stop = AtomicBool::new(false);
    // Held where nothing works on purpose.
    let turn = Mutex::new(());
    thread::scope(|scope| {
        // However this test ends, the thread stops.
        struct Stop<'s>(&'s AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let stopped = Stop(&stop);
        let steady = scope.spawn(|| {
            let mut answers: BTreeMap<String, usize> = BTreeMap::new();
            while !stop.load(Ordering::SeqCst) {
                let held = turn.lock().unwrap();
                let seen = CLIENTS[0].http(http, &token);
                drop(held);
                *answers
                    .entry(seen.map_or_else(
                        |error| error.to_string(),
                        |answer| format!("{} {}", answer.status, answer.json()["error"]),
                    ))
                    .or_default() += 1;
                thread::sleep(Duration::from_millis(100));
            }
            answers
        });

        // 1. Watch.
        assert_eq!(see(&stack), TODAY, "report mode changes nothing");
        let direct = CLIENTS.map(|client| client.directly(stack.gateway(), &token));
        assert_eq!(direct, TODAY, "this is what the Gateway alone does");
        // Admitted requests are reported to Envoy once a second.
        let is_counted = || counters(&stack).get("admitted").is_some_and(|count| *count >= 4);
        eventually("the admitted requests to be counted", is_counted);
        let counted = counters(&stack);
        // Each was sent twice: over HTTP and as a WebSocket.
        assert_eq!(counted["would_refuse trusted_proxy_user_missing"], 4, "{counted:?}");
        assert_eq!(counted["would_refuse trusted_proxy_untrusted_source"], 4, "{counted:?}");
        assert_eq!(counted["would_refuse trusted_proxy_user_not_allowed"], 2, "{counted:?}");
        assert!(!counted.keys().any(|name| name.starts_with("refused")), "{counted:?}");
        let told = |part: &'static str| stack.envoy().line(Source::Log, move |line| line.contains(part));
        told("would be refused reason=trusted_proxy_user_missing peer=10.0.0.1:40000 method=POST path=/tools/invoke");
        told("would be refused reason=trusted_proxy_untrusted_source peer=198.51.100.66:40000");
        told("critical filter.report_mode");
        stack.envoy().line(Source::Access, |line| {
            line.contains(r#""reason":"trusted_proxy_user_missing""#) && line.contains(r#""status":200"#)
        });

        // 2. Ask the access log.
        let foretold = ask_the_log(&stack, &report);

        // 3. Two locks. Open connections stay open.
        let mut session = CLIENTS[0].websocket(http, &token).expect("a user with the token gets in");
        stack.put_policy(&enforce);
        assert_eq!(see(&stack), TWO_LOCKS);
        assert_eq!(with_result(&counters(&stack), "refused"), foretold.refused, "as replay foretold");
        session.call("health", &json!({})).expect("the session goes on");
        // The other policy that was tried on the log.
        let before = with_result(&counters(&stack), "refused");
        stack.put_policy(&enforced(&foretold.other));
        assert_eq!(see(&stack), TWO_LOCKS_OTHERWISE);
        let mut refused = with_result(&counters(&stack), "refused");
        refused.iter_mut().for_each(|(reason, count)| *count -= before[reason]);
        refused.retain(|_, count| *count > 0);
        assert_eq!(refused, foretold.refused_otherwise, "as replay foretold of the other policy");
        stack.put_policy(&enforce);

        // 4. The Gateway.
        restart(&mut stack, &after);
        assert_eq!(see(&stack), DONE);
        let mut session = CLIENTS[2].websocket(http, &token).expect("a user gets in");
        assert_eq!(session.hello["auth"]["method"], "trusted-proxy");
        session.call("sessions.list", &json!({})).expect("a user may do what identityScopes says");
        let password = after["gateway"]["auth"]["password"].as_str().unwrap();
        let forwarded = ("x-forwarded-for".to_owned(), b"203.0.113.7".to_vec());
        let own_host = [
            (vec![bearer(password)], 200),
            (vec![bearer(password), forwarded.clone()], 401),
            (vec![bearer(&token)], 401),
        ];
        for (headers, status) in own_host {
            let answer = invoke(stack.gateway().address(), None, &headers).unwrap();
            assert_eq!(answer.status, status, "on the Gateway's own host: {answer:?}");
        }

        // Why the filter is first here, and last on the way back.
        let held = turn.lock().unwrap();
        stack.put_policy(&report);
        assert_eq!(see(&stack), NEVER);
        stack.put_policy(&enforce);
        assert_eq!(see(&stack), DONE);
        drop(held);

        // The way back.
        restart(&mut stack, &today);
        assert_eq!(see(&stack), TWO_LOCKS);
        stack.put_policy(&report);
        assert_eq!(see(&stack), TODAY);

        drop(stopped);
        let answers = steady.join().unwrap();
        let total: usize = answers.values().sum();
        crate::say(&format!("migration: {total} requests all the while, {answers:?}"));
        assert_eq!(answers.keys().collect::<Vec<_>>(), ["200 null"], "no request that works before is lost on the way");
    });
    assert_eq!(stack.gateway().starts(), 3);

    // Why the Gateway's list must name Envoy from the start. It applies changes to the list while it runs.
    for (list, status) in [(Value::Null, 403), (today["gateway"]["trustedProxies"].clone(), 200)] {
        stack.gateway_mut().put_config(&json!({"trustedProxies": list}));
        eventually("the Gateway to take the list", || CLIENTS[0].http(http, &token).unwrap().status == status);
    }
    assert_eq!(stack.gateway().starts(), 3);
}

#[test]
fn a_running_gateway_with_a_token_and_the_new_mode_stays_down() {
    let today = Section::of(PAGE, "Today").json(0);
    let after = Section::of(PAGE, "4. The Gateway").json(0);
    let mut gateway = Gateway::start(&over_minimal(&today), &Options::default());
    // The new block merged into the old one: the token is still there.
    gateway.put_config(&after["gateway"]);
    let page = Section::of(PAGE, "4. The Gateway").text.split_whitespace().collect::<Vec<_>>().join(" ");
    let complaint = "gateway auth mode is trusted-proxy, but a shared token is also configured";
    assert!(page.contains(complaint));
    eventually("the Gateway to complain", || gateway.log().contains(complaint));
    assert!(gateway.log().contains("Process will stay alive"), "{}", gateway.log());
    let validated = command(&gateway, &["config", "validate"]);
    assert!(validated.contains("Config valid"), "the Gateway's own check does not see it: {validated}");
    let answers = || TcpStream::connect(gateway.address()).is_ok();
    assert!(!answers(), "it does not serve");
    // Nothing reports that it will not restart, so it gets the time in which a Gateway that watches its file begins
    // to restart.
    gateway.put_config(&json!({"auth": {"token": null}}));
    thread::sleep(Duration::from_secs(3));
    assert!(!gateway.log().split(complaint).last().unwrap().contains("config change detected"), "{}", gateway.log());
    assert_eq!((gateway.starts(), TcpStream::connect(gateway.address()).is_ok()), (1, false));
}

/// The output of a Gateway command about its configuration.
fn command(gateway: &Gateway, arguments: &[&str]) -> String {
    let (package, node) = installed();
    let scratch = Scratch::new("command");
    let output = Command::new(node)
        .arg(package.join("openclaw.mjs"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(["HOME", "TMPDIR", "OPENCLAW_HOME", "OPENCLAW_STATE_DIR"].map(|name| (name, scratch.path())))
        .env("OPENCLAW_CONFIG_PATH", gateway.folder().join("openclaw.json"))
        .env("OPENCLAW_OFFLINE", "1")
        .output()
        .unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// Replaces the `gateway` block as a whole, and waits until the Gateway has restarted by itself.
fn restart(stack: &mut Stack, file: &Value) {
    let starts = stack.gateway().starts();
    stack.gateway_mut().put_config(&over_minimal(file));
    stack.gateway().await_starts(starts + 1);
}

/// The changes that turn another block into this one; keys that only the other one has are removed.
fn over_minimal(file: &Value) -> Value {
    let mut block = file["gateway"].clone();
    for key in ["token", "password", "identityScopes", "trustedProxy"] {
        let auth = block["auth"].as_object_mut().unwrap();
        auth.entry(key).or_insert(Value::Null);
    }
    block
}

/// The policy without report mode.
fn enforced(report: &Value) -> Value {
    let mut enforce = report.clone();
    assert_eq!(enforce["filter"].as_object_mut().unwrap().remove("mode"), Some(json!("report")));
    enforce
}

/// The output of `replay` for the log of stage 1.
struct Foretold {
    /// How often enforcing would refuse, by reason.
    refused: BTreeMap<String, u64>,
    /// The other policy, and how often that one would refuse.
    other: Value,
    refused_otherwise: BTreeMap<String, u64>,
}

/// Runs the commands of the page on the log that Envoy has written so far, and compares them with the counters.
fn ask_the_log(stack: &Stack, report: &Value) -> Foretold {
    let section = Section::of(PAGE, "2. Ask the access log");
    let mut other = report.clone();
    other["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([USER, OTHER]);
    assert!(
        section.text.contains(&format!("`\"allowUsers\": [\"{USER}\", \"{OTHER}\"]`")),
        "the page has the same other policy"
    );

    // A line is written when a request or a WebSocket has ended; the background requests continue meanwhile.
    let counted = counters(stack);
    let would = with_result(&counted, "would_refuse");
    let mut lines = Vec::new();
    eventually("all of it in the access log", || {
        lines = stack.envoy().lines(Source::Access);
        let refused = lines.iter().filter(|line| !line.contains(r#""reason":null"#)).count() as u64;
        refused == would.values().sum::<u64>() && lines.len() as u64 >= counted.values().sum::<u64>()
    });
    let folder = Scratch::new("log");
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("policy.json", &report.to_string());
    put("other.json", &other.to_string());
    put("access.log", &format!("{}\n", lines.join("\n")));

    let commands = commands(&section.text);
    let [alone, against] = [0, 1].map(|at| {
        let words: Vec<_> = commands[at].line.split(' ').collect();
        assert_eq!(words[0], "openclaw-trusted-proxy", "{commands:?}");
        let [text, json] = [&[][..], &["--json"]].map(|more| {
            let mut command = Command::new(program());
            let output = command.args(&words[1..]).args(more).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        });
        for (reason, count) in &would {
            assert!(text.contains(&format!(" {count}  would_refuse {reason}\n")), "{words:?}: {text}");
        }
        (text, serde_json::from_str::<Value>(&json).unwrap())
    });
    assert_eq!(commands.len(), 2, "{commands:?}");

    for (_, answer) in [&alone, &against] {
        let decisions = answer["decisions"].as_array().unwrap().iter();
        let by_result = |result: &'static str| {
            let of_this = decisions.clone().filter(move |one| one["result"] == result);
            of_this.map(|one| (one["reason"].as_str().unwrap_or_default().to_owned(), one["count"].as_u64().unwrap()))
        };
        assert_eq!(by_result("would_refuse").collect::<BTreeMap<_, _>>(), would, "{answer:#}");
        let admitted: u64 = by_result("admitted").map(|(_, count)| count).sum();
        assert!(counted["admitted"] <= admitted, "{answer:#}");
        eventually("as many to be counted", || admitted <= counters(stack)["admitted"]);
        assert_eq!(answer["lines"], lines.len());
        for what in ["notJudged", "neverReachedTheFilter"] {
            assert_eq!(answer[what], json!([]), "{answer:#}");
        }
        assert_eq!(answer["loggedOtherwise"]["count"], 0, "replay decides as the filter did: {answer:#}");
    }
    // One change: the other user, whom enforcing would admit.
    let (text, answer) = against;
    let changes = answer["against"]["changes"].as_array().unwrap();
    let [change] = changes.as_slice() else { panic!("{answer:#}") };
    assert_eq!(change["to"]["result"], "admitted", "{change:#}");
    let (reason, count) = (change["from"]["reason"].as_str().unwrap(), change["count"].as_u64().unwrap());
    assert!(text.contains(&format!("would_refuse {reason} -> admitted")), "{text}");
    let mut refused_otherwise = would.clone();
    assert_eq!(refused_otherwise.remove(reason), Some(count));
    Foretold { refused: would, other, refused_otherwise }
}

/// The bootstrap with the page's additions. Envoy connects directly to the Gateway: a relay would accept connections
/// that the Gateway does not.
fn hold_requests(bootstrap: &str, relay: SocketAddr, gateway: SocketAddr) -> String {
    let section = Section::of(PAGE, "Holding requests while the Gateway restarts");
    let port = |address: SocketAddr| format!("port_value: {} }}", address.port());
    let mut text = bootstrap.replace(&port(relay), &port(gateway));
    assert_ne!(text, bootstrap);
    for (index, place) in ["timeout: 0s", "connect_timeout: 5s"].into_iter().enumerate() {
        text = beside(&text, place, &section.block("yaml", index), Side::After);
    }
    text
}

/// The bootstrap with the recorder, which records into the access log.
fn record(bootstrap: &str) -> String {
    let section = Section::of("replay.md", "The log");
    let text = beside(bootstrap, "- name: openclaw_trusted_proxy", &section.block("yaml", 0), Side::Before);
    let log = section.block("yaml", 1);
    // The other line exists already.
    let [new, old] = log.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {log}") };
    beside(&text, old, new, Side::After)
}

enum Side {
    Before,
    After,
}

/// The text with a block next to one of its lines, with the same indentation.
fn beside(text: &str, line: &str, block: &str, side: Side) -> String {
    let found: Vec<_> = text.lines().filter(|other| other.trim_start() == line).collect();
    let [found] = found.as_slice() else { panic!("{} lines are `{line}`", found.len()) };
    let indent = " ".repeat(found.len() - line.len());
    let block: String = block.lines().map(|line| format!("{indent}{line}\n")).collect();
    let found = format!("{found}\n");
    let both = match side {
        Side::Before => [block, found.clone()].concat(),
        Side::After => [found.clone(), block].concat(),
    };
    text.replacen(&found, &both, 1)
}

/// The decision counters that are not 0, with result and reason.
fn counters(stack: &Stack) -> BTreeMap<String, u64> {
    let text = stack.envoy().process().ask("/stats/prometheus").unwrap().text();
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    text.lines()
        .filter(|line| line.starts_with("openclaw_trusted_proxy_decisions{"))
        .filter_map(|line| {
            let name =
                [label(line, "result"), label(line, "reason")].into_iter().flatten().collect::<Vec<_>>().join(" ");
            Some((name, line.rsplit(' ').next()?.parse().ok()?))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The counters with this result, by reason.
fn with_result(counters: &BTreeMap<String, u64>, result: &str) -> BTreeMap<String, u64> {
    let of_this =
        |(name, count): (&String, &u64)| Some((name.strip_prefix(result)?.strip_prefix(' ')?.to_owned(), *count));
    counters.iter().filter_map(of_this).collect()
}

fn bearer(token: &str) -> (String, Vec<u8>) {
    ("authorization".to_owned(), format!("Bearer {token}").into_bytes())
}

/// Calls a tool of the Gateway.
fn invoke(address: SocketAddr, peer: Option<&str>, headers: &[(String, Vec<u8>)]) -> std::io::Result<Response> {
    let body = r#"{"tool":"agents_list","args":{}}"#;
    let length = body.len().to_string();
    let mut all: Headers =
        [("host", "claw.example.com"), ("content-type", "application/json"), ("content-length", &length)]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .into();
    all.extend_from_slice(headers);
    let mut connection = Connection::open(address)?;
    let line = peer.map(wire::proxy_line).unwrap_or_default();
    connection.send(&[line, wire::request("POST", "/tools/invoke", &all), body.into()].concat())?;
    connection.response("POST")
}

impl Client {
    fn headers(&self) -> Headers {
        let mut all = vec![("x-forwarded-for".to_owned(), b"203.0.113.7".to_vec())];
        all.extend(self.user.map(|user| ("x-forwarded-user".to_owned(), user.as_bytes().to_vec())));
        all
    }

    fn http(&self, address: SocketAddr, token: &str) -> std::io::Result<Response> {
        let mut headers = self.headers();
        headers.extend(self.token.then(|| bearer(token)));
        invoke(address, Some(self.peer), &headers)
    }

    fn websocket(&self, address: SocketAddr, token: &str) -> Result<Session, Denied> {
        let mut stream = wire::open(address).unwrap();
        stream.write_all(&wire::proxy_line(self.peer)).unwrap();
        self.session(stream, token)
    }

    fn session(&self, stream: TcpStream, token: &str) -> Result<Session, Denied> {
        let mut connect = json!({"client": {"id": "cli", "version": "test", "platform": "test", "mode": "cli"}});
        if self.token {
            connect["auth"] = json!({"token": token});
        }
        Session::open(stream, "/", &self.headers(), &connect)
    }

    /// The result through Envoy, which must be the same over HTTP and as a WebSocket.
    fn seen(&self, stack: &Stack, token: &str) -> Seen {
        let http = judge_http(&self.http(stack.http(), token).unwrap());
        let websocket = judge_websocket(self.websocket(stack.http(), token));
        assert_eq!(http, websocket, "{}: over HTTP and as a WebSocket", self.name);
        http
    }

    /// The result at the Gateway itself, from an address that the Gateway takes for a proxy.
    fn directly(&self, gateway: &Gateway, token: &str) -> Seen {
        let mut headers = self.headers();
        headers.extend(self.token.then(|| bearer(token)));
        let http = judge_http(&invoke(gateway.address(), None, &headers).unwrap());
        let websocket = judge_websocket(self.session(wire::open(gateway.address()).unwrap(), token));
        assert_eq!(http, websocket, "{}: over HTTP and as a WebSocket", self.name);
        http
    }
}

fn judge_http(answer: &Response) -> Seen {
    match (answer.status, answer.json()["error"]["reason"].is_string()) {
        (200, _) => In,
        (401, true) => Filter,
        (401, false) => Seen::Gateway,
        _ => panic!("{answer:?}"),
    }
}

fn judge_websocket(session: Result<Session, Denied>) -> Seen {
    match session {
        Ok(_) => In,
        Err(Denied::Closed(1008, reason, None)) if reason.starts_with("proxy authentication required: ") => Filter,
        Err(Denied::Closed(1008, _, Some(_))) => Seen::Gateway,
        Err(other) => panic!("{other:?}"),
    }
}
