//! Where a hit of L1 is counted, and what else it has to do: mostly nothing. One word says both, so that
//! the check whether there is such a seat is the look at what else there is to do.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    sync::tally::{SEATS, Seat},
    tiering::TierKind,
};

/// ```text
///   31   12     11         10      9  8 7     0
///  +-------+----------+----------+------+------+
///  |   -   | is heard | unseated |latest| seat |   the number of a seat and no more: the latest hit
///  +-------+----------+----------+------+------+   was one of L1 too, and nobody listens
/// ```
#[derive(Debug)]
pub(crate) struct Notice(AtomicU32);

const LATEST_AT: u32 = 8;
/// The bits that say which tier had the latest hit; all of them where there was none yet.
const LATEST: u32 = 0b11 << LATEST_AT;
/// Hits are counted where all threads count together.
const UNSEATED: u32 = 1 << 10;
/// Somebody wants to be told of hits.
const HEARD: u32 = 1 << 11;

// A word with more than a seat in it is no seat.
const _: () = assert!(SEATS <= 1 << LATEST_AT);

impl Notice {
    pub(super) fn new(seat: Option<&Seat>) -> Self {
        Self(AtomicU32::new(LATEST | seat.map_or(UNSEATED, Seat::number)))
    }

    /// The number of the seat at which to count a hit of L1; no such number where there is more to do.
    #[inline]
    pub(super) fn seat(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes which tier had a hit.
    #[inline]
    pub(super) fn hit(&self, tier: TierKind) {
        // The line stays shared among cores while the answer stays the same.
        if self.0.load(Ordering::Relaxed) & LATEST != (tier as u32) << LATEST_AT {
            self.change(LATEST, (tier as u32) << LATEST_AT);
        }
    }

    /// Says whether anybody wants to be told of hits.
    pub(crate) fn set_heard(&self, is_heard: bool) {
        self.change(HEARD, if is_heard { HEARD } else { 0 });
    }

    /// The tier of the latest hit.
    pub(super) fn latest(&self) -> Option<TierKind> {
        let number = (self.0.load(Ordering::Relaxed) & LATEST) >> LATEST_AT;
        TierKind::ALL.get(number as usize).copied()
    }

    #[cold]
    fn change(&self, bits: u32, to: u32) {
        let changed = |now: u32| Some(now & !bits | to);
        // Cannot fail: there is always a change.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_of_l1_has_nothing_else_to_do_but_after_another_tier_s_or_for_who_listens() {
        let is_seat = |notice: &Notice| (notice.seat() as usize) < SEATS;
        let seat = Seat::take();
        let notice = Notice::new(seat.as_ref());
        assert_eq!((is_seat(&notice), notice.latest()), (false, None), "the first one");
        notice.hit(TierKind::Memory);
        assert_eq!(notice.latest(), Some(TierKind::Memory));
        // Other tests may have taken all.
        assert_eq!(is_seat(&notice), seat.is_some());
        for tier in [TierKind::Shared, TierKind::Redis] {
            notice.hit(tier);
            assert_eq!((is_seat(&notice), notice.latest()), (false, Some(tier)));
        }
        notice.hit(TierKind::Memory);
        notice.set_heard(true);
        assert_eq!((is_seat(&notice), notice.latest()), (false, Some(TierKind::Memory)));
        notice.set_heard(false);
        assert_eq!(seat.is_some().then(|| notice.seat()), seat.as_ref().map(Seat::number));
        let unseated = Notice::new(None);
        unseated.hit(TierKind::Memory);
        assert!(!is_seat(&unseated), "always");
    }
}
