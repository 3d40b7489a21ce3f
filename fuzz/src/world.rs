//! A cache, what it should hold, and operations on both.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tierce::{
    Clock, Computed, Inserted, ManualClock, MemoryCache, MemoryOptions, MemoryStatistics,
    PolicyKind, RemovalCause, Ttl,
};

use crate::{
    guest::Guest,
    model::{Entry, Life, Model, NEVER, count, departed},
    source::Source,
    things::{Hashing, Registry, Thing},
};

/// How deep operations run inside the closures of others.
const DEEPEST: u32 = 2;

/// The bits of a value's number that say what it weighs.
const WEIGHT_BITS: u32 = 16;

/// What the listener was told: key, value and cause.
type Told = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

type Cache<T> = MemoryCache<T, T, Hashing>;

/// One run.
pub(crate) struct World<T: Thing> {
    // First, for it ends before the cache does.
    guest: Option<Guest>,
    cache: Arc<Cache<T>>,
    hand: ManualClock,
    registry: Arc<Registry>,
    /// A key of each number.
    probes: Arc<Vec<T>>,
    told: Option<Told>,
    model: Model,
    /// The key that each value was made for.
    owners: Vec<u64>,
    entries: Option<u64>,
    bytes: Option<u64>,
    shards: u64,
    largest_share: u64,
    ttl: Option<Duration>,
    jitter: f64,
    weighs: bool,
    /// How many closures of reads this thread is in.
    depth: u32,
    steps: u64,
}

/// What an operation may have done to entries.
#[derive(Default)]
struct May<'a> {
    evict: bool,
    replace: Option<u64>,
    remove: Option<&'a dyn Fn(u64, u64) -> bool>,
}

fn weight_of(value: u64) -> usize {
    match value & ((1 << WEIGHT_BITS) - 1) {
        0xFFFF => usize::MAX,
        0xFFFE => usize::MAX - 1,
        0xFFFD => 1 << 33,
        0xFFFC => u32::MAX as usize,
        weight => weight as usize,
    }
}

impl<T: Thing> World<T> {
    const OVERHEAD: u64 = Cache::<T>::ENTRY_OVERHEAD as u64;

    /// A cache with options that the source decides.
    pub(crate) fn new(source: &mut Source<'_>) -> Self {
        let keys = source.one_of(&[8, 8, 40, 40, 40, 150, 150, 900]);
        let shards = source.one_of(&[1, 1, 2, 4, 8]);
        let largest_share = shards * source.one_of(&[1, 2, 16]);
        let (entries, bytes) = Self::bounds(source, keys);
        let entries = entries.map(|entries| entries.max(shards));
        let hashing = source.one_of(&[
            Hashing::Fair,
            Hashing::Fair,
            Hashing::Number,
            Hashing::Few(1),
            Hashing::Few(3),
            Hashing::Few(40),
        ]);
        let policy = source.one_of(&[PolicyKind::Adaptive, PolicyKind::Adaptive, PolicyKind::Lru]);
        let mut options = MemoryOptions::new()
            .shards(shards as usize)
            .largest_share(largest_share)
            .policy(policy);
        if let Some(entries) = entries {
            options = options.max_entries(entries);
        }
        if let Some(bytes) = bytes {
            options = options.max_bytes(bytes);
        }
        let ttl = source.once_in(3).then(|| Duration::from_millis(1 + source.below(100)));
        if let Some(ttl) = ttl {
            options = options.ttl(ttl);
        }
        let jitter = if source.once_in(5) { source.one_of(&[0.01, 0.5, 1.0]) } else { 0.0 };
        options = options.ttl_jitter(jitter);
        let idle = source.once_in(4).then(|| 1 + source.below(60));
        if let Some(idle) = idle {
            options = options.time_to_idle(Duration::from_millis(idle));
        }

        let registry = Arc::new(Registry::default());
        let probes: Vec<T> = (0..keys).map(|key| T::new(key, &registry)).collect();
        let probes = Arc::new(probes);
        let (clock, hand) = Clock::manual();
        let now = clock.coarse().0;
        let mut builder = MemoryCache::builder(options).hasher(hashing).clock(clock);
        let weighs = source.once_in(2);
        if weighs {
            builder = builder.weigher(|_: &T, value: &T| weight_of(value.number()));
        }
        let told = source.once_in(2).then(Told::default);
        let itself: Arc<OnceLock<Weak<Cache<T>>>> = Arc::default();
        if let Some(told) = &told {
            let (told, itself) = (Arc::clone(told), Arc::clone(&itself));
            let calls = source.once_in(2);
            builder = builder.listener(move |key, value, cause| {
                let (key_number, value) = (key.number(), value.number());
                let told = || told.lock().unwrap_or_else(PoisonError::into_inner);
                told().push((key_number, value, cause));
                if calls && let Some(cache) = itself.get().and_then(Weak::upgrade) {
                    cache.contains(key);
                }
            });
        }
        let cache = Arc::new(builder.build().expect("the options keep their rules"));
        // The first to set it.
        let _ = itself.set(Arc::downgrade(&cache));
        let guest = source.once_in(2).then(|| Guest::new(Arc::clone(&cache), Arc::clone(&probes)));
        Self {
            guest,
            cache,
            hand,
            registry,
            probes,
            told,
            model: Model { now, idle, ..Model::default() },
            owners: Vec::new(),
            entries,
            bytes,
            shards,
            largest_share,
            ttl,
            jitter,
            weighs,
            depth: 0,
            steps: 0,
        }
    }

    fn bounds(source: &mut Source<'_>, keys: u64) -> (Option<u64>, Option<u64>) {
        let entries = |source: &mut Source<'_>| match source.below(10) {
            0 => 0,
            1 => u64::MAX,
            _ => 1 + source.below(keys + keys / 2),
        };
        let bytes = |source: &mut Source<'_>| match source.below(10) {
            0 => source.below(200),
            1 => u64::MAX,
            _ => (1 + source.below(keys)) * (Self::OVERHEAD + source.one_of(&[0, 10, 100])),
        };
        match source.below(3) {
            0 => (Some(entries(source)), None),
            1 => (None, Some(bytes(source))),
            _ => (Some(entries(source)), Some(bytes(source))),
        }
    }

    /// Operations until the source is used up, then the end of the cache. Returns how many.
    pub(crate) fn run(mut self, source: &mut Source<'_>) -> u64 {
        while source.goes_on() {
            self.step(source);
        }
        if let Some(guest) = &mut self.guest {
            guest.release();
        }
        self.reclaim();
        self.guest = None;
        let Self { cache, registry, probes, steps, .. } = self;
        drop(cache);
        registry.validate();
        assert_eq!(registry.living(), T::counts() * probes.len() as i64, "leaked");
        steps
    }

    fn key(&self, source: &mut Source<'_>) -> u64 {
        source.below(self.probes.len() as u64)
    }

    fn new_key(&self, key: u64) -> T {
        T::new(key, &self.registry)
    }

    fn value(&mut self, key: u64, source: &mut Source<'_>) -> u64 {
        let weight = match source.below(16) {
            0 => source.one_of(&[0xFFFF, 0xFFFE, 0xFFFD, 0xFFFC, 60_000]),
            1..5 => source.below(1_000),
            _ => source.below(64),
        };
        let value = (self.owners.len() as u64) << WEIGHT_BITS | weight;
        self.owners.push(key);
        value
    }

    fn is_pinned(&self) -> bool {
        self.depth > 0 || self.guest.as_ref().is_some_and(Guest::holds)
    }

    /// One operation, and all checks.
    fn step(&mut self, source: &mut Source<'_>) {
        self.steps += 1;
        match source.below(64) {
            0..18 => self.put(source),
            18..26 => self.get(source),
            26..29 => self.get_with(source),
            29..32 => self.get_many(source),
            32..34 => self.look(source),
            34..43 => self.remove(source),
            43..47 => self.compute(source),
            47..53 => self.advance(source),
            53 | 54 => self.expire(source),
            55 => self.reclaim(),
            56 | 57 => self.set_capacity(source),
            58 | 59 => self.retain(source),
            60 => self.iterate(source),
            61 => self.clear(source),
            _ => self.guest(source),
        }
        self.check();
    }

    /// Everything that must hold between two operations.
    fn check(&self) {
        self.cache.validate();
        self.registry.validate();
        let statistics = self.cache.statistics();
        let len = self.cache.len() as u64;
        assert_eq!(
            departed(&statistics) + len,
            self.model.stored,
            "left and there: {statistics:?}"
        );
        assert_eq!(statistics.refused, self.model.refused, "refused");
        assert_eq!(statistics.drop_panics, 0, "panics in `Drop` or the listener");
        assert!(len <= self.entries.unwrap_or(u64::MAX), "{len} entries, above the bound");
        let weight = self.cache.weight();
        assert!(weight <= self.bytes.unwrap_or(u64::MAX), "{weight} bytes, above the bound");
        if self.told.is_some() || self.model.is_sure() {
            assert_eq!(len, self.model.entries.len() as u64, "entries");
            assert_eq!(weight, self.model.weight(), "weight");
        }
        let least = T::counts() * (self.probes.len() as i64 + 2 * len as i64);
        assert!(self.registry.living() >= least, "something was dropped that is still there");
    }

    /// Takes out of the model what left the cache since `before`.
    fn settle(&mut self, before: &MemoryStatistics, may: &May<'_>, gone: &[u64]) {
        let after = self.cache.statistics();
        let left = |cause| count(&after, cause) - count(before, cause);
        let evicted = left(RemovalCause::Size) + left(RemovalCause::Bytes);
        assert!(may.evict || evicted == 0, "{evicted} evicted by a call that needs no room");
        assert!(left(RemovalCause::Replaced) <= u64::from(may.replace.is_some()), "replaced");
        let Some(told) = &self.told else {
            let expected = |key: &&u64| self.model.live(**key).is_some();
            let certain = gone.iter().filter(expected).count() as u64;
            let unsure = gone
                .iter()
                .filter(|key| self.model.get(**key).is_some_and(|(_, life)| life == Life::Either));
            let most = certain + unsure.count() as u64;
            let removed = left(RemovalCause::Removed) + left(RemovalCause::Replaced);
            assert!(certain <= removed && removed <= most, "{removed} removed, not {certain}");
            for key in gone {
                self.model.entries.remove(key);
            }
            if evicted + left(RemovalCause::Expired) > 0 {
                self.audit(evicted);
            }
            return;
        };
        let told = mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        let mut by_cause = [0; 5];
        for (key, value, cause) in told {
            let (entry, life) = self.model.get(key).expect("the listener was told of no entry");
            assert_eq!(value, entry.value, "the listener was told of another value of key {key}");
            match cause {
                RemovalCause::Size => by_cause[0] += 1,
                RemovalCause::Bytes => by_cause[1] += 1,
                RemovalCause::Expired => {
                    assert_ne!(life, Life::Live, "key {key} expired before its time");
                    by_cause[2] += 1;
                }
                RemovalCause::Replaced => {
                    assert_eq!(may.replace, Some(key), "key {key} was replaced");
                    by_cause[3] += 1;
                }
                _ => {
                    let may = may.remove.is_some_and(|may| may(key, value));
                    assert!(may, "key {key} was removed");
                    by_cause[4] += 1;
                }
            }
            self.model.entries.remove(&key);
        }
        let causes = [
            RemovalCause::Size,
            RemovalCause::Bytes,
            RemovalCause::Expired,
            RemovalCause::Replaced,
            RemovalCause::Removed,
        ];
        assert_eq!(by_cause, causes.map(left), "causes that the listener heard, and their counts");
        for key in gone {
            assert!(!self.model.entries.contains_key(key), "nobody was told that key {key} left");
        }
    }

    /// Finds out who was evicted where there is no listener: at most so many may be missing.
    fn audit(&mut self, evicted: u64) {
        let missing: Vec<u64> = self
            .model
            .all_live()
            .map(|(key, _)| key)
            .filter(|key| !self.cache.contains(&self.probes[*key as usize]))
            .collect();
        assert!(missing.len() as u64 <= evicted, "{missing:?} are missing; {evicted} were evicted");
        for key in missing {
            self.model.entries.remove(&key);
        }
    }

    /// A time to live, and the deadlines that it may lead to; `None` for one that is over.
    fn ttl(&self, source: &mut Source<'_>) -> (Ttl, Option<(u64, u64)>) {
        let ttl = match source.below(16) {
            0..5 => Ttl::Default,
            5..7 => Ttl::Never,
            7..13 => Ttl::For(Duration::from_micros(source.below(50_000))),
            13 => Ttl::For(source.one_of(&[
                Duration::ZERO,
                Duration::from_nanos(1),
                Duration::from_nanos(u64::MAX),
                Duration::MAX,
            ])),
            14 => Ttl::Until(Instant::now()),
            _ => Ttl::Until(Instant::now() + Duration::from_secs(3_600)),
        };
        let span = match ttl {
            Ttl::Default => self.ttl,
            Ttl::For(span) => Some(span),
            Ttl::Until(_) if source.below(1) == 0 => {
                let late = matches!(ttl, Ttl::Until(instant) if instant > Instant::now());
                Some(Duration::from_secs(if late { 3_600 } else { 0 }))
            }
            _ => None,
        };
        let Some(span) = span else { return (ttl, Some((NEVER, NEVER))) };
        if span.is_zero() {
            return (ttl, None);
        }
        let now = self.model.now;
        let millis = span.as_nanos().div_ceil(1_000_000);
        let latest = u64::try_from(millis).ok().and_then(|millis| now.checked_add(millis));
        let Some(latest) = latest else { return (ttl, Some((NEVER, NEVER))) };
        let parts = u128::from((self.jitter * 65_536.0) as u32);
        let less = ((u128::from(latest - now) * parts) >> 16) as u64;
        // The instant was named some moments before the cache looks at it.
        let slack = if matches!(ttl, Ttl::Until(_)) { 60_000 } else { 0 };
        (ttl, Some(((latest - less).saturating_sub(slack).min(NEVER), latest.min(NEVER))))
    }

    /// What must become of an entry; `None` if it may be stored or refused.
    fn outcome(&self, value: u64, deadlines: Option<(u64, u64)>) -> (u64, Option<Inserted>) {
        let own = if self.weighs { weight_of(value) } else { 0 };
        let weight = (own as u64).saturating_add(Self::OVERHEAD);
        let largest = self.bytes.map_or(u64::MAX, |bytes| bytes / self.largest_share);
        let outcome = if deadlines.is_none() {
            Some(Inserted::Expired)
        } else if own == usize::MAX || weight > largest || self.entries == Some(0) {
            Some(Inserted::Refused)
        } else if self.entries.is_some_and(|entries| entries < self.shards) || self.is_pinned() {
            // A shard's part may be nothing, and readers may hold up too much.
            None
        } else {
            Some(Inserted::Stored)
        };
        (weight, outcome)
    }

    /// Follows a call that may have stored a value.
    fn after_put(
        &mut self,
        before: &MemoryStatistics,
        key: u64,
        value: u64,
        deadlines: Option<(u64, u64)>,
        inserted: Inserted,
    ) {
        let (weight, outcome) = self.outcome(value, deadlines);
        if inserted == Inserted::Declined {
            self.settle(before, &May::default(), &[]);
            return;
        }
        assert!(outcome.is_none_or(|outcome| outcome == inserted), "{inserted:?}, not {outcome:?}");
        let removes = |other: u64, _: u64| inserted != Inserted::Stored && other == key;
        let may = May { evict: true, replace: Some(key), remove: Some(&removes) };
        let gone = if self.model.get(key).is_some() { vec![key] } else { vec![] };
        self.settle(before, &may, &gone);
        match (inserted, deadlines) {
            (Inserted::Stored, Some((earliest, latest))) => {
                let used_at = self.model.now;
                let entry = Entry { value, weight, earliest, latest, used_at };
                self.model.entries.insert(key, entry);
                self.model.stored += 1;
                let found = self.cache.peek(&self.probes[key as usize]);
                self.model.judge(key, found.map(|found| found.number()), "peek after a put");
                // It may have expired and been freed by that.
                self.settle(&self.cache.statistics(), &May::default(), &[]);
            }
            (Inserted::Refused, _) => self.model.refused += 1,
            _ => {}
        }
    }

    fn put(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let value = self.value(key, source);
        let (ttl, deadlines) = self.ttl(source);
        let before = self.cache.statistics();
        let (new_key, new_value) = (self.new_key(key), T::new(value, &self.registry));
        let inserted = match source.below(4) {
            0 => {
                let answer = !source.once_in(4);
                let mut asked = 0;
                let inserted = self.cache.insert_if(new_key, new_value, ttl, |now| {
                    asked += 1;
                    self.model.judge(key, now.map(T::number), "insert_if");
                    answer
                });
                assert_eq!(asked, 1, "how often `decide` was asked");
                assert_eq!(inserted == Inserted::Declined, !answer);
                inserted
            }
            _ => self.cache.insert_with_ttl(new_key, new_value, ttl),
        };
        self.after_put(&before, key, value, deadlines, inserted);
    }

    fn compute(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let before = self.cache.statistics();
        let choice = source.below(4);
        let value = self.value(key, source);
        let (ttl, deadlines) = self.ttl(source);
        let mut found = None;
        let inserted = self.cache.compute(self.new_key(key), |now| {
            found = now.map(T::number);
            self.model.judge(key, found, "compute");
            match choice {
                0 => Computed::Remove,
                1 => Computed::Keep,
                _ => Computed::Store(T::new(value, &self.registry), ttl),
            }
        });
        assert_eq!(inserted.is_some(), choice > 1, "compute stored");
        match inserted {
            Some(inserted) => self.after_put(&before, key, value, deadlines, inserted),
            None => {
                let removes = |other: u64, _: u64| choice == 0 && other == key;
                let gone = if choice == 0 && found.is_some() { vec![key] } else { vec![] };
                let may = May { remove: Some(&removes), ..May::default() };
                self.settle(&before, &may, &gone);
            }
        }
    }

    /// Follows a look-up that may have freed an expired entry.
    fn found(&mut self, before: &MemoryStatistics, key: u64, found: Option<u64>, what: &str) {
        self.model.judge(key, found, what);
        if found.is_some() {
            self.model.used(key);
        }
        self.settle(before, &May::default(), &[]);
    }

    fn get(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let before = self.cache.statistics();
        let found = self.cache.get(&self.probes[key as usize]);
        self.found(&before, key, found.map(|found| found.number()), "get");
    }

    /// A read with other operations inside, which must not change what it sees.
    fn get_with(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let before = self.cache.statistics();
        let (cache, probes) = (Arc::clone(&self.cache), Arc::clone(&self.probes));
        let found = cache.get_with(&probes[key as usize], |value| {
            let number = value.number();
            self.model.judge(key, Some(number), "get_with");
            self.model.used(key);
            if self.depth < DEEPEST {
                self.depth += 1;
                for _ in 0..source.below(8) {
                    self.step(source);
                }
                self.depth -= 1;
            }
            assert_eq!(value.number(), number, "a value changed under its reader");
        });
        if found.is_none() {
            self.found(&before, key, None, "get_with");
        }
    }

    fn get_many(&mut self, source: &mut Source<'_>) {
        let keys: Vec<u64> = (0..source.below(40)).map(|_| self.key(source)).collect();
        let before = self.cache.statistics();
        let probes: Vec<&T> = keys.iter().map(|key| &self.probes[*key as usize]).collect();
        let found = self.cache.get_many(&probes);
        for (key, found) in keys.iter().zip(found) {
            self.model.judge(*key, found.as_ref().map(T::number), "get_many");
            if found.is_some() {
                self.model.used(*key);
            }
        }
        self.settle(&before, &May::default(), &[]);
    }

    /// Look-ups that are no reads.
    fn look(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let before = self.cache.statistics();
        let probe = &self.probes[key as usize];
        if source.once_in(2) {
            let found = self.cache.peek(probe).map(|found| found.number());
            self.model.judge(key, found, "peek");
        } else {
            match (self.cache.contains(probe), self.model.get(key)) {
                (false, Some((_, Life::Live))) => panic!("contains of key {key}: missed"),
                (true, None | Some((_, Life::Dead))) => panic!("contains of key {key}: nothing"),
                _ => {}
            }
        }
        self.settle(&before, &May::default(), &[]);
    }

    fn remove(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let before = self.cache.statistics();
        let probe = &self.probes[key as usize];
        let answer = source.once_in(2);
        let mut runs = 0;
        let (removed, found) = match source.below(4) {
            0 => {
                let found = self.cache.remove(probe).map(|found| found.number());
                (found.is_some(), found)
            }
            1 => {
                let mut seen = None;
                let removed = self.cache.remove_if(probe, |value| {
                    seen = Some(value.number());
                    answer
                });
                let removed = removed.map(|removed| removed.number());
                assert_eq!(removed, seen.filter(|_| answer), "remove_if");
                (removed.is_some(), seen)
            }
            choice => {
                let removed = if choice == 2 {
                    self.cache.invalidate(probe)
                } else {
                    self.cache.remove_after(probe, || runs += 1)
                };
                // What was removed is not told: it must have been this.
                (removed, self.model.get(key).map(|(entry, _)| entry.value).filter(|_| removed))
            }
        };
        assert!(runs <= 1);
        self.model.judge(key, found, "remove");
        let removes = |other: u64, _: u64| removed && other == key;
        let gone = if removed { vec![key] } else { vec![] };
        self.settle(&before, &May { remove: Some(&removes), ..May::default() }, &gone);
    }

    fn advance(&mut self, source: &mut Source<'_>) {
        let span = match source.below(8) {
            0 => source.below(5_000),
            1 => 1,
            _ => source.below(20),
        };
        self.model.now += span;
        self.hand.advance(Duration::from_millis(span));
    }

    fn expire(&mut self, source: &mut Source<'_>) {
        let most = if source.once_in(2) { usize::MAX } else { source.below(5) as usize };
        let before = self.cache.statistics();
        let freed = self.cache.expire(most);
        let counted = self.cache.statistics().expired - before.expired;
        // A listener that looks up may free some as well.
        assert!(counted >= freed as u64 && freed <= most, "{freed} freed, {counted} counted");
        assert!(self.told.is_some() || counted == freed as u64);
        self.settle(&before, &May::default(), &[]);
        if freed < most {
            let dead = |entry: &Entry| self.model.life_of(entry) == Life::Dead;
            if self.told.is_none() {
                let now_dead = self.model.entries.iter().filter(|(_, entry)| dead(entry));
                let keys: Vec<u64> = now_dead.map(|(key, _)| *key).collect();
                keys.iter().for_each(|key| _ = self.model.entries.remove(key));
            } else {
                assert!(!self.model.entries.values().any(dead), "expired and not freed");
            }
        }
    }

    fn reclaim(&mut self) {
        let left = self.cache.reclaim();
        if !self.is_pinned() {
            assert_eq!(left, 0, "nobody reads, and something was not freed");
            let things = T::counts() * (self.probes.len() + 2 * self.cache.len()) as i64;
            assert_eq!(self.registry.living(), things, "keys and values that live");
        }
    }

    fn set_capacity(&mut self, source: &mut Source<'_>) {
        let (entries, bytes) = Self::bounds(source, self.probes.len() as u64);
        let before = self.cache.statistics();
        assert!(self.cache.set_capacity(None, None).is_err());
        self.cache.set_capacity(entries, bytes).expect("there is a bound");
        (self.entries, self.bytes) = (entries, bytes);
        assert_eq!((self.cache.max_entries(), self.cache.max_bytes()), (entries, bytes));
        self.settle(&before, &May { evict: true, ..May::default() }, &[]);
    }

    fn clear(&mut self, source: &mut Source<'_>) {
        // Seldom, so that caches fill.
        if !source.once_in(4) {
            return;
        }
        let before = self.cache.statistics();
        let len = self.cache.len() as u64;
        self.cache.clear();
        let removed = self.cache.statistics().removed - before.removed;
        if self.told.is_some() {
            self.settle(&before, &May { remove: Some(&|_, _| true), ..May::default() }, &[]);
        } else {
            assert_eq!(removed, len, "removed by clear");
            self.model.entries.clear();
        }
        assert!(self.cache.is_empty() && self.model.entries.is_empty(), "not cleared");
    }

    /// Sifts, now and then with other operations inside.
    fn retain(&mut self, source: &mut Source<'_>) {
        let divisor = source.one_of(&[2, 3, 8, u64::MAX]);
        let unwanted = |value: u64| (value >> WEIGHT_BITS).is_multiple_of(divisor);
        let inside = self.depth < DEEPEST && source.once_in(2);
        let at_first: BTreeMap<u64, Entry> = self.model.all_live().collect();
        let mut judged: BTreeMap<u64, u64> = BTreeMap::new();
        let mut before = self.cache.statistics();
        let cache = Arc::clone(&self.cache);
        self.depth += 1;
        cache.retain(|key, value| {
            let (key, value) = (key.number(), value.number());
            let unwanted = unwanted(value);
            // What was judged earlier is gone by now, or else has yet to go.
            let may = |key: u64, value: u64| judged.get(&key) == Some(&value);
            self.settle_walk(&before, &may);
            if !inside {
                self.model.judge(key, Some(value), "retain");
            }
            assert_eq!(self.owners[(value >> WEIGHT_BITS) as usize], key, "another key's value");
            if unwanted {
                judged.insert(key, value);
            }
            if inside && source.once_in(8) {
                self.step(source);
            }
            before = self.cache.statistics();
            !unwanted
        });
        self.depth -= 1;
        let may = |key: u64, value: u64| judged.get(&key) == Some(&value);
        self.settle_walk(&before, &may);
        for (key, entry) in at_first {
            let is_here = self.model.live(key) == Some(entry.value);
            assert!(!(is_here && unwanted(entry.value)), "key {key} was not sifted out");
        }
    }

    /// As [`settle`](Self::settle), of what a walk takes out bit by bit.
    fn settle_walk(&mut self, before: &MemoryStatistics, may: &dyn Fn(u64, u64) -> bool) {
        if self.told.is_some() {
            self.settle(before, &May { remove: Some(may), ..May::default() }, &[]);
            return;
        }
        let removed = self.cache.statistics().removed - before.removed;
        if removed == 0 {
            return;
        }
        let missing: Vec<(u64, Entry)> = self
            .model
            .all_live()
            .filter(|(key, _)| !self.cache.contains(&self.probes[*key as usize]))
            .collect();
        for (key, entry) in missing {
            assert!(may(key, entry.value), "key {key} was sifted out and not judged");
            self.model.entries.remove(&key);
        }
    }

    /// Walks, now and then with other operations between two entries.
    fn iterate(&mut self, source: &mut Source<'_>) {
        let inside = self.depth < DEEPEST && source.once_in(2);
        let at_first = self.model.entries.clone();
        let live_at_first: Vec<(u64, Entry)> = self.model.all_live().collect();
        let first_new = self.owners.len() as u64;
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        let cache = Arc::clone(&self.cache);
        for (key, value) in cache.iter() {
            let (key, value) = (key.number(), value.number());
            let id = value >> WEIGHT_BITS;
            assert_eq!(self.owners[id as usize], key, "another key's value");
            assert!(seen.insert(value, key).is_none(), "key {key} was seen twice");
            if !inside {
                self.model.judge(key, Some(value), "iter");
            }
            let was_here = at_first.get(&key).is_some_and(|entry| entry.value == value);
            assert!(was_here || id >= first_new, "from nowhere");
            if inside && source.once_in(4) {
                self.depth += 1;
                // Not within a read: entries may move.
                let depth = mem::replace(&mut self.depth, DEEPEST);
                self.step(source);
                self.depth = depth - 1;
            }
        }
        for (key, entry) in live_at_first {
            let stayed = self.model.live(key) == Some(entry.value);
            assert!(!stayed || seen.contains_key(&entry.value), "key {key} was not seen");
        }
    }

    /// Has the other thread stay in a read, or leave it.
    fn guest(&mut self, source: &mut Source<'_>) {
        let key = self.key(source);
        let Some(guest) = &mut self.guest else { return };
        if guest.holds() {
            guest.release();
        } else if source.once_in(4) {
            let before = self.cache.statistics();
            let found = guest.hold(key);
            self.found(&before, key, found, "get of another thread");
        }
    }
}
