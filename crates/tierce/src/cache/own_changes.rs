//! Changes that this host makes in L3, and how it knows the news of them for its own.

use std::time::Duration;

use super::{Inner, plan::Plan, read::Found};
use crate::{
    invalidation::{Change, Stream},
    simulated::{self, Fault},
    tier::{ChangeListener, Post},
};

/// Between two looks at a change of this host's own that is under way: an answer of L3 takes that long.
const OWN_PAUSE: Duration = Duration::from_millis(1);
/// How often it is looked at: other news wait meanwhile.
const LOOKS_AT_OWN: u32 = 50;

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// A change of `key` that this host is about to make in L3; to be ended.
    pub(super) fn begin_change(&self, plan: Plan, key: &[u8]) -> Option<Change> {
        self.coherence
            .concerns(plan)
            .then(|| self.with_stream(plan, |_, stream| stream.begin_change(key)))
    }

    /// This host is about to have L3 touch what it has of the key.
    pub(super) fn begin_touch(&self, plan: Plan, key: &[u8]) -> Option<Change> {
        let begin = |_, stream: Stream<'_>| stream.begin_touch(key);
        self.coherence.concerns(plan).then(|| self.with_stream(plan, begin))
    }

    /// The touch is done with the tiers above L3, where it made this stamp.
    pub(super) fn end_touch(
        &self,
        plan: Plan,
        key: &[u8],
        touching: Option<Change>,
        made: Option<u64>,
    ) {
        if let Some(change) = touching {
            self.with_stream(plan, |_, stream| stream.end_touch(key, change, made));
        }
    }

    /// The number of a change, for its record; 0 where L3 may draw any.
    pub(super) fn number_of(change: Option<Change>) -> u64 {
        change.map_or(0, |change| change.number())
    }

    /// The change is done with the tiers above L3.
    pub(super) fn end_change(&self, plan: Plan, key: &[u8], change: Option<Change>) {
        if let Some(change) = change {
            self.with_stream(plan, |_, stream| stream.end_change(key, change));
        }
    }

    /// L3 did not make the change, as it found something else.
    pub(super) fn undo_change(&self, plan: Plan, key: &[u8], change: Option<Change>) {
        if let Some(change) = change {
            self.with_stream(plan, |_, stream| stream.undo_change(key, change));
        }
    }

    /// The tiers above L3 may have something else than what the change was to put there: who hears of
    /// it removes that.
    pub(super) fn abandon_change(&self, plan: Plan, key: &[u8], change: Option<Change>) {
        if let Some(change) = change {
            self.with_stream(plan, |_, stream| stream.abandon_change(key, change));
        }
    }

    /// The number of the change of which L3 has a word, where the tiers above it have the value.
    fn around_of(&self, plan: Plan, key: &[u8]) -> Option<u64> {
        let of = |found: Found<V>| Some(found.extras.as_deref()?.around?.change);
        let near = self.look_near(plan, key).and_then(of);
        near.or_else(|| of(self.look_shared(plan, key, &self.marks(plan, key))?))
    }

    /// True if news of a key are of a touch by this host, of what L3 has only a word of and this host has the
    /// value: that word is the one of its copy, and the touch was the latest change of the group. Other
    /// copies may go at the news of a touch, as L3 has them.
    pub(super) fn is_own_touch(&self, post: Post, key: &[u8]) -> bool {
        if self.own_change(post, key).is_none() {
            return false;
        }
        let plan = self.plan.load();
        let Some(copy) = self.around_of(plan, key) else { return false };
        for _ in 0..LOOKS_AT_OWN {
            // Before L3 is asked, as below.
            let is_changing = self.with_stream_of(post, |stream| stream.is_changing(key));
            let found = self.lowers.redis.call(plan, &self.metrics, |tier| tier.read(key));
            let Some(token) = found.and_then(|found| found.token) else { return false };
            let [stamp, _] = token.words;
            let has_touched = |stream: Stream<'_>| stream.has_touched(key, stamp);
            if token.seen == copy && self.with_stream_of(post, has_touched) == Some(true) {
                return true;
            }
            if is_changing != Some(true) {
                return false;
            }
            simulated::sleep(OWN_PAUSE);
        }
        false
    }

    /// True if news of a key are of a change that this host made before the one that it made last, or is yet to
    /// send: L3 has had no change of the group that is not known here, and has a record of this host, or none. A
    /// load by another host raises no stamp; its record matters only where no value of this process waits, which
    /// is sent over it.
    pub(super) fn is_own_news(&self, post: Post, key: &[u8]) -> bool {
        let plan = self.plan.load();
        for _ in 0..LOOKS_AT_OWN {
            // Before L3 is asked: what it has then is of this change, or of a later one.
            let is_changing = self.with_stream_of(post, |stream| stream.is_changing(key));
            let waits = self.behind.waits(key) || simulated::is_planted(Fault::GivenWayKept);
            let found = self.lowers.redis.call(plan, &self.metrics, |tier| tier.read(key));
            // Else another host may have given it another end.
            let is_as_made = found.as_ref().and_then(|found| found.record.as_ref());
            let is_as_made = is_as_made.is_none_or(|record| record.is_as_made);
            let Some(token) = found.and_then(|found| found.token) else { return false };
            let [stamp, _] = token.words;
            let is_own = |stream: Stream<'_>| {
                let is_known = waits || token.seen == 0;
                let is_latest = || is_as_made && stream.has_done(key, token.seen);
                is_known && stream.knows(key, stamp) || is_latest()
            };
            if self.with_stream_of(post, is_own) == Some(true) {
                return true;
            }
            if is_changing != Some(true) {
                return false;
            }
            simulated::sleep(OWN_PAUSE);
        }
        false
    }

    /// The latest change of the key by this host, if it is known.
    pub(super) fn latest_change(&self, plan: Plan, key: &[u8]) -> Option<u64> {
        let look = |_, stream: Stream<'_>| stream.own_change(key);
        self.coherence.concerns(plan).then(|| self.with_stream(plan, look)).flatten()
    }

    /// True if this host made the change of this number, and no later one of the key, and is done with it.
    pub(super) fn has_done(&self, plan: Plan, key: &[u8], number: u64) -> bool {
        let look = |_, stream: Stream<'_>| stream.has_done(key, number);
        self.coherence.concerns(plan) && self.with_stream(plan, look)
    }
}
