//! What others put under our names, and what the server refuses.

use std::{thread, time::Duration};

use bytes::Bytes;

use super::{
    lasting, miss, record,
    server::{Server, wait_until},
    value,
};
use crate::{
    codec::envelope,
    error::{Error, ErrorKind},
    tier::{
        Fill, Record, RemoteTier, Tier, Token,
        redis::{RedisRefusal, Way},
    },
};

fn set(raw: &mut redis::Connection, name: &[u8], value: &[u8]) {
    () = redis::cmd("SET").arg(name).arg(value).query(raw).unwrap();
}

fn refusal(error: &Error) -> Option<RedisRefusal> {
    error.cause::<RedisRefusal>().copied()
}

#[test]
fn foreign_damaged_and_misplaced_values_are_misses_and_heal() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let names = tier.names(b"k");
    tier.write(b"k", &record("good")).unwrap();
    tier.write(b"other", &record("theirs")).unwrap();
    let get = |raw: &mut redis::Connection, name: &[u8]| -> Vec<u8> {
        redis::cmd("GET").arg(name).query(raw).unwrap()
    };
    let good = get(&mut raw, &names.data);
    let other = get(&mut raw, &tier.names(b"other").data);
    let body = envelope::HEAD_BYTES;
    let spoilt = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    // Another key's body under this stripe's own epoch.
    let moved = [&good[..body], &other[body..]].concat();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("zeros", vec![0; good.len()]),
        ("only the head", good[..body].to_vec()),
        ("all but the last byte", good[..good.len() - 1].to_vec()),
        ("a byte more", [&good[..], b"!"].concat()),
        ("another epoch's digits", spoilt(15)),
        ("another version", spoilt(body + 4)),
        ("a flipped bit of the value", spoilt(good.len() - 9)),
        ("another key's record", moved),
        ("a hostile length", {
            let mut bytes = good.clone();
            bytes[body + 12..body + 16].fill(0xff);
            bytes
        }),
    ];
    for (number, (what, bytes)) in bad.iter().enumerate() {
        set(&mut raw, &names.data, bytes);
        let corrupt = tier.statistics().corrupt;
        let token = miss(&tier, b"k");
        assert_eq!(tier.statistics().corrupt, corrupt + 1, "{what} is counted");
        // Neither adopted nor in the way for ever.
        let fresh = format!("fresh {number}");
        assert_eq!(tier.fill(b"k", &record(fresh.clone()), token).unwrap(), Fill::Stored, "{what}");
        assert_eq!(value(&tier, b"k"), Some(Bytes::from(fresh)), "{what}");
    }
    for bytes in (0..good.len()).map(|length| &good[..length]) {
        set(&mut raw, &names.data, bytes);
        assert_eq!(value(&tier, b"k"), None, "{} bytes of {}", bytes.len(), good.len());
    }
    set(&mut raw, &names.data, &good);
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"good")));
}

#[test]
fn values_of_another_type_are_misses_and_replaced() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let names = tier.names(b"k");
    let mut put_list = || {
        () = redis::cmd("DEL").arg(&names.data).query(&mut raw).unwrap();
        () = redis::cmd("LPUSH").arg(&names.data).arg("x").query(&mut raw).unwrap();
    };
    put_list();
    let token = miss(&tier, b"k");
    assert_eq!(tier.statistics().corrupt, 1);
    assert_eq!(tier.fill(b"k", &record("v"), token).unwrap(), Fill::Stored);
    put_list();
    tier.write(b"k", &record("w")).unwrap();
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"w")));
    put_list();
    tier.remove(b"k").unwrap();
    miss(&tier, b"k");
    assert_eq!(tier.statistics().corrupt, 1);
}

#[test]
fn scripts_that_the_server_forgot_are_sent_again() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let mut forget = || () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut raw).unwrap();
    let token = miss(&tier, b"k");
    forget();
    assert_eq!(tier.fill(b"k", &record("a"), token).unwrap(), Fill::Stored);
    forget();
    tier.write(b"k", &record("b")).unwrap();
    forget();
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"b")));
    tier.clear().unwrap();
    forget();
    tier.write(b"k", &record("c")).unwrap();
    forget();
    tier.remove(b"k").unwrap();
    assert_eq!(value(&tier, b"k"), None);
}

#[test]
fn full_server_drops_writes_but_takes_removals() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    for key in [b"a", b"b", b"c"] {
        tier.write(key, &record("old")).unwrap();
    }
    let token = miss(&tier, b"filled");
    let mut limit = |bytes: &str| {
        () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query(&mut raw).unwrap();
    };
    limit("1");
    assert_eq!(value(&tier, b"a"), Some(Bytes::from_static(b"old")), "reads go on");
    let error = tier.write(b"a", &record("new")).unwrap_err();
    assert_eq!((error.kind(), refusal(&error)), (ErrorKind::Full, Some(RedisRefusal::OutOfMemory)));
    assert_eq!(value(&tier, b"a"), None, "the older value does not outlive the write");
    assert_eq!(tier.fill(b"filled", &record("v"), token).unwrap(), Fill::Dropped);

    let stale = tier.read(b"b").unwrap().token.unwrap();
    tier.remove(b"b").unwrap();
    assert_eq!(value(&tier, b"b"), None);
    tier.clear().unwrap();
    assert_eq!(value(&tier, b"c"), None);
    // The epochs were raised or lost; a key without counters is a miss without a licence to fill.
    limit("0");
    assert_eq!(tier.fill(b"b", &record("old"), stale).unwrap(), Fill::Refused);
    let token = miss(&tier, b"b");
    assert_eq!(tier.fill(b"b", &record("new"), token).unwrap(), Fill::Stored);
}

#[test]
fn full_server_without_our_counters_is_a_miss_without_a_token() {
    let server = Server::with(&["--maxmemory", "1"]);
    let tier = server.tier();
    let found = tier.read(b"k").unwrap();
    assert_eq!((found.record, found.token), (None, None));
    tier.remove(b"k").unwrap();
    tier.clear().unwrap();
}

#[test]
fn evicting_server_gives_right_values_or_none() {
    let seed = 0xe71c;
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::with(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"]);
    let tier = server.tier();
    let (mut hits, mut misses) = (0, 0);
    for round in 0..4000_u32 {
        let key = random.u32(0..500).to_le_bytes();
        if random.bool() {
            // Self-describing, and large enough that the server must evict, counters included.
            let mut bytes = key.to_vec();
            bytes.resize(20_000, key[0]);
            match tier.write(&key, &record(bytes)) {
                Ok(_) => {}
                Err(error) => assert_eq!(refusal(&error), Some(RedisRefusal::OutOfMemory)),
            }
        } else {
            match value(&tier, &key) {
                None => misses += 1,
                Some(bytes) => {
                    hits += 1;
                    assert_eq!(bytes[..4], key, "seed {seed:#x}, round {round}");
                    assert_eq!(bytes.len(), 20_000, "seed {seed:#x}, round {round}");
                }
            }
        }
    }
    assert!(hits > 100 && misses > 100, "{hits} hits, {misses} misses");
    assert_eq!(tier.statistics().corrupt, 0);
}

#[test]
fn replica_takes_no_change_and_serves_reads() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    let mut raw = server.raw();
    let nowhere = server.folder().join("none").display().to_string();
    () = redis::cmd("REPLICAOF").arg(nowhere).arg(1).query(&mut raw).unwrap();
    let found = tier.read(b"k").unwrap();
    assert!(found.record.is_some());
    let token = found.token.unwrap();
    for error in [
        tier.write(b"k", &record("w")).unwrap_err(),
        tier.remove(b"k").unwrap_err(),
        tier.clear().unwrap_err(),
        tier.fill(b"none", &record("w"), Token { ..token }).err().unwrap_or_else(|| {
            // Another stripe: refused by the token before anything is written.
            tier.write(b"none", &record("w")).unwrap_err()
        }),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(refusal(&error), Some(RedisRefusal::ReadOnly), "{error}");
    }
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
    assert_eq!(tier.statistics().connects, 1, "an error reply leaves the connection good");
    assert!(tier.statistics().refusals >= 4);
}

#[test]
fn server_that_cannot_save_takes_no_change() {
    let server = Server::with(&["--enable-protected-configs", "yes"]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    let mut raw = server.raw();
    let gone = server.folder().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let mut config = |name: &str, value: &str| {
        () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut raw).unwrap();
    };
    config("dir", &gone.display().to_string());
    config("save", "3600 1");
    std::fs::remove_dir(&gone).unwrap();
    _ = redis::cmd("BGSAVE").exec(&mut raw);
    wait_until("a failed save", || {
        let mut raw = server.raw();
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut raw).unwrap();
        info.contains("rdb_last_bgsave_status:err")
    });
    let error = tier.write(b"k", &record("w")).unwrap_err();
    assert_eq!(refusal(&error), Some(RedisRefusal::CannotPersist), "{error}");
    let error = tier.remove(b"k").unwrap_err();
    assert_eq!(refusal(&error), Some(RedisRefusal::CannotPersist), "{error}");
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
}

#[test]
fn server_busy_with_a_script_is_an_error_and_not_a_lost_connection() {
    let server = Server::with(&["--lua-time-limit", "20"]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    let mut blocked = server.raw();
    // Not joined before the script was killed, or the server with it when the test fails.
    let script = thread::spawn(move || {
        _ = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut blocked);
    });
    wait_until("a busy server", || {
        tier.read(b"k").is_err_and(|error| refusal(&error) == Some(RedisRefusal::Busy))
    });
    let error = tier.write(b"k", &record("w")).unwrap_err();
    assert_eq!((error.kind(), refusal(&error)), (ErrorKind::Busy, Some(RedisRefusal::Busy)));
    () = redis::cmd("SCRIPT").arg("KILL").query(&mut server.raw()).unwrap();
    script.join().unwrap();
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
    assert_eq!(tier.statistics().connects, 1);
}

#[test]
fn write_that_the_server_comes_to_after_its_deadline_does_nothing() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("old")).unwrap();
    let impatient = crate::tier::redis::RedisTier::new(
        server.options().write_timeout(Duration::from_millis(300)),
    )
    .unwrap();
    wait_until("connection", || impatient.write(b"other", &record("v")).is_ok());
    let runs = || {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut server.raw()).unwrap();
        let after = info.split("cmdstat_evalsha:calls=").nth(1).unwrap();
        after.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = runs();
    server.signal("STOP");
    let error = impatient.write(b"k", &record("late")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    server.signal("CONT");
    wait_until("the late write", || runs() > before);
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"old")));
}

#[test]
fn write_survives_a_server_clock_that_was_set_forward() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("a")).unwrap();
    // As if the server's clock had been an hour behind when it was last heard.
    let Way::One(link) = tier.way().unwrap() else { panic!("one server") };
    let now = link.clock().at(std::time::Instant::now()).unwrap();
    link.clock().forget();
    link.clock().heard(now - 3_600_000);
    tier.write(b"k", &record("b")).unwrap();
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"b")));
    assert_eq!(tier.statistics().late_writes, 1);
    tier.write(b"k", &lasting("c", Duration::from_secs(60))).unwrap();
    assert_eq!(tier.statistics().late_writes, 1);
    let found: Record = tier.read(b"k").unwrap().record.unwrap();
    assert_eq!(found.value, "c");
}
