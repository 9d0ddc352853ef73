//! What the tool shows of files, requests and the environment: no character that speaks to the terminal, no secret.

use std::fs;
use std::path::{Path, PathBuf};

use harness::tool::program;
use policy::text::is_hostile;
use serde_json::{Value, json};

use crate::{Run, command, run, tool, tool_reading};

/// Characters that control a terminal, reorder text, or cannot be seen. A file name may hold all of them.
const HOSTILE: [char; 19] = [
    '\u{1}',
    '\u{1b}',
    '\u{7f}',
    '\u{85}',
    '\u{9b}',
    '\u{61c}',
    '\u{200b}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202e}',
    '\u{2066}',
    '\u{2069}',
    '\u{feff}',
    '\u{fffe}',
    '\u{ffff}',
    '\u{e0041}',
];

/// A folder for the files of one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Everything that a run printed.
fn printed(run: &Run) -> String {
    format!("{}{}", run.stdout, run.stderr)
}

/// Runs the program with and without `--json`. No hostile character is printed as it is; returns all that was printed.
fn harmless(place: &str, c: char, arguments: &[&str], stdin: &[u8]) -> String {
    let text = tool_reading(arguments, stdin);
    let with_json = [arguments, &["--json"]].concat();
    let json = tool_reading(&with_json, stdin);
    let all = printed(&text) + &printed(&json);
    let found = all.chars().find(|other| is_hostile(*other) && *other != '\n');
    assert_eq!(found, None, "{place}, {c:?}: {all}");
    assert!(text.code >= 0 && json.code >= 0, "{place}, {c:?} ends with {}: {all}", text.code);
    all
}

/// The forms in which a character may be named: by its number, in JSON, or as the bytes of a header.
fn is_named(c: char, text: &str) -> bool {
    let code = u32::from(c);
    let bytes: String = c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    let units: String = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
    let latin1: String = c
        .encode_utf8(&mut [0; 4])
        .bytes()
        .map(char::from)
        .filter(|c| is_hostile(*c))
        .map(|c| format!("\\u{{{:x}}}", u32::from(c)))
        .collect();
    [format!("\\u{{{code:x}}}"), units, bytes].iter().any(|form| text.contains(form))
        || (!latin1.is_empty() && latin1.split_inclusive('}').all(|form| text.contains(form)))
}

#[test]
fn no_text_of_a_file_or_a_request_speaks_to_the_terminal() {
    let folder = folder("cli-hostile");
    let good = json!({"gateway": {
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["nick"]}},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
    }});
    let with = |pointer: &str, value: Value| {
        let mut config = good.clone();
        *config.pointer_mut(pointer).unwrap() = value;
        config.to_string()
    };
    for c in HOSTILE {
        let text = format!("a{c}b");
        let file = |name: &str, text: &str| {
            let path = folder.join(format!("{name}{c}.json"));
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let policy = file("policy", &good.to_string());
        let missing = folder.join(format!("missing{c}.json")).to_str().unwrap().to_owned();
        let bad = file("bad", &with("/gateway/trustedProxies", json!([text])));
        let key = file("key", &with("/gateway/auth/trustedProxy", json!({"userHeader": "x-user", (text.clone()): 1})));
        let broken = file("broken", &format!("{{gateway: {{mode: \"{text}\" \"{text}\"}}}}"));
        let included = file("included", &json!({"$include": format!("./missing{c}.json")}).to_string());
        let users = file("users", &with("/gateway/auth/trustedProxy/allowUsers", json!([text, "*"])));
        let origins = file("origins", &with("/gateway/controlUi/allowedOrigins", json!([format!("http://x/{text}")])));
        let filter = file("filter", &json!({"anonymousPaths": [format!("/{text}")]}).to_string());
        let env = file("env", "A=b\n");
        let har = file(
            "har",
            &json!({"log": {"entries": [{"request": {"url": format!("https://x/{text}")}}, {}]}}).to_string(),
        );
        let request = file("request", &format!("GET /{text} HTTP/1.1\r\nx-user: {text}\r\n{text}: x\r\n\r\n"));
        let header = format!("x-user: {text}");
        let recorded = |method: &str, path: &str, user: &str| {
            let record = json!({
                "peer": "10.0.0.1:1", "method": method, "path": path,
                "headers": {":authority": "x", "origin": null, "upgrade": null, "x-forwarded-for": "192.0.2.1", "x-user": user},
                "copies": {"x-openclaw-scopes": null, "x-real-ip": null, "x-user": user},
            });
            json!({"recorded": record.to_string(), "reason": text, "status": text}).to_string() + "\n"
        };
        let escaped = format!("{{\"recorded\":{}}}\n", json!(recorded("GET", "/", "x").replace('x', &text)));
        let log = file(
            "log",
            &[
                recorded("GET", "/", &text),
                recorded(&text, &format!("/{text}"), "nick"),
                json!({"recorded": null, "status": text}).to_string() + "\n",
                json!({"recorded": {"a": text}}).to_string() + "\n",
                json!({"reason": [text]}).to_string() + "\n",
                escaped,
                format!("{{\"{text}\n"),
            ]
            .concat(),
        );
        let peer = ["--peer", "10.0.0.1", "-H", "x-forwarded-for: 192.0.2.1"];
        // A place, the arguments, and whether the character can get there at all.
        let is_byte = |c: char| c.is_ascii_control();
        let cases: Vec<(&str, Vec<&str>, bool)> = vec![
            ("a file name in the heading", vec!["check", &policy], true),
            ("a file name at an excerpt", vec!["check", &bad], true),
            ("a missing file", vec!["check", &missing], true),
            ("a key", vec!["check", &key], true),
            ("a file that is not JSON5", vec!["check", &broken], true),
            ("an include", vec!["check", &included], true),
            ("users", vec!["check", &users], true),
            ("origins", vec!["check", &origins], true),
            ("a file for the filter", vec!["check", &policy, "--filter", &filter], true),
            ("an env file", vec!["check", &policy, "--env-file", &env], true),
            ("an argument", vec!["check", &policy, "--envoy", &text], true),
            ("an unknown argument", vec!["check", &policy, &text], true),
            ("an unknown command", vec![&text], true),
            ("a peer", vec!["explain", &policy, "--peer", &text], true),
            ("a user", [&["explain", &policy, "-H", &header][..], &peer].concat(), true),
            ("a method", [&["explain", &policy, "--method", &text][..], &peer].concat(), false),
            ("a path", [&["explain", &policy, "--path", &text][..], &peer].concat(), false),
            ("a request", [&["explain", &policy, "--request", &request][..], &peer].concat(), true),
            ("a recording", [&["explain", &policy, "--har", &har][..], &peer].concat(), true),
            ("an entry", [&["explain", &policy, "--har", &har, "--entry", &text][..], &peer].concat(), true),
            ("a command", [&["explain", &policy, "--curl", &text][..], &peer].concat(), true),
            ("a certificate", [&["explain", &policy, "--certificate-uri-san", &text][..], &peer].concat(), false),
            ("a log", vec!["replay", &policy, &log], true),
            ("a rendered bootstrap", vec!["render", "envoy", &users], true),
            ("a rendered manifest", vec!["render", "istio", &users], true),
            ("a rendered block", vec!["render", "gateway", &users, "--envoy", "10.0.0.2"], true),
            ("a rendered path", vec!["render", "envoy", &policy, "--module", &text], true),
        ];
        for (place, arguments, arrives) in cases {
            let all = harmless(place, c, &arguments, b"");
            assert!(!arrives || is_named(c, &all) || is_byte(c), "{place}: {c:?} is not named in {all}");
        }
        let log = harmless("a log", c, &["replay", &policy, &log, "--examples", "9"], b"");
        assert!(!log.contains("\\x00"), "{c:?}: {log}");
    }
}

#[test]
fn a_rendered_text_reads_the_same_to_every_reader_of_yaml() {
    let folder = folder("cli-yaml");
    let all: String = ('\u{1}'..='\u{ffff}').filter(|c| is_hostile(*c)).chain("é ł \u{1f600}".chars()).collect();
    let config = json!({"gateway": {
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": [all]}},
    }});
    let path = folder.join("openclaw.json");
    fs::write(&path, config.to_string()).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [&["render", "envoy", path][..], &["render", "istio", path], &["render", "envoy-gateway", path]] {
        let text = tool(arguments).stdout;
        // What YAML 1.1 calls printable, and no line break that only some versions know.
        let odd = text.chars().find(|c| match *c {
            '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
                matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
            }
            _ => true,
        });
        assert_eq!(odd, None, "{arguments:?}");
        let documents = harness::manifests::parse(&text).unwrap();
        assert!(documents.iter().any(|document| holds(document, &all)), "{arguments:?}: {text}");
    }
}

/// Whether a text is somewhere in a document, or in JSON inside it.
fn holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => {
            text == wanted
                || serde_json::from_str::<Value>(text).is_ok_and(|inner| inner != *value && holds(&inner, wanted))
        }
        Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
        Value::Object(members) => members.values().any(|member| holds(member, wanted)),
        _ => false,
    }
}

/// Values that variables may have: tokens, and what becomes an address, a name, or nothing that is valid.
const VALUES: [&str; 10] = [
    "ghp_s3cr3t/abc",
    "GHP_S3cr3t",
    "10.11.12.13/8",
    "::ffff:10.11.12.13/90",
    "s3cret, s3cret2",
    "  s3cret padded ",
    "https://s3cret.example.com/path",
    "x-forwarded-for",
    "jörg-s3cret\u{202e}",
    "s3cret\u{1b}[31m\"\\",
];

#[test]
fn no_error_or_finding_shows_what_a_variable_became() {
    let folder = folder("cli-variables");
    // Each with strings that the filter or the tool judges, alone and inside a longer string.
    let places = [
        "/gateway/trustedProxies/0",
        "/gateway/bind",
        "/gateway/auth/mode",
        "/gateway/auth/trustedProxy/userHeader",
        "/gateway/auth/trustedProxy/requiredHeaders/0",
        "/gateway/auth/trustedProxy/allowUsers/0",
        "/gateway/controlUi/allowedOrigins/0",
        "/gateway/controlUi/basePath",
        "/gateway/auth/allowTailscale",
        "/gateway/tailscale/mode",
    ];
    let good = json!({"gateway": {
        "bind": "lan",
        "trustedProxies": ["10.0.0.1"],
        "tailscale": {"mode": "off"},
        "auth": {"mode": "trusted-proxy", "allowTailscale": false, "trustedProxy": {
            "userHeader": "x-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick"],
        }},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"], "basePath": "/x"},
    }});
    let log = folder.join("access.log");
    let record = json!({"peer": "10.0.0.1:1", "method": "GET", "path": "/", "headers": {}}).to_string();
    fs::write(&log, json!({"recorded": record, "reason": "x"}).to_string() + "\n").unwrap();
    let (path, log) = (folder.join("openclaw.json"), log.to_str().unwrap());
    let file = path.to_str().unwrap();
    let (mut named, mut shown) = (0, 0);
    for pointer in places {
        for (value, written) in
            VALUES.iter().flat_map(|value| [(value, "${DEPLOY_TOKEN}"), (value, "x-${DEPLOY_TOKEN}-y")])
        {
            let mut config = good.clone();
            *config.pointer_mut(pointer).unwrap() = json!(written);
            fs::write(&path, config.to_string()).unwrap();
            let request = ["--peer", "10.0.0.1", "-H", "x-forwarded-for: 192.0.2.1"];
            for arguments in [
                vec!["check", file],
                vec!["check", file, "--json"],
                [&["explain", file][..], &request].concat(),
                [&["explain", file, "--json", "--ws"][..], &request].concat(),
                vec!["replay", file, log],
                vec!["replay", file, log, "--json"],
                vec!["render", "envoy", file, "--record"],
                vec!["render", "istio", file, "--json"],
            ] {
                let mut tool = command(program());
                tool.args(&arguments).env("DEPLOY_TOKEN", value);
                let run = run(tool, b"");
                // What `render` is asked for has the value: the filter resolves no variables.
                if arguments[0] == "render" && run.code == 0 {
                    continue;
                }
                let all = printed(&run).to_ascii_lowercase();
                let parts = ["s3cr3t", "s3cret", "ghp_", "11.12", "jörg", "j\\xf6rg"];
                let part = parts.iter().find(|part| all.contains(*part));
                assert_eq!(part, None, "{pointer} {value:?} {written} {arguments:?}: {}", printed(&run));
                named += usize::from(run.stdout.contains("${DEPLOY_TOKEN}") || run.stderr.contains("${DEPLOY_TOKEN}"));
                shown += 1;
            }
        }
    }
    assert!(named > 400 && shown > 1000, "{named} of {shown} outputs name the variable");
}

#[test]
fn a_variable_of_the_env_block_is_not_shown_in_an_excerpt_either() {
    let config = "{env: {vars: {DEPLOY: 'ghp_s3cr3t'}}, gateway: {trustedProxies: ['${DEPLOY}']}}";
    let path = folder("cli-block").join("openclaw.json");
    fs::write(&path, config).unwrap();
    let run = tool(&["check", path.to_str().unwrap()]);
    assert!(run.stdout.contains("\"${DEPLOY}\" is a name") && run.stdout.contains("env: ***"), "{}", run.stdout);
    assert!(!run.stdout.contains("s3cr3t"), "{}", run.stdout);
}

/// The headers of a request that passes, which shows all others.
const NICK: [&str; 6] =
    ["-H", "x-forwarded-for: 203.0.113.7", "-H", "x-forwarded-user: nick@example.com", "-H", "x-edge-proof: x"];

#[test]
fn explain_shows_no_credential_and_no_assertion() {
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl";
    let names = [
        "authorization",
        "proxy-authorization",
        "cookie",
        "dpop",
        "sec-websocket-protocol",
        "x-amzn-oidc-data",
        "x-amzn-oidc-accesstoken",
        "x-goog-iap-jwt-assertion",
        "cf-access-jwt-assertion",
        "x-pomerium-jwt-assertion",
        "x-auth-request-access-token",
        "x-forwarded-access-token",
        "x-ms-token-aad-id-token",
        "x-ms-client-principal",
        "x-authentik-jwt",
        "x-vouch-idp-accesstoken",
        "x-id-token",
        "x-userinfo",
        "x-endpoint-api-userinfo",
        "oidc-id-token",
        "X-Amzn-Oidc-Data",
        "x-api-key",
        "x-auth-token",
        "x-openclaw-token",
        "x-hub-signature-256",
        "x-forwarded-client-cert",
        "ssl-client-cert",
    ];
    for name in names {
        for more in [&[][..], &["--json"], &["--ws"], &["--http2"], &["--as-seen"]] {
            let header = format!("{name}: s3cr3t-{token}");
            let arguments =
                [&["explain", "openclaw.json", "--peer", "10.0.0.1", "-H", &header][..], &NICK, more].concat();
            let all = printed(&tool(&arguments));
            let line = format!("{}: ***", name.to_ascii_lowercase());
            // Envoy removes this one.
            let is_gone = name == "x-forwarded-client-cert" && more != ["--as-seen"];
            let is_hidden = !all.contains("s3cr3t")
                && !all.contains("eyJ")
                && (more == ["--json"] || is_gone || all.contains(&line));
            assert!(is_hidden && all.contains("admitted"), "{name} {more:?}: {all}");
        }
    }
    // A token that stands somewhere else is not shown either.
    for name in ["x-forwarded-user", "x-anything", "origin"] {
        let header = format!("{name}: {token}");
        let arguments = ["explain", "openclaw.json", "--peer", "10.0.0.1", "-H", &header];
        assert!(!printed(&tool(&arguments)).contains("eyJ"), "{name}");
    }
}

#[test]
fn a_file_cannot_keep_the_tool_busy() {
    let folder = folder("cli-busy");
    // A list that includes the next file five times, nine levels deep: two million files.
    for level in 0..9 {
        let next = format!("./{}.json", level + 1);
        fs::write(folder.join(format!("{level}.json")), json!({"a": {"$include": vec![next; 5]}}).to_string()).unwrap();
    }
    fs::write(folder.join("9.json"), json!({"list": [1, 2, 3]}).to_string()).unwrap();
    let run = tool(&["check", folder.join("0.json").to_str().unwrap()]);
    assert!(run.code == 2 && run.stderr.contains("includes more than 1000 files in all"), "{}", run.stderr);
    // A pipe that nobody writes to.
    let pipe = folder.join("pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let openclaw = folder.join("openclaw.json");
    fs::write(&openclaw, "{$include: './pipe.json'}").unwrap();
    let run = tool(&["check", openclaw.to_str().unwrap()]);
    assert!(run.code == 2 && run.stderr.contains("is not a regular file"), "{}", run.stderr);
    // 100,000 entries of each kind that is reported one by one.
    let gateway = |proxy: &str, origin: &str| {
        json!({"gateway": {
            "trustedProxies": vec![proxy; 100_000],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}},
            "controlUi": {"allowedOrigins": vec![origin; 100_000]},
        }})
        .to_string()
    };
    for (proxy, origin, counted) in [
        ("proxy.internal", "https://x", "has 99900 more errors"),
        ("10.0.0.1", "http://x.example", "99900 more like these"),
        ("${UNSET}", "https://x", "99900 more strings use variables that are not set"),
    ] {
        fs::write(&openclaw, gateway(proxy, origin)).unwrap();
        for more in [&[][..], &["--json"]] {
            let run = tool(&[&["check", openclaw.to_str().unwrap()][..], more].concat());
            let lines = run.stdout.lines().count();
            assert!(
                run.stdout.contains(counted) && lines < 3000,
                "{lines} lines: {}",
                run.stdout.get(..2000).unwrap_or_default()
            );
        }
    }
}
