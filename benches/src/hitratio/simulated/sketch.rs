//! Caffeine's frequency sketch: a count-min sketch of 4-bit counters that ages by halving.
//!
//! ```text
//!   block of 64 bytes: 8 words of 16 counters; a key has 4 counters in one block,
//!                      one in each pair of words
//! ```
//!
//! Einziger, Friedman, Manes: "TinyLFU", ACM TOS 13(4), 2017; layout, hashes and the sample of ten
//! times the capacity as in `FrequencySketch.java`.

use super::Key;

/// The lowest bit of each counter.
const ONES: u64 = 0x1111_1111_1111_1111;
/// What stays of each counter when it is halved.
const HALVES: u64 = 0x7777_7777_7777_7777;
/// A counter's largest value.
const MOST: u64 = 15;

/// Counts how often keys were asked for lately.
pub(super) struct Sketch {
    words: Vec<u64>,
    /// Counted since the last halving.
    size: usize,
    sample: usize,
}

impl Sketch {
    pub(super) fn new(capacity: usize) -> Self {
        let words = vec![0; capacity.next_power_of_two().max(8)];
        Self { words, size: 0, sample: 10 * capacity }
    }

    /// The words and the shifts in them of a key's four counters.
    fn counters(&self, key: Key) -> [(usize, u32); 4] {
        let block_hash = spread(key);
        let counter_hash = rehash(block_hash);
        let block = (block_hash as usize & (self.words.len() / 8 - 1)) * 8;
        [0, 1, 2, 3].map(|row| {
            let bits = counter_hash >> (row * 8);
            (block + (bits & 1) as usize + row * 2, (bits >> 1 & 15) * 4)
        })
    }

    /// How often the key was asked for, or more where others share its counters.
    pub(super) fn frequency(&self, key: Key) -> u64 {
        let counts = self.counters(key).map(|(word, shift)| self.words[word] >> shift & MOST);
        counts.into_iter().fold(MOST, u64::min)
    }

    pub(super) fn count(&mut self, key: Key) {
        let mut added = false;
        for (word, shift) in self.counters(key) {
            if self.words[word] >> shift & MOST < MOST {
                self.words[word] += 1 << shift;
                added = true;
            }
        }
        if added {
            self.size += 1;
            if self.size == self.sample {
                self.halve();
            }
        }
    }

    fn halve(&mut self) {
        let mut odd = 0;
        for word in &mut self.words {
            odd += (*word & ONES).count_ones() as usize;
            *word = *word >> 1 & HALVES;
        }
        self.size = (self.size - odd / 4) / 2;
    }
}

fn spread(mut bits: u32) -> u32 {
    bits = (bits ^ bits >> 17).wrapping_mul(0xED5A_D4BB);
    bits = (bits ^ bits >> 11).wrapping_mul(0xAC4C_1B51);
    bits ^ bits >> 15
}

fn rehash(bits: u32) -> u32 {
    let bits = bits.wrapping_mul(0x3184_8BAB);
    bits ^ bits >> 14
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_key_is_counted_up_to_15_and_halved_after_a_sample() {
        let mut sketch = Sketch::new(64);
        for times in 1..=20 {
            sketch.count(3);
            assert_eq!(sketch.frequency(3), times.min(15));
        }
        // 15 counts of 640; what saturated was not counted. A halved 15 is 7, and its four
        // counters were odd: (640 - 4 / 4) / 2.
        sketch.size = 639;
        sketch.count(4);
        let of_4 = sketch.frequency(4);
        assert_eq!((sketch.frequency(3), of_4, sketch.size), (7, 0, 319));
    }

    #[test]
    fn estimates_are_never_too_low_before_halving() {
        let mut sketch = Sketch::new(100);
        for round in 0..10 {
            (0..100 - round * 10).for_each(|key| sketch.count(key));
        }
        assert!(sketch.size < 1_000, "no halving yet");
        for key in 0..100 {
            let times = (0..10).filter(|round| key < 100 - round * 10).count() as u64;
            assert!(sketch.frequency(key) >= times, "{key}");
        }
    }
}
