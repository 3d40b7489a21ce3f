use std::{io, time::Duration};

use super::{counters::MOST_LABELS, *};
use crate::{
    clock::{Clock, ManualClock},
    error::ErrorKind,
};

fn cache() -> (Cache<Bytes>, ManualClock) {
    let (clock, time) = Clock::manual();
    let freshness = Freshness::new().ttl(Duration::from_secs(10));
    (Cache::builder().clock(clock).freshness(freshness).build().unwrap(), time)
}

fn ttl(secs: u64) -> Freshness {
    Freshness::new().ttl(Duration::from_secs(secs))
}

#[test]
fn entries_lie_in_the_cache_under_the_keys_of_the_pattern() {
    let (cache, _time) = cache();
    let posts = cache.keyspace::<2>("user/:id/posts/:post").unwrap();
    posts.set((7, "a/b"), Bytes::from("text")).unwrap();
    assert_eq!(cache.get("user/7/posts/a%2Fb").as_deref(), Some(&b"text"[..]));
    assert_eq!(posts.get((7, "a/b")).as_deref(), Some(&b"text"[..]));
    assert_eq!(posts.get_many([(7, "a/b"), (7, "c")]), [Some(Bytes::from("text")), None]);
    posts.delete((7, "a/b")).unwrap();
    assert_eq!(cache.get("user/7/posts/a%2Fb"), None);
}

#[test]
fn a_call_goes_before_the_keyspace_and_the_keyspace_before_the_cache() {
    let (cache, time) = cache();
    let users = cache.keyspace::<1>("user/:id").unwrap().freshness(ttl(20)).unwrap();
    let load = |_: &[u8]| io::Result::Ok(Bytes::from("Ada"));
    cache.set("other", Bytes::from("1")).unwrap();
    users.set(1, Bytes::from("1")).unwrap();
    users.get_or_load(2, load).unwrap();
    users.set_with(3, Bytes::from("1"), &SetOptions::new().freshness(ttl(30))).unwrap();
    users.get_or_load_with(4, &LoadOptions::new().freshness(ttl(30)), load).unwrap();
    let there = || {
        let users = [1, 2, 3, 4].map(|id| users.get(id).is_some());
        (cache.get("other").is_some(), users)
    };
    time.advance(Duration::from_secs(11));
    assert_eq!(there(), (false, [true; 4]));
    time.advance(Duration::from_secs(10));
    assert_eq!(there(), (false, [false, false, true, true]));
    time.advance(Duration::from_secs(10));
    assert_eq!(there(), (false, [false; 4]));
}

#[test]
fn what_is_done_is_counted_by_label() {
    let (cache, _time) = cache();
    let users = cache.keyspace::<1>("user/:id").unwrap().label("people").unwrap();
    let guests = cache.keyspace::<1>("guest/:name").unwrap().label("people").unwrap();
    let load = |_: &[u8]| io::Result::Ok(Bytes::from("Ada"));
    assert_eq!(users.get(7), None);
    users.get_or_load(7, load).unwrap();
    guests.get_or_load("Bob", load).unwrap();
    guests.get_or_load("Bob", load).unwrap();
    users.set(8, Bytes::from("Eve")).unwrap();
    users.delete(8).unwrap();
    users.get_many([7, 8, 9]);
    let stats = cache.stats().keyspaces;
    let of = |label: &str| stats.iter().find(|stats| stats.label == label).unwrap();
    let people = of("people");
    assert_eq!((people.hits, people.misses), (2, 5));
    assert_eq!((people.loads, people.changes), (2, 2));
}

#[test]
fn options_out_of_range_are_refused() {
    let (cache, _time) = cache();
    let users = cache.keyspace::<1>("user/:id").unwrap();
    let error = users.clone().freshness(Freshness::new().ttl_jitter(2.0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for number in 1..MOST_LABELS {
        users.clone().label(&number.to_string()).unwrap();
    }
    let error = users.clone().label("one too many").unwrap_err().to_string();
    assert!(error.contains("one too many"), "{error}");
    users.label("7").unwrap();
}

#[test]
fn a_keyspace_is_cleared_with_those_that_continue_its_pattern_and_no_others() {
    let cache = Cache::builder().build().unwrap();
    let users = cache.keyspace::<1>("user/:id").unwrap().clearable();
    let posts = cache.keyspace::<2>("user/:user/posts/:post").unwrap().clearable();
    let names = cache.keyspace::<1>("user/:id/name").unwrap().clearable();
    let others = cache.keyspace::<1>("users/:id").unwrap().clearable();
    let fill = || {
        users.set(7, Bytes::from("Ada")).unwrap();
        posts.get_or_load((7, 1), |_| io::Result::Ok(Bytes::from("hello"))).unwrap();
        names.set(7, Bytes::from("Lovelace")).unwrap();
        others.set(7, Bytes::from("Grace")).unwrap();
    };
    let there = || {
        let found = [users.get(7), posts.get((7, 1)), names.get(7), others.get(7)];
        found.map(|value| value.is_some())
    };
    fill();
    assert_eq!(there(), [true; 4]);
    posts.clear().unwrap();
    assert_eq!(there(), [true, false, true, true]);
    fill();
    names.clear().unwrap();
    assert_eq!(there(), [true, true, false, true]);
    fill();
    users.clear().unwrap();
    assert_eq!(there(), [false, false, false, true]);
    fill();
    assert_eq!(there(), [true; 4]);
}

#[test]
fn who_names_128_tags_may_do_so_in_a_keyspace_that_can_be_cleared() {
    let cache = Cache::builder().build().unwrap();
    let posts = cache.keyspace::<2>("user/:user/posts/:post").unwrap().clearable();
    let tags = |count: u32| (0..count).map(|tag| tag.to_string());
    let set =
        |count| posts.set_with((7, 1), Bytes::from("hello"), &SetOptions::new().tags(tags(count)));
    set(128).unwrap();
    let error = set(129).unwrap_err().to_string();
    assert!(error.contains("129 tags: an entry has 128 at most"), "{error}");
    assert!(posts.get((7, 1)).is_some());
    let options = LoadOptions::new().tags(tags(128));
    let load = |_: &[u8]| io::Result::Ok(Bytes::from("hello"));
    posts.get_or_load_with((7, 2), &options, load).unwrap();
    posts.clear().unwrap();
    assert_eq!((posts.get((7, 1)), posts.get((7, 2))), (None, None));
}

#[test]
fn what_was_loaded_before_a_keyspace_was_cleared_is_kept_nowhere() {
    let cache = Cache::builder().build().unwrap();
    let users = cache.keyspace::<1>("user/:id").unwrap().clearable();
    let load = |_: &[u8]| {
        users.clear().unwrap();
        io::Result::Ok(Bytes::from("of before"))
    };
    assert_eq!(users.get_or_load(7, load).unwrap(), "of before");
    assert_eq!(users.get(7), None);
}

#[test]
fn a_keyspace_that_is_not_clearable_says_so() {
    let cache = Cache::builder().build().unwrap();
    let error = cache.keyspace::<1>("user/:id").unwrap().clear().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("user/:id"), "{error}");
}

#[test]
fn a_value_above_the_bound_of_its_keyspace_is_refused_or_kept_nowhere() {
    let (cache, _) = cache();
    let users = cache.keyspace::<1>("user/:id").unwrap().max_value_bytes(3).unwrap();
    users.set(7, Bytes::from("Ada")).unwrap();
    let error = users.set(8, Bytes::from("Grace")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let message = error.to_string();
    assert!(message.contains("value of 5 bytes") && message.contains("max_value_bytes is 3"));
    let load = |_: &[u8]| io::Result::Ok(Loaded::new(Bytes::from("Grace")).ttl(Duration::MAX));
    assert_eq!(users.get_or_load(8, load).unwrap(), "Grace");
    assert_eq!((users.get(8), users.get(7).as_deref()), (None, Some(&b"Ada"[..])));
}

#[test]
fn nothing_of_a_keyspace_lives_longer_than_its_bound() {
    let (cache, time) = cache();
    let users = cache.keyspace::<1>("user/:id").unwrap().freshness(ttl(60)).unwrap();
    let users = users.max_ttl(Duration::from_secs(5)).unwrap();
    let hour = Duration::from_secs(3600);
    users.set(1, Bytes::from("by the keyspace")).unwrap();
    users.set_with(2, Bytes::from("by the call"), &SetOptions::new().ttl(hour)).unwrap();
    users.set_with(3, Bytes::from("for ever"), &SetOptions::new().no_ttl()).unwrap();
    users.set(4, Bytes::from("touched")).unwrap();
    assert!(users.touch(4, hour).unwrap());
    let load = |_: &[u8]| io::Result::Ok(Loaded::new(Bytes::from("by the loader")).ttl(hour));
    users.get_or_load(5, load).unwrap();
    users.get_or_load(6, |_| io::Result::Ok(Bytes::from("by nobody"))).unwrap();
    let short = SetOptions::new().ttl(Duration::from_secs(2));
    users.set_with(7, Bytes::from("shorter"), &short).unwrap();
    time.advance(Duration::from_secs(4));
    assert!((1..7).all(|id| users.get(id).is_some()) && users.get(7).is_none());
    time.advance(Duration::from_secs(2));
    assert!((1..7).all(|id| users.get(id).is_none()));
}

#[test]
fn who_comes_beyond_the_loads_of_a_keyspace_gets_what_is_stale_or_is_told_so_at_once() {
    let (cache, time) = cache();
    let life = ttl(10).stale_if_error(Duration::from_secs(60));
    let users = cache.keyspace::<1>("user/:id").unwrap().freshness(life).unwrap();
    let users = users.max_loads(1).unwrap();
    let load = |_: &[u8]| io::Result::Ok(Bytes::from("new"));
    users.set(8, Bytes::from("old")).unwrap();
    time.advance(Duration::from_secs(20));
    let first = users.get_or_load(7, |_| {
        // By a clone too; and the cache itself has no bound.
        let error = users.clone().get_or_load(9, load).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("max_loads is 1"), "{error}");
        let stale = users.get_or_load_with(8, &LoadOptions::new(), load).unwrap();
        assert!(stale.is_stale && stale.value == "old");
        assert_eq!(cache.get_or_load("other", load).unwrap(), "new");
        io::Result::Ok(Bytes::from("first"))
    });
    assert_eq!(first.unwrap(), "first");
    // One that fails gives its place back, also by a panic.
    users.get_or_load(9, |_| io::Result::<Bytes>::Err(io::Error::other("down"))).unwrap_err();
    let panics = || users.get_or_load(9, |_| -> io::Result<Bytes> { panic!("of the loader") });
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(users.get_or_load(9, load).unwrap(), "new");
}

#[test]
fn bounds_of_zero_are_refused_by_name() {
    let (cache, _) = cache();
    let users = || cache.keyspace::<1>("user/:id").unwrap();
    for (what, refused) in [
        ("max_value_bytes", users().max_value_bytes(0)),
        ("max_ttl", users().max_ttl(Duration::ZERO)),
        ("max_loads", users().max_loads(0)),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(message.contains(&format!("\"user/:id\": {what} = 0")), "{message}");
    }
}
