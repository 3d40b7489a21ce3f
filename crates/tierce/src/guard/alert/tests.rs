use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use super::*;
use crate::{metrics::WindowStats, sync::Mutex};

fn rule(name: &str, condition: &str, seconds: u64) -> AlertRule {
    AlertRule {
        name: name.into(),
        condition: condition.parse().unwrap(),
        duration: Duration::from_secs(seconds),
        severity: Severity::Critical,
        keep_firing_for: Duration::ZERO,
    }
}

fn failing(share: u64) -> View {
    View::of(WindowStats { requests: 1000, failures: share, ..Default::default() })
}

fn at(seconds: u64) -> Millis {
    Millis(1_000_000 + seconds * 1000)
}

#[test]
fn an_alert_is_pending_to_the_second_and_then_fires() {
    let mut alerts = Alerts::new([rule("CacheErrorRateHigh", "error_rate > 1%", 300)]);
    let mut changes = Vec::new();
    for second in 0..=700 {
        let view = failing(if (100..=500).contains(&second) { 11 } else { 10 });
        changes.extend(
            alerts
                .evaluate(at(second), &view)
                .into_iter()
                .map(|change| ((change.at.0 - at(0).0) / 1000, change.now.as_str(), change.value)),
        );
    }
    assert_eq!(
        changes,
        [
            (100, "pending", Some(0.011)),
            (400, "firing", Some(0.011)),
            (501, "inactive", Some(0.010))
        ]
    );
}

#[test]
fn silence_does_not_fire() {
    let mut alerts = Alerts::new([rule("CacheHitRateLow", "hit_rate < 60%", 0)]);
    assert!(alerts.evaluate(at(0), &View::default()).is_empty());
    let low = View::of(WindowStats { requests: 100, hits: 59, ..Default::default() });
    assert_eq!(alerts.evaluate(at(1), &low).len(), 1);
    let over = alerts.evaluate(at(2), &View::default());
    assert_eq!((over[0].now, over[0].value), (HoldState::Inactive, None));
}

#[test]
fn a_leak_of_twelve_megabytes_an_hour_fires_and_one_of_eight_does_not() {
    for (leak, fires) in [(8_u64, false), (12, true)] {
        let mut alerts =
            Alerts::new([rule("MemoryLeakDetection", "memory_growth_rate > 10MB/hour", 1800)]);
        let mut memory = Vec::new();
        let mut fired_at = None;
        for minute in 0..120_u64 {
            memory.insert(0, (at(minute * 60), (200 << 20) + minute * (leak << 20) / 60));
            let view = View::default().with_memory(memory.clone());
            let changes = alerts.evaluate(at(minute * 60), &view);
            if changes.iter().any(|change| change.now.is_firing()) {
                fired_at = Some(minute);
            }
        }
        // Five minutes until growth is told at all, thirty that it lasts.
        assert_eq!(fired_at, fires.then_some(35), "{leak} MB/hour");
    }
}

/// A sink that keeps what it was told, and fails while it is told to.
#[derive(Clone, Default)]
struct Ear(Arc<(Mutex<Heard>, AtomicBool)>);

type Heard = Vec<(String, NoticeStatus)>;

impl AlertSink for Ear {
    fn notify(&self, notice: &Notice) -> Result<()> {
        if self.0.1.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Network, "deaf"));
        }
        self.0.0.lock().push((notice.alert.clone(), notice.status));
        Ok(())
    }
}

impl Ear {
    fn heard(&self) -> Vec<NoticeStatus> {
        self.0.0.lock().iter().map(|(_, status)| *status).collect()
    }
}

fn tell(alerts: &mut Alerts, notifier: &mut Notifier, second: u64, view: &View) {
    let changes = alerts.evaluate(at(second), view);
    notifier.tell(at(second), SystemTime::UNIX_EPOCH + Duration::from_secs(second), &changes);
}

#[test]
fn the_begin_and_the_end_of_an_alert_are_told_once() {
    let ear = Ear::default();
    let mut notifier = Notifier::new("users").sink(ear.clone()).repeat(Duration::from_secs(100));
    let mut alerts = Alerts::new([rule("A", "error_rate > 1%", 5)]);
    for second in 0..300 {
        tell(&mut alerts, &mut notifier, second, &failing(if second < 250 { 50 } else { 0 }));
    }
    use NoticeStatus::{Firing, Resolved};
    // At 5 s; again at 105 s and 205 s; over at 250 s.
    assert_eq!(ear.heard(), [Firing, Firing, Firing, Resolved]);
}

#[test]
fn a_sink_that_failed_is_told_later_what_is_true_by_then() {
    let ear = Ear::default();
    ear.0.1.store(true, Ordering::Relaxed);
    let mut notifier = Notifier::new("users").sink(ear.clone());
    let mut alerts =
        Alerts::new([rule("A", "error_rate > 1%", 0), rule("B", "error_rate > 1%", 0)]);
    for second in 0..10 {
        tell(&mut alerts, &mut notifier, second, &failing(50));
    }
    assert_eq!(notifier.waiting(), 2);
    tell(&mut alerts, &mut notifier, 10, &failing(0));
    assert_eq!(notifier.waiting(), 2, "the end took the place of the begin");
    ear.0.1.store(false, Ordering::Relaxed);
    tell(&mut alerts, &mut notifier, 11, &failing(0));
    assert!(ear.heard().is_empty(), "its turn has not come");
    (12..80).for_each(|second| tell(&mut alerts, &mut notifier, second, &failing(0)));
    assert_eq!(ear.heard(), [NoticeStatus::Resolved; 2]);
}

#[test]
fn a_storm_of_alerts_is_cut_and_counted() {
    let ear = Ear::default();
    let mut notifier = Notifier::new("users").sink(ear.clone()).per_minute(3);
    let mut alerts = Alerts::new((0..10).map(|n| rule(&format!("A{n}"), "error_rate > 1%", 0)));
    tell(&mut alerts, &mut notifier, 0, &failing(50));
    assert_eq!((ear.heard().len(), notifier.suppressed()), (3, 7));
    tell(&mut alerts, &mut notifier, 1, &failing(0));
    assert_eq!(ear.heard().len(), 13, "ends are always told");
}

#[cfg(feature = "config")]
mod files {
    use std::{fmt::Write as _, fs, process::Command};

    use super::*;
    use crate::guard::{Objectives, alert::rules};

    const ENCORE: &str = include_str!("../../../profiles/cache-alerts.yaml");
    const PHASED: &str = include_str!("../../../profiles/phased-alerts.yaml");

    #[test]
    fn the_blocks_of_both_sources_load_as_they_stand() {
        let names = |text: &str| -> Vec<String> {
            let alerts = Alerts::from_yaml(text).unwrap();
            let write = |(rule, _): (&AlertRule, _)| {
                let (seconds, severity) = (rule.duration.as_secs(), rule.severity.as_str());
                format!("{} {} {seconds} {severity}", rule.name, rule.condition)
            };
            alerts.states().map(write).collect()
        };
        assert_eq!(
            names(ENCORE),
            [
                "CacheErrorRateHigh error_rate > 1% 300 critical",
                "CacheLatencyHigh latency_p95 > 100ms 600 warning",
                "CacheHitRateLow hit_rate < 60% 900 warning",
                "CacheBackendDown backend_available == false 60 critical",
            ]
        );
        assert_eq!(
            names(PHASED),
            [
                "HighLatency latency_p95 > 10ms 300 critical",
                "LowCacheHitRatio hit_rate < 60% 600 warning",
                "HighErrorRate error_rate > 1% 180 critical",
                "MemoryLeakDetection memory_growth_rate > 10MB/hour 1800 warning",
            ]
        );
        let monitoring = "
monitoring:
  latency_threshold: 10ms    # Alert if >10ms
  error_rate_threshold: 1%   # Alert if >1% errors
  cache_hit_ratio_min: 60%   # Alert if <60% cache hits
";
        assert_eq!(names(monitoring)[2], "monitoring.cache_hit_ratio_min hit_rate < 60% 0 warning");
    }

    #[test]
    fn a_wrong_file_is_refused_by_name_and_rule() {
        let alert = |line: &str| {
            format!(
                "alerts:\n  - name: A\n    condition: error_rate > 1%\n    severity: info\n    {line}\n"
            )
        };
        for (text, said) in [
            (
                alert("duration: 5"),
                "alert \"A\": duration = \"5\": must be a whole number and a unit",
            ),
            (alert("for: 5m"), "for"),
            (
                "alerts:\n  - name: A\n    condition: eror_rate > 1%\n    severity: info\n".into(),
                "is no measure",
            ),
            (
                "alerts:\n  - name: A\n    condition: error_rate > 1%\n    severity: bad\n".into(),
                "must be critical, warning or info",
            ),
            (
                format!(
                    "{ENCORE}  - name: CacheBackendDown\n    condition: error_rate > 1%\n    severity: info\n"
                ),
                "stands twice",
            ),
            ("alert: []".into(), "alert"),
        ] {
            let error = Alerts::from_yaml(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    fn promtool(arguments: &[&str]) -> (bool, String) {
        let output = Command::new("promtool").args(arguments).output();
        let output = output.expect("promtool is installed");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    #[test]
    fn promtool_accepts_the_rules_of_all_alerts_and_objectives() {
        let folder = tempfile::tempdir().unwrap();
        let mut texts: Vec<String> = [ENCORE, PHASED]
            .map(|text| {
                let alerts = Alerts::from_yaml(text).unwrap();
                rules::alerting(alerts.states().map(|(rule, _)| rule))
            })
            .into();
        texts.extend(
            Objectives::names().map(|name| rules::objectives(&Objectives::named(name).unwrap())),
        );
        for text in texts {
            let path = folder.path().join("rules.yaml");
            fs::write(&path, &text).unwrap();
            let (good, said) = promtool(&["check", "rules", path.to_str().unwrap()]);
            assert!(good, "{said}\n{text}");
        }
    }

    /// Random series of rates through the evaluator here and through Prometheus' own: in each
    /// minute every alert must be in the same state.
    #[test]
    fn the_real_prometheus_goes_through_the_same_states() {
        let alerts = "
alerts:
  - {name: E, condition: error_rate > 1%, duration: 5m, severity: critical}
  - {name: K, condition: error_rate > 1%, duration: 3m, severity: critical, keep_firing_for: 4m}
  - {name: H, condition: hit_rate < 60%, duration: 7m, severity: warning}
  - {name: Z, condition: latency_p95 > 100ms, duration: 0s, severity: warning}
";
        let mut random = fastrand::Rng::with_seed(17);
        const MINUTES: usize = 240;
        // Stretches of good, bad and no data, some minutes each.
        let mut series = |good: f64, bad: f64| -> Vec<Option<f64>> {
            let mut values = Vec::new();
            while values.len() < MINUTES {
                let value = [Some(good), Some(bad), Some(bad), None][random.usize(0..4)];
                values.extend(std::iter::repeat_n(value, random.usize(1..9)));
            }
            values.truncate(MINUTES);
            values
        };
        let (errors, hits, slow) =
            (series(0.01, 0.02), series(0.6, 0.5), series(0.1, 0.150_000_001));
        let mut evaluator = Alerts::from_yaml(alerts).unwrap();
        let names: Vec<String> = evaluator.states().map(|(rule, _)| rule.name.clone()).collect();
        // Only the alerts: what they look at is given as it would have been recorded.
        let text = rules::alerting(evaluator.states().map(|(rule, _)| rule));
        let text = format!("groups:\n{}", &text[text.find("  - name: tierce-alerts").unwrap()..]);
        let written = |values: &[Option<f64>]| {
            let words =
                values.iter().map(|value| value.map_or("stale".into(), |it| it.to_string()));
            words.collect::<Vec<_>>().join(" ")
        };
        let mut test = String::from(
            "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n",
        );
        for (name, values) in [("error_rate", &errors), ("hit_rate", &hits), ("latency_p95", &slow)]
        {
            let _ = writeln!(
                test,
                "      - series: 'tierce:{name}:1m{{cache=\"c\"}}'\n        values: '{}'",
                written(values)
            );
        }
        test.push_str("    promql_expr_test:\n");
        for minute in 0..MINUTES {
            let mut window = WindowStats::default();
            if let Some(rate) = errors[minute] {
                // Requests without hits, for the two rates apart.
                window.failures = (rate * 1000.0) as u64;
                window.requests = 1000;
            }
            let mut view = View::of(window);
            if let Some(seconds) = slow[minute] {
                let latency = crate::metrics::Histogram::default();
                latency.record((seconds * 1e9) as u64);
                view.window.latency = latency.snapshot().summary();
            }
            // The hit rate has its own window, as its traffic is not that of the errors.
            let mut hit_view = view.clone();
            hit_view.window.requests = hits[minute].map_or(0, |_| 1000);
            hit_view.window.hits = hits[minute].map_or(0, |rate| (rate * 1000.0) as u64);
            let states: Vec<&str> = evaluator
                .rules
                .iter_mut()
                .map(|(rule, hold)| {
                    let view = if rule.name == "H" { &hit_view } else { &view };
                    let holds = rule.condition.holds(view, rule.duration) == Some(true);
                    let now = Millis(minute as u64 * 60_000 + 1);
                    hold.observe(now, holds, rule.duration, rule.keep_firing_for).as_str()
                })
                .collect();
            let _ = writeln!(
                test,
                "      - expr: 'max by (alertname, alertstate) (ALERTS == 1)'\n        eval_time: {minute}m"
            );
            let live: Vec<_> =
                names.iter().zip(&states).filter(|(_, state)| **state != "inactive").collect();
            if live.is_empty() {
                continue;
            }
            test.push_str("        exp_samples:\n");
            for (name, state) in live {
                let _ = writeln!(
                    test,
                    "          - {{labels: '{{alertname=\"{name}\", alertstate=\"{state}\"}}', value: 1}}"
                );
            }
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rules.yaml"), &text).unwrap();
        let path = folder.path().join("test.yaml");
        fs::write(&path, &test).unwrap();
        let (good, said) = promtool(&["test", "rules", path.to_str().unwrap()]);
        assert!(good, "{}", said.chars().take(3000).collect::<String>());
        for state in ["pending", "firing"] {
            assert!(test.contains(state), "the series never came to {state}");
        }
    }
}

#[test]
fn who_is_woken_at_night_is_told_of_what_is_bad_enough() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = |name: &'static str| {
        let told = Arc::clone(&told);
        move |notice: &Notice| told.lock().push((name, notice.alert.clone()))
    };
    let mut notifier =
        Notifier::new("c").sink(sink("chat")).sink_at_least(Severity::Critical, sink("pager"));
    let warning =
        AlertRule { severity: Severity::Warning, ..rule("Warning", "error_rate > 1%", 0) };
    let mut alerts = Alerts::new([rule("Critical", "error_rate > 1%", 0), warning]);
    let changes = alerts.evaluate(at(0), &failing(20));
    notifier.tell(at(0), SystemTime::UNIX_EPOCH, &changes);
    let told = told.lock();
    let all =
        [("chat", "Critical".into()), ("chat", "Warning".into()), ("pager", "Critical".into())];
    assert_eq!(*told, all);
}
