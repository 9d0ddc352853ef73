//! Reads how long open sockets may stay: `openSockets`, `socketMaxAge` and `socketsUntil` (contract, section 11).

use std::num::NonZeroU32;

use super::audit::Audit;
use super::json::Node;
use super::keys;
use super::reader::{Cursor, Reader};
use super::shapes::AGE_REMEDY;
use crate::sockets::SocketRules;

pub(super) fn read_sockets(reader: &mut Reader, audit: &mut Audit, filter: &Cursor<'_>) -> SocketRules {
    let recheck = reader.choice(&filter.member("openSockets"), &keys::OPEN_SOCKETS).unwrap_or(true);
    audit.note_open_sockets(recheck);
    let max_age = read_age(reader, &filter.member("socketMaxAge"));
    let until = filter.member("socketsUntil");
    let until_assertion = reader.choice(&until, &keys::SOCKETS_UNTIL).is_some();
    if until_assertion && filter.member("assertion").node.is_none() {
        reader.error(
            &until,
            "is \"assertion\" without an assertion",
            "write filter.assertion, the path under which Envoy's own login (jwt_authn, oauth2) stores the identity that it verified, or remove filter.socketsUntil",
        );
    }
    SocketRules { recheck, max_age, until_assertion }
}

/// Reads `socketMaxAge`.
fn read_age(reader: &mut Reader, cursor: &Cursor<'_>) -> Option<NonZeroU32> {
    let node = cursor.node?;
    let Node::String(text) = node else {
        reader.error(cursor, format!("is {}", node.kind()), AGE_REMEDY);
        return None;
    };
    match parse(text) {
        Ok(seconds) => return Some(seconds),
        Err(BadAge::Text) => reader.error(cursor, format!("{text:?} is not a duration"), AGE_REMEDY),
        Err(BadAge::Long) => reader.error(cursor, format!("{text:?} is longer than 365 days"), AGE_REMEDY),
    }
    None
}

#[derive(Debug, PartialEq, Eq)]
enum BadAge {
    /// It is not a number and a unit.
    Text,
    /// It is longer than [`LONGEST`].
    Long,
}

const DAY: u32 = 86_400;
/// 365 days. A longer limit is probably a mistake in the unit.
const LONGEST: u32 = 365 * DAY;

/// A number without a leading zero, and one unit.
fn parse(text: &str) -> Result<NonZeroU32, BadAge> {
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(BadAge::Text)?;
    let unit: u32 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => DAY,
        _ => return Err(BadAge::Text),
    };
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadAge::Text);
    }
    // All are digits, so this fails only if the number is too large.
    let seconds = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds <= LONGEST).ok_or(BadAge::Long)?;
    NonZeroU32::new(seconds).ok_or(BadAge::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_one_unit_and_at_most_365_days() {
        for (text, expected) in [
            ("1s", Ok(1)),
            ("90s", Ok(90)),
            ("5m", Ok(300)),
            ("12h", Ok(43_200)),
            ("7d", Ok(604_800)),
            ("365d", Ok(LONGEST)),
            ("8760h", Ok(LONGEST)),
            ("525600m", Ok(LONGEST)),
            ("31536000s", Ok(LONGEST)),
            ("366d", Err(BadAge::Long)),
            ("8761h", Err(BadAge::Long)),
            ("525601m", Err(BadAge::Long)),
            ("31536001s", Err(BadAge::Long)),
            ("49711d", Err(BadAge::Long)),
            ("4294967296s", Err(BadAge::Long)),
            ("99999999999999999999s", Err(BadAge::Long)),
            ("", Err(BadAge::Text)),
            ("h", Err(BadAge::Text)),
            ("12", Err(BadAge::Text)),
            ("0s", Err(BadAge::Text)),
            ("012h", Err(BadAge::Text)),
            ("00", Err(BadAge::Text)),
            ("12H", Err(BadAge::Text)),
            ("12 h", Err(BadAge::Text)),
            (" 12h", Err(BadAge::Text)),
            ("12h ", Err(BadAge::Text)),
            ("12hours", Err(BadAge::Text)),
            ("1h30m", Err(BadAge::Text)),
            ("1.5h", Err(BadAge::Text)),
            ("-1h", Err(BadAge::Text)),
            ("+1h", Err(BadAge::Text)),
            ("1w", Err(BadAge::Text)),
            ("100ms", Err(BadAge::Text)),
            ("\u{661}h", Err(BadAge::Text)),
            ("12\u{2b0}", Err(BadAge::Text)),
        ] {
            assert_eq!(parse(text).map(NonZeroU32::get), expected, "{text:?}");
        }
    }
}
