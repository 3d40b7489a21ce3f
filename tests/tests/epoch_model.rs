//! The protocol of epochs, `crates/tierce/src/sync/domain.rs` itself, in every interleaving of a
//! few threads, by loom. Each defence is also taken out, and the model must then fail.
//!
//! `membarrier(2)` cannot be modelled, so both halves of the fence are sequentially consistent
//! fences here, as where the kernel refuses it.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::ptr;

use crossbeam_utils::CachePadded;
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    domain::{Domain, Epoch, FIRST, Record, STEP},
    model_run::in_every_interleaving,
};

// Not all of it is in a model.
#[allow(dead_code)]
#[path = "../../crates/tierce/src/sync/domain.rs"]
mod domain;
mod model_run;

/// What `domain.rs` takes from the checker here.
mod shim {
    pub(super) use loom::{
        cell::Cell,
        sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
        thread::yield_now,
    };
}

/// What threads count is no part of the protocol.
#[allow(dead_code)]
mod tally {
    pub(super) struct Tally;

    impl Tally {
        pub(super) const fn new() -> Self {
            Self
        }

        pub(super) fn hurry(&self) {}
    }
}

/// The fences, which a model may go without.
mod barrier {
    use std::cell::Cell;

    use loom::sync::atomic::{Ordering, fence};

    use super::Without;

    thread_local! {
        /// The threads of a model share the one it was begun on.
        pub(super) static WITHOUT: Cell<Without> = const { Cell::new(Without::Nothing) };
    }

    pub(super) fn light_where_lent() {
        light();
    }

    pub(super) fn light() {
        if !matches!(WITHOUT.get(), Without::LightFence | Without::Interrupts | Without::Word) {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) fn heavy() -> bool {
        match WITHOUT.get() {
            Without::Interrupts | Without::Word => return false,
            Without::HeavyFence => {}
            _ => fence(Ordering::SeqCst),
        }
        true
    }

    pub(super) fn own() {
        heavy_in_any_case();
    }

    /// The model is of a kernel that lends the fence.
    pub(super) fn is_lent() -> bool {
        true
    }

    pub(super) fn heavy_in_any_case() {
        if WITHOUT.get() != Without::HeavyFence {
            fence(Ordering::SeqCst);
        }
    }
}

/// The defence that a model goes without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    LightFence,
    HeavyFence,
    /// Steps go by the word of all threads alone; both halves of the fence are nothing.
    Interrupts,
    /// The same, and who unlinks has no record to say anything in.
    Word,
    /// Steps are taken whoever is pinned.
    Look,
    /// What is unlinked is freed as soon as the epoch is past its stamp.
    Grace,
    /// Who is sole does not say so, so that nobody waits for it.
    Saying,
    /// Who forks does not say so to one who is sole.
    Disturbing,
    /// Who lets go of a lock solely does not look whether somebody came.
    SecondLook,
}

/// Runs `body` in every interleaving with at most so many preemptions: all that are known to
/// matter, as the planted faults show, in some seconds.
fn model(without: Without, preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    barrier::WITHOUT.set(without);
    in_every_interleaving(preemptions, body);
}

const WHOLE: u32 = 7;
const SPOILT: u32 = 0;

/// Two places, of which one is reachable, and who looks.
struct World {
    domain: Domain,
    reachable: AtomicUsize,
    places: [UnsafeCell<u32>; 2],
}

// SAFETY: the checker fails where two threads are at a place at once.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            domain: Domain {
                epoch: CachePadded::new(AtomicU64::new(FIRST)),
                advancing: CachePadded::new(AtomicBool::new(false)),
                records: AtomicPtr::new(ptr::null_mut()),
                live: AtomicUsize::new(0),
                owners: AtomicUsize::new(0),
            },
            reachable: AtomicUsize::new(0),
            places: [UnsafeCell::new(WHOLE), UnsafeCell::new(WHOLE)],
        })
    }

    /// A record for a thread that pins.
    fn record(&self) -> &Record {
        let record = self.domain.take();
        self.domain.enlist(record);
        record
    }

    fn read(&self, record: &Record) {
        self.domain.pin(record);
        let place = self.reachable.load(Ordering::Acquire);
        self.places[place].with(|word| {
            // SAFETY: the checker fails if another thread writes meanwhile.
            assert_eq!(unsafe { *word }, WHOLE, "freed under a reader");
        });
        assert!(!record.unpin());
    }

    /// Makes the second place reachable in place of the first.
    fn unlink(&self) {
        self.reachable.store(1, Ordering::Release);
    }

    fn free(&self) {
        // SAFETY: the checker fails if another thread reads meanwhile.
        self.places[0].with_mut(|word| unsafe { *word = SPOILT });
    }

    fn steps(&self, without: Without) {
        for _ in 0..3 {
            match without {
                Without::Look => {
                    let epoch = self.domain.epoch.load(Ordering::Relaxed);
                    self.domain.epoch.store(epoch + STEP, Ordering::Release);
                }
                _ => _ = self.domain.try_advance(),
            }
        }
    }

    fn free_if_over(&self, stamp: Epoch, without: Without) {
        if without == Without::Grace || self.domain.is_over(stamp) {
            self.free();
        }
    }
}

/// Threads that read while this one unlinks, steps and frees.
fn readers(without: Without, readers: usize, preemptions: usize) {
    model(without, preemptions, move || {
        let world = World::new();
        let read = |_| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(world.record()))
        };
        let threads: Vec<_> = (0..readers).map(read).collect();
        world.unlink();
        let stamp = world.domain.current();
        world.steps(without);
        world.free_if_over(stamp, without);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A thread that reads and one that steps, while this one unlinks and frees.
fn reader_and_stepper(without: Without) {
    model(without, 3, move || {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.read(world.record()))
        };
        let stepper = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.steps(without))
        };
        world.unlink();
        let stamp = world.domain.current();
        world.free_if_over(stamp, without);
        stepper.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn nothing_is_freed_under_a_reader() {
    readers(Without::Nothing, 1, 4);
}

#[test]
fn nothing_is_freed_under_one_of_two_readers() {
    readers(Without::Nothing, 2, 2);
}

/// The steps see none of its records empty, only later pins: those must vouch for the first.
#[test]
fn nothing_is_freed_under_a_reader_who_pins_again_at_each_epoch() {
    model(Without::Nothing, 2, || {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let record = world.record();
                world.read(record);
                for steps in 1..3 {
                    while world.domain.epoch.load(Ordering::Relaxed) < FIRST + steps * STEP {
                        thread::yield_now();
                    }
                    world.domain.pin(record);
                    record.unpin();
                }
            })
        };
        world.unlink();
        let stamp = world.domain.current();
        for _ in 0..3 {
            while !world.domain.try_advance() {
                thread::yield_now();
            }
        }
        world.free_if_over(stamp, Without::Nothing);
        reader.join().unwrap();
    });
}

#[test]
fn nothing_is_freed_under_a_reader_where_another_thread_steps() {
    reader_and_stepper(Without::Nothing);
}

/// A thread that reads, steps when all say that they came so far, and reads again, while this one
/// unlinks, says so as well, and frees.
fn by_word(without: Without) {
    model(without, 3, move || {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let record = world.record();
                world.read(record);
                for _ in 0..3 {
                    world.domain.say(record);
                    world.domain.try_advance_by_word();
                }
                world.read(record);
            })
        };
        let record = (without != Without::Word).then(|| world.domain.take());
        world.unlink();
        let stamp = world.domain.current();
        for _ in 0..2 {
            record.inspect(|record| world.domain.say(record));
        }
        world.free_if_over(stamp, without);
        reader.join().unwrap();
    });
}

#[test]
fn nothing_is_freed_under_a_reader_where_threads_give_their_word() {
    by_word(Without::Interrupts);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_who_unlinks_has_no_record() {
    by_word(Without::Word);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_readers_pass_no_fence() {
    readers(Without::LightFence, 1, 4);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_a_step_passes_no_fence() {
    reader_and_stepper(Without::HeavyFence);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_a_step_does_not_look() {
    readers(Without::Look, 1, 4);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_it_is_freed_too_early() {
    readers(Without::Grace, 1, 4);
}

/// A thread that pins for the first time while another asks whether it is alone, before or after.
fn alone(without: Without) {
    model(without, 4, move || {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let record = world.record();
                world.read(record);
                world.domain.give_back(record);
            })
        };
        world.unlink();
        if world.domain.is_alone(0) {
            world.free();
        }
        reader.join().unwrap();
        assert!(world.domain.is_alone(0));
    });
}

#[test]
fn who_is_alone_frees_under_nobody() {
    alone(Without::Nothing);
    // Here a light fence is one, and the first pin of a thread passes it: that does as well.
    alone(Without::HeavyFence);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_does_where_the_one_who_asks_passes_no_fence() {
    alone(Without::LightFence);
}

impl World {
    /// Writes to a place where it is: spoils it for a moment.
    fn write(&self) {
        for word in [SPOILT, WHOLE] {
            // SAFETY: the checker fails if another thread is at it meanwhile.
            self.places[0].with_mut(|place| unsafe { *place = word });
        }
    }

    /// Writes to what readers see, if this thread is the only one; says whether.
    fn write_solely(&self, record: &Record, without: Without) -> bool {
        let is_sole = match without {
            Without::Saying => self.domain.is_sole(),
            _ => self.domain.begin_sole(record),
        };
        if is_sole {
            self.write();
            record.end_sole();
        }
        is_sole
    }
}

/// A thread that comes, reads and goes while this one writes to the very place, where it may.
fn solely(without: Without) {
    model(without, 4, move || {
        let world = World::new();
        let record = world.record();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let record = world.record();
                world.read(record);
                world.domain.give_back(record);
            })
        };
        world.write_solely(record, without);
        world.write_solely(record, without);
        reader.join().unwrap();
        assert!(world.write_solely(record, without), "the other is gone");
        world.read(record);
    });
}

#[test]
fn nothing_is_written_under_a_reader_who_comes() {
    solely(Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_who_is_sole_does_not_say_so() {
    solely(Without::Saying);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_who_is_sole_passes_no_fence() {
    solely(Without::LightFence);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_where_who_comes_passes_no_fence() {
    solely(Without::HeavyFence);
}

/// The word of `lock.rs`, and who sleeps at it until it is woken.
struct Lock {
    word: AtomicU32,
    woken: AtomicBool,
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const WANTED: u32 = 2;

impl Lock {
    fn take(&self, domain: &Domain, record: &Record, without: Without) {
        let is_sole = match without {
            Without::Saying => record.enter() && domain.is_sole(),
            _ => record.enter_sole(domain),
        };
        if is_sole {
            let is_free = self.word.load(Ordering::Acquire) == FREE;
            if is_free {
                self.word.store(HELD, Ordering::Relaxed);
            }
            record.end_sole();
            if is_free {
                return;
            }
        }
        if is_sole || without == Without::Saying {
            assert!(!record.leave());
        }
        assert!(record.enter());
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        if self.word.compare_exchange(FREE, HELD, acquire, relaxed).is_ok() {
            return;
        }
        while self.word.swap(WANTED, acquire) != FREE {
            // As a futex: looks once whether there is anything to wait for, then sleeps.
            if self.word.load(relaxed) == WANTED {
                while !self.woken.swap(false, acquire) {
                    thread::yield_now();
                }
            }
        }
    }

    fn let_go(&self, domain: &Domain, record: &Record, without: Without) {
        let wake = if domain.is_sole() {
            // A store in `lock.rs`. This one ignores what it finds as well, but to the checker a
            // store may lie before an exchange that it came after.
            self.word.swap(FREE, Ordering::Release);
            barrier::light_where_lent();
            !domain.is_sole() && without != Without::SecondLook
        } else {
            self.word.swap(FREE, Ordering::Release) == WANTED
        };
        if wake {
            self.woken.swap(true, Ordering::Release);
        }
        assert!(!record.leave());
    }
}

/// A thread that comes and takes a lock, as does this one, which may be the only one.
fn lock(without: Without) {
    model(without, 3, move || {
        let world = World::new();
        let lock = Arc::new(Lock { word: AtomicU32::new(FREE), woken: AtomicBool::new(false) });
        let record = world.domain.take();
        let other = {
            let (world, lock) = (Arc::clone(&world), Arc::clone(&lock));
            thread::spawn(move || {
                let record = world.domain.take();
                lock.take(&world.domain, record, without);
                world.write();
                lock.let_go(&world.domain, record, without);
                world.domain.give_back(record);
            })
        };
        for _ in 0..2 {
            lock.take(&world.domain, record, without);
            world.write();
            lock.let_go(&world.domain, record, without);
        }
        other.join().unwrap();
    });
}

#[test]
fn a_lock_is_one_threads_where_one_of_them_was_the_only_one() {
    lock(Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_is_not_where_who_is_sole_does_not_say_so() {
    lock(Without::Saying);
}

#[test]
#[should_panic(expected = "exceeded maximum")]
fn nobody_is_woken_where_who_lets_go_passes_no_fence() {
    lock(Without::LightFence);
}

#[test]
#[should_panic(expected = "exceeded maximum")]
fn nobody_is_woken_where_who_lets_go_does_not_look_again() {
    lock(Without::SecondLook);
}

/// Threads that come and go, each with a record for itself, while this one steps.
#[test]
fn a_record_is_one_threads_at_a_time() {
    model(Without::Nothing, 3, || {
        let world = World::new();
        let threads = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let record = world.record();
                world.domain.pin(record);
                world.domain.pin(record);
                assert!(record.is_pinned() && !record.unpin() && !record.unpin());
                world.domain.give_back(record);
            })
        });
        world.domain.try_advance();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(world.domain.records().count() <= 2);
        assert!(world.domain.is_alone(0) && world.domain.try_advance());
    });
}

/// A thread in a section, as `fork.rs` begins one, while this one closes the gate and looks.
fn gate(without: Without) {
    model(without, 4, move || {
        let world = World::new();
        let gate = Arc::new(AtomicBool::new(false));
        let writer = {
            let (world, gate) = (Arc::clone(&world), Arc::clone(&gate));
            thread::spawn(move || {
                let record = world.domain.take();
                assert!(record.enter());
                barrier::light();
                if gate.load(Ordering::Relaxed) {
                    record.leave_for_now();
                    return;
                }
                // SAFETY: the checker fails if another thread looks meanwhile.
                world.places[0].with_mut(|word| unsafe { *word = SPOILT });
                // SAFETY: as above.
                world.places[0].with_mut(|word| unsafe { *word = WHOLE });
                assert!(!record.leave());
            })
        };
        gate.store(true, Ordering::Relaxed);
        barrier::heavy();
        if !world.domain.records().any(Record::is_inside) {
            world.places[0].with(|word| {
                // SAFETY: the checker fails if another thread writes meanwhile.
                assert_eq!(unsafe { *word }, WHOLE, "forked in the midst of a section");
            });
        }
        writer.join().unwrap();
    });
}

/// The same with a thread that has the only record, and looks at no gate; who forks has none.
fn gate_of_one_who_is_sole(without: Without) {
    model(without, 4, move || {
        let world = World::new();
        let writer = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let record = world.domain.take();
                if record.enter_sole(&world.domain) {
                    record.end_sole();
                    world.write();
                    assert!(!record.leave());
                }
            })
        };
        if without != Without::Disturbing {
            world.domain.disturb();
        }
        barrier::heavy();
        if !world.domain.records().any(Record::is_inside) {
            world.places[0].with(|word| {
                // SAFETY: the checker fails if another thread writes meanwhile.
                assert_eq!(unsafe { *word }, WHOLE, "forked in the midst of a section");
            });
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_fork_finds_no_section_under_way_of_one_who_is_sole() {
    gate_of_one_who_is_sole(Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_does_where_who_forks_does_not_disturb_it() {
    gate_of_one_who_is_sole(Without::Disturbing);
}

#[test]
fn a_fork_finds_no_section_under_way() {
    gate(Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn it_does_where_sections_pass_no_fence() {
    gate(Without::LightFence);
}
