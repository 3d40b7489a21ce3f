//! The caches, each set up as its authors advise, all with the same hasher.

use std::{hint::black_box, marker::PhantomData, time::Duration};

use foldhash::fast::RandomState;
use foyer_memory::{EvictionConfig, LruConfig, S3FifoConfig};
use tierce::{MemoryCache, MemoryOptions};

use super::{
    data::Data,
    timing::{Job, Run, Way},
};

/// All rivals, ours first.
pub(super) const NAMES: [&str; 11] = [
    "tierce",
    "tierce-get_with",
    "tierce-bare",
    "quick_cache",
    "quick_cache+weight",
    "moka",
    "moka+weight+ttl",
    "foyer-s3fifo",
    "foyer-lru",
    "scc",
    "scc-read",
];

/// The time to live of those rows that have one. No entry gets that old here.
const TTL: Duration = Duration::from_hours(1);

/// Shards of foyer, which has no default that knows the machine.
const FOYER_SHARDS: usize = 16;

/// A cache under test.
pub(super) trait Rival<D: Data>: Send + Sync {
    /// True on a hit. The value is cloned, unless the row says otherwise.
    fn hit(&self, key: &D::Key) -> bool;
    fn put(&self, key: D::Key, value: D::Value);
    /// Entries that it holds.
    fn held(&self) -> usize;
    /// The cache's own way to read a key and to store its value on a miss; true on a hit.
    /// `None` where it has none.
    #[inline]
    fn hit_or_load(&self, _: &D::Key) -> Option<bool> {
        None
    }
    /// True if [`hit_or_load`](Self::hit_or_load) is there.
    const LOADS: bool = false;
    /// Finishes what the cache put off.
    fn settle(&self) {}
}

/// A rival of any type.
pub(super) trait Contender<D: Data> {
    fn name(&self) -> &'static str;
    /// The ways in which it can do a read-through.
    fn ways(&self) -> &'static [Way];
    fn run(&self, job: &Job<'_, D>) -> Run;
    /// Stores these keys.
    fn fill(&self, numbers: &mut dyn Iterator<Item = u32>);
    /// Reads these keys, and stores those that it does not hold.
    fn read_through(&self, numbers: &[u32]);
    /// Nanoseconds of each insert of these keys, one after the other.
    fn insert_latencies(&self, keys: Vec<(D::Key, D::Value)>, nanoseconds: &mut Vec<u32>);
    fn held(&self) -> usize;
}

struct Named<R> {
    name: &'static str,
    rival: R,
}

impl<D: Data, R: Rival<D>> Contender<D> for Named<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ways(&self) -> &'static [Way] {
        if R::LOADS { &[Way::GetThenInsert, Way::Native] } else { &[Way::GetThenInsert] }
    }

    fn run(&self, job: &Job<'_, D>) -> Run {
        job.run(&self.rival)
    }

    fn fill(&self, numbers: &mut dyn Iterator<Item = u32>) {
        for number in numbers {
            let key = D::key(number);
            let value = D::value(&key);
            self.rival.put(key, value);
        }
        self.rival.settle();
    }

    fn read_through(&self, numbers: &[u32]) {
        for number in numbers {
            let key = D::key(*number);
            if !self.rival.hit(&key) {
                let value = D::value(&key);
                self.rival.put(key, value);
            }
        }
        self.rival.settle();
    }

    fn insert_latencies(&self, keys: Vec<(D::Key, D::Value)>, nanoseconds: &mut Vec<u32>) {
        super::latency::time_inserts(&self.rival, keys, nanoseconds);
    }

    fn held(&self) -> usize {
        self.rival.settle();
        self.rival.held()
    }
}

/// The rival of this name with room for `entries`.
///
/// # Panics
/// If there is none of this name.
pub(super) fn contender<D: Data>(name: &'static str, entries: usize) -> Box<dyn Contender<D>> {
    fn named<D: Data>(name: &'static str, rival: impl Rival<D> + 'static) -> Box<dyn Contender<D>> {
        Box::new(Named { name, rival })
    }
    match name {
        "tierce" => named::<D>(name, tierce_full::<D>(entries)),
        "tierce-get_with" => named::<D>(name, InPlace(tierce_full::<D>(entries))),
        "tierce-bare" => named::<D>(name, tierce_bare::<D>(entries)),
        "quick_cache" => named::<D>(name, quick::<D, _>(entries, 1, quick_cache::UnitWeighter)),
        "quick_cache+weight" => named::<D>(
            name,
            quick::<D, _>(entries, weight_of_one::<D>(), QuickWeighter::<D>(PhantomData)),
        ),
        "moka" => {
            let builder = moka::sync::Cache::builder().max_capacity(entries as u64);
            named::<D>(name, moka_of::<D>(builder, entries))
        }
        "moka+weight+ttl" => {
            let builder = moka::sync::Cache::builder()
                .max_capacity(entries as u64 * weight_of_one::<D>())
                .weigher(|key, value| weight::<D>(key, value) as u32)
                .time_to_live(TTL);
            named::<D>(name, moka_of::<D>(builder, entries))
        }
        "foyer-s3fifo" => named::<D>(name, foyer::<D>(entries, S3FifoConfig::default().into())),
        "foyer-lru" => named::<D>(name, foyer::<D>(entries, LruConfig::default().into())),
        "scc" => named::<D>(name, scc_of::<D>(entries)),
        "scc-read" => named::<D>(name, SccRead(scc_of::<D>(entries))),
        _ => unreachable!("{name} is not among NAMES"),
    }
}

/// The weight of an entry where a rival asks for one: all bytes of key and value.
fn weight<D: Data>(key: &D::Key, value: &D::Value) -> u64 {
    (size_of::<D::Key>() + size_of::<D::Value>() + D::heap_bytes(key, value)) as u64
}

/// All entries of a cell weigh the same.
fn weight_of_one<D: Data>() -> u64 {
    let key = D::key(0);
    weight::<D>(&key, &D::value(&key))
}

pub(super) type Tierce<D> = MemoryCache<<D as Data>::Key, <D as Data>::Value>;

/// Ours with everything on: a weigher, both bounds, a time to live.
///
/// Both bounds are reached at the same number of entries, as all of them weigh the same: so each
/// insert into the full cache is held against both, and the cache is no larger than its rivals.
pub(super) fn tierce_full<D: Data>(entries: usize) -> Tierce<D> {
    let key = D::key(0);
    let heap_bytes = D::heap_bytes(&key, &D::value(&key));
    let bytes = (entries * (heap_bytes + Tierce::<D>::ENTRY_OVERHEAD)) as u64;
    let options = MemoryOptions::new().max_entries(entries as u64).max_bytes(bytes).ttl(TTL);
    MemoryCache::with_weigher(options, D::heap_bytes).expect("the options are right")
}

fn tierce_bare<D: Data>(entries: usize) -> Tierce<D> {
    let options = MemoryOptions::new().max_entries(entries as u64);
    MemoryCache::new(options).expect("the options are right")
}

impl<D: Data> Rival<D> for MemoryCache<D::Key, D::Value> {
    const LOADS: bool = true;

    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        black_box(self.get(key)).is_some()
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        self.insert(key, value);
    }
    #[inline]
    fn hit_or_load(&self, key: &D::Key) -> Option<bool> {
        let mut hit = true;
        black_box(self.get_or_insert_with_by_ref(key, || {
            hit = false;
            D::value(key)
        }));
        Some(hit)
    }
    fn held(&self) -> usize {
        self.len()
    }
}

/// Ours, its values read where they lie.
struct InPlace<K, V>(MemoryCache<K, V>);

impl<D: Data> Rival<D> for InPlace<D::Key, D::Value> {
    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        self.0
            .get_with(key, |value| {
                black_box(value);
            })
            .is_some()
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        self.0.insert(key, value);
    }
    fn held(&self) -> usize {
        self.0.len()
    }
}

/// The type of the entries is a parameter, as the trait wants one weigher per type.
struct QuickWeighter<D>(PhantomData<fn() -> D>);

impl<D> Clone for QuickWeighter<D> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<D: Data> quick_cache::Weighter<D::Key, D::Value> for QuickWeighter<D> {
    fn weight(&self, key: &D::Key, value: &D::Value) -> u64 {
        weight::<D>(key, value)
    }
}

pub(super) type Quick<D, W> =
    quick_cache::sync::Cache<<D as Data>::Key, <D as Data>::Value, W, RandomState>;

pub(super) fn quick<D: Data, W>(entries: usize, weight_of_one: u64, weighter: W) -> Quick<D, W>
where
    W: quick_cache::Weighter<D::Key, D::Value> + Clone,
{
    quick_cache::sync::Cache::with(
        entries,
        entries as u64 * weight_of_one,
        weighter,
        RandomState::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    )
}

impl<D: Data, W> Rival<D> for quick_cache::sync::Cache<D::Key, D::Value, W, RandomState>
where
    W: quick_cache::Weighter<D::Key, D::Value> + Clone + Send + Sync,
{
    const LOADS: bool = true;

    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        black_box(self.get(key)).is_some()
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        self.insert(key, value);
    }
    #[inline]
    fn hit_or_load(&self, key: &D::Key) -> Option<bool> {
        let mut hit = true;
        let value = self.get_or_insert_with(key, || {
            hit = false;
            Ok::<_, std::convert::Infallible>(D::value(key))
        });
        let _ = black_box(value);
        Some(hit)
    }
    fn held(&self) -> usize {
        self.len()
    }
}

type Moka<D> = moka::sync::Cache<<D as Data>::Key, <D as Data>::Value, RandomState>;
type MokaBuilder<D> = moka::sync::CacheBuilder<
    <D as Data>::Key,
    <D as Data>::Value,
    moka::sync::Cache<<D as Data>::Key, <D as Data>::Value>,
>;

fn moka_of<D: Data>(builder: MokaBuilder<D>, entries: usize) -> Moka<D> {
    builder.initial_capacity(entries).build_with_hasher(RandomState::default())
}

impl<D: Data> Rival<D> for moka::sync::Cache<D::Key, D::Value, RandomState> {
    const LOADS: bool = true;

    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        black_box(self.get(key)).is_some()
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        self.insert(key, value);
    }
    #[inline]
    fn hit_or_load(&self, key: &D::Key) -> Option<bool> {
        let mut hit = true;
        black_box(self.get_with_by_ref(key, || {
            hit = false;
            D::value(key)
        }));
        Some(hit)
    }
    fn held(&self) -> usize {
        self.entry_count() as usize
    }
    fn settle(&self) {
        self.run_pending_tasks();
    }
}

type Foyer<D> = foyer_memory::Cache<<D as Data>::Key, <D as Data>::Value, RandomState>;

fn foyer<D: Data>(entries: usize, policy: EvictionConfig) -> Foyer<D> {
    foyer_memory::CacheBuilder::new(entries)
        .with_shards(FOYER_SHARDS)
        .with_hash_builder(RandomState::default())
        .with_eviction_config(policy)
        .build()
}

impl<D: Data> Rival<D> for foyer_memory::Cache<D::Key, D::Value, RandomState> {
    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        // The entry that it returns shares the value, so nothing is cloned.
        self.get(key).is_some_and(|entry| {
            black_box(entry.value());
            true
        })
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        self.insert(key, value);
    }
    fn held(&self) -> usize {
        self.entries()
    }
}

type Scc<D> = scc::HashCache<<D as Data>::Key, <D as Data>::Value, RandomState>;

fn scc_of<D: Data>(entries: usize) -> Scc<D> {
    scc::HashCache::with_capacity_and_hasher(entries, entries, RandomState::default())
}

impl<D: Data> Rival<D> for scc::HashCache<D::Key, D::Value, RandomState> {
    const LOADS: bool = true;

    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        black_box(self.get_sync(key).map(|entry| entry.get().clone())).is_some()
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        scc_put::<D>(self, key, value);
    }
    #[inline]
    fn hit_or_load(&self, key: &D::Key) -> Option<bool> {
        let mut hit = true;
        let (evicted, entry) = self.entry_sync(key.clone()).or_put_with(|| {
            hit = false;
            D::value(key)
        });
        let value = entry.get().clone();
        drop(entry);
        black_box((evicted, value));
        Some(hit)
    }
    fn held(&self) -> usize {
        self.len()
    }
}

/// scc by its shared reads, which it does not count: it evicts by age alone.
struct SccRead<K: Eq + std::hash::Hash, V>(scc::HashCache<K, V, RandomState>);

impl<D: Data> Rival<D> for SccRead<D::Key, D::Value> {
    #[inline]
    fn hit(&self, key: &D::Key) -> bool {
        black_box(self.0.read_sync(key, |_, value| value.clone())).is_some()
    }
    #[inline]
    fn put(&self, key: D::Key, value: D::Value) {
        scc_put::<D>(&self.0, key, value);
    }
    fn held(&self) -> usize {
        self.0.len()
    }
}

/// Its `put` does not replace: a key that is there is written through its entry.
#[inline]
fn scc_put<D: Data>(cache: &Scc<D>, key: D::Key, value: D::Value) {
    if let Err((key, value)) = cache.put_sync(key, value)
        && let Some(mut entry) = cache.get_sync(&key)
    {
        let earlier = std::mem::replace(entry.get_mut(), value);
        drop(entry);
        drop(earlier);
    }
}
