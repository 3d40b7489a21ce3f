//! Loaders that may run in the background: what goes on behind the callers' backs.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;

use super::{Host, bytes, secs, until};
use crate::{
    cache::{Cache, Freshness, LoadOptions, Loaded, Loading, Origin, SetOptions},
    error::ErrorKind,
    load::{LoadContext, LoadReason, RefreshAhead},
    tiering::{TierKind, Tiering},
};

const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

/// A source whose answers the test chooses, and can hold back.
#[derive(Clone, Default)]
struct Source(Arc<Inside>);

#[derive(Default)]
struct Inside {
    /// `None` fails.
    answer: Mutex<Option<Loaded<Bytes>>>,
    asked: AtomicUsize,
    answered: AtomicUsize,
    is_held: AtomicBool,
    last: Mutex<Option<(LoadReason, Option<Bytes>, Bytes)>>,
    was_cancelled: AtomicBool,
}

impl Source {
    fn new(answer: &str) -> Self {
        let source = Self::default();
        source.set(Some(Loaded::new(bytes(answer))));
        source
    }

    fn set(&self, answer: Option<Loaded<Bytes>>) {
        *self.0.answer.lock().unwrap() = answer;
    }

    fn hold(&self, is_held: bool) {
        self.0.is_held.store(is_held, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn answered(&self) -> usize {
        self.0.answered.load(Ordering::SeqCst)
    }

    fn load(&self, context: &LoadContext<'_, Bytes>) -> io::Result<Loaded<Bytes>> {
        let validator = Bytes::copy_from_slice(context.validator());
        *self.0.last.lock().unwrap() =
            Some((context.reason(), context.stale().cloned(), validator));
        let answer = self.0.answer.lock().unwrap().clone();
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        while self.0.is_held.load(Ordering::SeqCst) {
            self.0.was_cancelled.fetch_or(context.is_cancelled(), Ordering::SeqCst);
            std::thread::yield_now();
        }
        self.0.answered.fetch_add(1, Ordering::SeqCst);
        answer.ok_or_else(|| io::Error::other("origin is down"))
    }

    fn over(&self, cache: &Cache, freshness: Freshness) -> Loading<Bytes> {
        let source = self.clone();
        let options = LoadOptions::new().freshness(freshness);
        cache
            .loading(move |context: &LoadContext<'_, Bytes>| source.load(context), options)
            .unwrap()
    }
}

fn ttl() -> Freshness {
    Freshness::new().ttl(secs(10))
}

#[test]
fn a_failure_is_remembered_and_the_loader_left_alone_for_longer_each_time() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        source.set(None);
        let values = source.over(&cache, ttl().failure_backoff(secs(10), secs(40)));
        let fail = || values.get("a").unwrap_err();
        for (wait, asked) in [(10, 1), (20, 2), (40, 3), (40, 4)] {
            let error = fail();
            assert_eq!((error.kind(), source.asked()), (ErrorKind::Loader, asked), "{tiering}");
            // A tenth more or less.
            host.time.advance(Duration::from_secs_f64(f64::from(wait) * 0.89));
            let remembered = fail();
            assert_eq!((remembered.kind(), source.asked()), (ErrorKind::Loader, asked));
            assert!(remembered.to_string().contains("not called again"), "{remembered}");
            assert!(remembered.cause::<io::Error>().is_some());
            host.time.advance(Duration::from_secs_f64(f64::from(wait) * 0.22));
        }
        source.set(Some(Loaded::new(bytes("1"))));
        assert_eq!(values.get("a").unwrap(), bytes("1"));
        host.time.advance(secs(11));
        source.set(None);
        fail();
        host.time.advance(secs(12));
        fail();
        assert_eq!(source.asked(), 7, "it begins anew after a success");
    }
}

#[test]
fn while_a_failure_is_remembered_stale_values_serve_and_a_change_ends_it() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        let rules = ttl().stale_if_error(secs(60)).failure_backoff(secs(10), secs(10));
        let values = source.over(&cache, rules);
        values.get("a").unwrap();
        host.time.advance(secs(10));
        source.set(None);
        for _ in 0..3 {
            assert!(values.get_entry("a").unwrap().is_stale, "{tiering}");
        }
        assert_eq!(source.asked(), 2, "{tiering}");
        // What failed may not be what is there now.
        cache.delete("a").unwrap();
        assert!(values.get("a").is_err());
        assert_eq!(source.asked(), 3, "{tiering}");
    }
}

#[test]
fn a_hit_late_in_its_time_is_served_and_has_its_value_loaded_anew() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        let values = source.over(&cache, ttl().refresh_ahead(RefreshAhead::After(0.8)));
        values.get("a").unwrap();
        source.set(Some(Loaded::new(bytes("2"))));
        host.time.advance(Duration::from_millis(7_999));
        assert_eq!(values.get("a").unwrap(), bytes("1"), "{tiering}");
        assert_eq!(source.asked(), 1, "{tiering}");
        host.time.advance(Duration::from_millis(1));
        let answer = values.get_entry("a").unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("1"), false), "{tiering}");
        until("the refresh", || cache.get("a") == Some(bytes("2")));
        assert_eq!(source.0.last.lock().unwrap().clone().unwrap().0, LoadReason::Ahead);
        let answer = cache.get_entry("a").unwrap();
        assert_eq!(answer.age, Some(Duration::ZERO), "{tiering}");
        host.time.advance(secs(7));
        assert_eq!(values.get("a").unwrap(), bytes("2"), "{tiering}");
        assert_eq!(source.asked(), 2);
    }
}

#[test]
fn a_change_during_a_refresh_ahead_is_not_undone() {
    for tiering in [Tiering::L1, Tiering::L1L2] {
        for (verb, after) in [("delete", None), ("set", Some(bytes("new")))] {
            let host = Host::new();
            let cache = host.cache(tiering);
            let source = Source::new("1");
            let values = source.over(&cache, ttl().refresh_ahead(RefreshAhead::After(0.5)));
            values.get("a").unwrap();
            host.time.advance(secs(6));
            source.hold(true);
            values.get("a").unwrap();
            until("the refresh began", || source.asked() == 2);
            match &after {
                None => cache.delete("a").unwrap(),
                Some(value) => cache.set("a", value.clone()).unwrap(),
            }
            source.hold(false);
            until("the refresh was dropped", || cache.stats().loads_not_stored == 1);
            assert_eq!(cache.get("a"), after, "{verb} in {tiering}");
        }
    }
}

#[test]
fn many_hits_late_in_their_time_have_one_refresh_between_them() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let source = Source::new("1");
    let values = source.over(&cache, ttl().refresh_ahead(RefreshAhead::After(0.5)));
    values.get("a").unwrap();
    host.time.advance(secs(6));
    source.hold(true);
    for _ in 0..100 {
        assert_eq!(values.get("a").unwrap(), bytes("1"));
    }
    until("the refresh began", || source.asked() == 2);
    source.hold(false);
    until("the refresh ended", || source.answered() == 2);
    assert_eq!(source.asked(), 2);
}

#[test]
fn the_one_who_finds_a_value_stale_gets_it_at_once_too_and_it_is_refreshed() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        let values = source.over(&cache, ttl().stale_while_revalidate(secs(60)));
        values.get("a").unwrap();
        host.time.advance(secs(10));
        source.set(Some(Loaded::new(bytes("2"))));
        source.hold(true);
        for _ in 0..2 {
            let answer = values.get_entry("a").unwrap();
            assert_eq!((answer.value, answer.is_stale), (bytes("1"), true), "{tiering}");
        }
        source.hold(false);
        until("the refresh", || cache.get("a") == Some(bytes("2")));
        assert_eq!(source.asked(), 2, "{tiering}");
    }
}

#[test]
fn a_slow_load_is_left_after_its_soft_timeout_and_still_fills() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        let rules = ttl().stale_if_error(secs(60)).soft_timeout(Duration::from_millis(5));
        let values = source.over(&cache, rules);
        // Nothing stale: it is waited for.
        assert_eq!(values.get_entry("a").unwrap().origin, Origin::Loaded);
        host.time.advance(secs(10));
        source.set(Some(Loaded::new(bytes("2"))));
        source.hold(true);
        let answer = values.get_entry("a").unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("1"), true), "{tiering}");
        source.hold(false);
        until("the load fills", || cache.get("a") == Some(bytes("2")));
        assert!(!source.0.was_cancelled.load(Ordering::SeqCst));
        assert_eq!(source.asked(), 2, "{tiering}");
    }
}

#[test]
fn who_has_nothing_stale_left_at_the_soft_timeout_waits_on() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let asked = Arc::new(AtomicUsize::new(0));
    let (theirs, deleting) = (Arc::clone(&asked), cache.clone());
    let loader = move |context: &LoadContext<'_, Bytes>| {
        let number = theirs.fetch_add(1, Ordering::SeqCst);
        if number == 1 {
            // The stale value goes, and the load ends once its caller has begun anew.
            deleting.delete(context.key()).unwrap();
            while theirs.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
        }
        io::Result::Ok(Loaded::new(bytes(&number.to_string())))
    };
    let rules = ttl().stale_if_error(secs(60)).soft_timeout(Duration::from_millis(5));
    let values = cache.loading(loader, LoadOptions::new().freshness(rules)).unwrap();
    assert_eq!(values.get("a").unwrap(), bytes("0"));
    host.time.advance(secs(10));
    let answer = values.get_entry("a").unwrap();
    assert_eq!((answer.value, answer.is_stale), (bytes("2"), false));
}

/// A call finds a stale value in L2, which is out of the tiering by the time at which it could leave
/// with that: it may not have it any more, and must not look for it again and again.
#[test]
fn who_may_not_have_what_it_found_stale_waits_for_the_load_and_looks_no_more() {
    // Longer than a thread of the cache takes to come on a loaded machine.
    const SOFT: Duration = Duration::from_millis(200);
    let host = Host::new();
    let cache = host.cache(Tiering::L2);
    let (asked, changing) = (AtomicUsize::new(0), cache.clone());
    let loader = move |_: &LoadContext<'_, Bytes>| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        if number == 1 {
            changing.retier(Tiering::L1).unwrap();
            // Long enough for thousands of looks by who does not wait.
            std::thread::sleep(2 * SOFT);
        }
        io::Result::Ok(Loaded::new(bytes(&number.to_string())))
    };
    let rules = ttl().stale_if_error(secs(60)).soft_timeout(SOFT);
    let values = cache.loading(loader, LoadOptions::new().freshness(rules)).unwrap();
    assert_eq!(values.get("a").unwrap(), bytes("0"));
    host.time.advance(secs(10));
    let answer = values.get_entry("a").unwrap();
    assert_eq!((answer.value, answer.is_stale), (bytes("1"), false));
    cache.retier(Tiering::L2).unwrap();
    let looks = cache.stats().tier(TierKind::Shared).unwrap().misses;
    assert!((1..10).contains(&looks), "{looks} looks in L2");
}

#[test]
fn a_load_that_hangs_is_told_to_stop_and_its_callers_leave_at_the_hard_timeout() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        let rules = ttl().stale_if_error(secs(60)).hard_timeout(Duration::from_millis(20));
        let values = source.over(&cache, rules);
        source.hold(true);
        assert_eq!(values.get("a").unwrap_err().kind(), ErrorKind::Timeout, "{tiering}");
        until("it is told", || source.0.was_cancelled.load(Ordering::SeqCst));
        source.hold(false);
        until("it was dropped", || cache.stats().loads_not_stored == 1);
        assert_eq!(cache.get("a"), None, "what it loaded is kept nowhere");
        source.set(Some(Loaded::new(bytes("1"))));
        assert_eq!(values.get("a").unwrap(), bytes("1"), "{tiering}");
    }
}

#[test]
fn a_hung_load_with_a_stale_value_serves_that_at_the_hard_timeout() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let source = Source::new("1");
    let rules = ttl().stale_if_error(secs(60)).hard_timeout(Duration::from_millis(20));
    let values = source.over(&cache, rules);
    // A load of it could take too long already.
    let lasting = SetOptions::new().freshness(ttl().stale_if_error(secs(60)));
    cache.set_with("a", bytes("1"), &lasting).unwrap();
    host.time.advance(secs(10));
    source.hold(true);
    assert!(values.get_entry("a").unwrap().is_stale);
    source.hold(false);
}

#[test]
fn a_conditional_load_keeps_the_value_and_makes_it_fresh() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        source.set(Some(Loaded::new(bytes("1")).validator("etag-1")));
        let values = source.over(&cache, ttl().stale_if_error(secs(60)));
        values.get("a").unwrap();
        for asked in [2, 3] {
            host.time.advance(secs(10));
            source.set(Some(Loaded::not_modified()));
            let answer = values.get_entry("a").unwrap();
            assert_eq!((answer.value, answer.is_stale), (bytes("1"), false), "{tiering}");
            let told = source.0.last.lock().unwrap().clone();
            let told_of = (LoadReason::Stale, Some(bytes("1")), bytes("etag-1"));
            assert_eq!(told, Some(told_of), "{tiering}");
            assert_eq!(source.asked(), asked);
            assert_eq!(cache.get_entry("a").unwrap().age, Some(Duration::ZERO), "{tiering}");
        }
    }
}

#[test]
fn not_modified_where_there_is_nothing_is_an_error() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let source = Source::new("1");
    source.set(Some(Loaded::not_modified()));
    assert_eq!(source.over(&cache, ttl()).get("a").unwrap_err().kind(), ErrorKind::Loader);
}

#[test]
fn a_refresh_that_is_asked_for_loads_whatever_there_is() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let source = Source::new("1");
        let values = source.over(&cache, ttl());
        values.get("a").unwrap();
        source.set(Some(Loaded::new(bytes("2"))));
        assert_eq!(values.refresh("a").unwrap().value, bytes("2"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("2")), "{tiering}");
        let third = cache.refresh("a", |context| {
            assert_eq!(context.stale(), Some(&bytes("2")));
            io::Result::Ok(bytes("3"))
        });
        assert_eq!(third.unwrap(), bytes("3"));
        assert_eq!(cache.get("a"), Some(bytes("3")), "{tiering}");
        source.set(None);
        assert_eq!(values.refresh("a").unwrap_err().kind(), ErrorKind::Loader, "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("3")), "{tiering}");
    }
}

#[test]
fn a_loader_that_panics_in_the_background_fails_its_callers_and_nobody_else() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let panics = Arc::new(AtomicBool::new(true));
    let theirs = Arc::clone(&panics);
    let options = LoadOptions::new().freshness(ttl().hard_timeout(secs(30)));
    let values = cache
        .loading(
            move |_: &LoadContext<'_, Bytes>| {
                assert!(!theirs.load(Ordering::SeqCst), "the loader's own");
                io::Result::Ok(bytes("1"))
            },
            options,
        )
        .unwrap();
    assert_eq!(values.get("a").unwrap_err().kind(), ErrorKind::LoaderPanicked);
    panics.store(false, Ordering::SeqCst);
    assert_eq!(values.get("a").unwrap(), bytes("1"));
}

#[test]
fn without_background_threads_all_is_loaded_by_its_callers() {
    let host = Host::new();
    let cache = host.builder(Tiering::L1).load_threads(0).build().unwrap();
    let source = Source::new("1");
    let rules = ttl()
        .stale_while_revalidate(secs(60))
        .hard_timeout(secs(30))
        .refresh_ahead(RefreshAhead::After(0.5));
    let values = source.over(&cache, rules);
    assert_eq!(values.get("a").unwrap(), bytes("1"));
    host.time.advance(secs(6));
    assert_eq!(values.get("a").unwrap(), bytes("1"));
    assert_eq!(source.asked(), 1, "nobody there to refresh it");
    host.time.advance(secs(5));
    source.set(Some(Loaded::new(bytes("2"))));
    assert_eq!(values.get("a").unwrap(), bytes("2"));
}

#[test]
fn a_cache_that_is_closed_ends_what_is_loaded_in_the_background() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let source = Source::new("1");
    let values = source.over(&cache, ttl().stale_while_revalidate(secs(60)));
    values.get("a").unwrap();
    host.time.advance(secs(10));
    source.hold(true);
    assert!(values.get_entry("a").unwrap().is_stale);
    until("the refresh began", || source.asked() == 2);
    cache.close();
    until("it is told", || source.0.was_cancelled.load(Ordering::SeqCst));
    source.hold(false);
    until("it ends", || source.answered() == 2);
    assert_eq!(cache.len(), 0);
    assert_eq!(values.get("a").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn one_of_many_callers_of_a_failing_loader_calls_it_and_all_are_answered() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let source = Source::new("1");
    source.set(None);
    source.hold(true);
    let values = source.over(&cache, ttl().failure_backoff(secs(1), secs(30)));
    let (answered, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let (values, answered) = (values.clone(), answered.clone());
            scope.spawn(move || answered.send(values.get("a").unwrap_err().kind()).unwrap());
        }
        until("all wait", || cache.stats().load_waits == 19);
        source.hold(false);
    });
    drop(answered);
    assert_eq!(answers.iter().collect::<Vec<_>>(), [ErrorKind::Loader; 20]);
    assert_eq!(source.asked(), 1);
}
