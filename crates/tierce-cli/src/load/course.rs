//! Requests at a rate that does not wait for answers.
//!
//! The request of number `n` is to be made at the time `(n + jitter) / rate` after the start,
//! whatever became of those before it, by whichever thread is free. Its latency counts **from that
//! moment**, not from when a thread got to it. A loop that asks, waits and asks again would not
//! even ask while the cache stalls, and so leave out just what callers would have felt: Gil Tene
//! calls that *coordinated omission*. The latency from the real beginning is kept beside it, and the
//! difference is told.
//!
//! A thread that is too early sleeps, and goes on a little late: by what its timer is off. That is
//! measured too (`wakeup`), so that a machine that wakes slowly is not taken for a slow cache.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tierce::{Bytes, Cache, LoadOptions, Origin};

use super::keys::Keys;
use crate::{latency::Latencies, value};

/// A thread that has at least this long sleeps; else it lets others run until its time has come.
const LEAST_SLEEP: Duration = Duration::from_micros(150);
/// What a timer may be late by, as a rule: sleep is shorter by that.
const TIMER: Duration = Duration::from_micros(60);
/// A request that is begun so long after the end, or after this part of the duration, was still
/// made at its rate: its thread woke a little late.
const SLACK: Duration = Duration::from_millis(100);
const SLACK_PART: u32 = 20;
/// How long after its end a course may go on to catch up.
const GRACE: Duration = Duration::from_secs(2);

/// What is to be done.
pub(super) struct Course {
    pub(super) rate: f64,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) threads: usize,
    /// Share of requests that write.
    pub(super) writes: f64,
    pub(super) value_bytes: usize,
    /// How long the origin takes.
    pub(super) origin: Duration,
    pub(super) seed: u64,
}

/// What was done.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// Reads from their intended beginning, without the time of their own loader.
    pub(super) reads: Latencies,
    /// The same from their real beginning.
    pub(super) reads_served: Latencies,
    pub(super) writes: Latencies,
    /// How late threads came that had slept.
    pub(super) wakeup: Latencies,
    pub(super) read_count: u64,
    pub(super) write_count: u64,
    pub(super) hits: u64,
    pub(super) loads: u64,
    pub(super) errors: u64,
    pub(super) wrong: u64,
    /// Requests whose time had come and that nobody got to.
    pub(super) unsent: u64,
    /// Requests that were begun before the end, or hardly after it.
    pub(super) in_time: u64,
    /// From the start of what is measured to its last answer.
    pub(super) elapsed: Duration,
    /// How long threads were in calls, all together.
    pub(super) busy: Duration,
    pub(super) threads: u64,
    /// Reads that a tier kept waiting for its whole deadline.
    pub(super) late: u64,
    pub(super) bytes: u64,
    pub(super) bytes_limit: u64,
    pub(super) resident_bytes: u64,
    pub(super) processor: Duration,
    pub(super) available: bool,
    pub(super) first_error: Option<String>,
}

impl Done {
    pub(super) fn new() -> Self {
        Self {
            reads: Latencies::new(),
            reads_served: Latencies::new(),
            writes: Latencies::new(),
            wakeup: Latencies::new(),
            read_count: 0,
            write_count: 0,
            hits: 0,
            loads: 0,
            errors: 0,
            wrong: 0,
            unsent: 0,
            in_time: 0,
            elapsed: Duration::ZERO,
            busy: Duration::ZERO,
            threads: 0,
            late: 0,
            bytes: 0,
            bytes_limit: 0,
            resident_bytes: 0,
            processor: Duration::ZERO,
            available: true,
            first_error: None,
        }
    }

    fn histograms(&mut self) -> [(&'static str, &mut Latencies); 4] {
        [
            ("reads", &mut self.reads),
            ("reads_served", &mut self.reads_served),
            ("writes", &mut self.writes),
            ("wakeup", &mut self.wakeup),
        ]
    }

    fn counts(&mut self) -> [(&'static str, &mut u64); 13] {
        [
            ("read_count", &mut self.read_count),
            ("write_count", &mut self.write_count),
            ("hits", &mut self.hits),
            ("loads", &mut self.loads),
            ("errors", &mut self.errors),
            ("wrong", &mut self.wrong),
            ("unsent", &mut self.unsent),
            ("in_time", &mut self.in_time),
            ("threads", &mut self.threads),
            ("late", &mut self.late),
            ("bytes", &mut self.bytes),
            ("bytes_limit", &mut self.bytes_limit),
            ("resident_bytes", &mut self.resident_bytes),
        ]
    }

    pub(super) fn merge(&mut self, mut other: Self) {
        for ((_, mine), (_, theirs)) in self.histograms().into_iter().zip(other.histograms()) {
            mine.merge(theirs);
        }
        for ((_, mine), (_, theirs)) in self.counts().into_iter().zip(other.counts()) {
            *mine += *theirs;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.busy += other.busy;
        self.processor += other.processor;
        self.available &= other.available;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// As one process tells another.
    pub(super) fn written(&mut self) -> String {
        let mut line = serde_json::Map::new();
        for (name, latencies) in self.histograms() {
            let used: Vec<_> =
                latencies.used_buckets().map(|(at, count)| json!([at, count])).collect();
            line.insert(name.to_owned(), used.into());
        }
        for (name, count) in self.counts() {
            line.insert(name.to_owned(), json!(*count));
        }
        for (name, span) in
            [("elapsed", self.elapsed), ("busy", self.busy), ("processor", self.processor)]
        {
            line.insert(name.to_owned(), json!(span.as_nanos() as u64));
        }
        line.insert("available".into(), json!(self.available));
        line.insert("first_error".into(), json!(self.first_error));
        Value::Object(line).to_string()
    }

    /// Reads what [`written`](Self::written) wrote; what is missing is nothing.
    pub(super) fn of_line(line: &Value) -> Self {
        let mut done = Self::new();
        for (name, latencies) in done.histograms() {
            for bucket in line[name].as_array().into_iter().flatten() {
                let number = |at: usize| bucket[at].as_u64().unwrap_or(0);
                latencies.add_to_bucket(number(0) as usize, number(1));
            }
        }
        for (name, count) in done.counts() {
            *count = line[name].as_u64().unwrap_or(0);
        }
        let span = |name: &str| Duration::from_nanos(line[name].as_u64().unwrap_or(0));
        (done.elapsed, done.busy, done.processor) =
            (span("elapsed"), span("busy"), span("processor"));
        done.available = line["available"] == true;
        done.first_error = line["first_error"].as_str().map(str::to_owned);
        done
    }
}

/// Makes the requests, and waits for the last answer.
pub(super) fn run(cache: &Cache, keys: &Keys, course: &Course) -> Done {
    let cursor = AtomicU64::new(0);
    let begin = Instant::now();
    let mut done = Done::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..course.threads)
            .map(|number| {
                let cursor = &cursor;
                scope.spawn(move || worker(cache, keys, course, cursor, begin, number as u64))
            })
            .collect();
        // What came before the warm-up's end is not looked at.
        thread::sleep(course.warmup.saturating_sub(begin.elapsed()));
        drop(cache.window(Duration::from_secs(1)));
        for thread in threads {
            done.merge(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let all = ((course.warmup + course.duration).as_secs_f64() * course.rate) as u64;
    done.unsent = all.saturating_sub(cursor.load(Ordering::Relaxed));
    let window = cache.window(done.elapsed.max(Duration::from_secs(1)));
    done.late = window.late;
    done.bytes = window.bytes;
    done.bytes_limit = window.bytes_limit.unwrap_or(0);
    done.resident_bytes = window.resident_bytes;
    done.processor = window.processor;
    done.available = window.available;
    done
}

fn worker(
    cache: &Cache,
    keys: &Keys,
    course: &Course,
    cursor: &AtomicU64,
    begin: Instant,
    number: u64,
) -> Done {
    let mut random = fastrand::Rng::with_seed(course.seed.wrapping_add(number));
    let mut done = Done::new();
    done.threads = 1;
    let measured_from = begin + course.warmup;
    let end = measured_from + course.duration;
    let slack = SLACK.max(course.duration / SLACK_PART);
    loop {
        let number = cursor.fetch_add(1, Ordering::Relaxed);
        let offset = (number as f64 + random.f64()) / course.rate;
        let intended = begin + Duration::from_secs_f64(offset);
        if intended >= end || Instant::now() > end + GRACE {
            // Not made: given back, so that it counts as one that nobody got to.
            cursor.fetch_sub(1, Ordering::Relaxed);
            break;
        }
        let slept = wait_until(intended);
        let began = Instant::now();
        let is_measured = intended >= measured_from;
        if is_measured && slept {
            done.wakeup.add(nanos(began - intended));
        }
        let key = keys.key(number, &mut random);
        if random.f64() < course.writes {
            let outcome = cache.set(key.to_le_bytes(), value::make(key, course.value_bytes));
            if is_measured {
                done.write_count += 1;
                done.writes.add(nanos(intended.elapsed()));
                done.count_error(outcome.err());
            }
        } else {
            done.read(cache, course, key, (intended, began), is_measured);
        }
        if is_measured {
            done.in_time += u64::from(began <= end + slack);
        }
        // Also what is left over from before: it is why others wait.
        done.busy += Instant::now().saturating_duration_since(began.max(measured_from));
    }
    done.elapsed = measured_from.elapsed();
    done
}

impl Done {
    fn count_error(&mut self, error: Option<tierce::Error>) {
        if let Some(error) = error {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| error.to_string());
        }
    }

    fn read(
        &mut self,
        cache: &Cache,
        course: &Course,
        key: u64,
        (intended, began): (Instant, Instant),
        is_measured: bool,
    ) {
        let mut loading = Duration::ZERO;
        let mut loads = 0;
        let load = |_: &[u8]| {
            let begin = Instant::now();
            loads += 1;
            if !course.origin.is_zero() {
                thread::sleep(course.origin);
            }
            let made: Bytes = value::make(key, course.value_bytes);
            loading = begin.elapsed();
            Ok::<_, std::convert::Infallible>(made)
        };
        let answer = cache.get_or_load_with(key.to_le_bytes(), &LoadOptions::default(), load);
        let now = Instant::now();
        if !is_measured {
            return;
        }
        self.read_count += 1;
        self.loads += loads;
        self.reads.add(nanos((now - intended).saturating_sub(loading)));
        self.reads_served.add(nanos((now - began).saturating_sub(loading)));
        match answer {
            Ok(answer) => {
                self.hits += u64::from(matches!(answer.origin, Origin::Tier(_)));
                self.wrong += u64::from(!value::verify(key, &answer.value));
            }
            Err(error) => self.count_error(Some(error)),
        }
    }
}

/// Waits for the moment; true if there was time to sleep.
fn wait_until(moment: Instant) -> bool {
    let left = moment.saturating_duration_since(Instant::now());
    let sleeps = left >= LEAST_SLEEP;
    if sleeps {
        thread::sleep(left - TIMER);
    }
    while Instant::now() < moment {
        thread::yield_now();
    }
    sleeps
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_tells_another_is_the_same() {
        let mut done = Done::new();
        done.reads.add(1500);
        done.reads.add(9_000_000);
        (done.read_count, done.hits, done.available) = (2, 1, false);
        done.elapsed = Duration::from_millis(1234);
        done.first_error = Some("no".into());
        let mut again = Done::of_line(&serde_json::from_str(&done.written()).unwrap());
        assert_eq!(again.written(), done.written());
        again.merge(done);
        assert_eq!((again.read_count, again.elapsed), (4, Duration::from_millis(1234)));
    }

    #[test]
    fn a_stall_counts_for_all_requests_whose_time_came_meanwhile() {
        // One thread, and one loader of 200 ms for each of few keys: a closed loop would see as
        // many slow requests as there are loads.
        let cache = Cache::builder().build().unwrap();
        let course = Course {
            rate: 200.0,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            threads: 1,
            writes: 0.0,
            value_bytes: 64,
            origin: Duration::from_millis(200),
            seed: 1,
        };
        let done = run(&cache, &Keys::zipf(2, 0.0), &course);
        assert_eq!((done.loads, done.wrong, done.errors), (2, 0, 0));
        assert_eq!(done.read_count + done.unsent, 200, "none is left out");
        let slow = |latencies: &Latencies| latencies.quantile(0.75).unwrap();
        assert!(slow(&done.reads_served) < 20_000_000, "served at once, most of them");
        assert!(slow(&done.reads) > 50_000_000, "late by the stall, many of them");
    }
}
