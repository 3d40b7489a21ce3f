//! The latest changes that a host made: a table of the [`Stream`], by which it knows the news of its own.
//!
//! L3 tells of all changes, of those too that this host made; the copies that it
//! has of such keys need not go. Which change made a record is written in it ([`Change`]). So who
//! hears that a key changed and finds its slot in the table taken looks at the record in L3: is it
//! of the change in the slot, and is that change done with the tiers above, then the copies here
//! are of that very record. A change that is not done is waited for a little: who makes it may have
//! been killed. In any other case the copies go. A slot that two keys share, or a change
//! that another one of the host overwrote, costs a copy, never a wrong value.
//!
//! ```text
//!   change   63        48 47           1   0
//!           +------------+--------------+------+
//!           | of the key | random       | done |     0 = none
//!           +------------+--------------+------+
//! ```
//!
//! Two hosts that change one key at the same moment draw the same 47 bits once in 10^14 times.
//!
//! A touch leaves the record in L3 its number, so the stamp that it makes is in the place of one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Stream;
use crate::{
    key, random,
    simulated::{self, Fault},
};

/// Slots of the table. A slot is in use from a change until its echo has come back.
pub(super) const SLOTS: usize = 4096;

const DONE: u64 = 1;
const KEY: u64 = 0xffff << 48;

/// Which change of a key made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    number: u64,
    /// What was said of the latest change before this one.
    before: u64,
}

impl Change {
    /// The change as the record has it.
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

impl Stream<'_> {
    /// A change that this host is about to make. To be called before L3 is told of it.
    pub(crate) fn begin_change(&self, key: &[u8]) -> Change {
        simulated::point();
        let hash = key::hash(key);
        let change = hash & KEY | random::random() & !KEY & !DONE;
        let before = self.slot(hash).swap(change, Ordering::AcqRel);
        Change { number: change, before }
    }

    /// Says that the host is about to have L3 touch what it has of the key: the record there keeps its
    /// number, so the stamp that the touch makes is what it is known by.
    pub(crate) fn begin_touch(&self, key: &[u8]) -> Change {
        simulated::point();
        let hash = key::hash(key);
        let before = self.slot(hash).swap(hash & KEY, Ordering::AcqRel);
        Change { number: hash & KEY, before }
    }

    /// Says that a touch is done with the tiers above L3, and which stamp it made.
    pub(crate) fn end_touch(&self, key: &[u8], change: Change, stamp: Option<u64>) {
        simulated::point();
        let done = stamp.map_or(0, |stamp| touch_word(key::hash(key), stamp));
        // If not, another change came to the slot.
        _ = self.slot(key::hash(key)).compare_exchange(
            change.number,
            done,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// True if the latest change of the key by this host is a touch that made this stamp, and is done.
    pub(crate) fn has_touched(&self, key: &[u8], stamp: u64) -> bool {
        let hash = key::hash(key);
        self.slot(hash).load(Ordering::Acquire) == touch_word(hash, stamp)
    }

    /// Says that a change is done with the tiers above L3: what they have of the key is what L3
    /// was given, or nothing.
    pub(crate) fn end_change(&self, key: &[u8], change: Change) {
        simulated::point();
        // If not, another change came to the slot.
        _ = self.slot(key::hash(key)).compare_exchange(
            change.number,
            change.number | DONE,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Says that the tiers above L3 may have something else of the key than L3 was given: nobody takes
    /// the record in L3 for one that this host has.
    pub(crate) fn abandon_change(&self, key: &[u8], change: Change) {
        simulated::point();
        // If not, another change came to the slot.
        _ = self.slot(key::hash(key)).compare_exchange(
            change.number,
            0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Says that a change was not made: the one before it is the latest again.
    pub(crate) fn undo_change(&self, key: &[u8], change: Change) {
        simulated::point();
        // One that was under way may have ended in vain meanwhile.
        let before = if change.before & DONE != 0 { change.before } else { 0 };
        // If not, another change came to the slot.
        _ = self.slot(key::hash(key)).compare_exchange(
            change.number,
            before,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// The latest change of this key by this host, if a change may be one of its own, so that L3 should
    /// be asked.
    pub(crate) fn own_change(&self, key: &[u8]) -> Option<u64> {
        let hash = key::hash(key);
        let own = self.slot(hash).load(Ordering::Acquire);
        (own != 0 && own & KEY == hash & KEY).then_some(own & !DONE)
    }

    /// True while a change of the key by this host is under way.
    pub(crate) fn is_changing(&self, key: &[u8]) -> bool {
        let hash = key::hash(key);
        let own = self.slot(hash).load(Ordering::Acquire);
        own != 0 && own & DONE == 0 && own & KEY == hash & KEY
    }

    /// True if this is the latest change of the key by this host, which is done with it.
    pub(crate) fn has_done(&self, key: &[u8], number: u64) -> bool {
        let hash = key::hash(key);
        let own = self.slot(hash).load(Ordering::Acquire);
        number != 0 && own == number | DONE && own & KEY == hash & KEY
    }

    /// True if what L3 has of the key now, a record of change `in_l3`, is what this host put there,
    /// and is not done with above; or if this host has changed the key since its own change was
    /// `before`, so that L3 may have another record by now.
    pub(crate) fn is_under_way(&self, key: &[u8], before: u64, in_l3: Option<u64>) -> bool {
        let own = self.slot(key::hash(key)).load(Ordering::Acquire);
        let is_newer = self.own_change(key).is_some_and(|own| own != before);
        is_newer && in_l3 != Some(own & !DONE) || own != 0 && in_l3 == Some(own)
    }

    /// True if what L3 has of the key now, a record of change `in_l3`, is what this host put there
    /// and has above. If not, the slot is empty from now on.
    pub(crate) fn is_own(&self, key: &[u8], in_l3: Option<u64>) -> bool {
        if simulated::is_planted(Fault::ForeignChangeIgnored) {
            return true;
        }
        let slot = self.slot(key::hash(key));
        let own = slot.load(Ordering::Acquire);
        if own & DONE != 0 && in_l3 == Some(own & !DONE) {
            return true;
        }
        if own & DONE != 0 && own & KEY == key::hash(key) & KEY {
            _ = slot.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        false
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        // Bits that are not those of the tag.
        &self.own[(hash >> 16) as usize % SLOTS]
    }
}

/// The word of a touch that made this stamp, of which it has 47 bits.
fn touch_word(hash: u64, stamp: u64) -> u64 {
    hash & KEY | (stamp << 1) & !KEY | DONE
}
