//! A trap on demand, so that a test can see how Envoy handles one. It is not in releases: the feature is off, and a
//! test checks that the header's name is not in the module.
#![forbid(unsafe_code)]

use crate::host;

/// A request with this header crashes the VM.
const HEADER: &[u8] = b"x-trap-for-tests";

/// Traps, if the request has the header.
#[allow(clippy::panic, reason = "this is its purpose")]
pub(crate) fn if_asked() {
    let map = host::request_headers().unwrap_or_default();
    if map.windows(HEADER.len()).any(|bytes| bytes == HEADER) {
        panic!("a trap, as the test asked for");
    }
}
