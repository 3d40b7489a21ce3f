//! The calls of tasks. They name no executor: a future is polled by whoever has it.
//!
//! L1 answers within the first poll, and so does L2. What would block the thread is done by threads
//! of the cache while the task waits: round trips to L3, and the wait for another process of the
//! host that loads the key. The steps of a load are those of `load.rs` and `lead.rs`; only the
//! waiting differs.
//!
//! | crew | does | when all its threads are busy |
//! |---|---|---|
//! | `errands` | round trips to L3 | they queue; when the queue is full, the task blocks for one |
//! | `turns` | takes the key's lease, and holds it while the task loads | the task loads without one |
//!
//! A lease belongs to the thread that took it, so one stays with each; no task could hold it.
//!
//! Dropping a future is always right. One that waits for a load leaves it. One that leads hands it
//! over to another that waits, and lets go of its lease. A change that has begun is finished by its
//! thread; one that has not is not made.
//!
//! A loader that asks for its own key within its own future is told so ([`ErrorKind::Reentrant`]).
//! One that does it by way of another task is not noticed; its call times out.

use std::{
    error::Error as StdError,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Answer, Cache, Inner, LoadOptions, Loaded, Origin, ReadOptions, SetOptions, absent,
    change::closed,
    fleet::FleetLease,
    lead::{Approached, Led, OnPanic},
    load::{Call, Landing, Step, Way},
    loaded::Drafted,
    loader::failed,
    marks::{Judge, Marks},
    plan::Plan,
    read::{Found, is_young},
};
use crate::{
    error::{Error, ErrorKind, Result},
    event::Span,
    load::{
        Alarm, Alarms, Crew, Errand, Hold, Joined, Lead, LoadContext, Report, Ring, hold,
        took_too_long,
    },
    metrics::{CacheCounter, TierCounter},
    tier::Turn,
    tiering::TierKind,
};

/// Threads for round trips to L3: its connection carries the requests of all of them together.
const ERRAND_THREADS: usize = 8;

/// Round trips that may wait for a thread: more tasks than that should not be in one process.
const ERRANDS_QUEUED: usize = 64 << 10;

/// Threads that hold leases: so many keys may be loaded by tasks of this process at one time
/// before other processes may load them too.
const TURN_THREADS: usize = 32;

/// How long a thread stays that has nothing to do.
const IDLE: Duration = Duration::from_secs(10);

/// The threads that do for tasks what would block them. None is there before it is needed.
pub(super) struct Tasks {
    errands: Crew,
    turns: Crew,
    alarms: Alarms,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            errands: Crew::named("tierce-task", ERRAND_THREADS, ERRANDS_QUEUED, IDLE),
            turns: Crew::named("tierce-turn", TURN_THREADS, 0, IDLE),
            alarms: Alarms::new(),
        }
    }

    /// Has all threads end, and waits for none.
    pub(super) fn close(&self) {
        self.errands.close(Duration::ZERO);
        self.turns.close(Duration::ZERO);
        self.alarms.close(Duration::ZERO);
    }

    #[cfg(test)]
    pub(super) fn has_threads(&self) -> bool {
        let crews = [&self.errands, &self.turns, self.alarms.crew()];
        crews.iter().any(|crew| crew.threads() > 0)
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// As [`get`](Self::get), for a task: L3 is waited for without blocking the thread.
    ///
    /// ```
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = Context::from_waker(Waker::noop());
    /// #     let mut future = pin!(future);
    /// #     loop {
    /// #         if let Poll::Ready(output) = future.as_mut().poll(&mut context) { return output; }
    /// #     }
    /// # }
    /// use tierce::{Bytes, Cache};
    ///
    /// let cache = Cache::builder().build()?;
    /// # block_on(async {
    /// cache.set_async("user:7", Bytes::from("Ada")).await?;
    /// assert_eq!(cache.get_async("user:7").await.as_deref(), Some(&b"Ada"[..]));
    /// # Ok::<(), tierce::Error>(())
    /// # })?;
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub async fn get_async(&self, key: impl AsRef<[u8]>) -> Option<V> {
        let answer = self.get_entry_async(key, &ReadOptions::default()).await;
        answer.map(|answer| answer.value)
    }

    /// As [`get_with`](Self::get_with), for a task.
    pub async fn get_entry_async(
        &self,
        key: impl AsRef<[u8]>,
        options: &ReadOptions,
    ) -> Option<Answer<V>> {
        self.inner.get_async(key.as_ref(), options).await
    }

    /// As [`set`](Self::set), for a task.
    ///
    /// A future that is dropped before it is ready may have changed the key or not.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_async(&self, key: impl AsRef<[u8]>, value: V) -> Result<()> {
        self.set_with_async(key, value, &SetOptions::default()).await
    }

    /// As [`set_with`](Self::set_with), for a task.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_with_async(
        &self,
        key: impl AsRef<[u8]>,
        value: V,
        options: &SetOptions,
    ) -> Result<()> {
        let (key, options) = (key.as_ref(), options.clone());
        self.inner.change_async(key, move |cache, key| cache.set(key, value, &options)).await
    }

    /// As [`delete`](Self::delete), for a task.
    ///
    /// A future that is dropped before it is ready may have removed the key or not.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_async(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.inner.change_async(key.as_ref(), |cache, key| cache.delete(key)).await
    }

    /// As [`touch`](Self::touch), for a task.
    ///
    /// A future that is dropped before it is ready may have touched the key or not.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub async fn touch_async(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        self.inner.change_async(key.as_ref(), move |cache, key| cache.touch(key, ttl)).await
    }

    /// As [`get_or_load_with`](Self::get_or_load_with), for a task and with a loader that is one.
    ///
    /// The loader's future is polled within this one. Where this one is dropped, the loader's is
    /// too, and one of those who wait for the same key loads instead. Tasks and threads wait for
    /// each other's loads.
    ///
    /// [`LoadOptions::while_waiting`] is not called, and the soft timeout lets only those leave who
    /// wait for another's load: nobody would poll it otherwise.
    ///
    /// ```
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = Context::from_waker(Waker::noop());
    /// #     let mut future = pin!(future);
    /// #     loop {
    /// #         if let Poll::Ready(output) = future.as_mut().poll(&mut context) { return output; }
    /// #     }
    /// # }
    /// use tierce::{Bytes, Cache, LoadOptions};
    ///
    /// let cache = Cache::builder().build()?;
    /// # block_on(async {
    /// let options = LoadOptions::new();
    /// let user = cache
    ///     .get_or_load_async("user:7", &options, async |_context| {
    ///         std::io::Result::Ok(Bytes::from("Ada"))
    ///     })
    ///     .await?;
    /// assert_eq!(user.value, "Ada");
    /// # Ok::<(), tierce::Error>(())
    /// # })?;
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load), and [`ErrorKind::Timeout`] for a load that takes
    /// longer than its hard timeout.
    pub async fn get_or_load_async<K, L, E, F, R>(
        &self,
        key: K,
        options: &LoadOptions,
        load: F,
    ) -> Result<Answer<V>>
    where
        K: AsRef<[u8]>,
        F: FnOnce(LoadContext<'static, V>) -> R,
        R: Future<Output = Result<L, E>>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let answer = self.get_or_load_optional_async(key, options, load).await?;
        answer.present().ok_or_else(absent)
    }

    /// As [`get_or_load_async`](Self::get_or_load_async), for keys that may have no value.
    ///
    /// # Errors
    /// As [`get_or_load_async`](Self::get_or_load_async), but for [`ErrorKind::Absent`].
    pub async fn get_or_load_optional_async<K, L, E, F, R>(
        &self,
        key: K,
        options: &LoadOptions,
        load: F,
    ) -> Result<Answer<Option<V>>>
    where
        K: AsRef<[u8]>,
        F: FnOnce(LoadContext<'static, V>) -> R,
        R: Future<Output = Result<L, E>>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let load = |context: LoadContext<'static, V>| {
            let loading = load(context);
            async move { loading.await.map(Into::into).map_err(failed) }
        };
        self.inner.get_or_load_async(key.as_ref(), options, load).await
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    async fn get_async(&self, key: &[u8], options: &ReadOptions) -> Option<Answer<V>> {
        let plan = self.route(key, options.reach());
        if !plan.reaches(TierKind::Redis) {
            return self.get_on(plan, key, options);
        }
        // A look that counts nothing but hits: where it finds none, a thread looks at all tiers.
        let serves = |found: &Found<V>| found.is_fresh() && is_young(found.age, options.max_age);
        let found = self.look_near(plan, key).filter(&serves).or_else(|| {
            let marks = self.marks(plan, key);
            self.look_shared(plan, key, &marks).filter(&serves)
        });
        if let Some(found) = found {
            self.listen(plan);
            self.count_hit(key, &found);
            let answer = found.into_answer();
            self.trip(plan).found(Some(&answer));
            return answer.present();
        }
        let inner = self.me.upgrade()?;
        let (key, options) = (Box::<[u8]>::from(key), *options);
        self.tasks.errands.run_or_here(move || inner.get_on(plan, &key, &options)).await?
    }

    /// Has a thread change the key, where L3 has a say.
    async fn change_async<R: Send + 'static>(
        &self,
        key: &[u8],
        change: impl FnOnce(&Self, &[u8]) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        if !self.plan.load().has(TierKind::Redis) {
            return change(self, key);
        }
        let inner = self.me.upgrade().ok_or_else(closed)?;
        let key = Box::<[u8]>::from(key);
        let changed = self.tasks.errands.run_or_here(move || change(&inner, &key)).await;
        changed.unwrap_or_else(|| Err(closed()))
    }

    async fn get_or_load_async<R: Future<Output = Result<Loaded<V>>>>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce(LoadContext<'static, V>) -> R,
    ) -> Result<Answer<Option<V>>> {
        let plan = self.route(key, options.reach());
        let trip = self.trip(plan);
        let answer = self.load_on_async(plan, key, options, load).await;
        trip.ends(&answer);
        answer
    }

    async fn load_on_async<R: Future<Output = Result<Loaded<V>>>>(
        &self,
        plan: Plan,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce(LoadContext<'static, V>) -> R,
    ) -> Result<Answer<Option<V>>> {
        let near = self.look_near(plan, key);
        if let Some(found) = &near
            && found.is_fresh()
            && is_young(found.age, options.oldest())
        {
            self.count_hit(key, found);
            return Ok(found.clone().into_answer());
        }
        if plan.reaches(TierKind::Memory) {
            self.metrics.tier(TierKind::Memory).count(TierCounter::Misses);
        }
        let mut call = Call::new(plan, &self.rules, options, near);
        if let Some(answer) = self.stale_instead(plan, key, &call) {
            return Ok(answer);
        }
        self.begin_call(plan, key, &call)?;
        let lead = loop {
            match self.enter(plan, key, &mut call)? {
                Way::Found(found) => return Ok(found.into_answer()),
                Way::Lead(lead) => break lead,
                Way::Join(joined) => match self.wait_async(key, &mut call, joined).await? {
                    Step::Answer(answer) => return Ok(answer),
                    Step::Lead(lead) => break lead,
                    Step::Again => call.best = None,
                },
            }
        };
        let lead = lead.travelling();
        let led = self.lead_async(key, &mut call, &lead, load).await;
        self.land(key, &call, lead, led)
    }

    async fn wait_async(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        mut joined: Joined<Landing<V>>,
    ) -> Result<Step<V>> {
        let patience = match self.begin_wait(key, call, &joined, Origin::Joined) {
            Ok(patience) => patience,
            Err(answer) => return Ok(Step::Answer(answer)),
        };
        let span = patience.span;
        let ended = within(&self.tasks.alarms, Some(span), |context| joined.poll(context)).await;
        let outcome = ended.unwrap_or_else(|ring| {
            Err(if self.is_closed_early(ring) { closed() } else { took_too_long(span) })
        });
        self.end_wait(key, call, &joined, Origin::Joined, patience, outcome)
    }

    /// As `lead`, with awaits.
    async fn lead_async<R: Future<Output = Result<Loaded<V>>>>(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: &Lead<Landing<V>>,
        load: impl FnOnce(LoadContext<'static, V>) -> R,
    ) -> Result<Led<V>> {
        let plan = self.plan.load().within(call.reach);
        let approach = self.approach_async(plan, key, call).await?;
        let (marks, _hold, _lease) = match approach {
            Approach::Led(led) => return Ok(led),
            Approach::Ready(marks, hold, lease) => (marks, hold, lease),
        };
        let began = self.begins();
        let loaded = self.load_async(key, call, lead, &marks, load).await;
        let loaded = self.load_ended(key, call, &marks, began.at, loaded)?;
        match self.draft(call, lead, began, loaded)? {
            Drafted::Nothing(value) => Ok(Led::Loaded(value, Some(began.at))),
            Drafted::Unkept(value, older) => {
                let inner = self.me.upgrade().ok_or_else(closed)?;
                let key = Box::<[u8]>::from(key);
                let remove = move || inner.remove_older(plan, &key, &marks, older);
                if plan.reaches(TierKind::Redis) {
                    self.tasks.errands.run_or_here(remove).await.ok_or_else(closed)?;
                } else {
                    remove();
                }
                Ok(Led::Loaded(value, Some(began.at)))
            }
            Drafted::Draft(draft) if !plan.reaches(TierKind::Redis) => {
                let own = call.own(&draft);
                Ok(call.agreed(own, self.keep(plan, key, draft, &marks, began.at)?, began.at))
            }
            Drafted::Draft(draft) => {
                let inner = self.me.upgrade().ok_or_else(closed)?;
                let key = Box::<[u8]>::from(key);
                let own = call.own(&draft);
                let keep = move || inner.keep(plan, &key, draft, &marks, began.at);
                let kept = self.tasks.errands.run_or_here(keep).await;
                Ok(call.agreed(own, kept.unwrap_or_else(|| Err(closed()))?, began.at))
            }
        }
    }

    /// As `approach`, by a thread where that may have to wait.
    async fn approach_async(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
    ) -> Result<Approach<V>> {
        let takes_turns = plan.reaches(TierKind::Shared) || self.fleet.is_on(plan);
        if !takes_turns && !plan.reaches(TierKind::Redis) {
            return Ok(match self.approach(plan, key, call, None)? {
                Approached::Led(led) => Approach::Led(led),
                Approached::Ready(marks, _, lease) => Approach::Ready(marks, None, lease),
            });
        }
        let with_turn = if takes_turns {
            let scout = self.scout(plan, key, call, true)?;
            self.tasks.turns.run_until_reported(move |report| scout.go(report)).ok()
        } else {
            None
        };
        let errand: Errand<Scouted<V>> = match with_turn {
            Some(errand) => errand,
            None => {
                let scout = self.scout(plan, key, call, false)?;
                self.tasks.errands.run_or_here_until_reported(move |report| scout.go(report))
            }
        };
        let Scouted { best, remote, approach } = errand.await.ok_or_else(closed)?;
        (call.best, call.remote) = (best, remote);
        approach
    }

    fn scout(
        &self,
        plan: Plan,
        key: &[u8],
        call: &Call<'_, V>,
        takes_turns: bool,
    ) -> Result<Scout<V>> {
        Ok(Scout {
            inner: self.me.upgrade().ok_or_else(closed)?,
            plan,
            key: key.into(),
            options: call.options.unchecked(),
            best: call.best.clone(),
            began: call.began,
            max_age: call.max_age,
            takes_turns,
            patience: call.options.patience().unwrap_or(self.load_wait),
        })
    }

    /// Calls the loader and polls its future, until the hard timeout.
    async fn load_async<R: Future<Output = Result<Loaded<V>>>>(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        lead: &Lead<Landing<V>>,
        marks: &Marks,
        load: impl FnOnce(LoadContext<'static, V>) -> R,
    ) -> Result<Loaded<V>> {
        let context = self.context(key, call, lead).into_owned();
        self.metrics.count(CacheCounter::Loads);
        // The loader's code runs while this is polled, and not before.
        let mut loading = pin!(async { load(context).await });
        let span = Span::load(call.reason().as_str());
        let poll = |context: &mut Context<'_>| {
            let _in = span.enter();
            let failure = self.on_panic(key, call, marks);
            let missing = OnPanic(|| self.count_miss(key));
            let at_work = lead.at_work();
            let polled = loading.as_mut().poll(context);
            drop(at_work);
            std::mem::forget((failure, missing));
            polled
        };
        let hard = call.rules.hard_timeout;
        match within(&self.tasks.alarms, hard, poll).await {
            Ok(loaded) => loaded,
            Err(ring) => {
                lead.token().cancel();
                if self.is_closed_early(ring) {
                    return Err(closed());
                }
                let span = hard.unwrap_or_default();
                let message = format!("the load took longer than its hard timeout of {span:?}");
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// True if nobody wakes tasks any more, as the cache was closed.
    fn is_closed_early(&self, ring: Ring) -> bool {
        ring == Ring::Early && !self.plan.load().is_open()
    }
}

/// As [`Approached`], where the turn is held by a thread until the [`Hold`] is dropped.
enum Approach<V> {
    Led(Led<V>),
    Ready(Marks, Option<Hold>, Option<FleetLease>),
}

/// What a thread approaches a load with, for a task that is to lead it.
struct Scout<V> {
    inner: Arc<Inner<V>>,
    plan: Plan,
    key: Box<[u8]>,
    options: LoadOptions,
    best: Option<Found<V>>,
    began: Instant,
    max_age: Option<Duration>,
    takes_turns: bool,
    patience: Duration,
}

/// What it found.
struct Scouted<V> {
    best: Option<Found<V>>,
    remote: Option<(Found<V>, Judge)>,
    approach: Result<Approach<V>>,
}

impl<V: Clone + Send + Sync + 'static> Scout<V> {
    fn go(self, report: Report<Scouted<V>>) {
        let Self { inner, plan, key, options, best, began, max_age, takes_turns, patience } = self;
        let mut call = Call::new(plan, &inner.rules, &options, best);
        (call.began, call.max_age) = (began, max_age);
        let turns = if takes_turns { inner.turns(plan, &key, &call) } else { None };
        let approached = inner.approach(plan, &key, &mut call, turns.as_ref());
        let (best, remote) = (call.best.take(), call.remote.take());
        let tell = |approach| report.done(Scouted { best, remote, approach });
        match approached {
            Err(error) => _ = tell(Err(error)),
            Ok(Approached::Led(led)) => _ = tell(Ok(Approach::Led(led))),
            Ok(Approached::Ready(marks, Turn::Mine(_turn), lease)) => {
                let (hold, held) = hold();
                if tell(Ok(Approach::Ready(marks, Some(hold), lease))) {
                    held.wait(patience);
                }
            }
            Ok(Approached::Ready(marks, _, lease)) => {
                _ = tell(Ok(Approach::Ready(marks, None, lease)));
            }
        }
    }
}

/// Polls until ready, or for so long; why no longer, if that was too short.
async fn within<T>(
    alarms: &Alarms,
    span: Option<Duration>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> std::result::Result<T, Ring> {
    // A deadline too far to express is none.
    let deadline = span.and_then(|span| Instant::now().checked_add(span));
    let mut alarm: Option<Alarm> = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = poll(context) {
            return Poll::Ready(Ok(output));
        }
        // Made only now: most are ready at once.
        let alarm = alarm.get_or_insert_with(|| alarms.at(deadline));
        Pin::new(alarm).poll(context).map(Err)
    })
    .await
}
