//! Owners that land, die, hang and fork, as threads: the mutex of a thread that ended is reported
//! as that of a process that was killed. `tests/host_flight.rs` has the processes.

use std::{
    path::Path,
    sync::mpsc::{Sender, channel},
    thread::{Scope, ScopedJoinHandle},
};

use super::*;
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    store::{NewRecord, StoreOptions},
    sync::testing,
};

const KEY: &[u8] = b"user:7";
const PATIENCE: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(10);

fn open(folder: &Path, clock: Clock) -> Arc<Store> {
    let options = StoreOptions::new(folder.join("store")).max_bytes(4 << 20).load_lease(LEASE);
    Arc::new(Store::open(&options, clock).unwrap())
}

fn turns(store: &Arc<Store>, key: &[u8], patience: Duration) -> Turns {
    Turns::new(Arc::clone(store), store.hash(key), patience).unwrap()
}

fn ask(turns: &Turns) -> Turn<'_> {
    turns.ask(|| Ok(())).unwrap()
}

fn state(store: &Store, number: u32) -> u32 {
    store.lease(number).word.load(Ordering::Acquire) & STATE
}

/// The first lease of the key's set.
fn first(store: &Store, key: &[u8]) -> u32 {
    store.hash(key).0 as u32 % SETS * WAYS
}

/// A key of the same set as `KEY`.
fn neighbour(store: &Store) -> Vec<u8> {
    (0_u64..)
        .map(|number| number.to_le_bytes().to_vec())
        .find(|key| first(store, key) == first(store, KEY))
        .unwrap()
}

/// A thread that has a key's lease.
struct Owner<'scope> {
    end: Sender<bool>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Owner<'scope> {
    fn of(scope: &'scope Scope<'scope, '_>, store: &Arc<Store>, key: &[u8]) -> Self {
        let turns = turns(store, key, Duration::ZERO);
        let (end, ended) = channel();
        let (taken, is_taken) = channel();
        let thread = scope.spawn(move || {
            let Turn::Mine(lease) = ask(&turns) else { panic!("somebody has the lease") };
            taken.send(()).unwrap();
            if ended.recv().unwrap() {
                drop(lease);
            } else {
                std::mem::forget(lease);
            }
        });
        is_taken.recv().unwrap();
        Self { end, thread }
    }

    fn land(self) {
        self.end.send(true).unwrap();
        self.thread.join().unwrap();
    }

    fn die(self) {
        self.end.send(false).unwrap();
        self.thread.join().unwrap();
    }
}

#[test]
fn who_waits_goes_on_when_the_lease_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        let owner = Owner::of(scope, &store, KEY);
        let turns = turns(&store, KEY, PATIENCE);
        let waiter = scope.spawn(move || {
            assert!(matches!(ask(&turns), Turn::Over));
            assert!(turns.has_waited());
            assert!(matches!(ask(&turns), Turn::Mine(_)), "nobody has it now");
        });
        thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        owner.land();
        waiter.join().unwrap();
        assert_eq!(state(&store, first(&store, KEY)), FREE);
    });
}

#[test]
fn other_keys_do_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        let owner = Owner::of(scope, &store, KEY);
        let other = turns(&store, &neighbour(&store), PATIENCE);
        assert!(matches!(ask(&other), Turn::Mine(_)));
        assert!(!other.has_waited());
        owner.land();
    });
}

#[test]
fn the_lease_of_an_owner_that_died_goes_to_one_and_the_others_wait_for_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        Owner::of(scope, &store, KEY).die();
        assert_eq!(state(&store, first(&store, KEY)), HELD);
        let (turns, other) = (turns(&store, KEY, PATIENCE), turns(&store, KEY, PATIENCE));
        let Turn::Mine(lease) = ask(&turns) else { panic!("its owner is dead") };
        assert_eq!(state(&store, first(&store, KEY)), HEIR);
        let waiter = scope.spawn(move || matches!(ask(&other), Turn::Over));
        thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        drop(lease);
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_dead_owner_is_noticed_while_others_nap() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        let owner = Owner::of(scope, &store, KEY);
        let turns = turns(&store, KEY, PATIENCE);
        let waiter = scope.spawn(move || matches!(ask(&turns), Turn::Mine(_)));
        thread::sleep(Duration::from_millis(100));
        let died = Instant::now();
        owner.die();
        assert!(waiter.join().unwrap());
        assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    });
}

#[test]
fn an_owner_that_hangs_is_overtaken_once_and_what_it_gives_back_late_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, time) = Clock::manual();
    let store = open(folder.path(), clock);
    thread::scope(|scope| {
        let hung = Owner::of(scope, &store, KEY);
        time.advance(LEASE);
        assert!(matches!(ask(&turns(&store, KEY, PATIENCE)), Turn::Over));
        let next = Owner::of(scope, &store, KEY);
        let number = first(&store, KEY);
        assert_eq!((state(&store, number), state(&store, number + 1)), (LEFT, HELD));
        hung.land();
        assert_eq!((state(&store, number), state(&store, number + 1)), (FREE, HELD));
        let late = turns(&store, KEY, Duration::from_millis(5));
        assert!(matches!(ask(&late), Turn::Alone), "the second load is waited for");
        assert!(late.has_waited());
        next.land();
    });
}

#[test]
fn where_all_leases_of_a_set_are_taken_loads_go_without() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, time) = Clock::manual();
    let store = open(folder.path(), clock);
    thread::scope(|scope| {
        let owners: Vec<_> = (0..WAYS)
            .map(|_| {
                let owner = Owner::of(scope, &store, KEY);
                time.advance(LEASE);
                assert!(matches!(ask(&turns(&store, KEY, PATIENCE)), Turn::Over));
                owner
            })
            .collect();
        let turns = turns(&store, KEY, PATIENCE);
        assert!(matches!(ask(&turns), Turn::Alone));
        assert!(!turns.has_waited());
        owners.into_iter().for_each(Owner::land);
        assert!(matches!(ask(&turns), Turn::Mine(_)));
    });
}

#[test]
fn a_load_from_before_a_change_of_its_key_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    // Time stands still: the lease cannot be over.
    let store = open(folder.path(), Clock::manual().0);
    let changes: [&dyn Fn(); 3] = [
        &|| {
            store.delete(store.hash(KEY), KEY);
        },
        &|| {
            let record = NewRecord::new(b"Ada", 0, Millis::NEVER);
            store.put(store.hash(KEY), KEY, record, None);
        },
        &|| store.clear(),
    ];
    for change in changes {
        thread::scope(|scope| {
            let old = Owner::of(scope, &store, KEY);
            change();
            let turns = turns(&store, KEY, Duration::from_secs(1));
            assert!(matches!(ask(&turns), Turn::Over));
            assert!(matches!(ask(&turns), Turn::Mine(_)));
            old.land();
        });
    }
}

#[test]
fn who_waited_for_a_load_that_left_no_value_waits_for_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        let failing = Owner::of(scope, &store, KEY);
        let turns = turns(&store, KEY, PATIENCE);
        let (over, is_over) = channel();
        let (again, go_on) = channel::<()>();
        let waiter = scope.spawn(move || {
            assert!(matches!(ask(&turns), Turn::Over));
            over.send(()).unwrap();
            go_on.recv().unwrap();
            matches!(ask(&turns), Turn::Alone)
        });
        thread::sleep(Duration::from_millis(30));
        failing.land();
        is_over.recv().unwrap();
        let next = Owner::of(scope, &store, KEY);
        again.send(()).unwrap();
        assert!(waiter.join().unwrap());
        next.land();
    });
}

#[test]
fn a_loader_that_asks_for_a_key_in_work_elsewhere_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        let owner = Owner::of(scope, &store, KEY);
        let (outer, inner) = (turns(&store, b"outer", PATIENCE), turns(&store, KEY, PATIENCE));
        let Turn::Mine(lease) = ask(&outer) else { panic!("nobody has it") };
        assert!(matches!(ask(&inner), Turn::Alone));
        drop(lease);
        owner.land();
    });
}

#[test]
fn a_check_that_fails_ends_the_wait_and_so_does_the_end_of_patience() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    thread::scope(|scope| {
        let owner = Owner::of(scope, &store, KEY);
        let stopped =
            turns(&store, KEY, PATIENCE).ask(|| Err(Error::new(ErrorKind::Closed, "stop"))).err();
        assert_eq!(stopped.map(|error| error.kind()), Some(ErrorKind::Closed));
        assert!(matches!(ask(&turns(&store, KEY, Duration::from_millis(5))), Turn::Alone));
        owner.land();
    });
}

#[test]
fn a_zero_lease_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("store"))
        .max_bytes(4 << 20)
        .load_lease(Duration::ZERO);
    let store = Arc::new(Store::open(&options, Clock::system()).unwrap());
    let hash = store.hash(KEY);
    assert!(Turns::new(store, hash, PATIENCE).is_none());
}

#[test]
fn a_child_forked_by_a_loader_neither_gives_back_nor_gets_its_parents_lease() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Clock::system());
    let mine = turns(&store, KEY, PATIENCE);
    let Turn::Mine(lease) = ask(&mine) else { panic!("nobody has it") };
    let mut lease = Some(lease);
    let is_well = testing::fork(|| {
        drop(lease.take());
        let still_held = state(&store, first(&store, KEY)) == HELD;
        let waits = matches!(ask(&turns(&store, KEY, Duration::from_millis(50))), Turn::Alone);
        // Its own leases are its own.
        let other = turns(&store, b"other", PATIENCE);
        still_held && waits && matches!(ask(&other), Turn::Mine(_))
    });
    assert!(is_well);
    let number = first(&store, KEY);
    assert_eq!(state(&store, number), HELD);
    thread::scope(|scope| {
        let late = turns(&store, KEY, Duration::from_millis(5));
        assert!(scope.spawn(move || matches!(ask(&late), Turn::Alone)).join().unwrap());
    });
    drop(lease);
    assert_eq!(state(&store, number), FREE);
}
