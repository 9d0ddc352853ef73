//! Reads a log in blocks of whole lines, judges them on all processors, and adds up the counts in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Judge;
use super::tally::Tally;
use crate::wrapping::{Parts, unwrap};

/// The size of a block. A block grows until its last line is complete.
const BLOCK: usize = 1 << 20;
/// The longest line that is judged. Lines of access logs are shorter: headers have at most 60 KiB.
const LONGEST: usize = 4 << 20;

/// Complete lines, or a mark for a line that is too long.
enum Block {
    Lines(Vec<u8>),
    TooLong,
}

/// Judges every line of a log. `length` is the length of the log in bytes, or 0 if it is not known.
pub fn tally(
    mut log: impl Read + Send,
    length: u64,
    judge: &Judge,
    against: Option<&Judge>,
    most: usize,
) -> io::Result<Tally> {
    let bar = progress(length);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (blocks, waiting) = sync_channel::<(usize, Block)>(workers);
    let (counted, results) = sync_channel::<(usize, u64, Tally)>(workers);
    let waiting = Mutex::new(waiting);
    let total = thread::scope(|scope| {
        let reading = scope.spawn(move || read(&mut log, &blocks));
        for _ in 0..workers {
            let counted = counted.clone();
            let waiting = &waiting;
            scope.spawn(move || {
                while let Some((number, block)) = next(waiting) {
                    let mut tally = Tally { most, ..Tally::default() };
                    let bytes = match &block {
                        Block::Lines(lines) => {
                            let mut parts = Parts::default();
                            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                                match parts.join(line) {
                                    Some(line) => tally.line(&line, judge, against),
                                    None => tally.part(),
                                }
                            }
                            if parts.is_open() {
                                tally.endless();
                            }
                            lines.len()
                        }
                        Block::TooLong => {
                            tally.broken("is too long");
                            LONGEST
                        }
                    };
                    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                    if counted.send((number, bytes, tally)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(counted);
        let (mut total, mut early, mut wanted) = (Tally { most, ..Tally::default() }, BTreeMap::new(), 0_usize);
        for (number, bytes, tally) in results {
            bar.inc(bytes);
            early.insert(number, tally);
            while let Some(tally) = early.remove(&wanted) {
                total.append(tally);
                wanted = wanted.saturating_add(1);
            }
        }
        reading.join().unwrap_or_else(|_| Err(io::Error::other("the reader failed"))).map(|()| total)
    });
    bar.finish_and_clear();
    total
}

fn next(waiting: &Mutex<Receiver<(usize, Block)>>) -> Option<(usize, Block)> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Where a log can be cut: after a line, unless another one continues it.
#[derive(Default)]
struct Cuts {
    /// How many bytes have been looked at.
    seen: usize,
    /// The last place to cut.
    last: usize,
    /// The streams that have the start of a line, but not its end.
    open: BTreeSet<String>,
}

impl Cuts {
    /// Looks at what was read since.
    fn look(&mut self, pending: &[u8]) {
        let new = pending.get(self.seen..).unwrap_or_default();
        for line in new.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let unwrapped = unwrap(line);
            if unwrapped.continues {
                self.open.insert(unwrapped.stream.into_owned());
            } else {
                self.open.remove(&*unwrapped.stream);
            }
            self.seen = self.seen.saturating_add(line.len());
            if self.open.is_empty() {
                self.last = self.seen;
            }
        }
        // Memory is bounded: a line that never ends is cut all the same.
        if self.seen.saturating_sub(self.last) > LONGEST {
            self.open.clear();
            self.last = self.seen;
        }
    }
}

/// Cuts the log into blocks. If sending fails, there is no receiver any more.
fn read(log: &mut impl Read, blocks: &SyncSender<(usize, Block)>) -> io::Result<()> {
    let (mut pending, mut number, mut skipping, mut cuts) = (Vec::new(), 0_usize, false, Cuts::default());
    let mut send = |block: Block| {
        let sent = blocks.send((number, block)).is_ok();
        number = number.saturating_add(1);
        sent
    };
    loop {
        let read = log.take(BLOCK as u64).read_to_end(&mut pending)?;
        let end = read == 0;
        if skipping {
            // The rest of a line that is too long.
            match pending.iter().position(|&byte| byte == b'\n') {
                Some(at) => {
                    pending.drain(..=at);
                    skipping = false;
                }
                None => pending.clear(),
            }
        }
        cuts.look(&pending);
        let whole = if end { pending.len() } else { cuts.last };
        if whole > 0 {
            let rest = pending.split_off(whole);
            cuts.seen = cuts.seen.saturating_sub(whole);
            cuts.last = 0;
            if !send(Block::Lines(std::mem::replace(&mut pending, rest))) {
                return Ok(());
            }
        } else if pending.len().saturating_sub(cuts.seen) > LONGEST {
            pending.clear();
            cuts = Cuts::default();
            skipping = true;
            if !send(Block::TooLong) {
                return Ok(());
            }
        }
        if end {
            return Ok(());
        }
    }
}

/// The progress bar: on standard error, and only if that is a terminal.
fn progress(length: u64) -> ProgressBar {
    const BAR: &str = "{wide_bar} {percent:>3} %  {bytes} of {total_bytes}  {eta} left";
    const UNKNOWN: &str = "{spinner} {bytes}  {bytes_per_sec}";
    let bar = ProgressBar::with_draw_target(Some(length).filter(|length| *length > 0), ProgressDrawTarget::stderr());
    let template = if length > 0 { BAR } else { UNKNOWN };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
