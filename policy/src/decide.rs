//! The decision: every rule in its order, until one settles it. [`Policy::trace`] is the same walk with its steps
//! recorded.

use crate::admission::{Admission, Kind};
use crate::outcome::{Outcome, Verdict};
use crate::policy::{Policy, WebSocketRefusal};
use crate::reason::{Reason, Refusal};
use crate::request::Request;
use crate::rule::Rule;
use crate::rules::{
    allowed_user, anonymous, assertion, attribution, certificate, loopback, origin, peer, repeated, required_headers,
    required_values, same_host, trusted_proxy, user,
};

impl Policy {
    /// Decides one request that this policy has read, by the table in section 3 of the contract, in its order.
    ///
    /// # Errors
    /// The first rule that the request breaks.
    pub fn decide<'a>(&'a self, request: &Request<'a>) -> Result<Admission<'a>, Refusal<'a>> {
        self.walk(request, |_, _| {})
    }

    /// Asks the rules in their order, and calls `note` for each rule that is reached.
    pub(crate) fn walk<'a>(
        &'a self,
        request: &Request<'a>,
        mut note: impl FnMut(Rule, Verdict),
    ) -> Result<Admission<'a>, Refusal<'a>> {
        let (mut user, mut delegated) = (None, None);
        for rule in Rule::ALL {
            if delegated.is_some() && rule.is_delegable() {
                continue; // This rule is left to the Gateway.
            }
            let verdict = match self.ask(rule, request, user) {
                Outcome::Skipped => Verdict::Skipped,
                Outcome::Holds => Verdict::Passed,
                Outcome::Names(name) => {
                    user = Some(name);
                    Verdict::Passed
                }
                Outcome::Admits => {
                    note(rule, Verdict::Admitted);
                    return Ok(self.without_identity(request, Kind::Anonymous));
                }
                Outcome::Broken(refusal) if self.delegates(request, &refusal) => {
                    (user, delegated) = (None, Some(refusal));
                    Verdict::Delegated
                }
                Outcome::Broken(refusal) => {
                    note(rule, Verdict::Refused);
                    return Err(refusal);
                }
            };
            note(rule, verdict);
        }
        match (delegated, user) {
            (Some(refusal), _) => Ok(self.without_identity(request, Kind::Delegated(refusal))),
            (None, Some(user)) => Ok(self.with_identity(request, user)),
            // Rule 7 or rule 8 has named a user, or has refused. If neither did, the request must not pass.
            (None, None) => Err(Reason::UserMissing.into()),
        }
    }

    /// Asks one rule. `user` is the user that earlier rules found.
    #[inline]
    fn ask<'a>(&'a self, rule: Rule, request: &Request<'a>, user: Option<&'a [u8]>) -> Outcome<'a> {
        match rule {
            Rule::Anonymous => anonymous::ask(self, request),
            Rule::Peer => peer::ask(self, request),
            Rule::TrustedProxy => trusted_proxy::ask(self, request),
            Rule::Loopback => loopback::ask(self, request),
            Rule::SameHost => same_host::ask(self, request),
            Rule::Certificate => certificate::ask(self, request),
            Rule::Attribution => attribution::ask(self, request),
            Rule::RequiredHeaders => required_headers::ask(self, request),
            Rule::RequiredValues => required_values::ask(self, request),
            Rule::User => user::ask(self, request),
            Rule::Repeated => repeated::ask(self, request),
            Rule::Assertion => assertion::ask(self, request, user),
            Rule::AllowedUser => allowed_user::ask(self, user),
            Rule::Origin => origin::ask(self, request, user),
        }
    }

    /// Whether this refusal is left to the Gateway (`webSocketRefusal: "delegate"`).
    fn delegates(&self, request: &Request<'_>, refusal: &Refusal<'_>) -> bool {
        self.websocket_refusal == WebSocketRefusal::Delegate && request.is_websocket() && refusal.reason.is_delegable()
    }
}
