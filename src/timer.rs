//! The timer of a plugin. It runs only while there is something to do.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::host;

/// The period of a plugin's timer, as the host knows it.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// In milliseconds. 0 if the timer is stopped.
    period: Cell<u32>,
}

impl Timer {
    /// Makes the timer fire at least every `milliseconds`, from the plugin itself or from one of its requests. Returns
    /// false if the host does not.
    pub(crate) fn at_least_every(&self, milliseconds: u32) -> bool {
        let period = self.period.get();
        (period != 0 && period <= milliseconds) || self.set(milliseconds)
    }

    /// Sets the period. 0 stops the timer.
    pub(crate) fn set(&self, milliseconds: u32) -> bool {
        let is_set = host::set_tick_period(milliseconds).is_ok();
        if is_set {
            self.period.set(milliseconds);
        }
        is_set
    }
}
