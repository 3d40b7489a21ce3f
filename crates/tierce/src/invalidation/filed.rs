//! The mark that an L1 entry carries.

use crate::{group_word::GroupWord, shared_stamp::SharedStamp, tag_cells::Known};

/// By whose word an L1 entry is current.
///
/// An entry says itself who judges it, so entries of before and after a change of tiering live
/// side by side and none has to be swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filed {
    /// Filed while the tiering had no shared store: current as long as it lies in L1 and the
    /// tiering has none, and only in the era in which it was filed.
    Private {
        /// The era of the cache at the time; retiering may begin a new one.
        era: u32,
        /// What L3 said of the key's group.
        word: GroupWord,
    },
    /// Filed under stamps of the shared store: current while they are unchanged there, but not
    /// while the tiering has no shared store and other hosts are followed: in the store nobody
    /// may be told of them then.
    Shared(SharedStamp),
}

impl Filed {
    /// The mark of what its own process put into the store in place of something else, which raised
    /// the key's stamp there.
    pub(crate) fn raised_to(self, stamp: u32) -> Self {
        match self {
            Self::Shared(before) => Self::Shared(SharedStamp { stamp, ..before }),
            private @ Self::Private { .. } => private,
        }
    }
}

/// What was known when a load began: nobody who comes after a change of its key, or of any tag,
/// may join it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Began {
    pub(crate) filed: Filed,
    pub(crate) known: Known,
}
