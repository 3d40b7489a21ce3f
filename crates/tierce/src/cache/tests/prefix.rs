//! What a prefix of keys does: all whose keys begin so goes together, whoever put it there.

use std::{io, thread};

use bytes::Bytes;

use super::{Host, bytes, secs};
use crate::{
    cache::{Builder, Cache, Freshness, LoadOptions, Loaded, ReadOptions, SetOptions},
    error::ErrorKind,
    tiering::Tiering,
};

/// The tierings that need no server.
const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

fn delimited(host: &Host, tiering: Tiering) -> Builder {
    host.builder(tiering).prefix_delimiter(b'/')
}

fn cache(host: &Host, tiering: Tiering) -> Cache {
    delimited(host, tiering).build().unwrap()
}

fn has(cache: &Cache, key: &str) -> bool {
    cache.get(key).is_some()
}

#[test]
fn all_whose_keys_begin_so_go_whichever_verb_put_them_there() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        let put = |name: &str| {
            let key = |verb: &str| format!("{name}/{verb}");
            cache.set(key("set"), bytes("1")).unwrap();
            let tags: Vec<String> = (0..128).map(|tag| tag.to_string()).collect();
            let most = SetOptions::new().tags(&tags);
            cache.set_with(key("with the most tags"), bytes("1"), &most).unwrap();
            cache.set_if_absent(key("set if absent"), bytes("1"), &SetOptions::new()).unwrap();
            cache.increment(key("increment"), 1).unwrap();
            cache.increment(key("increment"), 1).unwrap();
            let load = |_: &[u8]| io::Result::Ok(bytes("1"));
            cache.get_or_load(key("load"), load).unwrap();
            let loads = |keys: &[&[u8]]| io::Result::Ok(vec![bytes("1"); keys.len()]);
            cache.get_or_load_many(&[key("many"), key("more")], loads).unwrap();
            cache.set(key("touch"), bytes("1")).unwrap();
            assert!(cache.touch(key("touch"), secs(60)).unwrap());
            let verbs = ["set", "with the most tags", "set if absent", "increment", "load", "many"];
            verbs.into_iter().chain(["more", "touch"]).map(key).collect::<Vec<_>>()
        };
        let (mine, others) = (put("user/7"), put("user/8"));
        let (deep, beside) = (put("user/7/posts/1"), put("user/7x"));
        assert!(mine.iter().chain(&deep).all(|key| has(&cache, key)), "{tiering}");
        cache.remove_prefix("user/7/").unwrap();
        for key in mine.iter().chain(&deep) {
            assert!(!has(&cache, key), "{tiering} {key}");
        }
        for key in others.iter().chain(&beside) {
            assert!(has(&cache, key), "{tiering} {key}");
        }
        cache.remove_prefixes(["user/8/", "user/7x/"]).unwrap();
        assert!(!others.iter().chain(&beside).any(|key| has(&cache, key)), "{tiering}");
        // What comes after it stays.
        cache.set("user/7/set", bytes("2")).unwrap();
        assert!(has(&cache, "user/7/set"), "{tiering}");
    }
}

#[test]
fn a_key_deeper_than_eight_goes_by_its_first_eight_prefixes() {
    let host = Host::new();
    let cache = cache(&host, Tiering::L1L2);
    let key = "1/2/3/4/5/6/7/8/9/10";
    cache.set(key, bytes("1")).unwrap();
    let error = cache.remove_prefix("1/2/3/4/5/6/7/8/9/").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("at most 8"), "{error}");
    assert!(has(&cache, key));
    cache.remove_prefix("1/2/3/4/5/6/7/8/").unwrap();
    assert!(!has(&cache, key));
}

#[test]
fn a_prefix_makes_stale_what_has_a_window() {
    for tiering in TIERINGS {
        let host = Host::new();
        let rules = Freshness::new().ttl(secs(10)).stale_if_error(secs(20));
        let cache = delimited(&host, tiering).freshness(rules).build().unwrap();
        cache.set("a/b", bytes("1")).unwrap();
        cache.expire_prefix("a/").unwrap();
        assert!(!has(&cache, "a/b"), "{tiering}");
        let stale = cache.get_with("a/b", &ReadOptions::new().allow_stale(true)).unwrap();
        assert!(stale.is_stale && stale.value == "1", "{tiering}");
    }
}

#[test]
fn a_load_from_before_a_removal_by_prefix_is_for_its_callers_alone() {
    for tiering in TIERINGS {
        let host = Host::new();
        let (here, other) = (cache(&host, tiering), cache(&host, tiering));
        let changers = if tiering == Tiering::L1 { vec![&here] } else { vec![&here, &other] };
        for changer in changers {
            let load = |_: &[u8]| {
                changer.remove_prefix("a/").unwrap();
                io::Result::Ok(bytes("old"))
            };
            assert_eq!(here.get_or_load("a/b", load).unwrap(), bytes("old"));
            assert!(!has(&here, "a/b"), "{tiering}");
        }
    }
}

#[test]
fn a_value_that_is_not_modified_bears_the_tags_of_its_prefixes() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        let tags: Vec<String> = (0..128).map(|tag| tag.to_string()).collect();
        let most = SetOptions::new().tags(&tags).ttl(secs(60));
        cache.set_with("a/b", bytes("1"), &most).unwrap();
        let options = LoadOptions::new().max_age(secs(0));
        let load = |_: &[u8]| io::Result::Ok(Loaded::<Bytes>::not_modified());
        let kept = cache.get_or_load_with("a/b", &options, load).unwrap();
        assert_eq!(kept.value, bytes("1"), "{tiering}");
        assert!(has(&cache, "a/b"), "{tiering}");
        cache.remove_prefix("a/").unwrap();
        assert!(!has(&cache, "a/b"), "{tiering}");
    }
}

#[test]
fn processes_of_a_store_have_the_delimiter_of_the_first_that_names_one() {
    for tiering in [Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let plain = host.cache(tiering);
        plain.set("a/b", bytes("old")).unwrap();
        assert!(has(&plain, "a/b"));
        assert_eq!(plain.remove_prefix("a/").unwrap_err().kind(), ErrorKind::Config);
        let mut named = None;
        // A load from before: its value bears no tags.
        let load = |_: &[u8]| {
            named = Some(cache(&host, tiering));
            io::Result::Ok(bytes("old"))
        };
        plain.get_or_load("a/c", load).unwrap();
        let named = named.unwrap();
        for key in ["a/b", "a/c"] {
            assert!(!has(&plain, key) && !has(&named, key), "{tiering} {key}: it bears no tags");
        }
        // From now on those who were built without it have it too.
        for setter in [&plain, &named] {
            for remover in [&plain, &named] {
                setter.set("a/b", bytes("new")).unwrap();
                assert!(has(&plain, "a/b") && has(&named, "a/b"), "{tiering}");
                remover.remove_prefix("a/").unwrap();
                assert!(!has(&plain, "a/b") && !has(&named, "a/b"), "{tiering}");
            }
        }
        let refused = host.builder(tiering).prefix_delimiter(b':').build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        let message = refused.to_string();
        assert!(message.contains("prefix_delimiter ':'") && message.contains("'/'"), "{message}");
    }
}

#[test]
fn without_a_delimiter_no_entry_bears_a_tag_and_the_call_says_what_is_missing() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    cache.set("a/b", bytes("1")).unwrap();
    let bears = |near: &crate::cache::Near<Bytes>| near.tags().is_some();
    assert_eq!(cache.inner.memory.get_with(&b"a/b"[..], bears), Some(false));
    for error in [cache.remove_prefix("a/").unwrap_err(), cache.expire_prefix("a/").unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(message.contains("\"a/\"") && message.contains("prefix_delimiter"), "{message}");
    }
    let named = self::cache(&host, Tiering::L1);
    let message = named.remove_prefix("a").unwrap_err().to_string();
    assert!(message.contains("prefix \"a\": must end in"), "{message}");
    named.set("plain", bytes("1")).unwrap();
    let bears = |near: &crate::cache::Near<Bytes>| near.tags().is_some();
    assert_eq!(named.inner.memory.get_with(&b"plain"[..], bears), Some(false));
    named.close();
    assert_eq!(named.remove_prefix("a/").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn readers_never_see_a_value_older_than_the_last_removal_by_prefix() {
    const ROUNDS: u64 = 2_000;
    use std::sync::atomic::{AtomicU64, Ordering};
    for tiering in TIERINGS {
        let host = Host::new();
        let one = cache(&host, tiering);
        // Built without a delimiter: it has that of the store.
        let two = if tiering == Tiering::L1 { one.clone() } else { host.cache(tiering) };
        let (origin, removed) = (AtomicU64::new(1), AtomicU64::new(1));
        let read = |cache: &Cache| {
            let load = |_: &[u8]| {
                let value = origin.load(Ordering::SeqCst);
                thread::yield_now();
                io::Result::Ok(bytes(&value.to_string()))
            };
            let value = cache.get_or_load("a/b/c", load).unwrap();
            std::str::from_utf8(&value).unwrap().parse::<u64>().unwrap()
        };
        thread::scope(|scope| {
            for cache in [&one, &two, &one, &two] {
                scope.spawn(|| {
                    while removed.load(Ordering::SeqCst) < ROUNDS {
                        let least = removed.load(Ordering::SeqCst);
                        let value = read(cache);
                        assert!(value >= least, "{tiering}: {value} after {least} was removed");
                    }
                });
            }
            for round in 2..=ROUNDS {
                origin.store(round, Ordering::SeqCst);
                let prefix = if round % 3 == 0 { "a/" } else { "a/b/" };
                if round % 2 == 0 { &one } else { &two }.remove_prefix(prefix).unwrap();
                removed.store(round, Ordering::SeqCst);
                thread::yield_now();
            }
        });
    }
}
