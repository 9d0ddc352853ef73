//! `check --proxy NAME` and `render --proxy NAME`: what is known of an identity proxy fits good policies, finds wrong
//! ones, and fills in what is missing.

use std::collections::BTreeSet;
use std::fs;

use harness::echo::{self, Echo};
use harness::envoy::{Scratch, root};
use harness::wire::values;
use serde_json::{Value, json};

use crate::recording::site::{BEHIND_A_PROXY, ask_behind_a_proxy, deploy};
use crate::{tool, tool_reading};

/// The table itself, as the program has it.
#[path = "../../cli/src/proxies.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod table;

/// A policy that is right for each proxy: its user header, required headers and settings of the filter.
fn good(name: &str) -> Value {
    let groups = |header: &str, separator: &str, group: &str| {
        json!({"scopes": {
            "users": {"*": ["operator.read"]}, "groupsHeader": header, "groupsSeparator": separator,
            "groups": {group: ["operator.read"]},
        }})
    };
    let (user, required, filter) = match name {
        "authelia" => ("Remote-User", None, json!({})),
        "authentik" => ("x-authentik-email", Some("x-authentik-jwt"), groups("X-authentik-groups", "|", "staff")),
        "aws-alb" => ("x-amzn-oidc-identity", Some("x-amzn-oidc-data"), json!({})),
        "azure-easy-auth" => ("X-MS-CLIENT-PRINCIPAL-NAME", None, json!({})),
        "caddy" => ("remote-user", None, json!({})),
        "cloudflare-access" => ("cf-access-authenticated-user-email", Some("cf-access-jwt-assertion"), json!({})),
        "google-iap" => (
            "x-goog-authenticated-user-email",
            Some("x-goog-iap-jwt-assertion"),
            json!({"userPrefix": "accounts.google.com:"}),
        ),
        "keycloak-gatekeeper" => ("x-auth-email", None, groups("x-auth-groups", ",", "staff")),
        "mod_auth_openidc" => ("OIDC_CLAIM_email", None, groups("OIDC_CLAIM_groups", ",", "staff")),
        "oauth2-proxy" => ("x-forwarded-email", None, groups("x-forwarded-groups", ",", "staff")),
        "pomerium" => ("x-pomerium-claim-email", Some("x-pomerium-jwt-assertion"), json!({})),
        "tailscale" => ("tailscale-user-login", None, json!({})),
        "traefik" => ("x-forwarded-user", None, json!({})),
        "vouch" => ("x-vouch-user", None, json!({})),
        other => panic!("{other} has no good policy here"),
    };
    let mut policy = json!({
        "gateway": {
            "bind": "lan", "trustedProxies": ["10.0.0.2"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": user, "requiredHeaders": required.as_slice(), "allowUsers": ["nick@example.com"],
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        },
        "filter": {"trustedProxies": ["10.0.0.1"], "upstreamUserHeader": "x-openclaw-user", "crossSite": "refuse"},
    });
    policy["filter"].as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
    policy
}

fn check(policy: &Value, proxy: &str, more: &[&str]) -> (i32, Value) {
    let arguments = [&["check", "-", "--json", "--ignore-environment", "--proxy", proxy], more].concat();
    let run = tool_reading(&arguments, policy.to_string().as_bytes());
    (run.code, serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr)))
}

/// The findings that are more than notes, without the reminder: severity, id, path, remedy.
fn found(answer: &Value) -> Vec<(String, String, String, String)> {
    let all = ["errors", "findings"].into_iter().flat_map(|key| answer[key].as_array().unwrap());
    all.map(|one| ["severity", "id", "path", "remedy"].map(|key| one[key].as_str().unwrap_or_default().to_owned()))
        .filter(|[severity, id, ..]| severity != "info" && id != "gateway.trusted_proxy_auth")
        .map(|[severity, id, path, remedy]| (severity, id, path, remedy))
        .collect()
}

#[test]
fn a_good_policy_of_each_proxy_is_fine_and_what_is_rendered_for_it_is() {
    assert_eq!(table::PROXIES.len(), 14);
    for proxy in &table::PROXIES {
        let (code, answer) = check(&good(proxy.name), proxy.name, &["--strict"]);
        assert_eq!((code, found(&answer)), (0, vec![]), "{}", proxy.name);
        assert_eq!(answer["proxy"]["sources"], json!(proxy.sources), "{}", proxy.name);
        // Each of its user headers fits, and it is fine with the other proxies' only where nothing is known of names.
        for header in proxy.users.iter().filter(|header| !header.ends_with('*')) {
            let mut policy = good(proxy.name);
            policy["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!(header.to_ascii_uppercase());
            let (code, answer) = check(&policy, proxy.name, &["--strict"]);
            assert_eq!((code, found(&answer)), (0, vec![]), "{}: {header}", proxy.name);
        }
        for other in table::PROXIES.iter().filter(|other| other.name != proxy.name && !proxy.is_open) {
            let theirs = good(other.name)["gateway"]["auth"]["trustedProxy"]["userHeader"].take();
            if proxy.names_users_in(theirs.as_str().unwrap()) {
                continue;
            }
            let mut policy = good(proxy.name);
            policy["gateway"]["auth"]["trustedProxy"]["userHeader"] = theirs;
            let (_, answer) = check(&policy, proxy.name, &[]);
            let is_named = |one: &(String, String, String, String)| {
                one.1 == "check.proxy_user_header" && one.3.contains(proxy.users[0])
            };
            assert!(found(&answer).iter().any(is_named), "{} with {}: {answer}", proxy.name, other.name);
        }

        // Without a configuration.
        let arguments = ["render", "envoy", "--proxy", proxy.name, "--proxy", "10.0.0.1", "--json"];
        let run = tool(&arguments);
        assert_eq!(run.code, 0, "{}: {}", proxy.name, run.stderr);
        let rendered: Value = serde_json::from_str(&run.stdout).unwrap();
        let mut policy = policy_of(rendered["files"][1]["text"].as_str().unwrap());
        let trusted = &mut policy["gateway"]["auth"]["trustedProxy"];
        assert_eq!(trusted["userHeader"], proxy.users[0], "{}", proxy.name);
        // What it says to add.
        trusted["allowUsers"] = json!(["nick@example.com"]);
        policy["gateway"]["controlUi"] = json!({"allowedOrigins": ["https://claw.example.com"]});
        policy["gateway"]["trustedProxies"] = json!(["10.0.0.2"]);
        let (code, answer) = check(&policy, proxy.name, &["--strict"]);
        assert_eq!((code, found(&answer)), (0, vec![]), "{}: {policy}", proxy.name);
        let todo = rendered["todo"].to_string();
        if let Some(assertion) = &proxy.assertion {
            assert!(todo.contains(assertion.header) && todo.contains("jwt_authn"), "{}: {todo}", proxy.name);
        }
        // What it writes besides the user does not reach the Gateway, unless the policy requires it.
        let stripped = policy["filter"]["stripHeaders"].as_array().cloned().unwrap_or_default();
        for header in proxy.headers().filter(|header| !header.ends_with('*')) {
            let is_gone = policy::names::is_built_in(header) || stripped.contains(&json!(header));
            assert!(is_gone || header == proxy.users[0], "{}: {header}", proxy.name);
        }
    }
}

/// The policy in a rendered `filter.yaml`.
fn policy_of(filter: &str) -> Value {
    let filter = crate::recording::site::yaml(filter).remove(0);
    let text = &filter["resources"][0]["typed_config"]["config"]["configuration"]["value"];
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

#[test]
fn the_shipped_policies_fit_their_proxies() {
    let mut seen = BTreeSet::new();
    for proxy in &table::PROXIES {
        let path = root().join("envoy/proxies").join(proxy.name).join("policy.json");
        if let Ok(text) = fs::read_to_string(path) {
            let (_, answer) = check(&serde_json::from_str(&text).unwrap(), proxy.name, &[]);
            let mut wrong = found(&answer);
            wrong.retain(|(_, id, ..)| id.starts_with("check.proxy"));
            assert_eq!(wrong, [], "{}", proxy.name);
            seen.insert(proxy.name);
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn what_does_not_fit_is_found_with_what_to_write() {
    const USER: &str = "gateway.auth.trustedProxy.userHeader";
    const ALLOWED: &str = "gateway.auth.trustedProxy.allowUsers[0]";
    let user = |header: &str| vec![("/gateway/auth/trustedProxy/userHeader", json!(header))];
    let allowed = |entry: &str| vec![("/gateway/auth/trustedProxy/allowUsers", json!([entry]))];
    let required = |header: &str| vec![("/gateway/auth/trustedProxy/requiredHeaders", json!([header]))];
    let groups = |header: &str| vec![("/filter/scopes/groupsHeader", json!(header))];
    let scopes = |header: &str| {
        vec![(
            "/filter/scopes",
            json!({
                "users": {"*": ["operator.read"]}, "groupsHeader": header, "groups": {"staff": ["operator.read"]},
            }),
        )]
    };
    type Row<'a> = (&'a str, Vec<(&'a str, Value)>, &'a str, &'a str, &'a str, &'a str);
    let rows: Vec<Row<'_>> = vec![
        // Names. A proxy that can give its headers other names gets a warning.
        (
            "google-iap",
            user("x-forwarded-user"),
            "error",
            "check.proxy_user_header",
            USER,
            "write \"x-goog-authenticated-user-email\"",
        ),
        (
            "tailscale",
            user("x-webauth-user"),
            "error",
            "check.proxy_user_header",
            USER,
            "write \"tailscale-user-login\"",
        ),
        (
            "tailscale",
            user("x-openclaw-user"),
            "error",
            "check.proxy_user_header",
            USER,
            "write \"tailscale-user-login\"",
        ),
        (
            "oauth2-proxy",
            user("remote-user"),
            "warn",
            "check.proxy_user_header",
            USER,
            "unless injectRequestHeaders names it so",
        ),
        ("pomerium", user("x-email"), "warn", "check.proxy_user_header", USER, "unless jwt_claims_headers names it so"),
        // Values that are no names.
        (
            "azure-easy-auth",
            user("x-ms-client-principal"),
            "error",
            "check.proxy_encoding",
            USER,
            "write \"x-ms-client-principal-name\"",
        ),
        ("aws-alb", user("x-amzn-oidc-data"), "error", "check.proxy_encoding", USER, "write \"x-amzn-oidc-identity\""),
        (
            "traefik",
            user("x-forwarded-tls-client-cert-info"),
            "error",
            "check.proxy_encoding",
            USER,
            "write \"x-forwarded-user\"",
        ),
        (
            "cloudflare-access",
            user("cf-access-jwt-assertion"),
            "error",
            "check.proxy_encoding",
            USER,
            "write \"cf-access-authenticated-user-email\"",
        ),
        // Groups.
        (
            "authentik",
            groups("x-forwarded-groups"),
            "warn",
            "check.proxy_groups_header",
            "filter.scopes.groupsHeader",
            "write \"x-authentik-groups\"",
        ),
        (
            "cloudflare-access",
            scopes("x-forwarded-groups"),
            "error",
            "check.proxy_groups_header",
            "filter.scopes.groupsHeader",
            "remove groupsHeader and groups",
        ),
        (
            "google-iap",
            scopes("x-groups"),
            "error",
            "check.proxy_groups_header",
            "filter.scopes.groupsHeader",
            "remove groupsHeader and groups",
        ),
        (
            "authentik",
            scopes("x-authentik-groups"),
            "error",
            "check.proxy_groups_separator",
            "filter.scopes.groupsSeparator",
            "write \"|\"",
        ),
        (
            "oauth2-proxy",
            vec![("/filter/scopes/groupsSeparator", json!("|"))],
            "error",
            "check.proxy_groups_separator",
            "filter.scopes.groupsSeparator",
            "write \",\"",
        ),
        (
            "mod_auth_openidc",
            vec![("/filter/scopes/groupsSeparator", json!(";"))],
            "warn",
            "check.proxy_groups_separator",
            "filter.scopes.groupsSeparator",
            "unless OIDCClaimDelimiter is \";\"",
        ),
        (
            "vouch",
            scopes("x-vouch-idp-claims-groups"),
            "warn",
            "check.proxy_encoding",
            "filter.scopes.groups[\"staff\"]",
            "write \"\\\"staff\\\"\"",
        ),
        // Prefixes.
        (
            "google-iap",
            vec![("/filter/userPrefix", Value::Null)],
            "error",
            "check.proxy_prefix",
            "filter.userPrefix",
            "write \"accounts.google.com:\"",
        ),
        (
            "google-iap",
            vec![("/filter/userPrefix", Value::Null)],
            "warn",
            "check.proxy_prefix",
            ALLOWED,
            "set filter.userPrefix to \"accounts.google.com:\"",
        ),
        (
            "google-iap",
            vec![("/filter/userPrefix", json!("google:"))],
            "error",
            "check.proxy_prefix",
            "filter.userPrefix",
            "write \"accounts.google.com:\"",
        ),
        (
            "google-iap",
            allowed("accounts.google.com:nick@example.com"),
            "warn",
            "check.proxy_prefix",
            ALLOWED,
            "write \"nick@example.com\"",
        ),
        (
            "google-iap",
            vec![(
                "/filter/scopes",
                json!({"users": {"*": ["operator.read"], "Accounts.google.com:eve@example.com": ["operator.read"]}}),
            )],
            "warn",
            "check.proxy_prefix",
            "filter.scopes.users[\"Accounts.google.com:eve@example.com\"]",
            "write \"eve@example.com\"",
        ),
        (
            "tailscale",
            vec![("/filter/userPrefix", json!("accounts.google.com:"))],
            "error",
            "check.proxy_prefix",
            "filter.userPrefix",
            "remove it",
        ),
        // Characters beyond ASCII.
        ("authelia", allowed("jörg"), "warn", "check.proxy_encoding", ALLOWED, "write \"jÃ¶rg\""),
        (
            "tailscale",
            allowed("jörg@example.com"),
            "warn",
            "check.proxy_encoding",
            ALLOWED,
            "write \"=?utf-8?q?j=C3=B6rg@example.com?=\"",
        ),
        (
            "tailscale",
            allowed("jÃ¶rg@example.com"),
            "warn",
            "check.proxy_encoding",
            ALLOWED,
            "write \"=?utf-8?q?j=C3=B6rg@example.com?=\"",
        ),
        ("mod_auth_openidc", allowed("jÃ¶rg"), "warn", "check.proxy_encoding", ALLOWED, "write \"jörg\""),
        // Headers that a client can send as well, unless the proxy can be told to write them.
        (
            "cloudflare-access",
            required("x-edge"),
            "warn",
            "check.proxy_required_header",
            "gateway.auth.trustedProxy.requiredHeaders[0]",
            "write \"cf-access-jwt-assertion\"",
        ),
        (
            "tailscale",
            required("x-edge"),
            "warn",
            "check.proxy_required_header",
            "gateway.auth.trustedProxy.requiredHeaders[0]",
            "filter.requiredValues",
        ),
        (
            "pomerium",
            vec![
                ("/filter/edge", json!(true)),
                ("/filter/assertion", json!({"metadata": ["a", "b"], "as": "identity"})),
            ],
            "warn",
            "check.proxy_edge",
            "filter.edge",
            "leave out --proxy",
        ),
    ];
    for (proxy, changes, severity, id, path, remedy) in rows {
        let mut policy = good(proxy);
        for (pointer, value) in changes {
            let (above, key) = pointer.rsplit_once('/').unwrap();
            let above = policy.pointer_mut(above).unwrap().as_object_mut().unwrap();
            if value.is_null() { drop(above.remove(key)) } else { drop(above.insert(key.to_owned(), value)) }
        }
        let (code, answer) = check(&policy, proxy, &["--strict"]);
        let expected = |one: &&(String, String, String, String)| {
            (one.0.as_str(), one.1.as_str(), one.2.as_str()) == (severity, id, path) && one.3.contains(remedy)
        };
        assert_eq!(found(&answer).iter().filter(expected).count(), 1, "{proxy} {id} {path}: {answer:#}");
        assert_eq!(code, 1, "{proxy} {id}");
        // A finding of the filter about the same is not repeated.
        let again = |one: &(String, String, String, String)| {
            ["filter.odd_user", "filter.groups_separator"].contains(&one.1.as_str())
        };
        assert!(!found(&answer).iter().any(again), "{proxy} {id}: {answer:#}");
    }
    // What is right for one proxy is not for another.
    for (proxy, entry) in [("mod_auth_openidc", "jörg"), ("authelia", "jÃ¶rg"), ("tailscale", "=?utf-8?q?j=C3=B6rg?=")]
    {
        let mut policy = good(proxy);
        policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([entry]);
        let (code, answer) = check(&policy, proxy, &["--strict"]);
        assert_eq!((code, found(&answer)), (0, vec![]), "{proxy} {entry}");
    }
    // That a client's own groups never pass is known of some headers only.
    for (proxy, header, is_known) in [
        ("oauth2-proxy", "x-forwarded-groups", true),
        ("oauth2-proxy", "x-auth-request-groups", false),
        ("pomerium", "x-pomerium-claim-groups", false),
        ("authelia", "remote-groups", false),
        ("mod_auth_openidc", "oidc_claim_roles", true),
    ] {
        let mut policy = good(proxy);
        policy["filter"]["scopes"] = json!({
            "users": {"*": ["operator.read"]}, "groupsHeader": header, "groups": {"staff": ["operator.read"]},
        });
        let (_, answer) = check(&policy, proxy, &[]);
        let is_warned = found(&answer).iter().any(|(_, id, ..)| id == "filter.groups_header");
        assert_eq!(is_warned, !is_known, "{proxy} {header}: {answer:#}");
    }
    // A secret that is compared proves something.
    let mut policy = good("tailscale");
    policy["gateway"]["auth"]["trustedProxy"]["requiredHeaders"] = json!(["x-edge"]);
    policy["filter"]["requiredValues"] =
        json!({"X-Edge": {"sha256": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}});
    let (code, answer) = check(&policy, "tailscale", &["--strict"]);
    assert_eq!((code, found(&answer)), (0, vec![]));
}

#[test]
fn a_header_of_one_proxy_alone_is_known_without_its_name() {
    let iap = |users: Value, prefix: &[&str]| {
        let mut policy = good("google-iap");
        policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = users;
        policy["filter"]["userPrefix"] = json!(prefix.first());
        policy
    };
    let with_header = |header: &str| {
        let mut policy = good("authelia");
        policy["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!(header);
        policy
    };
    let prefix = "check.proxy_prefix";
    let cases = [
        (iap(json!(["nick@example.com"]), &[]), vec![("error", prefix), ("warn", prefix)]),
        (iap(json!(["accounts.google.com:nick@example.com"]), &[]), vec![]),
        (iap(json!(["nick@example.com"]), &["accounts.google.com:"]), vec![]),
        (
            iap(json!(["accounts.google.com:a@example.com", "b@example.com"]), &[]),
            vec![("warn", prefix), ("warn", prefix)],
        ),
        (with_header("x-ms-client-principal"), vec![("error", "check.proxy_encoding")]),
        (with_header("x-amzn-oidc-data"), vec![("error", "check.proxy_encoding")]),
        // Of more than one proxy, or of none.
        (with_header("x-forwarded-user"), vec![]),
        (with_header("remote-user"), vec![]),
        (with_header("x-user"), vec![]),
    ];
    for (policy, expected) in cases {
        let run = tool_reading(&["check", "-", "--json", "--ignore-environment"], policy.to_string().as_bytes());
        let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{policy}: {error}"));
        let found = found(&answer);
        let of_proxies: Vec<_> = found
            .iter()
            .filter(|one| one.1.starts_with("check.proxy_"))
            .map(|one| (one.0.as_str(), one.1.as_str()))
            .collect();
        assert_eq!(of_proxies, expected, "{policy}: {answer:#}");
    }
}

#[test]
fn notes_say_what_the_proxy_signs_and_what_it_lets_through() {
    for (proxy, id, part) in [
        (
            "google-iap",
            "check.proxy_assertion",
            "issuer: https://cloud.google.com/iap; keys: https://www.gstatic.com/iap/verify/public_key-jwk",
        ),
        ("cloudflare-access", "check.proxy_assertion", "https://TEAM.cloudflareaccess.com/cdn-cgi/access/certs"),
        ("aws-alb", "check.proxy_assertion", "cannot verify it"),
        ("traefik", "check.proxy_passes", "authResponseHeaders decides"),
        ("keycloak-gatekeeper", "check.proxy_passes", "need no login"),
        ("mod_auth_openidc", "check.header_with_underscores", "headers_with_underscores_action: ALLOW"),
    ] {
        let (_, answer) = check(&good(proxy), proxy, &[]);
        let notes = answer["findings"].as_array().unwrap().iter();
        let mut notes = notes.filter(|one| one["id"] == id && one["severity"] == "info");
        let text = notes.next().unwrap_or_else(|| panic!("{proxy} {id}: {answer}")).to_string();
        assert!(text.contains(part), "{proxy}: {text}");
    }
    // An assertion that is verified needs no note. The file of a Gateway behind the filter names no proxy's header.
    let mut policy = good("google-iap");
    policy["filter"]["assertion"] =
        json!({"metadata": ["envoy.filters.http.jwt_authn", "payload", "email"], "as": "match"});
    let (_, answer) = check(&policy, "google-iap", &[]);
    assert!(!answer.to_string().contains("check.proxy_assertion"), "{answer}");
    let mut gateways = json!({"gateway": good("pomerium")["gateway"].take()});
    gateways["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!("x-openclaw-user");
    let (code, answer) = check(&gateways, "pomerium", &["--strict"]);
    assert_eq!((code, found(&answer)), (0, vec![]));
    assert!(answer.to_string().contains("`render --proxy pomerium`"), "{answer}");
}

#[test]
fn a_misspelled_name_is_an_error_with_the_nearest_one() {
    for (arguments, said) in [
        (&["check", "-", "--proxy", "pomeriun"][..], "'pomerium'"),
        (&["check", "-", "--proxy", "OAuth2-Proxy"], "'oauth2-proxy'"),
        (&["render", "envoy", "--proxy", "pomeriun"], "did you mean pomerium?"),
        (&["render", "istio", "--proxy", "treafik", "--proxy", "10.0.0.1"], "did you mean traefik?"),
        (&["render", "envoy", "--proxy", "traefik"], "add --proxy IP"),
        (
            &["render", "envoy", "--proxy", "traefik", "--proxy", "caddy", "--proxy", "10.0.0.1"],
            "names both traefik and caddy",
        ),
        (&["render", "envoy"], "FILE: is missing"),
    ] {
        let run = tool_reading(arguments, b"{}");
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(said) && run.stdout.is_empty(), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn only_what_is_missing_is_filled_in() {
    let mut own = good("authentik");
    own["gateway"]["auth"]["trustedProxy"]["userHeader"] = json!("x-authentik-uid");
    own["gateway"]["auth"]["trustedProxy"]["requiredHeaders"] = json!(["x-edge"]);
    own["filter"]["removeCookies"] = json!(["a"]);
    own["filter"]["scopes"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("groupsS"));
    for target in ["envoy", "istio", "envoy-gateway"] {
        let arguments = ["render", target, "-", "--proxy", "authentik", "--proxy", "10.0.0.9", "--json"];
        let run = tool_reading(&arguments, own.to_string().as_bytes());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let rendered: Value = serde_json::from_str(&run.stdout).unwrap();
        let text = rendered["files"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
        let policy = if target == "envoy" {
            policy_of(text)
        } else {
            let documents = crate::recording::site::yaml(text);
            let find = |kind: &str| documents.iter().find(|document| document["kind"] == kind).cloned();
            find("WasmPlugin").map_or_else(
                || find("EnvoyExtensionPolicy").unwrap()["spec"]["wasm"][0]["config"].take(),
                |mut plugin| plugin["spec"]["pluginConfig"].take(),
            )
        };
        let trusted = &policy["gateway"]["auth"]["trustedProxy"];
        assert_eq!(
            (&trusted["userHeader"], &trusted["requiredHeaders"]),
            (&json!("x-authentik-uid"), &json!(["x-edge"]))
        );
        assert_eq!(policy["gateway"]["trustedProxies"], json!(["10.0.0.2"]));
        let filter = &policy["filter"];
        assert_eq!((&filter["removeCookies"], &filter["trustedProxies"]), (&json!(["a"]), &json!(["10.0.0.9"])));
        assert_eq!(filter["scopes"]["groupsSeparator"], "|");
    }
}

#[test]
fn a_user_header_with_underscores_works_as_rendered_and_no_other_spelling_does() {
    let echo = Echo::start().unwrap();
    let folder = Scratch::new("underscores");
    let mut policy = good("mod_auth_openidc");
    // Echo shows what arrives.
    policy["filter"].as_object_mut().unwrap().remove("scopes");
    fs::write(folder.path().join("policy.json"), policy.to_string()).unwrap();
    let arguments = [&BEHIND_A_PROXY[..], &["--proxy", "mod_auth_openidc"]].concat();
    let envoy = deploy(folder, "policy.json", echo.address(), &arguments);
    let deployed = envoy.folder().join("deploy");

    const OURS: (&str, &str) = ("OIDC_CLAIM_email", "nick@example.com");
    let aliases = ["oidc-claim-email", "OIDC-CLAIM_email", "oidc.claim.email", "OIDC_CLAIM-email"];
    let forged: Vec<_> = aliases.iter().map(|name| (*name, "eve@example.com")).collect();
    let others = [("OIDC_access_token", "s3cr3t"), ("X_Forwarded_User", "eve@example.com"), ("remote_user", "eve")];
    let ask = |peer: &str, headers: &[(&str, &str)]| ask_behind_a_proxy(&envoy, peer, "/x", headers);
    let answer = ask("10.0.0.1", &[&[OURS], &forged[..], &others].concat());
    assert_eq!(answer.status, 200, "{answer:?}");
    let upstream = echo::received(&answer.json());
    assert_eq!(values(&upstream, "x-openclaw-user"), ["nick@example.com"]);
    for name in aliases.iter().chain([&"oidc_claim_email"]).chain(others.iter().map(|(name, _)| name)) {
        assert_eq!(values(&upstream, &name.to_ascii_lowercase()), [""; 0], "{name}");
    }
    // A header that is no identity passes.
    let upstream = echo::received(&ask("10.0.0.1", &[OURS, ("x_other", "kept")]).json());
    assert_eq!(values(&upstream, "x_other"), ["kept"]);
    for (peer, headers, reason) in [
        ("10.0.0.1", forged.clone(), "trusted_proxy_user_missing"),
        ("10.0.0.1", vec![OURS, ("oidc_claim_email", "eve@example.com")], "trusted_proxy_user_repeated"),
        ("10.0.0.1", vec![("OIDC_CLAIM_email", "eve@example.com")], "trusted_proxy_user_not_allowed"),
        ("10.0.0.9", vec![OURS], "trusted_proxy_untrusted_source"),
        ("10.0.0.9", [&[OURS], &forged[..]].concat(), "trusted_proxy_untrusted_source"),
    ] {
        let answer = ask(peer, &headers);
        assert_eq!((answer.status, &answer.json()["error"]["reason"]), (401, &json!(reason)), "{headers:?}");
    }

    // `check` on the files: fine as rendered, and not with the shipped setting.
    let deployed = deployed.to_str().unwrap();
    let find = || {
        let run = tool(&["check", deployed, "--json", "--ignore-environment", "--proxy", "mod_auth_openidc"]);
        let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
        let all = ["errors", "findings"].into_iter().flat_map(|key| answer[key].as_array().unwrap().clone());
        let about = all.filter(|one| one["id"] == "check.header_with_underscores");
        (run.code, about.map(|one| one["problem"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(find(), (0, vec![]));
    let file = envoy.folder().join("deploy/envoy.yaml");
    let text = fs::read_to_string(&file).unwrap();
    for action in ["REJECT_REQUEST", "DROP_HEADER"] {
        let changed = text.replace("underscores_action: ALLOW", &format!("underscores_action: {action}"));
        assert_ne!(changed, text);
        fs::write(&file, changed).unwrap();
        let problem = format!(
            "has headers_with_underscores_action: {action}: no request with OIDC_CLAIM_email reaches the filter"
        );
        assert_eq!(find(), (1, vec![problem]));
    }
}

#[test]
fn envoy_gateway_lets_a_header_with_underscores_through_as_rendered() {
    let folder = Scratch::new("underscores-gateway");
    let file = folder.path().join("gateway.yaml");
    let policy = good("mod_auth_openidc").to_string();
    let run = tool_reading(&["render", "envoy-gateway", "-", "--proxy", "mod_auth_openidc"], policy.as_bytes());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let errors = |text: &str| {
        fs::write(&file, text).unwrap();
        let run = tool(&["check", file.to_str().unwrap(), "--json", "--ignore-environment"]);
        let answer: Value = serde_json::from_str(&run.stdout).unwrap();
        let errors = answer["errors"].as_array().unwrap().iter();
        errors.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(errors(&run.stdout), [""; 0]);
    let shipped = run.stdout.replace("withUnderscoresAction: Allow", "withUnderscoresAction: RejectRequest");
    assert_ne!(shipped, run.stdout);
    assert_eq!(errors(&shipped), ["check.header_with_underscores"; 2]);
}
