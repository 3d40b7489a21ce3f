//! Making a store as it was when it was new, for simulations that use one for many histories
//! (feature `sim`), and losing single records as the evictor does.

use std::sync::atomic::Ordering;

use crate::store::{
    KeyHash, Store, index::swap_tagged, layout::Slot, lock::Wait, stamps, statistics::Count,
};

impl Store {
    /// Removes a key's record as the evictor does, which tells nobody.
    pub(crate) fn lose(&self, hash: KeyHash) {
        let shard = self.geometry.shard_of(hash.0);
        let Ok(_guard) = self.lock_shard(shard, &Wait::new(self.lock_wait)) else { return };
        for slot in self.set(self.geometry.set_of(hash.0)) {
            if let Some(old) = swap_tagged(slot, hash.0, Slot::EMPTY) {
                self.retire(shard, old, Count::EvictedSize);
            }
        }
    }

    /// Removes all records and forgets all doubts, all that was told of L3's stream and the delimiter
    /// of prefixes. Nobody else uses the store meanwhile.
    pub(crate) fn forget_all(&self) {
        self.clear();
        self.forget_doubts();
        stamps::head(&self.mapping).delimiter.store(0, Ordering::Release);
        for word in self.stream_words() {
            word.store(0, Ordering::Release);
        }
        for word in self.group_words() {
            word.store(0, Ordering::Release);
        }
    }
}
