//! The built-in identity headers, and how names fold (contract, section 5).

/// Identity headers of common proxies. They are scrubbed unless the policy spares them.
pub(super) const BUILT_IN: [&str; 9] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
];

/// Prefixes of further identity headers.
pub(super) const BUILT_IN_PREFIXES: [&str; 10] = [
    "x-auth-request-",
    "x-pomerium-",
    "tailscale-",
    "cf-access-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-amzn-oidc-",
    "x-webauth-",
    "x-authentik-",
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
