//! The rules: the order in which they are asked, and how each kind of permit changes the headers.

use std::convert::Infallible;

use policy::config::compile;
use policy::headers::serialize;
use policy::peer::socket_address;
use policy::scopes::Scope;
use policy::{Edit, Identity, IdentitySource, Kind, Mode, Peer, PeerAddress, Policy, Request, Verdict, stamped};
use serde_json::{Value, json};

type Pairs = Vec<(String, String)>;

fn policy(filter: Value) -> Policy {
    let config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.0/8", "127.0.0.1"],
            "auth": {
                "mode": "trusted-proxy",
                "trustedProxy": {
                    "userHeader": "X-Forwarded-User",
                    "requiredHeaders": ["X-Edge", "x-pomerium-jwt-assertion"],
                    "allowUsers": ["nick@example.com"]
                }
            },
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]}
        },
        "filter": filter
    });
    compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy
}

/// A request that the policy admits; changes replace, remove (`None`) or add headers.
fn request(changes: &[(&str, Option<&str>)]) -> Pairs {
    let mut headers: Pairs = [
        (":method", "GET"),
        (":path", "/tools/invoke"),
        (":authority", "claw.example.com"),
        ("x-forwarded-for", "198.51.100.7, 10.0.0.2"),
        ("x-edge", "1"),
        ("x-pomerium-jwt-assertion", "jwt"),
        ("x-forwarded-user", "nick@example.com"),
        ("origin", "https://claw.example.com"),
        ("cookie", "a=b"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (name, value) in changes {
        match (headers.iter().position(|(other, _)| other == name), value) {
            (Some(at), Some(value)) => headers[at].1 = (*value).to_owned(),
            (Some(at), None) => drop(headers.remove(at)),
            (None, Some(value)) => headers.push(((*name).to_owned(), (*value).to_owned())),
            (None, None) => {}
        }
    }
    headers
}

fn upgrade(changes: &[(&str, Option<&str>)]) -> Pairs {
    let mut headers = request(&[
        ("connection", Some("Upgrade")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-version", Some("13")),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==")),
    ]);
    for (name, value) in changes {
        headers.retain(|(other, _)| other != name);
        headers.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    headers
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// The result for a request: the kind of permit and the edits, or the reason.
fn judge(policy: &Policy, peer: &str, headers: &Pairs) -> Result<(String, Vec<String>), String> {
    let map = serialize(headers);
    let mut request = Request::from(Peer::from_connection(peer.as_bytes()));
    policy.read_into(&mut request, &map).unwrap();
    request.destination = socket_address(b"10.0.0.9:443");
    let admission = policy.decide(&request).map_err(|refusal| refusal.to_string())?;
    let kind = match admission.kind() {
        Kind::Identified(user) => format!("as {}", user.escape_ascii()),
        Kind::Anonymous => "anonymous".to_owned(),
        Kind::Delegated(refusal) => format!("delegated {refusal}"),
    };
    let mut edits = Vec::new();
    let Ok(()) = admission.stamp(policy, &request, |edit| {
        edits.push(match edit {
            Edit::Set { name, value } => format!("{}={}", name.escape_ascii(), value.escape_ascii()),
            Edit::Remove { name } => format!("-{}", name.escape_ascii()),
        });
        Ok::<(), Infallible>(())
    });
    Ok((kind, edits))
}

const ALL: &str = "operator.admin,operator.read,operator.write,operator.approvals,operator.questions,operator.pairing,operator.talk.secrets";

#[test]
fn what_a_host_is_asked_for_and_does_follows_from_the_configuration() {
    let assertion = json!({"metadata": ["ns", "email"], "as": "identity"});
    let peers = json!(["spiffe://a.b/c"]);
    // The destination, the certificate, the verified identity; a close frame, no reason, nothing refused.
    let cases = [
        (json!({}), [false, false, false, true, false, false]),
        (json!({"rejectSameHost": true}), [true, false, false, true, false, false]),
        (json!({"trustedPeers": peers}), [false, true, false, true, false, false]),
        (json!({"assertion": assertion}), [false, false, true, true, false, false]),
        (
            json!({"edge": true, "assertion": assertion, "trustedPeers": peers}),
            [false, false, true, true, false, false],
        ),
        (json!({"webSocketRefusal": "http"}), [false, false, false, false, false, false]),
        (json!({"webSocketRefusal": "delegate"}), [false, false, false, true, false, false]),
        (json!({"hideReasons": true}), [false, false, false, true, true, false]),
        (json!({"mode": "report"}), [false, false, false, true, false, true]),
    ];
    for (filter, expected) in cases {
        let policy = policy(filter.clone());
        let path = policy.assertion_path();
        assert!(path.is_none_or(|path| path == b"metadata\0filter_metadata\0ns\0email"), "{path:?}");
        let seen = [
            policy.needs_destination(),
            policy.needs_certificate(),
            path.is_some(),
            policy.closes_websockets(),
            policy.hides_reasons(),
            policy.mode() == Mode::Report,
        ];
        assert_eq!(seen, expected, "{filter}");
        assert_eq!(*policy.peer_address(), PeerAddress::Connection);
    }
    let state = policy(json!({"peerAddress": {"filterState": "lab.peer"}}));
    assert_eq!(*state.peer_address(), PeerAddress::FilterState("lab.peer".to_owned()));
}

#[test]
fn the_same_host_is_refused_only_where_that_is_asked_for() {
    let judge = |filter: Value, peer: &str| judge(&policy(filter), peer, &request(&[])).is_ok();
    assert!(judge(json!({}), "10.0.0.9:1"));
    assert!(!judge(json!({"rejectSameHost": true}), "10.0.0.9:1"));
    assert!(judge(json!({"rejectSameHost": true}), "10.0.0.8:1"));
    assert!(judge(json!({"rejectSameHost": true, "allowLoopback": true}), "127.0.0.1:1"));
    let policy = policy(json!({"rejectSameHost": true}));
    let map = serialize(&request(&[]));
    let request = policy.read(Peer::from_connection(b"10.0.0.8:1"), &map).unwrap();
    assert!(policy.decide(&request).is_err(), "no destination known");
}

#[test]
fn an_override_for_this_hop_leaves_the_gateways_list_to_be_walked_past() {
    let filter = json!({"trustedProxies": ["192.0.2.1"], "allowLoopback": true});
    let policy = policy(filter);
    let judge = |peer: &str, chain: &str| judge(&policy, peer, &request(&[("x-forwarded-for", Some(chain))]));
    assert!(judge("192.0.2.1:1", "198.51.100.7, 10.0.0.1, 192.0.2.1").is_ok());
    assert_eq!(judge("10.0.0.1:1", "198.51.100.7").unwrap_err(), "trusted_proxy_untrusted_source");
    assert_eq!(judge("192.0.2.1:1", "10.0.0.1, 192.0.2.1").unwrap_err(), "proxy_attribution_required");
}

#[test]
fn what_is_right_already_is_not_written() {
    let scopes = ("x-openclaw-scopes", Some(ALL));
    let edits = |headers: Pairs| judge(&policy(json!({})), "10.0.0.1:1", &headers).unwrap().1;
    assert_eq!(edits(request(&[scopes])), Vec::<String>::new());
    assert_eq!(edits(request(&[])), [format!("x-openclaw-scopes={ALL}")]);
    assert_eq!(edits(upgrade(&[])), Vec::<String>::new());
    assert_eq!(
        edits(request(&[scopes, ("x-forwarded-user", Some(" nick@example.com\t"))])),
        ["x-forwarded-user=nick@example.com"]
    );
}

/// What a request leaves in filter state: the user and the scopes.
fn left(policy: &Policy, headers: &Pairs, unchanged: bool) -> [String; 2] {
    let map = serialize(headers);
    let request = policy.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap();
    let admission = policy.decide(&request).unwrap();
    let mut left = Vec::new();
    let Ok(()) = policy.leave_stamped(&request, (!unchanged).then_some(&admission), |property, value| {
        left.push((property, value.escape_ascii().to_string()));
        Ok::<(), Infallible>(())
    });
    let [(stamped::USER, user), (stamped::SCOPES, scopes)] = <[_; 2]>::try_from(left).unwrap() else { panic!() };
    [user, scopes]
}

#[test]
fn what_is_left_in_filter_state_is_what_the_gateway_reads() {
    let asks = |filter: Value, headers: Pairs, expected: [&str; 2]| {
        let policy = policy(filter.clone());
        assert!(!policy.leaves_stamped(), "{filter}");
        assert_eq!(left(&policy, &headers, false), expected, "{filter}, {headers:?}");
    };
    let (nick, scopes) = ("nick@example.com", "x-openclaw-scopes");
    asks(json!({}), request(&[]), [nick, ALL]);
    asks(json!({}), request(&[("x-forwarded-user", Some(" nick@example.com\t"))]), [nick, ALL]);
    asks(json!({}), request(&[(":path", Some("/hook"))]), [nick, "operator.write"]);
    asks(json!({}), request(&[(scopes, Some("operator.read, bogus"))]), [nick, "operator.read"]);
    // A header that lists nothing is not the same as none.
    asks(json!({}), request(&[(scopes, Some(""))]), [nick, ","]);
    asks(json!({"scopes": {"pluginDefault": []}}), request(&[(":path", Some("/hook"))]), [nick, ","]);
    asks(json!({}), upgrade(&[]), [nick, ""]);
    asks(json!({}), upgrade(&[(scopes, Some(""))]), [nick, ","]);
    asks(json!({}), request(&[(":path", Some("/health"))]), ["", ""]);
    let delegate = json!({"webSocketRefusal": "delegate"});
    asks(delegate.clone(), upgrade(&[("x-forwarded-user", None)]), ["", ""]);
    asks(delegate, upgrade(&[("x-forwarded-user", None), (scopes, Some("operator.read"))]), ["", "operator.read"]);

    // In report mode a request goes on as it came.
    let renamed = policy(json!({"upstreamUserHeader": "x-user", "stampedFilterState": true}));
    assert!(renamed.leaves_stamped());
    let came = |headers: &[(&str, Option<&str>)]| left(&renamed, &request(headers), true);
    assert_eq!(came(&[]), ["", ""]);
    assert_eq!(came(&[("x-user", Some(" eve")), (scopes, Some("all"))]), [" eve", "all"]);
    assert_eq!(came(&[(scopes, Some(""))]), ["", ","]);
    assert!(!policy(json!({"stampedFilterState": false})).leaves_stamped());
}

#[test]
fn identity_goes_out_once_and_in_one_spelling() {
    let cases: &[(Value, &[(&str, Option<&str>)], &[&str])] = &[
        // Scopes
        (json!({}), &[("x-openclaw-scopes", Some(""))], &[]),
        (json!({}), &[("x-openclaw-scopes", Some("operator.read, bogus"))], &["x-openclaw-scopes=operator.read"]),
        (json!({}), &[(":path", Some("/hook"))], &["x-openclaw-scopes=operator.write"]),
        (json!({}), &[(":path", Some("/tools//invoke"))], &["x-openclaw-scopes=operator.write"]),
        (json!({"scopes": {"default": ["operator.read"]}}), &[], &["x-openclaw-scopes=operator.read"]),
        (json!({"scopes": {"pluginDefault": []}}), &[(":path", Some("/hook"))], &["x-openclaw-scopes="]),
        (
            json!({"scopes": {"ownPaths": ["/api/*"], "default": ["operator.talk"]}}),
            &[(":path", Some("/api/x"))],
            &["x-openclaw-scopes=operator.talk"],
        ),
        // Aliases, and unknown headers
        (
            json!({}),
            &[("x_forwarded_user", Some("eve")), ("tailscale-user-login", Some("eve"))],
            &["-x_forwarded_user", "-tailscale-user-login", "x-openclaw-scopes=ALL"],
        ),
        (json!({}), &[("x.openclaw-scopes", Some("operator.admin"))], &["-x.openclaw-scopes", "x-openclaw-scopes=ALL"]),
        (
            json!({}),
            &[("x-pomerium_jwt-assertion", Some("x"))],
            &["-x-pomerium_jwt-assertion", "x-openclaw-scopes=ALL"],
        ),
        (
            json!({"stripHeaders": ["X-Own"]}),
            &[("x-own", Some("x")), ("x_own", Some("x"))],
            &["-x-own", "-x_own", "x-openclaw-scopes=ALL"],
        ),
        (
            json!({"keepHeaders": ["X-Forwarded-Email"]}),
            &[("x-forwarded-email", Some("x")), ("x_forwarded_email", Some("x"))],
            &["-x_forwarded_email", "x-openclaw-scopes=ALL"],
        ),
        // Another header upstream
        (
            json!({"upstreamUserHeader": "x-up"}),
            &[("x-up", Some("eve"))],
            &["-x-forwarded-user", "x-up=nick@example.com", "x-openclaw-scopes=ALL"],
        ),
        (
            json!({"upstreamUserHeader": "x-up"}),
            &[("x-up", Some("nick@example.com")), ("x_up", Some("eve"))],
            &["-x-forwarded-user", "-x_up", "x-openclaw-scopes=ALL"],
        ),
    ];
    for (filter, changes, expected) in cases {
        let (kind, edits) = judge(&policy(filter.clone()), "10.0.0.1:1", &request(changes)).unwrap();
        let expected: Vec<String> = expected.iter().map(|edit| edit.replace("ALL", ALL)).collect();
        assert_eq!((kind.as_str(), edits), ("as nick@example.com", expected), "{filter} {changes:?}");
    }
}

#[test]
fn own_paths_are_those_that_the_gateways_block_switches_on() {
    let (chat, responses) = (json!({"chatCompletions": {"enabled": true}}), json!({"responses": {"enabled": true}}));
    let off = json!({"chatCompletions": {"enabled": false}});
    let endpoints: [(Value, &[&str]); 4] = [
        (json!({}), &[]),
        (off, &[]),
        (chat, &["/v1/chat/completions", "/v1/models", "/v1/models/x", "/v1/embeddings"]),
        (responses, &["/v1/responses", "/v1/models", "/v1/models/x", "/v1/embeddings"]),
    ];
    let below = "/claw/control-ui-config.json";
    // The Control UI is at the root, or below its base path. If that is not plain, nothing is its own.
    let bases = [
        ("", true, false),
        ("/", true, false),
        ("/claw", false, true),
        ("claw/", false, true),
        ("/claw*", false, false),
        ("/cl%61w", false, false),
    ];
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}}
        }
    });
    let is_own = |config: &Value, path: &str| {
        let policy = compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy;
        let (_, edits) = judge(&policy, "10.0.0.1:1", &request(&[(":path", Some(path)), ("origin", None)])).unwrap();
        edits.contains(&format!("x-openclaw-scopes={ALL}"))
    };
    for (endpoints, own) in endpoints {
        config["gateway"]["http"] = json!({"endpoints": endpoints});
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/models/x", "/v1/embeddings", "/v1/x"] {
            assert_eq!(is_own(&config, path), own.contains(&path), "{endpoints} {path}");
        }
    }
    for (base, at_the_root, below_it) in bases {
        for enabled in [json!(null), json!(true), json!(false)] {
            config["gateway"]["controlUi"] = json!({"basePath": base});
            if enabled.is_boolean() {
                config["gateway"]["controlUi"]["enabled"] = enabled.clone();
            }
            for (path, own) in [
                (below, below_it),
                ("/claw/__openclaw/control-ui-config.json", below_it),
                ("/claw/__openclaw__/control-ui-config.json", false),
                ("/control-ui-config.json", at_the_root),
                ("/__openclaw/control-ui-config.json", at_the_root),
                ("/__openclaw__/control-ui-config.json", at_the_root),
            ] {
                assert_eq!(is_own(&config, path), own && enabled != false, "{base:?}, enabled {enabled}: {path}");
            }
        }
    }
    config["gateway"]["controlUi"] = json!({"basePath": "/claw*"});
    assert!(!is_own(&config, "/claw*/control-ui-config.json") && !is_own(&config, "/clawed/control-ui-config.json"));
}

#[test]
fn a_groups_header_stays_where_it_is_required_and_goes_where_it_is_not() {
    let scopes = json!({"groupsHeader": "x-groups", "groups": {}, "users": {"*": ["operator.admin"]}});
    for (required, stays) in [(json!([]), false), (json!(["X-Groups"]), true)] {
        let config = json!({
            "gateway": {
                "trustedProxies": ["10.0.0.1"],
                "auth": {
                    "mode": "trusted-proxy",
                    "trustedProxy": {"userHeader": "x-forwarded-user", "requiredHeaders": required}
                }
            },
            "filter": {"scopes": scopes}
        });
        let policy = compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy;
        let headers = request(&[("x-groups", Some("ops")), ("origin", None)]);
        let (_, edits) = judge(&policy, "10.0.0.1:1", &headers).unwrap();
        assert_eq!(edits.iter().any(|edit| edit == "-x-groups"), !stays, "{required} {edits:?}");
    }
}

#[test]
fn copies_become_one_and_a_name_is_removed_once() {
    let mut headers = request(&[("x-openclaw-scopes", Some("operator.read"))]);
    headers.push(("x-openclaw-scopes".to_owned(), "operator.read".to_owned()));
    headers.push(("remote-user".to_owned(), "a".to_owned()));
    headers.push(("remote-user".to_owned(), "b".to_owned()));
    let edits = judge(&policy(json!({})), "10.0.0.1:1", &headers).unwrap().1;
    assert_eq!(edits, ["-remote-user", "x-openclaw-scopes=operator.read"]);
}

#[test]
fn without_identity_nothing_managed_is_left() {
    let policy = policy(json!({"anonymousPaths": ["/ping", "ws:/ping"], "keepHeaders": ["x-forwarded-email"]}));
    let extra = [
        (":path", Some("/ping")),
        ("x-forwarded-email", Some("x")),
        ("x-openclaw-scopes", Some("bogus,operator.read")),
    ];
    let (kind, edits) = judge(&policy, "1.2.3.4:1", &request(&extra)).unwrap();
    let gone = ["-x-pomerium-jwt-assertion", "-x-forwarded-user", "-x-forwarded-email"];
    assert_eq!(
        (kind.as_str(), edits),
        ("anonymous", [&gone[..], &["-x-openclaw-scopes"]].concat().iter().map(ToString::to_string).collect())
    );
    let (kind, edits) = judge(&policy, "1.2.3.4:1", &upgrade(&extra)).unwrap();
    assert_eq!(
        (kind.as_str(), edits),
        (
            "anonymous",
            [&gone[..], &["x-openclaw-scopes=operator.read"]].concat().iter().map(ToString::to_string).collect()
        )
    );
}

#[test]
fn one_managed_header_alone_does_not_slip_through() {
    let policy = policy(json!({
        "anonymousPaths": ["/ping"],
        "keepHeaders": ["x-forwarded-email"],
        "upstreamUserHeader": "x-up",
        "scopes": {"groupsHeader": "x-groups", "groups": {}, "users": {"*": []}}
    }));
    for name in [
        "x-forwarded-user",
        "x-up",
        "x-groups",
        "x-openclaw-scopes",
        "x-forwarded-email",
        "x-pomerium-jwt-assertion",
        "x_forwarded_user",
        "x_openclaw_scopes",
        "tailscale-user-login",
    ] {
        let headers = [(":method", "GET"), (":path", "/ping"), (name, "operator.read")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let (kind, edits) = judge(&policy, "1.2.3.4:1", &headers).unwrap();
        assert_eq!((kind.as_str(), edits), ("anonymous", vec![format!("-{name}")]), "{name}");
    }
    let nothing = [(":method", "GET"), (":path", "/ping"), ("x-edge", "1")];
    let nothing = nothing.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(judge(&policy, "1.2.3.4:1", &nothing).unwrap().1, Vec::<String>::new());
}

#[test]
fn plain_anonymous_paths_are_not_for_upgrades_and_the_other_way_round() {
    let policy = policy(json!({"anonymousPaths": ["/a", "ws:/b"]}));
    let kind = |headers: &Pairs| judge(&policy, "1.2.3.4:1", headers).map(|(kind, _)| kind);
    for (path, plain, upgraded) in [
        ("/a", true, false),
        ("/b", false, true),
        ("/A", false, false),
        ("/a/", false, false),
        ("//a", false, false),
        ("/a?x=/b", true, false),
        ("/%61", false, false),
    ] {
        assert_eq!(kind(&request(&[(":path", Some(path))])).is_ok(), plain, "{path}");
        assert_eq!(kind(&upgrade(&[(":path", Some(path))])).is_ok(), upgraded, "{path} upgraded");
    }
}

#[test]
fn delegated_are_only_websockets_that_lack_a_valid_user() {
    let delegating = policy(json!({"webSocketRefusal": "delegate"}));
    let closing = policy(json!({}));
    // The change, and whether the decision is left to the Gateway.
    let cases: &[(&[(&str, Option<&str>)], Result<&str, &str>)] = &[
        (&[("x-edge", None)], Ok("delegated trusted_proxy_missing_header_X-Edge")),
        (&[("x-forwarded-user", None)], Ok("delegated trusted_proxy_user_missing")),
        (&[("x-forwarded-user", Some("eve"))], Ok("delegated trusted_proxy_user_not_allowed")),
        (&[("x-forwarded-for", None)], Err("proxy_attribution_required")),
        (&[("origin", Some("https://evil.example"))], Err("trusted_proxy_origin_not_allowed")),
        // Two faults: the one that is not left to the Gateway decides.
        (&[("x-forwarded-user", None), ("origin", Some("null"))], Err("trusted_proxy_origin_not_allowed")),
        (&[("upgrade", Some("h2c")), ("x-edge", None)], Err("trusted_proxy_missing_header_X-Edge")),
    ];
    for (changes, expected) in cases {
        let judged = judge(&delegating, "10.0.0.1:1", &upgrade(changes)).map(|(kind, edits)| {
            assert!(!edits.iter().any(|edit| edit.starts_with("x-")), "nothing of identity is stamped: {edits:?}");
            kind
        });
        assert_eq!(judged, expected.map(str::to_owned).map_err(str::to_owned), "{changes:?}");
        assert!(judge(&closing, "10.0.0.1:1", &upgrade(changes)).is_err(), "{changes:?} without delegate");
    }
    let mut repeated = upgrade(&[("x-edge", None)]);
    repeated.push(("x-forwarded-user".to_owned(), "eve".to_owned()));
    assert_eq!(judge(&delegating, "10.0.0.1:1", &repeated).unwrap_err(), "trusted_proxy_user_repeated");
    assert!(judge(&delegating, "1.2.3.4:1", &upgrade(&[("x-edge", None)])).is_err(), "an untrusted peer");
    assert!(judge(&delegating, "10.0.0.1:1", &request(&[("x-edge", None)])).is_err(), "a plain request");
}

/// The same with an identity that Envoy verified.
fn judge_verified(policy: &Policy, peer: &str, headers: &Pairs, verified: Option<&[u8]>) -> Result<String, String> {
    let map = serialize(headers);
    let mut request = policy.read(Peer::from_connection(peer.as_bytes()), &map).unwrap();
    request.assertion = verified;
    match policy.decide(&request) {
        Ok(admission) => match admission.kind() {
            Kind::Identified(user) => Ok(user.escape_ascii().to_string()),
            other => Ok(format!("{other:?}")),
        },
        Err(refusal) => Err(refusal.to_string()),
    }
}

#[test]
fn a_user_must_be_the_one_that_envoy_verified() {
    const MISSING: &str = "trusted_proxy_assertion_missing";
    const MISMATCH: &str = "trusted_proxy_assertion_mismatch";
    let assertion = |use_as: &str| json!({"assertion": {"metadata": ["ns", "payload", "email"], "as": use_as}});
    let (matching, identity) = (policy(assertion("match")), policy(assertion("identity")));
    assert_eq!(matching.assertion_path().unwrap(), b"metadata\0filter_metadata\0ns\0payload\0email");
    let nick: &[u8] = b"nick@example.com";
    // The user header, the verified identity, and the results with `match` and with `identity`.
    let cases: &[(Option<&str>, Option<&[u8]>, Result<&str, &str>, Result<&str, &str>)] = &[
        (Some("nick@example.com"), Some(nick), Ok("nick@example.com"), Ok("nick@example.com")),
        (Some("nick@example.com"), Some(b" nick@example.com"), Err(MISSING), Err(MISSING)),
        (Some("nick@example.com"), Some(b"nick@example.com\t"), Err(MISSING), Err(MISSING)),
        // An a with a grave accent, of which the Gateway would take the last byte for a blank.
        (Some("nick\u{c3}"), Some(b"nick\xC3\xA0"), Err(MISSING), Err(MISSING)),
        (Some("nick@example.com"), None, Err(MISSING), Err(MISSING)),
        (Some("nick@example.com"), Some(b""), Err(MISSING), Err(MISSING)),
        (Some("nick@example.com"), Some(b" \xA0"), Err(MISSING), Err(MISSING)),
        (Some("nick@example.com"), Some(b"\x0A\x10nick@example.com"), Err(MISSING), Err(MISSING)),
        (Some("nick@example.com"), Some(b"Nick@example.com"), Err(MISMATCH), Err("trusted_proxy_user_not_allowed")),
        (Some("eve"), Some(nick), Err(MISMATCH), Ok("nick@example.com")),
        (Some("eve"), Some(b"eve"), Err("trusted_proxy_user_not_allowed"), Err("trusted_proxy_user_not_allowed")),
        (None, Some(nick), Err("trusted_proxy_user_missing"), Ok("nick@example.com")),
    ];
    for (user, verified, as_match, as_identity) in cases {
        let headers = request(&[("x-forwarded-user", *user)]);
        for (policy, expected) in [(&matching, as_match), (&identity, as_identity)] {
            let judged = judge_verified(policy, "10.0.0.1:1", &headers, *verified);
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(judged, expected, "{user:?} {verified:?}");
        }
    }
}

#[test]
fn at_the_edge_the_peer_is_the_client_and_no_proxy_is_asked_for() {
    let filter = json!({"edge": true, "assertion": {"metadata": ["ns", "email"], "as": "identity"}});
    let policy = policy(filter);
    let judge = |peer: &str, verified: Option<&[u8]>| {
        judge_verified(&policy, peer, &request(&[("x-forwarded-for", Some("6.6.6.6"))]), verified)
    };
    let nick: Option<&[u8]> = Some(b"nick@example.com");
    assert_eq!(judge("198.51.100.7:1", nick).as_deref(), Ok("nick@example.com"));
    for (peer, reason) in [
        ("/run/envoy.sock", "trusted_proxy_peer_unknown"),
        ("198.51.100.7:0", "trusted_proxy_peer_unverified"),
        ("127.0.0.1:1", "proxy_attribution_required"),
        // The Gateway would skip this one, and find no client.
        ("10.0.0.1:1", "proxy_attribution_required"),
    ] {
        assert_eq!(judge(peer, nick).unwrap_err(), reason, "{peer}");
    }
    assert_eq!(judge("198.51.100.7:1", None).unwrap_err(), "trusted_proxy_assertion_missing");
}

#[test]
fn a_delegated_websocket_must_not_name_another_than_the_verified_user() {
    let filter = json!({"webSocketRefusal": "delegate", "assertion": {"metadata": ["ns", "email"], "as": "match"}});
    let policy = policy(filter);
    let judge = |user: Option<&str>| {
        let headers = upgrade(&[("x-edge", None), ("x-forwarded-user", user)]);
        judge_verified(&policy, "10.0.0.1:1", &headers, Some(b"nick@example.com"))
    };
    assert!(judge(Some("nick@example.com")).unwrap().starts_with("Delegated"));
    assert!(judge(None).unwrap().starts_with("Delegated"));
    assert_eq!(judge(Some("eve")).unwrap_err(), "trusted_proxy_assertion_mismatch");
}

#[test]
fn connection_cannot_nominate_what_the_filter_manages() {
    let edits =
        |value: &str| judge(&policy(json!({})), "10.0.0.1:1", &upgrade(&[("connection", Some(value))])).unwrap().1;
    assert_eq!(edits("Upgrade, x-foreign"), Vec::<String>::new());
    assert_eq!(edits("Upgrade, X-Forwarded-User, x_openclaw_scopes,keep-alive"), ["connection=Upgrade, keep-alive"]);
    assert_eq!(edits("x-pomerium-jwt-assertion,Upgrade"), ["connection=Upgrade"]);
}

#[test]
fn no_user_matches_a_list_of_blanks() {
    let config = json!({"gateway": {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy",
        "trustedProxy": {"userHeader": "x-forwarded-user", "allowUsers": [""]}}}});
    let policy = compile(config.to_string().as_bytes()).unwrap().policy;
    assert_eq!(judge(&policy, "10.0.0.1:1", &request(&[])).unwrap_err(), "trusted_proxy_user_not_allowed");
}

#[test]
fn a_delegated_or_foreign_request_keeps_every_other_header() {
    let headers =
        request(&[("x-custom", Some("1")), ("x-forwarded-proto", Some("https")), ("authorization", Some("Bearer x"))]);
    let edits = judge(&policy(json!({})), "10.0.0.1:1", &headers).unwrap().1;
    assert_eq!(edits, [format!("x-openclaw-scopes={ALL}")]);
}

#[test]
fn the_order_and_case_of_headers_do_not_matter() {
    let policy = policy(json!({}));
    let straight = request(&[("x_forwarded_user", Some("eve"))]);
    let mut turned: Pairs = straight.iter().map(|(name, value)| (name.to_uppercase(), value.clone())).collect();
    turned.reverse();
    let (kind, mut edits) = judge(&policy, "10.0.0.1:1", &straight).unwrap();
    let (turned_kind, mut turned_edits) = judge(&policy, "10.0.0.1:1", &turned).unwrap();
    turned_edits.iter_mut().for_each(|edit| *edit = edit.replace("-X_FORWARDED_USER", "-x_forwarded_user"));
    edits.sort();
    turned_edits.sort();
    assert_eq!((kind, edits), (turned_kind, turned_edits));
}

/// The same with a certificate's first URI SAN.
fn judge_certified(policy: &Policy, peer: &str, certificate: Option<&[u8]>) -> Result<String, String> {
    let map = serialize(&request(&[]));
    let mut request = policy.read(Peer::from_connection(peer.as_bytes()), &map).unwrap();
    request.identity = certificate.map(Identity::Certificate);
    policy.decide(&request).map(|admission| format!("{:?}", admission.kind())).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_listed_certificate_is_asked_for_besides_the_address_or_instead_of_it() {
    const PEER: &str = "trusted_proxy_untrusted_source";
    const CERTIFICATE: &str = "trusted_proxy_peer_certificate";
    let identities = ["spiffe://mesh/ns/edge/sa/proxy", "spiffe://mesh/ns/edge/sa/other"];
    let both = policy(json!({"trustedPeers": identities}));
    let alone = policy(json!({"trustedPeers": identities, "peerTrust": "certificate"}));
    let neither = policy(json!({}));
    assert!(both.needs_certificate() && alone.needs_certificate() && !neither.needs_certificate());
    let right: Option<&[u8]> = Some(b"spiffe://mesh/ns/edge/sa/other");
    let cases: &[(&str, Option<&[u8]>, Option<&str>, Option<&str>)] = &[
        ("10.0.0.1:1", right, None, None),
        ("203.0.113.9:1", right, Some(PEER), None),
        ("127.0.0.1:1", right, Some("trusted_proxy_loopback_source"), Some("trusted_proxy_loopback_source")),
        ("10.0.0.1:0", right, Some("trusted_proxy_peer_unverified"), Some("trusted_proxy_peer_unverified")),
        ("10.0.0.1:1", None, Some(CERTIFICATE), Some(CERTIFICATE)),
        ("10.0.0.1:1", Some(b""), Some(CERTIFICATE), Some(CERTIFICATE)),
        ("10.0.0.1:1", Some(b"spiffe://mesh/ns/edge/sa/proxy/"), Some(CERTIFICATE), Some(CERTIFICATE)),
        ("10.0.0.1:1", Some(b"SPIFFE://mesh/ns/edge/sa/proxy"), Some(CERTIFICATE), Some(CERTIFICATE)),
        ("203.0.113.9:1", None, Some(PEER), Some(CERTIFICATE)),
    ];
    for (peer, certificate, with_both, with_certificate) in cases {
        for (policy, expected) in [(&both, with_both), (&alone, with_certificate)] {
            assert_eq!(
                judge_certified(policy, peer, *certificate).err().as_deref(),
                *expected,
                "{peer} {certificate:?}"
            );
        }
    }
    assert!(judge_certified(&neither, "10.0.0.1:1", None).is_ok());
}

#[test]
fn a_ceiling_narrows_what_a_request_asks_for() {
    let policy = policy(json!({"scopes": {
        "users": {"*": [], "Nick@Example.com": ["operator.read"]},
        "groupsHeader": "x-groups",
        "groups": {"ops": ["operator.write", "operator.pairing"]},
    }}));
    const KNOWN_UNDER_READ: &str = "x-openclaw-scopes=operator.read,operator.sessions.read";
    const KNOWN_UNDER_BOTH: &str = "x-openclaw-scopes=operator.read,operator.write,operator.pairing,operator.talk,\
                                    operator.sessions.read,operator.sessions.write";
    // The headers, and the edits of a plain request to one of the Gateway's own paths, of a request or a WebSocket to a
    // plugin's, and of the Gateway's own WebSocket.
    let cases: &[(&[(&str, Option<&str>)], &[&str], &[&str], &[&str], &[&str])] = &[
        (
            &[],
            &["x-openclaw-scopes=operator.read"],
            &["x-openclaw-scopes=operator.read"],
            &["x-openclaw-scopes=operator.read"],
            &[KNOWN_UNDER_READ],
        ),
        (
            &[("x-groups", Some("users, ops"))],
            &["-x-groups", "x-openclaw-scopes=operator.read,operator.write,operator.pairing"],
            &["-x-groups", "x-openclaw-scopes=operator.write,operator.read"],
            &["-x-groups", "x-openclaw-scopes=operator.write,operator.read"],
            &["-x-groups", KNOWN_UNDER_BOTH],
        ),
        (
            &[("x-openclaw-scopes", Some("operator.admin"))],
            &["x-openclaw-scopes=operator.read"],
            &["x-openclaw-scopes=operator.read"],
            &["x-openclaw-scopes="],
            &["x-openclaw-scopes="],
        ),
        (
            &[("x-openclaw-scopes", Some("operator.sessions.read,operator.write"))],
            &["x-openclaw-scopes=operator.sessions.read,operator.read"],
            &["x-openclaw-scopes=operator.sessions.read,operator.read"],
            &["x-openclaw-scopes=operator.sessions.read"],
            &["x-openclaw-scopes=operator.sessions.read"],
        ),
        (&[("x-openclaw-scopes", Some(""))], &[], &[], &[], &[]),
    ];
    for (changes, own, plugin, plugin_socket, socket) in cases {
        let edits = |headers: &Pairs, path: &str| judge(&policy, "10.0.0.1:1", &at(headers, path)).unwrap().1;
        assert_eq!(edits(&request(changes), "/tools/invoke"), *own, "an own path: {changes:?}");
        assert_eq!(edits(&request(changes), "/plugin"), *plugin, "a plugin's path: {changes:?}");
        assert_eq!(edits(&upgrade(changes), "/plugin"), *plugin_socket, "a plugin's WebSocket: {changes:?}");
        assert_eq!(edits(&upgrade(changes), "/"), *socket, "the Gateway's WebSocket: {changes:?}");
    }
}

/// The same headers with another path.
fn at(headers: &Pairs, path: &str) -> Pairs {
    let mut headers = headers.clone();
    headers.iter_mut().filter(|(name, _)| name == ":path").for_each(|(_, value)| path.clone_into(value));
    headers
}

#[test]
fn a_socket_is_the_gateways_own_on_the_paths_that_it_serves_and_a_plugins_elsewhere() {
    let config = json!({"users": {"*": ["operator.admin"]}, "ownSockets": ["/node", "/d/*"], "ownPaths": ["/rpc"]});
    let mut policies =
        [policy(json!({"scopes": config})), policy(json!({"scopes": {"pluginDefault": []}})), policy(json!({}))];
    // With a ceiling, with a narrowed default of plugins, and with neither.
    let every = format!("x-openclaw-scopes={}", Scope::ALL.map(Scope::name).join(","));
    for (path, own) in [
        ("/", true),
        ("/?token=x", true),
        ("/desktop/observe", true),
        ("/node-desktop/attach", true),
        ("/node-portal/attach", true),
        ("/__openclaw__/worker", true),
        ("/node", true),
        ("/d/1", true),
        ("/d/", false),
        ("/rpc", false),
        ("/tools/invoke", false),
        ("/plugins/socket", false),
        ("//", false),
        ("/node/", false),
        ("/%2f", false),
        ("", false),
    ] {
        let scopes = policies.each_mut().map(|policy| judge(policy, "10.0.0.1:1", &at(&upgrade(&[]), path)).unwrap().1);
        let [ceiling, narrowed, neither] = scopes;
        if own {
            assert_eq!(ceiling, [every.as_str()], "{path}");
            let listed = matches!(path, "/node" | "/d/1");
            assert_eq!(narrowed.is_empty(), !listed, "{path}: {narrowed:?}");
        } else {
            assert_eq!(ceiling, ["x-openclaw-scopes=operator.write"], "{path}");
            assert_eq!(narrowed, ["x-openclaw-scopes="], "{path}");
        }
        assert_eq!(neither, Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_socket_without_a_user_is_capped_where_there_are_ceilings() {
    let admin_of_nobody = json!({"users": {"nick@example.com": ["operator.admin"], "*": ["operator.read"]}});
    let mut own = admin_of_nobody.clone();
    own["withoutUser"] = json!([]);
    let read = "x-openclaw-scopes=operator.read,operator.sessions.read";
    // The scopes, the tokens of the request, and the edits of a delegated and of an anonymous socket.
    for (scopes, named, expected) in [
        (json!({}), None, vec![]),
        (json!({}), Some("operator.admin"), vec![]),
        (admin_of_nobody.clone(), None, vec![read]),
        (admin_of_nobody, Some("operator.admin, operator.read"), vec!["x-openclaw-scopes=operator.read"]),
        (own.clone(), None, vec!["x-openclaw-scopes="]),
        (own, Some("operator.read"), vec!["x-openclaw-scopes="]),
        (json!({"withoutUser": ["operator.talk"]}), None, vec!["x-openclaw-scopes=operator.talk"]),
    ] {
        let filter = json!({"webSocketRefusal": "delegate", "anonymousPaths": ["ws:/node"], "scopes": scopes});
        let policy = policy(filter);
        let headers = upgrade(&[("x-forwarded-user", None), ("x-openclaw-scopes", named)]);
        let (kind, mut edits) = judge(&policy, "10.0.0.1:1", &headers).unwrap();
        edits.retain(|edit| edit.contains("scopes"));
        assert_eq!(
            (kind.as_str(), edits.iter().map(String::as_str).collect::<Vec<_>>()),
            ("delegated trusted_proxy_user_missing", expected.clone()),
            "{named:?}"
        );
        let (kind, edits) = judge(&policy, "192.0.2.1:1", &at(&headers, "/node")).unwrap();
        let edits: Vec<_> = edits.into_iter().filter(|edit| edit.contains("scopes")).collect();
        assert_eq!(
            (kind.as_str(), edits.iter().map(String::as_str).collect::<Vec<_>>()),
            ("anonymous", expected),
            "{named:?}"
        );
    }
}

#[test]
fn a_user_has_one_ceiling_in_every_spelling_and_a_group_only_in_its_own() {
    let mut config = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}}
        }
    });
    config["filter"] = json!({"scopes": {
        "users": {" Eve ": ["operator.read"], "JOS\u{c9}": ["operator.questions"], "*": ["operator.write"]},
        "groupsHeader": "x-groups",
        "groupsSeparator": "|",
        "groups": {"guests": ["operator.pairing"], "a,b": ["operator.questions"]},
    }});
    let policy = compile(config.to_string().as_bytes()).unwrap().policy;
    for (user, groups, expected) in [
        ("eve", "", "operator.read"),
        ("EVE", "", "operator.read"),
        ("jos\u{e9}", "", "operator.questions"),
        ("Jos\u{c9}", "", "operator.questions"),
        ("jose", "", "operator.read,operator.write"),
        ("mary", "guests|staff", "operator.pairing"),
        ("mary", "staff | guests ", "operator.pairing"),
        ("mary", "a,b", "operator.questions"),
        ("mary", "Guests", "operator.read,operator.write"),
        ("mary", "guests,staff", "operator.read,operator.write"),
    ] {
        let map = serialize(&[
            (":path", &b"/tools/invoke"[..]),
            ("x-forwarded-for", b"198.51.100.7"),
            ("x-forwarded-user", &latin1(user)),
            ("x-groups", &latin1(groups)),
        ]);
        let mut request = Request::from(Peer::from_connection(b"10.0.0.1:1"));
        policy.read_into(&mut request, &map).unwrap();
        let admission = policy.decide(&request).unwrap();
        let ceiling = admission.scopes().unwrap();
        assert_eq!(ceiling.header().as_bytes(), expected.as_bytes(), "{user} in {groups}");
    }
    for (groups, reason) in [
        ("[\"guests\"]", Some("trusted_proxy_groups_unreadable")),
        (" {guests}", Some("trusted_proxy_groups_unreadable")),
        ("guests|[x]", None),
    ] {
        let headers = request(&[("x-groups", Some(groups)), ("origin", None)]);
        assert_eq!(judge(&policy, "10.0.0.1:1", &headers).err().as_deref(), reason, "{groups}");
    }
}

#[test]
fn groups_that_come_twice_are_refused() {
    let ceilings = json!({"groupsHeader": "x-groups", "groups": {"ops": []}, "users": {"*": []}});
    let verified = json!({"metadata": ["ns", "email"], "as": "identity"});
    for filter in [json!({"scopes": ceilings}), json!({"scopes": ceilings, "assertion": verified})] {
        let policy = policy(filter);
        let mut headers = request(&[("x-groups", Some("ops"))]);
        let judge = |headers: &Pairs| judge_verified(&policy, "10.0.0.1:1", headers, Some(b"nick@example.com"));
        assert!(judge(&headers).is_ok());
        headers.push(("X-Groups".to_owned(), "ops".to_owned()));
        assert_eq!(judge(&headers).unwrap_err(), "trusted_proxy_groups_repeated");
    }
}

#[test]
fn one_header_can_be_the_user_and_required_and_a_name_can_be_required_twice() {
    let config = json!({"gateway": {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": {
        "userHeader": "x-forwarded-user",
        "requiredHeaders": ["X-Forwarded-User", "x-a", "X-A", "x-b", "x-c", "x-d", "x-e"],
    }}}});
    let policy = compile(config.to_string().as_bytes()).unwrap().policy;
    let names = ["x-a", "x-b", "x-c", "x-d", "x-e"];
    let mut all: Vec<(&str, Option<&str>)> = names.iter().map(|name| (*name, Some("1"))).collect();
    all.push(("origin", None));
    assert!(judge(&policy, "10.0.0.1:1", &request(&all)).is_ok());
    for name in names {
        let mut headers = request(&all);
        headers.retain(|(other, _)| other != name);
        let expected = if name == "x-a" { "x-a" } else { name };
        assert_eq!(
            judge(&policy, "10.0.0.1:1", &headers).unwrap_err(),
            format!("trusted_proxy_missing_header_{expected}")
        );
        // Copies are read as Node joins them: two blank ones are ", ".
        headers.extend([(name.to_owned(), String::new()), (name.to_owned(), String::new())]);
        assert!(judge(&policy, "10.0.0.1:1", &headers).is_ok(), "{name} twice, both blank");
    }
    let nameless = request(&all).into_iter().filter(|(name, _)| name != "x-forwarded-user").collect();
    assert_eq!(judge(&policy, "10.0.0.1:1", &nameless).unwrap_err(), "trusted_proxy_missing_header_X-Forwarded-User");
}

#[test]
fn a_refusal_names_the_user_once_the_request_got_that_far() {
    let policy = policy(json!({"assertion": {"metadata": ["ns", "email"], "as": "match"}}));
    for (changes, verified, code, user) in [
        (("x-forwarded-user", None), "nick@example.com", "trusted_proxy_user_missing", None),
        (("x-forwarded-user", Some("eve")), "nick@example.com", "trusted_proxy_assertion_mismatch", Some("eve")),
        (("x-forwarded-user", Some(" eve ")), "eve", "trusted_proxy_user_not_allowed", Some("eve")),
        (("origin", Some("null")), "nick@example.com", "trusted_proxy_origin_not_allowed", Some("nick@example.com")),
    ] {
        let map = serialize(&request(&[changes]));
        let mut request = policy.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap();
        request.assertion = Some(verified.as_bytes());
        let refusal = policy.decide(&request).unwrap_err();
        assert_eq!((refusal.to_string().as_str(), refusal.user), (code, user.map(str::as_bytes)));
    }
}

#[test]
fn a_permit_tells_the_scopes_that_it_stamps() {
    let policy = policy(json!({}));
    for (headers, expected) in [
        (request(&[("x-openclaw-scopes", Some("operator.read, bogus"))]), Some("operator.read")),
        (request(&[("x-openclaw-scopes", Some(""))]), Some("")),
        (request(&[]), Some(ALL)),
        (upgrade(&[]), None),
        (request(&[(":path", Some("/health"))]), None),
    ] {
        let map = serialize(&headers);
        let request = policy.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap();
        let scopes = policy.decide(&request).unwrap().scopes();
        assert_eq!(scopes.map(|scopes| scopes.header().as_bytes().to_vec()), expected.map(Vec::from), "{headers:?}");
    }
}

/// Whether the policy admits the request, and the reason if it does not.
fn refused(policy: &Policy, headers: &Pairs) -> Option<String> {
    judge(policy, "10.0.0.1:1", headers).err()
}

fn with_gateway(auth: &Value, control_ui: &Value, filter: &Value) -> Policy {
    let mut gateway = json!({
        "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
        "controlUi": control_ui,
    });
    gateway["auth"].as_object_mut().unwrap().extend(auth.as_object().unwrap().clone());
    let config = json!({"gateway": gateway, "filter": filter});
    compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy
}

#[test]
fn with_allow_tailscale_reads_of_the_control_ui_need_an_origin_or_to_be_same_origin() {
    const ORIGIN: Option<&str> = Some("trusted_proxy_origin_not_allowed");
    let on = json!({"allowTailscale": true});
    let policy = with_gateway(&on, &json!({"allowedOrigins": ["https://claw.example.com", "*"]}), &json!({}));
    let below = with_gateway(&on, &json!({"basePath": "/ui"}), &json!({}));
    let off = with_gateway(&json!({"allowTailscale": false}), &json!({}), &json!({}));
    let get = |path: &str, changes: &[(&str, Option<&str>)]| {
        let mut all = vec![(":path", Some(path)), ("origin", None)];
        all.extend(changes);
        request(&all)
    };
    for path in [
        "/control-ui-config.json",
        "/__openclaw__/control-ui-config.json",
        "/__openclaw/control-ui-config.json?x",
        "/avatar/main",
        "/avatar/",
        "/api/users/x/avatar",
        "/__openclaw__/assistant-media?source=x",
        "/__openclaw__/plugin-icon/x",
        "/__openclaw__/plugins/control-ui/a/b/c.js",
        "/__openclaw__/workspace-icon/a",
        // The Gateway resolves these before it looks for a route.
        "/x/../avatar/main",
        "/%61vatar/main",
        "//avatar/main",
    ] {
        assert_eq!(refused(&policy, &get(path, &[])).as_deref(), ORIGIN, "{path}");
        assert_eq!(refused(&off, &get(path, &[])), None, "{path}");
        for (name, value, expected) in [
            ("sec-fetch-site", "same-origin", None),
            ("sec-fetch-site", " Same-Origin", None),
            ("sec-fetch-site", "same-site", ORIGIN),
            ("sec-fetch-site", "cross-site", ORIGIN),
            ("sec-fetch-site", "none", ORIGIN),
            ("sec-fetch-site", "", ORIGIN),
            ("authorization", "Bearer x", None),
            ("authorization", "bearer  x", None),
            ("authorization", "Bearer ", ORIGIN),
            ("authorization", "Basic x", ORIGIN),
            ("origin", "https://claw.example.com", None),
            // `*` does not count here.
            ("origin", "https://other.example", ORIGIN),
        ] {
            let seen = refused(&policy, &get(path, &[(name, Some(value))]));
            assert_eq!(seen.as_deref(), expected, "{path} with {name}: {value}");
        }
        let bearer = [("origin", Some("https://other.example")), ("authorization", Some("Bearer x"))];
        assert_eq!(refused(&policy, &get(path, &bearer)), None, "{path}: a bearer lifts both");
        let mut twice = get(path, &[("sec-fetch-site", Some("same-origin"))]);
        twice.push(("sec-fetch-site".to_owned(), "same-origin".to_owned()));
        assert_eq!(refused(&policy, &twice).as_deref(), ORIGIN, "{path}: twice");
    }
    for (policy, method, path, expected) in [
        (&policy, "POST", "/control-ui-config.json", None),
        (&policy, "POST", "/__openclaw__/assistant-media", ORIGIN),
        (&policy, "HEAD", "/avatar/x", ORIGIN),
        (&policy, "GET", "/tools/invoke", None),
        (&policy, "GET", "/", None),
        (&policy, "GET", "/assets/index.js", None),
        (&policy, "GET", "/avatar", None),
        (&policy, "GET", "/ui/avatar/x", None),
        (&below, "GET", "/ui/avatar/x", ORIGIN),
        (&below, "GET", "/ui/control-ui-config.json", ORIGIN),
        (&below, "GET", "/api/users/x", ORIGIN),
        (&below, "GET", "/avatar/x", None),
    ] {
        let seen = refused(policy, &get(path, &[(":method", Some(method))]));
        assert_eq!(seen.as_deref(), expected, "{method} {path}");
    }
    assert_eq!(refused(&policy, &at(&upgrade(&[("origin", None)]), "/avatar/x")), None, "an upgrade is not a read");
}

#[test]
fn public_files_of_the_control_ui_pass_with_any_origin_and_nothing_else_does() {
    const ORIGIN: Option<&str> = Some("trusted_proxy_origin_not_allowed");
    const CROSS: Option<&str> = Some("trusted_proxy_cross_site");
    let listed = json!({"allowedOrigins": ["https://claw.example.com"]});
    let plain = with_gateway(&json!({}), &listed, &json!({}));
    let below = with_gateway(&json!({}), &json!({"basePath": " ui/ "}), &json!({}));
    let odd = with_gateway(&json!({}), &json!({"basePath": "/u%69"}), &json!({}));
    let api = with_gateway(&json!({}), &json!({"basePath": "/v1"}), &json!({}));
    let disabled = with_gateway(&json!({}), &json!({"enabled": false}), &json!({}));
    let tailscale = with_gateway(&json!({"allowTailscale": true}), &listed, &json!({}));
    let refuse = with_gateway(&json!({}), &listed, &json!({"crossSite": "refuse"}));
    let get = |path: &str, changes: &[(&str, Option<&str>)]| {
        let mut all = vec![(":path", Some(path)), ("origin", Some("https://evil.example"))];
        all.extend(changes);
        request(&all)
    };
    for (policy, method, path, expected) in [
        (&plain, "GET", "/assets/index-DsEuFQRE.js?v=1", None),
        (&plain, "HEAD", "/assets/index-DsEuFQRE.js", None),
        (&plain, "GET", "/manifest.webmanifest", None),
        (&tailscale, "GET", "/fonts/inter.woff2", None),
        (&below, "GET", "/ui/assets/x.js", None),
        (&plain, "POST", "/assets/index-DsEuFQRE.js", ORIGIN),
        (&plain, "OPTIONS", "/assets/index-DsEuFQRE.js", ORIGIN),
        (&plain, "get", "/assets/index-DsEuFQRE.js", ORIGIN),
        (&plain, "GET", "/", ORIGIN),
        (&plain, "GET", "/chat", ORIGIN),
        (&plain, "GET", "/assets/index.html", ORIGIN),
        (&plain, "GET", "/assets/%69ndex.js", ORIGIN),
        (&plain, "GET", "/assets/../control-ui-config.json", ORIGIN),
        (&plain, "GET", "/control-ui-config.json", ORIGIN),
        (&plain, "GET", "/ui/assets/x.js", ORIGIN),
        (&below, "GET", "/assets/x.js", ORIGIN),
        (&odd, "GET", "/assets/x.js", ORIGIN),
        (&odd, "GET", "/u%69/assets/x.js", ORIGIN),
        (&api, "GET", "/v1/assets/x.js", ORIGIN),
        (&disabled, "GET", "/assets/x.js", ORIGIN),
        (&tailscale, "GET", "/avatar/x.png", ORIGIN),
        (&tailscale, "GET", "/__openclaw__/plugins/control-ui/x/x.js", ORIGIN),
    ] {
        let seen = refused(policy, &get(path, &[(":method", Some(method))]));
        assert_eq!(seen.as_deref(), expected, "{method} {path}");
    }
    // A user is needed as ever, an upgrade is not a file, and whatever the Origin says does not matter.
    let nobody = get("/sw.js", &[("x-forwarded-user", None)]);
    assert_eq!(refused(&plain, &nobody).as_deref(), Some("trusted_proxy_user_missing"));
    let socket = at(&upgrade(&[("origin", Some("https://evil.example"))]), "/assets/x.js");
    assert_eq!(refused(&plain, &socket).as_deref(), ORIGIN);
    for origin in ["null", "https://a.example, https://b.example", "x"] {
        assert_eq!(refused(&plain, &get("/sw.js", &[("origin", Some(origin))])), None, "{origin}");
    }
    let mut twice = get("/sw.js", &[]);
    twice.push(("origin".to_owned(), "https://claw.example.com".to_owned()));
    assert_eq!(refused(&plain, &twice), None, "two origins");
    let map = serialize(&get("/sw.js", &[]));
    let (_, steps) = plain.trace(&plain.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap());
    let last = steps.last().unwrap();
    assert!(last.verdict == Verdict::Skipped && last.saw.contains("public file"), "{last:?}");
    // With `crossSite`, an origin that does not pass counts as none.
    for (origin, site, expected) in [
        ("https://evil.example", "cross-site", CROSS),
        ("https://evil.example", "same-origin", None),
        ("https://claw.example.com", "cross-site", None),
    ] {
        let headers = get("/sw.js", &[("origin", Some(origin)), ("sec-fetch-site", Some(site))]);
        assert_eq!(refused(&refuse, &headers).as_deref(), expected, "{origin} {site}");
    }
}

#[test]
fn another_web_site_makes_no_request_without_an_origin_but_for_a_link_to_the_page() {
    let refuse = with_gateway(
        &json!({}),
        &json!({"allowedOrigins": ["https://claw.example.com"]}),
        &json!({"crossSite": "refuse"}),
    );
    let allow = with_gateway(&json!({}), &json!({}), &json!({}));
    const SITE: &str = "sec-fetch-site";
    let navigation = [("sec-fetch-mode", Some("navigate")), ("sec-fetch-dest", Some("document"))];
    let frame = [("sec-fetch-mode", Some("navigate")), ("sec-fetch-dest", Some("iframe"))];
    let image = [("sec-fetch-mode", Some("no-cors")), ("sec-fetch-dest", Some("image"))];
    for (site, how, method, passes) in [
        (None, &image, "GET", true),
        (Some("same-origin"), &image, "GET", true),
        (Some("none"), &image, "GET", true),
        (Some("cross-site"), &image, "GET", false),
        (Some("same-site"), &image, "GET", false),
        (Some("cross-site"), &frame, "GET", false),
        (Some("cross-site"), &navigation, "GET", true),
        (Some("same-site"), &navigation, "HEAD", true),
        (Some("cross-site"), &navigation, "POST", false),
        // Unknown values are refused, whatever else is said.
        (Some("Same-Origin"), &image, "GET", false),
        (Some("x"), &navigation, "GET", false),
        (Some(""), &navigation, "GET", false),
    ] {
        let mut changes = vec![("origin", None), (":method", Some(method)), (SITE, site)];
        changes.extend(how);
        let headers = request(&changes);
        let expected = if passes { None } else { Some("trusted_proxy_cross_site") };
        assert_eq!(refused(&refuse, &headers).as_deref(), expected, "{site:?} {how:?} {method}");
        assert_eq!(refused(&allow, &headers), None, "{site:?} {how:?} {method}");
        let mut twice = headers.clone();
        twice.push((SITE.to_owned(), "same-origin".to_owned()));
        assert_eq!(refused(&refuse, &twice).is_none(), site.is_none(), "{site:?}: twice");
    }
    // An Origin decides as ever, and upgrades and anonymous paths are not concerned.
    let good = request(&[("origin", Some("https://claw.example.com")), (SITE, Some("cross-site"))]);
    assert_eq!(refused(&refuse, &good), None);
    let bad = request(&[("origin", Some("https://evil.example")), (SITE, Some("same-origin"))]);
    assert_eq!(refused(&refuse, &bad).as_deref(), Some("trusted_proxy_origin_not_allowed"));
    assert_eq!(refused(&refuse, &upgrade(&[("origin", None), (SITE, Some("cross-site"))])), None);
    let probe = request(&[(":path", Some("/readyz")), ("origin", None), (SITE, Some("cross-site"))]);
    assert_eq!(judge(&refuse, "10.0.0.1:1", &probe).unwrap().0, "anonymous");
}

#[test]
fn the_user_is_what_follows_the_prefix() {
    let google = json!({
        "userPrefix": "accounts.google.com:",
        "scopes": {"users": {"eve@example.com": ["operator.read"], "*": ["operator.admin"]}},
    });
    let allowed = json!({"trustedProxy": {
        "userHeader": "x-goog-authenticated-user-email", "allowUsers": ["nick@example.com", "eve@example.com"],
    }});
    let policy = with_gateway(&allowed, &json!({}), &google);
    for (value, expected) in [
        ("accounts.google.com:nick@example.com", Ok("as nick@example.com")),
        (" accounts.google.com: nick@example.com\t", Ok("as nick@example.com")),
        ("accounts.google.com:eve@example.com", Ok("as eve@example.com")),
        ("nick@example.com", Err("trusted_proxy_user_malformed")),
        ("Accounts.google.com:nick@example.com", Err("trusted_proxy_user_malformed")),
        ("accounts.google.com:", Err("trusted_proxy_user_malformed")),
        ("accounts.google.com: ", Err("trusted_proxy_user_malformed")),
        ("accounts.google.com:accounts.google.com:nick@example.com", Err("trusted_proxy_user_not_allowed")),
        (" ", Err("trusted_proxy_user_missing")),
    ] {
        let headers = request(&[("origin", None), ("x-goog-authenticated-user-email", Some(value))]);
        let judged = judge(&policy, "10.0.0.1:1", &headers);
        let seen = judged.as_ref().map(|(kind, _)| kind.as_str()).map_err(String::as_str);
        assert_eq!(seen, expected, "{value}");
        if let Ok((kind, edits)) = &judged {
            let user = kind.strip_prefix("as ").unwrap();
            assert!(edits.contains(&format!("x-goog-authenticated-user-email={user}")), "{edits:?}");
            let scopes = edits.iter().find(|edit| edit.starts_with("x-openclaw-scopes=")).unwrap();
            assert_eq!(scopes.contains("admin"), user != "eve@example.com", "{scopes}");
        }
    }
    // Copies are judged together: after the prefix of the first one, the second one follows.
    for value in ["accounts.google.com:", "accounts.google.com:nick@example.com"] {
        let mut headers = request(&[("origin", None), ("x-goog-authenticated-user-email", Some(value))]);
        headers.push(("x-goog-authenticated-user-email".into(), value.into()));
        assert_eq!(judge(&policy, "10.0.0.1:1", &headers).unwrap_err(), "trusted_proxy_user_repeated", "{value}");
    }
    // The verified identity names the user without the prefix.
    let mut checked = google.clone();
    checked["assertion"] = json!({"metadata": ["ns", "email"], "as": "match"});
    let policy = with_gateway(&allowed, &json!({}), &checked);
    let headers =
        request(&[("origin", None), ("x-goog-authenticated-user-email", Some("accounts.google.com:nick@example.com"))]);
    let map = serialize(&headers);
    let mut request = policy.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap();
    request.assertion = Some(b"nick@example.com");
    assert!(policy.decide(&request).is_ok());
}

/// The SHA-256 digests of "s3cret" and of "next".
const SECRET: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
const NEXT: &str = "c6c1c9a9c8543f1e4cd980064cf1625eeb61a90703b2464fff039f21682508b3";

#[test]
fn a_header_must_hold_one_of_the_secrets_and_the_gateway_does_not_get_it() {
    const WRONG: &str = "trusted_proxy_header_value_X-Proof";
    let policy = policy(json!({"requiredValues": {"X-Proof": {"sha256": [SECRET, NEXT.to_uppercase()]}}}));
    let cases: &[(&[&str], bool)] = &[
        (&["s3cret"], true),
        (&["next"], true),
        (&[], false),
        (&[""], false),
        (&["S3cret"], false),
        (&["s3cret "], false),
        (&["s3cret, s3cret"], false),
        (&["s3cret", "s3cret"], false),
        (&["", "s3cret"], false),
        (&[SECRET], false),
        (&["verified"], false),
    ];
    for (values, passes) in cases {
        let mut headers = request(&[]);
        headers.extend(values.iter().map(|value| ("x-proof".to_owned(), (*value).to_owned())));
        // A name that folds alike is no proof.
        headers.push(("x_proof".to_owned(), "s3cret".to_owned()));
        let judged = judge(&policy, "10.0.0.1:1", &headers);
        if *passes {
            let edits = judged.unwrap().1;
            assert!(edits.contains(&"-x-proof".to_owned()) && edits.contains(&"-x_proof".to_owned()), "{edits:?}");
        } else {
            assert_eq!(judged.unwrap_err(), WRONG, "{values:?}");
        }
    }
}

#[test]
fn a_secret_that_the_gateway_requires_is_replaced_and_a_missing_one_is_no_device() {
    let filter = json!({
        "requiredValues": {"x-edge": {"sha256": [SECRET]}},
        "anonymousPaths": ["/hooks/*"],
        "webSocketRefusal": "delegate"
    });
    let policy = policy(filter);
    let (kind, edits) = judge(&policy, "10.0.0.1:1", &request(&[("x-edge", Some("s3cret"))])).unwrap();
    assert_eq!(kind, "as nick@example.com");
    assert!(edits.contains(&"x-edge=verified".to_owned()) && !edits.contains(&"-x-edge".to_owned()), "{edits:?}");
    // Nobody vouches for what passes without an identity.
    for (path, value) in [("/hooks/a", "s3cret"), ("/hooks/a", "guess")] {
        let headers = request(&[(":path", Some(path)), ("x-edge", Some(value))]);
        let (kind, edits) = judge(&policy, "10.0.0.1:1", &headers).unwrap();
        assert!(kind == "anonymous" && edits.contains(&"-x-edge".to_owned()), "{kind} {edits:?}");
    }
    // The secret is not one of the rules that are left to the Gateway.
    let socket = |value: Option<&'static str>| {
        let upgrade = [("connection", Some("upgrade")), ("upgrade", Some("websocket")), ("x-forwarded-user", None)];
        judge(&policy, "10.0.0.1:1", &request(&[&upgrade[..], &[("x-edge", value)]].concat()))
    };
    assert_eq!(socket(Some("guess")).unwrap_err(), "trusted_proxy_header_value_x-edge");
    assert_eq!(socket(None).unwrap_err(), "trusted_proxy_header_value_x-edge");
    let (kind, edits) = socket(Some("s3cret")).unwrap();
    assert_eq!(kind, "delegated trusted_proxy_user_missing");
    assert!(edits.contains(&"-x-edge".to_owned()), "{edits:?}");
}

#[test]
fn what_the_login_left_behind_does_not_reach_the_gateway() {
    let filter = json!({
        "removeCookies": ["IdToken", "_oauth2_proxy*"],
        "removeBearer": true,
        "anonymousPaths": ["/hooks/*"],
        "webSocketRefusal": "delegate"
    });
    let policy = policy(filter);
    let edits = |changes: &[(&str, Option<&str>)]| judge(&policy, "10.0.0.1:1", &request(changes)).unwrap().1;
    let cookies = |edits: &[String]| edits.iter().find(|edit| edit.contains("cookie")).cloned();
    for (sent, expected) in [
        ("a=b", None),
        ("a=b; IdToken=x; c=d", Some("cookie=a=b; c=d")),
        ("IdToken=x", Some("-cookie")),
        ("_oauth2_proxy_1=x; a=b", Some("cookie=a=b")),
    ] {
        // Whoever sent it: a user, a webhook, a device.
        let upgrade = [("connection", Some("upgrade")), ("upgrade", Some("websocket")), ("x-forwarded-user", None)];
        for changes in [&[][..], &[(":path", Some("/hooks/a"))], &upgrade] {
            let edits = edits(&[changes, &[("cookie", Some(sent))]].concat());
            assert_eq!(cookies(&edits).as_deref(), expected, "{sent} {changes:?}");
        }
    }
    let gone = "-authorization".to_owned();
    for (value, goes) in [
        ("Bearer x", true),
        ("bearer", true),
        (" BEARER\tx", true),
        ("Basic eDp5,Bearer x", true),
        ("Basic eDp5", false),
        ("Bearerx y", false),
        ("", false),
    ] {
        assert_eq!(edits(&[("authorization", Some(value))]).contains(&gone), goes, "{value:?}");
        let hook = [(":path", Some("/hooks/a")), ("authorization", Some(value))];
        assert!(!edits(&hook).contains(&gone), "a webhook keeps {value:?}");
    }
}

#[test]
fn a_bearer_token_that_goes_lifts_nothing() {
    const REFUSED: &str = "trusted_proxy_origin_not_allowed";
    for (removed, expected) in [(false, None), (true, Some(REFUSED))] {
        let mut config = json!({
            "gateway": {
                "trustedProxies": ["10.0.0.1"],
                "auth": {"mode": "trusted-proxy", "allowTailscale": true, "trustedProxy": {"userHeader": "x-user"}}
            },
            "filter": {}
        });
        config["filter"]["removeBearer"] = removed.into();
        let policy = compile(config.to_string().as_bytes()).unwrap().policy;
        let headers: Pairs = [
            (":method", "GET"),
            (":path", "/avatar/main"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-user", "nick"),
            ("authorization", "Bearer x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        assert_eq!(judge(&policy, "10.0.0.1:1", &headers).err().as_deref(), expected, "removeBearer {removed}");
    }
}

#[test]
fn the_end_of_a_tunnel_needs_no_address_if_its_identity_is_enough() {
    const UNKNOWN: Option<&str> = Some("trusted_proxy_peer_unknown");
    const CERTIFICATE: Option<&str> = Some("trusted_proxy_peer_certificate");
    const KEY: &str = "io.istio.peer_principal";
    let proxy = "spiffe://mesh/ns/edge/sa/proxy";
    let sources = json!(["certificate", {"filterState": KEY}]);
    let with = |more: Value| {
        let mut filter = json!({"trustedPeers": [proxy], "peerIdentity": sources, "rejectSameHost": true});
        filter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        policy(filter)
    };
    let (enough, beside) = (with(json!({"peerTrust": "certificate"})), with(json!({})));
    assert_eq!(enough.identity_sources(), [IdentitySource::Certificate, IdentitySource::FilterState(KEY.to_owned())]);
    let inside = "envoy://internal_client_address/";
    let both = format!("{proxy},{proxy}");
    let state = |name: &'static str| Some(Identity::FilterState(name.as_bytes()));
    // The peer, its identity, and the results where the identity is enough and where the address counts too.
    let cases: &[(&str, Option<Identity<'_>>, Option<&str>, Option<&str>)] = &[
        (inside, state(proxy), None, UNKNOWN),
        ("203.0.113.7:0", state(proxy), None, Some("trusted_proxy_peer_unverified")),
        ("10.0.0.1:1", state(proxy), None, None),
        ("203.0.113.7:1", state(proxy), None, Some("trusted_proxy_untrusted_source")),
        ("127.0.0.1:1", state(proxy), Some("trusted_proxy_loopback_source"), Some("trusted_proxy_loopback_source")),
        (inside, None, UNKNOWN, UNKNOWN),
        (inside, Some(Identity::Certificate(proxy.as_bytes())), UNKNOWN, UNKNOWN),
        (inside, state("spiffe://mesh/ns/edge/sa/other"), CERTIFICATE, UNKNOWN),
        (inside, state(""), CERTIFICATE, UNKNOWN),
        (inside, Some(Identity::FilterState(both.as_bytes())), CERTIFICATE, UNKNOWN),
        ("10.0.0.1:1", None, CERTIFICATE, CERTIFICATE),
    ];
    for (peer, identity, alone, with_address) in cases {
        for (policy, expected) in [(&enough, alone), (&beside, with_address)] {
            let map = serialize(&request(&[]));
            let mut request = policy.read(Peer::from_connection(peer.as_bytes()), &map).unwrap();
            request.identity = *identity;
            request.destination = socket_address(b"10.0.0.9:443");
            let refused = policy.decide(&request).err().map(|refusal| refusal.to_string());
            assert_eq!(refused.as_deref(), *expected, "{peer} {identity:?}");
        }
    }
    // An identity that is no SPIFFE ID counts only in a certificate.
    let urn = policy(json!({"trustedPeers": ["urn:proxy"], "peerIdentity": sources}));
    for (identity, expected) in
        [(Identity::Certificate(b"urn:proxy"), None), (Identity::FilterState(b"urn:proxy"), CERTIFICATE)]
    {
        let map = serialize(&request(&[]));
        let mut request = urn.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap();
        request.identity = Some(identity);
        assert_eq!(urn.decide(&request).err().map(|refusal| refusal.to_string()).as_deref(), expected);
    }
}

#[test]
fn claims_that_must_be_true_are_booleans() {
    const CLAIM: &str = "trusted_proxy_assertion_claim";
    let metadata = [
        // {"ns": {"email": "nick@ex.", "verified": true, "text": "true", "number": 1.0}}
        &b"\n\x50\n\x02ns\x12\x4a"[..],
        b"\n\x13\n\x05email\x12\x0a\x1a\x08nick@ex.",
        b"\n\x0e\n\x08verified\x12\x02\x20\x01",
        b"\n\x0e\n\x04text\x12\x06\x1a\x04true",
        b"\n\x13\n\x06number\x12\x09\x11admin   ",
    ]
    .concat();
    let policy = |claims: Value| {
        policy(json!({"assertion": {"metadata": ["ns", "email"], "as": "identity", "requireTrue": claims}}))
    };
    for (claims, expected) in [
        (json!([]), true),
        (json!([["ns", "verified"]]), true),
        (json!([["ns", "text"]]), false),
        (json!([["ns", "number"]]), false),
        (json!([["ns", "missing"]]), false),
        (json!([["ns", "verified"], ["ns", "text"]]), false),
        (json!([["other", "verified"]]), false),
    ] {
        let policy = policy(claims.clone());
        let (identity, are_true) = policy.verified(Some(b"nick@ex."), || Some(metadata.clone()));
        assert_eq!((identity, are_true), (Some(&b"nick@ex."[..]), expected), "{claims}");
        let map = serialize(&request(&[]));
        let mut request = policy.read(Peer::from_connection(b"10.0.0.1:1"), &map).unwrap();
        (request.assertion, request.claims_are_true) = (identity, are_true);
        let refused = policy.decide(&request).err().map(|refusal| refusal.to_string());
        let wanted = if expected { "trusted_proxy_user_not_allowed" } else { CLAIM };
        assert_eq!(refused.as_deref(), Some(wanted), "{claims}");
    }
    // Eight bytes can be a number. Where nothing tells, they are no name.
    let number = policy(json!([]));
    assert_eq!(number.verified(Some(b"admin   "), || Some(metadata.clone())), (None, true));
    assert_eq!(number.verified(Some(b"nick@ex."), || None), (None, true));
    assert_eq!(
        number.verified(Some(b"nick"), || unreachable!("only eight bytes can be a number")).0,
        Some(&b"nick"[..])
    );
}
