//! What threads count by themselves, `crates/tierce/src/sync/tally.rs` itself on the records of
//! `domain.rs`, and how reads are counted for the policy, in every interleaving of a few threads,
//! by loom. Each defence is also taken out, and the model must then fail.
//!
//! There are no fences here: nothing that counts leans on one.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{cell::Cell, mem::ManuallyDrop, sync::Arc};

use loom::{sync::atomic::Ordering, thread};

use crate::{
    domain::Record,
    model_run::in_every_interleaving,
    tally::{Own, Seat},
    threads::DOMAIN,
};

// Not all of either is in a model.
#[allow(dead_code)]
#[path = "../../crates/tierce/src/sync/domain.rs"]
mod domain;
mod model_run;
#[allow(dead_code)]
#[path = "../../crates/tierce/src/sync/tally.rs"]
mod tally;

/// The defence that a model goes without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Who has a record is not asked and told in one step.
    Owner,
    /// A record passes on without its owner's stores.
    PassingOn,
    /// A seat passes on without what was counted there.
    Seats,
    /// A read looks at the cap apart from the step that counts it.
    Cap,
}

thread_local! {
    /// The threads of a model share the one it was begun on.
    static WITHOUT: Cell<Without> = const { Cell::new(Without::Nothing) };
}

/// What `domain.rs` and `tally.rs` take from the checker here.
mod shim {
    pub(super) use loom::{
        cell::Cell,
        sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
        thread::yield_now,
    };

    use super::{WITHOUT, Without};

    /// Whether a record is taken, among others.
    pub(super) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(super) fn new(value: bool) -> Self {
            Self(loom::sync::atomic::AtomicBool::new(value))
        }

        pub(super) fn load(&self, order: Ordering) -> bool {
            self.0.load(order)
        }

        pub(super) fn store(&self, value: bool, order: Ordering) {
            self.0.store(value, weakened(order, Without::PassingOn));
        }

        pub(super) fn swap(&self, value: bool, order: Ordering) -> bool {
            if WITHOUT.get() == Without::Owner {
                let before = self.0.load(order);
                self.0.store(value, Ordering::Release);
                return before;
            }
            self.0.swap(value, weakened(order, Without::PassingOn))
        }
    }

    /// Which seats are taken.
    pub(super) struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(super) fn new(value: u32) -> Self {
            Self(loom::sync::atomic::AtomicU32::new(value))
        }

        pub(super) fn load(&self, order: Ordering) -> u32 {
            self.0.load(order)
        }

        pub(super) fn compare_exchange(
            &self,
            old: u32,
            new: u32,
            order: Ordering,
            failed: Ordering,
        ) -> Result<u32, u32> {
            self.0.compare_exchange(old, new, weakened(order, Without::Seats), failed)
        }

        pub(super) fn fetch_and(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_and(value, weakened(order, Without::Seats))
        }
    }

    fn weakened(order: Ordering, without: Without) -> Ordering {
        if WITHOUT.get() == without { Ordering::Relaxed } else { order }
    }
}

mod barrier {
    pub(super) fn light_where_lent() {}

    pub(super) fn light() {}

    pub(super) fn heavy() -> bool {
        true
    }

    pub(super) fn own() {}

    pub(super) fn is_lent() -> bool {
        true
    }

    pub(super) fn heavy_in_any_case() {}
}

/// The short way of reading is no part of the model.
mod epoch {
    use super::domain::Record;

    pub(super) fn lengthen() {}

    pub(super) fn shorten(_: &Record) {}
}

/// Records are taken and given back by the model itself.
mod threads {
    use std::ptr;

    use crossbeam_utils::CachePadded;

    use super::{
        domain::{Domain, FIRST, Record},
        shim::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize},
    };

    // Those of loom cannot be let go of where a model has failed.
    loom::lazy_static! {
        pub(super) static ref DOMAIN: &'static Domain = Box::leak(Box::new(Domain {
            epoch: CachePadded::new(AtomicU64::new(FIRST)),
            advancing: CachePadded::new(AtomicBool::new(false)),
            records: AtomicPtr::new(ptr::null_mut()),
            live: AtomicUsize::new(0),
            owners: AtomicUsize::new(0),
        }));
        pub(super) static ref TAKEN_SEATS: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
    }

    pub(super) fn record_if_any() -> Option<&'static Record> {
        None
    }

    pub(super) fn record() -> &'static Record {
        DOMAIN.take()
    }
}

/// Runs `body` in every interleaving with at most so many preemptions.
fn model(without: Without, preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    WITHOUT.set(without);
    in_every_interleaving(preemptions, body);
}

/// A seat that is not given back: not where a model has failed.
fn take_seat() -> ManuallyDrop<Seat> {
    ManuallyDrop::new(Seat::take().unwrap())
}

/// A thread comes, counts so often, and is gone.
fn count(seat: u32, times: u32) {
    let record: &'static Record = threads::record();
    for _ in 0..times {
        assert!(Own::new(record).count(seat));
    }
    DOMAIN.give_back(record);
}

/// Threads that come, count and go, each with the record of the one before or another, while this
/// one adds up.
fn come_and_go(without: Without) {
    model(without, 2, || {
        let seat = take_seat();
        let number = seat.number();
        let others = [(); 2].map(|()| thread::spawn(move || count(number, 1)));
        let (first, second) = (seat.sum(), seat.sum());
        assert!(first <= second && second <= 2, "{first}, then {second}");
        count(number, 1);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(seat.sum(), 3, "counts were lost");
        assert!(DOMAIN.records().count() <= 3);
    });
}

#[test]
fn no_count_is_lost_and_no_sum_falls_while_threads_come_and_go() {
    come_and_go(Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn they_are_where_two_threads_have_one_record() {
    come_and_go(Without::Owner);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn they_are_where_a_record_passes_on_without_its_stores() {
    come_and_go(Without::PassingOn);
}

/// A counter that is given up by another thread, which counted, and one that may have its seat.
fn sit_down_after(without: Without) {
    model(without, 3, || {
        let before = Seat::take().unwrap();
        let other = thread::spawn(move || {
            count(before.number(), 2);
            drop(before);
        });
        let seat = take_seat();
        count(seat.number(), 1);
        other.join().unwrap();
        assert_eq!(seat.sum(), 1, "what another had counted is in the sum");
    });
}

#[test]
fn who_sits_where_another_sat_has_none_of_its_counts() {
    sit_down_after(Without::Nothing);
}

#[test]
#[should_panic(expected = "what another had counted is in the sum")]
fn it_has_where_a_seat_passes_on_without_its_counts() {
    sit_down_after(Without::Seats);
}

/// Reads that a place counts at most.
const MOST_READS: u8 = 3;

/// The reads of a place, counted as `memory/read.rs` does, while the policy, under its lock, takes
/// one off as its clock passes: two bits are what there is for them.
fn reads(without: Without) {
    model(without, 3, move || {
        let reads = Arc::new(loom::sync::atomic::AtomicU8::new(MOST_READS - 1));
        let readers = [(); 2].map(|()| {
            let reads = Arc::clone(&reads);
            thread::spawn(move || {
                let counted = reads.load(Ordering::Relaxed);
                if counted < MOST_READS {
                    match without {
                        Without::Cap => _ = reads.fetch_add(1, Ordering::Relaxed),
                        _ => reads.store(counted + 1, Ordering::Relaxed),
                    }
                }
            })
        });
        let counted = reads.load(Ordering::Relaxed);
        assert!(counted <= MOST_READS, "{counted} reads, above the cap");
        reads.store(counted.saturating_sub(1), Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let counted = reads.load(Ordering::Relaxed);
        assert!((1..=MOST_READS).contains(&counted), "{counted} reads, above the cap or none");
    });
}

#[test]
fn reads_of_several_threads_stay_below_their_cap_and_some_are_counted() {
    reads(Without::Nothing);
}

#[test]
#[should_panic(expected = "above the cap")]
fn they_do_not_where_each_is_counted_by_itself() {
    reads(Without::Cap);
}
