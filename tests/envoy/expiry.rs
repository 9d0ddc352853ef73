//! The end of an open socket with the identity that Envoy's `jwt_authn` verified (`socketsUntil`), or at its age.

use std::time::UNIX_EPOCH;

use harness::echo::Echo;
use harness::envoy::{Envoy, Source, eventually};
use harness::jwt::{self, Key};
use harness::parts;
use harness::tungstenite::{Message, WebSocket};
use harness::wire;
use serde_json::{Value, json};

use crate::websocket::{is_open, open};

const EXPIRED: &str = "trusted_proxy_assertion_expired";
const MAX_AGE: &str = "trusted_proxy_socket_max_age";

type Socket = WebSocket<std::net::TcpStream>;

fn policy(filter: &Value) -> Value {
    let mut policy = json!({
        "gateway": {"trustedProxies": [], "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}},
        "filter": {
            "edge": true,
            "attribution": "off",
            "assertion": {"metadata": ["envoy.filters.http.jwt_authn", "payload", "email"], "as": "identity"},
        },
    });
    harness::merge::merge(&mut policy["filter"], filter.clone());
    policy
}

struct Place {
    envoy: Envoy,
    key: Key,
    _echo: Echo,
}

impl Place {
    /// A listener for each policy.
    fn new(policies: &[(&str, Value)]) -> Self {
        let echo = Echo::start().unwrap();
        let key = Key::es256("provider");
        let listeners = policies.iter().map(|(name, filter)| {
            let verify = json!({"name": "envoy.filters.http.jwt_authn", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": {"provider": {
                    "issuer": "https://id.example.com",
                    "local_jwks": {"inline_string": jwt::jwks([&key]).to_string()},
                    "payload_in_metadata": "payload",
                }},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "provider"}}],
            }});
            // Policies of one Envoy need different names.
            let mut filter = parts::filter(&policy(filter));
            filter["typed_config"]["config"]["name"] = json!(name);
            let manager = parts::manager(name, vec![verify, filter], &json!({"use_remote_address": true}));
            parts::listener(name, vec![manager], json!({}))
        });
        let clusters = vec![parts::cluster(parts::UPSTREAM, echo.address())];
        let envoy = Envoy::start(&parts::bootstrap(listeners.collect(), clusters).to_string());
        Self { envoy, key, _echo: echo }
    }

    /// A token that ends this many seconds from now, or never.
    fn token(&self, ends_in: Option<i64>) -> String {
        let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let mut claims = json!({"iss": "https://id.example.com", "email": "nick@example.com"});
        if let Some(seconds) = ends_in {
            claims["exp"] = (now + seconds).into();
        }
        self.key.sign(&claims)
    }

    /// The status of a plain request.
    fn ask(&self, listener: &str, token: &str) -> u16 {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        wire::get(self.envoy.address(listener), "/", &headers).unwrap().status
    }

    /// A socket, or the reason why it is refused.
    fn open(&self, listener: &str, token: &str) -> Result<Socket, String> {
        let authorization = format!("Bearer {token}");
        let stream = wire::open(self.envoy.address(listener)).unwrap();
        let mut socket = open(stream, &[("authorization", &authorization)]);
        match socket.read().unwrap() {
            Message::Text(_) => Ok(socket),
            Message::Close(Some(frame)) => Err(frame.reason.rsplit(": ").next().unwrap().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    fn count(&self, result: &str, reason: &str) -> u64 {
        let name = format!("wasmcustom.openclaw_trusted_proxy.sockets.result={result}.reason={reason}");
        self.envoy.process().stat(&name)
    }
}

#[test]
fn a_socket_ends_a_minute_after_its_own_token_and_at_its_age() {
    let until = json!({"socketsUntil": "assertion"});
    let place = Place::new(&[
        ("until", until),
        ("free", json!({})),
        ("report", json!({"mode": "report", "socketsUntil": "assertion", "socketMaxAge": "2s"})),
        ("age", json!({"socketMaxAge": "2s"})),
    ]);
    let endless = place.token(None);
    assert_eq!(place.open("until", &endless).unwrap_err(), EXPIRED);
    assert!(is_open(&mut place.open("free", &endless).unwrap()));
    for listener in ["until", "free"] {
        assert_eq!(place.ask(listener, &endless), 200, "{listener}: a plain request");
    }

    // Both jwt_authn and the filter accept a token for 60 seconds more.
    let ending = place.token(Some(-40));
    let [mut closes, mut stays] = ["until", "free"].map(|listener| place.open(listener, &ending).unwrap());
    let mut reported = place.open("report", &ending).unwrap();
    let mut renewed = place.open("until", &place.token(Some(3600))).unwrap();
    assert!([&mut closes, &mut stays, &mut reported, &mut renewed].into_iter().all(is_open));
    let mut old = place.open("age", &ending).unwrap();

    eventually("the end of its token", || !is_open(&mut closes));
    assert_eq!(place.count("closed", EXPIRED), 1);
    assert!(is_open(&mut stays) && is_open(&mut renewed));
    eventually("the end of its age", || !is_open(&mut old));
    assert_eq!(place.count("closed", MAX_AGE), 1);
    // In report mode it is counted once, for what comes first.
    eventually("a count", || place.count("would_close", MAX_AGE) == 1);
    assert!(is_open(&mut reported));
    assert_eq!((place.count("closed", EXPIRED), place.count("closed", MAX_AGE)), (1, 1));
    let line = place.envoy.line(Source::Log, |line| line.contains(&format!("closed a socket reason={EXPIRED}")));
    assert!(line.contains("user=\"nick@example.com\""), "{line}");
}
