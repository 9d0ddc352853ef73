//! `explain` never disagrees with the filter: the decision vectors, and cases of the reference model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::vectors::{self, Outcome};
use model::choices::{self, Choices};
use model::{Kind, generate, subject};
use policy::{Reason, Rule, Verdict};
use serde_json::{Value, json};

use crate::tool_reading;

/// Configurations as files, each once.
struct Configs {
    folder: PathBuf,
    known: Mutex<BTreeMap<String, PathBuf>>,
}

impl Configs {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self { folder, known: Mutex::default() }
    }

    /// A key `filter` makes sure that it is read as a plugin configuration.
    fn path(&self, config: &Value) -> PathBuf {
        let mut config = config.clone();
        config.as_object_mut().unwrap().entry("filter").or_insert_with(|| Value::Object(serde_json::Map::new()));
        let mut known = self.known.lock().unwrap();
        let next = self.folder.join(format!("{}.json", known.len()));
        let text = config.to_string();
        known
            .entry(text)
            .or_insert_with_key(|text| {
                fs::write(&next, text).unwrap();
                next
            })
            .clone()
    }
}

/// Works through a list on a few threads.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// The head of a request on the wire.
fn head(method: &str, path: &str, headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

/// `explain` about a request as the filter sees it; `None` if it has no answer.
fn explain(config: &Path, peer: &str, more: &[String], head: &[u8]) -> Option<Value> {
    let config = config.to_str().unwrap();
    let mut arguments = vec!["explain", config, "--as-seen", "--json", "--request", "-"];
    let peer = format!("--peer={peer}");
    arguments.push(&peer);
    arguments.extend(more.iter().map(String::as_str));
    let run = tool_reading(&arguments, head);
    let answer: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error} {}", run.stderr));
    let expected = match (answer["verdict"].as_str(), answer["socket"]["fate"].as_str()) {
        (_, Some("stays")) => 0,
        (_, Some(_)) => 1,
        (Some("admitted" | "anonymous" | "delegated"), None) => 0,
        (Some("refused" | "would_refuse"), None) => 1,
        _ => 2,
    };
    assert_eq!(run.code, expected, "{arguments:?}: {}", run.stdout);
    (run.code != 2).then_some(answer)
}

/// Latin-1, as the answer writes bytes.
fn bytes(text: &Value) -> Vec<u8> {
    text.as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn upstream(answer: &Value) -> Vec<(String, Vec<u8>)> {
    let headers = answer["upstream"]["headers"].as_array().unwrap();
    headers.iter().map(|pair| (pair[0].as_str().unwrap().to_owned(), bytes(&pair[1]))).collect()
}

/// Checks that the steps agree with the verdict: one step settles it, no later one is reached, no earlier one fails.
fn check_steps(answer: &Value, what: &str) {
    let rules = answer["rules"].as_array().unwrap();
    let words: Vec<&str> = rules.iter().map(|rule| rule["verdict"].as_str().unwrap()).collect();
    assert_eq!(rules.len(), Rule::ALL.len(), "{what}");
    let place = |word: Verdict| words.iter().position(|other| *other == word.word());
    let settled = match answer["verdict"].as_str().unwrap() {
        "refused" | "would_refuse" => Some(place(Verdict::Refused).unwrap_or_else(|| panic!("{what}: {words:?}"))),
        "anonymous" => Some(place(Verdict::Admitted).unwrap_or_else(|| panic!("{what}: {words:?}"))),
        "delegated" => {
            assert!(place(Verdict::Delegated).is_some() && place(Verdict::Refused).is_none(), "{what}: {words:?}");
            None
        }
        _ => {
            let bad = ["refused", "delegated", "not reached", "admitted"];
            assert!(!words.iter().any(|word| bad.contains(word)), "{what}: {words:?}");
            None
        }
    };
    if let Some(settled) = settled {
        assert!(words[settled + 1..].iter().all(|word| *word == "not reached"), "{what}: {words:?}");
        let fine = ["passed", "skipped", "delegated", "not reached"];
        assert!(words[..settled].iter().all(|word| fine.contains(word)), "{what}: {words:?}");
        if answer["verdict"] != "anonymous" {
            let reason = Reason::ALL.iter().find(|reason| {
                answer["reason"].as_str().is_some_and(|code| {
                    let names_a_header = matches!(reason, Reason::MissingHeader | Reason::HeaderValue);
                    code == reason.code() || (names_a_header && code.starts_with(reason.code()))
                })
            });
            assert_eq!(reason.and_then(|reason| reason.rule()), Some(Rule::ALL[settled]), "{what}: {answer}");
            assert!(!answer["fix"].as_array().unwrap().is_empty(), "{what}: no remedy");
        }
    }
    // Each scope that the request has is explained, in its order.
    let granted = answer["eachScope"].as_array().unwrap().iter().filter(|step| step["granted"] == true);
    let granted: Vec<_> = granted.map(|step| step["scope"].as_str().unwrap()).collect();
    assert_eq!(granted.join(","), answer["scopes"].as_str().unwrap_or_default(), "{what}");
    for (rule, word) in rules.iter().zip(&words) {
        assert_eq!(rule["saw"] == "", *word == "not reached", "{what}: {rule}");
    }
}

#[test]
fn explain_decides_every_vector_as_the_filter_does() {
    let cases = vectors::load();
    assert!(cases.len() >= 1200, "only {} vectors", cases.len());
    let configs = Configs::new("cli-vectors");
    let wrong = Mutex::new(Vec::new());
    each(&cases, |case| {
        let head = head(&case.method, &case.path, &case.on_the_wire());
        let Some(answer) = explain(&configs.path(&case.config), &case.remote_addr, &[], &head) else {
            wrong.lock().unwrap().push(format!("{}: no answer", case.id));
            return;
        };
        check_steps(&answer, &case.id);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let client = &answer["client"];
        let outcome = match (&answer["verdict"], client["closeReason"].as_str()) {
            (verdict, None) if verdict == "refused" => {
                let status = client["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap();
                Outcome::Refused { status, reason: text(&answer["reason"]) }
            }
            (verdict, Some(reason)) if verdict == "refused" => {
                Outcome::Closed { code: 1008, reason: reason.to_owned() }
            }
            _ => Outcome::Admitted { upstream: upstream(&answer) },
        };
        if let Err(difference) = case.judge(&outcome) {
            wrong.lock().unwrap().push(format!("{}: {difference}", case.id));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn explain_tells_a_repeated_origin_from_one_that_is_not_listed() {
    let configs = Configs::new("cli-origins");
    let config = json!({"gateway": {
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
    }});
    const TWICE: &str = "more than once";
    let claw = "https://claw.example.com";
    for (origins, is_twice) in [(vec![claw, claw], true), (vec!["https://a,b"], true), (vec!["https://a"], false)] {
        let mut headers = vec![
            ("host".to_owned(), b"claw.example.com".to_vec()),
            ("x-forwarded-for".to_owned(), b"203.0.113.7".to_vec()),
            ("x-forwarded-user".to_owned(), b"nick@example.com".to_vec()),
        ];
        headers.extend(origins.iter().map(|origin| ("origin".to_owned(), origin.as_bytes().to_vec())));
        let answer = explain(&configs.path(&config), "10.0.0.1", &[], &head("GET", "/", &headers)).unwrap();
        assert_eq!(answer["reason"], "trusted_proxy_origin_not_allowed", "{origins:?}: {answer}");
        assert_eq!(answer["fix"].to_string().contains(TWICE), is_twice, "{origins:?}: {answer}");
    }
}

/// A request as arguments and input for `explain`; `None` if the head of an HTTP/1.1 request cannot express it.
fn can_be_asked(request: &model::Request) -> Option<(String, Vec<u8>, Vec<String>)> {
    let mut more = Vec::new();
    // Envoy joins copies of this one.
    if request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization")).count() > 1 {
        return None;
    }
    let peer = std::str::from_utf8(request.peer.as_ref()?).ok()?.to_owned();
    // `explain` reads a bare address as one from a socket. An empty text, or one with a NUL, cannot be an argument.
    let is_bare = peer.parse::<std::net::IpAddr>().is_ok() || peer.contains('%') && !peer.contains(']');
    if is_bare || peer.is_empty() || peer.contains('\0') {
        return None;
    }
    let text = |bytes: &Vec<u8>| std::str::from_utf8(bytes).ok().map(str::to_owned).filter(|text| !text.contains('\0'));
    if let Some(destination) = &request.destination {
        more.push(format!("--destination={}", text(destination)?));
    }
    if let Some(assertion) = &request.assertion {
        more.push(format!("--assertion={}", text(assertion)?));
    }
    if request.mtls {
        let uri_san = request.uri_san.as_ref().map_or(Some(String::new()), text)?;
        more.push(format!("--certificate-uri-san={uri_san}"));
    }
    for (key, value) in &request.filter_states {
        more.push(format!("--filter-state={key}={}", text(value)?));
    }
    more.extend(request.true_claims.iter().map(|name| format!("--true-claim={name}")));
    let (mut method, mut path, mut headers) = (None, None, Vec::new());
    for (name, value) in &request.headers {
        let plain = !value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) && value.trim_ascii() == value;
        let name = text(name)?;
        match name.as_str() {
            _ if !plain => return None,
            ":method" if method.is_none() => method = Some(text(value)?),
            ":path" if path.is_none() => path = Some(text(value)?),
            ":authority" => headers.push(("host".to_owned(), value.clone())),
            ":scheme" => {}
            pseudo if pseudo.starts_with(':') => return None,
            // Shown as Envoy shows it: in lower case, and with some copies joined.
            name => headers.push((name.to_ascii_lowercase(), value.clone())),
        }
    }
    let (method, path) = (method?, path?);
    if method.is_empty()
        || method.contains(' ')
        || path.is_empty()
        || path.contains([' ', '\u{7F}'])
        || path.contains("://")
    {
        return None;
    }
    Some((peer, head(&method, &path, &headers), more))
}

#[test]
fn explain_decides_as_the_policy_does_whatever_the_case() {
    let cases: Vec<_> = (0..900_u64)
        .map(|seed| generate::case(&mut Choices::new(&choices::bytes(20_261_123 + seed, 400))))
        .filter_map(|case| can_be_asked(&case.request).map(|asked| (case, asked)))
        .collect();
    let configs = Configs::new("cli-model");
    let (compared, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    each(&cases, |(case, (peer, head, more))| {
        let what = format!("{} {:?}", case.config, case.request);
        // No request on the wire can have this name or value.
        let Some(answer) = explain(&configs.path(&case.config), peer, more, head) else { return };
        check_steps(&answer, &what);
        compared.fetch_add(1, Ordering::Relaxed);
        let policy = subject::compiled(&case.config).policy;
        match subject::decide(&policy, &case.request) {
            model::Outcome::Refused(code) => {
                let word = if case.config["filter"]["mode"] == "report" { "would_refuse" } else { "refused" };
                assert_eq!((&answer["verdict"], &answer["reason"]), (&word.into(), &code.into()), "{what}");
            }
            model::Outcome::Passed { kind, headers } => {
                passed.fetch_add(1, Ordering::Relaxed);
                let expected = match &kind {
                    Kind::Identified(user) => ("admitted", Some(user), None),
                    Kind::Anonymous => ("anonymous", None, None),
                    Kind::Delegated(code) => ("delegated", None, Some(code)),
                };
                let text = |key: &str| answer[key].as_str().map(str::to_owned);
                let found = (answer["verdict"].as_str().unwrap(), text("user"), text("reason"));
                assert_eq!(found, (expected.0, expected.1.cloned(), expected.2.cloned()), "{what}");
                if case.config["filter"]["mode"] == "report" {
                    return;
                }
                let user_header = subject::upstream_user_header(&case.config).to_ascii_lowercase();
                let mut theirs: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
                let ours = upstream(&answer);
                let mut names: Vec<String> =
                    ours.iter().map(|(name, _)| name.clone()).filter(|name| name != ":scheme").collect();
                for list in [&mut theirs, &mut names] {
                    list.retain(|name| name != ":scheme");
                    list.sort();
                    list.dedup();
                }
                assert_eq!(names, theirs, "{what}");
                for stamped in [user_header.as_str(), "x-openclaw-scopes"] {
                    let their: Vec<_> = headers
                        .iter()
                        .filter(|(name, _)| name.eq_ignore_ascii_case(stamped))
                        .map(|(_, value)| {
                            value.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>()
                        })
                        .collect();
                    let our: Vec<_> =
                        ours.iter().filter(|(name, _)| name == stamped).map(|(_, value)| value.clone()).collect();
                    assert_eq!(our, their, "{stamped}: {what}");
                }
            }
        }
    });
    let (compared, passed) = (compared.into_inner(), passed.into_inner());
    println!("{compared} cases compared, {passed} of them pass");
    assert!(compared > 150 && passed > 40, "{compared} cases compared, {passed} of them pass");
}

#[test]
fn explain_says_of_an_open_socket_what_the_policy_does_with_it() {
    let cases: Vec<_> = (0..1_500_u64)
        .map(|seed| generate::edited(&mut Choices::new(&choices::bytes(20_261_126 + seed, 800))))
        .filter(|(_, edited)| policy::config::compile(edited.to_string().as_bytes()).is_ok())
        .filter_map(|(case, edited)| can_be_asked(&case.request).map(|asked| (case, edited, asked)))
        .collect();
    let configs = Configs::new("cli-sockets");
    let seen = Mutex::new(BTreeMap::<String, u32>::new());
    each(&cases, |(case, edited, (peer, head, more))| {
        let what = format!("{}\n{edited}\n{:?}", case.config, case.request);
        let before = configs.path(&case.config);
        let more = [&[format!("--opened-under={}", before.display())], &more[..]].concat();
        let answer = explain(&configs.path(edited), peer, &more, head);
        let fate = subject::Open::by(&subject::compiled(&case.config).policy, &case.request)
            .map(|open| open.under(&subject::compiled(edited).policy));
        let (Some(answer), Some(fate)) = (&answer, &fate) else {
            // The only other reason for no answer is a request that cannot be on the wire.
            assert!(answer.is_none(), "{what}: it was never open");
            return;
        };
        let closed = if edited["filter"]["mode"] == "report" { "would_close" } else { "closed" };
        let expected = match fate {
            _ if edited["filter"]["openSockets"] == "keep" => ("stays", Value::Null),
            model::sockets::Fate::Stays => ("stays", Value::Null),
            model::sockets::Fate::Closed(code) => (closed, json!(code)),
        };
        let socket = &answer["socket"];
        assert_eq!((socket["fate"].as_str().unwrap(), &socket["reason"]), (expected.0, &expected.1), "{what}");
        let code = socket["reason"].as_str().unwrap_or("stays");
        let code = if code.starts_with("trusted_proxy_socket_") || code == "stays" { code } else { "refused" };
        *seen.lock().unwrap().entry(code.to_owned()).or_default() += 1;
    });
    let seen = seen.into_inner().unwrap();
    println!("{seen:?}");
    for code in ["stays", "refused", "trusted_proxy_socket_user_changed", "trusted_proxy_socket_scopes_reduced"] {
        assert!(seen.get(code).is_some_and(|count| *count > 2), "{code}: {seen:?}");
    }
}
