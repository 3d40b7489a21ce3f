//! Which keys are asked for, in which order. All loads are seeded: the same on every run.

use fastrand::Rng;

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// All as often.
    Uniform,
    /// The n-th most wanted key in proportion to n^-0.99, as in YCSB.
    Zipf,
}

impl Skew {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf-0.99",
        }
    }
}

/// Draws numbers below a count; the lowest is the most wanted.
///
/// For Zipf's law it holds a sum of 8 bytes per number: make one and draw often.
pub struct Lottery {
    count: usize,
    /// Sums of the weights up to each number; empty where all weigh the same.
    ladder: Vec<f64>,
}

impl Lottery {
    /// Numbers below `count`, which is above zero.
    pub fn new(skew: Skew, count: usize) -> Self {
        match skew {
            Skew::Uniform => Self { count, ladder: vec![] },
            Skew::Zipf => Self::zipf(0.99, count),
        }
    }

    /// Numbers below `count`, which is above zero, by Zipf's law: number n in proportion to
    /// (n + 1)^-`exponent`.
    pub fn zipf(exponent: f64, count: usize) -> Self {
        let mut sum = 0.0;
        let step = |rank: usize| {
            sum += (rank as f64).powf(-exponent);
            sum
        };
        Self { count, ladder: (1..=count).map(step).collect() }
    }

    /// One number.
    pub fn draw(&self, random: &mut Rng) -> u32 {
        let Some(sum) = self.ladder.last() else { return random.u32(0..self.count as u32) };
        let at = random.f64() * sum;
        self.ladder.partition_point(|step| *step <= at).min(self.count - 1) as u32
    }
}

/// `length` draws from the numbers below `count`; the lowest is the most wanted.
pub fn draws(skew: Skew, count: usize, length: usize, seed: u64) -> Vec<u32> {
    let mut random = Rng::with_seed(seed);
    let lottery = Lottery::new(skew, count);
    (0..length).map(|_| lottery.draw(&mut random)).collect()
}

/// The numbers below `count` in an order that has nothing to do with how wanted they are.
pub fn shuffled(count: usize, seed: u64) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    Rng::with_seed(seed).shuffle(&mut numbers);
    numbers
}

/// A key of 32 bytes of text.
pub fn text_key(number: u32) -> String {
    format!("user:{:016x}:profile:v{:01}", u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_draws_prefer_low_numbers_as_much_as_they_should() {
        let draws = draws(Skew::Zipf, 1_000, 200_000, 7);
        let sum: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        let count = |number| draws.iter().filter(|draw| **draw == number).count() as f64;
        for rank in [1, 2, 10] {
            let expected = f64::from(rank).powf(-0.99) / sum * 200_000.0;
            assert!((count(rank - 1) / expected - 1.0).abs() < 0.1, "rank {rank}");
        }
    }

    #[test]
    fn text_keys_have_32_bytes_and_differ() {
        let keys: std::collections::HashSet<_> = (0..1_000).map(text_key).collect();
        assert!(keys.len() == 1_000 && keys.iter().all(|key| key.len() == 32));
    }
}
