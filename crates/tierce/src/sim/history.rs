//! One history, from its script to the check.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    LoaderUnderTest, check, condition,
    schedule::{At, lock},
    script::{HOSTS, SLOTS, Script},
    source::Source,
    tale::{self, Got, Outcome},
    verb::{KEYS, PREFIX, TAG, Verb},
    world::{BOUND, Ground, HEARTBEAT, MISCHIEF, Process, WRITE_TIMEOUT, World},
};
use crate::{
    Answer, Bytes, Cache, Error, ErrorKind, Freshness, LoadContext, LoadOptions, Loaded,
    ReadOptions, RefreshAhead, Result, SetOptions, TierKind,
};

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// What a history came to.
pub(super) struct Run {
    /// What is wrong with it, if anything is.
    pub(super) failure: Option<String>,
    /// All that happened, where something is wrong.
    pub(super) list: String,
    pub(super) steps: u64,
    pub(super) switches: u64,
    pub(super) calls: u64,
    /// A number for all that was chosen and returned.
    pub(super) trace: u64,
    /// Actors hang, so the ground can carry no other history.
    pub(super) hangs: bool,
}

/// After so long no doubt rests and no breaker is open.
const RECOVERY: u64 = 2 * WRITE_TIMEOUT + 2000 + 2 * HEARTBEAT;

/// So long after what waits was due, claims of processes that were killed are over, and as long after
/// that the doubts that they became have rested.
const CLAIM_REST: u64 = 2 * WRITE_TIMEOUT + 2000;

/// The tags of all values.
pub(super) fn tags(world: &World) -> &'static [&'static str] {
    if world.settings.has_tags { &[TAG] } else { &[] }
}

/// Runs the history of a script and a seed.
pub(super) fn run(
    ground: &Ground,
    script: &Script,
    seed: u64,
    planted: u32,
    loader: Option<LoaderUnderTest>,
    is_read: bool,
) -> Run {
    let schedule = &ground.schedule;
    let (before, _) = schedule.counts();
    schedule.begin(seed, script.settings.pace, planted);
    let world = ground.world(&script.settings, planted, loader);
    let world = world.expect("a cache of these options can be built");
    lock(&world.tale).is_read = is_read;
    lock(&world.tale).ttl = script.settings.stale.map(|stale| stale.ttl);
    for (number, caller) in script.callers.iter().enumerate() {
        let (world, caller) = (Arc::clone(&world), caller.clone());
        let actor = number + 1;
        let job = Box::new(move || {
            for verb in caller.verbs {
                perform(&world, actor, caller.slot, &verb);
            }
        });
        schedule.start(actor, false, planted, job);
    }
    if !script.mischief.is_empty() {
        let (mischief, world) = (script.mischief.clone(), Arc::clone(&world));
        let job = Box::new(move || mischief.iter().for_each(|verb| meddle(&world, verb)));
        schedule.start(MISCHIEF, false, planted, job);
    }
    schedule.wait_for_all();
    let mut quiet = usize::MAX;
    if schedule.failure().is_none() {
        quiet = judge(&world, script.keys);
        // Who sends what the judge has set.
        schedule.wait_for_all();
        world.end_listening();
    }
    let hang = schedule.failure();
    let hangs = hang.is_some();
    let failure = hang.or_else(|| {
        let (tale, server) = (lock(&world.tale), lock(&world.server));
        let errands = schedule.errands();
        check::check(&tale, server.effects(), &script.settings, &errands, quiet)
            .or_else(|| missing(&tale, quiet))
    });
    let list = failure.as_ref().map_or(String::new(), |_| {
        let list = lock(&world.tale).list(lock(&world.server).effects());
        format!("{:?}\n{list}", script.settings)
    });
    let calls = lock(&world.tale).calls.len() as u64;
    let mut trace = schedule.counts().1;
    for call in &lock(&world.tale).calls {
        trace = (trace ^ hash_of(&call.outcome)).wrapping_mul(0x100_0000_01B3);
    }
    if !hangs {
        world.forget_processes();
    }
    schedule.end();
    let (after, _) = schedule.counts();
    let steps = schedule.now().step;
    Run { failure, list, steps, switches: after - before, calls, trace, hangs }
}

fn hash_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Found(values) => {
            let number = |got: &Option<Got>| got.map_or(0, |got| got.value as u64 + 1);
            let numbers = values.iter().map(number);
            numbers.fold(7, |hash, number| hash * 31 + number)
        }
        Outcome::Wrote(value) => *value as u64 + 1,
        Outcome::Changed { from, to } => {
            let number = |value: &Option<usize>| value.map_or(0, |value| value as u64 + 1);
            number(from) << 20 | number(to)
        }
        Outcome::Touched(is_there) => 11 + u64::from(*is_there),
        Outcome::Counted(count) => 500 + *count as u64,
        Outcome::Failed(kind) => 1000 + *kind as u64,
        Outcome::Nothing | Outcome::Garbage(_) => 3,
    }
}

/// Lets all end well, and looks at what everybody has. The first of these calls.
fn judge(world: &Arc<World>, keys: usize) -> usize {
    world.heal();
    let recovers = world.settings.recovers;
    let (delay, rest) = world.settings.behind.map_or((0, 0), |it| (it.delay, CLAIM_REST));
    world.sleep(delay + rest + if recovers { RECOVERY + BOUND } else { BOUND });
    if recovers {
        // Reads of all groups settle the doubts that have rested, and probe the breakers.
        for slot in 0..SLOTS.len() {
            for key in 0..keys {
                perform(world, 0, slot, &Verb::Get(key));
            }
        }
        // They also find claims that are over, and make doubts of them.
        world.sleep(2 * HEARTBEAT + rest);
    }
    let quiet = lock(&world.tale).calls.len();
    for slot in 0..SLOTS.len() {
        for key in 0..keys {
            perform(world, 0, slot, &Verb::Get(key));
        }
    }
    if recovers {
        for slot in 0..SLOTS.len() {
            perform(world, 0, slot, &Verb::Set(0, None));
            world.sleep(2 * HEARTBEAT);
            for reader in 0..SLOTS.len() {
                perform(world, 0, reader, &Verb::Get(0));
            }
        }
    }
    quiet
}

/// A set that the judge made, and somebody who should have seen it did not.
fn missing(tale: &tale::Tale, quiet: usize) -> Option<String> {
    let calls = tale.calls.get(quiet..)?;
    let tiering = |process: usize| {
        let mut eras = tale.eras.iter().filter(|era| era.process == process);
        eras.next_back().map(|era| era.tiering)
    };
    // Who sets without L3 has its host doubt what is there, and clear it.
    let with_remote: Vec<bool> = calls
        .iter()
        .filter_map(|call| tiering(call.process?.0))
        .map(|tiering| tiering.has(TierKind::Redis))
        .collect();
    if with_remote.contains(&true) && with_remote.contains(&false) {
        return None;
    }
    let mut latest = None;
    for call in calls {
        let Some((process, host)) = call.process else { continue };
        match (&call.verb, &call.outcome) {
            (Verb::Set(..), Outcome::Wrote(value)) => latest = Some((process, host, *value)),
            (Verb::Get(0), Outcome::Found(found)) => {
                let Some((writer, at, value)) = latest else { continue };
                let (Some(mine), Some(theirs)) = (tiering(process), tiering(writer)) else {
                    continue;
                };
                let shares = |tier| mine.has(tier) && theirs.has(tier);
                let is_to_see = shares(TierKind::Redis)
                    || host == at && shares(TierKind::Shared)
                    || process == writer && mine.has(TierKind::Memory);
                if is_to_see && found != &[Some(Got { value, is_stale: false })] {
                    return Some(format!(
                        "recovery: all was well, and process {process} does not see v{value} of process \
                         {writer}: it got {found:?}"
                    ));
                }
            }
            _ => {}
        }
    }
    None
}

/// Makes a call of the cache and notes what it returned.
fn perform(world: &Arc<World>, actor: usize, slot: usize, verb: &Verb) {
    let process = world.process(slot);
    let begin = world.schedule.moment();
    let who = Some((process.number, process.host));
    let call = lock(&world.tale).begin(actor, who, verb.clone(), begin);
    let outcome = call_of(world, &process, slot, call, verb);
    drop(process);
    crate::simulated::point();
    let end = world.schedule.moment();
    lock(&world.tale).end(call, outcome, end);
}

fn call_of(
    world: &Arc<World>,
    process: &Process,
    slot: usize,
    call: usize,
    verb: &Verb,
) -> Outcome {
    let cache = &process.cache;
    let nothing = |done: Result<()>| match done {
        Ok(()) => Outcome::Nothing,
        Err(error) => Outcome::Failed(error.kind()),
    };
    match verb {
        Verb::Get(key) => found([cache.get(&KEYS[*key]).map(|value| (value, false))]),
        Verb::GetStale(key) => {
            let options = ReadOptions::new().allow_stale(true);
            let answer = cache.get_with(&KEYS[*key], &options);
            found([answer.map(|answer| (answer.value, answer.is_stale))])
        }
        Verb::GetMany(keys) => {
            let names: Vec<&[u8]> = keys.iter().map(|key| &KEYS[*key][..]).collect();
            found(cache.get_many(&names).into_iter().map(|value| Some((value?, false))))
        }
        Verb::Set(key, ttl) => {
            let value = lock(&world.tale).written(*key, call, *ttl);
            let options = SetOptions::new().tags(tags(world));
            let options = match ttl {
                Some(ttl) => options.ttl(Duration::from_millis(*ttl)),
                None => options,
            };
            match cache.set_with(&KEYS[*key], tale::bytes(value), &options) {
                Ok(()) => Outcome::Wrote(value),
                Err(error) => Outcome::Failed(error.kind()),
            }
        }
        Verb::Delete(key) => nothing(cache.delete(&KEYS[*key])),
        Verb::Expire(key) => nothing(cache.expire(&KEYS[*key])),
        Verb::ChangeTag { removes: true } => nothing(cache.remove_tag(TAG)),
        Verb::ChangeTag { removes: false } => nothing(cache.expire_tag(TAG)),
        Verb::ChangePrefix { removes: true } => nothing(cache.remove_prefix(PREFIX)),
        Verb::ChangePrefix { removes: false } => nothing(cache.expire_prefix(PREFIX)),
        Verb::Clear => nothing(cache.clear()),
        Verb::Touch(key, ttl) => match cache.touch(&KEYS[*key], Duration::from_millis(*ttl)) {
            Ok(is_there) => Outcome::Touched(is_there),
            Err(error) => Outcome::Failed(error.kind()),
        },
        Verb::SetIfAbsent(..) | Verb::Update(..) | Verb::CompareAndSet(_) | Verb::Increment => {
            condition::call(world, cache, call, verb)
        }
        Verb::Load(key, ttl) => {
            let options = match ttl {
                Some(ttl) => LoadOptions::new().ttl(Duration::from_millis(*ttl)),
                None => LoadOptions::new(),
            };
            let source = Source { world, call };
            answered(cache.get_or_load_optional(&KEYS[*key], &options, |key| match &world.loader {
                Some(loader) => loader(&source, key),
                None => source.load(key, None).map_err(Into::into),
            }))
        }
        Verb::LoadAway(key, ttl) => load_away(world, cache, call, *key, *ttl),
        Verb::LoadAnew(key, ttl) => {
            let options = LoadOptions::new().max_age(Duration::ZERO);
            let options = match ttl {
                Some(ttl) => options.ttl(Duration::from_millis(*ttl)),
                None => options,
            };
            let source = Source { world, call };
            answered(
                cache.get_or_load_optional(&KEYS[*key], &options, |key| source.load(key, None)),
            )
        }
        Verb::Refresh(key) => {
            let source = Source { world, call };
            match cache.refresh(&KEYS[*key], |_| source.load(&KEYS[*key], None)) {
                Ok(value) => found([Some((value, false))]),
                Err(error) if error.kind() == ErrorKind::Absent => found([None]),
                Err(error) => Outcome::Failed(error.kind()),
            }
        }
        Verb::SendWaiting => match cache.flush() {
            Ok(is_sent) => Outcome::Touched(is_sent),
            Err(error) => Outcome::Failed(error.kind()),
        },
        Verb::EvictShared(key) => {
            cache.lose_shared(&KEYS[*key]);
            Outcome::Nothing
        }
        Verb::Retier(_) if process.is_retiering.swap(true, Ordering::Relaxed) => Outcome::Nothing,
        Verb::Retier(tiering) => {
            let from = world.schedule.moment();
            let done = world.retier(process, *tiering);
            lock(&world.tale).retiered(process.number, process.host, *tiering, from, world.now());
            process.is_retiering.store(false, Ordering::Relaxed);
            nothing(done)
        }
        Verb::Restart { closes } => {
            if world.may_restart() {
                nothing(restart(world, slot, *closes))
            } else {
                Outcome::Nothing
            }
        }
        Verb::Sleep(millis) => {
            world.sleep(*millis);
            Outcome::Nothing
        }
        _ => Outcome::Nothing,
    }
}

/// What a call found, with whether it said that it is stale.
fn found(values: impl IntoIterator<Item = Option<(Bytes, bool)>>) -> Outcome {
    let got = |value: Option<(Bytes, bool)>| {
        let got = value.map(|(bytes, is_stale)| match tale::number(&bytes) {
            Some(value) => Ok(Got { value, is_stale }),
            None => Err(bytes),
        });
        got.transpose()
    };
    match values.into_iter().map(got).collect::<Result<Vec<_>, Bytes>>() {
        Ok(got) => Outcome::Found(got),
        Err(garbage) => Outcome::Garbage(garbage),
    }
}

fn answered(answer: Result<Answer<Option<Bytes>>>) -> Outcome {
    match answer {
        Ok(answer) => found([answer.value.map(|value| (value, answer.is_stale))]),
        Err(error) => Outcome::Failed(error.kind()),
    }
}

/// A read by a loader that may run on a thread of the cache.
fn load_away(
    world: &Arc<World>,
    cache: &Cache<Bytes>,
    call: usize,
    key: usize,
    ttl: Option<u64>,
) -> Outcome {
    let mut freshness = Freshness::new();
    if let Some(ttl) = ttl {
        freshness = freshness.ttl(Duration::from_millis(ttl));
    }
    if world.settings.stale.is_some_and(|stale| stale.is_ahead) {
        freshness = freshness.refresh_ahead(RefreshAhead::After(0.5));
    }
    let theirs = Arc::clone(world);
    let loader = move |context: &LoadContext<'_, Bytes>| -> Result<Loaded<Bytes>, BoxedError> {
        let source = Source { world: &theirs, call };
        match &theirs.loader {
            Some(loader) => loader(&source, context.key()),
            None => source.load(context.key(), context.stale()).map_err(Into::into),
        }
    };
    let loading = cache.loading(loader, LoadOptions::new().freshness(freshness));
    answered(loading.and_then(|loading| loading.get_optional(&KEYS[key])))
}

fn restart(world: &Arc<World>, slot: usize, closes: bool) -> Result<(), Error> {
    let tiering = world.process(slot).cache.tiering();
    let old = world.restart(slot, tiering)?;
    if closes {
        old.cache.close();
    } else {
        old.remote.vanish();
        old.cache.lose_waiting();
    }
    Ok(())
}

/// Does what befalls links and the server.
fn meddle(world: &Arc<World>, verb: &Verb) {
    let begin: At = world.schedule.moment();
    let call = lock(&world.tale).begin(MISCHIEF, None, verb.clone(), begin);
    match verb {
        Verb::Sleep(millis) => world.sleep(*millis),
        Verb::CutLink { host, millis, refuses } => {
            world.cut_link(host % HOSTS, *millis, *refuses);
        }
        Verb::Stall { host, millis } => world.stall(host % HOSTS, *millis),
        Verb::CutStream { number, is_silent } => {
            world.at_server(|server, now, draws| server.cut(*number, now, *is_silent, draws));
        }
        Verb::Evict(key) => world.at_server(|server, now, _| server.evict(&KEYS[*key], now)),
        Verb::EvictCounter { key, is_epoch } => {
            let group = crate::key::group(&KEYS[*key]);
            world.at_server(|server, _, _| server.evict_counter(group, *is_epoch));
        }
        Verb::EvictTags => world.at_server(|server, now, _| server.evict_tags(now)),
        Verb::Flush => world.at_server(|server, now, _| server.flush(now)),
        _ => {}
    }
    crate::simulated::point();
    let end = world.schedule.moment();
    lock(&world.tale).end(call, Outcome::Nothing, end);
}
