//! Who follows what other hosts change in the tier that they share, and how.

use std::time::Duration;

use crate::{
    clock::Millis,
    error::Error,
    tag_cells::{CellChange, KnownBelow},
};

/// Who keeps copies of what a remote tier holds.
///
/// All calls come from one thread of the tier, in the order of what they tell.
pub(crate) trait ChangeListener: Send + Sync {
    /// Whether the listener wants to be told now; asked several times in each
    /// [`heartbeat`](Coherence::heartbeat). Another post than the one before asks to begin anew.
    fn post(&self, before: Option<Post>) -> Option<Post>;

    /// The time, for [`begins`](Self::begins) and [`told_until`](Self::told_until).
    fn now(&self) -> Millis;

    /// All changes since `since` are told from here on. `stamps` are those of all groups of keys, of
    /// a moment after `since`: where one is as it was known, nothing was missed before. Where `bounds`
    /// the changes of clients that are no tierce are not told, and copies are to live for the staleness
    /// bound at most.
    fn begins(&self, post: Post, since: Millis, stamps: &[Option<u64>], bounds: bool);

    /// All changes until `until` were told, and those up to `stamps`, the stamps of all groups of
    /// keys. `offsets` say how far the masters of all groups had come by then
    /// ([`Reached::offset`]), where that was asked; else there are none.
    fn told_until(
        &self,
        post: Post,
        until: Millis,
        stamps: &[Option<u64>],
        offsets: &[Option<u64>],
    );

    /// No more changes are told, or some were not, for a reason that is no wish of the listener.
    fn ends(&self, post: Post, why: &Error);

    /// The latest change of `key` by those who keep the copies, if a change may be one of theirs: then
    /// the present record is looked at before they are told of the change.
    fn own_change(&self, post: Post, key: &[u8]) -> Option<u64>;

    /// True if the record of change `present` is one of those who keep the copies, who are not done
    /// with it, or if another change of theirs than `before` came while it was looked for: then they
    /// are told of the change a little later.
    fn is_under_way(&self, post: Post, key: &[u8], before: u64, present: Option<u64>) -> bool;

    /// `key` was changed. `present` is the [`change`](Record::change) of the record that the tier
    /// has of it by now; `None` for none, or where it was not looked at.
    fn changed(&self, post: Post, key: &[u8], present: Option<u64>);

    /// All keys of a group were changed.
    fn group_changed(&self, post: Post, group: usize);

    /// All keys were changed.
    fn all_changed(&self, post: Post);

    /// Up to which change of tags those who keep the copies have heard of all; `None` where it is not
    /// known.
    fn tags_known(&self, post: Post) -> Option<KnownBelow>;

    /// Tags were changed, or may have been.
    fn tags_changed(&self, post: Post, told: &TagsTold);
}

/// What is told of changes of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TagsTold {
    /// Up to which all are told by now; `None` where the numbering is lost.
    pub(crate) known: Option<KnownBelow>,
    /// Those since the one that was known; `None`: any may have been changed.
    pub(crate) raised: Option<Vec<CellChange>>,
}

/// For which copies a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    /// 0 for those of this process; else for those of a store, by its number.
    pub(crate) place: u64,
    /// Counts who listened for them.
    pub(crate) term: u64,
}

/// How a cache follows the changes that other hosts make in the tier that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coherence {
    /// False: copies live as long as their time to live.
    pub(crate) enabled: bool,
    /// How often the stream of changes is asked for a sign of life.
    pub(crate) heartbeat: Duration,
    /// How long after the loss of the stream nothing is served any more that may be stale.
    pub(crate) staleness_bound: Duration,
    /// What becomes of copies when the stream is lost.
    pub(crate) on_loss: OnLoss,
}

/// What becomes of the copies of L1 and L2 when the stream of changes from L3 is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLoss {
    /// They are misses, and what is loaded meanwhile lives no longer than the staleness bound. The
    /// default.
    #[default]
    Miss,
    /// They are served until their time to live ends, as if nobody changed anything. They are
    /// misses once the stream is back.
    Serve,
}

impl OnLoss {
    /// `miss` or `serve`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Serve => "serve",
        }
    }

    /// The one of this name.
    #[cfg(feature = "config")]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Miss, Self::Serve].into_iter().find(|what| what.as_str() == name)
    }
}

/// How a host is told of the changes that other hosts make in L3.
///
/// Whichever it is, the stamps in L3 are compared with each heartbeat, so a change by any tierce whose
/// news is lost is seen by then. docs/l3-news.md has more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// By client tracking; where the server refuses that, by pub/sub. As that tells nothing of clients
    /// that are no tierce, copies then live for the staleness bound at most. The default.
    #[default]
    Auto,
    /// By client tracking (`CLIENT TRACKING` in broadcasting mode, over RESP3): of changes by any
    /// client. Where the server refuses it nobody is told, and copies live for the staleness bound.
    Tracking,
    /// By pub/sub, over RESP2: of changes by tierce alone. A record that another client changes, and
    /// one that the server evicts, is left in copies until their time to live ends.
    Pubsub,
}

impl Invalidation {
    /// `auto`, `tracking` or `pubsub`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tracking => "tracking",
            Self::Pubsub => "pubsub",
        }
    }

    /// The one of this name.
    #[cfg(feature = "config")]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Auto, Self::Tracking, Self::Pubsub].into_iter().find(|way| way.as_str() == name)
    }
}
