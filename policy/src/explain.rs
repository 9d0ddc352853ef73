//! A decision, rule by rule, for people: which rule saw what, and which one settled it.
//!
//! It comes from the very walk that decides. Only what a rule saw is read a second time, by the `saw` beside its `ask`.

use crate::admission::{Admission, Kind};
use crate::names::SCOPES_HEADER;
use crate::outcome::Verdict;
use crate::policy::Policy;
use crate::reason::Refusal;
use crate::request::Request;
use crate::rule::Rule;
use crate::rules::{
    allowed_user, anonymous, assertion, attribution, certificate, loopback, origin, peer, repeated, required_headers,
    same_host, trusted_proxy, user,
};
use crate::text::quoted;

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

impl Policy {
    /// Decides as [`Policy::decide`] does, and shows every rule with what became of it.
    pub fn trace<'a>(&'a self, request: &Request<'a>) -> (Result<Admission<'a>, Refusal<'a>>, Vec<Step>) {
        let not_reached = |rule| Step { rule, verdict: Verdict::NotReached, saw: String::new() };
        let mut steps: Vec<_> = Rule::ALL.into_iter().map(not_reached).collect();
        let decision = self.walk(request, |rule, verdict| {
            if let Some(step) = steps.iter_mut().find(|step| step.rule == rule) {
                *step = Step { rule, verdict, saw: self.saw(rule, request) };
            }
        });
        (decision, steps)
    }

    /// What a rule sees of a request, or why it asks nothing.
    fn saw(&self, rule: Rule, request: &Request<'_>) -> String {
        match rule {
            Rule::Anonymous => anonymous::saw(self, request),
            Rule::Peer => peer::saw(request),
            Rule::TrustedProxy => trusted_proxy::saw(self, request),
            Rule::Loopback => loopback::saw(self, request),
            Rule::SameHost => same_host::saw(self, request),
            Rule::Certificate => certificate::saw(self, request),
            Rule::Attribution => attribution::saw(self, request),
            Rule::RequiredHeaders => required_headers::saw(self, request),
            Rule::User => user::saw(self, request),
            Rule::Repeated => repeated::saw(self, request),
            Rule::Assertion => assertion::saw(self, request),
            Rule::AllowedUser => allowed_user::saw(self, request),
            Rule::Origin => origin::saw(request),
        }
    }

    /// How the scopes of an admitted request came about; `None` where nobody is admitted as a user.
    #[must_use]
    pub fn explain_scopes(&self, request: &Request<'_>, admission: &Admission<'_>) -> Option<String> {
        let Kind::Identified(user) = admission.kind() else { return None };
        let named = request.seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes());
        let asked = match named {
            Some(value) => format!("the request names {}", quoted(&value)),
            None if request.is_upgrade() => {
                "the request names none, which leaves a WebSocket to the Gateway".to_owned()
            }
            None if self.is_own_path(request) => {
                format!(
                    "the request names none: the default on the Gateway's own paths, {}",
                    quoted(self.default_scopes.header().as_bytes())
                )
            }
            None => format!(
                "the request names none: the default on every other path, {}",
                quoted(self.plugin_scopes.header().as_bytes())
            ),
        };
        let ceiling = self.ceilings.as_ref().map(|ceilings| {
            let ceiling = ceilings.of(user, request.seen.groups.only().unwrap_or_default());
            format!("; the user's ceiling is {}", quoted(ceiling.header().as_bytes()))
        });
        Some(asked + &ceiling.unwrap_or_default())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::config::compile;
    use crate::headers::serialize;
    use crate::peer::{Address, Peer};

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
            let (decision, steps) = policy.trace(&request);
            look(steps, decision.err().and_then(|refusal| refusal.reason.rule()))
        }
    }

    /// For each rule but the first, a change that breaks it and none before it, and leaves the later ones breakable.
    const BREAKS: [(Rule, fn(&mut Parts)); 12] = [
        (Rule::Peer, |parts| parts.peer = Peer::Unverified),
        (Rule::TrustedProxy, |parts| parts.peer = known("10.0.0.9")),
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
        (Rule::Repeated, |parts| parts.headers.push(("x-groups", "b"))),
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
                        (Rule::Peer, Rule::TrustedProxy | Rule::Loopback) | (Rule::TrustedProxy, Rule::Loopback)
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
                &[Rule::RequiredHeaders, Rule::Repeated],
                [Delegated, NotReached, Refused, NotReached, NotReached, NotReached],
            ),
            (&[Rule::User, Rule::Assertion], [Passed, Delegated, Passed, Refused, NotReached, NotReached]),
            (&[Rule::User, Rule::Origin], [Passed, Delegated, Passed, Passed, NotReached, Refused]),
            (&[Rule::AllowedUser, Rule::Origin], [Passed, Passed, Passed, Passed, Delegated, Refused]),
            (&[Rule::Repeated], [Passed, Passed, Refused, NotReached, NotReached, NotReached]),
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
