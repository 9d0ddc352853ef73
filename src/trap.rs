//! A trap on demand, so that a test can see what Envoy makes of one. No release has it: the feature is off, and a
//! test looks for the header's name in the module that ships.
#![forbid(unsafe_code)]

use crate::host;

/// Whoever sends this header brings the VM down.
const HEADER: &[u8] = b"x-trap-for-tests";

/// Traps, where a request asks for it.
#[allow(clippy::panic, reason = "that is what it is for")]
pub(crate) fn if_asked() {
    let map = host::request_headers().unwrap_or_default();
    if map.windows(HEADER.len()).any(|bytes| bytes == HEADER) {
        panic!("a trap, as the test asked for");
    }
}
