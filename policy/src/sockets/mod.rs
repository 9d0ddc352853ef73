//! Open upgrades, WebSockets above all: how long they may stay (contract, section 11).

mod ended;
mod handshake;
mod life;
mod standing;

use std::num::NonZeroU32;

pub use ended::Ended;
pub use handshake::{Handshake, MOST_BYTES};
pub use life::{LEEWAY_SECONDS, Life};
pub use standing::{Reach, Standing};

/// How long an open socket may stay (`filter.openSockets`, `socketMaxAge`, `socketsUntil`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketRules {
    /// Whether open sockets are decided again after a change of policy.
    pub recheck: bool,
    /// The most seconds that a socket may be open. `None` if there is no limit.
    pub max_age: Option<NonZeroU32>,
    /// Whether a socket ends with the verified identity: when its `exp` has passed.
    pub until_assertion: bool,
}

impl Default for SocketRules {
    fn default() -> Self {
        Self { recheck: true, max_age: None, until_assertion: false }
    }
}
