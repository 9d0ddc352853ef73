//! For the lines of a real Envoy's log, `replay` makes the decisions that the filter made on the requests.

use std::collections::BTreeMap;
use std::fs;

use harness::envoy::Envoy;
use harness::gateway::lay;
use harness::parts;
use harness::pki::{Authority, Identity, Validity};
use harness::vectors::{self, Expect, Outcome, Vector};
use harness::wire::{self, values};
use serde_json::{Value, json};

use super::site::{Running, Site, manager, tool};

const PROXY: [&str; 4] = ["--peer", "proxy-protocol", "--xff", "keep"];

/// The vectors contain requests that the rendered settings would not let through to the filter.
fn let_everything_through(listener: &mut Value) {
    let manager = manager(listener);
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = json!("ALLOW");
    manager["normalize_path"] = json!(false);
    manager["merge_slashes"] = json!(false);
    manager["max_request_headers_kb"] = json!(60);
}

/// How often each reason was given, and "" for what passed.
type Reasons = BTreeMap<String, u64>;

fn reasons_of(report: &Value) -> Reasons {
    let mut reasons = Reasons::new();
    for decision in report["decisions"].as_array().unwrap() {
        let refused = decision["result"] == "refused";
        let reason = if refused { decision["reason"].as_str().unwrap() } else { "" };
        *reasons.entry(reason.to_owned()).or_default() += decision["count"].as_u64().unwrap();
    }
    reasons
}

#[test]
fn rendered_listeners_decide_every_vector_and_replay_repeats_each_decision_from_their_logs() {
    let mut vectors = vectors::load();
    // What `render` adds where a configuration does not say it.
    for vector in &mut vectors {
        let mut filter = json!({"upstreamUserHeader": "x-openclaw-user", "crossSite": "allow"});
        if vector.config["filter"].is_object() {
            lay(&mut filter, &vector.config["filter"]);
        }
        vector.config["filter"] = filter;
    }
    let mut configs: Vec<(&Value, Vec<&Vector>)> = Vec::new();
    for vector in &vectors {
        match configs.iter_mut().find(|(config, _)| **config == vector.config) {
            Some((_, all)) => all.push(vector),
            None => configs.push((&vector.config, vec![vector])),
        }
    }
    let mut site = Site::new();
    for (index, (config, _)) in configs.iter().enumerate() {
        site.add(&format!("config-{index}"), config, &PROXY, let_everything_through);
    }
    let site = site.start();

    let play = |index: usize, all: &[&Vector]| -> Vec<String> {
        let address = site.address(&format!("config-{index}"));
        let problem = |vector: &&Vector| {
            let outcome = vector.play(address).unwrap_or_else(|error| Outcome::Other(error.to_string()));
            vector.judge(&outcome).err().map(|problem| format!("{}: {problem}", vector.id))
        };
        all.iter().filter_map(problem).collect()
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let (configs, play) = (&configs, &play);
            scope.spawn(move || {
                let mine = configs.iter().enumerate().filter(|(index, _)| index % 2 == half);
                mine.flat_map(|(index, (_, all))| play(index, all)).collect::<Vec<_>>()
            })
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert_eq!(wrong, Vec::<String>::new(), "the rendered configuration decides otherwise");

    let (mut judged, mut passed, mut otherwise, mut explained) = (0, 0, Vec::new(), 0);
    for (index, (_, all)) in configs.iter().enumerate() {
        let name = format!("config-{index}");
        let lines = site.log(&name, all.len());
        for (at, line) in lines.iter().enumerate().filter(|(at, _)| at % 5 == index % 5) {
            // Report mode writes a reason too.
            let answer = site.explain(&name, &["--line", &(at + 1).to_string()]);
            let refused = ["refused", "would_refuse"].iter().any(|verdict| answer["verdict"] == *verdict);
            let reason = if refused { &answer["reason"] } else { &Value::Null };
            let says_otherwise = answer["notes"].to_string().contains("another policy was in force");
            assert_eq!(says_otherwise, *reason != line["reason"], "{name}: {line} {answer:#}");
            if let Some(id) = line["request_id"].as_str() {
                assert_eq!(site.explain(&name, &["--request-id", id]), answer, "{name}: {line}");
            }
            explained += usize::from(!says_otherwise);
        }
        let report = site.replay(&name, &[], 0);
        assert_eq!(report["lines"], all.len(), "{name}");
        for example in report["loggedOtherwise"]["examples"].as_array().unwrap() {
            otherwise.push(example["note"].as_str().unwrap().to_owned());
        }
        assert_eq!(report["neverReachedTheFilter"], json!([]), "{name}");
        let mut expected = Reasons::new();
        for vector in all {
            let reason = match &vector.expect {
                Expect::Admit { .. } => String::new(),
                Expect::Refuse { reason, .. } => reason.clone(),
            };
            *expected.entry(reason).or_default() += 1;
        }
        let told = reasons_of(&report);
        if report["loggedOtherwise"]["count"] == 0 {
            assert_eq!(told, expected, "{name}");
        }
        judged += all.len();
        passed += expected.get("").copied().unwrap_or_default();
    }
    assert!(judged >= 1200, "only {judged} lines");
    assert!(explained >= 200, "only {explained} lines");
    assert_eq!(site.echo.requests() as u64, passed, "what is refused does not reach the upstream");
    // The one thing that a log cannot tell, and that is judged more strictly: a required header of which Node reads
    // the first copy alone, and whose value begins with bytes that are not UTF-8.
    let from = "refused trusted_proxy_missing_header_From here";
    assert_eq!(
        otherwise,
        [format!("{from}, passed in the log"), format!("{from}, trusted_proxy_origin_not_allowed in the log")]
    );
}

fn config(trusted: Value, filter: Value) -> Value {
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.0/24", "203.0.113.5", "127.0.0.1"],
            "allowRealIpFallback": true,
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": filter,
    });
    for (key, value) in trusted.as_object().unwrap() {
        config["gateway"]["auth"]["trustedProxy"][key] = value.clone();
    }
    config
}

fn request(path: &str, peer: &str, websocket: bool, headers: &[(&str, &[u8])]) -> Vector {
    let mut all: Vec<(String, Vec<u8>)> = vec![("host".to_owned(), b"claw.example.com".to_vec())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())));
    Vector {
        id: path.to_owned(),
        websocket,
        remote_addr: peer.to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: all,
        config: Value::Null,
        expect: Expect::Admit { user: None, scopes: None },
    }
}

/// Valid, invalid and hostile requests. Each has its own path, which identifies it in the logs.
fn requests() -> Vec<Vector> {
    const PROXY: &str = "10.0.0.1";
    const XFF: (&str, &[u8]) = ("x-forwarded-for", b"198.51.100.7");
    const NICK: (&str, &[u8]) = ("x-forwarded-user", b"nick@example.com");
    const EVE: (&str, &[u8]) = ("x-forwarded-user", b"eve@example.com");
    const EDGE: (&str, &[u8]) = ("x-edge-secret", b"s3cr3t");
    const ORIGIN: (&str, &[u8]) = ("origin", b"https://claw.example.com");
    let cases: Vec<(&str, bool, Vec<(&str, &[u8])>)> = vec![
        (PROXY, false, vec![XFF, NICK, EDGE]),
        (PROXY, true, vec![XFF, NICK, EDGE, ORIGIN]),
        (PROXY, false, vec![XFF, EVE, EDGE]),
        (PROXY, true, vec![XFF, EVE, EDGE, ORIGIN]),
        (PROXY, false, vec![XFF, EDGE]),
        (PROXY, true, vec![XFF, EDGE]),
        (PROXY, false, vec![XFF, NICK]),
        // Peers
        ("10.0.1.1", false, vec![XFF, NICK, EDGE]),
        ("203.0.113.5", false, vec![XFF, NICK, EDGE]),
        ("127.0.0.1", false, vec![XFF, NICK, EDGE]),
        ("2001:db8::1", false, vec![XFF, NICK, EDGE]),
        // Copies and spellings
        (PROXY, false, vec![XFF, NICK, EVE, EDGE]),
        (PROXY, false, vec![XFF, NICK, NICK, EDGE]),
        (PROXY, false, vec![XFF, NICK, ("x-forwarded-user", b""), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b""), NICK, EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b" nick@example.com\t"), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"\xA0nick@example.com\xA0"), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"\xA0"), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"j\xF6rg"), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", "j\u{f6}rg".as_bytes()), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", "\u{f6}\\u00f6\"".as_bytes()), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"\xC3\xB6\xFF\\\""), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"a,b"), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"a"), ("x-forwarded-user", b"b"), EDGE]),
        (PROXY, false, vec![XFF, ("x-forwarded-user", b"NICK@example.com"), EDGE]),
        (PROXY, false, vec![XFF, ("X-Forwarded.User", b"nick@example.com"), EDGE]),
        // Required headers
        (PROXY, false, vec![XFF, NICK, ("x-edge-secret", b"")]),
        (PROXY, false, vec![XFF, NICK, ("x-edge-secret", b"\xA0")]),
        (PROXY, false, vec![XFF, NICK, ("x-edge-secret", b"a"), ("x-edge-secret", b"b")]),
        // Clients
        (PROXY, false, vec![NICK, EDGE]),
        (PROXY, false, vec![NICK, EDGE, ("x-real-ip", b"198.51.100.7")]),
        (PROXY, false, vec![NICK, EDGE, ("x-real-ip", b"198.51.100.7"), ("x-real-ip", b"198.51.100.8")]),
        (PROXY, false, vec![NICK, EDGE, ("x-forwarded-for", b"10.0.0.9, 127.0.0.1")]),
        (PROXY, false, vec![NICK, EDGE, ("x-forwarded-for", b"198.51.100.7"), ("x-forwarded-for", b"10.0.0.9")]),
        // Origins
        (PROXY, false, vec![XFF, NICK, EDGE, ("origin", b"https://evil.example.com")]),
        (PROXY, true, vec![XFF, NICK, EDGE, ("origin", b"https://other.example.com")]),
        (PROXY, true, vec![XFF, NICK, EDGE, ORIGIN, ("origin", b"null")]),
        (PROXY, true, vec![XFF, NICK, EDGE, ("origin", b"https://claw.example.c\xF6m")]),
        // Scopes and groups
        (PROXY, false, vec![XFF, NICK, EDGE, ("x-openclaw-scopes", b"operator.read")]),
        (PROXY, false, vec![XFF, NICK, EDGE, ("x-openclaw-scopes", b"")]),
        (
            PROXY,
            false,
            vec![XFF, NICK, EDGE, ("x-openclaw-scopes", b"operator.read"), ("x-openclaw-scopes", b"operator.admin")],
        ),
        (PROXY, true, vec![XFF, NICK, EDGE, ("x-openclaw-scopes", b"operator.admin, operator.talk")]),
        (PROXY, false, vec![XFF, NICK, EDGE, ("x-groups", b"ops")]),
        (PROXY, false, vec![XFF, NICK, EDGE, ("x-groups", b"ops"), ("x-groups", b"dev")]),
        // Identities that Envoy verified
        (PROXY, false, vec![XFF, NICK, EDGE, ("x-verified", b"nick@example.com")]),
        (PROXY, false, vec![XFF, NICK, EDGE, ("x-verified", b"eve@example.com")]),
        (PROXY, true, vec![XFF, EDGE, ("x-verified", b"nick@example.com")]),
    ];
    let numbered = cases.into_iter().enumerate();
    let mut all: Vec<_> = numbered
        .map(|(number, (peer, websocket, headers))| {
            request(&format!("/n/{number}?secret=s3cr3t"), peer, websocket, &headers)
        })
        .collect();
    const SITE: &str = "sec-fetch-site";
    const BEARER: &[u8] = b"Bearer s3cr3t";
    let sites: [&[(&str, &[u8])]; 12] = [
        &[],
        &[(SITE, b"same-origin")],
        &[(SITE, b"cross-site")],
        &[(SITE, b"cross-site"), ("sec-fetch-mode", b"navigate"), ("sec-fetch-dest", b"document")],
        &[(SITE, b"cross-site"), ("sec-fetch-mode", b"navigate"), ("sec-fetch-dest", b"image")],
        &[(SITE, b"same-origin"), (SITE, b"same-origin")],
        &[(SITE, b"x")],
        &[("authorization", BEARER)],
        &[("authorization", b"bearer   s3cr3t"), (SITE, b"none")],
        &[("authorization", b"Bearer ")],
        &[("authorization", b"Basic s3cr3t")],
        &[("authorization", BEARER), (SITE, b"cross-site")],
    ];
    for (number, site) in sites.into_iter().enumerate() {
        for path in [format!("/avatar/{number}"), format!("/sessions/{number}/history")] {
            let headers = [&[XFF, NICK, EDGE], site].concat();
            all.push(request(&path, PROXY, false, &headers));
        }
    }
    for path in ["/health", "/open/x", "/a%2f..", "/tools/invoke"] {
        all.push(request(path, PROXY, false, &[XFF, EDGE]));
        all.push(request(&format!("{path}/ws"), PROXY, true, &[XFF, EDGE]));
    }
    all
}

/// Policies that read different things. Each is replayed against every other one.
fn policies() -> Vec<(&'static str, Value)> {
    let required = json!({"requiredHeaders": ["x-edge-secret"]});
    vec![
        ("plain", config(json!({}), json!({}))),
        (
            "strict",
            config(
                json!({"requiredHeaders": ["X-Edge-Secret"], "allowUsers": ["nick@example.com", "j\u{f6}rg"]}),
                json!({}),
            ),
        ),
        ("loopback", config(json!({"allowLoopback": true}), json!({"rejectSameHost": true, "attribution": "off"}))),
        (
            "groups",
            config(
                required.clone(),
                json!({"scopes": {
                    "users": {"*": ["operator.read"], "eve@example.com": []},
                    "groupsHeader": "X-Groups",
                    "groups": {"ops": ["operator.admin"]},
                }}),
            ),
        ),
        ("verified", config(required.clone(), json!({"assertion": {"metadata": ["verified", "user"], "as": "match"}}))),
        (
            "identity",
            config(
                json!({}),
                json!({"assertion": {"metadata": ["verified", "user"], "as": "identity"}, "trustedProxies": ["10.0.0.1"]}),
            ),
        ),
        (
            "open",
            config(
                required,
                json!({"anonymousPaths": ["/open/*", "ws:/health/ws"], "webSocketRefusal": "delegate", "upstreamUserHeader": "x-user"}),
            ),
        ),
        ("sites", {
            let mut sites = config(json!({}), json!({"crossSite": "refuse"}));
            sites["gateway"]["auth"]["allowTailscale"] = json!(true);
            sites
        }),
        ("report", config(json!({"allowUsers": ["nick@example.com"]}), json!({"mode": "report"}))),
    ]
}

/// Writes an identity where `jwt_authn` would write one.
fn verify(listener: &mut Value) {
    let filters = manager(listener)["http_filters"].as_array_mut().unwrap();
    filters.insert(
        0,
        json!({"name": "verify", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
            "request_rules": [{
                "header": "x-verified",
                "on_header_present": {"metadata_namespace": "verified", "key": "user", "type": "STRING"},
                "remove": true,
            }],
        }}),
    );
}

/// What the filter did: the reason in the log, if it refused, and what the echo saw.
#[derive(Clone, Debug, PartialEq)]
struct Did {
    reason: Option<String>,
    /// The user and the scopes that were stamped.
    upstream: Option<(Vec<String>, Vec<String>)>,
}

/// What happened to each request at one listener, by path.
fn play_all(site: &Running, name: &str, user_header: &str) -> BTreeMap<String, Did> {
    let requests = requests();
    let mut did: BTreeMap<String, Did> = BTreeMap::new();
    for request in &requests {
        let outcome =
            request.play(site.address(name)).unwrap_or_else(|error| panic!("{name} {}: {error}", request.path));
        let upstream = match outcome {
            Outcome::Admitted { upstream } => {
                Some((values(&upstream, user_header), values(&upstream, "x-openclaw-scopes")))
            }
            _ => None,
        };
        let path = request.path.split('?').next().unwrap().to_owned();
        did.insert(path, Did { reason: None, upstream });
    }
    for line in site.log(name, requests.len()) {
        assert!(!line.to_string().contains("s3cr3t"), "a secret in the log: {line}");
        let did = did.get_mut(line["path"].as_str().unwrap()).unwrap();
        did.reason = line["reason"].as_str().map(str::to_owned);
    }
    did
}

#[test]
fn against_another_policy_replay_predicts_what_the_filter_then_does() {
    let mut site = Site::new();
    let policies = policies();
    for (name, config) in &policies {
        fs::write(site.path(&format!("{name}.json")), config.to_string()).unwrap();
    }
    let everybody: Vec<String> = policies.iter().map(|(name, _)| format!("{name}.json")).collect();
    for (name, config) in &policies {
        let mut arguments = PROXY.to_vec();
        for other in &everybody {
            arguments.extend(["--record-for", other]);
        }
        site.add(name, config, &arguments, |listener| {
            verify(listener);
            manager(listener)["common_http_protocol_options"]["headers_with_underscores_action"] = json!("ALLOW");
        });
    }
    let site = site.start();
    let user_header = |name: &str| if name == "open" { "x-user" } else { "x-openclaw-user" };
    let did: BTreeMap<&str, _> =
        policies.iter().map(|(name, _)| (*name, play_all(&site, name, user_header(name)))).collect();
    assert!(
        did.values()
            .all(|all| all.values().any(|did| did.reason.is_some()) && all.values().any(|did| did.upstream.is_some()))
    );

    let (mut pairs, mut changes) = (0, 0);
    for (old, _) in &policies {
        for new in did.keys().filter(|new| **new != *old) {
            let report = site.replay(old, &["--against", &format!("{new}.json"), "--examples", "1000"], 0);
            assert_eq!(report["loggedOtherwise"]["count"], 0, "{old}: {:#}", report["loggedOtherwise"]);
            assert_eq!(report["against"]["compared"], did[old].len());
            let told = told(&report);
            for (path, old_did) in &did[old] {
                let new_did = &did[new][path];
                let at = format!("{old} against {new}, {path}: {old_did:?}, then {new_did:?}");
                match told.get(path) {
                    Some((reasons, what)) => {
                        assert_eq!(reasons, &[old_did.reason.clone(), new_did.reason.clone()], "{at}");
                        changes += 1;
                        if reasons[0] == reasons[1] && what.is_some() && reports_nothing(old, new) {
                            assert_ne!(old_did.upstream, new_did.upstream, "{at}: another {what:?}");
                        }
                    }
                    None => {
                        assert_eq!(old_did.reason, new_did.reason, "{at}");
                        if reports_nothing(old, new) {
                            assert_eq!(old_did.upstream, new_did.upstream, "{at}");
                        }
                    }
                }
            }
            pairs += 1;
        }
    }
    println!("{pairs} pairs of policies, {changes} changes predicted");
    assert!(changes > 300, "only {changes}");
}

/// In report mode the filter stamps nothing, so what the echo saw says nothing about what it decided.
fn reports_nothing(old: &str, new: &str) -> bool {
    old != "report" && new != "report"
}

/// By path: the reasons before and after, and what else changed.
fn told(report: &Value) -> BTreeMap<String, ([Option<String>; 2], Option<String>)> {
    let reason = |verdict: &Value| {
        let refused = ["refused", "would_refuse"].iter().any(|result| verdict["result"] == *result);
        verdict["reason"].as_str().filter(|_| refused).map(str::to_owned)
    };
    let mut told = BTreeMap::new();
    for change in report["against"]["changes"].as_array().unwrap() {
        for example in change["examples"].as_array().unwrap() {
            let what = change["what"].as_str().map(str::to_owned);
            let path = example["path"].as_str().unwrap().to_owned();
            told.insert(path, ([reason(&change["from"]), reason(&change["to"])], what));
        }
    }
    told
}

#[test]
fn a_compressed_log_is_distinguished_from_noise() {
    let folder = harness::envoy::Scratch::new("replay");
    fs::write(folder.path().join("policy.json"), config(json!({}), json!({})).to_string()).unwrap();
    for (bytes, said) in [
        (&b"\x1F\x8B\x08\0"[..], "access.log: is compressed"),
        (b"\x28\xB5\x2F\xFD", "is compressed"),
        (b"\xFD7zXZ", "is compressed"),
        (b"\x1F", "access.log: has no line of an access log (1 of something else)"),
        (b"\x8B\x1F\n", "has no line of an access log (1 of something else)"),
        (b"", "has no line of an access log (0 of something else)"),
    ] {
        fs::write(folder.path().join("access.log"), bytes).unwrap();
        let ran = tool(folder.path(), &["replay", "policy.json", "access.log"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{bytes:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{bytes:?}: {}", ran.stderr);
    }
    // Noise among the lines of an access log is skipped.
    let noise = [&b"\x8B\x1F\n"[..], b"{\"recorded\":null,\"status\":400}\n"].concat();
    fs::write(folder.path().join("access.log"), noise).unwrap();
    let text = tool(folder.path(), &["replay", "policy.json", "access.log"]).with(0);
    assert!(text.contains("1  skipped: not of an access log (first at line 1)"), "{text}");
}

#[test]
fn nothing_is_guessed_where_the_log_lacks_something() {
    let folder = harness::envoy::Scratch::new("replay");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("policy.json", &config(json!({"requiredHeaders": ["x-edge"]}), json!({})).to_string());
    write(
        "state.json",
        &config(json!({}), json!({"peerAddress": {"filterState": "k"}, "rejectSameHost": true})).to_string(),
    );
    let headers = r#""headers":{":authority":"a","origin":null,"upgrade":null,"x-forwarded-for":"198.51.100.7","x-forwarded-user":"nick"}"#;
    let copies = r#""copies":{"x-openclaw-scopes":null,"x-real-ip":null,"x-forwarded-user":"nick"}"#;
    let record = format!(
        r#"{{"peer":"10.0.0.1:4711","method":"GET","path":"/x",{headers},{copies},"present":{{"x-edge":"true"}}}}"#
    );
    let line = |record: &str| json!({"recorded": record, "reason": null, "status": 200}).to_string();
    let lines = [
        (line(&record), "admitted", "one"),
        (line(&record.replace("\"true\"", "\"false\"")), "refused", "loggedOtherwise"),
        (line(&record.replace(",\"present\":{\"x-edge\":\"true\"}", "")), "lacks", "present.x-edge"),
        (line(&record.replace("\"peer\":\"10.0.0.1:4711\",", "")), "lacks", "peer"),
        (line(&record.replace("\"origin\":null,", "")), "lacks", "headers.origin"),
        (line(&record.replace(",\"x-forwarded-user\":\"nick\"}", "}")), "lacks", "headers.x-forwarded-user"),
        (line(&record.replace("\"x-real-ip\":null,", "")), "lacks", "copies.x-real-ip"),
        (line(&record.replacen("user\":\"nick\"", "user\":\"eve\"", 1)), "unclear copies", "x-forwarded-user"),
        (line("no record"), "unreadable", ""),
        (line("[]"), "unreadable", ""),
        (json!({"recorded": null, "status": 400}).to_string(), "neverReachedTheFilter", "400"),
        (json!({"status": 200}).to_string(), "no record", ""),
        ("{\"recorded\": ".to_owned(), "no JSON object", ""),
        ("[2026-11-23] GET / 200".to_owned(), "skipped", ""),
        ("[]".to_owned(), "skipped", ""),
        ("\u{fffd}\u{1b}[2J".to_owned(), "skipped", ""),
    ];
    for (at, (text, why, field)) in lines.iter().enumerate() {
        write("one.jsonl", text);
        let whole = tool(folder.path(), &["replay", "policy.json", "one.jsonl", "--json"]);
        if *why == "skipped" {
            // Alone it is no access log. Among others it is counted, below.
            assert_eq!(whole.json(2)["errors"][0]["path"], "one.jsonl", "{at}");
            continue;
        }
        let complete = ["admitted", "refused", "neverReachedTheFilter"].contains(why);
        let report = whole.json(i32::from(!complete));
        assert_eq!(report["lines"], 1);
        let first = |list: &str| report[list][0].clone();
        match *why {
            "admitted" | "refused" => {
                assert_eq!(first("decisions")["result"], *why, "{at}: {report:#}");
                assert_eq!(report["loggedOtherwise"]["count"], u8::from(*why == "refused"), "{report:#}");
            }
            "neverReachedTheFilter" => assert_eq!(first(why)["status"], *field),
            _ => {
                assert_eq!(first("notJudged")["why"], *why, "{at}: {report:#}");
                assert_eq!(first("notJudged")["field"].as_str().unwrap_or_default(), *field, "{at}: {report:#}");
                assert_eq!(first("notJudged")["examples"][0]["line"], 1);
                assert_eq!(report["decisions"], json!([]), "{at}: {report:#}");
            }
        }
    }
    // All lines at once, as text: every kind with its first line, and nothing that could control a terminal.
    let all: String = lines.iter().map(|(text, ..)| format!("{text}\n")).collect();
    write("all.jsonl", &all);
    let text = tool(folder.path(), &["replay", "policy.json", "all.jsonl"]).with(1);
    for shown in [
        "16 lines",
        "1  admitted",
        "line 2",
        "without \"recorded\".present.x-edge",
        "answered 400",
        "not a JSON object",
        "3  skipped: not of an access log (first at line 14)",
    ] {
        assert!(text.contains(shown), "{shown:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    write("one.jsonl", "{\"recorded\": ");
    let against = tool(folder.path(), &["replay", "policy.json", "one.jsonl", "--against", "state.json"]).with(1);
    assert!(against.contains("against the other policy: 0 of 0 change"), "{against}");
    write("one.jsonl", &lines[0].0);
    let report =
        tool(folder.path(), &["replay", "policy.json", "one.jsonl", "--against", "state.json", "--json"]).json(1);
    assert_eq!(report["notJudged"][0]["field"], "state.k", "the other policy reads what was not recorded: {report:#}");

    for (arguments, said) in [
        (&["replay", "policy.json", "none.jsonl"][..], "none.jsonl: cannot be read"),
        (&["replay", "-", "-"], "is given for both the policy and the log"),
        (&["replay", "one.jsonl", "one.jsonl"], "gateway: is missing"),
        (&["replay", "policy.json", "all.jsonl", "--against", "none.json"], "none.json: cannot be read"),
    ] {
        let ran = tool(folder.path(), arguments);
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn secrets_claims_and_tunnels_are_judged_from_what_is_recorded_of_them() {
    let folder = harness::envoy::Scratch::new("replay-facts");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let filter = json!({
        "requiredValues": {"X-Proof": {"sha256": ["4e738ca5563c06cfd0018299933d58db1dd8bf97f6973dc99bf6cdc64b5550bd"]}},
        "trustedPeers": ["spiffe://a.b/c"], "peerTrust": "certificate", "peerIdentity": [{"filterState": "mesh.peer"}],
        "assertion": {"metadata": ["login", "email"], "as": "match", "requireTrue": [["login", "verified"]]},
    });
    write("policy.json", &config(json!({}), filter).to_string());
    let recorded = json!({
        "peer": "envoy://internal_client_address/", "method": "GET", "path": "/x",
        "headers": {
            ":authority": "a", "origin": null, "upgrade": null, "x-forwarded-for": "198.51.100.7",
            "x-forwarded-user": "nick"
        },
        "copies": {"x-openclaw-scopes": null, "x-real-ip": null, "x-forwarded-user": "nick"},
        "present": {"x-proof": "true"},
        "state": {"mesh.peer": "spiffe://a.b/c"},
        "metadata": {"login:email": "nick", "login:verified": true},
    });
    for (place, value, reason) in [
        ("/path", json!("/y"), None),
        ("/present/x-proof", json!("false"), Some("trusted_proxy_header_value_X-Proof")),
        ("/state/mesh.peer", json!("spiffe://a.b/d"), Some("trusted_proxy_peer_certificate")),
        ("/state/mesh.peer", json!(null), Some("trusted_proxy_peer_unknown")),
        ("/metadata/login:verified", json!(false), Some("trusted_proxy_assertion_claim")),
        ("/metadata/login:verified", json!("true"), Some("trusted_proxy_assertion_claim")),
        ("/metadata/login:email", json!(6.5), Some("trusted_proxy_assertion_missing")),
    ] {
        let mut recorded = recorded.clone();
        *recorded.pointer_mut(place).unwrap() = value.clone();
        let line = json!({"recorded": recorded.to_string(), "reason": reason, "status": 200});
        write("one.jsonl", &line.to_string());
        let report = tool(folder.path(), &["replay", "policy.json", "one.jsonl", "--json"]).json(0);
        assert_eq!(report["decisions"][0]["reason"].as_str(), reason, "{place} {value}: {report:#}");
        assert_eq!(report["loggedOtherwise"]["count"], 0, "{place} {value}: {report:#}");
    }
    // What is recorded of the secret is that it was there.
    let rendered = tool(folder.path(), &["render", "envoy", "policy.json", "--record"]).with(0);
    assert!(rendered.contains("x-proof'].matches("), "{rendered}");
    assert!(
        !rendered.contains("%REQ(X-PROOF)%") && !rendered.contains("%CEL(request.headers['x-proof'])%"),
        "{rendered}"
    );
}

#[test]
fn lines_are_counted_in_order_across_blocks_and_processors() {
    // Several blocks, with a broken line at a known place in each part, lines of something else, a last line without an
    // end, and a line that is too long.
    let folder = harness::envoy::Scratch::new("replay");
    fs::write(folder.path().join("policy.json"), config(json!({}), json!({})).to_string()).unwrap();
    let padding = "x".repeat(1000);
    let mut log = String::new();
    for number in 1..=6000 {
        match number {
            17 | 3001 | 5999 => log.push_str("{broken\n"),
            40 | 4000 => log.push_str("something else\n"),
            2000 => log.push_str(&format!("{}\n", "y".repeat(9 << 20))),
            _ => log.push_str(&format!(
                "{{\"recorded\":null,\"status\":{},\"padding\":\"{padding}\"}}\n",
                400 + number % 2
            )),
        }
    }
    log.push_str("{\"recorded\":null,\"status\":431}");
    fs::write(folder.path().join("access.jsonl"), &log).unwrap();
    let report = tool(folder.path(), &["replay", "policy.json", "access.jsonl", "--json", "--examples", "9"]).json(1);
    assert_eq!(report["lines"], 6001);
    let broken: Vec<_> = report["notJudged"][0]["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["line"].as_u64().unwrap())
        .collect();
    assert_eq!(broken, [17, 2000, 3001, 5999]);
    assert_eq!((&report["skipped"]["count"], &report["skipped"]["examples"][1]["line"]), (&json!(2), &json!(4000)));
    let unseen = &report["neverReachedTheFilter"];
    assert_eq!(unseen[2]["examples"][0]["line"], 6001, "{unseen:#}");
    assert_eq!(unseen[0]["examples"].as_array().unwrap().len(), 9);
    assert_eq!(unseen[0]["examples"][8]["line"], 18, "the first, in order: {unseen:#}");
}

#[test]
fn a_recorded_certificate_is_the_one_that_the_filter_saw() {
    const INGRESS: &str = "spiffe://cluster.local/ns/openclaw-ingress/sa/openclaw-ingress";
    const OTHER: &str = "spiffe://cluster.local/ns/default/sa/default";
    let mut site = Site::new();
    let authority = Authority::new(&site.path("."), "mesh");
    let shown = [
        ("right", Some(authority.issue("right", &[INGRESS], Validity::Now))),
        ("right first", Some(authority.issue("first", &[INGRESS, OTHER], Validity::Now))),
        ("right second", Some(authority.issue("second", &[OTHER, INGRESS], Validity::Now))),
        ("a comma", Some(authority.issue("comma", &[&format!("{INGRESS},x")], Validity::Now))),
        ("no URI", Some(authority.issue("none", &[], Validity::Now))),
        ("no certificate", None),
    ];
    let server = authority.issue("server", &[], Validity::Now).envoy();
    let path = |part: &str| server[0][part]["filename"].as_str().unwrap().to_owned();
    let (certificate, key) = (path("certificate_chain"), path("private_key"));
    let filter = json!({"trustedPeers": [INGRESS], "peerTrust": "certificate", "attribution": "off"});
    let policy = config(json!({"allowLoopback": true}), filter);
    site.add("mtls", &policy, &["--cert", &certificate, "--key", &key], |listener| {
        let context = &mut listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"];
        context["validation_context"] = json!({"trusted_ca": parts::file(authority.file())});
    });
    let site = site.start();

    // A second Envoy, which shows each certificate in turn.
    let tls = |identity: &Option<Identity>| {
        let certificates = identity.as_ref().map_or(json!([]), Identity::envoy);
        json!({"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"tls_certificates": certificates},
        }})
    };
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (name, identity) in &shown {
        let proxy = json!({"stat_prefix": name, "cluster": name});
        let proxy = parts::typed(name, "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy);
        listeners.push(parts::listener(name, vec![proxy], json!({})));
        let mut cluster = parts::cluster(name, site.address("mtls"));
        cluster["transport_socket"] = tls(identity);
        clusters.push(cluster);
    }
    let peers = Envoy::start(&parts::bootstrap(listeners, clusters).to_string());
    let statuses: Vec<u16> = shown
        .iter()
        .map(|(name, _)| {
            let headers = [("x-forwarded-user", "nick@example.com")];
            wire::get(peers.address(name), "/", &headers).unwrap().status
        })
        .collect();
    assert_eq!(statuses, [200, 200, 401, 401, 401, 401]);

    site.log("mtls", shown.len());
    let report = site.replay("mtls", &[], 0);
    assert_eq!(report["loggedOtherwise"]["count"], 0, "{:#}", report["loggedOtherwise"]);
    assert_eq!(
        reasons_of(&report),
        Reasons::from([(String::new(), 2), ("trusted_proxy_peer_certificate".to_owned(), 4)])
    );
}
