//! What is not shown of a request: credentials, and assertions of who the user is.

use policy::names::folded;

use crate::input::is_secret;

/// Headers with credentials, and those of the built-in identity headers that hold an assertion: a token, a certificate,
/// or claims that some software believes as they are. A `*` at the end stands for any ending.
const HEADERS: [&str; 30] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "dpop",
    // Clients put tokens here, because a browser lets a script set no other header of a WebSocket.
    "sec-websocket-protocol",
    "x-amzn-oidc-data",
    "x-amzn-oidc-accesstoken",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-leaf",
    "x-authentik-jwt",
    "x-authentik-meta-jwks",
    "x-client-cert",
    "x-endpoint-api-userinfo",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-ms-client-principal",
    "x-ms-token-*",
    "x-userinfo",
    "x-vouch-idp-accesstoken",
    "x-vouch-idp-idtoken",
    "oidc-access-token*",
    "oidc-id-token*",
    "oidc-userinfo-*",
    "oidc-claim-at-hash",
    "oidc-claim-nonce",
    "ssl-client-cert",
    "x-ssl-client-cert",
    "x-ssl-cert",
    "client-cert",
];
/// Parts of further names.
const WORDS: [&str; 7] = ["jwt", "assertion", "signature", "session", "id-token", "idtoken", "saml"];

/// Whether a header has a value that is not shown, in any spelling of its name.
pub fn is_secret_header(name: &str) -> bool {
    let name = String::from_utf8(folded(name.as_bytes())).unwrap_or_default();
    is_secret(&name)
        || WORDS.iter().any(|word| name.contains(word))
        || HEADERS.iter().any(|header| match header.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *header,
        })
}

/// A text without JSON web tokens: three parts of letters, digits, `-` and `_`, of which the first is an object.
pub fn without_tokens(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let (before, token) = rest.split_at_checked(at).unwrap_or((rest, ""));
        shown.push_str(before);
        let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
        let end = token.find(|c| !is_inside(c)).unwrap_or(token.len());
        let (token, behind) = token.split_at_checked(end).unwrap_or((token, ""));
        shown.push_str(if token.contains('.') { "***" } else { token });
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_assertions_are_secret_in_every_spelling() {
        for name in [
            "authorization",
            "x-amzn-oidc-data",
            "X_Amzn_Oidc_Data",
            "sec-websocket-protocol",
            "dpop",
            "x-ms-token-aad-id-token",
            "cf-access-jwt-assertion",
            "cf-access-client-secret",
            "x-goog-iap-jwt-assertion",
            "x-pomerium-jwt-assertion",
            "x-forwarded-access-token",
            "x-auth-request-access-token",
            "x-vouch-idp-accesstoken",
            "oidc_access_token_expires",
            "x-api-key",
            "x-userinfo",
        ] {
            assert!(is_secret_header(name), "{name}");
        }
        for name in
            ["x-forwarded-user", "cf-access-authenticated-user-email", "x-amzn-oidc-identity", "origin", ":path"]
        {
            assert!(!is_secret_header(name), "{name}");
        }
    }

    #[test]
    fn a_token_is_not_shown_in_any_text() {
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJuaWNrIn0.";
        assert_eq!(without_tokens(&format!("a \"{token}\", {token}x_-.")), "a \"***\", ***");
        assert_eq!(without_tokens("eyJust a name"), "eyJust a name");
        assert_eq!(without_tokens("ey"), "ey");
    }
}
