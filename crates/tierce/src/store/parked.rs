//! When this process leaves the store's records alone.
//!
//! A lost mutex (ENOTRECOVERABLE) parks for good: the next first opener makes new ones. Errors of
//! the device park for a while after several in a row, longer each time, so that a dying disk
//! costs no call its timeout. State is a few atomics, which a fork cannot leave locked.

use std::{
    sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::clock::Clock;

/// Errors in a row before the store is parked: one or two may be a signal or a bad page.
const ERRORS_BEFORE_PARKING: u32 = 8;
/// First time parked.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time parked, so that a repaired device is found again within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why and until when the store is parked in this process.
#[derive(Default)]
pub(super) struct Parked {
    lock_error: AtomicI32,
    errors_in_a_row: AtomicU32,
    pauses: AtomicU32,
    until: AtomicU64,
    device_error: AtomicI32,
}

impl Parked {
    /// False where records need not be left alone, as nearly always, without a look at the clock.
    #[inline(always)]
    pub(super) fn may_be_parked(&self) -> bool {
        self.lock_error.load(Ordering::Relaxed) != 0 || self.until.load(Ordering::Relaxed) != 0
    }

    /// True while records must be left alone.
    #[inline]
    pub(super) fn is_parked(&self, clock: &Clock) -> bool {
        if self.lock_error.load(Ordering::Relaxed) != 0 {
            return true;
        }
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && clock.coarse().0 < until
    }

    pub(super) fn lock_lost(&self, code: i32) {
        self.lock_error.store(code, Ordering::Relaxed);
    }

    /// Notes an error of the device.
    pub(super) fn device_failed(&self, error: &std::io::Error, clock: &Clock) {
        self.device_error.store(error.raw_os_error().unwrap_or(0), Ordering::Relaxed);
        let errors = self.errors_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if errors >= ERRORS_BEFORE_PARKING {
            let pauses = self.pauses.fetch_add(1, Ordering::Relaxed).min(16);
            let pause = FIRST_PAUSE.saturating_mul(1 << pauses).min(LONGEST_PAUSE);
            self.until.store(clock.coarse().after(pause).0, Ordering::Relaxed);
            // One more error after the pause parks again.
            self.errors_in_a_row.store(ERRORS_BEFORE_PARKING - 1, Ordering::Relaxed);
        }
    }

    /// Notes that the device worked.
    #[inline]
    pub(super) fn device_worked(&self) {
        if self.errors_in_a_row.load(Ordering::Relaxed) != 0 {
            self.errors_in_a_row.store(0, Ordering::Relaxed);
            self.pauses.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn reason(&self, clock: &Clock) -> Option<String> {
        let lock_error = self.lock_error.load(Ordering::Relaxed);
        if lock_error != 0 {
            let error = std::io::Error::from_raw_os_error(lock_error);
            return Some(format!(
                "a shared lock cannot be used any more until all processes have closed the \
                 store: {error}"
            ));
        }
        self.is_parked(clock).then(|| {
            let code = self.device_error.load(Ordering::Relaxed);
            let error = std::io::Error::from_raw_os_error(code);
            format!("the store's device failed {ERRORS_BEFORE_PARKING} times in a row: {error}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_a_row_park_for_a_while_and_longer_the_next_time() {
        let (clock, time) = Clock::manual();
        let parked = Parked::default();
        let error = std::io::Error::from_raw_os_error(libc::EIO);
        for _ in 1..ERRORS_BEFORE_PARKING {
            parked.device_failed(&error, &clock);
            assert!(!parked.is_parked(&clock));
        }
        parked.device_failed(&error, &clock);
        assert!(parked.is_parked(&clock) && parked.reason(&clock).is_some());
        time.advance(FIRST_PAUSE);
        assert!(!parked.is_parked(&clock));
        parked.device_failed(&error, &clock);
        time.advance(FIRST_PAUSE);
        assert!(parked.is_parked(&clock), "the second pause is longer");
        parked.device_worked();
        assert!(!parked.is_parked(&clock) && parked.reason(&clock).is_none());
    }
}
