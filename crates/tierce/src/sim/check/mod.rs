//! The verb table, as it is checked: what each read of a history may have returned.
//!
//! | rule | promise |
//! |---|---|
//! | value | what is returned was written to this key, or read from the source for it |
//! | change | no read that begins after a set, delete, clear or a removal of tags or prefixes has returned gets what is older, in the process that made the change and in all that share its store, nor does one whose own load failed after that; after what makes stale it does not get it as fresh |
//! | hosts | when the staleness bound has passed since L3 took a change, no host that follows L3 serves what is older; who decides in L3 never finds what is older |
//! | presence | a touch says that there was a value, and a set_if_absent that there is one, only where one may be |
//! | life | nothing is served as fresh after its time to live, or after the one that a touch gave it, nor as stale after its stale window, but for as long as calls took that carried it; a touch revives nothing, and a loader that finds a value right does |
//! | absence | where nothing fails, and there is no L3, nobody gets a stale value once a load of its process found that there is none |
//! | atomic | a change that depends on what is there takes the place of just that: no two that share a tier that decides find the same value and take its place, nor does anything come between in L3; what was not to be set is seen by nobody |
//! | count | where nothing fails, those who share the tier that decides count each number once |
//! | sent | where nothing fails, what was set behind L3 is there, or overtaken there, when the delay and a moment have passed, and when a flush says so |
//! | agreement | when all is quiet, those who share a store, and have L3 or do not, have the same value, or none, but for what was loaded after the store lost the other; when all is well again those who share L3 too, but for what was loaded while L3 did not answer, or while a host was not told of it |
//! | recovery | when all is well again, a set is seen by all who are to see it |
//! | errors | calls end, and fail only as their documentation says |
//!
//! | file | has the rules |
//! |---|---|
//! | `mod.rs` | value, errors |
//! | `change.rs` | change, hosts, presence |
//! | `life.rs` | life, absence |
//! | `atomic.rs` | atomic, count |
//! | `behind.rs` | sent |
//! | `agreement.rs` | agreement; what is seen in the end is in `history.rs` |
//!
//! Only what is certain counts: two calls that overlap may have been in either order, and a miss is
//! never wrong. A value that was loaded is as old as the read of the source that it came from.

mod agreement;
mod atomic;
mod behind;
mod change;
mod life;

use super::{
    schedule::{At, Errand},
    script::Settings,
    server::Effect,
    tale::{Call, Era, Got, Look, Made, Outcome, Seen, Tale},
    verb::{KEYS, Verb},
    world::LOAD_WAIT,
};
use crate::{ErrorKind, TierKind};

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
    /// It said so.
    is_stale: bool,
    /// It looked where it is decided what the key has.
    decides: bool,
    /// Changes of before are seen: when the call began, or when its own load failed.
    since: At,
}

struct Facts<'a> {
    tale: &'a Tale,
    effects: &'a [Effect],
    settings: &'a Settings,
    /// What background threads ran.
    errands: &'a [Errand],
    /// For how long calls took, for each value, that returned it.
    carried: Vec<u64>,
}

/// What is wrong with a history, if anything is. Calls from `quiet` on were made by the judge one
/// after the other, when all was quiet.
pub(super) fn check(
    tale: &Tale,
    effects: &[Effect],
    settings: &Settings,
    errands: &[Errand],
    quiet: usize,
) -> Option<String> {
    let carried = vec![0; tale.values.len()];
    let mut facts = Facts { tale, effects, settings, errands, carried };
    facts.carry_aside();
    for call in &tale.calls {
        if let Some(wrong) = facts.errors(call) {
            return Some(wrong);
        }
    }
    let numbers = 0..tale.calls.len();
    let reads: Vec<Read<'_>> = numbers.clone().flat_map(|call| reads_of(tale, call)).collect();
    for read in &reads {
        if tale.values.get(read.value).is_none_or(|value| value.key != read.key) {
            return Some(format!(
                "value: {} got v{}, which is none of this key",
                told(read),
                read.value
            ));
        }
        if tale.values[read.value].is_void {
            let told = told(read);
            let rule = match tale.values[read.value].made {
                Made::Set(_) => "atomic",
                Made::Read(..) => "value",
            };
            return Some(format!("{rule}: {told} got v{}, which is nobody's", read.value));
        }
        facts.carried[read.value] += read.end.millis - read.call.begin.millis;
    }
    reads
        .iter()
        .find_map(|read| {
            let wrong = facts.change(read).or_else(|| facts.hosts(read));
            wrong.or_else(|| facts.life(read))
        })
        .or_else(|| numbers.clone().find_map(|call| facts.presence(call)))
        .or_else(|| reads.iter().find_map(|read| facts.absence(read)))
        .or_else(|| facts.atomic())
        .or_else(|| facts.count())
        .or_else(|| facts.sent())
        .or_else(|| facts.agreement(quiet))
}

fn told(read: &Read<'_>) -> String {
    let name = String::from_utf8_lossy(&KEYS[read.key]).into_owned();
    let At { step, millis } = read.call.begin;
    format!("a read of {name} by process {} at {step} ({millis} ms)", read.process)
}

/// The keys and values that a call found.
fn found_by(call: &Call) -> Vec<(usize, Option<Got>)> {
    match (&call.verb, &call.outcome) {
        (Verb::Get(key) | Verb::GetStale(key), Outcome::Found(found)) => {
            found.iter().map(|value| (*key, *value)).collect()
        }
        (verb, Outcome::Found(found)) if let Some(key) = verb.loads() => {
            found.iter().map(|value| (key, *value)).collect()
        }
        (Verb::GetMany(keys), Outcome::Found(found)) => {
            keys.iter().copied().zip(found.iter().copied()).collect()
        }
        (Verb::Update(key, _) | Verb::CompareAndSet(key), Outcome::Changed { from, .. }) => {
            vec![(*key, from.map(|value| Got { value, is_stale: false }))]
        }
        _ => Vec::new(),
    }
}

fn reads_of<'a>(tale: &'a Tale, number: usize) -> Vec<Read<'a>> {
    let call = &tale.calls[number];
    let (Some((process, host)), Some(end)) = (call.process, call.end) else { return Vec::new() };
    let decides = matches!(call.outcome, Outcome::Changed { .. });
    let of = found_by(call).into_iter();
    // Who takes a stale value as its load has failed looks once more.
    let failures = tale.looks.iter().filter(|look| {
        let is_own =
            look.call == number && matches!(call.verb, Verb::Load(..) | Verb::LoadAnew(..));
        is_own && look.found == Seen::Failed
    });
    let failed = failures.map(|look| look.end).max();
    let read = |(key, got): (usize, Option<Got>)| {
        let Got { value, is_stale } = got?;
        let since = failed.filter(|_| is_stale).unwrap_or(call.begin);
        Some(Read { call, process, host, end, key, value, is_stale, decides, since })
    };
    of.filter_map(read).collect()
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
            (Outcome::Failed(ErrorKind::Closed), _) => None,
            (Outcome::Failed(ErrorKind::Loader), verb) if verb.loads().is_some() => None,
            // The tier that decides did not answer, or a lock of the store was not free in time.
            (
                Outcome::Failed(ErrorKind::Network | ErrorKind::Io | ErrorKind::Busy),
                Verb::SetIfAbsent(..) | Verb::Update(..) | Verb::CompareAndSet(_) | Verb::Increment,
            ) => None,
            (Outcome::Failed(ErrorKind::Timeout), verb)
                if verb.loads().is_some()
                    && (took >= LOAD_WAIT
                        || self.settings.stale.is_some_and(|it| it.hard.is_some())) =>
            {
                None
            }
            (Outcome::Failed(kind), _) => Some(format!("{} failed: {}", what(), kind.as_str())),
            _ => None,
        }
    }

    /// When a value was there for certain, as it was written, or the source had it, for the last time.
    fn made(&self, value: usize) -> Option<At> {
        let made = match self.tale.values[value].made {
            Made::Set(call) => self.tale.calls[call].end?,
            Made::Read(_, at) => at,
        };
        self.renewals(value).map(|look| look.at).chain([made]).max()
    }

    /// Looks at the source that found the value to be right.
    fn renewals(&self, value: usize) -> impl Iterator<Item = &Look> {
        self.tale.looks.iter().filter(move |look| look.found == Seen::Unmodified(value))
    }

    /// When a load was kept, for which a loader looked then.
    fn landed(&self, look: &Look) -> Option<At> {
        let is_of = |errand: &&Errand| {
            let has_ended = errand.end.is_none_or(|end| end.step >= look.end.step);
            errand.actor == look.actor && errand.begin.step <= look.begin.step && has_ended
        };
        match self.errands.iter().find(is_of) {
            Some(errand) => errand.end,
            None => self.tale.calls[look.call].end,
        }
    }

    /// The call that made it.
    fn maker(&self, value: usize) -> usize {
        let (Made::Set(call) | Made::Read(call, _)) = self.tale.values[value].made;
        call
    }

    /// When nobody made it any more.
    fn made_until(&self, value: usize) -> Option<At> {
        let look = self.tale.looks.iter().find(|look| look.found == Seen::Value(value));
        let landed = look.map_or(Some(At::default()), |look| self.landed(look))?;
        self.tale.calls[self.maker(value)].end.map(|end| end.max(landed))
    }

    /// True where a process had a tier all the time, or since it began.
    fn had(&self, process: usize, tier: TierKind, from: At, to: At) -> bool {
        self.during(process, from, to).all(|era| era.tiering.has(tier))
    }

    /// True where it never had it.
    fn lacked(&self, process: usize, tier: TierKind, from: At, to: At) -> bool {
        !self.during(process, from, to).any(|era| era.tiering.has(tier))
    }

    /// The eras of a process that were, at least in part, between these.
    fn during(&self, process: usize, from: At, to: At) -> impl Iterator<Item = &Era> {
        let eras: Vec<_> = self.tale.eras.iter().filter(|era| era.process == process).collect();
        let overs: Vec<u64> = (1..=eras.len())
            .map(|next| eras.get(next).map_or(u64::MAX, |next| next.done.step))
            .collect();
        let is_in = move |(era, over): &(&Era, u64)| era.from.step <= to.step && *over >= from.step;
        eras.into_iter().zip(overs).filter(is_in).map(|(era, _)| era)
    }
}
