//! Default scopes and ceilings (contract, section 4).

use super::audit::Audit;
use super::reader::{Cursor, Reader};
use crate::ceilings::{Ceilings, Table};
use crate::scopes::{Scope, Scopes};
use crate::text::{latin1, trim_configured};

/// Narrower default sets. Scopes that the Gateway's own default does not satisfy are errors.
pub(super) fn read_default_scopes(reader: &mut Reader, scopes: &Cursor<'_>) -> (Scopes, Scopes) {
    let mut read = |key: &str, granted: &[Scope]| {
        let cursor = scopes.member(key);
        let Some(entries) = reader.strings(&cursor) else { return granted.iter().copied().collect() };
        let mut set = Scopes::NONE;
        for (at, entry) in entries {
            match read_scope(reader, &cursor, at, entry) {
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

fn read_scope(reader: &mut Reader, list: &Cursor<'_>, at: usize, name: &str) -> Option<Scope> {
    let scope = Scope::parse(name.as_bytes());
    if scope.is_none() {
        let names = Scope::ALL.map(Scope::name).join(", ");
        reader.error(&list.item(at), format!("{name:?} is not a scope"), format!("write one of {names}"));
    }
    scope
}

/// The ceilings. `None` if there are none.
pub(super) fn read_ceilings(reader: &mut Reader, audit: &mut Audit, scopes: &Cursor<'_>) -> Option<Ceilings> {
    let (users_cursor, groups_cursor) = (scopes.member("users"), scopes.member("groups"));
    let header_cursor = scopes.member("groupsHeader");
    let users = read_table(reader, audit, &users_cursor);
    let groups = read_table(reader, audit, &groups_cursor);
    match (groups_cursor.node, header_cursor.node) {
        (Some(_), None) => reader.error(
            &header_cursor,
            "is missing",
            "name the header in which your proxy lists a user's groups, such as \"x-forwarded-groups\"",
        ),
        (None, Some(_)) => {
            audit.note_useless(header_cursor.path, "is used only by filter.scopes.groups, which is absent".to_owned());
        }
        _ => {}
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
    let (groups, for_all) = groups?;
    if for_all.is_some() {
        reader.error(
            &groups_cursor.entry("*", None),
            "is not a group",
            "put the ceiling of everybody else under filter.scopes.users[\"*\"]",
        );
    }
    audit.note_ceilings(&default, users.values().chain(groups.values()));
    Some(Ceilings::new(users, groups, default))
}

/// The ceilings of one object, and the one of `*`.
fn read_table(reader: &mut Reader, audit: &mut Audit, cursor: &Cursor<'_>) -> Option<(Table, Option<Scopes>)> {
    let (mut table, mut for_all) = (Table::default(), None);
    if cursor.node.is_none() {
        return Some((table, for_all));
    }
    for (name, node) in reader.members(cursor)? {
        let entry = cursor.entry(name, Some(node));
        let mut ceiling = Scopes::NONE;
        for (at, scope) in reader.strings(&entry).unwrap_or_default() {
            if let Some(scope) = read_scope(reader, &entry, at, scope) {
                ceiling.push(scope);
            }
        }
        if name == "*" {
            for_all = Some(ceiling);
        } else if name.is_empty() || trim_configured(name) != name {
            audit.note_useless(
                entry.path,
                "is blank or has spaces around it, and names are compared without them".to_owned(),
            );
        } else if let Some(name) = latin1(name) {
            if !table.insert(&name, ceiling) {
                reader.error(
                    &entry,
                    "appears twice: names with an @ are compared case-insensitively",
                    "remove one of them",
                );
            }
        } else {
            audit.note_useless(entry.path, "has characters above U+00FF, which no header can carry".to_owned());
        }
    }
    Some((table, for_all))
}
