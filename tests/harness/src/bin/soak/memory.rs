//! The memory of Envoy and its VMs, second by second.

use std::fmt::Write as _;
use std::fs;

/// V8 reserves this much address space for each memory of a module, so that it can grow in place. The part in use is
/// readable; the rest is not, and shows as one large gap. The kernel's list of mappings therefore tells the size of
/// each VM.
const RESERVED: u64 = 8 << 30;
const KIB: u64 = 1 << 10;

/// One measurement of one Envoy.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Resident memory.
    pub resident: u64,
    /// The part of it that is not backed by a file.
    pub anonymous: u64,
    /// The bytes that Envoy's allocator has given out, if Envoy could be asked.
    pub allocated: Option<u64>,
    /// The linear memory of each VM.
    pub vms: Vec<u64>,
    /// All requests answered since the start, by either Envoy.
    pub answered: u64,
}

/// Measures a process; returns `None` if it has gone.
pub fn look(at: f64, process: u32, allocated: Option<u64>, answered: u64) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * KIB)
    };
    // A process that has ended but was not waited for has no memory.
    let (resident, anonymous) = (field("VmRSS:")?, field("RssAnon:")?);
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    Some(Sample { at, resident, anonymous, allocated, vms: linear_memories(&maps), answered })
}

fn linear_memories(maps: &str) -> Vec<u64> {
    let hole = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let size = u64::from_str_radix(to, 16).ok()?.checked_sub(u64::from_str_radix(from, 16).ok()?)?;
        let used = RESERVED.checked_sub(size)?;
        (words.next()? == "---p" && (1..RESERVED / 2).contains(&used) && used.is_multiple_of(64 * KIB)).then_some(used)
    };
    maps.lines().filter_map(hole).collect()
}

/// The median of `of` over the samples between two moments.
fn median(samples: &[Sample], from: f64, to: f64, of: impl Fn(&Sample) -> Option<u64>) -> Option<u64> {
    let mut all: Vec<u64> = samples.iter().filter(|one| (from..to).contains(&one.at)).filter_map(of).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// Whether an Envoy's memory is flat: compares the last third of its life with the middle third. The first third is
/// warm-up.
///
/// The VMs are checked exactly: none may have grown. Resident memory and Envoy's allocator vary with what is open at
/// a given moment, so their medians may differ by 5 % and 8 MiB.
pub fn flat(samples: &[Sample]) -> (String, Vec<String>) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return (String::new(), vec!["no memory was measured".to_owned()]);
    };
    let third = (last.at - first.at) / 3.0;
    let (middle, end) = (first.at + third, first.at + 2.0 * third);
    let past = last.at + 1.0;
    let mut text = String::new();
    let mut problems = Vec::new();
    for (name, of) in [
        ("resident", (|one| Some(one.resident)) as fn(&Sample) -> Option<u64>),
        ("without files", |one| Some(one.anonymous)),
        ("Envoy's allocator", |one| one.allocated),
    ] {
        let (Some(before), Some(after)) = (median(samples, middle, end, of), median(samples, end, past, of)) else {
            problems.push(format!("memory ({name}) was not measured"));
            continue;
        };
        let begun = of(first).map_or_else(|| "?".to_owned(), mib);
        let _ = writeln!(
            text,
            "  {name:<18} first {begun:>6} MiB, middle third {:>6} MiB, last third {:>6} MiB",
            mib(before),
            mib(after)
        );
        if after > before + before / 20 + (8 << 20) {
            problems.push(format!("memory ({name}) grows: {} MiB, then {} MiB", mib(before), mib(after)));
        }
    }
    let largest = |from: f64, to: f64| {
        samples.iter().filter(|one| (from..to).contains(&one.at)).flat_map(|one| one.vms.iter().copied()).max()
    };
    let fewest = samples.iter().filter(|one| one.at >= middle).map(|one| one.vms.len()).min().unwrap_or_default();
    let most = samples.iter().filter(|one| one.at >= middle).map(|one| one.vms.len()).max().unwrap_or_default();
    match (largest(middle, end), largest(end, past)) {
        (Some(before), Some(after)) => {
            let _ = writeln!(
                text,
                "  {:<18} {most} of them, the largest {} KiB in the middle third, {} KiB in the last",
                "VMs",
                before / KIB,
                after / KIB
            );
            if after > before {
                problems.push(format!("a VM grows: {} KiB, then {} KiB", before / KIB, after / KIB));
            }
            if fewest != most {
                problems.push(format!("the number of VMs is between {fewest} and {most}: they come and go"));
            }
        }
        _ => problems.push("no VM was found among Envoy's mappings".to_owned()),
    }
    (text, problems)
}

pub fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
