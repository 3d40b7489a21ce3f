//! One run of one rival: batches of operations, and what is made of their times.
//!
//! The keys of a batch are made before its clock starts, as a caller has them at hand. The middle
//! batch is the figure of reads: a batch during which another process had the core is far from it.
//! Writes pay for some of their work in bursts (a segment is emptied, a log is folded in), which the
//! middle batch would not show, so their figure is the mean; there a batch that lost its core
//! counts with the time that it had one.

use std::{
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use tierce_benches::rounds::median;

use super::data::{Numbers, Request};

/// One in so many of the first batches is left out: they fetch what the rival before has pushed
/// out of the processor's caches.
const COLD_SHARE: usize = 8;

/// A run has at least as many batches, however long they take.
const FEWEST_BATCHES: usize = 8;

/// How a run is cut into batches, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Operations between two looks at the clock: some ten microseconds at least.
    pub(super) batch: usize,
    /// A run ends after so much time on the clock.
    pub(super) limit: Duration,
}

/// What a run gave, in nanoseconds of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    /// The middle batch.
    pub(super) median: f64,
    /// All batches.
    pub(super) mean: f64,
    /// Operations that returned true, of all.
    pub(super) hits: f64,
}

impl Pace {
    /// A pace for operations that move so many bytes.
    pub(super) fn of(value_bytes: usize, limit: Duration) -> Self {
        Self { batch: ((256 << 10) / value_bytes.max(1)).clamp(4, 256), limit }
    }

    /// Runs `operation` on keys of these numbers, and `settle` as a part of each batch.
    pub(super) fn run<R>(
        self,
        numbers: &mut Numbers,
        rival: &mut R,
        mut operation: impl FnMut(&mut R, &Request) -> bool,
        settle: impl Fn(&mut R),
    ) -> Run {
        let mut times = Vec::new();
        let (mut hits, mut total) = (0, Duration::ZERO);
        let mut requests = Vec::with_capacity(self.batch);
        while total < self.limit || times.len() < FEWEST_BATCHES {
            requests.clear();
            requests.extend((0..self.batch).map(|_| Request::new(numbers.next())));
            let begin = Moment::now();
            for request in &requests {
                hits += usize::from(operation(rival, request));
            }
            settle(rival);
            let took = begin.elapsed();
            total += took;
            times.push(took.as_nanos() as f64 / self.batch as f64);
        }
        let operations = (times.len() * self.batch) as f64;
        let warm = &mut times[self.cold_batches(operations as usize)..];
        Run {
            mean: warm.iter().sum::<f64>() / warm.len() as f64,
            median: median(warm),
            hits: hits as f64 / operations,
        }
    }

    fn cold_batches(self, operations: usize) -> usize {
        operations / self.batch / COLD_SHARE
    }
}

/// A point in time, on the clocks of the world and of this thread.
struct Moment {
    wall: Instant,
    thread: Usage,
}

/// What the system says of this thread.
struct Usage {
    /// How long it has run, here and in the kernel.
    ran: Duration,
    /// How often its core was taken from it.
    preemptions: i64,
}

impl Moment {
    fn now() -> Self {
        let thread = Usage::now();
        Self { wall: Instant::now(), thread }
    }

    /// The time since; without the time that others had the core, where they took it.
    fn elapsed(&self) -> Duration {
        let wall = self.wall.elapsed();
        let now = Usage::now();
        if now.preemptions == self.thread.preemptions {
            return wall;
        }
        // What it waited for of its own will in such a batch is lost too.
        now.ran.saturating_sub(self.thread.ran).min(wall)
    }
}

impl Usage {
    fn now() -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to writable memory of the right size.
        let failed = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        assert_eq!(failed, 0, "a thread may ask for its own usage");
        // SAFETY: zeros are a value of this struct of numbers, and the call has filled it.
        let usage = unsafe { usage.assume_init() };
        let time = |part: libc::timeval| {
            Duration::new(part.tv_sec.unsigned_abs(), part.tv_usec.unsigned_abs() as u32 * 1_000)
        };
        Self { ran: time(usage.ru_utime) + time(usage.ru_stime), preemptions: usage.ru_nivcsw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_hits_and_drops_cold_batches() {
        let pace = Pace { batch: 10, limit: Duration::ZERO };
        let mut numbers = Numbers::Fresh { next: 0 };
        let run = pace.run(&mut numbers, &mut (), |(), request| request.number % 2 == 0, |()| {});
        assert_eq!(run.hits, 0.5);
        assert!(run.median > 0.0 && run.mean > 0.0);
        assert_eq!(pace.cold_batches(160), 2);
    }

    #[test]
    fn time_in_which_a_thread_sleeps_counts_and_preempted_time_does_not() {
        let begin = Moment::now();
        std::thread::sleep(Duration::from_millis(20));
        let slept = begin.elapsed();
        // Unless it was preempted beside.
        assert!(
            slept >= Duration::from_millis(20)
                || Usage::now().preemptions > begin.thread.preemptions
        );
        let mut preempted = Moment::now();
        preempted.thread.preemptions -= 1;
        std::thread::sleep(Duration::from_millis(20));
        assert!(preempted.elapsed() < Duration::from_millis(20));
    }
}
