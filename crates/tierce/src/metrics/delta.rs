//! What a histogram gained between two snapshots, in as little memory as its values need.
//!
//! A window of an hour is a sum of a few hundred of these; whole snapshots would take some ten
//! times the memory. A list of the buckets that gained, with their counts, loses nothing: quantiles
//! of a sum are those of one histogram of all values.

use super::histogram::{SUB_BUCKETS, Snapshot, THRESHOLDS, middle_of};

/// Values that came between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    /// Number of the bucket over all octaves, and its count; lowest first. Counts stay at 2^32 - 1:
    /// a slot of the windows is a minute long at most.
    buckets: Box<[(u16, u32)]>,
    /// Values between two neighbours of [`THRESHOLDS`], exactly.
    between: [u32; THRESHOLDS.len() + 1],
    sum: u64,
}

/// The most memory that one takes: every bucket gained.
#[cfg(test)]
pub(super) const MOST_DELTA_BYTES: usize =
    super::histogram::OCTAVES * SUB_BUCKETS * size_of::<(u16, u32)>() + size_of::<Delta>();

impl Delta {
    /// What `now` has more than `before`.
    pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Self {
        let mut buckets = Vec::new();
        for (octave, (before, now)) in before.octaves.iter().zip(&now.octaves).enumerate() {
            let Some(now) = now else { continue };
            for (bucket, count) in now.iter().enumerate() {
                let earlier = before.as_ref().map_or(0, |before| before[bucket]);
                let gained = count.wrapping_sub(earlier);
                if gained > 0 {
                    // 37 octaves of 64 buckets fit in a u16.
                    buckets.push(((octave * SUB_BUCKETS + bucket) as u16, saturated(gained)));
                }
            }
        }
        let mut between = [0; THRESHOLDS.len() + 1];
        for ((gained, before), now) in between.iter_mut().zip(&before.between).zip(&now.between) {
            *gained = saturated(now.wrapping_sub(*before));
        }
        Self { buckets: buckets.into(), between, sum: now.sum.wrapping_sub(before.sum) }
    }

    /// Adds the values of another.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.buckets.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let (mut mine, mut theirs) =
            (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        loop {
            let next = match (mine.peek(), theirs.peek()) {
                (Some((left, _)), Some((right, _))) if left == right => {
                    let (left, right) = (mine.next(), theirs.next());
                    left.zip(right).map(|(left, right)| (left.0, left.1.saturating_add(right.1)))
                }
                (Some((left, _)), Some((right, _))) if left > right => theirs.next().copied(),
                (Some(_), _) => mine.next().copied(),
                (None, _) => theirs.next().copied(),
            };
            let Some(next) = next else { break };
            merged.push(next);
        }
        self.buckets = merged.into();
        for (mine, theirs) in self.between.iter_mut().zip(other.between) {
            *mine = mine.saturating_add(theirs);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many values were above a threshold that [`THRESHOLDS`] has, exactly.
    pub(super) fn between_thresholds(&self) -> &[u32; THRESHOLDS.len() + 1] {
        &self.between
    }

    /// Adds these values to a snapshot.
    pub(super) fn add_to(&self, snapshot: &mut Snapshot) {
        for (bucket, count) in &self.buckets {
            let (octave, bucket) =
                (usize::from(*bucket) / SUB_BUCKETS, usize::from(*bucket) % SUB_BUCKETS);
            let Some(place) = snapshot.octaves.get_mut(octave) else { continue };
            let counts = place.get_or_insert_with(|| Box::new([0; SUB_BUCKETS]));
            counts[bucket] = counts[bucket].wrapping_add(u64::from(*count));
            // The longest is known to the width of a bucket only.
            snapshot.max = snapshot.max.max(middle_of(octave, bucket));
        }
        for (mine, theirs) in snapshot.between.iter_mut().zip(self.between) {
            *mine = mine.wrapping_add(u64::from(theirs));
        }
        snapshot.sum = snapshot.sum.wrapping_add(self.sum);
    }

    /// The memory that it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.buckets)
    }
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn what_came_between_is_the_histogram_of_it() {
        let (all, late) = (Histogram::default(), Histogram::default());
        let mut random = fastrand::Rng::with_seed(11);
        let mut value = || {
            let bits = random.u32(1..40);
            random.u64(1..1 << bits)
        };
        (0..1000).for_each(|_| all.record(value()));
        let before = all.snapshot();
        for _ in 0..1000 {
            let value = value();
            all.record_many(value, 3);
            late.record_many(value, 3);
        }
        let delta = Delta::between(&before, &all.snapshot());
        assert_eq!(delta, Delta::between(&Snapshot::default(), &late.snapshot()));
        let mut sum = Snapshot::default();
        delta.add_to(&mut sum);
        for percent in [0.01, 0.5, 0.95, 0.99] {
            assert_eq!(sum.quantile(percent), late.snapshot().quantile(percent), "{percent}");
        }
        assert_eq!(sum.summary().thresholds, late.snapshot().summary().thresholds);
    }

    #[test]
    fn merged_deltas_are_the_delta_of_both() {
        let histogram = Histogram::default();
        let mut random = fastrand::Rng::with_seed(12);
        let mut moments = vec![histogram.snapshot()];
        for _ in 0..20 {
            (0..random.u32(0..50)).for_each(|_| histogram.record(random.u64(1..1 << 30)));
            moments.push(histogram.snapshot());
        }
        let mut merged = Delta::default();
        moments.windows(2).for_each(|pair| merged.merge(&Delta::between(&pair[0], &pair[1])));
        assert_eq!(merged, Delta::between(&moments[0], &moments[20]));
    }

    #[test]
    fn the_stated_bound_of_memory_holds_for_the_fullest_one() {
        let histogram = Histogram::default();
        for octave in 0..crate::metrics::histogram::OCTAVES {
            (0..SUB_BUCKETS).for_each(|bucket| histogram.record(middle_of(octave, bucket)));
        }
        let delta = Delta::between(&Snapshot::default(), &histogram.snapshot());
        assert!(delta.bytes() > MOST_DELTA_BYTES / 2 && delta.bytes() <= MOST_DELTA_BYTES);
    }
}
