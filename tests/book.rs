//! The documentation: what is made from the code is up to date, every link leads somewhere, every page is in the list of contents, every
//! block of configuration is one, and every command exists. What the pages claim of Envoy and the Gateway is run by the tests that they name.
//!
//! `DOCS=write` writes `docs/reasons.md` and `docs/configuration.md` anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use harness::document::published;
use harness::envoy::root;
use openclaw_trusted_proxy::config::{compile, keys};
use openclaw_trusted_proxy::filter::reply::Reply;
use openclaw_trusted_proxy::policy::Policy;
use openclaw_trusted_proxy::policy::peer::Peer;
use openclaw_trusted_proxy::policy::refusal::{Reason, Refusal};
use openclaw_trusted_proxy::request::serialize;

/// Every page: the README, what stands beside it, and `docs/`.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut add = |name: String| {
        let text = fs::read_to_string(root().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        pages.insert(name, text);
    };
    ["README.md", "SECURITY.md", "CHANGELOG.md", "envoy/proxies/README.md"]
        .map(str::to_owned)
        .into_iter()
        .for_each(&mut add);
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            add(format!("docs/{name}"));
        }
    }
    pages
}

/// The text without its fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The fenced blocks of a kind, without the indentation of a list around them.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}");
    let mut all = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() == fence {
            let indent = line.len() - line.trim_start().len();
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            all.push(block.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect());
        }
    }
    all
}

/// The anchor that a heading gets on the pages of the usual hosts.
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

/// The links of a page: what stands in `](…)`.
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
            assert!(target.exists(), "{name} links to {link}: there is no such file");
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
    assert!(checked > 60, "{checked} links only: are they found at all?");
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
fn every_make_target_and_every_file_that_a_page_names_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<_> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(target, _)| target).collect();
    let mut commands = 0;
    for (name, text) in pages() {
        let shown = blocks(&text, "sh").into_iter().chain(blocks(&text, "console").into_iter().map(|block| {
            block.lines().filter_map(|line| line.strip_prefix("$ ")).map(|line| format!("{line}\n")).collect()
        }));
        let lines: Vec<_> = shown.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let inline = prose(&text).split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for command in lines.iter().chain(&inline) {
            let Some(target) = command.strip_prefix("make ").and_then(|rest| rest.split_whitespace().next()) else {
                continue;
            };
            assert!(targets.contains(target), "{name} says `{command}`: the Makefile has no such target");
            commands += 1;
        }
        for file in inline {
            let is_ours = ["envoy/", "tests/", "docs/", "src/", "tools/", "benches/", "fuzz/"]
                .iter()
                .any(|at| file.starts_with(at));
            let is_name = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
            assert!(!is_ours || !is_name || root().join(&file).exists(), "{name} names {file}, which does not exist");
        }
    }
    assert!(commands > 40, "{commands} commands only: are they found at all?");
}

#[test]
fn every_json_block_is_json_and_every_policy_in_one_compiles() {
    let (mut parsed, mut compiled) = (0, 0);
    for (name, text) in pages() {
        for block in blocks(&text, "json") {
            let value: serde_json::Value =
                serde_json::from_str(&block).unwrap_or_else(|error| panic!("{name}: {error} in\n{block}"));
            parsed += 1;
            let is_policy = value.get("filter").is_some() && value.get("gateway").is_some();
            if is_policy {
                compile(block.as_bytes()).unwrap_or_else(|errors| panic!("{name}:\n{errors}\nin {block}"));
                compiled += 1;
            }
        }
    }
    assert!(parsed > 10 && compiled > 5, "{parsed} blocks, {compiled} policies: are they found at all?");
}

#[test]
fn every_yaml_block_is_yaml_and_the_header_for_hsts_is_the_one_that_is_tried() {
    let mut parsed = 0;
    for (name, text) in pages() {
        for block in blocks(&text, "yaml") {
            harness::manifests::parse(&block).unwrap_or_else(|error| panic!("{name}: {error} in\n{block}"));
            parsed += 1;
        }
    }
    assert!(parsed > 10, "{parsed} blocks only: are they found at all?");

    // `tests/envoy.rs` has a real Envoy with this file say it to everybody.
    let envoy = fs::read_to_string(root().join("envoy/envoy.yaml")).unwrap();
    let example: Vec<_> = envoy.lines().map(str::trim).collect();
    let hsts = blocks(&fs::read_to_string(root().join("docs/hsts.md")).unwrap(), "yaml").concat();
    let shown: Vec<_> = hsts.lines().map(str::trim).collect();
    assert!(example.windows(shown.len()).any(|lines| lines == shown), "{hsts}");
}

/// Commands that no test runs, and why; all others are of programs that tests run with these very arguments, or targets of
/// the Makefile.
const NOT_RUN: [(&str, &str); 2] = [
    ("kubectl apply ", "needs a cluster; the files are held against the schemas of their kinds"),
    ("make push ", "needs a registry; tools/image pushes to one in its tests"),
];

#[test]
fn every_command_shown_is_of_a_program_that_tests_run() {
    let known = ["make", "openclaw-trusted-proxy", "cargo", "curl"];
    for (name, text) in pages() {
        let shells = blocks(&text, "sh").concat();
        let consoles = blocks(&text, "console").concat();
        let typed = consoles.lines().filter_map(|line| line.strip_prefix("$ "));
        for command in shells.lines().chain(typed).map(str::trim) {
            let program = command.split_whitespace().next().unwrap_or("make");
            let is_rest = command.starts_with('-') || command.starts_with('#');
            let is_excused = NOT_RUN.iter().any(|(start, _)| command.starts_with(start));
            assert!(is_rest || is_excused || known.contains(&program), "{name}: what runs `{command}`?");
        }
    }
}

/// A policy under which a request can be read; what the page shows hangs on the reason alone.
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
         Every refusal has one. Its code is in the body of the answer or in the close frame (unless `hideReasons`), in Envoy's log, in the access log, and in the counter\n\
         `openclaw_trusted_proxy_decisions{result=\"refused\",reason=\"…\"}`. The rules are asked in this order; the first that a request breaks names the reason.\n\
         `openclaw-trusted-proxy explain` shows them for a request of yours, see [cli.md](cli.md#explain).\n\n\
         This page is made from the code.\n",
    );
    for &reason in Reason::ALL {
        let help = reason.help();
        let header = (reason == Reason::MissingHeader).then_some("x-edge-secret");
        let refusal = Refusal { header, ..reason.into() };
        // Without a policy nobody has said that clients may be told.
        let hide = reason == Reason::ConfigMissing;
        let http = Reply::http(&refusal, None, hide);
        let close = Reply::websocket(&refusal, &upgrade, hide).unwrap();
        write!(
            page,
            "\n## `{}{}`\n\n- **Rule:** {}\n- **Cause:** {}.\n- **Fix:** {}.\n- **HTTP:** {}, `{}`\n- **WebSocket:** close {}, `{}`\n",
            reason.code(),
            if header.is_some() { "_<name>" } else { "" },
            help.rule,
            help.cause,
            help.fix,
            http.status,
            String::from_utf8(http.body).unwrap(),
            u16::from_be_bytes([close.body[2], close.body[3]]),
            String::from_utf8(close.body[4..].to_vec()).unwrap(),
        )
        .unwrap();
    }
    published("book", "docs/reasons.md", |_| page.clone());
}

#[test]
fn the_reasons_in_the_readme_are_those_of_the_code() {
    let rows: String = Reason::ALL
        .iter()
        .map(|reason| {
            let (name, status) = (if *reason == Reason::MissingHeader { "_<name>" } else { "" }, reason.status());
            let status = if status == 401 { String::new() } else { format!(" ({status})") };
            format!("| `{}{name}`{status} | {} | {} |\n", reason.code(), reason.help().cause, reason.help().fix)
        })
        .collect();
    const HEAD: &str = "| code | cause | fix |\n| --- | --- | --- |\n";
    published("book", "README.md", |readme| {
        let (before, rest) = readme.split_once(HEAD).expect("the README has the table's head");
        let (_, after) = rest.split_once("\n\n").expect("something follows the table");
        format!("{before}{HEAD}{rows}\n{after}")
    });
}

#[test]
fn the_configuration_reference_is_that_of_the_code() {
    let mut page = String::from(
        "# Configuration reference\n\n\
         The plugin configuration is one JSON object, the same for Envoy and for Istio's `pluginConfig`: `gateway` is the block of that name of your `openclaw.json`,\n\
         pasted as it is; `filter` is what only this filter has. All errors are told at once, each with its path. Keys of `gateway` that are not listed here are the Gateway's\n\
         own business and ignored, except inside `auth.trustedProxy`; an unknown key in `filter` or at the top is an error. Leave secrets out: the filter needs none.\n\n\
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
    published("book", "docs/configuration.md", |_| page.clone());
}
