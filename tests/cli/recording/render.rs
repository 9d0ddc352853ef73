//! What `render` prints is what the tools that read it accept, and does what the operator's configuration says.

use std::collections::BTreeSet;
use std::fs;

use harness::document::{self, blocks, page};
use harness::echo;
use harness::envoy::{self, Scratch, Source};
use harness::manifests::{self, of_kind};
use harness::vectors::told;
use harness::wire::{self, values};
use policy::config::compile;
use serde_json::{Value, json};

use super::site::{BEHIND_A_PROXY, OPENCLAW, ask_behind_a_proxy, deploy, tool, yaml};

/// A folder with the files that the cases use.
fn folder() -> Scratch {
    let folder = Scratch::new("render");
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("openclaw.json", OPENCLAW);
    put(
        "filter.json",
        r#"{"trustedProxies": ["10.0.0.1"], "hideReasons": true, "scopes": {"users": {"*": ["operator.read"]}}}"#,
    );
    put("bad.json", &OPENCLAW.replace("10.0.0.2", "10.0.0.5/8"));
    put("closed.json", &OPENCLAW.replace("x-forwarded-user", "x-openclaw-user"));
    put("odd.json", &OPENCLAW.replace("x-edge-secret", "x-edge%secret"));
    put(
        "edge.json",
        r#"{"edge": true, "assertion": {"metadata": ["envoy.filters.http.jwt_authn", "payload", "email"], "as": "identity"}}"#,
    );
    folder
}

/// The plugin configuration inside a rendered filter.yaml.
fn policy_of(filter: &Value) -> Value {
    let text = &filter["resources"][0]["typed_config"]["config"]["configuration"]["value"];
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

#[test]
fn every_rendering_for_envoy_is_valid_to_envoy_itself() {
    let folder = folder();
    // `envoy --mode validate` reads certificates.
    let tls = envoy::Example::write(folder.path(), envoy::Ports::default(), "127.0.0.1:1", OPENCLAW).unwrap();
    let cert = tls.certificate();
    let (cert, key) = (cert.to_str().unwrap(), cert.with_file_name("key.pem"));
    let with_tls = ["--cert", cert, "--key", key.to_str().unwrap()];
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("plain", vec![]),
        ("addresses", vec!["--listen", "[::]:8443", "--admin", "127.0.0.9:1", "--upstream", "gateway.internal:18789"]),
        ("proxies", vec!["--proxy", "10.0.0.1", "--proxy", "fd00::/64"]),
        ("append", vec!["--xff", "append", "--user-header", "x-user-of-ours"]),
        ("tls", with_tls.to_vec()),
        ("hsts", [&with_tls[..], &["--hsts", "31536000", "--record"]].concat()),
        ("proxy-protocol", vec!["--peer", "proxy-protocol", "--xff", "keep", "--record"]),
        ("filter-state", [&with_tls[..], &["--peer", "filter-state", "--record"]].concat()),
        ("filter", vec!["--filter", "filter.json", "--record"]),
        ("edge", vec!["--filter", "edge.json", "--record"]),
    ];
    let mut seen = BTreeSet::new();
    for (name, arguments) in cases {
        let place = ["--folder", folder.path().to_str().unwrap()];
        let command = [&["render", "envoy", "openclaw.json"], &place[..], &arguments[..]].concat();
        let printed = tool(folder.path(), &command).with(0);
        assert_eq!(printed, tool(folder.path(), &command).with(0), "{name}: twice the same");
        assert!(!printed.contains("s3cr3t"), "{name}: a secret was printed");
        assert!(
            printed.contains("from openclaw.json") && printed.contains("What remains to be done"),
            "{name}: {printed}"
        );
        let documents = yaml(&printed);
        let [bootstrap, filter] = documents.as_slice() else { panic!("{name}: two files") };
        envoy::validate(&bootstrap.to_string()).unwrap_or_else(|said| panic!("{name}: {said}\n{printed}"));
        let policy = policy_of(filter);
        compile(policy.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        let config = &filter["resources"][0]["typed_config"]["config"];
        assert_eq!(config["failure_policy"], "FAIL_RELOAD", "{name}");
        // What a case asks for is present in that case, and in no other.
        let text = bootstrap.to_string();
        let marks = [
            (name == "hsts", "max-age=31536000"),
            (["tls", "hsts", "filter-state"].contains(&name), "DownstreamTlsContext"),
            (name == "proxy-protocol", "listener.proxy_protocol"),
            // Behind a proxy, but not at the edge.
            (!["append", "edge", "filter-state"].contains(&name), "\"skip_xff_append\":true"),
            (name == "filter-state", "\"use_remote_address\":false"),
            (name == "filter-state", "on_new_connection"),
            (arguments.contains(&"--record"), "openclaw.recorded"),
            (name == "addresses", "gateway.internal"),
        ];
        for (wanted, mark) in marks {
            assert_eq!(text.contains(mark), wanted, "{name}: {mark}");
        }
        assert_eq!(policy["filter"]["crossSite"], "refuse", "{name}");
        // Only the filter writes the header that the Gateway reads, and Envoy removes it before the filter runs.
        let mut removed = BTreeSet::new();
        removed_early(bootstrap, &mut removed);
        let theirs = &policy["gateway"]["auth"]["trustedProxy"]["userHeader"];
        let (expected, proxys) = match name {
            "edge" => (&["x-forwarded-groups", "x-openclaw-scopes", "x-openclaw-user"][..], "x-openclaw-user"),
            "append" => (&["x-openclaw-user"][..], "x-user-of-ours"),
            _ => (&["x-openclaw-user"][..], "x-forwarded-user"),
        };
        assert!(removed.iter().eq(expected) && theirs == proxys, "{name}: {removed:?}, {theirs}");
        let upstream = &policy["filter"]["upstreamUserHeader"];
        assert_eq!(*upstream, if name == "edge" { Value::Null } else { json!("x-openclaw-user") }, "{name}");
        let proxies = policy["filter"]["trustedProxies"].clone();
        match name {
            "proxies" => assert_eq!(proxies, json!(["10.0.0.1", "fd00::/64"])),
            "filter" => assert_eq!(proxies, json!(["10.0.0.1"])),
            _ => assert_eq!(proxies, Value::Null),
        }
        let unnamed = !["proxies", "filter", "edge"].contains(&name);
        assert_eq!(printed.contains("name the proxies that connect to this Envoy"), unnamed, "{name}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), 10);
}

/// The headers that Envoy removes before any filter runs.
fn removed_early(value: &Value, removed: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for extension in
                members.get("early_header_mutation_extensions").and_then(Value::as_array).into_iter().flatten()
            {
                let mutations = extension["typed_config"]["mutations"].as_array().unwrap();
                removed.extend(mutations.iter().map(|one| one["remove"].as_str().unwrap().to_owned()));
            }
            members.values().for_each(|inner| removed_early(inner, removed));
        }
        Value::Array(items) => items.iter().for_each(|inner| removed_early(inner, removed)),
        _ => {}
    }
}

#[test]
fn what_is_written_into_a_folder_runs_and_decides_right() {
    let echo = echo::Echo::start().unwrap();
    let envoy = deploy(folder(), "openclaw.json", echo.address(), &[&BEHIND_A_PROXY[..], &["--record"]].concat());
    let left: Vec<_> =
        fs::read_dir(envoy.folder().join("deploy")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing else is left there: {left:?}");

    let ask = |peer: &str, headers: &[(&str, &str)]| ask_behind_a_proxy(&envoy, peer, "/x?key=s3cr3t", headers);
    const NICK: (&str, &str) = ("x-forwarded-user", "nick@example.com");
    const EDGE: (&str, &str) = ("x-edge-secret", "s3cr3t");
    let admitted = ask("10.0.0.1", &[NICK, EDGE]);
    assert_eq!(admitted.status, 200, "{admitted:?}");
    let upstream = echo::received(&admitted.json());
    assert_eq!(values(&upstream, "x-openclaw-user"), ["nick@example.com"]);
    assert_eq!(values(&upstream, "x-forwarded-user"), [""; 0]);
    assert_eq!(values(&upstream, "x-forwarded-for"), ["198.51.100.7"], "as the proxy wrote it");
    let line = envoy.line(Source::Access, |line| line.contains("admitted_user\":\"nick@example.com"));
    assert!(line.contains("\"status\":200"), "{line}");
    for (peer, headers, reason) in [
        ("10.0.0.2", vec![NICK, EDGE], "trusted_proxy_untrusted_source"),
        ("10.0.0.1", vec![NICK], "trusted_proxy_missing_header_x-edge-secret"),
        ("10.0.0.1", vec![("x-forwarded-user", "eve@example.com"), EDGE], "trusted_proxy_user_not_allowed"),
        ("10.0.0.1", vec![EDGE], "trusted_proxy_user_missing"),
    ] {
        let refused = ask(peer, &headers);
        assert_eq!(refused.json()["error"]["reason"], told(reason), "{refused:?}");
        let line = envoy.line(Source::Access, |line| line.contains(reason));
        assert!(line.contains("recorded") && !line.contains("s3cr3t"), "{line}");
    }
}

#[test]
fn the_peer_in_filter_state_is_the_connections_own_whatever_a_header_says() {
    let echo = echo::Echo::start().unwrap();
    let headers =
        [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-user", "nick@example.com"), ("x-edge-secret", "1")];
    let loopback = OPENCLAW.replace("allowUsers", "allowLoopback: true, allowUsers");
    for (config, proxy, reason) in [
        (loopback.as_str(), "127.0.0.1", Value::Null),
        (OPENCLAW, "198.51.100.7", json!("trusted_proxy_untrusted_source")),
    ] {
        let folder = folder();
        fs::write(folder.path().join("one.json"), config).unwrap();
        let envoy = deploy(folder, "one.json", echo.address(), &["--proxy", proxy, "--peer", "filter-state"]);
        let answer = wire::get(envoy.address("http"), "/", &headers).unwrap();
        assert_eq!(
            (answer.status == 200, &answer.json()["error"]["reason"]),
            (reason.is_null(), &reason),
            "{answer:?}"
        );
    }
}

#[test]
fn a_rendered_gateway_block_names_envoy_and_holds_no_secret() {
    let folder = folder();
    let read = |text: &str| -> Value { json5::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}")) };
    let printed =
        tool(folder.path(), &["render", "gateway", "openclaw.json", "--envoy", "10.0.0.2", "--envoy", "10.0.0.3"])
            .with(0);
    assert!(printed.starts_with("// Made by") && !printed.contains("s3cr3t"), "{printed}");
    assert_eq!(
        read(&printed),
        json!({"gateway": {
            "bind": "lan",
            "trustedProxies": ["10.0.0.2", "10.0.0.3"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-openclaw-user", "requiredHeaders": ["x-edge-secret"], "allowUsers": ["nick@example.com"],
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"], "basePath": "/openclaw"},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        }})
    );
    fs::write(folder.path().join("up.json"), r#"{"upstreamUserHeader": "x-user"}"#).unwrap();
    let printed =
        tool(folder.path(), &["render", "gateway", "openclaw.json", "--filter", "up.json", "--envoy", "::1"]).with(0);
    let gateway = &read(&printed)["gateway"];
    assert_eq!(gateway["bind"], "loopback");
    assert_eq!(gateway["auth"]["trustedProxy"]["allowLoopback"], true);
    assert_eq!(gateway["auth"]["trustedProxy"]["userHeader"], "x-user", "the header that the filter stamps");
}

#[test]
fn rendered_manifests_are_the_shipped_ones_with_the_operators_policy() {
    let folder = folder();
    let image = format!("registry.example.org/filter@sha256:{}", "ab".repeat(32));
    for (target, placement, file) in [
        ("istio", &["--placement", "ingress"][..], "envoy/istio/ingress.yaml"),
        ("istio", &["--placement", "gateway-api"], "envoy/istio/gateway-api.yaml"),
        ("istio", &["--placement", "sidecar"], "envoy/istio/sidecar.yaml"),
        ("envoy-gateway", &[], "envoy/envoy-gateway/gateway.yaml"),
    ] {
        let plugin = |documents: &[Value]| match target {
            "istio" => of_kind(documents, "WasmPlugin")["spec"]["pluginConfig"].clone(),
            _ => of_kind(documents, "EnvoyExtensionPolicy")["spec"]["wasm"][0]["config"].clone(),
        };
        let render = |arguments: &[&str]| {
            let printed =
                tool(folder.path(), &[&["render", target, "openclaw.json"], placement, arguments].concat()).with(0);
            assert!(!printed.contains("s3cr3t"), "{file}: a secret was printed");
            yaml(&printed)
        };
        let (bare, original) = (render(&[]), manifests::read(file));
        let (policy, shipped_policy) = (plugin(&bare), plugin(&original));
        compile(policy.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{file}: {errors}"));
        assert_eq!(policy["filter"], shipped_policy["filter"], "{file}: what the manifest says of the filter stays");
        assert_eq!(policy["gateway"]["auth"]["trustedProxy"]["requiredHeaders"], json!(["x-edge-secret"]), "{file}");
        // Everything except the policy is unchanged.
        let rest = |documents: &[Value], policy: &Value| json!(documents).to_string().replace(&policy.to_string(), "");
        assert_eq!(rest(&bare, &policy), rest(&original, &shipped_policy), "{file}");

        let own = render(&["--filter", "filter.json", "--image", &image, "--proxy", "10.1.0.0/16"]);
        let policy = plugin(&own);
        compile(policy.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{file}: {errors}"));
        assert_eq!(policy["filter"]["trustedProxies"], json!(["10.1.0.0/16"]), "{file}");
        assert_eq!(policy["filter"]["hideReasons"], true, "{file}");
        assert_eq!(policy["filter"]["edge"], Value::Null, "{file}: the operator's own settings are all there is");
        assert_eq!(
            policy["filter"]["peerAddress"],
            shipped_policy["filter"].get("peerAddress").cloned().unwrap_or(json!("connection"))
        );
        assert!(json!(own).to_string().contains(&image), "{file}");
        // The header that Envoy removes early is the one that only the filter writes.
        let names = |documents: &[Value]| {
            let mut removed = BTreeSet::new();
            documents.iter().for_each(|document| removed_early(document, &mut removed));
            let early = documents.iter().find_map(|one| one.pointer("/spec/headers/earlyRequestHeaders/remove"));
            removed.extend(
                early
                    .into_iter()
                    .flat_map(|list| list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned())),
            );
            removed.into_iter().collect::<Vec<_>>()
        };
        let at_the_edge = vec!["x-forwarded-groups", "x-openclaw-scopes", "x-openclaw-user"];
        let is_sidecar = file.contains("sidecar");
        assert_eq!(names(&bare), if is_sidecar { vec![] } else { at_the_edge }, "{file}");
        assert_eq!(names(&own), ["x-openclaw-user"], "{file}");
        let trusted = |policy: &Value| policy["gateway"]["auth"]["trustedProxy"]["userHeader"].clone();
        assert_eq!((trusted(&plugin(&bare)), trusted(&policy)), (json!("x-openclaw-user"), json!("x-forwarded-user")));
        assert_eq!(policy["filter"]["upstreamUserHeader"], "x-openclaw-user", "{file}");
        assert_eq!(policy["filter"]["crossSite"], "refuse", "{file}");
        let keeps = json!(own).to_string().contains("\"skip_xff_append\":true");
        assert_eq!(keeps, target == "istio" && !is_sidecar, "{file}: Istio's sidecars never append");
    }
    let named =
        tool(folder.path(), &["render", "istio", "openclaw.json", "--host", "claw.example.org", "--hsts", "31536000"])
            .with(0);
    assert!(named.contains("hosts: [claw.example.org]") && named.contains("max-age=31536000"), "{named}");
}

#[test]
fn a_waypoint_knows_its_peers_by_identity_alone() {
    let folder = folder();
    let render = |arguments: &[&str]| {
        tool(folder.path(), &[&["render", "istio", "openclaw.json", "--placement", "waypoint"], arguments].concat())
    };
    let config = |text: &str| of_kind(&yaml(text), "WasmPlugin")["spec"]["pluginConfig"].clone();
    let shipped = config(&page("envoy/istio/waypoint.yaml"));
    let bare = config(&render(&[]).with(0));
    assert_eq!(bare["filter"], shipped["filter"]);
    assert_eq!(bare["gateway"]["auth"]["trustedProxy"]["userHeader"], "x-openclaw-user");
    // Its own settings: no address is read, and the identity is where Istio writes it.
    let own =
        json!({"trustedPeers": ["spiffe://x/ns/a/sa/b"], "peerAddress": {"filterState": "a"}, "hideReasons": true});
    fs::write(folder.path().join("peers.json"), own.to_string()).unwrap();
    let filter = config(&render(&["--filter", "peers.json"]).with(0))["filter"].clone();
    assert_eq!(filter["peerIdentity"], json!([{"filterState": "io.istio.peer_principal"}]));
    assert_eq!((&filter["peerTrust"], &filter["peerAddress"]), (&json!("certificate"), &Value::Null));
    assert_eq!((&filter["webSocketRefusal"], &filter["hideReasons"]), (&json!("http"), &json!(true)));
    // Whoever is trusted there wrote the header.
    assert_eq!(filter["upstreamUserHeader"], Value::Null);
    for (arguments, said) in [
        (&["--proxy", "10.0.0.1"][..], "--proxy: is an address, and in a waypoint no peer has one"),
        (&["--filter", "filter.json"], "filter.trustedPeers: is missing"),
        (&["--proxy", "oauth2-proxy"], "filter.trustedPeers: is missing"),
    ] {
        let ran = render(arguments);
        assert!(ran.code == 2 && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn the_header_of_the_policy_is_what_envoy_writes_once_more() {
    let folder = folder();
    let own = json!({"upstreamUserHeader": "x-mine", "stampedFilterState": false});
    fs::write(folder.path().join("mine.json"), own.to_string()).unwrap();
    let peers = json!({"trustedPeers": ["spiffe://x/ns/a/sa/b"], "peerTrust": "certificate"});
    fs::write(folder.path().join("peers.json"), peers.to_string()).unwrap();
    for (placement, filter, header) in [
        ("ingress", "mine.json", "x-mine"),
        ("gateway-api", "mine.json", "x-mine"),
        ("sidecar", "mine.json", "x-mine"),
        ("ingress", "filter.json", "x-openclaw-user"),
        ("sidecar", "filter.json", "x-openclaw-user"),
        ("sidecar", "peers.json", "x-openclaw-user"),
        ("waypoint", "peers.json", "x-openclaw-user"),
    ] {
        let arguments = ["render", "istio", "openclaw.json", "--placement", placement, "--filter", filter];
        // In a waypoint no peer has an address.
        let proxy: &[&str] = if placement == "waypoint" { &[] } else { &["--proxy", "10.0.0.1"] };
        let documents = yaml(&tool(folder.path(), &[&arguments[..], proxy].concat()).with(0));
        let closed: Vec<_> = documents.iter().filter(|one| one["metadata"]["name"] == "openclaw-closed").collect();
        let [closed] = closed.as_slice() else { panic!("{placement}: {closed:#?}") };
        let patches = closed["spec"]["configPatches"].as_array().unwrap();
        let mutations =
            patches.last().unwrap().pointer("/patch/value/typed_config/mutations/request_mutations").unwrap();
        let state = |name: &str| format!("%FILTER_STATE(wasm.openclaw_trusted_proxy.stamped_{name}:PLAIN)%");
        let append = |key: &str, value: String| json!({"append": {"header": {"key": key, "value": value}}});
        assert_eq!(
            *mutations,
            json!([
                {"remove": header}, {"remove": "x-openclaw-scopes"},
                append(header, state("user")), append("x-openclaw-scopes", state("scopes")),
            ]),
            "{placement} {filter}"
        );
        let context = if ["sidecar", "waypoint"].contains(&placement) { "SIDECAR_INBOUND" } else { "GATEWAY" };
        assert!(patches.iter().all(|patch| patch["match"]["context"] == context), "{placement} {filter}");
        // Behind another filter, Envoy keeps what that one wrote.
        assert_eq!(patches.len(), if filter == "peers.json" { 1 } else { 2 }, "{placement} {filter}");
        let policy = &of_kind(&documents, "WasmPlugin")["spec"]["pluginConfig"];
        assert_eq!(policy["filter"]["stampedFilterState"], true, "{placement} {filter}");
    }
}

#[test]
fn wrong_input_is_reported_as_in_other_commands() {
    let folder = folder();
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["envoy", "bad.json"], 1, "gateway.trustedProxies[0]: \"10.0.0.5/8\" has host bits set"),
        (vec!["istio", "bad.json"], 1, "has host bits set"),
        (vec!["gateway", "bad.json", "--envoy", "10.0.0.2"], 1, "has host bits set"),
        (vec!["envoy", "none.json"], 2, "none.json: cannot be read"),
        (
            vec!["envoy", "openclaw.json", "--proxy", "proxy.internal"],
            1,
            "filter.trustedProxies[0]: \"proxy.internal\" is a name",
        ),
        (vec!["envoy", "odd.json"], 0, ""),
        // The Gateway's block as `render gateway` prints it: only the filter may write that header.
        (vec!["envoy", "closed.json"], 2, "is \"x-openclaw-user\", which only the filter may write"),
        (vec!["envoy", "closed.json", "--user-header", "x-forwarded-user"], 0, ""),
        (vec!["envoy", "closed.json", "--user-header", "cookie"], 1, "userHeader: \"cookie\" is, or folds like"),
        (vec!["envoy", "odd.json", "--record"], 2, "\"x-edge%secret\" cannot be recorded"),
        (vec!["envoy", "openclaw.json", "--listen", "8080"], 2, "--listen: \"8080\" is not in the form IP:PORT"),
        (
            vec!["envoy", "openclaw.json", "--upstream", "gateway"],
            2,
            "--upstream: \"gateway\" is not in the form HOST:PORT",
        ),
        (vec!["envoy", "openclaw.json", "--upstream", "a\" }:1"], 2, "is not in the form HOST:PORT"),
        (vec!["envoy", "openclaw.json", "--hsts", "300"], 2, "--cert"),
        (vec!["envoy", "openclaw.json", "--record-for", "filter.json"], 2, "--record"),
        (vec!["gateway", "openclaw.json"], 2, "--envoy"),
        (vec!["gateway", "openclaw.json", "--envoy", "envoy"], 2, "--envoy: \"envoy\" is not an IP address"),
        (vec!["istio", "openclaw.json", "--image", "filter:latest"], 2, "does not name an image by its digest"),
        (vec!["istio", "openclaw.json", "--host", "a b"], 2, "is not a host name"),
        (vec!["nomad", "openclaw.json"], 2, "nomad"),
    ];
    for (arguments, code, said) in cases {
        let ran = tool(folder.path(), &[&["render"], &arguments[..]].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("s3cr3t") && (code == 0) != ran.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_file_that_differs_is_overwritten_only_with_force() {
    let folder = folder();
    let render =
        |more: &[&str]| tool(folder.path(), &[&["render", "envoy", "openclaw.json", "--out", "deploy"], more].concat());
    render(&[]).with(0);
    render(&[]).with(0);
    let refused = render(&["--proxy", "10.0.0.1"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("deploy/envoy.yaml: already exists, and differs"), "{}", refused.stderr);
    render(&["--proxy", "10.0.0.1", "--force"]).with(0);
    let shown = tool(folder.path(), &["render", "envoy", "openclaw.json", "--json", "--proxy", "10.0.0.1"]).json(0);
    assert_eq!(shown["files"][1]["name"], "policy/filter.yaml");
    assert!(shown["todo"].as_array().unwrap().iter().all(Value::is_string));
}

#[test]
fn the_recorder_in_the_docs_is_the_one_that_is_rendered() {
    let folder = folder();
    let printed = tool(folder.path(), &["render", "envoy", "openclaw.json", "--record"]).with(0);
    let bootstrap = yaml(&printed).remove(0);
    let manager = &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let shown = blocks(&page("docs/replay.md"), "yaml");
    assert_eq!(yaml(&shown[0])[0][0], manager["http_filters"][0]);
    let log = &manager["access_log"][0]["typed_config"]["log_format"]["json_format"];
    for (key, value) in yaml(&shown[1])[0].as_object().unwrap() {
        assert_eq!(log[key], *value, "{key}");
    }
}

#[test]
fn every_command_in_the_docs_and_in_the_help_runs() {
    let folder = folder();
    fs::write(folder.path().join("stricter.json"), OPENCLAW).unwrap();
    // A log without a line of an access log is an error.
    fs::write(folder.path().join("access.log"), "{\"recorded\":null,\"status\":400}\n").unwrap();
    let mut commands = Vec::new();
    for shown in ["docs/render.md", "docs/replay.md"] {
        commands.extend(document::commands(&page(shown)).into_iter().map(|command| command.line));
    }
    for subcommand in ["render", "replay"] {
        let help = tool(folder.path(), &[subcommand, "--help"]).with(0).replace("\\\n   ", "");
        let examples =
            help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("openclaw-"));
        commands.extend(examples.map(str::to_owned));
    }
    assert!(commands.len() >= 8, "{commands:?}");
    for line in commands {
        let arguments: Vec<_> = line.split_whitespace().collect();
        assert_eq!(arguments[0], "openclaw-trusted-proxy", "{line}");
        drop(fs::remove_dir_all(folder.path().join("deploy")));
        tool(folder.path(), &arguments[1..]).with(0);
    }
}
