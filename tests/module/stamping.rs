//! The headers that an upstream receives from a forwarded request, and their cost.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use harness::vectors::Outcome;
use harness::wasm::{Action, Exchange, Host, Request};
use serde_json::{Value, json};

use crate::{EVERYTHING, MAP, PROPERTY, REMOVE, REPLACE, config, filter, identity, nameless, once, signed};

/// The headers that the filter changed, each as `name: values` or `name: gone`, in alphabetical order.
fn changes(request: &Request, exchange: &Exchange) -> Vec<String> {
    assert_eq!(exchange.action, Action::Continue, "{:?}", exchange.outcome());
    let of = |headers: &[(String, Vec<u8>)], name: &str| -> Vec<String> {
        let copies = headers.iter().filter(|(known, _)| known == name);
        copies.map(|(_, value)| value.escape_ascii().to_string()).collect()
    };
    let names: BTreeSet<_> = request.headers.iter().chain(&exchange.headers).map(|(name, _)| name).collect();
    let changed = names.into_iter().filter_map(|name| {
        let (before, after) = (of(&request.headers, name), of(&exchange.headers, name));
        (before != after).then(|| match after.is_empty() {
            true => format!("{name}: gone"),
            false => format!("{name}: {}", after.join(" | ")),
        })
    });
    changed.collect()
}

#[test]
fn an_admitted_request_costs_two_reads_and_a_write_for_what_changes() {
    let ready = || signed(Request::get("/plugin")).header("x-openclaw-scopes", "operator.write");
    let cases: [(&str, Request, &[&str]); 8] = [
        ("all is right", ready(), &[]),
        ("no scopes", signed(Request::get("/plugin")), &[REPLACE]),
        ("scopes to be narrowed", ready().set("x-openclaw-scopes", "operator.write,bogus"), &[REPLACE]),
        ("scopes in two copies", ready().header("x-openclaw-scopes", "operator.read"), &[REPLACE]),
        ("a padded user", ready().set("x-forwarded-user", b" nick@example.com\xa0"), &[REPLACE]),
        ("another identity", ready().header("x-forwarded-email", "eve@example.com"), &[REMOVE]),
        (
            "three copies of an alias",
            ready().header("x_forwarded_user", "a").header("x_forwarded_user", "b").header("x_forwarded_user", "c"),
            &[REMOVE],
        ),
        ("two aliases", ready().header("x_forwarded_user", "a").header("x.forwarded.user", "b"), &[REMOVE, REMOVE]),
    ];
    let mut host = Host::configured(&config(json!({})));
    host.send(&ready());
    for (what, request, writes) in cases {
        let exchange = host.send(&request);
        let mut made: Vec<_> = exchange.calls.iter().map(|call| call.name).collect();
        let mut wanted = [&[PROPERTY, MAP], writes].concat();
        made.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(made, wanted, "{what}: {:?}", exchange.calls);
        assert_eq!(exchange.action, Action::Continue, "{what}");
        assert_eq!(exchange.values("x-forwarded-user"), ["nick@example.com"], "{what}");
    }
}

#[test]
fn a_websocket_that_is_right_as_it_came_is_not_written_to() {
    let exchange = once(&config(json!({})), &signed(Request::upgrade("/")));
    assert_eq!(exchange.outcome(), Outcome::Admitted { upstream: signed(Request::upgrade("/")).headers });
    assert_eq!(exchange.count(REPLACE) + exchange.count(REMOVE), 0, "{:?}", exchange.calls);
}

#[test]
fn an_upstream_sees_one_user_one_set_of_scopes_and_no_other_identity() {
    let everything = format!("x-openclaw-scopes: {EVERYTHING}");
    let everything = everything.as_str();
    // The scopes of a plugin's path without a scopes header.
    let write = "x-openclaw-scopes: operator.write";
    let get = || signed(Request::get("/"));
    let own = || signed(Request::get("/tools/invoke"));
    let ws = || signed(Request::upgrade("/"));
    let basic = || config(json!({}));
    let cases: Vec<(&str, Value, Request, Vec<&str>)> = vec![
        ("a plugin's path", basic(), get(), vec![write]),
        ("an own path", basic(), own(), vec![everything]),
        ("an own path with a query", basic(), signed(Request::get("/tools/invoke?a=b")), vec![everything]),
        ("an own path that is not plain", basic(), signed(Request::get("/x/../tools/invoke")), vec![write]),
        ("empty scopes stay empty", basic(), own().header("x-openclaw-scopes", ""), vec![]),
        ("only unknown scopes", basic(), own().header("x-openclaw-scopes", "root"), vec!["x-openclaw-scopes: "]),
        (
            "copies are joined",
            basic(),
            own()
                .header("x-openclaw-scopes", "operator.read, operator.read")
                .header("x-openclaw-scopes", ",operator.write"),
            vec!["x-openclaw-scopes: operator.read,operator.write"],
        ),
        (
            "a WebSocket's scopes are its own",
            basic(),
            ws().header("x-openclaw-scopes", " operator.read ,x"),
            vec!["x-openclaw-scopes: operator.read"],
        ),
        (
            "a padded user",
            basic(),
            nameless(Request::get("/")).header("x-forwarded-user", b"\xa0\t nick \xa0"),
            vec!["x-forwarded-user: nick", write],
        ),
        (
            "a user that is not UTF-8",
            basic(),
            nameless(Request::get("/")).header("x-forwarded-user", b"\xff\xa0x\xfe"),
            vec![write],
        ),
        (
            "another user header",
            identity(json!({"userHeader": "X-User"})),
            get().header("x-user", "root"),
            vec!["x-forwarded-user: gone", write],
        ),
        (
            "the user with another header name",
            filter(json!({"upstreamUserHeader": "X-Remote"})),
            get().header("x-remote", "eve"),
            vec!["x-forwarded-user: gone", write, "x-remote: nick@example.com"],
        ),
        (
            "an alias of the upstream name",
            filter(json!({"upstreamUserHeader": "x-remote"})),
            get().header("x_remote", "eve"),
            vec!["x-forwarded-user: gone", write, "x-remote: nick@example.com", "x_remote: gone"],
        ),
        (
            "the scopes under a wrong name",
            basic(),
            get().header("x_openclaw_scopes", "operator.admin"),
            vec![write, "x_openclaw_scopes: gone"],
        ),
        (
            "a required header is spared",
            identity(json!({"requiredHeaders": ["X-Pomerium-Jwt-Assertion"]})),
            get().header("x-pomerium-jwt-assertion", "j").header("x_pomerium_jwt_assertion", "j"),
            vec![write, "x_pomerium_jwt_assertion: gone"],
        ),
        (
            "a kept header is spared",
            filter(json!({"keepHeaders": ["X-Auth-Request-Email"]})),
            get()
                .header("x-auth-request-email", "n")
                .header("x_auth_request_email", "e")
                .header("x-auth-request-user", "e"),
            vec!["x-auth-request-user: gone", write, "x_auth_request_email: gone"],
        ),
        (
            "a stripped header is removed",
            filter(json!({"stripHeaders": ["X-Badge"]})),
            get().header("x-badge", "1").header("x_badge", "1").header("x-badges", "1"),
            vec!["x-badge: gone", write, "x_badge: gone"],
        ),
        (
            "Cloudflare's assertion is removed",
            basic(),
            get().header("cf-access-jwt-assertion", "j"),
            vec!["cf-access-jwt-assertion: gone", write],
        ),
        (
            "Cloudflare's assertion stays if the Gateway reads it",
            identity(json!({"cloudflareAccessOidc": {
                "issuer": "https://t.cloudflareaccess.com", "providerId": "a", "githubAccountIdClaim": "b",
            }})),
            get().header("cf-access-jwt-assertion", "j").header("cf-access-authenticated-user-email", "e"),
            vec!["cf-access-authenticated-user-email: gone", write],
        ),
        (
            "an upgrade's connection tokens",
            basic(),
            ws().set("connection", "keep-alive, X-Forwarded-User ,Upgrade,x-other"),
            vec!["connection: keep-alive, Upgrade, x-other"],
        ),
        ("an upgrade's innocent connection tokens", basic(), ws().set("connection", "keep-alive,  Upgrade"), vec![]),
        (
            "an anonymous path",
            basic(),
            get()
                .set(":path", "/health?x")
                .header("x-openclaw-scopes", "operator.admin")
                .header("x_forwarded_user", "e"),
            vec!["x-forwarded-user: gone", "x-openclaw-scopes: gone", "x_forwarded_user: gone"],
        ),
        (
            "a kept header without an identity",
            filter(json!({"keepHeaders": ["x-auth-request-email"]})),
            get().set(":path", "/health").header("x-auth-request-email", "e"),
            vec!["x-auth-request-email: gone", "x-forwarded-user: gone"],
        ),
        (
            "a required header without an identity",
            config(json!({
                "gateway": {"auth": {"trustedProxy": {"requiredHeaders": ["x-pomerium-jwt-assertion"]}}},
                "filter": {"webSocketRefusal": "delegate"},
            })),
            nameless(Request::upgrade("/")).header("x-pomerium-jwt-assertion", "j"),
            vec!["x-pomerium-jwt-assertion: gone"],
        ),
        (
            "an anonymous path from a peer without an address",
            basic(),
            Request::get("/healthz").without_property(&["source", "address"]),
            vec![],
        ),
        (
            "an anonymous subtree",
            filter(json!({"anonymousPaths": ["/pub/*"]})),
            get().set(":path", "/pub/x"),
            vec!["x-forwarded-user: gone"],
        ),
        ("an anonymous path does not exempt upgrades", basic(), ws().set(":path", "/health"), vec![]),
        (
            "an anonymous upgrade keeps scopes that only narrow",
            filter(json!({"anonymousPaths": ["ws:/hook"]})),
            ws().set(":path", "/hook").header("x-openclaw-scopes", " operator.read,root"),
            vec!["x-forwarded-user: gone", "x-openclaw-scopes: operator.read"],
        ),
        (
            "an anonymous upgrade without scopes",
            filter(json!({"anonymousPaths": ["ws:/hook"]})),
            Request::upgrade("/hook"),
            vec![],
        ),
    ];
    for (what, config, request, wanted) in cases {
        assert_eq!(changes(&request, &once(&config, &request)), wanted, "{what}");
    }
}

#[test]
fn a_header_without_identity_goes_on_byte_for_byte() {
    let innocent = "x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id cookie authorization \
        x-forwarded-users x-auth-requests x-pomerium tailscale cf-connecting-ip x-goog-api-key remote-users \
        x-webauthn x-ms-request-id x-openclaw-session-key x-openclaw-scopesx grpc-timeout user te \
        x-authentiks x-auth-token x-api-key x-access-token x-users x-token x-token-users x-remote x-auth \
        oidc-claims ssl-clients x-consumers";
    let request = innocent.split_whitespace().fold(signed(Request::get("/")), |request, name| {
        request.header(name, [b"\x80 v,\xff\"", name.as_bytes()].concat()).header(name, "second copy")
    });
    let exchange = once(&config(json!({})), &request);
    assert_eq!(changes(&request, &exchange), ["x-openclaw-scopes: operator.write"]);
    let mut wanted = request.headers;
    wanted.push(("x-openclaw-scopes".to_owned(), b"operator.write".to_vec()));
    assert_eq!(exchange.headers, wanted);
}

#[test]
fn every_identity_header_and_every_alias_of_one_is_scrubbed() {
    let managed = "x-forwarded-email x-forwarded-groups x-forwarded-preferred-username x-forwarded-access-token \
        x-auth-request-user x-auth-request-email x-pomerium-jwt-assertion x-pomerium-claim-email \
        tailscale-user-login tailscale-user-name cf-access-authenticated-user-email cf-access-jwt-assertion \
        x-goog-authenticated-user-email x-goog-authenticated-user-id x-goog-iap-jwt-assertion \
        x-ms-client-principal x-ms-client-principal-name x-amzn-oidc-data x-amzn-oidc-identity remote-user \
        remote-email remote-groups remote-name x-webauth-user x-webauth-groups x-authentik-username \
        x-authentik-uid x-forwarded-group x-forwarded-roles remote-sub x-remote-user x-remote-group \
        x-remote-extra-acme x-auth-email x-auth-groups x-auth-roles x-auth-subject x-auth-userid x-auth-username \
        x-token-subject x-token-user-name x-token-user-roles x-user x-userinfo x-id-token x-endpoint-api-userinfo \
        x-vouch-user x-vouch-idp-accesstoken x-ms-token-aad-id-token x-consumer-username x-credential-identifier \
        x-forwarded-tls-client-cert x-forwarded-tls-client-cert-info x-amzn-mtls-clientcert-subject oidc-claim-email \
        oidc-access-token oidc-id-token ssl-client-subject-dn ssl-client-verify";
    let mut host = Host::configured(&config(json!({})));
    for upgrade in [false, true] {
        let base = || if upgrade { signed(Request::upgrade("/")) } else { signed(Request::get("/")) };
        let untouched = changes(&base(), &host.send(&base()));
        for name in managed.split_whitespace() {
            for spelling in [
                name.to_owned(),
                name.replace('-', "_"),
                name.replace('-', "."),
                name.replacen('-', "_", 1),
                name.replace('-', "!"),
            ] {
                let request = base().header(&spelling, "eve").header(&spelling, "eve");
                let mut wanted = vec![format!("{spelling}: gone")];
                wanted.extend(untouched.iter().cloned());
                wanted.sort();
                let mut seen = changes(&request, &host.send(&request));
                seen.sort();
                assert_eq!(seen, wanted, "{spelling}, upgrade: {upgrade}");
            }
        }
    }
}

#[test]
fn only_a_websocket_of_http_2_or_3_gets_a_missing_key() {
    let keyless = |protocol: &str| {
        signed(Request::upgrade("/").without("sec-websocket-key")).property(&["request", "protocol"], protocol)
    };
    let plain = signed(Request::get("/")).property(&["request", "protocol"], "HTTP/2");
    let anonymous = filter(json!({"anonymousPaths": ["ws:/hook"]}));
    let delegate = filter(json!({"webSocketRefusal": "delegate"}));
    let basic = config(json!({}));
    let cases = [
        ("HTTP/1.1", &basic, keyless("HTTP/1.1"), false),
        ("HTTP/1.0", &basic, keyless("HTTP/1.0"), false),
        ("HTTP/2", &basic, keyless("HTTP/2"), true),
        ("HTTP/3", &basic, keyless("HTTP/3"), true),
        ("HTTP/2, anonymous", &anonymous, keyless("HTTP/2").set(":path", "/hook"), true),
        ("HTTP/2, delegated", &delegate, keyless("HTTP/2").without("x-forwarded-user"), true),
        ("a plain request of HTTP/2", &basic, plain, false),
    ];
    for (what, config, request, given) in cases {
        let exchange = once(config, &request);
        assert_eq!(exchange.action, Action::Continue, "{what}: {:?}", exchange.outcome());
        let keys = exchange.values("sec-websocket-key");
        let lengths: Vec<_> = keys.iter().map(|key| BASE64.decode(key).unwrap().len()).collect();
        assert_eq!(lengths, if given { vec![16] } else { vec![] }, "{what}: {keys:?}");
    }
    // Each key is new in all of its bytes.
    let mut host = Host::configured(&basic);
    let keys: Vec<_> = (0..20).flat_map(|_| host.send(&keyless("HTTP/2")).values("sec-websocket-key")).collect();
    let bytes: Vec<_> = keys.iter().map(|key| BASE64.decode(key).unwrap()).collect();
    assert_eq!(bytes.iter().collect::<BTreeSet<_>>().len(), 20, "{keys:?}");
    for at in 0..16 {
        let values: BTreeSet<_> = bytes.iter().map(|key| key[at]).collect();
        assert!(values.len() > 5, "byte {at}: {keys:?}");
    }
    // An existing key is not changed.
    let keyed = signed(Request::upgrade("/")).property(&["request", "protocol"], "HTTP/2");
    assert_eq!(once(&basic, &keyed).values("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
}

#[test]
fn a_request_as_large_as_envoy_lets_in_is_decided_like_any_other() {
    let mut request = signed(Request::get("/plugin"));
    for index in 0..90 {
        request = request.header(&format!("x-bulk-{index}"), vec![b'a' + index % 26; 640]);
    }
    let request = request.header("x_forwarded_user", "eve");
    let seen = changes(&request, &once(&config(json!({})), &request));
    assert_eq!(seen, ["x-openclaw-scopes: operator.write", "x_forwarded_user: gone"]);
}
