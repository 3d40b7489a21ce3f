//! Counts of threads that come and go. Each test runs in a process of its own: in one, the records and
//! seats of other tests would come between.

use std::{sync::Barrier, thread, time::Instant};

use super::{
    epoch,
    tally::{SEATS, Seat, count_down, counted, is_due, own},
    testing::{apart, fork, is_refused},
    threads::DOMAIN,
};

fn count(seat: &Seat, times: u64) {
    for _ in 0..times {
        // So that there is a tally.
        drop(epoch::pin());
        assert!(own().unwrap().count(seat.number()));
    }
}

fn records() -> usize {
    DOMAIN.records().count()
}

#[test]
fn no_count_goes_with_a_thread_and_who_takes_its_record_counts_on() {
    apart(module_path!(), "no_count_goes_with_a_thread_and_who_takes_its_record_counts_on", || {
        let seat = Seat::take().unwrap();
        for threads in 1..=20 {
            thread::scope(|scope| drop(scope.spawn(|| count(&seat, 1_000)).join()));
            assert_eq!(seat.sum(), threads * 1_000);
            assert_eq!(records(), 1, "the record passed on");
        }
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| count(&seat, 10_000));
            }
        });
        assert_eq!(seat.sum(), 100_000);
    });
}

#[test]
fn sums_never_fall_while_threads_count_and_come_and_go() {
    apart(module_path!(), "sums_never_fall_while_threads_count_and_come_and_go", || {
        let seat = Seat::take().unwrap();
        let (mut last, mut looks) = (0, 0);
        thread::scope(|scope| {
            let counting = scope.spawn(|| {
                for _ in 0..50 {
                    thread::scope(|scope| {
                        (0..3).for_each(|_| _ = scope.spawn(|| count(&seat, 2_000)));
                    });
                }
            });
            while !counting.is_finished() {
                let sum = seat.sum();
                assert!(sum >= last, "{sum} after {last}");
                (last, looks) = (sum, looks + 1);
            }
        });
        assert!(looks > 100, "{looks}");
        assert_eq!(seat.sum(), 300_000);
    });
}

#[test]
fn who_sits_where_another_sat_begins_at_nothing() {
    apart(module_path!(), "who_sits_where_another_sat_begins_at_nothing", || {
        let other = Seat::take().unwrap();
        for round in 1..=100 {
            let seat = Seat::take().unwrap();
            assert_eq!((seat.number(), seat.sum()), (1, 0), "{round}");
            thread::scope(|scope| _ = scope.spawn(|| count(&seat, 5)));
            count(&seat, round);
            assert_eq!(seat.sum(), 5 + round);
        }
        assert_eq!(other.sum(), 0);
    });
}

#[test]
fn there_are_as_many_seats_as_there_are_and_each_has_counts_of_its_own() {
    let name = "there_are_as_many_seats_as_there_are_and_each_has_counts_of_its_own";
    apart(module_path!(), name, || {
        let mut seats: Vec<Seat> = (0..SEATS).map(|_| Seat::take().unwrap()).collect();
        assert!(Seat::take().is_none());
        for (number, seat) in seats.iter().enumerate() {
            count(seat, number as u64 + 1);
        }
        assert!(!own().unwrap().count(SEATS as u32), "is none");
        let sums: Vec<u64> = seats.iter().map(Seat::sum).collect();
        assert!(sums.iter().copied().eq(1..=SEATS as u64), "{sums:?}");
        drop(seats.remove(7));
        assert_eq!(Seat::take().map(|seat| seat.number()), Some(7));
    });
}

#[test]
fn a_forked_child_counts_on_from_what_all_threads_had_counted() {
    apart(module_path!(), "a_forked_child_counts_on_from_what_all_threads_had_counted", || {
        let seat = Seat::take().unwrap();
        count(&seat, 10);
        let (counted, forking) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                count(&seat, 100);
                counted.wait();
                // Its record is taken at the fork.
                forking.wait();
            });
            counted.wait();
            count_down(1_000, Instant::now());
            let is_well = fork(|| {
                let inherited = seat.sum();
                let is_hurried = is_due();
                // The record of the thread that is not here.
                thread::scope(|scope| drop(scope.spawn(|| count(&seat, 1_000)).join()));
                count(&seat, 1);
                inherited == 110 && is_hurried && seat.sum() == 1_111
            });
            forking.wait();
            assert!(is_well, "the child failed");
            assert!(!is_due(), "the parent's goes on");
        });
        assert_eq!(seat.sum(), 110, "not the child's");
    });
}

#[test]
fn a_countdown_is_over_when_so_many_were_counted_and_the_short_way_leads_on_until_then() {
    let name =
        "a_countdown_is_over_when_so_many_were_counted_and_the_short_way_leads_on_until_then";
    apart(module_path!(), name, || {
        let seat = Seat::take().unwrap();
        assert!(is_due(), "none was begun");
        assert_eq!(counted(), (0, None));
        count(&seat, 1);
        assert_eq!(counted(), (1, None));
        for from in [0, 1, 2, 100] {
            let now = Instant::now();
            count_down(from, now);
            for hit in 0..from {
                assert_eq!((is_due(), counted()), (false, (hit.into(), Some(now))));
                let short = epoch::counted_brief();
                assert_eq!(short.is_none(), is_refused(), "{hit} of {from}");
                match short {
                    Some(pin) => assert!(pin.own().count(seat.number())),
                    None => count(&seat, 1),
                }
            }
            assert!(is_due() && epoch::counted_brief().is_none());
            count(&seat, 3);
            assert_eq!(counted(), (u64::from(from) + 3, Some(now)));
        }
        count_down(5, Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(is_due(), "every thread has its own");
                count(&seat, 1);
                assert!(is_due());
            });
        });
        assert!(!is_due());
    });
}
