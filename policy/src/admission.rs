//! The permit of a request that passes.

use crate::reason::Refusal;
use crate::scopes::Scopes;

/// A permit. It carries everything that is stamped, so nothing can be stamped without one.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    pub(crate) kind: Kind<'a>,
    /// The value of `x-openclaw-scopes`. If `None`, the header stays absent.
    pub(crate) scopes: Option<Scopes>,
}

/// Why a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// As this user, trimmed.
    Identified(&'a [u8]),
    /// By `anonymousPaths`, without an identity.
    Anonymous,
    /// By `webSocketRefusal: "delegate"`, without an identity. The Gateway refuses it, or accepts a device token.
    Delegated(Refusal<'a>),
}

impl<'a> Admission<'a> {
    /// Why the request passes.
    #[must_use]
    pub const fn kind(&self) -> Kind<'a> {
        self.kind
    }

    /// The user, if the request passes with one.
    #[must_use]
    pub const fn user(&self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::Identified(user) => Some(user),
            Kind::Anonymous | Kind::Delegated(_) => None,
        }
    }

    /// The scopes that are stamped. If `None`, the header is not stamped.
    #[must_use]
    pub const fn scopes(&self) -> Option<Scopes> {
        self.scopes
    }
}
