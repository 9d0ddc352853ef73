//! Releases of the Gateway on both sides of every difference: their own decision functions, and the filter with
//! `filter.gatewayVersion`. `make test-gateways` installs the packages. `GATEWAYS="2026.10.1"` tries others.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;

use harness::document::published;
use harness::envoy::root;
use policy::config::Release;
use serde_json::{Value, json};

use crate::generate::{Case, Random, case};
use crate::verdicts::{Compared, Gateway};

pub const RELEASES: [&str; 13] = [
    "2026.4.2",
    "2026.4.26",
    "2026.4.29",
    "2026.5.4",
    "2026.5.12",
    "2026.5.20",
    "2026.6.35",
    "2026.7.1",
    "2026.7.35",
    "2026.8.1",
    "2026.9.3",
    "2026.9.4",
    "2026.9.6",
];
const CASES: usize = 2_000;
const SEED: &str = "GATEWAYS_SEED";

/// What the filter refuses or takes away on purpose, and the releases for which it is more than the Gateway does. The
/// generated cases and those made by hand must show each of them, and nothing else.
const STRICTER: [(&str, fn(&Gateway) -> bool); 17] = [
    ("a bad entry in the list of proxies is an error", |_| true),
    ("a repeated user header", |_| true),
    ("a repeated origin", |_| true),
    ("an origin with `%` or bytes beyond ASCII in its host", |_| true),
    ("an origin whose host ends in a number without being a dotted quad", |_| true),
    ("an origin with an international label (xn--) that is not surely a good one", |_| true),
    ("an origin with a comma in its host", |_| true),
    ("an origin with a tab inside", |_| true),
    ("unknown scopes are dropped", |_| true),
    ("a path that is not plain gets the narrow default", |_| true),
    ("what the Control UI reads beside its configuration gets the narrow default", |_| true),
    ("an origin that is not scheme://host[:port]", |gateway| !gateway.has_strict_origins()),
    ("an address as host and origin outside of the private ranges", |gateway| gateway.is_since(5, 18)),
    ("an address with octal digits names no client", |gateway| gateway.is_since(8, 1)),
    ("with allowTailscale, any path that is not plain counts as the Control UI's", |gateway| gateway.is_since(9, 2)),
    ("with allowTailscale, a Control UI that is switched off counts as one", |gateway| gateway.is_since(9, 2)),
    ("a file of the Control UI outside of its folders, with a foreign origin", |gateway| gateway.is_since(9, 6)),
];
/// The same for origins that the lenient parser of older releases reads as something else.
const EMPTY_USER: (&str, fn(&Gateway) -> bool) = ("an origin with empty user info", Gateway::has_strict_origins);

#[test]
fn no_release_refuses_what_the_filter_admits_for_it() {
    let named = std::env::var("GATEWAYS").unwrap_or_default();
    let named: Vec<&str> = named.split_whitespace().collect();
    let releases = if named.is_empty() { RELEASES.to_vec() } else { named };
    let seed = Random::seed(SEED);
    let mut random = Random::new(seed);
    let mut cases = made_by_hand();
    cases.extend((0..CASES).map(|_| case(&mut random)));
    crate::say(&format!("{} cases by hand and {CASES} generated ones, {SEED}={seed}", cases.len() - CASES));
    // Two at a time: each is one thread of the Gateway's Node.
    let queue = Mutex::new(releases.iter());
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(release) = { queue.lock().unwrap().next() } {
                    let found = try_release(release, &cases);
                    problems.lock().unwrap().extend(found);
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{SEED}={seed}: {} problems\n{}", problems.len(), problems.join("\n"));
    if releases == RELEASES {
        published("gateway releases::", "docs/compatibility.md", with_table);
    }
}

/// Runs a release, and returns what is wrong.
fn try_release(release: &str, cases: &[Case]) -> Vec<String> {
    let gateway = gateway(release);
    let compared = gateway.compare(cases);
    crate::say(&format!("{release}: {compared}"));
    let is_listed = RELEASES.contains(&release);
    if !is_listed {
        show_what_is_new(&gateway, &compared, cases);
    }
    // A release that is not in the filter's table gets the stricter rules of its neighbours.
    let is_wrong = |problem: &&String| is_listed || !(problem.contains("STRICTER") || problem.contains("FEWER SCOPES"));
    let mut problems: Vec<String> = compared.problems.iter().filter(is_wrong).take(5).cloned().collect();
    let met: BTreeSet<&str> = compared.counts.keys().filter_map(|what| what.strip_prefix("stricter: ")).collect();
    let expected: BTreeSet<&str> = stricter_than(&gateway).collect();
    if is_listed && met != expected {
        let (more, fewer): (Vec<_>, Vec<_>) =
            (met.difference(&expected).collect(), expected.difference(&met).collect());
        problems.push(format!("{release}: stricter without being listed: {more:?}; listed, but never seen: {fewer:?}"));
    }
    problems
}

fn stricter_than(gateway: &Gateway) -> impl Iterator<Item = &'static str> {
    STRICTER.into_iter().chain([EMPTY_USER]).filter(|(_, holds)| holds(gateway)).map(|(what, _)| what)
}

fn gateway(release: &str) -> Gateway {
    if release == Release::NEWEST.to_string() {
        return Gateway::installed();
    }
    let package = root().join(".tools/gateways").join(release).join("package");
    assert!(package.join("dist").is_dir(), "the Gateway {release} is missing: run `make test-gateways`");
    Gateway::of(release, package)
}

/// Shows the cases that a release decides differently from the listed one before it.
fn show_what_is_new(gateway: &Gateway, compared: &Compared, cases: &[Case]) {
    let parsed = |release: &str| Release::parse(release).expect("a release");
    let before = RELEASES.iter().rev().find(|listed| parsed(listed) < parsed(&gateway.release)).unwrap_or(&RELEASES[0]);
    let neighbour = self::gateway(before).compare(cases);
    let differs = |answer: &Value, other: &Value| {
        ["ok", "user", "reason", "scopes"].iter().any(|part| answer[part] != other[part])
    };
    let pairs = compared.answers.iter().zip(&neighbour.answers).zip(cases);
    let different: Vec<_> = pairs.filter(|((answer, other), _)| differs(answer, other)).collect();
    let mut text =
        format!("{} decides {} of {} cases unlike {before}\n", gateway.release, different.len(), cases.len());
    for ((answer, other), case) in different.iter().take(20) {
        writeln!(text, "  {case}\n    {before}: {other}\n    {}: {answer}", gateway.release).unwrap();
    }
    for problem in compared.problems.iter().take(10) {
        writeln!(text, "  {problem}").unwrap();
    }
    crate::say(&text);
}

/// The page with the table that the test stands for.
fn with_table(page: &str) -> String {
    const START: &str = "<!-- written by make test-gateways -->\n";
    const END: &str = "<!-- end -->\n";
    let (before, rest) = page.split_once(START).expect("the page has the mark where the table starts");
    let (_, after) = rest.split_once(END).expect("the page has the mark where the table ends");
    let gateways: Vec<Gateway> = RELEASES.iter().map(|release| gateway(release)).collect();
    let everywhere = |what: &str| gateways.iter().all(|gateway| stricter_than(gateway).any(|one| one == what));
    let mut table = String::from("For every release, the filter is stricter in this:\n\n");
    for what in stricter_than(&gateways[0]).filter(|what| everywhere(what)) {
        writeln!(table, "- {what}").unwrap();
    }
    table.push_str("\n| Gateway | laxer | also stricter |\n| --- | --- | --- |\n");
    for gateway in &gateways {
        let more: Vec<_> = stricter_than(gateway).filter(|what| !everywhere(what)).collect();
        writeln!(table, "| {} | nothing | {} |", gateway.release, more.join("; ")).unwrap();
    }
    format!("{before}{START}\n{table}\n{END}{after}")
}

// ---- cases made by hand ----

/// A request that every release accepts, with changes to the gateway block and to the headers.
fn made(gateway: &Value, headers: &[(&str, &str)]) -> Case {
    let mut made = Case {
        websocket: false,
        plugin: false,
        peer: "10.0.0.1".to_owned(),
        method: "GET".to_owned(),
        path: "/tools/invoke".to_owned(),
        headers: Vec::new(),
        gateway: json!({
            "trustedProxies": ["10.0.0.1", "127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user", "allowLoopback": true}},
        }),
    };
    harness::gateway::lay(&mut made.gateway, gateway);
    let all =
        [("host", "claw.example.com"), ("x-forwarded-for", "198.51.100.7"), ("x-forwarded-user", "nick@example.com")];
    for (name, value) in all.iter().chain(headers) {
        made.set(name, &[value.as_bytes().to_vec()]);
    }
    made
}

/// The same as an upgrade.
fn socket(gateway: &Value, headers: &[(&str, &str)]) -> Case {
    Case { websocket: true, path: "/".to_owned(), ..made(gateway, headers) }
}

fn made_by_hand() -> Vec<Case> {
    const EXTENSION: &str = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
    let none = json!({});
    let origins = |list: &[&str]| json!({"controlUi": {"allowedOrigins": list}});
    let any = origins(&["*"]);
    let one = origins(&["https://claw.example.com"]);
    let mut cases = Vec::new();

    // The list of proxies.
    for (entry, peers) in [
        ("::ffff:10.0.0.0/104", &["10.1.2.3", "10.0.0.0", "::ffff:10.1.2.3"][..]),
        ("::ffff:10.0.0.1/128", &["10.0.0.1"]),
        ("fd00::/8", &["fd12::1"]),
        ("[10.0.0.1]", &["10.0.0.1"]),
        ("10.0.0.5/8", &["10.0.0.1"]),
    ] {
        for peer in peers {
            let list = json!({"trustedProxies": [entry]});
            cases.push(Case { peer: (*peer).to_owned(), ..made(&list, &[]) });
            cases.push(Case { peer: (*peer).to_owned(), ..socket(&list, &[]) });
        }
    }
    for allow in [true, false] {
        let setting = json!({"auth": {"trustedProxy": {"allowLoopback": allow}}});
        cases.push(Case { peer: "127.0.0.1".to_owned(), ..made(&setting, &[]) });
        cases.push(Case { peer: "127.0.0.1".to_owned(), ..socket(&setting, &[]) });
    }

    // The client.
    for chain in ["127.0.0.1", "10.0.0.1", "unknown", "::ffff:0177.0.0.1", "198.51.100.7, 10.0.0.1"] {
        cases.extend([made(&none, &[("x-forwarded-for", chain)]), socket(&none, &[("x-forwarded-for", chain)])]);
    }
    let mut nobody = made(&none, &[]);
    nobody.set("x-forwarded-for", &[]);
    cases.push(nobody);
    cases.push(made(&json!({"auth": {"trustedProxy": {"userHeader": " X-Forwarded-User "}}}), &[]));
    for name in ["x-forwarded-user", "origin"] {
        let mut twice = made(&any, &[]);
        let values: [&str; 2] = if name == "origin" { ["https://a.example", ""] } else { ["nick", "eve"] };
        twice.set(name, &values.map(|value| value.as_bytes().to_vec()));
        cases.push(twice);
    }

    // Origins: those that are like the host, those in the list, and those that are hardly origins.
    for host in
        ["192.168.1.5:18789", "box.tail1.ts.net", "claw.local", "localhost:18789", "[fec0::1]", "claw.example.com"]
    {
        let same = [("host", host), ("origin", &format!("http://{host}"))];
        cases.extend([made(&none, &same), socket(&none, &same)]);
        let fallback = json!({"controlUi": {"dangerouslyAllowHostHeaderOriginFallback": true}});
        cases.push(made(&fallback, &same));
    }
    for origin in
        [EXTENSION, "app://claw.example.com", "moz-extension://a", "ftp://a", "ws://a", "https://claw.example.com"]
    {
        for list in [
            origins(&[origin]),
            any.clone(),
            one.clone(),
            json!({"controlUi": {"dangerouslyAllowHostHeaderOriginFallback": true}}),
        ] {
            cases.extend([made(&list, &[("origin", origin)]), socket(&list, &[("origin", origin)])]);
        }
    }
    for origin in [
        "https://claw.example.com/path",
        "https://claw.example.com?x",
        "https://user@claw.example.com",
        "https:claw.example.com",
        "https://@claw.example.com",
        "https://cl%61w.example.com",
        "https://a,b.example",
        "https://cl\taw.example.com",
        "https://xn--bcher-kva.example",
        "https://xn--80ak6aa92e.example",
        "https://xn--0.example",
        "http://0x7f.1",
        "https://evil.example",
        "https://claw.example.com/",
        "about:blank",
        "null",
        "file:///etc",
    ] {
        for list in [&any, &one] {
            cases.extend([made(list, &[("origin", origin)]), socket(list, &[("origin", origin)])]);
        }
    }

    // Scopes and paths.
    let endpoints = json!({"http": {"endpoints": {"responses": {"enabled": true}}}});
    let tailscale = json!({"auth": {"allowTailscale": true}});
    for path in [
        "/tools/invoke",
        "/sessions/main/kill",
        "/v1/models",
        "/v1/embeddings",
        "/control-ui-config.json",
        "/__openclaw/control-ui-config.json",
        "/__openclaw__/control-ui-config.json",
        "/avatar/main",
        "/plugin",
        "/tools/%69nvoke",
        "/./tools/invoke",
    ] {
        for gateway in [&endpoints, &tailscale] {
            for scopes in
                [None, Some("operator.admin,operator.read"), Some("operator.questions,operator.talk,bogus"), Some("")]
            {
                let mut one = Case { path: path.to_owned(), ..made(gateway, &[]) };
                let values: Vec<_> = scopes.iter().map(|scopes| scopes.as_bytes().to_vec()).collect();
                one.set("x-openclaw-scopes", &values);
                cases.push(one);
            }
        }
    }
    let same_origin = [("sec-fetch-site", "same-origin"), ("x-openclaw-scopes", "operator.admin")];
    for headers in [&same_origin[..], &same_origin[..1]] {
        cases.push(Case { path: "/avatar/main".to_owned(), ..made(&tailscale, headers) });
        cases.push(Case { path: "/api/users/x/avatar".to_owned(), ..made(&tailscale, headers) });
    }
    let closed = json!({"auth": {"allowTailscale": true}, "controlUi": {"enabled": false}});
    cases.push(Case { path: "/avatar/main".to_owned(), ..made(&closed, &[]) });
    for path in ["/assets/index.js", "/fonts/a.woff2", "/x/assets/index.js", "/plugins/x.js", "/v1/x.js"] {
        cases.push(Case { path: path.to_owned(), ..made(&one, &[("origin", "https://evil.example")]) });
    }
    for scopes in ["operator.read", "operator.sessions.read,operator.talk.secrets", ""] {
        cases.push(socket(&none, &[("x-openclaw-scopes", scopes)]));
    }
    cases
}
