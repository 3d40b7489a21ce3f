//! The configuration as its users meet it: files, variables, code, and what they are told.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _};

use super::*;
use crate::config::fields::FIELDS;

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
    for field in FIELDS {
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
        "metrics_enabled" | "redis.tls" | "redis.cluster" => "true",
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
        key if key.ends_with("wait") || key.ends_with("timeout") || key.ends_with("ttl") => "90s",
        _ => "5000",
    }
}

#[test]
fn every_key_is_set_by_code_by_file_and_by_each_of_its_variables() {
    for field in FIELDS {
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
        let needs: &[_] = match field.key {
            "redis.username" => &[("redis.password", "REDIS_PASSWORD", "p")],
            "redis.older_seal_keys" => &[("redis.seal_key", "CACHE_REDIS_SEAL_KEY", SEAL_KEY)],
            "redis.nodes" => &[("redis.cluster", "CACHE_REDIS_CLUSTER", "true")],
            "redis.tls_certificate" => &[("redis.tls_key", "CACHE_REDIS_TLS_KEY", "/k")],
            "redis.tls_key" => &[("redis.tls_certificate", "CACHE_REDIS_TLS_CERTIFICATE", "/c")],
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
    for field in FIELDS.iter().filter(|field| !field.kind.is_secret()) {
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
fn the_blocks_of_the_rollout_guide_work_as_they_stand() {
    let config = env(&[
        ("NODE_ENV", "staging"),
        ("CACHE_TIERING", "L1L2"),
        ("CACHE_ENCORE_MAX_ENTRIES", "100000"),
        ("CACHE_METRICS_ENABLED", "true"),
    ])
    .unwrap();
    assert_eq!(config.environment, Environment::Staging);
    assert_eq!(config.tiering, Tiering::L1L2);
    assert_eq!(config.shared.max_entries, 100_000);
    assert_eq!(config.metrics_enabled, Some(true));

    let config = env(&[
        ("CACHE_TIERING", "L1L2L3"),
        ("REDIS_HOST", "your-redis-cluster.cache.amazonaws.com"),
        ("REDIS_PORT", "6379"),
        ("REDIS_USE_TLS", "true"),
    ])
    .unwrap();
    assert_eq!(config.redis.host, "your-redis-cluster.cache.amazonaws.com");
    assert!(config.redis.tls && config.redis.port == 6379);

    let config = env(&[("CACHE_MEMORY_MAX_ENTRIES", "5000"), ("CACHE_TIERING", "L2")]).unwrap();
    assert_eq!((config.memory.max_entries, config.tiering), (Some(5000), Tiering::L2));
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
fn the_cache_block_of_the_deployment_plan_works_as_it_stands() {
    let block = "cache_config:\n  capacity: 20000              # Increased capacity\n  \
                 max_memory_mb: 200          # Increased memory limit\n  \
                 default_ttl: \"10m\"          # Optimized TTL\n";
    let config = Config::from_text(block).unwrap();
    assert_eq!(config.memory.max_entries, Some(20_000));
    assert_eq!(config.memory.max_bytes, Some(200 * 1_048_576));
    assert_eq!(config.default_ttl, Some(Duration::from_secs(600)));
    let lines: Vec<String> = ["memory.max_entries", "memory.max_bytes", "default_ttl"]
        .iter()
        .map(|key| config.get(key).map(|s| format!("{} {}", s.value, s.source)).unwrap())
        .collect();
    assert_eq!(lines, ["20000 text:2", "200MiB text:3", "10m text:4"]);

    for wrong in ["200MB", "0.5", "-1", "many"] {
        let text = format!("cache_config:\n  max_memory_mb: {wrong}\n");
        holds(
            &refused(Config::from_text(&text)),
            &["cache_config.max_memory_mb", "text:2", "megabytes"],
        );
    }
    let message = refused(Config::from_text("cache_config: {capasity: 5}"));
    holds(&message, &["cache_config.capasity", "capacity", "nearest"]);
    let message =
        refused(Config::from_text("cache_config: {capacity: 5}\nmemory: {max_entries: 6}"));
    holds(&message, &["memory.max_entries = \"6\"", "text:2", "cache_config.capacity"]);
    Config::from_text("cache_config: {capacity: 5}\nmemory: {max_entries: 5}").unwrap();
}

#[test]
fn blocks_that_are_not_built_are_known_by_name() {
    let phase_two = "http2_config:\n  max_connections_per_host: 20\n  idle_timeout: \"90s\"\n\n\
                     cache_config:\n  capacity: 20000\n";
    let error = Config::from_text(phase_two).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    holds(&error.to_string(), &["http2_config", "not supported by this version"]);

    let several = "traffic_split:\n  new_system: 5%\nmonitoring:\n  latency_threshold: 10ms\n\
                   alerts:\n  - name: HighLatency\n    duration: 5m\ndashboards:\n  - system_overview\n\
                   health_check_grace_period: \"60s\"\n";
    let error = Config::from_text(several).unwrap_err().to_string();
    holds(&error, &["traffic_split, monitoring, alerts, dashboards, health_check_grace_period"]);
}

#[test]
fn the_same_settings_read_alike_in_yaml_toml_and_json() {
    let yaml =
        "---\ntiering: L1L2\ndefault_ttl: 90s\nmemory:\n  max_entries: 5000\n  max_bytes: 10MB\n";
    let toml = "tiering = 'L1L2'\ndefault_ttl = '90s'\n[memory]\nmax_entries = 5_000\nmax_bytes = '10MB'\n";
    let json = r#"{"tiering": "L1L2", "default_ttl": "90s",
                   "memory": {"max_entries": 5000, "max_bytes": "10MB"}}"#;
    let values = |text: &str| -> Vec<String> {
        Config::from_text(text).unwrap().show().into_iter().map(|shown| shown.value).collect()
    };
    assert_eq!(values(yaml), values(toml));
    assert_eq!(values(yaml), values(json));
    let line =
        |text| Config::from_text(text).unwrap().get("memory.max_bytes").unwrap().source.to_string();
    assert_eq!([line(yaml), line(toml), line(json)], ["text:6", "text:5", "text"]);

    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.yml", yaml), ("a.toml", toml), ("a.json", json), ("a.conf", toml)] {
        let path = folder.path().join(name);
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let config = Config::from_file(&path).unwrap();
        assert_eq!(config.memory.max_entries, Some(5000), "{name}");
    }
}

#[test]
fn a_bare_number_is_refused_where_a_unit_is_needed() {
    for (key, rule) in
        [("default_ttl", "unit"), ("memory.max_bytes", "unit"), ("load.wait", "unit")]
    {
        let message = refused(Config::from_text(&format!("{key}: 600\n")));
        holds(&message, &[key, "\"600\"", "text:1", rule]);
    }
    let message = refused(env(&[("CACHE_DEFAULT_TTL", "600")]));
    holds(&message, &["default_ttl = \"600\"", "env CACHE_DEFAULT_TTL", "such as 90s"]);
}

#[test]
fn bare_values_are_refused_where_text_is_wanted() {
    for text in ["redis: {password: 007}", "redis: {password: 1e5}", "service: true"] {
        holds(&refused(Config::from_text(text)), &["write it in quotes"]);
    }
    let config = Config::from_text("redis: {password: '007'}").unwrap();
    assert_eq!(config.redis.password.unwrap().expose(), "007");
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
fn unknown_variables_of_ours_are_told_the_nearest_and_foreign_ones_are_left_alone() {
    let message = refused(env(&[("CACHE_MEMORY_MAX_ENTRYS", "5")]));
    holds(&message, &["CACHE_MEMORY_MAX_ENTRYS", "environment", "CACHE_MEMORY_MAX_ENTRIES"]);
    let message = refused(env(&[("CACHE_TEIRING", "L1"), ("CACHE_TIERING", "L1")]));
    holds(&message, &["CACHE_TEIRING", "nearest one is CACHE_TIERING"]);
    let config = env(&[
        ("REDIS_SENTINELS", "a,b"),
        ("PATH", "/bin"),
        ("NODE_OPTIONS", "x"),
        ("cache_x", "5"),
    ]);
    assert!(config.unwrap().show().iter().all(|shown| shown.source == Source::Default));
}

#[test]
fn sentinels_come_with_a_name_and_in_place_of_an_address() {
    let sentinels = ("CACHE_REDIS_SENTINELS", "a:1,b:2");
    let master = ("CACHE_REDIS_SENTINEL_MASTER", "shop");
    let config = env(&[sentinels, master]).unwrap();
    assert_eq!(config.redis.sentinels.as_deref(), Some("a:1,b:2"));
    holds(&refused(env(&[sentinels])), &["redis.sentinels = a:1,b:2", "name of a master"]);
    holds(&refused(env(&[master])), &["redis.sentinel_master = shop", "no sentinels"]);
    let message = refused(env(&[sentinels, master, ("REDIS_HOST", "h")]));
    holds(&message, &["redis.sentinels", "redis.host = h", "only one"]);
    let password = ("CACHE_REDIS_SENTINEL_PASSWORD", "hush");
    let message = refused(env(&[password]));
    holds(&message, &["redis.sentinel_password", "no sentinels"]);
    assert!(!message.contains("hush"));
    let message = refused(env(&[sentinels, master, ("CACHE_REDIS_SENTINEL_USERNAME", "ann")]));
    holds(&message, &["redis.sentinel_username", "both are needed"]);
}

#[test]
fn a_cluster_has_nodes_in_place_of_an_address_and_no_databases() {
    let (cluster, nodes) = (("CACHE_REDIS_CLUSTER", "true"), ("CACHE_REDIS_NODES", "a:1,b:2"));
    let config = env(&[cluster, nodes]).unwrap();
    assert_eq!((config.redis.cluster, config.redis.nodes.as_deref()), (true, Some("a:1,b:2")));
    assert!(env(&[cluster, ("REDIS_HOST", "h")]).unwrap().redis.cluster);
    holds(&refused(env(&[nodes])), &["redis.nodes = a:1,b:2", "redis.cluster = false"]);
    let message = refused(env(&[cluster, nodes, ("REDIS_PORT", "7")]));
    holds(&message, &["redis.nodes", "redis.port = 7", "only one"]);
    let message = refused(env(&[cluster, ("CACHE_REDIS_DATABASE", "3")]));
    holds(&message, &["redis.cluster", "redis.database = 3", "database 0 alone"]);
    let message = refused(env(&[cluster, ("CACHE_REDIS_UNIX", "/s")]));
    holds(&message, &["redis.cluster", "redis.unix = /s", "no socket"]);
}

#[test]
fn two_names_of_one_key_must_agree() {
    let both = |second| {
        env(&[("CACHE_ENCORE_MAX_ENTRIES", "500000"), ("CACHE_SHARED_MAX_ENTRIES", second)])
    };
    assert_eq!(both("500000").unwrap().shared.max_entries, 500_000);
    let message = refused(both("600000"));
    holds(
        &message,
        &["shared.max_entries", "CACHE_SHARED_MAX_ENTRIES", "CACHE_ENCORE_MAX_ENTRIES"],
    );
    let config = env(&[("TIERCE_ENV", "staging"), ("NODE_ENV", "production")]).unwrap();
    assert_eq!(config.environment, Environment::Staging);
    assert_eq!(env(&[("NODE_ENV", "test")]).unwrap().environment, Environment::Development);
    holds(&refused(env(&[("NODE_ENV", "live")])), &["environment = \"live\"", "staging"]);
}

#[test]
fn variables_set_to_nothing_count_as_not_set() {
    let config = env(&[("CACHE_TIERING", ""), ("REDIS_PASSWORD", ""), ("CACHE_TYPO", "")]).unwrap();
    assert!(config.show().iter().all(|shown| shown.source == Source::Default));
}

#[test]
fn variables_that_are_not_utf_8_are_refused_where_they_are_ours() {
    let bad = || OsString::from_vec(vec![0xff, b'1']);
    let message = refused(Config::from_env_vars([(OsString::from("CACHE_TIERING"), bad())]));
    holds(&message, &["CACHE_TIERING", "UTF-8"]);
    Config::from_env_vars([(bad(), bad()), (OsString::from("HOME"), bad())]).unwrap();
}

#[test]
fn messages_do_not_depend_on_the_order_of_the_environment() {
    let mut wrong =
        vec![("CACHE_TIERING", "L9"), ("CACHE_ZZZ", "1"), ("CACHE_AAA", "1"), ("REDIS_PORT", "0")];
    let first = refused(env(&wrong));
    wrong.reverse();
    assert_eq!(refused(env(&wrong)), first);
    holds(&first, &["CACHE_AAA"]);
}

#[test]
fn secrets_are_in_no_output() {
    let secret = "hunter2-secret";
    let mut config = env(&[("REDIS_PASSWORD", secret)]).unwrap();
    assert_eq!(config.redis.password.as_ref().unwrap().expose(), secret);
    let url =
        Config::from_text(&format!("redis: {{url: 'redis://me:{secret}@cache:1/2'}}")).unwrap();
    for config in [&config, &url] {
        let all = format!("{config:?} {config:#?} {:?}", config.show());
        assert!(!all.contains(secret), "{all}");
    }
    assert_eq!(url.get("redis.url").unwrap().value, "redis://***@cache:1/2");

    for error in [
        config.set("redis.url", &format!("http://:{secret}@cache")).unwrap_err(),
        env(&[("REDIS_URL", &format!("redis//:{secret}@cache"))]).unwrap_err(),
        env(&[("REDIS_PASSWORD", secret), ("CACHE_REDIS_PASSWORD", "other")]).unwrap_err(),
        env(&[("REDIS_PASSWORD", secret), ("REDIS_URL", &format!("redis://:{secret}@c"))])
            .unwrap_err(),
        Config::from_text(&format!("redis: {{password: [{secret}]}}")).unwrap_err(),
        Config::from_text(&format!("redis:\n  password: \"{secret}\n")).unwrap_err(),
        Config::from_text(&format!("[redis]\npassword = {secret}\n")).unwrap_err(),
        Config::from_text(&format!("{{\"redis\": {{\"password\": {secret}}}}}")).unwrap_err(),
        Config::from_text(&format!("redis: {{password: *{secret}}}")).unwrap_err(),
    ] {
        let all = format!("{error} {error:?}");
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn seal_keys_are_in_no_output_and_can_be_a_mounted_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let name = path.to_str().unwrap();
    fs::write(&path, format!("{SEAL_KEY}\n{SEAL_KEY}\n")).unwrap();
    let older = ("CACHE_REDIS_OLDER_SEAL_KEYS_FILE", name);
    let config = env(&[("CACHE_REDIS_SEAL_KEY", SEAL_KEY), older]).unwrap();
    assert_eq!(config.redis.seal_key.as_ref().unwrap().expose(), SEAL_KEY);
    assert_eq!(config.redis.older_seal_keys.as_ref().unwrap().expose().len(), 129);
    assert_eq!(config.get("redis.seal_key").unwrap().value, "***");
    let all = format!("{config:?} {:?}", config.show());
    assert!(!all.contains("00010203"), "{all}");

    for (key, text) in [
        ("redis.seal_key", format!("{SEAL_KEY}{SEAL_KEY}")),
        ("redis.seal_key", format!("{SEAL_KEY} {SEAL_KEY}")),
        ("redis.older_seal_keys", format!("{SEAL_KEY},{}", &SEAL_KEY[1..])),
    ] {
        let error = Config::default().set(key, &text).unwrap_err();
        let all = format!("{error} {error:?}");
        assert!(all.contains(key) && !all.contains("00010203"), "{all}");
    }
}

#[test]
fn a_secret_can_be_a_mounted_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let path_text = path.to_str().unwrap();
    for (content, wanted) in
        [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a b \n\n", " a b \n")]
    {
        fs::write(&path, content).unwrap();
        let config = env(&[("REDIS_PASSWORD_FILE", path_text)]).unwrap();
        assert_eq!(config.redis.password.as_ref().unwrap().expose(), wanted);
        let source = config.get("redis.password").unwrap().source;
        assert_eq!(source.to_string(), "env REDIS_PASSWORD_FILE");
    }
    let message = refused(env(&[("REDIS_PASSWORD_FILE", path_text), ("REDIS_PASSWORD", "x")]));
    holds(&message, &["REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "only one"]);
    fs::write(&path, "\n").unwrap();
    holds(&refused(env(&[("REDIS_PASSWORD_FILE", path_text)])), &["not empty"]);
    fs::write(&path, vec![b'x'; 70_000]).unwrap();
    holds(&refused(env(&[("REDIS_PASSWORD_FILE", path_text)])), &["64 KiB"]);
    fs::remove_file(&path).unwrap();
    holds(
        &refused(env(&[("REDIS_PASSWORD_FILE", path_text)])),
        &["REDIS_PASSWORD_FILE", "password"],
    );
    holds(&refused(env(&[("CACHE_TIERING_FILE", "/x")])), &["CACHE_TIERING_FILE", "no such"]);
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
fn files_that_are_no_configuration_are_refused_and_never_panic() {
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let deep_yaml = format!("a: {}", "[".repeat(20_000));
    let laughs = (1..12).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 12].join(", "))
    });
    for text in [
        "5",
        "- a\n- b",
        "just words",
        "{",
        "{]",
        "[a",
        "a = ",
        "a: b: c",
        "\t",
        "memory:\n\tmax_entries: 5",
        "{\"service\": \"a\", \"service\": \"a\"}",
        "service: a\nservice: b",
        "service = 'a'\nservice = 'b'",
        "tiering:\n",
        "memory: {max_entries: }",
        "memory: {max_entries: [5]}",
        "memory: 5",
        "tiering: L1\n---\ntiering: L2",
        "[[memory]]\nmax_entries = 5",
        "default_ttl = 1979-05-27",
        "memory: {max_entries: 5.0}",
        "memory: {max_entries: -5}",
        "memory: {max_entries: .nan}",
        "memory: {max_entries: 99999999999999999999}",
        "!!binary x: y",
        "\u{0}",
        &deep,
        &deep_yaml,
        &laughs,
    ] {
        if text.trim().is_empty() {
            continue;
        }
        let cut: String = text.chars().take(60).collect();
        let Err(error) = Config::from_text(text) else { panic!("{cut:?} is taken") };
        assert_eq!(error.kind(), ErrorKind::Config, "{cut:?}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for text in ["", "\n\n", "# nothing\n", "---\n# nothing", "{}", "memory:\n", "cache_config:\n"]
    {
        let config = Config::from_text(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(config.show().iter().all(|shown| shown.source == Source::Default));
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.yaml");
    let error = Config::from_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    holds(&error.to_string(), &["cache.yaml", "cannot be read"]);
    assert_eq!(Config::from_file(folder.path()).unwrap_err().kind(), ErrorKind::Io);
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    holds(&refused(Config::from_file(&path)), &["1 MiB"]);
    fs::write(&path, [b'a', 0xff]).unwrap();
    holds(&refused(Config::from_file(&path)), &["UTF-8"]);
    fs::write(&path, "tiering: L1\nmemory:\n  max_entries: 0\n").unwrap();
    let message = refused(Config::from_file(&path));
    holds(&message, &["memory.max_entries = \"0\"", &format!("file {}:3", path.display())]);
}

#[test]
fn random_text_never_panics() {
    let seed = 11;
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "memory",
        "max_entries",
        "tiering",
        ":",
        " ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "=",
        "'",
        "\"",
        "5",
        "10m",
        "L1L2",
        "&a",
        "*a",
        "!",
        "|",
        ">",
        "-",
        "#",
        ",",
        "\u{feff}",
        "é",
        "\0",
        "<<",
        "redis.url",
    ];
    for _ in 0..3000 {
        let text: String =
            (0..random.usize(0..24)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        for syntax in [Syntax::Yaml, Syntax::Toml, Syntax::Json] {
            let result = Config::default().apply_text(&text, None, syntax);
            drop(result);
        }
        let _ = Config::from_text(&text);
    }
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    let table = reference();
    for field in FIELDS {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{}` |", field.key)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", field.key));
        assert!(field.variables().iter().all(|name| row.contains(&format!("`{name}`"))), "{row}");
        assert_eq!(row.matches(" | ").count(), 4, "{row}");
    }
    assert!(table.contains("`REDIS_PASSWORD_FILE`"));
}
