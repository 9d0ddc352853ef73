//! Why an open socket is closed.

use std::borrow::Cow;
use std::fmt;

use crate::reason::{Reason, Refusal};

/// Why an open socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<'a> {
    /// The policy in force would refuse the handshake.
    Refused(Refusal<'a>),
    /// The policy in force finds another user, a user where there was none, or none where there was one.
    UserChanged,
    /// The socket may do less than what it was let through with.
    ScopesReduced,
    /// The policy in force reads something that was not kept, or it cannot be read itself.
    Unclear,
    /// It is older than `socketMaxAge`.
    MaxAge,
}

impl Ended<'_> {
    /// The endings that are not refusals. Those are counted by [`Reason`].
    pub const OTHERS: [Self; 4] = [Self::UserChanged, Self::ScopesReduced, Self::Unclear, Self::MaxAge];

    /// How many counters there are: see [`Self::index`].
    pub const COUNT: usize = Reason::ALL.len().saturating_add(Self::OTHERS.len());

    /// Every ending, in the order of their counters.
    pub fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.iter().map(|&reason| Self::Refused(reason.into())).chain(Self::OTHERS)
    }

    /// Its place among the counters.
    #[must_use]
    pub const fn index(&self) -> usize {
        let other: usize = match self {
            Self::Refused(refusal) => return refusal.reason as usize,
            Self::UserChanged => 0,
            Self::ScopesReduced => 1,
            Self::Unclear => 2,
            Self::MaxAge => 3,
        };
        Reason::ALL.len().saturating_add(other)
    }

    /// The code in logs and metrics, without the name of a header.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.code(),
            Self::UserChanged => "trusted_proxy_socket_user_changed",
            Self::ScopesReduced => "trusted_proxy_socket_scopes_reduced",
            Self::Unclear => "trusted_proxy_socket_unclear",
            Self::MaxAge => "trusted_proxy_socket_max_age",
        }
    }
}

/// The whole code, with the name of the header.
impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self {
            Self::Refused(refusal) => refusal.code(),
            other => Cow::Borrowed(other.code()),
        };
        f.write_str(&code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_a_counter_and_a_code_of_its_own() {
        let indexes: Vec<_> = Ended::all().map(|ended| ended.index()).collect();
        assert_eq!(indexes, (0..Ended::COUNT).collect::<Vec<_>>());
        let codes: std::collections::BTreeSet<_> = Ended::all().map(|ended| ended.code()).collect();
        assert_eq!(codes.len(), Ended::COUNT);
    }
}
