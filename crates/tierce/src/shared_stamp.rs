//! The mark of L2 that an L1 entry carries.

use crate::group_word::GroupWord;

/// What the shared store said of a key before its value was looked for. An L1 entry of that value
/// bears it, and is current while the store still says the same: each change of the key on this
/// host, each `clear` and each message that voids the key's group makes it differ.
///
/// The clear epochs of the stores that had the name one after another are shifted to ranges of
/// their own, so that none judges the entries of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedStamp {
    /// Which of the store's stamps is the key's; other keys may share it.
    pub(crate) index: u32,
    /// The value of that stamp.
    pub(crate) stamp: u32,
    /// The clear epoch of the store, shifted.
    pub(crate) clear_epoch: u32,
    /// What L3 said of the key's group.
    pub(crate) word: GroupWord,
}
