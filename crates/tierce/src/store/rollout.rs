//! What the processes of the host know of a rollout: one word, which each change of it replaces as a
//! whole. What it says is for those to know who roll out ([`ShareWord`]).

use std::sync::atomic::Ordering;

use crate::{
    split::ShareWord,
    store::{Store, stamps},
};

impl Store {
    /// The word now; zeros in a new store.
    #[inline]
    pub(crate) fn rollout(&self) -> ShareWord {
        ShareWord(stamps::head(&self.mapping).rollout.load(Ordering::Acquire))
    }

    /// Replaces the word by what `change` makes of it, unless that is `None`. True if it was
    /// replaced. As one step for all processes: who is killed in the midst left it as it was.
    pub(crate) fn change_rollout(&self, change: impl Fn(ShareWord) -> Option<ShareWord>) -> bool {
        let word = &stamps::head(&self.mapping).rollout;
        let replace = |word| Some(change(ShareWord(word))?.0);
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, replace).is_ok()
    }

    /// Takes over what another store says.
    pub(crate) fn adopt_rollout_of(&self, old: &Self) {
        let theirs = old.rollout();
        self.change_rollout(|mine| (mine.epoch() <= theirs.epoch()).then_some(theirs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        split::{Moves, Share},
        store::StoreOptions,
    };

    #[test]
    fn a_rollback_wins_over_what_was_decided_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(1 << 20);
        let open = || Store::open(&options, Clock::system()).unwrap();
        let (one, two) = (open(), open());
        let half = Share::of(0.5).unwrap();
        assert!(one.change_rollout(|word| word.next("r", half, Moves::Starts)));
        assert_eq!(two.rollout().share_of("r"), Some(half));
        assert_eq!(two.rollout().share_of("another"), None);
        // The leader decided on all before it heard of the rollback.
        assert!(two.change_rollout(|word| word.next("r", Share::NONE, Moves::Back)));
        assert!(!one.change_rollout(|word| word.next("r", Share::ALL, Moves::On)));
        assert_eq!(one.rollout().share_of("r"), Some(Share::NONE));
        assert!(one.change_rollout(|word| word.next("r", half, Moves::Starts)));
        assert_eq!(two.rollout().share_of("r"), Some(half));
    }

    #[test]
    fn the_next_store_of_the_name_knows_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(1 << 20);
        let old = Store::open(&options, Clock::system()).unwrap();
        old.change_rollout(|word| word.next("r", Share::ALL, Moves::Starts));
        old.remove_names();
        let new = Store::open(&options, Clock::system()).unwrap();
        old.supersede_by(&new);
        assert_eq!(new.rollout().share_of("r"), Some(Share::ALL));
    }
}
