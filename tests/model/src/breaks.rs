//! One configuration that asks every rule, one request that it admits, and for each rule the changes that break it.

use serde_json::{Value, json};

use crate::Request;

const USER: &str = "nick@example.com";
/// The secret that the proxy sends in `x-proof`, and its SHA-256 digest.
const PROOF: &str = "s3cret";
const PROOF_DIGEST: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";

/// A change of the request of [`admitted`].
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// The connection is from this peer.
    Peer(&'static str),
    /// The connection was accepted on the peer's own address.
    SameHost,
    /// The peer has no certificate.
    NoCertificate,
    /// Envoy verified no identity.
    NoIdentity,
    /// Envoy verified this identity, if it verified one.
    Identity(&'static str),
    /// No claim is true.
    NoClaim,
    /// The proxy names this user, and so does the identity that Envoy verified, unless it was someone else's.
    User(&'static str),
    /// Every copy of the header appears twice.
    Twice(&'static str),
    /// The header is missing.
    Remove(&'static str),
    /// Every copy of the header has this value.
    Set(&'static str, &'static str),
}

impl Change {
    /// Changes the headers only.
    pub fn headers<N, V>(self, headers: &mut Vec<(N, V)>)
    where
        N: AsRef<[u8]> + Clone,
        V: From<&'static str> + Clone,
    {
        match self {
            Self::Twice(name) => {
                let copies: Vec<_> =
                    headers.iter().filter(|(other, _)| other.as_ref() == name.as_bytes()).cloned().collect();
                headers.extend(copies);
            }
            Self::Remove(name) => headers.retain(|(other, _)| other.as_ref() != name.as_bytes()),
            Self::Set(name, value) => headers
                .iter_mut()
                .filter(|(other, _)| other.as_ref() == name.as_bytes())
                .for_each(|(_, old)| *old = value.into()),
            Self::User(name) => Self::Set("x-forwarded-user", name).headers(headers),
            Self::Peer(_)
            | Self::SameHost
            | Self::NoCertificate
            | Self::NoIdentity
            | Self::Identity(_)
            | Self::NoClaim => {}
        }
    }

    /// Changes the request.
    pub fn apply(self, request: &mut Request) {
        match self {
            Self::Peer(peer) => request.peer = Some(peer.into()),
            Self::SameHost => request.destination.clone_from(&request.peer),
            Self::NoCertificate => request.uri_san = None,
            Self::NoIdentity => request.assertion = None,
            Self::Identity(name) => request.assertion.iter_mut().for_each(|old| *old = name.into()),
            Self::NoClaim => request.true_claims.clear(),
            Self::User(name) => {
                self.headers(&mut request.headers);
                request.assertion.iter_mut().filter(|old| *old == USER.as_bytes()).for_each(|old| *old = name.into());
            }
            Self::Twice(_) | Self::Remove(_) | Self::Set(..) => self.headers(&mut request.headers),
        }
    }
}

/// A way to break one rule, but none before it. The rules after it may break too.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    /// The number of the rule.
    pub rule: &'static str,
    /// The code with which the request is then refused.
    pub code: &'static str,
    /// What breaks it.
    pub changes: &'static [Change],
}

impl Break {
    /// Changes the request.
    pub fn apply(&self, request: &mut Request) {
        self.changes.iter().for_each(|change| change.apply(request));
    }

    /// The peer that breaks the rule, if it is the peer's address.
    #[must_use]
    pub fn peer(&self) -> Option<&'static str> {
        self.changes.iter().find_map(|change| if let Change::Peer(peer) = change { Some(*peer) } else { None })
    }
}

const fn at(rule: &'static str, code: &'static str, changes: &'static [Change]) -> Break {
    Break { rule, code, changes }
}

/// At least one for each rule, in the order of the rules.
pub const BREAKS: [Break; 18] = [
    at("1", "trusted_proxy_peer_unknown", &[Change::Peer("/run/envoy.sock")]),
    at("1", "trusted_proxy_peer_unverified", &[Change::Peer("10.0.0.1:0")]),
    at("2", "trusted_proxy_untrusted_source", &[Change::Peer("192.0.2.1:40000")]),
    at("3", "trusted_proxy_loopback_source", &[Change::Peer("127.0.0.1:40000")]),
    at("3b", "trusted_proxy_local_interface_source", &[Change::SameHost]),
    at("4", "trusted_proxy_peer_certificate", &[Change::NoCertificate]),
    at("5", "proxy_attribution_required", &[Change::Remove("x-forwarded-for")]),
    at("6", "trusted_proxy_missing_header_x-forwarded-proto", &[Change::Set("x-forwarded-proto", " ")]),
    at("6", "trusted_proxy_missing_header_X-Forwarded-Host", &[Change::Remove("x-forwarded-host")]),
    at("6b", "trusted_proxy_header_value_x-proof", &[Change::Set("x-proof", "guess")]),
    at("7", "trusted_proxy_user_missing", &[Change::Remove("x-forwarded-user")]),
    at("7b", "trusted_proxy_user_repeated", &[Change::Twice("x-forwarded-user")]),
    at("7b", "trusted_proxy_groups_repeated", &[Change::Twice("x-forwarded-groups")]),
    at("8", "trusted_proxy_assertion_missing", &[Change::NoIdentity]),
    at("8", "trusted_proxy_assertion_claim", &[Change::NoClaim]),
    at("8", "trusted_proxy_assertion_mismatch", &[Change::Identity("mary@example.com")]),
    at("9", "trusted_proxy_user_not_allowed", &[Change::User("eve")]),
    at("10", "trusted_proxy_origin_not_allowed", &[Change::Set("origin", "https://evil.example")]),
];

/// The way to be refused with this code.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn of(code: &str) -> Break {
    BREAKS.into_iter().find(|broken| broken.code == code).unwrap_or_else(|| panic!("nothing breaks with {code}"))
}

/// A configuration that asks every rule, with further settings of the filter.
#[must_use]
pub fn configuration(more: Value) -> Value {
    let mut policy = json!({
        "gateway": {
            "trustedProxies": ["10.0.0.0/8", "127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user",
                "requiredHeaders": ["x-forwarded-proto", "X-Forwarded-Host"],
                "allowUsers": [USER]
            }},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]}
        },
        "filter": {
            "rejectSameHost": true,
            "trustedPeers": ["spiffe://cluster.local/ns/a/sa/proxy"],
            "requiredValues": {"x-proof": {"sha256": [PROOF_DIGEST]}},
            "assertion": {"metadata": ["jwt", "email"], "as": "match", "requireTrue": [["jwt", "email_verified"]]},
            "scopes": {"users": {"*": []}, "groups": {}, "groupsHeader": "x-forwarded-groups"}
        }
    });
    if let (Some(filter), Value::Object(more)) = (policy["filter"].as_object_mut(), more) {
        filter.extend(more);
    }
    policy
}

/// A WebSocket handshake that the configuration of [`configuration`] admits.
#[must_use]
pub fn admitted() -> Request {
    let headers = [
        (":method", "GET"),
        (":path", "/tools/invoke"),
        (":authority", "claw.example.com"),
        (":scheme", "https"),
        ("x-forwarded-for", "198.51.100.7, 10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "claw.example.com"),
        ("x-proof", PROOF),
        ("x-forwarded-user", USER),
        ("x-forwarded-groups", "a"),
        ("origin", "https://claw.example.com"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    Request {
        peer: Some("10.0.0.1:40000".into()),
        destination: Some("10.0.0.9:443".into()),
        assertion: Some(USER.into()),
        mtls: true,
        uri_san: Some("spiffe://cluster.local/ns/a/sa/proxy".into()),
        true_claims: vec!["email_verified".into()],
        filter_states: Vec::new(),
        headers: headers.map(|(name, value)| (name.into(), value.into())).to_vec(),
    }
}
