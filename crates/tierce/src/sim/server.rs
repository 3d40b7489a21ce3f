//! L3 as it is simulated: a server that does what the scripts of the redis tier do, one after the
//! other, and tells those who listen.
//!
//! ```text
//!   change ── applied: record and stamp in one step ──> told at the end of the server's turn
//!      |                                                  |
//!      └─ or in a buffer, applied later                   └─> the queue of each subscription, in
//!         (a write never after its deadline)                  order, with the delay of its host
//! ```
//!
//! A server answers the requests of one turn before it tells what they changed. So the reply to a
//! subscriber may overtake the word of a change that the reply already knows of.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use super::{draws::Draws, schedule::At};
use crate::{
    codec::Format,
    key::{self, GROUPS},
    tag_cells::{CELLS_BELOW, CellChange, KnownBelow, TagChange, Tags, Verdict},
    tier::{Expected, Fill, Record, TagsRaised, TagsTold, Token},
};

/// What a process asks the server to change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Not after `not_after`, milliseconds of the history; with `over` only in place of the record
    /// of that change, or of none.
    Write {
        key: Vec<u8>,
        record: Record,
        not_after: u64,
        over: Option<Option<Expected>>,
    },
    Expire {
        key: Vec<u8>,
    },
    Touch {
        key: Vec<u8>,
        fresh: Option<Duration>,
    },
    /// By a verb, or for a ledger that is replayed.
    Delete {
        key: Vec<u8>,
        is_verb: bool,
    },
    Fill {
        key: Vec<u8>,
        record: Record,
        token: Token,
    },
    /// A group of keys, or all.
    Clear {
        group: Option<usize>,
    },
    RaiseTags {
        cells: Vec<CellChange>,
    },
}

/// What the server answers to a change.
#[derive(Clone, Debug)]
pub(super) enum Done {
    /// With the stamp that the change made, if it did.
    Changed(Option<u64>),
    /// The same, of a word that stands for a value.
    ChangedWord(Option<u64>),
    Filled(Fill),
    Raised(TagsRaised),
    /// Another record is there than the one to be replaced.
    Otherwise,
    /// It came after its deadline.
    Late,
}

/// What a subscriber is told.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Told {
    Key(Vec<u8>),
    Group(usize),
    Tags,
    Everything,
}

impl fmt::Debug for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => out.write_str(&String::from_utf8_lossy(key)),
            Self::Group(group) => write!(out, "group {group}"),
            Self::Tags => out.write_str("tags"),
            Self::Everything => out.write_str("everything"),
        }
    }
}

/// A change of the server, for those who check.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) at: At,
    pub(super) what: EffectOf,
}

/// What a change did to the records of verbs; not what befell them (evictions, flushes).
#[derive(Clone, Debug)]
pub(super) enum EffectOf {
    /// The key has this value now. `is_fill`: it had none.
    Wrote {
        key: Vec<u8>,
        value: bytes::Bytes,
        is_fill: bool,
    },
    Removed {
        key: Vec<u8>,
    },
    /// What the key has is stale.
    Expired {
        key: Vec<u8>,
    },
    /// What the key has is fresh for so many milliseconds from then on.
    Touched {
        key: Vec<u8>,
        fresh: Option<u64>,
    },
    Cleared {
        group: usize,
    },
    /// All that bears a tag of these cells is gone or stale.
    TagsChanged {
        cells: Vec<CellChange>,
    },
}

/// The numbering of changes of tags.
struct TagHash {
    known: KnownBelow,
    cells: BTreeMap<(bool, usize), u64>,
}

struct Stored {
    record: Record,
    expires_at: Option<u64>,
    stored_at: u64,
    epoch: u64,
    /// It was made stale before its time, or given another one: whoever listens does not take it for
    /// what it was when it was made.
    is_expired: bool,
    is_touched: bool,
}

struct Subscription {
    /// Which incarnation of which process it is.
    listener: usize,
    arriving: VecDeque<(u64, Told)>,
    /// When its end is noticed, if it ended.
    ended: Option<u64>,
    /// It ended, and nobody said so.
    is_silent: bool,
}

/// The server and what is on its way to and from it.
#[derive(Default)]
pub(super) struct Server {
    records: BTreeMap<Vec<u8>, Stored>,
    stamps: Vec<Option<u64>>,
    epochs: Vec<Option<u64>>,
    tags: Option<TagHash>,
    subscriptions: Vec<Subscription>,
    /// Told at the end of the server's turn, which is never later than this millisecond.
    untold: Vec<Told>,
    untold_at: u64,
    /// Changes in buffers, with when they come to the server.
    buffered: Vec<(u64, Change)>,
    effects: Vec<Effect>,
    /// How long messages take, in milliseconds, at most.
    pub(super) slowness: u64,
    /// Messages that take no time, of a thousand.
    pub(super) prompt: u32,
    /// A delete of what is not there is told too.
    pub(super) tells_of_absent: bool,
}

impl Server {
    /// An empty server.
    pub(super) fn new() -> Self {
        Self { stamps: vec![None; GROUPS], epochs: vec![None; GROUPS], ..Self::default() }
    }

    pub(super) fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// What came to the server until now, and when, the earliest first; to be applied before
    /// anything else is asked.
    pub(super) fn next_buffered(&mut self, now: At) -> Option<(u64, Change)> {
        let due = self.buffered.iter().enumerate().filter(|(_, (at, _))| *at <= now.millis);
        let index = due.min_by_key(|(_, (at, _))| *at).map(|(index, _)| index)?;
        Some(self.buffered.remove(index))
    }

    /// A turn of the server does not outlast a millisecond.
    pub(super) fn catch_up(&mut self, now: At, draws: &mut Draws) {
        if self.untold_at < now.millis {
            self.end_turn(now, draws);
        }
    }

    /// Leaves a change in a buffer until then.
    pub(super) fn buffer(&mut self, at: u64, change: Change) {
        self.buffered.push((at, change));
    }

    /// Makes a change.
    pub(super) fn apply(&mut self, change: Change, now: At, draws: &mut Draws) -> Done {
        match change {
            Change::Write { key, record, not_after, over } => {
                if now.millis > not_after {
                    return Done::Late;
                }
                let present = self.record(&key, now).map(|record| record.change);
                let is_expired = self.records.get(&key).is_some_and(|stored| stored.is_expired);
                let is_other = |over: Option<Expected>| {
                    let is_stale = over.is_some_and(|over| over.is_fresh) && is_expired;
                    over.map(|over| over.change) != present || is_stale
                };
                if over.is_some_and(is_other) {
                    return Done::Otherwise;
                }
                let group = key::group(&key);
                let epoch = start(&mut self.epochs[group], draws);
                self.effect(
                    now,
                    EffectOf::Wrote {
                        key: key.clone(),
                        value: record.value.clone(),
                        is_fill: false,
                    },
                );
                self.put(key, record, epoch, now, draws);
                Done::Changed(Some(raise(&mut self.stamps[group], draws)))
            }
            Change::Expire { key } => {
                let left = self.record(&key, now).filter(|record| !record.stale.is_zero());
                let (Some(left), Some(stored)) = (left, self.records.get_mut(&key)) else {
                    return self.apply(Change::Delete { key, is_verb: true }, now, draws);
                };
                stored.record.stale = left.ttl.unwrap_or_default();
                stored.is_expired = true;
                let group = key::group(&key);
                self.effect(now, EffectOf::Expired { key: key.clone() });
                self.tell(Told::Key(key), now);
                Done::Changed(Some(raise(&mut self.stamps[group], draws)))
            }
            Change::Touch { key, fresh } => {
                let is_fresh = |record: &Record| {
                    let is_value = record.format != Format::Absent;
                    is_value && record.ttl.is_none_or(|ttl| ttl > record.stale)
                };
                let found = self.record(&key, now).filter(is_fresh);
                let (Some(_), Some(stored)) = (found, self.records.get_mut(&key)) else {
                    return Done::Otherwise;
                };
                let is_word = stored.record.format == Format::Oversized;
                let end = |fresh| now.millis + millis(fresh) + millis(stored.record.stale);
                stored.expires_at = fresh.map(end);
                // What is left of its time no longer tells its age.
                stored.record.age = None;
                stored.is_touched = true;
                let group = key::group(&key);
                let fresh = fresh.map(millis);
                self.effect(now, EffectOf::Touched { key: key.clone(), fresh });
                self.tell(Told::Key(key), now);
                let stamp = Some(raise(&mut self.stamps[group], draws));
                if is_word { Done::ChangedWord(stamp) } else { Done::Changed(stamp) }
            }
            Change::Delete { key, is_verb } => {
                let group = key::group(&key);
                let was_there = self.records.remove(&key).is_some();
                if was_there || is_verb {
                    self.effect(now, EffectOf::Removed { key: key.clone() });
                }
                if was_there || self.tells_of_absent {
                    self.tell(Told::Key(key), now);
                }
                Done::Changed(Some(raise(&mut self.stamps[group], draws)))
            }
            Change::Fill { key, record, token } => {
                Done::Filled(self.fill(key, record, token, now, draws))
            }
            Change::Clear { group } => {
                for group in group.map_or(0..GROUPS, |group| group..group + 1) {
                    _ = raise(&mut self.epochs[group], draws);
                    _ = raise(&mut self.stamps[group], draws);
                    self.effect(now, EffectOf::Cleared { group });
                    self.tell(Told::Group(group), now);
                }
                Done::Changed(None)
            }
            Change::RaiseTags { cells } => {
                if !cells.is_empty() {
                    self.effect(now, EffectOf::TagsChanged { cells: cells.clone() });
                }
                let before = self.tags_known(now, draws);
                let after = before.raises + cells.len() as u64;
                if let Some(hash) = &mut self.tags {
                    hash.known.raises = after;
                    for (raised, number) in cells.iter().zip(before.raises + 1..) {
                        let is_removal = raised.change == TagChange::Remove;
                        hash.cells.insert((is_removal, raised.cell), number);
                    }
                }
                self.tell(Told::Tags, now);
                Done::Raised(TagsRaised { before, after })
            }
        }
    }

    /// Where the numbering of changes of tags is, which begins where there is none.
    pub(super) fn tags_known(&mut self, now: At, draws: &mut Draws) -> KnownBelow {
        if self.tags.is_none() {
            self.tell(Told::Tags, now);
        }
        let hash = self.tags.get_or_insert_with(|| {
            let known = KnownBelow { era: (draws.next() >> 16).max(1), raises: 1 };
            TagHash { known, cells: BTreeMap::new() }
        });
        hash.known
    }

    /// The numbering of changes of tags, where there is one.
    pub(super) fn tags_now(&self) -> Option<KnownBelow> {
        self.tags.as_ref().map(|hash| hash.known)
    }

    /// What has become of a record with these tags.
    pub(super) fn verdict(&self, tags: &Tags) -> Verdict {
        let (Some(hash), Some(below)) = (&self.tags, tags.below) else { return Verdict::Removed };
        if hash.known.era != below.era {
            return Verdict::Removed;
        }
        let is_raised = |is_removal| {
            tags.hashes.iter().any(|tag| {
                let cell = (is_removal, *tag as usize % CELLS_BELOW);
                hash.cells.get(&cell).is_some_and(|number| *number > below.raises)
            })
        };
        match (is_raised(true), is_raised(false)) {
            (true, _) => Verdict::Removed,
            (_, true) => Verdict::Expired,
            _ => Verdict::Current,
        }
    }

    /// What becomes of tags since `before`, as a subscriber is told it.
    pub(super) fn tags_told(&self, before: Option<KnownBelow>) -> TagsTold {
        let Some(hash) = &self.tags else { return TagsTold::default() };
        let before = before.filter(|before| before.era == hash.known.era);
        let raised = before.map(|before| {
            let since = hash.cells.iter().filter(|(_, number)| **number > before.raises);
            let cell = |(is_removal, cell): (bool, usize)| CellChange {
                cell,
                change: if is_removal { TagChange::Remove } else { TagChange::Expire },
            };
            since.map(|(key, _)| cell(*key)).collect()
        });
        TagsTold { known: Some(hash.known), raised }
    }

    /// A write that the server refuses for want of memory: the record goes nevertheless.
    pub(super) fn refuse(&mut self, key: &[u8], now: At, draws: &mut Draws) {
        _ = self.apply(Change::Delete { key: key.to_vec(), is_verb: true }, now, draws);
    }

    fn fill(
        &mut self,
        key: Vec<u8>,
        record: Record,
        token: Token,
        now: At,
        draws: &mut Draws,
    ) -> Fill {
        let group = key::group(&key);
        let [stamp, epoch] = token.words;
        if self.stamps[group] != Some(stamp) || self.epochs[group] != Some(epoch) {
            return Fill::Refused;
        }
        let is_void = |live: &Record| {
            tags_of(live).is_some_and(|tags| self.verdict(tags) != Verdict::Current)
        };
        let is_expired = self.records.get(&key).is_some_and(|stored| stored.is_expired);
        let live = self.record(&key, now).filter(|_| !is_expired);
        let live = live.filter(|live| live.change != token.seen && !is_void(live));
        let live = live.filter(|live| live.format != Format::Oversized);
        if let Some(live) = live {
            return Fill::Adopted(live);
        }
        self.effect(
            now,
            EffectOf::Wrote { key: key.clone(), value: record.value.clone(), is_fill: true },
        );
        self.put(key, record, epoch, now, draws);
        Fill::Stored
    }

    fn put(&mut self, key: Vec<u8>, mut record: Record, epoch: u64, now: At, draws: &mut Draws) {
        if record.change == 0 {
            // Each record is told from every other by a number.
            record.change = draws.next().max(1);
        }
        let expires_at = record.ttl.map(|ttl| now.millis + millis(ttl));
        if expires_at.is_none() {
            // By what is left of its time the age of a record is told.
            record.age = None;
        }
        let (stored_at, is_expired, is_touched) = (now.millis, false, false);
        let stored = Stored { record, expires_at, stored_at, epoch, is_expired, is_touched };
        self.records.insert(key.clone(), stored);
        self.tell(Told::Key(key), now);
    }

    /// The licence to fill, which a read takes first.
    pub(super) fn token(&mut self, key: &[u8], draws: &mut Draws) -> Token {
        let group = key::group(key);
        let stamp = start(&mut self.stamps[group], draws);
        Token { words: [stamp, start(&mut self.epochs[group], draws)], seen: 0 }
    }

    /// The record of a key, as a read finds it under the epoch of now.
    pub(super) fn record(&self, key: &[u8], now: At) -> Option<Record> {
        self.record_under(key, self.epochs[key::group(key)]?, now)
    }

    /// The record of a key, as a read finds it that saw this epoch before.
    pub(super) fn record_under(&self, key: &[u8], epoch: u64, now: At) -> Option<Record> {
        let stored = self.records.get(key)?;
        let ttl = match stored.expires_at {
            Some(at) => {
                Some(Duration::from_millis(at.checked_sub(now.millis).filter(|left| *left > 0)?))
            }
            None => None,
        };
        let since = Duration::from_millis(now.millis - stored.stored_at);
        let age = stored.record.age.map(|age| age + since);
        let is_as_made = !stored.is_expired && !stored.is_touched;
        (stored.epoch == epoch).then(|| Record { ttl, age, is_as_made, ..stored.record.clone() })
    }

    /// The stamps of all groups, as a subscriber is told them.
    pub(super) fn stamps(&self) -> Vec<Option<u64>> {
        self.stamps.clone()
    }

    /// Which change made the record that is there, whatever its epoch.
    pub(super) fn present(&self, key: &[u8], now: At) -> Option<u64> {
        let stored = self.records.get(key)?;
        let is_there = stored.expires_at.is_none_or(|at| at > now.millis);
        let is_as_made = !stored.is_expired && !stored.is_touched;
        (is_there && is_as_made && stored.record.change != 0).then_some(stored.record.change)
    }

    /// The server drops a record to make room, and tells so.
    pub(super) fn evict(&mut self, key: &[u8], now: At) {
        if self.records.remove(key).is_some() {
            self.tell(Told::Key(key.to_vec()), now);
        }
    }

    /// The server drops the stamp or the epoch of a group, and tells nobody.
    pub(super) fn evict_counter(&mut self, group: usize, is_epoch: bool) {
        if is_epoch {
            self.epochs[group] = None;
        } else {
            self.stamps[group] = None;
        }
    }

    /// The server drops the numbering of tags, and tells so.
    pub(super) fn evict_tags(&mut self, now: At) {
        if self.tags.take().is_some() {
            self.tell(Told::Tags, now);
        }
    }

    /// FLUSHALL.
    pub(super) fn flush(&mut self, now: At) {
        self.records.clear();
        self.stamps.fill(None);
        self.epochs.fill(None);
        self.tags = None;
        self.tell(Told::Everything, now);
    }

    /// Begins to tell this listener of changes.
    pub(super) fn subscribe(&mut self, listener: usize) {
        self.subscriptions.retain(|it| it.listener != listener);
        self.subscriptions.push(Subscription {
            listener,
            arriving: VecDeque::new(),
            ended: None,
            is_silent: false,
        });
    }

    pub(super) fn unsubscribe(&mut self, listener: usize) {
        self.subscriptions.retain(|it| it.listener != listener);
    }

    /// Ends a subscription: what was not told by now never is. The listener hears of it after a
    /// while, or does not (`is_silent`).
    pub(super) fn cut(&mut self, listener: usize, now: At, is_silent: bool, draws: &mut Draws) {
        let delay = draws.within(0, self.slowness);
        for it in self.subscriptions.iter_mut().filter(|it| it.listener == listener) {
            it.arriving.retain(|(at, _)| *at <= now.millis);
            it.ended = Some(if is_silent { u64::MAX } else { now.millis + delay });
            it.is_silent = is_silent;
        }
    }

    /// When this listener has something to look at.
    pub(super) fn next_for(&self, listener: usize) -> Option<u64> {
        let it = self.subscriptions.iter().find(|it| it.listener == listener)?;
        let told = it.arriving.front().map(|(at, _)| *at);
        let ended = it.ended.filter(|at| *at != u64::MAX);
        told.into_iter().chain(ended).min()
    }

    /// What has come to this listener until now.
    pub(super) fn take_told(&mut self, listener: usize, now: At) -> Vec<Told> {
        let mut taken = Vec::new();
        if let Some(it) = self.subscriptions.iter_mut().find(|it| it.listener == listener) {
            while let Some((_, told)) = it.arriving.pop_front_if(|(at, _)| *at <= now.millis) {
                taken.push(told);
            }
        }
        taken
    }

    /// True while the subscription is not known to have ended.
    pub(super) fn is_subscribed(&self, listener: usize, now: At) -> bool {
        let mut mine = self.subscriptions.iter().filter(|it| it.listener == listener);
        mine.any(|it| it.ended.is_none_or(|at| at > now.millis))
    }

    /// True if the subscription would be answered.
    pub(super) fn is_answered(&self, listener: usize) -> bool {
        let mut mine = self.subscriptions.iter().filter(|it| it.listener == listener);
        mine.any(|it| it.ended.is_none() && !it.is_silent)
    }

    /// When a reply arrives that the server sends now: after all that it told before.
    pub(super) fn reply_at(&self, listener: usize, now: At) -> u64 {
        let mine = self.subscriptions.iter().find(|it| it.listener == listener);
        let last = mine.and_then(|it| it.arriving.back()).map_or(0, |(at, _)| *at);
        last.max(now.millis)
    }

    /// Ends the turn of the server: what changed in it is told.
    pub(super) fn end_turn(&mut self, now: At, draws: &mut Draws) {
        for told in std::mem::take(&mut self.untold) {
            for it in self.subscriptions.iter_mut().filter(|it| it.ended.is_none()) {
                let delay =
                    if draws.chance(self.prompt) { 0 } else { draws.within(0, self.slowness) };
                let after = it.arriving.back().map_or(0, |(at, _)| *at);
                it.arriving.push_back(((now.millis + delay).max(after), told.clone()));
            }
        }
    }

    /// Listeners that have something to look at, and when.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = (usize, u64)> {
        self.subscriptions.iter().filter_map(|it| Some((it.listener, self.next_for(it.listener)?)))
    }

    fn tell(&mut self, told: Told, now: At) {
        self.untold.push(told);
        self.untold_at = now.millis;
    }

    fn effect(&mut self, at: At, what: EffectOf) {
        self.effects.push(Effect { at, what });
    }
}

/// The tags of a record, if it has some.
pub(super) fn tags_of(record: &Record) -> Option<&Tags> {
    record.extras.as_deref()?.tags.as_ref()
}

/// A counter that is there, or starts at random.
fn start(counter: &mut Option<u64>, draws: &mut Draws) -> u64 {
    *counter.get_or_insert_with(|| (draws.next() >> 16).max(1))
}

fn raise(counter: &mut Option<u64>, draws: &mut Draws) -> u64 {
    match counter {
        Some(value) => {
            *value += 1;
            *value
        }
        None => start(counter, draws),
    }
}

/// Whole milliseconds, rounded up.
pub(super) fn millis(span: Duration) -> u64 {
    span.as_nanos().div_ceil(1_000_000) as u64
}
