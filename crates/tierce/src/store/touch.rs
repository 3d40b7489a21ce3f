//! `touch`: another time to live for what a key has.
//!
//! As `expire` does, this writes the record anew in place of the one that was read, and raises the
//! key's stamp, both under the mutex of the shard: copies of the record elsewhere on the host end
//! when it did before, so they must give way. A change that came in between makes it start again, and
//! so does a fill that took the record's place, which raises no stamp: a record that was made later
//! stands in the way, as it does for fills.

use std::time::Duration;

use crate::{
    clock::Millis,
    store::{
        Dropped, KeyHash, NewRecord, Store, StoreRecord, lock::Wait, statistics::Count, write::Live,
    },
};

/// Times that one call begins anew after another change of the key; then it removes the key, which is
/// what the changes that race with it cannot make wrong.
const TRIES: u32 = 100;

impl Store {
    /// Has the key's record be fresh for so long from now on, or for ever, if it is fresh and
    /// `is_live` says so of it, and raises the key's stamp; returns the value that the raise made.
    /// With `prolongs` false it ends no later than it was to.
    /// `before` is called before that. `None` where there is none, or where it could not be kept.
    ///
    /// Its stale part stays as long as it is; so does its age.
    pub(crate) fn touch(
        &self,
        hash: KeyHash,
        key: &[u8],
        (fresh, prolongs): (Option<Duration>, bool),
        is_live: impl Fn(&StoreRecord) -> bool,
        before: impl Fn(),
    ) -> Option<u32> {
        let wait = Wait::new(self.lock_wait);
        for _ in 0..TRIES {
            let token = self.judged_token(hash, key);
            let found = self.lookup(hash.0, key).ok()??;
            let now = self.clock.boot();
            if found.is_stale(now) || !is_live(&found) {
                return None;
            }
            before();
            let end = fresh.and_then(|fresh| fresh.checked_add(found.stale()));
            let expires_at = end.map_or(Millis::NEVER, |end| now.after(end));
            let expires_at = if prolongs { expires_at } else { expires_at.min(found.expires_at) };
            let record = NewRecord {
                stale: if expires_at == Millis::NEVER { Duration::ZERO } else { found.stale() },
                made_at: found.made_at,
                head: found.head(),
                ..NewRecord::new(&found.value, found.format, expires_at)
            };
            // One that is not known to be older is none that this may write over.
            let made = if found.made_at == Millis::NEVER { Millis(1) } else { found.made_at };
            let later = Live::FreshAt(now, made);
            match self.put_unless(&wait, hash.0, key, &record, Some(token), Some(later)) {
                Ok(stamp) => {
                    self.count(Count::Puts);
                    return Some(stamp);
                }
                Err(Dropped::Raced) => {}
                Err(_) => break,
            }
        }
        self.count(Count::Deletes);
        self.remove(&wait, hash.0);
        None
    }
}
