//! Releases of the Gateway, and what they do differently (contract, section 10).
//!
//! The table has ranges of releases. Both ends of each range were tried: `make test-gateways` runs their own functions.
//! Releases are looked up, not compared: 2026.6.33 to 2026.6.35 and 2026.7.33 to 2026.7.35 are maintenance lines, with
//! changes that 2026.7.1 lacks.

use std::fmt;

use super::audit::Audit;
use super::json::Node;
use super::reader::{Cursor, Reader};
use crate::scopes::Scope;
use crate::text::trim_configured;

/// A release of the Gateway, such as 2026.9.6. They are ordered as they follow each other within a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    year: u16,
    month: u16,
    patch: u16,
    stage: Stage,
}

/// What follows the numbers of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Before the release: `-beta.1`.
    Before,
    Final,
    /// After it: `-1`.
    After,
}

impl Release {
    /// The newest release that was tried.
    pub const NEWEST: Self = Self::of(9, 6);

    const fn of(month: u16, patch: u16) -> Self {
        Self { year: 2026, month, patch, stage: Stage::Final }
    }

    /// Reads a release as npm and `openclaw --version` write it: three numbers, and for some `-1` or `-beta.1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        /// Without leading zeros, as npm requires.
        fn number(text: &str) -> Option<u16> {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            text.parse().ok().filter(|number| is_number && *number < 10_000)
        }
        let (numbers, suffix) = text.split_once('-').map_or((text, None), |(numbers, suffix)| (numbers, Some(suffix)));
        let stage = match suffix {
            None => Stage::Final,
            Some(suffix) if number(suffix).is_some() => Stage::After,
            Some(suffix) => {
                let (name, count) = suffix.split_once('.')?;
                if !["alpha", "beta", "rc"].contains(&name) {
                    return None;
                }
                number(count)?;
                Stage::Before
            }
        };
        let mut numbers = numbers.split('.').map(number);
        let (year, month, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let is_date = (2000..3000).contains(&year) && (1..=12).contains(&month);
        (is_date && numbers.next().is_none()).then_some(Self { year, month, patch, stage })
    }

    /// Whether two releases are known to decide alike.
    #[must_use]
    pub fn decides_like(self, other: Self) -> bool {
        find(self).is_some_and(|found| find(other).is_some_and(|other| found.rules == other.rules))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.year, self.month, self.patch)
    }
}

/// How a release decides, where releases differ. Of two values of one kind the lesser is the stricter, unless it says
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether a client must be attributable. True is stricter.
    pub(super) attribution: bool,
    /// How an IPv4-mapped CIDR block in `trustedProxies` is read.
    pub(super) mapped_blocks: MappedBlocks,
    /// Whether a proxy on the Gateway's host can be allowed (`allowLoopback`).
    pub(super) loopback: bool,
    /// Whether the names of headers in the configuration are trimmed.
    pub(super) trims_names: bool,
    /// Whether an origin that equals the Host passes if its host is private.
    pub(super) private_origins: bool,
    /// Whether an origin of a scheme such as `app:` can be listed.
    pub(super) opaque_origins: bool,
    /// Whether `allowTailscale` makes reads of the Control UI need an origin. True is stricter.
    pub(super) strict_reads: bool,
    /// The scopes that the release knows. Each release knows those of the one before.
    pub(super) scopes: &'static [Scope],
    /// Whether a plugin's route is granted what the header names. If not, it is granted the plugins' default.
    pub(super) plugins_read_header: bool,
    /// The sockets that the scopes header caps.
    pub(super) socket_cap: SocketCap,
    /// The paths that the release serves itself.
    pub(super) paths: Paths,
    /// Whether the Control UI's files pass with any Origin.
    pub(super) public_files: bool,
    /// Whether `auth.trustedProxy.deviceAutoApprove` and `auth.identityScopes` are keys of the configuration.
    pub(super) device_keys: bool,
    /// Whether `auth.trustedProxy.cloudflareAccessOidc` is a key of the configuration.
    pub(super) cloudflare_key: bool,
    /// Whether the Control UI explains a refusal of the Gateway's own.
    pub(super) explains_refusals: bool,
}

/// How a release reads an IPv4-mapped CIDR block, such as `::ffff:10.0.0.0/104`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MappedBlocks {
    /// As its first address alone.
    First,
    /// As the IPv4 block.
    Whole,
    /// It is not known which: rule 2 is stricter with the one, rule 5 with the other.
    Unknown,
}

/// The sockets of the Gateway's own that `x-openclaw-scopes` caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SocketCap {
    Nothing,
    /// Those of the Control UI, if the proxy named its user.
    ControlUi,
    Everything,
}

/// The paths that a release serves itself. Each has those of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Paths {
    /// The API, and the Control UI's configuration in one place.
    OneConfiguration,
    /// That file in two more places.
    Configurations,
    /// Sockets with paths of their own.
    Sockets,
}

/// The scopes in the order in which releases came to know them: five, `operator.talk.secrets`, two, and two.
const SCOPES: [Scope; 10] = [
    Scope::Admin,
    Scope::Read,
    Scope::Write,
    Scope::Approvals,
    Scope::Pairing,
    Scope::TalkSecrets,
    Scope::Questions,
    Scope::Talk,
    Scope::SessionsRead,
    Scope::SessionsWrite,
];
const FIVE: &[Scope] = SCOPES.split_at(5).0;
const SIX: &[Scope] = SCOPES.split_at(6).0;
const EIGHT: &[Scope] = SCOPES.split_at(8).0;

/// 2026.4.2, the oldest release for which the two laws hold.
const OLDEST: Rules = Rules {
    attribution: false,
    mapped_blocks: MappedBlocks::First,
    loopback: false,
    trims_names: false,
    private_origins: false,
    opaque_origins: false,
    strict_reads: false,
    scopes: FIVE,
    plugins_read_header: false,
    socket_cap: SocketCap::Nothing,
    paths: Paths::OneConfiguration,
    public_files: false,
    device_keys: false,
    cloudflare_key: false,
    explains_refusals: false,
};
const R4_12: Rules = Rules { scopes: SIX, trims_names: true, plugins_read_header: true, ..OLDEST };
const R4_27: Rules = Rules { loopback: true, ..R4_12 };
const R5_12: Rules = Rules { socket_cap: SocketCap::ControlUi, ..R4_27 };
const R5_18: Rules = Rules { private_origins: true, ..R5_12 };
const R6_11: Rules = Rules { paths: Paths::Configurations, ..R5_18 };
const R6_34: Rules = Rules { opaque_origins: true, ..R6_11 };
const R8_1: Rules = Rules {
    attribution: true,
    scopes: EIGHT,
    socket_cap: SocketCap::Everything,
    paths: Paths::Sockets,
    device_keys: true,
    ..R6_34
};
const R9_1: Rules = Rules { explains_refusals: true, ..R8_1 };
const R9_2: Rules = Rules { strict_reads: true, ..R9_1 };
const R9_4: Rules = Rules { mapped_blocks: MappedBlocks::Whole, ..R9_2 };
const NEWEST: Rules = Rules { scopes: &SCOPES, public_files: true, cloudflare_key: true, ..R9_4 };

/// The releases that were tried: the first and the last of each range with the same rules.
const TABLE: [(Release, Release, Rules); 14] = [
    (Release::of(4, 2), Release::of(4, 2), OLDEST),
    (Release::of(4, 12), Release::of(4, 26), R4_12),
    (Release::of(4, 27), Release::of(5, 7), R4_27),
    (Release::of(5, 12), Release::of(5, 12), R5_12),
    (Release::of(5, 18), Release::of(5, 28), R5_18),
    (Release::of(6, 11), Release::of(6, 33), R6_11),
    (Release::of(6, 34), Release::of(6, 35), R6_34),
    (Release::of(7, 1), Release::of(7, 1), R6_11),
    (Release::of(7, 33), Release::of(7, 35), R6_34),
    (Release::of(8, 1), Release::of(8, 2), R8_1),
    (Release::of(9, 1), Release::of(9, 1), R9_1),
    (Release::of(9, 2), Release::of(9, 3), R9_2),
    (Release::of(9, 4), Release::of(9, 5), R9_4),
    (Release::of(9, 6), Release::NEWEST, NEWEST),
];

impl Rules {
    /// For each difference, the stricter of two.
    fn stricter(&self, other: &Self) -> Self {
        Self {
            attribution: self.attribution || other.attribution,
            mapped_blocks: if self.mapped_blocks == other.mapped_blocks {
                self.mapped_blocks
            } else {
                MappedBlocks::Unknown
            },
            loopback: self.loopback && other.loopback,
            trims_names: self.trims_names && other.trims_names,
            private_origins: self.private_origins && other.private_origins,
            opaque_origins: self.opaque_origins && other.opaque_origins,
            strict_reads: self.strict_reads || other.strict_reads,
            scopes: if self.scopes.len() < other.scopes.len() { self.scopes } else { other.scopes },
            plugins_read_header: self.plugins_read_header && other.plugins_read_header,
            socket_cap: self.socket_cap.min(other.socket_cap),
            paths: self.paths.min(other.paths),
            public_files: self.public_files && other.public_files,
            device_keys: self.device_keys && other.device_keys,
            cloudflare_key: self.cloudflare_key && other.cloudflare_key,
            explains_refusals: self.explains_refusals && other.explains_refusals,
        }
    }
}

/// The rules of a release, and how it is known that they are.
struct Found {
    rules: Rules,
    place: Place,
}

enum Place {
    /// It is in a range.
    Known,
    /// It is between two ranges.
    Between(Release, Release),
    /// It is newer than the newest.
    Newer,
}

/// `None` if the release is older than the oldest.
fn find(release: Release) -> Option<Found> {
    let before = TABLE.iter().rev().find(|(first, ..)| *first <= release)?;
    let after = TABLE.iter().find(|(first, ..)| *first > release);
    let (_, last, rules) = before;
    Some(match after {
        _ if release <= *last => Found { rules: *rules, place: Place::Known },
        None => Found { rules: *rules, place: Place::Newer },
        Some((next, _, other)) => Found { rules: rules.stricter(other), place: Place::Between(*last, *next) },
    })
}

/// The Gateway behind the filter.
pub(super) struct Gateway {
    /// Its release, as it is written.
    pub(super) name: String,
    pub(super) rules: Rules,
}

/// Reads `filter.gatewayVersion`.
pub(super) fn read_gateway(reader: &mut Reader, audit: &mut Audit, cursor: &Cursor<'_>) -> Gateway {
    let newest = || Gateway { name: Release::NEWEST.to_string(), rules: NEWEST };
    let Some(text) = reader.string(cursor) else { return newest() };
    let wanted = format!(
        "write the release that `openclaw --version` shows, such as \"{}\", or leave the key out",
        Release::NEWEST
    );
    let Some(release) = Release::parse(text) else {
        reader.error(cursor, format!("{text:?} is not a release of the Gateway"), wanted);
        return newest();
    };
    let Some(Found { rules, place }) = find(release) else {
        let [(oldest, ..), ..] = TABLE;
        reader.error(
            cursor,
            format!("{text:?} is older than {oldest}, and this filter cannot tell what such a Gateway accepts"),
            format!("update the Gateway to {oldest} or newer"),
        );
        return newest();
    };
    match place {
        Place::Between(before, after) => audit.note_gateway_between(text, before, after),
        Place::Newer => audit.note_gateway_newer(text, Release::NEWEST),
        Place::Known if rules != NEWEST => audit.note_gateway_older(text),
        Place::Known => {}
    }
    Gateway { name: text.to_owned(), rules }
}

impl Gateway {
    /// Checks what some releases do not read as the newest do: keys of `gateway.auth`, with which they do not start,
    /// and the names of headers.
    pub(super) fn check(&self, reader: &mut Reader, audit: &mut Audit, auth: &Cursor<'_>, trusted_proxy: &Cursor<'_>) {
        for (key, is_known) in [
            ("allowLoopback", self.rules.loopback),
            ("deviceAutoApprove", self.rules.device_keys),
            ("cloudflareAccessOidc", self.rules.cloudflare_key),
        ] {
            let cursor = trusted_proxy.member(key);
            if !is_known && cursor.node.is_some() {
                reader.error(
                    &cursor,
                    format!("is not a key of the Gateway {}, which does not start with it", self.name),
                    "remove it, here and in openclaw.json, or correct filter.gatewayVersion",
                );
            }
        }
        let required = trusted_proxy.member("requiredHeaders");
        let mut check_name = |cursor: &Cursor<'_>, node: Option<&Node>| {
            if let Some(Node::String(name)) = node
                && !self.rules.trims_names
                && trim_configured(name) != name
            {
                reader.error(
                    cursor,
                    format!("{name:?} has spaces around it, and the Gateway {} does not trim them", self.name),
                    "write it without them, here and in openclaw.json",
                );
            }
        };
        let user = trusted_proxy.member("userHeader");
        check_name(&user, user.node);
        if let Some(Node::List(items)) = required.node {
            for (at, item) in items.iter().enumerate() {
                check_name(&required.item(at), Some(item));
            }
        }
        let identity_scopes = auth.member("identityScopes");
        if !self.rules.device_keys && identity_scopes.node.is_some_and(|node| *node != Node::Null) {
            audit.note_later_key(&identity_scopes.path, &self.name);
        }
    }

    /// The scopes that the Gateway knows, in the contract's order.
    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> {
        let known = self.rules.scopes;
        Scope::ALL.into_iter().filter(move |scope| known.contains(scope))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap_or_else(|| unreachable!("{text}"))
    }

    fn rules(text: &str) -> Rules {
        find(release(text)).unwrap().rules
    }

    #[test]
    fn a_release_is_three_numbers_and_what_npm_puts_behind_them() {
        for text in ["2026.9.6", "2026.7.1-2", "2026.8.1-beta.1", "2027.1.0", "2026.10.33", "2026.5.4-rc.12"] {
            assert!(Release::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "latest",
            "2026",
            "2026.9",
            "2026.9.6.1",
            "v2026.9.6",
            " 2026.9.6",
            "2026.09.6",
            "2026.13.1",
            "2026.0.1",
            "2026.9.6-",
            "2026.9.6-beta",
            "2026.9.6-beta.x",
            "2026.9.6-next.1",
            "2026.9.+6",
            "2026.9.6-01",
            "1.2.3",
            "2026.9.70000",
            "OpenClaw 2026.9.6",
        ] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
    }

    #[test]
    fn releases_follow_each_other_and_so_do_their_ranges() {
        let order =
            ["2026.7.1-beta.1", "2026.7.1", "2026.7.1-1", "2026.7.2-beta.7", "2026.7.33", "2026.8.1", "2027.1.1"];
        assert!(order.map(release).is_sorted_by(|a, b| a < b));
        let ends: Vec<_> = TABLE.iter().map(|(first, last, _)| (*first, *last)).collect();
        assert!(ends.iter().all(|(first, last)| first <= last));
        assert!(ends.is_sorted_by(|(_, last), (first, _)| last < first));
        assert!(TABLE.is_sorted_by(|(.., one), (.., next)| one != next), "two ranges with the same rules are one");
        let (_, last, newest) = TABLE.last().unwrap();
        assert_eq!((*last, *newest), (Release::NEWEST, NEWEST));
    }

    #[test]
    fn a_maintenance_line_has_its_own_rules() {
        assert_eq!(rules("2026.6.35"), R6_34);
        assert_eq!(rules("2026.7.1"), R6_11);
        assert_eq!(rules("2026.7.34"), R6_34);
        assert_eq!(rules("2026.6.36"), R6_11, "between 2026.6.35 and 2026.7.1");
    }

    #[test]
    fn between_two_ranges_each_rule_is_the_stricter_one() {
        // Every pair of neighbours, and every difference.
        for pair in TABLE.windows(2) {
            let [(_, before, one), (after, _, other)] = pair else { unreachable!() };
            let merged = one.stricter(other);
            assert_eq!(merged, other.stricter(one), "{before} {after}");
            assert_eq!(merged.attribution, one.attribution | other.attribution);
            assert_eq!(merged.strict_reads, one.strict_reads | other.strict_reads);
            assert_eq!(merged.loopback, one.loopback & other.loopback);
            assert_eq!(merged.private_origins, one.private_origins & other.private_origins);
            assert_eq!(merged.opaque_origins, one.opaque_origins & other.opaque_origins);
            assert!(merged.scopes.iter().all(|scope| one.scopes.contains(scope) && other.scopes.contains(scope)));
        }
        let beta = rules("2026.8.1-beta.1");
        assert!(beta.attribution && beta.scopes.len() == 6 && beta.socket_cap == SocketCap::ControlUi);
        assert_eq!(rules("2026.9.4-beta.1").mapped_blocks, MappedBlocks::Unknown);
        assert_eq!(rules("2026.4.5"), OLDEST);
        assert_eq!(rules("2026.7.1-1"), R6_11);
        assert!(matches!(find(release("2026.4.5")).unwrap().place, Place::Between(..)));
        assert!(matches!(find(release("2026.5.1")).unwrap().place, Place::Known));
    }

    #[test]
    fn what_is_newer_has_the_rules_of_the_newest_and_what_is_older_has_none() {
        for text in ["2026.9.6-1", "2026.9.7", "2026.10.1", "2027.1.1"] {
            let found = find(release(text)).unwrap();
            assert!(found.rules == NEWEST && matches!(found.place, Place::Newer), "{text}");
        }
        for text in ["2026.4.2-beta.1", "2026.4.1", "2026.3.31", "2025.12.1"] {
            assert!(find(release(text)).is_none(), "{text}");
        }
        assert!(release("2026.10.1").decides_like(Release::NEWEST));
        assert!(!release("2026.9.5").decides_like(Release::NEWEST));
        assert!(!release("2026.4.1").decides_like(Release::NEWEST));
    }
}
