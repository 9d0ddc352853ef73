//! The origin rule (contract, section 3), with a WHATWG URL parser, which the filter does not use.

use url::{Host, Url};

use crate::headers::Headers;
use crate::{Rules, address, is_true, texts, trim, trim_configured};

/// The outcome for an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Passes,
    /// It passes, but it belongs to a class that the filter is permitted to refuse (section 8).
    PassesUnlessStricter,
    Fails,
}

/// An origin that parses.
struct Origin {
    /// Lower case, without a default port.
    text: String,
    /// `host[:port]`.
    host: String,
    literal: Option<std::net::IpAddr>,
    /// Belongs to a class that the filter is permitted to refuse.
    doubtful: bool,
}

pub(crate) fn judge(rules: &Rules<'_>, headers: &Headers) -> Judged {
    let copies = headers.copies("origin");
    if !headers.is_present("origin") {
        return Judged::Passes;
    }
    let ([one], upgrade) = (copies.as_slice(), headers.is_upgrade()) else { return Judged::Fails };
    let Some(origin) = parse(&trim(one)) else { return Judged::Fails };
    if !passes(rules, headers, &origin, upgrade) {
        Judged::Fails
    } else if origin.doubtful {
        Judged::PassesUnlessStricter
    } else {
        Judged::Passes
    }
}

/// `scheme://host[:port]`, with at most one slash after it and nothing else; a comma shows that copies were joined.
fn parse(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.is_empty() || host.contains(['/', '\\', '?', '#', '@', ',']) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let has_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if has_more || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
        return None;
    }
    let parsed = url.host()?;
    let literal = match parsed {
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
        Host::Domain(_) => None,
    };
    let host = match url.port() {
        Some(port) => format!("{parsed}:{port}"),
        None => parsed.to_string(),
    };
    // For schemes that the URL standard lists, hosts are already in lower case.
    let host = host.to_ascii_lowercase();
    let doubtful = is_doubtful(scheme, rest, &parsed);
    Some(Origin { text: format!("{}://{host}", url.scheme()), host, literal, doubtful })
}

/// Whether the host has bytes beyond ASCII or `%`; ends in a number without being a dotted quad; has `xn--` labels,
/// which must match the list as they are; or is accepted only by a lenient parser, as with white space or control
/// characters inside.
fn is_doubtful(scheme: &str, rest: &str, host: &Host<&str>) -> bool {
    let written = rest.trim_end_matches('/');
    let written = match host {
        Host::Ipv6(_) => written,
        _ => written.split(':').next().unwrap_or_default(),
    };
    !rest.is_ascii()
        || rest.contains('%')
        || scheme.chars().chain(rest.chars()).any(|c| c <= ' ' || c == '\u{7F}')
        || matches!(host, Host::Ipv4(v4) if v4.to_string() != written)
        || written.to_ascii_lowercase().split('.').any(|label| label.starts_with("xn--"))
}

fn passes(rules: &Rules<'_>, headers: &Headers, origin: &Origin, upgrade: bool) -> bool {
    let listed = texts(&rules.gateway["controlUi"]["allowedOrigins"])
        .iter()
        .map(|entry| trim_configured(entry))
        .any(|entry| entry == "*" || entry.to_lowercase() == origin.text);
    let is_host = headers.joined("host").is_some_and(|host| trim(&host).to_lowercase() == origin.host);
    let fallback = is_true(&rules.gateway["controlUi"]["dangerouslyAllowHostHeaderOriginFallback"]);
    listed || (is_host && (fallback || is_local(origin))) || (upgrade && is_extension(&origin.text))
}

/// A private address, or a name under `.local` or `.ts.net`.
fn is_local(origin: &Origin) -> bool {
    match origin.literal {
        Some(ip) => address::is_private(ip),
        None => {
            let name = origin.host.split(':').next().unwrap_or_default();
            name.ends_with(".local") || name.ends_with(".ts.net")
        }
    }
}

fn is_extension(origin: &str) -> bool {
    origin
        .strip_prefix("chrome-extension://")
        .is_some_and(|id| id.len() == 32 && id.chars().all(|c| ('a'..='p').contains(&c)))
}
