//! The permit of a request that passes.

use crate::reason::Refusal;
use crate::scopes::Scopes;

/// A permit. It carries all that is stamped, so nothing can be stamped without one.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    pub(crate) kind: Kind<'a>,
    /// The value of `x-openclaw-scopes`; `None`: the header stays absent.
    pub(crate) scopes: Option<Scopes>,
}

/// On what grounds a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// As this user, trimmed.
    Identified(&'a [u8]),
    /// By `anonymousPaths`, without identity.
    Anonymous,
    /// By `webSocketRefusal: "delegate"`, without identity: the Gateway refuses it itself, or accepts a device token.
    Delegated(Refusal<'a>),
}

impl<'a> Admission<'a> {
    /// On what grounds the request passes.
    #[must_use]
    pub const fn kind(&self) -> Kind<'a> {
        self.kind
    }

    /// The scopes that are stamped; `None`: none.
    #[must_use]
    pub const fn scopes(&self) -> Option<Scopes> {
        self.scopes
    }
}
