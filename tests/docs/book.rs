//! Tests of the documentation: generated parts are up to date, every link has a target, every page is in the table of
//! contents, and every command and configuration is run by a test that reads it from its page.
//!
//! `DOCS=write` regenerates `docs/reasons.md` and `docs/configuration.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use harness::document::{self, blocks, commands, item_of_a_list, page, prose, published, quoted};
use harness::envoy::root;
use harness::manifests;
use policy::answer::reply::Reply;
use policy::config::{compile, gateway_keys, keys};
use policy::headers::serialize;
use policy::sockets::Ended;
use policy::{Peer, Policy, Reason, Refusal, Rule};
use serde_json::Value;

/// Every page, by its path.
fn pages() -> BTreeMap<String, String> {
    document::pages().into_iter().map(|path| (path.clone(), page(&path))).collect()
}

/// The anchor of a heading, as the usual hosting sites generate it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        })
        .collect()
}

/// The links of a page: the text in `](…)`.
fn links(text: &str) -> Vec<String> {
    prose(text).split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let mut checked = 0;
    for (name, text) in &pages {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(text) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { root().join(name) } else { root().join(folder).join(path) };
            assert!(target.exists(), "{name} links to {link}, which does not exist");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let anchors: BTreeSet<_> = prose(&text)
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(|line| anchor(line.trim_start_matches('#').trim()))
                    .collect();
                assert!(anchors.contains(heading), "{name} links to {link}: the headings there are {anchors:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} links were found");
}

#[test]
fn the_contents_list_every_page_once() {
    let contents = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let mut listed = links(&contents);
    listed.retain(|link| link.ends_with(".md") && !link.starts_with("https://") && !link.starts_with("../"));
    listed.sort();
    let mut there: Vec<_> =
        pages().into_keys().filter_map(|name| name.strip_prefix("docs/").map(str::to_owned)).collect();
    there.retain(|name| name != "README.md");
    assert_eq!(listed, there);
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut files = 0;
    for (name, text) in pages() {
        for file in quoted(&text) {
            let is_ours = [
                "envoy/",
                "tests/",
                "docs/",
                "src/",
                "policy/src",
                "policy/tests",
                "cli/",
                "make/",
                "component/",
                "tools/",
                "benches/",
                "fuzz/",
            ]
            .iter()
            .any(|at| file.starts_with(at));
            let is_name = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
            if is_ours && is_name {
                assert!(root().join(&file).exists(), "{name} names {file}, which does not exist");
                files += 1;
            }
        }
    }
    assert!(files > 40, "only {files} files were found");
}

#[test]
fn every_json_block_is_json_and_every_policy_in_one_compiles() {
    let (mut parsed, mut compiled) = (0, 0);
    for (name, text) in pages() {
        for block in blocks(&text, "json") {
            let value: Value =
                serde_json::from_str(&block).unwrap_or_else(|error| panic!("{name}: {error} in\n{block}"));
            parsed += 1;
            let is_policy = value.get("filter").is_some() && value.get("gateway").is_some();
            if is_policy {
                compile(block.as_bytes()).unwrap_or_else(|errors| panic!("{name}:\n{errors}\nin {block}"));
                compiled += 1;
            }
        }
    }
    assert!(parsed > 10 && compiled > 5, "only {parsed} blocks and {compiled} policies were found");
}

#[test]
fn every_yaml_block_is_yaml_and_the_header_for_hsts_is_the_one_that_is_tried() {
    let mut parsed = 0;
    for (name, text) in pages() {
        for block in blocks(&text, "yaml") {
            manifests::parse(&block).unwrap_or_else(|error| panic!("{name}: {error} in\n{block}"));
            parsed += 1;
        }
    }
    assert!(parsed > 10, "only {parsed} blocks were found");

    // `tests/envoy/decisions.rs` checks that a real Envoy with this file sends it to every client.
    let envoy = fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let example: Vec<_> = envoy.lines().map(str::trim).collect();
    let hsts = blocks(&fs::read_to_string(root().join("docs/hsts.md")).unwrap(), "yaml").concat();
    let shown: Vec<_> = hsts.lines().map(str::trim).collect();
    assert!(example.windows(shown.len()).any(|lines| lines == shown), "{hsts}");
}

/// The tests that use the configurations of a page, and read them from it.
const CONFIGURATIONS: [(&str, &str, &str); 10] = [
    ("README.md", "tests/docs/readme.rs", "every_policy_shown_compiles"),
    ("docs/assertions.md", "tests/envoy/assertion.rs", "only_whom_the_assertion_names_comes_in"),
    ("docs/contract.md", "tests/docs/contract.rs", "the_configuration_that_it_shows_compiles"),
    ("docs/editors.md", "tests/native/schema.rs", "the_settings_for_editors_name_the_schema"),
    ("docs/gateway.md", "tests/gateway/placements.rs", "at_the_edge_whoever_envoy_verified_comes_in_and_nobody_else"),
    ("docs/hsts.md", "tests/docs/book.rs", "every_yaml_block_is_yaml_and_the_header_for_hsts_is_the_one_that_is_tried"),
    (
        "docs/image.md",
        "tests/docs/book.rs",
        "the_parts_of_manifests_that_name_the_image_fit_into_those_that_are_shipped",
    ),
    (
        "docs/migration.md",
        "tests/gateway/migration.rs",
        "from_a_token_to_the_proxys_users_and_back_without_a_lost_request_or_an_open_window",
    ),
    ("docs/replay.md", "tests/cli/recording/render.rs", "the_recorder_in_the_docs_is_the_one_that_is_rendered"),
    (
        "docs/spiffe.md",
        "tests/envoy/spiffe.rs",
        "a_peer_is_who_its_verified_certificate_says_over_http_1_http_2_and_on_websockets",
    ),
];

/// Checks a row of a table against the file that it names: the test exists, and it reads the page.
fn assert_read(shown: &str, file: &str, test: &str) {
    let code = page(file);
    assert!(code.contains(&format!("fn {test}()")), "{file} has no test `{test}`");
    let name = shown.rsplit('/').next().unwrap();
    assert!(code.contains(name), "{file} does not read {shown}");
}

#[test]
fn every_configuration_that_is_shown_is_put_to_work_by_a_test() {
    let with_one = |text: &str| ["json", "json5", "yaml"].iter().any(|kind| !blocks(text, kind).is_empty());
    let shown: Vec<_> = pages().into_iter().filter(|(_, text)| with_one(text)).map(|(name, _)| name).collect();
    assert_eq!(shown, CONFIGURATIONS.map(|(page, ..)| page));
    for (shown, file, test) in CONFIGURATIONS {
        assert_read(shown, file, test);
    }
    // No configuration or command hides in a block of another kind.
    for (name, text) in pages() {
        for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("```")) {
            assert!(["", "text", "json", "yaml", "sh", "console", "wit"].contains(&line), "{name}: a block of {line}");
        }
    }
}

#[test]
fn the_parts_of_manifests_that_name_the_image_fit_into_those_that_are_shipped() {
    /// Merges a part into the whole; the whole must already have a value of the same type at each place.
    fn put(whole: &mut Value, part: &Value, at: &str) {
        match (whole, part) {
            (Value::Object(whole), Value::Object(part)) => {
                for (key, value) in part {
                    let place = whole.get_mut(key).unwrap_or_else(|| panic!("{at}.{key} does not exist"));
                    put(place, value, &format!("{at}.{key}"));
                }
            }
            (Value::Array(whole), Value::Array(part)) => {
                for (index, (place, value)) in whole.iter_mut().zip(part).enumerate() {
                    put(place, value, &format!("{at}[{index}]"));
                }
            }
            (Value::String(whole), Value::String(part)) => part.clone_into(whole),
            (whole, part) => panic!("{at}: {whole} does not have the type of {part}"),
        }
    }
    let shown = blocks(&page("docs/image.md"), "yaml");
    assert_eq!(shown.len(), 2, "{shown:?}");
    for (block, file) in shown.iter().zip(["envoy/istio/ingress.yaml", "envoy/envoy-gateway/gateway.yaml"]) {
        let kind = block.lines().next().unwrap().rsplit(' ').next().unwrap();
        let documents = manifests::read(file);
        let mut whole = manifests::of_kind(&documents, kind).clone();
        let part = manifests::parse(&block.replace('…', &"0".repeat(64))).unwrap().remove(0);
        let before = whole.clone();
        put(&mut whole, &part, kind);
        assert_ne!(whole, before);
    }
}

/// The test that runs the commands of a page (of any page, if none is named) that begin like this. It reads them from
/// the page, so that it runs what is shown.
const RUN: [(&str, &str, &str, &str); 15] = [
    ("README.md", "make run ", "tests/harness/tests/run.rs", "the_quick_start_does_what_it_shows"),
    ("README.md", "curl ", "tests/harness/tests/run.rs", "the_quick_start_does_what_it_shows"),
    ("docs/cli.md", "make cli ", "tests/cli/install.rs", "each_way_to_install_it_leaves_a_program_that_runs"),
    ("docs/cli.md", "cargo install ", "tests/cli/install.rs", "each_way_to_install_it_leaves_a_program_that_runs"),
    (
        "docs/cli.md",
        "openclaw-trusted-proxy ",
        "tests/cli/transcripts.rs",
        "every_example_of_the_documentation_is_what_the_program_prints",
    ),
    ("docs/component.md", "cargo run ", "component/tests/component.rs", "the_command_of_the_page_prints_what_it_shows"),
    (
        "docs/envoy-gateway.md",
        "kubectl ",
        "tests/cluster/pages.rs",
        "what_the_pages_say_applies_the_manifests_and_makes_what_they_refer_to",
    ),
    (
        "docs/envoy-gateway.md",
        "openclaw-trusted-proxy ",
        "tests/cluster/pages.rs",
        "what_the_pages_say_applies_the_manifests_and_makes_what_they_refer_to",
    ),
    ("docs/image.md", "make push ", "tools/image/tests/registry.rs", "the_command_of_the_page_pushes_the_image"),
    (
        "docs/istio.md",
        "openclaw-trusted-proxy ",
        "tests/cluster/pages.rs",
        "what_the_pages_say_applies_the_manifests_and_makes_what_they_refer_to",
    ),
    (
        "docs/istio.md",
        "kubectl ",
        "tests/cluster/pages.rs",
        "what_the_pages_say_applies_the_manifests_and_makes_what_they_refer_to",
    ),
    (
        "docs/migration.md",
        "openclaw-trusted-proxy ",
        "tests/gateway/migration.rs",
        "from_a_token_to_the_proxys_users_and_back_without_a_lost_request_or_an_open_window",
    ),
    (
        "docs/render.md",
        "openclaw-trusted-proxy ",
        "tests/cli/recording/render.rs",
        "every_command_in_the_docs_and_in_the_help_runs",
    ),
    (
        "docs/replay.md",
        "openclaw-trusted-proxy ",
        "tests/cli/recording/render.rs",
        "every_command_in_the_docs_and_in_the_help_runs",
    ),
    ("", "make ", "tests/docs/book.rs", "every_make_target_that_is_shown_is_run_by_ci_or_has_a_reason"),
];

#[test]
fn every_command_that_is_shown_is_run_by_a_test() {
    let mut used = BTreeSet::new();
    for (name, text) in pages() {
        for document::Command { line, .. } in commands(&text) {
            let begins = |start: &str| format!("{line} ").starts_with(start);
            let row = RUN.iter().position(|(page, start, ..)| (page.is_empty() || *page == name) && begins(start));
            assert!(row.is_some(), "{name}: no test runs `{line}`");
            used.extend(row);
        }
    }
    assert_eq!(used.len(), RUN.len(), "some rows are about nothing that is shown: {used:?}");
    for (shown, _, file, test) in RUN {
        assert_read(shown, file, test);
    }
}

/// Commands in sentences, of programs other than `make` and ours, and what runs them.
const SAID: [(&str, &str); 8] = [
    ("cargo test ", "`make test` runs all tests"),
    ("envoy --mode validate", "harness::envoy::validate, as tests/cli/recording/render.rs does with every rendering"),
    ("kubectl logs", "nothing: tests/cli/logs.rs has lines in its form"),
    ("openclaw config validate", "tests/gateway/migration.rs and tests/gateway/rendered/gateway.rs"),
    ("openclaw connect", "nothing: tests/cli has its requests, and not the program"),
    ("openclaw security audit", "tests/gateway/audit.rs"),
    ("oras cp ", "nothing: the page says so"),
    ("promtool test rules", "tests/observability"),
];

#[test]
fn every_command_in_a_sentence_is_one_that_is_known() {
    const PROGRAMS: [&str; 16] = [
        "cargo", "caddy", "cosign", "curl", "docker", "envoy", "haproxy", "istioctl", "kubectl", "nginx", "npm",
        "openclaw", "oras", "pip", "promtool", "skopeo",
    ];
    let mut used = BTreeSet::new();
    for (name, text) in pages() {
        for command in quoted(&text) {
            let words: Vec<_> = command.split(' ').skip_while(|word| word.contains('=')).collect();
            let [program, _, ..] = words[..] else { continue };
            if PROGRAMS.contains(&program) {
                let row = SAID.iter().position(|(start, _)| words.join(" ").starts_with(start));
                used.insert(row.unwrap_or_else(|| panic!("{name}: nothing runs `{command}`")));
            }
        }
    }
    assert_eq!(used.len(), SAID.len(), "some are not said anywhere: {used:?}");
}

/// Targets that CI does not run, and why.
const NOT_IN_CI: [(&str, &str); 9] = [
    ("attack", "its one command is a part of `make test`"),
    ("test-quick", "its tests are a part of `make test`"),
    ("component-check", "compiles cargo-component, which takes minutes"),
    ("bench", "needs half an hour and a dedicated machine"),
    ("fuzz", "needs a nightly toolchain; `make test` runs the same checks on kept and random inputs"),
    ("fuzz-coverage", "the same"),
    ("mutants", "takes hours"),
    ("run", "does not end by itself; tests/harness/tests/run.rs runs it"),
    ("cluster", "does not end by itself; tests/cluster/driver.rs runs it"),
];

#[test]
fn every_make_target_that_is_shown_is_run_by_ci_or_has_a_reason() {
    let makefile = document::makefile();
    let rules: BTreeMap<&str, Vec<&str>> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.', ' ']))
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, rest)| !rest.starts_with('='))
        .map(|(target, rest)| (target, rest.split("##").next().unwrap().split_whitespace().collect()))
        .collect();
    let ci = page(".ci/run");
    let mut run: Vec<&str> = ci.lines().filter_map(|line| line.strip_prefix("step make ")?.split(' ').next()).collect();
    assert!(run.len() > 5, "{run:?}");
    // Targets that the tests in CI make themselves.
    run.extend(
        RUN.iter()
            .filter(|(page, ..)| !page.is_empty())
            .filter_map(|(_, start, ..)| start.trim().strip_prefix("make ")),
    );
    let mut at = 0;
    while let Some(target) = run.get(at) {
        let needed = rules.get(target).unwrap_or_else(|| panic!("the Makefile has no `{target}`"));
        let new: Vec<_> = needed.iter().filter(|one| rules.contains_key(*one) && !run.contains(one)).copied().collect();
        run.extend(new);
        at += 1;
    }

    let help = make(&["help"]);
    let (mut shown, mut excused) = (BTreeSet::new(), BTreeSet::new());
    for (name, text) in pages() {
        let lines = commands(&text).into_iter().map(|command| command.line);
        for command in lines.chain(quoted(&text)) {
            let words: Vec<_> = command.split_whitespace().collect();
            let Some(("make", arguments)) = words
                .iter()
                .position(|word| !word.contains('='))
                .and_then(|at| Some((*words.get(at)?, words.get(at + 1..)?)))
            else {
                continue;
            };
            let Some(target) = arguments.iter().find(|word| !word.contains('=')) else { continue };
            match NOT_IN_CI.iter().find(|(other, _)| other == target) {
                Some((other, _)) => drop(excused.insert(*other)),
                None => {
                    assert!(run.contains(target) || *target == "help", "{name} says `{command}`, but nothing runs it")
                }
            }
            if shown.insert(command.clone()) {
                // The shell, the rules and the files exist, as far as a dry run can tell.
                make(&[&["--dry-run"], arguments].concat());
            }
            assert!(help.contains(&format!("make {target} ")), "`make help` does not list {target}");
        }
    }
    assert_eq!(excused.len(), NOT_IN_CI.len(), "some are not shown anywhere: {excused:?}");
    assert!(shown.len() > 20, "{shown:?}");
}

/// The output of `make`.
fn make(arguments: &[&str]) -> String {
    let mut command = std::process::Command::new("make");
    command.args(arguments).current_dir(root()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = command.output().unwrap_or_else(|error| panic!("make is missing ({error}): install it"));
    assert!(output.status.success(), "make {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A policy with which a request can be read; the output depends only on the reason.
fn some_policy() -> Policy {
    compile(&fs::read(root().join("envoy/policy.json")).unwrap()).unwrap().policy
}

#[test]
fn the_page_of_reasons_is_that_of_the_code() {
    let policy = some_policy();
    let upgrade = serialize(&[
        (":method", "GET"),
        (":path", "/"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]);
    let upgrade = policy.read(Peer::Unknown, &upgrade).unwrap();
    let mut page = String::from(
        "# Reasons\n\n\
         Every refusal has a reason. Its code is in the body of the answer or in the close frame (unless `hideReasons`), in\n\
         Envoy's log, in the access log, and in the counter\n\
         `openclaw_trusted_proxy_decisions{result=\"refused\",reason=\"…\"}`.\n\n\
         The rules are asked in the order of this page. The first rule that a request breaks names the reason.\n\
         `openclaw-trusted-proxy explain` shows them for a request of yours: see [cli.md](cli.md#explain).\n\n\
         This page is made from the code.\n",
    );
    for &reason in Reason::ALL {
        let header = (reason == Reason::MissingHeader).then_some("x-edge-secret");
        let refusal = Refusal { header, ..reason.into() };
        // Without a policy, it is unknown whether clients may see the reason.
        let hide = reason == Reason::ConfigMissing;
        let http = Reply::http(&refusal, None, hide);
        let close = Reply::websocket(&refusal, &upgrade, hide).unwrap();
        let name = if header.is_some() { "_<name>" } else { "" };
        let outside = match reason {
            Reason::AssertionExpired | Reason::SocketLimit => "after all rules, for WebSockets and other upgrades",
            _ => "before all rules",
        };
        write!(page, "\n## `{}{name}`\n\n", reason.code()).unwrap();
        let close_text = String::from_utf8(close.body[4..].to_vec()).unwrap();
        for item in [
            format!("**Rule:** {}", reason.rule().map_or(outside, Rule::number)),
            format!("**Cause:** {}.", reason.cause()),
            format!("**Fix:** {}.", reason.fix()),
            format!("**HTTP:** {}, `{}`", http.status, String::from_utf8(http.body).unwrap()),
            format!("**WebSocket:** close {}, `{close_text}`", u16::from_be_bytes([close.body[2], close.body[3]])),
        ] {
            page += &item_of_a_list(&item);
        }
    }
    page += "\n## Codes of open sockets\n\n\
             An open socket is closed with the code of a refusal, if its handshake would be refused now, or with one of these\n\
             ([operations.md](operations.md#open-sockets)). They are in Envoy's log and in the counter\n\
             `openclaw_trusted_proxy_sockets{result=\"closed\",reason=\"…\"}`. No client sees them.\n\n";
    for ended in Ended::OTHERS {
        let meaning = match ended {
            Ended::UserChanged => {
                "its user would be another one now, or it would have one or none where it had none or one"
            }
            Ended::ScopesReduced => "it would have fewer scopes now",
            Ended::Unclear => "the policy reads a value that was not kept of the handshake, or cannot be read itself",
            Ended::MaxAge => "it is older than `socketMaxAge`",
            Ended::Refused(_) => unreachable!("it is not one of the others"),
        };
        page += &item_of_a_list(&format!("`{}`: {meaning}.", ended.code()));
    }
    published("docs", "docs/reasons.md", |_| page.clone());
}

#[test]
fn the_configuration_reference_is_that_of_the_code() {
    let mut page = String::from(
        "# Configuration reference\n\n\
         The plugin configuration is one JSON object, the same for Envoy and for Istio's `pluginConfig`. `gateway` is the\n\
         block of that name of your `openclaw.json`, pasted as it is. `filter` is what only this filter has.\n\n\
         All errors are reported at once, each with its path. An unknown key in `filter`, in `gateway.auth.trustedProxy` or\n\
         at the top is an error. Everywhere else below `gateway`, a key that the Gateway does not have is a finding: it is\n\
         probably misspelled. [The last table](#the-other-keys-of-the-gateway) has the keys that the Gateway has and the\n\
         filter does not read. Leave secrets out: the filter needs none.\n\n\
         Editors complete and check it by a [JSON Schema](editors.md). This page is made from the code.\n",
    );
    for (title, table) in [
        ("The whole", keys::ROOT),
        ("`gateway`", keys::GATEWAY),
        ("`gateway.auth`", keys::AUTH),
        ("`gateway.auth.trustedProxy`", keys::TRUSTED_PROXY),
        ("`gateway.remote`", keys::REMOTE),
        ("`gateway.controlUi`", keys::CONTROL_UI),
        ("`gateway.http.endpoints`", keys::ENDPOINTS),
        ("`filter`", keys::FILTER),
        ("`filter.assertion`", keys::ASSERTION),
        ("`filter.peerAddress`, where it is an object", keys::PEER_ADDRESS),
        ("`filter.scopes`", keys::SCOPES),
    ] {
        write!(page, "\n## {title}\n\n| key | default | meaning |\n| --- | --- | --- |\n").unwrap();
        for key in table {
            writeln!(page, "| `{}` | {} | {} |", key.name, key.default, key.meaning).unwrap();
        }
    }
    let release = gateway_keys::RELEASE;
    write!(
        page,
        "\n## The other keys of the Gateway\n\n\
         The filter knows the whole schema of the Gateway {release} below `gateway`, and a test compares it with the package.\n\
         These keys change no decision of the filter. A row speaks for the keys below it as well.\n\n\
         | key of `gateway` | why it changes nothing |\n| --- | --- |\n"
    )
    .unwrap();
    unread_keys(gateway_keys::KEYS, "", &mut page);
    published("docs", "docs/configuration.md", |_| page.clone());
}

/// A row for each key of the Gateway that is not read. Neighbors that are unread for the same reason share one.
fn unread_keys(keys: &[gateway_keys::GatewayKey], above: &str, page: &mut String) {
    let mut shared: Vec<(&str, Vec<String>)> = Vec::new();
    for key in keys {
        if let Some((gateway_keys::Influence::Unread, why)) = key.influence {
            let name = format!("`{above}{}`", key.name);
            match shared.iter_mut().find(|(other, _)| *other == why) {
                Some((_, names)) => names.push(name),
                None => shared.push((why, vec![name])),
            }
        }
    }
    for (why, names) in shared {
        writeln!(page, "| {} | {why} |", names.join(", ")).unwrap();
    }
    for key in keys.iter().filter(|key| !matches!(key.influence, Some((gateway_keys::Influence::Unread, _)))) {
        unread_keys(key.below, &format!("{above}{}.", key.name), page);
    }
}
