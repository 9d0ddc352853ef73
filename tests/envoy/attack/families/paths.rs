//! Paths that the filter and the Gateway might read differently.

use super::Family;
use crate::attack::place::over_quic;
use crate::attack::suite::*;

/// Envoy does not normalize anything.
const AS_THEY_COME: &str = "paths as they come";
/// Envoy normalizes as in the example.
const NORMALIZED: &str = "paths normalized";
const BAD_IN_HTTP2: Expect = Expect::Stopped(400);
const USER_MISSING: &str = "trusted_proxy_user_missing";

/// The result for a target.
#[derive(Clone, Copy)]
enum End {
    /// It passes without an identity.
    Free,
    /// It is not an anonymous path: refused, because there is no user.
    Refused,
    /// It gets the default scopes of an own path.
    Own,
    /// It gets `operator.write`.
    Write,
    /// Envoy answers 400.
    Bad,
}

use End::{Bad, Free, Own, Refused, Write};

/// Targets without a user: the result if Envoy does not normalize anything, and with the example's settings.
/// `/health`, `/healthz` and `/public/*` are anonymous.
const FREE: [(&str, End, End); 62] = [
    ("/health", Free, Free),
    ("/health?", Free, Free),
    ("/health?x=/tools/invoke", Free, Free),
    ("/health?/../tools/invoke", Free, Free),
    ("http://claw.example.com/health", Free, Free),
    ("http://evil.example/health?x", Free, Free),
    ("http://health/tools/invoke", Refused, Refused),
    ("/health/", Refused, Refused),
    ("/health/.", Refused, Refused),
    ("/health/..", Refused, Refused),
    ("/health/../tools/invoke", Refused, Refused),
    ("/health/../health", Refused, Free),
    ("/health/%2e%2e/tools/invoke", Refused, Refused),
    ("/health/.%2E/tools/invoke", Refused, Refused),
    ("/health/%2e%2e/health", Refused, Free),
    ("/health%2f..%2ftools/invoke", Refused, Refused),
    ("/health%252f..%252ftools/invoke", Refused, Refused),
    ("/health%5c..%5ctools/invoke", Refused, Refused),
    ("/health\\..\\tools\\invoke", Refused, Refused),
    ("\\health", Bad, Bad),
    ("/\\health", Refused, Free),
    ("/health;x=1", Refused, Refused),
    ("/health;/../tools/invoke", Refused, Refused),
    ("/health,", Refused, Refused),
    ("/health.json", Refused, Refused),
    ("/health.", Refused, Refused),
    ("/healthy", Refused, Refused),
    ("/HEALTH", Refused, Refused),
    ("/Health", Refused, Refused),
    ("//health", Refused, Free),
    ("//evil.example/health", Refused, Refused),
    ("/./health", Refused, Free),
    ("/x/../health", Refused, Free),
    ("/../health", Refused, Free),
    ("/%68ealth", Refused, Free),
    ("/%48ealth", Refused, Refused),
    ("/%2568ealth", Refused, Refused),
    ("/health%00", Refused, Bad),
    ("/health%20", Refused, Refused),
    ("/health%09", Refused, Refused),
    ("/health%0a", Refused, Refused),
    ("/health%23", Refused, Refused),
    ("/health%3f", Refused, Refused),
    ("/health#", Bad, Bad),
    ("/tools/invoke#/health", Bad, Bad),
    ("/tools/invoke?/health", Refused, Refused),
    ("/tools/invoke/health", Refused, Refused),
    ("/tools/invoke;/health", Refused, Refused),
    ("/public/x", Free, Free),
    ("/public/...", Free, Free),
    ("/public/x/..;/tools/invoke", Free, Free),
    ("/public/a|b^c{d}", Free, Refused),
    ("/public", Refused, Refused),
    ("/public/", Refused, Refused),
    ("/public/.", Refused, Refused),
    ("/public/../tools/invoke", Refused, Refused),
    ("/public/%2e%2e/tools/invoke", Refused, Refused),
    ("/public/..%2ftools/invoke", Refused, Refused),
    ("/public/%252e%252e/tools/invoke", Refused, Refused),
    ("/public//tools/invoke", Refused, Free),
    ("/public/\\..\\..\\tools\\invoke", Refused, Refused),
    ("/Public/x", Refused, Refused),
];

/// Nick's targets, without a scopes header: which of them are the Gateway's own and get the default set.
const SCOPED: [(&str, End, End); 48] = [
    ("/tools/invoke", Own, Own),
    ("/tools/invoke?x", Own, Own),
    ("http://evil.example/tools/invoke", Own, Own),
    ("/tools/invoke/", Write, Write),
    ("/tools/invoke/.", Write, Write),
    ("/tools/invoke/..", Write, Write),
    ("/tools/invoke/../plugin", Write, Write),
    ("/tools/./invoke", Write, Own),
    ("/x/../tools/invoke", Write, Own),
    ("/x/%2e%2e/tools/invoke", Write, Own),
    ("/tools%2finvoke", Write, Write),
    ("/tools%2Finvoke", Write, Write),
    ("/tools%5cinvoke", Write, Write),
    ("/tools\\invoke", Write, Own),
    ("//tools/invoke", Write, Own),
    ("/tools//invoke", Write, Own),
    ("/%74ools/invoke", Write, Own),
    ("/%2574ools/invoke", Write, Write),
    ("/Tools/Invoke", Write, Write),
    ("/tools/invoke;x", Write, Write),
    ("/tools;x/invoke", Write, Write),
    ("/tools/invoke%20", Write, Write),
    ("/tools/invoke%00", Write, Bad),
    ("/tools/invoke%3f", Write, Write),
    ("/tools/invoke#x", Bad, Bad),
    ("/plugin?/tools/invoke", Write, Write),
    ("/plugin/..;/tools/invoke", Write, Own),
    ("/plugin/tools/invoke", Write, Write),
    ("/sessions/main/kill", Own, Own),
    ("/sessions/.../kill", Own, Own),
    ("/sessions/;/kill", Own, Own),
    ("/sessions/../kill", Write, Write),
    ("/sessions/%2e%2e/kill", Write, Write),
    ("/sessions/..%2f/kill", Write, Write),
    ("/sessions//kill", Write, Write),
    ("/sessions/a/b/kill", Write, Write),
    ("/sessions/a%2fb/kill", Write, Write),
    ("/sessions/a\\b/history", Write, Write),
    ("/sessions/a/kill/history", Write, Write),
    ("/v1/models/x", Own, Own),
    ("/v1/models/", Write, Write),
    ("/v1/models/x/y", Write, Write),
    ("/v1/models/openclaw%2Fmain", Write, Write),
    ("/v1/responses", Write, Write),
    ("/x/control-ui-config.json", Write, Write),
    ("/api/v1/admin/rpc", Own, Own),
    ("/api/v1/admin/rpc/", Write, Write),
    ("/api/v1/./admin/rpc", Write, Own),
];

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let expect = |end: End| match end {
        Free => anonymous(),
        Refused => refused(USER_MISSING),
        Own => nick(OWN),
        Write => nick(WRITE),
        Bad => Expect::Stopped(400),
    };
    for (table, what) in [(&FREE[..], "nobody asks for"), (&SCOPED, "Nick asks for")] {
        let request = |target: &str| match what {
            "Nick asks for" => Request::honest().target(target),
            _ => Request::proxied().target(target),
        };
        for (target, raw, example) in table {
            let mut over_all = Vec::new();
            for (mode, end) in [(AS_THEY_COME, *raw), (NORMALIZED, *example)] {
                over_all.push(Shot { mode, ..h1(request(target), expect(end)) });
                // HTTP/2 does not have an absolute form, and Envoy ends the stream if the path is not valid.
                if target.starts_with('/') && !target.contains('#') {
                    let end = if matches!(end, Bad) { BAD_IN_HTTP2 } else { expect(end) };
                    over_all.push(Shot { mode, ..h2(&request(target), end.clone()) });
                    over_all.extend(over_quic(mode).map(|mode| Shot { mode, ..h3(&request(target), end) }));
                }
            }
            attacks.push(Attack { name: format!("{what} `{target}`"), shots: over_all });
        }
    }
    // Bytes in place of the question mark, where parsers differ most.
    let odd = |byte: u8| Request::proxied().target([&b"/health"[..], &[byte], b"x"].concat());
    for mode in [AS_THEY_COME, NORMALIZED] {
        let bytes = (0x21..=0x7e_u8).filter(|byte| !b"#?\\%".contains(byte));
        attacks.push(shots(
            mode,
            format!("every printable byte behind `/health`, in the mode `{mode}`"),
            bytes.map(|byte| h1(odd(byte), refused(USER_MISSING))).collect(),
        ));
        let bytes = (0..=0x20_u8).chain([0x7f]);
        attacks.push(shots(
            mode,
            format!("every control byte, and the space, behind `/health`, in the mode `{mode}` (HTTP/2)"),
            bytes.clone().map(|byte| h2(&odd(byte), Expect::Stopped(0))).collect(),
        ));
        attacks.push(shots(
            mode,
            format!("every control byte, and the space, behind `/health`, in the mode `{mode}` (HTTP/3)"),
            bytes.map(|byte| h3(&odd(byte), Expect::Stopped(0))).collect(),
        ));
        attacks.push(shots(
            mode,
            format!("every byte beyond ASCII behind `/health`, in the mode `{mode}` (HTTP/2)"),
            (0x80..=0xff).map(|byte| h2(&odd(byte), refused(USER_MISSING))).collect(),
        ));
    }
    for mode in [AS_THEY_COME, NORMALIZED] {
        for (method, target, end) in [
            ("OPTIONS", "*", Expect::Stopped(404)),
            ("OPTIONS", "/health", anonymous()),
            ("GET", "*", Expect::Stopped(400)),
            ("CONNECT", "claw.example.com:443", refused(USER_MISSING)),
            ("CONNECT", "/health", Expect::Stopped(400)),
        ] {
            let request = Request::proxied().method(method).target(target);
            attacks.push(attack(mode, format!("{method} {target}, in the mode `{mode}`"), h1(request, end)));
        }
    }
    let connect = |request: Request| request.method("CONNECT").target("claw.example.com:443");
    attacks.push(attack(
        "CONNECT",
        "a tunnel by CONNECT where Envoy allows it, by nobody",
        h1(connect(Request::proxied()), refused(USER_MISSING)),
    ));
    attacks.push(attack(
        AS_THEY_COME,
        "a tunnel by CONNECT where Envoy has no route for one, by Nick",
        h1(connect(Request::honest()), Expect::Stopped(404)),
    ));
    let long = format!("/health/{}..", "../".repeat(15_000));
    attacks.push(attack(
        AS_THEY_COME,
        "15,000 dot segments behind `/health`",
        h1(Request::proxied().target(&long), refused(USER_MISSING)),
    ));
    Family {
        name: "Paths",
        about: "Two decisions depend on the path: who passes without identity (`/health`, `/healthz`, here also `/public/*`), and which \
            scopes an absent header means. The judge is the parser that the Gateway uses, WHATWG URL: what passed without identity must \
            be an anonymous path to it, and what got the default set must be that own path.",
        attacks,
    }
}
