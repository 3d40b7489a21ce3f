//! Making a store as it was when it was new, for simulations that use one for many histories
//! (feature `sim`). Nobody else uses the store meanwhile.

use std::sync::atomic::Ordering;

use crate::store::Store;

impl Store {
    /// Removes all records and forgets all doubts and all that was told of L3's stream.
    pub(crate) fn forget_all(&self) {
        self.clear();
        self.forget_doubts();
        for word in self.stream_words() {
            word.store(0, Ordering::Release);
        }
        for word in self.group_words() {
            word.store(0, Ordering::Release);
        }
    }
}
