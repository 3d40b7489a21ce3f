//! Another time to live for what is there, in each tiering that needs no server.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{Host, bytes, secs};
use crate::{
    cache::{Cache, Freshness, LoadOptions, Loaded, ReadOptions, SetOptions},
    error::ErrorKind,
    memory::MemoryOptions,
    tiering::Tiering,
};

const LOCAL: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

/// Changes of the key in the race.
const ROUNDS: u32 = 1_000;

fn ttl(ttl: Duration) -> SetOptions {
    SetOptions::new().ttl(ttl)
}

/// What is there, fresh or stale, and whether it is stale.
fn any(cache: &Cache, key: &str) -> Option<(bytes::Bytes, bool)> {
    let answer = cache.get_with(key, &ReadOptions::new().allow_stale(true));
    answer.map(|answer| (answer.value, answer.is_stale))
}

#[test]
fn what_a_store_has_that_only_others_use_is_touched_and_not_told_of() {
    let host = Host::new();
    let (cache, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L2));
    other.set_with("a", bytes("1"), &ttl(secs(10))).unwrap();
    cache.retier(Tiering::L1).unwrap();
    assert!(!cache.touch("a", secs(60)).unwrap(), "here there is nothing");
    host.time.advance(secs(30));
    assert_eq!((cache.get("a"), other.get("a")), (None, Some(bytes("1"))));
}

#[test]
fn what_is_touched_ends_when_it_was_told_to_and_not_when_it_was_set_to() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        for key in ["longer", "shorter", "endless", "ever"] {
            cache.set_with(key, bytes(key), &ttl(secs(10))).unwrap();
        }
        cache.set_with("ever", bytes("ever"), &SetOptions::new().no_ttl()).unwrap();
        host.time.advance(secs(5));
        for (key, span) in [
            ("longer", secs(20)),
            ("shorter", secs(1)),
            ("endless", Duration::MAX),
            ("ever", secs(2)),
        ] {
            assert!(cache.touch(key, span).unwrap(), "{tiering} {key}");
            assert_eq!(cache.get(key), Some(bytes(key)), "{tiering}");
        }
        host.time.advance(secs(1));
        assert_eq!(cache.get("shorter"), None, "{tiering}");
        host.time.advance(secs(1));
        assert_eq!(cache.get("ever"), None, "{tiering}");
        host.time.advance(secs(17) + Duration::from_millis(990));
        assert_eq!(cache.get("longer"), Some(bytes("longer")), "{tiering}");
        // Its age counts from when it was set.
        let age = cache.get_entry("longer").unwrap().age.unwrap();
        assert!((secs(24)..=secs(25)).contains(&age), "{tiering} {age:?}");
        host.time.advance(Duration::from_millis(10));
        assert_eq!(cache.get("longer"), None, "{tiering}");
        host.time.advance(secs(1_000_000));
        assert_eq!(cache.get("endless"), Some(bytes("endless")), "{tiering}");
    }
}

#[test]
fn what_is_not_there_or_stale_or_word_of_no_value_cannot_be_touched() {
    for tiering in LOCAL {
        let host = Host::new();
        let life = Freshness::new().ttl(secs(10)).stale_if_error(secs(100)).negative_ttl(secs(50));
        let cache = host.builder(tiering).freshness(life).build().unwrap();
        assert!(!cache.touch("never", secs(5)).unwrap());
        assert!(!cache.touch(vec![0; 70_000], secs(5)).unwrap());
        cache.set("a", bytes("a")).unwrap();
        cache.set("b", bytes("b")).unwrap();
        cache.set("c", bytes("c")).unwrap();
        cache.delete("c").unwrap();
        cache.expire("b").unwrap();
        let load = |_: &[u8]| io::Result::Ok(Loaded::<bytes::Bytes>::absent());
        cache.get_or_load_optional("none", &LoadOptions::new(), load).unwrap();
        for key in ["b", "c", "none"] {
            assert!(!cache.touch(key, secs(500)).unwrap(), "{tiering} {key}");
        }
        host.time.advance(secs(10));
        assert!(!cache.touch("a", secs(500)).unwrap(), "{tiering}");
        assert_eq!(any(&cache, "a"), Some((bytes("a"), true)), "{tiering}");
        host.time.advance(secs(100));
        assert_eq!((any(&cache, "a"), any(&cache, "b")), (None, None), "{tiering}");
        let error = cache.touch("a", Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[test]
fn the_stale_window_of_what_is_touched_stays_as_long_as_it_was() {
    for tiering in LOCAL {
        let host = Host::new();
        let life = Freshness::new().ttl(secs(10)).stale_if_error(secs(7));
        let cache = host.builder(tiering).freshness(life).build().unwrap();
        cache.set("a", bytes("a")).unwrap();
        for _ in 0..3 {
            host.time.advance(secs(3));
            assert!(cache.touch("a", secs(4)).unwrap(), "{tiering}");
        }
        host.time.advance(secs(4));
        assert_eq!(any(&cache, "a"), Some((bytes("a"), true)), "{tiering}");
        host.time.advance(secs(7) - Duration::from_millis(10));
        assert_eq!(any(&cache, "a"), Some((bytes("a"), true)), "{tiering}");
        host.time.advance(Duration::from_millis(10));
        assert_eq!(any(&cache, "a"), None, "{tiering}");
    }
}

#[test]
fn copies_of_other_processes_end_when_the_touched_value_does() {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    one.set_with("a", bytes("a"), &ttl(secs(1_000))).unwrap();
    assert_eq!(other.get("a"), Some(bytes("a")));
    assert!(one.touch("a", secs(2)).unwrap());
    assert_eq!(other.get("a"), Some(bytes("a")));
    host.time.advance(secs(2));
    assert_eq!((one.get("a"), other.get("a")), (None, None));
}

#[test]
fn what_l1_alone_has_above_l2_is_kept_when_it_is_touched() {
    let host = Host::new();
    // Too large for the store.
    let cache = host.cache(Tiering::L1L2);
    let value = bytes::Bytes::from(vec![1; 20 << 20]);
    cache.set_with("large", value.clone(), &ttl(secs(10))).unwrap();
    if host.cache(Tiering::L2).get("large").is_none() && cache.get("large").is_some() {
        assert!(cache.touch("large", secs(100)).unwrap());
        host.time.advance(secs(99));
        assert_eq!(cache.get("large"), Some(value));
    }
    host.time.advance(secs(1));
    assert_eq!(cache.get("large"), None);
}

#[test]
fn tags_stay_with_what_is_touched_and_removed_ones_are_not_brought_back() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        for key in ["a", "b"] {
            cache.set_with(key, bytes(key), &ttl(secs(10)).tags([key])).unwrap();
        }
        cache.remove_tag("a").unwrap();
        assert!(!cache.touch("a", secs(100)).unwrap(), "{tiering}");
        assert!(cache.touch("b", secs(100)).unwrap(), "{tiering}");
        assert_eq!((cache.get("a"), cache.get("b")), (None, Some(bytes("b"))), "{tiering}");
        cache.remove_tag("b").unwrap();
        assert_eq!(cache.get("b"), None, "{tiering}");
    }
}

#[test]
fn what_a_tag_made_stale_is_not_there_to_be_touched() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        let freshness = Freshness::new().ttl(secs(10)).stale_if_error(secs(60));
        let options = SetOptions::new().freshness(freshness).tags(["red"]);
        cache.set_with("a", bytes("a"), &options).unwrap();
        cache.expire_tag("red").unwrap();
        assert!(!cache.touch("a", secs(20)).unwrap(), "{tiering}");
        assert_eq!(any(&cache, "a"), Some((bytes("a"), true)), "{tiering}");
    }
}

#[test]
fn a_load_from_before_a_touch_does_not_bring_the_old_end_back() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set_with("a", bytes("a"), &ttl(secs(100))).unwrap();
        let options = LoadOptions::new().max_age(Duration::ZERO).ttl(secs(1_000));
        let loaded = cache.get_or_load_with("a", &options, |_| {
            assert!(cache.touch("a", secs(5)).unwrap());
            io::Result::Ok(bytes("loaded"))
        });
        assert_eq!(loaded.unwrap().value, bytes("loaded"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("a")), "{tiering}");
        host.time.advance(secs(5));
        assert_eq!(cache.get("a"), None, "{tiering}");
    }
}

/// Ends what others do, however its thread ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One thread sets ever larger numbers, or deletes; others touch. Nobody reads anything but what was
/// set last, nor anything after a delete. What is set is hardly ever lost.
#[test]
fn touches_bring_back_nothing_that_was_changed() {
    for tiering in LOCAL {
        let host = Host::new();
        let (cache, peer) = (host.cache(tiering), host.cache(tiering));
        let peer = if tiering == Tiering::L1 { &cache } else { &peer };
        let ended = AtomicBool::new(false);
        let mut lost = 0;
        thread::scope(|scope| {
            let _ending = Ending(&ended);
            for toucher in [&cache, peer] {
                let ended = &ended;
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        toucher.touch("a", secs(1_000)).unwrap();
                    }
                });
            }
            for number in 0..ROUNDS {
                let value = bytes(&number.to_string());
                let is_set = number % 3 != 2;
                if is_set {
                    cache.set_with("a", value.clone(), &ttl(secs(1_000))).unwrap();
                } else {
                    cache.delete("a").unwrap();
                }
                for reader in [&cache, peer, &cache, peer] {
                    let read = reader.get("a");
                    lost += u32::from(is_set && read.is_none());
                    let expected = Some(&value).filter(|_| is_set);
                    assert!(
                        read.is_none() || read.as_ref() == expected,
                        "{tiering} {number} {read:?}"
                    );
                }
            }
        });
        assert!(lost < ROUNDS / 10, "{tiering}: {lost}");
    }
}

#[test]
fn l1_that_is_full_keeps_what_is_touched() {
    let host = Host::new();
    let options = MemoryOptions::new().max_entries(4).shards(1);
    let cache = host.builder(Tiering::L1).memory(options).build().unwrap();
    for key in ["a", "b", "c", "d"] {
        cache.set_with(key, bytes(key), &ttl(secs(10))).unwrap();
    }
    for key in ["a", "b", "c", "d"] {
        assert!(cache.touch(key, secs(100)).unwrap(), "{key}");
        assert_eq!(cache.get(key), Some(bytes(key)));
    }
}
