//! By what the prefixes of keys end, for all who use the store ([`DelimiterWord`]).

use std::sync::atomic::Ordering;

use crate::{
    error::{Error, ErrorKind, Result},
    hidden_tags::DelimiterWord,
    store::{Store, stamps},
};

impl Store {
    /// The delimiter, where one was named. To be asked after a token was taken: what is stored under
    /// that is void if one was named since.
    #[inline]
    pub(crate) fn delimiter(&self) -> Option<u8> {
        DelimiterWord(stamps::head(&self.mapping).delimiter.load(Ordering::Acquire)).delimiter()
    }

    /// Has all who use the store have this delimiter from now on. The first one to name it clears the
    /// store: what is there bears no tags of prefixes.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the store has another one.
    pub(crate) fn name_delimiter(&self, delimiter: u8) -> Result<()> {
        let word = &stamps::head(&self.mapping).delimiter;
        let (begun, done) =
            (DelimiterWord::of(delimiter, false), DelimiterWord::of(delimiter, true));
        let before = match word.compare_exchange(0, begun.0, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => begun,
            Err(before) => DelimiterWord(before),
        };
        if before == done {
            return Ok(());
        }
        if before != begun {
            let [theirs, ours] =
                [before.delimiter().unwrap_or_default(), delimiter].map(u8::escape_ascii);
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "prefix_delimiter '{ours}': the processes that use this store have '{theirs}', \
                     and must all have the same"
                ),
            ));
        }
        self.clear();
        _ = word.compare_exchange(begun.0, done.0, Ordering::SeqCst, Ordering::SeqCst);
        Ok(())
    }

    /// Takes over what another store says, where this one says nothing; else what this one says holds
    /// for those too who come from the other.
    pub(crate) fn adopt_delimiter_of(&self, old: &Self) {
        if let Some(theirs) = old.delimiter() {
            _ = self.name_delimiter(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, store::StoreOptions};

    fn options(folder: &tempfile::TempDir, bytes: u64) -> StoreOptions {
        StoreOptions::new(folder.path().join("store")).max_bytes(bytes)
    }

    #[test]
    fn the_first_delimiter_is_that_of_all_and_clears_what_was_stored_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(&options(&folder, 4 << 20), Clock::system()).unwrap();
        let (one, other) = (open(), open());
        let epoch = || one.token(one.hash(b"a")).clear_epoch;
        let before = epoch();
        assert_eq!(one.delimiter(), None);
        other.name_delimiter(b'/').unwrap();
        assert_eq!(one.delimiter(), Some(b'/'));
        assert_ne!(epoch(), before, "what bears no tags is gone");
        let cleared = epoch();
        one.name_delimiter(b'/').unwrap();
        assert_eq!(epoch(), cleared, "once");
        let error = one.name_delimiter(b':').unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(message.contains("prefix_delimiter ':'") && message.contains("'/'"), "{message}");
        assert_eq!(other.delimiter(), Some(b'/'));
    }

    #[test]
    fn who_was_killed_before_it_cleared_leaves_that_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&options(&folder, 4 << 20), Clock::system()).unwrap();
        let epoch = || store.token(store.hash(b"a")).clear_epoch;
        let begun = DelimiterWord::of(b'/', false).0;
        stamps::head(&store.mapping).delimiter.store(begun, Ordering::SeqCst);
        assert_eq!(store.delimiter(), Some(b'/'), "who stores now bears the tags");
        let before = epoch();
        store.name_delimiter(b'/').unwrap();
        assert_ne!(epoch(), before);
        assert!(store.name_delimiter(b':').is_err());
    }

    #[test]
    fn a_store_of_another_size_has_the_delimiter_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        {
            let store = Store::open(&options(&folder, 4 << 20), Clock::system()).unwrap();
            store.name_delimiter(b'/').unwrap();
        }
        let options = options(&folder, 8 << 20).resize(true);
        let store = Store::open(&options, Clock::system()).unwrap();
        assert_eq!(store.delimiter(), Some(b'/'));
        assert!(store.name_delimiter(b':').is_err());
    }
}
