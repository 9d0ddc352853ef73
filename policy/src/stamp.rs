//! The header changes of a request that passes (contract, section 5).

use crate::admission::Admission;
use crate::byte_map::ByteMap;
use crate::names::{Class, SCOPES_HEADER};
use crate::policy::Policy;
use crate::request::Request;
use crate::secrets::VERIFIED;
use crate::text::{is_blank, same, trim};

/// One change to the request's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'e> {
    /// Leaves exactly one header of this name, with this value.
    Set {
        /// The name, in lower case.
        name: &'e [u8],
        /// The value.
        value: &'e [u8],
    },
    /// Removes every header of this name.
    Remove {
        /// The name, as it was received.
        name: &'e [u8],
    },
}

impl Admission<'_> {
    /// Calls `edit` with every change that the request needs. Headers that are right already are not changed.
    ///
    /// # Errors
    /// The first error of `edit`. The request must not pass then.
    pub fn stamp<E>(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        mut edit: impl FnMut(Edit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let user = self.user();
        let own;
        let scopes = match self.scopes {
            None => None,
            Some(scopes) => {
                let [default, plugin] = &policy.default_headers;
                Some(if scopes == policy.default_scopes {
                    default.as_bytes()
                } else if scopes == policy.plugin_scopes {
                    plugin.as_bytes()
                } else {
                    own = scopes.header();
                    own.as_bytes()
                })
            }
        };
        scrub(policy, request, user.is_some(), scopes.is_some(), &mut edit)?;
        for (name, field, wanted) in [
            (&*policy.upstream_user_header, request.seen.upstream_user, user),
            (SCOPES_HEADER.as_bytes(), request.seen.scopes, scopes),
        ] {
            if let Some(value) = wanted.filter(|wanted| !field.only().is_some_and(|value| same(value, wanted))) {
                edit(Edit::Set { name, value })?;
            }
        }
        if policy.is_discreet {
            withhold(policy, request, user.is_some(), &mut edit)?;
        }
        if request.is_upgrade() {
            scrub_connection(policy, request, edit)?;
        }
        Ok(())
    }
}

/// Takes away what is between the proxy and the filter only: secrets that the Gateway requires too, and what the login
/// left behind.
fn withhold<E>(
    policy: &Policy,
    request: &Request<'_>,
    stamps_user: bool,
    mut edit: impl FnMut(Edit<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for secret in policy.secrets.iter().filter(|secret| secret.is_required && stamps_user) {
        edit(Edit::Set { name: &secret.name, value: VERIFIED })?;
    }
    if let Some(cookies) = policy.remove_cookies.remove_from(&request.headers) {
        let name = b"cookie";
        edit(if cookies.is_empty() { Edit::Remove { name } } else { Edit::Set { name, value: &cookies } })?;
    }
    if stamps_user && policy.remove_bearer && has_bearer(request) {
        edit(Edit::Remove { name: b"authorization" })?;
    }
    Ok(())
}

/// Removes the headers that must not reach the upstream, each name once.
fn scrub<E>(
    policy: &Policy,
    request: &Request<'_>,
    stamps_user: bool,
    stamps_scopes: bool,
    mut edit: impl FnMut(Edit<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let seen = &request.seen;
    let spares_groups = stamps_user && policy.names.spares_groups();
    let is_needed = seen.scrubbed
        || seen.user.is_present()
        || (!spares_groups && seen.groups.is_present())
        || (!stamps_user && (seen.spared || seen.upstream_user.is_present()))
        || (!stamps_scopes && seen.scopes.is_present());
    if !is_needed {
        return Ok(());
    }
    let mut gone = ByteMap::default();
    for (name, _) in request.headers.iter() {
        let goes = match policy.names.class(name) {
            Class::Foreign => false,
            Class::Scrubbed | Class::User => true,
            // If the Gateway requires the header, the value is replaced instead.
            Class::Secret => {
                !stamps_user || !policy.secrets.iter().any(|secret| secret.is_required && *secret.name == *name)
            }
            Class::Groups => !spares_groups,
            Class::Spared | Class::UpstreamUser => !stamps_user,
            Class::Scopes => !stamps_scopes,
        };
        if goes && gone.insert(name, ()) {
            edit(Edit::Remove { name })?;
        }
    }
    Ok(())
}

/// Removes the names of managed headers from `Connection`: a proxy behind the filter would drop the headers that are
/// nominated there.
fn scrub_connection<E>(
    policy: &Policy,
    request: &Request<'_>,
    mut edit: impl FnMut(Edit<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let Some(value) = request.fields.connection.joined(&request.headers, b"connection") else { return Ok(()) };
    let is_managed = |token: &[u8]| policy.names.class(trim(token)) != Class::Foreign;
    let tokens = || value.split(|&byte| byte == b',');
    if !tokens().any(is_managed) {
        return Ok(());
    }
    let kept: Vec<&[u8]> = tokens().filter(|token| !is_managed(token)).map(trim).collect();
    edit(Edit::Set { name: b"connection", value: &kept.join(&b", "[..]) })
}

/// Whether a copy of Authorization is of the scheme Bearer (RFC 6750, section 2.1), with or without a token. Envoy
/// joins copies with a comma.
fn has_bearer(request: &Request<'_>) -> bool {
    const SCHEME: &[u8] = b"bearer";
    request.headers.copies(b"authorization").flat_map(|value| value.split(|&byte| byte == b',')).any(|value| {
        trim(value).split_at_checked(SCHEME.len()).is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case(SCHEME) && rest.first().is_none_or(|next| is_blank(*next))
        })
    })
}
