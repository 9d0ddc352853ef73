//! What Envoy answers before the filter: each request goes to `explain` and to a real Envoy with `envoy/envoy.yaml`.

use std::collections::BTreeMap;
use std::fs;

use harness::document;
use harness::envoy::{Source, eventually, root};
use harness::wire;
use model::choices::{self, Choices};
use serde_json::{Value, json};

use crate::envoy::{Outcome, Shipped, explained, policy, said, sent, sent_from};
use crate::{files, shell, tool, tool_reading};

const NICK: &str = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-User: nick@example.com\r\n";
const HOST: &str = "Host: claw.example.com\r\n";

/// The details in Envoy's access log, by the port of the peer.
fn details(shipped: &Shipped, ports: &[u16]) -> BTreeMap<u16, String> {
    let mut found = BTreeMap::new();
    eventually("a line of the access log for each request", || {
        for line in shipped.envoy.lines(Source::Access) {
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            let port =
                line["peer"].as_str().and_then(|peer| peer.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
            if let Some(port) = port {
                found.insert(port, line["details"].as_str().unwrap_or_default().to_owned());
            }
        }
        ports.iter().all(|port| found.contains_key(port))
    });
    found
}

/// A request with this line and these headers, as bytes in Latin-1.
fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\n{headers}\r\n").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// Requests, and Envoy's answer: its status and details. Without these, the request reaches the filter.
fn table() -> Vec<(Vec<u8>, Option<(u64, &'static str)>)> {
    const CODEC: Option<(u64, &str)> = Some((400, "http1.codec_error"));
    const CHARACTERS: Option<(u64, &str)> = Some((400, "http1.invalid_characters"));
    const URL: Option<(u64, &str)> = Some((400, "http1.invalid_url"));
    const PATH: Option<(u64, &str)> = Some((400, "path_normalization_failed"));
    const AUTHORITY: Option<(u64, &str)> = Some((400, "http.invalid_authority"));
    const LOW: Option<(u64, &str)> = Some((426, "low_version"));
    const LARGE: Option<(u64, &str)> = Some((431, "http1.headers_too_large"));
    const MANY: Option<(u64, &str)> = Some((431, "http1.too_many_headers"));
    const UNDERSCORE: Option<(u64, &str)> = Some((400, "http1.unexpected_underscore"));
    const CODING: Option<(u64, &str)> = Some((501, "http1.invalid_transfer_encoding"));
    const BOTH: Option<(u64, &str)> = Some((400, "http1.content_length_and_chunked_not_allowed"));
    const NAMED: Option<(u64, &str)> = Some((400, "http1.connection_header_rejected"));
    const UPGRADE: Option<(u64, &str)> = Some((403, "upgrade_failed"));
    const NO_HOST: Option<(u64, &str)> = Some((400, "missing_host_header"));
    const ABSOLUTE: Option<(u64, &str)> = Some((404, "absolute_path_rejected"));
    let full = format!("{HOST}{NICK}");
    let mut cases = Vec::new();
    for (line, expected) in [
        // Versions.
        ("GET / HTTP/1.1", None),
        ("GET / HTTP/1.0", LOW),
        ("GET /health HTTP/1.0", LOW),
        ("GET / HTTP/0.9", LOW),
        ("GET / HTTP/1.2", LOW),
        ("GET /", LOW),
        ("GET / http/1.1", CODEC),
        ("GET / HTTP/11.1", CODEC),
        ("GET / HTTPS/1.1", CODEC),
        // Methods.
        ("POST / HTTP/1.1", None),
        ("PURGE / HTTP/1.1", None),
        ("TRACE / HTTP/1.1", None),
        ("MSEARCH / HTTP/1.1", None),
        ("M-SEARCH / HTTP/1.1", CODEC),
        ("get / HTTP/1.1", CODEC),
        ("BREW / HTTP/1.1", CODEC),
        ("G@T / HTTP/1.1", CODEC),
        ("QUERY / HTTP/1.1", Some((400, "query_missing_content_type"))),
        ("CONNECT claw.example.com:443 HTTP/1.1", Some((404, "route_not_found"))),
        ("CONNECT / HTTP/1.1", URL),
        ("CONNECT claw.example.com HTTP/1.1", URL),
        ("CONNECT claw.example.com:99999 HTTP/1.1", URL),
        ("OPTIONS * HTTP/1.1", ABSOLUTE),
        ("GET * HTTP/1.1", URL),
        // Spaces.
        ("GET  /  HTTP/1.1 ", None),
        ("GET\t/ HTTP/1.1", None),
        ("\r\n\r\nGET / HTTP/1.1", None),
        (" GET / HTTP/1.1", CODEC),
        ("GET /a b HTTP/1.1", CODEC),
        // Paths.
        ("GET /a%2Fb HTTP/1.1", None),
        ("GET /a%5Cb HTTP/1.1", None),
        ("GET /a\\..\\b HTTP/1.1", None),
        ("GET //a//b HTTP/1.1", None),
        ("GET /a/../../b HTTP/1.1", None),
        ("GET /a/..;x/b HTTP/1.1", None),
        ("GET /%2e%2e/%41 HTTP/1.1", None),
        ("GET /{\"a\"}|<b>^`?x HTTP/1.1", None),
        ("GET /a?b=/../c HTTP/1.1", None),
        ("GET /% HTTP/1.1", None),
        ("GET // HTTP/1.1", None),
        ("GET /%00 HTTP/1.1", PATH),
        ("GET /a#b HTTP/1.1", PATH),
        ("GET /a?b#c HTTP/1.1", PATH),
        ("GET foo HTTP/1.1", CODEC),
        ("GET ?x HTTP/1.1", CODEC),
        ("GET /\u{e9} HTTP/1.1", CODEC),
        ("GET /\u{1} HTTP/1.1", CHARACTERS),
        ("GET /\u{7f} HTTP/1.1", CHARACTERS),
        // URLs.
        ("GET http://claw.example.com/a/../b HTTP/1.1", None),
        ("GET HTTP://u:p@claw.example.com:80 HTTP/1.1", None),
        ("GET http://[::1]/x HTTP/1.1", None),
        ("GET http:///x HTTP/1.1", URL),
        ("GET http://claw.example.com:99999/ HTTP/1.1", URL),
        ("GET http://claw_example/ HTTP/1.1", URL),
        ("GET ftp://claw.example.com/ HTTP/1.1", Some((400, "http1.invalid_scheme"))),
        ("GET http://claw.example.com?x HTTP/1.1", ABSOLUTE),
    ] {
        cases.push((head(line, &full), expected));
    }
    for (host, expected) in [
        ("", NO_HOST),
        ("Host:\r\n", None),
        ("Host: a\r\nHost: b\r\n", None),
        ("HOST: [::1]:80\r\n", None),
        ("Host: a_b,c;d@e%41:x\r\n", None),
        ("Host: a b\r\n", AUTHORITY),
        ("Host: a/b\r\n", AUTHORITY),
        ("Host: \"a\"\r\n", AUTHORITY),
        ("Host: a\u{ff}\r\n", AUTHORITY),
        ("Host : a\r\n", CODEC),
        (":authority: a\r\n", CODEC),
    ] {
        cases.push((head("GET / HTTP/1.1", &format!("{host}{NICK}")), expected));
    }
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
    let filled =
        |size: usize| format!("X: {}\r\n", "y".repeat(size - head("GET / HTTP/1.1", &format!("{full}X: \r\n")).len()));
    let named = |count: usize| {
        format!("Connection: {}\r\n", (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(", "))
    };
    for (more, expected) in [
        // Names.
        ("X_Y: 1\r\n".to_owned(), UNDERSCORE),
        ("X-Forwarded_User: eve\r\n".to_owned(), UNDERSCORE),
        ("x!#$%&'*+-.^`|~: 1\r\n".to_owned(), None),
        ("x y: 1\r\n".to_owned(), CODEC),
        ("x@y: 1\r\n".to_owned(), CODEC),
        ("x\u{e9}: 1\r\n".to_owned(), CODEC),
        (": 1\r\n".to_owned(), CODEC),
        ("no colon\r\n".to_owned(), CODEC),
        // Values.
        ("X:\r\n".to_owned(), None),
        ("X: \u{e9}\u{ff}\t\"\r\n".to_owned(), None),
        ("X: a\r\n b\r\n\tc\r\n".to_owned(), None),
        ("X-Forwarded-User: eve@example.com\r\n".to_owned(), None),
        (" continued\r\n".to_owned(), None),
        ("X: \0\r\n".to_owned(), CHARACTERS),
        ("X: \u{1b}[2J\r\n".to_owned(), CHARACTERS),
        ("X: a\rb\r\n".to_owned(), None),
        ("X: a\nY: b\r\n".to_owned(), None),
        // Limits: there are three headers.
        (many(97), None),
        (many(98), MANY),
        ("X: 1\r\n".repeat(98), MANY),
        ("Accept: a\r\n".repeat(98), None),
        (filled(15_360), None),
        (filled(15_361), LARGE),
        (filled(61_000), LARGE),
        // The end of the body.
        ("Content-Length: 0\r\n".to_owned(), None),
        ("Content-Length: 0\r\nContent-Length: 0\r\n".to_owned(), CODEC),
        ("Content-Length: +0\r\n".to_owned(), CODEC),
        ("Content-Length:\r\n".to_owned(), CODEC),
        ("Content-Length: 99999999999999999999\r\n".to_owned(), CODEC),
        ("Transfer-Encoding: gzip\r\n".to_owned(), CODING),
        ("Transfer-Encoding: gzip, chunked\r\n".to_owned(), CODING),
        ("Transfer-Encoding:\r\n".to_owned(), CODING),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n".to_owned(), BOTH),
        // From hop to hop.
        ("Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n".to_owned(), None),
        ("Connection: te\r\nTE: gzip, trailers\r\n".to_owned(), None),
        ("Connection: close, X-A\r\nX-A: 1\r\nX-B: 2\r\n".to_owned(), None),
        ("Connection: x-forwarded-user\r\n".to_owned(), None),
        (named(9), None),
        (named(10), NAMED),
        ("Connection: X-Forwarded-For\r\n".to_owned(), NAMED),
        ("Connection: x-forwarded-proto\r\n".to_owned(), NAMED),
        ("Connection: :path\r\n".to_owned(), NAMED),
        ("Connection: host\r\n".to_owned(), NO_HOST),
        // Upgrades.
        ("Upgrade: websocket\r\n".to_owned(), None),
        (
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n".to_owned(),
            None,
        ),
        ("Upgrade: foo\r\nConnection: Upgrade\r\n".to_owned(), UPGRADE),
        ("Upgrade: websocket, foo\r\nConnection: Upgrade\r\n".to_owned(), UPGRADE),
        ("Upgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_owned(), UPGRADE),
        ("Upgrade:\r\nConnection: Upgrade\r\n".to_owned(), UPGRADE),
        // What Envoy writes itself, or takes from nobody.
        ("X-Forwarded-Proto: ftp\r\nX-Request-Id: mine\r\n".to_owned(), None),
        (
            "X-Forwarded-Client-Cert: x\r\nX-Envoy-Internal: true\r\nX-Envoy-External-Address: 1.2.3.4\r\n".to_owned(),
            None,
        ),
        ("X-Envoy-Retry-On: 5xx\r\nX-Envoy-Original-Path: /x\r\nX-Envoy-Other: 1\r\n".to_owned(), None),
        ("Referer: https://a/b?c\r\n".to_owned(), None),
        ("Referer: https://u@a/b\r\n".to_owned(), None),
        ("Referer: not a url\r\n".to_owned(), None),
        ("Accept: a\r\nAccept: b\r\nX: a\r\nX: b\r\n".to_owned(), None),
        ("Origin: https://claw.example.com\r\nOrigin: https://claw.example.com\r\n".to_owned(), None),
    ] {
        cases.push((head("GET / HTTP/1.1", &format!("{full}{more}")), expected));
    }
    // Envoy's parser looks at a request before the filter does, whoever sends it.
    cases.push((head("GET / HTTP/1.0", HOST), LOW));
    cases.push((head("QUERY / HTTP/1.1", &format!("{full}Content-Type: a\r\n")), None));
    cases.push((head("GET / HTTP/1.1", &full).into_iter().filter(|byte| *byte != b'\r').collect(), None));
    // The requests of the documentation.
    for (name, expected) in [("request.http", None), ("nginx.http", LOW)] {
        cases.push((fs::read(files().join(name)).unwrap(), expected));
    }
    cases
}

#[test]
fn explain_says_what_envoy_answers_before_the_filter() {
    let cases = table();
    assert!(cases.len() > 100, "{}", cases.len());
    let shipped = Shipped::start("cli-answered", &policy());
    let mut wrong = Vec::new();
    let mut ports = Vec::new();
    for (head, expected) in &cases {
        let stream = wire::open(shipped.address).unwrap();
        ports.push(stream.local_addr().unwrap().port());
        let real = sent_from(stream, "10.0.0.1", head);
        let (said, answer) = explained(&shipped.policy, "10.0.0.1", head);
        let envoy = &answer["envoy"];
        let answered = envoy["status"].as_u64().map(|status| (status, envoy["details"].as_str().unwrap()));
        if said != real || answered != *expected {
            let shown = wire::latin1(head).chars().take(300).collect::<String>();
            wrong.push(format!("{shown:?}\n  explain {said:?} {envoy}\n  Envoy   {real:?}\n  table   {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let details = details(&shipped, &ports);
    for ((head, expected), port) in cases.iter().zip(&ports) {
        if let Some((_, expected)) = expected {
            assert_eq!(details[port], *expected, "{:?}", wire::latin1(head));
        }
    }
}

/// A request of odd parts, most of them harmless.
fn odd_request(choices: &mut Choices<'_>) -> Vec<u8> {
    let methods = ["GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH"];
    let odd_methods = ["Get", "FOO", "QUERY", "TRACE", "LINK", "CONNECT"];
    let versions = ["HTTP/1.0", "HTTP/1.9", "HTTP/1.x", "HTTP/3.0", "http/1.1", ""];
    let pieces = [
        "a", "B", "/", "//", ".", "..", ";", "%2e", "%2F", "%5c", "\\", "%41", "%", "%g1", "?", "&", "~", "|", "{",
        "\"", "<", ":", "@", "%7e", "%2D", "%C3%A9", "'", "(", "*", "+", ",", "=", "$", "!",
    ];
    let rare = ["#", "%00", "\u{7f}", "\u{e9}", "\t", "\u{1}"];
    let mut path = "/".to_owned();
    for _ in 0..choices.below(9) {
        path.push_str(choices.pick::<&str>(&pieces));
    }
    if choices.one_in(12) {
        path.push_str(choices.pick::<&str>(&rare));
    }
    let names = [
        "X-A",
        "X-A",
        "x.b",
        "Accept",
        "Via",
        "Origin",
        "TE",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "Cache-Control",
        "Host",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Request-Id",
        "X-Forwarded-Host",
        "X-Envoy-Max-Retries",
        "X-Envoy-Foo",
        "Sec-Fetch-Site",
        "X-OpenClaw-Scopes",
        "X-Real-Ip",
        "Remote-User",
        "Proxy-Connection",
        "If-Match",
        "Expect",
        "Http2-Settings",
        "Content-Type",
        "User-Agent",
        "X-Forwarded-User",
    ];
    let odd_names =
        ["Content-Length", "Transfer-Encoding", "Content-Length", "X_A", "X A", "X(A)", "", "X\u{e9}", ":path", "X-A "];
    let values = [
        "",
        "a",
        "a, b",
        " a\t",
        "upgrade",
        "Upgrade, x-a",
        "x-a, close",
        "websocket",
        "h2c",
        "trailers",
        "chunked",
        "0",
        "203.0.113.9",
        "10.0.0.1",
        "https://claw.example.com",
        "same-origin",
        "cross-site",
        "operator.read",
        "\u{e9}",
        "\"",
        "a\tb",
        "close",
        "x-forwarded-user",
        "keep-alive",
        "a\r\n b",
        "1x",
        "host",
        "nick@example.com",
    ];
    let odd_values = ["\0", "\u{1b}", "\u{7f}", "a\rb", "x-forwarded-for", ":path"];
    let method = if choices.one_in(20) { choices.pick(&odd_methods) } else { choices.pick(&methods) };
    let version = if choices.one_in(20) { choices.pick(&versions) } else { "HTTP/1.1" };
    let mut text = format!(
        "{method} {path} {version}
"
    );
    text.push_str(if choices.one_in(20) { "" } else { HOST });
    text.push_str(if choices.one_in(8) { "X-Forwarded-For: 203.0.113.7\r\n" } else { NICK });
    for _ in 0..choices.below(6) {
        let name = if choices.one_in(40) { choices.pick(&odd_names) } else { choices.pick(&names) };
        let value = if choices.one_in(40) { choices.pick(&odd_values) } else { choices.pick(&values) };
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[test]
fn explain_agrees_with_envoy_on_requests_that_nobody_thought_of() {
    let shipped = Shipped::start("cli-odd", &policy());
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for seed in 0..1_000 {
        let head = odd_request(&mut Choices::new(&choices::bytes(261_126 + seed, 200)));
        let real = sent(shipped.address, "10.0.0.1", &head);
        let (mut said, _) = explained(&shipped.policy, "10.0.0.1", &head);
        if let (Outcome::Refused(401, code), true) = (&mut said, head.starts_with(b"HEAD ")) {
            // What an answer to HEAD does not have.
            code.clear();
        }
        let kind = match real {
            Outcome::Refused(..) => "refused",
            Outcome::Answered(_) => "answered",
            Outcome::Passed(_) => "passed",
        };
        *counts.entry(kind).or_default() += 1;
        if said != real {
            wrong.push(format!("{:?}\n  explain {said:?}\n  Envoy   {real:?}", wire::latin1(&head)));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{counts:?}");
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 150), "{counts:?}");
}

/// The examples of the documentation that are one request. Those of `--log`, `--browser` and `--opened-under` have
/// tests of their own.
#[test]
fn the_examples_of_the_documentation_are_what_envoy_does() {
    let openclaw: Value = json5::from_str(&fs::read_to_string(files().join("openclaw.json")).unwrap()).unwrap();
    let filter: Value = serde_json::from_str(&fs::read_to_string(files().join("filter.json")).unwrap()).unwrap();
    let whole = |filter: Value| json!({"gateway": openclaw["gateway"], "filter": filter});
    let (plain, filtered) =
        (Shipped::start("cli-docs", &whole(json!({}))), Shipped::start("cli-docs-filter", &whole(filter)));
    let mut seen = 0;
    for page in document::pages() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        for line in document::commands(&text).into_iter().map(|command| command.line) {
            let example = line.split(" | ").next().unwrap();
            let Some((_, name)) = example.split_once(" --request ").filter(|_| example.contains(" explain ")) else {
                continue;
            };
            let mut head = fs::read_to_string(files().join(name.split(' ').next().unwrap())).unwrap();
            for header in example.split(" -H '").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
                let name = format!("\n{}:", header.split(':').next().unwrap());
                let at = head.to_ascii_lowercase().find(&name).unwrap_or_else(|| panic!("{page}: {header}"));
                let end = head[at + 1..].find('\n').unwrap() + at + 1;
                head.replace_range(at + 1..end, header);
            }
            // `explain` hides what proves that the proxy sent it.
            let head = head.replace('\r', "").replace('\n', "\r\n").replace("s3cr3t-proof", "***");
            assert!(example.contains(" openclaw.json ") && example.contains(" --peer 10.0.0.1"), "{page}: {example}");
            let shipped = if example.contains(" --filter filter.json") { &filtered } else { &plain };
            let (explained, _) = said(&shell(&format!("{example} --json")));
            assert_eq!(explained, sent(shipped.address, "10.0.0.1", head.as_bytes()), "{page}: {example}");
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

/// At the edge, Envoy adds its peer to X-Forwarded-For, and removes what only a login inside of it writes.
#[test]
fn explain_says_what_envoy_changes_at_the_edge() {
    let policy: Value =
        serde_json::from_str(&fs::read_to_string(root().join("envoy/proxies/envoy-oauth2/policy.json")).unwrap())
            .unwrap();
    let replace = |text: String, is: &str, instead: &str| {
        assert!(text.contains(is), "{is}");
        text.replace(is, instead)
    };
    let shipped = Shipped::changed("cli-edge", &policy, |bootstrap| {
        let bootstrap = replace(bootstrap, "skip_xff_append: true", "skip_xff_append: false");
        let removed = "{ remove: x-openclaw-user }, { remove: x-openclaw-scopes }, { remove: x-forwarded-groups }";
        replace(bootstrap, "{ remove: x-openclaw-user }", removed)
    });
    let mut passed = 0;
    for peer in ["203.0.113.9", "10.0.0.7", "2001:db8::7"] {
        for path in ["/healthz", "/", "/v1/models"] {
            for headers in [
                "",
                "X-Forwarded-For: 198.51.100.1\r\n",
                "X-Forwarded-For: 198.51.100.1, unknown\r\nX-Forwarded-For: 10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n",
                "X-OpenClaw-User: nick@example.com\r\nX-OpenClaw-Scopes: operator.admin\r\nX-Forwarded-Groups: a\r\n",
                "X-Forwarded-Client-Cert: By=a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-User: nick\r\n",
            ] {
                let head = head(&format!("GET {path} HTTP/1.1"), &format!("{HOST}{headers}"));
                let (said, _) = explained(&shipped.policy, peer, &head);
                passed += usize::from(matches!(said, Outcome::Passed(_)));
                assert_eq!(said, sent(shipped.address, peer, &head), "{peer}: {}", wire::latin1(&head));
            }
        }
    }
    assert_eq!(passed, 15);
}

#[test]
fn what_envoy_answers_is_explained_for_every_form_of_a_request() {
    let base = ["explain", "openclaw.json", "--peer", "10.0.0.1"];
    let long = format!("x: {}", "y".repeat(16_000));
    for (arguments, expected) in [
        (&["-H", "x_y: 1"][..], "Envoy answers 400 before the filter: the name x_y has an underscore"),
        (&["-H", "x_y: 1", "--http2"], "Envoy resets the stream before the filter: the name x_y has an underscore"),
        (&["-H", &long], "Envoy answers 431 before the filter: the headers have 160"),
        (&["--curl", "curl http://a/ -H 'x_y: 1'"], "Envoy answers 400 before the filter"),
        (&["--method", "BREW"], "\"BREW\" is not a method that Envoy's parser"),
        (&["--path", "/%00"], "the path has a fragment (#) or a NUL (%00)"),
        (&["--ws", "-H", "upgrade: tcp"], "Envoy answers 403 before the filter: Upgrade is \"tcp\""),
    ] {
        let run = tool(&[&base[..], arguments].concat());
        assert!(run.code == 1 && run.stdout.contains(expected), "{arguments:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("How to fix it:\n  - "), "{}", run.stdout);
        let seen = tool(&[&base[..], arguments, &["--as-seen"]].concat());
        assert!(!seen.stdout.contains("Envoy answers"), "{arguments:?}: {}", seen.stdout);
    }
    // The status of a request that Envoy answers is not that of a socket.
    let more = ["--opened-under", "openclaw.json", "--ws", "-H", "x_y: 1"];
    assert_eq!(tool(&[&base[..], &more].concat()).code, 1);
    // No secret is shown.
    let secret = "GET http://nick:s3cr3t@a_b/?s3cr3t HTTP/1.1\r\nauthorization: s3cr3t\r\nx_y: s3cr3t\r\n\r\n";
    for more in [&[][..], &["--json"]] {
        let run = tool_reading(&[&base[..], &["--request", "-"], more].concat(), secret.as_bytes());
        assert!(run.code == 1 && !run.stdout.contains("s3cr3t"), "{}", run.stdout);
    }
    let json = tool(&[&base[..], &["--json", "--method", "BREW"]].concat());
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["verdict"], "refused_by_envoy");
    assert_eq!(answer["envoy"]["status"], 400);
    assert_eq!(answer["rules"], json!([]));
}

/// An HTTP/2 frame on a stream.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A string literal of HPACK, without Huffman's code.
fn literal(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.len());
    if rest < 127 {
        bytes.push(u8::try_from(rest).unwrap());
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    [bytes, text.to_vec()].concat()
}

/// What Envoy does with a request over HTTP/2: a status of its own, `None` for a reset, or 0 for any other response.
fn over_http2(shipped: &Shipped, headers: &[(&str, &str)]) -> Option<u64> {
    let fields: Vec<u8> = headers
        .iter()
        .flat_map(|(name, value)| [vec![0], literal(name.as_bytes()), literal(value.as_bytes())].concat())
        .collect();
    let mut sent =
        [&wire::proxy_line("10.0.0.1")[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, b"")].concat();
    let chunks: Vec<_> = fields.chunks(16_384).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let ends = if at + 1 == chunks.len() { 4 } else { 0 };
        let (kind, flags) = if at == 0 { (1, ends | 1) } else { (9, ends) };
        sent.extend(frame(kind, flags, 1, chunk));
    }
    let mut connection = wire::Connection::open(shipped.address).unwrap();
    connection.send(&sent).unwrap();
    loop {
        // Envoy may close the connection instead.
        let Ok(head) = connection.exactly(9) else { return None };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = connection.exactly(length).unwrap();
        match head[3] {
            // Statuses of the static table.
            1 => {
                return Some(match payload[0] & 0x7F {
                    0x0C => 400,
                    0x0D => 404,
                    _ => 0,
                });
            }
            3 | 7 => return None,
            _ => {}
        }
    }
}

#[test]
fn explain_says_what_envoy_answers_over_http2() {
    let shipped = Shipped::start("cli-http2", &policy());
    let long = "y".repeat(15_400);
    let many: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let mut answered = 0;
    for (path, host, method, more) in [
        ("/", "claw.example.com", "GET", &[][..]),
        ("/a/../b", "claw.example.com", "GET", &[]),
        ("/", "claw.example.com", "BREW", &[]),
        ("/%00", "claw.example.com", "GET", &[]),
        ("/a#b", "claw.example.com", "GET", &[]),
        ("/", "claw.example.com", "QUERY", &[]),
        ("/", "claw.example.com", "QUERY", &[("content-type", "a")]),
        ("/", "a/b", "GET", &[]),
        ("/", "", "GET", &[]),
        ("/", "claw.example.com", "GET", &[("x_y", "1")]),
        ("/", "claw.example.com", "GET", &[("x@y", "1")]),
        ("/", "claw.example.com", "GET", &[("x", &long)]),
        ("/", "claw.example.com", "GET", &many),
        ("/", "claw.example.com", "GET", &[("te", "trailers"), ("x", "1")]),
    ] {
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)];
        let nick = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-user", "nick@example.com")];
        let all: Vec<_> = [&pseudo[..], &nick, more].concat();
        let all: Vec<_> = all.into_iter().filter(|(name, value)| *name != ":authority" || !value.is_empty()).collect();
        let real = over_http2(&shipped, &all);
        // On the command line, a name that is none is an error, so it is in a file.
        let mut head = format!("{method} {path} HTTP/2\n");
        if !host.is_empty() {
            head.push_str(&format!("Host: {host}\n"));
        }
        for (name, value) in nick.iter().chain(more) {
            head.push_str(&format!("{name}: {value}\n"));
        }
        let run = tool_reading(
            &["explain", &shipped.policy, "--peer", "10.0.0.1", "--json", "--request", "-"],
            head.as_bytes(),
        );
        let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
        let said = if answer["verdict"] == "refused_by_envoy" { answer["envoy"]["status"].as_u64() } else { Some(0) };
        assert_eq!(said, real, "{method} {path} {host} {:?}: {answer:#}", more.first());
        answered += usize::from(said != Some(0));
    }
    assert_eq!(answered, 9);
}
