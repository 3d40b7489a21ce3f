//! Which caches, and how each is set up.

use std::{path::Path, sync::Arc, time::Duration};

use tierce::{
    Bytes, Cache, Freshness, LoadContext, LoadOptions, Loaded, Loading, RefreshAhead, StoreOptions,
    Tiering,
};

use super::source::Source;

/// Ours first.
pub(super) const NAMES: [&str; 3] = ["tierce", "tierce-ttl", "moka"];

const TTL: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(600);

/// A cache before its origin.
pub(super) trait Rival: Sync {
    /// The value of a key and how old it is, where that is told; `None` if the caller has none.
    fn get(&self, key: u64) -> Option<(Bytes, Option<Duration>)>;

    /// What it loads from.
    fn source(&self) -> &Source;
}

struct Ours {
    loading: Loading<Bytes>,
    source: Arc<Source>,
}

impl Rival for Ours {
    fn get(&self, key: u64) -> Option<(Bytes, Option<Duration>)> {
        let answer = self.loading.get_entry(key.to_le_bytes()).ok()?;
        Some((answer.value, answer.age))
    }

    fn source(&self) -> &Source {
        &self.source
    }
}

struct Moka {
    cache: moka::sync::Cache<u64, Bytes>,
    source: Source,
}

impl Rival for Moka {
    fn get(&self, key: u64) -> Option<(Bytes, Option<Duration>)> {
        let load = || self.source.load(key);
        self.cache.try_get_with(key, load).ok().map(|value| (value, None))
    }

    fn source(&self) -> &Source {
        &self.source
    }
}

/// Makes one of [`NAMES`], with a store of its own below the folder.
pub(super) fn make(
    name: &'static str,
    folder: &Path,
    source: Source,
) -> Result<Box<dyn Rival>, String> {
    if name == "moka" {
        let cache = moka::sync::Cache::builder().max_capacity(10_000).time_to_live(TTL).build();
        return Ok(Box::new(Moka { cache, source }));
    }
    let mut freshness = Freshness::new().ttl(TTL);
    if name == NAMES[0] {
        freshness = freshness
            .ttl_jitter(0.1)
            .refresh_ahead(RefreshAhead::After(0.5))
            .stale_while_revalidate(STALE)
            .stale_if_error(STALE)
            .failure_backoff(Duration::from_millis(200), Duration::from_secs(2));
    }
    ours(&folder.join(name), freshness, source).map_err(|error| format!("{name}: {error}"))
}

fn ours(store: &Path, freshness: Freshness, source: Source) -> tierce::Result<Box<dyn Rival>> {
    let cache = Cache::builder()
        .tiering(Tiering::L1L2)
        .shared(StoreOptions::new(store).max_bytes(32 << 20))
        .freshness(freshness)
        .load_threads(64)
        .build()?;
    let source = Arc::new(source);
    let theirs = Arc::clone(&source);
    let load = move |context: &LoadContext<'_, Bytes>| {
        let mut key = [0; 8];
        key.copy_from_slice(context.key());
        theirs.load(u64::from_le_bytes(key)).map(Loaded::new)
    };
    let loading = cache.loading(load, LoadOptions::new())?;
    Ok(Box::new(Ours { loading, source }))
}
