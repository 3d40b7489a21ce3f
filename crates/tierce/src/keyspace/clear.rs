//! Removing all of a keyspace at once.
//!
//! Each entry of a clearable keyspace bears a tag for its pattern, and one for each pattern that
//! this continues: `user/:id/posts/:post` those of `user/:` and `user/:/posts/:`. The names of
//! places do not count. So clearing is one change of a tag, whatever the number of keys, and takes
//! the keyspaces below with it.

use super::{KeyPattern, Keyspace};
use crate::{
    error::{Error, ErrorKind, Result},
    hidden_tags, tag_cells,
};

impl<V: Clone + Send + Sync + 'static, const N: usize> Keyspace<V, N> {
    /// Has what is set and loaded from now on by this handle, and by its clones, bear the tags by
    /// which [`clear`](Self::clear) finds it. That costs what tags cost: some 50 bytes an entry, and
    /// with L3 a round trip more for each change.
    #[must_use]
    pub fn clearable(mut self) -> Self {
        self.tags = tag_cells::hashes(self.pattern.clear_tags()).into();
        self
    }

    /// Removes all of this keyspace, and of clearable ones whose patterns continue its own, from all
    /// tiers and hosts: clearing `user/:id` clears `user/:user/posts/:post`. As cheap as a delete,
    /// whatever the number of keys, and as right: what was looked for or loaded before is not served
    /// once this has returned.
    ///
    /// What was put there otherwise stays: by the cache itself, or by a handle that is not
    /// [`clearable`](Self::clearable).
    ///
    /// ```
    /// use tierce::{Bytes, Cache};
    ///
    /// let cache = Cache::builder().build()?;
    /// let users = cache.keyspace::<1>("user/:id")?.clearable();
    /// let posts = cache.keyspace::<2>("user/:user/posts/:post")?.clearable();
    /// users.set(7, Bytes::from("Ada"))?;
    /// posts.set((7, "hello"), Bytes::from("world"))?;
    ///
    /// posts.clear()?;
    /// assert!(posts.get((7, "hello")).is_none() && users.get(7).is_some());
    /// posts.set((7, "hello"), Bytes::from("again"))?;
    /// users.clear()?;
    /// assert!(posts.get((7, "hello")).is_none() && users.get(7).is_none());
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a keyspace that is not clearable; as
    /// [`Cache::remove_tag`](crate::Cache::remove_tag).
    pub fn clear(&self) -> Result<()> {
        let text = self.pattern.text();
        if self.tags.is_empty() {
            let message = format!("keyspace {text:?}: make it clearable() before values are set");
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.counters.changes(1);
        self.pattern.clear_tags().last().map_or(Ok(()), |own| self.cache.remove_tag(own))
    }
}

impl KeyPattern {
    /// The tags of a clearable keyspace: of the patterns that this one continues, its own last. For
    /// bindings.
    #[doc(hidden)]
    #[must_use]
    pub fn clear_tags(&self) -> Vec<Vec<u8>> {
        let count = self.segments().count();
        let ends = self.segments().enumerate().filter(|(_, segment)| segment.starts_with(':'));
        let ends = ends.map(|(at, _)| at + 1).filter(|end| *end < count).chain([count]);
        ends.map(|end| hidden_tags::of_pattern(self.segments().take(end))).collect()
    }
}
