//! What an open socket was let through with, and whether that still holds.

use super::ended::Ended;
use super::handshake::Handshake;
use crate::admission::Admission;
use crate::policy::{Mode, Policy};
use crate::reason::Refusal;
use crate::request::Request;
use crate::scopes::{Scope, Scopes};
use crate::text::trim;

/// What an open socket was let through with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As this user, or without one, and with this reach.
    Known {
        /// The user, as it was stamped.
        user: Option<Box<[u8]>>,
        /// What the socket may do.
        reach: Reach,
    },
    /// It passed in report mode, and the Gateway got headers that would have been changed.
    Unknown,
}

/// The scopes that a socket satisfies, as far as the filter limits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach(u16);

impl Reach {
    /// Without a limit.
    const FULL: Self = Self(u16::MAX);

    /// The scopes that it satisfies. `None` if there is no limit.
    pub fn scopes(self) -> Option<impl Iterator<Item = Scope>> {
        let has = move |at: usize| u32::try_from(at).ok().and_then(|at| self.0.checked_shr(at)).unwrap_or(0) & 1 != 0;
        let all = Scope::ALL.into_iter().enumerate();
        (self != Self::FULL).then(|| all.filter(move |(at, _)| has(*at)).map(|(_, scope)| scope))
    }

    fn of(scopes: &Scopes) -> Self {
        let bits = Scope::ALL.iter().enumerate().filter(|(_, wanted)| scopes.satisfies(**wanted));
        let bits = bits.fold(0, |bits, (at, _)| bits | 1_u16.checked_shl(u32::try_from(at).unwrap_or(0)).unwrap_or(0));
        // Whoever satisfies every scope is not limited.
        if bits.count_ones() as usize == Scope::ALL.len() { Self::FULL } else { Self(bits) }
    }

    /// Whether this is at least as much as `other`.
    const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

impl Policy {
    /// What this policy lets a socket through with. In report mode nothing is stamped, so what the Gateway grants is
    /// known only if nothing had to be.
    #[must_use]
    pub fn standing(&self, request: &Request<'_>, decision: &Result<Admission<'_>, Refusal<'_>>) -> Standing {
        let Ok(admission) = decision else { return Standing::Unknown };
        let standing = self.enforced(request, admission);
        let is_sent_alike = || admission.stamp(self, request, |_| Err(())).is_ok();
        // The Gateway trims.
        let sent_user = request.seen.upstream_user.only().map(trim);
        match standing {
            standing if self.mode == Mode::Enforce || is_sent_alike() => standing,
            Standing::Known { user: Some(user), .. } if sent_user == Some(&*user) => {
                Standing::Known { user: Some(user), reach: Reach::FULL }
            }
            _ => Standing::Unknown,
        }
    }

    /// What a socket of this request has, if refusals and stamps take effect.
    #[must_use]
    pub fn enforced(&self, request: &Request<'_>, admission: &Admission<'_>) -> Standing {
        let user = admission.user().map(Into::into);
        // On the Gateway's own sockets, and where a device's token grants scopes, the header is a cap: without it there
        // is none. On a user's socket of a plugin, the Gateway grants the plugins' default without it.
        let is_granted = user.is_some() && !self.is_own_socket(request);
        let reach = match admission.scopes() {
            Some(scopes) => Reach::of(&scopes),
            None if is_granted => Reach::of(&Scope::PLUGIN_DEFAULT.iter().copied().collect()),
            None => Reach::FULL,
        };
        Standing::Known { user, reach }
    }

    /// Decides an open socket again. `request` must have been read by this policy from [`Handshake::map`].
    ///
    /// # Errors
    /// Why the socket must be closed.
    pub fn recheck<'a>(
        &'a self,
        standing: &Standing,
        handshake: &Handshake,
        request: &Request<'a>,
    ) -> Result<(), Ended<'a>> {
        if handshake.lacks(self) {
            return Err(Ended::Unclear);
        }
        let admission = self.decide(request).map_err(Ended::Refused)?;
        let (Standing::Known { user, reach }, Standing::Known { user: user_now, reach: reach_now }) =
            (standing, self.enforced(request, &admission))
        else {
            return Err(Ended::UserChanged);
        };
        if *user != user_now {
            Err(Ended::UserChanged)
        } else if !reach_now.covers(*reach) {
            Err(Ended::ScopesReduced)
        } else {
            Ok(())
        }
    }
}
