//! `check` on `stampedFilterState`, and on the patch that writes user and scopes once more before the router.

use std::fs;

use harness::envoy::Scratch;
use serde_json::{Value, json};

use crate::around::{folder, with_image};
use crate::recording::site::{OPENCLAW, tool};

const INGRESS: &str = "envoy/istio/ingress.yaml";
const SIDECAR: &str = "envoy/istio/sidecar.yaml";
const OPEN: &str = "warn check.open_without_filter";
const NOBODY: &str = "error check.stamped_state";
const UNFIT: &str = "warn check.stamped_state";
const LATER: &str = "warn check.plugin_order";
const CLOSED: &str = "info check.plugin_order";

/// What is found in a folder that is about this, and the line of each.
fn found(folder: &Scratch) -> Vec<(String, u64)> {
    let report = tool(folder.path(), &["check", ".", "--json", "--ignore-environment"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let all = ["errors", "findings"].iter().flat_map(|key| report[key].as_array().unwrap());
    let all = all.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        (format!("{} {}", text("severity"), text("id")), one["line"].as_u64().unwrap_or_default())
    });
    all.filter(|(one, _)| {
        [OPEN, NOBODY, UNFIT, LATER, CLOSED, "warn check.changed_after"].contains(&one.as_str())
            || one.ends_with("check.route_headers")
    })
    .collect()
}

fn words(found: Vec<(String, u64)>) -> Vec<String> {
    found.into_iter().map(|(word, _)| word).collect()
}

/// A text with changes: each occurs, and is replaced everywhere.
fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "has no {from}");
        text.replace(from, to)
    })
}

#[test]
fn the_patch_and_the_key_belong_together() {
    let key = ("stampedFilterState: true", "hideReasons: false");
    let off = ("stampedFilterState: true", "stampedFilterState: false");
    let unread = ("stamped_user:PLAIN", "another:PLAIN");
    let other = ("key: x-openclaw-user", "key: x-other");
    let kept = ("- remove: x-openclaw-user\n", "- remove: x-other\n");
    let kept_scopes = ("- remove: x-openclaw-scopes\n", "- remove: x-other\n");
    let unread_scopes = ("stamped_scopes:PLAIN", "another:PLAIN");
    let elsewhere = (
        "context: GATEWAY\n        listener:\n          filterChain:\n            filter: { name: envoy.filters.network.http_connection_manager, sub",
        "context: SIDECAR_OUTBOUND\n        listener:\n          filterChain:\n            filter: { name: envoy.filters.network.http_connection_manager, sub",
    );
    let renamed = ("crossSite: refuse", "upstreamUserHeader: x-another");
    for form in ["", "trafficextension/"] {
        let of = |file: &str, changes: &[(&str, &str)]| {
            let text = with_image(&file.replace("istio/", &format!("istio/{form}")));
            words(found(&folder(&[("one.yaml", changed(&text, changes))])))
        };
        for file in [INGRESS, "envoy/istio/gateway-api.yaml"] {
            let none: &[&str] = &[];
            for (changes, expected) in [
                (&[][..], none),
                (&[key], &[NOBODY]),
                (&[off], &[NOBODY]),
                (&[unread], &[UNFIT]),
                (&[unread, key], none),
                (&[elsewhere], &[UNFIT]),
                (&[other], &[UNFIT]),
                (&[kept], &[UNFIT]),
                (&[kept_scopes], &[UNFIT]),
                (&[unread_scopes], &[UNFIT]),
            ] {
                assert_eq!(of(file, changes), expected, "{form}{file} {changes:?}");
            }
        }
        // The filter then writes another header, which Envoy does not remove early either.
        assert_eq!(of(INGRESS, &[renamed]), [OPEN, UNFIT], "{form}");
        // In the sidecar nothing else closes it.
        assert_eq!(of(SIDECAR, &[]), Vec::<String>::new());
        assert_eq!(of(SIDECAR, &[key]), [NOBODY]);
        assert_eq!(of(SIDECAR, &[unread]), [OPEN, UNFIT]);
        assert_eq!(of(SIDECAR, &[("context: SIDECAR_INBOUND", "context: GATEWAY")]), [OPEN, UNFIT]);
    }
    // The line of each.
    let line_of =
        |text: &str, shown: &str| u64::try_from(text[..text.find(shown).unwrap()].matches('\n').count() + 1).unwrap();
    for (changes, shown) in [
        (off, "stampedFilterState: false"),
        (unread, "stampedFilterState: true"),
        (other, "key: x-other"),
        (kept, "key: x-openclaw-user"),
    ] {
        let text = changed(&with_image(INGRESS), &[changes]);
        let line = line_of(&text, shown);
        assert_eq!(
            found(&folder(&[("one.yaml", text)])).into_iter().map(|one| one.1).collect::<Vec<_>>(),
            [line],
            "{shown}"
        );
    }
}

#[test]
fn what_runs_between_the_filter_and_the_patch_changes_neither_user_nor_scopes() {
    let here = json!({"istio": "openclaw-ingress"});
    let beside = |changes: &[(&str, &str)], other: &Value| {
        let text = changed(&with_image(INGRESS), changes);
        words(found(&folder(&[("one.yaml", format!("{text}---\n{other}\n"))])))
    };
    let plugin = json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "TrafficExtension",
        "metadata": {"name": "other", "namespace": "openclaw-ingress"},
        "spec": {"selector": {"matchLabels": here}, "phase": "STATS", "lua": {"inlineCode": "x"}}});
    assert_eq!(beside(&[], &plugin), [CLOSED]);
    // Not where it does not fit.
    assert_eq!(beside(&[("- remove: x-openclaw-scopes\n", "- remove: x-other\n")], &plugin), [UNFIT, LATER]);
    let authn = ("  phase: AUTHZ\n", "  phase: AUTHN\n");
    assert_eq!(beside(&[authn], &json!({})), [LATER]);

    let inserts = |namespace: &str, priority: Option<i32>, operation: &str, neighbour: &str| {
        let filter = if neighbour.is_empty() { json!({}) } else { json!({"subFilter": {"name": neighbour}}) };
        let mut other = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "other", "namespace": namespace},
        "spec": {"configPatches": [{
            "applyTo": "HTTP_FILTER",
            "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": filter}}},
            "patch": {"operation": operation, "value": {"name": "lua", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}},
        }]}});
        if let Some(priority) = priority {
            other["spec"]["priority"] = json!(priority);
        }
        other
    };
    const ROUTER: &str = "envoy.filters.http.router";
    let (own, none) = ("openclaw-ingress", None);
    // Without a priority, another EnvoyFilter without one can come last.
    let equal = ("  priority: 1000\n", "");
    assert_eq!(beside(&[equal], &inserts(own, none, "INSERT_BEFORE", ROUTER)), [LATER]);
    assert_eq!(beside(&[equal], &inserts(own, Some(-1), "INSERT_BEFORE", ROUTER)), [CLOSED]);
    for (namespace, priority, operation, neighbour, expected) in [
        (own, none, "INSERT_BEFORE", ROUTER, CLOSED),
        (own, Some(999), "INSERT_BEFORE", ROUTER, CLOSED),
        // The newer one comes last, and which one that is does not show.
        (own, Some(1000), "INSERT_BEFORE", ROUTER, LATER),
        (own, Some(2000), "INSERT_BEFORE", ROUTER, LATER),
        ("istio-system", none, "INSERT_BEFORE", ROUTER, CLOSED),
        ("istio-system", Some(1000), "INSERT_BEFORE", ROUTER, CLOSED),
        ("istio-system", Some(2000), "INSERT_BEFORE", ROUTER, LATER),
        // Before the others of Istio, and so before the patch too.
        (own, Some(2000), "INSERT_BEFORE", "envoy.filters.http.cors", CLOSED),
        (own, Some(2000), "INSERT_AFTER", "istio.stats", CLOSED),
        (own, Some(2000), "INSERT_BEFORE", "openclaw.last", CLOSED),
        (own, none, "INSERT_AFTER", "openclaw.last", LATER),
        (own, none, "INSERT_AFTER", "", LATER),
        (own, none, "ADD", "", LATER),
        (own, none, "REPLACE", ROUTER, LATER),
    ] {
        let other = inserts(namespace, priority, operation, neighbour);
        assert_eq!(beside(&[], &other), [expected], "{other}");
    }
}

#[test]
fn envoys_own_configuration_is_looked_at_too() {
    let router = "                  - name: envoy.filters.http.router\n";
    let writer = json!({"name": "openclaw.last", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"request_mutations": [
            {"remove": "x-openclaw-user"},
            {"remove": "x-openclaw-scopes"},
            {"append": {"header": {"key": "x-openclaw-user", "value": "%FILTER_STATE(wasm.openclaw_trusted_proxy.stamped_user:PLAIN)%"}}},
            {"append": {"header": {"key": "x-openclaw-scopes", "value": "%FILTER_STATE(wasm.openclaw_trusted_proxy.stamped_scopes:PLAIN)%"}}},
        ]},
    }});
    let envoy = |filter: &str, has_writer: bool| {
        let folder = Scratch::new("stamped");
        fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
        fs::write(folder.path().join("filter.json"), filter).unwrap();
        let render =
            ["render", "envoy", "openclaw.json", "--filter", "filter.json", "--proxy", "10.0.0.1", "--out", "deploy"];
        tool(folder.path(), &render).with(0);
        let file = folder.path().join("deploy/envoy.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let added = format!("                  - {writer}\n{router}");
        fs::write(&file, if has_writer { text.replace(router, &added) } else { text }).unwrap();
        fs::remove_file(folder.path().join("filter.json")).unwrap();
        words(found(&folder))
    };
    let (on, off) = (r#"{"stampedFilterState": true}"#, "{}");
    assert_eq!(envoy(off, false), Vec::<String>::new());
    assert_eq!(envoy(on, true), Vec::<String>::new());
    assert_eq!(envoy(on, false), [UNFIT]);
    assert_eq!(envoy(off, true), [NOBODY]);
}

#[test]
fn the_routes_of_envoy_gateway_write_it_after_all_filters() {
    let shipped = with_image("envoy/envoy-gateway/gateway.yaml");
    let eg = |changes: &[(&str, &str)]| words(found(&folder(&[("one.yaml", changed(&shipped, changes))])));
    let unread = ("stamped_user:PLAIN", "another:PLAIN");
    let key = ("stampedFilterState: true", "hideReasons: false");
    let early = ("[x-openclaw-user, x-openclaw-scopes, x-forwarded-groups]", "[x-forwarded-groups]");
    let none: &[&str] = &[];
    for (changes, expected) in [
        (&[][..], none),
        // Without the filter, nobody has a user.
        (&[early], none),
        (&[key], &[NOBODY]),
        // It is then a header that a route writes.
        (&[unread, key], &["critical check.route_headers"; 2]),
        (&[early, unread, key], &["critical check.route_headers", "critical check.route_headers", OPEN]),
        (&[("name: x-openclaw-user, value", "name: x-other, value")], &[UNFIT, UNFIT]),
        (&[("remove: [x-openclaw-user, x-openclaw-scopes]", "remove: [x-openclaw-scopes]")], &[UNFIT, UNFIT]),
        (&[("remove: [x-openclaw-user, x-openclaw-scopes]", "remove: [x-openclaw-user]")], &[UNFIT, UNFIT]),
        (&[("crossSite: refuse", "upstreamUserHeader: x-another")], &[OPEN, UNFIT, UNFIT]),
    ] {
        let found: Vec<_> = eg(changes).into_iter().filter(|one| !one.starts_with("warn check.route")).collect();
        assert_eq!(found, expected, "{changes:?}");
    }
    // One of the routes alone.
    let (start, rest) = shipped.split_once("      filters:\n").unwrap();
    let (_, end) = rest.split_once("---\n").unwrap();
    let one = folder(&[("one.yaml", format!("{start}---\n{end}"))]);
    assert_eq!(words(found(&one)), [UNFIT]);
    // What is last in the list runs before the routes.
    let removed = "          removeBearer: true\n";
    let later = format!("{removed}    - name: later\n      config: {{}}\n");
    let (start, end) = shipped.split_once("          # What the HTTPRoutes write").unwrap();
    let without = shipped.replace(&format!("          # What the HTTPRoutes write{end}"), "");
    assert_eq!(start, without);
    let all = format!("{start}          stampedFilterState: true\n{}", later.strip_prefix(removed).unwrap());
    assert_eq!(words(found(&folder(&[("one.yaml", all)]))), [CLOSED]);
}

#[test]
fn a_waypoint_is_closed_by_an_envoy_filter_of_its_gateway() {
    let shipped = with_image("envoy/istio/waypoint.yaml");
    let found = |changes: &[(&str, &str)]| words(found(&folder(&[("one.yaml", changed(&shipped, changes))])));
    let gateway = "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }]";
    let inbound = "context: SIDECAR_INBOUND";
    assert_eq!(found(&[]), Vec::<String>::new());
    assert_eq!(found(&[(inbound, "context: ANY")]), Vec::<String>::new());
    assert_eq!(found(&[("stampedFilterState: true", "hideReasons: false")]), [NOBODY]);
    for change in [
        (inbound, "context: GATEWAY"),
        (inbound, "context: WAYPOINT"),
        (gateway, "targetRefs: [{ kind: Gateway, name: other }]"),
        // Neither of these reaches a waypoint.
        (gateway, "targetRefs: [{ kind: Service, name: openclaw-gateway }]"),
        (gateway, "workloadSelector: { labels: { gateway.networking.k8s.io/gateway-name: waypoint } }"),
    ] {
        assert_eq!(found(&[change]), [OPEN, UNFIT], "{change:?}");
    }
}
