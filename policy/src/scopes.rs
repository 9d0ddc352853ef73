//! Operator scopes: what a request may do at the Gateway (contract, section 4).

use crate::text::{same, trim};

/// A scope of the Gateway. The order is that of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `operator.admin`, which satisfies every other.
    Admin,
    /// `operator.read`.
    Read,
    /// `operator.write`.
    Write,
    /// `operator.approvals`.
    Approvals,
    /// `operator.questions`.
    Questions,
    /// `operator.pairing`.
    Pairing,
    /// `operator.talk.secrets`.
    TalkSecrets,
    /// `operator.talk`.
    Talk,
    /// `operator.sessions.read`.
    SessionsRead,
    /// `operator.sessions.write`.
    SessionsWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 10] = [
        Self::Admin,
        Self::Read,
        Self::Write,
        Self::Approvals,
        Self::Questions,
        Self::Pairing,
        Self::TalkSecrets,
        Self::Talk,
        Self::SessionsRead,
        Self::SessionsWrite,
    ];

    /// What the Gateway assumes on its own paths if the header is absent.
    pub const DEFAULT: &'static [Self] =
        &[Self::Admin, Self::Read, Self::Write, Self::Approvals, Self::Questions, Self::Pairing, Self::TalkSecrets];

    /// What the Gateway assumes on a plugin's path if the header is absent.
    pub const PLUGIN_DEFAULT: &'static [Self] = &[Self::Write];

    /// The scope's name in headers and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "operator.admin",
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Approvals => "operator.approvals",
            Self::Questions => "operator.questions",
            Self::Pairing => "operator.pairing",
            Self::TalkSecrets => "operator.talk.secrets",
            Self::Talk => "operator.talk",
            Self::SessionsRead => "operator.sessions.read",
            Self::SessionsWrite => "operator.sessions.write",
        }
    }

    /// The scope with this name. Names are compared byte for byte.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| same(scope.name().as_bytes(), name))
    }

    /// Whether `self` is enough for a request that needs `wanted`.
    #[must_use]
    pub fn satisfies(self, wanted: Self) -> bool {
        self == wanted
            || match self {
                Self::Admin => true,
                Self::Write => matches!(wanted, Self::Read | Self::Talk | Self::SessionsRead | Self::SessionsWrite),
                Self::Read | Self::SessionsWrite => wanted == Self::SessionsRead,
                _ => false,
            }
    }
}

/// A list of scopes without duplicates, in the order in which they were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    // This cannot overflow: there are as many places as scopes, and no scope is in the list twice.
    named: [Scope; Scope::ALL.len()],
    len: usize,
}

impl Scopes {
    /// No scopes: the request may do nothing that requires a scope.
    pub const NONE: Self = Self { named: [Scope::Admin; Scope::ALL.len()], len: 0 };

    /// Reads the header's value, with its copies joined. Names are separated by commas and trimmed. Empty, unknown and
    /// repeated names are dropped.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        value.split(|&byte| byte == b',').filter_map(|token| Scope::parse(trim(token))).collect()
    }

    /// The same, but only these scopes are known.
    #[must_use]
    pub fn parse_known(value: &[u8], known: &Self) -> Self {
        let find = |name: &[u8]| known.iter().find(|scope| same(scope.name().as_bytes(), name));
        value.split(|&byte| byte == b',').filter_map(|token| find(trim(token))).collect()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.named.iter().take(self.len).copied()
    }

    /// Whether one of the scopes is enough for a request that needs `wanted`.
    #[must_use]
    pub fn satisfies(&self, wanted: Scope) -> bool {
        self.iter().any(|held| held.satisfies(wanted))
    }

    /// Adds a scope at the end, unless it is in the list already.
    pub fn push(&mut self, scope: Scope) {
        if !self.iter().any(|named| named == scope)
            && let Some(place) = self.named.get_mut(self.len)
        {
            *place = scope;
            self.len = self.len.saturating_add(1);
        }
    }

    /// The header's value: the names, separated by commas without spaces.
    #[must_use]
    pub fn header(&self) -> ScopesHeader {
        let mut header = ScopesHeader { text: [0; HEADER_CAPACITY], len: 0 };
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                header.push(b",");
            }
            header.push(scope.name().as_bytes());
        }
        header
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut list = Self::NONE;
        scopes.into_iter().for_each(|scope| list.push(scope));
        list
    }
}

/// Room in bytes for all names and the commas between them. A test checks it.
const HEADER_CAPACITY: usize = 184;

/// A value of `x-openclaw-scopes`. It needs no heap.
#[derive(Debug, Clone, Copy)]
pub struct ScopesHeader {
    text: [u8; HEADER_CAPACITY],
    len: usize,
}

impl ScopesHeader {
    fn push(&mut self, part: &[u8]) {
        let end = self.len.saturating_add(part.len());
        if let Some(room) = self.text.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    /// The value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_gateway_reads_it() {
        for (value, expected) in [
            ("operator.read", "operator.read"),
            (" operator.read ,, operator.read ", "operator.read"),
            ("operator.write,operator.read", "operator.write,operator.read"),
            ("operator.read;operator.write", ""),
            ("OPERATOR.ADMIN", ""),
            ("operator.admin.", ""),
            ("operator.", ""),
            ("bogus,operator.talk", "operator.talk"),
            (",", ""),
            ("", ""),
        ] {
            assert_eq!(Scopes::parse(value.as_bytes()).header().as_bytes(), expected.as_bytes(), "{value}");
        }
    }

    #[test]
    fn every_scope_fits_into_one_header_at_once() {
        let names = Scope::ALL.map(Scope::name).join(",");
        assert_eq!(Scope::ALL.into_iter().collect::<Scopes>().header().as_bytes(), names.as_bytes());
        assert!(names.len() <= HEADER_CAPACITY);
        assert_eq!(Scopes::parse(names.as_bytes()).iter().collect::<Vec<_>>(), Scope::ALL);
    }

    #[test]
    fn a_scope_satisfies_what_the_contract_says_and_nothing_else() {
        use Scope::{Admin, Read, SessionsRead, SessionsWrite, Talk, Write};
        for held in Scope::ALL {
            for wanted in Scope::ALL {
                let expected = held == wanted
                    || held == Admin
                    || matches!(
                        (held, wanted),
                        (Write, Read | Talk | SessionsRead | SessionsWrite) | (Read | SessionsWrite, SessionsRead)
                    );
                assert_eq!(held.satisfies(wanted), expected, "{held:?} {wanted:?}");
            }
        }
    }
}
