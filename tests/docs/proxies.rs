//! The page of what named identity proxies send, which is made from the table of the command-line tool.

use std::fmt::Write as _;

use harness::document::{item_of_a_list, published};

#[path = "../../cli/src/proxies.rs"]
#[allow(dead_code, reason = "the program uses all of it")]
mod table;

use table::{PROXIES, Proxy};

fn code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What is known of a proxy, as items of a list.
fn items(proxy: &Proxy) -> Vec<String> {
    let mut items = vec![format!("**User:** {}", code(proxy.users))];
    if !proxy.prefix.is_empty() {
        items.push(format!("**Before each user:** `{}`, for `filter.userPrefix`", proxy.prefix));
    }
    items.push(match proxy.groups {
        [] => "**Groups:** none".to_owned(),
        groups => {
            let quoted = if proxy.quotes_groups { ", each in double quotes" } else { "" };
            let by = proxy.separator_by.map_or_else(String::new, |by| format!(" (`{by}` changes that)"));
            format!("**Groups:** {}, with `{}` between them{by}{quoted}", code(groups), proxy.separator)
        }
    });
    if !proxy.overwritten.is_empty() {
        items.push(format!("**Always overwritten for a user:** {}", code(proxy.overwritten)));
    }
    items.push(format!("**Characters beyond ASCII:** {}", proxy.encoding.name()));
    if !proxy.encoded.is_empty() {
        let encoded: Vec<_> = proxy.encoded.iter().map(|(header, what)| format!("`{header}` ({what})")).collect();
        items.push(format!("**Not a name:** {}", encoded.join(", ")));
    }
    if let Some(assertion) = &proxy.assertion {
        let issuer = match assertion.issuer {
            "" => String::new(),
            issuer => format!("; issuer: {issuer}"),
        };
        let why = match assertion.not_by_envoy {
            "" => String::new(),
            why => format!(". Envoy's `jwt_authn` cannot verify it: {why}"),
        };
        items.push(format!("**Signed:** `{}`{issuer}; keys: {}{why}", assertion.header, assertion.keys));
    }
    if let Some(by) = proxy.names_by {
        items.push(format!("**Other names:** by {by}"));
    }
    if !proxy.passes.is_empty() {
        items.push(format!("**A client's own:** {}", proxy.passes));
    }
    if !proxy.cookies.is_empty() {
        items.push(format!("**Cookies of the login:** {}, for `filter.removeCookies`", code(proxy.cookies)));
    }
    if !proxy.note.is_empty() {
        items.push(format!("**Note:** {}", proxy.note.trim_end_matches('.')));
    }
    items.push(format!(
        "**Sources:** {}",
        proxy.sources.iter().map(|source| format!("<{source}>")).collect::<Vec<_>>().join(" ")
    ));
    items
}

#[test]
fn the_page_of_proxies_is_that_of_the_code() {
    let mut page = String::from(
        "# Named identity proxies\n\n\
         `check --proxy NAME` compares a policy with what a proxy sends, and `render --proxy NAME` fills in what a policy\n\
         lacks ([cli.md](cli.md#a-named-identity-proxy), [render.md](render.md)). This page is made from the same table.\n\
         Each row was read in the pages or in the code that it names; what is in none of them is left out. A `*` at the end\n\
         of a header stands for any ending.\n\n\
         The [folders of the proxies](../envoy/proxies/README.md) have whole configurations, and say which of them were run.\n",
    );
    for proxy in &PROXIES {
        write!(page, "\n## {}\n\n`--proxy {}`\n\n", proxy.title, proxy.name).unwrap();
        for item in items(proxy) {
            // An address ends without a full stop.
            let end = if item.ends_with('>') { "" } else { "." };
            page += &item_of_a_list(&format!("{item}{end}"));
        }
    }
    published("docs", "docs/proxies.md", |_| page.clone());
}

#[test]
fn every_proxy_is_listed_once_and_has_a_source() {
    let names: Vec<_> = PROXIES.iter().map(|proxy| proxy.name).collect();
    assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    for proxy in &PROXIES {
        assert!(!proxy.users.is_empty() && !proxy.sources.is_empty(), "{}", proxy.name);
        assert!(proxy.sources.iter().all(|source| source.starts_with("https://")), "{}", proxy.name);
        for header in proxy.headers() {
            assert_eq!(header, header.to_ascii_lowercase(), "{}", proxy.name);
        }
    }
}
