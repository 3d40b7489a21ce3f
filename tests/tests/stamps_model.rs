//! The order of steps that ARCHITECTURE.md ("Stamps") argues for, in every interleaving of its
//! threads: a model of the protocol, by loom. Each model also runs with its order turned round,
//! and must then fail.
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

/// A key: what its source says, its record in L2, its stamp, and the entry of another process's
/// L1 with the stamp it was filed under.
struct Key {
    source: AtomicU32,
    record: Mutex<Option<u32>>,
    stamp: AtomicU32,
    near: Mutex<Option<(u32, u32)>>,
    returned: AtomicBool,
}

impl Key {
    fn new(record: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            source: AtomicU32::new(OLD),
            record: Mutex::new(record),
            stamp: AtomicU32::new(0),
            near: Mutex::new(None),
            returned: AtomicBool::new(false),
        })
    }

    /// A read of L1 and L2, which judges itself: once a change has returned, nothing older.
    fn read(&self) {
        let after = self.returned.load(Ordering::Acquire);
        let near = *self.near.lock().unwrap();
        let current = near.filter(|(_, stamp)| *stamp == self.stamp.load(Ordering::Acquire));
        let found = current.map(|(value, _)| value).or_else(|| *self.record.lock().unwrap());
        assert!(!after || found != Some(OLD), "older than a change that had returned");
    }
}

/// A change by one process while another files in its L1 what it finds in L2.
fn change_and_backfill(raise_first: bool) {
    loom::model(move || {
        let key = Key::new(Some(OLD));
        let changer = {
            let key = Arc::clone(&key);
            thread::spawn(move || {
                if raise_first {
                    key.stamp.fetch_add(1, Ordering::AcqRel);
                }
                *key.record.lock().unwrap() = Some(NEW);
                if !raise_first {
                    key.stamp.fetch_add(1, Ordering::AcqRel);
                }
                key.returned.store(true, Ordering::Release);
            })
        };
        let filler = {
            let key = Arc::clone(&key);
            thread::spawn(move || {
                let stamp = key.stamp.load(Ordering::Acquire);
                let found = *key.record.lock().unwrap();
                *key.near.lock().unwrap() = found.map(|value| (value, stamp));
            })
        };
        key.read();
        changer.join().unwrap();
        filler.join().unwrap();
        key.read();
    });
}

/// A delete by one process while another loads from the source and fills L2 under its token.
fn delete_and_load(token_last: bool) {
    loom::model(move || {
        let key = Key::new(None);
        let changer = {
            let key = Arc::clone(&key);
            thread::spawn(move || {
                key.source.store(NEW, Ordering::Release);
                let mut record = key.record.lock().unwrap();
                *record = None;
                key.stamp.fetch_add(1, Ordering::AcqRel);
                drop(record);
                key.returned.store(true, Ordering::Release);
            })
        };
        let loader = {
            let key = Arc::clone(&key);
            thread::spawn(move || {
                let early = key.stamp.load(Ordering::Acquire);
                let loaded = key.source.load(Ordering::Acquire);
                let token = if token_last { key.stamp.load(Ordering::Acquire) } else { early };
                let mut record = key.record.lock().unwrap();
                if key.stamp.load(Ordering::Acquire) == token {
                    record.get_or_insert(loaded);
                }
            })
        };
        changer.join().unwrap();
        loader.join().unwrap();
        key.read();
    });
}

#[test]
fn publishing_before_raising_lets_nothing_old_be_filed_as_current() {
    change_and_backfill(false);
}

#[test]
#[should_panic(expected = "older than a change")]
fn raising_before_publishing_does() {
    change_and_backfill(true);
}

#[test]
fn a_token_taken_before_the_load_keeps_it_from_undoing_a_delete() {
    delete_and_load(false);
}

#[test]
#[should_panic(expected = "older than a change")]
fn a_token_taken_after_the_load_does_not() {
    delete_and_load(true);
}
