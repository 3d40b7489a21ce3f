//! `tierce config`: what it shows, and that it says what is wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{fs, process::Stdio};

mod support;
use support::{fail, holds, run, succeed, tierce};

/// The cells of the row of this key.
fn row<'a>(table: &'a str, key: &str) -> Vec<&'a str> {
    let mut rows = table.lines().filter(|line| line.split_whitespace().next() == Some(key));
    let row = rows.next().unwrap_or_else(|| panic!("no row {key} in:\n{table}"));
    row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn show_prints_value_and_source_of_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.yaml");
    fs::write(
        &path,
        "cache_config:\n  capacity: 20000\n  max_memory_mb: 200\n  default_ttl: \"10m\"\n",
    )
    .unwrap();
    let mut command = tierce(["config", "show", "--file"]);
    command.arg(&path).envs([
        ("NODE_ENV", "production"),
        ("CACHE_TIERING", "l1l2"),
        ("CACHE_ENCORE_MAX_ENTRIES", "1000000"),
        ("CACHE_MEMORY_MAX_ENTRIES", "5000"),
    ]);
    let table = succeed(&mut command);
    let file = |line: u32| format!("file {}:{line}", path.display());
    assert_eq!(row(&table, "environment"), ["environment", "production", "env NODE_ENV"]);
    assert_eq!(row(&table, "tiering"), ["tiering", "L1L2", "env CACHE_TIERING"]);
    assert_eq!(row(&table, "metrics_enabled"), ["metrics_enabled", "true", "default"]);
    assert_eq!(row(&table, "memory.max_entries")[1..], ["5000", "env CACHE_MEMORY_MAX_ENTRIES"]);
    assert_eq!(row(&table, "memory.max_bytes")[1..], ["200MiB", &file(3)]);
    assert_eq!(row(&table, "default_ttl")[1..], ["10m", &file(4)]);
    assert_eq!(row(&table, "shared.max_entries")[1..], ["1000000", "env CACHE_ENCORE_MAX_ENTRIES"]);
    assert_eq!(row(&table, "redis.port")[1..], ["6379", "default"]);
}

#[test]
fn show_prints_no_secret() {
    let mut command = tierce(["config", "show"]);
    command.envs([("REDIS_PASSWORD", "hunter2"), ("REDIS_URL", "rediss://cache:6380/1")]);
    let table = succeed(&mut command);
    assert!(!table.contains("hunter2"));
    assert_eq!(row(&table, "redis.password")[1..], ["***", "env REDIS_PASSWORD"]);
    command.env_remove("REDIS_PASSWORD").env("REDIS_URL", "rediss://:hunter2@cache:6380/1");
    let table = succeed(&mut command);
    assert!(!table.contains("hunter2"));
    assert_eq!(row(&table, "redis.url")[1], "rediss://***@cache:6380/1");
    command.env("REDIS_PASSWORD", "hunter2");
    assert!(!fail(&mut command, 1).contains("hunter2"));
}

#[test]
fn show_prints_what_is_sent_and_where_but_no_headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.yaml");
    fs::write(&path, "monitoring:\n  otlp:\n    endpoint: http://collector:4318\n").unwrap();
    let mut command = tierce(["config", "show", "--file"]);
    command.arg(&path).envs([
        ("CACHE_MONITORING_OTLP_HEADERS", "api-key=hunter2"),
        ("CACHE_MONITORING_OTLP_PERIOD", "15s"),
    ]);
    let table = succeed(&mut command);
    assert!(!table.contains("hunter2"));
    let cells = |name: &str| row(&table, &format!("monitoring.otlp.{name}"))[1..].join(" ");
    assert_eq!(cells("enabled"), "true default");
    assert_eq!(cells("endpoint"), format!("http://collector:4318 file {}:3", path.display()));
    assert_eq!(cells("headers"), "*** env CACHE_MONITORING_OTLP_HEADERS");
    assert_eq!(cells("period"), "15s env CACHE_MONITORING_OTLP_PERIOD");
    assert_eq!(cells("timeout"), "automatic default");
    let message = fail(command.env("CACHE_MONITORING_OTLP_ENDPOINT", "collector:4317"), 1);
    holds(&message, &["monitoring.otlp.endpoint = \"collector:4317\"", "http://host:4318"]);
}

#[test]
fn check_tells_the_key_the_value_the_place_and_the_rule() {
    holds(&succeed(&mut tierce(["config", "check"])), &["legal", "0 keys given"]);
    for (name, value, parts) in [
        ("CACHE_TIERING", "L2L1", &["tiering = \"L2L1\"", "env CACHE_TIERING", "L1L2L3"][..]),
        ("CACHE_DEFAULT_TTL", "600", &["default_ttl", "such as 90s or 10m"][..]),
        ("CACHE_MEMORY_MAX_BYTE", "1MB", &["no such variable", "CACHE_MEMORY_MAX_BYTES"][..]),
        ("REDIS_PORT", "70000", &["redis.port", "from 1 to 65535"][..]),
    ] {
        let message = fail(tierce(["config", "check"]).env(name, value), 1);
        holds(&message, parts);
        assert!(message.starts_with("tierce: ") && message.lines().count() == 1, "{message}");
    }
}

#[test]
fn check_names_the_line_of_a_file_and_the_blocks_that_are_not_supported() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, parts) in [
        (
            "a.yaml",
            "tiering: L1\nmemory:\n  max_entires: 5\n",
            &["a.yaml:3", "memory.max_entries"][..],
        ),
        ("a.toml", "[shared]\nmax_bytes = '1B'\n", &["a.toml:2", "shared.max_bytes = \"1B\""][..]),
        ("a.json", "{\"load\": {\"wait\": 30}}", &["a.json", "load.wait = \"30\"", "unit"][..]),
        ("b.json", "{\"load\": {", &["b.json", "not legal JSON", "line 1"][..]),
        ("b.yaml", "security:\n  tls:\n    min_version: 1\n", &["block security"][..]),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        holds(&fail(tierce(["config", "check", "--file"]).arg(&path), 1), parts);
    }
    holds(
        &fail(&mut tierce(["config", "check", "--file", "/nonexistent.yaml"]), 1),
        &["/nonexistent.yaml"],
    );
}

#[test]
fn what_watches_the_cache_is_shown_with_its_sources_and_what_has_no_effect_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.yaml");
    let text = "alerts: [{name: HighLatency, condition: p95_latency > 10ms, severity: critical}]
notify: {sinks: [{type: slack, url: 'https://hooks.slack.com/services/hunter2'}]}
traffic_split: {new_system: 5%, old_system: 95%}
http2_config: {enable_push: true}
";
    fs::write(&path, text).unwrap();
    let shown = succeed(tierce(["config", "show", "--file"]).arg(&path));
    for (key, value) in [
        ("alerts ", "HighLatency"),
        ("notify.sinks ", "slack hooks.slack.com"),
        ("traffic_split.new_system ", "5%"),
        ("slo.objectives ", "none"),
    ] {
        let row = shown.lines().find(|line| line.starts_with(key)).expect(key);
        assert!(row.contains(value), "{row}");
        assert_eq!(row.contains("cache.yaml:"), !value.eq("none"), "{row}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    let checked = succeed(tierce(["config", "check", "--file"]).arg(&path));
    holds(&checked, &["configuration is legal: 4 keys given", "block http2_config", "no effect"]);
}

#[test]
fn keys_prints_the_reference() {
    let table = succeed(&mut tierce(["config", "keys"]));
    holds(
        &table,
        &["| `memory.max_entries` | `CACHE_MEMORY_MAX_ENTRIES` |", "`REDIS_PASSWORD_FILE`"],
    );
    assert_eq!(
        table.lines().count(),
        2 + succeed(&mut tierce(["config", "show"])).lines().count() - 2
    );
}

#[test]
fn wrong_arguments_exit_with_two_and_help_with_none() {
    fail(&mut tierce(["config"]), 2);
    fail(&mut tierce(["config", "show", "--fil", "x"]), 2);
    fail(&mut tierce(["no-such-command"]), 2);
    let (code, out, _) = run(&mut tierce(["--help"]));
    assert_eq!(code, 0);
    holds(&out, &["config", "replay"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        tierce(["config", "keys"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
