use std::sync::{
    Weak,
    atomic::{AtomicBool, AtomicUsize},
    mpsc,
};

use super::*;
use crate::load::testing::{PATIENCE, until};

fn crew(max_threads: usize, max_queued: usize) -> Crew {
    Crew::named(NAME, max_threads, max_queued, Duration::from_secs(60))
}

/// A job that waits until the sender is dropped.
fn held(crew: &Crew) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let job = move || {
        begun.send(()).unwrap();
        _ = held.recv();
    };
    assert!(crew.spawn(job).is_ok());
    has_begun.recv_timeout(PATIENCE).unwrap();
    release
}

#[test]
fn a_crew_at_rest_has_no_thread_and_starts_no_more_than_it_may() {
    let crew = crew(3, 100);
    assert_eq!(crew.counts(), (0, 0));
    let (begun, has_begun) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    for _ in 0..20 {
        let (begun, held) = (begun.clone(), Arc::clone(&held));
        let job = move || {
            begun.send(thread::current().id()).unwrap();
            _ = held.lock().unwrap().recv();
        };
        assert!(crew.spawn(job).is_ok());
    }
    let mut threads: Vec<_> = (0..3).map(|_| has_begun.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(crew.counts(), (3, 17));
    assert!(has_begun.try_recv().is_err());
    drop(release);
    threads.extend((0..17).map(|_| has_begun.recv_timeout(PATIENCE).unwrap()));
    let distinct: std::collections::HashSet<_> = threads.iter().collect();
    assert_eq!(distinct.len(), 3);
    assert!(crew.close(PATIENCE));
}

#[test]
fn one_idle_thread_takes_jobs_that_come_one_after_another() {
    let crew = crew(4, 100);
    for _ in 0..50 {
        let (done, is_done) = mpsc::channel();
        assert!(crew.spawn(move || done.send(()).unwrap()).is_ok());
        is_done.recv_timeout(PATIENCE).unwrap();
        until(|| crew.shared.lock().idle == 1);
    }
    assert_eq!(crew.counts(), (1, 0));
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let crew = crew(1, 2);
    let release = held(&crew);
    let ran = Arc::new(AtomicUsize::new(0));
    let job = || {
        let ran = Arc::clone(&ran);
        move || _ = ran.fetch_add(1, Ordering::Relaxed)
    };
    assert!(crew.spawn(job()).is_ok() && crew.spawn(job()).is_ok());
    let Err(Refused::Full(refused)) = crew.spawn(job()) else { panic!("it has no room") };
    refused();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    drop(release);
    until(|| ran.load(Ordering::Relaxed) == 3);
    assert!(matches!(Crew::new(0).spawn(|| ()), Err(Refused::Full(_))));
}

#[test]
fn a_crew_without_a_queue_takes_as_many_jobs_as_it_may_have_threads() {
    let crew = crew(3, 0);
    for _ in 0..20 {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let spawn = || {
            let held = Arc::clone(&held);
            crew.spawn(move || _ = held.lock().unwrap().recv()).is_ok()
        };
        assert!(spawn() && spawn() && spawn());
        assert!(!spawn());
        drop(release);
        until(|| crew.shared.lock().idle == 3 && crew.counts() == (3, 0));
    }
    assert_eq!(crew.counts(), (3, 0));
}

#[test]
fn a_thread_that_found_nothing_to_do_ends_and_the_next_job_starts_one() {
    let crew = Crew::named(NAME, 2, 10, Duration::from_millis(5));
    for _ in 0..3 {
        let (done, is_done) = mpsc::channel();
        assert!(crew.spawn(move || done.send(()).unwrap()).is_ok());
        is_done.recv_timeout(PATIENCE).unwrap();
        until(|| crew.counts() == (0, 0));
        until(|| Arc::strong_count(&crew.shared) == 1);
    }
}

#[test]
fn a_panic_ends_its_job_and_nothing_else() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("another one");
        }
    }
    let crew = crew(1, 10);
    assert!(crew.spawn(|| panic!("a job's own")).is_ok());
    assert!(crew.spawn(|| std::panic::panic_any(Bomb)).is_ok());
    let (done, is_done) = mpsc::channel();
    assert!(crew.spawn(move || done.send(()).unwrap()).is_ok());
    is_done.recv_timeout(PATIENCE).unwrap();
    assert_eq!(crew.panics(), 2);
    assert!(crew.close(PATIENCE));
}

#[test]
fn close_drops_what_is_queued_and_waits_for_what_runs() {
    let crew = crew(1, 10);
    let release = held(&crew);
    let ran = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&ran);
    assert!(crew.spawn(move || theirs.store(true, Ordering::Relaxed)).is_ok());
    assert!(!crew.close(Duration::from_millis(10)), "a job runs");
    assert_eq!(Arc::strong_count(&ran), 1, "what was queued is dropped");
    assert!(matches!(crew.spawn(|| ()), Err(Refused::Closed(_))));
    drop(release);
    assert!(crew.close(PATIENCE));
    assert_eq!(crew.counts(), (0, 0));
    assert!(!ran.load(Ordering::Relaxed));
}

#[test]
fn a_job_may_close_its_own_crew() {
    let crew = Arc::new(crew(2, 10));
    let (theirs, (done, is_done)) = (Arc::clone(&crew), mpsc::channel());
    assert!(crew.spawn(move || done.send(theirs.close(PATIENCE)).unwrap()).is_ok());
    assert!(is_done.recv_timeout(PATIENCE).unwrap());
    assert!(crew.close(PATIENCE));
}

/// What a cache is to its crew.
struct Owner {
    crew: Crew,
}

#[test]
fn an_owner_that_is_dropped_is_not_kept_alive_and_its_threads_end() {
    let owner = Arc::new(Owner { crew: crew(2, 10) });
    let shared = Arc::downgrade(&owner.crew.shared);
    let release = held(&owner.crew);
    let weak = Arc::downgrade(&owner);
    let (done, is_done) = mpsc::channel();
    let queued = move || done.send(Weak::upgrade(&weak).is_some()).unwrap();
    assert!(owner.crew.spawn(queued).is_ok());
    assert!(is_done.recv_timeout(PATIENCE).unwrap());
    let weak = Arc::downgrade(&owner);
    drop(owner);
    // The job may be about to let go of what it had looked at.
    until(|| weak.strong_count() == 0);
    drop(release);
    until(|| shared.strong_count() == 0);
}

#[test]
fn a_job_may_be_the_last_to_hold_the_owner() {
    let owner = Arc::new(Owner { crew: crew(1, 10) });
    let shared = Arc::downgrade(&owner.crew.shared);
    let (theirs, (release, held)) = (Arc::clone(&owner), mpsc::channel::<()>());
    let job = move || {
        _ = held.recv();
        drop(theirs);
    };
    assert!(owner.crew.spawn(job).is_ok());
    drop(owner);
    drop(release);
    until(|| shared.strong_count() == 0);
}

#[test]
#[cfg(unix)]
fn a_forked_child_has_a_crew_of_its_own_and_leaves_the_jobs_of_its_parent() {
    sync::testing::apart(
        module_path!(),
        "a_forked_child_has_a_crew_of_its_own_and_leaves_the_jobs_of_its_parent",
        || {
            let crew = crew(1, 10);
            let release = held(&crew);
            let ran = Arc::new(AtomicUsize::new(0));
            let job = || {
                let ran = Arc::clone(&ran);
                move || _ = ran.fetch_add(1, Ordering::Relaxed)
            };
            assert!(crew.spawn(job()).is_ok());
            sync::testing::forked(|| {
                let (done, is_done) = mpsc::channel();
                crew.spawn(move || done.send(()).unwrap()).is_ok()
                    && is_done.recv_timeout(PATIENCE).is_ok()
                    && ran.load(Ordering::Relaxed) == 0
                    && crew.close(PATIENCE)
            });
            drop(release);
            until(|| ran.load(Ordering::Relaxed) == 1);
            assert!(crew.close(PATIENCE));
        },
    );
}

#[test]
fn jobs_of_many_threads_each_run_once() {
    let crew = Arc::new(Crew::named(NAME, 4, 1 << 20, Duration::from_millis(1)));
    let ran = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let ran = Arc::clone(&ran);
                    assert!(crew.spawn(move || _ = ran.fetch_add(1, Ordering::Relaxed)).is_ok());
                }
            });
        }
    });
    until(|| ran.load(Ordering::Relaxed) == 8_000);
    assert!(crew.close(PATIENCE));
}
