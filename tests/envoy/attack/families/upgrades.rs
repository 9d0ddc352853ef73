//! WebSockets, and other upgrades.

use super::Family;
use crate::attack::suite::*;
use crate::attack::{frames, http3};

const USER_MISSING: &str = "trusted_proxy_user_missing";
const UNTRUSTED: &str = "trusted_proxy_untrusted_source";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let handshake = |request: Request, upgrade: &str, key: Option<&str>, version: Option<&str>| {
        let mut request = request.all(&[("connection", "Upgrade"), ("upgrade", upgrade)]);
        if let Some(key) = key {
            request = request.header("sec-websocket-key", key);
        }
        if let Some(version) = version {
            request = request.header("sec-websocket-version", version);
        }
        request
    };
    // Paths that pass without an identity, but not as a WebSocket: for the Gateway an upgrade is its own on almost
    // every path.
    for target in [
        "/health",
        "/healthz",
        "/public/x",
        "/health?x",
        "/hooks/",
        "/hooks/x",
        "/hooks/../",
        "//hooks",
        "/hooks%20",
        "/HOOKS",
        "/x/../hooks",
    ] {
        let request = Request::proxied().target(target).upgrade();
        attacks.push(attack(
            "paths as they come",
            format!("an upgrade by nobody on `{target}`"),
            h1(request, closed(USER_MISSING)),
        ));
    }
    attacks.push(attack(
        "paths as they come",
        "an upgrade by nobody where the operator allows it",
        h1(Request::from_peer(STRANGER).target("/hooks").upgrade(), anonymous()),
    ));
    attacks.push(attack(
        "paths as they come",
        "the same with a user and an alias of it",
        h1(
            Request::from_peer(STRANGER)
                .target("/hooks")
                .all(&[("x-forwarded-user", ADMIN), ("x_forwarded_user", ADMIN)])
                .upgrade(),
            anonymous(),
        ),
    ));
    attacks.push(attack(
        "paths as they come",
        "a plain request by nobody where only upgrades are allowed",
        h1(Request::proxied().target("/hooks"), refused(USER_MISSING)),
    ));
    attacks.push(attack(
        "paths normalized",
        "an upgrade by nobody on `/x/../hooks`, which Envoy makes `/hooks`",
        h1(Request::proxied().target("/x/../hooks").upgrade(), anonymous()),
    ));
    attacks.push(attack(
        "raw",
        "an upgrade by a stranger who names Nick",
        h1(Request::from_peer(STRANGER).header("x-forwarded-user", NICK).upgrade(), closed(UNTRUSTED)),
    ));

    // Invalid handshakes. Without a user: refused. With Nick: left to the Gateway.
    for (name, upgrade, key, version, refusal, answer) in [
        ("without a key", "websocket", None, Some("13"), refused(USER_MISSING), Some(400)),
        ("with an empty key", "websocket", Some(""), Some("13"), refused(USER_MISSING), None),
        ("with a short key", "websocket", Some("c2hvcnQ="), Some("13"), refused(USER_MISSING), None),
        (
            "with a key that is not base64",
            "websocket",
            Some("!!!!IHNhbXBsZSBub25jZQ=="),
            Some("13"),
            refused(USER_MISSING),
            None,
        ),
        ("without a version", "websocket", Some(KEY), None, refused(USER_MISSING), None),
        ("with version 8", "websocket", Some(KEY), Some("8"), refused(USER_MISSING), None),
        ("with two versions", "websocket", Some(KEY), Some("13, 8"), refused(USER_MISSING), None),
        ("in upper case", "WEBSOCKET", Some(KEY), Some("13"), closed(USER_MISSING), None),
    ] {
        let by = |request: Request| handshake(request, upgrade, key, version);
        attacks.push(attack("raw", format!("an upgrade by nobody {name}"), h1(by(Request::proxied()), refusal)));
        let pass = nick_socket().with(|passed| passed.answer = answer);
        attacks.push(attack("raw", format!("an upgrade by Nick {name}"), h1(by(Request::honest()), pass)));
    }
    // Requests that are not an upgrade.
    let no_connection = |request: Request| {
        request.all(&[("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", KEY)])
    };
    for (name, by, refusal, pass) in [
        ("without Connection", &no_connection as &dyn Fn(Request) -> Request, refused(USER_MISSING), nick(WRITE)),
        (
            "with Connection: close",
            &|request| no_connection(request).header("connection", "close"),
            refused(USER_MISSING),
            nick(WRITE),
        ),
        (
            "to h2c",
            &|request| {
                request.all(&[
                    ("connection", "Upgrade, HTTP2-Settings"),
                    ("upgrade", "h2c"),
                    ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
                ])
            },
            refused(USER_MISSING),
            nick(WRITE),
        ),
        (
            "to h2c and WebSocket",
            &|request| handshake(request, "h2c, websocket", Some(KEY), Some("13")),
            Expect::Stopped(403),
            Expect::Stopped(403),
        ),
        (
            "to WebSocket and h2c",
            &|request| handshake(request, "websocket, h2c", Some(KEY), Some("13")),
            Expect::Stopped(403),
            Expect::Stopped(403),
        ),
        ("to TLS", &|request| handshake(request, "TLS/1.0", None, None), Expect::Stopped(403), Expect::Stopped(403)),
        (
            "to an empty protocol",
            &|request| handshake(request, "", Some(KEY), Some("13")),
            Expect::Stopped(403),
            Expect::Stopped(403),
        ),
        (
            "to WebSocket twice",
            &|request| handshake(request, "websocket", Some(KEY), Some("13")).header("upgrade", "websocket"),
            Expect::Stopped(403),
            Expect::Stopped(403),
        ),
    ] {
        attacks.push(attack(
            "raw",
            format!("an upgrade by nobody {name}"),
            h1(by(Request::proxied()), refusal.clone()),
        ));
        attacks.push(attack("raw", format!("an upgrade by Nick {name}"), h1(by(Request::honest()), pass.clone())));
        let on_health = if refusal == refused(USER_MISSING) { anonymous() } else { refusal };
        attacks.push(attack(
            "raw",
            format!("an upgrade on `/health` {name}"),
            h1(by(Request::proxied()).target("/health"), on_health),
        ));
    }
    // Methods and bodies.
    let post = |request: Request| request.method("POST").upgrade().lines("Content-Length: 5\r\n").tail("hello");
    attacks.push(attack(
        "raw",
        "an upgrade by POST with a body, by nobody",
        h1(post(Request::proxied()), refused(USER_MISSING)),
    ));
    attacks.push(attack(
        "raw",
        "an upgrade by POST with a body on `/health`",
        h1(post(Request::proxied().target("/health")), refused(USER_MISSING)),
    ));
    attacks.push(attack(
        "raw",
        "an upgrade by HEAD, by nobody",
        h1(Request::proxied().method("HEAD").upgrade(), refused(USER_MISSING)),
    ));
    let chunked = Request::proxied().upgrade().lines("Transfer-Encoding: chunked\r\n").tail("5\r\nhello\r\n0\r\n\r\n");
    attacks.push(attack("raw", "an upgrade with a chunked body, by nobody", h1(chunked, closed(USER_MISSING))));
    // Bytes that follow the handshake before it is answered.
    let load = vec![b'x'; 200 * 1024];
    attacks.push(attack(
        "raw",
        "200 KiB right behind a refused upgrade",
        h1(Request::proxied().upgrade().tail(&load), closed(USER_MISSING)),
    ));
    attacks.push(attack(
        "raw",
        "200 KiB right behind an admitted upgrade arrive after it, and are not requests",
        h1(Request::honest().upgrade().tail(&load), nick_socket().with(|passed| passed.body = Some(load.len()))),
    ));
    let hidden = Request::honest().target("/tools/invoke").again().http1();
    attacks.push(attack(
        "raw",
        "a good request right behind a refused upgrade",
        h1(Request::proxied().upgrade().tail(&hidden), closed(USER_MISSING)),
    ));
    attacks.push(attack(
        "raw",
        "a good request right behind an upgrade that is refused with 401",
        h1_bytes(
            handshake(Request::proxied(), "websocket", None, Some("13")).tail(&hidden).http1(),
            vec![refused(USER_MISSING), Expect::End],
        ),
    ));
    attacks.push(attack(
        "raw",
        "a request of Admin's right behind an upgrade of Nick's goes to the socket, and is not a request",
        h1(
            Request::honest().upgrade().tail(Request::proxied().header("x-forwarded-user", ADMIN).again().http1()),
            nick_socket().with(|passed| {
                passed.body = Some(Request::proxied().header("x-forwarded-user", ADMIN).again().http1().len())
            }),
        ),
    ));
    // Subprotocols, and identity in unusual places.
    let protocols =
        |request: Request| request.header("sec-websocket-protocol", "openclaw.v4, bearer.admin, x-forwarded-user");
    attacks.push(attack(
        "raw",
        "several subprotocols, by nobody",
        h1(protocols(Request::proxied()).upgrade(), closed(USER_MISSING)),
    ));
    attacks.push(attack(
        "raw",
        "several subprotocols, by Nick",
        h1(protocols(Request::honest()).upgrade(), nick_socket()),
    ));
    attacks.push(attack(
        "raw",
        "an alias of the user header on an upgrade",
        h1(Request::honest().header("x_forwarded_user", ADMIN).upgrade(), nick_socket()),
    ));
    attacks.push(attack(
        "raw",
        "two users on an upgrade",
        h1(Request::honest().header("x-forwarded-user", ADMIN).upgrade(), closed("trusted_proxy_user_repeated")),
    ));
    attacks.push(attack(
        "raw",
        "a user and token in the query of an upgrade",
        h1(Request::proxied().target("/?user=nick@example.com&token=x").upgrade(), closed(USER_MISSING)),
    ));
    attacks.push(attack(
        "HTTP/1.0",
        "an upgrade in HTTP/1.0, by nobody",
        h1(Request { version: "HTTP/1.0", ..Request::proxied().upgrade() }, refused(USER_MISSING)),
    ));

    // Delegated: forwarded to the Gateway, without any identity.
    let nobody = || Expect::Admitted(Passed::default());
    for (name, request, expect) in [
        ("nobody", Request::proxied(), nobody()),
        ("a user who may not come in", Request::proxied().header("x-forwarded-user", "mallory@example.com"), nobody()),
        (
            "nobody, with aliases and other proxies' headers",
            Request::proxied().all(&[
                ("x_forwarded_user", ADMIN),
                ("tailscale-user-login", ADMIN),
                ("x-forwarded-groups", "admins"),
            ]),
            nobody(),
        ),
        (
            "nobody, who asks for every scope",
            Request::proxied().header("x-openclaw-scopes", "operator.admin, root"),
            nobody().with(|passed| passed.scopes = Some("operator.admin".to_owned())),
        ),
        ("two users", Request::honest().header("x-forwarded-user", ADMIN), closed("trusted_proxy_user_repeated")),
        (
            "nobody, from a foreign page",
            Request::proxied().header("origin", "https://evil.example"),
            closed("trusted_proxy_origin_not_allowed"),
        ),
        ("a stranger", Request::from_peer(STRANGER), closed(UNTRUSTED)),
        ("Nick", Request::honest(), nick_socket()),
    ] {
        attacks.push(attack("delegate", format!("delegated upgrades: {name}"), h1(request.upgrade(), expect)));
    }
    attacks.push(attack(
        "delegate",
        "delegated upgrades: a plain request is not delegated",
        h1(Request::proxied(), refused(USER_MISSING)),
    ));
    attacks.push(attack(
        "delegate",
        "delegated upgrades: a handshake without a key, by nobody",
        h1(
            handshake(Request::proxied(), "websocket", None, Some("13")),
            nobody().with(|passed| passed.answer = Some(400)),
        ),
    ));

    // HTTP/2: extended CONNECT.
    let connect = |request: &Request, protocol: &str| {
        let mut fields = request.clone().method("CONNECT").fields();
        fields.insert(1, (b":protocol".to_vec(), protocol.as_bytes().to_vec()));
        fields.push((b"sec-websocket-version".to_vec(), b"13".to_vec()));
        fields
    };
    // Something must follow the headers, or the stream would end there.
    let frame = frames::data(1, b"\x81\x80\0\0\0\0", false);
    for (name, request, protocol, expect) in [
        ("by nobody", Request::proxied(), "websocket", refused(USER_MISSING)),
        (
            "by a stranger who names Nick",
            Request::from_peer(STRANGER).header("x-forwarded-user", NICK),
            "websocket",
            refused(UNTRUSTED),
        ),
        ("by nobody on `/health`", Request::proxied().target("/health"), "websocket", refused(USER_MISSING)),
        (
            "by Nick, with aliases",
            Request::honest().all(&[("x_forwarded_user", ADMIN), ("x_openclaw_scopes", "operator.admin")]),
            "websocket",
            nick_socket(),
        ),
        (
            "by Nick, with a key of the client's own",
            Request::honest().header("sec-websocket-key", KEY),
            "websocket",
            nick_socket(),
        ),
        (
            "by Nick, from a foreign page",
            Request::honest().header("origin", "https://evil.example"),
            "websocket",
            refused("trusted_proxy_origin_not_allowed"),
        ),
        ("by Nick, to a protocol of one's own", Request::honest(), "h2c", Expect::Stopped(403)),
        (
            "by Nick, to a protocol with a line break",
            Request::honest(),
            "websocket\r\nx-forwarded-user: admin@example.com",
            Expect::Stopped(0),
        ),
        (
            "by Nick, with two users",
            Request::honest().header("x-forwarded-user", ADMIN),
            "websocket",
            refused("trusted_proxy_user_repeated"),
        ),
    ] {
        let fields = connect(&request, protocol);
        let from = if request.proxy == Request::from_peer(STRANGER).proxy { LOCAL_STRANGER } else { LOCAL_PROXY };
        let over_http2 = h2_fields(&request.proxy, &fields, &frame, expect.clone());
        let over_http3 = h3_fields(from, fields, &http3::data(b"\x81\x80\0\0\0\0"), false, expect);
        attacks.push(shots("raw", format!("extended CONNECT {name} (HTTP/2, HTTP/3)"), vec![over_http2, over_http3]));
    }
    // The same over HTTP/3, where other settings decide.
    let socket = http3::data(b"\x81\x80\0\0\0\0");
    for (mode, name, request, expect) in [
        ("delegate", "delegated: nobody", Request::proxied(), nobody()),
        (
            "delegate",
            "delegated: nobody, with an alias",
            Request::proxied().header("x_forwarded_user", ADMIN),
            nobody(),
        ),
        ("delegate", "delegated: a stranger", Request::from_peer(STRANGER), refused(UNTRUSTED)),
        (
            "delegate",
            "delegated: two users",
            Request::honest().header("x-forwarded-user", ADMIN),
            refused("trusted_proxy_user_repeated"),
        ),
        (
            "paths as they come",
            "by nobody where upgrades are allowed",
            Request::from_peer(STRANGER).target("/hooks"),
            anonymous(),
        ),
        (
            "paths as they come",
            "by nobody below that path",
            Request::proxied().target("/hooks/x"),
            refused(USER_MISSING),
        ),
        (
            "paths as they come",
            "by nobody where only plain requests are allowed",
            Request::proxied().target("/public/x"),
            refused(USER_MISSING),
        ),
    ] {
        let from = if request.proxy == Request::from_peer(STRANGER).proxy { LOCAL_STRANGER } else { LOCAL_PROXY };
        let shot = h3_fields(from, connect(&request, "websocket"), &socket, false, expect);
        attacks.push(attack(mode, format!("extended CONNECT {name} (HTTP/3)"), shot));
    }
    let load = frames::data(1, &vec![b'x'; 16_000], false);
    let fields = connect(&Request::proxied(), "websocket");
    attacks.push(attack(
        "raw",
        "16 KB right behind a refused extended CONNECT (HTTP/2)",
        h2_fields(&Request::proxied().proxy, &fields, &load, refused(USER_MISSING)),
    ));
    let plain: Vec<_> = Request::honest()
        .method("CONNECT")
        .fields()
        .into_iter()
        .filter(|(name, _)| name != b":path" && name != b":scheme")
        .collect();
    attacks.push(attack(
        "raw",
        "a plain CONNECT by Nick (HTTP/2)",
        h2_fields(&Request::honest().proxy, &plain, &frame, Expect::Stopped(404)),
    ));
    attacks.push(attack(
        "raw",
        "a plain CONNECT by Nick (HTTP/3)",
        h3_fields(LOCAL_PROXY, plain, &http3::data(b"x"), false, Expect::Stopped(404)),
    ));
    Family {
        name: "Upgrades",
        about: "A WebSocket is where the agent is. To the Gateway an upgrade is its own on nearly every path, so a health check must not \
            become one, and nothing that follows a refused handshake may go on.",
        attacks,
    }
}
