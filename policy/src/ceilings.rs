//! Ceilings: the most scopes that an identity may have (contract, section 4).

use std::borrow::Cow;

use crate::byte_map::ByteMap;
use crate::scopes::{Scope, Scopes};
use crate::text::{lower_latin1, trim};

/// The ceilings of users and groups, and the one of everybody else.
#[derive(Debug, Clone)]
pub struct Ceilings {
    /// By [`folded_user`].
    users: ByteMap<Scopes>,
    groups: ByteMap<Scopes>,
    /// The byte between two groups in the groups header.
    separator: u8,
    default: Scopes,
}

/// Whose ceiling it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder<'g> {
    /// The user's own.
    User,
    /// That of a group.
    Group(&'g [u8]),
    /// The default of everybody else.
    Everybody,
}

/// A user's name in the form in which the Gateway finds that user's profile: in lower case. A name that is spelled
/// differently is the same person there, and so has the same ceiling here.
#[must_use]
pub fn folded_user(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().any(|&byte| lower_latin1(byte) != byte) {
        Cow::Owned(name.iter().map(|&byte| lower_latin1(byte)).collect())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether a groups header looks like JSON. No separator splits such a list, so it cannot be read.
#[must_use]
pub fn looks_like_json(groups: &[u8]) -> bool {
    matches!(trim(groups).first(), Some(b'[' | b'{'))
}

impl Ceilings {
    /// Ceilings by user, whose names must be [`folded_user`], and by group, and the default for everybody who has
    /// neither. `separator` is the byte between two groups in the groups header.
    #[must_use]
    pub const fn new(users: ByteMap<Scopes>, groups: ByteMap<Scopes>, separator: u8, default: Scopes) -> Self {
        Self { users, groups, separator, default }
    }

    /// The ceiling of everybody who is not named.
    #[must_use]
    pub const fn default(&self) -> &Scopes {
        &self.default
    }

    /// The groups in a groups header.
    pub(crate) fn groups_in<'g>(&self, header: &'g [u8]) -> impl Iterator<Item = &'g [u8]> + use<'g> {
        let separator = self.separator;
        header.split(move |&byte| byte == separator).map(trim).filter(|group| !group.is_empty())
    }

    /// Whose ceilings count for a user with this groups header. Together they are [`Ceilings::of`].
    pub(crate) fn holders<'g>(&self, user: &[u8], groups: &'g [u8]) -> Vec<(Holder<'g>, Scopes)> {
        let own = self.users.get(&folded_user(user)).map(|scopes| (Holder::User, *scopes));
        let groups = self.groups_in(groups).filter_map(|group| Some((Holder::Group(group), *self.groups.get(group)?)));
        let found: Vec<_> = own.into_iter().chain(groups).collect();
        if found.is_empty() { vec![(Holder::Everybody, self.default)] } else { found }
    }

    /// The ceiling of a user with this groups header. It is the union of the user's own ceiling and those of the
    /// groups, in this order. If there are none, it is the default.
    #[must_use]
    pub fn of(&self, user: &[u8], groups: &[u8]) -> Scopes {
        let groups = self.groups_in(groups).filter_map(|group| self.groups.get(group));
        let mut found = self.users.get(&folded_user(user)).into_iter().chain(groups).peekable();
        if found.peek().is_none() {
            return self.default;
        }
        found.flat_map(Scopes::iter).collect()
    }
}

/// The scopes named by either side that both sides satisfy. Those of `held` come first.
#[must_use]
pub(super) fn intersect(held: &Scopes, ceiling: &Scopes) -> Scopes {
    held.iter().chain(ceiling.iter()).filter(|&scope| held.satisfies(scope) && ceiling.satisfies(scope)).collect()
}

/// The scopes of `named` that the ceiling satisfies. Nothing is added: the Gateway reads a WebSocket's header as a
/// literal cap.
#[must_use]
pub(super) fn cap(named: impl Iterator<Item = Scope>, ceiling: &Scopes) -> Scopes {
    named.filter(|&scope| ceiling.satisfies(scope)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(names: &str) -> Scopes {
        Scopes::parse(names.as_bytes())
    }

    fn shown(scopes: &Scopes) -> String {
        String::from_utf8_lossy(scopes.header().as_bytes()).replace("operator.", "")
    }

    fn table(entries: &[(&str, &str)]) -> ByteMap<Scopes> {
        let mut table = ByteMap::default();
        for (name, ceiling) in entries {
            assert!(table.insert(name.as_bytes().into(), scopes(ceiling)));
        }
        table
    }

    fn ceilings(separator: u8) -> Ceilings {
        Ceilings::new(
            table(&[("nick@example.com", "operator.admin"), ("eve", "operator.read"), ("nobody@example.com", "")]),
            table(&[("ops", "operator.write,operator.pairing"), ("ops@example.com", "operator.approvals")]),
            separator,
            scopes("operator.questions"),
        )
    }

    #[test]
    fn a_ceiling_is_the_users_own_and_the_groups_together_else_the_default() {
        for (user, groups, expected) in [
            ("nick@example.com", "", "admin"),
            ("NICK@example.COM", "", "admin"),
            ("eve", "", "read"),
            ("Eve", "", "read"),
            ("eve", "ops", "read,write,pairing"),
            ("eve", " ops ,, ops@example.com", "read,write,pairing,approvals"),
            ("eve", "ops@EXAMPLE.com", "read"),
            ("eve", "ops|ops@example.com", "read"),
            ("eve", "Ops", "read"),
            ("mallory", "ops@example.com", "approvals"),
            ("mallory", "unknown,,", "questions"),
            ("nobody@example.com", "", ""),
            ("nobody@example.com", "ops", "write,pairing"),
            ("*", "", "questions"),
        ] {
            assert_eq!(shown(&ceilings(b',').of(user.as_bytes(), groups.as_bytes())), expected, "{user} in {groups:?}");
        }
    }

    #[test]
    fn the_smaller_side_of_each_implication_is_what_both_sides_satisfy() {
        for (held, ceiling, expected) in [
            ("operator.admin", "operator.read", "read"),
            ("operator.read", "operator.admin", "read"),
            ("operator.write", "operator.read,operator.talk", "read,talk"),
            ("operator.sessions.write,operator.read", "operator.write", "sessions.write,read"),
            ("operator.sessions.read", "operator.read", "sessions.read"),
            ("operator.talk.secrets", "operator.write", ""),
            ("operator.read", "", ""),
            ("", "operator.admin", ""),
            ("operator.approvals,operator.read", "operator.read,operator.approvals", "approvals,read"),
        ] {
            assert_eq!(shown(&intersect(&scopes(held), &scopes(ceiling))), expected, "{held} under {ceiling}");
        }
    }

    #[test]
    fn a_cap_adds_nothing() {
        for (named, ceiling, expected) in [
            ("operator.admin", "operator.read", ""),
            ("operator.read,operator.write", "operator.write", "read,write"),
            ("operator.sessions.read,operator.admin", "operator.read", "sessions.read"),
        ] {
            assert_eq!(shown(&cap(scopes(named).iter(), &scopes(ceiling))), expected, "{named} under {ceiling}");
        }
    }
}
