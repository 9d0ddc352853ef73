//! The gauge of open sockets: of all workers, and of all modules that share data.
//!
//! A VM ends without a callback, and its sockets with it. So the VMs do not add to the gauge and subtract from it on
//! their own: they keep a list of what each of them has, and the entry of one that has ended expires.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use crate::host;
use crate::sockets::open_in_vm;

const KEY: &[u8] = b"openclaw_trusted_proxy\0sockets";

/// How many seconds an entry is good for. A VM with open sockets renews its own every second.
const GOOD_SECONDS: u64 = 10;

/// How often a change by another worker is tried again. After that, the next second does it.
const TRIES: usize = 4;

thread_local! {
    /// Stands for this VM.
    static TOKEN: u64 = RandomState::new().hash_one(0);
    static LAST: Cell<Option<Entry>> = const { Cell::new(None) };
}

/// What one VM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    vm: u64,
    open: u32,
    /// In seconds since 1970.
    renewed: u64,
}

const ENTRY: usize = size_of::<u64>() + size_of::<u32>() + size_of::<u64>();

impl Entry {
    fn write(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.vm.to_le_bytes());
        to.extend_from_slice(&self.open.to_le_bytes());
        to.extend_from_slice(&self.renewed.to_le_bytes());
    }

    fn read(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (vm, rest) = bytes.split_first_chunk()?;
        let (open, rest) = rest.split_first_chunk()?;
        Some(Self {
            vm: u64::from_le_bytes(*vm),
            open: u32::from_le_bytes(*open),
            renewed: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

/// Makes room for the list, before there are workers that could do it at the same time.
pub(crate) fn make_room() {
    if host::shared(KEY).is_none() {
        let _ = host::set_shared(KEY, &[], 0);
    }
}

/// Adds what has changed in this VM, or in those that have ended.
pub(crate) fn update(gauge: u32, now: u64) {
    let own = Entry { vm: TOKEN.with(|token| *token), open: open_in_vm(), renewed: now };
    let is_shown = |last: Entry| last.open == own.open && now.saturating_sub(last.renewed) < GOOD_SECONDS / 3;
    if LAST.get().is_some_and(is_shown) {
        return;
    }
    for _ in 0..TRIES {
        let Some((value, version)) = host::shared(KEY) else { return };
        let (entries, _) = value.as_chunks::<ENTRY>();
        let entries: Vec<Entry> = entries.iter().filter_map(Entry::read).collect();
        let total = |entries: &[Entry]| entries.iter().map(|entry| i64::from(entry.open)).sum::<i64>();
        let shown = total(&entries);
        let is_good = |entry: &Entry| entry.vm != own.vm && now.saturating_sub(entry.renewed) < GOOD_SECONDS;
        let mut list: Vec<Entry> = entries.into_iter().filter(is_good).collect();
        list.extend(Some(own).filter(|own| own.open > 0));
        let mut bytes = Vec::with_capacity(list.len().saturating_mul(ENTRY));
        list.iter().for_each(|entry| entry.write(&mut bytes));
        if bytes == value || host::set_shared(KEY, &bytes, version).is_ok() {
            let change = total(&list).saturating_sub(shown);
            if change != 0 {
                let _ = host::increment_metric(gauge, change);
            }
            LAST.set(Some(own));
            return;
        }
    }
}
