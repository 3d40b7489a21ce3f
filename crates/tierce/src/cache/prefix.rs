//! What is changed by what its key begins with.
//!
//! Where the cache has a delimiter, an entry bears the tags of its key's prefixes
//! ([`hidden_tags`](crate::hidden_tags)) beside those that its caller or loader named: what goes into
//! the tiers is given them with the marks that it bears. So a change of a prefix is a change of a tag,
//! and nothing else: see [`tags`](super::tags).
//!
//! The delimiter is that of the store, where L2 is in force and has one, else that of the cache. It is
//! read with the marks: a delimiter that is named later clears the store, which voids what was looked
//! for under them. From L3, where other hosts write, a record is taken only if it bears all tags
//! of its key; a fill takes the place of one that does not.

use super::{Cache, Event, Inner, marks::Marks};
use crate::{error::Result, hidden_tags, tag_cells::TagChange, tier::Record};

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Removes all whose keys begin so from all tiers, as [`delete`](Self::delete) of each key would,
    /// and as cheap as one, whatever their number. What was looked for or loaded before is not served
    /// once this has returned.
    ///
    /// The prefix ends in the [`prefix_delimiter`](super::Builder::prefix_delimiter) with which the
    /// cache was built, and has eight of them at most. On other hosts it is as with
    /// [`remove_tag`](Self::remove_tag).
    ///
    /// ```
    /// use tierce::{Bytes, Cache};
    ///
    /// let cache = Cache::builder().prefix_delimiter(b'/').build()?;
    /// cache.set("user/7/name", Bytes::from("Ada"))?;
    /// cache.set("user/8/name", Bytes::from("Ben"))?;
    /// cache.remove_prefix("user/7/")?;
    /// assert!(cache.get("user/7/name").is_none() && cache.get("user/8/name").is_some());
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) where the cache has no delimiter, or the prefix does not
    /// end in it or has more than eight; [`ErrorKind::Closed`](crate::ErrorKind::Closed). Then nothing is removed.
    pub fn remove_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.remove_prefixes([prefix])
    }

    /// Removes all whose keys begin with one of these, as [`remove_prefix`](Self::remove_prefix) does.
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix), of any of them.
    pub fn remove_prefixes<P: AsRef<[u8]>>(
        &self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        self.change_prefixes(prefixes, TagChange::Remove)
    }

    /// Makes all stale whose keys begin so, in all tiers, as [`expire`](Self::expire) of each key
    /// would; what has no stale window is gone.
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix).
    pub fn expire_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.expire_prefixes([prefix])
    }

    /// Makes all stale whose keys begin with one of these, as [`expire_prefix`](Self::expire_prefix)
    /// does.
    ///
    /// # Errors
    /// As [`remove_prefix`](Self::remove_prefix), of any of them.
    pub fn expire_prefixes<P: AsRef<[u8]>>(
        &self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        self.change_prefixes(prefixes, TagChange::Expire)
    }

    fn change_prefixes<P: AsRef<[u8]>>(
        &self,
        prefixes: impl IntoIterator<Item = P>,
        change: TagChange,
    ) -> Result<()> {
        let prefixes: Vec<P> = prefixes.into_iter().collect();
        let delimiter = self.inner.delimiter();
        let hash = |prefix: &P| hidden_tags::of_prefix(prefix.as_ref(), delimiter);
        let hashes = prefixes.iter().map(hash).collect::<Result<Vec<u32>>>()?;
        self.inner.change_tags(&hashes, change)?;
        self.inner.events.tell(|| Event::Prefixes {
            prefixes: prefixes.iter().map(|prefix| prefix.as_ref().into()).collect(),
            is_removed: change == TagChange::Remove,
        });
        Ok(())
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// By what prefixes end now.
    fn delimiter(&self) -> Option<u8> {
        let plan = self.plan.load();
        let shared = self.lowers.shared.in_force(plan).and_then(|shared| shared.delimiter());
        shared.or(self.delimiter)
    }
}

impl Marks {
    /// False for a record of L3 that was put there without the tags of its key's prefixes.
    pub(super) fn finds_all_tags(&self, key: &[u8], record: &Record) -> bool {
        let Some(delimiter) = self.delimiter else { return true };
        let tags = record.extras.as_deref().and_then(|extras| extras.tags.as_ref());
        let borne = tags.map_or(&[][..], |tags| &tags.hashes);
        hidden_tags::of_key(key, delimiter).iter().all(|hash| borne.contains(hash))
    }
}
