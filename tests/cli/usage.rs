//! Arguments, exit codes, colour, JSON, and readers that close the output.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::document;
use serde_json::{Value, json};

use harness::tool::program;

use crate::{command, files, run, shell, tool, tool_reading};

#[test]
fn every_example_of_the_help_runs() {
    let mut examples = 0;
    for arguments in [&["--help"][..], &["check", "--help"], &["explain", "--help"]] {
        let help = tool(arguments);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{arguments:?}");
        let mut lines = help.stdout.lines();
        while let Some(line) = lines.next() {
            if !line.starts_with("  openclaw-trusted-proxy ") {
                continue;
            }
            let mut example = line.trim().to_owned();
            while let Some(start) = example.strip_suffix('\\') {
                example = format!("{start}{}", lines.next().unwrap().trim());
            }
            examples += 1;
            let run = shell(&example);
            assert!(run.code < 2 && run.stderr.is_empty(), "{example}\nends with {}: {}", run.code, run.stderr);
        }
    }
    assert!(examples > 8, "only {examples} examples");
}

/// Placeholders in such commands, and values for them.
const PLACEHOLDERS: [(&str, &str); 4] = [
    ("POLICY", "policy.json"),
    ("IP", "10.0.0.2"),
    ("'…'", "'curl https://claw.example.com/'"),
    ("--hsts 300 …", "--hsts 300 --cert cert.pem --key key.pem openclaw.json"),
];

#[test]
fn every_command_in_a_sentence_of_the_documentation_runs() {
    let mut commands = BTreeSet::new();
    for path in document::pages() {
        commands.extend(document::quoted(&document::page(&path)));
    }
    commands.retain(|command| command.starts_with("openclaw-trusted-proxy "));
    assert!(commands.len() > 6, "{commands:?}");
    let mut used = BTreeSet::new();
    for command in commands {
        let mut line = command.clone();
        for (index, (placeholder, value)) in PLACEHOLDERS.iter().enumerate() {
            used.extend(line.contains(placeholder).then_some(index));
            line = line.replace(placeholder, value);
        }
        // A command with only a subcommand just names it.
        if line.split(' ').count() == 2 {
            line += " --help";
        }
        let run = shell(&line);
        assert!(run.code < 2 && run.stderr.is_empty(), "{line}\nends with {}: {}", run.code, run.stderr);
    }
    assert_eq!(used.len(), PLACEHOLDERS.len(), "{used:?}");
}

#[test]
fn wrong_arguments_and_files_end_with_two_and_say_what_to_do() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-files");
    fs::create_dir_all(&scratch).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let latin1 = file("latin1.json", b"{gateway: 'j\xF6rg'}");
    let list = file("list.json", b"[]");
    let block = file("block.json", b"{trustedProxies: ['10.0.0.1'], auth: {}}");
    let circle = file("circle.json", b"{$include: './circle.json'}");
    let outside = file("outside.json", b"{$include: '../../../../etc/hostname'}");
    let number = file("number.json", b"{gateway: {$include: 7}}");
    let har = file("empty.har", b"{}");
    let flawed = file("flawed.http", b"GET / HTTP/1.1\r\nno colon\r\n\r\n");
    let policy = "openclaw.json";
    let curl = |command: &'static str| vec!["explain", policy, "--peer", "10.0.0.1", "--curl", command];
    let login = json!({
        "gateway": {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}},
        "filter": {
            "assertion": {"metadata": ["jwt", "email"], "as": "match", "requireTrue": [["jwt", "email_verified"]]},
            "trustedPeers": ["spiffe://a/b"], "peerTrust": "certificate", "peerIdentity": [{"filterState": "mesh.peer"}],
        },
    });
    let login = file("login.json", login.to_string().as_bytes());
    let explain = |more: &[&'static str]| [&["explain", policy, "--peer", "10.0.0.1"], more].concat();
    let on_login = |more: &[&'static str]| [&["explain", login.as_str(), "--peer", "10.0.0.1"], more].concat();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec![], "Usage"),
        (vec!["chek"], "unrecognized subcommand"),
        (vec!["check"], "<FILE>"),
        (vec!["check", "missing.json"], "missing.json: cannot be read"),
        (vec!["check", "split"], "has no policy of this filter"),
        (vec!["check", "deploy", "--filter", "filter.json"], "cannot be used with a deployment"),
        (vec!["explain", ".", "--peer", "10.0.0.1"], "is not a regular file"),
        (vec!["check", policy, "--envoy", "envoy.internal"], "\"envoy.internal\" is not an IP address"),
        (vec!["check", policy, "--env-file", "missing.env"], "missing.env: cannot be read"),
        (vec!["check", "policy.json", "--filter", "filter.json"], "has the filter's settings itself"),
        (vec!["check", policy, "--filter", "openclaw.json"], "gateway block of its own"),
        (vec!["check", "syntax.json5"], "syntax.json5:4:5"),
        (vec!["check", &latin1], "is not valid UTF-8 (byte 12)"),
        (vec!["check", &list], "is not an object"),
        (vec!["check", &block], "looks like only the gateway block"),
        (vec!["check", &circle], "includes it in turn"),
        (vec!["check", &outside], "outside the folder"),
        (vec!["check", &number], "not a file name"),
        (vec!["explain", policy], "--peer"),
        (vec!["explain", policy, "--peer", ""], "\"\" is not an IP address"),
        (vec!["explain", policy, "--peer", "10.0.0.300"], "\"10.0.0.300\" is not an IP address"),
        (vec!["explain", policy, "--peer", "localhost"], "\"localhost\" is not an IP address"),
        (vec!["explain", policy, "--peer", "[::1]"], "such as 10.0.0.1, 10.0.0.1:4711, fd00::1 or [fd00::1]:4711"),
        (vec!["explain", policy, "--peer", "127.0.0.1:99999"], "a port from 0 to 65535"),
        (vec!["explain", policy, "--peer", "10.0.0.0/24"], "\"10.0.0.0/24\" is not an IP address"),
        (explain(&["--destination", "not-an-ip"]), "--destination: \"not-an-ip\" is not an IP address"),
        (explain(&["--destination", ""]), "--destination: \"\" is not an IP address"),
        (explain(&["--certificate-uri-san", "not a uri"]), "--certificate-uri-san: \"not a uri\" is not a URI"),
        (explain(&["--certificate-uri-san", "spiffe:"]), "\"spiffe:\" is not a URI"),
        (
            explain(&["--certificate-uri-san", "proxy.example.com"]),
            "is another kind of name, and the filter reads only URI SANs",
        ),
        (explain(&["--certificate-uri-san", "spiffe://a/b", "--certificate-uri-san", "x"]), "\"x\" is not a URI"),
        (explain(&["--assertion", "eyJhbGciOiJub25lIn0.s3cr3t.s3cr3t"]), "--assertion: is a token"),
        (explain(&["--true-claim", ""]), "--true-claim: \"\" is not a claim of the policy"),
        (on_login(&["--true-claim", "verified"]), "filter.assertion.requireTrue has email_verified"),
        (explain(&["--filter-state", "key"]), "write KEY=VALUE"),
        (explain(&["--filter-state", "=value"]), "write KEY=VALUE"),
        (on_login(&["--filter-state", "mesh.per=spiffe://a/b"]), "filter.peerIdentity has mesh.peer"),
        (explain(&["--path", "noslash"]), "--path: \"noslash\" does not begin with a slash\n   = write /noslash"),
        (explain(&["--path", "https://claw.example.com/a?s3cr3t"]), "give the path of the URL, /a"),
        (explain(&["--path", ""]), "--path: the path is not valid"),
        (explain(&["--path", "?a"]), "does not begin with a slash"),
        (explain(&["--method", ""]), "--method: \"\" is not a method"),
        (explain(&["--method", "G T"]), "--method: \"G T\" is not a method"),
        (explain(&["--ws", "--method", "POST"]), "--ws: is a handshake, which is a GET, and the method is POST"),
        (explain(&["--ws", "--curl", "curl https://a/ -d x"]), "--ws: is a handshake, which is a GET"),
        (explain(&["-H", ": b"]), "-H: \": b\" is not a header"),
        (explain(&["-H", ""]), "-H: a header has no colon"),
        (explain(&["-H", "j\u{f6}rg: b"]), "is not a header name"),
        (vec!["explain", "wrong.json5", "--peer", "10.0.0.1"], "has host bits set"),
        (vec!["explain", "split.json5", "--peer", "10.0.0.1"], "CLAW_PROXY, which is not set"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "-H", "no colon"], "has no colon"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "-H", "a b: c"], "not a header name"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "-H", "a: \u{1}"], "control character"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "-H", ":path: /"], "use --method"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--path", "/s3cr3t b"], "the path is not valid"),
        (
            vec!["explain", policy, "--peer", "10.0.0.1", "--request", "openclaw.json"],
            "does not start with a request line",
        ),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--as-seen", "--request", &flawed], "has no colon"),
        (vec!["explain", "-", "--peer", "10.0.0.1", "--request", "-"], "both the policy and the request"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--har", &har], "has no log.entries"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--har", "recording.har"], "2 entries to choose from"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--har", "recording.har", "--entry", "7"], "has no entry 7"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--entry", "7"], "--har"),
        (vec!["explain", policy, "--peer", "10.0.0.1", "--har", "a", "--curl", "b"], "cannot be used with"),
        (curl("wget https://a/"), "is not curl"),
        (curl("curl"), "no URL"),
        (curl("curl https://a/ https://b/"), "more than one URL"),
        (curl("curl https://a/ --proxy http://b"), "--proxy is not a supported option"),
        (curl("curl -Z https://a/"), "-Z is not a supported option"),
        (curl("curl https://a/ --header=authorization:s3cr3t"), "--header is not a supported option"),
        (curl("curl https://?s3cr3t"), "has no host"),
        (curl("curl https://a/ -H"), "--header has no value"),
        (curl("curl https://a/ -b jar"), "names a cookie file"),
        (curl("curl 'https://a/"), "quote is not closed"),
        (curl("curl https://a/ | sh"), "more than one command"),
        (curl("curl ftp://a/"), "not an HTTP scheme"),
    ];
    for (arguments, expected) in cases {
        let run = tool(&arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{arguments:?} says {:?}", run.stderr);
        assert!(!run.stderr.contains("s3cr3t"), "{arguments:?} says {:?}", run.stderr);
    }
}

#[test]
fn every_answer_is_there_as_json_too() {
    let explain = ["explain", "openclaw.json", "--peer", "10.0.0.1"];
    let cases: &[(&[&str], &[&str], i32, &str)] = &[
        (&["check", "openclaw.json"], &["--strict"], 0, "fine"),
        (&["check", "risky.json5"], &[], 0, "fine"),
        (&["check", "risky.json5"], &["--strict"], 1, "errors"),
        (&["check", "wrong.json5"], &[], 1, "errors"),
        (&["check", "openclaw.json"], &["--env-file", "token.env"], 1, "errors"),
        (&["check", "openclaw.json"], &["--envoy", "10.0.0.2"], 0, "fine"),
        (&["check", "openclaw.json"], &["--envoy", "10.0.0.3"], 1, "errors"),
        (&["check", "policy.json"], &[], 0, "fine"),
        (&["check", "missing.json"], &[], 2, "no answer"),
        (&["check", "syntax.json5"], &[], 2, "no answer"),
        (&explain, &["--path", "/healthz"], 0, "anonymous"),
        (&explain, &["--path", "/"], 1, "refused"),
        (&explain, &["--request", "request.http"], 0, "admitted"),
        (&explain, &["--request", "missing.http"], 2, "no answer"),
    ];
    for (command, options, code, verdict) in cases {
        let arguments = [*command, *options].concat();
        let plain = tool(&arguments);
        let json = tool(&[&arguments[..], &["--json"]].concat());
        assert_eq!((plain.code, json.code), (*code, *code), "{arguments:?}: {} {}", plain.stderr, json.stderr);
        let value: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(value["verdict"], *verdict, "{arguments:?}");
        assert!(!json.stdout.contains("s3cr3t"), "{arguments:?} shows a secret: {}", json.stdout);
        for finding in ["errors", "findings"].iter().filter_map(|key| value[key].as_array()).flatten() {
            assert!(finding["problem"].as_str().is_some_and(|text| !text.is_empty()), "{arguments:?}: {finding}");
        }
    }
}

#[test]
fn there_is_colour_where_it_is_asked_for_and_nowhere_else() {
    for (arguments, coloured) in [
        (&["check", "wrong.json5"][..], false),
        (&["check", "wrong.json5", "--color", "never"], false),
        (&["check", "wrong.json5", "--color", "always"], true),
        (&["check", "wrong.json5", "--color", "always", "--json"], false),
        (&["explain", "policy.json", "--peer", "10.0.0.9"], false),
        (&["explain", "policy.json", "--peer", "10.0.0.9", "--color", "always"], true),
    ] {
        assert_eq!(tool(arguments).stdout.contains('\u{1b}'), coloured, "{arguments:?}");
    }
}

/// `script` gives a program a terminal.
#[test]
fn on_a_terminal_there_is_colour_unless_no_color_is_set() {
    for (variables, coloured) in [("", true), ("NO_COLOR=1 ", false), ("NO_COLOR= ", true)] {
        let line = format!(
            "{variables}script --quiet --return --command 'openclaw-trusted-proxy check policy.json' /dev/null"
        );
        let run = shell(&line);
        assert_eq!(
            run.code, 0,
            "`script` (Debian: bsdutils) gives the program a terminal: {} {}",
            run.stdout, run.stderr
        );
        assert_eq!(run.stdout.contains('\u{1b}'), coloured, "{line}: {:?}", run.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    for arguments in
        [&["check", "risky.json5", "--json"][..], &["check", "risky.json5"], &["check", "missing.json", "--json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut tool = command(program());
        tool.args(arguments).stdout(writer);
        let run = run(tool, b"");
        let expected = if arguments.contains(&"missing.json") { 2 } else { 141 };
        assert_eq!(run.code, expected, "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked") && (expected == 2 || run.stderr.is_empty()), "{}", run.stderr);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_reported() {
    let run = shell("openclaw-trusted-proxy check policy.json > /dev/full");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("standard output: cannot be written"), "{}", run.stderr);
}

#[test]
fn a_configuration_is_read_from_standard_input() {
    let text = fs::read(files().join("openclaw.json")).unwrap();
    let read = tool_reading(&["check", "-"], &text);
    assert_eq!(read.code, 0, "{}", read.stderr);
    assert!(read.stdout.starts_with("standard input: the Gateway's configuration"), "{}", read.stdout);
    let include = tool_reading(&["check", "-"], b"{$include: './a.json'}");
    assert!(include.code == 2 && include.stderr.contains("standard input has no folder"), "{}", include.stderr);
}

/// In the environment itself, in an env file, in the `.env` next to the configuration, and in its env block.
#[test]
fn the_gateways_secrets_are_found_wherever_they_are_set_and_never_shown() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-secrets");
    fs::create_dir_all(&folder).unwrap();
    let good = fs::read_to_string(files().join("openclaw.json")).unwrap();
    let path = folder.join("openclaw.json");
    let with_block = good.replace("agents:", "env: { vars: { OPENCLAW_GATEWAY_TOKEN: 's3cr3t' } }, agents:");
    let reference = good.replace("mode: \"trusted-proxy\",", "mode: \"trusted-proxy\", token: \"${MY_TOKEN}\",");
    let secret_ref = good.replace(
        "mode: \"trusted-proxy\",",
        "mode: \"trusted-proxy\", token: { source: \"env\", provider: \"default\", id: \"S3CR3T\" },",
    );
    let token = "OPENCLAW_GATEWAY_TOKEN=s3cr3t";
    for (config, variable, beside, arguments, found) in [
        (&good, "", "", &[][..], None),
        (&good, token, "", &[], Some("set in the environment")),
        (&good, token, "", &["--ignore-environment"], None),
        (&good, "OPENCLAW_GATEWAY_TOKEN=", "", &[], None),
        (&good, "", token, &[], Some(".env")),
        (&good, "", "export OPENCLAW_GATEWAY_TOKEN=\"s3cr3t\"", &[], Some(".env")),
        (&good, "", "# OPENCLAW_GATEWAY_TOKEN=s3cr3t", &[], None),
        (&with_block, "", "", &[], Some("set in the env block")),
        (&reference, "MY_TOKEN=s3cr3t", "", &[], Some("gateway.auth.token: is set")),
        (&reference, "", "", &[], Some("gateway.auth.token: is set")),
        (&secret_ref, "", "", &[], Some("gateway.auth.token: is set")),
    ] {
        fs::write(&path, config).unwrap();
        fs::write(folder.join(".env"), beside).unwrap();
        let mut tool = command(program());
        tool.arg("check").arg(&path).args(arguments);
        tool.envs(variable.split_once('='));
        let run = run(tool, b"");
        let what = format!("{variable} {beside} {arguments:?}: {}", run.stdout);
        assert_eq!(run.code, i32::from(found.is_some()), "{what}");
        assert_eq!(run.stdout.contains("mixed_trusted_proxy_token"), found.is_some(), "{what}");
        assert!(found.is_none_or(|place| run.stdout.contains(place)), "{what}");
        assert!(!run.stdout.contains("s3cr3t") && !run.stdout.contains("S3CR3T"), "{what}");
    }
}

/// A good `gateway` block, without its braces.
const GATEWAY: &str = r#"trustedProxies: ["10.0.0.2"], bind: "lan", auth: { mode: "trusted-proxy", trustedProxy: { userHeader: "x-user" } }"#;

#[test]
fn every_check_of_the_tool_reports_what_it_should_and_nothing_else() {
    let openclaw = |more: &str| format!("{{ gateway: {{ {GATEWAY}, {more} }}, agents: {{}} }}");
    let plugin = |gateway: &str, filter: &str| {
        let gateway = json5::from_str::<Value>(&format!("{{ {GATEWAY}, {gateway} }}")).unwrap();
        format!("{{\"gateway\": {gateway}, \"filter\": {filter}}}")
    };
    let loopback = "auth: { mode: 'trusted-proxy', trustedProxy: { userHeader: 'x', allowLoopback: true } }, trustedProxies: ['127.0.0.0/8']";
    let envoy = |ip: &'static str| vec!["--envoy", ip];
    let cases: Vec<(String, Vec<&str>, &[&str])> = vec![
        (openclaw(""), vec![], &["check.one_list", "check.envoy_unknown"]),
        (openclaw(""), envoy("10.0.0.2"), &["check.one_list"]),
        (openclaw(""), envoy("::ffff:10.0.0.2"), &["check.one_list"]),
        (openclaw(""), envoy("10.0.0.3"), &["check.one_list", "check.envoy_not_trusted"]),
        (format!("{{ gateway: {{ {loopback} }} }}"), envoy("127.0.0.1"), &["check.one_list", "check.networks"]),
        (
            format!("{{ gateway: {{ {} }} }}", loopback.replace("true", "false")),
            envoy("127.0.0.1"),
            &["check.one_list", "check.networks", "check.envoy_on_loopback"],
        ),
        (
            openclaw("").replace("\"lan\"", "\"loopback\""),
            envoy("10.0.0.2"),
            &["check.one_list", "check.bind_loopback"],
        ),
        (openclaw("").replace("bind: \"lan\",", ""), envoy("10.0.0.2"), &["check.one_list", "check.bind_loopback"]),
        (
            openclaw("controlUi: { allowedOrigins: ['http://a.example.com', 'http://localhost:1', 'https://b'] }"),
            envoy("10.0.0.2"),
            &["check.one_list", "check.origin_without_tls"],
        ),
        (openclaw("tls: { enabled: true }"), envoy("10.0.0.2"), &["check.one_list", "check.gateway_tls"]),
        (openclaw("tls: { enabled: false }"), envoy("10.0.0.2"), &["check.one_list"]),
        (
            openclaw("nodes: {}").replace("agents", "Gatewey"),
            envoy("10.0.0.2"),
            &["check.one_list", "filter.unknown_key"],
        ),
        (openclaw("").replace("agents", "filters"), envoy("10.0.0.2"), &["check.one_list", "filter.unknown_key"]),
        (
            openclaw("controlUi: { allowedOrigins: ['${NOWHERE}'] }, remote: { password: '${NOWHERE}' }"),
            envoy("10.0.0.2"),
            &["check.one_list", "check.unset_variable"],
        ),
        (plugin("", "{}"), envoy("10.0.0.2"), &["check.one_list"]),
        (
            plugin("", r#"{"edge": true, "assertion": {"metadata": ["a", "b"], "as": "identity"}}"#),
            envoy("10.0.0.2"),
            &[],
        ),
        (plugin("", r#"{"trustedProxies": ["10.0.0.1"]}"#), envoy("10.0.0.2"), &[]),
        (plugin("", r#"{"trustedProxies": ["10.0.0.2", "10.0.0.2"]}"#), envoy("10.0.0.2"), &["check.same_lists"]),
        (plugin("", r#"{"trustedProxies": ["10.0.0.1"]}"#), envoy("10.0.0.3"), &["check.envoy_not_trusted"]),
        (plugin("", "{\"trustedProxies\": [\"10.0.0.1\"],}"), envoy("10.0.0.2"), &["check.not_plain_json"]),
        (
            plugin("allowedFrom: '${A}', x: { $include: 'a' }", r#"{"trustedProxies": ["10.0.0.1"]}"#),
            envoy("10.0.0.2"),
            &["check.not_substituted", "check.not_substituted", "filter.unknown_key", "filter.unknown_key"],
        ),
        (openclaw("tailscale: { mode: 'funnel' }"), envoy("10.0.0.2"), &["check.one_list", "check.does_not_start"]),
        (openclaw("tailscale: { mode: 'serve' }"), envoy("10.0.0.2"), &["check.one_list", "check.does_not_start"]),
        (
            openclaw("tailscale: { mode: 'serve' }, customBindHost: '127.0.0.1'").replace("\"lan\"", "'custom'"),
            envoy("10.0.0.2"),
            &["check.one_list"],
        ),
        (openclaw("mode: 'remote'"), envoy("10.0.0.2"), &["check.one_list", "check.does_not_start"]),
        (
            openclaw("tailscale: { mode: 'serve' }").replace("\"lan\"", "'loopback'"),
            envoy("10.0.0.2"),
            &["check.one_list", "check.bind_loopback"],
        ),
        (
            openclaw("customBindHost: '::1'").replace("\"lan\"", "'custom'"),
            envoy("10.0.0.2"),
            &["check.one_list", "check.does_not_start"],
        ),
        (openclaw("customBindHost: '10.0.0.2'").replace("\"lan\"", "'custom'"), envoy("10.0.0.2"), &["check.one_list"]),
        (
            openclaw("x: 1").replace(", x: 1", "").replace("agents: {}", "hooks: { enabled: true, token: 't' }"),
            envoy("10.0.0.2"),
            &["check.one_list", "check.webhooks"],
        ),
        (openclaw("controlui: {}"), envoy("10.0.0.2"), &["check.one_list", "filter.unknown_key"]),
        (openclaw("port: 0"), envoy("10.0.0.2"), &["check.one_list", "check.config_invalid"]),
        (plugin("port: 0", r#"{"trustedProxies": ["10.0.0.1"]}"#), envoy("10.0.0.2"), &[]),
        (openclaw("").replace("\"lan\"", "'lann'"), envoy("10.0.0.2"), &["check.one_list", "filter.unknown_value"]),
    ];
    for (config, arguments, expected) in cases {
        let run = tool_reading(&[&["check", "-", "--json"][..], &arguments].concat(), config.as_bytes());
        let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{config}: {error}"));
        let all = ["errors", "findings"].iter().filter_map(|key| answer[key].as_array()).flatten();
        let mut ids: Vec<&str> = all
            .filter_map(|finding| finding["id"].as_str())
            .filter(|id| id.starts_with("check.") || id.starts_with("filter.unknown"))
            // The tests of witnesses have those.
            .filter(|id| !id.ends_with("_come_in"))
            .collect();
        let mut expected = expected.to_vec();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected, "{config} {arguments:?}");
    }
}

#[test]
fn a_value_with_which_the_gateway_does_not_start_is_an_error_in_its_own_file_alone() {
    let block = GATEWAY.replace("\"lan\"", "\"lann\"");
    assert_ne!(block, GATEWAY);
    for (config, code, list) in [
        (format!("{{gateway: {{ {block} }} }}"), 1, "errors"),
        (format!("{{gateway: {{ {block} }}, filter: {{}} }}"), 0, "findings"),
    ] {
        let run = tool_reading(&["check", "-", "--json"], config.as_bytes());
        assert_eq!(run.code, code, "{config}: {}", run.stdout);
        let answer: Value = serde_json::from_str(&run.stdout).unwrap();
        let ids: Vec<_> = answer[list].as_array().unwrap().iter().map(|one| one["id"].as_str()).collect();
        assert!(ids.contains(&Some("filter.unknown_value")), "{config}: {}", run.stdout);
    }
}
