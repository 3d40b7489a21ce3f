//! Prefixes over hosts that share a redis-server and were not all built alike.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::io;

use tierce::{Bytes, Cache, SetOptions, TierKind, Tiering};
use tierce_tests::{host::Host, redis::Redis, waiting::wait_until};

const TIERINGS: [Tiering; 4] = [Tiering::L1L2L3, Tiering::L1L3, Tiering::L2L3, Tiering::L3];

fn delimited(redis: &Redis, tiering: Tiering) -> Host {
    Host::built(redis, tiering, |options| options, |builder| builder.prefix_delimiter(b'/'))
}

fn has(cache: &Cache, key: &str) -> bool {
    cache.get(key).is_some()
}

#[test]
fn what_begins_with_a_removed_prefix_is_gone_on_all_hosts() {
    let redis = Redis::start();
    for tiering in TIERINGS {
        let (one, other) = (delimited(&redis, tiering), delimited(&redis, tiering));
        let below = delimited(&redis, Tiering::L3);
        // Built without: it has the delimiter of its store.
        let another = tiering.has(TierKind::Shared).then(|| other.another(&redis, tiering));
        for round in 0..10 {
            let key = |rest: &str| format!("{tiering}/{round}/{rest}");
            for name in ["a/b", "a/c/d", "e"] {
                one.cache.set(key(name), "1".into()).unwrap();
                wait_until("a copy", || has(&other.cache, &key(name)));
            }
            one.cache.remove_prefix(key("a/")).unwrap();
            for name in ["a/b", "a/c/d"] {
                assert!(
                    !has(&below.cache, &key(name)) && !has(&one.cache, &key(name)),
                    "{tiering}"
                );
                for cache in another.iter().chain([&other.cache]) {
                    wait_until("a removal", || !has(cache, &key(name)));
                }
            }
            assert!(has(&other.cache, &key("e")) && has(&below.cache, &key("e")), "{tiering}");
        }
    }
}

#[test]
fn a_host_takes_from_l3_nothing_that_bears_no_tags_of_its_prefixes() {
    let redis = Redis::start();
    for tiering in TIERINGS {
        let (plain, named) = (Host::new(&redis, Tiering::L1L3), delimited(&redis, tiering));
        let key = format!("{tiering}/a");
        plain.cache.set(&key, "old".into()).unwrap();
        assert!(!has(&named.cache, &key), "{tiering}");
        assert_eq!(named.cache.get_many(&[&key]), [None], "{tiering}");
        assert_eq!(named.cache.get_versioned(&key).unwrap().0, None, "{tiering}");
        // What was loaded takes its place.
        let loaded = named.cache.get_or_load(&key, |_| io::Result::Ok(Bytes::from("new")));
        assert_eq!(loaded.unwrap(), "new", "{tiering}");
        let below = delimited(&redis, Tiering::L3);
        assert_eq!(below.cache.get(&key).as_deref(), Some(&b"new"[..]), "{tiering}");
        named.cache.remove_prefix(format!("{tiering}/")).unwrap();
        assert!(!has(&below.cache, &key), "{tiering}");
        // A tag of the same text is none of a prefix.
        let options = SetOptions::new().tags([format!("{tiering}/")]);
        plain.cache.set_with(&key, "old".into(), &options).unwrap();
        assert!(!has(&named.cache, &key), "{tiering}");
    }
}
