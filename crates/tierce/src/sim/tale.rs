//! What happened in a history: each call with its result, each value with where it came from.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{
    schedule::At,
    server::{Effect, EffectOf},
    verb::{KEYS, Verb},
};
use crate::{
    ErrorKind, Tiering,
    tag_cells::{CellChange, TagChange},
};

/// A call, or mischief.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) actor: usize,
    /// Which process called, and where it runs; `None` for mischief.
    pub(super) process: Option<(usize, usize)>,
    pub(super) verb: Verb,
    pub(super) begin: At,
    pub(super) end: Option<At>,
    pub(super) outcome: Outcome,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Nothing,
    /// A set wrote this value.
    Wrote(usize),
    /// The values of the keys that were asked for.
    Found(Vec<Option<Got>>),
    /// A change that depends on what is there found the one value, or none, and wrote the other, if
    /// that was still so.
    Changed {
        from: Option<usize>,
        to: Option<usize>,
    },
    /// Whether there was a value.
    Touched(bool),
    /// What the counter is by then.
    Counted(i64),
    Failed(ErrorKind),
    /// It returned bytes that nobody wrote.
    Garbage(Bytes),
}

/// A value that a call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) value: usize,
    /// It said so.
    pub(super) is_stale: bool,
}

/// A look of a loader at the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) call: usize,
    /// Who looked.
    pub(super) actor: usize,
    pub(super) begin: At,
    pub(super) end: At,
    /// When the source had what was found.
    pub(super) at: At,
    pub(super) found: Seen,
}

/// What a loader answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Value(usize),
    /// There is none.
    Absent,
    /// The value that was there is right.
    Unmodified(usize),
    Failed,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// By the set of this number.
    Set(usize),
    /// By a load, in the call of this number, from what the source had then.
    Read(usize, At),
}

/// A value: no two are alike.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) key: usize,
    pub(super) made: Made,
    /// How long it may live, in milliseconds.
    pub(super) ttl: Option<u64>,
    /// Without that: whose time to live it has.
    pub(super) keeps: Option<usize>,
    /// It is known that it was written nowhere.
    pub(super) is_void: bool,
}

/// What tiers a process had, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Era {
    pub(super) process: usize,
    pub(super) host: usize,
    /// The change of tiering was under way from here to there.
    pub(super) from: At,
    pub(super) done: At,
    pub(super) tiering: Tiering,
}

/// A history.
#[derive(Default)]
pub(super) struct Tale {
    pub(super) calls: Vec<Call>,
    pub(super) values: Vec<Value>,
    pub(super) eras: Vec<Era>,
    pub(super) looks: Vec<Look>,
    /// Values that were written into L3 later than they were set, and for how long that was under way.
    pub(super) sends: Vec<(usize, u64)>,
    /// How often a host lost the stream of changes: what others load meanwhile it is never told.
    pub(super) losses: usize,
    /// What else is worth telling.
    notes: Vec<(At, String)>,
    /// The time to live of values that name none.
    pub(super) ttl: Option<u64>,
    /// True where somebody will read it.
    pub(super) is_read: bool,
}

impl Tale {
    /// A process began.
    pub(super) fn born(&mut self, process: usize, host: usize, tiering: Tiering, at: At) {
        self.eras.push(Era { process, host, from: at, done: at, tiering });
    }

    /// A process changed its tiering.
    pub(super) fn retiered(
        &mut self,
        process: usize,
        host: usize,
        tiering: Tiering,
        from: At,
        done: At,
    ) {
        self.eras.push(Era { process, host, from, done, tiering });
    }

    /// Notes something for who reads the history.
    pub(super) fn note(&mut self, at: At, note: impl FnOnce() -> String) {
        if self.is_read {
            self.notes.push((at, note()));
        }
    }

    /// A call begins; its number.
    pub(super) fn begin(
        &mut self,
        actor: usize,
        process: Option<(usize, usize)>,
        verb: Verb,
        begin: At,
    ) -> usize {
        self.calls.push(Call { actor, process, verb, begin, end: None, outcome: Outcome::Nothing });
        self.calls.len() - 1
    }

    /// It returned.
    pub(super) fn end(&mut self, call: usize, outcome: Outcome, end: At) {
        self.calls[call].end = Some(end);
        self.calls[call].outcome = outcome;
    }

    /// A new value, which a set is to write.
    pub(super) fn written(&mut self, key: usize, call: usize, ttl: Option<u64>) -> usize {
        let (made, ttl) = (Made::Set(call), self.or_default(ttl));
        self.values.push(Value { key, made, ttl, keeps: None, is_void: false });
        self.calls[call].outcome = Outcome::Wrote(self.values.len() - 1);
        self.values.len() - 1
    }

    /// A new value, which a change is to write in the place of what it found; what the same change
    /// was to write before was not.
    pub(super) fn attempted(
        &mut self,
        key: usize,
        call: usize,
        ttl: Option<u64>,
        from: Option<usize>,
    ) -> usize {
        self.given_up(call);
        let (made, keeps) = (Made::Set(call), from.filter(|_| ttl.is_none()));
        let ttl = if keeps.is_some() { None } else { self.or_default(ttl) };
        self.values.push(Value { key, made, ttl, keeps, is_void: false });
        let to = self.values.len() - 1;
        self.calls[call].outcome = Outcome::Changed { from, to: Some(to) };
        to
    }

    /// What a change was to write was not written.
    pub(super) fn given_up(&mut self, call: usize) {
        if let Outcome::Changed { to: Some(to), .. } = self.calls[call].outcome {
            self.values[to].is_void = true;
        }
    }

    /// The time to live of what a call sets or loads that names none.
    pub(super) fn or_default(&self, ttl: Option<u64>) -> Option<u64> {
        ttl.or(self.ttl)
    }

    /// What the source has now, read for a load of this call.
    pub(super) fn read(&mut self, key: usize, call: usize, at: At) -> usize {
        let ttl = self.or_default(self.ttl_of(call));
        let made = Made::Read(call, at);
        self.values.push(Value { key, made, ttl, keeps: None, is_void: false });
        self.values.len() - 1
    }

    /// The time to live that a call names for what it loads.
    pub(super) fn ttl_of(&self, call: usize) -> Option<u64> {
        match self.calls[call].verb {
            Verb::Load(_, ttl) | Verb::LoadAway(_, ttl) | Verb::LoadAnew(_, ttl) => ttl,
            _ => None,
        }
    }

    /// A loader has looked, and answers this; the source had that value for it.
    pub(super) fn looked(&mut self, look: Look, value: usize) {
        self.values[value].is_void = look.found != Seen::Value(value);
        self.looks.push(look);
    }

    /// All of it as a list, in the order in which calls began, with what changed in the server.
    pub(super) fn list(&self, effects: &[Effect]) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for era in self.eras.iter().filter(|era| era.from == era.done) {
            let Era { process, host, tiering, .. } = era;
            let line = format!("process {process} begins on host {host} with {}", tiering.name());
            lines.push((era.from.step, line));
        }
        for call in &self.calls {
            let who = match call.process {
                Some((process, host)) => format!("{} p{process}@{host}", call.actor),
                None => format!("{} mischief", call.actor),
            };
            let end = call.end.map_or("never ends".to_owned(), |end| {
                format!("{}..{} ({} ms)", call.begin.step, end.step, end.millis)
            });
            let outcome = match &call.outcome {
                Outcome::Nothing => String::new(),
                Outcome::Wrote(value) => format!(" v{value}"),
                Outcome::Found(values) => {
                    let names: Vec<String> = values
                        .iter()
                        .map(|got| match got {
                            None => "nothing".to_owned(),
                            Some(Got { value, is_stale: false }) => format!("v{value}"),
                            Some(Got { value, is_stale: true }) => format!("stale v{value}"),
                        })
                        .collect();
                    format!(" -> {}", names.join(" "))
                }
                Outcome::Changed { from, to } => {
                    let name = |value: &Option<usize>| {
                        value.map_or("nothing".to_owned(), |value| format!("v{value}"))
                    };
                    match to {
                        Some(_) => format!(" {} -> {}", name(from), name(to)),
                        None => format!(" {}, and was not to be", name(from)),
                    }
                }
                Outcome::Touched(is_there) => format!(" -> {is_there}"),
                Outcome::Counted(count) => format!(" -> {count}"),
                Outcome::Failed(kind) => format!(" -> error: {}", kind.as_str()),
                Outcome::Garbage(bytes) => format!(" -> {bytes:?}, which nobody wrote"),
            };
            lines.push((call.begin.step, format!("{who}: {}{outcome}   [{end}]", call.verb)));
        }
        for Look { call, actor, begin, end, at, found } in &self.looks {
            let answer = match found {
                Seen::Value(value) => format!("v{value} of {}", at.step),
                Seen::Absent => "no value".to_owned(),
                Seen::Unmodified(value) => format!("v{value} is right"),
                Seen::Failed => "an error".to_owned(),
            };
            let of = self.calls[*call].begin.step;
            let line = format!("{actor}   the source, for {of}: {answer}   [..{}]", end.step);
            lines.push((begin.step, line));
        }
        let notes = self.notes.iter();
        lines.extend(
            notes.map(|(at, note)| (at.step, format!("          {note} ({} ms)", at.millis))),
        );
        let known = |group: usize| KEYS.iter().any(|key| crate::key::group(key) == group);
        for effect in effects {
            let what = match &effect.what {
                EffectOf::Wrote { key, value, is_fill } => {
                    let how = if *is_fill { "is filled with" } else { "is" };
                    let (key, value) =
                        (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
                    format!("{key} {how} {value}")
                }
                EffectOf::Removed { key } => format!("{} is removed", String::from_utf8_lossy(key)),
                EffectOf::Expired { key } => format!("{} is stale", String::from_utf8_lossy(key)),
                EffectOf::Touched { key, fresh } => {
                    let key = String::from_utf8_lossy(key);
                    fresh.map_or_else(
                        || format!("{key} is fresh for ever"),
                        |fresh| format!("{key} is fresh for {fresh} ms"),
                    )
                }
                EffectOf::TagsChanged { cells } => {
                    let is_removal = |it: &CellChange| it.change == TagChange::Remove;
                    let how = if cells.iter().any(is_removal) { "removed" } else { "expired" };
                    let cells: Vec<usize> = cells.iter().map(|it| it.cell).collect();
                    format!("tags of cells {cells:?} are {how}")
                }
                EffectOf::Cleared { group } if known(*group) => format!("group {group} is cleared"),
                EffectOf::Cleared { .. } => continue,
            };
            let millis = effect.at.millis;
            lines.push((effect.at.step, format!("          in the server: {what} ({millis} ms)")));
        }
        lines.sort_by_key(|(step, _)| *step);
        let mut list = String::new();
        for (step, line) in lines {
            _ = writeln!(list, "{step:>6}  {line}");
        }
        list
    }
}

/// The value of this number as bytes.
pub(super) fn bytes(value: usize) -> Bytes {
    Bytes::from(format!("v{value}"))
}

/// The number of a value.
pub(super) fn number(bytes: &[u8]) -> Option<usize> {
    std::str::from_utf8(bytes.strip_prefix(b"v")?).ok()?.parse().ok()
}
