use std::{collections::HashMap, thread};

use super::*;
use crate::{clock::ManualClock, group_word::GroupWord};

const BEGAN: Filed = Filed::Private { era: 0, word: GroupWord::NONE };
const SEED: u64 = 7;

fn failures(max_entries: usize, max_bytes: usize) -> (Failures, ManualClock) {
    let (clock, time) = Clock::manual();
    (Failures::bounded(&clock, SEED, max_entries, max_bytes), time)
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(30)).unwrap()
}

fn down() -> Error {
    Error::new(ErrorKind::Loader, "the loader failed").caused_by(std::io::Error::other("down"))
}

fn is_recalled(failures: &Failures, key: &[u8]) -> bool {
    failures.recall(key, |_| true).is_some()
}

fn validate(failures: &Failures) {
    let mut len = 0;
    for group in &failures.groups {
        let group = group.lock();
        group.validate();
        assert!(group.failures.len() <= failures.max_entries);
        assert!(group.bytes <= failures.max_bytes);
        len += group.failures.len();
    }
    assert_eq!(failures.len(), len);
}

#[test]
fn the_wait_doubles_to_its_bound_and_its_jitter_is_a_tenth() {
    let (failures, time) = failures(100, 1 << 20);
    for (failure, seconds) in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0].iter().enumerate() {
        let wait = failures.remember(b"a", BEGAN, &down(), backoff());
        let share = wait.as_secs_f64() / seconds;
        assert!((0.9..=1.1).contains(&share), "failure {failure}: {wait:?}, seed {SEED}");
        // To the millisecond: no sooner and no later.
        let millis = wait.as_nanos().div_ceil(1_000_000) as u64;
        time.advance(Duration::from_millis(millis - 1));
        assert!(is_recalled(&failures, b"a"), "{failure}");
        time.advance(Duration::from_millis(1));
        assert!(!is_recalled(&failures, b"a"), "{failure}");
    }
    validate(&failures);
}

#[test]
fn the_jitter_spreads_over_its_range() {
    let (failures, _time) = failures(GROUPS * 1000, 1 << 20);
    let one = Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).unwrap();
    let mut buckets = [0_u32; 10];
    for key in 0_u32..2_000 {
        let wait = failures.remember(&key.to_le_bytes(), BEGAN, &down(), one).as_secs_f64();
        buckets[((wait - 0.9) / 0.02).clamp(0.0, 9.0) as usize] += 1;
    }
    assert!(buckets.iter().all(|&count| (120..=280).contains(&count)), "{buckets:?}, seed {SEED}");
}

#[test]
fn the_error_keeps_its_kind_and_cause_and_says_that_it_is_remembered() {
    let (failures, _time) = failures(100, 1 << 20);
    failures.remember(b"a", BEGAN, &down(), backoff());
    let remembered = failures.recall(b"a", |_| true).unwrap();
    assert_eq!(remembered.error.kind(), ErrorKind::Loader);
    assert_eq!(remembered.error.cause::<std::io::Error>().unwrap().to_string(), "down");
    assert!(remembered.error.to_string().contains("not called again for"), "{}", remembered.error);
    assert!(remembered.wait <= Duration::from_millis(1100));
}

#[test]
fn a_success_or_a_change_forgets_and_the_next_failure_is_the_first_again() {
    let (failures, time) = failures(100, 1 << 20);
    for _ in 0..4 {
        failures.remember(b"a", BEGAN, &down(), backoff());
    }
    failures.remember(b"b", BEGAN, &down(), backoff());
    failures.forget(b"a");
    assert!(!is_recalled(&failures, b"a") && is_recalled(&failures, b"b"));
    assert!(failures.remember(b"a", BEGAN, &down(), backoff()) < Duration::from_secs(2));
    failures.forget_all();
    assert!(!is_recalled(&failures, b"a") && !is_recalled(&failures, b"b"));
    assert_eq!(failures.len(), 0);
    validate(&failures);
    // By another process: the mark of the load says so.
    failures.remember(b"a", BEGAN, &down(), backoff());
    assert!(failures.recall(b"a", |_| false).is_none());
    time.advance(Duration::from_secs(1));
}

#[test]
fn a_key_that_was_quiet_for_long_begins_anew() {
    let (failures, time) = failures(100, 1 << 20);
    let fail = || failures.remember(b"a", BEGAN, &down(), backoff());
    (0..3).for_each(|_| _ = fail());
    let fourth = fail();
    time.advance(fourth + Duration::from_secs(29));
    let fifth = fail();
    assert!(fifth > Duration::from_secs(14), "{fifth:?}");
    time.advance(fifth + Duration::from_millis(30_001));
    let first = fail();
    assert!(first < Duration::from_secs(2), "{first:?}");
    validate(&failures);
}

#[test]
fn the_memory_is_bounded_in_entries_and_the_oldest_leave() {
    let (failures, _time) = failures(GROUPS * 4, 1 << 20);
    for key in 0_u32..10_000 {
        failures.remember(&key.to_le_bytes(), BEGAN, &down(), backoff());
        validate_some(&failures, key);
    }
    validate(&failures);
    assert_eq!(failures.len(), GROUPS * 4);
    assert!(is_recalled(&failures, &9_999_u32.to_le_bytes()));
    assert!((0_u32..5_000).all(|key| !is_recalled(&failures, &key.to_le_bytes())));
}

fn validate_some(failures: &Failures, key: u32) {
    if key.is_multiple_of(500) {
        validate(failures);
    }
}

#[test]
fn the_memory_is_bounded_in_bytes_also_for_one_key() {
    let (failures, _time) = failures(GROUPS * 1000, GROUPS * 4096);
    for key in 0_u8..255 {
        failures.remember(&[key; 1000], BEGAN, &down(), backoff());
    }
    validate(&failures);
    assert!(failures.len() > GROUPS);
    let before = failures.len();
    failures.remember(&[7; 5000], BEGAN, &down(), backoff());
    validate(&failures);
    assert_eq!(failures.len(), before, "one that has no room drives no others out");
    assert!(!is_recalled(&failures, &[7; 5000]));
}

#[test]
fn a_key_that_fails_for_ever_takes_no_more_room() {
    let (failures, time) = failures(100, 1 << 20);
    for _ in 0..1_000 {
        failures.remember(b"a", BEGAN, &down(), backoff());
        time.advance(Duration::from_secs(33));
    }
    validate(&failures);
    assert_eq!(failures.len(), 1);
}

#[test]
fn keys_that_fail_again_and_again_leave_no_row_of_void_places() {
    let (failures, _time) = failures(GROUPS * 1000, 1 << 20);
    // Some that stay, so that what is behind them is not at the front of its order.
    for key in 0_u8..200 {
        failures.remember(&[key], BEGAN, &down(), backoff());
    }
    for _ in 0..1_000 {
        failures.remember(b"again", BEGAN, &down(), backoff());
        failures.remember(b"and again", BEGAN, &down(), backoff());
    }
    validate(&failures);
    assert_eq!(failures.len(), 202);
}

#[test]
fn random_calls_agree_with_a_plain_model() {
    let (failures, time) = failures(GROUPS * 1000, 1 << 20);
    let mut random = fastrand::Rng::with_seed(SEED);
    let backoff = backoff();
    // Key to count, until, forgotten at; in milliseconds.
    let mut model = HashMap::<u8, (u32, u64, u64)>::new();
    let mut now = 0_u64;
    for step in 0..20_000 {
        let key = random.u8(0..20);
        match random.u8(0..10) {
            0..5 => {
                let before = model.get(&key).filter(|(_, _, forgotten)| *forgotten > now);
                let count = before.map_or(1, |(count, _, _)| count + 1);
                let wait = failures.remember(&[key], BEGAN, &down(), backoff);
                let share = wait.as_secs_f64() / backoff.after(count).as_secs_f64();
                assert!((0.9..=1.1).contains(&share), "step {step}, seed {SEED}");
                let until = now + wait.as_nanos().div_ceil(1_000_000) as u64;
                model.insert(key, (count, until, until + 30_000));
            }
            5 => {
                failures.forget(&[key]);
                model.remove(&key);
            }
            _ => {
                let millis = random.u64(0..3_000);
                time.advance(Duration::from_millis(millis));
                now += millis;
            }
        }
        for key in 0..20 {
            let expected = model.get(&key).is_some_and(|(_, until, _)| *until > now);
            assert_eq!(is_recalled(&failures, &[key]), expected, "step {step}, seed {SEED}");
        }
        if step % 100 == 0 {
            validate(&failures);
        }
    }
}

#[test]
fn threads_may_do_all_of_it_at_once() {
    let (failures, _time) = failures(GROUPS * 8, 1 << 20);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let failures = &failures;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(SEED + thread);
                for _ in 0..5_000 {
                    let key = random.u16(0..400).to_le_bytes();
                    match random.u8(0..8) {
                        0..4 => _ = failures.remember(&key, BEGAN, &down(), backoff()),
                        4 => failures.forget(&key),
                        5 if random.u8(0..50) == 0 => failures.forget_all(),
                        _ => _ = is_recalled(failures, &key),
                    }
                }
            });
        }
    });
    validate(&failures);
}

#[test]
fn an_error_that_uses_the_memory_in_its_drop_finds_no_lock_held() {
    struct Nosy(Arc<Failures>);
    impl std::fmt::Debug for Nosy {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("nosy")
        }
    }
    impl std::fmt::Display for Nosy {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("nosy")
        }
    }
    impl std::error::Error for Nosy {}
    impl Drop for Nosy {
        fn drop(&mut self) {
            for group in &self.0.groups {
                assert!(group.try_lock().is_some(), "dropped under a lock");
            }
        }
    }
    let (failures, time) = failures(GROUPS, 1 << 20);
    let failures = Arc::new(failures);
    let nosy = || Error::new(ErrorKind::Loader, "failed").caused_by(Nosy(Arc::clone(&failures)));
    for key in 0_u8..100 {
        failures.remember(&[key], BEGAN, &nosy(), backoff());
        failures.remember(&[key], BEGAN, &nosy(), backoff());
    }
    time.advance(Duration::from_secs(100));
    failures.remember(b"a", BEGAN, &nosy(), backoff());
    failures.forget(b"a");
    failures.remember(b"a", BEGAN, &nosy(), backoff());
    failures.forget_all();
    assert_eq!(failures.len(), 0);
}

#[test]
fn a_backoff_that_makes_no_sense_is_refused() {
    let of = |first, most| Backoff::new(Duration::from_secs(first), Duration::from_secs(most));
    assert_eq!(of(0, 1).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(of(2, 1).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(of(1, u64::MAX).unwrap().after(u32::MAX), Duration::from_secs(1 << 31));
}

#[test]
fn waits_beyond_all_times_are_kept_as_they_can_be() {
    let (failures, time) = failures(100, 1 << 20);
    let endless = Backoff::new(Duration::MAX, Duration::MAX).unwrap();
    for number in 0..40 {
        let key = format!("key {number}");
        failures.remember(key.as_bytes(), BEGAN, &down(), endless);
        time.advance(Duration::from_secs(3600));
        assert!(is_recalled(&failures, key.as_bytes()), "{key}");
    }
    // A key that is too large to be kept.
    failures.remember(&vec![b'k'; 2 << 20], BEGAN, &down(), endless);
}
