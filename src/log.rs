//! Log lines: one for each refusal, at most a few per second and reason, and then a count of those left out.
#![forbid(unsafe_code)]

use std::cell::RefCell;

use policy::Reason;

use crate::host::{self, LogLevel, TICK_MILLISECONDS};

/// Lines per reason in one second.
const LINES: u32 = 5;
const SECOND: u64 = 1_000_000_000;

/// Envoy's log, behind the `log` crate. A line that the host does not take is lost: nothing could report it.
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

/// Sends what is logged to Envoy, which has its own levels.
pub(crate) fn install() {
    if log::set_logger(&EnvoyLog).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// Lines of one reason in the current second.
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
        // A clock that went back starts a new window too.
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

    /// Counts what was left out in the log.
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
