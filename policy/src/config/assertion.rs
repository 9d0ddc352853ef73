//! Reads where Envoy stores what its login verified (`filter.assertion`).

use super::json::Node;
use super::keys;
use super::reader::{Cursor, Reader};
use crate::policy::Assertion;

pub(super) fn read_assertion(reader: &mut Reader, cursor: &Cursor<'_>) -> Option<Assertion> {
    const WANTED: &str =
        "write the path of the metadata, such as [\"envoy.filters.http.jwt_authn\", \"payload\", \"email\"]";
    cursor.node?;
    reader.known_keys(cursor, keys::ASSERTION_NAMES);
    let (path_cursor, as_cursor) = (cursor.member("metadata"), cursor.member("as"));
    if as_cursor.node.is_none() {
        reader.error(
            &as_cursor,
            "is missing",
            "write \"match\" (the user header must equal it) or \"identity\" (it is the user)",
        );
    }
    let use_as = reader.choice(&as_cursor, &keys::USES);
    let require_true = read_claims(reader, &cursor.member("requireTrue"));
    if path_cursor.node.is_none() {
        reader.error(&path_cursor, "is missing", WANTED);
    }
    let path = read_path(reader, &path_cursor, "is not a path to a string", WANTED)?;
    let path = [Assertion::PREFIX, &path].concat().into();
    Some(Assertion { path, use_as: use_as?, require_true })
}

/// The claims that must be true, each a path of its own.
fn read_claims(reader: &mut Reader, cursor: &Cursor<'_>) -> Vec<Box<[u8]>> {
    const WANTED: &str =
        "write a list of paths, such as [[\"envoy.filters.http.jwt_authn\", \"payload\", \"email_verified\"]]";
    let items = match cursor.node {
        None => return Vec::new(),
        Some(Node::List(items)) => items,
        Some(node) => {
            reader.error(cursor, format!("is {}", node.kind()), WANTED);
            return Vec::new();
        }
    };
    let mut claims = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let cursor = Cursor { node: Some(item), ..cursor.item(at) };
        if let Node::List(_) = item {
            claims.extend(read_path(reader, &cursor, "is not a path to a boolean", WANTED).map(Into::into));
        } else {
            reader.error(&cursor, format!("is {}", item.kind()), WANTED);
        }
    }
    claims
}

/// A path in metadata, with a NUL between its segments, as in paths of properties. A namespace alone is not a value.
fn read_path(reader: &mut Reader, cursor: &Cursor<'_>, problem: &str, wanted: &str) -> Option<Vec<u8>> {
    let segments: Vec<&str> = reader.strings(cursor)?.into_iter().map(|(_, segment)| segment).collect();
    if segments.len() < 2 || segments.iter().any(|segment| segment.is_empty() || segment.contains('\0')) {
        reader.error(cursor, problem, wanted);
        return None;
    }
    Some(segments.join("\0").into_bytes())
}
