//! Each verb in each tiering that needs no server.

use std::time::Duration;

use super::{Host, bytes};
use crate::{
    cache::{Cache, MAX_KEY_BYTES, Origin, SetOptions},
    error::ErrorKind,
    tiering::{TierKind, Tiering},
};

const LOCAL: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

#[test]
fn what_is_set_is_read_until_it_is_deleted_or_cleared() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        assert_eq!(cache.get("a"), None, "{tiering}");
        cache.set("a", bytes("1")).unwrap();
        cache.set("b", bytes("2")).unwrap();
        assert_eq!(cache.get("a"), Some(bytes("1")), "{tiering}");
        cache.set("a", bytes("3")).unwrap();
        assert_eq!(cache.get("a"), Some(bytes("3")), "{tiering}");
        cache.delete("a").unwrap();
        assert_eq!(cache.get("a"), None, "{tiering}");
        assert_eq!(cache.get("b"), Some(bytes("2")), "{tiering}");
        cache.clear().unwrap();
        assert_eq!(cache.get("b"), None, "{tiering}");
    }
}

#[test]
fn a_value_ends_with_its_time_to_live_in_every_tier() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.builder(tiering).default_ttl(Duration::from_secs(10)).build().unwrap();
        cache.set("default", bytes("1")).unwrap();
        cache
            .set_with("short", bytes("2"), &SetOptions::new().ttl(Duration::from_secs(1)))
            .unwrap();
        cache.set_with("ever", bytes("3"), &SetOptions::new().no_ttl()).unwrap();
        cache.set_with("long", bytes("4"), &SetOptions::new().ttl(Duration::MAX)).unwrap();
        host.time.advance(Duration::from_millis(999));
        assert!(cache.get("short").is_some(), "{tiering}");
        host.time.advance(Duration::from_millis(1));
        assert_eq!(cache.get("short"), None, "{tiering}");
        host.time.advance(Duration::from_millis(8999));
        assert!(cache.get("default").is_some(), "{tiering}");
        host.time.advance(Duration::from_millis(1));
        assert_eq!(cache.get("default"), None, "{tiering}");
        host.time.advance(Duration::from_secs(1_000_000));
        assert!(cache.get("ever").is_some() && cache.get("long").is_some(), "{tiering}");
    }
}

#[test]
fn a_backfilled_value_keeps_only_what_remains_of_its_time() {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    one.set_with("a", bytes("1"), &SetOptions::new().ttl(Duration::from_secs(10))).unwrap();
    host.time.advance(Duration::from_secs(9));
    assert_eq!(other.get_entry("a").unwrap().origin, Origin::Tier(TierKind::Shared));
    assert_eq!(other.get_entry("a").unwrap().origin, Origin::Tier(TierKind::Memory));
    host.time.advance(Duration::from_secs(1));
    assert_eq!(other.get("a"), None);
}

#[test]
fn a_time_to_live_of_zero_keeps_nothing_and_removes_what_was_there() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set("a", bytes("1")).unwrap();
        cache.set_with("a", bytes("2"), &SetOptions::new().ttl(Duration::ZERO)).unwrap();
        assert_eq!(cache.get("a"), None, "{tiering}");
    }
}

#[test]
fn empty_keys_and_values_are_keys_and_values() {
    for tiering in LOCAL {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set("", bytes("")).unwrap();
        assert_eq!(cache.get(""), Some(bytes("")), "{tiering}");
    }
}

#[test]
fn a_key_above_the_bound_is_refused_and_never_found() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let (longest, longer) = (vec![7; MAX_KEY_BYTES], vec![7; MAX_KEY_BYTES + 1]);
    cache.set(&longest, bytes("1")).unwrap();
    assert_eq!(cache.get(&longest), Some(bytes("1")));
    let error = cache.set(&longer, bytes("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(cache.get(&longer), None);
    cache.delete(&longer).unwrap();
}

#[test]
fn a_value_too_large_for_a_tier_replaces_the_old_one_all_the_same() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("old")).unwrap();
    cache.set("a", vec![1; 64 << 20].into()).unwrap();
    assert_ne!(cache.get("a"), Some(bytes("old")));
    assert_ne!(host.cache(Tiering::L2).get("a"), Some(bytes("old")));
}

#[test]
fn a_closed_cache_misses_and_refuses_changes() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("1")).unwrap();
    cache.close();
    cache.close();
    assert_eq!(cache.get("a"), None);
    for refused in [
        cache.set("a", bytes("2")),
        cache.delete("a"),
        cache.clear(),
        cache.retier(Tiering::L1),
        cache.get_or_load("a", |_| Ok::<_, std::io::Error>(bytes("3"))).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn options_out_of_range_are_refused_at_build() {
    let zero = Cache::builder().default_ttl(Duration::ZERO).build().unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::Config);
    assert!(zero.to_string().contains("default_ttl"), "{zero}");
}

#[test]
fn hits_misses_and_backfills_are_counted_where_they_happen() {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    one.set("a", bytes("1")).unwrap();
    for _ in 0..3 {
        other.get("a").unwrap();
    }
    assert_eq!(other.get("b"), None);
    let stats = other.stats();
    assert_eq!((stats.hits, stats.misses), (3, 1));
    assert_eq!(stats.last_hit_tier, Some(TierKind::Memory));
    let memory = stats.tier(TierKind::Memory).unwrap();
    assert_eq!((memory.hits, memory.misses, memory.backfills), (2, 2, 1));
    let shared = stats.tier(TierKind::Shared).unwrap();
    assert_eq!((shared.hits, shared.misses, shared.backfills), (1, 1, 0));
}

#[test]
fn reads_below_l1_are_timed_whichever_verb_asked() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    cache.get("a");
    let load = || cache.get_or_load("a", |_| std::io::Result::Ok(bytes("1")));
    load().unwrap();
    host.cache(Tiering::L2).set("a", bytes("2")).unwrap();
    load().unwrap();
    let stats = cache.stats();
    assert_eq!((stats.operation_latency.count, stats.load_latency.count), (3, 1));
    assert!(stats.latency.p50 > Duration::ZERO);
}

#[test]
fn a_store_that_cannot_be_opened_degrades_the_cache_and_fails_nothing() {
    let host = Host::new();
    std::fs::write(host.folder.path().join("store"), b"a file, where a folder is due").unwrap();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("1")).unwrap();
    assert_eq!(cache.get("a"), Some(bytes("1")));
    let health = cache.health();
    assert_eq!(health.status.as_str(), "degraded");
    assert!(health.dependencies[1].reason.is_some());
    assert_eq!(cache.stats().tier(TierKind::Shared).unwrap().errors_total(), 1);
}
