//! Properties of the policy over generated configurations and requests: that it agrees with the reference model, and
//! what must hold independently of the model.
//!
//! `PROPERTY_CASES` sets the number of cases per property, `PROPERTY_SEED` the starting seed. Past failures are kept
//! in `properties.regressions` next to this file and are tried first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::choices::{self, Choices};
use model::generate::{self, Case};
use model::sockets::{self, Fate};
use model::subject::{self, Grant, Open};
use model::{Kind, Outcome, Request};
use policy::Policy;
use policy::config::{compile, gateway_keys};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use serde_json::{Value, json};

/// The most bytes that a case can consume.
const BYTES: usize = 400;

/// Bytes that a report does not print.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

fn cases() -> u32 {
    u32::try_from(number("PROPERTY_CASES", 1500)).expect("PROPERTY_CASES is too large")
}

/// Checks `property` on generated cases: a configuration, a request, and bytes for the changes that the property
/// makes.
fn holds(name: &'static str, property: impl Fn(Case, Choices<'_>) -> TestCaseResult) {
    holds_for(name, BYTES, generate::case, property);
}

/// The same with cases of another kind, each made of this many bytes.
fn holds_for<C: fmt::Debug>(
    name: &'static str,
    bytes: usize,
    generate: impl Fn(&mut Choices<'_>) -> C,
    property: impl Fn(C, Choices<'_>) -> TestCaseResult,
) {
    let seed = number("PROPERTY_SEED", 20_260_901);
    println!("{name}: {} cases, PROPERTY_SEED={seed}", cases());
    let config = Config {
        cases: cases(),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        test_name: Some(name),
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &choices::bytes(seed, 32));
    let strategy = vec(any::<u8>(), bytes).prop_map(|bytes| {
        let case = generate(&mut Choices::new(&bytes));
        // The property's own choices come from the other end, so that shrinking does not change them.
        let rest = bytes.into_iter().rev().take(64).collect();
        (case, Bytes(rest))
    });
    let run =
        TestRunner::new_with_rng(config, rng).run(&strategy, |(case, rest)| property(case, Choices::new(&rest.0)));
    if let Err(failure) = run {
        panic!("{name}: {failure}");
    }
}

fn policy(config: &Value) -> Policy {
    subject::compiled(config).policy
}

fn decide(case: &Case) -> Outcome {
    subject::decide(&policy(&case.config), &case.request)
}

/// The code of a refusal without a header's name, or how the request passes.
fn name_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(code) if code.starts_with("trusted_proxy_missing_header_") => "trusted_proxy_missing_header",
        Outcome::Refused(code) if code.starts_with("trusted_proxy_header_value_") => "trusted_proxy_header_value",
        Outcome::Refused(code) => code,
        Outcome::Passed { kind: Kind::Identified(_), .. } => "admitted",
        Outcome::Passed { kind: Kind::Anonymous, .. } => "anonymous",
        Outcome::Passed { kind: Kind::Delegated(_), .. } => "delegated",
    }
}

/// A test may not ask only for what its author thought of: every key that is read is drawn.
#[test]
fn every_key_of_the_gateway_that_is_read_is_drawn() {
    let mut drawn = BTreeSet::new();
    for seed in 0..2_000 {
        let bytes = choices::bytes(seed, BYTES);
        model::paths(&generate::config(&mut Choices::new(&bytes))["gateway"], "", &mut drawn);
    }
    let missing: Vec<_> = gateway_keys::read().into_iter().filter(|key| !drawn.contains(key)).collect();
    assert!(missing.is_empty(), "tests/model/src/generate.rs draws no {missing:?}");
    let known: Vec<_> = gateway_keys::influences().into_iter().map(|(path, _)| path).collect();
    let unknown: Vec<_> = drawn.iter().filter(|path| !known.contains(path)).collect();
    assert!(unknown.is_empty(), "the Gateway has no {unknown:?}");
}

// ---- the model ----

/// Every outcome of a request, and the minimum share of the cases that must have it.
const FLOORS: [(&str, f64); 25] = [
    ("admitted", 0.35),
    ("anonymous", 0.02),
    ("delegated", 0.001),
    ("trusted_proxy_peer_unknown", 0.01),
    ("trusted_proxy_peer_unverified", 0.005),
    ("trusted_proxy_untrusted_source", 0.01),
    ("trusted_proxy_loopback_source", 0.01),
    ("trusted_proxy_local_interface_source", 0.01),
    ("trusted_proxy_peer_certificate", 0.01),
    ("proxy_attribution_required", 0.02),
    ("trusted_proxy_missing_header", 0.005),
    ("trusted_proxy_header_value", 0.001),
    ("trusted_proxy_user_missing", 0.01),
    ("trusted_proxy_user_repeated", 0.01),
    ("trusted_proxy_user_malformed", 0.0),
    ("trusted_proxy_groups_repeated", 0.0),
    ("trusted_proxy_groups_unreadable", 0.0),
    ("trusted_proxy_assertion_missing", 0.005),
    ("trusted_proxy_assertion_claim", 0.0),
    ("trusted_proxy_assertion_mismatch", 0.0),
    ("trusted_proxy_user_not_allowed", 0.01),
    ("trusted_proxy_origin_not_allowed", 0.02),
    ("trusted_proxy_cross_site", 0.0),
    ("stricter than the model", 0.0),
    ("with a ceiling", 0.05),
];

#[test]
fn the_policy_agrees_with_the_reference_model() {
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    let all = Cell::new(0_u32);
    holds("agreement", |case, _| {
        let verdict = model::decide(&case.config, &case.request);
        let outcome = decide(&case);
        prop_assert!(
            subject::agree(&case.config, &verdict, &outcome),
            "\nmodel:  {:?}\nfilter: {:?}",
            subject::normalized(&case.config, &verdict.outcome),
            subject::normalized(&case.config, &outcome)
        );
        let mut names = vec![name_of(&outcome)];
        if name_of(&outcome) != name_of(&verdict.outcome) {
            names.push("stricter than the model");
        }
        if case.config["filter"]["scopes"]["users"].is_object() && names[0] == "admitted" {
            names.push("with a ceiling");
        }
        all.set(all.get() + 1);
        for name in names {
            *seen.borrow_mut().entry(name.to_owned()).or_default() += 1;
        }
        Ok(())
    });
    let (seen, all) = (seen.into_inner(), f64::from(all.get()));
    for (name, count) in &seen {
        println!("{:6.2} %  {name}", 100.0 * f64::from(*count) / all);
        assert!(FLOORS.iter().any(|(known, _)| known == name), "{name} has no floor");
    }
    if cases() < 1500 {
        println!("too few cases to check the generator's distribution");
        return;
    }
    // The filter may be stricter than the model, but does not have to be.
    for (name, floor) in FLOORS.into_iter().filter(|(name, _)| *name != "stricter than the model") {
        let count = f64::from(seen.get(name).copied().unwrap_or_default());
        assert!(
            count > 0.0 && count >= floor * all,
            "the generator has become too weak: {name} in {count} of {all} cases"
        );
    }
}

#[test]
fn open_sockets_may_stay_as_long_as_the_model_says() {
    holds("open sockets", |case, _| {
        let wanted = sockets::settings(&case.config);
        let seen = subject::compiled(&case.config).policy.sockets();
        prop_assert_eq!(seen.recheck, wanted.recheck);
        prop_assert_eq!(seen.max_age.map_or(0, |age| age.get().into()), wanted.max_age);
        prop_assert_eq!(seen.until_assertion, wanted.until_assertion);
        Ok(())
    });
}

/// Failures that generated cases once found, reduced to the essential.
#[test]
fn the_policy_agrees_with_the_reference_model_on_cases_that_told_them_apart() {
    /// A configuration's `trustedProxy` and `filter`, and headers to add to a good request line and X-Forwarded-For.
    struct Found(&'static str, Value, Value, &'static [(&'static str, &'static str)], Option<&'static str>);
    const WEBSOCKET: [(&str, &str); 2] = [("upgrade", "websocket"), ("connection", "upgrade")];
    let identity = json!({"metadata": ["envoy.filters.http.jwt_authn", "payload", "email"], "as": "identity"});
    let cases = [
        Found(
            "a groups header that is also required stays: the Gateway checks for it again",
            json!({"userHeader": "x-user", "requiredHeaders": ["x-forwarded-groups"]}),
            json!({"scopes": {"users": {"*": ["operator.read"]}, "groups": {}, "groupsHeader": "x-forwarded-groups"}}),
            &[("x-user", "alice"), ("x-forwarded-groups", "ops")],
            None,
        ),
        Found(
            "with an asserted identity, a repeated user header is ignored on delegated WebSockets too",
            json!({"userHeader": "x-user", "allowUsers": ["alice"]}),
            json!({"assertion": identity, "webSocketRefusal": "delegate"}),
            &[WEBSOCKET[0], WEBSOCKET[1], ("x-user", "a"), ("x-user", "b")],
            Some("bob"),
        ),
        Found(
            "with an asserted identity, a WebSocket without one is closed, even if a required header is missing",
            json!({"userHeader": "x-user", "requiredHeaders": ["x-edge"]}),
            json!({"assertion": identity, "webSocketRefusal": "delegate"}),
            &WEBSOCKET,
            None,
        ),
    ];
    let mut wrong = Vec::new();
    for Found(what, trusted_proxy, filter, headers, assertion) in cases {
        let config = json!({
            "gateway": {"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": trusted_proxy}},
            "filter": filter
        });
        let line = [
            (":method", "GET"),
            (":path", "/"),
            (":authority", "claw.example.com"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        let request = Request {
            peer: Some(b"10.0.0.1:40000".to_vec()),
            assertion: assertion.map(|identity| identity.as_bytes().to_vec()),
            headers: line.iter().chain(headers).map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ..Request::default()
        };
        let verdict = model::decide(&config, &request);
        let outcome = decide(&Case { config: config.clone(), request });
        if !subject::agree(&config, &verdict, &outcome) {
            wrong.push(format!("{what}\n  model:  {:?}\n  filter: {outcome:?}", verdict.outcome));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_passes_or_is_granted_beyond_the_model() {
    holds("soundness", |case, _| {
        let wanted = subject::grant(&case.config, &model::decide(&case.config, &case.request).outcome);
        let seen = subject::grant(&case.config, &decide(&case));
        prop_assert!(is_no_more(&case, seen.as_ref(), wanted.as_ref()), "\nmodel:  {wanted:?}\nfilter: {seen:?}");
        Ok(())
    });
}

/// Whether one outcome permits no more than another: the same user or none, and no additional scope.
fn is_no_more(case: &Case, one: Option<&Grant>, other: Option<&Grant>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() };
    if one.user.is_some() && one.user != other.user {
        return false;
    }
    if one.user.is_none() && other.user.is_some() {
        return true; // Without a user, the scopes are only a cap.
    }
    let upgrade = case.request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"));
    let literal = model::is_own_socket(&case.config, &case.request) || (upgrade && one.user.is_none());
    match (&one.scopes, &other.scopes) {
        // The Gateway takes the header of its own sockets literally.
        (Some(one), Some(other)) if literal => one.iter().all(|scope| other.contains(scope)),
        (Some(one), Some(other)) => one.iter().all(|scope| satisfied(scope, other)),
        // On an upgrade, an absent header does not limit anything; without a user there is nothing to limit.
        (Some(_), None) => true,
        (None, _) => one.user.is_none() || (upgrade && other.scopes.is_none()),
    }
}

/// Whether some scopes satisfy one (contract, section 4).
fn satisfied(scope: &str, by: &[String]) -> bool {
    let has = |name: &str| by.iter().any(|one| one == name);
    let write =
        ["operator.read", "operator.talk", "operator.sessions.read", "operator.sessions.write"].contains(&scope);
    has(scope)
        || has("operator.admin")
        || (write && has("operator.write"))
        || (scope == "operator.sessions.read" && (has("operator.read") || has("operator.sessions.write")))
}

// ---- removing parts of the configuration ----

/// Removes one entry from the list at `path`; `None` if there is none to remove.
fn without_one(config: &Value, path: &str, choices: &mut Choices<'_>) -> Option<Value> {
    let mut config = config.clone();
    let list = config.pointer_mut(path)?.as_array_mut().filter(|list| !list.is_empty())?;
    list.remove(choices.below(list.len()));
    Some(config)
}

/// The same case under a second configuration, with the grants of both.
fn compare(case: &Case, config: Value) -> (Case, Outcome, Option<Grant>, Option<Grant>) {
    let after = Case { config, request: case.request.clone() };
    let (old, new) = (decide(case), decide(&after));
    let grants = (subject::grant(&case.config, &old), subject::grant(&after.config, &new));
    (after, old, grants.0, grants.1)
}

fn has_finding(config: &Value, id: &str) -> bool {
    subject::compiled(config).findings.iter().any(|finding| finding.id == id)
}

/// Counts how often something was seen, and fails at the end if it never was.
struct Sightings(&'static str, Cell<u32>);

impl Sightings {
    fn of(what: &'static str) -> Self {
        Self(what, Cell::new(0))
    }

    fn note(&self) {
        self.1.set(self.1.get() + 1);
    }

    fn must_have_come(&self) {
        println!("{}: {} times", self.0, self.1.get());
        assert!(self.1.get() > 0 || cases() < 1500, "never seen: {}", self.0);
    }
}

#[test]
fn taking_an_origin_a_scope_or_a_certificate_out_never_admits_or_grants_more() {
    const LISTS: [&str; 7] = [
        "/gateway/controlUi/allowedOrigins",
        "/filter/scopes/default",
        "/filter/scopes/pluginDefault",
        "/filter/trustedPeers",
        "/filter/scopes/ownPaths",
        "/filter/scopes/ownSockets",
        "/filter/scopes/withoutUser",
    ];
    let (narrower, emptied) =
        (Sightings::of("something was lost"), Sightings::of("an emptied trustedPeers admitted more"));
    holds("less", |case, mut choices| {
        for path in LISTS {
            let Some(config) = without_one(&case.config, path, &mut choices) else { continue };
            if path == "/filter/trustedPeers" && config.pointer(path) == Some(&json!([])) {
                // The exception: without the key, no certificate is required. If it is the only check, it cannot be
                // emptied.
                let alone = config["filter"]["peerTrust"] == "certificate";
                prop_assert_eq!(compile(config.to_string().as_bytes()).is_err(), alone);
                if !alone {
                    let (_, _, old, new) = compare(&case, config);
                    if old.is_none() && new.is_some() {
                        emptied.note();
                        prop_assert!(has_finding(&case.config, "filter.trusted_peers"));
                    }
                }
                continue;
            }
            // A path that is no longer the Gateway's own gets the plugins' default, which the operator can make wider.
            let own = strings(&config["filter"]["scopes"]["default"]);
            let plugins = strings(&config["filter"]["scopes"]["pluginDefault"]);
            let is_wider = plugins.is_empty() || plugins.iter().any(|scope| !satisfied(scope, &own));
            if path == "/filter/scopes/ownPaths" && config["filter"]["scopes"]["default"].is_array() && is_wider {
                continue;
            }
            let (after, _, old, new) = compare(&case, config);
            prop_assert!(is_no_more(&case, new.as_ref(), old.as_ref()), "{path}: {}\n{old:?}\n{new:?}", after.config);
            if old != new {
                narrower.note();
            }
        }
        Ok(())
    });
    narrower.must_have_come();
    emptied.must_have_come();
}

#[test]
fn taking_a_scope_out_of_a_ceiling_never_grants_more() {
    let narrower = Sightings::of("a scope was lost");
    holds("ceilings", |case, mut choices| {
        for table in ["users", "groups"] {
            for key in keys(&case.config["filter"]["scopes"][table]) {
                let path = format!("/filter/scopes/{table}/{}", key.replace('~', "~0").replace('/', "~1"));
                let Some(config) = without_one(&case.config, &path, &mut choices) else { continue };
                let (after, _, old, new) = compare(&case, config);
                prop_assert!(
                    is_no_more(&case, new.as_ref(), old.as_ref()),
                    "{path}: {}\n{old:?}\n{new:?}",
                    after.config
                );
                if old != new {
                    narrower.note();
                }
            }
        }
        Ok(())
    });
    narrower.must_have_come();
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn keys(object: &Value) -> Vec<String> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

#[test]
fn removing_a_ceiling_grants_more_only_by_the_audited_default() {
    let more = Sightings::of("the default granted more than the entry");
    holds("ceiling entries", |case, _| {
        for table in ["users", "groups"] {
            for key in keys(&case.config["filter"]["scopes"][table]) {
                let mut config = case.config.clone();
                config["filter"]["scopes"][table].as_object_mut().unwrap().remove(&key);
                if table == "users" && key == "*" {
                    prop_assert!(compile(config.to_string().as_bytes()).is_err(), "the default is mandatory");
                    continue;
                }
                let (after, _, old, new) = compare(&case, config);
                if is_no_more(&case, new.as_ref(), old.as_ref()) {
                    continue;
                }
                more.note();
                // Nobody is admitted who was not before, and nobody gets more than the default allows.
                let default = strings(&after.config["filter"]["scopes"]["users"]["*"]);
                let (Some(old), Some(new)) = (old, new) else {
                    return Err(TestCaseError::fail(format!("{key}: a different user was admitted")));
                };
                prop_assert_eq!(&old.user, &new.user);
                for scope in new.scopes.unwrap_or_default() {
                    prop_assert!(satisfied(&scope, &default), "{scope} is not in the default: {default:?}");
                }
                prop_assert!(
                    has_finding(&case.config, "filter.default_ceiling"),
                    "the audit does not warn about {key}"
                );
            }
        }
        Ok(())
    });
    more.must_have_come();
}

#[test]
fn removing_a_user_admits_more_only_if_the_list_is_empty() {
    const PATH: &str = "/gateway/auth/trustedProxy/allowUsers";
    let (lost, opened) = (Sightings::of("a user was lost"), Sightings::of("an emptied list admitted everybody"));
    holds("users", |case, mut choices| {
        let Some(config) = without_one(&case.config, PATH, &mut choices) else { return Ok(()) };
        let emptied = config.pointer(PATH) == Some(&json!([]));
        let (after, old_outcome, old, new) = compare(&case, config);
        if old.is_some() && new.is_none() {
            lost.note();
        }
        if is_no_more(&case, new.as_ref(), old.as_ref()) {
            return Ok(());
        }
        // The only exception: the list was emptied, and no other rule would have refused the request.
        opened.note();
        prop_assert!(emptied, "{}\n{old:?}\n{new:?}", after.config);
        let code = match &old_outcome {
            Outcome::Refused(code) | Outcome::Passed { kind: Kind::Delegated(code), .. } => code,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(code, "trusted_proxy_user_not_allowed");
        prop_assert!(has_finding(&after.config, "gateway.trusted_proxy_no_allowlist"));
        Ok(())
    });
    lost.must_have_come();
    opened.must_have_come();
}

#[test]
fn removing_a_proxy_admits_more_only_if_it_becomes_a_client() {
    let (lost, attributed) = (Sightings::of("a peer was lost"), Sightings::of("a removed proxy became the client"));
    holds("proxies", |case, mut choices| {
        for path in ["/gateway/trustedProxies", "/filter/trustedProxies"] {
            let Some(config) = without_one(&case.config, path, &mut choices) else { continue };
            let Ok(_) = compile(config.to_string().as_bytes()) else {
                // An empty list is an error, unless it is never used.
                prop_assert_eq!(config.pointer(path), Some(&json!([])));
                continue;
            };
            let (after, old_outcome, old, new) = compare(&case, config);
            if old.is_some() && new.is_none() {
                lost.note();
            }
            if is_no_more(&case, new.as_ref(), old.as_ref()) {
                continue;
            }
            attributed.note();
            prop_assert_eq!(
                &old_outcome,
                &Outcome::Refused("proxy_attribution_required".to_owned()),
                "{}",
                after.config
            );
            prop_assert!(has_finding(&case.config, "filter.removed_proxies"), "no finding for {path}");
        }
        Ok(())
    });
    lost.must_have_come();
    attributed.must_have_come();
}

// ---- headers ----

#[test]
fn a_header_that_no_rule_reads_changes_nothing_and_stays_byte_for_byte() {
    const NAMES: [&str; 6] =
        ["accept-language", "x-unread", "X-Forwarded-Users", "traceparent", "x-openclaw-scope", "1"];
    holds("unread headers", |mut case, mut choices| {
        let before = subject::normalized(&case.config, &decide(&case));
        let name = choices.pick(&NAMES).as_bytes().to_vec();
        let at = choices.below(case.request.headers.len() + 1);
        let value =
            choices.rest().iter().copied().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).collect::<Vec<_>>();
        case.request.headers.insert(at, (name.clone(), value.clone()));
        let mut after = subject::normalized(&case.config, &decide(&case));
        if let Outcome::Passed { headers, .. } = &mut after {
            let unread = (model::latin1(&name), model::latin1(&value));
            let place = headers.iter().position(|header| *header == unread);
            prop_assert!(place.is_some(), "{unread:?} is missing: {headers:?}");
            headers.remove(place.unwrap());
        }
        prop_assert_eq!(before, after);
        Ok(())
    });
}

#[test]
fn order_and_case_of_names_do_not_matter() {
    holds("order and case", |case, mut choices| {
        let mut other = case.clone();
        // A stable sort by a random rank of the name: copies of one header keep their order.
        let mut ranks = BTreeMap::new();
        for (name, _) in &case.request.headers {
            let rank = choices.byte();
            ranks.entry(name.to_ascii_lowercase()).or_insert(rank);
        }
        other.request.headers.sort_by_key(|(name, _)| ranks[&name.to_ascii_lowercase()]);
        for (name, _) in &mut other.request.headers {
            for byte in name.iter_mut() {
                if choices.one_in(2) {
                    *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
                }
            }
        }
        let (one, two) = (decide(&case), decide(&other));
        prop_assert_eq!(sorted(one), sorted(two));
        Ok(())
    });
}

/// Headers by lower-case name; copies keep their order.
fn sorted(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Passed { kind, mut headers } => {
            headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
            headers.sort_by(|a, b| a.0.cmp(&b.0));
            Outcome::Passed { kind, headers }
        }
        refused => refused,
    }
}

#[test]
fn what_was_stamped_once_is_admitted_unchanged_again() {
    let again = Sightings::of("stamped twice");
    holds("fixed point", |case, _| {
        if case.config["filter"]["userPrefix"].is_string() || case.config["filter"]["requiredValues"].is_object() {
            return Ok(()); // The prefix, or the secret, is gone then.
        }
        let user = case.config["gateway"]["auth"]["trustedProxy"]["userHeader"].as_str().unwrap();
        // Groups are scrubbed, so a second pass applies only the user's own ceiling.
        if !subject::upstream_user_header(&case.config).eq_ignore_ascii_case(user)
            || case.config["filter"]["scopes"]["groupsHeader"].is_string()
        {
            return Ok(());
        }
        let policy = policy(&case.config);
        let first = subject::decide(&policy, &case.request);
        let Outcome::Passed { kind: Kind::Identified(_), headers } = &first else { return Ok(()) };
        let bytes = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<_>>();
        let headers = headers.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        let request = Request { headers, ..case.request };
        again.note();
        prop_assert_eq!(&subject::decide(&policy, &request), &first);
        prop_assert_eq!(subject::edits(&policy, &request), Some(0), "a second stamp writes something");
        Ok(())
    });
    again.must_have_come();
}

#[test]
fn no_alias_of_an_identity_header_survives() {
    fn fold(name: &str) -> String {
        name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }
    let planted = Sightings::of("an alias was planted");
    holds("aliases", |mut case, mut choices| {
        let config = &case.config;
        let required =
            config["gateway"]["auth"]["trustedProxy"]["requiredHeaders"].as_array().cloned().unwrap_or_default();
        let kept = config["filter"]["keepHeaders"].as_array().cloned().unwrap_or_default();
        let spared: Vec<_> =
            required.iter().chain(&kept).filter_map(Value::as_str).map(str::to_ascii_lowercase).collect();
        let mut targets = vec![
            "x-openclaw-scopes",
            "x-forwarded-email",
            "x-auth-request-user",
            "remote-user",
            "tailscale-user-login",
        ];
        targets.push(subject::upstream_user_header(config));
        targets.extend(config["gateway"]["auth"]["trustedProxy"]["userHeader"].as_str());
        targets.extend(config["filter"]["scopes"]["groupsHeader"].as_str());
        targets.extend(config["filter"]["stripHeaders"].as_array().into_iter().flatten().filter_map(Value::as_str));
        let target = (*choices.pick(&targets)).to_owned();
        let separator = *choices.pick(&["_", ".", "~", "|", "!", "\u{E9}"]);
        let alias: String = target
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { separator.to_owned() })
            .collect();
        if alias.eq_ignore_ascii_case(&target) || spared.contains(&alias.to_ascii_lowercase()) {
            return Ok(());
        }
        planted.note();
        let at = choices.below(case.request.headers.len() + 1);
        let name = alias.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        case.request.headers.insert(at, (name, b"mallory@example.com".to_vec()));
        let Outcome::Passed { headers, .. } = decide(&case) else { return Ok(()) };
        for (name, _) in &headers {
            let alike = fold(name) == fold(&target);
            prop_assert!(
                !alike || name.eq_ignore_ascii_case(&target) || spared.contains(&name.to_ascii_lowercase()),
                "{name} survives"
            );
        }
        prop_assert!(
            !headers.iter().any(|(_, value)| value == "mallory@example.com"),
            "the alias survives: {headers:?}"
        );
        Ok(())
    });
    planted.must_have_come();
}

#[test]
fn a_configured_name_never_takes_a_part_of_the_request_line_away() {
    let request = Request {
        peer: Some(b"10.0.0.1:40000".to_vec()),
        headers: [
            (":method", "GET"),
            (":path", "/"),
            (":scheme", "https"),
            (":authority", "claw.example.com"),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
            ("x-user", "alice"),
            ("-path", "alice"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec(),
        ..Request::default()
    };
    let mut wrong = Vec::new();
    for name in ["-path", "-method", ".authority", "_scheme", "-PATH"] {
        for place in ["/filter/stripHeaders", "/filter/upstreamUserHeader", "/gateway/auth/trustedProxy/userHeader"] {
            let mut config = json!({
                "gateway": {
                    "trustedProxies": ["10.0.0.1"],
                    "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}
                },
                "filter": {"stripHeaders": [], "upstreamUserHeader": "x-user"}
            });
            let value = config.pointer_mut(place).unwrap();
            *value = if value.is_array() { json!([name]) } else { json!(name) };
            // Such a name may be refused.
            let Ok(compiled) = compile(config.to_string().as_bytes()) else { continue };
            if let Outcome::Passed { headers, .. } = subject::decide(&compiled.policy, &request) {
                let parts: BTreeSet<_> =
                    headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with(':')).collect();
                if parts.len() != 4 {
                    wrong.push(format!("{place} {name}: only {parts:?} remain"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// ---- configurations ----

/// The same JSON with members in another order, and entries too where their order has no meaning.
fn shuffled(value: &Value, path: &str, choices: &mut Choices<'_>, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            choices.shuffle(&mut members);
            text.push_str("{ ");
            for (at, (key, member)) in members.into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { " ,\n" });
                text.push_str(&json!(key).to_string());
                text.push_str(" :");
                shuffled(member, &format!("{path}/{key}"), choices, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().collect();
            // Required headers are checked in order, scopes are stamped in order, paths in metadata are paths, and of
            // the peer's identities the first one counts.
            let ordered = ["/requiredHeaders", "/metadata", "/requireTrue", "/peerIdentity"]
                .iter()
                .any(|end| path.ends_with(end))
                || path.starts_with("/filter/scopes");
            if !ordered || path.ends_with("/ownPaths") {
                choices.shuffle(&mut items);
            }
            text.push('[');
            for (at, item) in items.into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                shuffled(item, path, choices, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[test]
fn the_order_of_keys_and_entries_does_not_matter() {
    holds("configuration order", |case, mut choices| {
        let mut text = String::new();
        shuffled(&case.config, "", &mut choices, &mut text);
        let (one, two) = (subject::compiled(&case.config), compile(text.as_bytes()));
        prop_assert!(two.is_ok(), "{:?}\n{text}", two.err());
        let two = two.unwrap();
        prop_assert_eq!(
            subject::decide(&one.policy, &case.request),
            subject::decide(&two.policy, &case.request),
            "{}",
            text
        );
        let ids = |compiled: &policy::config::Compiled| {
            let mut ids: Vec<_> = compiled.findings.iter().map(|finding| finding.id).collect();
            ids.sort_unstable();
            ids
        };
        prop_assert_eq!(ids(&one), ids(&two));
        Ok(())
    });
}

#[test]
fn an_unknown_key_anywhere_under_filter_is_an_error_that_names_it() {
    holds("unknown keys", |mut case, mut choices| {
        let key = *choices.pick(&["trustedproxies", "Mode", "x", "default ", "", "*", "scopes.default", "$schema"]);
        case.config["filter"]["scopes"]["ownPaths"] = json!([]);
        let objects =
            ["/filter", "/filter/scopes", "/filter/assertion", "/filter/peerAddress", "", "/gateway/auth/trustedProxy"];
        let path = *choices.pick(&objects);
        let Some(Value::Object(members)) = case.config.pointer_mut(path) else { return Ok(()) };
        members.insert(key.to_owned(), json!(null));
        let Err(errors) = compile(case.config.to_string().as_bytes()) else {
            return Err(TestCaseError::fail(format!("{path}/{key} is accepted")));
        };
        let parent = path.trim_start_matches('/').replace('/', ".");
        let named = errors.as_slice().iter().any(|error| error.path.starts_with(&parent) && error.path.ends_with(key));
        prop_assert!(named, "no error names {parent}.{key}: {errors}");
        Ok(())
    });
}

#[test]
fn any_bytes_are_a_configuration_or_errors_that_say_where() {
    let refused = Sightings::of("refused");
    holds("configuration bytes", |case, mut choices| {
        let text = broken(&case.config, &mut choices);
        match compile(&text) {
            Ok(compiled) => {
                // An accepted configuration must decide without a panic.
                subject::decide(&compiled.policy, &case.request);
            }
            Err(errors) => {
                refused.note();
                prop_assert!(!errors.as_slice().is_empty());
                for error in errors.as_slice() {
                    let whole = error.path.starts_with("gateway") || error.path.starts_with("filter");
                    prop_assert!(whole || !error.path.is_empty(), "without a path: {error}");
                    prop_assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{error}");
                    prop_assert!(!error.to_string().contains('\n'), "not one line: {error}");
                }
            }
        }
        Ok(())
    });
    refused.must_have_come();
}

/// A valid configuration with one thing broken: a value replaced, or bytes changed, cut or inserted.
fn broken(config: &Value, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut config = config.clone();
    if choices.one_in(2) {
        let junk = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1e300),
            json!(""),
            json!(" "),
            json!("\u{0}"),
            json!("x"),
            json!("10.0.0.1/33"),
            json!("::/129"),
            json!("::ffff:10.0.0.0/95"),
            json!("*"),
            json!("operator.admin"),
            json!("ws:/*"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([""]),
            json!(["\u{1F980}"]),
            json!({"": ""}),
            json!([null]),
            json!("a\nb"),
        ];
        let junk = choices.pick(&junk).clone();
        let mut place = &mut config;
        // Descends to a random depth.
        loop {
            let children = match &*place {
                Value::Object(members) => members.len(),
                Value::Array(items) => items.len(),
                _ => 0,
            };
            if children == 0 || choices.one_in(6) {
                break;
            }
            let at = choices.below(children);
            place = match place {
                Value::Object(members) => members.values_mut().nth(at).unwrap(),
                Value::Array(items) => &mut items[at],
                _ => break,
            };
        }
        *place = junk;
        return config.to_string().into_bytes();
    }
    let mut text = config.to_string().into_bytes();
    for _ in 0..=choices.below(3) {
        let at = choices.below(text.len().max(1)).min(text.len());
        match choices.below(4) {
            0 => text.truncate(at),
            1 if at < text.len() => text[at] = choices.byte(),
            2 => text.insert(at, *choices.pick(b"{}[]\",:0e\\\x00\xFF")),
            _ => {
                text.drain(at..text.len().min(at + 3));
            }
        }
    }
    text
}

// ---- open sockets ----

/// Like [`holds`], with an upgrade, and with the configuration after an edit.
fn holds_for_sockets(name: &'static str, property: impl Fn(Case, Value, Choices<'_>) -> TestCaseResult) {
    holds_for(name, 2 * BYTES, generate::edited, |(case, edited), choices| property(case, edited, choices));
}

fn is_valid(config: &Value) -> bool {
    compile(config.to_string().as_bytes()).is_ok()
}

#[test]
fn open_sockets_stay_or_are_closed_as_the_reference_model_says() {
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    holds_for_sockets("sockets", |case, edited, _| {
        if !is_valid(&edited) {
            return Ok(());
        }
        let fate = subject::fate(&case.config, &edited, &case.request);
        let fate = fate.map_err(|why| TestCaseError::fail(format!("{why}\nafter: {edited}")))?;
        let name = match fate {
            None => "never open".to_owned(),
            Some(Fate::Stays) => "stays".to_owned(),
            Some(Fate::Closed(code)) if code.starts_with("trusted_proxy_socket_") => code,
            Some(Fate::Closed(_)) => "refused".to_owned(),
        };
        *seen.borrow_mut().entry(name).or_default() += 1;
        Ok(())
    });
    let seen = seen.into_inner();
    println!("{seen:?}");
    let all = [
        "stays",
        "refused",
        "never open",
        "trusted_proxy_socket_user_changed",
        "trusted_proxy_socket_scopes_reduced",
        "trusted_proxy_socket_unclear",
    ];
    for name in all {
        assert!(seen.contains_key(name) || cases() < 1500, "the generator has become too weak: no socket is {name}");
    }
}

#[test]
fn no_socket_is_closed_by_the_policy_that_let_it_through() {
    let open = Sightings::of("a socket was opened");
    holds_for_sockets("sockets again", |mut case, edited, _| {
        case.config["filter"]["mode"] = json!("enforce");
        let before = policy(&case.config);
        let Some(socket) = Open::by(&before, &case.request) else { return Ok(()) };
        open.note();
        prop_assert_eq!(socket.under(&before), Fate::Stays);
        // Nor after an edit that is undone.
        if is_valid(&edited) {
            let between = socket.under(&policy(&edited));
            prop_assert_eq!(socket.under(&before), Fate::Stays, "after {:?}", between);
        }
        Ok(())
    });
    open.must_have_come();
}

#[test]
fn taking_an_origin_or_a_scope_away_keeps_no_socket_open_that_was_closed() {
    const LISTS: [&str; 4] = [
        "/gateway/controlUi/allowedOrigins",
        "/filter/scopes/pluginDefault",
        "/filter/scopes/ownSockets",
        "/filter/scopes/withoutUser",
    ];
    let (closed, lost) = (Sightings::of("closed before and after"), Sightings::of("closed by what was taken away"));
    holds_for_sockets("fewer sockets", |case, edited, mut choices| {
        let Some(socket) = Open::by(&policy(&case.config), &case.request) else { return Ok(()) };
        if !is_valid(&edited) {
            return Ok(());
        }
        let before = socket.under(&policy(&edited));
        let mut lists: Vec<_> = LISTS.iter().map(|path| (*path).to_owned()).collect();
        for table in ["users", "groups"] {
            let keys = keys(&edited["filter"]["scopes"][table]).into_iter();
            let path = |key: String| format!("/filter/scopes/{table}/{}", key.replace('~', "~0").replace('/', "~1"));
            lists.extend(keys.map(path));
        }
        for path in lists {
            let Some(less) = without_one(&edited, &path, &mut choices).filter(is_valid) else { continue };
            let after = socket.under(&policy(&less));
            match (&before, &after) {
                (Fate::Closed(_), Fate::Closed(_)) => closed.note(),
                (Fate::Stays, Fate::Closed(_)) => lost.note(),
                (Fate::Closed(_), Fate::Stays) => {
                    return Err(TestCaseError::fail(format!("{path}: {before:?}, and open under {less}")));
                }
                (Fate::Stays, Fate::Stays) => {}
            }
        }
        Ok(())
    });
    closed.must_have_come();
    lost.must_have_come();
}
