//! What named identity proxies send: headers, separators, prefixes, encodings and assertions, each with its sources.
//!
//! `check --proxy`, `render --proxy` and `docs/proxies.md` are made from this one table. Nothing here is from memory:
//! each row was read in the pages or the code that it names.

/// An identity proxy.
#[derive(Debug)]
pub struct Proxy {
    /// The name on the command line.
    pub name: &'static str,
    /// Its own name.
    pub title: &'static str,
    /// The headers that name the user, the one to use first. A `*` at the end stands for any ending.
    pub users: &'static [&'static str],
    /// The headers that list groups.
    pub groups: &'static [&'static str],
    /// What is between groups, and what sets it to something else.
    pub separator: &'static str,
    pub separator_by: Option<&'static str>,
    /// Each group is in double quotes.
    pub quotes_groups: bool,
    /// What every user starts with.
    pub prefix: &'static str,
    /// How the user's name is written.
    pub encoding: Encoding,
    /// The setting that gives these headers other names. Without one, the names are fixed.
    pub names_by: Option<&'static str>,
    /// Whether the headers are the choice of who configures it, so that nothing is known of their names.
    pub is_open: bool,
    /// The headers with groups of which a client's own copy never passes on a request of a user, however the proxy is
    /// configured.
    pub overwritten: &'static [&'static str],
    /// When a client's own headers pass.
    pub passes: &'static str,
    /// Further headers that it writes, which name no user.
    pub others: &'static [&'static str],
    /// Headers whose value cannot be a name, and what it is.
    pub encoded: &'static [(&'static str, &'static str)],
    /// A signed statement of who the user is.
    pub assertion: Option<Assertion>,
    /// The cookies of its login, as `filter.removeCookies` takes them.
    pub cookies: &'static [&'static str],
    /// It cannot pass on a close frame in place of a handshake's answer.
    pub needs_http_refusals: bool,
    /// What else to know.
    pub note: &'static str,
    /// Where this is from.
    pub sources: &'static [&'static str],
}

/// How a proxy writes characters beyond ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Utf8,
    /// In Latin-1. What it lacks becomes `?`.
    Latin1,
    /// As encoded words of RFC 2047.
    EncodedWords,
    /// Nothing is documented.
    Unknown,
}

impl Encoding {
    /// Its name in sentences.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Latin1 => "Latin-1",
            Self::EncodedWords => "RFC 2047 encoded words",
            Self::Unknown => "not documented",
        }
    }
}

/// A signed statement of who the user is.
#[derive(Debug)]
pub struct Assertion {
    /// The header.
    pub header: &'static str,
    /// Its issuer, if it is known.
    pub issuer: &'static str,
    /// Where its keys are.
    pub keys: &'static str,
    /// Why Envoy's `jwt_authn` cannot verify it.
    pub not_by_envoy: &'static str,
    /// It is on every request of a user, so that `requiredHeaders` can name it.
    pub is_always_sent: bool,
}

/// A row of which most is as usual.
const USUAL: Proxy = Proxy {
    name: "",
    title: "",
    users: &[],
    groups: &[],
    separator: ",",
    separator_by: None,
    quotes_groups: false,
    prefix: "",
    encoding: Encoding::Utf8,
    names_by: None,
    is_open: false,
    overwritten: &[],
    passes: "",
    others: &[],
    encoded: &[],
    assertion: None,
    cookies: &[],
    needs_http_refusals: false,
    note: "",
    sources: &[],
};

/// An assertion that Envoy can verify, and that is always sent.
const VERIFIABLE: Assertion = Assertion { header: "", issuer: "", keys: "", not_by_envoy: "", is_always_sent: true };

/// What holds for a service that another proxy asks about each request.
const ASKED: &str = "the proxy that asks it must set each of its headers, also where the answer lacks one; what that proxy does not set is the client's";

/// Every proxy, by name.
pub const PROXIES: [Proxy; 14] = [
    Proxy {
        name: "authelia",
        title: "Authelia",
        users: &["remote-user", "remote-email"],
        groups: &["remote-groups"],
        names_by: Some("the proxy that asks Authelia"),
        passes: ASKED,
        others: &["remote-name"],
        sources: &[
            "https://www.authelia.com/integration/trusted-header-sso/introduction/",
            "https://github.com/authelia/authelia/blob/master/internal/handlers/handler_authz_common.go",
        ],
        ..USUAL
    },
    Proxy {
        name: "authentik",
        title: "authentik",
        users: &["x-authentik-email", "x-authentik-username", "x-authentik-uid"],
        groups: &["x-authentik-groups"],
        overwritten: &["x-authentik-groups"],
        separator: "|",
        names_by: Some("the proxy that asks authentik"),
        others: &["x-authentik-name", "x-authentik-entitlements", "x-authentik-meta-*"],
        assertion: Some(Assertion {
            header: "x-authentik-jwt",
            keys: "the address that x-authentik-meta-jwks has: read it once, and write it into Envoy's configuration",
            ..VERIFIABLE
        }),
        passes: "in its forward-auth modes, the proxy that asks it must set each of its headers; what that proxy does not set is the client's",
        sources: &[
            "https://docs.goauthentik.io/add-secure-apps/providers/proxy",
            "https://github.com/goauthentik/authentik/blob/main/internal/outpost/proxyv2/application/mode_common.go",
        ],
        ..USUAL
    },
    Proxy {
        name: "aws-alb",
        title: "AWS Application Load Balancer",
        users: &["x-amzn-oidc-identity"],
        encoding: Encoding::Unknown,
        others: &["x-amzn-oidc-accesstoken"],
        encoded: &[("x-amzn-oidc-data", "a signed token"), ("x-amzn-oidc-accesstoken", "an access token")],
        assertion: Some(Assertion {
            header: "x-amzn-oidc-data",
            keys: "https://public-keys.auth.elb.REGION.amazonaws.com/KEY-ID",
            not_by_envoy: "each key is a file of its own and not a JWKS, and the issuer is in the token's header",
            ..VERIFIABLE
        }),
        note: "The user is the provider's subject (`sub`), which is seldom an address.",
        sources: &[
            "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html",
            "https://github.com/awsdocs/elb-application-load-balancers-user-guide/blob/master/doc_source/listener-authenticate-users.md",
        ],
        ..USUAL
    },
    Proxy {
        name: "azure-easy-auth",
        title: "Azure App Service authentication",
        users: &["x-ms-client-principal-name", "x-ms-client-principal-id"],
        encoding: Encoding::Unknown,
        others: &["x-ms-client-principal-idp", "x-ms-token-*"],
        encoded: &[("x-ms-client-principal", "JSON in Base64"), ("x-ms-token-*", "a token")],
        sources: &["https://learn.microsoft.com/en-us/azure/app-service/configure-authentication-user-identities"],
        ..USUAL
    },
    Proxy {
        name: "caddy",
        title: "Caddy's forward_auth",
        users: &["remote-user", "remote-email", "x-forwarded-user", "x-forwarded-email"],
        groups: &["remote-groups", "x-forwarded-groups"],
        names_by: Some("copy_headers"),
        is_open: true,
        passes: "copy_headers decides which headers are Caddy's, and from 2.9 until the fix of GHSA-7r4p-vjf4-gxv4 a header that the answer lacks is the client's own: remove each of them with request_header",
        note: "What the headers hold is up to the service that Caddy asks: if that is Authelia or authentik, name it instead.",
        sources: &[
            "https://caddyserver.com/docs/caddyfile/directives/forward_auth",
            "https://github.com/caddyserver/caddy/security/advisories/GHSA-7r4p-vjf4-gxv4",
        ],
        ..USUAL
    },
    Proxy {
        name: "cloudflare-access",
        title: "Cloudflare Access",
        users: &["cf-access-authenticated-user-email"],
        encoding: Encoding::Unknown,
        assertion: Some(Assertion {
            header: "cf-access-jwt-assertion",
            issuer: "https://TEAM.cloudflareaccess.com",
            keys: "https://TEAM.cloudflareaccess.com/cdn-cgi/access/certs",
            ..VERIFIABLE
        }),
        passes: "Cloudflare passes on all other headers of a request",
        cookies: &["CF_Authorization", "CF_AppSession"],
        sources: &[
            "https://developers.cloudflare.com/cloudflare-one/identity/users/validating-json",
            "https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/application-token",
            "https://developers.cloudflare.com/fundamentals/reference/http-headers/",
            "https://community.cloudflare.com/t/cloudflare-access-headers/181674",
        ],
        ..USUAL
    },
    Proxy {
        name: "google-iap",
        title: "Google's Identity-Aware Proxy",
        users: &["x-goog-authenticated-user-email", "x-goog-authenticated-user-id"],
        prefix: "accounts.google.com:",
        encoding: Encoding::Unknown,
        assertion: Some(Assertion {
            header: "x-goog-iap-jwt-assertion",
            issuer: "https://cloud.google.com/iap",
            keys: "https://www.gstatic.com/iap/verify/public_key-jwk",
            ..VERIFIABLE
        }),
        sources: &[
            "https://cloud.google.com/iap/docs/identity-howto",
            "https://cloud.google.com/iap/docs/signed-headers-howto",
            "https://github.com/GoogleCloudPlatform/java-docs-samples/blob/main/iap/src/main/java/com/example/iap/VerifyIapRequestHeader.java",
        ],
        ..USUAL
    },
    Proxy {
        name: "keycloak-gatekeeper",
        title: "Keycloak Gatekeeper (Louketo)",
        users: &["x-auth-email", "x-auth-username", "x-auth-userid", "x-auth-subject"],
        groups: &["x-auth-groups", "x-auth-roles"],
        overwritten: &["x-auth-groups", "x-auth-roles"],
        names_by: Some("add-claims"),
        passes: "on resources that need no login, a client's own X-Auth-* headers pass",
        others: &["x-auth-audience", "x-auth-expiresin"],
        encoded: &[("x-auth-token", "an access token")],
        assertion: Some(Assertion {
            header: "x-auth-token",
            keys: "the jwks_uri of the document at discovery-url, which has the issuer too",
            is_always_sent: false,
            ..VERIFIABLE
        }),
        note: "It is no longer maintained.",
        sources: &[
            "https://github.com/louketo/louketo-proxy/blob/master/docs/user-guide.md",
            "https://github.com/louketo/louketo-proxy/blob/master/middleware.go",
        ],
        ..USUAL
    },
    Proxy {
        name: "mod_auth_openidc",
        title: "Apache's mod_auth_openidc",
        users: &["oidc_claim_email", "oidc_claim_preferred_username", "oidc_claim_sub", "oidc_claim_*"],
        groups: &["oidc_claim_groups", "oidc_claim_*"],
        overwritten: &["oidc_claim_*"],
        separator_by: Some("OIDCClaimDelimiter"),
        encoding: Encoding::Latin1,
        names_by: Some("OIDCClaimPrefix or OIDCAuthNHeader"),
        others: &["oidc_access_token*", "oidc_id_token*", "oidc_userinfo_*", "oidc_scope"],
        encoded: &[
            ("oidc_id_token", "a signed token"),
            ("oidc_id_token_payload", "JSON"),
            ("oidc_userinfo_json", "JSON"),
            ("oidc_userinfo_jwt", "a signed token"),
            ("oidc_access_token", "an access token"),
        ],
        passes: "Apache adds the true address to a client's own X-Forwarded-For, and passes a client's own X-Real-IP, unless RequestHeader removes them",
        cookies: &["mod_auth_openidc_session*", "mod_auth_openidc_state_*"],
        note: "`OIDCPassClaimsAs headers none` sends UTF-8. `OIDCAuthNHeader` names the user in a header without an underscore.",
        sources: &[
            "https://github.com/OpenIDC/mod_auth_openidc/blob/master/auth_openidc.conf",
            "https://github.com/OpenIDC/mod_auth_openidc/blob/master/src/mod_auth_openidc.c",
            "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html#x-headers",
        ],
        ..USUAL
    },
    Proxy {
        name: "oauth2-proxy",
        title: "oauth2-proxy",
        users: &[
            "x-forwarded-email",
            "x-forwarded-user",
            "x-forwarded-preferred-username",
            "x-auth-request-email",
            "x-auth-request-user",
            "x-auth-request-preferred-username",
        ],
        groups: &["x-forwarded-groups", "x-auth-request-groups"],
        overwritten: &["x-forwarded-groups"],
        names_by: Some("injectRequestHeaders"),
        passes: "with --skip-auth-strip-headers=false, a client's own headers pass on routes that need no login; as the proxy itself, it passes a client's own X-Real-IP, and adds the true address to a client's own X-Forwarded-For",
        others: &["x-forwarded-access-token", "x-auth-request-access-token"],
        cookies: &["_oauth2_proxy*"],
        note: "The headers x-auth-request-* are those of its answer to nginx (`--set-xauthrequest`).",
        sources: &[
            "https://oauth2-proxy.github.io/oauth2-proxy/configuration/overview",
            "https://github.com/oauth2-proxy/oauth2-proxy/blob/master/pkg/apis/options/legacy_options.go",
            "https://github.com/oauth2-proxy/oauth2-proxy/blob/master/pkg/middleware/headers.go",
            "https://github.com/oauth2-proxy/oauth2-proxy/blob/master/pkg/upstream/http.go",
        ],
        ..USUAL
    },
    Proxy {
        name: "pomerium",
        title: "Pomerium",
        users: &["x-pomerium-claim-email", "x-pomerium-claim-user", "x-pomerium-claim-*"],
        groups: &["x-pomerium-claim-groups", "x-pomerium-claim-*"],
        names_by: Some("jwt_claims_headers"),
        assertion: Some(Assertion {
            header: "x-pomerium-jwt-assertion",
            issuer: "the host of the route",
            keys: "https://ROUTE/.well-known/pomerium/jwks.json",
            ..VERIFIABLE
        }),
        cookies: &["_pomerium*"],
        needs_http_refusals: true,
        note: "It sends these headers with `pass_identity_headers`, and only the claims that `jwt_claims_headers` names.",
        sources: &[
            "https://www.pomerium.com/docs/reference/jwt-claim-headers",
            "https://www.pomerium.com/docs/capabilities/getting-users-identity",
            "https://github.com/pomerium/pomerium/blob/main/authorize/evaluator/headers_evaluator_evaluation.go",
        ],
        ..USUAL
    },
    Proxy {
        name: "tailscale",
        title: "Tailscale Serve",
        users: &["tailscale-user-login"],
        encoding: Encoding::EncodedWords,
        others: &["tailscale-user-name", "tailscale-user-profile-pic", "tailscale-headers-info"],
        encoded: &[("tailscale-app-capabilities", "JSON"), ("tailscale-user-profile-pic", "an address of a picture")],
        note: "Machines with a tag and visitors through Funnel have no user.",
        sources: &[
            "https://tailscale.com/s/serve-headers",
            "https://github.com/tailscale/tailscale/blob/main/ipn/ipnlocal/serve.go",
        ],
        ..USUAL
    },
    Proxy {
        name: "traefik",
        title: "Traefik's ForwardAuth",
        users: &["x-forwarded-user", "x-forwarded-email"],
        groups: &["x-forwarded-groups"],
        names_by: Some("authResponseHeaders"),
        is_open: true,
        passes: "authResponseHeaders decides which headers are Traefik's; every other one is the client's",
        encoded: &[
            ("x-forwarded-tls-client-cert", "a certificate in PEM"),
            ("x-forwarded-tls-client-cert-info", "the parts of a certificate, escaped as in a URL"),
        ],
        note: "What the headers hold is up to the service that Traefik asks: if that is Authelia or authentik, name it instead.",
        sources: &[
            "https://doc.traefik.io/traefik/middlewares/http/forwardauth/",
            "https://doc.traefik.io/traefik/middlewares/http/passtlsclientcert/",
        ],
        ..USUAL
    },
    Proxy {
        name: "vouch",
        title: "Vouch Proxy",
        users: &["x-vouch-user", "x-vouch-idp-claims-*"],
        groups: &["x-vouch-idp-claims-groups", "x-vouch-idp-claims-*"],
        quotes_groups: true,
        names_by: Some("claimheader or the proxy that asks Vouch"),
        passes: ASKED,
        others: &["x-vouch-success"],
        encoded: &[("x-vouch-idp-accesstoken", "an access token"), ("x-vouch-idp-idtoken", "a signed token")],
        cookies: &["VouchCookie*"],
        sources: &[
            "https://github.com/vouch/vouch-proxy/blob/master/config/config.yml_example",
            "https://github.com/vouch/vouch-proxy/blob/master/handlers/validate.go",
            "https://github.com/vouch/vouch-proxy/blob/master/.defaults.yml",
        ],
        ..USUAL
    },
];

impl Proxy {
    /// The proxy with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROXIES.iter().find(|proxy| proxy.name == name)
    }

    /// Whether this is a header in which it names the user.
    pub fn names_users_in(&self, header: &str) -> bool {
        self.is_open || is_one_of(self.users, header)
    }

    /// Whether this is a header in which it lists groups.
    pub fn lists_groups_in(&self, header: &str) -> bool {
        (self.is_open && !self.groups.is_empty()) || is_one_of(self.groups, header)
    }

    /// Whether a client's own copy of this header with groups never passes.
    pub fn overwrites(&self, header: &str) -> bool {
        is_one_of(self.overwritten, header)
    }

    /// Whether it writes this header itself.
    pub fn writes(&self, header: &str) -> bool {
        self.headers().any(|pattern| is_like(pattern, header))
    }

    /// All headers that it writes. A `*` at the end stands for any ending.
    pub fn headers(&self) -> impl Iterator<Item = &'static str> {
        let assertion = self.assertion.iter().map(|assertion| assertion.header);
        let encoded = self.encoded.iter().map(|(header, _)| *header);
        self.users.iter().chain(self.groups).chain(self.others).copied().chain(encoded).chain(assertion)
    }

    /// What the value of a header is, if it cannot be a name.
    pub fn encoded_as(&self, header: &str) -> Option<&'static str> {
        let is_assertion = self.assertion.as_ref().is_some_and(|assertion| is_like(assertion.header, header));
        let encoded = self.encoded.iter().find(|(pattern, _)| is_like(pattern, header)).map(|(_, what)| *what);
        encoded.or(is_assertion.then_some("a signed token"))
    }
}

fn is_one_of(patterns: &[&str], header: &str) -> bool {
    patterns.iter().any(|pattern| is_like(pattern, header))
}

/// Whether a header is as a pattern says, in any case.
fn is_like(pattern: &str, header: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => header.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
        None => header.eq_ignore_ascii_case(pattern),
    }
}
