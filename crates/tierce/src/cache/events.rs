//! What happens in a cache, told to listeners: [`Cache::on_event`].
//!
//! Who causes an event puts it into a bounded queue and goes on; a thread of the cache calls the
//! listeners. Where they are slower than events come, those are dropped and counted
//! ([`Cache::events_dropped`]): no caller ever waits for a listener. While there is none, an event
//! costs one load, and is not even made.
//!
//! The thread comes with the first event and ends when there was none for ten seconds. A forked
//! child has its own; what was queued is told by the parent alone.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Cache, Inner, Key, Near, survey::Surveyed};
use crate::{
    error::Error,
    load::{Crew, LoadReason},
    memory::RemovalCause,
    metrics::EvictionStats,
    resilience::BreakerState,
    sync::{self, Mutex, MutexGuard},
    tiering::{TierKind, Tiering},
};

/// Events that may wait: some milliseconds of a busy cache, and some hundred kilobytes.
const MAX_QUEUED: usize = 8 << 10;

/// How often the evictions of L2 are looked at, at most: that is a sum over counters of the store.
const EVICTIONS_PAUSE: Duration = Duration::from_millis(10);

/// How long the thread stays that has nothing to tell.
const IDLE: Duration = Duration::from_secs(10);

/// Something that happened in a cache. More kinds, and more of each, may be added.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A tier had a fresh value, or word that there is none, and a read was answered by it.
    #[non_exhaustive]
    Hit {
        /// The key.
        key: Arc<[u8]>,
        /// The tier that had it.
        tier: TierKind,
    },
    /// A read was answered by a stale value.
    #[non_exhaustive]
    Stale {
        /// The key.
        key: Arc<[u8]>,
        /// The tier that had it.
        tier: TierKind,
    },
    /// No tier had what a read could be answered by.
    #[non_exhaustive]
    Miss {
        /// The key.
        key: Arc<[u8]>,
    },
    /// A loader returned.
    #[non_exhaustive]
    Load {
        /// The key.
        key: Arc<[u8]>,
        /// Why it was called.
        reason: LoadReason,
        /// How long it took.
        took: Duration,
        /// Why it failed, if it did.
        error: Option<Error>,
    },
    /// A caller set the key.
    #[non_exhaustive]
    Set {
        /// The key.
        key: Arc<[u8]>,
    },
    /// A caller removed the key.
    #[non_exhaustive]
    Delete {
        /// The key.
        key: Arc<[u8]>,
    },
    /// A caller made the key's value stale.
    #[non_exhaustive]
    Expire {
        /// The key.
        key: Arc<[u8]>,
    },
    /// A caller gave the key's value another time to live.
    #[non_exhaustive]
    Touch {
        /// The key.
        key: Arc<[u8]>,
    },
    /// A caller removed all keys.
    #[non_exhaustive]
    Clear {},
    /// An entry left L1: evicted for room, or its time was over. What a caller changed is told by
    /// the events of changes.
    #[non_exhaustive]
    Evict {
        /// The key.
        key: Arc<[u8]>,
        /// Why.
        cause: RemovalCause,
    },
    /// Entries left L2: as many as all processes of the host saw go since this was told last. Told
    /// with the next change of L2 by this process, some milliseconds later at the soonest.
    #[non_exhaustive]
    EvictShared {
        /// How many made room.
        for_room: u64,
        /// Of how many the time was over.
        expired: u64,
    },
    /// Another host, or another client of the server, changed the key in L3: copies here are gone.
    /// Told in the process that follows L3 for its host.
    #[non_exhaustive]
    Invalidate {
        /// The key.
        key: Arc<[u8]>,
    },
    /// The same of many keys: one of the 256 groups, or all.
    #[non_exhaustive]
    InvalidateMany {
        /// True where it was all.
        is_all: bool,
    },
    /// A caller removed all that bears one of these tags, or made it stale.
    #[non_exhaustive]
    Tags {
        /// The tags.
        tags: Arc<[Box<[u8]>]>,
        /// True where it was removed.
        is_removed: bool,
    },
    /// A caller removed all whose keys begin with one of these prefixes, or made it stale.
    #[non_exhaustive]
    Prefixes {
        /// The prefixes.
        prefixes: Arc<[Box<[u8]>]>,
        /// True where it was removed.
        is_removed: bool,
    },
    /// The breaker before a tier changed its state.
    #[non_exhaustive]
    Breaker {
        /// The tier.
        tier: TierKind,
        /// What it is now.
        state: BreakerState,
    },
    /// An operator has calls turned away, or no longer.
    #[non_exhaustive]
    Gate {
        /// What holds from now on, in words.
        state: Arc<str>,
    },
    /// The connections to a tier were dropped, to be made anew.
    #[non_exhaustive]
    Reset {
        /// The tier.
        tier: TierKind,
    },
    /// Other tiers are in force.
    #[non_exhaustive]
    Retier {
        /// Those before.
        from: Tiering,
        /// Those from now on.
        to: Tiering,
    },
}

type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Those who listen to one cache, and what they are to be told.
pub(super) struct Events {
    is_heard: AtomicBool,
    /// The same for L1, which tells by itself of what leaves it.
    is_heard_near: Arc<AtomicBool>,
    pub(super) shared: Arc<Shared>,
    evictions: Evictions,
}

/// Tells of events from where there is no cache.
#[derive(Clone)]
pub(super) struct Teller {
    is_heard: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

/// What of the evictions of L2 was told.
#[derive(Default)]
struct Evictions {
    /// When they are looked at next, in milliseconds of the coarse clock.
    next_look: AtomicU64,
    for_room: AtomicU64,
    expired: AtomicU64,
}

pub(super) struct Shared {
    crew: Crew,
    /// What is observed of keys, in force like a listener; told on the thread that causes an event.
    pub(super) survey: Surveyed,
    has_listeners: AtomicBool,
    state: Mutex<State>,
    dropped: AtomicU64,
    panics: AtomicU64,
}

struct State {
    /// The process ([`sync::generation`]) whose events these are.
    generation: u32,
    listeners: Arc<Vec<Listener>>,
    queue: VecDeque<Event>,
    /// A thread is at it, or about to be.
    is_told: bool,
}

impl Events {
    pub(super) fn new() -> Self {
        let state = State {
            generation: sync::generation(),
            listeners: Arc::default(),
            queue: VecDeque::new(),
            is_told: false,
        };
        Self {
            is_heard: AtomicBool::new(false),
            is_heard_near: Arc::default(),
            evictions: Evictions::default(),
            shared: Arc::new(Shared {
                crew: Crew::named("tierce-event", 1, 1, IDLE),
                survey: Surveyed::default(),
                has_listeners: AtomicBool::new(false),
                state: Mutex::new(state),
                dropped: AtomicU64::new(0),
                panics: AtomicU64::new(0),
            }),
        }
    }

    /// Set while anybody listens; for L1.
    pub(super) fn is_heard_near(&self) -> &Arc<AtomicBool> {
        &self.is_heard_near
    }

    /// Tells of an event, which is made only if anybody listens.
    #[inline]
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.is_heard.load(Ordering::Relaxed) {
            self.shared.queue(event());
        }
    }

    /// For those who have no cache.
    pub(super) fn teller(&self) -> Teller {
        Teller { is_heard: Arc::clone(&self.is_heard_near), shared: Arc::clone(&self.shared) }
    }

    /// What L1 tells of what leaves it, while anybody listens.
    pub(super) fn on_leaving<V>(&self) -> impl Fn(&Key, &Near<V>, RemovalCause) + 'static {
        let shared = Arc::clone(&self.shared);
        move |key, _, cause| {
            if matches!(cause, RemovalCause::Size | RemovalCause::Bytes | RemovalCause::Expired) {
                shared.queue(Event::Evict { key: key[..].into(), cause });
            }
        }
    }

    /// Tells events from now on where there are listeners or a survey; true if so.
    fn hear(&self) -> bool {
        let shared = &self.shared;
        let is_heard = shared.has_listeners.load(Ordering::Relaxed) || shared.survey.is_on();
        self.set_heard(is_heard);
        is_heard
    }

    fn set_heard(&self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Relaxed);
        self.is_heard_near.store(is_heard, Ordering::Relaxed);
    }

    fn add(&self, listener: Listener) {
        let mut state = self.shared.lock();
        let mut listeners = state.listeners.to_vec();
        listeners.push(listener);
        let before = mem::replace(&mut state.listeners, Arc::new(listeners));
        self.shared.has_listeners.store(true, Ordering::Relaxed);
        drop(state);
        drop(before);
    }

    /// Tells no more, and waits for nobody.
    pub(super) fn close(&self) {
        self.set_heard(false);
        self.shared.has_listeners.store(false, Ordering::Relaxed);
        self.shared.survey.set(None);
        self.shared.crew.close(Duration::ZERO);
        let mut state = self.shared.lock();
        let listeners = mem::take(&mut state.listeners);
        let queue = mem::take(&mut state.queue);
        drop(state);
        drop((listeners, queue));
    }
}

impl Teller {
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    pub(super) fn tell(&self, event: Event) {
        self.shared.queue(event);
    }
}

impl Evictions {
    /// How many there were since the last look, for room and by the clock.
    fn since(&self, counted: &EvictionStats) -> (u64, u64) {
        let since =
            |told: &AtomicU64, now: u64| now.saturating_sub(told.fetch_max(now, Ordering::Relaxed));
        (since(&self.for_room, counted.size), since(&self.expired, counted.expired))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // What the thread holds must not keep the listeners alive.
        self.close();
    }
}

impl Shared {
    /// The state, made anew where it is that of the process that this one was forked from.
    fn lock(&self) -> MutexGuard<'_, State> {
        let generation = sync::generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            state.generation = generation;
            state.is_told = false;
            mem::forget(mem::take(&mut state.queue));
        }
        state
    }

    #[cold]
    #[inline(never)]
    fn queue(self: &Arc<Self>, event: Event) {
        self.survey.observe(&event);
        if !self.has_listeners.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        if state.queue.len() >= MAX_QUEUED {
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            // Its error is the caller's: dropped with no lock held.
            drop(event);
            return;
        }
        state.queue.push_back(event);
        if mem::replace(&mut state.is_told, true) {
            return;
        }
        drop(state);
        let shared = Arc::clone(self);
        if self.crew.spawn(move || shared.tell_all()).is_err() {
            // No thread, or the cache is closed.
            let mut state = self.lock();
            state.is_told = false;
            let lost = mem::take(&mut state.queue);
            drop(state);
            self.dropped.fetch_add(lost.len() as u64, Ordering::Relaxed);
        }
    }

    /// Calls the listeners until there is nothing to tell.
    fn tell_all(&self) {
        loop {
            let mut state = self.lock();
            let events = mem::take(&mut state.queue);
            if events.is_empty() {
                state.is_told = false;
                return;
            }
            let listeners = Arc::clone(&state.listeners);
            drop(state);
            for event in events {
                for listener in listeners.iter() {
                    let call = std::panic::AssertUnwindSafe(|| listener(&event));
                    if let Err(payload) = std::panic::catch_unwind(call) {
                        self.panics.fetch_add(1, Ordering::Relaxed);
                        mem::forget(payload);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Events").field("is_heard", &self.is_heard).finish_non_exhaustive()
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Has `listener` told of what happens in this cache, until it is closed.
    ///
    /// It is called by a thread of the cache, one event after another, with no lock held. Callers
    /// of the cache never wait for it: events that come faster than it takes them are dropped and
    /// counted in [`events_dropped`](Self::events_dropped). A panic in it is contained.
    ///
    /// A listener that holds the cache keeps it alive until [`close`](Self::close).
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use tierce::{Bytes, Cache, Event};
    ///
    /// let cache = Cache::builder().build()?;
    /// let (sender, events) = mpsc::channel();
    /// cache.on_event(move |event| _ = sender.send(event.clone()));
    /// cache.set("user:7", Bytes::from("Ada"))?;
    /// assert!(matches!(events.recv(), Ok(Event::Set { key, .. }) if *key == *b"user:7"));
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) {
        if self.inner.plan.load().is_open() {
            if let Some(shared) = self.inner.lowers.shared.opened() {
                // Those of before are nobody's news.
                self.inner.events.evictions.since(&shared.evictions());
            }
            self.inner.events.add(Arc::new(listener));
            self.inner.hear();
        }
    }

    /// Events that listeners were not told of, because too many waited.
    pub fn events_dropped(&self) -> u64 {
        self.inner.events.shared.dropped.load(Ordering::Relaxed)
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Tells events from now on where there are listeners or a survey.
    pub(super) fn hear(&self) {
        self.metrics.notice.set_heard(self.events.hear());
    }

    /// Tells of what left L2; to be called where it was changed.
    #[inline]
    pub(super) fn tell_evictions(&self) {
        if self.events.is_heard.load(Ordering::Relaxed) {
            self.look_at_evictions();
        }
    }

    #[cold]
    #[inline(never)]
    fn look_at_evictions(&self) {
        let (evictions, now) = (&self.events.evictions, self.clock.coarse());
        let due = evictions.next_look.load(Ordering::Relaxed);
        let next = now.after(EVICTIONS_PAUSE).0;
        let is_mine = now.0 >= due
            && evictions
                .next_look
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        let Some(shared) = self.lowers.shared.opened().filter(|_| is_mine) else { return };
        let (for_room, expired) = evictions.since(&shared.evictions());
        if for_room + expired > 0 {
            self.events.tell(|| Event::EvictShared { for_room, expired });
        }
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
