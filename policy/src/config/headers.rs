//! Reads every key that names a header, and checks that the names do not clash (contract, sections 1 and 5).

use super::audit::Audit;
use super::header_names::{is_reserved, is_token};
use super::json::Node;
use super::login::read_required_values;
use super::reader::{Cursor, Reader};
use crate::byte_map::ByteMap;
use crate::names::{Names, Naming, SCOPES_HEADER, folded, is_built_in};
use crate::secrets::Secret;
use crate::text::trim_configured;

/// The headers of a policy.
pub(super) struct Headers {
    pub(super) user: String,
    pub(super) upstream_user: String,
    pub(super) required: Vec<String>,
    pub(super) secrets: Vec<Secret>,
    pub(super) names: Names,
}

/// Reads every key that names a header.
pub(super) fn read_headers(
    reader: &mut Reader,
    audit: &mut Audit,
    trusted_proxy: &Cursor<'_>,
    filter: &Cursor<'_>,
) -> Option<Headers> {
    let user_cursor = trusted_proxy.member("userHeader");
    if trusted_proxy.node.is_some() && user_cursor.node.is_none() {
        reader.error(
            &user_cursor,
            "is missing",
            "name the header in which your proxy names the user, such as \"x-forwarded-user\"",
        );
    }
    let upstream_cursor = filter.member("upstreamUserHeader");
    let user = read_user_header(reader, &user_cursor);
    let upstream = read_user_header(reader, &upstream_cursor);
    let groups_cursor = filter.member("scopes").member("groupsHeader");
    let groups = read_user_header(reader, &groups_cursor);
    if let Some(name) = &groups
        && [&user, &upstream].into_iter().flatten().any(|other| other.eq_ignore_ascii_case(name))
    {
        reader.error(&groups_cursor, format!("{name:?} carries the user"), "name the header that carries the groups");
    }
    let required = read_names(reader, &trusted_proxy.member("requiredHeaders"));
    let stripped = read_names(reader, &filter.member("stripHeaders"));
    let kept = read_names(reader, &filter.member("keepHeaders"));
    let secrets = read_required_values(reader, audit, &filter.member("requiredValues"));

    for (cursor, name) in &stripped {
        if is_reserved(name) {
            reader.error(
                cursor,
                format!("{name:?} is, or folds like, a header that HTTP, Envoy or the Gateway needs"),
                "leave it out",
            );
        }
    }
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let identity = |name: &str| {
        user.as_deref().is_some_and(|user| same(user, name))
            || upstream.as_deref().is_some_and(|upstream| same(upstream, name))
            || groups.as_deref().is_some_and(|groups| same(groups, name))
            || same(name, SCOPES_HEADER)
    };
    for (cursor, name) in &kept {
        if identity(name) {
            reader.error(cursor, format!("{name:?} is managed by the filter itself"), "leave it out");
        } else if !is_built_in(name) && !stripped.iter().any(|(_, other)| same(other, name)) {
            audit.note_useless(cursor.path.clone(), format!("{name:?} is not a header that would be scrubbed"));
        }
    }
    for (cursor, Secret { header, .. }) in &secrets {
        if identity(header) {
            reader.error(
                cursor,
                format!("{header:?} is managed by the filter itself"),
                "give the secret a header of its own",
            );
        } else if kept.iter().any(|(_, name)| same(name, header)) {
            reader.error(
                cursor,
                format!("{header:?} is needed elsewhere in this configuration"),
                "remove it from filter.keepHeaders: the Gateway must not get the secret",
            );
        }
    }
    for (cursor, name) in &stripped {
        let spared = required.iter().chain(&kept).any(|(_, other)| same(other, name));
        if spared || identity(name) {
            reader.error(
                cursor,
                format!("{name:?} is needed elsewhere in this configuration"),
                "remove it here or there",
            );
        }
    }
    check_foldings(
        reader,
        [(&user_cursor, user.as_deref()), (&upstream_cursor, upstream.as_deref()), (&groups_cursor, groups.as_deref())],
        [&required, &stripped, &kept]
            .into_iter()
            .flat_map(|list| list.iter().map(|(cursor, name)| (cursor, name.as_str())))
            .chain(secrets.iter().map(|(cursor, secret)| (cursor, secret.header.as_str()))),
    );
    for (key, header) in [("removeCookies", "cookie"), ("removeBearer", "authorization")] {
        let cursor = filter.member(key);
        let removes = matches!(cursor.node, Some(Node::Bool(true) | Node::List(_)));
        if removes && required.iter().any(|(_, name)| same(name, header)) {
            reader.error(
                &cursor,
                format!("takes away {header}, which is needed elsewhere in this configuration (requiredHeaders)"),
                "remove it here, or there and in the Gateway: the Gateway would refuse what the filter admits",
            );
        }
    }
    if secrets.is_empty() {
        audit.note_required_headers(required.iter().map(|(_, name)| name.as_str()), user.as_deref());
    }

    let user = user?;
    let upstream_user = upstream.unwrap_or_else(|| user.clone());
    let required: Vec<String> = required.into_iter().map(|(_, name)| name).collect();
    let assertion =
        trusted_proxy.member("cloudflareAccessOidc").node.is_some_and(|node| matches!(node, Node::Object(_)));
    let mut secrets: Vec<Secret> = secrets.into_iter().map(|(_, secret)| secret).collect();
    for secret in &mut secrets {
        secret.is_required = required.iter().any(|name| same(name, &secret.header));
    }
    let names = Names::new(&Naming {
        user: &user,
        upstream_user: &upstream_user,
        groups: groups.as_deref(),
        secrets: secrets.iter().map(|secret| secret.header.as_str()).collect(),
        required: &required,
        spared: kept
            .iter()
            .map(|(_, name)| name.as_str())
            // The Gateway verifies this one itself.
            .chain(assertion.then_some("cf-access-jwt-assertion"))
            .collect(),
        stripped: stripped.iter().map(|(_, name)| name.as_str()).collect(),
    });
    Some(Headers { user, upstream_user, required, secrets, names })
}

/// A header that carries the user or the groups. `None` if the key is absent, or if that header cannot do so.
fn read_user_header(reader: &mut Reader, cursor: &Cursor<'_>) -> Option<String> {
    const WANTED: &str = "name the header that only your proxy sets, such as \"x-forwarded-user\"";
    let name = trim_configured(reader.string(cursor)?);
    if name.is_empty() {
        reader.error(cursor, "is blank", WANTED);
        return None;
    }
    if !is_token(name) {
        reader.error(cursor, format!("{name:?} is not a legal header name"), WANTED);
        return None;
    }
    if is_reserved(name) {
        reader.error(cursor, format!("{name:?} is, or folds like, a reserved header name"), WANTED);
        return None;
    }
    Some(name.to_owned())
}

/// A list of header names. Illegal ones are errors, and are left out.
fn read_names<'n>(reader: &mut Reader, cursor: &Cursor<'n>) -> Vec<(Cursor<'n>, String)> {
    let mut names = Vec::new();
    for (at, entry) in reader.strings(cursor).unwrap_or_default() {
        let (cursor, name) = (cursor.item(at), trim_configured(entry));
        if name.is_empty() {
            reader.error(&cursor, "is blank", "remove it, or name a header");
        } else if is_token(name) {
            names.push((cursor, name.to_owned()));
        } else {
            reader.error(&cursor, format!("{name:?} is not a legal header name"), "write letters, digits and hyphens");
        }
    }
    names
}

/// Checks that no two different names fold alike. Some software behind the filter takes such names for the same header.
fn check_foldings<'l>(
    reader: &mut Reader,
    own: [(&'l Cursor<'_>, Option<&'l str>); 3],
    listed: impl Iterator<Item = (&'l Cursor<'l>, &'l str)>,
) {
    let mut seen = ByteMap::default();
    seen.insert(folded(SCOPES_HEADER.as_bytes()), SCOPES_HEADER);
    let own = own.into_iter().filter_map(|(cursor, name)| name.map(|name| (cursor, name)));
    for (cursor, name) in own.chain(listed) {
        let folded = folded(name.as_bytes());
        let first = seen.get(&folded).copied();
        seen.insert(folded, name);
        if let Some(first) = first.filter(|first| !first.eq_ignore_ascii_case(name)) {
            let problem = format!("{name:?} folds to the same name as {first:?}");
            reader.error(cursor, problem, "use one spelling: software behind the filter may mistake one for the other");
        }
    }
}
