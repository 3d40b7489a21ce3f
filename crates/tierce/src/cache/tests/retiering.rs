//! Tiers that enter and leave under a running cache.

use super::{Host, bytes};
use crate::{
    cache::Origin,
    tiering::{TierKind, Tiering},
};

const LOCAL: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

#[test]
fn no_change_of_tiering_brings_back_what_a_change_ended() {
    for first in LOCAL {
        for second in LOCAL {
            let host = Host::new();
            let cache = host.cache(first);
            cache.set("kept", bytes("1")).unwrap();
            cache.set("changed", bytes("old")).unwrap();
            cache.set("deleted", bytes("old")).unwrap();
            cache.retier(second).unwrap();
            cache.set("changed", bytes("new")).unwrap();
            cache.delete("deleted").unwrap();
            cache.retier(first).unwrap();
            assert_eq!(cache.tiering(), first);
            let changed = cache.get("changed");
            assert!(
                changed.is_none() || changed == Some(bytes("new")),
                "{first} to {second}: {changed:?}"
            );
            assert_eq!(cache.get("deleted"), None, "{first} to {second}");
        }
    }
}

#[test]
fn leaving_the_store_keeps_what_l1_has() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("1")).unwrap();
    cache.retier(Tiering::L1).unwrap();
    assert_eq!(cache.get_entry("a").unwrap().origin, Origin::Tier(TierKind::Memory));
}

#[test]
fn joining_the_store_voids_what_other_processes_may_have_changed() {
    let host = Host::new();
    let (cache, other) = (host.cache(Tiering::L1), host.cache(Tiering::L1L2));
    cache.set("a", bytes("private")).unwrap();
    other.set("a", bytes("shared")).unwrap();
    cache.retier(Tiering::L1L2).unwrap();
    // What this process set alone ended what the store had, for this process and by now for all.
    assert_ne!(cache.get("a"), Some(bytes("private")));
    cache.set("b", bytes("1")).unwrap();
    cache.retier(Tiering::L1).unwrap();
    other.set("b", bytes("2")).unwrap();
    assert_ne!(cache.get("b"), Some(bytes("1")), "the store's stamps still judge what was shared");
}

#[test]
fn an_entry_of_before_the_store_is_not_served_after_it() {
    let host = Host::new();
    let (cache, other) = (host.cache(Tiering::L1), host.cache(Tiering::L1L2));
    cache.set("a", bytes("private")).unwrap();
    cache.retier(Tiering::L1L2).unwrap();
    // While this process shares, another changes the key, and this one never looks at it.
    other.set("a", bytes("shared")).unwrap();
    cache.retier(Tiering::L1).unwrap();
    assert_ne!(cache.get("a"), Some(bytes("private")));
}

#[test]
fn leaving_l1_frees_its_memory() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    for i in 0..100 {
        cache.set(format!("{i}"), bytes("1")).unwrap();
    }
    assert_eq!(cache.len(), 100);
    cache.retier(Tiering::L2).unwrap();
    assert_eq!(cache.len(), 0);
    assert_eq!(cache.get("7"), Some(bytes("1")));
    assert_eq!(cache.len(), 0);
}

#[test]
fn who_left_the_store_still_tells_it_of_changes() {
    let host = Host::new();
    let (cache, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    for key in ["set", "deleted", "cleared"] {
        other.set(key, bytes("old")).unwrap();
    }
    cache.retier(Tiering::L1).unwrap();
    cache.set("set", bytes("new")).unwrap();
    cache.delete("deleted").unwrap();
    assert_eq!(other.get("set"), None);
    assert_eq!(other.get("deleted"), None);
    cache.clear().unwrap();
    assert_eq!(other.get("cleared"), None);
}

#[test]
fn a_store_that_opens_late_voids_what_was_private_until_then() {
    let host = Host::new();
    let folder = host.folder.path().join("store");
    std::fs::write(&folder, b"a file, where a folder is due").unwrap();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("private")).unwrap();
    std::fs::remove_file(&folder).unwrap();
    cache.retier(Tiering::L1L2).unwrap();
    assert_eq!(cache.health().status.as_str(), "healthy");
    host.cache(Tiering::L1L2).set("a", bytes("shared")).unwrap();
    cache.retier(Tiering::L1).unwrap();
    assert_ne!(cache.get("a"), Some(bytes("private")));
}

#[test]
fn a_store_that_could_not_be_opened_is_tried_again_and_voids_what_came_before() {
    let host = Host::new();
    let path = host.folder.path().join("store");
    std::fs::write(&path, "in the way").unwrap();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("1")).unwrap();
    cache.set("late", bytes("1")).unwrap();
    let trouble = |cache: &crate::Cache| {
        let health = cache.stats();
        health.tiers.iter().find(|tier| tier.kind == TierKind::Shared).unwrap().trouble.clone()
    };
    assert!(trouble(&cache).unwrap().contains("must be a directory"), "{:?}", trouble(&cache));
    assert_eq!(cache.get("a"), Some(bytes("1")), "L1 works alone");
    cache.get("absent");
    std::fs::remove_file(&path).unwrap();
    // Another process finds the store as it should be.
    let other = host.cache(Tiering::L1L2);
    other.set("a", bytes("2")).unwrap();
    let begin = std::time::Instant::now();
    while trouble(&cache).is_some() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", trouble(&cache));
        host.time.advance(std::time::Duration::from_secs(60));
        cache.get("absent");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_ne!(cache.get("a"), Some(bytes("1")), "what this process alone knew is void");
    other.set("a", bytes("3")).unwrap();
    assert_eq!(cache.get("a"), Some(bytes("3")));
    other.set("a", bytes("4")).unwrap();
    assert_eq!(cache.get("a"), Some(bytes("4")));
    other.set("late", bytes("2")).unwrap();
    cache.retier(Tiering::L1).unwrap();
    assert_ne!(cache.get("late"), Some(bytes("1")), "void for good");
}
