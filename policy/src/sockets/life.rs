//! How long a socket may be open: its age, and the end of the identity that Envoy verified.

use super::SocketRules;
use super::ended::Ended;
use crate::admission::Admission;
use crate::metadata::{self, Value};
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};

/// How many seconds an assertion outlives its `exp`, as in Envoy's `jwt_authn`.
pub const LEEWAY_SECONDS: u64 = 60;

/// The life of one socket, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it was opened.
    pub opened: u64,
    /// The `exp` of its assertion. `None` if there is none, or if no rule needed it.
    pub expires: Option<u64>,
}

impl SocketRules {
    /// Whether the socket has to be closed now. `is_users` says whether it has a user: without one, no assertion
    /// counts.
    #[must_use]
    pub fn ended(&self, life: &Life, is_users: bool, now: u64) -> Option<Ended<'static>> {
        let is_old = self.max_age.is_some_and(|most| now.saturating_sub(life.opened) >= u64::from(most.get()));
        if is_old {
            Some(Ended::MaxAge)
        } else if self.until_assertion && is_users && has_expired(life.expires, now) {
            Some(Ended::Refused(Reason::AssertionExpired.into()))
        } else {
            None
        }
    }
}

/// Whether an assertion has ended. One without a readable `exp` has.
fn has_expired(expires: Option<u64>, now: u64) -> bool {
    expires.is_none_or(|expires| now >= expires.saturating_add(LEEWAY_SECONDS))
}

impl Policy {
    /// Whether a socket that passes as this needs the end of its assertion.
    #[must_use]
    pub fn needs_expiry(&self, admission: &Admission<'_>) -> bool {
        self.sockets.until_assertion && admission.user().is_some()
    }

    /// The `exp` of the assertion: the number beside the identity, in whole seconds since 1970. `metadata` is the
    /// property of that name. `None` if there is no such number.
    #[must_use]
    pub fn expiry(&self, metadata: &[u8]) -> Option<u64> {
        let path = self.assertion.as_ref()?.in_metadata();
        let parent = path.iter().rposition(|&byte| byte == 0)?;
        let path = [path.get(..parent)?, b"\0exp"].concat();
        match metadata::get(metadata, &path)? {
            Value::Number(number) if (0.0..=MOST_SECONDS).contains(&number) =>
            {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
                Some(number as u64)
            }
            _ => None,
        }
    }

    /// Whether the assertion of a new socket still counts.
    ///
    /// # Errors
    /// The refusal, if a user's assertion has ended, or has no readable end.
    pub fn check_expiry<'a>(
        &self,
        admission: &Admission<'a>,
        expires: Option<u64>,
        now: u64,
    ) -> Result<(), Refusal<'a>> {
        if self.needs_expiry(admission) && has_expired(expires, now) {
            return Err(Refusal { user: admission.user(), ..Reason::AssertionExpired.into() });
        }
        Ok(())
    }
}

/// The largest number of seconds that a double holds exactly: 2^53.
const MOST_SECONDS: f64 = 9_007_199_254_740_992.0;
