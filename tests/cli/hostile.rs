//! Hostile input: no secret is shown, only regular files are read, what acts on a terminal is shown by its name, and
//! work and output stay in proportion to the input.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::envoy::Scratch;
use harness::tool::program;
use model::choices::{self, Choices};
use serde_json::{Value, json};

use crate::{Run, command, run};

/// Runs the program in a folder, with a variable.
fn tool_in(folder: &Path, arguments: &[&str], variable: Option<(&str, &str)>) -> Run {
    let mut command = command(program());
    command.current_dir(folder).args(arguments).envs(variable);
    run(command, b"")
}

/// A good openclaw.json with much in it.
fn openclaw() -> Value {
    json!({
        "gateway": {
            "mode": "local", "bind": "lan", "port": 18789, "customBindHost": "10.0.0.3",
            "trustedProxies": ["10.0.0.2", "10.0.0.0/24"],
            "auth": {"mode": "trusted-proxy", "password": "x", "trustedProxy": {
                "userHeader": "x-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick@example.com", "eve"],
                "deviceAutoApprove": {"enabled": true, "scopes": ["operator.admin"]},
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"], "basePath": "/openclaw"},
            "tailscale": {"mode": "off"}, "remote": {"url": "ws://a"}, "tls": {"enabled": false, "certPath": "/a"},
        },
        "hooks": {"enabled": true, "token": "abcdefgh", "path": "/hooks"},
        "meta": {"lastTouchedVersion": "2026.9.6"},
    })
}

const FILTER: &str = r#"{"trustedProxies": ["10.0.0.1"], "upstreamUserHeader": "x-openclaw-user",
    "scopes": {"users": {"*": ["operator.read"]}}}"#;

/// The pointers to all strings in a value.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| texts(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| texts(item, &format!("{at}/{n}"), found)),
        Value::String(_) => found.push(at.to_owned()),
        _ => {}
    }
}

/// What must not be shown, in lower case. Each value below has it.
const CANARY: &str = "q7canaryw9";
/// A part of the Base64 of what has it twice.
fn encoded() -> String {
    STANDARD.encode("..Zq7canaryW9Zq7canaryW9")
}

fn assert_hidden(what: &str, run: &Run) {
    assert!((0..=2).contains(&run.code), "{what}: {} {}", run.code, run.stderr);
    let all = format!("{}{}", run.stdout, run.stderr);
    let shown = all.to_ascii_lowercase().contains(CANARY) || all.contains(&encoded()[6..20]);
    assert!(!shown, "{what}:\n{all}");
}

#[test]
fn no_variable_is_shown_wherever_it_is_used() {
    let folder = Scratch::new("hostile-variables");
    let folder = folder.path();
    fs::write(folder.join("filter.json"), FILTER).unwrap();
    fs::write(folder.join("access.log"), "{}\n").unwrap();
    let mut places = Vec::new();
    texts(&openclaw(), "", &mut places);
    assert!(places.len() > 15, "{places:?}");
    let commands: [&[&str]; 9] = [
        &["check", "c.json"],
        &["check", "c.json", "--json"],
        &["check", "c.json", "--witness", "--filter", "filter.json"],
        &["check", "c.json", "--witness", "--json"],
        &["check", "c.json", "--proxy", "tailscale", "--envoy", "10.0.0.2"],
        &["explain", "c.json", "--peer", "10.0.0.1", "-H", "x-user: nick@example.com"],
        &["explain", "c.json", "--peer", "10.0.0.1", "--json"],
        &["explain", "c.json", "--peer", "10.0.0.1", "--ws", "--opened-under", "c.json"],
        &["replay", "c.json", "access.log"],
    ];
    let (mut seen, mut printed) = ([0; 3], 0);
    for seed in 0..140_u64 {
        let bytes = choices::bytes(31_000 + seed, 64);
        let choices = &mut Choices::new(&bytes);
        let value = *choices.pick(&["Zq7canaryW9", "Zq7canaryW9\"é\u{1b}/+% x", " zQ7CANARYw9\u{202e} "]);
        let written = *choices.pick(&["${CANARY}", "a${CANARY}b", "${CANARY}, ${CANARY}", "10.${CANARY}/8"]);
        let mut config = openclaw();
        let place: &String = choices.pick(&places);
        *config.pointer_mut(place).unwrap() = json!(written);
        let source = choices.below(3);
        let (mut variable, mut more) = (None, vec![]);
        match source {
            0 => variable = Some(("CANARY", value)),
            1 => {
                fs::write(folder.join("c.env"), format!("CANARY='{value}'\n")).unwrap();
                more = vec!["--env-file", "c.env"];
            }
            // A value that is not used is not shown either.
            _ => config["env"] = json!({"vars": {"CANARY": value, "OTHER": format!("{value}!")}, "DIRECT": value}),
        }
        seen[source] += 1;
        let text = if choices.below(2) == 0 { config.to_string() } else { format!("{config:#}") };
        // A mistake on the same line as everything else.
        let text = if choices.below(3) == 0 { text.replacen('{', "{ gatewey: 1, ", 1) } else { text };
        let text = if choices.below(8) == 0 { text.replacen("\"gateway\"", "oops \"gateway\"", 1) } else { text };
        fs::write(folder.join("c.json"), &text).unwrap();
        let command = [*choices.pick(&commands), &more[..]].concat();
        assert_hidden(&format!("{seed} {command:?} {text}"), &tool_in(folder, &command, variable));
        // What is rendered must have the values: it says so, and nothing else has them.
        let target = *choices.pick(&[&["envoy"][..], &["istio"], &["gateway", "--envoy", "10.0.0.2"]]);
        let rendered = tool_in(folder, &[&["render"], target, &["c.json"], &more[..]].concat(), variable);
        assert!(!rendered.stderr.to_ascii_lowercase().contains(CANARY), "{seed}: {}", rendered.stderr);
        if rendered.stdout.to_ascii_lowercase().contains(CANARY) {
            assert!(rendered.stdout.contains("as private as the variables in it: CANARY"), "{}", rendered.stdout);
            printed += 1;
        }
    }
    assert!(printed > 3, "{printed}");
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn no_secret_is_shown_however_its_key_is_written() {
    let folder = Scratch::new("hostile-secrets");
    let folder = folder.path();
    let escaped = |text: &str| text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>();
    let keys = [
        "token",
        "password",
        "clientSecret",
        "apiKey",
        "api_key",
        "privateKey",
        "secret",
        "credentials",
        "accessToken",
        "OPENCLAW_GATEWAY_TOKEN",
        "authorization",
        "cookie",
        "bearer",
        "jwt",
        "passphrase",
        "pass",
        "auth_key",
        "x-api-key",
        "x-pomerium-jwt-assertion",
        "signingKey",
    ];
    let encoded = encoded();
    let values = [
        "\"Zq7canaryW9\"".to_owned(),
        "'Zq7canaryW9'".to_owned(),
        format!("\"{}\"", escaped("Zq7canaryW9")),
        "\"Zq7canaryW9\\\nZq7canaryW9\"".to_owned(),
        "Zq7canaryW9".to_owned(),
        format!("\"{encoded}\""),
        "{ source: \"env\", id: \"Zq7canaryW9\" }".to_owned(),
        "{\n  source: 'file',\n  id: 'Zq7canaryW9', x y\n}".to_owned(),
        "[\n'a',\n  \"Zq7canaryW9\" ]".to_owned(),
        "'Zq7canaryW9".to_owned(),
        "/* a: 1 */ \"Zq7canaryW9\"".to_owned(),
    ];
    let good = "gateway: {bind: 'lan', trustedProxies: ['10.0.0.2'], auth: {mode: 'trusted-proxy', \
        trustedProxy: {userHeader: 'x-user', allowUsers: ['nick']}}}";
    let inside =
        |before: &str, pair: &str| format!("{{{}}}", good.replace(before, &format!("{pair}, odd: 1, {before}")));
    let (mut runs, mut yamls) = (0, 0);
    for seed in 0..200_u64 {
        let bytes = choices::bytes(32_000 + seed, 64);
        let choices = &mut Choices::new(&bytes);
        let key = *choices.pick(&keys);
        let is_plain = key.chars().all(|c| c.is_alphanumeric() || c == '_');
        let key = match choices.below(4) {
            0 if is_plain => key.to_owned(),
            1 => format!("\"{}\"", escaped(key)),
            2 => format!("'{}\\x{:02x}{}'", &key[..2], key.as_bytes()[2], &key[3..]),
            _ => format!("\"{key}\""),
        };
        let value = choices.pick(&values);
        let pair = format!("{key}: {value}");
        let text = match choices.below(9) {
            0 => format!("{{{pair}, oops oops, {good}}}"),
            1 => format!("{{{pair} oops, {good}}}"),
            2 => format!("{{{pair}"),
            3 => format!("{{a b, {pair}, {good}}}"),
            4 => format!("{{{pair}, gatewey: 1, {good}}}"),
            5 => inside("bind: 'lan'", &pair),
            6 => inside("mode:", &pair),
            7 => inside("userHeader:", &pair),
            _ => format!("{{{pair}, {pair}, {good}, filter: {{{pair}, a: 1}}}}"),
        };
        fs::write(folder.join("s.json"), &text).unwrap();
        for command in [&["check", "s.json"][..], &["check", "s.json", "--json"], &["render", "envoy", "s.json"]] {
            runs += 1;
            assert_hidden(&format!("{seed} {command:?} {text}"), &tool_in(folder, command, None));
        }
        // The same where manifests and Envoy keep it: as YAML, and as a text in it.
        let lines = |indentation: usize| text.replace('\n', &format!("\n{:indentation$}", ""));
        let yaml = match choices.below(4) {
            0 => format!("kind: WasmPlugin\nspec:\n  pluginConfig: {}\n", lines(4)),
            1 => format!("kind: ConfigMap\ndata:\n  openclaw.json: |\n    {}\n", lines(4)),
            2 => format!("kind: ConfigMap\ndata:\n  policy.json: {}\n", serde_json::to_string(&text).unwrap()),
            _ => {
                format!("gateway:\n  bind: lan\n  {key}: {}\n  oops: [\nfilter: {{}}\n", value.replace('\n', "\n    "))
            }
        };
        fs::write(folder.join("s.yaml"), &yaml).unwrap();
        for more in [&[][..], &["--json"], &["--format", "sarif"], &["--format", "github"]] {
            yamls += 1;
            let command = [&["check", "s.yaml", "s.json"], more].concat();
            assert_hidden(&format!("{seed} {command:?} {yaml}"), &tool_in(folder, &command, None));
        }
    }
    assert_eq!((runs, yamls), (600, 800));
}

#[test]
fn no_secret_of_a_manifest_is_shown() {
    let folder = Scratch::new("hostile-manifests");
    let folder = folder.path();
    let plugin =
        |config: &str| format!("kind: WasmPlugin\nmetadata: {{name: a}}\nspec:\n  pluginConfig:\n    {config}\n");
    for text in [
        "token: Zq7canaryW9\nb: [1, 2\nc: d\n",
        "password: \"Zq7canaryW9\nx: y\n",
        "kind: Secret\nstringData:\n  token: Zq7canaryW9\n bad: x\n",
        "token: *Zq7canaryW9\n",
        "token: !!int Zq7canaryW9\n",
        "token: Zq7canaryW9: Zq7canaryW9\n",
        &plugin("gateway: {auth: {token: Zq7canaryW9, mode: trusted-proxy}}\n    filter: {secret: Zq7canaryW9}"),
        &plugin(
            "gateway: {trustedProxies: [10.0.0.1], auth: {password: Zq7canaryW9, mode: trusted-proxy}}\n    filter: {requiredValues: {x-s: {sha256: [Zq7canaryW9]}}}",
        ),
        &plugin("{gateway: {auth: {mode: '${TOKEN}', token: {id: Zq7canaryW9}}}, filter: {apiKey: Zq7canaryW9}}"),
    ] {
        fs::write(folder.join("a.yaml"), text).unwrap();
        for json in [&["check", "a.yaml"][..], &["check", "a.yaml", "--json"], &["check", "."]] {
            assert_hidden(text, &tool_in(folder, json, None));
        }
    }
}

/// A policy that requires headers, one of them with a secret.
fn policy() -> String {
    json!({
        "gateway": {
            "bind": "lan", "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick@example.com"],
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": {"crossSite": "refuse", "requiredValues": {
            "x-s": {"sha256": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]},
        }},
    })
    .to_string()
}

#[test]
fn no_credential_of_a_request_is_shown() {
    const C: &str = "Zq7canaryW9";
    let folder = Scratch::new("hostile-requests");
    let folder = folder.path();
    fs::write(folder.join("p.json"), policy()).unwrap();
    let encoded = encoded();
    let token = format!("eyJhbGciOiJFUzI1NiJ9.eyJh{encoded}.c2lnbmF0dXJl");
    let secret = [
        "dpop",
        "x-s",
        "x-edge",
        "x-api-key",
        "x-auth-token",
        "sec-websocket-protocol",
        "cf-access-jwt-assertion",
        "x-goog-iap-jwt-assertion",
        "x-amzn-oidc-data",
        "x-amzn-oidc-accesstoken",
        "x-ms-client-principal",
        "x-ms-token-aad-id-token",
        "x-forwarded-tls-client-cert",
        "x-forwarded-access-token",
        "x-authentik-jwt",
        "OIDC_access_token",
        "OIDC_id_token_payload",
        "OIDC_userinfo_json",
        "x-vouch-idp-idtoken",
        "x-auth-key",
        "x-client-secret",
        "x-password",
        "x-signature",
        "x-session-id",
        "x-access-token",
    ];
    let mut headers: Vec<(String, String)> = secret.map(|name| (name.to_owned(), C.to_owned())).into();
    headers.extend(
        [
            ("Authorization", format!("Bearer {C}")),
            ("authorization", format!("Basic {encoded}")),
            ("proxy-authorization", format!("Basic {encoded}")),
            ("Cookie", format!("session={C}; a=b")),
            ("set-cookie", format!("a={C}")),
            ("referer", format!("https://a/?token={C}")),
            ("x-custom", token.clone()),
            ("x-user", format!("nick {token}")),
            ("origin", format!("https://a?{token}")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let mut runs = 0;
    for (at, (name, value)) in headers.iter().enumerate() {
        let mut all =
            vec![("x-user", "nick@example.com"), ("x-edge", "1"), ("x-s", "test"), ("x-forwarded-for", "203.0.113.7")];
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
        let lines: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET /a?token={C} HTTP/1.1\r\nHost: claw\r\n{lines}\r\n");
        let listed: Vec<_> = all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let har = json!({"log": {"entries": [{"request": {
            "method": "GET", "url": format!("https://claw/a?token={C}"), "httpVersion": "h2", "headers": listed,
            "postData": {"text": C},
        }}]}})
        .to_string();
        let options: Vec<_> = all.iter().map(|(name, value)| format!("-H '{name}: {value}'")).collect();
        let curl = format!("curl 'https://u:{C}@claw/a?token={C}' -u 'a:{C}' {}", options.join(" "));
        let cut = |text: &str, part: usize| text.chars().take(text.chars().count() * part / 5).collect::<String>();
        let log = json!({"status": 200, "method": "GET", "path": format!("/a?token={C}"), "user": token,
            "peer": "10.0.0.1:1", "openclaw": {name.clone(): value}, name.clone(): value})
        .to_string();
        for (file, text) in [
            ("r.http", request.clone()),
            ("r.har", har.clone()),
            ("broken.http", request.replacen(": ", " ", 4)),
            ("broken.har", cut(&har, 1 + at % 4)),
            ("l.log", format!("{log}\n{}\nplain {C} {token}\n", cut(&log, 3))),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let header = format!("{name}: {value}");
        let commands: Vec<Vec<&str>> = vec![
            vec!["-H", &header],
            vec!["--request", "r.http"],
            vec!["--har", "r.har"],
            vec!["--curl", &curl],
            vec!["--request", "broken.http"],
            vec!["--har", "broken.har"],
            vec!["--har", "r.har", "--ws"],
            vec!["--request", "r.http", "--as-seen"],
            vec!["--assertion", &token],
        ];
        for more in commands {
            for json in [&[][..], &["--json"]] {
                let command = [&["explain", "p.json", "--peer", "10.0.0.1"], &more[..], json].concat();
                assert_hidden(&format!("{name}: {command:?}"), &tool_in(folder, &command, None));
                runs += 1;
            }
        }
        for json in [&[][..], &["--json"]] {
            assert_hidden(name, &tool_in(folder, &[&["replay", "p.json", "l.log"], json].concat(), None));
        }
    }
    assert_eq!(runs, 34 * 18);
}

/// What is no regular file, by name.
fn irregular(folder: &Path) -> Vec<PathBuf> {
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(made.success());
    drop(UnixListener::bind(folder.join("socket")).unwrap());
    fs::create_dir(folder.join("folder.d")).unwrap();
    std::os::unix::fs::symlink(folder.join("pipe"), folder.join("link")).unwrap();
    let ours = ["pipe", "socket", "folder.d", "link"].map(|name| folder.join(name));
    ours.into_iter().chain(["/dev/zero", "/proc/self/environ", "/proc/kmsg"].map(PathBuf::from)).collect()
}

#[test]
fn only_regular_files_are_read() {
    let folder = Scratch::new("hostile-files");
    let folder = folder.path();
    let openclaw = openclaw().to_string();
    fs::write(folder.join("c.json"), &openclaw).unwrap();
    fs::write(folder.join("p.json"), policy()).unwrap();
    fs::write(folder.join("l.log"), "{}\n").unwrap();
    let mut runs = 0;
    for path in irregular(folder) {
        let odd = path.to_str().unwrap();
        let include = json!({"$include": odd, "agents": {}}).to_string();
        fs::write(folder.join("including.json"), include).unwrap();
        let is_folder = odd.ends_with("folder.d");
        let is_pipe = odd.ends_with("pipe") || odd.ends_with("link");
        let commands: Vec<Vec<&str>> = vec![
            vec!["check", odd],
            vec!["check", "including.json"],
            vec!["check", "c.json", "--filter", odd],
            vec!["check", "c.json", "--env-file", odd],
            vec!["explain", odd, "--peer", "10.0.0.1"],
            vec!["explain", "p.json", "--peer", "10.0.0.1", "--request", odd],
            vec!["explain", "p.json", "--peer", "10.0.0.1", "--har", odd],
            vec!["explain", "p.json", "--peer", "10.0.0.1", "--ws", "--opened-under", odd],
            vec!["render", "envoy", odd],
            vec!["render", "envoy", "c.json", "--filter", odd],
            vec!["replay", odd, "l.log"],
            vec!["replay", "p.json", "l.log", "--against", odd],
            // A log may come through a pipe: see below.
            vec!["replay", "p.json", if is_pipe { "/dev/zero" } else { odd }],
        ];
        for command in commands {
            // A folder is a deployment, here without a policy.
            let said = match (&command[..], is_folder) {
                (["check", name], true) if *name == odd => "has no policy of this filter",
                // The folder of an include is checked before the file is looked at.
                (["check", "including.json"], _) if !odd.starts_with(folder.to_str().unwrap()) => "outside the folder",
                _ => "not a regular file",
            };
            let run = tool_in(folder, &command, None);
            assert_eq!(run.code, 2, "{command:?}: {}", run.stderr);
            assert!(run.stderr.contains(said), "{command:?}: {}", run.stderr);
            runs += 1;
        }
    }
    assert_eq!(runs, 7 * 13);

    // A log may come through a pipe, and through standard input.
    let shell = |line: &str| {
        let mut command = command("bash");
        command.current_dir(folder).args(["-c", line]).env("TOOL", program());
        run(command, b"")
    };
    let plain = shell("\"$TOOL\" replay p.json l.log");
    for line in [
        "\"$TOOL\" replay p.json <(cat l.log)",
        "cat l.log | \"$TOOL\" replay p.json -",
        "cat l.log > pipe & \"$TOOL\" replay p.json pipe",
    ] {
        let piped = shell(line);
        assert_eq!((piped.code, piped.stdout), (plain.code, plain.stdout.clone()), "{line}: {}", piped.stderr);
    }
}

#[test]
fn what_acts_on_a_terminal_is_shown_by_its_name() {
    let hostile = ['\u{1b}', '\u{7}', '\u{7f}', '\u{85}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}'];
    let folder = Scratch::new("hostile-terminal");
    let folder = folder.path();
    for c in hostile {
        let name = format!("a{c}b.json");
        let odd = format!("x{c}[31my");
        let mut config: Value = serde_json::from_str(&policy()).unwrap();
        config["filter"][&odd] = json!(1);
        fs::write(folder.join("key.json"), config.to_string()).unwrap();
        let mut config: Value = serde_json::from_str(&policy()).unwrap();
        config["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([odd, "nick"]);
        config["gateway"]["controlUi"]["allowedOrigins"] = json!([format!("https://{odd}")]);
        fs::write(folder.join(&name), config.to_string()).unwrap();
        fs::write(folder.join("syntax.json"), format!("{{{odd} oops")).unwrap();
        let header = format!("x-user: {odd}");
        let har = json!({"log": {"entries": [
            {"request": {"method": odd, "url": format!("https://{odd}/"), "headers": []}},
            {"request": {"method": "GET", "url": "https://a/", "headers": []}},
        ]}});
        fs::write(folder.join("odd.har"), har.to_string()).unwrap();
        let log = json!({"status": 200, "method": odd, "path": odd, "peer": odd, odd.as_str(): odd}).to_string();
        fs::write(folder.join("odd.log"), format!("{log}\n{odd}\n")).unwrap();
        let commands: Vec<Vec<&str>> = vec![
            vec!["check", &name, "--witness"],
            vec!["check", "key.json"],
            vec!["check", "syntax.json"],
            vec!["check", &name, "--proxy", "tailscale"],
            vec!["check", "missing.json", "--filter", &odd],
            vec!["check", &name, "--envoy", &odd],
            vec!["check", &name, "--proxy", &odd],
            vec!["explain", &name, "--peer", "10.0.0.1", "-H", &header],
            vec!["explain", &name, "--peer", "10.0.0.1", "--path", &odd],
            vec!["explain", &name, "--peer", "10.0.0.1", "--har", "odd.har"],
            vec!["explain", &name, "--peer", "10.0.0.1", "--har", "odd.har", "--entry", &odd],
            vec!["explain", &name, "--peer", &odd],
            vec!["render", "envoy", &name],
            vec!["render", "envoy", &odd],
            vec!["replay", &name, "odd.log"],
        ];
        for command in commands {
            for json in [&[][..], &["--json"]] {
                let command = [&command[..], json].concat();
                let run = tool_in(folder, &command, None);
                let shown = format!("{}{}", run.stdout, run.stderr);
                assert!(!shown.contains(c), "U+{:04X} {command:?}:\n{shown}", u32::from(c));
            }
        }
    }
}

/// Input with `count` mistakes of one kind, by the kind's name.
fn mistakes(kind: &str, count: usize) -> String {
    let all = |one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
    let with = |gateway: &str, users: &str, filter: &str| {
        format!(
            r#"{{"gateway":{{"bind":"lan","trustedProxies":["10.0.0.2"],{gateway}"auth":{{"mode":"trusted-proxy","trustedProxy":{{"userHeader":"x-user","allowUsers":[{users}]}}}},"controlUi":{{"allowedOrigins":["https://claw.example.com"]}}}}{filter}}}"#
        )
    };
    let nick = "\"nick@example.com\"";
    match kind {
        "objects" => with("", &all(&|n| format!(r#"{{"name":"user{n}"}}"#)), ",\"filter\":{}"),
        "objects in openclaw.json" => with("", &all(&|n| format!(r#"{{"name":"user{n}"}}"#)), ""),
        "unknown keys of the filter" => {
            with("", nick, &format!(",\"filter\":{{{}}}", all(&|n| format!("\"key{n}\":1"))))
        }
        "unknown keys" => with(&(all(&|n| format!("\"key{n}\":1")) + ","), nick, ""),
        "misspelled keys" => with(&(all(&|n| format!("\"controlUI{n}\":1")) + ","), nick, ""),
        "wrong types" => with(&format!("\"nodes\":{{\"denyCommands\":[{}]}},", all(&|_| "1".to_owned())), nick, ""),
        "duplicate keys" => with(&(all(&|n| format!("\"k{}\":1", n / 2)) + ","), nick, ""),
        "placeholders" => with("", &all(&|n| format!("\"$NAME{n}\"")), ""),
        "variables" => with("", &all(&|n| format!("\"${{NAME{n}}}\"")), ""),
        "variables of a policy" => with("", &all(&|n| format!("\"${{NAME{n}}}\"")), ",\"filter\":{}"),
        "networks" => {
            with("", nick, "").replace("\"10.0.0.2\"", &all(&|n| format!("\"10.{}.{}.1/8\"", n / 250, n % 250)))
        }
        "origins" => with("", nick, "")
            .replace("\"https://claw.example.com\"", &all(&|n| format!("\"http://a{n}.example.com\""))),
        "ceilings" => with(
            "",
            nick,
            &format!(
                ",\"filter\":{{\"scopes\":{{\"users\":{{\"*\":[],{}}}}}}}",
                all(&|n| format!("\"u{n}\":[\"operator.bad\"]"))
            ),
        ),
        "users beyond ASCII" => with("", &all(&|n| format!("\"jörg{n}\"")), ",\"filter\":{}"),
        "secrets" => with(&(all(&|n| format!("\"token{n}\":\"x\"")) + ","), nick, ""),
        "required headers" => with("", nick, ",\"filter\":{}").replace(
            "\"userHeader\"",
            &format!("\"requiredHeaders\":[{}],\"userHeader\"", all(&|n| format!("\"x_{n}\""))),
        ),
        "syntax" => format!("{{{} oops", all(&|n| format!("\"k{n}\":1"))),
        "lists in lists" => with(&format!("\"nodes\":{}{},", "[".repeat(count), "]".repeat(count)), nick, ""),
        "objects in objects" => {
            with(&format!("\"nodes\":{}1{},", "{\"a\":".repeat(count), "}".repeat(count)), nick, "")
        }
        "a long key" => with(&format!("\"{}\":1,", "a.[".repeat(count * 16)), nick, ""),
        "a long key of the filter" => with("", nick, &format!(",\"filter\":{{\"{}\":1}}", "k".repeat(count * 50))),
        other => panic!("{other}"),
    }
}

const KINDS: [&str; 21] = [
    "objects",
    "objects in openclaw.json",
    "unknown keys of the filter",
    "unknown keys",
    "misspelled keys",
    "wrong types",
    "duplicate keys",
    "placeholders",
    "variables",
    "variables of a policy",
    "networks",
    "origins",
    "ceilings",
    "users beyond ASCII",
    "secrets",
    "required headers",
    "syntax",
    "lists in lists",
    "objects in objects",
    "a long key",
    "a long key of the filter",
];

/// Each finding costs at most one look at the whole file, so that a bounded number of findings is linear work. With
/// quadratic work this test would not end.
#[test]
fn as_many_mistakes_as_you_like_make_a_bounded_number_of_findings() {
    let folder = Scratch::new("hostile-many");
    let folder = folder.path();
    fs::write(folder.join("p.json"), policy()).unwrap();
    for kind in KINDS {
        let of = |count: usize| {
            fs::write(folder.join("many.json"), mistakes(kind, count)).unwrap();
            let arguments = ["check", "many.json", "--json", "--proxy", "oauth2-proxy"];
            let run = tool_in(folder, &arguments, None);
            assert!(run.code <= 2, "{kind}: {} {}", run.code, run.stderr);
            let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{kind}: {error}"));
            let list = |key: &str| answer[key].as_array().map_or(0, Vec::len);
            (list("errors"), list("findings"))
        };
        let (some, many) = (of(500), of(if kind == "objects" { 20_000 } else { 6000 }));
        assert_eq!(some, many, "{kind}");
        assert!(some.0 <= 320 && some.1 <= 320, "{kind}: {some:?}");
        // The other commands read it too.
        fs::write(folder.join("many.json"), mistakes(kind, 1500)).unwrap();
        for command in [
            &["explain", "many.json", "--peer", "10.0.0.1"][..],
            &["render", "envoy", "many.json"],
            &["replay", "p.json", "many.json"],
            &["check", "many.json"],
        ] {
            let run = tool_in(folder, command, None);
            assert!(run.code <= 2, "{kind} {command:?}: {} {}", run.code, run.stderr);
            let shown = run.stdout.len() + run.stderr.len();
            let limit = if run.code == 0 { usize::MAX } else { 400_000 };
            assert!(shown < limit, "{kind} {command:?}: {shown} bytes");
        }
    }
}

#[test]
fn a_large_recording_needs_little_memory() {
    let folder = Scratch::new("hostile-har");
    let folder = folder.path();
    fs::write(folder.join("p.json"), policy()).unwrap();
    let headers: Vec<_> = (0..20).map(|n| json!({"name": format!("x-{n}"), "value": "v".repeat(40)})).collect();
    let headers = json!(headers).to_string();
    let entry = |at: usize, more: &str| {
        format!(
            r#"{{"request":{{"method":"GET","url":"https://claw.example.com/{at}?s3cr3t","httpVersion":"h2",
            "headers":{headers},"postData":{more}}},"timings":[{at},{{"a":[1,2,3]}}],
            "response":{{"status":200,"headers":{headers},"content":{{"text":{more},"size":4}}}}}}"#
        )
    };
    // Entries as browsers write them, one entry with much in it, and one of tiny values only.
    let body = |length: usize| format!("\"{}\"", "b".repeat(length));
    let many: Vec<_> = (0..6400).map(|at| entry(at, &body(2000))).collect();
    let large = vec![entry(0, &body(1)), entry(1, &body(21 << 20))];
    let tiny = vec![entry(0, &format!("[{}1]", "{\"a\":[]},".repeat(2_400_000)))];
    for (name, entries, wanted) in [("many", many, "/6399"), ("large", large, "1"), ("tiny", tiny, "1")] {
        let har = format!("{{\"log\":{{\"pages\":[],\"entries\":[{}]}}}}", entries.join(","));
        assert!(har.len() > 40 << 20 && har.len() < 64 << 20, "{name}: {}", har.len());
        fs::write(folder.join("large.har"), har).unwrap();
        let run = |kilobytes: u32, arguments: &[&str]| {
            let mut command = command("sh");
            // The limit is of private memory: what the program allocates.
            let line = format!("ulimit -d {kilobytes}; exec \"$0\" \"$@\"");
            command.current_dir(folder).args(["-c", &line]).arg(program()).args(arguments);
            run(command, b"")
        };
        let explain = ["explain", "p.json", "--peer", "10.0.0.1", "--har", "large.har", "--entry", wanted];
        let done = run(150 << 10, &explain);
        assert_eq!(done.code, 1, "{name}: {}", done.stderr);
        assert!(done.stdout.starts_with("GET /"), "{name}: {}", done.stdout);
        // The limit is one: what keeps the whole file does not get by with less than its size.
        let kept = run(30 << 10, &["check", "large.har"]);
        assert!(kept.stderr.contains("out of memory") || kept.code < 0, "{name}: {kept:?}");
    }
    let run = tool_in(folder, &["explain", "p.json", "--peer", "10.0.0.1", "--har", "large.har", "--entry", "9"], None);
    assert_eq!(run.code, 2);
    assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
}
