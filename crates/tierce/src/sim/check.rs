//! The verb table, as it is checked: what each read of a history may have returned.
//!
//! | rule | promise |
//! |---|---|
//! | value | what is returned was written to this key, or read from the source for it |
//! | change | no read that begins after a set, delete, expire or clear has returned gets what is older, in the process that made the change and in all that share its store |
//! | hosts | when the staleness bound has passed since L3 took a change, no host that follows L3 serves what is older |
//! | life | nothing is served after its time to live, but for as long as calls took that carried it |
//! | agreement | when all is quiet, those who share a store, and have L3 or do not, have the same value, or none, but for what was loaded after the store lost the other; when all is well again those who share L3 too, but for what was loaded while L3 did not answer |
//! | recovery | when all is well again, a set is seen by all who are to see it |
//! | errors | calls end, and fail only as their documentation says |
//!
//! Only what is certain counts: two calls that overlap may have been in either order, and a miss is
//! never wrong. A value that was loaded is as old as the read of the source that it came from.

use super::{
    schedule::At,
    script::{KEYS, Settings, Verb, key_number},
    server::{Effect, EffectOf},
    tale::{self, Call, Made, Outcome, Tale},
    world::{BOUND, LOAD_WAIT},
};
use crate::{ErrorKind, TierKind, key};

/// No call takes longer, in virtual milliseconds: some loads that take their turns, and waits for
/// each tier.
const LONGEST_CALL: u64 = 60_000;

/// A read of one key.
struct Read<'a> {
    call: &'a Call,
    process: usize,
    host: usize,
    end: At,
    key: usize,
    value: usize,
}

struct Facts<'a> {
    tale: &'a Tale,
    effects: &'a [Effect],
    settings: &'a Settings,
    /// For how long calls took, for each value, that returned it.
    carried: Vec<u64>,
}

/// What is wrong with a history, if anything is. Calls from `quiet` on were made by the judge one
/// after the other, when all was quiet.
pub(super) fn check(
    tale: &Tale,
    effects: &[Effect],
    settings: &Settings,
    quiet: usize,
) -> Option<String> {
    let carried = vec![0; tale.values.len()];
    let mut facts = Facts { tale, effects, settings, carried };
    for call in &tale.calls {
        if let Some(wrong) = facts.errors(call) {
            return Some(wrong);
        }
    }
    let reads: Vec<Read<'_>> = tale.calls.iter().flat_map(reads_of).collect();
    for read in &reads {
        if tale.values.get(read.value).is_none_or(|value| value.key != read.key) {
            return Some(format!(
                "value: {} got v{}, which is none of this key",
                told(read),
                read.value
            ));
        }
        facts.carried[read.value] += read.end.millis - read.call.begin.millis;
    }
    reads
        .iter()
        .find_map(|read| {
            let wrong = facts.change(read).or_else(|| facts.hosts(read));
            wrong.or_else(|| facts.life(read))
        })
        .or_else(|| facts.agreement(quiet))
}

fn told(read: &Read<'_>) -> String {
    let name = String::from_utf8_lossy(&KEYS[read.key]).into_owned();
    let At { step, millis } = read.call.begin;
    format!("a read of {name} by process {} at {step} ({millis} ms)", read.process)
}

fn keys_of(verb: &Verb) -> Vec<usize> {
    match verb {
        Verb::Get(key) | Verb::Load(key, _) => vec![*key],
        Verb::GetMany(keys) => keys.clone(),
        _ => Vec::new(),
    }
}

fn reads_of(call: &Call) -> Vec<Read<'_>> {
    let (Some((process, host)), Some(end), Outcome::Found(found)) =
        (call.process, call.end, &call.outcome)
    else {
        return Vec::new();
    };
    let of = keys_of(&call.verb).into_iter().zip(found);
    of.filter_map(|(key, value)| Some(Read { call, process, host, end, key, value: (*value)? }))
        .collect()
}

impl Facts<'_> {
    fn errors(&self, call: &Call) -> Option<String> {
        let what =
            || format!("errors: {} by actor {} at {}", call.verb, call.actor, call.begin.step);
        let Some(end) = call.end else { return Some(format!("{} does not end", what())) };
        let took = end.millis - call.begin.millis;
        if took > LONGEST_CALL && !matches!(call.verb, Verb::Sleep(_)) {
            return Some(format!("{} took {took} ms", what()));
        }
        match (&call.outcome, &call.verb) {
            (Outcome::Garbage(bytes), _) => Some(format!("{} got {bytes:?}", what())),
            (Outcome::Failed(ErrorKind::Closed | ErrorKind::Loader), _) => None,
            (Outcome::Failed(ErrorKind::Timeout), Verb::Load(..)) if took >= LOAD_WAIT => None,
            (Outcome::Failed(kind), _) => Some(format!("{} failed: {}", what(), kind.as_str())),
            _ => None,
        }
    }

    /// When a value was there for certain.
    fn made(&self, value: usize) -> Option<At> {
        match self.tale.values[value].made {
            Made::Set(call) => self.tale.calls[call].end,
            Made::Read(_, at) => Some(at),
        }
    }

    fn change(&self, read: &Read<'_>) -> Option<String> {
        let made = self.made(read.value)?;
        self.tale.calls.iter().enumerate().find_map(|(number, call)| {
            let changes = match &call.verb {
                Verb::Set(key, _) | Verb::Delete(key) | Verb::Expire(key) => *key == read.key,
                Verb::Clear | Verb::ChangeTag { .. } => true,
                _ => false,
            };
            let end = call.end?;
            let is_its_own = self.tale.values[read.value].made == Made::Set(number);
            let is_older = made.step < call.begin.step && end.step < read.call.begin.step;
            let failed = matches!(call.outcome, Outcome::Failed(_));
            let counts = changes && !is_its_own && is_older && !failed;
            (counts && self.sees(read, call)).then(|| {
                let Call { verb, .. } = call;
                format!(
                    "change: {} got v{}, older than {verb}, which returned at {} before it began",
                    told(read),
                    read.value,
                    end.step
                )
            })
        })
    }

    /// True where a read is to see a change by somebody of its host as soon as it has returned.
    fn sees(&self, read: &Read<'_>, change: &Call) -> bool {
        let Some((process, host)) = change.process else { return false };
        process == read.process
            || host == read.host
                && change.end.is_some_and(|end| self.had_since(read, TierKind::Shared, end))
                && self.opened(process, TierKind::Shared, change.begin)
    }

    /// True where the reader had a tier at a moment after `since` and before it read: what it kept
    /// until then was judged by that tier.
    fn had_since(&self, read: &Read<'_>, tier: TierKind, since: At) -> bool {
        let eras: Vec<_> =
            self.tale.eras.iter().filter(|era| era.process == read.process).collect();
        eras.iter().enumerate().any(|(number, era)| {
            let over = eras.get(number + 1).map_or(u64::MAX, |next| next.from.step);
            era.tiering.has(tier) && era.done.step < read.call.begin.step && since.step < over
        })
    }

    /// True where a process had a tier all the time, or since it began.
    fn had(&self, process: usize, tier: TierKind, from: At, to: At) -> bool {
        let eras: Vec<_> = self.tale.eras.iter().filter(|era| era.process == process).collect();
        eras.iter().enumerate().all(|(number, era)| {
            let over = eras.get(number + 1).map_or(u64::MAX, |next| next.done.step);
            era.from.step > to.step || over < from.step || era.tiering.has(tier)
        })
    }

    /// True where a process ever had a tier until then.
    fn opened(&self, process: usize, tier: TierKind, until: At) -> bool {
        let mut eras = self.tale.eras.iter().filter(|era| era.process == process);
        eras.any(|era| era.done.step <= until.step && era.tiering.has(tier))
    }

    fn hosts(&self, read: &Read<'_>) -> Option<String> {
        let made = self.made(read.value)?;
        let bytes = tale::bytes(read.value);
        let concerns = |effect: &&Effect| match &effect.what {
            EffectOf::Wrote { key, .. } | EffectOf::Removed { key } => {
                key_number(key) == Some(read.key)
            }
            EffectOf::TagsChanged => true,
            EffectOf::Cleared { group } => *group == key::group(&KEYS[read.key]),
        };
        let mine = |effect: &&Effect| matches!(&effect.what, EffectOf::Wrote { value, .. } if *value == bytes);
        // Who has L3 anew follows it from then on.
        let mut began = self
            .tale
            .eras
            .iter()
            .filter(|era| era.process == read.process && era.done.step < read.call.begin.step);
        let began = began.next_back().map_or(0, |era| era.done.millis);
        let effects = || self.effects.iter().filter(concerns);
        let last = effects().filter(mine).map(|effect| effect.at.step).max();
        let since = made.step.max(last.unwrap_or(0));
        let over = effects().find(|effect| {
            let is_fill = matches!(effect.what, EffectOf::Wrote { is_fill: true, .. });
            !is_fill
                && effect.at.step > since
                && effect.at.millis.max(began) + BOUND <= read.call.begin.millis
        })?;
        if !self.had(read.process, TierKind::Redis, over.at, read.end) {
            return None;
        }
        let At { step, millis } = over.at;
        Some(format!(
            "hosts: {} got v{}, which L3 gave up at {step} ({millis} ms), longer ago than the staleness bound",
            told(read),
            read.value
        ))
    }

    fn life(&self, read: &Read<'_>) -> Option<String> {
        let value = &self.tale.values[read.value];
        let made = match value.made {
            Made::Set(call) | Made::Read(call, _) => self.tale.calls[call].end?,
        };
        let ends = made.millis + value.ttl? + self.carried[read.value];
        (read.call.begin.millis > ends).then(|| {
            format!("life: {} got v{}, whose life ended at {ends} ms", told(read), read.value)
        })
    }

    /// True where the store of a host ever lost a key's record.
    fn lost_shared(&self, host: usize, key: usize) -> bool {
        let of_host = |call: &&Call| call.process.is_some_and(|(_, its)| its == host);
        let mut calls = self.tale.calls.iter().filter(of_host);
        calls.any(|call| call.verb == Verb::EvictShared(key))
    }

    /// True where nobody ever made a change without L3.
    fn all_have_remote(&self) -> bool {
        self.tale.eras.iter().all(|era| era.tiering.has(TierKind::Redis))
    }

    fn agreement(&self, quiet: usize) -> Option<String> {
        let looks = self.tale.calls.get(quiet..).unwrap_or_default().iter();
        let looks = looks.take_while(|call| matches!(call.verb, Verb::Get(_)));
        let reads: Vec<Read<'_>> = looks.flat_map(reads_of).collect();
        reads.iter().enumerate().find_map(|(number, one)| {
            reads[..number].iter().find_map(|other| {
                let both = |tier| {
                    [one, other].iter().all(|it| self.had(it.process, tier, it.call.begin, it.end))
                };
                // What is loaded without L3, or while it does not answer, is kept by its host alone.
                let is_loaded =
                    |it: &Read<'_>| matches!(self.tale.values[it.value].made, Made::Read(..));
                let is_agreed = match self.settings.is_calm {
                    true => self.all_have_remote(),
                    false => self.settings.recovers && !is_loaded(one) && !is_loaded(other),
                };
                // What a store lost is loaded anew, while who had a copy still has it.
                let is_kept =
                    || !self.lost_shared(one.host, one.key) || !is_loaded(one) && !is_loaded(other);
                // Who has L3 beside a process without looks there, and tells it by filling L2.
                let are_alike = || {
                    let has = |it: &Read<'_>| {
                        self.had(it.process, TierKind::Redis, it.call.begin, it.end)
                    };
                    has(one) == has(other)
                };
                let shares = is_agreed && both(TierKind::Redis)
                    || one.host == other.host && both(TierKind::Shared) && is_kept() && are_alike();
                let differs = one.key == other.key && one.value != other.value;
                (differs && shares).then(|| {
                    format!(
                        "agreement: when all was quiet {} got v{}, and process {} had v{}",
                        told(one),
                        one.value,
                        other.process,
                        other.value
                    )
                })
            })
        })
    }
}
