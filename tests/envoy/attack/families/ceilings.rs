//! Ceilings, prefixes of users, and hidden reasons.

use super::Family;
use crate::attack::suite::*;

const USER: &str = "x-forwarded-user";
const GROUPS: &str = "x-idp-groups";
const SCOPES: &str = "x-openclaw-scopes";
const OWN_PATH: &str = "/tools/invoke";

/// What a ceiling of `operator.write`, of `operator.read` and of `operator.admin` leaves of the default of own paths.
const NICKS: &str = "operator.read,operator.write";
const ANYBODYS: &str = "operator.read";

/// Admitted as a user, with these scopes.
fn user(name: &str, scopes: &str) -> Expect {
    nick_named(scopes).with(|passed| passed.user = Some(name.to_owned()))
}

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let by = |name: &str| Request::proxied().target(OWN_PATH).header(USER, name);
    // The name in another spelling, which is the same person to the Gateway.
    for name in [NICK, "Nick@Example.COM", "NICK@EXAMPLE.COM"] {
        attacks.push(both("ceilings", format!("a ceiling by name: `{name}`"), by(name), user(name, NICKS)));
        attacks.push(both(
            "ceilings",
            format!("a ceiling by name: `{name}` asks for admin"),
            by(name).header(SCOPES, "operator.admin, operator.pairing"),
            user(name, "operator.write"),
        ));
    }
    attacks.push(both(
        "ceilings",
        "a ceiling by name: a user without one",
        by("eve@example.com"),
        user("eve@example.com", ANYBODYS),
    ));

    // Groups, by a comma. What is not the group itself gives nothing.
    let eve = |groups: &[u8]| by("eve@example.com").header(GROUPS, groups);
    let unreadable = || refused("trusted_proxy_groups_unreadable");
    let nothing = || user("eve@example.com", ANYBODYS);
    for (name, groups) in [
        ("a bar between groups", &b"guests|admins"[..]),
        ("a semicolon between groups", b"guests;admins"),
        ("a space between groups", b"guests admins"),
        ("a tab between groups", b"guests\tadmins"),
        ("upper case", b"ADMINS"),
        ("quotes", b"\"admins\""),
        ("a path", b"/admins"),
        ("a longer name", b"admins2"),
        ("an escaped comma", b"cn=a\\, admins2"),
        ("percent encoding", b"%61dmins"),
        ("brackets behind a name", b"a[\"admins\"]"),
        ("the star", b"*"),
        ("nothing", b""),
        ("commas", b",,,"),
        ("a no-break space", b"admins\xc2\xa0x"),
    ] {
        attacks.push(both("ceilings", format!("groups: {name}"), eve(groups), nothing()));
    }
    for (name, groups) in [
        ("a list in JSON", &b"[\"admins\"]"[..]),
        ("an empty list in JSON", b"[]"),
        ("an object in JSON", b"{\"admins\": true}"),
        ("a list in JSON behind spaces", b" \t [\"guests\",\"admins\"]"),
        ("a bracket", b"["),
        ("a brace", b"{"),
    ] {
        attacks.push(both("ceilings", format!("groups: {name}"), eve(groups), unreadable()));
    }
    let repeated = || refused("trusted_proxy_groups_repeated");
    attacks.push(both("ceilings", "groups twice", eve(b"guests").header(GROUPS, "admins"), repeated()));
    attacks.push(both("ceilings", "groups twice, once blank", eve(b"").header(GROUPS, "admins"), repeated()));
    for alias in ["x_idp_groups", "X-Idp.Groups", "x-idp~groups"] {
        attacks.push(both(
            "ceilings",
            format!("groups in `{alias}` alone"),
            by("eve@example.com").header(alias, "admins"),
            nothing(),
        ));
    }
    for other in ["x-forwarded-groups", "x-authentik-groups", "x-auth-request-groups", "remote-groups"] {
        attacks.push(both(
            "ceilings",
            format!("groups in another proxy's `{other}`"),
            by("eve@example.com").header(other, "admins"),
            nothing(),
        ));
    }
    // Other separators.
    for (mode, good, bad) in [
        (
            "ceilings, groups with a bar",
            &["guests|admins", "admins|", " admins | x"][..],
            &["guests,admins", "guests;admins", "admins x|y", "guests admins"][..],
        ),
        (
            "ceilings, groups with a space",
            &["guests admins", " admins", "a  admins"],
            &["guests,admins", "guests|admins", "admins;x"],
        ),
        ("ceilings, delegated", &["guests;admins", "admins ; x"], &["guests,admins", "guests|admins", "guests admins"]),
    ] {
        for groups in good {
            attacks.push(both(
                mode,
                format!("`{groups}` holds the group"),
                eve(groups.as_bytes()),
                user("eve@example.com", OWN),
            ));
        }
        for groups in bad {
            attacks.push(both(mode, format!("`{groups}` does not hold the group"), eve(groups.as_bytes()), nothing()));
        }
    }

    // Sockets: of the Gateway, of a plugin, of nobody.
    let socket = |request: Request, path: &str| request.target(path).upgrade();
    let eve = || by("eve@example.com");
    for (name, request, expect) in [
        (
            "the Gateway's socket, without a scopes header",
            socket(eve(), "/"),
            user("eve@example.com", "operator.read,operator.sessions.read"),
        ),
        (
            "the Gateway's socket, asking for admin",
            socket(eve().header(SCOPES, "operator.admin"), "/"),
            user("eve@example.com", ""),
        ),
        (
            "a plugin's socket, without a scopes header",
            socket(eve(), "/rt/echo"),
            user("eve@example.com", "operator.read"),
        ),
        (
            "a plugin's socket, asking for admin",
            socket(eve().header(SCOPES, "operator.admin"), "/rt/echo"),
            user("eve@example.com", ""),
        ),
        (
            "a plugin's socket, by an alias of the scopes header",
            socket(eve().header("x_openclaw_scopes", "operator.admin"), "/rt/echo"),
            user("eve@example.com", "operator.read"),
        ),
        (
            "a path that is not plain, which may be a plugin's",
            socket(eve(), "//"),
            user("eve@example.com", "operator.read"),
        ),
        (
            "a path that looks like the Gateway's",
            socket(eve(), "/desktop/observe/"),
            user("eve@example.com", "operator.read"),
        ),
    ] {
        attacks.push(attack("ceilings", name, h1(request, expect)));
    }
    let capped = |scopes: &str| anonymous().with(|passed| passed.scopes = Some(scopes.to_owned()));
    let nobody = || socket(Request::proxied(), "/");
    for (name, request, expect) in [
        ("nobody's socket is capped", nobody(), capped("operator.read,operator.sessions.read")),
        (
            "nobody's socket asks for admin",
            nobody().header(SCOPES, "operator.admin,operator.read"),
            capped("operator.read"),
        ),
        (
            "nobody's socket names a group",
            nobody().header(GROUPS, "admins"),
            capped("operator.read,operator.sessions.read"),
        ),
    ] {
        attacks.push(attack("ceilings, delegated", name, h1(request, expect)));
    }

    // Prefixes.
    let prefixed = |value: &str| Request::proxied().header(USER, value);
    let malformed = || refused("trusted_proxy_user_malformed");
    let unknown = || refused("trusted_proxy_user_not_allowed");
    for (value, expect) in [
        ("accounts.google.com:nick@example.com", nick(WRITE)),
        ("nick@example.com", malformed()),
        ("Accounts.Google.com:nick@example.com", malformed()),
        ("accounts.google.com", malformed()),
        ("accounts.google.com:", malformed()),
        ("accounts.google.com: ", malformed()),
        ("accounts.google.com.evil.example:nick@example.com", malformed()),
        ("x accounts.google.com:nick@example.com", malformed()),
        ("accounts.google.com:accounts.google.com:nick@example.com", unknown()),
        ("accounts.google.com:nick@example.com,admin@example.com", unknown()),
        ("securetoken.google.com/x:nick@example.com", malformed()),
    ] {
        attacks.push(both("prefix", format!("a user with a prefix: `{value}`"), prefixed(value), expect));
    }

    // No answer says why, over any version of HTTP.
    let stranger = Request::from_peer(STRANGER).header(USER, NICK);
    let lost = Request::from_peer(PROXY).all(&[(USER, NICK), ("x-forwarded-for", PROXY)]);
    for (name, request) in [
        ("a stranger", stranger),
        ("nobody", Request::proxied()),
        ("a user who is not allowed", prefixed("eve@example.com")),
        ("a foreign origin", Request::honest().header("origin", "https://evil.example")),
        ("two users", Request::honest().header(USER, ADMIN)),
        ("a navigation of nobody", Request::proxied().header("accept", "text/html")),
    ] {
        attacks.push(both("hidden reasons", format!("hidden reasons: {name}"), request.clone(), Expect::Hidden(401)));
        attacks.push(attack(
            "hidden reasons",
            format!("hidden reasons: {name}, a WebSocket"),
            h1(request.upgrade(), Expect::Hidden(101)),
        ));
    }
    // Over TCP Envoy appends the proxy, so that no client is left.
    attacks.push(both("hidden reasons", "hidden reasons: no client", lost, Expect::Hidden(401)));
    Family {
        name: "Ceilings, prefixes and hidden reasons",
        about: "A ceiling must hold in every spelling of a name, and a group must not be read out of something else. Nick may write, \
            everybody else may read, `admins` may do everything.",
        attacks,
    }
}
