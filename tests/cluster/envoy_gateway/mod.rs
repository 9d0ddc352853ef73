//! Envoy Gateway's controller on a real API server takes the manifest of `envoy/envoy-gateway`, as the page says. The
//! Envoy that it asks for gets its configuration and the module from it. In front is a browser that signs in with a
//! real OpenID provider. Behind is an echo server, where headers have to be seen, or a real OpenClaw Gateway.

mod place;

use std::io::Write as _;

use harness::cluster::envoy_gateway::ENVOY;
use harness::echo;
use harness::envoy::eventually;
use harness::gateway::{Denied, Gateway, Options, Session, control_ui};
use harness::jwt::{Key, for_an_hour};
use harness::manifests::{self, of_kind};
use harness::openid::Browser;
use harness::wire::{self, Connection, Headers, values};
use place::{BROWSER, FILE, HOST, NAMESPACE, NICK, Outcome, Place};
use serde_json::{Value, json};

use crate::observability::{Job, logs, shows};
use crate::placements::{Arrival, Column, at_an_edge, both, other_code, settles};

const EVE: &str = "eve@example.com";
const MISSING: &str = "trusted_proxy_assertion_missing";
const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";

fn user(name: &str) -> Outcome {
    Ok(vec![name.to_owned()])
}

fn refused(reason: &str) -> Outcome {
    Err(reason.to_owned())
}

#[test]
fn the_manifest_of_the_page_guards_a_gateway_in_a_cluster() {
    let mut place = Place::new();
    every_object_is_accepted(&place);
    place.eventually("Envoy has the provider's keys", "/", &[("authorization", &place.bearer(NICK))], &user(NICK));
    programs_sign_in_with_their_token_and_nothing_else_names_a_user(&place);
    paths_headers_and_tls_are_as_the_traffic_policy_sets_them(&place);
    let mut browser = Browser::start(&place.gateway.cluster.network, &place.certificate(), &ENVOY.to_string());
    a_login_goes_all_the_way_and_a_user_who_is_not_listed_is_refused(&mut browser);
    is_observed(&place);
    the_table_holds(&place);
    every_route_of_the_gateway_has_the_filter_and_needs_it(&place);
    the_peer_is_the_one_that_connects(&place);
    a_real_gateway_admits_the_user_and_nobody_without_the_filter(&place, &mut browser);
    an_edit_counts_and_a_bad_one_is_told_by_envoy_alone(&mut place);
    a_digest_that_is_not_there_closes_the_gateway(&place);
}

/// The statistics and the access log, after some requests.
fn is_observed(place: &Place) {
    let cluster = &place.gateway.cluster;
    let name = "openclaw-envoy-gateway";
    let ask = |user: &str| drop(place.page("/", &[("authorization", &place.bearer(user))]));
    shows(cluster, &[Job { name, reason: NOT_ALLOWED, lacks: &["envoy_extension_config_discovery_"] }], &|| {
        ask(NICK);
        ask(EVE);
    });
    cluster.api.apply_all(&manifests::read("envoy/observability/envoy-gateway.yaml"));
    let reference = json!({"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "openclaw"});
    let patch = json!({"spec": {"infrastructure": {"parametersRef": reference}}}).to_string();
    cluster.api.must(&["patch", "gateway", "openclaw", "--namespace", NAMESPACE, "--type=merge", "--patch", &patch]);
    logs(
        || {
            ask(EVE);
            place.gateway.envoy_lines()
        },
        NOT_ALLOWED,
    );
}

/// The row of the table in docs/istio.md. The other plugin is Lua in the same policy; an EnvoyProxy puts it before the
/// filter or after it.
fn the_table_holds(place: &Place) {
    const ROW: &str = "Envoy Gateway, `gateway.yaml`";
    let (nick, eve) = (place.bearer(NICK), place.bearer(EVE));
    let askers = at_an_edge(&nick, &eve, |headers| {
        let one = |asked: Outcome| -> Arrival {
            let users = asked?;
            assert!(users.len() < 2, "{users:?}");
            Ok(users.into_iter().next())
        };
        let page = place.try_page("/", headers).unwrap_or_else(|error| Err(error.to_string()));
        // A stranger's page is sent to the login, and a WebSocket cannot follow it there.
        let page = page.map_err(|reason| if reason == "302" { "401".to_owned() } else { reason });
        both(one(page), one(place.websocket("/", headers)))
    });
    let settles = |column: Column| settles(ROW, column, &askers);
    settles(Column::With);
    // Envoy Gateway does not know all that Envoy's Lua can do.
    place.patch("envoyproxy", &json!({"spec": {"luaValidation": "InsecureSyntax"}}));
    for column in [Column::Before, Column::After] {
        let [lua, wasm] = ["envoy.filters.http.lua", "envoy.filters.http.wasm"];
        let lua_code = json!([{"type": "Inline", "inline": other_code(column)}]);
        place.patch("envoyextensionpolicy", &json!({"spec": {"lua": lua_code}}));
        let order = if column == Column::Before { "before" } else { "after" };
        place.patch("envoyproxy", &json!({"spec": {"filterOrder": [{"name": lua, order: wasm}]}}));
        assert_eq!(
            place.conditions("envoyextensionpolicy", "openclaw"),
            ["Accepted=True"],
            "{}",
            place.module_status()
        );
        eventually("another plugin to run", || {
            let dump = place.gateway.cluster.on_loopback("envoy", 19000, "/config_dump?resource=dynamic_listeners");
            let at = |name: &str| dump.find(&format!("\"name\": \"{name}/"));
            at(lua).zip(at(wasm)).is_some_and(|(lua, wasm)| (lua < wasm) == (column == Column::Before))
        });
        settles(column);
    }
    place.patch("envoyextensionpolicy", &json!({"spec": {"lua": null}}));
    place.patch("envoyproxy", &json!({"spec": {"filterOrder": null, "luaValidation": null}}));
    place.api().must(&["delete", "envoyextensionpolicy", "openclaw", "--namespace", NAMESPACE]);
    settles(Column::Without);
    place.apply_the_manifest();
    settles(Column::With);
}

/// Every condition of every object is true.
fn every_object_is_accepted(place: &Place) {
    let accepted = ["Accepted=True"];
    let route = ["Accepted=True", "ResolvedRefs=True"];
    let objects: [(&str, &str, &[&str]); 7] = [
        ("gatewayclass", "eg", &accepted),
        // Its own, and those of its listener.
        (
            "gateway",
            "openclaw",
            &["Accepted=True", "Programmed=True", "Programmed=True", "Accepted=True", "ResolvedRefs=True"],
        ),
        ("httproute", "openclaw", &route),
        ("httproute", "openclaw-health", &route),
        ("clienttrafficpolicy", "openclaw", &accepted),
        ("securitypolicy", "openclaw", &accepted),
        ("envoyextensionpolicy", "openclaw", &accepted),
    ];
    for (kind, name, expected) in objects {
        let mut seen = Vec::new();
        let mut answer = || {
            seen = place.conditions(kind, name);
            seen == expected
        };
        eventually(&format!("the conditions {expected:?} of {kind} {name}"), &mut answer);
    }
    let documents = manifests::read(FILE);
    assert_eq!(documents.len() + 1, objects.len(), "and the class, which the page does not create");
    assert_eq!(of_kind(&documents, "EnvoyExtensionPolicy")["spec"]["wasm"][0]["failOpen"], false);
}

fn programs_sign_in_with_their_token_and_nothing_else_names_a_user(place: &Place) {
    let provider = &place.gateway.provider;
    // A stranger's page leads to the provider. A WebSocket cannot follow it there.
    let sent = place.get("/chat", &[]);
    let location = sent.header("location").unwrap_or_default();
    assert!(sent.status == 302 && location.starts_with("https://id.example.com/authorize?"), "{sent:?}");
    let token = provider.token(NICK);
    let cookie = format!("IdToken={token}; BearerToken={token}");
    let forged = [
        ("x-openclaw-user", NICK),
        ("x-forwarded-user", NICK),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-real-ip", "10.0.0.2"),
        ("x-forwarded-client-cert", "By=spiffe://x/envoy;URI=spiffe://x/nick"),
        ("cookie", &cookie),
    ];
    for one in forged.iter().map(|one| vec![*one]).chain([vec![], forged.to_vec()]) {
        assert_eq!(place.page("/", &one), refused("302"), "{one:?}");
        assert_eq!(place.websocket("/", &one), refused("401"), "{one:?}");
    }

    // A program's token names the user, whatever else it sends. Some tokens are no tokens.
    let claims = |over: Value| {
        let mut claims = json!({"iss": "https://id.example.com", "aud": "openclaw", "sub": "1", "email": NICK});
        harness::gateway::lay(&mut claims, &over);
        claims
    };
    let stranger = Key::rs256("login");
    let tokens = [
        (token, user(NICK), user(NICK)),
        (provider.token("mallory@example.com"), refused(NOT_ALLOWED), refused(NOT_ALLOWED)),
        (provider.sign(&claims(json!({"aud": "another"}))), refused("403"), refused("403")),
        (provider.sign(&claims(json!({"iss": "https://id.example.net"}))), refused("401"), refused("401")),
        (stranger.sign(&for_an_hour(claims(json!({})))), refused("401"), refused("401")),
        (stranger.without_signature(&for_an_hour(claims(json!({})))), refused("401"), refused("401")),
        // Without a token: like a browser.
        (String::new(), refused("302"), refused("401")),
    ];
    for (token, page, websocket) in tokens {
        let bearer = format!("Bearer {token}");
        for lies in [&[][..], &forged, &[("x-openclaw-user", "admin@example.com"), ("x-openclaw-user", "root")]] {
            let headers = [&[("authorization", bearer.as_str())], lies].concat();
            assert_eq!(place.page("/v1/models", &headers), page, "{headers:?}");
            assert_eq!(place.websocket("/", &headers), websocket, "{headers:?}");
        }
    }
    // What arrives: the true address, which the Gateway looks for from the right, and neither the rest of what was
    // forged nor the token.
    let bearer = place.bearer(NICK);
    let lies = [&[("authorization", bearer.as_str()), ("x-openclaw-scopes", "operator.admin")], &forged[..5]].concat();
    let arrived = echo::received(&place.get("/", &lies).json());
    assert_eq!(values(&arrived, "x-forwarded-for"), [format!("10.0.0.2,{BROWSER}")], "{arrived:?}");
    assert_eq!(values(&arrived, "x-openclaw-scopes"), ["operator.write"], "{arrived:?}");
    for gone in ["x-forwarded-user", "x-forwarded-client-cert", "authorization"] {
        assert_eq!(values(&arrived, gone), Vec::<String>::new(), "{gone}: {arrived:?}");
    }
    // Another site's page.
    let evil = [("authorization", bearer.as_str()), ("origin", "https://evil.example.net")];
    assert_eq!(place.page("/", &evil), refused("trusted_proxy_origin_not_allowed"));
    assert_eq!(place.websocket("/", &evil), refused("trusted_proxy_origin_not_allowed"));
    // The health check does not need a user, and does not get one.
    assert_eq!(place.page("/healthz", &[("x-openclaw-user", NICK)]), Ok(Vec::new()));
    assert_eq!(place.websocket("/healthz", &[("x-openclaw-user", NICK)]), refused(MISSING));
}

fn paths_headers_and_tls_are_as_the_traffic_policy_sets_them(place: &Place) {
    let bearer = place.bearer(NICK);
    let signed_in = ("authorization", bearer.as_str());
    let kept = place.get("/v1//models/openclaw%2Fmain", &[signed_in]);
    assert_eq!(kept.json()["path"], "/v1/models/openclaw%2Fmain", "{kept:?}");
    assert_eq!(kept.header("x-envoy-upstream-service-time"), None, "{kept:?}");
    for underscores in ["x_openclaw_user", "X_Openclaw_User", "x-openclaw_user"] {
        assert_eq!(place.page("/", &[signed_in, (underscores, NICK)]), refused("400"), "{underscores}");
    }
    // HTTP/1.1 for browsers, which prefer HTTP/2: this way a refused WebSocket can carry its reason.
    let mut stream = place.secure(place.connect().unwrap(), &["h2", "http/1.1"]).unwrap();
    stream.flush().unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // The Gateway does not serve other hosts.
    let mut connection = Connection::new(stream);
    connection.send(&wire::request("GET", "/", &[("host", "other.example.com"), signed_in])).unwrap();
    assert_eq!(connection.response("GET").unwrap().status, 404);
}

fn a_login_goes_all_the_way_and_a_user_who_is_not_listed_is_refused(browser: &mut Browser) {
    let page = browser.visit("/");
    assert!(page["body"].as_str().unwrap_or_default().contains("Sign-in"), "{page}");
    browser.sign_in("nick");
    let assert_nick = |upstream: &Headers| {
        assert_eq!(values(upstream, "x-openclaw-user"), [NICK], "{upstream:?}");
        assert_eq!(values(upstream, "x-forwarded-for"), [BROWSER], "{upstream:?}");
        let cookies = values(upstream, "cookie").concat();
        for left in ["IdToken", "AccessToken", "RefreshToken", "OauthHMAC", "OauthExpires", "eyJ"] {
            assert!(!cookies.contains(left), "the session ends at the filter: {cookies}");
        }
    };
    assert_nick(&browser.echoed());
    let answer = browser.fetch(&json!({"x-openclaw-user": EVE}));
    assert_eq!(answer["status"], 200, "{answer}");
    assert_nick(&echo::received(&serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()));
    assert_nick(&echo::received(&browser.websocket().unwrap()));

    // The provider knows Eve, but she is not on the list.
    browser.forget();
    browser.visit("/");
    browser.sign_in("eve");
    // The refusal page does not let scripts send requests, so this uses a page that passes without an identity.
    browser.look(NOT_ALLOWED, "setTimeout(() => location.assign('/healthz'), 200)");
    assert!(values(&browser.echoed(), "x-openclaw-user").is_empty());
    assert_eq!(browser.websocket(), Err((1008, format!("proxy authentication required: {NOT_ALLOWED}"))));
    let answer = browser.fetch(&json!({"x-openclaw-user": NICK}));
    assert_eq!(answer["status"], 401, "{answer}");
}

/// A route that somebody adds for the same backend has the filter, because the policy targets the Gateway. If it
/// targeted one HTTPRoute, the new one would bypass the filter. It still brings no user, because Envoy removes the
/// header first.
fn every_route_of_the_gateway_has_the_filter_and_needs_it(place: &Place) {
    place.api().apply_all(&[json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "added", "namespace": NAMESPACE},
        "spec": {"parentRefs": [{"name": "openclaw"}], "hostnames": [HOST], "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/added"}}],
            "backendRefs": [{"name": "openclaw-gateway", "port": 18789}],
        }]},
    })]);
    let claim = [("x-openclaw-user", NICK), ("x-openclaw-scopes", "operator.admin")];
    // The route without the SecurityPolicy is there when the login is no longer asked for.
    place.eventually("the added route", "/added", &claim, &refused(MISSING));
    assert_eq!(place.websocket("/added", &claim), refused(MISSING));

    let target = |kind: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": "openclaw"});
    place.patch("envoyextensionpolicy", &json!({"spec": {"targetRefs": [target("HTTPRoute")]}}));
    place.eventually("the policy on one route", "/added", &claim, &Ok(Vec::new()));
    assert_eq!(place.websocket("/added", &claim), Ok(Vec::new()));
    let bearer = place.bearer(NICK);
    assert_eq!(place.page("/", &[("authorization", &bearer)]), user(NICK));
    place.patch("clienttrafficpolicy", &json!({"spec": {"headers": {"earlyRequestHeaders": null}}}));
    place.eventually("no early removal", "/added", &claim, &user(NICK));
    assert_eq!(place.websocket("/added", &claim), user(NICK));

    place.apply_the_manifest();
    place.eventually("the manifest again", "/added", &claim, &refused(MISSING));
    place.api().must(&["delete", "httproute", "added", "--namespace", NAMESPACE]);
}

/// What the page says of `clientIPDetection` and `proxyProtocol`.
fn the_peer_is_the_one_that_connects(place: &Place) {
    let bearer = place.bearer(NICK);
    let signed_in = ("authorization", bearer.as_str());
    let detection = json!({"xForwardedFor": {"numTrustedHops": 1}});
    place.patch("clienttrafficpolicy", &json!({"spec": {"clientIPDetection": detection}}));
    let unverified = refused("trusted_proxy_peer_unverified");
    for client in ["198.51.100.9", "127.0.0.1"] {
        let headers = [signed_in, ("x-forwarded-for", client)];
        place.eventually("clientIPDetection", "/", &headers, &unverified);
        assert_eq!(place.websocket("/", &headers), unverified, "{client}");
    }
    place.patch("clienttrafficpolicy", &json!({"spec": {"clientIPDetection": null, "proxyProtocol": {}}}));
    let through_a_balancer = || {
        let mut stream = place.connect()?;
        stream.write_all(&wire::proxy_line("198.51.100.9"))?;
        let mut connection = Connection::new(place.secure(stream, &["http/1.1"])?);
        connection.send(&wire::request("GET", "/", &[("host", HOST), signed_in]))?;
        connection.response("GET")
    };
    eventually("the PROXY protocol", || through_a_balancer().is_ok_and(|response| response.status == 200));
    let arrived = echo::received(&through_a_balancer().unwrap().json());
    assert_eq!(values(&arrived, "x-forwarded-for"), ["198.51.100.9"], "{arrived:?}");
    assert_eq!(values(&arrived, "x-openclaw-user"), [NICK], "{arrived:?}");
    place.patch("clienttrafficpolicy", &json!({"spec": {"proxyProtocol": null}}));
    place.eventually("the manifest again", "/", &[signed_in], &user(NICK));
}

fn a_real_gateway_admits_the_user_and_nobody_without_the_filter(place: &Place, browser: &mut Browser) {
    let mut block =
        of_kind(&manifests::read(FILE), "EnvoyExtensionPolicy")["spec"]["wasm"][0]["config"]["gateway"].clone();
    // As in a pod: others reach it, and nobody on its own host is trusted.
    block["bind"] = json!("lan");
    block["auth"]["trustedProxy"]["allowLoopback"] = Value::Null;
    let gateway = place.gateway.cluster.network.on("gateway", || Gateway::start(&block, &Options::default()));
    let mut address = gateway.address();
    address.set_ip(harness::cluster::envoy_gateway::BACKEND.into());
    place.put_backend(Some(address));
    let (nick, eve) = (place.bearer(NICK), place.bearer(EVE));
    let page = |headers: &[(&str, &str)]| place.get("/control-ui-config.json", headers);
    let named = [("x-openclaw-user", NICK), ("x-openclaw-scopes", "operator.admin")];
    let by_eve = [&[("authorization", eve.as_str())][..], &named].concat();
    let is_gateway = |response: &wire::Response| response.json()["headers"].is_null();
    eventually("the OpenClaw Gateway behind Envoy", || {
        let response = page(&[("authorization", &nick)]);
        response.status == 200 && is_gateway(&response)
    });
    assert_eq!(page(&by_eve).json()["error"]["reason"], NOT_ALLOWED);
    let open = |token: &str| {
        let headers = [
            ("authorization".to_owned(), token.as_bytes().to_vec()),
            ("origin".to_owned(), b"https://claw.example.com".to_vec()),
        ];
        Session::open(place.open().unwrap(), "/", &headers, &control_ui())
    };
    match open(&eve) {
        Err(Denied::Closed(1008, reason, _)) => assert!(reason.ends_with(NOT_ALLOWED), "{reason}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("eve is admitted"),
    }
    open(&nick).unwrap_or_else(|denied| panic!("{denied:?}"));
    browser.forget();
    browser.visit("/");
    browser.sign_in("nick");
    // The page's own WebSocket was admitted. The Gateway itself asks about a browser that it has not seen before.
    browser.look("Approve this browser", "null");

    // Somebody deletes the EnvoyExtensionPolicy. Nobody gets in: no request has a user.
    place.api().must(&["delete", "envoyextensionpolicy", "openclaw", "--namespace", NAMESPACE]);
    eventually("Envoy without the filter", || page(&by_eve).json()["error"]["reason"].is_null());
    for headers in [&by_eve, &[&[("authorization", nick.as_str())][..], &named].concat()] {
        let response = page(headers);
        assert!(response.status == 401 && response.json()["error"]["reason"].is_null(), "{response:?}");
    }
    // Without what the route writes, and without `earlyRequestHeaders`, the Gateway would believe everybody who is
    // signed in.
    let patch = json!([{"op": "remove", "path": "/spec/rules/0/filters"}]).to_string();
    place.api().must(&["patch", "httproute", "openclaw", "--namespace", NAMESPACE, "--type=json", "--patch", &patch]);
    place.patch("clienttrafficpolicy", &json!({"spec": {"headers": {"earlyRequestHeaders": null}}}));
    eventually("a Gateway that believes eve", || page(&by_eve).status == 200);
    place.apply_the_manifest();
    eventually("the filter again", || page(&by_eve).json()["error"]["reason"] == NOT_ALLOWED);
    place.put_backend(None);
    place.eventually("the echo server again", "/", &[("authorization", &nick)], &user(NICK));
}

fn an_edit_counts_and_a_bad_one_is_told_by_envoy_alone(place: &mut Place) {
    const REJECTED: &str = "envoy_listener_manager_lds_update_rejected{}";
    let (nick, eve) = (place.bearer(NICK), place.bearer(EVE));
    let (nick, eve) = (("authorization", nick.as_str()), ("authorization", eve.as_str()));
    let allow = |module: &mut Value| module["config"]["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([EVE]);
    place.patch_module(allow);
    place.eventually("the edit", "/", &[eve], &user(EVE));
    assert_eq!(place.page("/", &[nick]), refused(NOT_ALLOWED));

    // The status says that the bad policy is accepted. Envoy alone knows better, and keeps the one before.
    let before = place.metric(REJECTED);
    place.patch_module(|module| module["config"] = json!({"gatewya": {}}));
    assert_eq!(place.conditions("envoyextensionpolicy", "openclaw"), ["Accepted=True"]);
    eventually("Envoy to reject the policy", || place.metric(REJECTED) > before);
    assert_eq!(place.page("/", &[eve]), user(EVE));
    // A new Envoy has no policy before. Kubernetes sees it as ready, and it answers nobody.
    place.gateway.start_envoy();
    for (path, headers) in [("/", &[eve][..]), ("/", &[nick]), ("/healthz", &[])] {
        place.eventually("an Envoy with the bad policy", path, headers, &refused("503"));
    }
    assert_eq!(place.conditions("envoyextensionpolicy", "openclaw"), ["Accepted=True"]);
    assert_eq!(place.metric(REJECTED), 0);
    let said = |what: &str| place.gateway.envoy_lines().iter().any(|line| line.contains(what));
    assert!(said("gatewya: unknown key; did you mean `gateway`?"), "{:?}", place.gateway.envoy_lines());
    eventually("the access log", || said(r#""details":"wasm_fail_stream""#));
    place.apply_the_manifest();
    place.eventually("the manifest again", "/", &[nick], &user(NICK));
}

fn a_digest_that_is_not_there_closes_the_gateway(place: &Place) {
    let nick = place.bearer(NICK);
    let signed_in = [("authorization", nick.as_str())];
    place.patch_module(|module| {
        let url = module["code"]["image"]["url"].as_str().unwrap();
        let (name, _) = url.split_once('@').unwrap();
        module["code"]["image"]["url"] = format!("{name}@sha256:{}", "1".repeat(64)).into();
    });
    place.eventually("an Envoy without the module", "/", &signed_in, &refused("500"));
    assert_eq!(place.page("/healthz", &[]), refused("500"));
    // A route that answers by itself takes no WebSockets.
    assert_eq!(place.websocket("/", &signed_in), refused("403"));
    assert_eq!(place.conditions("envoyextensionpolicy", "openclaw"), ["Accepted=False"]);
    let status = place.module_status();
    assert_eq!(status["reason"], "Invalid", "{status}");
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("Wasm: could not fetch Wasm OCI image"), "{message}");
    place.apply_the_manifest();
    place.eventually("the manifest again", "/", &signed_in, &user(NICK));
}
