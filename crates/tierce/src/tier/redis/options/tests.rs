//! Each rule of the options, and that no text shows a secret.

use std::time::Duration;

use super::*;
use crate::{codec::Compression, error::ErrorKind};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

fn message(options: RedisOptions) -> String {
    match options.check() {
        Ok(_) => panic!("was accepted"),
        Err(error) => error.to_string(),
    }
}

fn watched(sentinels: &str) -> RedisOptions {
    RedisOptions::new().sentinels(sentinels).sentinel_master("shop")
}

#[test]
fn sentinels_are_addresses_apart_by_commas() {
    let settings = watched("a:1, [::1]:2,[::2],b").check().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        settings.place.to_string(),
        "master shop of the sentinels a:1, [::1]:2, [::2]:26379, b:26379"
    );
}

#[test]
fn nodes_of_a_cluster_are_a_list_or_the_one_server() {
    let place = |options: RedisOptions| {
        options.cluster(true).check().unwrap_or_else(|e| panic!("{e}")).place.to_string()
    };
    let new = RedisOptions::new;
    assert_eq!(place(new().nodes("a:1,b")), "the cluster of a:1, b:6379");
    assert_eq!(place(new().url("redis://u:p@h:7/0")), "the cluster of h:7");
    assert_eq!(place(new().host("h")), "the cluster of h:6379");
}

#[test]
fn each_wrong_option_is_named_with_its_rule() {
    let new = RedisOptions::new;
    for (options, part) in [
        (new().port(0), "redis.port = 0"),
        (new().host(""), "redis.host"),
        (new().host("a b"), "redis.host"),
        (new().prefix(""), "redis.prefix"),
        (new().prefix("a{b"), "braces"),
        (new().prefix("a b"), "blanks"),
        (new().prefix("x".repeat(65)), "64 bytes"),
        (new().queue(0), "redis.queue = 0"),
        (new().max_value_bytes(0), "redis.max_value_bytes = 0"),
        (new().max_value_bytes(512 << 20), "redis.max_value_bytes"),
        (new().compress_above(512 << 20), "redis.compress_above"),
        (new().older_seal_keys(KEY), "needs a seal_key"),
        (new().ledger_keys(0), "redis.ledger_keys = 0"),
        (new().read_timeout(Duration::ZERO), "redis.read_timeout"),
        (new().write_timeout(Duration::MAX), "redis.write_timeout"),
        (new().connect_timeout(Duration::from_nanos(1)), "redis.connect_timeout"),
        (new().heartbeat(Duration::ZERO), "redis.heartbeat"),
        (new().heartbeat(Duration::from_secs(61)), "redis.heartbeat"),
        (new().staleness_bound(Duration::from_secs(3)), "two heartbeats (4s)"),
        (new().staleness_bound(Duration::MAX), "redis.staleness_bound"),
        (new().write_delay(Duration::ZERO), "redis.write_delay"),
        (new().write_delay(Duration::from_secs(61)), "redis.write_delay"),
        (new().flush_timeout(Duration::MAX), "redis.flush_timeout"),
        (new().database(-1), "redis.database = -1"),
        (new().username("u"), "needs a password"),
        (new().unix_path(""), "redis.unix_path"),
        (new().unix_path("/s").port(1), "not together"),
        (new().url("redis://h").host("h"), "not together"),
        (new().url("http://h"), "redis.url"),
        (new().url("h:6379"), "redis.url"),
        (new().url("redis://"), "redis.url"),
        (new().url("redis://h:99999"), "redis.url"),
        (new().url("rediss://h/#insecure"), "fragment"),
        (new().url("rediss://h").tls(false), "contradicts"),
        (new().tls_ca_file("/ca"), "tls is off"),
        (new().tls_certificate("/c"), "needs a tls_key"),
        (new().tls_key("/k"), "needs a tls_certificate"),
        (new().tls_certificate("/c").tls_key("/k"), "tls_certificate: set, but tls is off"),
        (new().replica_reads(true), "needs replicas, sentinels or a cluster"),
        (new().replicas("a:1"), "need replica_reads = true"),
        (new().replica_reads(true).replicas(""), "redis.replicas"),
        (watched("a:1").replica_reads(true).replicas("b:1"), "not together"),
        (
            new().replica_reads(true).replicas("a:1").coherence(false),
            "replica_reads = true: needs coherence",
        ),
        (new().sentinels("a:1"), "need a sentinel_master"),
        (new().sentinel_master("m"), "sentinel_master: needs sentinels"),
        (new().sentinel_password("p"), "sentinel_password: needs sentinels"),
        (watched("a:1").sentinel_username("u"), "needs a sentinel_password"),
        (watched("a:1").sentinel_master("my master"), "without blanks"),
        (watched("a:1").sentinel_master(""), "sentinel_master = \"\""),
        (watched("a:1").host("h"), "sentinels: not together"),
        (watched("a:1").url("redis://h"), "sentinels: not together"),
        (watched(""), "redis.sentinels = \"\""),
        (watched("a:1,"), "apart by commas"),
        (watched("a:0"), "apart by commas"),
        (watched("a:99999"), "apart by commas"),
        (watched("redis://a"), "apart by commas"),
        (watched("::1"), "apart by commas"),
        (watched(&"a,".repeat(33)), "1 to 32"),
        (watched("a:1").cluster(true), "not together with sentinels"),
        (new().nodes("a:1"), "nodes: need cluster"),
        (new().cluster(true).nodes("a:x"), "redis.nodes = \"a:x\""),
        (new().cluster(true).nodes("a").host("b"), "nodes: not together"),
        (new().cluster(true).unix_path("/s"), "unix socket"),
        (new().cluster(true).database(1), "database: must be 0"),
        (new().cluster(true).url("redis://h/1"), "database 0"),
    ] {
        let message = message(options);
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

#[test]
fn urls_say_where_and_who() {
    let check = |url: &str| RedisOptions::new().url(url).check().unwrap_or_else(|e| panic!("{e}"));
    let full = check("redis://ann:s%40crt@cache.example:6380/3");
    assert_eq!(full.place.to_string(), "cache.example:6380");
    assert_eq!(full.username.as_deref(), Some("ann"));
    assert_eq!(full.password.as_deref(), Some("s@crt"));
    assert_eq!((full.database, full.tls), (3, false));
    assert_eq!(check("redis://[::1]").place.to_string(), "[::1]:6379");
    assert_eq!(check("unix:///run/r.sock?db=2").place.to_string(), "/run/r.sock");
    let won = RedisOptions::new().url("redis://h/1").database(5).password("p").check();
    let won = won.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((won.database, won.password.as_deref()), (5, Some("p")));
}

#[test]
fn tls_is_spoken_or_refused_but_never_dropped() {
    for options in
        [RedisOptions::new().tls(true), RedisOptions::new().url("rediss://cache.example")]
    {
        let outcome = options.check();
        let spoken = outcome.as_ref().is_ok_and(|settings| settings.tls);
        let refused = outcome.is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        assert_eq!((spoken, refused), (cfg!(feature = "tls"), !cfg!(feature = "tls")));
    }
    assert!(message(RedisOptions::new().unix_path("/s").tls(true)).contains("unix socket"));
}

#[test]
fn what_a_build_lacks_is_refused_and_never_left_out() {
    for kind in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let outcome = RedisOptions::new().compression(kind).check();
        match outcome {
            Ok(settings) => assert_eq!(settings.envelope.compression, kind),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
    }
    let outcome = RedisOptions::new().seal_key(KEY).check();
    let sealed = outcome.as_ref().is_ok_and(|settings| settings.envelope.seal_keys.is_some());
    let refused = outcome.is_err_and(|error| error.kind() == ErrorKind::Unsupported);
    assert_eq!((sealed, refused), (cfg!(feature = "seal"), !cfg!(feature = "seal")));
}

#[cfg(feature = "seal")]
#[test]
fn a_seal_key_is_64_hex_digits_and_no_message_repeats_it() {
    for wrong in ["", "abc", &KEY[1..], &KEY.replace('e', "g"), &format!("{KEY}00")] {
        let new = RedisOptions::new();
        for (options, name) in [
            (new.clone().seal_key(wrong), "redis.seal_key"),
            (new.seal_key(KEY).older_seal_keys(format!("{KEY},{wrong}")), "redis.older_seal_keys"),
        ] {
            if wrong.is_empty() && name.contains("older") {
                assert!(options.check().is_ok(), "a comma at the end is no key");
                continue;
            }
            assert!(!format!("{options:?}").contains("00010203"), "{options:?}");
            let message = message(options);
            assert!(message.contains(name) && message.contains("64 hex"), "{message}");
            assert!(!message.contains("00010203"), "{message}");
        }
    }
    let spaced = RedisOptions::new().seal_key(format!(" {KEY}\n"));
    assert!(spaced.older_seal_keys(format!("{KEY}, {KEY}\n{KEY}")).check().is_ok());
}

#[test]
fn secrets_are_in_no_text() {
    let options = RedisOptions::new().username("ann").password("hush");
    assert!(!format!("{options:?}").contains("hush"));
    let options = watched("a").sentinel_username("ann").sentinel_password("hush");
    assert!(!format!("{options:?}").contains("hush") && !format!("{options:?}").contains("ann"));
    for url in ["redis://ann:hush@h:notaport", "redis://ann:hush@", "hush://ann:hush@h"] {
        let options = RedisOptions::new().url(url);
        assert!(!format!("{options:?}").contains("hush"));
        assert!(!message(options).contains("hush"), "{url}");
    }
}
