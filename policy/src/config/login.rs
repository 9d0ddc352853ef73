//! Reads what passes between the proxy and the filter only: the secret that proves the proxy (`requiredValues`), and
//! what its login leaves behind (`removeCookies`).

use super::audit::Audit;
use super::header_names::{is_reserved, is_token};
use super::json::Node;
use super::keys;
use super::reader::{Cursor, Reader};
use super::shapes::DIGEST_REMEDY;
use crate::cookies::{CookieNames, OF_THE_GATEWAY};
use crate::secrets::{self, Digest, Secret};
use crate::text::trim_configured;

/// The SHA-256 digest of nothing (FIPS 180-4).
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Reads `requiredValues`. Wrong entries are errors, and are left out.
pub(super) fn read_required_values<'n>(
    reader: &mut Reader,
    audit: &mut Audit,
    cursor: &Cursor<'n>,
) -> Vec<(Cursor<'n>, Secret)> {
    const WANTED: &str = "name the header in which your proxy sends a secret, such as \"x-edge-secret\"";
    let mut secrets: Vec<(Cursor<'n>, Secret)> = Vec::new();
    for (key, node) in reader.members(cursor).unwrap_or_default() {
        let entry = cursor.entry(key, Some(node));
        let name = trim_configured(key);
        if !is_token(name) {
            reader.error(&entry, format!("{name:?} is not a legal header name"), WANTED);
        } else if is_reserved(name) {
            reader.error(&entry, format!("{name:?} is, or folds like, a reserved header name"), WANTED);
        } else if secrets.iter().any(|(_, secret)| secret.header.eq_ignore_ascii_case(name)) {
            reader.error(&entry, "appears twice: header names have no case", "write all digests under one key");
        }
        let digests = read_digests(reader, audit, &entry);
        let lower = name.to_ascii_lowercase().into_bytes().into();
        secrets.push((entry, Secret { header: name.to_owned(), name: lower, digests, is_required: false }));
    }
    // The order of keys in an object has no meaning, but which header a refusal names must not depend on it.
    secrets.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    secrets
}

/// The digests of one header. A digest is not a secret, but it is left out of errors: people paste the secret itself.
fn read_digests(reader: &mut Reader, audit: &mut Audit, entry: &Cursor<'_>) -> Vec<Digest> {
    reader.known_keys(entry, keys::REQUIRED_VALUE_NAMES);
    let list = entry.member("sha256");
    let texts = reader.strings(&list).unwrap_or_default();
    let is_empty = |node: Option<&Node>| match node {
        Some(Node::List(items)) => items.is_empty(),
        Some(Node::Object(members)) => members.is_empty(),
        _ => false,
    };
    if is_empty(list.node) || is_empty(entry.node) {
        reader.error(&list, "has no digest", DIGEST_REMEDY);
    }
    let mut digests = Vec::with_capacity(texts.len());
    for (at, text) in texts {
        let item = list.item(at);
        match secrets::parse(text) {
            None => reader.error(&item, "is not a SHA-256 digest in hexadecimal", DIGEST_REMEDY),
            Some(_) if text.eq_ignore_ascii_case(OF_NOTHING) => {
                reader.error(&item, "is the digest of an empty value, which proves nothing", DIGEST_REMEDY);
            }
            Some(digest) if digests.contains(&digest) => {
                audit.note_useless(item.path, "appears twice".to_owned());
            }
            Some(digest) => digests.push(digest),
        }
    }
    digests
}

/// Reads `removeCookies`.
pub(super) fn read_cookies(reader: &mut Reader, cursor: &Cursor<'_>) -> CookieNames {
    let mut names = CookieNames::default();
    for (at, entry) in reader.strings(cursor).unwrap_or_default() {
        let item = cursor.item(at);
        let start = entry.strip_suffix('*');
        let name = start.unwrap_or(entry);
        let own = OF_THE_GATEWAY
            .iter()
            .find(|own| name.starts_with(**own) || start.is_some_and(|start| own.starts_with(start)));
        if name.is_empty() && start.is_some() {
            reader.error(&item, "is every cookie, those of the Gateway too", COOKIE_REMEDY);
        } else if !is_token(name) || name.contains('*') {
            reader.error(&item, format!("{entry:?} is not a cookie's name"), COOKIE_REMEDY);
        } else if let Some(own) = own {
            reader.error(
                &item,
                format!("{entry:?} names cookies of the Gateway itself ({own}...)"),
                format!(
                    "leave the Gateway's own cookies alone: {}",
                    OF_THE_GATEWAY.map(|own| format!("{own}*")).join(", ")
                ),
            );
        } else {
            names.insert(entry);
        }
    }
    names
}

const COOKIE_REMEDY: &str = "write the name of a cookie, or its start and \"*\": \"IdToken\", \"_oauth2_proxy*\"";
