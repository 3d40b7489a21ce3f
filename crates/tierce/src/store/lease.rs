//! One load of a key at a time on the host: leases in the lock file.
//!
//! ```text
//! lease (128 bytes)    robust mutex | word: turn and state | tag | deadline | what was current
//! 64 sets of 4 leases; a key belongs to the set of its hash, and to a lease while it is loaded
//!
//!            take: lock                 give back: unlock
//!   FREE  ---------------->  HELD  ----------------------->  FREE      turn + 1 with each take
//!                             | \___ owner died: lock had, HEIR
//!                             | too late, or the key changed
//!                             v
//!                           LEFT      the owner keeps the mutex, and all others take another lease
//! ```
//! In each process one thread leads a load. It looks for its key's tag in the set; where no lease
//! has it, it takes the first one whose mutex it gets without waiting. It holds the mutex until
//! its load has been stored or has failed, and looks in the tiers again before it loads.
//!
//! The others wait for the word to change, by naps of 1 to 20 ms: a futex wakes them at once when
//! the lease is given back, and after each nap they
//!
//! - try the mutex: had while the word is unchanged means that its owner died, in this or another
//!   PID namespace, whatever forked children it has. The lease is theirs.
//! - compare the stamp and the epochs under which the lease was taken with those of now. Where the
//!   key changed, what is being loaded will be kept by nobody, and they leave the lease.
//! - compare the deadline with the clock. They leave the lease of an owner that hangs.
//!
//! Who waits holds no lock. Each wait ends: by the deadline of the lease, and by the caller's own
//! patience. Whoever found that a load ended without a value in the tiers (it failed, or is not to
//! be kept) waits for no other one: callers of a failing loader would queue for their turns.
//! A thread that holds a lease (its loader asks for other keys) waits for none, so no circle of
//! owners can form.
//!
//! A lease is not prolonged. Only the loader could tell that it gets on: a thread beside it would
//! prolong the lease of one that hangs as well. So a load longer than its lease, however alive, is
//! begun by one more process, and `load_lease` is to be longer than loads usually take.
//!
//! A lease decides nothing but who waits. What may be stored is decided by stamps and tokens alone,
//! so a lease that is lost, left, confused with that of another key (tags are 32 bits) or
//! not had (all four are in use) costs one more load and nothing else. In a child forked by a
//! loader the lease is its parent's: it is not given back there.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    clock::Millis,
    error::Result,
    simulated,
    store::{
        KeyHash, Store,
        lock::{LEASE_BYTES, LEASE_WORDS_AT, LEASES, LEASES_AT, LockGuard, NotLocked},
        map::shared_struct,
    },
    sync,
};

/// Leases that a key may have.
const WAYS: u32 = 4;
const SETS: u32 = LEASES / WAYS;
/// The first nap: loads shorter than this are not worth a wait.
const FIRST_NAP: Duration = Duration::from_millis(1);
/// The longest: the death of an owner is noticed within it.
const LONGEST_NAP: Duration = Duration::from_millis(20);
/// How often the caller's check is called: as in waits for another thread of the process.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Looks at a lease that is being taken, a nap apart, before it is given up: whoever takes it may
/// have to wait for a processor between two instructions.
const LOOKS: u32 = 100;

const STATE: u32 = 3;
const FREE: u32 = 0;
const HELD: u32 = 1;
/// Its owner is to be waited for no longer.
const LEFT: u32 = 2;
/// Held, and taken from an owner that died.
const HEIR: u32 = 3;
const TURN: u32 = 4;

shared_struct! {
    Words, 64 {
        /// Turn and state; what is waited for.
        word: AtomicU32,
        /// The upper half of the key's hash.
        tag: AtomicU32,
        /// Boot time in milliseconds.
        deadline: AtomicU64,
        /// The stamp and the epochs of the key when the lease was taken.
        current: AtomicU64,
        reserved: [AtomicU64; 5],
    }
}

thread_local! {
    /// How many leases this thread holds.
    static HOLDS: Cell<u32> = const { Cell::new(0) };
}

/// One call's way to its turn to load a key.
pub(crate) struct Turns {
    store: Arc<Store>,
    hash: KeyHash,
    /// When the caller's patience ends; `None` for never.
    until: Option<Instant>,
    waited: Cell<bool>,
    /// True once a load of another process ended while this call waited for it.
    landed: Cell<bool>,
}

/// What a caller is to do now. In each case it first looks in the tiers.
pub(crate) enum Turn<'a> {
    /// Load; others wait until the lease is dropped.
    Mine(#[allow(dead_code)] Lease<'a>),
    /// Ask again: what was waited for has ended.
    Over,
    /// Load without a lease.
    Alone,
}

/// The duty to load a key. Dropped by the thread that took it, once the value is in the tiers.
pub(crate) struct Lease<'a> {
    store: &'a Store,
    guard: Option<LockGuard<'a>>,
    number: u32,
    /// The word, with the state of one that is given back.
    freed: u32,
    /// The process ([`sync::generation`]) that took it.
    generation: u32,
}

/// A lease that another process, or another thread of this one, has for the key.
#[derive(Clone, Copy)]
struct Seen {
    number: u32,
    word: u32,
}

enum Taken<'a> {
    Mine(Lease<'a>),
    Theirs(Seen),
    None,
}

enum Waited<'a> {
    /// The owner died.
    Mine(Lease<'a>),
    /// The owner is done.
    Landed,
    /// The lease was left, or has an heir.
    Again,
    /// The caller's patience ended.
    Late,
}

impl Turns {
    /// For a load of the key with this hash, by a call that waits at most for `patience`; `None`
    /// where leases are off.
    pub(crate) fn new(store: Arc<Store>, hash: KeyHash, patience: Duration) -> Option<Self> {
        if store.load_lease.is_zero() {
            return None;
        }
        let until = simulated::now().checked_add(patience);
        Some(Self { store, hash, until, waited: Cell::new(false), landed: Cell::new(false) })
    }

    /// Takes the key's lease, or waits for who has it and calls `check` every now and then.
    ///
    /// # Errors
    /// That of `check`.
    pub(crate) fn ask(&self, check: impl Fn() -> Result<()>) -> Result<Turn<'_>> {
        let store = &*self.store;
        // Without its records nobody would find what another one stored.
        if store.parked.is_parked(&store.clock) {
            return Ok(Turn::Alone);
        }
        let seen = match store.take_lease(self.hash) {
            Taken::Mine(lease) => return Ok(Turn::Mine(lease)),
            Taken::None => return Ok(Turn::Alone),
            Taken::Theirs(seen) => seen,
        };
        if self.landed.get() || HOLDS.get() != 0 {
            return Ok(Turn::Alone);
        }
        self.waited.set(true);
        Ok(match store.wait_for_lease(self.hash, seen, self.until, check)? {
            Waited::Mine(lease) => Turn::Mine(lease),
            Waited::Landed => {
                self.landed.set(true);
                Turn::Over
            }
            Waited::Again => Turn::Over,
            Waited::Late => Turn::Alone,
        })
    }

    /// Takes a turn without waiting; `None` where another has the lease.
    pub(crate) fn take(&self) -> Option<Turn<'_>> {
        let store = &*self.store;
        if store.parked.is_parked(&store.clock) {
            return Some(Turn::Alone);
        }
        match store.take_lease(self.hash) {
            Taken::Mine(lease) => Some(Turn::Mine(lease)),
            Taken::None => Some(Turn::Alone),
            Taken::Theirs(_) => None,
        }
    }

    /// True if the call waited for the load of another.
    pub(crate) fn has_waited(&self) -> bool {
        self.waited.get()
    }
}

impl Store {
    fn lease(&self, number: u32) -> &Words {
        let at = LEASES_AT + u64::from(number % LEASES) * LEASE_BYTES;
        self.locks.mapping().at(at + LEASE_WORDS_AT)
    }

    fn take_lease(&self, hash: KeyHash) -> Taken<'_> {
        let first = hash.0 as u32 % SETS * WAYS;
        for _ in 0..LOOKS {
            for number in first..first + WAYS {
                let word = self.lease(number).word.load(Ordering::Acquire);
                let tag = self.lease(number).tag.load(Ordering::Relaxed);
                if matches!(word & STATE, HELD | HEIR) && tag == tag_of(hash) {
                    return Taken::Theirs(Seen { number, word });
                }
            }
            let mut is_in_motion = false;
            for number in first..first + WAYS {
                match self.locks.try_lock_lease(number) {
                    Ok(guard) => {
                        let lease = self.hold(number, guard, hash);
                        // Two that began at once may have taken two of them.
                        if (first..number).any(|other| self.is_held_for(other, hash)) {
                            drop(lease);
                            is_in_motion = true;
                            break;
                        }
                        return Taken::Mine(lease);
                    }
                    Err(NotLocked::Busy) => {
                        // Just being taken, and likely for this very key; or taken for it since it
                        // was looked at.
                        is_in_motion = self.is_held_for(number, hash)
                            || self.lease(number).word.load(Ordering::Acquire) & STATE == FREE;
                        if is_in_motion {
                            break;
                        }
                    }
                    Err(NotLocked::Lost(_)) => {}
                }
            }
            if !is_in_motion {
                break;
            }
            thread::sleep(FIRST_NAP);
        }
        Taken::None
    }

    /// True if somebody has this lease for a key with this hash.
    fn is_held_for(&self, number: u32, hash: KeyHash) -> bool {
        let word = self.lease(number).word.load(Ordering::Acquire);
        let tag = self.lease(number).tag.load(Ordering::Relaxed);
        matches!(word & STATE, HELD | HEIR) && tag == tag_of(hash)
    }

    /// Makes a lease whose mutex is held the key's.
    fn hold<'a>(&'a self, number: u32, guard: LockGuard<'a>, hash: KeyHash) -> Lease<'a> {
        let words = self.lease(number);
        let before = words.word.load(Ordering::Relaxed);
        let was_held = matches!(before & STATE, HELD | HEIR);
        let freed = (before & !STATE).wrapping_add(TURN) | FREE;
        words.tag.store(tag_of(hash), Ordering::Relaxed);
        words.deadline.store(self.clock.boot().after(self.load_lease).0, Ordering::Relaxed);
        words.current.store(self.current(hash), Ordering::Relaxed);
        // Release: who sees the word sees what was stored before it.
        words.word.store(freed | if was_held { HEIR } else { HELD }, Ordering::Release);
        if was_held {
            wake_all(&words.word);
        }
        HOLDS.set(HOLDS.get() + 1);
        Lease { store: self, guard: Some(guard), number, freed, generation: sync::generation() }
    }

    fn wait_for_lease(
        &self,
        hash: KeyHash,
        seen: Seen,
        until: Option<Instant>,
        check: impl Fn() -> Result<()>,
    ) -> Result<Waited<'_>> {
        let words = self.lease(seen.number);
        let mut nap = FIRST_NAP;
        let mut next_check = simulated::now() + CHECK_INTERVAL;
        loop {
            let word = words.word.load(Ordering::Acquire);
            if word != seen.word {
                let is_over = matches!(word & STATE, FREE | HELD);
                return Ok(if is_over { Waited::Landed } else { Waited::Again });
            }
            if let Ok(guard) = self.locks.try_lock_lease(seen.number) {
                if words.word.load(Ordering::Acquire) == seen.word {
                    return Ok(Waited::Mine(self.hold(seen.number, guard, hash)));
                }
                continue;
            }
            let (deadline, now) =
                (Millis(words.deadline.load(Ordering::Relaxed)), self.clock.boot());
            if deadline <= now || words.current.load(Ordering::Relaxed) != self.current(hash) {
                let left = seen.word & !STATE | LEFT;
                let leave = words.word.compare_exchange(
                    seen.word,
                    left,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if leave.is_ok() {
                    wake_all(&words.word);
                }
                return Ok(Waited::Again);
            }
            let mut longest = nap.min(deadline.remaining(now).unwrap_or(nap));
            if let Some(until) = until {
                let patience = until.saturating_duration_since(simulated::now());
                if patience.is_zero() {
                    return Ok(Waited::Late);
                }
                longest = longest.min(patience);
            }
            if simulated::now() >= next_check {
                check()?;
                next_check = simulated::now() + CHECK_INTERVAL;
            }
            wait(&words.word, seen.word, longest);
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }

    /// What a change of the key, or of all keys, makes another number.
    fn current(&self, hash: KeyHash) -> u64 {
        let token = self.token(hash);
        // Both epochs only rise, so their sum does.
        let epochs = token.shard_epoch.wrapping_add(token.clear_epoch);
        u64::from(token.stamp) | u64::from(epochs) << 32
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        HOLDS.set(HOLDS.get().saturating_sub(1));
        let guard = self.guard.take();
        if self.generation != sync::generation() {
            std::mem::forget(guard);
            return;
        }
        let word = &self.store.lease(self.number).word;
        word.store(self.freed, Ordering::Release);
        drop(guard);
        wake_all(word);
    }
}

fn tag_of(hash: KeyHash) -> u32 {
    (hash.0 >> 32) as u32
}

/// Sleeps while `word` holds `value`, at most for `longest`; other processes may wake it.
fn wait(word: &AtomicU32, value: u32, longest: Duration) {
    if simulated::wait(word, value, Some(longest)) {
        return;
    }
    let span = libc::timespec {
        tv_sec: longest.as_secs() as libc::time_t,
        tv_nsec: longest.subsec_nanos().into(),
    };
    // SAFETY: `word` and `span` are valid for the call, in which nothing is written.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, ptr::from_ref(&span))
    };
}

/// Wakes all that sleep on `word`, in all processes.
fn wake_all(word: &AtomicU32) {
    // SAFETY: only the address of `word` is used.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
