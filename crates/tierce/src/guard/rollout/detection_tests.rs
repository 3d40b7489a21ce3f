//! From a tier that became slow to the alert and the rollback: the whole way of a running cache.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Command, Plan, Stage};
use crate::{
    Bytes, Cache, Clock, StoreOptions, Tiering,
    guard::{Guard, GuardBuilder, alert::Alerts, hold::HoldState},
    tier::injected::slow_shared,
};

/// By so much a look into L2 takes longer.
const SLOWER: Duration = Duration::from_millis(60);

fn plan(seconds: u64) -> Plan {
    let text = format!(
        "
plan: detection
baseline: L1
phases:
  - name: canary
    target: L1L2
    split: key
    steps: [{{share: 100%, wait: 1h}}]
    rollback: [{{condition: latency_p95 > 50ms, duration: {seconds}s}}]
"
    );
    Plan::from_yaml(&text).unwrap()
}

fn guard(cache: &Cache, journal: &std::path::Path, seconds: u64) -> GuardBuilder<Bytes> {
    let alerts = format!(
        "alerts: [{{name: Slow, condition: latency_p95 > 50ms, duration: {seconds}s, severity: critical}}]"
    );
    let alerts = Alerts::from_yaml(&alerts).unwrap();
    Guard::of(cache).alerts(alerts).rollout(plan(seconds), journal, "one")
}

fn cache(folder: &std::path::Path, clock: Clock) -> Cache {
    let options = StoreOptions::new(folder.join("store")).max_bytes(16 << 20);
    Cache::builder().clock(clock).shared(options).build().unwrap()
}

/// Reads of keys that nobody has, so that each looks into L2.
fn read(cache: &Cache, keys: &mut std::ops::RangeFrom<u64>, times: usize) {
    keys.take(times).for_each(|key| assert_eq!(cache.get(format!("key {key}")), None));
}

#[test]
fn an_l2_that_became_slow_is_pending_at_once_and_left_at_the_stated_time_to_the_tick() {
    const SECONDS: u64 = 30;
    let folder = tempfile::tempdir().unwrap();
    let (clock, time) = Clock::manual();
    let cache = cache(folder.path(), clock);
    let journal = folder.path().join("rollout.jsonl");
    let guard = guard(&cache, &journal, SECONDS).build().unwrap();
    let mut keys = 0..;
    let mut tick = |reads| {
        read(&cache, &mut keys, reads);
        time.advance(Duration::from_secs(1));
        guard.round().unwrap();
        (guard.alerts()[0].1, guard.rollout().unwrap().stage)
    };
    tick(1);
    guard.command("ada", Command::Start).unwrap();
    for _ in 0..20 {
        assert!(matches!(tick(1), (HoldState::Inactive, Stage::Waiting | Stage::Running)));
    }
    assert_eq!(cache.tiering(), Tiering::L1L2);
    slow_shared(SLOWER);
    // Two of 22 reads in the window: more than one in twenty.
    for second in 0..SECONDS {
        let (alert, stage) = tick(2);
        assert!(matches!(alert, HoldState::Pending { .. }), "second {second}: {alert:?}");
        assert_eq!(stage, Stage::Running, "second {second}");
    }
    let (alert, stage) = tick(2);
    slow_shared(Duration::ZERO);
    assert!(alert.is_firing(), "{alert:?}");
    assert_eq!((stage, cache.tiering()), (Stage::RolledBack, Tiering::L1));
    let HoldState::Firing { since } = alert else { unreachable!() };
    let (_, decisions) = super::Journal::open(&journal).unwrap();
    let began = decisions.iter().find(|one| one.is_back()).unwrap();
    assert_eq!(began.at_ms - since.0, SECONDS * 1000);
    assert_eq!(began.rule.as_deref(), Some("latency_p95 > 50ms for 30 s"));
    let value = began.value.as_deref().unwrap().strip_suffix("ms").unwrap();
    assert!((60.0..90.0).contains(&value.parse::<f64>().unwrap()), "{value}");
}

#[test]
#[allow(clippy::print_stdout)]
fn in_real_time_it_is_left_within_one_look_of_the_stated_time() {
    const STATED: Duration = Duration::from_secs(3);
    /// How often the guard looks, and how long a loaded machine may let it wait.
    const LOOK: Duration = Duration::from_secs(1);
    const SLACK: Duration = Duration::from_millis(700);
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), Clock::system());
    let journal = folder.path().join("rollout.jsonl");
    let guard = guard(&cache, &journal, STATED.as_secs()).start().unwrap();
    guard.command("ada", Command::Start).unwrap();
    let mut keys = 0..;
    let mut work_until = |what: &str, is_there: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !is_there() {
            assert!(begin.elapsed() < Duration::from_secs(30), "{what}: {:?}", guard.rollout());
            read(&cache, &mut keys, 1);
            thread::sleep(Duration::from_millis(50));
        }
        begin.elapsed()
    };
    work_until("the first step", &|| cache.tiering() == Tiering::L1L2);
    slow_shared(SLOWER);
    let is_pending = || matches!(guard.alerts()[0].1, HoldState::Pending { .. });
    let pending = work_until("a pending alert", &is_pending);
    let back = work_until("the rollback", &|| cache.tiering() == Tiering::L1);
    slow_shared(Duration::ZERO);
    println!("pending {pending:?} after the first slow look, back {back:?} after that");
    assert!(pending <= LOOK + SLACK, "{pending:?}");
    assert!((STATED.saturating_sub(SLACK)..=STATED + LOOK + SLACK).contains(&back), "{back:?}");
}
