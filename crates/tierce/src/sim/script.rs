//! What a history is to be: drawn from its seed before it begins, so that it can be told, run
//! again, and made shorter.

use super::{draws::Draws, schedule::Pace, vary, verb::Verb};
use crate::Tiering;

/// The host of each process.
pub(super) const SLOTS: [usize; 3] = [0, 0, 1];
pub(super) const HOSTS: usize = 2;

pub(super) fn host_of(slot: usize) -> usize {
    SLOTS[slot]
}

/// One of those who call the cache of a process.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) slot: usize,
    pub(super) verbs: Vec<Verb>,
}

/// How values of a history may be served when they are not fresh. All in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale {
    /// The time to live of values that name none.
    pub(super) ttl: u64,
    pub(super) if_error: u64,
    pub(super) while_revalidate: u64,
    pub(super) soft: Option<u64>,
    pub(super) hard: Option<u64>,
    pub(super) backoff: Option<u64>,
    /// How long it is remembered that there is no value.
    pub(super) negative: u64,
    /// Hits have values loaded anew before they are stale, on a thread of the cache.
    pub(super) is_ahead: bool,
}

impl Stale {
    /// How long values are stale at their end.
    pub(super) fn window(self) -> u64 {
        self.if_error.max(self.while_revalidate)
    }
}

/// What a history sets behind L3.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    /// The processes that do so; the others set through.
    pub(super) slots: [bool; 3],
    /// How long values wait, in milliseconds.
    pub(super) delay: u64,
}

/// What a history is set up with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tierings: [Tiering; 3],
    pub(super) memory_entries: u64,
    /// Calls of the server that fail, of a thousand.
    pub(super) faults: u32,
    /// Nothing fails.
    pub(super) is_calm: bool,
    /// How long messages take at most, in milliseconds.
    pub(super) slowness: u64,
    /// Messages that take no time, of a thousand.
    pub(super) prompt: u32,
    /// The server answers all of a turn before it tells what changed in it.
    pub(super) turns: bool,
    /// Loads that fail, of a thousand, and how long others take at most, in milliseconds.
    pub(super) load_failures: u32,
    pub(super) load_time: u64,
    /// Loads that find no value, of a thousand, and those that find that a stale one is right.
    pub(super) absences: u32,
    pub(super) renewals: u32,
    /// Values may be stale.
    pub(super) stale: Option<Stale>,
    /// Values may wait before they go to L3.
    pub(super) behind: Option<Behind>,
    pub(super) pace: Pace,
    /// All values bear a tag, which loaders name when they return.
    pub(super) has_tags: bool,
    /// All caches have a delimiter of prefixes.
    pub(super) has_prefixes: bool,
    /// All is well in the end: then the caches must be so too.
    pub(super) recovers: bool,
}

/// A history that is to be.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) settings: Settings,
    pub(super) callers: Vec<Caller>,
    pub(super) mischief: Vec<Verb>,
    pub(super) keys: usize,
}

impl Script {
    /// The one of this seed, of at most so many callers and verbs of each.
    pub(super) fn new(seed: u64, callers: usize, steps: usize) -> Self {
        let mut draws = Draws::new(seed ^ 0x5EED);
        let draws = &mut draws;
        let mut settings = Settings::new(draws);
        let mut keys = draws.one(&[1, 1, 1, 2, 4]);
        let mut mix = Mix::new(draws);
        let mut still = mix.clone();
        let theme = draws.one(&Theme::ALL);
        match theme {
            Theme::Any if mix.shares[7] > 0 && draws.chance(600) => {
                settings.tierings = SLOTS.map(|_| draws.one(&mix.tierings));
            }
            Theme::Any => {}
            Theme::Cut => {
                let tiering = draws.one(&[Tiering::L1L2L3, Tiering::L1L3, Tiering::L2L3]);
                settings.tierings = [tiering; 3];
                settings.faults = 0;
                keys = 1;
                // Who is cut off reads, the others change what it has.
                mix.shares = [4, 0, 0, 0, 0, 1, 0, 0, 0, 0];
                still.shares = [2, 0, 4, 2, 0, 1, 0, 0, 0, 0];
            }
            Theme::Lone => {
                let tiering = draws.one(&[Tiering::L1L2L3, Tiering::L1L3, Tiering::L2L3]);
                settings.tierings = [tiering; 3];
                settings.faults = 200;
                settings.load_time = 0;
                keys = 1;
                mix.shares = [3, 0, 2, 0, 0, 8, 0, 0, 0, 0];
                still.shares = [1, 0, 0, 6, 0, 0, 0, 0, 0, 1];
            }
            Theme::Slow => {
                mix.shares = [6, 0, 0, 0, 0, 20, 4, 0, 0, 0];
                keys = 1;
                settings.tierings = SLOTS.map(|_| Tiering::L1L2);
                settings.load_time = 2400;
                still = mix.clone();
            }
            Theme::Rush => {
                mix.shares = draws.one(&[
                    // What sets do to each other, removals to reads, and changes to loads.
                    [6, 0, 16, 1, 0, 0, 1, 0, 0, 0],
                    [4, 0, 16, 0, 0, 0, 0, 0, 0, 0],
                    [20, 0, 5, 10, 0, 0, 0, 0, 0, 0],
                    [20, 0, 5, 10, 1, 0, 1, 0, 0, 1],
                    [8, 0, 6, 6, 1, 12, 1, 0, 0, 3],
                ]);
                let tiering = draws.one(&[Tiering::L1L2L3, Tiering::L1L3, Tiering::L1L2]);
                settings.tierings = [tiering; 3];
                settings.faults = 0;
                // The word of a change comes late: nobody leans on it.
                (settings.slowness, settings.prompt) = (draws.one(&[10, 80, 200]), 0);
                mix.is_slow = false;
                keys = 1;
                settings.pace = Pace { switches: draws.one(&[250, 500, 800]), advances: 0 };
                settings.load_time = draws.one(&[0, 5, 40]);
                still = mix.clone();
            }
            Theme::Mover => {
                mix.shares = [14, 0, 8, 4, 0, 2, 6, 14, 0, 1];
                mix.is_slow = false;
                mix.tierings = draws.one(&[
                    [Tiering::L1, Tiering::L1L2],
                    [Tiering::L1L3, Tiering::L1L2L3],
                    [Tiering::L1L2, Tiering::L1L2L3],
                ]);
                settings.tierings = SLOTS.map(|_| mix.tierings[1]);
                settings.tierings[0] = mix.tierings[0];
                keys = 1;
                still = mix.clone();
                still.shares[7] = 0;
            }
        }
        let cut = draws.below(HOSTS);
        let least = if theme == Theme::Any { 2 } else { 3.min(callers as u64) };
        let count = draws.within(least, callers as u64) as usize;
        let callers = (0..count).map(|number| {
            // Each process has one, where there are enough.
            let slot = if number < SLOTS.len() { number } else { draws.below(SLOTS.len()) };
            // What a few calls did to each other is not to be undone by the next.
            let most = if mix.shares[2] == 16 { 3.min(steps) } else { steps };
            let count = draws.within(2, most as u64);
            let verbs = {
                let is_first = match theme {
                    Theme::Cut | Theme::Lone => host_of(slot) == cut,
                    _ => slot == 0,
                };
                let mix = if is_first { &mix } else { &still };
                if matches!(theme, Theme::Cut | Theme::Lone) {
                    let pauses = if is_first { [700, 1600, 2400] } else { [1, 200, 700] };
                    let count = draws.within(2, 4);
                    let verbs = |draws: &mut Draws| {
                        [mix.verb(draws, keys), Verb::Sleep(draws.one(&pauses))]
                    };
                    (0..count).flat_map(|_| verbs(draws)).collect()
                } else if theme == Theme::Mover && slot == 0 {
                    (0..2).flat_map(|_| mix.there_and_back(draws)).collect()
                } else {
                    (0..count).map(|_| mix.verb(draws, keys)).collect()
                }
            };
            Caller { slot, verbs }
        });
        let callers: Vec<Caller> = callers.collect();
        let count = if settings.faults > 0 { draws.within(0, 6) } else { 0 };
        let mut mischief: Vec<Verb> =
            (0..count).flat_map(|_| [pause(draws), mischief(draws, keys)]).collect();
        if theme == Theme::Lone {
            mischief.clear();
        }
        if theme == Theme::Cut {
            let before = Verb::Sleep(draws.one(&[1, 30, 200]));
            mischief =
                vec![before, Verb::CutLink { host: cut, millis: 8000, refuses: draws.chance(500) }];
        }
        let mut script = Self { settings, callers, mischief, keys };
        vary::vary(&mut script, seed);
        let Self { mut settings, callers, mischief, keys } = script;
        // What a process that ends is at ends without L3.
        let mut verbs = callers.iter().flat_map(|caller| &caller.verbs);
        let is_restarted = verbs.any(|verb| matches!(verb, Verb::Restart { .. }));
        // A thread that stands still may miss a deadline.
        let is_steady = settings.pace.advances == 0;
        let evicts = callers.iter().flat_map(|caller| &caller.verbs);
        let evicts = evicts.into_iter().any(|verb| matches!(verb, Verb::EvictShared(_)));
        settings.is_calm =
            settings.faults == 0 && mischief.is_empty() && !is_restarted && is_steady && !evicts;
        Self { settings, callers, mischief, keys }
    }
}

impl Settings {
    fn new(draws: &mut Draws) -> Self {
        const USUAL: [Tiering; 6] = [
            Tiering::L1L2L3,
            Tiering::L1L2L3,
            Tiering::L1L2L3,
            Tiering::L1L2,
            Tiering::L1L3,
            Tiering::L2L3,
        ];
        let same = draws.one(&USUAL);
        let is_mixed = draws.chance(250);
        let tierings = SLOTS.map(|_| if is_mixed { draws.one(&Tiering::ALL) } else { same });
        Self {
            tierings,
            memory_entries: draws.one(&[1, 2, 64, 64]),
            faults: draws.one(&[0, 0, 20, 60, 150]),
            is_calm: false,
            slowness: draws.one(&[0, 2, 10, 80, 200]),
            prompt: draws.one(&[0, 700, 1000]),
            turns: draws.chance(500),
            load_failures: draws.one(&[0, 0, 200]),
            load_time: draws.one(&[0, 5, 40, 1200, 1200]),
            pace: Pace {
                switches: draws.one(&[30, 100, 250, 500, 800]),
                advances: draws.one(&[0, 5, 30, 100]),
            },
            absences: 0,
            renewals: 0,
            stale: None,
            behind: None,
            has_tags: false,
            has_prefixes: false,
            recovers: draws.chance(200),
        }
    }
}

/// What a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Any,
    /// A host is cut off for so long that its copies are suspended.
    Cut,
    /// A process retiers to and fro while the others stay.
    Mover,
    /// What a host has, and L3 did not take, is changed by another.
    Lone,
    /// All at once, on one key.
    Rush,
    /// Loads that take longer than their leases.
    Slow,
}

impl Theme {
    /// As often as they come.
    const ALL: [Self; 12] = [
        Self::Cut,
        Self::Mover,
        Self::Rush,
        Self::Rush,
        Self::Slow,
        Self::Rush,
        Self::Lone,
        Self::Rush,
        Self::Any,
        Self::Any,
        Self::Any,
        Self::Any,
    ];
}

/// How often each verb comes in a history. It differs from history to history: one in which all
/// come is seldom the one that shows what two of them do to each other.
#[derive(Clone)]
struct Mix {
    /// Of get, get_many, set, delete, clear, load, pause, retier, restart, expire.
    shares: [usize; 10],
    /// What processes retier to.
    tierings: [Tiering; 2],
    /// Pauses may be long; else callers hardly leave each other time.
    is_slow: bool,
}

impl Mix {
    fn new(draws: &mut Draws) -> Self {
        let usual = [18, 4, 14, 10, 2, 16, 8, 0, 0, 4];
        let mut shares = usual.map(|share| share * draws.one(&[0, 0, 1, 1, 4]));
        // Something is to be read, after some time.
        shares[0] = shares[0].max(6);
        shares[6] = shares[6].max(3);
        if draws.chance(250) {
            shares[7] = draws.one(&[4, 4, 30]);
            shares[8] = draws.one(&[0, 1, 4]);
        }
        let tierings = match draws.below(5) {
            0 => [Tiering::L1, Tiering::L1L2],
            1 => [Tiering::L1L3, Tiering::L1L2L3],
            2 => [Tiering::L1L2, Tiering::L1L2L3],
            _ => [draws.one(&Tiering::ALL), draws.one(&Tiering::ALL)],
        };
        Self { shares, tierings, is_slow: draws.chance(600) }
    }

    /// A process that knows something, retiers, lets others go on, retiers back and looks.
    fn there_and_back(&self, draws: &mut Draws) -> Vec<Verb> {
        let [before, after] = self.tierings;
        let first = draws.one(&[Verb::Set(0, None), Verb::Load(0, None), Verb::Get(0)].each_ref());
        let all = [
            first.clone(),
            Verb::Retier(after),
            Verb::Sleep(draws.one(&[1, 1, 3, 30])),
            self.verb(draws, 1),
            Verb::Retier(before),
            Verb::Get(0),
        ];
        all.into_iter().filter(|_| draws.chance(850)).collect()
    }

    fn verb(&self, draws: &mut Draws, keys: usize) -> Verb {
        let key = draws.below(keys);
        let ttl = draws.chance(250).then(|| draws.one(&[1, 20, 300, 2500]));
        let mut left = draws.below(self.shares.iter().sum());
        let which = self.shares.iter().position(|share| match left.checked_sub(*share) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        match which {
            Some(1) => Verb::GetMany((0..keys).chain([key]).collect()),
            Some(2) => Verb::Set(key, ttl),
            Some(3) => Verb::Delete(key),
            Some(4) => Verb::Clear,
            Some(5) => Verb::Load(key, ttl),
            Some(6) if self.is_slow => pause(draws),
            Some(6) => Verb::Sleep(draws.one(&[1, 1, 3])),
            Some(7) => Verb::Retier(draws.one(&self.tierings)),
            Some(9) => Verb::Expire(key),
            Some(8) => Verb::Restart { closes: draws.chance(500) },
            _ => Verb::Get(key),
        }
    }
}

fn pause(draws: &mut Draws) -> Verb {
    Verb::Sleep(draws.one(&[1, 3, 30, 200, 700, 1600, 2400]))
}

fn mischief(draws: &mut Draws, keys: usize) -> Verb {
    match draws.below(10) {
        0..3 => Verb::CutLink {
            host: draws.below(HOSTS),
            millis: draws.one(&[20, 200, 900, 2500, 5000]),
            refuses: draws.chance(500),
        },
        3..7 => Verb::CutStream { number: draws.below(SLOTS.len()), is_silent: draws.chance(400) },
        7 => Verb::Evict(draws.below(keys)),
        8 => Verb::EvictCounter { key: draws.below(keys), is_epoch: draws.chance(500) },
        _ => Verb::Flush,
    }
}
