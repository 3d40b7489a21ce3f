use std::time::Duration;

use super::*;

#[test]
fn freshness_is_read_from_files_and_the_environment_and_reaches_the_cache() {
    let text = "default_ttl: 60s\nfreshness:\n  ttl_jitter_percent: 5\n  stale_if_error: 1h\n  \
                stale_while_revalidate: 10s\n  negative_ttl: 5s\n  refresh_ahead_percent: 80\n  \
                soft_timeout: 100ms\n  hard_timeout: 5s\n  failure_backoff: 1s\nload:\n  threads: 2\n";
    let config = Config::from_text(text).unwrap();
    let section = &config.freshness;
    assert_eq!(section.stale_if_error, Some(Duration::from_secs(3600)));
    assert_eq!(section.refresh_ahead_percent, Some(80));
    assert_eq!(config.load.threads, 2);
    let built = format!("{:?}", config.builder().unwrap());
    let expected = crate::Freshness::new()
        .ttl(Duration::from_secs(60))
        .ttl_jitter(0.05)
        .stale_if_error(Duration::from_secs(3600))
        .stale_while_revalidate(Duration::from_secs(10))
        .negative_ttl(Duration::from_secs(5))
        .refresh_ahead(crate::RefreshAhead::After(0.8))
        .soft_timeout(Duration::from_millis(100))
        .hard_timeout(Duration::from_secs(5))
        .failure_backoff(Duration::from_secs(1), Duration::from_secs(30));
    assert!(built.contains(&format!("{expected:?}")), "{built}");
    let variables = [("CACHE_DEFAULT_TTL", "1m"), ("CACHE_FRESHNESS_STALE_IF_ERROR", "2h")];
    let config = Config::from_env_vars(variables).unwrap();
    assert_eq!(config.freshness.stale_if_error, Some(Duration::from_secs(7200)));
}

#[test]
fn freshness_that_cannot_be_is_refused_with_both_keys() {
    for (text, keys) in [
        ("freshness: {stale_if_error: 1h}", ["freshness.stale_if_error", "default_ttl"]),
        (
            "freshness: {soft_timeout: 5s, hard_timeout: 5s}",
            ["freshness.soft_timeout", "freshness.hard_timeout"],
        ),
        (
            "freshness: {failure_backoff: 5s, failure_backoff_most: 1s}",
            ["freshness.failure_backoff", "freshness.failure_backoff_most"],
        ),
        (
            "freshness: {failure_backoff_most: 1s}",
            ["freshness.failure_backoff_most", "freshness.failure_backoff"],
        ),
    ] {
        let message = Config::from_text(text).unwrap_err().to_string();
        assert!(keys.iter().all(|key| message.contains(key)), "{message}");
    }
}

#[test]
fn a_delimiter_of_prefixes_reaches_the_cache() {
    let config = Config::from_text("invalidation: {prefix_delimiter: '/'}").unwrap();
    let cache = config.builder().unwrap().build().unwrap();
    cache.set("a/b", "1".into()).unwrap();
    cache.remove_prefix("a/").unwrap();
    assert_eq!(cache.get("a/b"), None);
    let variables = [("CACHE_INVALIDATION_PREFIX_DELIMITER", ":")];
    let config = Config::from_env_vars(variables).unwrap();
    assert_eq!(config.invalidation.prefix_delimiter.as_deref(), Some(":"));
    for wrong in ["'::'", "''", "'é'"] {
        let text = format!("invalidation: {{prefix_delimiter: {wrong}}}");
        let message = Config::from_text(&text).unwrap_err().to_string();
        let rule = "one character of ASCII";
        assert!(
            message.contains("invalidation.prefix_delimiter") && message.contains(rule),
            "{message}"
        );
    }
}
