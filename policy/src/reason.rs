//! Every reason for which a request is refused, with all that belongs to it. Nothing else in this crate spells a code.

use std::borrow::Cow;
use std::fmt;

use crate::rule::Rule;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident {
        code: $code:literal,
        status: $status:literal,
        rule: $rule:expr,
        cause: $cause:literal,
        fix: $fix:literal,
        advice: $advice:expr,
    })*) => {
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

            /// The rule that it comes from; `None` where it comes before all rules.
            #[must_use]
            pub const fn rule(self) -> Option<Rule> {
                match self { $(Self::$name => $rule,)* }
            }

            /// What is the case, for operators, in Markdown.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)* }
            }

            /// What an operator can do about it, in Markdown.
            #[must_use]
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix,)* }
            }

            /// What a person in front of a browser can do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

// What people are told.
const SIGN_IN: &str = "This service takes visitors only through its sign-in. Go to the address that you were given for \
    signing in, and come back from there. If that is where you came from, tell the operator.";
const OPERATOR: &str = "This is not your mistake: the service is not set up completely. Tell the operator.";
const ASK: &str = "You are signed in, but your account is not on the list of people who may come in here. \
    Ask the operator to add it, or sign in with another account.";
const TYPE_ADDRESS: &str =
    "The page that sent you here may not use this service. Type its address into the address bar yourself.";

reasons! {
    /// The host showed no headers that can be read, or did not take a change of one.
    NoRequest {
        code: "trusted_proxy_no_request",
        status: 401,
        rule: None,
        cause: "Envoy did not show the headers, or did not take a change of one",
        fix: "see Envoy's log at that time; report it if it stays",
        advice: OPERATOR,
    }
    /// There is no policy in force.
    ConfigMissing {
        code: "trusted_proxy_config_missing",
        status: 401,
        rule: None,
        cause: "no policy is in force: the first one was rejected, or has not come yet",
        fix: "see Envoy's log for the errors of the policy; check it with `openclaw-trusted-proxy check`",
        advice: OPERATOR,
    }
    /// The peer has no IP address that Envoy shows.
    PeerUnknown {
        code: "trusted_proxy_peer_unknown",
        status: 401,
        rule: Some(Rule::Peer),
        cause: "the connection has no IP address (a Unix socket, an internal listener), or the filter state of `peerAddress` is empty",
        fix: "let the peer connect over TCP; write the filter state before this filter",
        advice: SIGN_IN,
    }
    /// The peer's address was taken out of a header.
    PeerUnverified {
        code: "trusted_proxy_peer_unverified",
        status: 401,
        rule: Some(Rule::Peer),
        cause: "Envoy took the peer's address out of a header",
        fix: "`use_remote_address: true`, or `peerAddress` with a filter state",
        advice: SIGN_IN,
    }
    /// The peer is in no list of proxies.
    UntrustedSource {
        code: "trusted_proxy_untrusted_source",
        status: 401,
        rule: Some(Rule::TrustedProxy),
        cause: "the peer is in no list of proxies",
        fix: "if it is your proxy, add its address; if not, find the network path that it came by",
        advice: SIGN_IN,
    }
    /// The peer is a loopback address, without `allowLoopback`.
    LoopbackSource {
        code: "trusted_proxy_loopback_source",
        status: 401,
        rule: Some(Rule::Loopback),
        cause: "the peer is 127.0.0.0/8 or ::1",
        fix: "`allowLoopback: true`, if every process on that host may speak for your users",
        advice: SIGN_IN,
    }
    /// The peer has the address that it connects to.
    LocalInterfaceSource {
        code: "trusted_proxy_local_interface_source",
        status: 401,
        rule: Some(Rule::SameHost),
        cause: "`rejectSameHost`: the peer has Envoy's own address",
        fix: "connect from another host, or leave the key out",
        advice: SIGN_IN,
    }
    /// The peer showed no certificate over mutual TLS, or another than the trusted ones.
    PeerCertificate {
        code: "trusted_proxy_peer_certificate",
        status: 401,
        rule: Some(Rule::Certificate),
        cause: "`trustedPeers`: the peer showed no certificate over mutual TLS, or another identity first",
        fix: "let the proxy connect with its certificate; add its identity as the certificate spells it",
        advice: SIGN_IN,
    }
    /// No client address can be attributed.
    AttributionRequired {
        code: "proxy_attribution_required",
        status: 403,
        rule: Some(Rule::Attribution),
        cause: "X-Forwarded-For names no client but proxies and loopback",
        fix: "let the first proxy write X-Forwarded-For itself; list only proxies in `trustedProxies`",
        advice: OPERATOR,
    }
    /// A required header is missing or blank.
    MissingHeader {
        code: "trusted_proxy_missing_header",
        status: 401,
        rule: Some(Rule::RequiredHeaders),
        cause: "a required header is missing or blank",
        fix: "let the proxy set it on every request, WebSockets too",
        advice: OPERATOR,
    }
    /// The user header is missing or blank.
    UserMissing {
        code: "trusted_proxy_user_missing",
        status: 401,
        rule: Some(Rule::User),
        cause: "the user header is missing or blank",
        fix: "the user is not signed in, or the proxy does not pass the header on",
        advice: SIGN_IN,
    }
    /// The user header is there more than once.
    UserRepeated {
        code: "trusted_proxy_user_repeated",
        status: 401,
        rule: Some(Rule::Repeated),
        cause: "the user header came more than once",
        fix: "let the proxy overwrite it instead of adding to the client's",
        advice: SIGN_IN,
    }
    /// The groups header is there more than once.
    GroupsRepeated {
        code: "trusted_proxy_groups_repeated",
        status: 401,
        rule: Some(Rule::Repeated),
        cause: "the groups header came more than once",
        fix: "let the proxy overwrite it",
        advice: SIGN_IN,
    }
    /// Envoy verified no identity.
    AssertionMissing {
        code: "trusted_proxy_assertion_missing",
        status: 401,
        rule: Some(Rule::Assertion),
        cause: "Envoy verified no identity for this request",
        fix: "put the login (`jwt_authn`, `oauth2`) before this filter on every route; check the path in `assertion.metadata`",
        advice: SIGN_IN,
    }
    /// The user header names another than the identity that Envoy verified.
    AssertionMismatch {
        code: "trusted_proxy_assertion_mismatch",
        status: 401,
        rule: Some(Rule::Assertion),
        cause: "the user header names another than the verified identity",
        fix: "let the proxy name the user as the signed assertion does",
        advice: SIGN_IN,
    }
    /// The user is not in `allowUsers`.
    UserNotAllowed {
        code: "trusted_proxy_user_not_allowed",
        status: 401,
        rule: Some(Rule::AllowedUser),
        cause: "the user is not in `allowUsers` (exact, with case)",
        fix: "add the user as the proxy spells it",
        advice: ASK,
    }
    /// The browser's origin is not allowed.
    OriginNotAllowed {
        code: "trusted_proxy_origin_not_allowed",
        status: 401,
        rule: Some(Rule::Origin),
        cause: "the browser's origin is not allowed",
        fix: "add the address in the browser's bar to `controlUi.allowedOrigins`",
        advice: TYPE_ADDRESS,
    }
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

    /// Whether `webSocketRefusal: "delegate"` passes it on: rules 6, 7 and 9.
    #[must_use]
    pub const fn is_delegable(self) -> bool {
        matches!(self.rule(), Some(rule) if rule.is_delegable())
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
