//! The order of steps by which tags are judged, in every interleaving of its threads: a model of
//! the protocol, by loom. Each model also runs with a step turned round, and must then fail.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

const OLD: u32 = 0;
const NEW: u32 = 1;

/// A key whose value bears a tag: what its source says, the numbering of changes of tags, and the
/// entry of L1 with the number that it bears.
struct Tagged {
    source: AtomicU32,
    raises: AtomicU32,
    removed: AtomicU32,
    near: Mutex<Option<(u32, u32)>>,
    returned: AtomicBool,
}

impl Tagged {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            source: AtomicU32::new(OLD),
            raises: AtomicU32::new(0),
            removed: AtomicU32::new(0),
            near: Mutex::new(None),
            returned: AtomicBool::new(false),
        })
    }

    fn remove_tag(&self) {
        let number = self.raises.fetch_add(1, Ordering::AcqRel) + 1;
        self.removed.fetch_max(number, Ordering::AcqRel);
    }

    fn is_gone(&self, number: u32) -> bool {
        self.removed.load(Ordering::Acquire) > number
    }

    /// A read of L1, which judges itself: once a removal has returned, nothing older.
    fn read(&self) {
        let after = self.returned.load(Ordering::Acquire);
        let near = self.near.lock().unwrap().filter(|(_, number)| !self.is_gone(*number));
        assert!(!after || near.is_none_or(|(value, _)| value != OLD), "older than a removal");
    }
}

/// Changes the source, then removes the tag.
fn changer(tagged: &Arc<Tagged>) -> thread::JoinHandle<()> {
    let tagged = Arc::clone(tagged);
    thread::spawn(move || {
        tagged.source.store(NEW, Ordering::Release);
        tagged.remove_tag();
        tagged.returned.store(true, Ordering::Release);
    })
}

/// A removal while another process copies a record of L2, made before any, into its L1.
fn remove_and_copy(bears_the_mark: bool) {
    loom::model(move || {
        const OF_RECORD: u32 = 0;
        let tagged = Tagged::new();
        let changer = changer(&tagged);
        let copier = {
            let tagged = Arc::clone(&tagged);
            thread::spawn(move || {
                let mark = tagged.raises.load(Ordering::Acquire);
                if !tagged.is_gone(OF_RECORD) {
                    let number = if bears_the_mark { mark } else { OF_RECORD };
                    *tagged.near.lock().unwrap() = Some((OLD, number));
                }
            })
        };
        tagged.read();
        changer.join().unwrap();
        copier.join().unwrap();
        tagged.read();
    });
}

/// A removal while a value is loaded whose loader names the tag when it returns.
fn remove_and_load(number_last: bool) {
    loom::model(move || {
        let tagged = Tagged::new();
        let changer = changer(&tagged);
        let loader = {
            let tagged = Arc::clone(&tagged);
            thread::spawn(move || {
                let early = tagged.raises.load(Ordering::Acquire);
                let loaded = tagged.source.load(Ordering::Acquire);
                let late = tagged.raises.load(Ordering::Acquire);
                let number = if number_last { late } else { early };
                *tagged.near.lock().unwrap() = Some((loaded, number));
            })
        };
        tagged.read();
        changer.join().unwrap();
        loader.join().unwrap();
        tagged.read();
    });
}

/// How a removal that L3 did not take is noted beside the numbers of the host.
#[derive(Clone, Copy)]
enum Noted {
    BetweenTwoRaises,
    BeforeTheRaise,
    AfterTheRaise,
}

/// A removal that L3 did not take, while one thread sends what is noted and another brings up what L3
/// has, a record of before.
fn remove_unsent(noted: Noted) {
    let mut model = loom::model::Builder::new();
    // All interleavings take hours; each of the mistakes shows with two.
    model.preemption_bound = Some(2);
    model.check(move || {
        let tagged = Tagged::new();
        let unsent = Arc::new(AtomicBool::new(false));
        let knows_below = Arc::new(AtomicBool::new(false));
        let changer = {
            let (tagged, unsent) = (Arc::clone(&tagged), Arc::clone(&unsent));
            thread::spawn(move || {
                if !matches!(noted, Noted::BeforeTheRaise) {
                    tagged.remove_tag();
                }
                unsent.store(true, Ordering::Release);
                if !matches!(noted, Noted::AfterTheRaise) {
                    tagged.remove_tag();
                }
                tagged.returned.store(true, Ordering::Release);
            })
        };
        let sender = {
            let (tagged, unsent) = (Arc::clone(&tagged), Arc::clone(&unsent));
            let knows_below = Arc::clone(&knows_below);
            thread::spawn(move || {
                if unsent.load(Ordering::Acquire) {
                    if tagged.is_gone(0) {
                        knows_below.store(true, Ordering::Release);
                    }
                    unsent.store(false, Ordering::Release);
                }
            })
        };
        let bring_up = || {
            let after = tagged.returned.load(Ordering::Acquire);
            let number = tagged.raises.load(Ordering::Acquire);
            let is_trusted = !unsent.load(Ordering::Acquire);
            if is_trusted && !knows_below.load(Ordering::Acquire) {
                assert!(!after, "older than a removal");
                *tagged.near.lock().unwrap() = Some((OLD, number));
            }
        };
        bring_up();
        changer.join().unwrap();
        sender.join().unwrap();
        tagged.read();
        bring_up();
    });
}

#[test]
fn a_removal_that_l3_did_not_take_is_noted_between_two_raises() {
    remove_unsent(Noted::BetweenTwoRaises);
}

#[test]
#[should_panic(expected = "older than a removal")]
fn noted_before_the_raise_it_may_be_settled_unsent() {
    remove_unsent(Noted::BeforeTheRaise);
}

#[test]
#[should_panic(expected = "older than a removal")]
fn noted_after_the_raise_it_leaves_a_copy_that_was_brought_up_between() {
    remove_unsent(Noted::AfterTheRaise);
}

#[test]
fn a_copy_that_bears_the_number_of_its_record_goes_with_the_tag() {
    remove_and_copy(false);
}

#[test]
#[should_panic(expected = "older than a removal")]
fn a_copy_that_bears_the_number_of_its_mark_does_not() {
    remove_and_copy(true);
}

#[test]
fn a_load_that_bears_the_number_from_before_it_goes_with_the_tag() {
    remove_and_load(false);
}

#[test]
#[should_panic(expected = "older than a removal")]
fn a_load_that_bears_the_number_from_after_it_does_not() {
    remove_and_load(true);
}
