//! What a read answers and what a loader returns.

use std::time::Duration;

use bytes::Bytes;

use crate::{tag_cells, tiering::TierKind};

/// A value with where it came from and how old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<V> {
    /// The value.
    pub value: V,
    /// Where it came from.
    pub origin: Origin,
    /// True if its time to live is over: it is served because the caller allows that.
    pub is_stale: bool,
    /// How long ago it was set, or its load began; `None` where that is not known.
    pub age: Option<Duration>,
}

impl<V> Answer<Option<V>> {
    /// The answer, if it is a value.
    pub(super) fn present(self) -> Option<Answer<V>> {
        let Self { value, origin, is_stale, age } = self;
        value.map(|value| Answer { value, origin, is_stale, age })
    }
}

impl<V> Answer<V> {
    /// True if a tier had it, and it is fresh.
    pub(super) fn is_hit(&self) -> bool {
        matches!(self.origin, Origin::Tier(_)) && !self.is_stale
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A tier had it.
    Tier(TierKind),
    /// This call's loader returned it.
    Loaded,
    /// It was loaded by another thread while this call waited.
    Joined,
}

/// What a loader returns: a value, or word that there is none or that it is the same as before;
/// and, if it is to differ from the default, how long that may be kept.
#[derive(Clone, Debug)]
pub struct Loaded<V> {
    pub(super) content: Content<V>,
    pub(super) ttl: Option<Duration>,
    pub(super) weight: Option<usize>,
    pub(super) validator: Option<Bytes>,
    pub(super) tags: Option<Vec<u32>>,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub(super) enum Content<V> {
    Value(V),
    Absent,
    NotModified,
}

impl<V> Loaded<V> {
    /// A value with the default time to live.
    pub fn new(value: V) -> Self {
        Self::of(Content::Value(value))
    }

    /// There is no value. That is remembered for
    /// [`negative_ttl`](crate::Freshness::negative_ttl), by default not at all; an older value, stale
    /// or not, is removed from all tiers.
    pub fn absent() -> Self {
        Self::of(Content::Absent)
    }

    /// The value is the one that the loader was told of
    /// ([`LoadContext::stale`](crate::LoadContext::stale)): it is fresh again. An error where there
    /// was none.
    pub fn not_modified() -> Self {
        Self::of(Content::NotModified)
    }

    fn of(content: Content<V>) -> Self {
        Self { content, ttl: None, weight: None, validator: None, tags: None }
    }

    /// Sets how long the value is fresh, or how long it is remembered that there is none; zero
    /// hands it to the callers and keeps nothing: an older value is removed from all tiers, unless the
    /// key was changed during the load.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the bytes that the value counts for in L1, in place of what the codec says.
    #[must_use]
    pub fn weight(mut self, bytes: usize) -> Self {
        self.weight = Some(bytes);
        self
    }

    /// Sets what the next load of the key is told to know this value by
    /// ([`LoadContext::validator`](crate::LoadContext::validator)): an `ETag`, a version. Kept with
    /// the value, up to 1,024 bytes.
    #[must_use]
    pub fn validator(mut self, validator: impl Into<Bytes>) -> Self {
        self.validator = Some(validator.into());
        self
    }

    /// Sets tags: names by which the value may be removed or made stale together with others
    /// ([`Cache::remove_tag`](crate::Cache::remove_tag),
    /// [`Cache::expire_tag`](crate::Cache::expire_tag)). At most 128. They add to
    /// those of the call ([`LoadOptions::tags`](crate::LoadOptions::tags)). Default: those that the
    /// value had where it is [`not_modified`](Self::not_modified), else none.
    #[must_use]
    pub fn tags<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = Some(tag_cells::hashes(tags));
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or_else(Self::absent, Self::new)
    }
}

impl<V> Loaded<V> {
    /// The value, where there is one that was loaded.
    pub(crate) fn value(&self) -> Option<&V> {
        match &self.content {
            Content::Value(value) => Some(value),
            Content::Absent | Content::NotModified => None,
        }
    }

    /// The same with a time to live of `most` at most where it names one, and of `exactly` where that is
    /// said.
    pub(crate) fn capped(mut self, most: Option<Duration>, exactly: Option<Duration>) -> Self {
        if let Some(most) = most {
            self.ttl = self.ttl.map(|ttl| ttl.min(most));
        }
        self.ttl = exactly.or(self.ttl);
        self
    }
}
