use super::*;
use crate::{
    Bytes, Clock,
    clock::Millis,
    metrics::{
        Histogram,
        windows::{Counts, Reading, State},
    },
};

/// Windows of a cache with so many requests a second, of which the script makes some bad.
struct Script {
    windows: Windows,
    histogram: Histogram,
    counts: [u64; 3],
    now: u64,
}

impl Script {
    fn new() -> Self {
        let windows = Windows::default();
        let mut script = Self { windows, histogram: Histogram::default(), counts: [0; 3], now: 0 };
        script.tick(0);
        script
    }

    fn tick(&mut self, seconds: u64) {
        self.now += seconds * 1000;
        let [requests, hits, failures] = self.counts;
        let counts = Counts::default()
            .with(Event::Requests, requests)
            .with(Event::Hits, hits)
            .with(Event::Failures, failures);
        let state = State { available: true, ..State::default() };
        let reading = Reading { counts, latency: self.histogram.snapshot(), state };
        self.windows.tick(Millis(1_000_000 + self.now), reading);
    }

    /// Goes on for `seconds` in steps, with so many requests, hits and failures a second.
    fn run(&mut self, seconds: u64, step: u64, each: [u64; 3], nanoseconds: u64) {
        for _ in 0..seconds / step {
            self.counts.iter_mut().zip(each).for_each(|(count, more)| *count += more * step);
            self.histogram.record_many(nanoseconds, each[0] * step);
            self.tick(step);
        }
    }

    fn judge(&self, objectives: &str, span: u64) -> SloReport {
        let objectives = Objectives::named(objectives).unwrap();
        objectives.judge(&self.windows, Duration::from_secs(span))
    }
}

fn line<'a>(report: &'a SloReport, indicator: &str) -> &'a SloLine {
    report.lines.iter().find(|line| line.indicator == indicator).unwrap()
}

#[test]
fn all_tables_can_be_read_and_those_of_the_source_have_its_numbers() {
    for name in Objectives::names() {
        assert!(Objectives::named(name).is_some(), "{name}");
    }
    let limits = |name: &str| -> Vec<f64> {
        let set = Objectives::named(name).unwrap();
        set.objectives().iter().map(|one| one.condition().limit()).collect()
    };
    assert_eq!(limits("staging"), [0.995, 0.010, 0.100, 0.200, 0.005, 0.70]);
    assert_eq!(limits("prod"), [0.999, 0.005, 0.050, 0.100, 0.001, 0.80]);
    assert_eq!(Objectives::named("development"), None);
}

#[test]
fn each_indicator_turns_red_on_the_far_side_of_its_limit_only() {
    // Of 10,000 requests: hits, failures, latency; which indicators are red in production.
    let cases: [([u64; 3], u64, &[&str]); 6] = [
        ([10_000, 8001, 9], 1_000_000, &[]),
        ([10_000, 8001, 10], 1_000_000, &["availability", "error_rate"]),
        ([10_000, 8000, 0], 1_000_000, &["hit_rate"]),
        ([10_000, 8001, 0], 5_000_000, &[]),
        ([10_000, 8001, 0], 5_000_001, &["latency_p50"]),
        ([10_000, 8001, 0], 100_000_001, &["latency_p50", "latency_p95", "latency_p99"]),
    ];
    for (each, nanoseconds, red) in cases {
        let mut script = Script::new();
        script.run(60, 1, each, nanoseconds);
        let report = script.judge("production", 60);
        let found: Vec<&str> = report
            .lines
            .iter()
            .filter(|line| line.is_met == Some(false))
            .map(|line| line.indicator.as_str())
            .collect();
        assert_eq!(found, red, "{each:?} {nanoseconds}");
        assert_eq!(report.is_met, Some(red.is_empty()));
    }
}

#[test]
fn no_traffic_is_neither_green_nor_red() {
    let mut script = Script::new();
    script.run(60, 1, [0, 0, 0], 1);
    let report = script.judge("staging", 60);
    assert_eq!((report.is_met, report.covered), (None, Duration::from_secs(60)));
    assert!(report.lines.iter().all(|line| line.value.is_none() && line.budget_left.is_none()));
    assert!(report.lines.iter().flat_map(|line| &line.burn_rates).all(|burn| !burn.is_burning));
}

#[test]
fn the_budget_left_is_what_the_bad_operations_did_not_take() {
    let mut script = Script::new();
    // 0.025 % fail where 0.1 % may; 10 % miss where 20 % may.
    script.run(60, 1, [40_000, 36_000, 10], 1_000_000);
    let report = script.judge("production", 60);
    for (indicator, left) in [("availability", 0.75), ("error_rate", 0.75), ("hit_rate", 0.5)] {
        let found = line(&report, indicator).budget_left.unwrap();
        assert!((found - left).abs() < 1e-9, "{indicator}: {found}");
    }
    assert_eq!(line(&report, "latency_p95").budget_left, Some(1.0));
    script.run(60, 1, [40_000, 36_000, 80], 1_000_000);
    let left = line(&script.judge("production", 60), "availability").budget_left.unwrap();
    assert!((left + 1.0).abs() < 1e-9, "{left}: as much again was spent");
}

/// The workbook's own figures: at 14.4 times the budget's pace the fast page fires when an hour's
/// window holds 2 % of the budget of 30 days, and ends five minutes after the cause.
#[test]
fn the_fast_page_burns_while_both_of_its_windows_do() {
    let mut script = Script::new();
    let is_burning = |script: &Script, index: usize| {
        line(&script.judge("production", 60), "availability").burn_rates[index].is_burning
    };
    script.run(3600, 10, [1000, 900, 0], 1_000_000);
    assert!(!is_burning(&script, 0));
    // All fail: 1000 times the budget. 14.4 in the hour takes 14.4 / 1000 of it: 51.84 s.
    script.run(50, 10, [1000, 900, 1000], 1_000_000);
    assert!(!is_burning(&script, 0), "the long window has not spent enough");
    script.run(10, 10, [1000, 900, 1000], 1_000_000);
    assert!(is_burning(&script, 0));
    script.run(240, 10, [1000, 900, 0], 1_000_000);
    assert!(is_burning(&script, 0), "the minute is still in the short window");
    script.run(70, 10, [1000, 900, 0], 1_000_000);
    assert!(!is_burning(&script, 0), "the short window is clean");
}

#[test]
fn a_slow_leak_of_the_budget_is_a_ticket_and_no_page() {
    let mut script = Script::new();
    // Four times the budget's pace for a day.
    script.run(86_400, 60, [1000, 900, 4], 1_000_000);
    let report = script.judge("production", 60);
    let burning: Vec<bool> =
        line(&report, "availability").burn_rates.iter().map(|burn| burn.is_burning).collect();
    assert_eq!(burning, [false, false, true, true]);
    let rates = &line(&report, "availability").burn_rates[2];
    assert!((rates.in_long.unwrap() - 4.0).abs() < 0.1 && rates.severity == BurnSeverity::Ticket);
}

#[test]
fn slow_reads_are_counted_against_the_budget_exactly() {
    let mut script = Script::new();
    for (count, nanoseconds) in [(98, 49_900_000), (2, 50_100_000)] {
        script.histogram.record_many(nanoseconds, count);
    }
    script.counts = [100, 100, 0];
    script.tick(1);
    let report = script.judge("production", 60);
    let left = line(&report, "latency_p95").budget_left.unwrap();
    assert!((left - 0.6).abs() < 1e-9, "{left}: 2 % of 5 % were slow");
}

#[test]
fn a_cache_is_judged_by_what_it_did() {
    let (clock, time) = Clock::manual();
    let cache = Cache::builder().clock(clock).build().unwrap();
    let objectives = Objectives::named("staging").unwrap();
    let minute = Duration::from_secs(60);
    assert_eq!(cache.slo_of(&objectives, minute).is_met, None);
    cache.set("a", Bytes::from("1")).unwrap();
    (0..1000).for_each(|_| assert!(cache.get("a").is_some()));
    time.advance(Duration::from_secs(1));
    let report = cache.slo_of(&objectives, minute);
    assert_eq!(report.is_met, Some(true), "{report:?}");
    for _ in 0..100 {
        let loaded = cache.get_or_load("b", |_| Err::<Bytes, _>(std::io::Error::other("no")));
        assert!(loaded.is_err());
    }
    time.advance(Duration::from_secs(1));
    let report = cache.slo_of(&objectives, minute);
    assert_eq!(line(&report, "availability").is_met, Some(false));
    assert_eq!(line(&report, "hit_rate").is_met, Some(true));
}

#[cfg(feature = "serde")]
#[test]
fn the_report_as_json_has_numbers_and_verdicts() {
    let mut script = Script::new();
    script.run(60, 1, [1000, 900, 0], 1_000_000);
    let report = script.judge("staging", 60);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["objectives"], "staging");
    assert_eq!(json["is_met"], true);
    assert_eq!(json["window_s"], 60.0);
    let hit_rate = &json["lines"][5];
    assert_eq!(
        (&hit_rate["objective"], &hit_rate["written"]),
        (&"hit_rate > 70%".into(), &"90%".into())
    );
    assert_eq!(hit_rate["burn_rates"][0]["severity"], "page");
}
