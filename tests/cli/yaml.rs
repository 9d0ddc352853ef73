//! YAML: policies in it, the lines of what is found, and hostile texts.

use std::fs;

use harness::envoy::{Scratch, root};
use serde_json::{Value, json};

use crate::recording::site::tool;
use crate::tool_reading;

/// A good policy with one error: an address with a letter.
fn policy() -> Value {
    json!({
        "gateway": {
            "trustedProxies": ["10.0.0.x"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["nick"]}},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": {"edge": false},
    })
}

/// The policy as YAML.
const POLICY: &str = "\
gateway:
  trustedProxies:
    - 10.0.0.x
  auth:
    mode: trusted-proxy
    trustedProxy: { userHeader: x-user, allowUsers: [nick] }
  controlUi: { allowedOrigins: [\"https://claw.example.com\"] }
filter: { edge: false }
";

/// The policy as JSON on several lines.
fn json() -> String {
    format!("{:#}\n", policy())
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

fn check(file: &str, text: &str) -> (i32, Value) {
    let folder = Scratch::new("yaml");
    fs::write(folder.path().join(file), text).unwrap();
    let ran = tool(folder.path(), &["check", file, "--json", "--ignore-environment"]);
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{text}: {error}{}", ran.stderr));
    (ran.code, report)
}

#[test]
fn a_policy_is_found_in_every_kind_of_file_and_its_errors_at_their_lines() {
    const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    const MANAGER: &str =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let text = |value: &str| format!("\"@type\": type.googleapis.com/google.protobuf.StringValue\nvalue: {value}\n");
    let block = text(&format!("|\n{}", indented(&json(), 2)));
    let deeper = text(&format!("|2\n{}", indented(&json(), 4)));
    let quoted = text(&format!("{:?}", policy().to_string()));
    let single = text(&format!("'{}'", policy()));
    let structure = format!("\"@type\": type.googleapis.com/google.protobuf.Struct\nvalue:\n{}", indented(POLICY, 2));
    let wasm = |configuration: &str| {
        let configuration = indented(configuration, 6);
        format!("name: ours\ntyped_config:\n  \"@type\": {WASM}\n  config:\n    configuration:\n{configuration}")
    };
    let ecds = |configuration: &str| format!("resources:\n  -\n{}", indented(&wasm(configuration), 4));
    let kind = |kind: &str, spec: &str| {
        let spec = indented(spec, 2);
        format!("apiVersion: x/v1\nkind: {kind}\nmetadata: {{ name: n, namespace: ns }}\nspec:\n{spec}")
    };
    let plugin = kind("WasmPlugin", &format!("pluginConfig:\n{}", indented(POLICY, 2)));
    let extension = kind("TrafficExtension", &format!("wasm:\n  pluginConfig:\n{}", indented(POLICY, 4)));
    let envoy_gateway =
        kind("EnvoyExtensionPolicy", &format!("wasm:\n  - name: x\n    config:\n{}", indented(POLICY, 6)));
    let patch = format!("configPatches:\n  - patch:\n      value:\n{}", indented(&wasm(&block), 8));
    let patch = kind("EnvoyFilter", &patch);
    let list = format!("apiVersion: v1\nkind: List\nitems:\n  -\n{}", indented(&plugin, 4));
    let filters = format!("\"@type\": {MANAGER}\nhttp_filters:\n  -\n{}", indented(&wasm(&structure), 4));
    let listener =
        format!("name: http\nfilter_chains:\n  - filters:\n      - typed_config:\n{}", indented(&filters, 10));
    let lds = format!("resources:\n  -\n{}", indented(&listener, 4));
    let bootstrap = format!("static_resources:\n  listeners:\n    -\n{}", indented(&listener, 6));
    let map = |key: &str, text: &str| {
        let text = indented(text, 4);
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: n }}\ndata:\n  {key}: |\n{text}")
    };
    let typed_struct = format!(
        "resources:\n  - name: ours\n    typed_config:\n      \"@type\": type.googleapis.com/xds.type.v3.TypedStruct\n      type_url: {WASM}\n      value:\n        config:\n          configuration:\n{}",
        indented(&structure, 12)
    );
    let cases = [
        ("plain", POLICY.to_owned(), "p.yaml: gateway.trustedProxies[0]"),
        ("two documents", format!("kind: Service\napiVersion: v1\n---\n{plugin}"), "p.yaml: WasmPlugin ns/n: "),
        ("WasmPlugin", plugin.clone(), "p.yaml: WasmPlugin ns/n: "),
        ("TrafficExtension", extension, "p.yaml: TrafficExtension ns/n: "),
        ("EnvoyExtensionPolicy", envoy_gateway, "p.yaml: EnvoyExtensionPolicy ns/n: "),
        ("EnvoyFilter", patch, "p.yaml: EnvoyFilter ns/n: filter ours: "),
        ("list", list, "p.yaml: WasmPlugin ns/n: "),
        ("ECDS, block", ecds(&block), "p.yaml: filter ours: "),
        ("ECDS, deeper block", ecds(&deeper), "p.yaml: filter ours: "),
        ("ECDS, struct", ecds(&structure), "p.yaml: filter ours: "),
        ("ECDS, quoted", ecds(&quoted), "p.yaml: filter ours: "),
        ("ECDS, single quotes", ecds(&single), "p.yaml: filter ours: "),
        ("TypedStruct", typed_struct, "p.yaml: filter ours: "),
        ("LDS", lds, "p.yaml: listener http: filter ours: "),
        ("bootstrap", bootstrap.clone(), "p.yaml: listener http: filter ours: "),
        ("ConfigMap with a plugin", map("p.yaml", &plugin), "p.yaml: ConfigMap n p.yaml: WasmPlugin ns/n: "),
        ("ConfigMap with a policy", map("p.yaml", POLICY), "p.yaml: ConfigMap n p.yaml: gateway"),
        ("ConfigMap with JSON", map("p.json", &json()), "p.yaml: ConfigMap n p.json: gateway"),
    ];
    for (name, text, place) in cases {
        let (code, report) = check("p.yaml", &text);
        let errors = report["errors"].as_array().unwrap_or_else(|| panic!("{name}: {report}\n{text}"));
        let [error] = errors.as_slice() else { panic!("{name}: {report}\n{text}") };
        let at = text.find("10.0.0.x").unwrap();
        let line = text[..at].matches('\n').count() + 1;
        assert_eq!((code, error["line"].as_u64()), (1, u64::try_from(line).ok()), "{name}: {error}\n{text}");
        let path = error["path"].as_str().unwrap();
        let path = if name == "plain" { format!("p.yaml: {path}") } else { path.to_owned() };
        assert!(path.starts_with(place) && path.ends_with("gateway.trustedProxies[0]"), "{name}: {path}");
        // The other commands take it too.
        let folder = Scratch::new("yaml");
        fs::write(folder.path().join("p.yaml"), text.replace("10.0.0.x", "10.0.0.1")).unwrap();
        let ran = tool(
            folder.path(),
            &[
                "explain",
                "p.yaml",
                "--peer",
                "10.0.0.1",
                "-H",
                "x-forwarded-for: 203.0.113.7",
                "-H",
                "x-user: nick",
                "--json",
            ],
        );
        assert_eq!(ran.code, 0, "{name}: {}{}", ran.stdout, ran.stderr);
        // The mark is under the value.
        let shown = tool_reading(&["check", "-", "--ignore-environment"], text.as_bytes());
        let marked = shown.stdout.lines().skip_while(|line| !line.contains("10.0.0.x")).find(|line| line.contains('^'));
        assert!(shown.code == 1 && marked.is_some(), "{name}: {}", shown.stdout);
    }
}

#[test]
fn other_ways_of_writing_the_same_are_read() {
    let wasm = json!({"resources": [{"name": "ours", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {"configuration": {"@type": "x", "value": policy().to_string()}},
    }}]});
    let lines = POLICY.replace('\n', "\r\n");
    let marked = format!("\u{FEFF}{POLICY}");
    for (file, text) in [("p.json", format!("{wasm:#}")), ("p.yaml", lines), ("p.yaml", marked)] {
        let (code, report) = check(file, &text);
        let line = text[..text.find("10.0.0.x").unwrap()].matches('\n').count() + 1;
        let column = text[..text.find("10.0.0.x").unwrap()].rsplit('\n').next().unwrap().chars().count() + 1;
        let error = &report["errors"][0];
        assert_eq!((code, error["line"].as_u64()), (1, u64::try_from(line).ok()), "{report}");
        assert!(error["column"].as_u64().unwrap().abs_diff(u64::try_from(column).unwrap()) < 3, "{column}: {report}");
    }
    // A text that is not JSON is an error at its place, also where nothing else says that the filter is ours.
    let broken = "resources:\n  - name: x\n    typed_config:\n      \"@type\": y/envoy.extensions.filters.http.wasm.v3.Wasm\n      config:\n        configuration:\n          value: |\n            {\"gateway\": {\n              \"trustedProxies\": 1 2\n            }}\n";
    let (code, report) = check("p.yaml", broken);
    assert_eq!((code, &report["errors"][0]["line"]), (2, &json!(9)), "{report}");
}

#[test]
fn anchors_aliases_and_merge_keys_are_read() {
    let policy = "gateway:\n  trustedProxies: *list\n  auth:\n    mode: trusted-proxy\n    trustedProxy:\n      <<: *base\n      allowUsers: [nick]\nfilter: {}\n";
    let text = format!(
        "kind: WasmPlugin\napiVersion: x\nx: &list [10.0.0.1]\ny: &base {{ userHeader: x-user, allowUsers: [eva] }}\nspec:\n  pluginConfig:\n{}",
        indented(policy, 4)
    );
    let folder = Scratch::new("yaml");
    fs::write(folder.path().join("p.yml"), text).unwrap();
    let user = |user: &str| {
        let header = format!("x-user: {user}");
        tool(
            folder.path(),
            &["explain", "p.yml", "--peer", "10.0.0.1", "-H", "x-forwarded-for: 203.0.113.7", "-H", &header],
        )
        .code
    };
    assert_eq!((user("nick"), user("eva")), (0, 1));
    // Other kinds of scalars.
    let (code, report) = check(
        "p.yaml",
        "gateway: {port: 0x10, trustedProxies: [10.0.0.1], auth: {mode: !!str trusted-proxy, trustedProxy: {userHeader: 'x-user', allowUsers: [\"nick\", on]}}}\nfilter: {edge: False, mode: enforce}",
    );
    let ids: Vec<_> = report["findings"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    assert!(code == 0 && ids.contains(&"check.yaml_boolean"), "{report}");
}

#[test]
fn what_is_not_yaml_is_one_error_with_its_line() {
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            text += &format!("a{level}: &a{level} [{}]\n", alias.trim_end_matches(", "));
        }
        text
    };
    let deep = format!("a: {}", "[".repeat(100_000));
    let blocks: String = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let chain = {
        let mut text = "a0: &a0 [x]\n".to_owned();
        for level in 1..200 {
            text += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        text
    };
    let cases: Vec<(&str, &str, u64)> = vec![
        ("gateway:\n\tauth: {}", "indent with spaces", 2),
        ("gateway:\n  auth: {}\n auth: {}", "check the indentation", 3),
        ("gateway: {}\nfilter: {}\ngateway: {}", "appears twice in one object", 3),
        ("a:\n  b: [1, 2", "is not YAML", 2),
        ("a: 'x\n", "is not YAML", 1),
        ("a: {{ .Values.x }}\n", "without templates", 1),
        ("a:\n  {{- if .Values.x }}\n  b: c\n", "without templates", 2),
        ("a: *b\n", "define the anchor", 1),
        ("a: &a [*a]\n", "inside of what it stands for", 1),
        ("? [a]\n: b\n", "a list or an object as a key", 1),
        ("a: &a 1\nb:\n  <<: *a\n", "merges what is not an object", 3),
        (&bomb, "with those that aliases repeat", 6),
        (&deep, "levels of nesting", 1),
        (&blocks, "levels of nesting", 128),
        (&chain, "levels of nesting", 127),
        ("gateway: \u{0}\n", "is not YAML", 1),
        ("gateway: \u{1b}[31m\n", "is not YAML", 1),
    ];
    for (text, expected, line) in cases {
        let folder = Scratch::new("yaml");
        fs::write(folder.path().join("p.yaml"), text).unwrap();
        let ran = tool(folder.path(), &["check", "p.yaml"]);
        let start: String = text.chars().take(60).collect();
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{start}");
        assert!(ran.stderr.contains(expected), "{start}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("p.yaml:{line}:")), "{start}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("error").count(), 1, "{start}: {}", ran.stderr);
    }
}

#[test]
fn no_secret_and_no_control_character_is_shown() {
    for line in [
        "token: hunter2, and more",
        "password: |\n    hunter2\n    hunter2",
        "clientSecret:\n    - hunter2",
        "secret: \"hunter2\\\n    hunter2\"",
        "- apiKey: hunter2",
        "env: [{ name: x, value: hunter2 }]",
        "x: eyJhunter2.eyJhunter2.x",
        "\"private_key\": |\n    -----BEGIN\n    hunter2",
    ] {
        // The error is at the last line of the secret, and at the line after it.
        for bad in ["\tx: y", "  *nothing", "]"] {
            let text = format!("gateway: {{}}\nx:\n  {line} {bad}\n{bad}\n");
            let folder = Scratch::new("yaml");
            fs::write(folder.path().join("p.yaml"), &text).unwrap();
            let ran = tool(folder.path(), &["check", "p.yaml"]);
            assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{text}: {}", ran.stderr);
        }
    }
    let secret = "apiVersion: v1\nkind: Secret\nstringData:\n  anything: hunter2\n  more: [hunter2\n";
    let ran = tool_reading(&["check", "-"], secret.as_bytes());
    assert!(ran.code == 2 && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    // In a policy that is a text.
    let text = "resources:\n  - name: ours\n    typed_config:\n      \"@type\": x/envoy.extensions.filters.http.wasm.v3.Wasm\n      config:\n        configuration:\n          value: \"{\\\"gateway\\\": {\\\"auth\\\": {\\\"token\\\": \\\"hunter2\\\"}}}\"\n";
    let ran = tool_reading(&["check", "-"], text.as_bytes());
    assert!(ran.code == 1 && !ran.stdout.contains("hunter2"), "{}", ran.stdout);

    let folder = Scratch::new("yaml");
    let hostile = "\u{202e}\u{9b}\u{1b}";
    let quoted = "\\u202e\\u009b\\u001b";
    let plugin = format!(
        "apiVersion: x\nkind: WasmPlugin\nmetadata: {{ name: \"{quoted}\" }}\nspec: {{ pluginConfig: {{ gateway: {{ auth: {{}}, \"{quoted}\": 1 }} }} }}\n"
    );
    fs::write(folder.path().join(format!("{hostile}\nx.yaml")), &plugin).unwrap();
    fs::write(folder.path().join(format!("{hostile}.yaml")), "openclaw: [").unwrap();
    for arguments in [&["check", "."][..], &["check", ".", "--json"]] {
        let ran = tool(folder.path(), arguments);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, 2, "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{9b}', '\u{1b}']), "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("x.yaml")), "{shown:?}");
    }
}

/// Cuts, doubles and exchanges parts of the files that ship.
#[test]
fn no_text_makes_it_panic() {
    let files =
        ["envoy/envoy.yaml", "envoy/istio/ingress.yaml", "envoy/envoy-gateway/gateway.yaml", "envoy/filter.yaml"];
    let texts = files.map(|file| fs::read_to_string(root().join(file)).unwrap());
    let mut seed = 0x9E37_79B9_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below.max(1)
    };
    for round in 0..150 {
        let text = &texts[round % texts.len()];
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=next(4) {
            let (at, length) = (next(bytes.len()), next(40));
            let end = (at + length).min(bytes.len());
            match next(4) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let part = bytes[at..end].to_vec();
                    let to = next(bytes.len());
                    bytes.splice(to..to, part);
                }
                2 => bytes[at] = b"\t\n:-{}[]&*!|>'\"#%@`\0\xff,?~"[next(23)],
                _ => bytes.truncate(at),
            }
        }
        let run = tool_reading(&["check", "-", "--ignore-environment"], &bytes);
        assert!(
            (0..=2).contains(&run.code) && !run.stderr.contains("panicked"),
            "{}\n{:?}",
            run.stderr,
            String::from_utf8_lossy(&bytes)
        );
    }
}
