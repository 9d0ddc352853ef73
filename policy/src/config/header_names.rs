//! What can be a header's name, and what cannot be the name of an identity header (contract, section 1).

use crate::names::{SCOPES_HEADER, fold_alike, folds_to_start_with};

/// Names that are reserved as they are; see [`is_reserved`].
pub(super) const RESERVED: [&str; 30] = [
    // What would fold like a part of the request line.
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
    // Hop by hop (RFC 9110, section 7.6.1, and its forerunners).
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

/// Beginnings of names that are reserved; see [`is_reserved`].
pub(super) const RESERVED_PREFIXES: [&str; 3] = ["x-envoy-", "sec-", "content-"];

/// Headers that mean something else to HTTP, Envoy or the Gateway, and so can be neither a user header nor stripped.
#[must_use]
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| fold_alike(name.as_bytes(), reserved.as_bytes()))
        || RESERVED_PREFIXES.iter().any(|prefix| folds_to_start_with(name.as_bytes(), prefix.as_bytes()))
}

/// What a token may hold besides letters and digits.
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
