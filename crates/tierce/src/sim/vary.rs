//! What some histories have beside. Each of it is drawn apart, so that the others are what they would
//! be without.

use super::{
    draws::Draws,
    script::{Behind, HOSTS, Script, Stale, host_of},
    verb::Verb,
};
use crate::Tiering;

/// The time to live of values that name none, where they have one: longer than the judge waits for
/// what it has set to be seen.
const TTL: u64 = 6000;

/// Varies the script of this seed.
pub(super) fn vary(script: &mut Script, seed: u64) {
    with_tags(script, &mut Draws::new(seed ^ 0x7A65));
    with_prefixes(script, &mut Draws::new(seed ^ 0x9F1E));
    with_conditions(script, &mut Draws::new(seed ^ 0xC045));
    with_touches(script, &mut Draws::new(seed ^ 0x70C4));
    with_windows(script, &mut Draws::new(seed ^ 0x57A1));
    with_what_is_left(script, &mut Draws::new(seed ^ 0x1EF7));
    with_evictions(script, &mut Draws::new(seed ^ 0xE71C));
    with_stalls(script, &mut Draws::new(seed ^ 0x57A7));
    with_behind(script, &mut Draws::new(seed ^ 0xBE41));
}

fn verbs(script: &mut Script) -> impl Iterator<Item = &mut Verb> {
    script.callers.iter_mut().flat_map(|caller| &mut caller.verbs)
}

/// What changes keys, and what befalls the server, now and then befalls tags instead.
fn with_tags(script: &mut Script, draws: &mut Draws) {
    script.settings.has_tags = draws.chance(150);
    if !script.settings.has_tags {
        return;
    }
    let verbs = script.callers.iter_mut().flat_map(|caller| &mut caller.verbs);
    for verb in verbs.chain(&mut script.mischief) {
        match verb {
            Verb::Delete(_) | Verb::Expire(_) | Verb::Clear if draws.chance(700) => {
                *verb = Verb::ChangeTag { removes: draws.chance(700) };
            }
            Verb::EvictCounter { .. } if draws.chance(500) => *verb = Verb::EvictTags,
            _ => {}
        }
    }
}

/// What changes keys changes all that begin so.
fn with_prefixes(script: &mut Script, draws: &mut Draws) {
    script.settings.has_prefixes = draws.chance(100);
    if !script.settings.has_prefixes {
        return;
    }
    for verb in verbs(script) {
        let is_removal = matches!(verb, Verb::Delete(_) | Verb::Expire(_) | Verb::Clear);
        if is_removal && draws.chance(700) {
            *verb = Verb::ChangePrefix { removes: draws.chance(700) };
        }
    }
}

/// Sets depend on what is there, and some who read count.
fn with_conditions(script: &mut Script, draws: &mut Draws) {
    if !draws.chance(200) {
        return;
    }
    for verb in verbs(script) {
        match verb {
            Verb::Set(key, ttl) if draws.chance(800) => {
                *verb = match draws.below(6) {
                    0 | 1 => Verb::SetIfAbsent(*key, *ttl),
                    2 | 3 => Verb::Update(*key, *ttl),
                    _ => Verb::CompareAndSet(*key),
                };
            }
            Verb::Get(_) if draws.chance(250) => *verb = Verb::Increment,
            _ => {}
        }
    }
}

/// Values have an end, which is moved.
fn with_touches(script: &mut Script, draws: &mut Draws) {
    if !draws.chance(200) {
        return;
    }
    let span = |draws: &mut Draws| draws.one(&[1, 20, 300, 2500]);
    for verb in verbs(script) {
        match verb {
            Verb::Set(_, ttl) | Verb::Load(_, ttl) if draws.chance(500) => *ttl = Some(span(draws)),
            Verb::Get(key) if draws.chance(200) => *verb = Verb::Touch(*key, span(draws)),
            Verb::Set(key, _) | Verb::Delete(key) | Verb::Expire(key) if draws.chance(400) => {
                *verb = Verb::Touch(*key, span(draws));
            }
            _ => {}
        }
    }
}

/// Values are stale at their end, and loaders answer what loaders answer.
fn with_windows(script: &mut Script, draws: &mut Draws) {
    if !draws.chance(250) {
        return;
    }
    let windows = [0, 300, 2500, 2500];
    let [if_error, while_revalidate] = [(); 2].map(|()| draws.one(&windows));
    let soft = draws.one(&[None, Some(1), Some(30)]);
    let hard = draws.one(&[None, None, Some(300)]);
    script.settings.stale = Some(Stale {
        ttl: TTL,
        if_error,
        while_revalidate,
        soft,
        hard,
        backoff: draws.one(&[None, None, Some(30), Some(700)]),
        negative: draws.one(&[0, 0, 20, 700]),
        is_ahead: draws.chance(300),
    });
    script.settings.load_failures = draws.one(&[0, 200, 500]);
    script.settings.absences = draws.one(&[0, 0, 200]);
    script.settings.renewals = draws.one(&[0, 0, 500]);
    let goes_away = draws.one(&[0, 300, 1000]);
    let span = |draws: &mut Draws| draws.one(&[1, 20, 300]);
    for verb in verbs(script) {
        match verb {
            Verb::Set(_, ttl) | Verb::Load(_, ttl) if draws.chance(600) => *ttl = Some(span(draws)),
            Verb::Delete(key) if draws.chance(400) => *verb = Verb::Expire(*key),
            Verb::Get(key) => {
                *verb = match draws.below(4) {
                    0 => Verb::GetStale(*key),
                    1 => Verb::Load(*key, Some(span(draws))),
                    _ => continue,
                }
            }
            _ => {}
        }
        match verb {
            Verb::Load(key, ttl) if draws.chance(goes_away) => *verb = Verb::LoadAway(*key, *ttl),
            _ => {}
        }
    }
}

/// Loads fail, or find nothing, where a stale value is left that another caller removes, or that
/// somebody looks for after that.
fn with_what_is_left(script: &mut Script, draws: &mut Draws) {
    if !draws.chance(60) {
        return;
    }
    let fails = draws.chance(500);
    let settings = &mut script.settings;
    settings.stale = Some(Stale {
        ttl: TTL,
        if_error: 2500,
        while_revalidate: 0,
        soft: None,
        hard: None,
        backoff: None,
        negative: 0,
        is_ahead: false,
    });
    (settings.load_failures, settings.absences) = if fails { (500, 0) } else { (0, 500) };
    settings.renewals = 0;
    if !fails {
        settings.tierings = [draws.one(&[Tiering::L1, Tiering::L2, Tiering::L1L2]); 3];
    }
    settings.load_time = draws.one(&[1, 5, 40]);
    settings.faults = 0;
    settings.pace.advances = 0;
    script.mischief.clear();
    for (number, caller) in script.callers.iter_mut().enumerate() {
        let pause = |draws: &mut Draws| Verb::Sleep(draws.one(&[1, 3, 3, 30]));
        let load = Verb::Load(0, Some(1));
        caller.verbs = match fails {
            true if number % 2 == 1 => {
                vec![pause(draws), Verb::Delete(0), pause(draws), Verb::Delete(0)]
            }
            true => vec![Verb::Set(0, Some(1)), pause(draws), load.clone(), pause(draws), load],
            false => vec![load, pause(draws), Verb::Load(0, None), Verb::GetStale(0)],
        };
    }
}

/// Those who listen stand still for about as long as copies may be served untold, then lose their link.
fn with_stalls(script: &mut Script, draws: &mut Draws) {
    if let [Verb::Sleep(_), cut @ Verb::CutLink { host, millis: 8000, .. }] = &script.mischief[..]
        && draws.chance(400)
    {
        let (cut, host) = (cut.clone(), *host);
        let stall = Verb::Stall { host, millis: draws.one(&[1000, 1400, 1700, 2200]) };
        for caller in &mut script.callers {
            let pause = |draws: &mut Draws| Verb::Sleep(draws.one(&[700, 1600, 2400]));
            let change = Verb::Set(0, None);
            let look = Verb::Load(0, None);
            caller.verbs = match host_of(caller.slot) == host {
                true => (0..5).flat_map(|_| [look.clone(), pause(draws)]).collect(),
                false => (0..3).flat_map(|_| [change.clone(), pause(draws)]).collect(),
            };
        }
        let (before, between) = (draws.one(&[1, 30, 200]), draws.one(&[1500, 2500]));
        script.mischief = vec![Verb::Sleep(before), stall, Verb::Sleep(between), cut];
    }
    if draws.chance(100) {
        for verb in &mut script.mischief {
            if matches!(verb, Verb::CutStream { .. }) && draws.chance(500) {
                let host = draws.below(HOSTS);
                *verb = Verb::Stall { host, millis: draws.one(&[200, 900, 1600, 2500]) };
            }
        }
    }
}

/// Stores lose records.
fn with_evictions(script: &mut Script, draws: &mut Draws) {
    if !draws.chance(200) {
        return;
    }
    for caller in &mut script.callers {
        for _ in 0..draws.below(3) {
            let at = draws.below(caller.verbs.len() + 1);
            caller.verbs.insert(at, Verb::EvictShared(draws.below(script.keys)));
        }
    }
}

/// Sets are behind L3, by some processes or all.
fn with_behind(script: &mut Script, draws: &mut Draws) {
    if !draws.chance(250) {
        return;
    }
    let slots = draws.one(&[
        [true; 3],
        [true; 3],
        [true, false, true],
        [false, true, true],
        [true, true, false],
        [true, false, false],
    ]);
    script.settings.behind = Some(Behind { slots, delay: draws.one(&[1, 5, 20, 100, 300]) });
    if draws.chance(250) {
        // What else there is, while some sets are behind.
        return;
    }
    // What goes behind has no tags, and is kept above.
    (script.settings.has_tags, script.settings.has_prefixes) = (false, false);
    let tiering = draws.one(&[Tiering::L1L2L3, Tiering::L1L2L3, Tiering::L2L3, Tiering::L1L3]);
    script.settings.tierings = [tiering; 3];
    script.settings.faults = draws.one(&[0, 0, 0, 20, 150]);
    script.settings.load_time = draws.one(&[0, 5, 40]);
    script.keys = draws.one(&[1, 1, 2, 4]);
    script.mischief.clear();
    let usual = [5, 6, 2, 1, 1, 1, 2, 2, 3, 1, 1, 2, 1];
    let mut shares = usual.map(|share| share * draws.one(&[0, 1, 1, 3]));
    if draws.chance(400) {
        // Changes meet values that are just sent.
        shares = draws.one(&[
            [6, 8, 6, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0],
            [6, 8, 4, 2, 2, 0, 2, 2, 4, 0, 0, 2, 0],
            [6, 6, 0, 0, 0, 0, 6, 6, 4, 0, 2, 0, 2],
        ]);
        script.keys = 1;
        script.settings.behind = Some(Behind { slots, delay: draws.one(&[1, 5]) });
        script.settings.slowness = draws.one(&[10, 80, 200]);
    }
    let keys = script.keys;
    let told = draws.one(&[10, 400, 1200]);
    for caller in &mut script.callers {
        // Somebody listens by then: what is set before that goes through.
        let begins = [Verb::Get(0), Verb::Sleep(told + draws.within(0, 10))];
        let verbs = caller.verbs.iter().map(|_| behind_verb(draws, &shares, keys));
        caller.verbs = begins.into_iter().chain(verbs).collect();
    }
    if draws.chance(200) {
        let caller = draws.below(script.callers.len());
        let verbs = &mut script.callers[caller].verbs;
        let at = draws.below(verbs.len()) + 1;
        let restart = Verb::Restart { closes: draws.chance(300) };
        let mut more = vec![Verb::Set(0, None), Verb::SendWaiting, Verb::Set(0, None), restart];
        if draws.chance(300) {
            // Its claim is over by then, and what L2 has of it is lost.
            more.extend([Verb::Sleep(2600), Verb::EvictShared(0), Verb::Get(0), Verb::Get(0)]);
        }
        verbs.splice(at..at, more);
    }
    if draws.chance(200) {
        let host = draws.below(HOSTS);
        let millis = draws.one(&[20, 200, 900, 2500]);
        let cut = Verb::CutLink { host, millis, refuses: draws.chance(500) };
        script.mischief = vec![Verb::Sleep(draws.one(&[5, 30, 60])), cut];
    }
}

/// One of the verbs that have to do with what waits.
fn behind_verb(draws: &mut Draws, shares: &[usize; 13], keys: usize) -> Verb {
    let key = draws.below(keys);
    let ttl = draws.chance(200).then(|| draws.one(&[1, 20, 300]));
    let mut left = draws.below(shares.iter().sum::<usize>().max(1));
    let which = shares.iter().position(|share| match left.checked_sub(*share) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    match which {
        Some(1) => Verb::Set(key, ttl),
        Some(2) => Verb::Delete(key),
        Some(3) => Verb::Expire(key),
        Some(4) => Verb::Touch(key, draws.one(&[20, 300])),
        Some(5) => Verb::Clear,
        Some(6) => Verb::Load(key, ttl),
        Some(7) => Verb::LoadAnew(key, draws.one(&[None, None, ttl, Some(0)])),
        Some(8) => Verb::Sleep(draws.one(&[1, 3, 10, 100, 400])),
        Some(9) => Verb::SendWaiting,
        Some(10) => Verb::Refresh(key),
        Some(11) => match draws.below(3) {
            0 => Verb::SetIfAbsent(key, ttl),
            1 => Verb::Update(key, ttl),
            _ => Verb::CompareAndSet(key),
        },
        Some(12) => Verb::EvictShared(key),
        _ => Verb::Get(key),
    }
}
