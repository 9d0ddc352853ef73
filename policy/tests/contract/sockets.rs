//! Open sockets: which of them stay after a change of policy, and why the others are closed.

use policy::config::compile;
use policy::headers::{Headers, serialize};
use policy::peer::socket_address;
use policy::sockets::{Handshake, MOST_BYTES, Standing};
use policy::{Identity, Mode, Peer, Policy, Request};
use serde_json::{Value, json};

/// A configuration, with changes: an object is merged, `null` removes a key, anything else replaces.
fn policy(changes: &Value) -> Policy {
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {
                "mode": "trusted-proxy",
                "trustedProxy": {"userHeader": "x-forwarded-user", "allowUsers": ["nick", "ann"]}
            },
            "controlUi": {"allowedOrigins": ["https://claw.example.com", "https://other.example.com"]}
        },
        "filter": {}
    });
    merge(&mut config, changes);
    compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{config}")).policy
}

fn merge(into: &mut Value, changes: &Value) {
    let Some(changes) = changes.as_object() else {
        *into = changes.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], change);
        }
    }
}

fn trusted_proxy(changes: Value) -> Value {
    json!({"gateway": {"auth": {"trustedProxy": changes}}})
}

fn filter(changes: Value) -> Value {
    json!({"filter": changes})
}

fn scopes(changes: Value) -> Value {
    json!({"filter": {"scopes": changes}})
}

/// A handshake of nick, with changes: an empty value removes a header.
fn handshake(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut headers = vec![
        (":method", "GET"),
        (":path", "/?token=s3cr3t"),
        (":scheme", "https"),
        (":authority", "claw.example.com"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "bearer, s3cr3t"),
        ("origin", "https://claw.example.com"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-user", "nick"),
        ("cookie", "session=s3cr3t"),
        ("authorization", "Bearer s3cr3t"),
    ];
    for (name, value) in changes {
        headers.retain(|(other, _)| other != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What Envoy knows besides the headers.
#[derive(Default, Clone, Copy)]
struct Facts {
    assertion: Option<&'static str>,
    certificate: Option<&'static str>,
    destination: Option<&'static str>,
}

fn read<'a>(policy: &Policy, facts: Facts, map: &'a [u8]) -> Request<'a> {
    let mut request = policy.read(Peer::from_connection(b"10.0.0.1:40000"), map).unwrap();
    request.assertion = facts.assertion.map(str::as_bytes);
    request.identity = facts.certificate.map(|uri| Identity::Certificate(uri.as_bytes()));
    request.destination = facts.destination.and_then(|text| socket_address(text.as_bytes()));
    request
}

/// What the old policy lets the handshake through with.
fn standing(old: &Policy, facts: Facts, map: &[u8]) -> Standing {
    let request = read(old, facts, map);
    let decision = old.decide(&request);
    let passes = decision.is_ok() || old.mode() == Mode::Report;
    assert!(passes, "it was never open: {}", decision.unwrap_err());
    old.standing(&request, &decision)
}

/// What becomes of a socket: `stays`, or the code.
fn fate(old: &Policy, new: &Policy, headers: &[(String, String)], facts: Facts) -> String {
    let map = serialize(headers);
    let standing = standing(old, facts, &map);
    let kept = Handshake::keep(old, &Headers::parse(&map).unwrap()).unwrap();
    let request = read(new, facts, kept.map());
    new.recheck(&standing, &kept, &request).map_or_else(|ended| ended.to_string(), |()| "stays".to_owned())
}

/// One socket that is open while the policy changes.
struct Case {
    what: &'static str,
    old: Value,
    new: Value,
    headers: &'static [(&'static str, &'static str)],
    fate: &'static str,
}

fn case(
    what: &'static str,
    old: Value,
    new: Value,
    headers: &'static [(&'static str, &'static str)],
    fate: &'static str,
) -> Case {
    Case { what, old, new, headers, fate }
}

const REDUCED: &str = "trusted_proxy_socket_scopes_reduced";
const CHANGED: &str = "trusted_proxy_socket_user_changed";
const UNCLEAR: &str = "trusted_proxy_socket_unclear";
const DEVICE: &[(&str, &str)] = &[("x-forwarded-user", "")];
/// SHA-256 of "abc" (FIPS 180-2, appendix B.1), and of something else.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";

fn check(cases: Vec<Case>) {
    for Case { what, old, new, headers, fate: expected } in cases {
        let (old, new) = (policy(&old), policy(&new));
        let headers = handshake(headers);
        assert_eq!(fate(&old, &new, &headers, Facts::default()), expected, "{what}");
        // In report mode, what the Gateway granted may not be known.
        if old.mode() == Mode::Enforce {
            assert_eq!(fate(&old, &old, &headers, Facts::default()), "stays", "{what}: nothing has changed");
        }
    }
}

#[test]
fn users_origins_and_peers() {
    check(vec![
        case("an edit that concerns nobody", json!({}), filter(json!({"hideReasons": true})), &[], "stays"),
        case(
            "another user is added",
            json!({}),
            trusted_proxy(json!({"allowUsers": ["nick", "ann", "bob"]})),
            &[],
            "stays",
        ),
        case("another user is removed", json!({}), trusted_proxy(json!({"allowUsers": ["nick"]})), &[], "stays"),
        case(
            "the user is removed",
            json!({}),
            trusted_proxy(json!({"allowUsers": ["ann"]})),
            &[],
            "trusted_proxy_user_not_allowed",
        ),
        case("the list becomes empty", json!({}), trusted_proxy(json!({"allowUsers": []})), &[], "stays"),
        case(
            "the list becomes that of nobody",
            json!({}),
            trusted_proxy(json!({"allowUsers": [""]})),
            &[],
            "trusted_proxy_user_not_allowed",
        ),
        case(
            "there is a list at last",
            trusted_proxy(json!({"allowUsers": []})),
            json!({}),
            &[("x-forwarded-user", "eve")],
            "trusted_proxy_user_not_allowed",
        ),
        case(
            "another origin is removed",
            json!({}),
            json!({"gateway": {"controlUi": {"allowedOrigins": ["https://claw.example.com"]}}}),
            &[],
            "stays",
        ),
        case(
            "the origin is removed",
            json!({}),
            json!({"gateway": {"controlUi": {"allowedOrigins": ["https://new.example.com"]}}}),
            &[],
            "trusted_proxy_origin_not_allowed",
        ),
        case(
            "no origin, nothing to remove",
            json!({}),
            json!({"gateway": {"controlUi": {"allowedOrigins": ["https://new.example.com"]}}}),
            &[("origin", "")],
            "stays",
        ),
        case(
            "a peer is added",
            json!({}),
            json!({"gateway": {"trustedProxies": ["10.0.0.1", "10.0.0.2"]}}),
            &[],
            "stays",
        ),
        case(
            "the peer is removed",
            json!({}),
            json!({"gateway": {"trustedProxies": ["10.0.0.2"]}}),
            &[],
            "trusted_proxy_untrusted_source",
        ),
        case(
            "the peer is removed by the override",
            json!({}),
            filter(json!({"trustedProxies": ["10.0.0.2"]})),
            &[],
            "trusted_proxy_untrusted_source",
        ),
        case(
            "the client becomes a proxy",
            json!({}),
            json!({"gateway": {"trustedProxies": ["10.0.0.1", "203.0.113.0/24"]}}),
            &[],
            "proxy_attribution_required",
        ),
    ]);
}

#[test]
fn required_headers_and_secrets() {
    let required = |names: &[&str]| trusted_proxy(json!({"requiredHeaders": names}));
    let secret = |digests: &[&str]| filter(json!({"requiredValues": {"x-edge-secret": {"sha256": digests}}}));
    let header = &[("x-edge-secret", "abc")];
    check(vec![
        case("present", json!({}), required(&["x-edge"]), &[("x-edge", "1")], "stays"),
        case(
            "present, with a value that was not kept",
            json!({}),
            required(&["Cookie", "authorization"]),
            &[],
            "stays",
        ),
        case("absent", json!({}), required(&["X-Edge"]), &[], "trusted_proxy_missing_header_X-Edge"),
        case("blank", json!({}), required(&["x-edge"]), &[("x-edge", " \t")], "trusted_proxy_missing_header_x-edge"),
        case(
            "a blank cookie",
            json!({}),
            required(&["cookie"]),
            &[("cookie", "  ")],
            "trusted_proxy_missing_header_cookie",
        ),
        case("a secret is added, and it came", json!({}), secret(&[ABC]), header, "stays"),
        case(
            "a secret is added, and another came",
            json!({}),
            secret(&[OTHER]),
            header,
            "trusted_proxy_header_value_x-edge-secret",
        ),
        case(
            "a secret is added, and none came",
            json!({}),
            secret(&[ABC]),
            &[],
            "trusted_proxy_header_value_x-edge-secret",
        ),
        case("both secrets are valid", secret(&[ABC]), secret(&[OTHER, ABC]), header, "stays"),
        case(
            "only the next one is",
            secret(&[ABC]),
            secret(&[OTHER]),
            header,
            "trusted_proxy_header_value_x-edge-secret",
        ),
        case("no secret any more", secret(&[ABC]), json!({}), header, "stays"),
    ]);
}

#[test]
fn ceilings_of_users_and_groups() {
    let users = |nick: &[&str], others: &[&str]| scopes(json!({"users": {"nick": nick, "*": others}}));
    let groups = |groups: Value| {
        let users = json!({"*": ["operator.read"]});
        scopes(json!({"users": users, "groups": groups, "groupsHeader": "x-forwarded-groups"}))
    };
    let in_groups = &[("x-forwarded-groups", "ops,dev")];
    check(vec![
        case("added", json!({}), users(&["operator.write"], &[]), &[], REDUCED),
        case("added, without a limit", json!({}), users(&["operator.admin"], &[]), &[], "stays"),
        case(
            "added, and the request had named no more",
            json!({}),
            users(&["operator.read"], &[]),
            &[("x-openclaw-scopes", "operator.read")],
            "stays",
        ),
        case(
            "added, and the request had named more",
            json!({}),
            users(&["operator.read"], &[]),
            &[("x-openclaw-scopes", "operator.read,operator.write")],
            REDUCED,
        ),
        case("removed", users(&["operator.read"], &[]), json!({}), &[], "stays"),
        case("lowered", users(&["operator.write"], &[]), users(&["operator.read"], &[]), &[], REDUCED),
        case("lowered to nothing", users(&["operator.read"], &[]), users(&[], &[]), &[], REDUCED),
        case("raised", users(&["operator.read"], &[]), users(&["operator.write"], &[]), &[], "stays"),
        case("raised to everything", users(&["operator.read"], &[]), users(&["operator.admin"], &[]), &[], "stays"),
        case(
            "lowered for others",
            users(&["operator.read"], &["operator.write"]),
            users(&["operator.read"], &[]),
            &[],
            "stays",
        ),
        case(
            "spelled otherwise",
            users(&["operator.write", "operator.read"], &[]),
            users(&["operator.write"], &[]),
            &[],
            "stays",
        ),
        case(
            "others in place of one",
            users(&["operator.read"], &[]),
            users(&["operator.approvals"], &[]),
            &[],
            REDUCED,
        ),
        case(
            "all that a scope implies, without it",
            users(&["operator.write"], &[]),
            users(&["operator.read", "operator.talk", "operator.sessions.write"], &[]),
            &[],
            REDUCED,
        ),
        case("without any scope", users(&[], &[]), users(&[], &[]), &[], "stays"),
        case(
            "the group's is removed",
            groups(json!({"ops": ["operator.write"]})),
            groups(json!({})),
            in_groups,
            REDUCED,
        ),
        case(
            "the group's is lowered",
            groups(json!({"ops": ["operator.write"]})),
            groups(json!({"ops": ["operator.read"]})),
            in_groups,
            REDUCED,
        ),
        case(
            "another group gives as much",
            groups(json!({"ops": ["operator.write"]})),
            groups(json!({"dev": ["operator.write"]})),
            in_groups,
            "stays",
        ),
        case(
            "the group's is raised",
            groups(json!({"ops": ["operator.read"]})),
            groups(json!({"ops": ["operator.write"]})),
            in_groups,
            "stays",
        ),
        case(
            "another group's is removed",
            groups(json!({"hr": ["operator.write"]})),
            groups(json!({})),
            in_groups,
            "stays",
        ),
        case(
            "another separator",
            groups(json!({"ops": ["operator.write"]})),
            scopes(
                json!({"users": {"*": ["operator.read"]}, "groups": {"ops": ["operator.write"]}, "groupsHeader": "x-forwarded-groups", "groupsSeparator": ";"}),
            ),
            in_groups,
            REDUCED,
        ),
        case(
            "another groups header, which did not come",
            groups(json!({"ops": ["operator.write"]})),
            scopes(
                json!({"users": {"*": ["operator.read"]}, "groups": {"ops": ["operator.write"]}, "groupsHeader": "x-teams"}),
            ),
            in_groups,
            REDUCED,
        ),
        case(
            "another groups header, which is JSON",
            json!({}),
            scopes(json!({"users": {"*": ["operator.admin"]}, "groups": {}, "groupsHeader": "x-teams"})),
            &[("x-teams", "[\"ops\"]")],
            "trusted_proxy_groups_unreadable",
        ),
    ]);
}

#[test]
fn another_user_header() {
    let header = |name: &str| trusted_proxy(json!({"userHeader": name}));
    let prefix = filter(json!({"userPrefix": "idp:"}));
    let anybody = |mut config: Value| {
        merge(&mut config, &trusted_proxy(json!({"allowUsers": []})));
        config
    };
    check(vec![
        case("the same one in other letters", json!({}), header("X-Forwarded-User"), &[], "stays"),
        case("both came", json!({}), header("x-auth-name"), &[("x-auth-name", "nick")], "stays"),
        case("both came, with blanks", json!({}), header("x-auth-name"), &[("x-auth-name", " nick ")], "stays"),
        case("only the old one came", json!({}), header("x-auth-name"), &[], "trusted_proxy_user_missing"),
        case("another user in the new one", json!({}), header("x-auth-name"), &[("x-auth-name", "ann")], CHANGED),
        case(
            "a stranger in the new one",
            json!({}),
            header("x-auth-name"),
            &[("x-auth-name", "eve")],
            "trusted_proxy_user_not_allowed",
        ),
        case("a prefix that is missing", json!({}), prefix.clone(), &[], "trusted_proxy_user_malformed"),
        case(
            "a prefix that was part of the user",
            anybody(json!({})),
            anybody(prefix.clone()),
            &[("x-forwarded-user", "idp:nick")],
            CHANGED,
        ),
        case(
            "no prefix any more",
            anybody(prefix.clone()),
            anybody(json!({})),
            &[("x-forwarded-user", "idp:nick")],
            CHANGED,
        ),
        case(
            "another header for the Gateway",
            json!({}),
            filter(json!({"upstreamUserHeader": "x-user"})),
            &[],
            "stays",
        ),
    ]);
}

#[test]
fn sockets_without_a_user() {
    let delegate = || filter(json!({"webSocketRefusal": "delegate"}));
    let also = |mut config: Value, changes: Value| {
        merge(&mut config, &changes);
        config
    };
    let anonymous = |paths: &[&str]| filter(json!({"anonymousPaths": paths}));
    let feed = &[(":path", "/feed"), ("x-forwarded-user", "")];
    let feed_of_nick = &[(":path", "/feed")];
    check(vec![
        case(
            "a device, as before",
            delegate(),
            also(delegate(), trusted_proxy(json!({"allowUsers": ["ann"]}))),
            DEVICE,
            "stays",
        ),
        case("devices are no longer delegated", delegate(), json!({}), DEVICE, "trusted_proxy_user_missing"),
        case(
            "devices are answered with 401",
            delegate(),
            filter(json!({"webSocketRefusal": "http"})),
            DEVICE,
            "trusted_proxy_user_missing",
        ),
        case(
            "a device's origin is removed",
            delegate(),
            also(delegate(), json!({"gateway": {"controlUi": {"allowedOrigins": ["https://new.example.com"]}}})),
            DEVICE,
            "trusted_proxy_origin_not_allowed",
        ),
        case(
            "devices are capped",
            delegate(),
            also(delegate(), scopes(json!({"withoutUser": ["operator.read"]}))),
            DEVICE,
            REDUCED,
        ),
        case(
            "the cap of devices is raised",
            also(delegate(), scopes(json!({"withoutUser": ["operator.read"]}))),
            also(delegate(), scopes(json!({"withoutUser": ["operator.write"]}))),
            DEVICE,
            "stays",
        ),
        case(
            "a required header that devices lack",
            delegate(),
            also(delegate(), trusted_proxy(json!({"requiredHeaders": ["x-edge"]}))),
            DEVICE,
            "stays",
        ),
        case(
            "a device gets a user",
            also(delegate(), trusted_proxy(json!({"allowUsers": ["ann"]}))),
            delegate(),
            &[],
            CHANGED,
        ),
        case(
            "a user is delegated",
            delegate(),
            also(delegate(), trusted_proxy(json!({"allowUsers": ["ann"]}))),
            &[],
            CHANGED,
        ),
        case("delegation does not concern users", json!({}), delegate(), &[], "stays"),
        case(
            "the path still needs no user",
            anonymous(&["ws:/feed"]),
            anonymous(&["ws:/feed", "ws:/more"]),
            feed,
            "stays",
        ),
        case("the path needs a user", anonymous(&["ws:/feed"]), json!({}), feed, "trusted_proxy_user_missing"),
        case("the path needs a user, who came along", anonymous(&["ws:/feed"]), json!({}), feed_of_nick, CHANGED),
        case("the path needs no user any more", json!({}), anonymous(&["ws:/feed"]), feed_of_nick, CHANGED),
        case("an entry for plain requests", json!({}), anonymous(&["/feed"]), feed_of_nick, "stays"),
        case(
            "the peer does not matter there",
            anonymous(&["ws:/feed"]),
            also(anonymous(&["ws:/feed"]), json!({"gateway": {"trustedProxies": ["10.9.9.9"]}})),
            feed,
            "stays",
        ),
        case("what was anonymous is delegated", anonymous(&["ws:/feed"]), delegate(), feed, "stays"),
    ]);
}

#[test]
fn own_sockets_plugins_sockets_and_releases() {
    let own = |paths: &[&str]| scopes(json!({"ownSockets": paths}));
    let plugin = &[(":path", "/term")];
    let plugin_admin = &[(":path", "/term"), ("x-openclaw-scopes", "operator.admin")];
    let release = |name: &str| filter(json!({"gatewayVersion": name}));
    let ceiling = |scope: &str| scopes(json!({"users": {"*": [scope]}}));
    check(vec![
        case("a plugin's socket, now the Gateway's own", json!({}), own(&["/term"]), plugin, "stays"),
        case("the Gateway's own, now a plugin's", own(&["/term"]), json!({}), plugin, REDUCED),
        case(
            "the Gateway's own, now a plugin's, with what was named",
            own(&["/term"]),
            json!({}),
            plugin_admin,
            "stays",
        ),
        case("another own socket", own(&["/term"]), own(&["/term", "/more"]), plugin, "stays"),
        case("less for plugins", json!({}), scopes(json!({"pluginDefault": ["operator.read"]})), plugin, REDUCED),
        case(
            "less for plugins, on the Gateway's own",
            json!({}),
            scopes(json!({"pluginDefault": ["operator.read"]})),
            &[],
            "stays",
        ),
        case("as much for plugins", scopes(json!({"pluginDefault": ["operator.read"]})), json!({}), plugin, "stays"),
        case("a grant under a ceiling of less", json!({}), ceiling("operator.read"), plugin, REDUCED),
        case("a grant under a ceiling of as much", json!({}), ceiling("operator.write"), plugin, "stays"),
        case("a grant under a ceiling of more", json!({}), ceiling("operator.admin"), plugin, "stays"),
        case("a grant that was named, under a ceiling", json!({}), ceiling("operator.write"), plugin_admin, REDUCED),
        case("another release that decides alike", json!({}), release("2026.9.5"), &[], "stays"),
        case(
            "a release that does not know a scope",
            json!({}),
            release("2026.9.5"),
            &[("x-openclaw-scopes", "operator.sessions.read")],
            REDUCED,
        ),
        case(
            "a release that knows it under another name",
            json!({}),
            release("2026.9.5"),
            &[("x-openclaw-scopes", "operator.write")],
            "stays",
        ),
        case(
            "a release with fewer sockets of its own",
            json!({}),
            release("2026.7.1"),
            &[(":path", "/desktop/observe")],
            REDUCED,
        ),
        case("a release with more of them", release("2026.7.1"), json!({}), &[(":path", "/desktop/observe")], "stays"),
    ]);
}

#[test]
fn report_mode_and_back() {
    let report = || filter(json!({"mode": "report"}));
    let also = |mut config: Value, changes: Value| {
        merge(&mut config, &changes);
        config
    };
    let removed = || trusted_proxy(json!({"allowUsers": ["ann"]}));
    let ceiling = || scopes(json!({"users": {"*": ["operator.write"]}}));
    let scrubbed = &[("remote-user", "ann")];
    check(vec![
        case("nothing was to be changed", report(), json!({}), &[], "stays"),
        case("it was to be refused", also(report(), removed()), removed(), &[], "trusted_proxy_user_not_allowed"),
        case("it was to be refused, and would not be now", also(report(), removed()), json!({}), &[], CHANGED),
        case("a header was to be removed", report(), json!({}), scrubbed, "stays"),
        case("scopes were to be stamped", also(report(), ceiling()), ceiling(), &[], REDUCED),
        case(
            "the user has blanks, which the Gateway trims",
            report(),
            json!({}),
            &[("x-forwarded-user", " nick ")],
            "stays",
        ),
        case(
            "the Gateway got the user's prefix",
            also(report(), filter(json!({"userPrefix": "idp:"}))),
            filter(json!({"userPrefix": "idp:"})),
            &[("x-forwarded-user", "idp:nick")],
            CHANGED,
        ),
        case(
            "the Gateway got another user",
            also(report(), filter(json!({"upstreamUserHeader": "x-user"}))),
            filter(json!({"upstreamUserHeader": "x-user"})),
            &[("x-user", "ann")],
            CHANGED,
        ),
        case(
            "the Gateway got no user",
            also(report(), filter(json!({"upstreamUserHeader": "x-user"}))),
            filter(json!({"upstreamUserHeader": "x-user"})),
            &[],
            CHANGED,
        ),
        case(
            "no user, but a header that names one",
            also(report(), filter(json!({"anonymousPaths": ["ws:/feed"]}))),
            filter(json!({"anonymousPaths": ["ws:/feed"]})),
            &[(":path", "/feed"), ("x-forwarded-user", "ann")],
            CHANGED,
        ),
        case("to report mode", json!({}), report(), &[], "stays"),
        // The filter closes nothing then, and counts this.
        case(
            "to report mode, for a user who is removed",
            json!({}),
            also(report(), removed()),
            &[],
            "trusted_proxy_user_not_allowed",
        ),
    ]);
}

#[test]
fn what_was_left_out_is_not_guessed() {
    let long = "x".repeat(257);
    let short = "y".repeat(256);
    let named = |name: &str| trusted_proxy(json!({"userHeader": name, "allowUsers": []}));
    let secret = filter(json!({"requiredValues": {"x-long": {"sha256": [ABC]}}}));
    let groups = scopes(json!({"users": {"*": ["operator.admin"]}, "groups": {}, "groupsHeader": "x-long"}));
    let headers = handshake(&[("x-long", &long), ("x-short", &short), ("x-forwarded-email", &long)]);
    for (what, new, expected) in [
        ("the user is in a value that was left out", named("x-long"), UNCLEAR),
        ("the user is in a value that was kept", named("x-short"), CHANGED),
        ("a secret is in it", secret, UNCLEAR),
        ("the groups are in it", groups, UNCLEAR),
        ("it is required", trusted_proxy(json!({"requiredHeaders": ["x-long"]})), "stays"),
        ("it is removed now", filter(json!({"stripHeaders": ["x-long"]})), "stays"),
        ("an identity header is spared now", filter(json!({"keepHeaders": ["x-forwarded-email"]})), "stays"),
        ("it is another name of the user header", named("x.long"), "trusted_proxy_user_missing"),
    ] {
        assert_eq!(fate(&policy(&json!({})), &policy(&new), &headers, Facts::default()), expected, "{what}");
    }
    // Whatever the policy reads is kept, at any length.
    let old = policy(&named("x-long"));
    assert_eq!(fate(&old, &old, &headers, Facts::default()), "stays");
    let copies = [headers, vec![("x-long".to_owned(), "1".to_owned())]].concat();
    assert_eq!(fate(&policy(&json!({})), &policy(&named("x-long")), &copies, Facts::default()), UNCLEAR);
}

#[test]
fn what_envoy_knows_of_the_connection_counts_too() {
    let asserted = |use_as: &str| filter(json!({"assertion": {"metadata": ["jwt", "email"], "as": use_as}}));
    let peers = |uri: &str| filter(json!({"trustedPeers": [uri]}));
    let facts =
        Facts { assertion: Some("nick"), certificate: Some("spiffe://a.b/c"), destination: Some("10.0.0.1:443") };
    for (what, old, new, facts, expected) in [
        ("the identity is verified", json!({}), asserted("match"), facts, "stays"),
        (
            "it is not",
            json!({}),
            asserted("match"),
            Facts { assertion: None, ..facts },
            "trusted_proxy_assertion_missing",
        ),
        (
            "it is another",
            json!({}),
            asserted("match"),
            Facts { assertion: Some("ann"), ..facts },
            "trusted_proxy_assertion_mismatch",
        ),
        ("it is the user", json!({}), asserted("identity"), facts, "stays"),
        ("it is another user", json!({}), asserted("identity"), Facts { assertion: Some("ann"), ..facts }, CHANGED),
        ("the certificate is trusted", json!({}), peers("spiffe://a.b/c"), facts, "stays"),
        (
            "the certificate's trust ends",
            peers("spiffe://a.b/c"),
            peers("spiffe://a.b/d"),
            facts,
            "trusted_proxy_peer_certificate",
        ),
        (
            "the same host",
            json!({}),
            filter(json!({"rejectSameHost": true})),
            facts,
            "trusted_proxy_local_interface_source",
        ),
    ] {
        assert_eq!(fate(&policy(&old), &policy(&new), &handshake(&[]), facts), expected, "{what}");
    }
}

#[test]
fn no_query_cookie_or_token_is_kept() {
    let old = policy(&json!({}));
    for spelled in [str::to_owned, str::to_uppercase] {
        let headers: Vec<_> = handshake(&[("proxy-authorization", "Basic s3cr3t")])
            .into_iter()
            .map(|(name, value)| (if name.starts_with(':') { name } else { spelled(&name) }, value))
            .collect();
        let map = serialize(&headers);
        let kept = Handshake::keep(&old, &Headers::parse(&map).unwrap()).unwrap();
        let text = kept.map().escape_ascii().to_string();
        assert!(!text.contains("s3cr3t"), "{text}");
        let names = |map: &[u8]| Headers::parse(map).unwrap().iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
        assert_eq!(names(kept.map()), names(&map));
        assert!(old.read(Peer::Unknown, kept.map()).unwrap().path() == b"/");
    }
}

#[test]
fn a_handshake_has_a_bound_and_what_is_left_out_does_not_count() {
    let old = policy(&json!({}));
    let keep = |headers: &[(String, String)]| {
        Handshake::keep(&old, &Headers::parse(&serialize(headers)).unwrap()).map(|kept| kept.map().len())
    };
    let base = keep(&handshake(&[("x-forwarded-for", "1")])).unwrap();
    let with = |length: usize| keep(&handshake(&[("x-forwarded-for", &"1".repeat(length))]));
    let room = MOST_BYTES + 1 - base;
    assert_eq!(with(room), Some(MOST_BYTES));
    assert_eq!(with(room + 1), None);
    // No rule reads these, so what they hold takes no room.
    let long = "x".repeat(MOST_BYTES);
    assert!(keep(&handshake(&[("cookie", &long), ("x-forwarded-access-token", &long), ("x-other", &long)])).is_some());
}
