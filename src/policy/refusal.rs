//! Every reason for which a request is refused. Nothing else in this crate spells a code.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal;)*) => {
        /// Why a request is refused. The codes are the Gateway's own where it has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code that logs, metrics and clients see; for a required header without the header's name.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status of the refusal.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

reasons! {
    /// The host showed no headers that can be read, or did not take a change of one.
    NoRequest = "trusted_proxy_no_request", 401;
    /// There is no policy in force.
    ConfigMissing = "trusted_proxy_config_missing", 401;
    /// Rule 1: the peer has no IP address that Envoy shows.
    PeerUnknown = "trusted_proxy_peer_unknown", 401;
    /// Rule 1: the peer's address was taken out of a header.
    PeerUnverified = "trusted_proxy_peer_unverified", 401;
    /// Rule 2: the peer is in no list of proxies.
    UntrustedSource = "trusted_proxy_untrusted_source", 401;
    /// Rule 3: the peer is a loopback address, without `allowLoopback`.
    LoopbackSource = "trusted_proxy_loopback_source", 401;
    /// Rule 3b: the peer has the address that it connects to.
    LocalInterfaceSource = "trusted_proxy_local_interface_source", 401;
    /// Rule 4: the peer showed no certificate over mutual TLS, or another than the trusted ones.
    PeerCertificate = "trusted_proxy_peer_certificate", 401;
    /// Rule 5: no client address can be attributed.
    AttributionRequired = "proxy_attribution_required", 403;
    /// Rule 6: a required header is missing or blank.
    MissingHeader = "trusted_proxy_missing_header", 401;
    /// Rule 7: the user header is missing or blank.
    UserMissing = "trusted_proxy_user_missing", 401;
    /// Rule 7b: the user header is there more than once.
    UserRepeated = "trusted_proxy_user_repeated", 401;
    /// Rule 7b: the groups header is there more than once.
    GroupsRepeated = "trusted_proxy_groups_repeated", 401;
    /// Rule 8: Envoy verified no identity.
    AssertionMissing = "trusted_proxy_assertion_missing", 401;
    /// Rule 8: the user header names another than the identity that Envoy verified.
    AssertionMismatch = "trusted_proxy_assertion_mismatch", 401;
    /// Rule 9: the user is not in `allowUsers`.
    UserNotAllowed = "trusted_proxy_user_not_allowed", 401;
    /// Rule 10: the browser's origin is not allowed.
    OriginNotAllowed = "trusted_proxy_origin_not_allowed", 401;
}

impl Reason {
    /// What the close frame of a refused WebSocket says before the code. The Gateway's Control UI maps these texts to
    /// its error cards; the word "unauthorized" would make it ask for a token.
    #[must_use]
    pub const fn close_text(self) -> &'static str {
        match self {
            Self::OriginNotAllowed => "origin not allowed",
            _ => "proxy authentication required",
        }
    }

    /// What a person in front of a browser can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::UserNotAllowed => {
                "You are signed in, but your account is not on the list of people who may come in here. \
                 Ask the operator to add it, or sign in with another account."
            }
            Self::OriginNotAllowed => {
                "The page that sent you here may not use this service. Type its address into the address bar yourself."
            }
            Self::AttributionRequired | Self::MissingHeader | Self::NoRequest | Self::ConfigMissing => {
                "This is not your mistake: the service is not set up completely. Tell the operator."
            }
            _ => {
                "This service takes visitors only through its sign-in. Go to the address that you were given for \
                 signing in, and come back from there. If that is where you came from, tell the operator."
            }
        }
    }

    /// Whether `webSocketRefusal: "delegate"` passes it on: rules 6, 7 and 9.
    #[must_use]
    pub const fn is_delegable(self) -> bool {
        matches!(self, Self::MissingHeader | Self::UserMissing | Self::UserNotAllowed)
    }
}

/// A refusal: the reason, and what the operator needs to know of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: Reason,
    /// The required header that is missing, as configured.
    pub header: Option<&'a str>,
    /// The user, where the request got far enough to have one.
    pub user: Option<&'a [u8]>,
}

impl From<Reason> for Refusal<'_> {
    fn from(reason: Reason) -> Self {
        Self { reason, header: None, user: None }
    }
}

impl Refusal<'_> {
    /// The whole code, with the name of a missing header.
    #[must_use]
    pub fn code(&self) -> Cow<'static, str> {
        let code = self.reason.code();
        self.header.map_or(Cow::Borrowed(code), |header| Cow::Owned([code, "_", header].concat()))
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_safe_everywhere_that_they_are_shown() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn no_close_text_has_words_that_make_a_client_forget_its_token() {
        for reason in Reason::ALL {
            let shown = format!("{}: {}", reason.close_text(), reason.code());
            assert!(!shown.contains("unauthorized") && !shown.contains("device token mismatch"), "{shown}");
        }
    }

    #[test]
    fn people_are_told_what_they_can_do_themselves() {
        use Reason::{AttributionRequired, ConfigMissing, MissingHeader, NoRequest, OriginNotAllowed, UserNotAllowed};
        for &reason in Reason::ALL {
            let expected = match reason {
                UserNotAllowed => "Ask the operator to add it, or sign in with another account.",
                OriginNotAllowed => "Type its address into the address bar yourself.",
                AttributionRequired | MissingHeader | NoRequest | ConfigMissing => "This is not your mistake",
                _ => "come back from there",
            };
            assert!(reason.advice().contains(expected), "{reason:?}: {}", reason.advice());
        }
    }

    #[test]
    fn what_the_gateway_refuses_itself_can_be_left_to_it_and_nothing_else() {
        for &reason in Reason::ALL {
            let expected = matches!(reason, Reason::MissingHeader | Reason::UserMissing | Reason::UserNotAllowed);
            assert_eq!(reason.is_delegable(), expected, "{reason:?}");
        }
    }

    #[test]
    fn only_a_missing_client_address_is_forbidden() {
        for reason in Reason::ALL {
            assert_eq!(reason.status() == 403, *reason == Reason::AttributionRequired, "{reason:?}");
        }
    }
}
