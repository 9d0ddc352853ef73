//! The origin rule (contract, section 3), with a WHATWG URL parser, which the filter does not use.

use url::{Host, Url};

use crate::headers::Headers;
use crate::release::Release;
use crate::{Rules, address, is_true, path, texts, trim, trim_configured};

/// The outcome for an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Passes,
    /// It passes, but it belongs to a class that the filter is permitted to refuse (section 8), with this code.
    PassesUnlessStricter(&'static str),
    Fails,
    /// Another web site makes the request, without an Origin.
    CrossSite,
}

/// An origin that parses.
struct Origin {
    /// Lower case, without a default port.
    text: String,
    /// `host[:port]`.
    host: String,
    literal: Option<std::net::IpAddr>,
    /// The URL standard gives it no origin.
    opaque: bool,
    /// Belongs to a class that the filter is permitted to refuse.
    doubtful: bool,
}

pub(crate) const NOT_ALLOWED: &str = "trusted_proxy_origin_not_allowed";

pub(crate) fn judge(rules: &Rules<'_>, headers: &Headers) -> Judged {
    let is_public = is_public_file(rules, headers);
    let is_cross_site = rules.filter["crossSite"] == "refuse" && is_cross_site(headers);
    match judge_origin(rules, headers) {
        Judged::Fails if is_public && is_cross_site => Judged::CrossSite,
        Judged::Fails | Judged::PassesUnlessStricter(_) if is_public && !is_cross_site => Judged::Passes,
        Judged::PassesUnlessStricter(_) if is_public => Judged::PassesUnlessStricter("trusted_proxy_cross_site"),
        judged => judged,
    }
}

fn judge_origin(rules: &Rules<'_>, headers: &Headers) -> Judged {
    let copies = headers.copies("origin");
    let release = Release::of(rules);
    let wants_reads = is_true(&rules.gateway["auth"]["allowTailscale"]) && release.is_strict_about_reads();
    // A bearer token that the Gateway does not get lifts nothing.
    let lifted = has_bearer(headers) && !is_true(&rules.filter["removeBearer"]);
    let strict = wants_reads && is_read(rules, headers) && !lifted;
    if !headers.is_present("origin") {
        let site = headers.joined("sec-fetch-site").map(|value| trim(&value).to_lowercase());
        return if strict && site.as_deref() != Some("same-origin") {
            Judged::Fails
        } else if rules.filter["crossSite"] == "refuse" && is_cross_site(headers) {
            Judged::CrossSite
        } else {
            Judged::Passes
        };
    }
    let ([one], upgrade) = (copies.as_slice(), headers.is_upgrade()) else { return Judged::Fails };
    let Some(origin) = parse(&trim(one)) else { return Judged::Fails };
    if !passes(rules, headers, &origin, upgrade, strict) {
        Judged::Fails
    } else if origin.doubtful {
        Judged::PassesUnlessStricter(NOT_ALLOWED)
    } else {
        Judged::Passes
    }
}

/// Whether this is one of the files of the Control UI, which the Gateway serves to anybody.
fn is_public_file(rules: &Rules<'_>, headers: &Headers) -> bool {
    let files =
        ["apple-touch-icon.png", "favicon-32.png", "favicon.ico", "favicon.svg", "manifest.webmanifest", "sw.js"];
    let folders = [
        "app-art",
        "assets",
        "cloud-provider-icons",
        "community-art",
        "file-icons",
        "fonts",
        "provider-icons",
        "themes",
    ];
    let extensions = [
        "css",
        "js",
        "json",
        "map",
        "svg",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "ico",
        "txt",
        "wasm",
        "webmanifest",
        "woff2",
    ];
    let taken = ["__openclaw", "__openclaw__", "api", "j", "sessions", "tools", "v1"];
    let written = rules.gateway["controlUi"]["basePath"].as_str().map(trim_configured).unwrap_or_default();
    let base = match written.strip_suffix('/').unwrap_or(written) {
        "" => String::new(),
        base => format!("/{}", base.strip_prefix('/').unwrap_or(base)),
    };
    if rules.gateway["controlUi"]["enabled"] == false || !Release::of(rules).opens_files() {
        return false;
    }
    if headers.is_upgrade() || !["GET", "HEAD"].contains(&headers.copies(":method").concat().as_str()) {
        return false;
    }
    if !base.is_empty() && (!path::is_plain(&base) || base.contains('*')) {
        return false;
    }
    if base.split('/').nth(1).is_some_and(|first| taken.contains(&first)) {
        return false;
    }
    let path = headers.path();
    let below = path.strip_prefix(&format!("{base}/")).filter(|_| path::is_plain(&path));
    match below.map(|below| below.split('/').collect::<Vec<_>>()).as_deref() {
        Some([file]) => files.contains(file),
        Some([folder, .., name]) => {
            let stem = extensions.iter().find_map(|one| name.strip_suffix(&format!(".{one}")));
            folders.contains(folder) && stem.is_some_and(|stem| !stem.is_empty())
        }
        _ => false,
    }
}

/// Whether the Gateway reads its Control UI for this request. It resolves paths that are not plain.
fn is_read(rules: &Rules<'_>, headers: &Headers) -> bool {
    let method = headers.copies(":method").concat();
    let (path, base) = (headers.path(), path::base(rules));
    let below = |prefix: &str| path.starts_with(&format!("{base}{prefix}/"));
    let any = !path::is_plain(&path);
    let media = any || path == format!("{base}/__openclaw__/assistant-media");
    let icons = ["catalog-icon", "channel-avatar", "link-favicon", "plugin-icon", "plugin-activity-icon"];
    let more = ["plugin-theme-art", "plugins/control-ui", "workspace-icon"];
    let resource = icons.iter().chain(&more).any(|name| below(&format!("/__openclaw__/{name}")));
    let config = path::is_config(Release::of(rules).configuration(), &base, &path);
    let users = below("/avatar") || below("/api/users") || path.starts_with("/api/users/");
    !headers.is_upgrade()
        && match method.as_str() {
            "GET" | "HEAD" => media || resource || config || users,
            "POST" => media,
            _ => false,
        }
}

fn has_bearer(headers: &Headers) -> bool {
    let value = headers.joined("authorization").map(|value| trim(&value)).unwrap_or_default();
    value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "))
        && value.get(7..).is_some_and(|token| !trim(token).is_empty())
}

fn is_cross_site(headers: &Headers) -> bool {
    let only = |name: &str| match headers.copies(name).as_slice() {
        [one] => Some(trim(one)),
        _ => None,
    };
    let method = headers.copies(":method").concat();
    if headers.is_upgrade() || headers.copies("sec-fetch-site").is_empty() {
        return false;
    }
    let navigates = ["GET", "HEAD"].contains(&method.as_str())
        && only("sec-fetch-mode").as_deref() == Some("navigate")
        && only("sec-fetch-dest").as_deref() == Some("document");
    match only("sec-fetch-site").as_deref() {
        Some("same-origin" | "none") => false,
        Some("same-site" | "cross-site") => !navigates,
        _ => true,
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
    let opaque = !url.origin().is_tuple();
    Some(Origin { text: format!("{}://{host}", url.scheme()), host, literal, opaque, doubtful })
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

fn passes(rules: &Rules<'_>, headers: &Headers, origin: &Origin, upgrade: bool, strict: bool) -> bool {
    let release = Release::of(rules);
    let is_listable = !origin.opaque || release.lists_opaque_origins();
    let listed = texts(&rules.gateway["controlUi"]["allowedOrigins"])
        .iter()
        .map(|entry| trim_configured(entry))
        .any(|entry| (entry == "*" && !strict) || (is_listable && entry.to_lowercase() == origin.text));
    let is_host = headers.joined("host").is_some_and(|host| trim(&host).to_lowercase() == origin.host);
    let fallback = is_true(&rules.gateway["controlUi"]["dangerouslyAllowHostHeaderOriginFallback"]);
    listed
        || (is_host && (fallback || (release.lets_private_origins() && is_local(origin))))
        || (upgrade && is_extension(&origin.text))
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
