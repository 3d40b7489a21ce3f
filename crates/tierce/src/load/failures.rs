//! The memory of failed loads: a loader that failed for a key is left alone for a while.
//!
//! ```text
//!   failed ── first ── failed ──── 2 x first ──── failed ──────── ... at most `most` ──────── ...
//!          └ nobody loads: stale values or the remembered error, at once ┘
//! ```
//!
//! Each wait is shortened or prolonged by up to a tenth, so that keys that failed together do not
//! all come back together. A load that succeeds forgets; so does a change of the key, as what
//! failed may have been right for what the key was. A key that was quiet for the longest wait
//! after its own was over begins anew.
//!
//! The memory is bounded in entries and bytes; the failures of the longest ago leave first. What
//! is lost costs one call of a loader.
//!
//! Locks: one mutex for each group of keys. Errors hold the caller's own, so none is dropped under
//! one.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_utils::CachePadded;

use crate::{
    clock::{Clock, Millis},
    error::{Error, ErrorKind, Result},
    invalidation::Filed,
    simulated,
    sync::Mutex,
};

/// Groups of keys with a lock each: failures are rare, and looked for only while there are any.
const GROUPS: usize = 16;

/// Failures remembered at most: an origin that is down fails every key, and then the keys asked
/// for most are remembered, as they fail most often.
const MAX_ENTRIES: usize = 16 << 10;

/// Bytes remembered at most, errors not counted: keys may have 64 KiB.
const MAX_BYTES: usize = 4 << 20;

/// What an entry takes beside its key, about.
const OVERHEAD_BYTES: usize = 128;

/// Places in the order that may be void before it is swept, beside as many as there are entries.
const SPARE_PLACES: usize = 16;

/// Waits are shortened or prolonged by up to this share.
const JITTER: f64 = 0.1;

/// How long a loader is left alone after it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
}

/// A wait that is longer is cut to this: nobody waits for its end, and with its jitter it can be told.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Backoff {
    /// Waits that begin with `first` and double until they are `most`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where `first` is zero or above `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Result<Self> {
        if first.is_zero() || first > most {
            return Err(Error::new(
                ErrorKind::Config,
                format!("failure_backoff = {first:?} to {most:?}: must begin above zero and rise"),
            ));
        }
        Ok(Self { first: first.min(LONGEST_WAIT), most: most.min(LONGEST_WAIT) })
    }

    /// The first wait.
    pub(crate) fn first(self) -> Duration {
        self.first
    }

    /// The wait after so many failures in a row, without jitter.
    fn after(self, failures: u32) -> Duration {
        // Beyond 2^31 the longest wait was reached, whatever the first is.
        let doubled = self.first.checked_mul(1 << (failures - 1).min(31));
        doubled.map_or(self.most, |wait| wait.min(self.most))
    }
}

/// A failure from which the wait is not over.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// The loader's error; its message says that it is remembered.
    pub(crate) error: Error,
    /// What is left of the wait; the message of the error has it too.
    #[allow(dead_code)]
    pub(crate) wait: Duration,
}

/// The failures of one cache.
pub(crate) struct Failures {
    groups: Box<[CachePadded<Mutex<Group>>]>,
    /// All entries: while it is zero no lock is taken.
    len: AtomicUsize,
    max_entries: usize,
    max_bytes: usize,
    hasher: Hasher,
    clock: Clock,
    /// The state of the generator of jitter.
    draws: AtomicU64,
}

type Hasher = foldhash::fast::RandomState;

struct Group {
    failures: HashMap<Arc<[u8]>, Failure, Hasher>,
    /// Keys in the order of their failures. A key that failed again stands there again: only the
    /// place with its present number counts.
    order: VecDeque<(u64, Arc<[u8]>)>,
    next_number: u64,
    bytes: usize,
}

struct Failure {
    error: Error,
    /// What was known of the key when the load began.
    began: Filed,
    /// Failures in a row.
    count: u32,
    /// Its place in the order.
    number: u64,
    until: Millis,
    /// When the next failure would be the first again.
    forgotten_at: Millis,
}

impl Failures {
    pub(crate) fn new(clock: &Clock) -> Self {
        let seed = simulated::random().unwrap_or_else(|| Hasher::default().hash_one(()));
        Self::bounded(clock, seed, MAX_ENTRIES, MAX_BYTES)
    }

    /// Bounds are split evenly between the groups.
    fn bounded(clock: &Clock, seed: u64, max_entries: usize, max_bytes: usize) -> Self {
        let hasher = Hasher::default();
        let group = || Group {
            failures: HashMap::with_hasher(hasher.clone()),
            order: VecDeque::new(),
            next_number: 0,
            bytes: 0,
        };
        Self {
            groups: (0..GROUPS).map(|_| CachePadded::new(Mutex::new(group()))).collect(),
            len: AtomicUsize::new(0),
            max_entries: max_entries / GROUPS,
            max_bytes: max_bytes / GROUPS,
            hasher,
            clock: clock.clone(),
            draws: AtomicU64::new(seed),
        }
    }

    /// The failure of this key, if no loader is to be called for it yet.
    ///
    /// `is_current` judges the mark under which the failed load began: after a change of the key
    /// by another process its failure means nothing. It runs under the group's lock and must be
    /// ours.
    pub(crate) fn recall(
        &self,
        key: &[u8],
        is_current: impl FnOnce(Filed) -> bool,
    ) -> Option<Remembered> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = self.clock.coarse();
        let group = self.group(key).lock();
        let failure = group.failures.get(key)?;
        if failure.until <= now || !is_current(failure.began) {
            return None;
        }
        let wait = failure.until.remaining(now)?;
        let error = failure.error.clone();
        drop(group);
        let message = format!("the loader failed, and is not called again for {wait:?}");
        Some(Remembered { error: error.reworded(message), wait })
    }

    /// Remembers that a load of the key that began under this mark failed; returns how long no
    /// loader is to be called for it.
    pub(crate) fn remember(
        &self,
        key: &[u8],
        began: Filed,
        error: &Error,
        backoff: Backoff,
    ) -> Duration {
        let now = self.clock.coarse();
        let jitter = 1.0 + JITTER * (2.0 * self.draw() - 1.0);
        if key.len() + OVERHEAD_BYTES > self.max_bytes {
            // It would drive all others out.
            return backoff.first.mul_f64(jitter);
        }
        // Declared before the guard: what leaves is dropped after the lock is let go.
        let (mut left, replaced);
        let mut group = self.group(key).lock();
        let before = group.failures.get(key).filter(|failure| failure.forgotten_at > now);
        let count = before.map_or(1, |failure| failure.count.saturating_add(1));
        let wait = backoff.after(count).mul_f64(jitter);
        let until = now.after(wait);
        replaced = group.put(
            key,
            Failure {
                error: error.clone(),
                began,
                count,
                number: 0,
                until,
                forgotten_at: until.after(backoff.most),
            },
        );
        left = Vec::new();
        group.shrink(now, self.max_entries, self.max_bytes, &mut left);
        drop(group);
        // Wraps where more left than came; the sum is right at each moment between calls.
        self.len.fetch_add(usize::from(replaced.is_none()), Ordering::Relaxed);
        self.len.fetch_sub(left.len(), Ordering::Relaxed);
        wait
    }

    /// Forgets the failure of this key: a load of it succeeded, or it changed.
    pub(crate) fn forget(&self, key: &[u8]) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut group = self.group(key).lock();
        let forgotten = group.take(key);
        drop(group);
        if forgotten.is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets all failures.
    pub(crate) fn forget_all(&self) {
        if self.len.load(Ordering::Relaxed) == 0 {
            return;
        }
        for group in &self.groups {
            let mut group = group.lock();
            group.bytes = 0;
            let order = std::mem::take(&mut group.order);
            let forgotten = std::mem::take(&mut group.failures);
            drop(group);
            self.len.fetch_sub(forgotten.len(), Ordering::Relaxed);
            drop((order, forgotten));
        }
    }

    /// How many failures are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// A number from 0 to 1, each as likely.
    fn draw(&self) -> f64 {
        // Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014.
        let step = 0x9E37_79B9_7F4A_7C15_u64;
        let mut word = self.draws.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ word >> 31) as f64 / u64::MAX as f64
    }

    fn group(&self, key: &[u8]) -> &Mutex<Group> {
        &self.groups[self.hasher.hash_one(key) as usize % GROUPS]
    }
}

impl Group {
    /// Puts a failure in; returns the one before it of the same key.
    fn put(&mut self, key: &[u8], mut failure: Failure) -> Option<Failure> {
        let key: Arc<[u8]> = key.into();
        failure.number = self.next_number;
        self.next_number += 1;
        self.order.push_back((failure.number, Arc::clone(&key)));
        let size = key.len() + OVERHEAD_BYTES;
        let replaced = self.failures.insert(key, failure);
        if replaced.is_none() {
            self.bytes += size;
        }
        replaced
    }

    fn take(&mut self, key: &[u8]) -> Option<Failure> {
        let taken = self.failures.remove(key)?;
        self.bytes -= key.len() + OVERHEAD_BYTES;
        if self.failures.is_empty() {
            self.order.clear();
        }
        Some(taken)
    }

    /// Takes out what is to be forgotten by now, and the oldest as long as there are too many.
    fn shrink(
        &mut self,
        now: Millis,
        max_entries: usize,
        max_bytes: usize,
        left: &mut Vec<Failure>,
    ) {
        while let Some((number, key)) = self.order.front() {
            let present = self.failures.get(key).filter(|failure| failure.number == *number);
            let is_due = present.is_none_or(|failure| failure.forgotten_at <= now);
            if !is_due && self.failures.len() <= max_entries && self.bytes <= max_bytes {
                break;
            }
            let is_present = present.is_some();
            let Some((_, key)) = self.order.pop_front() else { break };
            if is_present {
                left.extend(self.take(&key));
            }
        }
        // Places that count no more lie among the others where keys fail again and again.
        if self.order.len() > 2 * self.failures.len() + SPARE_PLACES {
            let failures = &self.failures;
            self.order.retain(|(number, key)| {
                failures.get(key).is_some_and(|failure| failure.number == *number)
            });
        }
    }

    #[cfg(test)]
    fn validate(&self) {
        let bytes: usize = self.failures.keys().map(|key| key.len() + OVERHEAD_BYTES).sum();
        assert_eq!(bytes, self.bytes);
        for (key, failure) in &self.failures {
            let places = self.order.iter().filter(|(number, _)| *number == failure.number);
            assert!(places.eq([&(failure.number, Arc::clone(key))]), "each has one place");
        }
        assert!(self.order.len() <= 2 * self.failures.len() + SPARE_PLACES);
        assert!(self.order.iter().is_sorted_by_key(|(number, _)| number));
    }
}

#[cfg(test)]
#[path = "failures_tests.rs"]
mod tests;
