//! Rollouts of caches that share a journal.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Bytes, Cache, Clock, Tiering,
    guard::{
        Guard, GuardBuilder,
        rollout::{Action, Command, Plan, Share, SplitBy, Splitter, Stage, StoreRollout},
    },
    split::Moves,
};

const PLAN: &str = "
plan: test
baseline: L1
phases:
  - name: canary
    target: L1L2
    split: instance
    steps: [{share: 1%, wait: 1h}, {share: 100%, wait: 1h}]
    rollback: [{condition: input.incidents > 0}]
";

fn cache(folder: &std::path::Path) -> Cache {
    let options = crate::StoreOptions::new(folder).max_bytes(16 << 20);
    Cache::builder().shared(options).build().unwrap()
}

fn guard(cache: &Cache, journal: &std::path::Path, instance: &str) -> GuardBuilder<Bytes> {
    Guard::of(cache).rollout(Plan::from_yaml(PLAN).unwrap(), journal, instance)
}

#[test]
fn the_cache_of_the_leader_is_moved_and_moved_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("rollout.jsonl");
    let (one, two) = (cache(folder.path()), cache(folder.path()));
    let leader = guard(&one, &journal, "one").build().unwrap();
    let follower = guard(&two, &journal, "two").build().unwrap();
    leader.round().unwrap();
    leader.command("ada", Command::Start).unwrap();
    leader.round().unwrap();
    follower.round().unwrap();
    assert_eq!((one.tiering(), two.tiering()), (Tiering::L1L2, Tiering::L1));
    assert_eq!(follower.rollout().unwrap().percent, 1.0);
    leader.command("ada", Command::Force).unwrap();
    follower.round().unwrap();
    assert_eq!(two.tiering(), Tiering::L1L2);
    // The follower sees what must not be, and takes it back for all.
    follower.push("incidents", 1.0).unwrap();
    follower.round().unwrap();
    assert_eq!(two.tiering(), Tiering::L1);
    leader.round().unwrap();
    assert_eq!((one.tiering(), leader.rollout().unwrap().stage), (Tiering::L1, Stage::RolledBack));
    // A restart stays where the journal is.
    drop((leader, one));
    let one = cache(folder.path());
    let again = guard(&one, &journal, "one").build().unwrap();
    again.round().unwrap();
    assert_eq!(again.rollout().unwrap().stage, Stage::RolledBack);
}

#[test]
fn an_operator_of_any_process_takes_it_back_in_all_within_a_tenth_of_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("rollout.jsonl");
    let caches: Vec<Cache> = (0..4).map(|_| cache(folder.path())).collect();
    let guards: Vec<Guard<Bytes>> = caches
        .iter()
        .enumerate()
        .map(|(n, cache)| guard(cache, &journal, &format!("i{n}")).start().unwrap())
        .collect();
    let are_all = |tiering| {
        let begin = Instant::now();
        while caches.iter().any(|cache| cache.tiering() != tiering) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{caches:?}");
            thread::sleep(Duration::from_millis(1));
        }
        begin.elapsed()
    };
    guards[1].command("ada", Command::Start).unwrap();
    while guards[1].rollout().unwrap().stage != Stage::Running {
        thread::sleep(Duration::from_millis(1));
    }
    guards[1].command("ada", Command::Force).unwrap();
    are_all(Tiering::L1L2);
    guards[2].command("ada", Command::Rollback(Action::Immediate)).unwrap();
    let took = are_all(Tiering::L1);
    println!("all four are back after {took:?}");
}

#[test]
fn a_share_of_keys_is_moved_and_moved_back_in_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("rollout.jsonl");
    let (one, two) = (cache(folder.path()), cache(folder.path()));
    let plan = Plan::from_yaml(&PLAN.replace("split: instance", "split: key")).unwrap();
    let guard = |cache: &Cache, name: &str| {
        Guard::of(cache).rollout(plan.clone(), &journal, name).build().unwrap()
    };
    let (leader, follower) = (guard(&one, "one"), guard(&two, "two"));
    leader.round().unwrap();
    leader.command("ada", Command::Start).unwrap();
    leader.round().unwrap();
    follower.round().unwrap();
    let splitter = Splitter::new(SplitBy::Key, "test", "");
    let share = |percent: f64| Share::of(percent / 100.0).unwrap();
    let keys: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let is_on_new = |percent, key: &String| splitter.is_new(share(percent), key.as_bytes());
    for cache in [&one, &two] {
        assert!(cache.is_split() && cache.tiering() == Tiering::L1L2);
    }
    keys.iter().for_each(|key| one.set(key, Bytes::from("1")).unwrap());
    for key in &keys {
        // What went to L2 the other process has too.
        assert_eq!(two.get(key).is_some(), is_on_new(1.0, key), "{key}");
    }
    leader.command("ada", Command::Force).unwrap();
    follower.round().unwrap();
    keys.iter().for_each(|key| one.set(key, Bytes::from("2")).unwrap());
    assert!(keys.iter().all(|key| two.get(key).is_some()));
    follower.command("bob", Command::Rollback(Action::Immediate)).unwrap();
    leader.round().unwrap();
    for cache in [&one, &two] {
        assert!(!cache.is_split() && cache.tiering() == Tiering::L1);
    }
    assert_eq!(leader.rollout().unwrap().stage, Stage::RolledBack);
}

/// A rollout of half of the keys, of which the new side's loads fail.
fn of_which_the_new_side_fails(rules: &str) -> (tempfile::TempDir, Guard<Bytes>, impl Fn()) {
    let folder = tempfile::tempdir().unwrap();
    let (clock, time) = Clock::manual();
    let options = crate::StoreOptions::new(folder.path()).max_bytes(16 << 20);
    let cache = Cache::builder().clock(clock).shared(options).build().unwrap();
    let plan = PLAN.replace("split: instance", "split: key").replace("share: 1%", "share: 50%");
    let plan = Plan::from_yaml(&plan.replace("    rollback", &format!("{rules}\n    rollback")));
    let journal = folder.path().join("rollout.jsonl");
    let guard = Guard::of(&cache).rollout(plan.unwrap(), journal, "one").build().unwrap();
    guard.round().unwrap();
    guard.command("ada", Command::Start).unwrap();
    guard.round().unwrap();
    let splitter = Splitter::new(SplitBy::Key, "test", "");
    let half = Share::of(0.5).unwrap();
    let work = move || {
        for n in 0..1000 {
            let key = format!("k{n}");
            _ = cache.get_or_load(&key, |key| match splitter.is_new(half, key) {
                true => Err(std::io::Error::other("no")),
                false => Ok(Bytes::from("1")),
            });
        }
        time.advance(Duration::from_secs(1));
    };
    (folder, guard, work)
}

#[test]
fn a_new_side_that_is_worse_than_the_old_one_shuts_the_gate() {
    let (_folder, guard, work) = of_which_the_new_side_fails("    compare: [error_rate]");
    guard.round().unwrap();
    assert_eq!(guard.rollout().unwrap().red, None);
    work();
    guard.round().unwrap();
    let red = guard.rollout().unwrap().red.unwrap();
    assert!(red.contains("error_rate worse than on the old side"), "{red}");
}

#[test]
fn what_the_new_side_does_takes_it_back_and_what_the_old_one_does_does_not() {
    // Every failure is of the new side: 100 % there, 50 % of all.
    let (_folder, guard, work) = of_which_the_new_side_fails("    success: [error_rate < 75%]");
    guard.round().unwrap();
    work();
    guard.round().unwrap();
    assert_eq!(guard.rollout().unwrap().red.as_deref(), Some("error_rate < 75%"));
}

const BY_KEY: &str = "
plan: by-key
baseline: L1
phases:
  - name: canary
    target: L1L2
    split: key
    steps: [{share: 50%, wait: 1h}, {share: 100%, wait: 1h}]
";

#[test]
fn a_store_tells_its_processes_of_a_rollout_that_they_never_heard_of() {
    let folder = tempfile::tempdir().unwrap();
    let caches = [cache(folder.path()), cache(folder.path())];
    let guards = caches.each_ref().map(|cache| {
        let name = format!("{cache:p}");
        Guard::of(cache).rollout_of_store(name).build().unwrap()
    });
    let round = || guards.iter().for_each(|guard| guard.round().unwrap());
    round();
    assert!(caches.iter().all(|cache| !cache.is_split() && cache.tiering() == Tiering::L1));
    let mut rollout = StoreRollout::open(folder.path()).unwrap();
    assert_eq!(rollout.percent().unwrap(), None);
    rollout.start("ada", BY_KEY).unwrap();
    round();
    round();
    assert_eq!(rollout.percent().unwrap(), Some(50.0));
    assert!(caches.iter().all(|cache| cache.is_split() && cache.tiering() == Tiering::L1L2));
    assert!(rollout.start("bob", BY_KEY).is_err(), "one is under way");
    rollout.ask("ada", Command::Force).unwrap();
    round();
    assert_eq!(rollout.percent().unwrap(), Some(100.0));
    caches[0].set("a", Bytes::from("1")).unwrap();
    assert_eq!(caches[1].get("a"), Some(Bytes::from("1")));

    // In force with the next call, before any process looks at its journal.
    rollout.ask("bob", Command::Rollback(Action::Immediate)).unwrap();
    caches[0].set("b", Bytes::from("1")).unwrap();
    assert_eq!(caches[0].get("b"), Some(Bytes::from("1")));
    assert_eq!(caches[1].get("b"), None, "it was kept on the old side");
    round();
    assert!(caches.iter().all(|cache| !cache.is_split() && cache.tiering() == Tiering::L1));
    let by: Vec<String> = rollout.history().unwrap().iter().map(|one| one.by.clone()).collect();
    assert!(by.contains(&"operator ada".to_owned()) && by.contains(&"operator bob".to_owned()));
    // Another one may begin, with another plan.
    rollout.start("ada", &BY_KEY.replace("by-key", "again")).unwrap();
    round();
    round();
    assert_eq!(guards[0].rollout().unwrap().plan, "again");
    assert!(caches.iter().all(Cache::is_split));
}

#[test]
fn a_rollback_whose_author_died_before_it_wrote_a_line_is_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let guard = Guard::of(&cache).rollout_of_store("one").build().unwrap();
    let mut rollout = StoreRollout::open(folder.path()).unwrap();
    rollout.start("ada", BY_KEY).unwrap();
    guard.round().unwrap();
    guard.round().unwrap();
    assert!(cache.is_split());
    assert!(cache.tell_share("by-key", Share::NONE, Moves::Back));
    guard.round().unwrap();
    assert_eq!(guard.rollout().unwrap().stage, Stage::RolledBack);
    assert_eq!((cache.is_split(), cache.tiering()), (false, Tiering::L1));
    assert_eq!(rollout.latest().unwrap().unwrap().stage, Stage::RolledBack);
}

#[test]
fn a_rollback_by_steps_goes_on_over_a_restart_and_the_journal_says_why_and_when() {
    let plan = "
plan: by-steps
baseline: L1
phases:
  - name: canary
    target: L1L2
    split: key
    steps: [{share: 80%, wait: 1h}]
    rollback: [{condition: input.incidents > 2, duration: 5s, action: gradual_rollback}]
gradual_rollback: [{share: 50%, wait: 10s}, {share: 20%, wait: 10s}, {share: 0%, wait: 0s}]
";
    let folder = tempfile::tempdir().unwrap();
    let (clock, time) = Clock::manual();
    let options = crate::StoreOptions::new(folder.path()).max_bytes(16 << 20);
    let cache = Cache::builder().clock(clock).shared(options).build().unwrap();
    let begin = || Guard::of(&cache).rollout_of_store("one").build().unwrap();
    let mut guard = begin();
    let mut rollout = StoreRollout::open(folder.path()).unwrap();
    guard.round().unwrap();
    rollout.start("ada", plan).unwrap();
    guard.round().unwrap();
    guard.push("incidents", 3.0).unwrap();
    let mut shares = Vec::new();
    for second in 0..40_u64 {
        // What is pending begins anew with a process; what was decided does not.
        if second % 4 == 3 && shares.last() < Some(&80.0) {
            drop(guard);
            guard = begin();
            guard.push("incidents", 3.0).unwrap();
        }
        guard.round().unwrap();
        shares.push(rollout.percent().unwrap().unwrap());
        time.advance(Duration::from_secs(1));
    }
    shares.dedup();
    assert_eq!(shares, [80.0, 50.0, 20.0, 0.0]);
    assert_eq!((cache.is_split(), cache.tiering()), (false, Tiering::L1));
    // Whoever opens the journal later finds all of it.
    let history = StoreRollout::open(folder.path()).unwrap().history().unwrap().to_vec();
    let falls: Vec<_> = history.iter().filter(|one| one.is_back()).collect();
    assert_eq!(falls[0].rule.as_deref(), Some("input.incidents > 2 for 5 s"));
    assert_eq!((falls[0].value.as_deref(), falls[0].by.as_str()), (Some("3"), "rule"));
    let at: Vec<u64> = falls.iter().map(|one| (one.at_ms - falls[0].at_ms) / 1000).collect();
    assert_eq!(at, [0, 10, 20, 20], "each step at its time, whoever was there");
}
