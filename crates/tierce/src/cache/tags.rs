//! What is changed by its tags, whatever its keys are.
//!
//! Nothing is looked for: a change of a tag raises numbers ([`tag_cells`](crate::tag_cells)) in the
//! store, where there is one, and in this process. Who finds a value that bears the tag compares,
//! in L1 with each hit. Loads under way are judged by what was known when they began, also where
//! their loader names the tags only when it returns; nobody who comes later joins them.

use std::sync::Arc;

use bytes::Bytes;

use super::{Cache, Inner, change::closed, plan::Plan};
use crate::{
    error::{Error, ErrorKind, Result},
    tag_cells::{self, MAX_TAGS, TagChange, Tags},
    tier::Extras,
    tiering::TierKind,
};

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Removes all that bears this tag from all tiers, as [`delete`](Self::delete) of each key
    /// would, and as cheap as one. What was looked for or loaded before is not served once this has
    /// returned, also where a loader names the tag later.
    ///
    /// Tags that share a cell (one of 4,096, of 65,536 in a store of 64 MiB and more) are removed
    /// together: that costs a miss now and then.
    ///
    /// ```
    /// use tierce::{Bytes, Cache, SetOptions};
    ///
    /// let cache = Cache::builder().build()?;
    /// let options = SetOptions::new().tags(["user:7"]);
    /// cache.set_with("user:7:name", Bytes::from("Ada"), &options)?;
    /// cache.remove_tag("user:7")?;
    /// assert_eq!(cache.get("user:7:name"), None);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] while L3 is in the tiering, which keeps nothing that has tags;
    /// [`ErrorKind::Closed`].
    pub fn remove_tag(&self, tag: impl AsRef<[u8]>) -> Result<()> {
        self.remove_tags([tag])
    }

    /// Removes all that bears one of these tags, as [`remove_tag`](Self::remove_tag) does.
    ///
    /// # Errors
    /// As [`remove_tag`](Self::remove_tag).
    pub fn remove_tags<T: AsRef<[u8]>>(&self, tags: impl IntoIterator<Item = T>) -> Result<()> {
        self.inner.change_tags(&tag_cells::hashes(tags), TagChange::Remove)
    }

    /// Makes all that bears this tag stale in all tiers, as [`expire`](Self::expire) of each key
    /// would; what has no stale window is gone. Its windows count from the first look at it.
    ///
    /// # Errors
    /// As [`remove_tag`](Self::remove_tag).
    pub fn expire_tag(&self, tag: impl AsRef<[u8]>) -> Result<()> {
        self.expire_tags([tag])
    }

    /// Makes all that bears one of these tags stale, as [`expire_tag`](Self::expire_tag) does.
    ///
    /// # Errors
    /// As [`remove_tag`](Self::remove_tag).
    pub fn expire_tags<T: AsRef<[u8]>>(&self, tags: impl IntoIterator<Item = T>) -> Result<()> {
        self.inner.change_tags(&tag_cells::hashes(tags), TagChange::Expire)
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    fn change_tags(&self, hashes: &[u32], change: TagChange) -> Result<()> {
        let _straddles_no_retier = self.changing();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(closed());
        }
        self.check_tag_hashes(plan, hashes)?;
        let shared = self.lowers.shared.opened();
        if let Some(shared) = shared {
            // In force or not: other processes may use it.
            shared.raise_tags(hashes, change);
        }
        self.tags.raise(hashes, change, shared.is_none());
        Ok(())
    }

    /// Tells a store that was opened late of what was changed without it: before it is read.
    pub(super) fn hand_tags_over(&self) {
        if let Some(shared) = self.lowers.shared.opened() {
            self.tags.hand_over(|cell, of, change| shared.raise_tag_cell(cell, of, change));
        }
    }

    /// [`check_tag_hashes`](Self::check_tag_hashes) of an entry's tags.
    pub(super) fn check_tags(&self, plan: Plan, tags: Option<&Tags>) -> Result<()> {
        self.check_tag_hashes(plan, tags.map_or(&[], |tags| &tags.hashes))
    }

    /// Refuses tags where they would not be judged.
    pub(super) fn check_tag_hashes(&self, plan: Plan, hashes: &[u32]) -> Result<()> {
        if !hashes.is_empty() && plan.tiering().has(TierKind::Redis) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "tags are not kept in L3: take it out of the tiering, or name no tags",
            ));
        }
        Ok(())
    }
}

/// What is wrong with these tags.
pub(super) fn check(hashes: &[u32]) -> Result<()> {
    let count = hashes.len();
    if count > MAX_TAGS {
        let message = format!("{count} tags: an entry has {MAX_TAGS} at most");
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(())
}

/// What few values have, if there is something of it.
pub(super) fn extras(validator: Bytes, hashes: Vec<u32>) -> Option<Arc<Extras>> {
    let tags = Tags { hashes: hashes.into(), ..Tags::default() };
    Extras::new(validator, Some(tags)).map(Arc::new)
}
