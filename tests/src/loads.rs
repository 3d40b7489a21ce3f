//! What processes that load one key note of it, in a mapped file that the test reads.
//!
//! Each round has its own key and its own words; the words are those of a [`Board`].

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::board::Board;

/// A word of a round.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// Threads that are about to ask for the key.
    Ready = 0,
    /// Not zero: ask for it.
    Go = 1,
    /// Loads that began.
    Begun = 2,
    /// The process of the first load.
    Leader = 3,
    /// When the first load began, by [`now`].
    FirstAt = 4,
    /// When the second one did.
    SecondAt = 5,
    /// When the first load failed.
    FailedAt = 6,
    /// Calls that got a value.
    Answered = 7,
    /// Calls that got an error.
    Failed = 8,
    /// Values that were of another key, torn, or older than the word `Floor` was before the call.
    Wrong = 9,
    /// The version that the database holds.
    Database = 10,
    /// The version of which a change has returned.
    Floor = 11,
}

const NOTES: usize = 12;

/// The notes of all rounds.
#[derive(Debug)]
pub struct Loads(Board);

impl Loads {
    /// Makes or opens the notes at `path`.
    pub fn open(path: &Path, rounds: usize) -> Self {
        Self(Board::open(path, rounds * NOTES))
    }

    /// A word of a round.
    pub fn at(&self, round: u64, note: Note) -> &AtomicU64 {
        self.0.database(round * NOTES as u64 + note as u64)
    }

    /// What a word of a round is.
    pub fn of(&self, round: u64, note: Note) -> u64 {
        self.at(round, note).load(Ordering::SeqCst)
    }

    /// Waits until a word is at least `least`.
    ///
    /// # Panics
    /// After 20 s.
    pub fn wait(&self, round: u64, note: Note, least: u64) {
        self.wait_among(1, round, note, least);
    }

    /// [`wait`](Self::wait) of each of so many threads, which together look no more often than a
    /// few would.
    ///
    /// # Panics
    /// After 20 s.
    pub fn wait_among(&self, threads: u32, round: u64, note: Note, least: u64) {
        let pause = Duration::from_micros(200) * threads.div_ceil(4);
        let begin = Instant::now();
        while self.of(round, note) < least {
            let waited = begin.elapsed();
            assert!(waited < Duration::from_secs(20), "round {round}: {note:?} is not {least}");
            std::thread::sleep(pause);
        }
    }
}

/// Microseconds, the same for all processes.
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}
