//! The sequence of policies, and which of them may decide a request.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use crate::kinds::EDGE;

/// Policies alternate between two sides. Alice is allowed by A, Bob by B, Carol by both, Dave by neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const fn of(version: u64) -> Self {
        if version.is_multiple_of(2) { Self::A } else { Self::B }
    }
}

/// The prefix of the header into which a policy stamps the user. Its suffix is the version that decided.
pub const STAMP: &str = "x-soak-policy-";

/// The header into which this version stamps the user.
pub fn stamp(version: u64) -> String {
    format!("{STAMP}{version:06}")
}

/// A good policy.
pub fn policy(version: u64) -> Value {
    let (user, origin, mut scopes) = match Side::of(version) {
        Side::A => ("alice@example.com", "https://a.example", json!({})),
        Side::B => (
            "bob@example.com",
            "https://b.example",
            json!({"default": ["operator.read"], "pluginDefault": ["operator.read"]}),
        ),
    };
    // Otherwise B would narrow the sockets that A let in.
    scopes["ownSockets"] = json!(["/live"]);
    json!({
        "gateway": {
            "trustedProxies": ["127.0.0.1"],
            "auth": {
                "mode": "trusted-proxy",
                "trustedProxy": {
                    "userHeader": "x-forwarded-user",
                    "requiredHeaders": [EDGE],
                    "allowUsers": [user, "carol@example.com"],
                    "allowLoopback": true,
                },
            },
            "controlUi": {"allowedOrigins": [origin]},
        },
        "filter": {"upstreamUserHeader": stamp(version), "scopes": scopes},
    })
}

/// A policy that the filter must reject. If it were accepted, everybody would be admitted.
pub fn broken(count: u64) -> String {
    let mut policy = policy(999_999);
    policy["gateway"]["auth"]["trustedProxy"]["allowUsers"] = json!([]);
    match count % 3 {
        0 => policy["gateway"]["trustedProxies"] = json!(["127.0.0.1/8"]),
        1 => policy["filter"]["surprise"] = json!(true),
        _ => return policy.to_string().trim_end_matches('}').to_owned(),
    }
    policy.to_string()
}

/// The Envoy that a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// The first one.
    First,
    /// Opened during the handover: either of the two.
    Between,
    /// The second one.
    Second,
}

/// The policies that were written, and those that Envoy accepted.
#[derive(Debug)]
pub struct Ledger {
    written: AtomicU64,
    acknowledged: AtomicU64,
    /// What the first Envoy had acknowledged when it closed its administration interface.
    frozen: AtomicU64,
    era: AtomicU8,
    /// The moment from which the first Envoy may be gone.
    parent_ends: Mutex<Option<Instant>>,
}

impl Ledger {
    /// The policy that Envoy starts with.
    pub const FIRST: u64 = 2;

    pub fn new() -> Self {
        Self {
            written: AtomicU64::new(Self::FIRST),
            acknowledged: AtomicU64::new(Self::FIRST),
            frozen: AtomicU64::new(0),
            era: AtomicU8::new(0),
            parent_ends: Mutex::new(None),
        }
    }

    /// The newest policy that Envoy can have read.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Must be called before the file is written.
    pub fn write(&self, version: u64) {
        self.written.store(version, Ordering::SeqCst);
    }

    pub fn acknowledge(&self, version: u64) {
        self.acknowledged.store(version, Ordering::SeqCst);
    }

    pub fn era(&self) -> Era {
        match self.era.load(Ordering::SeqCst) {
            0 => Era::First,
            1 => Era::Between,
            _ => Era::Second,
        }
    }

    /// Called before the second Envoy starts; the first ends no earlier than `parent_ends`.
    pub fn restart(&self, parent_ends: Instant) {
        *self.parent_ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(parent_ends);
        self.frozen.store(self.acknowledged.load(Ordering::SeqCst), Ordering::SeqCst);
        self.era.store(1, Ordering::SeqCst);
    }

    /// Called when every new connection leads to the second Envoy.
    pub fn restarted(&self) {
        self.era.store(2, Ordering::SeqCst);
    }

    /// The newest policy that the Envoy behind a connection is known to have accepted.
    pub fn acknowledged(&self, connection: Era) -> u64 {
        if connection < Era::Second && self.era() > Era::First {
            self.frozen.load(Ordering::SeqCst)
        } else {
            self.acknowledged.load(Ordering::SeqCst)
        }
    }

    /// Whether the Envoy behind a connection may have ended by now.
    pub fn may_be_gone(&self, connection: Era) -> bool {
        let ends = *self.parent_ends.lock().unwrap_or_else(PoisonError::into_inner);
        connection < Era::Second && ends.is_some_and(|ends| Instant::now() >= ends)
    }
}

/// The oldest policy that may still decide requests on a connection.
///
/// Envoy acknowledges a policy on its main thread, after handing it to its workers; each worker applies it between
/// two iterations of its event loop. A connection belongs to one worker. Once two requests in sequence were sent and
/// answered after the acknowledgement, that worker has completed a whole iteration. No waiting time has to be
/// guessed.
#[derive(Debug)]
pub struct Floor([u64; 2]);

impl Floor {
    pub fn new(ledger: &Ledger, connection: Era) -> Self {
        // Nothing was answered on this connection yet. The previous policy was acknowledged a second ago.
        Self([ledger.acknowledged(connection).saturating_sub(1); 2])
    }

    /// Must be called before each request or round of requests; returns the oldest policy that may decide it.
    pub fn next(&mut self, ledger: &Ledger, connection: Era) -> u64 {
        let [oldest, newer] = self.0;
        self.0 = [newer, ledger.acknowledged(connection).max(newer)];
        oldest
    }
}
