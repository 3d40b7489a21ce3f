//! The loads under way in a shard, and where those wait who joined one.
//!
//! The list names the key in its leader's frame, and what joiners wait for is made by the first of
//! them: a load that nobody joins allocates nothing but its place in the list.
//!
//! ```text
//!             change of the key           landing
//!   joined <──────────┐         ┌───────────────────> stored, joiners get it
//!      │          void│         │open
//!      └──> [ ticket, hash, key, leader, meeting ]
//!                     │         │abandoned: a joiner gave up
//!   not stored, joiners get it <┘──> stored unless another load of the key was; none joins
//! ```
//! A **void** load began before its key changed: who comes after the change must not get it, and
//! the cache neither. Changes void by the 32 bits of the hash that the shard keeps, so they run
//! none of the caller's code; that a load of another key is void as well costs one more load.
//! A load that is not void is the only way in which its key can get into the cache, since every
//! other one voids it. So landing looks for no earlier value.

use std::{
    ptr::NonNull,
    time::{Duration, Instant},
};

use super::shared::Shared;
use crate::sync::{self, Condvar, Mutex, me};

/// How long one sleep of a wait without a deadline is: as good as for ever, and no overflow.
const LONG: Duration = Duration::from_secs(3_600);

/// The loads under way in a shard: few, so they are searched one by one.
pub(super) struct Loads<K, V> {
    under_way: Vec<Load<K, V>>,
    next_ticket: u64,
    /// The process ([`sync::generation`]) in which they began.
    generation: u32,
}

struct Load<K, V> {
    ticket: u64,
    hash: u32,
    /// In the frame of the leader, who ends the load before the key moves.
    key: NonNull<K>,
    /// The leader's thread, by [`me`].
    leader: usize,
    /// Nobody gave up on it, and the key has not changed.
    may_join: bool,
    /// The key has not changed.
    may_store: bool,
    /// Made by the first who joins.
    meeting: Option<Shared<Meeting<V>>>,
}

/// What became of a caller that found no value.
pub(super) enum Entered<V> {
    /// There is one by now.
    Found,
    /// The caller loads.
    Lead(u64),
    /// Another thread loads.
    Join(u64, Shared<Meeting<V>>),
    /// This thread is at it already.
    Reentrant,
}

/// What is left to do for a load that ended.
pub(super) struct Ended<V> {
    pub(super) may_store: bool,
    pub(super) meeting: Option<Shared<Meeting<V>>>,
}

impl<K, V> Default for Loads<K, V> {
    fn default() -> Self {
        Self { under_way: Vec::new(), next_ticket: 0, generation: 0 }
    }
}

impl<K, V> Loads<K, V> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Joins the load of the key, or begins one. Where memory is short it begins one that is not in
    /// the list, and so counts as void: nobody joins it, and it is not stored.
    ///
    /// # Safety
    /// A load that this begins must be ended before `key` moves or is dropped.
    pub(super) unsafe fn enter(&mut self, hash: u32, key: &K) -> Entered<V>
    where
        K: Eq,
    {
        let generation = sync::generation();
        if self.generation != generation {
            self.under_way.clear();
            self.generation = generation;
        }
        let me = me();
        let same = self.under_way.iter_mut().find(|load| {
            // SAFETY: the load is of this generation, so its leader is here, and has not ended it:
            // the key is where it was.
            load.hash == hash && load.may_join && *unsafe { load.key.as_ref() } == *key
        });
        let may_list = same.is_none();
        if let Some(load) = same {
            if load.leader == me {
                return Entered::Reentrant;
            }
            if load.meeting.is_none() {
                load.meeting = Shared::try_new(Meeting::default()).ok();
            }
            if let Some(meeting) = &load.meeting {
                return Entered::Join(load.ticket, meeting.clone());
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if !may_list || self.under_way.try_reserve(1).is_err() {
            return Entered::Lead(ticket);
        }
        self.under_way.push(Load {
            ticket,
            hash,
            key: NonNull::from(key),
            leader: me,
            may_join: true,
            may_store: true,
            meeting: None,
        });
        Entered::Lead(ticket)
    }

    /// Takes a load out. One that is not in the list counts as void.
    pub(super) fn end(&mut self, ticket: u64) -> Ended<V> {
        match self.under_way.iter().position(|load| load.ticket == ticket) {
            Some(index) => {
                let Load { may_store, meeting, .. } = self.under_way.swap_remove(index);
                Ended { may_store, meeting }
            }
            None => Ended { may_store: false, meeting: None },
        }
    }

    /// Has nobody join this load any more.
    pub(super) fn abandon(&mut self, ticket: u64) {
        if let Some(load) = self.under_way.iter_mut().find(|load| load.ticket == ticket) {
            load.may_join = false;
        }
    }

    /// Voids the loads of all keys with this hash, one of which changes.
    #[cold]
    pub(super) fn void(&mut self, hash: u32) {
        self.under_way.iter_mut().filter(|load| load.hash == hash).for_each(Load::void);
    }

    /// Voids all loads.
    pub(super) fn void_all(&mut self) {
        self.under_way.iter_mut().for_each(Load::void);
    }

    /// How many loads are under way, and how many callers have joined them.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let meetings = self.under_way.iter().filter_map(|load| load.meeting.as_ref());
        let joined = meetings.map(|meeting| meeting.owners() - 1).sum();
        (self.under_way.len(), joined)
    }
}

impl<K, V> Load<K, V> {
    fn void(&mut self) {
        self.may_join = false;
        self.may_store = false;
    }
}

/// Where those wait who joined a load.
pub(super) struct Meeting<V> {
    outcome: Mutex<Outcome<V>>,
    ended: Condvar,
}

pub(super) enum Outcome<V> {
    Pending,
    /// No value: who waits is to load.
    Failed,
    /// Shared, so that a value is cloned, which is the caller's code, with no lock held.
    Loaded(Shared<V>),
}

impl<V> Clone for Outcome<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Pending => Self::Pending,
            Self::Failed => Self::Failed,
            Self::Loaded(value) => Self::Loaded(value.clone()),
        }
    }
}

impl<V> Default for Meeting<V> {
    fn default() -> Self {
        Self { outcome: Mutex::new(Outcome::Pending), ended: Condvar::new() }
    }
}

impl<V> Meeting<V> {
    /// Waits for the outcome; still pending if the deadline passed.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Outcome<V> {
        let mut outcome = self.outcome.lock();
        loop {
            let now = Instant::now();
            let is_late = deadline.is_some_and(|deadline| deadline <= now);
            if is_late || !matches!(*outcome, Outcome::Pending) {
                return outcome.clone();
            }
            self.ended.wait_until(&mut outcome, deadline.unwrap_or(now + LONG));
        }
    }

    pub(super) fn end(&self, outcome: Outcome<V>) {
        *self.outcome.lock() = outcome;
        self.ended.notify_all();
    }
}
