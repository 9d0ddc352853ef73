//! The outcome of one rule, and its verdict in a decision.

use crate::reason::{Reason, Refusal};

/// The outcome of one rule for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// The rule does not apply to this policy or this request.
    Skipped,
    /// The rule holds.
    Holds,
    /// The rule holds, and names this user, trimmed.
    Names(&'a [u8]),
    /// The request passes by this rule alone, without an identity.
    Admits,
    /// The rule does not hold.
    Broken(Refusal<'a>),
}

impl Outcome<'_> {
    /// [`Self::Holds`], or [`Self::Broken`] with this reason.
    pub(crate) fn holds_or(holds: bool, reason: Reason) -> Self {
        if holds { Self::Holds } else { Self::Broken(reason.into()) }
    }
}

/// The verdict about one rule in a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The rule holds.
    Passed,
    /// The request passes by this rule alone: no later rule is asked.
    Admitted,
    /// The request is refused by this rule.
    Refused,
    /// The rule does not hold, and the decision is left to the Gateway.
    Delegated,
    /// The rule does not apply to this policy or this request.
    Skipped,
    /// An earlier rule decided the request, or this rule is left to the Gateway.
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
