//! What a cache did in the last second, minute or hour, from readings of its counters.
//!
//! Counters only rise, so a window is a difference. Whoever looks at the cache gives a reading
//! ([`Windows::tick`]); what came since the one before goes into a slot, and slots that grow old
//! are joined to longer ones:
//!
//! ```text
//!   now <── 1 s x 61 ──><── 10 s x 61 ──><── 60 s x 62 ──><──── 10 min x 434, counts only ────>
//!          one minute      ten minutes       one hour                  three days
//! ```
//! Each event is in one slot. A window is the sum of the slots that lie in it; of the one on its
//! far edge all is taken if at least half of it lies within, so a window is off by half a slot of
//! that age at most: under 1 % above a minute, and exact to the second below.
//!
//! Nothing here reads a clock or starts a thread. While nobody gives readings nothing is known of
//! *when* events came: they go into one slot as long as the silence.
//!
//! Memory: at most 3.6 MB (`MOST_BYTES`) where every bucket of every histogram is in use in every
//! second; some 100 KB for the latencies of a usual cache.

use std::{collections::VecDeque, time::Duration};

use super::{
    LatencySummary,
    delta::Delta,
    histogram::{Snapshot, THRESHOLDS},
};
use crate::clock::Millis;

/// The longest window with latencies.
pub(crate) const LONGEST_WINDOW: Duration = Duration::from_secs(3600);

/// How far back counts go: the longest window that rates of spending a budget are judged by.
pub(crate) const LONGEST_COUNTS: Duration = Duration::from_secs(3 * 86_400);

/// Width of the slots of each level, and how far back it goes, in milliseconds.
const LEVELS: [(u64, u64); 3] = [(1_000, 60_000), (10_000, 600_000), (60_000, 3_600_000)];

/// Width of the slots that have counts only.
const LONG_SLOT: u64 = 600_000;

/// The most memory that the windows of one cache take: 3.6 MB. Each level may have a slot on
/// either edge beside those that fill it.
#[cfg(test)]
pub(crate) const MOST_BYTES: usize = (61 + 61 + 62)
    * (super::delta::MOST_DELTA_BYTES + size_of::<Slot>())
    + 434 * size_of::<LongSlot>();

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Reads by callers.
    Requests,
    /// Reads that a tier answered.
    Hits,
    /// Calls whose caller got an error in place of an answer.
    Failures,
    /// Reads that lost the time of a tier's deadline.
    Late,
    /// Reads that went to a tier below L1.
    TierReads,
    /// Failures of tiers.
    TierErrors,
    /// Loaders that ran.
    Loads,
    /// Values brought up into a tier.
    Backfills,
    /// Entries that had to leave for room.
    Evictions,
    /// Milliseconds of processor time of the process.
    Processor,
}

/// How many [`Event`]s there are.
const EVENTS: usize = Event::Processor as usize + 1;

/// Counts of each [`Event`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; EVENTS]);

impl Counts {
    /// The count of one.
    pub(crate) fn of(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// Sets the count of one.
    #[must_use]
    pub(crate) fn with(mut self, event: Event, count: u64) -> Self {
        self.0[event as usize] = count;
        self
    }

    fn add(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(mine, theirs)| *mine = mine.saturating_add(theirs));
    }

    /// What came since. A count that fell (a store that was made anew counts from zero) gained
    /// nothing that is known.
    fn since(&self, before: &Self) -> Self {
        let mut gained = *self;
        gained
            .0
            .iter_mut()
            .zip(before.0)
            .for_each(|(now, before)| *now = now.saturating_sub(before));
        gained
    }
}

/// The counters of a cache at one moment, since it was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) counts: Counts,
    pub(crate) latency: Snapshot,
    pub(crate) state: State,
}

/// What has a value at each moment and no sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Bytes that the cache accounts for in this process.
    pub(crate) bytes: u64,
    /// The bound on them; 0 for none.
    pub(crate) bytes_limit: u64,
    /// Memory of the process as the system sees it; 0 where it does not tell.
    pub(crate) resident: u64,
    /// True while every tier of the tiering answers.
    pub(crate) available: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    from: u64,
    to: u64,
    counts: Counts,
    latency: Delta,
    /// At its end.
    state: State,
}

#[derive(Clone, Debug)]
struct LongSlot {
    from: u64,
    to: u64,
    counts: Counts,
    between: [u64; THRESHOLDS.len() + 1],
}

/// Slots of three days; see the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    latest: Option<(u64, Reading)>,
    levels: [VecDeque<Slot>; LEVELS.len()],
    long: VecDeque<LongSlot>,
}

impl Windows {
    /// Takes a reading that was made at `now`.
    ///
    /// Readings closer to each other than a second share a slot. One from before the latest is
    /// left out.
    pub(crate) fn tick(&mut self, now: Millis, reading: Reading) {
        let now = now.0;
        if let Some((then, before)) = &self.latest {
            if now < *then {
                return;
            }
            let slot = Slot {
                from: *then,
                to: now,
                counts: reading.counts.since(&before.counts),
                latency: Delta::between(&before.latency, &reading.latency),
                state: reading.state,
            };
            self.push(0, slot);
            self.age(now);
        }
        self.latest = Some((now, reading));
    }

    /// When the latest reading was made.
    pub(crate) fn latest(&self) -> Option<Millis> {
        self.latest.as_ref().map(|(at, _)| Millis(*at))
    }

    /// Adds a slot to a level, or to its latest slot if both end in the same stretch of time.
    fn push(&mut self, level: usize, slot: Slot) {
        let width = LEVELS[level].0;
        match self.levels[level].back_mut() {
            Some(last) if stretch(last.to, width) == stretch(slot.to, width) => {
                last.to = slot.to;
                last.counts.add(&slot.counts);
                last.latency.merge(&slot.latency);
                last.state = slot.state;
            }
            _ => self.levels[level].push_back(slot),
        }
    }

    /// Hands slots that are too old for a level to the next.
    fn age(&mut self, now: u64) {
        for (level, (_, reach)) in LEVELS.iter().enumerate() {
            while let Some(slot) = self.levels[level].pop_front_if(|slot| slot.to + reach <= now) {
                if level + 1 < LEVELS.len() {
                    self.push(level + 1, slot);
                } else {
                    self.push_long(&slot);
                }
            }
        }
        let longest = LONGEST_COUNTS.as_millis() as u64;
        while self.long.pop_front_if(|slot| slot.to + longest <= now).is_some() {}
    }

    fn push_long(&mut self, slot: &Slot) {
        let between = slot.latency.between_thresholds().map(u64::from);
        match self.long.back_mut() {
            Some(last) if stretch(last.to, LONG_SLOT) == stretch(slot.to, LONG_SLOT) => {
                last.to = slot.to;
                last.counts.add(&slot.counts);
                last.between.iter_mut().zip(between).for_each(|(mine, more)| *mine += more);
            }
            _ => self.long.push_back(LongSlot {
                from: slot.from,
                to: slot.to,
                counts: slot.counts,
                between,
            }),
        }
    }

    /// Slots of all levels, latest first.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.levels.iter().flat_map(|level| level.iter().rev())
    }

    /// What happened in the `span` before the latest reading; spans above an hour are one hour.
    pub(crate) fn window(&self, span: Duration) -> Window {
        let span = span.min(LONGEST_WINDOW);
        let Some((now, reading)) = &self.latest else { return Window::empty(span) };
        let mut window = Window { state: reading.state, ..Window::empty(span) };
        let begin = now.saturating_sub(millis(span));
        for slot in self.slots().take_while(|slot| is_within(slot.from, slot.to, begin)) {
            window.counts.add(&slot.counts);
            slot.latency.add_to(&mut window.latency);
            window.covered = Duration::from_millis(now - slot.from);
        }
        window
    }

    /// What was counted in the `span` before the latest reading, up to three days of it.
    pub(crate) fn long_window(&self, span: Duration) -> LongWindow {
        let mut window = LongWindow::default();
        let Some((now, _)) = &self.latest else { return window };
        let begin = now.saturating_sub(millis(span.min(LONGEST_COUNTS)));
        let mut add = |from: u64, counts: &Counts, between: &mut dyn Iterator<Item = u64>| {
            window.counts.add(counts);
            window.between.iter_mut().zip(between).for_each(|(mine, more)| *mine += more);
            window.covered = Duration::from_millis(now - from);
        };
        for slot in self.slots().take_while(|slot| is_within(slot.from, slot.to, begin)) {
            let between = slot.latency.between_thresholds();
            add(slot.from, &slot.counts, &mut between.iter().copied().map(u64::from));
        }
        let long = self.long.iter().rev();
        for slot in long.take_while(|slot| is_within(slot.from, slot.to, begin)) {
            add(slot.from, &slot.counts, &mut slot.between.iter().copied());
        }
        window
    }

    /// The state at the end of each slot within `span` before the latest reading, with its time;
    /// latest first.
    pub(crate) fn states(&self, span: Duration) -> impl Iterator<Item = (Millis, State)> {
        let now = self.latest.as_ref().map_or(0, |(now, _)| *now);
        let begin = now.saturating_sub(millis(span));
        self.slots()
            .take_while(move |slot| slot.to >= begin)
            .map(|slot| (Millis(slot.to), slot.state))
    }

    /// The memory that all slots take.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let slots =
            self.slots().map(|slot| size_of::<Slot>() + slot.latency.bytes()).sum::<usize>();
        slots + self.long.len() * size_of::<LongSlot>()
    }
}

/// The number of the stretch of time that ends at `to`, its end included.
fn stretch(to: u64, width: u64) -> u64 {
    to.saturating_sub(1) / width
}

/// True if at least half of a slot lies after `begin`.
fn is_within(from: u64, to: u64, begin: u64) -> bool {
    from.midpoint(to) >= begin
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What happened in a window.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// How long it was asked to be.
    pub(crate) asked: Duration,
    /// How much of it is known: less where readings began later.
    pub(crate) covered: Duration,
    pub(crate) counts: Counts,
    pub(crate) latency: Snapshot,
    pub(crate) state: State,
}

impl Window {
    fn empty(asked: Duration) -> Self {
        Self {
            asked,
            covered: Duration::ZERO,
            counts: Counts::default(),
            latency: Snapshot::default(),
            state: State { available: true, ..State::default() },
        }
    }

    /// How long reads took.
    pub(crate) fn latencies(&self) -> LatencySummary {
        self.latency.summary()
    }
}

/// What was counted in a window of up to three days.
#[derive(Clone, Debug, Default)]
pub(crate) struct LongWindow {
    /// How much of it is known.
    pub(crate) covered: Duration,
    pub(crate) counts: Counts,
    /// Latencies between two neighbours of [`THRESHOLDS`].
    between: [u64; THRESHOLDS.len() + 1],
}

impl LongWindow {
    /// How many reads were timed, and how many of them took longer than `limit`; exact where the
    /// limit is one of the thresholds, else counted by the next one below.
    pub(crate) fn slower_than(&self, limit: Duration) -> (u64, u64) {
        let limit = super::nanoseconds(limit);
        let first_above = THRESHOLDS.partition_point(|threshold| *threshold <= limit);
        let total = self.between.iter().sum();
        (total, self.between[first_above..].iter().sum())
    }
}

#[cfg(test)]
mod tests;
