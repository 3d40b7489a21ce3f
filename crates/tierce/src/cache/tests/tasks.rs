//! The calls of tasks: one load per key, futures that are dropped, and loaders of all kinds.

use std::{
    future::{Future, pending, poll_fn, ready},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Host, bytes};
use crate::{
    cache::{Cache, Freshness, LoadOptions, Loaded, Origin, ReadOptions},
    error::{Error, ErrorKind, Result},
    load::{
        LoadContext,
        testing::{PATIENCE, block_on, until},
    },
    tiering::{TierKind, Tiering},
};

const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

type Load = io::Result<Bytes>;

/// Many tasks on one thread, each polled only if it was woken.
struct Executor {
    tasks: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    woken: Arc<Mutex<Vec<usize>>>,
}

struct Bell {
    task: usize,
    woken: Arc<Mutex<Vec<usize>>>,
    thread: thread::Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push(self.task);
        self.thread.unpark();
    }
}

impl Executor {
    fn new() -> Self {
        Self { tasks: Vec::new(), woken: Arc::default() }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> usize {
        self.tasks.push(Some(Box::pin(task)));
        let number = self.tasks.len() - 1;
        self.woken.lock().unwrap().push(number);
        number
    }

    /// Polls what was woken by now.
    fn turn(&mut self) {
        let woken = std::mem::take(&mut *self.woken.lock().unwrap());
        for task in woken {
            let Some(future) = &mut self.tasks[task] else { continue };
            let bell = Bell { task, woken: Arc::clone(&self.woken), thread: thread::current() };
            let waker = Waker::from(Arc::new(bell));
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks[task] = None;
            }
        }
    }

    fn run(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.tasks.iter().any(Option::is_some) {
            self.turn();
            assert!(Instant::now() < deadline, "nobody wakes the tasks");
            if self.woken.lock().unwrap().is_empty() {
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }

    /// Drops a task in the midst of what it does.
    fn abort(&mut self, task: usize) {
        self.tasks[task] = None;
    }
}

/// Pending at first, as a loader that has to wait.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn load(cache: &Cache, value: &str) -> Result<Bytes> {
    let options = LoadOptions::new();
    let load = async |_| {
        yield_once().await;
        Load::Ok(bytes(value))
    };
    cache.get_or_load_async("a", &options, load).await.map(|answer| answer.value)
}

#[test]
fn a_plain_thread_can_wait_for_each_call() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        assert_eq!(block_on(cache.get_async("a")), None);
        assert_eq!(block_on(load(&cache, "1")).unwrap(), bytes("1"));
        assert_eq!(block_on(load(&cache, "2")).unwrap(), bytes("1"), "{tiering}");
        block_on(cache.set_async("a", bytes("3"))).unwrap();
        assert_eq!(block_on(cache.get_async("a")), Some(bytes("3")));
        block_on(cache.delete_async("a")).unwrap();
        assert_eq!(block_on(cache.get_async("a")), None);
        assert_eq!(cache.inner.flights.len(), 0);
    }
}

#[test]
fn the_futures_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let cache = Cache::builder().build().unwrap();
    let theirs = cache.clone();
    let whole = is_send(async move {
        let options = LoadOptions::new();
        let load = |context: LoadContext<'static, Bytes>| async move {
            yield_once().await;
            Load::Ok(Bytes::copy_from_slice(context.key()))
        };
        let answer = theirs.get_or_load_async(String::from("a"), &options, load).await?;
        theirs.set_async("b", answer.value).await?;
        theirs.delete_async("a").await?;
        Ok::<_, Error>(theirs.get_async("b").await)
    });
    let found = thread::spawn(move || block_on(whole)).join().unwrap();
    assert_eq!(found.unwrap(), Some(bytes("a")));
}

#[test]
fn a_hit_of_l1_is_there_at_the_first_poll_and_starts_no_thread() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("1")).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(found) = pin!(cache.get_async("a")).poll(&mut context) else {
        panic!("it had to wait")
    };
    assert_eq!(found, Some(bytes("1")));
    let options = LoadOptions::new();
    let never = async |_| -> Load { panic!("nothing is loaded") };
    let found = pin!(cache.get_or_load_async("a", &options, never)).poll(&mut context);
    assert!(matches!(found, Poll::Ready(Ok(answer))
        if answer.origin == Origin::Tier(TierKind::Memory)));
    assert!(!cache.inner.tasks.has_threads());
}

#[test]
fn ten_thousand_tasks_on_one_cold_key_load_it_once() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let loads = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let mut executor = Executor::new();
        for _ in 0..10_000 {
            let (cache, loads, ended) = (cache.clone(), Arc::clone(&loads), Arc::clone(&ended));
            executor.spawn(async move {
                let load = async |_| {
                    loads.fetch_add(1, Ordering::Relaxed);
                    yield_once().await;
                    Load::Ok(bytes("1"))
                };
                let options = LoadOptions::new();
                let answer = cache.get_or_load_async("a", &options, load).await.unwrap();
                assert_eq!(answer.value, bytes("1"));
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        executor.run();
        assert_eq!(loads.load(Ordering::Relaxed), 1, "{tiering}");
        assert_eq!(ended.load(Ordering::Relaxed), 10_000);
        assert_eq!(cache.inner.flights.len(), 0);
    }
}

#[test]
fn tasks_and_threads_wait_for_each_others_loads() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let (entered, is_in) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let entered = entered;
            cache.get_or_load("a", move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                Load::Ok(bytes("thread"))
            })
        });
        is_in.recv().unwrap();
        let mut joins = Box::pin(load(&cache, "task"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(joins.as_mut().poll(&mut context).is_pending());
        release.send(()).unwrap();
        assert_eq!(block_on(joins).unwrap(), bytes("thread"));
        assert_eq!(thread.join().unwrap().unwrap(), bytes("thread"));
    });
    cache.delete("a").unwrap();
    thread::scope(|scope| {
        let (release, mut held) = latch();
        let (entered, is_in) = mpsc::channel();
        let cache = &cache;
        let task = scope.spawn(move || {
            let options = LoadOptions::new();
            let load = async |_| {
                entered.send(()).unwrap();
                held.opened().await;
                Load::Ok(bytes("task"))
            };
            block_on(cache.get_or_load_async("a", &options, load)).unwrap().value
        });
        is_in.recv().unwrap();
        let waits = scope.spawn(|| cache.get_or_load("a", |_| Load::Ok(bytes("thread"))));
        until(|| cache.stats().load_waits >= 2);
        release.open();
        assert_eq!(waits.join().unwrap().unwrap(), bytes("task"));
        assert_eq!(task.join().unwrap(), bytes("task"));
    });
}

/// Something that a task waits for and a thread opens.
fn latch() -> (Opener, Latch) {
    let place = Arc::new(Mutex::new((false, None)));
    (Opener(Arc::clone(&place)), Latch(place))
}

struct Opener(Arc<Mutex<(bool, Option<Waker>)>>);
struct Latch(Arc<Mutex<(bool, Option<Waker>)>>);

impl Opener {
    fn open(&self) {
        let mut place = self.0.lock().unwrap();
        place.0 = true;
        if let Some(waker) = place.1.take() {
            waker.wake();
        }
    }
}

impl Latch {
    async fn opened(&mut self) {
        poll_fn(|context| {
            let mut place = self.0.lock().unwrap();
            place.1 = Some(context.waker().clone());
            if place.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[test]
fn a_dropped_leader_hands_over_wherever_it_was() {
    for tiering in TIERINGS {
        // The leader is dropped after so many turns of the executor.
        for turns in 0..6 {
            let host = Host::new();
            let cache = host.cache(tiering);
            let loaded = Arc::new(Mutex::new(Vec::new()));
            let mut executor = Executor::new();
            let task = |executor: &mut Executor, name: &'static str| {
                let (cache, loaded) = (cache.clone(), Arc::clone(&loaded));
                executor.spawn(async move {
                    let options = LoadOptions::new();
                    let load = async |_| {
                        if name == "leader" {
                            pending::<()>().await;
                        }
                        yield_once().await;
                        Load::Ok(bytes(name))
                    };
                    let answer = cache.get_or_load_async("a", &options, load).await.unwrap();
                    loaded.lock().unwrap().push((name, answer.value));
                })
            };
            let leader = task(&mut executor, "leader");
            executor.turn();
            task(&mut executor, "second");
            task(&mut executor, "third");
            for _ in 0..turns {
                executor.turn();
                thread::yield_now();
            }
            executor.abort(leader);
            executor.run();
            let mut loaded = loaded.lock().unwrap().clone();
            loaded.sort();
            let second = bytes("second");
            let expected = [("second", second.clone()), ("third", second.clone())];
            assert_eq!(*loaded, expected, "{tiering}, dropped after {turns} turns");
            assert_eq!(cache.get("a"), Some(second));
            assert_eq!(cache.inner.flights.len(), 0);
            // Nobody holds the lease any more: another process need not wait.
            if tiering.has(TierKind::Shared) {
                cache.delete("a").unwrap();
                let other = host.cache(tiering);
                let begin = Instant::now();
                other.get_or_load("a", |_| Load::Ok(bytes("other"))).unwrap();
                assert!(begin.elapsed() < Duration::from_secs(2));
            }
        }
    }
}

#[test]
fn a_load_is_not_begun_by_two_processes_while_a_task_of_one_loads() {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    let (release, mut held) = latch();
    let (entered, is_in) = mpsc::channel();
    thread::scope(|scope| {
        let leads = scope.spawn(|| {
            let options = LoadOptions::new();
            let load = async |_| {
                entered.send(()).unwrap();
                held.opened().await;
                Load::Ok(bytes("one"))
            };
            block_on(one.get_or_load_async("a", &options, load)).unwrap()
        });
        is_in.recv().unwrap();
        let waits = scope.spawn(|| block_on(load(&other, "other")));
        until(|| other.inner.tasks.has_threads());
        // Time enough to load, if nobody held it up.
        thread::sleep(Duration::from_millis(30));
        assert!(!waits.is_finished());
        release.open();
        assert_eq!(leads.join().unwrap().origin, Origin::Loaded);
        assert_eq!(waits.join().unwrap().unwrap(), bytes("one"));
    });
    assert_eq!(other.stats().loads, 0);
}

#[test]
fn a_failing_loader_is_called_once_for_all_and_each_is_told() {
    let cache = Cache::builder().build().unwrap();
    let (loads, failures) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut executor = Executor::new();
    for _ in 0..20 {
        let (cache, loads, failures) = (cache.clone(), Arc::clone(&loads), Arc::clone(&failures));
        executor.spawn(async move {
            let load = async |_| {
                loads.fetch_add(1, Ordering::Relaxed);
                yield_once().await;
                Load::Err(io::Error::other("origin is down"))
            };
            let options = LoadOptions::new();
            let error = cache.get_or_load_async("a", &options, load).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Loader);
            assert_eq!(error.cause::<io::Error>().unwrap().to_string(), "origin is down");
            failures.fetch_add(1, Ordering::Relaxed);
        });
    }
    executor.run();
    assert_eq!((loads.load(Ordering::Relaxed), failures.load(Ordering::Relaxed)), (1, 20));
}

#[test]
fn a_task_leaves_a_hung_load_at_its_deadline_and_another_takes_its_place() {
    let cache = Cache::builder().load_wait(Duration::from_millis(30)).build().unwrap();
    let options = LoadOptions::new().wait(Duration::from_millis(30));
    let hangs = async |_| -> Load { pending().await };
    let mut hung = Box::pin(cache.get_or_load_async("a", &options, hangs));
    let mut context = Context::from_waker(Waker::noop());
    assert!(hung.as_mut().poll(&mut context).is_pending());
    let begin = Instant::now();
    let load = async |_| Load::Ok(bytes("1"));
    let waited = block_on(cache.get_or_load_async("a", &options, load));
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(begin.elapsed() >= Duration::from_millis(30));
    let next = block_on(cache.get_or_load_async("a", &options, load)).unwrap();
    assert_eq!((next.value, next.origin), (bytes("1"), Origin::Loaded));
    drop(hung);
    assert_eq!(cache.get("a"), Some(bytes("1")));
    assert_eq!(cache.inner.flights.len(), 0);
}

#[test]
fn the_hard_timeout_drops_the_loaders_future() {
    struct Bomb(Arc<AtomicUsize>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let cache = Cache::builder().build().unwrap();
    let freshness = crate::cache::Freshness::new().hard_timeout(Duration::from_millis(20));
    let options = LoadOptions::new().freshness(freshness);
    let drops = Arc::new(AtomicUsize::new(0));
    let bomb = Bomb(Arc::clone(&drops));
    let hangs = async move |context: LoadContext<'static, Bytes>| -> Load {
        let _bomb = bomb;
        assert!(context.deadline().is_some());
        pending().await
    };
    let failed = block_on(cache.get_or_load_async("a", &options, hangs)).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
    assert!(failed.to_string().contains("hard timeout"), "{failed}");
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    assert_eq!(cache.inner.flights.len(), 0);
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_and_for_another_gets_it() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let options = LoadOptions::new();
        let load = async |_| {
            yield_once().await;
            let never = async |_| Load::Ok(bytes("never"));
            let own = cache.get_or_load_async("a", &options, never).await.unwrap_err();
            assert_eq!(own.kind(), ErrorKind::Reentrant);
            let other = async |_| Load::Ok(bytes("other"));
            cache.get_or_load_async("b", &options, other).await.map(|answer| answer.value)
        };
        let answer = block_on(cache.get_or_load_async("a", &options, load)).unwrap();
        assert_eq!(answer.value, bytes("other"), "{tiering}");
    }
}

#[test]
fn a_panic_is_the_leaders_and_an_error_for_those_who_wait() {
    let cache = Cache::builder().build().unwrap();
    let options = LoadOptions::new();
    let panics = async |_| -> Load {
        yield_once().await;
        panic!("the loader's own")
    };
    let mut leads = Box::pin(cache.get_or_load_async("a", &options, panics));
    let mut context = Context::from_waker(Waker::noop());
    assert!(leads.as_mut().poll(&mut context).is_pending());
    let mut waits = Box::pin(load(&cache, "1"));
    assert!(waits.as_mut().poll(&mut context).is_pending());
    let polled = std::panic::AssertUnwindSafe(|| leads.as_mut().poll(&mut context).is_ready());
    assert!(std::panic::catch_unwind(polled).is_err());
    // An executor drops a task that panicked.
    drop(leads);
    assert_eq!(block_on(waits).unwrap_err().kind(), ErrorKind::LoaderPanicked);
    assert_eq!(block_on(load(&cache, "2")).unwrap(), bytes("2"));
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (2, 1));
}

#[test]
fn a_change_during_the_load_wins() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let options = LoadOptions::new();
        let load = async |_| {
            cache.set_async("a", bytes("set")).await.unwrap();
            Load::Ok(bytes("loaded"))
        };
        let answer = block_on(cache.get_or_load_async("a", &options, load)).unwrap();
        assert_eq!(answer.value, bytes("loaded"), "its own caller's");
        assert_eq!(block_on(cache.get_async("a")), Some(bytes("set")), "{tiering}");
    }
}

#[test]
fn a_loader_may_say_absent_and_for_how_long() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let options = LoadOptions::new();
    let absent = |_| ready(io::Result::Ok(Loaded::<Bytes>::absent().ttl(Duration::from_secs(5))));
    let answer = block_on(cache.get_or_load_optional_async("a", &options, absent)).unwrap();
    assert_eq!(answer.value, None);
    let error = block_on(load(&cache, "1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Absent);
    host.time.advance(Duration::from_secs(5));
    assert_eq!(block_on(load(&cache, "1")).unwrap(), bytes("1"));
}

#[test]
fn an_age_that_is_accepted_is_that_of_the_call() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    cache.set("a", bytes("1")).unwrap();
    host.time.advance(Duration::from_secs(10));
    let old = ReadOptions::new().max_age(Duration::from_secs(5));
    assert!(block_on(cache.get_entry_async("a", &old)).is_none());
    let options = LoadOptions::new().max_age(Duration::from_secs(5));
    let load = async |_| Load::Ok(bytes("2"));
    let answer = block_on(cache.get_or_load_async("a", &options, load)).unwrap();
    assert_eq!(answer.value, bytes("2"));
    assert!(block_on(cache.get_entry_async("a", &old)).is_some());
}

#[test]
fn a_closed_cache_lets_its_tasks_go() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let options = LoadOptions::new();
        let hangs = async |_| -> Load { pending().await };
        let mut hung = Box::pin(cache.get_or_load_async("a", &options, hangs));
        let mut context = Context::from_waker(Waker::noop());
        assert!(hung.as_mut().poll(&mut context).is_pending());
        cache.close();
        assert_eq!(block_on(load(&cache, "1")).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(block_on(cache.get_async("a")), None);
        drop(hung);
        let begin = Instant::now();
        until(|| !cache.inner.tasks.has_threads());
        assert!(begin.elapsed() < Duration::from_secs(5), "threads stay until they are bored");
    }
}

#[test]
fn loads_that_a_close_meets_end_with_their_value_and_no_deadline_comes_early() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let hour = Duration::from_secs(3600);
        let options = LoadOptions::new().freshness(Freshness::new().hard_timeout(hour));
        // Whom the close finds without a thread that would wake it is told of the close.
        let brief = Freshness::new().hard_timeout(Duration::from_millis(1));
        let brief = LoadOptions::new().freshness(brief);
        let hangs = async |_| -> Load { pending().await };
        let late = block_on(cache.get_or_load_async("brief", &brief, hangs)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        let (go, gate) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let led = {
            let (cache, options) = (cache.clone(), options.clone());
            thread::spawn(move || {
                let load = async |_| {
                    begun.send(()).unwrap();
                    poll_fn(|context| match gate.try_recv() {
                        Ok(()) => Poll::Ready(()),
                        Err(_) => {
                            context.waker().wake_by_ref();
                            Poll::Pending
                        }
                    })
                    .await;
                    Load::Ok(bytes("1"))
                };
                block_on(cache.get_or_load_async("a", &options, load))
            })
        };
        begins.recv().unwrap();
        let mut waiting = Box::pin(load(&cache, "2"));
        let woken = Arc::default();
        let bell = Bell { task: 0, woken: Arc::clone(&woken), thread: thread::current() };
        let waker = Waker::from(Arc::new(bell));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        cache.close();
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{tiering}");
        go.send(()).unwrap();
        assert_eq!(block_on(waiting).unwrap(), bytes("1"), "{tiering}");
        assert_eq!(led.join().unwrap().unwrap().value, bytes("1"), "{tiering}");
        until(|| !cache.inner.tasks.has_threads());
    }
}
