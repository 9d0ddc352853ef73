//! The built-in identity headers, and how names fold (contract, section 5).

/// Identity headers of common proxies. They are scrubbed unless the policy spares them. Each has the proxy that
/// documents it. Generic names, which webhooks and plugins use for secrets of their own (`x-auth-token`, `x-api-key`,
/// `x-access-token`), are not on the list.
pub(super) const BUILT_IN: [&str; 29] = [
    // oauth2-proxy, Traefik's forward-auth, and proxies that imitate them
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-group",
    "x-forwarded-groups",
    "x-forwarded-roles",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    // Authelia; the last one is tinyauth's
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-sub",
    // Kubernetes' authenticating proxy
    "x-remote-user",
    "x-remote-group",
    // Gatekeeper (Louketo)
    "x-auth-email",
    "x-auth-groups",
    "x-auth-roles",
    "x-auth-subject",
    "x-auth-userid",
    "x-auth-username",
    // caddy-security
    "x-token-subject",
    // Ory Oathkeeper
    "x-user",
    // OpenID Connect in OpenResty and APISIX
    "x-userinfo",
    "x-id-token",
    // Traefik
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    // Kong
    "x-credential-identifier",
    "x-credential-username",
    // Google's Extensible Service Proxy
    "x-endpoint-api-userinfo",
];

/// Prefixes of further identity headers.
pub(super) const BUILT_IN_PREFIXES: [&str; 20] = [
    // oauth2-proxy
    "x-auth-request-",
    // Pomerium
    "x-pomerium-",
    // Tailscale Serve
    "tailscale-",
    // Cloudflare Access
    "cf-access-",
    // Google's Identity-Aware Proxy
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    // Azure App Service (Easy Auth)
    "x-ms-client-principal",
    "x-ms-token-",
    // AWS load balancers
    "x-amzn-oidc-",
    "x-amzn-mtls-",
    // Grafana's auth proxy
    "x-webauth-",
    // authentik
    "x-authentik-",
    // caddy-security
    "x-token-user-",
    // Vouch
    "x-vouch-",
    // Kong
    "x-consumer-",
    // Kubernetes' authenticating proxy
    "x-remote-extra-",
    // Apache's mod_auth_openidc
    "oidc-claim-",
    "oidc-access-token",
    "oidc-id-token",
    // ingress-nginx
    "ssl-client-",
];

/// The header that names the caller's scopes.
pub const SCOPES_HEADER: &str = "x-openclaw-scopes";

/// One byte of a folded name: letters in lower case, and `-` for everything outside `[a-z0-9]`.
pub(super) const fn fold(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' => byte,
        b'A'..=b'Z' => byte.to_ascii_lowercase(),
        _ => b'-',
    }
}

/// A whole name, folded.
#[must_use]
pub fn folded(name: &[u8]) -> Vec<u8> {
    name.iter().map(|&byte| fold(byte)).collect()
}

/// Whether two names fold alike.
#[must_use]
pub fn fold_alike(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && folds_to_start_with(a, b)
}

/// Whether `name`, folded, starts with `prefix`, folded.
pub(crate) fn folds_to_start_with(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix).all(|(&a, &b)| fold(a) == fold(b))
}

/// Whether `name` is one of the built-in identity headers, or folds like one.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|managed| fold_alike(name.as_bytes(), managed.as_bytes()))
        || BUILT_IN_PREFIXES.iter().any(|prefix| folds_to_start_with(name.as_bytes(), prefix.as_bytes()))
}
