//! What each reason means to an operator, in Markdown: for the documentation and for tools. Nothing of it is in the module.
#![forbid(unsafe_code)]

use super::refusal::Reason;

/// What an operator needs to know of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Help {
    /// Which rule of the contract's section 3 it is.
    pub rule: &'static str,
    /// What is so.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

impl Reason {
    /// What an operator needs to know of it.
    #[must_use]
    pub const fn help(self) -> Help {
        let (rule, cause, fix) = match self {
            Self::NoRequest => (
                "before all rules",
                "Envoy did not show the headers, or did not take a change of one",
                "see Envoy's log at that time; report it if it stays",
            ),
            Self::ConfigMissing => (
                "before all rules",
                "no policy is in force: the first one was rejected, or has not come yet",
                "see Envoy's log for the errors of the policy; check it with `openclaw-trusted-proxy check`",
            ),
            Self::PeerUnknown => (
                "1",
                "the connection has no IP address (a Unix socket, an internal listener), or the filter state of `peerAddress` is empty",
                "let the peer connect over TCP; write the filter state before this filter",
            ),
            Self::PeerUnverified => (
                "1",
                "Envoy took the peer's address out of a header",
                "`use_remote_address: true`, or `peerAddress` with a filter state",
            ),
            Self::UntrustedSource => (
                "2",
                "the peer is in no list of proxies",
                "if it is your proxy, add its address; if not, find the network path that it came by",
            ),
            Self::LoopbackSource => (
                "3",
                "the peer is 127.0.0.0/8 or ::1",
                "`allowLoopback: true`, if every process on that host may speak for your users",
            ),
            Self::LocalInterfaceSource => (
                "3b",
                "`rejectSameHost`: the peer has Envoy's own address",
                "connect from another host, or leave the key out",
            ),
            Self::PeerCertificate => (
                "4",
                "`trustedPeers`: the peer showed no certificate over mutual TLS, or another identity first",
                "let the proxy connect with its certificate; add its identity as the certificate spells it",
            ),
            Self::AttributionRequired => (
                "5",
                "X-Forwarded-For names no client but proxies and loopback",
                "let the first proxy write X-Forwarded-For anew; list only proxies in `trustedProxies`",
            ),
            Self::MissingHeader => {
                ("6", "a required header is missing or blank", "let the proxy set it on every request, WebSockets too")
            }
            Self::UserMissing => (
                "7",
                "the user header is missing or blank",
                "the user is not signed in, or the proxy does not pass the header on",
            ),
            Self::UserRepeated => (
                "7b",
                "the user header came more than once",
                "let the proxy overwrite it instead of adding to the client's",
            ),
            Self::GroupsRepeated => ("7b", "the groups header came more than once", "let the proxy overwrite it"),
            Self::AssertionMissing => (
                "8",
                "Envoy verified no identity for this request",
                "put the login (`jwt_authn`, `oauth2`) before this filter on every route; check the path in `assertion.metadata`",
            ),
            Self::AssertionMismatch => (
                "8",
                "the user header names another than the verified identity",
                "let the proxy name the user as the signed assertion does",
            ),
            Self::UserNotAllowed => {
                ("9", "the user is not in `allowUsers` (exact, with case)", "add the user as the proxy spells it")
            }
            Self::OriginNotAllowed => (
                "10",
                "the browser's origin is not allowed",
                "add the address in the browser's bar to `controlUi.allowedOrigins`",
            ),
        };
        Help { rule, cause, fix }
    }
}
