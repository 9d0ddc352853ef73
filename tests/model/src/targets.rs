//! The bodies of the fuzz targets. libFuzzer calls them with generated inputs, a plain test with kept inputs. A
//! target panics if it finds a problem.
//!
//! Most of them vary one thing in an otherwise valid case, and compare the policy with the model. Their inputs are
//! lines of text, so that both a dictionary and a reader can work with them.

use std::sync::OnceLock;

use policy::config::{Compiled, compile};
use policy::headers::serialize;
use policy::{Edit, Peer, Policy};
use serde_json::{Value, json};

use crate::choices::Choices;
use crate::generate::{self, Case};
use crate::subject::Shown;
use crate::{Outcome, Request, subject};

/// The function that libFuzzer calls.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const ALL: [(&str, Target); 10] = [
    ("configuration", configuration),
    ("peer", peer),
    ("header_map", header_map),
    ("forwarded", forwarded),
    ("origin", origin),
    ("path", path),
    ("scopes", scopes),
    ("decision", decision),
    ("differential", differential),
    ("sockets", sockets),
];

/// A valid request from alice.
fn good_request() -> Request {
    let headers = [
        (":method", "GET"),
        (":path", "/"),
        (":scheme", "https"),
        (":authority", "claw.example.com"),
        ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
        ("x-forwarded-user", "alice"),
    ];
    Request {
        peer: Some(b"10.0.0.1:40000".to_vec()),
        destination: Some(b"192.0.2.200:18789".to_vec()),
        headers: headers.map(|(name, value)| (name.into(), value.into())).to_vec(),
        ..Request::default()
    }
}

/// A configuration that admits it.
fn good_config() -> Value {
    json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}}
        },
        "filter": {}
    })
}

/// Sets a header of a request; `None` removes it.
fn set(request: &mut Request, name: &str, value: Option<&[u8]>) {
    request.headers.retain(|(other, _)| other != name.as_bytes());
    request.headers.extend(value.map(|value| (name.into(), value.to_vec())));
}

fn add_upgrade(request: &mut Request) {
    for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13")] {
        set(request, name, Some(value.as_bytes()));
    }
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == b'\n')
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Compares the policy with the model on one case.
fn must_agree(config: &Value, policy: &Policy, request: &Request) {
    let verdict = crate::decide(config, request);
    let outcome = subject::decide(policy, request);
    if !subject::agree(config, &verdict, &outcome) {
        panic!(
            "the policy and the model disagree\n{config}\n{request:?}\nmodel:  {:?} or {:?}\nfilter: {:?}",
            subject::normalized(config, &verdict.outcome),
            verdict.or_refused,
            subject::normalized(config, &outcome)
        );
    }
}

/// Like [`must_agree`], if the configuration is valid.
fn must_agree_if_good(config: &Value, request: &Request) {
    if let Ok(compiled) = compile(config.to_string().as_bytes()) {
        must_agree(config, &compiled.policy, request);
    }
}

/// Configuration bytes give a policy, or errors that each have a place, a problem and a remedy.
pub fn configuration(data: &[u8]) {
    match compile(data) {
        Ok(compiled) => {
            // The model reads every configuration that the compiler accepts.
            let config: Value =
                serde_json::from_slice(data).unwrap_or_else(|error| panic!("accepted, but not JSON: {error}"));
            must_agree(&config, &compiled.policy, &good_request());
            let mut upgrade = good_request();
            add_upgrade(&mut upgrade);
            set(&mut upgrade, "origin", Some(b"https://claw.example.com"));
            must_agree(&config, &compiled.policy, &upgrade);
            compiled.findings.iter().for_each(|finding| assert!(!finding.to_string().contains('\n'), "{finding}"));
        }
        Err(errors) => {
            assert!(!errors.as_slice().is_empty(), "refused without an error");
            for error in errors.as_slice() {
                assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{error}");
                assert!(!error.to_string().contains('\n'), "not one line: {error}");
            }
        }
    }
}

/// A peer as the connection reports it, and then entries of the list of proxies, one per line.
pub fn peer(data: &[u8]) {
    let mut lines = lines(data);
    let peer = lines.next().unwrap_or_default();
    let entries: Vec<_> = lines.take(8).map(text).collect();
    let entries = if entries.is_empty() { vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()] } else { entries };
    let mut config = good_config();
    config["gateway"]["trustedProxies"] = json!(entries);
    config["gateway"]["auth"]["trustedProxy"]["allowLoopback"] = json!(true);
    config["filter"]["attribution"] = json!("off");
    let request = Request { peer: Some(peer.to_vec()), ..good_request() };
    must_agree_if_good(&config, &request);
    config["filter"]["peerAddress"] = json!({"filterState": "peer"});
    must_agree_if_good(&config, &request);
    // The same text as the address at which the connection arrived.
    config["filter"]["rejectSameHost"] = json!(true);
    must_agree_if_good(&config, &Request { destination: Some(peer.to_vec()), ..good_request() });
}

/// Policies for the targets that vary only the request.
fn table() -> &'static [(Value, Compiled)] {
    static TABLE: OnceLock<Vec<(Value, Compiled)>> = OnceLock::new();
    TABLE.get_or_init(|| {
        // From a fixed seed; the generator covers the whole contract.
        (0..64)
            .map(|seed| generate::config(&mut Choices::new(&crate::choices::bytes(seed, 400))))
            .chain([good_config()])
            .map(|config| {
                let compiled = subject::compiled(&config);
                (config, compiled)
            })
            .collect()
    })
}

/// A header map as the host serializes it. The first byte selects a policy.
pub fn header_map(data: &[u8]) {
    let Some((first, map)) = data.split_first() else { return };
    let (config, compiled) = &table()[usize::from(*first) % table().len()];
    let peer = Peer::from_connection(b"10.0.0.1:40000");
    let Ok(judged) = compiled.policy.read(peer, map) else { return };
    let headers: Vec<_> = judged.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!(serialize(&headers), map, "the headers changed when they were read");
    let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"host"));
    let request = Request { headers, ..good_request() };
    if has_host {
        // Envoy's map does not have `host`; it is called `:authority` there.
        subject::decide(&compiled.policy, &request);
    } else {
        must_agree(config, &compiled.policy, &request);
    }
}

/// X-Forwarded-For, one copy per line; a line that starts with `=` is X-Real-IP.
pub fn forwarded(data: &[u8]) {
    let mut request = good_request();
    set(&mut request, "x-forwarded-for", None);
    for line in lines(data) {
        match line.strip_prefix(b"=") {
            Some(real) => request.headers.push((b"x-real-ip".to_vec(), real.to_vec())),
            None => request.headers.push((b"x-forwarded-for".to_vec(), line.to_vec())),
        }
    }
    static CONFIGS: OnceLock<Vec<(Value, Compiled)>> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        [false, true]
            .map(|fallback| {
                let mut config = good_config();
                config["gateway"]["allowRealIpFallback"] = json!(fallback);
                config["gateway"]["trustedProxies"] =
                    json!(["10.0.0.1", "172.16.0.0/12", "fd00::/8", "2001:db8::1", "fe80::1"]);
                config["filter"]["trustedProxies"] = json!(["10.0.0.0/24"]);
                let compiled = subject::compiled(&config);
                (config, compiled)
            })
            .to_vec()
    });
    for (config, compiled) in configs {
        must_agree(config, &compiled.policy, &request);
    }
}

/// An origin, the `Host` header, and then allowed origins, one per line.
pub fn origin(data: &[u8]) {
    let mut lines = lines(data);
    let (origin, host) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut config = good_config();
    config["gateway"]["controlUi"] = json!({"allowedOrigins": lines.take(8).map(text).collect::<Vec<_>>()});
    let mut request = good_request();
    set(&mut request, "origin", Some(origin));
    set(&mut request, ":authority", Some(host));
    must_agree_if_good(&config, &request);
    config["gateway"]["controlUi"]["dangerouslyAllowHostHeaderOriginFallback"] = json!(true);
    add_upgrade(&mut request);
    must_agree_if_good(&config, &request);
    // Everything that can be parsed as an origin.
    config["gateway"]["controlUi"] = json!({"allowedOrigins": ["*"]});
    must_agree_if_good(&config, &request);
}

/// A request's path, then the base path, then anonymous and own paths, one per line.
pub fn path(data: &[u8]) {
    let mut lines = lines(data);
    let (path, base) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let entries: Vec<_> = lines.take(8).map(text).collect();
    let mut config = good_config();
    config["gateway"]["controlUi"] = json!({"basePath": text(base)});
    config["gateway"]["http"] = json!({"endpoints": {"chatCompletions": {"enabled": true}}});
    let mut request = good_request();
    set(&mut request, ":path", Some(path));
    must_agree_if_good(&config, &request);
    // Public files pass with any origin.
    let mut foreign = request.clone();
    set(&mut foreign, "origin", Some(b"https://evil.example"));
    must_agree_if_good(&config, &foreign);
    let mut anonymous = config.clone();
    anonymous["filter"]["anonymousPaths"] = json!(entries);
    must_agree_if_good(&anonymous, &request);
    config["filter"]["scopes"] = json!({"ownPaths": entries});
    must_agree_if_good(&config, &request);
    add_upgrade(&mut request);
    must_agree_if_good(&anonymous, &request);
}

/// `x-openclaw-scopes`, one copy per line; a line that starts with `=` names groups, one with `+` is the user.
pub fn scopes(data: &[u8]) {
    static CONFIGS: OnceLock<Vec<(Value, Compiled)>> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        let ceilings = json!({
            "default": ["operator.read", "operator.talk"],
            "users": {
                "*": ["operator.sessions.read"],
                "alice": ["operator.write", "operator.approvals"],
                "nick@example.com": ["operator.admin"],
                "Jos\u{e9}": []
            },
            "groupsHeader": "x-forwarded-groups",
            "groups": {"ops": ["operator.pairing", "operator.read"], "Dev@Example.com": ["operator.sessions.write"]}
        });
        [json!({}), ceilings]
            .map(|scopes| {
                let mut config = good_config();
                config["filter"]["scopes"] = scopes;
                let compiled = subject::compiled(&config);
                (config, compiled)
            })
            .to_vec()
    });
    let mut request = good_request();
    for line in lines(data) {
        match line.split_first() {
            Some((b'=', groups)) => request.headers.push((b"x-forwarded-groups".to_vec(), groups.to_vec())),
            Some((b'+', user)) => set(&mut request, "x-forwarded-user", Some(user)),
            _ => request.headers.push((b"x-openclaw-scopes".to_vec(), line.to_vec())),
        }
    }
    let mut upgrade = request.clone();
    add_upgrade(&mut upgrade);
    let mut own = request.clone();
    set(&mut own, ":path", Some(b"/tools/invoke"));
    for (config, compiled) in configs {
        for request in [&request, &own, &upgrade] {
            must_agree(config, &compiled.policy, request);
        }
    }
}

/// A refusal gives one printable log line of bounded length, a response of its kind, and a close frame as in RFC
/// 6455.
fn must_show_well(shown: &Shown) {
    let Shown { line, http, websocket } = shown;
    assert!(line.len() < 8192 && line.bytes().all(|byte| matches!(byte, 0x20..=0x7E)), "{line:?}");
    let is_json = serde_json::from_slice::<Value>(&http.body).is_ok_and(|body| body["error"]["type"].is_string());
    assert!(matches!(http.status, 401 | 403) && (is_json || http.body.starts_with(b"<!doctype html>")), "{http:?}");
    let Some(reply) = websocket else { return };
    let [0x88, length, 0x03, 0xF0, reason @ ..] = reply.body.as_slice() else { panic!("not a close frame: {reply:?}") };
    assert!(*length <= 125 && usize::from(*length) == reason.len() + 2, "{reply:?}");
    let protocols: Vec<_> = reply.headers.iter().filter(|(name, _)| *name == "sec-websocket-protocol").collect();
    assert!(reply.status == 101 && protocols.len() <= 1, "{reply:?}");
    assert!(protocols.iter().all(|(_, value)| !value.is_empty() && !value.contains(&b',')), "{reply:?}");
}

/// The whole decision, with a configuration from a table and a request that the bytes choose: nothing panics, and the
/// stamped headers match the decision. The model is not used.
pub fn decision(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let (config, compiled) = &table()[usize::from(*first) % table().len()];
    let request = generate::request(&mut Choices::new(rest), config);
    let outcome = subject::decide(&compiled.policy, &request);
    // Panics if a stamped header is missing or appears twice.
    subject::grant(config, &outcome);
    let Outcome::Passed { headers, .. } = &outcome else {
        return must_show_well(
            &subject::shown(&compiled.policy, &request).unwrap_or_else(|| panic!("not refused the second time")),
        );
    };
    for part in [":method", ":path", ":authority"] {
        let count =
            |headers: &mut dyn Iterator<Item = String>| headers.filter(|name| name.eq_ignore_ascii_case(part)).count();
        let before = count(&mut request.headers.iter().map(|(name, _)| crate::latin1(name)));
        assert_eq!(count(&mut headers.iter().map(|(name, _)| name.clone())), before, "{part} is gone");
    }
    subject::edits_of(&compiled.policy, &request, |edit| {
        let (Edit::Set { name, value: _ } | Edit::Remove { name }) = edit;
        assert!(!name.is_empty() && !name.starts_with(b":"), "an edit of {}", name.escape_ascii());
        if let Edit::Set { value, .. } = edit {
            assert!(
                !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')),
                "a value that breaks out of its header"
            );
        }
    });
}

/// A configuration and a request that the bytes choose: compares the policy with the model.
pub fn differential(data: &[u8]) {
    let Case { config, request } = generate::case(&mut Choices::new(data));
    must_agree(&config, &subject::compiled(&config).policy, &request);
}

/// A configuration, an upgrade and an edit that the bytes choose: compares what becomes of the open socket with the
/// model.
pub fn sockets(data: &[u8]) {
    let (Case { config, request }, edited) = generate::edited(&mut Choices::new(data));
    if compile(edited.to_string().as_bytes()).is_ok()
        && let Err(why) = subject::fate(&config, &edited, &request)
    {
        panic!("the policy and the model disagree\n{config}\n{edited}\n{request:?}\n{why}");
    }
}
