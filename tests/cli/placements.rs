//! `check` on a bootstrap and on manifests: whether the Gateway stays closed without the filter.

use std::fs;
use std::path::Path;

use harness::envoy::{Scratch, root};
use serde_json::{Value, json};

use crate::recording::site::{OPENCLAW, tool};

const OPEN: &str = "check.open_without_filter";
const OTHERS: &str = "check.user_of_another_filter";
const UNKNOWN: &str = "check.policy_not_found";
const SHARED: &str = "check.shared_name";

/// The findings about placements in a folder: the severity, the id, and the place.
fn found(folder: &Path, arguments: &[&str]) -> Vec<(String, String, String)> {
    let report = tool(folder, &[&["check", "."], arguments, &["--json"]].concat()).json(0);
    assert_eq!(report["kind"], "deployment", "{report}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    let all = all.map(|one| (text(&one["severity"]), text(&one["id"]), text(&one["path"])));
    all.filter(|(_, id, _)| [OPEN, OTHERS, UNKNOWN, SHARED].contains(&id.as_str())).collect()
}

/// A folder with files of the repository, each with its changes: texts that must occur, and what replaces them.
fn folder(files: &[(&str, &[(&str, &str)])]) -> Scratch {
    let folder = Scratch::new("placements");
    for (file, changes) in files {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let text = changes.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{file} has no {from}");
            text.replace(from, to)
        });
        fs::write(folder.path().join(file.replace('/', "-")), text).unwrap();
    }
    folder
}

#[test]
fn manifests_without_the_early_removal_are_a_warning() {
    const INGRESS: &str = "envoy/istio/ingress.yaml";
    const SIDECAR: &str = "envoy/istio/sidecar.yaml";
    const EG: &str = "envoy/envoy-gateway/gateway.yaml";
    let closed = "[{ remove: x-openclaw-user }, { remove: x-openclaw-scopes }, { remove: x-forwarded-groups }]";
    // Then nothing writes the user once more either.
    let unread = ("stamped_user:PLAIN", "another:PLAIN");
    let early = "[x-openclaw-user, x-openclaw-scopes, x-forwarded-groups]";
    let in_capitals = [(early, "[X-OpenClaw-User]")];
    let capitals = [(EG, &in_capitals[..])];
    let removes_another = [(closed, "[{ remove: x-forwarded-user }]")];
    let written_once_more = [(INGRESS, &removes_another[..])];
    let shipped: Vec<&[(&str, &[(&str, &str)])]> = vec![
        &[(INGRESS, &[]), (SIDECAR, &[])],
        &[(INGRESS, &[])],
        &[(EG, &[])],
        // What Envoy writes once more before the router is what the filter left, and without the filter nothing.
        &written_once_more,
        // For all workloads of the namespace.
        &[(
            INGRESS,
            &[(
                "  workloadSelector:\n    labels:\n      istio: openclaw-ingress\n  configPatches:\n    - applyTo: NETWORK_FILTER",
                "  configPatches:\n    - applyTo: NETWORK_FILTER",
            )],
        )],
        // Names of headers match in any case.
        &capitals,
        // A TrafficExtension.
        &[(
            INGRESS,
            &[("kind: WasmPlugin", "kind: TrafficExtension"), ("  pluginConfig:\n", "  wasm:\n   pluginConfig:\n")],
        )],
    ];
    for files in shipped {
        assert_eq!(found(folder(files).path(), &[]), [], "{files:?}");
    }
    let open: Vec<(&str, Vec<(&str, &str)>)> = vec![
        (INGRESS, vec![(closed, "[{ remove: x-forwarded-user }]"), unread]),
        (INGRESS, vec![("operation: MERGE", "operation: ADD"), unread]),
        (
            INGRESS,
            vec![(
                "    labels:\n      istio: openclaw-ingress\n  configPatches:\n    - applyTo: NETWORK",
                "    labels:\n      istio: another\n  configPatches:\n    - applyTo: NETWORK",
            )],
        ),
        (INGRESS, vec![("userHeader: x-openclaw-user", "userHeader: x-forwarded-user")]),
        (
            INGRESS,
            vec![
                (
                    "context: GATEWAY\n        listener:\n          filterChain:\n            filter: { name: envoy.filters.network.http_connection_manager }\n      patch:\n        operation: MERGE",
                    "context: SIDECAR_OUTBOUND\n      patch:\n        operation: MERGE",
                ),
                unread,
            ],
        ),
        // For another Gateway.
        (
            INGRESS,
            vec![(
                "  workloadSelector:\n    labels:\n      istio: openclaw-ingress\n  configPatches:\n    - applyTo: NETWORK_FILTER",
                "  targetRefs: [{ kind: Gateway, name: other }]\n  configPatches:\n    - applyTo: NETWORK_FILTER",
            )],
        ),
        (EG, vec![(early, "[x-openclaw-scopes]"), unread]),
        (
            EG,
            vec![
                (
                    "  targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: openclaw }]\n  # No clientIPDetection",
                    "  targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: other }]\n  # No clientIPDetection",
                ),
                unread,
            ],
        ),
    ];
    for (file, changes) in open {
        let [(severity, id, place)] = found(folder(&[(file, &changes)]).path(), &[])
            .try_into()
            .unwrap_or_else(|all| panic!("{changes:?}: {all:?}"));
        assert_eq!((severity.as_str(), id.as_str()), ("warn", OPEN), "{changes:?}");
        assert!(place.contains(" openclaw"), "{place}");
    }
    // A sidecar alone takes what its peers send. Beside the filter that stamps it, there is nothing to say.
    let alone = found(folder(&[(SIDECAR, &[])]).path(), &[]);
    assert!(matches!(alone.as_slice(), [(severity, id, _)] if severity == "info" && id == OTHERS), "{alone:?}");
    // It keeps the header that its peer wrote, so without the patch it is open.
    let open = found(folder(&[(INGRESS, &[]), (SIDECAR, &[unread])]).path(), &[]);
    assert!(
        matches!(open.as_slice(), [(severity, id, place)] if severity == "warn" && id == OPEN && place.contains(" openclaw/")),
        "{open:?}"
    );
    // Without a name of its own, the header that the proxy sends is what the Gateway believes.
    let behind = [
        ("      edge: true\n", "      trustedProxies: [\"10.0.0.1\"]\n"),
        ("      assertion: { metadata: [envoy.filters.http.jwt_authn, payload, email], as: identity }\n", ""),
    ];
    let same = found(folder(&[(INGRESS, &behind)]).path(), &[]);
    assert!(matches!(same.as_slice(), [(_, id, _)] if id == OPEN), "{same:?}");
}

#[test]
fn every_listener_that_leads_to_the_gateway_is_looked_at() {
    let place = |arguments: &[&str], change: &dyn Fn(String) -> String| {
        let folder = Scratch::new("placements");
        fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
        let render =
            [&["render", "envoy", "openclaw.json", "--proxy", "10.0.0.1", "--out", "deploy"], arguments].concat();
        tool(folder.path(), &render).with(0);
        let file = folder.path().join("deploy/envoy.yaml");
        fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
        found(&folder.path().join("deploy"), &[])
    };
    let once = |text: String, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    };
    for peer in ["connection", "proxy-protocol", "filter-state"] {
        assert_eq!(place(&["--peer", peer], &|text| text), [], "{peer}");
    }
    let removed = "[{ remove: x-openclaw-user }]";
    let open = place(&[], &|text| once(text, removed, "[{ remove: x-other }]"));
    assert!(
        matches!(open.as_slice(), [(severity, id, place)] if severity == "warn" && id == OPEN && place.ends_with("listener http")),
        "{open:?}"
    );
    // A second listener without the filter, open or closed, or to another cluster.
    let added = |text: &str, change: &dyn Fn(String) -> String| {
        let (before, rest) = text.split_once("    - name: http\n").unwrap();
        let (http, clusters) = rest.split_once("  clusters:\n").unwrap();
        let (start, filters) = http.split_once("                  - name: openclaw_trusted_proxy\n").unwrap();
        let (_, end) = filters.split_once("                  - name: envoy.filters.http.router\n").unwrap();
        let second = change(format!("{start}                  - name: envoy.filters.http.router\n{end}"));
        format!("{before}    - name: http\n{http}    - name: added\n{second}  clusters:\n{clusters}")
    };
    assert_eq!(place(&[], &|text| added(&text, &|second| second)), []);
    let open = place(&[], &|text| added(&text, &|second| once(second, removed, "[]")));
    assert!(matches!(open.as_slice(), [(_, id, place)] if id == OPEN && place.ends_with("listener added")), "{open:?}");
    let elsewhere = |second: String| once(once(second, removed, "[]"), "cluster: gateway", "cluster: other");
    assert_eq!(place(&[], &|text| added(&text, &elsewhere)), []);

    // The bootstrap without its policy.
    let folder = folder(&[("envoy/envoy.yaml", &[]), ("envoy/istio/ingress.yaml", &[])]);
    let unknown = found(folder.path(), &[]);
    // Both listeners have it, by an alias.
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(unknown.iter().all(|(severity, id, _)| severity == "info" && id == UNKNOWN), "{unknown:?}");
}

#[test]
fn two_policies_of_one_envoy_need_two_names() {
    let wasm = |names: [&str; 3], users: &[&str]| {
        let policy = json!({"gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user", "allowUsers": users}},
        }});
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": names[0], "root_id": names[1], "vm_config": {"vm_id": names[2]},
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy.to_string()},
            },
        })
    };
    let inline = |names: [&str; 3], users: &[&str]| json!({"name": "openclaw", "typed_config": wasm(names, users)});
    let discovered = |name: &str| json!({"name": name, "config_discovery": {}});
    // The listeners `a`, `b`, and so on, of one Envoy.
    let bootstrap = |filters: &[Value]| {
        let listener = |(name, filter): (char, &Value)| {
            let manager = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "http_filters": [filter],
                "early_header_mutation_extensions": [{"typed_config": {"mutations": [{"remove": "x-user"}]}}],
            });
            json!({"name": name.to_string(), "filter_chains": [{"filters": [{"typed_config": manager}]}]})
        };
        json!({"static_resources": {"listeners": ('a'..).zip(filters).map(listener).collect::<Vec<_>>()}})
    };
    let shared = |files: &[(&str, Value)]| -> Vec<(String, String)> {
        let folder = Scratch::new("placements");
        for (name, value) in files {
            fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        let found = found(folder.path(), &[]).into_iter().filter(|(_, id, _)| id == SHARED);
        found.map(|(severity, _, place)| (severity, place.rsplit('/').next().unwrap().to_owned())).collect()
    };
    let warns = |listeners: &[&str]| -> Vec<(String, String)> {
        listeners.iter().map(|name| ("warn".to_owned(), format!("envoy.yaml: listener {name}"))).collect()
    };
    let (one, same, all) =
        (["nick"], ["proxy", "root", "vm"], |filters: &[Value]| shared(&[("envoy.yaml", bootstrap(filters))]));
    assert_eq!(all(&[inline(same, &one), inline(same, &["eva"])]), warns(&["b"]));
    assert_eq!(all(&[inline(same, &one), inline(same, &one)]), []);
    for other in [["other", "root", "vm"], ["proxy", "other", "vm"], ["proxy", "root", "other"]] {
        assert_eq!(all(&[inline(same, &one), inline(other, &["eva"])]), [], "{other:?}");
    }
    // A policy is named once, however many listeners have it.
    let three = [inline(same, &one), inline(same, &["eva"]), inline(same, &one), inline(same, &["eva"])];
    assert_eq!(all(&three), warns(&["b"]));
    let third = [inline(same, &one), inline(same, &one), inline(same, &["max"]), inline(same, &["eva"])];
    assert_eq!(all(&third), warns(&["c", "d"]));
    // Without names, all have the same.
    assert_eq!(all(&[inline(["", "", ""], &one), inline(["", "", ""], &["eva"])]), warns(&["b"]));

    // One of them comes from a file.
    let extension = |users: &[&str]| json!({"resources": [{"name": "openclaw_b", "typed_config": wasm(same, users)}]});
    let both = bootstrap(&[inline(same, &one), discovered("openclaw_b")]);
    let with_file = |users: &[&str]| shared(&[("envoy.yaml", both.clone()), ("filter.yaml", extension(users))]);
    assert_eq!(with_file(&["eva"]), warns(&["b"]));
    assert_eq!(with_file(&one), []);
    // Two Envoys may have the same names, and where two files have one extension, it is not known which one is read.
    let second =
        [("envoy.yaml", bootstrap(&[inline(same, &one)])), ("other.yaml", bootstrap(&[inline(same, &["eva"])]))];
    assert_eq!(shared(&second), []);
    let files = [("envoy.yaml", both), ("filter.yaml", extension(&["eva"])), ("more.yaml", extension(&["max"]))];
    assert_eq!(shared(&files), []);
}

#[test]
fn policies_in_manifests_are_checked_like_others() {
    let bad = folder(&[("envoy/istio/ingress.yaml", &[("mode: trusted-proxy", "mode: token")])]);
    let report = tool(bad.path(), &["check", ".", "--json"]).json(1);
    let path = report["errors"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("WasmPlugin openclaw-ingress/openclaw-trusted-proxy: gateway.auth.mode"), "{report}");
    let broken = folder(&[("envoy/istio/ingress.yaml", &[("spec:", "spec: {{ .Values }}")])]);
    let ran = tool(broken.path(), &["check", "."]);
    assert!(ran.code == 2 && ran.stderr.contains("is not YAML"), "{}", ran.stderr);
}
