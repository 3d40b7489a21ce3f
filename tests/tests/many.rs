//! `get_many`: what each tier has comes at once, is filed above, and never after a change.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tierce::{
    Builder, Bytes, Cache, Codec, Format, MemoryOptions, Origin, RedisOptions, StoreOptions,
    TierKind, Tiering,
};
use tierce_tests::{redis::Redis, store_folder};

const RELAXED: Duration = Duration::from_secs(10);

fn builder(folder: &Path, redis: &Redis, tiering: Tiering) -> Builder {
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .connect_timeout(RELAXED)
        .read_timeout(RELAXED)
        .write_timeout(RELAXED)
        .coherence(false);
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.join("store")).max_bytes(16 << 20))
        .redis(options)
}

fn cache(folder: &Path, redis: &Redis, tiering: Tiering) -> Cache {
    builder(folder, redis, tiering).build().unwrap()
}

fn origins(cache: &Cache, keys: &[&str]) -> Vec<Option<(Bytes, Origin)>> {
    let answers = cache.get_many_entries(keys).into_iter();
    answers.map(|answer| answer.map(|answer| (answer.value, answer.origin))).collect()
}

fn trips(cache: &Cache) -> u64 {
    cache.redis_statistics().map_or(0, |redis| redis.round_trips)
}

#[test]
fn each_tier_answers_for_what_it_has_and_the_tiers_above_keep_it() {
    let (folder, elsewhere, redis) = (store_folder(), store_folder(), Redis::start());
    let ours = cache(folder.path(), &redis, Tiering::L1L2L3);
    let beside = cache(folder.path(), &redis, Tiering::L2);
    let remote = cache(elsewhere.path(), &redis, Tiering::L3);
    ours.set("memory", "1".into()).unwrap();
    beside.set("shared", "2".into()).unwrap();
    for number in 0..100 {
        remote.set(format!("redis:{number}"), Bytes::from(format!("3.{number}"))).unwrap();
    }
    let names: Vec<String> = (0..100).map(|number| format!("redis:{number}")).collect();
    let mut keys = vec!["memory", "none", "shared", "memory", "redis:7"];
    keys.extend(names.iter().map(String::as_str));
    let answer = |value: &str, tier| Some((Bytes::from(value.to_owned()), Origin::Tier(tier)));

    // Connected before, so that this is no trip of those that are counted.
    assert_eq!(ours.get("nothing"), None);
    let (before, misses) = (trips(&ours), ours.stats().misses);
    let found = origins(&ours, &keys);
    assert_eq!(trips(&ours) - before, 1);
    assert_eq!(ours.stats().misses - misses, 1);
    assert_eq!(found[0], answer("1", TierKind::Memory));
    assert_eq!(found[1], None);
    assert_eq!(found[2], answer("2", TierKind::Shared));
    assert_eq!(found[3], answer("1", TierKind::Memory));
    assert_eq!(found[4], answer("3.7", TierKind::Redis));
    for (number, found) in found[5..].iter().enumerate() {
        assert_eq!(*found, answer(&format!("3.{number}"), TierKind::Redis));
    }

    // Found again in L1, by others of the host in L2, and without L3.
    keys.retain(|key| *key != "none");
    let before = trips(&ours);
    for (key, found) in keys.iter().zip(origins(&ours, &keys)) {
        assert_eq!(found.unwrap().1, Origin::Tier(TierKind::Memory), "{key}");
    }
    for (key, found) in keys[3..].iter().zip(origins(&beside, &keys[3..])) {
        assert_eq!(found.unwrap().1, Origin::Tier(TierKind::Shared), "{key}");
    }
    assert_eq!(trips(&ours), before);
}

#[test]
fn a_copy_above_lives_no_longer_than_what_was_found() {
    let (folder, redis) = (store_folder(), Redis::start());
    let remote = cache(folder.path(), &redis, Tiering::L3);
    let options = tierce::SetOptions::new().ttl(Duration::from_secs(1));
    for key in ["a", "b"] {
        remote.set_with(key, "v".into(), &options).unwrap();
    }
    let begin = Instant::now();
    let ours = cache(folder.path(), &redis, Tiering::L1L2L3);
    assert_eq!(ours.get_many(&["a", "b"]), [Some("v".into()), Some("v".into())]);
    std::thread::sleep(Duration::from_millis(1100).saturating_sub(begin.elapsed()));
    assert_eq!(ours.get_many(&["a", "b"]), [None, None]);
}

#[test]
fn no_keys_long_keys_and_a_closed_cache_find_nothing() {
    let (folder, redis) = (store_folder(), Redis::start());
    for tiering in Tiering::ALL {
        let cache = cache(folder.path(), &redis, tiering);
        assert!(cache.get_many::<&str>(&[]).is_empty());
        cache.set("a", "1".into()).unwrap();
        let long = "k".repeat(tierce::MAX_KEY_BYTES + 1);
        let keys = ["a", &long, "", "a"];
        let before = cache.stats().misses;
        let found = cache.get_many(&keys);
        assert_eq!(found, [Some("1".into()), None, None, Some("1".into())], "{tiering}");
        assert_eq!(cache.stats().misses - before, 1, "{tiering}");
        cache.close();
        assert_eq!(cache.get_many(&keys), [None, None, None, None], "{tiering}");
    }
}

/// Changes a cache while it brings a value up.
#[derive(Clone, Default)]
struct Meanwhile(Arc<Mutex<Option<Act>>>);

type Act = Box<dyn FnOnce() + Send>;

impl Codec<Bytes> for Meanwhile {
    fn encode(&self, value: &Bytes) -> tierce::Result<(Bytes, Format)> {
        Ok((value.clone(), Format::Raw))
    }

    fn decode(&self, bytes: Bytes, _: Format) -> tierce::Result<Bytes> {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        Ok(bytes)
    }

    fn weight(&self, value: &Bytes) -> usize {
        value.len()
    }
}

#[test]
fn what_was_changed_between_the_look_up_and_the_filing_is_not_kept() {
    type Change = fn(&Cache);
    let changes: [(&str, Change, Option<Bytes>); 3] = [
        ("delete", |cache| cache.delete("b").unwrap(), None),
        ("set", |cache| cache.set("b", "new".into()).unwrap(), Some("new".into())),
        ("clear", |cache| cache.clear().unwrap(), None),
    ];
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        for by_another in [false, true] {
            if by_another && !tiering.has(TierKind::Shared) {
                // Another host: told of by the stream, not here.
                continue;
            }
            for (verb, change, after) in &changes {
                let folder = store_folder();
                let codec = Meanwhile::default();
                let ours =
                    builder(folder.path(), &redis, tiering).build_with(codec.clone()).unwrap();
                let remote = cache(store_folder().path(), &redis, Tiering::L3);
                for key in ["a", "b"] {
                    remote.set(key, "old".into()).unwrap();
                }
                let changer =
                    if by_another { cache(folder.path(), &redis, tiering) } else { ours.clone() };
                let change = *change;
                *codec.0.lock().unwrap() = Some(Box::new(move || change(&changer)));
                // The change comes when both were read and the first is about to be filed.
                let found = ours.get_many(&["a", "b"]);
                assert_eq!(found[1], Some("old".into()), "read before the {verb}");
                assert!(codec.0.lock().unwrap().is_none(), "changed meanwhile");
                let what = format!("{verb} in {tiering}, by another process: {by_another}");
                assert_eq!(ours.get("b"), *after, "{what}");
                assert_eq!(ours.get_many(&["b"]), std::slice::from_ref(after), "{what}");
            }
        }
    }
}

#[test]
fn keys_that_changed_during_an_outage_are_not_asked_for() {
    for tiering in [Tiering::L3, Tiering::L2L3, Tiering::L1L3] {
        let (folder, redis) = (store_folder(), Redis::start());
        let cache = builder(folder.path(), &redis, tiering)
            .redis(
                RedisOptions::new()
                    .unix_path(redis.socket())
                    .read_timeout(Duration::from_millis(500))
                    .write_timeout(Duration::from_millis(500))
                    .coherence(false),
            )
            .build()
            .unwrap();
        let remote = self::cache(store_folder().path(), &redis, Tiering::L3);
        for key in ["changed", "other"] {
            remote.set(key, "old".into()).unwrap();
        }
        redis.signal(libc::SIGSTOP);
        cache.delete("changed").unwrap();
        redis.signal(libc::SIGCONT);
        let begin = Instant::now();
        loop {
            let found = cache.get_many(&["changed", "other"]);
            assert_eq!(found[0], None, "{tiering}");
            if found[1].is_some() {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{tiering}: L3 does not come back");
            std::thread::sleep(Duration::from_millis(5));
        }
        // The server still has it: nobody replays a change that may be under way.
        assert!(begin.elapsed() > Duration::from_secs(2) || remote.get("changed").is_some());
    }
}
