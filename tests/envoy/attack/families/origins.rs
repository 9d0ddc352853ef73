//! Pages of other sites that imitate the allowed origin.

use super::Family;
use crate::attack::suite::*;

const REASON: &str = "trusted_proxy_origin_not_allowed";

/// Near misses of https://claw.example.com, and spellings that are that origin, for the Gateway as well.
const NEAR_MISSES: [(&str, &str, bool); 50] = [
    ("a longer host", "https://claw.example.com.evil.example", false),
    ("a host that ends alike", "https://evilclaw.example.com", false),
    ("a host below it", "https://x.claw.example.com", false),
    ("the host above it", "https://example.com", false),
    ("a host with a hyphen for a dot", "https://claw-example.com", false),
    ("a host where another character replaces the dot", "https://clawxexample.com", false),
    ("the allowed host as user name", "https://claw.example.com@evil.example", false),
    ("user info before the allowed host", "https://evil@claw.example.com", false),
    ("an empty user before the allowed host", "https://@claw.example.com", false),
    ("user and password", "https://claw.example.com:443@evil.example", false),
    ("a backslash before another host", "https://evil.example\\@claw.example.com", false),
    ("another port", "https://claw.example.com:8443", false),
    ("the port of plain HTTP", "https://claw.example.com:80", false),
    ("the default port, written out", "https://claw.example.com:443", true),
    ("the default port with zeros", "https://claw.example.com:00443", true),
    ("an empty port", "https://claw.example.com:", true),
    ("a port out of range that wraps around", "https://claw.example.com:65979", false),
    ("a port with a sign", "https://claw.example.com:+443", false),
    ("a port of letters", "https://claw.example.com:https", false),
    ("the allowed port of another host", "https://ui.example.com", false),
    ("plain HTTP", "http://claw.example.com", false),
    ("plain HTTP on port 443", "http://claw.example.com:443", false),
    ("WebSocket's scheme", "wss://claw.example.com", false),
    ("no scheme", "claw.example.com", false),
    ("no scheme but slashes", "//claw.example.com", false),
    ("one slash", "https:/claw.example.com", false),
    ("no slash", "https:claw.example.com", false),
    ("three slashes", "https:///claw.example.com", false),
    ("backslashes for slashes", "https:\\\\claw.example.com", false),
    ("a file", "file://claw.example.com", false),
    ("a blob of the allowed origin", "blob:https://claw.example.com", false),
    ("a page's own data", "data:text/html,https://claw.example.com", false),
    ("the opaque origin", "null", false),
    ("the opaque origin in upper case", "NULL", false),
    ("a star", "*", false),
    ("a final dot", "https://claw.example.com.", false),
    ("two origins", "https://claw.example.com https://evil.example", false),
    ("two origins with a comma", "https://claw.example.com, https://claw.example.com", false),
    ("a path", "https://claw.example.com/evil", false),
    ("a final slash", "https://claw.example.com/", true),
    ("two final slashes", "https://claw.example.com//", false),
    ("a query", "https://claw.example.com?x", false),
    ("a fragment", "https://claw.example.com#evil.example", false),
    ("upper case", "HTTPS://CLAW.EXAMPLE.COM", true),
    ("a tab in the host", "https://claw\t.example.com", false),
    ("a space in the host", "https://claw .example.com", false),
    ("percent encoding in the host", "https://claw%2eexample.com", false),
    ("a Cyrillic letter", "https://clаw.example.com", false),
    ("a wide letter", "https://ｃlaw.example.com", false),
    ("the Cyrillic letter in Punycode", "https://xn--clw-7cd.example.com", false),
];

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let with = |origin: &str| Request::honest().header("origin", origin);
    for (name, origin, allowed) in NEAR_MISSES {
        let expect = if allowed { nick(WRITE) } else { refused(REASON) };
        let socket = if allowed { nick_socket() } else { closed(REASON) };
        attacks.push(shots(
            "raw",
            format!("{name}: `{}`", origin.escape_default()),
            [versions("raw", &with(origin), &expect), vec![h1(with(origin).upgrade(), socket)]].concat(),
        ));
    }
    // Envoy leaves out blank copies and joins the others. What is judged is what is delivered.
    let good = "https://claw.example.com";
    for (copies, delivered) in [
        (&[""][..], Some("")),
        (&["", ""], Some("")),
        (&["", "", ""], Some("")),
        (&["", good], Some(good)),
        (&[good, ""], Some(good)),
        (&["", good, ""], Some(good)),
        (&["", "https://evil.example"], None),
        (&["https://evil.example", ""], None),
        (&["", good, "https://evil.example"], None),
        (&["", "null"], None),
        (&[",", ""], None),
        (&["", ","], None),
    ] {
        let request = copies.iter().fold(Request::honest(), |request, origin| request.header("origin", origin));
        let expect = |admitted: Expect, refusal: Expect| match delivered {
            Some(origin) => admitted.with(|passed| passed.origins = Some(vec![origin])),
            None => refusal,
        };
        let plain = expect(nick(WRITE), refused(REASON));
        let socket = expect(nick_socket(), closed(REASON));
        attacks.push(shots(
            "raw",
            format!("copies of Origin, some of them blank: {copies:?}"),
            [versions("raw", &request, &plain), vec![h1(request.clone().upgrade(), socket)]].concat(),
        ));
    }
    // Spaces are left out in HTTP/1.1 alone.
    let spaces = || Request::honest().header("origin", " ").header("origin", "\t");
    attacks.push(shots(
        "raw",
        "two copies of Origin of white space",
        vec![
            h1(spaces(), nick(WRITE).with(|passed| passed.origins = Some(vec![""]))),
            h2(&spaces(), refused(REASON)),
            h3(&spaces(), refused(REASON)),
        ],
    ));
    // Files of the Control UI, which the Gateway serves to everybody.
    for (name, path, passes) in [
        ("a script of the Control UI", "/assets/index.js", true),
        ("its manifest", "/manifest.webmanifest", true),
        ("what is not a file", "/assets/index", false),
        ("its page", "/assets/index.html", false),
        ("a path out of its folder", "/assets/../control-ui-config.json", false),
        ("a path out of its folder, encoded", "/assets/%2e%2e/control-ui-config.json", false),
        ("a path out of its folder, with an extension after a semicolon", "/assets/..;/x.js", true),
        ("its configuration, with an extension in the query", "/control-ui-config.json?/assets/x.js", false),
        ("an API with an extension", "/v1/assets/x.js", false),
    ] {
        let expect = if passes { nick(WRITE) } else { refused(REASON) };
        let request = with("https://evil.example").target(path);
        attacks.push(shots(
            "raw",
            format!("a foreign page asks for {name}: `{path}`"),
            vec![h1(request.clone(), expect.clone()), h2(&request, expect), h1(request.upgrade(), closed(REASON))],
        ));
    }
    // With `*`, a value that is not an origin still does not pass.
    for (origin, allowed) in [
        ("https://anything.example", true),
        ("null", false),
        ("https://", false),
        ("https://evil@anything.example", false),
        ("https://anything.example/path", false),
        ("https://a.example, https://b.example", false),
        ("https://a.example,", false),
        (",https://a.example", false),
        ("https://a.example,b.example", false),
        ("https://[::1", false),
        ("https://1.2.3.4.5", false),
        ("https://0x7f.1", false),
        ("*", false),
    ] {
        let expect = if allowed { nick(WRITE) } else { refused(REASON) };
        attacks.push(attack("any origin", format!("any origin is allowed: `{origin}`"), h1(with(origin), expect)));
    }
    // Envoy joins copies with a comma, but drops empty ones.
    for (second, allowed) in [("http://a.ts.net", false), ("b.ts.net", false), ("\u{a0}", false), ("", true)] {
        let expect = if allowed { nick(WRITE) } else { refused(REASON) };
        let name = format!("any origin is allowed: `http://a.ts.net`, and then `{}`", second.escape_default());
        attacks.push(attack("any origin", name, h1(with("http://a.ts.net").header("origin", second), expect)));
    }
    // Hosts that vouch for themselves: private addresses and local names only.
    for (host, origin, allowed) in [
        ("192.168.1.5:18789", "http://192.168.1.5:18789", true),
        ("192.168.1.5", "https://192.168.1.5", true),
        ("192.168.1.5:18789", "http://192.168.1.5", false),
        ("192.168.1.5", "http://192.168.1.6", false),
        ("0xc0.0xa8.1.5", "http://0xc0.0xa8.1.5", false),
        ("3232235781", "http://3232235781", false),
        ("192.168.261", "http://192.168.261", false),
        ("192.168.1.005", "http://192.168.1.005", false),
        ("203.0.113.5", "http://203.0.113.5", false),
        ("127.0.0.1:18789", "http://127.0.0.1:18789", false),
        ("localhost:18789", "http://localhost:18789", false),
        ("[::1]:18789", "http://[::1]:18789", false),
        ("[fd00::5]", "http://[fd00::5]", true),
        ("[fd00:0:0::5]", "http://[fd00:0:0::5]", false),
        ("[::ffff:192.168.1.5]", "http://[::ffff:192.168.1.5]", false),
        ("[::ffff:c0a8:105]", "http://[::ffff:c0a8:105]", true),
        ("[fe80::1%25eth0]", "http://[fe80::1%25eth0]", false),
        ("openclaw.local", "http://openclaw.local", true),
        ("openclaw.local.evil.example", "http://openclaw.local.evil.example", false),
        ("evillocal", "http://evillocal", false),
        ("box.tail1234.ts.net", "https://box.tail1234.ts.net", true),
        ("box.ts.net.evil.example", "https://box.ts.net.evil.example", false),
        ("evilts.net", "https://evilts.net", false),
        ("evil.example", "https://evil.example", false),
        ("evil.example", "http://openclaw.local", false),
    ] {
        let expect = if allowed { nick(WRITE) } else { refused(REASON) };
        let request = with(origin).host(host);
        attacks.push(attack("raw", format!("a page on `{origin}` asks the host `{host}`"), h1(request, expect)));
    }
    let forwarded =
        with("http://openclaw.local").all(&[("x-forwarded-host", "openclaw.local"), ("x-host", "openclaw.local")]);
    attacks.push(both("raw", "the foreign host is named in X-Forwarded-Host", forwarded, refused(REASON)));
    let two_hosts = Request::honest().header("origin", "http://openclaw.local").lines("Host: openclaw.local\r\n");
    attacks.push(attack("raw", "the foreign host is named in a second Host", h1(two_hosts, refused(REASON))));
    for (host, origin, allowed) in [
        ("evil.example", "https://evil.example", true),
        ("claw.example.com", "https://evil.example", false),
        ("evil.example:443", "https://evil.example", false),
        ("evil.example", "null", false),
        ("evil.example", "https://evil.example:8443", false),
        ("evil.example@claw.example.com", "https://evil.example", false),
    ] {
        let expect = if allowed { nick(WRITE) } else { refused(REASON) };
        let request = with(origin).host(host);
        let name = format!("hosts vouch for themselves by the operator's will: `{origin}` asks `{host}`");
        attacks.push(attack("host fallback", name, h1(request, expect)));
    }
    // Extensions: on WebSockets the Gateway decides, once it knows the client.
    let id = "abcdefghijklmnopabcdefghijklmnop";
    for (name, origin, socket) in [
        ("an extension", format!("chrome-extension://{id}"), true),
        (
            "an extension with a letter outside a to p",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnoq".to_owned(),
            false,
        ),
        ("an extension with a letter too few", format!("chrome-extension://{}", &id[1..]), false),
        ("an extension with a port", format!("chrome-extension://{id}:1"), false),
        ("an extension below a host", format!("chrome-extension://{id}.evil.example"), false),
        ("a Firefox extension", "moz-extension://11111111-2222-3333-4444-555555555555".to_owned(), false),
    ] {
        let expect = if socket { nick_socket() } else { closed(REASON) };
        attacks.push(shots(
            "raw",
            format!("{name}, on plain HTTP and on a WebSocket"),
            vec![h1(with(&origin), refused(REASON)), h1(with(&origin).upgrade(), expect)],
        ));
    }
    Family {
        name: "Near misses of an allowed origin",
        about: "`https://claw.example.com` is allowed (and `https://ui.example.com:8443`). A page elsewhere uses its visitor's \
            sign-in; the browser names it in Origin.",
        attacks,
    }
}
