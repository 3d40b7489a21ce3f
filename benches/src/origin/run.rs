//! Who asks for what, and what is written down of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tierce_benches::load::{Lottery, Skew};

use super::rivals::Rival;

const KEYS: u64 = 1000;
const CALLERS: u64 = 4;
/// Calls in a row, between two pauses.
const ROW: usize = 10;
const PAUSE: Duration = Duration::from_millis(1);
/// Who asks for each key before anything is measured.
const WARMERS: usize = 64;

/// What the callers of one cache saw.
pub(super) struct Tale {
    /// How long each call took, shortest first.
    pub(super) nanos: Vec<u64>,
    pub(super) errors: u64,
    pub(super) oldest: Option<Duration>,
    /// What the origin was asked meanwhile.
    pub(super) loads: u64,
    pub(super) failed: u64,
}

impl Tale {
    /// The time that this part of the calls took at most.
    pub(super) fn percentile(&self, part: f64) -> u64 {
        let last = self.nanos.len().saturating_sub(1);
        self.nanos.get((last as f64 * part).ceil() as usize).copied().unwrap_or_default()
    }
}

/// Asks for every key until it is there, then for all at random for so long.
pub(super) fn run(cache: &dyn Rival, length: Duration) -> Tale {
    warm_up(cache);
    let (loads, failed) = cache.source().counts();
    let lottery = Lottery::new(Skew::Zipf, KEYS as usize);
    let end = Instant::now() + length;
    let tales: Vec<Tale> = thread::scope(|scope| {
        let lottery = &lottery;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| scope.spawn(move || ask(cache, lottery, caller, end)))
            .collect();
        callers.into_iter().map(joined).collect()
    });
    let mut whole = Tale { nanos: vec![], errors: 0, oldest: None, loads: 0, failed: 0 };
    for tale in tales {
        whole.nanos.extend(tale.nanos);
        whole.errors += tale.errors;
        whole.oldest = whole.oldest.max(tale.oldest);
    }
    whole.nanos.sort_unstable();
    let (loads_after, failed_after) = cache.source().counts();
    (whole.loads, whole.failed) = (loads_after - loads, failed_after - failed);
    whole
}

/// What a thread returned; its panic goes on here.
pub(super) fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn warm_up(cache: &dyn Rival) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..WARMERS {
            scope.spawn(|| {
                loop {
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    if key >= KEYS {
                        return;
                    }
                    while cache.get(key).is_none() {
                        thread::sleep(PAUSE);
                    }
                }
            });
        }
    });
}

fn ask(cache: &dyn Rival, lottery: &Lottery, caller: u64, end: Instant) -> Tale {
    let mut random = Rng::with_seed(caller);
    let mut tale = Tale { nanos: vec![], errors: 0, oldest: None, loads: 0, failed: 0 };
    while Instant::now() < end {
        for _ in 0..ROW {
            let key = u64::from(lottery.draw(&mut random));
            let begin = Instant::now();
            let answer = cache.get(key);
            tale.nanos.push(begin.elapsed().as_nanos() as u64);
            match answer {
                Some((value, age)) => {
                    assert_eq!(value[..8], key.to_le_bytes(), "a value of another key");
                    tale.oldest = tale.oldest.max(age);
                }
                None => tale.errors += 1,
            }
        }
        thread::sleep(PAUSE);
    }
    tale
}
