//! What callers do, and what befalls them; and the keys that it is done to.

use std::{fmt, sync::LazyLock};

use crate::{Tiering, key};

/// The keys. The last is of the group of the first, which L3 cannot tell apart in doubts and gaps.
pub(super) static KEYS: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    let group = key::group(b"k/0");
    let same = (0..).map(|number| format!("s/{number}").into_bytes());
    let same = same.into_iter().find(|name| key::group(name) == group).unwrap_or_default();
    [b"k/0".to_vec(), b"k/1".to_vec(), b"k/2".to_vec(), same]
});

/// By what prefixes end, in histories that have them, and the one that is changed.
pub(super) const DELIMITER: u8 = b'/';
pub(super) const PREFIX: &[u8] = b"k/";

/// What is counted under; nothing else is done to it.
pub(super) const COUNTER: &[u8] = b"n/0";

/// The tag of all values, in histories that have one.
pub(super) const TAG: &str = "red";

/// True for a key that a change of the prefix changes.
pub(super) fn has_prefix(key: usize) -> bool {
    KEYS[key].starts_with(PREFIX)
}

/// The number of a key.
pub(super) fn key_number(key: &[u8]) -> Option<usize> {
    KEYS.iter().position(|known| known == key)
}

/// Something that a caller, or mischief, does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get(usize),
    /// A read that takes what is stale.
    GetStale(usize),
    GetMany(Vec<usize>),
    /// With a time to live in milliseconds.
    Set(usize, Option<u64>),
    Delete(usize),
    /// What the key has is stale from then on, and gone where it may not be served stale.
    Expire(usize),
    /// All that bears a tag is gone, or stale: all values of a history do, or none.
    ChangeTag {
        removes: bool,
    },
    /// The same of all whose keys begin with the prefix.
    ChangePrefix {
        removes: bool,
    },
    Clear,
    /// What the key has is fresh for so many milliseconds from then on.
    Touch(usize, u64),
    /// `set_if_absent`, with a time to live.
    SetIfAbsent(usize, Option<u64>),
    /// `update`, by which a value keeps what remains of its time to live unless one is named.
    Update(usize, Option<u64>),
    /// `get_versioned` and `compare_and_set`.
    CompareAndSet(usize),
    /// `increment` of the counter by one.
    Increment,
    /// `get_or_load`.
    Load(usize, Option<u64>),
    /// A read by a loader that lives as long as the cache, and may run on its threads.
    LoadAway(usize, Option<u64>),
    /// `get_or_load` of what is no older than the call; with a time to live of zero it keeps nothing.
    LoadAnew(usize, Option<u64>),
    /// `refresh`.
    Refresh(usize),
    /// `flush`: what was set behind L3 is sent.
    SendWaiting,
    Retier(Tiering),
    /// Another process takes the place of this one, which is closed or just ends.
    Restart {
        closes: bool,
    },
    Sleep(u64),
    /// The store of the host has no room for a record any more, and drops it untold.
    EvictShared(usize),
    /// Nothing gets through between a host and the server for a while.
    CutLink {
        host: usize,
        millis: u64,
        refuses: bool,
    },
    /// Those of a host who listen stand still for a while, and keep their connections.
    Stall {
        host: usize,
        millis: u64,
    },
    /// The subscription of a process ends.
    CutStream {
        number: usize,
        is_silent: bool,
    },
    /// The server drops a record, or the counters of its group.
    Evict(usize),
    EvictCounter {
        key: usize,
        is_epoch: bool,
    },
    EvictTags,
    Flush,
}

impl Verb {
    /// True for a call that loads this key alone, on its own thread.
    pub(super) fn is_load_of(&self, key: usize) -> bool {
        self.loads() == Some(key) && !matches!(self, Self::LoadAway(..))
    }

    /// The key that a call loads, if it does.
    pub(super) fn loads(&self) -> Option<usize> {
        match self {
            Self::Load(key, _) | Self::LoadAway(key, _) | Self::LoadAnew(key, _) => Some(*key),
            Self::Refresh(key) => Some(*key),
            _ => None,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |key: &usize| String::from_utf8_lossy(&KEYS[*key]).into_owned();
        let with_ttl =
            |ttl: &Option<u64>| ttl.map_or(String::new(), |ttl| format!(", ttl {ttl} ms"));
        match self {
            Self::Get(key) => write!(out, "get {}", name(key)),
            Self::GetStale(key) => write!(out, "get {}, also stale", name(key)),
            Self::GetMany(keys) => {
                write!(out, "get_many {}", keys.iter().map(name).collect::<Vec<_>>().join(" "))
            }
            Self::Set(key, ttl) => write!(out, "set {}{}", name(key), with_ttl(ttl)),
            Self::Delete(key) => write!(out, "delete {}", name(key)),
            Self::Expire(key) => write!(out, "expire {}", name(key)),
            Self::ChangeTag { removes: true } => write!(out, "remove_tag"),
            Self::ChangeTag { removes: false } => write!(out, "expire_tag"),
            Self::ChangePrefix { removes: true } => write!(out, "remove_prefix"),
            Self::ChangePrefix { removes: false } => write!(out, "expire_prefix"),
            Self::Clear => write!(out, "clear"),
            Self::Touch(key, ttl) => write!(out, "touch {}, ttl {ttl} ms", name(key)),
            Self::SetIfAbsent(key, ttl) => {
                write!(out, "set_if_absent {}{}", name(key), with_ttl(ttl))
            }
            Self::Update(key, ttl) => write!(out, "update {}{}", name(key), with_ttl(ttl)),
            Self::CompareAndSet(key) => write!(out, "compare_and_set {}", name(key)),
            Self::Increment => write!(out, "increment"),
            Self::Load(key, ttl) => write!(out, "get_or_load {}{}", name(key), with_ttl(ttl)),
            Self::LoadAway(key, ttl) => {
                write!(out, "get_or_load {}{}, on any thread", name(key), with_ttl(ttl))
            }
            Self::LoadAnew(key, ttl) => {
                write!(out, "get_or_load {}, anew{}", name(key), with_ttl(ttl))
            }
            Self::Refresh(key) => write!(out, "refresh {}", name(key)),
            Self::SendWaiting => write!(out, "flush"),
            Self::Retier(tiering) => write!(out, "retier to {}", tiering.name()),
            Self::Restart { closes: true } => write!(out, "close, and start anew"),
            Self::Restart { closes: false } => write!(out, "end, and start anew"),
            Self::Sleep(millis) => write!(out, "sleep {millis} ms"),
            Self::EvictShared(key) => write!(out, "the store evicts {}", name(key)),
            Self::CutLink { host, millis, refuses } => {
                let how = if *refuses { "refused" } else { "no answer" };
                write!(out, "host {host}: no way to the server for {millis} ms ({how})")
            }
            Self::Stall { host, millis } => {
                write!(out, "those who listen on host {host} stand still for {millis} ms")
            }
            Self::CutStream { number, is_silent } => {
                let how = if *is_silent { ", unnoticed" } else { "" };
                write!(out, "process {number}: the stream of changes is cut{how}")
            }
            Self::Evict(key) => write!(out, "server evicts {}", name(key)),
            Self::EvictCounter { key, is_epoch } => {
                let which = if *is_epoch { "epoch" } else { "stamp" };
                write!(out, "server evicts the {which} of the group of {}", name(key))
            }
            Self::EvictTags => write!(out, "server evicts the changes of tags"),
            Self::Flush => write!(out, "server is flushed"),
        }
    }
}
