//! What happened in a history: each call with its result, each value with where it came from.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{
    schedule::At,
    script::{KEYS, Verb},
    server::{Effect, EffectOf},
};
use crate::{ErrorKind, Tiering};

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
    Found(Vec<Option<usize>>),
    Failed(ErrorKind),
    /// It returned bytes that nobody wrote.
    Garbage(Bytes),
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
    /// What else is worth telling.
    notes: Vec<(At, String)>,
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
        self.values.push(Value { key, made: Made::Set(call), ttl });
        self.calls[call].outcome = Outcome::Wrote(self.values.len() - 1);
        self.values.len() - 1
    }

    /// What the source has now, read for a load of this call.
    pub(super) fn read(&mut self, key: usize, call: usize, at: At) -> usize {
        let ttl = match self.calls[call].verb {
            Verb::Load(_, ttl) => ttl,
            _ => None,
        };
        self.values.push(Value { key, made: Made::Read(call, at), ttl });
        self.values.len() - 1
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
                        .map(|value| {
                            value.map_or("nothing".to_owned(), |value| format!("v{value}"))
                        })
                        .collect();
                    format!(" -> {}", names.join(" "))
                }
                Outcome::Failed(kind) => format!(" -> error: {}", kind.as_str()),
                Outcome::Garbage(bytes) => format!(" -> {bytes:?}, which nobody wrote"),
            };
            lines.push((call.begin.step, format!("{who}: {}{outcome}   [{end}]", call.verb)));
        }
        for (number, value) in self.values.iter().enumerate() {
            if let Made::Read(call, at) = value.made {
                let actor = self.calls[call].actor;
                lines.push((at.step, format!("{actor}   the source is read: v{number}")));
            }
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
                EffectOf::TagsChanged => "tags are changed".to_owned(),
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
