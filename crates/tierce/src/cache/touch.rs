//! `touch`: another time to live for what a key has, without its value.
//!
//! It is a change as `expire` is one: tiers below first, then the stamps, for there may be copies
//! that end when the value did before; they give way. Each tier judges by itself whether what it has
//! is live:
//!
//! | tier | is given its new end by |
//! |---|---|
//! | L3 | a script, which reads from the record how long it is stale and marks it as touched |
//! | L2 | writing it anew under the lock of its part of the store, unless it was changed |
//! | L1 | an entry like the one that it has, in its place if that is still so |
//!
//! Where L3 does not answer it is doubted, as after any change: it may go on serving what is to end
//! earlier now. Where it is in doubt already it is not asked: what it has may be older than a change,
//! and will be cleared.
//!
//! L3 marks its record as touched, so that nobody knows it by its number any more: at the news of it L2 and
//! L1 lose their copies, which L3 has. Of what L3 has only a word of, set around it or too large, this host
//! knows the news of its own touch by the stamp that it made.
//!
//! While nobody tells this host of the changes of others its copies live for the staleness bound at
//! most since they were looked for; a touch may end them earlier, but prolongs none.

use std::time::Duration;

use super::{Cache, Event, Inner, MAX_KEY_BYTES, Near, change::closed, plan::Plan};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    invalidation::{Filed, LocalMark},
    memory::{Inserted, Ttl},
    shared_stamp::SharedStamp,
    simulated::{self, Fault},
    tier::{Touch, TouchSpan as Span},
    tiering::TierKind,
};

/// How often L1 is tried where other changes of the key, or of keys that share its stamp, come in
/// between: more often than all threads of a large machine meet each other.
const TRIES: u32 = 1_000;

/// What L1 has of a key, with its new end.
struct Seen<V> {
    near: Near<V>,
    ttl: Ttl,
    /// Of what it has.
    filed: Filed,
    made_at: Millis,
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Has the value of `key` be fresh for `ttl` from now on, in all tiers and without sending it
    /// anywhere; returns whether there was one. One that is stale is none. How long it may be served
    /// as stale after that stays, and so does what it was made of: its age counts from when it was
    /// set or loaded (L3 no longer knows it, so [`max_age`](crate::ReadOptions::max_age) takes what
    /// comes from there for too old).
    ///
    /// When it returns, no process of this host serves the value for longer than that. A span too
    /// long to express means for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tierce::{Bytes, Cache, SetOptions};
    ///
    /// let cache = Cache::builder().build()?;
    /// let minute = Duration::from_secs(60);
    /// cache.set_with("session:7", Bytes::from("Ada"), &SetOptions::new().ttl(minute))?;
    /// assert!(cache.touch("session:7", 10 * minute)?);
    /// assert!(!cache.touch("session:8", 10 * minute)?);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a time to live of zero: that is [`expire`](Self::expire) or
    /// [`delete`](Self::delete). [`ErrorKind::Closed`].
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        self.inner.touch(key.as_ref(), ttl)
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn touch(&self, key: &[u8], ttl: Duration) -> Result<bool> {
        if ttl.is_zero() {
            let message = "ttl = 0: must be above zero for a touch; expire or delete the key";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let fresh = Some(ttl).filter(|ttl| Millis(0).after(*ttl) != Millis::NEVER);
        let _straddles_no_retier = self.changing();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(closed());
        }
        self.listen(plan);
        if key.len() > MAX_KEY_BYTES {
            return Ok(false);
        }
        // L3 is to touch what is latest.
        self.await_settled(key);
        let mut marks = self.marks(plan, key);
        let withdrawn = self.overrule(key, Some(&mut marks));
        if withdrawn.is_some() {
            // It came since, or could not be sent. Nobody sends it any more, and L3 has an older one.
            self.doubt_remote(key);
        }
        let span = Span { fresh, prolongs: self.may_prolong(plan, &marks) };
        let seen = self.look_to_touch(plan, key, span);
        let mut is_there = seen.is_some();
        let (mut made, mut is_raised, mut touching) = (None, is_there, None);
        if self.is_void_below(plan, key) {
            // L3 does not know which records a tag has voided.
        } else if plan.has(TierKind::Redis) && !self.may_ask_remote(plan, key) {
            // What it has may be older than a change of the key.
        } else if plan.has(TierKind::Redis) {
            touching = self.begin_touch(plan, key);
            let mut answer = None;
            self.change_remote(plan, key, |tier| {
                answer = Some(tier.touch(key, fresh)?);
                Ok(())
            });
            match answer {
                Some(Touch::Done(stamp)) => (made, is_there, is_raised) = (stamp, true, true),
                Some(Touch::Oversized(stamp)) => (made, is_raised) = (stamp, true),
                Some(Touch::Absent) => {}
                // Done or not: what was copied from there must go.
                None => is_raised = true,
            }
        } else if is_there {
            self.doubt_remote(key);
        }
        if simulated::is_planted(Fault::TouchBelowAlone) {
            return Ok(is_there);
        }
        // Where L2 alone has it, it is L2 that finds out.
        let doubts = !plan.has(TierKind::Redis) && !is_there;
        let mut filed = None;
        match self.lowers.shared.opened() {
            Some(tier) => {
                let span = Span { prolongs: self.may_prolong_in(tier), ..span };
                let (found, changed) = tier.touch(marks.shared(), key, span, is_raised, doubts);
                // Of a store that only others use, this cache has nothing.
                is_there |= found && self.lowers.shared.in_force(plan).is_some();
                is_raised |= found;
                filed = marks.shared().filter(|_| changed.keep).map(|mark| {
                    Filed::Shared(SharedStamp { stamp: changed.stamp, ..mark.stamp() })
                });
            }
            None if is_raised => self.lowers.shared.note(key),
            None => {}
        }
        if !is_raised {
            self.undo_change(plan, key, touching);
            return Ok(false);
        }
        if self.lowers.shared.in_force(plan).is_some() {
            match seen.zip(filed) {
                Some((seen, filed)) => _ = self.replace_near(key, seen, filed, marks.local()),
                None => self.drop_near(key),
            }
        } else {
            is_there |= self.touch_near(plan, key, span);
        }
        self.made(plan, key, made);
        self.end_touch(plan, key, touching, made);
        if is_there {
            self.events.tell(|| Event::Touch { key: key.into() });
        }
        Ok(is_there)
    }

    /// Gives what L1 has its new end, where no store judges it; false if it has nothing.
    fn touch_near(&self, plan: Plan, key: &[u8], span: Span) -> bool {
        let hash = self.memory.hash(key);
        for _ in 0..TRIES {
            // L1 raises a stamp before the value is there, and is read without its lock. Who takes the
            // mark under the lock finds what was there when the stamp was raised, or later.
            let mut mark = self.stamps.mark(hash);
            let take = || mark = self.stamps.mark(hash);
            self.memory.remove_if_after(key, take, |_| false);
            let Some(seen) = self.look_to_touch(plan, key, span) else {
                // What is on its way here from L3 has the old end.
                let is_void = |near: &Near<V>| !self.is_live(plan, near);
                self.memory.remove_if_after(key, || self.stamps.raise(mark), is_void);
                return false;
            };
            let filed = seen.filed;
            if self.replace_near(key, seen, filed, mark) {
                return true;
            }
        }
        self.drop_near(key);
        false
    }

    /// What L1 has that is live and fresh, with another end.
    fn look_to_touch(&self, plan: Plan, key: &[u8], span: Span) -> Option<Seen<V>> {
        if !plan.has(TierKind::Memory) {
            return None;
        }
        let now = self.clock.coarse();
        let look = |near: &Near<V>| {
            // Judged first: its tags may just have been made stale.
            let now = self.look_at(plan, near, now)?;
            let (touched, ttl) = near.touched(span.fresh, span.prolongs, now)?;
            Some(Seen { near: touched, ttl, filed: near.filed, made_at: near.made_at() })
        };
        self.memory.get_with(key, look).flatten()
    }

    /// Puts an entry in the place of the one that was seen, unless the key was changed since, or has
    /// another one by now: false then.
    fn replace_near(&self, key: &[u8], seen: Seen<V>, filed: Filed, mark: LocalMark) -> bool {
        let near = seen.near.refiled(filed);
        let inserted = self.memory.insert_if(key.into(), near, seen.ttl, |present| {
            let is_same = present.is_some_and(|near| near.is_as(seen.filed, seen.made_at));
            let keep = is_same && self.stamps.is_current(mark);
            if keep {
                self.stamps.raise(mark);
            }
            keep
        });
        inserted != Inserted::Declined
    }
}
