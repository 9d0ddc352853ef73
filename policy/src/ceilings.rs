//! Ceilings: the most scopes that an identity may have (contract, section 4).

use std::borrow::Cow;

use crate::byte_map::ByteMap;
use crate::scopes::{Scope, Scopes};
use crate::text::trim;

/// The ceilings of users and groups, and the one of everybody else.
#[derive(Debug, Clone)]
pub struct Ceilings {
    users: Table,
    groups: Table,
    default: Scopes,
}

/// Ceilings by name. Names with an `@` are compared without regard to ASCII case, like mail addresses.
#[derive(Debug, Clone, Default)]
pub struct Table(ByteMap<Scopes>);

impl Table {
    /// Sets the ceiling of a name. Returns false, and changes nothing, if an equal name has one already.
    pub fn insert(&mut self, name: &[u8], ceiling: Scopes) -> bool {
        self.0.insert(key(name).into(), ceiling)
    }

    fn get(&self, name: &[u8]) -> Option<&Scopes> {
        self.0.get(&key(name))
    }

    /// Every ceiling.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Scopes> {
        self.0.values()
    }
}

fn key(name: &[u8]) -> Cow<'_, [u8]> {
    if name.contains(&b'@') && name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

impl Ceilings {
    /// Ceilings by user and by group, and the default for everybody who has neither.
    #[must_use]
    pub const fn new(users: Table, groups: Table, default: Scopes) -> Self {
        Self { users, groups, default }
    }

    /// The ceiling of a user in these groups, which are separated by commas. It is the union of the user's own ceiling
    /// and those of the groups, in this order. If there are none, it is the default.
    #[must_use]
    pub fn of(&self, user: &[u8], groups: &[u8]) -> Scopes {
        let groups = groups.split(|&byte| byte == b',').map(trim).filter_map(|group| self.groups.get(group));
        let mut found = self.users.get(user).into_iter().chain(groups).peekable();
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

    fn ceilings() -> Ceilings {
        let (mut users, mut groups) = (Table::default(), Table::default());
        for (name, ceiling) in
            [("Nick@Example.com", "operator.admin"), ("eve", "operator.read"), ("nobody@example.com", "")]
        {
            assert!(users.insert(name.as_bytes(), scopes(ceiling)));
        }
        for (name, ceiling) in [("ops", "operator.write,operator.pairing"), ("OPS@example.com", "operator.approvals")] {
            assert!(groups.insert(name.as_bytes(), scopes(ceiling)));
        }
        assert!(!users.insert(b"NICK@example.com", Scopes::NONE));
        users.insert(b"nick@example.com", scopes("operator.admin"));
        Ceilings::new(users, groups, scopes("operator.questions"))
    }

    #[test]
    fn a_ceiling_is_the_users_own_and_the_groups_together_else_the_default() {
        for (user, groups, expected) in [
            ("nick@example.com", "", "admin"),
            ("NICK@example.COM", "", "admin"),
            ("eve", "", "read"),
            ("Eve", "", "questions"),
            ("eve", "ops", "read,write,pairing"),
            ("eve", " ops ,, ops@EXAMPLE.com", "read,write,pairing,approvals"),
            ("eve", "Ops", "read"),
            ("mallory", "ops@example.com", "approvals"),
            ("mallory", "unknown,,", "questions"),
            ("nobody@example.com", "", ""),
            ("nobody@example.com", "ops", "write,pairing"),
            ("*", "", "questions"),
        ] {
            assert_eq!(shown(&ceilings().of(user.as_bytes(), groups.as_bytes())), expected, "{user} in {groups:?}");
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
