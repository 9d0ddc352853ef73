//! The JSON Schema for editors accepts and refuses the same configurations as the reader, except for the classes that
//! it names.
//!
//! `DOCS=write` writes `docs/plugin-config.schema.json`.

use std::collections::{BTreeMap, BTreeSet};

use harness::document::{blocks, page};
use model::choices::{self, Choices};
use model::generate;
use policy::config::schema::{BEYOND, schema};
use policy::config::{compile, keys};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::configurations::{PROXIES, REQUIRED, USER, bad, doubtful, good, with};

/// The schema, compiled.
struct Schema(jsonschema::Validator);

impl Schema {
    /// A schema that violates its draft does not compile.
    fn new(schema: &Value) -> Self {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{error}"));
        Self(jsonschema::validator_for(schema).unwrap_or_else(|error| panic!("{error}")))
    }

    fn accepts(&self, config: &Value) -> bool {
        self.0.is_valid(config)
    }

    /// The classes of errors that only the reader finds, if there are no others; an error if the two disagree.
    fn judge(&self, config: &Value) -> Result<BTreeSet<&'static str>, String> {
        let errors = compile(config.to_string().as_bytes()).err();
        let errors = errors.as_ref().map(|errors| errors.as_slice()).unwrap_or_default();
        let class = |problem: &str| {
            let known = BEYOND.iter().find(|beyond| beyond.problems.iter().any(|part| problem.contains(part)));
            known.map(|beyond| beyond.what)
        };
        let said = self.0.validate(config).err().map(|error| format!("{}: {error}", error.instance_path()));
        let classes: Vec<_> = errors.iter().map(|error| class(&error.problem)).collect();
        match said {
            Some(said) if errors.is_empty() => Err(format!("only the schema refuses {config}: {said}")),
            Some(_) => Ok(BTreeSet::new()),
            None if classes.contains(&None) => Err(format!("only the reader refuses {config}: {errors:?}")),
            None => Ok(classes.into_iter().flatten().collect()),
        }
    }
}

/// A valid configuration that has every key.
fn full() -> Value {
    json!({
        "gateway": {
            "bind": "lan",
            "port": 18789,
            "trustedProxies": ["10.0.0.1", "10.0.0.0/24", "2001:db8::/32", "[::1]", "::ffff:10.0.0.0/104"],
            "allowRealIpFallback": false,
            "auth": {
                "mode": "trusted-proxy",
                "token": " ",
                "password": null,
                "allowTailscale": true,
                "identityScopes": {"nick@example.com": ["operator.read"]},
                "trustedProxy": {
                    "userHeader": "x-forwarded-user",
                    "requiredHeaders": ["x-edge"],
                    "allowUsers": ["nick@example.com"],
                    "allowLoopback": true,
                    "deviceAutoApprove": {"enabled": true},
                    "cloudflareAccessOidc": {}
                }
            },
            "remote": {"token": null, "url": "wss://x"},
            "controlUi": {
                "allowedOrigins": ["https://claw.example.com"],
                "dangerouslyAllowHostHeaderOriginFallback": false,
                "basePath": "/openclaw"
            },
            "http": {"endpoints": {"chatCompletions": {"enabled": true}, "responses": {"enabled": false}}}
        },
        "filter": {
            "mode": "enforce",
            "trustedProxies": ["10.0.0.9"],
            "allowLoopback": false,
            "trustedPeers": ["spiffe://cluster.local/ns/edge/sa/proxy"],
            "peerTrust": "certificate",
            "peerAddress": {"filterState": "peer"},
            "peerIdentity": ["certificate", {"filterState": "io.istio.peer_principal"}],
            "assertion": {
                "metadata": ["envoy.filters.http.jwt_authn", "payload", "email"],
                "as": "match",
                "requireTrue": [["envoy.filters.http.jwt_authn", "payload", "email_verified"]]
            },
            "edge": true,
            "rejectSameHost": false,
            "gatewayVersion": "2026.9.6",
            "attribution": "required",
            "anonymousPaths": ["/health", "/x/*", "ws:/y"],
            "webSocketRefusal": "close",
            "requiredValues": {"x-edge-secret": {"sha256": [
                "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0"
            ]}},
            "userPrefix": "accounts.google.com:",
            "upstreamUserHeader": "x-user",
            "stripHeaders": ["x-company-user"],
            "keepHeaders": ["x-forwarded-email"],
            "scopes": {
                "default": ["operator.read"],
                "pluginDefault": ["operator.write"],
                "ownPaths": ["/a"],
                "ownSockets": ["/node"],
                "users": {"nick@example.com": ["operator.admin"], "*": []},
                "groupsHeader": "x-groups",
                "groupsSeparator": "|",
                "groups": {"ops": ["operator.write"]},
                "withoutUser": ["operator.read"]
            },
            "crossSite": "refuse",
            "removeCookies": ["IdToken", "_oauth2_proxy*"],
            "removeBearer": true,
            "stampedFilterState": true,
            "openSockets": "recheck",
            "socketMaxAge": "12h",
            "socketsUntil": "assertion",
            "hideReasons": true
        }
    })
}

/// Every key of every table is found in an object that has all of them.
#[test]
fn the_full_configuration_has_every_key_and_is_good() {
    fn names(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    found.insert(key.clone());
                    names(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    names(&full(), &mut found);
    let tables = [
        keys::ROOT,
        keys::GATEWAY,
        keys::AUTH,
        keys::TRUSTED_PROXY,
        keys::REMOTE,
        keys::CONTROL_UI,
        keys::HTTP,
        keys::ENDPOINTS,
        keys::ENDPOINT,
        keys::FILTER,
        keys::ASSERTION,
        keys::PEER_ADDRESS,
        keys::SCOPES,
    ];
    for key in tables.into_iter().flatten() {
        assert!(found.contains(key.name), "{}", key.name);
    }
    compile(full().to_string().as_bytes()).unwrap();
    assert!(Schema::new(&schema()).accepts(&full()));
}

/// Configurations that differ from a valid one in one text.
fn odd_texts() -> Vec<Value> {
    const NAMES: &str = "filter.upstreamUserHeader";
    let mut all = Vec::new();
    let mut put = |path: &str, texts: &[&str], list: bool| {
        for text in texts {
            let mut config = full();
            let place = path.split('.').fold(&mut config, |place, key| &mut place[key]);
            *place = if list { json!([text]) } else { json!(text) };
            all.push(config);
        }
    };
    for path in [PROXIES, "filter.trustedProxies"] {
        put(path, ADDRESSES, true);
    }
    for path in [USER, NAMES, "filter.scopes.groupsHeader"] {
        put(path, HEADERS, false);
    }
    for path in [REQUIRED, "filter.stripHeaders", "filter.keepHeaders"] {
        put(path, HEADERS, true);
    }
    for path in ["filter.anonymousPaths", "filter.scopes.ownPaths", "filter.scopes.ownSockets"] {
        put(path, PATHS, true);
    }
    put("filter.trustedPeers", PEERS, true);
    put("gateway.auth.token", BLANKS, false);
    put("gateway.remote.token", BLANKS, false);
    put("filter.peerAddress.filterState", BLANKS, false);
    put("filter.userPrefix", &["a b", " a", "a ", "", "\u{a0}a", "é", "ł", "a\tb", "a\u{7f}", "\u{80}"], false);
    put("filter.gatewayVersion", RELEASES, false);
    put("filter.socketMaxAge", AGES, false);
    put("filter.peerAddress", &["connection", "Connection", ""], false);
    all
}

const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    " 10.0.0.1\u{3000}",
    "\u{85}10.0.0.1",
    "[10.0.0.1]",
    "[10.0.0.1",
    "010.0.0.1",
    "10.0.0.256",
    "10.0.0",
    "0x0a.0.0.1",
    "10.0.0.1:80",
    "10.0.0.0/8",
    "10.0.0.5/8",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/",
    "10.0.0.0/+8",
    "0.0.0.0/0",
    "255.255.255.255/32",
    "[10.0.0.0]/8",
    "10.0.0.1-10.0.0.9",
    "10.0.0.*",
    "::",
    "::/0",
    "::1/128",
    "::1/129",
    "fd00:::1",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::",
    "12345::",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "::10.0.0.999",
    "::ffff:10.0.0.0/104",
    "::ffff:10.0.0.0/95",
    "2001:db8::1/32",
    "[::1]:80",
    "[::1]",
    "[::1]/128",
    "fe80::1%eth0",
    "1.2.3.4::80",
    "::1.2.3.4:80",
    ":",
    "1:2",
    ":.:.:",
    "envoy",
    "",
    " ",
    "10.0.0.1, 10.0.0.2",
];

const HEADERS: &[&str] = &[
    "x-user",
    " X-User\t",
    "X_User",
    "x-Forwarded_For",
    "x-forwarded-forx",
    "-path",
    "path",
    ":path",
    "HOST",
    "hosts",
    "x~real`ip",
    "sec-x",
    "sec",
    "sec.",
    "section",
    "Content-",
    "x-envoy",
    "x-envoy-x",
    "te",
    "t-e",
    "http2-settings",
    "http3-settings",
    "x-openclaw-scopes",
    "x_openclaw_scopes",
    "x-forwarded-user",
    "x_forwarded_user",
    "x-company-user",
    "a b",
    "a,b",
    "a^b",
    "a-b!#$%&'*+.^_`|~0",
    "x\u{e9}",
    "",
    "\u{feff}",
    "x\u{85}",
];

const PATHS: &[&str] = &[
    "/",
    "/*",
    "/x",
    "/x/",
    "/x/*",
    "/x*",
    "/x/*/y",
    "/*/x",
    "//",
    "//x",
    "/x//*",
    "/.",
    "/..",
    "/...",
    "/.x",
    "/..x",
    "/x/.",
    "/x/../y",
    "/./*",
    "/x/.*",
    "/x.y;z=1",
    "/a\"b",
    "/a-b+c,d.e~f",
    "/[]^`{|}",
    "/<=>@",
    "/x y",
    "/x\u{7f}",
    "/x\u{e9}",
    "/x%20",
    "/x\\y",
    "/x#y",
    "/x?y",
    "ws:/x",
    "ws:/*",
    "ws:/x/*",
    "ws:x",
    "WS:/x",
    "ws:ws:/x",
    "x",
    "*",
    "",
    " /x",
];

const PEERS: &[&str] = &[
    "spiffe://a/b",
    "a:",
    "a",
    ":a",
    "a/b:c",
    "1a:b",
    "a1+.-:b",
    "spiffe://a/*",
    "spiffe://a/b c",
    "spiffe://a/\u{e9}",
    "spiffe://a/\u{7f}",
    "",
];

const RELEASES: &[&str] = &[
    "2026.9.6",
    "2026.4.2",
    "2026.4.1",
    "2025.12.31",
    "2027.1.0",
    "2026.12.9999",
    "2026.12.10000",
    "2026.13.1",
    "2026.0.1",
    "2026.09.1",
    "2026.9.06",
    "2026.9",
    "2026.9.6.1",
    "2026.9.6-1",
    "2026.9.6-01",
    "2026.9.6-beta.1",
    "2026.9.6-beta",
    "2026.9.6-beta.01",
    "2026.9.6-nightly.1",
    "2026.9.6-",
    "1999.1.1",
    "3000.1.1",
    "v2026.9.6",
    " 2026.9.6",
    "latest",
    "",
];

const AGES: &[&str] = &[
    "1s",
    "90s",
    "31536000s",
    "31536001s",
    "525601m",
    "8760h",
    "8761h",
    "365d",
    "366d",
    "99999999d",
    "100000000s",
    "99999999999999999999s",
    "0s",
    "012h",
    "12",
    "h",
    "12H",
    "12 h",
    " 12h",
    "12h\n",
    "1.5h",
    "-1h",
    "1h30m",
    "1w",
    "12\u{2b0}",
    "\u{661}h",
    "",
];

const BLANKS: &[&str] = &["", " ", "\t\u{a0}\u{2003}\u{feff}\r\n", "\u{85}", "\u{200b}", "s3cr3t", "a\u{0}b", "\u{0}"];

/// Fails with the first few disagreements; otherwise counts how often each class occurred.
fn agree(configs: impl Iterator<Item = Value>) -> BTreeMap<&'static str, usize> {
    let schema = Schema::new(&schema());
    let (mut met, mut wrong) = (BTreeMap::new(), Vec::new());
    for config in configs {
        match schema.judge(&config) {
            Ok(classes) => classes.into_iter().for_each(|class| *met.entry(class).or_default() += 1),
            Err(difference) => wrong.push(difference),
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n\n"));
    met
}

#[test]
fn every_configuration_of_the_tests_is_judged_alike() {
    let vectors: BTreeMap<_, _> =
        harness::vectors::load().into_iter().map(|vector| (vector.config.to_string(), vector.config)).collect();
    let tables = bad().into_iter().map(|(config, _)| config).chain(doubtful().into_iter().map(|(config, ..)| config));
    let met = agree(tables.chain(vectors.into_values()).chain([good(), full()]).chain(odd_texts()));
    let expected: BTreeSet<_> = BEYOND.iter().skip(1).map(|beyond| beyond.what).collect();
    assert_eq!(met.into_keys().collect::<BTreeSet<_>>(), expected, "every class must occur");
}

#[test]
fn text_that_is_no_plain_json_value_is_the_readers_alone() {
    let schema = Schema::new(&schema());
    for (text, shown) in [
        (good().to_string().replacen('{', "{ // comment\n", 1), good()),
        (good().to_string().replacen('{', "{\"filter\": {}, \"filter\": {},", 1), {
            let mut config = good();
            config["filter"] = json!({});
            config
        }),
        (String::from(" "), Value::Null),
    ] {
        let errors = compile(text.as_bytes()).unwrap_err();
        let [error] = errors.as_slice() else { panic!("{errors}") };
        assert!(BEYOND[0].problems.iter().any(|part| error.problem.contains(part)), "{error}");
        assert_eq!(schema.accepts(&shown), !shown.is_null(), "as an editor reads it");
    }
}

/// Changes one place in a configuration.
fn mutate(config: &mut Value, c: &mut Choices<'_>) {
    let mut place = config;
    // Usually goes deeper, because the keys with rules are leaves.
    while !c.one_in(8) {
        let children = match place {
            Value::Object(object) => object.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if children == 0 {
            break;
        }
        let at = c.below(children);
        place = match place {
            Value::Object(object) => object.values_mut().nth(at).unwrap(),
            Value::Array(items) => &mut items[at],
            _ => unreachable!(),
        };
    }
    let texts =
        || ADDRESSES.iter().chain(HEADERS).chain(PATHS).chain(PEERS).chain(AGES).chain(BLANKS).chain(&WORDS).copied();
    let value = |c: &mut Choices<'_>| match c.below(10) {
        0 => Value::Null,
        1 => json!(c.one_in(2)),
        2 => json!(-1.5),
        3 => json!([]),
        4 => json!({}),
        5 => json!([texts().nth(c.below(texts().count())).unwrap()]),
        6 => json!([null]),
        7 => json!({"*": [WORDS[c.below(WORDS.len())]]}),
        _ => json!(texts().nth(c.below(texts().count())).unwrap()),
    };
    let name = |c: &mut Choices<'_>| {
        let all = keys::FILTER.iter().chain(keys::SCOPES).chain(keys::TRUSTED_PROXY).chain(keys::ROOT);
        let names: Vec<_> = all.map(|key| key.name).chain(["x", "Filter", "*", "A@b", "a@B", ""]).collect();
        names[c.below(names.len())].to_owned()
    };
    let replace = c.one_in(3);
    match place {
        Value::Object(object) if !replace => {
            let key = object.keys().nth(c.below(object.len().max(1))).cloned();
            match (c.below(3), key) {
                (0, Some(key)) => drop(object.remove(&key)),
                (1, Some(key)) => {
                    let value = object.remove(&key).unwrap();
                    object.insert(name(c), value);
                }
                _ => {
                    let value = value(c);
                    object.insert(name(c), value);
                }
            }
        }
        Value::Array(items) if !replace => {
            if c.one_in(2) && !items.is_empty() {
                items.remove(c.below(items.len()));
            } else {
                items.push(value(c));
            }
        }
        place => *place = value(c),
    }
}

const WORDS: [&str; 16] = [
    "report",
    "off",
    "certificate",
    "address",
    "http",
    "delegate",
    "identity",
    "match",
    "trusted-proxy",
    "operator.read",
    "operator.admin",
    "operator.root",
    "Enforce",
    "keep",
    "assertion",
    "required",
];

#[test]
fn whatever_is_changed_in_a_configuration_both_say_the_same_of_it() {
    let cases = std::env::var("SCHEMA_CASES").map_or(1500, |text| text.parse().expect("SCHEMA_CASES is a number"));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &choices::bytes(20_261_123, 32));
    let bases: Vec<Value> =
        bad().into_iter().map(|(config, _)| config).chain(doubtful().into_iter().map(|(config, ..)| config)).collect();
    let schema = Schema::new(&schema());
    let counts = std::cell::RefCell::new([0_usize; 3]);
    let strategy = vec(any::<u8>(), 440).prop_map(|bytes| {
        let mut c = Choices::new(&bytes);
        let mut config = match c.below(4) {
            0 => good(),
            1 => full(),
            2 => bases[c.below(bases.len())].clone(),
            _ => generate::config(&mut c),
        };
        for _ in 0..c.below(4) {
            mutate(&mut config, &mut c);
        }
        config
    });
    let run = TestRunner::new_with_rng(config, rng).run(&strategy, |config| {
        let judged = schema.judge(&config).map_err(TestCaseError::fail)?;
        let kind = if !judged.is_empty() { 2 } else { usize::from(schema.accepts(&config)) };
        counts.borrow_mut()[kind] += 1;
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    let [refused, accepted, readers_alone] = counts.into_inner();
    println!(
        "{cases} configurations: {accepted} accepted, {refused} refused by both, {readers_alone} by the reader alone"
    );
    assert!(accepted > 200 && refused > 200 && readers_alone > 3, "the cases are unbalanced");
}

#[test]
fn a_schema_that_knows_less_would_be_noticed() {
    // Tests the comparison itself: a schema that accepts everything and one that accepts nothing disagree with the
    // reader.
    for (says, config) in [(json!(true), with("filter", json!({"edge": 1}))), (json!(false), good())] {
        Schema::new(&says).judge(&config).expect_err("they disagree");
    }
}

// ---- what is published ----

fn published(path: &str, wanted: impl Fn(&str) -> String) {
    harness::document::published("native", path, wanted);
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    published("docs/plugin-config.schema.json", |_| serde_json::to_string_pretty(&schema()).unwrap() + "\n");
}

#[test]
fn the_settings_for_editors_name_the_schema() {
    let shown = page("docs/editors.md");
    let settings: Value = serde_json::from_str(&blocks(&shown, "json").concat()).unwrap();
    let entry = &settings["json.schemas"][0];
    let first_line = blocks(&shown, "yaml").concat();
    let of_yaml = first_line.trim_end().strip_prefix("# yaml-language-server: $schema=").unwrap();
    let schema = schema();
    // As an editor resolves it if it was opened in the root of the repository.
    for file in [entry["url"].as_str().unwrap(), of_yaml] {
        let read: Value = serde_json::from_str(&page(file)).unwrap();
        assert_eq!(read, schema, "{file}");
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    let policy = format!("envoy/{}", entry["fileMatch"][0].as_str().unwrap());
    let policy: Value = serde_json::from_str(&page(&policy)).unwrap();
    assert!(validator.is_valid(&policy));
    // A `$schema` key in the file would be an error, as the page says.
    let mut with_key = policy;
    with_key["$schema"] = entry["url"].clone();
    assert!(!validator.is_valid(&with_key) && compile(with_key.to_string().as_bytes()).is_err());
}
