//! The keys, or beginnings of keys, that are asked for most, in bounded memory.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements
//! in data streams", ICDT 2005): a name that is not among those that are counted takes the place of
//! the one with the smallest count, and that count along, as an error that it may have. So with `m`
//! counters over `n` offers whatever has more than `n / m` of them is there, and no count is too
//! high by more than its error.

use std::collections::HashMap;

/// One name and how often it was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heavy {
    pub(crate) name: Box<[u8]>,
    /// At most this often.
    pub(crate) count: u64,
    /// And at least this much less.
    pub(crate) error: u64,
}

impl Heavy {
    /// How often it was offered at least.
    pub(crate) fn least(&self) -> u64 {
        self.count - self.error
    }
}

/// A sketch of the most frequent names of a stream.
#[derive(Debug)]
pub(crate) struct SpaceSaving {
    most: usize,
    counters: HashMap<Box<[u8]>, (u64, u64), foldhash::fast::RandomState>,
    offers: u64,
}

impl SpaceSaving {
    /// With so many counters, one at least.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), counters: HashMap::default(), offers: 0 }
    }

    /// Counts a name.
    pub(crate) fn offer(&mut self, name: &[u8]) {
        self.offers += 1;
        if let Some((count, _)) = self.counters.get_mut(name) {
            *count += 1;
            return;
        }
        let error = if self.counters.len() < self.most { 0 } else { self.make_room() };
        self.counters.insert(name.into(), (error + 1, error));
    }

    /// Lets the name of the smallest count go, and returns the count.
    ///
    /// A walk over all counters: there are few, and a stream with heavy names seldom needs it.
    fn make_room(&mut self) -> u64 {
        let least = self.counters.iter().min_by_key(|(_, (count, _))| *count);
        let Some((name, (count, _))) = least.map(|(name, counts)| (name.clone(), *counts)) else {
            return 0;
        };
        self.counters.remove(&name);
        count
    }

    /// How many names were offered.
    pub(crate) fn offers(&self) -> u64 {
        self.offers
    }

    /// The heaviest names, by what they have at least.
    pub(crate) fn heaviest(&self, most: usize) -> Vec<Heavy> {
        let mut all: Vec<Heavy> = self
            .counters
            .iter()
            .map(|(name, (count, error))| Heavy {
                name: name.clone(),
                count: *count,
                error: *error,
            })
            .collect();
        all.sort_unstable_by(|one, other| {
            other.least().cmp(&one.least()).then_with(|| one.name.cmp(&other.name))
        });
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded_by_their_errors_and_no_heavy_name_is_missed() {
        let mut random = fastrand::Rng::with_seed(11);
        let (most, offers) = (64, 200_000_u64);
        let mut sketch = SpaceSaving::new(most);
        let mut exact: HashMap<u64, u64> = HashMap::new();
        for _ in 0..offers {
            // About 1/n: the first has a seventh of all, most of 10,000 next to nothing.
            let number = (random.f64() * 9.2).exp() as u64;
            *exact.entry(number).or_default() += 1;
            sketch.offer(&number.to_le_bytes());
        }
        assert_eq!((sketch.offers(), sketch.counters.len()), (offers, most));
        let all = sketch.heaviest(most);
        for heavy in &all {
            let number = u64::from_le_bytes(heavy.name[..].try_into().unwrap());
            let is = exact[&number];
            assert!((heavy.least()..=heavy.count).contains(&is), "{heavy:?}: {is}");
        }
        for (number, count) in exact.iter().filter(|(_, count)| **count > offers / most as u64) {
            let name = number.to_le_bytes();
            assert!(all.iter().any(|heavy| heavy.name[..] == name), "{number}: {count} is missing");
        }
    }
}
