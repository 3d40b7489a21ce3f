//! What the demo writes down while it runs, and the few figures that are worked out from it.

use std::time::{Duration, Instant};

use super::{
    crew::{Heard, What},
    protocol::{Counted, Interval, Line, Tally},
};
use crate::output::Failure;

/// The first part of a worker's life: what it finds in L2 then, an earlier one left there.
pub(super) const YOUTH: Duration = Duration::from_secs(1);

/// All that was heard.
pub(super) struct Book {
    /// By phase: what was asked, and how long the phase took.
    pub(super) phases: Vec<(Counted, Duration)>,
    /// The first [`YOUTH`] of the cache's first life, all workers together.
    pub(super) cold: Tally,
    /// Workers that were killed, in their order.
    pub(super) successors: Vec<Successor>,
    /// Wrong values and errors, in words; not all of them.
    pub(super) troubles: Vec<String>,
    /// When workers stopped and began again to reach L3.
    pub(super) redis_changes: Vec<RedisChange>,
    /// When Redis was stopped, and how many workers went without it even before.
    pub(super) redis_stopped: Option<(Instant, usize)>,
    /// When it was started again.
    pub(super) redis_started: Option<Instant>,
    /// By worker.
    workers: Vec<State>,
    cold_until: Option<Instant>,
    recent: Counted,
    recent_since: Instant,
}

/// The life of a worker after one that was killed.
pub(super) struct Successor {
    pub(super) worker: usize,
    pub(super) killed: Instant,
    /// From the kill until its cache was open.
    pub(super) ready_after: Option<Duration>,
    /// Its requests in the first [`YOUTH`].
    pub(super) youth: Tally,
}

/// A worker found that L3 does not answer, or answers again.
pub(super) struct RedisChange {
    pub(super) at: Instant,
    pub(super) worker: usize,
    pub(super) answers: bool,
}

#[derive(Clone, Default)]
struct State {
    life: u32,
    is_ready: bool,
    has_ended: bool,
    redis_is_out: bool,
    played: u64,
}

impl Book {
    pub(super) fn new(workers: usize, phases: usize) -> Self {
        Self {
            phases: vec![(Counted::new(), Duration::ZERO); phases],
            cold: Tally::default(),
            successors: Vec::new(),
            troubles: Vec::new(),
            redis_changes: Vec::new(),
            redis_stopped: None,
            redis_started: None,
            workers: vec![State::default(); workers],
            cold_until: None,
            recent: Counted::new(),
            recent_since: Instant::now(),
        }
    }

    /// Writes down that the cache is asked for the first time.
    pub(super) fn begin_cold(&mut self) {
        self.cold_until = Some(Instant::now() + YOUTH);
    }

    /// Writes down that a worker was killed and has a successor of this life.
    pub(super) fn replaced(&mut self, worker: usize, life: u32, killed: Instant) {
        let played = self.workers[worker].played;
        self.workers[worker] = State { life, played, ..State::default() };
        let youth = Tally::default();
        self.successors.push(Successor { worker, killed, ready_after: None, youth });
    }

    /// How many requests of its share a worker has reported.
    pub(super) fn played(&self, worker: usize) -> u64 {
        self.workers[worker].played
    }

    pub(super) fn all_ready(&self) -> bool {
        self.workers.iter().all(|worker| worker.is_ready)
    }

    pub(super) fn all_ended(&self) -> bool {
        self.workers.iter().all(|worker| worker.has_ended)
    }

    /// Writes down what was heard.
    ///
    /// # Errors
    /// A worker that ended by itself, or whose store is not open: nothing can be shown then.
    pub(super) fn write(&mut self, heard: Heard) -> Result<(), Failure> {
        let Heard { worker, life, what } = heard;
        let state = &mut self.workers[worker];
        let is_past = life != state.life;
        match what {
            What::Line(Line::Ready { shared_trouble: Some(trouble) }) => {
                return Err(format!("the shared store cannot be used: {trouble}").into());
            }
            What::Line(Line::Ready { .. }) => {
                state.is_ready = true;
                if let Some(successor) = self.successors.iter_mut().rfind(|it| it.worker == worker)
                {
                    successor.ready_after = Some(successor.killed.elapsed());
                }
            }
            What::Line(Line::Interval(interval)) => self.write_interval(worker, is_past, &interval),
            What::Line(Line::Trouble(trouble)) => self.troubles.push(trouble),
            What::Line(Line::Ended) => state.has_ended = true,
            // The last line of a worker that was killed may be half of one.
            What::Torn | What::Gone if is_past => {}
            What::Gone if state.has_ended => {}
            What::Torn => return Err(format!("worker {} told nonsense", worker + 1).into()),
            What::Gone => return Err(format!("worker {} ended by itself", worker + 1).into()),
        }
        Ok(())
    }

    fn write_interval(&mut self, worker: usize, is_past: bool, interval: &Interval) {
        let now = Instant::now();
        let mut sum = Tally::default();
        for part in &interval.parts {
            if let Some((counted, _)) = self.phases.get_mut(part.phase) {
                counted.add_part(part);
            }
            self.recent.add_part(part);
            sum.add(&part.tally);
        }
        if self.cold_until.is_some_and(|until| now < until) {
            self.cold.add(&sum);
        }
        let state = &mut self.workers[worker];
        state.played += sum.requests;
        if is_past {
            return;
        }
        if Duration::from_millis(interval.age_milliseconds) <= YOUTH
            && let Some(successor) = self.successors.iter_mut().rfind(|it| it.worker == worker)
        {
            successor.youth.add(&sum);
        }
        let is_out = interval.redis_trouble.is_some();
        if is_out != state.redis_is_out {
            state.redis_is_out = is_out;
            self.redis_changes.push(RedisChange { at: now, worker, answers: !is_out });
        }
    }

    /// What was counted since the last call, and for how long.
    pub(super) fn take_recent(&mut self) -> (Counted, Duration) {
        let span = self.recent_since.elapsed();
        self.recent_since = Instant::now();
        (std::mem::replace(&mut self.recent, Counted::new()), span)
    }

    /// How many workers reach L3 at the moment, as far as they told.
    pub(super) fn workers_without_redis(&self) -> usize {
        self.workers.iter().filter(|worker| worker.redis_is_out).count()
    }

    /// All phases from `first` on, as one.
    pub(super) fn sum_from(&self, first: usize) -> (Counted, Duration) {
        let mut sum = (Counted::new(), Duration::ZERO);
        for (counted, span) in &self.phases[first..] {
            sum.0.add(counted);
            sum.1 += *span;
        }
        sum
    }

    /// Errors and wrong values: as counted, and at least those that were told in words (a worker
    /// that was killed told them before it counted them).
    pub(super) fn is_clean(&self) -> bool {
        let tally = self.sum_from(0).0.tally;
        tally.errors == 0 && tally.wrong == 0 && self.troubles.is_empty()
    }

    /// How long after `since` the first and the last worker found that L3 answers, or not;
    /// only the first such finding of each worker counts.
    pub(super) fn redis_found(
        &self,
        answers: bool,
        since: Instant,
        until: Option<Instant>,
    ) -> Vec<Duration> {
        let mut first: Vec<Option<Duration>> = vec![None; self.workers.len()];
        let changes = self.redis_changes.iter().filter(|change| {
            change.answers == answers
                && change.at >= since
                && until.is_none_or(|until| change.at < until)
        });
        for change in changes {
            first[change.worker].get_or_insert(change.at - since);
        }
        let mut found: Vec<Duration> = first.into_iter().flatten().collect();
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::protocol::Part;

    fn interval(age_milliseconds: u64, out: bool, tally: Tally) -> What {
        What::Line(Line::Interval(Interval {
            age_milliseconds,
            redis_trouble: out.then(|| "broken".to_owned()),
            parts: vec![Part { phase: 1, tally, latencies: Vec::new() }],
        }))
    }

    #[test]
    fn figures_of_a_killed_worker_stay_and_its_successor_is_told_apart() {
        let mut book = Book::new(2, 2);
        let one = Tally { requests: 1, shared: 1, ..Tally::default() };
        book.write(Heard { worker: 1, life: 0, what: interval(5000, false, one) }).unwrap();
        book.replaced(1, 1, Instant::now());
        // What was in the pipe when the worker was killed is heard after it.
        book.write(Heard { worker: 1, life: 0, what: interval(5100, false, one) }).unwrap();
        book.write(Heard { worker: 1, life: 0, what: What::Torn }).unwrap();
        book.write(Heard { worker: 1, life: 0, what: What::Gone }).unwrap();
        book.write(Heard { worker: 1, life: 1, what: interval(100, false, one) }).unwrap();
        book.write(Heard { worker: 1, life: 1, what: interval(1100, false, one) }).unwrap();
        assert_eq!(book.played(1), 4);
        assert_eq!(book.successors[0].youth.shared, 1);
        assert_eq!(book.sum_from(1).0.tally.shared, 4);
        assert!(book.write(Heard { worker: 1, life: 1, what: What::Gone }).is_err());
    }

    #[test]
    fn one_wrong_value_or_error_or_word_of_one_spoils_the_run() {
        for (errors, wrong, words) in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            let mut book = Book::new(1, 2);
            let tally = Tally { errors, wrong, ..Tally::default() };
            book.write(Heard { worker: 0, life: 0, what: interval(1, false, tally) }).unwrap();
            if words > 0 {
                let what = What::Line(Line::Trouble("item 1 is wrong".into()));
                book.write(Heard { worker: 0, life: 0, what }).unwrap();
            }
            assert_eq!(book.is_clean(), errors + wrong + words == 0);
        }
    }

    #[test]
    fn an_outage_is_found_once_by_each_worker() {
        let mut book = Book::new(2, 2);
        let since = Instant::now();
        for (worker, out) in [(0, true), (1, true), (1, false), (1, true), (0, false)] {
            let what = interval(1, out, Tally::default());
            book.write(Heard { worker, life: 0, what }).unwrap();
        }
        assert_eq!(book.redis_found(false, since, None).len(), 2);
        assert_eq!(book.redis_found(true, since, None).len(), 2);
        assert_eq!(book.redis_found(true, since, Some(since)).len(), 0);
        assert_eq!(book.workers_without_redis(), 1);
    }
}
