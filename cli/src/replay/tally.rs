//! Judges lines, and counts the results.

use std::borrow::Cow;
use std::collections::BTreeMap;

use policy::scopes::Scopes;
use policy::sockets::{Handshake, Standing};
use policy::text::Escaped;
use policy::{Kind, Mode, Request};
use serde::Deserialize;

use super::Judge;
use crate::record::{Record, Unjudged, as_latin1};

/// The decision of a policy. The results have the same names as in the filter's counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verdict {
    /// `admitted`, `anonymous`, `delegated`, `refused` or `would_refuse`.
    pub result: &'static str,
    /// The code of the reason; empty if the request is admitted.
    pub reason: String,
}

impl Verdict {
    /// The reason that the filter writes to the access log, which is that of a refusal.
    fn logged(&self) -> Option<&str> {
        matches!(self.result, "refused" | "would_refuse").then_some(&self.reason)
    }
}

/// A verdict, with the user and the scopes of an admitted request.
struct Judged {
    verdict: Verdict,
    user: Option<Vec<u8>>,
    scopes: Option<Scopes>,
    /// What it opened, if it is an upgrade that passes.
    socket: Option<Standing>,
}

/// The sockets that the other policy closes for one reason.
#[derive(Debug, Default)]
pub struct Closed {
    pub group: Group,
    /// The number of sockets of each user; the empty name stands for none.
    pub users: BTreeMap<String, u64>,
}

/// A request, as shown to people.
#[derive(Debug, Clone)]
pub struct Example {
    /// The line in the log, starting at 1.
    pub line: u64,
    pub peer: String,
    pub method: String,
    pub path: String,
    pub user: String,
    /// Anything else.
    pub note: String,
}

/// The number of requests in a group, and the first of them.
#[derive(Debug, Default)]
pub struct Group {
    pub count: u64,
    pub examples: Vec<Example>,
}

/// A change by another policy: the old verdict, the new one, and what else an admitted request gets.
pub type Change = (Verdict, Verdict, &'static str);

/// All counts.
#[derive(Debug, Default)]
pub struct Tally {
    pub lines: u64,
    pub verdicts: BTreeMap<Verdict, Group>,
    /// Decisions that the other policy changes.
    pub changes: BTreeMap<Change, Group>,
    /// Requests that both policies judged.
    pub compared: u64,
    /// Upgrades that passed, and that both policies judged.
    pub sockets: u64,
    /// Those whose open sockets the other policy closes, by the code of the reason.
    pub closed: BTreeMap<String, Closed>,
    /// Requests for which the log has another reason than the policy.
    pub otherwise: Group,
    /// Requests that Envoy answered before the filter, by status.
    pub unseen: BTreeMap<String, Group>,
    /// Lines that lack something that a policy reads.
    pub lacking: BTreeMap<Unjudged, Group>,
    /// Lines without a record.
    pub unrecorded: Group,
    /// Lines that begin like JSON objects, and are none.
    pub broken: Group,
    /// Lines of something else, such as Envoy's own log.
    pub skipped: Group,
    /// How many examples are kept for each group.
    pub most: usize,
}

impl Group {
    fn add(&mut self, most: usize, example: impl FnOnce() -> Example) {
        self.count = self.count.saturating_add(1);
        if self.examples.len() < most {
            self.examples.push(example());
        }
    }

    /// Adds counts from later lines; `lines` is the number of lines before them.
    fn take(&mut self, other: Self, most: usize, lines: u64) {
        self.count = self.count.saturating_add(other.count);
        let room = most.saturating_sub(self.examples.len());
        let moved = |example: Example| Example { line: example.line.saturating_add(lines), ..example };
        self.examples.extend(other.examples.into_iter().take(room).map(moved));
    }
}

/// One line of the log, with the fields that are read here.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    recorded: Option<Option<Text<'a>>>,
    #[serde(default, borrow)]
    reason: Option<Text<'a>>,
    #[serde(default)]
    status: serde_json::Value,
    /// With a message, this is a line of Envoy's own log.
    #[serde(default, deserialize_with = "is_there")]
    level: bool,
    #[serde(default, alias = "msg", deserialize_with = "is_there")]
    message: bool,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Distinguishes a key with the value `null` from a missing key.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Text<'a>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Whether a key is there, with any value.
fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Bytes as shown to people: other than printable ASCII is escaped, and long values are cut.
fn shown(bytes: &[u8]) -> String {
    Escaped { bytes, limit: 200 }.to_string()
}

impl Closed {
    fn take(&mut self, other: Self, most: usize, lines: u64) {
        self.group.take(other.group, most, lines);
        for (user, count) in other.users {
            let sum = self.users.entry(user).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

impl Tally {
    /// Whether the log has a line that is meant as one of the access log.
    pub fn has_requests(&self) -> bool {
        !self.is_complete() || !self.verdicts.is_empty() || !self.unseen.is_empty()
    }

    /// Whether every line of the access log was judged, except requests that never reached the filter.
    pub fn is_complete(&self) -> bool {
        self.broken.count == 0 && self.unrecorded.count == 0 && self.lacking.is_empty()
    }

    /// Adds the counts of the lines after these.
    pub fn append(&mut self, other: Self) {
        let (most, lines) = (self.most, self.lines);
        fn all<K: Ord>(mine: &mut BTreeMap<K, Group>, theirs: BTreeMap<K, Group>, most: usize, lines: u64) {
            for (key, group) in theirs {
                mine.entry(key).or_default().take(group, most, lines);
            }
        }
        all(&mut self.verdicts, other.verdicts, most, lines);
        all(&mut self.changes, other.changes, most, lines);
        all(&mut self.unseen, other.unseen, most, lines);
        all(&mut self.lacking, other.lacking, most, lines);
        self.otherwise.take(other.otherwise, most, lines);
        self.unrecorded.take(other.unrecorded, most, lines);
        self.broken.take(other.broken, most, lines);
        self.skipped.take(other.skipped, most, lines);
        self.compared = self.compared.saturating_add(other.compared);
        self.sockets = self.sockets.saturating_add(other.sockets);
        for (reason, closed) in other.closed {
            self.closed.entry(reason).or_default().take(closed, most, lines);
        }
        self.lines = self.lines.saturating_add(other.lines);
    }

    /// Changes what is named as the configuration has it: the names of headers and of filter states.
    pub fn map_names(mut self, change: impl Fn(&str) -> String) -> Self {
        fn all<K: Ord>(groups: BTreeMap<K, Group>, most: usize, change: impl Fn(K) -> K) -> BTreeMap<K, Group> {
            let mut changed: BTreeMap<K, Group> = BTreeMap::new();
            for (key, group) in groups {
                changed.entry(change(key)).or_default().take(group, most, 0);
            }
            changed
        }
        let verdict = |Verdict { result, reason }| Verdict { result, reason: change(&reason) };
        self.verdicts = all(self.verdicts, self.most, verdict);
        self.changes = all(self.changes, self.most, |(old, new, what)| (verdict(old), verdict(new), what));
        self.lacking = all(self.lacking, self.most, |why| match why {
            Unjudged::Lacks(field) => Unjudged::Lacks(change(&field)),
            Unjudged::UnclearCopies(name) => Unjudged::UnclearCopies(change(&name)),
            Unjudged::Unreadable => Unjudged::Unreadable,
        });
        let mut closed: BTreeMap<String, Closed> = BTreeMap::new();
        for (reason, sockets) in self.closed {
            closed.entry(change(&reason)).or_default().take(sockets, self.most, 0);
        }
        self.closed = closed;
        for example in &mut self.otherwise.examples {
            example.note = change(&example.note);
        }
        self
    }

    /// Counts a part of a line, whose end is yet to come.
    pub fn part(&mut self) {
        self.lines = self.lines.saturating_add(1);
    }

    /// Notes that the last line has no end.
    pub fn endless(&mut self) {
        let line = self.lines;
        self.broken.add(self.most, || Example::note(line, "its end is missing".to_owned()));
    }

    /// Counts a line that is not one of an access log.
    fn skipped(&mut self) {
        let line = self.lines;
        // The first one is always named.
        self.skipped.add(self.most.max(1), || Example::note(line, String::new()));
    }

    /// Counts a line that cannot be read: it is too long, or is not a JSON object.
    pub fn broken(&mut self, why: &str) {
        self.lines = self.lines.saturating_add(1);
        let line = self.lines;
        self.broken.add(self.most, || Example::note(line, why.to_owned()));
    }

    /// Judges one line.
    pub fn line(&mut self, text: &[u8], judge: &Judge, against: Option<&Judge>) {
        if text.iter().all(u8::is_ascii_whitespace) {
            self.lines = self.lines.saturating_add(1);
            return;
        }
        if !text.trim_ascii_start().starts_with(b"{") {
            self.lines = self.lines.saturating_add(1);
            return self.skipped();
        }
        let line = match serde_json::from_slice::<Line<'_>>(text) {
            Ok(line) => line,
            // The error adds its own line number, which is always 1.
            Err(error) => {
                let said = error.to_string();
                return self.broken(said.split(" at line ").next().unwrap_or_default());
            }
        };
        self.lines = self.lines.saturating_add(1);
        let (number, most) = (self.lines, self.most);
        match &line.recorded {
            // A status is a request's.
            None if line.level && line.message && line.status.is_null() => self.skipped(),
            None => self.unrecorded.add(most, || Example::note(number, String::new())),
            Some(None) => {
                let status = line.status.to_string().trim_matches('"').to_owned();
                self.unseen.entry(status).or_default().add(most, || Example::note(number, String::new()));
            }
            Some(Some(Text(recorded))) => {
                let recorded = as_latin1(recorded);
                match Record::read(&recorded) {
                    Ok(record) => self.record(&record, line.reason.as_ref().map(|text| &*text.0), judge, against),
                    Err(why) => self.lacks(why),
                }
            }
        }
    }

    fn lacks(&mut self, why: Unjudged) {
        let line = self.lines;
        self.lacking.entry(why).or_default().add(self.most, || Example::note(line, String::new()));
    }

    fn record(&mut self, record: &Record<'_>, logged: Option<&str>, judge: &Judge, against: Option<&Judge>) {
        let (line, most) = (self.lines, self.most);
        let example = |request: &Request<'_>, user: Option<&[u8]>, note: String| Example {
            line,
            peer: shown(&record.peer()),
            method: shown(request.method()),
            path: shown(request.path()),
            user: user.map(shown).unwrap_or_default(),
            note,
        };
        let first = record.judge(&judge.policy, &judge.inputs, |request| {
            let judged = judge.decide(request);
            let user = judged.user.as_deref();
            self.verdicts
                .entry(judged.verdict.clone())
                .or_default()
                .add(most, || example(request, user, String::new()));
            if judged.verdict.logged() != logged {
                let note = || match logged {
                    Some(reason) => format!("{} here, {reason} in the log", judged.verdict),
                    None => format!("{} here, passed in the log", judged.verdict),
                };
                self.otherwise.add(most, || example(request, user, note()));
            }
            judged
        });
        let (old, against) = match (first, against) {
            (Ok(old), Some(against)) => (old, against),
            (Ok(_), None) => return,
            (Err(why), _) => return self.lacks(why),
        };
        let second = record.judge(&against.policy, &against.inputs, |request| {
            let new = against.decide(request);
            self.compared = self.compared.saturating_add(1);
            if let Some(standing) = &old.socket {
                self.sockets = self.sockets.saturating_add(1);
                if let Some(reason) = closes(judge, against, standing, request) {
                    let user = old.user.as_deref();
                    let closed = self.closed.entry(reason).or_default();
                    closed.group.add(most, || example(request, user, String::new()));
                    let count = closed.users.entry(user.map(shown).unwrap_or_default()).or_default();
                    *count = count.saturating_add(1);
                }
            }
            let (what, note) = if old.verdict != new.verdict {
                ("", String::new())
            } else if old.user != new.user {
                ("user", format!("as {}", new.user.as_deref().map(shown).unwrap_or_default()))
            } else if old.scopes != new.scopes {
                let show = |scopes: &Option<Scopes>| {
                    scopes.as_ref().map_or_else(
                        || "no header".to_owned(),
                        |scopes| {
                            let names: Vec<_> = scopes.iter().map(|scope| scope.name()).collect();
                            if names.is_empty() { "none".to_owned() } else { names.join(",") }
                        },
                    )
                };
                ("scopes", format!("{} -> {}", show(&old.scopes), show(&new.scopes)))
            } else {
                return;
            };
            let user = old.user.as_deref().or(new.user.as_deref());
            let change = (old.verdict.clone(), new.verdict.clone(), what);
            self.changes.entry(change).or_default().add(most, || example(request, user, note));
        });
        if let Err(why) = second {
            self.lacks(why);
        }
    }
}

impl Example {
    fn note(line: u64, note: String) -> Self {
        let none = String::new;
        Self { line, peer: none(), method: none(), path: none(), user: none(), note }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.result)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " {}", self.reason) }
    }
}

/// Why the other policy closes an open socket. `request` has what that policy reads.
fn closes(judge: &Judge, against: &Judge, standing: &Standing, request: &Request<'_>) -> Option<String> {
    let Some(kept) = Handshake::keep(&judge.policy, &request.headers) else {
        // Such a handshake is refused, so there is no socket.
        return None;
    };
    // Of the headers, the policy sees only what is kept.
    let mut again = Request::from(request.peer);
    again.destination = request.destination;
    again.assertion = request.assertion;
    again.claims_are_true = request.claims_are_true;
    again.identity = request.identity;
    against.policy.read_into(&mut again, kept.map()).ok()?;
    against.policy.recheck(standing, &kept, &again).err().map(|ended| ended.to_string())
}

impl Judge {
    fn decide(&self, request: &Request<'_>) -> Judged {
        let decision = self.policy.decide(request);
        let passes = decision.is_ok() || self.policy.mode() == Mode::Report;
        let socket = (request.is_upgrade() && passes).then(|| self.policy.standing(request, &decision));
        match decision {
            Ok(admission) => {
                let (result, reason, user) = match admission.kind() {
                    Kind::Identified(user) => ("admitted", String::new(), Some(user)),
                    Kind::Anonymous => ("anonymous", String::new(), None),
                    Kind::Delegated(refusal) => ("delegated", refusal.to_string(), refusal.user),
                };
                Judged {
                    verdict: Verdict { result, reason },
                    user: user.map(<[u8]>::to_vec),
                    scopes: admission.scopes(),
                    socket,
                }
            }
            Err(refusal) => {
                let result = match self.policy.mode() {
                    Mode::Enforce => "refused",
                    Mode::Report => "would_refuse",
                };
                let user = refusal.user.map(<[u8]>::to_vec);
                Judged { verdict: Verdict { result, reason: refusal.to_string() }, user, scopes: None, socket }
            }
        }
    }
}
