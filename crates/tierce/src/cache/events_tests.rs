use std::{
    io,
    sync::{Barrier, atomic::AtomicUsize, mpsc},
};

use bytes::Bytes;

use super::*;
use crate::{
    cache::LoadOptions,
    load::testing::{PATIENCE, block_on, until},
    memory::MemoryOptions,
};

fn heard(cache: &Cache) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel();
    cache.on_event(move |event| _ = sender.send(event.clone()));
    events
}

/// The events until now, as text: what comes last is told last.
fn told(cache: &Cache, events: &mpsc::Receiver<Event>) -> Vec<String> {
    cache.set("the last", Bytes::new()).unwrap();
    let mut told = Vec::new();
    loop {
        let event = events.recv_timeout(PATIENCE).unwrap();
        let text = match &event {
            Event::Set { key } if **key == *b"the last" => return told,
            Event::Hit { key, tier } => format!("hit {} {}", key.escape_ascii(), tier.short()),
            Event::Stale { key, tier } => format!("stale {} {}", key.escape_ascii(), tier.short()),
            Event::Miss { key } => format!("miss {}", key.escape_ascii()),
            Event::Load { key, reason, error, .. } => {
                let failed = if error.is_some() { " failed" } else { "" };
                format!("load {} {}{failed}", key.escape_ascii(), reason.as_str())
            }
            Event::Set { key } => format!("set {}", key.escape_ascii()),
            Event::Delete { key } => format!("delete {}", key.escape_ascii()),
            Event::Expire { key } => format!("expire {}", key.escape_ascii()),
            Event::Touch { key } => format!("touch {}", key.escape_ascii()),
            Event::Clear {} => "clear".to_owned(),
            Event::Evict { key, cause } => format!("evict {} {cause:?}", key.escape_ascii()),
            Event::EvictShared { for_room, expired } => format!("evict L2 {for_room} {expired}"),
            Event::Invalidate { key } => format!("invalidate {}", key.escape_ascii()),
            Event::InvalidateMany { is_all } => format!("invalidate many {is_all}"),
            Event::Tags { tags, is_removed } => format!("tags {} {is_removed}", list(tags)),
            Event::Prefixes { prefixes, is_removed } => {
                format!("prefixes {} {is_removed}", list(prefixes))
            }
            Event::Breaker { tier, state } => {
                format!("breaker {} {}", tier.short(), state.as_str())
            }
            Event::Gate { state } => format!("gate {state}"),
            Event::Reset { tier } => format!("reset {}", tier.short()),
            Event::Retier { from, to } => format!("retier {from} {to}"),
        };
        told.push(text);
    }
}

fn list(names: &[Box<[u8]>]) -> String {
    let names = names.iter().map(|name| name.escape_ascii().to_string());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_call_is_told_in_its_order() {
    let cache = Cache::builder().prefix_delimiter(b'/').build().unwrap();
    let events = heard(&cache);
    assert_eq!(cache.get("a"), None);
    cache.get_or_load("a", |_| io::Result::Ok(Bytes::from("1"))).unwrap();
    cache.get("a");
    cache.get_or_load("b", |_| io::Result::<Bytes>::Err(io::Error::other("down"))).unwrap_err();
    cache.set("a", Bytes::from("2")).unwrap();
    cache.touch("a", Duration::from_secs(60)).unwrap();
    cache.touch("b", Duration::from_secs(60)).unwrap();
    cache.delete("a").unwrap();
    cache.expire("b").unwrap();
    cache.remove_tags(["red", "blue"]).unwrap();
    cache.expire_tag("green").unwrap();
    cache.remove_prefixes(["a/", "b/"]).unwrap();
    cache.expire_prefix("c/").unwrap();
    cache.clear().unwrap();
    let load = async |_| io::Result::Ok(Bytes::from("3"));
    block_on(cache.get_or_load_async("c", &LoadOptions::new(), load)).unwrap();
    assert_eq!(
        told(&cache, &events),
        [
            "miss a",
            "load a miss",
            "miss a",
            "hit a L1",
            "load b miss failed",
            "miss b",
            "set a",
            "touch a",
            "delete a",
            "expire b",
            "tags red blue true",
            "tags green false",
            "prefixes a/ b/ true",
            "prefixes c/ false",
            "clear",
            "load c miss",
            "miss c",
        ]
    );
    assert_eq!(cache.events_dropped(), 0);
}

#[test]
fn what_leaves_for_room_is_told_with_its_cause() {
    let options = MemoryOptions::new().max_entries(10);
    let cache = Cache::builder().memory(options).build().unwrap();
    for key in 0..100 {
        cache.set(format!("before {key}"), Bytes::new()).unwrap();
    }
    let events = heard(&cache);
    for key in 0..100 {
        cache.set(format!("{key}"), Bytes::new()).unwrap();
    }
    let told = told(&cache, &events);
    let evicted = told.iter().filter(|event| event.starts_with("evict")).count();
    assert!((95..=101).contains(&evicted), "{told:?}");
    assert!(told.iter().all(|event| !event.starts_with("evict") || event.ends_with("Size")));
}

#[test]
fn nobody_waits_for_a_listener_and_what_it_misses_is_counted() {
    let cache = Cache::builder().build().unwrap();
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let calls = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&calls);
    cache.on_event(move |_| {
        theirs.fetch_add(1, Ordering::Relaxed);
        _ = held.lock().unwrap().recv();
    });
    let count = 3 * MAX_QUEUED;
    for _ in 0..count {
        cache.get("a");
    }
    let dropped = cache.events_dropped() as usize;
    assert!((count - 2 * MAX_QUEUED..count).contains(&dropped), "{dropped}");
    drop(release);
    until(|| calls.load(Ordering::Relaxed) + dropped == count);
}

#[test]
fn a_listener_may_use_the_cache_and_panic_and_others_are_told_all_the_same() {
    let cache = Cache::builder().build().unwrap();
    let weak = Arc::downgrade(&cache.inner);
    cache.on_event(move |event| {
        if let (Event::Set { key }, Some(inner)) = (event, weak.upgrade())
            && **key == *b"a"
        {
            Cache { inner }.set("b", Bytes::new()).unwrap();
            panic!("the listener's own");
        }
    });
    let events = heard(&cache);
    cache.set("a", Bytes::new()).unwrap();
    let told: Vec<_> = (0..2).map(|_| events.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(matches!(&told[..], [Event::Set { key: a }, Event::Set { key: b }]
        if **a == *b"a" && **b == *b"b"));
    assert_eq!(cache.inner.events.shared.panics.load(Ordering::Relaxed), 1);
}

#[test]
fn without_a_listener_no_event_is_made() {
    let events = Events::new();
    events.tell(|| panic!("nobody listens"));
    assert_eq!(events.shared.crew.threads(), 0);
}

#[test]
fn a_closed_cache_lets_its_listeners_go() {
    let mark = Arc::new(());
    for closes in [true, false] {
        let cache = Cache::builder().build().unwrap();
        let theirs = Arc::clone(&mark);
        cache.on_event(move |_| _ = &theirs);
        cache.set("a", Bytes::new()).unwrap();
        if closes {
            cache.close();
            let theirs = Arc::clone(&mark);
            cache.on_event(move |_| _ = &theirs);
        } else {
            drop(cache);
        }
        until(|| Arc::strong_count(&mark) == 1);
    }
}

#[test]
fn events_of_many_threads_are_all_told_or_counted() {
    let cache = Cache::builder().build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let (theirs, start) = (Arc::clone(&calls), Barrier::new(4));
    cache.on_event(move |_| _ = theirs.fetch_add(1, Ordering::Relaxed));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                (0..10_000).for_each(|_| _ = cache.get("a"));
            });
        }
    });
    until(|| calls.load(Ordering::Relaxed) + cache.events_dropped() as usize == 40_000);
}

#[test]
#[cfg(unix)]
fn a_forked_child_tells_its_own_events_only() {
    sync::testing::apart(module_path!(), "a_forked_child_tells_its_own_events_only", || {
        let cache = Cache::builder().build().unwrap();
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let theirs = (Arc::clone(&calls), Arc::clone(&gate));
        cache.on_event(move |_| {
            theirs.0.fetch_add(1, Ordering::Relaxed);
            while !theirs.1.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });
        // One is being told while the process forks, and another waits.
        cache.get("a");
        until(|| calls.load(Ordering::Relaxed) == 1);
        cache.get("a");
        sync::testing::forked(|| {
            gate.store(true, Ordering::Relaxed);
            cache.get("a");
            until(|| calls.load(Ordering::Relaxed) == 2);
            until(|| !cache.inner.events.shared.lock().is_told);
            calls.load(Ordering::Relaxed) == 2
        });
        gate.store(true, Ordering::Relaxed);
        until(|| calls.load(Ordering::Relaxed) == 2);
    });
}
