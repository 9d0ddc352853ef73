//! The report of `replay`, as text and as JSON.

use std::fmt::Display;
use std::io::{self, Write as _};

use policy::{Mode, Policy};
use serde_json::{Value, json};

use super::tally::{Closed, Example, Group, Tally, Verdict};
use crate::output::{Output, Style, visible};
use crate::record::Unjudged;

/// Writes the report. `against` is the other policy.
pub fn write(tally: &Tally, against: Option<&Policy>, out: &mut Output) -> io::Result<()> {
    if out.is_json() { out.json(&to_json(tally, against)) } else { write_text(tally, against, out) }
}

/// Whether a request with this verdict reaches the Gateway.
const fn passes(verdict: &Verdict) -> bool {
    !matches!(verdict.result.as_bytes(), b"refused")
}

fn style(verdict: &Verdict) -> Style {
    match verdict.result {
        "admitted" | "anonymous" => Style::Good,
        "refused" => Style::Bad,
        _ => Style::Doubtful,
    }
}

/// Sorts groups by count, the largest first; groups of the same size are sorted by name.
fn by_count<K>(groups: impl Iterator<Item = (K, u64)>) -> Vec<K> {
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    groups.into_iter().map(|(key, _)| key).collect()
}

fn write_text(tally: &Tally, against: Option<&Policy>, out: &mut Output) -> io::Result<()> {
    writeln!(out, "{}", lines(tally.lines))?;
    for (verdict, group) in by_count(tally.verdicts.iter().map(|entry| (entry, entry.1.count))) {
        let name = out.paint(style(verdict), verdict).to_string();
        write_group(out, group, &name)?;
    }
    for (status, group) in &tally.unseen {
        write_group(out, group, &format!("never reached the filter: Envoy itself answered {}", visible(status)))?;
    }
    if tally.skipped.count > 0 {
        let first = tally.skipped.examples.first().map_or(0, |example| example.line);
        let count = tally.skipped.count;
        writeln!(out, "{count:>10}  skipped: not of an access log (first at line {first})")?;
    }
    write_doubts(tally, out)?;
    if let Some(against) = against {
        write_changes(tally, out)?;
        write_sockets(tally, against, out)?;
    }
    Ok(())
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

fn write_doubts(tally: &Tally, out: &mut Output) -> io::Result<()> {
    if tally.otherwise.count > 0 {
        let name = out.paint(Style::Doubtful, "decided differently when logged (by another policy?)").to_string();
        write_group(out, &tally.otherwise, &name)?;
    }
    if tally.is_complete() {
        return Ok(());
    }
    let heading = out.paint(Style::Bad, "not judged:").to_string();
    writeln!(out, "\n{heading}")?;
    if tally.broken.count > 0 {
        write_group(out, &tally.broken, "not a JSON object")?;
    }
    if tally.unrecorded.count > 0 {
        write_group(out, &tally.unrecorded, "without \"recorded\": configure the log as `render envoy --record` does")?;
    }
    for (why, group) in &tally.lacking {
        write_group(out, group, &visible(&explained(why)))?;
    }
    Ok(())
}

fn explained(why: &Unjudged) -> String {
    match why {
        Unjudged::Lacks(field) => {
            format!(
                "without \"recorded\".{field}, which the policy reads: configure the log as `render envoy --record` does"
            )
        }
        Unjudged::UnclearCopies(name) => format!("with an unclear number of copies of {name}"),
        Unjudged::Unreadable => "with a \"recorded\" that is not a valid record".to_owned(),
    }
}

fn write_changes(tally: &Tally, out: &mut Output) -> io::Result<()> {
    let changed: u64 = tally.changes.values().map(|group| group.count).sum();
    let heading = format!("against the other policy: {changed} of {} change", tally.compared);
    writeln!(out, "\n{}", out.paint(Style::Strong, heading))?;
    for ((old, new, what), group) in by_count(tally.changes.iter().map(|entry| (entry, entry.1.count))) {
        let name = if what.is_empty() {
            format!("{} -> {}", out.paint(style(old), old), out.paint(style(new), new))
        } else {
            format!(
                "{} -> {}",
                out.paint(style(old), old),
                out.paint(Style::Doubtful, if *what == "scopes" { "other scopes" } else { "another user" })
            )
        };
        write_group(out, group, &name)?;
    }
    Ok(())
}

/// What a change of policy does to open sockets.
fn effect(against: &Policy) -> &'static str {
    match against.mode() {
        _ if !against.sockets().recheck => "keep",
        Mode::Enforce => "close",
        Mode::Report => "report",
    }
}

fn write_sockets(tally: &Tally, against: &Policy, out: &mut Output) -> io::Result<()> {
    if tally.sockets == 0 {
        return Ok(());
    }
    let closed: u64 = tally.closed.values().map(|closed| closed.group.count).sum();
    let effect = match effect(against) {
        "keep" => ", if filter.openSockets were not \"keep\"",
        "report" => ", if filter.mode were not \"report\"",
        _ => "",
    };
    let heading = format!("open sockets: {closed} of {} would be closed{effect}", tally.sockets);
    writeln!(out, "\n{}", out.paint(Style::Strong, heading))?;
    for (reason, closed) in by_count(tally.closed.iter().map(|entry| (entry, entry.1.group.count))) {
        let name = out.paint(Style::Bad, visible(reason)).to_string();
        write_group(out, &closed.group, &name)?;
        writeln!(out, "            {}", users(closed))?;
    }
    Ok(())
}

/// The users whose sockets are closed, those with most sockets first.
fn users(closed: &Closed) -> String {
    const MOST: usize = 20;
    let all = by_count(closed.users.iter().map(|entry| (entry, *entry.1)));
    let one = |(user, count): &(&String, &u64)| {
        let user = if user.is_empty() { "no user" } else { user.as_str() };
        if **count == 1 { user.to_owned() } else { format!("{user} ({count})") }
    };
    let mut names: Vec<_> = all.iter().take(MOST).map(one).collect();
    if let Some(more) = all.len().checked_sub(MOST).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    format!("of {}", names.join(", "))
}

fn write_group(out: &mut Output, group: &Group, name: &(impl Display + ?Sized)) -> io::Result<()> {
    writeln!(out, "{:>10}  {name}", group.count)?;
    for Example { line, peer, method, path, user, note } in &group.examples {
        write!(out, "            line {line}")?;
        if !method.is_empty() || !peer.is_empty() {
            write!(out, "  {peer}  {method} {path}")?;
        }
        if !user.is_empty() {
            write!(out, "  user {user}")?;
        }
        if !note.is_empty() {
            write!(out, "  {}", visible(note))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn to_json(tally: &Tally, against: Option<&Policy>) -> Value {
    let verdict = |verdict: &Verdict| json!({"result": verdict.result, "reason": text(&verdict.reason)});
    let with = |mut value: Value, group: &Group| {
        if let Some(object) = value.as_object_mut() {
            object.insert("count".to_owned(), group.count.into());
            object.insert("examples".to_owned(), group.examples.iter().map(example).collect());
        }
        value
    };
    let decisions: Vec<_> = tally.verdicts.iter().map(|(key, group)| with(verdict(key), group)).collect();
    let unseen: Vec<_> = tally.unseen.iter().map(|(status, group)| with(json!({"status": status}), group)).collect();
    let mut unjudged: Vec<_> = tally
        .lacking
        .iter()
        .map(|(why, group)| match why {
            Unjudged::Lacks(field) => with(json!({"why": "lacks", "field": field}), group),
            Unjudged::UnclearCopies(name) => with(json!({"why": "unclear copies", "field": name}), group),
            Unjudged::Unreadable => with(json!({"why": "unreadable"}), group),
        })
        .collect();
    for (why, group) in [("no record", &tally.unrecorded), ("no JSON object", &tally.broken)] {
        if group.count > 0 {
            unjudged.push(with(json!({"why": why}), group));
        }
    }
    let mut report = json!({
        "lines": tally.lines,
        "decisions": decisions,
        "neverReachedTheFilter": unseen,
        "notJudged": unjudged,
        "skipped": with(json!({}), &tally.skipped),
        "loggedOtherwise": with(json!({}), &tally.otherwise),
    });
    if let Some(against) = against {
        let changes: Vec<_> = tally
            .changes
            .iter()
            .map(|((old, new, what), group)| {
                let opens = !passes(old) && passes(new);
                with(json!({"from": verdict(old), "to": verdict(new), "what": text(what), "opens": opens}), group)
            })
            .collect();
        let closed: Vec<_> = tally
            .closed
            .iter()
            .map(|(reason, Closed { group, users })| {
                let users: Vec<_> =
                    users.iter().map(|(user, count)| json!({"user": text(user), "count": count})).collect();
                with(json!({"reason": reason, "users": users}), group)
            })
            .collect();
        if let Some(report) = report.as_object_mut() {
            let sockets = json!({"opened": tally.sockets, "effect": effect(against), "closed": closed});
            report.insert(
                "against".to_owned(),
                json!({"compared": tally.compared, "changes": changes, "sockets": sockets}),
            );
        }
    }
    report
}

/// An empty text becomes null.
fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn example(example: &Example) -> Value {
    let Example { line, peer, method, path, user, note } = example;
    json!({
        "line": line, "peer": text(peer), "method": text(method), "path": text(path), "user": text(user), "note": text(note),
    })
}
