//! The program behind `make soak`: a real Envoy under load while its policy changes every second, its upstream goes
//! down and comes back, and Envoy itself is replaced by a hot restart. Each response is checked against the policies
//! that may have decided it.

#![allow(clippy::indexing_slicing, reason = "tables of fixed size")]

mod kinds;
mod load;
mod memory;
mod picture;
mod policies;
mod sockets;

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use harness::echo::Echo;
use harness::envoy::{self, Example, FILTER, Ports, Process, Source};
use harness::wire;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use load::Tally;
use memory::Sample;
use picture::Event;
use policies::{Ledger, broken, policy, stamp};
use sockets::Sockets;

/// The number of blocking threads with one HTTP/1.1 connection each, and of threads with one HTTP/2 connection each.
const HTTP1: u64 = 8;
const HTTP2: u64 = 2;
/// The part of the load that goes over HTTP/1.1.
const HTTP1_SHARE: f64 = 0.6;
/// How long Envoy may take to accept or reject a policy.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time after the second Envoy is ready until the first has certainly stopped accepting connections.
const HANDOVER: Duration = Duration::from_secs(2);
/// How long the upstream is down.
const OUTAGE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // The parent process (make) may be killed without warning; this program must then end too.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            drop(writeln!(io::stderr(), "{problem}"));
            ExitCode::FAILURE
        }
    }
}

/// What all threads share.
pub struct Soak {
    pub ledger: Ledger,
    pub arrivals: Arc<Arrivals>,
    /// The listener without TLS, which outlives the first Envoy.
    pub address: SocketAddr,
    began: Instant,
    stop: Arc<AtomicBool>,
    ids: AtomicU64,
    answered: AtomicU64,
    outages: Mutex<Vec<(Instant, Option<Instant>)>>,
    problems: Mutex<(u64, Vec<String>)>,
}

impl Soak {
    pub fn ended(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub fn count(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a problem; the text of the first ten is kept.
    pub fn problem(&self, text: String) {
        let mut problems = lock(&self.problems);
        problems.0 += 1;
        if problems.1.len() < 10 {
            problems.1.push(format!("at {:.3} s: {text}", self.began.elapsed().as_secs_f64()));
        }
    }

    pub fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.began).as_secs_f64()
    }

    /// Whether the upstream was down at any moment since then.
    pub fn was_down(&self, since: Instant) -> bool {
        lock(&self.outages).iter().any(|(_, end)| end.is_none_or(|end| end >= since))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which numbered requests reached the upstream: one bit each.
pub struct Arrivals(Vec<AtomicU64>);

impl Arrivals {
    fn new(requests: usize) -> Self {
        Self((0..requests / 64 + 1).map(|_| AtomicU64::new(0)).collect())
    }

    fn note(&self, id: u64) {
        if let Some(word) = self.word(id) {
            word.fetch_or(1 << (id % 64), Ordering::SeqCst);
        }
    }

    pub fn has(&self, id: u64) -> bool {
        self.word(id).is_some_and(|word| word.load(Ordering::SeqCst) & (1 << (id % 64)) != 0)
    }

    fn word(&self, id: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(id / 64).unwrap_or(usize::MAX))
    }
}

/// Envoy's output: the end of its log, and counts of the lines that matter.
#[derive(Default)]
struct Said {
    tail: VecDeque<String>,
    traps: Vec<String>,
    /// Access log lines with a status of 500 or more: the total, and those that the upstream did not cause.
    errors: u64,
    errors_of_its_own: Vec<String>,
}

impl Said {
    fn hear(&mut self, source: Source, line: &str) {
        if source == Source::Access {
            let Some((_, status)) = line.split_once("\"status\":") else { return };
            if !status.starts_with('5') {
                return;
            }
            self.errors += 1;
            // UF: connection failed, UC: connection closed, UH: no healthy host, URX: retries exhausted.
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let flags = line["flags"].as_str().unwrap_or_default();
            if !flags.split(',').any(|flag| ["UF", "UC", "UH"].contains(&flag)) && self.errors_of_its_own.len() < 10 {
                self.errors_of_its_own.push(line.to_string());
            }
            return;
        }
        if ["Uncaught", "panicked", "unreachable"].iter().any(|word| line.contains(word)) && self.traps.len() < 10 {
            self.traps.push(line.to_owned());
        }
        // Refusals and findings are expected; they would push everything else out of the kept lines.
        let expected = ["refused reason=", "more refused", "proxy: critical ", "proxy: warn ", "proxy: info "];
        if !expected.iter().any(|words| line.contains(words)) {
            self.tail.push_back(line.to_owned());
            if self.tail.len() > 40 {
                self.tail.pop_front();
            }
        }
    }
}

fn variable(name: &str, default: u64, least: u64) -> Result<u64, String> {
    match std::env::var(name).ok().filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| *number >= least)
            .ok_or_else(|| format!("{name}={text}: write a number, {least} or more")),
    }
}

/// Everything that a run needs. The fields are dropped in this order.
struct Stage {
    first: Process,
    second: Option<Process>,
    upstream: Option<Echo>,
    upstream_address: SocketAddr,
    _steady: Echo,
    _shared: SharedMemory,
    example: Example,
    said: Arc<Mutex<Said>>,
    program: PathBuf,
    base_id: String,
    /// How long the first Envoy drains, and how long it lives, after the second one has started, in seconds.
    drain: u64,
    parent_shutdown: u64,
    folder: Folder,
}

fn run() -> Result<(), String> {
    let seconds = variable("SOAK_SECONDS", 600, 30)?;
    let rate = variable("SOAK_RATE", 2000, 10)?;
    let program = envoy::program()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
    }
    let arrivals = Arc::new(Arrivals::new(usize::try_from(seconds * rate * 2).unwrap_or(usize::MAX)));
    let mut stage = Stage::set(program, seconds, &arrivals)?;

    let listeners =
        stage.first.ask("/listeners?format=json").map_err(|error| format!("Envoy does not answer: {error}"))?.json();
    let (http, https) = (port(&listeners, "http")?, port(&listeners, "https")?);
    // The second Envoy asks the first for its sockets by their exact addresses.
    edit(&stage.example.bootstrap(), |text| pinned(&pinned(text, "http", http)?, "https", https))?;

    let soak = Soak {
        ledger: Ledger::new(),
        arrivals,
        address: SocketAddr::from(([127, 0, 0, 1], http)),
        began: Instant::now(),
        stop,
        ids: AtomicU64::new(1),
        answered: AtomicU64::new(0),
        outages: Mutex::default(),
        problems: Mutex::default(),
    };
    say(&format!("{seconds} s at {rate} requests/s, with {}; Ctrl-C ends it", stage.program.display()));
    let desk = Mutex::new(Desk { admin: Some(stage.first.admin()), broken: false });
    let (tally, sockets, swaps, course) = std::thread::scope(|scope| {
        let http1 = rate as f64 * HTTP1_SHARE / HTTP1 as f64;
        let http2 = rate as f64 * (1.0 - HTTP1_SHARE) / HTTP2 as f64;
        let soak = &soak;
        let desk = &desk;
        let example = stage.example.clone();
        let mut load: Vec<_> =
            (0..HTTP1).map(|seed| scope.spawn(move || load::over_http1(soak, seed + 1, http1))).collect();
        load.extend((0..HTTP2).map(|seed| scope.spawn(move || load::over_http2(soak, seed + 101, http2))));
        let sockets = scope.spawn(|| sockets::keep(soak));
        let swaps = scope.spawn(move || swap(soak, desk, &example));
        let course = conduct(&mut stage, soak, desk, seconds);
        soak.stop.store(true, Ordering::SeqCst);
        let mut tally = Tally::default();
        for thread in load {
            match thread.join() {
                Ok(one) => tally.add(one),
                Err(_) => soak.problem("a thread of the load panicked".to_owned()),
            }
        }
        let sockets = sockets.join().unwrap_or_else(|_| {
            soak.problem("the thread with the WebSockets panicked".to_owned());
            Sockets::default()
        });
        let swaps = swaps.join().unwrap_or_else(|_| {
            soak.problem("the thread that swaps policies panicked".to_owned());
            Swaps::default()
        });
        (tally, sockets, swaps, course)
    });
    let took = soak.began.elapsed().as_secs_f64();
    finish(&mut stage, &soak, tally, &sockets, &swaps, &course?, took)
}

impl Stage {
    fn set(program: PathBuf, seconds: u64, arrivals: &Arc<Arrivals>) -> Result<Self, String> {
        let folder = Folder::new()?;
        let steady = Echo::start().map_err(|error| format!("cannot start an upstream: {error}"))?;
        // On its own address, so that nothing else takes the port while it is down.
        let upstream = upstream_at(SocketAddr::from(([127, 0, 0, 2], 0)), arrivals)?;
        let upstream_address = upstream.address();
        let text = policy(Ledger::FIRST).to_string();
        let example = Example::write(&folder.0, Ports::default(), &upstream_address.to_string(), &text)?;
        edit(&example.bootstrap(), |text| with_steady(text, steady.address()))?;

        let said = Arc::default();
        let drain = (seconds / 20).clamp(3, 20);
        let parent_shutdown = drain * 3;
        let base = folder.0.join("base-id");
        let path = base.to_string_lossy().into_owned();
        let arguments = ["--use-dynamic-base-id", "--base-id-path", path.as_str()];
        let first = start_envoy(&program, &example, &folder.0, &arguments, &said)?;
        let base_id = fs::read_to_string(&base).map_err(|error| format!("Envoy wrote no base id: {error}"))?;
        let base_id = base_id.trim().to_owned();
        Ok(Self {
            first,
            second: None,
            upstream: Some(upstream),
            upstream_address,
            _steady: steady,
            _shared: SharedMemory(format!("/dev/shm/envoy_shared_memory_{base_id}0")),
            example,
            said,
            program,
            base_id,
            drain,
            parent_shutdown,
            folder,
        })
    }

    /// Replaces Envoy by a second one, as an upgrade of Envoy does. Returns when the second one is ready.
    fn restart(&mut self, soak: &Soak, desk: &Mutex<Desk>) -> Result<(), String> {
        // A new Envoy needs a good policy on disk, because it has no previous one to keep.
        loop {
            let mut desk = lock(desk);
            if !desk.broken {
                desk.admin = None;
                break;
            }
            drop(desk);
            std::thread::sleep(Duration::from_millis(50));
        }
        soak.ledger.restart(Instant::now() + Duration::from_secs(self.parent_shutdown));
        let folder = self.folder.0.join("second");
        fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let (drain, parent_shutdown) = (self.drain.to_string(), self.parent_shutdown.to_string());
        let arguments = [
            "--restart-epoch",
            "1",
            "--base-id",
            &self.base_id,
            "--drain-time-s",
            &drain,
            "--parent-shutdown-time-s",
            &parent_shutdown,
            // Its statistics must be its own.
            "--skip-hot-restart-parent-stats",
        ];
        let second = start_envoy(&self.program, &self.example, &folder, &arguments, &self.said)
            .map_err(|problem| format!("the hot restart failed: {problem}"))?;
        lock(desk).admin = Some(second.admin());
        self.second = Some(second);
        Ok(())
    }
}

/// The state of the policy swaps: which admin interface to ask, and whether the policy on disk is broken.
struct Desk {
    /// `None` during the handover: the first Envoy no longer answers, and the second does not answer yet.
    admin: Option<SocketAddr>,
    broken: bool,
}

#[derive(Default)]
struct Swaps {
    good: u64,
    broken: u64,
    /// The number of policies written while no Envoy could be asked.
    unheard: u64,
    slowest: Duration,
}

/// Writes a policy every second, a broken one every tenth time, and waits until Envoy has accepted or rejected it.
fn swap(soak: &Soak, desk: &Mutex<Desk>, example: &Example) -> Swaps {
    let mut swaps = Swaps::default();
    let mut version = Ledger::FIRST;
    let mut turn = 0_u64;
    while !soak.ended() {
        std::thread::sleep(Duration::from_secs(1));
        turn += 1;
        let mut held = lock(desk);
        let admin = held.admin;
        // An Envoy must not start with a broken policy, so none is written during a restart.
        let is_broken = turn.is_multiple_of(10) && admin.is_some();
        held.broken = is_broken;
        let rejected_before = admin.map(rejected).unwrap_or_default();
        let text = if is_broken {
            broken(turn / 10)
        } else {
            version += 1;
            soak.ledger.write(version);
            policy(version).to_string()
        };
        let begun = Instant::now();
        if let Err(problem) = example.put_policy(&text) {
            soak.problem(problem);
            break;
        }
        drop(held);
        let Some(admin) = admin else {
            swaps.unheard += 1;
            continue;
        };
        let heard = loop {
            let heard = if is_broken { rejected(admin) > rejected_before } else { in_force(admin, version) };
            if heard || soak.ended() || lock(desk).admin != Some(admin) {
                break heard;
            }
            if begun.elapsed() > PATIENCE {
                soak.problem(format!(
                    "Envoy did not say within {} s that it {} policy {version}",
                    PATIENCE.as_secs(),
                    if is_broken { "rejected what came after" } else { "took" }
                ));
                break false;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        match (heard, is_broken) {
            (true, true) => swaps.broken += 1,
            (true, false) => {
                soak.ledger.acknowledge(version);
                swaps.good += 1;
                swaps.slowest = swaps.slowest.max(begun.elapsed());
            }
            (false, _) => swaps.unheard += 1,
        }
    }
    swaps
}

fn rejected(admin: SocketAddr) -> u64 {
    stat(admin, &format!("extension_config_discovery.http_filter.{FILTER}.update_rejected"))
}

fn stat(admin: SocketAddr, name: &str) -> u64 {
    let text = ask(admin, &format!("/stats?filter=^{}$", name.replace('.', "\\.")));
    text.trim().rsplit_once(": ").and_then(|(_, value)| value.parse().ok()).unwrap_or_default()
}

/// Whether this version is in the configuration that Envoy reports.
fn in_force(admin: SocketAddr, version: u64) -> bool {
    ask(admin, "/config_dump?resource=ecds_filters").contains(&stamp(version))
}

fn ask(admin: SocketAddr, path: &str) -> String {
    wire::get::<&str, &str>(admin, path, &[]).map(|response| response.text()).unwrap_or_default()
}

/// The events of the run, and the memory use over time.
struct Course {
    envoys: [Vec<Sample>; 2],
    events: Vec<Event>,
    interrupted: bool,
}

/// Samples both Envoys every second, takes the upstream down and up again, and restarts Envoy.
fn conduct(stage: &mut Stage, soak: &Soak, desk: &Mutex<Desk>, seconds: u64) -> Result<Course, String> {
    let all = seconds as f64;
    let mut outages = VecDeque::from([0.1, 0.5, 0.8].map(|part| part * all));
    let mut restart_at = Some(0.2 * all);
    let mut handover: Option<Instant> = None;
    let mut back_at: Option<Instant> = None;
    let mut parent_lives = true;
    let mut course = Course { envoys: [Vec::new(), Vec::new()], events: Vec::new(), interrupted: false };
    let mut next = Instant::now();
    loop {
        let now = soak.seconds(Instant::now());
        if now >= all {
            return Ok(course);
        }
        if soak.ended() {
            course.interrupted = true;
            return Ok(course);
        }
        let answered = soak.answered.load(Ordering::Relaxed);
        for (samples, envoy) in course.envoys.iter_mut().zip([Some(&stage.first), stage.second.as_ref()]) {
            let Some(envoy) = envoy else { continue };
            // The first Envoy closes its administration interface when the second starts.
            let asked = if stage.second.as_ref().is_none_or(|second| second.id() == envoy.id()) {
                envoy.ask("/memory").ok().and_then(|response| response.json()["allocated"].as_str()?.parse().ok())
            } else {
                None
            };
            samples.extend(memory::look(now, envoy.id(), asked, answered));
        }
        if parent_lives && !stage.first.alive() {
            parent_lives = false;
            course.events.push(Event { from: now, to: now, what: "first Envoy gone" });
            if !soak.ledger.may_be_gone(policies::Era::First) {
                soak.problem("the first Envoy ended too early".to_owned());
            }
        }
        if stage.second.as_mut().is_some_and(|second| !second.alive()) {
            return Err("the second Envoy exited unexpectedly".to_owned());
        }
        if restart_at.is_some_and(|at| now >= at) {
            restart_at = None;
            stage.restart(soak, desk)?;
            course.events.push(Event { from: now, to: soak.seconds(Instant::now()), what: "hot restart" });
            handover = Some(Instant::now() + HANDOVER);
            next = Instant::now();
        }
        if handover.is_some_and(|at| Instant::now() >= at) {
            handover = None;
            soak.ledger.restarted();
        }
        if outages.front().is_some_and(|at| now >= *at) && stage.upstream.is_some() {
            outages.pop_front();
            lock(&soak.outages).push((Instant::now(), None));
            drop(stage.upstream.take());
            back_at = Some(Instant::now() + OUTAGE);
            course.events.push(Event { from: now, to: now, what: "upstream away" });
        }
        if back_at.is_some_and(|at| Instant::now() >= at) {
            back_at = None;
            stage.upstream = Some(upstream_at(stage.upstream_address, &soak.arrivals)?);
            let back = Instant::now();
            if let Some(outage) = lock(&soak.outages).last_mut() {
                outage.1 = Some(back);
            }
            if let Some(event) = course.events.iter_mut().rev().find(|event| event.what == "upstream away") {
                event.to = soak.seconds(back);
            }
        }
        next += Duration::from_secs(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Draws the picture, prints the summary, and checks what can only be checked at the end.
fn finish(
    stage: &mut Stage,
    soak: &Soak,
    mut tally: Tally,
    sockets: &Sockets,
    swaps: &Swaps,
    course: &Course,
    took: f64,
) -> Result<(), String> {
    for id in &tally.refused {
        if soak.arrivals.has(*id) {
            soak.problem(format!("request {id} was refused but reached the upstream later"));
        }
    }
    let (memory, problems) = memory::flat(&course.envoys[1]);
    for problem in problems {
        soak.problem(problem);
    }
    let Some(second) = &stage.second else {
        return Err("ended before the hot restart: there is no result".to_owned());
    };
    for name in ["vm_reload", "vm_reload_success", "vm_reload_failure", "vm_reload_backoff"] {
        let count = stat(second.admin(), &format!("wasm.{FILTER}.{name}"));
        if count != 0 {
            soak.problem(format!("wasm.{FILTER}.{name} is {count}: a VM failed"));
        }
    }
    if stage.first.alive() {
        soak.problem("the first Envoy did not end".to_owned());
    }
    let floods = swaps.good == 0 || swaps.broken == 0 || sockets.open_at_the_end == 0 || sockets.messages == 0;
    if floods || sockets.left_with_parent == 0 || sockets.closed_by_policy == 0 {
        soak.problem("some planned events did not happen: see the counts".to_owned());
    }
    for (index, kind) in kinds::KINDS.iter().enumerate() {
        if !tally.seen.keys().any(|(seen, _)| *seen == index) {
            soak.problem(format!("no request of the kind `{}` was sent", kind.name));
        }
    }
    let said = lock(&stage.said);
    for line in said.traps.iter().chain(&said.errors_of_its_own) {
        soak.problem(format!("Envoy wrote: {line}"));
    }

    let rate = soak.answered.load(Ordering::Relaxed) as f64 / took;
    let title = format!(
        "{took:.0} s at {rate:.0} requests a second, a new policy every second ({} in all)",
        swaps.good + swaps.unheard
    );
    let picture = picture_file()?;
    let svg = picture::draw(&title, took, &course.envoys, &course.events);
    fs::write(&picture, svg).map_err(|error| format!("cannot write {}: {error}", picture.display()))?;

    tally.microseconds.sort_unstable();
    let percentile = |part: f64| {
        let index = (tally.microseconds.len() as f64 * part) as usize;
        let value = tally.microseconds.get(index.min(tally.microseconds.len().saturating_sub(1)));
        value.map_or_else(|| "?".to_owned(), |value| format!("{:.2} ms", f64::from(*value) / 1000.0))
    };
    say(&load::table(&tally));
    let lines = [
        (
            "rate",
            format!(
                "{rate:.0} requests/s over {took:.1} s, on {} connections; {} moved from the first Envoy in good order",
                tally.opened, tally.drained
            ),
        ),
        (
            "latency",
            format!(
                "median {}, 90 % {}, 99 % {}, 99.9 % {}, longest {} (the load shares the machine)",
                percentile(0.5),
                percentile(0.9),
                percentile(0.99),
                percentile(0.999),
                percentile(1.0)
            ),
        ),
        (
            "policies",
            format!(
                "{} taken, {} written during the restart, {} broken ones rejected; at most {} ms until Envoy said so",
                swaps.good,
                swaps.unheard,
                swaps.broken,
                swaps.slowest.as_millis()
            ),
        ),
        ("decided by", format!("one policy for certain: {}; the old or the new one: {}", tally.certain, tally.between)),
        (
            "WebSockets",
            format!(
                "{} opened, {} messages, {} open at the end, {} closed by a policy, {} ended with the first Envoy, \
                 longest {} s",
                sockets.opened,
                sockets.messages,
                sockets.open_at_the_end,
                sockets.closed_by_policy,
                sockets.left_with_parent,
                sockets.longest
            ),
        ),
        ("refused with 1008", format!("{} of Dave's, {} of Alice's while B", sockets.refused, sockets.not_now)),
        (
            "5xx in the log",
            format!("{}, of which not for the upstream's sake: {}", said.errors, said.errors_of_its_own.len()),
        ),
    ];
    for (name, text) in lines {
        say(&format!("{name:<18} {text}"));
    }
    for event in &course.events {
        say(&format!("{:<18} at {:.1} s, for {:.1} s", event.what, event.from, event.to - event.from));
    }
    say(&format!("memory of the second Envoy\n{}", memory.trim_end()));
    say(&format!("picture            {}", picture.display()));

    let problems = lock(&soak.problems);
    if problems.0 > 0 {
        let mut text = format!("\n{} problems; the first:\n", problems.0);
        for problem in &problems.1 {
            text.push_str(&format!("  {problem}\n"));
        }
        text.push_str("the end of Envoy's log:\n");
        for line in &said.tail {
            text.push_str(&format!("  {line}\n"));
        }
        return Err(text);
    }
    if course.interrupted {
        return Err("interrupted: no problems until then".to_owned());
    }
    say("nothing wrong");
    Ok(())
}

fn picture_file() -> Result<PathBuf, String> {
    if let Some(file) = std::env::var_os("SOAK_PICTURE").filter(|file| !file.is_empty()) {
        return Ok(PathBuf::from(file));
    }
    let folder = envoy::root().join("target");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Ok(folder.join("soak.svg"))
}

fn start_envoy(
    program: &Path,
    example: &Example,
    folder: &Path,
    arguments: &[&str],
    said: &Arc<Mutex<Said>>,
) -> Result<Process, String> {
    let said = Arc::clone(said);
    let hear = move |source, line: &str| lock(&said).hear(source, line);
    Process::start_with(program, &example.bootstrap(), folder, arguments, hear)
}

fn upstream_at(address: SocketAddr, arrivals: &Arc<Arrivals>) -> Result<Echo, String> {
    let arrivals = Arc::clone(arrivals);
    let note = move |headers: &wire::Headers| {
        for id in wire::values(headers, kinds::ID) {
            if let Ok(id) = id.parse() {
                arrivals.note(id);
            }
        }
    };
    Echo::start_at(address, note).map_err(|error| format!("cannot start the upstream at {address}: {error}"))
}

/// WebSockets use an upstream that stays up, so that an upstream outage cannot close them.
fn with_steady(bootstrap: &str, steady: SocketAddr) -> Result<String, String> {
    let route = "                        - match: { prefix: / }\n";
    let live = format!("{}\n", route.trim_end().replace("/ }", "/live }"));
    let live = format!("{live}                          route: {{ cluster: steady, timeout: 0s }}\n");
    let address = json!({"socket_address": {"address": steady.ip().to_string(), "port_value": steady.port()}});
    let cluster = json!({
        "name": "steady",
        "load_assignment": {
            "cluster_name": "steady",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    });
    // JSON is valid YAML.
    let cluster = format!("\n  clusters:\n    - {cluster}\n");
    let text = replaced(bootstrap, route, &format!("{live}{route}"))?;
    replaced(&text, "\n  clusters:\n", &cluster)
}

/// Pins a listener that could choose its port to this one.
fn pinned(bootstrap: &str, listener: &str, port: u16) -> Result<String, String> {
    let name = format!("    - name: {listener}\n");
    let free = "port_value: 0 ";
    let problem = || format!("envoy/envoy.yaml must have a listener `{listener}`");
    let at = bootstrap.find(&name).ok_or_else(problem)?;
    let (head, tail) = bootstrap.split_at(at);
    let at = tail.find(free).ok_or_else(problem)?;
    let (between, rest) = tail.split_at(at);
    Ok(format!("{head}{between}port_value: {port} {}", &rest[free.len()..]))
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String, String> {
    match text.matches(from).count() {
        1 => Ok(text.replacen(from, to, 1)),
        count => {
            Err(format!("envoy/envoy.yaml must contain `{}` exactly once, but contains it {count} times", from.trim()))
        }
    }
}

fn edit(file: &Path, change: impl Fn(&str) -> Result<String, String>) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    fs::write(file, change(&text)?).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn port(listeners: &Value, name: &str) -> Result<u16, String> {
    let all = listeners["listener_statuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = all.iter().find(|one| one["name"] == name);
    one.and_then(|one| one["local_address"]["socket_address"]["port_value"].as_u64())
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| format!("Envoy has no listener `{name}`"))
}

/// A folder for the files that Envoy reads, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let folder = envoy::root().join(format!(".run/soak-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The memory that two Envoys share during a hot restart. They leave it behind.
struct SharedMemory(String);

impl Drop for SharedMemory {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Prints to standard output. A closed output is not an error.
fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}
