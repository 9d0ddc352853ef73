//! A decision, rule by rule, for people: which rule saw what, and which one settled it.
//!
//! It comes from the same walk that decides. Only what a rule saw is read a second time, by the `saw` next to its
//! `ask`.

use crate::admission::{Admission, Kind};
use crate::names::SCOPES_HEADER;
use crate::outcome::Verdict;
use crate::policy::Policy;
use crate::reason::Refusal;
use crate::request::Request;
use crate::rule::Rule;
use crate::rules::{
    allowed_user, anonymous, assertion, attribution, certificate, loopback, origin, peer, repeated, required_headers,
    required_values, same_host, trusted_proxy, user,
};
use crate::scopes::Scopes;
use crate::text::quoted;

/// One rule, and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// Its verdict.
    pub verdict: Verdict,
    /// What the rule saw, or why it was skipped, in printable ASCII. Empty if the rule was not reached.
    pub saw: String,
}

impl Policy {
    /// Decides like [`Policy::decide`], and also returns every rule with its verdict.
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

    /// What a rule sees of a request, or why it is skipped.
    fn saw(&self, rule: Rule, request: &Request<'_>) -> String {
        match rule {
            Rule::Anonymous => anonymous::saw(self, request),
            Rule::Peer => peer::saw(self, request),
            Rule::TrustedProxy => trusted_proxy::saw(self, request),
            Rule::Loopback => loopback::saw(self, request),
            Rule::SameHost => same_host::saw(self, request),
            Rule::Certificate => certificate::saw(self, request),
            Rule::Attribution => attribution::saw(self, request),
            Rule::RequiredHeaders => required_headers::saw(self, request),
            Rule::RequiredValues => required_values::saw(self, request),
            Rule::User => user::saw(self, request),
            Rule::Repeated => repeated::saw(self, request),
            Rule::Assertion => assertion::saw(self, request),
            Rule::AllowedUser => allowed_user::saw(self, request),
            Rule::Origin => origin::saw(self, request),
        }
    }

    /// Where the scopes of an admitted request come from. `None` if the request is not admitted as a user.
    #[must_use]
    pub fn explain_scopes(&self, request: &Request<'_>, admission: &Admission<'_>) -> Option<String> {
        let Kind::Identified(user) = admission.kind() else { return None };
        let named = request.seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes());
        let default = |place: &str, scopes: &Scopes| {
            format!("the request names no scopes: the default on {place}, {}", quoted(scopes.header().as_bytes()))
        };
        let limited = self.ceilings.is_some() || self.narrows_plugins();
        let asked = match named {
            Some(value) if !self.plugins_read_header && !request.is_upgrade() && !self.is_own_path(request) => format!(
                "the request names {}, and this Gateway grants a plugin operator.write whatever is named",
                quoted(&value)
            ),
            Some(value) => format!("the request names {}", quoted(&value)),
            None if request.is_upgrade() && self.is_own_socket(request) => {
                "the request names no scopes: on the Gateway's own WebSocket, they are up to the Gateway".to_owned()
            }
            None if request.is_upgrade() && !limited => {
                "the request names no scopes: on a plugin's WebSocket, the Gateway assumes its default".to_owned()
            }
            None if request.is_upgrade() => default("a plugin's WebSocket", &self.plugin_scopes),
            None if self.is_own_path(request) => default("the Gateway's own paths", &self.default_scopes),
            None => default("every other path", &self.plugin_scopes),
        };
        let ceiling = self.ceilings.as_ref().map(|ceilings| {
            let header = self.groups(request);
            let ceiling = ceilings.of(user, header);
            let groups: Vec<_> = ceilings.groups_in(header).map(quoted).collect();
            let groups =
                if groups.is_empty() { String::new() } else { format!(" with the groups {}", groups.join(", ")) };
            format!("; the user's ceiling{groups} is {}", quoted(ceiling.header().as_bytes()))
        });
        Some(asked + &ceiling.unwrap_or_default())
    }
}
