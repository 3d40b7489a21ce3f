//! Memory that runs short: the n-th allocation fails, once or from then on, for every n. The cache
//! refuses what it has no room for, keeps its invariants and serves nothing wrong.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hash::{BuildHasher, Hasher},
    hint, ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tierce::{Clock, Inserted, MemoryCache, MemoryOptions, PolicyKind, Ttl};

/// The system's allocator, which fails when the calling thread wants it to.
struct Failing;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Never,
    Once,
    FromThenOn,
    /// None fails; the first is told of.
    Told,
}

static TOLD_OF: AtomicBool = AtomicBool::new(false);

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Never) };
    /// Allocations until one fails.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static FAILED: Cell<u64> = const { Cell::new(0) };
}

fn fails() -> bool {
    // Not reachable only while the thread ends.
    let Ok(mode) = MODE.try_with(Cell::get) else { return false };
    if mode == Mode::Never {
        return false;
    }
    if mode == Mode::Told {
        TOLD_OF.store(true, Ordering::Release);
        return false;
    }
    let left = LEFT.get();
    if left > 0 {
        LEFT.set(left - 1);
        return false;
    }
    if mode == Mode::Once {
        MODE.set(Mode::Never);
    }
    FAILED.set(FAILED.get() + 1);
    true
}

// SAFETY: every call is passed on to the system's allocator as it came, or fails as a short system
// would.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        if fails() { ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        if fails() { ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        if fails() { ptr::null_mut() } else { unsafe { System.realloc(pointer, layout, size) } }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// One test at a time: a shard moves its entries together only where no reader stays for long, and
/// one that is put to sleep in the midst of a read does.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `call` with the n-th allocation failing, and says how many did.
fn short_of_memory(mode: Mode, n: u64, call: impl FnOnce()) -> u64 {
    LEFT.set(n);
    FAILED.set(0);
    MODE.set(mode);
    call();
    MODE.set(Mode::Never);
    FAILED.get()
}

/// Calls of all kinds that need memory, on a cache that grows, shrinks and grows again.
fn calls(cache: &MemoryCache<u64, u64>, values: &mut [Option<u64>], idle_hand: impl Fn()) {
    let mut random = fastrand::Rng::with_seed(15);
    for step in 0..3_000_u64 {
        let key = random.u64(0..values.len() as u64);
        match random.u16(0..1_000) {
            0..900 => {
                let ttl = if step % 3 == 0 { Ttl::For(Duration::from_secs(9)) } else { Ttl::Never };
                let stored = cache.insert_with_ttl(key, step, ttl) == Inserted::Stored;
                values[key as usize] = stored.then_some(step);
            }
            900..980 => {
                cache.invalidate(&key);
                values[key as usize] = None;
            }
            980..985 => idle_hand(),
            985..988 => cache.set_capacity(Some(random.u64(10..100)), None).unwrap(),
            988..991 => cache.set_capacity(Some(random.u64(900..2_000)), None).unwrap(),
            991 => {
                cache.clear();
                if cache.is_empty() {
                    values.fill(None);
                }
            }
            _ => drop(cache.reclaim()),
        }
    }
}

fn every_allocation_fails(mode: Mode, listens: bool) {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let mut n = 0;
    loop {
        let (clock, hand) = Clock::manual();
        let options = MemoryOptions::new().max_entries(1_500).shards(2);
        let builder = MemoryCache::<u64, u64>::builder(options)
            .weigher(|_, value| if value % 500 == 0 { 1 << 40 } else { 0 })
            .clock(clock);
        let cache = if listens {
            builder.listener(|_, _, _| _ = TOLD.fetch_add(1, Ordering::Relaxed)).build()
        } else {
            builder.build()
        }
        .unwrap();
        // So that what leaves waits for readers.
        cache.contains(&0);
        let mut values = vec![None; 1_200];
        let failed = short_of_memory(mode, n, || {
            calls(&cache, &mut values, || hand.advance(Duration::from_secs(1)));
        });
        cache.validate();
        for (key, value) in values.iter().enumerate() {
            let found = cache.get(&(key as u64));
            assert!(found.is_none() || found == *value, "n {n}: key {key} is {found:?}");
        }
        cache.clear();
        assert!(cache.is_empty(), "n {n}");
        assert_eq!(cache.insert(1, 1), Inserted::Stored, "n {n}: memory is back");
        if failed == 0 {
            break;
        }
        // All of the first, then fewer and fewer.
        n += 1 + n / 40;
    }
    assert!(n > 20, "{n} allocations");
}

#[test]
fn any_allocation_may_fail_once() {
    let _alone = alone();
    every_allocation_fails(Mode::Once, false);
}

#[test]
fn all_allocations_may_fail_from_any_on() {
    let _alone = alone();
    every_allocation_fails(Mode::FromThenOn, false);
}

#[test]
fn so_they_may_where_a_listener_is_told() {
    let _alone = alone();
    every_allocation_fails(Mode::Once, true);
}

/// A key is its own hash.
#[derive(Clone, Copy)]
struct Itself(u64);

impl BuildHasher for Itself {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = u64::from_ne_bytes(bytes.try_into().unwrap());
    }
}

/// The home bucket of a key that is its own hash, in a table of so many: as the cache has it.
fn home(key: u64, homes: u64) -> u64 {
    let product = u128::from(key) * 0x9E37_79B9_7F4A_7C15;
    let folded = product as u64 ^ (product >> 64) as u64;
    ((folded & 0xFFFF_FFFF) * homes) >> 32
}

/// A table that grows by one bucket, the last of which are full, and two more entries that come
/// amid that: two others find no place where they are moved to.
#[test]
fn entries_that_find_no_place_in_a_larger_table_leave_without_memory() {
    let _alone = alone();
    const HOMES: u64 = 101;
    let options = MemoryOptions::new().max_entries(2_000).shards(1).policy(PolicyKind::Lru);
    let cache = MemoryCache::<u64, u64>::builder(options).hasher(Itself(0)).build().unwrap();
    let mut next = 0;
    let mut insert = |count: usize, old: &dyn Fn(u64) -> bool, new: &dyn Fn(u64) -> bool| {
        let is_of = |key: &u64| old(home(*key, HOMES)) && new(home(*key, HOMES + 1));
        for key in (next..).filter(is_of).take(count) {
            assert_eq!(cache.insert(key, key), Inserted::Stored);
            next = key + 1;
        }
    };
    let any = &|_| true;
    // A table of 101 homes, for five fourths of as many entries as stay.
    insert(1_000, any, any);
    cache.set_capacity(Some(HOMES * 8 * 4 / 5), None).unwrap();
    cache.set_capacity(Some((HOMES + 1) * 8), None).unwrap();
    cache.retain(|_, _| false);
    insert(484, &|home| home < 66, any);
    // What these two homes reach, 27 buckets of twelve, is full.
    insert(224, &|home| home == 86, &|home| home == 87);
    insert(100, &|home| home == 100, &|home| home == 101);
    assert_eq!((cache.len() as u64, cache.statistics().size), (HOMES * 8, 354));
    // This one has it grow, and each of the others moves eight homes.
    insert(1, &|home| home < 66, any);
    insert(10, &|home| home < 66, any);
    insert(2, &|home| home == 86, &|home| home == 87);
    let (kept, gone) = (cache.len(), cache.statistics().size);
    let failed = short_of_memory(Mode::FromThenOn, 0, || {
        insert(1, &|home| home < 66, any);
    });
    cache.validate();
    println!("{failed} allocations failed");
    assert_eq!((cache.len(), cache.statistics().size), (kept - 2, gone + 3));
}

#[test]
fn a_load_that_finds_no_memory_for_company_goes_alone() {
    let _alone = alone();
    let options = || MemoryOptions::new().max_entries(1_000).shards(1);
    let mut n = 0;
    loop {
        let cache = MemoryCache::new(options()).unwrap();
        // What a thread needs to use any cache, it has from its first call on.
        assert_eq!(cache.get(&1), None);
        let failed = short_of_memory(Mode::FromThenOn, n, || {
            assert_eq!(cache.get_or_insert_with(1, || 7), 7);
        });
        cache.validate();
        assert!(matches!(cache.get(&1), None | Some(7)));
        assert_eq!(cache.get_or_insert_with(1, || 7), 7);
        assert_eq!(cache.get(&1), Some(7));
        if failed == 0 {
            assert!(n > 1, "a load and its value need memory");
            break;
        }
        n += 1;
    }

    // Another one loads, and there is no memory to wait for it.
    let cache = MemoryCache::new(options()).unwrap();
    let ((say, said), (tell, told)) = (mpsc::channel(), mpsc::channel::<()>());
    thread::scope(|scope| {
        let cache = &cache;
        let other = scope.spawn(move || {
            cache.get_or_insert_with(1, || {
                say.send(()).unwrap();
                told.recv().unwrap();
                5
            })
        });
        said.recv().unwrap();
        short_of_memory(Mode::FromThenOn, 0, || {
            assert_eq!(cache.get_or_insert_with(1, || 6), 6);
        });
        tell.send(()).unwrap();
        assert_eq!(other.join().unwrap(), 5);
    });
    assert_eq!(cache.get(&1), Some(5), "who loads alone stores nothing");

    // Another one waits, and there is no memory to share the value with it.
    let cache = MemoryCache::new(options()).unwrap();
    let (say, said) = mpsc::channel();
    thread::scope(|scope| {
        let cache = &cache;
        scope.spawn(move || {
            assert_eq!(cache.get(&1), None);
            said.recv().unwrap();
            let mut value = 0;
            short_of_memory(Mode::Told, 0, || value = cache.get_or_insert_with(1, || 6));
            assert_eq!(value, 6);
        });
        let value = cache.get_or_insert_with(1, || {
            say.send(()).unwrap();
            while !TOLD_OF.load(Ordering::Acquire) {
                hint::spin_loop();
            }
            LEFT.set(0);
            MODE.set(Mode::FromThenOn);
            5
        });
        MODE.set(Mode::Never);
        assert_eq!(value, 5);
    });
    cache.validate();
}
