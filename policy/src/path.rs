//! Plain paths, the only ones that a rule can match (contract, section 4).

use std::fmt;

use crate::byte_map::ByteMap;

/// Whether every parser behind the filter reads a path alike. The query must be cut off already.
///
/// A plain path starts with a slash and is printable ASCII without `%`, `\`, `#` and `?`. No segment is `.` or `..`,
/// and only the last one may be empty.
#[must_use]
pub fn is_plain(path: &[u8]) -> bool {
    let Some(segments) = path.strip_prefix(b"/") else { return false };
    let mut segments = segments.rsplit(|&byte| byte == b'/');
    let last = segments.next().unwrap_or_default();
    path.iter().all(|&byte| is_plain_byte(byte))
        && !is_dots(last)
        && segments.all(|segment| !segment.is_empty() && !is_dots(segment))
}

const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'#' | b'?')
}

const fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// A set of plain paths. An entry matches one path exactly, or everything below it.
#[derive(Debug, Default, Clone)]
pub struct PathSet {
    exact: ByteMap,
    /// One bit for each length that an exact path has. This rules out most paths that are not in the set.
    lengths: u64,
    /// Each ends in `/`; at least one byte must follow.
    below: Vec<Box<[u8]>>,
}

/// The bit of a path's length. All lengths of 63 and more share one bit.
fn length_bit(path: &[u8]) -> u64 {
    1 << path.len().min(63)
}

/// Why an entry cannot be added to a [`PathSet`]. Displays as a problem of a configuration, without the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// `/*`, which would match every path.
    Everything,
    /// The path is not plain, or has a `*` that is not a whole last segment.
    NotPlain,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everything => "would match every path",
            Self::NotPlain => "is not a plain path",
        })
    }
}

impl std::error::Error for BadPath {}

impl PathSet {
    /// Adds `/x` or `/x/*`.
    ///
    /// # Errors
    /// [`BadPath`], if the entry is not one of these.
    pub fn insert(&mut self, entry: &str) -> Result<(), BadPath> {
        let below = entry.strip_suffix('*');
        let path = below.unwrap_or(entry);
        if below == Some("/") {
            return Err(BadPath::Everything);
        }
        if !is_plain(path.as_bytes()) || path.contains('*') || (below.is_some() && !path.ends_with('/')) {
            return Err(BadPath::NotPlain);
        }
        if below.is_some() {
            self.below.push(path.as_bytes().into());
        } else {
            self.exact.insert(path.as_bytes().into(), ());
            self.lengths |= length_bit(path.as_bytes());
        }
        Ok(())
    }

    /// Whether the set contains a path, which must be one that [`is_plain`].
    #[must_use]
    pub fn contains(&self, plain: &[u8]) -> bool {
        (self.lengths & length_bit(plain) != 0 && self.exact.contains(plain))
            || self.below.iter().any(|prefix| plain.strip_prefix(&**prefix).is_some_and(|rest| !rest.is_empty()))
    }
}

/// Which of the Gateway's HTTP endpoints its configuration switches on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Endpoints {
    /// `http.endpoints.chatCompletions.enabled`.
    pub chat_completions: bool,
    /// `http.endpoints.responses.enabled`.
    pub responses: bool,
}

/// The paths of the Gateway's own API. For these, the Gateway reads a missing scopes header as its whole default set.
#[derive(Debug, Default, Clone)]
pub struct OwnPaths {
    /// The Gateway's exact paths with this configuration, and the operator's `scopes.ownPaths`.
    pub set: PathSet,
    /// The endpoints that are switched on.
    pub endpoints: Endpoints,
}

impl OwnPaths {
    /// Whether a path is the Gateway's own. It must be one that [`is_plain`].
    #[must_use]
    pub fn contains(&self, plain: &[u8]) -> bool {
        self.set.contains(plain) || is_session_path(plain) || self.is_model_path(plain)
    }

    /// `/v1/models/` and one segment. The exact paths are in the set.
    fn is_model_path(&self, path: &[u8]) -> bool {
        (self.endpoints.chat_completions || self.endpoints.responses)
            && path.strip_prefix(b"/v1/models/").is_some_and(is_segment)
    }
}

/// `/sessions/*/kill` and `/sessions/*/history`, where `*` is one segment.
fn is_session_path(path: &[u8]) -> bool {
    path.strip_prefix(b"/sessions/")
        .and_then(|rest| rest.strip_suffix(b"/kill").or_else(|| rest.strip_suffix(b"/history")))
        .is_some_and(is_segment)
}

fn is_segment(text: &[u8]) -> bool {
    !text.is_empty() && !text.contains(&b'/')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_a_bit_of_its_own_up_to_62() {
        let bits: std::collections::BTreeSet<_> = (0..70).map(|length| length_bit(&vec![b'/'; length])).collect();
        assert_eq!(bits.len(), 64);
        assert!(bits.iter().all(|bit| bit.count_ones() == 1));
    }

    #[test]
    fn a_plain_path_reads_the_same_to_everybody() {
        for path in ["/", "/a", "/a/b.c", "/a/...", "/a;b=c", "/tools/invoke", "/a/"] {
            assert!(is_plain(path.as_bytes()), "{path}");
        }
        for path in [
            "", "a", "*", "/a//b", "//a", "/a/../b", "/a/.", "/./a", "/..", "/a%2fb", "/a\\b", "/a#b", "/a b",
            "/\u{e9}", "/a\t",
        ] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
        for byte in 0..=u8::MAX {
            let expected = matches!(byte, 0x21..=0x7E) && !b"%\\#?".contains(&byte);
            assert_eq!(is_plain(&[b'/', b'a', byte, b'b']), expected, "{byte:#x}");
        }
    }

    #[test]
    fn a_set_holds_exact_paths_and_what_is_below() {
        let mut set = PathSet::default();
        set.insert("/health").unwrap();
        set.insert("/hook/*").unwrap();
        for (path, expected) in [
            ("/health", true),
            ("/health/", false),
            ("/healthz", false),
            ("/Health", false),
            ("/hook", false),
            ("/hook/", false),
            ("/hook/x", true),
            ("/hook/x/y", true),
            ("/hooks/x", false),
        ] {
            assert_eq!(set.contains(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn an_entry_that_says_too_much_or_nothing_is_an_error() {
        for (entry, error) in [
            ("/*", BadPath::Everything),
            ("*", BadPath::NotPlain),
            ("/a*", BadPath::NotPlain),
            ("/a/*/b", BadPath::NotPlain),
            ("/*/a", BadPath::NotPlain),
            ("/a/**", BadPath::NotPlain),
            ("a", BadPath::NotPlain),
            ("", BadPath::NotPlain),
            ("/a?b", BadPath::NotPlain),
            ("/a/../b", BadPath::NotPlain),
            ("//*", BadPath::NotPlain),
        ] {
            assert_eq!(PathSet::default().insert(entry), Err(error), "{entry}");
        }
    }

    #[test]
    fn own_paths_are_those_that_the_gateway_serves_itself() {
        let mut own =
            OwnPaths { endpoints: Endpoints { responses: true, ..Endpoints::default() }, ..OwnPaths::default() };
        own.set.insert("/tools/invoke").unwrap();
        for (path, expected) in [
            ("/tools/invoke", true),
            ("/tools/invoke/", false),
            ("/sessions/main/kill", true),
            ("/sessions/main/history", true),
            ("/sessions//history", false),
            ("/sessions/a/b/kill", false),
            ("/sessions/kill", false),
            ("/v1/models/gpt", true),
            ("/v1/models/a/b", false),
        ] {
            assert_eq!(own.contains(path.as_bytes()), expected, "{path}");
        }
        own.endpoints = Endpoints::default();
        assert!(!own.contains(b"/v1/models/gpt"));
    }
}
