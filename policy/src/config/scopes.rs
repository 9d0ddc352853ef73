//! Default scopes and ceilings (contract, section 4).

use super::audit::Audit;
use super::json::Node;
use super::keys;
use super::reader::{Cursor, Reader};
use super::releases::Gateway;
use crate::byte_map::ByteMap;
use crate::ceilings::{Ceilings, folded_user};
use crate::policy::Users;
use crate::scopes::{Scope, Scopes};
use crate::text::{latin1, trim_configured};

/// Narrower default sets. Scopes that the Gateway's own default does not satisfy are errors.
pub(super) fn read_default_scopes(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    scopes: &Cursor<'_>,
) -> (Scopes, Scopes) {
    let mut read = |key: &str, granted: &[Scope]| {
        let granted: Vec<_> = release.scopes().filter(|scope| granted.contains(scope)).collect();
        let cursor = scopes.member(key);
        let Some(entries) = reader.strings(&cursor) else { return granted.into_iter().collect() };
        let mut set = Scopes::NONE;
        for (at, entry) in entries {
            match read_scope(reader, audit, release, &cursor, at, entry) {
                Some(scope) if !granted.iter().any(|held| held.satisfies(scope)) => {
                    let names: Vec<_> = granted.iter().map(|scope| scope.name()).collect();
                    reader.error(
                        &cursor.item(at),
                        format!("{entry:?} is more than the Gateway assumes when the header is absent"),
                        format!("leave it out: the Gateway's default here is {}", names.join(", ")),
                    );
                }
                Some(scope) => set.push(scope),
                None => {}
            }
        }
        set
    };
    (read("default", Scope::DEFAULT), read("pluginDefault", Scope::PLUGIN_DEFAULT))
}

/// A scope, unless the Gateway's release does not know it.
fn read_scope(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    list: &Cursor<'_>,
    at: usize,
    name: &str,
) -> Option<Scope> {
    let Some(scope) = Scope::parse(name.as_bytes()) else {
        let names = Scope::ALL.map(Scope::name).join(", ");
        reader.error(&list.item(at), format!("{name:?} is not a scope"), format!("write one of {names}"));
        return None;
    };
    let known = release.scopes().find(|known| *known == scope);
    if known.is_none() {
        audit.note_useless(list.item(at).path, format!("{name:?} is not a scope of the Gateway {}", release.name));
    }
    known
}

/// The ceilings, and the most scopes of a socket without a user.
pub(super) struct Limits {
    pub(super) ceilings: Option<Ceilings>,
    pub(super) without_user: Option<Scopes>,
}

/// Reads the ceilings. `allowed` are the users who are admitted.
pub(super) fn read_limits(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    scopes: &Cursor<'_>,
    allowed: &Users,
) -> Limits {
    let ceilings = read_ceilings(reader, audit, release, scopes, allowed);
    let cursor = scopes.member("withoutUser");
    let without_user = match cursor.node {
        Some(_) => Some(read_scopes(reader, audit, release, &cursor)),
        None => ceilings.as_ref().map(|ceilings| *ceilings.default()),
    };
    Limits { ceilings, without_user }
}

fn read_ceilings(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    scopes: &Cursor<'_>,
    allowed: &Users,
) -> Option<Ceilings> {
    let (users_cursor, groups_cursor) = (scopes.member("users"), scopes.member("groups"));
    let (header_cursor, separator_cursor) = (scopes.member("groupsHeader"), scopes.member("groupsSeparator"));
    let separator = reader.choice(&separator_cursor, &keys::SEPARATORS).unwrap_or(b',');
    let users = read_users(reader, audit, release, &users_cursor, allowed);
    let groups = read_groups(reader, audit, release, &groups_cursor, separator);
    match (groups_cursor.node, header_cursor.node) {
        (Some(_), None) => reader.error(
            &header_cursor,
            "is missing",
            "name the header in which your proxy lists a user's groups, such as \"x-forwarded-groups\"",
        ),
        (Some(_), Some(Node::String(header))) => audit.note_groups_header(trim_configured(header), separator),
        _ => {}
    }
    for (cursor, is_set) in [(&header_cursor, header_cursor.node.is_some()), (&separator_cursor, separator != b',')] {
        if groups_cursor.node.is_none() && is_set {
            audit.note_useless(cursor.path.clone(), "is used only by filter.scopes.groups, which is absent".to_owned());
        }
    }
    if users_cursor.node.is_none() && groups_cursor.node.is_none() {
        return None;
    }
    let (users, default) = users?;
    let Some(default) = default else {
        reader.error(
            &users_cursor.entry("*", None),
            "is missing",
            "write the most scopes that everybody else may have, such as [\"operator.read\"], or [] for none",
        );
        return None;
    };
    let groups = groups?;
    audit.note_ceilings(&default, users.values().chain(groups.values()));
    Some(Ceilings::new(users, groups, separator, default))
}

fn read_scopes(reader: &mut Reader, audit: &mut Audit, release: &Gateway, cursor: &Cursor<'_>) -> Scopes {
    let mut set = Scopes::NONE;
    for (at, name) in reader.strings(cursor).unwrap_or_default() {
        if let Some(scope) = read_scope(reader, audit, release, cursor, at, name) {
            set.push(scope);
        }
    }
    set
}

/// The ceilings of users, and the one of `*`. Names are folded like the users of requests.
fn read_users(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    cursor: &Cursor<'_>,
    allowed: &Users,
) -> Option<(ByteMap<Scopes>, Option<Scopes>)> {
    let (mut table, mut for_all) = (ByteMap::default(), None);
    if cursor.node.is_none() {
        return Some((table, for_all));
    }
    let allowed = match allowed {
        Users::Any => None,
        Users::Only(users) => {
            let mut folded = ByteMap::with_capacity(0);
            for user in users.keys() {
                folded.insert(folded_user(user).into_owned(), ());
            }
            Some(folded)
        }
    };
    for (name, node) in reader.members(cursor)? {
        let entry = cursor.entry(name, Some(node));
        let ceiling = read_scopes(reader, audit, release, &entry);
        if name == "*" {
            for_all = Some(ceiling);
            continue;
        }
        let folded = trim_configured(name).to_lowercase();
        let Some(folded) = read_name(audit, &entry, &folded) else { continue };
        if allowed.as_ref().is_some_and(|allowed| !allowed.contains(&folded)) {
            audit.note_unlisted_user(&entry.path);
        }
        if !table.insert(folded, ceiling) {
            reader.error(
                &entry,
                "appears twice: users are compared in lower case, as the Gateway's profiles are",
                "remove one of them",
            );
        }
    }
    Some((table, for_all))
}

/// The ceilings of groups. Their names are compared as they are.
fn read_groups(
    reader: &mut Reader,
    audit: &mut Audit,
    release: &Gateway,
    cursor: &Cursor<'_>,
    separator: u8,
) -> Option<ByteMap<Scopes>> {
    let mut table = ByteMap::default();
    if cursor.node.is_none() {
        return Some(table);
    }
    for (name, node) in reader.members(cursor)? {
        let entry = cursor.entry(name, Some(node));
        let ceiling = read_scopes(reader, audit, release, &entry);
        if name == "*" {
            reader.error(
                &entry,
                "is not a group",
                "put the ceiling of everybody else under filter.scopes.users[\"*\"]",
            );
        } else if name.bytes().any(|byte| byte == separator) {
            reader.error(
                &entry,
                format!("contains the separator \"{}\", so no group can match it", char::from(separator)),
                "remove it, or set filter.scopes.groupsSeparator to what your proxy writes between groups",
            );
        } else if trim_configured(name) != name {
            audit.note_useless(entry.path, "has spaces around it, and groups are compared without them".to_owned());
        } else if let Some(name) = read_name(audit, &entry, name) {
            table.insert(name, ceiling);
        }
    }
    Some(table)
}

/// A name in a header, as bytes. `None` if no header can name it.
fn read_name(audit: &mut Audit, entry: &Cursor<'_>, name: &str) -> Option<Box<[u8]>> {
    if name.is_empty() {
        audit.note_useless(entry.path.clone(), "is blank".to_owned());
        return None;
    }
    let bytes = latin1(name);
    if bytes.is_none() {
        audit.note_useless(entry.path.clone(), "has characters above U+00FF, which no header can carry".to_owned());
    }
    bytes
}
