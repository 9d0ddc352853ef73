//! Measures the cost of the filter: `make bench`. docs/performance.md describes what is measured, how, and the limits
//! of the results.
//!
//! ROUNDS=15 sets how many times everything is measured, ONLY=pass,load (any of the parts, with commas) skips the
//! others, OPENCLAW_WASM=file measures another module instead of the one in dist.

mod chain;
mod envoy;
mod load;
mod report;
#[path = "../../common/sizes.rs"]
mod sizes;
mod stats;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chain::{bootstrap, bootstrap_before, repeated, wasm};
use envoy::Envoy;
use load::{Headers, flood, paced};
use report::{Row, Table, spread};
use sizes::{HEADERS, SIZES, Size};
use stats::{Spread, at};

/// How many times a filter is in its chain.
const PASSES: usize = 8;
/// Policies with a million users are large: fewer of them are in one Envoy.
const GROWTH_PASSES: usize = 4;
/// In each round everything is measured in this many batches of requests, in turn, and the cheapest batch counts:
/// other activity on the machine can only add time.
const BATCHES: usize = 5;
const REQUESTS: usize = 400;
/// Requests per second at a fixed rate.
const RATE: u32 = 2_000;

type Outcome<T> = Result<T, String>;
type Part = fn(&Plan) -> Outcome<Vec<Table>>;

const PARTS: [(&str, Part); 7] = [
    ("pass", passes),
    ("latency", latency),
    ("refused", refused),
    ("upstream", upstream),
    ("headers", headers),
    ("growth", growth),
    ("load", loading),
];

/// The plan of a run, and its inputs.
struct Plan {
    rounds: usize,
    module: PathBuf,
    sdk: PathBuf,
    floor: PathBuf,
    scratch: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
    let rounds = variable("ROUNDS").unwrap_or_else(|| "15".to_owned());
    let rounds = rounds.parse().ok().filter(|rounds| *rounds > 0).ok_or(format!("ROUNDS={rounds} is not a number"))?;
    let only: Vec<String> = variable("ONLY")
        .into_iter()
        .flat_map(|list| list.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    // The native micro-benchmarks are a separate program, which `make bench` runs.
    if let Some(unknown) = only.iter().find(|one| *one != "policy" && !PARTS.iter().any(|(name, _)| name == one)) {
        let known: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("ONLY={unknown}: the parts are policy, {}", known.join(", ")));
    }
    if std::thread::available_parallelism().map_or(0, usize::from) < 2 {
        return Err("two cores are needed, one for Envoy and one for the load".to_owned());
    }
    let reference = PathBuf::from(variable("REFERENCE").ok_or("REFERENCE is not set: run `make bench`")?);
    let out = harness::envoy::root().join("dist/bench");
    let plan = Plan {
        rounds,
        module: fs::canonicalize(harness::wasm::module_path())
            .map_err(|error| format!("the module is missing: run `make wasm` ({error})"))?,
        sdk: reference.join("sdk.wasm"),
        floor: reference.join("floor.wasm"),
        scratch: out.join("run"),
    };
    // It may be left over from an interrupted run.
    drop(fs::remove_dir_all(&plan.scratch));
    fs::create_dir_all(&plan.scratch).map_err(|error| error.to_string())?;
    measure(&plan, &only, &out)
}

impl Drop for Plan {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.scratch));
    }
}

fn measure(plan: &Plan, only: &[String], out: &Path) -> Outcome<()> {
    let mut all = format!("{}\n", machine(plan));
    print!("{all}");
    for (name, part) in PARTS {
        if !only.is_empty() && !only.iter().any(|one| one == name) {
            continue;
        }
        let begun = Instant::now();
        for (index, table) in part(plan)?.iter().enumerate() {
            let text = table.markdown();
            println!("{text}");
            all.push_str(&text);
            all.push('\n');
            if let Some(picture) = table.picture() {
                let file = if index == 0 { format!("{name}.svg") } else { format!("{name}-{}.svg", index + 1) };
                fs::write(out.join(file), picture).map_err(|error| error.to_string())?;
            }
        }
        eprintln!("({name}: {:.0} s)", begun.elapsed().as_secs_f64());
    }
    fs::write(out.join("results.md"), all).map_err(|error| error.to_string())?;
    println!("saved in {}", out.strip_prefix(harness::envoy::root()).unwrap_or(out).display());
    Ok(())
}

/// One line about the machine.
fn machine(plan: &Plan) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let size = fs::metadata(&plan.module).map_or(0, |file| file.len());
    format!(
        "{model}, {cores} cores, load at the start {}; {} rounds; module {} bytes",
        load.split(' ').next().unwrap_or("?"),
        plan.rounds,
        size
    )
}

fn usual() -> Headers {
    HEADERS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// CPU of Envoy per request, in microseconds, for requests of these headers at a listener.
fn cost(envoy: &Envoy, listener: &str, headers: &Headers, expected: u16) -> Outcome<f64> {
    let address = envoy.address(listener)?;
    let before = envoy.cpu()?;
    flood(address, headers, REQUESTS, expected)?;
    Ok((envoy.cpu()? - before) / REQUESTS as f64)
}

/// Measures each item in turn, batch after batch, starting with a different one each time: a list of rounds, each
/// with the lowest figure for each item. The first round is a warm-up and does not count.
fn interleaved<T>(
    rounds: usize,
    batches: usize,
    things: &[T],
    mut measure: impl FnMut(&T) -> Outcome<f64>,
) -> Outcome<Vec<Vec<f64>>> {
    let mut all = Vec::new();
    for round in 0..=rounds {
        let mut least = vec![f64::INFINITY; things.len()];
        for batch in 0..batches {
            for turn in 0..things.len() {
                let index = (turn + batch + round) % things.len();
                least[index] = least[index].min(measure(&things[index])?);
            }
        }
        if round > 0 {
            all.push(least);
        }
    }
    Ok(all)
}

fn column(rounds: &[Vec<f64>], figure: impl Fn(&Vec<f64>) -> f64) -> Spread {
    Spread::of(rounds.iter().map(figure))
}

/// One pass through each filter.
fn passes(plan: &Plan) -> Outcome<Vec<Table>> {
    let policy = Size::default_policy();
    let variants = [
        ("nothing", vec![]),
        ("native RBAC and mutation (part of the job)", chain::native()),
        ("SDK filter that does nothing", vec![wasm("noop", &plan.sdk, "noop")]),
        ("floor: three host calls, made straight", vec![wasm("floor", &plan.floor, "")]),
        ("the filter", vec![wasm("subject", &plan.module, &policy)]),
        ("Lua script (part of the job)", chain::lua()),
        ("the same host calls through the SDK", vec![wasm("calls", &plan.sdk, "calls")]),
    ];
    let listeners = variants.iter().map(|(name, filters)| ((*name).to_owned(), repeated(filters, PASSES))).collect();
    let envoy = Envoy::start(&bootstrap(listeners), &plan.scratch)?;
    let headers = usual();
    let rounds = interleaved(plan.rounds, BATCHES, &variants, |(name, _)| cost(&envoy, name, &headers, 200))?;
    let place = |wanted: &str| variants.iter().position(|(name, _)| name.starts_with(wanted)).unwrap_or_default();
    let (floor, calls, lua) = (place("floor"), place("the same"), place("Lua"));
    let pass = |round: &Vec<f64>, index: usize| (round[index] - round[0]) / PASSES as f64;
    let mut rows = Vec::new();
    for (index, (name, _)) in variants.iter().enumerate().skip(1) {
        let own = column(&rounds, |round| pass(round, index));
        let against = |other: usize| spread(column(&rounds, |round| pass(round, index) / pass(round, other)), 2);
        let cells = vec![spread(own, 2), against(floor), against(calls), against(lua)];
        rows.push(Row { name: (*name).to_owned(), cells, bar: Some(own) });
    }
    Ok(vec![Table {
        title: "One pass through the filter, inside Envoy".to_owned(),
        axis: "microseconds of CPU".to_owned(),
        columns: vec!["filter", "µs of CPU a pass", "against the floor", "against SDK calls", "against Lua"],
        rows,
    }])
}

/// Latency at a fixed rate, and the maximum throughput, with and without the filter.
fn latency(plan: &Plan) -> Outcome<Vec<Table>> {
    let policy = Size::default_policy();
    let variants = [
        ("without", vec![]),
        ("with the filter", vec![wasm("subject", &plan.module, &policy)]),
        ("with Lua", chain::lua()),
    ];
    let listeners = variants.iter().map(|(name, filters)| ((*name).to_owned(), filters.clone())).collect();
    let envoy = Envoy::start(&bootstrap(listeners), &plan.scratch)?;
    let headers = usual();
    let parts = [0.5, 0.9, 0.99, 0.999];
    let mut percentiles = vec![vec![Vec::new(); parts.len()]; variants.len()];
    let rates = interleaved(plan.rounds, 1, &variants, |(name, _)| {
        let address = envoy.address(name)?;
        let index = variants.iter().position(|(other, _)| other == name).unwrap_or_default();
        let mut times = paced(address, &headers, RATE, Duration::from_secs(1))?;
        times.sort_by(f64::total_cmp);
        for (list, part) in percentiles[index].iter_mut().zip(parts) {
            list.push(at(&times, part));
        }
        flood(address, &headers, 10_000, 200)
    })?;
    let mut rows = Vec::new();
    for (index, (name, _)) in variants.iter().enumerate() {
        // The first round is a warm-up.
        let mut cells: Vec<_> =
            percentiles[index].iter().map(|list| spread(Spread::of(list.iter().skip(1).copied()), 0)).collect();
        let rate = column(&rates, |round| round[index]);
        cells.push(spread(rate, 0));
        cells.push(spread(column(&rates, |round| round[index] / round[0]), 2));
        rows.push(Row { name: (*name).to_owned(), cells, bar: Some(rate) });
    }
    Ok(vec![Table {
        title: format!("Latency at {RATE} requests a second, and the most that one core gives"),
        axis: "requests a second, one worker".to_owned(),
        columns: vec!["", "p50, µs", "p90, µs", "p99, µs", "p99.9, µs", "most, requests/s", "of that without"],
        rows,
    }])
}

/// Whole requests, refused and admitted.
fn refused(plan: &Plan) -> Outcome<Vec<Table>> {
    let policy = Size::default_policy();
    let stranger =
        policy.replace("127.0.0.0/8", "192.0.2.1").replace("\"filter\":{", "\"filter\":{\"allowLoopback\":false,");
    let nonsense: Headers = (0..60).map(|index| (format!("x-nonsense-{index}"), "\"%00<>;,=".repeat(4))).collect();
    let without = |name: &str| usual().into_iter().filter(|(other, _)| other != name).collect::<Headers>();
    let with = |name: &str, value: &str| {
        let mut headers = without(name);
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    let page = with("accept", "text/html,application/xhtml+xml");
    let page = page.into_iter().filter(|(name, _)| name != "x-forwarded-user").collect();
    let filter = |policy: &str| {
        vec![wasm(if policy.contains("192.0.2.1") { "stranger" } else { "subject" }, &plan.module, policy)]
    };
    let listeners = vec![
        ("bare".to_owned(), vec![]),
        ("filter".to_owned(), filter(&policy)),
        ("stranger".to_owned(), filter(&stranger)),
    ];
    let envoy = Envoy::start(&bootstrap(listeners), &plan.scratch)?;
    let cases: Vec<(&str, &str, Headers, u16)> = vec![
        ("no filter", "bare", usual(), 200),
        ("admitted", "filter", usual(), 200),
        ("refused: untrusted peer", "stranger", usual(), 401),
        ("refused: untrusted peer, 60 odd headers", "stranger", nonsense.clone(), 401),
        ("admitted, 60 odd headers", "filter", usual().into_iter().chain(nonsense).collect(), 200),
        ("refused: no user", "filter", without("x-forwarded-user"), 401),
        ("refused: no user, a page", "filter", page, 401),
        ("refused: user not allowed", "filter", with("x-forwarded-user", "eve@example.com"), 401),
        ("refused: origin", "filter", with("origin", "https://evil.example"), 401),
    ];
    let rounds = interleaved(plan.rounds, BATCHES, &cases, |(_, listener, headers, status)| {
        cost(&envoy, listener, headers, *status)
    })?;
    let rows = cases.iter().enumerate().map(|(index, (name, ..))| {
        let own = column(&rounds, |round| round[index]);
        let against = column(&rounds, |round| round[index] / round[1]);
        Row { name: (*name).to_owned(), cells: vec![spread(own, 2), spread(against, 2)], bar: Some(own) }
    });
    Ok(vec![Table {
        title: "Refused and admitted: the whole request".to_owned(),
        axis: "microseconds of Envoy's CPU a request".to_owned(),
        columns: vec!["request", "µs of CPU a request", "against admitted"],
        rows: rows.collect(),
    }])
}

/// With an upstream that answers, and with one or two workers.
fn upstream(plan: &Plan) -> Outcome<Vec<Table>> {
    let policy = Size::default_policy();
    let echo = std::thread::spawn(|| {
        // Its threads stay on the core where it was started, next to the load.
        envoy::pin(envoy::LOAD_CORE).map_err(|error| error.to_string())?;
        harness::echo::Echo::start().map_err(|error| error.to_string())
    });
    let echo = echo.join().map_err(|_| "the upstream panicked".to_owned())??;
    let filter = wasm("subject", &plan.module, &policy);
    let listeners = || {
        vec![
            ("bare".to_owned(), repeated(&[], PASSES)),
            ("filter".to_owned(), repeated(std::slice::from_ref(&filter), PASSES)),
            ("once".to_owned(), vec![filter.clone()]),
        ]
    };
    let stranger = usual().into_iter().filter(|(name, _)| name != "x-forwarded-user").collect::<Headers>();
    let mut places = Vec::new();
    for workers in [1, 2] {
        let folder = plan.scratch.join(format!("workers-{workers}"));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        places.push((workers, Envoy::start_with(&bootstrap_before(echo.address(), listeners()), &folder, workers)?));
    }
    let kinds = [
        ("no filter", "bare", usual(), 200),
        ("admitted, eight filters", "filter", usual(), 200),
        ("admitted, one filter", "once", usual(), 200),
        ("refused: no user", "once", stranger, 401),
    ];
    let things: Vec<_> = places.iter().flat_map(|place| kinds.iter().map(move |kind| (place, kind))).collect();
    let rounds = interleaved(plan.rounds, BATCHES, &things, |((_, envoy), (_, listener, headers, status))| {
        cost(envoy, listener, headers, *status)
    })?;
    let mut rows = Vec::new();
    for (index, ((workers, _), (name, ..))) in things.iter().enumerate() {
        let first = index - index % kinds.len();
        let same = index % kinds.len();
        let own = column(&rounds, |round| round[index]);
        let pass = |round: &Vec<f64>, first: usize| (round[first + 1] - round[first]) / PASSES as f64;
        let (cost, against) = if same == 1 {
            (
                spread(column(&rounds, |round| pass(round, first)), 2),
                spread(column(&rounds, |round| pass(round, first) / pass(round, 0)), 2),
            )
        } else {
            (String::new(), spread(column(&rounds, |round| round[index] / round[same]), 2))
        };
        let share = spread(column(&rounds, |round| round[index] / round[first + 2]), 2);
        let name = format!("{name}, {workers} worker{}", if *workers == 1 { "" } else { "s" });
        rows.push(Row { name, cells: vec![spread(own, 2), cost, against, share], bar: Some(own) });
    }
    Ok(vec![Table {
        title: "With an upstream, and one worker or two".to_owned(),
        axis: "microseconds of Envoy's CPU a request".to_owned(),
        columns: vec!["request", "µs of CPU a request", "of that a pass, µs", "against one worker", "against admitted"],
        rows,
    }])
}

/// One pass, with more and longer headers.
fn headers(plan: &Plan) -> Outcome<Vec<Table>> {
    let policy = Size::default_policy();
    let variants = [
        ("bare", vec![]),
        ("floor", vec![wasm("floor", &plan.floor, "")]),
        ("filter", vec![wasm("subject", &plan.module, &policy)]),
    ];
    let listeners = variants.iter().map(|(name, filters)| ((*name).to_owned(), repeated(filters, PASSES))).collect();
    let envoy = Envoy::start(&bootstrap(listeners), &plan.scratch)?;
    let mut cases: Vec<(String, Headers)> = Vec::new();
    let essential: Headers = usual().into_iter().take(4).collect();
    // Envoy adds pseudo headers and some of its own, and accepts 100 in total.
    for (count, length) in [(6, 20), (16, 20), (46, 20), (86, 20), (16, 250), (16, 1_000), (16, 4_800)] {
        let mut headers = essential.clone();
        headers.extend((0..count - 4).map(|index| (format!("x-other-{index:02}"), "v".repeat(length))));
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        cases.push((format!("{count} headers, {:.1} KiB", bytes as f64 / 1024.0), headers));
    }
    let things: Vec<_> = cases.iter().flat_map(|case| variants.iter().map(move |(name, _)| (*name, &case.1))).collect();
    let rounds =
        interleaved(plan.rounds, BATCHES, &things, |(listener, headers)| cost(&envoy, listener, headers, 200))?;
    let pass = |round: &Vec<f64>, case: usize, variant: usize| {
        (round[case * variants.len() + variant] - round[case * variants.len()]) / PASSES as f64
    };
    let rows = cases.iter().enumerate().map(|(case, (name, _))| {
        let own = column(&rounds, |round| pass(round, case, 2));
        let floor = column(&rounds, |round| pass(round, case, 1));
        let over = column(&rounds, |round| pass(round, case, 2) - pass(round, case, 1));
        let cells = vec![spread(own, 2), spread(floor, 2), spread(over, 2)];
        Row { name: name.clone(), cells, bar: Some(own) }
    });
    Ok(vec![Table {
        title: "One pass, by number and size of headers".to_owned(),
        axis: "microseconds of CPU a pass through the filter".to_owned(),
        columns: vec!["sent by the client", "the filter, µs a pass", "floor, µs a pass", "filter less floor, µs"],
        rows: rows.collect(),
    }])
}

/// One pass, with larger and larger policies.
fn growth(plan: &Plan) -> Outcome<Vec<Table>> {
    let mut listeners = vec![("bare".to_owned(), repeated(&[], GROWTH_PASSES))];
    for (index, (name, size)) in SIZES.iter().enumerate() {
        // Each size has its own VM, so that they do not share memory.
        let filter = wasm(&format!("size-{index}"), &plan.module, &size.policy());
        listeners.push(((*name).to_owned(), repeated(&[filter], GROWTH_PASSES)));
    }
    let envoy = Envoy::start(&bootstrap(listeners), &plan.scratch)?;
    let headers = usual();
    let mut things = vec!["bare"];
    things.extend(SIZES.iter().map(|(name, _)| *name));
    let rounds = interleaved(plan.rounds, BATCHES, &things, |name| cost(&envoy, name, &headers, 200))?;
    let pass = |round: &Vec<f64>, index: usize| (round[index] - round[0]) / GROWTH_PASSES as f64;
    let rows = things.iter().enumerate().skip(1).map(|(index, name)| {
        let own = column(&rounds, |round| pass(round, index));
        let against = column(&rounds, |round| pass(round, index) / pass(round, 1));
        Row { name: (*name).to_owned(), cells: vec![spread(own, 2), spread(against, 2)], bar: Some(own) }
    });
    Ok(vec![Table {
        title: "One pass, by the size of the policy".to_owned(),
        axis: "microseconds of CPU a pass through the filter".to_owned(),
        columns: vec!["policy", "µs of CPU a pass", "against the smallest"],
        rows: rows.collect(),
    }])
}

/// The cost of loading a policy of each size, and its memory.
fn loading(plan: &Plan) -> Outcome<Vec<Table>> {
    let mut rows = Vec::new();
    for (name, size) in SIZES {
        let policy = size.policy();
        let (memory, fuel) = in_wasmtime(&policy);
        let times: Vec<_> = (0..plan.rounds.clamp(1, 5)).map(|_| in_envoy(plan, &policy)).collect::<Outcome<_>>()?;
        let of = |figure: fn(&Loaded) -> f64| Spread::of(times.iter().map(figure));
        let cells = vec![
            format!("{:.2}", policy.len() as f64 / 1e6),
            spread(of(|one| one.vm), 1),
            spread(of(|one| one.wall), 0),
            format!("{:.1}", memory as f64 / 1_048_576.0),
            fuel.to_string(),
        ];
        rows.push(Row { name: name.to_owned(), cells, bar: Some(of(|one| one.vm)) });
    }
    Ok(vec![Table {
        title: "Loading a policy".to_owned(),
        axis: "milliseconds of CPU in one VM of a real Envoy".to_owned(),
        columns: vec![
            "policy",
            "MB of text",
            "CPU of one VM, ms",
            "until in force, ms",
            "memory of the VM, MiB",
            "fuel of a decision",
        ],
        rows,
    }])
}

/// The module in wasmtime: the size of its memory with this policy, and the instructions of a decision.
fn in_wasmtime(policy: &str) -> (usize, u64) {
    let mut host = harness::wasm::Host::new();
    host.allow_fuel(1_000_000_000_000);
    assert!(host.configure(policy.as_bytes()), "the module refuses a policy of this size");
    let memory = host.memory_bytes();
    let request = HEADERS
        .iter()
        .fold(harness::wasm::Request::new("GET", "/tools/invoke").peer("127.0.0.1:40000"), |request, (name, value)| {
            request.header(name, value)
        });
    host.send(&request);
    let exchange = host.send(&request);
    assert!(exchange.response.is_none(), "the module refuses the request");
    (memory, exchange.fuel)
}

/// One change of policy in a running Envoy, in milliseconds.
struct Loaded {
    /// CPU that one VM spent on it.
    vm: f64,
    /// The time from the file's replacement until Envoy reports that it accepted it.
    wall: f64,
}

fn in_envoy(plan: &Plan, policy: &str) -> Outcome<Loaded> {
    let small = Size::default_policy();
    let swap = |module: &Path| -> Outcome<(f64, f64)> {
        let name = "subject";
        let folder = plan.scratch.join("policy");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let file = folder.join("filter.json");
        let put = |policy: &str| -> Outcome<()> {
            let new = plan.scratch.join("new.json");
            let text = chain::discovery(name, &wasm(name, module, policy)).to_string();
            fs::write(&new, text).and_then(|()| fs::rename(&new, &file)).map_err(|error| error.to_string())
        };
        put(&small)?;
        let listener = ("listener".to_owned(), vec![chain::discovered(name, &file, &folder)]);
        let envoy = Envoy::start(&bootstrap(vec![listener]), &plan.scratch)?;
        let address = envoy.address("listener")?;
        flood(address, &usual(), 200, 200)?;
        let taken =
            |envoy: &Envoy| envoy.stat(&format!("extension_config_discovery.http_filter.{name}.update_success"));
        // Envoy's own work in this time is subtracted, using the run with the floor.
        let (before, cpu, begun) = (taken(&envoy), envoy.cpu()?, Instant::now());
        put(policy)?;
        while taken(&envoy) == before {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("Envoy did not accept the policy within a minute".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let wall = begun.elapsed().as_secs_f64() * 1e3;
        // The worker's own VM loads it a moment later.
        flood(address, &usual(), 200, 200)?;
        Ok(((envoy.cpu()? - cpu) / 1e3, wall))
    };
    let (floor, _) = swap(&plan.floor)?;
    let (own, wall) = swap(&plan.module)?;
    // The main thread has one VM, and the worker has another.
    Ok(Loaded { vm: (own - floor) / 2.0, wall })
}

impl Size {
    fn default_policy() -> String {
        Self::default().policy()
    }
}
