//! Every reason for a refusal, and everything that depends on it. Reason codes are spelled nowhere else in this crate.

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
        /// Why a request is refused. The code is the Gateway's own, if the Gateway has one for the case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code in logs, in metrics and for clients, without the name of a header.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status of the refusal.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The rule that is broken; `None` if the request is refused before any rule is asked.
            #[must_use]
            pub const fn rule(self) -> Option<Rule> {
                match self { $(Self::$name => $rule,)* }
            }

            /// What causes it, for operators, in Markdown.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)* }
            }

            /// How an operator can fix it, in Markdown.
            #[must_use]
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix,)* }
            }

            /// What the person at the browser can do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

// Advice for people at a browser.
const SIGN_IN: &str = "You can reach this service only through its sign-in page. Go to the address that you were given for \
    signing in, and come back from there. If that is where you came from, tell the operator.";
const OPERATOR: &str = "This is not your mistake: the service is not fully set up. Tell the operator.";
const ASK: &str = "You are signed in, but your account is not on the list of people who may use this service. \
    Ask the operator to add it, or sign in with another account.";
const LATER: &str = "Too many people use this service at the moment. Try again later, or tell the operator.";
const TYPE_ADDRESS: &str =
    "The page that sent you here is not allowed to use this service. Type its address into the address bar yourself.";

reasons! {
    /// The host provided no readable headers, or did not accept a change to one.
    NoRequest {
        code: "trusted_proxy_no_request",
        status: 401,
        rule: None,
        cause: "Envoy did not provide the headers, or did not accept a change to one",
        fix: "see Envoy's log at that time; if it happens again, report it",
        advice: OPERATOR,
    }
    /// No policy is in force.
    ConfigMissing {
        code: "trusted_proxy_config_missing",
        status: 401,
        rule: None,
        cause: "no policy is in force: the first one was rejected, or has not arrived yet",
        fix: "see Envoy's log for the errors in the policy; check it with `openclaw-trusted-proxy check`",
        advice: OPERATOR,
    }
    /// Envoy shows no IP address for the peer.
    PeerUnknown {
        code: "trusted_proxy_peer_unknown",
        status: 401,
        rule: Some(Rule::Peer),
        cause: "the connection has no IP address (a Unix socket, an internal listener), or the filter state of `peerAddress` is empty",
        fix: "let the peer connect over TCP; set the filter state before this filter runs",
        advice: SIGN_IN,
    }
    /// The peer's address was taken from a header.
    PeerUnverified {
        code: "trusted_proxy_peer_unverified",
        status: 401,
        rule: Some(Rule::Peer),
        cause: "Envoy took the peer's address from a header",
        fix: "set `use_remote_address: true`, or use `peerAddress` with a filter state",
        advice: SIGN_IN,
    }
    /// The peer is not in the list of proxies.
    UntrustedSource {
        code: "trusted_proxy_untrusted_source",
        status: 401,
        rule: Some(Rule::TrustedProxy),
        cause: "the peer is not in the list of proxies",
        fix: "if it is your proxy, add its address; if not, find the network path that it used",
        advice: SIGN_IN,
    }
    /// The peer has a loopback address, and `allowLoopback` is not set.
    LoopbackSource {
        code: "trusted_proxy_loopback_source",
        status: 401,
        rule: Some(Rule::Loopback),
        cause: "the peer's address is in 127.0.0.0/8, or is ::1",
        fix: "set `allowLoopback: true`, if every process on that host may act for your users",
        advice: SIGN_IN,
    }
    /// The peer has the same address that it connected to.
    LocalInterfaceSource {
        code: "trusted_proxy_local_interface_source",
        status: 401,
        rule: Some(Rule::SameHost),
        cause: "`rejectSameHost` is on, and the peer has Envoy's own address",
        fix: "connect from another host, or remove the key",
        advice: SIGN_IN,
    }
    /// The peer presented no certificate over mutual TLS, or one that is not trusted.
    PeerCertificate {
        code: "trusted_proxy_peer_certificate",
        status: 401,
        rule: Some(Rule::Certificate),
        cause: "the peer presented no certificate over mutual TLS, or its first identity is not in `trustedPeers`",
        fix: "have the proxy connect with its certificate; add its identity exactly as the certificate spells it",
        advice: SIGN_IN,
    }
    /// No client address can be attributed.
    AttributionRequired {
        code: "proxy_attribution_required",
        status: 403,
        rule: Some(Rule::Attribution),
        cause: "X-Forwarded-For names only proxies and loopback addresses, and no client",
        fix: "have the first proxy write X-Forwarded-For itself; list only proxies in `trustedProxies`",
        advice: OPERATOR,
    }
    /// A required header is missing or blank.
    MissingHeader {
        code: "trusted_proxy_missing_header",
        status: 401,
        rule: Some(Rule::RequiredHeaders),
        cause: "a required header is missing or blank",
        fix: "have the proxy set it on every request, including WebSockets",
        advice: OPERATOR,
    }
    /// A header does not hold the secret that only the proxy knows.
    HeaderValue {
        code: "trusted_proxy_header_value",
        status: 401,
        rule: Some(Rule::RequiredValues),
        cause: "a header of `requiredValues` is missing, appears twice, or has a value that is not listed",
        fix: "if it is your proxy, have it send the secret on every request, and list the secret's SHA-256; if not, find the network path that it used",
        advice: OPERATOR,
    }
    /// The user header is missing or blank.
    UserMissing {
        code: "trusted_proxy_user_missing",
        status: 401,
        rule: Some(Rule::User),
        cause: "the user header is missing or blank",
        fix: "check that the user is signed in, and that the proxy passes the header on",
        advice: SIGN_IN,
    }
    /// The user header does not have the form of `userPrefix`.
    UserMalformed {
        code: "trusted_proxy_user_malformed",
        status: 401,
        rule: Some(Rule::User),
        cause: "the user header does not start with `userPrefix`, or nothing follows it",
        fix: "set `userPrefix` to what your proxy writes before each user, or remove it",
        advice: OPERATOR,
    }
    /// The user header is present more than once.
    UserRepeated {
        code: "trusted_proxy_user_repeated",
        status: 401,
        rule: Some(Rule::Repeated),
        cause: "the user header appears more than once",
        fix: "have the proxy overwrite it instead of adding to the client's",
        advice: SIGN_IN,
    }
    /// The groups header is present more than once.
    GroupsRepeated {
        code: "trusted_proxy_groups_repeated",
        status: 401,
        rule: Some(Rule::Repeated),
        cause: "the groups header appears more than once",
        fix: "have the proxy overwrite it",
        advice: SIGN_IN,
    }
    /// The groups header is not a list with separators.
    GroupsUnreadable {
        code: "trusted_proxy_groups_unreadable",
        status: 401,
        rule: Some(Rule::Repeated),
        cause: "the groups header looks like JSON (it starts with `[` or `{`), which is not read",
        fix: "have the proxy send the groups as text with a separator; name the separator in `scopes.groupsSeparator`",
        advice: OPERATOR,
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
    /// A claim that must be true is not.
    AssertionClaim {
        code: "trusted_proxy_assertion_claim",
        status: 401,
        rule: Some(Rule::Assertion),
        cause: "a claim of `assertion.requireTrue` is missing, or is not the boolean `true`",
        fix: "see what the provider says in the token; the text `\"true\"` is not a boolean",
        advice: ASK,
    }
    /// The user header names someone other than the identity that Envoy verified.
    AssertionMismatch {
        code: "trusted_proxy_assertion_mismatch",
        status: 401,
        rule: Some(Rule::Assertion),
        cause: "the user header names someone other than the verified identity",
        fix: "have the proxy name the user exactly as the signed assertion does",
        advice: SIGN_IN,
    }
    /// The verified identity has ended, or does not say when it ends.
    AssertionExpired {
        code: "trusted_proxy_assertion_expired",
        status: 401,
        rule: None,
        cause: "`socketsUntil` is `\"assertion\"`, and the `exp` beside the identity has passed, or is not a number",
        fix: "sign in again; if it happens at once, have the provider issue tokens with `exp`, and compare the clocks",
        advice: SIGN_IN,
    }
    /// There is no room for another open socket.
    SocketLimit {
        code: "trusted_proxy_socket_limit",
        status: 401,
        rule: None,
        cause: "the headers of the open sockets of this worker take 40 MiB, or those of this handshake take more than 16 KiB",
        fix: "find out who opens so many sockets (`user` in the log); close them, or set `socketMaxAge`",
        advice: LATER,
    }
    /// The user is not in `allowUsers`.
    UserNotAllowed {
        code: "trusted_proxy_user_not_allowed",
        status: 401,
        rule: Some(Rule::AllowedUser),
        cause: "the user is not in `allowUsers` (exact match, including case)",
        fix: "add the user exactly as the proxy spells it",
        advice: ASK,
    }
    /// The browser's origin is not allowed.
    OriginNotAllowed {
        code: "trusted_proxy_origin_not_allowed",
        status: 401,
        rule: Some(Rule::Origin),
        cause: "the browser's origin is not allowed",
        fix: "add the origin in the browser's address bar to `controlUi.allowedOrigins`",
        advice: TYPE_ADDRESS,
    }
    /// Another web site makes the request, without an Origin.
    CrossSite {
        code: "trusted_proxy_cross_site",
        status: 401,
        rule: Some(Rule::Origin),
        cause: "`crossSite` is `\"refuse\"`, and another web site makes the request (`Sec-Fetch-Site`), without an Origin",
        fix: "if a page of yours embeds the Gateway, serve both from one origin; otherwise the refusal is correct",
        advice: TYPE_ADDRESS,
    }
}

impl Reason {
    /// The text before the code in the close frame of a refused WebSocket. The Gateway's Control UI maps these texts to
    /// its error cards. The word "unauthorized" would make it ask for a token.
    #[must_use]
    pub const fn close_text(self) -> &'static str {
        match self {
            Self::OriginNotAllowed => "origin not allowed",
            _ => "proxy authentication required",
        }
    }

    /// Whether `webSocketRefusal: "delegate"` leaves this refusal to the Gateway (rules 6, 7 and 9).
    #[must_use]
    pub const fn is_delegable(self) -> bool {
        matches!(self.rule(), Some(rule) if rule.is_delegable())
    }
}

/// A refusal: the reason, and what the operator needs to know about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: Reason,
    /// The required header that is missing, or has the wrong value, spelled as configured.
    pub header: Option<&'a str>,
    /// The user, if an earlier rule found one.
    pub user: Option<&'a [u8]>,
}

impl From<Reason> for Refusal<'_> {
    fn from(reason: Reason) -> Self {
        Self { reason, header: None, user: None }
    }
}

impl Refusal<'_> {
    /// The whole code, with the name of the header.
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
        use Reason::{
            AssertionClaim, AttributionRequired, ConfigMissing, CrossSite, GroupsUnreadable, HeaderValue,
            MissingHeader, NoRequest, OriginNotAllowed, SocketLimit, UserMalformed, UserNotAllowed,
        };
        for &reason in Reason::ALL {
            let expected = match reason {
                UserNotAllowed | AssertionClaim => "Ask the operator to add it, or sign in with another account.",
                OriginNotAllowed | CrossSite => "Type its address into the address bar yourself.",
                AttributionRequired | MissingHeader | HeaderValue | GroupsUnreadable | UserMalformed | NoRequest
                | ConfigMissing => "This is not your mistake",
                SocketLimit => "Try again later",
                _ => "come back from there",
            };
            assert!(reason.advice().contains(expected), "{reason:?}: {}", reason.advice());
        }
    }

    #[test]
    fn what_the_gateway_refuses_itself_can_be_left_to_it_and_nothing_else() {
        for &reason in Reason::ALL {
            let expected = matches!(
                reason,
                Reason::MissingHeader | Reason::UserMissing | Reason::UserMalformed | Reason::UserNotAllowed
            );
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
