//! Address space that runs out while the pieces grow that are mapped: tables, places and what the
//! policy keeps of a large cache. In a process of its own, as the limit is that of the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

use std::{fs, time::Duration};

use tierce::{Inserted, MemoryCache, MemoryOptions, PolicyKind, Ttl};

/// So many that the table comes to be mapped, which is done from 128 KiB on.
const KEYS: u64 = 25_000;

/// So large that all together need several blocks of mapped memory, which are of 4 MiB.
type Value = [u64; 32];

/// By so much more each time: half of a large page, of which blocks are made.
const STEP: u64 = 1 << 20;

/// The bytes of addresses that this process has mapped.
fn mapped() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 4_096
}

/// Bounds the addresses of this process; `None` for no bound.
fn limit(bytes: Option<u64>) {
    let bytes = bytes.unwrap_or(libc::RLIM_INFINITY);
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: it reads one structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

/// A cache and what it must hold.
struct Case {
    cache: MemoryCache<u64, Value>,
    values: Vec<Option<u64>>,
    refused: u64,
}

impl Case {
    fn new(policy: PolicyKind) -> Self {
        let options = MemoryOptions::new().max_entries(4 * KEYS).shards(1).policy(policy);
        let cache = MemoryCache::new(options).unwrap();
        // What a thread needs to read any cache, it has from then on.
        cache.contains(&0);
        Self { cache, values: vec![None; KEYS as usize], refused: 0 }
    }

    fn insert(&mut self, key: u64, value: u64) {
        let ttl =
            if key.is_multiple_of(3) { Ttl::For(Duration::from_secs(3_600)) } else { Ttl::Never };
        let stored = self.cache.insert_with_ttl(key, [value; 32], ttl);
        assert!(matches!(stored, Inserted::Stored | Inserted::Refused));
        self.refused += u64::from(stored == Inserted::Refused);
        self.values[key as usize] = (stored == Inserted::Stored).then_some(value);
    }

    /// What was stored is there, but for what had to go as its bucket had no room.
    fn check(&self) {
        self.cache.validate();
        let mut missing = 0;
        for (key, value) in self.values.iter().enumerate() {
            let found = self.cache.get(&(key as u64)).map(|[first, .., last]| {
                assert_eq!(first, last);
                first
            });
            assert!(found.is_none() || found == *value, "key {key}: {found:?}, not {value:?}");
            missing += u64::from(found != *value);
        }
        let statistics = self.cache.statistics();
        assert_eq!((statistics.size, statistics.refused), (missing, self.refused));
    }

    /// Once there is memory again nothing is refused.
    fn recover(&mut self) {
        self.check();
        let refused = self.refused;
        (0..KEYS).for_each(|key| self.insert(key, key + 1));
        assert_eq!(self.refused, refused, "refused though memory is back");
        assert!(self.values.iter().all(Option::is_some));
        self.check();
    }
}

/// For ever more of it, the addresses end in the midst of growth.
fn addresses_end_at_every_step(policy: PolicyKind) {
    let mut rounds = 0;
    loop {
        let mut case = Case::new(policy);
        limit(Some(mapped() + rounds * STEP));
        (0..KEYS).for_each(|key| case.insert(key, key));
        limit(None);
        let refused = case.refused;
        case.recover();
        if refused == 0 {
            break;
        }
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds} rounds");
}

/// There are none to be had, but for a while now and then, while the cache grows.
fn addresses_are_short_for_a_while(policy: PolicyKind) {
    const TURN: u64 = 2_000;
    let mut case = Case::new(policy);
    for key in 0..KEYS {
        match key % TURN {
            0 => limit(Some(mapped())),
            1_900 => limit(None),
            _ => {}
        }
        if key % (10 * TURN) == 1_901 {
            case.check();
        }
        case.insert(key, key);
        if key.is_multiple_of(7) {
            let other = key / 2;
            assert_eq!(case.cache.invalidate(&other), case.values[other as usize].is_some());
            case.values[other as usize] = None;
        }
    }
    limit(None);
    assert!(case.refused > 0, "no piece was missing");
    case.recover();
    // Moving together needs a table.
    limit(Some(mapped()));
    case.cache.set_capacity(Some(KEYS / 2), None).unwrap();
    limit(None);
    case.cache.validate();
    assert_eq!(case.cache.len() as u64, KEYS / 2);
}

#[test]
fn addresses_may_run_out_while_tables_and_places_grow() {
    for policy in [PolicyKind::Adaptive, PolicyKind::Lru] {
        addresses_end_at_every_step(policy);
        addresses_are_short_for_a_while(policy);
    }
}
