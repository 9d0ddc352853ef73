//! One header, written in every way that might be read as another.

use super::Family;
use crate::attack::frames;
use crate::attack::suite::*;

const REPEATED: &str = "trusted_proxy_user_repeated";
const MISSING: &str = "trusted_proxy_user_missing";
const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";
const ORIGIN: &str = "trusted_proxy_origin_not_allowed";
const ATTRIBUTION: &str = "proxy_attribution_required";

const USER: &str = "x-forwarded-user";
const SCOPES: &str = "x-openclaw-scopes";

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let long = |length: usize| "a".repeat(length);
    let user = |value: &[u8]| Request::proxied().header(USER, value);

    // The headers that the proxy passes on, and the outcome, over both versions of HTTP.
    let cases: Vec<(&str, Request, Expect)> = vec![
        ("the client's user header before the proxy's", user(ADMIN.as_bytes()).header(USER, NICK), refused(REPEATED)),
        ("the client's user header behind the proxy's", user(NICK.as_bytes()).header(USER, ADMIN), refused(REPEATED)),
        ("the same user twice", user(NICK.as_bytes()).header(USER, NICK), refused(REPEATED)),
        ("an empty user header before the true one", user(b"").header(USER, NICK), refused(REPEATED)),
        ("an empty user header behind the true one", user(NICK.as_bytes()).header(USER, ""), refused(REPEATED)),
        ("two empty user headers", user(b"").header(USER, ""), refused(REPEATED)),
        ("two users in one header", user(b"nick@example.com, admin@example.com"), refused(NOT_ALLOWED)),
        ("two users with a semicolon", user(b"nick@example.com;admin@example.com"), refused(NOT_ALLOWED)),
        ("an empty user header", user(b""), refused(MISSING)),
        ("a user header of spaces", user(b"   "), refused(MISSING)),
        ("a user header of tabs", user(b"\t\t"), refused(MISSING)),
        ("a user header of the byte 0xA0", user(b"\xa0\xa0"), refused(MISSING)),
        ("a user header of the byte 0xA0 between spaces", user(b" \xa0\t\xa0 "), refused(MISSING)),
        ("a user header that is a no-break space in UTF-8", user(b"\xc2\xa0"), refused(NOT_ALLOWED)),
        ("a user header that is a zero-width space", user(b"\xe2\x80\x8b"), refused(NOT_ALLOWED)),
        ("a user between bytes 0xA0, which the Gateway trims", user(b"\xa0nick@example.com\xa0"), nick(WRITE)),
        ("a user behind the byte 0x85", user(b"\x85nick@example.com"), refused(NOT_ALLOWED)),
        ("a user behind a byte order mark", user(b"\xef\xbb\xbfnick@example.com"), refused(NOT_ALLOWED)),
        ("a user with a byte that is not UTF-8", user(b"nick@example.com\xff"), refused(NOT_ALLOWED)),
        ("a user with an overlong UTF-8 letter", user(b"\xc1\xaeick@example.com"), refused(NOT_ALLOWED)),
        ("a user with a Cyrillic letter", user("nіck@example.com".as_bytes()), refused(NOT_ALLOWED)),
        ("a user in wide letters", user("ｎｉｃｋ@example.com".as_bytes()), refused(NOT_ALLOWED)),
        ("a user in upper case", user(b"NICK@EXAMPLE.COM"), refused(NOT_ALLOWED)),
        ("a user with a final dot", user(b"nick@example.com."), refused(NOT_ALLOWED)),
        ("a user in quotes", user(b"\"nick@example.com\""), refused(NOT_ALLOWED)),
        ("a user in percent encoding", user(b"nick%40example.com"), refused(NOT_ALLOWED)),
        ("a user as an encoded word", user(b"=?utf-8?q?nick=40example.com?="), refused(NOT_ALLOWED)),
        ("a user in angle brackets", user(b"Nick <nick@example.com>"), refused(NOT_ALLOWED)),
        ("a user whose name goes on", user(b"nick@example.com.evil.example"), refused(NOT_ALLOWED)),
        ("a user of 50,000 letters", user(long(50_000).as_bytes()), refused(NOT_ALLOWED)),
        ("a user behind 50,000 spaces", user(&[&[b' '; 50_000][..], NICK.as_bytes()].concat()), nick(WRITE)),
        ("a user in x_forwarded_user alone", Request::proxied().header("x_forwarded_user", NICK), refused(MISSING)),
        ("a user in x.forwarded.user alone", Request::proxied().header("x.forwarded.user", NICK), refused(MISSING)),
        ("another user in x_forwarded_user", Request::honest().header("x_forwarded_user", ADMIN), nick(WRITE)),
        ("another user in x-forwarded.user", Request::honest().header("x-forwarded.user", ADMIN), nick(WRITE)),
        (
            "another user in x_forwarded_user, 50 times",
            (0..50).fold(Request::honest(), |request, _| request.header("x_forwarded_user", ADMIN)),
            nick(WRITE),
        ),
        ("an alias of 50,000 bytes", Request::honest().header("x_forwarded_user", long(50_000)), nick(WRITE)),
        (
            "an alias whose value is not UTF-8",
            Request::honest().header("x_forwarded_user", b"\xff\xfe\x80"),
            nick(WRITE),
        ),
        ("a group in x-forwarded-groups", Request::honest().header("x-forwarded-groups", "admins"), nick(WRITE)),
        ("an empty e-mail header", Request::honest().header("x-forwarded-email", ""), nick(WRITE)),
        (
            "scopes that are not UTF-8",
            Request::honest().header(SCOPES, b"operator.read,\xff\xfe"),
            nick_named("operator.read"),
        ),
        (
            "an origin that is not UTF-8",
            Request::honest().header("origin", b"https://claw.example.com\xff"),
            refused(ORIGIN),
        ),
        (
            "the allowed origin twice",
            Request::honest().header("origin", "https://claw.example.com").header("origin", "https://claw.example.com"),
            refused(ORIGIN),
        ),
        (
            "an allowed origin and a foreign one",
            Request::honest().header("origin", "https://claw.example.com").header("origin", "https://evil.example"),
            refused(ORIGIN),
        ),
        (
            "a blank origin, which is none to the Gateway",
            Request::honest().header("origin", " \t\u{a0}"),
            refused(ORIGIN),
        ),
        (
            "an origin of the byte 0xA0, which is none to the Gateway",
            Request::honest().header("origin", b"\xa0"),
            nick(WRITE),
        ),
        (
            "an origin of 50,000 letters",
            Request::honest().header("origin", format!("https://{}.example.com", long(50_000))),
            refused(ORIGIN),
        ),
    ];
    for (name, request, expect) in cases {
        attacks.push(both("raw", name, request, expect));
    }

    let large = user(NICK.as_bytes()).header("x-large", long(61_500));
    attacks.push(attack("raw", "headers of more than 60 KiB", h1(large.clone(), Expect::Stopped(431))));
    attacks.push(attack("raw", "headers of more than 60 KiB (HTTP/2)", h2(&large, Expect::Stopped(0))));

    // A required header that does not prove anything.
    for (name, headers, expect) in [
        ("the required header is missing", vec![], Some("x-edge-secret")),
        ("the required header is empty", vec![("x-edge-secret", &b""[..])], Some("x-edge-secret")),
        ("the required header is blank", vec![("x-edge-secret", b" \t\xa0")], Some("x-edge-secret")),
        ("the required header under an alias", vec![("x_edge_secret", b"s3cret")], Some("x-edge-secret")),
        ("the required header with a letter too many", vec![("x-edge-secrets", b"s3cret")], Some("x-edge-secret")),
        ("one required header of two", vec![("x-edge-secret", b"s3cret")], Some("x-auth-request-email")),
        (
            "an alias of a required header next to it",
            vec![
                ("x-edge-secret", b"s3cret"),
                ("x-auth-request-email", b"nick@example.com"),
                ("x_auth_request_email", b"admin@example.com"),
            ],
            None,
        ),
        (
            "a sibling of a required header next to it",
            vec![
                ("x-edge-secret", b"s3cret"),
                ("x-auth-request-email", b"nick@example.com"),
                ("x-auth-request-user", b"admin@example.com"),
            ],
            None,
        ),
    ] {
        let expect =
            expect.map_or_else(|| nick(WRITE), |missing| refused(&format!("trusted_proxy_missing_header_{missing}")));
        attacks.push(both("required headers", name, Request::honest().all(&headers), expect));
    }

    // The header that the Gateway reads, if the proxy uses another.
    let elsewhere = "x-openclaw-user";
    for (name, request, expect) in [
        ("the upstream's user header from outside", Request::honest().header(elsewhere, ADMIN), nick(WRITE)),
        (
            "the upstream's user header from outside, twice",
            Request::honest().header(elsewhere, ADMIN).header(elsewhere, NICK),
            nick(WRITE),
        ),
        ("the upstream's user header under an alias", Request::honest().header("x_openclaw_user", ADMIN), nick(WRITE)),
        ("the upstream's user header alone", Request::proxied().header(elsewhere, ADMIN), refused(MISSING)),
    ] {
        attacks.push(both("renamed user header", name, request, expect));
    }

    // Bytes that a header must not contain. HTTP/1.1 first.
    let line = |line: &[u8]| Request::proxied().lines(line);
    let honest_line = |line: &[u8]| Request::honest().lines(line);
    for (name, request, expect) in [
        ("a space before the colon", line(b"x-forwarded-user : nick@example.com\r\n"), Expect::Stopped(400)),
        ("a tab before the colon", line(b"x-forwarded-user\t: nick@example.com\r\n"), Expect::Stopped(400)),
        ("a NUL before the colon", line(b"x-forwarded-user\0: nick@example.com\r\n"), Expect::Stopped(400)),
        ("the byte 0xA0 before the colon", line(b"x-forwarded-user\xa0: nick@example.com\r\n"), Expect::Stopped(400)),
        ("a header without a name", line(b": nick@example.com\r\n"), Expect::Stopped(400)),
        ("a header without a colon", line(b"x-forwarded-user\r\n"), Expect::Stopped(400)),
        ("a NUL in the user", line(b"x-forwarded-user: nick@example.com\0\r\n"), Expect::Stopped(400)),
        (
            "a bare CR in the user",
            line(b"x-forwarded-user: nick@example.com\rx-forwarded-user: admin@example.com\r\n"),
            refused(NOT_ALLOWED),
        ),
        (
            "a bare CR in another header, which Envoy takes out",
            honest_line(b"x-a: b\rx-forwarded-user: admin@example.com\r\n"),
            nick(WRITE),
        ),
        (
            "a bare LF between two user headers",
            line(b"x-forwarded-user: nick@example.com\nx-forwarded-user: admin@example.com\r\n"),
            refused(REPEATED),
        ),
        (
            "a user that is folded over two lines, which Envoy makes one",
            line(b"x-forwarded-user:\r\n nick@example.com\r\n"),
            nick(WRITE),
        ),
        (
            "another user in a folded line, which is part of the value before",
            honest_line(b"x-a: b\r\n x-forwarded-user: admin@example.com\r\n"),
            nick(WRITE),
        ),
        (
            "another user folded behind the true one",
            line(b"x-forwarded-user: nick@example.com\r\n ,admin@example.com\r\n"),
            refused(NOT_ALLOWED),
        ),
        ("a control byte in the user", line(b"x-forwarded-user: \x01nick@example.com\r\n"), Expect::Stopped(400)),
        ("DEL in the user", line(b"x-forwarded-user: nick@example.com\x7f\r\n"), Expect::Stopped(400)),
        (
            "a vertical tab around the user",
            line(b"x-forwarded-user: \x0bnick@example.com\x0b\r\n"),
            Expect::Stopped(400),
        ),
        ("a form feed around the user", line(b"x-forwarded-user: \x0cnick@example.com\x0c\r\n"), Expect::Stopped(400)),
        ("no space behind the colon", line(b"x-forwarded-user:nick@example.com\r\n"), nick(WRITE)),
        (
            "the name in upper case, next to the true one",
            honest_line(b"X-FORWARDED-USER: admin@example.com\r\n"),
            refused(REPEATED),
        ),
        ("the name in mixed case, alone", line(b"X-forWARDed-usER: nick@example.com\r\n"), nick(WRITE)),
        ("a NUL in front of the name", honest_line(b"\0x-forwarded-user: admin@example.com\r\n"), Expect::Stopped(400)),
        (
            "a letter of UTF-8 in the name",
            honest_line("x-forwardеd-user: admin@example.com\r\n".as_bytes()),
            Expect::Stopped(400),
        ),
    ] {
        attacks.push(attack("raw", name, h1(request, expect)));
    }
    // The same in HTTP/2, where names and values have lengths, so that anything can be sent.
    let field = |name: &[u8], value: &[u8]| {
        let request = Request::proxied();
        let mut fields = request.fields();
        fields.push((name.to_vec(), value.to_vec()));
        (request.proxy, fields)
    };
    for (name, field_name, value) in [
        ("a user header in upper case", &b"X-Forwarded-User"[..], NICK.as_bytes()),
        ("a space behind the name", b"x-forwarded-user ", NICK.as_bytes()),
        ("a colon behind the name", b"x-forwarded-user:", NICK.as_bytes()),
        ("a NUL behind the name", b"x-forwarded-user\0", NICK.as_bytes()),
        ("a line break in the name", b"x-a: b\r\nx-forwarded-user", NICK.as_bytes()),
        ("an empty name", b"", NICK.as_bytes()),
        ("a NUL in the user", b"x-forwarded-user", b"nick@example.com\0"),
        ("a line break in the user", b"x-forwarded-user", b"nick@example.com\r\nx-forwarded-user: admin@example.com"),
        ("a line feed in the user", b"x-forwarded-user", b"nick@example.com\nx-openclaw-scopes: operator.admin"),
        (
            "a whole request in the user",
            b"x-forwarded-user",
            b"a\r\n\r\nGET / HTTP/1.1\r\nx-forwarded-user: admin@example.com\r\n\r\n",
        ),
    ] {
        let (proxy, fields) = field(field_name, value);
        let over_http2 = h2_fields(&proxy, &fields, &[], Expect::Stopped(0));
        let over_http3 = h3_fields(LOCAL_PROXY, fields, &[], true, Expect::Stopped(0));
        attacks.push(shots("raw", format!("{name} (HTTP/2, HTTP/3)"), vec![over_http2, over_http3]));
    }
    // One request whose user header is in a separate CONTINUATION frame.
    let request = Request::proxied();
    let mut fields = request.fields();
    fields.push((b"x-fill".to_vec(), vec![b'a'; 20_000]));
    fields.push((USER.into(), NICK.into()));
    fields.push((USER.into(), ADMIN.into()));
    attacks.push(attack(
        "raw",
        "a second user header in a CONTINUATION frame (HTTP/2)",
        h2_fields(&request.proxy, &fields, &[], refused(REPEATED)),
    ));
    let more = frames::headers(1, &[(USER.into(), ADMIN.into())], true);
    attacks.push(attack(
        "raw",
        "a second user header in trailers (HTTP/2)",
        h2_fields(
            &request.proxy,
            &Request::honest().fields(),
            &more,
            nick(WRITE).with(|passed| passed.trailers = vec![USER.to_owned()]),
        ),
    ));
    let chain = |value: &[u8]| Request::from_peer(PROXY).header(USER, NICK).header("x-forwarded-for", value);
    for (name, value) in [
        ("no UTF-8", &b"\xff\xfe"[..]),
        ("a quoted address", b"\"198.51.100.9\""),
        ("an address and a letter", b"198.51.100.9a"),
    ] {
        attacks.push(both(
            "nothing appended, no fallback",
            format!("X-Forwarded-For that is {name}"),
            chain(value),
            refused(ATTRIBUTION),
        ));
    }
    Family {
        name: "Headers written oddly",
        about: "Identity, scopes, origin and required headers: twice, empty, blank, aliased, oversized, not UTF-8, with control \
            bytes. What passes is read by the Gateway as it is read here.",
        attacks,
    }
}
