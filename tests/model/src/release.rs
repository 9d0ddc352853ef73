//! Releases of the Gateway (contract, section 10), as questions to the ones that were tried.

use crate::Rules;

/// Where the releases that were tried begin and end to differ: months and patches of 2026.
const TRIED: [(u32, u32); 23] = [
    (4, 2),
    (4, 12),
    (4, 26),
    (4, 27),
    (5, 7),
    (5, 12),
    (5, 18),
    (5, 28),
    (6, 11),
    (6, 33),
    (6, 34),
    (6, 35),
    (7, 1),
    (7, 33),
    (7, 35),
    (8, 1),
    (8, 2),
    (9, 1),
    (9, 2),
    (9, 3),
    (9, 4),
    (9, 5),
    (9, 6),
];

/// The release behind the filter: itself if it was tried, or otherwise the ones before and after it.
pub(crate) struct Release(Vec<(u32, u32)>);

impl Release {
    pub(crate) fn of(rules: &Rules<'_>) -> Self {
        let text = rules.filter["gatewayVersion"].as_str().unwrap_or("2026.9.6");
        let (numbers, suffix) = text.split_once('-').unwrap_or((text, ""));
        let numbers: Vec<u32> = numbers.split('.').map(|number| number.parse().unwrap_or_default()).collect();
        let [year, month, patch] = numbers[..] else { panic!("{text} is not a release") };
        // Twice the patch, to have room for what comes before and after it.
        let beta = suffix.contains('.');
        let place = (year, month, 2 * patch + u32::from(!suffix.is_empty()) - 2 * u32::from(beta));
        let at = |(month, patch): &&(u32, u32)| (2026, *month, 2 * patch);
        let before = TRIED.iter().rev().find(|tried| at(tried) <= place);
        let after = TRIED.iter().find(|tried| at(tried) >= place);
        Self(before.into_iter().chain(after).copied().collect())
    }

    /// Whether all of them are at least this one, in a line of their own.
    fn since(&self, first: (u32, u32)) -> bool {
        self.0.iter().all(|tried| *tried >= first)
    }

    /// Rule 5.
    pub(crate) fn wants_attribution(&self) -> bool {
        self.0.iter().any(|tried| *tried >= (8, 1))
    }

    /// Whether a block such as `::ffff:10.0.0.0/104` is more than its first address.
    pub(crate) fn reads_mapped_blocks(&self) -> bool {
        self.since((9, 4))
    }

    pub(crate) fn lets_private_origins(&self) -> bool {
        self.since((5, 18))
    }

    pub(crate) fn lists_opaque_origins(&self) -> bool {
        self.0.iter().all(|tried| [(6, 34), (6, 35)].contains(tried) || *tried >= (7, 33))
    }

    pub(crate) fn is_strict_about_reads(&self) -> bool {
        self.0.iter().any(|tried| *tried >= (9, 2))
    }

    pub(crate) fn knows_scope(&self, scope: &str) -> bool {
        match scope {
            "operator.talk.secrets" => self.since((4, 12)),
            "operator.questions" | "operator.talk" => self.since((8, 1)),
            "operator.sessions.read" | "operator.sessions.write" => self.since((9, 6)),
            _ => true,
        }
    }

    /// Whether a plugin's route is granted what the header names.
    pub(crate) fn plugins_read_header(&self) -> bool {
        self.since((4, 12))
    }

    /// Where the Control UI's configuration is.
    pub(crate) fn configuration(&self) -> &'static [&'static str] {
        const ALL: [&str; 3] =
            ["/__openclaw/control-ui-config.json", "/control-ui-config.json", "/__openclaw__/control-ui-config.json"];
        if self.since((6, 11)) { &ALL } else { ALL.split_at(1).0 }
    }

    /// Whether the Control UI's files pass with any Origin.
    pub(crate) fn opens_files(&self) -> bool {
        self.since((9, 6))
    }

    /// Whether it has sockets with paths of their own.
    pub(crate) fn has_sockets(&self) -> bool {
        self.since((8, 1))
    }
}
