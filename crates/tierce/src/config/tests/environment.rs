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
