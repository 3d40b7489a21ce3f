//! What a load is to do.

use std::{fmt, sync::Arc, time::Duration};

use super::{Bulkhead, Freshness, plan::Reach};
use crate::{error::Result, tag_cells, tiering::Tiering};

/// Options of one `get_or_load`. Fields that are not set take the cache's defaults.
#[derive(Clone, Default)]
pub struct LoadOptions {
    pub(super) freshness: Freshness,
    pub(super) max_age: Option<Duration>,
    pub(super) wait: Option<Duration>,
    pub(super) check: Option<Arc<WaitCheck>>,
    pub(super) tags: Vec<u32>,
    /// How many of them we added.
    pub(super) added_tags: usize,
    tiers: Option<Tiering>,
    /// Those that may run at once with this load.
    pub(super) bulkhead: Option<Arc<Bulkhead>>,
}

pub(super) type WaitCheck = dyn Fn() -> Result<()> + Send + Sync;

impl LoadOptions {
    /// The cache's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a loaded value may be kept, unless the loader says otherwise; zero keeps
    /// nothing.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.freshness = self.freshness.ttl(ttl);
        self
    }

    /// Sets how long a loaded value is fresh, and when a stale one may be served. Replaces what was
    /// set so far.
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Looks in these tiers alone, and keeps there what is loaded, as far as they are in the tiering.
    /// Default: all tiers.
    #[must_use]
    pub fn tiers(mut self, tiers: Tiering) -> Self {
        self.tiers = Some(tiers);
        self
    }

    /// These options, and `tiers` if they name none.
    pub(crate) fn or_tiers(mut self, tiers: Option<Tiering>) -> Self {
        self.tiers = self.tiers.or(tiers);
        self
    }

    /// These options, with other freshness.
    pub(crate) fn map_freshness(mut self, map: impl FnOnce(Freshness) -> Freshness) -> Self {
        self.freshness = map(self.freshness);
        self
    }

    /// These options for a load that is one of those.
    pub(crate) fn within(mut self, bulkhead: Option<Arc<Bulkhead>>) -> Self {
        self.bulkhead = bulkhead;
        self
    }

    /// These options, and these tags besides their own.
    pub(crate) fn and_tags(mut self, tags: &[u32]) -> Self {
        if !tags.is_empty() {
            let own = self.tags.len();
            self.tags = tag_cells::joined(&self.tags, tags);
            self.added_tags = self.tags.len() - own;
        }
        self
    }

    /// These options, and `freshness` for what they do not say.
    pub(crate) fn or(mut self, freshness: &Freshness) -> Self {
        self.freshness = self.freshness.or(freshness);
        self
    }

    /// Sets how long ago the value may have been set, or its load begun, at most; what is older, or
    /// of an age that is not known, is loaded anew. Zero always loads: no earlier than this call
    /// began. Default: no bound.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Sets how long to wait for a load that another thread began. One of another process is
    /// waited for no longer either; this call loads itself then.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Sets tags: names by which a loaded value may be removed or made stale together with others
    /// ([`Cache::remove_tag`](crate::Cache::remove_tag),
    /// [`Cache::expire_tag`](crate::Cache::expire_tag)). At most 128. The loader may name
    /// others ([`Loaded::tags`](crate::Loaded::tags)). Replaces those set so far. Default: none.
    #[must_use]
    pub fn tags<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tag_cells::hashes(tags);
        self
    }

    /// Calls `check` about every 50 ms, with no lock held, while the call waits for a load that
    /// another thread or process began; an error of it ends the wait. For hosts that must look up while they
    /// wait, such as an interpreter for its signals.
    #[must_use]
    pub fn while_waiting(mut self, check: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        self.check = Some(Arc::new(check));
        self
    }
}

impl LoadOptions {
    /// The same for a thread that nobody is to look up from.
    pub(super) fn unchecked(&self) -> Self {
        Self { check: None, ..self.clone() }
    }

    /// Where to look, and to keep what is loaded.
    pub(super) fn reach(&self) -> Reach {
        self.tiers.map_or(Reach::ALL, Reach::of)
    }

    /// How long to wait for another's load, where that is said.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.wait
    }

    /// True where nothing that is loaded is to be kept.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.freshness.keeps_nothing()
    }

    /// The oldest value that is accepted.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.max_age
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LoadOptions")
            .field("freshness", &self.freshness)
            .field("max_age", &self.max_age)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
