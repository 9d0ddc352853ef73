//! Which texts are header names, and which names are reserved (contract, section 1).

use crate::names::{SCOPES_HEADER, fold_alike, folds_to_start_with};

/// Reserved names; see [`is_reserved`].
pub(super) const RESERVED: [&str; 30] = [
    // Names that fold like a pseudo-header.
    ":method",
    ":path",
    ":authority",
    ":scheme",
    ":protocol",
    "host",
    "origin",
    "authorization",
    "referer",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
    SCOPES_HEADER,
    // Hop-by-hop headers (RFC 9110, section 7.6.1, and its predecessors).
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
];

/// Reserved prefixes of names; see [`is_reserved`].
pub(super) const RESERVED_PREFIXES: [&str; 3] = ["x-envoy-", "sec-", "content-"];

/// Whether a name is, or folds like, a header with a meaning to HTTP, Envoy or the Gateway. Such a header can neither
/// be a user header nor be stripped.
#[must_use]
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| fold_alike(name.as_bytes(), reserved.as_bytes()))
        || RESERVED_PREFIXES.iter().any(|prefix| folds_to_start_with(name.as_bytes(), prefix.as_bytes()))
}

/// What a token may contain in addition to letters and digits.
pub(super) const TOKEN_PUNCTUATION: &str = "!#$%&'*+-.^_`|~";

/// Whether `name` can be a header's name: a token (RFC 9110, section 5.6.2).
#[must_use]
pub(super) fn is_token(name: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || TOKEN_PUNCTUATION.as_bytes().contains(&byte);
    !name.is_empty() && name.bytes().all(may_stand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_reserved_in_every_spelling() {
        for name in [
            "Host",
            "-path",
            ".authority",
            "x_forwarded_for",
            "X-Envoy-Peer",
            "sec-websocket-key",
            "content.type",
            "X_OpenClaw_Scopes",
            "te",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["x-forwarded-user", "x-user", "hosts", "section"] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_token_has_no_separators() {
        assert!(
            is_token("x-a_b.c!")
                && !is_token("")
                && !is_token(":path")
                && !is_token("a b")
                && !is_token("x\u{e9}")
                && !is_token("a,b")
        );
    }
}
