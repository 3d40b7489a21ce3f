//! Loaders that live as long as the cache, and may therefore run on its background threads.
//!
//! | what | needs the background because |
//! |---|---|
//! | refresh ahead | the caller has its answer already |
//! | stale while revalidate, for the caller that leads | the same |
//! | soft timeout of the caller that leads | its load goes on without it |
//! | hard timeout of the caller that leads | a loader that does not look at its token cannot be stopped, only left |
//!
//! Where no thread is to be had (all have enough to do), a refresh is left to the next hit, and a
//! load that somebody waits for runs on the caller's thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, Cache, Inner, LoadOptions, Loader, Origin, absent,
    lead::Led,
    load::{Call, Landing, Leads, Step},
    plan::{Plan, Reach},
    read::{Found, is_young},
};
use crate::{
    error::Result,
    load::{Entered, Lead, LoadContext, LoadReason, Refused, draw},
    metrics::Sampler,
    sync::Mutex,
};

/// A cache with the loader of its values: reads load what is missing, also in the background.
///
/// Made by [`Cache::loading`]. Cheap to clone; several over one cache, for several kinds of keys,
/// are fine.
pub struct Loading<V> {
    cache: Cache<V>,
    loader: Arc<dyn Loader<V>>,
    options: Arc<LoadOptions>,
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// This cache with a loader that is called for what is missing, on a thread of the cache where
    /// the options want that: stale values are refreshed behind the callers' backs
    /// ([`stale_while_revalidate`](crate::Freshness::stale_while_revalidate)), fresh ones before
    /// they are stale ([`refresh_ahead`](crate::Freshness::refresh_ahead)), and slow loads go on
    /// without their callers ([`soft_timeout`](crate::Freshness::soft_timeout)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tierce::{Bytes, Cache, Freshness, LoadContext, LoadOptions, RefreshAhead};
    ///
    /// let cache = Cache::builder().build()?;
    /// let options = LoadOptions::new().freshness(
    ///     Freshness::new().ttl(Duration::from_secs(60)).refresh_ahead(RefreshAhead::After(0.8)),
    /// );
    /// let users = cache.loading(
    ///     |context: &LoadContext<'_, Bytes>| {
    ///         std::io::Result::Ok(Bytes::copy_from_slice(context.key()))
    ///     },
    ///     options,
    /// )?;
    /// assert_eq!(users.get("user:7")?, "user:7");
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for options out of their range.
    pub fn loading(&self, loader: impl Loader<V>, options: LoadOptions) -> Result<Loading<V>> {
        options.freshness.check()?;
        let (loader, options) = (Arc::new(loader), Arc::new(options));
        Ok(Loading { cache: self.clone(), loader, options })
    }
}

impl<V: Clone + Send + Sync + 'static> Loading<V> {
    /// The value of `key`, loaded if need be.
    ///
    /// # Errors
    /// As [`Cache::get_or_load`], and [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) for a load
    /// that takes longer than its hard timeout.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<V> {
        self.get_entry(key).map(|answer| answer.value)
    }

    /// As [`get`](Self::get), with word of where the value came from and how old it is.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_entry(&self, key: impl AsRef<[u8]>) -> Result<Answer<V>> {
        self.get_optional(key)?.present().ok_or_else(absent)
    }

    /// As [`get_entry`](Self::get_entry), for keys that may have no value.
    ///
    /// # Errors
    /// As [`get`](Self::get), but for [`ErrorKind::Absent`](crate::ErrorKind::Absent).
    pub fn get_optional(&self, key: impl AsRef<[u8]>) -> Result<Answer<Option<V>>> {
        self.cache.inner.get_loading(key.as_ref(), &self.options, &self.loader)
    }

    /// Loads `key` anew, whatever there is, and waits for it. Fails as the loader does: nothing
    /// stale is served.
    ///
    /// # Errors
    /// As [`get_entry`](Self::get_entry).
    pub fn refresh(&self, key: impl AsRef<[u8]>) -> Result<Answer<V>> {
        let leads = Shared { loader: &self.loader, options: &self.options };
        let answer = self.cache.inner.refresh_by(key.as_ref(), &self.options, leads)?;
        answer.present().ok_or_else(absent)
    }

    /// The cache.
    pub fn cache(&self) -> &Cache<V> {
        &self.cache
    }
}

impl<V> Clone for Loading<V> {
    fn clone(&self) -> Self {
        let (loader, options) = (Arc::clone(&self.loader), Arc::clone(&self.options));
        Self { cache: self.cache.clone(), loader, options }
    }
}

impl<V> std::fmt::Debug for Loading<V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cache = &self.cache;
        out.debug_struct("Loading").field("cache", cache).field("options", &self.options).finish()
    }
}

/// A loader that lives as long as the cache.
pub(super) struct Shared<'a, V> {
    loader: &'a Arc<dyn Loader<V>>,
    options: &'a Arc<LoadOptions>,
}

/// What of a call goes on without it.
struct Orphan<V> {
    key: Box<[u8]>,
    loader: Arc<dyn Loader<V>>,
    options: Arc<LoadOptions>,
    lead: Lead<Landing<V>>,
    best: Option<Found<V>>,
    max_age: Option<Duration>,
    reason: Option<LoadReason>,
    reach: Reach,
}

impl<V: Clone + Send + Sync + 'static> Leads<V> for Shared<'_, V> {
    fn lead(
        &mut self,
        cache: &Inner<V>,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: Lead<Landing<V>>,
    ) -> Result<Step<V>> {
        let lead = if call.may_leave() {
            // What L3 has stale serves after the soft timeout: the caller must know of it.
            match cache.look_before_leaving(key, call) {
                Some(found) => {
                    return cache.land(key, call, lead, Ok(Led::Found(found))).map(Step::Answer);
                }
                None => lead,
            }
        } else {
            // The same, before anybody is sent away.
            let load = |context: &LoadContext<'_, V>| self.loader.load(context);
            let hit = |plan, found: &Found<V>| cache.refresh_ahead(plan, key, found, self);
            match cache.lead_here_or_leave(key, call, lead, load, hit) {
                Ok(answer) => return answer.map(Step::Answer),
                Err(lead) => lead,
            }
        };
        let joined = lead.join();
        let lead = match cache.send_away(key, call, lead, self) {
            Ok(()) => match cache.wait(key, call, &joined, Origin::Loaded)? {
                // Nobody came to it.
                Step::Lead(lead) => lead,
                step => return Ok(step),
            },
            Err(lead) => lead,
        };
        cache.lead_here(key, call, lead, |context| self.loader.load(context)).map(Step::Answer)
    }

    fn hit(&mut self, cache: &Inner<V>, plan: Plan, key: &[u8], found: &Found<V>) {
        cache.refresh_ahead(plan, key, found, self);
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    fn get_loading(
        &self,
        key: &[u8],
        options: &Arc<LoadOptions>,
        loader: &Arc<dyn Loader<V>>,
    ) -> Result<Answer<Option<V>>> {
        let plan = self.route(key, options.reach());
        let trip = self.trip(plan);
        let begin = Sampler::tick().then(Instant::now);
        let near = self.look_near(plan, key);
        let leads = Shared { loader, options };
        let answer = match near {
            Some(found) if found.is_fresh() && is_young(found.age, options.max_age) => {
                self.timed_near(plan, begin);
                self.count_hit(key, &found);
                if !plan.is_shed() {
                    self.refresh_ahead(plan, key, &found, &leads);
                }
                Ok(found.into_answer())
            }
            near => self.load_after(plan, key, options, near, leads),
        };
        trip.ends(&answer);
        answer
    }

    /// Has a fresh value loaded anew, where that is due.
    fn refresh_ahead(&self, plan: Plan, key: &[u8], found: &Found<V>, leads: &Shared<'_, V>) {
        let rule = leads.options.freshness.refresh_ahead_over(&self.rules);
        let (Some(rule), Some(left), Some(age)) = (rule, found.fresh_left, found.age) else {
            return;
        };
        if found.value.is_some() && rule.is_due(age, age + left, found.cost, draw) {
            self.refresh_now(plan, key, found, age, leads);
        }
    }

    #[cold]
    fn refresh_now(
        &self,
        plan: Plan,
        key: &[u8],
        found: &Found<V>,
        age: Duration,
        leads: &Shared<'_, V>,
    ) {
        let is_current = |began| self.is_current(self.plan.load(), began);
        if self.failures.recall(key, is_current).is_some() {
            return;
        }
        let marks = self.marks(plan, key);
        let entered = self.flights.enter(key, marks.began(), |began| self.may_join(began));
        let Ok(Entered::Lead(lead)) = entered else { return };
        let mut call = Call::new(plan, &self.rules, leads.options, Some(found.clone()));
        // Another process or host may have done it.
        call.max_age = Some(age.saturating_sub(Duration::from_millis(1)));
        call.reason = Some(LoadReason::Ahead);
        let lead = lead.limited(self.longest_load(&call.rules));
        // Where nobody takes it the next hit tries again.
        drop(self.send_away(key, &call, lead, leads));
    }

    /// Has a thread of the crew lead a flight; the flight comes back where none can.
    fn send_away(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        lead: Lead<Landing<V>>,
        leads: &Shared<'_, V>,
    ) -> Result<(), Lead<Landing<V>>> {
        let orphan = Orphan {
            key: key.into(),
            loader: Arc::clone(leads.loader),
            options: Arc::clone(leads.options),
            lead: lead.travelling(),
            best: call.best.clone(),
            max_age: call.max_age,
            reason: call.reason,
            reach: call.reach,
        };
        let me = self.me.clone();
        // The lead must come back with a job that is not taken.
        let place = Arc::new(Mutex::new(Some(orphan)));
        let theirs = Arc::clone(&place);
        let job = move || {
            let orphan = theirs.lock().take();
            if let (Some(inner), Some(orphan)) = (me.upgrade(), orphan) {
                inner.lead_orphan(orphan);
            }
        };
        match self.crew.spawn(job) {
            Ok(()) => Ok(()),
            Err(Refused::Full(job) | Refused::Closed(job) | Refused::NoThread(job)) => {
                let orphan = place.lock().take();
                drop(job);
                match orphan {
                    Some(orphan) => Err(orphan.lead),
                    None => Ok(()),
                }
            }
        }
    }

    fn lead_orphan(&self, orphan: Orphan<V>) {
        let Orphan { key, loader, options, lead, best, max_age, reason, reach } = orphan;
        let plan = self.plan.load().within(reach);
        let mut call = Call::new(plan, &self.rules, &options, best);
        (call.max_age, call.reason) = (max_age, reason);
        self.lead_away(&key, &mut call, lead, |context| loader.load(context));
    }
}
