//! Proxies that cannot be installed in the test environment: their host sends the headers that their documentation
//! describes.

use harness::wire::values;

use crate::place::{self, Place, Seen};

#[path = "../../cli/src/proxies.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
pub mod table;

/// One proxy.
struct Documented<'a> {
    folder: &'a str,
    /// The host that it connects from.
    from: &'a str,
    /// The host name that the browser requests.
    host: &'a str,
    user_header: &'a str,
    /// All headers that it adds for nick.
    adds: &'a [(&'a str, &'a str)],
    /// All headers that it adds for a user who is not signed in, if it lets such requests through.
    adds_for_nobody: &'a [(&'a str, &'a str)],
    /// The reason for which such a request is then refused.
    nobody: &'a str,
}

/// The form of a token; nothing verifies it here.
const ASSERTION: &str =
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEiLCJ0eXAiOiJKV1QifQ.eyJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl";

/// The table of what named proxies send has each of the headers, and the user's as one that names the user.
fn assert_known(proxy: &Documented<'_>) {
    let known = table::Proxy::named(proxy.folder).unwrap();
    assert!(known.names_users_in(proxy.user_header), "{}", proxy.folder);
    for (name, _) in proxy.adds.iter().filter(|(name, _)| policy::names::is_built_in(name)) {
        assert!(known.writes(name), "{}: {name}", proxy.folder);
    }
}

fn check(proxy: &Documented<'_>) {
    assert_known(proxy);
    let place = Place::new(proxy.folder);
    let origin = format!("https://{}", proxy.host);
    let own = [("origin", origin.as_str()), ("host", proxy.host)];
    let both = |headers: &[(&str, &str)], from| {
        let headers = [&own[..], headers].concat();
        [place::ask(place.to_envoy(from), &headers), place::open(place.to_envoy(from), proxy.host, &headers)]
    };
    // A browser may send headers that the proxy does not remove: other proxies' names for a user, and other spellings
    // of this proxy's.
    let dotted = proxy.user_header.replacen('-', ".", 1);
    let lies = [("x-webauth-user", "root"), ("remote-user", "root"), (dotted.as_str(), "eve@example.com")];
    let named = [("x-openclaw-user", "eve@example.com")];
    let lying = [proxy.adds, &lies, &named].concat();
    let seen = [both(proxy.adds, proxy.from), both(&lying, proxy.from)];
    let mut arrived = Vec::new();
    for (seen, is_websocket) in seen.into_iter().flatten().zip([false, true].into_iter().cycle()) {
        let Seen::Arrived(upstream) = seen else { panic!("{}: {seen:?}", proxy.folder) };
        for (name, _) in lies {
            assert!(values(&upstream, name).is_empty(), "{}: {name}", proxy.folder);
        }
        assert_eq!(values(&upstream, "x-openclaw-user"), ["nick@example.com"]);
        assert!(values(&upstream, proxy.user_header).is_empty(), "{upstream:?}");
        assert_eq!(values(&upstream, "x-forwarded-for"), values(&owned(proxy.adds), "x-forwarded-for"));
        // Of the proxy's other identity headers, only required ones are forwarded.
        let managed = [
            "x-forwarded-email",
            "x-forwarded-preferred-username",
            "tailscale-user-name",
            "tailscale-user-profile-pic",
        ];
        for name in managed.iter().filter(|name| **name != proxy.user_header) {
            assert!(values(&upstream, name).is_empty(), "{}: {name}", proxy.folder);
        }
        arrived.push((is_websocket, upstream));
    }
    assert_eq!(place.requests(), arrived.len());
    place.gateway_takes(&arrived, "nick@example.com");

    let refused = |reason: &str, headers: &[(&str, &str)], from| {
        let [page, socket] = both(headers, from);
        assert_eq!(page, Seen::Answered(401, Some(reason.to_owned())), "{}: {headers:?}", proxy.folder);
        let text = format!("proxy authentication required: {reason}");
        assert_eq!(socket, Seen::Closed(1008, text), "{}: {headers:?}", proxy.folder);
    };
    refused(proxy.nobody, proxy.adds_for_nobody, proxy.from);
    refused(proxy.nobody, &[proxy.adds_for_nobody, &lies].concat(), proxy.from);
    // A proxy that adds its header to the client's own, instead of replacing it, is refused.
    let twice = [&[(proxy.user_header, "nick@example.com")], proxy.adds].concat();
    refused("trusted_proxy_user_repeated", &twice, proxy.from);
    // From hosts other than the proxy's, with all headers that the proxy would send.
    for host in ["browser", "stranger", "gateway"] {
        refused("trusted_proxy_untrusted_source", proxy.adds, host);
    }
    assert_eq!(place.requests(), arrived.len(), "what is refused must not reach the upstream");
    place.is_closed_without_the_filter(proxy.from, &[&own[..], proxy.adds].concat());
}

fn owned(headers: &[(&str, &str)]) -> harness::wire::Headers {
    headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

#[test]
fn pomerium_by_its_documented_headers() {
    check(&Documented {
        folder: "pomerium",
        from: "proxy",
        host: place::HOST,
        user_header: "x-pomerium-claim-email",
        adds: &[
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "https"),
            ("x-pomerium-claim-email", "nick@example.com"),
            ("x-pomerium-jwt-assertion", ASSERTION),
        ],
        adds_for_nobody: &[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-proto", "https")],
        nobody: "trusted_proxy_missing_header",
    });
}

#[test]
fn cloudflare_access_by_its_documented_headers() {
    check(&Documented {
        folder: "cloudflare-access",
        // cloudflared runs next to Envoy.
        from: "envoy",
        host: place::HOST,
        user_header: "cf-access-authenticated-user-email",
        adds: &[
            ("cdn-loop", "cloudflare; loops=1"),
            ("cf-connecting-ip", "198.51.100.7"),
            ("cf-ipcountry", "XX"),
            ("cf-ray", "7d4c0e6d8f1a2b3c-FRA"),
            ("cf-visitor", r#"{"scheme":"https"}"#),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "https"),
            ("cf-access-authenticated-user-email", "nick@example.com"),
            ("cf-access-jwt-assertion", ASSERTION),
        ],
        adds_for_nobody: &[("x-forwarded-for", "198.51.100.7"), ("cf-connecting-ip", "198.51.100.7")],
        nobody: "trusted_proxy_missing_header",
    });
}

#[test]
fn tailscale_serve_by_its_documented_headers() {
    check(&Documented {
        folder: "tailscale",
        // tailscaled runs next to Envoy.
        from: "envoy",
        host: "claw.tailnet-name.ts.net",
        user_header: "tailscale-user-login",
        adds: &[
            ("x-forwarded-for", "100.101.102.103"),
            ("x-forwarded-host", "claw.tailnet-name.ts.net"),
            ("x-forwarded-proto", "https"),
            ("tailscale-user-login", "nick@example.com"),
            ("tailscale-user-name", "Nick"),
            ("tailscale-user-profile-pic", "https://example.com/nick.png"),
            ("tailscale-headers-info", "https://tailscale.com/s/serve-headers"),
        ],
        // Funnel lets strangers in, and tagged machines have no user.
        adds_for_nobody: &[
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-host", "claw.tailnet-name.ts.net"),
            ("x-forwarded-proto", "https"),
            ("tailscale-funnel-request", "?1"),
        ],
        nobody: "trusted_proxy_user_missing",
    });
}
