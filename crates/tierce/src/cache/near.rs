//! An entry of L1: the value, the mark under which it was filed, and how long it is fresh.
//!
//! L1 itself ends the entry when its stale window is over; that it is stale before is said here.

use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{filing::Draft, freshness::Life, read::Found};
use crate::{
    clock::Millis, invalidation::Filed, memory::Ttl, tag_cells::Tags, tier::Extras,
    tiering::TierKind,
};

/// What L1 holds under a key.
pub(super) struct Near<V> {
    /// `None` where a loader said that there is no value.
    pub(super) value: Option<V>,
    pub(super) filed: Filed,
    /// What the codec said, before any lock was taken.
    pub(super) weight: usize,
    /// When it was set or its load began; [`Millis::NEVER`] where that is not known.
    made_at: Millis,
    /// When it ceases to be fresh; [`Millis::NEVER`] where it has no stale window, so that a read
    /// need not ask the clock. The one thing that changes while the entry lies in L1:
    /// [`expire`](Self::expire) brings it forward.
    fresh_until: AtomicU64,
    /// When its time to live is over, whether or not it is stale then.
    ends: Millis,
    /// How long it took to load, in milliseconds; 0 where that is not known.
    cost: u32,
    /// How long it is stale at its end, in milliseconds; what is longer than these can say is that.
    stale: u32,
    /// What few entries have.
    extras: Option<Arc<Extras>>,
}

impl<V> Near<V> {
    /// The entry of a draft at `now`, and the time to live that L1 is to give it.
    pub(super) fn new(draft: Draft<V>, filed: Filed, weight: usize, now: Millis) -> (Self, Ttl) {
        let Draft { value, life, age, cost, extras, .. } = draft;
        // Before the begin of the clock is too long ago to be told.
        let made_at = age
            .and_then(|age| u64::try_from(age.as_millis()).ok())
            .and_then(|age| now.0.checked_sub(age))
            .map_or(Millis::NEVER, Millis);
        let fresh_until = AtomicU64::new(life.fresh_until(now).0);
        let ends = life.ttl.map_or(Millis::NEVER, |ttl| now.after(ttl.saturating_sub(life.stale)));
        let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        let (cost, stale) = (millis(cost), millis(life.stale));
        let ttl = life.ttl.map_or(Ttl::Never, Ttl::For);
        (Self { value, filed, weight, made_at, fresh_until, ends, cost, stale, extras }, ttl)
    }

    /// The same entry by another's word.
    pub(super) fn refiled(self, filed: Filed) -> Self {
        Self { filed, ..self }
    }

    fn fresh_until(&self) -> Millis {
        Millis(self.fresh_until.load(Ordering::Relaxed))
    }

    /// What may remove it or make it stale beside its key.
    #[inline]
    pub(super) fn tags(&self) -> Option<&Tags> {
        self.extras.as_deref()?.tags.as_ref()
    }

    /// True unless its time to live is over, which `is_past` is asked.
    #[inline]
    pub(super) fn is_fresh(&self, is_past: impl FnOnce(Millis) -> bool) -> bool {
        let fresh_until = self.fresh_until();
        fresh_until == Millis::NEVER || !is_past(fresh_until)
    }

    /// How long it has been stale, or `None` while it is fresh.
    pub(super) fn stale_for(&self, now: Millis) -> Option<Duration> {
        let fresh_until = self.fresh_until();
        (fresh_until <= now).then(|| Duration::from_millis(now.0 - fresh_until.0))
    }

    /// How long ago it was made, if that is known.
    pub(super) fn age(&self, now: Millis) -> Option<Duration> {
        (self.made_at != Millis::NEVER)
            .then(|| Duration::from_millis(now.0.saturating_sub(self.made_at.0)))
    }

    /// True if a fill may replace it: it is stale, or made no later than the fill wants to replace.
    pub(super) fn gives_way(&self, now: Millis, over: Option<Millis>) -> bool {
        let is_older = |over| self.made_at == Millis::NEVER || self.made_at <= over;
        self.stale_for(now).is_some() || over.is_some_and(is_older)
    }

    /// True for another entry of the same value: a load that began within a tick of the clock of
    /// another's begin is as good as that.
    pub(super) fn is_as(&self, filed: Filed, made_at: Millis) -> bool {
        self.filed == filed && self.made_at == made_at
    }

    pub(super) fn made_at(&self) -> Millis {
        self.made_at
    }

    /// Ends its time to live; false where it has no stale window, and is to be removed.
    pub(super) fn expire(&self, now: Millis) -> bool {
        let has_window = self.fresh_until() != Millis::NEVER;
        if has_window {
            self.fresh_until.fetch_min(now.0, Ordering::Relaxed);
        }
        has_window
    }
}

impl<V: Clone> Near<V> {
    /// The same entry, fresh for so long from `now` on or for ever, and the time to live that L1 is
    /// to give it; `None` unless it is a value that is fresh. Unless it `prolongs` it is fresh for no
    /// longer than before.
    pub(super) fn touched(
        &self,
        fresh: Option<Duration>,
        prolongs: bool,
        now: Millis,
    ) -> Option<(Self, Ttl)> {
        if self.value.is_none() || self.stale_for(now).is_some() {
            return None;
        }
        let left = self.ends.remaining(now).filter(|_| !prolongs);
        let fresh = left.map_or(fresh, |left| Some(fresh.map_or(left, |fresh| fresh.min(left))));
        let stale = Duration::from_millis(self.stale.into());
        let life = fresh.map_or(Life::ENDLESS, |fresh| Life::of(fresh, stale));
        let touched = Self {
            value: self.value.clone(),
            extras: self.extras.clone(),
            fresh_until: AtomicU64::new(life.fresh_until(now).0),
            ends: life.ttl.map_or(Millis::NEVER, |ttl| now.after(ttl.saturating_sub(life.stale))),
            ..*self
        };
        Some((touched, life.ttl.map_or(Ttl::Never, Ttl::For)))
    }

    /// What L1 is found to have.
    pub(super) fn found(&self, now: Millis) -> Found<V> {
        Found {
            value: self.value.clone(),
            tier: TierKind::Memory,
            stale_for: self.stale_for(now),
            age: self.age(now),
            cost: (self.cost > 0).then(|| Duration::from_millis(self.cost.into())),
            fresh_left: self.ends.remaining(now),
            extras: self.extras.clone(),
        }
    }
}
