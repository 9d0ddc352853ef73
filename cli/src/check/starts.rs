//! Whether the Gateway accepts its own file: what `openclaw config validate` refuses in the blocks `gateway` and
//! `hooks`, and blocks that it does not have.

use std::collections::BTreeSet;

use policy::config::Release;

use super::finding::{Counted, Finding, Level};
use super::schema::{Refusal, Schema, UNKNOWN_KEY};
use crate::input::{Configuration, Kind};
use crate::json5::Node;

/// Adds an error for everything that the Gateway refuses, unless there is one at the same place.
pub fn add(configuration: &Configuration, findings: &mut Vec<Finding>) {
    if configuration.kind != Kind::OpenClaw {
        return;
    }
    let release = release(configuration);
    let is_error = |finding: &&Finding| finding.level == Level::Error;
    let known: BTreeSet<String> = findings.iter().filter(is_error).map(|one| one.problem.place.clone()).collect();
    let mut report = Counted::new(configuration, findings);
    let schemas = Schema::all();
    let mut refusals = judge(&schemas, release, &configuration.document);
    name_other_releases(&schemas, &configuration.document, &mut refusals);
    for (refusal, by, level) in refusals {
        if known.contains(&refusal.path) {
            continue;
        }
        let problem = format!("{}, and the Gateway {by} refuses it: {}", refusal.what, refusal.said);
        report.add(refusal.id, level, &refusal.path, problem, refusal.remedy);
    }
}

/// The release that will read the file: the one that is named, or else the one that last wrote it.
fn release(configuration: &Configuration) -> Release {
    let named = configuration.at(&["filter", "gatewayVersion"]);
    let wrote = configuration.document.member("meta").and_then(|meta| meta.member("lastTouchedVersion"));
    let read = |node: Option<&Node>| node.and_then(Node::text).and_then(Release::parse);
    read(named).or_else(|| read(wrote)).unwrap_or(Release::NEWEST)
}

/// What a release refuses, by which known release, and how sure that is.
///
/// A release that was not tried lies between two that were. What both refuse is an error, and what one of them refuses
/// is a warning: nobody knows which of the two it is like. What is newer than all may know more keys.
fn judge(schemas: &[Schema], release: Release, document: &Node) -> Vec<(Refusal, Release, Level)> {
    let refusals = |schema: &Schema, level: Level| -> Vec<(Refusal, Release, Level)> {
        schema.refusals(document).into_iter().map(|refusal| (refusal, schema.release, level)).collect()
    };
    // The newest is first.
    let newer = schemas.iter().rfind(|schema| schema.release >= release);
    let older = schemas.iter().find(|schema| schema.release <= release);
    match (newer, older) {
        (Some(newer), Some(older)) if newer.release != older.release => {
            let (mut first, mut second) = (refusals(older, Level::Error), refusals(newer, Level::Error));
            let paths = |all: &[(Refusal, Release, Level)]| -> BTreeSet<String> {
                all.iter().map(|(refusal, ..)| refusal.path.clone()).collect()
            };
            let (of_first, of_second) = (paths(&first), paths(&second));
            for (refusal, _, level) in &mut first {
                if !of_second.contains(&refusal.path) {
                    *level = Level::Warn;
                }
            }
            second.retain(|(refusal, ..)| !of_first.contains(&refusal.path));
            second.iter_mut().for_each(|(.., level)| *level = Level::Warn);
            first.extend(second);
            first
        }
        (_, Some(known)) => {
            let level = if known.release < release { Level::Warn } else { Level::Error };
            refusals(known, level)
        }
        (Some(oldest), None) => refusals(oldest, Level::Error),
        (None, None) => Vec::new(),
    }
}

/// More than the depth of any schema.
const MOST_DEEP: usize = 64;

/// Of a key that another release has, says which one.
fn name_other_releases(schemas: &[Schema], document: &Node, refusals: &mut [(Refusal, Release, Level)]) {
    if !refusals.iter().any(|(refusal, ..)| refusal.id == UNKNOWN_KEY) {
        return;
    }
    let refused: Vec<(Release, BTreeSet<String>)> =
        schemas.iter().map(|schema| (schema.release, schema.unknown_keys(document))).collect();
    for (refusal, by, _) in refusals.iter_mut().filter(|(refusal, ..)| refusal.id == UNKNOWN_KEY) {
        // Below a key that is unknown itself, nothing is looked at.
        let above = refusal.path.char_indices().filter(|(_, c)| ['.', '['].contains(c)).map(|(at, _)| at);
        // A key can have any number of dots; no schema is that deep.
        let above = above.take(MOST_DEEP);
        let paths: Vec<&str> = above.chain([refusal.path.len()]).filter_map(|end| refusal.path.get(..end)).collect();
        let has = |(_, refused): &&(Release, BTreeSet<String>)| !paths.iter().any(|path| refused.contains(*path));
        let mut newest_first = refused.iter().filter(has).map(|(release, _)| *release);
        let Some(newest) = newest_first.next() else { continue };
        refusal.remedy = if newest > *by {
            format!("if you run the Gateway {newest}, which has this key, set filter.gatewayVersion to \"{newest}\"")
        } else {
            format!("remove it: the Gateway {newest} had this key, and later ones do not")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json5::parse;

    #[test]
    fn a_release_that_was_not_tried_is_judged_by_those_around_it() {
        let document = parse("{ gateway: { bind: 'x', portals: {}, webchat: {} } }", 0).unwrap();
        let judged = |release: &str| -> Vec<(String, String, Level)> {
            let judged = judge(&Schema::all(), Release::parse(release).unwrap(), &document);
            judged.into_iter().map(|(refusal, by, level)| (refusal.path, by.to_string(), level)).collect()
        };
        let row = |path: &str, by: &str, level: Level| (format!("gateway.{path}"), by.to_owned(), level);
        let of = |by: &str| ["bind", "portals", "webchat"].map(|path| row(path, by, Level::Error));
        assert_eq!(judged("2026.9.4"), of("2026.9.4"));
        // Portals are new in 2026.9.6.
        let newest = [row("bind", "2026.9.6", Level::Error), row("webchat", "2026.9.6", Level::Error)];
        assert_eq!(judged("2026.9.6"), newest);
        let mut between = of("2026.9.4");
        between[1].2 = Level::Warn;
        assert_eq!(judged("2026.9.5"), between);
        let newer = newest.map(|(path, by, _)| (path, by, Level::Warn));
        assert_eq!(judged("2026.10.1"), newer);
        // Until 2026.5.20 there was a web chat.
        let old = |by: &str| [row("bind", by, Level::Error), row("portals", by, Level::Error)];
        assert_eq!(judged("2026.5.20"), old("2026.5.20"));
        assert_eq!(judged("2026.1.1"), old("2026.4.2"));
    }

    #[test]
    fn of_a_key_that_another_release_has_the_remedy_names_it() {
        let schemas = Schema::all();
        let remedies = |release: &str| -> Vec<(String, String)> {
            let text = "{ gateway: { portals: { ingres: 1 }, webchat: {}, nodez: {}, nodes: { denyCommands: [] } } }";
            let document = parse(text, 0).unwrap();
            let mut judged = judge(&schemas, Release::parse(release).unwrap(), &document);
            name_other_releases(&schemas, &document, &mut judged);
            judged.into_iter().map(|(refusal, ..)| (refusal.path, refusal.remedy)).collect()
        };
        let row = |path: &str, remedy: &str| (format!("gateway.{path}"), remedy.to_owned());
        let wanted = [
            row("portals.ingres", "did you mean \"ingress\"?"),
            row("webchat", "remove it: the Gateway 2026.5.20 had this key, and later ones do not"),
            row("nodez", "did you mean \"nodes\"?"),
            row("nodes.denyCommands", "remove it: the Gateway 2026.7.35 had this key, and later ones do not"),
        ];
        assert_eq!(remedies("2026.9.6"), wanted);
        let has = "if you run the Gateway 2026.9.6, which has this key, set filter.gatewayVersion to \"2026.9.6\"";
        assert_eq!(remedies("2026.5.4"), [row("portals", has), row("nodez", "did you mean \"nodes\"?")]);
    }
}
