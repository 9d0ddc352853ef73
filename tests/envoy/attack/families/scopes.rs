//! Attempts to get more scopes than were given.

use super::Family;
use crate::attack::suite::*;

const SCOPES: &str = "x-openclaw-scopes";
const OWN_PATH: &str = "/tools/invoke";

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let with = |value: &[u8]| Request::honest().target(OWN_PATH).header(SCOPES, value);
    let read = "operator.read";
    let many = "operator.read,".repeat(4000);
    for (name, request, scopes) in [
        ("an empty header means none, not all", with(b""), ""),
        ("a blank header", with(b" \t "), ""),
        ("a header of the byte 0xA0", with(b"\xa0"), ""),
        ("a header of commas", with(b",,, ,"), ""),
        ("an unknown scope alone", with(b"operator.root"), ""),
        ("a star", with(b"*"), ""),
        ("a star behind the dot", with(b"operator.*"), ""),
        ("the part before the dot", with(b"operator"), ""),
        ("the part behind the dot", with(b"admin"), ""),
        ("upper case", with(b"OPERATOR.ADMIN"), ""),
        ("mixed case", with(b"operator.Admin"), ""),
        ("a letter too many", with(b"operator.admins"), ""),
        ("a final dot", with(b"operator.admin."), ""),
        ("quotes", with(b"\"operator.admin\""), ""),
        ("brackets, as in JSON", with(b"[operator.admin]"), ""),
        ("percent encoding", with(b"operator%2eadmin"), ""),
        ("a Cyrillic letter", with("operаtor.admin".as_bytes()), ""),
        ("a wide full stop", with("operator．admin".as_bytes()), ""),
        ("a zero-width space", with("operator.\u{200b}admin".as_bytes()), ""),
        ("a negation", with(b"!operator.read"), ""),
        ("a semicolon for the comma", with(b"operator.read;operator.admin"), ""),
        ("a space for the comma", with(b"operator.read operator.admin"), ""),
        ("a tab for the comma", with(b"operator.read\toperator.admin"), ""),
        ("a bar for the comma", with(b"operator.read|operator.admin"), ""),
        ("a plus for the comma", with(b"operator.read+operator.admin"), ""),
        ("a wide comma", with("operator.read，operator.admin".as_bytes()), ""),
        ("the byte 0xA0 for the comma", with(b"operator.read\xa0operator.admin"), ""),
        ("a parameter behind a scope", with(b"operator.read,operator.admin;q=1"), read),
        ("an unknown scope next to a known one", with(b"operator.read,operator.root"), read),
        ("a byte that is not UTF-8 behind a scope", with(b"operator.read,operator.admin\xff"), read),
        ("spaces around scopes", with(b"  operator.read ,\toperator.write  "), "operator.read,operator.write"),
        ("the byte 0xA0 around a scope, which the Gateway trims", with(b"\xa0operator.read\xa0"), read),
        ("one scope 4,000 times", with(many.as_bytes()), read),
        (
            "two headers, which are joined",
            with(b"operator.read").header(SCOPES, "operator.write"),
            "operator.read,operator.write",
        ),
        ("two headers, one of them empty", with(b"").header(SCOPES, read), read),
        ("an alias with a wider scope", with(b"operator.read").header("x_openclaw_scopes", "operator.admin"), read),
        (
            "an alias before the header",
            Request::honest().target(OWN_PATH).header("X.OpenClaw.Scopes", "operator.admin").header(SCOPES, read),
            read,
        ),
        (
            "every alias at once",
            b"!#$%&'*+.^_`|~".iter().fold(with(b"operator.read"), |request, byte| {
                let byte = char::from(*byte);
                request.header(format!("x{byte}openclaw{byte}scopes"), "operator.admin")
            }),
            read,
        ),
        ("a scope in the query", with(b"operator.read").target("/tools/invoke?x-openclaw-scopes=operator.admin"), read),
        ("a scope in a cookie", with(b"operator.read").header("cookie", "x-openclaw-scopes=operator.admin"), read),
        (
            "a scope in headers of similar names",
            with(b"operator.read").all(&[
                ("x-openclaw-scope", "operator.admin"),
                ("openclaw-scopes", "operator.admin"),
                ("x-scopes", "operator.admin"),
            ]),
            read,
        ),
    ] {
        attacks.push(both("raw", name, request, nick_named(scopes)));
    }
    // Without the header.
    for (name, request, expect) in [
        ("no header on a plugin's path", Request::honest().target("/plugin"), nick(WRITE)),
        (
            "no header on a plugin's path, but a scope in the query",
            Request::honest().target("/plugin?x-openclaw-scopes=operator.admin"),
            nick(WRITE),
        ),
        (
            "no header on a plugin's path, but an alias",
            Request::honest().target("/plugin").header("x_openclaw_scopes", "operator.admin"),
            nick(WRITE),
        ),
        (
            "no header on a plugin's path, but an own path in X-Original-URL",
            Request::honest().target("/plugin").all(&[
                ("x-original-url", OWN_PATH),
                ("x-rewrite-url", OWN_PATH),
                ("x-envoy-original-path", OWN_PATH),
            ]),
            nick(WRITE),
        ),
        ("no header on an own path", Request::honest().target(OWN_PATH), nick(OWN)),
    ] {
        attacks.push(both("raw", name, request, expect));
    }
    for (name, request) in [
        ("scopes of nobody's", Request::proxied().target(OWN_PATH).header(SCOPES, "operator.admin")),
        (
            "scopes of nobody's, and an alias of the user",
            Request::proxied().target(OWN_PATH).header(SCOPES, "operator.admin").header("x_forwarded_user", NICK),
        ),
    ] {
        attacks.push(both("raw", name, request, refused("trusted_proxy_user_missing")));
    }
    attacks.push(both(
        "raw",
        "scopes in the user header",
        Request::proxied().target(OWN_PATH).header("x-forwarded-user", "nick@example.com, operator.admin"),
        refused("trusted_proxy_user_not_allowed"),
    ));
    attacks.push(both(
        "raw",
        "scopes on a health check",
        Request::from_peer(STRANGER).target("/health").header(SCOPES, "operator.admin"),
        anonymous(),
    ));
    attacks.push(attack(
        "raw",
        "a NUL for the comma",
        h1(with(b"operator.read\0operator.admin"), Expect::Stopped(400)),
    ));
    attacks.push(attack(
        "raw",
        "a NUL for the comma (HTTP/2)",
        h2(&with(b"operator.read\0operator.admin"), Expect::Stopped(0)),
    ));
    attacks.push(attack(
        "raw",
        "a line break for the comma (HTTP/2)",
        h2(&with(b"operator.read\r\nx-openclaw-scopes: operator.admin"), Expect::Stopped(0)),
    ));
    let trailers = "0\r\nx-openclaw-scopes: operator.admin\r\n\r\n";
    attacks.push(attack(
        "trailers",
        "a wider scope in trailers",
        h1(
            with(b"operator.read").method("POST").lines("Transfer-Encoding: chunked\r\n").tail(trailers),
            nick_named(read).with(|passed| passed.trailers = vec![SCOPES.to_owned()]),
        ),
    ));

    // WebSockets: the header is a cap; if it is absent, there is no cap.
    let socket = |scopes: Option<&str>| {
        nick_socket().with(|passed| (passed.scopes, passed.named) = (scopes.map(str::to_owned), scopes.is_some()))
    };
    for (name, request, scopes) in [
        ("no header: it stays absent, the Gateway negotiates", Request::honest(), None),
        (
            "an alias alone: the header stays absent",
            Request::honest().header("x_openclaw_scopes", "operator.admin"),
            None,
        ),
        ("an empty header stays a cap of nothing", Request::honest().header(SCOPES, ""), Some("")),
        ("unknown scopes make a cap of nothing", Request::honest().header(SCOPES, "root, *"), Some("")),
        (
            "a cap and an alias",
            Request::honest().header(SCOPES, read).header("x_openclaw_scopes", "operator.admin"),
            Some(read),
        ),
        (
            "two caps are joined",
            Request::honest().header(SCOPES, read).header(SCOPES, "operator.talk"),
            Some("operator.read,operator.talk"),
        ),
        ("a cap with other separators", Request::honest().header(SCOPES, "operator.read;operator.admin"), Some("")),
        (
            "a cap twice over",
            Request::honest().header(SCOPES, "operator.read,operator.read, operator.read"),
            Some(read),
        ),
    ] {
        attacks.push(attack("raw", format!("WebSocket: {name}"), h1(request.upgrade(), socket(scopes))));
    }
    attacks.push(attack(
        "paths as they come",
        "WebSocket without identity where that is allowed: a cap stays, cleaned",
        h1(
            Request::from_peer(STRANGER).target("/hooks").header(SCOPES, "operator.read, root").upgrade(),
            anonymous().with(|passed| passed.scopes = Some(read.to_owned())),
        ),
    ));
    Family {
        name: "Scopes",
        about: "`x-openclaw-scopes` says what a request may do, and to the Gateway's own API an absent one means everything. The trusted proxy \
            may name any known scope; nobody else may, in no spelling, and nothing else may widen what was named.",
        attacks,
    }
}
