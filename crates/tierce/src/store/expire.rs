//! `expire`: what a key has is stale from now on.
//!
//! The record is written anew with all that is left of its time as the stale part, in place of the
//! one that was read, and the key's stamp is raised, both under the mutex of the shard; a change
//! that came in between makes it start again. A record without a stale part is removed. Marking the
//! record where it lies would be cheaper, but its checksum covers its header: a reader in between
//! would take it for damaged and empty the slot.

use std::time::Duration;

use crate::store::{Dropped, KeyHash, NewRecord, Store, lock::Wait, statistics::Count};

/// Times that one call begins anew after another change of the key; then it removes the key, which
/// is what the changes that race with it cannot make wrong.
const TRIES: u32 = 4;

impl Store {
    /// Makes the key's record stale, or removes it where it has no stale part, and raises the key's
    /// stamp; returns the value that the raise made.
    ///
    /// Never fails: what cannot be done by writing is done by removing.
    pub fn expire(&self, hash: KeyHash, key: &[u8]) -> u32 {
        let wait = Wait::new(self.lock_wait);
        for _ in 0..TRIES {
            let token = self.judged_token(hash, key);
            let Ok(Some(found)) = self.lookup(hash.0, key) else { break };
            let left = found.expires_at.remaining(self.clock.boot());
            let Some(left) = left.filter(|_| found.stale() > Duration::ZERO) else { break };
            let record = NewRecord {
                stale: left,
                made_at: found.made_at,
                head: found.head(),
                ..NewRecord::new(&found.value, found.format, found.expires_at)
            };
            match self.try_put(&wait, hash.0, key, &record, Some(token)) {
                Ok(stamp) => {
                    self.count(Count::Puts);
                    return stamp;
                }
                Err(Dropped::Raced) => {}
                Err(_) => break,
            }
        }
        self.count(Count::Deletes);
        self.remove(&wait, hash.0)
    }
}
