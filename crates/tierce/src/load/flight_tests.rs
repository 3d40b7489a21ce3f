//! Flights with leaders, threads and tasks in the hands of a test.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use super::{
    flight::{Entered, Flights, Joined, Lead, Waited},
    testing::PATIENCE,
};
use crate::{
    error::{Error, ErrorKind, Result},
    group_word::GroupWord,
    invalidation::{Began, Filed},
    sync,
    tag_cells::Known,
};

const BEGAN: Began = Began {
    filed: Filed::Private { era: 0, word: GroupWord::NONE },
    known: Known { place: 0, raises: 0 },
};

fn lead(flights: &Flights<u32>, key: &[u8]) -> Lead<u32> {
    match flights.enter(key, BEGAN, |_| true) {
        Ok(Entered::Lead(lead)) => lead,
        _ => panic!("somebody leads already"),
    }
}

/// Joins from another thread: this one may lead the flight.
fn join(flights: &Flights<u32>, key: &[u8]) -> Joined<u32> {
    let entered = thread::scope(|scope| {
        scope
            .spawn(|| match flights.enter(key, BEGAN, |_| true) {
                Ok(Entered::Join(joined)) => joined,
                _ => panic!("nobody leads"),
            })
            .join()
    });
    entered.unwrap()
}

fn landed(waited: Result<Waited<u32>>) -> u32 {
    match waited {
        Ok(Waited::Landed(value)) => value,
        Ok(Waited::Overtaken) => panic!("overtaken"),
        Ok(Waited::Lead(_)) => panic!("nobody leads"),
        Err(error) => panic!("{error}"),
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rings(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll(joined: &mut Joined<u32>, bell: &Arc<Bell>) -> Poll<Result<Waited<u32>>> {
    joined.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

#[test]
fn who_joined_gets_what_the_leader_lands_and_the_table_is_empty() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a");
    let joined = join(&flights, b"a");
    leads.land(Ok(7));
    assert_eq!(landed(joined.wait(Duration::ZERO, None)), 7);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_detached_flight_lands_for_its_own_and_leaves_its_successor_alone() {
    let flights = Flights::new();
    let old = lead(&flights, b"a");
    let joined = join(&flights, b"a");
    flights.detach(b"a");
    let new = lead(&flights, b"a");
    old.land(Ok(1));
    assert_eq!(landed(joined.wait(Duration::ZERO, None)), 1);
    let joined = join(&flights, b"a");
    new.land(Ok(2));
    assert_eq!(landed(joined.wait(Duration::ZERO, None)), 2);
}

#[test]
fn a_flight_from_before_a_change_is_not_joined() {
    let flights = Flights::new();
    let _old = lead(&flights, b"a");
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(flights.enter(b"a", BEGAN, |_| false), Ok(Entered::Lead(_))));
        });
    });
}

#[test]
#[cfg(unix)]
fn a_forked_child_waits_for_no_load_of_a_thread_it_does_not_have() {
    let (flights, gate) = (Flights::new(), Barrier::new(2));
    thread::scope(|scope| {
        let (flights, gate) = (&flights, &gate);
        scope.spawn(move || {
            let leads = lead(flights, b"a");
            gate.wait();
            gate.wait();
            leads.land(Ok(1));
        });
        gate.wait();
        let is_well = sync::testing::fork(|| {
            lead(flights, b"a").land(Ok(2));
            flights.len() == 0
        });
        drop(join(flights, b"a"));
        gate.wait();
        assert!(is_well);
    });
}

#[test]
fn a_check_that_fails_ends_the_wait() {
    let flights = Flights::<u32>::new();
    let _leads = lead(&flights, b"a");
    let joined = join(&flights, b"a");
    let stop = || Err(Error::new(ErrorKind::Closed, "stop"));
    let ended = joined.wait(Duration::MAX, Some(&stop));
    assert!(ended.is_err_and(|error| error.kind() == ErrorKind::Closed));
}

#[test]
fn an_overtaken_leader_may_not_file_is_told_and_those_who_waited_begin_anew() {
    let flights = Flights::new();
    let hung = lead(&flights, b"a").travelling();
    let (mut first, patient) = (join(&flights, b"a"), join(&flights, b"a"));
    let bell = Arc::new(Bell::default());
    assert!(poll(&mut first, &bell).is_pending());
    assert!(
        matches!(patient.wait(Duration::ZERO, None), Err(error) if error.kind() == ErrorKind::Timeout)
    );
    assert!(!hung.token().is_cancelled());
    patient.overtake();
    assert!(hung.token().is_cancelled());
    assert_eq!(bell.rings(), 1);
    assert!(matches!(poll(&mut first, &bell), Poll::Ready(Ok(Waited::Overtaken))));
    assert!(matches!(patient.wait(PATIENCE, None), Ok(Waited::Overtaken)));
    let next = lead(&flights, b"a");
    assert!(!hung.begin_filing());
    hung.land(Ok(1));
    assert!(next.begin_filing());
    let joined = join(&flights, b"a");
    next.land(Ok(2));
    assert_eq!(landed(joined.wait(Duration::ZERO, None)), 2);
    assert!(matches!(patient.wait(Duration::ZERO, None), Ok(Waited::Overtaken)));
}

#[test]
fn a_leader_that_files_is_not_overtaken() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a");
    let joined = join(&flights, b"a");
    assert!(leads.begin_filing());
    joined.overtake();
    assert!(!leads.token().is_cancelled() && leads.begin_filing());
    leads.land(Ok(1));
    assert_eq!(landed(joined.wait(Duration::ZERO, None)), 1);
}

#[test]
fn an_overtaken_leader_that_is_dropped_leaves_the_newer_flight_alone() {
    let flights = Flights::new();
    let hung = lead(&flights, b"a").travelling();
    let patient = join(&flights, b"a");
    join(&flights, b"a").overtake();
    let next = lead(&flights, b"a");
    drop(hung);
    assert!(matches!(patient.wait(PATIENCE, None), Ok(Waited::Overtaken)));
    let joined = join(&flights, b"a");
    next.land(Ok(2));
    assert_eq!(landed(joined.wait(Duration::ZERO, None)), 2);
}

#[test]
fn a_task_that_waits_is_woken_by_the_landing() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a").travelling();
    let (mut one, mut other) = (join(&flights, b"a"), join(&flights, b"a"));
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    assert!(poll(&mut one, &bells[0]).is_pending());
    assert!(poll(&mut other, &bells[1]).is_pending());
    // Another waker takes the place of the first.
    let later = Arc::new(Bell::default());
    assert!(poll(&mut one, &later).is_pending());
    leads.land(Ok(3));
    assert_eq!([bells[0].rings(), later.rings(), bells[1].rings()], [0, 1, 1]);
    for joined in [&mut one, &mut other] {
        let Poll::Ready(waited) = poll(joined, &later) else { panic!("it has landed") };
        assert_eq!(landed(waited), 3);
    }
}

#[test]
fn a_task_that_leaves_takes_its_waker_along() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a").travelling();
    let bell = Arc::new(Bell::default());
    for _ in 0..100 {
        let mut joined = join(&flights, b"a");
        assert!(poll(&mut joined, &bell).is_pending());
        assert!(poll(&mut joined, &bell).is_pending());
    }
    assert_eq!(Arc::strong_count(&bell), 1);
    assert_eq!(leads.waiting(), (0, 0));
    leads.land(Ok(1));
    assert_eq!(bell.rings(), 0);
}

#[test]
fn a_leading_task_that_is_dropped_hands_over_to_the_one_that_waited_longest() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a").travelling();
    let mut joined: Vec<_> = (0..3).map(|_| join(&flights, b"a")).collect();
    let bells: Vec<_> = (0..3).map(|_| Arc::new(Bell::default())).collect();
    for (joined, bell) in joined.iter_mut().zip(&bells) {
        assert!(poll(joined, bell).is_pending());
    }
    drop(leads);
    let rings = || bells.iter().map(|bell| bell.rings()).collect::<Vec<_>>();
    assert_eq!(rings(), [1, 0, 0]);
    let Poll::Ready(Ok(Waited::Lead(promoted))) = poll(&mut joined[0], &bells[0]) else {
        panic!("nobody leads")
    };
    // A task that was dropped before it could lead, and a new one: both hand over in turn.
    assert!(poll(&mut joined[1], &bells[1]).is_pending());
    drop(promoted);
    assert_eq!(rings(), [1, 1, 0]);
    drop(joined.remove(1));
    assert_eq!(rings(), [1, 1, 1]);
    let Poll::Ready(Ok(Waited::Lead(promoted))) = poll(&mut joined[1], &bells[2]) else {
        panic!("nobody leads")
    };
    assert!(!promoted.token().is_cancelled() && promoted.begin_filing());
    promoted.land(Ok(5));
    let Poll::Ready(waited) = poll(&mut joined[0], &bells[0]) else { panic!("it has landed") };
    assert_eq!(landed(waited), 5);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_dropped_leader_hands_over_to_a_thread_that_waits() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a").travelling();
    let joined = join(&flights, b"a");
    thread::scope(|scope| {
        let waits = scope.spawn(move || match joined.wait(PATIENCE, None) {
            Ok(Waited::Lead(lead)) => lead.land(Ok(1)),
            _ => panic!("nobody handed over"),
        });
        drop(leads);
        waits.join().unwrap();
    });
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_vacant_flight_is_led_by_who_comes_and_nobody_is_left_out() {
    let flights = Flights::new();
    let leads = lead(&flights, b"a").travelling();
    let mut joined = join(&flights, b"a");
    let bell = Arc::new(Bell::default());
    assert!(poll(&mut joined, &bell).is_pending());
    drop(leads);
    let comes = lead(&flights, b"a");
    assert!(poll(&mut joined, &bell).is_pending());
    comes.land(Ok(4));
    let Poll::Ready(waited) = poll(&mut joined, &bell) else { panic!("it has landed") };
    assert_eq!(landed(waited), 4);
}

#[test]
fn a_vacant_flight_for_which_nobody_waits_leaves_the_table() {
    let flights = Flights::new();
    drop(lead(&flights, b"a").travelling());
    assert_eq!(flights.len(), 0);
    let leads = lead(&flights, b"a").travelling();
    let joined = join(&flights, b"a");
    drop(leads);
    assert_eq!(flights.len(), 1);
    drop(joined);
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_panic_is_told_to_those_who_wait_and_an_unwinding_that_is_not_the_loaders_hands_over() {
    let flights = Flights::new();
    for travels in [false, true] {
        let leads = lead(&flights, b"a");
        let leads = if travels { leads.travelling() } else { leads };
        let joined = join(&flights, b"a");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let leads = leads;
            let _at_work = leads.at_work();
            panic!("the loader's own");
        }));
        assert!(panicked.is_err());
        let waited = joined.wait(PATIENCE, None);
        assert!(waited.is_err_and(|error| error.kind() == ErrorKind::LoaderPanicked));
    }
    let leads = lead(&flights, b"a").travelling();
    let joined = join(&flights, b"a");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let leads = leads;
        drop(leads.at_work());
        panic!("of the executor");
    }));
    assert!(panicked.is_err());
    assert!(matches!(joined.wait(PATIENCE, None), Ok(Waited::Lead(_))));
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_so_where_its_thread_asks() {
    let flights = Flights::new();
    let is_told = || {
        flights
            .enter(b"a", BEGAN, |_| true)
            .is_err_and(|error| error.kind() == ErrorKind::Reentrant)
    };
    let leads = lead(&flights, b"a");
    assert!(is_told());
    let leads = leads.travelling();
    assert!(!is_told(), "between two polls this thread may ask for anything");
    thread::scope(|scope| {
        let at_work = leads.at_work();
        assert!(is_told());
        scope.spawn(|| assert!(!is_told(), "another thread waits as any other"));
        drop(at_work);
    });
    assert!(!is_told());
}

#[test]
fn closing_tells_all_loaders() {
    let flights = Flights::new();
    let (one, other) = (lead(&flights, b"a"), lead(&flights, b"b"));
    flights.cancel_all();
    assert!(one.token().is_cancelled() && other.token().is_cancelled());
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_waker_that_panics_leaves_nobody_asleep() {
    struct Alarm;
    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            panic!("the executor's own");
        }
    }
    let flights = Flights::new();
    let leads = lead(&flights, b"a").travelling();
    let (mut bad, mut good) = (join(&flights, b"a"), join(&flights, b"a"));
    let bell = Arc::new(Bell::default());
    assert!(bad.poll(&mut Context::from_waker(&Waker::from(Arc::new(Alarm)))).is_pending());
    assert!(poll(&mut good, &bell).is_pending());
    leads.land(Ok(1));
    assert_eq!(bell.rings(), 1);
}

/// Tasks in the hands of this test: each is polled only if it was woken, and some are dropped.
#[test]
fn whoever_is_dropped_all_others_end_and_the_table_is_empty() {
    let seed = 7;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let flights = Flights::new();
        let mut leads = vec![lead(&flights, b"a").travelling()];
        let bells: Vec<_> = (0..8).map(|_| Arc::new(Bell::default())).collect();
        let mut tasks: Vec<_> =
            bells.iter().map(|bell| Some((join(&flights, b"a"), bell, 0))).collect();
        let mut ended = 0;
        for (joined, bell, _) in tasks.iter_mut().flatten() {
            assert!(poll(joined, bell).is_pending());
        }
        for step in 0..10_000 {
            let task = random.usize(0..tasks.len());
            match random.u8(0..10) {
                0 => drop(leads.pop()),
                1 if random.bool() => tasks[task] = None,
                2 if random.u8(0..4) == 0 => {
                    if let Some(lead) = leads.pop() {
                        lead.land(Ok(1));
                    }
                }
                _ => {
                    let Some((joined, bell, seen)) = &mut tasks[task] else { continue };
                    if bell.rings() == *seen {
                        continue;
                    }
                    *seen = bell.rings();
                    match poll(joined, bell) {
                        Poll::Pending => {}
                        Poll::Ready(Ok(Waited::Lead(lead))) => {
                            assert!(leads.is_empty(), "two lead: seed {seed}, round {round}");
                            leads.push(lead);
                            tasks[task] = None;
                        }
                        Poll::Ready(waited) => {
                            assert_eq!(landed(waited), 1);
                            ended += 1;
                            tasks[task] = None;
                        }
                    }
                }
            }
            if tasks.iter().all(Option::is_none) && leads.is_empty() {
                break;
            }
            assert!(step < 9_999, "tasks sleep for ever: seed {seed}, round {round}, {ended}");
        }
        assert_eq!(flights.len(), 0, "seed {seed}, round {round}");
    }
}

#[test]
fn a_thousand_threads_on_one_cold_key_load_once() {
    let flights = Flights::new();
    let (loads, there, start) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(1000));
    thread::scope(|scope| {
        for _ in 0..1000 {
            let call = || {
                start.wait();
                match flights.enter(b"a", BEGAN, |_| true).unwrap() {
                    Entered::Lead(lead) => {
                        loads.fetch_add(1, Ordering::Relaxed);
                        // Until all others have joined, and gone again where their patience ended.
                        while there.load(Ordering::Relaxed) < 999 {
                            thread::yield_now();
                        }
                        lead.land(Ok(7));
                    }
                    Entered::Join(joined) => {
                        there.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(landed(joined.wait(PATIENCE, None)), 7);
                    }
                }
            };
            thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, call).unwrap();
        }
    });
    assert_eq!((loads.into_inner(), flights.len()), (1, 0));
}
