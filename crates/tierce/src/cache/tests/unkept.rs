//! What a load brings that is to be kept for no time, and the older value that it is loaded in the stead of.

use std::{io, time::Duration};

use bytes::Bytes;

use super::{Host, bytes, secs};
use crate::{
    cache::{Cache, Freshness, LoadOptions, Loaded, ReadOptions},
    tiering::Tiering,
};

const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

fn unkept() -> [Loaded<Bytes>; 3] {
    [
        Loaded::new(bytes("new")).ttl(Duration::ZERO),
        Loaded::absent(),
        Loaded::not_modified().ttl(Duration::ZERO),
    ]
}

fn anew(cache: &Cache, loaded: Loaded<Bytes>) -> Option<Bytes> {
    let options = LoadOptions::new().max_age(Duration::ZERO);
    let load = |_: &_| io::Result::Ok(loaded);
    cache.get_or_load_optional("a", &options, load).unwrap().value
}

/// What any read is given.
fn stale(cache: &Cache) -> Option<Bytes> {
    let options = ReadOptions::new().allow_stale(true);
    cache.get_with("a", &options).map(|answer| answer.value)
}

#[test]
fn an_older_value_goes_with_what_is_not_kept_from_all_tiers_and_processes() {
    for tiering in TIERINGS {
        for loaded in unkept() {
            let host = Host::new();
            let (cache, peer) = (host.cache(tiering), host.cache(tiering));
            let is_shared = tiering != Tiering::L1;
            cache.set("a", bytes("old")).unwrap();
            assert_eq!(peer.get("a"), is_shared.then(|| bytes("old")), "{tiering}");
            _ = anew(&cache, loaded.clone());
            assert_eq!(stale(&cache), None, "{tiering}: {loaded:?}");
            assert_eq!(stale(&peer), None, "{tiering}: {loaded:?}");
        }
    }
}

#[test]
fn a_stale_value_goes_with_what_is_not_kept() {
    let rules = Freshness::new().ttl(secs(10)).stale_if_error(secs(20));
    for tiering in TIERINGS {
        for loaded in unkept() {
            let host = Host::new();
            let cache = host.builder(tiering).freshness(rules.clone()).build().unwrap();
            cache.set("a", bytes("old")).unwrap();
            host.time.advance(secs(12));
            let load = |_: &_| io::Result::Ok(loaded.clone());
            cache.get_or_load_optional("a", &LoadOptions::new(), load).unwrap();
            assert_eq!(stale(&cache), None, "{tiering}: {loaded:?}");
            assert!(cache.get_or_load("a", super::down).is_err(), "{tiering}: {loaded:?}");
        }
    }
}

#[test]
fn that_there_is_no_value_is_not_remembered_for_a_moment_where_it_is_not_to_be() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set("a", bytes("old")).unwrap();
        assert_eq!(anew(&cache, Loaded::absent()), None, "{tiering}");
        // No time passes.
        let found = cache.get_or_load("a", |_| io::Result::Ok(bytes("found")));
        assert_eq!(found.unwrap(), bytes("found"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("found")), "{tiering}");
    }
}

#[test]
fn what_is_set_during_a_load_of_which_nothing_is_kept_stays() {
    for tiering in TIERINGS {
        for loaded in unkept() {
            for by_peer in [false, tiering != Tiering::L1] {
                let host = Host::new();
                let (cache, peer) = (host.cache(tiering), host.cache(tiering));
                cache.set("a", bytes("old")).unwrap();
                let options = LoadOptions::new().max_age(Duration::ZERO);
                let load = |_: &_| {
                    let setter = if by_peer { &peer } else { &cache };
                    setter.set("a", bytes("set")).unwrap();
                    io::Result::Ok(loaded.clone())
                };
                cache.get_or_load_optional("a", &options, load).unwrap();
                assert_eq!(cache.get("a"), Some(bytes("set")), "{tiering}: {loaded:?}");
            }
        }
    }
}
