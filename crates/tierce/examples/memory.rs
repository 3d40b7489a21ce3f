//! L1 alone, in the place of moka or quick_cache: what changes in a program that caches pages.
//!
//! `cargo run --release -p tierce --no-default-features --example memory`
//!
//! The lines that a step replaces stand above it. `docs/l1.md` has the rest, method by method.
#![allow(clippy::print_stdout)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{Computed, MemoryCache, MemoryOptions, MemoryStatistics, RemovalCause, Result, Ttl};

type Pages = MemoryCache<String, Arc<str>>;

/// Pages of the site.
const PAGES: u64 = 20_000;
const THREADS: u64 = 4;
const REQUESTS_PER_THREAD: u64 = 100_000;
const SEED: u64 = 7;

/// What is dear, and is to happen once for most requests.
fn render(path: &str) -> Arc<str> {
    format!("<title>{path}</title>{}", "lorem ipsum ".repeat(20)).into()
}

/// Few pages are asked for often: the chance of the n-th is about 1/n of that of the first.
fn some_path(random: &mut fastrand::Rng) -> String {
    format!("/page/{}", (PAGES as f64).powf(random.f64()) as u64)
}

// moka:        let cache = Cache::builder()
//                  .max_capacity(2 << 20)
//                  .weigher(|path: &String, page: &Arc<str>| (path.len() + page.len()) as u32)
//                  .time_to_live(Duration::from_secs(60))
//                  .eviction_listener(move |_path, _page, cause| ...)
//                  .build();
// quick_cache: let cache = Cache::with_weighter(5_000, 2 << 20, PageWeighter);
//              with no time to live, and a `Lifecycle` in place of the listener
fn pages(evicted: &Arc<AtomicU64>) -> Result<Pages> {
    let options =
        MemoryOptions::new().max_bytes(2 << 20).ttl(Duration::from_secs(60)).ttl_jitter(0.1);
    let evicted = Arc::clone(evicted);
    MemoryCache::builder(options)
        .weigher(|path: &String, page: &Arc<str>| path.capacity() + page.len())
        .listener(move |_path, _page, cause| {
            if cause == RemovalCause::Bytes {
                evicted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build()
}

/// Asks for pages; returns how many had to be rendered.
fn serve(cache: &Pages, seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rendered = 0;
    for _ in 0..REQUESTS_PER_THREAD {
        let path = some_path(&mut random);
        // moka:        cache.get_with_by_ref(&path, || ...)
        // quick_cache: cache.get_or_insert_with(&path, || Ok::<_, Infallible>(...))
        cache.get_or_insert_with_by_ref(path.as_str(), || {
            rendered += 1;
            render(&path)
        });
    }
    rendered
}

fn main() -> Result<()> {
    let evicted = Arc::new(AtomicU64::new(0));
    let cache = pages(&evicted)?;

    // moka:        let cache = cache.clone(), in each thread
    // quick_cache: &cache, or an Arc, as here
    let begin = Instant::now();
    let rendered: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn({
                    let cache = &cache;
                    move || serve(cache, SEED + number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    let requests = THREADS * REQUESTS_PER_THREAD;
    println!("{requests} requests of {THREADS} threads in {:?}, seed {SEED}", begin.elapsed());
    println!("{:.1} % hits", (requests - rendered) as f64 * 100.0 / requests as f64);

    // moka:        cache.run_pending_tasks(); cache.entry_count(), cache.weighted_size()
    // quick_cache: cache.len(), cache.weight()
    println!("{} entries weigh {} of 2 MiB", cache.len(), cache.weight());
    println!("{} evicted for room", evicted.load(Ordering::Relaxed));

    // A time to live of its own. moka: an `Expiry` at the builder. quick_cache: -
    cache.insert_with_ttl("/now".into(), render("/now"), Ttl::For(Duration::from_secs(1)));

    // A look without a clone. moka, quick_cache: cache.get("/now").map(|page| page.len())
    println!("/now has {:?} bytes", cache.get_with("/now", |page| page.len()));

    // Many at once. moka, quick_cache: one by one
    let found = cache.get_many(&["/page/1", "/page/2", "/page/none"]);
    println!("of three {} are there", found.iter().flatten().count());

    // moka:        cache.entry("/now".into()).and_compute_with(|entry| ...)
    // quick_cache: cache.entry("/now", None, |_path, page| ...)
    cache.compute("/now".into(), |page| match page {
        Some(page) => Computed::Store(page.replace("lorem", "LOREM").into(), Ttl::Default),
        None => Computed::Keep,
    });

    // moka:        cache.invalidate("/now")
    // quick_cache: cache.remove("/now")
    println!("/now was there: {}", cache.invalidate("/now"));

    // moka:        cache.invalidate_entries_if(|path, _page| path.ends_with('7'))
    // quick_cache: cache.retain(|path, _page| !path.ends_with('7'))
    cache.retain(|path, _page| !path.ends_with('7'));
    println!("{} entries after the sevens went", cache.iter().count());

    // moka:        -
    // quick_cache: cache.set_capacity(1 << 20)
    cache.set_capacity(None, Some(1 << 20))?;
    println!("{} entries weigh {} of 1 MiB", cache.len(), cache.weight());

    let MemoryStatistics { bytes, replaced, removed, .. } = cache.statistics();
    println!("for room {bytes}, replaced {replaced}, removed {removed}");
    for view in cache.policy() {
        println!("policy: {} entries, {} ghosts", view.entries, view.ghosts);
    }
    Ok(())
}
