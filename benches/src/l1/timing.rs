//! One run of one rival: what its threads do, and what is made of the times.
//!
//! Each thread looks at the clock after every [`BATCH`] operations, and a run's figure is the
//! median of its batches: a batch during which another process had the core is far from the middle.
//!
//! With two threads that is not enough. While one of them is off its core the other meets nobody,
//! and its batches are too short, not too long. So of two threads only those batches count during
//! which the other was at work too: it had begun, it was not done, and none of its batches that lie
//! beside this one took [`STALLED`] times its usual time.

use std::{
    array::from_fn,
    mem,
    ops::Range,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use tierce_benches::rounds::median;

use super::{data::Data, rivals::Rival};

/// Operations between two looks at the clock: short beside a time slice of the scheduler, long
/// beside the look.
pub(super) const BATCH: usize = 512;

/// A batch that takes this many times the median was interrupted: a time slice is milliseconds, a
/// batch some tens of microseconds up to a millisecond.
const STALLED: u64 = 3;

/// One in so many batches, the first ones, is left out: they fetch what the rival before has
/// pushed out of the processor's caches.
const COLD_SHARE: usize = 8;

/// Fewer batches than these beside the other thread say nothing; all are taken then, and the
/// run's `together` tells.
const FEWEST_TOGETHER: usize = 8;

/// A run has at least as many batches, however long they take: on a busy machine a time slice of
/// another process can be as long as the run's limit.
const FEWEST_BATCHES: usize = 24;

/// So many puts are between the making of a value and its put. Less than an allocator keeps at hand
/// for each size (glibc: 7).
const AHEAD: usize = 4;

/// What threads do with their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Reads all.
    Get,
    /// Reads, but every n-th operation is a put of its key.
    Mixed(usize),
    /// Reads, and stores what was not there.
    ReadThrough,
    /// Stores all.
    Insert,
}

/// How a read-through is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a get, and by an insert where it missed.
    GetThenInsert,
    /// By the cache's own call.
    Native,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetThenInsert => "get+insert",
            Self::Native => "native",
        }
    }
}

/// The work of one run.
pub(super) struct Job<'a, D: Data> {
    pub(super) work: Work,
    pub(super) way: Way,
    /// The keys of each thread, in order of use.
    pub(super) keys: Vec<&'a [D::Key]>,
    /// A run ends when its keys do, or after this time if it has enough batches by then.
    pub(super) limit: Duration,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Nanoseconds of an operation in the middle batch; of two threads, two by their throughput.
    pub(super) nanoseconds: f64,
    /// The mean of the same batches, interruptions included: it shows work that is put off to a
    /// few batches, and other processes.
    pub(super) mean: f64,
    /// Hits by reads.
    pub(super) hit_ratio: f64,
    /// The share of the batches that counted.
    pub(super) together: f64,
}

/// What a thread saw. Times are nanoseconds since the run's origin.
struct Thread {
    /// The begin of the first batch, and the end of each.
    edges: Vec<u64>,
    hits: usize,
    reads: usize,
}

/// A key to put and its value.
type Pair<D> = (<D as Data>::Key, <D as Data>::Value);

fn owned<D: Data>(key: &D::Key) -> Pair<D> {
    (key.clone(), D::value(key))
}

/// Pairs between being made and being put: [`AHEAD`] puts later, as what a service stores was not
/// written the nanosecond before. Put at once, whether a put waits for the value's bytes to reach
/// the cache depends on how the compiler happens to copy a rival's arguments.
struct Made<D: Data> {
    pairs: [Pair<D>; AHEAD],
    next: usize,
}

impl<D: Data> Made<D> {
    /// The first ones to be put are of the last of these keys.
    fn new(keys: &[D::Key]) -> Self {
        Self { pairs: from_fn(|index| owned::<D>(&keys[keys.len() - 1 - index])), next: 0 }
    }

    /// Takes a pair in and gives the one that waited the longest.
    fn instead_of(&mut self, pair: Pair<D>) -> Pair<D> {
        self.next = (self.next + 1) % AHEAD;
        mem::replace(&mut self.pairs[self.next], pair)
    }
}

impl<D: Data> Job<'_, D> {
    /// Does the work.
    pub(super) fn run(&self, rival: &impl Rival<D>) -> Run {
        let origin = Instant::now();
        let start = Barrier::new(self.keys.len());
        let threads: Vec<Thread> = thread::scope(|scope| {
            let start = &start;
            let others: Vec<_> = self.keys[1..]
                .iter()
                .map(|keys| scope.spawn(move || self.work_through(rival, keys, start, origin)))
                .collect();
            let mut threads = vec![self.work_through(rival, self.keys[0], start, origin)];
            for other in others {
                threads.push(other.join().expect("a worker does not panic"));
            }
            threads
        });
        summary(&threads)
    }

    /// Keys and values to put are made while the clock runs, one for each that is put: what a cache
    /// frees is what its caller allocates next. Made before, many at once, the time of a put would
    /// be that of the allocator, which then joins thousands of pieces that nobody asks for again.
    fn work_through(
        &self,
        rival: &impl Rival<D>,
        keys: &[D::Key],
        start: &Barrier,
        origin: Instant,
    ) -> Thread {
        let own = owned::<D>;
        let clocked = |batch: &mut dyn FnMut(Range<usize>) -> usize| {
            start.wait();
            self.clocked(keys.len(), origin, batch)
        };
        match (self.work, self.way) {
            (Work::Get, _) => {
                clocked(&mut |batch| keys[batch].iter().filter(|key| rival.hit(key)).count())
            }
            (Work::Mixed(every), _) => {
                let mut made = Made::<D>::new(keys);
                let mut until_put = 1;
                let mut thread = clocked(&mut |batch| {
                    let mut hits = 0;
                    for key in &keys[batch] {
                        until_put -= 1;
                        if until_put == 0 {
                            until_put = every;
                            let (key, value) = made.instead_of(own(key));
                            rival.put(key, value);
                        } else {
                            hits += usize::from(rival.hit(key));
                        }
                    }
                    hits
                });
                thread.reads -= thread.reads.div_ceil(every);
                thread
            }
            (Work::ReadThrough, Way::Native) => clocked(&mut |batch| {
                let hit = |key: &&D::Key| rival.hit_or_load(key) == Some(true);
                keys[batch].iter().filter(hit).count()
            }),
            (Work::ReadThrough, Way::GetThenInsert) => clocked(&mut |batch| {
                let hit = |key: &&D::Key| {
                    let hit = rival.hit(key);
                    if !hit {
                        let (key, value) = own(key);
                        rival.put(key, value);
                    }
                    hit
                };
                keys[batch].iter().filter(hit).count()
            }),
            (Work::Insert, _) => {
                let mut made = Made::<D>::new(keys);
                let mut thread = clocked(&mut |batch| {
                    for key in &keys[batch] {
                        let (key, value) = made.instead_of(own(key));
                        rival.put(key, value);
                    }
                    0
                });
                thread.reads = 0;
                thread
            }
        }
    }

    fn clocked(
        &self,
        operations: usize,
        origin: Instant,
        batch: &mut dyn FnMut(Range<usize>) -> usize,
    ) -> Thread {
        let now = || origin.elapsed().as_nanos() as u64;
        let mut edges = Vec::with_capacity(operations / BATCH + 1);
        let begin = now();
        edges.push(begin);
        let (limit, mut hits, mut done) = (begin + self.limit.as_nanos() as u64, 0, 0);
        while done + BATCH <= operations {
            hits += batch(done..done + BATCH);
            done += BATCH;
            let end = now();
            edges.push(end);
            if end > limit && edges.len() > FEWEST_BATCHES {
                break;
            }
        }
        Thread { edges, hits, reads: done }
    }
}

impl Thread {
    /// Begin and end of each batch.
    fn batches(&self) -> impl Iterator<Item = (u64, u64)> {
        self.edges.windows(2).map(|edges| (edges[0], edges[1]))
    }

    /// The spans during which this thread may not have been at work, in order.
    fn absences(&self) -> Vec<(u64, u64)> {
        let mut spans: Vec<f64> = self.batches().map(|(begin, end)| (end - begin) as f64).collect();
        let stalled = median(&mut spans) as u64 * STALLED;
        let (first, last) = (self.edges[0], self.edges[self.edges.len() - 1]);
        let within = self.batches().filter(|(begin, end)| end - begin > stalled);
        [(0, first)].into_iter().chain(within).chain([(last, u64::MAX)]).collect()
    }
}

/// Nanoseconds per operation of the batches of `thread` that count, and their share of all.
fn counted(thread: &Thread, other: Option<&Thread>) -> (Vec<f64>, f64) {
    let absences = other.map(Thread::absences).unwrap_or_default();
    let warm = thread.edges.len() / COLD_SHARE;
    let all: Vec<(u64, u64)> = thread.batches().skip(warm).collect();
    let alone =
        |batch: &(u64, u64)| absences.iter().any(|away| batch.0 < away.1 && away.0 < batch.1);
    let mut chosen: Vec<(u64, u64)> = all.iter().copied().filter(|batch| !alone(batch)).collect();
    let together = chosen.len() as f64 / all.len() as f64;
    if chosen.len() < FEWEST_TOGETHER {
        chosen = all;
    }
    let each = chosen.iter().map(|(begin, end)| (end - begin) as f64 / BATCH as f64).collect();
    (each, together)
}

fn summary(threads: &[Thread]) -> Run {
    let (mut by_median, mut by_mean, mut together) = (0.0, 0.0, f64::INFINITY);
    for (index, thread) in threads.iter().enumerate() {
        let other = (threads.len() > 1).then(|| &threads[1 - index]);
        let (mut each, share) = counted(thread, other);
        by_mean += each.len() as f64 / each.iter().sum::<f64>();
        by_median += 1.0 / median(&mut each);
        together = together.min(share);
    }
    let count = threads.len() as f64;
    let reads: usize = threads.iter().map(|thread| thread.reads).sum();
    let hits: usize = threads.iter().map(|thread| thread.hits).sum();
    Run {
        nanoseconds: count / by_median,
        mean: count / by_mean,
        hit_ratio: hits as f64 / reads.max(1) as f64,
        together,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(begin: u64, spans: impl Iterator<Item = u64>) -> Thread {
        let mut edges = vec![begin];
        let mut at = begin;
        for span in spans {
            at += span;
            edges.push(at);
        }
        Thread { edges, hits: 0, reads: 0 }
    }

    #[test]
    fn batches_beside_an_absence_of_the_other_thread_do_not_count() {
        // The other begins late, is away for the time of 30 of its batches, and ends early.
        let other = thread(2_000, (0..60).map(|index| if index == 20 { 3_000 } else { 100 }));
        let one = thread(0, (0..200).map(|_| 100));
        let (each, together) = counted(&one, Some(&other));
        // 20 batches before the absence, less the 5 that are cold; 39 after it.
        assert_eq!(each.len(), (20 - 5) + 39);
        assert!((together - each.len() as f64 / 175.0).abs() < 1e-9);
        assert_eq!(counted(&one, None).0.len(), 175);
    }

    #[test]
    fn one_stalled_batch_moves_the_mean_and_not_the_median() {
        let stalled = thread(0, (0..100).map(|index| if index == 50 { 512_000 } else { 5_120 }));
        let run = summary(&[stalled]);
        assert_eq!(run.nanoseconds, 10.0);
        assert!(run.mean > 15.0, "{run:?}");
    }

    #[test]
    fn two_threads_are_as_fast_as_their_throughput_says() {
        let slow = || thread(0, (0..100).map(|_| 3 * 5_120));
        let run = summary(&[slow(), thread(0, (0..300).map(|_| 5_120))]);
        assert!((run.nanoseconds - 15.0).abs() < 1e-9, "{run:?}");
    }
}
