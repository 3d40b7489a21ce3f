//! Which hits of L1 are timed.
//!
//! Reading the clock twice costs some 80 ns, several times a hit. So one hit in [`SAMPLE_RATE`]
//! is timed, on average, and recorded with that weight. The distance to the next sample is drawn
//! anew each time: with a fixed one, a thread that asks two caches in turn would time only one.

use std::cell::Cell;

/// One hit in so many is timed, on average. Part of every scrape.
pub(crate) const SAMPLE_RATE: u64 = 64;

thread_local! {
    /// Hits until the next sample, that one counted.
    static LEFT: Cell<u32> = const { Cell::new(1) };
    /// The state of the generator.
    static STATE: Cell<u32> = const { Cell::new(0) };
}

/// Says which hits to time.
#[derive(Debug)]
pub(crate) struct Sampler;

impl Sampler {
    /// True if this hit should be timed: about once in [`SAMPLE_RATE`] calls of a thread.
    ///
    /// Record such a hit with `record_many(nanoseconds, SAMPLE_RATE)`.
    #[inline]
    pub(crate) fn tick() -> bool {
        if cfg!(tierce_uncounted) {
            return false;
        }
        LEFT.with(|left| {
            // Counted down to 0, which costs a hit two instructions; never called at 0.
            let rest = left.get().wrapping_sub(1);
            left.set(rest);
            if rest != 0 {
                return false;
            }
            left.set(STATE.with(draw));
            true
        })
    }
}

/// The distance to the next sample, at least 1.
#[cold]
fn draw(cell: &Cell<u32>) -> u32 {
    // The cell's address differs between threads: a seed for free.
    let seed = (std::ptr::from_ref(cell) as usize as u32) | 1;
    let mut state = if cell.get() == 0 { seed } else { cell.get() };
    // Marsaglia: "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    cell.set(state);
    // 1 to 127, each as likely: 64 on average.
    let distance = (u64::from(state) * (2 * SAMPLE_RATE - 1)) >> 32;
    1 + distance as u32
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
