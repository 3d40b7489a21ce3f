//! What happened between two looks, ready to be shown.

use tierce::{StoreHeader, StoreSegmentState, StoreStatistics};

use super::sample::Sample;
use crate::inspect::who;

/// Events of each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) hits: f64,
    pub(super) misses: f64,
    pub(super) puts: f64,
    pub(super) fills: f64,
    pub(super) deletes: f64,
    pub(super) dropped: f64,
    pub(super) evicted: f64,
}

impl Rates {
    fn between(before: &StoreStatistics, now: &StoreStatistics, seconds: f64) -> Self {
        // A counter that is lower than before began again at zero: its slot has a new owner, or
        // the lock file was written anew.
        let restarted = now.named().zip(before.named()).any(|((_, now), (_, before))| now < before);
        let zero = StoreStatistics::default();
        let before = if restarted { &zero } else { before };
        let rate = |of: fn(&StoreStatistics) -> u64| {
            of(now).saturating_sub(of(before)) as f64 / seconds.max(f64::MIN_POSITIVE)
        };
        Self {
            hits: rate(|counted| counted.hits),
            misses: rate(|counted| counted.misses),
            puts: rate(|counted| counted.puts),
            fills: rate(|counted| counted.fills),
            deletes: rate(|counted| counted.deletes + counted.clears),
            dropped: rate(|counted| {
                let dropped = counted.named().filter(|(name, _)| name.starts_with("dropped_"));
                dropped.map(|(_, number)| number).sum()
            }),
            evicted: rate(|counted| counted.evicted_size + counted.evicted_expired),
        }
    }

    pub(super) fn gets(&self) -> f64 {
        self.hits + self.misses
    }

    /// The share of hits, from 0 to 1; `None` without reads.
    pub(super) fn hit_ratio(&self) -> Option<f64> {
        (self.gets() > 0.0).then(|| self.hits / self.gets())
    }
}

/// One opening of the store.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) slot: u32,
    pub(super) is_alive: bool,
    pub(super) who: String,
    pub(super) rates: Rates,
}

/// All that is shown at a time.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) rows: Vec<Row>,
    pub(super) total: Rates,
    pub(super) entries: u64,
    pub(super) max_entries: u64,
    pub(super) live_bytes: u64,
    pub(super) data_bytes: u64,
    /// By state, as [`StoreSegmentState::ALL`] orders them.
    pub(super) segments: [usize; 4],
    /// Openings that are alive.
    pub(super) alive: usize,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

impl Frame {
    /// Works out what happened between two looks.
    pub(super) fn between(before: &Sample, now: &Sample, header: &StoreHeader) -> Self {
        let seconds = (now.at - before.at).as_secs_f64();
        let zero = StoreStatistics::default();
        let rows = now.users.users.iter().map(|user| {
            let earlier = before.users.users.iter().find(|other| other.slot == user.slot);
            let earlier = earlier.map_or(&zero, |earlier| &earlier.statistics);
            Row {
                slot: user.slot,
                is_alive: user.is_alive,
                who: who(&now.processes, user.slot),
                rates: Rates::between(earlier, &user.statistics, seconds),
            }
        });
        // Slots whose owners are gone stay until they are taken over; they do nothing.
        let mut rows: Vec<Row> =
            rows.filter(|row| row.is_alive || row.rates != Rates::default()).collect();
        let alive = rows.iter().filter(|row| row.is_alive).count();
        let without_slot = who(&now.processes, 0);
        if !without_slot.is_empty() {
            let rates = Rates::between(&before.users.folded, &now.users.folded, seconds);
            rows.push(Row { slot: 0, is_alive: true, who: without_slot, rates });
        }
        let look = &now.look;
        let of_state = |state| look.segments.iter().filter(|one| one.state == state).count();
        Self {
            rows,
            total: Rates::between(&before.users.total, &now.users.total, seconds),
            entries: look.entries,
            max_entries: header.max_entries,
            live_bytes: look.live_bytes,
            data_bytes: header.data_bytes,
            segments: StoreSegmentState::ALL.map(of_state),
            alive,
            notes: notes(now),
        }
    }

    /// `12 free, 3 active, 47 sealed, 0 evicting`.
    pub(super) fn segments_text(&self) -> String {
        let parts = StoreSegmentState::ALL.iter().zip(&self.segments);
        let parts: Vec<String> =
            parts.map(|(state, count)| format!("{count} {}", state.as_str())).collect();
        parts.join(", ")
    }
}

fn notes(now: &Sample) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &now.users.no_counters {
        notes.push(format!("no counters: {why}"));
    } else if !now.users.is_in_use {
        notes.push("no process has the store open".into());
    }
    if !now.look.is_of_this_boot {
        notes.push("used in another boot of the machine: starts empty when it is opened".into());
    }
    if now.look.doubts.groups > 0 {
        let doubts = &now.look.doubts;
        let (groups, of) = (doubts.groups, doubts.of_groups);
        notes.push(format!("{groups} of {of} groups of keys are in doubt in the tier below"));
    }
    if !now.look.findings.is_empty() {
        let number = now.look.findings.len();
        notes.push(format!("{number} findings at first sight: tierce inspect --check"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(hits: u64, misses: u64) -> StoreStatistics {
        let mut statistics = StoreStatistics::default();
        (statistics.hits, statistics.misses) = (hits, misses);
        statistics
    }

    #[test]
    fn rates_are_what_was_counted_in_a_second() {
        let rates = Rates::between(&counted(10, 5), &counted(40, 15), 2.0);
        assert_eq!((rates.hits, rates.misses, rates.gets()), (15.0, 5.0, 20.0));
        assert_eq!(rates.hit_ratio(), Some(0.75));
        assert_eq!(Rates::default().hit_ratio(), None);
    }

    #[test]
    fn counters_that_began_again_are_counted_from_zero() {
        let rates = Rates::between(&counted(1000, 5), &counted(8, 7), 1.0);
        assert_eq!((rates.hits, rates.misses), (8.0, 7.0));
    }
}
