//! Requests in other forms: the head of a request, a HAR entry, a curl command. Each is equivalent to using `-H`.

use serde_json::{Value, json};

use crate::{tool, tool_reading};

fn explain(arguments: &[&str], stdin: &[u8]) -> Value {
    let all = [&["explain", "openclaw.json", "--peer", "10.0.0.1", "--json"][..], arguments].concat();
    let run = tool_reading(&all, stdin);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error} {}", run.stderr))
}

/// The headers that the upstream gets, as `name: value`; none if the request is refused.
fn upstream(answer: &Value) -> Vec<String> {
    let headers = answer["upstream"]["headers"].as_array();
    let line = |pair: &Value| format!("{}: {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    headers.into_iter().flatten().map(line).collect()
}

const IDENTITY: [&str; 6] =
    ["-H", "x-forwarded-for: 203.0.113.7", "-H", "x-forwarded-user: nick@example.com", "-H", "x-edge-proof: s3cr3t"];

#[test]
fn a_curl_command_is_read_as_curl_reads_it() {
    let cases: &[(&str, &[&str])] = &[
        ("curl https://claw.example.com", &[":method: GET", ":path: /", ":authority: claw.example.com", "accept: */*"]),
        ("curl 'https://u:p@claw.example.com:8443/a?b#c'", &[":path: /a?***", ":authority: claw.example.com:8443"]),
        ("curl claw.example.com/x", &[":scheme: http", ":path: /x", ":authority: claw.example.com"]),
        ("curl -sSkL -XDELETE --url https://a/x", &[":method: DELETE", ":path: /x"]),
        ("curl https://a/ -d '{}' --data-raw b", &[":method: POST", "content-type: application/x-www-form-urlencoded"]),
        ("curl https://a/?x=1 -G -d a=b", &[":method: GET", ":path: /?***"]),
        (
            "curl https://a/ --json '{}' ",
            &[":method: POST", "content-type: application/json", "accept: application/json"],
        ),
        ("curl -I https://a/", &[":method: HEAD"]),
        ("curl https://a/ -F a=b", &[":method: POST", "content-type: multipart/form-data"]),
        ("curl https://a/ -u nick:s3cr3t", &["authorization: ***"]),
        (
            "curl https://a/ -b 'session=s3cr3t' -A me -e https://b/",
            &["cookie: ***", "user-agent: me", "referer: https://b/"],
        ),
        ("curl https://a/ -H 'Accept:' -H 'X-Empty;' -H X-A:\\ b", &["x-empty: ", "x-a: b"]),
        ("curl https://a/ -H $'x-quoted: it\\'s \\u00e9'", &["x-quoted: it's \u{c3}\u{a9}"]),
        ("curl https://a/ -H $'x-both: \\ud83d\\ude00'", &["x-both: \u{f0}\u{9f}\u{98}\u{80}"]),
        ("curl \"https://a/\" \\\n  -H \"x-a: \\\"b\\\"\"", &["x-a: \"b\""]),
        // As browsers copy it for the command line of Windows.
        (
            "curl ^\"https://claw.example.com/x?y=1^&z=^%^20^\" ^\r\n  -H ^\"sec-ch-ua: ^\\^\"Chromium^\\^\";v=^\\^\"140^\\^\"^\" ^\r\n  \
             -b ^\"session=s3cr3t^\" ^\r\n  --data-raw ^\"^{^\\^\"a^\\^\":1^}^\"",
            &[
                ":method: POST",
                ":path: /x?***",
                ":authority: claw.example.com",
                "sec-ch-ua: \"Chromium\";v=\"140\"",
                "cookie: ***",
            ],
        ),
        ("/usr/bin/curl -H 'Host: other.example.com' https://a/", &[":authority: other.example.com"]),
        ("curl --http2 -o /dev/null -w '%{http_code}' -m 5 https://a/", &[":path: /"]),
    ];
    for (command, expected) in cases {
        let answer = explain(&[&["--curl", command], &IDENTITY[..]].concat(), b"");
        let lines = upstream(&answer);
        for wanted in *expected {
            assert!(lines.iter().any(|line| line == wanted), "{command}: no {wanted:?} in {lines:#?}");
        }
        assert!(!format!("{answer}").contains("s3cr3t"), "{command}: {answer}");
    }
    let gone = upstream(&explain(&[&["--curl", "curl https://a/ -H 'Accept:'"], &IDENTITY[..]].concat(), b""));
    assert!(!gone.iter().any(|line| line.starts_with("accept:")), "{gone:?}");
    let protocol = |command| explain(&["--curl", command], b"")["request"]["protocol"].clone();
    assert_eq!(protocol("curl https://a/"), "HTTP/1.1");
    assert_eq!(protocol("curl --http2 https://a/"), "HTTP/2");
    assert_eq!(explain(&["--curl", "curl wss://a/"], b"")["client"]["closeCode"], 1008);
}

#[test]
fn the_same_request_is_the_same_however_it_is_described() {
    let head = b"GET /x?y=1 HTTP/1.1\nHost: claw.example.com\nX-Forwarded-For: 203.0.113.7\nX-Forwarded-User: nick@example.com\n\
        X-Edge-Proof: s3cr3t\n\nbody: not a header\n";
    let har = br#"{"log": {"entries": [{"request": {"method": "GET", "url": "https://claw.example.com/x?y=1", "httpVersion": "HTTP/1.1",
        "headers": [{"name": "X-Forwarded-For", "value": "203.0.113.7"}, {"name": "X-Forwarded-User", "value": "nick@example.com"},
        {"name": "X-Edge-Proof", "value": "s3cr3t"}]}}]}}"#;
    let by_head = explain(&["--request", "-"], head);
    let by_har = explain(&["--har", "-"], har);
    let by_hand = explain(&[&["--path", "/x?y=1", "-H", "Host: claw.example.com"], &IDENTITY[..]].concat(), b"");
    let by_curl = explain(
        &[&["--curl", "curl https://claw.example.com/x?y=1 -H User-Agent: -H Accept:"], &IDENTITY[..]].concat(),
        b"",
    );
    assert_eq!(by_head["verdict"], "admitted");
    let mut lines = upstream(&by_head);
    assert!(!lines.iter().any(|line| line.starts_with("body")), "{lines:?}");
    lines.sort();
    for (what, other) in [("HAR", by_har), ("-H", by_hand), ("curl", by_curl)] {
        let mut others = upstream(&other);
        others.sort();
        assert_eq!(others, lines, "{what}");
        assert_eq!(other["rules"], by_head["rules"], "{what}");
    }
}

/// `chromium.har` is a recording by Chromium 156 of a page, a request from that page, and its WebSocket.
#[test]
fn a_recording_of_a_real_browser_is_read() {
    for (entry, method, path, upgrade) in
        [("/chat", "GET", "/chat", false), ("/tools/invoke", "POST", "/tools/invoke", false), ("3", "GET", "/", true)]
    {
        let answer = explain(&[&["--har", "chromium.har", "--entry", entry][..], &IDENTITY[..]].concat(), b"");
        let request = &answer["request"];
        assert_eq!(
            (&request["method"], &request["path"], &request["upgrade"]),
            (&method.into(), &path.into(), &upgrade.into())
        );
        // The recorded address is not the Control UI's in this configuration. A page load itself sends no origin.
        let reason = if entry == "/chat" { Value::Null } else { "trusted_proxy_origin_not_allowed".into() };
        assert_eq!(answer["reason"], reason, "{entry}");
        assert!(!answer.to_string().contains("s3cr3t"), "{answer}");
    }
}

#[test]
fn headers_on_the_command_line_replace_those_of_a_file() {
    let answer = explain(&["--request", "request.http", "-H", "X-FORWARDED-USER: eve@example.com"], b"");
    assert_eq!((&answer["verdict"], &answer["user"]), (&"refused".into(), &"eve@example.com".into()));
    let twice = explain(&["--request", "request.http", "-H", "x-forwarded-user: a", "-H", "x-forwarded-user: b"], b"");
    assert_eq!(twice["reason"], "trusted_proxy_user_repeated");
}

/// The request that the filter sees in an Envoy set up as in `envoy/`.
#[test]
fn what_envoy_changes_before_the_filter_is_part_of_it() {
    let socket = ["-H", "upgrade: websocket"];
    let dropped = explain(&[&socket[..], &IDENTITY[..]].concat(), b"");
    assert_eq!(dropped["request"]["upgrade"], false, "{dropped}");
    let real = explain(&[&socket[..], &["-H", "connection: keep-alive, Upgrade"], &IDENTITY[..]].concat(), b"");
    assert_eq!(real["request"]["upgrade"], true, "{real}");
    let forwarded = |answer: &Value| upstream(answer).into_iter().find(|line| line.starts_with("x-forwarded-for"));
    assert_eq!(forwarded(&dropped).as_deref(), Some("x-forwarded-for: 203.0.113.7"), "as the proxy wrote it");
    let seen = explain(&[&["--as-seen"], &IDENTITY[..]].concat(), b"");
    assert_eq!(forwarded(&seen).as_deref(), Some("x-forwarded-for: 203.0.113.7"));
    assert!(!upstream(&seen).iter().any(|line| line.starts_with("x-request-id")), "{seen}");
    // Over HTTP/2 there is no key: one is made for the Gateway, and a refusal is an ordinary response.
    let http2 = explain(&[&["--ws", "--http2"], &IDENTITY[..]].concat(), b"");
    assert!(upstream(&http2).iter().any(|line| line.starts_with("sec-websocket-key: (a new key)")), "{http2}");
    let refused = explain(&["--ws", "--http2"], b"");
    assert_eq!((&refused["client"]["status"], &refused["client"]["closeCode"]), (&403.into(), &Value::Null));
}

#[test]
fn a_note_says_which_arguments_have_no_effect() {
    for (arguments, note) in [
        (&["--assertion", "nick@example.com"][..], "--assertion has no effect"),
        (&["--certificate-uri-san", "spiffe://a/b"], "--certificate-uri-san has no effect"),
        (&["--destination", "10.0.0.2"], "--destination has no effect"),
        (&["--path", "/a/../b"], "normalize_path"),
    ] {
        let answer = explain(arguments, b"");
        let notes = answer["notes"].to_string();
        assert!(notes.contains(note), "{arguments:?}: {notes}");
    }
    let run = tool(&["explain", "policy.json", "--peer", "10.0.0.1"]);
    assert!(run.stdout.contains("give it with --assertion"), "{}", run.stdout);
}

#[test]
fn a_name_that_came_in_another_encoding_is_explained() {
    let config = json!({"gateway": {
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["j\u{f6}rg"]}},
    }, "filter": {}});
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-encoding.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let fixes = |user: &[u8]| {
        let head = [b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-User: ", user, b"\r\n\r\n"].concat();
        let run = tool_reading(&["explain", path, "--peer", "10.0.0.1", "--request", "-", "--json"], &head);
        let answer: Value = serde_json::from_str(&run.stdout).unwrap();
        (answer["verdict"].as_str().unwrap().to_owned(), answer["fix"].to_string())
    };
    let (verdict, fix) = fixes("j\u{f6}rg".as_bytes());
    assert_eq!(verdict, "refused");
    assert!(fix.contains("has \\\"j\u{f6}rg\\\", but the name came as UTF-8"), "{fix}");
    assert!(fix.contains("write \\\"j\u{c3}\u{b6}rg\\\""), "{fix}");
    assert_eq!(fixes(b"j\xF6rg").0, "admitted");
    // The other way round: the entry is what UTF-8 reads as, and the name came as Latin-1.
    let other = config.to_string().replace("j\u{f6}rg", "j\u{c3}\u{b6}rg");
    std::fs::write(path, other).unwrap();
    let (verdict, fix) = fixes(b"j\xF6rg");
    assert_eq!(verdict, "refused");
    assert!(
        fix.contains("has \\\"j\u{c3}\u{b6}rg\\\", which is \\\"j\u{f6}rg\\\" for a proxy that sends UTF-8"),
        "{fix}"
    );
    assert!(fix.contains("This name came as Latin-1: for such a proxy, write \\\"j\u{f6}rg\\\""), "{fix}");
    assert_eq!(fixes("j\u{f6}rg".as_bytes()).0, "admitted");
    // Another name has neither advice.
    assert!(!fixes(b"j\xF6rn").1.contains("Latin-1"));
}

#[test]
fn the_fix_fits_a_caller_that_nobody_signs_in_and_lets_it_pass() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-callers");
    std::fs::create_dir_all(&folder).unwrap();
    let policy = |name: &str, paths: Value| {
        let config = json!({"gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        }, "filter": {"anonymousPaths": paths}});
        let path = folder.join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let closed = policy("closed.json", json!(["/other"]));
    let cases: [(&str, &[&str], Value); 9] = [
        ("a probe", &["--path", "/readyz"], json!(["/readyz"])),
        (
            "a probe",
            &["--path", "/up", "-H", "user-agent: Mozilla/5.0+(compatible; UptimeRobot/2.0; http://x/)"],
            json!(["/up"]),
        ),
        (
            "a cloud worker",
            &["--path", "/__openclaw__/worker-bootstrap/artifacts/0a", "-H", "authorization: Bearer s3cr3t"],
            json!(["/__openclaw__/worker-bootstrap/*"]),
        ),
        ("a webhook", &["--path", "/hooks/agent", "-H", "x-openclaw-token: s3cr3t"], json!(["/hooks/*"])),
        ("a probe", &["--path", "/live", "-H", "user-agent: kube-probe/1.31"], json!(["/live"])),
        ("`openclaw connect`", &["--path", "/j/abc"], json!(["/j/*", "ws:/__openclaw__/worker"])),
        ("`openclaw connect`", &["--ws", "--path", "/__openclaw__/worker"], json!(["/j/*", "ws:/__openclaw__/worker"])),
        ("a device", &["--ws", "--path", "/node"], json!(["ws:/node"])),
        (
            "a webhook",
            &["--method", "POST", "--path", "/hooks/wake", "-H", "authorization: Bearer s3cr3t"],
            json!(["/hooks/*"]),
        ),
    ];
    for (who, request, paths) in cases {
        // As a stranger, and through the proxy.
        for peer in ["10.0.0.9", "10.0.0.1"] {
            let explain = |policy: &str| {
                let run = tool(&[&["explain", policy, "--json", "--peer", peer], request].concat());
                assert!(!run.stdout.contains("s3cr3t"), "{}", run.stdout);
                serde_json::from_str::<Value>(&run.stdout).unwrap()
            };
            let refused = explain(&closed);
            let fix = refused["fix"].as_array().unwrap();
            assert_eq!((&refused["verdict"], fix.len()), (&json!("refused"), 1), "{request:?}: {refused}");
            let text = fix[0].as_str().unwrap();
            assert!(text.starts_with(&format!("If this is {who}, ")), "{request:?}: {text}");
            for path in paths.as_array().unwrap() {
                assert!(text.contains(&path.to_string()), "{request:?}: {text}");
            }
            let open = policy("open.json", paths.clone());
            assert_eq!(explain(&open)["verdict"], "anonymous", "{request:?}");
        }
    }
    // A person at the same proxy is to be signed in.
    let person = tool(&["explain", &closed, "--peer", "10.0.0.1", "-H", "x-forwarded-for: 192.0.2.1"]);
    assert!(person.stdout.contains("once the user is signed in"), "{}", person.stdout);
}

/// A policy as an openclaw.json, or with a filter as a plugin configuration.
fn other_policy(name: &str, more: &Value) -> String {
    let mut config = json!({"gateway": {
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["nick"]}},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
    }});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-caller-{name}.json"));
    std::fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_fix_of_a_webhook_has_the_path_of_this_gateway() {
    let on = json!({"enabled": true, "token": "s3cr3t", "path": "/in/"});
    let off = json!({"path": "/in"});
    let bearer = ["-H", "authorization: Bearer s3cr3t"];
    for (hooks, path, more, expected, not) in [
        (&on, "/in/wake", &bearer[..], &["add \"/in/*\" to"][..], "hooks.enabled"),
        (
            &on,
            "/in/wake",
            &["--method", "POST"],
            &["add \"/in/*\" to", "It has no token: have the sender"],
            "hooks.enabled",
        ),
        (&on, "/hooks/wake", &bearer, &["If this is a program with a token of its own"], "webhook"),
        (&on, "/inside", &bearer, &["If this is a program with a token of its own"], "webhook"),
        (&off, "/in/wake", &bearer, &["add \"/in/*\" to", "hooks.enabled is not true in this file"], "no token"),
    ] {
        let policy = other_policy("hooks", &json!({"hooks": hooks}));
        let base = ["explain", &policy, "--peer", "10.0.0.1", "-H", "x-forwarded-for: 192.0.2.1", "--path", path];
        let run = tool(&[&base[..], more].concat());
        assert!(run.code == 1 && expected.iter().all(|text| run.stdout.contains(text)), "{path}: {}", run.stdout);
        assert!(!run.stdout.contains(not) && !run.stdout.contains("s3cr3t"), "{path}: {}", run.stdout);
    }
}

#[test]
fn the_fix_fits_a_program_that_has_no_user() {
    let plain = other_policy("plain", &json!({"filter": {}}));
    let assertion = json!({"metadata": ["jwt", "email"], "as": "match"});
    let verified = other_policy("verified", &json!({"filter": {"assertion": assertion}}));
    let identity = json!({"metadata": ["jwt", "email"], "as": "identity"});
    let only = other_policy("only", &json!({"filter": {"assertion": identity}}));
    let token = "cf-access-jwt-assertion: eyJhbGciOiJub25lIn0.s3cr3t.s3cr3t";
    const SIGNED_IN: &str = "once the user is signed in";
    const SERVICE: &str = "a service token of Cloudflare Access has no e-mail";
    const DELEGATE: &str = "set webSocketRefusal to \"delegate\"";
    const PROGRAM: &str = "If this is a program with a token of its own";
    for (policy, more, expected, not) in [
        (&plain, &["-H", token][..], &[SERVICE, "Devices and webhooks"][..], SIGNED_IN),
        (&plain, &["-H", "cf-access-client-id: x.access"], &[SERVICE], SIGNED_IN),
        (&plain, &["--ws", "-H", token], &[SERVICE, DELEGATE], SIGNED_IN),
        (&only, &["-H", token], &[SERVICE], "Run jwt_authn"),
        // A person has an e-mail, in another header than the one that is configured.
        (
            &plain,
            &["-H", token, "-H", "cf-access-authenticated-user-email: nick"],
            &[SIGNED_IN, "The request has cf-access-authenticated-user-email"],
            SERVICE,
        ),
        (
            &plain,
            &["-H", "x-goog-iap-jwt-assertion: x"],
            &["a token that your proxy signs is not the user here"],
            SIGNED_IN,
        ),
        (&verified, &["--assertion", "nick"], &["Envoy verified an identity", "set as to \"identity\""], SIGNED_IN),
        (&plain, &["-H", "authorization: Bearer s3cr3t"], &[PROGRAM], SIGNED_IN),
        (&plain, &["-H", "authorization: Basic s3cr3t"], &[SIGNED_IN], PROGRAM),
        (&plain, &["-H", "authorization: Bearer s3cr3t", "-H", "cookie: a=s3cr3t"], &[SIGNED_IN], PROGRAM),
        // A browser's handshake has an Origin, a device's has none.
        (&plain, &["--ws"], &[DELEGATE, SIGNED_IN], PROGRAM),
        (&plain, &["--ws", "-H", "origin: https://claw.example.com"], &[SIGNED_IN], DELEGATE),
        (&plain, &["-H", "user-agent: kube-probe/1.31"], &["point it at /healthz"], SIGNED_IN),
        // A user who is not allowed is a person.
        (&plain, &["-H", "x-user: eve", "-H", token], &["add exactly that to"], SERVICE),
    ] {
        let base = ["explain", policy, "--peer", "10.0.0.1", "-H", "x-forwarded-for: 192.0.2.1"];
        let run = tool(&[&base[..], more].concat());
        assert!(
            run.code == 1 && expected.iter().all(|text| run.stdout.contains(text)),
            "{more:?}: {}{}",
            run.stdout,
            run.stderr
        );
        assert!(!run.stdout.contains(not) && !run.stdout.contains("s3cr3t"), "{more:?}: {}", run.stdout);
    }
    // What is advised for a device lets it pass.
    let delegates = other_policy("delegates", &json!({"filter": {"webSocketRefusal": "delegate"}}));
    let run = tool(&["explain", &delegates, "--peer", "10.0.0.1", "-H", "x-forwarded-for: 192.0.2.1", "--ws"]);
    assert!(run.code == 0 && run.stdout.contains("delegated: trusted_proxy_user_missing"), "{}", run.stdout);
}
