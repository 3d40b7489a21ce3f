//! How a cache follows the changes that other hosts make in L3.
//!
//! One process of a host listens, on a thread of its own; without L2 in force each process is a
//! host of its own. [`Stream`] says who it is, what it was told, and which changes are this host's.
//!
//! - *A key was changed*: unless it was this host's own change, its copies go as in a change here:
//!   from L2 with its stamp, then from L1. What was read before is filed under an older mark and
//!   refused.
//! - *A group of keys was changed*, or changes of it may have been missed: its copies are void by
//!   the word that they bear, which is taken with the marks. Nothing that was looked for before a
//!   subscription is kept after it where changes were missed.
//! - *A tag was changed*: this host's own numbers are raised as a change here would raise them. Which
//!   were is asked of L3, up from the number that is known; where it cannot say, all copies with tags
//!   are void. Who subscribes asks before copies are brought back.
//! - *The stream is lost*: when the staleness bound has passed, all copies are suspended, by the
//!   same word; a subscription brings back those of which no change was missed.
//! - *While nobody is told* of changes, what is kept lives for the staleness bound at most: it is
//!   fresh when it is loaded, so it is never older than that. Where there is no store the first
//!   subscription of a process therefore voids nothing; but what was looked for before it is kept
//!   for no longer, though it be filed after it.
//!
//! A change that L3 did not take is told to other hosts when the doubt about it is settled. The
//! thread does that with its heartbeat, whether anybody asks for the key or not.
//!
//! The thread is started by the first call that needs it. A process that only reads from L1 starts
//! it too, within some reads: it may have been forked from one that had it.

use std::{
    sync::{
        Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Event, Inner, freshness::Life, marks::Marks, plan::Plan};
use crate::{
    clock::{Clock, Millis},
    error::Error,
    event::FaultEvents,
    group_word::GroupWord,
    invalidation::{OwnStream, Stream},
    key::GROUPS,
    sync::{self, Mutex},
    tag_cells::{CELLS_BELOW, CellChange, KnownBelow},
    tier::{
        ChangeListener, OnLoss, Post, Reached, SharedTier, TagsRaised, TagsTold, Token, WritePolicy,
    },
    tiering::{TierKind, Tiering},
};

/// What a cache keeps of this.
pub(super) struct Coherence {
    options: crate::tier::Coherence,
    /// While L2 is not in force.
    own: OwnStream,
    /// One more than the generation of the process that has a thread.
    started: AtomicU32,
    /// The post of this process, and the generation in which it has it: a forked child finds its
    /// parent's here.
    post: Mutex<Option<(u32, Post)>>,
    /// Why the stream of this post was lost.
    lost: Mutex<Option<(Post, Error)>>,
    /// Until when copies may last, in a process without L2, that were looked for before anybody was
    /// told of changes; boot-time milliseconds.
    untold_until: AtomicU64,
    events: FaultEvents,
    clock: Clock,
}

/// Where there can be no L3.
const OFF: crate::tier::Coherence = crate::tier::Coherence {
    enabled: false,
    heartbeat: Duration::ZERO,
    staleness_bound: Duration::ZERO,
    on_loss: OnLoss::Serve,
};

impl Coherence {
    pub(super) fn new(options: Option<crate::tier::Coherence>, clock: &Clock) -> Self {
        Self {
            options: options.unwrap_or(OFF),
            own: OwnStream::new(),
            started: AtomicU32::new(0),
            post: Mutex::new(None),
            lost: Mutex::new(None),
            untold_until: AtomicU64::new(0),
            events: FaultEvents::default(),
            clock: clock.clone(),
        }
    }

    /// How long a subscriber may be silent: so long that the next one has subscribed before the
    /// staleness bound.
    fn patience(&self) -> Duration {
        self.options.staleness_bound / 2
    }

    /// How long after the last that was told copies are suspended: a look before the bound.
    fn suspend_after(&self) -> Duration {
        self.options.staleness_bound - self.options.heartbeat / 2
    }

    /// True if there are copies that other hosts may make stale.
    pub(super) fn concerns(&self, plan: Plan) -> bool {
        plan.is_open() && self.concerns_tiering(plan.tiering())
    }

    /// [`concerns`](Self::concerns) in a cache of this tiering that is open.
    fn concerns_tiering(&self, tiering: Tiering) -> bool {
        self.options.enabled
            && tiering.has(TierKind::Redis)
            && (tiering.has(TierKind::Memory) || tiering.has(TierKind::Shared))
    }

    /// True while an L1 entry that bears this word, and that no store judges, is current.
    #[inline]
    pub(super) fn is_current(&self, word: GroupWord) -> bool {
        self.own.is_current(word)
    }

    fn tell(&self, error: &Error) {
        self.events.tell(&self.clock, TierKind::Redis, error);
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// True if a cache of this tiering is to follow the changes of other hosts.
    #[inline]
    pub(super) fn follows(&self, tiering: Tiering) -> bool {
        self.coherence.concerns_tiering(tiering)
    }

    /// Sees to it that this process listens if it is to.
    #[inline]
    pub(super) fn listen(&self, plan: Plan) {
        let started = self.coherence.started.load(Ordering::Relaxed);
        if self.coherence.concerns(plan) && started != sync::generation() + 1 {
            self.start_listening(plan);
        }
    }

    #[cold]
    fn start_listening(&self, plan: Plan) {
        let Some(redis) = self.lowers.redis.opened() else { return };
        // The thread takes its time, and the call that needs it reads the store at once: what is
        // there may be of a time when nobody was told of changes.
        self.with_stream(plan, |place, stream| self.give_up_untold(place, &stream, true));
        let me: Weak<Self> = self.me.clone();
        match redis.listen(me) {
            Ok(()) => self.coherence.started.store(sync::generation() + 1, Ordering::Relaxed),
            Err(error) => self.coherence.tell(&error),
        }
    }

    /// Gives up copies of which changes were not told for too long; for who begins to listen also
    /// those of before anybody listened.
    fn give_up_untold(&self, place: u64, stream: &Stream<'_>, begins: bool) {
        if place != 0 && begins && stream.is_untold() {
            // Of processes without L3: they live for as long as they like.
            stream.void_unknown();
        }
        if self.coherence.options.on_loss != OnLoss::Serve {
            stream.suspend_after(self.coherence.clock.boot(), self.coherence.suspend_after());
        }
    }

    /// The word of an L1 entry that no store judges.
    pub(super) fn own_word(&self, plan: Plan, key: &[u8]) -> GroupWord {
        if self.coherence.concerns(plan) {
            self.coherence.own.stream().word(key)
        } else {
            GroupWord::NONE
        }
    }

    /// True if this host has dealt with all changes of the group of `key` that L3 had when it gave
    /// this token.
    pub(super) fn has_dealt_with(&self, plan: Plan, key: &[u8], token: Token) -> bool {
        let [stamp, _] = token.words;
        self.with_stream(plan, |_, stream| stream.knows(key, stamp))
    }

    /// A change by this host gave the group of `key` this stamp in L3, and is done with the tiers
    /// above.
    pub(super) fn made(&self, plan: Plan, key: &[u8], stamp: Option<u64>) {
        if let Some(stamp) = stamp
            && self.coherence.concerns(plan)
        {
            self.with_stream(plan, |_, stream| stream.made(key, stamp));
        }
    }

    /// The latest change of tags in L3 that this host knows of, while it is told of changes.
    pub(super) fn tags_told(&self, plan: Plan) -> Option<KnownBelow> {
        let (now, patience) = (self.coherence.clock.boot(), self.coherence.patience());
        let look =
            |stream: Stream<'_>| stream.tags_seen().filter(|_| stream.is_live(now, patience));
        if !self.coherence.concerns(plan) {
            return None;
        }
        self.with_stream(plan, |_, stream| look(stream))
    }

    /// L3 has, or may have, a change of `key` by this host. To be called before the key's stamp is raised.
    pub(super) fn hear_of(&self, plan: Plan, key: &[u8]) {
        self.with_stream(plan, |_, stream| stream.hear(key, self.coherence.clock.boot()));
    }

    /// The same of any keys.
    pub(super) fn hear_of_all(&self, plan: Plan) {
        self.with_stream(plan, |_, stream| stream.hear_all(self.coherence.clock.boot()));
    }

    /// What a replica of L3 must have reached to be asked about `key`; `None` where the master alone can
    /// say.
    pub(super) fn replica_of(&self, plan: Plan, key: &[u8]) -> Option<Reached> {
        let redis = &self.lowers.redis;
        if !redis.in_force(plan)?.has_replicas()
            || !self.coherence.concerns(plan)
            || !self.may_ask_remote(plan, key)
        {
            return None;
        }
        // After that: what it was not asked for until now has been removed there by then.
        let replayed = redis.replayed_at()?;
        let (now, patience) = (self.coherence.clock.boot(), self.coherence.patience());
        self.with_stream(plan, |_, stream| stream.replica_of(key, now, patience, replayed))
    }

    /// A change of tags by this host raised L3's number so, and is done with the tiers above.
    pub(super) fn tags_made(&self, plan: Plan, raised: TagsRaised) {
        if self.coherence.concerns(plan) {
            self.with_stream(plan, |_, stream| stream.tags_made(raised.before, raised.after));
        }
    }

    /// True if what is looked for now may be kept for as long as it may live: changes of other hosts
    /// are told, or concern nobody.
    pub(super) fn is_told(&self, plan: Plan) -> bool {
        if !self.coherence.concerns(plan) || self.coherence.options.on_loss == OnLoss::Serve {
            return true;
        }
        let (now, patience) = (self.coherence.clock.boot(), self.coherence.patience());
        let bound = self.coherence.suspend_after();
        // A subscriber that stood still for long is live when it goes on, and may be so on a dead link: what
        // is kept now bears a word that is suspended already.
        self.with_stream(plan, |_, stream| {
            stream.is_live(now, patience) && stream.is_recent(now, bound) && !stream.is_bounded()
        })
    }

    /// True while nobody knows whether other hosts changed a key since its group had this word: it may be
    /// that they did not.
    pub(super) fn is_suspended(&self, plan: Plan, key: &[u8], word: GroupWord) -> bool {
        self.coherence.concerns(plan)
            && self.with_stream(plan, |_, stream| stream.word(key)).suspends(word)
    }

    /// The life of a copy above L3 of what was looked for under these marks and has this life there.
    pub(super) fn life_above(&self, plan: Plan, life: Life, marks: &Marks) -> Life {
        // A store's words void what was looked for before its stream began.
        if marks.is_told().unwrap_or_else(|| self.is_told(plan)) {
            return life;
        }
        // The bound counts from before the value was looked for: a load may take long.
        let since = self.clock.coarse().0.saturating_sub(marks.taken_at().0);
        let bound = self.coherence.options.staleness_bound;
        life.within(bound.saturating_sub(Duration::from_millis(since)))
    }

    /// True where a copy above L3 that is found under these marks may be given a later end. One that
    /// was looked for while nobody was told of changes ends with the staleness bound, whatever happens:
    /// changes of it may have been missed.
    pub(super) fn may_prolong(&self, plan: Plan, marks: &Marks) -> bool {
        match (marks.is_told(), self.lowers.shared.in_force(plan)) {
            (None, Some(shared)) => self.may_prolong_in(shared),
            (is_told, _) => {
                let untold_until = self.coherence.untold_until.load(Ordering::Acquire);
                let now = self.coherence.clock.boot().0;
                is_told.unwrap_or_else(|| self.is_told(plan)) && now >= untold_until
            }
        }
    }

    /// The same of what a store has, of which others may follow L3. Its words void what was looked for
    /// before its stream began.
    pub(super) fn may_prolong_in(&self, shared: &SharedTier) -> bool {
        if !shared.has_below() || self.coherence.options.on_loss == OnLoss::Serve {
            return true;
        }
        let (now, patience) = (self.coherence.clock.boot(), self.coherence.patience());
        shared.stream(|_, words, groups| {
            let stream = Stream::new(words, groups);
            stream.is_live(now, patience) && !stream.is_bounded()
        })
    }

    /// The stream of the host, and the place of its words.
    pub(super) fn with_stream<R>(&self, plan: Plan, look: impl FnOnce(u64, Stream<'_>) -> R) -> R {
        // Closed or not: who closes the cache gives up its post.
        match self.lowers.shared.opened() {
            Some(shared) if plan.tiering().has(TierKind::Shared) => {
                shared.stream(|number, words, groups| {
                    look(u64::from(number) + 1, Stream::new(words, groups))
                })
            }
            _ => look(0, self.coherence.own.stream()),
        }
    }

    /// [`with_stream`](Self::with_stream) for the stream of a post, if it is still the host's.
    pub(super) fn with_stream_of<R>(
        &self,
        post: Post,
        look: impl FnOnce(Stream<'_>) -> R,
    ) -> Option<R> {
        self.with_stream(self.plan.load(), |place, stream| {
            (place == post.place).then(|| look(stream))
        })
    }

    /// The store whose copies a post is for.
    fn store_of(&self, post: Post) -> Option<&SharedTier> {
        if post.place == 0 { None } else { self.lowers.shared.opened() }
    }

    /// Why this process, whose post it is, is not told of the changes of other hosts; `None` while
    /// it is.
    pub(super) fn deafness(&self) -> Option<String> {
        let post = own_post(*self.coherence.post.lock())?;
        let lost = self.coherence.lost.lock();
        let (_, why) = lost.as_ref().filter(|(lost, _)| *lost == post)?;
        Some(format!("changes of other hosts are not told: {why}"))
    }

    /// Gives up the post of this process, so that another one of the host need not wait. No
    /// thread listens any more.
    pub(super) fn leave_post(&self) {
        if let Some(post) = own_post(self.coherence.post.lock().take()) {
            self.with_stream_of(post, |stream| stream.leave(post.term));
        }
    }
}

/// What is kept of a post, unless it is that of the process that this one was forked from.
fn own_post(kept: Option<(u32, Post)>) -> Option<Post> {
    kept.filter(|(generation, _)| *generation == sync::generation()).map(|(_, post)| post)
}

impl<V: Clone + Send + Sync + 'static> ChangeListener for Inner<V> {
    fn post(&self, before: Option<Post>) -> Option<Post> {
        let plan = self.plan.load();
        if !self.coherence.concerns(plan) {
            self.leave_post();
            return None;
        }
        let (now, patience) = (self.coherence.clock.boot(), self.coherence.patience());
        let post = self.with_stream(plan, |place, stream| {
            let mine = before.filter(|post| post.place == place).map(|post| post.term);
            let term = stream.subscribe(mine, now, patience)?;
            self.give_up_untold(place, &stream, mine.is_none());
            Some(Post { place, term })
        });
        *self.coherence.post.lock() = post.map(|post| (sync::generation(), post));
        post
    }

    fn now(&self) -> Millis {
        self.coherence.clock.boot()
    }

    fn begins(&self, post: Post, since: Millis, stamps: &[Option<u64>], bounds: bool) {
        *self.coherence.lost.lock() = None;
        let bounds = bounds && self.coherence.options.on_loss != OnLoss::Serve;
        let is_bounded = post.place == 0 && self.coherence.options.on_loss != OnLoss::Serve;
        self.with_stream_of(post, |stream| {
            // All copies of this process that were looked for until now end with the bound, also
            // those that are filed later.
            let keeps = is_bounded && stream.is_untold();
            if keeps {
                let last =
                    self.coherence.clock.boot().after(self.coherence.options.staleness_bound);
                self.coherence.untold_until.store(last.0, Ordering::Release);
                // But who asks from now on must not be given what is loaded from before.
                self.flights.detach_all();
            }
            stream.begin(post.term, since, stamps, keeps, bounds);
        });
    }

    fn told_until(
        &self,
        post: Post,
        until: Millis,
        stamps: &[Option<u64>],
        offsets: &[Option<u64>],
    ) {
        self.with_stream_of(post, |stream| {
            stream.told_until(post.term, until, stamps, offsets);
            let (now, bound) = (self.coherence.clock.boot(), self.coherence.suspend_after());
            stream.resume(post.term, now, bound);
        });
        self.settle_some(self.plan.load());
    }

    fn ends(&self, post: Post, why: &Error) {
        self.coherence.tell(why);
        self.with_stream_of(post, |stream| stream.set_lost(post.term));
        *self.coherence.lost.lock() = Some((post, why.clone()));
    }

    fn own_change(&self, post: Post, key: &[u8]) -> Option<u64> {
        self.with_stream_of(post, |stream| stream.own_change(key)).flatten()
    }

    fn is_under_way(&self, post: Post, key: &[u8], before: u64, present: Option<u64>) -> bool {
        let look = |stream: Stream<'_>| stream.is_under_way(key, before, present);
        self.with_stream_of(post, look) == Some(true)
    }

    fn changed(&self, post: Post, key: &[u8], present: Option<u64>) {
        // A record that was touched no longer tells which change made it.
        if present.is_none() && self.is_own_touch(post, key) {
            return;
        }
        let judge = |stream: Stream<'_>| {
            let was_changed_here = stream.own_change(key).is_some();
            (stream.is_own(key, present), was_changed_here)
        };
        let (is_own, was_changed_here) = self.with_stream_of(post, judge).unwrap_or((false, false));
        if is_own {
            return;
        }
        let may_be_behind =
            !self.is_settled_below(key) || was_changed_here && self.writes == WritePolicy::Behind;
        if may_be_behind && self.is_own_news(post, key) {
            return;
        }
        self.with_stream_of(post, |stream| stream.hear(key, self.coherence.clock.boot()));
        if let Some(shared) = self.store_of(post) {
            shared.delete(key);
        }
        self.drop_near(key);
        self.overtake(key);
        self.events.tell(|| Event::Invalidate { key: key.into() });
    }

    fn group_changed(&self, post: Post, group: usize) {
        self.with_stream_of(post, |stream| {
            stream.hear_all(self.coherence.clock.boot());
            stream.void(group);
        });
        self.flights.detach_all();
        self.events.tell(|| Event::InvalidateMany { is_all: false });
    }

    fn all_changed(&self, post: Post) {
        self.with_stream_of(post, |stream| {
            stream.hear_all(self.coherence.clock.boot());
            (0..GROUPS).for_each(|group| stream.void(group));
        });
        self.flights.detach_all();
        self.events.tell(|| Event::InvalidateMany { is_all: true });
    }

    fn tags_known(&self, post: Post) -> Option<KnownBelow> {
        self.with_stream_of(post, |stream| stream.tags_known()).flatten()
    }

    fn tags_changed(&self, post: Post, told: &TagsTold) {
        // The host itself may have made them, and dealt with them since L3 was asked.
        let known = self.with_stream_of(post, |stream| {
            told.known.inspect(|known| stream.tags_heard(*known));
            stream.tags_known()
        });
        let is_dealt_with = |told: KnownBelow| {
            let known = known.flatten();
            known.is_some_and(|known| known.era == told.era && known.raises >= told.raises)
        };
        if told.raised.is_some() && told.known.is_some_and(is_dealt_with) {
            return;
        }
        let shared = self.store_of(post);
        match &told.raised {
            Some(raised) => {
                if let Some(shared) = shared {
                    let cell = |it: &CellChange| (it.cell, CELLS_BELOW, it.change);
                    shared.raise_tag_cells(&raised.iter().map(cell).collect::<Vec<_>>());
                }
                raised.iter().for_each(|raised| self.tags.raise_cell(*raised));
            }
            None => {
                if let Some(shared) = shared {
                    shared.raise_all_tags();
                }
                self.tags.raise_all();
            }
        }
        // After the cells: whoever sees the number as known sees the copies judged by it.
        self.with_stream_of(post, |stream| stream.tags_told(told.known));
    }
}
