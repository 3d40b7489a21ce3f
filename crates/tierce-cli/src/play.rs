//! Plays a trace through a cache and counts what happened.
//!
//! Workers are threads that take the next requests of the trace from one cursor, so the trace is
//! played in its order (exactly with one worker, nearly with more). Every answer is verified and
//! timed. A worker counts for itself; the counts are added up at the end.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tierce_trace::Request;

use crate::{
    latency::Latencies,
    target::{Place, Target},
    value,
};

/// Requests that a worker takes at a time: few, so that the order of the trace holds.
const BATCH: usize = 16;
/// Slices of a plot: about one for each five pixels of a 1200 pixel picture.
const MOST_SLICES: usize = 200;
/// Larger values of a trace are cut to this: the values of all workers must fit into memory.
pub(crate) const MOST_VALUE_BYTES: u64 = 64 << 20;
/// Pause between two reports of progress: smooth to the eye, nothing to the processor.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// How a trace is played.
pub(crate) struct Course {
    /// Threads.
    pub(crate) workers: usize,
    /// The size of every value; `None`: the trace's sizes, else `default_bytes`.
    pub(crate) value_bytes: Option<u64>,
    /// The size of values of traces without sizes.
    pub(crate) default_bytes: u64,
}

/// What came from one place.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) latencies: Latencies,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// By [`Place::index`].
    pub(crate) tallies: Vec<Tally>,
    /// Calls of the loader.
    pub(crate) origin_calls: u64,
    /// Answers that were not the value of their key.
    pub(crate) wrong: u64,
    /// Requests that ended with an error, and the first of those errors.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<tierce::Error>,
    /// Answers by slice of the trace and by place.
    pub(crate) slices: Vec<[u64; Place::ALL.len()]>,
    pub(crate) elapsed: Duration,
}

impl Played {
    fn new(slices: usize) -> Self {
        let tally = Tally { count: 0, bytes: 0, latencies: Latencies::new() };
        Self {
            tallies: vec![tally; Place::ALL.len()],
            origin_calls: 0,
            wrong: 0,
            errors: 0,
            first_error: None,
            slices: vec![[0; Place::ALL.len()]; slices],
            elapsed: Duration::ZERO,
        }
    }

    fn merge(&mut self, other: Self) {
        for (tally, more) in self.tallies.iter_mut().zip(&other.tallies) {
            tally.count += more.count;
            tally.bytes += more.bytes;
            tally.latencies.merge(&more.latencies);
        }
        for (slice, more) in self.slices.iter_mut().zip(&other.slices) {
            slice.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        self.origin_calls += other.origin_calls;
        self.wrong += other.wrong;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Answers and errors together.
    pub(crate) fn requests(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.count).sum::<u64>() + self.errors
    }

    /// Answers that a tier gave.
    pub(crate) fn hits(&self) -> u64 {
        let is_tier = |place: &&Place| matches!(place, Place::Tier(_));
        Place::ALL.iter().filter(is_tier).map(|place| self.tallies[place.index()].count).sum()
    }

    /// Hits as a share of requests, 0 to 1.
    pub(crate) fn hit_ratio(&self) -> f64 {
        self.hits() as f64 / self.requests().max(1) as f64
    }
}

/// Plays `requests`; calls `progress` with the number of requests begun, about five times a
/// second, on this thread.
pub(crate) fn play(
    target: &impl Target,
    requests: &[Request],
    course: &Course,
    mut progress: impl FnMut(usize),
) -> Played {
    let slices = requests.len().clamp(1, MOST_SLICES);
    let mut played = Played::new(slices);
    let cursor = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        for _ in 0..course.workers {
            let (sender, cursor) = (sender.clone(), &cursor);
            scope.spawn(move || {
                let mut mine = Played::new(slices);
                loop {
                    let from = cursor.fetch_add(BATCH, Ordering::Relaxed);
                    let Some(batch) = requests.get(from..) else { break };
                    if batch.is_empty() {
                        break;
                    }
                    for (at, request) in batch.iter().take(BATCH).enumerate() {
                        let slice = (from + at) * slices / requests.len();
                        mine.answer(target, *request, course, slice);
                    }
                }
                // The receiver outlives the workers unless one of them panicked.
                let _ = sender.send(mine);
            });
        }
        drop(sender);
        loop {
            match done.recv_timeout(PROGRESS_PAUSE) {
                Ok(worker) => played.merge(worker),
                Err(RecvTimeoutError::Timeout) => {
                    progress(cursor.load(Ordering::Relaxed).min(requests.len()));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    played.elapsed = began.elapsed();
    played
}

impl Played {
    /// Makes one request and counts its answer.
    fn answer(&mut self, target: &impl Target, request: Request, course: &Course, slice: usize) {
        let by_trace = request.size.map_or(course.default_bytes, u64::from);
        let length = course.value_bytes.unwrap_or(by_trace).min(MOST_VALUE_BYTES) as usize;
        let mut calls = 0;
        let began = Instant::now();
        let answer = target.get_or_load(&request.key.to_le_bytes(), || {
            calls += 1;
            value::make(request.key, length)
        });
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.origin_calls += calls;
        match answer {
            Ok((bytes, place)) => {
                let tally = &mut self.tallies[place.index()];
                tally.count += 1;
                tally.bytes += bytes.len() as u64;
                tally.latencies.add(took);
                self.slices[slice][place.index()] += 1;
                self.wrong += u64::from(!value::verify(request.key, &bytes));
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tierce::{Error, ErrorKind, TierKind};

    use super::*;

    /// Loads always, but for key 1 gives the value of key 2, and for key 3 an error.
    struct Liar;

    impl Target for Liar {
        fn get_or_load(
            &self,
            key: &[u8],
            load: impl FnOnce() -> Bytes,
        ) -> Result<(Bytes, Place), Error> {
            match key[0] {
                1 => Ok((value::make(2, 40), Place::Tier(TierKind::Memory))),
                3 => Err(Error::new(ErrorKind::Closed, "closed")),
                _ => Ok((load(), Place::Origin)),
            }
        }
    }

    #[test]
    fn wrong_values_and_errors_are_counted_once_whatever_the_workers() {
        let requests: Vec<Request> =
            (0..4000).map(|n| Request { key: n % 4, size: Some(20) }).collect();
        for workers in [1, 3] {
            let course = Course { workers, value_bytes: None, default_bytes: 99 };
            let played = play(&Liar, &requests, &course, |_| ());
            assert_eq!((played.wrong, played.errors, played.origin_calls), (1000, 1000, 2000));
            assert_eq!((played.requests(), played.hits()), (4000, 1000));
            assert_eq!(played.tallies[Place::Origin.index()].bytes, 2000 * 20);
            assert_eq!(played.first_error.as_ref().map(Error::kind), Some(ErrorKind::Closed));
            let answered: u64 = played.slices.iter().flatten().sum();
            assert_eq!((answered, played.slices.len()), (3000, MOST_SLICES));
        }
    }

    #[test]
    fn no_requests_are_no_trouble() {
        let course = Course { workers: 2, value_bytes: Some(16), default_bytes: 16 };
        let played = play(&Liar, &[], &course, |_| ());
        assert_eq!((played.requests(), played.hit_ratio()), (0, 0.0));
    }
}
