//! What the eviction keeps, and that it keeps no less than the policy it follows.
//!
//! The store's hash has a fixed seed here, so that a run is the same each time.

use std::collections::{HashMap, VecDeque};

use fastrand::Rng;
use lru::LruCache;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::{Clock, Millis},
    store::{Medium, NewRecord, StoreOptions},
};

const SEED: u64 = 0x7469_6572_6365;
/// With its header and its key, a value makes a record of 512 bytes.
const VALUE: [u8; 440] = [7; 440];
const RECORD_BYTES: u64 = 512;

/// A store of some ninety segments and four shards.
fn store(max_entries: u64) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("store"))
        .max_bytes(2 << 20)
        .segment_bytes(16 << 10)
        .max_entries(max_entries)
        .medium(Medium::Mapped);
    let mut store = Store::open(&options, Clock::system()).unwrap();
    store.seed = SEED;
    (folder, store)
}

fn unbounded() -> (TempDir, Store) {
    store(u64::MAX)
}

/// How many records the store has room for.
fn room(store: &Store) -> u64 {
    store.geometry.data_bytes() / RECORD_BYTES
}

fn put(store: &Store, key: u64) {
    let key = key.to_le_bytes();
    let record = NewRecord::new(&VALUE, 0, Millis::NEVER);
    let put = store.put(store.hash(&key), &key, record, None);
    assert!(matches!(put, crate::store::Put::Stored { .. }), "{put:?}");
}

fn get(store: &Store, key: u64) -> bool {
    let key = key.to_le_bytes();
    store.get(store.hash(&key), &key).unwrap().is_some()
}

/// The slot of a key, looked at without a hit.
fn slot(store: &Store, key: u64) -> Option<Slot> {
    let hash = store.hash(&key.to_le_bytes()).0;
    let set = store.set(store.geometry.set_of(hash)).iter();
    set.map(|slot| Slot(slot.load(Ordering::Relaxed))).find(|slot| slot.has_tag_of(hash))
}

fn is_in_main(store: &Store, key: u64) -> bool {
    let Some(slot) = slot(store, key) else { return false };
    let (segment, _) = store.geometry.locate(slot.position()).unwrap();
    store.is_main(store.segment(segment).status())
}

/// Keys that are used once: each call takes others.
struct Once(u64);

impl Once {
    fn put(&mut self, store: &Store, count: u64) {
        for _ in 0..count {
            self.0 += 1;
            put(store, self.0);
        }
    }
}

fn once() -> Once {
    Once(1 << 40)
}

/// Puts the keys, each with one that is used once.
fn put_mixed(store: &Store, keys: impl Iterator<Item = u64>, once: &mut Once) {
    for key in keys {
        put(store, key);
        once.put(store, 1);
    }
}

/// Share of the keys for which `is` is true, in per cent.
fn percent(keys: std::ops::Range<u64>, is: impl Fn(u64) -> bool) -> u64 {
    let count = keys.end - keys.start;
    keys.filter(|key| is(*key)).count() as u64 * 100 / count
}

#[test]
fn a_scan_of_many_times_the_room_takes_nothing_that_was_hit() {
    let (_folder, store) = unbounded();
    let mut once = once();
    let hot = 0..room(&store) / 3;
    put_mixed(&store, hot.clone(), &mut once);
    assert!(hot.clone().all(|key| get(&store, key)));
    once.put(&store, 5 * room(&store));
    assert!(percent(hot.clone(), |key| slot(&store, key).is_some()) >= 99);
    assert!(percent(hot, |key| get(&store, key)) >= 99, "and it can be read");
}

#[test]
fn what_was_hit_on_probation_moves_to_the_main_queue_and_the_rest_leaves() {
    let (_folder, store) = unbounded();
    let mut once = once();
    let keys = 0..room(&store) / 3;
    let is_hit = |key: u64| key.is_multiple_of(3);
    put_mixed(&store, keys.clone(), &mut once);
    assert!(keys.clone().all(|key| !is_in_main(&store, key)), "new records are on probation");
    assert!(keys.clone().filter(|key| is_hit(*key)).all(|key| get(&store, key)));
    once.put(&store, room(&store));
    assert!(percent(keys.clone(), |key| !is_hit(key) || is_in_main(&store, key)) >= 99);
    assert_eq!(percent(keys.clone(), |key| !is_hit(key) && slot(&store, key).is_some()), 0);
    let carried = keys.filter(|key| is_hit(*key)).count() as u64;
    assert_eq!(store.statistics().reinserted, carried, "each once, and nothing else");
}

#[test]
fn what_is_asked_for_no_more_leaves_the_main_queue_to_what_is() {
    let (_folder, store) = unbounded();
    let mut once = once();
    let third = room(&store) / 3;
    let mut put_hit = |key| {
        put(&store, key);
        get(&store, key);
        once.put(&store, 1);
    };
    (0..third).for_each(&mut put_hit);
    assert!(percent(0..third, |key| get(&store, key)) >= 99, "their last hit");
    (third..12 * third).for_each(&mut put_hit);
    assert_eq!(percent(0..third, |key| slot(&store, key).is_some()), 0);
    once.put(&store, room(&store));
    assert!(percent(11 * third..12 * third, |key| is_in_main(&store, key)) >= 99);
}

#[test]
fn each_pass_through_the_main_queue_takes_a_hit() {
    let (_folder, store) = unbounded();
    let mut once = once();
    let mut passes = vec![];
    for key in 0..6 * room(&store) {
        let before = slot(&store, 0);
        put(&store, key);
        get(&store, key);
        once.put(&store, 1);
        if let Some((before, now)) = before.zip(slot(&store, 0))
            && before.position() != now.position()
        {
            passes.push(now.hits());
            if passes.len() == 1 {
                assert!((0..3).all(|_| get(&store, 0)));
            }
        }
    }
    assert_eq!(passes, [0, 2, 1, 0], "from probation it comes without hits");
    assert_eq!(slot(&store, 0), None);
}

#[test]
fn who_comes_back_soon_after_probation_goes_to_the_main_queue() {
    let (_folder, store) = unbounded();
    let mut once = once();
    let hundred = 0..100;
    // The bound on probation holds once the main queue fills the rest.
    fill_main(&store, &mut once);
    put_mixed(&store, hundred.clone(), &mut once);
    once.put(&store, room(&store) / 2);
    assert_eq!(percent(hundred.clone(), |key| slot(&store, key).is_some()), 0);
    put_mixed(&store, hundred.clone(), &mut once);
    let new = 100..200;
    put_mixed(&store, new.clone(), &mut once);
    once.put(&store, room(&store));
    assert!(percent(hundred, |key| is_in_main(&store, key)) >= 95);
    assert!(percent(new, |key| slot(&store, key).is_some()) <= 5, "they were never there before");
}

#[test]
fn who_comes_back_after_a_round_is_new() {
    let (_folder, store) = unbounded();
    let mut once = once();
    let hundred = 0..100;
    fill_main(&store, &mut once);
    put_mixed(&store, hundred.clone(), &mut once);
    once.put(&store, room(&store) * 3 / 2);
    put_mixed(&store, hundred.clone(), &mut once);
    once.put(&store, room(&store));
    assert!(percent(hundred, |key| slot(&store, key).is_some()) <= 5);
}

/// Fills the main queue.
fn fill_main(store: &Store, once: &mut Once) {
    let keys = 1 << 50..(1 << 50) + room(store);
    for key in keys {
        put(store, key);
        get(store, key);
        if key.is_multiple_of(2) {
            once.put(store, 1);
        }
    }
    once.put(store, room(store) / 2);
}

#[test]
fn what_the_bound_of_entries_displaces_leaves_a_ghost() {
    const ENTRIES: u64 = 1024;
    let (_folder, store) = store(ENTRIES);
    let first = 0..ENTRIES / 4;
    for key in first.clone() {
        put(&store, key);
    }
    once().put(&store, ENTRIES);
    assert!(store.usage().bytes < store.geometry.data_bytes() / 2, "no segment was emptied");
    let gone: Vec<u64> = first.filter(|key| slot(&store, *key).is_none()).collect();
    assert!(gone.len() > 100, "{} of the oldest were displaced", gone.len());
    let begins_hit = |key: u64| {
        put(&store, key);
        slot(&store, key).is_some_and(|slot| slot.hits() == 1)
    };
    let came_back = gone.iter().filter(|key| begins_hit(**key)).count();
    assert!(came_back * 10 >= gone.len() * 9, "{came_back} of {}", gone.len());
    let strangers = (ENTRIES..2 * ENTRIES).filter(|key| begins_hit(*key)).count();
    assert!(strangers < 20, "{strangers} that were never there, by an equal fingerprint");
}

#[test]
fn what_was_cleared_leaves_no_ghost() {
    let (_folder, store) = unbounded();
    let hundred = 0..100;
    put_mixed(&store, hundred.clone(), &mut once());
    store.clear();
    once().put(&store, room(&store));
    for key in hundred.clone() {
        put(&store, key);
    }
    assert_eq!(percent(hundred, |key| slot(&store, key).is_none_or(|slot| slot.hits() > 0)), 0);
}

/// S3-FIFO with one hit for the main queue, by entries.
#[derive(Default)]
struct S3Fifo {
    hits: HashMap<u64, u8>,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    /// By the count of ghosts at the time that they were left.
    ghosts: HashMap<u64, usize>,
    ghosts_left: usize,
}

impl S3Fifo {
    fn request(&mut self, key: u64, capacity: usize) -> bool {
        if let Some(hits) = self.hits.get_mut(&key) {
            *hits = (*hits + 1).min(3);
            return true;
        }
        let left = self.ghosts.remove(&key);
        let was_here = left.is_some_and(|left| self.ghosts_left - left < capacity - capacity / 10);
        while self.hits.len() >= capacity {
            if self.small.len() >= capacity / 10 {
                self.evict_small();
            } else {
                self.evict_main();
            }
        }
        self.hits.insert(key, 0);
        if was_here {
            self.main.push_back(key)
        } else {
            self.small.push_back(key)
        }
        false
    }

    fn evict_small(&mut self) {
        let Some(key) = self.small.pop_front() else { return };
        if self.hits[&key] > 0 {
            self.hits.insert(key, 0);
            return self.main.push_back(key);
        }
        self.hits.remove(&key);
        self.ghosts_left += 1;
        self.ghosts.insert(key, self.ghosts_left);
    }

    fn evict_main(&mut self) {
        while let Some(key) = self.main.pop_front() {
            let hits = self.hits[&key];
            if hits == 0 {
                self.hits.remove(&key);
                return;
            }
            self.hits.insert(key, hits - 1);
            self.main.push_back(key);
        }
    }
}

/// Requests whose keys follow a Zipf law, with a scan now and then.
fn requests(count: usize, keys: u64) -> Vec<u64> {
    let mut random = Rng::with_seed(SEED);
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += (rank as f64).powf(-0.8);
            total
        })
        .collect();
    let mut scanned = once().0;
    let mut requests = vec![];
    while requests.len() < count {
        for _ in 0..5_000 {
            let sum = random.f64() * total;
            requests.push(sums.partition_point(|up_to| *up_to < sum) as u64);
        }
        for _ in 0..1_000 {
            scanned += 1;
            requests.push(scanned);
        }
    }
    requests
}

#[test]
fn the_hit_ratio_is_above_that_of_lru_and_near_that_of_s3_fifo() {
    /// Points below S3-FIFO with as many entries as there is room for: the segments that are free
    /// or half filled are a tenth of so small a store.
    const MARGIN: f64 = 1.5;
    /// Points above LRU.
    const LEAD: f64 = 2.0;
    println!("seed {SEED:#x}");
    let (_folder, store) = unbounded();
    let capacity = room(&store) as usize;
    let requests = requests(60_000, 10 * capacity as u64);
    let mut exact = LruCache::new(capacity.try_into().unwrap());
    let mut model = S3Fifo::default();
    let [mut ours, mut lru, mut s3_fifo] = [0_u32; 3];
    for key in &requests {
        let hit = get(&store, *key);
        if !hit {
            put(&store, *key);
        }
        ours += u32::from(hit);
        lru += u32::from(exact.put(*key, ()).is_some());
        s3_fifo += u32::from(model.request(*key, capacity));
    }
    let percent = |hits: u32| f64::from(hits) * 100.0 / requests.len() as f64;
    let [ours, lru, s3_fifo] = [ours, lru, s3_fifo].map(percent);
    println!("{ours:.2} %, LRU {lru:.2} %, S3-FIFO {s3_fifo:.2} %");
    assert!(ours >= lru + LEAD, "{ours:.2} % with LRU's {lru:.2} %");
    assert!(ours >= s3_fifo - MARGIN, "{ours:.2} % with S3-FIFO's {s3_fifo:.2} %");
}
