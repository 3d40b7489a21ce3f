//! One history, from its script to the check.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    LoaderUnderTest, check,
    schedule::{At, lock},
    script::{HOSTS, KEYS, SLOTS, Script, Verb},
    source::Source,
    tale::{self, Outcome},
    world::{BOUND, Ground, HEARTBEAT, MISCHIEF, Process, WRITE_TIMEOUT, World},
};
use crate::{Bytes, Error, LoadOptions, Loaded, Result, SetOptions, TierKind};

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

/// The tag of all values, in histories that have one.
const TAG: &str = "red";

fn tags(world: &World) -> &'static [&'static str] {
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
        world.end_listening();
    }
    let hang = schedule.failure();
    let hangs = hang.is_some();
    let failure = hang.or_else(|| {
        let (tale, server) = (lock(&world.tale), lock(&world.server));
        check::check(&tale, server.effects(), &script.settings, quiet)
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
            let numbers = values.iter().map(|value| value.map_or(0, |value| value as u64 + 1));
            numbers.fold(7, |hash, number| hash * 31 + number)
        }
        Outcome::Wrote(value) => *value as u64 + 1,
        Outcome::Failed(kind) => 1000 + *kind as u64,
        Outcome::Nothing | Outcome::Garbage(_) => 3,
    }
}

/// Lets all end well, and looks at what everybody has. The first of these calls.
fn judge(world: &Arc<World>, keys: usize) -> usize {
    world.heal();
    let recovers = world.settings.recovers;
    world.sleep(if recovers { RECOVERY + BOUND } else { BOUND });
    if recovers {
        // Reads of all groups settle the doubts that have rested, and probe the breakers.
        for slot in 0..SLOTS.len() {
            for key in 0..keys {
                perform(world, 0, slot, &Verb::Get(key));
            }
        }
        world.sleep(2 * HEARTBEAT);
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
                if is_to_see && found != &[Some(value)] {
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
    let found = |value: Option<Bytes>| value.map(|bytes| tale::number(&bytes).ok_or(bytes));
    let nothing = |done: Result<()>| match done {
        Ok(()) => Outcome::Nothing,
        Err(error) => Outcome::Failed(error.kind()),
    };
    match verb {
        Verb::Get(key) => match found(cache.get(&KEYS[*key])).transpose() {
            Ok(value) => Outcome::Found(vec![value]),
            Err(garbage) => Outcome::Garbage(garbage),
        },
        Verb::GetMany(keys) => {
            let names: Vec<&[u8]> = keys.iter().map(|key| &KEYS[*key][..]).collect();
            let values = cache.get_many(&names).into_iter().map(|value| found(value).transpose());
            match values.collect::<Result<Vec<_>, Bytes>>() {
                Ok(values) => Outcome::Found(values),
                Err(garbage) => Outcome::Garbage(garbage),
            }
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
        Verb::Clear => nothing(cache.clear()),
        Verb::Load(key, ttl) => {
            let options = match ttl {
                Some(ttl) => LoadOptions::new().ttl(Duration::from_millis(*ttl)),
                None => LoadOptions::new(),
            };
            let source = Source { world, call };
            let loaded = cache.get_or_load_with(&KEYS[*key], &options, |key| match &world.loader {
                Some(loader) => loader(&source, key),
                None => {
                    let loaded = source.read(key).map(Loaded::new);
                    loaded.map(|it| it.tags(tags(world))).map_err(Into::into)
                }
            });
            match loaded.map(|answer| found(Some(answer.value)).transpose()) {
                Ok(Ok(value)) => Outcome::Found(vec![value]),
                Ok(Err(garbage)) => Outcome::Garbage(garbage),
                Err(error) => Outcome::Failed(error.kind()),
            }
        }
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

fn restart(world: &Arc<World>, slot: usize, closes: bool) -> Result<(), Error> {
    let tiering = world.process(slot).cache.tiering();
    let old = world.restart(slot, tiering)?;
    if closes {
        old.cache.close();
    } else {
        old.remote.vanish();
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
