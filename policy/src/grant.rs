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
        let named = self.named(request);
        let ceiling = self.ceilings.as_ref().map(|ceilings| ceilings.of(user, self.groups(request)));
        let scopes = if request.is_upgrade() {
            self.scopes_of_socket(request, named, ceiling)
        } else {
            let mut held = named.unwrap_or_else(|| self.default_of(request));
            if !self.plugins_read_header && !self.is_own_path(request) {
                held = ceilings::cap(held.iter(), &Scope::PLUGIN_DEFAULT.iter().copied().collect());
            }
            Some(ceiling.map_or(held, |ceiling| ceilings::intersect(&held, &ceiling)))
        };
        Admission { kind: Kind::Identified(user), scopes }
    }

    /// A permit without a user. On an upgrade, a device's token may still grant scopes, which the header caps: the
    /// scopes that the request names, and the most that a socket without a user may have.
    pub(crate) fn without_identity<'a>(&self, request: &Request<'_>, kind: Kind<'a>) -> Admission<'a> {
        let scopes = match (request.is_upgrade().then(|| self.named(request)), &self.without_user) {
            (None, _) => None,
            (Some(named), None) => named,
            (Some(Some(named)), Some(most)) => Some(ceilings::cap(named.iter(), most)),
            (Some(None), Some(most)) => Some(ceilings::cap(self.known_scopes.iter(), most)),
        };
        Admission { kind, scopes }
    }

    /// The scopes of a user's upgrade. On the Gateway's own sockets the header caps what the session may have. On a
    /// plugin's socket it is what the plugin is granted, and the Gateway assumes the plugins' default without it.
    fn scopes_of_socket(
        &self,
        request: &Request<'_>,
        named: Option<Scopes>,
        ceiling: Option<Scopes>,
    ) -> Option<Scopes> {
        match (named, ceiling) {
            (Some(named), Some(ceiling)) => Some(ceilings::cap(named.iter(), &ceiling)),
            (Some(named), None) => Some(named),
            (None, ceiling) if self.is_own_socket(request) => {
                ceiling.map(|ceiling| ceilings::cap(self.known_scopes.iter(), &ceiling))
            }
            (None, Some(ceiling)) => Some(ceilings::intersect(&self.plugin_scopes, &ceiling)),
            (None, None) => Some(self.plugin_scopes).filter(|_| self.narrows_plugins()),
        }
    }

    /// Whether `scopes.pluginDefault` is less than what the Gateway assumes.
    pub(crate) fn narrows_plugins(&self) -> bool {
        !Scope::PLUGIN_DEFAULT.iter().all(|&scope| self.plugin_scopes.satisfies(scope))
    }

    /// The groups header, which rule 7b has found at most once.
    pub(crate) fn groups<'a>(&self, request: &Request<'a>) -> &'a [u8] {
        request.seen.groups.only().unwrap_or_default()
    }

    /// The default scopes of a plain request that names none. They depend on its path.
    pub(crate) fn default_of(&self, request: &Request<'_>) -> Scopes {
        if self.is_own_path(request) { self.default_scopes } else { self.plugin_scopes }
    }

    /// Whether the path is one of the Gateway's own.
    pub(crate) fn is_own_path(&self, request: &Request<'_>) -> bool {
        request.plain_path.is_some_and(|path| self.own_paths.contains(path))
    }

    /// Whether the path is that of one of the Gateway's own sockets.
    pub(crate) fn is_own_socket(&self, request: &Request<'_>) -> bool {
        request.plain_path.is_some_and(|path| self.own_sockets.contains(path))
    }

    /// The scopes that the request names; `None` if it has no scopes header.
    fn named(&self, request: &Request<'_>) -> Option<Scopes> {
        let value = request.seen.scopes.joined(&request.headers, SCOPES_HEADER.as_bytes())?;
        Some(Scopes::parse_known(&value, &self.known_scopes))
    }
}
