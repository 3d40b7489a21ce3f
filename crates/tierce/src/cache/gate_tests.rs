use std::sync::atomic::AtomicU32;

use super::*;
use crate::{Bytes, Clock, Freshness, ReadOptions};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from(text)
}

fn load(cache: &Cache, key: &str) -> Result<Bytes> {
    cache.get_or_load(key, |_| std::io::Result::Ok(bytes("loaded")))
}

#[test]
fn under_load_just_the_share_passes_and_hits_of_l1_go_on() {
    let cache = Cache::builder().build().unwrap();
    cache.set("near", bytes("1")).unwrap();
    cache.shed_to(0.7, Shedding::Error).unwrap();
    let (loads, shed) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, loads, shed) = (&cache, &loads, &shed);
            scope.spawn(move || {
                for number in 0..5_000 {
                    let outcome = cache.get_or_load(format!("{thread}:{number}"), |_| {
                        loads.fetch_add(1, Ordering::Relaxed);
                        std::io::Result::Ok(bytes("2"))
                    });
                    match outcome {
                        Ok(_) => {}
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                            shed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (loads, shed) = (loads.into_inner(), shed.into_inner());
    assert_eq!(loads + shed, 20_000);
    assert!(shed.abs_diff(6_000) <= 20, "{shed} of 20,000 were shed");
    assert_eq!(cache.gate().turned_away, u64::from(shed));
    assert_eq!(cache.stats().load_failures, 0);
    assert!((0..1000).all(|_| cache.get("near").is_some()), "what L1 has is served");
    cache.lift().unwrap();
    assert!((0..1000).all(|number| load(&cache, &format!("o{number}")).is_ok()));
    assert_eq!(cache.gate().to_string(), "open");
}

#[test]
fn a_call_that_is_shed_gets_a_stale_value_where_that_is_allowed() {
    let (clock, time) = Clock::manual();
    let freshness =
        Freshness::new().ttl(Duration::from_secs(1)).stale_if_error(Duration::from_secs(60));
    let cache = Cache::builder().clock(clock).freshness(freshness).build().unwrap();
    cache.set("a", bytes("old")).unwrap();
    time.advance(Duration::from_secs(2));
    cache.shed_to(0.0, Shedding::Error).unwrap();
    assert_eq!(load(&cache, "a").unwrap_err().kind(), ErrorKind::Busy);
    cache.shed_to(0.0, Shedding::Stale).unwrap();
    assert_eq!(load(&cache, "a").unwrap(), "old");
    assert_eq!(load(&cache, "b").unwrap_err().kind(), ErrorKind::Busy, "there is none");
    let of_task = |key: &'static str| {
        let load = |_| async { std::io::Result::Ok(bytes("new")) };
        let options = crate::LoadOptions::new();
        let answer = cache.get_or_load_async(key, &options, load);
        crate::load::testing::block_on(answer).map(|answer| answer.value)
    };
    assert_eq!(of_task("a").unwrap(), "old");
    assert_eq!(of_task("b").unwrap_err().kind(), ErrorKind::Busy);
    let many = |keys: &[&str]| {
        cache.get_or_load_many(keys, |keys: &[&[u8]]| {
            std::io::Result::Ok(keys.iter().map(|_| Some(bytes("new"))).collect::<Vec<_>>())
        })
    };
    assert_eq!(many(&["a"]).unwrap(), [Some(bytes("old"))]);
    assert_eq!(many(&["a", "b"]).unwrap_err().kind(), ErrorKind::Busy);
    cache.lift().unwrap();
    assert_eq!(load(&cache, "a").unwrap(), "loaded");
}

#[test]
fn while_it_is_blocked_nothing_is_served_or_taken_and_removals_are_made() {
    let cache = Cache::builder().build().unwrap();
    cache.set("a", bytes("1")).unwrap();
    cache.set("b", bytes("2")).unwrap();
    cache.block().unwrap();
    assert!(cache.gate().is_blocked);
    assert_eq!((cache.get("a"), cache.get_near("a")), (None, None));
    assert_eq!(cache.get_many(&["a", "b"]), [None, None]);
    assert!(cache.get_with("a", &ReadOptions::new()).is_none());
    assert_eq!(load(&cache, "a").unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(cache.set("a", bytes("3")).unwrap_err().kind(), ErrorKind::Denied);
    cache.delete("b").unwrap();
    cache.lift().unwrap();
    assert_eq!((cache.get("a"), cache.get("b")), (Some(bytes("1")), None));
}

#[test]
#[cfg(all(feature = "shared", target_os = "linux"))]
fn what_is_shed_is_not_asked_below_and_changes_reach_all_tiers() {
    use crate::Tiering;
    let folder = tempfile::tempdir().unwrap();
    let options = crate::StoreOptions::new(folder.path().join("s")).max_bytes(4 << 20);
    let cache = Cache::builder().tiering(Tiering::L1L2).shared(options).build().unwrap();
    cache.shed_to(0.0, Shedding::Error).unwrap();
    cache.set("a", bytes("1")).unwrap();
    // It stays in force whatever becomes of the tiers.
    cache.retier(Tiering::L2).unwrap();
    assert_eq!(cache.get("a"), None, "not even L2 is asked");
    cache.lift().unwrap();
    assert_eq!(cache.get("a"), Some(bytes("1")), "the change had reached it");
}

#[test]
fn all_entries_are_made_stale_or_loaded_anew_at_a_rate_until_told_to_stop() {
    let (clock, _time) = Clock::manual();
    let freshness =
        Freshness::new().ttl(Duration::from_secs(60)).stale_if_error(Duration::from_secs(60));
    let cache = Cache::builder().clock(clock).freshness(freshness).build().unwrap();
    let keys: Vec<String> = (0..100).map(|number| format!("k{number}")).collect();
    keys.iter().for_each(|key| cache.set(key, bytes("old")).unwrap());
    let begin = std::time::Instant::now();
    assert_eq!(
        cache.reload_all(1000, || true, |_| std::io::Result::Ok(bytes("new"))).unwrap(),
        100
    );
    assert!(begin.elapsed() >= Duration::from_millis(99), "a thousand a second");
    assert!(keys.iter().all(|key| cache.get(key) == Some(bytes("new"))));
    let left = AtomicU32::new(40);
    let goes_on = || left.fetch_sub(1, Ordering::Relaxed) > 0;
    assert_eq!(cache.expire_all(1_000_000, goes_on).unwrap(), 40);
    assert_eq!(keys.iter().filter(|key| cache.get(key).is_none()).count(), 40);
    assert_eq!(cache.expire_all(0, || true).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn what_an_operator_does_is_told_as_events() {
    let cache = Cache::builder().build().unwrap();
    let (sender, events) = std::sync::mpsc::channel();
    cache.on_event(move |event| _ = sender.send(event.clone()));
    cache.shed_to(0.7, Shedding::Stale).unwrap();
    cache.lift().unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Event::Gate { state } = events.recv().unwrap() {
            told.push(state.to_string());
        }
    }
    assert_eq!(told, ["70 % pass, the others get: stale", "open"]);
    assert_eq!(cache.shed_to(1.5, Shedding::Stale).unwrap_err().kind(), ErrorKind::Config);
    cache.close();
    assert_eq!(cache.block().unwrap_err().kind(), ErrorKind::Closed);
}
