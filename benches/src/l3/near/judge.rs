//! Which reads were too old, and how long changes took to be seen.
//!
//! The versions of a key are set one after the other by one host. So a read that returned a version
//! is as old as the next one had been for when it began: when the call that set that one had returned.

use super::{KEYS, log::Done};

/// All sets that are known, and what came of reads that were judged by them.
pub(super) struct Judge {
    /// When the set of each version of each key had returned, from version 1 on.
    finished: Vec<Vec<u64>>,
}

/// Of how many reads it is known how old they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ages {
    pub(super) reads: u64,
    /// That found nothing.
    pub(super) absent: u64,
    /// Of values that had been replaced.
    pub(super) replaced: u64,
    /// Longer ago than the bound.
    pub(super) stale: u64,
    /// How long ago at most, in nanoseconds.
    pub(super) longest: u64,
}

impl Ages {
    pub(super) fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.absent += other.absent;
        self.replaced += other.replaced;
        self.stale += other.stale;
        self.longest = self.longest.max(other.longest);
    }
}

impl Judge {
    pub(super) fn new() -> Self {
        Self { finished: vec![vec![]; KEYS as usize] }
    }

    /// Takes note of the sets of a log.
    ///
    /// # Errors
    /// If the versions of a key do not follow each other: nothing could be said of reads then.
    pub(super) fn learn(&mut self, log: &[Done]) -> Result<(), String> {
        for done in log.iter().filter(|done| done.is_set) {
            let finished = &mut self.finished[done.key as usize];
            finished.push(done.end);
            if finished.len() != done.version as usize {
                return Err(format!("version {} of key {} is none", done.version, done.key));
            }
        }
        Ok(())
    }

    /// Judges the reads of a log, all sets being known.
    pub(super) fn ages(&self, log: &[Done], bound: u64) -> Ages {
        let mut ages = Ages::default();
        for done in log.iter().filter(|done| !done.is_set) {
            ages.reads += 1;
            if done.version == 0 {
                ages.absent += 1;
                continue;
            }
            let next = self.finished[done.key as usize].get(done.version as usize);
            let age = next.map_or(0, |next| done.begin.saturating_sub(*next));
            ages.replaced += u64::from(age > 0);
            ages.stale += u64::from(age > bound);
            ages.longest = ages.longest.max(age);
        }
        ages
    }

    /// How long after its set had returned each change of a log was seen by who watched the key: until
    /// a read that returned it, or a later one, had ended. Nanoseconds; 0 where that was before.
    ///
    /// What was not seen by the end of the watch is left out, but for what had been done for `bound`
    /// by then: that counts as long as it had lasted.
    pub(super) fn delays(&self, sets: &[Done], watched: &[Done], bound: u64) -> Vec<u64> {
        let mut seen: Vec<Vec<(u32, u64)>> = vec![vec![]; self.finished.len()];
        let mut over = 0;
        for read in watched.iter().filter(|done| !done.is_set) {
            over = over.max(read.end);
            seen[read.key as usize].push((read.version, read.end));
        }
        let delay = |set: &Done| {
            let reads = &seen[set.key as usize];
            match reads.iter().find(|(version, _)| *version >= set.version) {
                Some((_, at)) => Some(at.saturating_sub(set.end)),
                None => Some(over.saturating_sub(set.end)).filter(|lasted| *lasted > bound),
            }
        };
        sets.iter().filter(|done| done.is_set).filter_map(delay).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: u32, version: u32, end: u64) -> Done {
        Done { key, is_set: true, version, begin: end - 1, end }
    }

    fn read(key: u32, version: u32, begin: u64) -> Done {
        Done { key, is_set: false, version, begin, end: begin + 2 }
    }

    #[test]
    fn a_read_is_as_old_as_the_next_version_was_when_it_began() {
        let mut judge = Judge::new();
        judge.learn(&[set(7, 1, 100), set(7, 2, 200), set(7, 3, 300), set(8, 1, 100)]).unwrap();
        let reads = [
            read(7, 1, 199), // not replaced yet
            read(7, 1, 205),
            read(7, 2, 311),
            read(7, 3, 9_999),
            read(8, 1, 9_999),
            read(9, 0, 9_999),
        ];
        let ages = judge.ages(&reads, 10);
        let wanted = Ages { reads: 6, absent: 1, replaced: 2, stale: 1, longest: 11 };
        assert_eq!(ages, wanted);
    }

    #[test]
    fn versions_that_do_not_follow_each_other_are_refused() {
        assert!(Judge::new().learn(&[set(7, 1, 100), set(7, 3, 200)]).is_err());
    }

    #[test]
    fn a_change_is_seen_with_itself_or_a_later_one_and_one_that_never_is_counts() {
        let mut judge = Judge::new();
        let sets = [set(7, 1, 100), set(7, 2, 200), set(7, 3, 300), set(8, 1, 400), set(9, 1, 980)];
        judge.learn(&sets).unwrap();
        // The first is seen before its set has returned, the second with the third.
        let watched = [read(7, 1, 90), read(7, 3, 310), read(8, 0, 998)];
        // Key 9 was set just before the end of the watch.
        assert_eq!(judge.delays(&sets, &watched, 50), [0, 112, 12, 600]);
    }
}
