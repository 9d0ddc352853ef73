//! The scopes of a request that passes (contract, section 4).

use crate::admission::{Admission, Kind};
use crate::ceilings;
use crate::names::SCOPES_HEADER;
use crate::policy::Policy;
use crate::request::Request;
use crate::scopes::{Scope, Scopes};

impl Policy {
    /// A permit for this user.
    pub(crate) fn with_identity<'a>(&self, request: &Request<'_>, user: &'a [u8]) -> Admission<'a> {
        Admission { kind: Kind::Identified(user), scopes: self.scopes(request, Some(user)) }
    }

    /// A permit without a user. On an upgrade, the scopes that the request names are kept: they can only narrow.
    pub(crate) fn without_identity<'a>(&self, request: &Request<'_>, kind: Kind<'a>) -> Admission<'a> {
        let scopes = if request.is_upgrade() { self.scopes(request, None) } else { None };
        Admission { kind, scopes }
    }

    fn scopes(&self, request: &Request<'_>, user: Option<&[u8]>) -> Option<Scopes> {
        let seen = &request.seen;
        let named = seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes());
        let named = named.map(|value| Scopes::parse(&value));
        let ceiling = match (&self.ceilings, user) {
            (Some(ceilings), Some(user)) => Some(ceilings.of(user, seen.groups.only().unwrap_or_default())),
            _ => None,
        };
        if request.is_upgrade() {
            return match (named, ceiling) {
                (named, None) => named,
                (Some(named), Some(ceiling)) => Some(ceilings::cap(named.iter(), &ceiling)),
                (None, Some(ceiling)) => Some(ceilings::cap(Scope::ALL.into_iter(), &ceiling)),
            };
        }
        let held = named.unwrap_or_else(|| self.default_of(request));
        Some(ceiling.map_or(held, |ceiling| ceilings::intersect(&held, &ceiling)))
    }

    /// The default scopes of a plain request that names none. They depend on its path.
    pub(crate) fn default_of(&self, request: &Request<'_>) -> Scopes {
        if self.is_own_path(request) { self.default_scopes } else { self.plugin_scopes }
    }

    /// Whether the path is one of the Gateway's own.
    pub(crate) fn is_own_path(&self, request: &Request<'_>) -> bool {
        request.plain_path.is_some_and(|path| self.own_paths.contains(path))
    }
}
