//! The header names that one policy knows, and which of them a request has.

use super::lists::{BUILT_IN, BUILT_IN_PREFIXES, SCOPES_HEADER, fold_alike, folds_to_start_with, is_built_in};
use crate::headers::{FIELD_NAMES, Field};
use crate::text::same;

/// What the filter does with a header because of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Not managed: the header stays byte for byte as it was received.
    Foreign,
    /// A managed header, or an alias of one: it is removed.
    Scrubbed,
    /// A managed header that stays if the request is admitted with an identity.
    Spared,
    /// A header whose value is a secret between the proxy and the filter.
    Secret,
    /// The header in which the proxy names the user, if it is not the upstream user header.
    User,
    /// The header that names the user to the Gateway.
    UpstreamUser,
    /// [`SCOPES_HEADER`].
    Scopes,
    /// The header in which the proxy lists the user's groups.
    Groups,
}

/// The header names that one policy knows: managed ones, and those that its rules read.
///
/// Every header of every request is looked up, and most are not known. The length and the third byte are therefore
/// compared first, and for prefixes the third and the fifth byte. The first two bytes of most names are `x-`.
#[derive(Debug, Clone)]
pub struct Names {
    /// The known names by length. Names that are longer than the table are in the last place.
    by_length: [Vec<Entry>; LENGTHS],
    /// For each length, one bit for each folded third byte that a known name of that length has.
    third_bytes: [u64; LENGTHS],
    /// For each folded third byte, one bit for each folded fifth byte that a prefix with this third byte has.
    prefix_bytes: [u64; BYTES],
    /// The prefixes by folded third byte.
    prefixes: [Vec<&'static [u8]>; BYTES],
    /// The index in [`Seen::required`] of each required header, in the order configured.
    places: Vec<Option<usize>>,
    /// Whether the groups header is also required, and so stays on an admitted request.
    spares_groups: bool,
    /// Whether the user header and the upstream user header are the same.
    stamps_in_place: bool,
}

/// Only the built-in names, for tests that need a request but no policy.
#[cfg(test)]
impl Default for Names {
    fn default() -> Self {
        Self::new(&Naming { user: SCOPES_HEADER, upstream_user: SCOPES_HEADER, ..Naming::default() })
    }
}

/// A name that a policy knows.
#[derive(Debug, Clone)]
struct Entry {
    /// In lower case.
    name: Box<[u8]>,
    /// What the filter does with a header of exactly this name.
    class: Class,
    /// Whether a name that folds like this one is scrubbed.
    has_aliases: bool,
    /// Its index in [`Seen::required`].
    required: Option<usize>,
}

/// The headers that a configuration names. Case does not matter.
#[derive(Debug, Clone, Default)]
pub struct Naming<'n> {
    /// The header in which the proxy names the user.
    pub user: &'n str,
    /// The header that names the user to the Gateway.
    pub upstream_user: &'n str,
    /// The header in which the proxy lists the user's groups.
    pub groups: Option<&'n str>,
    /// Headers whose values are secrets. The Gateway does not see these values.
    pub secrets: Vec<&'n str>,
    /// Headers that must be present. They stay on an admitted request.
    pub required: &'n [String],
    /// Further headers that stay on an admitted request.
    pub spared: Vec<&'n str>,
    /// Headers that are scrubbed in addition to the built-in ones.
    pub stripped: Vec<&'n str>,
}

/// How many required headers are recorded in the one pass over a request. Each further one costs a pass of its own.
const REQUIRED: usize = 4;
/// The size of the tables by length.
const LENGTHS: usize = 48;

/// The index of a length in the tables.
fn place(length: usize) -> usize {
    length.min(LENGTHS.saturating_sub(1))
}

/// The number of a name's folded byte at an index. A name without one has the number of `-`.
fn byte_at(name: &[u8], index: usize) -> u8 {
    name.get(index).and_then(|&byte| BITS.get(usize::from(byte))).copied().unwrap_or(REST)
}

/// The bit of a name's folded third byte.
fn third_bit(name: &[u8]) -> u64 {
    1 << byte_at(name, 2)
}

/// The number of the bit for every byte outside `[a-z0-9]`. The bits of those come first.
const REST: u8 = 36;
/// How many numbers there are.
const BYTES: usize = 37;

/// The number of the bit for each byte, folded.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "an error in a constant does not compile")]
const BITS: [u8; 256] = {
    let mut bits = [REST; 256];
    let mut at = 0_u8;
    while at < 26 {
        bits[(b'a' + at) as usize] = at;
        bits[(b'A' + at) as usize] = at;
        at += 1;
    }
    while at < REST {
        bits[(b'0' + at - 26) as usize] = at;
        at += 1;
    }
    bits
};

impl Names {
    /// The built-in names, and the policy's own.
    #[must_use]
    pub fn new(naming: &Naming<'_>) -> Self {
        let mut names = Self {
            by_length: [const { Vec::new() }; LENGTHS],
            third_bytes: [0; LENGTHS],
            prefix_bytes: [0; BYTES],
            prefixes: [const { Vec::new() }; BYTES],
            places: Vec::new(),
            spares_groups: naming
                .groups
                .is_some_and(|groups| naming.required.iter().any(|name| name.eq_ignore_ascii_case(groups))),
            stamps_in_place: naming.user.eq_ignore_ascii_case(naming.upstream_user),
        };
        // The first class of a name wins.
        names.add(naming.upstream_user, Class::UpstreamUser);
        names.add(naming.user, Class::User);
        names.add(SCOPES_HEADER, Class::Scopes);
        if let Some(groups) = naming.groups {
            names.add(groups, Class::Groups);
        }
        for name in &naming.secrets {
            names.add(name, Class::Secret);
        }
        for name in naming.required.iter().map(String::as_str).chain(naming.spared.iter().copied()) {
            // Only headers that would be removed otherwise are spared.
            let known = is_built_in(name) || naming.stripped.iter().any(|other| other.eq_ignore_ascii_case(name));
            names.add(name, if known { Class::Spared } else { Class::Foreign });
        }
        for name in BUILT_IN.into_iter().chain(naming.stripped.iter().copied()) {
            names.add(name, Class::Scrubbed);
        }
        for prefix in BUILT_IN_PREFIXES {
            let prefix = prefix.as_bytes();
            let third = usize::from(byte_at(prefix, 2));
            if let (Some(bits), Some(alike)) = (names.prefix_bytes.get_mut(third), names.prefixes.get_mut(third)) {
                *bits |= 1 << byte_at(prefix, 4);
                alike.push(prefix);
            }
        }
        for field in FIELD_NAMES {
            names.expect(field.as_bytes());
        }
        names.number(naming.required);
        names
    }

    /// Makes [`Self::may_know`] true for a name.
    fn expect(&mut self, name: &[u8]) {
        if let Some(bits) = self.third_bytes.get_mut(place(name.len())) {
            *bits |= third_bit(name);
        }
    }

    fn add(&mut self, name: &str, class: Class) {
        let name = name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        self.expect(&name);
        let Some(entries) = self.by_length.get_mut(place(name.len())) else { return };
        if !entries.iter().any(|entry| entry.name == name) {
            entries.push(Entry { name, class, has_aliases: class != Class::Foreign, required: None });
        }
    }

    /// Assigns the first few required headers an index in [`Seen::required`].
    fn number(&mut self, required: &[String]) {
        let mut used = 0;
        for name in required {
            let entries = self.by_length.get_mut(place(name.len()));
            let entry = entries
                .and_then(|entries| entries.iter_mut().find(|entry| entry.name.eq_ignore_ascii_case(name.as_bytes())));
            let Some(entry) = entry else {
                self.places.push(None);
                continue;
            };
            // Headers that have a field of their own are not looked up here. `host` is `:authority`.
            let is_field = FIELD_NAMES.iter().chain(&["host"]).any(|field| field.eq_ignore_ascii_case(name));
            if entry.required.is_none() && !is_field && used < REQUIRED {
                entry.required = Some(used);
                used = used.saturating_add(1);
            }
            self.places.push(entry.required);
        }
    }

    /// Whether the policy may know the name, or the name may be one of [`FIELD_NAMES`]. This is cheap, and false for
    /// most headers.
    pub(crate) fn may_know(&self, name: &[u8]) -> bool {
        self.third_bytes.get(place(name.len())).is_some_and(|bits| bits & third_bit(name) != 0)
            || self.may_have_prefix(name)
    }

    /// Whether the name may start with one of the built-in prefixes.
    fn may_have_prefix(&self, name: &[u8]) -> bool {
        self.prefix_bytes.get(usize::from(byte_at(name, 2))).is_some_and(|bits| bits >> byte_at(name, 4) & 1 != 0)
    }

    /// Whether the name, folded, starts with one of the built-in prefixes.
    fn has_prefix(&self, name: &[u8]) -> bool {
        let alike = self.prefixes.get(usize::from(byte_at(name, 2))).map(Vec::as_slice).unwrap_or_default();
        self.may_have_prefix(name) && alike.iter().any(|prefix| folds_to_start_with(name, prefix))
    }

    /// What the filter does with a header of this name.
    #[must_use]
    pub fn class(&self, name: &[u8]) -> Class {
        if self.may_know(name) { self.look_up(name).0 } else { Class::Foreign }
    }

    /// What the filter does with a header of this name, and the header's index in [`Seen::required`].
    fn look_up(&self, name: &[u8]) -> (Class, Option<usize>) {
        if name.first() == Some(&b':') {
            // A pseudo-header is not an alias of anything.
            return (Class::Foreign, None);
        }
        let entries = self.by_length.get(place(name.len())).map(Vec::as_slice).unwrap_or_default();
        // Envoy provides names in lower case.
        if let Some(entry) = entries.iter().find(|entry| same(&entry.name, name)) {
            return (entry.class, entry.required);
        }
        let mut alike = entries.iter().filter(|entry| fold_alike(name, &entry.name));
        if let Some(entry) = alike.clone().find(|entry| entry.name.eq_ignore_ascii_case(name)) {
            return (entry.class, entry.required);
        }
        let is_alias = alike.any(|entry| entry.has_aliases) || self.has_prefix(name);
        (if is_alias { Class::Scrubbed } else { Class::Foreign }, None)
    }

    /// Records a header, if the policy knows it.
    pub(crate) fn note<'a>(&self, seen: &mut Seen<'a>, name: &[u8], value: &'a [u8]) {
        let (class, required) = self.look_up(name);
        if let Some(field) = required.and_then(|place| seen.required.get_mut(place)) {
            field.note(value);
        }
        match class {
            Class::Foreign => {}
            Class::Scrubbed | Class::Secret => seen.scrubbed = true,
            Class::Spared => seen.spared = true,
            Class::User => seen.user.note(value),
            Class::UpstreamUser => seen.upstream_user.note(value),
            Class::Scopes => seen.scopes.note(value),
            Class::Groups => seen.groups.note(value),
        }
    }

    /// The header in which the proxy names the user.
    pub(crate) const fn user<'s, 'a>(&self, seen: &'s Seen<'a>) -> &'s Field<'a> {
        if self.stamps_in_place { &seen.upstream_user } else { &seen.user }
    }

    /// Whether the groups header stays on an admitted request.
    pub(crate) const fn spares_groups(&self) -> bool {
        self.spares_groups
    }

    /// The field of a required header, if it is one that [`Self::note`] records. `None` does not mean that it is
    /// missing.
    pub(crate) fn required<'a>(&self, seen: &Seen<'a>, at: usize) -> Option<Field<'a>> {
        let place = self.places.get(at).copied().flatten()?;
        seen.required.get(place).copied()
    }
}

/// The headers of a request that a policy knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// The header in which the proxy names the user, if it is not the upstream user header.
    pub(crate) user: Field<'a>,
    /// The header that names the user to the Gateway.
    pub(crate) upstream_user: Field<'a>,
    /// The header in which the proxy lists the user's groups.
    pub(crate) groups: Field<'a>,
    /// [`SCOPES_HEADER`].
    pub(crate) scopes: Field<'a>,
    /// The first required headers.
    required: [Field<'a>; REQUIRED],
    /// Whether another header is present that is always removed.
    pub(crate) scrubbed: bool,
    /// Whether a header is present that is removed unless the request is admitted with an identity.
    pub(crate) spared: bool,
}

#[cfg(test)]
mod tests {
    use super::super::lists::fold;
    use super::*;

    #[test]
    fn a_name_is_judged_by_what_it_folds_to() {
        let names = Names::new(&Naming {
            user: "X-User",
            upstream_user: "x-up",
            groups: Some("X-Groups"),
            secrets: vec!["X-Edge-Secret"],
            required: &["X-Forwarded-Proto".to_owned(), "X-Kept-Own".to_owned()],
            spared: vec!["x-pomerium-jwt-assertion"],
            stripped: vec!["X-Very-Own", "x-kept-own"],
        });
        let cases = [
            ("x-user", Class::User),
            ("X-USER", Class::User),
            ("x_user", Class::Scrubbed),
            ("x.user", Class::Scrubbed),
            ("x-up", Class::UpstreamUser),
            ("x-groups", Class::Groups),
            ("x_groups", Class::Scrubbed),
            ("x-edge-secret", Class::Secret),
            ("x_edge.secret", Class::Scrubbed),
            ("x-kept-own", Class::Spared),
            ("x-kept.own", Class::Scrubbed),
            ("x_forwarded_proto", Class::Foreign),
            ("x~up", Class::Scrubbed),
            ("x-openclaw-scopes", Class::Scopes),
            ("x-openclaw_scopes", Class::Scrubbed),
            ("x-forwarded-user", Class::Scrubbed),
            ("x_forwarded_user", Class::Scrubbed),
            ("remote.groups", Class::Scrubbed),
            ("x-very-own", Class::Scrubbed),
            ("x-very-owns", Class::Foreign),
            ("x-pomerium-jwt-assertion", Class::Spared),
            ("x_pomerium-jwt-assertion", Class::Scrubbed),
            ("x-pomerium-", Class::Scrubbed),
            ("x-pomerium", Class::Foreign),
            ("X-Ms-Client-Principal", Class::Scrubbed),
            ("x-ms-client-principal-name", Class::Scrubbed),
            ("tailscale-user-login", Class::Scrubbed),
            ("tailscale_x", Class::Scrubbed),
            ("cf-access-jwt-assertion", Class::Scrubbed),
            ("x-auth-request-a-name-that-is-longer-than-the-table-of-lengths", Class::Scrubbed),
            ("x-forwarded-proto", Class::Foreign),
            ("x-forwarded-for", Class::Foreign),
            ("authorization", Class::Foreign),
            (":path", Class::Foreign),
            (":-user", Class::Foreign),
            ("", Class::Foreign),
        ];
        for (name, expected) in cases {
            assert_eq!(names.class(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn each_letter_and_digit_has_a_bit_and_all_else_has_one() {
        let bit = |byte: u8| third_bit(&[b'x', b'-', byte]);
        for byte in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                assert_eq!(bit(byte) == bit(other), fold(byte) == fold(other), "{byte} {other}");
            }
            assert_eq!(bit(byte).count_ones(), 1, "{byte}");
        }
        assert_eq!(third_bit(b""), third_bit(b"x--"));
    }

    #[test]
    fn a_name_of_one_or_two_letters_is_known_like_any_other() {
        let names = Names::new(&Naming { user: "u", upstream_user: "up", stripped: vec!["x"], ..Naming::default() });
        for (name, class) in
            [("u", Class::User), ("up", Class::UpstreamUser), ("x", Class::Scrubbed), ("y", Class::Foreign)]
        {
            assert_eq!(names.class(name.as_bytes()), class, "{name}");
        }
    }

    #[test]
    fn most_names_are_foreign_at_first_sight() {
        let required = ["x-2nd".to_owned(), "x-a".to_owned()];
        let names =
            Names::new(&Naming { user: "x-user", upstream_user: "0x0", required: &required, ..Naming::default() });
        for known in
            ["x-user", "x_user", "0x0", "x-2nd", "X-2ND", "x-a", "x.a", "remote-user", "tailscale-user", "x-pomerium-x"]
        {
            assert!(names.may_know(known.as_bytes()), "{known}");
        }
        for foreign in [
            "a",
            "dnt",
            "date",
            "accept",
            "pragma",
            "priority",
            "x-3rd",
            "x--nd",
            "x-znd",
            "user-agent",
            "sec-ch-ua",
            "accept-encoding",
            "authorization",
            "content-type",
            "cookie",
            "sec-fetch-site",
            "sec-websocket-extensions",
            "x-request-id",
            "accept-language",
            "cache-control",
            "access-control-request-method",
            "a-header-whose-name-is-longer-than-the-table-of-lengths",
        ] {
            assert!(!names.may_know(foreign.as_bytes()), "{foreign}");
        }
    }

    #[test]
    fn the_first_few_required_headers_are_found_on_the_way() {
        // Each header, and whether it is recorded, so that no other pass over the headers is needed.
        let required = [
            ("X-Edge", true),
            ("origin", false),
            ("Host", false),
            ("x-forwarded-proto", true),
            ("x-forwarded-user", true),
            ("x-edge", true),
            ("x-fourth", true),
            ("x-fifth", false),
            ("X-Fourth", true),
        ];
        let all = required.map(|(name, _)| name.to_owned());
        let names = Names::new(&Naming {
            user: "x-forwarded-user",
            upstream_user: "x-forwarded-user",
            required: &all,
            ..Naming::default()
        });
        let (mut seen, nothing) = (Seen::default(), Seen::default());
        for (at, name) in
            ["x-edge", "x-forwarded-proto", "x-forwarded-user", "x-fourth", "x-fifth", "origin"].iter().enumerate()
        {
            let values = [b"0", b"1", b"2", b"3", b"4", b"5"];
            names.note(&mut seen, name.as_bytes(), values.get(at).copied().unwrap_or(b"?"));
        }
        let firsts = ["0", "", "", "1", "2", "0", "3", "", "3"];
        for (at, ((name, is_found), first)) in required.into_iter().zip(firsts).enumerate() {
            let field = names.required(&seen, at);
            assert_eq!(field.is_some(), is_found, "{name}");
            assert_eq!(field.and_then(|field| field.only()).unwrap_or_default(), first.as_bytes(), "{name}");
            assert_eq!(
                names.required(&nothing, at).map(|field| field.is_present()),
                is_found.then_some(false),
                "{name}"
            );
        }
        assert!(names.required(&seen, all.len()).is_none());
    }

    #[test]
    fn one_header_for_both_ends_is_stamped_in_place() {
        let names = Names::new(&Naming { user: "x-user", upstream_user: "X-User", ..Naming::default() });
        assert_eq!(names.class(b"x-user"), Class::UpstreamUser);
    }
}
