//! Signed assertions: the user must match what Envoy's `jwt_authn` verified. The configuration and the policies are
//! those of docs/assertions.md: the assertion headers of Pomerium and Cloudflare Access, and an OIDC provider's
//! token. The keys and tokens are generated here.

use harness::document::{blocks, page};
use harness::echo::{self, Echo};
use harness::envoy::{Envoy, Source};
use harness::jwt::{self, Key};
use harness::manifests;
use harness::parts;
use harness::wire::{self, Connection, values};
use serde_json::{Value, json};

/// A provider of assertions, as a section of docs/assertions.md describes it.
struct Provider {
    name: String,
    key: Key,
    /// The HTTP filter that verifies assertions, and the policy.
    jwt_authn: Value,
    policy: Value,
    issuer: String,
    audience: String,
    /// The header of the assertion, and the prefix before the token.
    header: (String, String),
    /// The header in which the proxy also names the user.
    user_header: String,
    /// Whether Envoy is the edge, without a proxy in front of it.
    edge: bool,
}

/// The providers of the page, each with a key of the type that it signs with.
fn providers() -> Vec<Provider> {
    let [filters, policies] = ["yaml", "json"].map(|language| blocks(&page("docs/assertions.md"), language));
    assert_eq!((filters.len(), policies.len()), (3, 3), "docs/assertions.md shows three providers");
    filters.iter().zip(&policies).map(|(filter, policy)| provider(filter, policy)).collect()
}

fn provider(filter: &str, policy: &str) -> Provider {
    let mut jwt_authn = manifests::parse(filter).unwrap().remove(0);
    let policy: Value = serde_json::from_str(policy).unwrap();
    let all = jwt_authn["typed_config"]["providers"].as_object_mut().unwrap();
    assert_eq!(all.len(), 1);
    let (name, one) = all.iter_mut().next().unwrap();
    let name = name.clone();
    let key = if name == "pomerium" { Key::es256(&name) } else { Key::rs256(&name) };
    // The keys are given inline.
    one.as_object_mut().unwrap().remove("remote_jwks").expect("keys that Envoy fetches");
    one["local_jwks"] = json!({"inline_string": jwt::jwks([&key]).to_string()});
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let header = &one["from_headers"][0];
    Provider {
        issuer: text(&one["issuer"]),
        audience: text(&one["audiences"][0]),
        header: (text(&header["name"]), text(&header["value_prefix"])),
        user_header: text(&policy["gateway"]["auth"]["trustedProxy"]["userHeader"]),
        edge: policy["filter"]["edge"] == true,
        name,
        key,
        jwt_authn,
        policy,
    }
}

impl Provider {
    /// The claims that this provider signs for a user.
    fn claims(&self, user: &str) -> Value {
        jwt::for_an_hour(json!({"iss": self.issuer, "aud": [self.audience], "sub": "7335d417", "email": user}))
    }

    fn policy(&self, use_as: &str) -> Value {
        let mut policy = self.policy.clone();
        policy["filter"]["assertion"]["as"] = json!(use_as);
        policy
    }
}

/// The place of the filter relative to `jwt_authn` in a listener.
const PLACES: [&str; 3] = ["match", "identity", "before"];

fn start(providers: &[Provider], echo: &Echo) -> Envoy {
    let mut listeners = Vec::new();
    for provider in providers {
        for place in PLACES {
            let use_as = if place == "before" { "identity" } else { place };
            let mut filters = vec![provider.jwt_authn.clone(), parts::filter(&provider.policy(use_as))];
            if place == "before" {
                filters.reverse();
            }
            let name = format!("{} {place}", provider.name);
            let manager =
                parts::manager(&name, filters, &json!({"use_remote_address": true, "skip_xff_append": !provider.edge}));
            let mut listener = parts::listener(&name, vec![manager], json!({}));
            listener["listener_filters"] = json!([parts::proxy_lines()]);
            listeners.push(listener);
        }
    }
    let clusters = vec![parts::cluster(parts::UPSTREAM, echo.address())];
    Envoy::start(&parts::bootstrap(listeners, clusters).to_string())
}

/// The result of a request: the user that the upstream got, or the reason of the refusal.
type Outcome = Result<String, String>;

struct Asked<'a> {
    provider: &'a Provider,
    headers: Vec<(&'a str, String)>,
}

impl Asked<'_> {
    fn connect(&self, envoy: &Envoy, place: &str) -> Connection {
        let mut connection =
            Connection::open(envoy.address(&format!("{} {place}", self.provider.name))).expect("Envoy listens");
        // The trusted proxy, or a browser if there is no proxy.
        connection.send(&wire::proxy_line(if self.provider.edge { "198.51.100.9" } else { "10.0.0.1" })).unwrap();
        connection
    }

    fn headers(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let fixed = [("host", "claw.example.com"), ("x-forwarded-for", "198.51.100.9")];
        let all = fixed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        all.chain(self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
    }

    /// As a plain request.
    fn plainly(&self, envoy: &Envoy, place: &str) -> Outcome {
        let mut connection = self.connect(envoy, place);
        connection.send(&wire::request("GET", "/v1/models", &self.headers(&[]))).unwrap();
        let response = connection.response("GET").unwrap();
        match response.status {
            200 => Ok(user_of(self.provider, &echo::received(&response.json()))),
            _ => Err(response.json()["error"]["reason"].as_str().unwrap_or("none").to_owned()),
        }
    }

    /// As a WebSocket.
    fn by_websocket(&self, envoy: &Envoy, place: &str) -> Outcome {
        let upgrade = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut connection = self.connect(envoy, place);
        connection.send(&wire::request("GET", "/", &self.headers(&upgrade))).unwrap();
        let response = connection.response("GET").unwrap();
        assert_eq!(response.status, 101, "{response:?}");
        match wire::first_message(connection) {
            wire::First::Text(text) => {
                Ok(user_of(self.provider, &echo::received(&serde_json::from_str(&text).unwrap())))
            }
            wire::First::Close(code, reason) => {
                assert_eq!(code, 1008, "{reason}");
                Err(reason.rsplit(": ").next().unwrap().to_owned())
            }
        }
    }
}

/// The user that the upstream sees, in the header that only the filter writes.
fn user_of(provider: &Provider, received: &wire::Headers) -> String {
    const OWN: &str = "x-openclaw-user";
    let users = values(received, OWN);
    assert_eq!(users.len(), 1, "one user header: {received:?}");
    assert!(provider.user_header == OWN || values(received, &provider.user_header).is_empty(), "{received:?}");
    users.concat()
}

const NICK: &str = "nick@example.com";
const MALLORY: &str = "mallory@example.com";

#[test]
fn only_whom_the_assertion_names_comes_in() {
    const MISSING: Result<&str, &str> = Err("trusted_proxy_assertion_missing");
    const MISMATCH: Result<&str, &str> = Err("trusted_proxy_assertion_mismatch");
    let providers = providers();
    let echo = Echo::start().unwrap();
    let envoy = start(&providers, &echo);
    let mut admitted = 0;
    let mut count = 0;
    for provider in &providers {
        let key = &provider.key;
        let claims = provider.claims(NICK);
        let with = |name: &str, value: Value| {
            let mut claims = provider.claims(NICK);
            claims[name] = value;
            claims
        };
        let without = |name: &str| {
            let mut claims = provider.claims(NICK);
            claims.as_object_mut().unwrap().remove(name).expect("a claim");
            claims
        };
        let other = match provider.name.as_str() {
            "pomerium" => Key::es256(&provider.name),
            _ => Key::rs256(&provider.name),
        };
        let good = key.sign(&claims);
        // The user header, the token, and the results with "match" and with "identity".
        let cases: Vec<(&str, Option<&str>, Option<String>, Result<&str, &str>, Result<&str, &str>)> = vec![
            ("as it should be", Some(NICK), Some(good.clone()), Ok(NICK), Ok(NICK)),
            ("a different user in the header", Some(MALLORY), Some(good.clone()), MISMATCH, Ok(NICK)),
            ("another case in the header", Some("Nick@example.com"), Some(good.clone()), MISMATCH, Ok(NICK)),
            ("no user header", None, Some(good.clone()), Err("trusted_proxy_user_missing"), Ok(NICK)),
            ("a token for another user", Some(NICK), Some(key.sign(&provider.claims(MALLORY))), MISMATCH, Ok(MALLORY)),
            ("no token", Some(NICK), None, MISSING, MISSING),
            ("an empty token", Some(NICK), Some(String::new()), MISSING, MISSING),
            ("not a token", Some(NICK), Some("nick@example.com".to_owned()), MISSING, MISSING),
            ("another key of the same name", Some(NICK), Some(other.sign(&claims)), MISSING, MISSING),
            ("alg none", Some(NICK), Some(key.without_signature(&claims)), MISSING, MISSING),
            ("HS256 with the public key", Some(NICK), Some(key.signed_with_public_key(&claims)), MISSING, MISSING),
            (
                "claims changed behind the signature",
                Some(NICK),
                Some(jwt::with_claims(&key.sign(&provider.claims(MALLORY)), &claims)),
                MISSING,
                MISSING,
            ),
            ("expired", Some(NICK), Some(key.sign(&with("exp", json!(1_700_000_000)))), MISSING, MISSING),
            ("not good yet", Some(NICK), Some(key.sign(&with("nbf", json!(4_000_000_000_u64)))), MISSING, MISSING),
            ("another audience", Some(NICK), Some(key.sign(&with("aud", json!(["billing"])))), MISSING, MISSING),
            ("no audience", Some(NICK), Some(key.sign(&without("aud"))), MISSING, MISSING),
            (
                "another issuer",
                Some(NICK),
                Some(key.sign(&with("iss", json!("https://evil.example.net")))),
                MISSING,
                MISSING,
            ),
            ("the claim is missing", Some(NICK), Some(key.sign(&without("email"))), MISSING, MISSING),
            ("the claim is blank", Some(NICK), Some(key.sign(&with("email", json!("  ")))), MISSING, MISSING),
            ("the claim is null", Some(NICK), Some(key.sign(&with("email", json!(null)))), MISSING, MISSING),
            ("the claim is a number", Some(NICK), Some(key.sign(&with("email", json!(1234)))), MISSING, MISSING),
            ("the claim is a fraction", Some(NICK), Some(key.sign(&with("email", json!(0.1)))), MISSING, MISSING),
            ("the claim is true", Some(NICK), Some(key.sign(&with("email", json!(true)))), MISSING, MISSING),
            ("the claim is a list", Some(NICK), Some(key.sign(&with("email", json!([NICK])))), MISSING, MISSING),
            (
                "the claim is an object",
                Some(NICK),
                Some(key.sign(&with("email", json!({NICK: NICK})))),
                MISSING,
                MISSING,
            ),
            (
                "the claim has a line break",
                Some(NICK),
                Some(key.sign(&with("email", json!(format!("{NICK}\r\nx-openclaw-scopes: operator.admin"))))),
                MISSING,
                MISSING,
            ),
        ];
        for (what, user, token, matched, identity) in &cases {
            let (header, prefix) = &provider.header;
            let mut headers: Vec<(&str, String)> = Vec::new();
            headers.extend(user.map(|user| (provider.user_header.as_str(), user.to_owned())));
            headers.extend(token.as_ref().map(|token| (header.as_str(), format!("{prefix}{token}"))));
            let asked = Asked { provider, headers };
            // Before jwt_authn nothing is verified yet, so nobody is admitted.
            for (place, expected) in [("match", matched), ("identity", identity), ("before", &MISSING)] {
                let expected = expected.map(str::to_owned).map_err(str::to_owned);
                let name = format!("{}, {place}, {what}", provider.name);
                assert_eq!(asked.plainly(&envoy, place), expected, "{name}");
                assert_eq!(asked.by_websocket(&envoy, place), expected, "{name}, WebSocket");
                admitted += 2 * usize::from(expected.is_ok());
                count += 2;
            }
        }
    }
    assert_eq!(echo.requests(), admitted, "what is refused must not reach the upstream");
    assert!(count >= 400 && admitted > 20, "{admitted} of {count}");
    envoy.line(Source::Log, |line| line.contains("trusted_proxy_assertion_mismatch"));
}

#[test]
fn a_cookie_does_as_well_and_a_second_token_never_lends_its_name() {
    let providers = providers();
    let echo = Echo::start().unwrap();
    let envoy = start(&providers, &echo);
    for provider in &providers {
        let (header, prefix) = (provider.header.0.as_str(), &provider.header.1);
        let good = |user: &str| provider.key.sign(&provider.claims(user));
        let forged = Key::es256(&provider.name).sign(&provider.claims(NICK));
        let in_header = |token: &str| (header, format!("{prefix}{token}"));
        let in_cookie = |token: &str| ("cookie", format!("IdToken={token}"));
        let user = (provider.user_header.as_str(), NICK.to_owned());
        let ask = |headers: Vec<(&str, String)>| {
            let asked = Asked { provider, headers };
            let outcome = asked.plainly(&envoy, "identity");
            assert_eq!(asked.by_websocket(&envoy, "identity"), outcome, "{}", provider.name);
            outcome
        };
        if provider.edge {
            assert_eq!(ask(vec![in_cookie(&good(NICK))]), Ok(NICK.to_owned()), "{}", provider.name);
        }
        assert!(ask(vec![in_cookie(&forged)]).is_err(), "{}", provider.name);
        // A user with a valid token must never become Nick with an invalid one.
        for headers in [
            vec![in_header(&good(MALLORY)), in_cookie(&forged), user.clone()],
            vec![in_cookie(&good(MALLORY)), in_header(&forged), user.clone()],
            vec![in_header(&forged), in_header(&good(MALLORY)), user.clone()],
            vec![in_header(&good(MALLORY)), in_header(&forged), user.clone()],
        ] {
            let outcome = ask(headers);
            assert_ne!(outcome, Ok(NICK.to_owned()), "{}", provider.name);
        }
    }
}

#[test]
fn no_header_writes_the_metadata_that_the_filter_reads() {
    let providers = providers();
    let echo = Echo::start().unwrap();
    let envoy = start(&providers, &echo);
    let payload = json!({"email": NICK}).to_string();
    for provider in &providers {
        for name in [
            "envoy.filters.http.jwt_authn",
            "envoy.filters.http.jwt_authn.payload.email",
            "payload",
            "email",
            "x-jwt-payload",
            "x-envoy-jwt-payload",
            "x-envoy-dynamic-metadata",
            "x-envoy-filter-metadata",
            "metadata",
        ] {
            for value in [NICK, &payload] {
                let headers = vec![(provider.user_header.as_str(), NICK.to_owned()), (name, value.to_owned())];
                for place in PLACES {
                    let asked = Asked { provider, headers: headers.clone() };
                    let missing = Err("trusted_proxy_assertion_missing".to_owned());
                    assert_eq!(asked.plainly(&envoy, place), missing, "{} {place}: {name}: {value}", provider.name);
                }
            }
        }
    }
    assert_eq!(echo.requests(), 0);
}

#[test]
fn no_token_of_the_provider_reaches_the_gateway() {
    let providers = providers();
    let echo = Echo::start().unwrap();
    let envoy = start(&providers, &echo);
    for provider in &providers {
        let (header, prefix) = (provider.header.0.as_str(), &provider.header.1);
        let token = format!("{prefix}{}", provider.key.sign(&provider.claims(NICK)));
        let mut connection = Asked { provider, headers: Vec::new() }.connect(&envoy, "identity");
        let asked = Asked {
            provider,
            headers: vec![
                (header, token.clone()),
                ("x-pomerium-claim-groups", "admins".to_owned()),
                ("cookie", format!("IdToken={token}")),
            ],
        };
        connection.send(&wire::request("GET", "/", &asked.headers(&[]))).unwrap();
        let received = echo::received(&connection.response("GET").unwrap().json());
        assert_eq!(values(&received, header), Vec::<String>::new(), "{}", provider.name);
        // The page's own login leaves a cookie; the other two leave theirs at another address.
        if provider.edge {
            assert_eq!(values(&received, "cookie"), Vec::<String>::new(), "{}", provider.name);
        }
        assert_eq!(values(&received, "x-pomerium-claim-groups"), Vec::<String>::new(), "{}", provider.name);
    }
}

/// What comes of a token in which each of these claims is added to the usual ones, with this use of it.
fn with_claims(claims: &[Value], assertion: &Value) -> Vec<Outcome> {
    let mut provider = providers().into_iter().find(|provider| provider.edge).expect("a provider without a proxy");
    harness::gateway::lay(&mut provider.policy["filter"]["assertion"], assertion);
    let echo = Echo::start().unwrap();
    let providers = [provider];
    let envoy = start(&providers, &echo);
    let [provider] = &providers;
    let ask = |more: &Value| {
        let mut claims = provider.claims(NICK);
        harness::gateway::lay(&mut claims, more);
        let (header, prefix) = &provider.header;
        let headers = vec![(header.as_str(), format!("{prefix}{}", provider.key.sign(&claims)))];
        Asked { provider, headers }.plainly(&envoy, "identity")
    };
    claims.iter().map(ask).collect()
}

#[test]
fn a_number_is_nobody_whatever_its_bytes_spell() {
    let spelled = |name: &[u8; 8]| json!(f64::from_le_bytes(*name));
    let cases = [
        (spelled(b"admin   "), None),
        (spelled(b"nick@ex."), None),
        (spelled(b"aaaaaaaa"), None),
        (spelled(b"root-usr"), None),
        (json!("nick@ex."), Some("nick@ex.")),
        (json!("aaaaaaaa"), Some("aaaaaaaa")),
        (json!("aaaaaaa"), Some("aaaaaaa")),
        (json!("aaaaaaaaa"), Some("aaaaaaaaa")),
        (json!(" nick x "), None),
        (json!(["nick@ex."]), None),
    ];
    let claims: Vec<_> = cases.iter().map(|(email, _)| json!({"email": email})).collect();
    for ((email, user), outcome) in cases.iter().zip(with_claims(&claims, &json!({}))) {
        let expected = user.map(str::to_owned).ok_or_else(|| "trusted_proxy_assertion_missing".to_owned());
        assert_eq!(outcome, expected, "{email}");
    }
}

#[test]
fn a_claim_that_must_be_true_is_the_boolean() {
    let verified = [json!(true), json!(false), json!("true"), json!("\u{1}"), json!(1), json!(null), json!([true])];
    let mut claims: Vec<_> = verified.iter().map(|claim| json!({"email_verified": claim})).collect();
    claims.push(json!({}));
    let path = json!({"requireTrue": [["envoy.filters.http.jwt_authn", "payload", "email_verified"]]});
    for (claims, outcome) in claims.iter().zip(with_claims(&claims, &path)) {
        let expected = match claims["email_verified"] == true {
            true => Ok(NICK.to_owned()),
            false => Err("trusted_proxy_assertion_claim".to_owned()),
        };
        assert_eq!(outcome, expected, "{claims}");
    }
}
