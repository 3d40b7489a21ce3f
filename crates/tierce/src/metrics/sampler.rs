//! Which hits of L1 are timed, and for how many others each of them stands.
//!
//! Reading the clock twice and recording what it says costs some 100 ns, more than a hit. So few hits
//! are timed. Their distance is drawn anew each time: with a fixed one, a thread that asks two caches
//! in turn would time only one.
//!
//! - *Plain hits* ([`Countdown`]) are counted down in the tally of their thread. A thread that hits
//!   seldom times each hit, one that hits often one in [`MOST_HITS`]: see [`PAUSE`]. A timed hit stands for
//!   those of its thread since the one before, so that no hit is left out and none counts twice,
//!   however the distance changes. (A thread that takes over the record of one that ended goes on with
//!   its countdown: or the first hit of each, which is slow, would stand for too many.)
//! - *Other reads of L1* ([`Sampler`]), of many keys, with options or for a loader, cost more anyway:
//!   one in [`SAMPLE_RATE`] is timed and stands for so many.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::sync::tally;

/// One read of L1 that is no plain hit in so many is timed, on average.
pub(crate) const SAMPLE_RATE: u64 = 64;

/// One plain hit in so many is timed on average by a thread that hits all the time: timing then adds
/// about one instruction to each. More would outlast the quiet after a busy time for longer.
const MOST_HITS: u64 = 512;

/// A thread aims to time a hit this often: 100 in a second are enough for percentiles of a minute,
/// and their cost is a thousandth of a percent of its time.
const PAUSE: Duration = Duration::from_millis(10);

/// A distance is at most so many times the one before: the first hits of a burst say little of how
/// many will follow, and a long distance that a short burst left behind would outlast the quiet.
const MOST_GROWTH: u64 = 4;

thread_local! {
    /// Reads until the next sample, that one counted.
    static LEFT: Cell<u32> = const { Cell::new(1) };
    /// The state of the generator.
    static STATE: Cell<u32> = const { Cell::new(0) };
}

/// Says which plain hits to time.
#[derive(Debug)]
pub(crate) struct Countdown;

impl Countdown {
    /// When a read begins that is to be timed if it is a hit. To be asked where the short way of
    /// reading did not lead on: before the countdown is over it does.
    pub(crate) fn begin() -> Option<Instant> {
        (!cfg!(tierce_uncounted) && tally::is_due()).then(Instant::now)
    }

    /// For how many hits the one stands that [began](Self::begin) then and was counted. The next
    /// countdown begins.
    pub(crate) fn end(begin: Instant) -> u64 {
        let (hits, before) = tally::counted();
        let since = before.map_or(Duration::MAX, |before| begin.saturating_duration_since(before));
        let mean = distance(hits, since);
        // From a half of it to half as much again.
        let distance = (mean / 2).max(1) + STATE.with(|state| below(state, mean));
        tally::count_down(distance as u32 - 1, begin);
        // At least for itself, where a thread that ends has no tally any more.
        hits.max(1)
    }
}

/// The distance between samples of a thread that had so many hits, and no other sample, in this time.
fn distance(hits: u64, since: Duration) -> u64 {
    let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1);
    // A pause of 10^7 nanoseconds times 2^32 hits stays below 2^64.
    let in_pause = hits.min(u32::MAX.into()) * PAUSE.as_nanos() as u64 / since;
    in_pause.min(hits.saturating_mul(MOST_GROWTH)).clamp(1, MOST_HITS)
}

/// Says which other reads to time.
#[derive(Debug)]
pub(crate) struct Sampler;

impl Sampler {
    /// True if this read should be timed: about once in [`SAMPLE_RATE`] calls of a thread.
    ///
    /// Record such a hit with `record_many(nanoseconds, SAMPLE_RATE)`.
    #[inline]
    pub(crate) fn tick() -> bool {
        if cfg!(tierce_uncounted) {
            return false;
        }
        LEFT.with(|left| {
            let rest = left.get().wrapping_sub(1);
            left.set(rest);
            if rest != 0 {
                return false;
            }
            // 1 to 127, each as likely: 64 on average.
            left.set(1 + STATE.with(|state| below(state, 2 * SAMPLE_RATE - 1)) as u32);
            true
        })
    }
}

/// A random number below `bound`, which fits 32 bits.
#[cold]
fn below(cell: &Cell<u32>, bound: u64) -> u64 {
    // The cell's address differs between threads: a seed for free.
    let seed = (std::ptr::from_ref(cell) as usize as u32) | 1;
    let mut state = if cell.get() == 0 { seed } else { cell.get() };
    // Marsaglia: "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    cell.set(state);
    (u64::from(state) * bound) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Metrics, sync::epoch, tiering::TierKind};

    #[test]
    fn about_one_call_in_64_is_sampled_and_turns_do_not_matter() {
        let calls = 640_000;
        let mut samples = [0_u64; 2];
        for call in 0..calls {
            samples[call % 2] += u64::from(Sampler::tick());
        }
        let expected = calls as u64 / SAMPLE_RATE / 2;
        for count in samples {
            assert!(count.abs_diff(expected) < expected / 10, "{count} of about {expected}");
        }
    }

    #[test]
    fn who_hits_seldom_times_each_hit_and_who_hits_often_one_in_512() {
        let millis = Duration::from_millis;
        assert_eq!(distance(1, Duration::MAX), 1);
        assert_eq!(distance(1, millis(10)), 1);
        assert_eq!(distance(300, millis(100)), 30);
        assert_eq!(distance(500, millis(10)), 500);
        assert_eq!(distance(300, Duration::ZERO), 512);
        assert_eq!(distance(u64::MAX, millis(1)), 512);
        assert_eq!(distance(3, Duration::ZERO), 12, "a burst may be short");
    }

    #[test]
    fn a_timed_hit_stands_for_all_hits_of_its_thread_since_the_one_before() {
        let (metrics, other) = (Metrics::default(), Metrics::default());
        let (mut timed, mut stand_for) = (0, 0);
        // So that there is a tally, which may have been another thread's.
        drop(epoch::pin());
        let mut since = tally::counted().0;
        let all = since + 100_000;
        for hit in 0..100_000 {
            let begin = Countdown::begin();
            // Two caches in turn.
            let metrics = [&metrics, &other][hit % 2];
            if !metrics.plain_hit(tally::own().unwrap()) {
                metrics.plain_hit_noticed();
            }
            since += 1;
            if let Some(begin) = begin {
                assert_eq!(Countdown::end(begin), since);
                (timed, stand_for, since) = (timed + 1, stand_for + since, 0);
            }
        }
        assert_eq!(stand_for + since, all);
        assert!(since < 2 * MOST_HITS, "{since}");
        assert!(timed >= 100_000 / (2 * MOST_HITS), "{timed}");
        for metrics in [metrics, other] {
            assert_eq!(metrics.snapshot([TierKind::Memory]).tiers[0].hits, 50_000);
        }
    }
}
