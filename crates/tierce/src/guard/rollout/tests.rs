use std::time::Duration;

use super::*;
use crate::{
    clock::Millis,
    guard::View,
    metrics::{Histogram, WindowStats},
};

const ENCORE: &str = include_str!("../../../profiles/encore-rollout.yaml");
const PHASED: &str = include_str!("../../../profiles/phased-rollout.yaml");

/// 2025-11-07 07:20 UTC.
const START: u64 = 1_762_500_000_000;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn plan(text: &str) -> Plan {
    Plan::from_yaml(text).unwrap()
}

/// A cache that does well.
fn well() -> WindowStats {
    WindowStats {
        covered: Duration::from_secs(60),
        requests: 60_000,
        hits: 58_000,
        latency: latency(200_000),
        bytes: 50 << 20,
        available: true,
        ..WindowStats::default()
    }
}

fn latency(nanoseconds: u64) -> crate::LatencySummary {
    let histogram = Histogram::default();
    histogram.record_many(nanoseconds, 1000);
    histogram.snapshot().summary()
}

/// A rollout and the world that it looks at.
#[derive(Clone)]
struct World {
    rollout: Rollout,
    now: u64,
    journal: Vec<Decision>,
    canary: WindowStats,
    control: WindowStats,
}

impl World {
    fn new(text: &str) -> Self {
        let rollout = Rollout::new(plan(text)).unwrap();
        let mut world =
            Self { rollout, now: 0, journal: Vec::new(), canary: well(), control: well() };
        world.command(Command::Start).unwrap();
        world
    }

    fn millis(&self) -> Millis {
        Millis(START + self.now * 1000)
    }

    fn command(&mut self, command: Command) -> crate::Result<()> {
        let now = self.millis();
        self.journal.extend(self.rollout.command(now, "ada", command)?);
        Ok(())
    }

    fn tick(&mut self) {
        let evidence = Evidence {
            canary: View::of(self.canary.clone()),
            both: Some((self.canary.clone(), self.control.clone())),
        };
        let now = self.millis();
        self.journal.extend(self.rollout.tick(now, evidence));
    }

    /// Goes on for so many seconds, with a look every `step`.
    fn run(&mut self, seconds: u64, step: u64) {
        for _ in 0..seconds / step {
            self.now += step;
            self.tick();
        }
    }

    /// Goes on until the phase of this name runs at this share, at most 60 days.
    fn run_until(&mut self, phase: &str, percent: f64) {
        for _ in 0..60 * DAY / 60 {
            let status = self.rollout.status();
            let is_there = status.phase.as_deref() == Some(phase) && status.percent == percent;
            if is_there && status.stage == Stage::Running {
                return;
            }
            self.approve();
            self.run(60, 60);
        }
        panic!("never came to {phase} at {percent} %: {:?}", self.rollout.status());
    }

    /// What people and other tools have to say, all good.
    fn approve(&mut self) {
        for (input, value) in [
            ("approval", 1.0),
            ("incidents", 0.0),
            ("complaints", 0.0),
            ("http2_adoption", 0.92),
            ("connection_reuse", 0.78),
            ("dashboard_uptime", 0.9995),
            ("trace_completeness", 0.97),
            ("security_score", 1.0),
        ] {
            self.rollout.push(input, value);
        }
    }

    fn kinds(&self, kind: DecisionKind) -> Vec<&Decision> {
        self.journal.iter().filter(|decision| decision.kind == kind).collect()
    }

    fn stage(&self) -> Stage {
        self.rollout.status().stage
    }

    /// Shares in their order, with the day on which each was set.
    fn shares(&self) -> Vec<(f64, f64)> {
        let steps = self.kinds(DecisionKind::Step);
        let day = |decision: &Decision| (decision.at_ms - START) as f64 / 1000.0 / DAY as f64;
        steps.iter().map(|step| (step.percent, (day(step) * 10.0).round() / 10.0)).collect()
    }
}

#[test]
fn the_guide_of_the_tiered_cache_runs_from_end_to_end() {
    let mut world = World::new(ENCORE);
    world.run_until("production-gradual", 100.0);
    world.run(3 * DAY, 60);
    assert_eq!(world.stage(), Stage::Complete);
    assert_eq!(
        world.shares(),
        [
            (10.0, 0.0),
            // 30 minutes and two days later; then 2, 4 and 6 hours, and 72 hours.
            (25.0, 2.0),
            (50.0, 2.1),
            (75.0, 2.3),
            (100.0, 2.5),
            (1.0, 5.5),
            (5.0, 10.5),
            (10.0, 12.5),
            (25.0, 14.5),
            (50.0, 16.5),
            (75.0, 19.5),
            (100.0, 22.5),
        ]
    );
    let checks: Vec<&Decision> = world.kinds(DecisionKind::Check);
    assert_eq!(checks.len(), 16 + 20, "each quarter of an hour, then each hour");
    assert!(checks[0].value.as_ref().unwrap().contains("hit_rate 96.6667%"), "{:?}", checks[0]);
    assert!(world.kinds(DecisionKind::RollbackBegan).is_empty());
}

#[test]
fn the_phased_plan_runs_from_end_to_end() {
    let mut world = World::new(PHASED);
    world.run_until("phase-4", 100.0);
    world.run(DAY + 60, 30);
    assert_eq!(world.stage(), Stage::Complete);
    assert_eq!(world.shares(), [(5.0, 0.0), (25.0, 5.0), (50.0, 8.0), (100.0, 11.0)]);
}

/// What goes wrong, after how many seconds the rollout must go back, by which rule.
type Fault = (fn(&mut World), u64, &'static str);

fn slow(millis: u64) -> crate::LatencySummary {
    latency(millis * 1_000_000)
}

fn assert_taken_back(text: &str, phase: &str, percent: f64, faults: &[Fault]) {
    let mut brought = World::new(text);
    brought.run_until(phase, percent);
    // Past the grace after the start.
    brought.run(120, 1);
    for (fault, after, rule) in faults {
        let mut world = brought.clone();
        let (began, share) = (world.now, world.rollout.share());
        fault(&mut world);
        world.run(after + 5, 1);
        let place = format!("{phase} at {percent} %, {rule}");
        let began_back = world.kinds(DecisionKind::RollbackBegan);
        assert_eq!(began_back.len(), 1, "{place}: {:?}", world.rollout.status());
        let decision = began_back[0];
        // The first look at the fault is a second after it began; there its time begins.
        let took = (decision.at_ms - START) / 1000 - began - 1;
        assert_eq!(took, *after, "{place}");
        assert!(decision.rule.as_ref().unwrap().starts_with(rule), "{place}: {decision:?}");
        assert!(decision.value.is_some() && decision.by == "rule", "{place}: {decision:?}");
        assert!(world.rollout.share() < share, "{place}");
    }
}

#[test]
fn every_trigger_of_the_guide_takes_it_back_in_its_phases() {
    let staging: [Fault; 3] = [
        (|world| world.canary.failures = 601, 0, "error_rate > 1%"),
        (|world| world.canary.latency = slow(201), 0, "latency_p95 > 200ms"),
        (|world| world.canary.available = false, 300, "backend_available == false"),
    ];
    for (phase, percent) in [
        ("staging-canary", 10.0),
        ("staging-full", 25.0),
        ("staging-full", 75.0),
        ("staging-full", 100.0),
    ] {
        assert_taken_back(ENCORE, phase, percent, &staging);
    }
    let production: [Fault; 4] = [
        (|world| world.canary.failures = 301, 0, "error_rate > 0.5%"),
        (|world| world.canary.latency = slow(151), 0, "latency_p95 > 150ms"),
        (|world| world.rollout.push("incidents", 1.0), 0, "input.incidents > 0"),
        (|world| world.rollout.push("complaints", 1.0), 0, "input.complaints > 0"),
    ];
    for (phase, percent) in
        [("production-canary", 1.0), ("production-gradual", 5.0), ("production-gradual", 100.0)]
    {
        assert_taken_back(ENCORE, phase, percent, &production);
    }
}

#[test]
fn every_trigger_of_the_phased_plan_takes_it_back_in_its_phases() {
    let automatic: [Fault; 4] = [
        (|world| world.canary.latency = slow(51), 300, "latency_p95 > 50ms for 300 s"),
        (|world| world.canary.failures = 3001, 120, "error_rate > 5% for 120 s"),
        (|world| world.canary.hits = 17_999, 600, "hit_rate < 30% for 600 s"),
        (|world| world.canary.bytes = 501 << 20, 300, "memory_usage > 500MB"),
    ];
    for (phase, percent) in [("phase-2", 25.0), ("phase-3", 50.0), ("phase-4", 100.0)] {
        assert_taken_back(PHASED, phase, percent, &automatic);
    }
    let first: [Fault; 5] = [
        (|world| world.canary.latency = slow(51), 300, "latency_p95 > 50ms"),
        // Of the phase, and sooner or at a lower limit than the automatic ones.
        (|world| world.canary.failures = 1201, 180, "error_rate > 2% for 180 s"),
        (|world| world.canary.hits = 29_999, 600, "hit_rate < 50% for 600 s"),
        (|world| world.canary.bytes = 151 << 20, 0, "memory_usage > 150MB"),
        (|world| world.canary.processor = Duration::from_secs(60 * 4096), 0, "cpu_usage > 50%"),
    ];
    assert_taken_back(PHASED, "phase-1", 5.0, &first);
}

#[test]
fn what_is_over_before_its_time_takes_nothing_back() {
    let mut world = World::new(PHASED);
    world.run_until("phase-2", 25.0);
    world.run(120, 1);
    world.canary.latency = slow(51);
    world.run(300, 1);
    world.canary.latency = slow(1);
    world.run(600, 1);
    assert_eq!((world.stage(), world.rollout.share().percent()), (Stage::Running, 25.0));
}

#[test]
fn nothing_is_taken_back_in_the_grace_after_the_start() {
    let mut world = World::new(PHASED);
    world.canary.bytes = 151 << 20;
    world.run(59, 1);
    assert_eq!(world.stage(), Stage::Running);
    world.run(1, 1);
    assert_eq!(world.stage(), Stage::RolledBack);
}

#[test]
fn a_gradual_rollback_goes_by_the_steps_of_the_plan() {
    let mut world = World::new(PHASED);
    world.run_until("phase-4", 100.0);
    world.run(120, 1);
    world.canary.hits = 0;
    world.run(600 + 400, 1);
    let path: Vec<(f64, u64)> = world
        .journal
        .iter()
        .filter(|decision| {
            matches!(decision.kind, DecisionKind::RollbackBegan | DecisionKind::RollbackStep)
        })
        .map(|decision| (decision.percent, decision.at_ms / 1000))
        .collect();
    let begin = path[0].1;
    let path: Vec<(f64, u64)> = path.iter().map(|(share, at)| (*share, at - begin)).collect();
    assert_eq!(path, [(90.0, 0), (75.0, 60), (50.0, 120), (25.0, 180), (10.0, 240), (0.0, 300)]);
    assert_eq!(world.stage(), Stage::RolledBack);
    assert_eq!(world.kinds(DecisionKind::RolledBack).len(), 1);
}

#[test]
fn a_gradual_rollback_that_goes_badly_becomes_an_immediate_one() {
    for fault in [
        // A trigger of its own, and the health at the end of a step.
        (|world: &mut World| world.canary.bytes = 501 << 20) as fn(&mut World),
        |world| world.canary.available = false,
    ] {
        let mut world = World::new(PHASED);
        world.run_until("phase-4", 100.0);
        world.run(120, 1);
        // Steps of an hour, so that the trigger's five minutes lie within one.
        world.rollout = {
            let mut plan = plan(PHASED);
            plan.gradual.iter_mut().for_each(|step| step.wait = Duration::from_secs(HOUR));
            let latest = world.journal.last().unwrap();
            Rollout::resume(plan, latest, world.millis()).unwrap()
        };
        world.command(Command::Rollback(Action::Gradual)).unwrap();
        assert_eq!((world.stage(), world.rollout.share().percent()), (Stage::RollingBack, 90.0));
        fault(&mut world);
        world.run(HOUR + 1, 1);
        assert_eq!((world.stage(), world.rollout.share()), (Stage::RolledBack, Share::NONE));
    }
}

type Bring = fn(&mut World);

#[test]
fn an_operator_takes_it_back_from_every_stage_and_no_rule_undoes_that() {
    let bring: [(&str, Bring); 5] = [
        ("idle", |world| world.rollout = Rollout::new(plan(ENCORE)).unwrap()),
        ("running", |world| world.run_until("staging-full", 50.0)),
        ("waiting", |world| {
            world.run_until("staging-full", 100.0);
            world.rollout.push("approval", 0.0);
            world.run(4 * DAY, 60);
        }),
        ("paused", |world| {
            world.run_until("staging-canary", 10.0);
            world.command(Command::Pause).unwrap();
        }),
        ("rolling back", |world| {
            world.run_until("staging-full", 75.0);
            world.command(Command::Rollback(Action::Gradual)).unwrap();
        }),
    ];
    for (stage, bring) in bring {
        let mut world = World::new(ENCORE);
        bring(&mut world);
        world.command(Command::Rollback(Action::Immediate)).unwrap();
        assert_eq!(
            (world.stage(), world.rollout.share()),
            (Stage::RolledBack, Share::NONE),
            "{stage}"
        );
        let latest = world.journal.last().unwrap();
        assert_eq!((latest.by.as_str(), latest.percent), ("operator ada", 0.0));
        world.approve();
        world.run(2 * DAY, 60);
        assert_eq!(
            (world.stage(), world.rollout.share()),
            (Stage::RolledBack, Share::NONE),
            "{stage}"
        );
    }
}

#[test]
fn one_red_look_begins_the_time_of_the_gate_anew() {
    let mut world = World::new(ENCORE);
    world.run_until("staging-full", 25.0);
    world.run(2 * HOUR - 60, 10);
    world.canary.hits = 41_000;
    world.run(10, 10);
    world.canary.hits = 58_000;
    world.run(2 * HOUR - 60, 10);
    assert_eq!(world.rollout.share().percent(), 25.0, "two hours from the red look on");
    world.run(120, 10);
    assert_eq!(world.rollout.share().percent(), 50.0);
    let red = world.kinds(DecisionKind::Red);
    assert_eq!((red.len(), red[0].rule.as_deref()), (1, Some("hit_rate > 70%")));
    assert_eq!(red[0].value.as_deref(), Some("68.3333%"));
}

#[test]
fn time_without_traffic_or_without_a_look_does_not_count() {
    let mut world = World::new(ENCORE);
    world.run_until("staging-full", 25.0);
    world.run(HOUR, 10);
    let green = world.rollout.status().green_ms;
    world.canary = WindowStats { available: true, ..WindowStats::default() };
    world.run(10 * HOUR, 10);
    assert_eq!(world.rollout.status().green_ms, green);
    world.canary = well();
    // Nobody looked for a day.
    world.now += DAY;
    world.tick();
    assert_eq!(world.rollout.status().green_ms, green);
}

#[test]
fn a_new_side_that_is_worse_than_the_old_one_is_red_within_the_limits() {
    let mut world = World::new(ENCORE);
    world.run_until("production-canary", 1.0);
    world.run(60, 1);
    // 0.6 of 1000 fail where 0.1 % may; on the old side next to none do.
    world.canary.requests = 1_000_000;
    world.canary.hits = 960_000;
    world.canary.failures = 900;
    world.run(2, 1);
    assert_eq!(world.rollout.status().red, None, "below a tenth of a percent nothing is said");
    world.canary.failures = 0;
    world.control.requests = 1_000_000;
    world.canary.late = 999;
    world.control.late = 0;
    let mut plan = plan(ENCORE);
    plan.phases[2].success.clear();
    world.rollout = Rollout::resume(plan, world.journal.last().unwrap(), world.millis()).unwrap();
    world.canary.late = 1500;
    world.run(2, 1);
    let red = world.rollout.status().red.unwrap();
    assert_eq!(red, "error_rate worse than on the old side");
    world.control.late = 1500;
    world.run(2, 1);
    assert_eq!(world.rollout.status().red, None, "as bad on both sides");
}

#[test]
fn each_step_needs_an_approval_of_its_own() {
    let mut world = World::new(ENCORE);
    world.run_until("production-gradual", 5.0);
    world.rollout.push("approval", 0.0);
    world.run(3 * DAY, 60);
    assert_eq!((world.stage(), world.rollout.share().percent()), (Stage::Waiting, 5.0));
    assert!(world.command(Command::Advance).is_err());
    world.rollout.push("approval", 1.0);
    world.run(30, 30);
    assert_eq!(world.rollout.share().percent(), 10.0);
    world.run(3 * DAY, 60);
    assert_eq!(world.rollout.share().percent(), 10.0, "the approval was used up");
    // What waits is watched.
    world.canary.failures = 301;
    world.run(30, 30);
    assert_eq!(world.stage(), Stage::RolledBack);
}

#[test]
fn an_early_step_is_refused_unless_it_is_forced() {
    let mut world = World::new(ENCORE);
    world.run_until("staging-full", 25.0);
    world.run(HOUR, 10);
    let refusal = world.command(Command::Advance).unwrap_err().to_string();
    assert!(refusal.contains("3600 s of 7200 s are green"), "{refusal}");
    world.command(Command::Force).unwrap();
    assert_eq!(world.rollout.share().percent(), 50.0);
    assert_eq!(world.journal.last().unwrap().by, "operator ada");
}

#[test]
fn a_pause_keeps_the_share_and_the_watch() {
    let mut world = World::new(ENCORE);
    world.run_until("staging-full", 25.0);
    world.command(Command::Pause).unwrap();
    world.run(5 * HOUR, 10);
    assert_eq!((world.stage(), world.rollout.share().percent()), (Stage::Paused, 25.0));
    assert!(world.command(Command::Pause).is_err() && world.command(Command::Start).is_err());
    world.command(Command::Resume).unwrap();
    world.run(20, 10);
    assert_eq!(world.rollout.share().percent(), 50.0, "its time was over long ago");
    world.command(Command::Pause).unwrap();
    world.canary.failures = 6000;
    world.run(10, 10);
    assert_eq!(world.stage(), Stage::RolledBack);
}

/// A restart at any decision, from the journal on disk, goes on as if there had been none.
#[test]
fn a_rollout_survives_restarts_by_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.jsonl");
    let mut world = World::new(ENCORE);
    let (mut journal, before) = Journal::open(&path).unwrap();
    assert!(before.is_empty());
    let mut written = 0;
    for round in 0..1500 {
        world.approve();
        world.run(40 * 60, 60);
        journal.append(&world.journal[written..]).unwrap();
        written = world.journal.len();
        if round % 7 == 3 {
            drop(journal);
            let (again, decisions) = Journal::open(&path).unwrap();
            assert_eq!(decisions, world.journal);
            journal = again;
            let before = world.rollout.status();
            let latest = decisions.last().unwrap();
            world.rollout = Rollout::resume(plan(ENCORE), latest, world.millis()).unwrap();
            let after = world.rollout.status();
            assert_eq!(
                (after.stage, after.step, after.percent),
                (before.stage, before.step, before.percent)
            );
            assert!(
                before.green_ms - after.green_ms < 10 * 60_000 + 60_000,
                "{before:?} {after:?}"
            );
        }
        if world.stage() == Stage::Complete {
            break;
        }
    }
    assert_eq!(world.stage(), Stage::Complete);
    assert_eq!(world.shares().len(), 12);
    assert_eq!(world.kinds(DecisionKind::Check).len(), 36, "no check is made twice");
}

#[test]
fn a_torn_line_of_the_journal_is_left_out_and_a_broken_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.jsonl");
    let mut world = World::new(ENCORE);
    world.run(60, 1);
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.append(&world.journal).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert!(String::from_utf8_lossy(&whole).contains("\"kind\":\"step\""));
    std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let (mut journal, decisions) = Journal::open(&path).unwrap();
    assert_eq!(decisions, world.journal[..world.journal.len() - 1]);
    journal.append(&world.journal[world.journal.len() - 1..]).unwrap();
    assert_eq!(Journal::open(&path).unwrap().1, world.journal);
    std::fs::write(&path, [b"{}\n".as_slice(), &whole].concat()).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(error.to_string().contains("a line is no decision"), "{error}");
}

#[test]
fn a_rollback_that_anybody_wrote_outlasts_what_the_leader_writes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.jsonl");
    let mut world = World::new(ENCORE);
    world.run(60, 1);
    let (mut leader, _) = Journal::open(&path).unwrap();
    let (mut operator, _) = Journal::open(&path).unwrap();
    assert!(leader.lead() && !operator.lead() && leader.lead());
    leader.append(&world.journal).unwrap();
    operator.news().unwrap();
    let latest = operator.latest().unwrap().clone();
    let mut theirs = Rollout::resume(plan(ENCORE), &latest, world.millis()).unwrap();
    let back = Command::Rollback(Action::Immediate);
    operator.append(&theirs.command(world.millis(), "ada", back).unwrap()).unwrap();
    // The leader did not look before it wrote its next step.
    let written = world.journal.len();
    world.command(Command::Force).unwrap();
    leader.append(&world.journal[written..]).unwrap();
    for journal in [&mut leader, &mut operator] {
        journal.news().unwrap();
        let latest = journal.latest().unwrap();
        assert_eq!((latest.stage, latest.percent), (Stage::RolledBack, 0.0));
    }
    // A new start counts again.
    let latest = leader.latest().unwrap().clone();
    let mut anew = Rollout::resume(plan(ENCORE), &latest, world.millis()).unwrap();
    leader.append(&anew.command(world.millis(), "bob", Command::Start).unwrap()).unwrap();
    operator.news().unwrap();
    assert_eq!(operator.latest().unwrap().kind, DecisionKind::Started);
    drop(leader);
    assert!(operator.lead(), "somebody else leads when the leader is gone");
}

#[test]
fn a_plan_that_cannot_be_carried_out_is_refused() {
    let with = |from: &str, to: &str| {
        assert!(PHASED.contains(from), "{from}");
        Plan::from_yaml(&PHASED.replacen(from, to, 1)).unwrap_err().to_string()
    };
    for (from, to, said) in [
        ("old_system: 95%", "old_system: 90%", "must add up to 100%"),
        ("new_system: 5%", "new_system: 0.05", "must be a percentage"),
        ("name: phase-2", "name: phase-1", "stands twice"),
        ("target: L1L2", "target: L1L5", "L1L5"),
        ("split: request", "split: user", "must be key, instance or request"),
        ("p95_latency < 10ms", "p95_latency < 10", "must be a time with its unit"),
        ("immediate_rollback", "rollback", "must be immediate_rollback or gradual_rollback"),
        ("{share: 75%, wait: 60s}", "{share: 95%, wait: 60s}", "shares must fall"),
        ("hold: 5d", "hld: 5d", "hld"),
        ("\"blue_green\"", "\"red\"", "must be blue_green"),
        ("health_check_grace_period: \"60s\"", "health_check_grace_period: \"60\"", "a unit"),
    ] {
        let error = with(from, to);
        assert!(error.contains(said), "{to}: {error}");
    }
    let rise = ENCORE.replacen("{share: 50%, wait: 4h}", "{share: 20%, wait: 4h}", 1);
    let error = Plan::from_yaml(&rise).unwrap_err().to_string();
    assert!(error.contains("must be above 0% and rise"), "{error}");
}

#[test]
fn a_plan_is_cut_to_an_environment() {
    let phases = |environment: &str| -> Vec<String> {
        let plan = plan(ENCORE).for_environment(environment);
        plan.phases.iter().map(|phase| phase.name.clone()).collect()
    };
    assert_eq!(phases("staging"), ["staging-canary", "staging-full"]);
    assert_eq!(phases("production"), ["production-canary", "production-gradual"]);
    assert!(plan(ENCORE).for_environment("development").check().is_err());
    assert_eq!(plan(PHASED).for_environment("production").phases.len(), 4);
}
