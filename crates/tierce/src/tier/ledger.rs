//! What a tier does not know yet: keys whose change it could not take.
//!
//! A write or remove that failed leaves the tier with the old record, the new one or none. Until
//! the key is changed there with success, nothing of it may be read from the tier or filled into
//! it: the ledger remembers such keys, and [`Ledger::replay`] removes them from the tier when it
//! answers again. The same holds for a tier that was out of the tiering while keys changed.
//!
//! The ledger is bounded. When it overflows, everything in the tier is distrusted until a `clear`
//! of the tier succeeded; so is it after a `clear` that failed.
//!
//! **Order.** Each note has a number. A change or replay that succeeded settles only what was
//! noted before it began ([`Ledger::mark`]), so that a change which failed meanwhile is kept: it
//! may have reached the tier later. At worst that costs a miss.
//!
//! One lock, never held while the tier is called; [`Ledger::distrusts`] takes none while the
//! ledger is empty, which is the rule.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    error::Result,
    sync::{Mutex, Turn},
    tier::Tier,
};

/// Bound on the bytes of all keys together: 65,536 keys of 256 bytes. Longer keys overflow sooner.
const MAX_KEY_BYTES: usize = 16 << 20;

/// Keys whose change a tier could not take.
pub(crate) struct Ledger {
    max_keys: usize,
    /// True while nothing is noted. Written under the lock.
    is_empty: AtomicBool,
    /// Held by a replay under way: a second one would only repeat its calls.
    replaying: Turn,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    keys: BTreeMap<Box<[u8]>, u64>,
    key_bytes: usize,
    /// The number of the note that stands for all keys.
    everything: Option<u64>,
    next: u64,
}

/// A point in the order of notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Ledger {
    /// An empty ledger of at most `max_keys` keys.
    pub(crate) fn new(max_keys: usize) -> Self {
        Self {
            max_keys,
            is_empty: AtomicBool::new(true),
            replaying: Turn::default(),
            notes: Mutex::default(),
        }
    }

    /// Notes that a change of `key` failed or was not tried. Must happen before the change
    /// returns to its caller.
    pub(crate) fn note(&self, key: &[u8]) {
        self.change(|notes| {
            let number = notes.take_number();
            if let Some(noted) = notes.keys.get_mut(key) {
                *noted = number;
                return;
            }
            if notes.keys.len() >= self.max_keys || notes.key_bytes + key.len() > MAX_KEY_BYTES {
                notes.note_everything(number);
                return;
            }
            notes.key_bytes += key.len();
            notes.keys.insert(key.into(), number);
        });
    }

    /// Notes that a change of all keys failed or was not tried.
    pub(crate) fn note_everything(&self) {
        self.change(|notes| {
            let number = notes.take_number();
            notes.note_everything(number);
        });
    }

    /// True while `key` must be neither read from the tier nor filled into it.
    pub(crate) fn distrusts(&self, key: &[u8]) -> bool {
        if self.is_empty.load(Ordering::Acquire) {
            return false;
        }
        let notes = self.notes.lock();
        notes.everything.is_some() || notes.keys.contains_key(key)
    }

    /// True if nothing is noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Acquire)
    }

    /// How much is noted, "everything" counting as one.
    pub(crate) fn len(&self) -> usize {
        self.notes.lock().len()
    }

    /// The present point in the order of notes; taken before a change of the tier is begun.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.notes.lock().next)
    }

    /// Settles `key` after a write or remove of it succeeded that began after `mark`.
    pub(crate) fn settle(&self, key: &[u8], mark: Mark) {
        if self.is_empty() {
            return;
        }
        self.change(|notes| notes.settle(key, mark));
    }

    /// Settles everything after a `clear` of the tier succeeded that began after `mark`.
    pub(crate) fn settle_everything(&self, mark: Mark) {
        self.change(|notes| {
            notes.everything = notes.everything.filter(|number| *number >= mark.0);
            notes.keys.retain(|_, number| *number >= mark.0);
            notes.key_bytes = notes.keys.keys().map(|key| key.len()).sum();
        });
    }

    /// Hands all notes to somebody else and forgets them: `keys` gets each key, or `everything` is
    /// called once.
    pub(crate) fn hand_over(&self, mut keys: impl FnMut(&[u8]), everything: impl FnOnce()) {
        let mark = self.mark();
        let notes = self.notes.lock();
        if notes.everything.is_some() {
            everything();
        } else {
            notes.keys.keys().for_each(|key| keys(key));
        }
        drop(notes);
        self.settle_everything(mark);
    }

    /// Removes noted keys from the tier, at most `budget` of them, or clears the tier where
    /// everything is distrusted; ends at the first error. Does nothing while another replay is
    /// under way.
    ///
    /// Costs one call of the tier for each key; the caller decides when the tier is worth asking.
    ///
    /// # Errors
    /// The tier's error that ended the replay; the keys from there on stay noted.
    pub(crate) fn replay<T: Tier + ?Sized>(&self, tier: &T, budget: usize) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let Some(_turn) = self.replaying.begin() else { return Ok(()) };
        self.replay_slice(tier, budget)
    }

    fn replay_slice<T: Tier + ?Sized>(&self, tier: &T, budget: usize) -> Result<()> {
        let mark = self.mark();
        if self.notes.lock().everything.is_some() {
            tier.clear()?;
            self.settle_everything(mark);
            return Ok(());
        }
        let keys: Vec<Box<[u8]>> = self.notes.lock().keys.keys().take(budget).cloned().collect();
        for key in keys {
            let mark = self.mark();
            tier.remove(&key)?;
            self.settle(&key, mark);
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Notes)) {
        let mut notes = self.notes.lock();
        change(&mut notes);
        self.is_empty.store(notes.len() == 0, Ordering::Release);
    }
}

impl Notes {
    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn note_everything(&mut self, number: u64) {
        self.everything = Some(number);
        // All of them are part of everything, and older than this note.
        self.keys = BTreeMap::new();
        self.key_bytes = 0;
    }

    fn settle(&mut self, key: &[u8], mark: Mark) {
        if self.keys.get(key).is_some_and(|number| *number < mark.0) {
            self.keys.remove(key);
            self.key_bytes -= key.len();
        }
    }

    fn len(&self) -> usize {
        self.keys.len() + usize::from(self.everything.is_some())
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
