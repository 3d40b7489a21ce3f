//! What judges the running cache, from files and variables.

use std::time::Duration;

use super::*;
use crate::{
    Bytes, Cache,
    config::{SinkType, Watching},
    guard::{
        Contingency, Guard, ServeOptions, Severity,
        rollout::{Action, Command, Stage},
    },
    split::Share,
    tiering::Tiering,
};

const SECRET: &str = "hunter2";

fn watch(text: &str) -> crate::Result<(Cache, Watching<Bytes>)> {
    let config = Config::from_text(text)?;
    let cache: Cache = config.builder()?.build()?;
    let watching = Guard::from_config(&cache, &config)?;
    Ok((cache, watching))
}

#[test]
fn the_alerts_of_both_sources_load_as_they_stand() {
    let guides = include_str!("../../../profiles/cache-alerts.yaml");
    let phased = include_str!("../../../profiles/phased-alerts.yaml");
    for (text, first) in [(guides, "CacheErrorRateHigh"), (phased, "HighLatency")] {
        let config = Config::from_text(text).unwrap();
        assert_eq!(config.alerts.rules[0].name, first);
        let shown = config.get("alerts").unwrap();
        assert!(shown.value.starts_with(&format!("{first}, ")), "{shown:?}");
        assert!(shown.source.to_string().starts_with("text:"), "{shown:?}");
        let (_, watching) = watch(text).unwrap();
        assert_eq!(watching.guard().alerts().len(), config.alerts.rules.len());
    }
}

#[test]
fn the_first_phase_of_the_plan_loads_as_it_stands_and_splits_the_keys() {
    let block = "
# Phase 1 Traffic Distribution
traffic_split:
  new_system: 5%     # Start with 5% traffic
  old_system: 95%    # Keep 95% on old system

monitoring:
  latency_threshold: 10ms    # Alert if >10ms
  error_rate_threshold: 1%   # Alert if >1% errors
  cache_hit_ratio_min: 60%   # Alert if <60% cache hits
";
    let config = Config::from_text(block).unwrap();
    assert_eq!(config.traffic_split.new_system, Share::of(0.05));
    assert_eq!(config.get("traffic_split.new_system").unwrap().value, "5%");
    assert_eq!(config.alerts.rules.len(), 3);
    assert!(config.asks_for_guard() && !Config::default().asks_for_guard());
    let (cache, _watching) = watch(block).unwrap();
    assert!(cache.side_windows(Duration::from_secs(1)).is_some(), "it is split");
    for (text, parts) in [
        ("{new_system: 90%, old_system: 5%}", ["traffic_split.new_system", "add up to 100%"]),
        ("{new_system: 101%}", ["traffic_split.new_system = \"101%\"", "%"]),
        ("{old_system: 5%}", ["traffic_split.old_system", "both are needed"]),
        ("{old_tiering: L1L2}", ["traffic_split.old_tiering", "without a share"]),
    ] {
        holds(&refused(Config::from_text(&format!("traffic_split: {text}"))), &parts);
    }
}

#[test]
fn lists_are_read_from_every_syntax_with_their_line() {
    let yaml =
        "service: users\nnotify:\n  repeat: 1h\n  sinks:\n  - {type: log, severity: critical}\n";
    let toml = "service = 'users'\n[notify]\nrepeat = '1h'\n[[notify.sinks]]\ntype = 'log'\nseverity = 'critical'\n";
    let json = "{\"service\": \"users\", \"notify\": {\"repeat\": \"1h\", \"sinks\": [{\"type\": \"log\", \"severity\": \"critical\"}]}}";
    for (text, place) in [(yaml, "text:5"), (toml, "text:"), (json, "text")] {
        let config = Config::from_text(text).unwrap();
        let [sink] = &config.notify.sinks[..] else { panic!("{:?}", config.notify) };
        assert_eq!((sink.kind, sink.severity), (SinkType::Log, Severity::Critical));
        assert_eq!(config.notify.repeat, Duration::from_secs(3600));
        let shown = config.get("notify.sinks").unwrap();
        assert_eq!(shown.value, "log");
        assert!(shown.source.to_string().starts_with(place), "{shown:?}");
    }
}

#[test]
fn what_is_sent_stands_beside_the_limits_of_monitoring() {
    let block = format!(
        "monitoring:
  latency_threshold: 10ms
  otlp:
    endpoint: http://127.0.0.1:1/otlp
    headers: 'api-key={SECRET}'
    period: 15s
"
    );
    let config = Config::from_text(&block).unwrap();
    assert_eq!(config.alerts.rules.len(), 1);
    assert!(config.otlp.is_on() && config.asks_for_guard());
    assert_eq!(config.otlp.period, Some(Duration::from_secs(15)));
    let endpoint = config.get("monitoring.otlp.endpoint").unwrap();
    assert_eq!(endpoint.value, "http://127.0.0.1:1/otlp");
    assert_eq!(endpoint.source.to_string(), "text:4");
    assert_eq!(config.get("monitoring.otlp.enabled").unwrap().value, "true");
    assert_eq!(config.get("monitoring.otlp.timeout").unwrap().value, "automatic");
    let shown = format!("{config:?}{:?}", config.show());
    assert!(!shown.contains(SECRET), "{shown}");
    let alone = Config::from_text("monitoring: {otlp: {enabled: true}}").unwrap();
    assert!(alone.otlp.is_on() && alone.alerts.rules.is_empty());
    let off = "monitoring: {otlp: {enabled: false, endpoint: 'http://a', period: 5s}}";
    assert!(!Config::from_text(off).unwrap().otlp.is_on());
    #[cfg(feature = "otel")]
    {
        let (_, watching) = watch(&block).unwrap();
        assert_eq!(watching.guard().otlp().unwrap().taken, 0);
        let (_, watching) = watch(off).unwrap();
        assert_eq!(watching.guard().otlp(), None);
    }
    #[cfg(not(feature = "otel"))]
    {
        let error = watch(&block).err().unwrap();
        holds(&error.to_string(), &["monitoring.otlp", "feature \"otel\""]);
    }
}

#[test]
fn a_wrong_list_is_refused_with_its_place_and_rule() {
    for (text, parts) in [
        ("alerts: 5", &["text:", "invalid type"][..]),
        (
            "alerts: [{name: A, condition: error_rate > 1, severity: info}]",
            &["alert \"A\"", "error_rate"],
        ),
        (
            "alerts: [{name: A, condition: error_rate > 1%, severity: loud}]",
            &["\"loud\"", "critical"],
        ),
        ("monitoring: {latency: 10ms}", &["unknown field", "latency"]),
        ("notify: {sinks: 5}", &["notify.sinks (text", "must be a list"]),
        ("notify: {sinks: [{type: mail}]}", &["sink 1", "unknown variant `mail`", "pagerduty"]),
        ("notify: {sinks: [{type: log}, {type: slack}]}", &["sink 2", "url", "must have one"]),
        ("notify: {sinks: [{type: log, url: 'http://a'}]}", &["sink 1", "url", "has none"]),
        ("notify: {sinks: [{type: log, refresh: 5s}]}", &["refresh", "has none"]),
        ("notify: {sinks: [{type: pagerduty}]}", &["routing_key", "must have one"]),
        (
            "notify: {sinks: [{type: webhook, url: 'http://a', timeout: 5}]}",
            &["invalid type", "string"],
        ),
        (
            "notify: {sinks: [{type: webhook, url: 'http://a', timeout: soon}]}",
            &["timeout = \"soon\""],
        ),
        (
            "notify: {sinks: [{type: pagerduty, routing_key_file: /nonexistent}]}",
            &["routing_key_file = /nonexistent"],
        ),
        ("notify: {per_minute: 0}", &["notify.per_minute", "1 to 1000"]),
        ("serve: {address: localhost}", &["serve.address = \"localhost\"", "host:port"]),
        ("serve: {address: 'localhost:99999'}", &["host:port"]),
        ("serve: {token: abc}", &["serve.token", "serve.address"]),
        (
            "monitoring: {otlp: {endpoint: 'collector:4317'}}",
            &["monitoring.otlp.endpoint = \"collector:4317\"", "http://host:4318"],
        ),
        ("monitoring: {otlp: {endpoint: 'http://me:pw@a'}}", &["without a user"]),
        ("monitoring: {otlp: {headers: 'a=1'}}", &["monitoring.otlp.headers", "endpoint"]),
        ("monitoring: {otlp: {enabled: true, period: 5}}", &["monitoring.otlp.period = \"5\""]),
        ("monitoring: {otlp: {endpoints: x}}", &["monitoring.otlp.endpoints", "endpoint"]),
        (
            "metrics_enabled: false\nmonitoring: {otlp: {enabled: true}}",
            &["monitoring.otlp.enabled", "metrics_enabled = false", "switched off"],
        ),
        ("slo: {objectives: mine}", &["slo.objectives = \"mine\"", "staging", "phase-4"]),
        ("rollout: {plan: /p}", &["rollout.plan", "rollout.journal"]),
        ("rollout: {plan: /p, journal: /j}", &["rollout.plan", "rollout.instance"]),
        ("rollout: {of_store: true}", &["rollout.of_store", "rollout.instance"]),
        ("rollout: {instance: a}", &["rollout.instance", "names nothing"]),
        (
            "rollout: {of_store: true, instance: a}\ntraffic_split: {new_system: 5%}",
            &["a rollout says the share"],
        ),
    ] {
        holds(&refused(Config::from_text(text)), parts);
    }
}

#[test]
fn secrets_of_sinks_show_nowhere() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    let file = file.path().display();
    let text = format!(
        "serve: {{address: '127.0.0.1:0', token: {SECRET}}}
notify:
  sinks:
  - {{type: slack, url: 'https://hooks.slack.com/services/{SECRET}'}}
  - {{type: webhook, url: 'http://me:{SECRET}@host/x', token: {SECRET}}}
  - {{type: pagerduty, routing_key_file: {file}}}
"
    );
    let config = Config::from_text(&text).unwrap();
    assert_eq!(config.notify.sinks[2].routing_key.as_ref().unwrap().expose(), SECRET);
    let shown = format!("{config:?}{:?}", config.show());
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("slack hooks.slack.com, webhook host, pagerduty"), "{shown}");
    let number = "notify: {sinks: [{type: pagerduty, routing_key: 4711}]}";
    let message = refused(Config::from_text(number));
    assert!(message.contains("quotes") && !message.contains("4711"), "{message}");
    let twice = format!("notify: {{sinks: [{{type: webhook, url: {SECRET}, url_file: /a}}]}}");
    let message = refused(Config::from_text(&twice));
    assert!(message.contains("only one") && !message.contains(SECRET), "{message}");
}

#[test]
fn all_that_a_configuration_says_of_watching_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(
        path("alerts.yaml"),
        "alerts: [{name: B, condition: hit_rate < 1%, severity: info}]",
    )
    .unwrap();
    let plan = "plan: p\nbaseline: L1\nphases: [{name: one, target: L1, steps: [{share: 10%}]}]";
    std::fs::write(path("plan.yaml"), plan).unwrap();
    let text = format!(
        "service: users
environment: staging
tiering: L1
alerts: [{{name: A, condition: error_rate > 1%, severity: critical}}]
alerts_file: {}
notify:
  sinks: [{{type: log}}, {{type: alertmanager, url: 'http://127.0.0.1:1'}}]
serve: {{address: '127.0.0.1:0', token: {SECRET}}}
rollout: {{plan: {}, journal: {}, instance: web-1}}
",
        path("alerts.yaml"),
        path("plan.yaml"),
        path("journal")
    );
    let (cache, watching) = watch(&text).unwrap();
    let guard = watching.guard();
    assert_eq!(cache.tiering(), Tiering::L1);
    let names: Vec<String> = guard.alerts().into_iter().map(|(rule, _)| rule.name).collect();
    assert_eq!(names, ["A", "B"]);
    assert_eq!(guard.sinks()[0].sink, "alertmanager 127.0.0.1:1");
    let report = guard.slo(Duration::from_secs(60)).unwrap();
    assert_eq!(report.objectives, "staging");
    assert_eq!(guard.rollout().unwrap().plan, "p");
    let ask = |line: &str| {
        let line = line.replace("HOST", &watching.address().unwrap().to_string());
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = ask("curl -s http://HOST/cache/alerts");
    assert!(page.contains("\"name\":\"B\""), "{page}");
    let status = "curl -s -o /dev/null -w '%{http_code}' -X POST";
    assert_eq!(ask(&format!("{status} http://HOST/cache/rollout/start")), "401");
    let bearer = format!("-H 'Authorization: Bearer {SECRET}'");
    assert_eq!(ask(&format!("{status} {bearer} http://HOST/cache/rollout/start")), "200");
}

#[test]
fn what_cannot_be_started_is_said_with_its_key_and_value() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.yaml");
    std::fs::write(&path, "alerts: [{name: A, condition: hit_rate < 1%, severity: info}]").unwrap();
    let shown = path.display();
    let twice = format!(
        "alerts_file: {shown}\nalerts: [{{name: A, condition: hit_rate < 2%, severity: info}}]"
    );
    for (text, parts) in [
        (
            "alerts_file: /nonexistent/a.yaml",
            &["alerts_file = /nonexistent/a.yaml", "cannot be read"][..],
        ),
        (&twice, &["alerts_file", "alert \"A\"", "also"]),
        ("notify: {sinks: [{type: slack, url: 'ftp://a/b'}]}", &["sink slack", "http://"]),
        ("serve: {address: '192.0.2.1:1'}", &["serve.address = \"192.0.2.1:1\""]),
        (
            "rollout: {plan: /nonexistent, journal: /j, instance: a}",
            &["rollout.plan = /nonexistent"],
        ),
    ] {
        let error = watch(text).err().unwrap_or_else(|| panic!("{text}: is started"));
        holds(&error.to_string(), parts);
    }
}

/// The block of the phased deployment plan, as it is printed there.
const AUTOMATIC_ROLLBACK: &str = r#"
automatic_rollback:
  triggers:
    - condition: "p95_latency > 50ms"
      duration: "5m"
      action: "immediate_rollback"

    - condition: "error_rate > 5%"
      duration: "2m"
      action: "immediate_rollback"

    - condition: "cache_hit_ratio < 30%"
      duration: "10m"
      action: "gradual_rollback"

    - condition: "memory_usage > 500MB"
      duration: "5m"
      action: "immediate_rollback"
"#;

#[test]
fn the_rollback_block_of_the_deployment_plan_is_taken_as_it_stands() {
    let rollout = "rollout: {plan: /p, journal: /j, instance: a}\n";
    let config = Config::from_text(&(rollout.to_owned() + AUTOMATIC_ROLLBACK)).unwrap();
    let triggers = &config.rollout.triggers;
    let seconds: Vec<u64> = triggers.iter().map(|it| it.duration.as_secs()).collect();
    assert_eq!(seconds, [300, 120, 600, 300]);
    let gradual: Vec<bool> = triggers.iter().map(|it| it.action == Action::Gradual).collect();
    assert_eq!(gradual, [false, false, true, false]);
    assert_eq!(triggers[1].condition, "error_rate > 5%".parse().unwrap());
    let shown = config.get("automatic_rollback.triggers").unwrap();
    assert!(shown.source.to_string().starts_with("text:"), "{shown:?}");
    holds(&shown.value, &["error_rate", "memory_usage"]);
    // Alone there is nothing to take back, and an operator's plan has triggers of its own.
    let message = refused(Config::from_text(AUTOMATIC_ROLLBACK));
    holds(&message, &["automatic_rollback.triggers", "rollout.plan", "nothing to take back"]);
    let of_store = "rollout: {of_store: true, instance: a}\n".to_owned() + AUTOMATIC_ROLLBACK;
    holds(&refused(Config::from_text(&of_store)), &["rollout.of_store = true", "its own plan"]);
    for (wrong, parts) in [
        ("automatic_rollback: 7", &["automatic_rollback (text:2)"][..]),
        (
            "automatic_rollback: {triggers: [{condition: speed > 9}]}",
            &["automatic_rollback (text:2)", "speed"],
        ),
        (
            "automatic_rollback: {triggers: [{condition: error_rate > 5%, action: melt}]}",
            &["action = \"melt\"", "immediate_rollback"],
        ),
        (
            "automatic_rollback: {triggers: [{condition: error_rate > 5%, durations: 5m}]}",
            &["durations"],
        ),
    ] {
        holds(&refused(Config::from_text(&(rollout.to_owned() + wrong))), parts);
    }
}

#[test]
fn the_rollback_block_takes_the_rollout_of_the_plan_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let plan = "plan: p\nbaseline: L1\nphases: [{name: one, target: L1, steps: [{share: 100%, wait: 1h}]}]";
    std::fs::write(path("plan.yaml"), plan).unwrap();
    let text = format!(
        "rollout: {{plan: {}, journal: {}, instance: a}}\nautomatic_rollback:\n  triggers:\n    \
         - condition: \"cache_hit_ratio < 30%\"\n      duration: \"0s\"\n",
        path("plan.yaml"),
        path("journal")
    );
    let (cache, watching) = watch(&text).unwrap();
    let guard = watching.guard();
    guard.command("ada", Command::Start).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while guard.rollout().unwrap().stage != Stage::RolledBack {
        assert!(std::time::Instant::now() < until, "{:?}", guard.rollout());
        cache.get("nobody");
        std::thread::sleep(Duration::from_millis(5));
    }
    let history = guard.rollout_history().unwrap();
    let rules: Vec<&String> = history.iter().filter_map(|it| it.rule.as_ref()).collect();
    assert!(rules.iter().any(|rule| rule.contains("< 30%")), "{history:?}");
}

#[test]
fn a_text_is_read_over_what_was_said_or_not_at_all() {
    let mut config = Config::from_text("service: users\nserve: {address: '127.0.0.1:1'}").unwrap();
    config.read_text("serve: {address: '127.0.0.1:2'}\nmetrics_enabled: true").unwrap();
    assert_eq!(config.service, "users");
    assert_eq!(config.serve.address.as_deref(), Some("127.0.0.1:2"));
    let before = config.show();
    refused(config.read_text("service: other\nserve: {address: 7").map(|()| config.clone()));
    refused(config.read_text("service: other\nrollout: {plan: /p}").map(|()| config.clone()));
    assert_eq!(config.show(), before);
}

#[test]
fn a_guard_is_told_nothing_of_the_cache_that_it_watches() {
    let config = Config::from_text("memory: {max_entries: 5}").unwrap();
    let same = config.with_guard_text(" \n").unwrap();
    assert_eq!(same.show(), config.show());
    let text = "environment: production\nalerts: [{name: A, condition: hit_rate < 1%, severity: info}]\n\
                notify: {sinks: [{type: log}]}\nserve: {address: '127.0.0.1:0'}\n\
                actions_journal: /a\nslo: {objectives: phase-1}\n\
                rollout: {plan: /p, journal: /j, instance: a}\n\
                automatic_rollback: {triggers: [{condition: error_rate > 5%}]}\n";
    assert_eq!(config.with_guard_text(text).unwrap().rollout.triggers.len(), 1);
    for (text, key) in [
        ("memory: {max_entries: 6}", "memory.max_entries = 6 (text:1)"),
        ("tiering: L1L2", "tiering"),
        ("metrics_enabled: true", "metrics_enabled"),
        ("cache_config: {default_ttl: 10m}", "default_ttl"),
    ] {
        let message = refused(config.with_guard_text(text));
        holds(&message, &[key, "is of the cache"]);
    }
}

#[test]
fn a_journal_of_actions_is_written_as_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("actions.jsonl");
    let (_cache, watching) = watch(&format!("actions_journal: {}", path.display())).unwrap();
    watching.guard().act("ada", Contingency::Block).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"by\":\"ada\",\"action\":\"block\""), "{text}");
}

#[test]
fn a_listener_is_begun_and_ended_while_the_guard_goes_on() {
    let (_cache, watching) = watch("service: users").unwrap();
    assert_eq!(watching.address(), None);
    let first = watching.serve(&ServeOptions::new().address("127.0.0.1:0")).unwrap();
    assert_eq!(watching.address(), Some(first));
    assert!(std::net::TcpStream::connect(first).is_ok());
    // What cannot be had leaves what there is.
    assert!(watching.serve(&ServeOptions::new().address("192.0.2.1:1")).is_err());
    assert!(watching.serve(&ServeOptions::new().address("127.0.0.1:0").token("")).is_err());
    assert_eq!(watching.address(), Some(first));
    watching.stop_serving();
    watching.stop_serving();
    assert_eq!(watching.address(), None);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(first).is_ok() {
        assert!(std::time::Instant::now() < until, "it goes on listening");
        std::thread::sleep(Duration::from_millis(1));
    }
}
