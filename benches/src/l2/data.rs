//! Which keys and values.

use fastrand::Rng;

/// All loads are seeded: the same on every run.
pub(super) const SEED: u64 = 7;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;

/// A key with the number that it was made of.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) key: [u8; KEY_BYTES],
}

impl Request {
    pub(super) fn new(number: u32) -> Self {
        Self { number, key: key(number) }
    }
}

/// The bytes of [`tierce_benches::load::text_key`], without its formatter: keys are made while a
/// cell runs, though not while its clock does.
pub(super) fn key(number: u32) -> [u8; KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut key = *b"user:----------------:profile:v1";
    let spread = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (at, byte) in key[5..21].iter_mut().enumerate() {
        *byte = DIGITS[(spread >> (60 - 4 * at) & 15) as usize];
    }
    key
}

/// The largest number of bytes that [`Value::of`] is asked for.
const LARGEST: usize = 10 << 20;

/// Values: the number of their key, then bytes that no compression shortens.
pub(super) struct Value {
    bytes: Vec<u8>,
}

impl Value {
    pub(super) fn up_to(bytes: usize) -> Self {
        let mut random = Rng::with_seed(SEED);
        let mut noise = vec![0; bytes.clamp(4, LARGEST)];
        random.fill(&mut noise);
        Self { bytes: noise }
    }

    /// The value of a number in so many bytes, at least 4.
    pub(super) fn of(&mut self, number: u32, bytes: usize) -> &[u8] {
        self.bytes[..4].copy_from_slice(&number.to_le_bytes());
        &self.bytes[..bytes]
    }
}

/// The numbers that are asked for, without end.
pub(super) enum Numbers {
    /// Those below a count, each as often.
    Uniform { random: Rng, count: u32 },
    /// One after the other from `next`, so that a key comes again only when a bounded store has
    /// long forgotten it.
    Fresh { next: u32 },
    /// Numbers from `from` on, each as often: none of them is ever stored.
    Absent { random: Rng, from: u32 },
    /// These, again and again.
    Row { numbers: Vec<u32>, next: usize },
}

impl Numbers {
    /// All below a count; users with other places draw others.
    pub(super) fn uniform(count: usize, place: u64) -> Self {
        Self::Uniform { random: Rng::with_seed(SEED + 1 + place), count: count as u32 }
    }

    pub(super) fn next(&mut self) -> u32 {
        match self {
            Self::Uniform { random, count } => random.u32(..*count),
            Self::Absent { random, from } => random.u32(*from..),
            Self::Row { numbers, next } => {
                let number = numbers[*next];
                *next = (*next + 1) % numbers.len();
                number
            }
            Self::Fresh { next } => {
                // The upper half is for keys that are never stored.
                let number = *next & (ABSENT - 1);
                *next = next.wrapping_add(1);
                number
            }
        }
    }
}

/// Numbers from here on are never stored.
pub(super) const ABSENT: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_all_benchmarks() {
        for number in [0, 1, 77, u32::MAX] {
            assert_eq!(key(number), *tierce_benches::load::text_key(number).as_bytes());
        }
    }

    #[test]
    fn numbers_that_are_stored_and_those_that_never_are_do_not_meet() {
        let random = || Rng::with_seed(SEED);
        let mut absent = Numbers::Absent { random: random(), from: ABSENT };
        let mut fresh = Numbers::Fresh { next: u32::MAX - 500 };
        for _ in 0..1_000 {
            assert!(absent.next() >= ABSENT && fresh.next() < ABSENT);
        }
    }
}
