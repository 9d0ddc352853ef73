//! What a rule says of a request, and what became of the rule in a decision.

use crate::reason::{Reason, Refusal};

/// What a rule says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// This policy, or this request, gives the rule nothing to ask.
    Skipped,
    /// The rule holds.
    Holds,
    /// The rule holds, and this is the user, trimmed.
    Names(&'a [u8]),
    /// The request passes by this rule alone, without identity.
    Admits,
    /// The rule does not hold.
    Broken(Refusal<'a>),
}

impl Outcome<'_> {
    /// That of a rule that holds, or is broken for this reason.
    pub(crate) fn holds_or(holds: bool, reason: Reason) -> Self {
        if holds { Self::Holds } else { Self::Broken(reason.into()) }
    }
}

/// What became of a rule in a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was asked, and holds.
    Passed,
    /// The request passes by this rule alone: no later rule is asked.
    Admitted,
    /// The request is refused by this rule.
    Refused,
    /// The rule does not hold, and is left to the Gateway.
    Delegated,
    /// This policy, or this request, gives the rule nothing to ask.
    Skipped,
    /// An earlier rule settled the request.
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
