//! What a larger window and a larger main would be worth: what the adaptive policy adapts by.
//!
//! Two shadow queues of equal length remember the keys that left the window and those that left main a
//! short while ago, as in Cliffhanger (Cidon et al., NSDI 2016). One that comes back tells what one more
//! entry there would have hit: the **share** of the window follows, and how **open** main is to keys that
//! came back, which is how hard a place is sought for them.

use super::recent::Recent;

/// Share of the window at the start; too small is mended faster than too large.
const FIRST_SHARE: f64 = 0.02;

/// Least share of the window: new keys need some time to be read again.
const LEAST_SHARE: f64 = 0.005;

/// Largest share of the window; it also bounds the memory of the ring.
pub(super) const LARGEST_SHARE: f64 = 0.4;

/// Length of each shadow queue as a share of the slots: a key that comes back within it tells of
/// the margin, of what one more entry would have kept.
const SHADOW_SHARE: f64 = 0.015;

/// Age of a ghost, in ticks, up to which its key came back soon.
const SOON: u8 = 1;

/// Keys that came back soon, but too late for the shadow queue, and make the window larger by one
/// entry: where it would have to grow far before it had any of them, nothing else tells. Where they
/// come back by chance, these are too many to outweigh the shadow queues.
const BACK_SOON_FOR_AN_ENTRY: u32 = 32;

/// Entries of main that the hand looks at for one that is staler than a newcomer where main is quite
/// open. Where it is quite closed, one.
const LOOKS_WHEN_OPEN: u32 = 10;

/// How open main is at most. It begins half open.
const OPEN: u8 = 64;

/// A key that comes back to main makes it less open by so much, one that comes back to the window
/// more open by one. To let in costs more than what is driven out: the hand, as it moves on, takes
/// reads from those that stay.
const CLOSED_BY_RETURN: u8 = 2;

/// So many of some slots, rounded up.
pub(super) fn share_of(slots: usize, share: f64) -> usize {
    (slots as f64 * share).ceil() as usize
}

/// A share in units of 2^-32.
const fn fixed(share: f64) -> u32 {
    (share * (1_u64 << 32) as f64) as u32
}

/// The share of the window and the openness of main, and the shadow queues that they follow.
#[derive(Debug)]
pub(super) struct Worth {
    /// The share of the cost of all entries that the window may hold, in units of 2^-32.
    share: u32,
    /// From 0 to [`OPEN`]: as many entries of main are looked at for a newcomer, see `looks`.
    openness: u8,
    left_window: Recent,
    left_main: Recent,
}

impl Default for Worth {
    fn default() -> Self {
        Self {
            share: fixed(FIRST_SHARE),
            openness: OPEN / 2,
            left_window: Recent::default(),
            left_main: Recent::default(),
        }
    }
}

impl Worth {
    /// Makes room for the shadows of so many entries; false if memory is short.
    #[must_use]
    pub(super) fn reserve(&mut self, entries: usize) -> bool {
        let shadow = share_of(entries, SHADOW_SHARE);
        self.left_window.reserve(shadow) && self.left_main.reserve(shadow)
    }

    /// A key came that is not there. `ghost` is its age in ticks, if it left the window as a ghost;
    /// `entries` how many the cache has.
    #[inline]
    pub(super) fn follow(&mut self, hash: u32, ghost: Option<u8>, entries: u32) {
        let one_entry = || u32::MAX / entries.max(1);
        if let Some(age) = ghost {
            if self.left_window.take(hash) {
                self.enlarge_window(one_entry());
                self.openness = (self.openness + 1).min(OPEN);
            } else if age <= SOON {
                self.enlarge_window(one_entry() / BACK_SOON_FOR_AN_ENTRY);
            }
        }
        if self.left_main.take(hash) {
            self.share = self.share.saturating_sub(one_entry()).max(fixed(LEAST_SHARE));
            self.openness = self.openness.saturating_sub(CLOSED_BY_RETURN);
        }
    }

    fn enlarge_window(&mut self, by: u32) {
        self.share = self.share.saturating_add(by).min(fixed(LARGEST_SHARE));
    }

    /// An entry left the window, and its key is remembered.
    #[inline]
    pub(super) fn left_window(&mut self, hash: u32) {
        self.left_window.add(hash);
    }

    /// An entry left main.
    #[inline]
    pub(super) fn left_main(&mut self, hash: u32) {
        self.left_main.add(hash);
    }

    /// The lines that the shadow of the window and that of main have for these keys, for a prefetch.
    #[inline]
    pub(super) fn lines_of(&self, of_window: u32, of_main: u32) -> [*const u8; 2] {
        [self.left_window.line_of(of_window), self.left_main.line_of(of_main)]
    }

    /// How many entries of main an insert may look at: from 1 to [`LOOKS_WHEN_OPEN`]. A fraction is
    /// one more for so many of the inserts, which are counted modulo 256.
    pub(super) fn looks(&self, inserts: u8) -> u32 {
        // An odd factor: 256 inserts have all values, and neighbours are far apart.
        let dither = u32::from(inserts.wrapping_mul(157)) * u32::from(OPEN);
        let looks = u32::from(self.openness) * LOOKS_WHEN_OPEN * 256 + dither;
        1 + (looks / (u32::from(OPEN) * 256)).min(LOOKS_WHEN_OPEN - 1)
    }

    /// What the window may hold of such a cost of all entries, rounded to the nearest.
    #[inline]
    pub(super) fn most_in_window(&self, cost: u64) -> u64 {
        ((u128::from(cost) * u128::from(self.share) + (1 << 31)) >> 32) as u64
    }

    /// The share of the window, from 0 to 1.
    pub(super) fn window_share(&self) -> f64 {
        f64::from(self.share) / (1_u64 << 32) as f64
    }

    pub(super) fn bytes(&self) -> usize {
        self.left_window.bytes() + self.left_main.bytes()
    }

    pub(super) fn validate(&self) {
        assert!(
            (fixed(LEAST_SHARE)..=fixed(LARGEST_SHARE)).contains(&self.share),
            "worth: share of the window"
        );
        assert!(self.openness <= OPEN, "worth: openness of main");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_main_is_looked_at_ten_times_a_closed_one_once_and_fractions_are_kept() {
        let looks = |openness| {
            let worth = Worth { openness, ..Worth::default() };
            (0..=u8::MAX).map(|inserts| worth.looks(inserts)).sum::<u32>()
        };
        assert_eq!((looks(0), looks(OPEN)), (256, 2560));
        // 1 + 10 * 3 / 64.
        assert_eq!(looks(3), 256 + 2560 * 3 / 64);
    }

    #[test]
    fn window_and_main_follow_what_comes_back() {
        let mut worth = Worth::default();
        assert!(worth.reserve(1_000));
        let at = |worth: &Worth| (worth.share, worth.openness);
        let one = u32::MAX / 1_000;
        let first = at(&worth);
        worth.left_window(1);
        worth.follow(1, Some(9), 1_000);
        assert_eq!(at(&worth), (first.0 + one, first.1 + 1));
        // Once, and not where it is no ghost.
        worth.left_window(2);
        worth.follow(1, Some(9), 1_000);
        worth.follow(2, None, 1_000);
        assert_eq!(at(&worth), (first.0 + one, first.1 + 1));
        worth.left_main(3);
        worth.follow(3, None, 1_000);
        assert_eq!(at(&worth), (first.0, first.1 - 1));
        worth.follow(4, Some(SOON), 1_000);
        assert_eq!(at(&worth), (first.0 + one / BACK_SOON_FOR_AN_ENTRY, first.1 - 1));
    }
}
