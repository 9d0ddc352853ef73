//! Log lines: one for each refusal and each closed socket, but only a few per second and reason. The rest are counted.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;

use policy::Reason;
use policy::sockets::Ended;

use crate::host::{self, LogLevel};

/// The most lines per reason and second.
const LINES: u32 = 5;
/// One second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Envoy's log, for the `log` crate. A line that the host does not accept is lost, because nothing could report it.
struct EnvoyLog;

impl log::Log for EnvoyLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => LogLevel::Error,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Info => LogLevel::Info,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Trace => LogLevel::Trace,
        };
        let _ = host::log(level, &format!("openclaw-trusted-proxy: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends log lines to Envoy, which filters them by its own level.
pub(crate) fn install() {
    if log::set_logger(&EnvoyLog).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// What a line is about. Each has a limit of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'e> {
    Refusal(Reason),
    Closing(Ended<'e>),
}

impl Event<'_> {
    const COUNT: usize = Reason::ALL.len().saturating_add(Ended::COUNT);

    fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.iter().map(|&reason| Self::Refusal(reason)).chain(Ended::all().map(Self::Closing))
    }

    const fn index(&self) -> usize {
        match self {
            Self::Refusal(reason) => *reason as usize,
            Self::Closing(ended) => Reason::ALL.len().saturating_add(ended.index()),
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refusal(reason) => write!(f, "refused reason={}", reason.code()),
            Self::Closing(ended) => write!(f, "closed a socket reason={}", ended.code()),
        }
    }
}

/// The lines of one event in the current second.
#[derive(Debug, Default, Clone, Copy)]
struct Window {
    started: u64,
    lines: u32,
    left_out: u64,
}

/// Keeps refusals and closed sockets from flooding the log.
#[derive(Debug)]
pub(crate) struct Limits {
    /// One for each event.
    windows: RefCell<[Window; Event::COUNT]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { windows: RefCell::new([Window::default(); Event::COUNT]) }
    }
}

impl Limits {
    /// Logs one event, or counts it as left out. Returns whether the timer has to report that.
    pub(crate) fn warn(&self, event: Event<'_>, line: impl fmt::Display) -> bool {
        let now = host::now().unwrap_or_default();
        let Ok(mut windows) = self.windows.try_borrow_mut() else { return false };
        let Some(window) = windows.get_mut(event.index()) else { return false };
        if is_over(window, now) {
            report(event, window);
            *window = Window { started: now, ..Window::default() };
        }
        if window.lines < LINES {
            window.lines = window.lines.saturating_add(1);
            log::warn!("{line}");
            false
        } else {
            window.left_out = window.left_out.saturating_add(1);
            true
        }
    }

    /// Logs how many were left out of the seconds that are over. Returns whether the timer has to report more.
    pub(crate) fn tick(&self) -> bool {
        let Ok(mut windows) = self.windows.try_borrow_mut() else { return false };
        if windows.iter().all(|window| window.left_out == 0) {
            return false;
        }
        let now = host::now().unwrap_or_default();
        let mut some_wait = false;
        for (event, window) in Event::all().zip(windows.iter_mut()) {
            if is_over(window, now) {
                report(event, window);
            }
            some_wait |= window.left_out > 0;
        }
        some_wait
    }
}

/// Whether the second of a window is over. If the clock was set back, it is too.
fn is_over(window: &Window, now: u64) -> bool {
    now.checked_sub(window.started).is_none_or(|age| age >= SECOND)
}

fn report(event: Event<'_>, window: &mut Window) {
    if window.left_out > 0 {
        log::warn!("{event} {} more like this, not logged one by one", window.left_out);
        window.left_out = 0;
    }
}
