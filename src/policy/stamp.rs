//! What the upstream sees of a request that passes (contract, section 5).
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::names::{Class, SCOPES_HEADER};
use super::{Admission, Kind, Policy};
use crate::request::Request;
use crate::text::trim;

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
        /// The name, as it came.
        name: &'e [u8],
    },
}

impl Admission<'_> {
    /// Hands every change that the request needs to `edit`; what is right already needs none.
    ///
    /// # Errors
    /// The first error of `edit`, at once: the request must not pass then.
    pub fn stamp<E>(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        mut edit: impl FnMut(Edit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let user = match self.kind {
            Kind::Identified(user) => Some(user),
            Kind::Anonymous | Kind::Delegated(_) => None,
        };
        let scopes = self.scopes.map(|scopes| scopes.header());
        let mut user_stands = Standing::new(user);
        let mut scopes_stand = Standing::new(scopes.as_ref().map(|header| header.as_bytes()));
        let mut gone = BTreeSet::new();
        for (name, value) in request.headers.iter() {
            let goes = match policy.names.class(name) {
                Class::Foreign => false,
                Class::Scrubbed | Class::User => true,
                Class::Spared => user.is_none(),
                Class::UpstreamUser => user_stands.sees(value),
                Class::Scopes => scopes_stand.sees(value),
            };
            if goes && gone.insert(name) {
                edit(Edit::Remove { name })?;
            }
        }
        for (name, standing) in [(&*policy.upstream_user_header, user_stands), (SCOPES_HEADER.as_bytes(), scopes_stand)]
        {
            if let Some(value) = standing.missing() {
                edit(Edit::Set { name, value })?;
            }
        }
        if request.is_upgrade() {
            scrub_connection(policy, request, edit)?;
        }
        Ok(())
    }
}

/// A header that shall stand once with one value, or not at all, and what of it came.
struct Standing<'v> {
    wanted: Option<&'v [u8]>,
    copies: usize,
    is_right: bool,
}

impl<'v> Standing<'v> {
    const fn new(wanted: Option<&'v [u8]>) -> Self {
        Self { wanted, copies: 0, is_right: false }
    }

    /// Takes note of a copy; true where the header must go.
    fn sees(&mut self, value: &[u8]) -> bool {
        self.copies = self.copies.saturating_add(1);
        self.is_right = self.copies == 1 && self.wanted == Some(value);
        self.wanted.is_none()
    }

    /// The value to be written, if it does not stand there already.
    const fn missing(&self) -> Option<&'v [u8]> {
        if self.is_right { None } else { self.wanted }
    }
}

/// Takes the names of managed headers out of `Connection`: a proxy behind us would drop what is nominated there.
fn scrub_connection<E>(
    policy: &Policy,
    request: &Request<'_>,
    mut edit: impl FnMut(Edit<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if !request.fields.connection.is_present() {
        return Ok(());
    }
    let is_managed = |token: &[u8]| policy.names.class(trim(token)) != Class::Foreign;
    let tokens = || request.headers.copies(b"connection").flat_map(|value| value.split(|&byte| byte == b','));
    if !tokens().any(is_managed) {
        return Ok(());
    }
    let kept: Vec<&[u8]> = tokens().filter(|token| !is_managed(token)).map(trim).collect();
    edit(Edit::Set { name: b"connection", value: &kept.join(&b", "[..]) })
}
