//! Reads a log in blocks of whole lines, which all processors judge, and puts what they counted together in order.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Judge;
use super::tally::Tally;

/// A block grows until its last line is whole.
const BLOCK: usize = 1 << 20;
/// No line of an access log is as long as this: headers have 60 KiB at most.
const LONGEST: usize = 4 << 20;

/// Some whole lines, or the mark of one that is too long.
enum Block {
    Lines(Vec<u8>),
    TooLong,
}

/// Judges every line of a log; `length` is the log's in bytes, 0 where nobody knows it.
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
                            lines
                                .split_inclusive(|&byte| byte == b'\n')
                                .for_each(|line| tally.line(line, judge, against));
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

/// Cuts the log into blocks. Nobody listens any more where sending fails.
fn read(log: &mut impl Read, blocks: &SyncSender<(usize, Block)>) -> io::Result<()> {
    let (mut pending, mut number, mut skipping) = (Vec::new(), 0_usize, false);
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
        let whole = if end {
            Some(pending.len())
        } else {
            pending.iter().rposition(|&byte| byte == b'\n').map(|at| at.saturating_add(1))
        };
        if let Some(whole) = whole.filter(|whole| *whole > 0) {
            let rest = pending.split_off(whole);
            if !send(Block::Lines(std::mem::replace(&mut pending, rest))) {
                return Ok(());
            }
        } else if pending.len() > LONGEST {
            pending.clear();
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

/// On standard error, and only if that is a terminal.
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
