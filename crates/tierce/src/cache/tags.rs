//! What is changed by its tags, whatever its keys are.
//!
//! Nothing is looked for: a change of a tag raises numbers ([`tag_cells`](crate::tag_cells)) in the
//! store, where there is one, and in this process. Who finds a value that bears the tag compares,
//! in L1 with each hit. Loads under way are judged by what was known when they began, also where
//! their loader names the tags only when it returns; nobody who comes later joins them.
//!
//! L3 has a numbering for all hosts, which a change raises first. It judges its records itself, as they
//! are read, and its stream has each host raise its own numbers. A change that L3 did not take is
//! noted beside the numbers of the host (or of the process, where there is no store): until it was
//! sent, no process of the host takes a record with tags from L3.

use std::sync::Arc;

use bytes::Bytes;

use super::{Cache, Event, Inner, change::closed, marks::Marks, plan::Plan};
use crate::{
    error::{Error, ErrorKind, Result},
    tag_cells::{self, CellChange, MAX_KEYSPACE_TAGS, MAX_TAGS, MOST_TAGS, TagChange, Tags},
    tier::{Extras, Found, Record, RemoteTier},
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
    /// On other hosts it is removed from L3 at once, and from copies above it as soon as they hear of
    /// it, which is a matter of milliseconds, as with any change.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn remove_tag(&self, tag: impl AsRef<[u8]>) -> Result<()> {
        self.remove_tags([tag])
    }

    /// Removes all that bears one of these tags, as [`remove_tag`](Self::remove_tag) does.
    ///
    /// # Errors
    /// As [`remove_tag`](Self::remove_tag).
    pub fn remove_tags<T: AsRef<[u8]>>(&self, tags: impl IntoIterator<Item = T>) -> Result<()> {
        self.change_tags(tags, TagChange::Remove)
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
        self.change_tags(tags, TagChange::Expire)
    }

    fn change_tags<T: AsRef<[u8]>>(
        &self,
        tags: impl IntoIterator<Item = T>,
        change: TagChange,
    ) -> Result<()> {
        let tags: Vec<T> = tags.into_iter().collect();
        self.inner.change_tags(&tag_cells::hashes(&tags), change)?;
        self.inner.events.tell(|| Event::Tags {
            tags: tags.iter().map(|tag| tag.as_ref().into()).collect(),
            is_removed: change == TagChange::Remove,
        });
        Ok(())
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn change_tags(&self, hashes: &[u32], change: TagChange) -> Result<()> {
        let _straddles_no_retier = self.changing();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(closed());
        }
        if hashes.is_empty() {
            return Ok(());
        }
        self.listen(plan);
        self.tags.be_used();
        // L3 first, as in any change.
        let cells = CellChange::of(hashes, change);
        let raised = self.lowers.redis.call(plan, &self.metrics, |tier| tier.raise_tags(&cells));
        let is_sent = raised.is_some();
        // In force or not: other processes may use it.
        match self.lowers.shared.opened() {
            Some(shared) if is_sent => shared.raise_tags(hashes, change),
            Some(shared) => shared.raise_tags_unsent(hashes, change),
            None if is_sent => {}
            None => {
                let since = self.tags.known().raises;
                self.tags.raise(hashes, change, true);
                self.tags.unsent().note(since);
            }
        }
        let is_pending = self.lowers.shared.opened().is_none();
        self.tags.raise(hashes, change, is_pending);
        if let Some(raised) = raised {
            self.tags_made(plan, raised);
        }
        Ok(())
    }

    /// Tells a store that was opened late of what was changed without it: before it is read.
    pub(super) fn hand_tags_over(&self) {
        let Some(shared) = self.lowers.shared.opened() else { return };
        let mut cells = Vec::new();
        self.tags.hand_over(|cell, of, change| cells.push((cell, of, change)));
        match self.tags.unsent().noted() {
            Some((word, _)) => {
                shared.raise_tag_cells_unsent(&cells);
                self.tags.unsent().settle(word);
            }
            None => shared.raise_tag_cells(&cells),
        }
    }

    /// True if records with tags may be taken from L3: it knows of all changes of tags that this host
    /// made. To be asked before L3 is.
    pub(super) fn trusts_tags(&self, plan: Plan) -> bool {
        let has_unsent = || match self.lowers.shared.opened() {
            Some(shared) => shared.has_unsent_tags(),
            None => self.tags.unsent().noted().is_some(),
        };
        if !has_unsent() {
            return true;
        }
        self.send_tags(plan);
        !has_unsent()
    }

    /// Sends L3 the changes of tags that it may not know of.
    pub(super) fn send_tags(&self, plan: Plan) {
        let shared = self.lowers.shared.opened();
        let unsent = match shared {
            Some(shared) => shared.unsent_tags(),
            None => {
                let noted = self.tags.unsent().noted();
                noted.map(|(word, since)| (word, self.tags.raised_since(since)))
            }
        };
        let Some((word, cells)) = unsent else { return };
        let send = |tier: &(dyn RemoteTier + 'static)| tier.raise_tags(&cells);
        if self.lowers.redis.call(plan, &self.metrics, send).is_some() {
            match shared {
                Some(shared) => shared.settle_tags(word),
                None => self.tags.unsent().settle(word),
            }
        }
    }

    /// Looks a key up in L3, and leaves out what may bear a tag that was changed without L3.
    pub(super) fn read_remote(&self, plan: Plan, key: &[u8]) -> Option<Found> {
        self.is_settled_below(key).then(|| self.read_settled(plan, key)).flatten()
    }

    /// As [`read_remote`](Self::read_remote), for who saw since it took its marks that no value of the key is
    /// on its way.
    pub(super) fn read_settled(&self, plan: Plan, key: &[u8]) -> Option<Found> {
        let trusts_tags = self.trusts_tags(plan);
        let mut found = self.ask_settled(plan, key, |tier| tier.read(key))?;
        found.record = found.record.filter(|record| self.is_taken(record, trusts_tags));
        Some(found)
    }

    /// True where L3 has a record of the key that its tags have voided, or made stale.
    pub(super) fn is_void_below(&self, plan: Plan, key: &[u8]) -> bool {
        let is_asked = self.tags.is_used() && plan.has(TierKind::Redis);
        let found = if is_asked { self.read_remote(plan, key) } else { None };
        // Whose tags were asked about, and which is no fresh one all the same.
        let is_stale = |record: Record| !record.stale.is_zero() && record.ttl <= Some(record.stale);
        found.is_some_and(|found| found.tags.is_some() && found.record.is_none_or(is_stale))
    }

    /// True unless a record of L3 has tags, and those are not to be trusted.
    pub(super) fn is_taken(&self, record: &Record, trusts_tags: bool) -> bool {
        let has_tags = record.extras.as_deref().is_some_and(|extras| extras.tags.is_some());
        if has_tags {
            self.tags.be_used();
        }
        trusts_tags || !has_tags
    }

    /// Takes note up to which change of tags L3 is, before a value is loaded for it. Without that it
    /// takes no value with tags. For a value that is set, L3 itself asks at that moment: by what this
    /// host heard of last, it might be void where another host has just removed the tag.
    pub(super) fn mark_tags(&self, plan: Plan, marks: &mut Marks) {
        if self.lowers.redis.in_force(plan).is_none() {
            return;
        }
        // What the read was told is newer than what this host knows.
        marks.below = marks.below.or_else(|| self.tags_told(plan));
        // A loader may name tags only when it returns; a cache in which nobody did asks for nothing.
        if marks.below.is_none() && self.tags.is_used() {
            marks.below = self.lowers.redis.call(plan, &self.metrics, |tier| tier.tags_known());
        }
    }
}

/// What is wrong with these tags, which callers name but for so many that we added.
pub(super) fn check(hashes: &[u32], added: usize) -> Result<()> {
    check_count(hashes.len().saturating_sub(added), MAX_TAGS)?;
    check_count(hashes.len(), MAX_TAGS + MAX_KEYSPACE_TAGS)
}

/// The same of tags among which are those of a key's prefixes.
pub(super) fn check_all(hashes: &[u32]) -> Result<()> {
    check_count(hashes.len(), MOST_TAGS)
}

fn check_count(count: usize, most: usize) -> Result<()> {
    if count > most {
        let message = format!("{count} tags: an entry has {most} at most");
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(())
}

/// What few values have, if there is something of it.
pub(super) fn extras(validator: Bytes, hashes: Vec<u32>) -> Option<Arc<Extras>> {
    let tags = Tags { hashes: hashes.into(), ..Tags::default() };
    Extras::new(validator, Some(tags)).map(Arc::new)
}
