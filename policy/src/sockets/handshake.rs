//! What is kept of a handshake, so that its socket can be decided again.

use crate::headers::{FIELD_NAMES, Headers, serialize};
use crate::names::Class;
use crate::policy::Policy;
use crate::text::trim;

/// The headers of a handshake that are kept as long as its socket is open.
///
/// A header whose value the policy reads is kept as it is. Another policy may read others: short values are kept, and
/// of long ones only that they were present. The same goes for headers that hold secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake(Box<[u8]>);

/// The most bytes that are kept of one handshake, as they are serialized. Node reads as much of all headers together.
pub const MOST_BYTES: usize = 16 * 1024;

/// The most bytes of a value that no rule reads.
const MOST_UNREAD: usize = 256;

/// Stands for a value that is not kept. No header can have it: HTTP has no NUL.
const LEFT_OUT: &[u8] = b"\0";

/// Headers with secrets, whose values decide about no upgrade. Browsers can put a token into the last one only.
const SECRETS: [&[u8]; 4] = [b"authorization", b"cookie", b"proxy-authorization", b"sec-websocket-protocol"];

/// Fields that rules never decide by.
const UNREAD_FIELDS: [&str; 3] = ["sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol"];

impl Handshake {
    /// Keeps what matters of the headers of a request that this policy has read. `None` if that is more than
    /// [`MOST_BYTES`].
    #[must_use]
    pub fn keep(policy: &Policy, headers: &Headers<'_>) -> Option<Self> {
        let kept: Vec<_> = headers.iter().map(|(name, value)| (name, keep(policy, name, value))).collect();
        let map = serialize(&kept);
        (map.len() <= MOST_BYTES).then(|| Self(map.into()))
    }

    /// The headers, serialized as a host does it.
    #[must_use]
    pub fn map(&self) -> &[u8] {
        &self.0
    }

    /// The path without its query; empty if there is none.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        Headers::parse(&self.0).ok().and_then(|headers| headers.copies(b":path").next()).unwrap_or_default()
    }

    /// Whether this policy reads a value that was not kept.
    pub(super) fn lacks(&self, policy: &Policy) -> bool {
        Headers::parse(&self.0)
            .map_or(true, |headers| headers.iter().any(|(name, value)| value == LEFT_OUT && policy.reads_value(name)))
    }
}

/// What is kept of a value.
fn keep<'v>(policy: &Policy, name: &[u8], value: &'v [u8]) -> &'v [u8] {
    if name == b":path" {
        // The query can hold a token, and no rule reads it.
        return value.split(|&byte| byte == b'?').next().unwrap_or_default();
    }
    let is_short = value.len() <= MOST_UNREAD && !SECRETS.iter().any(|secret| secret.eq_ignore_ascii_case(name));
    if is_short || policy.reads_value(name) || trim(value).is_empty() { value } else { LEFT_OUT }
}

impl Policy {
    /// Whether a decision about an upgrade can depend on this header's value, and not on its presence alone.
    fn reads_value(&self, name: &[u8]) -> bool {
        let is_field = |field: &&str| name.eq_ignore_ascii_case(field.as_bytes());
        match self.names.class(name) {
            Class::User | Class::Scopes | Class::Groups | Class::Secret => true,
            Class::UpstreamUser => name.eq_ignore_ascii_case(&self.user_header),
            // These are removed or spared, whatever they hold.
            Class::Scrubbed | Class::Spared => false,
            Class::Foreign => FIELD_NAMES.iter().any(|field| is_field(field) && !UNREAD_FIELDS.contains(field)),
        }
    }
}
