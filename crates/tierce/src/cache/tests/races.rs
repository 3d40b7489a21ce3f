//! No resurrection: what a change ended does not come back, whatever was under way.

use std::io;

use bytes::Bytes;

use super::{Host, bytes};
use crate::{
    cache::{Cache, Origin},
    tiering::{TierKind, Tiering},
};

type Loader = io::Result<Bytes>;

/// The name of a change, the change, and what a later read must find.
type Change = (&'static str, fn(&Cache), Option<Bytes>);

/// The changes that may come in the middle of a load.
fn changes() -> [Change; 3] {
    [
        ("delete", |cache| cache.delete("a").unwrap(), None),
        ("set", |cache| cache.set("a", bytes("new")).unwrap(), Some(bytes("new"))),
        ("clear", |cache| cache.clear().unwrap(), None),
    ]
}

#[test]
fn a_load_that_raced_with_a_change_is_answered_and_not_kept() {
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        for (verb, change, after) in changes() {
            let host = Host::new();
            let cache = host.cache(tiering);
            let loaded = cache.get_or_load("a", |_| {
                change(&cache);
                Loader::Ok(bytes("old"))
            });
            assert_eq!(loaded.unwrap(), bytes("old"), "{verb} in {tiering}");
            assert_eq!(cache.get("a"), after, "{verb} in {tiering}");
        }
    }
}

#[test]
fn a_load_that_raced_with_another_process_is_answered_and_not_kept() {
    for tiering in [Tiering::L2, Tiering::L1L2] {
        for (verb, change, after) in changes() {
            let host = Host::new();
            let (cache, other) = (host.cache(tiering), host.cache(tiering));
            cache
                .get_or_load("a", |_| {
                    change(&other);
                    Loader::Ok(bytes("old"))
                })
                .unwrap();
            assert_eq!(cache.get("a"), after, "{verb} in {tiering}");
            assert_eq!(other.get("a"), after, "{verb} in {tiering}");
        }
    }
}

#[test]
fn who_comes_after_a_change_does_not_join_a_load_from_before_it() {
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.cache(tiering);
        let again = host.cache(tiering);
        // With a store, the change comes from another process, which knows nothing of our loads.
        let changer = if tiering == Tiering::L1 { &cache } else { &again };
        let old = cache.get_or_load("a", |_| {
            changer.delete("a").unwrap();
            // Another thread, since this one leads the load.
            let late = std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        cache.get_or_load_with("a", &Default::default(), |_| {
                            Loader::Ok(bytes("new"))
                        })
                    })
                    .join()
                    .unwrap()
                    .unwrap()
            });
            assert_eq!((late.value, late.origin), (bytes("new"), Origin::Loaded), "{tiering}");
            Loader::Ok(bytes("old"))
        });
        // The store adopts what was loaded after the change; L1 alone hands out what it loaded.
        assert!(matches!(&old.unwrap()[..], b"old" | b"new"));
        assert_eq!(cache.get("a"), Some(bytes("new")), "{tiering}");
    }
}

#[test]
fn a_change_by_another_process_voids_the_copy_in_l1_at_once() {
    for (verb, change, after) in changes() {
        let host = Host::new();
        let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
        one.set("a", bytes("old")).unwrap();
        assert_eq!(one.get_entry("a").unwrap().origin, Origin::Tier(TierKind::Memory));
        change(&other);
        assert_eq!(one.get("a"), after, "{verb}");
    }
}

#[test]
fn a_load_that_ends_after_the_close_keeps_nothing() {
    for tiering in [Tiering::L1, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.cache(tiering);
        let loaded = cache.get_or_load("a", |_| {
            cache.close();
            Loader::Ok(bytes("late"))
        });
        assert_eq!(loaded.unwrap(), bytes("late"));
        assert_eq!(cache.len(), 0, "{tiering}");
    }
}

#[test]
fn a_fill_from_before_the_store_left_does_not_cover_a_change_after_it() {
    for (verb, change, after) in changes() {
        let host = Host::new();
        let cache = host.cache(Tiering::L1L2);
        cache
            .get_or_load("a", |_| {
                cache.retier(Tiering::L1).unwrap();
                change(&cache);
                Loader::Ok(bytes("old"))
            })
            .unwrap();
        assert_eq!(cache.get("a"), after, "{verb}");
    }
}

#[test]
fn a_value_whose_drop_changes_the_cache_does_not_wait_for_itself() {
    /// Deletes a key of its cache when it is dropped.
    #[derive(Clone)]
    struct Deletes(#[allow(dead_code, reason = "dropped, never read")] std::sync::Arc<Deletion>);
    struct Deletion(std::sync::Mutex<Option<Cache<Deletes>>>);
    impl Drop for Deletion {
        fn drop(&mut self) {
            if let Some(cache) = self.0.get_mut().unwrap().take() {
                cache.delete("other").unwrap();
            }
        }
    }
    struct NoBytes;
    impl crate::Codec<Deletes> for NoBytes {
        fn encode(&self, _: &Deletes) -> crate::Result<(Bytes, crate::Format)> {
            unreachable!("L1 alone")
        }
        fn decode(&self, _: Bytes, _: crate::Format) -> crate::Result<Deletes> {
            unreachable!("L1 alone")
        }
        fn weight(&self, _: &Deletes) -> usize {
            1
        }
    }
    let cache = Cache::builder().build_with(NoBytes).unwrap();
    let value = |cache| Deletes(std::sync::Arc::new(Deletion(std::sync::Mutex::new(cache))));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A writer of the plan that comes again and again, for a nested change to queue behind.
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                cache.retier(Tiering::L1).unwrap();
            }
        });
        for _ in 0..20_000 {
            cache.set("a", value(Some(cache.clone()))).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    cache.set("a", value(None)).unwrap();
}
