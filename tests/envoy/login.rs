//! What passes between the proxy and the filter only, in a real Envoy: secrets that prove the proxy (`requiredValues`),
//! and what its login leaves behind (`removeCookies`, `removeBearer`).

use harness::echo::{self, Echo};
use harness::envoy::{Envoy, Source};
use harness::parts;
use harness::wire::{self, Connection, values};
use serde_json::{Value, json};

/// The SHA-256 digests of "s3cret" and "next".
const SECRET: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
const NEXT: &str = "c6c1c9a9c8543f1e4cd980064cf1625eeb61a90703b2464fff039f21682508b3";

fn policy() -> Value {
    json!({
        "gateway": {
            "trustedProxies": ["127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": "x-forwarded-user", "requiredHeaders": ["X-Edge-Secret"], "allowLoopback": true
            }}
        },
        "filter": {
            "attribution": "off",
            "requiredValues": {"X-Edge-Secret": {"sha256": [SECRET, NEXT]}, "x-proof": {"sha256": [SECRET]}},
            "removeCookies": ["IdToken", "_oauth2_proxy*"],
            "removeBearer": true,
            "anonymousPaths": ["/hooks/*"],
            "webSocketRefusal": "http"
        }
    })
}

/// What a request comes to: the headers that the upstream got, or the reason of the refusal.
fn ask(envoy: &Envoy, path: &str, headers: &[(&str, &str)]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut connection = Connection::open(envoy.address("door")).unwrap();
    let fixed = [("host", "claw.example.com"), ("x-forwarded-user", "nick@example.com")];
    connection.send(&wire::request("GET", path, &[&fixed[..], headers].concat())).unwrap();
    let response = connection.response("GET").unwrap();
    match response.status {
        200 => Ok(echo::received(&response.json())),
        _ => Err(response.json()["error"]["reason"].as_str().unwrap_or("none").to_owned()),
    }
}

#[test]
fn secrets_cookies_and_tokens_of_the_login_end_at_the_filter() {
    let echo = Echo::start().unwrap();
    let manager = parts::manager("door", vec![parts::filter(&policy())], &json!({"use_remote_address": true}));
    let clusters = vec![parts::cluster(parts::UPSTREAM, echo.address())];
    let envoy =
        Envoy::start(&parts::bootstrap(vec![parts::listener("door", vec![manager], json!({}))], clusters).to_string());
    let right = [("x-edge-secret", "s3cret"), ("x-proof", "s3cret")];

    // The secret itself, and the next one; the Gateway sees neither.
    for secret in ["s3cret", "next"] {
        let received = ask(&envoy, "/", &[("x-edge-secret", secret), ("x-proof", "s3cret")]).unwrap();
        assert_eq!(values(&received, "x-edge-secret"), ["verified"]);
        assert_eq!(values(&received, "x-proof"), Vec::<String>::new());
        let has = |value: &[u8]| value.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!received.iter().any(|(_, value)| has(value)), "{received:?}");
    }
    // Clients are not told which header is wrong. The log says it, without the value.
    for (headers, header) in [
        (&[("x-edge-secret", "guess-1"), ("x-proof", "s3cret")][..], "X-Edge-Secret"),
        (&[("x-edge-secret", "s3cret"), ("x-proof", "guess-2")], "x-proof"),
        (&[("x-edge-secret", "s3cret"), ("x-edge-secret", "s3cret"), ("x-proof", "s3cret")], "X-Edge-Secret"),
        (&[("x-edge-secret", "verified"), ("x-proof", "s3cret")], "X-Edge-Secret"),
        (&[("x-edge-secret", "s3cret"), ("x_proof", "s3cret")], "x-proof"),
    ] {
        assert_eq!(ask(&envoy, "/", headers).unwrap_err(), "trusted_proxy_header_value", "{headers:?}");
        let line = envoy
            .line(Source::Log, |line| line.contains(&format!("refused reason=trusted_proxy_header_value_{header} ")));
        assert!(!line.contains("guess") && !line.contains("s3cret"), "{line}");
    }
    assert_eq!(
        ask(&envoy, "/", &[("x-proof", "s3cret")]).unwrap_err(),
        "trusted_proxy_missing_header",
        "the Gateway's own rule comes first"
    );

    // Envoy keeps several Cookie headers apart over HTTP/1.1.
    let login = [
        ("cookie", "a=1; IdToken=eyJ; b=\"x\"; idtoken=2"),
        ("cookie", "_oauth2_proxy_0=p; __openclaw_plugin_tab_auth_x_y=v1;  c=3"),
        ("authorization", "Bearer eyJ"),
    ];
    let received = ask(&envoy, "/", &[&right[..], &login].concat()).unwrap();
    assert_eq!(values(&received, "cookie"), ["a=1; b=\"x\"; idtoken=2; __openclaw_plugin_tab_auth_x_y=v1;  c=3"]);
    assert_eq!(values(&received, "authorization"), Vec::<String>::new());
    // A webhook keeps its token, and a secret that nobody compared goes.
    let received = ask(&envoy, "/hooks/a", &[&[("x-proof", "guess")][..], &login].concat()).unwrap();
    assert_eq!(values(&received, "authorization"), ["Bearer eyJ"]);
    assert_eq!(values(&received, "x-proof"), Vec::<String>::new());
    assert!(!values(&received, "cookie").concat().contains("eyJ"));
    // Other schemes, and other cookies, stay byte for byte.
    let other = [("cookie", "IdTokens=1;b = 2;"), ("authorization", "Basic bmljazp4")];
    let received = ask(&envoy, "/", &[&right[..], &other].concat()).unwrap();
    assert_eq!(values(&received, "cookie"), ["IdTokens=1;b = 2;"]);
    assert_eq!(values(&received, "authorization"), ["Basic bmljazp4"]);
}
