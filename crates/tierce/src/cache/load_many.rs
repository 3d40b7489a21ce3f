//! `get_or_load_many`: many keys, and one call of the loader for all of them that are missing (in a
//! cache that is split between two tierings one for each side).
//!
//! Each key has its marks, its flight and its turn on this host, as in a load of its own. What another
//! process of the host is loading is left to it at first. A call lands all that it loads itself, and
//! waits for others only then, for other processes before other callers of this one: so two calls
//! that lead each other's keys do not wait for each other in a circle. What those did not bring, a
//! second call of the loader does.
//!
//! It takes no part in the single flight of several hosts (`redis.load_lease`): what another host is
//! loading is loaded here too, and who is first decides the value.

use std::collections::{HashMap, hash_map::Entry};

use super::{
    Answer, Inner, LoadOptions, Loaded, Origin,
    change::{check_key, closed},
    lead::Led,
    load::{Call, Landing, Step},
    many::{FoundMany, Sought},
    marks::Marks,
    plan::Plan,
    read::{Found, is_young},
    tags,
};
use crate::{
    error::{Error, ErrorKind, Result},
    load::{Entered, Joined, Lead},
    metrics::{CacheCounter, nanoseconds},
    tier::Turns,
};

/// What loads many keys.
type LoadMany<'a, V> = dyn FnMut(&[&[u8]]) -> Result<Vec<Loaded<V>>> + 'a;

/// The answer of each key so far.
type Answers<V> = Vec<Option<Result<Answer<Option<V>>>>>;

/// A key whose flight this call leads.
struct OneLed<'a, V> {
    index: usize,
    call: Call<'a, V>,
    lead: Lead<Landing<V>>,
}

/// One that is loaded now.
struct Leading<'a, V> {
    of: OneLed<'a, V>,
    marks: Marks,
}

/// Whether what another process of the host is loading is left to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Left,
    LoadedToo,
}

/// A key that another call loads.
struct Awaited<'a, V> {
    index: usize,
    call: Call<'a, V>,
    joined: Joined<Landing<V>>,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn get_or_load_many(
        &self,
        keys: &[&[u8]],
        options: &LoadOptions,
        load: &mut LoadMany<'_, V>,
    ) -> Vec<Result<Answer<Option<V>>>> {
        let mut answers: Answers<V> = Vec::new();
        answers.resize_with(keys.len(), || None);
        let checked =
            options.freshness.check().and_then(|()| tags::check(&options.tags, options.added_tags));
        if let Err(error) = checked {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        if !options.tags.is_empty() {
            self.tags.be_used();
        }
        // Each key once: a second flight of it would wait for the first, which is ours.
        let mut firsts = HashMap::with_capacity(keys.len());
        let mut unique = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            if let Err(error) = check_key(key) {
                answers[index] = Some(Err(error));
            } else if let Entry::Vacant(first) = firsts.entry(*key) {
                first.insert(index);
                unique.push(index);
            }
        }
        for (reach, mut missing) in self.by_reach(keys, unique, options.reach()) {
            let asked = missing.clone();
            while !missing.is_empty() {
                let plan = self.plan.load().within(reach);
                if !plan.is_open() {
                    missing.drain(..).for_each(|index| answers[index] = Some(Err(closed())));
                    break;
                }
                missing = self.load_round(plan, keys, &missing, options, load, &mut answers);
            }
            for index in asked {
                if let Some(answer) = &answers[index] {
                    self.trip(self.plan.load().within(reach)).ends(answer);
                }
            }
        }
        for (index, key) in keys.iter().enumerate() {
            if answers[index].is_none()
                && let Some(first) = firsts.get(key)
            {
                answers[index] = answers[*first].clone();
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(closed()))).collect()
    }

    /// Looks for these keys, loads what nobody loads and waits for the rest; returns what is to be
    /// begun anew.
    fn load_round(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        wanted: &[usize],
        options: &LoadOptions,
        load: &mut LoadMany<'_, V>,
        answers: &mut Answers<V>,
    ) -> Vec<usize> {
        let names: Vec<&[u8]> = wanted.iter().map(|index| keys[*index]).collect();
        let may_serve = |found: &Found<V>| found.is_fresh() && is_young(found.age, options.max_age);
        let FoundMany { answers: found, sought } = self.find_many(plan, &names, &may_serve);
        for (index, answer) in wanted.iter().zip(found) {
            answers[*index] = answer.map(Ok);
        }
        let (mut led, mut awaited) = (Vec::new(), Vec::new());
        for Sought { index: at, marks, best } in sought {
            let index = wanted[at];
            let call = Call::new(plan, &self.rules, options, best);
            if plan.is_shed() {
                let stale = self.stale_instead(plan, keys[index], &call);
                answers[index] = Some(stale.ok_or_else(|| self.refused()));
                continue;
            }
            match self.flights.enter(keys[index], marks.began(), |began| self.may_join(began)) {
                Ok(Entered::Lead(lead)) => {
                    let lead = lead.limited(self.longest_load(&call.rules));
                    led.push(OneLed { index, call, lead });
                }
                Ok(Entered::Join(joined)) => awaited.push(Awaited { index, call, joined }),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        let left = self.lead_many(plan, keys, led, Elsewhere::Left, load, answers);
        let left = self.wait_for_host(plan, keys, left, answers);
        self.lead_many(plan, keys, left, Elsewhere::LoadedToo, load, answers);
        let mut again = Vec::new();
        for Awaited { index, mut call, joined } in awaited {
            match self.wait(keys[index], &mut call, &joined, Origin::Joined) {
                Ok(Step::Answer(answer)) => answers[index] = Some(Ok(answer)),
                // A lead that is dropped is handed to who comes next.
                Ok(Step::Lead(_) | Step::Again) => again.push(index),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        again
    }

    /// Waits until the other processes of the host have loaded these keys, or for as long as its caller
    /// waits for others. No lease is held meanwhile.
    fn wait_for_host<'a>(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        left: Vec<OneLed<'a, V>>,
        answers: &mut Answers<V>,
    ) -> Vec<OneLed<'a, V>> {
        // All together wait for as long as one.
        let turns: Vec<_> =
            left.iter().map(|it| self.turns(plan, keys[it.index], &it.call)).collect();
        let waited = left.into_iter().zip(turns).filter_map(|(it, turns)| {
            let turn = self.turn(turns.as_ref(), &it.call).map(drop);
            match turn {
                Ok(()) => Some(it),
                Err(error) => {
                    let OneLed { index, call, lead } = it;
                    answers[index] = Some(self.land(keys[index], &call, lead, Err(error)));
                    None
                }
            }
        });
        waited.collect()
    }

    /// Loads what is in no tier, and lands it. Returns what other processes are loading, where that is
    /// left to them.
    fn lead_many<'a>(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        mut led: Vec<OneLed<'a, V>>,
        elsewhere: Elsewhere,
        load: &mut LoadMany<'_, V>,
        answers: &mut Answers<V>,
    ) -> Vec<OneLed<'a, V>> {
        let turns: Vec<_> =
            led.iter().map(|it| self.turns(plan, keys[it.index], &it.call)).collect();
        // Held until all is kept: other processes wait for these loads.
        let mut leases = Vec::with_capacity(led.len());
        let mut left = Vec::new();
        let mut mine = Vec::with_capacity(led.len());
        for (it, turns) in led.drain(..).zip(&turns) {
            let turn = turns.as_ref().map(Turns::take);
            let has_stale = it.call.while_revalidated().is_some();
            if elsewhere == Elsewhere::Left && !has_stale && matches!(turn, Some(None)) {
                left.push(it);
            } else {
                leases.extend(turn.flatten());
                mine.push(it);
            }
        }
        let mut missing: Vec<Leading<'_, V>> = Vec::with_capacity(mine.len());
        for OneLed { index, mut call, lead } in mine {
            let key = keys[index];
            self.settle_before_load(plan, key, &call);
            let mut marks = self.marks(plan, key);
            let found = self
                .look_again(plan, key, &mut call, &marks)
                .or_else(|| self.look_in_remote(plan, key, &mut call, &mut marks));
            let known = match found {
                Some(found) => Some(Ok(Led::Found(found))),
                None => self.check_failures(key, &call).err().map(Err),
            };
            match known {
                Some(known) => answers[index] = Some(self.land(key, &call, lead, known)),
                None => missing.push(Leading { of: OneLed { index, call, lead }, marks }),
            }
        }
        if missing.is_empty() {
            return left;
        }
        let names: Vec<&[u8]> = missing.iter().map(|it| keys[it.of.index]).collect();
        let began = self.begins();
        self.metrics.count(CacheCounter::Loads);
        let loaded = load(&names);
        self.metrics.load_latency.record(nanoseconds(began.at.elapsed()));
        let loaded = loaded.and_then(|loaded| {
            let (count, wanted) = (loaded.len(), names.len());
            if count == wanted { Ok(loaded) } else { Err(wrong_count(count, wanted)) }
        });
        let loaded: Vec<Result<Loaded<V>>> = match loaded {
            Ok(loaded) => loaded.into_iter().map(Ok).collect(),
            Err(error) => names.iter().map(|_| Err(error.clone())).collect(),
        };
        for (Leading { of, marks }, loaded) in missing.into_iter().zip(loaded) {
            let OneLed { index, call, lead } = of;
            let key = keys[index];
            let led = match loaded {
                Ok(loaded) => {
                    self.failures.forget(key);
                    self.keep_loaded(plan, key, &call, &lead, &marks, began, loaded)
                }
                Err(error) => {
                    self.load_failed(key, &call, &marks, &error);
                    Err(error)
                }
            };
            answers[index] = Some(self.land(key, &call, lead, led));
        }
        left
    }
}

/// The error of a loader that answers for fewer or more keys than it was asked.
fn wrong_count(count: usize, wanted: usize) -> Error {
    Error::new(
        ErrorKind::Loader,
        format!("the loader returned {count} answers for {wanted} keys: must be one for each"),
    )
}
