//! Log lines: one for each refusal, but only a few per second and reason. The rest are counted.
#![forbid(unsafe_code)]

use std::cell::RefCell;

use policy::Reason;

use crate::host::{self, LogLevel, TICK_MILLISECONDS};

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

/// The lines of one reason in the current second.
#[derive(Debug, Default, Clone, Copy)]
struct Window {
    started: u64,
    lines: u32,
    left_out: u64,
}

/// Keeps refusals from flooding the log.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// One for each reason.
    windows: RefCell<[Window; Reason::ALL.len()]>,
}

impl Limits {
    /// Logs one refusal, or counts it as left out.
    pub(crate) fn refusal(&self, reason: Reason, line: impl std::fmt::Display) {
        let now = host::now().unwrap_or_default();
        let Ok(mut windows) = self.windows.try_borrow_mut() else { return };
        let idle = windows.iter().all(|window| window.left_out == 0);
        let Some(window) = windows.get_mut(reason as usize) else { return };
        // If the clock was set back, a new window starts too.
        if now.checked_sub(window.started).is_none_or(|age| age >= SECOND) {
            report(reason, window);
            *window = Window { started: now, ..Window::default() };
        }
        if window.lines < LINES {
            window.lines = window.lines.saturating_add(1);
            log::warn!("{line}");
        } else {
            window.left_out = window.left_out.saturating_add(1);
            if idle {
                let _ = host::set_tick_period(TICK_MILLISECONDS);
            }
        }
    }

    /// Logs how many refusals were left out.
    pub(crate) fn tick(&self) {
        let Ok(mut windows) = self.windows.try_borrow_mut() else { return };
        for (reason, window) in Reason::ALL.iter().zip(windows.iter_mut()) {
            report(*reason, window);
        }
    }
}

fn report(reason: Reason, window: &mut Window) {
    if window.left_out > 0 {
        log::warn!("refused reason={} {} more like this, not logged one by one", reason.code(), window.left_out);
        window.left_out = 0;
    }
}
