//! The reply to a refused client (contract, section 6).

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::page;
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::text::trim;

/// A local response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers, without those that Envoy adds.
    pub headers: Vec<(&'static str, Cow<'static, [u8]>)>,
    /// The body. For a WebSocket, this is its first and last frame.
    pub body: Vec<u8>,
}

/// What is appended to a WebSocket key before it is hashed (RFC 6455, section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The close code "policy violation".
const POLICY_VIOLATION: u16 = 1008;
/// A control frame carries at most 125 bytes, 2 of which are the code (RFC 6455, section 5.5).
const MAX_CLOSE_REASON: usize = 123;

impl Reply {
    /// The refusal of a plain request: a page for a browser that navigates, and JSON for everything else. Envoy itself
    /// leaves out the body if the method is `HEAD`. If the request could not be read, `request` is `None`.
    #[must_use]
    pub fn http(refusal: &Refusal<'_>, request: Option<&Request<'_>>, hide_reason: bool) -> Self {
        // A status of its own would tell the reason.
        let status = if hide_reason { 401 } else { refusal.reason.status() };
        let known = |value: &'static [u8]| Cow::Borrowed(value);
        let mut headers = Vec::with_capacity(8);
        headers.push(("cache-control", known(b"no-store")));
        if status == 401 {
            headers.push(("www-authenticate", known(b"TrustedProxy realm=\"openclaw\"")));
        }
        let body = if request.is_some_and(|request| page::is_wanted(request)) {
            headers.extend(page::HEADERS.map(|(name, value)| (name, known(value))));
            page::render(refusal, hide_reason)
        } else {
            headers.push(("content-type", known(b"application/json; charset=utf-8")));
            json(refusal, hide_reason)
        };
        Self { status, headers, body: body.into_bytes() }
    }

    /// The refusal of a WebSocket: the handshake is accepted, and one close frame follows. If the handshake failed, the
    /// browser would not show its page the reason. `None` if the handshake cannot be accepted.
    #[must_use]
    pub fn websocket(refusal: &Refusal<'_>, request: &Request<'_>, hide_reason: bool) -> Option<Self> {
        let version = request.fields.websocket_version.only().map(trim);
        if !request.is_websocket() || request.method() != b"GET" || version != Some(b"13") {
            return None;
        }
        let key = request.fields.websocket_key.only().map(trim).filter(|key| is_key(key))?;
        let mut headers = vec![
            ("upgrade", Cow::Borrowed(&b"websocket"[..])),
            ("connection", Cow::Borrowed(&b"Upgrade"[..])),
            ("sec-websocket-accept", Cow::Owned(accept(key).into_bytes())),
        ];
        // Clients that offered subprotocols and get none fail the handshake, and never see the close frame.
        let offered = request.fields.websocket_protocol.first().and_then(|offers| offers.split(|&b| b == b',').next());
        if let Some(first) = offered.map(trim).filter(|first| !first.is_empty()) {
            headers.push(("sec-websocket-protocol", Cow::Owned(first.to_vec())));
        }
        let mut reason = refusal.reason.close_text().to_owned();
        if !hide_reason {
            let _ = write!(reason, ": {}", refusal.reason.code());
        }
        Some(Self { status: 101, headers, body: close_frame(POLICY_VIOLATION, reason.as_bytes()) })
    }
}

/// The body for every client that is not a browser.
fn json(refusal: &Refusal<'_>, hide_reason: bool) -> String {
    let (message, kind) = if refusal.reason == Reason::AttributionRequired && !hide_reason {
        (
            "No client address can be attributed. List only your proxies in gateway.trustedProxies, and let the first \
             of them write X-Forwarded-For itself.",
            refusal.reason.code(),
        )
    } else {
        ("Unauthorized", "unauthorized")
    };
    // A code has letters and underscores: nothing to escape. Clients are not told which header is missing.
    let (before, reason, after) =
        if hide_reason { ("", "", "") } else { (",\"reason\":\"", refusal.reason.code(), "\"") };
    ["{\"error\":{\"message\":\"", message, "\",\"type\":\"", kind, "\"", before, reason, after, "}}"].concat()
}

/// Whether a WebSocket key has the form of 16 bytes in Base64.
fn is_key(key: &[u8]) -> bool {
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22
        && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')))
}

/// The answer to a key (RFC 6455, section 4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.digest().bytes())
}

/// A key for a handshake that came without one.
#[must_use]
pub fn websocket_key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// An unmasked close frame. The reason is ASCII, so it can be cut anywhere.
fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    const CLOSE: u8 = 0x88;
    let reason = reason.get(..MAX_CLOSE_REASON).unwrap_or(reason);
    let length = u8::try_from(reason.len().saturating_add(2)).unwrap_or(u8::MAX);
    [&[CLOSE, length][..], &code.to_be_bytes(), reason].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::headers::serialize;
    use crate::names::Names;
    use crate::peer::Peer;

    const HANDSHAKE: [(&str, &str); 5] = [
        (":method", "GET"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn refused(headers: &[(&str, &str)], refusal: Refusal<'_>) -> Option<Reply> {
        let map = serialize(headers);
        Reply::websocket(&refusal, &Request::read(&Names::default(), Peer::Unknown, &map).unwrap(), false)
    }

    fn header(reply: &Reply, name: &str) -> Option<String> {
        let value = reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        value.map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn a_refused_websocket_is_opened_and_closed_with_the_reason() {
        let reply = refused(&HANDSHAKE, Reason::UserMissing.into()).unwrap();
        assert_eq!(reply.status, 101);
        assert_eq!(header(&reply, "sec-websocket-accept").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(header(&reply, "sec-websocket-protocol"), None);
        let reason = b"proxy authentication required: trusted_proxy_user_missing";
        assert_eq!(reply.body[..4], [0x88, 2 + u8::try_from(reason.len()).unwrap(), 0x03, 0xF0]);
        assert_eq!(&reply.body[4..], reason);
        let origin = refused(&HANDSHAKE, Reason::OriginNotAllowed.into()).unwrap();
        assert_eq!(&origin.body[4..], b"origin not allowed: trusted_proxy_origin_not_allowed");
    }

    #[test]
    fn the_first_subprotocol_that_was_offered_is_echoed() {
        for (offers, expected) in [("a", Some("a")), (" b , c", Some("b")), ("", None), (",a", None)] {
            let mut headers = HANDSHAKE.to_vec();
            headers.push(("sec-websocket-protocol", offers));
            let reply = refused(&headers, Reason::UserMissing.into()).unwrap();
            assert_eq!(header(&reply, "sec-websocket-protocol").as_deref(), expected, "{offers}");
        }
    }

    #[test]
    fn a_handshake_that_could_not_be_accepted_is_not() {
        let changes: [(usize, (&str, &str)); 9] = [
            (0, (":method", "POST")),
            (1, ("upgrade", "h2c")),
            (3, ("sec-websocket-version", "12")),
            (3, ("x", "")),
            (4, ("x", "")),
            (4, ("sec-websocket-key", "")),
            (4, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")),
            (4, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j!Q==")),
            (4, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZSEhISEh")),
        ];
        for (at, change) in changes {
            let mut headers = HANDSHAKE.to_vec();
            headers[at] = change;
            assert_eq!(refused(&headers, Reason::UserMissing.into()), None, "{change:?}");
        }
        let twice = [&HANDSHAKE[..], &HANDSHAKE[4..]].concat();
        assert_eq!(refused(&twice, Reason::UserMissing.into()), None, "two keys");
    }

    #[test]
    fn nothing_tells_the_reason_where_it_is_hidden() {
        let navigation = [(":method", "GET"), ("accept", "text/html")];
        let json = |&reason: &Reason| Reply::http(&reason.into(), None, true);
        let page = |&reason: &Reason| plain(&navigation, reason.into(), true);
        let hidden: [Vec<_>; 2] = [Reason::ALL.iter().map(json).collect(), Reason::ALL.iter().map(page).collect()];
        for hidden in hidden {
            assert!(hidden.iter().all(|reply| *reply == hidden[0]), "{hidden:?}");
            assert_eq!(hidden[0].status, 401);
        }
        assert_eq!(Reply::http(&Reason::AttributionRequired.into(), None, false).status, 403);
    }

    #[test]
    fn a_close_reason_fits_into_a_control_frame() {
        for &reason in Reason::ALL {
            let reply = refused(&HANDSHAKE, reason.into()).unwrap();
            assert!(reply.body.len() < 127, "{reason:?}");
            assert!(reply.body.ends_with(reason.code().as_bytes()), "{reason:?}: cut");
        }
        let frame = close_frame(POLICY_VIOLATION, &[b'x'; 200]);
        assert_eq!((frame.len(), frame[1]), (127, 125));
    }

    fn plain(headers: &[(&str, &str)], refusal: Refusal<'_>, hide_reason: bool) -> Reply {
        let map = serialize(headers);
        Reply::http(&refusal, Some(&Request::read(&Names::default(), Peer::Unknown, &map).unwrap()), hide_reason)
    }

    #[test]
    fn a_plain_refusal_says_why_unless_it_shall_not() {
        let refusal = Refusal { header: Some("X-Edge"), ..Reason::MissingHeader.into() };
        let body = |reply: Reply| String::from_utf8(reply.body).unwrap();
        let reply = Reply::http(&refusal, None, false);
        assert_eq!((reply.status, header(&reply, "www-authenticate").is_some()), (401, true));
        assert_eq!(header(&reply, "content-type").unwrap(), "application/json; charset=utf-8");
        assert_eq!(
            body(reply),
            r#"{"error":{"message":"Unauthorized","type":"unauthorized","reason":"trusted_proxy_missing_header"}}"#
        );
        let hidden = body(Reply::http(&refusal, None, true));
        assert_eq!(hidden, r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
        let forbidden = plain(&[(":method", "POST")], Reason::AttributionRequired.into(), false);
        assert_eq!((forbidden.status, header(&forbidden, "www-authenticate")), (403, None));
        let json: serde_json::Value = serde_json::from_slice(&forbidden.body).unwrap();
        assert_eq!(json["error"]["type"], "proxy_attribution_required");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert_eq!(websocket_key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_key(websocket_key([0xFF; 16]).as_bytes()));
    }
}
