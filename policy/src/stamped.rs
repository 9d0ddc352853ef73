//! What the filter leaves in filter state of a request that goes on (`filter.stampedFilterState`; contract, rules 5.13
//! and 5.14). Native Envoy writes it once more right before the router, so that nothing in between can change it.

use std::borrow::Cow;

use crate::admission::Admission;
use crate::names::SCOPES_HEADER;
use crate::policy::Policy;
use crate::request::Request;

/// The property of the user header. Its filter state is `wasm.openclaw_trusted_proxy.stamped_user`.
pub const USER: &str = "openclaw_trusted_proxy.stamped_user";
/// The property of the scopes header. Its filter state is `wasm.openclaw_trusted_proxy.stamped_scopes`.
pub const SCOPES: &str = "openclaw_trusted_proxy.stamped_scopes";
/// Stands for a scopes header that lists nothing. Envoy writes no header for a property without a value, and where
/// there is no header, the Gateway grants its defaults.
const NO_SCOPES: &[u8] = b",";

impl Policy {
    /// Whether requests that go on leave what was stamped in filter state (`filter.stampedFilterState`).
    #[must_use]
    pub const fn leaves_stamped(&self) -> bool {
        self.stamped_filter_state
    }

    /// Calls `set` with each property of a request that goes on, and its value: what the Gateway reads as user and as
    /// scopes, and nothing for a header that the request does not have. Both are always set, so that no other filter
    /// sets one of them. Without an admission, the request goes on unchanged, in report mode.
    ///
    /// # Errors
    /// The first error of `set`. The request must not pass then.
    pub fn leave_stamped<E>(
        &self,
        request: &Request<'_>,
        admission: Option<&Admission<'_>>,
        mut set: impl FnMut(&'static str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (user, scopes) = match admission {
            Some(admission) => (
                admission.user().map(Cow::Borrowed),
                admission.scopes().map(|scopes| Cow::Owned(scopes.header().as_bytes().to_vec())),
            ),
            None => (
                request.seen.upstream_user.joined(&request.headers, &self.upstream_user_header),
                request.seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes()),
            ),
        };
        set(USER, user.as_deref().unwrap_or_default())?;
        let scopes = scopes.as_deref().map(|scopes| if scopes.is_empty() { NO_SCOPES } else { scopes });
        set(SCOPES, scopes.unwrap_or_default())
    }
}
