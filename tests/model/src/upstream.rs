//! The headers that the upstream receives (contract, section 5).

use crate::headers::Headers;
use crate::{Kind, Rules, texts, trim};

const SCOPES_HEADER: &str = "x-openclaw-scopes";

/// The built-in list of identity headers, with that of the scopes; `*` matches any suffix.
pub const BUILT_IN: [&str; 50] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-auth-request-*",
    "x-pomerium-*",
    "tailscale-*",
    "cf-access-*",
    "x-goog-authenticated-user-*",
    "x-goog-iap-*",
    "x-ms-client-principal*",
    "x-amzn-oidc-*",
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "x-webauth-*",
    "x-authentik-*",
    "x-forwarded-group",
    "x-forwarded-roles",
    "remote-sub",
    "x-remote-user",
    "x-remote-group",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-roles",
    "x-auth-subject",
    "x-auth-userid",
    "x-auth-username",
    "x-token-subject",
    "x-user",
    "x-userinfo",
    "x-id-token",
    "x-endpoint-api-userinfo",
    "x-token-user-*",
    "x-vouch-*",
    "x-ms-token-*",
    "x-consumer-*",
    "x-credential-identifier",
    "x-credential-username",
    "x-remote-extra-*",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-amzn-mtls-*",
    "oidc-claim-*",
    "oidc-access-token*",
    "oidc-id-token*",
    "ssl-client-*",
    SCOPES_HEADER,
];

/// Lower case, and `-` for every byte outside `[a-z0-9]`.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().chars().map(|c| if matches!(c, 'a'..='z' | '0'..='9') { c } else { '-' }).collect()
}

/// The managed names, including those that the configuration adds.
fn managed_names<'a>(rules: &Rules<'a>) -> Vec<&'a str> {
    let mut names = BUILT_IN.to_vec();
    names.extend([rules.user_header(), rules.upstream_user_header()]);
    names.extend(rules.groups_header());
    names.extend(texts(&rules.filter["stripHeaders"]));
    names.extend(secret_names(rules));
    names
}

/// The headers whose values are secrets.
fn secret_names<'a>(rules: &Rules<'a>) -> impl Iterator<Item = &'a str> {
    rules.filter["requiredValues"].as_object().into_iter().flat_map(|all| all.keys()).map(|name| name.trim())
}

/// Whether a name is managed, or an alias of one that is.
fn is_managed_or_alias(rules: &Rules<'_>, name: &str) -> bool {
    // `:path` is not a spelling of `-path`; it belongs to the request line.
    let pseudo = name.starts_with(':');
    !pseudo
        && managed_names(rules).iter().any(|managed| match managed.strip_suffix('*') {
            // No configured name ends in a star, so this is one of the built-in families.
            Some(start) if BUILT_IN.contains(managed) => fold(name).starts_with(start),
            _ => fold(managed) == fold(name),
        })
}

/// Whether a managed header may stay on a request with an identity.
fn is_spared(rules: &Rules<'_>, name: &str) -> bool {
    let mut stamped = vec![rules.user_header(), rules.upstream_user_header(), SCOPES_HEADER];
    stamped.extend(secret_names(rules));
    let mut spared = rules.required_headers();
    spared.extend(texts(&rules.filter["keepHeaders"]));
    if rules.trusted_proxy().get("cloudflareAccessOidc").is_some_and(|value| !value.is_null()) {
        spared.push("cf-access-jwt-assertion");
    }
    !stamped.iter().any(|one| one.eq_ignore_ascii_case(name)) && spared.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// All headers that are forwarded, with the stamped ones at the end. The filter adds a missing `Sec-WebSocket-Key`
/// for HTTP/2 after all this; that is tested elsewhere, with HTTP/2.
pub(crate) fn headers(
    rules: &Rules<'_>,
    headers: &Headers,
    kind: &Kind,
    scopes: Option<Vec<&str>>,
) -> Vec<(String, String)> {
    let identified = matches!(kind, Kind::Identified(_));
    let mut seen: Vec<_> = headers
        .0
        .iter()
        .filter(|(name, _)| !is_managed_or_alias(rules, name) || (identified && is_spared(rules, name)))
        .cloned()
        .collect();
    if headers.is_upgrade() {
        clean_connection(rules, &mut seen);
    }
    take_cookies(rules, &mut seen);
    if identified {
        if rules.filter["removeBearer"] == true && seen.iter().any(is_bearer) {
            seen.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        }
        let required = rules.required_headers();
        for name in secret_names(rules).filter(|name| required.iter().any(|other| other.eq_ignore_ascii_case(name))) {
            seen.push((name.to_ascii_lowercase(), "verified".to_owned()));
        }
    }
    if let Kind::Identified(user) = kind {
        seen.push((rules.upstream_user_header().to_ascii_lowercase(), user.clone()));
    }
    if let Some(scopes) = scopes {
        seen.push((SCOPES_HEADER.to_owned(), scopes.join(",")));
    }
    seen
}

/// Whether a header is Authorization with the scheme Bearer.
fn is_bearer((name, value): &(String, String)) -> bool {
    let is_bearer = |copy: &str| {
        let copy = trim(copy);
        copy.split([' ', '\t', '\u{A0}']).next().unwrap_or_default().eq_ignore_ascii_case("bearer")
    };
    name.eq_ignore_ascii_case("authorization") && value.split(',').any(is_bearer)
}

/// Removes the cookies that the configuration names.
fn take_cookies(rules: &Rules<'_>, headers: &mut Vec<(String, String)>) {
    let is_cookie = |name: &str| name.eq_ignore_ascii_case("cookie");
    let values: Vec<_> = headers.iter().filter(|(name, _)| is_cookie(name)).map(|(_, value)| value.clone()).collect();
    let whole = values.join("; ");
    let goes = |pair: &str| {
        let name = trim(pair.split_once('=').map_or(pair, |(name, _)| name));
        texts(&rules.filter["removeCookies"]).into_iter().any(|entry| match entry.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == entry,
        })
    };
    let kept: Vec<_> = whole.split(';').filter(|pair| !goes(pair)).collect();
    if kept.len() == whole.split(';').count() {
        return;
    }
    headers.retain(|(name, _)| !is_cookie(name));
    if kept.iter().any(|pair| !trim(pair).is_empty()) {
        let value = kept.join(";");
        headers.push(("cookie".to_owned(), value.trim_start_matches([' ', '\t', '\u{A0}']).to_owned()));
    }
}

/// Removes tokens of `Connection` that name a managed header; if there are none, the header stays unchanged.
fn clean_connection(rules: &Rules<'_>, headers: &mut Vec<(String, String)>) {
    let is_connection = |name: &str| name.eq_ignore_ascii_case("connection");
    let values: Vec<_> = headers.iter().filter(|(name, _)| is_connection(name)).map(|(_, v)| v.clone()).collect();
    let tokens: Vec<String> = values.iter().flat_map(|value| value.split(',').map(trim)).collect();
    let left: Vec<_> = tokens.iter().filter(|token| !is_managed_or_alias(rules, token)).cloned().collect();
    if left.len() < tokens.len() {
        headers.retain(|(name, _)| !is_connection(name));
        headers.push(("connection".to_owned(), left.join(", ")));
    }
}
