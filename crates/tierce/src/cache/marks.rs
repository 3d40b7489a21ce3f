//! What was known of a key's changes when it was looked for, and what that says of what was found.
//!
//! Marks are taken before the first look below L1. Whatever is found under them is filed, or refused,
//! by them: who changed the key meanwhile has raised a stamp that they bear.

use super::{Inner, Near, behind::Unsettled, plan::Plan};
use crate::{
    clock::Millis,
    invalidation::{Began, Filed, LocalMark},
    shared_stamp::SharedStamp,
    tag_cells::{Known, KnownBelow, Tags, Verdict},
    tier::{SharedMark, Token},
    tiering::TierKind,
};

/// What was known of a key's changes before its value was looked for below L1.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pub(super) local: LocalMark,
    pub(super) filed: Filed,
    pub(super) shared: Option<SharedMark>,
    /// Whether this process was told of the changes of other hosts, where no store judges.
    told: Option<bool>,
    /// When they were taken, by the clock of L1.
    taken_at: Millis,
    /// Which changes of tags were known.
    pub(super) known: Known,
    /// The same in L3, where it was asked.
    pub(super) below: Option<KnownBelow>,
    /// By what the prefixes of keys end, of which what is found is to bear the tags.
    pub(super) delimiter: Option<u8>,
    /// L3's word, once it was asked.
    pub(super) remote: Option<Token>,
    /// Why it was not, where values that are on their way there were in the way.
    pub(super) unsettled: Option<Unsettled>,
}

/// By what something is judged that was found under marks and lies in no tier above L3.
#[derive(Clone, Copy)]
pub(super) struct Judge {
    local: LocalMark,
    filed: Filed,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// True while an entry of L1 may be served, fresh or stale. One that a change of its tags made
    /// stale is so from the first look on.
    #[inline(always)]
    pub(super) fn is_live(&self, plan: Plan, near: &Near<V>) -> bool {
        self.is_current(plan, near.filed) && near.tags().is_none_or(|tags| self.spares(near, tags))
    }

    /// At what time an entry of L1 is to be looked at that may be served: `now`, which was taken before,
    /// unless what a change of its tags made stale at this very look would seem fresh by it.
    #[inline]
    pub(super) fn look_at(&self, plan: Plan, near: &Near<V>, now: Millis) -> Option<Millis> {
        let is_live = self.is_live(plan, near);
        is_live.then(|| if near.tags().is_some() { self.clock.coarse() } else { now })
    }

    #[inline(never)]
    fn spares(&self, near: &Near<V>, tags: &Tags) -> bool {
        match self.judge(tags) {
            Verdict::Current => true,
            Verdict::Expired => near.expire(self.clock.coarse()),
            Verdict::Removed => false,
        }
    }

    /// What has become of something with these tags.
    pub(super) fn judge(&self, tags: &Tags) -> Verdict {
        if tags.known.place == 0 {
            return self.tags.judge(tags);
        }
        // Of a store that this process never opened it has nothing.
        self.lowers.shared.opened().map_or(Verdict::Removed, |shared| shared.judge(tags))
    }

    /// True if who begins now may join a load that began then.
    pub(super) fn may_join(&self, began: Began) -> bool {
        let is_unraised = match began.known.place {
            0 => self.tags.known() == began.known,
            _ => self.lowers.shared.opened().is_some_and(|it| it.is_unraised(began.known)),
        };
        is_unraised && self.is_current(self.plan.load(), began.filed)
    }

    /// True while what was filed under this mark may be served.
    // The look at the store stands apart, so that this one is short enough to be part of each read.
    #[inline(always)]
    pub(super) fn is_current(&self, plan: Plan, filed: Filed) -> bool {
        match filed {
            Filed::Private { era, word } => {
                era == plan.era()
                    && self.coherence.is_current(word)
                    && !(plan.has(TierKind::Shared) && self.lowers.shared.opened().is_some())
            }
            Filed::Shared(stamp) => self.is_current_in_store(plan, stamp),
        }
    }

    #[inline(never)]
    fn is_current_in_store(&self, plan: Plan, stamp: SharedStamp) -> bool {
        // Out of the store this process follows other hosts for what is private alone.
        let is_judged = plan.has(TierKind::Shared) || !self.follows(plan.tiering());
        is_judged && self.lowers.shared.opened().is_some_and(|tier| tier.is_current(stamp))
    }

    /// True unless this process knows of a change of the key since.
    pub(super) fn is_unchanged(&self, plan: Plan, judge: Judge) -> bool {
        self.stamps.is_current(judge.local) && self.is_current(plan, judge.filed)
    }

    /// Takes the key's marks: before looking for its value anywhere below L1.
    pub(super) fn marks(&self, plan: Plan, key: &[u8]) -> Marks {
        let taken_at = self.clock.coarse();
        let local = self.stamps.mark(self.memory.hash(key));
        let shared = self.lowers.shared.in_force(plan).map(|tier| tier.mark(key));
        let known = shared.map_or_else(|| self.tags.known(), |mark| mark.known());
        let (filed, told) = match shared.map(|mark| mark.stamp()) {
            Some(stamp) => (Filed::Shared(stamp), None),
            None => {
                if plan.has(TierKind::Shared) {
                    self.retry_shared();
                }
                let filed = Filed::Private { era: plan.era(), word: self.own_word(plan, key) };
                (filed, Some(self.is_told(plan)))
            }
        };
        let delimiter = shared.and_then(|mark| mark.delimiter()).or(self.delimiter);
        if delimiter.is_some() {
            self.tags.be_used();
        }
        let (below, remote, unsettled) = (None, None, None);
        Marks { local, filed, shared, told, taken_at, known, below, delimiter, remote, unsettled }
    }
}

impl Marks {
    /// What is left of them when what was found under them is judged later.
    pub(super) fn judge(&self) -> Judge {
        Judge { local: self.local, filed: self.filed }
    }

    pub(super) fn filed(&self) -> Filed {
        self.filed
    }

    /// The begin of a load.
    pub(super) fn began(&self) -> Began {
        Began { filed: self.filed, known: self.known }
    }

    /// The mark of an entry of L1 that no store judges.
    pub(super) fn filed_private(&self, plan: Plan) -> Filed {
        let word = match self.filed {
            Filed::Private { word, .. } | Filed::Shared(SharedStamp { word, .. }) => word,
        };
        Filed::Private { era: plan.era(), word }
    }

    pub(super) fn remote(&self) -> Option<Token> {
        self.remote
    }

    pub(super) fn shared(&self) -> Option<SharedMark> {
        self.shared
    }

    /// Has them be of after a change of this call's own, whose mark of L2 this is.
    pub(super) fn renew_shared(&mut self, after: SharedMark) {
        (self.shared, self.filed) = (Some(after), Filed::Shared(after.stamp()));
    }

    pub(super) fn local(&self) -> LocalMark {
        self.local
    }

    pub(super) fn is_told(&self) -> Option<bool> {
        self.told
    }

    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(super) fn taken_at(&self) -> Millis {
        self.taken_at
    }
}
