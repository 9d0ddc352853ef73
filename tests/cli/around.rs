//! `check` on what Envoy and Istio do around the filter: each bad edit of a file that ships is one finding, at its
//! line.

use std::fs;

use harness::envoy::{Scratch, root};
use serde_json::Value;

use crate::recording::site::{OPENCLAW, tool};

/// A file of the repository, as `check` gets it.
pub fn shipped(name: &str) -> String {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    match name {
        // The policy is appended, as the comment at its top says.
        "envoy/filter.yaml" => {
            let policy: String =
                read("envoy/policy.json").lines().map(|line| format!("            {line}\n")).collect();
            read(name) + &policy
        }
        _ => read(name),
    }
}

/// A shipped file with an image, so that nothing is left to be filled in.
pub fn with_image(file: &str) -> String {
    shipped(file).replace("sha256:0000000000000000000000000000000000000000000000000000000000000000", "sha256:1234")
}

/// This tool's own findings about what is around the policies: severity, id, file and line.
pub fn around(folder: &Scratch) -> Vec<(String, String, String, u64)> {
    let report = tool(folder.path(), &["check", ".", "--json", "--ignore-environment"]).json(0);
    let all = report["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = all.map(|one| {
        (text(&one["severity"]), text(&one["id"]), text(&one["file"]), one["line"].as_u64().unwrap_or_default())
    });
    let is_about_lists = |id: &str| {
        ["check.envoy_unknown", "check.networks", "check.one_list", "check.bind_loopback", "check.same_lists"]
            .contains(&id)
    };
    all.filter(|(_, id, ..)| id.starts_with("check.") && !is_about_lists(id)).collect()
}

pub fn folder(files: &[(&str, String)]) -> Scratch {
    let folder = Scratch::new("around");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Replaces the first occurrence, which must exist, and returns the line of `shown` after it.
fn edited(text: &str, from: &str, to: &str, shown: &str) -> (String, u64) {
    assert!(text.contains(from), "has no {from}");
    let text = text.replacen(from, to, 1);
    let at = text.find(shown).unwrap_or_else(|| panic!("has no {shown}"));
    let line = text[..at].matches('\n').count() + 1;
    (text, line.try_into().unwrap())
}

#[test]
fn the_files_that_ship_have_no_findings_but_what_is_to_be_filled_in() {
    let bootstrap = folder(&[
        ("envoy.yaml", shipped("envoy/envoy.yaml")),
        ("filter.yaml", shipped("envoy/filter.yaml")),
        ("stats.yaml", shipped("envoy/observability/stats-listener.yaml")),
    ]);
    assert_eq!(around(&bootstrap), []);
    let placeholder = |file: &str, from: &str| {
        let text = shipped(file);
        let line = text[..text.find(from).unwrap()].matches('\n').count() + 1;
        ("warn".to_owned(), "check.placeholder".to_owned(), "./one.yaml".to_owned(), u64::try_from(line).unwrap())
    };
    for (file, from) in [
        ("envoy/istio/ingress.yaml", "  url: oci://"),
        ("envoy/istio/gateway-api.yaml", "  url: oci://"),
        ("envoy/istio/trafficextension/ingress.yaml", "    url: oci://"),
        ("envoy/istio/trafficextension/gateway-api.yaml", "    url: oci://"),
        ("envoy/envoy-gateway/gateway.yaml", "          url: registry"),
    ] {
        let one = folder(&[("one.yaml", shipped(file))]);
        assert_eq!(around(&one), [placeholder(file, from)], "{file}");
    }
    for form in ["", "trafficextension/"] {
        let of = |name: &str| shipped(&format!("envoy/istio/{form}{name}.yaml"));
        for inner in ["sidecar", "waypoint"] {
            let found = around(&folder(&[("one.yaml", of("ingress")), ("two.yaml", of(inner))]));
            assert!(found.len() == 2 && found.iter().all(|(_, id, ..)| id == "check.placeholder"), "{found:?}");
        }
    }
    // A plugin with our module and without a policy.
    for (file, from) in
        [("envoy/istio/ingress.yaml", "  pluginConfig:\n"), ("envoy/envoy-gateway/gateway.yaml", "      config:\n")]
    {
        let text = shipped(file)
            .replace("sha256:0000000000000000000000000000000000000000000000000000000000000000", "sha256:1");
        let text = text.split_once(from).unwrap().0.to_owned();
        let found = around(&folder(&[("one.yaml", text)]));
        assert!(matches!(found.as_slice(), [(_, id, ..)] if id == "check.placeholder"), "{file}: {found:?}");
    }
    // As it ships, the filter has no policy yet.
    let file = fs::read_to_string(root().join("envoy/filter.yaml")).unwrap();
    let found = around(&folder(&[("filter.yaml", file)]));
    assert!(matches!(found.as_slice(), [(_, id, ..)] if id == "check.placeholder"), "{found:?}");
}

#[test]
fn what_render_writes_has_no_findings() {
    let login = "envoy/proxies/envoy-oauth2/policy.json";
    let digest = format!("registry.example.com/filter@sha256:{}", "ab".repeat(32));
    let cases: &[&[&str]] = &[
        &["envoy", "openclaw.json", "--proxy", "10.0.0.1"],
        &["envoy", "openclaw.json", "--proxy", "10.0.0.1", "--peer", "proxy-protocol"],
        &["envoy", "openclaw.json", "--proxy", "10.0.0.1", "--peer", "filter-state"],
        &["envoy", "openclaw.json", "--proxy", "10.0.0.1", "--xff", "append"],
        &["envoy", "openclaw.json", "--proxy", "10.0.0.1", "--record"],
        &["envoy", "openclaw.json", "--proxy", "10.0.0.1", "--cert", "c.pem", "--key", "k.pem", "--hsts", "300"],
        &["envoy", "login.json"],
        &["istio", "openclaw.json", "--proxy", "10.0.0.1", "--image", &digest],
        &["envoy-gateway", "openclaw.json", "--proxy", "10.0.0.1", "--image", &digest],
    ];
    for arguments in cases {
        let folder = Scratch::new("around");
        fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
        fs::write(folder.path().join("login.json"), shipped(login)).unwrap();
        let rendered = tool(folder.path(), &[&["render"], *arguments, &["--out", "deploy"]].concat());
        assert_eq!(rendered.code, 0, "{arguments:?}: {}", rendered.stderr);
        let report = tool(folder.path(), &["check", "deploy", "--json", "--ignore-environment"]).json(0);
        let ids: Vec<&str> =
            report["findings"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
        let mut own = ids.iter().filter(|id| id.starts_with("check."));
        assert!(
            own.all(|id| ["check.envoy_unknown", "check.networks", "check.one_list"].contains(id)),
            "{arguments:?}: {ids:?}"
        );
        assert_eq!(report["policies"].as_array().unwrap().len(), 1, "{report}");
    }
}

/// An edit of a file: what is replaced, what is found, and the line that it is found at: the first with this text.
type Edit<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

#[test]
fn each_bad_edit_of_envoys_configuration_is_one_finding_at_its_line() {
    let bootstrap = shipped("envoy/envoy.yaml");
    // One listener, so that each setting is there once.
    let start = bootstrap.find("    # The same with TLS.").unwrap();
    let end = bootstrap.find("\n  clusters:\n").unwrap();
    let bootstrap = format!("{}{}", &bootstrap[..start], &bootstrap[end..]);
    let manager = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager";
    let filter = "                  - name: openclaw_trusted_proxy\n";
    let router = "                  - name: envoy.filters.http.router\n";
    let added = |name: &str, kind: &str| {
        format!(
            "                  - name: {name}\n                    typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.{kind} }}\n{router}"
        )
    };
    let lua = added("lua", "lua.v3.Lua");
    let mutation = added("mutation", "header_mutation.v3.HeaderMutation");
    let rbac = added("rbac", "rbac.v3.RBAC");
    let off = |config: &str| {
        format!(
            "                      domains: [\"*\"]\n                      typed_per_filter_config: {{ openclaw_trusted_proxy: {config} }}\n"
        )
    };
    let domains = "                      domains: [\"*\"]\n";
    let disabled = off("{ \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }");
    let another = off("{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute }");
    let enabled = off("{ \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: null }");
    let route = "                            cluster: gateway\n";
    let with = |line: &str| format!("{route}                            {line}\n");
    let rewrites = [
        "prefix_rewrite: /x",
        "regex_rewrite: { pattern: { regex: x }, substitution: y }",
        "host_rewrite_literal: x",
        "auto_host_rewrite: true",
        "host_rewrite_header: x",
    ]
    .map(with);
    let adds = |name: &str| {
        format!("{domains}                      request_headers_to_add: [{{ header: {{ key: {name}, value: x }} }}]\n")
    };
    let removes = |name: &str| format!("{domains}                      request_headers_to_remove: [{name}]\n");
    let (user, group, other) = (adds("X-OpenClaw-User"), adds("x-forwarded-groups"), adds("x-mine"));
    let (no_user, no_scopes, no_other) = (removes("x-openclaw-user"), removes("x-openclaw-scopes"), removes("x-mine"));
    let disabled_filter = format!("{filter}                    disabled: true\n");
    let own_filters = "                  - upgrade_type: websocket\n                    filters: [{ name: x }]\n";
    let edits: Vec<Edit<'_>> = vec![
        ("use_remote_address: true", "use_remote_address: false", "warn check.peer_from_header", "use_remote", ""),
        ("                use_remote_address: true\n", "", "warn check.peer_from_header", manager, ""),
        (
            "                use_remote_address: true\n",
            "                use_remote_address: true\n                xff_num_trusted_hops: 1\n",
            "warn check.peer_from_header",
            "xff_num_trusted_hops: 1",
            "",
        ),
        (
            "                use_remote_address: true\n",
            "                use_remote_address: true\n                original_ip_detection_extensions: [{ name: x }]\n",
            "warn check.peer_from_header",
            "original_ip_detection_extensions: [",
            "",
        ),
        (
            "                normalize_path: true\n",
            "                normalize_path: false\n",
            "warn check.paths",
            "normalize_path: false",
            "",
        ),
        ("                merge_slashes: true\n", "", "warn check.paths", manager, ""),
        ("KEEP_UNCHANGED", "UNESCAPE_AND_FORWARD", "warn check.paths", "path_with_escaped_slashes_action: U", ""),
        ("KEEP_UNCHANGED", "REJECT_REQUEST", "warn check.paths", "path_with_escaped_slashes_action: R", ""),
        (router, &lua, "warn check.changed_after", "- name: lua", ""),
        (router, &mutation, "warn check.changed_after", "- name: mutation", ""),
        (router, &rbac, "", "", ""),
        (domains, &disabled, "warn check.filter_off", "typed_per_filter_config", ""),
        (domains, &another, "warn check.filter_off", "typed_per_filter_config", ""),
        (domains, &enabled, "", "", ""),
        (filter, &disabled_filter, "warn check.filter_off", "                          route:\n", ""),
        (
            "                  - upgrade_type: websocket\n",
            own_filters,
            "critical check.filter_off",
            "filters: [{ name: x",
            "",
        ),
        (route, &rewrites[0], "warn check.route_rewrites", "prefix_rewrite", ""),
        (route, &rewrites[1], "warn check.route_rewrites", "regex_rewrite", ""),
        (route, &rewrites[2], "warn check.route_rewrites", "host_rewrite_literal", ""),
        (route, &rewrites[3], "warn check.route_rewrites", "auto_host_rewrite", ""),
        (route, &rewrites[4], "warn check.route_rewrites", "host_rewrite_header", ""),
        (domains, &user, "critical check.route_headers", "request_headers_to_add", ""),
        (domains, &group, "warn check.route_headers", "request_headers_to_add", ""),
        (domains, &other, "", "", ""),
        (domains, &no_user, "warn check.route_headers", "request_headers_to_remove", ""),
        (domains, &no_scopes, "critical check.route_headers", "request_headers_to_remove", ""),
        (domains, &no_other, "", "", ""),
        ("timeout: 0s", "timeout: 30s", "warn check.route_timeout", "timeout: 30s", ""),
        ("                            timeout: 0s\n", "", "warn check.route_timeout", "cluster: gateway\n", ""),
        (
            "                  - upgrade_type: websocket\n",
            "                  - upgrade_type: CONNECT\n",
            "warn check.no_websocket",
            "upgrade_configs",
            "",
        ),
        (
            "failure_policy: FAIL_RELOAD",
            "failure_policy: FAIL_OPEN",
            "critical check.fail_open",
            "failure_policy: FAIL_OPEN",
            "filter",
        ),
        ("failure_policy: FAIL_RELOAD", "fail_open: true", "critical check.fail_open", "fail_open: true", "filter"),
        ("\"mode\": \"trusted-proxy\"", "\"mode\": \"trusted-proxy\"", "", "", "filter"),
    ];
    for (from, to, expected, shown, file) in edits {
        let file = if file.is_empty() { "envoy" } else { file };
        let (mut envoy, mut own) = (bootstrap.clone(), shipped("envoy/filter.yaml"));
        let text = if file == "envoy" { &mut envoy } else { &mut own };
        let (new, line) = edited(
            text,
            from,
            to,
            if shown.is_empty() { "static_resources" } else { shown }.trim_end_matches("static_resources"),
        );
        *text = new;
        let found = around(&folder(&[("envoy.yaml", envoy), ("filter.yaml", own)]));
        let found: Vec<_> =
            found.iter().map(|(level, id, file, line)| (format!("{level} {id}"), file.clone(), *line)).collect();
        let expected: Vec<_> = Some((expected.to_owned(), format!("./{file}.yaml"), line))
            .filter(|_| !expected.is_empty())
            .into_iter()
            .collect();
        assert_eq!(found, expected, "{from} -> {to}");
    }
}

#[test]
fn routes_in_another_file_and_filters_that_routes_switch_on_are_understood() {
    let rendered = |change: &dyn Fn(String) -> String, routes: &str| {
        let folder = Scratch::new("around");
        fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
        tool(folder.path(), &["render", "envoy", "openclaw.json", "--proxy", "10.0.0.1", "--out", "deploy"]).with(0);
        let file = folder.path().join("deploy/envoy.yaml");
        fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
        fs::write(folder.path().join("deploy/routes.yaml"), routes).unwrap();
        fs::remove_file(folder.path().join("openclaw.json")).unwrap();
        around(&folder).into_iter().map(|(level, id, file, _)| format!("{level} {id} {file}")).collect::<Vec<_>>()
    };
    let filter = "                  - name: openclaw_trusted_proxy\n";
    let domains = "                      domains: [\"*\"]\n";
    let switched_on = |text: String| {
        let on = "{ \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {} }";
        text.replace(filter, &format!("{filter}                    disabled: true\n")).replace(
            domains,
            &format!("{domains}                      typed_per_filter_config: {{ openclaw_trusted_proxy: {on} }}\n"),
        )
    };
    assert_eq!(rendered(&switched_on, ""), Vec::<String>::new());
    let discovered = |text: String| {
        let (start, rest) = text.split_once("                route_config:\n").unwrap();
        let (_, end) = rest.split_once("\n  clusters:\n").unwrap();
        format!(
            "{start}                rds: {{ route_config_name: r, config_source: {{ path_config_source: {{ path: /x/routes.yaml }} }} }}\n\n  clusters:\n{end}"
        )
    };
    let routes = |action: &str| {
        format!(
            "resources:\n  - \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n    name: r\n    virtual_hosts: [{{ name: v, domains: ['*'], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: gateway, {action} }} }}] }}]\n"
        )
    };
    assert_eq!(rendered(&discovered, &routes("timeout: 0s")), Vec::<String>::new());
    let rewrites = rendered(&discovered, &routes("timeout: 0s, prefix_rewrite: /x"));
    assert_eq!(rewrites, ["warn check.route_rewrites ./deploy/routes.yaml"]);
    // Routes to something else may do what they want.
    let other = "                        - match: { prefix: /grafana }\n                          route: { cluster: grafana, prefix_rewrite: /, timeout: 5s }\n                        - match: { prefix: / }\n";
    let beside = |text: String| text.replace("                        - match: { prefix: / }\n", other);
    assert_eq!(rendered(&beside, ""), Vec::<String>::new());
}

#[test]
fn each_bad_edit_of_a_manifest_is_one_finding_at_its_line() {
    const INGRESS: &str = "envoy/istio/ingress.yaml";
    const GATEWAY_API: &str = "envoy/istio/gateway-api.yaml";
    const EG: &str = "envoy/envoy-gateway/gateway.yaml";
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let plugin = |kind: &str, phase: &str, labels: &str| {
        format!(
            "---\nkind: {kind}\nmetadata: {{ name: other, namespace: openclaw-ingress }}\nspec: {{ {phase}, selector: {{ matchLabels: {{ {labels} }} }} }}\n"
        )
    };
    let here = "istio: openclaw-ingress";
    let plugins = [
        plugin("WasmPlugin", "phase: AUTHZ, priority: 10", here),
        plugin("WasmPlugin", "phase: AUTHN", here),
        plugin("WasmPlugin", "phase: AUTHZ", "istio: elsewhere"),
        plugin("WasmPlugin", "phase: AUTHZ, priority: -1001", here),
        plugin("TrafficExtension", "phase: AUTHZ", here),
        plugin("TrafficExtension", "phase: STATS", here),
        plugin("TrafficExtension", "priority: 10", here),
    ];
    let rewrite = "    - rewrite: { uri: / }\n      route:\n        - destination:\n            host: openclaw-gateway";
    let later = "\n    - name: later\n      config: {}";
    let mut cases: Vec<(&str, &str, String, &str, &str)> = vec![
        (
            INGRESS,
            "failStrategy: FAIL_RELOAD",
            "failStrategy: FAIL_OPEN".to_owned(),
            "critical check.fail_open",
            "failStrategy: FAIL_OPEN",
        ),
        (INGRESS, "phase: AUTHZ", "phase: AUTHN".to_owned(), "warn check.plugin_order", "phase: AUTHN"),
        (
            INGRESS,
            "    - route:\n        - destination:\n            host: openclaw-gateway",
            rewrite.to_owned(),
            "warn check.route_rewrites",
            "rewrite: { uri",
        ),
        (EG, "failOpen: false", "failOpen: true".to_owned(), "critical check.fail_open", "failOpen: true"),
        (
            EG,
            "  path:\n",
            "  clientIPDetection: { xForwardedFor: { numTrustedHops: 1 } }\n  path:\n".to_owned(),
            "warn check.peer_from_header",
            "  clientIPDetection: {",
        ),
        (
            EG,
            "        - type: RequestHeaderModifier\n",
            "        - type: URLRewrite\n        - type: RequestHeaderModifier\n".to_owned(),
            "warn check.route_rewrites",
            "type: URLRewrite",
        ),
        (
            EG,
            "          stampedFilterState: true",
            format!("          stampedFilterState: true{later}"),
            "info check.plugin_order",
            "- name: later",
        ),
        (
            INGRESS,
            "          set: { strict-transport",
            "          set: { strict-transport-security: max-age=300 }\n        request:\n          set: { x-openclaw-user: eve }\n          add: { strict-transport".to_owned(),
            "critical check.route_headers",
            "{ x-openclaw-user: eve",
        ),
        (
            INGRESS,
            "          set: { strict-transport",
            "          set: { strict-transport-security: max-age=300 }\n        request:\n          remove: [x-openclaw-scopes]\n          add: { strict-transport".to_owned(),
            "critical check.route_headers",
            "remove: [x-openclaw-scopes",
        ),
        (
            INGRESS,
            "    - route:\n        - destination:\n            host: openclaw-gateway",
            "    - timeout: 30s\n      route:\n        - destination:\n            host: openclaw-gateway".to_owned(),
            "warn check.route_timeout",
            "timeout: 30s",
        ),
        (
            INGRESS,
            "h2UpgradePolicy: DO_NOT_UPGRADE",
            "h2UpgradePolicy: UPGRADE".to_owned(),
            "warn check.no_websocket",
            "h2UpgradePolicy: UPGRADE }",
        ),
        (EG, "request: 0s", "request: 30s".to_owned(), "warn check.route_timeout", "request: 30s"),
        (
            EG,
            "        - type: RequestHeaderModifier\n",
            "        - { type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: X-Forwarded-User, value: eve }] } }\n        - type: RequestHeaderModifier\n".to_owned(),
            "warn check.route_headers",
            "name: X-Forwarded-User",
        ),
        (
            GATEWAY_API,
            "        - type: ResponseHeaderModifier",
            "        - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-openclaw-user, value: eve }] } }\n        - type: ResponseHeaderModifier".to_owned(),
            "critical check.route_headers",
            "name: x-openclaw-user, value",
        ),
        (
            INGRESS,
            "allowUsers: [nick@example.com]",
            "allowUsers: [nick@example.com, no]".to_owned(),
            "warn check.yaml_boolean",
            "no]",
        ),
    ];
    for (text, is_found) in plugins.iter().zip([false, false, false, true, true, true, true]) {
        let expected = if is_found { "info check.plugin_order" } else { "" };
        let shown = if text.contains("AUTHZ") { "priority: -1000" } else { "phase: AUTHZ" };
        cases.push((
            INGRESS,
            "      stampedFilterState: true\n",
            format!("      stampedFilterState: true\n{text}"),
            expected,
            shown,
        ));
    }
    for (file, from, to, expected, shown) in cases {
        let whole = shipped(file).replace(digest, "sha256:1234");
        let (text, line) = edited(&whole, from, &to, shown);
        let found = around(&folder(&[("one.yaml", text)]));
        let found: Vec<_> = found.iter().map(|(level, id, _, line)| (format!("{level} {id}"), *line)).collect();
        let expected: Vec<_> = Some((expected.to_owned(), line)).filter(|_| !expected.is_empty()).into_iter().collect();
        assert_eq!(found, expected, "{from} -> {to}");
    }
    // On every workload of the mesh.
    let everywhere = shipped(INGRESS)
        .replace(digest, "sha256:1234")
        .replace("namespace: openclaw-ingress", "namespace: istio-system");
    let everywhere = everywhere.replace(
        "  # No `match`: for Istio, all traffic of a gateway has the mode CLIENT. With SERVER, the filter would see none of it.\n  selector:\n    matchLabels:\n      istio: openclaw-ingress\n",
        "",
    );
    let everywhere = everywhere.replace("  workloadSelector:\n    labels:\n      istio: openclaw-ingress\n", "");
    let found = around(&folder(&[("one.yaml", everywhere)]));
    assert!(
        matches!(found.as_slice(), [(level, id, ..)] if level == "warn" && id == "check.plugin_everywhere"),
        "{found:?}"
    );
}

#[test]
fn at_the_edge_envoy_must_add_its_peer_and_verify_first() {
    let login = shipped("envoy/proxies/envoy-oauth2/policy.json");
    let jwt = "                  - name: envoy.filters.http.jwt_authn\n                    typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication }\n";
    let filter = "                  - name: openclaw_trusted_proxy\n";
    let router = "                  - name: envoy.filters.http.router\n";
    let case = |change: &dyn Fn(String) -> String| {
        let folder = Scratch::new("around");
        fs::write(folder.path().join("login.json"), &login).unwrap();
        tool(folder.path(), &["render", "envoy", "login.json", "--out", "deploy"]).with(0);
        let file = folder.path().join("deploy/envoy.yaml");
        fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
        let report = tool(folder.path(), &["check", "deploy", "--json"]).json(0);
        let all = report["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        all.filter(|id| ["check.forwarded_for", "check.changed_after", "check.peer_from_header"].contains(&id.as_str()))
            .collect::<Vec<_>>()
    };
    assert_eq!(case(&|text| text.replace(filter, &format!("{jwt}{filter}"))), Vec::<String>::new());
    assert_eq!(case(&|text| text.replace(router, &format!("{jwt}{router}"))), ["check.changed_after"]);
    let keeps = "use_remote_address: true\n                skip_xff_append: true";
    assert_eq!(case(&|text| text.replace("use_remote_address: true", keeps)), ["check.forwarded_for"]);
}
