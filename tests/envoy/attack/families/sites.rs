//! Requests of other web sites that carry no Origin.

use super::Family;
use crate::attack::suite::*;

const SITE: &str = "sec-fetch-site";
const CROSS_SITE: &str = "trusted_proxy_cross_site";
const ORIGIN: &str = "trusted_proxy_origin_not_allowed";

pub fn family() -> Family {
    let mut attacks = Vec::new();
    // With `crossSite: "refuse"`, on any path.
    for (value, passes) in [
        ("same-origin", true),
        ("none", true),
        ("cross-site", false),
        ("same-site", false),
        ("", false),
        ("Same-Origin", false),
        ("SAME-ORIGIN", false),
        ("same-origin, same-origin", false),
        ("same-origin,none", false),
        ("none; same-origin", false),
        ("\"same-origin\"", false),
        ("?1", false),
        ("same origin", false),
        ("cross-site same-origin", false),
    ] {
        let expect = if passes { nick(WRITE) } else { refused(CROSS_SITE) };
        let request = Request::honest().header(SITE, value);
        attacks.push(both("other sites", format!("another site: `{SITE}: {value}`"), request, expect));
    }
    let cross = || Request::honest().header(SITE, "cross-site");
    let navigation = |request: Request| request.all(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]);
    let refusal = || refused(CROSS_SITE);
    for (name, request, expect) in [
        ("no such header, as programs have it", Request::honest(), nick(WRITE)),
        ("a link to the page", navigation(cross()), nick(WRITE)),
        ("a form that posts", navigation(cross()).method("POST"), refusal()),
        ("a frame", cross().all(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]), refusal()),
        ("an object", cross().all(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "object")]), refusal()),
        ("an image", cross().all(&[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]), refusal()),
        ("a fetch without CORS", cross().all(&[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "empty")]), refusal()),
        ("a destination without a mode", cross().header("sec-fetch-dest", "document"), refusal()),
        ("a mode without a destination", cross().header("sec-fetch-mode", "navigate"), refusal()),
        (
            "a navigation in upper case",
            cross().all(&[("sec-fetch-mode", "NAVIGATE"), ("sec-fetch-dest", "document")]),
            refusal(),
        ),
        ("two modes", navigation(cross()).header("sec-fetch-mode", "no-cors"), refusal()),
        ("two destinations", navigation(cross()).header("sec-fetch-dest", "iframe"), refusal()),
        (
            "two sites, the good one first",
            Request::honest().all(&[(SITE, "same-origin"), (SITE, "cross-site")]),
            refusal(),
        ),
        (
            "two sites, the good one last",
            Request::honest().all(&[(SITE, "cross-site"), (SITE, "same-origin")]),
            refusal(),
        ),
        ("two good sites", Request::honest().all(&[(SITE, "same-origin"), (SITE, "same-origin")]), refusal()),
        ("a blank site and a good one", Request::honest().all(&[(SITE, ""), (SITE, "none")]), refusal()),
        ("a good site under an alias beside a bad one", cross().header("sec_fetch_site", "same-origin"), refusal()),
        ("an allowed origin decides", cross().header("origin", "https://claw.example.com"), nick(WRITE)),
        (
            "a foreign origin decides",
            Request::honest().all(&[(SITE, "same-origin"), ("origin", "https://evil.example")]),
            refused(ORIGIN),
        ),
        ("a blank origin does not decide", cross().header("origin", ""), refusal()),
        ("a health check", Request::proxied().target("/health").header(SITE, "cross-site"), anonymous()),
    ] {
        attacks.push(both("other sites", format!("another site: {name}"), request, expect));
    }
    attacks.push(attack(
        "other sites",
        "another site: a WebSocket without Origin is not a browser's",
        h1(cross().upgrade(), nick_socket()),
    ));

    // With `allowTailscale`, on the Control UI's reads.
    let read = || Request::honest().target("/control-ui-config.json");
    let wrong = || refused(ORIGIN);
    for (name, request, expect) in [
        ("nothing at all", read(), wrong()),
        ("a same-origin read", read().header(SITE, "same-origin"), nick(OWN)),
        ("a read by the address bar", read().header(SITE, "none"), wrong()),
        ("a read of another site", read().header(SITE, "cross-site"), wrong()),
        ("upper case, as the Gateway reads it", read().header(SITE, "Same-Origin"), nick(OWN)),
        ("two sites, both good", read().all(&[(SITE, "same-origin"), (SITE, "same-origin")]), wrong()),
        ("two sites, one good", read().all(&[(SITE, "same-origin"), (SITE, "cross-site")]), wrong()),
        ("an alias", read().header("sec_fetch_site", "same-origin"), wrong()),
        ("a listed origin", read().header("origin", "https://claw.example.com"), nick(OWN)),
        ("an origin that only the star allows", read().header("origin", "https://evil.example"), wrong()),
        ("a bearer", read().header("authorization", "Bearer x"), nick(OWN)),
        ("a bearer in lower case", read().header("authorization", "bearer x"), nick(OWN)),
        ("a bearer without a token", read().header("authorization", "Bearer "), wrong()),
        ("another scheme", read().header("authorization", "Basic bmljazp4"), wrong()),
        ("a bearer of a proxy", read().header("proxy-authorization", "Bearer x"), wrong()),
        ("HEAD", read().method("HEAD").header(SITE, "same-origin"), nick(OWN)),
        ("a picture", Request::honest().target("/avatar/main"), wrong()),
        (
            "a picture by another path, which the Gateway resolves",
            Request::honest().target("/x/../avatar/main"),
            wrong(),
        ),
        (
            "a picture by a coded path, which the Gateway may decode",
            Request::honest().target("/%61vatar/main"),
            wrong(),
        ),
        ("an API of its own, which is not one of the reads", Request::honest().target("/tools/invoke"), nick(OWN)),
    ] {
        let all = versions("Tailscale", &request, &expect);
        let all = all.into_iter().map(|shot| Shot { head: request.method == b"HEAD", ..shot }).collect();
        attacks.push(shots("Tailscale", format!("a read of the Control UI: {name}"), all));
    }
    Family {
        name: "Other web sites without an Origin",
        about: "An image, a script or a frame on another page is a request with the user's sign-in and without Origin. What browsers say \
            in `Sec-Fetch-*` must be said once, and exactly.",
        attacks,
    }
}
