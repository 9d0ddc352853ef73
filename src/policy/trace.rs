//! A decision, rule by rule, for people: which rule saw what, and which one settled it.
//!
//! Nothing is decided here. The verdict is [`Policy::decide`]'s; each refusal has its place in one table of rules in the
//! order in which they are asked, so that the rules before it passed, and those behind it were not asked. What a rule saw is
//! read with the very functions that the rule reads it with. For tools only: the module is built without this file.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::names::SCOPES_HEADER;
use super::peer::Peer;
use super::refusal::{Reason, Refusal};
use super::{Admission, Kind, Policy, Users, known, verified};
use crate::request::Request;
use crate::text::{Escaped, trim};

/// A rule of the decision (contract, section 3), in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// 0: paths that pass without identity.
    Anonymous,
    /// 1: the peer's address is known, and from the socket.
    Peer,
    /// 2: the peer is in the list of proxies.
    Proxy,
    /// 3: a loopback peer is allowed.
    Loopback,
    /// 3b: the peer is another host.
    SameHost,
    /// 4: the peer's certificate.
    Certificate,
    /// 5: a client address can be attributed.
    Attribution,
    /// 6: the required headers are there.
    RequiredHeaders,
    /// 7: there is a user.
    User,
    /// 7b: user and groups header stand there once.
    Once,
    /// 8: the identity that Envoy verified.
    Assertion,
    /// 9: the user is allowed.
    AllowedUser,
    /// 10: the browser's origin.
    Origin,
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Self; 13] = [
        Self::Anonymous,
        Self::Peer,
        Self::Proxy,
        Self::Loopback,
        Self::SameHost,
        Self::Certificate,
        Self::Attribution,
        Self::RequiredHeaders,
        Self::User,
        Self::Once,
        Self::Assertion,
        Self::AllowedUser,
        Self::Origin,
    ];

    /// Its number in the contract.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::Anonymous => "0",
            Self::Peer => "1",
            Self::Proxy => "2",
            Self::Loopback => "3",
            Self::SameHost => "3b",
            Self::Certificate => "4",
            Self::Attribution => "5",
            Self::RequiredHeaders => "6",
            Self::User => "7",
            Self::Once => "7b",
            Self::Assertion => "8",
            Self::AllowedUser => "9",
            Self::Origin => "10",
        }
    }

    /// What it asks, in a few words.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Anonymous => "path needs no identity",
            Self::Peer => "peer's address is known",
            Self::Proxy => "peer is a trusted proxy",
            Self::Loopback => "loopback peer is allowed",
            Self::SameHost => "peer is another host",
            Self::Certificate => "peer's certificate",
            Self::Attribution => "client address is known",
            Self::RequiredHeaders => "required headers",
            Self::User => "user header",
            Self::Once => "identity stands there once",
            Self::Assertion => "verified identity",
            Self::AllowedUser => "user is allowed",
            Self::Origin => "browser's origin",
        }
    }

    /// The rule that a refusal comes from; `None` where it comes from no rule.
    #[must_use]
    pub const fn of(reason: Reason) -> Option<Self> {
        Some(match reason {
            Reason::NoRequest | Reason::ConfigMissing => return None,
            Reason::PeerUnknown | Reason::PeerUnverified => Self::Peer,
            Reason::UntrustedSource => Self::Proxy,
            Reason::LoopbackSource => Self::Loopback,
            Reason::LocalInterfaceSource => Self::SameHost,
            Reason::PeerCertificate => Self::Certificate,
            Reason::AttributionRequired => Self::Attribution,
            Reason::MissingHeader => Self::RequiredHeaders,
            Reason::UserMissing => Self::User,
            Reason::UserRepeated | Reason::GroupsRepeated => Self::Once,
            Reason::AssertionMissing | Reason::AssertionMismatch => Self::Assertion,
            Reason::UserNotAllowed => Self::AllowedUser,
            Reason::OriginNotAllowed => Self::Origin,
        })
    }
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Asked, and held.
    Passed,
    /// The request passes by this rule alone: nothing behind it is asked.
    Admitted,
    /// The request is refused by this rule.
    Refused,
    /// The rule does not hold, and the Gateway is to judge that itself.
    Delegated,
    /// This policy, or this request, gives the rule nothing to ask.
    Skipped,
    /// Settled before.
    NotReached,
}

impl Verdict {
    /// One word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Delegated => "delegated",
            Self::Skipped => "skipped",
            Self::NotReached => "not reached",
        }
    }
}

/// One rule, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// What became of it.
    pub verdict: Verdict,
    /// What it saw, or why it had nothing to ask; printable ASCII. Empty where it was not reached.
    pub saw: String,
}

/// Bytes of a value that are shown.
const SHOWN: usize = 256;

fn shown(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for (at, word) in bytes.split(|&byte| byte == b' ').enumerate() {
        // Spaces are told apart well enough inside quotes.
        let _ = write!(text, "{}{}", if at > 0 { " " } else { "" }, Escaped { bytes: word, limit: SHOWN });
    }
    text.push('"');
    text
}

impl Policy {
    /// Shows every rule with what became of it in a decision that [`Policy::decide`] made about this request.
    #[must_use]
    pub fn trace(&self, request: &Request<'_>, decision: &Result<Admission<'_>, Refusal<'_>>) -> Vec<Step> {
        let anonymous = matches!(decision, Ok(admission) if admission.kind() == Kind::Anonymous);
        let refused = decision.as_ref().err().and_then(|refusal| Rule::of(refusal.reason));
        let delegated = self.delegated(request, decision).and_then(|refusal| Rule::of(refusal.reason));
        let step = |rule: Rule| {
            let still_asked = matches!(rule, Rule::Once | Rule::Assertion | Rule::Origin);
            let verdict = if anonymous {
                if rule == Rule::Anonymous { Verdict::Admitted } else { Verdict::NotReached }
            } else if refused == Some(rule) {
                Verdict::Refused
            } else if refused.is_some_and(|refused| refused < rule) {
                Verdict::NotReached
            } else if delegated == Some(rule) {
                Verdict::Delegated
            } else if delegated.is_some_and(|delegated| delegated < rule) && !still_asked {
                Verdict::NotReached
            } else if rule == Rule::Anonymous || self.skips(rule, request) {
                Verdict::Skipped
            } else {
                Verdict::Passed
            };
            let saw = if verdict == Verdict::NotReached { String::new() } else { self.saw(rule, request) };
            Step { rule, verdict, saw }
        };
        Rule::ALL.into_iter().map(step).collect()
    }

    /// The refusal that is left to the Gateway, whatever becomes of the request by the rules behind it.
    fn delegated<'a>(
        &'a self,
        request: &Request<'a>,
        decision: &Result<Admission<'_>, Refusal<'_>>,
    ) -> Option<Refusal<'a>> {
        let asked = match decision {
            Ok(admission) => matches!(admission.kind(), Kind::Delegated(_)),
            Err(refusal) => Rule::of(refusal.reason).is_some_and(|rule| rule > Rule::Attribution),
        };
        let refusal = if asked { self.identify(request).err() } else { None };
        refusal.filter(|refusal| self.delegates(request, refusal))
    }

    /// Whether a rule that was reached, and did not refuse, had nothing to ask.
    fn skips(&self, rule: Rule, request: &Request<'_>) -> bool {
        let is_loopback = || matches!(request.peer, Peer::Known(address) if address.is_loopback());
        match rule {
            Rule::Anonymous | Rule::Peer | Rule::Once => false,
            Rule::Proxy => self.edge || self.trusted_peers.suffice,
            Rule::Loopback => self.edge || !is_loopback(),
            Rule::SameHost => self.edge || !self.reject_same_host || is_loopback(),
            Rule::Certificate => self.edge || self.trusted_peers.identities.is_empty(),
            Rule::Attribution => !self.attribution_required,
            Rule::RequiredHeaders => self.required_headers.is_empty(),
            Rule::User => self.takes_verified_user(),
            Rule::Assertion => self.assertion.is_none(),
            Rule::AllowedUser => matches!(self.users, Users::Any),
            Rule::Origin => origin(request).is_empty(),
        }
    }

    /// What a rule sees of a request, or why it asks nothing.
    fn saw(&self, rule: Rule, request: &Request<'_>) -> String {
        let text = str::to_owned;
        let name = |bytes: &[u8]| Escaped { bytes, limit: SHOWN }.to_string();
        match rule {
            Rule::Anonymous => {
                let path = shown(request.path());
                let list = if request.is_upgrade() { "the ws: entries of anonymousPaths" } else { "anonymousPaths" };
                match request.plain_path {
                    None => format!("{path} is no plain path, and so in no list"),
                    Some(_) if self.is_anonymous(request) => format!("{path} is in {list}"),
                    Some(_) => format!("{path} is not in {list}"),
                }
            }
            Rule::Peer => match request.peer {
                Peer::Known(address) => format!("{}, from the connection itself", address.ip()),
                Peer::Unverified => text("Envoy took the address out of a header"),
                Peer::Unknown => text("no IP address"),
            },
            Rule::Proxy if self.edge => text("Envoy itself is the edge: there is no proxy"),
            Rule::Proxy if self.trusted_peers.suffice => text("the certificate is enough (peerTrust)"),
            Rule::Proxy => match known(request.peer) {
                Ok(peer) if self.proxies.contains(&peer) => format!("{} is in the list of proxies", peer.ip()),
                Ok(peer) => format!("{} is not in the list of proxies", peer.ip()),
                Err(_) => String::new(),
            },
            Rule::Loopback if self.edge => text("Envoy itself is the edge: there is no proxy"),
            Rule::Loopback if self.skips(rule, request) => text("the peer is no loopback address"),
            Rule::Loopback => format!("loopback peer, and allowLoopback is {}", self.allow_loopback),
            Rule::SameHost if self.edge => text("Envoy itself is the edge: there is no proxy"),
            Rule::SameHost if !self.reject_same_host => text("rejectSameHost is off"),
            Rule::SameHost if self.skips(rule, request) => text("the peer is a loopback address: rule 3 judged it"),
            Rule::SameHost => request.destination.map_or_else(
                || text("the address that the peer connected to is not known"),
                |destination| format!("the peer connected to {}", destination.ip()),
            ),
            Rule::Certificate if self.edge => text("Envoy itself is the edge: there is no proxy"),
            Rule::Certificate if self.trusted_peers.identities.is_empty() => text("no trustedPeers"),
            Rule::Certificate => request.certificate.map_or_else(
                || text("the peer showed no certificate over mutual TLS"),
                |identity| format!("first URI SAN {}", shown(identity)),
            ),
            Rule::Attribution => self.saw_client(request),
            Rule::RequiredHeaders if self.required_headers.is_empty() => text("no requiredHeaders"),
            Rule::RequiredHeaders => {
                let state = |name: &String| {
                    let value = request.headers.joined(name.as_bytes());
                    let is = value.map_or("missing", |value| if trim(&value).is_empty() { "blank" } else { "there" });
                    format!("{name} is {is}")
                };
                // Their values may be secrets.
                self.required_headers.iter().map(state).collect::<Vec<_>>().join(", ")
            }
            Rule::User if self.takes_verified_user() => {
                text("the verified identity is the user, the header is ignored")
            }
            Rule::User => {
                let header = name(&self.user_header);
                match (self.named_user(request), self.names.user(&request.seen).is_present()) {
                    (Some(user), _) => format!("{header}: {}", shown(user)),
                    (None, true) => format!("{header} is blank"),
                    (None, false) => format!("{header} is missing"),
                }
            }
            Rule::Once => {
                let user = self.names.user(&request.seen).is_repeated() && !self.takes_verified_user();
                match (user, request.seen.groups.is_repeated()) {
                    (true, _) => format!("more than one {}", name(&self.user_header)),
                    (_, true) => text("more than one groups header"),
                    _ => text("no copies"),
                }
            }
            Rule::Assertion if self.assertion.is_none() => text("no assertion configured"),
            Rule::Assertion => match verified(request) {
                Ok(identity) => format!("Envoy verified {}", shown(identity)),
                Err(_) => text("Envoy verified no identity"),
            },
            Rule::AllowedUser => match &self.users {
                Users::Any => text("allowUsers is empty: everybody"),
                Users::Only(users) => {
                    let user =
                        if self.takes_verified_user() { verified(request).ok() } else { self.named_user(request) };
                    let user = user.unwrap_or_default();
                    let is = if users.contains(user) { "is" } else { "is not" };
                    format!("{} {is} in allowUsers", shown(user))
                }
            },
            Rule::Origin => {
                let origin = origin(request);
                if origin.is_empty() {
                    return text("no Origin header");
                }
                let host = request.fields.authority.first().unwrap_or_default();
                format!("{} for host {}", shown(&origin), shown(host))
            }
        }
    }

    fn saw_client(&self, request: &Request<'_>) -> String {
        if !self.attribution_required {
            return "attribution is off".to_owned();
        }
        let client = known(request.peer).ok().and_then(|peer| self.attribute(request, peer));
        let found = client.map_or_else(|| "no client".to_owned(), |client| format!("client {}", client.ip()));
        if self.edge {
            return format!("{found}: the peer itself");
        }
        let chain = request.fields.forwarded_for.joined(&request.headers, b"x-forwarded-for");
        let from =
            chain.map_or_else(|| "no X-Forwarded-For".to_owned(), |chain| format!("X-Forwarded-For {}", shown(&chain)));
        format!("{found}: {from}")
    }

    /// How the scopes of an admitted request came about; `None` where nobody is admitted as a user.
    #[must_use]
    pub fn explain_scopes(&self, request: &Request<'_>, admission: &Admission<'_>) -> Option<String> {
        let Kind::Identified(user) = admission.kind() else { return None };
        let named = request.seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes());
        let asked = match named {
            Some(value) => format!("the request names {}", shown(&value)),
            None if request.is_upgrade() => {
                "the request names none, which leaves a WebSocket to the Gateway".to_owned()
            }
            None if request.plain_path.is_some_and(|path| self.own_paths.contains(path)) => {
                format!(
                    "the request names none: the default on the Gateway's own paths, {}",
                    shown(self.default_scopes.header().as_bytes())
                )
            }
            None => format!(
                "the request names none: the default on every other path, {}",
                shown(self.plugin_scopes.header().as_bytes())
            ),
        };
        let ceiling = self.ceilings.as_ref().map(|ceilings| {
            let ceiling = ceilings.of(user, request.seen.groups.only().unwrap_or_default());
            format!("; the user's ceiling is {}", shown(ceiling.header().as_bytes()))
        });
        Some(asked + &ceiling.unwrap_or_default())
    }

    /// The header that the user is read from, in lower case.
    #[must_use]
    pub fn user_header(&self) -> &[u8] {
        &self.user_header
    }

    /// The headers that must be there, as configured.
    #[must_use]
    pub fn required_headers(&self) -> &[String] {
        &self.required_headers
    }
}

/// The origin as rule 10 sees it; empty where it asks nothing.
fn origin(request: &Request<'_>) -> Vec<u8> {
    request.fields.origin.joined(&request.headers, b"origin").map(|origin| trim(&origin).to_vec()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::config::compile;
    use crate::policy::peer::{Address, Peer};
    use crate::request::serialize;

    /// A policy that asks every rule.
    fn policy(filter: &str) -> Policy {
        let config = format!(
            r#"{{"gateway": {{
                "trustedProxies": ["10.0.0.1", "127.0.0.1"],
                "auth": {{"mode": "trusted-proxy", "trustedProxy": {{
                    "userHeader": "x-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick"]
                }}}},
                "controlUi": {{"allowedOrigins": ["https://a"]}}
            }}, "filter": {{
                "rejectSameHost": true, "trustedPeers": ["spiffe://a/b"],
                "assertion": {{"metadata": ["jwt", "email"], "as": "match"}},
                "scopes": {{"users": {{"*": []}}, "groups": {{}}, "groupsHeader": "x-groups"}}{filter}
            }}}}"#
        );
        compile(config.as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy
    }

    /// What a request is made of.
    #[derive(Clone)]
    struct Parts {
        peer: Peer,
        destination: Option<&'static str>,
        certificate: Option<&'static str>,
        assertion: Option<&'static str>,
        headers: Vec<(&'static str, &'static str)>,
    }

    fn known(text: &str) -> Peer {
        Peer::Known(Address::parse(text.as_bytes()).unwrap())
    }

    /// What every rule lets pass.
    fn good() -> Parts {
        let headers = [
            (":path", "/"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-edge", "1"),
            ("x-user", "nick"),
            ("x-groups", "a"),
            ("origin", "https://a"),
            ("upgrade", "websocket"),
        ];
        Parts {
            peer: known("10.0.0.1"),
            destination: Some("10.0.0.2"),
            certificate: Some("spiffe://a/b"),
            assertion: Some("nick"),
            headers: headers.to_vec(),
        }
    }

    impl Parts {
        fn without(&mut self, name: &str) {
            self.headers.retain(|(other, _)| *other != name);
        }

        fn decide<T>(&self, policy: &Policy, look: impl Fn(Vec<Step>, Option<Rule>) -> T) -> T {
            let map = serialize(&self.headers);
            let mut request = policy.read(self.peer, &map).unwrap();
            request.destination = self.destination.and_then(|text| Address::parse(text.as_bytes()));
            request.certificate = self.certificate.map(str::as_bytes);
            request.assertion = self.assertion.map(str::as_bytes);
            let decision = policy.decide(&request);
            let refused = decision.as_ref().err().and_then(|refusal| Rule::of(refusal.reason));
            look(policy.trace(&request, &decision), refused)
        }
    }

    /// For each rule but the first, a change that breaks it and none before it, and leaves the later ones breakable.
    const BREAKS: [(Rule, fn(&mut Parts)); 12] = [
        (Rule::Peer, |parts| parts.peer = Peer::Unverified),
        (Rule::Proxy, |parts| parts.peer = known("10.0.0.9")),
        (Rule::Loopback, |parts| parts.peer = known("127.0.0.1")),
        (Rule::SameHost, |parts| {
            parts.destination = match parts.peer {
                Peer::Known(address) if address.ip().to_string() == "10.0.0.9" => Some("10.0.0.9"),
                _ => Some("10.0.0.1"),
            };
        }),
        (Rule::Certificate, |parts| parts.certificate = None),
        (Rule::Attribution, |parts| parts.without("x-forwarded-for")),
        (Rule::RequiredHeaders, |parts| parts.without("x-edge")),
        (Rule::User, |parts| parts.without("x-user")),
        (Rule::Once, |parts| parts.headers.push(("x-groups", "b"))),
        (Rule::Assertion, |parts| parts.assertion = None),
        (Rule::AllowedUser, |parts| {
            parts.headers.iter_mut().filter(|(name, _)| *name == "x-user").for_each(|header| header.1 = "eve");
            parts.assertion = parts.assertion.map(|_| "eve");
        }),
        (Rule::Origin, |parts| {
            parts.headers.iter_mut().filter(|(name, _)| *name == "origin").for_each(|header| header.1 = "https://b");
        }),
    ];

    #[test]
    fn rules_are_shown_in_the_order_in_which_they_are_asked() {
        let policy = policy("");
        good().decide(&policy, |steps, refused| {
            assert_eq!(refused, None);
            let passed = |step: &&Step| step.verdict == Verdict::Passed;
            assert_eq!(steps.iter().filter(passed).count(), 11, "{steps:?}");
        });
        for (at, (rule, first)) in BREAKS.iter().enumerate() {
            for (later, second) in BREAKS.iter().skip(at) {
                // A peer is one of these at a time.
                if later != rule
                    && matches!(
                        (rule, later),
                        (Rule::Peer, Rule::Proxy | Rule::Loopback) | (Rule::Proxy, Rule::Loopback)
                    )
                {
                    continue;
                }
                let mut parts = good();
                first(&mut parts);
                second(&mut parts);
                parts.decide(&policy, |steps, refused| {
                    assert_eq!(refused, Some(*rule), "{rule:?} comes before {later:?}");
                    for step in steps {
                        let expected = match step.rule.cmp(rule) {
                            std::cmp::Ordering::Less => &[Verdict::Passed, Verdict::Skipped][..],
                            std::cmp::Ordering::Equal => &[Verdict::Refused],
                            std::cmp::Ordering::Greater => &[Verdict::NotReached],
                        };
                        assert!(expected.contains(&step.verdict), "{rule:?} {later:?}: {step:?}");
                    }
                });
            }
        }
    }

    #[test]
    fn what_is_delegated_is_shown_with_the_rules_that_are_asked_all_the_same() {
        use Verdict::{Delegated, NotReached, Passed, Refused};
        let policy = policy(r#", "webSocketRefusal": "delegate""#);
        let cases: &[(&[Rule], [Verdict; 6])] = &[
            (&[Rule::RequiredHeaders], [Delegated, NotReached, Passed, Passed, NotReached, Passed]),
            (&[Rule::User], [Passed, Delegated, Passed, Passed, NotReached, Passed]),
            (&[Rule::AllowedUser], [Passed, Passed, Passed, Passed, Delegated, Passed]),
            (
                &[Rule::RequiredHeaders, Rule::Once],
                [Delegated, NotReached, Refused, NotReached, NotReached, NotReached],
            ),
            (&[Rule::User, Rule::Assertion], [Passed, Delegated, Passed, Refused, NotReached, NotReached]),
            (&[Rule::User, Rule::Origin], [Passed, Delegated, Passed, Passed, NotReached, Refused]),
            (&[Rule::AllowedUser, Rule::Origin], [Passed, Passed, Passed, Passed, Delegated, Refused]),
            (&[Rule::Once], [Passed, Passed, Refused, NotReached, NotReached, NotReached]),
        ];
        for (broken, expected) in cases {
            let mut parts = good();
            for (_, change) in BREAKS.iter().filter(|(rule, _)| broken.contains(rule)) {
                change(&mut parts);
            }
            parts.decide(&policy, |steps, _| {
                let words: Vec<_> =
                    steps.iter().filter(|step| step.rule > Rule::Attribution).map(|step| step.verdict).collect();
                assert_eq!(words, expected, "{broken:?}: {steps:?}");
            });
        }
    }
}
