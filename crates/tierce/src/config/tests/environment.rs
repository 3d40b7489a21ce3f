//! Which variables are read, and which are told to be wrong.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use super::*;

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
fn replicas_are_read_where_somebody_names_them_and_changes_are_followed() {
    let (reads, replicas) =
        (("CACHE_REDIS_REPLICA_READS", "true"), ("CACHE_REDIS_REPLICAS", "a:1"));
    let config = env(&[reads, replicas]).unwrap();
    let redis = &config.redis;
    assert_eq!((redis.replica_reads, redis.replicas.as_deref()), (true, Some("a:1")));
    let cluster = ("CACHE_REDIS_CLUSTER", "true");
    assert!(env(&[reads, cluster]).unwrap().redis.replica_reads);
    holds(&refused(env(&[reads])), &["redis.replica_reads = true", "must be named"]);
    holds(&refused(env(&[replicas])), &["redis.replicas = a:1", "to be read"]);
    holds(&refused(env(&[reads, replicas, cluster])), &["redis.replicas", "redis.cluster"]);
    let deaf = ("CACHE_REDIS_COHERENCE", "false");
    holds(&refused(env(&[reads, replicas, deaf])), &["redis.replica_reads", "redis.coherence"]);
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
