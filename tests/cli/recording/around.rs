//! What `check` says about Envoy is what Envoy does.

use harness::echo;
use harness::wire::{self, Connection, values};
use serde_json::{Value, json};

use super::site::{BEHIND_A_PROXY, Site, manager, tool};

const USER: &str = "x-openclaw-user";

/// What the Gateway gets: the path, and the users and scopes, or the reason of a refusal.
type Seen = (String, Vec<String>, usize);

#[test]
fn envoy_does_what_check_says_about_its_settings() {
    let config = json!({"gateway": {
        "trustedProxies": ["10.0.0.2"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user", "allowUsers": ["nick"]}},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
    }});
    let host = |manager: &mut Value, key: &str, value: Value| manager["route_config"]["virtual_hosts"][0][key] = value;
    let filter_config = |value: Value| {
        let mut config = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"});
        config.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        json!({"openclaw_trusted_proxy": config})
    };
    let ours = |manager: &mut Value| {
        let filters = manager["http_filters"].as_array().unwrap();
        filters.iter().position(|filter| filter["name"] == "openclaw_trusted_proxy").unwrap()
    };
    let lua = json!({"name": "lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": format!(
            "function envoy_on_request(handle) handle:headers():replace(\"{USER}\", \"eve\") end"
        )},
    }});
    let scopes = "x-openclaw-scopes";
    let seen = |path: &str, users: &[&str], scopes: usize| -> Seen {
        (path.to_owned(), users.iter().map(|&user| user.to_owned()).collect(), scopes)
    };
    let refused = || seen("trusted_proxy_peer_unverified", &[], 0);
    let nick = || seen("/v1/models", &["nick"], 1);
    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let cases: Vec<(&str, Change<'_>, Seen, Option<&str>)> = vec![
        ("as-rendered", Box::new(|_| {}), nick(), None),
        (
            "lua",
            Box::new(|manager| {
                let at = ours(manager) + 1;
                manager["http_filters"].as_array_mut().unwrap().insert(at, lua.clone());
            }),
            seen("/v1/models", &["eve"], 1),
            Some("check.changed_after"),
        ),
        (
            "added",
            Box::new(|manager| {
                host(
                    manager,
                    "request_headers_to_add",
                    json!([{"header": {"key": USER, "value": "eve"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]),
                );
            }),
            seen("/v1/models", &["eve"], 1),
            Some("check.route_headers"),
        ),
        (
            "removed",
            Box::new(|manager| host(manager, "request_headers_to_remove", json!([scopes]))),
            seen("/v1/models", &["nick"], 0),
            Some("check.route_headers"),
        ),
        (
            "rewritten",
            Box::new(|manager| {
                manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["prefix_rewrite"] = json!("/x/");
            }),
            seen("/x/v1/models", &["nick"], 1),
            Some("check.route_rewrites"),
        ),
        (
            "hops",
            Box::new(|manager| manager["xff_num_trusted_hops"] = json!(1)),
            refused(),
            Some("check.peer_from_header"),
        ),
        (
            "not-remote",
            Box::new(|manager| manager["use_remote_address"] = json!(false)),
            refused(),
            Some("check.peer_from_header"),
        ),
        (
            "off",
            Box::new(|manager| host(manager, "typed_per_filter_config", filter_config(json!({"disabled": true})))),
            seen("/v1/models", &[], 0),
            Some("check.filter_off"),
        ),
        (
            "disabled",
            Box::new(|manager| {
                let at = ours(manager);
                manager["http_filters"][at]["disabled"] = json!(true);
            }),
            seen("/v1/models", &[], 0),
            Some("check.filter_off"),
        ),
        (
            "switched-on",
            Box::new(|manager| {
                let at = ours(manager);
                manager["http_filters"][at]["disabled"] = json!(true);
                host(manager, "typed_per_filter_config", filter_config(json!({"config": {}})));
            }),
            nick(),
            None,
        ),
    ];
    let mut site = Site::new();
    for (name, change, ..) in &cases {
        site.add(name, &config, &BEHIND_A_PROXY, |listener| change(manager(listener)));
    }
    let site = site.start();
    let report = tool(site.folder(), &["check", "envoy.json", "--json", "--ignore-environment"]).json(0);
    let all = report["findings"].as_array().unwrap();
    for (name, _, expected, id) in &cases {
        let mut connection = Connection::open(site.address(name)).unwrap();
        let headers = [
            ("host", "claw.example.com"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-user", "nick"),
            (USER, "mallory"),
        ];
        let request = wire::request("GET", "/v1/models", &headers);
        connection.send(&[wire::proxy_line("10.0.0.1"), request].concat()).unwrap();
        let response = connection.response("GET").unwrap();
        let found = if response.status == 401 {
            seen(response.json()["error"]["reason"].as_str().unwrap(), &[], 0)
        } else {
            let answer = echo::answer(&response);
            let headers = echo::received(&answer);
            (answer["path"].as_str().unwrap().to_owned(), values(&headers, USER), values(&headers, scopes).len())
        };
        assert_eq!(&found, expected, "{name}");
        let place = format!("listener {name}");
        let of_it = all.iter().filter(|one| {
            let path = one["path"].as_str().unwrap();
            path.ends_with(&place) || path.contains(&format!("{place}:"))
        });
        let ids: Vec<_> = of_it.map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(ids, id.iter().copied().collect::<Vec<_>>(), "{name}: {report}");
    }
}
