//! The values of a process that wait to be sent to L3: which they are, when each is due, and the claims
//! by which the other processes of the host know of them.
//!
//! ```text
//!   claim ──> enqueue ──> waiting ──take──> busy ──done──> claim given back
//!               │            ^ newer value of the key: takes the place of the one that waits
//!               └ withdraw: busy without being sent, while the key is changed in another way
//! ```
//! A cell is claimed in the store for as long as one of its keys waits here or is busy. Keys that are busy
//! are sent by one thread at a time, so that two values of a key reach L3 in their order.
//!
//! One mutex around all of it, held for some instructions and, by who claims and gives back, for one
//! exchange of a word of the store. A forked child has nothing of this: what waits is its parent's.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::{Clock, Millis},
    group_word::GroupWord,
    invalidation::LocalMark,
    random,
    shared_stamp::SharedStamp,
    simulated,
    sync::{self, Condvar, Mutex, MutexGuard},
    tier::{ClaimWord, Record, SharedCell, SharedTier},
};

use super::raised::Raised;

/// Keys that wait at most: at a thousand sets in a hundredth of a second none waits for more than the
/// usual delay.
const MOST_KEYS: usize = 16 << 10;
/// Bytes of values and keys that wait at most: L2 has them too, as a rule.
const MOST_BYTES: usize = 64 << 20;
/// How often the thread that sends looks whether somebody waits for a cell.
const TICK: Duration = Duration::from_millis(10);

/// By what it is known whether the key was changed since its value was set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Basis {
    Shared(SharedStamp),
    Private(LocalMark, GroupWord),
}

impl Basis {
    /// Which stamp it is of, as of which clear, and its value.
    pub(super) fn parts(self) -> (u32, u32, u32) {
        match self {
            Self::Shared(stamp) => (stamp.index, stamp.clear_epoch, stamp.stamp),
            Self::Private(mark, _) => mark.parts(),
        }
    }

    /// The same of a moment when the stamp had this value.
    pub(super) fn with_stamp(self, stamp: u32) -> Self {
        match self {
            Self::Shared(it) => Self::Shared(SharedStamp { stamp, ..it }),
            Self::Private(mark, word) => Self::Private(mark.with_stamp(stamp), word),
        }
    }

    /// What L3 said of the key's group.
    pub(super) fn word(self) -> GroupWord {
        match self {
            Self::Shared(stamp) => stamp.word,
            Self::Private(_, word) => word,
        }
    }
}

/// A value that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) basis: Basis,
    /// The latest change of the key by this host, when it was set.
    pub(super) before: Option<u64>,
    /// When it was set, by the clock of L1.
    pub(super) set_at: Millis,
}

struct Waiting {
    entry: Entry,
    cell: Option<SharedCell>,
    bytes: usize,
    /// Where it is in the order in which values are sent.
    number: u64,
    due: Millis,
}

#[derive(Clone, Copy)]
struct Held {
    keys: u32,
    word: ClaimWord,
}

pub(super) type Key = Arc<[u8]>;

struct State {
    /// The process ([`sync::generation`]) whose values these are.
    generation: u32,
    waiting: HashMap<Key, Waiting>,
    /// The keys that wait, by when they are due.
    order: BTreeMap<u64, Key>,
    next_number: u64,
    /// How many threads set a key that is not enqueued yet.
    coming: HashMap<Key, u32>,
    /// The numbers of these sets.
    claims: BTreeSet<u64>,
    next_claim: u64,
    /// How many threads send a key, or change it in another way.
    busy: HashMap<Key, u32>,
    bytes: usize,
    held: BTreeMap<SharedCell, Held>,
    raised: Raised,
    has_thread: bool,
    is_closed: bool,
}

/// What waits in a process.
pub(super) struct Queue {
    state: Mutex<State>,
    /// A key is not busy any more, or there is nothing left to wait for.
    changed: Condvar,
    /// Something waits, or is wanted.
    called: Condvar,
    owner: u32,
    delay: Duration,
    /// How long claims hold after what they are for is due.
    rest: Duration,
    clock: Clock,
}

/// A key whose value is to wait: room for it, and the claim of its cell.
pub(super) struct Place {
    key: Key,
    cell: Option<SharedCell>,
    bytes: usize,
    claim: u64,
}

/// A value that is to be sent now, by who took it.
pub(super) struct Taken {
    pub(super) key: Key,
    pub(super) entry: Entry,
    pub(super) cell: Option<SharedCell>,
    number: u64,
    bytes: usize,
}

/// What has become of a wish to send a key.
pub(super) enum Take {
    Taken(Taken),
    /// Another thread is at it.
    Busy,
    Nothing,
}

impl Queue {
    pub(super) fn new(delay: Duration, rest: Duration, clock: &Clock) -> Self {
        let state = State {
            generation: sync::generation(),
            waiting: HashMap::new(),
            order: BTreeMap::new(),
            next_number: 0,
            coming: HashMap::new(),
            claims: BTreeSet::new(),
            next_claim: 0,
            busy: HashMap::new(),
            bytes: 0,
            held: BTreeMap::new(),
            raised: Raised::default(),
            has_thread: false,
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            called: Condvar::new(),
            owner: random::random() as u32,
            delay,
            rest,
            clock: clock.clone(),
        }
    }

    /// Makes room for a value of the key and claims its cell, until it is enqueued or given back; `None`
    /// where there is no room, or the cell is another process's.
    pub(super) fn claim(
        &self,
        shared: Option<&SharedTier>,
        key: &[u8],
        bytes: usize,
    ) -> Option<Place> {
        let bytes = bytes.saturating_add(key.len());
        let cell = shared.map(|shared| shared.cell_below(key));
        let mut state = self.lock();
        let is_full = state.waiting.len() >= MOST_KEYS && !state.waiting.contains_key(key)
            || state.bytes.saturating_add(bytes) > MOST_BYTES;
        if is_full || state.is_closed {
            return None;
        }
        if let Some((shared, cell)) = shared.zip(cell) {
            let held = state.held.get(&cell).copied();
            let mine = held.map_or(ClaimWord::FREE, |held| held.word);
            let until = self.clock.boot().after(self.delay).after(self.rest);
            let Some(word) = shared.hold_below(cell, mine, self.owner, until) else {
                // One that is over is not to stay in the way.
                _ = shared.claim_below(cell, mine);
                return None;
            };
            let keys = held.map_or(0, |held| held.keys) + 1;
            state.held.insert(cell, Held { keys, word });
        }
        state.bytes += bytes;
        let (key, claim): (Key, _) = (key.into(), state.next_claim);
        state.next_claim += 1;
        state.claims.insert(claim);
        *state.coming.entry(Arc::clone(&key)).or_insert(0) += 1;
        Some(Place { key, cell, bytes, claim })
    }

    /// Has a value wait in its place. The newer one of two stays: true where another one gave way.
    ///
    /// The second says that nobody is there who would send it.
    pub(super) fn enqueue(
        &self,
        shared: Option<&SharedTier>,
        place: Place,
        entry: Entry,
    ) -> (bool, bool) {
        let Place { key, cell, bytes, claim } = place;
        let mut state = self.lock();
        state.has_come(&key, claim);
        let now = self.clock.coarse();
        state.note_raise(entry.basis);
        let number = state.next_number;
        state.next_number += 1;
        let new = Waiting { entry, cell, bytes, number, due: now.after(self.delay) };
        let gone = match state.waiting.entry(Arc::clone(&key)) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(new);
                state.order.insert(number, key);
                None
            }
            hash_map::Entry::Occupied(mut present) => {
                let present = present.get_mut();
                if present.entry.is_newer_than(&new.entry) {
                    Some(new)
                } else {
                    // It is due when the first of them was.
                    let (number, due) = (present.number, present.due);
                    Some(std::mem::replace(present, Waiting { number, due, ..new }))
                }
            }
        };
        let is_coalesced = gone.is_some();
        if let Some(gone) = gone {
            state.bytes -= gone.bytes;
            release(&mut state, shared, gone.cell);
        }
        let needs_thread = !std::mem::replace(&mut state.has_thread, true);
        drop(state);
        self.changed.notify_all();
        (is_coalesced, needs_thread)
    }

    /// Gives a place back in which nothing is to wait.
    pub(super) fn give_back(&self, shared: Option<&SharedTier>, place: Place) {
        let mut state = self.lock();
        state.has_come(&place.key, place.claim);
        state.bytes = state.bytes.saturating_sub(place.bytes);
        release(&mut state, shared, place.cell);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes the value of a key to send it; [`done`](Self::done) ends that.
    pub(super) fn take(&self, key: &[u8]) -> Take {
        let mut state = self.lock();
        if state.busy.contains_key(key) {
            return Take::Busy;
        }
        let Some((key, waiting)) = state.waiting.remove_entry(key) else { return Take::Nothing };
        state.bytes -= waiting.bytes;
        state.order.remove(&waiting.number);
        state.busy.insert(Arc::clone(&key), 1);
        let Waiting { entry, cell, bytes, number, .. } = waiting;
        Take::Taken(Taken { key, entry, cell, number, bytes })
    }

    /// Takes what waits of a key out, if it does, and marks the key as busy while it is changed in another
    /// way, which [`done`](Self::done) ends. `None` where nothing waited or was busy.
    pub(super) fn withdraw(&self, key: &[u8]) -> Option<(Key, Option<SharedCell>)> {
        let mut state = self.lock();
        let Some((key, waiting)) = state.waiting.remove_entry(key) else {
            // Its sender finds that it was changed.
            return None;
        };
        state.bytes -= waiting.bytes;
        state.order.remove(&waiting.number);
        *state.busy.entry(Arc::clone(&key)).or_insert(0) += 1;
        Some((key, waiting.cell))
    }

    /// The key is not busy any more by this thread.
    pub(super) fn done(&self, shared: Option<&SharedTier>, key: &Key, cell: Option<SharedCell>) {
        let mut state = self.lock();
        if let Some(count) = state.busy.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                state.busy.remove(key);
            }
            release(&mut state, shared, cell);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// True while a value of the key waits, is on its way, or is about to wait: the tiers above may have it, and
    /// lose it again, before it is enqueued.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        let state = self.lock();
        state.waiting.contains_key(key)
            || state.busy.contains_key(key)
            || state.coming.contains_key(key)
    }

    /// True while a thread sets the key and has not enqueued it yet.
    pub(super) fn is_coming(&self, key: &[u8]) -> bool {
        self.lock().coming.contains_key(key)
    }

    /// True while a value of the key waits, or is about to, that was set after the one that is being sent.
    pub(super) fn has_newer(&self, key: &[u8]) -> bool {
        let state = self.lock();
        state.waiting.contains_key(key) || state.coming.contains_key(key)
    }

    /// What waits of a key, and is not yet being sent.
    pub(super) fn waiting(&self, key: &[u8]) -> Option<Entry> {
        self.lock().waiting.get(key).map(|waiting| waiting.entry.clone())
    }

    /// What the stamp of a basis is now, if only sets of other keys that were enqueued here raised it since.
    pub(super) fn carried(&self, basis: Basis) -> Basis {
        self.lock().raised.carried(basis)
    }

    /// Has a value that was taken wait again for a moment, unless a newer one of its key does.
    pub(super) fn postpone(&self, shared: Option<&SharedTier>, taken: Taken) {
        let Taken { key, entry, cell, number, bytes } = taken;
        let mut state = self.lock();
        if let Some(count) = state.busy.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                state.busy.remove(&key);
            }
            if let hash_map::Entry::Vacant(vacant) = state.waiting.entry(Arc::clone(&key)) {
                let due = self.clock.coarse().after(TICK);
                vacant.insert(Waiting { entry, cell, bytes, number, due });
                state.order.insert(number, key);
                state.bytes += bytes;
            } else {
                release(&mut state, shared, cell);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The word by which this process knows its claim of a cell.
    pub(super) fn claim_of(&self, cell: SharedCell) -> ClaimWord {
        self.lock().held.get(&cell).map_or(ClaimWord::FREE, |held| held.word)
    }

    /// True where nothing waits and nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.busy.is_empty()
    }

    /// How many keys wait, and their bytes.
    pub(super) fn len(&self) -> (u64, u64) {
        let state = self.lock();
        (state.waiting.len() as u64, state.bytes as u64)
    }

    /// The number of the value that is enqueued next: all that wait have a lower one.
    pub(super) fn next_number(&self) -> u64 {
        self.lock().next_number
    }

    /// The keys that wait, of those below this number, in their order.
    pub(super) fn all(&self, below: u64) -> Vec<Key> {
        self.lock().order.range(..below).map(|(_, key)| Arc::clone(key)).collect()
    }

    /// The first key that waits and is not busy, of those below this number.
    pub(super) fn first(&self, below: u64) -> Option<Key> {
        let state = self.lock();
        let mut waiting = state.order.range(..below).map(|(_, key)| key);
        waiting.find(|key| !state.busy.contains_key(*key)).map(Arc::clone)
    }

    /// All that waits, for who closes: nothing more is let in.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.called.notify_all();
    }

    /// Loses all that waits, as if the process had been killed: its claims stay.
    #[cfg(feature = "sim")]
    pub(super) fn lose(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // What is being set is still to be given back.
        let waiting: usize = state.waiting.values().map(|waiting| waiting.bytes).sum();
        state.bytes -= waiting;
        state.forget();
    }

    /// Waits until a key that is busy is not, until this moment at most.
    pub(super) fn wait_until_idle(&self, key: Option<&[u8]>, until: Instant) {
        let mut state = self.lock();
        let is_busy = |state: &State| match key {
            Some(key) => state.busy.contains_key(key),
            None => !state.busy.is_empty(),
        };
        while is_busy(&state) && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// Waits until all that is being set now is enqueued or given up, until this moment at most.
    pub(super) fn wait_until_come(&self, until: Instant) {
        let mut state = self.lock();
        let next = state.next_claim;
        while state.claims.first().is_some_and(|first| *first < next)
            && !self.changed.wait_until(&mut state, until).timed_out()
        {}
    }

    /// Waits for a moment, unless something is due.
    pub(super) fn nap(&self) {
        let mut state = self.lock();
        let first = state.order.values().next().and_then(|key| state.waiting.get(key));
        // What cannot be sent while the cache closes waits on.
        let is_over = state.is_closed && first.is_none();
        if !is_over && first.is_none_or(|first| first.due > self.clock.coarse()) {
            self.called.wait_until(&mut state, simulated::now() + TICK.min(self.delay));
        }
    }

    /// The keys that are due, or whose cell somebody waits for.
    /// `None` where nothing waits any more: the thread ends.
    pub(super) fn due(&self, shared: Option<&SharedTier>) -> Option<Vec<Key>> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            state.has_thread = false;
            return None;
        }
        let now = self.clock.coarse();
        let mut keys: Vec<Key> = Vec::new();
        let is_due = |key: &&Key| state.waiting.get(*key).is_some_and(|it| it.due <= now);
        keys.extend(state.order.values().take_while(is_due).map(Arc::clone));
        if let Some(shared) = shared {
            let wanted: Vec<SharedCell> = state
                .held
                .iter()
                .filter(|(cell, held)| shared.claim_below(**cell, held.word).is_wanted())
                .map(|(cell, _)| *cell)
                .collect();
            if !wanted.is_empty() {
                let is_wanted = |it: &Waiting| it.cell.is_some_and(|cell| wanted.contains(&cell));
                let is_early = |it: &Waiting| it.due > now && is_wanted(it);
                let more = state.order.values();
                let more = more.filter(|key| state.waiting.get(*key).is_some_and(is_early));
                keys.extend(more.map(Arc::clone));
            }
            self.prolong(&mut state, shared);
        }
        Some(keys)
    }

    /// There is no thread: whoever enqueues next is to start one.
    pub(super) fn thread_ended(&self) {
        self.lock().has_thread = false;
    }

    /// Has claims hold for what is sent late.
    fn prolong(&self, state: &mut State, shared: &SharedTier) {
        let now = self.clock.boot();
        let soon = now.after(self.rest / 2);
        let until = now.after(self.delay).after(self.rest);
        for (cell, held) in &mut state.held {
            if held.word.until() < soon
                && let Some(word) = shared.hold_below(*cell, held.word, self.owner, until)
            {
                held.word = word;
            }
        }
    }

    /// The state, made anew where it is that of the process that this one was forked from.
    fn lock(&self) -> MutexGuard<'_, State> {
        let generation = sync::generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            state.generation = generation;
            state.forget();
            state.bytes = 0;
        }
        state
    }
}

impl State {
    /// Forgets what waits and what is on its way, and leaves the claims as they are.
    fn forget(&mut self) {
        self.waiting.clear();
        self.order.clear();
        self.coming.clear();
        self.claims.clear();
        self.busy.clear();
        self.held.clear();
        self.raised = Raised::default();
        self.has_thread = false;
    }

    /// A set of the key has been enqueued, or given up.
    fn has_come(&mut self, key: &Key, claim: u64) {
        self.claims.remove(&claim);
        let Some(count) = self.coming.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            self.coming.remove(key);
        }
    }

    /// A set raised the stamp of this basis to what it is.
    fn note_raise(&mut self, basis: Basis) {
        if self.raised.is_long() {
            let waiting = self.waiting.values().map(|waiting| waiting.entry.basis);
            self.raised.forget_all_but(waiting);
        }
        self.raised.note(basis);
    }
}

impl Entry {
    /// True if it was set after another one of the key, as far as their stamps say.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (self.basis, other.basis) {
            (Basis::Shared(mine), Basis::Shared(other)) => {
                mine.clear_epoch == other.clear_epoch
                    && (mine.stamp.wrapping_sub(other.stamp) as i32) > 0
            }
            (Basis::Private(mine, _), Basis::Private(other, _)) => mine.is_after(other),
            _ => false,
        }
    }
}

/// Gives back one key's part of the claim of a cell.
fn release(state: &mut State, shared: Option<&SharedTier>, cell: Option<SharedCell>) {
    let Some(cell) = cell else { return };
    let Some(held) = state.held.get_mut(&cell) else { return };
    held.keys -= 1;
    if held.keys == 0 {
        let word = held.word;
        state.held.remove(&cell);
        if let Some(shared) = shared {
            shared.free_below(cell, word);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
