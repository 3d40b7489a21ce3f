//! The configuration as its users meet it: keys and where their values come from.
//!
//! | file | shows |
//! |---|---|
//! | `files` | files of each syntax, and what is no configuration |
//! | `environment` | which variables are read, and which are told to be wrong |
//! | `freshness` | how long entries are fresh and stale |
//! | `secrets` | from where secrets come, and that nothing shows them |

mod environment;
mod files;
mod freshness;
mod secrets;
mod watching;

use std::fs;

use super::*;
use crate::config::fields::fields;

const SEAL_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn refused<T: fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

/// Asserts that the message holds every part.
fn holds(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

fn env(variables: &[(&str, &str)]) -> Result<Config> {
    Config::from_env_vars(variables.iter().copied())
}

#[test]
fn every_default_of_the_table_is_the_default_of_the_model() {
    let config = Config::default();
    for field in fields() {
        let Some(value) = (field.read)(&config) else { continue };
        assert_eq!(field.kind.parse(field.default), Some(value.clone()), "{}", field.key);
        assert_eq!(value.to_string(), field.default, "{}", field.key);
    }
    config.check().unwrap();
    assert!(config.show().iter().all(|shown| shown.source == Source::Default));
}

/// A value of each key that is not its default.
fn sample(key: &str) -> &'static str {
    match key {
        "service" => "orders",
        "environment" => "production",
        "tiering" => "L1L2L3",
        "metrics_enabled" | "redis.tls" | "redis.cluster" | "redis.replica_reads" => "true",
        "shared.resize" | "shared.survive_truncation" | "shared.mapped_reads" => "true",
        "shared.directory"
        | "redis.unix"
        | "redis.tls_ca_file"
        | "redis.tls_certificate"
        | "redis.tls_key" => "/run/tierce",
        "shared.name" => "orders",
        "redis.url" => "redis://cache:6380/1",
        "redis.coherence" => "false",
        "redis.heartbeat" => "1s",
        "redis.staleness_bound" => "20s",
        "redis.on_loss" => "serve",
        "redis.invalidation" => "pubsub",
        "redis.write" => "around",
        "redis.write_delay" => "250ms",
        "redis.flush_timeout" => "9s",
        "redis.load_lease" => "3s",
        "redis.host" => "cache",
        "redis.username" | "redis.password" => "orders-user",
        "redis.prefix" => "orders:",
        "redis.compression" => "zstd",
        "redis.compress_above" => "10KiB",
        "redis.seal_key" | "redis.older_seal_keys" => SEAL_KEY,
        "memory.max_bytes" | "shared.max_bytes" | "shared.max_value_bytes" => "10MiB",
        "memory.shards" => "16",
        "memory.policy" => "lru",
        "redis.port" => "6380",
        "shared.lock_wait" | "shared.load_lease" => "0ms",
        "load.threads" => "8",
        "invalidation.prefix_delimiter" => ":",
        "actions_journal" | "alerts_file" | "rollout.plan" | "rollout.journal" => {
            "/etc/tierce.yaml"
        }
        "notify.repeat" => "30m",
        "notify.per_minute" => "7",
        "serve.address" => "127.0.0.1:9999",
        "monitoring.otlp.enabled" => "true",
        "monitoring.otlp.endpoint" => "https://collector:4318",
        "monitoring.otlp.headers" => "api-key=abc",
        "monitoring.otlp.period" => "90s",
        "monitoring.otlp.ca_file" => "/etc/tierce.pem",
        "slo.objectives" => "phase-2",
        "rollout.instance" => "web-1",
        "rollout.of_store" => "true",
        "traffic_split.new_system" => "5%",
        "traffic_split.old_system" => "95%",
        "traffic_split.old_tiering" => "L1L2",
        key if key.ends_with("_percent") => "50",
        key if key.starts_with("freshness.") => "90s",
        key if key.ends_with("wait") || key.ends_with("timeout") || key.ends_with("ttl") => "90s",
        _ => "5000",
    }
}

#[test]
fn every_key_is_set_by_code_by_file_and_by_each_of_its_variables() {
    for field in fields() {
        let text = sample(field.key);
        let wanted = Some(field.kind.parse(text).unwrap());
        assert_ne!(
            (field.read)(&Config::default()),
            wanted,
            "{}: sample is the default",
            field.key
        );

        let mut config = Config::default();
        config.set(field.key, text).unwrap();
        assert_eq!((field.read)(&config), wanted, "{} by code", field.key);
        assert_eq!(config.get(field.key).unwrap().source, Source::Code);
        let others = config.show().into_iter().filter(|shown| shown.key != field.key);
        assert_eq!(others.filter(|shown| shown.source != Source::Default).count(), 0);

        // Some keys are refused without others.
        let sentinels = ("redis.sentinels", "CACHE_REDIS_SENTINELS", "a:1");
        let master = ("redis.sentinel_master", "CACHE_REDIS_SENTINEL_MASTER", "m");
        let password = ("redis.sentinel_password", "CACHE_REDIS_SENTINEL_PASSWORD", "p");
        let plan = ("rollout.plan", "CACHE_ROLLOUT_PLAN", "/p");
        let journal = ("rollout.journal", "CACHE_ROLLOUT_JOURNAL", "/j");
        let instance = ("rollout.instance", "CACHE_ROLLOUT_INSTANCE", "a");
        let needs: &[_] = match field.key {
            "redis.username" => &[("redis.password", "REDIS_PASSWORD", "p")],
            "redis.older_seal_keys" => &[("redis.seal_key", "CACHE_REDIS_SEAL_KEY", SEAL_KEY)],
            "redis.replica_reads" => &[("redis.replicas", "CACHE_REDIS_REPLICAS", "a:1")],
            "redis.replicas" => &[("redis.replica_reads", "CACHE_REDIS_REPLICA_READS", "true")],
            "redis.nodes" => &[("redis.cluster", "CACHE_REDIS_CLUSTER", "true")],
            "redis.tls_certificate" => &[("redis.tls_key", "CACHE_REDIS_TLS_KEY", "/k")],
            "redis.tls_key" => &[("redis.tls_certificate", "CACHE_REDIS_TLS_CERTIFICATE", "/c")],
            "freshness.stale_if_error" | "freshness.stale_while_revalidate" => {
                &[("default_ttl", "CACHE_DEFAULT_TTL", "60s")]
            }
            "freshness.failure_backoff_most" => {
                &[("freshness.failure_backoff", "CACHE_FRESHNESS_FAILURE_BACKOFF", "1s")]
            }
            "serve.token" => &[("serve.address", "CACHE_SERVE_ADDRESS", "localhost:0")],
            "monitoring.otlp.headers"
            | "monitoring.otlp.period"
            | "monitoring.otlp.timeout"
            | "monitoring.otlp.ca_file" => {
                &[("monitoring.otlp.enabled", "CACHE_MONITORING_OTLP_ENABLED", "true")]
            }
            "rollout.plan" => &[journal, instance],
            "rollout.journal" => &[plan, instance],
            "rollout.of_store" => &[instance],
            "rollout.instance" => &[plan, journal],
            "traffic_split.old_system" | "traffic_split.old_tiering" => {
                &[("traffic_split.new_system", "CACHE_TRAFFIC_SPLIT_NEW_SYSTEM", "5%")]
            }
            "redis.sentinels" => &[master],
            "redis.sentinel_master" => &[sentinels],
            "redis.sentinel_password" => &[sentinels, master],
            "redis.sentinel_username" => &[sentinels, master, password],
            _ => &[],
        };
        let more: String =
            needs.iter().map(|(key, _, text)| format!("\n{key}: '{text}'")).collect();
        let config = Config::from_text(&format!("{}: \"{text}\"{more}", field.key)).unwrap();
        assert_eq!((field.read)(&config), wanted, "{} by file", field.key);

        for name in field.variables() {
            let mut variables = vec![(name.as_str(), text)];
            variables.extend(needs.iter().map(|(_, name, text)| (*name, *text)));
            let config = env(&variables).unwrap();
            assert_eq!((field.read)(&config), wanted, "{} by {name}", field.key);
            assert_eq!(config.get(field.key).unwrap().source, Source::Environment { name });
        }
    }
}

#[test]
fn what_is_shown_can_be_set_again() {
    for field in fields().filter(|field| !field.kind.is_secret()) {
        let mut config = Config::default();
        config.set(field.key, sample(field.key)).unwrap();
        let shown = config.get(field.key).unwrap().value;
        let mut again = Config::default();
        again.set(field.key, &shown).unwrap();
        assert_eq!((field.read)(&again), (field.read)(&config), "{}", field.key);
    }
}

#[test]
fn code_wins_over_the_environment_over_the_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.yaml");
    fs::write(&path, "service: from-file\ntiering: L1L2\n\nmemory:\n  max_entries: 1000\n")
        .unwrap();
    let variables = [("CACHE_TIERING", "L1L2L3"), ("CACHE_MEMORY_MAX_ENTRIES", "2000")];
    let mut config = Config::load_with(Some(&path), variables).unwrap();
    config.set("memory.max_entries", "3000").unwrap();

    assert_eq!(config.service, "from-file");
    assert_eq!(config.tiering, Tiering::L1L2L3);
    assert_eq!(config.memory.max_entries, Some(3000));
    assert_eq!(config.shared.max_entries, 100_000);
    let sources: Vec<String> = ["service", "tiering", "memory.max_entries", "shared.max_entries"]
        .iter()
        .map(|key| config.get(key).unwrap().source.to_string())
        .collect();
    let file = format!("file {}:1", path.display());
    assert_eq!(sources, [file.as_str(), "env CACHE_TIERING", "code", "default"]);
}

#[test]
fn a_field_that_code_writes_to_is_shown_as_code() {
    let mut config = env(&[("CACHE_MEMORY_MAX_ENTRIES", "2000")]).unwrap();
    config.memory.max_entries = Some(7);
    config.service = "orders".to_owned();
    assert_eq!(config.get("memory.max_entries").unwrap().source, Source::Code);
    assert_eq!(config.get("service").unwrap().source, Source::Code);
    config.memory.max_entries = None;
    assert_eq!(config.get("memory.max_entries").unwrap().source, Source::Code);
}

#[test]
fn metrics_are_on_outside_development_unless_said_otherwise() {
    assert!(!env(&[]).unwrap().exposes_metrics());
    let config = env(&[("NODE_ENV", "staging")]).unwrap();
    assert!(config.exposes_metrics());
    assert_eq!(config.get("metrics_enabled").unwrap().value, "true");
    assert!(
        !env(&[("NODE_ENV", "production"), ("CACHE_METRICS_ENABLED", "no")])
            .unwrap()
            .exposes_metrics()
    );
}

#[test]
fn unknown_keys_are_told_the_nearest() {
    for (text, near) in [
        ("memory: {max_entires: 5}", "memory.max_entries"),
        ("max_entries: 5", "memory.max_entries"),
        ("tier: L1", "tiering"),
        ("redis: {hostname: x}", "redis.host"),
        ("cache_confg: {capacity: 5}", "cache_config"),
        ("memory: {max_entries: {a: 5}}", "memory.max_entries"),
        ("shared.dir: /run", "shared.directory"),
        ("? [a]\n: 5", ""),
    ] {
        holds(&refused(Config::from_text(text)), &[near]);
    }
    holds(&refused(Config::default().set("memory.max", "5")), &["no such key", "memory.max_"]);
    holds(&refused(Config::default().get("")), &["no such key"]);
}

#[test]
fn values_that_do_not_go_together_are_refused_with_both_sources() {
    for (text, parts) in [
        (
            format!("redis: {{older_seal_keys: '{SEAL_KEY}'}}").as_str(),
            ["redis.older_seal_keys = ***", "redis.seal_key"],
        ),
        ("redis: {username: me}", ["redis.username = me", "redis.password = none"]),
        ("shared: {directory: /run/a, name: b}", ["shared.directory", "shared.name = b"]),
        ("redis: {database: 1, url: 'redis://h'}", ["redis.url", "redis.database = 1"]),
        ("redis: {tls: true, unix: /run/r}", ["redis.unix", "redis.tls = true"]),
        ("redis: {host: h, unix: /run/r}", ["redis.unix", "redis.host = h"]),
        ("redis: {host: h, url: 'redis://h'}", ["redis.url", "redis.host"]),
        ("redis: {tls: true, url: 'redis://h'}", ["redis.url = redis://h", "redis.tls"]),
        ("redis: {database: 1, url: 'redis://h/2'}", ["redis.url", "redis.database"]),
        ("redis: {password: p, url: 'redis://:p@h'}", ["redis.url", "redis.password = ***"]),
        (
            "shared: {max_value_bytes: 2MB, max_bytes: 1MB}",
            ["shared.max_value_bytes", "shared.max_bytes"],
        ),
    ] {
        let message = refused(Config::from_text(text));
        holds(&message, &parts);
        assert!(message.contains("text:1"), "{message}");
    }
    for text in [
        "redis: {tls: true, url: 'rediss://h'}",
        "redis: {tls: false, url: 'redis://h'}",
        "redis: {password: p, url: 'redis://h'}",
        "redis: {database: 3, unix: /run/r}",
        "redis: {username: me, url: 'redis://:p@h'}",
    ] {
        Config::from_text(text).unwrap();
    }
}

#[test]
fn ranges_hold_for_fields_that_code_writes_to() {
    let mut config = Config::default();
    config.memory.max_entries = Some(0);
    config.memory.max_bytes = Some(0);
    holds(&refused(config.check()), &["memory.max_entries = \"0\" (code)", "from 1"]);
    config.memory.max_entries = None;
    holds(&refused(config.check()), &["memory.max_bytes = \"0B\" (code)"]);
    config.memory = MemorySection { shards: Some(3), ..MemorySection::default() };
    holds(&refused(config.check()), &["memory.shards = \"3\"", "power of two"]);
    config.memory.shards = None;
    config.shared.directory = Some("relative".into());
    holds(&refused(config.check()), &["shared.directory", "absolute"]);
}

#[test]
fn the_bound_of_l1_is_64_mib_only_when_neither_is_given() {
    let bound = |text| Config::from_text(text).unwrap().get("memory.max_bytes").unwrap().value;
    assert_eq!(bound(""), "64MiB");
    assert_eq!(bound("memory: {max_entries: 5}"), "none");
    assert_eq!(bound("memory: {max_entries: 5, max_bytes: 1MB}"), "1MiB");
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    let table = reference();
    for field in fields() {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{}` |", field.key)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", field.key));
        assert!(field.variables().iter().all(|name| row.contains(&format!("`{name}`"))), "{row}");
        assert_eq!(row.matches(" | ").count(), 4, "{row}");
    }
    for (key, ..) in super::watching::LISTS {
        assert!(table.contains(&format!("| `{key}` | files only |")), "{key}");
    }
    assert!(table.contains("`REDIS_PASSWORD_FILE`"));
}
