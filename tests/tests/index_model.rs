//! How L1's index is read without a lock while a writer puts in, replaces and grows: the protocol
//! of `crates/tierce/src/memory/index` in every interleaving, by loom. Each order that it
//! depends on is also turned round, and the model must then fail.
//!
//! A bucket has one place here instead of twelve, so that every second entry is passed by; the
//! words, their orders and the steps are those of the index. The writer is one thread, as it
//! holds the shard's lock there, and nothing is freed, which `epoch_model.rs` is about.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

/// A key is its hash here; its home is the upper part, as in the index.
type Key = u32;

/// Of the first home, and in its bucket.
const FIRST: Key = 0x0000_0001;
/// Of the first home as well, and one bucket further on.
const SPILT: Key = 0x0000_0002;
/// Of the second home.
const COMING: Key = 0x8000_0003;

/// What a place that was never filled holds.
const NOTHING: Key = 0;

/// The step that a model turns round or leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The tag is there before the address.
    TagFirst,
    /// Later buckets are cleared before `moved` says that the home is elsewhere.
    ClearFirst,
    /// `moved` says so before the entries are there.
    MovedFirst,
    /// A reader that found nothing does not look at `moved` again.
    NoSecondLook,
}

struct Bucket {
    tag: AtomicU64,
    passed: AtomicU64,
    address: AtomicU32,
}

struct Table {
    homes: u64,
    buckets: Vec<Bucket>,
    moved: AtomicU32,
    has_next: AtomicBool,
}

impl Table {
    fn new(homes: u64) -> Self {
        let bucket = |_| Bucket {
            tag: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            address: AtomicU32::new(0),
        };
        Self {
            homes,
            buckets: (0..homes + 2).map(bucket).collect(),
            moved: AtomicU32::new(0),
            has_next: AtomicBool::new(false),
        }
    }

    fn home(&self, key: Key) -> usize {
        ((u64::from(key) * self.homes) >> 32) as usize
    }

    fn insert(&self, key: Key, address: u32, fault: Fault) {
        let home = self.home(key);
        let free = |bucket: &Bucket| bucket.tag.load(Ordering::Relaxed) == 0;
        let number = (home..self.buckets.len()).find(|at| free(&self.buckets[*at])).unwrap();
        // Readers must see that earlier buckets were passed before they can need it.
        for passed in &self.buckets[home..number] {
            let count = passed.passed.load(Ordering::Relaxed);
            passed.passed.store(count + 1, Ordering::Release);
        }
        let bucket = &self.buckets[number];
        let tag = u64::from(key & 0xFF);
        if fault == Fault::TagFirst {
            bucket.tag.store(tag, Ordering::Release);
            bucket.address.store(address, Ordering::Release);
        } else {
            bucket.address.store(address, Ordering::Release);
            bucket.tag.store(tag, Ordering::Release);
        }
    }

    /// The key's address, by a look at the buckets from its home on.
    fn search(&self, key: Key, places: &[AtomicU32; 5]) -> Option<u32> {
        for bucket in &self.buckets[self.home(key)..] {
            let tag = bucket.tag.load(Ordering::Acquire);
            let passed = bucket.passed.load(Ordering::Acquire);
            if tag == u64::from(key & 0xFF) {
                let address = bucket.address.load(Ordering::Acquire);
                let found = places[address as usize].load(Ordering::Relaxed);
                assert_ne!(found, NOTHING, "an address before its entry");
                if found == key {
                    return Some(address);
                }
            }
            if passed == 0 {
                return None;
            }
        }
        None
    }
}

struct Index {
    old: Table,
    new: Table,
    /// The keys in the places that addresses name. The first is never filled.
    places: [AtomicU32; 5],
}

impl Index {
    /// Two keys of one home in the old table.
    fn new() -> Arc<Self> {
        let places = [NOTHING, FIRST, SPILT, NOTHING, NOTHING].map(AtomicU32::new);
        let index = Self { old: Table::new(2), new: Table::new(3), places };
        index.old.insert(FIRST, 1, Fault::None);
        index.old.insert(SPILT, 2, Fault::None);
        Arc::new(index)
    }

    fn is_moved(&self, key: Key) -> bool {
        self.old.has_next.load(Ordering::Acquire)
            && (self.old.home(key) as u32) < self.old.moved.load(Ordering::Acquire)
    }

    /// As `find` in `read.rs`.
    fn find(&self, key: Key, fault: Fault) -> Option<u32> {
        if !self.is_moved(key) {
            if let Some(found) = self.old.search(key, &self.places) {
                return Some(found);
            }
            if fault == Fault::NoSecondLook || !self.is_moved(key) {
                return None;
            }
        }
        self.new.search(key, &self.places)
    }

    /// As `move_one`: the first home.
    fn move_first_home(&self, fault: Fault) {
        self.old.has_next.store(true, Ordering::Release);
        let clear = || {
            self.old.buckets[1].tag.store(0, Ordering::Release);
        };
        if fault == Fault::MovedFirst {
            self.old.moved.store(1, Ordering::Release);
        }
        self.new.insert(FIRST, 1, fault);
        self.new.insert(SPILT, 2, fault);
        if fault == Fault::ClearFirst {
            clear();
        }
        self.old.moved.store(1, Ordering::Release);
        if fault != Fault::ClearFirst {
            clear();
        }
    }

    /// Puts an entry into a place.
    fn fill(&self, address: u32, key: Key) {
        self.places[address as usize].store(key, Ordering::Relaxed);
    }

    /// As `swap`: another place for the spilt key in the new table.
    fn replace_spilt(&self) {
        self.fill(3, SPILT);
        let home = self.new.home(SPILT);
        let is_it = |bucket: &&Bucket| bucket.tag.load(Ordering::Relaxed) == u64::from(SPILT);
        let bucket = self.new.buckets[home..].iter().find(is_it).unwrap();
        bucket.address.store(3, Ordering::Release);
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // All that are known to matter, as the planted faults show.
    builder.preemption_bound = Some(4);
    builder.check(body);
}

/// A reader of two keys that stay, while a writer moves their home on and replaces one of them.
fn readers_and_growth(fault: Fault) {
    model(move || {
        let index = Index::new();
        let reader = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                for key in [SPILT, FIRST] {
                    assert!(index.find(key, fault).is_some(), "a key that stays was missed");
                }
            })
        };
        index.move_first_home(fault);
        index.replace_spilt();
        reader.join().unwrap();
        assert_eq!((index.find(FIRST, fault), index.find(SPILT, fault)), (Some(1), Some(3)));
    });
}

/// A reader of a key that is put in meanwhile: it is found whole or not at all, and once it was
/// found it stays.
fn readers_and_an_insert(fault: Fault) {
    model(move || {
        let index = Index::new();
        let reader = {
            let index = Arc::clone(&index);
            thread::spawn(move || {
                let first = index.find(COMING, fault);
                let second = index.find(COMING, fault);
                assert!(first.is_none() || second.is_some(), "found and then missed");
                assert!(index.find(SPILT, fault).is_some(), "a key that stays was missed");
            })
        };
        index.fill(4, COMING);
        index.old.insert(COMING, 4, fault);
        reader.join().unwrap();
        assert_eq!(index.find(COMING, fault), Some(4));
    });
}

#[test]
fn a_key_that_stays_is_found_while_its_home_moves_and_it_is_replaced() {
    readers_and_growth(Fault::None);
}

#[test]
fn a_key_that_comes_is_found_whole_or_not_at_all() {
    readers_and_an_insert(Fault::None);
}

#[test]
#[should_panic(expected = "a key that stays was missed")]
fn it_is_missed_where_later_buckets_are_cleared_first() {
    readers_and_growth(Fault::ClearFirst);
}

#[test]
#[should_panic(expected = "a key that stays was missed")]
fn it_is_missed_where_its_home_counts_as_moved_first() {
    readers_and_growth(Fault::MovedFirst);
}

#[test]
#[should_panic(expected = "a key that stays was missed")]
fn it_is_missed_where_a_reader_does_not_look_again() {
    readers_and_growth(Fault::NoSecondLook);
}

#[test]
#[should_panic(expected = "an address before its entry")]
fn an_address_is_read_too_early_where_the_tag_comes_first() {
    readers_and_an_insert(Fault::TagFirst);
}
