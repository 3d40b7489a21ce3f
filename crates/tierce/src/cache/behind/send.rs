//! How what waits is sent: when it is due, when somebody asks for it, and when a cache ends.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    NAP, SENDERS,
    queue::{Entry, Key, Queue, Take, Taken},
};
use crate::{
    cache::{
        Cache, Inner,
        change::closed,
        plan::{Plan, Reach},
    },
    codec::Format,
    error::{ErrorKind, Result},
    metrics::CacheCounter,
    simulated::{self, Fault},
    tier::Record,
    tiering::TierKind,
};

/// Keys for which another thread is worth it.
const EACH: usize = 8;
/// How often all is sent where newer values came while it was: what was set before then is there, or was
/// overtaken so often that another round would say no more.
const ROUNDS: u32 = 8;
/// For how long a change waits for another thread of this process that sends a value of its key.
const SENDING: Duration = Duration::from_secs(2);

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Sends L3 what was set behind it until now ([`WritePolicy::Behind`](crate::WritePolicy::Behind)), for
    /// [`RedisOptions::flush_timeout`](crate::RedisOptions::flush_timeout) at most. True where all of it
    /// is there or was overtaken by other changes; at once where nothing waits. What does not get there in
    /// time goes on waiting; what got no answer is a change that L3 did not take.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn flush(&self) -> Result<bool> {
        if !self.inner.plan.load().is_open() {
            return Err(closed());
        }
        Ok(self.inner.flush(self.inner.behind.flush_timeout))
    }

    /// Has what waits behind L3 be lost, as if the process had been killed.
    #[cfg(feature = "sim")]
    pub(crate) fn lose_waiting(&self) {
        self.inner.behind.queue.lose();
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Sends the value of a key that waits, by this thread or, where another is at it, by that. False where
    /// it goes on waiting: nobody knows now whether another host changed it.
    pub(in crate::cache) fn send_key(&self, key: &[u8]) -> bool {
        let straddles_no_retier = self.changing();
        match self.behind.queue.take(key) {
            Take::Taken(taken) => return self.send(taken),
            Take::Busy => {
                drop(straddles_no_retier);
                self.behind.queue.wait_until_idle(Some(key), simulated::now() + SENDING);
            }
            Take::Nothing => {}
        }
        true
    }

    fn send(&self, taken: Taken) -> bool {
        let (plan, shared) = (self.plan.load(), self.lowers.shared.opened());
        if self.is_suspended(plan, &taken.key, taken.entry.basis.word()) {
            self.behind.queue.postpone(shared, taken);
            return false;
        }
        let Taken { key, entry, cell, .. } = taken;
        let outcome = self.send_entry(plan, &key, &entry);
        self.metrics.count(outcome);
        if matches!(outcome, CacheCounter::BehindInDoubt) {
            self.behind.in_doubt.fetch_add(1, Ordering::Relaxed);
        }
        self.behind.queue.done(shared, &key, cell);
        true
    }

    /// Sends a value, unless its key was changed since.
    fn send_entry(&self, plan: Plan, key: &[u8], entry: &Entry) -> CacheCounter {
        // Before there is another number for the latest change.
        if !self.is_to_be_sent(key, entry) {
            return self.give_way(plan, key, entry, entry.before);
        }
        // Before the look that counts: a value that is set after that knows that this is an older change.
        let change = self.begin_change(plan, key);
        let is_latest = self.is_to_be_sent(key, entry);
        let Some(mut record) = self.aged_entry(entry).filter(|_| is_latest) else {
            self.abandon_change(plan, key, change);
            return self.give_way(plan, key, entry, entry.before);
        };
        record.change = Self::number_of(change);
        self.count_bytes_in(plan.within(Reach::of(crate::tiering::Tiering::L3)), &record);
        let Some(made) = self.write_below(plan, key, &record) else {
            self.abandon_change(plan, key, change);
            return CacheCounter::BehindInDoubt;
        };
        // Whatever the tiers above have by now, it is not older: news of this change are to leave it.
        self.end_change(plan, key, change);
        self.made(plan, key, made);
        if !self.is_latest(&entry.basis) && !simulated::is_planted(Fault::SentUnlooked) {
            return self.give_way(plan, key, entry, Some(record.change));
        }
        CacheCounter::BehindSent
    }

    /// False where the key was changed since, or a newer value of it waits: that one was set before there was
    /// a number for this change, and would take it for a later one.
    fn is_to_be_sent(&self, key: &[u8], entry: &Entry) -> bool {
        self.is_latest(&entry.basis) && !self.behind.queue.has_newer(key)
    }

    /// Writes a record into L3; the stamp that this made. `None` where L3 did not take it, and is not asked
    /// for the key any more.
    #[allow(clippy::option_option)]
    fn write_below(&self, plan: Plan, key: &[u8], record: &Record) -> Option<Option<u64>> {
        let mut written = None;
        self.change_remote(plan, key, |tier| {
            // What it does not keep must not leave the old value there either.
            written = Some(match tier.write(key, record) {
                Err(error) if error.kind() == ErrorKind::TooLarge => {
                    self.metrics.tier(TierKind::Redis).error(error.kind());
                    tier.write(key, &record.oversized())
                }
                Err(error) if error.kind() == ErrorKind::Full => {
                    self.metrics.tier(TierKind::Redis).error(error.kind());
                    tier.delete(key)
                }
                taken => taken,
            }?);
            Ok(())
        });
        written
    }

    /// Has L3 hold nothing older than the change that came to a key while its value waited: a word
    /// without a value, unless that change is there: not the change `before`, which was before it.
    fn give_way(&self, plan: Plan, key: &[u8], entry: &Entry, before: Option<u64>) -> CacheCounter {
        if self.behind.queue.has_newer(key) {
            // Which keeps all from asking L3, and sees to it in its turn.
            self.behind.outrun.fetch_add(1, Ordering::Relaxed);
            return CacheCounter::BehindOvertaken;
        }
        let found = self.lowers.redis.call(plan, &self.metrics, |tier| tier.read(key));
        let seen = found.and_then(|found| found.token).map_or(0, |token| token.seen);
        if seen != 0 && before != Some(seen) && self.has_done(plan, key, seen) {
            return CacheCounter::BehindOvertaken;
        }
        let nothing = Record::new(Bytes::new(), Format::Absent, entry.record.ttl);
        let change = self.begin_change(plan, key);
        let nothing = Record { change: Self::number_of(change), ..nothing }.oversized();
        let written = self.write_below(plan, key, &nothing);
        // Another host may have changed the key between what overtook this value and the word. Whoever hears
        // of that finds the word there, which is not what the tiers above have: they lose the key.
        if simulated::is_planted(Fault::GivenWayKept) {
            self.end_change(plan, key, change);
        }
        self.abandon_change(plan, key, change);
        match written {
            Some(_) => CacheCounter::BehindOvertaken,
            None => CacheCounter::BehindInDoubt,
        }
    }

    /// Sends all that waits now, for so long at most. False where some still does, or some that was sent
    /// meanwhile may not be there.
    pub(in crate::cache) fn flush(&self, timeout: Duration) -> bool {
        let queue = &self.behind.queue;
        let in_doubt = || self.behind.in_doubt.load(Ordering::Relaxed);
        let outrun = || self.behind.outrun.load(Ordering::Relaxed);
        let (before, until) = (in_doubt(), simulated::now() + timeout);
        for _ in 0..ROUNDS {
            let outrun_before = outrun();
            // A value that it would have sent may have given way to what is being set.
            queue.wait_until_come(until);
            if queue.is_empty() {
                break;
            }
            let below = queue.next_number();
            self.share(queue.all(below)).send(self, until);
            while simulated::now() < until
                && let Some(key) = queue.first(below)
            {
                if !self.send_key(&key) {
                    simulated::sleep(NAP);
                }
            }
            queue.wait_until_idle(None, until);
            if queue.first(below).is_some() {
                return false;
            }
            if outrun() == outrun_before || simulated::now() >= until {
                break;
            }
        }
        in_doubt() == before
    }

    /// Sends what waits before tiers enter or leave.
    pub(in crate::cache) fn flush_for_retier(&self) {
        self.flush(self.behind.flush_timeout);
    }

    /// Has nothing wait any more, for who changes the tiers alone: L3 is doubted instead.
    pub(in crate::cache) fn give_up_waiting(&self) {
        let shared = self.lowers.shared.opened();
        while let Some(key) = self.behind.queue.first(u64::MAX) {
            let Some(withdrawn) = self.behind.withdraw(shared, &key) else { continue };
            // Before the claim is given back.
            self.doubt_remote(&key);
            self.metrics.count(CacheCounter::BehindInDoubt);
            drop(withdrawn);
        }
    }

    /// Sends what waits, or doubts L3, for good.
    pub(in crate::cache) fn close_behind(&self) {
        self.behind.queue.close();
        self.flush(self.behind.flush_timeout);
    }

    /// For who drops a cache that was not closed.
    pub(in crate::cache) fn end_behind(&self) {
        if self.behind.queue.is_empty() {
            return;
        }
        self.close_behind();
        self.give_up_waiting();
    }

    pub(in crate::cache) fn close_sending(&self) {
        self.behind.crew.close(Duration::ZERO);
    }

    /// Has other threads send a part of these keys, where they are many.
    fn share(&self, keys: Vec<Key>) -> Arc<Share> {
        let helpers = (keys.len() / EACH).min(SENDERS - 1);
        let share = Arc::new(Share { keys, next: AtomicUsize::new(0) });
        for _ in 0..helpers {
            let (me, share) = (self.me.clone(), Arc::clone(&share));
            let helps = move || {
                // Who drops the cache sends alone.
                if let Some(inner) = me.upgrade() {
                    share.send(&inner, simulated::now() + SENDING);
                }
            };
            if self.behind.crew.spawn(helps).is_err() {
                break;
            }
        }
        share
    }

    /// Has a thread send what is due; false where there is none to be had.
    pub(super) fn start_sending(&self) -> bool {
        let (me, queue) = (self.me.clone(), Arc::clone(&self.behind.queue));
        let is_started = self.behind.crew.spawn(move || send_when_due(&me, &queue)).is_ok();
        if !is_started {
            self.behind.queue.thread_ended();
        }
        is_started
    }
}

/// Keys that several threads send.
struct Share {
    keys: Vec<Key>,
    next: AtomicUsize,
}

impl Share {
    /// Sends one key after the other that no other thread has taken, until this moment, or until one has
    /// to go on waiting: so do others, as a rule.
    fn send<V: Clone + Send + Sync + 'static>(&self, inner: &Inner<V>, until: Instant) {
        while simulated::now() < until
            && let Some(key) = self.keys.get(self.next.fetch_add(1, Ordering::Relaxed))
            && inner.send_key(key)
        {}
    }
}

/// Sends what is due until nothing waits.
fn send_when_due<V: Clone + Send + Sync + 'static>(me: &Weak<Inner<V>>, queue: &Queue) {
    loop {
        // Who drops the cache is not to wait for this thread.
        queue.nap();
        let Some(inner) = me.upgrade() else { return };
        let Some(due) = queue.due(inner.lowers.shared.opened()) else { return };
        inner.share(due).send(&inner, simulated::now() + SENDING);
    }
}
