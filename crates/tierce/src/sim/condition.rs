//! Changes of a history that depend on what is there.

use std::{sync::Arc, time::Duration};

use super::{
    history::tags,
    schedule::lock,
    tale::{self, Outcome},
    verb::{COUNTER, KEYS, Verb},
    world::World,
};
use crate::{Bytes, Cache, Result, SetOptions, simulated};

/// Makes one, as the call of this number.
pub(super) fn call(world: &Arc<World>, cache: &Cache<Bytes>, call: usize, verb: &Verb) -> Outcome {
    let changed = match verb {
        Verb::SetIfAbsent(key, ttl) => set_if_absent(world, cache, call, *key, *ttl),
        Verb::Update(key, ttl) => update(world, cache, call, *key, *ttl),
        Verb::CompareAndSet(key) => compare_and_set(world, cache, call, *key),
        _ => cache.increment(COUNTER, 1).map(Outcome::Counted),
    };
    changed.unwrap_or_else(|error| Outcome::Failed(error.kind()))
}

fn options(world: &World, ttl: Option<u64>) -> SetOptions {
    let options = SetOptions::new().tags(tags(world));
    match ttl {
        Some(ttl) => options.ttl(Duration::from_millis(ttl)),
        None => options,
    }
}

fn set_if_absent(
    world: &World,
    cache: &Cache<Bytes>,
    call: usize,
    key: usize,
    ttl: Option<u64>,
) -> Result<Outcome> {
    let to = lock(&world.tale).attempted(key, call, ttl, None);
    let options = options(world, ttl);
    if cache.set_if_absent(&KEYS[key], tale::bytes(to), &options)? {
        return Ok(Outcome::Changed { from: None, to: Some(to) });
    }
    lock(&world.tale).given_up(call);
    Ok(Outcome::Touched(true))
}

fn update(
    world: &World,
    cache: &Cache<Bytes>,
    call: usize,
    key: usize,
    ttl: Option<u64>,
) -> Result<Outcome> {
    let (mut outcome, mut garbage) = (Outcome::Nothing, None);
    let options = options(world, ttl);
    cache.update(&KEYS[key], &options, |present| {
        simulated::point();
        let from = present.as_ref().and_then(|bytes| tale::number(bytes));
        garbage = garbage.take().or(present.filter(|_| from.is_none()));
        let to = lock(&world.tale).attempted(key, call, ttl, from);
        outcome = Outcome::Changed { from, to: Some(to) };
        simulated::point();
        Some(tale::bytes(to))
    })?;
    Ok(garbage.map_or(outcome, Outcome::Garbage))
}

fn compare_and_set(
    world: &World,
    cache: &Cache<Bytes>,
    call: usize,
    key: usize,
) -> Result<Outcome> {
    let (present, version) = cache.get_versioned(&KEYS[key])?;
    let from = present.as_ref().and_then(|bytes| tale::number(bytes));
    if let Some(garbage) = present.filter(|_| from.is_none()) {
        return Ok(Outcome::Garbage(garbage));
    }
    simulated::point();
    // A value of its own, with nothing of what it takes the place of.
    let to = lock(&world.tale).attempted(key, call, None, None);
    let options = options(world, None);
    if cache.compare_and_set(&KEYS[key], &version, tale::bytes(to), &options)? {
        return Ok(Outcome::Changed { from, to: Some(to) });
    }
    lock(&world.tale).given_up(call);
    Ok(Outcome::Changed { from, to: None })
}
