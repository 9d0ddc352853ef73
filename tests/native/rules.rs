//! The order of the rules, and how a decision is explained: every rule is broken alone, with each later rule, and with
//! all later rules.

use std::cmp::Ordering;

use model::breaks::{BREAKS, Change, admitted, configuration};
use model::{Kind, Outcome, subject};
use policy::{Rule, Verdict};
use serde_json::json;

#[test]
fn rules_are_asked_in_the_contracts_order() {
    let policy = subject::compiled(&configuration(json!({"anonymousPaths": ["ws:/ping"]}))).policy;
    // Everything is broken. Each step mends what the step before was refused for.
    for (at, first) in BREAKS.iter().enumerate() {
        let mut request = admitted();
        BREAKS[at..].iter().rev().for_each(|broken| broken.apply(&mut request));
        assert_eq!(subject::decide(&policy, &request), Outcome::Refused(first.code.to_owned()));
        Change::Set(":path", "/ping?x").apply(&mut request);
        let decision = subject::decide(&policy, &request);
        assert!(matches!(decision, Outcome::Passed { kind: Kind::Anonymous, .. }), "rule 0 comes first: {decision:?}");
    }
    let decision = subject::decide(&policy, &admitted());
    assert!(matches!(decision, Outcome::Passed { kind: Kind::Identified(_), .. }), "{decision:?}");
}

#[test]
fn every_rule_but_the_first_is_broken_in_the_table() {
    let mut broken: Vec<_> = BREAKS.iter().map(|broken| broken.rule).collect();
    broken.dedup();
    assert_eq!(broken, Rule::ALL[1..].iter().map(|rule| rule.number()).collect::<Vec<_>>());
}

#[test]
fn rules_are_shown_in_the_order_in_which_they_are_asked() {
    let policy = subject::compiled(&configuration(json!({}))).policy;
    let (steps, refused) = subject::trace(&policy, &admitted());
    assert_eq!(refused, None);
    assert_eq!(steps.iter().filter(|step| step.verdict == Verdict::Passed).count(), 12, "{steps:?}");
    for (at, first) in BREAKS.iter().enumerate() {
        // A connection has one peer, which can break only one rule.
        for second in BREAKS[at..].iter().filter(|second| first.peer().is_none() || second.peer().is_none()) {
            let mut request = admitted();
            first.apply(&mut request);
            second.apply(&mut request);
            let (steps, refused) = subject::trace(&policy, &request);
            let refused = refused.unwrap();
            assert!(BREAKS.iter().any(|broken| broken.rule == first.rule && broken.code == refused), "{refused}");
            for step in steps {
                let rule = Rule::ALL.into_iter().find(|rule| rule.number() == first.rule).unwrap();
                let expected = match step.rule.cmp(&rule) {
                    Ordering::Less => &[Verdict::Passed, Verdict::Skipped][..],
                    Ordering::Equal => &[Verdict::Refused],
                    Ordering::Greater => &[Verdict::NotReached],
                };
                assert!(expected.contains(&step.verdict), "{} and {}: {step:?}", first.code, second.code);
            }
        }
    }
}

#[test]
fn a_delegated_request_is_shown_with_the_rules_that_are_still_asked() {
    use Verdict::{Delegated, NotReached, Passed, Refused};
    let policy = subject::compiled(&configuration(json!({"webSocketRefusal": "delegate"}))).policy;
    // Rules 6, 6b, 7, 7b, 8, 9, 10.
    let cases = [
        (&["6"][..], [Delegated, Passed, NotReached, Passed, Passed, NotReached, Passed]),
        (&["7"], [Passed, Passed, Delegated, Passed, Passed, NotReached, Passed]),
        (&["9"], [Passed, Passed, Passed, Passed, Passed, Delegated, Passed]),
        (&["6", "6b"], [Delegated, Refused, NotReached, NotReached, NotReached, NotReached, NotReached]),
        (&["6b"], [Passed, Refused, NotReached, NotReached, NotReached, NotReached, NotReached]),
        (&["6", "7b"], [Delegated, Passed, NotReached, Refused, NotReached, NotReached, NotReached]),
        (&["7", "8"], [Passed, Passed, Delegated, Passed, Refused, NotReached, NotReached]),
        (&["7", "10"], [Passed, Passed, Delegated, Passed, Passed, NotReached, Refused]),
        (&["9", "10"], [Passed, Passed, Passed, Passed, Passed, Delegated, Refused]),
        (&["7b"], [Passed, Passed, Passed, Refused, NotReached, NotReached, NotReached]),
    ];
    for (broken, expected) in cases {
        let mut request = admitted();
        BREAKS.iter().filter(|one| broken.contains(&one.rule)).for_each(|one| one.apply(&mut request));
        let (steps, _) = subject::trace(&policy, &request);
        let verdicts: Vec<_> =
            steps.iter().filter(|step| step.rule > Rule::Attribution).map(|step| step.verdict).collect();
        assert_eq!(verdicts, expected, "{broken:?}: {steps:?}");
    }
}

#[test]
fn public_files_are_those_of_the_reference_model() {
    // `controlUi.basePath`, and where that is.
    const BASES: [(&str, &str); 11] = [
        ("", ""),
        ("/", ""),
        ("/ui", ""),
        ("/ui", "/ui"),
        ("ui/", "/ui"),
        ("/ui//", "/ui"),
        ("/a/b", "/a/b"),
        ("/v1", "/v1"),
        ("/__openclaw__", "/__openclaw__"),
        ("/u%69", "/u%69"),
        ("/u*", "/u*"),
    ];
    const FOLDERS: [&str; 19] = [
        "",
        "app-art/",
        "assets/",
        "assets/a/b/",
        "cloud-provider-icons/",
        "community-art/",
        "file-icons/large/",
        "fonts/",
        "provider-icons/",
        "themes/",
        "Assets/",
        "asset/",
        "x/assets/",
        "assets/../",
        "assets//",
        "%61ssets/",
        "plugins/",
        "avatar/",
        "__openclaw__/plugins/control-ui/",
    ];
    const NAMES: [&str; 14] = [
        "sw.js",
        "favicon.ico",
        "favicon-32.png",
        "index.html",
        "x.css",
        "x.a.woff2",
        "x.JS",
        "x.js.br",
        ".js",
        "x",
        "",
        "x.js?v=/",
        "x%2ejs",
        "control-ui-config.json",
    ];
    let mut public = 0;
    for (base, mount) in BASES {
        let mut config = configuration(json!({}));
        config["gateway"]["controlUi"] = json!({"basePath": base, "allowedOrigins": ["https://claw.example.com"]});
        let policy = subject::compiled(&config).policy;
        for (folder, name) in FOLDERS.into_iter().flat_map(|folder| NAMES.map(|name| (folder, name))) {
            let path = format!("{mount}/{folder}{name}");
            for (method, upgrade) in [("GET", false), ("HEAD", false), ("POST", false), ("GET", true)] {
                let mut request = admitted();
                let mut set = |name: &str, value: &str| {
                    request.headers.retain(|(other, _)| other != name.as_bytes());
                    request.headers.push((name.into(), value.into()));
                };
                set(":method", method);
                set(":path", &path);
                set("origin", "https://evil.example");
                if !upgrade {
                    request.headers.retain(|(name, _)| name != b"upgrade");
                }
                let (seen, model) = (subject::decide(&policy, &request), model::decide(&config, &request));
                let context = format!("{method} {path} below {base:?}, upgrade: {upgrade}");
                assert!(subject::agree(&config, &model, &seen), "{context}: {seen:?}, and the model {model:?}");
                public += usize::from(matches!(seen, Outcome::Passed { .. }));
            }
        }
    }
    assert!(public > 500, "{public}");
}
