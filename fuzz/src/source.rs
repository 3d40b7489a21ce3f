//! Where the decisions of a run come from: the bytes of a fuzzer, or a seed.

/// A row of decisions. The same bytes, or the same seed, decide the same.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    from: From<'a>,
    /// How many operations are still to come.
    left: u64,
}

#[derive(Debug)]
enum From<'a> {
    Bytes(&'a [u8]),
    Random(fastrand::Rng),
}

impl<'a> Source<'a> {
    /// Operations until the bytes are used up.
    pub(crate) fn bytes(bytes: &'a [u8]) -> Self {
        Self { from: From::Bytes(bytes), left: u64::MAX }
    }

    /// So many random operations.
    pub(crate) fn seeded(seed: u64, operations: u64) -> Self {
        Self { from: From::Random(fastrand::Rng::with_seed(seed)), left: operations }
    }

    /// True if one more operation is to come.
    pub(crate) fn goes_on(&mut self) -> bool {
        let goes_on = self.left > 0 && !matches!(&self.from, From::Bytes([]));
        self.left = self.left.saturating_sub(1);
        goes_on
    }

    fn byte(&mut self) -> u8 {
        match &mut self.from {
            From::Bytes(bytes) => bytes.split_off_first().copied().unwrap_or(0),
            From::Random(random) => random.u8(..),
        }
    }

    /// A number below `count`, which is at most 65,536.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        match count {
            0 | 1 => 0,
            2..=256 => u64::from(self.byte()) % count,
            _ => u64::from(u16::from_le_bytes([self.byte(), self.byte()])) % count,
        }
    }

    /// True once in `count` times.
    pub(crate) fn once_in(&mut self, count: u64) -> bool {
        // Bytes that are used up say no.
        self.below(count) == count - 1
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
