//! Plays all attacks, prints a line for each family, reports problems, and writes the page for readers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use harness::envoy::{Source, eventually, root};

use crate::attack::drive::{Got, play};
use crate::attack::families;
use crate::attack::place::{Mode, Place, modes};
use crate::attack::suite::{Attack, Expect, Outcome, Shot, TAG, UNTAGGED, judge, laws};
use crate::attack::upstream::{Sighting, Upstream};

/// What an attack achieves without the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unguarded {
    /// A request that the filter refuses reaches the upstream.
    Arrives,
    /// A header that the filter removes reaches the upstream.
    ArrivesForged,
    /// Envoy stopped it before.
    Stopped,
    /// It reaches the upstream and is harmless by itself, as with the filter.
    Harmless,
}

struct Played {
    attack: Attack,
    problems: Vec<String>,
    unguarded: Unguarded,
}

struct FamilyReport {
    name: &'static str,
    about: &'static str,
    played: Vec<Played>,
}

struct Report {
    families: Vec<FamilyReport>,
    problems: Vec<String>,
}

/// Ends attacks that would hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// Without the filter, some attacks leave the upstream waiting for the rest: the client disconnects after this time.
const UNGUARDED_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last bytes may take to arrive, so that they are noticed. Nothing is expected in this time.
const GRACE: Duration = Duration::from_millis(300);
/// They mostly wait: Envoy closes refused connections slowly.
const THREADS: usize = 16;

/// One run for all tests, in one Envoy.
static REPORT: LazyLock<Report> = LazyLock::new(run);

fn run() -> Report {
    let families = families::all();
    let shots: Vec<(&Attack, &Shot)> = families
        .iter()
        .flat_map(|family| &family.attacks)
        .flat_map(|attack| attack.shots.iter().map(move |shot| (attack, shot)))
        .collect();
    let mut modes = modes();
    modes.retain(|mode| shots.iter().any(|(_, shot)| shot.mode == mode.name));
    let mode_of = |shot: &Shot| {
        let found = modes.iter().find(|mode| mode.name == shot.mode);
        found.unwrap_or_else(|| panic!("mode `{}` does not exist", shot.mode))
    };
    let upstream = Upstream::start().expect("a free port");
    let place = Place::start(&modes, upstream.address());

    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![Vec::new(); shots.len()]));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((index, (_, shot))) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|index| Some((index, shots.get(index)?)))
                {
                    let (mode, tag) = (mode_of(shot), tag(index, true));
                    let got = play(&tagged(shot, &tag), place.address(mode, true), PATIENCE, || {
                        settle(shot, &tag, &upstream)
                    });
                    done.lock().unwrap_or_else(PoisonError::into_inner)[index] = got;
                }
            });
        }
    });
    let got = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The responses without the filter do not matter.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((index, (_, shot))) =
                    Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|index| Some((index, shots.get(index)?)))
                {
                    let shot_without = tagged(shot, &tag(index, false));
                    play(&shot_without, place.address(mode_of(shot), false), UNGUARDED_PATIENCE, || {});
                }
            });
        }
    });
    // Requests that arrive late count as well.
    std::thread::sleep(GRACE);
    let mut seen: BTreeMap<String, Vec<Sighting>> = BTreeMap::new();
    for sighting in upstream.seen() {
        seen.entry(sighting.values(TAG).concat()).or_default().push(sighting);
    }
    let mut indices = 0..;
    let mut judged = Vec::new();
    for family in families {
        let mut played = Vec::new();
        for attack in family.attacks {
            let (mut problems, mut unguarded) = (Vec::new(), Vec::new());
            for (shot, index) in attack.shots.iter().zip(&mut indices) {
                let mut take = |filtered| seen.remove(&tag(index, filtered)).unwrap_or_default();
                let outcome = Outcome { got: got[index].clone(), seen: take(true) };
                if let Err(problem) = judge(shot, mode_of(shot), &outcome) {
                    problems.push(explain(&attack, shot, &outcome, &problem));
                }
                unguarded.push(without_filter(shot, mode_of(shot), &take(false)));
            }
            let worst = [Unguarded::Arrives, Unguarded::ArrivesForged, Unguarded::Harmless, Unguarded::Stopped];
            let unguarded = worst.into_iter().find(|one| unguarded.contains(one)).unwrap_or(Unguarded::Stopped);
            problems.truncate(3);
            played.push(Played { attack, problems, unguarded });
        }
        judged.push(FamilyReport { name: family.name, about: family.about, played });
    }

    let mut problems = Vec::new();
    let stats = place.envoy.process().ask("/stats?usedonly").expect("Envoy answers").text();
    problems.extend(
        stats
            .lines()
            .filter(|line| line.contains("vm_reload") && !line.ends_with(": 0"))
            .map(|line| format!("a virtual machine failed: {line}")),
    );
    let trap = |line: &String| ["Uncaught", "panicked", "unreachable"].iter().any(|word| line.contains(word));
    problems.extend(place.envoy.lines(Source::Log).into_iter().filter(trap));
    // By now everything that belongs to an attack has been removed.
    problems
        .extend(seen.values().flatten().map(|stray| format!("a request that belongs to no attack arrived: {stray:?}")));
    let report = Report { families: judged, problems };
    report.print();
    report
}

/// The number of a shot, as wide as [`UNTAGGED`].
fn tag(index: usize, filtered: bool) -> String {
    format!("{:010}", 2 * index + if filtered { 1 } else { 2 })
}

/// The same shot with a number in every request.
fn tagged(shot: &Shot, tag: &str) -> Shot {
    let mut shot = shot.clone();
    let (wanted, tag) = (UNTAGGED.as_bytes(), tag.as_bytes());
    for step in &mut shot.steps {
        let bytes = &mut step.bytes;
        let places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(wanted)).collect::<Vec<_>>();
        for at in places {
            bytes[at..at + tag.len()].copy_from_slice(tag);
        }
    }
    shot
}

/// Waits until everything that was sent after the headers has arrived, if it should arrive.
fn settle(shot: &Shot, tag: &str, upstream: &Upstream) {
    let length = |expect: &Expect| if let Expect::Admitted(passed) = expect { passed.body } else { None };
    let wanted: usize = shot.expected().filter_map(length).sum();
    if wanted > 0 {
        eventually("what is behind the headers to arrive", || {
            let seen = upstream.seen();
            let of_this = seen.iter().filter(|one| one.values(TAG) == [tag]);
            of_this.map(|one| one.body.len() + one.behind.len()).sum::<usize>() >= wanted
        });
    }
}

/// What the attack achieves without the filter: more requests than with it, or some that break a law.
fn without_filter(shot: &Shot, mode: &Mode, seen: &[Sighting]) -> Unguarded {
    if shot.expected().any(|expect| matches!(expect, Expect::CutOff(_))) {
        return Unguarded::Stopped;
    }
    let admitted = shot.expected().filter(|expect| matches!(expect, Expect::Admitted(_))).count();
    let refusals = shot
        .expected()
        .any(|expect| matches!(expect, Expect::Refused(..) | Expect::Closed(_) | Expect::Hidden(_) | Expect::Grpc(_)));
    if refusals && seen.len() > admitted {
        return Unguarded::Arrives;
    }
    // Headers that the filter would have removed or corrected; the scopes that it adds to an honest request do not
    // count.
    let forged = seen.iter().zip(shot.expected().filter_map(|expect| match expect {
        Expect::Admitted(passed) => Some(passed),
        _ => None,
    }));
    for (sighting, passed) in forged {
        let mut sighting = sighting.clone();
        let scopes = sighting.values("x-openclaw-scopes");
        if scopes.is_empty() || scopes.iter().map(String::as_str).eq(passed.scopes.as_deref()) {
            sighting.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-openclaw-scopes"));
        } else {
            return Unguarded::ArrivesForged;
        }
        let users = sighting.values(mode.user_header);
        if !users.iter().map(String::as_str).eq(passed.user.as_deref()) {
            return Unguarded::ArrivesForged;
        }
        sighting.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(mode.user_header));
        let lenient = Mode { delegates: true, ..mode.clone() };
        sighting.headers.push(("upgrade".to_owned(), Vec::new()));
        if laws(&sighting, &lenient, true).is_err() {
            return Unguarded::ArrivesForged;
        }
    }
    if seen.is_empty() { Unguarded::Stopped } else { Unguarded::Harmless }
}

fn explain(attack: &Attack, shot: &Shot, outcome: &Outcome, problem: &str) -> String {
    let mut text = format!("{} [{}]\n  {problem}\n", attack.name, shot.mode);
    for (index, step) in shot.steps.iter().enumerate() {
        let bytes = step.bytes.get(..1500).unwrap_or(&step.bytes).escape_ascii();
        let _ = writeln!(text, "  sent {} ({} bytes): {bytes}", index + 1, step.bytes.len());
    }
    let got: Vec<String> = outcome.got.iter().map(Got::to_string).collect();
    let _ = writeln!(text, "  the client got: {}", got.join("; "));
    for sighting in &outcome.seen {
        let target = sighting.target.escape_ascii().to_string();
        let _ = write!(text, "  the upstream saw: {} {target}", sighting.method);
        for (name, value) in &sighting.headers {
            let value = value.get(..200).unwrap_or(value).escape_ascii();
            let _ = write!(text, " | {name}: {value}");
        }
        for (name, value) in &sighting.trailers {
            let _ = write!(text, " | trailer {name}: {}", value.escape_ascii());
        }
        let _ = writeln!(text, " | {} + {} bytes behind", sighting.body.len(), sighting.behind.len());
    }
    if outcome.seen.is_empty() {
        text.push_str("  the upstream saw: nothing\n");
    }
    text
}

impl Report {
    fn count(&self, which: impl Fn(&Played) -> bool) -> usize {
        self.families.iter().flat_map(|family| &family.played).filter(|played| which(played)).count()
    }

    fn print(&self) {
        // Bypasses the output capture of passing tests, to show the number of attacks.
        let mut out = std::io::stdout();
        for family in &self.families {
            let count = |which: &dyn Fn(&&Played) -> bool| family.played.iter().filter(which).count();
            let shots: usize = family.played.iter().map(|played| played.attack.shots.len()).sum();
            let _ = writeln!(
                out,
                "{}: {} attacks in {shots} connections, {} wrong; without the filter {} arrive as they are and {} in part",
                family.name,
                family.played.len(),
                count(&|played| !played.problems.is_empty()),
                count(&|played| played.unguarded == Unguarded::Arrives),
                count(&|played| played.unguarded == Unguarded::ArrivesForged),
            );
        }
    }

    /// The page for readers.
    fn page(&self) -> String {
        let mut page = String::from(PREFACE);
        let total = self.count(|_| true);
        let real = self.count(|played| matches!(played.unguarded, Unguarded::Arrives | Unguarded::ArrivesForged));
        let _ = writeln!(
            page,
            "\n{total} attacks. Without the filter, {real} of them bring the upstream what it must not see; the others are \
             stopped by Envoy itself,\nor are the honest spelling beside a forged one: they show that the filter does not \
             simply refuse everything.\n\n## Contents\n"
        );
        for family in &self.families {
            let anchor = family.name.to_lowercase().replace(|one: char| !one.is_alphanumeric() && one != ' ', "");
            let _ = writeln!(page, "- [{}](#{}) ({})", family.name, anchor.replace(' ', "-"), family.played.len());
        }
        for family in &self.families {
            let _ = writeln!(page, "\n## {}\n\n{}\n", family.name, family.about);
            page.push_str("| attack | outcome | without the filter |\n| --- | --- | --- |\n");
            for played in &family.played {
                let without = match played.unguarded {
                    Unguarded::Arrives => "**arrives**",
                    Unguarded::ArrivesForged => "**arrives forged**",
                    Unguarded::Stopped => "stopped by Envoy",
                    Unguarded::Harmless => "arrives, harmless",
                };
                let name = played.attack.name.replace('|', "\\|");
                let _ = writeln!(page, "| {name} | {} | {without} |", played.attack.outcome().replace('|', "\\|"));
            }
        }
        page
    }
}

const PREFACE: &str = "# Attacks, and how each ends

Made by `make attack` (`tests/envoy/attack/`); to regenerate it, run `ATTACKS_MD=write make attack`. Every attack is sent, byte by byte, through a real Envoy
with the release module, and the upstream records what arrives. Refused requests never arrive. Requests that pass arrive with exactly one user and exactly the
scopes that are listed here, and without any other identity header in any spelling.

*Stopped by Envoy* means that Envoy answers or closes before the filter is asked. *Arrives* means that, without the filter, the request reaches the upstream as it was
sent; *arrives forged*, that it does so with headers that the filter takes away or corrects.
";

#[test]
fn every_attack_ends_as_the_table_says() {
    let report = &*REPORT;
    let problems: Vec<&String> =
        report.families.iter().flat_map(|family| &family.played).flat_map(|played| &played.problems).collect();
    let text: String = problems.iter().take(100).map(|problem| format!("{problem}\n")).collect();
    assert!(problems.is_empty(), "{} attacks did not end as they should:\n\n{text}", problems.len());
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// The number of attacks that, without the filter, bring the upstream something that it must not see, as of this
/// writing.
const REAL: usize = 845;

#[test]
fn the_attacks_are_real_without_the_filter_they_reach_the_upstream() {
    let report = &*REPORT;
    let real = report.count(|played| matches!(played.unguarded, Unguarded::Arrives | Unguarded::ArrivesForged));
    assert!(real >= REAL, "only {real} attacks reach the upstream without the filter; they were {REAL}");
    for family in &report.families {
        let hits = family
            .played
            .iter()
            .filter(|played| matches!(played.unguarded, Unguarded::Arrives | Unguarded::ArrivesForged));
        assert!(hits.count() >= 5, "{}: too few attacks reach the upstream without the filter", family.name);
    }
}

#[test]
fn the_page_of_attacks_is_current() {
    let file = root().join("tests/envoy/attack/RESULTS.md");
    let page = REPORT.page();
    if std::env::var_os("ATTACKS_MD").is_some_and(|value| value == "write") {
        std::fs::write(&file, page).expect("tests/envoy/attack/RESULTS.md can be written");
        return;
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(
        written == page,
        "tests/envoy/attack/RESULTS.md is out of date, run `ATTACKS_MD=write make attack`; first: {differs:?}"
    );
}
