//! Default scopes and ceilings (contract, section 4).

use super::audit::Audit;
use super::reader::{Place, Reader};
use crate::ceilings::{Ceilings, Table};
use crate::scopes::{Scope, Scopes};
use crate::text::{latin1, trim_configured};

/// Narrower default sets. What the Gateway's own default does not hold would be more than it grants.
pub(super) fn read_default_scopes(reader: &mut Reader, scopes: &Place<'_>) -> (Scopes, Scopes) {
    let mut read = |key: &str, granted: &[Scope]| {
        let place = scopes.member(key);
        let Some(entries) = reader.strings(&place) else { return granted.iter().copied().collect() };
        let mut set = Scopes::NONE;
        for (at, entry) in entries {
            match read_scope(reader, &place, at, entry) {
                Some(scope) if !granted.iter().any(|held| held.satisfies(scope)) => {
                    let names: Vec<_> = granted.iter().map(|scope| scope.name()).collect();
                    reader.error(
                        &place.item(at),
                        format!("{entry:?} is more than the Gateway assumes where the header is absent"),
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

fn read_scope(reader: &mut Reader, list: &Place<'_>, at: usize, name: &str) -> Option<Scope> {
    let scope = Scope::parse(name.as_bytes());
    if scope.is_none() {
        let names = Scope::ALL.map(Scope::name).join(", ");
        reader.error(&list.item(at), format!("{name:?} is not a scope"), format!("write one of {names}"));
    }
    scope
}

/// Who may have which scopes at most; `None` where nobody has a ceiling.
pub(super) fn read_ceilings(reader: &mut Reader, audit: &mut Audit, scopes: &Place<'_>) -> Option<Ceilings> {
    let (users_place, groups_place) = (scopes.member("users"), scopes.member("groups"));
    let header_place = scopes.member("groupsHeader");
    let users = read_table(reader, audit, &users_place);
    let groups = read_table(reader, audit, &groups_place);
    match (groups_place.node, header_place.node) {
        (Some(_), None) => reader.error(
            &header_place,
            "is missing",
            "name the header in which your proxy lists a user's groups, such as \"x-forwarded-groups\"",
        ),
        (None, Some(_)) => {
            audit.note_useless(header_place.path, "is read for filter.scopes.groups alone, which is absent".to_owned());
        }
        _ => {}
    }
    if users_place.node.is_none() && groups_place.node.is_none() {
        return None;
    }
    let (users, default) = users?;
    let Some(default) = default else {
        reader.error(
            &users_place.entry("*", None),
            "is missing",
            "write what everybody else may do at most, such as [\"operator.read\"], or [] for nothing",
        );
        return None;
    };
    let (groups, for_all) = groups?;
    if for_all.is_some() {
        reader.error(
            &groups_place.entry("*", None),
            "is not a group",
            "write what everybody else may do under filter.scopes.users[\"*\"]",
        );
    }
    audit.note_ceilings(&default, users.values().chain(groups.values()));
    Some(Ceilings::new(users, groups, default))
}

/// The ceilings of one object, and that of `*`.
fn read_table(reader: &mut Reader, audit: &mut Audit, place: &Place<'_>) -> Option<(Table, Option<Scopes>)> {
    let (mut table, mut for_all) = (Table::default(), None);
    if place.node.is_none() {
        return Some((table, for_all));
    }
    for (name, node) in reader.members(place)? {
        let entry = place.entry(name, Some(node));
        let mut ceiling = Scopes::NONE;
        for (at, scope) in reader.strings(&entry).unwrap_or_default() {
            if let Some(scope) = read_scope(reader, &entry, at, scope) {
                ceiling.push(scope);
            }
        }
        if name == "*" {
            for_all = Some(ceiling);
        } else if name.is_empty() || trim_configured(name) != name {
            audit.note_useless(entry.path, "is blank or padded, and names are compared trimmed".to_owned());
        } else if let Some(name) = latin1(name) {
            if !table.insert(&name, ceiling) {
                reader.error(
                    &entry,
                    "appears twice: names with an @ are compared without regard to case",
                    "leave one of them out",
                );
            }
        } else {
            audit.note_useless(entry.path, "has characters above U+00FF, which no header carries".to_owned());
        }
    }
    Some((table, for_all))
}
