//! The states and their changes, by a clock that the test moves.

use std::{
    sync::{Barrier, atomic::AtomicUsize},
    thread,
};

use super::*;
use crate::clock::ManualClock;

/// Longer than a breaker with default options stays open at most.
const PAST_OPEN: Duration = Duration::from_millis(5600);

fn breaker(options: BreakerOptions) -> (Breaker, ManualClock) {
    let (clock, hand) = Clock::manual();
    (Breaker::new(TierKind::Redis, options, clock).unwrap(), hand)
}

fn fault() -> Error {
    Error::new(ErrorKind::Timeout, "no answer within 50ms").in_tier(TierKind::Redis)
}

fn pass(breaker: &Breaker) {
    breaker.allow().expect("a call is allowed").success();
}

fn fail(breaker: &Breaker) {
    breaker.allow().expect("a call is allowed").failure(&fault());
}

fn open(breaker: &Breaker) {
    while breaker.state() == BreakerState::Closed {
        fail(breaker);
    }
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_does_not() {
    let (breaker, _) = breaker(BreakerOptions::new());
    for _ in 0..3 {
        for _ in 0..4 {
            fail(&breaker);
        }
        pass(&breaker);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..5 {
        fail(&breaker);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(breaker.allow().is_none());
    assert_eq!((breaker.rejected(), breaker.times_opened()), (1, 1));
}

#[test]
fn half_of_at_least_twenty_calls_open_it() {
    let (breaker, _) = breaker(BreakerOptions::new());
    for _ in 0..9 {
        fail(&breaker);
        pass(&breaker);
    }
    fail(&breaker);
    assert_eq!(breaker.state(), BreakerState::Closed, "19 calls are too few");
    pass(&breaker);
    assert_eq!(breaker.state(), BreakerState::Closed, "a success opens nothing");
    fail(&breaker);
    assert_eq!(breaker.state(), BreakerState::Open, "11 of 21");
}

#[test]
fn less_than_half_does_not_open_it() {
    let (breaker, _) = breaker(BreakerOptions::new());
    for _ in 0..1000 {
        pass(&breaker);
        fail(&breaker);
        pass(&breaker);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn calls_leave_the_window_when_they_are_old() {
    let (breaker, clock) = breaker(BreakerOptions::new().consecutive_failures(1000));
    for _ in 0..100 {
        pass(&breaker);
    }
    clock.advance(Duration::from_secs(5));
    for _ in 0..30 {
        fail(&breaker);
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "30 of 130");
    // Now the successes are older than ten seconds, the failures are not.
    clock.advance(Duration::from_secs(6));
    fail(&breaker);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn old_failures_do_not_open_it() {
    let (breaker, clock) = breaker(BreakerOptions::new().consecutive_failures(1000));
    for _ in 0..19 {
        fail(&breaker);
    }
    clock.advance(Duration::from_secs(11));
    fail(&breaker);
    assert_eq!(breaker.state(), BreakerState::Closed, "1 call in the window");
}

#[test]
fn three_probes_one_at_a_time_close_it() {
    let (breaker, clock) = breaker(BreakerOptions::new());
    open(&breaker);
    clock.advance(Duration::from_millis(4400));
    assert!(breaker.allow().is_none(), "4.4 s are less than 5 s less a tenth");
    clock.advance(Duration::from_millis(1200));
    for _ in 0..3 {
        let probe = breaker.allow().expect("a probe is due");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.allow().is_none(), "one at a time");
        probe.success();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.trouble(), None);
    // What was before does not count any more.
    for _ in 0..4 {
        fail(&breaker);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn failed_probe_opens_it_again() {
    let (breaker, clock) = breaker(BreakerOptions::new());
    open(&breaker);
    clock.advance(PAST_OPEN);
    pass(&breaker);
    pass(&breaker);
    fail(&breaker);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(breaker.allow().is_none());
    clock.advance(PAST_OPEN);
    for _ in 0..3 {
        assert_eq!(breaker.times_opened(), 2);
        pass(&breaker);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn probe_that_teaches_nothing_gives_its_place_back() {
    let (breaker, clock) = breaker(BreakerOptions::new());
    open(&breaker);
    clock.advance(PAST_OPEN);
    drop(breaker.allow().expect("a probe is due"));
    for kind in [ErrorKind::TooLarge, ErrorKind::Codec] {
        let probe = breaker.allow().expect("the place is free again");
        probe.failure(&Error::new(kind, "not the tier's fault"));
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "{kind:?}");
    }
    assert!(breaker.allow().is_some());
}

#[test]
fn errors_of_the_caller_do_not_count() {
    let (breaker, _) = breaker(BreakerOptions::new());
    for _ in 0..100 {
        let permit = breaker.allow().expect("closed");
        permit.finish::<()>(&Err(Error::new(ErrorKind::TooLarge, "value of 9 bytes")));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn outcome_of_a_call_from_an_earlier_state_is_ignored() {
    let (breaker, clock) = breaker(BreakerOptions::new());
    let (slow_success, slow_failure) = (breaker.allow().unwrap(), breaker.allow().unwrap());
    open(&breaker);
    clock.advance(PAST_OPEN);
    let probe = breaker.allow().unwrap();
    slow_failure.failure(&fault());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    slow_success.success();
    assert!(breaker.trouble().unwrap().contains("0 of 3 probes"));
    probe.failure(&fault());
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn trouble_names_time_tier_and_reason() {
    let (breaker, clock) = breaker(BreakerOptions::new());
    assert_eq!(breaker.trouble(), None);
    open(&breaker);
    clock.advance(Duration::from_millis(3200));
    let text = breaker.trouble().unwrap();
    assert_eq!(text, "open for 3.2 s: L3-Redis: no answer within 50ms");
    clock.advance(PAST_OPEN);
    pass(&breaker);
    let text = breaker.trouble().unwrap();
    assert_eq!(
        text,
        "half-open after 8.8 s, 1 of 3 probes passed: L3-Redis: no answer within 50ms"
    );
}

#[test]
fn open_time_varies_by_a_tenth() {
    let (breaker, _) = breaker(BreakerOptions::new());
    let spans: Vec<_> = (0..200).map(|_| breaker.jittered_span().as_millis()).collect();
    assert!(spans.iter().all(|span| (4500..=5500).contains(span)));
    assert!(spans.iter().min() < spans.iter().max());
}

#[test]
fn each_wrong_option_is_named() {
    let new = BreakerOptions::new;
    for (options, name) in [
        (new().failure_share(0.0), "breaker.failure_share = 0"),
        (new().failure_share(f64::NAN), "breaker.failure_share = NaN"),
        (new().min_calls(0), "breaker.min_calls = 0"),
        (new().consecutive_failures(0), "breaker.consecutive_failures = 0"),
        (new().probes(0), "breaker.probes = 0"),
        (new().jitter(1.5), "breaker.jitter = 1.5"),
        (new().window(Duration::ZERO), "breaker.window = 0ns"),
        (new().open_for(Duration::MAX), "breaker.open_for"),
    ] {
        let error = Breaker::new(TierKind::Redis, options, Clock::system()).err().unwrap();
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn many_threads_open_it_once_and_probe_one_at_a_time() {
    let (breaker, clock) = breaker(BreakerOptions::new().probes(50));
    let (threads, out, most) = (8, AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        for number in 0..threads {
            let (breaker, clock, barrier, out, most) = (&breaker, &clock, &barrier, &out, &most);
            scope.spawn(move || {
                barrier.wait();
                while breaker.state() == BreakerState::Closed {
                    fail_if_allowed(breaker);
                }
                if barrier.wait().is_leader() {
                    assert_eq!(breaker.times_opened(), 1);
                    clock.advance(PAST_OPEN);
                }
                barrier.wait();
                while breaker.state() != BreakerState::Closed {
                    let Some(probe) = breaker.allow() else {
                        thread::yield_now();
                        continue;
                    };
                    if probe.phase.state() == BreakerState::Closed {
                        break;
                    }
                    most.fetch_max(out.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    thread::yield_now();
                    out.fetch_sub(1, Ordering::Relaxed);
                    // Some give the place back instead.
                    if number % 2 == 0 { probe.success() } else { drop(probe) }
                }
            });
        }
    });
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(most.load(Ordering::Relaxed), 1);
}

fn fail_if_allowed(breaker: &Breaker) {
    if let Some(permit) = breaker.allow() {
        permit.failure(&fault());
    }
}

#[test]
#[cfg(unix)]
fn a_forked_child_waits_for_no_probe_of_a_thread_it_does_not_have() {
    let (breaker, clock) = breaker(BreakerOptions::new());
    open(&breaker);
    clock.advance(PAST_OPEN);
    let probe = breaker.allow().unwrap();
    assert!(crate::sync::testing::fork(|| breaker.allow().is_some()));
    assert!(breaker.allow().is_none());
    drop(probe);
    assert!(breaker.allow().is_some());
}
