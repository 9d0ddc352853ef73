//! Other names for the same header, and headers that Connection nominates.

use model::IDENTITY_HEADERS;

use super::Family;
use crate::attack::suite::*;

/// All characters except letters, digits and the hyphen that a header name may contain (RFC 9110, section 5.6.2).
const PUNCTUATION: &[u8] = b"!#$%&'*+.^_`|~";

const USER_MISSING: &str = "trusted_proxy_user_missing";

pub fn family() -> Family {
    let mut attacks = Vec::new();
    for &byte in PUNCTUATION {
        let with = |name: &str| name.bytes().map(|one| if one == b'-' { byte } else { one }).collect::<Vec<u8>>();
        let request = Request::honest()
            .header(with("x-forwarded-user"), ADMIN)
            .header(with("x-openclaw-scopes"), "operator.admin")
            .header(with("x-auth-request-email"), ADMIN)
            .header(with("remote-groups"), "admins");
        let shown = if byte == b'`' { "a backquote".to_owned() } else { format!("`{}`", char::from(byte)) };
        let name = format!("user, scopes, e-mail and groups with {shown} for the hyphen");
        attacks.push(both("raw", name, request, nick(WRITE)));
    }
    // Every byte in place of the hyphen, each on its own connection.
    let place = |byte: u8| Request::honest().header([&b"x-forwarded"[..], &[byte], b"user"].concat(), ADMIN);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte);
    let pass = (0..=255).filter(|byte| is_token(*byte) || *byte == b':');
    attacks.push(shots(
        "raw",
        "every byte that a name may hold in the hyphen's place, and the colon, which ends the name",
        pass.map(|byte| h1(place(byte), nick(WRITE))).collect(),
    ));
    let stop = (0..=255).filter(|byte| !is_token(*byte) && !b":-\n".contains(byte));
    attacks.push(shots(
        "raw",
        "every byte that a name must not hold in the hyphen's place",
        stop.map(|byte| h1(place(byte), Expect::Stopped(400))).collect(),
    ));
    let stop = (0..=255).filter(|byte| !is_token(*byte) && *byte != b'-');
    attacks.push(shots(
        "raw",
        "every byte that a name must not hold in the hyphen's place (HTTP/2)",
        stop.clone().map(|byte| h2(&place(byte), Expect::Stopped(0))).collect(),
    ));
    attacks.push(shots(
        "raw",
        "every byte that a name must not hold in the hyphen's place (HTTP/3)",
        stop.map(|byte| h3(&place(byte), Expect::Stopped(0))).collect(),
    ));
    let mixed = ["x!forwarded-user", "x-forwarded~user", "X_FORWARDED.USER", "x*openclaw|scopes", "x'forwarded`groups"];
    attacks.push(both(
        "raw",
        "several aliases at once, each with other bytes",
        mixed.iter().fold(Request::honest(), |request, name| request.header(name, "operator.admin")),
        nick(WRITE),
    ));
    attacks.push(attack(
        "example",
        "x_forwarded_user where Envoy takes no underscores",
        h1(Request::honest().header("x_forwarded_user", ADMIN), Expect::Stopped(400)),
    ));
    attacks.push(attack(
        "example",
        "x.forwarded.user where Envoy takes no underscores",
        h1(Request::honest().header("x.forwarded.user", ADMIN), nick(WRITE)),
    ));

    // Headers of identity proxies, sent by a client.
    for (proxy, headers) in [
        (
            "oauth2-proxy",
            &[
                "x-auth-request-user",
                "x-auth-request-email",
                "x-auth-request-groups",
                "x-auth-request-access-token",
                "x-auth-request-preferred-username",
            ][..],
        ),
        (
            "oauth2-proxy as a reverse proxy",
            &["x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token"],
        ),
        ("Pomerium", &["x-pomerium-jwt-assertion", "x-pomerium-claim-email", "x-pomerium-claim-groups"]),
        ("Tailscale Serve", &["tailscale-user-login", "tailscale-user-name", "tailscale-user-profile-pic"]),
        (
            "Cloudflare Access",
            &["cf-access-authenticated-user-email", "cf-access-jwt-assertion", "cf-access-client-id"],
        ),
        (
            "Google IAP",
            &["x-goog-authenticated-user-email", "x-goog-authenticated-user-id", "x-goog-iap-jwt-assertion"],
        ),
        ("Azure App Service", &["x-ms-client-principal", "x-ms-client-principal-name", "x-ms-client-principal-id"]),
        ("AWS load balancers", &["x-amzn-oidc-identity", "x-amzn-oidc-data", "x-amzn-oidc-accesstoken"]),
        ("Authelia and Caddy", &["remote-user", "remote-email", "remote-groups", "remote-name"]),
        ("Grafana's and Gitea's proxies", &["x-webauth-user", "x-webauth-email", "x-webauth-fullname"]),
        ("caddy-security", &["x-token-subject", "x-token-user-email", "x-token-user-name", "x-token-user-roles"]),
        ("Vouch", &["x-vouch-user", "x-vouch-idp-accesstoken", "x-vouch-idp-claims-groups"]),
        ("Gatekeeper", &["x-auth-email", "x-auth-userid", "x-auth-subject", "x-auth-groups", "x-auth-roles"]),
        ("Azure's token store", &["x-ms-token-aad-access-token", "x-ms-token-aad-id-token"]),
        ("Oathkeeper and Kong", &["x-user", "x-consumer-username", "x-consumer-groups", "x-credential-identifier"]),
        ("OpenID Connect in OpenResty", &["x-userinfo", "x-id-token"]),
        ("Kubernetes", &["x-remote-user", "x-remote-group", "x-remote-extra-scopes"]),
        (
            "client certificates",
            &["x-forwarded-tls-client-cert-info", "ssl-client-subject-dn", "x-amzn-mtls-clientcert-subject"],
        ),
        ("authentik", &["x-authentik-username", "x-authentik-email", "x-authentik-groups", "x-authentik-jwt"]),
    ] {
        let request = |odd: bool| {
            headers.iter().fold(Request::honest(), |request, name| {
                request.header(if odd { name.replace('-', "_").to_uppercase() } else { (*name).to_owned() }, ADMIN)
            })
        };
        let on_health = headers
            .iter()
            .fold(Request::from_peer(STRANGER).target("/health"), |request, name| request.header(name, ADMIN));
        attacks.push(shots(
            "raw",
            format!("the headers of {proxy}, also in other spellings, also on a health check"),
            vec![
                h1(request(false), nick(WRITE)),
                h2(&request(false), nick(WRITE)),
                h1(request(true), nick(WRITE)),
                h1(on_health, anonymous()),
            ],
        ));
    }
    attacks.push(both(
        "raw",
        "a made-up member of each family of names",
        [
            "x-auth-request-x",
            "x-pomerium-",
            "tailscale-\u{7e}",
            "cf-access-zzz",
            "x-webauth-0",
            "x-ms-client-principal-x",
        ]
        .iter()
        .fold(Request::honest(), |request, name| request.header(name, ADMIN)),
        nick(WRITE),
    ));
    // Every entry of the list, alone.
    for managed in IDENTITY_HEADERS.iter().filter(|name| !["x-forwarded-user", "x-openclaw-scopes"].contains(*name)) {
        let name = managed.replace('*', "x7");
        let spellings =
            [name.clone(), name.replace('-', "_"), name.replace('-', ".").to_uppercase(), name.replace('-', "~")];
        let request = spellings.iter().fold(Request::honest(), |request, name| request.header(name, ADMIN));
        attacks.push(both("raw", format!("`{managed}` of the built-in list, in four spellings"), request, nick(WRITE)));
    }
    let long = format!("x-authentik-{}", "a".repeat(40_000));
    attacks.push(both(
        "raw",
        "a name of 40,000 letters that begins like a managed one",
        Request::honest().header(&long, ADMIN),
        nick(WRITE),
    ));
    let names = (0..90).fold(Request::honest(), |request, index| request.header(format!("x-webauth-{index}"), ADMIN));
    attacks.push(both("raw", "ninety managed headers at once", names, nick(WRITE)));

    // Nominated as hop-by-hop, so that some hop drops what the filter stamped, or what narrows it.
    let bad = Expect::Stopped(400);
    for (name, connection, expect) in [
        ("the user header", "x-forwarded-user", refused(USER_MISSING)),
        ("the user header behind keep-alive", "keep-alive, x-forwarded-user", refused(USER_MISSING)),
        ("the user header in upper case", "X-Forwarded-User", refused(USER_MISSING)),
        ("the user header, in a list with odd commas", ",,x-forwarded-user,,", refused(USER_MISSING)),
        ("TE and the user header", "te, x-forwarded-user", refused(USER_MISSING)),
        ("an alias of the user header", "x_forwarded_user", nick(WRITE)),
        ("X-Forwarded-For", "x-forwarded-for", bad.clone()),
        ("the path", ":path", bad.clone()),
        ("Host", "host", bad),
        ("Cookie", "cookie", nick(WRITE)),
    ] {
        let request = Request::honest().header("connection", connection);
        attacks.push(attack(
            "raw",
            format!("Connection nominates {name}: Envoy drops it before the filter"),
            h1(request, expect),
        ));
    }
    // Envoy drops the proxy's narrow scopes. Without the header the path's default applies, as it would at the
    // Gateway behind the same Envoy. A proxy that forwards Connection is at fault; `requiredHeaders` detects it.
    let narrowed = |request: Request| request.target("/tools/invoke").header("x-openclaw-scopes", "operator.read");
    let nominated = narrowed(Request::honest()).header("connection", "x-openclaw-scopes");
    attacks.push(attack(
        "raw",
        "Connection nominates the scopes header on an own path: Envoy drops it, and the default applies",
        h1(nominated.clone(), nick(OWN)),
    ));
    attacks.push(attack(
        "scopes required",
        "Connection nominates the scopes header, which is a required one",
        h1(nominated, refused("trusted_proxy_missing_header_x-openclaw-scopes")),
    ));
    attacks.push(attack(
        "raw",
        "Proxy-Connection and Keep-Alive nominate the user and scopes headers",
        h1(
            narrowed(Request::honest())
                .all(&[("proxy-connection", "x-forwarded-user"), ("keep-alive", "x-openclaw-scopes")]),
            nick_named("operator.read"),
        ),
    ));
    let upgrade = |connection: &str| {
        Request::honest().header("connection", connection).all(&[
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ])
    };
    for (name, connection) in [
        ("the user header", "Upgrade, x-forwarded-user"),
        ("the user header first", "x-forwarded-user, Upgrade"),
        ("an alias of the user header", "Upgrade, X_Forwarded.User"),
        ("another proxy's header", "Upgrade, tailscale-user-login"),
        ("everything", "Upgrade, x-forwarded-user, x-openclaw-scopes, x-forwarded-for, sec-websocket-key"),
        ("the user header between tabs", "Upgrade,\tx-forwarded-user\t"),
    ] {
        attacks.push(attack(
            "raw",
            format!("Connection nominates {name} on a WebSocket"),
            h1(upgrade(connection), nick_socket()),
        ));
    }
    attacks.push(attack(
        "raw",
        "Connection nominates the scopes header on a WebSocket, to have the cap dropped",
        h1(
            upgrade("Upgrade, x-openclaw-scopes").header("x-openclaw-scopes", "operator.read"),
            nick_named("operator.read"),
        ),
    ));
    attacks.push(attack(
        "raw",
        "a second Connection nominates the user header on a WebSocket",
        h1(upgrade("Upgrade").header("connection", "x-forwarded-user"), nick_socket()),
    ));
    attacks.push(attack(
        "raw",
        "Connection nominates the user header over HTTP/2, where there is no Connection",
        h2(&Request::honest().header("connection", "x-forwarded-user"), Expect::Stopped(0)),
    ));
    attacks.push(attack(
        "raw",
        "Connection nominates the user header of a stranger, who has none",
        h1(Request::proxied().header("connection", "x-forwarded-user"), refused(USER_MISSING)),
    ));
    Family {
        name: "Names that fold, and nominated headers",
        about: "Servers behind the Gateway's port may read `x_forwarded_user` as `X-Forwarded-User`, or believe some other proxy's \
            header. And a server that honours `Connection: x-forwarded-user` drops that header.",
        attacks,
    }
}
