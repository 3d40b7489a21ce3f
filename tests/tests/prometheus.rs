//! A real Prometheus scrapes a running cache and judges the rules that tierce writes; a real
//! Alertmanager is told of alerts and of their end.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tierce::{
    Bytes, Cache, Clock, MemoryOptions,
    guard::{
        Alerts, Guard, Objectives, ServeOptions,
        alert::{Notifier, WebhookOptions, rules},
    },
};
use tierce_tests::{
    waiting::wait_until,
    web::{Program, escaped, get},
};

/// Both documents' alerts, and one that fires at once without a hit.
const ALERTS: [&str; 2] = [
    include_str!("../../crates/tierce/profiles/cache-alerts.yaml"),
    include_str!("../../crates/tierce/profiles/phased-alerts.yaml"),
];
const COLD: &str = "alerts: [{name: Cold, condition: hit_rate < 90%, severity: warning}]";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The value of an expression with one series; `None` before it is there.
fn value(prometheus: &Program, expression: &str) -> Option<f64> {
    let page = prometheus.ask(&format!("/api/v1/query?query={}", escaped(expression)))?;
    json(&page)["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn a_real_prometheus_scrapes_the_numbers_of_the_cache_and_takes_all_rules() {
    let cache = Cache::builder()
        .service("users")
        .memory(MemoryOptions::new().max_entries(30))
        .build()
        .unwrap();
    let guard = Guard::of(&cache).alerts(Alerts::from_yaml(COLD).unwrap()).start().unwrap();
    let guard = Arc::new(guard);
    let served = guard.serve(&ServeOptions::new().address("127.0.0.1:0")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let files = ALERTS.iter().chain([&COLD]).enumerate().map(|(number, text)| {
        let alerts = Alerts::from_yaml(text).unwrap();
        let text = rules::alerting(alerts.states().map(|(rule, _)| rule));
        (format!("alerts-{number}.yaml"), text)
    });
    let objectives = ["staging", "production"].map(|name| {
        (format!("slo-{name}.yaml"), rules::objectives(&Objectives::named(name).unwrap()))
    });
    let mut names = Vec::new();
    for (name, text) in files.chain(objectives) {
        fs::write(folder.path().join(&name), text).unwrap();
        names.push(name);
    }
    let configuration = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{}]\n\
         scrape_configs:\n\
         - {{job_name: tierce, metrics_path: /cache/metrics, static_configs: [{{targets: [\"{}\"]}}]}}\n",
        names.join(", "),
        served.address()
    );
    let file = folder.path().join("prometheus.yaml");
    fs::write(&file, configuration).unwrap();
    let prometheus = Program::start(
        "prometheus",
        &[
            &format!("--config.file={}", file.display()),
            &format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            "--web.listen-address=127.0.0.1:PORT",
            "--log.level=error",
        ],
        "/-/ready",
    );

    for number in 0..200 {
        let key = format!("key {}", number % 100);
        if number % 2 == 0 {
            cache.set(&key, Bytes::from("value")).unwrap();
        }
        cache.get(&key);
    }
    let stats = cache.stats();
    assert!(stats.hits > 0 && stats.misses > 0 && stats.tiers[0].evictions.size > 0, "{stats:?}");
    let expected = [
        ("tierce_requests_total{cache=\"users\",tier=\"L1\",result=\"hit\"}", stats.hits),
        ("tierce_requests_total{tier=\"none\"}", stats.misses),
        ("tierce_evictions_total{tier=\"L1\",cause=\"size\"}", stats.tiers[0].evictions.size),
        ("tierce_entries{tier=\"L1\"}", stats.tiers[0].entries),
        ("tierce_entries_limit{tier=\"L1\"}", 30),
        ("tierce_operations_total{op=\"get\"}", stats.requests),
    ];
    for (series, count) in expected {
        wait_until(series, || value(&prometheus, series) == Some(count as f64));
    }
    assert_eq!(value(&prometheus, "up"), Some(1.0));
    assert!(value(&prometheus, "process_resident_memory_bytes").unwrap() > 1e6);
    assert_eq!(value(&prometheus, "tierce_operations_total{op=\"set\"}"), Some(stats.sets as f64));
    // What it asked for by its Accept, and what it was answered.
    let newer = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let answer = get(&served.address().to_string(), "/cache/metrics", newer).unwrap();
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{}", answer.head);
    assert!(answer.body.ends_with("# EOF\n"));

    // One alert fires for both, and every rule of all files is evaluated without a complaint.
    wait_until("the alert fires here", || {
        cache.get("nothing");
        guard.alerts()[0].1.is_firing()
    });
    let active = "tierce_alert_active{alert=\"Cold\",severity=\"warning\"}";
    wait_until("the alert is scraped", || {
        cache.get("nothing");
        value(&prometheus, active) == Some(1.0)
    });
    let firing = "ALERTS{alertname=\"Cold\",alertstate=\"firing\",cache=\"users\"}";
    wait_until("the alert fires there", || {
        cache.get("nothing");
        value(&prometheus, firing) == Some(1.0)
    });
    let mut count = 0;
    wait_until("all rules were evaluated", || {
        let page = json(&prometheus.ask("/api/v1/rules").unwrap());
        let groups = page["data"]["groups"].as_array().unwrap();
        let rules: Vec<&Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        assert!(rules.iter().all(|rule| rule["lastError"].is_null()), "{rules:#?}");
        count = rules.len();
        rules.iter().all(|rule| rule["health"] == "ok")
    });
    assert!(count > 50, "{count} rules");
}

/// The alerts that an Alertmanager takes for true.
fn active(alertmanager: &Program) -> Vec<Value> {
    let page = alertmanager.ask("/api/v2/alerts").unwrap_or_else(|| "[]".to_owned());
    json(&page).as_array().unwrap().clone()
}

#[test]
fn a_real_alertmanager_is_told_that_an_alert_fires_goes_on_and_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alertmanager.yaml");
    fs::write(&file, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
    let alertmanager = Program::start(
        "prometheus-alertmanager",
        &[
            &format!("--config.file={}", file.display()),
            &format!("--storage.path={}", folder.path().join("data").display()),
            "--web.listen-address=127.0.0.1:PORT",
            "--cluster.listen-address=",
            "--log.level=error",
        ],
        "/-/ready",
    );

    let (clock, time) = Clock::manual();
    let cache = Cache::builder().service("users").clock(clock).build().unwrap();
    let refresh = Duration::from_secs(1);
    let guard = || {
        let url = format!("http://{}", alertmanager.address());
        let sink = WebhookOptions::alertmanager(url).refresh(refresh).open().unwrap();
        let alerts = "alerts: [{name: Busy, condition: throughput > 0/s, severity: critical}]";
        Guard::of(&cache)
            .alerts(Alerts::from_yaml(alerts).unwrap())
            .notifier(Notifier::new("users").sink(sink))
            .build()
            .unwrap()
    };
    let fire = |guard: &Guard<Bytes>| {
        guard.round().unwrap();
        cache.get("a");
        time.advance(Duration::from_secs(1));
        guard.round().unwrap();
    };
    let first = guard();
    fire(&first);
    wait_until("the alert is there", || active(&alertmanager).len() == 1);
    let alert = &active(&alertmanager)[0];
    assert_eq!(alert["labels"]["alertname"], "Busy");
    assert_eq!(
        (&alert["labels"]["cache"], &alert["labels"]["severity"]),
        (&"users".into(), &"critical".into())
    );
    assert_eq!(alert["annotations"]["summary"], "throughput > 0/s");
    assert_eq!(alert["status"]["state"], "active");

    // It would be over after four times as long, were it not said again.
    let begun = Instant::now();
    while begun.elapsed() < refresh * 6 {
        assert_eq!(active(&alertmanager).len(), 1);
        std::thread::sleep(refresh / 10);
    }
    time.advance(Duration::from_secs(120));
    first.round().unwrap();
    let end = wait_until("its end is told", || active(&alertmanager).is_empty());
    assert!(end < refresh * 3, "it ended by itself: {end:?}");
    let stats = &first.sinks()[0];
    assert_eq!((stats.refused, stats.failed), (0, 0), "{stats:?}");
    drop(first);

    // A process that is gone says nothing more, and its alerts end by themselves.
    let second = guard();
    fire(&second);
    wait_until("the alert is there again", || active(&alertmanager).len() == 1);
    drop(second);
    wait_until("it ends by itself", || active(&alertmanager).is_empty());
}
