//! `check` on several files and on folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use harness::envoy::{Scratch, root};
use serde_json::Value;

use crate::recording::site::{OPENCLAW, tool};

const GOOD: &str = r#"{"gateway": {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": ["nick"]}}, "controlUi": {"allowedOrigins": ["https://claw.example.com"]}}, "filter": {}}"#;

fn folder(files: &[(&str, &str)]) -> Scratch {
    let folder = Scratch::new("folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn places(report: &Value) -> Vec<&str> {
    report["policies"].as_array().unwrap().iter().map(|one| one["place"].as_str().unwrap()).collect()
}

#[test]
fn a_folder_is_walked_in_order_without_hidden_folders_and_links() {
    let bad = GOOD.replace("10.0.0.1", "10.0.0.x");
    let site = folder(&[
        ("b/policy.json", GOOD),
        ("a/deep/er/p.yaml", GOOD),
        ("a/p.json5", GOOD),
        ("a/p.yml", GOOD),
        (".git/p.json", &bad),
        ("a/.hidden/p.yaml", &bad),
        ("a/p.txt", &bad),
        ("package.json", "{\"name\": \"x\"}"),
        ("values.yaml", "replicas: 2"),
        ("templates/x.yaml", "{{- if .Values.x }}\na: b\n{{ end }}"),
        ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: x }"),
    ]);
    symlink(site.path().join("a"), site.path().join("c")).unwrap();
    symlink(site.path().join("."), site.path().join("b/loop")).unwrap();
    symlink(site.path().join("b/policy.json"), site.path().join("b/link.json")).unwrap();
    let report = tool(site.path(), &["check", ".", "--json"]).json(0);
    let expected = ["./a/deep/er/p.yaml", "./a/p.json5", "./a/p.yml", "./b/link.json", "./b/policy.json"];
    assert_eq!(places(&report), expected);
    assert_eq!((&report["withoutPolicy"], &report["unreadable"]), (&4.into(), &Value::Array(Vec::new())));
    let text = tool(site.path(), &["check", "."]).with(0);
    assert!(text.contains("5 policies in 9 files, 4 files have no policy"), "{text}");
    assert_eq!(text.matches("gateway.trusted_proxy_auth").count(), 1, "{text}");
    // The worst answer counts.
    fs::write(site.path().join("b/bad.json"), bad).unwrap();
    let report = tool(site.path(), &["check", "b", "a", "--json"]).json(1);
    assert_eq!(report["errors"].as_array().unwrap().len(), 1);
    fs::write(site.path().join("b/broken.yaml"), "trustedProxies: [").unwrap();
    let report = tool(site.path(), &["check", "b", "a", "--json"]).json(2);
    assert_eq!((&report["verdict"], places(&report).len()), (&"no answer".into(), 6));
    assert_eq!(report["unreadable"][0]["file"], "b/broken.yaml");
}

#[test]
fn a_file_that_was_named_must_have_something_to_check() {
    let site = folder(&[
        ("package.json", "{\"name\": \"x\"}"),
        ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: x }\n---\napiVersion: v1\nkind: Secret"),
        ("empty.yaml", "# nothing\n"),
        ("policy.json", GOOD),
        (
            "other.yaml",
            "apiVersion: x\nkind: WasmPlugin\nmetadata: { name: x }\nspec: { url: 'oci://x/waf', pluginConfig: { rules: [] } }",
        ),
    ]);
    for (file, expected) in
        [("service.yaml", "only: Secret, Service"), ("empty.yaml", "is empty"), ("other.yaml", "only: WasmPlugin")]
    {
        let alone = tool(site.path(), &["check", file]);
        assert!(
            alone.code == 2 && alone.stderr.contains("service.yaml") == (file == "service.yaml"),
            "{}",
            alone.stderr
        );
        assert!(
            alone.stderr.contains(expected) || file == "service.yaml" && alone.stderr.contains("Service, Secret"),
            "{file}: {}",
            alone.stderr
        );
    }
    let both = tool(site.path(), &["check", "policy.json", "service.yaml"]);
    assert!(
        both.code == 2 && both.stdout.contains("1 policy in 2 files") && both.stderr.contains("Service"),
        "{}{}",
        both.stdout,
        both.stderr
    );
    // What stands around a policy is enough beside one.
    let around = "apiVersion: x\nkind: EnvoyFilter\nmetadata: { name: x }";
    fs::write(site.path().join("around.yaml"), around).unwrap();
    assert_eq!(tool(site.path(), &["check", "policy.json", "around.yaml"]).code, 0);
    // Several policies, for a command that needs one.
    fs::write(site.path().join("two.yaml"), format!("{GOOD}\n---\n{GOOD}")).unwrap();
    let ran = tool(site.path(), &["explain", "two.yaml", "--peer", "10.0.0.1"]);
    assert!(ran.code == 2 && ran.stderr.contains("has 2 policies"), "{}", ran.stderr);
}

#[test]
fn only_regular_files_are_read() {
    let site = folder(&[("sub/policy.json", GOOD)]);
    let pipe = site.path().join("sub/pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for arguments in
        [&["check", "sub"][..], &["check", "sub/pipe.yaml"], &["check", "sub/policy.json", "sub/pipe.yaml"]]
    {
        let ran = tool(site.path(), arguments);
        assert!(
            ran.code == 2 && ran.stderr.contains("pipe.yaml: is not a regular file"),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    assert!(tool(site.path(), &["check", "/dev/zero"]).stderr.contains("is not a regular file"));
    let large = site.path().join("large.yaml");
    fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    let ran = tool(site.path(), &["check", "large.yaml"]);
    assert!(ran.code == 2 && ran.stderr.contains("is larger than 64 MiB"), "{}", ran.stderr);
}

#[test]
fn the_filters_settings_count_for_every_openclaw_json() {
    let site = folder(&[("filter.json", "{\"edge\": 7}"), ("x/policy.json", GOOD)]);
    let openclaw = OPENCLAW.replace(", \"maxBodyBytes\": 5", "");
    fs::write(site.path().join("x/openclaw.json"), openclaw).unwrap();
    let report = tool(site.path(), &["check", "x", "--filter", "filter.json", "--json"]).json(1);
    assert_eq!(report["errors"][0]["path"], "x/openclaw.json: filter.edge", "{report}");
    let none = tool(site.path(), &["check", "x/policy.json", "x/policy.json", "--filter", "filter.json"]);
    assert_eq!(none.code, 2, "{}", none.stdout);
}

#[test]
fn envoys_own_files_are_found_from_its_bootstrap() {
    let bootstrap = fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let filter = fs::read_to_string(root().join("envoy/filter.yaml")).unwrap();
    let policy: String = GOOD.lines().map(|line| format!("            {line}\n")).collect();
    let site = folder(&[("d/envoy.yaml", &bootstrap), ("d/policy/filter.yaml", &format!("{filter}{policy}"))]);
    let report = tool(site.path(), &["check", "d/envoy.yaml", "--json"]).json(0);
    assert_eq!(places(&report), ["d/policy/filter.yaml: filter openclaw_trusted_proxy"]);
    let alone = folder(&[("envoy.yaml", &bootstrap)]);
    let report = tool(alone.path(), &["check", "envoy.yaml", "--json"]).json(0);
    let ids: Vec<_> = report["findings"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    // Both listeners have it, by an alias.
    assert_eq!(ids, ["check.policy_not_found"]);
}

#[test]
fn texts_in_a_configmap_are_read_as_files_are() {
    let map = |text: &str| {
        let text: String = text.lines().map(|line| format!("    {line}\n")).collect();
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: n, namespace: ns }}\ndata:\n  nginx.conf: 'a: [ openclaw'\n  openclaw.json: |\n{text}"
        )
    };
    let openclaw = OPENCLAW.replace(", \"maxBodyBytes\": 5", "");
    let site = folder(&[("map.yaml", &map(&openclaw).replace("  nginx.conf: 'a: [ openclaw'\n", ""))]);
    let report = tool(site.path(), &["check", "map.yaml", "--json"]).json(0);
    assert_eq!(report["policies"][0]["kind"], "openclaw");
    assert_eq!(places(&report), ["map.yaml: ConfigMap ns/n openclaw.json"]);
    // A variable, an include, and what is not JSON5.
    let unset = openclaw.replace("nick@example.com", "${CLAW_USER}");
    let include = openclaw.replace("mode: \"local\",", "$include: './x.json',");
    let broken = openclaw.replace("mode: \"local\",", "mode: \"local\" trustedProxies,");
    for (text, code, expected, shown) in [
        (unset, 1, "CLAW_USER, which is not set", "CLAW_USER"),
        (include, 2, "includes a file", "$include"),
        (broken, 2, "expected a comma", "openclaw.json: |"),
    ] {
        let text = map(&text);
        let line = text[..text.find(shown).unwrap()].matches('\n').count() + 1;
        let site = folder(&[("map.yaml", &text.replace("  nginx.conf: 'a: [ openclaw'\n", "  a.txt: ''\n"))]);
        let ran = tool(site.path(), &["check", "map.yaml", "--ignore-environment"]);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code == code && shown.contains(expected), "{shown}");
        let line = line + usize::from(expected == "expected a comma");
        assert!(shown.contains(&format!("--> map.yaml:{line}:")), "{line}: {shown}");
    }
}

#[test]
fn a_file_that_is_also_in_a_folder_is_read_once() {
    let site = folder(&[("x/policy.json", GOOD)]);
    let report = tool(site.path(), &["check", "x", "x/policy.json", "x/policy.json", "x", "--json"]).json(0);
    assert_eq!(places(&report), ["x/policy.json"]);
}

#[test]
fn of_many_findings_of_one_kind_the_first_are_shown() {
    let plugin = |number: usize| {
        format!(
            "apiVersion: x\nkind: WasmPlugin\nmetadata: {{ name: p{number}, namespace: x }}\nspec: {{ phase: AUTHZ, pluginConfig: {GOOD} }}\n"
        )
    };
    let plugins: Vec<_> = (0..150).map(plugin).collect();
    let site = folder(&[("p.yaml", &plugins.join("---\n"))]);
    let report = tool(site.path(), &["check", "p.yaml", "--json"]).json(0);
    let of = |id: &str| report["findings"].as_array().unwrap().iter().filter(|one| one["id"] == id).count();
    assert_eq!((places(&report).len(), of("check.plugin_order"), of("check.open_without_filter")), (150, 101, 101));
    assert!(report.to_string().contains("at least 200 more like these"), "{report}");
}
