//! How long a socket may be open: its age, and the end of the identity that Envoy verified.

use super::SocketRules;
use super::ended::Ended;
use crate::admission::Admission;
use crate::metadata::{self, Value};
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};

/// How many seconds an assertion outlives its `exp`, as in Envoy's `jwt_authn`.
pub const LEEWAY_SECONDS: u64 = 60;

/// The life of one socket, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it was opened.
    pub opened: u64,
    /// The `exp` of its assertion. `None` if there is none, or if no rule needed it.
    pub expires: Option<u64>,
}

impl SocketRules {
    /// Whether the socket has to be closed now. `is_users` says whether it has a user: without one, no assertion
    /// counts.
    #[must_use]
    pub fn ended(&self, life: &Life, is_users: bool, now: u64) -> Option<Ended<'static>> {
        let is_old = self.max_age.is_some_and(|most| now.saturating_sub(life.opened) >= u64::from(most.get()));
        if is_old {
            Some(Ended::MaxAge)
        } else if self.until_assertion && is_users && has_expired(life.expires, now) {
            Some(Ended::Refused(Reason::AssertionExpired.into()))
        } else {
            None
        }
    }
}

/// Whether an assertion has ended. One without a readable `exp` has.
fn has_expired(expires: Option<u64>, now: u64) -> bool {
    expires.is_none_or(|expires| now >= expires.saturating_add(LEEWAY_SECONDS))
}

impl Policy {
    /// Whether a socket that passes as this needs the end of its assertion.
    #[must_use]
    pub fn needs_expiry(&self, admission: &Admission<'_>) -> bool {
        self.sockets.until_assertion && admission.user().is_some()
    }

    /// The `exp` of the assertion, in whole seconds since 1970: a number beside the identity, or else in the next
    /// object around it. `metadata` is the property of that name. `None` if there is no such number.
    #[must_use]
    pub fn expiry(&self, metadata: &[u8]) -> Option<u64> {
        let mut path = self.assertion.as_ref()?.in_metadata();
        loop {
            path = path.get(..path.iter().rposition(|&byte| byte == 0)?)?;
            let Some(value) = metadata::get(metadata, &[path, b"\0exp"].concat()) else { continue };
            return match value {
                Value::Number(number) if (0.0..=MOST_SECONDS).contains(&number) =>
                {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
                    Some(number as u64)
                }
                _ => None,
            };
        }
    }

    /// Whether the assertion of a new socket still counts.
    ///
    /// # Errors
    /// The refusal, if a user's assertion has ended, or has no readable end.
    pub fn check_expiry<'a>(
        &self,
        admission: &Admission<'a>,
        expires: Option<u64>,
        now: u64,
    ) -> Result<(), Refusal<'a>> {
        if self.needs_expiry(admission) && has_expired(expires, now) {
            return Err(Refusal { user: admission.user(), ..Reason::AssertionExpired.into() });
        }
        Ok(())
    }
}

/// The largest number of seconds that a double holds exactly: 2^53.
const MOST_SECONDS: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::config::compile;
    use crate::headers::serialize;
    use crate::peer::Peer;

    const MAX_AGE: Option<Ended<'_>> = Some(Ended::MaxAge);

    fn expired() -> Option<Ended<'static>> {
        Some(Ended::Refused(Reason::AssertionExpired.into()))
    }

    #[test]
    fn a_socket_ends_at_the_second_of_its_age_or_a_minute_after_its_assertion() {
        let rules = |max_age: u32, until_assertion| SocketRules {
            recheck: false,
            max_age: std::num::NonZeroU32::new(max_age),
            until_assertion,
        };
        let opened = 1_000_000;
        let life = |expires| Life { opened, expires };
        for (what, rules, expires, is_users, now, expected) in [
            ("no limit", rules(0, false), Some(opened), true, u64::MAX, None),
            ("a second before its age", rules(60, false), None, true, opened + 59, None),
            ("at its age", rules(60, false), None, true, opened + 60, MAX_AGE),
            ("at its age, without a user", rules(60, false), None, false, opened + 60, MAX_AGE),
            ("the clock was set back", rules(60, false), None, true, opened - 1_000, None),
            ("the clock was set back to the start", rules(60, true), Some(opened), true, 0, None),
            ("the largest age", rules(u32::MAX, false), None, true, opened + u64::from(u32::MAX), MAX_AGE),
            ("before exp", rules(0, true), Some(opened + 100), true, opened + 99, None),
            ("at exp", rules(0, true), Some(opened + 100), true, opened + 100, None),
            ("59 seconds after exp", rules(0, true), Some(opened + 100), true, opened + 159, None),
            ("60 seconds after exp", rules(0, true), Some(opened + 100), true, opened + 160, expired()),
            ("exp counts for users only", rules(0, true), Some(opened + 100), false, opened + 160, None),
            ("exp does not count", rules(0, false), Some(opened + 100), true, opened + 160, None),
            ("no exp", rules(0, true), None, true, opened, expired()),
            ("no exp, without a user", rules(0, true), None, false, opened, None),
            ("an exp that never comes", rules(0, true), Some(u64::MAX), true, u64::MAX - 1, None),
            ("the age comes first", rules(60, true), Some(opened), true, opened + 60, MAX_AGE),
            ("exp comes first", rules(600, true), Some(opened), true, opened + 60, expired()),
        ] {
            assert_eq!(rules.ended(&life(expires), is_users, now), expected, "{what}");
        }
    }

    fn policy(path: &[&str]) -> Policy {
        let config = serde_json::json!({
            "gateway": {
                "trustedProxies": ["10.0.0.1"],
                "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}
            },
            "filter": {"assertion": {"metadata": path, "as": "identity"}, "anonymousPaths": ["ws:/feed"]}
        });
        compile(config.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors}")).policy
    }

    /// A field of a message that is shorter than 128 bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn entry(key: &str, value: &[u8]) -> Vec<u8> {
        field(1, &[field(1, key.as_bytes()), field(2, value)].concat())
    }

    fn number(number: f64) -> Vec<u8> {
        [&[2 << 3 | 1], &number.to_le_bytes()[..]].concat()
    }

    fn structure(entries: &[u8]) -> Vec<u8> {
        field(5, entries)
    }

    #[test]
    fn exp_is_the_number_beside_the_identity() {
        // As Envoy serializes `envoy.config.core.v3.Metadata`.
        let metadata = |payload: &[u8]| {
            let payload = [entry("email", &field(3, b"nick")), payload.to_vec()].concat();
            entry("jwt", &entry("payload", &structure(&payload)))
        };
        let policy_of_payload = policy(&["jwt", "payload", "email"]);
        let expiry = |payload: &[u8]| policy_of_payload.expiry(&metadata(payload));
        let exp = |value: &[u8]| entry("exp", value);
        for (what, payload, expected) in [
            ("a number", exp(&number(1_790_000_000.0)), Some(1_790_000_000)),
            ("a fraction", exp(&number(1_790_000_000.9)), Some(1_790_000_000)),
            ("zero", exp(&number(0.0)), Some(0)),
            ("minus zero", exp(&number(-0.0)), Some(0)),
            ("the last of two", [exp(&number(1.0)), exp(&number(2.0))].concat(), Some(2)),
            ("the largest", exp(&number(MOST_SECONDS)), Some(1 << 53)),
            ("too large", exp(&number(MOST_SECONDS * 2.0)), None),
            ("infinite", exp(&number(f64::INFINITY)), None),
            ("negative", exp(&number(-1.0)), None),
            ("not a number", exp(&number(f64::NAN)), None),
            ("text", exp(&field(3, b"1790000000")), None),
            ("a boolean", exp(&[4 << 3, 1]), None),
            ("null", exp(&[1 << 3, 0]), None),
            ("an object", exp(&structure(&exp(&number(1.0)))), None),
            ("missing", Vec::new(), None),
            ("another claim", entry("iat", &number(1.0)), None),
            ("deeper", entry("x", &structure(&exp(&number(1.0)))), None),
        ] {
            assert_eq!(expiry(&payload), expected, "{what}");
        }
        let whole = metadata(&exp(&number(1.0)));
        for end in 0..whole.len() {
            assert_eq!(policy_of_payload.expiry(whole.get(..end).unwrap()), None, "cut at {end}");
        }
        assert_eq!(policy(&["other", "payload", "email"]).expiry(&whole), None);
        // A path of two names: the claims are not inside an object.
        let flat = entry("jwt", &[entry("email", &field(3, b"nick")), exp(&number(7.0))].concat());
        assert_eq!(policy(&["jwt", "email"]).expiry(&flat), Some(7));
        assert_eq!(policy(&["jwt", "email"]).expiry(&whole), None);
        // The identity is deeper than the claims.
        assert_eq!(policy_of_payload.expiry(&flat), Some(7));
        let nested = policy(&["jwt", "payload", "realm", "email"]);
        assert_eq!(nested.expiry(&metadata(&exp(&number(7.0)))), Some(7));
        let near = entry("realm", &structure(&exp(&field(3, b"7"))));
        assert_eq!(nested.expiry(&metadata(&[near, exp(&number(7.0))].concat())), None, "the nearest counts");
    }

    #[test]
    fn only_a_users_socket_needs_exp_and_only_if_the_rules_do() {
        let mut policy = policy(&["jwt", "email"]);
        let maps = ["/", "/feed"]
            .map(|path| serialize(&[(":path", path), ("upgrade", "websocket"), ("x-forwarded-for", "203.0.113.7")]));
        let requests = |policy: &Policy| {
            let request = |map| {
                let mut request = policy.read(Peer::from_connection(b"10.0.0.1:1"), map).unwrap();
                request.assertion = Some(b"nick");
                request
            };
            [request(&maps[0]), request(&maps[1])]
        };
        let needs =
            |policy: &Policy| requests(policy).map(|request| policy.needs_expiry(&policy.decide(&request).unwrap()));
        assert_eq!(needs(&policy), [false, false]);
        policy.sockets.until_assertion = true;
        assert_eq!(needs(&policy), [true, false]);
        let [request, anonymous] = requests(&policy);
        let (admission, anonymous) = (policy.decide(&request).unwrap(), policy.decide(&anonymous).unwrap());
        assert_eq!(policy.check_expiry(&admission, Some(100), 159), Ok(()));
        for (expires, now) in [(Some(100), 160), (None, 0)] {
            assert_eq!(policy.check_expiry(&anonymous, expires, now), Ok(()));
            let refusal = policy.check_expiry(&admission, expires, now).unwrap_err();
            assert_eq!((refusal.reason, refusal.user), (Reason::AssertionExpired, Some(&b"nick"[..])));
        }
    }
}
